//! Chains whose backups come from several servers of one system.

use std::fs;
use std::path::Path;

use super::chain::{Chain, Form, assert_same_dump, dump, summarizing};
use super::support::base_backup::{BackupProgram, manifest};
use super::support::{Cluster, scratch_directory};

fn primary(major: u16) -> Cluster {
    let primary = summarizing(Cluster::builder(major)).start();
    primary.psql(
        "CREATE TABLE t (i int PRIMARY KEY, text text);
         INSERT INTO t SELECT i, repeat('x', 90) FROM generate_series(1, 20000) AS i",
    );
    primary.psql("VACUUM (FREEZE) t");
    primary
}

fn standby_of(primary: &Cluster, directory: &Path) -> Cluster {
    let program = BackupProgram::ours();
    program.back_up(primary, directory).args(["-N", "-R"]).run().expect_success();
    let standby = Cluster::existing(primary.installation().major(), directory).start();
    standby.wait_until_streaming(primary);
    standby
}

/// A backup of a standby starts at its last restart point, which has to come after the reference backup.
fn make_restart_point(primary: &Cluster, standby: &Cluster) {
    primary.psql("CHECKPOINT");
    standby.wait_until_replayed(primary);
    standby.psql("CHECKPOINT");
}

#[track_caller]
fn chain_over_a_promotion_restores(major: u16) {
    let primary = primary(major);
    let scratch = scratch_directory();
    let standby = standby_of(&primary, &scratch.path().join("standby"));
    let mut chain = Chain::new(Form::Plain);
    chain.extend(&primary, &[]);
    standby.wait_until_replayed(&primary);
    let too_early = "manifest requires WAL from final timeline 1 ending at ";
    both_are_refused(&standby, &chain, too_early);

    primary.psql("DELETE FROM t WHERE i % 3 = 0");
    make_restart_point(&primary, &standby);
    chain.extend(&standby, &[]);
    let label = fs::read_to_string(chain.backups()[1].join("backup_label")).unwrap();
    assert!(label.contains("\nBACKUP FROM: standby\n"), "{label}");
    let combined = chain.combine(&standby);
    fs::remove_file(combined.join("standby.signal")).unwrap();
    assert_same_dump(&dump(&primary), &Cluster::existing(major, &combined).start());

    standby.promote();
    standby.psql("UPDATE t SET text = 'promoted' WHERE i % 100 = 1");
    chain.extend(&standby, &[]);
    let ranges = manifest(chain.backups().last().unwrap())["WAL-Ranges"].clone();
    assert_eq!(ranges[0]["Timeline"], 2, "{ranges}");
    standby.psql("DELETE FROM t WHERE i % 5 = 0");
    chain.extend(&standby, &["-X", "fetch"]);
    assert_same_dump(&dump(&standby), &Cluster::existing(major, chain.combine(&standby)).start());

    both_are_refused(&primary, &chain, "timeline 2 found in manifest, but not in this server's history\n");
}

/// The server refuses an increment to the newest backup of the chain, whichever program asks for it.
#[track_caller]
fn both_are_refused(cluster: &Cluster, chain: &Chain, reason: &str) {
    let scratch = scratch_directory();
    for (name, program) in [("real", BackupProgram::real(cluster)), ("ours", BackupProgram::ours())] {
        let increment = program.back_up(cluster, &scratch.path().join(name)).arg("-i").arg(chain.manifest());
        let stderr = increment.run().expect_code(1).stderr;
        let expected = format!(
            "WARNING:  aborting backup due to backend exiting before pg_backup_stop was called\n\
             pg_basebackup: error: could not initiate base backup: ERROR:  {reason}"
        );
        assert!(stderr.starts_with(&expected), "{name}: {stderr}");
    }
}

#[test]
fn bb_267_bb_268_bb_271_chain_over_a_promotion_of_postgresql_17() {
    chain_over_a_promotion_restores(17);
}

#[test]
fn bb_267_bb_268_bb_271_chain_over_a_promotion_of_postgresql_18() {
    chain_over_a_promotion_restores(18);
}
