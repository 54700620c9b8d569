//! Six modes, four kinds of servers, four kinds of trust: each outcome is libpq's.

use crate::bench::{Authorities, Bench, NOT_ENCRYPTED};
use crate::support::ServerTls;

/// The last column of each row of the matrix has a letter for each of them.
const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// A user for each kind of rule.
const RULES: &str = "\
hostssl   replication over_tls            127.0.0.1/32 trust
hostnossl replication over_plain          127.0.0.1/32 trust
host      replication over_tls,over_plain all          reject";

const ROLES: &str = "CREATE ROLE over_tls REPLICATION LOGIN; CREATE ROLE over_plain REPLICATION LOGIN";

/// What a client says of whom it trusts.
const RIGHT: &str = "sslrootcert=DIR/root.crt";
const WRONG: &str = "sslrootcert=DIR/other.crt";
const NONE: &str = "";
const OTHER_NAME: &str = "sslrootcert=DIR/root.crt host=other.example";

const MATRIX: [(&str, &str, &str, &str); 16] = [
    ("on", "trusted", RIGHT, "pptttt"),
    ("on", "trusted", WRONG, "ppPvvv"),
    ("on", "trusted", NONE, "ppttmm"),
    ("on", "trusted", OTHER_NAME, "pptttn"),
    ("on", "over_tls", RIGHT, "hTtttt"),
    ("on", "over_tls", WRONG, "habvvv"),
    ("on", "over_tls", NONE, "hTttmm"),
    ("on", "over_tls", OTHER_NAME, "hTtttn"),
    ("on", "over_plain", RIGHT, "ppPsss"),
    ("on", "over_plain", WRONG, "ppPvvv"),
    ("on", "over_plain", NONE, "ppPsmm"),
    ("on", "over_plain", OTHER_NAME, "ppPssn"),
    ("off", "trusted", RIGHT, "pppxxx"),
    ("off", "trusted", WRONG, "pppxxx"),
    ("off", "trusted", NONE, "pppxxx"),
    ("off", "trusted", OTHER_NAME, "pppxxx"),
];

const UNVERIFIED: &str = "@ SSL error: certificate verify failed";
const NO_ROOT: &str = "@ root certificate file \"/nonexistent/.postgresql/root.crt\" does not exist\n\
    Either provide the file, use the system's trusted roots with sslrootcert=system, or change sslmode to \
    disable server certificate verification.";

/// What the letters of the matrix stand for.
fn outcome(letter: char, user: &str) -> String {
    let rejected = "@ FATAL:  pg_hba.conf rejects replication connection for host \"127.0.0.1\", user";
    let without = format!("{rejected} \"{user}\", no encryption");
    let with = format!("{rejected} \"{user}\", SSL encryption");
    match letter {
        'p' => "plain".to_owned(),
        'P' => "2 connections: plain".to_owned(),
        't' => "TLSv1.3".to_owned(),
        'T' => "2 connections: TLSv1.3".to_owned(),
        'h' => without,
        's' => with,
        'v' => UNVERIFIED.to_owned(),
        'a' => format!("2 connections: {without}\n{UNVERIFIED}"),
        'b' => format!("2 connections: {UNVERIFIED}\n{without}"),
        'm' => NO_ROOT.to_owned(),
        'n' => "@ server certificate for \"localhost\" does not match host name \"other.example\"".to_owned(),
        'x' => "@ server does not support SSL, but SSL was required".to_owned(),
        _ => unreachable!("no such letter"),
    }
}

#[track_caller]
fn matrix_holds(major: u16) {
    let authorities = Authorities::new();
    let tls = ServerTls::new(&authorities.server());
    let bench = Bench::start(major, tls, authorities.store(), RULES, ROLES);
    let mut state = "on";
    for (wanted, user, trust, letters) in MATRIX {
        if wanted != state {
            bench.cluster.reload_tls(&ServerTls::off());
            state = wanted;
        }
        for (mode, letter) in MODES.into_iter().zip(letters.chars()) {
            let conninfo = format!("user={user} sslmode={mode} {trust}");
            let libpq = bench.libpq(&conninfo, &[]);
            assert_eq!(libpq.to_string(), outcome(letter, user), "libpq, TLS {state}: {conninfo}");
            let (ours, notices) = bench.ours(&conninfo, &[]);
            assert_eq!(ours, libpq, "TLS {state}: {conninfo}");
            // On purpose we say more than libpq does (CW-01).
            let is_bypassed = state == "on" && mode == "prefer" && trust == WRONG && letter == 'P';
            let warning = is_bypassed.then(|| UNVERIFIED.replacen("@ ", NOT_ENCRYPTED, 1));
            assert_eq!(notices, Vec::from_iter(warning), "{conninfo}");
        }
    }
}

#[test]
fn cn_147_to_163_the_matrix_with_a_server_of_version_15() {
    matrix_holds(15);
}

#[test]
fn cn_147_to_163_the_matrix_with_a_server_of_version_18() {
    matrix_holds(18);
}
