//! A WAL receiver that runs while the test does something else.
//!
//! The tests that need it take this file in by its path, because most need no library.

// Every test file compiles this module for itself and uses a part of it.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

use std::thread::JoinHandle;

use pgsiphon::client::ReplicationClient;
use pgsiphon::conninfo::Config;
use pgsiphon::receive::{ReceiveError, ReceiveOptions, ReceiveReport, WalArchive, stream};
use pgsiphon::types::{Lsn, SegmentSize, TimelineId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What is received without further wishes: timeline 1 from `start`, no slot, no updates unasked.
pub fn plain_options(start: Lsn, segment_size: SegmentSize) -> ReceiveOptions {
    ReceiveOptions {
        system_id: None,
        timeline: TimelineId::FIRST,
        start,
        segment_size,
        slot: None,
        status_interval: None,
        synchronous: false,
        receive_timeout: None,
    }
}

/// A receiver on a thread of its own.
pub struct Receiving {
    stop: watch::Sender<Option<Lsn>>,
    cancel: CancellationToken,
    thread: JoinHandle<Result<ReceiveReport, ReceiveError>>,
}

impl Receiving {
    /// Connects and begins to receive.
    pub fn start(conninfo: &str, options: ReceiveOptions, archive: impl WalArchive + 'static) -> Self {
        let config: Config = conninfo.parse().unwrap();
        let (stop, stopping) = watch::channel(None);
        let cancel = CancellationToken::new();
        let cancelled = cancel.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut client = ReplicationClient::connect(&config).await.unwrap();
                stream(&mut client, &options, Box::new(archive), stopping, cancelled).await
            })
        });
        Self { stop, cancel, thread }
    }

    /// Says where it is enough.
    pub fn stop_at(&self, position: Lsn) {
        self.stop.send_replace(Some(position));
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
}
