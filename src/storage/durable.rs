//! Files whose bytes survive: created, written, synced, renamed; within this crate the only maker of [`Durable`].
//!
//! What comes in is bytes and what they stand for; what goes out is a proof that they are on disk,
//! name and all. A value becomes `Durable` only after the file's data *and* the directory entry that
//! leads to it were synced, and never after anything about the file has failed.

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{Advice, AtFlags, FallocateFlags, Mode, OFlags, RawMode, RenameFlags, SeekFrom};
use rustix::io::{Errno, retry_on_intr};

use super::directory::{Access, Directory, os_error};
use super::error::StorageError;
use super::sync_policy::SyncPolicy;
use crate::types::Lsn;

/// Something that a power failure cannot take away, as far as the [`SyncPolicy`] promises.
///
/// It is made where the syncing is done, so that whoever holds one need not ask who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Durable<T>(T);

impl<T: Copy> Durable<T> {
    /// What is durable.
    pub const fn value(self) -> T {
        self.0
    }

    /// The door for those who make things durable their own way, as in an object store or by a quorum of machines:
    /// the caller promises that no power failure can take `value` away. Positions end up with the server, which then
    /// removes WAL and confirms commits: with a promise that is not kept, both are lost for good.
    ///
    /// ```
    /// use pgsiphon::storage::Durable;
    /// use pgsiphon::types::Lsn;
    ///
    /// # fn upload(_: &[u8]) -> std::io::Result<()> { Ok(()) }
    /// let (wal, end) = (b"...", Lsn::new(0x300_0000));
    /// upload(wal)?;
    /// let stored = Durable::vouched_for(end);
    /// assert_eq!(stored.value(), end);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub const fn vouched_for(value: T) -> Self {
        Self(value)
    }
}

impl Durable<Lsn> {
    /// The position at which receiving starts. Nothing before it was asked for, so nothing before it
    /// can be lost.
    pub(crate) const fn nothing_before(start: Lsn) -> Self {
        Self(start)
    }
}

/// A file that this program writes from front to end, from the beginning or from where it stopped.
///
/// Once a write or sync has failed, no later sync of it succeeds. Whoever wants what was written
/// [closes](Self::close) it: dropping it closes it too, and tells nobody what became of the bytes.
#[derive(Debug)]
pub struct OutputFile {
    handle: OwnedFd,
    path: PathBuf,
    directory: Arc<Directory>,
    /// The end of what was written so far.
    length: u64,
    /// The end of those bytes whose way to the disk has begun; at most `length`.
    writeback: u64,
    entry_synced: bool,
    failed: bool,
}

impl OutputFile {
    /// How much is written before its way to the disk begins.
    const WRITEBACK: u64 = 1 << 20;

    /// Creates `name` in the directory, where nothing of that name may be.
    pub fn create_new(directory: &Arc<Directory>, name: &str, access: Access) -> Result<Self, StorageError> {
        Self::open(directory, Path::new(name), OFlags::EXCL, access.file_mode())
    }

    /// Creates `name` in the directory with exactly these permission bits; nothing of that name may exist.
    pub fn create_with_mode(
        directory: &Arc<Directory>,
        name: &OsStr,
        mode: u32,
    ) -> Result<Self, StorageError> {
        Self::open(directory, Path::new(name), OFlags::EXCL, mode)
    }

    /// Creates `name` in the directory, or empties the file of that name. A symbolic link is refused.
    pub fn create_or_empty(
        directory: &Arc<Directory>,
        name: &str,
        access: Access,
    ) -> Result<Self, StorageError> {
        let how = OFlags::TRUNC | OFlags::NOFOLLOW;
        Self::open(directory, Path::new(name), how, access.file_mode())
    }

    /// Opens the file `name`, which must exist, to write on from `offset`. What is there stays until it is written
    /// over. A symbolic link is refused.
    pub fn open_existing(directory: &Arc<Directory>, name: &str, offset: u64) -> Result<Self, StorageError> {
        let path = directory.path().join(name);
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let opened = retry_on_intr(|| rustix::fs::openat(directory, name, flags, Mode::empty()))
            .and_then(|handle| rustix::fs::seek(&handle, SeekFrom::Start(offset)).map(|_| handle));
        match opened {
            Ok(handle) => Ok(Self::of(handle, path, directory, offset)),
            Err(errno) => Err(StorageError::OpenFile { path, source: os_error(errno) }),
        }
    }

    fn open(directory: &Arc<Directory>, name: &Path, how: OFlags, mode: u32) -> Result<Self, StorageError> {
        let path = directory.path().join(name);
        let mode = Mode::from_raw_mode(mode as RawMode);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | how;
        let handle = match retry_on_intr(|| rustix::fs::openat(directory, name, flags, mode)) {
            Ok(handle) => handle,
            Err(errno) => return Err(StorageError::CreateFile { path, source: os_error(errno) }),
        };
        // The umask may have taken bits away.
        if let Err(errno) = rustix::fs::fchmod(&handle, mode) {
            return Err(StorageError::SetPermissions { path, source: os_error(errno) });
        }
        Ok(Self::of(handle, path, directory, 0))
    }

    fn of(handle: OwnedFd, path: PathBuf, directory: &Arc<Directory>, length: u64) -> Self {
        let directory = Arc::clone(directory);
        Self { handle, path, directory, length, writeback: length, entry_synced: false, failed: false }
    }

    /// Cuts the file off behind so many bytes, or lets that many zeros follow what is there, without asking the disk
    /// for the space.
    pub fn set_length(&mut self, length: u64) -> Result<(), StorageError> {
        let set = retry_on_intr(|| rustix::fs::ftruncate(&self.handle, length));
        set.map_err(|errno| self.write_failed(errno))
    }

    /// Makes the file `length` bytes long, zeros where nothing was written, and takes the space for
    /// them from the disk where the file system can do that without writing.
    pub fn allocate(&mut self, length: u64) -> Result<(), StorageError> {
        let taken = retry_on_intr(|| rustix::fs::fallocate(&self.handle, FallocateFlags::empty(), 0, length));
        let done = match taken {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                retry_on_intr(|| rustix::fs::ftruncate(&self.handle, length))
            }
            other => other,
        };
        done.map_err(|errno| self.write_failed(errno))
    }

    /// Writes all of `data` after what was written before.
    pub fn append(&mut self, mut data: &[u8]) -> Result<(), StorageError> {
        while !data.is_empty() {
            match retry_on_intr(|| rustix::io::write(&self.handle, data)) {
                Ok(0) => return Err(self.write_failed(Errno::NOSPC)),
                Ok(written) => {
                    data = &data[written..];
                    self.length += written as u64;
                }
                Err(errno) => return Err(self.write_failed(errno)),
            }
        }
        Ok(())
    }

    /// Writes all of the pieces after what was written before, with as few system calls as they allow.
    pub fn append_pieces(&mut self, pieces: &[Bytes]) -> Result<(), StorageError> {
        const MOST_AT_ONCE: usize = 64;
        let mut done = 0;
        while done < pieces.len() {
            let slices: Vec<IoSlice<'_>> =
                pieces[done..].iter().take(MOST_AT_ONCE).map(|piece| IoSlice::new(piece)).collect();
            let written = match retry_on_intr(|| rustix::io::writev(&self.handle, &slices)) {
                Ok(written) => written,
                Err(errno) => return Err(self.write_failed(errno)),
            };
            self.length += written as u64;
            let mut left = written;
            while let Some(piece) = pieces.get(done).filter(|piece| piece.len() <= left) {
                left -= piece.len();
                done += 1;
            }
            // What a write took in part is written on by itself; one that took nothing says why this way.
            if let Some(piece) = pieces.get(done).filter(|_| left > 0 || written == 0) {
                self.append(&piece[left..])?;
                done += 1;
            }
        }
        Ok(())
    }

    /// Lets the disk begin with what was written, a megabyte or more at a time, so that a sync that
    /// follows has less to wait for. Promises nothing and waits for nothing.
    pub fn begin_writeback(&mut self, policy: SyncPolicy) {
        if self.length - self.writeback >= Self::WRITEBACK {
            self.finish_writeback(policy);
        }
    }

    /// Lets the disk begin with all that was written.
    pub fn finish_writeback(&mut self, policy: SyncPolicy) {
        let length = NonZeroU64::new(self.length - self.writeback);
        if policy == SyncPolicy::Never || length.is_none() {
            return;
        }
        // Pages that are dirty are not dropped by this, but written; it is no loss if it fails.
        let _ = rustix::fs::fadvise(&self.handle, self.writeback, length, Advice::DontNeed);
        self.writeback = self.length;
    }

    /// Syncs the file's bytes and its name, and then calls `reached` durable: what the caller has
    /// written up to now.
    pub fn sync<T>(&mut self, policy: SyncPolicy, reached: T) -> Result<Durable<T>, StorageError> {
        if self.failed {
            return Err(self.sync_failed(Errno::IO));
        }
        if policy.syncs_each() {
            retry_on_intr(|| rustix::fs::fdatasync(&self.handle)).map_err(|errno| self.sync_failed(errno))?;
            if !self.entry_synced {
                self.directory.sync(policy).inspect_err(|_| self.failed = true)?;
                self.entry_synced = true;
            }
        }
        Ok(Durable(reached))
    }

    /// Syncs the file itself with its permissions; the name that leads to it is left to whoever syncs the
    /// directory.
    pub fn sync_content(&mut self, policy: SyncPolicy) -> Result<(), StorageError> {
        if self.failed {
            return Err(self.sync_failed(Errno::IO));
        }
        if policy.syncs_each() {
            retry_on_intr(|| rustix::fs::fsync(&self.handle)).map_err(|errno| self.sync_failed(errno))?;
        }
        Ok(())
    }

    /// From now on writes go past the page cache. False where the file system has no such thing.
    pub(super) fn leave_page_cache(&mut self) -> bool {
        rustix::fs::fcntl_setfl(&self.handle, OFlags::DIRECT).is_ok()
    }

    /// From now on writes go through the page cache, as at the beginning.
    pub(super) fn enter_page_cache(&mut self) -> Result<(), StorageError> {
        let entered = rustix::fs::fcntl_setfl(&self.handle, OFlags::empty())
            .and_then(|()| rustix::fs::seek(&self.handle, SeekFrom::Start(self.length)));
        entered.map(drop).map_err(|errno| self.write_failed(errno))
    }

    /// Writes all of `data` at `offset`, wherever the end is. Whether that was a failure of the file is for the caller to
    /// say.
    pub(super) fn write_at(&self, mut offset: u64, mut data: &[u8]) -> Result<(), Errno> {
        while !data.is_empty() {
            match retry_on_intr(|| rustix::io::pwrite(&self.handle, data, offset))? {
                0 => return Err(Errno::NOSPC),
                written => {
                    data = &data[written..];
                    offset += written as u64;
                }
            }
        }
        Ok(())
    }

    /// So many bytes were written behind those before.
    pub(super) fn grew(&mut self, appended: usize) {
        self.length += appended as u64;
    }

    /// Closes the file, whose last bytes may only now turn out not to fit: over a network, or beyond a quota, nothing
    /// else tells of that where nothing is synced.
    pub fn close(self) -> Result<(), StorageError> {
        let Self { handle, path, .. } = self;
        nix::unistd::close(handle)
            .map_err(|errno| StorageError::CloseFile { path, source: io::Error::from(errno).into() })
    }

    /// The end of what was written so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Where the file lies.
    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn write_failed(&mut self, errno: Errno) -> StorageError {
        self.failed = true;
        StorageError::WriteFile { path: self.path.clone(), source: os_error(errno) }
    }

    fn sync_failed(&mut self, errno: Errno) -> StorageError {
        self.failed = true;
        StorageError::Sync { path: self.path.clone(), source: os_error(errno) }
    }
}

/// Gives `name` the content, so that at every instant there is either what was there before or all
/// of the new content, also after a power failure.
///
/// The content is prepared as `name` with `.tmp` after it, which is gone afterwards.
pub fn replace_durably(
    directory: &Arc<Directory>,
    name: &str,
    content: &[u8],
    access: Access,
    policy: SyncPolicy,
) -> Result<(), StorageError> {
    let temporary = format!("{name}.tmp");
    let replaced = write_durably(directory, &temporary, content, access, policy)
        .and_then(|_| rename(directory, &temporary, name));
    if replaced.is_err() {
        // The failure that is reported matters more than one to tidy up.
        let _ = rustix::fs::unlinkat(directory, &temporary, AtFlags::empty());
    }
    replaced?;
    directory.sync(policy)
}

fn write_durably(
    directory: &Arc<Directory>,
    name: &str,
    content: &[u8],
    access: Access,
    policy: SyncPolicy,
) -> Result<Durable<()>, StorageError> {
    let mut file = OutputFile::create_or_empty(directory, name, access)?;
    file.append(content)?;
    let durable = file.sync(policy, ())?;
    file.close()?;
    Ok(durable)
}

/// Makes durable what a file has that this program did not write now, and its name, and then calls `reached` durable.
pub fn sync_existing<T>(
    directory: &Arc<Directory>,
    name: &str,
    policy: SyncPolicy,
    reached: T,
) -> Result<Durable<T>, StorageError> {
    if policy.syncs_each() {
        directory.open_file(name)?.sync(policy)?;
        directory.sync(policy)?;
    }
    Ok(Durable(reached))
}

/// Gives a file that is synced its final name, and makes the name durable. False, and nothing is changed, where
/// something has the name already.
pub fn publish_new_durably(
    directory: &Directory,
    from: &str,
    to: &str,
    policy: SyncPolicy,
) -> Result<bool, StorageError> {
    match rustix::fs::renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(false),
        // Not every file system can do that; nobody else is to make names here meanwhile.
        Err(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => {
            if directory.contains(to)? {
                return Ok(false);
            }
            rename(directory, from, to)?;
        }
        Err(errno) => return Err(rename_failed(directory, from, to, errno)),
    }
    directory.sync(policy.for_single_files())?;
    Ok(true)
}

/// Gives a file that is synced its final name, and makes the name durable.
pub fn publish_durably(
    directory: &Directory,
    from: &str,
    to: &str,
    policy: SyncPolicy,
) -> Result<(), StorageError> {
    rename(directory, from, to)?;
    directory.sync(policy.for_single_files())
}

/// The same, but the file has its former name again where the new one could not be made durable: durably so, as far as
/// the disk still does anything.
pub fn publish_durably_or_not(
    directory: &Directory,
    from: &str,
    to: &str,
    policy: SyncPolicy,
) -> Result<(), StorageError> {
    rename(directory, from, to)?;
    directory.sync(policy.for_single_files()).inspect_err(|_| {
        // The failure that is reported matters more than one to tidy up.
        let _ = publish_durably(directory, to, from, policy);
    })
}

fn rename(directory: &Directory, from: &str, to: &str) -> Result<(), StorageError> {
    rustix::fs::renameat(directory, from, directory, to)
        .map_err(|errno| rename_failed(directory, from, to, errno))
}

fn rename_failed(directory: &Directory, from: &str, to: &str, errno: Errno) -> StorageError {
    StorageError::Rename {
        from: directory.path().join(from),
        to: directory.path().join(to),
        source: os_error(errno),
    }
}

#[cfg(test)]
impl OutputFile {
    /// A file that is really something else, such as a device, which is left as it is.
    pub(crate) fn over(special: &str) -> Self {
        let handle = rustix::fs::openat(rustix::fs::CWD, special, OFlags::RDWR, Mode::empty()).unwrap();
        Self {
            handle,
            path: special.into(),
            directory: Directory::open("/").unwrap(),
            length: 0,
            writeback: 0,
            entry_synced: true,
            failed: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn fixture() -> (tempfile::TempDir, Arc<Directory>) {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        (root, directory)
    }

    /// Everything above the tests of the sources below `directory`, without comments.
    fn code_below(directory: &Path, code: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                code_below(&path, code);
            } else {
                let source = std::fs::read_to_string(&path).unwrap();
                let above_tests = source.split("#[cfg(test)]\nmod ").next().unwrap();
                let is_code = |line: &&str| !line.trim_start().starts_with("//");
                code.push((path, above_tests.lines().filter(is_code).collect()));
            }
        }
    }

    #[test]
    fn i_001_nothing_in_this_crate_only_vouches() {
        let mut code = Vec::new();
        code_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut code);
        let vouching: Vec<_> =
            code.iter().filter(|(_, code)| code.contains("vouched_for")).map(|(path, _)| path).collect();
        assert_eq!(
            vouching,
            [Path::new(env!("CARGO_MANIFEST_DIR")).join("src/storage/durable.rs").as_path()]
        );
    }

    #[test]
    fn bb_197_an_allocated_file_is_all_there_and_zero_after_what_was_written() {
        let (root, directory) = fixture();
        let mut file = OutputFile::create_new(&directory, "f", Access::Group).unwrap();
        file.allocate(3 << 20).unwrap();
        for _ in 0..2 {
            file.append(&vec![7; 600_000]).unwrap();
            file.begin_writeback(SyncPolicy::Durable);
        }
        assert_eq!(file.sync(SyncPolicy::Durable, 5).unwrap().value(), 5);
        assert_eq!(file.length(), 1_200_000);
        let content = std::fs::read(root.path().join("f")).unwrap();
        assert_eq!(content.len(), 3 << 20);
        assert!(content[..1_200_000].iter().all(|&byte| byte == 7));
        assert!(content[1_200_000..].iter().all(|&byte| byte == 0));
        let mode = root.path().join("f").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
    }

    #[test]
    fn neither_a_file_nor_a_link_in_the_way_is_written_to() {
        let (root, directory) = fixture();
        std::fs::write(root.path().join("precious"), "precious").unwrap();
        std::os::unix::fs::symlink("precious", root.path().join("link")).unwrap();
        for name in ["precious", "link"] {
            let error = OutputFile::create_new(&directory, name, Access::Owner).unwrap_err();
            assert_eq!(error.source().unwrap().to_string(), "File exists");
        }
        let error = OutputFile::create_or_empty(&directory, "link", Access::Owner).unwrap_err();
        let path = root.path().join("link");
        assert_eq!(error.to_string(), format!("could not create file \"{}\"", path.display()));
        assert_eq!(std::fs::read_to_string(root.path().join("precious")).unwrap(), "precious");
    }

    #[test]
    fn rw_154_a_full_disk_is_named_and_nothing_of_the_file_is_durable_any_more() {
        let mut file = OutputFile::over("/dev/full");
        let error = file.append(b"wal").unwrap_err();
        assert_eq!(error.to_string(), "could not write to file \"/dev/full\"");
        assert_eq!(error.source().unwrap().to_string(), "No space left on device");
        assert!(error.is_retryable());
        assert!(matches!(file.sync(SyncPolicy::Durable, ()), Err(StorageError::Sync { .. })));
        assert!(matches!(file.sync(SyncPolicy::Never, ()), Err(StorageError::Sync { .. })));
    }

    #[test]
    fn rw_159_a_failed_sync_is_final_even_if_the_next_would_work() {
        let (_root, directory) = fixture();
        let good = OutputFile::create_new(&directory, "good", Access::Owner).unwrap();
        let mut file = OutputFile::over("/dev/full");
        let error = file.sync(SyncPolicy::Durable, ()).unwrap_err();
        assert_eq!(error.to_string(), "could not fsync file \"/dev/full\"");
        assert_eq!(error.source().unwrap().to_string(), "Invalid argument");
        assert!(!error.is_retryable());
        file.handle = good.handle;
        assert!(matches!(file.sync(SyncPolicy::Durable, ()), Err(StorageError::Sync { .. })));
    }

    #[test]
    fn rw_145_an_existing_file_is_written_on_and_keeps_what_is_not_written_over() {
        let (root, directory) = fixture();
        std::fs::write(root.path().join("f"), "abcdefgh").unwrap();
        let mut file = OutputFile::open_existing(&directory, "f", 2).unwrap();
        file.append(b"XY").unwrap();
        assert_eq!(file.length(), 4);
        assert_eq!(file.sync(SyncPolicy::Durable, 7).unwrap().value(), 7);
        assert_eq!(std::fs::read(root.path().join("f")).unwrap(), b"abXYefgh");
        file.allocate(10).unwrap();
        assert_eq!(std::fs::read(root.path().join("f")).unwrap(), b"abXYefgh\0\0");
        file.set_length(5).unwrap();
        assert_eq!(std::fs::read(root.path().join("f")).unwrap(), b"abXYe");
        assert_eq!(sync_existing(&directory, "f", SyncPolicy::Durable, 9).unwrap().value(), 9);

        std::os::unix::fs::symlink("f", root.path().join("link")).unwrap();
        for name in ["link", "none"] {
            let error = OutputFile::open_existing(&directory, name, 0).unwrap_err();
            let path = root.path().join(name);
            assert_eq!(error.to_string(), format!("could not open file \"{}\"", path.display()));
        }
    }

    #[test]
    fn rw_165_a_name_that_is_taken_is_not_taken_away() {
        let (root, directory) = fixture();
        for name in ["one", "two"] {
            std::fs::write(root.path().join(name), name).unwrap();
        }
        assert!(!publish_new_durably(&directory, "one", "two", SyncPolicy::Durable).unwrap());
        assert_eq!(std::fs::read_to_string(root.path().join("two")).unwrap(), "two");
        assert!(publish_new_durably(&directory, "one", "three", SyncPolicy::Durable).unwrap());
        assert_eq!(std::fs::read_to_string(root.path().join("three")).unwrap(), "one");
        let error = publish_new_durably(&directory, "one", "four", SyncPolicy::Never).unwrap_err();
        assert!(matches!(error, StorageError::Rename { .. }), "{error}");
    }

    #[test]
    fn rw_174_replacing_leaves_the_new_content_and_nothing_else() {
        let (root, directory) = fixture();
        std::fs::write(root.path().join("h.tmp"), "left over, and longer than what comes").unwrap();
        for content in ["first", "second"] {
            replace_durably(&directory, "h", content.as_bytes(), Access::Owner, SyncPolicy::Durable).unwrap();
            assert_eq!(std::fs::read_to_string(root.path().join("h")).unwrap(), content);
            assert!(!directory.contains("h.tmp").unwrap());
        }
    }

    #[test]
    fn rw_167_a_failed_rename_is_reported_and_tidied_up() {
        let (root, directory) = fixture();
        std::fs::create_dir(root.path().join("h")).unwrap();
        let error = replace_durably(&directory, "h", b"x", Access::Owner, SyncPolicy::Never).unwrap_err();
        let (from, to) = (root.path().join("h.tmp"), root.path().join("h"));
        let expected = format!("could not rename file \"{}\" to \"{}\"", from.display(), to.display());
        assert_eq!(error.to_string(), expected);
        assert!(!directory.contains("h.tmp").unwrap());
    }
}
