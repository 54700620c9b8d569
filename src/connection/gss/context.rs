//! A security context: it makes tokens out of the server's until both sides trust each other, and then it
//! encrypts.

use std::sync::{Mutex, PoisonError};
use std::{fmt, thread};

use libgssapi::context::{ClientCtx, CtxFlags, SecurityContext as _};
use libgssapi::name::Name;
use libgssapi::oid::GSS_NT_HOSTBASED_SERVICE;
use libgssapi::util::Buf;
use tokio::sync::oneshot;

use super::confidentiality::is_confidential;
use super::status;
use super::stream::Protection;
use crate::connection::gss_error::GssError;
use crate::conninfo::{Config, Host};
use crate::types::OsError;

/// A context of the user with the service of a host.
pub(in crate::connection) struct SecurityContext {
    /// Never locked: it makes sessions shareable that nobody can use without being their owner.
    context: Mutex<ClientCtx>,
    purpose: Purpose,
}

/// What a step of a context gives.
#[derive(Debug)]
pub(in crate::connection) struct Stepped {
    /// The context, to go on with.
    pub(in crate::connection) context: SecurityContext,
    /// What to send to the server; nothing if empty.
    pub(in crate::connection) token: Vec<u8>,
    /// Whether each side has proved itself. Then the server has no more tokens.
    pub(in crate::connection) is_established: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Authentication,
    Encryption,
}

impl SecurityContext {
    /// A context that authenticates the user to the server of a host (CN-253).
    pub(in crate::connection) fn new(config: &Config, host: &Host) -> Result<Self, GssError> {
        let name = host.name.as_deref().filter(|name| !name.is_empty()).ok_or(GssError::HostMissing)?;
        Self::with_service(config, name, Purpose::Authentication)
    }

    /// A context that encrypts besides. Unlike the other it makes do with an address, as libpq's does.
    pub(super) fn for_encryption(config: &Config, host: &Host) -> Result<Self, GssError> {
        let names = [host.name.as_deref(), host.address.as_deref()];
        let mut names = names.into_iter().flatten().filter(|name| !name.is_empty());
        let name = names.next().ok_or(GssError::HostMissing)?;
        Self::with_service(config, name, Purpose::Encryption)
    }

    fn with_service(config: &Config, host: &str, purpose: Purpose) -> Result<Self, GssError> {
        let service = format!("{}@{host}", config.krb_srv_name.as_deref().unwrap_or_default());
        let service = Name::new(service.as_bytes(), Some(GSS_NT_HOSTBASED_SERVICE))
            .map_err(|error| GssError::NameImport(status::text(error)))?;
        let mut flags = CtxFlags::GSS_C_MUTUAL_FLAG;
        if purpose == Purpose::Encryption {
            flags |= CtxFlags::GSS_C_REPLAY_FLAG
                | CtxFlags::GSS_C_SEQUENCE_FLAG
                | CtxFlags::GSS_C_CONF_FLAG
                | CtxFlags::GSS_C_INTEG_FLAG;
        }
        flags.set(CtxFlags::GSS_C_DELEG_FLAG, config.gss_delegation);
        Ok(Self { context: Mutex::new(ClientCtx::new(None, service, flags, None)), purpose })
    }

    /// Takes a token of the server, none at first, and gives the next one for it.
    ///
    /// # Cancel safety
    /// When the future is dropped the context is lost, and a thread may wait for the KDC for nobody.
    pub(in crate::connection) async fn step(self, token: Vec<u8>) -> Result<Stepped, GssError> {
        on_own_thread(move || self.step_blocking(&token)).await?
    }

    fn step_blocking(mut self, token: &[u8]) -> Result<Stepped, GssError> {
        let purpose = self.purpose;
        let context = self.context();
        if context.is_complete() {
            return Err(GssError::AlreadyComplete);
        }
        let answer = Some(token).filter(|token| !token.is_empty());
        let token = context.step(answer, None).map_err(|error| purpose.failure(status::text(error)))?;
        Ok(Stepped {
            is_established: context.is_complete(),
            token: token.map(|token| token.to_vec()).unwrap_or_default(),
            context: self,
        })
    }

    fn context(&mut self) -> &mut ClientCtx {
        self.context.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Purpose {
    fn failure(self, reason: String) -> GssError {
        match self {
            Self::Authentication => GssError::Continue(reason),
            Self::Encryption => GssError::Initiate(reason),
        }
    }
}

impl Protection for SecurityContext {
    type Text = Buf;

    fn wrap(&mut self, payload: &[u8]) -> Result<Buf, GssError> {
        let token =
            self.context().wrap(true, payload).map_err(|error| GssError::Wrap(status::text(error)))?;
        if is_confidential(&token) { Ok(token) } else { Err(GssError::OutgoingNotConfidential) }
    }

    fn unwrap(&mut self, token: &[u8]) -> Result<Buf, GssError> {
        let payload = self.context().unwrap(token).map_err(|error| GssError::Unwrap(status::text(error)))?;
        if is_confidential(token) { Ok(payload) } else { Err(GssError::IncomingNotConfidential) }
    }
}

// The library would be asked about the user's credentials.
impl fmt::Debug for SecurityContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecurityContext").field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

/// Does what may wait for a KDC, which can take minutes and cannot be interrupted. Unlike a thread of the
/// runtime's, one of its own does not keep a program from ending.
pub(super) async fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, GssError> {
    let (sender, receiver) = oneshot::channel();
    // Nobody may wait for the result any more.
    let run = move || drop(sender.send(work()));
    let thread = thread::Builder::new().name("kerberos".to_owned()).spawn(run);
    thread.map_err(|error| GssError::Thread(OsError(error)))?;
    receiver.await.map_err(|_| GssError::ThreadDied)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> (Config, Host) {
        let config: Config = format!("user=u {text}").parse().unwrap();
        let host = config.hosts[0].clone();
        (config, host)
    }

    #[test]
    fn a_stream_may_go_wherever_a_socket_may() {
        fn check<T: Send + Sync + Unpin>() {}
        check::<super::super::GssStream>();
        check::<SecurityContext>();
    }

    #[test]
    fn cn_253_authentication_needs_a_name() {
        for text in ["hostaddr=127.0.0.1", "host='' hostaddr=127.0.0.1"] {
            let (config, host) = host(text);
            let error = SecurityContext::new(&config, &host).unwrap_err();
            assert_eq!(error.to_string(), "host name must be specified", "{text}");
            assert!(SecurityContext::for_encryption(&config, &host).is_ok(), "{text}");
        }
        let (config, host) = host("host=db hostaddr=127.0.0.1");
        assert!(SecurityContext::new(&config, &host).is_ok());
    }

    #[test]
    fn cn_253_a_context_does_not_show_whose_it_is() {
        let (config, host) = host("host=db krbsrvname=service");
        let context = SecurityContext::new(&config, &host).unwrap();
        assert_eq!(format!("{context:?}"), "SecurityContext { purpose: Authentication, .. }");
    }
}
