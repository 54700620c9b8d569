//! Opening a socket: its options, and who is at its other end.

use std::net::SocketAddr;
use std::path::Path;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::connect_error::AttemptError;
use crate::conninfo::{Config, LocalUser};
use crate::types::OsError;

/// A TCP connection with the options that the user asked for, which are set before it is made: one of them
/// says how long that may take (CN-119, CN-120).
pub(super) async fn open_tcp(config: &Config, address: SocketAddr) -> Result<TcpStream, AttemptError> {
    const QUESTION: &str = "Is the server running on that host and accepting TCP/IP connections?";
    let failed = |error| AttemptError::Connect { reason: OsError(error), question: QUESTION };
    if let Some(error) = &config.invalid_tcp_option {
        return Err(AttemptError::InvalidOption(error.clone()));
    }
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(|error| AttemptError::Socket(OsError(error)))?;
    set_options(config, &socket)?;
    socket.connect(address).await.map_err(failed)
}

/// A connection to a Unix socket, to a server of the user that `requirepeer` names (CN-223).
pub(super) async fn open_unix(config: &Config, path: &Path) -> Result<UnixStream, AttemptError> {
    let socket = UnixStream::connect(path).await.map_err(no_local_server)?;
    require_peer(config, &socket)?;
    Ok(socket)
}

/// The same for a name in the abstract namespace.
pub(super) async fn open_abstract(config: &Config, name: &str) -> Result<UnixStream, AttemptError> {
    open_unix(config, Path::new(&format!("\0{name}"))).await
}

fn no_local_server(error: std::io::Error) -> AttemptError {
    const QUESTION: &str = "Is the server running locally and accepting connections on that socket?";
    AttemptError::Connect { reason: OsError(error), question: QUESTION }
}

fn set_options(config: &Config, socket: &TcpSocket) -> Result<(), AttemptError> {
    let failed = |option| move |error| AttemptError::SocketOption { option, source: OsError(error) };
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true).map_err(failed("TCP_NODELAY"))?;
    let Some(keepalives) = config.keepalives else { return Ok(()) };
    socket.set_keepalive(true).map_err(failed("SO_KEEPALIVE"))?;
    let each = [
        ("TCP_KEEPIDLE", keepalives.idle.map(|idle| TcpKeepalive::new().with_time(idle))),
        ("TCP_KEEPINTVL", keepalives.interval.map(|interval| TcpKeepalive::new().with_interval(interval))),
        ("TCP_KEEPCNT", keepalives.count.map(|count| TcpKeepalive::new().with_retries(count))),
    ];
    for (option, keepalive) in each {
        if let Some(keepalive) = keepalive {
            socket.set_tcp_keepalive(&keepalive).map_err(failed(option))?;
        }
    }
    socket.set_tcp_user_timeout(config.tcp_user_timeout).map_err(failed("TCP_USER_TIMEOUT"))
}

/// Nothing is sent to a server that runs as somebody else.
fn require_peer(config: &Config, socket: &UnixStream) -> Result<(), AttemptError> {
    let Some(required) = &config.require_peer else { return Ok(()) };
    let id = socket.peer_cred().map_err(|error| AttemptError::PeerUnknown(OsError(error)))?.uid();
    let user = LocalUser::with_id(id).map_err(|error| AttemptError::PeerUnknown(OsError(error)))?;
    let actual = user.ok_or(AttemptError::PeerHasNoName(id))?.name;
    if actual == *required {
        return Ok(());
    }
    Err(AttemptError::Peer { required: required.clone(), actual })
}
