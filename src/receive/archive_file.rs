use std::path::Path;
use std::sync::Arc;

use crate::compress::{CompressError, CompressionSpec, Encoder};
use crate::storage::{Access, Directory, Durable, OutputFile, StorageError, SyncPolicy};

/// Compressed bytes that are gathered before they are written.
const PIECE: usize = 64 << 10;

/// A new file that is written from front to end, compressed or not.
#[derive(Debug)]
pub(super) struct ArchiveFile {
    file: OutputFile,
    encoder: Option<Encoder>,
    /// What came out of the encoder and is not written yet.
    compressed: Vec<u8>,
}

impl ArchiveFile {
    /// Creates the file, with the suffix of its compression behind the name.
    pub(super) fn create(
        directory: &Arc<Directory>,
        name: &str,
        access: Access,
        compression: Option<CompressionSpec>,
    ) -> Result<Self, StorageError> {
        let suffix = compression.map_or("", |spec| spec.method.suffix());
        let encoder = compression.map(|spec| Encoder::new(&spec)).transpose().map_err(failed)?;
        let file = OutputFile::create_new(directory, &format!("{name}{suffix}"), access)?;
        Ok(Self { file, encoder, compressed: Vec::new() })
    }

    /// The path, for messages.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let Some(encoder) = &mut self.encoder else { return self.file.append(bytes) };
        encoder.push(bytes, &mut self.compressed).map_err(failed)?;
        if self.compressed.len() >= PIECE { self.write_compressed() } else { Ok(()) }
    }

    pub(super) fn begin_writeback(&mut self, policy: SyncPolicy) {
        self.file.begin_writeback(policy);
    }

    /// Makes durable what was appended. What comes out of the encoder up to there can be decompressed by itself.
    pub(super) fn sync<T>(&mut self, policy: SyncPolicy, reached: T) -> Result<Durable<T>, StorageError> {
        if let Some(encoder) = &mut self.encoder {
            encoder.flush(&mut self.compressed).map_err(failed)?;
            self.write_compressed()?;
        }
        self.file.sync(policy, reached)
    }

    /// Ends the file, durably.
    pub(super) fn finish(mut self, policy: SyncPolicy) -> Result<(), StorageError> {
        if let Some(encoder) = self.encoder.take() {
            encoder.finish(&mut self.compressed).map_err(failed)?;
            self.write_compressed()?;
        }
        self.file.sync(policy, ())?;
        self.file.close()
    }

    fn write_compressed(&mut self) -> Result<(), StorageError> {
        self.file.append(&self.compressed)?;
        self.compressed.clear();
        Ok(())
    }
}

fn failed(error: CompressError) -> StorageError {
    StorageError::Other(Box::new(error))
}
