//! The place of TLS in a build without it: nothing here can be reached.

use tokio::net::TcpStream;

pub(super) use super::absent_stream::AbsentStream as TlsStream;
use super::absent_stream::AbsentStream;
use super::channel::TlsFacts;
use super::notice::NoticeHandler;
use super::tls_error::TlsError;
use crate::conninfo::{Config, Host};

/// Whether this build has TLS.
pub(super) const IS_COMPILED_IN: bool = false;

// The caller awaits the real one.
#[allow(clippy::unused_async)]
pub(super) async fn handshake(
    _config: &Config,
    _host: &Host,
    _socket: TcpStream,
    _notices: &NoticeHandler,
) -> Result<TlsStream, TlsError> {
    Err(TlsError::NotCompiledIn)
}

impl AbsentStream {
    pub(super) fn facts(&self) -> TlsFacts {
        match self.0 {}
    }
}
