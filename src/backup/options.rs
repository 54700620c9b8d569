use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::recovery_options::RecoveryOptions;
use crate::compress::CompressionSpec;
use crate::connection::Place;
use crate::protocol::{BaseBackup, Checkpoint, CompressionRequest, ManifestRequest, ServerTarget};
use crate::types::SystemId;

/// What a base backup shall be.
#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// The label that the server writes into `backup_label`.
    pub label: String,
    /// When the checkpoint that the backup starts from is written.
    pub checkpoint: Checkpoint,
    /// How the WAL that the backup needs gets into it.
    pub wal: WalMethod,
    /// The most the server shall send, in units of 1024 bytes a second; the server limits itself.
    pub max_rate: Option<u32>,
    /// Whether the server estimates the backup's size first, so that progress has a total.
    pub estimate_size: bool,
    /// Whether the server verifies the checksums of the pages that it reads.
    pub verify_page_checksums: bool,
    /// Whether there is a manifest, against which every file is verified as it arrives.
    pub manifest: ManifestRequest,
    /// The checksum algorithm of the manifest; none leaves the server's default, CRC32C.
    pub manifest_checksums: Option<String>,
    /// Who compresses the archives, and how.
    pub compression: Compression,
    /// Where the server puts the backup, if not here (servers from 15 on). The destination gets nothing then, and is
    /// not touched; [`NoDestination`](super::NoDestination) stands in for one.
    pub target: Option<ServerTarget>,
    /// The manifest of the backup that this one is an increment to (servers from 17 on).
    pub incremental: Option<PathBuf>,
    /// What a server of the backup shall recover, and from where; the settings for that are put into it.
    pub recovery: Option<RecoveryOptions>,
    /// How long the server may be silent, on either connection, while it is waited for, until it counts as dead; none
    /// waits for ever. It also bounds each attempt to connect where the configuration has no `connect_timeout`.
    ///
    /// A server that lives is silent while it writes the checkpoint that the backup starts from, and, without WAL in
    /// the backup, at its end, while it waits for WAL to be archived. While the destination is busy, nothing is waited
    /// for.
    pub receive_timeout: Option<Duration>,
}

impl Default for BackupOptions {
    /// What `pg_basebackup` does when nothing is said.
    fn default() -> Self {
        Self {
            label: "pg_basebackup base backup".to_owned(),
            checkpoint: Checkpoint::Spread,
            wal: WalMethod::default(),
            max_rate: None,
            estimate_size: true,
            verify_page_checksums: true,
            manifest: ManifestRequest::Yes,
            manifest_checksums: None,
            compression: Compression::None,
            target: None,
            incremental: None,
            recovery: None,
            receive_timeout: None,
        }
    }
}

/// Who compresses the archives of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Nobody.
    #[default]
    None,
    /// This client, for destinations that take archives.
    Client(CompressionSpec),
    /// The server (from 15 on). Destinations that take members get them decompressed.
    Server(CompressionRequest),
}

/// How the WAL that a backup needs gets into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalMethod {
    /// It does not: it has to come from an archive.
    None,
    /// The server puts it into the main archive at the end. It can be removed from the server before that.
    Fetch,
    /// A second connection receives it while the backup runs.
    Stream {
        /// The replication slot of the second connection.
        slot: ReceiveSlot,
        /// How often the server is told about progress; none only answers when asked.
        status_interval: Option<Duration>,
    },
}

impl Default for WalMethod {
    fn default() -> Self {
        Self::Stream { slot: ReceiveSlot::Temporary, status_interval: Some(Duration::from_secs(10)) }
    }
}

/// The replication slot that keeps the WAL of a backup on the server until it was received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReceiveSlot {
    /// One for the duration of the backup.
    #[default]
    Temporary,
    /// None: the server may remove WAL that was not received yet.
    None,
    /// One that exists.
    Existing(String),
    /// One that is created, and stays once the backup is complete. A backup that fails drops it again over the
    /// connection on which it was created, and over no other: behind the same name or address there may be another
    /// server by then, with a slot of that name. Where that connection is lost, the slot stays
    /// ([`Event::SlotStays`](super::Event::SlotStays)).
    Create(String),
    /// As [`Self::Create`], for another try after backups that failed and had to leave theirs. Where one of that name
    /// exists at such a place, nobody can tell whether it is that one: it is left as it is, neither used nor dropped, and
    /// a temporary one takes its part ([`Event::SlotLeftAlone`](super::Event::SlotLeftAlone)).
    CreateAgain {
        /// The name.
        name: String,
        /// Where the slots were left.
        left: Vec<SlotOrigin>,
    },
}

/// Where a slot was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotOrigin {
    /// The address or socket of the connection on which it was created.
    pub server: Place,
    /// The cluster that the backup is of.
    pub system_id: SystemId,
}

impl ReceiveSlot {
    /// The name of a slot that outlives the backup.
    pub fn permanent_name(&self) -> Option<&str> {
        match self {
            Self::Existing(name) | Self::Create(name) | Self::CreateAgain { name, .. } => Some(name),
            Self::Temporary | Self::None => None,
        }
    }
}

impl BackupOptions {
    /// The command for a destination of that kind.
    pub(super) fn command(&self, tablespace_map: bool) -> BaseBackup {
        BaseBackup {
            incremental: self.incremental.is_some(),
            label: self.label.clone(),
            progress: self.estimate_size,
            checkpoint: self.checkpoint,
            wal: self.wal == WalMethod::Fetch,
            wait: self.wal == WalMethod::None,
            max_rate: self.max_rate,
            tablespace_map,
            verify_checksums: self.verify_page_checksums,
            manifest: self.manifest,
            manifest_checksums: self.manifest_checksums.clone(),
            target: self.target.clone(),
            compression: match &self.compression {
                Compression::Server(request) => Some(request.clone()),
                Compression::None | Compression::Client(_) => None,
            },
        }
    }
}

/// A tablespace that is restored to another directory than it has on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablespaceMapping {
    old: PathBuf,
    new: PathBuf,
}

impl TablespaceMapping {
    /// A mapping from the directory on the server to the one here; both are made canonical (BB-021).
    pub fn new(old: &Path, new: &Path) -> Self {
        Self { old: canonical(old), new: canonical(new) }
    }

    /// The directory here, if `location` is the one of this mapping.
    pub fn apply(&self, location: &Path) -> Option<&Path> {
        (canonical(location) == self.old).then_some(self.new.as_path())
    }
}

/// The path without duplicate and trailing slashes, `.` and `..`, by its text alone.
fn canonical(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(result.components().next_back(), Some(Component::Normal(_))) => {
                result.pop();
            }
            Component::ParentDir if result.has_root() => {}
            other => result.push(other),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bb_021_paths_are_compared_in_their_canonical_form() {
        let mapping = TablespaceMapping::new(Path::new("/a//b/./c/"), Path::new("/x/../y/"));
        assert_eq!(mapping.apply(Path::new("/a/b/c")), Some(Path::new("/y")));
        assert_eq!(mapping.apply(Path::new("/a/b/d/../c/")), Some(Path::new("/y")));
        assert_eq!(mapping.apply(Path::new("/a/b")), None);
        assert_eq!(canonical(Path::new("/../a")), PathBuf::from("/a"));
    }
}
