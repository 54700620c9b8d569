//! The slot that a base backup creates (`-C`), where an address or a list of hosts leads to several servers: only the
//! one that this run has created is dropped, another one of that name is neither dropped nor used, and one that stays is
//! named with its server. The endings on a single server are the subject of `endings.rs`.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use support::base_backup::verify;
use support::message_proxy::{Fate, Harm, MessageProxy, Moment, Place};
use support::scripted_backup_server::error;
use support::{
    Cluster, DEADLINE, Personality, Run, Running, SmallDisk, backup_sender, scratch_directory,
    start_slow_backup, wait_for, wait_for_some, wal_sender,
};

const MAJOR: u16 = 15;

const DROPPED: &str = "pg_basebackup: dropped replication slot \"s\", which this run had created\n";

const CUT_IN_WAL: Fate = Fate::Harmed(Moment::new("dw", 1), Harm::Cut(Place::Inside));

/// A primary and its standby, which has a slot of the same name as the one that is to be made.
fn primary_and_standby() -> (Cluster, Cluster) {
    let primary = Cluster::builder(MAJOR).start();
    let standby = primary.start_standby();
    standby.psql("SELECT pg_create_physical_replication_slot('s', true)");
    (primary, standby)
}

/// The slots of that name, and where they begin.
fn slot(cluster: &Cluster) -> String {
    cluster.psql("SELECT string_agg(slot_name || ' ' || restart_lsn, ',') FROM pg_replication_slots WHERE slot_name = 's'")
}

fn drop_slot(cluster: &Cluster) {
    wait_for("the slot to be free", DEADLINE, || {
        cluster.psql("SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots WHERE NOT active AND slot_name = 's'") == "1"
    });
}

fn end(pid: u32) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::TERM).unwrap();
}

/// The process of the server that sends the WAL that goes along, where a standby receives WAL too.
fn wal_sender_of_backup(cluster: &Cluster) -> u32 {
    let query = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = 's'";
    wait_for_some("WAL to be sent along", DEADLINE, || cluster.psql(query).parse().ok())
}

/// A backup that is under way, with its WAL, over the proxy.
fn under_way(primary: &Cluster, program: &Personality, proxy: &MessageProxy, directory: &Path) -> Running {
    let (conninfo, out) = (proxy.conninfo(), directory.join("out"));
    let options = ["-d", &conninfo, "-Xstream", "-C", "-S", "s", "-D", out.to_str().unwrap()];
    let running = start_slow_backup(primary, program.path(), &options);
    wal_sender_of_backup(primary);
    running
}

fn backup_over(conninfo: &str, program: &Personality, directory: &Path, options: &[&str]) -> Run {
    Run::new(program.path())
        .args(["--no-sync", "-c", "fast", "-C", "-S", "s", "-d", conninfo, "-D"])
        .arg(directory.join("out"))
        .args(options)
}

/// While the backup runs, the address moves from the primary to the standby.
#[test]
fn a_slot_of_another_server_at_the_same_address_is_never_dropped() {
    let (primary, standby) = primary_and_standby();
    let program = Personality::named("pg_basebackup");
    let of_the_standby = slot(&standby);

    let directory = scratch_directory();
    let proxy = MessageProxy::start(primary.port(), Vec::new());
    proxy.move_after(2, standby.port());
    let running = under_way(&primary, &program, &proxy, directory.path());
    end(backup_sender(&primary));
    let stderr = running.finish().expect_code(1).stderr;
    assert_eq!((slot(&primary), slot(&standby)), (String::new(), of_the_standby.clone()), "{stderr}");
    assert!(stderr.ends_with(DROPPED), "{stderr}");

    // The connection that could tell whose slot that is goes away.
    let directory = scratch_directory();
    let proxy = MessageProxy::start(primary.port(), Vec::new());
    proxy.move_after(2, standby.port());
    let running = under_way(&primary, &program, &proxy, directory.path());
    end(wal_sender_of_backup(&primary));
    let stderr = running.finish().expect_code(1).stderr;
    assert_eq!(slot(&standby), of_the_standby, "{stderr}");
    assert_ne!(slot(&primary), "", "{stderr}");
    assert!(stderr.contains("warning: could not drop replication slot \"s\""), "{stderr}");
    drop_slot(&primary);
}

/// What a server says that is not ready yet, so that the next host is asked.
fn not_ready() -> Fate {
    Fate::Harmed(
        Moment::new("R", 1),
        Harm::Inject(error("FATAL", "57P03", "the database system is starting up")),
    )
}

/// A connection string with the proxy as the first host and a server as the second one.
fn proxy_or(proxy: &MessageProxy, second: &Cluster) -> String {
    let (_, port) =
        proxy.conninfo().split_once("port=").map(|(before, after)| (before.len(), after.to_owned())).unwrap();
    let port = port.split(' ').next().unwrap();
    format!(
        "host=127.0.0.1,127.0.0.1 port={port},{} user=postgres sslmode=disable gssencmode=disable",
        second.port()
    )
}

/// The server behind the proxy, as messages name it.
fn server(proxy: &MessageProxy) -> String {
    let conninfo = proxy.conninfo();
    let port = conninfo.split("port=").nth(1).unwrap().split(' ').next().unwrap();
    format!("server at \"127.0.0.1\", port {port}")
}

/// What is said of a slot that stays on the server behind the proxy.
fn could_not_drop(proxy: &MessageProxy) -> String {
    let server = server(proxy);
    format!(
        "pg_basebackup: warning: could not drop replication slot \"s\", which this run has created on {server}: the \
         connection that created it can no longer be used\n{COSTS}"
    )
}

const COSTS: &str = "pg_basebackup: detail: While nothing streams from it, the server keeps all write-ahead log for \
                     it, until its disk is full.\n\
                     pg_basebackup: hint: If it is not needed, drop it on the server: SELECT \
                     pg_drop_replication_slot('s');\n";

/// The slot of the first try cannot be dropped, and the retry comes to the other host.
#[test]
fn a_retry_on_another_host_takes_no_slot_that_is_there() {
    let (primary, standby) = primary_and_standby();
    let program = Personality::named("pg_basebackup");
    let of_the_standby = slot(&standby);
    let fates = || vec![Fate::Clean, CUT_IN_WAL, not_ready(), not_ready()];

    let proxy = MessageProxy::start(primary.port(), fates());
    let directory = scratch_directory();
    let conninfo = proxy_or(&proxy, &standby);
    let stderr =
        backup_over(&conninfo, &program, directory.path(), &["--retries=3"]).run().expect_code(1).stderr;
    assert_eq!(slot(&standby), of_the_standby, "{stderr}");
    assert!(stderr.contains("replication slot \"s\" already exists"), "{stderr}");
    assert!(stderr.ends_with(&could_not_drop(&proxy)), "{stderr}");
    assert_eq!(stderr.matches(" stays").count(), 0, "{stderr}");
    drop_slot(&primary);

    // There is none there: it is created, and after the success the first one is named.
    standby.psql("SELECT pg_drop_replication_slot('s')");
    let proxy = MessageProxy::start(primary.port(), fates());
    let directory = scratch_directory();
    let conninfo = proxy_or(&proxy, &standby);
    let stderr =
        backup_over(&conninfo, &program, directory.path(), &["--retries=3"]).run().expect_success().stderr;
    assert!(stderr.ends_with(&could_not_drop(&proxy)), "{stderr}");
    assert_ne!(slot(&primary), "");
    assert_ne!(slot(&standby), "");
}

/// Nobody can tell whether it is the slot of the first try: it may be used and is not harmed.
#[test]
fn a_retry_leaves_a_slot_alone_that_may_be_its_own() {
    let (primary, standby) = primary_and_standby();
    let program = Personality::named("pg_basebackup");
    let left_alone = "pg_basebackup: replication slot \"s\" exists where an earlier try created it; it is left as it \
                      is, and a temporary one is used\n";

    // It is its own.
    let directory = scratch_directory();
    let proxy = MessageProxy::start(primary.port(), vec![Fate::Clean, CUT_IN_WAL]);
    let run = backup_over(&proxy.conninfo(), &program, directory.path(), &["--retries=1"]);
    let stderr = run.run().expect_success().stderr;
    assert!(stderr.ends_with(left_alone), "{stderr}");
    verify(primary.installation(), &directory.path().join("out"), &[]);
    drop_slot(&primary);

    // It is one of the standby's.
    let of_the_standby = slot(&standby);
    let directory = scratch_directory();
    let proxy = MessageProxy::start(primary.port(), vec![Fate::Clean, CUT_IN_WAL, Fate::Clean, CUT_IN_WAL]);
    proxy.move_after(2, standby.port());
    let run = backup_over(&proxy.conninfo(), &program, directory.path(), &["--retries=1"]);
    let stderr = run.run().expect_code(1).stderr;
    assert!(stderr.contains(left_alone), "{stderr}");
    assert!(stderr.ends_with(&could_not_drop(&proxy)), "{stderr}");
    assert_eq!(slot(&standby), of_the_standby);
    drop_slot(&primary);
}

/// The server has created it, but its answer is lost: what the retry meets may be somebody else's.
#[test]
fn a_slot_that_may_have_been_created_is_not_taken_by_a_retry() {
    let primary = Cluster::builder(MAJOR).start();
    let program = Personality::named("pg_basebackup");
    let directory = scratch_directory();
    let cut = Fate::Harmed(Moment::holding("T", "consistent_point"), Harm::Cut(Place::Before));
    let proxy = MessageProxy::start(primary.port(), vec![Fate::Clean, cut]);
    let run = backup_over(&proxy.conninfo(), &program, directory.path(), &["--retries=1"]);
    let stderr = run.run().expect_code(1).stderr;
    assert!(stderr.contains("replication slot \"s\" already exists"), "{stderr}");
    let in_doubt = " did not say whether replication slot \"s\" was created; if so, it stays\n";
    assert!(stderr.ends_with(&format!("{in_doubt}{COSTS}")), "{stderr}");
    assert_ne!(slot(&primary), "");
}

/// What is said of a slot after the server was told to drop it, and nothing was heard.
fn not_answered(proxy: &MessageProxy) -> String {
    let reason = "the server was told to drop it, but has not answered";
    could_not_drop(proxy).replace("the connection that created it can no longer be used", reason)
}

/// The server drops it, but its answer is lost: nobody says that it is dropped, and a retry creates its own.
#[test]
fn a_slot_that_is_dropped_without_an_answer_is_created_anew_by_a_retry() {
    let primary = Cluster::builder(MAJOR).start();
    let program = Personality::named("pg_basebackup");
    let first_try = |harm, options: &[&str]| {
        let lost = Fate::Harmed(Moment::new("dd", 20), Harm::Cut(Place::Before));
        let answer = Fate::Harmed(Moment::holding("C", "DROP_REPLICATION_SLOT"), harm);
        let proxy = MessageProxy::start(primary.port(), vec![lost, answer]);
        let directory = scratch_directory();
        let outcome = backup_over(&proxy.conninfo(), &program, directory.path(), options).run();
        assert!(!outcome.stderr.contains("dropped replication slot"), "{}", outcome.stderr);
        (proxy, directory, outcome)
    };
    for harm in [Harm::Cut(Place::Before), Harm::Reset(Place::Inside)] {
        let (proxy, directory, outcome) = first_try(harm, &[]);
        let stderr = outcome.expect_code(1).stderr;
        assert!(stderr.ends_with(&not_answered(&proxy)), "{stderr}");
        assert_eq!(slot(&primary), "", "{stderr}");
        assert!(!directory.path().join("out").exists(), "{stderr}");
    }

    // The server is waited for, but not for long.
    let (proxy, directory, outcome) = first_try(Harm::Stall(Place::Before), &["--retries=1"]);
    let stderr = outcome.expect_success().stderr;
    let missed = format!(
        "pg_basebackup: warning: replication slot \"s\" that an earlier try may have left is not on {}; if that was \
         another server then, the slot may still be there\n",
        server(&proxy)
    );
    assert!(stderr.contains(&missed), "{stderr}");
    assert_ne!(slot(&primary), "", "{stderr}");
    verify(primary.installation(), &directory.path().join("out"), &[]);
}

/// The order to drop it has not arrived: the slot is there, but may go at any moment, so a retry does not rely on it.
#[test]
fn a_slot_that_may_be_dropped_at_any_moment_is_not_taken_by_a_retry() {
    let primary = Cluster::builder(MAJOR).start();
    let program = Personality::named("pg_basebackup");
    let directory = scratch_directory();
    let out = directory.path().join("out");
    // Before that: the start, SHOW, CREATE_REPLICATION_SLOT, IDENTIFY_SYSTEM.
    let end_of_stream = Moment::new("Z", 5);
    let stalled = Fate::Harmed(end_of_stream, Harm::Stall(Place::After));
    let proxy = MessageProxy::start(primary.port(), vec![Fate::Clean, stalled]);
    let conninfo = proxy.conninfo();
    let options = ["-d", &conninfo, "-Xstream", "-C", "-S", "s", "--retries=1", "-D", out.to_str().unwrap()];
    let running = start_slow_backup(&primary, program.path(), &options);
    wal_sender(&primary);
    end(backup_sender(&primary));
    let stderr = running.finish().expect_code(1).stderr;
    assert!(stderr.contains("replication slot \"s\" already exists"), "{stderr}");
    assert!(stderr.ends_with(&not_answered(&proxy)), "{stderr}");
    assert_ne!(slot(&primary), "", "{stderr}");
    assert!(!out.exists(), "{stderr}");
}

/// The server's disk is full while it creates the slot. Its error does not tell whether the slot is there.
#[test]
fn a_slot_whose_creation_fails_half_way_is_in_doubt() {
    let primary = Cluster::builder(MAJOR).start();
    let program = Personality::named("pg_basebackup");
    let cases = [
        (1, "could not create directory \"pg_replslot/s.tmp\"", false),
        (2, "could not create file \"pg_replslot/s.tmp/state.tmp\"", false),
        // It has been created, but where its WAL begins cannot be noted.
        (3, "could not create file \"pg_replslot/s/state.tmp\"", true),
    ];
    for (inodes, reason, is_there) in cases {
        let _disk = SmallDisk::with_inodes(inodes, &primary.data_dir().join("pg_replslot"));
        let directory = scratch_directory();
        let run = backup_over(&primary.conninfo(), &program, directory.path(), &["--retries=1"]);
        let stderr = run.run().expect_code(1).stderr;
        assert!(stderr.contains(&format!("ERROR:  {reason}: No space left on device\n")), "{stderr}");
        let in_doubt = format!(
            "pg_basebackup: warning: server at \"127.0.0.1\", port {} did not say whether replication slot \"s\" \
             was created; if so, it stays\n{COSTS}",
            primary.port()
        );
        assert!(stderr.ends_with(&in_doubt), "{stderr}");
        assert_eq!(!slot(&primary).is_empty(), is_there, "{stderr}");
        assert!(!directory.path().join("out").exists(), "{stderr}");
        if is_there {
            drop_slot(&primary);
        }
    }
}
