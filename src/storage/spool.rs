//! Keeps bytes until they are wanted again: in memory while they are few, else in a file without a name.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use bytes::Bytes;

use super::error::StorageError;

/// The most bytes that are kept in memory.
const IN_MEMORY: usize = 8 << 20;

/// The most bytes that come back at a time.
const PIECE: usize = 256 << 10;

/// Bytes that were put away, to be read once, in order.
#[derive(Debug, Default)]
pub struct Spool {
    memory: Vec<u8>,
    file: Option<File>,
    length: u64,
}

impl Spool {
    /// Puts bytes behind those that are there.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.length += bytes.len() as u64;
        if self.file.is_none() && self.memory.len() + bytes.len() > IN_MEMORY {
            let mut file = tempfile::tempfile().map_err(failed)?;
            file.write_all(&std::mem::take(&mut self.memory)).map_err(failed)?;
            self.file = Some(file);
        }
        match &mut self.file {
            None => self.memory.extend_from_slice(bytes),
            Some(file) => file.write_all(bytes).map_err(failed)?,
        }
        Ok(())
    }

    /// How many bytes there are.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Gives the bytes back in pieces.
    pub fn read<E: From<StorageError>>(self, mut take: impl FnMut(Bytes) -> Result<(), E>) -> Result<(), E> {
        let Some(mut file) = self.file else { return take(Bytes::from(self.memory)) };
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut left = self.length;
        while left > 0 {
            let mut piece = vec![0; left.min(PIECE as u64) as usize];
            file.read_exact(&mut piece).map_err(failed)?;
            left -= piece.len() as u64;
            take(Bytes::from(piece))?;
        }
        Ok(())
    }
}

fn failed(error: io::Error) -> StorageError {
    StorageError::Spool { path: std::env::temp_dir(), source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_comes_out_few_or_many() {
        for pieces in [0, 1, 3, 30] {
            let piece: Vec<u8> = (0..700_000u32).map(|number| number as u8).collect();
            let mut spool = Spool::default();
            for _ in 0..pieces {
                spool.append(&piece).unwrap();
            }
            assert_eq!(spool.length(), pieces * piece.len() as u64);
            assert_eq!(spool.file.is_some(), pieces == 30);
            let mut read = Vec::new();
            let take = |bytes: Bytes| {
                read.extend_from_slice(&bytes);
                Ok::<_, StorageError>(())
            };
            spool.read(take).unwrap();
            assert!(read == piece.repeat(pieces as usize));
        }
    }
}
