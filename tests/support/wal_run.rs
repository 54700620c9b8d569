//! A WAL receiver that runs for as long as it is wanted, while the test does something else.
//!
//! The tests that need it take this file in by its path, because most need no library.

// Every test file compiles this module for itself and uses a part of it.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use pgsiphon::conninfo::Config;
use pgsiphon::receive::{
    Event, Observer, ReceiveError, ReceiveReport, Reconnect, RunOptions, SegmentArchive, WalArchive, run,
};
use pgsiphon::storage::SyncPolicy;
use pgsiphon::types::{Lsn, WithCauses};
use tokio_util::sync::CancellationToken;

use crate::support::{Cluster, DEADLINE, wait_for};

/// What a receiver has told so far, a line for each event.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// The lines that begin with that.
    pub fn about(&self, prefix: &str) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.starts_with(prefix)).collect()
    }

    /// Waits for so many lines that begin with that, and gives them.
    #[track_caller]
    pub fn wait_for(&self, count: usize, prefix: &str) -> Vec<String> {
        let what = format!("{count} of \"{prefix}\"");
        wait_for(&what, DEADLINE, || self.about(prefix).len() >= count);
        self.about(prefix)
    }
}

impl Observer for Heard {
    fn observe(&self, event: &Event<'_>) {
        let line = match event {
            Event::Starting { position, timeline } => format!("starting at {position} on {timeline}"),
            Event::SegmentFinished { end, timeline } => format!("finished segment at {end} on {timeline}"),
            Event::TimelineSwitched { timeline, position } => format!("switched to {timeline} at {position}"),
            Event::Stopped { position, timeline } => format!("stopped at {position} on {timeline}"),
            Event::Failed(error) => format!("failed: {}", WithCauses(error)),
            Event::Warning(warning) => format!("warning: {warning}"),
            Event::Disconnected { .. } => "disconnected".to_owned(),
            Event::Cancelled => "cancelled".to_owned(),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(line);
    }
}

/// A receiver on a thread of its own.
pub struct WalRun {
    cancel: CancellationToken,
    heard: Heard,
    thread: JoinHandle<Result<ReceiveReport, ReceiveError>>,
}

impl WalRun {
    /// Begins to receive into the directory.
    pub fn start(conninfo: &str, options: &RunOptions, directory: &Path) -> Self {
        let heard = Heard::default();
        let archive =
            SegmentArchive::open(directory, None, SyncPolicy::Durable, Arc::new(heard.clone())).unwrap();
        Self::start_with(conninfo, options, archive, heard)
    }

    /// Begins to receive into that archive.
    pub fn start_with(
        conninfo: &str,
        options: &RunOptions,
        archive: impl WalArchive + 'static,
        heard: Heard,
    ) -> Self {
        let config: Config = format!("{conninfo} fallback_application_name=pg_receivewal").parse().unwrap();
        let cancel = CancellationToken::new();
        let (options, cancelled, observer) = (options.clone(), cancel.clone(), Arc::new(heard.clone()));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(&config, &options, Box::new(archive), observer, cancelled))
        });
        Self { cancel, heard, thread }
    }

    pub fn heard(&self) -> &Heard {
        &self.heard
    }

    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end.
    #[track_caller]
    pub fn finish(self) -> Result<ReceiveReport, ReceiveError> {
        match self.thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Ends it in good order.
    #[track_caller]
    pub fn stop(self) -> Result<ReceiveReport, ReceiveError> {
        self.cancel();
        self.finish()
    }
}

/// One connection, and no other.
pub fn once() -> RunOptions {
    RunOptions { reconnect: Reconnect::Never, ..RunOptions::default() }
}

/// One connection after the other, with short pauses.
pub fn again_and_again() -> RunOptions {
    RunOptions { longest_pause: Duration::from_millis(100), ..RunOptions::default() }
}

/// As wanted, up to the last position that the server has flushed by now.
pub fn up_to_now(cluster: &Cluster, options: RunOptions) -> RunOptions {
    let last = end_of_wal(cluster).as_u64() - 1;
    RunOptions { end: Some(Lsn::new(last)), ..options }
}

/// The end of what the server has flushed, which is what it sends.
pub fn end_of_wal(cluster: &Cluster) -> Lsn {
    let function =
        if cluster.is_in_recovery() { "pg_last_wal_replay_lsn" } else { "pg_current_wal_flush_lsn" };
    cluster.psql(&format!("SELECT {function}()")).parse().unwrap()
}

/// The files in a directory, by name.
pub fn files(directory: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(name).collect();
    names.sort();
    names
}

/// Those of them that are complete segments.
pub fn segments(directory: &Path) -> Vec<String> {
    let is_segment = |name: &String| name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    files(directory).into_iter().filter(is_segment).collect()
}

/// Every complete segment is what the server has under that name, at least `count` of them.
#[track_caller]
pub fn assert_same_segments(directory: &Path, cluster: &Cluster, count: usize) {
    let names = segments(directory);
    assert!(names.len() >= count, "{:?}", files(directory));
    for name in names {
        let of_server: PathBuf = cluster.data_dir().join("pg_wal").join(&name);
        assert!(fs::read(directory.join(&name)).unwrap() == fs::read(of_server).unwrap(), "{name}");
    }
}
