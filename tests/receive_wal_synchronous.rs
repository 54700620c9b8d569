//! The receiver is the only synchronous standby and is killed again and again; then the primary is destroyed. A base
//! backup and the archive have every commit that was acknowledged.
//!
//! `PGSIPHON_STANDBY_ROUNDS` says how often, `PGSIPHON_STANDBY_SECONDS` for how long each time.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::base_backup::{BackupProgram, file_names};
use support::wal_program::WalProgram;
use support::{Cluster, Committers, Random, recover, scratch_directory, seconds_from_environment};

const MAJOR: u16 = 15;
const SEGMENT_SIZE: u64 = 1 << 20;
const SESSIONS: u32 = 4;

/// How long a receiver lives.
const LONGEST: Duration = Duration::from_millis(1500);

/// What a round has gone through.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    kills: u32,
    commits: usize,
}

fn primary() -> Cluster {
    let cluster = Cluster::builder(MAJOR).initdb_arg("--wal-segsize=1").setting("wal_recycle", "off").start();
    cluster.psql("SELECT pg_create_physical_replication_slot('s', true)");
    Committers::prepare(&cluster);
    cluster
}

/// Receives with changing options until the time is over, with a kill at the end of each run.
fn receive_and_die(cluster: &Cluster, directory: &Path, random: &mut Random, until: Instant) -> u32 {
    let ours = WalProgram::ours();
    let mut kills = 0;
    loop {
        let compression = random.choose(&["none", "none", "gzip", "lz4", "zstd"]);
        let mut receiver = ours
            .receive(cluster, directory)
            .args(["--synchronous", "--slot=s", "--compress", compression])
            .start();
        std::thread::sleep(Duration::from_millis(100) + random.time_below(LONGEST));
        let is_last = Instant::now() >= until;
        assert!(receiver.is_running(), "the receiver ended by itself: {}", receiver.stderr_so_far());
        if is_last {
            // The primary goes first.
            let pid = cluster.pid();
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            rustix::process::kill_process(pid, Signal::KILL).unwrap();
        }
        receiver.signal(Signal::KILL);
        receiver.finish();
        kills += 1;
        if is_last {
            return kills;
        }
    }
}

#[track_caller]
fn every_acknowledged_commit_is_recovered(random: &mut Random, time: Duration) -> Tally {
    let scratch = scratch_directory();
    let [backup, directory] = ["backup", "archive"].map(|name| scratch.path().join(name));
    fs::create_dir(&directory).unwrap();
    let mut cluster = primary();
    BackupProgram::real_of(MAJOR)
        .back_up(&cluster, &backup)
        .args(["--no-sync", "-X", "none"])
        .run()
        .expect_success();
    cluster.psql("ALTER SYSTEM SET synchronous_standby_names = 'pg_receivewal'");
    cluster.psql("SELECT pg_reload_conf()");

    let committers = Committers::start(&cluster, SESSIONS, scratch.path());
    let kills = receive_and_die(&cluster, &directory, random, Instant::now() + time);
    cluster.crash();
    let data_directory = cluster.data_dir().to_owned();
    drop(cluster);
    assert!(!data_directory.exists(), "the primary is destroyed");

    let acknowledged = committers.acknowledged();
    let recovered = recover(MAJOR, &backup, &directory, SEGMENT_SIZE);
    let present = Committers::present(&recovered);
    let lost: Vec<_> = acknowledged.difference(&present).collect();
    assert!(lost.is_empty(), "lost of {}: {lost:?}; {:?}", acknowledged.len(), file_names(&directory));
    assert!(acknowledged.len() > 50, "{} commits", acknowledged.len());
    Tally { kills, commits: acknowledged.len() }
}

#[test]
#[allow(clippy::print_stderr, reason = "the numbers are worth knowing")]
fn i_001_and_005_every_commit_that_was_acknowledged_is_recovered() {
    let mut random = Random::from_environment();
    let time = seconds_from_environment("PGSIPHON_STANDBY_SECONDS", 5);
    let rounds = std::env::var("PGSIPHON_STANDBY_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    let mut total = Tally::default();
    for _ in 0..rounds {
        let Tally { kills, commits } = every_acknowledged_commit_is_recovered(&mut random, time);
        total.kills += kills;
        total.commits += commits;
    }
    eprintln!("{} kills and {} commits in {rounds} rounds", total.kills, total.commits);
}
