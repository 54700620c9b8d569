//! Which certificates of servers are believed, which versions of TLS are spoken, and what both are told by.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use openssl::hash::MessageDigest;

use crate::bench::{Authorities, Bench, NOT_ENCRYPTED};
use crate::support::ServerTls;
use crate::support::certificates::{
    Certificate, CertificateStore, Template, ecdsa_key, ed25519_key, rsa_pss_key,
};

const UNVERIFIED: &str = "@ SSL error: certificate verify failed";
const TLS: &str = "TLSv1.3";

/// What is the same in `require` and in the modes that demand more.
const VERIFYING: [&str; 3] = ["require", "verify-ca", "verify-full"];

#[track_caller]
fn expect_in_all_modes(bench: &Bench, conninfo: &str, summary: &str) {
    for mode in VERIFYING {
        bench.expect(&format!("sslmode={mode} {conninfo}"), summary);
    }
}

#[test]
fn cn_168_to_170_whom_the_root_certificates_vouch_for() {
    let authorities = Authorities::new();
    let bench = Bench::trusting(&authorities);
    let [root, other] = [authorities.root.pem(), authorities.other.pem()];
    bench.store.write("other-first.crt", [&other[..], &root].concat());
    bench.store.write("root-first.crt", [&root[..], &other].concat());
    bench.store.write("with-words.crt", [b"Subject: the root\n", &root[..], b"\nand that is all\n"].concat());
    bench.store.write("the-server.crt", authorities.server().pem());
    for file in ["root.crt", "other-first.crt", "root-first.crt", "with-words.crt"] {
        expect_in_all_modes(&bench, &format!("sslrootcert=DIR/{file}"), TLS);
    }
    for file in ["other.crt", "the-server.crt"] {
        expect_in_all_modes(&bench, &format!("sslrootcert=DIR/{file}"), UNVERIFIED);
    }
}

#[test]
fn cn_168_to_170_an_authority_in_between_is_no_root() {
    let authorities = Authorities::new();
    let between = authorities.root.intermediate("Intermediate of servers");
    let certificate = between.issue(&Template::server("localhost").dns("localhost"));
    let bench = Bench::start(18, ServerTls::new(&certificate), authorities.store(), "", "");
    bench.store.write("between.crt", between.pem());
    bench.store.write("both.crt", [authorities.root.pem(), between.pem()].concat());
    expect_in_all_modes(&bench, "sslrootcert=DIR/both.crt", TLS);
    expect_in_all_modes(&bench, "sslrootcert=DIR/root.crt", UNVERIFIED);
    expect_in_all_modes(&bench, "sslrootcert=DIR/between.crt", UNVERIFIED);

    bench.cluster.reload_tls(&ServerTls::new(&certificate).with_intermediate(&between));
    expect_in_all_modes(&bench, "sslrootcert=DIR/root.crt", TLS);
    expect_in_all_modes(&bench, "sslrootcert=DIR/both.crt", TLS);
    expect_in_all_modes(&bench, "sslrootcert=DIR/between.crt", UNVERIFIED);
}

#[test]
fn cn_171_certificates_that_people_make_are_their_own_roots() {
    let authorities = Authorities::new();
    let bench = Bench::trusting(&authorities);
    let key = |key| Template::new("localhost", key);
    for (what, template) in [
        ("of the manual", Template::server("localhost")),
        ("of version 1", Template::server("localhost").version_1()),
        ("with SHA-1", Template::server("localhost").digest(MessageDigest::sha1())),
        ("with SHA-512", Template::server("localhost").digest(MessageDigest::sha512())),
        ("with RSA-PSS", key(rsa_pss_key())),
        ("with ECDSA", key(ecdsa_key())),
        ("with Ed25519", key(ed25519_key())),
    ] {
        let certificate = Certificate::self_signed(&template);
        bench.cluster.reload_tls(&ServerTls::new(&certificate));
        bench.store.write("self-signed.crt", certificate.pem());
        for (file, summary) in [("self-signed.crt", TLS), ("root.crt", UNVERIFIED)] {
            let conninfo = format!("sslmode=verify-full sslrootcert=DIR/{file}");
            assert_eq!(bench.libpq(&conninfo, &[]).to_string(), summary, "{what}");
            bench.expect(&conninfo, summary);
        }
        bench.expect("sslmode=require", TLS);
    }
}

#[test]
fn cn_169_a_certificate_that_has_expired_is_not_believed() {
    let authorities = Authorities::new();
    let bench = Bench::trusting(&authorities);
    let certificate = authorities.root.issue(&Template::server("localhost").dns("localhost").expired());
    bench.cluster.reload_tls(&ServerTls::new(&certificate));
    expect_in_all_modes(&bench, "sslrootcert=DIR/root.crt", UNVERIFIED);
    bench.expect("sslmode=require", TLS);
}

#[test]
fn cn_154_to_156_the_file_of_roots_in_the_home_directory() {
    let authorities = Authorities::new();
    let bench = Bench::trusting(&authorities);
    let home = |name: &str| [("HOME", format!("DIR/{name}"))];
    bench.store.write("right/.postgresql/root.crt", authorities.root.pem());
    bench.store.write("wrong/.postgresql/root.crt", authorities.other.pem());
    for mode in VERIFYING {
        bench.expect_with(&format!("sslmode={mode}"), &home("right"), TLS);
        bench.expect_with(&format!("sslmode={mode}"), &home("wrong"), UNVERIFIED);
    }
    // A file that is named and missing is not replaced by the one in the home directory.
    let text = "@ root certificate file \"DIR/missing.crt\" does not exist\n\
        Either provide the file, use the system's trusted roots with sslrootcert=system, or change sslmode to \
        disable server certificate verification.";
    bench.expect_with("sslmode=verify-ca sslrootcert=DIR/missing.crt", &home("right"), text);
    bench.expect_with("sslmode=require sslrootcert=DIR/missing.crt", &home("wrong"), TLS);
}

#[test]
fn cn_154_a_file_of_roots_that_cannot_be_read_is_no_missing_one() {
    let bench = Bench::trusting(&Authorities::new());
    bench.store.write("garbage.crt", "no certificate\n");
    bench.store.write("empty.crt", "");
    for file in ["DIR/garbage.crt", "DIR/empty.crt", "DIR"] {
        let text = format!("@ could not read root certificate file \"{file}\": no certificate or crl found");
        expect_in_all_modes(&bench, &format!("sslrootcert={file}"), &text);
    }
}

/// On purpose we say more than libpq, which says nothing (CW-01).
#[test]
fn cn_163_a_certificate_that_is_bypassed_is_spoken_of() {
    let authorities = Authorities::new();
    let bench = Bench::trusting(&authorities);
    bench.store.write("garbage.crt", "no certificate\n");
    let plain = "2 connections: plain";
    for (file, reason) in [
        ("other.crt", "SSL error: certificate verify failed"),
        (
            "garbage.crt",
            "could not read root certificate file \"DIR/garbage.crt\": no certificate or crl found",
        ),
    ] {
        let conninfo = format!("sslmode=prefer sslrootcert=DIR/{file}");
        bench.expect_warning(&conninfo, plain, reason);

        let (program, stderr) = bench.program(&conninfo, &[]);
        assert_eq!(program.to_string(), plain);
        let warning = format!("{NOT_ENCRYPTED}{reason}");
        assert_eq!(stderr.lines().filter(|line| *line == warning).count(), 1, "{stderr}");
    }
    // Nothing is bypassed where nothing is asked for.
    bench.expect("sslmode=allow sslrootcert=DIR/other.crt", "plain");
}

#[test]
fn cn_172_the_roots_of_the_system_need_the_strongest_mode() {
    let bench = Bench::trusting(&Authorities::new());
    for mode in ["disable", "allow", "prefer", "require", "verify-ca"] {
        let conninfo = format!("sslrootcert=system sslmode={mode}");
        let text = format!(
            "0 connections: weak sslmode \"{mode}\" may not be used with sslrootcert=system (use \
             \"verify-full\")"
        );
        let (program, _) = bench.program(&conninfo, &[]);
        assert_eq!(program.to_string(), text);
        assert_eq!(bench.libpq(&conninfo, &[]), program);
    }
}

#[test]
fn cn_172_and_173_the_roots_of_the_system_are_those_that_openssl_is_pointed_to() {
    let authorities = Authorities::new();
    let bench = Bench::trusting(&authorities);
    let directory = format!("roots/{:08x}.0", authorities.root.x509().subject_name_hash());
    bench.store.write(&directory, authorities.root.pem());
    bench.store.write("empty/nothing", "");
    let cases: [(&[(&'static str, &str)], &str); 4] = [
        (&[], UNVERIFIED),
        (&[("SSL_CERT_FILE", "DIR/root.crt")], TLS),
        (&[("SSL_CERT_DIR", "DIR/roots"), ("SSL_CERT_FILE", "/nonexistent")], TLS),
        (&[("SSL_CERT_DIR", "DIR/empty"), ("SSL_CERT_FILE", "/nonexistent")], UNVERIFIED),
    ];
    for (variables, summary) in cases {
        let variables: Vec<_> = variables.iter().map(|&(name, value)| (name, value.to_owned())).collect();
        let libpq = bench.libpq("sslrootcert=system", &variables);
        assert_eq!(libpq.to_string(), summary, "libpq with {variables:?}");
        let (program, _) = bench.program("sslrootcert=system", &variables);
        assert_eq!(program, libpq, "{variables:?}");
    }
    // The name is checked too.
    let variables = [("SSL_CERT_FILE", "DIR/root.crt".to_owned())];
    let libpq = bench.libpq("sslrootcert=system host=other.example", &variables);
    assert_eq!(bench.program("sslrootcert=system host=other.example", &variables).0, libpq);
    assert!(libpq.refusal.unwrap().contains("does not match host name \"other.example\""));
}

/// Lists of the certificates that authorities have taken back.
fn write_revocation_lists(authorities: &Authorities, server: &Certificate, store: &CertificateStore) {
    for (name, authority, list) in [
        ("good", &authorities.root, authorities.root.revocation_list(&[])),
        ("revoked", &authorities.root, authorities.root.revocation_list(&[server])),
        ("foreign", &authorities.other, authorities.other.revocation_list(&[])),
    ] {
        store.write(&format!("{name}.crl"), &list);
        store.write(&format!("{name}/{}", authority.revocation_list_name()), &list);
    }
    store.write("garbage.crl", "no list\n");
    store.write("empty/nothing", "");
}

#[test]
fn cn_174_to_177_certificates_that_were_taken_back() {
    let authorities = Authorities::new();
    let certificate = authorities.server();
    let bench = Bench::start(18, ServerTls::new(&certificate), authorities.store(), "", "");
    write_revocation_lists(&authorities, &certificate, &bench.store);
    for (setting, summary) in [
        ("sslcrl=DIR/good.crl", TLS),
        ("sslcrl=DIR/revoked.crl", UNVERIFIED),
        // There must be a list for each authority of the chain.
        ("sslcrl=DIR/foreign.crl", UNVERIFIED),
        ("sslcrldir=DIR/good", TLS),
        ("sslcrldir=DIR/revoked", UNVERIFIED),
        ("sslcrldir=DIR/foreign", UNVERIFIED),
        // A directory is not read before it is needed, and then it has nothing.
        ("sslcrldir=DIR/empty", UNVERIFIED),
        ("sslcrldir=DIR/missing", UNVERIFIED),
        ("sslcrl=DIR/revoked.crl sslcrldir=DIR/good", UNVERIFIED),
        ("sslcrl=DIR/good.crl sslcrldir=DIR/foreign", TLS),
    ] {
        expect_in_all_modes(&bench, &format!("sslrootcert=DIR/root.crt {setting}"), summary);
        // Without roots nothing is verified, and no list is read.
        bench.expect(&format!("sslmode=require {setting}"), TLS);
    }
    // A file that is missing or no list is ignored, of which libpq says nothing.
    for file in ["DIR/missing.crl", "DIR/garbage.crl"] {
        for mode in ["prefer", "require", "verify-ca", "verify-full"] {
            let conninfo = format!("sslmode={mode} sslrootcert=DIR/root.crt sslcrl={file}");
            bench.expect_notice(&conninfo, &[], TLS, &unused_list(file));
        }
    }
}

fn unused_list(file: &str) -> String {
    format!("WARNING: certificate revocation list \"{file}\" could not be loaded and is not used")
}

#[test]
fn cn_174_to_177_the_list_in_the_home_directory() {
    let authorities = Authorities::new();
    let certificate = authorities.server();
    let bench = Bench::start(18, ServerTls::new(&certificate), authorities.store(), "", "");
    write_revocation_lists(&authorities, &certificate, &bench.store);
    bench.store.write("home/.postgresql/root.crt", authorities.root.pem());
    bench.store.write("home/.postgresql/root.crl", authorities.root.revocation_list(&[&certificate]));
    let home = [("HOME", "DIR/home".to_owned())];
    bench.expect_with("sslmode=verify-full", &home, UNVERIFIED);
    // It is not looked at where another is named.
    bench.expect_with("sslmode=verify-full sslcrl=DIR/good.crl", &home, TLS);
    let missing = "sslmode=verify-full sslcrl=DIR/missing.crl";
    bench.expect_notice(missing, &home, TLS, &unused_list("DIR/missing.crl"));
    bench.expect_with("sslmode=verify-full sslcrldir=DIR/good", &home, TLS);
}

/// A handshake that ends because the versions do not overlap.
fn no_version(min: &str, max: &str) -> String {
    format!(
        "@ SSL error: tlsv1 alert protocol version\nThis may indicate that the server does not support any SSL \
         protocol version between {min} and {max}."
    )
}

#[test]
fn cn_164_and_165_the_bounds_of_the_version() {
    let authorities = Authorities::new();
    let tls = ServerTls::new(&authorities.server());
    let bench = Bench::start(18, tls.clone(), authorities.store(), "", "");
    for (bounds, summary) in [
        ("", TLS),
        ("ssl_max_protocol_version=TLSv1.2", "TLSv1.2"),
        ("ssl_min_protocol_version=TLSv1.3", TLS),
        ("ssl_min_protocol_version=tlsv1.2 ssl_max_protocol_version=TLSV1.2", "TLSv1.2"),
        ("ssl_min_protocol_version=''", TLS),
        ("ssl_min_protocol_version=TLSv1 ssl_max_protocol_version=TLSv1.1", &no_version("TLSv1", "TLSv1.1")),
    ] {
        bench.expect(&format!("sslmode=require {bounds}"), summary);
    }

    bench.cluster.reload_tls(&tls.clone().setting("ssl_max_protocol_version", "TLSv1.2"));
    bench.expect("sslmode=require", "TLSv1.2");
    bench.expect("sslmode=require ssl_min_protocol_version=TLSv1.3", &no_version("TLSv1.3", "TLSv1.3"));
    bench.cluster.reload_tls(&tls.setting("ssl_min_protocol_version", "TLSv1.3"));
    bench.expect("sslmode=require ssl_max_protocol_version=TLSv1.2", &no_version("TLSv1.2", "TLSv1.2"));
    let reason = no_version("TLSv1.2", "TLSv1.2").replacen("@ ", "", 1);
    let conninfo = "sslmode=prefer ssl_max_protocol_version=TLSv1.2";
    bench.expect_warning(conninfo, "2 connections: plain", &reason);
}

#[test]
fn cn_188_the_keys_of_a_session_are_logged_where_that_is_asked_for() {
    let bench = Bench::trusting(&Authorities::new());
    let log = bench.store.path().join("keys.log");
    bench.expect(&format!("sslmode=require sslkeylogfile={}", log.display()), TLS);
    let lines = fs::read_to_string(&log).unwrap();
    // Two sessions, ours and libpq's, with the same labels.
    assert_eq!(lines.matches("CLIENT_HANDSHAKE_TRAFFIC_SECRET ").count(), 2, "{lines}");
    assert_eq!(lines.matches("SERVER_TRAFFIC_SECRET_0 ").count(), 2, "{lines}");
    assert!(lines.ends_with('\n'));

    fs::remove_file(&log).unwrap();
    bench.ours(&format!("sslmode=require sslkeylogfile={}", log.display()), &[]);
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn cn_188_keys_that_cannot_be_logged_are_no_failure() {
    let bench = Bench::trusting(&Authorities::new());
    let (ours, notices) = bench.ours("sslmode=require sslkeylogfile=/nonexistent/keys.log", &[]);
    assert_eq!(ours.to_string(), TLS);
    assert!(!notices.is_empty());
    for notice in notices {
        let text = "WARNING: could not open SSL key logging file \"/nonexistent/keys.log\": No such file or \
            directory";
        assert_eq!(notice.trim_end(), text);
    }
}
