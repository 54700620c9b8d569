use bytes::Bytes;

use super::{Destination, Form, Traces};
use crate::backup::observer::Observer;
use crate::storage::StorageError;

/// For backups that the server keeps or sends elsewhere: nothing comes here.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDestination;

impl Destination for NoDestination {
    fn form(&self) -> Form {
        Form::Archives
    }

    fn write(&mut self, _: &[Bytes]) -> Result<(), StorageError> {
        Err(StorageError::OutOfOrder)
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    fn publish(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    fn abandon(&mut self, _: Traces, _: &dyn Observer) {}
}
