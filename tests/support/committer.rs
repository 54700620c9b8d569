//! Sessions that commit one transaction after the other and write down which ones the server has acknowledged.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::cluster::Cluster;
use super::installation::client_program;
use super::run::{Run, Running};

/// Transactions that a session has in stock: more than it can do in the time it has.
const STOCK: u32 = 300_000;

/// The sessions. Each transaction adds a row of 1 kB with the number of its session and its own.
#[derive(Debug)]
pub struct Committers {
    sessions: Vec<Running>,
}

impl Committers {
    /// Makes the table.
    pub fn prepare(cluster: &Cluster) {
        cluster.psql(
            "CREATE TABLE committed (session int, number int, filler text, PRIMARY KEY (session, number))",
        );
    }

    /// Starts so many sessions; they keep their statements in `directory`.
    pub fn start(cluster: &Cluster, sessions: u32, directory: &Path) -> Self {
        let session = |session: u32| {
            let script = directory.join(format!("session-{session}.sql"));
            let statements = (1..=STOCK).fold(String::new(), |mut text, number| {
                let row = format!("{session}, {number}, repeat('x', 1000)");
                writeln!(text, "INSERT INTO committed VALUES ({row});\n\\echo {session} {number}").unwrap();
                text
            });
            fs::write(&script, statements).unwrap();
            Run::new(client_program("psql"))
                .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres", "-f"])
                .arg(script)
                .arg("-h")
                .arg(cluster.socket_dir())
                .args(["-p", &cluster.port().to_string()])
                .start()
        };
        Self { sessions: (0..sessions).map(session).collect() }
    }

    /// The transactions that were acknowledged before the server died, by session and number.
    #[track_caller]
    pub fn acknowledged(self) -> BTreeSet<(u32, u32)> {
        let mut acknowledged = BTreeSet::new();
        for session in self.sessions {
            let outcome = session.finish();
            assert_ne!(outcome.code(), Some(0), "the session ran out of transactions");
            let text = outcome.stdout_text();
            let pairs = text.lines().map(|line| line.split_once(' ').unwrap());
            acknowledged
                .extend(pairs.map(|(session, number)| (session.parse().unwrap(), number.parse().unwrap())));
        }
        acknowledged
    }

    /// The transactions that a server has.
    pub fn present(cluster: &Cluster) -> BTreeSet<(u32, u32)> {
        let rows = cluster.psql("SELECT session, number FROM committed");
        let pairs = rows.lines().map(|line| line.split_once('|').unwrap());
        pairs.map(|(session, number)| (session.parse().unwrap(), number.parse().unwrap())).collect()
    }
}
