//! A file that grows by little and is synced each time, because somebody waits for it.
//!
//! Bytes that go through the page cache are copied there, written back from there by the sync, and change the file's
//! times or the state of its blocks, which a file system with a journal writes down as well. So where a file is known to
//! hold nothing but zeros behind its end, what is little and is to be synced goes to the disk itself, in whole blocks;
//! and the blocks that come next are written as zeros many at a time, so that a sync finds nothing to do but what it is
//! for.

use rustix::io::Errno;

use super::durable::{Durable, OutputFile};
use super::error::StorageError;
use super::sync_policy::SyncPolicy;

/// What disks and file systems write at once, or a multiple of it.
const BLOCK: usize = 4096;

/// What takes much longer to write than to sync is better left to the page cache.
const MOST_AT_ONCE: usize = 128 << 10;

/// Zeros are written up to the next multiple of this, in one go: the commit that comes to be the first of so many waits
/// for them as well.
const ZEROS_AHEAD: usize = 256 << 10;

/// Where so much comes at once, there are few syncs that zeros could make shorter, and much that would be written twice.
const MUCH: usize = 32 << 10;

/// An [`OutputFile`] of which parts may go past the page cache.
#[derive(Debug)]
pub(crate) struct CommitFile {
    file: OutputFile,
    /// What it takes to write blocks; nothing where the file is not written that way.
    blocks: Option<Blocks>,
    /// Whether something was appended after the last sync.
    is_unsynced: bool,
}

impl CommitFile {
    /// For a file that may hold anything behind its end: nothing of it is written over but by what is appended.
    pub(crate) fn over_content(file: OutputFile) -> Self {
        Self { file, blocks: None, is_unsynced: false }
    }

    /// For a file without any content yet, of `size` zeros. A file system that writes blocks to a new place each time
    /// gains nothing from what is done here for the others.
    pub(crate) fn over_zeros(file: OutputFile, size: u64) -> Self {
        let blocks = if file.directory().copies_on_write() { None } else { Blocks::new(size) };
        Self { file, blocks, is_unsynced: false }
    }

    /// Writes all of `data` after what was written before.
    pub(crate) fn append(&mut self, data: &[u8]) -> Result<(), StorageError> {
        self.is_unsynced = true;
        let length = self.file.length();
        if let Some(blocks) = &mut self.blocks {
            if std::mem::take(&mut blocks.is_on) {
                self.file.enter_page_cache()?;
            }
            blocks.pass_by(length, data);
        }
        self.file.append(data)
    }

    /// Writes all of `data` after what was written before, and makes durable all that was written.
    pub(crate) fn append_and_sync<T>(
        &mut self,
        data: &[u8],
        policy: SyncPolicy,
        reached: T,
    ) -> Result<Durable<T>, StorageError> {
        let is_direct = !self.is_unsynced && policy.syncs_each() && self.append_blocks(data)?;
        if !is_direct {
            self.append(data)?;
        }
        self.sync(policy, reached)
    }

    /// See [`OutputFile::begin_writeback`].
    pub(crate) fn begin_writeback(&mut self, policy: SyncPolicy) {
        self.file.begin_writeback(policy);
    }

    /// See [`OutputFile::sync`].
    pub(crate) fn sync<T>(&mut self, policy: SyncPolicy, reached: T) -> Result<Durable<T>, StorageError> {
        let durable = self.file.sync(policy, reached)?;
        self.is_unsynced = false;
        Ok(durable)
    }

    /// See [`OutputFile::close`].
    pub(crate) fn close(self) -> Result<(), StorageError> {
        self.file.close()
    }

    /// The end of what was written so far.
    pub(crate) fn length(&self) -> u64 {
        self.file.length()
    }

    /// Writes past the page cache what can be written that way. Gives false, and the file has not grown, where it cannot.
    fn append_blocks(&mut self, data: &[u8]) -> Result<bool, StorageError> {
        let Some(blocks) = self.blocks.as_mut().filter(|_| data.len() <= MOST_AT_ONCE) else {
            return Ok(false);
        };
        if !blocks.is_on {
            blocks.is_on = self.file.leave_page_cache();
        }
        if !blocks.is_on || !blocks.append(&mut self.file, data)? {
            self.file.enter_page_cache()?;
            self.blocks = None;
            return Ok(false);
        }
        if data.len() < MUCH {
            blocks.write_zeros_ahead(&self.file);
        }
        Ok(true)
    }
}

/// The blocks at the end of a file.
#[derive(Debug)]
struct Blocks {
    /// Has, from `aligned` on, what the last block of the file has.
    room: Vec<u8>,
    /// Where in the room an address is that blocks can be written from.
    aligned: usize,
    /// Whether the page cache was left.
    is_on: bool,
    /// Up to where the file was written to, zeros or not.
    zeroed: u64,
    /// The size of the file.
    size: u64,
}

impl Blocks {
    fn new(size: u64) -> Option<Self> {
        let room = vec![0; BLOCK + BLOCK + ZEROS_AHEAD];
        let aligned = room.as_ptr().align_offset(BLOCK);
        (aligned < BLOCK).then_some(Self { room, aligned, is_on: false, zeroed: 0, size })
    }

    /// Remembers of bytes that go through the page cache, behind the first `length` of the file, what the last block
    /// has.
    fn pass_by(&mut self, length: u64, data: &[u8]) {
        let head = within_block(length);
        let new_head = within_block(length + data.len() as u64);
        let last = &mut self.room[self.aligned..][..BLOCK];
        match data.len().checked_sub(new_head) {
            Some(before) => last[..new_head].copy_from_slice(&data[before..]),
            None => last[head..new_head].copy_from_slice(data),
        }
    }

    /// Writes the bytes behind those of the file. Gives false where they cannot be written in blocks.
    fn append(&mut self, file: &mut OutputFile, data: &[u8]) -> Result<bool, StorageError> {
        let head = within_block(file.length());
        let start = file.length() - head as u64;
        let filled = head + data.len();
        let blocks = &mut self.room[self.aligned..][..filled.next_multiple_of(BLOCK)];
        blocks[head..filled].copy_from_slice(data);
        blocks[filled..].fill(0);
        match file.write_at(start, blocks) {
            Ok(()) => file.grew(data.len()),
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(false),
            Err(errno) => return Err(file.write_failed(errno)),
        }
        let new_head = within_block(filled as u64);
        blocks.copy_within(filled - new_head..filled, 0);
        Ok(true)
    }

    /// Writes zeros behind the last block, if nothing was written there yet. It is no loss if that fails.
    fn write_zeros_ahead(&mut self, file: &OutputFile) {
        let end = file.length().next_multiple_of(BLOCK as u64);
        if end <= self.zeroed {
            return;
        }
        self.zeroed = end.next_multiple_of(ZEROS_AHEAD as u64).min(self.size);
        let zeros = &mut self.room[self.aligned + BLOCK..][..(self.zeroed - end) as usize];
        zeros.fill(0);
        // What is not zeros on the disk now is so by the file system's word, as before.
        let _ = file.write_at(end, zeros);
    }
}

// Blocks and zeros are gathered in the same room.
const _: () = assert!(MOST_AT_ONCE <= ZEROS_AHEAD);

fn within_block(length: u64) -> usize {
    (length % BLOCK as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    use super::super::directory::{Access, Directory};
    use super::*;

    const SIZE: u64 = 3 << 20;

    /// The number of the file system.
    const EXT4: i64 = 0xEF53;

    fn new_file(root: &Path) -> (CommitFile, PathBuf) {
        let mut file = OutputFile::create_new(&Directory::open(root).unwrap(), "f", Access::Owner).unwrap();
        file.allocate(SIZE).unwrap();
        (CommitFile::over_zeros(file, SIZE), root.join("f"))
    }

    /// Bytes none of which is zero, and which differ from those a block further on.
    fn bytes(from: u64, length: usize) -> Vec<u8> {
        (from..from + length as u64).map(|at| (at % 251 + 1) as u8).collect()
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Append(usize),
        Sync,
        AppendAndSync(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let length = || prop_oneof![Just(0), Just(BLOCK), Just(MOST_AT_ONCE), 1..9000usize, 1..200_000usize];
        let step = prop_oneof![
            1 => length().prop_map(Step::Append),
            1 => Just(Step::Sync),
            4 => length().prop_map(Step::AppendAndSync),
        ];
        proptest::collection::vec(step, 1..12)
    }

    /// Writes what the steps say and looks at the file after each.
    fn check(root: &Path, policy: SyncPolicy, steps: &[Step]) {
        let (mut file, path) = new_file(root);
        let mut written = Vec::new();
        for step in steps {
            if let Step::Append(length) | Step::AppendAndSync(length) = *step {
                written.extend(bytes(written.len() as u64, length));
            }
            let (all, before) = (written.len(), file.length() as usize);
            let durable = match step {
                Step::Append(_) => file.append(&written[before..]).map(|()| None),
                Step::Sync => file.sync(policy, all).map(Some),
                Step::AppendAndSync(_) => file.append_and_sync(&written[before..], policy, all).map(Some),
            };
            assert!(durable.unwrap().is_none_or(|durable| durable.value() == all));
            assert_eq!(file.length(), all as u64);
            let content = std::fs::read(&path).unwrap();
            assert_eq!(content.len() as u64, SIZE);
            assert!(content[..all] == written, "{step:?}");
            assert!(content[all..].iter().all(|&byte| byte == 0), "{step:?}");
        }
        file.close().unwrap();
        std::fs::remove_file(path).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn i_001_what_was_written_is_in_the_file_whichever_way_it_went(steps in steps()) {
            for policy in [SyncPolicy::Durable, SyncPolicy::Never] {
                check(tempfile::tempdir().unwrap().path(), policy, &steps);
            }
        }
    }

    #[test]
    fn a_file_is_filled_to_its_end_and_no_further() {
        let steps = vec![Step::AppendAndSync(MOST_AT_ONCE); SIZE as usize / MOST_AT_ONCE];
        check(tempfile::tempdir().unwrap().path(), SyncPolicy::Durable, &steps);
    }

    #[test]
    fn i_005_what_is_behind_the_end_of_a_file_with_content_stays() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("f");
        std::fs::write(&path, vec![7; 20_000]).unwrap();
        let directory = Directory::open(root.path()).unwrap();
        let mut file = CommitFile::over_content(OutputFile::open_existing(&directory, "f", 5000).unwrap());
        file.append_and_sync(b"wal", SyncPolicy::Durable, ()).unwrap();
        let mut expected = vec![7; 20_000];
        expected[5000..5003].copy_from_slice(b"wal");
        assert_eq!(std::fs::read(&path).unwrap(), expected);
    }

    #[test]
    fn where_blocks_cannot_be_written_the_page_cache_is_used() {
        let root = tempfile::tempdir().unwrap();
        let (mut file, path) = new_file(root.path());
        // Not a multiple of what any disk writes: the system refuses it where it looks.
        file.blocks.as_mut().unwrap().aligned += 1;
        file.append_and_sync(b"first", SyncPolicy::Durable, ()).unwrap();
        if rustix::fs::statfs(root.path()).unwrap().f_type == EXT4 {
            assert!(file.blocks.is_none());
        }
        file.append_and_sync(b"second", SyncPolicy::Durable, ()).unwrap();
        let mut start = [0; 12];
        std::fs::File::open(path).unwrap().read_exact_at(&mut start, 0).unwrap();
        assert_eq!(&start, b"firstsecond\0");
    }

    #[test]
    fn i_011_after_a_write_that_failed_nothing_is_durable() {
        for policy in [SyncPolicy::Durable, SyncPolicy::Never] {
            let mut file = CommitFile::over_zeros(OutputFile::over("/dev/full"), SIZE);
            assert!(matches!(file.append_and_sync(b"wal", policy, ()), Err(StorageError::WriteFile { .. })));
            assert!(matches!(file.sync(policy, ()), Err(StorageError::Sync { .. })));
        }
    }
}
