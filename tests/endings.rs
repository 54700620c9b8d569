//! What a backup leaves on the server, however it ends: a slot that it created goes again, any other stays and is named
//! with what it costs. The directories are the subject of `clean_up.rs` and `signals.rs`.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use support::lied_to::LiedTo;
use support::scripted_backup_server::{Delivery, Session, Step, answered, welcome};
use support::{
    Cluster, DEADLINE, Personality, Running, backup, backup_sender, scratch_directory, start_slow_backup,
    wait_for, wait_until_nothing_replicates, wal_sender,
};

const MAJOR: u16 = 15;

const DROPPED: &str = "pg_basebackup: dropped replication slot \"s\", which this run had created\n";

const COSTS: &str = "pg_basebackup: detail: While nothing streams from it, the server keeps all write-ahead log for \
                     it, until its disk is full.\n\
                     pg_basebackup: hint: If it is not needed, drop it on the server: SELECT \
                     pg_drop_replication_slot('s');\n";

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

fn slots(cluster: &Cluster) -> String {
    cluster.psql("SELECT string_agg(slot_name || ' ' || temporary, ',') FROM pg_replication_slots")
}

/// A backup that is under way, with its WAL.
fn under_way(cluster: &Cluster, program: &Personality, directory: &Path, options: &[&str]) -> Running {
    let out = directory.join("out");
    start_slow_backup(cluster, program.path(), &[options, &["-D", out.to_str().unwrap()]].concat())
}

/// What a failure, and a signal, do to the slot; each check leaves the server as it was.
#[test]
fn bb_119_a_slot_that_the_run_created_is_dropped_again() {
    // No more connections than the backup needs: those of the backup have to go first.
    let cluster = Cluster::builder(MAJOR).setting("max_wal_senders", "2").start();
    let program = Personality::named("pg_basebackup");
    for format in ["-Fp", "-Ft"] {
        let directory = scratch_directory();
        let running = under_way(&cluster, &program, directory.path(), &[format, "-C", "-S", "s"]);
        assert_eq!(slots(&cluster), "s false");
        signal(backup_sender(&cluster), Signal::TERM);
        let outcome = running.finish().expect_code(1);
        assert!(outcome.stderr.contains("removing data directory"), "{}", outcome.stderr);
        assert!(outcome.stderr.ends_with(DROPPED), "{}", outcome.stderr);
        wait_until_nothing_replicates(&cluster);
    }
    // The receiver is the one that fails.
    let directory = scratch_directory();
    let running = under_way(&cluster, &program, directory.path(), &["-C", "-S", "s", "-n"]);
    signal(wal_sender(&cluster), Signal::TERM);
    assert!(running.finish().expect_code(1).stderr.ends_with(DROPPED));
    wait_until_nothing_replicates(&cluster);

    for ending in [Signal::INT, Signal::TERM, Signal::HUP] {
        let directory = scratch_directory();
        let mut running = under_way(&cluster, &program, directory.path(), &["-C", "-S", "s"]);
        running.signal(ending);
        let outcome = running.finish();
        assert_eq!(outcome.signal(), Some(ending.as_raw()), "{}", outcome.stderr);
        assert!(outcome.stderr.ends_with(DROPPED), "{}", outcome.stderr);
        wait_until_nothing_replicates(&cluster);
    }

    // One that is refused because there is one of that name is somebody else's.
    cluster.psql("SELECT pg_create_physical_replication_slot('s')");
    let directory = scratch_directory();
    let outcome = backup(&cluster, program.path())
        .args(["-cfast", "-C", "-S", "s", "-D"])
        .arg(directory.path().join("out"))
        .run()
        .expect_code(1);
    assert!(outcome.stderr.contains("replication slot \"s\" already exists"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("dropped"), "{}", outcome.stderr);
    assert_eq!(slots(&cluster), "s false");
}

#[test]
fn bb_119_a_slot_that_stays_is_named_with_what_it_costs() {
    let mut cluster = Cluster::builder(MAJOR).start();
    let program = Personality::named("pg_basebackup");

    // One that was there before.
    cluster.psql("SELECT pg_create_physical_replication_slot('s')");
    let directory = scratch_directory();
    let running = under_way(&cluster, &program, directory.path(), &["-S", "s"]);
    signal(backup_sender(&cluster), Signal::TERM);
    let stderr = running.finish().expect_code(1).stderr;
    let stays = format!("pg_basebackup: replication slot \"s\" stays\n{COSTS}");
    assert!(stderr.ends_with(&stays), "{stderr}");
    assert_eq!(slots(&cluster), "s false");
    let outcome = backup(&cluster, program.path())
        .args(["-cfast", "-S", "none", "-D"])
        .arg(directory.path().join("out"))
        .run()
        .expect_code(1);
    assert!(!outcome.stderr.contains(" stays\n"), "there is none: {}", outcome.stderr);
    cluster.psql("SELECT pg_drop_replication_slot('s')");

    // One whose server keeps it in use, until the user loses patience.
    let directory = scratch_directory();
    let mut running = under_way(&cluster, &program, directory.path(), &["-C", "-S", "s"]);
    let sender = wal_sender(&cluster);
    signal(sender, Signal::STOP);
    running.signal(Signal::TERM);
    let dropping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DROP_REPLICATION_SLOT%'";
    wait_for("the slot to be waited for", DEADLINE, || cluster.psql(dropping) == "1");
    running.signal(Signal::INT);
    let outcome = running.finish();
    assert_eq!(outcome.signal(), Some(Signal::TERM.as_raw()), "{}", outcome.stderr);
    let warning = "pg_basebackup: warning: could not drop replication slot \"s\", which this run has created: interrupted\n";
    assert!(outcome.stderr.ends_with(&format!("{warning}{COSTS}")), "{}", outcome.stderr);
    // The server has heard the command and obeys when it can.
    signal(sender, Signal::CONT);
    wait_until_nothing_replicates(&cluster);

    // Nothing can be said or done after this signal: all stays, and nothing passes for a backup.
    let directory = scratch_directory();
    let mut running = under_way(&cluster, &program, directory.path(), &["-C", "-S", "s"]);
    running.signal(Signal::KILL);
    assert_eq!(running.finish().signal(), Some(Signal::KILL.as_raw()));
    assert_eq!(slots(&cluster), "s false");
    let out = directory.path().join("out");
    assert!(out.join("backup_label").exists() && !out.join("backup_manifest").exists());
    wait_for("the slot to be free", DEADLINE, || {
        cluster.psql(
            "SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots WHERE NOT active",
        ) == "1"
    });

    // One whose server has gone.
    let directory = scratch_directory();
    let running = under_way(&cluster, &program, directory.path(), &["-C", "-S", "s"]);
    cluster.crash();
    let stderr = running.finish().expect_code(1).stderr;
    let warning = "pg_basebackup: warning: could not drop replication slot \"s\", which this run has created: \
                   connection to server at ";
    assert!(stderr.contains(warning) && stderr.ends_with(COSTS), "{stderr}");
    assert!(fs::read_dir(directory.path()).unwrap().next().is_none());
}

/// The server goes away when it should answer: only it knows whether there is a slot, and whose that is.
#[test]
fn bb_119_a_slot_that_may_have_been_created_is_named_and_left_alone() {
    let mut asked_for_slot = welcome("15.18");
    asked_for_slot.extend(answered(&["0700"]));
    asked_for_slot.push(Step::Await);
    let session = Session { second_connection: Some(asked_for_slot), ..Session::honest() };
    let stderr = LiedTo::new().refuse(&session, Delivery::default(), &["-Xstream", "-C", "-S", "s"]);
    let warning = "pg_basebackup: warning: server did not say whether replication slot \"s\" was created; if so, it \
                   stays\n";
    assert!(stderr.ends_with(&format!("{warning}{COSTS}")), "{stderr}");
}
