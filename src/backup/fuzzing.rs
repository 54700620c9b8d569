//! The way of a backup's archives into a directory without a server, for fuzz targets.
//!
//! In come the events of a backup stream, each believed as far as a run believes it; out comes a directory, or why
//! there is none.

use super::archive_rules::ArchiveRules;
use super::destination::{Destination, DirectoryDestination, Preparation, Traces};
use super::error::BackupError;
use super::intake::Intake;
use super::location::ArchiveLocation;
use super::verify_in_flight::ReceivedFiles;
use crate::client::BackupEvent;
use crate::manifest::ChecksumAlgorithm;
use crate::protocol::Tablespace;
use crate::storage::Access;
use crate::types::SegmentSize;

/// Takes in what comes of a backup of these tablespaces, and takes away what came of one that fails.
pub fn extract(
    mut destination: DirectoryDestination,
    tablespaces: &[Tablespace],
    events: impl IntoIterator<Item = BackupEvent>,
) -> Result<(), BackupError> {
    let taken_in = take_in(&mut destination, tablespaces, events);
    if taken_in.is_err() {
        destination.abandon(Traces::Remove, &());
    }
    taken_in
}

fn take_in(
    destination: &mut DirectoryDestination,
    tablespaces: &[Tablespace],
    events: impl IntoIterator<Item = BackupEvent>,
) -> Result<(), BackupError> {
    let locations = tablespaces.iter().map(ArchiveLocation::of).collect::<Result<Vec<_>, _>>()?;
    let preparation = Preparation {
        locations: &locations,
        access: Access::Owner,
        segment_size: SegmentSize::new(1 << 20).unwrap_or_else(|error| panic!("{error}")),
        wal_summaries: true,
        compression: None,
    };
    destination.claim(preparation.access)?;
    destination.prepare(&preparation)?;
    let received = ReceivedFiles::new(ChecksumAlgorithm::Crc32c);
    let mut intake = Intake::new(destination, tablespaces, received, ArchiveRules::default(), None);
    for event in events {
        match event {
            BackupEvent::Archive { name, tablespace_path } => {
                intake.begin_archive(&name, &tablespace_path)?;
            }
            BackupEvent::Data(data) => intake.data(&data)?,
            BackupEvent::Manifest => intake.begin_manifest()?,
            BackupEvent::Progress(_) => intake.flush()?,
        }
    }
    intake.finish()?;
    destination.sync()?;
    Ok(destination.publish()?)
}
