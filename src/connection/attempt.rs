//! One address of one host: the methods of encryption in turn, until a session is ready.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::channel::Channel;
use super::connect_error::{AttemptError, FailedAttempt};
use super::encryption::{Encryption, Methods};
use super::frame::Deframer;
use super::handshake::Handshake;
use super::negotiation::{self, Answer, NegotiationError, Request};
use super::notice::{Notice, NoticeHandler};
use super::open::{open_abstract, open_tcp, open_unix};
use super::server_message::sqlstate;
use super::session::{Peer, Session};
use super::socket::Socket;
use super::startup::Startup;
use super::target::Target;
use super::{gss, session_attributes, tls};
use crate::conninfo::{
    Config, GssEncMode, Host, PasswordLookup, SessionPurpose, SslNegotiation, TargetSessionAttrs,
};

/// What an attempt needs to know.
pub(super) struct Attempt<'a> {
    pub(super) config: &'a Config,
    pub(super) host: &'a Host,
    pub(super) target: &'a Target,
    /// The password for the host.
    pub(super) password: &'a PasswordLookup,
    /// The kind of server that will do.
    pub(super) wanted: TargetSessionAttrs,
    pub(super) notices: &'a NoticeHandler,
}

/// A method did not lead to a session.
struct Failure {
    cause: AttemptError,
    is_encrypted: bool,
    /// Whether the next method may be tried, over a new connection.
    may_fall_back: bool,
}

impl Attempt<'_> {
    /// A session, or why there is none: a cause for each method that was tried. `connect_timeout` is for all of
    /// them together (CN-115, CN-118).
    pub(super) async fn run(&self) -> Result<Session, Vec<FailedAttempt>> {
        if let Some(error) = &self.config.invalid_connect_timeout {
            return Err(vec![self.failed(AttemptError::InvalidTimeout(error.clone()), false)]);
        }
        let mut failures = Vec::new();
        let session = within(self.config.connect_timeout, self.try_methods(&mut failures)).await;
        match session {
            Ok(Some(session)) => return Ok(session),
            Ok(None) => {}
            Err(timeout) => failures.push(self.failed(timeout, false)),
        }
        Err(failures)
    }

    async fn try_methods(&self, failures: &mut Vec<FailedAttempt>) -> Option<Session> {
        let mut methods = match self.methods().await {
            Ok(methods) => methods,
            Err(cause) => {
                failures.push(self.failed(cause, false));
                return None;
            }
        };
        loop {
            match self.try_method(&mut methods).await {
                Ok(session) => {
                    self.warn_of_downgrade(methods.current(), failures);
                    return Some(session);
                }
                Err(Failure { cause, is_encrypted, may_fall_back }) => {
                    failures.push(self.failed(cause, is_encrypted));
                    if !may_fall_back || !methods.advance() {
                        return None;
                    }
                }
            }
        }
    }

    /// What is wrong before a connection is tried has no place (CN-299).
    fn failed(&self, cause: AttemptError, is_encrypted: bool) -> FailedAttempt {
        let is_before = matches!(cause, AttemptError::GssOverSocket | AttemptError::GssWithoutCredentials);
        FailedAttempt { place: (!is_before).then(|| self.target.place()), is_encrypted, cause }
    }

    async fn methods(&self) -> Result<Methods, AttemptError> {
        let mode = self.config.gss_enc_mode;
        if !matches!(self.target, Target::Tcp { .. }) {
            return match mode {
                GssEncMode::Require => Err(AttemptError::GssOverSocket),
                _ => Ok(Methods::for_socket()),
            };
        }
        let has_credentials = mode != GssEncMode::Disable && gss::has_credentials().await;
        match mode {
            GssEncMode::Require if !has_credentials => Err(AttemptError::GssWithoutCredentials),
            _ => Ok(Methods::for_tcp(self.config, has_credentials)),
        }
    }

    /// A new connection with the current method, or with a later one if the server says that it does not have
    /// the current one.
    async fn try_method(&self, methods: &mut Methods) -> Result<Session, Failure> {
        let config = self.config;
        let (socket, channel) = match self.target {
            Target::Tcp { address, .. } => {
                let socket = open_tcp(config, *address).await?;
                let socket = self.negotiate(*address, socket, methods).await?;
                self.encrypt(socket, methods.current()).await?
            }
            Target::Unix(path) => (Socket::Unix(open_unix(config, path).await?), Channel::Plain),
            Target::Abstract(name) => (Socket::Unix(open_abstract(config, name).await?), Channel::Plain),
        };
        let mut session = self.start_session(socket, channel, methods).await?;
        if let Err(cause) = session_attributes::check(&mut session, self.wanted).await {
            session.close().await;
            return Err(cause.into());
        }
        Ok(session)
    }

    async fn negotiate(
        &self,
        address: SocketAddr,
        mut socket: TcpStream,
        methods: &mut Methods,
    ) -> Result<TcpStream, Failure> {
        while let Some(request) = Request::of(methods.current()).filter(|&request| !self.is_direct(request)) {
            match negotiation::ask(&mut socket, request).await {
                Ok(Answer::Willing) => break,
                Ok(Answer::Unwilling) if methods.advance() => {
                    // TLS without a request must be the first that a server hears.
                    if Request::of(methods.current()).is_some_and(|request| self.is_direct(request)) {
                        socket = open_tcp(self.config, address).await?;
                    }
                }
                Ok(Answer::Unwilling) => {
                    return Err(AttemptError::Negotiation(request.unavailable()).into());
                }
                Err(error) => {
                    // A server that has not heard of GSSAPI encryption complains like this.
                    let may_fall_back =
                        request == Request::Gss && matches!(error, NegotiationError::ErrorResponse(_));
                    return Err(Failure { may_fall_back, ..AttemptError::from(error).into() });
                }
            }
        }
        Ok(socket)
    }

    /// Whether the handshake begins without the question.
    fn is_direct(&self, request: Request) -> bool {
        request == Request::Tls && self.config.ssl_negotiation == SslNegotiation::Direct
    }

    async fn encrypt(&self, socket: TcpStream, method: Encryption) -> Result<(Socket, Channel), Failure> {
        let failed = |cause| Failure { cause, is_encrypted: false, may_fall_back: true };
        match method {
            Encryption::Plain => Ok((Socket::Tcp(socket), Channel::Plain)),
            Encryption::Tls => {
                let stream = tls::handshake(self.config, self.host, socket, self.notices).await;
                let stream = stream.map_err(|error| failed(error.into()))?;
                let channel = Channel::Tls(stream.facts());
                Ok((Socket::Tls(Box::new(stream)), channel))
            }
            Encryption::Gss => {
                let stream = gss::encrypt(self.config, self.host, socket).await;
                let stream = stream.map_err(|error| failed(error.into()))?;
                Ok((Socket::Gss(Box::new(stream)), Channel::Gss))
            }
        }
    }

    async fn start_session(
        &self,
        mut socket: Socket,
        channel: Channel,
        methods: &mut Methods,
    ) -> Result<Session, Failure> {
        let PasswordLookup { password, file, .. } = self.password.clone();
        let is_encrypted = channel != Channel::Plain;
        let mut deframer = Deframer::new();
        let startup = Startup::new(self.config, password, channel);
        let mut handshake = Handshake::new(&mut socket, &mut deframer, startup, self.host, self.notices);
        let started = handshake.run(&startup_parameters(self.config)).await;
        let start = started.map_err(|cause| {
            if is_encrypted && handshake.used_password() {
                methods.forbid_plain();
            }
            let may_fall_back = is_refusal(&cause) && !handshake.is_authenticated();
            Failure { cause: cause.with_password_file(file), is_encrypted, may_fall_back }
        })?;
        let peer = Peer { host: self.host.clone(), place: self.target.place() };
        Ok(Session::new(socket, deframer, start, peer, self.notices.clone()))
    }

    /// A connection that was to be encrypted and is not says so: libpq is silent about it (CW-01).
    fn warn_of_downgrade(&self, method: Encryption, failures: &[FailedAttempt]) {
        let of_tls = failures.iter().find_map(|failure| match &failure.cause {
            AttemptError::Tls(error) => Some(error.to_string()),
            _ => None,
        });
        if let (Encryption::Plain, Some(reason)) = (method, of_tls) {
            (self.notices)(&Notice::NotEncrypted { place: self.target.place(), reason });
        }
    }
}

/// Another method cannot help against these, even before a session is there.
impl From<AttemptError> for Failure {
    fn from(cause: AttemptError) -> Self {
        Self { cause, is_encrypted: false, may_fall_back: false }
    }
}

/// Whether the server said no to the user or the kind of connection, not that it is not ready for anybody.
fn is_refusal(cause: &AttemptError) -> bool {
    cause.server_message().is_some_and(|message| message.sqlstate() != sqlstate::CANNOT_CONNECT_NOW)
}

async fn within<T>(limit: Option<Duration>, attempt: impl Future<Output = T>) -> Result<T, AttemptError> {
    match limit {
        None => Ok(attempt.await),
        Some(limit) => tokio::time::timeout(limit, attempt).await.map_err(|_| AttemptError::Timeout),
    }
}

/// The parameters of the startup message, in libpq's order (CN-207, CN-208).
fn startup_parameters(config: &Config) -> Vec<(&'static str, &str)> {
    let mut parameters = vec![("user", config.user.as_str()), ("database", config.database())];
    if config.purpose == SessionPurpose::Replication {
        parameters.push(("replication", "true"));
    }
    for (name, value) in [
        ("options", config.options.as_deref().filter(|value| !value.is_empty())),
        ("application_name", config.effective_application_name()),
        ("client_encoding", config.client_encoding.as_deref().filter(|value| !value.is_empty())),
        ("datestyle", config.date_style.as_deref()),
        ("timezone", config.time_zone.as_deref()),
        ("geqo", config.geqo.as_deref()),
    ] {
        parameters.extend(value.map(|value| (name, value)));
    }
    parameters
}
