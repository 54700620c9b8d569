//! From a host to the sockets that it stands for: every address of a name (CN-101, CN-104).

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::connect_error::AttemptError;
use super::inet_address::parse_v4;
use super::place::Place;
use crate::conninfo::{Endpoint, Host};
use crate::types::OsError;

/// A socket to connect to.
pub(super) enum Target {
    Tcp {
        /// The host as the user named it.
        host: String,
        address: SocketAddr,
        /// Whether the user named an address, as `hostaddr`.
        is_given: bool,
    },
    Unix(PathBuf),
    /// A name in the abstract namespace, without the `@` that stands for its NUL byte.
    Abstract(String),
}

impl Target {
    /// All that a host stands for, in the resolver's order. A name server that does not answer within the
    /// limit has not answered (CW-10).
    pub(super) async fn of_host(host: &Host, limit: Option<Duration>) -> Result<Vec<Self>, AttemptError> {
        match host.endpoint()? {
            Endpoint::Socket(path) => Ok(vec![Self::Unix(path)]),
            Endpoint::AbstractSocket(name) => Ok(vec![Self::Abstract(name)]),
            Endpoint::Address { address, port } => Self::of_address(address, port).await,
            Endpoint::Name { name, port } => {
                let found = within(limit, look_up(&name, port)).await;
                let found = found.map_err(|reason| AttemptError::Resolve { reason, name: name.clone() })?;
                let target = |address| Self::Tcp { host: name.clone(), address, is_given: false };
                Ok(found.into_iter().map(target).collect())
            }
        }
    }

    /// Name servers are not asked for an address. One with the name of a network interface behind `%` is for
    /// the resolver to read.
    async fn of_address(text: String, port: u16) -> Result<Vec<Self>, AttemptError> {
        let has_interface = || text.split_once('%').is_some_and(|(ip, _)| ip.parse::<Ipv6Addr>().is_ok());
        let ip = text.parse::<IpAddr>().ok().or_else(|| parse_v4(&text).map(IpAddr::V4));
        let address = match ip {
            Some(ip) => Some(SocketAddr::new(ip, port)),
            None if has_interface() => {
                look_up(&text, port).await.ok().and_then(|found| found.first().copied())
            }
            None => None,
        };
        match address {
            Some(address) => Ok(vec![Self::Tcp { host: text, address, is_given: true }]),
            None => Err(AttemptError::Address(text)),
        }
    }

    /// What messages call it.
    pub(super) fn place(&self) -> Place {
        match self {
            Self::Tcp { host, address, is_given } => {
                let text = address.ip().to_string();
                let differs = !is_given && *host != text;
                Place::Tcp { host: host.clone(), address: differs.then_some(text), port: address.port() }
            }
            Self::Unix(path) => Place::Socket(path.clone()),
            Self::Abstract(name) => Place::Socket(format!("@{name}").into()),
        }
    }
}

async fn within(
    limit: Option<Duration>,
    lookup: impl Future<Output = Result<Vec<SocketAddr>, OsError>>,
) -> Result<Vec<SocketAddr>, OsError> {
    match limit {
        None => lookup.await,
        Some(limit) => tokio::time::timeout(limit, lookup)
            .await
            .unwrap_or_else(|_| Err(OsError(io::Error::other("timeout expired")))),
    }
}

async fn look_up(name: &str, port: u16) -> Result<Vec<SocketAddr>, OsError> {
    let found = tokio::net::lookup_host((name, port)).await.map_err(resolver_text)?;
    Ok(found.collect())
}

/// The standard library puts its own words before those of the resolver.
fn resolver_text(error: io::Error) -> OsError {
    let text = error.to_string();
    match text.strip_prefix("failed to lookup address information: ") {
        Some(reason) => OsError(io::Error::other(reason.to_owned())),
        None => OsError(error),
    }
}
