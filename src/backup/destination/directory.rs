use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::output::Output;
use super::{Destination, Form, Preparation, Traces};
use crate::backup::cleanup::{CleanUpPolicy, undo};
use crate::backup::location::ArchiveLocation;
use crate::backup::observer::{CleanUp, DirectoryRole, Event, Observer};
use crate::backup::options::TablespaceMapping;
use crate::protocol::ArchiveName;
use crate::receive::{DirectoryArchive, WalArchive};
use crate::storage::{Access, ClaimedDirectory, Directory, StorageError, SyncPolicy, Tree};
use crate::tar::{Entry, EntryKind};

/// The permission bits that a file or directory can get from a server.
const PERMISSIONS: u32 = 0o777;

/// What the owner of a directory needs to put anything into it, and to take it away again; every directory of
/// a server has these.
const OWNER_PERMISSIONS: u32 = 0o700;

/// A data directory that a server can start on, with its tablespaces (`-F plain`).
#[derive(Debug)]
pub struct DirectoryDestination {
    path: PathBuf,
    wal_directory: Option<PathBuf>,
    tablespace_mappings: Vec<TablespaceMapping>,
    sync_policy: SyncPolicy,
    clean_up: CleanUpPolicy,
    claimed: Option<Claimed>,
}

#[derive(Debug)]
struct Claimed {
    output: Output,
    wal_directory: Option<ClaimedDirectory>,
    tablespaces: Vec<ClaimedTablespace>,
    main: Tree,
    extracting: Extracting,
    /// The file of the archive at hand that came last, for progress reports.
    last_file: Option<PathBuf>,
}

#[derive(Debug)]
struct ClaimedTablespace {
    oid: u32,
    directory: ClaimedDirectory,
    tree: Tree,
}

/// The archive at hand.
#[derive(Clone, Copy, Debug)]
enum Extracting {
    /// Into the data directory.
    Main,
    /// Into `pg_tblspc/OID` of the data directory.
    InPlace(u32),
    /// Into the tablespace with that index.
    Tablespace(usize),
}

impl DirectoryDestination {
    /// A backup into the directory `path`, which must be missing or empty.
    pub fn new(path: impl Into<PathBuf>, sync_policy: SyncPolicy, clean_up: CleanUpPolicy) -> Self {
        Self {
            path: path.into(),
            wal_directory: None,
            tablespace_mappings: Vec::new(),
            sync_policy,
            clean_up,
            claimed: None,
        }
    }

    /// Puts the write-ahead log into another directory, an absolute path, that `pg_wal` becomes a link to.
    pub fn with_wal_directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.wal_directory = Some(path.into());
        self
    }

    /// Puts tablespaces into other directories than they have on the server. Of several mappings that fit, the
    /// first counts; one that fits none is ignored.
    pub fn with_tablespace_mappings(mut self, mappings: Vec<TablespaceMapping>) -> Self {
        self.tablespace_mappings = mappings;
        self
    }

    fn claimed(&mut self) -> Result<&mut Claimed, StorageError> {
        self.claimed.as_mut().ok_or(StorageError::OutOfOrder)
    }

    /// Where a tablespace, or whatever else a link leads to, is to be found here.
    fn mapped(&self, location: &Path) -> PathBuf {
        let mapped = self.tablespace_mappings.iter().find_map(|mapping| mapping.apply(location));
        mapped.unwrap_or(location).to_owned()
    }

    fn claim_wal_directory(&mut self, access: Access) -> Result<(), StorageError> {
        let Some(path) = self.wal_directory.clone() else { return Ok(()) };
        let policy = self.sync_policy;
        let claimed = self.claimed()?;
        let wal = claimed.wal_directory.insert(ClaimedDirectory::claim(&path, access, policy)?);
        claimed.main.create_symlink(Path::new("pg_wal"), &path)?;
        claimed.main.place_elsewhere("pg_wal", Arc::clone(wal.directory()));
        Ok(())
    }

    fn prepare_tablespace(&mut self, location: &ArchiveLocation, access: Access) -> Result<(), StorageError> {
        match location {
            ArchiveLocation::Main => Ok(()),
            ArchiveLocation::InPlaceTablespace { oid } => {
                let main = &mut self.claimed()?.main;
                main.create_directory(Path::new("pg_tblspc"), access.directory_mode(), true)?;
                main.create_directory(&in_place(*oid), access.directory_mode(), false)
            }
            ArchiveLocation::Tablespace { oid, path } => {
                let directory = ClaimedDirectory::claim(&self.mapped(path), access, self.sync_policy)?;
                let tree = Tree::new(Arc::clone(directory.directory()));
                self.claimed()?.tablespaces.push(ClaimedTablespace { oid: *oid, directory, tree });
                Ok(())
            }
        }
    }
}

fn in_place(oid: u32) -> PathBuf {
    Path::new("pg_tblspc").join(oid.to_string())
}

impl Destination for DirectoryDestination {
    fn form(&self) -> Form {
        Form::Members
    }

    fn claim(&mut self, access: Access) -> Result<(), StorageError> {
        let output = Output::claim(&self.path, access, self.sync_policy)?;
        self.claimed = Some(Claimed {
            main: Tree::new(Arc::clone(output.directory())),
            output,
            wal_directory: None,
            tablespaces: Vec::new(),
            extracting: Extracting::Main,
            last_file: None,
        });
        self.claim_wal_directory(access)
    }

    fn prepare(&mut self, preparation: &Preparation<'_>) -> Result<(), StorageError> {
        preparation
            .locations
            .iter()
            .try_for_each(|location| self.prepare_tablespace(location, preparation.access))
    }

    fn directory_of(&self, location: &ArchiveLocation) -> Option<&Directory> {
        let claimed = self.claimed.as_ref()?;
        match location {
            ArchiveLocation::Main | ArchiveLocation::InPlaceTablespace { .. } => {
                Some(claimed.output.directory())
            }
            ArchiveLocation::Tablespace { oid, .. } => {
                let tablespace = claimed.tablespaces.iter().find(|tablespace| tablespace.oid == *oid)?;
                Some(tablespace.directory.directory())
            }
        }
    }

    fn wal_directory(&self) -> Option<&Directory> {
        let claimed = self.claimed.as_ref()?;
        let directory = claimed.wal_directory.as_ref().map(ClaimedDirectory::directory);
        Some(directory.unwrap_or(claimed.output.directory()))
    }

    fn wal_archive(&mut self, preparation: &Preparation<'_>) -> Result<Box<dyn WalArchive>, StorageError> {
        let policy = self.sync_policy.for_single_files();
        let data_directory = self.claimed()?.output.directory();
        let Preparation { segment_size, wal_summaries, access, .. } = *preparation;
        let archive = DirectoryArchive::create(data_directory, segment_size, wal_summaries, access, policy)?;
        Ok(Box::new(archive))
    }

    fn begin_archive(&mut self, _: &ArchiveName, location: &ArchiveLocation) -> Result<(), StorageError> {
        let claimed = self.claimed()?;
        claimed.extracting = match location {
            ArchiveLocation::Main => Extracting::Main,
            ArchiveLocation::InPlaceTablespace { oid } => Extracting::InPlace(*oid),
            ArchiveLocation::Tablespace { oid, .. } => {
                let index = claimed.tablespaces.iter().position(|tablespace| tablespace.oid == *oid);
                Extracting::Tablespace(index.ok_or(StorageError::OutOfOrder)?)
            }
        };
        Ok(())
    }

    fn begin_member(&mut self, entry: &Entry) -> Result<(), StorageError> {
        let member = Path::new(OsStr::from_bytes(entry.path.as_bytes()));
        let target = match &entry.kind {
            EntryKind::Symlink { target } => Some(self.mapped(Path::new(OsStr::from_bytes(target)))),
            _ => None,
        };
        let claimed = self.claimed()?;
        let (tree, member) = claimed.place(member);
        let mode = entry.mode & PERMISSIONS;
        let mut file = None;
        match (&entry.kind, target) {
            (EntryKind::File, _) => file = Some(tree.create_file(&member, mode)?),
            // The directory that everything is unpacked in was made before.
            (EntryKind::Directory, _) if member == Path::new(".") => {}
            (EntryKind::Directory, _) => {
                tree.create_directory(&member, mode | OWNER_PERMISSIONS, may_exist(&member))?;
            }
            (EntryKind::Symlink { .. }, Some(target)) if leads_out(&target) => {
                return Err(StorageError::UnsafeLink { path: tree.path_of(&member), target });
            }
            (EntryKind::Symlink { .. }, Some(target)) => tree.create_symlink(&member, &target)?,
            _ => {}
        }
        if file.is_some() {
            claimed.last_file = Some(member);
        }
        claimed.output.begin(file);
        Ok(())
    }

    fn write(&mut self, pieces: &[Bytes]) -> Result<(), StorageError> {
        self.claimed()?.output.write(pieces)
    }

    fn end_member(&mut self) -> Result<(), StorageError> {
        self.claimed()?.output.end()
    }

    fn end_archive(&mut self) -> Result<(), StorageError> {
        let claimed = self.claimed()?;
        claimed.last_file = None;
        claimed.place(Path::new("")).0.rest();
        Ok(())
    }

    fn begin_manifest(&mut self) -> Result<(), StorageError> {
        self.claimed()?.output.begin_manifest()
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        let policy = self.sync_policy;
        let claimed = self.claimed()?;
        claimed.output.sync()?;
        claimed.main.sync_directories(policy)?;
        if let Some(wal_directory) = &claimed.wal_directory {
            wal_directory.sync(policy)?;
        }
        claimed.tablespaces.iter_mut().try_for_each(|tablespace| {
            tablespace.tree.sync_directories(policy)?;
            tablespace.directory.sync(policy)
        })
    }

    fn publish(&mut self) -> Result<(), StorageError> {
        self.claimed()?.output.publish()
    }

    fn abandon(&mut self, traces: Traces, observer: &dyn Observer) {
        let Some(Claimed { output, wal_directory, tablespaces, .. }) = self.claimed.take() else { return };
        let directory = output.abandon();
        if traces == Traces::Remove {
            undo(&directory, DirectoryRole::Data, self.clean_up, observer);
        }
        if let Some(wal_directory) = &wal_directory {
            let policy = if traces == Traces::Remove { self.clean_up } else { CleanUpPolicy::Keep };
            undo(wal_directory, DirectoryRole::Wal, policy, observer);
        }
        if traces == Traces::Remove && self.clean_up == CleanUpPolicy::UndoEverything {
            for tablespace in &tablespaces {
                undo(&tablespace.directory, DirectoryRole::Tablespace, self.clean_up, observer);
            }
        } else if traces == Traces::Remove && !tablespaces.is_empty() {
            observer.observe(&Event::CleanUp(CleanUp::KeepingTablespaces));
        }
    }

    fn current(&self) -> Option<PathBuf> {
        let claimed = self.claimed.as_ref()?;
        Some(claimed.tree().path_of(claimed.last_file.as_ref()?))
    }
}

impl Claimed {
    /// The tree that a member of the archive at hand belongs to, and its path there.
    fn place(&mut self, member: &Path) -> (&mut Tree, PathBuf) {
        match self.extracting {
            Extracting::Main => (&mut self.main, member.to_owned()),
            Extracting::InPlace(oid) => (&mut self.main, in_place(oid).join(member)),
            Extracting::Tablespace(index) => (&mut self.tablespaces[index].tree, member.to_owned()),
        }
    }

    /// The tree that the archive at hand belongs to.
    fn tree(&self) -> &Tree {
        match self.extracting {
            Extracting::Main | Extracting::InPlace(_) => &self.main,
            Extracting::Tablespace(index) => &self.tablespaces[index].tree,
        }
    }
}

/// The directories that this program may have made before the archive brings them (BB-131).
fn may_exist(member: &Path) -> bool {
    let name = member.file_name().unwrap_or_default().as_bytes();
    let below_tablespaces = member.parent().and_then(Path::file_name).is_some_and(|dir| dir == "pg_tblspc");
    matches!(name, b"pg_wal" | b"pg_xlog" | b"archive_status" | b"summaries" | b"pg_tblspc")
        || (below_tablespaces && !name.is_empty() && name.iter().all(u8::is_ascii_digit))
}

/// Whether a relative target could leave the data directory (BB-133).
fn leads_out(target: &Path) -> bool {
    !target.is_absolute() && target.components().any(|part| part == Component::ParentDir)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::tar::{MemberHeader, Piece, TarSplitter};

    /// Looks, when something is about to be removed, which files below the directory are still open.
    #[derive(Debug)]
    struct OpenFiles {
        below: PathBuf,
        seen: Mutex<Option<Vec<PathBuf>>>,
    }

    impl Observer for OpenFiles {
        fn observe(&self, _: &Event<'_>) {
            let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
            let open = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
            let files = open.filter(|path| path.starts_with(&self.below) && path.is_file());
            *self.seen.lock().unwrap() = Some(files.collect());
        }
    }

    #[test]
    fn bb_241_every_file_is_closed_before_it_is_removed() {
        for policy in [SyncPolicy::Durable, SyncPolicy::Never] {
            let root = tempfile::tempdir().unwrap();
            let below = root.path().canonicalize().unwrap();
            let mut destination = DirectoryDestination::new(below.join("d"), policy, CleanUpPolicy::Undo);
            destination.claim(Access::Owner).unwrap();
            destination
                .begin_archive(&ArchiveName::new(b"base.tar").unwrap(), &ArchiveLocation::Main)
                .unwrap();
            for name in ["complete", "unfinished"] {
                let path = name.as_bytes();
                let header = MemberHeader { path, mode: 0o600, uid: 0, gid: 0, size: 1, modified_at: 0 };
                let block = header.to_block().unwrap();
                let piece = TarSplitter::new().next_piece(&mut &block[..]).unwrap();
                let Some(Piece::Entry(entry)) = piece else { panic!("{piece:?}") };
                destination.begin_member(&entry).unwrap();
                destination.write(&[Bytes::from_static(b"x")]).unwrap();
                if name == "complete" {
                    destination.end_member().unwrap();
                }
            }
            let observer = OpenFiles { below: below.clone(), seen: Mutex::default() };
            destination.abandon(Traces::Remove, &observer);
            assert_eq!(*observer.seen.lock().unwrap(), Some(Vec::new()));
            assert_eq!(std::fs::read_dir(&below).unwrap().count(), 0);
        }
    }

    #[test]
    fn bb_131_directories_that_may_exist() {
        for path in ["pg_wal", "pg_wal/archive_status", "pg_wal/summaries", "pg_tblspc", "pg_tblspc/16384"] {
            assert!(may_exist(Path::new(path)), "{path}");
        }
        for path in ["base", "base/1", "pg_tblspc/x", "pg_wal2", "16384"] {
            assert!(!may_exist(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn bb_006_of_mappings_for_one_directory_the_first_counts() {
        let mapping = |new| TablespaceMapping::new(Path::new("/old"), Path::new(new));
        let destination = DirectoryDestination::new("d", SyncPolicy::Never, CleanUpPolicy::Keep)
            .with_tablespace_mappings(vec![mapping("/first"), mapping("/second")]);
        assert_eq!(destination.mapped(Path::new("/old/")), Path::new("/first"));
        assert_eq!(destination.mapped(Path::new("/other")), Path::new("/other"));
    }

    #[test]
    fn bb_133_relative_targets_must_stay_inside() {
        assert!(leads_out(Path::new("../x")) && leads_out(Path::new("a/../../x")));
        assert!(!leads_out(Path::new("/srv/ts")) && !leads_out(Path::new("a/b")));
    }
}
