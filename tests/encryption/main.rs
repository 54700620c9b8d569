//! Encrypted connections: what is demanded is what is had, with real servers and lying ones, as libpq has it.
//!
//! Each case is tried by us and by the `psql` of PostgreSQL 18, and the server's log says what became of it.
//! Where we differ from libpq on purpose, the test says so.

#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code, reason = "tests of connections without encryption use the rest")]
#[path = "../connection/attempt.rs"]
mod attempt;

mod backup;
mod bench;
mod certificates;
mod channel_binding;
mod client_certificates;
mod fallback;
mod host_names;
mod hosts;
mod negotiation;
mod observed;
mod peer;
mod protocol_version;
mod sslmode_matrix;
