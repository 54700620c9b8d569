//! Whole backups over TLS: both connections are encrypted, and every byte arrives.

use crate::bench::{Authorities, Bench};
use crate::observed::LogMark;
use crate::support::base_backup::{BackupProgram, verify};
use crate::support::certificates::{Certificate, Template};
use crate::support::{ServerTls, scratch_directory};

/// The backup is taken by a user with a certificate from a server that must prove who it is.
#[test]
fn cn_312_both_connections_of_a_backup_are_encrypted() {
    let authorities = Authorities::new();
    let authority = Certificate::root("Root of clients");
    let tls = ServerTls::new(&authorities.server()).client_authority(&authority);
    for major in [15, 18] {
        let hba = "hostssl replication certain 127.0.0.1/32 cert\nhost replication certain all reject";
        let roles = "CREATE ROLE certain REPLICATION LOGIN";
        let bench = Bench::start(major, tls.clone(), authorities.store(), hba, roles);
        let client = authority.issue(&Template::client("certain"));
        bench.store.write("client.crt", client.pem());
        bench.store.write("client.key", client.key_pem());
        bench.cluster.pgbench_init(2);
        for version in ["TLSv1.2", "TLSv1.3"] {
            let conninfo = bench.fill_in(&format!(
                "host=localhost hostaddr=127.0.0.1 port={} user=certain sslmode=verify-full \
                 sslrootcert=DIR/root.crt sslcert=DIR/client.crt sslkey=DIR/client.key \
                 ssl_min_protocol_version={version} ssl_max_protocol_version={version}",
                bench.cluster.port()
            ));
            let directory = scratch_directory();
            let backup = directory.path().join("backup");
            let mark = LogMark::now(&bench.cluster);
            let program = BackupProgram::ours();
            let run = program.back_up(&bench.cluster, &backup).args(["--no-sync", "-d", &conninfo]);
            let outcome = run.run().expect_success();
            assert_eq!(outcome.stderr, "");
            let log = mark.since(&bench.cluster);
            let admissions: Vec<_> =
                log.lines().filter(|line| line.contains("replication connection authorized: ")).collect();
            let is_encrypted =
                |line: &&str| line.contains("user=certain") && line.contains(&format!("protocol={version}"));
            assert!(admissions.len() == 2 && admissions.iter().all(is_encrypted), "{admissions:?}");
            verify(bench.cluster.installation(), &backup, &[]);
        }
    }
}
