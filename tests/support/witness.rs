//! Transactions that know where they are in the WAL, for asking whether a backup has all that it must.

use super::cluster::Cluster;
use super::installation::client_program;
use super::run::{Run, Running};
use super::wait::{DEADLINE, wait_for};

/// Transactions, one after the other, until [`Witness::stop`].
///
/// Each one adds a row with its number and with the position that WAL had been written up to when it began.
/// The transaction before it had committed by then.
#[derive(Debug)]
pub struct Witness {
    session: Running,
}

impl Witness {
    /// Starts the transactions and waits until some have committed.
    pub fn start(cluster: &Cluster) -> Self {
        cluster.psql(
            "CREATE TABLE witness (number bigint, written pg_lsn);
             CREATE PROCEDURE testify() LANGUAGE plpgsql AS $$
             DECLARE number bigint := 0;
             BEGIN
               LOOP
                 number := number + 1;
                 INSERT INTO witness VALUES (number, pg_current_wal_insert_lsn());
                 COMMIT;
                 PERFORM pg_sleep(0.001);
               END LOOP;
             END $$",
        );
        let session = Run::new(client_program("psql"))
            .args(["-X", "-q", "-U", "postgres", "-d", "postgres", "-c", "CALL testify()", "-h"])
            .arg(cluster.socket_dir())
            .args(["-p", &cluster.port().to_string()])
            .start();
        wait_for("some transactions", DEADLINE, || cluster.psql("SELECT count(*) > 10 FROM witness") == "t");
        Self { session }
    }

    /// Ends the transactions.
    ///
    /// # Panics
    ///
    /// If they had ended before.
    #[track_caller]
    pub fn stop(mut self, cluster: &Cluster) {
        assert!(self.session.is_running(), "the transactions ended: {}", self.session.stderr_so_far());
        let others = "FROM pg_stat_activity WHERE query LIKE 'CALL testify%'";
        cluster.psql(&format!("SELECT pg_terminate_backend(pid) {others}"));
        wait_for("the transactions to end", DEADLINE, || {
            cluster.psql(&format!("SELECT count(*) {others}")) == "0"
        });
    }
}

/// How many transactions had certainly committed when WAL had been written up to `position`.
#[track_caller]
pub fn committed_before(cluster: &Cluster, position: &str) -> u64 {
    let begun = cluster.psql(&format!("SELECT max(number) FROM witness WHERE written <= '{position}'"));
    begun.parse::<u64>().unwrap() - 1
}

/// How many of the first `count` transactions are there.
#[track_caller]
pub fn present(cluster: &Cluster, count: u64) -> u64 {
    cluster.psql(&format!("SELECT count(*) FROM witness WHERE number <= {count}")).parse().unwrap()
}
