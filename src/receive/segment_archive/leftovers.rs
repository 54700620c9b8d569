//! What an earlier process left: files on their way to another name, and parts of segments that are complete by now.

use std::sync::Arc;

use super::content::{checksum, has_full_length, measure};
use super::identity::Origin;
use super::listing::Listing;
use super::names::{FileName, Form};
use super::spare::Spare;
use crate::compress::Method;
use crate::storage::{Directory, StorageError, SyncPolicy, sync_existing};
use crate::types::WalFileName;

/// Removes what is of no use any more, and gives the complete segments that are to be compressed with `method`, the
/// one of this process.
pub(super) fn clear(
    directory: &Arc<Directory>,
    listing: &Listing,
    origin: Origin,
    method: Option<Method>,
    policy: SyncPolicy,
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
    for compressed in listing.files().filter(|file| !file.form.is_partial) {
        let Some(segment) = marked_segment(directory, compressed, origin)? else { continue };
        if compressed.form.method == method {
            uncompressed.push(segment);
        } else if holds_the_same(directory, compressed, segment, origin) {
            // The compression had come to its end, and only this was missing.
            sync_existing(directory, &compressed.to_string(), policy, ())?;
            directory.remove_file(&FileName::of(segment, Form::RAW).to_string())?;
        }
    }
    for partial in listing.files().filter(|file| file.form.is_partial) {
        if is_superseded(directory, partial, listing, origin) {
            directory.remove_file(&partial.to_string())?;
        }
    }
    Ok(uncompressed)
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

/// Whether a compressed segment holds what the raw one is. What cannot be read now is left as it is.
fn holds_the_same(
    directory: &Directory,
    compressed: &FileName,
    segment: WalFileName,
    origin: Origin,
) -> bool {
    let size = origin.segment_size.as_u64();
    let raw = checksum(directory, &FileName::of(segment, Form::RAW), size);
    match (raw, checksum(directory, compressed, size)) {
        (Ok(Some(raw)), Ok(Some(held))) if raw == held => {
            has_full_length(directory, compressed, origin).unwrap_or(false)
        }
        _ => false,
    }
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
