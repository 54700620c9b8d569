//! Archives: cut into their members, and the headers that are written.

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box, black_box_drop};
use pgsiphon::tar::{END_OF_ARCHIVE, Entry, HeaderBlock, MemberHeader, Piece, TarSplitter, padding_len};

use crate::{BACKUP_MESSAGE, KIB, MIB};

/// The sizes of files in a cluster, from empty ones up to a part of a large table.
const MIXED_SIZES: [usize; 8] = [0, 3, 227, 8 * KIB, 24 * KIB, 88 * KIB, 512 * KIB, 8 * MIB];

/// How often each of the mixed sizes comes.
const ROUNDS: usize = 8;

const SMALL_FILES: usize = 20_000;

/// The file of a relation.
pub(crate) fn path(number: usize) -> String {
    format!("base/5/{}", 16_384 + number)
}

fn header(path: &str, size: usize) -> HeaderBlock {
    let header = MemberHeader {
        path: path.as_bytes(),
        mode: 0o600,
        uid: 70,
        gid: 70,
        size: size as u64,
        modified_at: 1_700_000_000,
    };
    header.to_block().unwrap()
}

/// The member as a splitter gives it.
pub(crate) fn entry(path: &str, size: usize) -> Entry {
    let block = header(path, size);
    let piece = TarSplitter::new().next_piece(&mut &block[..]).unwrap();
    let Some(Piece::Entry(entry)) = piece else { panic!("{piece:?}") };
    entry
}

fn archive(sizes: &[usize]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (number, &size) in sizes.iter().enumerate() {
        archive.extend(header(&path(number), size));
        archive.resize(archive.len() + size + padding_len(size as u64), 0);
    }
    archive.extend(END_OF_ARCHIVE);
    archive
}

fn split(bencher: Bencher<'_, '_>, sizes: &[usize]) {
    let archive = Bytes::from(archive(sizes));
    bencher.counter(BytesCount::of_slice(&archive)).counter(ItemsCount::new(sizes.len())).bench_local(|| {
        let mut splitter = TarSplitter::new();
        for mut chunk in archive.chunks(BACKUP_MESSAGE) {
            while let Some(piece) = splitter.next_piece(&mut chunk).unwrap() {
                black_box_drop(piece);
            }
        }
        splitter.finish().unwrap();
    });
}

#[divan::bench]
fn split_mixed_files(bencher: Bencher<'_, '_>) {
    split(bencher, &MIXED_SIZES.repeat(ROUNDS));
}

/// Every other one is empty, as many relations of a new database are.
#[divan::bench]
fn split_small_files(bencher: Bencher<'_, '_>) {
    split(bencher, &[0, 8 * KIB].repeat(SMALL_FILES / 2));
}

#[divan::bench]
fn write_headers(bencher: Bencher<'_, '_>) {
    let paths: Vec<_> = (0..1000).map(path).collect();
    bencher.counter(ItemsCount::new(paths.len())).bench_local(|| {
        for path in &paths {
            black_box_drop(header(black_box(path), 8 * KIB));
        }
    });
}
