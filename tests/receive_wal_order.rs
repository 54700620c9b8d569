//! The receiver tells the server of nothing before it is so: what it calls flushed is synced with its name before,
//! and what gets a final name is whole and synced before. `strace` is the witness.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use support::archived_wal::{ArchivedFile, ArchivedWal, position, segment_number};
use support::base_backup::file_names;
use support::receive_order::{Judgement, OrderJudge};
use support::system_calls::{self, Call, Event, events};
use support::wal_program::WalProgram;
use support::{Cluster, DEADLINE, Running, ServerAccount, scratch_directory, wait_for};

const SEGMENT_SIZE: u64 = 1 << 20;

/// The numbers of file systems.
const EXT4: i64 = 0xEF53;
const XFS: i64 = 0x5846_5342;

/// A server on its second timeline, so that there is a history file, with a slot for the receiver.
fn cluster() -> Cluster {
    let mut cluster = Cluster::builder(15)
        .initdb_arg("--wal-segsize=1")
        .setting("wal_keep_size", "1GB")
        .setting("wal_recycle", "off")
        .start();
    let standby = cluster.data_dir().join("standby.signal");
    File::create(&standby).unwrap();
    ServerAccount::current().own(&standby);
    cluster.restart();
    cluster.promote();
    cluster.psql("CREATE TABLE filler (text text)");
    cluster.psql("SELECT pg_switch_wal()");
    cluster.psql("SELECT pg_create_physical_replication_slot('s', true)");
    cluster
}

/// WAL in small pieces, in large ones, and up to the end of a segment.
fn write_wal(cluster: &Cluster) {
    for _ in 0..10 {
        cluster.psql("INSERT INTO filler VALUES ('x')");
    }
    cluster.psql("INSERT INTO filler SELECT repeat('x', 500) FROM generate_series(1, 4000)");
    cluster.psql("SELECT pg_switch_wal()");
    cluster.psql("INSERT INTO filler VALUES ('y')");
}

fn wait_until_received(cluster: &Cluster, receiver: &mut Running) {
    wait_for("everything to be received", DEADLINE, || {
        assert!(receiver.is_running(), "the receiver ended early: {}", receiver.stderr_so_far());
        cluster.psql("SELECT write_lsn = pg_current_wal_flush_lsn() FROM pg_stat_replication") == "t"
    });
}

/// One run of the receiver, as `strace` saw it.
struct Traced {
    /// Where its first segment begins.
    start: u64,
    /// What it found, and how much of it was sound.
    found: Vec<(String, u64)>,
    directory: PathBuf,
    events: Vec<Event>,
}

impl Traced {
    #[track_caller]
    fn run(cluster: &Cluster, program: &WalProgram, directory: &Path, options: &[&str]) -> Self {
        let found = found(cluster, directory);
        let log = directory.with_extension("calls");
        let mut receiver =
            program.traced(&system_calls::OPTIONS, &log, cluster, directory).args(options).start();
        write_wal(cluster);
        wait_until_received(cluster, &mut receiver);
        receiver.signal(Signal::INT);
        receiver.finish().expect_success();
        let events = events(&fs::read_to_string(&log).unwrap());
        let start = match found.iter().find(|(name, _)| name.ends_with(".partial")) {
            Some((name, _)) => segment_number(&name[..24], SEGMENT_SIZE) * SEGMENT_SIZE,
            None => first_segment(directory),
        };
        Self { start, found, directory: directory.to_owned(), events }
    }

    fn judge(&self) -> Judgement {
        self.judge_with(&self.events)
    }

    fn judge_with(&self, events: &[Event]) -> Judgement {
        OrderJudge::new(&self.directory, SEGMENT_SIZE, &self.found).judge(events, self.start)
    }
}

/// The files in the directory, and how much of them is sound.
fn found(cluster: &Cluster, directory: &Path) -> Vec<(String, u64)> {
    let archive = ArchivedWal::new(directory, cluster.data_dir(), SEGMENT_SIZE);
    let length = |name: &str| match ArchivedFile::named(name) {
        ArchivedFile::Partial { segment, .. } => archive.sound_length(name, &segment),
        _ => fs::metadata(directory.join(name)).unwrap().len(),
    };
    file_names(directory).into_iter().map(|name| (name.clone(), length(&name))).collect()
}

/// Where the first segment in the directory begins.
fn first_segment(directory: &Path) -> u64 {
    let names = file_names(directory);
    let first = names.iter().find(|name| !matches!(ArchivedFile::named(name), ArchivedFile::History));
    segment_number(&first.unwrap()[..24], SEGMENT_SIZE) * SEGMENT_SIZE
}

/// Puts zeros in place of the first bytes of the segment that was written to last, behind the last status update.
fn changed_after_telling(events: &[Event]) -> Vec<Event> {
    let last = events.iter().rposition(
        |event| matches!(event, Event::End { call: Call::Send(bytes), .. } if bytes.first() == Some(&b'd')),
    );
    let (told, rest) = events.split_at(last.unwrap() + 1);
    let is_raw = |path: &Path| path.extension().is_some_and(|extension| extension == "partial");
    let written = told.iter().rev().find_map(|event| match event {
        Event::End { call: Call::Write { path, .. }, .. } if is_raw(path) => Some(path.clone()),
        _ => None,
    });
    let call = Call::Write { path: written.unwrap(), offset: Some(0), data: vec![0; 8] };
    let zeros = Event::End { thread: "1".to_owned(), call, result: 8 };
    [told, &[zeros], rest].concat()
}

/// Puts one sync of a file, in the middle of all of them, behind the next status update.
fn one_synced_after_telling(events: &[Event]) -> Vec<Event> {
    let is_sync = |event: &Event| match event {
        Event::Begin { call: Call::Sync(path), .. } | Event::End { call: Call::Sync(path), .. } => {
            path.extension().is_some()
        }
        _ => false,
    };
    let is_update = |event: &Event| matches!(event, Event::End { call: Call::Send(bytes), .. } if bytes.first() == Some(&b'd'));
    let syncs: Vec<usize> = (0..events.len()).filter(|&at| is_sync(&events[at])).collect();
    let pairs: Vec<&[usize]> =
        syncs.windows(2).filter(|pair| matches!(events[pair[0]], Event::Begin { .. })).collect();
    let [begin, end] = pairs[pairs.len() / 2] else { panic!("no sync in {events:?}") };
    let update = end + events[*end..].iter().position(is_update).unwrap();
    let mut late = events.to_vec();
    late[*begin..=update].rotate_left(end - begin + 1);
    late
}

#[track_caller]
fn assert_in_order(judgement: &Judgement, options: &[&str]) {
    assert!(judgement.wrong.is_empty(), "{options:?}: {:#?}", judgement.wrong);
    assert!(judgement.at_risk.is_empty(), "{options:?}: {:?}", judgement.at_risk);
    let segments = judgement.published.iter().filter(|name| name.len() == 24).count();
    assert!(segments >= 2, "{options:?}: {:?}", judgement.published);
}

fn directory(scratch: &Path, name: &str) -> PathBuf {
    let directory = scratch.join(name);
    fs::create_dir(&directory).unwrap();
    directory
}

/// Gives the calls with which another order would come about.
fn without(events: &[Event], unwanted: impl Fn(&Call) -> bool) -> Vec<Event> {
    let is_unwanted = |event: &Event| match event {
        Event::Begin { call, .. } | Event::End { call, .. } => unwanted(call),
    };
    events.iter().filter(|event| !is_unwanted(event)).cloned().collect()
}

/// Puts each sync of a file behind the next status update.
fn synced_after_telling(events: &[Event]) -> Vec<Event> {
    let is_sync = |event: &Event| matches!(event, Event::Begin { call: Call::Sync(path), .. } | Event::End { call: Call::Sync(path), .. } if path.extension().is_some());
    let mut late = Vec::new();
    let mut ordered = Vec::new();
    for event in events {
        if is_sync(event) {
            late.push(event.clone());
            continue;
        }
        ordered.push(event.clone());
        if matches!(event, Event::End { call: Call::Send(_), .. }) {
            ordered.append(&mut late);
        }
    }
    ordered
}

#[test]
fn rw_123_147_149_160_164_169_174_and_178_i_001_nothing_is_told_before_it_is_durable() {
    let cluster = cluster();
    let scratch = scratch_directory();
    let ours = WalProgram::ours();
    let synchronous = directory(scratch.path(), "synchronous");
    // Each run goes on in the segment in which the one before has left off.
    for options in [
        &["--synchronous"][..],
        &["--synchronous", "--slot=s"],
        &["--synchronous", "--compress=gzip"],
        &["--slot=s", "--compress=lz4", "--status-interval=1"],
        &["--slot=s", "--status-interval=1"],
        &["--synchronous", "--status-interval=0"],
    ] {
        let traced = Traced::run(&cluster, &ours, &synchronous, options);
        let judgement = traced.judge();
        assert_in_order(&judgement, options);
        let told = judgement.told.last().unwrap();
        assert!(told.flushed > traced.start + SEGMENT_SIZE, "{options:?}: {told:?}");
        if options.contains(&"--synchronous") {
            assert_other_orders_are_noticed(&traced);
        }
    }
    assert!(synchronous.join("00000002.history").exists());
    ArchivedWal::new(&synchronous, cluster.data_dir(), SEGMENT_SIZE).check();

    not_synchronous(&cluster, &ours, scratch.path());
}

/// Without a slot and without waiting for syncs, nothing is called flushed; without syncs nothing is synced.
fn not_synchronous(cluster: &Cluster, ours: &WalProgram, scratch: &Path) {
    let plain = directory(scratch, "plain");
    let judgement = Traced::run(cluster, ours, &plain, &["--status-interval=1"]).judge();
    assert!(judgement.told.iter().all(|told| told.flushed == 0), "{:?}", judgement.told);
    assert!(judgement.published.iter().any(|name| name == "00000002.history"));
    assert_in_order(&judgement, &[]);
    nothing_is_synced_where_that_is_asked_for(cluster, ours, scratch);
}

fn nothing_is_synced_where_that_is_asked_for(cluster: &Cluster, ours: &WalProgram, scratch: &Path) {
    for (name, options) in [
        ("none", &["--no-sync", "--status-interval=1"][..]),
        ("gzip", &["--no-sync", "--compress=gzip", "--status-interval=1"]),
        ("slot", &["--no-sync", "--slot=s", "--status-interval=1"]),
    ] {
        let unsynced = directory(scratch, name);
        let traced = Traced::run(cluster, ours, &unsynced, options);
        assert_eq!(traced.judge().syncs, 0, "{options:?}");
        assert!(
            !traced
                .events
                .iter()
                .any(|event| matches!(event, Event::Begin { call: Call::SyncFileSystem, .. }))
        );
        assert!(ArchivedWal::new(&unsynced, cluster.data_dir(), SEGMENT_SIZE).check().complete.len() > 1);
    }
}

/// The judge is worth something: the same calls in another order, or some of them left out, are wrong.
#[track_caller]
fn assert_other_orders_are_noticed(traced: &Traced) {
    let is_directory = |path: &Path| path == traced.directory;
    let told_early = synced_after_telling(&traced.events);
    let no_content = without(&traced.events, |call| matches!(call, Call::Sync(path) if !is_directory(path)));
    let no_names = without(&traced.events, |call| matches!(call, Call::Sync(path) if is_directory(path)));
    let changed = changed_after_telling(&traced.events);
    for (events, word) in [
        (told_early, "called flushed"),
        (no_content, "became"),
        (no_names, "called flushed"),
        (changed, "was changed"),
    ] {
        let wrong = traced.judge_with(&events).wrong;
        assert!(wrong.iter().any(|what| what.contains(word)), "{word}: {wrong:?}");
    }
}

#[test]
fn rw_218_a_commit_waits_for_one_sync() {
    let cluster = cluster();
    let scratch = scratch_directory();
    let directory = directory(scratch.path(), "archive");
    let log = scratch.path().join("calls");
    let ours = WalProgram::ours();
    let mut receiver =
        ours.traced(&system_calls::OPTIONS, &log, &cluster, &directory).arg("--synchronous").start();
    cluster.psql("SELECT pg_switch_wal()");
    cluster.psql("INSERT INTO filler VALUES ('x')");
    wait_until_received(&cluster, &mut receiver);
    cluster.psql("ALTER SYSTEM SET synchronous_standby_names = 'pg_receivewal'");
    cluster.psql("SELECT pg_reload_conf()");
    wait_for("the receiver to count as synchronous", DEADLINE, || {
        cluster.psql("SELECT sync_state FROM pg_stat_replication") == "sync"
    });
    let before = position(&cluster.psql("SELECT pg_current_wal_flush_lsn()"));
    let commits = 20;
    for _ in 0..commits {
        cluster.psql("INSERT INTO filler VALUES ('x')");
    }
    let after = position(&cluster.psql("SELECT pg_current_wal_flush_lsn()"));
    receiver.signal(Signal::INT);
    receiver.finish().expect_success();
    let events = events(&fs::read_to_string(&log).unwrap());
    let judgement = OrderJudge::new(&directory, SEGMENT_SIZE, &[]).judge(&events, first_segment(&directory));
    assert!(judgement.wrong.is_empty(), "{:#?}", judgement.wrong);
    let told: Vec<u64> = judgement
        .told
        .iter()
        .map(|told| told.flushed)
        .filter(|flushed| (before..=after).contains(flushed))
        .collect();
    assert!(told.len() >= commits, "{commits} commits, but {told:X?}");

    let syncs =
        events.iter().filter(|event| matches!(event, Event::Begin { call: Call::Sync(_), .. })).count();
    let late = one_synced_after_telling(&events);
    let judgement = OrderJudge::new(&directory, SEGMENT_SIZE, &[]).judge(&late, first_segment(&directory));
    assert!(judgement.wrong.iter().any(|what| what.contains("called flushed")), "{:?}", judgement.wrong);

    let direct =
        |event: &&Event| matches!(event, Event::End { call: Call::Write { offset: Some(_), .. }, .. });
    // Others may have no such thing, or nothing to gain from it.
    if [EXT4, XFS].contains(&rustix::fs::statfs(&directory).unwrap().f_type) {
        assert!(events.iter().filter(direct).count() >= commits, "the page cache was used");
    }
    assert!(syncs >= commits, "{syncs} syncs for {commits} commits");
    assert!(syncs <= told.len() + 15, "{syncs} syncs for {commits} commits and {} updates", told.len());
}
