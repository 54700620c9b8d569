//! The fixture keeps its promises: servers of every version come up, and none stays behind.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use support::tree::{assert_same_tree, differences};
use support::{
    Cluster, DEADLINE, Personality, Run, ServerAccount, StopMode, client_program, pgsiphon, processes_in,
    scratch_directory, wait_for, wait_for_some,
};

/// A server of that version answers, and what it has committed outlives a crash and a restart.
#[track_caller]
fn answers_and_keeps_data(major: u16) {
    let mut cluster = Cluster::builder(major).setting("fsync", "on").start();
    let version = cluster.psql("SHOW server_version");
    assert!(version.starts_with(&format!("{major}.")), "{version}");

    cluster.psql("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS number");
    cluster.crash();
    assert!(processes_in(cluster.data_dir()).is_empty());
    cluster.start();
    assert_eq!(cluster.psql("SELECT sum(number) FROM kept"), "500500");

    cluster.psql("INSERT INTO kept VALUES (7)");
    let port = cluster.port();
    cluster.restart();
    assert_eq!((cluster.psql("SELECT sum(number) FROM kept"), cluster.port()), ("500507".to_owned(), port));
}

macro_rules! every_version {
    ($($name:ident: $major:literal,)*) => {
        $(#[test] fn $name() { answers_and_keeps_data($major); })*

        #[test]
        fn every_supported_version_is_tested() {
            assert_eq!([$($major),*], support::VERSIONS);
        }
    };
}

every_version! {
    postgresql_10_answers_and_keeps_data: 10,
    postgresql_11_answers_and_keeps_data: 11,
    postgresql_12_answers_and_keeps_data: 12,
    postgresql_13_answers_and_keeps_data: 13,
    postgresql_14_answers_and_keeps_data: 14,
    postgresql_15_answers_and_keeps_data: 15,
    postgresql_16_answers_and_keeps_data: 16,
    postgresql_17_answers_and_keeps_data: 17,
    postgresql_18_answers_and_keeps_data: 18,
}

#[test]
fn a_server_does_not_run_as_root() {
    let cluster = Cluster::builder(15).start();
    let account = ServerAccount::current();
    assert_ne!(account.uid, 0);
    let processes = processes_in(cluster.data_dir());
    assert!(processes.contains(&cluster.pid()));
    for pid in processes {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let uids = format!("Uid:\t{0}\t{0}\t{0}\t{0}\n", account.uid);
        assert!(status.contains(&uids), "{status}");
    }
    assert_eq!(fs::metadata(cluster.data_dir()).unwrap().uid(), account.uid);
}

#[test]
fn settings_rules_and_initdb_arguments_take_effect() {
    let cluster = Cluster::builder(16)
        .setting("wal_keep_size", "48MB")
        .setting("application_name", "it's quoted")
        .hba("host all locked_out 127.0.0.1/32 reject")
        .initdb_arg("--wal-segsize=1")
        .start();
    assert_eq!(cluster.psql("SHOW wal_keep_size"), "48MB");
    assert_eq!(cluster.psql("SHOW wal_segment_size"), "1MB");
    assert_eq!(cluster.psql("SHOW fsync"), "off");
    assert!(fs::read_to_string(cluster.data_dir().join("postgresql.conf")).unwrap().contains("it''s"));

    cluster.psql("CREATE ROLE locked_out LOGIN");
    let connect = |user: &str| {
        Run::new(client_program("psql"))
            .args(["-X", "-A", "-t", "-c", "SELECT 1"])
            .arg(format!("{} user={user} dbname=postgres", cluster.conninfo()))
            .run()
    };
    assert_eq!(connect("postgres").expect_success().stdout_text(), "1\n");
    let refusal = connect("locked_out").expect_code(2).stderr;
    assert!(refusal.contains("pg_hba.conf rejects connection"), "{refusal}");
}

#[test]
fn a_failing_statement_is_reported() {
    let cluster = Cluster::builder(15).start();
    let outcome = cluster.psql_outcome("SELECT 1/0");
    assert_eq!(outcome.code(), Some(1));
    assert!(outcome.stderr.contains("division by zero"), "{}", outcome.stderr);
    assert!(cluster.log().contains("division by zero"));
}

#[test]
fn system_identifiers_differ_where_a_test_asks_for_it() {
    let identifier = |cluster: &Cluster| cluster.psql("SELECT system_identifier FROM pg_control_system()");
    let one = Cluster::builder(15).start();
    let same = Cluster::builder(15).start();
    let other = Cluster::builder(15).own_system_identifier().start();
    assert_eq!(identifier(&one), identifier(&same));
    assert_ne!(identifier(&one), identifier(&other));
}

#[test]
fn a_stopped_server_says_how_it_ended() {
    let mut cluster = Cluster::builder(15).start();
    assert_eq!(cluster.stop(StopMode::Smart).code(), Some(0));
    cluster.start();
    assert_eq!(cluster.stop(StopMode::Immediate).code(), Some(0));
    assert!(cluster.log().contains("received immediate shutdown request"));
}

#[test]
fn a_server_that_refuses_to_start_gives_its_log() {
    let log = Cluster::builder(15).setting("shared_buffers", "lots").try_start().unwrap_err();
    assert!(log.contains("invalid value for parameter \"shared_buffers\""), "{log}");
}

#[test]
fn a_port_belongs_to_one_cluster() {
    let cluster = Cluster::builder(15).start();
    let second = std::panic::catch_unwind(|| Cluster::builder(15).port(cluster.port()).start());
    let message = *second.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(message, format!("port {} is in use", cluster.port()));
}

/// What a cluster leaves on the machine while it is there.
struct Traces {
    data_directory: PathBuf,
    socket_directory: PathBuf,
    port: u16,
}

impl Traces {
    fn of(cluster: &Cluster) -> Self {
        Self {
            data_directory: cluster.data_dir().to_owned(),
            socket_directory: cluster.socket_dir().to_owned(),
            port: cluster.port(),
        }
    }

    fn are_gone(&self) -> bool {
        processes_in(&self.data_directory).is_empty()
            && !self.data_directory.exists()
            && !self.socket_directory.parent().unwrap().exists()
            && TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err()
    }
}

#[test]
fn nothing_is_left_of_a_dropped_cluster() {
    let cluster = Cluster::builder(15).start();
    cluster.psql("CREATE TABLE t (i int)");
    let traces = Traces::of(&cluster);
    assert!(!traces.are_gone());
    drop(cluster);
    assert!(traces.are_gone());
}

#[test]
fn nothing_is_left_of_a_cluster_that_crashed() {
    let mut cluster = Cluster::builder(15).start();
    let memory_segment = cluster.psql("SELECT pg_read_file('postmaster.pid')");
    let memory_id = memory_segment.lines().nth(6).unwrap().split_whitespace().nth(1).unwrap().to_owned();
    let has_segment = || {
        let segments = fs::read_to_string("/proc/sysvipc/shm").unwrap();
        segments.lines().any(|line| line.split_whitespace().nth(1) == Some(&memory_id))
    };
    let traces = Traces::of(&cluster);
    cluster.crash();
    assert!(has_segment());
    drop(cluster);
    assert!(traces.are_gone() && !has_segment());
}

#[test]
fn nothing_is_left_of_a_cluster_whose_test_fails() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let failing_test = std::thread::spawn(move || {
        let cluster = Cluster::builder(15).start();
        sender.send(Traces::of(&cluster)).unwrap();
        panic!("this failure is part of the test");
    });
    assert!(failing_test.join().is_err());
    assert!(receiver.recv().unwrap().are_gone());
}

/// Set for the process that starts a cluster in order to be killed.
const OWNER: &str = "PGSIPHON_TEST_OWNER";

#[test]
fn a_killed_owner_leaves_no_server() {
    if std::env::var_os(OWNER).is_some() {
        own_a_cluster_until_killed();
    }
    let mut owner = Run::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_owner_leaves_no_server", "--nocapture"])
        .env("PGSIPHON_CACHE", std::env::var_os("PGSIPHON_CACHE").unwrap_or_default())
        .env("HOME", std::env::var_os("HOME").unwrap_or_default())
        .env("XDG_CACHE_HOME", std::env::var_os("XDG_CACHE_HOME").unwrap_or_default())
        .env(OWNER, "1")
        .start();
    let traces = wait_for_some("the owner to have a cluster", DEADLINE, || {
        let text = owner.stdout_so_far();
        let (_, report) = text.split_once("owns<")?;
        let (report, _) = report.split_once('>')?;
        let fields: Vec<&str> = report.split('|').collect();
        Some(Traces {
            data_directory: fields[0].into(),
            socket_directory: fields[1].into(),
            port: fields[2].parse().unwrap(),
        })
    });
    assert!(!traces.are_gone());
    owner.signal(Signal::KILL);
    assert_eq!(owner.finish().signal(), Some(Signal::KILL.as_raw()));
    wait_for("the server to be gone", DEADLINE, || traces.are_gone());
}

#[allow(clippy::print_stdout, reason = "the other process reads it")]
fn own_a_cluster_until_killed() -> ! {
    let cluster = Cluster::builder(15).start();
    let _load = {
        cluster.pgbench_init(1);
        cluster.pgbench_load()
    };
    let Traces { data_directory, socket_directory, port } = Traces::of(&cluster);
    println!("owns<{}|{}|{port}>", data_directory.display(), socket_directory.display());
    loop {
        std::thread::park();
    }
}

/// Makes the directory of a standby with the real program.
fn back_up(primary: &Cluster, target: &Path, wal_method: &str) {
    Run::new(primary.installation().client_program("pg_basebackup"))
        .args(["--checkpoint=fast", "--no-sync", "--wal-method", wal_method])
        .args(["--dbname", &primary.conninfo(), "--pgdata"])
        .arg(target)
        .run()
        .expect_success();
    // Not left to the program: it writes options that old servers do not know.
    let conninfo = format!("primary_conninfo = '{}'\n", primary.conninfo());
    if primary.installation().major() < 12 {
        fs::write(target.join("recovery.conf"), format!("standby_mode = 'on'\n{conninfo}")).unwrap();
    } else {
        fs::write(target.join("standby.signal"), "").unwrap();
        fs::write(target.join("postgresql.auto.conf"), conninfo).unwrap();
    }
}

#[track_caller]
fn standby_streams_and_is_promoted(major: u16) {
    let primary = Cluster::builder(major).start();
    primary.pgbench_init(1);
    let load = primary.pgbench_load();
    wait_for("the load to commit", DEADLINE, || {
        primary.psql("SELECT count(*) > 10 FROM pgbench_history") == "t"
    });
    let scratch = scratch_directory();
    let backup = scratch.path().join("backup");
    back_up(&primary, &backup, "stream");
    let mut standby = Cluster::existing(major, &backup).setting("cluster_name", "second").start();
    standby.wait_until_streaming(&primary);
    load.stop(&primary);
    standby.wait_until_replayed(&primary);
    assert!(standby.is_in_recovery());
    let history = "SELECT count(*), sum(delta) FROM pgbench_history";
    assert_eq!(standby.psql(history), primary.psql(history));
    assert_eq!(standby.psql("SHOW cluster_name"), "second");

    standby.promote();
    assert!(!standby.is_in_recovery());
    standby.psql("CREATE TABLE written_after_promotion ()");
    standby.stop(StopMode::Fast);
    drop(standby);
    assert!(backup.join("PG_VERSION").exists(), "a directory that was there before stays");
}

#[test]
fn a_standby_of_postgresql_10_streams_and_is_promoted() {
    standby_streams_and_is_promoted(10);
}

#[test]
fn a_standby_of_postgresql_18_streams_and_is_promoted() {
    standby_streams_and_is_promoted(18);
}

#[test]
fn a_standby_without_connections_starts() {
    let primary = Cluster::builder(15).start();
    let scratch = scratch_directory();
    let backup = scratch.path().join("backup");
    back_up(&primary, &backup, "fetch");
    let standby = Cluster::existing(15, &backup).setting("hot_standby", "off").start();
    wait_for("the standby to stream", DEADLINE, || {
        primary.psql("SELECT state FROM pg_stat_replication") == "streaming"
    });
    let refusal = standby.psql_outcome("SELECT 1").expect_code(2).stderr;
    assert!(refusal.contains("the database system is not accepting connections"), "{refusal}");
}

#[test]
fn a_tablespace_goes_where_the_server_may_write() {
    let cluster = Cluster::builder(15).start();
    let location = cluster.make_directory("space");
    cluster.psql(&format!("CREATE TABLESPACE space LOCATION '{}'", location.display()));
    assert_eq!(fs::read_dir(location).unwrap().count(), 1);
}

#[test]
fn differences_of_trees_are_found() {
    let scratch = scratch_directory();
    let [left, right] = ["left", "right"].map(|name| scratch.path().join(name));
    for side in [&left, &right] {
        fs::create_dir_all(side.join("base/1")).unwrap();
        fs::write(side.join("base/1/1249"), "the same").unwrap();
        symlink("/somewhere", side.join("link")).unwrap();
        fs::write(side.join("log"), side.as_os_str().as_encoded_bytes()).unwrap();
    }
    assert_same_tree(&left, &right, &["log"]);
    assert!(differences(&left, &right, &[]).starts_with("log: a file of "));

    fs::write(right.join("base/1/1249"), "not same").unwrap();
    fs::remove_file(right.join("link")).unwrap();
    fs::create_dir(right.join("extra")).unwrap();
    let found = differences(&left, &right, &["log"]);
    let paths: Vec<&str> = found.lines().map(|line| line.split_once(':').unwrap().0).collect();
    assert_eq!(paths, ["base/1/1249", "link", "extra"], "{found}");
    assert!(found.contains("link: a link to /somewhere on the left, nothing on the right"), "{found}");
}

#[test]
fn a_run_tells_how_the_program_ended() {
    let outcome = Run::new("/bin/sh").args(["-c", "echo out; echo err >&2; exit 3"]).run().expect_code(3);
    assert_eq!((outcome.stdout_text().as_str(), outcome.stderr.as_str()), ("out\n", "err\n"));

    let mut running = Run::new("/bin/cat").arg("/dev/zero").start();
    wait_for("some output", DEADLINE, || !running.stdout_so_far().is_empty());
    running.signal(Signal::TERM);
    assert_eq!(running.finish().signal(), Some(Signal::TERM.as_raw()));
}

#[test]
fn a_run_that_hangs_fails_its_test() {
    let failure = std::panic::catch_unwind(|| {
        let hanging = Run::new("/usr/bin/tail").args(["-f", "/dev/null"]).deadline(Duration::ZERO);
        hanging.run()
    });
    let message = *failure.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("\"-f\" \"/dev/null\" did not end in time"), "{message}");
}

#[test]
fn a_run_sees_nothing_of_the_callers_environment() {
    let outcome = Run::new("/usr/bin/env").env("PGAPPNAME", "test").run().expect_success();
    let mut variables: Vec<String> = outcome.stdout_text().lines().map(str::to_owned).collect();
    variables.sort();
    assert_eq!(variables, ["HOME=/nonexistent", "LC_ALL=C", "PATH=/usr/bin:/bin", "PGAPPNAME=test"]);
}

#[test]
fn a_personality_is_a_link_to_the_binary() {
    let personality = Personality::named("pg_basebackup");
    assert_eq!(personality.path().file_name().unwrap(), "pg_basebackup");
    assert_eq!(fs::canonicalize(personality.path()).unwrap(), fs::canonicalize(pgsiphon()).unwrap());
}
