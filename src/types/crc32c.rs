use std::fmt;

use crc_fast::{CrcAlgorithm, Digest};

/// The checksum that PostgreSQL takes of WAL records, of its control file and, unless told otherwise, of the files in a
/// backup (CRC-32C, also called Castagnoli's or iSCSI's), made while bytes pass.
#[derive(Clone)]
pub(crate) struct Crc32c(Digest);

impl Crc32c {
    /// Of no bytes yet.
    pub(crate) fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    /// Of these bytes alone.
    pub(crate) fn of(bytes: &[u8]) -> u32 {
        crc_fast::crc32_iscsi(bytes)
    }

    /// Forgets the bytes so far, for less than what a new one costs.
    pub(crate) fn restart(&mut self) {
        self.0.reset();
    }

    /// Takes in the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes taken in.
    pub(crate) fn value(&self) -> u32 {
        self.0.finalize() as u32
    }
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
        assert_eq!(Crc32c::of(b""), 0);
        assert_eq!(Crc32c::new().value(), 0);
    }

    proptest! {
        #[test]
        fn it_is_what_another_implementation_says_however_the_bytes_come(
            parts in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 0..100),
                    proptest::collection::vec(any::<u8>(), 100..20_000),
                ],
                0..6,
            ),
        ) {
            let all = parts.concat();
            let mut crc = Crc32c::new();
            for _ in 0..2 {
                crc.restart();
                for part in &parts {
                    crc.update(part);
                }
                prop_assert_eq!(crc.value(), crc32c::crc32c(&all));
            }
            prop_assert_eq!(Crc32c::of(&all), crc.value());
        }
    }
}
