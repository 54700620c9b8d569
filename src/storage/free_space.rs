//! How much room there is where a directory lies.

use rustix::fs::StatFs;
use rustix::process::Uid;

use super::directory::Directory;

/// The room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeSpace {
    /// The system's number of the file system.
    pub file_system: u64,
    /// The bytes that can be written to it.
    pub bytes: u64,
}

/// File systems that compress what is written, or get more room from a pool of disks when they need it: the numbers that
/// they give are no bound for what can be written. All of them write each block to a new place.
const ELASTIC: [u32; 3] = [ZFS, BTRFS, BCACHEFS];

const ZFS: u32 = 0x2FC1_2FC1;
const BTRFS: u32 = 0x9123_683E;
const BCACHEFS: u32 = 0xCA45_1A4E;

impl Directory {
    /// The room on the file system of this directory; none where that does not say, or where what it says is no bound.
    pub fn free_space(&self) -> Option<FreeSpace> {
        let file_system = rustix::fs::fstat(self).ok()?.st_dev;
        let bytes = bytes_free(&rustix::fs::fstatfs(self).ok()?, rustix::process::geteuid())?;
        Some(FreeSpace { file_system, bytes })
    }

    /// Whether what is written over goes to another place of the disk.
    pub(super) fn copies_on_write(&self) -> bool {
        rustix::fs::fstatfs(self).is_ok_and(|room| is_elastic(&room))
    }
}

/// The bytes that this user can write.
fn bytes_free(room: &StatFs, user: Uid) -> Option<u64> {
    // Some that live over a network have no size.
    if is_elastic(room) || room.f_blocks == 0 {
        return None;
    }
    // What is reserved is reserved for root.
    let blocks = if user.is_root() { room.f_bfree } else { room.f_bavail };
    let block_size = if room.f_frsize > 0 { room.f_frsize } else { room.f_bsize };
    Some(blocks.saturating_mul(u64::try_from(block_size).unwrap_or(0)))
}

fn is_elastic(room: &StatFs) -> bool {
    ELASTIC.iter().any(|&kind| i128::from(room.f_type) & 0xFFFF_FFFF == i128::from(kind))
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

    #[test]
    fn what_is_reserved_counts_for_root_alone_and_what_can_grow_has_no_bound() {
        let mut room = rustix::fs::statfs("/").unwrap();
        (room.f_blocks, room.f_bfree, room.f_bavail) = (1000, 100, 40);
        (room.f_bsize, room.f_frsize) = (65_536, 4096);
        let user = Uid::from_raw(1000);
        let ext4 = 0xEF53;
        for (kind, user, expected) in [
            (ext4, user, Some(40 * 4096)),
            (ext4, Uid::ROOT, Some(100 * 4096)),
            (ZFS.into(), user, None),
            (BTRFS.into(), user, None),
            (BCACHEFS.into(), Uid::ROOT, None),
        ] {
            room.f_type = kind;
            assert_eq!(bytes_free(&room, user), expected, "{kind:x}");
        }
        (room.f_type, room.f_frsize) = (ext4, 0);
        assert_eq!(bytes_free(&room, user), Some(40 * 65_536));
    }
}
