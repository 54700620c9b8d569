//! However much a server says, `pg_receivewal` takes little memory for it.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "support/looping.rs"]
mod looping;
mod support;

use looping::{FIRST_TIMELINE, START, answer_until, begin_stream};
use support::byte_script::message;
use support::{Peer, Personality, Run, ScriptedServer, scratch_directory};

/// The most that is promised, in bytes.
const MOST_MEMORY: u64 = 64 << 20;

/// What would take more than that if it were kept, in bytes.
const FLOOD: usize = 16 << 20;

/// Sends the message again and again, much more than may be kept, or until the client has had enough.
fn flood(peer: &mut Peer, message: &[u8]) {
    let many = message.repeat((1 << 16) / message.len() + 1);
    for _ in 0..FLOOD / many.len() {
        if peer.try_send_bytes(&many).is_err() {
            return;
        }
    }
}

/// A row of that many nulls.
fn row(columns: u16) -> Vec<u8> {
    message(b'D', &[&columns.to_be_bytes()[..], &[0xff; 4].repeat(columns.into())].concat())
}

fn identify_with_rows(peer: &mut Peer, columns: u16) {
    answer_until(peer, "IDENTIFY_SYSTEM", FIRST_TIMELINE);
    peer.rows(columns.into(), &[]);
    flood(peer, &row(columns));
}

/// Whether the program must find out by itself that it is enough.
type Flood = (bool, fn(&mut Peer));

const FLOODS: [Flood; 10] = [
    (true, |peer| identify_with_rows(peer, 0)),
    (true, |peer| identify_with_rows(peer, 1)),
    (true, |peer| identify_with_rows(peer, 1000)),
    (false, |peer| {
        answer_until(peer, "IDENTIFY_SYSTEM", FIRST_TIMELINE);
        flood(peer, &message(b'S', b"parameter\0value\0"));
    }),
    (false, |peer| {
        answer_until(peer, "IDENTIFY_SYSTEM", FIRST_TIMELINE);
        // A million results, each in good order.
        let results = [message(b'T', b"\0\0"), message(b'D', b"\0\0"), message(b'C', b"SELECT 1\0")].concat();
        flood(peer, &results);
    }),
    (true, |peer| {
        begin_stream(peer);
        // It says that much more follows than any server sends, and so it does.
        peer.send_bytes(b"d\x7f\xff\xff\xffw");
        flood(peer, &[0; 1000]);
    }),
    (false, |peer| {
        begin_stream(peer);
        // As much as is believed, and only a part of it.
        peer.send_bytes(b"d\x01\0\0\0w");
    }),
    (true, |peer| {
        begin_stream(peer);
        // As much as is believed, and all of it.
        let wal = [&Peer::wal_message(START, b"")[5..], &vec![7; (16 << 20) - 100]].concat();
        peer.send(b'd', &wal);
    }),
    (true, |peer| {
        begin_stream(peer);
        flood(peer, &message(b'E', &[b'M'; 1 << 20][..(1 << 20) - 4]));
    }),
    (false, |peer| {
        begin_stream(peer);
        let mut nothing = vec![b'w'];
        nothing.extend_from_slice(&START.to_be_bytes());
        nothing.extend_from_slice(&[0; 16]);
        flood(peer, &[message(b'd', b""), message(b'd', &nothing)].concat());
    }),
];

#[test]
fn i_017_memory_does_not_grow_with_what_a_server_says() {
    for (number, (by_itself, flood)) in FLOODS.into_iter().enumerate() {
        let server = ScriptedServer::start(move |peer| {
            flood(peer);
            if by_itself {
                while peer.try_send_bytes(&[0; 1000]).is_ok() {}
            }
        });
        let directory = scratch_directory();
        let (outcome, peak) = Run::new(Personality::named("pg_receivewal").path())
            .args(["-n", "-d", &server.conninfo(), "-D"])
            .arg(directory.path())
            .start()
            .finish_measured();
        let said = outcome.expect_code(1).stderr;
        assert!(said.len() < 1000, "{} bytes of messages", said.len());
        assert!((1 << 20..MOST_MEMORY).contains(&peak), "flood {number}: {peak} bytes; {said}");
        server.finish();
    }
}
