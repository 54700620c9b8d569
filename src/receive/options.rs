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
