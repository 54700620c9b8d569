//! Messages of the server, cut out of what is received.
//!
//! What cuts them is not public. So a client reads a stream of CopyData messages from a server that has all of it
//! ready, over loopback: that is the kernel's work, the framing, the parsing of the payloads, and waiting by way of the
//! runtime. `only_read` is the kernel's work alone, for a thread that waits in its reads.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use pgsiphon::Config;
use pgsiphon::client::{BackupEvent, ReplicationClient, StartReplication};
use pgsiphon::protocol::{BaseBackup, PhysicalStart, WalMessage};
use pgsiphon::types::{Lsn, TimelineId};
use tokio::runtime::{Builder, Runtime};

use crate::scripted_server::{Peer, ScriptedServer};
use crate::{BACKUP_MESSAGE, KIB, MIB, WAL_MESSAGE};

/// How much is received each time, without the headers of the messages.
const LENGTH: usize = 32 * MIB;

/// About what the client reads at a time.
const READ: usize = 256 * KIB;

const START: u64 = 16 << 20;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

async fn connect(server: &ScriptedServer) -> ReplicationClient {
    let config: Config = server.conninfo().parse().unwrap();
    ReplicationClient::connect(&config).await.unwrap()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &(4 + body.len() as u32).to_be_bytes()[..], body].concat()
}

/// Gives each `BASE_BACKUP` the same answer until the client leaves.
fn send_backups(peer: &mut Peer, copied: &[u8]) {
    while let Some((b'Q', _)) = peer.receive() {
        peer.row(&["0/2000028", "1"]);
        peer.complete("SELECT");
        peer.rows(3, &[&[None, None, Some("32768")]]);
        peer.complete("SELECT");
        peer.send(b'H', &[0, 0, 0]);
        peer.send_bytes(copied);
        peer.row(&["0/2000100", "1"]);
        peer.complete("SELECT");
        peer.ready();
    }
}

/// Gives each `START_REPLICATION` the same answer until the client leaves.
fn send_wal(peer: &mut Peer, copied: &[u8]) {
    while let Some((b'Q', _)) = peer.receive() {
        peer.copy_both();
        peer.send_bytes(copied);
        peer.expect_copy_done();
        peer.complete("START_REPLICATION");
        peer.ready();
    }
}

async fn receive_backup(client: &mut ReplicationClient) -> usize {
    let mut stream = client.base_backup(&BaseBackup::default()).await.unwrap();
    let mut length = 0;
    while let Some(first) = stream.next().await.unwrap() {
        let mut event = Some(first);
        while let Some(taken) = event {
            if let BackupEvent::Data(data) = taken {
                length += data.len();
            }
            event = stream.buffered().unwrap();
        }
    }
    stream.finish().await.unwrap();
    length
}

async fn receive_wal(client: &mut ReplicationClient) -> usize {
    let start = PhysicalStart { slot: None, lsn: Lsn::new(START), timeline: TimelineId::FIRST };
    let begun = client.start_physical(&start).await.unwrap();
    let StartReplication::Streaming(mut stream) = begun else { panic!("{begun:?}") };
    let mut length = 0;
    while let Some(first) = stream.next().await.unwrap() {
        let mut message = Some(first);
        while let Some(taken) = message {
            if let WalMessage::Data { data, .. } = taken {
                length += data.len();
            }
            message = stream.try_next().unwrap();
        }
    }
    stream.finish().await.unwrap();
    length
}

#[divan::bench]
fn only_read(bencher: Bencher<'_, '_>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let contents = vec![7; LENGTH];
        while peer.read_exact(&mut [0]).is_ok() {
            peer.write_all(&contents).unwrap();
        }
    });
    let mut room = vec![0; READ];
    bencher.counter(BytesCount::new(LENGTH)).bench_local(|| {
        stream.write_all(b"x").unwrap();
        let mut missing = LENGTH;
        while missing > 0 {
            let read = stream.read(&mut room).unwrap();
            assert!(read > 0, "the server is gone");
            missing -= read;
        }
    });
    drop(stream);
    server.join().unwrap();
}

#[divan::bench]
fn backup(bencher: Bencher<'_, '_>) {
    let data = message(b'd', &[&b"d"[..], &vec![7; BACKUP_MESSAGE]].concat());
    let messages = LENGTH / BACKUP_MESSAGE;
    let copied = [message(b'd', b"nbase.tar\0\0"), data.repeat(messages), message(b'c', b"")].concat();
    let server = ScriptedServer::start_as("18.6", move |peer| send_backups(peer, &copied));
    let runtime = runtime();
    let mut client = runtime.block_on(connect(&server));
    bencher
        .counter(BytesCount::new(LENGTH))
        .counter(ItemsCount::new(messages))
        .bench_local(|| assert_eq!(runtime.block_on(receive_backup(&mut client)), LENGTH));
    runtime.block_on(client.close());
    server.finish();
}

/// With messages as they come while a client catches up, and as they come of single commits.
#[divan::bench(args = [WAL_MESSAGE, 256])]
fn wal(bencher: Bencher<'_, '_>, message_length: usize) {
    let messages = LENGTH / message_length;
    let data = Peer::wal_message(START, &vec![7; message_length]);
    let copied = [data.repeat(messages), message(b'c', b"")].concat();
    let server = ScriptedServer::start_as("18.6", move |peer| send_wal(peer, &copied));
    let runtime = runtime();
    let mut client = runtime.block_on(connect(&server));
    bencher
        .counter(BytesCount::new(LENGTH))
        .counter(ItemsCount::new(messages))
        .bench_local(|| assert_eq!(runtime.block_on(receive_wal(&mut client)), LENGTH));
    runtime.block_on(client.close());
    server.finish();
}
