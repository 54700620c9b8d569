//! What is tried a second time in another way, and what is not: above all no password.

use crate::bench::{Authorities, Bench};
use crate::support::ServerTls;

/// A rule for each role: its kind of authentication, and which connections it is for.
const RULES: &str = "\
host      replication clear,no_replication 127.0.0.1/32 password
host      replication md5                  127.0.0.1/32 md5
host      replication scram                127.0.0.1/32 scram-sha-256
hostssl   replication over_tls             127.0.0.1/32 scram-sha-256
hostnossl replication over_plain           127.0.0.1/32 scram-sha-256
host      replication over_tls,over_plain  all          reject";
const ROLES: &str = "\
SET password_encryption = 'md5';
CREATE ROLE md5            REPLICATION LOGIN PASSWORD 'secret';
SET password_encryption = 'scram-sha-256';
CREATE ROLE clear          REPLICATION LOGIN PASSWORD 'secret';
CREATE ROLE no_replication             LOGIN PASSWORD 'secret';
CREATE ROLE scram          REPLICATION LOGIN PASSWORD 'secret';
CREATE ROLE over_tls       REPLICATION LOGIN PASSWORD 'secret';
CREATE ROLE over_plain     REPLICATION LOGIN PASSWORD 'secret';";

const VERSIONS: [u16; 2] = [15, 18];

fn bench(major: u16) -> Bench {
    let authorities = Authorities::new();
    let tls = ServerTls::new(&authorities.server());
    Bench::start(major, tls, authorities.store(), RULES, ROLES)
}

fn wrong_password(user: &str) -> String {
    format!("@ FATAL:  password authentication failed for user \"{user}\"")
}

fn rejected(user: &str, encryption: &str) -> String {
    let text = "@ FATAL:  pg_hba.conf rejects replication connection for host \"127.0.0.1\", user";
    format!("{text} \"{user}\", {encryption}")
}

/// On purpose we do not do what libpq does (CW-02).
#[test]
fn cn_163_a_password_that_was_refused_over_tls_is_not_sent_without_it() {
    for major in VERSIONS {
        let bench = bench(major);
        for user in ["clear", "md5", "scram"] {
            let text = wrong_password(user);
            let conninfo = format!("user={user} password=wrong sslmode=prefer");
            let twice = format!("2 connections: {text}\n{text}");
            assert!(bench.expect_unlike_libpq(&conninfo, &text, &twice).is_empty());
        }
        let text = wrong_password("over_tls");
        let twice = format!("2 connections: {text}\n{}", rejected("over_tls", "no encryption"));
        bench.expect_unlike_libpq("user=over_tls password=wrong sslmode=prefer", &text, &twice);
    }
}

#[test]
fn cn_077_a_password_file_is_warned_of_once_however_often_a_host_is_tried() {
    let bench = bench(18);
    let (ours, notices) = bench.ours("user=over_plain passfile=DIR sslmode=prefer", &[]);
    assert!(ours.to_string().contains("no password supplied"), "{ours}");
    assert_eq!(notices.len(), 1, "{notices:?}");
}

#[test]
fn cn_150_where_nothing_secret_was_said_there_is_another_try() {
    for major in VERSIONS {
        let bench = bench(major);
        let right = "user=over_plain password=secret sslmode=prefer";
        bench.expect(right, "2 connections: plain");
        let wrong = "user=over_plain password=wrong sslmode=prefer";
        let text = format!(
            "2 connections: {}\n{}",
            rejected("over_plain", "SSL encryption"),
            wrong_password("over_plain")
        );
        bench.expect(wrong, &text);
    }
}

#[test]
fn cn_148_the_other_way_round_there_is_another_try_as_libpq_has_it() {
    for major in VERSIONS {
        let bench = bench(major);
        bench.expect("user=over_tls password=secret sslmode=allow", "2 connections: TLSv1.3");
        let text = format!(
            "2 connections: {}\n{}",
            rejected("over_tls", "no encryption"),
            wrong_password("over_tls")
        );
        bench.expect("user=over_tls password=wrong sslmode=allow", &text);
        for user in ["clear", "md5", "scram"] {
            let text = format!("2 connections: {0}\n{0}", wrong_password(user));
            bench.expect(&format!("user={user} password=wrong sslmode=allow"), &text);
        }
    }
}

#[test]
fn cn_160_what_is_no_matter_of_encryption_is_not_tried_again() {
    for major in VERSIONS {
        let bench = bench(major);
        for mode in ["allow", "prefer", "require"] {
            for user in ["clear", "md5", "scram"] {
                bench.expect(&format!("user={user} sslmode={mode}"), "@ fe_sendauth: no password supplied");
            }
            // The server had authenticated them before it refused.
            bench.expect(&format!("user=nobody sslmode={mode}"), "@ FATAL:  role \"nobody\" does not exist");
            let (observed, _) =
                bench.ours(&format!("user=no_replication password=secret sslmode={mode}"), &[]);
            assert_eq!(observed.connections, 1);
            assert_eq!(
                bench.libpq(&format!("user=no_replication password=secret sslmode={mode}"), &[]),
                observed
            );
        }
    }
}

#[test]
fn cn_285_a_session_over_tls_says_who_it_is() {
    let bench = bench(18);
    let conninfo = "user=scram password=secret sslmode=require application_name=somebody";
    let (observed, _) = bench.ours(conninfo, &[]);
    assert_eq!(
        (observed.protocol.as_deref(), observed.method.as_deref()),
        (Some("TLSv1.3"), Some("scram-sha-256"))
    );
    let log = bench.cluster.log();
    assert!(
        log.contains("replication connection authorized: user=scram application_name=somebody SSL enabled")
    );
}
