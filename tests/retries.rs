//! `--retries`: a backup that failed is taken again where the cause may pass, from a clean start, and nowhere else.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::base_backup::{BackupProgram, verify};
use support::message_proxy::{Fate, Harm, MessageProxy, Moment, Place};
use support::scripted_backup_server::message;
use support::{
    Cluster, DEADLINE, Outcome, ReservedPort, Run, SmallDisk, StopMode, scratch_directory, wait_for,
    wait_for_some, wait_until_nothing_replicates,
};
use tempfile::TempDir;

const MAJOR: u16 = 15;

/// The connection of the backup is cut in the middle of the data.
const CUT_IN_DATA: Fate = Fate::Harmed(Moment::new("dd", 20), Harm::Cut(Place::Inside));

/// A place for backups, and the program that takes them.
struct Trial {
    program: BackupProgram,
    directory: TempDir,
}

impl Trial {
    fn new() -> Self {
        Self { program: BackupProgram::ours(), directory: scratch_directory() }
    }

    fn out(&self) -> std::path::PathBuf {
        self.directory.path().join("out")
    }

    fn run(&self, conninfo: &str, options: &[&str]) -> Run {
        let place = self.directory.path().to_str().unwrap();
        Run::new(self.program.path())
            .args(["--no-sync", "-c", "fast", "-d", conninfo, "-D"])
            .arg(self.out())
            .args(options.iter().map(|option| option.replace("DIR", place)))
    }

    /// What was printed, with `DIR` for the place and `N` for the length of each pause.
    fn shown(&self, outcome: &Outcome) -> String {
        let stderr = outcome.stderr.replace(self.directory.path().to_str().unwrap(), "DIR");
        let pauses_hidden = |line: &str| match line.split_once("; waiting ") {
            Some((before, rest)) => {
                let (pause, after) = rest.split_once(' ').unwrap();
                let pause: f64 = pause.parse().unwrap();
                assert!((0.5..=60.0).contains(&pause), "{line}");
                format!("{before}; waiting N {after}\n")
            }
            None => format!("{line}\n"),
        };
        stderr.lines().map(pauses_hidden).collect()
    }
}

const LOST: &str = "pg_basebackup: error: could not read COPY data: server closed the connection unexpectedly\n\
                    \tThis probably means the server terminated abnormally\n\
                    \tbefore or while processing the request.\n";

const REMOVED: &str = "pg_basebackup: removing data directory \"DIR/out\"\n";

fn waiting(retry: u32, of: u32) -> String {
    format!("pg_basebackup: base backup failed; waiting N seconds before retry {retry} of {of}\n")
}

#[test]
fn a_lost_connection_is_made_again_from_a_clean_start() {
    let cluster = Cluster::builder(MAJOR).start();
    let location = cluster.make_directory("tablespace").display().to_string();
    cluster.psql(&format!("CREATE TABLESPACE t LOCATION '{location}'"));
    cluster.psql("CREATE TABLE x TABLESPACE t AS SELECT 1");
    let trial = Trial::new();
    let proxy = MessageProxy::start(cluster.port(), vec![CUT_IN_DATA]);
    let mapping = format!("{location}=DIR/ts");
    let run = trial.run(&proxy.conninfo(), &["--retries=3", "-T", &mapping, "-C", "-S", "made"]);
    let outcome = run.run().expect_success();
    let tablespace_removed = "pg_basebackup: removing tablespace directory \"DIR/ts\"\n";
    assert_eq!(trial.shown(&outcome), format!("{LOST}{REMOVED}{tablespace_removed}{}", waiting(1, 3)));
    assert_eq!(proxy.accepted(), 4);
    verify(cluster.installation(), &trial.out(), &[]);
    assert_eq!(cluster.psql("SELECT slot_name, temporary, active FROM pg_replication_slots"), "made|f|f");

    // With the last retry it gives up, and nothing is left, on the server neither.
    let again = Trial::new();
    let proxy = MessageProxy::start(cluster.port(), vec![CUT_IN_DATA, Fate::Clean, CUT_IN_DATA]);
    let run = again.run(&proxy.conninfo(), &["--retries=1", "-Ft", "-C", "-S", "other"]);
    let outcome = run.run().expect_code(1);
    let giving_up = "pg_basebackup: error: giving up after retry 1 of 1\n\
                     pg_basebackup: dropped replication slot \"other\", which this run had created\n";
    assert_eq!(again.shown(&outcome), format!("{LOST}{REMOVED}{}{LOST}{REMOVED}{giving_up}", waiting(1, 1)));
    assert!(!again.out().exists());
    assert_eq!(cluster.psql("SELECT slot_name FROM pg_replication_slots"), "made");

    // A try that failed has no slot any more, and the next one makes a slot of its own.
    let again = Trial::new();
    let in_wal = Fate::Harmed(Moment::new("dw", 1), Harm::Reset(Place::Inside));
    let proxy = MessageProxy::start(cluster.port(), vec![Fate::Clean, in_wal]);
    let outcome = again.run(&proxy.conninfo(), &["--retries=1", "-Ft", "-v"]).run().expect_success();
    assert_eq!(outcome.stderr.matches("created temporary replication slot").count(), 2, "{}", outcome.stderr);
    cluster.psql("SELECT pg_drop_replication_slot('made')");
    wait_until_nothing_replicates(&cluster);
}

#[test]
fn servers_that_are_down_silent_or_too_busy_are_tried_again() {
    let mut cluster = Cluster::builder(MAJOR).setting("max_wal_senders", "2").start();
    cluster.stop(StopMode::Fast);
    let trial = Trial::new();
    let running = trial.run(&cluster.conninfo(), &["--retries=100"]).start();
    wait_for("a retry", DEADLINE, || running.stderr_so_far().contains("before retry 1 of 100\n"));
    cluster.start();
    let stderr = running.finish().expect_success().stderr;
    assert!(stderr.contains("failed: Connection refused"), "{stderr}");

    let trial = Trial::new();
    let silent = Fate::Harmed(Moment::new("T", 3), Harm::Stall(Place::Before));
    let proxy = MessageProxy::start(cluster.port(), vec![silent]);
    let run = trial.run(&proxy.conninfo(), &["--retries=1", "--receive-timeout=2", "-X", "none"]);
    let stderr = run.run().expect_success().stderr;
    assert!(stderr.contains("\"IDENTIFY_SYSTEM\": no message from the server for 2 seconds\n"), "{stderr}");
    drop(proxy);
    wait_until_nothing_replicates(&cluster);

    // One that goes on makes no room for two more connections.
    let slow = Trial::new();
    let mut other = slow.run(&cluster.conninfo(), &["-X", "none", "-r", "32"]).start();
    wait_for("the other backup", DEADLINE, || {
        cluster.psql("SELECT phase FROM pg_stat_progress_basebackup") == "streaming database files"
    });
    let trial = Trial::new();
    let running = trial.run(&cluster.conninfo(), &["--retries=100"]).start();
    wait_for("a retry", DEADLINE, || running.stderr_so_far().contains("before retry 1 of 100\n"));
    other.signal(Signal::TERM);
    let stderr = running.finish().expect_success().stderr;
    assert!(stderr.contains("FATAL:  number of requested standby connections exceeds"), "{stderr}");
    drop(other);
}

/// The server does not know yet that the client is gone.
#[test]
fn a_slot_that_a_half_open_connection_holds_is_waited_for() {
    let cluster = Cluster::builder(MAJOR).start();
    cluster.psql("SELECT pg_create_physical_replication_slot('held', true)");
    let stalled = Fate::Harmed(Moment::new("dw", 1), Harm::Stall(Place::Inside));
    let proxy = MessageProxy::start(cluster.port(), vec![Fate::Clean, stalled]);
    let trial = Trial::new();
    let options = ["--retries=10", "-S", "held", "--receive-timeout=1"];
    let running = trial.run(&proxy.conninfo(), &options).start();
    let in_use = "ERROR:  replication slot \"held\" is active for PID";
    wait_for("the slot to be missed", DEADLINE, || running.stderr_so_far().contains(in_use));
    // As the server's system does after tcp_user_timeout. An order to end would wait until the client reads.
    proxy.end_connections();
    let stderr = running.finish().expect_success().stderr;
    assert!(stderr.contains("error: no message from the server for 1 seconds\n"), "{stderr}");
    verify(cluster.installation(), &trial.out(), &[]);
}

/// In the words of real servers, at moments that are hard to come by.
#[test]
fn a_promoted_standby_and_a_failed_checkpoint_are_tried_again() {
    let cluster = Cluster::builder(MAJOR).start();
    let error = |sqlstate: &str, text: &str, routine: &str| {
        let fields = format!("SERROR\0VERROR\0C{sqlstate}\0M{text}\0R{routine}\0\0");
        Harm::Inject(message(b'E', fields.as_bytes()))
    };
    let promoted = error("55000", "the standby was promoted during online backup", "sendDir");
    let checkpoint = error("XX000", "checkpoint request failed", "RequestCheckpoint");
    let fates =
        vec![Fate::Harmed(Moment::new("dd", 20), promoted), Fate::Harmed(Moment::new("T", 4), checkpoint)];
    let proxy = MessageProxy::start(cluster.port(), fates);
    let trial = Trial::new();
    let outcome = trial.run(&proxy.conninfo(), &["--retries=2", "-X", "none"]).run().expect_success();
    let [promoted, checkpoint] = [
        "backup failed: ERROR:  the standby was promoted during online backup",
        "could not initiate base backup: ERROR:  checkpoint request failed",
    ]
    .map(|cause| format!("pg_basebackup: error: {cause}\n{REMOVED}"));
    let expected = format!("{promoted}{}{checkpoint}{}", waiting(1, 2), waiting(2, 2));
    let shown = trial.shown(&outcome);
    let shown: String = shown.split_inclusive('\n').filter(|line| !line.starts_with("NOTICE")).collect();
    assert_eq!(shown, expected);
}

#[test]
fn what_does_not_pass_is_not_tried_again() {
    let cluster = Cluster::builder(MAJOR)
        .hba("host replication refused all reject\nhost replication unknown all scram-sha-256\n")
        .start();
    cluster.psql(
        "CREATE ROLE refused LOGIN REPLICATION; CREATE ROLE unknown LOGIN REPLICATION PASSWORD 'right'",
    );
    cluster.psql("CREATE TABLE t AS SELECT 'this stands in a table'");
    let final_ = |trial: &Trial, run: Run, cause: &str| {
        let stderr = trial.shown(&run.run().expect_code(1));
        assert!(stderr.contains(cause), "{stderr}");
        let end = "pg_basebackup: not trying again: the cause does not pass by itself\n";
        assert!(stderr.ends_with(end) && !stderr.contains("waiting"), "{stderr}");
    };
    let retries = ["--retries=3"];
    let plain = "sslmode=disable gssencmode=disable";

    let trial = Trial::new();
    let conninfo = format!("{} user=refused {plain}", cluster.conninfo());
    final_(&trial, trial.run(&conninfo, &retries), "pg_hba.conf rejects replication connection");
    let conninfo = format!("{} user=unknown password=wrong {plain}", cluster.conninfo());
    final_(&trial, trial.run(&conninfo, &retries), "password authentication failed");

    fs::create_dir(trial.out()).unwrap();
    fs::write(trial.out().join("file"), "precious").unwrap();
    final_(&trial, trial.run(&cluster.conninfo(), &retries), "\"DIR/out\" exists but is not empty");
    assert_eq!(fs::read(trial.out().join("file")).unwrap(), b"precious");

    let trial = Trial::new();
    let missing_slot = ["--retries=3", "-S", "nowhere"];
    final_(
        &trial,
        trial.run(&cluster.conninfo(), &missing_slot),
        "replication slot \"nowhere\" does not exist",
    );

    let flipped = Fate::Harmed(Moment::holding("dd", "this stands in a table"), Harm::FlipBit);
    let proxy = MessageProxy::start(cluster.port(), vec![flipped]);
    final_(&trial, trial.run(&proxy.conninfo(), &retries), "backup verification failed");

    let disk = SmallDisk::new("4m");
    let full = trial.run(&cluster.conninfo(), &["--retries=3", "-X", "none", "-D"]).arg(disk.path());
    final_(&trial, full, "No space left on device");
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);

    let clash = trial.run(&cluster.conninfo(), &["--retries=1", "-n"]).run().expect_code(1);
    assert!(
        clash.stderr.contains("error: --no-clean and --retries are incompatible options\n"),
        "{}",
        clash.stderr
    );
}

/// What has gone out cannot be taken back.
#[test]
fn standard_output_gets_one_backup() {
    let cluster = Cluster::builder(MAJOR).start();
    let trial = Trial::new();
    let options = ["--retries=2", "-X", "none", "-Ft", "-D", "-"];
    let proxy = MessageProxy::start(cluster.port(), vec![CUT_IN_DATA]);
    let outcome = trial.run(&proxy.conninfo(), &options).run().expect_code(1);
    let reason = "pg_basebackup: not trying again: part of the backup may have gone to standard output\n";
    assert_eq!(outcome.stderr, format!("{LOST}{reason}"));

    let proxy = MessageProxy::start(cluster.port(), vec![Fate::Refused]);
    let outcome = trial.run(&proxy.conninfo(), &options).run().expect_success();
    assert!(tar::Archive::new(&outcome.stdout[..]).entries().unwrap().count() > 100);
}

#[test]
fn a_signal_ends_a_pause_at_once() {
    let nobody = ReservedPort::reserve();
    let conninfo = format!("host=127.0.0.1 port={} user=u", nobody.number());
    for (signal, options) in [(Signal::TERM, &["-Fp"][..]), (Signal::INT, &["-Ft", "-X", "none", "-D", "-"])]
    {
        let trial = Trial::new();
        let mut running = trial.run(&conninfo, &[&["--retries=1000"], options].concat()).start();
        let pause = wait_for_some("a long pause", DEADLINE, || {
            let stderr = running.stderr_so_far();
            let line = stderr.lines().find(|line| line.ends_with(" seconds before retry 3 of 1000"))?;
            line.split("; waiting ").nth(1)?.split(' ').next()?.parse().ok()
        });
        let told = Instant::now();
        running.signal(signal);
        let outcome = running.finish();
        assert_eq!(outcome.signal(), Some(signal.as_raw()), "{}", outcome.stderr);
        assert!(told.elapsed() < Duration::from_secs_f64(pause), "{:?}", told.elapsed());
        assert!(!Path::exists(&trial.out()));
    }
}
