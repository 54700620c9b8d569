//! Disks that are slow, full, broken, or gone: nothing is told to the server that is not so, and the receiver goes on
//! by itself once the cause is gone. Faults come from below the program.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use support::archived_wal::{ArchivedWal, position, segment_number};
use support::base_backup::{file_names, is_segment_name};
use support::receive_order::OrderJudge;
use support::system_calls::{self, events};
use support::wal_program::WalProgram;
use support::{Cluster, DEADLINE, Running, ServerAccount, SmallDisk, scratch_directory, wait_for};

const SEGMENT_SIZE: u64 = 1 << 20;

/// A server with a slot for the receiver, which reserves WAL already.
fn cluster(settings: &[(&str, &str)]) -> Cluster {
    let mut builder = Cluster::builder(15)
        .initdb_arg("--wal-segsize=1")
        .setting("wal_keep_size", "1GB")
        .setting("wal_recycle", "off");
    for (name, value) in settings {
        builder = builder.setting(name, value);
    }
    let cluster = builder.start();
    cluster.psql("CREATE TABLE filler (text text)");
    cluster.psql("SELECT pg_create_physical_replication_slot('s', true)");
    cluster
}

fn new_directory(scratch: &Path, name: &str) -> PathBuf {
    let directory = scratch.join(name);
    fs::create_dir(&directory).unwrap();
    directory
}

/// WAL of so many segments and a bit.
fn write_wal(cluster: &Cluster, segments: u64) {
    let rows = segments * 1900 + 10;
    cluster.psql(&format!("INSERT INTO filler SELECT repeat('x', 500) FROM generate_series(1, {rows})"));
}

/// Waits until what the server has at this moment is durable, and says where that ends.
#[track_caller]
fn wait_until_received(cluster: &Cluster, receiver: &mut Running) -> u64 {
    wait_until_told(cluster, receiver, "flush_lsn")
}

/// The end is asked for once: a server at rest writes WAL too, which may come after the receiver has been stopped.
#[track_caller]
fn wait_until_told(cluster: &Cluster, receiver: &mut Running, position_told: &str) -> u64 {
    let end = cluster.psql("SELECT pg_current_wal_flush_lsn()");
    let condition = format!("SELECT {position_told} >= '{end}' FROM pg_stat_replication");
    let started = Instant::now();
    wait_for("everything to be received", DEADLINE, || {
        let stderr = receiver.stderr_so_far();
        assert!(receiver.is_running() && started.elapsed() < DEADLINE / 2, "not received: {stderr}");
        cluster.psql(&condition) == "t"
    });
    position(&end)
}

#[track_caller]
fn wait_for_message(receiver: &mut Running, message: &str, times: usize) {
    wait_for(message, DEADLINE, || {
        let stderr = receiver.stderr_so_far();
        assert!(receiver.is_running(), "the receiver ended early: {stderr}");
        stderr.matches(message).count() >= times
    });
}

/// Ends the receiver in good order, with everything in the directory that the server has.
#[track_caller]
fn finish(cluster: &Cluster, mut receiver: Running, archive: &mut ArchivedWal) {
    let end = wait_until_received(cluster, &mut receiver);
    receiver.signal(Signal::INT);
    receiver.finish().expect_success();
    let found = archive.check();
    assert!(found.recoverable >= end, "{found:X?} does not reach {end:X}");
    assert_eq!(found.temporary, 0, "a temporary file was left");
}

/// What the server has heard to be durable, of a receiver that has ended.
#[track_caller]
fn acknowledged(cluster: &Cluster) -> u64 {
    wait_for("the slot to be free", DEADLINE, || {
        cluster.psql("SELECT active FROM pg_replication_slots") == "f"
    });
    position(&cluster.psql("SELECT restart_lsn FROM pg_replication_slots"))
}

const SYNCHRONOUS: [&str; 2] = ["--synchronous", "--slot=s"];

/// Each sync takes this long; the server would lose patience after 3 seconds.
#[track_caller]
fn slow_syncs_cost_no_connection(delay: &str, lasting: &str) {
    let cluster = cluster(&[("wal_sender_timeout", "3s")]);
    cluster.pgbench_init(1);
    let scratch = scratch_directory();
    let directory = new_directory(scratch.path(), "archive");
    let log = scratch.path().join("calls");
    let inject = format!("inject=fsync,fdatasync:delay_enter={delay}");
    let strace = ["--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-e", &inject];
    let ours = WalProgram::ours();
    let mut receiver = ours.traced(&strace, &log, &cluster, &directory).args(SYNCHRONOUS).start();
    let load = cluster.pgbench_load();
    wait_for("the receiver", DEADLINE, || cluster.psql("SELECT count(*) FROM pg_stat_replication") == "1");
    let sender = cluster.psql("SELECT pid FROM pg_stat_replication");
    let condition = format!("SELECT reply_time - backend_start > '{lasting}' FROM pg_stat_replication");
    wait_for("the receiver to have lived for long", DEADLINE, || cluster.psql(&condition) == "t");
    load.stop(&cluster);
    assert_eq!(cluster.psql("SELECT pid FROM pg_stat_replication"), sender, "{}", receiver.stderr_so_far());
    assert_eq!(receiver.stderr_so_far(), "");
    let flushed = position(&cluster.psql("SELECT flush_lsn FROM pg_stat_replication"));
    receiver.signal(Signal::KILL);
    receiver.finish();
    let found = ArchivedWal::new(&directory, cluster.data_dir(), SEGMENT_SIZE).check();
    assert!(found.recoverable >= flushed, "{found:X?} does not reach {flushed:X}");
    let slow = fs::read_to_string(&log).unwrap().matches("DELAYED").count();
    assert!(slow >= 3, "{slow} syncs");
}

#[test]
fn rw_222_i_016_syncs_of_200_milliseconds_cost_no_connection() {
    slow_syncs_cost_no_connection("200ms", "4 s");
}

#[test]
fn rw_222_i_016_syncs_of_2_seconds_cost_no_connection() {
    slow_syncs_cost_no_connection("2s", "8 s");
}

/// One sync fails, each time a later one.
#[test]
fn rw_158_and_159_i_011_a_failed_sync_ends_it_and_nothing_more_is_told() {
    let cluster = cluster(&[]);
    let scratch = scratch_directory();
    let directory = new_directory(scratch.path(), "archive");
    let log = scratch.path().join("calls");
    let mut archive = ArchivedWal::new(&directory, cluster.data_dir(), SEGMENT_SIZE);
    let ours = WalProgram::ours();
    for failing in 1..=10 {
        let found = sound(&archive, &directory);
        let inject = format!("inject=fsync,fdatasync:error=EIO:when={failing}");
        let strace = [&system_calls::OPTIONS[..], &["-e", &inject]].concat();
        let mut receiver = ours.traced(&strace, &log, &cluster, &directory).args(SYNCHRONOUS).start();
        wait_for("the failure", DEADLINE, || {
            write_wal(&cluster, 0);
            cluster.psql("SELECT pg_switch_wal()");
            !receiver.is_running()
        });
        let outcome = receiver.finish().expect_code(1);
        assert!(outcome.stderr.contains("error: could not fsync "), "{failing}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("disconnected"), "{failing}: {}", outcome.stderr);

        let start = first_asked_for(&found, &directory) * SEGMENT_SIZE;
        let judgement = OrderJudge::new(&directory, SEGMENT_SIZE, &found)
            .judge(&events(&fs::read_to_string(&log).unwrap()), start);
        assert!(judgement.wrong.is_empty(), "{failing}: {:#?}", judgement.wrong);
        let (told, found) = (acknowledged(&cluster), archive.check());
        assert!(found.recoverable >= told, "{failing}: {found:X?} does not reach {told:X}");
    }
    let receiver = ours.receive(&cluster, &directory).args(SYNCHRONOUS).start();
    finish(&cluster, receiver, &mut archive);
}

/// The segment in which a receiver begins that found these files and has left those in the directory.
fn first_asked_for(found: &[(String, u64)], directory: &Path) -> u64 {
    let number = |name: &str| segment_number(&name[..24], SEGMENT_SIZE);
    match found.last() {
        Some((partial, _)) if partial.ends_with(".partial") => number(partial),
        Some((complete, _)) => number(complete) + 1,
        None => number(&file_names(directory)[0]),
    }
}

/// The files in the directory and how much of them is sound.
fn sound(archive: &ArchivedWal, directory: &Path) -> Vec<(String, u64)> {
    let length = |name: &str| match name.get(24..) {
        Some(".partial") => archive.sound_length(name, &name[..24]),
        _ => fs::metadata(directory.join(name)).unwrap().len(),
    };
    let segments =
        file_names(directory).into_iter().filter(|name| is_segment_name(name.split('.').next().unwrap()));
    segments.map(|name| (name.clone(), length(&name))).collect()
}

#[test]
fn rw_154_i_012_a_full_disk_is_waited_for() {
    let cluster = cluster(&[]);
    for options in [
        &SYNCHRONOUS[..],
        &["--slot=s", "--compress=gzip:1"],
        &["--slot=s", "--compress=zstd", "--synchronous"],
    ] {
        let disk = SmallDisk::new("16m");
        let directory = new_directory(disk.path(), "archive");
        let filler = disk.path().join("filler");
        fs::write(&filler, vec![1; 13 << 20]).unwrap();
        let mut archive = ArchivedWal::new(&directory, cluster.data_dir(), SEGMENT_SIZE);
        // Each of the receivers begins where the slot is.
        cluster.psql("SELECT pg_drop_replication_slot('s')");
        cluster.psql("SELECT pg_create_physical_replication_slot('s', true)");
        let mut receiver = WalProgram::ours().receive(&cluster, &directory).args(options).start();
        wait_for("a full disk", DEADLINE, || {
            write_wal(&cluster, 1);
            assert!(receiver.is_running(), "{options:?}: {}", receiver.stderr_so_far());
            // What compresses may be the first to say so, and stops nothing.
            let stderr = receiver.stderr_so_far();
            stderr.matches("No space left on device").count() >= 3 && stderr.contains("; waiting ")
        });
        let told = position(&cluster.psql("SELECT restart_lsn FROM pg_replication_slots"));
        let found = archive.check();
        assert!(found.recoverable >= told, "{options:?}: {found:X?} does not reach {told:X}");
        fs::remove_file(filler).unwrap();
        let end = wait_until_told(&cluster, &mut receiver, "write_lsn");
        receiver.signal(Signal::INT);
        receiver.finish().expect_success();
        let found = archive.check();
        assert!(found.recoverable >= end, "{options:?}: {found:X?} does not reach {end:X}");
        assert_eq!(found.temporary, 0, "{options:?}: {:?}", file_names(&directory));
    }
}

#[test]
fn rw_150_i_012_a_directory_that_cannot_be_written_is_waited_for() {
    let cluster = cluster(&[]);
    let ours = WalProgram::ours();

    let disk = SmallDisk::new("16m");
    let directory = new_directory(disk.path(), "archive");
    disk.make_read_only();
    let mut receiver = ours.receive(&cluster, &directory).args(SYNCHRONOUS).start();
    write_wal(&cluster, 1);
    wait_for_message(&mut receiver, "Read-only file system", 2);
    disk.make_writable();
    finish(&cluster, receiver, &mut ArchivedWal::new(&directory, cluster.data_dir(), SEGMENT_SIZE));

    let scratch = scratch_directory();
    let directory = new_directory(scratch.path(), "archive");
    ServerAccount::current().own(&directory);
    fs::set_permissions(&directory, Permissions::from_mode(0o500)).unwrap();
    let mut receiver = ours.receive(&cluster, &directory).args(SYNCHRONOUS).by_server_account().start();
    write_wal(&cluster, 1);
    wait_for_message(&mut receiver, "error: could not open write-ahead log file \"", 2);
    assert!(
        receiver.stderr_so_far().contains(".partial\": Permission denied"),
        "{}",
        receiver.stderr_so_far()
    );
    fs::set_permissions(&directory, Permissions::from_mode(0o700)).unwrap();
    finish(&cluster, receiver, &mut ArchivedWal::new(&directory, cluster.data_dir(), SEGMENT_SIZE));
}

#[test]
fn i_012_and_014_a_directory_that_was_removed_and_made_again_is_written_to() {
    let cluster = cluster(&[]);
    let scratch = scratch_directory();
    let directory = new_directory(scratch.path(), "archive");
    let mut receiver = WalProgram::ours().receive(&cluster, &directory).args(SYNCHRONOUS).start();
    write_wal(&cluster, 1);
    wait_until_received(&cluster, &mut receiver);
    fs::remove_dir_all(&directory).unwrap();
    write_wal(&cluster, 3);
    wait_for_message(&mut receiver, "disconnected", 2);
    fs::create_dir(&directory).unwrap();
    write_wal(&cluster, 1);
    finish(&cluster, receiver, &mut ArchivedWal::new(&directory, cluster.data_dir(), SEGMENT_SIZE));
}

/// Calls that fail until the cause is gone.
struct Fault {
    calls: &'static str,
    error: &'static str,
    /// Which of the calls of a thread fail.
    when: &'static str,
    /// Whether other files than segments are written in the same way.
    on_segments_only: bool,
    /// What the receiver says of it; nothing where it goes on all the same.
    said: &'static str,
}

const fn fault(calls: &'static str, error: &'static str, when: &'static str, said: &'static str) -> Fault {
    Fault { calls, error, when, on_segments_only: false, said }
}

const fn fault_on_segments(
    calls: &'static str,
    error: &'static str,
    when: &'static str,
    said: &'static str,
) -> Fault {
    Fault { calls, error, when, on_segments_only: true, said }
}

const RENAME: &str = "rename,renameat,renameat2";
const WRITE: &str = "write,pwrite64,writev,pwritev";

const FAULTS: [Fault; 11] = [
    fault(RENAME, "EIO", "1+", "could not rename file \""),
    fault(RENAME, "EACCES", "2+", ""),
    fault("fallocate", "ENOSPC", "1+", "No space left on device"),
    fault_on_segments(WRITE, "EIO", "1+", "Input/output error"),
    fault_on_segments(WRITE, "ENOSPC", "3+", "No space left on device"),
    fault_on_segments(WRITE, "EDQUOT", "2+2", ""),
    fault("fchmod", "EPERM", "1+", ""),
    fault("unlink,unlinkat", "EACCES", "1+", ""),
    fault("ftruncate", "EIO", "1+", ""),
    fault("lseek", "EIO", "1+", ""),
    fault("getdents64", "EIO", "1+", "Input/output error"),
];

/// Options for `strace` that name the segments that come next.
fn coming_segments(cluster: &Cluster, directory: &Path) -> Vec<String> {
    let current = position(&cluster.psql("SELECT pg_current_wal_flush_lsn()")) / SEGMENT_SIZE;
    let name = |number: u64| format!("{:08X}{:08X}{:08X}.partial", 1, number >> 12, number & 0xFFF);
    let path = |number| directory.join(name(number)).display().to_string();
    (current..current + 8).flat_map(|number| ["-P".to_owned(), path(number)]).collect()
}

/// Takes `strace` off the receiver, and the faults with it.
#[track_caller]
fn mend(receiver: &Running) {
    let tracer = || {
        let status = fs::read_to_string(format!("/proc/{}/status", receiver.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).unwrap();
        Pid::from_raw(line.trim().parse().unwrap())
    };
    kill_process(tracer().unwrap(), Signal::TERM).unwrap();
    wait_for("strace to go", DEADLINE, || tracer().is_none());
}

/// The receiver says so, tries again, and goes on when the cause is gone; nothing is missing in the end.
#[test]
fn rw_150_154_and_167_i_012_and_014_any_call_may_fail_for_a_while() {
    let cluster = cluster(&[]);
    let scratch = scratch_directory();
    let directory = new_directory(scratch.path(), "archive");
    let log = scratch.path().join("calls");
    let mut archive = ArchivedWal::new(&directory, cluster.data_dir(), SEGMENT_SIZE);
    let ours = WalProgram::ours();
    for Fault { calls, error, when, on_segments_only, said } in FAULTS {
        let context = format!("{calls} {error} {when}");
        let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:error={error}:when={when}"));
        let paths = if on_segments_only { coming_segments(&cluster, &directory) } else { Vec::new() };
        let strace = ["-e", &trace, "-e", &inject].into_iter().chain(paths.iter().map(String::as_str));
        let mut receiver =
            ours.traced(&strace.collect::<Vec<_>>(), &log, &cluster, &directory).args(SYNCHRONOUS).start();
        write_wal(&cluster, 1);
        cluster.psql("SELECT pg_switch_wal()");
        write_wal(&cluster, 0);
        if !said.is_empty() {
            wait_for_message(&mut receiver, said, 2);
            assert!(receiver.stderr_so_far().contains("disconnected; waiting "), "{context}");
            assert!(fs::read_to_string(&log).unwrap().contains("(INJECTED)"), "{context}");
        }
        mend(&receiver);
        wait_until_received(&cluster, &mut receiver);
        receiver.signal(Signal::KILL);
        receiver.finish();
        let (told, found) = (acknowledged(&cluster), archive.check());
        assert!(found.recoverable >= told, "{context}: {found:X?} does not reach {told:X}");
    }
    let receiver = ours.receive(&cluster, &directory).args(SYNCHRONOUS).start();
    finish(&cluster, receiver, &mut archive);
}

/// The second one goes away at once, and the first does not notice; a killed one does not stand in the way.
#[test]
fn i_013_there_is_one_receiver_in_a_directory() {
    let cluster = cluster(&[]);
    let scratch = scratch_directory();
    let directory = new_directory(scratch.path(), "archive");
    let mut archive = ArchivedWal::new(&directory, cluster.data_dir(), SEGMENT_SIZE);
    let ours = WalProgram::ours();
    let mut first = ours.receive(&cluster, &directory).args(SYNCHRONOUS).start();
    write_wal(&cluster, 1);
    wait_until_received(&cluster, &mut first);
    let before = file_names(&directory);
    for options in [&[][..], &["--no-loop"], &["--compress=gzip"]] {
        let second = ours.receive(&cluster, &directory).args(options).run().expect_code(1);
        let said = format!("error: directory \"{}\" is in use by another WAL receiver", directory.display());
        assert!(second.stderr.contains(&said), "{}", second.stderr);
        assert_eq!(file_names(&directory), before);
    }
    first.signal(Signal::KILL);
    first.finish();
    let next = ours.receive(&cluster, &directory).args(SYNCHRONOUS).start();
    write_wal(&cluster, 1);
    finish(&cluster, next, &mut archive);
}
