//! The write-ahead log as data: runs of bytes, segments, timelines.
//!
//! What comes in is bytes with their positions, or the content of a timeline history file; what goes
//! out is pieces that lie within one segment, or typed entries. Nothing here does I/O.

mod record_reader;
mod segment_cutter;
mod timeline_history;

pub use record_reader::{RecordReader, WalError};
pub use segment_cutter::{Cut, Cuts, DiscontinuityError, SegmentCutter};
pub use timeline_history::{HistoryEntry, TimelineHistory, TimelineHistoryError};
