use super::error::BackupError;
use crate::manifest::WalRange;
use crate::protocol::{EndPoint, StartPoint};
use crate::types::SystemId;

/// What a manifest says of the backup as a whole.
#[derive(Debug, Default)]
pub(super) struct Statements {
    pub(super) system_id: Option<SystemId>,
    pub(super) wal_ranges: Vec<WalRange>,
}

impl Statements {
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
        let ranges = &self.wal_ranges;
        let (Some(newest), Some(oldest)) = (ranges.first(), ranges.last()) else {
            return Err(BackupError::NoWalRange);
        };
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
