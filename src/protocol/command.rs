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

/// `UPLOAD_MANIFEST`.
pub fn upload_manifest() -> String {
    "UPLOAD_MANIFEST".to_owned()
}

/// `SHOW name`.
pub fn show(setting: &str) -> String {
    format!("SHOW {setting}")
}

/// `TIMELINE_HISTORY tli`.
pub fn timeline_history(timeline: TimelineId) -> String {
    format!("TIMELINE_HISTORY {timeline}")
}

/// `READ_REPLICATION_SLOT name` (servers from 15 on).
pub fn read_slot(name: &str) -> String {
    format!("READ_REPLICATION_SLOT {}", quote_identifier(name))
}

/// `DROP_REPLICATION_SLOT name`, which does not wait until nobody uses the slot.
pub fn drop_slot(name: &str) -> String {
    format!("DROP_REPLICATION_SLOT {}", quote_identifier(name))
}

/// The query for what is recorded of a slot, which goes to an ordinary session.
pub(crate) fn select_slot(name: &str, features: ServerFeatures) -> String {
    let status = if features.slots_can_be_lost { "wal_status" } else { "NULL" };
    let name = name.replace('\\', r"\\").replace('\'', "''");
    format!(
        "SELECT slot_type, restart_lsn, {status} FROM pg_catalog.pg_replication_slots WHERE slot_name = E'{name}'"
    )
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

/// Where the server puts a backup that does not go to the client (BB-088).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTarget {
    /// `TARGET`: `server`, `blackhole`, or what an extension of the server defines.
    pub name: String,
    /// `TARGET_DETAIL`.
    pub detail: Option<String>,
}

/// How the server compresses the archives, in its own words (BB-089).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressionRequest {
    /// `COMPRESSION`.
    pub method: String,
    /// `COMPRESSION_DETAIL`.
    pub detail: Option<String>,
}

/// What `BASE_BACKUP` is asked for; the names are those of the command's options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command that is on or off")]
pub struct BaseBackup {
    /// `INCREMENTAL`: send only what changed since the backup whose manifest was uploaded.
    pub incremental: bool,
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
    /// `TARGET`; none is the client.
    pub target: Option<ServerTarget>,
    /// `COMPRESSION`; with a target, none is said to the server too.
    pub compression: Option<CompressionRequest>,
}

impl BaseBackup {
    /// The command in the syntax of the server, its options in the order of the manual (BB-077 … BB-090). What the
    /// server's version does not know at all is left out.
    pub fn command(&self, features: ServerFeatures) -> String {
        let mut options = Options { lists: features.option_lists, text: Vec::new() };
        options.switch(self.incremental, "INCREMENTAL", "INCREMENTAL");
        options.string("LABEL", &self.label);
        options.switch(self.progress, "PROGRESS", "PROGRESS");
        options.switch(self.wal, "WAL", "WAL");
        options.switch(self.checkpoint == Checkpoint::Fast, "CHECKPOINT 'fast'", "FAST");
        options.switch(!self.wait, "WAIT 0", "NOWAIT");
        if let Some(rate) = self.max_rate {
            options.text.push(format!("MAX_RATE {rate}"));
        }
        let maps_for_target = self.tablespace_map && self.target.is_some();
        options.switch(self.tablespace_map && !maps_for_target, "TABLESPACE_MAP", "TABLESPACE_MAP");
        options.switch(!self.verify_checksums, "VERIFY_CHECKSUMS 0", "NOVERIFY_CHECKSUMS");
        if features.manifest {
            self.manifest_options(&mut options);
        }
        // With a target it stands here; the server does not mind, and logs read as they always did.
        options.switch(maps_for_target, "TABLESPACE_MAP", "TABLESPACE_MAP");
        if features.option_lists {
            self.target_options(&mut options);
        }
        options.command("BASE_BACKUP")
    }

    fn manifest_options(&self, options: &mut Options) {
        match self.manifest {
            ManifestRequest::No => return,
            ManifestRequest::Yes => options.string("MANIFEST", "yes"),
            ManifestRequest::ForceEncode => options.string("MANIFEST", "force-encode"),
        }
        if let Some(algorithm) = &self.manifest_checksums {
            options.string("MANIFEST_CHECKSUMS", algorithm);
        }
    }

    fn target_options(&self, options: &mut Options) {
        match &self.target {
            None => options.string("TARGET", "client"),
            Some(target) => {
                options.string("TARGET", &target.name);
                if let Some(detail) = &target.detail {
                    options.string("TARGET_DETAIL", detail);
                }
            }
        }
        match &self.compression {
            None if self.target.is_none() => {}
            None => options.string("COMPRESSION", "none"),
            Some(compression) => {
                options.string("COMPRESSION", &compression.method);
                if let Some(detail) = &compression.detail {
                    options.string("COMPRESSION_DETAIL", detail);
                }
            }
        }
    }
}

/// The options of a command that is being written.
struct Options {
    /// Whether they form a list in parentheses, and not a row of words.
    lists: bool,
    text: Vec<String>,
}

impl Options {
    fn switch(&mut self, wanted: bool, in_list: &str, word: &str) {
        if wanted {
            self.text.push(if self.lists { in_list } else { word }.to_owned());
        }
    }

    fn string(&mut self, name: &str, value: &str) {
        self.text.push(format!("{name} {}", quote_literal(value)));
    }

    fn command(self, name: &str) -> String {
        if self.lists {
            format!("{name} ({})", self.text.join(", "))
        } else {
            format!("{name} {}", self.text.join(" "))
        }
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

    fn features(version: &str) -> ServerFeatures {
        ServerFeatures::of(&ServerVersion::parse(version))
    }

    fn least() -> BaseBackup {
        BaseBackup {
            label: "x".into(),
            wait: true,
            verify_checksums: true,
            manifest: ManifestRequest::No,
            manifest_checksums: Some("sha256".into()),
            ..BaseBackup::default()
        }
    }

    fn most() -> BaseBackup {
        BaseBackup {
            incremental: true,
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
            target: Some(ServerTarget { name: "server".into(), detail: Some("/b:c".into()) }),
            compression: Some(CompressionRequest { method: "zstd".into(), detail: Some("level=3".into()) }),
        }
    }

    #[test]
    fn bb_077_to_091_base_backup_with_nothing_and_with_everything() {
        assert_eq!(least().command(features("18.0")), "BASE_BACKUP (LABEL 'x', TARGET 'client')");
        assert_eq!(
            most().command(features("18.0")),
            "BASE_BACKUP (INCREMENTAL, LABEL 'it''s \\ here', PROGRESS, WAL, CHECKPOINT 'fast', WAIT 0, MAX_RATE 32, \
             VERIFY_CHECKSUMS 0, MANIFEST 'force-encode', MANIFEST_CHECKSUMS 'sha256', TABLESPACE_MAP, \
             TARGET 'server', TARGET_DETAIL '/b:c', COMPRESSION 'zstd', COMPRESSION_DETAIL 'level=3')"
        );
    }

    #[test]
    fn bb_088_and_089_a_target_without_detail_and_compression() {
        let target = Some(ServerTarget { name: "blackhole".into(), detail: None });
        assert_eq!(
            BaseBackup { target, ..least() }.command(features("15.0")),
            "BASE_BACKUP (LABEL 'x', TARGET 'blackhole', COMPRESSION 'none')"
        );
    }

    #[test]
    fn bb_090_words_for_servers_without_option_lists() {
        let most = BaseBackup { incremental: false, target: None, compression: None, ..most() };
        let words = "BASE_BACKUP LABEL 'it''s \\ here' PROGRESS WAL FAST NOWAIT MAX_RATE 32 TABLESPACE_MAP \
                     NOVERIFY_CHECKSUMS";
        assert_eq!(most.command(features("12.22")), words);
        assert_eq!(
            most.command(features("14.1")),
            format!("{words} MANIFEST 'force-encode' MANIFEST_CHECKSUMS 'sha256'")
        );
        assert_eq!(least().command(features("10.23")), "BASE_BACKUP LABEL 'x'");
    }

    #[test]
    fn bb_116_slot_commands_by_server_version() {
        let slot = CreateSlot { name: "a\"b".into(), temporary: true, reserve_wal: true };
        let command = |version| slot.command(ServerFeatures::of(&ServerVersion::parse(version)));
        assert_eq!(command("15.1"), "CREATE_REPLICATION_SLOT \"a\"\"b\" TEMPORARY PHYSICAL (RESERVE_WAL)");
        assert_eq!(command("14.1"), "CREATE_REPLICATION_SLOT \"a\"\"b\" TEMPORARY PHYSICAL RESERVE_WAL");
    }

    #[test]
    fn rw_026_slot_names_are_quoted() {
        let slot = CreateSlot { name: "a\"b".into(), temporary: false, reserve_wal: false };
        assert_eq!(slot.command(features("18.1")), "CREATE_REPLICATION_SLOT \"a\"\"b\" PHYSICAL");
        assert_eq!(read_slot("1\"b"), "READ_REPLICATION_SLOT \"1\"\"b\"");
        assert_eq!(drop_slot(""), "DROP_REPLICATION_SLOT \"\"");
    }

    #[test]
    fn rw_094_the_query_for_a_slot_is_quoted_and_asks_for_what_there_is() {
        assert_eq!(
            select_slot("s", features("13.0")),
            "SELECT slot_type, restart_lsn, wal_status FROM pg_catalog.pg_replication_slots WHERE slot_name = E's'"
        );
        assert_eq!(
            select_slot(r"\'", features("12.0")),
            r"SELECT slot_type, restart_lsn, NULL FROM pg_catalog.pg_replication_slots WHERE slot_name = E'\\'''"
        );
    }

    #[test]
    fn bb_184_start_replication_with_and_without_a_slot() {
        let mut start = PhysicalStart { slot: None, lsn: Lsn::new(0x300_0000), timeline: TimelineId::FIRST };
        assert_eq!(start.command(), "START_REPLICATION 0/3000000 TIMELINE 1");
        start.slot = Some("s".into());
        assert_eq!(start.command(), "START_REPLICATION SLOT \"s\" 0/3000000 TIMELINE 1");
    }
}
