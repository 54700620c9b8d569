//! What the two sides agree on.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use openssl::ssl::{AlpnError, SslVersion};

use super::authority::{Files, root};
use super::*;

fn server() -> SslContextBuilder {
    context(&root("root").server(), &[])
}

#[tokio::test]
async fn cn_164_and_165_versions() {
    for (settings, version) in [
        ("", "TLSv1.3"),
        ("ssl_max_protocol_version=TLSv1.2", "TLSv1.2"),
        ("ssl_min_protocol_version=TLSv1.3", "TLSv1.3"),
    ] {
        let (text, seen) = outcome(server(), &config(&format!("sslmode=require {settings}"))).await;
        assert_eq!((text.as_str(), seen.split(' ').next()), ("ok", Some(version)));
    }

    for (client, server_version, range) in [
        ("ssl_min_protocol_version=TLSv1.3", SslVersion::TLS1_2, "TLSv1.3 and TLSv1.3"),
        ("ssl_max_protocol_version=TLSv1.2", SslVersion::TLS1_3, "TLSv1.2 and TLSv1.2"),
    ] {
        let mut server = server();
        server.set_min_proto_version(Some(server_version)).unwrap();
        server.set_max_proto_version(Some(server_version)).unwrap();
        let text = result(server, &config(&format!("sslmode=require {client}"))).await;
        let expected = format!(
            "SSL error: tlsv1 alert protocol version\nThis may indicate that the server does not support any SSL \
             protocol version between {range}."
        );
        assert_eq!(text, expected);
    }
}

#[tokio::test]
async fn cn_166_alpn() {
    let answering = |answer: Option<&'static [u8]>| {
        let mut server = server();
        server.set_alpn_select_callback(move |_, offered| {
            assert_eq!(offered, b"\x0apostgresql");
            answer.ok_or(AlpnError::NOACK)
        });
        server
    };
    let asked = config("sslmode=require");
    let direct = config("sslmode=require sslnegotiation=direct");
    let none = "direct SSL connection was established without ALPN protocol negotiation extension";
    for (answer, config, expected) in [
        (Some(&b"postgresql"[..]), &asked, "ok"),
        (Some(b"postgresql"), &direct, "ok"),
        (None, &asked, "ok"),
        (None, &direct, none),
    ] {
        assert_eq!(result(answering(answer), config).await, expected);
    }
    // Newer versions of the library refuse an answer that was not offered.
    let text = result(answering(Some(b"http/1.1")), &direct).await;
    let unexpected = "SSL connection was established with unexpected ALPN protocol";
    assert!(text == unexpected || text == "SSL error: bad extension", "{text}");
}

#[tokio::test]
async fn cn_167_names_are_indicated_and_addresses_not() {
    for (host, settings, expected) in [
        (Some("localhost"), "", "Some(\"localhost\")"),
        (Some("db.example."), "", "Some(\"db.example.\")"),
        (Some("localhost"), "sslsni=0", "None"),
        (Some("127.0.0.1"), "", "None"),
        (Some("1.2"), "", "None"),
        (Some("::1"), "", "None"),
        (Some(""), "", "None"),
        (None, "", "None"),
    ] {
        let mut config = config(&format!("sslmode=require {settings}"));
        config.hosts[0].name = host.map(str::to_owned);
        let (text, seen) = outcome(server(), &config).await;
        assert_eq!((text.as_str(), seen.split(' ').nth(1)), ("ok", Some(expected)), "{host:?}");
    }

    let mut config = config("sslmode=require");
    config.hosts[0].name = Some("x".repeat(256));
    let text = result(server(), &config).await;
    assert_eq!(text, "could not set SSL Server Name Indication (SNI): ssl3 ext invalid servername");
}

#[tokio::test]
async fn cn_188_the_key_log() {
    let files = Files::new();
    let file = files.path().join("keys");
    let config_with =
        |file: &std::path::Path| config(&format!("sslmode=require sslkeylogfile={}", file.display()));
    for connections in 1..=2 {
        assert_eq!(result(server(), &config_with(&file)).await, "ok");
        let text = fs::read_to_string(&file).unwrap();
        let secrets =
            text.lines().filter(|line| line.starts_with("CLIENT_HANDSHAKE_TRAFFIC_SECRET ")).count();
        assert_eq!(secrets, connections);
        assert!(text.ends_with('\n'));
    }
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    for (file, expected) in [
        (
            files.path().join("no/keys"),
            format!(
                "WARNING: could not open SSL key logging file \"{}/no/keys\": No such file or directory",
                files.path().display()
            ),
        ),
        (
            "/dev/full".into(),
            "WARNING: could not write to SSL key logging file \"/dev/full\": No space left on device"
                .to_owned(),
        ),
    ] {
        let listening = Server::greeting(server());
        let client = connect(listening.port, &config_with(&file)).await;
        assert_eq!(client.notices, [expected]);
        assert_eq!(greeted(client.outcome.unwrap()).await, "ok");
        listening.finish();
    }
}

#[tokio::test]
async fn peers_that_do_not_speak_tls() {
    const ABOUT_VERSIONS: &str = "\nThis may indicate that the server does not support any SSL protocol version \
                                  between TLSv1.2 and TLSv1.3.";
    for (answer, expected) in [
        (&b""[..], "SSL error: unexpected eof while reading".to_owned()),
        (b"\x16\x03\x03\x01\x00\x02\x00", "SSL error: unexpected eof while reading".to_owned()),
        (b"\x15\x03\x03\x00\x02\x02\x28", "SSL error: sslv3 alert handshake failure".to_owned()),
        (b"HTTP/1.0 400 Bad Request\r\n\r\n", format!("SSL error: wrong version number{ABOUT_VERSIONS}")),
    ] {
        let server = Server::with_socket(move |mut socket| {
            let _hello = socket.read(&mut [0; 4096]).unwrap();
            socket.write_all(answer).unwrap();
            socket.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = socket.read_to_end(&mut Vec::new());
        });
        let client = connect(server.port, &config("sslmode=require")).await;
        assert_eq!(client.outcome.unwrap_err().to_string(), expected, "{}", answer.escape_ascii());
        server.finish();
    }
}
