//! From a configuration to a session: the hosts in turn, each with all its addresses.

use super::attempt::Attempt;
use super::connect_error::{AttemptError, ConnectError, FailedAttempt};
use super::notice::{Notice, NoticeHandler};
use super::server_message::sqlstate;
use super::session::Session;
use super::shuffle::shuffle;
use super::target::Target;
use super::{gss, tls};
use crate::conninfo::{
    Config, GssEncMode, Host, LoadBalanceHosts, PasswordLookup, SslCertMode, SslMode, SslNegotiation,
    TargetSessionAttrs,
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
    let passwords: Vec<_> =
        config.hosts.iter().map(|host| look_up_password(config, host, &notices)).collect();
    let wanted = config.target_session_attrs;
    let second = (wanted == TargetSessionAttrs::PreferStandby).then_some(TargetSessionAttrs::Any);
    for wanted in [wanted].into_iter().chain(second) {
        let hosts = Hosts { config, passwords: &passwords, wanted, notices: &notices };
        match hosts.try_all(&mut attempts).await {
            Outcome::Connected(session) => return Ok(*session),
            Outcome::Exhausted => {}
            Outcome::Stopped => break,
        }
    }
    Err(ConnectError::new(attempts))
}

/// Once for each host, however often it is tried, so that a warning comes once, too.
fn look_up_password(config: &Config, host: &Host, notices: &NoticeHandler) -> PasswordLookup {
    let lookup = config.password_for(host);
    if let Some(warning) = &lookup.warning {
        notices(&Notice::PasswordFile(warning.clone()));
    }
    lookup
}

struct Hosts<'a> {
    config: &'a Config,
    /// The password for each host.
    passwords: &'a [PasswordLookup],
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
        for (host, password) in self.in_turn(self.config.hosts.iter().zip(self.passwords).collect()) {
            match self.try_host(host, password, attempts).await {
                Outcome::Exhausted => {}
                outcome => return outcome,
            }
        }
        Outcome::Exhausted
    }

    async fn try_host(
        &self,
        host: &Host,
        password: &PasswordLookup,
        attempts: &mut Vec<FailedAttempt>,
    ) -> Outcome {
        let targets = match Target::of_host(host, self.config.connect_timeout).await {
            Ok(targets) => self.in_turn(targets),
            Err(cause) => {
                let verdict = verdict(&cause);
                attempts.push(FailedAttempt { place: None, is_encrypted: false, cause });
                return if matches!(verdict, Verdict::Stop) { Outcome::Stopped } else { Outcome::Exhausted };
            }
        };
        for target in &targets {
            let Self { config, wanted, notices, .. } = *self;
            let attempt = Attempt { config, host, target, password, wanted, notices };
            let failures = match attempt.run().await {
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
