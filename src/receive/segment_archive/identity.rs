//! Whose WAL an archive has: nothing is written to one that belongs to another cluster, or to another branch of the same
//! one (I-7).

use super::content::pour;
use super::listing::Listing;
use super::names::FileName;
use crate::receive::archive::Cluster;
use crate::receive::refused_archive::RefusedArchive;
use crate::storage::{Access, Directory, InputFile, StorageError};
use crate::types::{SegmentSize, SystemId, TimelineId};
use crate::wal::{SegmentHeader, TimelineHistory};

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

/// Compares where timelines began according to the archive with what the server says: of two that were given the same
/// number, as by two standbys that were both promoted, an archive can have only one.
pub(super) fn check_histories(directory: &Directory, history: &TimelineHistory) -> Result<(), StorageError> {
    let parents = history.entries();
    let timelines = parents.iter().skip(1).map(|entry| entry.timeline).chain([history.timeline()]);
    for (parent, timeline) in parents.iter().zip(timelines) {
        let known = history_of(directory, timeline);
        let Some(known) = known.as_ref().and_then(|known| known.entries().last()) else { continue };
        if (known.timeline, known.switch_point) != (parent.timeline, parent.switch_point) {
            return Err(refused(RefusedArchive::OtherHistory {
                file: timeline.history_file_name(),
                directory: directory.path().display().to_string(),
                found: (known.timeline, known.switch_point),
                expected: (parent.timeline, parent.switch_point),
            }));
        }
    }
    Ok(())
}

/// A history that is not there or cannot be read says nothing.
fn history_of(directory: &Directory, timeline: TimelineId) -> Option<TimelineHistory> {
    let file = InputFile::find(directory, &timeline.history_file_name()).ok()??;
    let length = usize::try_from(file.length().ok()?).ok()?.min(TimelineHistory::LONGEST + 1);
    let mut content = vec![0; length];
    let length = file.read_at(&mut content, 0).ok()?;
    TimelineHistory::parse(timeline, &content[..length]).ok()
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
