//! What a backup leaves on the server, however it ends: a slot that it created goes again, any other stays and is named
//! with what it costs. The directories are the subject of `clean_up.rs` and `signals.rs`.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use support::failing_calls::FailingCalls;
use support::lied_to::LiedTo;
use support::message_proxy::{Fate, Harm, MessageProxy, Moment, Place};
use support::scripted_backup_server::{
    Delivery, START, SYSTEM_IDENTIFIER, Session, Step, answered, error, message, welcome,
};
use support::{
    Cluster, DEADLINE, Personality, Run, Running, backup, backup_sender, scratch_directory,
    start_slow_backup, wait_for, wait_until_nothing_replicates, wal_sender,
};

const MAJOR: u16 = 15;

const DROPPED: &str = "pg_basebackup: dropped replication slot \"s\", which this run had created\n";

const COSTS: &str = "pg_basebackup: detail: While nothing streams from it, the server keeps all write-ahead log for \
                     it, until its disk is full.\n\
                     pg_basebackup: hint: If it is not needed, drop it on the server: SELECT \
                     pg_drop_replication_slot('s');\n";

const DETAIL: &str = "pg_basebackup: detail: While nothing streams from it, the server keeps all write-ahead log for \
                      it, until its disk is full.\n";

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

fn slots(cluster: &Cluster) -> String {
    cluster.psql("SELECT string_agg(slot_name || ' ' || temporary, ',') FROM pg_replication_slots")
}

fn server(cluster: &Cluster) -> String {
    format!("server at \"127.0.0.1\", port {}", cluster.port())
}

fn drop_once_free(cluster: &Cluster) {
    wait_for("the slot to be free", DEADLINE, || {
        cluster.psql(
            "SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots WHERE NOT active",
        ) == "1"
    });
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
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
    // What fails is here: everything that was written stays, and the slot goes.
    let directory = scratch_directory();
    let full = FailingCalls::only("write", Errno::NOSPC, 40);
    let run = backup(&cluster, program.path()).args(["-cfast", "-C", "-S", "s", "-n", "-D"]);
    let run = run.arg(directory.path().join("out"));
    let stderr = full.inject(run, directory.path()).run().expect_code(1).stderr;
    assert!(stderr.contains("No space left on device") && stderr.ends_with(DROPPED), "{stderr}");
    wait_until_nothing_replicates(&cluster);

    // What the connection of the slot brings is of another place, but the connection is sound.
    let directory = scratch_directory();
    let elsewhere = [&b"w"[..], &[9; 24], b"WAL"].concat();
    let skipped = Fate::Harmed(Moment::new("dw", 1), Harm::Inject(message(b'd', &elsewhere)));
    let proxy = MessageProxy::start(cluster.port(), vec![Fate::Clean, skipped]);
    let options = ["--no-sync", "-cfast", "-C", "-S", "s", "-d", &proxy.conninfo(), "-D"];
    let run = Run::new(program.path()).args(options).arg(directory.path().join("out"));
    let stderr = run.run().expect_code(1).stderr;
    assert!(stderr.ends_with(DROPPED), "{stderr}");
    wait_until_nothing_replicates(&cluster);

    // The last thing that can fail.
    let directory = scratch_directory();
    let rename = FailingCalls::all("rename", Errno::IO).on("backup_manifest");
    let run = backup(&cluster, program.path()).args(["-cfast", "-C", "-S", "s", "-D"]);
    let run = run.arg(directory.path().join("out"));
    let stderr = rename.inject(run, directory.path()).run().expect_code(1).stderr;
    assert!(stderr.contains("Input/output error") && stderr.ends_with(DROPPED), "{stderr}");
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
    assert!(stderr.ends_with(&format!("pg_basebackup: replication slot \"s\" stays\n{DETAIL}")), "{stderr}");
    assert_eq!(slots(&cluster), "s false");
    let outcome = backup(&cluster, program.path())
        .args(["-cfast", "-S", "none", "-D"])
        .arg(directory.path().join("out"))
        .run()
        .expect_code(1);
    assert!(!outcome.stderr.contains(" stays\n"), "there is none: {}", outcome.stderr);
    cluster.psql("SELECT pg_drop_replication_slot('s')");

    // One whose server does not answer, until the user loses patience.
    let directory = scratch_directory();
    let mut running = under_way(&cluster, &program, directory.path(), &["-C", "-S", "s"]);
    let sender = wal_sender(&cluster);
    signal(sender, Signal::STOP);
    running.signal(Signal::TERM);
    // By now the first signal has been heard.
    wait_for("the directory to go", DEADLINE, || is_empty(directory.path()));
    running.signal(Signal::INT);
    let outcome = running.finish();
    assert_eq!(outcome.signal(), Some(Signal::INT.as_raw()), "{}", outcome.stderr);
    let created = format!("replication slot \"s\", which this run has created on {}", server(&cluster));
    let warning = format!("pg_basebackup: warning: {created}, may still be there\n{COSTS}");
    assert!(outcome.stderr.ends_with(&warning), "{}", outcome.stderr);
    signal(sender, Signal::CONT);
    drop_once_free(&cluster);

    // One whose connection the server ends.
    let directory = scratch_directory();
    let running = under_way(&cluster, &program, directory.path(), &["-C", "-S", "s"]);
    signal(wal_sender(&cluster), Signal::TERM);
    let stderr = running.finish().expect_code(1).stderr;
    let lost = format!(
        "pg_basebackup: warning: could not drop {created}: the connection that created it can no longer be used\n{COSTS}"
    );
    assert!(stderr.ends_with(&lost), "{stderr}");
    drop_once_free(&cluster);

    // Nothing can be said or done after this signal: all stays, and nothing passes for a backup.
    let directory = scratch_directory();
    let mut running = under_way(&cluster, &program, directory.path(), &["-C", "-S", "s"]);
    running.signal(Signal::KILL);
    assert_eq!(running.finish().signal(), Some(Signal::KILL.as_raw()));
    assert_eq!(slots(&cluster), "s false");
    let out = directory.path().join("out");
    assert!(out.join("backup_label").exists() && !out.join("backup_manifest").exists());
    drop_once_free(&cluster);

    // One whose server has gone.
    let directory = scratch_directory();
    let running = under_way(&cluster, &program, directory.path(), &["-C", "-S", "s"]);
    cluster.crash();
    let stderr = running.finish().expect_code(1).stderr;
    assert!(stderr.ends_with(&lost), "{stderr}");
    assert!(is_empty(directory.path()));
}

/// The server goes away when it should answer: only it knows whether there is a slot, and whose that is.
#[test]
fn bb_119_a_slot_that_may_have_been_created_is_named_and_left_alone() {
    let mut asked_for_slot = welcome("15.18");
    asked_for_slot.extend(answered(&["0700"]));
    asked_for_slot.push(Step::Await);
    // The server is told to end after it has created it, and says no more than that.
    let mut told_to_end = asked_for_slot.clone();
    let end = error("FATAL", "57P01", "terminating connection due to administrator command");
    told_to_end.push(Step::Say(end));
    let warning = "did not say whether replication slot \"s\" was created; if so, it stays\n";
    for script in [asked_for_slot, told_to_end] {
        let session = Session { second_connection: Some(script), ..Session::honest() };
        let stderr = LiedTo::new().refuse(&session, Delivery::default(), &["-Xstream", "-C", "-S", "s"]);
        assert!(stderr.contains("pg_basebackup: warning: server at \"127.0.0.1\", port "), "{stderr}");
        assert!(stderr.ends_with(&format!("{warning}{COSTS}")), "{stderr}");
    }
}

/// It was asked for, and is not known to be there; nothing is said of it.
#[test]
fn bb_119_a_slot_is_named_only_once_the_server_has_spoken_of_it() {
    let cluster = Cluster::builder(MAJOR).start();
    let program = Personality::named("pg_basebackup");
    let run = |conninfo: &str, directory: &Path| {
        let out = directory.join("out");
        let options = ["--no-sync", "-cfast", "-S", "s", "-d", conninfo, "-D"];
        let stderr = Run::new(program.path()).args(options).arg(out).run().expect_code(1).stderr;
        assert!(stderr.contains("error: "), "{stderr}");
        stderr
    };
    let directory = scratch_directory();
    for fate in [Fate::Refused, Fate::Harmed(Moment::new("W", 1), Harm::Cut(Place::Before))] {
        let proxy = MessageProxy::start(cluster.port(), vec![Fate::Clean, fate]);
        let stderr = run(&proxy.conninfo(), directory.path());
        assert!(!stderr.contains(" stays"), "{stderr}");
    }

    // One that is in use by somebody else is there.
    cluster.psql("SELECT pg_create_physical_replication_slot('s')");
    let other = scratch_directory();
    let mut user = under_way(&cluster, &program, other.path(), &["-S", "s"]);
    let stderr = run(&cluster.conninfo(), directory.path());
    assert!(stderr.contains("is active for PID"), "{stderr}");
    assert!(stderr.ends_with(&format!("pg_basebackup: replication slot \"s\" stays\n{DETAIL}")), "{stderr}");
    user.signal(Signal::TERM);
    drop(user);
}

/// The server says nothing any more: neither to the backup nor about the slot.
#[test]
fn bb_119_a_silent_server_is_waited_for_for_5_seconds_in_all() {
    let cluster = Cluster::builder(MAJOR).start();
    let program = Personality::named("pg_basebackup");
    let directory = scratch_directory();
    let stalls = Fate::Harmed(Moment::new("dw", 1), Harm::Stall(Place::Inside));
    let proxy = MessageProxy::start(cluster.port(), vec![Fate::Clean, stalls]);
    let conninfo = proxy.conninfo();
    let mut running =
        under_way(&cluster, &program, directory.path(), &["-Xstream", "-C", "-S", "s", "-d", &conninfo]);
    wal_sender(&cluster);
    running.signal(Signal::TERM);
    let told = Instant::now();
    let outcome = running.finish();
    assert_eq!(outcome.signal(), Some(Signal::TERM.as_raw()), "{}", outcome.stderr);
    let silent = format!(": no answer from the server within 5 seconds\n{COSTS}");
    assert!(outcome.stderr.ends_with(&silent), "{}", outcome.stderr);
    // What it takes beyond that is the machine's.
    assert!(told.elapsed() < Duration::from_secs(9), "{:?}", told.elapsed());
}

/// After an error the server waits for the next command.
#[test]
fn bb_119_a_slot_is_dropped_also_where_the_server_ends_the_stream_with_an_error() {
    let mut refused_stream = welcome("15.18");
    for answer in [&["0700"][..], &["s", "0/0", "", ""], &[SYSTEM_IDENTIFIER, "1", START]] {
        refused_stream.extend(answered(answer));
    }
    refused_stream.push(Step::Await);
    let said = [
        message(b'W', &[0, 0, 0]),
        error("ERROR", "58P01", "requested WAL segment has already been removed"),
        message(b'Z', b"I"),
    ];
    refused_stream.extend(said.map(Step::Say));
    refused_stream.push(Step::Await);
    let dropped = [message(b'C', b"DROP_REPLICATION_SLOT\0"), message(b'Z', b"I")];
    refused_stream.extend(dropped.map(Step::Say));
    let session = Session { second_connection: Some(refused_stream), ..Session::honest() };
    let stderr = LiedTo::new().refuse(&session, Delivery::default(), &["-Xstream", "-C", "-S", "s"]);
    assert!(stderr.contains("requested WAL segment") && stderr.ends_with(DROPPED), "{stderr}");
}

/// Whoever does not wait for the answer about the slot is told that there may be one.
#[test]
fn bb_119_a_slot_that_is_being_created_is_named_by_a_second_signal() {
    let cluster = Cluster::builder(MAJOR).start();
    let program = Personality::named("pg_basebackup");
    let directory = scratch_directory();
    let stalls = Fate::Harmed(Moment::holding("T", "consistent_point"), Harm::Stall(Place::Before));
    let proxy = MessageProxy::start(cluster.port(), vec![Fate::Clean, stalls]);
    let options = ["--no-sync", "-cfast", "-C", "-S", "s", "-d", &proxy.conninfo(), "-D"];
    let mut running = Run::new(program.path()).args(options).arg(directory.path().join("out")).start();
    wait_for("the slot", DEADLINE, || slots(&cluster) == "s false");
    running.signal(Signal::TERM);
    running.signal(Signal::INT);
    let outcome = running.finish();
    assert!(outcome.signal().is_some(), "{}", outcome.stderr);
    let in_doubt =
        format!("did not say whether replication slot \"s\" was created; if so, it stays\n{COSTS}");
    assert!(outcome.stderr.ends_with(&in_doubt), "{}", outcome.stderr);
}

/// The manifest has its name already, or is about to get it: nothing can be taken back.
#[test]
fn bb_249_a_signal_in_the_last_moment_names_what_stays() {
    let cluster = Cluster::builder(MAJOR).start();
    let program = Personality::named("pg_basebackup");
    let directory = scratch_directory();
    let out = directory.path().join("out");
    let late = FailingCalls::signal_before("rename", Signal::TERM).on("backup_manifest");
    let run = backup(&cluster, program.path()).args(["-cfast", "-C", "-S", "s", "-D"]).arg(&out);
    let outcome = late.inject(run, directory.path()).run();
    assert_eq!(outcome.signal(), Some(Signal::TERM.as_raw()), "{}", outcome.stderr);
    let stays = "pg_basebackup: base backup was complete and stays, and so does replication slot \"s\"\n";
    assert_eq!(outcome.stderr, stays);
    assert!(out.join("backup_manifest").exists());
    assert_eq!(slots(&cluster), "s false");
}

/// What fails is here; the stream is under way.
#[test]
fn bb_119_servers_of_all_kinds_drop_the_slot_of_a_stream_that_was_ended() {
    let program = Personality::named("pg_basebackup");
    for major in [10, 14, 18] {
        let cluster = Cluster::builder(major).start();
        let directory = scratch_directory();
        let full = FailingCalls::only("write", Errno::NOSPC, 200);
        let run = backup(&cluster, program.path()).args(["-cfast", "-C", "-S", "s", "-D"]);
        let run = run.arg(directory.path().join("out"));
        let stderr = full.inject(run, directory.path()).run().expect_code(1).stderr;
        assert!(stderr.ends_with(DROPPED), "{major}: {stderr}");
        assert_eq!(slots(&cluster), "", "{major}");
    }
}
