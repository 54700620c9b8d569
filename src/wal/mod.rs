//! The write-ahead log as data: runs of bytes, segments, pages and records, timelines.
//!
//! What comes in is bytes with their positions, or the content of a timeline history file; what goes
//! out is pieces that lie within one segment, how far the records are sound, or typed entries. Nothing here
//! does I/O.

mod error;
#[cfg(test)]
#[path = "../../tests/support/log_writer.rs"]
pub(crate) mod log_writer;
mod page_header;
mod record;
mod record_reader;
mod segment_cutter;
mod segment_header;
mod timeline_history;

pub use error::{PageFault, RecordFault, WalError};
pub use record_reader::RecordReader;
pub use segment_cutter::{Cut, Cuts, DiscontinuityError, SegmentCutter};
pub use segment_header::SegmentHeader;
pub use timeline_history::{HistoryEntry, TimelineHistory, TimelineHistoryError};
