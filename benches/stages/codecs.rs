//! Compression and decompression, at the default level of each method and with the threads that an encoder takes by
//! itself. The bytes that are counted are those that are not compressed.

use std::fmt;

use divan::Bencher;
use divan::counter::BytesCount;
use pgsiphon::compress::{CompressionSpec, Decoder, Encoder, Method};

use crate::contents::Contents;
use crate::{BACKUP_MESSAGE, MIB};

/// Enough for several blocks on each thread.
const LENGTH: usize = 8 * MIB;

fn compress(method: Method, contents: &[u8], output: &mut Vec<u8>) {
    let mut encoder = Encoder::new(&CompressionSpec::of(method)).unwrap();
    for piece in contents.chunks(BACKUP_MESSAGE) {
        encoder.push(piece, output).unwrap();
    }
    encoder.finish(output).unwrap();
}

fn decompress(method: Method, compressed: &[u8]) -> usize {
    let mut decoder = Decoder::new(method).unwrap();
    let mut length = 0;
    for mut piece in compressed.chunks(BACKUP_MESSAGE) {
        while let Some(bytes) = decoder.next_piece(&mut piece).unwrap() {
            length += bytes.len();
        }
    }
    decoder.finish().unwrap();
    length
}

/// What is compressed, and how.
#[derive(Clone, Copy)]
struct Case(Method, Contents);

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(method, contents) = self;
        write!(f, "{}_{contents}", method.name())
    }
}

fn cases() -> impl Iterator<Item = Case> {
    Method::ALL.into_iter().flat_map(|method| Contents::ALL.map(|contents| Case(method, contents)))
}

#[divan::bench(args = cases())]
fn encode(bencher: Bencher<'_, '_>, Case(method, contents): Case) {
    let contents = contents.bytes(LENGTH);
    let mut output = Vec::new();
    bencher.counter(BytesCount::of_slice(&contents)).bench_local(|| {
        output.clear();
        compress(method, &contents, &mut output);
        output.len()
    });
}

#[divan::bench(args = cases())]
fn decode(bencher: Bencher<'_, '_>, Case(method, contents): Case) {
    let mut compressed = Vec::new();
    compress(method, &contents.bytes(LENGTH), &mut compressed);
    bencher
        .counter(BytesCount::new(LENGTH))
        .bench_local(|| assert_eq!(decompress(method, &compressed), LENGTH));
}
