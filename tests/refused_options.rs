//! A command line that makes no sense is refused in the words of PostgreSQL's own program, before anything
//! is touched.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;

use support::{Personality, Run, client_program, scratch_directory};

/// Runs both programs on that command line, each in an empty directory, and gives what they printed.
#[track_caller]
fn refusals(line: &[&str]) -> (String, String) {
    let ours = Personality::named("pg_basebackup");
    let [real, ours] = [client_program("pg_basebackup").as_path(), ours.path()].map(|program| {
        let directory = scratch_directory();
        // Where no server could be, should a line be accepted by mistake.
        let nowhere = directory.path().join("nowhere");
        let outcome = Run::new(program)
            .args(line)
            .env("PGHOST", nowhere)
            .current_dir(directory.path())
            .run()
            .expect_code(1);
        assert_eq!(outcome.stdout_text(), "", "{line:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "{line:?}: something was made");
        outcome.stderr
    });
    (real, ours)
}

#[track_caller]
fn assert_refused_alike(lines: &[&[&str]]) {
    let differences: Vec<String> = lines
        .iter()
        .map(|line| (line, refusals(line)))
        .filter(|(_, (real, ours))| real != ours)
        .map(|(line, (real, ours))| format!("{line:?}\n{real}{ours}"))
        .collect();
    assert!(differences.is_empty(), "the original, then this program:\n{}", differences.join("\n"));
}

#[test]
fn bb_010_to_013_values_that_no_option_takes() {
    assert_refused_alike(&[
        &["-c", "bogus"],
        &["-D", "x", "-F", "bogus"],
        &["-D", "x", "-FPLAIN"],
        &["-D", "x", "-X", "bogus"],
        &["-D", "x", "--wal-method=Stream"],
        &["-D", "x", "-s", "abc"],
        &["-D", "x", "-s", "-1"],
        &["-D", "x", "-s", "2147484"],
    ]);
}

#[test]
fn bb_015_bb_016_rates_that_are_none() {
    for rate in [
        "31",
        "31.9",
        "1024.1M",
        "1048577",
        "abc",
        "",
        " ",
        "0",
        "-1",
        "-0",
        "10Q",
        "10 kB",
        "32kk",
        "32K",
        "1m",
        "1e400",
        "9999999999999",
        "3000000M",
        "0x",
    ] {
        assert_refused_alike(&[&["-D", "x", "-r", rate]]);
    }
}

#[test]
fn bb_017_to_020_tablespace_mappings_that_are_none() {
    for mapping in ["", "a", "=", "/a=", "=/b", "a=b=c", "/a=/b=/c", "a=/b", "/a=b", r"\=a", r"/a\=b"] {
        assert_refused_alike(&[&["-D", "x", "-T", mapping]]);
    }
    let long = format!("/{}=/b", "a".repeat(1100));
    assert_refused_alike(&[&["-D", "x", "-T", &long]]);
}

#[test]
fn bb_031_to_049_combinations_and_which_of_two_is_named() {
    assert_refused_alike(&[
        &["-D", "x", "extra", "more"],
        &["-t", "blackhole", "-Fp"],
        &[],
        &["-t", "client"],
        &["-D", "x", "-t", "blackhole"],
        &["-D", "x", "-z"],
        &["-D", "-", "-Ft"],
        &["-D", "x", "-S", "s", "-Xn"],
        &["-D", "x", "-S", "s", "--no-slot"],
        &["-D", "x", "-C"],
        &["-D", "x", "-C", "--no-slot"],
        &["-D", "x", "-Ft", "--waldir", "/w"],
        &["-D", "x", "--waldir", "w"],
        &["-D", "x", "-P", "--no-estimate-size"],
        &["-D", "x", "--no-manifest", "--manifest-checksums=sha256"],
        &["-D", "x", "--no-manifest", "--manifest-force-encode"],
        // Two at once: the one that is checked first is named.
        &["extra", "-t", "blackhole", "-Fp"],
        &["-t", "blackhole", "-Fp", "-D", "x"],
        &["-D", "x", "-z", "-C"],
        &["-D", "-", "-Ft", "-C"],
        &["-D", "x", "-Xf", "-S", "s", "--no-slot"],
        &["-D", "x", "-C", "--waldir", "w"],
        &["-D", "x", "-Ft", "--waldir", "w"],
        &["-D", "x", "--waldir", "w", "-P", "--no-estimate-size"],
        &["-D", "x", "-P", "--no-estimate-size", "--no-manifest", "--manifest-force-encode"],
    ]);
}

#[test]
fn bb_007_values_come_before_combinations_and_both_before_connecting() {
    assert_refused_alike(&[
        &["extra", "-c", "bogus"],
        &["-c", "bogus", "-F", "bogus"],
        &["-F", "bogus", "-c", "bogus"],
        &["-D", "x", "-C", "-d", "nonsense"],
    ]);
}

#[test]
fn bb_061_connection_settings_that_cannot_be_read() {
    assert_refused_alike(&[
        &["-D", "x", "-d", "db1"],
        &["-D", "x", "-d", "nosuch=1"],
        &["-D", "x", "-d", "host='x"],
        &["-D", "x", "-d", "postgresql://h:p:q/"],
        &["-D", "x", "-d", "host=a,b port=1,2,3"],
        &["-D", "x", "-p", "abc"],
        &["-D", "x", "-p", "0"],
        &["-D", "x", "-p", "99999"],
        &["-D", "x", "-d", "sslmode=bogus"],
        &["-D", "x", "-d", "target_session_attrs=bogus"],
    ]);
}

/// The C library prints these, with the path of the program and another word for the option; the hint that
/// follows is the program's own.
#[test]
fn bb_004_options_that_are_none() {
    for (line, message) in [
        (&["-D", "x", "-Q"][..], "invalid option -- 'Q'"),
        (&["-D", "x", "--bogus"], "unrecognized option '--bogus'"),
        (&["-D", "x", "--progress=1"], "option '--progress' doesn't allow an argument"),
        (&["--pgdata"], "option '--pgdata' requires an argument"),
    ] {
        let (real, ours) = refusals(line);
        let hint = "pg_basebackup: hint: Try \"pg_basebackup --help\" for more information.\n";
        assert_eq!(real, format!("{}: {message}\n{hint}", client_program("pg_basebackup").display()));
        assert_eq!(ours, format!("pg_basebackup: error: {message}\n{hint}"));
    }
}

/// The parts of a message in the colours that the environment asks for.
#[test]
fn bb_234_messages_have_the_colors_of_the_real_program() {
    let ours = Personality::named("pg_basebackup");
    let listed = |list: &'static str| [("PG_COLOR", "always"), ("PG_COLORS", list)];
    let environments: [&[(&str, &str)]; 8] = [
        &[("PG_COLOR", "always")],
        &[("PG_COLOR", "auto")],
        &[("PG_COLOR", "yes")],
        &[("PG_COLORS", "error=1")],
        &listed("error=04;31:note=07:locus=33:warning=1"),
        &listed("error=:bogus:locus"),
        &listed("note=01"),
        &listed(""),
    ];
    for variables in environments {
        let [theirs, ours] = [client_program("pg_basebackup").as_path(), ours.path()].map(|program| {
            let mut run = Run::new(program).args(["-D", "x", "extra"]);
            for (name, value) in variables {
                run = run.env(name, value);
            }
            run.run().expect_code(1).stderr
        });
        assert_eq!(ours, theirs, "{variables:?}");
    }
    let always = Run::new(ours.path()).args(["-D", "x", "extra"]).env("PG_COLOR", "always").run().stderr;
    assert!(
        always.starts_with("\x1b[01mpg_basebackup: \x1b[0m\x1b[01;31merror: \x1b[0mtoo many "),
        "{always}"
    );
}
