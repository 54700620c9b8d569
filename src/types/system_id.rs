use std::fmt;
use std::str::FromStr;

/// The number that `initdb` gives a cluster and that all its physical copies share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SystemId(u64);

impl SystemId {
    /// The identifier with that number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is no decimal number of 64 bits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid system identifier \"{0}\"")]
pub struct ParseSystemIdError(String);

impl FromStr for SystemId {
    type Err = ParseSystemIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| ParseSystemIdError(text.to_owned()))
    }
}
