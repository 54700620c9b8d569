//! A backup that is taken while transactions run restores to a server with every transaction that had
//! committed before the backup ended.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::path::Path;

use support::base_backup::{
    BackupProgram, redirect_tablespace_map, unpack, verify, verify_archives, wal_range,
};
use support::witness::{self, Witness};
use support::{Cluster, scratch_directory};

/// A server with something to do: the tables of pgbench, and a table in a tablespace of its own.
fn cluster_with_data(major: u16) -> Cluster {
    let cluster = Cluster::builder(major).initdb_arg("--data-checksums").start();
    cluster.pgbench_init(1);
    let location = cluster.make_directory("space");
    cluster.psql(&format!("CREATE TABLESPACE space LOCATION '{}'", location.display()));
    cluster.psql("CREATE TABLE elsewhere TABLESPACE space AS SELECT generate_series(1, 20000) AS number");
    cluster
}

/// Takes a backup with these options while transactions run.
fn back_up_under_load(cluster: &Cluster, directory: &Path, options: &[&str]) {
    let load = cluster.pgbench_load();
    let witness = Witness::start(cluster);
    BackupProgram::ours().back_up(cluster, directory).args(options).run().expect_success();
    witness.stop(cluster);
    load.stop(cluster);
}

#[track_caller]
fn assert_restored(original: &Cluster, data_directory: &Path) {
    let (start, end) = wal_range(data_directory);
    let restored = Cluster::existing(original.installation().major(), data_directory).start();
    assert!(!restored.is_in_recovery());

    let before_start = witness::committed_before(original, &start);
    let before_end = witness::committed_before(original, &end);
    assert!(before_start < before_end, "nothing was committed during the backup");
    assert_eq!(witness::present(&restored, before_end), before_end);

    // Each transaction of pgbench adds the same amount to all of these.
    let sums = restored.psql(
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches),
           (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(delta) FROM pgbench_history)",
    );
    let sums: Vec<&str> = sums.split('|').collect();
    assert_eq!(sums, [sums[0]; 4]);
    assert_eq!(restored.psql("SELECT count(*) FROM pgbench_accounts"), "100000");

    assert_eq!(restored.psql("SELECT count(*), sum(number) FROM elsewhere"), "20000|200010000");
    let location = "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'space'";
    assert_ne!(restored.psql(location), original.psql(location));
}

#[track_caller]
fn plain_backup_restores(major: u16) {
    let cluster = cluster_with_data(major);
    let scratch = scratch_directory();
    let data_directory = scratch.path().join("data");
    let [old, new] = [cluster.data_dir().with_file_name("space"), scratch.path().join("space")];
    let mapping = format!("--tablespace-mapping={}={}", old.display(), new.display());
    back_up_under_load(&cluster, &data_directory, &["--wal-method=stream", &mapping]);
    verify(cluster.installation(), &data_directory, &[]);
    assert_restored(&cluster, &data_directory);
}

#[track_caller]
fn tar_backup_restores(major: u16) {
    let cluster = cluster_with_data(major);
    let scratch = scratch_directory();
    let [archives, data_directory] = ["archives", "data"].map(|name| scratch.path().join(name));
    back_up_under_load(&cluster, &archives, &["--wal-method=stream", "--format=tar"]);
    verify_archives(cluster.installation(), &archives);
    unpack(&archives, &data_directory);
    verify(cluster.installation(), &data_directory, &[]);
    redirect_tablespace_map(&data_directory);
    assert_restored(&cluster, &data_directory);
}

macro_rules! with_each_version {
    ($($plain:ident, $tar:ident: $major:literal;)*) => {
        $(
            #[test] fn $plain() { plain_backup_restores($major); }
            #[test] fn $tar() { tar_backup_restores($major); }
        )*
    };
}

with_each_version! {
    bb_272_plain_backup_of_postgresql_15_restores, bb_272_tar_backup_of_postgresql_15_restores: 15;
    bb_272_plain_backup_of_postgresql_16_restores, bb_272_tar_backup_of_postgresql_16_restores: 16;
    bb_272_plain_backup_of_postgresql_17_restores, bb_272_tar_backup_of_postgresql_17_restores: 17;
    bb_272_plain_backup_of_postgresql_18_restores, bb_272_tar_backup_of_postgresql_18_restores: 18;
}
