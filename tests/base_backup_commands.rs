//! The commands that the program sends are those of the real `pg_basebackup`, word for word, in the same order, on
//! the same connections; and of two things that are wrong, the same one is met first.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::path::Path;

use support::base_backup::{BackupProgram, timeless_text};
use support::{Attempt, Cluster, DEADLINE, Installation, Personality, scratch_directory, wait_for};

/// A server that logs every statement, too, and has a tablespace.
fn cluster(major: u16) -> Cluster {
    let cluster = Cluster::builder(major).setting("log_statement", "all").start();
    let location = cluster.make_directory("space");
    cluster.psql(&format!("CREATE TABLESPACE space LOCATION '{}'", location.display()));
    cluster.psql("SELECT pg_create_physical_replication_slot('there')");
    cluster
}

/// One command on one connection.
#[derive(Debug, PartialEq, Eq)]
struct Command {
    /// The number of the connection, in the order in which they were made.
    connection: usize,
    /// The name that the client gives itself.
    application: String,
    /// What positions and slots are called does not matter, nor how many blanks there are.
    text: String,
}

/// The commands that replication connections have sent, from `offset` in the log on, in their order.
fn commands(cluster: &Cluster, offset: usize) -> Vec<Command> {
    let log = cluster.log();
    let mut connections = Vec::new();
    let mut commands = Vec::new();
    for line in log[offset..].lines() {
        let Some((prefix, text)) = line.split_once("LOG:  ") else { continue };
        let kinds = ["received replication command: ", "statement: "];
        let Some(text) = kinds.iter().find_map(|kind| text.strip_prefix(kind)) else { continue };
        let (process, application) = prefix.split_once('[').unwrap().1.split_once("] ").unwrap();
        if application.trim_end() == "psql" {
            continue;
        }
        let known = connections.iter().position(|connection| connection == process);
        let connection = known.unwrap_or_else(|| {
            connections.push(process.to_owned());
            connections.len() - 1
        });
        let words: Vec<&str> = text.split_whitespace().collect();
        let text = words.join(" ").replace("( ", "(");
        let text = timeless_text(&text).concat();
        commands.push(Command { connection, application: application.trim_end().to_owned(), text });
    }
    commands
}

/// Takes a backup of the cluster and gives the commands that it needed.
fn commands_of_backup(cluster: &Cluster, program: &BackupProgram, options: &[&str]) -> Vec<Command> {
    wait_for("the slots to be free", DEADLINE, || {
        cluster.psql("SELECT count(*) FROM pg_replication_slots WHERE active") == "0"
    });
    let made =
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'made'";
    cluster.psql(made);
    let scratch = scratch_directory();
    let [old, new] = [cluster.data_dir().with_file_name("space"), scratch.path().join("space")];
    let offset = cluster.log().len();
    let run = program.back_up(cluster, &scratch.path().join("backup"));
    let mapping = format!("-T{}={}", old.display(), new.display());
    run.args(["--no-sync", &mapping]).args(options).run().expect_success();
    commands(cluster, offset)
}

#[track_caller]
fn same_commands_are_sent(major: u16) {
    let cluster = cluster(major);
    let (real, ours) = (BackupProgram::real(&cluster), BackupProgram::ours());
    for (options, connections) in [
        (&[][..], 2),
        (&["--wal-method=fetch", "--format=tar", "--progress"], 1),
        (&["--no-slot", "--write-recovery-conf"], 2),
        (&["--create-slot", "--slot=made", "--no-manifest"], 2),
    ] {
        let [theirs, ours] = [&real, &ours].map(|program| commands_of_backup(&cluster, program, options));
        assert_eq!(theirs, ours, "{options:?}");
        assert_eq!(ours.last().unwrap().connection + 1, connections, "{options:?}: {ours:#?}");
    }
}

/// The order that operators know: nothing is asked of the server that is not needed.
#[test]
fn bb_071_bb_072_commands_in_their_order() {
    let cluster = cluster(18);
    let commands = commands_of_backup(&cluster, &BackupProgram::ours(), &[]);
    let commands: Vec<_> = commands
        .iter()
        .map(|Command { connection, application, text }| {
            assert_eq!(application, "pg_basebackup");
            format!("{connection}: {text}")
        })
        .collect();
    assert_eq!(
        commands,
        [
            "0: SHOW data_directory_mode",
            "0: SHOW wal_segment_size",
            "0: IDENTIFY_SYSTEM",
            "0: BASE_BACKUP (LABEL 'pg_basebackup base backup', PROGRESS, CHECKPOINT 'fast', WAIT 0, \
             MANIFEST 'yes', TARGET 'client')",
            "1: SHOW data_directory_mode",
            "1: CREATE_REPLICATION_SLOT \"pg_basebackup_N\" TEMPORARY PHYSICAL (RESERVE_WAL)",
            "1: IDENTIFY_SYSTEM",
            "1: START_REPLICATION SLOT \"pg_basebackup_N\" X/X TIMELINE 1",
        ]
    );
}

macro_rules! same_commands {
    ($($name:ident: $major:literal;)*) => {
        $( #[test] fn $name() { same_commands_are_sent($major); } )*
    };
}

same_commands! {
    bb_071_bb_072_same_commands_with_postgresql_10: 10;
    bb_071_bb_072_same_commands_with_postgresql_14: 14;
    bb_071_bb_072_same_commands_with_postgresql_15: 15;
    bb_071_bb_072_same_commands_with_postgresql_18: 18;
}

/// What is asked for, besides a label that the server refuses so that nothing more happens; and what stands
/// behind that label in the command.
const REQUESTS: [(&[&str], &str); 24] = [
    (&[], "PROGRESS, WAIT 0, MANIFEST 'yes', TARGET 'client'"),
    (&["-cspread", "-Xstream", "-Fplain"], "PROGRESS, WAIT 0, MANIFEST 'yes', TARGET 'client'"),
    (&["-cfast"], "PROGRESS, CHECKPOINT 'fast', WAIT 0, MANIFEST 'yes', TARGET 'client'"),
    (&["-P"], "PROGRESS, WAIT 0, MANIFEST 'yes', TARGET 'client'"),
    (&["--no-estimate-size"], "WAIT 0, MANIFEST 'yes', TARGET 'client'"),
    (&["-Xn"], "PROGRESS, MANIFEST 'yes', TARGET 'client'"),
    (&["-Xf"], "PROGRESS, WAL, WAIT 0, MANIFEST 'yes', TARGET 'client'"),
    (&["-Ft"], "PROGRESS, WAIT 0, TABLESPACE_MAP, MANIFEST 'yes', TARGET 'client'"),
    (&["-Ft", "-Xn"], "PROGRESS, TABLESPACE_MAP, MANIFEST 'yes', TARGET 'client'"),
    (&["-Ft", "-Xf"], "PROGRESS, WAL, WAIT 0, TABLESPACE_MAP, MANIFEST 'yes', TARGET 'client'"),
    (&["-r32"], "PROGRESS, WAIT 0, MAX_RATE 32, MANIFEST 'yes', TARGET 'client'"),
    (&["-r", "1023.9M"], "PROGRESS, WAIT 0, MAX_RATE 1048473, MANIFEST 'yes', TARGET 'client'"),
    (&["-r", " 33.9 k "], "PROGRESS, WAIT 0, MAX_RATE 33, MANIFEST 'yes', TARGET 'client'"),
    (&["--no-verify-checksums"], "PROGRESS, WAIT 0, VERIFY_CHECKSUMS 0, MANIFEST 'yes', TARGET 'client'"),
    (&["--no-manifest"], "PROGRESS, WAIT 0, TARGET 'client'"),
    (&["--manifest-force-encode"], "PROGRESS, WAIT 0, MANIFEST 'force-encode', TARGET 'client'"),
    (
        &["--manifest-checksums=Sha224"],
        "PROGRESS, WAIT 0, MANIFEST 'yes', MANIFEST_CHECKSUMS 'Sha224', TARGET 'client'",
    ),
    (
        &["--manifest-force-encode", "--manifest-checksums=it's\\"],
        "PROGRESS, WAIT 0, MANIFEST 'force-encode', MANIFEST_CHECKSUMS 'it''s\\', TARGET 'client'",
    ),
    (&["-R", "-N", "-n", "-v", "-s1", "--no-slot"], "PROGRESS, WAIT 0, MANIFEST 'yes', TARGET 'client'"),
    (&["-t", "client"], "PROGRESS, WAIT 0, MANIFEST 'yes', TARGET 'client'"),
    (
        &["-Ft", "-Xf", "-cfast", "-r1M", "--no-verify-checksums", "--manifest-force-encode"],
        "PROGRESS, WAL, CHECKPOINT 'fast', WAIT 0, MAX_RATE 1024, TABLESPACE_MAP, VERIFY_CHECKSUMS 0, \
         MANIFEST 'force-encode', TARGET 'client'",
    ),
    (
        &["-Xn", "-cfast", "--no-estimate-size", "--no-manifest", "--no-verify-checksums"],
        "CHECKPOINT 'fast', VERIFY_CHECKSUMS 0, TARGET 'client'",
    ),
    (&["-Xn", "--no-estimate-size", "--no-manifest"], "TARGET 'client'"),
    (
        &["-r64", "-r128", "-cfast", "-cspread"],
        "PROGRESS, WAIT 0, MAX_RATE 128, MANIFEST 'yes', TARGET 'client'",
    ),
];

/// What only servers from 15 on can be asked for.
const TARGETS: [(&[&str], &str); 8] = [
    (
        &["-t", "blackhole", "-Xn"],
        "PROGRESS, MANIFEST 'yes', TABLESPACE_MAP, TARGET 'blackhole', COMPRESSION 'none'",
    ),
    (
        &["-t", "server:/it's/a:b", "-Xf"],
        "PROGRESS, WAL, WAIT 0, MANIFEST 'yes', TABLESPACE_MAP, TARGET 'server', TARGET_DETAIL '/it''s/a:b', \
         COMPRESSION 'none'",
    ),
    (
        &["-t", "server:", "-Xn", "-z", "--no-manifest"],
        "PROGRESS, TABLESPACE_MAP, TARGET 'server', TARGET_DETAIL '', COMPRESSION 'gzip'",
    ),
    (
        &["-t", "blackhole", "-Xn", "-Zserver-zstd:level=3,workers=2"],
        "PROGRESS, MANIFEST 'yes', TABLESPACE_MAP, TARGET 'blackhole', COMPRESSION 'zstd', \
         COMPRESSION_DETAIL 'level=3,workers=2'",
    ),
    (&["-Zserver-lz4"], "PROGRESS, WAIT 0, MANIFEST 'yes', TARGET 'client', COMPRESSION 'lz4'"),
    (
        &["-Zserver-gzip:9", "-Ft"],
        "PROGRESS, WAIT 0, TABLESPACE_MAP, MANIFEST 'yes', TARGET 'client', COMPRESSION 'gzip', \
         COMPRESSION_DETAIL '9'",
    ),
    (&["-Zclient-gzip:9", "-Ft"], "PROGRESS, WAIT 0, TABLESPACE_MAP, MANIFEST 'yes', TARGET 'client'"),
    (&["-Znone"], "PROGRESS, WAIT 0, MANIFEST 'yes', TARGET 'client'"),
];

/// Asks for a backup that the server refuses, and gives what it was asked for, without the label.
fn request(cluster: &Cluster, program: &Path, options: &[&str]) -> String {
    let label = "x".repeat(1025);
    let scratch = scratch_directory();
    let offset = cluster.log().len();
    let mut run = support::Run::new(program).args(["-d", &cluster.conninfo(), "-l", &label]);
    if !options.contains(&"-t") || options.contains(&"client") {
        run = run.arg("-D").arg(scratch.path().join("out"));
    }
    let stderr = run.args(options).run().expect_code(1).stderr;
    assert!(stderr.contains("could not initiate base backup: ERROR:  "), "{options:?}: {stderr}");
    let commands = commands(cluster, offset);
    let request = &commands.last().unwrap().text;
    assert!(request.contains(&label), "{options:?}: {request}");
    request.replace(&format!("LABEL '{label}'"), "LABEL")
}

#[track_caller]
fn requests_are_made_in_the_same_words(major: u16) {
    let cluster = cluster(major);
    let (real, ours) = (BackupProgram::real(&cluster), BackupProgram::ours());
    for (options, expected) in REQUESTS.iter().chain(&TARGETS) {
        let expected = format!("BASE_BACKUP (LABEL, {expected})");
        for program in [&real, &ours] {
            assert_eq!(request(&cluster, program.path(), options), expected, "{options:?}");
        }
    }
}

/// Before 15, each option is a word or two, and some are other words.
#[track_caller]
fn requests_are_made_in_the_old_words(major: u16) {
    let cluster = cluster(major);
    // Older programs cut the label off.
    let (real, ours) = (BackupProgram::real_of(15), BackupProgram::ours());
    for (options, expected) in REQUESTS.iter().filter(|(options, _)| !options.contains(&"-t")) {
        let mut expected = expected
            .replace("TARGET 'client'", "")
            .replace("CHECKPOINT 'fast'", "FAST")
            .replace("WAIT 0", "NOWAIT")
            .replace("VERIFY_CHECKSUMS 0", "NOVERIFY_CHECKSUMS");
        if major < 13 {
            let without_manifest = expected.split(", ").filter(|option| !option.starts_with("MANIFEST"));
            expected = without_manifest.collect::<Vec<_>>().join(", ");
        }
        let expected = format!("BASE_BACKUP LABEL {}", expected.replace(", ", " "));
        for program in [&real, &ours] {
            let request = request(&cluster, program.path(), options);
            assert_eq!(request.trim_end(), expected.trim_end(), "{options:?}");
        }
    }
}

macro_rules! requests {
    ($($name:ident: $words:ident of $major:literal;)*) => {
        $( #[test] fn $name() { $words($major); } )*
    };
}

requests! {
    bb_079_to_087_bb_090_requests_to_postgresql_12: requests_are_made_in_the_old_words of 12;
    bb_079_to_087_bb_090_requests_to_postgresql_14: requests_are_made_in_the_old_words of 14;
    bb_079_to_090_requests_to_postgresql_15: requests_are_made_in_the_same_words of 15;
    bb_079_to_090_requests_to_postgresql_18: requests_are_made_in_the_same_words of 18;
}

/// Two things are wrong at a time. `DIR/full` is a directory that is not empty.
const DOUBLE_FAULTS: [(&[&str], &str); 8] = [
    // Without a server nothing is touched.
    (
        &["-D", "DIR/full", "-p", "1"],
        "connection to server at \"127.0.0.1\", port 1 failed: Connection refused\n",
    ),
    // The directories come before everything that is asked for, each in its turn.
    (&["-D", "DIR/full", "--waldir", "DIR/full"], "directory \"DIR/full\" exists but is not empty\n"),
    (&["-D", "DIR/full", "-l", "LONG"], "directory \"DIR/full\" exists but is not empty\n"),
    (
        &["-D", "DIR/out", "--waldir", "DIR/full", "-l", "LONG"],
        "directory \"DIR/full\" exists but is not empty\n",
    ),
    // The backup is begun before tablespaces are looked at, and before WAL is asked for.
    (&["-D", "DIR/out", "-l", "LONG"], "could not initiate base backup: ERROR:  backup label too long"),
    (
        &["-D", "DIR/out", "-l", "LONG", "-C", "-S", "there", "-T", "OLD=DIR/new"],
        "could not initiate base backup: ERROR:  backup label too long",
    ),
    // A slot is not made for a backup that has no place.
    (
        &["-D", "DIR/out", "-C", "-S", "made", "-T", "OLD=DIR/full"],
        "directory \"DIR/full\" exists but is not empty\n",
    ),
    (
        &["-D", "DIR/out", "-S", "missing", "-T", "OLD=DIR/full"],
        "directory \"DIR/full\" exists but is not empty\n",
    ),
];

#[test]
fn bb_071_of_two_faults_the_first_in_the_order_is_met() {
    let cluster = cluster(18);
    let old = cluster.data_dir().with_file_name("space").display().to_string();
    let label = "x".repeat(1025);
    let fill = |directory: &Path| {
        fs::create_dir(directory.join("full")).unwrap();
        fs::write(directory.join("full/precious"), "").unwrap();
    };
    let real = Installation::find(18).client_program("pg_basebackup");
    let ours = Personality::named("pg_basebackup");
    for (arguments, expected) in DOUBLE_FAULTS {
        let arguments: Vec<String> =
            arguments.iter().map(|argument| argument.replace("OLD", &old).replace("LONG", &label)).collect();
        let arguments: Vec<&str> =
            ["-U", "postgres"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        let attempt = Attempt::new(&cluster, &arguments).prepare(fill);
        let [theirs, ours] = [real.as_path(), ours.path()].map(|program| attempt.with(program));
        assert_eq!(theirs.stderr, ours.stderr, "{arguments:?}");
        assert_eq!(theirs.left, ours.left, "{arguments:?}");
        let expected = format!("pg_basebackup: error: {expected}");
        assert!(ours.stderr.starts_with(&expected), "{arguments:?}: {}", ours.stderr);
        assert_eq!(cluster.psql("SELECT string_agg(slot_name, ' ') FROM pg_replication_slots"), "there");
    }
}
