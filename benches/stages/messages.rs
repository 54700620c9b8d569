//! The payloads of CopyData messages.

use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box_drop};
use pgsiphon::protocol::{ArchiveMessage, WalMessage};

use crate::{BACKUP_MESSAGE, WAL_MESSAGE};

const MESSAGES: usize = 1000;

/// As a server reports progress while it sends large files.
const DATA_FOR_EACH_PROGRESS: usize = 8;

const WAL_FOR_EACH_KEEPALIVE: usize = 8;

fn payload(kind: u8, rest: &[u8]) -> Bytes {
    [&[kind], rest].concat().into()
}

/// Clones, which share the bytes, of one payload and now and then of the other.
fn mixed(usual: &Bytes, rare: &Bytes, usual_for_each_rare: usize) -> Vec<Bytes> {
    let is_rare = |number: usize| number.is_multiple_of(usual_for_each_rare + 1);
    (0..MESSAGES).map(|number| if is_rare(number) { rare.clone() } else { usual.clone() }).collect()
}

#[divan::bench]
fn parse_archive(bencher: Bencher<'_, '_>) {
    let (data, progress) = (payload(b'd', &vec![7; BACKUP_MESSAGE]), payload(b'p', &[0; 8]));
    bencher
        .counter(ItemsCount::new(MESSAGES))
        .with_inputs(|| mixed(&data, &progress, DATA_FOR_EACH_PROGRESS))
        .bench_local_values(|payloads| {
            for payload in payloads {
                black_box_drop(ArchiveMessage::parse(payload).unwrap());
            }
        });
}

#[divan::bench]
fn parse_wal(bencher: Bencher<'_, '_>) {
    let (data, keepalive) = (payload(b'w', &vec![7; 24 + WAL_MESSAGE]), payload(b'k', &[0; 17]));
    bencher
        .counter(ItemsCount::new(MESSAGES))
        .with_inputs(|| mixed(&data, &keepalive, WAL_FOR_EACH_KEEPALIVE))
        .bench_local_values(|payloads| {
            for payload in payloads {
                black_box_drop(WalMessage::parse(payload).unwrap());
            }
        });
}
