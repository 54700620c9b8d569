//! GSSAPI as libpq has it, which means Kerberos, by the system's own library.
//!
//! What comes in is a configuration and a host, whose service the user's credential cache has a ticket for
//! or can get one. What goes out is either the tokens that authenticate the user to that service, or a stream
//! that is encrypted besides. No token and no packet is believed before the library has checked it, nothing
//! is sent or taken that is not encrypted once a stream is, and no task waits for a KDC: threads do.

mod confidentiality;
mod context;
mod exchange;
mod status;
mod stream;

use std::time::Duration;

use libgssapi::credential::{Cred, CredUsage};

use self::context::on_own_thread;

pub(super) use self::context::{SecurityContext, Stepped};
pub(super) use self::exchange::encrypt;
pub(super) use self::stream::GssStream;

/// Whether this build has GSSAPI.
pub(super) const IS_COMPILED_IN: bool = true;

/// Whether the user has Kerberos credentials, be they expired: without any, encryption is not asked for
/// (CN-142).
///
/// # Cancel safety
/// When the future is dropped, a thread ends its search for nobody.
pub(super) async fn has_credentials() -> bool {
    let acquire = || Cred::acquire(None, Some(Duration::ZERO), CredUsage::Initiate, None).is_ok();
    on_own_thread(acquire).await.unwrap_or(false)
}
