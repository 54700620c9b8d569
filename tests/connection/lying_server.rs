//! Servers that lie, stammer or fall silent: each is found out, none makes us hang, panic or tell a secret.

use crate::attempt::{config, refused, refused_like_the_reference, refused_with_notices, with_notices};
use crate::support::byte_script::{ByteScriptServer, Step, authentication, fatal, message};
use crate::support::scratch_directory;

pub(crate) const CLOSED: &str = "server closed the connection unexpectedly\n\
    \tThis probably means the server terminated abnormally\n\
    \tbefore or while processing the request.";

/// Refuses a client with one answer to its startup packet.
pub(crate) fn answering(bytes: impl Into<Vec<u8>>) -> ByteScriptServer {
    ByteScriptServer::start([Step::Receive, Step::Send(bytes.into())])
}

/// What a server says from its consent to its readiness, with nothing to answer to commands.
pub(crate) fn welcome() -> Vec<u8> {
    [
        authentication(0, b""),
        message(b'S', b"server_version\x0018.6\0"),
        message(b'S', b"integer_datetimes\0on\0"),
        message(b'K', b"\0\0\0\x07\x01\x02\x03\x04"),
        message(b'Z', b"I"),
    ]
    .concat()
}

/// The failure that a script leads to, without the name of the server; the client knows the password `secret`.
#[track_caller]
pub(crate) fn failure(script: impl Into<Vec<Step>>) -> String {
    failure_of(&ByteScriptServer::start(script))
}

#[track_caller]
pub(crate) fn failure_of(server: &ByteScriptServer) -> String {
    let error = refused(&format!("{} password=secret", server.conninfo())).to_string();
    let prefix = format!("connection to server at \"127.0.0.1\", port {} failed: ", server.port());
    error.strip_prefix(&prefix).unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[test]
fn cn_220_another_protocol_is_recognised_like_the_reference_recognises_it() {
    for greeting in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        "220 mail.example.org ESMTP\r\n",
        "-ERR unknown command\r\n",
        "J\0\0\0\n8.0.36\0",
    ] {
        let server = answering(greeting);
        refused_like_the_reference(&server.conninfo());
    }
}

#[test]
fn cn_303_lengths_that_cannot_be_are_refused() {
    let consent = authentication(0, b"");
    for (before, tag, length) in [
        (&b""[..], 'E', 2),
        (b"", 'E', 30_001),
        (b"", 'E', 0xffff_fff0),
        (&consent, 'S', 3),
        (&consent, 'S', 30_001),
        (&consent, 'K', 30_001),
        (&consent, 'Z', 0),
        (&consent, 'Z', 6),
        (&consent, 'N', 30_001),
    ] {
        let bytes =
            [before, &[tag as u8], &u32::to_be_bytes(length), b"and a few bytes that follow"].concat();
        assert_eq!(
            failure_of(&answering(bytes)),
            format!("lost synchronization with server: got message type \"{tag}\", length {length}")
        );
    }
    for (tag, text) in [
        (b'R', "received invalid authentication request"),
        (b'v', "received invalid protocol negotiation message"),
    ] {
        for length in [0, 3, 7, 2_001, 0x7fff_ffff, 0xffff_ffff] {
            let bytes = [&[tag][..], &u32::to_be_bytes(length), b"and a few bytes that follow"].concat();
            assert_eq!(failure_of(&answering(bytes)), text);
        }
    }
}

#[test]
fn cn_221_requests_that_are_not_known_are_refused_by_name_like_the_reference_does() {
    for code in [1, 2, 4, 13, 99, 0x7fff_ffff] {
        refused_like_the_reference(&answering(authentication(code, b"")).conninfo());
    }
    // The reference may have GSSAPI.
    for (code, name) in [(7, "GSSAPI"), (8, "GSSAPI"), (9, "SSPI")] {
        let text = failure_of(&answering(authentication(code, b"")));
        assert_eq!(text, format!("{name} authentication not supported"));
    }
    for mechanisms in [&b"SCRAM-SHA-512\0\0"[..], b"scram-sha-256\0\0", b"\0"] {
        refused_like_the_reference(&answering(authentication(10, mechanisms)).conninfo());
    }
}

#[test]
fn cn_302_requests_out_of_form_or_out_of_turn_are_refused() {
    let malformed = "received invalid authentication request";
    let disagreeing = "message contents do not agree with length in message type \"S\"";
    let not_begun =
        "fe_sendauth: invalid authentication request from server: AUTH_REQ_SASL_CONT without AUTH_REQ_SASL";
    let key = |length| {
        format!(
            "received invalid BackendKeyData message: cancel key with length {length} not allowed in protocol \
             version 3.0 (must be 4 bytes)"
        )
    };
    for (bytes, text) in [
        (message(b'R', b""), malformed),
        (message(b'R', b"\0\0\x05"), malformed),
        (authentication(5, b""), malformed),
        (authentication(5, b"abc"), malformed),
        (authentication(5, b"abcde"), malformed),
        (authentication(11, b""), not_begun),
        (authentication(12, b"v=AAAA"), not_begun),
        (message(b'Z', b"I"), "expected authentication request from server, but received Z"),
        (message(b'S', b"a\0b\0"), "expected authentication request from server, but received S"),
        (message(b'K', &[0; 8]), "expected authentication request from server, but received K"),
        (vec![0; 12], "expected authentication request from server, but received \\x00"),
        (message(b'N', b"SNOTICE\0\0"), "expected authentication request from server, but received N"),
        (
            message(b'v', b"\0\x03\0\0\0\0\0\0"),
            "received invalid protocol negotiation message: server negotiated but asks for no changes",
        ),
        (
            [authentication(0, b""), authentication(0, b"")].concat(),
            "unexpected message \"R\" during start-up",
        ),
        (
            [authentication(0, b""), authentication(3, b"")].concat(),
            "unexpected message \"R\" during start-up",
        ),
        (
            [authentication(0, b""), message(b'd', b"data")].concat(),
            "unexpected message \"d\" during start-up",
        ),
        ([authentication(0, b""), message(b'S', b"")].concat(), disagreeing),
        ([authentication(0, b""), message(b'S', b"no value")].concat(), disagreeing),
        ([authentication(0, b""), message(b'K', &[0; 7])].concat(), &key(3)),
        ([authentication(0, b""), message(b'K', &[0; 9])].concat(), &key(5)),
    ] {
        assert_eq!(failure_of(&answering(bytes.clone())), text, "{}", bytes.escape_ascii());
    }
}

#[test]
fn cn_302_a_second_request_gets_no_second_secret() {
    for (second, code) in [(authentication(3, b""), 3), (authentication(5, b"salt"), 5)] {
        let server = ByteScriptServer::start([
            Step::Receive,
            Step::Send(authentication(5, b"salt")),
            Step::Receive,
            Step::Send(second),
            Step::Receive,
        ]);
        assert_eq!(failure_of(&server), format!("authentication request {code} out of turn"));
        assert_eq!(server.received().len(), 2);
    }
}

#[test]
fn cn_293_an_end_at_any_byte_is_reported() {
    let welcome = welcome();
    for length in 0..welcome.len() {
        assert_eq!(failure_of(&answering(&welcome[..length])), CLOSED, "after {length} bytes");
    }
    refused_like_the_reference(&answering(&welcome[..7]).conninfo());
}

#[test]
fn cn_293_an_end_at_any_point_of_authentication_is_reported() {
    for request in [authentication(3, b""), authentication(5, b"salt")] {
        assert_eq!(failure([Step::Receive, Step::Send(request), Step::Receive]), CLOSED);
    }
}

#[test]
fn cn_294_the_last_words_of_a_server_are_shown() {
    let directory = scratch_directory();
    let words = fatal("57P01", "terminating connection due to administrator command");
    let _server = ByteScriptServer::start_on_path(
        &directory.path().join(".s.PGSQL.5432"),
        // The answer to the request cannot be sent any more.
        [Step::Receive, Step::StopReading, Step::Send([authentication(3, b""), words].concat())],
    );
    let conninfo = format!("host={} user=u password=secret", directory.path().display());
    refused_like_the_reference(&conninfo);
}

#[test]
fn cn_290_a_refusal_may_come_at_any_point() {
    let refusal = fatal("53300", "sorry, too many clients already\nreally\n");
    for bytes in [
        refusal.clone(),
        [authentication(0, b""), refusal.clone()].concat(),
        [authentication(0, b""), message(b'S', b"a\0b\0"), refusal].concat(),
    ] {
        refused_like_the_reference(&answering(bytes).conninfo());
    }
}

#[test]
fn cn_302_refusals_without_form_are_shown_as_far_as_they_go() {
    for body in [
        &b"\0"[..],
        b"SFATAL\0\0",
        b"SFATAL\0C28000\0Mcut off in the mid",
        b"Monly a message\0\0",
        b"SFATAL\0Mno end\0",
    ] {
        let text = failure_of(&answering(message(b'E', body)));
        assert!(text.contains(":  "), "{text}");
    }
}

#[test]
fn cn_303_messages_may_come_byte_by_byte() {
    let session = |welcome| {
        vec![Step::Receive, Step::SendBytewise(welcome), Step::Receive, Step::SendBytewise(system())]
    };
    for script in [
        session(welcome()),
        [
            vec![Step::Receive, Step::SendBytewise(authentication(5, b"salt")), Step::Receive],
            session(welcome())[1..].to_vec(),
        ]
        .concat(),
    ] {
        let server = ByteScriptServer::start(script);
        let (result, _) = with_notices(config(&format!("{} password=secret", server.conninfo())));
        result.unwrap();
    }
}

/// The answer to `IDENTIFY_SYSTEM`.
fn system() -> Vec<u8> {
    let column = |name: &str| [name.as_bytes(), b"\0", &[0; 18]].concat();
    let columns: Vec<u8> =
        ["systemid", "timeline", "xlogpos", "dbname"].iter().flat_map(|n| column(n)).collect();
    let value = |text: &str| [&u32::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
    let row =
        [&[0, 4][..], &value("7300000000000000000"), &value("1"), &value("0/3000000"), &[255; 4]].concat();
    [
        message(b'T', &[&[0, 4][..], &columns].concat()),
        message(b'D', &row),
        message(b'C', b"IDENTIFY_SYSTEM\0"),
        message(b'Z', b"I"),
    ]
    .concat()
}

#[test]
fn cn_288_notices_during_the_start_are_passed_on() {
    let notice = message(b'N', b"SWARNING\0VWARNING\0C01000\0Mbeware\0Dof this\0\0");
    let server = ByteScriptServer::start([
        Step::Receive,
        Step::Send([authentication(0, b""), notice.clone(), welcome()[9..].to_vec()].concat()),
        Step::Receive,
        Step::Send([notice, system()].concat()),
    ]);
    let (result, notices) = with_notices(config(&server.conninfo()));
    result.unwrap();
    assert_eq!(notices, ["WARNING:  beware\nDETAIL:  of this"; 2]);

    let (_, notices) = refused_with_notices(&answering(fatal("28000", "no")).conninfo());
    assert_eq!(notices, [""; 0]);
}

#[test]
fn cn_303_a_start_that_never_ends_is_given_up() {
    for endless in [message(b'S', b"name\0value\0"), message(b'N', b"SWARNING\0Mbeware\0\0")] {
        let server = ByteScriptServer::start([
            Step::Receive,
            Step::Send(authentication(0, b"")),
            Step::SendForEver(endless.repeat(1_000)),
        ]);
        let text = failure_of(&server);
        assert_eq!(text, "the server does not become ready: more than 1048576 bytes during start-up");
    }
}

#[test]
fn cn_306_versions_of_every_spelling_are_read() {
    for (text, number) in [
        ("18.6", 180_006),
        ("18beta1", 180_000),
        ("16.3 (Debian 16.3-1.pgdg120+1)", 160_003),
        ("9.6.24", 90_624),
        ("nonsense", 0),
    ] {
        let parameter = message(b'S', format!("server_version\0{text}\0").as_bytes());
        let start = [authentication(0, b""), parameter, message(b'Z', b"I")].concat();
        let server = ByteScriptServer::start([Step::Receive, Step::Send(start), Step::Stall]);
        let session = crate::attempt::connected(config(&server.conninfo()));
        assert_eq!(session.server_version().number(), number, "{text}");
        assert_eq!(session.backend_pid(), None);
    }
}
