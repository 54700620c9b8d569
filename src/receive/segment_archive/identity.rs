//! Whose WAL an archive has: nothing is written to one that belongs to another cluster (I-7).

use super::content::pour;
use super::listing::Listing;
use super::names::FileName;
use crate::receive::archive::Cluster;
use crate::receive::observer::RefusedArchive;
use crate::storage::{Access, Directory, StorageError};
use crate::types::{SegmentSize, SystemId};
use crate::wal::SegmentHeader;

/// Where WAL comes from, and who may read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) system_id: SystemId,
    pub(super) segment_size: SegmentSize,
    pub(super) access: Access,
}

impl From<&Cluster<'_>> for Origin {
    fn from(cluster: &Cluster<'_>) -> Self {
        let Cluster { system_id, segment_size, access, .. } = *cluster;
        Self { system_id, segment_size, access }
    }
}

/// Compares the cluster with what the newest file says that says anything.
pub(super) fn check(directory: &Directory, listing: &Listing, origin: Origin) -> Result<(), StorageError> {
    let known = listing.files().find_map(|file| Some((file, header_of(directory, file)?)));
    let Some((file, header)) = known else { return Ok(()) };
    if header.system_id != origin.system_id {
        return Err(foreign_system(directory, file, header.system_id, origin));
    }
    if header.segment_size != origin.segment_size {
        return Err(foreign_size(directory, file, header.segment_size.as_u64(), origin));
    }
    Ok(())
}

/// A file that cannot be read says nothing here; what it is good for is found out where it is needed.
fn header_of(directory: &Directory, file: &FileName) -> Option<SegmentHeader> {
    let mut first = Vec::with_capacity(SegmentHeader::LENGTH);
    let limit = SegmentHeader::LENGTH as u64;
    let poured = pour(directory, file, limit, &mut |data| {
        first.extend_from_slice(data);
        Ok(())
    });
    poured.ok().and_then(|_| SegmentHeader::parse(first.first_chunk()?).ok())
}

/// The file is of another cluster.
pub(super) fn foreign_system(
    directory: &Directory,
    file: &FileName,
    found: SystemId,
    origin: Origin,
) -> StorageError {
    refused(RefusedArchive::ForeignSystem {
        directory: directory.path().display().to_string(),
        file: file.to_string(),
        found,
        expected: origin.system_id,
    })
}

/// The file is of segments of another size.
pub(super) fn foreign_size(
    directory: &Directory,
    file: &FileName,
    found: u64,
    origin: Origin,
) -> StorageError {
    refused(RefusedArchive::SegmentSize {
        directory: directory.path().display().to_string(),
        file: file.to_string(),
        found,
        expected: origin.segment_size,
    })
}

/// The archive must not get this server's WAL.
pub(super) fn refused(why: RefusedArchive) -> StorageError {
    StorageError::Other(Box::new(why))
}
