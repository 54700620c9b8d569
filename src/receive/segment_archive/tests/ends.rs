//! Where an archive ends, by what lies in it.

use super::*;

/// A file of the size of a segment with nothing in it.
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

fn gzip(content: &[u8]) -> Vec<u8> {
    compressed(Method::Gzip, content)
}

fn lz4(content: &[u8]) -> Vec<u8> {
    compressed(Method::Lz4, content)
}

/// One directory: what lies in it, of the log of the first timeline, and where it ends.
type Case<'a> = (&'a [(&'a str, &'a [u8])], Option<(u32, u64, u64)>);

fn check(fixture: &Fixture, cases: &[Case<'_>]) {
    for (files, expected) in cases {
        for (name, content) in *files {
            fixture.write(name, content);
        }
        let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
        assert_eq!(fixture.end(), *expected, "{names:?}");
        for name in fixture.names() {
            std::fs::remove_file(fixture.path(&name)).unwrap();
        }
    }
}

#[test]
fn rw_071_to_075_complete_segments_of_every_form_are_passed_and_partial_ones_are_gone_on_with() {
    let fixture = Fixture::new();
    let log = fixture.log(4);
    let (two, three) = (log.segment(2), log.segment(3));
    let zstd = compressed(Method::Zstd, two);
    // Half of a segment, and how much of it is whole records.
    let half = &three[..500_000];
    let sound = {
        fixture.write(&name(3, ".partial"), half);
        let end = fixture.end();
        std::fs::remove_file(fixture.path(&name(3, ".partial"))).unwrap();
        end.unwrap().2
    };
    assert!(sound > 470_000 && sound < 500_000, "{sound}");
    let (name_2, name_3) = (|suffix| name(2, suffix), |suffix| name(3, suffix));
    let within = Some((1, 3, sound));
    check(
        &fixture,
        &[
            (&[], None),
            (&[(&name_2(""), two)], Some((1, 3, 0))),
            (&[(&name_2(".gz"), &gzip(two))], Some((1, 3, 0))),
            (&[(&name_2(".lz4"), &lz4(two))], Some((1, 3, 0))),
            (&[(&name_2(".zst"), &zstd)], Some((1, 3, 0))),
            (&[(&name_3(".partial"), half)], within),
            (&[(&name_3(".gz.partial"), &gzip(half))], within),
            (&[(&name_3(".lz4.partial"), &lz4(half))], within),
            (&[(&name_3(".zst.partial"), &compressed(Method::Zstd, half))], within),
            (&[(&name_2(""), two), (&name_3(".partial"), half)], within),
            (&[(&name_3(".partial"), b"")], Some((1, 3, 0))),
            (&[(&name_3(".partial"), &ZEROS)], Some((1, 3, 0))),
        ],
    );
}

#[test]
fn rw_076_to_079_what_is_no_segment_is_told_of_and_skipped() {
    let fixture = Fixture::new();
    let log = fixture.log(3);
    let (one, two) = (log.segment(1), log.segment(2));
    let too_long = [two, b"x"].concat();
    let whole = gzip(two);
    let cut = &whole[..whole.len() * 3 / 4];
    let table: [(&str, &[u8], &str); 9] = [
        ("", b"short", "segment file \"{}\" has incorrect size 5, skipping"),
        ("", &too_long, "segment file \"{}\" has incorrect size 1048577, skipping"),
        (".gz", &gzip(b"x"), "compressed segment file \"{}\" has incorrect uncompressed size 1, skipping"),
        (
            ".gz",
            &gzip(&too_long),
            "compressed segment file \"{}\" has incorrect uncompressed size 1048577, skipping",
        ),
        (".lz4", &lz4(b"xy"), "compressed segment file \"{}\" has incorrect uncompressed size 2, skipping"),
        (".gz", b"", "could not decompress segment file \"{}\", skipping: "),
        (".gz", b"abc", "could not decompress segment file \"{}\", skipping: "),
        (".gz", cut, "could not decompress segment file \"{}\", skipping: "),
        (".lz4", b"this is no frame", "could not decompress segment file \"{}\", skipping: "),
    ];
    for (suffix, content, expected) in table {
        fixture.write(&name(1, ""), one);
        fixture.write(&name(2, suffix), content);
        let mut archive = fixture.open();
        for _ in 0..2 {
            let end = fixture.try_resume(&mut archive).unwrap().unwrap();
            assert_eq!(end.position.value(), Lsn::new(2 * MIB));
        }
        let told = fixture.told();
        assert_eq!(told.len(), 1, "once and not at each attempt: {told:?}");
        let expected = format!("warning: {}", expected.replace("{}", &name(2, suffix)));
        assert!(told[0].starts_with(&expected), "{told:?}");
        std::fs::remove_file(fixture.path(&name(2, suffix))).unwrap();
    }
}

#[test]
fn rw_080_to_083_the_highest_segment_wins_then_the_timeline_then_what_is_complete() {
    let fixture = Fixture::new().on_timeline(2, "1\t0/480000\twhy\n");
    let first = fixture.log(6);
    let second = fixture.log_of(2, 4, 2);
    let half = |content: &[u8]| {
        let mut half = content.to_vec();
        half[500_000..].fill(0);
        half
    };
    let (one, other) =
        (|number, suffix| name_on(1, number, suffix), |number, suffix| name_on(2, number, suffix));
    check(
        &fixture,
        &[
            (&[(&one(2, ""), first.segment(2)), (&one(3, ""), first.segment(3))], Some((1, 4, 0))),
            (&[(&one(2, ""), first.segment(2)), (&one(2, ".partial"), b"")], Some((1, 3, 0))),
            (
                &[(&one(2, ".gz"), &gzip(first.segment(2))), (&one(2, ".partial"), first.segment(2))],
                Some((1, 3, 0)),
            ),
            (&[(&one(3, ""), first.segment(3)), (&other(4, ""), second.segment(4))], Some((2, 5, 0))),
            (&[(&one(3, ""), first.segment(3)), (&other(5, ""), second.segment(5))], Some((2, 6, 0))),
            // Segment 4 of the first timeline holds the fork and cannot be complete on it.
            (
                &[(&one(4, ".partial"), &half(first.segment(4))), (&other(4, ""), second.segment(4))],
                Some((2, 5, 0)),
            ),
        ],
    );
}

#[test]
fn rw_228_and_i_006_holes_are_told_of_once() {
    let fixture = Fixture::new();
    let log = fixture.log(9);
    for number in [1, 2, 4, 8] {
        fixture.write(&name(number, ""), log.segment(number));
    }
    fixture.write(&name(7, ".gz"), &gzip(log.segment(7)));
    fixture.write(&name(9, ".partial"), &log.segment(9)[..100_000]);
    let mut archive = fixture.open();
    for _ in 0..2 {
        let end = fixture.try_resume(&mut archive).unwrap().unwrap();
        assert_eq!(end.position.value().segment_number(fixture.size).as_u64(), 9);
    }
    let told = [
        "warning: WAL segments from 000000010000000000000003 to 000000010000000000000003 are missing in the directory",
        "warning: WAL segments from 000000010000000000000005 to 000000010000000000000006 are missing in the directory",
    ];
    let of_holes: Vec<_> = fixture.told().into_iter().filter(|told| told.contains("missing")).collect();
    assert_eq!(of_holes, told);
}

#[test]
fn stray_files_do_not_lead_elsewhere() {
    let fixture = Fixture::new();
    let log = fixture.log(3);
    fixture.write(&name(1, ""), log.segment(1));
    fixture.write(&name(2, ".partial"), log.segment(2));
    // Files of far segments without WAL: nothing says that the segments before them were received.
    fixture.write(&name(900, ".partial"), b"");
    fixture.write(&name(901, ".partial"), &ZEROS);
    fixture.write(&name(902, ".gz.partial"), b"nonsense");
    fixture.write(&name(903, ""), b"nonsense");
    fixture.write(&name(0, ""), &ZEROS);
    fixture.write(&name_on(7, 903, ""), b"nonsense");
    fixture.write(&name_on(7, 903, ".partial"), b"");
    fixture.write("000000010000000000000009.00000028.backup", b"");
    fixture.write("00000001000000000000000a", &ZEROS);
    std::fs::create_dir(fixture.path(&name(904, ""))).unwrap();
    std::fs::create_dir(fixture.path(&name(905, ".partial"))).unwrap();
    std::fs::create_dir(fixture.path(&name_on(7, 905, ".gz.partial"))).unwrap();
    let (timeline, segment, offset) = fixture.end().unwrap();
    assert_eq!((timeline, segment), (1, 2));
    assert!(offset > MIB - 30_000, "{offset}");
}

#[test]
fn i_007_wal_of_another_cluster_is_refused_and_nothing_is_changed() {
    let mut fixture = Fixture::new();
    let log = fixture.log(3);
    let own = fixture.system_id;
    for (file, content) in [
        (name(2, ""), log.segment(2).to_vec()),
        (name(2, ".gz"), gzip(log.segment(2))),
        (name(2, ".partial"), log.segment(2)[..9000].to_vec()),
        (name(2, ".lz4.partial"), lz4(&log.segment(2)[..9000])),
    ] {
        fixture.write(&file, &content);
        fixture.write("next_segment.tmp", b"left over");
        fixture.write(&name(3, ".partial"), b"");
        fixture.system_id = SystemId::new(99);
        let RefusedArchive::ForeignSystem { file: told, found, expected, .. } = fixture.refused() else {
            panic!("{file}");
        };
        assert_eq!((told, found, expected), (file.clone(), own, fixture.system_id));
        let mut archive = fixture.open();
        assert!(fixture.try_resume(&mut archive).is_err());
        archive.finish().unwrap();
        drop(archive);
        assert_eq!(fixture.names(), [file.clone(), name(3, ".partial"), "next_segment.tmp".to_owned()]);
        assert_eq!(fixture.read(&file), content);
        fixture.system_id = own;
        assert!(fixture.end().is_some());
        std::fs::remove_file(fixture.path(&file)).unwrap();
    }
}

#[test]
fn segments_of_another_size_are_refused() {
    for (of_server, in_directory) in [(1 << 20, 16 << 20), (16 << 20, 1 << 20)] {
        let mut fixture = Fixture { size: SegmentSize::new(in_directory).unwrap(), ..Fixture::new() };
        // The name is not one of a segment of 16 MiB, of which 256 share the first half of a position.
        let number = 300;
        let log = fixture.log_of(1, number, 1);
        fixture.write(&fixture.segment(1, number).to_string(), log.segment(number));
        fixture.size = SegmentSize::new(of_server).unwrap();
        let RefusedArchive::SegmentSize { found, expected, .. } = fixture.refused() else { panic!() };
        assert_eq!((found, expected), (in_directory, fixture.size));
    }
}

#[test]
fn rw_098_a_timeline_that_the_server_has_not_is_refused() {
    let fixture = Fixture::new();
    let log = fixture.log_of(2, 4, 1);
    fixture.write(&name(3, ""), fixture.log(3).segment(3));
    fixture.write(&name_on(2, 5, ".partial"), &ZEROS);
    assert_eq!(fixture.end(), Some((1, 4, 0)), "an empty file means nothing");
    for (suffix, content) in
        [("", log.segment(4).to_vec()), (".partial", log.segment(4).to_vec()), (".gz", gzip(log.segment(4)))]
    {
        let file = name_on(2, 4, suffix);
        fixture.write(&file, &content);
        assert_eq!(fixture.refused(), RefusedArchive::NewerTimeline(timeline(2)));
        std::fs::remove_file(fixture.path(&file)).unwrap();
    }
}

#[test]
fn a_fork_is_followed_and_the_other_branch_stays() {
    // The server left the first timeline in the middle of segment 4, and the second at the start of segment 7.
    let fixture = Fixture::new().on_timeline(3, "1\t0/480000\twhy\n2\t0/700000\twhy\n");
    let (first, second) = (fixture.log(7), fixture.log_of(2, 4, 4));
    let (one, two) =
        (|number, suffix| name_on(1, number, suffix), |number, suffix| name_on(2, number, suffix));
    check(
        &fixture,
        &[
            // Before the fork.
            (&[(&one(3, ""), first.segment(3))], Some((1, 4, 0))),
            // Beyond it: the segment that holds it begins anew on the next timeline.
            (&[(&one(4, ""), first.segment(4))], Some((2, 4, 0))),
            (&[(&one(6, ""), first.segment(6))], Some((2, 4, 0))),
            (&[(&one(4, ".partial"), first.segment(4))], Some((2, 4, 0))),
            (&[(&one(5, ".partial"), first.segment(5))], Some((2, 4, 0))),
            // What is there of the next timeline counts more.
            (&[(&one(6, ""), first.segment(6)), (&two(4, ""), second.segment(4))], Some((2, 5, 0))),
            // A segment that ends where the timeline was left.
            (&[(&two(6, ""), second.segment(6))], Some((2, 7, 0))),
            (&[(&two(7, ""), second.segment(7))], Some((3, 7, 0))),
        ],
    );
    assert_eq!(fixture.told().len(), 5);
    fixture.write(&one(6, ""), first.segment(6));
    assert_eq!(fixture.end(), Some((2, 4, 0)));
    let told = "warning: timeline 1 goes on in the directory up to 0/700000, but the server left it at 0/480000; \
                both branches are kept";
    assert_eq!(fixture.told(), [told]);
    assert_eq!(fixture.read(&one(6, "")), first.segment(6));
}

#[test]
fn a_partial_segment_that_ends_before_the_fork_is_gone_on_with() {
    let fixture = Fixture::new().on_timeline(2, "1\t0/480000\twhy\n");
    let log = fixture.log(4);
    fixture.write(&name(4, ".partial"), &log.segment(4)[..200_000]);
    let (timeline, segment, offset) = fixture.end().unwrap();
    assert_eq!((timeline, segment), (1, 4));
    assert!(offset > 170_000 && offset <= 200_000);
    assert_eq!(fixture.told().len(), 1, "of the length of the file only");
}

#[test]
fn a_branch_that_the_server_never_was_on_is_no_place_to_go_on() {
    let fixture = Fixture::new().on_timeline(3, "1\t0/480000\twhy\n");
    let (first, second) = (fixture.log(3), fixture.log_of(2, 4, 3));
    fixture.write(&name_on(2, 6, ""), second.segment(6));
    let RefusedArchive::OffHistory { timeline: off, .. } = fixture.refused() else { panic!() };
    assert_eq!(off, timeline(2));
    fixture.write(&name_on(1, 3, ""), first.segment(3));
    assert_eq!(fixture.end(), Some((1, 4, 0)));
    let told = "warning: timeline 2, which the directory has up to 0/700000, is not in this server's history";
    assert_eq!(fixture.told(), [told]);
}

#[test]
fn i_007_another_timeline_of_the_same_number_is_not_joined_to_that_of_the_archive() {
    let two = "1\t0/480000\twhy\n";
    let fixture = Fixture::new().on_timeline(2, two);
    fixture.write(&name_on(2, 7, ""), fixture.log_of(2, 7, 1).segment(7));
    for content in ["1\t0/480000\tfor another reason\n", "no history", "", "# 1\n"] {
        fixture.write("00000002.history", content.as_bytes());
        assert_eq!(fixture.end(), Some((2, 8, 0)));
    }
    fixture.write("00000002.history", b"1\t0/480028\twhy\n");
    let names = fixture.names();
    let told = format!(
        "file \"00000002.history\" in directory \"{}\" is of another timeline than this server's: \
         it left timeline 1 at 0/480028, the server's left timeline 1 at 0/480000",
        fixture.path("").display().to_string().trim_end_matches('/')
    );
    assert_eq!(fixture.refused().to_string(), told);
    let fixture = fixture.on_timeline(3, &format!("{two}2\t0/800000\twhy\n"));
    assert_eq!(fixture.refused().to_string(), told);
    assert_eq!(fixture.names(), names);
}

#[test]
fn an_empty_part_is_the_end_where_only_parts_of_older_timelines_are_left() {
    let fixture = Fixture::new().on_timeline(2, "1\t0/480000\twhy\n");
    let (first, second) = (fixture.log(5), fixture.log_of(2, 9, 1));
    let (one, two) =
        (|number, suffix| name_on(1, number, suffix), |number, suffix| name_on(2, number, suffix));
    let half = &first.segment(4)[..400_000];
    check(
        &fixture,
        &[
            (&[(&one(4, ".partial"), half), (&two(9, ".partial"), b"")], Some((2, 9, 0))),
            (&[(&one(4, ".partial"), first.segment(4)), (&two(9, ".partial"), &ZEROS)], Some((2, 9, 0))),
            // These say where the archive really ends.
            (&[(&two(9, ""), second.segment(9)), (&two(12, ".partial"), b"")], Some((2, 10, 0))),
        ],
    );
    fixture.write(&two(9, ".partial"), &second.segment(9)[..400_000]);
    fixture.write(&two(12, ".partial"), b"");
    assert_eq!(fixture.end().unwrap().1, 9);
}

#[test]
fn rw_231_segments_on_both_sides_of_4_gib_follow_each_other() {
    let fixture = Fixture::new();
    let log = fixture.log_of(1, 4095, 2);
    fixture.write("000000010000000000000FFF", log.segment(4095));
    assert_eq!(fixture.end(), Some((1, 4096, 0)));
    fixture.write("000000010000000100000000", log.segment(4096));
    assert_eq!(fixture.end(), Some((1, 4097, 0)));
    assert_eq!(fixture.told(), [""; 0]);
}
