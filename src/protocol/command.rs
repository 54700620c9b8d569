//! The text of each replication command.
//!
//! Strings stand in single quotes with embedded ones doubled and nothing else escaped; identifiers
//! stand in double quotes with embedded ones doubled (BB-091).

use std::fmt::Write;

use super::ServerFeatures;
use crate::types::{Lsn, TimelineId};

/// `IDENTIFY_SYSTEM`.
pub fn identify_system() -> String {
    "IDENTIFY_SYSTEM".to_owned()
}

/// `SHOW name`.
pub fn show(setting: &str) -> String {
    format!("SHOW {setting}")
}

/// `TIMELINE_HISTORY tli`.
pub fn timeline_history(timeline: TimelineId) -> String {
    format!("TIMELINE_HISTORY {timeline}")
}

/// When the server writes the checkpoint that a backup starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checkpoint {
    /// At once, with all the I/O that takes.
    Fast,
    /// Spread over time, which can take minutes.
    #[default]
    Spread,
}

/// Whether and how the server makes a manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ManifestRequest {
    /// None.
    No,
    /// With names as they are where they are UTF-8.
    #[default]
    Yes,
    /// With all names in hexadecimal.
    ForceEncode,
}

/// What `BASE_BACKUP` is asked for; the names are those of the command's options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command that is on or off")]
pub struct BaseBackup {
    /// `LABEL`.
    pub label: String,
    /// `PROGRESS`: let the server estimate the sizes of the tablespaces first.
    pub progress: bool,
    /// `CHECKPOINT`.
    pub checkpoint: Checkpoint,
    /// `WAL`: put the needed segments into the main archive.
    pub wal: bool,
    /// `WAIT`: end only when the needed segments are archived.
    pub wait: bool,
    /// `MAX_RATE` in kB/s.
    pub max_rate: Option<u32>,
    /// `TABLESPACE_MAP`: list the tablespaces in a file of that name instead of sending links.
    pub tablespace_map: bool,
    /// `VERIFY_CHECKSUMS`: let the server check the pages it reads.
    pub verify_checksums: bool,
    /// `MANIFEST`.
    pub manifest: ManifestRequest,
    /// `MANIFEST_CHECKSUMS`, passed on as typed; the server's default is CRC32C.
    pub manifest_checksums: Option<String>,
}

impl BaseBackup {
    /// The command for servers with option lists, its options in the order of the manual (BB-077 ff.).
    pub fn command(&self) -> String {
        let mut options = vec![format!("LABEL {}", quote_literal(&self.label))];
        let mut option = |wanted: bool, text: &str| {
            if wanted {
                options.push(text.to_owned());
            }
        };
        option(self.progress, "PROGRESS");
        option(self.wal, "WAL");
        option(self.checkpoint == Checkpoint::Fast, "CHECKPOINT 'fast'");
        option(!self.wait, "WAIT 0");
        if let Some(rate) = self.max_rate {
            option(true, &format!("MAX_RATE {rate}"));
        }
        option(self.tablespace_map, "TABLESPACE_MAP");
        option(!self.verify_checksums, "VERIFY_CHECKSUMS 0");
        match self.manifest {
            ManifestRequest::No => {}
            ManifestRequest::Yes => option(true, "MANIFEST 'yes'"),
            ManifestRequest::ForceEncode => option(true, "MANIFEST 'force-encode'"),
        }
        if let Some(algorithm) =
            self.manifest_checksums.as_ref().filter(|_| self.manifest != ManifestRequest::No)
        {
            option(true, &format!("MANIFEST_CHECKSUMS {}", quote_literal(algorithm)));
        }
        option(true, "TARGET 'client'");
        format!("BASE_BACKUP ({})", options.join(", "))
    }
}

/// What `CREATE_REPLICATION_SLOT … PHYSICAL` is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSlot {
    /// The name, which the server judges.
    pub name: String,
    /// Whether the slot goes when the connection does.
    pub temporary: bool,
    /// Whether WAL is kept from now on, instead of from the first use.
    pub reserve_wal: bool,
}

impl CreateSlot {
    /// The command (BB-116).
    pub fn command(&self, features: ServerFeatures) -> String {
        let mut command = format!("CREATE_REPLICATION_SLOT {}", quote_identifier(&self.name));
        command.push_str(if self.temporary { " TEMPORARY PHYSICAL" } else { " PHYSICAL" });
        match (self.reserve_wal, features.option_lists) {
            (false, _) => {}
            (true, true) => command.push_str(" (RESERVE_WAL)"),
            (true, false) => command.push_str(" RESERVE_WAL"),
        }
        command
    }
}

/// Where `START_REPLICATION` starts (BB-184).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhysicalStart {
    /// The slot to stream from.
    pub slot: Option<String>,
    /// The first position wanted.
    pub lsn: Lsn,
    /// The timeline it lies on.
    pub timeline: TimelineId,
}

impl PhysicalStart {
    /// The command.
    pub fn command(&self) -> String {
        let mut command = "START_REPLICATION ".to_owned();
        if let Some(slot) = &self.slot {
            let _ = write!(command, "SLOT {} ", quote_identifier(slot));
        }
        let _ = write!(command, "{} TIMELINE {}", self.lsn, self.timeline);
        command
    }
}

fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ServerVersion;

    #[test]
    fn bb_077_base_backup_with_nothing_and_with_everything() {
        let least = BaseBackup {
            label: "x".into(),
            wait: true,
            verify_checksums: true,
            manifest: ManifestRequest::No,
            manifest_checksums: Some("sha256".into()),
            ..BaseBackup::default()
        };
        assert_eq!(least.command(), "BASE_BACKUP (LABEL 'x', TARGET 'client')");
        let most = BaseBackup {
            label: "it's \\ here".into(),
            progress: true,
            checkpoint: Checkpoint::Fast,
            wal: true,
            wait: false,
            max_rate: Some(32),
            tablespace_map: true,
            verify_checksums: false,
            manifest: ManifestRequest::ForceEncode,
            manifest_checksums: Some("sha256".into()),
        };
        assert_eq!(
            most.command(),
            "BASE_BACKUP (LABEL 'it''s \\ here', PROGRESS, WAL, CHECKPOINT 'fast', WAIT 0, MAX_RATE 32, \
             TABLESPACE_MAP, VERIFY_CHECKSUMS 0, MANIFEST 'force-encode', MANIFEST_CHECKSUMS 'sha256', \
             TARGET 'client')"
        );
    }

    #[test]
    fn bb_116_slot_commands_by_server_version() {
        let slot = CreateSlot { name: "a\"b".into(), temporary: true, reserve_wal: true };
        let command = |version| slot.command(ServerFeatures::of(&ServerVersion::parse(version)));
        assert_eq!(command("15.1"), "CREATE_REPLICATION_SLOT \"a\"\"b\" TEMPORARY PHYSICAL (RESERVE_WAL)");
        assert_eq!(command("14.1"), "CREATE_REPLICATION_SLOT \"a\"\"b\" TEMPORARY PHYSICAL RESERVE_WAL");
    }

    #[test]
    fn bb_184_start_replication_with_and_without_a_slot() {
        let mut start = PhysicalStart { slot: None, lsn: Lsn::new(0x300_0000), timeline: TimelineId::FIRST };
        assert_eq!(start.command(), "START_REPLICATION 0/3000000 TIMELINE 1");
        start.slot = Some("s".into());
        assert_eq!(start.command(), "START_REPLICATION SLOT \"s\" 0/3000000 TIMELINE 1");
    }
}
