//! Backups over connections that GSSAPI encrypts are what they are over others.

use std::path::Path;

use super::trial::{GSS, kerberized, rule};
use crate::support::base_backup::{BackupProgram, verify};
use crate::support::kerberos::{Credentials, Realm};
use crate::support::{Cluster, DEADLINE, Run, scratch_directory, wait_for};

fn encrypted_backup(
    cluster: &Cluster,
    credentials: &Credentials,
    program: &BackupProgram,
    target: &Path,
) -> Run {
    let conninfo = format!(
        "host=localhost hostaddr=127.0.0.1 port={} user=postgres sslmode=disable gssencmode=require",
        cluster.port()
    );
    let run = Run::new(program.path()).args(["--checkpoint=fast", "--dbname", &conninfo, "--pgdata"]);
    credentials.apply(run.arg(target))
}

#[track_caller]
fn arrives_whole(major: u16) {
    let realm = Realm::start();
    let credentials = realm.add_user("postgres");
    let cluster = kerberized(&realm, major).hba(&rule("hostgssenc", "postgres", GSS)).start();
    cluster.pgbench_init(8);
    let directory = scratch_directory();
    let target = directory.path().join("backup");
    let load = cluster.pgbench_load();
    encrypted_backup(&cluster, &credentials, &BackupProgram::ours(), &target).run().expect_success();
    load.stop(&cluster);
    let log = cluster.log();
    let sessions = log.matches("replication connection authorized").count();
    assert_eq!((sessions, log.matches("encrypted=yes").count()), (2, 2), "{log}");
    verify(cluster.installation(), &target, &[]);

    let restored = Cluster::existing(major, &target).start();
    let sums = ["accounts", "tellers", "branches"]
        .map(|table| restored.psql(&format!("SELECT sum({}balance) FROM pgbench_{table}", &table[..1])));
    assert!(sums.iter().all(|sum| *sum == sums[0]), "a transaction was torn: {sums:?}");
}

#[test]
fn cn_204_a_large_backup_of_server_15_arrives_whole() {
    arrives_whole(15);
}

#[test]
fn cn_204_a_large_backup_of_server_18_arrives_whole() {
    arrives_whole(18);
}

#[test]
fn cn_204_the_server_says_that_it_encrypts_for_whom() {
    let realm = Realm::start();
    let credentials = realm.add_user("postgres");
    let cluster = kerberized(&realm, 18).hba(&rule("hostgssenc", "postgres", GSS)).start();
    let directory = scratch_directory();
    let (program, target) = (BackupProgram::ours(), directory.path().join("backup"));
    let slowly = encrypted_backup(&cluster, &credentials, &program, &target).arg("--max-rate=32");
    let running = slowly.start();
    let seen = "SELECT DISTINCT gss_authenticated, encrypted, principal, count(*) OVER ()
                FROM pg_stat_gssapi JOIN pg_stat_replication USING (pid)";
    wait_for("both connections to be seen", DEADLINE, || cluster.psql(seen) == "t|t|postgres@EXAMPLE.COM|2");
    drop(running);
}
