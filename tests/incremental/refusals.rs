//! An increment that cannot be taken: the same words as from the real program, and nothing left.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::chain::summarizing;
use super::support::base_backup::BackupProgram;
use super::support::tree::hexadecimal;
use super::support::{Attempt, Cluster, Installation, Personality, StopMode, scratch_directory};

/// Both programs fail with status 1 and an error that begins with `expected`, say the same, and leave nothing.
#[track_caller]
fn both_refuse(cluster: &Cluster, arguments: &[&str], prepare: impl Fn(&Path), expected: &str) {
    let attempt =
        Attempt::new(cluster, &[&["-U", "postgres", "-D", "DIR/out", "-X", "none"], arguments].concat());
    let attempt = attempt.prepare(prepare);
    let real = attempt.with(&Installation::find(18).program("pg_basebackup"));
    let personality = Personality::named("pg_basebackup");
    let ours = attempt.with(personality.path());
    let is_expected = |line: &str| {
        line.strip_prefix("pg_basebackup: error: ").is_some_and(|line| line.starts_with(expected))
    };
    assert!(ours.stderr.split_inclusive('\n').any(is_expected), "{}", ours.stderr);
    assert_eq!(without_positions(&ours.stderr), without_positions(&real.stderr));
    for attempted in [real, ours] {
        assert_eq!(attempted.outcome.code(), Some(1));
        assert_eq!(attempted.left, Vec::<PathBuf>::new());
    }
}

/// Each attempt makes a checkpoint, and so is about other WAL.
fn without_positions(text: &str) -> String {
    let is_digit = |c: char| c.is_ascii_digit() || ('A'..='F').contains(&c);
    let is_position = |word: &str| {
        let word = word.trim_end_matches(['.', ',']);
        word.split_once('/').is_some_and(|(high, low)| high.chars().chain(low.chars()).all(is_digit))
    };
    text.split(' ').map(|word| if is_position(word) { "X/X" } else { word }).collect::<Vec<_>>().join(" ")
}

/// The manifest of a full backup of that server.
fn manifest_of(cluster: &Cluster) -> Vec<u8> {
    let scratch = scratch_directory();
    let full = scratch.path().join("full");
    BackupProgram::ours().back_up(cluster, &full).args(["-N", "-X", "none"]).run().expect_success();
    fs::read(full.join("backup_manifest")).unwrap()
}

/// The commands that a server got since its log was that long. Blanks in lists of options differ.
fn commands_since(cluster: &Cluster, length: usize) -> Vec<String> {
    let log = cluster.log();
    let lines = log[length..].lines();
    lines
        .filter_map(|line| line.split_once("received replication command: "))
        .map(|(_, command)| command.replace(",  ", ", ").replace("( ", "("))
        .collect()
}

#[test]
fn bb_113_and_114_manifests_that_cannot_be_used() {
    let cluster = summarizing(Cluster::builder(18)).start();
    let nothing = |_: &Path| {};
    let no_file = "could not open file \"DIR/none\": No such file or directory\n";
    both_refuse(&cluster, &["-i", "DIR/none"], nothing, no_file);
    let directory = |place: &Path| fs::create_dir(place.join("manifest")).unwrap();
    let is_directory = "could not read file \"DIR/manifest\": Is a directory\n";
    both_refuse(&cluster, &["-i", "DIR/manifest"], directory, is_directory);

    let sound = manifest_of(&cluster);
    let stranger = Cluster::builder(18).own_system_identifier().start();
    let identifier = |cluster: &Cluster| cluster.psql("SELECT system_identifier FROM pg_control_system()");
    let foreign = format!(
        "system identifier in backup manifest is {}, but database system identifier is {}\n",
        identifier(&stranger),
        identifier(&cluster)
    );
    let mut with_one_byte_more = sound.clone();
    with_one_byte_more.push(b'\n');
    let mut with_other_size = sound.clone();
    let size = sound.windows(8).position(|window| window == b"\"Size\": ").unwrap() + 8;
    with_other_size[size] = if sound[size] == b'1' { b'2' } else { b'1' };
    for (manifest, expected) in [
        (manifest_of(&stranger), foreign.as_str()),
        (
            manifest_of(&Cluster::builder(16).start()),
            "backup manifest version 1 does not support incremental backup\n",
        ),
        (Vec::new(), "could not parse backup manifest: "),
        (b"rubbish".to_vec(), "could not parse backup manifest: "),
        (sound[..sound.len() / 2].to_vec(), "could not parse backup manifest: "),
        (sound[..sound.len() - 1].to_vec(), "could not parse backup manifest: "),
        (with_one_byte_more, "manifest checksum mismatch\n"),
        (with_other_size, "manifest checksum mismatch\n"),
    ] {
        let write = |place: &Path| fs::write(place.join("manifest"), &manifest).unwrap();
        let expected = format!("could not upload manifest: ERROR:  {expected}");
        both_refuse(&cluster, &["-i", "DIR/manifest"], write, &expected);
    }
}

/// A manifest that the server would take and that is not laid out as servers do cannot be vouched for.
#[test]
fn bb_114_a_manifest_in_another_layout() {
    let cluster = summarizing(Cluster::builder(18)).start();
    let sound = String::from_utf8(manifest_of(&cluster)).unwrap();
    let (text, _) = sound.split_once("\"Manifest-Checksum\"").unwrap();
    let text = text.replace("\"Files\": [\n", "\"Files\": [");
    let digits = hexadecimal(&Sha256::digest(text.as_bytes()));
    let other = format!("{text}\"Manifest-Checksum\": \"{digits}\"}}\n");
    let write = |place: &Path| fs::write(place.join("manifest"), &other).unwrap();
    let attempt =
        Attempt::new(&cluster, &["-U", "postgres", "-D", "DIR/out", "-i", "DIR/manifest"]).prepare(write);
    let attempted = attempt.with(Personality::named("pg_basebackup").path());
    assert_eq!(
        attempted.stderr,
        "pg_basebackup: error: could not use backup manifest \"DIR/manifest\": could not parse backup manifest: \
         files are not listed one on a line\n\
         pg_basebackup: removing data directory \"DIR/out\"\n"
    );
    assert_eq!(attempted.outcome.code(), Some(1));
}

#[test]
fn bb_058_servers_that_know_no_increments() {
    for major in [15, 16] {
        let cluster = Cluster::builder(major).start();
        let expected = "server does not support incremental backup\n";
        both_refuse(&cluster, &["-i", "DIR/none"], |_| {}, expected);
    }
}

#[test]
fn bb_071_bb_072_bb_077_bb_112_the_manifest_goes_between_identification_and_backup() {
    let cluster = summarizing(Cluster::builder(18)).start();
    let manifest = manifest_of(&cluster);
    let personality = Personality::named("pg_basebackup");
    let programs = [Installation::find(18).program("pg_basebackup"), personality.path().to_owned()];
    let write = |place: &Path| fs::write(place.join("manifest"), &manifest).unwrap();
    let commands_of = |file: &str| {
        programs.each_ref().map(|program| {
            let before = cluster.log().len();
            let arguments = ["-U", "postgres", "-D", "DIR/out", "-X", "none", "-l", "it's", "-i", file];
            let attempted = Attempt::new(&cluster, &arguments).prepare(write).with(program);
            (attempted.outcome.code(), commands_since(&cluster, before))
        })
    };
    let before = ["SHOW data_directory_mode", "SHOW wal_segment_size", "IDENTIFY_SYSTEM"];
    let [theirs, ours] = commands_of("DIR/none");
    assert_eq!(ours, (Some(1), before.map(str::to_owned).to_vec()));
    assert_eq!(ours, theirs);
    let [theirs, ours] = commands_of("DIR/manifest");
    assert_eq!(ours, theirs);
    let (code, commands) = ours;
    assert_eq!(
        (code, &commands[..3], commands[3].as_str()),
        (Some(0), &before.map(str::to_owned)[..], "UPLOAD_MANIFEST")
    );
    assert!(commands[4].starts_with("BASE_BACKUP (INCREMENTAL, LABEL 'it''s', "), "{commands:?}");
    assert_eq!(commands.len(), 5);
}

#[test]
fn bb_267_servers_that_do_not_summarize_or_did_not() {
    let mut cluster = summarizing(Cluster::builder(18)).start();
    let manifest = manifest_of(&cluster);
    let write = |place: &Path| fs::write(place.join("manifest"), &manifest).unwrap();
    let refused = |cluster: &Cluster, expected: &str| {
        let expected = format!("could not initiate base backup: ERROR:  {expected}");
        both_refuse(cluster, &["-i", "DIR/manifest"], write, &expected);
    };
    let mut restart_with = |settings: &[&str]| {
        for setting in settings {
            cluster.psql(&format!("ALTER SYSTEM SET {setting}"));
        }
        cluster.stop(StopMode::Fast);
        cluster.start();
    };
    restart_with(&["summarize_wal = off"]);
    restart_with(&["wal_level = minimal", "max_wal_senders = 0"]);
    restart_with(&["wal_level = replica", "max_wal_senders = 10"]);
    refused(&cluster, "incremental backups cannot be taken unless WAL summarization is enabled\n");
    cluster.psql("ALTER SYSTEM SET summarize_wal = on");
    cluster.psql("SELECT pg_reload_conf()");
    refused(&cluster, "WAL summaries are required on timeline 1 from ");
}
