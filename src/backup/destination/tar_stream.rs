use std::io::{self, Write};
use std::path::PathBuf;

use bytes::Bytes;

use super::{Destination, Form, Traces};
use crate::backup::observer::Observer;
use crate::storage::StorageError;

/// What the output is called in messages and progress.
const NAME: &str = "-";

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
        Form::SingleArchive
    }

    fn write(&mut self, pieces: &[Bytes]) -> Result<(), StorageError> {
        for piece in pieces {
            self.writer.write_all(piece).map_err(failed)?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.writer.flush().map_err(failed)
    }

    fn publish(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    fn abandon(&mut self, _: Traces, _: &dyn Observer) {}

    fn current(&self) -> Option<PathBuf> {
        Some(PathBuf::from(NAME))
    }
}

fn failed(error: io::Error) -> StorageError {
    StorageError::WriteFile { path: PathBuf::from(NAME), source: error.into() }
}
