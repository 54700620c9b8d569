use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// A timeline of the write-ahead log: 1 for a new cluster, one more after each promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimelineId(NonZeroU32);

impl TimelineId {
    /// The timeline that `initdb` begins with; the only one without a history file.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The timeline of that number; 0 is none.
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    pub const fn as_u32(self) -> u32 {
        self.0.get()
    }

    /// The name of this timeline's history file, `%08X.history`.
    pub fn history_file_name(self) -> String {
        format!("{:08X}.history", self.0)
    }
}

impl fmt::Display for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is no decimal number from 1 to 2³²−1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid timeline \"{0}\"")]
pub struct InvalidTimelineId(String);

impl FromStr for TimelineId {
    type Err = InvalidTimelineId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().ok().and_then(Self::new).ok_or_else(|| InvalidTimelineId(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_from_one_on_are_timelines() {
        assert_eq!("31".parse::<TimelineId>().unwrap().history_file_name(), "0000001F.history");
        for text in ["0", "-1", "4294967296", "", "x"] {
            assert!(text.parse::<TimelineId>().is_err(), "{text:?}");
        }
    }
}
