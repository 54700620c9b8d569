//! A receiver that is refused again and again needs no more than one that was refused a few times.
//!
//! It is the only test in its file, because it looks at the whole process.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "support/looping.rs"]
mod looping;
mod support;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use looping::{FIRST_TIMELINE, Kept, MemoryArchive, answer_until};
use pgsiphon::conninfo::Config;
use pgsiphon::receive::{Event, Observer, Reconnect, RunOptions, run};
use support::ScriptedServer;
use tokio_util::sync::CancellationToken;

/// What the process needs.
#[derive(Clone, Copy, Debug)]
struct Needs {
    descriptors: usize,
    threads: usize,
    resident_kib: usize,
}

impl Needs {
    fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let number = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        Self {
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            threads: number("Threads:"),
            resident_kib: number("VmRSS:"),
        }
    }
}

/// Counts failures, and writes down what the process needs at two of them.
struct Witness {
    failures: AtomicUsize,
    early: usize,
    late: usize,
    needs: Mutex<Vec<Needs>>,
    enough: CancellationToken,
}

impl Observer for Witness {
    fn observe(&self, event: &Event<'_>) {
        if !matches!(event, Event::Failed(_)) {
            return;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures == self.early || failures == self.late {
            self.needs.lock().unwrap().push(Needs::now());
        }
        if failures == self.late {
            self.enough.cancel();
        }
    }
}

#[track_caller]
fn needs_do_not_grow(conninfo: &str, early: usize, late: usize) {
    let enough = CancellationToken::new();
    let (failures, needs) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let witness = Arc::new(Witness { failures, early, late, needs, enough: enough.clone() });
    let config: Config = conninfo.parse().unwrap();
    let reconnect = Reconnect::Always { even_first: true, give_up_after: None };
    let options = RunOptions { reconnect, longest_pause: Duration::ZERO, ..RunOptions::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let archive = Box::new(MemoryArchive(Kept::default()));
    runtime.block_on(run(&config, &options, archive, witness.clone(), enough)).unwrap_err();
    let needs = witness.needs.lock().unwrap();
    let [before, after] = needs[..] else { panic!("{needs:?}") };
    assert!(after.descriptors <= before.descriptors + 1, "{needs:?}");
    assert!(after.threads <= before.threads + 1, "{needs:?}");
    assert!(after.resident_kib <= before.resident_kib + 1024, "{needs:?}");
}

#[test]
fn rw_213_thousands_of_failures_cost_nothing_that_stays() {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    needs_do_not_grow(
        &format!("host=127.0.0.1 port={port} user=u sslmode=disable gssencmode=disable"),
        500,
        3000,
    );

    let refusals = 400;
    let server = ScriptedServer::start_each(
        (0..refusals)
            .map(|_| {
                let script: support::Script = Box::new(|peer| {
                    answer_until(peer, "START_REPLICATION", FIRST_TIMELINE);
                    peer.copy_both();
                    peer.error("XX000", "not today", "");
                });
                script
            })
            .collect(),
    );
    needs_do_not_grow(&server.conninfo(), 200, refusals);
    server.finish();
}
