//! Hands a destination its bytes, several received pieces at a time.

use bytes::Bytes;

use super::destination::{Destination, Form};
use super::error::BackupError;
use super::location::ArchiveLocation;
use crate::protocol::ArchiveName;
use crate::storage::StorageError;
use crate::tar::Entry;

/// A destination and the pieces that it does not have yet.
///
/// The server sends 32 KiB at a time, and a read brings several of those: one write for all of them costs less
/// than one for each. No piece stays longer than until the next read, and what a read expands to when it is
/// decompressed does not pile up.
pub(super) struct Outlet<'d, D: ?Sized> {
    destination: &'d mut D,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
}

/// The most bytes that wait, except for one piece.
const MOST_WAITING: usize = 512 << 10;

impl<'d, D: Destination + ?Sized> Outlet<'d, D> {
    pub(super) fn new(destination: &'d mut D) -> Self {
        Self { destination, waiting: Vec::new(), waiting_bytes: 0 }
    }

    pub(super) fn destination(&self) -> &D {
        self.destination
    }

    pub(super) fn form(&self) -> Form {
        self.destination.form()
    }

    /// Takes the next bytes of whatever is being written.
    pub(super) fn write(&mut self, piece: Bytes) -> Result<(), BackupError> {
        if piece.is_empty() {
            return Ok(());
        }
        self.waiting_bytes += piece.len();
        self.waiting.push(piece);
        if self.waiting_bytes > MOST_WAITING {
            self.flush()?;
        }
        Ok(())
    }

    /// Hands over what waits.
    pub(super) fn flush(&mut self) -> Result<(), StorageError> {
        if !self.waiting.is_empty() {
            self.destination.write(&self.waiting)?;
            self.waiting.clear();
            self.waiting_bytes = 0;
        }
        Ok(())
    }

    pub(super) fn begin_archive(
        &mut self,
        name: &ArchiveName,
        location: &ArchiveLocation,
    ) -> Result<(), StorageError> {
        self.destination.begin_archive(name, location)
    }

    pub(super) fn end_archive(&mut self) -> Result<(), StorageError> {
        self.flush()?;
        self.destination.end_archive()
    }

    pub(super) fn begin_member(&mut self, entry: &Entry) -> Result<(), StorageError> {
        self.destination.begin_member(entry)
    }

    pub(super) fn end_member(&mut self) -> Result<(), StorageError> {
        self.flush()?;
        self.destination.end_member()
    }

    pub(super) fn begin_manifest(&mut self) -> Result<(), StorageError> {
        self.destination.begin_manifest()
    }

    pub(super) fn end_manifest(&mut self) -> Result<(), StorageError> {
        self.flush()?;
        self.destination.end_manifest()
    }
}
