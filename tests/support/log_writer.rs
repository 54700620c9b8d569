//! Writes WAL as a server would, for those who only say that they are one.
//!
//! Records have bodies of no meaning; pages and checksums are right.

// The library's own tests take this file in, too, and everybody uses a part of it.
#![allow(dead_code, unreachable_pub)]

/// The system identifier of the scripted servers.
const SYSTEM_IDENTIFIER: u64 = 7_000_000_000_000_000_001;

/// What all pages of a log have in common, and what changes with the timeline.
#[derive(Clone, Copy, Debug)]
pub struct LogKind {
    pub magic: u16,
    pub timeline: u32,
    pub system_identifier: u64,
    pub segment_size: u64,
    pub page_size: u64,
    /// To what a machine aligns its longest numbers: 8 bytes, or 4.
    pub alignment: usize,
    pub big_endian: bool,
}

impl LogKind {
    /// A log of PostgreSQL 15 on a usual machine.
    pub fn with_segments_of(segment_size: u64) -> Self {
        Self {
            magic: 0xD110,
            timeline: 1,
            system_identifier: SYSTEM_IDENTIFIER,
            segment_size,
            page_size: 8192,
            alignment: 8,
            big_endian: false,
        }
    }
}

/// The log from the start of a segment to where it has been written.
#[derive(Clone, Debug)]
pub struct LogWriter {
    pub kind: LogKind,
    start: u64,
    previous: u64,
    bytes: Vec<u8>,
}

impl LogWriter {
    /// A log that begins with a segment.
    pub fn new(start: u64, kind: LogKind) -> Self {
        assert_eq!(start % kind.segment_size, 0);
        Self { kind, start, previous: 0, bytes: Vec::new() }
    }

    /// A log that goes on where this one ends.
    pub fn continuation(&self) -> Self {
        Self { start: self.position(), bytes: Vec::new(), ..*self }
    }

    /// The position after the last record.
    pub fn position(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// At least so many bytes of log, with records of many lengths, some longer than a page.
    pub fn filled(mut self, length: usize) -> Vec<u8> {
        let mut body = 0;
        while self.bytes.len() < length {
            body = (body * 7 + 31) % 20_011;
            self.record(body);
        }
        self.bytes.truncate(length);
        self.bytes
    }

    /// Adds a record with so many bytes after its header, and gives the position where it begins.
    pub fn record(&mut self, body: usize) -> u64 {
        let body: Vec<u8> = (0u8..251).cycle().take(body).collect();
        self.record_of(10, 0, &body)
    }

    /// Adds the record of a segment switch, and zeros up to the end of the segment.
    pub fn switch(&mut self) -> u64 {
        let at = self.record_of(0, 0x40, b"");
        let unused = self.position().next_multiple_of(self.kind.segment_size) - self.position();
        self.bytes.resize(self.bytes.len() + unused as usize, 0);
        at
    }

    /// Adds what is on this page of a record that goes on, and on the next page the record that a server writes
    /// in its place when it comes up after a crash.
    pub fn abandoned_record(&mut self) {
        let body = vec![9; self.kind.page_size as usize];
        let (bytes, _) = self.framed(10, 0, &body);
        let left = self.position().next_multiple_of(self.kind.page_size) - self.position();
        self.bytes.extend(&bytes[..left as usize]);
        self.page_header(0x0008, 0);
        self.record_of(0, 0xD0, &[3; 16]);
    }

    /// Adds a record of that kind.
    pub fn record_of(&mut self, resource_manager: u8, info: u8, body: &[u8]) -> u64 {
        if self.at_page_start() {
            self.page_header(0, 0);
        }
        let (record, at) = self.framed(resource_manager, info, body);
        let mut rest = &record[..];
        while !rest.is_empty() {
            if self.at_page_start() {
                self.page_header(0x0001, rest.len() as u32);
            }
            let room = self.kind.page_size - self.position() % self.kind.page_size;
            let (now, later) = rest.split_at(rest.len().min(room as usize));
            self.bytes.extend(now);
            rest = later;
        }
        let aligned = self.bytes.len().next_multiple_of(self.kind.alignment);
        self.bytes.resize(aligned, 0);
        self.previous = at;
        at
    }

    fn framed(&self, resource_manager: u8, info: u8, body: &[u8]) -> (Vec<u8>, u64) {
        let mut record = Vec::new();
        record.extend(self.u32(24 + body.len() as u32));
        record.extend(self.u32(700));
        record.extend(self.u64(self.previous));
        record.extend([info, resource_manager, 0, 0]);
        let checksum = crc32c::crc32c_append(crc32c::crc32c(body), &record);
        record.extend(self.u32(checksum));
        record.extend(body);
        (record, self.position())
    }

    fn at_page_start(&self) -> bool {
        self.position().is_multiple_of(self.kind.page_size)
    }

    fn page_header(&mut self, flags: u16, left: u32) {
        let at = self.position();
        let starts_segment = at.is_multiple_of(self.kind.segment_size);
        let info = flags | if starts_segment { 0x0002 } else { 0 };
        let mut header = Vec::new();
        for number in [self.kind.magic, info] {
            header.extend(if self.kind.big_endian { number.to_be_bytes() } else { number.to_le_bytes() });
        }
        header.extend(self.u32(self.kind.timeline));
        header.extend(self.u64(at));
        header.extend(self.u32(left));
        header.resize(header.len().next_multiple_of(self.kind.alignment), 0);
        if starts_segment {
            header.extend(self.u64(self.kind.system_identifier));
            header.extend(self.u32(self.kind.segment_size as u32));
            header.extend(self.u32(self.kind.page_size as u32));
        }
        self.bytes.extend(header);
    }

    fn u32(&self, number: u32) -> [u8; 4] {
        if self.kind.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn u64(&self, number: u64) -> [u8; 8] {
        if self.kind.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }
}
