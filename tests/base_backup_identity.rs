//! What the program writes is what the real `pg_basebackup` writes: of a server at which nothing happens, both
//! make the same backup.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::path::Path;

use support::base_backup::{
    BackupProgram, file_names, is_segment_name, members, timeless_entries, timeless_manifest, verify_archives,
};
use support::tree::differences_of_entries;
use support::{Cluster, ServerAccount, scratch_directory};

/// A server with a table in a tablespace, an empty file, and no changes that wait to be written.
fn idle_cluster(major: u16) -> Cluster {
    let cluster = Cluster::builder(major).start();
    let location = cluster.make_directory("space");
    cluster.psql(&format!("CREATE TABLESPACE space LOCATION '{}'", location.display()));
    cluster.psql("CREATE TABLE elsewhere TABLESPACE space AS SELECT generate_series(1, 20000) AS number");
    cluster.psql("CREATE TABLE empty ()");
    let empty_file = cluster.data_dir().join("empty_file");
    fs::write(&empty_file, "").unwrap();
    ServerAccount::current().own(&empty_file);
    // Else a backup's own look at the catalogs would set hint bits, which the next one would have.
    cluster.psql("VACUUM (FREEZE)");
    cluster
}

/// Takes a backup with each program, with the same options.
fn back_up_twice(cluster: &Cluster, scratch: &Path, options: &[&str]) {
    let programs = [("real", BackupProgram::real(cluster)), ("ours", BackupProgram::ours())];
    let old = cluster.data_dir().with_file_name("space");
    for (name, program) in programs {
        let root = scratch.join(name);
        fs::create_dir(&root).unwrap();
        let mapping = format!("--tablespace-mapping={}={}", old.display(), root.join("space").display());
        let run = program.back_up(cluster, &root.join("backup")).args(["--no-sync", &mapping]).args(options);
        run.run().expect_success();
    }
}

#[track_caller]
fn plain_backup_is_the_same(major: u16, options: &[&str]) {
    let cluster = idle_cluster(major);
    let scratch = scratch_directory();
    back_up_twice(&cluster, scratch.path(), options);
    let [real, ours] = ["real", "ours"].map(|name| scratch.path().join(name));
    let differences = differences_of_entries(&timeless_entries(&real), &timeless_entries(&ours));
    assert!(differences.is_empty(), "theirs on the left, ours on the right:\n{differences}");
    let [real, ours] = [real, ours].map(|root| timeless_manifest(&root.join("backup")));
    assert_eq!(real, ours);
    assert!(real.len() > 900, "{}", real.len());
}

/// A segment of the same size and ownership, whichever it is; the file that says that it was completed may
/// follow, which is a matter of time.
fn wal_members(archive: &Path) -> Vec<String> {
    let segments = members(archive).into_iter().filter_map(|member| {
        let (name, attributes) = member.split_once(' ').unwrap();
        let (attributes, _checksum) = attributes.rsplit_once(' ').unwrap();
        is_segment_name(name).then(|| attributes.to_owned())
    });
    segments.collect()
}

#[track_caller]
fn tar_backup_is_the_same(major: u16, options: &[&str]) {
    let cluster = idle_cluster(major);
    let scratch = scratch_directory();
    back_up_twice(&cluster, scratch.path(), options);
    let [real, ours] = ["real", "ours"].map(|name| scratch.path().join(name).join("backup"));
    verify_archives(cluster.installation(), &ours);
    assert_eq!(file_names(&real), file_names(&ours));
    for name in file_names(&ours).iter().filter(|name| *name != "backup_manifest") {
        let [real, ours] = [&real, &ours].map(|directory| directory.join(name));
        if name == "pg_wal.tar" {
            assert_eq!(wal_members(&real), wal_members(&ours));
            continue;
        }
        assert_eq!(sorted(members(&real)), sorted(members(&ours)), "{name}");
        assert_eq!(fs::metadata(&real).unwrap().len(), fs::metadata(&ours).unwrap().len(), "{name}");
    }
    assert_eq!(timeless_manifest(&real), timeless_manifest(&ours));
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

macro_rules! with_each_version {
    ($($plain:ident, $tar:ident: $major:literal;)*) => {
        $(
            #[test] fn $plain() { plain_backup_is_the_same($major, &[]); }
            #[test] fn $tar() { tar_backup_is_the_same($major, &["--format=tar"]); }
        )*
    };
}

with_each_version! {
    bb_132_plain_backup_of_postgresql_15_is_the_same, bb_141_tar_backup_of_postgresql_15_is_the_same: 15;
    bb_132_plain_backup_of_postgresql_16_is_the_same, bb_141_tar_backup_of_postgresql_16_is_the_same: 16;
    bb_132_plain_backup_of_postgresql_17_is_the_same, bb_141_tar_backup_of_postgresql_17_is_the_same: 17;
    bb_132_plain_backup_of_postgresql_18_is_the_same, bb_141_tar_backup_of_postgresql_18_is_the_same: 18;
}
