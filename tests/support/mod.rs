//! Real PostgreSQL servers for tests, and the programs that run against them.
//!
//! In come a major version and settings; out comes a running [`Cluster`] with a port and directories of
//! its own. It is gone when it is dropped, and also when the process that owns it is killed.
//! `scripts/install-postgres` installs the servers. Only [`ScriptedServer`] and [`byte_script`] imitate
//! PostgreSQL, to say what a real server never would.
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
pub mod archived_wal;
pub mod archives;
mod attempt;
pub mod base_backup;
pub mod byte_script;
pub mod certificates;
mod cluster;
mod cluster_directory;
mod cluster_tls;
mod committer;
pub mod durability;
pub mod failing_calls;
mod installation;
pub mod kerberos;
pub mod lied_to;
pub mod log_writer;
pub mod message_proxy;
mod pgbench;
mod port;
mod postmaster;
mod program;
mod proxy;
mod random;
pub mod receive_order;
mod recovery;
mod run;
pub mod scripted_backup_server;
mod scripted_server;
mod slow_backup;
mod small_disk;
pub mod system_calls;
mod terminal;
pub mod tree;
mod wait;
pub mod wal_program;
mod with_causes;
pub mod witness;

pub use account::ServerAccount;
pub use attempt::{Attempt, Attempted};
pub use cluster::{Cluster, ClusterBuilder, StopMode};
pub use cluster_tls::ServerTls;
pub use committer::Committers;
pub use installation::{Installation, VERSIONS, client_program};
pub use pgbench::Load;
pub use port::ReservedPort;
pub use postmaster::processes_in;
pub use program::{Personality, pgsiphon, scratch_directory};
pub use proxy::Proxy;
pub use random::{Random, seconds_from_environment};
pub use recovery::recover;
pub use run::{Outcome, Run, Running};
pub use scripted_server::{Manner, Peer, Script, ScriptedServer, Status};
pub use slow_backup::{
    backup, backup_sender, start_slow_backup, wait_for_phase, wait_until_nothing_replicates, wal_sender,
};
pub use small_disk::SmallDisk;
pub use terminal::Terminal;
pub use wait::{DEADLINE, wait_for, wait_for_some};
pub use with_causes::ErrorText;
