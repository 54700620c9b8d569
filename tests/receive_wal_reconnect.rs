//! What a receiver does when a connection is lost, refused or hangs, and when it is told to end.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;
#[path = "support/wal_run.rs"]
mod wal_run;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Instant;

use pgsiphon::receive::{ReceiveError, Reconnect, RunOptions};
use pgsiphon::types::Lsn;
use rustix::process::{Pid, Signal, kill_process};
use support::byte_script::fatal;
use support::{Cluster, ClusterBuilder, DEADLINE, ErrorText, StopMode, wait_for};
use tempfile::TempDir;
use wal_run::{WalRun, again_and_again, assert_same_segments, end_of_wal, files, once, up_to_now};

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn builder() -> ClusterBuilder {
    Cluster::builder(15).setting("wal_keep_size", "1GB").initdb_arg("--wal-segsize=1")
}

fn fill_segments(cluster: &Cluster, count: usize) {
    for _ in 0..count {
        cluster.psql("SELECT pg_logical_emit_message(false, 'p', repeat('x', 1000))");
        cluster.psql("SELECT pg_switch_wal()");
    }
    cluster.psql("SELECT pg_logical_emit_message(true, 'p', 'm')");
}

#[track_caller]
fn wait_for_stream(cluster: &Cluster) {
    let streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
    wait_for("the stream", DEADLINE, || cluster.psql(streaming) == "1");
}

#[test]
fn rw_188_to_192_rw_207_rw_209_rw_211_rw_212_rw_213_every_loss_of_the_server_is_survived_without_a_gap() {
    let mut cluster = builder().start();
    cluster.psql("CREATE ROLE receiver LOGIN REPLICATION");
    let kept = directory();
    let conninfo =
        format!("host=127.0.0.1 port={} user=receiver sslmode=disable gssencmode=disable", cluster.port());
    let run = WalRun::start(&conninfo, &again_and_again(), kept.path());
    let heard = run.heard().clone();
    wait_for_stream(&cluster);
    fill_segments(&cluster, 1);

    // In good order: the server gets everything confirmed first.
    assert_eq!(cluster.stop(StopMode::Fast).code(), Some(0));
    assert!(!cluster.log().contains("replication timeout"));
    heard.wait_for(1, "failed: replication stream was terminated before stop point");
    heard.wait_for(2, "failed: connection to server at \"127.0.0.1\"");

    // Somebody answers who is not ready.
    let starting_up = TcpListener::bind((Ipv4Addr::LOCALHOST, cluster.port())).unwrap();
    for _ in 0..2 {
        let (mut socket, _) = starting_up.accept().unwrap();
        let mut startup = [0; 8];
        socket.read_exact(&mut startup).unwrap();
        socket.write_all(&fatal("57P03", "the database system is starting up")).unwrap();
    }
    drop(starting_up);
    let starting_up = "FATAL:  the database system is starting up";
    wait_for("both to be told", DEADLINE, || {
        heard.about("failed").iter().filter(|line| line.ends_with(starting_up)).count() == 2
    });
    cluster.start();
    wait_for_stream(&cluster);
    fill_segments(&cluster, 1);

    // By somebody who may do that, and does not let it in again for a while.
    cluster.psql("ALTER ROLE receiver NOLOGIN");
    cluster.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication");
    heard.wait_for(
        1,
        "failed: unexpected termination of replication stream: FATAL:  terminating connection due to administrator",
    );
    let refused = "FATAL:  role \"receiver\" is not permitted to log in";
    wait_for("it to be refused", DEADLINE, || {
        heard.about("failed").iter().any(|line| line.ends_with(refused))
    });
    cluster.psql("ALTER ROLE receiver LOGIN");
    wait_for_stream(&cluster);
    fill_segments(&cluster, 1);

    // At once.
    cluster.crash();
    heard.wait_for(
        1,
        "failed: could not receive data from WAL stream: server closed the connection unexpectedly",
    );
    cluster.start();
    wait_for_stream(&cluster);
    fill_segments(&cluster, 1);
    let end = end_of_wal(&cluster);
    let written = format!("SELECT write_lsn >= '{end}' FROM pg_stat_replication");
    wait_for("everything to be received", DEADLINE, || cluster.psql(&written) == "t");
    run.stop().unwrap();

    // It went on where it was each time, and nothing is missing.
    let started: Vec<Lsn> = heard
        .about("starting at ")
        .iter()
        .map(|line| line.split(' ').nth(2).unwrap().parse().unwrap())
        .collect();
    assert!(started.len() >= 4 && started.is_sorted(), "{started:?}");
    assert_eq!(heard.about("disconnected").len(), heard.about("failed").len());
    assert_same_segments(kept.path(), &cluster, 4);
    let complete = files(kept.path()).iter().filter(|name| name.len() == 24).count();
    let first: Lsn = started[0];
    assert_eq!(complete as u64, (end.as_u64() >> 20) - (first.as_u64() >> 20));
}

#[test]
fn rw_208_without_loop_the_loss_of_the_server_ends_it() {
    let cluster = builder().start();
    let kept = directory();
    let run = WalRun::start(&cluster.conninfo(), &once(), kept.path());
    let heard = run.heard().clone();
    wait_for_stream(&cluster);
    cluster.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication");
    let error = run.finish().unwrap_err();
    assert_eq!(
        error.with_causes(),
        "unexpected termination of replication stream: FATAL:  terminating connection due to administrator command"
    );
    assert_eq!(heard.about("failed"), [""; 0]);
}

#[test]
fn rw_056_rw_207_the_first_connection_is_tried_again_where_that_is_wanted() {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let conninfo = format!("host=127.0.0.1 port={port} user=u sslmode=disable gssencmode=disable");
    let kept = directory();
    let refused = WalRun::start(&conninfo, &again_and_again(), kept.path()).finish().unwrap_err();
    assert!(matches!(refused, ReceiveError::Connect(_)), "{refused:?}");

    let reconnect = Reconnect::Always { even_first: true, give_up_after: None };
    let run = WalRun::start(&conninfo, &RunOptions { reconnect, ..again_and_again() }, kept.path());
    run.heard().wait_for(3, "failed");
    assert!(matches!(run.stop(), Err(ReceiveError::Cancelled)));
}

#[test]
fn rw_202_to_204_it_ends_when_it_is_told_to_whatever_it_waits_for() {
    let cluster = builder().start();
    let [streaming, pausing, connecting] = [directory(), directory(), directory()];

    // A pause that never ends, because the server has gone.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let conninfo = format!(
        "host=127.0.0.1 port={} user=u sslmode=disable gssencmode=disable",
        silent.local_addr().unwrap().port()
    );
    let run = WalRun::start(&conninfo, &once(), connecting.path());
    let (socket, _) = silent.accept().unwrap();
    assert!(matches!(run.stop(), Err(ReceiveError::Cancelled)));
    drop((socket, silent));

    let reconnect = Reconnect::Always { even_first: true, give_up_after: None };
    let options = RunOptions { reconnect, longest_pause: DEADLINE, ..RunOptions::default() };
    let run = WalRun::start(&conninfo, &options, pausing.path());
    run.heard().wait_for(5, "disconnected");
    let (heard, told) = (run.heard().clone(), Instant::now());
    assert!(matches!(run.stop(), Err(ReceiveError::Cancelled)));
    assert!(told.elapsed() < DEADLINE / 4);
    assert_eq!(heard.about("cancelled").len(), 1);

    // A server that does not say goodbye.
    let run = WalRun::start(&cluster.conninfo(), &again_and_again(), streaming.path());
    fill_segments(&cluster, 1);
    wait_for_stream(&cluster);
    run.heard().wait_for(1, "finished");
    let sender = cluster.psql("SELECT pid FROM pg_stat_replication").parse().unwrap();
    let sender = Pid::from_raw(sender).unwrap();
    kill_process(sender, Signal::STOP).unwrap();
    let told = Instant::now();
    let outcome = run.stop();
    kill_process(sender, Signal::CONT).unwrap();
    assert!(told.elapsed() < DEADLINE / 4);
    outcome.unwrap();
    assert_same_segments(streaming.path(), &cluster, 1);
}

#[test]
fn rw_199_i_015_the_end_is_reached_once_it_is_durable() {
    let cluster = builder().start();
    fill_segments(&cluster, 2);
    let kept = directory();
    let options = up_to_now(&cluster, once());
    let run = WalRun::start(&cluster.conninfo(), &options, kept.path());
    let heard = run.heard().clone();
    let report = run.finish().unwrap();
    assert!(report.end.value() > options.end.unwrap());
    assert_eq!(heard.about("stopped"), [format!("stopped at {} on 1", report.end.value())]);
    // Once more, and there is nothing to do.
    let again = WalRun::start(&cluster.conninfo(), &options, kept.path());
    assert!(again.finish().unwrap().end.value() > options.end.unwrap());
}
