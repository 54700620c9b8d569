//! `--sync-method=syncfs`: whole file systems are synced at the end, instead of each file.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::path::Path;

use support::base_backup::{BackupProgram, verify, verify_archives};
use support::{Cluster, Run, scratch_directory};

/// The calls that sync something, in order, each with the path that its descriptor stands for.
fn traced(program: &BackupProgram, cluster: &Cluster, trace: &Path, arguments: &[String]) -> Vec<String> {
    Run::new("/usr/bin/strace")
        .args(["-f", "-y", "-e", "trace=syncfs,fsync,fdatasync,rename,renameat,renameat2", "-o"])
        .args([trace.as_os_str(), program.path().as_os_str()])
        .args(["--checkpoint=fast", "--sync-method=syncfs", "-d", &cluster.conninfo()])
        .args(arguments)
        .run()
        .expect_success();
    let calls = fs::read_to_string(trace).unwrap();
    let is_call = |line: &&str| line.contains("sync") || line.contains("rename");
    calls.lines().filter(is_call).map(|line| line.split_once(' ').unwrap().1.trim().to_owned()).collect()
}

/// The paths that `syncfs` was called for.
fn file_systems(calls: &[String]) -> Vec<&str> {
    let paths = calls.iter().filter_map(|call| call.strip_prefix("syncfs("));
    paths.map(|rest| rest.split_once('<').unwrap().1.split_once('>').unwrap().0).collect()
}

#[test]
fn bb_261_the_file_systems_of_a_backup_are_synced_before_it_counts_as_complete() {
    let cluster = Cluster::builder(18).start();
    let location = cluster.make_directory("space");
    cluster.psql(&format!("CREATE TABLESPACE space LOCATION '{}'", location.display()));
    let scratch = scratch_directory();
    let path = |name: &str| scratch.path().join(name).display().to_string();
    let [data, space, wal] = ["data", "space", "wal"].map(path);
    let arguments = ["-Xs", "-D", &data, "--waldir", &wal, &format!("-T{}={space}", location.display())];
    let trace = scratch.path().join("trace");
    let calls = traced(&BackupProgram::ours(), &cluster, &trace, &arguments.map(str::to_owned));
    let mut synced = file_systems(&calls);
    synced.sort_unstable();
    assert_eq!(synced, [&data, &space, &wal]);
    let last_sync = calls.iter().rposition(|call| call.starts_with("syncfs")).unwrap();
    let published = calls.iter().position(|call| call.contains("\"backup_manifest\"")).unwrap();
    assert!(last_sync < published, "{calls:#?}");
    // Then the new name has to be made durable too.
    let made_durable = |call: &String| call.starts_with("fsync") && call.contains(&format!("<{data}>"));
    assert!(calls[published..].iter().any(made_durable), "{calls:#?}");
    verify(cluster.installation(), Path::new(&data), &[]);
}

#[test]
fn bb_261_and_258_archives_are_synced_by_their_file_system() {
    let cluster = Cluster::builder(18).start();
    let scratch = scratch_directory();
    let backup = scratch.path().join("backup");
    let arguments = ["-Ft", "-Xf", "-D", backup.to_str().unwrap()].map(str::to_owned);
    let calls = traced(&BackupProgram::ours(), &cluster, &scratch.path().join("trace"), &arguments);
    assert_eq!(file_systems(&calls), [backup.to_str().unwrap()]);
    verify_archives(cluster.installation(), &backup);
}
