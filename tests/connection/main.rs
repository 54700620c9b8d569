//! Connecting keeps its promises: servers of every version let the right ones in, the others learn why not
//! in the words of the C programs, and a server that lies is found out.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "../support/mod.rs"]
mod support;

mod attempt;
mod authentication;
mod environment;
mod hosts;
mod lying_scram_server;
mod lying_server;
mod parameters;
mod password_file;
mod programs;
mod readiness;
mod refusal;
mod saslprep;
mod service_file;
mod session;
