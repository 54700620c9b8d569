use std::fmt;

use crc_fast::{CrcAlgorithm, Digest};

/// The checksum that PostgreSQL takes of WAL records, of its control file and, unless told otherwise, of the files in a
/// backup (CRC-32C, also called Castagnoli's or iSCSI's), made while bytes pass.
#[derive(Clone)]
pub(crate) struct Crc32c(State);

#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "there are few, and a box costs more than their room")]
enum State {
    /// By the instructions for this checksum, or by tables where there are none.
    Narrow(u32),
    /// By AVX-512.
    Wide(Digest),
}

impl Crc32c {
    /// Of no bytes yet.
    pub(crate) fn new() -> Self {
        Self(if is_wide() { State::wide() } else { State::Narrow(0) })
    }

    /// Of these bytes alone.
    pub(crate) fn of(bytes: &[u8]) -> u32 {
        crc32c::crc32c(bytes)
    }

    /// Forgets the bytes so far, for less than what a new one costs.
    pub(crate) fn restart(&mut self) {
        match &mut self.0 {
            State::Narrow(crc) => *crc = 0,
            State::Wide(digest) => digest.reset(),
        }
    }

    /// Takes in the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Narrow(crc) => *crc = crc32c::crc32c_append(*crc, bytes),
            State::Wide(digest) => digest.update(bytes),
        }
    }

    /// The checksum of all bytes taken in.
    pub(crate) fn value(&self) -> u32 {
        match &self.0 {
            State::Narrow(crc) => *crc,
            State::Wide(digest) => digest.finalize() as u32,
        }
    }
}

impl State {
    fn wide() -> Self {
        Self::Wide(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }
}

/// Whether the processor has what crc-fast is several times faster with. Where it lacks less than that, crc-fast falls
/// back to tables although there are instructions for this very checksum.
#[cfg(target_arch = "x86_64")]
fn is_wide() -> bool {
    is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("vpclmulqdq")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("sse4.2")
}

#[cfg(not(target_arch = "x86_64"))]
fn is_wide() -> bool {
    false
}

impl fmt::Debug for Crc32c {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crc32c({:08x})", self.value())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The value that catalogues of checksums give for this one.
    #[test]
    fn it_is_castagnolis() {
        assert_eq!(Crc32c::of(b"123456789"), 0xE306_9283);
        for state in [State::Narrow(0), State::wide()] {
            let mut crc = Crc32c(state);
            assert_eq!(crc.value(), 0);
            crc.update(b"123456789");
            assert_eq!(crc.value(), 0xE306_9283);
        }
    }

    proptest! {
        #[test]
        fn both_ways_give_the_same_however_the_bytes_come(
            bytes in proptest::collection::vec(any::<u8>(), 0..50_000),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            for state in [State::Narrow(0), State::wide()] {
                let mut crc = Crc32c(state);
                for _ in 0..2 {
                    crc.restart();
                    for cut in cuts.windows(2) {
                        crc.update(&bytes[cut[0]..cut[1]]);
                    }
                    prop_assert_eq!(crc.value(), Crc32c::of(&bytes));
                }
            }
        }
    }
}
