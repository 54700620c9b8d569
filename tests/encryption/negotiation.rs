//! How TLS begins: what is asked for, which answers are believed, and what an answer out of form leads to.

use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::{io, net::Shutdown};

use openssl::ssl::{AlpnError, NameType, SslVersion};

use crate::bench::{Authorities, Bench, libpq_refusal, our_refusal};
use crate::peer::{
    Peer, acceptor, answer_request, close_notify, handshake, read_packet, up_to_startup, wait_for_leave,
};
use crate::support::byte_script::{ByteScriptServer, Step, authentication, fatal, message};
use crate::support::{Cluster, ServerTls};

const CLOSED: &str = "@ server closed the connection unexpectedly\n\
    \tThis probably means the server terminated abnormally\n\
    \tbefore or while processing the request.";

/// What is said of a server that answers the request for TLS with an `S` and then says nothing of use.
const EOF: &str = "@ SSL error: unexpected eof while reading";

/// The request that precedes TLS.
const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";

fn without_server(text: &str, port: u16) -> String {
    text.replace(&format!("connection to server at \"127.0.0.1\", port {port} failed: "), "@ ")
}

/// Checks that we and libpq are refused by a peer with this text, after this many connections.
#[track_caller]
fn refused_by(peer: &Peer, conninfo: &str, text: &str, connections: usize) {
    let conninfo = format!("{} {conninfo}", peer.conninfo());
    let attempts: [(&str, &dyn Fn() -> Option<String>); 2] =
        [("libpq", &|| libpq_refusal(&conninfo, &[])), ("we", &|| our_refusal(&conninfo))];
    for (who, attempt) in attempts {
        let refusal = attempt().map(|refusal| without_server(&refusal, peer.port()));
        assert_eq!(refusal.as_deref(), Some(text), "{who}: {conninfo}");
        assert_eq!(peer.take_connections(), connections, "{who}: {conninfo}");
    }
}

#[test]
fn cn_134_the_request_for_tls_is_eight_bytes() {
    let server = ByteScriptServer::start([Step::Receive, Step::Send(b"X".to_vec())]);
    let conninfo = format!("{} sslmode=require", server.conninfo());
    our_refusal(&conninfo).unwrap();
    assert_eq!(server.received(), [SSL_REQUEST]);
}

#[test]
fn cn_137_and_159_an_answer_that_is_none_ends_the_attempt_in_every_mode() {
    for (answer, text) in [
        (&b"X"[..], "@ received invalid response to SSL negotiation: X"),
        (b"s", "@ received invalid response to SSL negotiation: s"),
        (b"", CLOSED),
        (b"E", "@ server sent an error response during SSL exchange"),
    ] {
        for mode in ["prefer", "require", "verify-full sslrootcert=/dev/null"] {
            let peer = Peer::start(move |mut socket| answer_request(&mut socket, answer));
            refused_by(&peer, &format!("sslmode={mode}"), text, 1);
        }
    }
}

#[test]
fn cn_159_the_text_of_an_error_that_nobody_vouches_for_is_not_shown() {
    for code in ["57P03", "53300", "28000"] {
        let peer =
            Peer::start(move |mut socket| answer_request(&mut socket, &fatal(code, "come in and hear")));
        for mode in ["prefer", "require"] {
            let text = "@ server sent an error response during SSL exchange";
            refused_by(&peer, &format!("sslmode={mode}"), text, 1);
        }
    }
}

/// Bytes that a control sequence could hide in are not passed on to a terminal as they are.
#[test]
fn cn_137_an_answer_that_cannot_be_printed_is_no_danger() {
    for byte in [0, 0x1b, 0x80, 0xff] {
        let peer = Peer::start(move |mut socket| answer_request(&mut socket, &[byte]));
        let text = our_refusal(&format!("{} sslmode=prefer", peer.conninfo())).unwrap();
        assert!(text.contains("received invalid response to SSL negotiation: "), "{text:?}");
        assert!(text.chars().all(|character| !character.is_control()), "{text:?}");
        assert_eq!(peer.take_connections(), 1);
    }
}

#[test]
fn cn_136_bytes_behind_the_answer_are_an_attack() {
    let certificate = Authorities::new().server();
    for extra in [&b"x"[..], &authentication(0, b""), &[0; 5000]] {
        let acceptor = acceptor(&certificate, |_| ());
        let answer = [b"S", extra].concat();
        let peer = Peer::start(move |mut socket| {
            answer_request(&mut socket, &answer)?;
            let mut stream = handshake(&acceptor, socket)?;
            stream.write_all(&authentication(0, b""))?;
            wait_for_leave(&mut stream)
        });
        for mode in ["prefer", "require"] {
            refused_by(
                &peer,
                &format!("sslmode={mode}"),
                "@ received unencrypted data after SSL response",
                1,
            );
        }
    }
}

#[test]
fn cn_149_after_a_no_the_same_connection_goes_on() {
    let peer = Peer::start(|mut socket| {
        answer_request(&mut socket, b"N")?;
        read_packet(&mut socket)?;
        socket.write_all(&fatal("28000", "no entry"))
    });
    refused_by(&peer, "sslmode=prefer", "@ FATAL:  no entry", 1);
    refused_by(&peer, "sslmode=require", "@ server does not support SSL, but SSL was required", 1);
}

/// What a peer does in place of a handshake.
type Failure = fn(&mut TcpStream) -> io::Result<()>;

/// Refuses TLS in its handshake, and lets the second connection, without TLS, in no more.
fn failing_in_the_handshake(fail: Failure) -> Peer {
    Peer::start(move |mut socket| {
        let packet = read_packet(&mut socket)?;
        if packet != SSL_REQUEST {
            return socket.write_all(&fatal("28000", "plain"));
        }
        socket.write_all(b"S")?;
        fail(&mut socket)
    })
}

#[test]
fn cn_151_and_162_a_handshake_that_fails_leads_to_another_connection_if_it_may() {
    let version = "\nThis may indicate that the server does not support any SSL protocol version between TLSv1.2 \
        and TLSv1.3.";
    let cases: [(Failure, String); 3] = [
        (|_| Ok(()), EOF.to_owned()),
        (
            |socket| {
                read_records(socket)?;
                socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            },
            format!("@ SSL error: wrong version number{version}"),
        ),
        (
            // An alert: fatal, handshake failure.
            |socket| {
                read_records(socket)?;
                socket.write_all(&[0x15, 3, 1, 0, 2, 2, 40])
            },
            "@ SSL error: sslv3 alert handshake failure".to_owned(),
        ),
    ];
    for (fail, text) in cases {
        let peer = failing_in_the_handshake(fail);
        refused_by(&peer, "sslmode=prefer", &format!("{text}\n@ FATAL:  plain"), 2);
        refused_by(&peer, "sslmode=allow", &format!("@ FATAL:  plain\n{text}"), 2);
        refused_by(&peer, "sslmode=require", &text, 1);
    }
}

/// The client's first record.
fn read_records(socket: &mut TcpStream) -> io::Result<()> {
    let mut header = [0; 5];
    io::Read::read_exact(socket, &mut header)?;
    let mut record = vec![0; u16::from_be_bytes([header[3], header[4]]).into()];
    io::Read::read_exact(socket, &mut record)
}

#[test]
fn cn_118_silence_ends_with_the_time_limit() {
    let silent: [fn(TcpStream) -> io::Result<()>; 3] = [
        |mut socket| wait_for_leave(&mut socket),
        |mut socket| answer_request(&mut socket, b"S").and_then(|()| wait_for_leave(&mut socket)),
        |mut socket| {
            answer_request(&mut socket, b"S")?;
            read_records(&mut socket)?;
            // The beginning of a record that never ends.
            socket.write_all(&[0x16, 3, 3, 0, 100])?;
            wait_for_leave(&mut socket)
        },
    ];
    for script in silent {
        let peer = Peer::start(script);
        for mode in ["prefer", "require"] {
            let text = our_refusal(&format!("{} sslmode={mode} connect_timeout=1", peer.conninfo())).unwrap();
            assert_eq!(without_server(&text, peer.port()), "@ timeout expired");
            assert_eq!(peer.take_connections(), 1);
        }
    }
}

#[test]
fn cn_150_and_160_what_a_refusal_over_tls_leads_to() {
    let certificate = Authorities::new().server();
    for (code, connections) in [("28000", 2), ("53300", 2), ("57P03", 1)] {
        let acceptor = acceptor(&certificate, |_| ());
        let peer = Peer::start(move |mut socket| {
            let packet = read_packet(&mut socket)?;
            if packet != SSL_REQUEST {
                return socket.write_all(&fatal("28000", "plain"));
            }
            socket.write_all(b"S")?;
            let mut stream = handshake(&acceptor, socket)?;
            read_packet(&mut stream)?;
            stream.write_all(&fatal(code, "over TLS"))?;
            close_notify(&mut stream)
        });
        let both =
            if connections == 2 { "@ FATAL:  over TLS\n@ FATAL:  plain" } else { "@ FATAL:  over TLS" };
        refused_by(&peer, "sslmode=prefer", both, connections);
        refused_by(&peer, "sslmode=require", "@ FATAL:  over TLS", 1);
    }
}

#[test]
fn cn_148_and_161_what_a_refusal_without_tls_leads_to() {
    for (code, text, connections) in [
        ("28000", "@ FATAL:  plain\n@ server does not support SSL, but SSL was required", 2),
        ("53300", "@ FATAL:  plain\n@ server does not support SSL, but SSL was required", 2),
        ("57P03", "@ FATAL:  plain", 1),
    ] {
        let peer = Peer::start(move |mut socket| {
            if read_packet(&mut socket)? == SSL_REQUEST {
                return socket.write_all(b"N");
            }
            socket.write_all(&fatal(code, "plain"))
        });
        refused_by(&peer, "sslmode=allow", text, connections);
    }
    // Nobody refused anything here.
    let peer = Peer::start(|mut socket| read_packet(&mut socket).map(drop));
    refused_by(&peer, "sslmode=allow", CLOSED, 1);
}

#[test]
fn cn_189_and_295_the_end_of_tls_says_whether_it_was_meant() {
    let certificate = Authorities::new().server();
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        for is_meant in [false, true] {
            let acceptor =
                acceptor(&certificate, |builder| builder.set_max_proto_version(Some(version)).unwrap());
            let peer = Peer::start(move |socket| {
                let mut stream = up_to_startup(&acceptor, socket)?;
                if is_meant { close_notify(&mut stream) } else { stream.get_ref().shutdown(Shutdown::Write) }
            });
            let text = if is_meant { "@ SSL connection has been closed unexpectedly" } else { EOF };
            // Whatever the mode: nobody refused TLS.
            for mode in ["prefer", "require"] {
                refused_by(&peer, &format!("sslmode={mode}"), text, 1);
            }
        }
    }
}

#[test]
fn cn_112_nonsense_over_tls_ends_the_attempt() {
    let certificate = Authorities::new().server();
    let acceptor = acceptor(&certificate, |_| ());
    let peer = Peer::start(move |socket| {
        let mut stream = up_to_startup(&acceptor, socket)?;
        stream.write_all(&message(b'Z', b"I"))?;
        wait_for_leave(&mut stream)
    });
    for mode in ["prefer", "require"] {
        let text = "@ expected authentication request from server, but received Z";
        refused_by(&peer, &format!("sslmode={mode}"), text, 1);
    }
}

/// The names that clients ask for in the clear.
#[track_caller]
fn names_asked_for(conninfo: &str) -> [Option<String>; 2] {
    let names = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&names);
    let acceptor = acceptor(&Authorities::new().server(), |builder| {
        builder.set_servername_callback(move |ssl, _| {
            sink.lock().unwrap().push(ssl.servername(NameType::HOST_NAME).map(str::to_owned));
            Ok(())
        });
    });
    let peer = Peer::start(move |socket| {
        let mut stream = up_to_startup(&acceptor, socket)?;
        stream.write_all(&fatal("57P03", "enough"))
    });
    let conninfo = format!("port={} user=u sslmode=require {conninfo}", peer.port());
    libpq_refusal(&conninfo, &[]).unwrap();
    our_refusal(&conninfo).unwrap();
    let names = names.lock().unwrap();
    let [libpq, ours] = &names[..] else { panic!("{conninfo}: {names:?}") };
    [libpq.clone(), ours.clone()]
}

#[test]
fn cn_167_a_host_that_is_a_name_is_named() {
    for (conninfo, name) in [
        ("host=localhost", Some("localhost")),
        ("host=localhost hostaddr=127.0.0.1", Some("localhost")),
        ("host=some.example hostaddr=127.0.0.1", Some("some.example")),
        ("host=LocalHost hostaddr=127.0.0.1", Some("LocalHost")),
        ("host=with_underscore hostaddr=127.0.0.1", Some("with_underscore")),
        ("host=ending.with.a.dot. hostaddr=127.0.0.1", Some("ending.with.a.dot.")),
        ("host=0x7f.1 hostaddr=127.0.0.1", Some("0x7f.1")),
        ("host=localhost sslsni=1x", Some("localhost")),
        ("host=localhost sslsni=0", None),
        ("host=localhost sslsni=true", None),
        ("host=127.0.0.1", None),
        ("host=1234 hostaddr=127.0.0.1", None),
        ("host=::1 hostaddr=127.0.0.1", None),
        ("hostaddr=127.0.0.1", None),
    ] {
        let name = name.map(str::to_owned);
        assert_eq!(names_asked_for(conninfo), [name.clone(), name], "{conninfo}");
    }
}

#[test]
fn cn_166_the_protocol_is_offered_by_its_name() {
    for direct in [false, true] {
        let offers = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&offers);
        let acceptor = acceptor(&Authorities::new().server(), |builder| {
            builder.set_alpn_select_callback(move |_, offered| {
                sink.lock().unwrap().push(offered.to_owned());
                Err(AlpnError::NOACK)
            });
        });
        let peer = Peer::start(move |mut socket| {
            if !direct {
                answer_request(&mut socket, b"S")?;
            }
            handshake(&acceptor, socket).map(drop)
        });
        let how = if direct { "direct" } else { "postgres" };
        let conninfo = format!("{} sslmode=require sslnegotiation={how}", peer.conninfo());
        our_refusal(&conninfo).unwrap();
        assert_eq!(*offers.lock().unwrap(), [b"\x0apostgresql".to_vec()], "{how}");
    }
}

#[test]
fn cn_145_without_a_request_the_protocol_must_be_agreed_upon() {
    let certificate = Authorities::new().server();
    let text = "@ direct SSL connection was established without ALPN protocol negotiation extension";
    let acceptor = acceptor(&certificate, |_| ());
    let peer = Peer::start(move |socket| handshake(&acceptor, socket).map(drop));
    refused_by(&peer, "sslmode=require sslnegotiation=direct", text, 1);
}

#[test]
fn cn_145_without_a_request_a_server_that_knows_it_answers_at_once() {
    for major in [17, 18] {
        let authorities = Authorities::new();
        let tls = ServerTls::new(&authorities.server());
        let bench = Bench::start(major, tls, authorities.store(), "", "");
        bench.expect("sslmode=require sslnegotiation=direct", "TLSv1.3");
        bench.expect("sslmode=verify-full sslnegotiation=direct sslrootcert=DIR/root.crt", "TLSv1.3");
        let unverified = "@ SSL error: certificate verify failed";
        bench.expect("sslmode=verify-full sslnegotiation=direct sslrootcert=DIR/other.crt", unverified);
        bench.cluster.reload_tls(&ServerTls::off());
        bench.expect("sslmode=require sslnegotiation=direct", EOF);
    }
}

#[test]
fn cn_146_without_a_request_an_older_server_is_lost() {
    for major in [10, 13, 16] {
        let authorities = Authorities::new();
        let tls = ServerTls::new(&authorities.server());
        let bench = Bench::start(major, tls, authorities.store(), "", "");
        bench.expect("sslmode=require", "TLSv1.3");
        bench.expect("sslmode=require sslnegotiation=direct", EOF);
    }
}

#[test]
fn cn_144_without_a_request_weak_modes_are_refused_before_anything_is_tried() {
    let bench = Bench::trusting(&Authorities::new());
    for mode in ["disable", "allow", "prefer"] {
        let (program, _) = bench.program(&format!("sslnegotiation=direct sslmode={mode}"), &[]);
        let text = format!(
            "0 connections: weak sslmode \"{mode}\" may not be used with sslnegotiation=direct (use \
             \"require\", \"verify-ca\", or \"verify-full\")"
        );
        assert_eq!(program.to_string(), text);
        let libpq = bench.libpq(&format!("sslnegotiation=direct sslmode={mode}"), &[]);
        assert_eq!(libpq, program);
    }
}

#[test]
fn cn_139_a_unix_socket_is_never_encrypted() {
    let authorities = Authorities::new();
    let tls = ServerTls::new(&authorities.server());
    let cluster: Cluster = Cluster::builder(18)
        .setting("log_connections", "on")
        .hba("local replication all trust")
        .tls(tls)
        .start();
    let bench = Bench { cluster, store: authorities.store() };
    let socket = format!("host={} hostaddr='' user=postgres", bench.cluster.socket_dir().display());
    for mode in ["disable", "prefer", "require", "verify-full", "require sslnegotiation=direct"] {
        bench.expect(&format!("{socket} sslmode={mode}"), "plain");
    }
}

#[test]
fn cn_056_compression_is_not_spoken_of() {
    let bench = Bench::trusting(&Authorities::new());
    for value in ["0", "1", "whatever"] {
        bench.expect(&format!("sslmode=require sslcompression={value}"), "TLSv1.3");
    }
}

#[test]
fn cn_252_values_that_are_none_are_refused_before_anything_is_tried() {
    let bench = Bench::trusting(&Authorities::new());
    for (keyword, value) in [
        ("channel_binding", "maybe"),
        ("channel_binding", "Require"),
        ("sslmode", "verify"),
        ("sslnegotiation", "fast"),
        ("sslcertmode", "prefer"),
        ("gssencmode", "allow"),
        ("require_auth", "kerberos"),
    ] {
        let libpq = bench.libpq(&format!("{keyword}={value}"), &[]);
        assert_eq!(libpq.to_string(), format!("0 connections: invalid {keyword} value: \"{value}\""));
        let (program, _) = bench.program(&format!("{keyword}={value}"), &[]);
        assert_eq!(program, libpq);
    }
}

/// The reference was built with GSSAPI, so that there is nothing to compare with.
#[cfg(not(feature = "gssapi"))]
#[test]
fn cn_205_and_206_without_gssapi_its_encryption_is_missed_only_where_it_is_demanded() {
    let bench = Bench::trusting(&Authorities::new());
    for mode in ["prefer", "disable"] {
        let (observed, _) = bench.ours(&format!("sslmode=require gssencmode={mode}"), &[]);
        assert_eq!(observed.to_string(), "TLSv1.3");
    }
    let (program, _) = bench.program("gssencmode=require", &[]);
    let text = "0 connections: gssencmode value \"require\" invalid when GSSAPI support is not compiled in";
    assert_eq!(program.to_string(), text);
}
