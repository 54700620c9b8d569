//! The checksums that a manifest gives for files.
//!
//! In: the bytes of a file in pieces. Out: a small value that compares and prints as in the manifest.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use crate::types::Crc32c;

/// The longest checksum, that of SHA-512, in bytes.
const LONGEST: usize = 64;

/// How a file's checksum is made: the values of `MANIFEST_CHECKSUMS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumAlgorithm {
    /// No checksum at all.
    None,
    /// CRC-32C (Castagnoli), the server's default: guards against accidents, not against malice.
    #[default]
    Crc32c,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl ChecksumAlgorithm {
    /// The length of a checksum in bytes.
    pub const fn checksum_len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Crc32c => 4,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => LONGEST,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Crc32c => "CRC32C",
            Self::Sha224 => "SHA224",
            Self::Sha256 => "SHA256",
            Self::Sha384 => "SHA384",
            Self::Sha512 => "SHA512",
        }
    }
}

/// The name as servers write it, in upper case.
impl fmt::Display for ChecksumAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no checksum algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unrecognized checksum algorithm: \"{0}\"")]
pub struct UnrecognizedChecksumAlgorithm(String);

/// Accepts the names in any case (BB-208).
impl FromStr for ChecksumAlgorithm {
    type Err = UnrecognizedChecksumAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::None, Self::Crc32c, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512]
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnrecognizedChecksumAlgorithm(text.to_owned()))
    }
}

/// The checksum of a file, in the byte order of the manifest.
///
/// SHA digests are in digest order, a CRC-32C has its lowest byte first (BB-209). Bytes from the length of
/// the algorithm's checksums on are zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Checksum {
    algorithm: ChecksumAlgorithm,
    bytes: [u8; LONGEST],
}

impl Checksum {
    /// The absence of a checksum.
    pub const NONE: Self = Self { algorithm: ChecksumAlgorithm::None, bytes: [0; LONGEST] };

    /// The checksum with these bytes, if they are as many as the algorithm's.
    pub fn from_bytes(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Option<Self> {
        let mut checksum = Self { algorithm, ..Self::NONE };
        (bytes.len() == algorithm.checksum_len()).then(|| {
            checksum.bytes[..bytes.len()].copy_from_slice(bytes);
            checksum
        })
    }

    /// How it was made.
    pub const fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// Its bytes, none for [`NONE`](Self::NONE).
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.checksum_len()]
    }
}

/// Lower-case hexadecimal digits, as in the manifest.
impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{self}", self.algorithm)
    }
}

/// Makes the checksum of a file while its bytes pass.
#[derive(Clone, Debug)]
pub struct Checksummer(State);

#[derive(Clone, Debug)]
enum State {
    None,
    Crc32c(Crc32c),
    Sha224(Sha224),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Checksummer {
    /// Starts the checksum of a file.
    pub fn new(algorithm: ChecksumAlgorithm) -> Self {
        Self(match algorithm {
            ChecksumAlgorithm::None => State::None,
            ChecksumAlgorithm::Crc32c => State::Crc32c(Crc32c::new()),
            ChecksumAlgorithm::Sha224 => State::Sha224(Sha224::new()),
            ChecksumAlgorithm::Sha256 => State::Sha256(Sha256::new()),
            ChecksumAlgorithm::Sha384 => State::Sha384(Sha384::new()),
            ChecksumAlgorithm::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    /// Takes in the next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::None => {}
            State::Crc32c(crc) => crc.update(bytes),
            State::Sha224(sha) => sha.update(bytes),
            State::Sha256(sha) => sha.update(bytes),
            State::Sha384(sha) => sha.update(bytes),
            State::Sha512(sha) => sha.update(bytes),
        }
    }

    /// The checksum of all bytes taken in.
    pub fn finish(self) -> Checksum {
        let checksum = |algorithm, digest: &[u8]| {
            let mut bytes = [0; LONGEST];
            bytes[..digest.len()].copy_from_slice(digest);
            Checksum { algorithm, bytes }
        };
        match self.0 {
            State::None => Checksum::NONE,
            State::Crc32c(crc) => checksum(ChecksumAlgorithm::Crc32c, &crc.value().to_le_bytes()),
            State::Sha224(sha) => checksum(ChecksumAlgorithm::Sha224, &sha.finalize()),
            State::Sha256(sha) => checksum(ChecksumAlgorithm::Sha256, &sha.finalize()),
            State::Sha384(sha) => checksum(ChecksumAlgorithm::Sha384, &sha.finalize()),
            State::Sha512(sha) => checksum(ChecksumAlgorithm::Sha512, &sha.finalize()),
        }
    }
}

/// Reads pairs of hexadecimal digits in any case.
pub(super) fn decode_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    text.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> String {
        let mut checksummer = Checksummer::new(algorithm);
        bytes.chunks(4).for_each(|piece| checksummer.update(piece));
        checksummer.finish().to_string()
    }

    #[test]
    fn bb_208_names_in_any_case() {
        for (text, algorithm) in [
            ("none", ChecksumAlgorithm::None),
            ("Crc32C", ChecksumAlgorithm::Crc32c),
            ("sha224", ChecksumAlgorithm::Sha224),
            ("SHA256", ChecksumAlgorithm::Sha256),
            ("Sha384", ChecksumAlgorithm::Sha384),
            ("sHA512", ChecksumAlgorithm::Sha512),
        ] {
            assert_eq!(text.parse(), Ok(algorithm));
            assert_eq!(algorithm.to_string(), text.to_ascii_uppercase());
        }
        for text in ["", "crc32", "SHA-256", "bogus"] {
            let error = text.parse::<ChecksumAlgorithm>().unwrap_err();
            assert_eq!(error.to_string(), format!("unrecognized checksum algorithm: \"{text}\""));
        }
    }

    #[test]
    fn bb_209_known_checksums() {
        for (algorithm, bytes, expected) in [
            (ChecksumAlgorithm::None, &b"123456789"[..], ""),
            (ChecksumAlgorithm::Crc32c, b"123456789", "839206e3"),
            (ChecksumAlgorithm::Crc32c, b"", "00000000"),
            (ChecksumAlgorithm::Sha224, b"abc", "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
            (
                ChecksumAlgorithm::Sha256,
                b"abc",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                ChecksumAlgorithm::Sha384,
                b"abc",
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
                 8086072ba1e7cc2358baeca134c825a7",
            ),
            (
                ChecksumAlgorithm::Sha512,
                b"abc",
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ] {
            assert_eq!(of(algorithm, bytes), expected, "{algorithm}");
            assert_eq!(expected.len(), 2 * algorithm.checksum_len());
        }
    }

    #[test]
    fn checksums_have_the_length_of_their_algorithm() {
        assert_eq!(Checksum::from_bytes(ChecksumAlgorithm::None, &[]), Some(Checksum::NONE));
        assert!(Checksum::from_bytes(ChecksumAlgorithm::Crc32c, &[1, 2, 3]).is_none());
        assert!(Checksum::from_bytes(ChecksumAlgorithm::Crc32c, &[1, 2, 3, 4, 5]).is_none());
        assert_eq!(
            Checksum::from_bytes(ChecksumAlgorithm::Crc32c, &[0xAB, 0, 0, 1]).unwrap().to_string(),
            "ab000001"
        );
    }

    #[test]
    fn hexadecimal_digits_come_in_pairs() {
        assert_eq!(decode_hex(b"00fFA9"), Some(vec![0, 0xFF, 0xA9]));
        assert_eq!(decode_hex(b""), Some(vec![]));
        for text in ["0", "000", "0g", "+1", "é0", " 1"] {
            assert_eq!(decode_hex(text.as_bytes()), None, "{text:?}");
        }
    }
}
