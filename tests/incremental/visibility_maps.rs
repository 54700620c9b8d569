//! Deleted rows do not come back: visibility maps are right in what increments are combined into, whatever the
//! server knows of their changes.

use super::chain::{Chain, Form, rows_by_scan, summarizing};
use super::support::base_backup::BackupProgram;
use super::support::{Cluster, Installation};

/// What changes a visibility map without a word in the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Bits of changed pages are cleared: not said up to 17.10 and 18.4.
    Deletion,
    /// Bits of pages that a table loses are cleared: not said up to 17.11 and 18.6, without checksums of pages.
    Truncation,
}

/// A server with 20,000 rows on pages that everybody sees all rows of.
fn cluster(installation: Installation, change: Change) -> Cluster {
    let major = installation.major();
    let mut builder = summarizing(Cluster::builder_with(installation));
    if major >= 18 {
        builder = builder.initdb_arg("--no-data-checksums");
    }
    let cluster = builder.start();
    cluster.psql("CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 20000)");
    if change == Change::Truncation {
        cluster.psql("DELETE FROM t WHERE i > 10000");
    }
    cluster.psql("VACUUM (FREEZE, TRUNCATE off) t");
    cluster
}

fn make(change: Change, cluster: &Cluster) {
    cluster.psql(match change {
        Change::Deletion => "DELETE FROM t WHERE i % 2 = 0",
        Change::Truncation => "VACUUM (DISABLE_PAGE_SKIPPING) t",
    });
}

/// How many rows a sequential scan and an index-only scan find in the combined backups, after the table has grown
/// again where it had been truncated.
#[track_caller]
fn rows_after(change: Change, cluster: &Cluster, chain: &Chain) -> [String; 2] {
    let restored = Cluster::existing(cluster.installation().major(), chain.combine(cluster)).start();
    if change == Change::Truncation {
        restored.psql("INSERT INTO t SELECT generate_series(10001, 20000)");
        restored.psql("DELETE FROM t WHERE i > 10000");
    }
    rows_by_scan(&restored)
}

/// No increment of ours brings deleted rows back, be it to a backup of ours or to an increment of the real program,
/// which brings them back where the release has the fault.
#[track_caller]
fn deleted_rows_stay_deleted(release: &Installation, change: Change, has_fault: bool) {
    let cluster = cluster(release.clone(), change);
    let [mut theirs, mut ours] = [Chain::new(Form::Plain), Chain::new(Form::Plain)];
    theirs.extend(&cluster, &[]);
    ours.extend(&cluster, &[]);
    make(change, &cluster);
    theirs.extend_with(&BackupProgram::real(&cluster), &cluster, &[]);
    ours.extend(&cluster, &[]);
    if has_fault {
        let [by_table, by_index] = rows_after(change, &cluster, &theirs);
        assert!(by_table == "10000" && by_index.parse::<u32>().unwrap() > 15000, "{by_index}");
    }
    assert_eq!(rows_after(change, &cluster, &ours), ["10000", "10000"]);
    cluster.psql("DELETE FROM t WHERE i % 5 = 1");
    for mut chain in [theirs, ours] {
        chain.extend(&cluster, &[]);
        assert_eq!(rows_after(change, &cluster, &chain), ["8000", "8000"]);
    }
}

#[test]
fn bb_112_bb_271_bits_that_were_cleared_with_postgresql_17_10() {
    deleted_rows_stay_deleted(&Installation::find_release("17.10"), Change::Deletion, true);
}

#[test]
fn bb_112_bb_271_bits_that_were_cleared_with_postgresql_18_4() {
    deleted_rows_stay_deleted(&Installation::find_release("18.4"), Change::Deletion, true);
}

#[test]
fn bb_112_bb_271_pages_that_were_truncated_with_postgresql_18_4() {
    deleted_rows_stay_deleted(&Installation::find_release("18.4"), Change::Truncation, true);
}

#[test]
fn bb_112_bb_271_pages_that_were_truncated_with_the_newest_release_of_17() {
    deleted_rows_stay_deleted(&Installation::find(17), Change::Truncation, false);
}

#[test]
fn bb_112_bb_271_pages_that_were_truncated_with_the_newest_release_of_18() {
    deleted_rows_stay_deleted(&Installation::find(18), Change::Truncation, false);
}
