//! Takes in the stream of a backup: verifies it and hands it to the destination, in one pass.
//!
//! In come the events of the stream, in order. Each chunk is cut into the members of its archive once; sizes
//! and checksums are computed from the slices, which then go to the destination as they are. The manifest,
//! which comes last, is compared with what was computed, line by line.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use bytes::Bytes;

use super::destination::{Destination, Form};
use super::error::BackupError;
use super::location::ArchiveLocation;
use super::member_injection::{MemberInjection, Stretch};
use super::outlet::Outlet;
use super::verify_in_flight::{Compared, Comparison, ReceivedFiles};
use crate::manifest::{FileEntry, ManifestItem, ManifestReader, WalRange};
use crate::protocol::{ArchiveName, Tablespace};
use crate::tar::{Piece, TarError, TarSplitter};
use crate::types::SystemId;

/// The state between two events.
pub(super) struct Intake<'d, D: ?Sized> {
    outlet: Outlet<'d, D>,
    tablespaces: &'d [Tablespace],
    /// For the main archive, taken when it begins.
    injection: Option<MemberInjection>,
    /// The archives that have begun, by the OID of their tablespace; none for the main one.
    archives: HashSet<Option<u32>>,
    stage: Stage,
}

enum Stage {
    Between(ReceivedFiles),
    Archive {
        received: ReceivedFiles,
        archive: Box<OpenArchive>,
    },
    Manifest {
        reader: ManifestReader,
        comparison: Comparison,
        statements: Statements,
    },
    /// Something failed; nothing follows.
    Broken,
}

/// What a manifest says of the backup as a whole.
#[derive(Debug, Default)]
pub(super) struct Statements {
    pub(super) system_id: Option<SystemId>,
    pub(super) wal_ranges: Vec<WalRange>,
}

/// What was found out about a backup with a manifest.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) compared: Compared,
    pub(super) statements: Statements,
}

/// The archive at hand, and how it reaches the destination.
#[expect(clippy::large_enum_variant, reason = "there is one, in a box")]
enum OpenArchive {
    /// As it is.
    AsReceived(TarSplitter),
    /// With files put into it on the way.
    Injected {
        injection: MemberInjection,
        /// Cuts what comes out again, where the destination wants members.
        members: Option<TarSplitter>,
    },
}

impl<'d, D: Destination + ?Sized> Intake<'d, D> {
    pub(super) fn new(
        destination: &'d mut D,
        tablespaces: &'d [Tablespace],
        received: ReceivedFiles,
        injection: Option<MemberInjection>,
    ) -> Self {
        let stage = Stage::Between(received);
        let outlet = Outlet::new(destination);
        Self { outlet, tablespaces, injection, archives: HashSet::new(), stage }
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
        if !name.is_plain_tar() {
            return Err(BackupError::UnknownArchive(name.to_string()));
        }
        let location = ArchiveLocation::of_archive(path, self.tablespaces)?;
        received.begin_archive(location.oid());
        if !self.archives.insert(location.oid()) {
            return Err(BackupError::UnexpectedArchive(name.to_string()));
        }
        let is_main = location == ArchiveLocation::Main;
        self.outlet.begin_archive(name, &location)?;
        let archive = match self.injection.take_if(|_| is_main) {
            None => OpenArchive::AsReceived(TarSplitter::new()),
            Some(injection) => OpenArchive::Injected {
                injection,
                members: (self.outlet.form() == Form::Members).then(TarSplitter::new),
            },
        };
        self.stage = Stage::Archive { received, archive: Box::new(archive) };
        Ok(())
    }

    /// The next bytes of the archive or the manifest at hand.
    pub(super) fn data(&mut self, data: &Bytes) -> Result<(), BackupError> {
        match &mut self.stage {
            Stage::Archive { received, archive } => archive.take(data, received, &mut self.outlet),
            Stage::Manifest { reader, comparison, statements } => {
                read_manifest(reader, data, comparison, statements)?;
                self.outlet.write(data.clone());
                Ok(())
            }
            // The stream's own order was checked where it was decoded.
            Stage::Between(_) | Stage::Broken => Ok(()),
        }
    }

    /// The archives are complete and the manifest begins.
    pub(super) fn begin_manifest(&mut self) -> Result<(), BackupError> {
        let comparison = self.end_archive()?.compare()?;
        self.outlet.begin_manifest()?;
        let (reader, statements) = (ManifestReader::new(), Statements::default());
        self.stage = Stage::Manifest { reader, comparison, statements };
        Ok(())
    }

    /// The stream is complete. Returns what the manifest was found to say, if there is one.
    pub(super) fn finish(mut self) -> Result<Option<Verified>, BackupError> {
        let stage = std::mem::replace(&mut self.stage, Stage::Broken);
        let verified = match stage {
            Stage::Manifest { reader, comparison, statements } => {
                reader.finish()?;
                let compared = comparison.finish()?;
                self.outlet.end_manifest()?;
                Some(Verified { compared, statements })
            }
            stage => {
                self.stage = stage;
                self.end_archive()?;
                None
            }
        };
        self.check_all_came()?;
        Ok(verified)
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
            Stage::Archive { mut received, archive } => {
                archive.finish(&mut received, &mut self.outlet)?;
                self.outlet.end_archive()?;
                Ok(received)
            }
            Stage::Manifest { .. } | Stage::Broken => Err(TarError::UnfinishedMember.into()),
        }
    }
}

impl OpenArchive {
    fn take<D: Destination + ?Sized>(
        &mut self,
        chunk: &Bytes,
        received: &mut ReceivedFiles,
        outlet: &mut Outlet<'_, D>,
    ) -> Result<(), BackupError> {
        match self {
            Self::AsReceived(splitter) => {
                let members = outlet.form() == Form::Members;
                let mut rest: &[u8] = chunk;
                while let Some(piece) = splitter.next_piece(&mut rest)? {
                    received.observe(&piece);
                    if members {
                        store(&piece, chunk, outlet)?;
                    }
                }
                if !members && !chunk.is_empty() {
                    outlet.write(chunk.clone());
                }
                Ok(())
            }
            Self::Injected { injection, members } => {
                for stretch in injection.push(chunk, |piece| received.observe(piece))? {
                    let bytes = match stretch {
                        Stretch::Received(slice) => chunk.slice_ref(slice),
                        Stretch::Written(written) => written.into(),
                    };
                    pass_on(bytes, members, outlet)?;
                }
                Ok(())
            }
        }
    }

    fn finish<D: Destination + ?Sized>(
        mut self,
        received: &mut ReceivedFiles,
        outlet: &mut Outlet<'_, D>,
    ) -> Result<(), BackupError> {
        // An empty member at the very end is complete without another byte.
        self.take(&Bytes::new(), received, outlet)?;
        match self {
            Self::AsReceived(splitter) => splitter.finish()?,
            Self::Injected { injection, mut members } => {
                pass_on(injection.finish()?.into(), &mut members, outlet)?;
            }
        }
        Ok(())
    }
}

fn pass_on<D: Destination + ?Sized>(
    bytes: Bytes,
    members: &mut Option<TarSplitter>,
    outlet: &mut Outlet<'_, D>,
) -> Result<(), BackupError> {
    match members {
        None => outlet.write(bytes),
        Some(splitter) => {
            let mut rest: &[u8] = &bytes;
            while let Some(piece) = splitter.next_piece(&mut rest)? {
                store(&piece, &bytes, outlet)?;
            }
        }
    }
    Ok(())
}

/// Hands over a piece whose slices are parts of `chunk`.
fn store<D: Destination + ?Sized>(
    piece: &Piece<'_>,
    chunk: &Bytes,
    outlet: &mut Outlet<'_, D>,
) -> Result<(), BackupError> {
    match piece {
        Piece::Entry(entry) => outlet.begin_member(entry)?,
        Piece::Data(data) => outlet.write(chunk.slice_ref(data)),
        Piece::EntryEnd => outlet.end_member()?,
        Piece::Padding(_) | Piece::End(_) => {}
    }
    Ok(())
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
            ManifestItem::WalRange(range) => statements.wal_ranges.push(range),
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
        let mut intake = Intake::new(&mut destination, &tablespaces, ReceivedFiles::unwanted(), None);
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
