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
//! when too many bytes wait to be written. Only a synchronous [`run`] has it otherwise, where two hand-overs for each
//! commit would cost more than the disk does: it has a thread of its own, which writes and syncs small amounts itself;
//! should the disk stall then, another thread answers the server. No position is reported as flushed that is not
//! [`Durable`](crate::storage::Durable), and none as written that the kernel has not taken.
//!
//! There are three ways in:
//!
//! - [`run`] receives for as long as wanted: it finds out where to start, reconnects, and follows promotions.
//! - [`stream`] receives over one connection, from a given start to a given end.
//! - [`WalStream`] hands out WAL piece by piece, and the caller says what became of it.
//!
//! The first two take any [`WalArchive`], such as a [`SegmentArchive`]. One that keeps segments in an object store:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use pgsiphon::Config;
//! use pgsiphon::protocol::TimelineHistoryFile;
//! use pgsiphon::receive::{self, ArchiveEnd, Closing, Cluster, OpenSegment, RunOptions, WalArchive};
//! use pgsiphon::storage::{Durable, StorageError};
//! use pgsiphon::types::{Lsn, TimelineId, WalFileName};
//! use pgsiphon::wal::RecordReader;
//! use tokio_util::sync::CancellationToken;
//!
//! # struct Bucket;
//! # impl Bucket {
//! #     fn put(&mut self, _: &str, _: &[u8]) -> std::io::Result<()> { Ok(()) }
//! #     fn has(&self, _: &str) -> std::io::Result<bool> { Ok(false) }
//! #     fn last_segment(&self) -> std::io::Result<Option<(TimelineId, Lsn)>> { Ok(None) }
//! # }
//! struct ObjectStore {
//!     bucket: Bucket,
//! }
//!
//! /// A segment stays in memory until it is complete.
//! struct Upload<'a> {
//!     bucket: &'a mut Bucket,
//!     name: String,
//!     start: Lsn,
//!     content: Vec<u8>,
//! }
//!
//! fn failed(error: std::io::Error) -> StorageError {
//!     StorageError::Other(error.into())
//! }
//!
//! impl WalArchive for ObjectStore {
//!     fn resume(&mut self, cluster: &Cluster<'_>) -> Result<Option<ArchiveEnd>, StorageError> {
//!         let last = self.bucket.last_segment().map_err(failed)?;
//!         Ok(last.map(|(timeline, end)| ArchiveEnd {
//!             timeline,
//!             position: Durable::vouched_for(end),
//!             records: RecordReader::new(end, end, cluster.segment_size, timeline),
//!             overlap: bytes::Bytes::new(),
//!         }))
//!     }
//!
//!     fn open_segment(
//!         &mut self,
//!         segment: WalFileName,
//!         from: Lsn,
//!     ) -> Result<Box<dyn OpenSegment + '_>, StorageError> {
//!         let (bucket, name) = (&mut self.bucket, segment.to_string());
//!         Ok(Box::new(Upload { bucket, name, start: from, content: Vec::new() }))
//!     }
//!
//!     fn has_history(&mut self, timeline: TimelineId) -> Result<bool, StorageError> {
//!         self.bucket.has(&timeline.history_file_name()).map_err(failed)
//!     }
//!
//!     fn store_history(&mut self, file: &TimelineHistoryFile) -> Result<(), StorageError> {
//!         self.bucket.put(&file.name, &file.content).map_err(failed)
//!     }
//!
//!     fn finish(&mut self) -> Result<(), StorageError> {
//!         Ok(())
//!     }
//! }
//!
//! impl OpenSegment for Upload<'_> {
//!     fn append(&mut self, data: &[u8]) -> Result<(), StorageError> {
//!         self.content.extend_from_slice(data);
//!         Ok(())
//!     }
//!
//!     fn sync(&mut self, _reached: Lsn) -> Result<Durable<Lsn>, StorageError> {
//!         Ok(Durable::vouched_for(self.start))
//!     }
//!
//!     fn complete(self: Box<Self>, end: Lsn) -> Result<Durable<Lsn>, StorageError> {
//!         self.bucket.put(&self.name, &self.content).map_err(failed)?;
//!         Ok(Durable::vouched_for(end))
//!     }
//!
//!     fn close_incomplete(
//!         self: Box<Self>,
//!         _reached: Lsn,
//!         _closing: Closing,
//!     ) -> Result<Durable<Lsn>, StorageError> {
//!         Ok(Durable::vouched_for(self.start))
//!     }
//! }
//!
//! # async fn example(bucket: Bucket) -> Result<(), Box<dyn std::error::Error>> {
//! let config: Config = "host=db1,db2 user=replicator".parse()?;
//! let options = RunOptions { slot: Some("archive".to_owned()), ..RunOptions::default() };
//! let (archive, cancel) = (Box::new(ObjectStore { bucket }), CancellationToken::new());
//! let report = receive::run(&config, &options, archive, Arc::new(()), cancel).await?;
//! println!("everything before {} is in the bucket", report.end.value());
//! # Ok(())
//! # }
//! ```

mod alarm;
mod archive;
mod archive_file;
mod attempt;
mod backoff;
mod batch;
mod beside;
mod command_queue;
mod directory_archive;
mod disk;
mod disk_progress;
mod doorbell;
mod error;
mod feedback;
mod flush_pace;
mod gap;
mod hosts;
mod observer;
mod options;
mod overlap;
mod own_thread;
mod patience;
mod progress_channel;
mod progress_events;
mod pump;
mod refused_archive;
mod retries;
mod run;
mod segment_archive;
mod segment_writer;
mod server;
mod shared_work;
mod slot;
mod stand_in;
mod start;
mod stream;
mod tar_archive;
mod wal_stream;

pub use archive::{ArchiveEnd, Closing, Cluster, OpenSegment, WalArchive};
// The command line tries base backups again, too.
#[cfg(feature = "cli")]
pub(crate) use backoff::{Backoff, chance};
pub use directory_archive::DirectoryArchive;
pub use disk::DiskError;
pub use disk_progress::DiskProgress;
pub use error::{ReceiveError, SlotError};
pub use feedback::{Feedback, FlushReport};
pub use observer::{Event, Observer, Warning};
pub use options::{ReceiveOptions, ReceiveReport, Reconnect, RunOptions};
pub use refused_archive::RefusedArchive;
pub use run::run;
pub use segment_archive::SegmentArchive;
pub use stream::stream;
pub(crate) use stream::stream_and_note;
pub use tar_archive::TarArchive;
pub use wal_stream::{NotReceived, WalChunk, WalStream, WalStreamEnd, WalStreamOptions};
