//! `pg_receivewal --create-slot` and `--drop-slot` do to real servers what PostgreSQL's own program does, and say the
//! same about it.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "support/receiving.rs"]
mod receiving;
mod support;

use std::path::Path;

use pgsiphon::receive::DirectoryArchive;
use pgsiphon::storage::{Access, Directory, SyncPolicy};
use pgsiphon::types::{Lsn, SegmentSize};
use receiving::{Receiving, plain_options};
use support::{Cluster, DEADLINE, Installation, Outcome, Personality, Run, scratch_directory, wait_for};

const NAME: &str = "pg_receivewal";

/// A server and both programs.
struct Bench {
    cluster: Cluster,
    ours: Personality,
}

impl Bench {
    fn of(major: u16) -> Self {
        let cluster = Cluster::builder(major).setting("wal_level", "logical").start();
        Self { cluster, ours: Personality::named(NAME) }
    }

    #[track_caller]
    fn run(&self, program: &Path, arguments: &[&str]) -> Outcome {
        let major = self.cluster.installation().major();
        let client = if major < 14 { 15 } else { major };
        Run::new(program)
            .args(["-d", &self.cluster.conninfo()])
            .args(arguments)
            .env("LD_LIBRARY_PATH", Installation::find(client).library_directory())
            .env("PGSIPHON_PG_VERSION", client.to_string())
            .run()
    }

    #[track_caller]
    fn ours(&self, arguments: &[&str]) -> Outcome {
        self.run(self.ours.path(), arguments)
    }

    /// Both programs end alike; `before` makes the same ground for each. What they print has no process ids in it.
    #[track_caller]
    fn both(&self, before: &str, arguments: &[&str]) -> Outcome {
        let real = Installation::find(self.cluster.installation().major().max(15)).program(NAME);
        let [(real, real_text), (ours, text)] = [real.as_path(), self.ours.path()].map(|program| {
            self.cluster.psql(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active",
            );
            self.cluster.psql(before);
            let outcome = self.run(program, arguments);
            let text = outcome.stderr.split("for PID ").next().unwrap().to_owned();
            (outcome, text)
        });
        assert_eq!((ours.code(), text), (real.code(), real_text), "{arguments:?}");
        assert!(ours.stdout.is_empty());
        ours
    }

    fn slots(&self) -> String {
        self.cluster.psql(
            "SELECT slot_name, slot_type, restart_lsn IS NULL AS unused, temporary FROM pg_replication_slots",
        )
    }
}

const LOGICAL: &str = "SELECT pg_create_logical_replication_slot('s', 'pgoutput')";
const PHYSICAL: &str = "SELECT pg_create_physical_replication_slot('s')";

#[test]
fn rw_019_rw_020_rw_026_and_041_to_046_slots_are_created_and_dropped_as_by_the_original() {
    for major in [15, 18] {
        let bench = Bench::of(major);
        let text = |outcome: Outcome| outcome.stderr;
        bench.both("", &["-S", "s", "--create-slot"]).expect_success();
        // It has never been used, so it keeps nothing.
        assert_eq!(bench.slots(), "s|physical|t|f");
        let created = bench.both("", &["-S", "s", "--create-slot", "-v"]).expect_success();
        assert_eq!(text(created), "pg_receivewal: creating replication slot \"s\"\n");
        let exists = bench.both(PHYSICAL, &["-S", "s", "--create-slot"]).expect_code(1);
        assert_eq!(
            text(exists),
            "pg_receivewal: error: could not send replication command \"CREATE_REPLICATION_SLOT \"s\" PHYSICAL\": \
             ERROR:  replication slot \"s\" already exists\n"
        );
        let exists =
            bench.both(PHYSICAL, &["-S", "s", "--create-slot", "--if-not-exists", "-v"]).expect_success();
        assert_eq!(text(exists), "pg_receivewal: creating replication slot \"s\"\n");
        let dropped = bench.both(PHYSICAL, &["-S", "s", "--drop-slot", "--verbose"]).expect_success();
        assert_eq!(
            (text(dropped).as_str(), bench.slots().as_str()),
            ("pg_receivewal: dropping replication slot \"s\"\n", "")
        );
        for name in ["s", "UPPER", "", "a b", &"x".repeat(64)] {
            bench.both("", &["-S", name, "--drop-slot"]).expect_code(1);
        }
        for name in ["UPPER", "", "a b"] {
            bench.both("", &["-S", name, "--create-slot", "--if-not-exists"]).expect_code(1);
        }
        // The server shortens it, and says so.
        let shortened = bench.both("", &["-S", &"x".repeat(64), "--create-slot"]).expect_success();
        assert!(shortened.stderr.starts_with("NOTICE:  identifier"), "{}", shortened.stderr);
        if major > 15 {
            // Programs of 15 send this name as it is.
            bench.both("", &["-S", "a\"b", "--create-slot"]).expect_code(1);
        }
    }
}

#[test]
fn rw_040_rw_048_other_options_say_nothing_to_slot_modes() {
    let bench = Bench::of(15);
    let others = ["-D", "/nonexistent", "-E", "0/1", "-n", "-s0", "--synchronous", "--if-not-exists", "-Z0"];
    bench.both("", &[&["-S", "s", "--create-slot"], &others[..]].concat()).expect_success();
    bench.both(PHYSICAL, &[&["-S", "s", "--drop-slot"], &others[..]].concat()).expect_success();
    let own =
        ["--wait-for-server", "--give-up-after=1", "--status-file=/nonexistent/x", "--receive-timeout=1"];
    assert_eq!(bench.ours(&[&["-S", "s", "--create-slot"], &own[..]].concat()).expect_success().stderr, "");
}

/// The original takes any slot of the name.
#[test]
fn rw_044_a_slot_of_another_type_will_not_do() {
    let bench = Bench::of(15);
    bench.cluster.psql(LOGICAL);
    let outcome = bench.ours(&["-S", "s", "--create-slot", "--if-not-exists"]).expect_code(1);
    assert_eq!(
        outcome.stderr,
        "pg_receivewal: error: expected a physical replication slot, got type \"logical\" instead\n"
    );
    // Older servers cannot be asked.
    let bench = Bench::of(14);
    bench.cluster.psql(LOGICAL);
    bench.ours(&["-S", "s", "--create-slot", "--if-not-exists"]).expect_success();
}

#[test]
fn rw_047_a_slot_in_use_is_not_waited_for() {
    let bench = Bench::of(15);
    bench.cluster.psql(PHYSICAL);
    let directory = scratch_directory();
    let size = SegmentSize::new(16 << 20).unwrap();
    let root = Directory::open(directory.path()).unwrap();
    let archive = DirectoryArchive::create(&root, size, false, Access::Owner, SyncPolicy::Never).unwrap();
    let start = bench.cluster.psql("SELECT pg_current_wal_flush_lsn()").parse().unwrap();
    let options = receiving_with_slot(start, size);
    let receiving = Receiving::start(&bench.cluster.conninfo(), options, archive);
    wait_for("the slot to be used", DEADLINE, || {
        bench.cluster.psql("SELECT active FROM pg_replication_slots") == "t"
    });
    let outcome = bench.both("", &["-S", "s", "--drop-slot"]).expect_code(1);
    assert!(
        outcome.stderr.contains("ERROR:  replication slot \"s\" is active for PID "),
        "{}",
        outcome.stderr
    );
    receiving.stop_at(Lsn::ZERO);
    receiving.finish().unwrap();
}

fn receiving_with_slot(start: Lsn, size: SegmentSize) -> pgsiphon::receive::ReceiveOptions {
    pgsiphon::receive::ReceiveOptions { slot: Some("s".to_owned()), ..plain_options(start, size) }
}

#[test]
fn rw_042_all_versions_create_and_drop() {
    for major in [10, 14] {
        let bench = Bench::of(major);
        bench.both("", &["-S", "s", "--create-slot"]).expect_success();
        assert_eq!(bench.slots(), "s|physical|t|f");
        bench.ours(&["-S", "s", "--drop-slot"]).expect_success();
        assert_eq!(bench.slots(), "");
    }
}
