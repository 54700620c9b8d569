//! What becomes of segments in a real directory, with the programs of the formats as judges.

#![allow(clippy::unwrap_used, reason = "what fails fails the test")]

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use tempfile::TempDir;

use super::*;
use crate::compress::Method;
use crate::types::{SegmentNumber, SegmentSize, TimelineId};
use crate::wal::log_writer::{LogKind, LogWriter};

const SIZE: u64 = 1 << 20;
const GZIP: CompressionSpec = CompressionSpec::of(Method::Gzip);

fn segment(number: u64) -> WalFileName {
    WalFileName::new(TimelineId::FIRST, SegmentNumber::new(number), SegmentSize::new(SIZE).unwrap())
}

/// What the segment holds.
fn wal(number: u64) -> Vec<u8> {
    LogWriter::new(number * SIZE, LogKind::with_segments_of(SIZE)).filled(usize::try_from(SIZE).unwrap())
}

fn spec(method: Method, level: Option<i32>) -> CompressionSpec {
    CompressionSpec { level, ..CompressionSpec::of(method) }
}

/// Compresses as the programs do by default.
fn compressed(method: Method, data: &[u8]) -> Vec<u8> {
    let (mut encoder, mut output) = (Encoder::new(&CompressionSpec::of(method)).unwrap(), Vec::new());
    encoder.push(data, &mut output).unwrap();
    encoder.finish(&mut output).unwrap();
    output
}

/// What the program of the method says of the file.
fn judge(method: Method, how: &str, path: &Path) -> Output {
    let program = match method {
        Method::Gzip => "gzip",
        Method::Lz4 => "lz4",
        Method::Zstd => "zstd",
    };
    // By the standard input, because the programs look at names.
    let file = fs::File::open(path).unwrap();
    Command::new(program).arg(how).stdin(file).output().unwrap()
}

#[track_caller]
fn assert_holds(method: Method, path: &Path, expected: &[u8]) {
    let tested = judge(method, "-t", path);
    assert!(tested.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&tested.stderr));
    assert!(judge(method, "-dc", path).stdout == expected, "{}", path.display());
}

/// Remembers the warnings.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Observer for Warnings {
    fn observe(&self, event: &Event<'_>) {
        let Event::Warning(warning) = event else { panic!("{event:?}") };
        self.0.lock().unwrap().push(warning.to_string());
    }
}

struct Fixture {
    root: TempDir,
    directory: Arc<Directory>,
    warnings: Arc<Warnings>,
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        Self { root, directory, warnings: Arc::default() }
    }

    fn compressor(&self, spec: CompressionSpec) -> Compressor {
        let (directory, observer) = (Arc::clone(&self.directory), Arc::clone(&self.warnings));
        Compressor::start(directory, spec, Access::Group, SyncPolicy::Durable, observer).unwrap()
    }

    fn compression(&self, spec: CompressionSpec) -> Compression {
        let directory = Arc::clone(&self.directory);
        Compression { directory, spec, access: Access::Owner, policy: SyncPolicy::Durable }
    }

    /// Has one segment compressed, from the beginning to the end of a run.
    fn compress(&self, spec: CompressionSpec, number: u64) {
        let mut compressor = self.compressor(spec);
        compressor.enqueue(segment(number)).unwrap();
        compressor.finish_within(Duration::MAX).unwrap();
    }

    fn path(&self, number: u64, suffix: &str) -> PathBuf {
        self.root.path().join(format!("{}{suffix}", segment(number)))
    }

    fn write(&self, number: u64, suffix: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(number, suffix), content).unwrap();
    }

    /// The names in the directory, without those digits that all have.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()[23..].to_owned()).collect();
        names.sort();
        names
    }

    fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.0.lock().unwrap())
    }
}

#[test]
fn rw_152_and_153_op_027_compressed_segments_satisfy_the_programs_of_their_formats() {
    let specs = [
        (Method::Gzip, [None, Some(1), Some(9)].as_slice()),
        (Method::Lz4, &[None, Some(1), Some(12)]),
        (Method::Zstd, &[None, Some(-5), Some(1), Some(12)]),
    ];
    for (method, levels) in specs {
        for &level in levels {
            let fixture = Fixture::new();
            let mut compressor = fixture.compressor(spec(method, level));
            for number in 1..=3 {
                fixture.write(number, "", wal(number));
                compressor.mark(segment(number)).unwrap();
                compressor.enqueue(segment(number)).unwrap();
            }
            compressor.finish_within(Duration::MAX).unwrap();
            drop(compressor);
            let suffix = method.suffix();
            assert_eq!(fixture.names(), [1, 2, 3].map(|number| format!("{number}{suffix}")));
            for number in 1..=3 {
                let path = fixture.path(number, suffix);
                assert_holds(method, &path, &wal(number));
                assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o640);
                if method == Method::Gzip {
                    let content = fs::read(path).unwrap();
                    assert_eq!(content[content.len() - 4..], u32::try_from(SIZE).unwrap().to_le_bytes());
                }
            }
            assert_eq!(fixture.warnings(), Vec::<String>::new());
        }
    }
}

#[test]
fn i_014_a_run_that_was_killed_anywhere_is_taken_up_by_the_next() {
    let content = wal(1);
    let whole = compressed(Method::Gzip, &content);
    for (killed, files) in [
        ("before the mark", vec![]),
        ("before the first byte", vec![(".gz.tmp", &whole[..0])]),
        ("while it was written", vec![(".gz.tmp", &whole[..whole.len() / 2])]),
        ("before the rename", vec![(".gz.tmp", &whole)]),
        ("before the raw file went", vec![(".gz", &whole)]),
        ("there, and marked again", vec![(".gz", &whole), (".gz.tmp", b"")]),
    ] {
        let fixture = Fixture::new();
        fixture.write(1, "", &content);
        for (suffix, bytes) in files {
            fixture.write(1, suffix, bytes);
        }
        let mut compressor = fixture.compressor(GZIP);
        compressor.enqueue_left_over(segment(1)).unwrap();
        compressor.finish_within(Duration::MAX).unwrap();
        assert_eq!(fixture.names(), ["1.gz"], "{killed}");
        assert_holds(Method::Gzip, &fixture.path(1, ".gz"), &content);
        assert_eq!(fixture.warnings(), Vec::<String>::new(), "{killed}");
    }
}

#[test]
fn i_014_giving_up_anywhere_leaves_the_raw_segment_and_its_mark() {
    let fixture = Fixture::new();
    fixture.write(1, "", wal(1));
    let mut patience = 0_u32;
    loop {
        let left = Cell::new(patience);
        let given_up = || left.replace(left.get().saturating_sub(1)) == 0;
        if fixture.compression(GZIP).compress(segment(1), &given_up, || Some(())).is_ok() {
            break;
        }
        assert_eq!(fixture.names(), ["1", "1.gz.tmp"]);
        assert_eq!(fixture.path(1, ".gz.tmp").metadata().unwrap().len(), 0);
        assert!(fs::read(fixture.path(1, "")).unwrap() == wal(1));
        patience += 1;
    }
    assert!(patience > 8, "{patience}");
    assert_eq!(fixture.names(), ["1.gz"]);
}

#[test]
fn i_004_a_compressed_file_that_is_proven_invalid_is_replaced_and_no_other() {
    let whole = compressed(Method::Lz4, &wal(1));
    let other = compressed(Method::Lz4, &wal(2));
    for (invalid, bytes) in [
        ("empty", vec![]),
        ("cut short", whole[..whole.len() - 5].to_vec()),
        ("with a stale tail", [&whole[..], b"tail"].concat()),
        ("of half a segment", compressed(Method::Lz4, &wal(1)[..1 << 19])),
        ("of two segments", [&whole[..], &other].concat()),
        ("something else", b"<html>".to_vec()),
    ] {
        let fixture = Fixture::new();
        fixture.write(1, "", wal(1));
        fixture.write(1, ".lz4", bytes);
        fixture.compress(CompressionSpec::of(Method::Lz4), 1);
        assert_eq!(fixture.names(), ["1.lz4"], "{invalid}");
        assert_holds(Method::Lz4, &fixture.path(1, ".lz4"), &wal(1));
    }

    let fixture = Fixture::new();
    fixture.write(1, "", wal(1));
    fixture.write(1, ".lz4", &other);
    fixture.write(1, ".lz4.tmp", "");
    fixture.compress(CompressionSpec::of(Method::Lz4), 1);
    assert_eq!(fixture.names(), ["1", "1.lz4"]);
    assert!(fs::read(fixture.path(1, ".lz4")).unwrap() == other);
    let expected = format!(
        "could not compress segment file \"{0}\": file \"{0}.lz4\" exists already and holds another segment",
        segment(1)
    );
    assert_eq!(fixture.warnings(), [expected]);
}

#[test]
fn a_segment_that_an_archiver_has_taken_away_is_no_matter() {
    let fixture = Fixture::new();
    fixture.write(1, ".gz.tmp", "");
    fixture.compress(GZIP, 1);
    assert_eq!(fixture.names(), Vec::<String>::new());

    // While it is compressed.
    fixture.write(1, "", wal(1));
    let reads = Cell::new(0);
    let take_away = || {
        reads.set(reads.get() + 1);
        if reads.get() == 2 {
            fs::remove_file(fixture.path(1, "")).unwrap();
        }
        false
    };
    fixture.compression(GZIP).compress(segment(1), &take_away, || Some(())).unwrap();
    assert_eq!(fixture.names(), Vec::<String>::new());
    assert_eq!(fixture.warnings(), Vec::<String>::new());
}

#[test]
fn i_012_what_could_not_be_compressed_stays_raw_and_is_tried_again_with_the_next() {
    let fixture = Fixture::new();
    let mut compressor = fixture.compressor(GZIP);
    // Nothing can be written to this, and it is told of once however often it fails.
    fs::create_dir(fixture.path(1, ".gz.tmp")).unwrap();
    fixture.write(1, "", wal(1));
    compressor.enqueue(segment(1)).unwrap();
    for _ in 0..2 {
        compressor.finish_within(Duration::MAX).unwrap();
        assert_eq!(fixture.names(), ["1", "1.gz.tmp"]);
    }
    let [warning] = &fixture.warnings()[..] else { panic!("not told of once") };
    let expected = format!("could not compress segment file \"{}\": could not create file ", segment(1));
    assert!(warning.starts_with(&expected) && warning.ends_with(": Is a directory"), "{warning}");

    fs::remove_dir(fixture.path(1, ".gz.tmp")).unwrap();
    fixture.write(2, "", wal(2));
    compressor.enqueue(segment(2)).unwrap();
    compressor.finish_within(Duration::MAX).unwrap();
    assert_eq!(fixture.names(), ["1.gz", "2.gz"]);
    assert_holds(Method::Gzip, &fixture.path(1, ".gz"), &wal(1));
    assert_eq!(fixture.warnings(), Vec::<String>::new());
}

#[test]
fn i_012_what_is_in_the_way_of_the_mark_is_not_written_through() {
    let fixture = Fixture::new();
    fixture.write(9, "", "precious");
    symlink(fixture.path(9, ""), fixture.path(1, ".gz.tmp")).unwrap();
    fixture.write(1, "", wal(1));
    fixture.compress(GZIP, 1);
    assert_eq!(fs::read(fixture.path(9, "")).unwrap(), b"precious");
    assert_eq!(fixture.names(), ["1.gz", "9"]);
    assert_eq!(fixture.warnings().len(), 1);
}

#[test]
fn a_raw_file_of_a_wrong_size_is_left_alone() {
    for size in [0, 1, SIZE - 1, SIZE + 1] {
        let fixture = Fixture::new();
        fixture.write(1, "", vec![7; usize::try_from(size).unwrap()]);
        fixture.compress(GZIP, 1);
        assert_eq!(fixture.names(), ["1"]);
        let expected = format!(
            "could not compress segment file \"{0}\": file \"{0}\" has {size} bytes, should be {SIZE}",
            segment(1)
        );
        assert_eq!(fixture.warnings(), [expected]);
    }
}

/// Holds the compressor up at its first warning until it is let go.
struct Gate {
    reached: Sender<()>,
    pass: Mutex<Receiver<()>>,
    warnings: Warnings,
}

impl Observer for Gate {
    fn observe(&self, event: &Event<'_>) {
        self.warnings.observe(event);
        if self.warnings.0.lock().unwrap().len() == 1 {
            self.reached.send(()).unwrap();
            self.pass.lock().unwrap().recv().unwrap();
        }
    }
}

#[test]
fn i_017_giving_up_leaves_no_temporary_file_and_dropping_leaves_the_marks() {
    for drops in [false, true] {
        let fixture = Fixture::new();
        let ((reached, wait_for_it), (let_go, pass)) = (channel(), channel());
        let gate = Arc::new(Gate { reached, pass: Mutex::new(pass), warnings: Warnings::default() });
        let directory = Arc::clone(&fixture.directory);
        let observer = Arc::clone(&gate) as Arc<dyn Observer>;
        let mut compressor =
            Compressor::start(directory, GZIP, Access::Owner, SyncPolicy::Durable, observer).unwrap();
        fixture.write(1, "", "too short");
        for number in 1..=4 {
            compressor.mark(segment(number)).unwrap();
        }
        compressor.enqueue(segment(1)).unwrap();
        wait_for_it.recv().unwrap();
        for number in 2..=4 {
            fixture.write(number, "", wal(number));
        }
        compressor.enqueue(segment(2)).unwrap();
        compressor.enqueue(segment(3)).unwrap();
        compressor.enqueue_left_over(segment(4)).unwrap();
        let line = Arc::clone(&compressor.line);
        let release = thread::spawn(move || {
            while !line.is_closed() {
                thread::yield_now();
            }
            let_go.send(()).unwrap();
        });
        if drops {
            drop(compressor);
            assert_eq!(fixture.names(), ["1", "2", "2.gz.tmp", "3", "3.gz.tmp", "4", "4.gz.tmp"]);
        } else {
            compressor.finish_within(Duration::ZERO).unwrap();
            assert_eq!(fixture.names(), ["1", "2", "3", "4"]);
            assert!(compressor.enqueue(segment(2)).is_err());
            let warnings = gate.warnings.0.lock().unwrap();
            assert_eq!(warnings.len(), 4);
            assert!(
                warnings[1..].iter().all(|warning| warning.ends_with(": it was given up")),
                "{warnings:?}"
            );
        }
        release.join().unwrap();
    }
}

#[test]
fn i_006_while_names_are_kept_nothing_takes_the_place_of_anything() {
    for ends in [false, true] {
        let fixture = Fixture::new();
        let mut compressor = fixture.compressor(GZIP);
        let kept = compressor.keep_names();
        fixture.write(1, "", wal(1));
        compressor.mark(segment(1)).unwrap();
        compressor.enqueue(segment(1)).unwrap();
        while fixture.path(1, ".gz.tmp").metadata().unwrap().len() == 0 {
            thread::yield_now();
        }
        if ends {
            compressor.finish_within(Duration::ZERO).unwrap();
            drop(kept);
            assert_eq!(fixture.names(), ["1"]);
        } else {
            assert_eq!(fixture.names(), ["1", "1.gz.tmp"]);
            drop(kept);
            compressor.finish_within(Duration::MAX).unwrap();
            assert_eq!(fixture.names(), ["1.gz"]);
        }
    }
}

#[test]
fn a_thread_that_has_died_is_an_error_and_never_waited_for() {
    struct Panics;
    impl Observer for Panics {
        fn observe(&self, _: &Event<'_>) {
            panic!("as asked for")
        }
    }
    let fixture = Fixture::new();
    fixture.write(1, "", "too short");
    let directory = Arc::clone(&fixture.directory);
    let mut compressor =
        Compressor::start(directory, GZIP, Access::Owner, SyncPolicy::Durable, Arc::new(Panics)).unwrap();
    compressor.enqueue(segment(1)).unwrap();
    let error = compressor.finish_within(Duration::MAX).unwrap_err();
    assert_eq!(error.to_string(), "the thread that compresses WAL ended unexpectedly");
    assert!(compressor.enqueue(segment(1)).is_err());
}

#[test]
fn op_027_a_compression_that_there_is_not_is_told_at_the_start() {
    let fixture = Fixture::new();
    let (directory, spec) = (Arc::clone(&fixture.directory), spec(Method::Gzip, Some(10)));
    let started = Compressor::start(directory, spec, Access::Owner, SyncPolicy::Durable, Arc::new(()));
    assert_eq!(started.err().unwrap().to_string(), "could not compress data: gzip has no level 10");
}

/// A time that nothing here takes.
fn soon() -> Instant {
    Instant::now() + Duration::from_hours(1)
}

#[test]
fn rw_162_op_014_a_partial_segment_becomes_a_valid_stream_of_what_came() {
    let mut content = wal(1);
    for method in Method::ALL {
        for length in [0, 1, 8192, 300_001, SIZE] {
            let fixture = Fixture::new();
            let end = usize::try_from(length).unwrap();
            content.truncate(end);
            content.resize(usize::try_from(SIZE).unwrap(), 0xee);
            fixture.write(1, ".partial", &content);
            let (directory, spec) = (&fixture.directory, CompressionSpec::of(method));
            compress_partial(directory, segment(1), length, spec, Access::Owner, SyncPolicy::Durable, soon())
                .unwrap();
            let suffix = format!("{}.partial", method.suffix());
            assert_eq!(fixture.names(), [format!("1{suffix}")]);
            assert_holds(method, &fixture.path(1, &suffix), &content[..end]);

            let (name, mut decoded) = (format!("{}{suffix}", segment(1)), Vec::new());
            let mut sink = |piece: &[u8]| {
                decoded.extend_from_slice(piece);
                Ok(())
            };
            let result = decode(directory, &name, method, SIZE, &mut sink).unwrap();
            assert_eq!((result.length, result.error), (length, None));
            assert!(decoded == content[..end]);
            content = wal(1);
        }
    }
}

#[test]
fn rw_148_op_010_a_compressed_partial_of_an_earlier_run_leaves_no_tail() {
    let fixture = Fixture::new();
    fixture.write(1, ".partial", wal(1));
    fixture.write(1, ".gz.partial", vec![7; 5 << 20]);
    fixture.write(1, ".gz.tmp", vec![7; 5 << 20]);
    let directory = &fixture.directory;
    compress_partial(directory, segment(1), 70_000, GZIP, Access::Owner, SyncPolicy::Never, soon()).unwrap();
    assert_eq!(fixture.names(), ["1.gz.partial"]);
    assert_holds(Method::Gzip, &fixture.path(1, ".gz.partial"), &wal(1)[..70_000]);
}

#[test]
fn i_005_a_partial_segment_that_cannot_be_compressed_stays_raw() {
    let fixture = Fixture::new();
    let compress_until = |length, deadline| {
        let (directory, policy) = (&fixture.directory, SyncPolicy::Durable);
        compress_partial(directory, segment(1), length, GZIP, Access::Owner, policy, deadline)
    };
    let compress = |length| compress_until(length, soon());
    assert!(compress(0).is_err());
    assert_eq!(fixture.names(), Vec::<String>::new());
    fixture.write(1, ".partial", b"short");
    let error = compress(6).unwrap_err();
    let expected = format!("file \"{}.partial\" has 5 bytes, should be 6", segment(1));
    assert_eq!(error.to_string(), expected);
    assert_eq!(compress_until(5, Instant::now()).unwrap_err().to_string(), "it was given up");
    assert_eq!(fixture.names(), ["1.partial"]);
    fs::create_dir(fixture.path(1, ".gz.partial")).unwrap();
    assert!(matches!(compress(5), Err(StorageError::Rename { .. })));
    assert_eq!(fixture.names(), ["1.gz.partial", "1.partial"]);
    assert_eq!(fs::read(fixture.path(1, ".partial")).unwrap(), b"short");
}
