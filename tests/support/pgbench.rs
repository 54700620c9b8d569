//! Tables and load from `pgbench`.

use super::cluster::Cluster;
use super::installation::client_program;
use super::run::{Run, Running};
use super::wait::{DEADLINE, wait_for};

/// Transactions that go on in the background until this value is dropped.
#[derive(Debug)]
pub struct Load {
    pgbench: Running,
}

impl Load {
    /// Starts two clients on tables that [`initialize`] has made.
    pub fn start(cluster: &Cluster) -> Self {
        let a_day = "86400";
        let pgbench = Run::new(client_program("pgbench"))
            .args(["--no-vacuum", "--client=2", "--time", a_day])
            .args(connection_options(cluster))
            .start();
        Self { pgbench }
    }

    /// # Panics
    ///
    /// With what pgbench printed, if it has given up.
    #[track_caller]
    pub fn assert_running(&mut self) {
        assert!(self.pgbench.is_running(), "pgbench ended: {}", self.pgbench.stderr_so_far());
    }

    /// Ends the load and waits until its last transactions have ended on the server.
    ///
    /// # Panics
    ///
    /// If it had ended before.
    #[track_caller]
    pub fn stop(mut self, cluster: &Cluster) {
        self.assert_running();
        drop(self);
        wait_for("the sessions of pgbench to end", DEADLINE, || {
            cluster.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'") == "0"
        });
    }
}

/// Makes the tables of pgbench; scale 1 is about 15 MB.
pub fn initialize(cluster: &Cluster, scale: u32) {
    Run::new(client_program("pgbench"))
        .args(["--initialize", "--quiet", &format!("--scale={scale}")])
        .args(connection_options(cluster))
        .run()
        .expect_success();
}

fn connection_options(cluster: &Cluster) -> [String; 4] {
    [
        format!("--host={}", cluster.socket_dir().display()),
        format!("--port={}", cluster.port()),
        "--username=postgres".to_owned(),
        "postgres".to_owned(),
    ]
}
