//! Servers that agree to GSSAPI encryption, or ask for GSSAPI authentication, and then lie. Each ends the attempt
//! with a reason.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread::JoinHandle;

use super::trial::{GSS, SERVICE, kerberized, rule};
use crate::support::kerberos::{Credentials, Realm};
use crate::support::{DEADLINE, Personality, Run, scratch_directory};

const GSSENC_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x30";

/// A server that meets one client.
struct Liar {
    port: u16,
    thread: JoinHandle<()>,
}

impl Liar {
    fn start(lie: impl FnOnce(&mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            client.set_read_timeout(Some(DEADLINE)).unwrap();
            lie(&mut client);
            // What the client has said is read, or the end of the connection would be an abrupt one.
            let _ = client.shutdown(Shutdown::Write);
            let _ = client.read_to_end(&mut Vec::new());
        });
        Self { port, thread }
    }

    /// What a user with a ticket reads.
    #[track_caller]
    fn deceives(self, credentials: &Credentials, settings: &str) -> String {
        let personality = Personality::named("pg_basebackup");
        let directory = scratch_directory();
        let conninfo = format!(
            "host=localhost hostaddr=127.0.0.1 port={} user=postgres sslmode=disable {settings}",
            self.port
        );
        let run = Run::new(personality.path()).args(["--no-password", "--dbname", &conninfo, "--pgdata"]);
        let outcome = credentials.apply(run.arg(directory.path().join("backup"))).run().expect_code(1);
        self.thread.join().unwrap();
        let place = format!(
            "pg_basebackup: error: connection to server at \"127.0.0.1\", port {} failed: ",
            self.port
        );
        let text = outcome.stderr.strip_prefix(&place).unwrap_or_else(|| panic!("{}", outcome.stderr));
        text.trim_end().to_owned()
    }
}

fn read(client: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    client.read_exact(&mut bytes).unwrap();
    bytes
}

/// A length in network order, and as many bytes; `counted` of them are the length itself.
fn read_packet(client: &mut TcpStream, counted: usize) -> Vec<u8> {
    let length = u32::from_be_bytes(read(client, 4).try_into().unwrap()) as usize;
    read(client, length - counted)
}

/// Agrees to encrypt, takes the client's token, and answers with these bytes.
fn answer_to_token(answer: Vec<u8>) -> Liar {
    Liar::start(move |client| {
        assert_eq!(read(client, 8), GSSENC_REQUEST);
        client.write_all(b"G").unwrap();
        assert_eq!(read_packet(client, 0)[0], 0x60, "expected the token of a mechanism");
        client.write_all(&answer).unwrap();
    })
}

/// Asks for GSSAPI authentication, takes the client's token, and answers with these bytes.
fn answer_to_authentication(answer: &'static [u8]) -> Liar {
    Liar::start(move |client| {
        read_packet(client, 4);
        client.write_all(b"R\0\0\0\x08\0\0\0\x07").unwrap();
        assert_eq!(read(client, 1), b"p");
        assert_eq!(read_packet(client, 4)[0], 0x60, "expected the token of a mechanism");
        client.write_all(answer).unwrap();
    })
}

/// A realm in which a ticket for `localhost` can be had, and somebody who gets one.
fn realm_with_user() -> (Realm, Credentials) {
    let realm = Realm::start();
    realm.add_service(SERVICE);
    let credentials = realm.add_user("postgres");
    (realm, credentials)
}

const CLOSED: &str = "server closed the connection unexpectedly\n\
                      \tThis probably means the server terminated abnormally\n\
                      \tbefore or while processing the request.";
const INVALID: &str = "Invalid token was supplied: Success";

#[test]
fn cn_145_direct_tls_has_a_connection_of_its_own() {
    const HANDSHAKE: u8 = 22;
    let (_realm, credentials) = realm_with_user();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut asked, _) = listener.accept().unwrap();
        assert_eq!(read(&mut asked, 8), GSSENC_REQUEST);
        asked.write_all(b"N").unwrap();
        let (mut direct, _) = listener.accept().unwrap();
        assert_eq!(read(&mut direct, 1), [HANDSHAKE]);
        direct.shutdown(Shutdown::Write).unwrap();
        let _ = direct.read_to_end(&mut Vec::new());
    });
    let text = Liar { port, thread }.deceives(&credentials, "sslmode=require sslnegotiation=direct");
    assert_eq!(text, "SSL error: unexpected eof while reading");
}

#[test]
fn cn_204_what_comes_instead_of_a_token() {
    let (_realm, credentials) = realm_with_user();
    let initiate = format!("could not initiate GSSAPI security context: {INVALID}");
    for (answer, text) in [
        (b"E\0\0\0\x12SFATAL\0Msorry\0\0".to_vec(), "FATAL:  sorry"),
        (b"Esorry, no\n\0".to_vec(), "sorry, no"),
        (b"\x7f\xff\xff\xff".to_vec(), "oversize GSSAPI packet sent by the server (2147483647 > 65532)"),
        (b"\0\0\xff\xfd".to_vec(), "oversize GSSAPI packet sent by the server (65533 > 65532)"),
        ([b"\0\0\xff\xfc".to_vec(), vec![b'x'; 65532]].concat(), &initiate),
        (b"\0\0\0\x08garbage!".to_vec(), &initiate),
        (b"\0\0\0\0".to_vec(), &initiate),
        (b"\0\0\0\x08garb".to_vec(), CLOSED),
        (b"\0".to_vec(), CLOSED),
        (b"".to_vec(), CLOSED),
    ] {
        let shown = answer.escape_ascii().to_string();
        let said = answer_to_token(answer).deceives(&credentials, "gssencmode=require");
        assert_eq!(said, text, "{}", &shown[..shown.len().min(40)]);
    }
}

#[test]
fn cn_253_what_comes_instead_of_a_continuation() {
    let (_realm, credentials) = realm_with_user();
    let invalid = format!("GSSAPI continuation error: {INVALID}");
    for (answer, text) in [
        (&b"R\0\0\0\x10\0\0\0\x08garbage!"[..], &invalid[..]),
        (b"R\0\0\0\x08\0\0\0\x08", "authentication request 8 out of turn"),
        (b"E\0\0\0\x12SFATAL\0Msorry\0\0", "FATAL:  sorry"),
        (b"R\0\0\0\x10\0\0\0\x08garb", CLOSED),
    ] {
        let said = answer_to_authentication(answer).deceives(&credentials, "gssencmode=disable");
        assert_eq!(said, text, "{}", answer.escape_ascii());
    }
}

#[test]
fn cn_265_a_server_that_does_not_prove_itself_has_not_authenticated() {
    let (_realm, credentials) = realm_with_user();
    let said = answer_to_authentication(b"R\0\0\0\x08\0\0\0\0")
        .deceives(&credentials, "gssencmode=disable require_auth=gss");
    let text = "authentication method requirement \"gss\" failed: server did not complete authentication";
    assert_eq!(said, text);
}

#[test]
fn cn_136_bytes_before_the_encryption_are_refused() {
    let (_realm, credentials) = realm_with_user();
    let liar = Liar::start(|client| {
        read(client, 8);
        client.write_all(b"G\0\0\0\x01").unwrap();
    });
    assert_eq!(
        liar.deceives(&credentials, "gssencmode=require"),
        "received unencrypted data after GSSAPI encryption response"
    );
}

#[test]
fn cn_115_a_server_that_is_silent_is_left_when_the_time_is_over() {
    let (_realm, credentials) = realm_with_user();
    let silent = Liar::start(|client| {
        read(client, 8);
        client.write_all(b"G").unwrap();
        read_packet(client, 0);
        client.read_to_end(&mut Vec::new()).unwrap();
    });
    assert_eq!(silent.deceives(&credentials, "gssencmode=require connect_timeout=2"), "timeout expired");
}

#[test]
fn cn_204_a_packet_in_the_clear_is_refused() {
    // Only a server with the keys of the service could send one that the library takes; this one sends what
    // was never wrapped, behind a context that a real server has made.
    let (realm, credentials) = realm_with_user();
    let cluster = kerberized(&realm, 18).hba(&rule("hostgssenc", "postgres", GSS)).start();
    let port = cluster.port();
    for (packet, text) in [
        (
            &b"\0\0\0\x0fR\0\0\0\x08\0\0\0\0Z\0\0\0\x05I"[..],
            "GSSAPI unwrap error: Invalid token was supplied: ",
        ),
        (b"\0\0\x3f\xfd", "oversize GSSAPI packet sent by the server (16381 > 16380)"),
        (b"R\0\0\0\x08\0\0\0\0", "oversize GSSAPI packet sent by the server (1375731712 > 16380)"),
    ] {
        let liar = Liar::start(move |client| {
            let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            server.write_all(&read(client, 8)).unwrap();
            client.write_all(&read(&mut server, 1)).unwrap();
            for forward in [true, false] {
                let (from, to) =
                    if forward { (&mut *client, &mut server) } else { (&mut server, &mut *client) };
                let token = read_packet(from, 0);
                let length = u32::try_from(token.len()).unwrap();
                to.write_all(&[&length.to_be_bytes(), &token[..]].concat()).unwrap();
            }
            read_packet(client, 0);
            client.write_all(packet).unwrap();
        });
        let said = liar.deceives(&credentials, "gssencmode=require");
        assert!(said.contains(text), "{}: {said}", packet.escape_ascii());
    }
}
