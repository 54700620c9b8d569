use bytes::Bytes;

use super::destination::Destination;
use super::error::BackupError;
use super::outlet::Outlet;
use crate::compress::{CompressionSpec, Encoder};

/// Compressed bytes that are gathered before the destination gets them.
const PIECE: usize = 64 << 10;

/// Compresses an archive on its way to the destination.
pub(super) struct Compressor {
    encoder: Encoder,
    waiting: Vec<u8>,
}

impl Compressor {
    pub(super) fn new(spec: &CompressionSpec) -> Result<Self, BackupError> {
        Ok(Self { encoder: Encoder::new(spec)?, waiting: Vec::new() })
    }

    pub(super) fn push<D: Destination + ?Sized>(
        &mut self,
        bytes: &[u8],
        outlet: &mut Outlet<'_, D>,
    ) -> Result<(), BackupError> {
        self.encoder.push(bytes, &mut self.waiting)?;
        if self.waiting.len() < PIECE {
            return Ok(());
        }
        outlet.write(Bytes::from(std::mem::take(&mut self.waiting)))
    }

    /// Ends the compressed stream.
    pub(super) fn finish<D: Destination + ?Sized>(
        mut self,
        outlet: &mut Outlet<'_, D>,
    ) -> Result<(), BackupError> {
        self.encoder.finish(&mut self.waiting)?;
        outlet.write(Bytes::from(self.waiting))
    }
}
