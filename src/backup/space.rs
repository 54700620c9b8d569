//! Whether what the server is going to send fits where it goes.
//!
//! In come the server's estimates and open directories; out come the file systems that have too little room. Nothing
//! is refused because of them: an estimate may be wrong, and a file system may grow.

use std::path::PathBuf;

use super::destination::Destination;
use super::location::ArchiveLocation;
use crate::protocol::Tablespace;
use crate::storage::{Directory, FreeSpace};

/// A file system with less room than the backup is going to take on it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LittleSpace {
    /// A directory of the backup that lies on it.
    pub path: PathBuf,
    /// The bytes that are going to be written there, by the server's estimate.
    pub needed: u64,
    /// The bytes that can be written there.
    pub free: u64,
}

impl LittleSpace {
    /// The file systems that have too little for these tablespaces and `wal` bytes of WAL. One that does not say what
    /// room it has is not among them.
    pub(super) fn of<D: Destination>(
        destination: &D,
        tablespaces: &[Tablespace],
        locations: &[ArchiveLocation],
        wal: u64,
    ) -> Vec<Self> {
        let mut demand = Demand::default();
        for (tablespace, location) in tablespaces.iter().zip(locations) {
            // In units of 1024 bytes (BB-084).
            demand.add(destination.directory_of(location), tablespace.size.saturating_mul(1024));
        }
        demand.add(destination.wal_directory(), wal);
        demand
            .file_systems
            .into_iter()
            .filter_map(|(_, space)| (space.needed > space.free).then_some(space))
            .collect()
    }
}

/// What is going to be written, by file system.
#[derive(Debug, Default)]
struct Demand {
    file_systems: Vec<(u64, LittleSpace)>,
}

impl Demand {
    fn add(&mut self, directory: Option<&Directory>, bytes: u64) {
        let Some(directory) = directory else { return };
        let Some(FreeSpace { file_system, bytes: free }) = directory.free_space() else { return };
        if let Some((_, space)) = self.file_systems.iter_mut().find(|(known, _)| *known == file_system) {
            space.needed = space.needed.saturating_add(bytes);
        } else {
            let path = directory.path().to_owned();
            self.file_systems.push((file_system, LittleSpace { path, needed: bytes, free }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_to_one_file_system_is_added_up() {
        let root = tempfile::tempdir().unwrap();
        let (first, second) = (root.path().join("1"), root.path().join("2"));
        let mut demand = Demand::default();
        for path in [&first, &second] {
            std::fs::create_dir(path).unwrap();
            demand.add(Some(&*Directory::open(path).unwrap()), 7);
        }
        demand.add(None, 1 << 40);
        let [(_, space)] = &demand.file_systems[..] else { panic!("{demand:?}") };
        assert_eq!((&space.path, space.needed), (&first, 14));
        assert!(space.free > 0);
    }
}
