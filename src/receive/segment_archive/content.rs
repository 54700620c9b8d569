//! The bytes of a segment in whatever form it is kept, and what is sound of them.

use super::compressor::{Decoded, decode};
use super::identity::{self, Origin};
use super::names::FileName;
use crate::storage::{Directory, StorageError};
use crate::types::{Crc32c, Lsn, SegmentSize, WalFileName};
use crate::wal::{PageFault, RecordReader, WalError};

/// How much of a file is read at a time.
const PIECE: u64 = 256 << 10;

/// What a disk writes whole or not at all.
const SECTOR: u64 = 512;

const ZEROS: [u8; SECTOR as usize] = [0; SECTOR as usize];

/// Gives the bytes that a file keeps to `sink`, up to `limit` of them.
pub(super) fn pour(
    directory: &Directory,
    file: &FileName,
    limit: u64,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), StorageError>,
) -> Result<Decoded, StorageError> {
    match file.form.method {
        Some(method) => decode(directory, &file.to_string(), method, limit, sink),
        None => pour_raw(directory, &file.to_string(), limit, sink),
    }
}

fn pour_raw(
    directory: &Directory,
    name: &str,
    limit: u64,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), StorageError>,
) -> Result<Decoded, StorageError> {
    let file = directory.open_file(name)?;
    let mut buffer = vec![0; limit.min(PIECE) as usize];
    let mut length = 0;
    while length < limit {
        let wanted = (limit - length).min(PIECE) as usize;
        let read = file.read_at(&mut buffer[..wanted], length)?;
        if read == 0 {
            break;
        }
        sink(&buffer[..read])?;
        length += read as u64;
    }
    Ok(Decoded { length, error: None })
}

/// What a file has of a segment. Invariant: `start of the segment <= sound <= position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Measured {
    /// Up to where it is complete and sound records.
    pub(super) sound: Lsn,
    /// Where to go on: there, or further on if this process has made more durable.
    pub(super) position: Lsn,
    /// The bytes up to the last one that is not zero.
    pub(super) length: u64,
}

/// Finds out what is sound of a partial segment.
///
/// Of the record that began in another segment nothing tells whether it is complete, except that writing went on
/// behind it; but a disk that lost what was written last can have lost a part of it that lies before something it
/// kept. So where a sector of it is empty, the segment counts as if nothing was there: what is there already is not
/// touched by writing the same again.
pub(super) fn measure(
    directory: &Directory,
    file: &FileName,
    segment: WalFileName,
    origin: Origin,
) -> Result<Measured, StorageError> {
    let (size, start) = (origin.segment_size.as_u64(), segment.segment().start(origin.segment_size));
    let mut reader = reader_of(segment, origin);
    let (mut length, mut last, mut failure) = (0, 0, None);
    let mut empty = EmptySectors::default();
    pour(directory, file, size, &mut |data| {
        match without_zeros_behind(data).len() {
            0 => {}
            used => last = length + used as u64,
        }
        // The last byte makes the unused rest behind a segment switch count as if it had come.
        let checked = data.len().min((size - 1 - length.min(size - 1)) as usize);
        if reader.first_record().is_none() {
            empty.look_at(data);
        }
        if failure.is_none() {
            failure = reader.push(&data[..checked]).err();
        }
        length += data.len() as u64;
        Ok(())
    })?;
    match failure {
        Some(WalError::Page { reason: PageFault::SystemId(found), .. }) => {
            return Err(identity::foreign_system(directory, file, found, origin));
        }
        // A header of which a part is missing is of no other size.
        Some(WalError::Page { reason: PageFault::SegmentSize(found), .. })
            if SegmentSize::new(found.into()).is_ok() =>
        {
            return Err(identity::foreign_size(directory, file, u64::from(found), origin));
        }
        _ => {}
    }
    let sound = match reader.first_record() {
        Some(first) if empty.first.is_none_or(|empty| start + empty + SECTOR > first) => {
            // Never the end of the segment, which the padding of a record may reach without the last byte: a part is
            // complete, and gets its name, when that byte comes.
            reader.end_of_records().min(start + length).min(start + (size - 1))
        }
        _ => start,
    };
    Ok(Measured { sound, position: sound, length: last })
}

/// The bytes up to the last one that is not zero. Most of a segment can be zeros: they are compared many at a time.
fn without_zeros_behind(data: &[u8]) -> &[u8] {
    let zeros = data.rchunks(ZEROS.len()).take_while(|sector| **sector == ZEROS[..sector.len()]);
    let rest = &data[..data.len() - zeros.map(<[u8]>::len).sum::<usize>()];
    &rest[..rest.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)]
}

/// Whether a file keeps as many bytes as a segment has, no more and no less.
pub(super) fn has_full_length(
    directory: &Directory,
    file: &FileName,
    origin: Origin,
) -> Result<bool, StorageError> {
    let size = origin.segment_size.as_u64();
    if file.form.method.is_none() {
        return Ok(directory.file_length(&file.to_string())? == Some(size));
    }
    let poured = pour(directory, file, size + 1, &mut |_| Ok(()))?;
    Ok(poured.error.is_none() && poured.length == size)
}

/// Whether a file of the size of a segment is one: nothing but sound records up to its end.
pub(super) fn is_whole(
    directory: &Directory,
    file: &FileName,
    segment: WalFileName,
    origin: Origin,
) -> Result<bool, StorageError> {
    let size = origin.segment_size.as_u64();
    let mut reader = reader_of(segment, origin);
    let mut sound = true;
    let poured = pour(directory, file, size + 1, &mut |data| {
        sound = sound && reader.push(data).is_ok();
        Ok(())
    })?;
    Ok(sound && poured.error.is_none() && poured.length == size && !reader.has_ended())
}

/// A reader that will read the segment from its start.
pub(super) fn reader_of(segment: WalFileName, origin: Origin) -> RecordReader {
    let start = segment.segment().start(origin.segment_size);
    RecordReader::new(start, start, origin.segment_size, segment.timeline())
        .expect_system_id(origin.system_id)
}

/// The checksum of the first `length` bytes that a file keeps, if it has so many.
pub(super) fn checksum(
    directory: &Directory,
    file: &FileName,
    length: u64,
) -> Result<Option<u32>, StorageError> {
    let mut checksum = Crc32c::new();
    let poured = pour(directory, file, length, &mut |data| {
        checksum.update(data);
        Ok(())
    })?;
    Ok((poured.length == length).then(|| checksum.value()))
}

/// Looks for sectors without anything in them.
#[derive(Default)]
struct EmptySectors {
    position: u64,
    /// Whether there was something in the sector at hand.
    is_used: bool,
    /// Where the first one begins.
    first: Option<u64>,
}

impl EmptySectors {
    fn look_at(&mut self, mut data: &[u8]) {
        while !data.is_empty() && self.first.is_none() {
            let missing = (SECTOR - self.position % SECTOR) as usize;
            let (sector, later) = data.split_at(missing.min(data.len()));
            self.is_used |= *sector != ZEROS[..sector.len()];
            self.position += sector.len() as u64;
            if self.position.is_multiple_of(SECTOR) {
                self.first = (!self.is_used).then(|| self.position - SECTOR);
                self.is_used = false;
            }
            data = later;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_empty_sector_and_the_last_byte_are_found_however_the_bytes_come() {
        let sector = SECTOR as usize;
        let mut bytes = vec![0; 5 * sector + 7];
        for (last, first_empty) in [(None, 0), (Some(0), 1), (Some(2 * sector - 1), 2), (Some(3 * sector), 4)]
        {
            if let Some(last) = last {
                bytes[last] = 1;
            }
            assert_eq!(without_zeros_behind(&bytes).len(), last.map_or(0, |last| last + 1));
            // The sector in between is used too in the last case.
            bytes[2 * sector] = u8::from(last == Some(3 * sector));
            for piece in [1, 7, sector - 1, sector, sector + 1, bytes.len()] {
                let mut empty = EmptySectors::default();
                bytes.chunks(piece).for_each(|piece| empty.look_at(piece));
                assert_eq!(empty.first, Some(first_empty * SECTOR), "{last:?}: {piece}");
            }
        }
    }
}
