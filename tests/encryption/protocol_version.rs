//! Versions of the protocol: what is asked for, what servers of every version make of it, and what a server
//! may not say.

use crate::bench::{Authorities, Bench, libpq_refusal, our_refusal};
use crate::support::byte_script::{ByteScriptServer, Step, message};
use crate::support::{ServerTls, VERSIONS};

#[test]
fn cn_214_to_217_and_219_every_server_and_every_wish() {
    for major in VERSIONS {
        let authorities = Authorities::new();
        let tls = ServerTls::new(&authorities.server());
        let bench = Bench::start(major, tls, authorities.store(), "", "");
        let too_old =
            "@ server only supports protocol version 3.0, but \"min_protocol_version\" was set to 3.2";
        for (mode, session) in [("disable", "plain"), ("require", "TLSv1.3")] {
            let newest = if major >= 18 { session } else { too_old };
            for (wish, summary) in [
                ("", session),
                ("max_protocol_version=3.0", session),
                ("max_protocol_version=3.2", session),
                ("max_protocol_version=latest", session),
                ("min_protocol_version=3.0", session),
                ("min_protocol_version=3.2", newest),
                ("min_protocol_version=latest", newest),
                ("min_protocol_version=3.2 max_protocol_version=latest", newest),
            ] {
                bench.expect(&format!("sslmode={mode} {wish}"), summary);
            }
        }
    }
}

/// Which version a client asks for.
fn version_asked_for(ask: impl Fn(&str)) -> [u8; 4] {
    let server = ByteScriptServer::start([Step::Receive]);
    ask(&server.conninfo());
    server.received()[0][4..8].try_into().unwrap()
}

#[test]
fn cn_214_the_version_that_is_asked_for() {
    for (wish, version) in [
        ("", [0, 3, 0, 0]),
        ("max_protocol_version=3.2", [0, 3, 0, 2]),
        ("max_protocol_version=latest", [0, 3, 0, 2]),
        ("min_protocol_version=3.2", [0, 3, 0, 2]),
        ("min_protocol_version=3.0", [0, 3, 0, 0]),
    ] {
        let ours = version_asked_for(|conninfo| drop(our_refusal(&format!("{conninfo} {wish}"))));
        let libpq = version_asked_for(|conninfo| drop(libpq_refusal(&format!("{conninfo} {wish}"), &[])));
        assert_eq!((ours, libpq), (version, version), "{wish}");
    }
}

/// The message in which a server says what it does not know.
fn negotiation(newest: u32, options: &[&str]) -> Vec<u8> {
    let count = i32::try_from(options.len()).unwrap();
    negotiation_with_count(newest, count, options)
}

fn negotiation_with_count(newest: u32, count: i32, options: &[&str]) -> Vec<u8> {
    let names: Vec<u8> = options.iter().flat_map(|name| [name.as_bytes(), b"\0"].concat()).collect();
    message(b'v', &[&newest.to_be_bytes()[..], &count.to_be_bytes(), &names].concat())
}

#[test]
fn cn_218_a_negotiation_that_cannot_be_is_refused_like_libpq_refuses_it() {
    let [v2, v3_0, v3_1, v3_2, v3_3, v4] = [0x2_0000, 0x3_0000, 0x3_0001, 0x3_0002, 0x3_0003, 0x4_0000];
    for (what, bytes) in [
        ("newer than what was asked for", negotiation(v3_3, &[])),
        ("of the future", negotiation(v4, &[])),
        ("of the past", negotiation(v2, &[])),
        ("of a version that never was", negotiation(v3_1, &[])),
        ("what was asked for", negotiation(v3_2, &[])),
        ("less than no options", negotiation_with_count(v3_0, -1, &[])),
        ("an option that was not asked for", negotiation(v3_0, &["_pq_.x"])),
        ("an option of another kind", negotiation(v3_0, &["x"])),
        ("fewer options than announced", negotiation_with_count(v3_0, 2, &["_pq_.x"])),
        ("too short", message(b'v', &v3_0.to_be_bytes())),
        ("empty", message(b'v', b"")),
        ("twice", [negotiation(v3_0, &[]), negotiation(v3_0, &[])].concat()),
    ] {
        let server = ByteScriptServer::start([Step::Receive, Step::Send(bytes)]);
        let conninfo = format!("{} max_protocol_version=3.2", server.conninfo());
        let libpq = libpq_refusal(&conninfo, &[]);
        assert!(libpq.is_some());
        assert_eq!(our_refusal(&conninfo), libpq, "{what}");
    }
}

/// On purpose we say what is wrong, where libpq takes the bytes for another message.
#[test]
fn cn_218_a_negotiation_with_bytes_left_over_is_refused() {
    let bytes = negotiation_with_count(0x3_0000, 0, &["_pq_.x"]);
    let server = ByteScriptServer::start([Step::Receive, Step::Send(bytes)]);
    let text = our_refusal(&format!("{} max_protocol_version=3.2", server.conninfo())).unwrap();
    assert!(text.contains("received invalid protocol negotiation message"), "{text}");
}

#[test]
fn cn_218_a_negotiation_that_nobody_asked_for_is_refused_like_libpq_refuses_it() {
    for bytes in [negotiation(0x3_0000, &[]), negotiation(0x3_0002, &[])] {
        let server = ByteScriptServer::start([Step::Receive, Step::Send(bytes)]);
        assert_eq!(our_refusal(&server.conninfo()), libpq_refusal(&server.conninfo(), &[]));
    }
}
