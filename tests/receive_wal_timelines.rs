//! The receiver follows the server from one timeline to the next, and from one server to the next.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "support/looping.rs"]
mod looping;
mod support;
#[path = "support/wal_run.rs"]
mod wal_run;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use looping::{Identity, Looping, MIB, START, answer_until, segment_size};
use pgsiphon::protocol::TimelineHistoryFile;
use pgsiphon::receive::{
    ArchiveEnd, Cluster as KnownCluster, OpenSegment, ReceiveReport, RunOptions, SegmentArchive, WalArchive,
};
use pgsiphon::storage::{StorageError, SyncPolicy};
use pgsiphon::types::{Lsn, TimelineId, WalFileName};
use support::log_writer::{LogKind, LogWriter};
use support::wal_program::WalProgram;
use support::{Cluster, ClusterBuilder, DEADLINE, ErrorText, ScriptedServer, StopMode, wait_for};
use tempfile::TempDir;
use wal_run::{Heard, WalRun, again_and_again, assert_same_segments, end_of_wal, files, once, up_to_now};

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn builder() -> ClusterBuilder {
    Cluster::builder(15).setting("wal_keep_size", "1GB").initdb_arg("--wal-segsize=1")
}

/// Fills so many segments, and begins another one.
fn fill_segments(cluster: &Cluster, count: usize) {
    for _ in 0..count {
        cluster.psql("SELECT pg_logical_emit_message(false, 'p', repeat('x', 1000))");
        cluster.psql("SELECT pg_switch_wal()");
    }
    cluster.psql("SELECT pg_logical_emit_message(true, 'p', 'm')");
}

/// Receives up to now.
#[track_caller]
fn receive(cluster: &Cluster, options: RunOptions, directory: &Path) -> (Heard, ReceiveReport) {
    let run = WalRun::start(&cluster.conninfo(), &up_to_now(cluster, options), directory);
    let heard = run.heard().clone();
    match run.finish() {
        Ok(report) => (heard, report),
        Err(error) => panic!("{}: {:?}", error.with_causes(), heard.lines()),
    }
}

/// Where the history that a server wrote says that the timeline was left.
fn fork_point(cluster: &Cluster, timeline: u32) -> Lsn {
    let history = cluster.data_dir().join(format!("pg_wal/{:08X}.history", timeline + 1));
    let history = fs::read_to_string(history).unwrap();
    let line = history.lines().find(|line| line.starts_with(&format!("{timeline}\t"))).unwrap();
    line.split('\t').nth(1).unwrap().parse().unwrap()
}

fn segment_name(timeline: u32, position: Lsn) -> String {
    let timeline = TimelineId::new(timeline).unwrap();
    WalFileName::new(timeline, position.segment_number(segment_size()), segment_size()).to_string()
}

fn assert_same_history(directory: &Path, cluster: &Cluster, timeline: u32) {
    let name = format!("{timeline:08X}.history");
    let of_server = fs::read(cluster.data_dir().join("pg_wal").join(&name)).unwrap();
    assert_eq!(fs::read(directory.join(&name)).unwrap(), of_server);
}

/// Lets no segment begin before the history file of its timeline is there.
struct HistoryFirst(SegmentArchive);

impl WalArchive for HistoryFirst {
    fn resume(&mut self, cluster: &KnownCluster<'_>) -> Result<Option<ArchiveEnd>, StorageError> {
        self.0.resume(cluster)
    }

    fn open_segment(
        &mut self,
        segment: WalFileName,
        from: Lsn,
    ) -> Result<Box<dyn OpenSegment + '_>, StorageError> {
        let timeline = segment.timeline();
        assert!(timeline == TimelineId::FIRST || self.0.has_history(timeline)?, "{segment}");
        self.0.open_segment(segment, from)
    }

    fn has_history(&mut self, timeline: TimelineId) -> Result<bool, StorageError> {
        self.0.has_history(timeline)
    }

    fn store_history(&mut self, file: &TimelineHistoryFile) -> Result<(), StorageError> {
        self.0.store_history(file)
    }

    fn finish(&mut self) -> Result<(), StorageError> {
        self.0.finish()
    }
}

#[test]
fn rw_170_rw_171_rw_173_rw_179_to_185_rw_187_rw_229_i_010_promotions_are_followed_over_one_connection() {
    let primary = builder().start();
    let mut standby = primary.start_standby();
    let from_start = directory();
    fill_segments(&primary, 1);
    receive(&primary, once(), from_start.path());
    assert!(!primary.log().contains("TIMELINE_HISTORY"));
    assert!(!files(from_start.path()).iter().any(|name| name.ends_with(".history")));

    // A cascading receiver while the standby is promoted.
    let cascading = directory();
    let heard = Heard::default();
    let archive =
        SegmentArchive::open(cascading.path(), None, SyncPolicy::Durable, Arc::new(heard.clone())).unwrap();
    let run = WalRun::start_with(&standby.conninfo(), &once(), HistoryFirst(archive), heard.clone());
    heard.wait_for(1, "starting");
    fill_segments(&primary, 2);
    standby.wait_until_replayed(&primary);
    standby.promote();
    fill_segments(&standby, 2);
    heard.wait_for(1, "switched to 2");
    let name = segment_name(2, end_of_wal(&standby));
    wait_for("the last segment", DEADLINE, || cascading.path().join(format!("{name}.partial")).exists());
    let report = run.stop().unwrap();
    assert_eq!(report.timeline, TimelineId::new(2).unwrap());
    assert_eq!(heard.about("starting").len(), 1, "{:?}", heard.lines());
    assert_eq!(heard.about("failed"), [""; 0]);

    let fork = fork_point(&standby, 1);
    assert_same_history(cascading.path(), &standby, 2);
    assert!(cascading.path().join(segment_name(2, fork)).exists());
    assert!(cascading.path().join(format!("{}.partial", segment_name(1, fork))).exists());
    assert!(!cascading.path().join(segment_name(1, fork)).exists());
    let before = Lsn::new(fork.as_u64() - MIB);
    assert!(cascading.path().join(segment_name(1, before)).exists());
    assert_same_segments(cascading.path(), &standby, 4);

    // Two promotions later somebody goes on who knows nothing of them.
    standby.stop(StopMode::Fast);
    fs::write(standby.data_dir().join("standby.signal"), "").unwrap();
    standby.start();
    standby.promote();
    fill_segments(&standby, 1);
    let (heard, report) = receive(&standby, once(), from_start.path());
    assert_eq!(report.timeline, TimelineId::new(3).unwrap());
    assert_eq!(heard.about("starting").len(), 1);
    let switched = [fork_point(&standby, 1), fork_point(&standby, 2)];
    let switched = [format!("switched to 2 at {}", switched[0]), format!("switched to 3 at {}", switched[1])];
    assert_eq!(heard.about("switched"), switched);
    for timeline in [2, 3] {
        assert_same_history(from_start.path(), &standby, timeline);
    }
    assert_same_segments(from_start.path(), &standby, 4);

    // Who begins on the last timeline gets the way there all the same.
    let newcomer = directory();
    receive(&standby, once(), newcomer.path());
    for timeline in [2, 3] {
        assert_same_history(newcomer.path(), &standby, timeline);
    }
}

#[test]
fn rw_088_rw_183_rw_186_a_slot_on_an_old_timeline_is_a_start_and_an_end_there_is_no_failure() {
    let primary = builder().start();
    let standby = primary.start_standby();
    standby.psql("SELECT pg_create_physical_replication_slot('s', true)");
    fill_segments(&primary, 2);
    standby.wait_until_replayed(&primary);
    standby.promote();
    fill_segments(&standby, 1);
    let options = RunOptions { slot: Some("s".to_owned()), ..once() };

    let stopped_early = directory();
    let end = Lsn::new(fork_point(&standby, 1).as_u64() - MIB);
    let options_to_end = RunOptions { end: Some(end), ..options.clone() };
    let run = WalRun::start(&standby.conninfo(), &options_to_end, stopped_early.path());
    let heard = run.heard().clone();
    let report = run.finish().unwrap();
    assert_eq!(report.timeline, TimelineId::FIRST);
    assert!(report.end.value() > end);
    assert_eq!((heard.about("failed").len(), heard.about("stopped").len()), (0, 1));

    // That run has moved the slot, which the next one does not ask.
    let (heard, _) = receive(&standby, options, stopped_early.path());
    assert!(heard.about("starting")[0].ends_with(" on 1"), "{:?}", heard.lines());
    assert_eq!(heard.about("switched").len(), 1);
    assert_same_segments(stopped_early.path(), &standby, 3);
}

#[test]
fn rw_051_rw_088_rw_198_an_empty_directory_and_a_slot_that_was_used_before_the_promotion() {
    let primary = builder().start();
    let standby = primary.start_standby();
    standby.psql("SELECT pg_create_physical_replication_slot('s', true)");
    fill_segments(&primary, 1);
    standby.wait_until_replayed(&primary);
    standby.promote();
    let kept = directory();
    let (heard, _) = receive(&standby, RunOptions { slot: Some("s".to_owned()), ..once() }, kept.path());
    assert!(heard.about("starting")[0].ends_with(" on 1"), "{:?}", heard.lines());
    assert_eq!(heard.about("switched").len(), 1);
    assert!(
        kept.path().join(segment_name(2, fork_point(&standby, 1))).exists()
            || heard.about("finished").len() > 1
    );

    // The programs say the same of it.
    fill_segments(&standby, 1);
    let end = end_of_wal(&standby).to_string();
    standby.psql("SELECT pg_logical_emit_message(true, 'p', 'beyond the end')");
    let said = |program: &WalProgram| {
        let kept = directory();
        standby.psql("SELECT pg_drop_replication_slot('s')");
        standby.psql("SELECT pg_create_physical_replication_slot('s')");
        let previous = Lsn::new(fork_point(&standby, 1).as_u64() - MIB);
        fs::write(kept.path().join(format!("{}.partial", segment_name(1, previous))), "").unwrap();
        let outcome = program
            .receive(&standby, kept.path())
            .args(["--slot", "s", "--verbose", "--endpos", &end, "--no-loop"])
            .run()
            .expect_success();
        let text = outcome.stderr;
        let about_switch = text.lines().find(|line| line.contains("switched to timeline")).map(str::to_owned);
        (about_switch.unwrap_or(text), files(kept.path()))
    };
    let (ours, real) = (said(&WalProgram::ours_as(15)), said(&WalProgram::real_of(15)));
    assert_eq!(ours, real);
    assert!(ours.0.starts_with("pg_receivewal: switched to timeline 2 at "), "{}", ours.0);
}

#[test]
fn rw_105_a_fork_at_the_end_of_a_segment_is_no_obstacle() {
    let mut primary = builder().start();
    let standby = primary.start_standby();
    let kept = directory();
    receive(&primary, once(), kept.path());
    // The end of the log is the start of a segment, and stays that.
    let run = WalRun::start(&primary.conninfo(), &once(), kept.path());
    run.heard().wait_for(1, "starting");
    primary.psql("SELECT pg_logical_emit_message(true, 'p', 'm')");
    primary.psql("SELECT pg_switch_wal()");
    let end = end_of_wal(&primary);
    standby.wait_until_replayed(&primary);
    let complete = format!("finished segment at {} on 1", end.segment_start(segment_size()));
    run.heard().wait_for(1, &complete);
    primary.crash();
    run.finish().unwrap_err();
    standby.promote();
    assert_eq!(fork_point(&standby, 1).segment_offset(segment_size()), 0);
    fill_segments(&standby, 1);
    let (heard, report) = receive(&standby, once(), kept.path());
    assert_eq!(report.timeline, TimelineId::new(2).unwrap());
    let fork = fork_point(&standby, 1);
    assert_eq!(heard.about("starting"), [format!("starting at {fork} on 1")]);
    assert_eq!(heard.about("switched"), [format!("switched to 2 at {fork}")]);
    assert_same_segments(kept.path(), &standby, 2);
}

#[test]
fn rw_098_rw_192_rw_210_a_failover_is_followed_and_the_old_primary_passed_over() {
    let mut old = builder().start();
    let new = old.start_standby();
    let both = format!("host=127.0.0.1,127.0.0.1 port={},{} user=postgres", old.port(), new.port());
    let primary_only = format!("{both} target_session_attrs=primary");
    let kept = directory();
    let run = WalRun::start(&primary_only, &again_and_again(), kept.path());
    run.heard().wait_for(1, "starting");
    fill_segments(&old, 1);
    new.wait_until_replayed(&old);
    run.heard().wait_for(1, "finished");
    old.crash();
    new.promote();
    fill_segments(&new, 1);
    run.heard().wait_for(1, "switched to 2");
    run.heard().wait_for(2, "finished");
    let end = end_of_wal(&new);
    run.stop().unwrap();
    assert_same_segments(kept.path(), &new, 2);

    // Now the first host is one that has not come as far.
    old.start();
    let options = RunOptions { end: Some(Lsn::new(end.as_u64() - 1)), ..again_and_again() };
    let run = WalRun::start(&both, &options, kept.path());
    let heard = run.heard().clone();
    assert_eq!(run.finish().unwrap().timeline, TimelineId::new(2).unwrap());
    let behind = "failed: starting timeline 2 is not present in the server";
    assert_eq!(heard.about("failed"), [behind]);
    let alone = WalRun::start(&old.conninfo(), &again_and_again(), kept.path());
    assert_eq!(alone.heard().wait_for(3, "failed")[2], behind);
    alone.stop().unwrap_err();
}

#[test]
fn rw_104_wal_that_one_host_has_removed_comes_from_another_one() {
    let primary = builder().setting("min_wal_size", "2MB").setting("max_wal_size", "4MB").start();
    let mut standby = primary.start_standby();
    let both = format!("host=127.0.0.1,127.0.0.1 port={},{} user=postgres", primary.port(), standby.port());
    let [from_both, late] = [directory(), directory()];
    fill_segments(&primary, 1);
    for kept in [&from_both, &late] {
        receive(&primary, once(), kept.path());
    }
    let oldest = files(from_both.path())[0][..24].to_owned();
    fill_segments(&primary, 8);
    standby.wait_until_replayed(&primary);
    primary.psql("ALTER SYSTEM SET wal_keep_size = 0");
    primary.psql("SELECT pg_reload_conf()");
    primary.psql("CHECKPOINT");
    wait_for("the segment to go", DEADLINE, || !primary.data_dir().join("pg_wal").join(&oldest).exists());

    let options = up_to_now(&standby, again_and_again());
    let run = WalRun::start(&both, &options, from_both.path());
    let heard = run.heard().clone();
    run.finish().unwrap();
    let failed = heard.about("failed: WAL is missing in the archive from ");
    assert_eq!((failed.len(), heard.about("failed").len()), (1, 1), "{:?}", heard.lines());
    assert_same_segments(from_both.path(), &standby, 8);

    standby.stop(StopMode::Fast);
    let run = WalRun::start(&both, &again_and_again(), late.path());
    assert!(run.finish().unwrap_err().is_gap());
}

/// The end of the log that [`switch_is_refused`] sends.
const FORK: &str = "0/3000A8";

/// A server whose first timeline has ended, and what it says of the next one.
#[track_caller]
fn switch_is_refused(answer: [&'static str; 2]) -> String {
    let server = ScriptedServer::start(move |peer| {
        answer_until(peer, "START_REPLICATION", Identity { timeline: "1", history: "" });
        peer.copy_both();
        let mut log = LogWriter::new(START, LogKind::with_segments_of(MIB));
        log.record(100);
        assert_eq!(Lsn::new(log.position()).to_string(), FORK);
        peer.send_wal(START, log.bytes());
        peer.send(b'c', b"");
        peer.expect_copy_done();
        peer.row(&["2", FORK]);
        peer.complete("START_STREAMING");
        peer.complete("START_REPLICATION");
        peer.ready();
        assert_eq!(peer.expect_command("TIMELINE_HISTORY"), "TIMELINE_HISTORY 2");
        peer.answer(&answer);
        peer.expect_end();
    });
    let looping = Looping::start(&server.conninfo(), once());
    let kept = looping.kept.clone();
    let error = looping.finish().unwrap_err().with_causes();
    server.finish();
    assert_eq!(kept.files().keys().collect::<Vec<_>>(), ["000000010000000000000003"]);
    error
}

#[test]
fn rw_175_rw_180_i_010_a_history_that_does_not_fit_is_not_followed() {
    for (answer, expected) in [
        (
            ["00000002.history", "1\t0/3000B0\tlater\n"],
            "server reported timeline 2 to begin at 0/3000A8, but in its history timeline 1 is left at 0/3000B0",
        ),
        (
            ["00000002.history", ""],
            "server reported timeline 2 to begin at 0/3000A8, but in its history timeline 1 does not occur",
        ),
        (
            ["00000002.history", "no history"],
            "syntax error in history file of timeline 2, line 1: expected a timeline",
        ),
        (
            ["00000003.history", "1\t0/3000A8\n"],
            "server reported unexpected history file name for timeline 2: 00000003.history",
        ),
    ] {
        assert_eq!(switch_is_refused(answer), expected);
    }
}
