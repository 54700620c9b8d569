//! Chains of backups of one server, while much changes.

use std::fs;
use std::path::PathBuf;

use super::chain::{Chain, Form, assert_same_dump, combine, dump, psql_in, rows_by_scan, summarizing};
use super::support::base_backup::file_names;
use super::support::{Cluster, Installation, scratch_directory};

/// A server with a table for each kind of change, a tablespace elsewhere and one in place.
fn cluster(major: u16) -> Cluster {
    let cluster = summarizing(Cluster::builder(major)).setting("allow_in_place_tablespaces", "on").start();
    let location = cluster.make_directory("space");
    cluster.psql(&format!("CREATE TABLESPACE space LOCATION '{}'", location.display()));
    cluster.psql("CREATE TABLESPACE inside LOCATION ''");
    cluster.psql("CREATE DATABASE doomed");
    psql_in(&cluster, "doomed", "CREATE TABLE gone_soon AS SELECT generate_series(1, 1000) AS i");
    cluster.psql(
        "CREATE TABLE t (i int PRIMARY KEY, text text);
         INSERT INTO t SELECT i, repeat('x', 90) FROM generate_series(1, 20000) AS i;
         CREATE TABLE shrinking AS SELECT i, repeat('s', 500) FROM generate_series(1, 20000) AS i;
         CREATE TABLE emptied AS SELECT generate_series(1, 20000) AS i;
         CREATE TABLE moving AS SELECT generate_series(1, 20000) AS i;
         CREATE TABLE elsewhere TABLESPACE space AS SELECT generate_series(1, 20000) AS i;
         CREATE TABLE in_place TABLESPACE inside AS SELECT generate_series(1, 20000) AS i;
         CREATE TABLE still AS SELECT generate_series(1, 20000) AS i",
    );
    cluster.psql("VACUUM (FREEZE)");
    cluster
}

fn first_changes(cluster: &Cluster) {
    cluster.psql("UPDATE t SET text = 'changed' WHERE i % 1000 = 0");
    cluster.psql("DELETE FROM t WHERE i % 7 = 0");
    cluster.psql("DELETE FROM shrinking WHERE i > 100");
    cluster.psql("VACUUM shrinking");
    cluster.psql(
        "TRUNCATE emptied;
         UPDATE elsewhere SET i = -i WHERE i < 10;
         UPDATE in_place SET i = -i WHERE i < 10;
         CREATE TABLE born TABLESPACE space AS SELECT generate_series(1, 3000) AS i;
         CREATE INDEX ON still (i)",
    );
    cluster.psql("DROP DATABASE doomed");
    cluster.psql("CREATE DATABASE by_log STRATEGY wal_log");
    cluster.psql("CREATE DATABASE by_copy STRATEGY file_copy");
    psql_in(cluster, "by_copy", "CREATE TABLE u AS SELECT generate_series(1, 1000) AS i");
}

fn second_changes(cluster: &Cluster) {
    cluster.psql("INSERT INTO shrinking SELECT i, repeat('n', 500) FROM generate_series(1, 5000) AS i");
    cluster.psql("DROP TABLE born");
    cluster.psql("ALTER TABLE moving SET TABLESPACE space");
    cluster.psql("VACUUM FULL elsewhere");
    cluster.psql("DELETE FROM t WHERE i % 5 = 0");
    cluster.psql("VACUUM t");
    cluster.psql("DELETE FROM t WHERE i % 3 = 0");
    cluster.psql("DROP DATABASE by_log");
    psql_in(cluster, "by_copy", "UPDATE u SET i = -i");
}

/// The combined backups hold what the server held at the end of the newest one.
#[track_caller]
fn assert_combined_is(chain: &Chain, cluster: &Cluster, expected: &str) {
    let combined = chain.combine(cluster);
    let restored = Cluster::existing(cluster.installation().major(), &combined).start();
    assert_same_dump(expected, &restored);
    let [by_table, by_index] = rows_by_scan(&restored);
    assert_eq!(by_table, by_index);
}

#[track_caller]
fn chain_restores(major: u16, form: Form, methods: [&str; 3]) {
    let cluster = cluster(major);
    let mut chain = Chain::new(form);
    chain.extend(&cluster, &["-X", methods[0]]);
    first_changes(&cluster);
    chain.extend(&cluster, &["-X", methods[1]]);
    assert_combined_is(&chain, &cluster, &dump(&cluster));
    second_changes(&cluster);
    chain.extend(&cluster, &["-X", methods[2]]);
    assert_combined_is(&chain, &cluster, &dump(&cluster));
}

#[test]
fn bb_134_bb_268_to_271_plain_chain_of_postgresql_17() {
    chain_restores(17, Form::Plain, ["stream", "fetch", "stream"]);
}

#[test]
fn bb_134_bb_268_to_271_plain_chain_of_postgresql_18() {
    chain_restores(18, Form::Plain, ["stream", "stream", "fetch"]);
}

#[test]
fn bb_134_bb_268_to_271_tar_chain_of_postgresql_17() {
    chain_restores(17, Form::Tar, ["fetch", "stream", "fetch"]);
}

#[test]
fn bb_134_bb_268_to_271_tar_chain_of_postgresql_18() {
    chain_restores(18, Form::Tar, ["stream", "fetch", "stream"]);
}

/// The program that combines finds fault with wrong inputs only.
#[test]
fn bb_213_bb_216_bb_270_chains_in_the_wrong_order_or_with_gaps() {
    let cluster = summarizing(Cluster::builder(18)).start();
    let stranger = summarizing(Cluster::builder(18)).own_system_identifier().start();
    let mut chain = Chain::new(Form::Plain);
    for number in 0..3 {
        cluster.psql(&format!("CREATE TABLE t{number} AS SELECT generate_series(1, 1000) AS i"));
        chain.extend(&cluster, &[]);
    }
    let mut other = Chain::new(Form::Plain);
    other.extend(&stranger, &[]);
    let ([full, first, second], [foreign]) = (chain.backups(), other.backups()) else { unreachable!() };

    let refused = |backups: &[&PathBuf], expected: &str| {
        let scratch = scratch_directory();
        let backups: Vec<PathBuf> = backups.iter().map(|&path| path.clone()).collect();
        let outcome =
            combine(&Installation::find(18), &scratch.path().join("out"), &backups).run().expect_code(1);
        assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
    };
    refused(&[first, full], "is a full backup, but only the first backup should be a full backup");
    refused(&[full, full], "is a full backup, but only the first backup should be a full backup");
    refused(&[full, second], ", but expected ");
    refused(&[first, second], "is an incremental backup, but the first backup should be a full backup");
    refused(&[foreign, first], "expected system identifier");

    let alone = scratch_directory();
    combine(&Installation::find(18), &alone.path().join("out"), std::slice::from_ref(full))
        .run()
        .expect_success();
    assert_eq!(file_names(&alone.path().join("out")), file_names(full));

    let label = fs::read_to_string(second.join("backup_label")).unwrap();
    let start = |directory: &PathBuf| {
        let label = fs::read_to_string(directory.join("backup_label")).unwrap();
        let line = label.lines().next().unwrap().to_owned();
        line.split(' ').nth(3).unwrap().to_owned()
    };
    assert!(label.contains(&format!("\nINCREMENTAL FROM LSN: {}\n", start(first))), "{label}");
    assert!(label.ends_with("\nINCREMENTAL FROM TLI: 1\n"), "{label}");
}

/// A combined backup is a full one, to which there can be increments.
#[test]
fn bb_268_an_increment_to_a_combined_backup() {
    let cluster = summarizing(Cluster::builder(18)).start();
    cluster.psql("CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 20000)");
    let mut chain = Chain::new(Form::Plain);
    chain.extend(&cluster, &[]);
    cluster.psql("DELETE FROM t WHERE i % 2 = 0");
    chain.extend(&cluster, &[]);
    chain.replace_by(chain.combine(&cluster));
    cluster.psql("DELETE FROM t WHERE i % 3 = 0");
    chain.extend(&cluster, &[]);
    let restored = Cluster::existing(18, chain.combine(&cluster)).start();
    assert_eq!(rows_by_scan(&restored), ["6667", "6667"]);
}
