//! WAL as a stream in the library: the caller gets each byte once, and decides what the server hears of it.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "support/looping.rs"]
mod looping;
mod support;

use std::net::Shutdown;
use std::sync::LazyLock;
use std::time::Duration;

use looping::{FIRST_TIMELINE, Identity, MIB, START, answer_until, begin_stream};
use pgsiphon::ReplicationClient;
use pgsiphon::receive::{NotReceived, ReceiveError, WalStream, WalStreamOptions};
use pgsiphon::storage::Durable;
use pgsiphon::types::{Lsn, SystemId, TimelineId};
use support::log_writer::{LogKind, LogWriter};
use support::{Cluster, DEADLINE, ErrorText, Manner, Peer, ScriptedServer, Status, wait_for};

/// Somewhere in a record.
const FROM: u64 = START + 100_001;
/// The end of the last record that is whole soon after that.
const END_OF_RECORDS: u64 = START + 0x1_7318;
const SEGMENT_END: u64 = START + MIB;
const END: u64 = SEGMENT_END + 50_000;

static LOG: LazyLock<Vec<u8>> =
    LazyLock::new(|| LogWriter::new(START, LogKind::with_segments_of(MIB)).filled((END - START) as usize));

fn log(from: u64, to: u64) -> &'static [u8] {
    &LOG[(from - START) as usize..(to - START) as usize]
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

async fn connect(conninfo: &str) -> ReplicationClient {
    ReplicationClient::connect(&conninfo.parse().unwrap()).await.unwrap()
}

fn options() -> WalStreamOptions {
    WalStreamOptions::new(TimelineId::FIRST, Lsn::new(FROM))
}

/// What comes up to `end`, each piece after the one before it.
async fn receive_up_to(wal: &mut WalStream<'_>, end: u64) -> Vec<u8> {
    let mut received = Vec::new();
    while wal.received() < Lsn::new(end) {
        let before = wal.received();
        let chunk = wal.next().await.unwrap().unwrap();
        assert_eq!(chunk.start, before);
        assert_eq!(chunk.end(), wal.received());
        assert_eq!(chunk.segment.segment(), chunk.start.segment_number(wal.segment_size()));
        assert_eq!(chunk.completes_segment, chunk.end().segment_offset(wal.segment_size()) == 0);
        received.extend_from_slice(&chunk.data);
    }
    received
}

fn acknowledged(position: u64) -> Durable<Lsn> {
    Durable::vouched_for(Lsn::new(position))
}

#[test]
fn i_001_rw_120_rw_137_the_server_hears_what_the_caller_says_and_nothing_else() {
    let server = ScriptedServer::start(|peer| {
        assert_eq!(begin_stream(peer), START);
        assert_eq!(peer.expect_status(), Status { written: FROM, flushed: 0 });
        peer.send_wal(START, log(START, START + 70_000));
        peer.send_wal(START + 70_000, log(START + 70_000, SEGMENT_END + 1000));
        // All of it was received, and nothing was said of it.
        peer.ping();
        assert_eq!(peer.expect_status(), Status { written: FROM, flushed: 0 });
        peer.send_wal(SEGMENT_END + 1000, log(SEGMENT_END + 1000, SEGMENT_END + 2000));
        peer.ping();
        assert_eq!(peer.expect_status(), Status { written: SEGMENT_END, flushed: 0 });
        peer.send_wal(SEGMENT_END + 2000, log(SEGMENT_END + 2000, SEGMENT_END + 3000));
        assert_eq!(peer.expect_status(), Status { written: SEGMENT_END + 1000, flushed: FROM });
        peer.send_wal(SEGMENT_END + 3000, log(SEGMENT_END + 3000, END));
        // The last word before the end.
        assert_eq!(peer.expect_status(), Status { written: END, flushed: END });
        peer.expect_copy_done();
        peer.ping();
        peer.send(b'c', b"");
        peer.complete("COPY 0");
        peer.ready();
        peer.expect_command("IDENTIFY_SYSTEM");
        peer.answer(&["7000000000000000001", "1", "0/400000", ""]);
        peer.expect_end();
    });
    block_on(async {
        let mut client = connect(&server.conninfo()).await;
        let mut wal = WalStream::start(&mut client, &options()).await.unwrap();
        let mut received = receive_up_to(&mut wal, SEGMENT_END + 1000).await;
        let refused = Err(NotReceived {
            position: Lsn::new(SEGMENT_END + 1001),
            received: Lsn::new(SEGMENT_END + 1000),
        });
        assert_eq!(wal.written(Lsn::new(SEGMENT_END + 1001)), refused);
        assert_eq!(wal.acknowledge(acknowledged(SEGMENT_END + 1001)), refused);
        received.extend(receive_up_to(&mut wal, SEGMENT_END + 1001).await);
        wal.written(Lsn::new(SEGMENT_END)).unwrap();
        wal.written(Lsn::new(START)).unwrap();
        received.extend(receive_up_to(&mut wal, SEGMENT_END + 2001).await);
        wal.written(Lsn::new(SEGMENT_END + 1000)).unwrap();
        wal.acknowledge(acknowledged(FROM)).unwrap();
        wal.acknowledge(acknowledged(START)).unwrap();
        received.extend(receive_up_to(&mut wal, END).await);
        assert!(received == log(FROM, END));
        wal.acknowledge(acknowledged(END)).unwrap();
        let end = wal.finish().await.unwrap();
        assert_eq!((end.reached, end.next), (Lsn::new(END), None));
        assert!(end.end_of_records <= Lsn::new(END) && end.end_of_records > Lsn::new(SEGMENT_END));
        client.identify_system().await.unwrap();
    });
    server.finish();
}

#[test]
fn a_dropped_wait_loses_nothing() {
    let server = ScriptedServer::start(|peer| {
        peer.manner = Manner::Bytewise;
        begin_stream(peer);
        peer.send_wal(START, log(START, START + 20_000));
        peer.manner = Manner::Plain;
        peer.send_wal(START + 20_000, log(START + 20_000, FROM + 1000));
        peer.remaining_updates();
        peer.expect_end();
    });
    let received = block_on(async {
        let mut client = connect(&server.conninfo()).await;
        let from = WalStreamOptions { start: Lsn::new(START + 10_000), ..options() };
        let mut wal = WalStream::start(&mut client, &from).await.unwrap();
        let (mut received, mut dropped) = (Vec::new(), 0);
        while wal.received() < Lsn::new(FROM + 1000) {
            tokio::select! {
                biased;
                chunk = wal.next() => received.extend_from_slice(&chunk.unwrap().unwrap().data),
                () = tokio::task::yield_now() => dropped += 1,
            }
        }
        assert!(dropped > 0);
        received
    });
    assert!(received == log(START + 10_000, FROM + 1000));
    server.finish();
}

type Lie = fn(&mut Peer);

#[test]
fn i_008_what_is_not_the_log_is_not_given_out_and_ends_the_stream() {
    let lies: [(Lie, &str); 5] = [
        (
            |peer| peer.send_wal(FROM + 1, log(FROM + 1, FROM + 9)),
            "got WAL data offset 000186a2, expected 000186a1",
        ),
        (|peer| peer.send_wal(FROM, &vec![7; 50_000]), "invalid WAL "),
        (|peer| peer.send(b'd', b"w"), "streaming header too small: 1"),
        (
            |peer| peer.error("57P01", "terminating", ""),
            "unexpected termination of replication stream: ERROR:  t",
        ),
        (
            |peer| peer.stream().shutdown(std::net::Shutdown::Both).unwrap(),
            "could not receive data from WAL stream: server closed the connection unexpectedly",
        ),
    ];
    for (lie, message) in lies {
        let server = ScriptedServer::start(move |peer| {
            begin_stream(peer);
            assert_eq!(peer.expect_status(), Status { written: FROM, flushed: 0 });
            peer.send_wal(START, log(START, FROM));
            lie(peer);
            assert_eq!(peer.remaining_updates(), []);
        });
        block_on(async {
            let mut client = connect(&server.conninfo()).await;
            let mut wal = WalStream::start(&mut client, &options()).await.unwrap();
            let error = wal.next().await.unwrap_err().with_causes();
            assert!(error.starts_with(message), "{error}");
            assert_eq!(wal.received(), Lsn::new(FROM));
            wal.acknowledge(acknowledged(FROM)).unwrap();
            assert!(wal.next().await.is_err());
            assert!(wal.finish().await.is_err());
        });
        server.finish();
    }
}

/// The way in which a stream ends after the honest log up to a position.
async fn ended(
    conninfo: &str,
    options: &WalStreamOptions,
) -> Result<(Lsn, Option<(u32, Lsn)>), ReceiveError> {
    let mut client = connect(conninfo).await;
    let mut wal = WalStream::start(&mut client, options).await?;
    while wal.next().await?.is_some() {}
    assert!(wal.next().await?.is_none());
    let end = wal.finish().await?;
    Ok((end.reached, end.next.map(|next| (next.timeline.as_u32(), next.start))))
}

#[test]
fn rw_179_rw_180_rw_188_the_end_says_where_the_log_goes_on() {
    let text = |position: u64| Lsn::new(position).to_string();
    for (next, expected) in [
        (Some(("2", text(FROM + 500))), Err("write-ahead log has records up to 0/3")),
        (Some(("2", text(END_OF_RECORDS))), Ok(())),
        (Some(("1", text(FROM))), Err("server reported unexpected next timeline 1, following timeline 1")),
        (
            Some(("2", text(FROM + 2000))),
            Err("server stopped streaming timeline 1 at 0/318A89, but reported next"),
        ),
        (None, Err("replication stream was terminated before stop point")),
    ] {
        let server = ScriptedServer::start(move |peer| {
            begin_stream(peer);
            peer.send_wal(START, log(START, FROM + 1000));
            let Some((timeline, start)) = next else {
                peer.complete("COPY 0");
                // A socket that is closed before it was read to its end takes back what was sent.
                peer.stream().shutdown(Shutdown::Write).unwrap();
                return peer.expect_end();
            };
            peer.send(b'c', b"");
            peer.expect_copy_done();
            peer.row(&[timeline, &start]);
            peer.complete("START_STREAMING");
            peer.ready();
            peer.expect_end();
        });
        let outcome = block_on(ended(&server.conninfo(), &options()));
        match expected {
            Ok(()) => {
                assert_eq!(outcome.unwrap(), (Lsn::new(FROM + 1000), Some((2, Lsn::new(END_OF_RECORDS)))));
            }
            Err(message) => {
                let error = outcome.unwrap_err().with_causes();
                assert!(error.starts_with(message), "{error}");
            }
        }
        server.finish();
    }
}

#[test]
fn rw_105_a_start_at_the_end_of_a_timeline_leads_to_the_next() {
    let server = ScriptedServer::start(|peer| {
        let identity = Identity { timeline: "2", history: "" };
        assert_eq!(
            answer_until(peer, "START_REPLICATION", identity),
            "START_REPLICATION 0/300000 TIMELINE 1"
        );
        peer.row(&["2", "0/300000"]);
        peer.complete("START_STREAMING");
        peer.complete("START_REPLICATION");
        peer.ready();
        peer.expect_end();
    });
    let at_end = WalStreamOptions::new(TimelineId::FIRST, Lsn::new(START));
    let (reached, next) = block_on(ended(&server.conninfo(), &at_end)).unwrap();
    assert_eq!((reached, next), (Lsn::new(START), Some((2, Lsn::new(START)))));
    server.finish();
}

#[test]
fn another_cluster_and_a_timeline_to_come_are_refused_before_any_wal() {
    let foreign = WalStreamOptions { system_id: Some(SystemId::new(8)), ..options() };
    let future = WalStreamOptions { timeline: TimelineId::new(2).unwrap(), ..options() };
    for options in [foreign, future] {
        let server = ScriptedServer::start(|peer| {
            answer_until(peer, "IDENTIFY_SYSTEM", FIRST_TIMELINE);
            peer.answer(&["7000000000000000001", "1", "0/400000", ""]);
            peer.expect_end();
        });
        let error = block_on(ended(&server.conninfo(), &options)).unwrap_err();
        let refused =
            matches!(error, ReceiveError::ForeignSystem { .. } | ReceiveError::TimelineNotPresent(_));
        assert!(refused, "{error}");
        server.finish();
    }
}

#[test]
fn rw_233_a_silent_server_is_left() {
    let server = ScriptedServer::start(|peer| {
        begin_stream(peer);
        let first = Status { written: FROM, flushed: 0 };
        assert_eq!(peer.expect_update(), (first, true));
        assert_eq!(peer.remaining_updates(), []);
    });
    let impatient = WalStreamOptions {
        status_interval: Duration::ZERO,
        receive_timeout: Some(Duration::from_millis(200)),
        ..options()
    };
    let error = block_on(ended(&server.conninfo(), &impatient)).unwrap_err();
    assert!(matches!(error, ReceiveError::Silent(_)), "{error}");
    server.finish();
}

#[test]
fn rw_134_a_slot_of_a_real_server_follows_what_is_acknowledged() {
    let cluster =
        Cluster::builder(15).setting("wal_level", "replica").setting("max_wal_senders", "4").start();
    cluster.psql("SELECT pg_create_physical_replication_slot('s')");
    let position = |sql: &str| cluster.psql(sql).parse::<Lsn>().unwrap();
    let restart_is =
        |lsn: Lsn| cluster.psql(&format!("SELECT restart_lsn = '{lsn}' FROM pg_replication_slots")) == "t";
    let start = position("SELECT pg_current_wal_flush_lsn()");
    cluster
        .psql("CREATE TABLE t AS SELECT generate_series(1, 100000) AS i; SELECT pg_switch_wal(); SELECT 1");
    let end = position("SELECT pg_current_wal_flush_lsn()");
    block_on(async {
        let mut client = connect(&cluster.conninfo()).await;
        let slot = Some("s".to_owned());
        let options = WalStreamOptions { slot, ..WalStreamOptions::new(TimelineId::FIRST, start) };
        let mut wal = WalStream::start(&mut client, &options).await.unwrap();
        let mut received: Vec<u8> = Vec::new();
        while wal.received() < end {
            received.extend_from_slice(&wal.next().await.unwrap().unwrap().data);
        }
        assert_eq!(cluster.psql("SELECT restart_lsn IS NULL FROM pg_replication_slots"), "t");
        wal.acknowledge(Durable::vouched_for(start)).unwrap();
        let report = wal.received();
        tokio::time::timeout(Duration::from_millis(50), wal.next()).await.unwrap_or(Ok(None)).unwrap();
        wait_for("the slot to be reserved", DEADLINE, || restart_is(start));
        wal.acknowledge(Durable::vouched_for(report)).unwrap();
        assert_eq!(wal.finish().await.unwrap().next, None);
        wait_for("the slot to follow", DEADLINE, || restart_is(report));
        let size = client.wal_segment_size().await.unwrap();
        let first = std::fs::read(
            cluster
                .data_dir()
                .join("pg_wal")
                .join(format!("00000001{:016X}", start.segment_number(size).as_u64())),
        )
        .unwrap();
        let offset = start.segment_offset(size) as usize;
        assert!(received.len() > first.len() - offset);
        assert!(received[..first.len() - offset] == first[offset..]);
    });
}
