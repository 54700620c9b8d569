//! The backup manifest: what a server says it sent.
//!
//! In: the bytes of a manifest in chunks of any size. Out: its entries, one by one, and at the end the word
//! that its own checksum was right ([`ManifestReader`]); or the manifest without some of its files
//! ([`ManifestFilter`]). Beside it the checksums of files ([`Checksummer`]). A path on disk is never touched, and
//! no manifest, however long, makes this module hold more than one entry of it.
//!
//! The format is that of the manual's chapter "Backup Manifest Format". Servers lay it out as follows; white space
//! is free, except that the checksum is that of all lines but the last:
//!
//! ```text
//! { "PostgreSQL-Backup-Manifest-Version": 2,
//! "System-Identifier": 7000000000000000001,
//! "Files": [
//! { "Path": "backup_label", "Size": 227, "Last-Modified": "…", "Checksum-Algorithm": "CRC32C", "Checksum": "839206e3" },
//! { "Encoded-Path": "62617365", "Size": 0, "Last-Modified": "…" }
//! ],
//! "WAL-Ranges": [
//! { "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000100" }
//! ],
//! "Manifest-Checksum": "<64 hexadecimal digits>"}
//! ```

mod checksum;
mod error;
mod filter;
mod json;
mod line_digest;
mod model;
mod reader;

pub use checksum::{Checksum, ChecksumAlgorithm, Checksummer, UnrecognizedChecksumAlgorithm};
pub use error::{ManifestError, ManifestFault};
pub use filter::ManifestFilter;
pub use json::{JsonError, MAX_TOKEN_LEN};
pub use model::{FileEntry, ManifestItem, ManifestVersion, WalRange};
pub use reader::ManifestReader;
