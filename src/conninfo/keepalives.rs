//! `keepalives*` and `tcp_user_timeout`: how the system finds out that a peer is gone.

use std::time::Duration;

use super::{InvalidInteger, Keyword, Settings, integer};

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

/// What is asked of the sockets of TCP connections.
pub(super) struct TcpOptions {
    /// None if they are switched off.
    pub(super) keepalives: Option<Keepalives>,
    /// `tcp_user_timeout`; none is the system's default.
    pub(super) user_timeout: Option<Duration>,
}

impl TcpOptions {
    /// Without keepalives nothing else is looked at, and `tcp_user_timeout` is not set (CN-120).
    pub(super) fn from_settings(settings: &Settings) -> Result<Self, InvalidInteger> {
        if integer::of_setting(settings, Keyword::Keepalives)? == Some(0) {
            return Ok(Self { keepalives: None, user_timeout: None });
        }
        let keepalives = Keepalives {
            idle: integer::seconds(settings, Keyword::KeepalivesIdle)?,
            interval: integer::seconds(settings, Keyword::KeepalivesInterval)?,
            count: integer::positive(settings, Keyword::KeepalivesCount)?,
        };
        let milliseconds = integer::positive(settings, Keyword::TcpUserTimeout)?;
        let user_timeout = milliseconds.map(|number| Duration::from_millis(number.into()));
        Ok(Self { keepalives: Some(keepalives), user_timeout })
    }
}
