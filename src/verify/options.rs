use std::path::PathBuf;

/// How a backup lies in its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupFormat {
    /// As a data directory.
    Plain,
    /// As one archive for the data directory and one for each tablespace, compressed or not.
    Tar,
}

/// What to verify of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyOptions {
    /// The format; without it, what the directory looks like.
    pub format: Option<BackupFormat>,
    /// The manifest; without it, `backup_manifest` in the directory.
    pub manifest: Option<PathBuf>,
    /// Paths relative to the directory that do not count, with everything below them. The manifest, `pg_wal` and
    /// what recovery settings are written into never count.
    pub ignored_paths: Vec<PathBuf>,
    /// Whether to read the files and compare their checksums; without it, presence and sizes count.
    pub read_contents: bool,
    /// Whether to read the WAL that the backup needs. A backup in tar format is refused with it.
    pub read_wal: bool,
    /// Where the WAL is; without it, in `pg_wal`.
    pub wal_directory: Option<PathBuf>,
}

/// Verifies everything.
impl Default for VerifyOptions {
    fn default() -> Self {
        Self {
            format: None,
            manifest: None,
            ignored_paths: Vec::new(),
            read_contents: true,
            read_wal: true,
            wal_directory: None,
        }
    }
}
