//! `keepalives*`: how the system finds out that a peer is gone.

use std::time::Duration;

use super::{ConninfoError, Keyword, Settings, integer};

/// When the system asks a silent peer whether it is still there; none is the system's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalives {
    /// `keepalives_idle`: after how much silence, in whole seconds.
    pub idle: Option<Duration>,
    /// `keepalives_interval`: how long until it asks again, in whole seconds.
    pub interval: Option<Duration>,
    /// `keepalives_count`: how often, before the connection counts as lost.
    pub count: Option<u32>,
}

impl Keepalives {
    /// None if they are switched off.
    pub(super) fn from_settings(settings: &Settings) -> Result<Option<Self>, ConninfoError> {
        let keepalives = Self {
            idle: integer::seconds(settings, Keyword::KeepalivesIdle)?,
            interval: integer::seconds(settings, Keyword::KeepalivesInterval)?,
            count: integer::positive(settings, Keyword::KeepalivesCount)?,
        };
        let is_off = integer::of_setting(settings, Keyword::Keepalives)? == Some(0);
        Ok((!is_off).then_some(keepalives))
    }
}
