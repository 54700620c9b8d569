//! The files of a backup that are too many to be remembered one by one.
//!
//! In: files that arrived, then files that the manifest lists. Out: whether they are the same ones. What is kept is one
//! number, the sum of the digests of those that arrived less that of those that are listed: it tells that there is a
//! difference, but not in which file.

use sha2::{Digest, Sha256};

/// A sum over files, of which none is kept.
#[derive(Debug)]
pub(super) struct NamelessFiles {
    /// Makes the digests unknown to a server, so that it cannot choose files whose sums are the same.
    key: [u8; 32],
    /// In each lane modulo 2⁶⁴.
    sum: [u64; 4],
    arrived: u64,
    listed: u64,
}

impl NamelessFiles {
    pub(super) fn new() -> Self {
        let mut key = [0; 32];
        // Without randomness it is still a checksum against accidents.
        let _ = getrandom::fill(&mut key);
        Self { key, sum: [0; 4], arrived: 0, listed: 0 }
    }

    /// A file has arrived.
    pub(super) fn add(&mut self, path: &[u8], size: u64, checksum: &[u8]) {
        self.arrived += 1;
        let digest = self.digest(path, size, checksum);
        self.sum = std::array::from_fn(|lane| self.sum[lane].wrapping_add(digest[lane]));
    }

    /// The manifest lists a file; says whether one can have arrived that it is.
    pub(super) fn take(&mut self, path: &[u8], size: u64, checksum: &[u8]) -> bool {
        self.listed += 1;
        let digest = self.digest(path, size, checksum);
        self.sum = std::array::from_fn(|lane| self.sum[lane].wrapping_sub(digest[lane]));
        self.listed <= self.arrived
    }

    /// Whether the files that are listed are those that arrived.
    pub(super) fn are_the_same(&self) -> bool {
        self.arrived == self.listed && self.sum == [0; 4]
    }

    fn digest(&self, path: &[u8], size: u64, checksum: &[u8]) -> [u64; 4] {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update((path.len() as u64).to_be_bytes());
        hash.update(path);
        hash.update(size.to_be_bytes());
        hash.update(checksum);
        let digest = hash.finalize();
        let mut lanes =
            digest.chunks_exact(8).map(|lane| lane.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)));
        std::array::from_fn(|_| lanes.next().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type File = (&'static str, u64, &'static str);

    const FILES: [File; 3] = [("a", 1, "x"), ("b", 2, "y"), ("c", 0, "")];

    fn are_the_same(listed: &[File]) -> bool {
        let mut files = NamelessFiles::new();
        for (path, size, checksum) in FILES {
            files.add(path.as_bytes(), size, checksum.as_bytes());
        }
        for (path, size, checksum) in listed {
            files.take(path.as_bytes(), *size, checksum.as_bytes());
        }
        files.are_the_same()
    }

    #[test]
    fn bb_222_to_227_any_difference_is_noticed_and_the_order_is_none() {
        let [a, b, c] = FILES;
        assert!(are_the_same(&[a, b, c]) && are_the_same(&[c, a, b]));
        for listed in [
            &[a, b][..],
            &[a, b, c, ("d", 0, "")],
            &[a, b, b],
            &[a, b, ("c", 1, "")],
            &[a, b, ("d", 0, "")],
            &[("a", 1, "y"), b, c],
            &[("a", 1, "y"), ("b", 2, "x"), c],
            &[],
        ] {
            assert!(!are_the_same(listed), "{listed:?}");
        }
    }

    #[test]
    fn more_files_than_arrived_cannot_be_listed() {
        let mut files = NamelessFiles::new();
        files.add(b"a", 0, b"");
        assert!(files.take(b"a", 0, b""));
        assert!(!files.take(b"a", 0, b""));
    }
}
