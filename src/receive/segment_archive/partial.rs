//! A partial segment that is to be gone on with: raw, of the size of a segment, and durable up to the position.

use std::sync::Arc;

use bytes::Bytes;

use super::content::{pour, reader_of};
use super::identity::Origin;
use super::names::{FileName, Form, temporary};
use crate::receive::observer::Warning;
use crate::storage::{
    Directory, Durable, OutputFile, StorageError, SyncPolicy, publish_durably, sync_existing,
};
use crate::types::{Lsn, WalFileName};
use crate::wal::RecordReader;

/// The server is asked again for what lies on the page before the position.
const PAGE: u64 = 8192;

/// The partial segment of an archive.
pub(super) struct Partial<'a> {
    pub(super) directory: &'a Arc<Directory>,
    pub(super) segment: WalFileName,
    pub(super) origin: Origin,
    pub(super) policy: SyncPolicy,
}

impl Partial<'_> {
    /// Makes a raw file of a compressed one, which goes when that is durable (OP-14). All that it holds is kept, sound
    /// or not: it may have been reported (I-5).
    pub(super) fn make_raw(&self, compressed: &FileName) -> Result<(), StorageError> {
        let (directory, policy) = (self.directory, self.policy);
        let raw = self.raw().to_string();
        let unfinished = temporary(&raw);
        let made = self.decode_into(&unfinished, compressed);
        let published = made.and_then(|_| publish_durably(directory, &unfinished, &raw, policy));
        if published.is_err() {
            // The failure that is reported matters more than one to tidy up.
            let _ = directory.remove_file(&unfinished);
        }
        published?;
        directory.remove_file(&compressed.to_string())
    }

    fn decode_into(&self, name: &str, compressed: &FileName) -> Result<Durable<()>, StorageError> {
        let size = self.origin.segment_size.as_u64();
        let mut file = OutputFile::create_or_empty(self.directory, name, self.origin.access)?;
        file.allocate(size)?;
        pour(self.directory, compressed, size, &mut |data| file.append(data))?;
        let durable = file.sync(self.policy, ())?;
        file.close()?;
        Ok(durable)
    }

    /// Gives the raw file the size of a segment, whatever it has now; no byte of the segment goes (OP-11).
    pub(super) fn fit(&self) -> Result<Option<Warning>, StorageError> {
        let (name, expected) = (self.raw().to_string(), self.origin.segment_size.as_u64());
        let Some(size) = self.directory.file_length(&name)?.filter(|&size| size != expected) else {
            return Ok(None);
        };
        let mut file = OutputFile::open_existing(self.directory, &name, 0)?;
        if size > expected {
            file.set_length(expected)?;
        } else {
            file.allocate(expected).inspect_err(|_| {
                // A full disk may have let it grow by a part; the failure that is reported matters more.
                let _ = file.set_length(size);
            })?;
        }
        file.close()?;
        Ok((size > 0).then_some(Warning::PartialSize { file: name, size, expected }))
    }

    /// Makes the raw file durable up to the position, so that it can be gone on with there.
    ///
    /// What an earlier process wrote may be in the memory of the system only, because the disk refused it: a sync
    /// would not tell. So unless it is `known`, it is written again.
    pub(super) fn make_durable(&self, position: Lsn, known: bool) -> Result<Durable<Lsn>, StorageError> {
        let raw = self.raw();
        if !known {
            let name = raw.to_string();
            let mut file = OutputFile::open_existing(self.directory, &name, 0)?;
            pour(self.directory, &raw, self.length_up_to(position), &mut |data| file.append(data))?;
            let durable = file.sync(self.policy, position)?;
            file.close()?;
            return Ok(durable);
        }
        sync_existing(self.directory, &raw.to_string(), self.policy, position)
    }

    /// Reads the raw file up to the position: a reader that has done so, and the last bytes. Nothing where it has no
    /// sound WAL up to there.
    pub(super) fn read_up_to(&self, position: Lsn) -> Result<Option<(RecordReader, Bytes)>, StorageError> {
        let length = self.length_up_to(position);
        let mut reader = reader_of(self.segment, self.origin);
        let (mut sound, mut read, mut overlap) = (true, 0, Vec::new());
        let overlap_from = length.saturating_sub(1) / PAGE * PAGE;
        let poured = pour(self.directory, &self.raw(), length, &mut |data| {
            sound = sound && reader.push(data).is_ok();
            let known = overlap_from.saturating_sub(read).min(data.len() as u64);
            overlap.extend_from_slice(&data[known as usize..]);
            read += data.len() as u64;
            Ok(())
        })?;
        let sound = sound && poured.length == length && !reader.has_ended();
        Ok(sound.then(|| (reader, overlap.into())))
    }

    fn raw(&self) -> FileName {
        FileName::of(self.segment, Form::RAW_PARTIAL)
    }

    fn length_up_to(&self, position: Lsn) -> u64 {
        let start = self.segment.segment().start(self.origin.segment_size);
        position.checked_sub(start).unwrap_or(0).min(self.origin.segment_size.as_u64())
    }
}
