//! Servers that cheat in the SCRAM exchange, in which both sides prove that they know the password.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::attempt::refused_like_the_reference;
use crate::lying_server::{CLOSED, answering, failure, failure_of, welcome};
use crate::support::byte_script::{ByteScriptServer, Step, authentication, fatal};

/// The offer of SCRAM.
pub(crate) fn offer() -> Step {
    Step::Send(authentication(10, b"SCRAM-SHA-256\0\0"))
}

/// The server's first SCRAM message: the client's nonce and what follows it.
pub(crate) fn server_first(tail: &'static str) -> Step {
    Step::answer(move |client_first| {
        let nonce = client_first.windows(2).rposition(|bytes| bytes == b"r=").unwrap();
        authentication(11, &[&client_first[nonce..], tail.as_bytes()].concat())
    })
}

/// A SCRAM exchange up to the client's proof.
fn scram(then: impl Into<Vec<Step>>) -> Vec<Step> {
    let mut script =
        vec![Step::Receive, offer(), Step::Receive, server_first("more,s=c2FsdA==,i=4096"), Step::Receive];
    script.extend(then.into());
    script
}

#[test]
fn cn_234_and_246_first_messages_of_scram_that_cannot_be() {
    for (tail, text) in [
        (",s=c2FsdA==,i=4096", "invalid SCRAM response (nonce mismatch)"),
        ("more", "malformed SCRAM message (attribute \"s\" expected)"),
        ("more,s=c2FsdA==", "malformed SCRAM message (attribute \"i\" expected)"),
        ("more,s=*,i=4096", "malformed SCRAM message (invalid salt)"),
        ("more,s=c2FsdA==,i=", "malformed SCRAM message (invalid iteration count)"),
        ("more,s=c2FsdA==,i=0", "malformed SCRAM message (invalid iteration count)"),
        ("more,s=c2FsdA==,i=-1", "malformed SCRAM message (invalid iteration count)"),
        ("more,s=c2FsdA==,i=99999999999", "malformed SCRAM message (invalid iteration count)"),
        ("more,s=c2FsdA==,i=4096,x", "malformed SCRAM message (garbage at end of server-first-message)"),
        ("more,s=c2FsdA==,i=2000000000", "SCRAM iteration count 2000000000 is too large (at most 10000000)"),
    ] {
        let server = ByteScriptServer::start([
            Step::Receive,
            offer(),
            Step::Receive,
            server_first(tail),
            Step::Receive,
        ]);
        assert_eq!(failure_of(&server), text, "{tail}");
        assert_eq!(server.received().len(), 2, "no proof was sent");
    }
}

#[test]
fn cn_231_the_nonce_of_another_session_is_refused() {
    let foreign = authentication(11, b"r=AAAAAAAAAAAAAAAAAAAAAAAAmore,s=c2FsdA==,i=4096");
    let text = failure([Step::Receive, offer(), Step::Receive, Step::Send(foreign), Step::Receive]);
    assert_eq!(text, "invalid SCRAM response (nonce mismatch)");
}

#[test]
fn cn_232_to_234_a_server_that_does_not_know_the_password_is_refused() {
    let wrong = format!("v={}", BASE64.encode([7; 32]));
    let long = format!("v={}", BASE64.encode([7; 33]));
    for (last, text) in [
        (wrong.as_str(), "incorrect server signature"),
        ("v=AAAA", "malformed SCRAM message (invalid server signature)"),
        (&long, "malformed SCRAM message (invalid server signature)"),
        ("v=*", "malformed SCRAM message (invalid server signature)"),
        ("", "malformed SCRAM message (empty message)"),
        ("v", "malformed SCRAM message (expected character \"=\" for attribute \"v\")"),
        (&format!("{wrong},x"), "malformed SCRAM message (garbage at end of server-final-message)"),
        ("x=AAAA", "malformed SCRAM message (attribute \"v\" expected)"),
        ("e=other-error", "error received from server in SCRAM exchange: other-error"),
    ] {
        let script = scram([Step::Send([authentication(12, last.as_bytes()), welcome()].concat())]);
        assert_eq!(failure(script), text, "{last}");
    }
}

#[test]
fn cn_235_consent_in_the_middle_of_scram_is_refused() {
    let text = "server did not complete authentication";
    assert_eq!(failure([Step::Receive, offer(), Step::Receive, Step::Send(welcome())]), text);
    assert_eq!(failure(scram([Step::Send(welcome())])), text);
}

#[test]
fn cn_273_a_server_that_began_with_scram_does_not_get_the_password() {
    for (request, text) in [
        (authentication(3, b""), "authentication request 3 out of turn"),
        (authentication(5, b"salt"), "authentication request 5 out of turn"),
        (authentication(10, b"SCRAM-SHA-256\0\0"), "duplicate SASL authentication request"),
    ] {
        for script in [
            vec![Step::Receive, offer(), Step::Receive, Step::Send(request.clone()), Step::Receive],
            scram([Step::Send(request.clone()), Step::Receive]),
        ] {
            let server = ByteScriptServer::start(script.clone());
            assert_eq!(failure_of(&server), text);
            let told = server.received().concat();
            assert!(!told.windows(6).any(|bytes| bytes == b"secret"));
        }
    }
}

#[test]
fn cn_245_channel_binding_is_not_offered_without_tls() {
    let server = answering(authentication(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"));
    refused_like_the_reference(&format!("{} password=secret", server.conninfo()));
}

#[test]
fn cn_293_an_end_at_any_point_of_scram_is_reported() {
    let whole = scram([]);
    for steps in 0..=whole.len() {
        assert_eq!(failure(&whole[..steps]), CLOSED, "after {steps} steps");
    }
}

#[test]
fn cn_290_a_refusal_may_come_at_any_point_of_scram() {
    let refusal = Step::Send(fatal("53300", "sorry, too many clients already"));
    let text = "FATAL:  sorry, too many clients already";
    assert_eq!(failure([Step::Receive, offer(), Step::Receive, refusal.clone()]), text);
    assert_eq!(failure(scram([refusal])), text);
}
