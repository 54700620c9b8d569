use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{Destination, Form, Traces};
use crate::backup::observer::Observer;
use crate::storage::StorageError;

/// One tar archive that goes to a writer, such as standard output, with the manifest as a member (BB-144).
///
/// Only clusters without tablespaces of their own fit, and WAL comes with `-X fetch` or not at all.
#[derive(Debug)]
pub struct TarStreamDestination<W> {
    writer: W,
}

impl<W: Write + Send> TarStreamDestination<W> {
    /// A backup to `writer`, which gets large pieces.
    pub fn new(writer: W) -> Self {
        Self { writer }
    }
}

impl<W: Write + Send> Destination for TarStreamDestination<W> {
    fn form(&self) -> Form {
        Form::Archives
    }

    fn write(&mut self, pieces: &[Bytes]) -> Result<(), StorageError> {
        for piece in pieces {
            self.writer.write_all(piece).map_err(|error| StorageError::WriteFile {
                path: PathBuf::from("-"),
                source: error.into(),
            })?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    fn publish(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    fn abandon(&mut self, _: Traces, _: &dyn Observer) {}

    fn current(&self) -> Option<PathBuf> {
        Some(Path::new("-").to_owned())
    }
}
