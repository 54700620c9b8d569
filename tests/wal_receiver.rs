//! The WAL receiver against real servers: what it stores is what the server has, and it stops in good order.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "support/receiving.rs"]
mod receiving;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgsiphon::receive::{DirectoryArchive, ReceiveError, ReceiveOptions, TarArchive};
use pgsiphon::storage::{Access, Directory, SyncPolicy};
use pgsiphon::types::{Lsn, SegmentSize, TimelineId};
use receiving::{Receiving, plain_options};
use support::{Cluster, ClusterBuilder, DEADLINE, ErrorText, Run, StopMode, VERSIONS, wait_for};
use tempfile::TempDir;

fn segment_size() -> SegmentSize {
    SegmentSize::new(16 << 20).unwrap()
}

fn directory_archive(root: &Path, policy: SyncPolicy) -> DirectoryArchive {
    let root = Directory::open(root).unwrap();
    DirectoryArchive::create(&root, segment_size(), false, Access::Owner, policy).unwrap()
}

fn tar_archive(root: &Path) -> TarArchive {
    TarArchive::new(Directory::open(root).unwrap(), segment_size(), Access::Owner, SyncPolicy::Durable)
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn builder(major: u16) -> ClusterBuilder {
    let kept = if major < 13 { ("wal_keep_segments", "64") } else { ("wal_keep_size", "1GB") };
    Cluster::builder(major)
        .setting(kept.0, kept.1)
        .setting("max_wal_senders", "8")
        .setting("wal_level", "replica")
}

/// The end of what the server has flushed, which is what it sends.
fn end_of_wal(cluster: &Cluster) -> Lsn {
    cluster.psql("SELECT pg_current_wal_flush_lsn()").parse().unwrap()
}

/// Writes WAL of a few segments, some of them cut short.
fn write_wal(cluster: &Cluster) {
    cluster.psql("CREATE TABLE IF NOT EXISTS filler (text text)");
    cluster.psql("INSERT INTO filler SELECT repeat('x', 500) FROM generate_series(1, 40000)");
    cluster.psql("SELECT pg_switch_wal()");
    cluster.psql("INSERT INTO filler VALUES ('y')");
    cluster.psql("SELECT pg_switch_wal()");
    cluster.psql("INSERT INTO filler VALUES ('z')");
}

/// The segments in a directory, by name.
fn segments(pg_wal: &Path) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| path.file_name().unwrap().len() == 24;
    let mut found: Vec<_> =
        fs::read_dir(pg_wal).unwrap().map(|entry| entry.unwrap().path()).filter(is_segment).collect();
    found.sort();
    found
}

/// Everything up to `end` is what the server has; the complete segments and only they are marked.
fn assert_same_wal(pg_wal: &Path, cluster: &Cluster, end: Lsn) {
    let found = segments(pg_wal);
    assert!(found.len() > 2, "{found:?}");
    let (last, complete) = found.split_last().unwrap();
    let of_server =
        |path: &Path| fs::read(cluster.data_dir().join("pg_wal").join(path.file_name().unwrap())).unwrap();
    let is_marked = |path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        pg_wal.join(format!("archive_status/{name}.done")).exists()
    };
    for path in complete {
        assert!(fs::read(path).unwrap() == of_server(path), "{}", path.display());
        assert!(is_marked(path), "{}", path.display());
    }
    let (received, sent) = (fs::read(last).unwrap(), of_server(last));
    assert_eq!(received.len(), 16 << 20);
    let length = usize::try_from(end.segment_offset(segment_size())).unwrap();
    assert!(received[..length] == sent[..length], "{}", last.display());
    assert!(!is_marked(last));
}

/// Both archives hold what a server of that version wrote while they received.
#[track_caller]
fn stores_what_the_server_has(major: u16) {
    let cluster = builder(major).start();
    let options = plain_options(end_of_wal(&cluster), segment_size());
    let (plain, tar, unpacked) = (directory(), directory(), directory());
    let archive = directory_archive(plain.path(), SyncPolicy::Durable);
    let to_directory = Receiving::start(&cluster.conninfo(), options.clone(), archive);
    let to_tar = Receiving::start(&cluster.conninfo(), options, tar_archive(tar.path()));
    write_wal(&cluster);
    let end = end_of_wal(&cluster);
    for receiving in [to_directory, to_tar] {
        receiving.stop_at(end);
        assert!(receiving.finish().unwrap().end.value() >= end);
    }
    assert_same_wal(&plain.path().join("pg_wal"), &cluster, end);
    Run::new("/usr/bin/tar")
        .args([Path::new("-C"), unpacked.path(), Path::new("-xf"), &tar.path().join("pg_wal.tar")])
        .run()
        .expect_success();
    assert_same_wal(unpacked.path(), &cluster, end);
}

macro_rules! every_version {
    ($($name:ident: $major:literal,)*) => {
        $(#[test] fn $name() { stores_what_the_server_has($major); })*

        #[test]
        fn every_supported_version_is_tested() {
            assert_eq!([$($major),*], VERSIONS);
        }
    };
}

every_version! {
    bb_197_bb_199_wal_of_postgresql_10_is_stored: 10,
    bb_197_bb_199_wal_of_postgresql_11_is_stored: 11,
    bb_197_bb_199_wal_of_postgresql_12_is_stored: 12,
    bb_197_bb_199_wal_of_postgresql_13_is_stored: 13,
    bb_197_bb_199_wal_of_postgresql_14_is_stored: 14,
    bb_197_bb_199_wal_of_postgresql_15_is_stored: 15,
    bb_197_bb_199_wal_of_postgresql_16_is_stored: 16,
    bb_197_bb_199_wal_of_postgresql_17_is_stored: 17,
    bb_197_bb_199_wal_of_postgresql_18_is_stored: 18,
}

#[test]
fn bb_189_rw_134_rw_137_a_slot_follows_what_is_durable_without_waiting_for_an_interval() {
    let cluster = builder(15).start();
    cluster.psql("SELECT pg_create_physical_replication_slot('s')");
    let directory = directory();
    let options = ReceiveOptions {
        slot: Some("s".to_owned()),
        status_interval: Some(Duration::from_hours(1)),
        ..plain_options(end_of_wal(&cluster), segment_size())
    };
    let archive = directory_archive(directory.path(), SyncPolicy::Durable);
    let receiving = Receiving::start(&cluster.conninfo(), options, archive);
    let slot_says =
        |what: &str| cluster.psql(&format!("SELECT {what} FROM pg_replication_slots WHERE slot_name = 's'"));
    wait_for("the slot to be used", DEADLINE, || slot_says("restart_lsn IS NOT NULL") == "t");
    write_wal(&cluster);
    let last_segment = end_of_wal(&cluster).segment_start(segment_size());
    wait_for("the slot to follow", DEADLINE, || slot_says(&format!("restart_lsn = '{last_segment}'")) == "t");
    receiving.stop_at(Lsn::ZERO);
    receiving.finish().unwrap();
}

#[test]
fn rw_129_an_idle_connection_outlives_the_timeout_of_the_server_without_an_interval() {
    let cluster = builder(15).setting("wal_sender_timeout", "1s").start();
    let directory = directory();
    let options = plain_options(end_of_wal(&cluster), segment_size());
    let archive = directory_archive(directory.path(), SyncPolicy::Never);
    let receiving = Receiving::start(&cluster.conninfo(), options, archive);
    wait_for("answers for three times the timeout", DEADLINE, || {
        cluster.psql("SELECT reply_time - backend_start > '3 s' FROM pg_stat_replication") == "t"
    });
    receiving.stop_at(Lsn::ZERO);
    receiving.finish().unwrap();
}

#[test]
fn bb_191_an_idle_receiver_stops_when_the_end_becomes_known() {
    let cluster = builder(15).start();
    let directory = directory();
    let start = end_of_wal(&cluster);
    let options = ReceiveOptions {
        status_interval: Some(Duration::from_secs(1)),
        ..plain_options(start, segment_size())
    };
    let archive = directory_archive(directory.path(), SyncPolicy::Durable);
    let receiving = Receiving::start(&cluster.conninfo(), options, archive);
    cluster.psql("CREATE TABLE t AS SELECT 1");
    wait_for("everything to be received", DEADLINE, || {
        cluster.psql("SELECT write_lsn = pg_current_wal_flush_lsn() FROM pg_stat_replication") == "t"
    });
    receiving.stop_at(start);
    assert!(receiving.finish().unwrap().end.value() >= start);
    assert_eq!(segments(&directory.path().join("pg_wal")).len(), 1);
}

#[test]
fn rw_189_a_server_that_shuts_down_gets_everything_confirmed() {
    for (slot, synchronous) in [(false, false), (true, false), (false, true)] {
        let mut cluster = builder(15).start();
        if slot {
            cluster.psql("SELECT pg_create_physical_replication_slot('s')");
        }
        let directory = directory();
        let options = ReceiveOptions {
            slot: slot.then(|| "s".to_owned()),
            synchronous,
            ..plain_options(end_of_wal(&cluster), segment_size())
        };
        let archive = directory_archive(directory.path(), SyncPolicy::Durable);
        let receiving = Receiving::start(&cluster.conninfo(), options, archive);
        wait_for("the stream", DEADLINE, || {
            cluster.psql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1"
        });
        write_wal(&cluster);
        assert_eq!(cluster.stop(StopMode::Fast).code(), Some(0));
        assert!(matches!(receiving.finish(), Err(ReceiveError::Terminated)));
        assert!(!cluster.log().contains("replication timeout"), "{}", cluster.log());
        // The last record, of the shutdown checkpoint, is in the last segment.
        let last = segments(&directory.path().join("pg_wal")).pop().unwrap();
        let of_server = cluster.data_dir().join("pg_wal").join(last.file_name().unwrap());
        assert!(fs::read(last).unwrap() == fs::read(of_server).unwrap());
    }
}

#[test]
fn bb_193_an_error_of_the_server_is_told_in_its_words() {
    let cluster = builder(15).start();
    let start = end_of_wal(&cluster);
    let directory = directory();
    let with_slot = ReceiveOptions { slot: Some("none".to_owned()), ..plain_options(start, segment_size()) };
    let archive = directory_archive(directory.path(), SyncPolicy::Never);
    let error = Receiving::start(&cluster.conninfo(), with_slot, archive).finish().unwrap_err().with_causes();
    assert!(error.starts_with("could not send replication command \"START_REPLICATION\": "), "{error}");
    assert!(error.ends_with("ERROR:  replication slot \"none\" does not exist"), "{error}");

    let archive = directory_archive(directory.path(), SyncPolicy::Never);
    let options = plain_options(start, segment_size());
    let receiving = Receiving::start(&cluster.conninfo(), options, archive);
    wait_for("the stream", DEADLINE, || {
        cluster.psql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_replication") == "1"
    });
    let error = receiving.finish().unwrap_err().with_causes();
    assert_eq!(
        error,
        "unexpected termination of replication stream: \
         FATAL:  terminating connection due to administrator command"
    );
}

#[test]
fn bb_192_rw_181_rw_182_rw_183_a_promotion_is_followed() {
    let primary = builder(15).start();
    let standby = primary.start_standby();
    let start = end_of_wal(&primary);
    let (plain, tar) = (directory(), directory());
    let options = plain_options(start, segment_size());
    let archive = directory_archive(plain.path(), SyncPolicy::Durable);
    let to_directory = Receiving::start(&standby.conninfo(), options.clone(), archive);
    let to_tar = Receiving::start(&standby.conninfo(), options, tar_archive(tar.path()));
    write_wal(&primary);
    standby.wait_until_replayed(&primary);
    standby.promote();
    write_wal(&standby);
    let end = end_of_wal(&standby);
    for receiving in [to_directory, to_tar] {
        receiving.stop_at(end);
        let report = receiving.finish().unwrap();
        assert_eq!(report.timeline, TimelineId::new(2).unwrap());
        assert!(report.end.value() >= end);
    }

    let pg_wal = plain.path().join("pg_wal");
    let history = fs::read_to_string(pg_wal.join("00000002.history")).unwrap();
    let of_server = standby.data_dir().join("pg_wal/00000002.history");
    assert_eq!(history, fs::read_to_string(of_server).unwrap());
    let fork: Lsn = history.split('\t').nth(1).unwrap().parse().unwrap();
    let on_second: Vec<_> = segments(&pg_wal).into_iter().filter(|path| is_on_timeline_2(path)).collect();
    let number = fork.segment_number(segment_size()).as_u64();
    // The segment with the fork is there twice: as far as the old timeline went, and whole.
    assert!(pg_wal.join(format!("00000001{number:016X}")).exists());
    assert!(!pg_wal.join(format!("archive_status/00000001{number:016X}.done")).exists());
    assert!(on_second[0].ends_with(format!("00000002{number:016X}")));
    for path in &on_second[..on_second.len() - 1] {
        let of_server = standby.data_dir().join("pg_wal").join(path.file_name().unwrap());
        assert!(fs::read(path).unwrap() == fs::read(of_server).unwrap(), "{}", path.display());
    }
    assert!(fs::metadata(tar.path().join("pg_wal.tar")).unwrap().len() > on_second.len() as u64 * (16 << 20));
}

fn is_on_timeline_2(path: &Path) -> bool {
    path.file_name().unwrap().to_str().unwrap().starts_with("00000002")
}

#[test]
fn rw_105_a_fork_at_the_end_of_a_segment_is_passed() {
    let mut primary = builder(15).setting("autovacuum", "off").start();
    let standby = primary.start_standby();
    primary.psql("CREATE TABLE t AS SELECT 1");
    primary.psql("SELECT pg_switch_wal()");
    let boundary = end_of_wal(&primary);
    wait_for("the standby to have everything", DEADLINE, || {
        standby.psql(&format!("SELECT pg_last_wal_receive_lsn() >= '{boundary}'")) == "t"
    });
    primary.crash();
    standby.promote();
    standby.psql("CREATE TABLE u AS SELECT 1");
    let history = fs::read_to_string(standby.data_dir().join("pg_wal/00000002.history")).unwrap();
    let fork: Lsn = history.split('\t').nth(1).unwrap().parse().unwrap();
    let directory = directory();
    let archive = directory_archive(directory.path(), SyncPolicy::Durable);
    let options = plain_options(fork, segment_size());
    let receiving = Receiving::start(&standby.conninfo(), options, archive);
    receiving.stop_at(end_of_wal(&standby));
    assert_eq!(receiving.finish().unwrap().timeline, TimelineId::new(2).unwrap());
    assert!(segments(&directory.path().join("pg_wal")).iter().all(|path| is_on_timeline_2(path)));
}
