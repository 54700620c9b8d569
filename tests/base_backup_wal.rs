//! A backup brings the WAL that it needs, in the way that was asked for, and leaves the server as it should.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;
use support::base_backup::{BackupProgram, file_names, is_segment_name, members, unpack, verify, wal_range};
use support::{
    Cluster, DEADLINE, scratch_directory, start_slow_backup, wait_for, wait_for_phase, wait_for_some,
    wait_until_nothing_replicates,
};

const SEGMENT_SIZE: u64 = 16 << 20;

/// The names of the segments in a directory, each a file of full size and private.
#[track_caller]
fn segments(pg_wal: &Path) -> Vec<String> {
    let names: Vec<String> = file_names(pg_wal).into_iter().filter(|name| is_segment_name(name)).collect();
    for name in &names {
        let metadata = fs::metadata(pg_wal.join(name)).unwrap();
        let mode = metadata.permissions().mode() & 0o7777;
        assert_eq!((metadata.len(), mode), (SEGMENT_SIZE, 0o600), "{name}");
    }
    names
}

/// The directories that `pg_wal` has besides segments.
fn directories(major: u16) -> &'static [&'static str] {
    if major >= 17 { &["archive_status", "summaries"] } else { &["archive_status"] }
}

#[track_caller]
fn none_brings_no_wal(major: u16) {
    let cluster = Cluster::builder(major).start();
    let scratch = scratch_directory();
    let [plain, tar] = ["plain", "tar"].map(|name| scratch.path().join(name));
    let program = BackupProgram::ours();
    for (directory, format) in [(&plain, "plain"), (&tar, "tar")] {
        let run = program.back_up(&cluster, directory).args(["-N", "-X", "none", "--format", format]);
        let stderr = run.run().expect_success().stderr;
        assert!(stderr.starts_with("NOTICE:  WAL archiving is not enabled; "), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    assert_eq!(file_names(&plain.join("pg_wal")), directories(major));
    assert!(file_names(&plain.join("pg_wal/archive_status")).is_empty());
    assert_eq!(file_names(&tar), ["backup_manifest", "base.tar"]);
    verify(cluster.installation(), &plain, &["--no-parse-wal"]);
}

#[test]
fn bb_176_none_brings_no_wal_from_postgresql_15() {
    none_brings_no_wal(15);
}

#[test]
fn bb_176_none_brings_no_wal_from_postgresql_18() {
    none_brings_no_wal(18);
}

#[track_caller]
fn fetch_brings_complete_segments(major: u16) {
    let cluster = Cluster::builder(major).start();
    cluster.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i");
    let scratch = scratch_directory();
    let [plain, tar, unpacked] = ["plain", "tar", "unpacked"].map(|name| scratch.path().join(name));
    let program = BackupProgram::ours();
    program.back_up(&cluster, &plain).args(["-N", "--wal-method=fetch"]).run().expect_success();
    program.back_up(&cluster, &tar).args(["-N", "--wal-method=fetch", "-Ft"]).run().expect_success();
    assert_eq!(file_names(&tar), ["backup_manifest", "base.tar"]);
    unpack(&tar, &unpacked);
    for directory in [plain, unpacked] {
        let segments = segments(&directory.join("pg_wal"));
        assert!(!segments.is_empty());
        let done = file_names(&directory.join("pg_wal/archive_status"));
        assert_eq!(done, segments.iter().map(|name| format!("{name}.done")).collect::<Vec<_>>());
        verify(cluster.installation(), &directory, &[]);
        let restored = Cluster::existing(major, &directory).start();
        assert_eq!(restored.psql("SELECT sum(i) FROM t"), "500500");
    }
    assert_eq!(cluster.psql("SELECT count(*) FROM pg_replication_slots"), "0");
}

#[test]
fn bb_140_bb_177_fetch_brings_complete_segments_from_postgresql_15() {
    fetch_brings_complete_segments(15);
}

#[test]
fn bb_140_bb_177_fetch_brings_complete_segments_from_postgresql_18() {
    fetch_brings_complete_segments(18);
}

/// What the receiver writes, in both formats: segments of full size, without a gap from the start of the backup
/// to its end, and marks for those that are complete.
#[test]
fn bb_197_bb_199_bb_202_stream_brings_all_segments() {
    let cluster = Cluster::builder(18).initdb_arg("--wal-segsize=1").start();
    cluster.pgbench_init(1);
    let scratch = scratch_directory();
    let [plain, tar] = ["plain", "tar"].map(|name| scratch.path().join(name));
    let program = BackupProgram::ours();
    for (directory, format) in [(&plain, "-Fp"), (&tar, "-Ft")] {
        let run = program.back_up(&cluster, directory).args(["-N", "-Xs", "--max-rate=8M", format]);
        let mut running = run.start();
        wait_for_phase(&cluster, &mut running, "streaming database files");
        for _ in 0..3 {
            cluster.psql("UPDATE pgbench_branches SET bbalance = bbalance + 1");
            cluster.psql("SELECT pg_switch_wal()");
        }
        running.finish().expect_success();
    }

    let plain_names: Vec<String> =
        file_names(&plain.join("pg_wal")).into_iter().filter(|name| is_segment_name(name)).collect();
    for name in &plain_names {
        assert_eq!(fs::metadata(plain.join("pg_wal").join(name)).unwrap().len(), 1 << 20, "{name}");
    }
    let plain_marks = file_names(&plain.join("pg_wal/archive_status"));

    let tar_members = members(&tar.join("pg_wal.tar"));
    for member in &tar_members {
        assert!(member.contains(" Regular mode 0600 owner 0:0 postgres:postgres link  "), "{member}");
        let (name, _) = member.split_once(' ').unwrap();
        let size = if is_segment_name(name) { 1 << 20 } else { 0 };
        assert!(member.contains(&format!(" {size} bytes ")), "{member}");
    }
    let name_of = |member: &String| member.split(' ').next().unwrap().to_owned();
    let (tar_names, tar_marks): (Vec<String>, Vec<String>) =
        tar_members.iter().map(name_of).partition(|name| is_segment_name(name));
    let tar_marks: Vec<String> =
        tar_marks.iter().map(|mark| mark.strip_prefix("archive_status/").unwrap().to_owned()).collect();

    for (directory, names, marks) in [(&plain, plain_names, plain_marks), (&tar, tar_names, tar_marks)] {
        let (start, end) = wal_range(directory);
        let numbers = cluster.psql(&format!(
            "SELECT string_agg(pg_walfile_name('0/1'::pg_lsn + number * 1048576::numeric), ' ' ORDER BY number)
             FROM generate_series(div('{start}'::pg_lsn - '0/0', 1048576),
                                  div('{end}'::pg_lsn - '0/1', 1048576)) AS number"
        ));
        let needed: Vec<&str> = numbers.split(' ').collect();
        assert!(needed.len() > 2, "{needed:?}");
        assert_eq!(names[..needed.len()], needed);
        // All but the last one are complete for certain.
        let certain: Vec<String> =
            names[..names.len() - 1].iter().map(|name| format!("{name}.done")).collect();
        assert_eq!(marks[..certain.len()], certain);
        assert!(marks.len() <= names.len());
    }
}

/// Waits until the WAL that goes along has caught up.
#[track_caller]
fn wait_until_streaming(cluster: &Cluster) {
    let streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
    wait_for("the backup to stream WAL", DEADLINE, || cluster.psql(streaming) == "1");
}

#[test]
fn bb_064_bb_115_bb_180_the_temporary_slot_is_there_while_the_backup_runs() {
    let cluster = Cluster::builder(17).start();
    let scratch = scratch_directory();
    let directory = scratch.path().join("backup");
    let program = BackupProgram::ours();
    let mut backup = start_slow_backup(&cluster, program.path(), &["-D", &directory.to_string_lossy()]);
    wait_until_streaming(&cluster);
    assert_eq!(
        cluster.psql("SELECT application_name, state FROM pg_stat_replication ORDER BY state"),
        "pg_basebackup|backup\npg_basebackup|streaming"
    );
    let slot = "SELECT temporary, active, restart_lsn IS NOT NULL, slot_name = 'pg_basebackup_' || active_pid
      FROM pg_replication_slots";
    assert_eq!(cluster.psql(slot), "t|t|t|t");
    let query = cluster.psql("SELECT query FROM pg_stat_activity WHERE query LIKE 'BASE_BACKUP%'");
    assert!(query.contains("MAX_RATE 32,"), "{query}");
    // WAL has a place long before the archive brings one.
    assert!(!directory.join("global/pg_control").exists());
    let pg_wal = directory.join("pg_wal");
    wait_for("a segment", DEADLINE, || file_names(&pg_wal).len() == 3);
    assert_eq!(file_names(&pg_wal)[1..], ["archive_status", "summaries"]);
    backup.signal(Signal::INT);
    assert_eq!(backup.finish().signal(), Some(Signal::INT.as_raw()));
    wait_until_nothing_replicates(&cluster);
}

#[test]
fn bb_115_no_temporary_slot_stays_behind() {
    let cluster = Cluster::builder(16).start();
    let scratch = scratch_directory();
    let program = BackupProgram::ours();
    program.back_up(&cluster, &scratch.path().join("backup")).arg("-N").run().expect_success();
    assert!(cluster.log().contains("CREATE_REPLICATION_SLOT \"pg_basebackup_"));
    wait_until_nothing_replicates(&cluster);
}

#[test]
fn bb_062_bb_064_both_connections_have_the_name_that_was_given() {
    let cluster = Cluster::builder(15).start();
    let scratch = scratch_directory();
    let program = BackupProgram::ours();
    let run = program.back_up(&cluster, &scratch.path().join("backup"));
    let _backup = run.args(["-N", "--no-slot", "--max-rate=32"]).env("PGAPPNAME", "nightly").start();
    wait_until_streaming(&cluster);
    assert_eq!(
        cluster.psql("SELECT application_name, state FROM pg_stat_replication ORDER BY state"),
        "nightly|backup\nnightly|streaming"
    );
    assert_eq!(cluster.psql("SELECT count(*) FROM pg_replication_slots"), "0");
}

#[test]
fn bb_187_feedback_goes_on_while_the_backup_runs() {
    let cluster = Cluster::builder(18).setting("wal_sender_timeout", "0").start();
    let scratch = scratch_directory();
    let directory = scratch.path().join("backup");
    let program = BackupProgram::ours();
    let _backup = start_slow_backup(&cluster, program.path(), &["-s1", "-D", &directory.to_string_lossy()]);
    let reply = || {
        let time = cluster.psql("SELECT reply_time FROM pg_stat_replication WHERE state = 'streaming'");
        (!time.is_empty()).then_some(time)
    };
    let first = wait_for_some("feedback", DEADLINE, reply);
    wait_for("more feedback", DEADLINE, || reply().is_some_and(|time| time != first));
}

#[test]
fn bb_188_without_a_slot_nothing_counts_as_flushed() {
    let cluster = Cluster::builder(18).setting("wal_sender_timeout", "0").start();
    let scratch = scratch_directory();
    let directory = scratch.path().join("backup");
    let program = BackupProgram::ours();
    let options = ["--no-slot", "--status-interval=1", "-D", &directory.to_string_lossy()];
    let _backup = start_slow_backup(&cluster, program.path(), &options);
    wait_until_streaming(&cluster);
    let written = cluster.psql("SELECT pg_switch_wal()");
    let received = format!(
        "SELECT flush_lsn IS NULL FROM pg_stat_replication WHERE state = 'streaming' AND write_lsn >= '{written}'"
    );
    let flushed_nothing = wait_for_some("feedback on new WAL", DEADLINE, || {
        Some(cluster.psql(&received)).filter(|answer| !answer.is_empty())
    });
    assert_eq!(flushed_nothing, "t");
}

#[test]
fn bb_117_bb_120_a_created_slot_stays_and_holds_wal() {
    let cluster = Cluster::builder(18).start();
    let scratch = scratch_directory();
    let program = BackupProgram::ours();
    let [first, second] = ["first", "second"].map(|name| scratch.path().join(name));
    let options = ["-N", "--create-slot", "--slot=kept"];
    program.back_up(&cluster, &first).args(options).run().expect_success();
    let slot = "SELECT slot_name, temporary, restart_lsn IS NOT NULL FROM pg_replication_slots";
    assert_eq!(cluster.psql(slot), "kept|f|t");

    // The second time the name is taken; the slot is not touched, the directory is removed again.
    let restart = cluster.psql("SELECT restart_lsn FROM pg_replication_slots");
    let stderr = program.back_up(&cluster, &second).args(options).run().expect_code(1).stderr;
    assert!(stderr.contains("ERROR:  replication slot \"kept\" already exists\n"), "{stderr}");
    assert!(stderr.starts_with("pg_basebackup: error: could not send replication command \""), "{stderr}");
    assert!(stderr.contains(&format!("pg_basebackup: removing data directory \"{}\"\n", second.display())));
    assert!(!second.exists());
    assert_eq!(cluster.psql("SELECT restart_lsn FROM pg_replication_slots"), restart);
}

/// In SQL, the number of the segment that a position is in.
fn segment(position: &str) -> String {
    format!("div('{position}'::pg_lsn - '0/0', {SEGMENT_SIZE})")
}

#[test]
fn bb_117_bb_189_an_existing_slot_begins_to_hold_wal() {
    let cluster = Cluster::builder(15).start();
    cluster.psql("SELECT pg_create_physical_replication_slot('there')");
    let restart = "SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'there'";
    assert_eq!(cluster.psql(restart), "");
    let scratch = scratch_directory();
    let backup = scratch.path().join("backup");
    BackupProgram::ours().back_up(&cluster, &backup).args(["-N", "-S", "there"]).run().expect_success();
    // It moves on to the end of the last segment that was received as a whole, at most.
    let (start, end) = wal_range(&backup);
    let position = cluster.psql(restart);
    let segments = format!(
        "SELECT {} <= {}, {} <= {} + 1",
        segment(&start),
        segment(&position),
        segment(&position),
        segment(&end)
    );
    assert_eq!(cluster.psql(&segments), "t|t", "{start} {position} {end}");
    assert!(!cluster.log().contains("CREATE_REPLICATION_SLOT"));
}

/// The stream begins where the segment begins in which the backup does, on the timeline of the backup.
#[track_caller]
fn streaming_starts_with_a_whole_segment(major: u16) {
    let cluster = Cluster::builder(major).initdb_arg("--wal-segsize=1").start();
    // Somewhere in the middle.
    cluster.psql("CREATE TABLE t AS SELECT generate_series(1, 5000) AS i");
    let scratch = scratch_directory();
    let backup = scratch.path().join("backup");
    let offset = cluster.log().len();
    BackupProgram::ours().back_up(&cluster, &backup).arg("-N").run().expect_success();
    let (start, _) = wal_range(&backup);
    let segment_start = cluster.psql(&format!(
        "SELECT '0/0'::pg_lsn + div('{start}'::pg_lsn - '0/0', 1048576) * 1048576, pg_walfile_name('{start}')"
    ));
    let (segment_start, name) = segment_start.split_once('|').unwrap();
    assert_ne!(segment_start, start);
    let log = cluster.log();
    let command = log[offset..].lines().find(|line| line.contains("command: START_REPLICATION")).unwrap();
    assert!(command.ends_with(&format!("\" {segment_start} TIMELINE 1")), "{command}");
    let first = file_names(&backup.join("pg_wal")).into_iter().find(|name| is_segment_name(name));
    assert_eq!(first.as_deref(), Some(name));
}

#[test]
fn bb_181_streaming_from_postgresql_15_starts_with_a_whole_segment() {
    streaming_starts_with_a_whole_segment(15);
}

#[test]
fn bb_181_streaming_from_postgresql_18_starts_with_a_whole_segment() {
    streaming_starts_with_a_whole_segment(18);
}

/// The server has nothing to do: still there is WAL in every backup that is asked to bring it.
#[track_caller]
fn there_is_always_a_segment(major: u16) {
    let cluster = Cluster::builder(major).start();
    let program = BackupProgram::ours();
    for options in [&[][..], &["--no-slot"], &["-Xstream"], &["-Xfetch"]] {
        let scratch = scratch_directory();
        let [plain, tar, unpacked] = ["plain", "tar", "unpacked"].map(|name| scratch.path().join(name));
        program.back_up(&cluster, &plain).arg("-N").args(options).run().expect_success();
        program.back_up(&cluster, &tar).args(["-N", "-Ft"]).args(options).run().expect_success();
        unpack(&tar, &unpacked);
        for directory in [plain, unpacked] {
            let found = segments(&directory.join("pg_wal"));
            let (start, _) = wal_range(&directory);
            assert_eq!(found[0], cluster.psql(&format!("SELECT pg_walfile_name('{start}')")), "{options:?}");
        }
    }
}

#[test]
fn bb_200_bb_204_there_is_always_a_segment_of_postgresql_15() {
    there_is_always_a_segment(15);
}

#[test]
fn bb_200_bb_204_there_is_always_a_segment_of_postgresql_18() {
    there_is_always_a_segment(18);
}
