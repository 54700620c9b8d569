//! The segment that is being written: `X.partial`, of the size of a segment from the beginning.
//!
//! In come bytes in order; out comes `X`, which has the name only once all of it is durable (I-3), or `X.partial`,
//! durable up to where it got.

use super::SegmentArchive;
use super::content::{checksum, is_whole, measure};
use super::error::SegmentError;
use super::names::{FileName, Form};
use super::spare::Spare;
use crate::compress::Method;
use crate::receive::archive::{Closing, OpenSegment};
use crate::receive::observer::Event;
use crate::storage::{
    CommitFile, Directory, Durable, OutputFile, StorageError, SyncPolicy, publish_durably,
    publish_new_durably, sync_existing,
};
use crate::types::{Lsn, WalFileName};

/// A segment that gets bytes.
pub(super) struct RunningSegment<'a> {
    archive: &'a mut SegmentArchive,
    segment: WalFileName,
    /// The name of the file.
    name: String,
    file: CommitFile,
    has_grown: bool,
}

impl<'a> RunningSegment<'a> {
    /// Opens the file for bytes from `from` on. One that is there is never cut off: what is not written over yet may
    /// have been reported (I-5).
    pub(super) fn open(
        archive: &'a mut SegmentArchive,
        segment: WalFileName,
        from: Lsn,
    ) -> Result<Self, StorageError> {
        let name = FileName::of(segment, Form::RAW_PARTIAL).to_string();
        let file = match from.segment_offset(segment.size()) {
            0 => open_at_start(archive, segment, &name),
            offset => {
                OutputFile::open_existing(&archive.directory, &name, offset).map(CommitFile::over_content)
            }
        };
        let file = file.map_err(|error| SegmentError::open(&name, error))?;
        Ok(Self { archive, segment, name, file, has_grown: false })
    }

    /// Has the file of the next segment made once half of this one is there.
    fn prepare_next(&mut self) {
        if self.file.length() >= self.segment.size().as_u64() / 2 {
            self.archive.prepare_spare();
        }
    }
}

/// Takes the file that is there, the one made ahead, or a new one.
fn open_at_start(
    archive: &mut SegmentArchive,
    segment: WalFileName,
    name: &str,
) -> Result<CommitFile, StorageError> {
    let origin = archive.origin()?;
    if !archive.directory.contains(name)? {
        for method in Method::ALL {
            let compressed = FileName::of(segment, Form::partial(Some(method)));
            if archive.directory.file_length(&compressed.to_string())?.is_some_and(|length| length > 0) {
                archive.partial(segment, origin).make_raw(&compressed)?;
                break;
            }
        }
    }
    if archive.directory.contains(name)? {
        archive.fit(segment, origin)?;
        let file = OutputFile::open_existing(&archive.directory, name, 0)?;
        // What it has may have been reported, although all of it is to come again.
        let part = FileName::of(segment, Form::RAW_PARTIAL);
        let length = measure(&archive.directory, &part, segment, origin)?.length;
        archive.keep_partial(segment, length);
        return Ok(CommitFile::over_content(file));
    }
    let size = segment.size().as_u64();
    let has_spare = archive.spare.wait();
    let directory = &archive.directory;
    if has_spare && take_spare(directory, name) {
        return OutputFile::open_existing(directory, name, 0).map(|file| CommitFile::over_zeros(file, size));
    }
    let mut file = OutputFile::create_new(directory, name, origin.access)?;
    file.allocate(size).inspect_err(|_| {
        // A full disk may have let it grow by a part; the failure that is reported matters more.
        let _ = directory.remove_file(name);
    })?;
    Ok(CommitFile::over_zeros(file, size))
}

/// Gives the file, which is whole, durable and closed, its final name.
fn publish(archive: &SegmentArchive, segment: WalFileName) -> Result<(), StorageError> {
    let (ours, complete) = (FileName::of(segment, Form::RAW_PARTIAL), FileName::of(segment, Form::RAW));
    let (from, to) = (ours.to_string(), complete.to_string());
    if publish_new_durably(&archive.directory, &from, &to, archive.policy)? {
        return Ok(());
    }
    settle(archive, segment, &ours, &complete)
}

/// There is a file of the final name. It stays unless it is proven to be no such segment (I-4, RW-166).
fn settle(
    archive: &SegmentArchive,
    segment: WalFileName,
    ours: &FileName,
    existing: &FileName,
) -> Result<(), StorageError> {
    let (directory, policy) = (&archive.directory, archive.policy);
    let (name, size, origin) = (existing.to_string(), segment.size().as_u64(), archive.origin()?);
    let has_size = directory.file_length(&name)? == Some(size);
    if !has_size || !is_whole(directory, existing, segment, origin)? {
        return publish_durably(directory, &ours.to_string(), &name, policy);
    }
    if checksum(directory, ours, size)? != checksum(directory, existing, size)? {
        return Err(SegmentError::Conflict { file: name }.into());
    }
    sync_existing(directory, &name, policy, ())?;
    directory.remove_file(&ours.to_string())
}

/// Parts of the segment in other forms are of no use any more (OP-18).
fn remove_superseded(directory: &Directory, segment: WalFileName) -> Result<(), StorageError> {
    Method::ALL.into_iter().try_for_each(|method| {
        let partial = FileName::of(segment, Form::partial(Some(method)));
        directory.remove_file(&partial.to_string())
    })
}

/// Gives the file made ahead its name, which becomes durable with its first bytes.
fn take_spare(directory: &Directory, name: &str) -> bool {
    matches!(publish_new_durably(directory, Spare::NAME, name, SyncPolicy::Never), Ok(true))
}

impl OpenSegment for RunningSegment<'_> {
    fn append(&mut self, data: &[u8]) -> Result<(), StorageError> {
        self.has_grown = true;
        self.file.append(data).map_err(|error| SegmentError::write(&self.name, data.len(), error))?;
        self.file.begin_writeback(self.archive.policy);
        self.prepare_next();
        Ok(())
    }

    fn append_and_sync(&mut self, data: &[u8], reached: Lsn) -> Result<Durable<Lsn>, StorageError> {
        self.has_grown = true;
        let durable = self.file.append_and_sync(data, self.archive.policy, reached);
        let durable = durable.map_err(|error| SegmentError::write(&self.name, data.len(), error))?;
        self.archive.durable_end = Some((self.segment, reached));
        self.prepare_next();
        Ok(durable)
    }

    fn sync(&mut self, reached: Lsn) -> Result<Durable<Lsn>, StorageError> {
        let durable = self.file.sync(self.archive.policy, reached)?;
        self.archive.durable_end = Some((self.segment, reached));
        Ok(durable)
    }

    fn complete(self: Box<Self>, end: Lsn) -> Result<Durable<Lsn>, StorageError> {
        let Self { archive, segment, mut file, .. } = *self;
        let durable = file.sync(archive.policy, end)?;
        file.close()?;
        archive.durable_end = None;
        archive.announce_compression(segment);
        publish(archive, segment)?;
        archive.forget_partial(segment);
        let timeline = segment.timeline();
        archive.observer.observe(&Event::SegmentFinished { end, timeline });
        remove_superseded(&archive.directory, segment)?;
        archive.begin_compression(segment);
        Ok(durable)
    }

    fn close_incomplete(
        mut self: Box<Self>,
        reached: Lsn,
        closing: Closing,
    ) -> Result<Durable<Lsn>, StorageError> {
        let durable = self.sync(reached)?;
        let Self { archive, segment, file, has_grown, .. } = *self;
        archive.keep_partial(segment, file.length());
        file.close()?;
        if closing == Closing::EndOfStream && has_grown {
            let method = archive.compression.map(|spec| spec.method);
            let file = FileName::of(segment, Form::partial(method)).to_string();
            archive.observer.observe(&Event::SegmentIncomplete { file: &file });
        }
        Ok(durable)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Fixture, name};
    use super::*;
    use crate::types::WithCauses;

    #[test]
    fn rw_155_and_i_011_after_a_write_that_failed_nothing_is_durable() {
        let fixture = Fixture::new();
        let (mut archive, _) = fixture.resumed();
        let start = Lsn::new(1 << 20);
        let mut open = RunningSegment::open(&mut archive, fixture.segment(1, 1), start).unwrap();
        open.file = CommitFile::over_content(OutputFile::over("/dev/full"));
        let error = open.append(b"wal").unwrap_err();
        let expected = "could not write 3 bytes to WAL file \"000000010000000000000001.partial\": \
                        No space left on device";
        assert_eq!(WithCauses(&error).to_string(), expected);
        assert!(error.is_retryable());
        assert!(matches!(open.sync(start + 3), Err(StorageError::Sync { .. })));
        assert!(matches!(Box::new(open).complete(start + (1 << 20)), Err(StorageError::Sync { .. })));
        assert_eq!(fixture.names(), [name(1, ".partial")]);
    }
}
