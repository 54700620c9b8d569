//! What a session runs over, as far as authentication has to know it.

/// The protection of the bytes of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    /// None.
    Plain,
    /// TLS.
    Tls(TlsFacts),
    /// GSSAPI encryption, which has authenticated the user already.
    Gss,
}

/// What the handshake of TLS said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TlsFacts {
    /// `tls-server-end-point` (RFC 5929): the hash of the server's certificate; where there is none, why.
    pub(super) server_end_point: Result<Vec<u8>, String>,
    /// Whether the server asked for a client certificate.
    pub(super) certificate_requested: bool,
    /// Whether it got one.
    pub(super) certificate_sent: bool,
}
