//! From a configuration to a session with a server.
//!
//! What comes in is a [`Config`](crate::conninfo::Config); what goes out is a session that is
//! authenticated and takes commands. Framing, start-up and authentication are state machines without I/O;
//! the loops that feed them are here too. Nothing here knows what a backup is.

#[cfg(not(all(feature = "tls", feature = "gssapi")))]
mod absent_stream;
mod attempt;
mod authentication;
mod channel;
mod connect;
mod connect_error;
mod encryption;
mod error;
mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg_attr(not(feature = "gssapi"), path = "gss_absent.rs")]
mod gss;
mod gss_error;
mod handshake;
mod hint;
mod inet_address;
mod negotiation;
mod notice;
mod open;
mod place;
mod receive_buffer;
mod server_message;
mod session;
mod session_attributes;
mod shuffle;
mod side_door;
mod socket;
mod startup;
mod startup_error;
mod target;
#[cfg_attr(not(feature = "tls"), path = "tls_absent.rs")]
mod tls;
mod tls_error;

pub use authentication::{ChannelBindingError, OauthError, ScramError};
pub(crate) use connect::connect;
pub use connect_error::{AttemptError, ConnectError, FailedAttempt};
pub use error::ConnectionError;
pub use frame::OutOfSync;
pub use gss_error::GssError;
pub use negotiation::NegotiationError;
pub use notice::{Notice, NoticeHandler};
pub use place::Place;
pub use server_message::{ServerMessage, sqlstate};
pub(crate) use session::{CopyItem, Reply, Session};
pub use session_attributes::WrongServer;
pub(crate) use side_door::SideDoor;
pub use startup_error::StartupError;
pub use tls_error::TlsError;
