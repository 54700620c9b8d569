//! What a session is told once it has begun: the answer to each command of the protocol.
//!
//! The first byte says what is asked and how the rest is meant: the bytes of the server, or messages whose lengths are
//! made right. The second is where the stream is cut: what comes before it has come when the client asks.

#![no_main]

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use libfuzzer_sys::fuzz_target;
use pgsiphon::client::fuzzing::{Request, ask};
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_io().build().unwrap();
}

/// Fits into the buffer of a socket.
const LONGEST: usize = 64 << 10;

fuzz_target!(|input: &[u8]| {
    let &[what, cut, ref rest @ ..] = input else { return };
    if rest.len() > LONGEST {
        return;
    }
    let request = Request::ALL[usize::from(what >> 1) % Request::ALL.len()];
    let stream = if what & 1 == 0 { rest.to_vec() } else { messages(rest) };
    let whole = heard(request, &stream, stream.len());
    assert_eq!(whole, heard(request, &stream, stream.len() * usize::from(cut) / 256));
});

/// The client hears the first part before it asks, and the end of the connection after the second.
fn heard(request: Request, stream: &[u8], cut: usize) -> Vec<String> {
    let (received, rest) = stream.split_at(cut);
    let (client, mut server) = UnixStream::pair().unwrap();
    server.write_all(rest).unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    client.set_nonblocking(true).unwrap();
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            ask(request, received, tokio::net::UnixStream::from_std(client).unwrap()).await
        })
    })
}

/// For each message its type, the length of its body, and the body.
fn messages(mut described: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while let &[tag, length, ref rest @ ..] = described {
        let (body, rest) = rest.split_at(rest.len().min(length.into()));
        stream.push(tag);
        stream.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        stream.extend_from_slice(body);
        described = rest;
    }
    stream
}
