//! Times the stages that bytes pass on their way from the server to the disk, each by itself.
//!
//! `cargo bench --bench stages -- [NAME...]` runs those whose path has one of the names in it. What goes in is made up and
//! the same each time. Nothing but the library's public face is called: where a stage has none of its own, as the framing
//! of messages, the nearest public way is timed, and what else is on it is timed beside it.
#![allow(clippy::unwrap_used, reason = "a stage that fails has no time")]

mod codecs;
mod contents;
mod disk;
mod framing;
mod manifest;
mod messages;
mod tar;
mod wal;

#[path = "../../tests/support/log_writer.rs"]
mod log_writer;
#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "tests use more of it")]
#[path = "../../tests/support/random.rs"]
mod random;
#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "tests use more of it")]
#[path = "../../tests/support/scripted_server.rs"]
mod scripted_server;
#[allow(dead_code, unreachable_pub, reason = "tests use more of it")]
#[path = "../../tests/support/wait.rs"]
mod wait;

use std::time::Duration;

use wait::DEADLINE;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// How much of a backup a server sends with one message.
const BACKUP_MESSAGE: usize = 32 * KIB;

/// The most WAL that a server sends with one message.
const WAL_MESSAGE: usize = 128 * KIB;

/// The time for each benchmark, within which a stage that takes long runs less often: all of them are to take no more
/// than two minutes.
const LONGEST: Duration = Duration::from_secs(1);

fn main() {
    disk::with_scratch_directory(|| divan::Divan::default().max_time(LONGEST).config_with_args().main());
}
