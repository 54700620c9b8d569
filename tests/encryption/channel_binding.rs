//! Authentication that is bound to the encrypted channel, and what may be demanded of authentication over it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use openssl::hash::MessageDigest;

use crate::bench::{Authorities, Bench, our_refusal};
use crate::peer::{Peer, acceptor, read_message, up_to_startup, wait_for_leave};
use crate::support::ServerTls;
use crate::support::byte_script::authentication;
use crate::support::certificates::{Certificate, Template, ecdsa_key, ed25519_key, rsa_pss_key};

const TLS: &str = "TLSv1.3";
const MODES: [&str; 4] = ["disable", "allow", "prefer", "require"];

/// A rule for each role that is named after its kind of authentication.
const RULES: &str = "\
host replication clear 127.0.0.1/32 password
host replication md5   127.0.0.1/32 md5
host replication scram 127.0.0.1/32 scram-sha-256";
const ROLES: &str = "\
SET password_encryption = 'md5';
CREATE ROLE md5   REPLICATION LOGIN PASSWORD 'secret';
SET password_encryption = 'scram-sha-256';
CREATE ROLE clear REPLICATION LOGIN PASSWORD 'secret';
CREATE ROLE scram REPLICATION LOGIN PASSWORD 'secret';";

fn bench(major: u16) -> Bench {
    let authorities = Authorities::new();
    let tls = ServerTls::new(&authorities.server());
    Bench::start(major, tls, authorities.store(), RULES, ROLES)
}

#[test]
fn cn_228_and_250_every_version_that_can_binds_the_channel() {
    for major in [11, 12, 13, 14, 15, 16, 17, 18] {
        let bench = bench(major);
        bench.expect("user=scram password=secret sslmode=require channel_binding=require", TLS);
        bench.expect("user=scram password=secret sslmode=require channel_binding=disable", TLS);
        let wrong = "@ FATAL:  password authentication failed for user \"scram\"";
        bench.expect("user=scram password=wrong sslmode=require channel_binding=require", wrong);
    }
}

#[test]
fn cn_247_a_version_that_cannot_bind_the_channel_is_refused_if_it_must() {
    let bench = bench(10);
    bench.expect("user=scram password=secret sslmode=require", TLS);
    let text = "@ channel binding is required, but server did not offer an authentication method that supports \
        channel binding";
    bench.expect("user=scram password=secret sslmode=require channel_binding=require", text);
}

#[test]
fn cn_244_the_hash_is_that_of_the_certificate() {
    let bench = bench(18);
    let key = |key| Template::new("localhost", key);
    for (what, template) in [
        ("SHA-1, for which SHA-256 stands in", Template::server("localhost").digest(MessageDigest::sha1())),
        ("SHA-224", Template::server("localhost").digest(MessageDigest::sha224())),
        ("SHA-256", Template::server("localhost")),
        ("SHA-384", Template::server("localhost").digest(MessageDigest::sha384())),
        ("SHA-512", Template::server("localhost").digest(MessageDigest::sha512())),
        ("RSA-PSS with SHA-256", key(rsa_pss_key())),
        ("RSA-PSS with SHA-512", key(rsa_pss_key()).digest(MessageDigest::sha512())),
        ("ECDSA with SHA-256", key(ecdsa_key())),
        ("ECDSA with SHA-384", key(ecdsa_key()).digest(MessageDigest::sha384())),
    ] {
        bench.cluster.reload_tls(&ServerTls::new(&Certificate::self_signed(&template)));
        for binding in ["require", "prefer", "disable"] {
            let conninfo = format!("user=scram password=secret sslmode=require channel_binding={binding}");
            assert_eq!(bench.libpq(&conninfo, &[]).to_string(), TLS, "libpq, {what}");
            let (ours, _) = bench.ours(&conninfo, &[]);
            assert_eq!(ours.to_string(), TLS, "{what}");
            assert_eq!(ours.method.as_deref(), Some("scram-sha-256"));
        }
    }
}

#[test]
fn cn_244_a_certificate_without_a_hash_cannot_be_bound_to() {
    let bench = bench(18);
    let template = Template::new("localhost", ed25519_key());
    bench.cluster.reload_tls(&ServerTls::new(&Certificate::self_signed(&template)));
    let text = "@ could not find digest for NID UNDEF";
    for (binding, summary) in [("require", text), ("prefer", text), ("disable", TLS)] {
        bench.expect(
            &format!("user=scram password=secret sslmode=require channel_binding={binding}"),
            summary,
        );
    }
    // Nobody needs it here.
    for user in ["trusted", "md5", "clear"] {
        bench.expect(&format!("user={user} password=secret sslmode=require"), TLS);
    }
}

#[test]
fn cn_247_to_251_what_may_be_demanded_of_whom() {
    let bench = bench(18);
    let unbound = "@ channel binding required, but server authenticated client without channel binding";
    let impossible = "@ channel binding required but not supported by server's authentication request";
    let not_encrypted = "@ channel binding required, but SSL not in use";
    for (user, method, over_plain, over_tls) in [
        ("trusted", "trust", unbound, unbound),
        ("md5", "md5", impossible, impossible),
        ("clear", "password", impossible, impossible),
        ("scram", "scram-sha-256", not_encrypted, TLS),
    ] {
        for mode in MODES {
            let is_encrypted = matches!(mode, "prefer" | "require");
            let conninfo = format!("user={user} password=secret sslmode={mode}");
            bench.expect(
                &format!("{conninfo} channel_binding=require"),
                if is_encrypted { over_tls } else { over_plain },
            );
            for binding in ["disable", "prefer"] {
                let conninfo = format!("{conninfo} channel_binding={binding}");
                bench.expect(&conninfo, if is_encrypted { TLS } else { "plain" });
                let (observed, _) = bench.ours(&conninfo, &[]);
                assert_eq!(observed.method.as_deref(), Some(method), "{conninfo}");
            }
        }
    }
}

#[test]
fn cn_264_to_274_what_may_be_demanded_over_tls() {
    let bench = bench(18);
    let cleartext = "server requested a cleartext password";
    let hashed = "server requested a hashed password";
    let sasl = "server requested SASL authentication";
    let bound = "server requested SCRAM-SHA-256-PLUS authentication";
    let incomplete = "server did not complete authentication";
    for (user, refusals) in [
        (
            "trusted",
            &[
                ("password", incomplete),
                ("scram-sha-256,md5", incomplete),
                ("!none", incomplete),
                ("gss", incomplete),
            ][..],
        ),
        (
            "clear",
            &[
                ("md5", cleartext),
                ("scram-sha-256", cleartext),
                ("none", cleartext),
                ("!password", cleartext),
            ],
        ),
        ("md5", &[("password", hashed), ("scram-sha-256", hashed), ("none", hashed), ("!md5", hashed)]),
        ("scram", &[("password", sasl), ("md5,none", sasl), ("gss", sasl), ("!scram-sha-256", bound)]),
    ] {
        for mode in ["prefer", "require"] {
            for (requirement, reason) in refusals {
                let text = format!("@ authentication method requirement \"{requirement}\" failed: {reason}");
                let conninfo = format!("user={user} password=secret sslmode={mode}");
                bench.expect(&format!("{conninfo} require_auth={requirement}"), &text);
            }
        }
    }
    for (user, requirements) in [
        ("trusted", &["none", "!password,!md5", "none,password", ""][..]),
        ("clear", &["password", "!md5", "!none", "md5,password"]),
        ("md5", &["md5", "!password", "scram-sha-256,md5"]),
        ("scram", &["scram-sha-256", "!password,!md5", "!none", "md5,scram-sha-256"]),
    ] {
        for requirement in requirements {
            let conninfo =
                format!("user={user} password=secret sslmode=require require_auth='{requirement}'");
            bench.expect(&conninfo, TLS);
        }
    }
    let both =
        "user=scram password=secret sslmode=require require_auth=scram-sha-256 channel_binding=require";
    bench.expect(both, TLS);
}

/// What the client answers to an offer of mechanisms over TLS.
fn first_answer(offer: &'static [u8], conninfo: &str) -> String {
    let answers = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&answers);
    let acceptor = acceptor(&Authorities::new().server(), |_| ());
    let peer = Peer::start(move |socket| -> io::Result<()> {
        let mut stream = up_to_startup(&acceptor, socket)?;
        stream.write_all(&authentication(10, offer))?;
        sink.lock().unwrap().push(read_message(&mut stream)?);
        Ok(())
    });
    our_refusal(&format!("{} sslmode=require {conninfo}", peer.conninfo())).unwrap();
    let answer = answers.lock().unwrap().pop().unwrap_or_default();
    answer.get(5..).unwrap_or_default().escape_ascii().to_string()
}

#[test]
fn cn_229_the_flag_says_what_was_possible() {
    let plain = b"SCRAM-SHA-256\0\0";
    let both = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
    let bound = "p=tls-server-end-point,,n=,r=";
    for (offer, binding, mechanism, flag) in [
        (&both[..], "prefer", "SCRAM-SHA-256-PLUS\\x00", bound),
        (both, "require", "SCRAM-SHA-256-PLUS\\x00", bound),
        (both, "disable", "SCRAM-SHA-256\\x00", "n,,n=,r="),
        // We could have, and a server that could have too learns that somebody took its offer away.
        (plain, "prefer", "SCRAM-SHA-256\\x00", "y,,n=,r="),
        (plain, "disable", "SCRAM-SHA-256\\x00", "n,,n=,r="),
    ] {
        let answer = first_answer(offer, &format!("channel_binding={binding}"));
        assert!(answer.starts_with(mechanism) && answer.contains(flag), "{binding}: {answer}");
    }
    assert_eq!(first_answer(plain, "channel_binding=require"), "");
}

#[test]
fn cn_245_an_offer_to_bind_to_what_is_not_there_is_refused() {
    let peer = Peer::start(|mut socket| {
        crate::peer::answer_request(&mut socket, b"N")?;
        crate::peer::read_packet(&mut socket)?;
        socket.write_all(&authentication(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"))?;
        wait_for_leave(&mut socket)
    });
    let text = our_refusal(&format!("{} sslmode=prefer", peer.conninfo())).unwrap();
    let refusal = "server offered SCRAM-SHA-256-PLUS authentication over a non-SSL connection";
    assert!(text.ends_with(refusal), "{text}");
}

/// On purpose we do not believe what libpq believes (CW-06).
#[test]
fn cn_235_a_server_that_does_not_prove_itself_is_refused() {
    let acceptor = acceptor(&Authorities::new().server(), |_| ());
    let peer = Peer::start(move |socket| {
        let mut stream = up_to_startup(&acceptor, socket)?;
        stream.write_all(&authentication(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"))?;
        read_message(&mut stream)?;
        stream.write_all(&authentication(0, b""))?;
        wait_for_leave(&mut stream)
    });
    for mode in ["prefer", "require"] {
        let text = our_refusal(&format!("{} sslmode={mode}", peer.conninfo())).unwrap();
        assert!(text.ends_with("server did not complete authentication"), "{text}");
        assert_eq!(peer.take_connections(), 1);
    }
}
