//! When the program says that a backup is complete, a power failure cannot take any of it away; where that was
//! not asked for, the disk is left in peace.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use support::base_backup::{BackupProgram, is_segment_name, verify};
use support::durability::{Call, calls, calls_in, traced};
use support::failing_calls::FailingCalls;
use support::message_proxy::{Fate, Harm, MessageProxy, Moment, Place};
use support::tree::{Kind, snapshot};
use support::{Cluster, ServerAccount, scratch_directory, wait_for_phase};

/// Takes a backup and gives the calls with which it was made durable.
fn traced_backup(program: &BackupProgram, cluster: &Cluster, scratch: &Path, options: &[&str]) -> Vec<Call> {
    let log = scratch.with_extension("calls");
    let place = scratch.to_str().unwrap();
    traced(program.path(), &log)
        .args(["--checkpoint=fast", "--dbname", &cluster.conninfo(), "--pgdata"])
        .arg(scratch.join("out"))
        .args(options.iter().map(|option| option.replace("DIR", place)))
        .run()
        .expect_success();
    let calls = calls_in(&log);
    fs::remove_file(log).unwrap();
    calls
}

/// All files and directories below `directory`, and it itself; not links.
fn files_and_directories(directory: &Path) -> BTreeSet<PathBuf> {
    let entries = snapshot(directory).into_iter();
    let lasting = entries.filter(|(_, entry)| !matches!(entry.kind, Kind::Link { .. }));
    lasting.map(|(path, _)| directory.join(path)).chain([directory.to_owned()]).collect()
}

fn is_manifest_rename(call: &Call) -> bool {
    matches!(call, Call::Rename { to, .. } if to.file_name() == Some(OsStr::new("backup_manifest")))
}

fn synced(calls: &[Call]) -> BTreeSet<PathBuf> {
    let paths = calls.iter().filter_map(|call| match call {
        Call::Sync(path) => Some(path.clone()),
        _ => None,
    });
    paths.collect()
}

/// Everything that there is in these directories was synced before the manifest got its name, which came last
/// and is durable too.
#[track_caller]
fn assert_durable(calls: &[Call], root: &Path, directories: &[&str]) {
    let out = root.join("out");
    let rename = calls.iter().position(is_manifest_rename).unwrap();
    let (before, after) = calls.split_at(rename);
    let temporary = out.join("backup_manifest.tmp");
    assert_eq!(after[0], Call::Rename { from: temporary.clone(), to: out.join("backup_manifest") });

    let mut lasting: BTreeSet<PathBuf> =
        directories.iter().flat_map(|name| files_and_directories(&root.join(name))).collect();
    assert!(lasting.remove(&out.join("backup_manifest")), "there is a manifest");
    lasting.insert(temporary);
    let synced_before = synced(before);
    let forgotten: Vec<_> = lasting.difference(&synced_before).collect();
    assert!(forgotten.is_empty(), "not synced before the manifest got its name: {forgotten:#?}");

    assert!(synced(after).contains(&out), "{after:?}");
    assert!(
        !after[1..].iter().any(|call| matches!(call, Call::Create(_) | Call::Rename { .. })),
        "{after:?}"
    );
}

#[test]
fn bb_213_bb_259_everything_is_synced_before_the_manifest_gets_its_name() {
    let cluster = Cluster::builder(18).initdb_arg("--wal-segsize=1").start();
    let location = cluster.make_directory("space");
    cluster.psql(&format!("CREATE TABLESPACE space LOCATION '{}'", location.display()));
    cluster.psql("CREATE TABLE elsewhere TABLESPACE space AS SELECT generate_series(1, 1000) AS i");
    let mapping = format!("--tablespace-mapping={}=DIR/space", location.display());
    for program in [BackupProgram::real(&cluster), BackupProgram::ours()] {
        let scratch = scratch_directory();
        let options = [&mapping, "--waldir=DIR/wal", "--write-recovery-conf"];
        let calls = traced_backup(&program, &cluster, scratch.path(), &options);
        verify(cluster.installation(), &scratch.path().join("out"), &[]);
        assert_durable(&calls, scratch.path(), &["out", "wal", "space"]);
    }
}

#[test]
fn bb_213_bb_258_archives_are_synced_before_the_manifest_gets_its_name() {
    let cluster = Cluster::builder(15).start();
    let location = cluster.make_directory("space");
    cluster.psql(&format!("CREATE TABLESPACE space LOCATION '{}'", location.display()));
    for program in [BackupProgram::real(&cluster), BackupProgram::ours()] {
        let scratch = scratch_directory();
        let calls = traced_backup(&program, &cluster, scratch.path(), &["--format=tar"]);
        assert_eq!(snapshot(&scratch.path().join("out")).len(), 4);
        assert_durable(&calls, scratch.path(), &["out"]);
    }
}

#[test]
fn bb_213_bb_258_bb_259_nothing_is_synced_where_that_is_asked_for() {
    let cluster = Cluster::builder(17).start();
    for program in [BackupProgram::real(&cluster), BackupProgram::ours()] {
        for format in ["--format=plain", "--format=tar"] {
            let scratch = scratch_directory();
            let calls = traced_backup(&program, &cluster, scratch.path(), &["--no-sync", format]);
            assert_eq!(calls.iter().filter(|call| is_manifest_rename(call)).count(), 1, "{format}");
            let synced: Vec<_> =
                calls.iter().filter(|call| matches!(call, Call::Sync(_) | Call::SyncFileSystem(_))).collect();
            assert!(synced.is_empty(), "{format}: {synced:?}");
        }
    }
}

/// Other than with the real program, which syncs no segment before the end, each one is synced once it is
/// complete: the mark that says so is not made before, and what the slot keeps follows.
#[test]
fn bb_203_a_segment_is_synced_before_it_counts_as_complete() {
    let cluster = Cluster::builder(18).initdb_arg("--wal-segsize=1").start();
    cluster.pgbench_init(1);
    let scratch = scratch_directory();
    let load = cluster.pgbench_load();
    let calls = traced_backup(
        &BackupProgram::ours(),
        &cluster,
        scratch.path(),
        &["--max-rate=32M", "--wal-method=stream"],
    );
    load.stop(&cluster);
    let marks = calls.iter().enumerate().filter_map(|(index, call)| match call {
        Call::Create(path) if path.extension() == Some(OsStr::new("done")) => Some((index, path)),
        _ => None,
    });
    let mut segments = 0;
    for (index, mark) in marks {
        let name = mark.file_stem().unwrap();
        assert!(is_segment_name(name.to_str().unwrap()), "{}", mark.display());
        let segment = scratch.path().join("out/pg_wal").join(name);
        let syncs = calls[..index].iter().filter(|call| **call == Call::Sync(segment.clone())).count();
        assert_eq!(syncs, 1, "{}", segment.display());
        segments += 1;
    }
    assert!(segments > 2, "{segments}");
}

/// What the first try made on the way to the directory is there for the second one.
#[test]
fn bb_213_bb_259_parents_that_a_failed_try_made_are_synced_too() {
    let cluster = Cluster::builder(15).start();
    let location = cluster.make_directory("space").display().to_string();
    cluster.psql(&format!("CREATE TABLESPACE space LOCATION '{location}'"));
    let cut = Fate::Harmed(Moment::new("dd", 5), Harm::Cut(Place::Inside));
    for fates in [vec![], vec![cut]] {
        let scratch = scratch_directory();
        let log = scratch.path().join("calls");
        let at = |path: &str| scratch.path().join(path);
        let tries = fates.len() + 1;
        let proxy = MessageProxy::start(cluster.port(), fates);
        let outcome = traced(BackupProgram::ours().path(), &log)
            .args(["-c", "fast", "-X", "none", "--retries=1", "-d", &proxy.conninfo(), "-D"])
            .arg(at("a/b/out"))
            .arg(format!("-T{location}={}", at("c/d/space").display()))
            .run()
            .expect_success();
        assert_eq!(proxy.accepted(), tries, "{}", outcome.stderr);
        let calls = calls_in(&log);
        let rename = calls.iter().position(is_manifest_rename).unwrap();
        let synced = synced(&calls[..rename]);
        for path in ["", "a", "a/b", "a/b/out", "c", "c/d", "c/d/space"] {
            assert!(
                synced.contains(&at(path).components().collect::<PathBuf>()),
                "{tries}: {path}: {synced:#?}"
            );
        }
    }
}

/// A place where everybody may put something, and nobody sees what others have put there.
#[test]
fn bb_259_a_parent_that_may_not_be_read_is_synced_with_its_file_system() {
    let cluster = Cluster::builder(15).start();
    for path in ["out", "a/out"] {
        let scratch = scratch_directory();
        let [place, log] = ["place", "log"].map(|name| scratch.path().join(name));
        for directory in [&place, &log] {
            fs::create_dir(directory).unwrap();
            ServerAccount::current().own(directory);
        }
        fs::set_permissions(&place, Permissions::from_mode(0o333)).unwrap();
        let log = log.join("calls");
        traced(BackupProgram::ours().path(), &log)
            .args(["-c", "fast", "-X", "none", "-d", &cluster.conninfo(), "-D"])
            .arg(place.join(path))
            .by_server_account()
            .run()
            .expect_success();
        let made = place.join(path.split('/').next().unwrap());
        assert!(calls_in(&log).contains(&Call::SyncFileSystem(made)), "{path}");
    }
}

/// Everything is on disk by then but the name, which is taken back.
#[test]
fn bb_214_bb_262_a_manifest_whose_name_is_not_durable_does_not_keep_it() {
    let cluster = Cluster::builder(15).start();
    let program = BackupProgram::ours();
    for format in ["-Fp", "-Ft"] {
        let back_up = |calls: &FailingCalls| {
            let scratch = scratch_directory();
            let run = program.back_up(&cluster, &scratch.path().join("out"));
            let outcome = calls.inject(run.args(["-n", "-Xnone", format]), scratch.path()).run();
            (outcome, scratch)
        };
        let all = FailingCalls::only("sync", Errno::IO, 0);
        back_up(&all).0.expect_success();
        let last = FailingCalls::only("sync", Errno::IO, all.seen().len());
        let (outcome, scratch) = back_up(&last);
        let out = scratch.path().join("out");
        let error =
            format!("pg_basebackup: error: could not fsync file \"{}\": Input/output error\n", out.display());
        let stderr = outcome.expect_code(1).stderr;
        assert!(stderr.contains(&error), "{stderr}");
        assert!(!out.join("backup_manifest").exists() && out.join("backup_manifest.tmp").exists());
        // That it has its former name again is to be durable too.
        let seen = last.seen();
        let [.., failed, after] = &seen[..] else { panic!("{seen:?}") };
        assert!(failed.failed && !after.failed && after.path == out, "{seen:?}");
    }
}

/// A directory is where the manifest should go; the server waits meanwhile for its archive.
#[track_caller]
fn unnamed_manifest(program: &BackupProgram, format: &str) -> (String, Vec<String>) {
    let scratch = scratch_directory();
    let archived = scratch.path().join("archived");
    let command = format!("while [ ! -e {} ]; do sleep 0.05; done", archived.display());
    let cluster =
        Cluster::builder(15).setting("archive_mode", "on").setting("archive_command", &command).start();
    let place = scratch.path().join("place");
    let out = place.join("out");
    let mut running = program.back_up(&cluster, &out).args(["--no-sync", "-Xnone", format]).start();
    wait_for_phase(&cluster, &mut running, "waiting for wal archiving to finish");
    fs::create_dir(out.join("backup_manifest")).unwrap();
    fs::write(archived, "").unwrap();
    let stderr = running.finish().expect_code(1).stderr.replace(place.to_str().unwrap(), "DIR");
    let left = snapshot(&place).into_keys().map(|path| path.display().to_string()).collect();
    (stderr, left)
}

#[test]
fn bb_214_bb_262_a_manifest_that_cannot_get_its_name_fails_the_backup() {
    for format in ["-Fp", "-Ft"] {
        let [theirs, ours] = [BackupProgram::real_of(15), BackupProgram::ours()]
            .map(|program| unnamed_manifest(&program, format));
        assert_eq!(theirs, ours, "{format}");
        let reason = "pg_basebackup: error: could not rename file \"DIR/out/backup_manifest.tmp\" to \
                      \"DIR/out/backup_manifest\": Is a directory\n";
        assert!(ours.0.contains(reason), "{}", ours.0);
        assert!(ours.1.is_empty(), "{:?}", ours.1);
    }
}

#[test]
fn calls_are_read_from_lines() {
    let sync = |path: &str| Call::Sync(path.into());
    let rename = || Call::Rename { from: "/a/b".into(), to: "/c/d".into() };
    for (lines, expected) in [
        ("7 fsync(5</a/b>) = 0", vec![sync("/a/b")]),
        ("7 fdatasync(5</a/b>)               = 0", vec![sync("/a/b")]),
        ("7 fsync(5</a/b>) = -1 EIO (Input/output error)", vec![]),
        ("7 syncfs(5</a>) = 0", vec![Call::SyncFileSystem("/a".into())]),
        (
            "7 openat(4</a>, \"b\", O_WRONLY|O_CREAT|O_EXCL, 0600) = 5</a/b>",
            vec![Call::Create("/a/b".into())],
        ),
        ("7 openat(AT_FDCWD</x>, \"/a/b\", O_RDONLY) = 5</a/b>", vec![]),
        ("7 renameat(4</a>, \"b\", 5</c>, \"d\") = 0", vec![rename()]),
        ("7 rename(\"/a/b\", \"/c/d\") = 0", vec![rename()]),
        (
            "7 fsync(5</a> <unfinished ...>\n8 fsync(5</b>) = 0\n7 <... fsync resumed>) = 0",
            vec![sync("/b"), sync("/a")],
        ),
    ] {
        assert_eq!(calls(lines), expected, "{lines}");
    }
}
