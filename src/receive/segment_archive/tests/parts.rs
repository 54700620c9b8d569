//! Going on in the middle of a segment, whatever is left of it.

use super::*;
use crate::wal::log_writer::LogWriter;

fn position(number: u64, offset: u64) -> Lsn {
    Lsn::new(number * MIB + offset)
}

/// The end of the archive, which must lie in the segment, as an offset.
fn offset(fixture: &Fixture, number: u64) -> u64 {
    let (_, segment, offset) = fixture.end().unwrap();
    assert_eq!(segment, number);
    offset
}

#[test]
fn rw_146_149_and_226_what_is_sound_of_a_raw_part_is_kept_whatever_its_size() {
    let fixture = Fixture { policy: SyncPolicy::Durable, ..Fixture::new() };
    let log = fixture.log(3);
    let two = log.segment(2);
    let all_of_it = offset_of(&fixture, two);
    let part = |length: usize, rest: &[u8]| [&two[..length], rest].concat();
    let mut damaged = two.to_vec();
    damaged[700_000] ^= 1;
    let mut elsewhere = two.to_vec();
    elsewhere[81 * 8192..82 * 8192].copy_from_slice(&two[80 * 8192..81 * 8192]);
    let size = MIB as usize;
    for (content, lowest, highest, is_told) in [
        (part(500_000, &[]), 470_000, 500_000, true),
        (part(500_000, &vec![0; size - 500_000]), 470_000, 500_000, false),
        (part(500_000, &vec![0xAA; size - 500_000]), 470_000, 500_000, false),
        (part(500_000, b"and something else"), 470_000, 500_000, true),
        (part(size, b"longer than a segment"), all_of_it, all_of_it, true),
        (part(size, &[]), all_of_it, all_of_it, false),
        (damaged, 670_000, 700_000, false),
        (elsewhere, 630_000, 81 * 8192, false),
        (part(10, &[]), 0, 0, true),
        (part(10, &vec![0; size - 10]), 0, 0, false),
        (part(34, &vec![0; size - 34]), 0, 0, false),
        (b"nonsense".to_vec(), 0, 0, true),
    ] {
        fixture.write(&name(2, ".partial"), &content);
        let (mut archive, end) = fixture.resumed();
        let end = end.unwrap();
        let position = end.position.value();
        let sound = position.checked_sub(Lsn::new(2 * MIB)).unwrap();
        assert!((lowest..=highest).contains(&sound), "{sound} of {}", content.len());
        assert_eq!(end.records.end_of_records(), position);
        log.stream(&mut archive, position, self::position(2, sound + 1), Some(Closing::Interrupted)).unwrap();
        let now = fixture.read(&name(2, ".partial"));
        assert_eq!(now.len() as u64, MIB);
        assert_eq!(now[..=sound as usize], two[..=sound as usize]);
        let told = format!(
            "warning: partial segment file \"{}\" has {} bytes, should be 0 or 1048576; using what is valid of it",
            name(2, ".partial"),
            content.len()
        );
        assert_eq!(fixture.told(), if is_told { vec![told] } else { Vec::new() });
        log.stream(&mut archive, self::position(2, sound + 1), self::position(3, 0), None).unwrap();
        assert_eq!(fixture.read(&name(2, "")), two);
        fixture.told();
        drop(archive);
        std::fs::remove_file(fixture.path(&name(2, ""))).unwrap();
    }
}

fn offset_of(fixture: &Fixture, content: &[u8]) -> u64 {
    fixture.write(&name(2, ".partial"), content);
    offset(fixture, 2)
}

#[test]
fn rw_235_the_last_bytes_are_given_to_be_compared() {
    let fixture = Fixture::new();
    let log = fixture.log(1);
    let (mut archive, _) = fixture.resumed();
    for reached in [100, 8192, 8200, 16_384, 500_001] {
        let end = fixture.try_resume(&mut archive).unwrap();
        let from = end.map_or(position(1, 0), |end| end.position.value());
        log.stream(&mut archive, from, position(1, reached), Some(Closing::Interrupted)).unwrap();
        let end = fixture.try_resume(&mut archive).unwrap().unwrap();
        assert_eq!(end.position.value(), position(1, reached), "all of it is durable, if not whole records");
        let first = (reached - 1) / 8192 * 8192;
        assert_eq!(end.overlap, log.segment(1)[first as usize..reached as usize]);
        assert_eq!(end.records.position(), end.position.value());

        // Not asked for again, or damaged meanwhile, it goes back to whole records.
        let end = fixture.try_resume(&mut archive).unwrap().unwrap();
        assert!(end.position.value() <= position(1, reached));
        assert_eq!(end.records.end_of_records(), end.position.value());
        log.stream(&mut archive, end.position.value(), position(1, reached), Some(Closing::Interrupted))
            .unwrap();
    }
}

#[test]
fn i_006_a_part_whose_last_record_ends_with_the_segment_is_completed_before_the_next_one() {
    let fixture = Fixture::new();
    let mut log = LogWriter::new(MIB, fixture.log_kind());
    while log.position() < 2 * MIB - 4000 {
        log.record(1000);
    }
    // The shortest record that fills the segment, so that its padding does the rest.
    let ends_with_segment = |body: &usize| {
        let mut log = log.clone();
        log.record(*body);
        log.position() == 2 * MIB
    };
    let body = (0..4000).find(ends_with_segment).unwrap();
    log.record(body);
    assert_eq!(log.bytes().last(), Some(&0));
    fixture.write(&name(1, ".partial"), log.bytes());
    assert_eq!(offset(&fixture, 1), MIB - 1);
}

#[test]
fn a_part_that_lost_bytes_while_nobody_looked_is_not_gone_on_with_behind_them() {
    let fixture = Fixture::new();
    let log = fixture.log(1);
    let (mut archive, _) = fixture.resumed();
    log.stream(&mut archive, position(1, 0), position(1, 500_000), Some(Closing::Interrupted)).unwrap();
    let mut content = fixture.read(&name(1, ".partial"));
    content[300_000..].fill(0);
    fixture.write(&name(1, ".partial"), &content);
    let end = fixture.try_resume(&mut archive).unwrap().unwrap();
    assert!(end.position.value() <= position(1, 300_000));
}

#[test]
fn the_end_of_an_earlier_record_counts_only_if_no_sector_of_it_is_missing() {
    let fixture = Fixture::new();
    let kind = fixture.log_kind();
    let mut writer = LogWriter::new(MIB, kind);
    while writer.position() < 2 * MIB - 3000 {
        writer.record(1000);
    }
    // 60 000 bytes of this record lie in segment 2.
    writer.record(63_000);
    let content = writer.filled(2 * MIB as usize);
    let two = &content[MIB as usize..];
    assert!(offset_of(&fixture, &two[..200_000]) > 150_000);
    for (from, to, is_found) in
        [(512, 1024, true), (4096, 8192, true), (20_480, 20_992, true), (300, 700, false)]
    {
        let mut lost = two[..200_000].to_vec();
        lost[from..to].fill(0);
        let found = offset_of(&fixture, &lost) == 0;
        assert_eq!(found, is_found, "{from}");
    }
    // Without a whole record behind it nothing tells how much of it has come.
    assert_eq!(offset_of(&fixture, &two[..50_000]), 0);
}

#[test]
fn i_005_what_comes_again_from_the_start_of_a_segment_takes_nothing_away() {
    let fixture = Fixture { compression: Some(CompressionSpec::of(Method::Gzip)), ..Fixture::new() };
    let kind = fixture.log_kind();
    let mut writer = LogWriter::new(MIB, kind);
    while writer.position() < 2 * MIB - 3000 {
        writer.record(1000);
    }
    // Of this record the segment has the end, and a sector without anything in it.
    writer.record(63_000);
    let content = writer.filled(2 * MIB as usize);
    let mut two = content[MIB as usize..].to_vec();
    two[4096..4608].fill(0);
    fixture.write(&name(2, ".partial"), &[&two[..700_000], &vec![0; MIB as usize - 700_000]].concat());

    let (mut archive, end) = fixture.resumed();
    assert_eq!(end.unwrap().position.value(), position(2, 0));
    let mut open = archive.open_segment(fixture.segment(1, 2), position(2, 0)).unwrap();
    open.append(&two[..100_000]).unwrap();
    open.close_incomplete(position(2, 100_000), Closing::EndOfStream).unwrap();
    archive.finish().unwrap();
    let file = name(2, ".gz.partial");
    assert_eq!(fixture.names(), [file.as_str()]);
    let kept = decoded(&file, &fixture.read(&file));
    assert!(kept.len() > 699_000 && kept[..] == two[..kept.len()], "{} bytes", kept.len());
}

#[test]
fn rw_168_and_i_005_a_compressed_part_becomes_raw_before_it_goes() {
    for method in Method::ALL {
        let fixture = Fixture { policy: SyncPolicy::Durable, ..Fixture::new() };
        let log = fixture.log(2);
        let whole = compressed(method, &log.segment(1)[..500_000]);
        let file = name(1, &format!("{}.partial", method.suffix()));
        for content in [whole.clone(), whole[..whole.len() * 3 / 4].to_vec(), [&whole[..], b"stale"].concat()]
        {
            fixture.write(&file, &content);
            let (mut archive, end) = fixture.resumed();
            let end = end.unwrap().position.value();
            assert_eq!(fixture.names(), [name(1, ".partial")]);
            let raw = fixture.read(&name(1, ".partial"));
            assert_eq!(raw.len() as u64, MIB);
            let reached = end.checked_sub(Lsn::new(MIB)).unwrap() as usize;
            assert!(reached > 200_000, "{method}: {reached}");
            assert_eq!(raw[..reached], log.segment(1)[..reached]);
            log.stream(&mut archive, end, position(2, 0), None).unwrap();
            assert_eq!(fixture.read(&name(1, "")), log.segment(1));
            archive.finish().unwrap();
            std::fs::remove_file(fixture.path(&name(1, ""))).unwrap();
        }
    }
}

#[test]
fn rw_234_of_several_parts_the_best_is_taken_and_the_others_go_with_the_complete_segment() {
    let fixture = Fixture::new();
    let log = fixture.log(1);
    let part = |length: usize| &log.segment(1)[..length];
    let sound = |length| {
        let fixture = Fixture::new();
        fixture.write(&name(1, ".partial"), part(length));
        offset(&fixture, 1)
    };
    for (raw, gzip, lz4, best) in [
        (100_000, 300_000, 200_000, 300_000),
        (300_000, 100_000, 200_000, 300_000),
        (1000, 1000, 90_000, 90_000),
    ] {
        fixture.write(&name(1, ".partial"), part(raw));
        fixture.write(&name(1, ".gz.partial"), &compressed(Method::Gzip, part(gzip)));
        fixture.write(&name(1, ".lz4.partial"), &compressed(Method::Lz4, part(lz4)));
        let (mut archive, end) = fixture.resumed();
        let end = end.unwrap().position.value();
        assert_eq!(end, position(1, sound(best)));
        log.stream(&mut archive, end, position(2, 0), None).unwrap();
        archive.finish().unwrap();
        assert_eq!(fixture.names(), [name(1, "")]);
        assert_eq!(fixture.read(&name(1, "")), log.segment(1));
        drop(archive);
        std::fs::remove_file(fixture.path(&name(1, ""))).unwrap();
    }
}

#[test]
fn rw_234_parts_of_a_complete_segment_go_if_it_has_what_they_have() {
    let fixture = Fixture::new();
    let log = fixture.log(3);
    let full = |length: usize| [&log.segment(1)[..length], &vec![0; MIB as usize - length]].concat();
    fixture.write(&name(1, ".gz"), &compressed(Method::Gzip, log.segment(1)));
    fixture.write(&name(1, ".partial"), &full(400_000));
    fixture.write(&name(1, ".lz4.partial"), &compressed(Method::Lz4, &log.segment(1)[..4000]));
    fixture.write(&name(2, ""), log.segment(2));
    fixture.write(&name(2, ".partial"), &log.segment(3)[..4000]);
    fixture.write(&name(3, ""), b"no segment");
    fixture.write(&name(3, ".partial"), &full(0));
    let too_long = [log.segment(3), b"x"].concat();
    fixture.write(&name(3, ".gz"), &compressed(Method::Gzip, &too_long));
    fixture.write(&name(3, ".lz4.partial"), &compressed(Method::Lz4, log.segment(3)));
    assert_eq!(offset(&fixture, 3) / 100_000, 10, "almost all of it");
    let kept =
        [name(1, ".gz"), name(2, ""), name(2, ".partial"), name(3, ""), name(3, ".gz"), name(3, ".partial")];
    assert_eq!(fixture.names(), kept);
    assert_eq!(fixture.read(&name(3, ".partial")), log.segment(3));
}

#[test]
fn i_014_what_a_killed_process_was_making_goes() {
    let fixture = Fixture::new();
    fixture.write(&name(1, ""), fixture.log(1).segment(1));
    let ours = ["next_segment.tmp", "00000002.history.tmp"].map(str::to_owned);
    let ours =
        ours.into_iter().chain([name(1, ".gz.tmp"), name(2, ".partial.tmp"), name(2, ".gz.partial.tmp")]);
    for file in ours {
        fixture.write(&file, b"unfinished");
    }
    let others = ["backup.tmp".to_owned(), "x.partial".to_owned(), name(3, ".tmp")];
    for file in &others {
        fixture.write(file, b"somebody's");
    }
    fixture.end();
    let kept = [name(1, ""), name(3, ".tmp"), "backup.tmp".to_owned(), "x.partial".to_owned()];
    assert_eq!(fixture.names(), kept);
}
