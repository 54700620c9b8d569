//! The lists `host`, `hostaddr` and `port`, taken apart into one [`Host`] after the other.
//!
//! What is wrong with one host of several is found out when its turn comes, because an earlier one
//! may do: [`Host::endpoint`] is where that shows.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{ConninfoError, Keyword, Settings, integer};

/// Where the platform has its sockets (CN-095): a setting of the build, or else the directory of the packages of
/// Debian, Ubuntu and Red Hat.
const DEFAULT_SOCKET_DIRECTORY: &str = match option_env!("PGSIPHON_DEFAULT_SOCKET_DIRECTORY") {
    Some(directory) if !directory.is_empty() => directory,
    _ => "/var/run/postgresql",
};

const _: () = assert!(
    matches!(DEFAULT_SOCKET_DIRECTORY.as_bytes()[0], b'/' | b'@'),
    "PGSIPHON_DEFAULT_SOCKET_DIRECTORY is neither an absolute path nor an abstract name"
);

/// Where PostgreSQL as its authors publish it has them.
const UPSTREAM_SOCKET_DIRECTORY: &str = "/tmp";

const DEFAULT_PORT: u16 = 5432;

/// The longest path of a socket in bytes; the field has one more, for a NUL.
const LONGEST_SOCKET_PATH: usize = 107;

/// One of the hosts to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The item of `host`: a DNS name, an address, or for a Unix socket a directory that begins with
    /// `/` or an abstract name that begins with `@`.
    pub name: Option<String>,
    /// The item of `hostaddr`, an address that makes looking up the name unnecessary (CN-101).
    pub address: Option<String>,
    /// The item of `port`.
    pub port: Port,
}

/// A port as given; its text is what the password file is searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port(String);

/// What to connect a socket to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP port of an address given as `hostaddr`; no name is looked up for it.
    Address {
        /// The address as given, not checked.
        address: String,
        /// The port.
        port: u16,
    },
    /// A TCP port of a name that is to be resolved.
    Name {
        /// A DNS name or an address.
        name: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket in the file system.
    Socket(PathBuf),
    /// A Unix socket in the abstract namespace, without the `@` that stands for its NUL byte.
    AbstractSocket(String),
}

/// This host cannot be tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The port is no integer of 32 bits (CN-106).
    #[error("invalid integer value \"{0}\" for connection option \"port\"")]
    PortNotInteger(String),
    /// The port does not lie between 1 and 65535 (CN-105).
    #[error("invalid port number: \"{0}\"")]
    PortOutOfRange(String),
    /// The path does not fit the address of a socket (CN-102).
    #[error("Unix-domain socket path \"{0}\" is too long (maximum {LONGEST_SOCKET_PATH} bytes)")]
    SocketPathTooLong(String),
}

impl HostError {
    /// Whether the hosts after this one must not be tried either (CN-106).
    pub const fn ends_attempt(&self) -> bool {
        matches!(self, Self::PortNotInteger(_))
    }
}

impl Host {
    /// What to connect to.
    ///
    /// Without a name and an address that is a socket in the platform's directory, or if there is none
    /// and there is one in `/tmp`, that one.
    pub fn endpoint(&self) -> Result<Endpoint, HostError> {
        self.endpoint_where(Path::exists)
    }

    fn endpoint_where(&self, exists: impl Fn(&Path) -> bool) -> Result<Endpoint, HostError> {
        let port = self.port.number()?;
        match (non_empty(self.address.as_ref()), non_empty(self.name.as_ref())) {
            (Some(address), _) => Ok(Endpoint::Address { address: address.clone(), port }),
            (None, Some(name)) if is_socket(name) => socket(name, port),
            (None, Some(name)) => Ok(Endpoint::Name { name: name.clone(), port }),
            (None, None) => default_socket(port, exists),
        }
    }

    /// The name under which the password file has this host (CN-085, CN-086).
    pub(super) fn password_file_name(&self) -> &str {
        match non_empty(self.name.as_ref()).or(non_empty(self.address.as_ref())) {
            Some(name) if name != DEFAULT_SOCKET_DIRECTORY => name,
            _ => "localhost",
        }
    }

    /// Takes the lists apart (CN-098 … CN-100).
    pub(super) fn list(settings: &Settings) -> Result<Vec<Self>, ConninfoError> {
        let items = |keyword| Ok::<_, ConninfoError>(settings.text(keyword)?.map(|text| split(&text)));
        let names: Vec<_> = items(Keyword::Host)?.unwrap_or_default();
        let addresses: Vec<_> = items(Keyword::Hostaddr)?.unwrap_or_default();
        let ports = items(Keyword::Port)?.unwrap_or_else(|| vec![None]);

        if !addresses.is_empty() && !names.is_empty() && names.len() != addresses.len() {
            return Err(ConninfoError::HostAddressCount { names: names.len(), addresses: addresses.len() });
        }
        let hosts = addresses.len().max(names.len()).max(1);
        if ports.len() != 1 && ports.len() != hosts {
            return Err(ConninfoError::PortCount { ports: ports.len(), hosts });
        }
        let item = |list: &[Option<String>], at: usize| list.get(at).cloned().flatten();
        let port = |at: usize| item(&ports, if ports.len() == 1 { 0 } else { at });
        let host = |at| Self {
            name: item(&names, at),
            address: item(&addresses, at),
            port: port(at).map_or_else(Port::default, Port),
        };
        Ok((0..hosts).map(host).collect())
    }
}

impl Port {
    /// The number, which lies between 1 and 65535.
    pub fn number(&self) -> Result<u16, HostError> {
        let number =
            integer::parse(self.0.as_bytes()).ok_or_else(|| HostError::PortNotInteger(self.0.clone()))?;
        match u16::try_from(number) {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(HostError::PortOutOfRange(self.0.clone())),
        }
    }

    /// The text as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// PostgreSQL's own port, 5432.
impl Default for Port {
    fn default() -> Self {
        Self::from(DEFAULT_PORT)
    }
}

impl From<u16> for Port {
    fn from(number: u16) -> Self {
        Self(number.to_string())
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn split(list: &str) -> Vec<Option<String>> {
    list.split(',').map(|item| (!item.is_empty()).then(|| item.to_owned())).collect()
}

fn non_empty(item: Option<&String>) -> Option<&String> {
    item.filter(|item| !item.is_empty())
}

fn is_socket(name: &str) -> bool {
    name.starts_with(['/', '@'])
}

fn socket(directory: &str, port: u16) -> Result<Endpoint, HostError> {
    let path = format!("{directory}/.s.PGSQL.{port}");
    match path.strip_prefix('@') {
        _ if path.len() > LONGEST_SOCKET_PATH => Err(HostError::SocketPathTooLong(path)),
        Some(name) => Ok(Endpoint::AbstractSocket(name.to_owned())),
        None => Ok(Endpoint::Socket(path.into())),
    }
}

fn default_socket(port: u16, exists: impl Fn(&Path) -> bool) -> Result<Endpoint, HostError> {
    let platform = socket(DEFAULT_SOCKET_DIRECTORY, port)?;
    let upstream = socket(UPSTREAM_SOCKET_DIRECTORY, port)?;
    let is_there = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Socket(path) if exists(path));
    if !is_there(&platform) && is_there(&upstream) { Ok(upstream) } else { Ok(platform) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(text: &str) -> Result<Vec<Host>, ConninfoError> {
        Host::list(&Settings::builder().connection_string(text).option(Keyword::User, "u").build()?)
    }

    fn endpoints(text: &str) -> Vec<String> {
        let shown = |host: &Host| match host.endpoint_where(|_| false) {
            Ok(endpoint) => format!("{endpoint:?}"),
            Err(error) => error.to_string(),
        };
        hosts(text).unwrap().iter().map(shown).collect()
    }

    #[test]
    fn cn_098_lists_of_different_lengths() {
        for (text, expected) in [
            ("host=a,b hostaddr=::1", "could not match 2 host names to 1 hostaddr values"),
            ("host=a hostaddr=::1,::2", "could not match 1 host names to 2 hostaddr values"),
            ("host=a,b port=1,2,3", "could not match 3 port numbers to 2 hosts"),
            ("hostaddr=::1,::2 port=1,2,3", "could not match 3 port numbers to 2 hosts"),
            ("port=1,2", "could not match 2 port numbers to 1 hosts"),
            ("host='' port=,", "could not match 2 port numbers to 1 hosts"),
        ] {
            assert_eq!(hosts(text).unwrap_err().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn cn_096_to_103_what_each_host_leads_to() {
        let name = |name: &str, port: u16| format!("{:?}", Endpoint::Name { name: name.into(), port });
        let address =
            |address: &str, port: u16| format!("{:?}", Endpoint::Address { address: address.into(), port });
        let socket = |path: &str| format!("{:?}", Endpoint::Socket(path.into()));
        let default_socket =
            |port: u16| format!("{:?}", super::socket(DEFAULT_SOCKET_DIRECTORY, port).unwrap());
        for (text, expected) in [
            ("", vec![default_socket(5432)]),
            ("port=7", vec![default_socket(7)]),
            ("host=a,b", vec![name("a", 5432), name("b", 5432)]),
            ("host=a,b port=7", vec![name("a", 7), name("b", 7)]),
            ("host=a,b port=,7", vec![name("a", 5432), name("b", 7)]),
            ("host=a,, port=1,2,3", vec![name("a", 1), default_socket(2), default_socket(3)]),
            ("hostaddr=::1", vec![address("::1", 5432)]),
            ("host=a,b hostaddr=,::2", vec![name("a", 5432), address("::2", 5432)]),
            ("host=/run", vec![socket("/run/.s.PGSQL.5432")]),
            ("host=/run hostaddr=::1", vec![address("::1", 5432)]),
            ("host=@x", vec![format!("{:?}", Endpoint::AbstractSocket("x/.s.PGSQL.5432".into()))]),
        ] {
            assert_eq!(endpoints(text), expected, "{text}");
        }
    }

    #[test]
    fn cn_095_the_other_directory_if_the_socket_is_there() {
        let host = &hosts("port=7").unwrap()[0];
        let upstream = Path::new("/tmp/.s.PGSQL.7");
        assert_eq!(host.endpoint_where(|path| path == upstream), Ok(Endpoint::Socket(upstream.into())));
        for nothing_else_counts in [true, false] {
            let endpoint = host.endpoint_where(|_| nothing_else_counts);
            assert_eq!(endpoint, socket(DEFAULT_SOCKET_DIRECTORY, 7));
        }
    }

    #[test]
    fn cn_051_105_and_106_ports() {
        for (text, expected) in [
            ("5432", Ok(5432)),
            (" 1 ", Ok(1)),
            ("+3", Ok(3)),
            ("\u{b}7\u{c}", Ok(7)),
            ("65535", Ok(65535)),
            ("0", Err("invalid port number: \"0\"")),
            ("-5", Err("invalid port number: \"-5\"")),
            ("65536", Err("invalid port number: \"65536\"")),
            ("2147483648", Err("invalid integer value \"2147483648\" for connection option \"port\"")),
            ("1x", Err("invalid integer value \"1x\" for connection option \"port\"")),
            ("0x10", Err("invalid integer value \"0x10\" for connection option \"port\"")),
            ("", Err("invalid integer value \"\" for connection option \"port\"")),
        ] {
            let number = Port(text.to_owned()).number();
            assert_eq!(
                number.as_ref().map_err(ToString::to_string),
                expected.as_ref().map_err(ToString::to_string),
                "{text}"
            );
        }
        assert!(HostError::PortNotInteger(String::new()).ends_attempt());
        assert!(!HostError::PortOutOfRange(String::new()).ends_attempt());
    }

    #[test]
    fn cn_102_a_path_that_is_too_long() {
        let longest = format!("/{}", "x".repeat(LONGEST_SOCKET_PATH - "/".len() - "/.s.PGSQL.1".len()));
        assert!(endpoints(&format!("host={longest} port=1"))[0].starts_with("Socket"));
        let expected =
            format!("Unix-domain socket path \"{longest}/.s.PGSQL.12\" is too long (maximum 107 bytes)");
        assert_eq!(endpoints(&format!("host={longest} port=12")), [expected]);
    }

    #[test]
    fn cn_085_and_086_names_in_the_password_file() {
        for (text, expected) in [
            ("", "localhost"),
            (&format!("host={DEFAULT_SOCKET_DIRECTORY}"), "localhost"),
            ("host=/var/run/else", "/var/run/else"),
            ("host=@x", "@x"),
            ("host=db hostaddr=::1", "db"),
            ("hostaddr=::1", "::1"),
        ] {
            assert_eq!(hosts(text).unwrap()[0].password_file_name(), expected, "{text}");
        }
    }
}
