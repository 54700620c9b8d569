//! From the startup message to a session that is ready for queries. Sans-I/O.
//!
//! Messages of the server go in; what must be sent comes out. A server is believed only in turn: an answer
//! that does not fit the state ends the attempt.

mod protocol_version;
mod session_start;

use bytes::Bytes;
use zeroize::Zeroizing;

use protocol_version::Negotiation;
pub(super) use session_start::SessionStart;
use session_start::disagreeing_length;

use super::authentication::{self, Answer, Authentication};
use super::channel::Channel;
use super::frame::{Message, OutOfSync};
use super::server_message::ServerMessage;
pub(super) use super::startup_error::StartupError;
use crate::conninfo::Config;
use crate::types::Password;

/// What to do after a message.
#[derive(Debug)]
pub(super) enum Step {
    /// Send these bytes and wait for the next message.
    Send(Zeroizing<Vec<u8>>),
    /// Wait for the next message.
    Receive,
    /// Go on with [`Startup::work`], with a pause for others.
    Work,
    /// Give this token to the GSSAPI security context, a new one if it is empty, and go on with
    /// [`Startup::proceed`].
    SecurityContext(Vec<u8>),
    /// A notice to pass on.
    Notice(ServerMessage),
    /// The session is ready.
    Ready(SessionStart),
}

impl From<Answer> for Step {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Send(bytes) => Self::Send(bytes),
            Answer::Wait | Answer::Done => Self::Receive,
            Answer::Work => Self::Work,
            Answer::SecurityContext(token) => Self::SecurityContext(token),
        }
    }
}

/// The state of one start-up.
pub(super) struct Startup<'a> {
    config: &'a Config,
    negotiation: Negotiation,
    authentication: Authentication<'a>,
    phase: Phase,
    session: SessionStart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waiting for the server's first word, which may be about the version of the protocol.
    Opening,
    /// The server has asked for authentication.
    Authenticating,
    /// The server is content; waiting for the session's parameters and its readiness.
    Authenticated,
}

impl<'a> Startup<'a> {
    pub(super) fn new(config: &'a Config, password: Option<Password>, channel: Channel) -> Self {
        Self {
            config,
            negotiation: Negotiation::new(config),
            authentication: Authentication::new(config, password, channel),
            phase: Phase::Opening,
            session: SessionStart::default(),
        }
    }

    pub(super) fn config(&self) -> &'a Config {
        self.config
    }

    /// Whether anything was made for the server from a password or from the keys that stand for one. If so, an
    /// attempt with less protection would show the same to somebody else.
    pub(super) fn used_password(&self) -> bool {
        self.authentication.used_password()
    }

    /// Whether the server has let the user in.
    pub(super) fn is_authenticated(&self) -> bool {
        self.phase == Phase::Authenticated
    }

    /// Makes the nonces of SCRAM known.
    #[cfg(any(test, fuzzing))]
    pub(super) fn set_nonce_source(&mut self, source: authentication::NonceSource) {
        self.authentication.set_nonce_source(source);
    }

    /// The first step: the startup message, with names and values in order.
    pub(super) fn begin(&self, parameters: &[(&str, &str)]) -> Result<Step, StartupError> {
        let message = self.negotiation.startup_message(parameters)?;
        Ok(Step::Send(Zeroizing::new(message.into())))
    }

    /// Takes a message of the server in.
    pub(super) fn handle(&mut self, message: Message) -> Result<Step, StartupError> {
        match message.tag {
            b'E' => return Err(StartupError::Server(ServerMessage::parse_error(message.body))),
            tag if !self.expects(tag) => return Err(self.out_of_turn(tag)),
            b'v' => self.negotiation.answer(message.body)?,
            b'R' => return self.authenticate(message.body),
            b'N' => return Ok(Step::Notice(ServerMessage::parse_notice(message.body))),
            b'S' => self.session.report(&message)?,
            b'K' => self.session.identify(message.body, self.negotiation.version())?,
            b'Z' if message.body.len() == 1 => return Ok(Step::Ready(std::mem::take(&mut self.session))),
            tag => return Err(disagreeing_length(tag)),
        }
        Ok(Step::Receive)
    }

    /// Does a part of the work that SCRAM demands: after [`Step::Work`].
    pub(super) fn work(&mut self) -> Result<Step, StartupError> {
        self.authentication.work().map(Step::from)
    }

    /// Takes the token in that the security context gave: after [`Step::SecurityContext`].
    pub(super) fn proceed(&mut self, token: &[u8], is_complete: bool) -> Result<Step, StartupError> {
        self.authentication.proceed(token, is_complete).map(Step::from)
    }

    /// What is wrong with a message whose length cannot be; none if nothing better can be said than that.
    pub(super) fn refusal(&self, error: OutOfSync) -> Option<StartupError> {
        match error.tag {
            tag if !self.expects(tag) => Some(self.out_of_turn(tag)),
            b'R' => Some(authentication::malformed()),
            b'v' => Some(protocol_version::malformed()),
            _ => None,
        }
    }

    fn authenticate(&mut self, body: Bytes) -> Result<Step, StartupError> {
        self.phase = Phase::Authenticating;
        let answer = self.authentication.answer(body)?;
        if matches!(answer, Answer::Done) {
            self.phase = Phase::Authenticated;
        }
        Ok(answer.into())
    }

    /// Whether a message of that type may come now, whatever its length.
    fn expects(&self, tag: u8) -> bool {
        match self.phase {
            Phase::Opening => matches!(tag, b'E' | b'R' | b'v'),
            Phase::Authenticating => matches!(tag, b'E' | b'R'),
            Phase::Authenticated => matches!(tag, b'E' | b'N' | b'S' | b'K' | b'Z'),
        }
    }

    /// What is wrong with a message of a type that may not come now. It is likely none at all, but a word of
    /// another protocol (CN-220).
    fn out_of_turn(&self, tag: u8) -> StartupError {
        let tag = tag.escape_ascii();
        StartupError::Protocol(match self.phase {
            Phase::Opening | Phase::Authenticating => {
                format!("expected authentication request from server, but received {tag}")
            }
            Phase::Authenticated => format!("unexpected message \"{tag}\" during start-up"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(conninfo: &str) -> Config {
        format!("user=u {conninfo}").parse().unwrap()
    }

    fn startup(config: &Config) -> Startup<'_> {
        Startup::new(config, Some("p".into()), Channel::Plain)
    }

    fn message(tag: u8, body: &'static [u8]) -> Message {
        Message { tag, body: Bytes::from_static(body) }
    }

    const CONSENT: &[u8] = b"\0\0\0\0";

    #[test]
    fn cn_207_it_begins_with_the_startup_message() {
        let config = config("");
        let Step::Send(bytes) = startup(&config).begin(&[("user", "u")]).unwrap() else { panic!() };
        assert_eq!(&bytes[..], b"\0\0\0\x10\0\x03\0\0user\0u\0\0");
    }

    #[test]
    fn cn_304_a_trusted_session_becomes_ready() {
        let config = config("");
        let mut startup = startup(&config);
        for (tag, body) in
            [(b'R', CONSENT), (b'S', b"server_version\x0018.6\0"), (b'K', b"\0\0\0\x07\x01\x02\x03\x04")]
        {
            assert!(matches!(startup.handle(message(tag, body)).unwrap(), Step::Receive));
        }
        let Step::Notice(notice) = startup.handle(message(b'N', b"SNOTICE\0Mhi\0\0")).unwrap() else {
            panic!()
        };
        assert_eq!(notice.to_string(), "NOTICE:  hi");
        let Step::Ready(session) = startup.handle(message(b'Z', b"I")).unwrap() else { panic!() };
        assert_eq!(session.backend_pid, Some(7));
        assert_eq!(session.parameter("server_version"), Some("18.6"));
        assert_eq!(session.parameter("integer_datetimes"), None);
        assert!(!startup.used_password());
    }

    #[test]
    fn cn_305_a_refusal_after_consent_is_the_servers() {
        let config = config("");
        let mut startup = startup(&config);
        startup.handle(message(b'R', CONSENT)).unwrap();
        let error = startup.handle(message(b'E', b"SFATAL\0C42501\0Mno\0\0")).unwrap_err();
        assert!(matches!(error, StartupError::Server(message) if message.sqlstate() == "42501"));
        assert!(startup.is_authenticated());
    }

    #[test]
    fn cn_216_and_219_what_was_negotiated_decides_the_length_of_the_key() {
        let config = config("max_protocol_version=3.2");
        for (answer, key, is_right) in [(false, 8, true), (true, 8, false), (true, 4, true), (false, 4, true)]
        {
            let mut startup = startup(&config);
            if answer {
                startup.handle(message(b'v', b"\0\x03\0\0\0\0\0\0")).unwrap();
            }
            startup.handle(message(b'R', CONSENT)).unwrap();
            let body = [&[0, 0, 0, 7][..], &vec![1; key]].concat().into();
            assert_eq!(startup.handle(Message { tag: b'K', body }).is_ok(), is_right, "{answer} {key}");
        }
    }

    #[test]
    fn cn_218_the_version_is_settled_first() {
        let config = config("max_protocol_version=3.2");
        let mut startup = startup(&config);
        startup.handle(message(b'R', b"\0\0\0\x03")).unwrap();
        let error = startup.handle(message(b'v', b"\0\x03\0\0\0\0\0\0")).unwrap_err();
        assert_eq!(error.to_string(), "expected authentication request from server, but received v");
    }

    #[test]
    fn cn_220_a_word_of_another_protocol_is_out_of_turn() {
        let config = config("");
        let mut startup = startup(&config);
        let refusal = |startup: &Startup<'_>, tag, length| {
            startup.refusal(OutOfSync { tag, length }).map(|refusal| refusal.to_string())
        };
        let foreign = "expected authentication request from server, but received ";
        for tag in *b"HSNZKd" {
            assert_eq!(refusal(&startup, tag, 1 << 30), Some(format!("{foreign}{}", char::from(tag))));
        }
        assert_eq!(refusal(&startup, 0, 0), Some(format!("{foreign}\\x00")));
        let malformed = "received invalid authentication request";
        assert_eq!(refusal(&startup, b'R', 1 << 30).unwrap(), malformed);
        let malformed = "received invalid protocol negotiation message";
        assert_eq!(refusal(&startup, b'v', 1 << 30).unwrap(), malformed);
        assert_eq!(refusal(&startup, b'E', 1 << 30), None);
        startup.handle(message(b'R', CONSENT)).unwrap();
        assert_eq!(refusal(&startup, b'H', 0).unwrap(), "unexpected message \"H\" during start-up");
        assert_eq!(refusal(&startup, b'S', 0), None);
    }

    #[test]
    fn cn_302_nothing_is_taken_out_of_turn() {
        let config = config("");
        for tag in *b"NSKZdDGHWvpA\0" {
            let mut startup = startup(&config);
            if tag != b'v' {
                assert!(startup.handle(message(tag, b"I")).is_err(), "{tag} at first");
                startup.handle(message(b'R', b"\0\0\0\x03")).unwrap();
            }
            assert!(startup.handle(message(tag, b"I")).is_err(), "{tag} instead of a request");
        }
        for tag in *b"RvdDGHWpA\0" {
            let mut startup = startup(&config);
            startup.handle(message(b'R', CONSENT)).unwrap();
            assert!(startup.handle(message(tag, CONSENT)).is_err(), "{tag} after consent");
        }
    }

    #[test]
    fn cn_302_readiness_has_a_status_of_one_byte() {
        let config = config("");
        for body in [&b""[..], b"II"] {
            let mut startup = startup(&config);
            startup.handle(message(b'R', CONSENT)).unwrap();
            let error = startup.handle(message(b'Z', body)).unwrap_err();
            let text = "message contents do not agree with length in message type \"Z\"";
            assert_eq!(error.to_string(), text);
        }
    }
}
