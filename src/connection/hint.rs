//! What a person can do about a failed connection, where that is known.

use super::authentication::ChannelBindingError;
use super::connect_error::{AttemptError, FailedAttempt};
use super::negotiation::NegotiationError;
use super::server_message::{ServerMessage, sqlstate};
use super::startup::StartupError;

/// The remedy for the last failure.
pub(super) fn remedy(attempts: &[FailedAttempt]) -> Option<String> {
    let last = attempts.last()?;
    match &last.cause {
        AttemptError::Tls(error) => return error.hint(),
        AttemptError::InvalidTimeout(error) | AttemptError::InvalidOption(error) => return error.hint(),
        _ => {}
    }
    let remedy = match last.cause.server_message() {
        Some(message) => of_server(message, last, attempts),
        None => of_client(&last.cause),
    };
    remedy.map(str::to_owned)
}

fn of_client(cause: &AttemptError) -> Option<&'static str> {
    match (cause, cause.startup()) {
        (AttemptError::Negotiation(NegotiationError::TlsUnavailable), _) => Some(
            "Switch ssl on in postgresql.conf on the server, or use sslmode=prefer if the connection may go \
             unencrypted.",
        ),
        (_, Some(StartupError::PasswordMissing)) => {
            Some("Set PGPASSWORD, use a password file, or leave out -w to be asked for the password.")
        }
        (_, Some(StartupError::ChannelBinding(ChannelBindingError::NoEndPoint(_)))) => Some(
            "Use channel_binding=disable, or give the server a certificate with a signature of RSA or ECDSA.",
        ),
        _ => None,
    }
}

fn of_server(
    message: &ServerMessage,
    last: &FailedAttempt,
    attempts: &[FailedAttempt],
) -> Option<&'static str> {
    let is_about_pg_hba = message.field(b'R') == Some("ClientAuthentication");
    match message.sqlstate() {
        sqlstate::INVALID_AUTHORIZATION if is_about_pg_hba => Some(of_pg_hba(last, attempts)),
        sqlstate::INSUFFICIENT_PRIVILEGE => {
            Some("Give the role the REPLICATION attribute: ALTER ROLE … REPLICATION.")
        }
        sqlstate::TOO_MANY_CONNECTIONS => Some(
            "Raise max_wal_senders on the server, or end other replication connections: a base backup takes one, \
             with -X stream two, and a WAL receiver one.",
        ),
        sqlstate::CANNOT_CONNECT_NOW => Some("Try again when the server has started."),
        _ => None,
    }
}

macro_rules! about_pg_hba {
    ($more:literal) => {
        concat!(
            "Add a line for the database \"replication\", this user and this address to pg_hba.conf on the \
             server, and reload its configuration.",
            $more
        )
    };
}

/// A line may be there, for connections of the other kind.
fn of_pg_hba(last: &FailedAttempt, attempts: &[FailedAttempt]) -> &'static str {
    let of_the_other_kind = |attempt: &FailedAttempt| attempt.is_encrypted != last.is_encrypted;
    if attempts.iter().any(|attempt| attempt.place == last.place && of_the_other_kind(attempt)) {
        about_pg_hba!("")
    } else if last.is_encrypted {
        about_pg_hba!(" If there is one of type hostnossl, connect with sslmode=disable.")
    } else {
        about_pg_hba!(" If there is one of type hostssl, connect with sslmode=require.")
    }
}
