//! The client's certificate and key.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{SslVerifyMode, SslVersion};
use openssl::symm::Cipher;

use super::authority::{Files, Template, root, self_signed};
use super::*;

fn with_certificate(certificate: &Path, key: &Path, rest: &str) -> Config {
    config(&format!("sslmode=require sslcert={} sslkey={} {rest}", certificate.display(), key.display()))
}

/// A server that asks for a certificate of this authority.
fn asking(identity: &Identity, authority: &Identity) -> SslContextBuilder {
    let mut context = context(identity, &[]);
    context.cert_store_mut().add_cert(authority.certificate.clone()).unwrap();
    context.add_client_ca(&authority.certificate).unwrap();
    context.set_verify(SslVerifyMode::PEER);
    context
}

#[test]
fn cn_179_nobody_is_asked_for_a_passphrase_however_the_key_is_marked() {
    let files = Files::new();
    let key = PKey::ec_gen("prime256v1").unwrap();
    let certificate = files.certificates("client.crt", &[&self_signed(&Template::default(), key.clone())]);
    let encrypted = key.ec_key().unwrap().private_key_to_pem_passphrase(Cipher::aes_128_cbc(), b"x").unwrap();
    let unusual = String::from_utf8(encrypted).unwrap().replace("Proc-Type: 4,", "Proc-Type:\t4, ");
    let file = files.write("client.key", unusual);
    let text = refusal(&with_certificate(&certificate, &file, ""));
    assert!(text.starts_with("could not load private key file"), "{text}");
    assert_eq!(refusal(&with_certificate(&certificate, &file, "sslpassword=x")), "ok");
}

/// One that shows as wrong, if the key has a passphrase at all: of 256 others one gives something that looks like a
/// key until it is read.
fn wrong_passphrase(key: &[u8]) -> String {
    let shows = |passphrase: &String| {
        let passphrase = passphrase.as_bytes();
        let read = if key.starts_with(b"-----") {
            PKey::private_key_from_pem_passphrase(key, passphrase)
        } else {
            PKey::private_key_from_pkcs8_passphrase(key, passphrase)
        };
        let is_bad = |errors: ErrorStack| errors.errors().iter().any(|e| e.reason() == Some("bad decrypt"));
        read.map_or_else(is_bad, |_| true)
    };
    let mut candidates = (0..256).map(|number| format!("wrong{number}"));
    candidates.find(shows).unwrap_or_default()
}

#[test]
fn cn_178_to_180_formats_of_keys() {
    let files = Files::new();
    let aes = Cipher::aes_256_cbc();
    let rsa = Rsa::generate(2048).unwrap();
    let rsa_key = PKey::from_rsa(rsa.clone()).unwrap();
    let ec_key = PKey::ec_gen("prime256v1").unwrap();
    let ec = ec_key.ec_key().unwrap();
    let certificate = |key: &PKey<_>| {
        let identity = self_signed(&Template::default(), key.clone());
        files.certificates("client.crt", &[&identity])
    };
    let check = |key: &PKey<_>, content: Vec<u8>, is_encrypted: bool| {
        let wrong_passphrase = wrong_passphrase(&content);
        let (certificate, file) = (certificate(key), files.write("client.key", content));
        assert_eq!(refusal(&with_certificate(&certificate, &file, "sslpassword=secret")), "ok");
        let without = refusal(&with_certificate(&certificate, &file, ""));
        let wrong = format!("sslpassword={wrong_passphrase}");
        let wrong = refusal(&with_certificate(&certificate, &file, &wrong));
        if is_encrypted {
            let place = format!("could not load private key file \"{}\": ", file.display());
            let missing = "the key is encrypted and no passphrase is given (sslpassword)";
            assert_eq!(without, format!("{place}{missing}"));
            assert_eq!(wrong, format!("{place}bad decrypt"));
        } else {
            assert_eq!((without.as_str(), wrong.as_str()), ("ok", "ok"));
        }
    };
    check(&rsa_key, rsa_key.private_key_to_pem_pkcs8().unwrap(), false);
    check(&rsa_key, rsa.private_key_to_pem().unwrap(), false);
    check(&rsa_key, rsa.private_key_to_der().unwrap(), false);
    check(&rsa_key, rsa_key.private_key_to_pkcs8().unwrap(), false);
    check(&ec_key, ec_key.private_key_to_pem_pkcs8().unwrap(), false);
    check(&ec_key, ec.private_key_to_pem().unwrap(), false);
    check(&ec_key, ec.private_key_to_der().unwrap(), false);
    check(&rsa_key, rsa.private_key_to_pem_passphrase(aes, b"secret").unwrap(), true);
    check(&ec_key, ec.private_key_to_pem_passphrase(aes, b"secret").unwrap(), true);
    check(&rsa_key, rsa_key.private_key_to_pem_pkcs8_passphrase(aes, b"secret").unwrap(), true);
    check(&rsa_key, rsa_key.private_key_to_pkcs8_passphrase(aes, b"secret").unwrap(), true);
}

#[test]
fn cn_181_and_183_files_that_are_refused() {
    let files = Files::new();
    let identity = self_signed(&Template::default(), authority::ec_key());
    let certificate = files.certificates("client.crt", &[&identity]);
    let key = files.write("client.key", identity.key.private_key_to_pem_pkcs8().unwrap());
    let other = files.write("other.key", authority::ec_key().private_key_to_pem_pkcs8().unwrap());
    let junk = files.write("junk", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let missing = files.path().join("missing");
    let below_file = certificate.join("x");
    for (certificate, key, expected) in [
        (&certificate, &key, "ok".to_owned()),
        (&missing, &missing, "ok".to_owned()),
        (&below_file, &missing, "ok".to_owned()),
        (
            &certificate,
            &missing,
            format!("certificate present, but not private key file \"{}\"", missing.display()),
        ),
        (
            &certificate,
            &below_file,
            format!("could not stat private key file \"{}\": Not a directory", below_file.display()),
        ),
        (
            &certificate,
            &files.path().to_owned(),
            format!("private key file \"{}\" is not a regular file", files.path().display()),
        ),
        (
            &certificate,
            &other,
            format!("could not load private key file \"{}\": key values mismatch", other.display()),
        ),
        (&certificate, &junk, format!("could not load private key file \"{}\": unsupported", junk.display())),
        (&junk, &key, format!("could not read certificate file \"{}\": wrong tag", junk.display())),
        (&key, &key, format!("could not read certificate file \"{}\": no start line", key.display())),
    ] {
        assert_eq!(refusal(&with_certificate(certificate, key, "")), expected);
    }

    let disabled = with_certificate(&junk, &junk, "sslcertmode=disable");
    assert_eq!(refusal(&disabled), "ok");

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let expected = format!(
        "private key file \"{}\" has group or world access; file must have permissions u=rw (0600) or less if \
         owned by the current user, or permissions u=rw,g=r (0640) or less if owned by root",
        key.display()
    );
    assert_eq!(refusal(&with_certificate(&certificate, &key, "")), expected);

    let no_key_place = config(&format!("sslmode=require sslcert={}", certificate.display()));
    let text = refusal(&no_key_place);
    assert_eq!(text, "certificate does not match private key file \"\": no private key assigned");
}

#[tokio::test]
async fn cn_178_the_default_place() {
    let files = Files::new();
    let authority = root("root");
    let client = authority.issue(&Template { common_name: Some("client"), ..Template::default() });
    files.certificates(".postgresql/postgresql.crt", &[&client]);
    files.write(".postgresql/postgresql.key", client.key.private_key_to_pem_pkcs8().unwrap());
    let mut config = config("sslmode=require");
    config.home = Some(files.path().to_owned());
    let (text, seen) = outcome(asking(&authority.server(), &authority), &config).await;
    assert_eq!((text.as_str(), seen.as_str()), ("ok", "TLSv1.3 Some(\"localhost\") Some(\"client\")"));
}

#[tokio::test]
async fn cn_185_the_chain_is_sent() {
    let files = Files::new();
    let authority = root("root");
    let intermediate = authority.issue(&Template {
        common_name: Some("intermediate"),
        is_authority: true,
        serial: 2,
        ..Template::default()
    });
    let client = intermediate.issue(&Template { common_name: Some("client"), ..Template::default() });
    let key = files.write("client.key", client.key.private_key_to_pem_pkcs8().unwrap());
    let chain = files.certificates("chain.crt", &[&client, &intermediate]);
    let (text, seen) =
        outcome(asking(&authority.server(), &authority), &with_certificate(&chain, &key, "")).await;
    assert_eq!((text.as_str(), seen.as_str()), ("ok", "TLSv1.3 Some(\"localhost\") Some(\"client\")"));

    let alone = files.certificates("alone.crt", &[&client]);
    let text = result(asking(&authority.server(), &authority), &with_certificate(&alone, &key, "")).await;
    assert_eq!(text, "SSL error: tlsv1 alert unknown ca");
}

#[tokio::test]
async fn cn_186_and_187_what_became_of_the_certificate() {
    let files = Files::new();
    let authority = root("root");
    let server = authority.server();
    let client = authority.issue(&Template { common_name: Some("client"), ..Template::default() });
    let key = files.write("client.key", client.key.private_key_to_pem_pkcs8().unwrap());
    // So long that the message takes several records.
    let chain = vec![&authority; 60];
    let short = files.certificates("client.crt", &[&client]);
    let long = files.certificates("long.crt", &[&[&client], chain.as_slice()].concat());
    let settings = [
        (with_certificate(&short, &key, ""), true),
        (with_certificate(&long, &key, ""), true),
        (with_certificate(&short, &key, "sslcertmode=disable"), false),
        (config("sslmode=require"), false),
    ];
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        for (config, has_certificate) in &settings {
            for asks in [true, false] {
                let mut context = if asks { asking(&server, &authority) } else { context(&server, &[]) };
                context.set_min_proto_version(Some(version)).unwrap();
                context.set_max_proto_version(Some(version)).unwrap();
                let listening = Server::greeting(context);
                let stream = connect(listening.port, config).await.outcome.unwrap();
                let facts = stream.facts();
                assert_eq!(facts.certificate_requested, asks, "{version:?} {has_certificate}");
                assert_eq!(facts.certificate_sent, asks && *has_certificate, "{version:?}");
                assert_eq!(greeted(stream).await, "ok");
                let seen = listening.finish();
                assert_eq!(seen.ends_with("Some(\"client\")"), facts.certificate_sent, "{seen}");
            }
        }
    }
}

#[tokio::test]
async fn cn_187_the_server_refuses_the_certificate() {
    let authority = root("root");
    let refusing = || {
        let mut context = asking(&authority.server(), &authority);
        context.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        context
    };
    let newest = result(refusing(), &config("sslmode=require")).await;
    assert_eq!(newest, "SSL error: tlsv13 alert certificate required");
    let older = config("sslmode=require ssl_max_protocol_version=TLSv1.2");
    assert_eq!(result(refusing(), &older).await, "SSL error: sslv3 alert handshake failure");
}
