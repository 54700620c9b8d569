//! What the program prints is, line for line, what the real `pg_basebackup` prints.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::path::Path;

use support::base_backup::{BackupProgram, timeless_text};
use support::{Cluster, scratch_directory};

/// Long enough that a line with a file in it shows no more of the path, whose beginning differs.
const TABLESPACES: [&str; 2] = ["first_of_the_tablespaces", "second_of_the_tablespaces"];

/// A server with two tablespaces, so that there are three archives.
fn cluster_with_tablespaces(major: u16) -> Cluster {
    let cluster = Cluster::builder(major).start();
    for name in TABLESPACES {
        let location = cluster.make_directory(name);
        cluster.psql(&format!("CREATE TABLESPACE {name} LOCATION '{}'", location.display()));
        cluster
            .psql(&format!("CREATE TABLE in_{name} TABLESPACE {name} AS SELECT generate_series(1, 9999) i"));
    }
    // Else the first backup would make files that the second one has, too.
    cluster.psql("VACUUM (FREEZE)");
    cluster
}

/// Takes a backup into `backup` below a directory that is removed again, and gives what the program printed.
fn printed(program: &BackupProgram, cluster: &Cluster, options: &[&str]) -> Vec<String> {
    let scratch = scratch_directory();
    let mut run = program.back_up(cluster, Path::new("backup")).current_dir(scratch.path());
    for name in TABLESPACES {
        let [old, new] = [cluster.data_dir().with_file_name(name), scratch.path().join(name)];
        run = run.arg(format!("-T{}={}", old.display(), new.display()));
    }
    let outcome = run.args(options).run().expect_success();
    assert_eq!(outcome.stdout_text(), "");
    timeless_text(&outcome.stderr)
}

/// Without the progress reports that the server causes when a second has passed.
///
/// What is left are those at the end of an archive: the last one that counts it as missing, and the first one
/// that counts it as complete.
fn without_reports_by_time(lines: &[String]) -> Vec<String> {
    let complete =
        |line: &String| line.split_once("%), ").map(|(_, rest)| rest.split('/').next().unwrap().to_owned());
    let mut kept = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let this = complete(line);
        let before = index.checked_sub(1).and_then(|index| complete(&lines[index]));
        let after = lines.get(index + 1).and_then(complete);
        let is_first = before.is_some() && before != this;
        if this.is_none() || is_first || after != this {
            kept.push(line.clone());
        }
    }
    kept
}

#[track_caller]
fn same_lines_are_printed(major: u16) {
    let cluster = cluster_with_tablespaces(major);
    let (real, ours) = (BackupProgram::real(&cluster), BackupProgram::ours());
    for options in [
        &["--verbose"][..],
        &["-vN", "--wal-method=none"],
        &["-vN", "--wal-method=fetch", "--no-manifest", "--no-estimate-size"],
        &["-vN", "--no-slot", "--format=tar"],
        &["-PN"],
        &["-PN", "--wal-method=fetch", "--format=tar"],
        &["-vPN"],
        &["-vPN", "--wal-method=none", "--no-manifest"],
        &["-vPN", "--format=tar"],
    ] {
        let [theirs, ours] = [&real, &ours].map(|program| printed(program, &cluster, options));
        assert_eq!(without_reports_by_time(&theirs), without_reports_by_time(&ours), "{options:?}");
        assert!(!ours.iter().any(|line| line.trim_start().starts_with("0/")), "{options:?}: {ours:#?}");
    }
}

macro_rules! with_each_version {
    ($($name:ident: $major:literal;)*) => {
        $( #[test] fn $name() { same_lines_are_printed($major); } )*
    };
}

with_each_version! {
    bb_196_bb_235_bb_251_to_253_bb_255_same_lines_with_postgresql_15: 15;
    bb_196_bb_235_bb_251_to_253_bb_255_same_lines_with_postgresql_16: 16;
    bb_196_bb_235_bb_251_to_253_bb_255_same_lines_with_postgresql_17: 17;
    bb_196_bb_235_bb_251_to_253_bb_255_same_lines_with_postgresql_18: 18;
}
