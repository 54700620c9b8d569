//! Connections that break, servers that go away, and a receiver that stands still: it comes back by itself and goes on
//! in the middle of the segment.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use support::archived_wal::{ArchivedFile, ArchivedWal, position};
use support::base_backup::{BackupProgram, file_names};
use support::wal_program::WalProgram;
use support::{
    Cluster, DEADLINE, Proxy, ReservedPort, Running, StopMode, recover, scratch_directory, wait_for,
};
use tempfile::TempDir;

const MAJOR: u16 = 15;
const SEGMENT_SIZE: u64 = 1 << 20;

fn cluster(settings: &[(&str, &str)]) -> Cluster {
    let mut builder = Cluster::builder(MAJOR)
        .initdb_arg("--wal-segsize=1")
        .setting("wal_keep_size", "1GB")
        .setting("wal_recycle", "off");
    for (name, value) in settings {
        builder = builder.setting(name, value);
    }
    let cluster = builder.start();
    cluster.psql("CREATE TABLE filler (text text)");
    cluster
}

/// WAL of half a segment or so.
fn write_wal(cluster: &Cluster) {
    cluster.psql("INSERT INTO filler SELECT repeat('x', 500) FROM generate_series(1, 800)");
}

/// A receiver at work, and its directory.
struct Work {
    receiver: Running,
    directory: PathBuf,
    _scratch: TempDir,
}

impl Work {
    fn start(conninfo: &str, options: &[&str]) -> Self {
        let scratch = scratch_directory();
        let directory = scratch.path().join("archive");
        fs::create_dir(&directory).unwrap();
        let receiver = WalProgram::ours()
            .run()
            .args(["-d", conninfo, "-D"])
            .arg(&directory)
            .args(["--synchronous"])
            .args(options)
            .start();
        Self { receiver, directory, _scratch: scratch }
    }

    /// Waits until what the server has at this moment is durable, and says where that ends.
    #[track_caller]
    fn wait_until_received(&mut self, cluster: &Cluster) -> u64 {
        let end = cluster.psql("SELECT pg_current_wal_flush_lsn()");
        let condition = format!("SELECT flush_lsn >= '{end}' FROM pg_stat_replication");
        wait_for("everything to be received", DEADLINE, || {
            assert!(
                self.receiver.is_running(),
                "the receiver ended early: {}",
                self.receiver.stderr_so_far()
            );
            cluster.psql(&condition) == "t"
        });
        position(&end)
    }

    /// Ends it in good order and gives what it printed.
    #[track_caller]
    fn finish(mut self, cluster: &Cluster) -> String {
        let end = self.wait_until_received(cluster);
        self.receiver.signal(Signal::INT);
        let outcome = self.receiver.finish().expect_success();
        let found = ArchivedWal::new(&self.directory, cluster.data_dir(), SEGMENT_SIZE).check();
        assert!(found.recoverable >= end, "{found:X?} does not reach {end:X}");
        outcome.stderr
    }
}

/// The positions from which receivers have asked for WAL.
fn starts(cluster: &Cluster) -> Vec<u64> {
    let log = cluster.log();
    let commands =
        log.lines().filter_map(|line| line.split_once("received replication command: START_REPLICATION"));
    let words = commands.map(|(_, rest)| rest.split_whitespace().find(|word| word.contains('/')).unwrap());
    words.map(|word| position(word.trim_matches('"'))).collect()
}

/// The process that sends WAL.
fn wal_sender(cluster: &Cluster) -> String {
    cluster.psql("SELECT pid FROM pg_stat_replication")
}

#[test]
fn rw_191_235_and_163_a_cut_connection_is_made_again_in_the_middle_of_the_segment() {
    let cluster = cluster(&[]);
    let proxy = Proxy::start(cluster.port());
    let mut work = Work::start(&proxy.conninfo(), &[]);
    cluster.psql("SELECT pg_switch_wal()");
    for round in 0..6 {
        write_wal(&cluster);
        let received = work.wait_until_received(&cluster);
        let connections = proxy.accepted();
        if round < 3 {
            proxy.cut();
        } else {
            // In the middle of a message.
            proxy.cut_after(100_000 + 1234 * round);
            write_wal(&cluster);
        }
        wait_for("a new connection", DEADLINE, || proxy.accepted() > connections);
        work.wait_until_received(&cluster);
        let asked = *starts(&cluster).last().unwrap();
        assert!(asked + 8192 * 2 > received, "{asked:X} is far from {received:X}");
        assert!(
            !asked.is_multiple_of(SEGMENT_SIZE) || received % SEGMENT_SIZE < 8192 * 2,
            "from the segment's start"
        );
    }
    let stderr = work.finish(&cluster);
    assert!(stderr.contains("error: "), "{stderr}");
    assert_eq!(stderr.matches("disconnected; waiting ").count(), 6, "{stderr}");
    assert!(stderr.contains("disconnected; waiting 0 seconds to try again"), "{stderr}");
}

/// Nothing comes through any more, and nobody says so.
#[test]
fn rw_233_a_half_open_connection_is_given_up() {
    let cluster = cluster(&[]);
    let proxy = Proxy::start(cluster.port());
    let mut work = Work::start(&proxy.conninfo(), &["--receive-timeout=2", "--status-interval=1"]);
    write_wal(&cluster);
    work.wait_until_received(&cluster);
    let old = wal_sender(&cluster);
    proxy.stall();
    write_wal(&cluster);
    let end = cluster.psql("SELECT pg_current_wal_flush_lsn()");
    wait_for("a new connection", DEADLINE, || {
        cluster.psql(&format!(
            "SELECT count(*) FROM pg_stat_replication WHERE pid <> {old} AND flush_lsn >= '{end}'"
        )) == "1"
    });
    assert!(work.receiver.stderr_so_far().contains("no message from the server for 2 seconds"));
    proxy.cut();
    work.finish(&cluster);
}

/// The server hears nothing of a receiver that is stopped, and drops it.
#[test]
fn rw_220_and_221_an_idle_receiver_is_kept_and_one_that_is_stopped_recovers() {
    let cluster = cluster(&[("wal_sender_timeout", "2s")]);
    let mut work = Work::start(&cluster.conninfo(), &["--status-interval=0"]);
    write_wal(&cluster);
    work.wait_until_received(&cluster);
    let sender = wal_sender(&cluster);
    wait_for("answers for twice the timeout", DEADLINE, || {
        cluster.psql("SELECT reply_time - backend_start > '4 s' FROM pg_stat_replication") == "t"
    });
    assert_eq!(wal_sender(&cluster), sender);

    work.receiver.signal(Signal::STOP);
    write_wal(&cluster);
    wait_for("the server to lose patience", DEADLINE, || {
        cluster.log().contains("terminating walsender process due to replication timeout")
    });
    work.receiver.signal(Signal::CONT);
    wait_for("a new connection", DEADLINE, || !["", &sender].contains(&wal_sender(&cluster).as_str()));
    work.finish(&cluster);
}

/// Each way in which a server can go away; it comes back on the same port.
#[test]
fn rw_188_189_and_192_restarts_of_the_server_leave_no_gap() {
    let mut cluster = cluster(&[]);
    let mut work = Work::start(&cluster.conninfo(), &[]);
    for (restart, mode) in
        [Some(StopMode::Fast), Some(StopMode::Smart), Some(StopMode::Immediate), None].into_iter().enumerate()
    {
        write_wal(&cluster);
        work.wait_until_received(&cluster);
        match mode {
            Some(mode) => assert!(cluster.stop(mode).success() || mode == StopMode::Immediate),
            None => cluster.crash(),
        }
        wait_for("the receiver to notice", DEADLINE, || {
            work.receiver.stderr_so_far().matches("disconnected").count() > restart
        });
        cluster.start();
        write_wal(&cluster);
        work.wait_until_received(&cluster);
    }
    let stderr = work.finish(&cluster);
    let said = "error: replication stream was terminated before stop point";
    assert!(stderr.matches(said).count() >= 2, "{stderr}");
    assert!(!cluster.log().contains("terminating walsender process due to replication timeout"));
}

/// The old primary goes on for a while after the standby has been cut off from it, so that there are two branches.
#[test]
fn i_006_a_promoted_standby_is_followed_and_both_branches_are_kept() {
    let scratch = scratch_directory();
    let [backup, standby_directory] = ["backup", "standby"].map(|name| scratch.path().join(name));
    let mut primary = cluster(&[]);
    let ports = [primary.port(), ReservedPort::reserve().number()];
    let hosts = format!(
        "host=127.0.0.1,127.0.0.1 port={},{} user=postgres target_session_attrs=read-write",
        ports[0], ports[1]
    );
    let mut work = Work::start(&hosts, &[]);
    work.wait_until_received(&primary);
    let real = BackupProgram::real_of(MAJOR);
    for (directory, options) in [(&backup, &["-X", "none"][..]), (&standby_directory, &["-R"])] {
        real.back_up(&primary, directory).arg("--no-sync").args(options).run().expect_success();
    }
    let standby = Cluster::existing(MAJOR, &standby_directory).port(ports[1]).start();
    standby.wait_until_streaming(&primary);
    primary.psql("INSERT INTO filler VALUES ('before')");
    write_wal(&primary);
    standby.wait_until_replayed(&primary);
    standby.promote();
    // What the old primary still commits belongs to its branch alone.
    primary.psql("INSERT INTO filler VALUES ('old branch')");
    primary.psql("INSERT INTO filler SELECT repeat('x', 500) FROM generate_series(1, 4000)");
    wait_for("the old branch to be received", DEADLINE, || {
        primary.psql(
            "SELECT count(*) FROM pg_stat_replication
             WHERE application_name = 'pg_receivewal' AND flush_lsn = pg_current_wal_flush_lsn()",
        ) == "1"
    });
    let old_branch = segments(&work.directory);
    primary.crash();
    standby.psql("INSERT INTO filler VALUES ('new branch')");
    standby.psql("INSERT INTO filler SELECT repeat('x', 500) FROM generate_series(1, 4000)");
    standby.psql("SELECT pg_switch_wal()");
    standby.psql("INSERT INTO filler VALUES ('last')");
    work.wait_until_received(&standby);
    work.receiver.signal(Signal::INT);
    work.receiver.finish().expect_success();

    let names = file_names(&work.directory);
    let kept = segments(&work.directory);
    assert!(names.contains(&"00000002.history".to_owned()), "{names:?}");
    assert!(old_branch.iter().all(|segment| kept.contains(segment)), "{old_branch:?}, {names:?}");
    assert!(kept.iter().any(|segment| segment.starts_with("00000002")), "{names:?}");
    assert_recovers(&backup, &work.directory);
}

/// The segments in the directory, whole or not.
fn segments(directory: &Path) -> Vec<String> {
    let segment = |name: String| match ArchivedFile::named(&name) {
        ArchivedFile::Complete { segment, .. } | ArchivedFile::Partial { segment, .. } => Some(segment),
        _ => None,
    };
    file_names(directory).into_iter().filter_map(segment).collect()
}

#[track_caller]
fn assert_recovers(backup: &Path, archive: &Path) {
    let recovered = recover(MAJOR, backup, archive, SEGMENT_SIZE);
    let rows = recovered.psql("SELECT text FROM filler WHERE length(text) < 500 ORDER BY 1");
    assert_eq!(rows, "before\nlast\nnew branch");
}
