use std::fmt;
use std::path::PathBuf;

/// What an attempt tried to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A TCP port.
    Tcp {
        /// The host as the user named it.
        host: String,
        /// The address that was tried, where it is not what the user named.
        address: Option<String>,
        /// The port.
        port: u16,
    },
    /// A Unix-domain socket.
    Socket(PathBuf),
}

impl Place {
    /// What messages call the server there: `server at …`.
    pub fn server(&self) -> impl fmt::Display {
        fmt::from_fn(|f| match self {
            Self::Tcp { host, address: Some(address), port } => {
                write!(f, "server at \"{host}\" ({address}), port {port}")
            }
            Self::Tcp { host, address: None, port } => write!(f, "server at \"{host}\", port {port}"),
            Self::Socket(path) => write!(f, "server on socket \"{}\"", path.display()),
        })
    }
}

/// In libpq's words (CN-296, CN-297).
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection to {}", self.server())
    }
}
