//! One exchange of each kind with literal bytes, and what is refused in every state.

use super::super::channel::TlsFacts;
use super::*;

fn config(conninfo: &str) -> Config {
    format!("user=md5_user {conninfo}").parse().unwrap()
}

fn plain(config: &Config) -> Authentication<'_> {
    over(config, Channel::Plain)
}

fn over(config: &Config, channel: Channel) -> Authentication<'_> {
    Authentication {
        nonce_source: NonceSource(|| Ok("rOprNGfwEbeRWgbNEkqO".to_owned())),
        ..Authentication::new(config, config.password.clone(), channel)
    }
}

fn tls(server_end_point: Result<Vec<u8>, String>) -> Channel {
    Channel::Tls(TlsFacts { server_end_point, certificate_requested: false, certificate_sent: false })
}

/// The message that answers a request.
#[track_caller]
fn sent(answer: Result<Answer, StartupError>) -> Vec<u8> {
    match answer {
        Ok(Answer::Send(bytes)) => bytes.to_vec(),
        other => panic!("{other:?}"),
    }
}

fn request(code: u8, rest: &[u8]) -> Bytes {
    [&[0, 0, 0, code], rest].concat().into()
}

const OK: u8 = 0;
const PASSWORD: u8 = 3;
const MD5: u8 = 5;
const GSS: u8 = 7;
const GSS_CONTINUE: u8 = 8;
const SSPI: u8 = 9;
const SASL: u8 = 10;
const SASL_CONTINUE: u8 = 11;
const SASL_FINAL: u8 = 12;

/// Salt and password are those of the example in RFC 7677, section 3, as is the nonce.
const SERVER_FIRST: &[u8] =
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const SERVER_FINAL: &[u8] = b"v=3HO6Qt1M4MKJrmlKaoOqLAI0/0TV0HZe7J9H3MBtSOg=";

/// An exchange of SCRAM without channel binding, as far as the client's proof.
fn up_to_proof(authentication: &mut Authentication<'_>) {
    sent(authentication.answer(request(SASL, b"SCRAM-SHA-256\0\0")));
    let answer = authentication.answer(request(SASL_CONTINUE, SERVER_FIRST)).unwrap();
    assert!(matches!(answer, Answer::Work));
    assert!(!authentication.used_password());
    sent(authentication.work());
    assert!(authentication.used_password());
}

#[test]
fn cn_222_a_server_may_ask_for_nothing() {
    let config = config("password=p");
    let mut authentication = plain(&config);
    assert!(matches!(authentication.answer(request(OK, b"")).unwrap(), Answer::Done));
    assert!(!authentication.used_password());
    assert!(authentication.answer(request(OK, b"")).is_err());
}

#[test]
fn cn_225_a_cleartext_password_is_sent_as_it_is() {
    let config = config("");
    let mut authentication = Authentication::new(&config, Some(Password::new(*b"\xffx")), Channel::Plain);
    assert_eq!(sent(authentication.answer(request(PASSWORD, b""))), b"p\0\0\0\x07\xffx\0");
    assert!(authentication.used_password());
    assert!(matches!(authentication.answer(request(OK, b"")).unwrap(), Answer::Done));
}

#[test]
fn cn_226_md5_answers_with_the_salted_hash() {
    let config = config("password=password");
    let mut authentication = plain(&config);
    let answer = sent(authentication.answer(request(MD5, b"\x2a\x3d\x8f\xe0")));
    assert_eq!(&answer[..], b"p\0\0\0\x28md562af4dd09bbb41884907a838a3233294\0");
    assert!(authentication.used_password());
}

#[test]
fn cn_227_scram_leads_to_consent_through_both_proofs() {
    let config = config("password=pencil require_auth=scram-sha-256");
    let mut authentication = plain(&config);
    let first = sent(authentication.answer(request(SASL, b"SCRAM-SHA-256\0\0")));
    assert_eq!(&first[..], b"p\0\0\0\x32SCRAM-SHA-256\0\0\0\0\x1cn,,n=,r=rOprNGfwEbeRWgbNEkqO");
    authentication.answer(request(SASL_CONTINUE, SERVER_FIRST)).unwrap();
    assert!(sent(authentication.work())[5..].starts_with(b"c=biws,r=rOprNGfwEbeRWgbNEkqO"));
    assert!(matches!(authentication.answer(request(SASL_FINAL, SERVER_FINAL)).unwrap(), Answer::Wait));
    assert!(matches!(authentication.answer(request(OK, b"")).unwrap(), Answer::Done));
}

#[test]
fn cn_228_and_229_flags_and_mechanisms_go_with_the_channel() {
    const BOTH: &[u8] = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
    const PLAIN: &[u8] = b"SCRAM-SHA-256\0\0";
    let tls = tls(Ok(vec![7; 32]));
    for (channel, binding, offered, start) in [
        (&Channel::Plain, "prefer", PLAIN, "SCRAM-SHA-256\0 n,,"),
        (&Channel::Gss, "prefer", PLAIN, "SCRAM-SHA-256\0 n,,"),
        (&tls, "prefer", PLAIN, "SCRAM-SHA-256\0 y,,"),
        (&tls, "disable", PLAIN, "SCRAM-SHA-256\0 n,,"),
        (&tls, "disable", BOTH, "SCRAM-SHA-256\0 n,,"),
        (&tls, "prefer", BOTH, "SCRAM-SHA-256-PLUS\0 p=tls-server-end-point,,"),
        (&tls, "require", BOTH, "SCRAM-SHA-256-PLUS\0 p=tls-server-end-point,,"),
    ] {
        let config = config(&format!("password=p channel_binding={binding}"));
        let message = sent(over(&config, channel.clone()).answer(request(SASL, offered)));
        let (mechanism, gs2_header) = start.split_once(' ').unwrap();
        assert!(message[5..].starts_with(mechanism.as_bytes()), "{binding} {start}");
        assert!(message[5 + mechanism.len() + 4..].starts_with(gs2_header.as_bytes()), "{binding} {start}");
    }
}

#[test]
fn cn_244_a_certificate_without_a_hash_ends_channel_binding() {
    let reason = "could not find digest for NID UNDEF";
    let channel = tls(Err(reason.to_owned()));
    for binding in ["prefer", "require"] {
        let config = config(&format!("password=p channel_binding={binding}"));
        let offer = request(SASL, b"SCRAM-SHA-256-PLUS\0\0");
        let error = over(&config, channel.clone()).answer(offer).unwrap_err();
        assert_eq!(error.to_string(), reason);
    }
    let config = config("password=p");
    sent(over(&config, channel).answer(request(SASL, b"SCRAM-SHA-256\0\0")));
}

#[test]
fn cn_250_only_an_exchange_with_channel_binding_satisfies_its_requirement() {
    let config = config("password=p channel_binding=require");
    let scram = |binding| {
        Scram::new(Credentials::new(&config, config.password.as_ref()).unwrap(), binding, String::new())
    };
    assert!(scram(Binding::ServerEndPoint(vec![7])).is_bound());
    assert!(!scram(Binding::NotOffered).is_bound() && !scram(Binding::Unsupported).is_bound());

    let mut authentication = over(&config, tls(Ok(vec![7])));
    sent(authentication.answer(request(SASL, b"SCRAM-SHA-256-PLUS\0\0")));
    let error = authentication.answer(request(OK, b"")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "channel binding required, but server authenticated client without channel binding"
    );
}

#[test]
fn cn_230_the_work_for_scram_is_done_in_parts() {
    let config = config("password=p");
    let mut authentication = plain(&config);
    sent(authentication.answer(request(SASL, b"SCRAM-SHA-256\0\0")));
    let challenge = request(SASL_CONTINUE, b"r=rOprNGfwEbeRWgbNEkqO1,s=AAAA,i=8192");
    assert!(matches!(authentication.answer(challenge).unwrap(), Answer::Work));
    assert!(matches!(authentication.work().unwrap(), Answer::Work));
    assert_eq!(sent(authentication.work())[0], b'p');
}

#[test]
fn cn_232_consent_after_a_wrong_signature_is_never_believed() {
    let config = config("password=pencil");
    let mut authentication = plain(&config);
    up_to_proof(&mut authentication);
    let wrong = request(SASL_FINAL, b"v=BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
    let error = authentication.answer(wrong).unwrap_err();
    assert_eq!(error.to_string(), "incorrect server signature");
    let error = authentication.answer(request(OK, b"")).unwrap_err();
    assert_eq!(error.to_string(), "server did not complete authentication");
}

#[test]
fn cn_235_consent_in_the_middle_of_scram_is_refused() {
    let config = config("password=pencil");
    let mut authentication = plain(&config);
    sent(authentication.answer(request(SASL, b"SCRAM-SHA-256\0\0")));
    let error = authentication.answer(request(OK, b"")).unwrap_err();
    assert_eq!(error.to_string(), "server did not complete authentication");

    let mut authentication = plain(&config);
    up_to_proof(&mut authentication);
    let error = authentication.answer(request(OK, b"")).unwrap_err();
    assert_eq!(error.to_string(), "server did not complete authentication");
}

#[test]
fn cn_256_oauth_is_refused_before_anything_is_sent() {
    let config = config("password=p");
    let error = plain(&config).answer(request(SASL, b"OAUTHBEARER\0\0")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "server requires OAuth authentication, but oauth_issuer and oauth_client_id are not both set"
    );
}

#[test]
fn cn_254_without_gssapi_its_requests_are_refused_by_name() {
    let config = config("");
    for (code, rest, text) in [
        (GSS, &b""[..], "GSSAPI authentication not supported"),
        (GSS_CONTINUE, b"token", "GSSAPI authentication not supported"),
        (SSPI, b"", "SSPI authentication not supported"),
    ] {
        let mut authentication = Authentication { has_gssapi: false, ..plain(&config) };
        let error = authentication.answer(request(code, rest)).unwrap_err();
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn cn_253_tokens_go_to_and_fro_until_the_context_is_complete() {
    for (code, required) in [(GSS, "gss"), (SSPI, "sspi")] {
        let config = config(&format!("require_auth={required}"));
        let mut authentication = Authentication { has_gssapi: true, ..plain(&config) };
        let Answer::SecurityContext(token) = authentication.answer(request(code, b"")).unwrap() else {
            panic!()
        };
        assert!(token.is_empty());
        assert_eq!(sent(authentication.proceed(b"first", false)), b"p\0\0\0\x09first");
        let continued = authentication.answer(request(GSS_CONTINUE, b"theirs")).unwrap();
        assert!(matches!(continued, Answer::SecurityContext(token) if token == b"theirs"));
        assert!(matches!(authentication.proceed(b"", true).unwrap(), Answer::Wait));
        assert!(matches!(authentication.answer(request(OK, b"")).unwrap(), Answer::Done));
        assert!(!authentication.used_password());
    }
}

#[test]
fn cn_253_consent_before_the_context_is_complete_is_refused() {
    for (required, text) in [
        ("", "server did not complete authentication"),
        (
            "require_auth=gss",
            "authentication method requirement \"gss\" failed: server did not complete authentication",
        ),
    ] {
        let config = config(required);
        let mut authentication = Authentication { has_gssapi: true, ..plain(&config) };
        authentication.answer(request(GSS, b"")).unwrap();
        sent(authentication.proceed(b"first", false));
        assert_eq!(authentication.answer(request(OK, b"")).unwrap_err().to_string(), text);
    }
}

#[test]
fn cn_273_a_refused_method_gets_nothing() {
    for (required, code, rest) in [
        ("scram-sha-256", PASSWORD, &b""[..]),
        ("scram-sha-256", MD5, b"salt"),
        ("!password", PASSWORD, b""),
        ("md5", SASL, b"SCRAM-SHA-256\0\0"),
        ("none", SASL, b"SCRAM-SHA-256\0\0"),
        ("oauth", SASL, b"SCRAM-SHA-256\0\0"),
    ] {
        let config = config(&format!("password=p require_auth={required}"));
        let mut authentication = plain(&config);
        let error = authentication.answer(request(code, rest)).unwrap_err();
        assert!(matches!(error, StartupError::MethodRefused { .. }), "{error}");
        assert!(!authentication.used_password());
    }
}

#[test]
fn cn_275_a_missing_or_empty_password_is_said() {
    let config = config("");
    for password in [None, Some(Password::from(""))] {
        for (code, rest) in [(PASSWORD, &b""[..]), (MD5, b"salt"), (SASL, b"SCRAM-SHA-256\0\0")] {
            let mut authentication = Authentication::new(&config, password.clone(), Channel::Plain);
            let error = authentication.answer(request(code, rest)).unwrap_err();
            assert_eq!(error.to_string(), "fe_sendauth: no password supplied");
        }
    }
}

/// Whatever state the exchange is in, only the request that belongs there gets an answer.
#[test]
fn cn_302_requests_out_of_turn_are_refused_in_every_state() {
    type Prepare = fn(&mut Authentication<'_>);

    let config = config("password=pencil");
    let states: [(&str, &[u8], Prepare); 7] = [
        ("begun", &[OK, PASSWORD, MD5, GSS, SSPI, SASL], |_| {}),
        ("after a password", &[OK], |it| drop(sent(it.answer(request(PASSWORD, b""))))),
        ("after md5", &[OK], |it| drop(sent(it.answer(request(MD5, b"salt"))))),
        ("after the offer of SCRAM", &[SASL_CONTINUE], |it| {
            sent(it.answer(request(SASL, b"SCRAM-SHA-256\0\0")));
        }),
        ("after the proof", &[SASL_FINAL], up_to_proof),
        ("after SCRAM", &[OK], |it| {
            up_to_proof(it);
            it.answer(request(SASL_FINAL, SERVER_FINAL)).unwrap();
        }),
        ("within GSSAPI", &[GSS_CONTINUE], |it| {
            it.answer(request(GSS, b"")).unwrap();
            sent(it.proceed(b"token", false));
        }),
    ];
    for (name, expected, prepare) in states {
        for (code, rest) in [
            (OK, &b""[..]),
            (PASSWORD, b""),
            (MD5, b"salt"),
            (GSS, b""),
            (GSS_CONTINUE, b"token"),
            (GSS_CONTINUE, b""),
            (SSPI, b""),
            (SASL, b"SCRAM-SHA-256\0\0"),
            (SASL_CONTINUE, SERVER_FIRST),
            (SASL_FINAL, SERVER_FINAL),
            (99, b""),
        ] {
            let mut authentication = Authentication { has_gssapi: true, ..plain(&config) };
            prepare(&mut authentication);
            let is_expected = expected.contains(&code) && (code != GSS_CONTINUE || !rest.is_empty());
            let answer = authentication.answer(request(code, rest));
            assert_eq!(answer.is_ok(), is_expected, "{name}: {code} {answer:?}");
        }
    }
}

#[test]
fn cn_302_what_comes_at_the_wrong_time_is_named() {
    let config = config("password=pencil");
    let mut authentication = plain(&config);
    sent(authentication.answer(request(SASL, b"SCRAM-SHA-256\0\0")));
    let error = authentication.answer(request(SASL, b"SCRAM-SHA-256\0\0")).unwrap_err();
    assert_eq!(error.to_string(), "duplicate SASL authentication request");

    let error = plain(&config).answer(request(SASL_CONTINUE, b"")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "fe_sendauth: invalid authentication request from server: AUTH_REQ_SASL_CONT without AUTH_REQ_SASL"
    );

    let mut authentication = plain(&config);
    sent(authentication.answer(request(MD5, b"salt")));
    let error = authentication.answer(request(PASSWORD, b"")).unwrap_err();
    assert_eq!(error.to_string(), "authentication request 3 out of turn");
}
