use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::place::Place;
use super::server_message::ServerMessage;
use crate::conninfo::PassfileWarning;

/// Something that a person should see while the work goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A notice or warning of the server.
    Server(ServerMessage),
    /// The password file is not used.
    PasswordFile(PassfileWarning),
    /// TLS was tried and failed, and the connection goes on without, as the settings allow (CW-01).
    NotEncrypted {
        /// Where to.
        place: Place,
        /// Why TLS failed.
        reason: String,
    },
    /// The list of revoked certificates that the settings name cannot be loaded, and is not used (CN-177).
    RevocationListIgnored(PathBuf),
    /// The keys of TLS are not logged (CN-188).
    KeyLogFile {
        /// What could not be done: `open` or `write to`.
        action: &'static str,
        /// The file of `sslkeylogfile`.
        file: PathBuf,
        /// What the system says.
        reason: String,
    },
}

/// Receives notices at any time.
pub type NoticeHandler = Arc<dyn Fn(&Notice) + Send + Sync>;

/// As libpq prints it, without the program's name.
impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(message) => message.fmt(f),
            Self::PasswordFile(warning) => write!(f, "WARNING: {warning}"),
            Self::NotEncrypted { place, reason } => {
                write!(f, "WARNING: {place} is not encrypted: {reason}")
            }
            Self::RevocationListIgnored(file) => {
                let file = file.display();
                write!(
                    f,
                    "WARNING: certificate revocation list \"{file}\" could not be loaded and is not used"
                )
            }
            Self::KeyLogFile { action, file, reason } => {
                let file = file.display();
                write!(f, "WARNING: could not {action} SSL key logging file \"{file}\": {reason}")
            }
        }
    }
}
