//! Whom a certificate is for: names and addresses, in `verify-full`.

use crate::bench::{Authorities, Bench};
use crate::support::ServerTls;
use crate::support::certificates::{Holder, Template, rsa_key};

const TLS: &str = "TLSv1.3";
const ROOTS: &str = "sslmode=verify-full sslrootcert=DIR/root.crt";

/// A server whose certificate is about to be chosen.
fn bench() -> (Authorities, Bench) {
    let authorities = Authorities::new();
    let bench = Bench::trusting(&authorities);
    (authorities, bench)
}

/// Checks which hosts a certificate is for. Of the others the client says whom it is for instead: `first`,
/// with what follows, stands between `for` and `does not match`.
#[track_caller]
fn is_for(certificates: &(Authorities, Bench), template: &Template, hosts: &[&str], others: &[(&str, &str)]) {
    let (authorities, bench) = certificates;
    bench.cluster.reload_tls(&ServerTls::new(&authorities.root.issue(template)));
    for host in hosts {
        bench.expect(&format!("{ROOTS} host={host}"), TLS);
    }
    for (host, names) in others {
        let text = format!("@ server certificate for {names} does not match host name \"{host}\"");
        bench.expect(&format!("{ROOTS} host={host}"), &text);
        bench.expect(&format!("{ROOTS} host={host} sslmode=verify-ca"), TLS);
    }
}

#[test]
fn cn_190_to_195_names() {
    let bench = bench();
    let single = "\"one.example\"";
    is_for(
        &bench,
        &Template::server("cn.example").dns("one.example"),
        &["one.example", "ONE.example"],
        &[
            ("cn.example", single),
            ("two.example", single),
            ("one.example.", single),
            ("sub.one.example", single),
            ("example", single),
        ],
    );
    let names = "\"one.example\" (and 2 other names)";
    is_for(
        &bench,
        &Template::server("cn.example").dns("one.example").dns("two.example").dns("*.wild.example"),
        &["one.example", "two.example", "x.wild.example", "X.Wild.Example"],
        &[
            ("cn.example", names),
            ("x.y.wild.example", names),
            ("wild.example", names),
            (".wild.example", names),
            ("none.example", names),
        ],
    );
    is_for(
        &bench,
        &Template::server("cn.example").dns("one.example").dns("two.example"),
        &["one.example", "two.example"],
        &[("none.example", "\"one.example\" (and 1 other name)")],
    );
}

#[test]
fn cn_191_a_star_stands_for_one_whole_label_at_the_beginning() {
    let bench = bench();
    for (pattern, others) in [
        ("*.wild.example", vec!["wild.example", "x.y.wild.example", "xwild.example"]),
        ("x*.wild.example", vec!["xy.wild.example"]),
        ("x.*.example", vec!["x.y.example"]),
        ("*", vec!["x", "x.example"]),
        ("*.", vec!["x.", "x"]),
    ] {
        let quoted = format!("\"{pattern}\"");
        let others: Vec<_> = others.into_iter().map(|host| (host, quoted.as_str())).collect();
        is_for(&bench, &Template::server(pattern), &[], &others);
        is_for(&bench, &Template::server("cn.example").dns(pattern), &[], &others);
    }
    is_for(&bench, &Template::server("*.wild.example"), &["x.wild.example"], &[]);
    is_for(&bench, &Template::server("*.x"), &["y.x"], &[]);
}

#[test]
fn cn_194_and_195_the_common_name() {
    let bench = bench();
    is_for(
        &bench,
        &Template::server("cn.example"),
        &["cn.example", "CN.EXAMPLE"],
        &[("one.example", "\"cn.example\""), ("127.0.0.1", "\"cn.example\"")],
    );
    // The first of several.
    let fields = [("CN", "first.example"), ("CN", "second.example")];
    is_for(
        &bench,
        &Template::with_subject(&fields, rsa_key(Holder::Server)),
        &["first.example"],
        &[("second.example", "\"first.example\"")],
    );
    // Names of kinds that do not matter leave it in place.
    is_for(
        &bench,
        &Template::server("cn.example").email("somebody@one.example"),
        &["cn.example"],
        &[("one.example", "\"cn.example\"")],
    );
}

#[test]
fn cn_196_and_199_addresses() {
    let bench = bench();
    let addresses = "\"192.0.2.1\" (and 1 other name)";
    let with_common_name = "\"192.0.2.1\" (and 2 other names)";
    is_for(
        &bench,
        &Template::server("cn.example").ip("192.0.2.1").ip("2001:db8::1"),
        &[
            "192.0.2.1",
            "192.0.2.001",
            "192.0.513",
            "3221225985",
            "0xc0000201",
            "2001:db8::1",
            "2001:DB8:0::1",
            "2001:0db8:0:0:0:0:0:1",
            // Of names the common name still speaks.
            "cn.example",
        ],
        &[
            ("192.0.2.2", addresses),
            ("2001:db8::2", addresses),
            ("2001:db8::1/128", with_common_name),
            ("2001:db8::1%lo", with_common_name),
            ("none.example", with_common_name),
        ],
    );
}

#[test]
fn cn_201_an_address_with_a_mask_is_none() {
    let bench = bench();
    is_for(
        &bench,
        &Template::server("2001:db8::1/128").ip("2001:db8::1"),
        &["2001:db8::1", "2001:db8::1/128"],
        &[("2001:db8::1/64", "\"2001:db8::1\" (and 1 other name)")],
    );
}

#[test]
fn cn_197_an_address_as_common_name_is_a_text() {
    is_for(
        &bench(),
        &Template::server("192.0.2.1"),
        &["192.0.2.1"],
        &[
            ("192.0.2.001", "\"192.0.2.1\""),
            ("192.0.2.2", "\"192.0.2.1\""),
            ("3221225985", "\"192.0.2.1\""),
            ("one.example", "\"192.0.2.1\""),
        ],
    );
}

#[test]
fn cn_198_and_200_addresses_among_names() {
    let bench = bench();
    is_for(
        &bench,
        &Template::server("cn.example").dns("192.0.2.1"),
        &["192.0.2.1"],
        &[("192.0.2.01", "\"192.0.2.1\" (and 1 other name)"), ("cn.example", "\"192.0.2.1\"")],
    );
    // Of addresses the common name speaks where there are names only.
    is_for(
        &bench,
        &Template::server("192.0.2.1").dns("one.example"),
        &["192.0.2.1", "one.example"],
        &[("192.0.2.2", "\"one.example\" (and 1 other name)"), ("two.example", "\"one.example\"")],
    );
    is_for(
        &bench,
        &Template::server("one.example").ip("192.0.2.1"),
        &["192.0.2.1", "one.example"],
        &[("192.0.2.2", "\"192.0.2.1\""), ("two.example", "\"192.0.2.1\" (and 1 other name)")],
    );
}

#[test]
fn cn_202_a_certificate_for_nobody() {
    let (authorities, bench) = bench();
    let nobody = Template::with_subject(&[("O", "Nobody")], rsa_key(Holder::Server));
    bench.cluster.reload_tls(&ServerTls::new(&authorities.root.issue(&nobody)));
    bench.expect(ROOTS, "@ could not get server's host name from server certificate");
    bench.expect(&format!("{ROOTS} sslmode=verify-ca"), TLS);
}

#[test]
fn cn_202_names_that_are_out_of_form_end_the_attempt() {
    let (authorities, bench) = bench();
    let null = "@ SSL certificate's name contains embedded null";
    for (template, host, text) in [
        (Template::server("x").dns(b"localhost\0.evil.example"), "localhost", null),
        (Template::server("x").dns(b"evil.example\0").dns("localhost"), "localhost", null),
        (
            Template::server("x").ip_octets(&[192, 0, 2]).dns("localhost"),
            "localhost",
            "@ certificate contains IP address with invalid length 3",
        ),
    ] {
        bench.cluster.reload_tls(&ServerTls::new(&authorities.root.issue(&template)));
        let conninfo = format!("{ROOTS} host={host}");
        let libpq = bench.libpq(&conninfo, &[]);
        assert_eq!(libpq.to_string(), text, "libpq");
        bench.expect(&conninfo, text);
    }
}

#[test]
fn cn_203_a_server_without_a_name_cannot_be_verified() {
    let (_, bench) = bench();
    bench.expect(&format!("{ROOTS} host=''"), "@ host name must be specified for a verified SSL connection");
    bench.expect(&format!("{ROOTS} host='' sslmode=verify-ca"), TLS);
}

#[test]
fn cn_153_157_and_158_only_the_strongest_mode_asks_for_the_name() {
    let (_, bench) = bench();
    let text = "@ server certificate for \"localhost\" does not match host name \"other.example\"";
    for (mode, summary) in [("require", TLS), ("verify-ca", TLS), ("verify-full", text)] {
        bench.expect(&format!("sslmode={mode} sslrootcert=DIR/root.crt host=other.example"), summary);
    }
}
