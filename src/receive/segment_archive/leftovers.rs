//! What an earlier process left: files on their way to another name, and parts of segments that are complete by now.

use super::content::{checksum, has_full_length, measure};
use super::identity::Origin;
use super::listing::Listing;
use super::names::{FileName, Form};
use super::spare::Spare;
use crate::compress::Method;
use crate::storage::{Directory, StorageError};
use crate::types::WalFileName;

/// Removes what is of no use any more, and gives the complete segments that were to be compressed with `method`.
pub(super) fn clear(
    directory: &Directory,
    listing: &Listing,
    origin: Origin,
    method: Option<Method>,
) -> Result<Vec<WalFileName>, StorageError> {
    directory.remove_file(Spare::NAME)?;
    let mut uncompressed = Vec::new();
    for (name, target) in listing.temporaries() {
        let Some(target) = target else {
            directory.remove_file(name)?;
            continue;
        };
        // A copy on its way to the name of a raw segment is somebody else's.
        if target.form == Form::RAW {
            continue;
        }
        let marked = marked_segment(directory, target, origin)?.filter(|_| method.is_some());
        uncompressed.extend(marked);
        if marked.is_none() || target.form.method != method {
            directory.remove_file(name)?;
        }
    }
    uncompressed.extend(beside_compressed(directory, listing, origin, method)?);
    for partial in listing.files().filter(|file| file.form.is_partial) {
        if is_superseded(directory, partial, listing, origin) {
            directory.remove_file(&partial.to_string())?;
        }
    }
    Ok(uncompressed)
}

/// The complete raw segments that lie beside their compressed forms: only their going was missing.
fn beside_compressed(
    directory: &Directory,
    listing: &Listing,
    origin: Origin,
    method: Option<Method>,
) -> Result<Vec<WalFileName>, StorageError> {
    let mut found = Vec::new();
    for compressed in listing.files().filter(|file| method.is_some() && file.form == Form::complete(method)) {
        found.extend(marked_segment(directory, compressed, origin)?);
    }
    Ok(found)
}

/// The complete raw segment of which the file is the compressed form, or was to be.
fn marked_segment(
    directory: &Directory,
    compressed: &FileName,
    origin: Origin,
) -> Result<Option<WalFileName>, StorageError> {
    let size = origin.segment_size;
    let Some(segment) = compressed.segment(size) else { return Ok(None) };
    if compressed.form.is_partial || compressed.form.method.is_none() {
        return Ok(None);
    }
    let length = directory.file_length(&FileName::of(segment, Form::RAW).to_string())?;
    Ok((length == Some(size.as_u64())).then_some(segment))
}

/// Whether all that the partial segment has is in a complete one too (OP-18). What cannot be read now stays for another
/// time.
fn is_superseded(directory: &Directory, partial: &FileName, listing: &Listing, origin: Origin) -> bool {
    let Some(segment) = partial.segment(origin.segment_size) else { return false };
    listing.files().filter(|file| !file.form.is_partial && file.age() == partial.age()).any(|complete| {
        let Ok(found) = measure(directory, partial, segment, origin) else { return false };
        let (Ok(part), Ok(whole)) =
            (checksum(directory, partial, found.length), checksum(directory, complete, found.length))
        else {
            return false;
        };
        part.is_some() && part == whole && has_full_length(directory, complete, origin).unwrap_or(false)
    })
}
