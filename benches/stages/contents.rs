//! What files of a cluster hold, made up.

use std::fmt;

use crate::random::Random;

/// The same numbers in each run.
const SEED: u64 = 18;

const PAGE: usize = 8192;
const PAGE_HEADER: usize = 24;
const LINE_POINTER: usize = 4;

/// A row of `pgbench_accounts` with its header, aligned.
const ROW: usize = 128;

/// The most rows that fit on a page, and the fewest that are on one here.
const MOST_ROWS: usize = (PAGE - PAGE_HEADER) / (LINE_POINTER + ROW);
const FEWEST_ROWS: usize = MOST_ROWS / 2;

const WORDS: [&str; 32] = [
    "account",
    "order",
    "shipped",
    "to",
    "the",
    "customer",
    "in",
    "Paris",
    "with",
    "an",
    "invoice",
    "of",
    "amount",
    "and",
    "status",
    "pending",
    "since",
    "Monday",
    "because",
    "stock",
    "was",
    "low",
    "again",
    "please",
    "call",
    "back",
    "before",
    "next",
    "delivery",
    "from",
    "warehouse",
    "north",
];

/// Kinds of content.
#[derive(Clone, Copy)]
pub(crate) enum Contents {
    /// Words and numbers.
    Text,
    /// Pages of `pgbench_accounts`, up to half of each empty.
    Pages,
    /// Bytes that no method makes smaller.
    Noise,
}

impl Contents {
    pub(crate) const ALL: [Self; 3] = [Self::Text, Self::Pages, Self::Noise];

    /// So many bytes of it.
    pub(crate) fn bytes(self, length: usize) -> Vec<u8> {
        let mut random = Random::of_seed(SEED);
        let mut bytes = Vec::with_capacity(length + PAGE);
        while bytes.len() < length {
            match self {
                Self::Text => add_line(&mut bytes, &mut random),
                Self::Pages => add_page(&mut bytes, &mut random),
                Self::Noise => bytes.extend(random.next().to_le_bytes()),
            }
        }
        bytes.truncate(length);
        bytes
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Pages => "pages",
            Self::Noise => "noise",
        })
    }
}

fn add_line(bytes: &mut Vec<u8>, random: &mut Random) {
    bytes.extend(random.below(1_000_000).to_string().bytes());
    for _ in 0..4 + random.below(12) {
        bytes.push(b' ');
        bytes.extend(random.choose(&WORDS).bytes());
    }
    bytes.push(b'\n');
}

/// Adds a page: a header, pointers to the rows behind it, and the rows from the end of the page on.
fn add_page(bytes: &mut Vec<u8>, random: &mut Random) {
    let number = (bytes.len() / PAGE) as u32;
    let rows = FEWEST_ROWS + random.below((MOST_ROWS - FEWEST_ROWS + 1) as u64) as usize;
    let (lower, upper) = (PAGE_HEADER + rows * LINE_POINTER, PAGE - rows * ROW);
    let mut page = vec![0; PAGE];
    put(&mut page, 0, random.below(1 << 32));
    for (at, field) in [(8, random.below(1 << 16)), (12, lower as u64), (14, upper as u64)] {
        page[at..at + 2].copy_from_slice(&(field as u16).to_le_bytes());
    }
    for row in 0..rows {
        let at = PAGE - (row + 1) * ROW;
        let pointer = at as u32 | 1 << 15 | (ROW as u32 - 7) << 17;
        put_u32(&mut page, PAGE_HEADER + row * LINE_POINTER, pointer);
        put_u32(&mut page, at, 700 + random.below(1000) as u32);
        put_u32(&mut page, at + 12, number);
        page[at + 16] = row as u8 + 1;
        page[at + 18..at + 23].copy_from_slice(&[4, 0, 2, 9, 24]);
        put_u32(&mut page, at + 24, number * MOST_ROWS as u32 + row as u32);
        put_u32(&mut page, at + 28, 1 + number / 1640);
        put_u32(&mut page, at + 32, random.below(10_000) as u32);
        page[at + 36] = 0xAB;
        page[at + 37..at + ROW - 7].fill(b' ');
    }
    bytes.extend(page);
}

fn put(page: &mut [u8], at: usize, number: u64) {
    page[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

fn put_u32(page: &mut [u8], at: usize, number: u32) {
    page[at..at + 4].copy_from_slice(&number.to_le_bytes());
}
