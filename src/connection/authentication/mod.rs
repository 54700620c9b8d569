//! Proving who we are: the answers to the server's authentication requests. Sans-I/O.

mod saslprep;
mod scram;

pub(super) use scram::Scram;
pub use scram::ScramError;
