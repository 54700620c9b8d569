//! Real PostgreSQL servers for tests, and the programs that run against them.
//!
//! In come a major version and settings; out comes a running [`Cluster`] with a port and directories of
//! its own. It is gone when it is dropped, and also when the process that owns it is killed. Nothing here
//! imitates PostgreSQL. `scripts/install-postgres` installs the servers.
//!
//! ```ignore
//! let primary = Cluster::builder(15).setting("max_wal_senders", "3").start();
//! primary.psql("CREATE TABLE t AS SELECT 1 AS i");
//! ```

// Every test file compiles this module for itself and uses a part of it.
#![allow(dead_code, unreachable_pub, unused_imports)]
// A fixture that does not come up is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod account;
pub mod base_backup;
mod cluster;
mod cluster_directory;
mod installation;
mod pgbench;
mod port;
mod postmaster;
mod program;
mod run;
mod scripted_server;
pub mod tree;
mod wait;
pub mod witness;

pub use account::ServerAccount;
pub use cluster::{Cluster, ClusterBuilder, StopMode};
pub use installation::{Installation, VERSIONS, client_program};
pub use pgbench::Load;
pub use postmaster::processes_in;
pub use program::{Personality, pgsiphon, scratch_directory};
pub use run::{Outcome, Run, Running};
pub use scripted_server::{Peer, ScriptedServer, Status};
pub use wait::{DEADLINE, wait_for, wait_for_some};
