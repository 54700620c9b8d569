//! Whom the client trusts.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::x509::X509;

use super::authority::{Files, Template, ec_key, root, self_signed};
use super::*;
use crate::conninfo::SslRootCert;

const UNTRUSTED: &str = "SSL error: certificate verify failed";

fn with_root(mode: &str, file: &std::path::Path) -> Config {
    config(&format!("sslmode={mode} sslrootcert={}", file.display()))
}

#[tokio::test]
async fn cn_155_to_162_modes_and_roots() {
    let files = Files::new();
    let (authority, other) = (root("root"), root("other"));
    let server = authority.server();
    let right = files.certificates("right.crt", &[&authority]);
    let wrong = files.certificates("wrong.crt", &[&other]);
    for mode in ["prefer", "require", "verify-ca", "verify-full"] {
        assert_eq!(result(context(&server, &[]), &with_root(mode, &right)).await, "ok", "{mode}");
        assert_eq!(result(context(&server, &[]), &with_root(mode, &wrong)).await, UNTRUSTED, "{mode}");
    }

    let missing = files.path().join("missing.crt");
    for mode in ["prefer", "require"] {
        assert_eq!(result(context(&server, &[]), &with_root(mode, &missing)).await, "ok", "{mode}");
        let no_home = config(&format!("sslmode={mode}"));
        assert_eq!(result(context(&server, &[]), &no_home).await, "ok", "{mode}");
    }
    let ways_out = "\nEither provide the file, use the system's trusted roots with sslrootcert=system, \
                    or change sslmode to disable server certificate verification.";
    for mode in ["verify-ca", "verify-full"] {
        let text = result(context(&server, &[]), &with_root(mode, &missing)).await;
        let expected = format!("root certificate file \"{}\" does not exist{ways_out}", missing.display());
        assert_eq!(text, expected, "{mode}");
        let text = result(context(&server, &[]), &config(&format!("sslmode={mode}"))).await;
        assert_eq!(text, format!("could not get home directory to locate root certificate file{ways_out}"));
    }
}

#[tokio::test]
async fn cn_169_a_person_learns_what_is_wrong_with_the_chain() {
    let files = Files::new();
    let server = Server::greeting(context(&root("root").server(), &[]));
    let wrong = files.certificates("wrong.crt", &[&root("other")]);
    let client = connect(server.port, &with_root("verify-ca", &wrong)).await;
    let hint = client.outcome.unwrap_err().hint().unwrap();
    assert!(
        hint.starts_with("The reason is \"unable to get local issuer certificate\": sslrootcert "),
        "{hint}"
    );
    server.finish();
}

#[tokio::test]
async fn cn_169_the_default_place_of_roots() {
    let files = Files::new();
    let (authority, other) = (root("root"), root("other"));
    let server = authority.server();
    let mut config = config("sslmode=require");
    config.home = Some(files.path().to_owned());
    assert_eq!(result(context(&server, &[]), &config).await, "ok");
    files.certificates(".postgresql/root.crt", &[&other]);
    assert_eq!(result(context(&server, &[]), &config).await, UNTRUSTED);
    files.certificates(".postgresql/root.crt", &[&other, &authority]);
    assert_eq!(result(context(&server, &[]), &config).await, "ok");
}

#[test]
fn paths_that_are_no_text_are_refused() {
    let files = Files::new();
    let authority = root("authority");
    files.certificates("root.crt", &[&authority]);
    let home = files.path().join(OsStr::from_bytes(b"\xff"));
    let directory = home.join(".postgresql");
    std::fs::create_dir_all(&directory).unwrap();
    let check = |config: &Config, name: &str| {
        let path = directory.join(name);
        let text = format!("the path of \"{}\" is not valid UTF-8, which TLS needs", path.display());
        assert_eq!(refusal(config), text);
        std::fs::remove_file(path).unwrap();
    };
    let mut config = config("sslmode=require");
    config.home = Some(home.clone());
    assert_eq!(refusal(&config), "ok");
    std::fs::copy(files.path().join("root.crt"), directory.join("root.crt")).unwrap();
    check(&config, "root.crt");
    std::fs::write(directory.join("postgresql.crt"), "").unwrap();
    check(&config, "postgresql.crt");
    config.ssl_root_cert = Some(SslRootCert::File(files.path().join("root.crt")));
    assert_eq!(refusal(&config), "ok");
    std::fs::write(directory.join("root.crl"), "").unwrap();
    check(&config, "root.crl");
    config.ssl_crl_dir = Some(directory.join("crl"));
    assert!(refusal(&config).ends_with("is not valid UTF-8, which TLS needs"));
    config.ssl_crl_dir = None;
    config.ssl_crl = Some("a\0b".into());
    assert_eq!(refusal(&config), "ok");
}

#[test]
fn a_name_with_a_nul_byte_is_not_indicated() {
    let mut config = config("");
    config.hosts[0].name = Some("a\0b".to_owned());
    let text = "could not set SSL Server Name Indication (SNI): the name contains a NUL byte";
    assert_eq!(refusal(&config), text);
}

#[test]
fn root_files_that_cannot_be_read() {
    let files = Files::new();
    let empty = files.write("empty.crt", "");
    for file in [&empty, files.path()] as [&std::path::Path; 2] {
        let expected = format!(
            "could not read root certificate file \"{}\": no certificate or crl found",
            file.display()
        );
        assert_eq!(refusal(&with_root("require", file)), expected);
    }
}

#[tokio::test]
async fn cn_168_and_170_chains() {
    let files = Files::new();
    let authority = root("root");
    let intermediate = authority.issue(&Template {
        common_name: Some("intermediate"),
        is_authority: true,
        serial: 2,
        ..Template::default()
    });
    let server = intermediate.server();
    let other = root("other");
    for (roots, sent, expected) in [
        (&[&other, &authority][..], &[&intermediate][..], "ok"),
        (&[&intermediate, &authority], &[], "ok"),
        (&[&authority, &intermediate], &[], "ok"),
        (&[&authority], &[], UNTRUSTED),
        (&[&intermediate], &[], UNTRUSTED),
        (&[&intermediate], &[&intermediate], UNTRUSTED),
    ] {
        let roots = files.certificates("roots.crt", roots);
        let text = result(context(&server, sent), &with_root("verify-full", &roots)).await;
        assert_eq!(text, expected);
    }
}

#[tokio::test]
async fn cn_171_certificates_that_the_manual_tells_people_to_make() {
    let files = Files::new();
    let own = self_signed(&Template { is_authority: true, ..Template::default() }, ec_key());
    let plain = self_signed(&Template::default(), ec_key());
    let old = Template { has_extensions: false, ..Template::default() };
    let old_root = self_signed(
        &Template { common_name: Some("old"), has_extensions: false, ..Template::default() },
        ec_key(),
    );
    let authority = root("root");
    for (server, roots) in [
        (own.clone(), &own),
        (plain.clone(), &plain),
        (authority.issue(&old), &authority),
        (old_root.issue(&old), &old_root),
    ] {
        let roots = files.certificates("root.crt", &[roots]);
        assert_eq!(result(context(&server, &[]), &with_root("verify-full", &roots)).await, "ok");
    }
}

#[tokio::test]
async fn cn_172_the_system_does_not_know_our_authority() {
    let server = root("root").server();
    let config = config("sslmode=verify-full sslrootcert=system");
    assert_eq!(result(context(&server, &[]), &config).await, UNTRUSTED);
}

#[tokio::test]
async fn cn_174_to_177_revocation_lists() {
    let files = Files::new();
    let (authority, other) = (root("root"), root("other"));
    let server = authority.server();
    let roots = files.certificates("root.crt", &[&authority, &other]);
    let good = files.write("good.crl", authority.revocation_list(&[]));
    let bad = files.write("bad.crl", authority.revocation_list(&[&server]));
    let foreign = files.write("foreign.crl", other.revocation_list(&[]));
    let missing = files.path().join("missing.crl");
    let hash = authority.certificate.subject_name_hash();
    files.write(&format!("good/{hash:08x}.r0"), authority.revocation_list(&[]));
    files.write(&format!("bad/{hash:08x}.r0"), authority.revocation_list(&[&server]));

    let text = |keyword: &str, path: &std::path::Path| format!("{keyword}={}", path.display());
    for (settings, expected) in [
        (text("sslcrl", &good), "ok"),
        (text("sslcrl", &bad), UNTRUSTED),
        (text("sslcrl", &foreign), UNTRUSTED),
        (text("sslcrl", &missing), "ok"),
        (text("sslcrldir", &files.path().join("good")), "ok"),
        (text("sslcrldir", &files.path().join("bad")), UNTRUSTED),
        (text("sslcrldir", &files.path().join("missing")), UNTRUSTED),
    ] {
        let settings = format!("sslmode=verify-ca sslrootcert={} {settings}", roots.display());
        assert_eq!(result(context(&server, &[]), &config(&settings)).await, expected, "{settings}");
    }

    let unchecked = config(&format!("sslmode=require sslcrl={}", bad.display()));
    assert_eq!(result(context(&server, &[]), &unchecked).await, "ok");

    let mut config = with_root("verify-ca", &roots);
    config.home = Some(files.path().to_owned());
    files.write(".postgresql/root.crl", authority.revocation_list(&[&server]));
    assert_eq!(result(context(&server, &[]), &config).await, UNTRUSTED);
    config.ssl_crl = Some(good);
    assert_eq!(result(context(&server, &[]), &config).await, "ok");
}

#[tokio::test]
async fn cn_190_to_203_names_in_certificates() {
    let files = Files::new();
    let authority = root("root");
    let roots = files.certificates("root.crt", &[&authority]);
    for (host, common_name, alternatives, expected) in [
        ("localhost", Some("cn"), &["DNS:x", "DNS:LOCALHOST"][..], "ok"),
        ("db.example", Some("cn"), &["DNS:*.example"], "ok"),
        ("localhost", Some("localhost"), &[], "ok"),
        ("localhost", Some("localhost"), &["IP:192.0.2.1"], "ok"),
        ("127.0.0.1", Some("cn"), &["DNS:x", "IP:127.0.0.1"], "ok"),
        ("0:0::1", Some("cn"), &["IP:::1"], "ok"),
        (
            "localhost",
            Some("localhost"),
            &["DNS:a", "IP:2001:db8::1"],
            "server certificate for \"a\" (and 1 other name) does not match host name \"localhost\"",
        ),
        (
            "localhost",
            Some("cn"),
            &["IP:2001:db8::1"],
            "server certificate for \"2001:db8::1\" (and 1 other name) does not match host name \"localhost\"",
        ),
        ("localhost", None, &[], "could not get server's host name from server certificate"),
    ] {
        let server = authority.issue(&Template { common_name, alternatives, ..Template::default() });
        let mut config = with_root("verify-full", &roots);
        config.hosts[0].name = Some(host.to_owned());
        assert_eq!(result(context(&server, &[]), &config).await, expected, "{host} {alternatives:?}");
        config.ssl_mode = SslMode::VerifyCa;
        assert_eq!(result(context(&server, &[]), &config).await, "ok");
    }

    let mut config = with_root("verify-full", &roots);
    config.hosts[0].name = None;
    let text = result(context(&authority.server(), &[]), &config).await;
    assert_eq!(text, "host name must be specified for a verified SSL connection");
}

#[test]
fn cn_190_names_are_read_as_they_are() {
    let server = root("root").issue(&Template {
        common_name: Some("cn"),
        alternatives: &["DNS:a", "IP:192.0.2.1"],
        ..Template::default()
    });
    let der = server.certificate.to_der().unwrap();
    let names = CertificateNames::parse(&der).unwrap();
    assert_eq!(names.common_name, Some(&b"cn"[..]));
    assert_eq!(format!("{:?}", names.alternatives), "[Dns([97]), Address([192, 0, 2, 1])]");
    for length in 0..der.len() {
        assert_eq!(CertificateNames::parse(&der[..length]), None, "{length}");
    }
}

#[tokio::test]
async fn cn_169_certificates_that_are_not_valid_yet() {
    let files = Files::new();
    let authority = root("root");
    let server = authority.issue(&Template { not_before: 1, ..Template::default() });
    let roots = files.certificates("root.crt", &[&authority]);
    let listening = Server::greeting(context(&server, &[]));
    let client = connect(listening.port, &with_root("verify-ca", &roots)).await;
    let error = client.outcome.unwrap_err();
    assert_eq!(error.to_string(), UNTRUSTED);
    assert_eq!(error.hint().unwrap(), "The reason is \"certificate is not yet valid\".");
    listening.finish();
}

#[test]
fn cn_244_the_hash_of_the_certificate() {
    let with = |key, hash| self_signed(&Template { hash, ..Template::default() }, key).certificate;
    let rsa = || PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap();
    let pss = |text: &str| X509::from_pem(text.as_bytes()).unwrap();
    let sha256 = MessageDigest::sha256();
    for (certificate, expected) in [
        (with(rsa(), MessageDigest::md5()), sha256),
        (with(rsa(), MessageDigest::sha1()), sha256),
        (with(rsa(), sha256), sha256),
        (with(rsa(), MessageDigest::sha384()), MessageDigest::sha384()),
        (with(PKey::ec_gen("secp521r1").unwrap(), MessageDigest::sha512()), MessageDigest::sha512()),
        (with(ec_key(), MessageDigest::sha1()), sha256),
        (pss(include_str!("data/rsa_pss_sha384.pem")), MessageDigest::sha384()),
        (pss(include_str!("data/rsa_pss_sha1.pem")), sha256),
    ] {
        let found = channel_binding::server_end_point(&certificate);
        let expected = certificate.digest(expected).unwrap().to_vec();
        assert_eq!(found, Ok(expected), "{}", certificate.signature_algorithm().object());
    }

    let certificate = with(PKey::generate_ed25519().unwrap(), MessageDigest::null());
    let found = channel_binding::server_end_point(&certificate);
    assert_eq!(found, Err("could not find digest for NID UNDEF".to_owned()));
}

#[tokio::test]
async fn cn_244_facts_have_the_hash() {
    let server = root("root").server();
    let listening = Server::greeting(context(&server, &[]));
    let client = connect(listening.port, &config("sslmode=require")).await;
    let stream = client.outcome.unwrap();
    let expected = server.certificate.digest(MessageDigest::sha256()).unwrap().to_vec();
    assert_eq!(stream.facts().server_end_point, Ok(expected));
    drop(stream);
    listening.finish();
}
