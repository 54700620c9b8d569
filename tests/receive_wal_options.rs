//! The command line of `pg_receivewal`: what makes no sense is refused in the words of PostgreSQL's own program and
//! before anything is touched; what makes sense to that program is accepted, and told to the server in the same way.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use support::byte_script::{ByteScriptServer, Step, authentication};
use support::{Installation, Outcome, Personality, Run, pgsiphon, scratch_directory};

const NAME: &str = "pg_receivewal";

fn ours(arguments: &[&str]) -> Outcome {
    Run::new(Personality::named(NAME).path()).args(arguments).run()
}

/// Runs both programs on that command line, each in a directory with nothing but the empty directory `d`, and gives
/// what they printed, with `DIR` for that directory.
///
/// The C library's complaints begin with the path of the program; here they begin as all errors do.
#[track_caller]
fn printed(major: u16, line: &[&str]) -> (String, String) {
    let ours = Personality::named(NAME);
    let installation = Installation::find(major);
    let real = installation.program(NAME);
    let [from_real, from_ours] = [real.as_path(), ours.path()].map(|program| {
        let directory = scratch_directory();
        fs::create_dir(directory.path().join("d")).unwrap();
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
        let made = fs::read_dir(directory.path().join("d")).unwrap().count();
        assert_eq!(made, 0, "{line:?}: something was made");
        outcome.stderr.replace(directory.path().to_str().unwrap(), "DIR")
    });
    (from_real.replace(&format!("{}: ", real.display()), "pg_receivewal: error: "), from_ours)
}

/// Both programs print the same about each line.
#[track_caller]
fn assert_alike(major: u16, lines: &[&[&str]]) {
    let differences: Vec<String> = lines
        .iter()
        .map(|line| (line, printed(major, line)))
        .filter(|(_, (real, ours))| real != ours)
        .map(|(line, (real, ours))| format!("{line:?}\n{real}{ours}"))
        .collect();
    assert!(differences.is_empty(), "{major}: the original, then this program:\n{}", differences.join("\n"));
}

#[test]
fn rw_004_rw_005_help_and_version_are_for_standard_output() {
    for line in [&["--help"][..], &["-?"], &["--help", "--bogus"]] {
        let outcome = ours(line).expect_success();
        let text = outcome.stdout_text();
        assert!(text.contains("--endpos") && text.lines().all(|line| line.len() <= 95), "{text}");
        assert_eq!(outcome.stderr, "");
    }
    for line in [&["--version"][..], &["-V"], &["-V", "x"]] {
        let outcome = ours(line).expect_success();
        let text = outcome.stdout_text();
        assert!(text.starts_with("pg_receivewal (PostgreSQL) 18.6 (pgsiphon "), "{text}");
        assert_eq!((text.lines().count(), outcome.stderr.as_str()), (1, ""));
    }
    let as_command = Run::new(pgsiphon()).args(["receivewal", "-V"]).run().expect_success();
    assert!(as_command.stdout_text().starts_with("pg_receivewal (PostgreSQL) 18.6 "));
    let help = Run::new(pgsiphon()).args(["receivewal", "--help"]).run().expect_success().stdout_text();
    assert!(help.contains("  pgsiphon receivewal [OPTION]...\n"), "{help}");
    // Later on the line they are no options.
    for line in [&["-D", "x", "--help"][..], &["-v", "-V"], &["--vers"]] {
        assert!(ours(line).expect_code(1).stdout.is_empty(), "{line:?}");
    }
}

#[test]
fn rw_003_006_and_007_forms_of_options_and_what_is_none() {
    let lines: &[&[&str]] = &[
        &["-Dd", "-nvs5", "-SSLOT"],
        &["--dir=d", "--no-l", "--verb", "--stat", "5", "--sl", "s", "--synch"],
        &["--directory", "x", "-D", "d", "--comp", "gzip", "--if", "--endp=0/1"],
        &["d", "-D", "d"],
        &["-D", "d", "--", "-v"],
        &["-D", "d", "-"],
        &["--bogus"],
        &["-k"],
        &["-D", "d", "-nk"],
        &["--d"],
        &["--no"],
        &["--s"],
        &["--c"],
        &["--p"],
        &["--verbose=1"],
        &["--endpos"],
        &["-D"],
        &["-nD"],
        &["--st"],
        &["-D", "d", "--bogus", "x"],
    ];
    for major in [15, 18] {
        assert_alike(major, lines);
    }
}

#[test]
fn rw_008_to_010_rw_024_rw_025_values() {
    let lines: &[&[&str]] = &[
        &["-D", "d", "-E", "x"],
        &["-D", "d", "-E", "0"],
        &["-D", "d", "-E", "0/"],
        &["-D", "d", "-E", "/0"],
        &["-D", "d", "-E", "0 /1"],
        &["-D", "d", "--endpos="],
        &["-D", "d", "-E", "0/0"],
        &["-D", "d", "-E", "0x1/0xA"],
        &["-D", "d", "-E", " 16/ b374d848"],
        &["-E", "x", "--bogus"],
        &["--drop-slot", "-E", "x"],
        &["-D", "d", "--status-interval="],
        &["-D", "d", "-s", " 5 "],
        &["-D", "d", "-s", "0"],
        &["-D", "d", "-s", "2147483"],
        &["-D", "d", "-s", "2147484"],
        &["-D", "d", "-s", "-1"],
        &["-D", "d", "-s", "5x"],
        &["-D", "d", "-s", "99999999999999999999"],
        &["-D", ""],
        &["-D", "missing"],
        &["-D", "/etc/passwd"],
        &["-D", "missing", "-d", "bogus=1"],
        &["-D", "d", "-d", "bogus=1"],
        &["-D", "d", "-p", "x"],
    ];
    for major in [15, 18] {
        assert_alike(major, lines);
    }
    // The original takes any text behind a position for nothing.
    let refused =
        "pg_receivewal: error: could not parse end position \"0/3zz\": unexpected \"zz\" at its end\n";
    assert_eq!(ours(&["-D", "d", "-E", "0/3zz"]).expect_code(1).stderr, refused);
}

#[test]
fn rw_018_and_027_to_034_compression_that_makes_no_sense() {
    let values = [
        "",
        "0",
        "5",
        "-1",
        " 5",
        "10",
        "5x",
        "none",
        "none:0",
        "none:1",
        "none:",
        "none:workers=1",
        "gzip",
        "gzip:5",
        "gzip:0",
        "gzip:",
        "gzip:level",
        "gzip:level=x",
        "gzip:foo=1",
        "gzip:workers=2",
        "gzip:long",
        "gzip:long=x",
        "lz4",
        "lz4:12",
        "lz4:13",
        "lz4:workers=1",
        "zstd:99",
        "zstd:foo",
        "GZIP",
        "foo",
        "client-gzip",
        "server-none",
    ];
    let lines: Vec<_> = values.iter().map(|value| ["-D", "d", "-Z", value]).collect();
    let lines: Vec<&[&str]> = lines.iter().map(<[_; 4]>::as_slice).collect();
    for major in [15, 16, 18] {
        assert_alike(major, &lines);
    }
    let levels: Vec<_> = ["0", "1", "9", "10", "-1"].map(|level| ["-D", "d", "-Z", level]).to_vec();
    for level in &levels {
        let (real, ours) = printed(14, level);
        assert_eq!(ours, real, "{level:?}");
    }
    // What the original only promises (OP-27).
    let (real, ours) = printed(18, &["-D", "d", "-Z", "zstd"]);
    assert_eq!(real, "pg_receivewal: error: compression with ZSTD is not yet supported\n");
    assert!(ours.contains("connection to server on socket"), "{ours}");
}

#[test]
fn rw_011_rw_013_and_035_to_040_combinations_and_which_of_two_is_named() {
    let lines: &[&[&str]] = &[
        &[],
        &["-v"],
        &["-D", "d", "--create-slot", "--drop-slot"],
        &["-D", "d", "--create-slot"],
        &["--drop-slot"],
        &["--drop-slot", "--synchronous", "--no-sync"],
        &["--synchronous", "--no-sync"],
        &["-D", "d", "--synchronous", "--no-sync", "x"],
        &["-Z", "foo"],
        &["-D", "missing", "-Z", "foo"],
        &["-S", "s", "--create-slot", "-D", "missing", "-Z", "foo"],
        &["-S", "s", "--create-slot", "-D", "missing", "-Z", "0", "-n", "--synchronous", "-E", "0/1"],
        &["-S", "", "--drop-slot"],
        &["-D", "d", "--if-not-exists"],
        &["-D", "d", "--no-sync"],
        &["-D", "d", "-w", "-W"],
    ];
    for major in [15, 18] {
        assert_alike(major, lines);
    }
}

#[test]
fn rw_009_rw_039_a_directory_is_never_made_and_no_server_is_asked_without_one() {
    let server = ByteScriptServer::start([Step::Receive]);
    let directory = scratch_directory();
    let missing = directory.path().join("missing");
    let conninfo = format!("host=127.0.0.1 port={} user=u", server.port());
    let outcome = ours(&["-D", missing.to_str().unwrap(), "-d", &conninfo]).expect_code(1);
    let expected = format!(
        "pg_receivewal: error: could not open directory \"{}\": No such file or directory\n",
        missing.display()
    );
    assert_eq!(outcome.stderr, expected);
    assert!(!missing.exists() && server.received().is_empty());
}

#[test]
fn rw_001_rw_002_messages_are_coloured_on_request_and_on_standard_error() {
    let ours = Personality::named(NAME);
    let run = |color: &str| Run::new(ours.path()).args(["-D"]).env("PG_COLOR", color).run().expect_code(1);
    for (color, is_coloured) in [("always", true), ("auto", false), ("never", false), ("", false)] {
        let outcome = run(color);
        assert!(outcome.stdout.is_empty());
        assert_eq!(outcome.stderr.contains("\u{1b}["), is_coloured, "{color}: {}", outcome.stderr);
    }
}

#[test]
fn values_that_are_no_text() {
    let not_text = OsStr::from_bytes(b"a\xffb");
    let ours = Personality::named(NAME);
    let outcome = Run::new(ours.path()).args(["-D", "d", "-S"]).arg(not_text).run().expect_code(1);
    let expected =
        "pg_receivewal: error: invalid value \"a\u{fffd}b\" for option -S/--slot: not valid UTF-8\n";
    assert_eq!(outcome.stderr, expected);
}

/// The startup packets that programs send, until the server asks for a password that nobody has.
struct Listener(ByteScriptServer);

impl Listener {
    fn start() -> Self {
        Self(ByteScriptServer::start([Step::Receive, Step::Send(authentication(99, b""))]))
    }

    /// Keywords and values of the packet that both programs send, in turn; PORT in an argument is that of this
    /// listener.
    #[track_caller]
    fn both_told(&self, major: u16, environment: &[(&str, &str)], arguments: &[&str]) -> Vec<String> {
        let installation = Installation::find(major);
        let real = installation.program(NAME);
        let ours = Personality::named(NAME);
        let directory = scratch_directory();
        let port = self.0.port().to_string();
        let [real, ours] = [&real, ours.path()].map(|program: &Path| {
            let run = Run::new(program)
                .env("LD_LIBRARY_PATH", installation.library_directory())
                .env("PGSIPHON_PG_VERSION", major.to_string())
                .arg("-D")
                .arg(directory.path())
                .args(arguments.iter().map(|argument| argument.replace("PORT", &port)));
            let run = environment.iter().fold(run, |run, (name, value)| run.env(name, value));
            let outcome = run.run().expect_code(1);
            let received = self.0.received();
            let packet = received.last().unwrap_or_else(|| panic!("nothing was sent: {}", outcome.stderr));
            let fields = packet[8..].split(|&byte| byte == 0).map(|field| field.escape_ascii().to_string());
            fields.collect::<Vec<_>>()
        });
        assert_eq!(ours, real, "{major} {arguments:?}");
        ours
    }
}

#[test]
fn rw_021_022_214_and_215_what_the_server_is_told() {
    const STRING: &str = "host=127.0.0.1 port=PORT user=u sslmode=disable gssencmode=disable";
    let value = |told: &[String], keyword: &str| {
        let pair = told.chunks_exact(2).find(|pair| pair[0] == keyword).unwrap_or_else(|| panic!("{told:?}"));
        pair[1].clone()
    };
    let listener = Listener::start();
    for major in [15, 18] {
        let told = listener.both_told(major, &[("PGDATABASE", "of_environment")], &["-d", STRING]);
        assert_eq!(
            ["user", "replication", "application_name", "database"].map(|keyword| value(&told, keyword)),
            ["u", "true", "pg_receivewal", "replication"]
        );
        let told = listener.both_told(major, &[("PGAPPNAME", "env")], &["-d", STRING]);
        assert_eq!(value(&told, "application_name"), "env");
        let string = format!("{STRING} application_name=own dbname=db1 replication=database");
        let told = listener.both_told(major, &[("PGAPPNAME", "env")], &["-d", &string]);
        assert_eq!(value(&told, "application_name"), "own");
        assert_eq!(value(&told, "replication"), "true");
        assert_eq!(value(&told, "database"), if major < 17 { "replication" } else { "db1" });
        // Switches beat the string, and empty ones are none.
        let string = "host=/nowhere port=1 user=of_string sslmode=disable gssencmode=disable";
        let told = listener.both_told(
            major,
            &[],
            &["-d", string, "-h", "127.0.0.1", "-p", "PORT", "-U", "of_switch"],
        );
        assert_eq!(value(&told, "user"), "of_switch");
        let told = listener.both_told(major, &[], &["-d", STRING, "-h", "", "-p", "", "-U", ""]);
        assert_eq!(value(&told, "user"), "u");
        let uri = "postgresql://of_uri@127.0.0.1:PORT/?sslmode=disable&gssencmode=disable";
        assert_eq!(value(&listener.both_told(major, &[], &["-d", uri]), "user"), "of_uri");
    }
}
