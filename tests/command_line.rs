//! What the command line and the name of the program mean beyond single options: its version, where its options end,
//! its exit status, and what the server is told of it.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use support::byte_script::{ByteScriptServer, Step, authentication};
use support::{Cluster, Installation, Outcome, Personality, Run, pgsiphon, scratch_directory};

fn ours(arguments: &[&str]) -> Outcome {
    Run::new(Personality::named("pg_basebackup").path()).args(arguments).run()
}

#[test]
fn bb_002_help_comes_first_or_not_at_all() {
    for argument in ["--help", "-?"] {
        let outcome = ours(&[argument, "--bogus"]).expect_success();
        let text = outcome.stdout_text();
        assert!(text.contains("--wal-method") && text.lines().all(|line| line.len() <= 95), "{text}");
        assert_eq!(outcome.stderr, "");
    }
    let hint = "pg_basebackup: hint: Try \"pg_basebackup --help\" for more information.\n";
    for line in [&["-D", "x", "--help"][..], &["--hel"], &["-D", "x", "-?"], &["-v?"]] {
        let outcome = ours(line).expect_code(1);
        assert!(outcome.stdout.is_empty() && outcome.stderr.ends_with(hint), "{}", outcome.stderr);
    }
}

#[test]
fn bb_003_the_version_in_the_form_that_tools_read() {
    for line in [&["--version"][..], &["-V"], &["-V", "--bogus"]] {
        let outcome = ours(line).expect_success();
        let text = outcome.stdout_text();
        assert!(text.starts_with("pg_basebackup (PostgreSQL) 18.6 (pgsiphon "), "{text}");
        assert!(text.ends_with(")\n") && text.lines().count() == 1, "{text}");
        assert_eq!(outcome.stderr, "");
    }
    for line in [&["--vers"][..], &["-Vx"], &["-v", "-V"]] {
        assert!(ours(line).expect_code(1).stdout.is_empty(), "{line:?}");
    }
    let outcome = Run::new(pgsiphon()).args(["basebackup", "-V"]).run().expect_success();
    assert!(outcome.stdout_text().starts_with("pg_basebackup (PostgreSQL) 18."));
}

/// The second and the third number of the version line, if the program printed one.
fn claimed(run: Run) -> String {
    let text = run.arg("--version").run().expect_success().stdout_text();
    text.strip_prefix("pg_basebackup (PostgreSQL) ").unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
fn bb_003_the_version_is_that_of_the_directory() {
    let root = scratch_directory();
    let program = |directory: &str| {
        let directory = root.path().join(directory);
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("pg_basebackup");
        symlink(pgsiphon(), &path).unwrap();
        path
    };
    let in_debian = program("lib/postgresql/15/bin");
    let in_red_hat = program("pgsql-16/bin");
    let elsewhere = program("bin");
    assert_eq!(claimed(Run::new(&in_debian)), "15.18");
    assert_eq!(claimed(Run::new(&in_red_hat)), "16.15");
    assert_eq!(claimed(Run::new(&elsewhere)), "18.6");
    // By a relative path, and found along the search path by a shell.
    assert_eq!(claimed(Run::new("../bin/pg_basebackup").current_dir(in_debian.parent().unwrap())), "15.18");
    let in_shell = |path: &Path| {
        Run::new("/bin/sh")
            .args(["-c", "exec pg_basebackup \"$@\"", "sh"])
            .env("PATH", path.parent().unwrap())
    };
    assert_eq!(claimed(in_shell(&in_debian)), "15.18");
    assert_eq!(claimed(in_shell(&elsewhere)), "18.6");
    // The variable counts more than the directory.
    let named = |value: &str| Run::new(&in_debian).env("PGSIPHON_PG_VERSION", value);
    assert_eq!(claimed(named("17")), "17.11");
    assert_eq!(claimed(named("15.4")), "15.4");
    assert_eq!(claimed(named("")), "15.18");
    for value in ["x", "9.6", "19", "15.x", " 15"] {
        let outcome = named(value).arg("--version").run().expect_code(1);
        let expected = format!(
            "pg_basebackup: error: invalid value \"{value}\" of PGSIPHON_PG_VERSION: must be a PostgreSQL release \
             from 10 to 18, such as 15 or 15.4\n"
        );
        assert_eq!((outcome.stdout_text(), outcome.stderr), (String::new(), expected));
    }
}

/// Some programs set this variable for themselves and pass it on.
#[test]
fn bb_005_posixly_correct_ends_options_at_the_first_operand() {
    let refused = |value: &str| {
        let personality = Personality::named("pg_basebackup");
        let run = Run::new(personality.path()).env("POSIXLY_CORRECT", value);
        run.args(["-D", "x", "operand", "--bogus"]).run().expect_code(1).stderr
    };
    let expected = "pg_basebackup: error: too many command-line arguments (first is \"operand\")\n\
                    pg_basebackup: hint: Try \"pg_basebackup --help\" for more information.\n";
    assert_eq!([refused("1"), refused("")], [expected, expected]);
}

#[test]
fn bb_008_every_failure_has_status_one() {
    let cluster = Cluster::builder(18).start();
    let scratch = scratch_directory();
    let full = cluster.data_dir().display().to_string();
    let new = scratch.path().join("new").display().to_string();
    let conninfo = cluster.conninfo();
    for line in [
        &["--bogus"][..],
        &["-c", "bogus"],
        &["-D", &new, "-d", "bogus"],
        &["-D", &new, "-d", "host=/nowhere"],
        &["-D", &new, "-d", &conninfo, "-U", "nobody"],
        &["-D", &full, "-d", &conninfo],
        &["-D", &new, "-d", &conninfo, "--manifest-checksums=bogus"],
        &["-D", &new, "-d", &conninfo, "-Xs", "-S", "missing"],
        &["-t", "bogus", "-Xn", "-d", &conninfo],
    ] {
        let outcome = ours(line).expect_code(1);
        assert!(outcome.stderr.contains("pg_basebackup: error: "), "{line:?}");
    }
    let line = ["-D", &new, "-d", &conninfo, "-c", "fast", "-N"];
    assert_eq!(ours(&line).expect_success().stderr, "");
}

/// The startup packets that programs send, until the server asks for a password that nobody has.
struct Listener(ByteScriptServer);

impl Listener {
    fn start() -> Self {
        Self(ByteScriptServer::start([Step::Receive, Step::Send(authentication(99, b""))]))
    }

    /// Keywords and values of the packet that a run sends, in turn; PORT in an argument is that of this listener.
    #[track_caller]
    fn told(&self, run: Run, arguments: &[&str]) -> Vec<String> {
        let port = self.0.port().to_string();
        let arguments = arguments.iter().map(|argument| argument.replace("PORT", &port));
        let outcome = run.args(arguments).run().expect_code(1);
        let received = self.0.received();
        let packet = received.last().unwrap_or_else(|| panic!("nothing was sent: {}", outcome.stderr));
        let fields = packet[8..].split(|&byte| byte == 0).map(|field| field.escape_ascii().to_string());
        fields.collect()
    }

    /// Both programs tell the server the same, and it is returned.
    #[track_caller]
    fn both_told(&self, major: u16, environment: &[(&str, &Path)], arguments: &[&str]) -> Vec<String> {
        let installation = Installation::find(major);
        let real = installation.program("pg_basebackup");
        let ours = Personality::named("pg_basebackup");
        let [real, ours] = [&real, ours.path()].map(|program: &Path| {
            let run = Run::new(program)
                .env("LD_LIBRARY_PATH", installation.library_directory())
                .env("PGSIPHON_PG_VERSION", major.to_string())
                .args(["-D", "/nonexistent/x"]);
            let run = environment.iter().fold(run, |run, (name, value)| run.env(name, value));
            self.told(run, arguments)
        });
        assert_eq!(ours, real, "{major} {arguments:?}");
        ours
    }
}

fn value<'a>(told: &'a [String], keyword: &str) -> &'a str {
    let pair = told.chunks_exact(2).find(|pair| pair[0] == keyword);
    &pair.unwrap_or_else(|| panic!("{told:?}"))[1]
}

#[test]
fn bb_060_switches_override_the_connection_string_and_that_overrides_the_rest() {
    let listener = Listener::start();
    let scratch = scratch_directory();
    let services = scratch.path().join("services");
    fs::write(&services, "[s]\nuser=of_service\nhost=nowhere.invalid\nport=1\n").unwrap();
    let environment: [(&str, &Path); 4] = [
        ("PGSERVICEFILE", &services),
        ("PGHOST", Path::new("/nowhere")),
        ("PGPORT", Path::new("2")),
        ("PGUSER", Path::new("of_environment")),
    ];
    let user =
        |arguments: &[&str]| value(&listener.both_told(18, &environment, arguments), "user").to_owned();
    let string = "host=/nowhere port=3 user=of_string sslmode=disable gssencmode=disable";
    assert_eq!(user(&["-d", string, "-h", "127.0.0.1", "-p", "PORT", "-U", "of_switch"]), "of_switch");
    let string = "host=127.0.0.1 port=PORT user=of_string sslmode=disable gssencmode=disable service=s";
    assert_eq!(user(&["-d", string]), "of_string");
    let string = "host=127.0.0.1 port=PORT sslmode=disable gssencmode=disable service=s";
    assert_eq!(user(&["-d", string]), "of_service");
    let string = "host=127.0.0.1 port=PORT sslmode=disable gssencmode=disable";
    assert_eq!(user(&["-d", string]), "of_environment");
}

#[test]
fn bb_063_the_connection_is_one_for_replication() {
    let listener = Listener::start();
    for replication in ["", "replication=false", "replication=database", "replication=0"] {
        let string =
            format!("host=127.0.0.1 port=PORT user=u sslmode=disable gssencmode=disable {replication}");
        for major in [15, 18] {
            let told = listener.both_told(major, &[], &["-d", &string]);
            assert_eq!(value(&told, "replication"), "true", "{replication}");
        }
    }
}

#[test]
fn bb_065_a_database_is_named_since_seventeen() {
    let listener = Listener::start();
    let base = "host=127.0.0.1 port=PORT user=u sslmode=disable gssencmode=disable";
    for (string, old, new) in [
        ("", "replication", "replication"),
        ("dbname=db1", "replication", "db1"),
        ("dbname=''", "replication", "replication"),
    ] {
        let string = format!("{base} {string}");
        for (major, database) in [(15, old), (16, old), (17, new), (18, new)] {
            let told =
                listener.both_told(major, &[("PGDATABASE", Path::new("of_environment"))], &["-d", &string]);
            assert_eq!(value(&told, "database"), database, "{major} {string}");
        }
    }
}

#[test]
fn bb_171_no_database_is_written_for_programs_before_seventeen() {
    let cluster = Cluster::builder(15).start();
    for (version, is_written) in [("15", false), ("16", false), ("17", true), ("18", true)] {
        let scratch = scratch_directory();
        let out = scratch.path().join("out");
        Run::new(Personality::named("pg_basebackup").path())
            .env("PGSIPHON_PG_VERSION", version)
            .args([
                "-R",
                "-N",
                "-c",
                "fast",
                "-Xn",
                "-d",
                &format!("{} dbname=db1", cluster.conninfo()),
                "-D",
            ])
            .arg(&out)
            .run()
            .expect_success();
        let settings = fs::read_to_string(out.join("postgresql.auto.conf")).unwrap();
        assert_eq!(settings.contains("dbname"), is_written, "{version}: {settings}");
    }
}

#[test]
fn bb_009_the_name_of_the_program_is_the_last_part_of_what_it_was_called_by() {
    let listener = Listener::start();
    let called = |name: &str| {
        Run::new("/bin/bash")
            .args(["-c", "name=$0 program=$1; shift; exec -a \"$name\" \"$program\" \"$@\"", name])
            .arg(pgsiphon())
    };
    for name in ["pg_basebackup", "./pg_basebackup", "/usr/lib/postgresql/15/bin/pg_basebackup"] {
        let outcome = called(name).arg("--bogus").run().expect_code(1);
        let expected = "pg_basebackup: error: unrecognized option '--bogus'\n\
                        pg_basebackup: hint: Try \"pg_basebackup --help\" for more information.\n";
        assert_eq!(outcome.stderr, expected, "{name}");
        let string = "host=127.0.0.1 port=PORT user=u sslmode=disable gssencmode=disable";
        let told = listener.told(called(name), &["-D", "/nonexistent/x", "-d", string]);
        assert_eq!(value(&told, "application_name"), "pg_basebackup", "{name}");
    }
}

#[test]
fn values_that_are_no_text() {
    let not_text = OsStr::from_bytes(b"a\xffb");
    let ours = Personality::named("pg_basebackup");
    for (option, name) in [("-l", "-l/--label"), ("-S", "-S/--slot"), ("-t", "-t/--target")] {
        let run = Run::new(ours.path()).args(["-D", "x", option]).arg(not_text);
        let expected = format!(
            "pg_basebackup: error: invalid value \"a\u{fffd}b\" for option {name}: not valid UTF-8\n"
        );
        assert_eq!(run.run().expect_code(1).stderr, expected);
    }
    // Paths may be any bytes.
    let cluster = Cluster::builder(18).start();
    let scratch = scratch_directory();
    let out: PathBuf = scratch.path().join(not_text);
    Run::new(ours.path())
        .args(["-N", "-c", "fast", "-Xn", "-d", &cluster.conninfo(), "-T"])
        .arg(OsStr::from_bytes(b"/a\xff=/b\xff"))
        .arg("-D")
        .arg(&out)
        .run()
        .expect_success();
    assert!(out.join("backup_manifest").exists());
}
