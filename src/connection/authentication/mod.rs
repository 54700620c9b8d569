//! Proving who we are: the answers to the server's authentication requests. Sans-I/O.
//!
//! Requests of the server go in; what must be sent comes out. Every request is judged by what the user allows
//! before it is answered. Each exchange has one way through: once SCRAM has begun nothing but a verified server
//! signature leads on, and nothing that is asked beside it gets an answer.

mod channel_binding;
mod credentials;
mod mechanism;
mod oauth;
mod policy;
mod request;
mod response;
mod saslprep;
mod scram;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use postgres_protocol::authentication::md5_hash;
use zeroize::Zeroizing;

use channel_binding::Binding;
pub use channel_binding::ChannelBindingError;
use credentials::Credentials;
use mechanism::Mechanism;
pub use oauth::OauthError;
use policy::Proof;
use request::Request;
pub(super) use request::malformed;
use scram::Scram;
pub use scram::ScramError;

use super::channel::Channel;
use super::gss;
use super::startup_error::StartupError;
use crate::conninfo::{ChannelBinding, Config};
use crate::types::Password;

/// What to do after a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// Send this message.
    Send(Zeroizing<Vec<u8>>),
    /// Send nothing, and wait.
    Wait,
    /// Go on with [`Authentication::work`].
    Work,
    /// Give this token to the security context, a new one if it is empty, and go on with
    /// [`Authentication::proceed`].
    SecurityContext(Vec<u8>),
    /// The server is content, and so is the user.
    Done,
}

/// The state of one authentication.
pub(super) struct Authentication<'a> {
    config: &'a Config,
    password: Option<Password>,
    channel: Channel,
    state: State,
    used_password: bool,
    has_gssapi: bool,
    nonce_source: NonceSource,
}

/// Where the nonces of SCRAM come from.
pub(super) struct NonceSource(pub(super) fn() -> Result<String, ScramError>);

enum State {
    /// Nothing was asked for.
    Begun,
    /// Waiting for the server's first SCRAM message.
    ScramFirst(Scram),
    /// At work for the answer to it; no message is awaited.
    ScramWork(Scram),
    /// Waiting for the server's last SCRAM message.
    ScramFinal(Scram),
    /// Exchanging tokens of GSSAPI.
    SecurityContext { is_complete: bool },
    /// Both sides have done their part.
    Proved(Proof),
    /// Nothing may come any more.
    Ended,
}

impl State {
    fn proof(&self) -> Proof {
        match self {
            Self::Begun => Proof::None,
            Self::SecurityContext { is_complete: true } => Proof::Given,
            Self::Proved(proof) => *proof,
            Self::ScramFirst(_)
            | Self::ScramWork(_)
            | Self::ScramFinal(_)
            | Self::SecurityContext { is_complete: false }
            | Self::Ended => Proof::Incomplete,
        }
    }
}

impl<'a> Authentication<'a> {
    pub(super) fn new(config: &'a Config, password: Option<Password>, channel: Channel) -> Self {
        Self {
            config,
            password: password.filter(|password| !password.is_empty()),
            channel,
            state: State::Begun,
            used_password: false,
            has_gssapi: gss::IS_COMPILED_IN,
            nonce_source: NonceSource(scram::fresh_nonce),
        }
    }

    /// Makes the nonces of SCRAM known.
    #[cfg(any(test, fuzzing))]
    pub(super) fn set_nonce_source(&mut self, source: NonceSource) {
        self.nonce_source = source;
    }

    /// Whether anything was made for the server from a password or from the keys that stand for one.
    pub(super) fn used_password(&self) -> bool {
        self.used_password
    }

    /// Takes a request in: the body of a message of type `R`.
    pub(super) fn answer(&mut self, body: Bytes) -> Result<Answer, StartupError> {
        let request = Request::parse(body)?;
        let state = std::mem::replace(&mut self.state, State::Ended);
        if matches!(request, Request::Accepted) {
            policy::check_consent(self.config, &self.channel, state.proof())?;
            return Ok(Answer::Done);
        }
        policy::check_request(self.config, &self.channel, &request)?;
        match (request, state) {
            (Request::Password, State::Begun) => self.send_password(),
            (Request::Md5 { salt }, State::Begun) => self.send_md5(salt),
            (Request::Gss | Request::Sspi, State::Begun) if self.has_gssapi => {
                self.state = State::SecurityContext { is_complete: false };
                Ok(Answer::SecurityContext(Vec::new()))
            }
            (Request::GssContinue(token), state @ State::SecurityContext { is_complete: false })
                if !token.is_empty() =>
            {
                self.state = state;
                Ok(Answer::SecurityContext(token.into()))
            }
            (Request::Sasl(offered), State::Begun) => self.begin_sasl(&offered),
            (Request::SaslContinue(message), State::ScramFirst(mut scram)) => {
                scram.challenge(&message)?;
                self.state = State::ScramWork(scram);
                Ok(Answer::Work)
            }
            (Request::SaslFinal(message), State::ScramFinal(scram)) => self.end_scram(scram, &message),
            (Request::SaslContinue(_) | Request::SaslFinal(_), State::Begun | State::Proved(_)) => {
                Err(sasl_not_begun())
            }
            (request, State::Begun) if request.is_unsupported(self.has_gssapi) => Err(request.unsupported()),
            (request, _) => Err(request.out_of_turn()),
        }
    }

    /// Does a part of the work that SCRAM demands: after [`Answer::Work`].
    pub(super) fn work(&mut self) -> Result<Answer, StartupError> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::ScramWork(mut scram) => {
                let Some(proof) = scram.client_final() else {
                    self.state = State::ScramWork(scram);
                    return Ok(Answer::Work);
                };
                self.state = State::ScramFinal(scram);
                self.used_password = true;
                response::plain(proof.as_bytes()).map(Answer::Send)
            }
            other => {
                self.state = other;
                Ok(Answer::Wait)
            }
        }
    }

    /// Sends the token that the security context gave, if it is not empty: after
    /// [`Answer::SecurityContext`].
    pub(super) fn proceed(&mut self, token: &[u8], is_complete: bool) -> Result<Answer, StartupError> {
        self.state = State::SecurityContext { is_complete };
        if token.is_empty() { Ok(Answer::Wait) } else { response::plain(token).map(Answer::Send) }
    }

    fn send_password(&mut self) -> Result<Answer, StartupError> {
        let message = response::password(self.password()?.expose())?;
        Ok(self.send_secret(message))
    }

    fn send_md5(&mut self, salt: [u8; 4]) -> Result<Answer, StartupError> {
        let password = self.password()?.expose();
        let hash = Zeroizing::new(md5_hash(self.config.user.as_bytes(), password, salt));
        let message = response::password(hash.as_bytes())?;
        Ok(self.send_secret(message))
    }

    fn send_secret(&mut self, message: Zeroizing<Vec<u8>>) -> Answer {
        self.used_password = true;
        self.state = State::Proved(Proof::Given);
        Answer::Send(message)
    }

    fn password(&self) -> Result<&Password, StartupError> {
        self.password.as_ref().ok_or(StartupError::PasswordMissing)
    }

    fn begin_sasl(&mut self, offered: &[u8]) -> Result<Answer, StartupError> {
        let over_tls = matches!(self.channel, Channel::Tls(_));
        let mechanism = Mechanism::choose(offered, over_tls, self.config.channel_binding)?;
        policy::check_mechanism(self.config, mechanism)?;
        if mechanism == Mechanism::Oauthbearer {
            return Err(oauth::refusal(self.config).into());
        }
        let credentials = Credentials::new(self.config, self.password.as_ref())?;
        let scram = Scram::new(credentials, self.binding(mechanism)?, (self.nonce_source.0)()?);
        let message = response::sasl_initial(mechanism.name(), scram.client_first().as_bytes())?;
        self.state = State::ScramFirst(scram);
        Ok(Answer::Send(message))
    }

    /// What to say about channel binding (CN-229).
    fn binding(&self, mechanism: Mechanism) -> Result<Binding, StartupError> {
        match (&self.channel, mechanism) {
            (Channel::Tls(facts), Mechanism::ScramSha256Plus) => match &facts.server_end_point {
                Ok(hash) => Ok(Binding::ServerEndPoint(hash.clone())),
                Err(reason) => Err(ChannelBindingError::NoEndPoint(reason.clone()).into()),
            },
            (Channel::Tls(_), _) if self.config.channel_binding != ChannelBinding::Disable => {
                Ok(Binding::NotOffered)
            }
            _ => Ok(Binding::Unsupported),
        }
    }

    fn end_scram(&mut self, scram: Scram, server_final: &[u8]) -> Result<Answer, StartupError> {
        let proof = if scram.is_bound() { Proof::GivenWithBinding } else { Proof::Given };
        scram.verify(server_final)?;
        self.state = State::Proved(proof);
        Ok(Answer::Wait)
    }
}

fn sasl_not_begun() -> StartupError {
    StartupError::Protocol(
        "fe_sendauth: invalid authentication request from server: AUTH_REQ_SASL_CONT without AUTH_REQ_SASL"
            .to_owned(),
    )
}
