//! From the startup message to a session that is ready for queries. Sans-I/O.
//!
//! Messages of the server go in; what must be sent comes out. A server is believed only in turn: an answer
//! that does not fit the state ends the attempt, and once SCRAM has begun nothing but a verified server
//! signature leads on.

use bytes::{Buf, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::message::frontend;

use super::authentication::{Scram, ScramError};
use super::frame::Message;
use super::server_message::ServerMessage;
use crate::types::Password;

/// The parameters that a client acts upon. A server may report others, as many as it likes.
const KEPT_PARAMETERS: [&str; 4] =
    ["server_version", "integer_datetimes", "in_hot_standby", "default_transaction_read_only"];

/// What a session reported of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct SessionStart {
    /// Names and latest values of [`KEPT_PARAMETERS`].
    parameters: Vec<(String, String)>,
    /// The process id of the backend, from `BackendKeyData`.
    pub(super) backend_pid: Option<u32>,
}

impl SessionStart {
    /// The latest value of a parameter that is kept, if the server reported it.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Takes a `ParameterStatus` in, which may come at any time.
    pub(super) fn report(&mut self, message: &Message) -> Result<(), StartupError> {
        let (name, value) = parse_parameter(message)?;
        if KEPT_PARAMETERS.contains(&name.as_str()) {
            self.parameters.retain(|(key, _)| *key != name);
            self.parameters.push((name, value));
        }
        Ok(())
    }
}

/// Why a session did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartupError {
    /// The server refused.
    #[error("{0}")]
    Server(ServerMessage),
    /// The server wants a password and none is known.
    #[error("fe_sendauth: no password supplied")]
    PasswordMissing,
    /// The server wants a kind of authentication that this client does not have.
    #[error("{0}")]
    Unsupported(String),
    /// SCRAM failed.
    #[error(transparent)]
    Scram(#[from] ScramError),
    /// The server ended authentication before it proved itself.
    #[error("server did not complete authentication")]
    Incomplete,
    /// None of the mechanisms that the server offers is known.
    #[error("none of the server's SASL authentication mechanisms are supported")]
    NoMechanism,
    /// The server offers what only makes sense over TLS, over a connection without.
    #[error("server offered SCRAM-SHA-256-PLUS authentication over a non-SSL connection")]
    ChannelBindingWithoutTls,
    /// The server talks and talks.
    #[error("the server does not become ready: more than {0} bytes during start-up")]
    Endless(usize),
    /// A message out of turn or out of form.
    #[error("{0}")]
    Protocol(String),
}

/// What to do after a message.
#[derive(Debug)]
pub(super) enum Step {
    /// Send these bytes, if any, and wait for the next message.
    Send(BytesMut),
    /// Go on with [`Startup::work`], with a pause for others.
    Work,
    /// A notice to pass on.
    Notice(ServerMessage),
    /// The session is ready.
    Ready(SessionStart),
}

/// The state of one start-up.
pub(super) struct Startup {
    user: String,
    password: Option<Password>,
    state: State,
    session: SessionStart,
}

enum State {
    /// Waiting for an authentication request.
    Authenticating,
    /// Waiting for the server's first SCRAM message.
    ScramFirst(Scram),
    /// At work for the answer to it; no message is awaited.
    ScramWork(Scram),
    /// Waiting for the server's last SCRAM message.
    ScramFinal(Scram),
    /// Waiting for `AuthenticationOk`; the client has done its part.
    Answered,
    /// Authenticated; waiting for the session's parameters and its readiness.
    Authenticated,
}

/// The startup message; the parameters are names and values in order (CN-207).
pub(super) fn startup_message(parameters: &[(&str, &str)]) -> Result<BytesMut, StartupError> {
    let mut message = BytesMut::new();
    frontend::startup_message(parameters.iter().copied(), &mut message).map_err(unsendable)?;
    Ok(message)
}

fn unsendable(_: std::io::Error) -> StartupError {
    StartupError::Protocol("a value for the server contains a NUL byte".to_owned())
}

impl Startup {
    pub(super) fn new(
        config: &crate::conninfo::Config,
        password: Option<Password>,
        _c: super::channel::Channel,
    ) -> Self {
        let password = password.filter(|password| !password.is_empty());
        Self {
            user: config.user.clone(),
            password,
            state: State::Authenticating,
            session: SessionStart::default(),
        }
    }

    pub(super) fn handle(&mut self, message: Message) -> Result<Step, StartupError> {
        let authenticated = matches!(self.state, State::Authenticated);
        match message.tag {
            b'E' => Err(StartupError::Server(ServerMessage::parse_error(message.body))),
            b'N' => Ok(Step::Notice(ServerMessage::parse_notice(message.body))),
            b'R' if !authenticated => self.authenticate(message),
            b'S' if authenticated => {
                self.session.report(&message)?;
                Ok(Step::Send(BytesMut::new()))
            }
            b'K' if authenticated => {
                self.session.backend_pid = Some(parse_backend_pid(message)?);
                Ok(Step::Send(BytesMut::new()))
            }
            b'Z' if authenticated => Ok(Step::Ready(std::mem::take(&mut self.session))),
            tag => Err(self.out_of_turn(tag)),
        }
    }

    /// Whether a message of that type may come now, whatever its length. One that may not is likely none at
    /// all, but a word of another protocol (CN-220).
    pub(super) fn expects(&self, tag: u8) -> bool {
        match self.state {
            State::Authenticated => matches!(tag, b'E' | b'N' | b'S' | b'K' | b'Z'),
            _ => matches!(tag, b'E' | b'N' | b'R'),
        }
    }

    /// What is wrong with a message of a type that may not come now.
    pub(super) fn out_of_turn(&self, tag: u8) -> StartupError {
        let tag = tag.escape_ascii();
        StartupError::Protocol(match self.state {
            State::Authenticated => format!("unexpected message \"{tag}\" during start-up"),
            _ => format!("expected authentication request from server, but received {tag}"),
        })
    }

    /// Does a part of the work that SCRAM demands: after [`Step::Work`].
    pub(super) fn work(&mut self) -> Result<Step, StartupError> {
        let mut out = BytesMut::new();
        match std::mem::replace(&mut self.state, State::Answered) {
            State::ScramWork(mut scram) => {
                let Some(answer) = scram.client_final() else {
                    self.state = State::ScramWork(scram);
                    return Ok(Step::Work);
                };
                frontend::sasl_response(answer.as_bytes(), &mut out).map_err(unsendable)?;
                self.state = State::ScramFinal(scram);
            }
            other => self.state = other,
        }
        Ok(Step::Send(out))
    }

    fn authenticate(&mut self, Message { mut body, .. }: Message) -> Result<Step, StartupError> {
        let code = body.try_get_u32().map_err(|_| malformed())?;
        let state = std::mem::replace(&mut self.state, State::Answered);
        let mut out = BytesMut::new();
        match (code, state) {
            (0, State::Authenticating | State::Answered) => self.state = State::Authenticated,
            (0, _) => return Err(StartupError::Incomplete),
            (3, State::Authenticating) => {
                frontend::password_message(self.password()?.expose(), &mut out).map_err(unsendable)?;
            }
            (5, State::Authenticating) => {
                let salt = <[u8; 4]>::try_from(&body[..]).map_err(|_| malformed())?;
                let answer = md5_hash(self.user.as_bytes(), self.password()?.expose(), salt);
                frontend::password_message(answer.as_bytes(), &mut out).map_err(unsendable)?;
            }
            (10, State::Authenticating) => {
                choose_mechanism(&body)?;
                self.password()?;
                let scram = Scram::new()?;
                let first = scram.client_first();
                frontend::sasl_initial_response(Scram::MECHANISM, first.as_bytes(), &mut out)
                    .map_err(unsendable)?;
                self.state = State::ScramFirst(scram);
            }
            (11, State::ScramFirst(mut scram)) => {
                scram.challenge(&body, self.password()?)?;
                self.state = State::ScramWork(scram);
                return Ok(Step::Work);
            }
            (12, State::ScramFinal(scram)) => scram.verify(&body)?,
            (code, State::Authenticating) => return Err(unsupported(code)),
            (code, _) => {
                return Err(StartupError::Protocol(format!("authentication request {code} out of turn")));
            }
        }
        Ok(Step::Send(out))
    }

    fn password(&self) -> Result<&Password, StartupError> {
        self.password.as_ref().ok_or(StartupError::PasswordMissing)
    }
}

/// Channel binding needs TLS: whoever offers it without has taken TLS away from somebody (CN-245).
fn choose_mechanism(offered: &[u8]) -> Result<(), StartupError> {
    let is_offered = |name: &str| offered.split(|&byte| byte == 0).any(|offer| offer == name.as_bytes());
    if is_offered(Scram::MECHANISM_WITH_CHANNEL_BINDING) {
        return Err(StartupError::ChannelBindingWithoutTls);
    }
    if is_offered(Scram::MECHANISM) { Ok(()) } else { Err(StartupError::NoMechanism) }
}

fn unsupported(code: u32) -> StartupError {
    StartupError::Unsupported(match code {
        1 => "Kerberos 4 authentication not supported".to_owned(),
        2 => "Kerberos 5 authentication not supported".to_owned(),
        4 => "Crypt authentication not supported".to_owned(),
        7 | 8 => "GSSAPI authentication not supported".to_owned(),
        9 => "SSPI authentication not supported".to_owned(),
        code => format!("authentication method {code} not supported"),
    })
}

fn malformed() -> StartupError {
    StartupError::Protocol("malformed message during start-up".to_owned())
}

/// A `ParameterStatus`: name, NUL, value, NUL.
fn parse_parameter(message: &Message) -> Result<(String, String), StartupError> {
    let mut texts = message.body.split(|&byte| byte == 0);
    let mut text = || texts.next().map(|text| String::from_utf8_lossy(text).into_owned());
    match (text(), text()) {
        (Some(name), Some(value)) => Ok((name, value)),
        _ => Err(malformed()),
    }
}

/// A `BackendKeyData` of protocol 3.0: process id and a key of four bytes.
fn parse_backend_pid(mut message: Message) -> Result<u32, StartupError> {
    match message.body.len() {
        8 => Ok(message.body.get_u32()),
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(tag: u8, body: &'static [u8]) -> Message {
        Message { tag, body: Bytes::from_static(body) }
    }

    fn sent(step: Step) -> BytesMut {
        match step {
            Step::Send(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn cn_207_the_startup_message_keeps_the_order() {
        let bytes = startup_message(&[("user", "u"), ("replication", "true")]).unwrap();
        assert_eq!(&bytes[..], b"\0\0\0\x21\0\x03\0\0user\0u\0replication\0true\0\0");
    }

    #[test]
    fn cn_304_a_trusted_session_becomes_ready() {
        let mut startup = Startup::new("u", None);
        assert!(sent(startup.handle(message(b'R', b"\0\0\0\0")).unwrap()).is_empty());
        startup.handle(message(b'S', b"server_version\x0018.6\0")).unwrap();
        startup.handle(message(b'K', b"\0\0\0\x07\x01\x02\x03\x04")).unwrap();
        let Step::Ready(session) = startup.handle(message(b'Z', b"I")).unwrap() else { panic!() };
        assert_eq!(session.backend_pid, Some(7));
        assert_eq!(session.parameter("server_version"), Some("18.6"));
        assert_eq!(session.parameter("integer_datetimes"), None);
    }

    #[test]
    fn cn_307_the_latest_value_counts_and_only_what_is_known_is_kept() {
        let mut session = SessionStart::default();
        for body in [&b"in_hot_standby\0on\0"[..], b"in_hot_standby\0off\0", b"anything\0else\0"] {
            session.report(&message(b'S', body)).unwrap();
        }
        assert_eq!(session.parameter("in_hot_standby"), Some("off"));
        assert_eq!(session.parameters.len(), 1);
        assert!(session.report(&message(b'S', b"no value")).is_err());
    }

    #[test]
    fn cn_226_md5_answers_with_the_salted_hash() {
        let mut startup = Startup::new("md5_user", Some("password".into()));
        let answer = sent(startup.handle(message(b'R', b"\0\0\0\x05\x2a\x3d\x8f\xe0")).unwrap());
        assert_eq!(&answer[..], b"p\0\0\0\x28md562af4dd09bbb41884907a838a3233294\0");
    }

    #[test]
    fn cn_225_a_cleartext_password_is_sent_as_it_is() {
        let mut startup = Startup::new("u", Some(Password::new(*b"\xffx")));
        let answer = sent(startup.handle(message(b'R', b"\0\0\0\x03")).unwrap());
        assert_eq!(&answer[..], b"p\0\0\0\x07\xffx\0");
    }

    #[test]
    fn cn_275_a_missing_or_empty_password_is_said() {
        for password in [None, Some(Password::from(""))] {
            let mut startup = Startup::new("u", password);
            let error = startup.handle(message(b'R', b"\0\0\0\x03")).unwrap_err();
            assert_eq!(error.to_string(), "fe_sendauth: no password supplied");
        }
    }

    #[test]
    fn cn_235_ok_in_the_middle_of_scram_is_refused() {
        let mut startup = Startup::new("u", Some("p".into()));
        startup.handle(message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0")).unwrap();
        let error = startup.handle(message(b'R', b"\0\0\0\0")).unwrap_err();
        assert_eq!(error.to_string(), "server did not complete authentication");
    }

    #[test]
    fn cn_230_the_work_for_scram_is_done_in_parts() {
        let mut startup = Startup::new("u", Some("p".into()));
        let first = sent(startup.handle(message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0")).unwrap());
        let nonce = first[..].split(|&byte| byte == b'=').next_back().unwrap();
        let challenge = [&b"\0\0\0\x0br="[..], nonce, b"more,s=AAAA,i=8192"].concat();
        let challenge = Message { tag: b'R', body: challenge.into() };
        assert!(matches!(startup.handle(challenge).unwrap(), Step::Work));
        assert!(matches!(startup.work().unwrap(), Step::Work));
        assert_eq!(sent(startup.work().unwrap())[0], b'p');
    }

    #[test]
    fn cn_221_unknown_requests_are_refused_by_name() {
        for (body, text) in [
            (&b"\0\0\0\x01"[..], "Kerberos 4 authentication not supported"),
            (b"\0\0\0\x02", "Kerberos 5 authentication not supported"),
            (b"\0\0\0\x07", "GSSAPI authentication not supported"),
            (b"\0\0\0\x63", "authentication method 99 not supported"),
            (b"\0\0\0\x0aOTHER\0\0", "none of the server's SASL authentication mechanisms are supported"),
        ] {
            let error = Startup::new("u", Some("p".into())).handle(message(b'R', body)).unwrap_err();
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn cn_245_channel_binding_is_not_offered_without_tls() {
        let offer = message(b'R', b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
        let error = Startup::new("u", Some("p".into())).handle(offer).unwrap_err();
        assert_eq!(
            error.to_string(),
            "server offered SCRAM-SHA-256-PLUS authentication over a non-SSL connection"
        );
    }

    #[test]
    fn cn_220_a_word_of_another_protocol_is_out_of_turn() {
        let mut startup = Startup::new("u", None);
        assert!(!startup.expects(b'H') && !startup.expects(b'S') && startup.expects(b'R'));
        assert_eq!(
            startup.out_of_turn(b'H').to_string(),
            "expected authentication request from server, but received H"
        );
        startup.handle(message(b'R', b"\0\0\0\0")).unwrap();
        assert!(!startup.expects(b'H') && startup.expects(b'S') && !startup.expects(b'R'));
        assert_eq!(startup.out_of_turn(b'H').to_string(), "unexpected message \"H\" during start-up");
    }

    #[test]
    fn messages_out_of_turn_are_refused() {
        let mut startup = Startup::new("u", None);
        let error = startup.handle(message(b'Z', b"I")).unwrap_err();
        assert_eq!(error.to_string(), "expected authentication request from server, but received Z");
        assert!(startup.handle(message(b'R', b"\0\0\0\x0b")).is_err());
        let mut startup = Startup::new("u", None);
        startup.handle(message(b'R', b"\0\0\0\0")).unwrap();
        assert!(startup.handle(message(b'R', b"\0\0\0\0")).is_err());
        assert!(startup.handle(message(b'D', b"")).is_err());
    }
}
