//! Options, connection strings and environment variables: which of them counts, and what is said of those that
//! cannot be. Ours and the real programs are told the same and must print the same.

use std::io::Write;
use std::process::{Command, Stdio};

use pgsiphon::conninfo::Keyword;

use crate::refusal::{Told, refusal, refusal_like};
use crate::support::byte_script::{ByteScriptServer, Step, authentication};
use crate::support::{Personality, ReservedPort, client_program, scratch_directory};

const BOTH: [u16; 2] = [15, 18];

/// A host where nobody listens, so that the error tells which port was tried.
const HERE: &str = "host=127.0.0.1";

#[track_caller]
fn assert_tried(majors: &[u16], told: Told<'_>, port: &ReservedPort) {
    let text = refusal_like(majors, told);
    let tried = format!("\"127.0.0.1\", port {} failed: Connection refused", port.number());
    assert!(text.contains(&tried), "{told:?}: {text}");
}

#[test]
fn cn_001_to_006_the_first_source_with_a_value_wins() {
    let [first, second, third] = [(); 3].map(|()| ReservedPort::reserve());
    let [a, b, c] = [&first, &second, &third].map(|port| port.number().to_string());
    for (arguments, variables, expected) in [
        (&["-p", &a, "-d", &format!("{HERE} port={b}")][..], &[("PGPORT", c.as_str())][..], &first),
        (&["-d", &format!("{HERE} port={b}"), "-p", &a], &[], &first),
        (&["-p", &b, "-p", &a, "-h", "/nonexistent", "-h", "127.0.0.1"], &[], &first),
        (&["-d", &format!("{HERE} port={b}")], &[("PGPORT", &c)], &second),
        (&["-d", &format!("postgres://127.0.0.1:{b}")], &[("PGPORT", &c), ("PGHOST", "/x")], &second),
        (&["-d", &format!("port={a} {HERE} port={b}")], &[], &second),
        (&["-h", "127.0.0.1"], &[("PGPORT", &c)], &third),
        (&[], &[("PGPORT", &c), ("PGHOST", "127.0.0.1")], &third),
        (&[], &[("PGPORT", &c), ("PGHOSTADDR", "127.0.0.1")], &third),
        (&["-p", "", "-h", "", "-d", &format!("{HERE} port={b}")], &[], &second),
        (&["-d", &format!("{HERE} port=''")], &[("PGPORT", &c)], &third),
        (&["-d", &format!("{HERE} port={a} port=''")], &[("PGPORT", &c)], &third),
        (&["-d", "postgres://127.0.0.1:"], &[("PGPORT", &c)], &third),
        (&["-d", &format!("{HERE} port={b}")], &[("PGHOST", ""), ("PGPORT", ""), ("PGUSER", "")], &second),
    ] {
        assert_tried(&BOTH, Told { arguments, variables }, expected);
    }
    // A variable that is set to nothing keeps the one that is compiled in.
    let told = Told { arguments: &["-h", "/nonexistent"], variables: &[("PGPORT", "")] };
    assert!(refusal_like(&BOTH, told).contains("/nonexistent/.s.PGSQL.5432"));
}

#[test]
fn cn_006_and_046_every_variable_is_read_even_if_it_is_empty() {
    let port = ReservedPort::reserve();
    let conninfo = format!("{HERE} port={}", port.number());
    // Hosts, services and peers have tests of their own.
    let elsewhere = ["PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE", "PGREQUIREPEER"];
    let variables = Keyword::ALL.iter().filter_map(|keyword| keyword.environment_variable());
    let mut refused = Vec::new();
    for variable in variables.filter(|variable| !elsewhere.contains(variable)) {
        for value in ["", "nonsense"] {
            let told = Told { arguments: &["-d", &conninfo], variables: &[(variable, value)] };
            if !refusal_like(&[18], told).contains("Connection refused") {
                let hint = format!("hint: The value comes from the environment variable {variable}.\n");
                assert!(refusal(told).ends_with(&hint), "{told:?}");
                refused.push(format!("{variable}={value}"));
            }
        }
    }
    assert!(refused.contains(&"PGSSLMODE=".to_owned()), "{refused:?}");
    assert!(refused.contains(&"PGREQUIREAUTH=nonsense".to_owned()), "{refused:?}");
    assert!(refused.contains(&"PGCONNECT_TIMEOUT=".to_owned()), "{refused:?}");
}

#[test]
fn cn_007_008_and_014_to_019_errors_of_connection_strings() {
    for conninfo in [
        "foo=1",
        "Host=a",
        "host",
        "bogus",
        "postgre://h",
        "host=a port",
        "host='a",
        r"host='a\",
        "host=a'b c'",
        "=x",
        "host=/nonexistent requiressl=1 foo=1",
        "host=/nonexistent port=1x",
        "host=a,b port=1,2,3",
        "host=a,b hostaddr=127.0.0.1",
        "host=/nonexistent sslmode=bogus",
        "host=/nonexistent ssl_min_protocol_version=tlsv1.3 ssl_max_protocol_version=TLSV1.2",
        "host=/nonexistent target_session_attrs=bogus",
        "host=/nonexistent channel_binding=bogus",
        "host=/nonexistent gssencmode=bogus",
        "host= port=1",
        r"host=/a\ b\'c\\ port='7'",
        "host = /nonexistent\tport\n=\n7",
    ] {
        refusal_like(&BOTH, Told { arguments: &["-d", conninfo], variables: &[] });
    }
    for conninfo in [
        "host=/nonexistent sslcertmode=bogus",
        "host=/nonexistent ssl_min_protocol_version=TLSv9",
        "host=/nonexistent sslnegotiation=bogus",
        "host=/nonexistent sslnegotiation=direct",
        "host=/nonexistent sslrootcert=system sslmode=require",
        "host=/nonexistent load_balance_hosts=bogus",
        "host=/nonexistent require_auth=bogus",
        "host=/nonexistent require_auth=md5,md5",
        "host=/nonexistent min_protocol_version=3.1",
        "host=/nonexistent min_protocol_version=latest max_protocol_version=3.0",
        "host=/nonexistent scram_client_key=!",
        "host=/nonexistent scram_client_key=AAAA",
    ] {
        refusal_like(&[18], Told { arguments: &["-d", conninfo], variables: &[] });
    }
}

#[test]
fn cn_016_a_swallowed_pair_is_warned_of() {
    let told = Told { arguments: &["-d", "host=/nonexistent user= port=1"], variables: &[] };
    assert!(refusal(told).starts_with(
        "pg_basebackup: warning: \"port=\" after \"user= \" is read as the value of \"user\"; an empty value is \
         written user=''\n"
    ));
}

#[test]
fn cn_020_to_044_uris_lead_where_the_reference_goes() {
    let port = ReservedPort::reserve();
    let port = port.number();
    for uri in [
        format!("postgres://127.0.0.1:{port}"),
        format!("postgresql://u:p@127.0.0.1:{port}/db?application_name=a"),
        format!("postgresql://@127.0.0.1:{port}/"),
        format!("postgresql://[127.0.0.1]:{port}"),
        format!("postgresql://?host=127.0.0.1&port={port}"),
        format!("postgresql://h/?hostaddr=127.0.0.1&p%6Frt={port}"),
        format!("postgresql://:{port}?hostaddr=127.0.0.1"),
        format!("postgresql://%2Fnonexistent:{port}"),
        format!("postgresql://%40nonexistent:{port}"),
        format!("postgresql://127.0.0.1:{port},%2Fnonexistent:{port}"),
        format!("postgresql://127.0.0.1,%2Fnonexistent:{port}/?port={port}"),
        "postgresql:///db?host=/nonexistent".to_owned(),
        "postgresql://u/a@h?host=/nonexistent&".to_owned(),
        "postgresql://[::1".to_owned(),
        "postgresql://[]".to_owned(),
        "postgresql://[::1]x".to_owned(),
        "postgresql://h?foo=".to_owned(),
        "postgresql://h?user".to_owned(),
        "postgresql://h?user=a=b".to_owned(),
        "postgresql://h?&".to_owned(),
        "postgresql://%zz".to_owned(),
        "postgresql://a%2".to_owned(),
        "postgresql://a%00b".to_owned(),
        "postgresql://a,b:1,c:2,d?port=1,2".to_owned(),
    ] {
        refusal_like(&BOTH, Told { arguments: &["-d", &uri], variables: &[] });
    }
    for uri in [
        format!("postgresql:// 127.0.0.1 : {port} / db ? application_name = a "),
        "postgresql://h?user=a b".to_owned(),
        "postgresql:///?host=/nonexistent&sslmode=require&sslrootcert=system".to_owned(),
    ] {
        refusal_like(&[18], Told { arguments: &["-d", &uri], variables: &[] });
    }
    let told = Told {
        arguments: &["-d", "postgresql:///?host=/nonexistent&sslmode=require"],
        variables: &[("PGSSLROOTCERT", "system")],
    };
    assert!(refusal_like(&[18], told).starts_with("weak sslmode \"require\""));
}

#[test]
fn cn_098_to_105_lists_of_hosts() {
    let port = ReservedPort::reserve();
    let port = port.number();
    for conninfo in [
        format!("host=127.0.0.1,/nonexistent port={port}"),
        format!("host=/nonexistent,127.0.0.1 port=,{port}"),
        format!("hostaddr=127.0.0.1,127.0.0.1 port={port}"),
        format!("host=no-such-host.invalid hostaddr=127.0.0.1 port={port}"),
        format!("host=no-such-host.invalid,/nonexistent hostaddr=127.0.0.1, port={port}"),
        format!("host=localhost port={port}"),
        format!("host=127.0.0.1,127.0.0.1,127.0.0.1 port=0,70000,{port}"),
        format!("host=@nonexistent,/nonexistent port={port}"),
        format!("host=/{} port={port}", "x".repeat(100)),
        "hostaddr=127.0.0.1,127.0.0.1 port=1,2,3".to_owned(),
        "host=a hostaddr=127.0.0.1,127.0.0.1".to_owned(),
    ] {
        refusal_like(&BOTH, Told { arguments: &["-d", &conninfo], variables: &[] });
    }
}

/// The real program of 15 is one of those whose sockets the default is made for.
#[test]
fn cn_095_and_096_without_a_host_the_socket_of_the_platform_is_tried() {
    let port = ReservedPort::reserve();
    let port = port.number().to_string();
    let told = Told { arguments: &["-p", &port], variables: &[] };
    let expected = format!("connection to server on socket \"/var/run/postgresql/.s.PGSQL.{port}\" failed");
    assert!(refusal_like(&[15], told).starts_with(&expected));
    refusal_like(&[15], Told { arguments: &["-p", &port, "-h", ""], variables: &[("PGHOST", "")] });
}

/// What the server hears first does not depend on the program that speaks.
#[test]
fn cn_003_060_and_090_to_093_the_first_words_of_the_programs() {
    let server = ByteScriptServer::start([Step::Receive, Step::Send(authentication(99, b""))]);
    let conninfo = format!("{HERE} port={} sslmode=disable gssencmode=disable", server.port());
    for (more, variables) in [
        ("", &[][..]),
        ("replication=database", &[]),
        ("fallback_application_name=mine", &[]),
        ("", &[("PGDATABASE", "other"), ("PGAPPNAME", "a"), ("USER", "somebody"), ("LOGNAME", "somebody")]),
        ("", &[("PGAPPNAME", ""), ("PGUSER", "")]),
    ] {
        let conninfo = format!("{conninfo} {more}");
        refusal_like(&BOTH, Told { arguments: &["-d", &conninfo], variables });
        let [.., ours, of_15, of_18] = &server.received()[..] else { panic!("three startup packets") };
        assert_eq!(ours.escape_ascii().to_string(), of_15.escape_ascii().to_string(), "{more}");
        assert_eq!(ours, of_18, "{more}");
    }
    // From 17 on a database of the connection string is named, instead of the word.
    let conninfo = format!("{conninfo} dbname=other");
    refusal_like(&[18], Told { arguments: &["-d", &conninfo], variables: &[] });
    let [.., ours, of_18] = &server.received()[..] else { panic!("two startup packets") };
    assert_eq!(ours.escape_ascii().to_string(), of_18.escape_ascii().to_string());
}

/// Whoever has no terminal is asked on standard error and answers on standard input.
#[test]
fn cn_097_a_typed_password_goes_before_all_others() {
    let server = ByteScriptServer::start([Step::Receive, Step::Send(authentication(3, b"")), Step::Receive]);
    let conninfo = format!("{HERE} port={} password=given sslmode=disable gssencmode=disable", server.port());
    let ours = Personality::named("pg_basebackup");
    for program in [ours.path(), &client_program("pg_basebackup")] {
        let directory = scratch_directory();
        let mut child = Command::new("/usr/bin/setsid")
            .arg("--wait")
            .arg(program)
            .args(["-W", "-d", &conninfo, "-D"])
            .arg(directory.path().join("backup"))
            .env_clear()
            .envs([("LC_ALL", "C"), ("PGPASSWORD", "of the environment")])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"typed\n").unwrap();
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(1));
        let answer = server.received().pop().unwrap();
        assert_eq!(
            answer.escape_ascii().to_string(),
            "p\\x00\\x00\\x00\\ntyped\\x00",
            "{}",
            program.display()
        );
    }
}
