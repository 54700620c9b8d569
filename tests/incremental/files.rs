//! What an increment consists of is what the server sent.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::chain::summarizing;
use super::support::base_backup::{BackupProgram, members, timeless_entries};
use super::support::tree::{Entry, differences_of_entries};
use super::support::{Cluster, scratch_directory};

/// Of visibility maps the real program gets what has changed, which is not relied on.
fn is_visibility_map(path: &Path) -> bool {
    path.to_str().unwrap().ends_with("_vm")
}

fn split(entries: BTreeMap<PathBuf, Entry>) -> [BTreeMap<PathBuf, Entry>; 2] {
    let (maps, others) = entries.into_iter().partition(|(path, _)| is_visibility_map(path));
    [maps, others]
}

fn count_increments(entries: &BTreeMap<PathBuf, Entry>) -> usize {
    let is_increment =
        |path: &&PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("INCREMENTAL.");
    entries.keys().filter(is_increment).count()
}

#[track_caller]
fn increments_are_those_of_the_real_program(major: u16) {
    let cluster = summarizing(Cluster::builder(major)).start();
    cluster.psql(
        "CREATE TABLE t (i int PRIMARY KEY, text text);
         INSERT INTO t SELECT i, repeat('x', 90) FROM generate_series(1, 20000) AS i",
    );
    cluster.psql("VACUUM (FREEZE)");
    let scratch = scratch_directory();
    let [full, theirs, ours, their_archives, our_archives] =
        ["full", "theirs", "ours", "their_archives", "our_archives"].map(|name| scratch.path().join(name));
    let program = BackupProgram::ours();
    program.back_up(&cluster, &full).arg("-N").run().expect_success();
    cluster.psql("UPDATE t SET text = 'changed' WHERE i IN (1, 10000)");
    cluster.psql("VACUUM (FREEZE)");
    let manifest = full.join("backup_manifest");
    for (program, plain, tar) in
        [(&BackupProgram::real(&cluster), &theirs, &their_archives), (&program, &ours, &our_archives)]
    {
        let increment = |output: &Path| program.back_up(&cluster, output).arg("-N").arg("-i").arg(&manifest);
        increment(plain).run().expect_success();
        increment(tar).arg("-Ft").run().expect_success();
    }

    let [their_maps, their_files] = split(timeless_entries(&theirs));
    let [our_maps, our_files] = split(timeless_entries(&ours));
    assert_eq!(differences_of_entries(&their_files, &our_files), "");
    let increments = count_increments(&our_files);
    assert!(increments > 400, "{increments}");
    assert!(count_increments(&their_maps) > 10 && our_maps.len() == their_maps.len());
    for path in our_maps.keys() {
        let [ours, servers] =
            [ours.as_path(), cluster.data_dir()].map(|directory| fs::read(directory.join(path)).unwrap());
        assert!(ours == servers, "{}", path.display());
    }

    let without_maps = |directory: &Path| {
        let members = members(&directory.join("base.tar"));
        members.into_iter().filter(|member| !member.contains("_vm ")).collect::<Vec<_>>()
    };
    assert_eq!(without_maps(&their_archives), without_maps(&our_archives));
}

#[test]
fn bb_206_bb_269_increments_of_postgresql_17_are_stored_as_they_came() {
    increments_are_those_of_the_real_program(17);
}

#[test]
fn bb_206_bb_269_increments_of_postgresql_18_are_stored_as_they_came() {
    increments_are_those_of_the_real_program(18);
}
