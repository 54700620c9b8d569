//! Takes in the stream of a backup: verifies it and hands it to the destination, in one pass.
//!
//! In come the events of the stream, in order. Each chunk is cut into the members of its archive once; sizes
//! and checksums are computed from the slices, which then go to the destination as they are. The manifest,
//! which comes last, is compared with what was computed, line by line.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use bytes::Bytes;

use super::archive_format::ArchiveFormat;
use super::archive_rules::ArchiveRules;
use super::destination::{Destination, Form};
use super::error::BackupError;
use super::fetched_wal::FetchedWal;
use super::location::ArchiveLocation;
use super::member_injection::InjectedAttributes;
use super::open_archive::{LastMember, OpenArchive, Treatment};
use super::outlet::Outlet;
use super::statements::Statements;
use super::verify_in_flight::{Compared, Comparison, ReceivedFiles};
use crate::manifest::{FileEntry, ManifestItem, ManifestReader};
use crate::protocol::{ArchiveName, Tablespace};
use crate::storage::Spool;
use crate::tar::{Piece, TarError, padding_len};

/// The state between two events.
pub(super) struct Intake<'d, D: ?Sized> {
    outlet: Outlet<'d, D>,
    tablespaces: &'d [Tablespace],
    rules: ArchiveRules,
    /// Checks the WAL in the main archive, where it should be there.
    fetched_wal: Option<Box<FetchedWal>>,
    /// The archives that have begun, by the OID of their tablespace; none for the main one.
    archives: HashSet<Option<u32>>,
    stage: Stage,
}

enum Stage {
    Between(ReceivedFiles),
    Archive {
        received: ReceivedFiles,
        /// The WAL is in the main archive alone.
        is_main: bool,
        archive: Box<OpenArchive>,
    },
    Manifest {
        reader: ManifestReader,
        comparison: Comparison,
        statements: Statements,
        /// Where it becomes a member, the archive and what came of the manifest.
        member: Option<Box<(LastMember, InjectedAttributes, Spool)>>,
    },
    /// Something failed; nothing follows.
    Broken,
}

/// A stream that was taken in to its end.
#[derive(Debug)]
pub(super) struct TakenIn {
    pub(super) verified: Option<Verified>,
    pub(super) fetched_wal: Option<Box<FetchedWal>>,
}

/// What was found out about a backup with a manifest.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) compared: Compared,
    pub(super) statements: Statements,
}

impl<'d, D: Destination + ?Sized> Intake<'d, D> {
    pub(super) fn new(
        destination: &'d mut D,
        tablespaces: &'d [Tablespace],
        received: ReceivedFiles,
        rules: ArchiveRules,
        fetched_wal: Option<Box<FetchedWal>>,
    ) -> Self {
        let stage = Stage::Between(received);
        let outlet = Outlet::new(destination);
        Self { outlet, tablespaces, rules, fetched_wal, archives: HashSet::new(), stage }
    }

    /// The destination, for a look at what it is doing.
    pub(super) fn destination(&self) -> &D {
        self.outlet.destination()
    }

    /// Everything that was received so far goes to the destination now.
    pub(super) fn flush(&mut self) -> Result<(), BackupError> {
        Ok(self.outlet.flush()?)
    }

    /// An archive begins.
    pub(super) fn begin_archive(&mut self, name: &ArchiveName, path: &[u8]) -> Result<(), BackupError> {
        let mut received = self.end_archive()?;
        let location = ArchiveLocation::of_archive(path, self.tablespaces)?;
        received.begin_archive(location.oid());
        if !self.archives.insert(location.oid()) {
            return Err(BackupError::UnexpectedArchive(name.to_string()));
        }
        let is_main = location == ArchiveLocation::Main;
        let treatment = self.treatment(name, is_main, received.are_wanted())?;
        let stored_name = match &treatment {
            Treatment { format: ArchiveFormat::Tar(None), compression: Some(spec), .. } => {
                &name.compressed(spec.method)
            }
            _ => name,
        };
        self.outlet.begin_archive(stored_name, &location)?;
        let archive = Box::new(OpenArchive::begin(treatment, self.outlet.form())?);
        self.stage = Stage::Archive { received, is_main, archive };
        Ok(())
    }

    fn treatment(
        &mut self,
        name: &ArchiveName,
        is_main: bool,
        is_verified: bool,
    ) -> Result<Treatment, BackupError> {
        let format = ArchiveFormat::of(name);
        let injection = self.rules.injection.take_if(|_| is_main);
        let must_be_read = is_verified
            || injection.is_some()
            || (is_main && self.fetched_wal.is_some())
            || self.outlet.form() == Form::Members;
        let compression = match format {
            ArchiveFormat::Unknown if must_be_read => {
                return Err(BackupError::UnknownArchive(name.to_string()));
            }
            ArchiveFormat::Unknown => None,
            ArchiveFormat::Tar(None) => self.rules.compression,
            ArchiveFormat::Tar(Some(_)) if injection.is_none() || self.outlet.form() == Form::Members => None,
            // Its name says how it is compressed, and must not say it of anything else.
            ArchiveFormat::Tar(Some(method)) => match self.rules.recompression {
                Some(spec) if spec.method == method => Some(spec),
                _ => return Err(BackupError::UnaskedCompression(name.to_string())),
            },
        };
        let ArchiveRules { largest_window, lack_end: lacks_end, .. } = self.rules;
        Ok(Treatment { format, largest_window, injection, compression, lacks_end })
    }

    /// The next bytes of the archive or the manifest at hand.
    pub(super) fn data(&mut self, data: &Bytes) -> Result<(), BackupError> {
        match &mut self.stage {
            Stage::Archive { received, is_main, archive } => {
                let wal = self.fetched_wal.as_deref_mut().filter(|_| *is_main);
                archive.take(data, &mut observer(received, wal), &mut self.outlet)
            }
            Stage::Manifest { reader, comparison, statements, member } => {
                read_manifest(reader, data, comparison, statements)?;
                match member {
                    None => self.outlet.write(data.clone()),
                    Some(member) => Ok(member.2.append(data)?),
                }
            }
            // The stream's own order was checked where it was decoded.
            Stage::Between(_) | Stage::Broken => Ok(()),
        }
    }

    /// The archives are complete and the manifest begins.
    pub(super) fn begin_manifest(&mut self) -> Result<(), BackupError> {
        let (received, member) = match self.rules.manifest_member {
            None => (self.end_archive()?, None),
            Some(attributes) => {
                let (received, archive) = self.end_last_archive()?;
                (received, Some(Box::new((archive, attributes, Spool::default()))))
            }
        };
        let comparison = received.compare()?;
        if member.is_none() {
            self.outlet.begin_manifest()?;
        }
        let (reader, statements) = (ManifestReader::new(), Statements::default());
        self.stage = Stage::Manifest { reader, comparison, statements, member };
        Ok(())
    }

    /// The stream is complete.
    pub(super) fn finish(mut self) -> Result<TakenIn, BackupError> {
        let stage = std::mem::replace(&mut self.stage, Stage::Broken);
        let verified = match stage {
            Stage::Manifest { reader, comparison, statements, member } => {
                reader.finish()?;
                let compared = comparison.finish()?;
                match member {
                    None => self.outlet.end_manifest()?,
                    Some(member) => {
                        let (archive, attributes, manifest) = *member;
                        add_manifest(archive, attributes, manifest, &mut self.outlet)?;
                    }
                }
                Some(Verified { compared, statements })
            }
            stage => {
                self.stage = stage;
                self.end_archive()?;
                None
            }
        };
        self.check_all_came()?;
        Ok(TakenIn { verified, fetched_wal: self.fetched_wal })
    }

    /// Without a manifest nobody else would miss an archive.
    fn check_all_came(&self) -> Result<(), BackupError> {
        if !self.archives.contains(&None) {
            return Err(BackupError::NoMainArchive);
        }
        let missing = self.tablespaces.iter().find(|tablespace| !self.archives.contains(&tablespace.oid));
        missing.map_or(Ok(()), |tablespace| {
            Err(BackupError::NoTablespaceArchive(OsStr::from_bytes(&tablespace.location).into()))
        })
    }

    /// Ends the archive at hand, if there is one.
    fn end_archive(&mut self) -> Result<ReceivedFiles, BackupError> {
        match std::mem::replace(&mut self.stage, Stage::Broken) {
            Stage::Between(received) => Ok(received),
            Stage::Archive { mut received, is_main, archive } => {
                let wal = self.fetched_wal.as_deref_mut().filter(|_| is_main);
                archive.finish(&mut observer(&mut received, wal), &mut self.outlet)?;
                self.outlet.end_archive()?;
                Ok(received)
            }
            Stage::Manifest { .. } | Stage::Broken => Err(TarError::UnfinishedMember.into()),
        }
    }

    /// Ends the archive at hand but for a member that is still to come.
    fn end_last_archive(&mut self) -> Result<(ReceivedFiles, LastMember), BackupError> {
        match std::mem::replace(&mut self.stage, Stage::Broken) {
            Stage::Archive { mut received, is_main, archive } => {
                let wal = self.fetched_wal.as_deref_mut().filter(|_| is_main);
                let archive =
                    archive.before_last_member(&mut observer(&mut received, wal), &mut self.outlet)?;
                Ok((received, archive))
            }
            _ => Err(BackupError::NoMainArchive),
        }
    }
}

/// Whoever looks at the pieces of an archive as they pass.
fn observer<'a>(
    received: &'a mut ReceivedFiles,
    mut wal: Option<&'a mut FetchedWal>,
) -> impl FnMut(&Piece<'_>) + 'a {
    move |piece| {
        received.observe(piece);
        if let Some(wal) = &mut wal {
            wal.observe(piece);
        }
    }
}

/// Puts the manifest into the archive, and ends it.
fn add_manifest<D: Destination + ?Sized>(
    mut archive: LastMember,
    attributes: InjectedAttributes,
    manifest: Spool,
    outlet: &mut Outlet<'_, D>,
) -> Result<(), BackupError> {
    let size = manifest.length();
    archive.write(Bytes::copy_from_slice(&attributes.header("backup_manifest", size).to_block()?), outlet)?;
    manifest.read(|piece| archive.write(piece, outlet))?;
    archive.write(Bytes::from(vec![0; padding_len(size)]), outlet)?;
    archive.finish(outlet)?;
    Ok(outlet.end_archive()?)
}

fn read_manifest(
    reader: &mut ManifestReader,
    data: &Bytes,
    comparison: &mut Comparison,
    statements: &mut Statements,
) -> Result<(), BackupError> {
    let mut rest: &[u8] = data;
    while let Some(item) = reader.next_item(&mut rest)? {
        match item {
            ManifestItem::File(file) => compare(comparison, &file)?,
            ManifestItem::SystemIdentifier(id) => statements.system_id = Some(id),
            ManifestItem::WalRange(range) => statements.add(range),
        }
    }
    Ok(())
}

fn compare(comparison: &mut Comparison, file: &FileEntry) -> Result<(), BackupError> {
    Ok(comparison.check(file)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::{Observer, Traces};
    use crate::storage::StorageError;

    struct Nowhere;

    impl Destination for Nowhere {
        fn form(&self) -> Form {
            Form::Archives
        }
        fn write(&mut self, _: &[Bytes]) -> Result<(), StorageError> {
            Ok(())
        }
        fn sync(&mut self) -> Result<(), StorageError> {
            Ok(())
        }
        fn publish(&mut self) -> Result<(), StorageError> {
            Ok(())
        }
        fn abandon(&mut self, _: Traces, _: &dyn Observer) {}
    }

    /// Takes in empty archives at these places and nothing else.
    fn outcome(paths: &[&str]) -> Result<(), String> {
        let announced = |oid, location: &'static str| Tablespace { oid, location: location.into(), size: 0 };
        let tablespaces = [announced(Some(5), "/srv/ts"), announced(None, "")];
        let mut destination = Nowhere;
        let mut intake = Intake::new(
            &mut destination,
            &tablespaces,
            ReceivedFiles::unwanted(),
            ArchiveRules::default(),
            None,
        );
        let name = ArchiveName::new(b"x.tar").unwrap();
        let taken = paths.iter().try_for_each(|path| intake.begin_archive(&name, path.as_bytes()));
        taken.and_then(|()| intake.finish().map(drop)).map_err(|error| error.to_string())
    }

    #[test]
    fn bb_101_every_archive_that_was_announced_comes_once() {
        assert_eq!(outcome(&["/srv/ts", ""]), Ok(()));
        assert_eq!(outcome(&[""]), Err("server sent no archive of the tablespace \"/srv/ts\"".to_owned()));
        let no_main = "server sent no archive of the main data directory";
        assert_eq!(outcome(&["/srv/ts"]), Err(no_main.to_owned()));
        let twice = "server sent an archive that is not part of the backup: \"x.tar\"";
        assert_eq!(outcome(&["/srv/ts", "", ""]), Err(twice.to_owned()));
        assert_eq!(outcome(&["/srv/ts", "/srv/ts", ""]), Err(twice.to_owned()));
    }
}
