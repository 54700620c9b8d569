use std::fmt;

use super::{Lsn, TimelineId};

/// The size of a cluster's WAL segments: a power of two from 1 MiB to 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSize(u32);

/// The number of bytes is no power of two from 1 MiB to 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid WAL segment size ({0} bytes)")]
pub struct InvalidSegmentSize(pub u64);

impl SegmentSize {
    const SMALLEST: u64 = 1 << 20;
    const LARGEST: u64 = 1 << 30;

    /// Checks the number of bytes.
    pub const fn new(bytes: u64) -> Result<Self, InvalidSegmentSize> {
        if bytes.is_power_of_two() && bytes >= Self::SMALLEST && bytes <= Self::LARGEST {
            Ok(Self(bytes as u32))
        } else {
            Err(InvalidSegmentSize(bytes))
        }
    }

    /// The size in bytes.
    pub const fn as_u64(self) -> u64 {
        self.0 as u64
    }

    /// How many segments share one value of the high half of an [`Lsn`].
    const fn per_high_half(self) -> u64 {
        (1 << 32) / self.as_u64()
    }
}

/// The position of a segment in the log: segment `n` covers the bytes from `n` times the segment
/// size up to, not including, `n + 1` times it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNumber(u64);

impl SegmentNumber {
    /// The segment with that number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The position of its first byte.
    pub const fn start(self, size: SegmentSize) -> Lsn {
        Lsn::new(self.0.saturating_mul(size.as_u64()))
    }

    /// The segment after it.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The name of a WAL segment file: 24 upper-case hexadecimal digits that give the timeline and the
/// segment number in two parts (RW section 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalFileName {
    timeline: TimelineId,
    segment: SegmentNumber,
    size: SegmentSize,
}

/// The text is no name of a segment of that size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid WAL segment file name \"{0}\"")]
pub struct ParseWalFileNameError(String);

impl WalFileName {
    /// The name of `segment` on `timeline`.
    pub const fn new(timeline: TimelineId, segment: SegmentNumber, size: SegmentSize) -> Self {
        Self { timeline, segment, size }
    }

    /// Reads a name, which needs the segment size.
    pub fn parse(text: &str, size: SegmentSize) -> Result<Self, ParseWalFileNameError> {
        let field = |from: usize| u32::from_str_radix(&text[from..from + 8], 16).ok();
        let digits = text.len() == 24 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
        digits
            .then(|| {
                let timeline = TimelineId::new(field(0)?)?;
                let (high, low) = (u64::from(field(8)?), u64::from(field(16)?));
                (low < size.per_high_half())
                    .then(|| Self::new(timeline, SegmentNumber::new(high * size.per_high_half() + low), size))
            })
            .flatten()
            .ok_or_else(|| ParseWalFileNameError(text.to_owned()))
    }

    /// The timeline it belongs to.
    pub const fn timeline(self) -> TimelineId {
        self.timeline
    }

    /// The segment it holds.
    pub const fn segment(self) -> SegmentNumber {
        self.segment
    }

    /// The size of segments that the name goes by.
    pub const fn size(self) -> SegmentSize {
        self.size
    }
}

impl fmt::Display for WalFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, per_half) = (self.segment.as_u64(), self.size.per_high_half());
        write!(f, "{:08X}{:08X}{:08X}", self.timeline.as_u32(), number / per_half, number % per_half)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIXTEEN_MIB: u64 = 16 << 20;

    #[test]
    fn sizes_outside_the_powers_of_two_are_refused() {
        for bytes in [0, 1, 1 << 19, (1 << 20) + 1, 3 << 20, 1 << 31, u64::MAX] {
            assert!(SegmentSize::new(bytes).is_err(), "{bytes}");
        }
        assert_eq!(SegmentSize::new(1 << 30).unwrap().as_u64(), 1 << 30);
    }

    #[test]
    fn names_are_those_of_postgresql() {
        let size = SegmentSize::new(SIXTEEN_MIB).unwrap();
        let segment = "2A/FF000028".parse::<Lsn>().unwrap().segment_number(size);
        let name = WalFileName::new(TimelineId::new(3).unwrap(), segment, size);
        assert_eq!(name.to_string(), "000000030000002A000000FF");
    }

    #[test]
    fn foreign_names_are_refused() {
        let size = SegmentSize::new(SIXTEEN_MIB).unwrap();
        for text in [
            "",
            "000000010000000000000001.partial",
            "00000001000000000000000g",
            "00000001000000000000000a",
            "000000010000000000000100",
            "000000000000000000000001",
            "0000000100000000000000é",
        ] {
            assert!(WalFileName::parse(text, size).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_reading_are_inverse(timeline in 1u32.., lsn: u64, power in 20u32..=30) {
            let size = SegmentSize::new(1 << power).unwrap();
            let name = WalFileName::new(
                TimelineId::new(timeline).unwrap(), Lsn::new(lsn).segment_number(size), size);
            prop_assert_eq!(WalFileName::parse(&name.to_string(), size), Ok(name));
        }
    }
}
