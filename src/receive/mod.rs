//! The WAL receiver: from a server's WAL stream to segments in an archive, and feedback back.
//!
//! What comes in is a client, a start position and an archive; what comes out is whole segments in
//! the archive and a report of where it ended. Two loops do the work:
//!
//! ```text
//!            messages                 batches
//! server ──────────────► stream task ─────────► disk thread ──► archive
//!        ◄──────────────             ◄─────────
//!          status updates             positions
//! ```
//!
//! The task never waits for the disk: it answers the server while a sync stalls, and stops reading
//! when too many bytes wait to be written. No position is reported as flushed that is not
//! [`Durable`](crate::storage::Durable), and none as written that the kernel has not taken.

mod archive;
mod archive_file;
mod attempt;
mod backoff;
mod batch;
mod directory_archive;
mod disk_progress;
mod disk_thread;
mod error;
mod feedback;
mod gap;
mod hosts;
mod observer;
mod options;
mod overlap;
mod patience;
mod pump;
mod retries;
mod run;
mod segment_archive;
mod segment_writer;
mod server;
mod slot;
mod start;
mod stream;
mod tar_archive;

pub use archive::{ArchiveEnd, Closing, Cluster, OpenSegment, WalArchive};
pub use directory_archive::DirectoryArchive;
pub use disk_progress::DiskProgress;
pub use disk_thread::DiskError;
pub use error::{ReceiveError, SlotError};
pub use feedback::{Feedback, FlushReport};
pub use observer::{Event, Observer, RefusedArchive, Warning};
pub use options::{ReceiveOptions, ReceiveReport, Reconnect, RunOptions};
pub use run::run;
pub use segment_archive::SegmentArchive;
pub use stream::stream;
pub use tar_archive::TarArchive;
