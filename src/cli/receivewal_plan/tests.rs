use super::*;
use crate::compress::Method;

fn parse_as(major: u32, line: &[&str]) -> Result<Plan, Refusal> {
    let line = std::iter::once("pg_receivewal").chain(line.iter().copied()).map(OsString::from).collect();
    parse(line, ClaimedVersion::newest_of(major).unwrap(), false)
}

#[track_caller]
fn receiving_as(major: u32, line: &[&str]) -> Receiving {
    match parse_as(major, line).unwrap().action {
        Action::Receive(receiving) => *receiving,
        other => panic!("{line:?}: {other:?}"),
    }
}

#[track_caller]
fn options(line: &[&str]) -> RunOptions {
    receiving_as(18, &[&["-D", "d"], line].concat()).options
}

#[track_caller]
fn action_of(line: &[&str]) -> Action {
    parse_as(18, line).unwrap().action
}

#[track_caller]
fn refused(major: u32, line: &[&str]) -> String {
    match parse_as(major, line).unwrap_err() {
        Refusal::Usage(message) => format!("{message} + hint"),
        Refusal::Value(message) => message,
    }
}

#[test]
fn rw_009_to_017_what_is_received_without_further_wishes() {
    let receiving = receiving_as(18, &["-D", "d"]);
    assert_eq!(receiving.directory, PathBuf::from("d"));
    assert_eq!((receiving.compression, receiving.sync_policy), (None, SyncPolicy::Durable));
    assert_eq!(receiving.options, RunOptions::default());
    assert_eq!(receiving.options.status_interval, Duration::from_secs(10));
    assert!(!parse_as(18, &["-D", "d"]).unwrap().verbose);
    // Without something to create this says nothing (RW-011).
    assert_eq!(receiving_as(18, &["-D", "d", "--if-not-exists"]), receiving);
}

#[test]
fn rw_003_the_same_line_in_every_form() {
    let expected = RunOptions {
        slot: Some("s".to_owned()),
        status_interval: Duration::from_secs(1),
        reconnect: Reconnect::Never,
        ..RunOptions::default()
    };
    for line in [
        &["-n", "-v", "-s", "1", "-S", "s"][..],
        &["-nvs1", "-Ss"],
        &["--no-loop", "--verbose", "--status-interval", "1", "--slot", "s"],
        &["--no-l", "--verb", "--stat=1", "--sl=s"],
        &["-vnvn", "-s5", "--slot=t", "-S", "s", "--status-interval= 1 "],
    ] {
        assert_eq!(options(line), expected, "{line:?}");
        assert!(parse_as(18, &[&["-D", "d"], line].concat()).unwrap().verbose, "{line:?}");
    }
}

#[test]
fn rw_012_to_016_options_of_a_run() {
    assert_eq!(options(&["-n"]).reconnect, Reconnect::Never);
    assert!(options(&["--synchronous"]).synchronous);
    let receiving = receiving_as(18, &["-D", "d", "--no-sync"]);
    assert_eq!((receiving.sync_policy, receiving.options.durable), (SyncPolicy::Never, false));
    assert_eq!(options(&["-s", "0"]).status_interval, Duration::ZERO);
    assert_eq!(options(&["-S", ""]).slot.as_deref(), Some(""));
}

#[test]
fn rw_024_the_end_position_0_is_none() {
    assert_eq!(options(&["-E", "0/3000000"]).end, Some(Lsn::new(0x300_0000)));
    assert_eq!(options(&["-E", "0/0"]).end, None);
    assert_eq!(options(&["--endpos=1/0", "-E0/0"]).end, None);
}

#[test]
fn rw_025_status_intervals_that_are_none() {
    for (value, message) in [
        ("x", "invalid value \"x\" for option -s/--status-interval"),
        ("1.5", "invalid value \"1.5\" for option -s/--status-interval"),
        ("-1", "-s/--status-interval must be in range 0..2147483"),
        ("2147484", "-s/--status-interval must be in range 0..2147483"),
        ("99999999999999999999", "-s/--status-interval must be in range 0..2147483"),
    ] {
        assert_eq!(refused(18, &["-s", value, "--bogus"]), message);
    }
    assert_eq!(options(&["-s", ""]).status_interval, Duration::ZERO);
    assert_eq!(options(&["-s", "2147483"]).status_interval, Duration::from_secs(2_147_483));
}

#[test]
fn options_of_our_own() {
    assert_eq!(options(&["--receive-timeout=5"]).receive_timeout, Some(Duration::from_secs(5)));
    assert_eq!(options(&["--receive-timeout", "0"]).receive_timeout, None);
    // The first connection takes what time it needs, unless somebody says otherwise.
    for (line, connecting) in [
        (&["-D", "d"][..], None),
        (&["-D", "d", "--receive-timeout=0"], None),
        (&["-D", "d", "--receive-timeout=5"], Some(Duration::from_secs(5))),
    ] {
        assert_eq!(receiving_as(18, line).connect_timeout, connecting, "{line:?}");
    }
    let reconnect = |even_first, seconds: Option<u64>| Reconnect::Always {
        even_first,
        give_up_after: seconds.map(Duration::from_secs),
    };
    assert_eq!(options(&["--wait-for-server"]).reconnect, reconnect(true, None));
    assert_eq!(options(&["--give-up-after=60"]).reconnect, reconnect(false, Some(60)));
    let receiving = receiving_as(18, &["-D", "d", "--status-file=f"]);
    assert_eq!(receiving.status_file, Some("f".into()));
    for (line, message) in [
        (&["--give-up-after=0"][..], "--give-up-after must be in range 1..2147483"),
        (&["--receive-timeout=x"], "invalid value \"x\" for option --receive-timeout"),
        (&["-n", "--wait-for-server"], "cannot use --no-loop together with --wait-for-server + hint"),
        (&["-n", "--give-up-after=1"], "cannot use --no-loop together with --give-up-after + hint"),
        // No abbreviation of the original's options changes its meaning, and these have none.
        (&["--wait"], "unrecognized option '--wait' + hint"),
        (&["--receive-time=1"], "unrecognized option '--receive-time=1' + hint"),
    ] {
        assert_eq!(refused(18, &[&["-D", "d"], line].concat()), message);
    }
    assert_eq!(options(&["--stat=3"]).status_interval, Duration::from_secs(3));
}

#[test]
fn rw_018_and_027_to_034_compression() {
    let compression = |major, text| receiving_as(major, &["-D", "d", "-Z", text]).compression;
    let gzip = |level| Some(CompressionSpec { level, ..CompressionSpec::of(Method::Gzip) });
    for major in [15, 16, 18] {
        for (text, expected) in [
            ("none", None),
            ("none:0", None),
            ("0", None),
            ("", None),
            ("5", gzip(Some(5))),
            ("-1", gzip(None)),
            ("gzip", gzip(None)),
            ("gzip:level=9", gzip(Some(9))),
            ("lz4", Some(CompressionSpec::of(Method::Lz4))),
            ("lz4:0", Some(CompressionSpec::of(Method::Lz4))),
            ("zstd", Some(CompressionSpec::of(Method::Zstd))),
        ] {
            assert_eq!(compression(major, text), expected, "{major} {text:?}");
        }
        for (text, message) in [
            ("none:1", "compression algorithm \"none\" does not accept a compression level"),
            ("gzip:workers=2", "compression algorithm \"gzip\" does not accept a worker count"),
            ("gzip:", "found empty string where a compression option was expected"),
        ] {
            let expected = format!("invalid compression specification: {message}");
            assert_eq!(refused(major, &["-D", "d", "-Z", text]), expected);
        }
        for text in ["foo", "client-gzip", "server-none"] {
            let expected = format!("unrecognized compression algorithm: \"{text}\"");
            assert_eq!(refused(major, &["-D", "d", "-Z", text]), expected);
        }
    }
    for (major, message) in [
        (15, "unrecognized compression option: \"long\""),
        (16, "compression algorithm \"gzip\" does not support long-distance mode"),
    ] {
        let expected = format!("invalid compression specification: {message}");
        assert_eq!(refused(major, &["-D", "d", "-Z", "gzip:long"]), expected);
    }
}

#[test]
fn rw_030_programs_before_15_know_levels() {
    for (text, level) in [("1", Some(1)), ("9", Some(9))] {
        let compression = receiving_as(14, &["-D", "d", "-Z", text]).compression.unwrap();
        assert_eq!((compression.method, compression.level), (Method::Gzip, level));
    }
    assert_eq!(receiving_as(14, &["-D", "d", "-Z0"]).compression, None);
    for text in ["10", "-1"] {
        assert_eq!(refused(14, &["-D", "d", "-Z", text]), format!("invalid compression level \"{text}\""));
    }
}

#[test]
fn rw_035_to_038_combinations_and_which_of_two_is_named() {
    for (line, message) in [
        (
            &["-D", "d", "--create-slot", "--drop-slot"][..],
            "cannot use --create-slot together with --drop-slot",
        ),
        (&["-D", "d", "--create-slot"], "--create-slot needs a slot to be specified using --slot"),
        (&["--drop-slot"], "--drop-slot needs a slot to be specified using --slot"),
        (
            &["--drop-slot", "--synchronous", "--no-sync"],
            "--drop-slot needs a slot to be specified using --slot",
        ),
        (&["--synchronous", "--no-sync"], "cannot use --synchronous together with --no-sync"),
        (&[], "no target directory specified"),
        (&["-Z", "foo"], "no target directory specified"),
        (&["x", "--create-slot"], "too many command-line arguments (first is \"x\")"),
    ] {
        assert_eq!(refused(18, line), format!("{message} + hint"));
    }
}

#[test]
fn rw_019_rw_020_rw_040_and_048_slot_modes_need_a_slot_and_nothing_else() {
    let create = |if_not_exists| Action::CreateSlot { name: "s".to_owned(), if_not_exists };
    assert_eq!(action_of(&["-S", "s", "--create-slot"]), create(false));
    assert_eq!(action_of(&["-S", "s", "--create-slot", "--if-not-exists", "-D", "d"]), create(true));
    let drop = Action::DropSlot("s".to_owned());
    assert_eq!(action_of(&["-S", "s", "--drop-slot", "--if-not-exists", "-E", "0/1", "-n"]), drop);
    assert_eq!(
        refused(18, &["-S", "s", "--drop-slot", "-Z", "x"]),
        "unrecognized compression algorithm: \"x\""
    );
}
