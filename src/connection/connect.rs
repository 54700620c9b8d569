//! From a configuration to a session: the hosts in turn, each with all its addresses.

use super::attempt::Attempt;
use super::connect_error::{AttemptError, ConnectError, FailedAttempt};
use super::notice::NoticeHandler;
use super::server_message::sqlstate;
use super::session::Session;
use super::shuffle::shuffle;
use super::target::Target;
use super::{gss, tls};
use crate::conninfo::{
    Config, GssEncMode, Host, LoadBalanceHosts, SslCertMode, SslMode, SslNegotiation, TargetSessionAttrs,
};

/// Connects to the first host that will do.
///
/// A host that cannot be reached, is not ready, or is of another kind than the wanted one passes the turn on; one
/// that refuses ends it (CN-107 … CN-112). Where a standby is preferred and none is there, all have a second turn
/// (CN-124).
pub(crate) async fn connect(config: &Config, notices: NoticeHandler) -> Result<Session, ConnectError> {
    let mut attempts = Vec::new();
    if let Err(cause) = refuse_unsupported(config) {
        attempts.push(FailedAttempt { place: None, is_encrypted: false, cause });
        return Err(ConnectError::new(attempts));
    }
    let wanted = config.target_session_attrs;
    let second = (wanted == TargetSessionAttrs::PreferStandby).then_some(TargetSessionAttrs::Any);
    for wanted in [wanted].into_iter().chain(second) {
        let hosts = Hosts { config, wanted, notices: &notices };
        match hosts.try_all(&mut attempts).await {
            Outcome::Connected(session) => return Ok(*session),
            Outcome::Exhausted => {}
            Outcome::Stopped => break,
        }
    }
    Err(ConnectError::new(attempts))
}

struct Hosts<'a> {
    config: &'a Config,
    wanted: TargetSessionAttrs,
    notices: &'a NoticeHandler,
}

enum Outcome {
    Connected(Box<Session>),
    /// No host would do.
    Exhausted,
    /// One host said what holds for all.
    Stopped,
}

enum Verdict {
    NextAddress,
    NextHost,
    Stop,
}

impl Hosts<'_> {
    async fn try_all(&self, attempts: &mut Vec<FailedAttempt>) -> Outcome {
        for host in self.in_turn(self.config.hosts.iter().collect()) {
            match self.try_host(host, attempts).await {
                Outcome::Exhausted => {}
                outcome => return outcome,
            }
        }
        Outcome::Exhausted
    }

    async fn try_host(&self, host: &Host, attempts: &mut Vec<FailedAttempt>) -> Outcome {
        let targets = match Target::of_host(host, self.config.connect_timeout).await {
            Ok(targets) => self.in_turn(targets),
            Err(cause) => {
                let verdict = verdict(&cause);
                attempts.push(FailedAttempt { place: None, is_encrypted: false, cause });
                return if matches!(verdict, Verdict::Stop) { Outcome::Stopped } else { Outcome::Exhausted };
            }
        };
        for target in &targets {
            let Self { config, wanted, notices } = *self;
            let failures = match (Attempt { config, host, target, wanted, notices }).run().await {
                Ok(session) => return Outcome::Connected(Box::new(session)),
                Err(failures) => failures,
            };
            let verdict = failures.last().map_or(Verdict::NextAddress, |last| verdict(&last.cause));
            attempts.extend(failures);
            match verdict {
                Verdict::NextAddress => {}
                Verdict::NextHost => break,
                Verdict::Stop => return Outcome::Stopped,
            }
        }
        Outcome::Exhausted
    }

    /// As given, or in a new order each time (CN-131).
    fn in_turn<T>(&self, mut items: Vec<T>) -> Vec<T> {
        if self.config.load_balance_hosts == LoadBalanceHosts::Random {
            shuffle(&mut items);
        }
        items
    }
}

fn verdict(cause: &AttemptError) -> Verdict {
    match cause {
        AttemptError::Socket(_)
        | AttemptError::Connect { .. }
        | AttemptError::InvalidOption(_)
        | AttemptError::SocketOption { .. }
        | AttemptError::Timeout => Verdict::NextAddress,
        AttemptError::Resolve { .. } | AttemptError::Address(_) | AttemptError::WrongServer(_) => {
            Verdict::NextHost
        }
        AttemptError::Host(error) if !error.ends_attempt() => Verdict::NextHost,
        _ => match cause.server_message() {
            Some(message) if message.sqlstate() == sqlstate::CANNOT_CONNECT_NOW => Verdict::NextHost,
            _ => Verdict::Stop,
        },
    }
}

/// What this build does not have is refused where the user demands it, and never ignored (CN-057).
fn refuse_unsupported(config: &Config) -> Result<(), AttemptError> {
    let ssl = [
        (config.ssl_mode >= SslMode::Require, "sslmode", config.ssl_mode.as_str()),
        (config.ssl_negotiation == SslNegotiation::Direct, "sslnegotiation", "direct"),
        (config.ssl_cert_mode == SslCertMode::Require, "sslcertmode", "require"),
    ];
    for (is_demanded, keyword, value) in ssl {
        if is_demanded && !tls::IS_COMPILED_IN {
            return Err(AttemptError::NotCompiledIn { keyword, value, feature: "SSL" });
        }
    }
    if config.gss_enc_mode == GssEncMode::Require && !gss::IS_COMPILED_IN {
        return Err(AttemptError::NotCompiledIn {
            keyword: "gssencmode",
            value: "require",
            feature: "GSSAPI",
        });
    }
    Ok(())
}
