//! Compression beside the receiving: not there yet.

use std::sync::Arc;

use crate::compress::{CompressError, CompressionSpec, Decoder, Method};
use crate::receive::observer::Observer;
use crate::storage::{Access, Directory, StorageError, SyncPolicy};
use crate::types::WalFileName;

pub(super) struct Compressor;

impl Compressor {
    #[allow(clippy::unnecessary_wraps)]
    pub(super) fn start(
        _directory: Arc<Directory>,
        _spec: CompressionSpec,
        _access: Access,
        _policy: SyncPolicy,
        _observer: Arc<dyn Observer>,
    ) -> Result<Self, StorageError> {
        Ok(Self)
    }

    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    pub(super) fn mark(&self, _segment: WalFileName) -> Result<(), StorageError> {
        Ok(())
    }

    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    pub(super) fn enqueue(&mut self, _segment: WalFileName) -> Result<(), StorageError> {
        Ok(())
    }

    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    pub(super) fn finish(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}

#[allow(clippy::unnecessary_wraps)]
pub(super) fn compress_partial(
    _directory: &Arc<Directory>,
    _segment: WalFileName,
    _length: u64,
    _spec: CompressionSpec,
    _access: Access,
    _policy: SyncPolicy,
) -> Result<(), StorageError> {
    Ok(())
}

/// What came out of a compressed file.
pub(super) struct Decoded {
    pub(super) length: u64,
    pub(super) error: Option<CompressError>,
}

pub(super) fn decode(
    directory: &Directory,
    name: &str,
    method: Method,
    limit: u64,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), StorageError>,
) -> Result<Decoded, StorageError> {
    let file = directory.open_file(name)?;
    let (mut buffer, mut offset) = (vec![0; 64 << 10], 0);
    let mut out = Decoded { length: 0, error: None };
    let mut decoder = match Decoder::new(method) {
        Ok(decoder) => decoder,
        Err(error) => return Ok(Decoded { error: Some(error), ..out }),
    };
    loop {
        let read = file.read_at(&mut buffer, offset)?;
        offset += read as u64;
        let mut input = &buffer[..read];
        loop {
            match decoder.next_piece(&mut input) {
                Ok(Some(piece)) => {
                    let wanted = (limit - out.length).min(piece.len() as u64);
                    sink(&piece[..wanted as usize])?;
                    out.length += wanted;
                    if out.length == limit {
                        return Ok(out);
                    }
                }
                Ok(None) => break,
                Err(error) => return Ok(Decoded { error: Some(error), ..out }),
            }
        }
        if read == 0 {
            out.error = decoder.finish().err();
            return Ok(out);
        }
    }
}
