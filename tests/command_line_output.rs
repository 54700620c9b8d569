//! In every output form, and for servers of both ways to send a backup, the program prints the lines that the newest
//! `pg_basebackup` prints.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use support::base_backup::{BackupProgram, timeless_text};
use support::{Cluster, Installation, Run, scratch_directory};

/// What the program prints: all steps, and of the reports of progress the last one. When the others come depends on
/// how long it takes.
fn printed(program: &BackupProgram, cluster: &Cluster, options: &[&str]) -> Vec<String> {
    let scratch = scratch_directory();
    let outcome = Run::new(program.path())
        .args(["-c", "fast", "-d", &cluster.conninfo()])
        .args(options)
        .env("LD_LIBRARY_PATH", Installation::find(18).library_directory())
        .current_dir(scratch.path())
        .run()
        .expect_success();
    let mut lines = timeless_text(&outcome.stderr);
    let is_report = |line: &String| line.contains("%), ");
    if let Some(last) = lines.iter().rposition(is_report) {
        let mut index = 0;
        lines.retain(|line| {
            index += 1;
            index > last || !is_report(line)
        });
    }
    lines
}

#[track_caller]
fn same_lines_are_printed(major: u16, modes: &[&[&str]]) {
    let cluster = Cluster::builder(major).start();
    cluster.psql("VACUUM (FREEZE)");
    let (real, ours) = (BackupProgram::real_of(18), BackupProgram::ours());
    // Else the first backup would make files that the second one has, too.
    printed(&ours, &cluster, &["-NDbackup", "-Xn"]);
    for mode in modes {
        let [theirs, ours] = [&real, &ours].map(|program| printed(program, &cluster, mode));
        assert_eq!(ours, theirs, "server {major}, {mode:?}");
    }
}

const OF_ALL_SERVERS: [&[&str]; 7] = [
    &["-PN", "-Dbackup", "-Xn"],
    &["-vPN", "-Dbackup", "-Xs"],
    &["-vP", "-Dbackup", "-Ft", "-Xf"],
    &["-v", "-D-", "-Ft", "-Xn"],
    &["-P", "-D-", "-Ft", "-Xn"],
    &["-vPN", "-D-", "-Ft", "-Xf"],
    &["-vP", "-D-", "-Ft", "-Xn", "--no-manifest"],
];

#[test]
fn bb_235_bb_250_to_255_same_lines_of_servers_that_send_each_tablespace_by_itself() {
    let compressed = &["-vPN", "-Dbackup", "-Ft", "-Xn", "-z"];
    same_lines_are_printed(14, &[&OF_ALL_SERVERS[..], &[compressed]].concat());
}

#[test]
fn bb_235_bb_250_to_255_same_lines_of_servers_that_send_all_in_one() {
    let compressed: [&[&str]; 6] = [
        &["-vPN", "-Dbackup", "-Xs", "-Zserver-gzip"],
        &["-vPN", "-Dbackup", "-Ft", "-Xs", "-z"],
        &["-vPN", "-Dbackup", "-Ft", "-Xf", "-Zserver-lz4"],
        &["-vP", "-D-", "-Ft", "-Xn", "-Zlz4"],
        &["-vP", "-tblackhole", "-Xn"],
        &["-vP", "-tblackhole", "-Xf", "-Zgzip"],
    ];
    same_lines_are_printed(18, &[&OF_ALL_SERVERS[..], &compressed].concat());
}
