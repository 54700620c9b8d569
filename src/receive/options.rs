//! What a caller asks of the receiver, and what it reports.

use std::time::Duration;

use crate::storage::Durable;
use crate::types::{Lsn, SegmentSize, SystemId, TimelineId};

/// What to receive, and how to tell the server of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveOptions {
    /// The cluster that the WAL must come from; `None` takes any.
    pub system_id: Option<SystemId>,
    /// The timeline to start on.
    pub timeline: TimelineId,
    /// The position to start at: a record, or the start of a segment. The segment that holds it is received from its
    /// first byte, and records are checked from this one on.
    pub start: Lsn,
    /// The size of the server's WAL segments.
    pub segment_size: SegmentSize,
    /// The replication slot to stream from. With one, the server learns what is durable.
    pub slot: Option<String>,
    /// The time between status updates (`--status-interval`); `None` or zero sends none but those
    /// that the server asks for. PostgreSQL's programs send one every 10 seconds.
    pub status_interval: Option<Duration>,
    /// Whether received WAL is made durable, and reported so, as soon as it is written
    /// (`--synchronous`).
    pub synchronous: bool,
    /// How long a server may be silent in the stream, although asked for an answer after half of it, until it counts as
    /// dead; none waits for ever (OP-25).
    pub receive_timeout: Option<Duration>,
}

/// Where the receiver stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveReport {
    /// The timeline it was on.
    pub timeline: TimelineId,
    /// The end of what was received; all of it is durable.
    pub end: Durable<Lsn>,
    /// Up to where it is complete and sound records.
    pub end_of_records: Lsn,
}

/// What [`run`](super::run) is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// The replication slot to stream from (`--slot`). With one, the server learns what is durable, and an archive
    /// without WAL begins where the slot does.
    pub slot: Option<String>,
    /// The time between status updates (`--status-interval`); zero sends none but those that the server asks for.
    pub status_interval: Duration,
    /// Whether received WAL is made durable, and reported so, as soon as it is written (`--synchronous`).
    pub synchronous: bool,
    /// Whether the archive takes "durable" at its word. Without that, a server with a slot hears of whole segments
    /// only (`--no-sync`, OP-09).
    pub durable: bool,
    /// The receiver stops once WAL beyond this position was received (`--endpos`).
    pub end: Option<Lsn>,
    /// What happens when the connection is lost.
    pub reconnect: Reconnect,
    /// The longest pause before a new connection (OP-35).
    pub longest_pause: Duration,
    /// How long a server may be silent, although asked for an answer after half of it, until it counts as dead; none
    /// waits for ever (OP-25). It also bounds each attempt to connect after which there would be another one, where the
    /// configuration has no `connect_timeout`.
    pub receive_timeout: Option<Duration>,
}

/// What happens when the connection is lost, or cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// The run ends with the error (`--no-loop`).
    Never,
    /// A new one is made, at once and then after longer and longer pauses (OP-35).
    Always {
        /// Whether that holds for the very first one too, which otherwise ends the run (OP-12).
        even_first: bool,
        /// After so long without a stream the run ends all the same (OP-19).
        give_up_after: Option<Duration>,
    },
}

impl Default for RunOptions {
    /// As `pg_receivewal` runs without options.
    fn default() -> Self {
        Self {
            slot: None,
            status_interval: Duration::from_secs(10),
            synchronous: false,
            durable: true,
            end: None,
            reconnect: Reconnect::Always { even_first: false, give_up_after: None },
            longest_pause: Duration::from_secs(5),
            receive_timeout: Some(Duration::from_mins(1)),
        }
    }
}
