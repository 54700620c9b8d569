//! An archive on a disk that stalls until the test lets it go on.
//!
//! The tests that need it take this file in by its path, because most need no library.

// Every test file compiles this module for itself and uses a part of it.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

use std::sync::{Arc, Condvar, Mutex};

use pgsiphon::protocol::TimelineHistoryFile;
use pgsiphon::receive::{Closing, DirectoryArchive, OpenSegment, WalArchive};
use pgsiphon::storage::{Durable, StorageError};
use pgsiphon::types::{Lsn, TimelineId, WalFileName};

/// Lets nothing through while it is closed, as it is at first.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(open, |open| !*open).unwrap());
    }
}

/// What waits at a gate.
#[derive(Clone)]
pub enum Stall {
    Writes(Gate),
    Syncs(Gate),
}

impl Stall {
    fn before_write(&self) {
        if let Self::Writes(gate) = self {
            gate.pass();
        }
    }

    fn before_sync(&self) {
        if let Self::Syncs(gate) = self {
            gate.pass();
        }
    }
}

pub struct Stalling {
    pub archive: DirectoryArchive,
    pub stall: Stall,
}

struct StallingSegment<'a> {
    segment: Box<dyn OpenSegment + 'a>,
    stall: &'a Stall,
}

impl WalArchive for Stalling {
    fn open_segment(
        &mut self,
        segment: WalFileName,
        from: Lsn,
    ) -> Result<Box<dyn OpenSegment + '_>, StorageError> {
        let segment = self.archive.open_segment(segment, from)?;
        Ok(Box::new(StallingSegment { segment, stall: &self.stall }))
    }
    fn has_history(&mut self, timeline: TimelineId) -> Result<bool, StorageError> {
        self.archive.has_history(timeline)
    }
    fn store_history(&mut self, file: &TimelineHistoryFile) -> Result<(), StorageError> {
        self.archive.store_history(file)
    }
    fn finish(&mut self) -> Result<(), StorageError> {
        self.archive.finish()
    }
}

impl OpenSegment for StallingSegment<'_> {
    fn append(&mut self, data: &[u8]) -> Result<(), StorageError> {
        self.stall.before_write();
        self.segment.append(data)
    }
    fn sync(&mut self, reached: Lsn) -> Result<Durable<Lsn>, StorageError> {
        self.stall.before_sync();
        self.segment.sync(reached)
    }
    fn complete(self: Box<Self>, end: Lsn) -> Result<Durable<Lsn>, StorageError> {
        self.stall.before_sync();
        self.segment.complete(end)
    }
    fn close_incomplete(
        self: Box<Self>,
        reached: Lsn,
        closing: Closing,
    ) -> Result<Durable<Lsn>, StorageError> {
        self.stall.before_sync();
        self.segment.close_incomplete(reached, closing)
    }
}
