//! Archives that are compressed, and those whose compression changes from run to run.

use proptest::prelude::*;

use super::*;

fn position(number: u64, offset: u64) -> Lsn {
    Lsn::new(number * MIB + offset)
}

fn compressing(method: Method) -> Fixture {
    Fixture { compression: Some(CompressionSpec::of(method)), ..Fixture::new() }
}

#[test]
fn rw_138_to_141_and_162_complete_and_partial_segments_end_compressed() {
    for method in Method::ALL {
        let fixture = Fixture { policy: SyncPolicy::Durable, ..compressing(method) };
        let log = fixture.log(3);
        let mut archive = fixture.open();
        log.receive(&fixture, &mut archive, position(3, 90_000));
        assert!(fixture.names().contains(&name(3, ".partial")), "what is being received is raw");
        archive.finish().unwrap();
        drop(archive);
        let suffix = method.suffix();
        let partial = name(3, &format!("{suffix}.partial"));
        let names = [name(1, suffix), name(2, suffix), partial.clone()];
        assert_eq!(fixture.names(), names);
        let told = [
            "finished at 0/200000 (timeline 1)".to_owned(),
            "finished at 0/300000 (timeline 1)".to_owned(),
            format!("incomplete {partial}"),
        ];
        assert_eq!(fixture.told(), told);
        for (number, length) in [(1, MIB as usize), (2, MIB as usize), (3, 90_000)] {
            let name = &names[number as usize - 1];
            assert_eq!(decoded(name, &fixture.read(name)), log.segment(number)[..length]);
        }

        // The next run goes on in the middle of the segment, and one that gets nothing leaves it as it was.
        let (mut archive, end) = fixture.resumed();
        assert!(end.unwrap().position.value() > position(3, 60_000));
        assert!(fixture.path(&name(3, ".partial")).exists() && !fixture.path(&partial).exists());
        archive.finish().unwrap();
        assert_eq!(fixture.names(), names);
        assert_eq!(decoded(&partial, &fixture.read(&partial)), log.segment(3)[..90_000]);
    }
}

#[test]
fn i_003_and_i_014_what_a_killed_compressor_left_is_taken_up() {
    let log = Fixture::new().log(3);
    for (left, first) in [
        // Marked, and in the middle of it.
        (vec![(name(1, ".gz.tmp"), Vec::new())], name(1, ".gz")),
        (vec![(name(1, ".gz.tmp"), b"half of it".to_vec())], name(1, ".gz")),
        // Marked for a method that is not wanted any more.
        (vec![(name(1, ".lz4.tmp"), b"half of it".to_vec())], name(1, ".gz")),
        // The compressed one is there, and the raw one had yet to go.
        (vec![(name(1, ".gz"), compressed(Method::Gzip, log.segment(1)))], name(1, ".gz")),
        // Nothing says that it is to be compressed: it was received so.
        (Vec::new(), name(1, "")),
    ] {
        let fixture = compressing(Method::Gzip);
        fixture.write(&name(1, ""), log.segment(1));
        for (file, content) in &left {
            fixture.write(file, content);
        }
        let mut archive = fixture.open();
        log.receive(&fixture, &mut archive, position(3, 0));
        archive.finish().unwrap();
        let names = [first.clone(), name(2, ".gz")];
        assert_eq!(fixture.names(), names);
        assert_eq!(decoded(&first, &fixture.read(&first)), log.segment(1));
    }
}

#[test]
fn rw_083_without_compression_a_mark_goes_and_the_segment_stays() {
    let fixture = Fixture::new();
    let log = fixture.log(1);
    fixture.write(&name(1, ""), log.segment(1));
    fixture.write(&name(1, ".gz.tmp"), b"");
    assert_eq!(fixture.end(), Some((1, 2, 0)));
    assert_eq!(fixture.names(), [name(1, "")]);

    // Unless its compression was at its end: then the raw one goes.
    fixture.write(&name(1, ".lz4"), &compressed(Method::Lz4, fixture.log(2).segment(2)));
    assert_eq!(fixture.end(), Some((1, 2, 0)));
    assert_eq!(fixture.names(), [name(1, ""), name(1, ".lz4")], "it holds something else");
    fixture.write(&name(1, ".lz4"), &compressed(Method::Lz4, log.segment(1)));
    assert_eq!(fixture.end(), Some((1, 2, 0)));
    assert_eq!(fixture.names(), [name(1, ".lz4")]);
}

#[test]
fn i_004_a_compressed_segment_that_is_there_is_not_made_again() {
    let fixture = compressing(Method::Lz4);
    let log = fixture.log(2);
    let before = compressed(Method::Gzip, log.segment(1));
    fixture.write(&name(1, ".gz"), &before);
    let mut archive = fixture.open();
    log.receive(&fixture, &mut archive, position(3, 0));
    archive.finish().unwrap();
    assert_eq!(fixture.names(), [name(1, ".gz"), name(2, ".lz4")]);
    assert_eq!(fixture.read(&name(1, ".gz")), before);
}

#[test]
fn rw_182_the_part_of_an_old_timeline_is_compressed_too() {
    let fixture = compressing(Method::Gzip).on_timeline(2, "1\t0/280000\twhy\n");
    let (first, second) = (fixture.log(2), fixture.log_of(2, 2, 1));
    let (mut archive, _) = fixture.resumed();
    first.stream(&mut archive, position(1, 0), position(2, 0x80000), Some(Closing::EndOfStream)).unwrap();
    second.stream(&mut archive, position(2, 0), position(2, 0x90000), Some(Closing::EndOfStream)).unwrap();
    archive.finish().unwrap();
    let names = [name(1, ".gz"), name(2, ".gz.partial"), name_on(2, 2, ".gz.partial")];
    assert_eq!(fixture.names(), names);
    assert_eq!(decoded(&names[1], &fixture.read(&names[1])), first.segment(2)[..0x80000]);
}

/// How a run ends.
#[derive(Clone, Copy, Debug)]
enum Stop {
    /// As if the process was killed.
    Kill,
    /// The connection breaks, and the process tries again.
    Break,
    /// In good order.
    Finish,
}

/// A run of the receiver.
#[derive(Clone, Copy, Debug)]
struct Run {
    length: u64,
    stop: Stop,
    compression: Option<Method>,
}

fn any_run() -> impl Strategy<Value = Run> {
    let stop = prop_oneof![Just(Stop::Kill), Just(Stop::Break), Just(Stop::Finish)];
    let compression =
        proptest::option::of(prop_oneof![Just(Method::Gzip), Just(Method::Lz4), Just(Method::Zstd)]);
    (1..900_000u64, stop, compression).prop_map(|(length, stop, compression)| Run {
        length,
        stop,
        compression,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn i_005_and_i_014_however_often_it_stops_nothing_is_lost_and_the_same_segments_come_out(
        runs in proptest::collection::vec(any_run(), 1..9)
    ) {
        let mut fixture = Fixture::new();
        let log = fixture.log(6);
        let (begin, end) = (position(1, 0), position(7, 0));
        let mut archive = fixture.open();
        // What was called durable, by the last process too, and whether that goes on.
        let (mut durable, mut reached, mut goes_on) = (begin, begin, false);
        for run in runs {
            if !goes_on {
                drop(archive);
                fixture.compression = run.compression.map(CompressionSpec::of);
                archive = fixture.open();
            }
            let resumed = fixture.try_resume(&mut archive).unwrap();
            let from = resumed.map_or(begin, |end| end.position.value());
            if goes_on {
                prop_assert!(from >= reached, "{} {}", from, reached);
            }
            prop_assert_eq!(held(&fixture, &log, durable), Ok(()));
            let to = (from + run.length).min(end);
            let closing = match run.stop {
                Stop::Kill => None,
                Stop::Break => Some(Closing::Interrupted),
                Stop::Finish => Some(Closing::EndOfStream),
            };
            log.stream(&mut archive, from, to, closing).unwrap();
            reached = to;
            durable = match run.stop {
                Stop::Kill => durable.max(to.segment_start(fixture.size)),
                _ => durable.max(to),
            };
            goes_on = matches!(run.stop, Stop::Break);
            if matches!(run.stop, Stop::Finish) {
                archive.finish().unwrap();
                prop_assert!(fixture.has_no_temporary());
                prop_assert_eq!(held(&fixture, &log, durable), Ok(()));
            }
        }
        drop(archive);
        fixture.compression = None;
        archive = fixture.open();
        log.receive(&fixture, &mut archive, end);
        archive.finish().unwrap();
        prop_assert_eq!(held(&fixture, &log, end), Ok(()));
        prop_assert_eq!(fixture.names().len(), 6, "{:?}", fixture.names());
    }
}

/// Whether everything before the position can be had from the directory.
fn held(fixture: &Fixture, log: &Log, durable: Lsn) -> Result<(), String> {
    let mut number = 1;
    while position(number, 0) < durable {
        let length = durable.checked_sub(position(number, 0)).unwrap().min(MIB) as usize;
        let forms = ["", ".gz", ".lz4", ".zst", ".partial", ".gz.partial", ".lz4.partial", ".zst.partial"];
        let is_held = forms.iter().map(|suffix| name(number, suffix)).any(|file| {
            let Ok(content) = std::fs::read(fixture.path(&file)) else { return false };
            let mut content = decoded(&file, &content);
            content.resize(MIB as usize, 0);
            content[..length] == log.segment(number)[..length]
        });
        if !is_held {
            return Err(format!("{length} bytes of segment {number} are not in {:?}", fixture.names()));
        }
        number += 1;
    }
    Ok(())
}
