//! Kerberos keeps its promises against a real KDC: users are who the server says they are, what shall be
//! encrypted is, backups arrive whole, and whoever is refused reads what users of the C programs read.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod backup;
mod lying_server;
mod refusals;
mod trial;
