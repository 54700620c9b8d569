//! The start-up phase: what a server may say to a client that it has not let in yet.
//!
//! The first byte is how many of the others come at a time; they are played to clients with every kind of
//! setting, over every kind of channel.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsiphon::connection::fuzzing;

fuzz_target!(|input: &[u8]| fuzzing::start_up(input));
