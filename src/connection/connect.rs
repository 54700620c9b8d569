//! From a configuration to a session: the hosts in turn, each with all its addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::path::PathBuf;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

use super::channel::Channel;
use super::connect_error::{AttemptError, ConnectError, FailedAttempt, Place};
use super::frame::Deframer;
use super::handshake::Handshake;
use super::notice::{Notice, NoticeHandler};
use super::server_message::sqlstate;
use super::session::Session;
use super::socket::Socket;
use super::startup::{Startup, StartupError};
use super::tls;
use crate::conninfo::{
    Config, Endpoint, GssEncMode, Host, LoadBalanceHosts, PasswordLookup, SslCertMode, SslMode,
    TargetSessionAttrs,
};
use crate::types::OsError;

/// Connects to the first host that answers.
///
/// A host that cannot be reached, or is not ready, passes the turn on; one that refuses ends it (CN-107 …
/// CN-112).
pub(crate) async fn connect(config: &Config, notices: NoticeHandler) -> Result<Session, ConnectError> {
    if let Err(cause) = refuse_unsupported(config) {
        return Err(ConnectError::new(vec![FailedAttempt { place: None, cause }]));
    }
    let mut attempts = Vec::new();
    for host in &config.hosts {
        for target in targets(host).await {
            let error = match target {
                Ok(target) => match try_target(config, host, &target, &notices).await {
                    Ok(session) => return Ok(session),
                    Err(cause) => FailedAttempt { place: Some(target.place()), cause },
                },
                Err(cause) => FailedAttempt { place: None, cause },
            };
            let verdict = verdict(&error.cause);
            attempts.push(error);
            match verdict {
                Verdict::NextAddress => {}
                Verdict::NextHost => break,
                Verdict::Stop => return Err(ConnectError::new(attempts)),
            }
        }
    }
    Err(ConnectError::new(attempts))
}

enum Verdict {
    NextAddress,
    NextHost,
    Stop,
}

fn verdict(cause: &AttemptError) -> Verdict {
    match cause {
        AttemptError::Connect { .. } | AttemptError::SocketOption { .. } | AttemptError::Timeout => {
            Verdict::NextAddress
        }
        AttemptError::Resolve { .. } | AttemptError::Address(_) => Verdict::NextHost,
        AttemptError::Host(error) if !error.ends_attempt() => Verdict::NextHost,
        _ => match cause.server_message() {
            Some(message) if message.sqlstate() == sqlstate::CANNOT_CONNECT_NOW => Verdict::NextHost,
            _ => Verdict::Stop,
        },
    }
}

/// What this build does not have is refused where the user demands it, and never ignored.
fn refuse_unsupported(config: &Config) -> Result<(), AttemptError> {
    let refuse = |condition: bool, message: &str| {
        if condition { Err(AttemptError::Unsupported(message.to_owned())) } else { Ok(()) }
    };
    refuse(
        config.gss_enc_mode == GssEncMode::Require,
        "gssencmode value \"require\" invalid when GSSAPI support is not compiled in",
    )?;
    refuse(
        !tls::IS_COMPILED_IN && config.ssl_cert_mode == SslCertMode::Require,
        "sslcertmode value \"require\" invalid when SSL support is not compiled in",
    )?;
    for (demanded, keyword) in [
        (config.require_peer.is_some(), "requirepeer"),
        (config.target_session_attrs != TargetSessionAttrs::Any, "target_session_attrs"),
        (config.load_balance_hosts != LoadBalanceHosts::Disable, "load_balance_hosts"),
    ] {
        refuse(demanded, &format!("{keyword} is not supported by this version of pgsiphon"))?;
    }
    Ok(())
}

/// A socket to connect to.
enum Target {
    Tcp { host: String, address: SocketAddr },
    Unix(PathBuf),
    Abstract(String),
}

impl Target {
    fn place(&self) -> Place {
        match self {
            Self::Tcp { host, address } => {
                let text = address.ip().to_string();
                let differs = *host != text;
                Place::Tcp { host: host.clone(), address: differs.then_some(text), port: address.port() }
            }
            Self::Unix(path) => Place::Socket(path.clone()),
            Self::Abstract(name) => Place::Socket(format!("@{name}").into()),
        }
    }
}

async fn targets(host: &Host) -> Vec<Result<Target, AttemptError>> {
    match host.endpoint() {
        Err(error) => vec![Err(error.into())],
        Ok(Endpoint::Socket(path)) => vec![Ok(Target::Unix(path))],
        Ok(Endpoint::AbstractSocket(name)) => vec![Ok(Target::Abstract(name))],
        Ok(Endpoint::Address { address, port }) => match address.parse::<IpAddr>() {
            Ok(ip) => vec![Ok(Target::Tcp { host: address, address: SocketAddr::new(ip, port) })],
            Err(_) => vec![Err(AttemptError::Address(address))],
        },
        Ok(Endpoint::Name { name, port }) => resolve(name, port).await,
    }
}

async fn resolve(name: String, port: u16) -> Vec<Result<Target, AttemptError>> {
    let found: io::Result<Vec<SocketAddr>> =
        tokio::net::lookup_host((name.as_str(), port)).await.map(Iterator::collect);
    match found {
        Ok(addresses) => {
            addresses.into_iter().map(|address| Ok(Target::Tcp { host: name.clone(), address })).collect()
        }
        Err(error) => vec![Err(AttemptError::Resolve { reason: resolver_text(error), name })],
    }
}

/// The standard library puts its own words before those of the resolver.
fn resolver_text(error: io::Error) -> OsError {
    let text = error.to_string();
    match text.strip_prefix("failed to lookup address information: ") {
        Some(reason) => OsError(io::Error::other(reason.to_owned())),
        None => OsError(error),
    }
}

async fn try_target(
    config: &Config,
    host: &Host,
    target: &Target,
    notices: &NoticeHandler,
) -> Result<Session, AttemptError> {
    let attempt = async {
        let socket = open_socket(config, target).await?;
        start_session(config, host, socket, notices).await
    };
    within(config.connect_timeout, attempt).await
}

async fn within<T>(
    limit: Option<Duration>,
    attempt: impl Future<Output = Result<T, AttemptError>>,
) -> Result<T, AttemptError> {
    match limit {
        None => attempt.await,
        Some(limit) => tokio::time::timeout(limit, attempt).await.unwrap_or(Err(AttemptError::Timeout)),
    }
}

async fn open_socket(config: &Config, target: &Target) -> Result<Socket, AttemptError> {
    const REMOTE: &str = "Is the server running on that host and accepting TCP/IP connections?";
    const LOCAL: &str = "Is the server running locally and accepting connections on that socket?";
    let failed = |question| move |error| AttemptError::Connect { reason: OsError(error), question };
    match target {
        Target::Tcp { address, .. } => {
            refuse_plain(config.ssl_mode)?;
            let socket = TcpStream::connect(address).await.map_err(failed(REMOTE))?;
            set_options(config, &socket)?;
            Ok(Socket::Tcp(socket))
        }
        Target::Unix(path) => Ok(Socket::Unix(UnixStream::connect(path).await.map_err(failed(LOCAL))?)),
        Target::Abstract(name) => {
            let connected = std::os::unix::net::SocketAddr::from_abstract_name(name)
                .and_then(|address| std::os::unix::net::UnixStream::connect_addr(&address))
                .and_then(|socket| {
                    socket.set_nonblocking(true)?;
                    UnixStream::from_std(socket)
                });
            Ok(Socket::Unix(connected.map_err(failed(LOCAL))?))
        }
    }
}

/// Without TLS only the modes that allow a plain connection can be satisfied.
fn refuse_plain(mode: SslMode) -> Result<(), AttemptError> {
    match mode {
        SslMode::Disable | SslMode::Allow | SslMode::Prefer => Ok(()),
        mode => {
            let mode = mode.as_str();
            let message = format!("sslmode value \"{mode}\" invalid when SSL support is not compiled in");
            Err(AttemptError::Unsupported(message))
        }
    }
}

/// The options of a TCP socket (CN-119, CN-120).
fn set_options(config: &Config, socket: &TcpStream) -> Result<(), AttemptError> {
    let failed = |option| move |error| AttemptError::SocketOption { option, source: OsError(error) };
    socket.set_nodelay(true).map_err(failed("TCP_NODELAY"))?;
    let Some(keepalives) = config.keepalives else { return Ok(()) };
    let mut keepalive = TcpKeepalive::new();
    if let Some(idle) = keepalives.idle {
        keepalive = keepalive.with_time(idle);
    }
    if let Some(interval) = keepalives.interval {
        keepalive = keepalive.with_interval(interval);
    }
    if let Some(count) = keepalives.count {
        keepalive = keepalive.with_retries(count);
    }
    let socket = SockRef::from(socket);
    socket.set_tcp_keepalive(&keepalive).map_err(failed("SO_KEEPALIVE"))?;
    socket.set_tcp_user_timeout(config.tcp_user_timeout).map_err(failed("TCP_USER_TIMEOUT"))
}

async fn start_session(
    config: &Config,
    host: &Host,
    mut socket: Socket,
    notices: &NoticeHandler,
) -> Result<Session, AttemptError> {
    let PasswordLookup { password, file, warning } = config.password_for(host);
    if let Some(warning) = warning {
        notices(&Notice::PasswordFile(warning));
    }
    let mut deframer = Deframer::new();
    let startup = Startup::new(config, password, Channel::Plain);
    let mut handshake = Handshake::new(&mut socket, &mut deframer, startup, host, notices);
    let started = handshake.run(&startup_parameters(config)).await;
    let file = file.filter(|_| handshake.used_password() && !handshake.is_authenticated());
    let start = started.map_err(|error| match error {
        AttemptError::Startup { refusal, .. } => {
            let refused = matches!(&refusal, StartupError::Server(message)
                if message.sqlstate() == sqlstate::INVALID_PASSWORD);
            AttemptError::Startup { refusal, password_file: file.filter(|_| refused) }
        }
        other => other,
    })?;
    Ok(Session::new(socket, deframer, start, notices.clone()))
}

/// The parameters of the startup message, in libpq's order (CN-207, CN-208).
fn startup_parameters(config: &Config) -> Vec<(&'static str, &str)> {
    let mut parameters =
        vec![("user", config.user.as_str()), ("database", config.database()), ("replication", "true")];
    for (name, value) in [
        ("options", config.options.as_deref()),
        ("application_name", config.effective_application_name()),
        ("client_encoding", config.client_encoding.as_deref()),
        ("datestyle", config.date_style.as_deref()),
        ("timezone", config.time_zone.as_deref()),
        ("geqo", config.geqo.as_deref()),
    ] {
        parameters.extend(value.filter(|value| !value.is_empty()).map(|value| (name, value)));
    }
    parameters
}
