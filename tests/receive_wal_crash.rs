//! A receiver that is killed at any instant, again and again, with changing options and with the real program in
//! between, leaves at each instant only segments that the server has, and in the end all of them.
//!
//! `PGSIPHON_CRASH_SECONDS` says for how long, `PGSIPHON_SEED` repeats what was random before.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::archived_wal::{ArchivedFile, ArchivedWal, position, position_text};
use support::base_backup::file_names;
use support::wal_program::WalProgram;
use support::{
    Cluster, DEADLINE, Outcome, Random, Run, Running, scratch_directory, seconds_from_environment, wait_for,
};

const SEGMENT_SIZE: u64 = 1 << 20;

/// What a receiver does to files: it may be killed before any of these.
const CALLS: &str = "openat,fallocate,ftruncate,write,pwrite64,writev,fsync,fdatasync,rename,renameat,renameat2,\
                     unlink,unlinkat";

/// How long a receiver is left alone at most.
const LONGEST: Duration = Duration::from_millis(1500);

/// What may fail beside it: which calls, and how.
const FAILURES: [(&str, &str); 6] = [
    ("fsync,fdatasync", "EIO"),
    ("fallocate", "ENOSPC"),
    ("rename,renameat,renameat2", "EIO"),
    ("unlink,unlinkat", "EIO"),
    ("ftruncate", "EIO"),
    ("fchmod", "EPERM"),
];

/// How the life of a receiver ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It is killed after a while.
    AfterAWhile,
    /// It is killed before that call.
    BeforeCall(u64),
    /// A call of this kind fails with this error, the so-manieth; it is killed some time later.
    AfterFailure(&'static str, &'static str, u64),
}

/// How a receiver is run before it is killed.
#[derive(Debug)]
struct Round {
    compression: &'static str,
    synchronous: bool,
    slot: bool,
    ending: Ending,
}

impl Round {
    fn choose(random: &mut Random) -> Self {
        let compressions = ["none", "none", "gzip", "gzip:1", "lz4", "zstd", "zstd:level=1"];
        let ending = match random.below(5) {
            0 | 1 => Ending::AfterAWhile,
            2 | 3 => Ending::BeforeCall(1 + random.below(10) * random.below(12)),
            _ => {
                let (calls, error) = random.choose(&FAILURES);
                Ending::AfterFailure(calls, error, 1 + random.below(8))
            }
        };
        Self {
            compression: random.choose(&compressions),
            synchronous: random.one_in(2),
            slot: !random.one_in(3),
            ending,
        }
    }

    fn options(&self) -> Vec<&str> {
        let mut options = vec!["--compress", self.compression];
        options.extend(self.synchronous.then_some("--synchronous"));
        options.extend(self.slot.then_some("--slot=s"));
        options
    }

    /// How the receiver is started.
    fn run(&self, program: &WalProgram, cluster: &Cluster, directory: &Path) -> Run {
        let log = directory.with_extension("calls");
        let traced = |calls: &str, fault: &str, more: &[&str]| {
            let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:{fault}"));
            let options = [&["-e", &trace, "-e", &inject], more].concat();
            program.traced(&options, &log, cluster, directory)
        };
        let run = match self.ending {
            Ending::AfterAWhile => program.receive(cluster, directory),
            Ending::BeforeCall(call) => traced(CALLS, &format!("signal=KILL:when={call}"), &[]),
            Ending::AfterFailure(calls, error, when) => {
                traced(calls, &format!("error={error}:when={when}"), &["--seccomp-bpf"])
            }
        };
        run.args(self.options())
    }

    /// How long the receiver is left alone.
    fn patience(&self, random: &mut Random) -> Duration {
        match self.ending {
            Ending::BeforeCall(_) => LONGEST,
            Ending::AfterAWhile | Ending::AfterFailure(..) => random.time_below(LONGEST),
        }
    }

    /// It may not have ended by itself, or complained, without a reason.
    #[track_caller]
    fn check_end(&self, outcome: &Outcome) {
        let Outcome { stderr, status, .. } = outcome;
        assert!(!stderr.contains("panicked"), "{self:?}: {stderr}");
        let killed = outcome.signal() == Some(Signal::KILL.as_raw());
        match self.ending {
            Ending::AfterFailure("fsync,fdatasync", ..) if outcome.code() == Some(1) => {
                assert!(stderr.contains("could not fsync"), "{self:?}: {stderr}");
            }
            Ending::AfterFailure(..) => assert!(killed, "{self:?} ended with {status}: {stderr}"),
            _ => {
                assert!(killed, "{self:?} ended with {status}: {stderr}");
                assert!(!stderr.contains("error"), "{self:?}: {stderr}");
            }
        }
    }
}

/// A server under load, and a directory that receivers write to.
struct Battlefield {
    cluster: Cluster,
    directory: PathBuf,
    archive: ArchivedWal,
    random: Random,
    ours: WalProgram,
    /// The real programs, which take over now and then.
    real: [WalProgram; 2],
    /// Whether the last one that was here was the program under test.
    ours_was_last: bool,
    kills: u32,
    kills_before_a_call: u32,
    failures: u32,
    takeovers: u32,
}

impl Battlefield {
    fn new(cluster: Cluster, directory: &Path) -> Self {
        Self {
            archive: ArchivedWal::new(directory, cluster.data_dir(), SEGMENT_SIZE),
            cluster,
            directory: directory.to_owned(),
            random: Random::from_environment(),
            ours: WalProgram::ours(),
            real: [15, 18].map(WalProgram::real_of),
            ours_was_last: true,
            kills: 0,
            kills_before_a_call: 0,
            failures: 0,
            takeovers: 0,
        }
    }

    /// Runs the program and kills it.
    fn kill_ours(&mut self) {
        let round = Round::choose(&mut self.random);
        let mut receiver = round.run(&self.ours, &self.cluster, &self.directory).start();
        Self::wait_for_start(&receiver);
        let patience = round.patience(&mut self.random);
        let ended = Self::leave_alone(&mut receiver, patience);
        receiver.signal(Signal::KILL);
        let outcome = receiver.finish();
        round.check_end(&outcome);
        match round.ending {
            Ending::BeforeCall(_) if ended => self.kills_before_a_call += 1,
            Ending::AfterFailure(..) => self.failures += 1,
            _ => self.kills += 1,
        }
        self.ours_was_last = true;
        self.check_after_kill(&round);
    }

    /// Waits until the process is the receiver and no longer `strace`, which must not be killed.
    fn wait_for_start(receiver: &Running) {
        let executable = format!("/proc/{}/exe", receiver.pid());
        wait_for("strace to start the receiver", DEADLINE, || {
            !fs::read_link(&executable).is_ok_and(|executable| executable.ends_with("strace"))
        });
    }

    /// Waits; gives whether the receiver has ended by itself.
    fn leave_alone(receiver: &mut Running, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if !receiver.is_running() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        !receiver.is_running()
    }

    #[track_caller]
    fn check_after_kill(&mut self, round: &Round) {
        let acknowledged = if round.slot { self.acknowledged() } else { 0 };
        let found = self.archive.check();
        assert!(
            found.recoverable >= acknowledged,
            "{} was acknowledged, but only {} is there; {round:?}: {found:?}, {:?}",
            position_text(acknowledged),
            position_text(found.recoverable),
            file_names(&self.directory)
        );
        let sizes = &found.raw_partial_sizes;
        assert!(
            !self.ours_was_last || sizes.iter().all(|&size| [0, SEGMENT_SIZE].contains(&size)),
            "sizes of partial files: {sizes:?}; {round:?}"
        );
    }

    /// What the server has heard to be durable, of a receiver that is dead by now.
    fn acknowledged(&self) -> u64 {
        wait_for("the slot to be free", DEADLINE, || {
            self.cluster.psql("SELECT active FROM pg_replication_slots") == "f"
        });
        let restart = self.cluster.psql("SELECT restart_lsn FROM pg_replication_slots");
        if restart.is_empty() { 0 } else { position(&restart) }
    }

    /// Lets one of the real programs go on in the directory, and ends it in this way or the other.
    fn hand_over(&mut self) {
        // It spoils a compressed partial segment that is there already.
        let is_compressed_partial = |name: &String| matches!(ArchivedFile::named(name), ArchivedFile::Partial { suffix, .. } if !suffix.is_empty());
        let methods: &[&str] = if file_names(&self.directory).iter().any(is_compressed_partial) {
            &["--compress=none"]
        } else {
            &["--compress=none", "--compress=gzip", "--compress=lz4"]
        };
        let method = self.random.choose(methods);
        let program = &self.real[usize::from(self.random.one_in(2))];
        let mut receiver = program.receive(&self.cluster, &self.directory).arg(method).start();
        let patience = self.random.time_below(LONGEST) + Duration::from_millis(50);
        let ended = Self::leave_alone(&mut receiver, patience);
        assert!(!ended, "{}", receiver.stderr_so_far());
        if self.random.one_in(2) {
            receiver.signal(Signal::INT);
            // It may miss the signal, or wait for the server for ever.
            Self::leave_alone(&mut receiver, LONGEST);
        }
        receiver.signal(Signal::KILL);
        receiver.finish();
        self.takeovers += 1;
        self.ours_was_last = false;
        self.archive.check();
    }

    /// Receives to an end, in good order.
    #[track_caller]
    fn receive_the_rest(&mut self) {
        let end = self.cluster.psql("SELECT pg_current_wal_flush_lsn()");
        self.cluster.psql("SELECT pg_switch_wal()");
        self.cluster.psql("CREATE TABLE the_end AS SELECT 1 AS one");
        let round = Round::choose(&mut self.random);
        self.ours
            .receive(&self.cluster, &self.directory)
            .args(round.options())
            .arg(format!("--endpos={end}"))
            .arg("--no-loop")
            .run()
            .expect_success();
        let found = self.archive.check();
        let names = file_names(&self.directory);
        assert!(found.recoverable > position(&end), "{round:?}: {found:?} does not reach {end}; {names:?}");
        assert_eq!(found.temporary, 0, "{round:?}: {names:?}");
        assert!(found.partial <= 1, "{round:?}: {names:?}");
    }
}

#[test]
#[allow(clippy::print_stderr, reason = "the numbers are worth knowing")]
fn rw_156_and_163_i_003_005_006_and_014_killed_at_any_instant_it_loses_nothing() {
    let cluster = Cluster::builder(15)
        .initdb_arg("--wal-segsize=1")
        .setting("wal_keep_size", "1TB")
        .setting("wal_recycle", "off")
        .setting("max_wal_size", "4GB")
        .start();
    cluster.pgbench_init(1);
    cluster.psql("CREATE TABLE filler (text text)");
    cluster.psql("SELECT pg_create_physical_replication_slot('s')");
    let scratch = scratch_directory();
    let directory = scratch.path().join("archive");
    fs::create_dir(&directory).unwrap();
    let mut field = Battlefield::new(cluster, &directory);
    let load = field.cluster.pgbench_load();

    let until = Instant::now() + seconds_from_environment("PGSIPHON_CRASH_SECONDS", 12);
    while Instant::now() < until {
        let rows = field.random.below(4) * field.random.below(2000);
        field
            .cluster
            .psql(&format!("INSERT INTO filler SELECT repeat('x', 500) FROM generate_series(1, {rows})"));
        field.kill_ours();
        if field.random.one_in(8) {
            field.hand_over();
        }
        if field.random.one_in(4) {
            field.cluster.psql("SELECT pg_switch_wal()");
        }
    }
    load.stop(&field.cluster);
    field.receive_the_rest();

    let segments = field.archive.check().complete.len();
    let Battlefield { kills, kills_before_a_call, failures, takeovers, .. } = field;
    eprintln!(
        "{kills} kills at some time, {kills_before_a_call} before a system call, {failures} after one that failed; \
         {takeovers} takeovers by the real programs; {segments} segments"
    );
    assert!(kills + kills_before_a_call > 5 && segments > 5);
}
