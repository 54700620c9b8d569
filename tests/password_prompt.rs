//! Passwords that a person types, or does not.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use support::{Cluster, Personality, Run, Terminal, client_program, scratch_directory};

const MAJOR: u16 = 15;

fn cluster() -> Cluster {
    let cluster = Cluster::builder(MAJOR)
        .hba(
            "local all postgres trust\nhost all keeper all scram-sha-256\n\
             host replication keeper all scram-sha-256",
        )
        .start();
    cluster.psql("CREATE ROLE keeper LOGIN REPLICATION PASSWORD 'se\"cret'");
    cluster
}

fn arguments(cluster: &Cluster, out: &Path, more: &[&str]) -> Vec<String> {
    let conninfo = format!("host=127.0.0.1 port={} user=keeper", cluster.port());
    let base = ["-D", out.to_str().unwrap(), "-d", &conninfo, "-c", "fast", "--no-sync"];
    base.iter().chain(more).map(|&word| word.to_owned()).collect()
}

#[test]
fn bb_068_bb_069_bb_070_cn_279_a_typed_password_serves_both_connections() {
    let cluster = cluster();
    let program = Personality::named("pg_basebackup");
    for more in [&[][..], &["-W"]] {
        let directory = scratch_directory();
        let out = directory.path().join("out");
        let mut terminal = Terminal::start(program.path(), &arguments(&cluster, &out, more));
        terminal.wait_for("Password: ");
        terminal.type_keys("se\"cret\n");
        let (code, screen) = terminal.finish();
        assert_eq!(code, 0, "{screen}");
        // Asked once, and what was typed is not shown (CN-280).
        assert_eq!(screen, "Password: \r\n", "{more:?}");
        assert!(out.join("backup_manifest").exists() && out.join("pg_wal").exists());
    }
}

#[test]
fn cn_278_and_280_a_wrong_password_is_not_asked_for_again_and_never_seen() {
    let cluster = cluster();
    let program = Personality::named("pg_basebackup");
    for more in [&[][..], &["-W"]] {
        let directory = scratch_directory();
        let out = directory.path().join("out");
        let mut terminal = Terminal::start(program.path(), &arguments(&cluster, &out, more));
        terminal.wait_for("Password: ");
        terminal.type_keys("wrong\n");
        let (code, screen) = terminal.finish();
        let expected = format!(
            "Password: \r\npg_basebackup: error: connection to server at \"127.0.0.1\", port {} failed: FATAL:  \
             password authentication failed for user \"keeper\"\r\n",
            cluster.port()
        );
        assert_eq!((code, screen), (1, expected), "{more:?}");
        assert!(!out.exists());
    }
}

/// The key that interrupts does so at the prompt as well.
#[test]
fn bb_249_a_prompt_can_be_interrupted() {
    let cluster = cluster();
    let program = Personality::named("pg_basebackup");
    for more in [&[][..], &["-W"]] {
        let directory = scratch_directory();
        let out = directory.path().join("out");
        let mut terminal = Terminal::start(program.path(), &arguments(&cluster, &out, more));
        terminal.wait_for("Password: ");
        terminal.type_keys("\x03");
        let (code, screen) = terminal.finish();
        assert_eq!(code, 128 + 2, "{more:?}: {screen}");
        assert_eq!(screen.matches("Password").count(), 1, "{screen}");
        assert!(!out.exists());
    }
}

/// Nobody is asked again where what is typed can be seen.
#[test]
fn cn_282_the_end_of_the_input_at_a_terminal() {
    let cluster = cluster();
    let program = Personality::named("pg_basebackup");
    for more in [&[][..], &["-W"]] {
        let directory = scratch_directory();
        let out = directory.path().join("out");
        let mut terminal = Terminal::start(program.path(), &arguments(&cluster, &out, more));
        terminal.wait_for("Password: ");
        terminal.type_keys("\x04");
        let (code, screen) = terminal.finish();
        let expected = "Password: \r\npg_basebackup: error: ";
        assert!(code == 1 && screen.starts_with(expected), "{more:?}: {code} {screen}");
        assert!(screen.contains("fe_sendauth: no password supplied"), "{screen}");
    }
}

/// Without a terminal the question goes to standard error and the answer comes from standard input. The
/// original asks for ever when nothing comes.
#[test]
fn cn_281_cn_282_the_end_of_the_input_ends_the_program() {
    let cluster = cluster();
    let program = Personality::named("pg_basebackup");
    for more in [&[][..], &["-W"]] {
        let directory = scratch_directory();
        let out = directory.path().join("out");
        let outcome = Run::new("/usr/bin/setsid")
            .arg("--wait")
            .arg(program.path())
            .args(arguments(&cluster, &out, more))
            .run()
            .expect_code(1);
        let expected = format!(
            "Password: \npg_basebackup: error: connection to server at \"127.0.0.1\", port {} failed: \
             fe_sendauth: no password supplied\n",
            cluster.port()
        );
        assert!(outcome.stderr.starts_with(&expected), "{more:?}: {}", outcome.stderr);
        assert!(!out.exists());
    }
}

#[test]
fn cn_281_an_answer_on_standard_input() {
    let cluster = cluster();
    let ours = Personality::named("pg_basebackup");
    for program in [ours.path(), &client_program("pg_basebackup")] {
        let directory = scratch_directory();
        let out = directory.path().join("out");
        let mut child = Command::new("/usr/bin/setsid")
            .arg("--wait")
            .arg(program)
            .args(arguments(&cluster, &out, &[]))
            .env_clear()
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"se\"cret\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "Password: \n", "{}", program.display());
        assert!(output.status.success() && out.join("backup_manifest").exists());
    }
}

#[test]
fn cn_275_without_a_prompt_nobody_is_asked() {
    let cluster = cluster();
    let program = Personality::named("pg_basebackup");
    let directory = scratch_directory();
    let out = directory.path().join("out");
    let (code, screen) = Terminal::start(program.path(), &arguments(&cluster, &out, &["-w"])).finish();
    assert!(code == 1 && !screen.contains("Password"), "{screen}");
}
