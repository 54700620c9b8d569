//! How much room there is where a directory lies.

use super::directory::Directory;

/// The room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeSpace {
    /// The system's number of the file system.
    pub file_system: u64,
    /// The bytes that can be written to it.
    pub bytes: u64,
}

impl Directory {
    /// The room on the file system of this directory; none where that does not say.
    pub fn free_space(&self) -> Option<FreeSpace> {
        let file_system = rustix::fs::fstat(self).ok()?.st_dev;
        let room = rustix::fs::fstatvfs(self).ok()?;
        // Some that live over a network have no size.
        (room.f_blocks > 0)
            .then(|| FreeSpace { file_system, bytes: room.f_bavail.saturating_mul(room.f_frsize) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_says_what_room_it_has_or_nothing() {
        let root = tempfile::tempdir().unwrap();
        assert!(Directory::open(root.path()).unwrap().free_space().is_some_and(|space| space.bytes > 0));
        assert_eq!(Directory::open("/proc").unwrap().free_space(), None);
    }
}
