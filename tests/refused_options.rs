//! A command line that makes no sense is refused in the words of PostgreSQL's own program, before anything
//! is touched; one that makes sense to that program is accepted, and fails only to connect.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::collections::BTreeSet;
use std::fs;

use support::{Installation, Personality, Run, scratch_directory};

/// Runs both programs on that command line, each in an empty directory, and gives what they printed, with `DIR`
/// for that directory.
///
/// The C library's complaints begin with the path of the program; here they begin as all errors do.
#[track_caller]
fn refusals(major: u16, line: &[&str]) -> (String, String) {
    let ours = Personality::named("pg_basebackup");
    let installation = Installation::find(major);
    let real = installation.program("pg_basebackup");
    let [from_real, from_ours] = [real.as_path(), ours.path()].map(|program| {
        let directory = scratch_directory();
        // Where no server could be: a line that is accepted ends there.
        let nowhere = directory.path().join("nowhere");
        let outcome = Run::new(program)
            .args(line)
            .env("PGHOST", nowhere)
            .env("LD_LIBRARY_PATH", installation.library_directory())
            .env("PGSIPHON_PG_VERSION", major.to_string())
            .current_dir(directory.path())
            .run()
            .expect_code(1);
        assert_eq!(outcome.stdout_text(), "", "{line:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "{line:?}: something was made");
        outcome.stderr.replace(directory.path().to_str().unwrap(), "DIR")
    });
    (from_real.replace(&format!("{}: ", real.display()), "pg_basebackup: error: "), from_ours)
}

/// Each line is refused as the program of the newest version refuses it.
#[track_caller]
fn assert_refused_alike(lines: &[&[&str]]) {
    assert_refused_as(18, lines);
}

#[track_caller]
fn assert_refused_as(major: u16, lines: &[&[&str]]) {
    let differences: Vec<String> = lines
        .iter()
        .map(|line| (line, refusals(major, line)))
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
        &["-D", "x", "-s", "99999999999"],
        &["-D", "x", "-s", "99999999999999999999"],
        &["-D", "x", "-s", "0x10"],
        &["-D", "x", "-s", "+5"],
        &["-D", "x", "-s", " 5 "],
        &["-D", "x", "-s", "5 x"],
        &["-D", "x", "-s", "--5"],
    ]);
}

#[test]
fn bb_014_sync_methods() {
    assert_refused_alike(&[
        &["-D", "x", "--sync-method=bogus"],
        &["-D", "x", "--sync-method="],
        &["-D", "x", "--sync-method=SYNCFS"],
        &["-D", "x", "--sync-method=syncfs"],
        &["-D", "x", "--sync-method=fsync", "-N"],
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
        "64e",
        ".5M",
        "64.",
        "\t64",
        "64 k ",
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
        &["-D", "x", "-Z", "bogus"],
        &["-t", "blackhole", "-Z", "client-none"],
        &["-D", "x", "-z"],
        &["-t", "blackhole"],
        &["-D", "-", "-Ft"],
        &["-D", "x", "-S", "s", "-Xn"],
        &["-D", "x", "-S", "s", "--no-slot"],
        &["-D", "x", "-C"],
        &["-D", "x", "-C", "--no-slot"],
        &["-t", "blackhole", "-Xn", "--waldir", "/w"],
        &["-D", "x", "-Ft", "--waldir", "/w"],
        &["-D", "x", "--waldir", "w"],
        &["-D", "x", "-P", "--no-estimate-size"],
        &["-D", "x", "--no-manifest", "--manifest-checksums=sha256"],
        &["-D", "x", "--no-manifest", "--manifest-force-encode"],
        // Two at once: the one that is checked first is named.
        &["extra", "-t", "blackhole", "-Fp"],
        &["-t", "blackhole", "-Fp", "-D", "x"],
        &["-t", "blackhole", "-Z", "client-bogus", "-D", "x"],
        &["-t", "blackhole", "-Z", "client-bogus", "-C"],
        &["-t", "blackhole", "-Z", "client-gzip", "-C"],
        &["-t", "blackhole", "-C", "--waldir", "w"],
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

#[test]
fn bb_004_options_that_are_none() {
    assert_refused_alike(&[
        &["-D", "x", "-Q"],
        &["-D", "x", "-PQ"],
        &["-D", "x", "-P-"],
        &["-D", "x", "-k"],
        &["-D", "x", "-?"],
        &["-D", "x", "-V"],
        &["-VP"],
        &["-D", "x", "-P=1"],
        &["-D", "x", "--bogus"],
        &["-D", "x", "--bogus=1"],
        &["-D", "x", "--"],
        &["-D", "x", "--=1"],
        &["-D", "x", "--progress=1"],
        &["-D", "x", "---"],
        &["--pgdata"],
        &["-PD"],
        &["-D"],
        &["-D", "x", "-", "-P"],
        &["-D", "x", "--", "-P"],
    ]);
}

#[test]
fn bb_001_bb_014_options_and_abbreviations_of_each_version() {
    for major in [15, 16, 17] {
        assert_refused_as(
            major,
            &[
                &["-D", "x", "-i", "m"],
                &["-D", "x", "--incremental=m"],
                &["-D", "x", "--sync-method=fsync"],
                &["-D", "x", "--s=1"],
                &["-D", "x", "--i=1"],
                &["-D", "x", "--tar", "blackhole"],
            ],
        );
    }
}

/// Each beginning of each option is taken for the same option by both programs: the options that only this one has
/// do not count.
#[test]
fn bb_001_abbreviations_mean_what_they_always_meant() {
    let own = ["no-password-in-conninfo", "primary-slot-name", "promote-trigger-file", "restore-command"];
    let own =
        own.into_iter().chain(["recovery-target", "recovery-target-name", "receive-timeout", "retries"]);
    let (complaint, _) = refusals(18, &["--=1"]);
    let (_, names) = complaint.split_once("possibilities: ").unwrap();
    let options = names.lines().next().unwrap().split(' ').map(|name| name.trim_matches(['\'', '-']));
    let mut beginnings = BTreeSet::new();
    for option in options {
        beginnings.extend((1..=option.len()).map(|length| option[..length].to_owned()));
    }
    assert!(beginnings.contains("pgdata") && beginnings.contains("sync-method"), "{beginnings:?}");
    for option in own {
        beginnings.extend((1..option.len()).map(|length| option[..length].to_owned()));
    }
    // An option of our own that another one begins with.
    beginnings.remove("recovery-target");
    let understood_elsewhere = " is understood as the first argument only\n";
    let assert_same = |line: &str| {
        let (real, ours) = refusals(18, &["-v", line]);
        let ours: String =
            ours.split_inclusive('\n').filter(|line| !line.ends_with(understood_elsewhere)).collect();
        assert_eq!(ours, real, "{line}");
        real
    };
    for beginning in beginnings {
        // Of an option that wants a value both tell the name here, of one that takes none only with a value.
        let told = assert_same(&format!("--{beginning}"));
        if told.contains("must specify output directory") {
            assert_same(&format!("--{beginning}=bogus"));
        }
    }
}

#[test]
fn bb_022_to_028_compression_arguments() {
    let arguments = [
        "",
        "0",
        "1",
        "9",
        "10",
        "-1",
        "client-",
        "client-0",
        "client-5",
        "client-10",
        "server-",
        "server-bogus",
        "none",
        "none:0",
        "none:1",
        "none:",
        "None",
        "gzip",
        "gzip:",
        "gzip:0",
        "gzip:9",
        "gzip:10",
        "gzip:level=3",
        "gzip:level=3,",
        "gzip:workers=2",
        "gzip:long",
        "lz4",
        "lz4:13",
        "lz4:level=",
        "zstd:23",
        "zstd:long",
        "zstd:long=maybe",
        "zstd:workers=x",
        "zstd:=3",
        "bogus",
        "bogus:1",
        "client-bogus",
        "client-gzip:foo",
        "none+",
        " 5",
        "5 ",
        "5:1",
        "client-server-gzip",
    ];
    for major in [15, 16, 18] {
        for argument in arguments {
            let lines: [&[&str]; 3] = [
                &["-D", "x", "-Ft", "-Z", argument],
                &["-D", "x", "-Z", argument],
                &["-t", "blackhole", "-Xn", "-Z", argument],
            ];
            assert_refused_as(major, &lines);
        }
    }
}

#[test]
fn bb_005_operands() {
    assert_refused_alike(&[&["a", "-D", "x", "b"], &["-D", "x", "a", "--bogus"], &["-D", "x", ""]]);
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
        let [theirs, ours] =
            [Installation::find(18).program("pg_basebackup").as_path(), ours.path()].map(|program| {
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
