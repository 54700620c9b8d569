//! The words of the field as types: positions, timelines, segments, versions, secrets.
//!
//! Everything public here is a small value with a private field: a value that exists is a valid one, and
//! `Display` prints what PostgreSQL prints. Beside them is the checksum that several modules take. Nothing here does I/O.

mod crc32c;
mod lsn;
mod os_error;
mod password;
mod segment;
mod server_version;
mod system_id;
mod timeline_id;
mod with_causes;

pub(crate) use crc32c::Crc32c;
pub use lsn::{Lsn, ParseLsnError};
pub use os_error::OsError;
pub use password::Password;
pub use segment::{InvalidSegmentSize, ParseWalFileNameError, SegmentNumber, SegmentSize, WalFileName};
pub use server_version::ServerVersion;
pub use system_id::{ParseSystemIdError, SystemId};
pub use timeline_id::{InvalidTimelineId, TimelineId};
pub use with_causes::WithCauses;
