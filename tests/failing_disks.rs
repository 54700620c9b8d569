//! Disks that fail in any call: a base backup then ends with the file's name and leaves nothing behind, a receiver goes
//! on when the cause is gone, and neither takes for stored what is not.
//!
//! The failures come from a library between the program and the system.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what is missing fails the test")]

mod support;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::Signal;
use support::archived_wal::{ArchivedWal, position};
use support::base_backup::BackupProgram;
use support::failing_calls::{FailingCalls, SeenCall};
use support::wal_program::WalProgram;
use support::{Cluster, DEADLINE, Outcome, Run, ServerAccount, SmallDisk, scratch_directory, wait_for};

/// Everything that puts something on a disk.
const KINDS: [&str; 9] =
    ["write", "sync", "close", "create", "mkdir", "rename", "allocate", "chmod", "symlink"];

/// What a disk can answer, with the words of the system.
const ERRORS: [(Errno, &str); 5] = [
    (Errno::NOSPC, "No space left on device"),
    (Errno::DQUOT, "Disk quota exceeded"),
    (Errno::IO, "Input/output error"),
    (Errno::ROFS, "Read-only file system"),
    (Errno::ACCESS, "Permission denied"),
];

/// A small server with a tablespace, and the program that backs it up.
struct Source {
    program: BackupProgram,
    cluster: Cluster,
    location: String,
}

impl Source {
    fn start() -> Self {
        let cluster = Cluster::builder(15).initdb_arg("--wal-segsize=1").start();
        let location = cluster.make_directory("space").display().to_string();
        cluster.psql(&format!("CREATE TABLESPACE space LOCATION '{location}'"));
        cluster.psql("CREATE TABLE elsewhere TABLESPACE space AS SELECT generate_series(1, 1000) AS i");
        Self { program: BackupProgram::ours(), cluster, location }
    }

    /// A backup into `out`; with `-Fp`, its tablespace and WAL go beside that.
    fn backup(&self, directory: &Path, options: &[&str]) -> Run {
        let place = directory.to_str().unwrap();
        let run = self.program.back_up(&self.cluster, &directory.join("out")).args(options);
        if options.contains(&"-Fp") {
            run.args([format!("-T{}={place}/space", self.location), format!("--waldir={place}/wal")])
        } else {
            run
        }
    }
}

/// The backup has failed because of that call, says so, and is gone.
#[track_caller]
fn assert_failed_by(failed: &SeenCall, reason: &str, outcome: Outcome, directory: &Path, context: &str) {
    let outcome = outcome.expect_code(1);
    let first = outcome.stderr.lines().next().unwrap();
    // Where WAL lies elsewhere, messages name the way there through the data directory.
    let [wal, linked] = ["wal", "out/pg_wal"].map(|name| format!("{}/{name}", directory.display()));
    let path = failed.path.display().to_string().replace(&format!("{wal}/"), &format!("{linked}/"));
    assert!(
        first.starts_with("pg_basebackup: error: could not ")
            && first.contains(&format!("\"{path}\""))
            && first.ends_with(&format!(": {reason}")),
        "{context}: {path}: {}",
        outcome.stderr
    );
    assert!(
        !directory.join("out").exists() && !directory.join("wal").exists(),
        "{context}: {}",
        outcome.stderr
    );
}

/// Lets the first call of each kind fail, and one in the middle, each with another error.
#[track_caller]
fn any_call_may_fail(source: &Source, options: &[&str], kinds: &[&str]) {
    // No real disk: each of the backups is synced.
    let disk = SmallDisk::new("256m");
    let place = |name: String| {
        let directory = disk.path().join(name);
        fs::create_dir(&directory).unwrap();
        directory
    };
    let directory = place("all".to_owned());
    let all = FailingCalls::only(&KINDS.join(","), Errno::IO, 0);
    all.inject(source.backup(&directory, options), &directory).run().expect_success();
    let seen = all.seen();
    let mut errors = ERRORS.into_iter().cycle();
    for kind in kinds {
        let count = seen.iter().filter(|call| call.kind == *kind).count();
        assert!(count > 0, "{options:?}: no {kind} in {} calls", seen.len());
        for number in BTreeSet::from([1, count.div_ceil(2)]) {
            let (errno, reason) = errors.next().unwrap();
            let directory = place(format!("{kind}-{number}"));
            let context = format!("{options:?}: {kind} {number} of {count}");
            let calls = FailingCalls::only(kind, errno, number);
            let outcome = calls.inject(source.backup(&directory, options), &directory).run();
            let failed = calls.seen().into_iter().find(|call| call.failed).expect(&context);
            assert_failed_by(&failed, reason, outcome, &directory, &context);
        }
    }
}

#[test]
fn bb_134_bb_138_any_call_of_a_backup_in_plain_form_may_fail() {
    let source = Source::start();
    any_call_may_fail(&source, &["-Fp", "-Xstream"], &KINDS);
    // Without syncing, closing is the last that tells of a failed write.
    any_call_may_fail(&source, &["-Fp", "-Xfetch", "--no-sync"], &["write", "close"]);
}

#[test]
fn bb_138_bb_262_any_call_of_a_backup_in_tar_form_may_fail() {
    let source = Source::start();
    let files = ["write", "sync", "close", "create", "mkdir", "rename"];
    any_call_may_fail(&source, &["-Ft", "-Xstream", "-Zgzip:1"], &files);
    any_call_may_fail(&source, &["-Ft", "-Xstream", "--no-sync"], &["write", "close"]);
}

/// Nothing can be removed either.
#[test]
fn bb_241_bb_247_a_disk_that_fails_for_good_keeps_what_is_on_it_and_that_is_said() {
    let source = Source::start();
    let directory = scratch_directory();
    let calls = FailingCalls::all("write,sync,close,create,mkdir,rename,chmod,remove", Errno::ROFS).from(20);
    let outcome =
        calls.inject(source.backup(directory.path(), &["-Ft"]), directory.path()).run().expect_code(1);
    let out = directory.path().join("out");
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    let removing = format!("pg_basebackup: removing data directory \"{}\"", out.display());
    let failed = "pg_basebackup: error: failed to remove data directory";
    let warning =
        format!("pg_basebackup: warning: could not remove \"{}\": Read-only file system", out.display());
    assert!(lines[0].ends_with(": Read-only file system"), "{}", outcome.stderr);
    assert!(lines.ends_with(&[&removing, &warning, failed]), "{}", outcome.stderr);
    assert!(!out.join("backup_manifest").exists());
}

#[test]
fn bb_137_permissions_that_change_under_way() {
    let source = Source::start();
    let directory = scratch_directory();
    ServerAccount::current().own(directory.path());
    let base = directory.path().join("out/base");
    let mut running =
        source.backup(directory.path(), &["-Fp", "--no-sync", "-r", "2M"]).by_server_account().start();
    wait_for("the first files", DEADLINE, || {
        assert!(running.is_running(), "{}", running.stderr_so_far());
        base.join("1").exists()
    });
    for entry in fs::read_dir(&base).unwrap().map(Result::unwrap) {
        fs::set_permissions(entry.path(), Permissions::from_mode(0o500)).unwrap();
    }
    let outcome = running.finish().expect_code(1);
    let first = outcome.stderr.lines().next().unwrap();
    assert!(
        first.starts_with("pg_basebackup: error: could not create file \"")
            && first.ends_with("Permission denied"),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains("error: failed to remove data directory\n"), "{}", outcome.stderr);
    assert!(!directory.path().join("out/backup_manifest").exists());
}

/// The estimate is larger than the disk. Where it does not say what comes here, or was not asked for, nothing is said.
#[test]
fn a_disk_that_is_too_small_is_warned_of_before_it_is_full() {
    let source = Source::start();
    let run = |directory: &Path, more: &[&str]| {
        let mapping = format!("-T{}={}/space", source.location, directory.display());
        source.backup(directory, &["--no-sync", &mapping]).args(more).run()
    };
    let warned = |outcome: &Outcome| outcome.stderr.contains("warning: file system of ");

    let disk = SmallDisk::new("8m");
    let outcome = run(disk.path(), &[]).expect_code(1);
    let begin = format!("pg_basebackup: warning: file system of \"{}/", disk.path().display());
    let first = outcome.stderr.lines().next().unwrap();
    assert!(
        first.starts_with(&begin)
            && first.contains("\" has 8.0 MB free, but the backup there is estimated at 2"),
        "{}",
        outcome.stderr
    );
    assert!(first.ends_with(" MB") && outcome.stderr.contains("No space left on device"), "{first}");
    for quiet in [&["--no-estimate-size"][..], &["-Ft", "-Zgzip:1"]] {
        let disk = SmallDisk::new("8m");
        assert!(!warned(&run(disk.path(), quiet)), "{quiet:?}");
    }
    // WAL that lies elsewhere needs room there.
    let (directory, disk) = (scratch_directory(), SmallDisk::new("512k"));
    let waldir = format!("--waldir={}/wal", disk.path().display());
    let outcome = run(directory.path(), &[&waldir]);
    let expected = format!(
        "pg_basebackup: warning: file system of \"{}/wal\" has 512 kB free, but the backup there is estimated at 1.0 MB\n",
        disk.path().display()
    );
    assert!(outcome.stderr.starts_with(&expected), "{}", outcome.stderr);
    let directory = scratch_directory();
    assert_eq!(run(directory.path(), &[]).expect_success().stderr, "");
}

/// It says so, tries again, and has everything in the end; nothing was told that is not so.
#[test]
fn rw_154_and_158_i_012_a_receiver_outlives_calls_that_fail_for_a_while() {
    let cluster = Cluster::builder(15).initdb_arg("--wal-segsize=1").setting("wal_keep_size", "1GB").start();
    cluster.psql("CREATE TABLE filler (text text)");
    cluster.psql("SELECT pg_create_physical_replication_slot('s', true)");
    let directory = scratch_directory();
    let archive_path = directory.path().join("archive");
    fs::create_dir(&archive_path).unwrap();
    let program = WalProgram::ours();
    let mut archive = ArchivedWal::new(&archive_path, cluster.data_dir(), 1 << 20);
    for (kind, name, errno, said) in [
        ("close", ".partial", Errno::IO, ".partial\": Input/output error"),
        ("close", ".partial", Errno::DQUOT, "error: could not close file \""),
        ("rename", "", Errno::DQUOT, "error: could not rename file \""),
        ("write", ".partial", Errno::DQUOT, ".partial\": Disk quota exceeded"),
        ("create", "archive", Errno::ROFS, ": Read-only file system"),
    ] {
        let context = format!("{kind} {errno:?}");
        let calls = FailingCalls::all(kind, errno).on(name).times(2);
        let run = program.receive(&cluster, &archive_path).args(["--synchronous", "--slot=s"]);
        let mut receiver = calls.inject(run, &archive_path).start();
        wait_for("the failures", DEADLINE, || {
            assert!(receiver.is_running(), "{context}: {}", receiver.stderr_so_far());
            cluster.psql("INSERT INTO filler SELECT repeat('x', 500) FROM generate_series(1, 2000)");
            cluster.psql("SELECT pg_switch_wal()");
            calls.seen().iter().filter(|call| call.failed).count() == 2
        });
        wait_for("both to be said", DEADLINE, || receiver.stderr_so_far().matches(said).count() >= 2);
        let end = cluster.psql("SELECT pg_current_wal_flush_lsn()");
        wait_for("everything", DEADLINE, || {
            assert!(receiver.is_running(), "{context}: {}", receiver.stderr_so_far());
            cluster.psql(&format!("SELECT flush_lsn >= '{end}' FROM pg_stat_replication")) == "t"
        });
        receiver.signal(Signal::KILL);
        receiver.finish();
        let found = archive.check();
        assert!(found.recoverable >= position(&end), "{context}: {found:X?} does not reach {end}");
    }
}
