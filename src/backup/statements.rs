use super::error::BackupError;
use crate::manifest::WalRange;
use crate::protocol::{EndPoint, StartPoint};
use crate::types::SystemId;

/// What a manifest says of the backup as a whole.
#[derive(Debug, Default)]
pub(super) struct Statements {
    pub(super) system_id: Option<SystemId>,
    /// The first and the last of the stretches of WAL, which are the newest and the oldest; of those between them
    /// nothing is checked, so that their number does not matter.
    wal_range_ends: Option<(WalRange, WalRange)>,
}

impl Statements {
    /// Takes in the next stretch of WAL.
    pub(super) fn add(&mut self, range: WalRange) {
        let newest = self.wal_range_ends.map_or(range, |(newest, _)| newest);
        self.wal_range_ends = Some((newest, range));
    }

    /// Compares them with what the server said beside the manifest.
    pub(super) fn check(
        &self,
        system_id: SystemId,
        start: StartPoint,
        end: EndPoint,
    ) -> Result<(), BackupError> {
        if let Some(manifest) = self.system_id
            && manifest != system_id
        {
            return Err(BackupError::ForeignManifest { manifest, server: system_id });
        }
        let (newest, oldest) = self.wal_range_ends.ok_or(BackupError::NoWalRange)?;
        for (manifest, backup) in [(oldest.timeline, start.timeline), (newest.timeline, end.timeline)] {
            if manifest != backup {
                return Err(BackupError::ForeignTimeline { manifest, backup });
            }
        }
        if oldest.start != start.lsn || newest.end != end.lsn {
            return Err(BackupError::ForeignWalRange {
                manifest_start: oldest.start,
                manifest_end: newest.end,
                start: start.lsn,
                end: end.lsn,
            });
        }
        Ok(())
    }
}
