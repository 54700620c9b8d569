//! Segments that are written: their files, their names, what is told of them.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use bytes::Bytes;

use super::*;

fn position(number: u64, offset: u64) -> Lsn {
    Lsn::new(number * MIB + offset)
}

#[test]
fn rw_142_143_151_and_160_a_segment_is_partial_and_of_full_size_until_it_is_complete() {
    for policy in [SyncPolicy::Durable, SyncPolicy::Never] {
        let fixture = Fixture { policy, ..Fixture::new() };
        let log = fixture.log(3);
        let (mut archive, end) = fixture.resumed();
        assert!(end.is_none());
        assert_eq!(fixture.names(), [""; 0], "nothing is created before the first byte");

        let mut open = archive.open_segment(fixture.segment(1, 1), position(1, 0)).unwrap();
        let size = |name: &str| fixture.path(name).metadata().unwrap().len();
        assert_eq!(fixture.names(), [name(1, ".partial")]);
        assert_eq!(size(&name(1, ".partial")), MIB);
        open.append(&log.segment(1)[..1000]).unwrap();
        assert_eq!(open.sync(position(1, 1000)).unwrap().value(), position(1, 1000));
        open.append(&log.segment(1)[1000..]).unwrap();
        assert!(fixture.path(&name(1, ".partial")).exists() && !fixture.path(&name(1, "")).exists());
        assert_eq!(open.complete(position(2, 0)).unwrap().value(), position(2, 0));
        assert_eq!(fixture.read(&name(1, "")), log.segment(1));

        log.stream(&mut archive, position(2, 0), position(3, 500), Some(Closing::EndOfStream)).unwrap();
        archive.finish().unwrap();
        let names = [name(1, ""), name(2, ""), name(3, ".partial")];
        assert_eq!(fixture.names(), names, "and no file made ahead is left");
        assert_eq!(fixture.read(&names[1]), log.segment(2));
        let last = fixture.read(&names[2]);
        assert_eq!(&last[..500], &log.segment(3)[..500]);
        assert!(last.len() as u64 == MIB && last[500..].iter().all(|&byte| byte == 0));
        let told = [
            "finished at 0/200000 (timeline 1)",
            "finished at 0/300000 (timeline 1)",
            "incomplete 000000010000000000000003.partial",
        ];
        assert_eq!(fixture.told(), told);
    }
}

#[test]
fn rw_161_a_segment_that_broke_off_is_kept_without_a_word() {
    let fixture = Fixture::new();
    let (mut archive, _) = fixture.resumed();
    let log = fixture.log(1);
    log.stream(&mut archive, position(1, 0), position(1, 9000), Some(Closing::Interrupted)).unwrap();
    assert_eq!(fixture.told(), [""; 0]);
    assert_eq!(fixture.names(), [name(1, ".partial")]);
    assert_eq!(fixture.read(&name(1, ".partial"))[..9000], log.segment(1)[..9000]);
}

#[test]
fn rw_059_files_are_for_whom_the_server_says() {
    for (access, mode) in [(Access::Owner, 0o600), (Access::Group, 0o640)] {
        let fixture = Fixture { access, ..Fixture::new() };
        let mut archive = fixture.open();
        let log = fixture.log(4);
        log.receive(&fixture, &mut archive, position(4, 10));
        let content = Bytes::from_static(b"1\t0/100000\twhy\n");
        archive.store_history(&TimelineHistoryFile { name: "00000002.history".to_owned(), content }).unwrap();
        for name in fixture.names() {
            let permissions = fixture.path(&name).metadata().unwrap().permissions();
            assert_eq!(permissions.mode() & 0o7777, mode, "{name}");
        }
    }
}

#[test]
fn rw_144_and_145_a_partial_segment_is_written_over_and_never_cut_off() {
    let fixture = Fixture::new();
    let log = fixture.log(1);
    for old in [Vec::new(), vec![0; MIB as usize], vec![7; MIB as usize]] {
        fixture.write(&name(1, ".partial"), &old);
        let (mut archive, _) = fixture.resumed();
        let mut open = archive.open_segment(fixture.segment(1, 1), position(1, 0)).unwrap();
        open.append(&log.segment(1)[..100]).unwrap();
        let content = fixture.read(&name(1, ".partial"));
        assert_eq!(content.len() as u64, MIB);
        assert_eq!(&content[..100], &log.segment(1)[..100]);
        assert!(old.is_empty() || content[100..] == old[100..], "the rest stays until it is written over");
    }
}

#[test]
fn rw_150_and_i_012_what_cannot_be_opened_is_named_and_passes_when_the_cause_is_gone() {
    let fixture = Fixture::new();
    let log = fixture.log(1);
    let (mut archive, _) = fixture.resumed();
    std::fs::create_dir(fixture.path(&name(1, ".partial"))).unwrap();
    let error = archive.open_segment(fixture.segment(1, 1), position(1, 0)).err().unwrap();
    let expected = "could not open write-ahead log file \"000000010000000000000001.partial\": Is a directory";
    assert_eq!(WithCauses(&error).to_string(), expected);
    assert!(error.is_retryable());

    let error = archive.open_segment(fixture.segment(1, 2), position(2, 8192)).err().unwrap();
    let expected = "could not open write-ahead log file \"000000010000000000000002.partial\": \
                    No such file or directory";
    assert_eq!(WithCauses(&error).to_string(), expected);

    std::fs::remove_dir(fixture.path(&name(1, ".partial"))).unwrap();
    log.receive(&fixture, &mut archive, position(2, 0));
    assert_eq!(fixture.read(&name(1, "")), log.segment(1));
}

#[test]
fn i_003_and_rw_166_an_invalid_file_of_the_final_name_is_replaced() {
    let fixture = Fixture::new();
    let log = fixture.log(1);
    let mut torn = log.segment(1).to_vec();
    torn[500_000..].fill(0);
    for wrong in [b"too short".to_vec(), vec![0; MIB as usize], torn] {
        let (mut archive, _) = fixture.resumed();
        let mut open = archive.open_segment(fixture.segment(1, 1), position(1, 0)).unwrap();
        open.append(log.segment(1)).unwrap();
        fixture.write(&name(1, ""), &wrong);
        open.complete(position(2, 0)).unwrap();
        archive.finish().unwrap();
        assert_eq!(fixture.names(), [name(1, "")]);
        assert_eq!(fixture.read(&name(1, "")), log.segment(1));
        std::fs::remove_file(fixture.path(&name(1, ""))).unwrap();
    }
}

#[test]
fn i_004_and_rw_165_a_valid_file_of_the_final_name_is_never_touched() {
    let fixture = Fixture::new();
    let log = fixture.log(1);
    let mut other = fixture.log_kind();
    other.timeline = 1;
    let mut writer = LogWriter::new(MIB, other);
    writer.record(5);
    let different = writer.filled(MIB as usize);
    let path = fixture.path(&name(1, ""));
    for (existing, is_taken) in [(log.segment(1), true), (&different[..], false)] {
        let (mut archive, _) = fixture.resumed();
        let mut open = archive.open_segment(fixture.segment(1, 1), position(1, 0)).unwrap();
        open.append(log.segment(1)).unwrap();
        fixture.write(&name(1, ""), existing);
        let before = path.metadata().unwrap();
        let outcome = open.complete(position(2, 0));
        assert_eq!(outcome.is_ok(), is_taken);
        let after = path.metadata().unwrap();
        assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
        assert_eq!(fixture.read(&name(1, "")), existing);
        if let Err(error) = outcome {
            let expected =
                "WAL segment \"000000010000000000000001\" exists already and differs from what was received";
            assert_eq!(error.to_string(), expected);
            assert_eq!(fixture.read(&name(1, ".partial")), log.segment(1));
        } else {
            assert!(!fixture.path(&name(1, ".partial")).exists());
        }
        drop(archive);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn rw_167_a_name_that_cannot_be_given_is_reported() {
    let fixture = Fixture::new();
    let log = fixture.log(1);
    let (mut archive, _) = fixture.resumed();
    let mut open = archive.open_segment(fixture.segment(1, 1), position(1, 0)).unwrap();
    open.append(log.segment(1)).unwrap();
    std::fs::create_dir(fixture.path(&name(1, ""))).unwrap();
    let error = open.complete(position(2, 0)).unwrap_err();
    let [from, to] = [".partial", ""].map(|suffix| fixture.path(&name(1, suffix)).display().to_string());
    assert_eq!(error.to_string(), format!("could not rename file \"{from}\" to \"{to}\""));
    std::fs::remove_dir(fixture.path(&name(1, ""))).unwrap();
    log.receive(&fixture, &mut archive, position(2, 0));
    assert_eq!(fixture.read(&name(1, "")), log.segment(1));
}

#[test]
fn rw_172_174_176_and_177_histories_are_kept_under_their_plain_name() {
    let fixture = Fixture { policy: SyncPolicy::Durable, ..Fixture::new() };
    let (mut archive, _) = fixture.resumed();
    let content = Bytes::from_static(b"1\t0/100000\twhy\n");
    let file =
        |number| TimelineHistoryFile { name: timeline(number).history_file_name(), content: content.clone() };
    assert!(!archive.has_history(timeline(2)).unwrap());
    archive.store_history(&file(2)).unwrap();
    assert!(archive.has_history(timeline(2)).unwrap());
    assert_eq!(fixture.read("00000002.history"), content);
    for (number, suffix) in [(3, ".gz"), (4, ".lz4"), (5, ".zst")] {
        assert!(!archive.has_history(timeline(number)).unwrap());
        fixture.write(&format!("{}{suffix}", timeline(number).history_file_name()), b"x");
        assert!(archive.has_history(timeline(number)).unwrap());
    }
    std::fs::create_dir(fixture.path("00000006.history")).unwrap();
    assert!(archive.store_history(&file(6)).is_err());
    assert!(fixture.has_no_temporary());
}

#[test]
fn rw_227_one_receiver_at_a_time_has_the_directory() {
    let fixture = Fixture::new();
    let archive = fixture.open();
    let error = fixture.try_open().err().unwrap();
    let path = fixture.path("").display().to_string();
    let path = path.trim_end_matches('/');
    assert_eq!(error.to_string(), format!("directory \"{path}\" is in use by another WAL receiver"));
    drop(archive);
    fixture.open();
}

#[test]
fn rw_227_a_directory_that_was_made_again_is_locked_and_used() {
    let fixture = Fixture::new();
    let log = fixture.log(2);
    let mut archive = fixture.open();
    log.receive(&fixture, &mut archive, position(1, 70_000));
    let root = fixture.path("");
    std::fs::remove_dir_all(&root).unwrap();
    let error = fixture.try_resume(&mut archive).unwrap_err();
    assert!(matches!(error, StorageError::OpenDirectory { .. }) && error.is_retryable(), "{error}");
    std::fs::create_dir(&root).unwrap();
    assert!(fixture.try_resume(&mut archive).unwrap().is_none());
    assert!(fixture.try_open().is_err(), "the new one is locked");
    log.receive(&fixture, &mut archive, position(2, 70_000));
    assert_eq!(fixture.read(&name(1, "")), log.segment(1));
}

#[test]
fn rw_230_segments_have_the_size_of_the_server() {
    for power in [20, 24, 26, 30] {
        let size = SegmentSize::new(1 << power).unwrap();
        let fixture = Fixture { size, ..Fixture::new() };
        let (mut archive, _) = fixture.resumed();
        let segment = fixture.segment(1, 3);
        let start = segment.segment().start(size);
        let mut open = archive.open_segment(segment, start).unwrap();
        open.append(b"wal").unwrap();
        open.close_incomplete(start + 3, Closing::EndOfStream).unwrap();
        let file = fixture.path(&format!("{segment}.partial")).metadata().unwrap();
        assert_eq!(file.len(), size.as_u64());
    }
}
