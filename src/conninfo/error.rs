//! What can be wrong with connection settings, in libpq's words.

use std::path::PathBuf;

use super::{Keyword, Origin, ServiceLineProblem};
use crate::types::OsError;

/// The settings do not make a configuration. Asking again with the same ones gives the same answer,
/// so no caller should retry (CN-008).
///
/// The texts are those of libpq. No variant holds a password: where libpq would show one, `…` stands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConninfoError {
    /// A word of a connection string is followed by no `=` (CN-014).
    #[error("missing \"=\" after \"{word}\" in connection info string")]
    MissingEquals {
        /// The word.
        word: String,
    },
    /// A connection string ends within quotes (CN-015).
    #[error("unterminated quoted string in connection info string")]
    UnterminatedQuote,
    /// No keyword has that name (CN-007).
    #[error("invalid connection option \"{name}\"")]
    UnknownKeyword {
        /// The name as given.
        name: String,
    },
    /// An IPv6 address of a URI has no closing bracket (CN-028).
    #[error("end of string reached when looking for matching \"]\" in IPv6 host address in URI: \"{uri}\"")]
    UriUnmatchedBracket {
        /// The URI without its secrets.
        uri: String,
    },
    /// There is nothing between the brackets (CN-028).
    #[error("IPv6 host address may not be empty in URI: \"{uri}\"")]
    UriEmptyIpv6Address {
        /// The URI without its secrets.
        uri: String,
    },
    /// Something other than a port, a further host, a path or a query follows the brackets (CN-028).
    #[error(
        "unexpected character \"{character}\" at position {position} in URI (expected \":\" or \"/\"): \"{uri}\""
    )]
    UriUnexpectedCharacter {
        /// The character.
        character: char,
        /// Its place in the URI in bytes, from 1.
        position: usize,
        /// The URI without its secrets.
        uri: String,
    },
    /// A query parameter has no `=` (CN-031).
    #[error("missing key/value separator \"=\" in URI query parameter: \"{parameter}\"")]
    UriMissingSeparator {
        /// The parameter as written.
        parameter: String,
    },
    /// A query parameter has more than one `=` (CN-031).
    #[error("extra key/value separator \"=\" in URI query parameter: \"{parameter}\"")]
    UriExtraSeparator {
        /// The key as written.
        parameter: String,
    },
    /// A query parameter is named after no keyword (CN-030).
    #[error("invalid URI query parameter: \"{name}\"")]
    UnknownUriParameter {
        /// The decoded key.
        name: String,
    },
    /// A `%` is not followed by two hexadecimal digits (CN-032).
    #[error("invalid percent-encoded token: \"{token}\"")]
    UriInvalidPercentEncoding {
        /// The item as written, `…` if it is a secret.
        token: String,
    },
    /// `%00` stands for a byte that no value can hold (CN-032).
    #[error("forbidden value %00 in percent-encoded value: \"{token}\"")]
    UriForbiddenNul {
        /// The item as written, `…` if it is a secret.
        token: String,
    },
    /// There are blanks within an item (CN-037).
    #[error("unexpected spaces found in \"{token}\", use percent-encoded spaces (%20) instead")]
    UriUnexpectedSpaces {
        /// The item as written, `…` if it is a secret.
        token: String,
    },
    /// A value holds a NUL byte, which the protocol cannot carry.
    #[error("value of connection option \"{keyword}\" contains a NUL byte")]
    NulByte {
        /// The keyword.
        keyword: Keyword,
    },
    /// A value that must be text is not UTF-8. Passwords and paths need not be.
    #[error("value of \"{name}\" is not valid UTF-8")]
    NotUtf8 {
        /// The keyword or the environment variable.
        name: &'static str,
    },
    /// The service file cannot be opened (CN-065).
    #[error("service file \"{}\" not found", path.display())]
    ServiceFileNotFound {
        /// The file.
        path: PathBuf,
        /// The environment variable that names it, if one does.
        variable: Option<&'static str>,
        /// Why not.
        reason: OsError,
    },
    /// The service file cannot be read.
    #[error("could not read service file \"{}\"", path.display())]
    ServiceFileRead {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: OsError,
    },
    /// No service file has a section of that name (CN-064).
    #[error("definition of service \"{service}\" not found")]
    ServiceNotFound {
        /// The name of the service.
        service: String,
        /// Who named it.
        origin: Origin,
    },
    /// A line of a service file has more than 1022 bytes (CN-073).
    #[error("line {line} too long in service file \"{}\"", path.display())]
    ServiceLineTooLong {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
    },
    /// A line of the service is not a keyword, `=` and a value (CN-070, CN-071).
    #[error("syntax error in service file \"{}\", line {line}", path.display())]
    ServiceSyntax {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: ServiceLineProblem,
    },
    /// A service refers to another one (CN-072).
    #[error(
        "nested service specifications not supported in service file \"{}\", line {line}",
        path.display()
    )]
    NestedService {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
    },
    /// The value is none of those the keyword can have (CN-047, CN-050).
    #[error("invalid {keyword} value: \"{value}\"")]
    InvalidValue {
        /// The keyword.
        keyword: Keyword,
        /// Its value.
        value: String,
        /// Who gave it.
        origin: Origin,
    },
    /// No version of TLS has that name (CN-048).
    #[error("invalid \"{keyword}\" value: \"{value}\"")]
    InvalidTlsVersion {
        /// `ssl_min_protocol_version` or `ssl_max_protocol_version`.
        keyword: Keyword,
        /// Its value.
        value: String,
        /// Who gave it.
        origin: Origin,
    },
    /// The lowest version of TLS lies above the highest (CN-049).
    #[error("invalid SSL protocol version range")]
    TlsVersionRange,
    /// The lowest protocol version lies above the highest (CN-050).
    #[error("\"min_protocol_version\" is greater than \"max_protocol_version\"")]
    ProtocolVersionRange,
    /// `host` and `hostaddr` are lists of different lengths (CN-098).
    #[error("could not match {names} host names to {addresses} hostaddr values")]
    HostAddressCount {
        /// The number of names.
        names: usize,
        /// The number of addresses.
        addresses: usize,
    },
    /// There are several ports, but not one for each host (CN-098).
    #[error("could not match {ports} port numbers to {hosts} hosts")]
    PortCount {
        /// The number of ports.
        ports: usize,
        /// The number of hosts.
        hosts: usize,
    },
    /// Direct TLS leaves no way back to plain text, so the mode must not either.
    #[error(
        "weak sslmode \"{mode}\" may not be used with sslnegotiation=direct (use \"require\", \"verify-ca\", or \"verify-full\")"
    )]
    WeakSslModeForDirect {
        /// The mode.
        mode: super::SslMode,
    },
    /// The system's roots vouch for anybody, so the name must be checked (CN-172).
    #[error("weak sslmode \"{mode}\" may not be used with sslrootcert=system (use \"verify-full\")")]
    WeakSslModeForSystemRoots {
        /// The mode.
        mode: super::SslMode,
    },
    /// A method with `!` follows one without (CN-268).
    #[error("negative require_auth method \"{method}\" cannot be mixed with non-negative methods")]
    NegativeRequireAuth {
        /// The method with its `!`.
        method: String,
    },
    /// A method without `!` follows one with it (CN-268).
    #[error("require_auth method \"{method}\" cannot be mixed with negative methods")]
    PositiveRequireAuth {
        /// The method.
        method: String,
    },
    /// A method is listed twice (CN-269).
    #[error("require_auth method \"{method}\" is specified more than once")]
    RepeatedRequireAuth {
        /// The method, with its `!` if it has one.
        method: String,
    },
    /// A SCRAM key is not base64 (CN-059).
    #[error("invalid SCRAM {side} key")]
    InvalidScramKey {
        /// `client` or `server`.
        side: &'static str,
    },
    /// A SCRAM key has not 32 bytes (CN-059).
    #[error("invalid SCRAM {side} key length: {length}")]
    InvalidScramKeyLength {
        /// `client` or `server`.
        side: &'static str,
        /// The number of bytes.
        length: usize,
    },
    /// No user is named, and the system has no name for the one who runs this process (CN-009).
    #[error("local user with ID {uid} does not exist")]
    NoLocalUser {
        /// The effective user id.
        uid: u32,
    },
    /// No user is named, and the list of the system's users cannot be read (CN-009).
    #[error("could not look up local user ID {uid}")]
    LocalUserLookup {
        /// The effective user id.
        uid: u32,
        /// Why not.
        source: OsError,
    },
}

impl ConninfoError {
    /// What to do about it, where the text alone does not say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::InvalidValue { keyword, origin, .. } | Self::InvalidTlsVersion { keyword, origin, .. } => {
                source_of(*keyword, *origin)
            }
            Self::ServiceNotFound { origin, .. } => source_of(Keyword::Service, *origin),
            Self::ServiceFileNotFound { variable: Some(variable), reason, .. } => {
                Some(format!("{variable} names this file, which cannot be opened: {reason}."))
            }
            Self::ServiceFileNotFound { reason, .. } => Some(format!("The file cannot be opened: {reason}.")),
            Self::ServiceSyntax { problem, .. } => Some(problem.to_string()),
            Self::NoLocalUser { .. } | Self::LocalUserLookup { .. } => {
                Some("Name the user with -U, in the connection string or in PGUSER.".to_owned())
            }
            _ => None,
        }
    }
}

/// Where to look for a value that the user does not see (CN-006).
pub(super) fn source_of(keyword: Keyword, origin: Origin) -> Option<String> {
    match origin {
        Origin::Environment => {
            let variable = keyword.environment_variable()?;
            Some(format!("The value comes from the environment variable {variable}."))
        }
        Origin::Service => Some("The value comes from the service file.".to_owned()),
        Origin::Option | Origin::ConnectionString | Origin::Default => None,
    }
}
