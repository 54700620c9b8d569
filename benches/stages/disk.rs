//! What is written: segments into an archive of the WAL receiver, and the files of a backup.
//!
//! It goes to the directory for temporary files, which should lie on a real disk. ext4 is slow at making files where many
//! were removed within the last minutes: many files stay until the end of the run, and the next run should wait.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use pgsiphon::backup::{ArchiveLocation, CleanUpPolicy, Destination, DirectoryDestination};
use pgsiphon::protocol::ArchiveName;
use pgsiphon::receive::{Cluster, SegmentArchive, WalArchive};
use pgsiphon::storage::{Access, SyncPolicy};
use pgsiphon::tar::{Entry, EntryKind};
use pgsiphon::types::{SegmentNumber, SegmentSize, SystemId, TimelineId, WalFileName};
use pgsiphon::wal::TimelineHistory;
use tempfile::TempDir;

use crate::contents::Contents;
use crate::tar::{entry, path};
use crate::wal::SEGMENT;
use crate::{BACKUP_MESSAGE, KIB, MIB, WAL_MESSAGE};

/// What is left to be written must not be charged to what syncs.
const POLICIES: [SyncPolicy; 2] = [SyncPolicy::Durable, SyncPolicy::Never];

/// So many files or more, made at a time, stay until the end.
const MANY: usize = 100;

/// Where everything lies until the end.
static SCRATCH: OnceLock<PathBuf> = OnceLock::new();

/// Runs what writes into directories below one that is removed afterwards.
pub(crate) fn with_scratch_directory(run: impl FnOnce()) {
    let scratch = tempfile::tempdir().unwrap();
    SCRATCH.set(scratch.path().to_owned()).unwrap();
    run();
    scratch.close().unwrap();
}

fn new_directory() -> TempDir {
    tempfile::tempdir_in(SCRATCH.get().unwrap()).unwrap()
}

/// An archive, and the segment that it gets next.
struct Receiver {
    archive: SegmentArchive,
    next: WalFileName,
    directory: TempDir,
}

impl Receiver {
    fn start(segment_size: usize, policy: SyncPolicy) -> Self {
        let directory = new_directory();
        let mut archive = SegmentArchive::open(directory.path(), None, policy, Arc::new(())).unwrap();
        let segment_size = SegmentSize::new(segment_size as u64).unwrap();
        let history = TimelineHistory::of_first();
        let cluster = Cluster {
            system_id: SystemId::new(7_000_000_000_000_000_001),
            segment_size,
            access: Access::Owner,
            history: &history,
        };
        assert!(archive.resume(&cluster).unwrap().is_none());
        let next = WalFileName::new(TimelineId::FIRST, SegmentNumber::new(1), segment_size);
        Self { archive, next, directory }
    }

    /// Writes a segment: so much of it at a time and, if each is a commit that somebody waits for, durably.
    fn receive(&mut self, wal: &[u8], at_a_time: usize, are_commits: bool) {
        let segment = self.next;
        let (number, size) = (segment.segment(), segment.size());
        let (mut reached, end) = (number.start(size), number.next().start(size));
        let mut open = self.archive.open_segment(segment, reached).unwrap();
        for piece in wal.chunks(at_a_time) {
            reached = reached + piece.len() as u64;
            if are_commits && reached < end {
                open.append_and_sync(piece, reached).unwrap();
            } else {
                open.append(piece).unwrap();
            }
        }
        open.complete(end).unwrap();
        self.next = WalFileName::new(segment.timeline(), number.next(), size);
    }
}

/// Makes room for further segments. The file of the next one is made ahead, as always.
fn remove_segments(directory: &Path, size: SegmentSize) {
    for file in fs::read_dir(directory).unwrap() {
        let file = file.unwrap();
        if WalFileName::parse(&file.file_name().to_string_lossy(), size).is_ok() {
            fs::remove_file(file.path()).unwrap();
        }
    }
}

fn receive(bencher: Bencher<'_, '_>, wal: &[u8], policy: SyncPolicy, at_a_time: usize, are_commits: bool) {
    let mut receiver = Receiver::start(wal.len(), policy);
    let (directory, size) = (receiver.directory.path().to_owned(), receiver.next.size());
    bencher
        .counter(BytesCount::of_slice(wal))
        .counter(ItemsCount::new(wal.len() / at_a_time))
        .with_inputs(|| remove_segments(&directory, size))
        .bench_local_values(|()| receiver.receive(wal, at_a_time, are_commits));
    receiver.archive.finish().unwrap();
}

#[divan::bench(args = POLICIES)]
fn write_segment(bencher: Bencher<'_, '_>, policy: SyncPolicy) {
    receive(bencher, &Contents::Noise.bytes(SEGMENT), policy, WAL_MESSAGE, false);
}

/// A segment of which each page is a commit that waits for the disk.
#[divan::bench]
fn write_commits(bencher: Bencher<'_, '_>) {
    receive(bencher, &Contents::Noise.bytes(MIB), SyncPolicy::Durable, 8 * KIB, true);
}

fn claimed(policy: SyncPolicy, files: usize) -> (DirectoryDestination, TempDir) {
    let mut parent = new_directory();
    parent.disable_cleanup(files >= MANY);
    let path = parent.path().join("backup");
    let mut destination = DirectoryDestination::new(path, policy, CleanUpPolicy::Keep);
    destination.claim(Access::Owner).unwrap();
    (destination, parent)
}

/// Writes files of the same contents into a new directory, and syncs them.
fn write_files(bencher: Bencher<'_, '_>, policy: SyncPolicy, files: usize, size: usize) {
    /// As many messages as a read brings.
    const PIECES: usize = 8;
    let contents = Bytes::from(Contents::Pages.bytes(size));
    let pieces: Vec<Bytes> = contents.chunks(BACKUP_MESSAGE).map(|piece| contents.slice_ref(piece)).collect();
    let entries: Vec<Entry> = (0..files).map(|number| entry(&path(number), size)).collect();
    let directories = ["base", "base/5"].map(|path| Entry { kind: EntryKind::Directory, ..entry(path, 0) });
    let name = ArchiveName::new(b"base.tar").unwrap();
    bencher
        .counter(BytesCount::new(files * size))
        .counter(ItemsCount::new(files))
        .with_inputs(|| claimed(policy, files))
        .bench_local_values(|(mut destination, parent)| {
            destination.begin_archive(&name, &ArchiveLocation::Main).unwrap();
            for directory in &directories {
                destination.begin_member(directory).unwrap();
                destination.end_member().unwrap();
            }
            for entry in &entries {
                destination.begin_member(entry).unwrap();
                pieces.chunks(PIECES).for_each(|pieces| destination.write(pieces).unwrap());
                destination.end_member().unwrap();
            }
            destination.end_archive().unwrap();
            destination.sync().unwrap();
            (destination, parent)
        });
}

#[divan::bench(args = POLICIES)]
fn write_large_files(bencher: Bencher<'_, '_>, policy: SyncPolicy) {
    write_files(bencher, policy, 4, 8 * MIB);
}

#[divan::bench(args = POLICIES)]
fn write_small_files(bencher: Bencher<'_, '_>, policy: SyncPolicy) {
    write_files(bencher, policy, 1000, 8 * KIB);
}
