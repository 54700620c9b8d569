use std::fmt;
use std::ops::Add;
use std::str::FromStr;

use super::{SegmentNumber, SegmentSize};

/// A byte position in the write-ahead log.
///
/// Printed as PostgreSQL prints it: the high and the low 32 bits in upper-case hexadecimal without
/// padding, joined by a slash.
///
/// ```
/// use pgsiphon::types::Lsn;
/// let lsn: Lsn = "16/B374D848".parse().unwrap();
/// assert_eq!(lsn.as_u64(), 0x16_B374_D848);
/// assert_eq!(lsn.to_string(), "16/B374D848");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

impl Lsn {
    /// `0/0`, which PostgreSQL uses for "no position".
    pub const ZERO: Self = Self(0);

    /// The position that many bytes after the start of the log.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The position as a number of bytes.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The segment that holds the byte at this position.
    pub const fn segment_number(self, size: SegmentSize) -> SegmentNumber {
        SegmentNumber::new(self.0 / size.as_u64())
    }

    /// The first position of the segment that holds this one.
    pub const fn segment_start(self, size: SegmentSize) -> Self {
        Self(self.0 - self.0 % size.as_u64())
    }

    /// The distance from the start of the segment, in bytes; always below the segment size.
    pub const fn segment_offset(self, size: SegmentSize) -> u64 {
        self.0 % size.as_u64()
    }

    /// This position moved on by `bytes`, or nothing where the log would end before that.
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The number of bytes from `earlier` to this position, or nothing if this one lies before it.
    pub const fn checked_sub(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }
}

/// Saturates at the end of the log, which no server reaches.
impl Add<u64> for Lsn {
    type Output = Self;

    fn add(self, bytes: u64) -> Self {
        Self(self.0.saturating_add(bytes))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lsn({self})")
    }
}

/// The text is not two hexadecimal numbers of at most 32 bits with a slash between them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid write-ahead log location \"{0}\"")]
pub struct ParseLsnError(String);

impl FromStr for Lsn {
    type Err = ParseLsnError;

    /// Accepts lower case and leading zeros, as PostgreSQL's own readers do.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let half = |digits: &str| {
            let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
            plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        text.split_once('/')
            .and_then(|(high, low)| Some(Self(half(high)? << 32 | half(low)?)))
            .ok_or_else(|| ParseLsnError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_that_are_no_position_are_refused() {
        for text in ["", "/", "0", "0/", "/0", "0/123456789", "0x1/2", "+1/2", "1/-2", "1/2/3", "1/2 ", "g/0"]
        {
            assert!(text.parse::<Lsn>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn lower_case_and_leading_zeros_are_read() {
        assert_eq!("0000000a/00000bc0".parse(), Ok(Lsn::new(0xA_0000_0BC0)));
    }

    #[test]
    fn segment_arithmetic_at_the_edges() {
        let size = SegmentSize::new(16 << 20).unwrap();
        let lsn: Lsn = "0/2000000".parse().unwrap();
        assert_eq!(lsn.segment_start(size), lsn);
        assert_eq!(lsn.segment_offset(size), 0);
        let before = Lsn::new(lsn.as_u64() - 1);
        assert_eq!(before.segment_start(size), Lsn::new(16 << 20));
        assert_eq!(before.segment_offset(size), size.as_u64() - 1);
        assert_eq!(before.segment_number(size).as_u64(), 1);
    }

    proptest! {
        #[test]
        fn printing_and_reading_are_inverse(bytes: u64) {
            let lsn = Lsn::new(bytes);
            prop_assert_eq!(lsn.to_string().parse::<Lsn>(), Ok(lsn));
        }
    }
}
