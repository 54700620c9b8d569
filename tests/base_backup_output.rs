//! What the program prints is, line for line, what the real `pg_basebackup` prints, and so are the commands that
//! it sends.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::path::Path;

use support::base_backup::BackupProgram;
use support::{Cluster, DEADLINE, scratch_directory, wait_for};

/// Long enough that a line with a file in it shows no more of the path, whose beginning differs.
const TABLESPACES: [&str; 2] = ["first_of_the_tablespaces", "second_of_the_tablespaces"];

/// A server with two tablespaces, so that there are three archives.
fn cluster_with_tablespaces(major: u16) -> Cluster {
    let cluster = Cluster::builder(major).start();
    for name in TABLESPACES {
        let location = cluster.make_directory(name);
        cluster.psql(&format!("CREATE TABLESPACE {name} LOCATION '{}'", location.display()));
        cluster
            .psql(&format!("CREATE TABLE in_{name} TABLESPACE {name} AS SELECT generate_series(1, 9999) i"));
    }
    // Else the first backup would make files that the second one has, too.
    cluster.psql("VACUUM (FREEZE)");
    cluster
}

/// Takes a backup into `backup` below a directory that is removed again, and gives what the program printed.
fn printed(program: &BackupProgram, cluster: &Cluster, options: &[&str]) -> Vec<String> {
    let scratch = scratch_directory();
    let mut run = program.back_up(cluster, Path::new("backup")).current_dir(scratch.path());
    for name in TABLESPACES {
        let [old, new] = [cluster.data_dir().with_file_name(name), scratch.path().join(name)];
        run = run.arg(format!("-T{}={}", old.display(), new.display()));
    }
    let outcome = run.args(options).run().expect_success();
    assert_eq!(outcome.stdout_text(), "");
    timeless(&outcome.stderr)
}

/// The lines of a text, with `X/X` for each position and `N` for the number of a temporary slot.
fn timeless(text: &str) -> Vec<String> {
    const SLOT: &str = "pg_basebackup_";
    let timeless_word = |word: &str| match word.split_once(SLOT) {
        Some((before, after)) => {
            format!("{before}{SLOT}N{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        None if is_position(word) => "X/X".to_owned(),
        None => word.to_owned(),
    };
    text.lines().map(|line| line.split(' ').map(timeless_word).collect::<Vec<_>>().join(" ")).collect()
}

fn is_position(word: &str) -> bool {
    let is_hexadecimal = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    word.split_once('/')
        .is_some_and(|(high, low)| is_hexadecimal(high) && is_hexadecimal(low) && low.len() > 6)
}

/// Without the progress reports that the server causes when a second has passed.
///
/// What is left are those at the end of an archive: the last one that counts it as missing, and the first one
/// that counts it as complete.
fn without_reports_by_time(lines: &[String]) -> Vec<String> {
    let complete =
        |line: &String| line.split_once("%), ").map(|(_, rest)| rest.split('/').next().unwrap().to_owned());
    let mut kept = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let this = complete(line);
        let before = index.checked_sub(1).and_then(|index| complete(&lines[index]));
        let after = lines.get(index + 1).and_then(complete);
        let is_first = before.is_some() && before != this;
        if this.is_none() || is_first || after != this {
            kept.push(line.clone());
        }
    }
    kept
}

#[track_caller]
fn same_lines_are_printed(major: u16) {
    let cluster = cluster_with_tablespaces(major);
    let (real, ours) = (BackupProgram::real(&cluster), BackupProgram::ours());
    for options in [
        &["--verbose"][..],
        &["-vN", "--wal-method=none"],
        &["-vN", "--wal-method=fetch", "--no-manifest", "--no-estimate-size"],
        &["-vN", "--no-slot", "--format=tar"],
        &["-PN"],
        &["-PN", "--wal-method=fetch", "--format=tar"],
        &["-vPN"],
        &["-vPN", "--wal-method=none", "--no-manifest"],
        &["-vPN", "--format=tar"],
    ] {
        let [theirs, ours] = [&real, &ours].map(|program| printed(program, &cluster, options));
        assert_eq!(without_reports_by_time(&theirs), without_reports_by_time(&ours), "{options:?}");
        assert!(!ours.iter().any(|line| line.trim_start().starts_with("0/")), "{options:?}: {ours:#?}");
    }
}

/// The commands that the server has logged from `offset` on, in their order.
fn commands(cluster: &Cluster, offset: usize) -> Vec<String> {
    let log = cluster.log();
    let commands = log[offset..].lines().filter_map(|line| {
        let (prefix, command) = line.split_once("LOG:  received replication command: ")?;
        let (_, application) = prefix.split_once("] ")?;
        // Blanks between words say nothing.
        let words: Vec<&str> = command.split_whitespace().collect();
        Some(format!("{application}{}", words.join(" ").replace("( ", "(")))
    });
    timeless(&commands.collect::<Vec<_>>().join("\n"))
}

#[track_caller]
fn same_commands_are_sent(major: u16) {
    let cluster = cluster_with_tablespaces(major);
    let (real, ours) = (BackupProgram::real(&cluster), BackupProgram::ours());
    cluster.psql("SELECT pg_create_physical_replication_slot('there')");
    for options in [
        &[][..],
        &["--wal-method=none", "--label=it's \"quoted\" \\ x"],
        &["--wal-method=fetch", "--checkpoint=fast", "--format=tar"],
        &["--wal-method=stream", "--no-slot", "--max-rate=512M", "--no-verify-checksums"],
        &["--slot=there", "--no-estimate-size", "--manifest-checksums=sha256"],
        &["--slot=there", "--no-manifest", "--max-rate=1023.9M"],
        &["--create-slot", "--slot=made", "--manifest-force-encode", "--format=tar"],
    ] {
        let [theirs, ours] = [&real, &ours].map(|program| {
            wait_for("the slots to be free", DEADLINE, || {
                cluster.psql("SELECT count(*) FROM pg_replication_slots WHERE active") == "0"
            });
            cluster.psql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'made'");
            let offset = cluster.log().len();
            printed(program, &cluster, &[&["--no-sync"], options].concat());
            commands(&cluster, offset)
        });
        assert_eq!(theirs, ours, "{options:?}");
        assert!(theirs.iter().any(|command| command.starts_with("pg_basebackup BASE_BACKUP")), "{theirs:#?}");
    }
}

macro_rules! with_each_version {
    ($($lines:ident, $commands:ident: $major:literal;)*) => {
        $(
            #[test] fn $lines() { same_lines_are_printed($major); }
            #[test] fn $commands() { same_commands_are_sent($major); }
        )*
    };
}

with_each_version! {
    bb_235_bb_251_bb_255_same_lines_with_postgresql_15, bb_071_bb_072_same_commands_with_postgresql_15: 15;
    bb_235_bb_251_bb_255_same_lines_with_postgresql_16, bb_071_bb_072_same_commands_with_postgresql_16: 16;
    bb_235_bb_251_bb_255_same_lines_with_postgresql_17, bb_071_bb_072_same_commands_with_postgresql_17: 17;
    bb_235_bb_251_bb_255_same_lines_with_postgresql_18, bb_071_bb_072_same_commands_with_postgresql_18: 18;
}
