//! What an archive has, by the names of its files.

use super::names::{Entry, FileName};
use crate::storage::{Directory, StorageError};

/// The files of an archive.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Segments and parts of them, the oldest first.
    files: Vec<FileName>,
    /// Names of files that were on their way to another name, with the segment that they were to keep.
    temporaries: Vec<(String, Option<FileName>)>,
}

impl Listing {
    /// Reads the names. What is no file is passed over later, where it is looked into.
    pub(super) fn read(directory: &Directory) -> Result<Self, StorageError> {
        let mut listing = Self::default();
        for name in directory.names()? {
            let Some(name) = name.to_str() else { continue };
            match Entry::parse(name) {
                Some(Entry::Segment(file)) => listing.files.push(file),
                Some(Entry::TemporarySegment(file)) => {
                    listing.temporaries.push((name.to_owned(), Some(file)));
                }
                Some(Entry::TemporaryHistory) => listing.temporaries.push((name.to_owned(), None)),
                None => {}
            }
        }
        listing.files.sort_by(|one, other| one.age().cmp(&other.age()));
        listing.temporaries.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(listing)
    }

    /// Segments and parts of them, the newest first.
    pub(super) fn files(&self) -> impl Iterator<Item = &FileName> {
        self.files.iter().rev()
    }

    /// Names of files that were on their way to another name, with the segment that they were to keep.
    pub(super) fn temporaries(&self) -> &[(String, Option<FileName>)] {
        &self.temporaries
    }
}
