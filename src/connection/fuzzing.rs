//! The start-up of a session without a socket, and a session without a start-up, for fuzz targets.
//!
//! In come bytes as a server could send them; nothing comes out of a start-up. The nonce of SCRAM is always the same, so that
//! an input can get past it.

use std::sync::LazyLock;

use bytes::BufMut;

use super::authentication::NonceSource;
use super::channel::{Channel, TlsFacts};
use super::frame::{Deframer, Message};
use super::startup::{Startup, StartupError, Step};
use crate::conninfo::Config;

/// What a user may want of a start-up.
const CONNINFOS: [&str; 8] = [
    "user=u",
    "user=u password=pencil",
    "user=u password=pencil max_protocol_version=3.2",
    "user=u password=pencil min_protocol_version=3.2 require_auth=scram-sha-256",
    "user=u password=pencil channel_binding=require",
    "user=u password=pencil channel_binding=disable require_auth=!password,!md5",
    "user=u oauth_issuer=https://a oauth_client_id=c sslcertmode=require",
    "user=u scram_client_key=Y2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2M= \
     scram_server_key=c3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3M=",
];

/// The fixed nonce of the client.
pub const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";

/// The pieces of work after which SCRAM is left alone: a server may ask for minutes of it.
const MOST_WORK: usize = 4;

/// Plays the bytes of a server to a client for each kind of user over each kind of channel, as far as it goes.
/// The first byte is how many of the others come at a time.
///
/// # Panics
///
/// If a fixed configuration is refused, or a byte is counted twice.
pub fn start_up(bytes: &[u8]) {
    static CONFIGS: LazyLock<Vec<Config>> = LazyLock::new(|| {
        let parse = |conninfo: &str| conninfo.parse().unwrap_or_else(|error| panic!("{conninfo}: {error}"));
        CONNINFOS.into_iter().map(parse).collect()
    });
    let Some((&step, stream)) = bytes.split_first() else { return };
    for config in &*CONFIGS {
        for channel in channels() {
            let mut startup = Startup::new(config, config.password.clone(), channel);
            startup.set_nonce_source(NonceSource(|| Ok(NONCE.to_owned())));
            let taken = play(&mut startup, stream, usize::from(step.max(1)));
            assert!(taken <= stream.len());
        }
    }
}

fn channels() -> [Channel; 5] {
    let tls = |server_end_point, is_certified| {
        Channel::Tls(TlsFacts {
            server_end_point,
            certificate_requested: is_certified,
            certificate_sent: is_certified,
        })
    };
    [
        Channel::Plain,
        Channel::Gss,
        tls(Ok(vec![7; 32]), false),
        tls(Ok(vec![7; 64]), true),
        tls(Err("could not find digest for NID UNDEF".to_owned()), false),
    ]
}

/// A session with a server of that version that has sent `received` and sends the rest over the socket.
///
/// # Panics
///
/// If a fixed configuration is refused.
#[cfg(fuzzing)]
pub(crate) fn session(
    version: &str,
    received: &[u8],
    rest: tokio::net::UnixStream,
    notices: super::notice::NoticeHandler,
) -> super::session::Session {
    let config: Config = "user=u host=/".parse().unwrap_or_else(|error| panic!("{error}"));
    let mut start = super::startup::SessionStart::default();
    let body = format!("server_version\0{version}\0").into_bytes().into();
    start.report(&Message { tag: b'S', body }).unwrap_or_else(|error| panic!("{error}"));
    let mut deframer = Deframer::new();
    deframer.buffer_with_room(received.len()).put_slice(received);
    let socket = super::socket::Socket::Unix(rest);
    let place = super::place::Place::Socket("/".into());
    let peer = super::session::Peer { host: config.hosts[0].clone(), place };
    super::session::Session::new(socket, deframer, start, peer, notices)
}

/// How many bytes were in whole messages that were taken.
fn play(startup: &mut Startup<'_>, stream: &[u8], step: usize) -> usize {
    const HEADER: usize = 5;
    let mut taken = 0;
    let mut deframer = Deframer::new();
    for chunk in stream.chunks(step) {
        deframer.buffer_with_room(chunk.len()).put_slice(chunk);
        loop {
            match deframer.next() {
                Ok(Some(message)) => {
                    taken += HEADER + message.body.len();
                    match take(startup, message) {
                        Ok(true) => {}
                        Ok(false) | Err(_) => return taken,
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    startup.refusal(error);
                    return taken;
                }
            }
        }
    }
    taken
}

/// Whether another message may come.
fn take(startup: &mut Startup<'_>, message: Message) -> Result<bool, StartupError> {
    let mut step = startup.handle(message)?;
    for _ in 0..MOST_WORK {
        step = match step {
            Step::Work => startup.work()?,
            Step::SecurityContext(token) => startup.proceed(&token, !token.is_empty())?,
            Step::Send(_) | Step::Receive | Step::Notice(_) => return Ok(true),
            Step::Ready(_) => return Ok(false),
        };
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap() + 4;
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    fn request(code: u8, rest: &[u8]) -> Vec<u8> {
        message(b'R', &[&[0, 0, 0, code], rest].concat())
    }

    /// An exchange of SCRAM with a server whose key is 32 times `s`.
    fn scram_session() -> Vec<u8> {
        let server_first = format!("r={NONCE}more,s=AAAA,i=1");
        [
            request(10, b"SCRAM-SHA-256\0\0"),
            request(11, server_first.as_bytes()),
            request(12, b"v=QNEwGI7qWpjZdo8qw9hF8x011P4FBbt+ZCALPDzcPMM="),
            request(0, b""),
            message(b'S', b"server_version\x0018.6\0"),
            message(b'K', b"\0\0\0\x07key!"),
            message(b'Z', b"I"),
        ]
        .concat()
    }

    #[test]
    fn an_input_can_get_to_the_end_of_scram() {
        let config: Config = CONNINFOS[7].parse().unwrap();
        let stream = scram_session();
        for step in [1, 7, 1000] {
            let mut startup = Startup::new(&config, None, Channel::Plain);
            startup.set_nonce_source(NonceSource(|| Ok(NONCE.to_owned())));
            assert_eq!(play(&mut startup, &stream, step), stream.len());
            assert!(startup.used_password());
        }
    }

    #[test]
    fn every_kind_of_user_meets_every_kind_of_channel() {
        start_up(&[]);
        start_up(&[0]);
        start_up(&[&[9][..], &scram_session()].concat());
    }

    proptest! {
        #[test]
        fn cn_303_no_bytes_break_a_start(step: u8, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            start_up(&[&[step][..], &bytes].concat());
        }

        #[test]
        fn cn_303_no_change_of_a_start_breaks_it(step: u8, at in 0usize..200, by in 1u8..) {
            let mut stream = scram_session();
            let length = stream.len();
            stream[at % length] ^= by;
            start_up(&[&[step][..], &stream].concat());
        }
    }
}
