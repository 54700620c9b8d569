//! A receiver that goes on over many connections, its archive in memory, and a server that can be honest to it.
//!
//! The tests that need it take this file in by its path, because most need no library.

// Every test file compiles this module for itself and uses a part of it.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use pgsiphon::conninfo::Config;
use pgsiphon::protocol::TimelineHistoryFile;
use pgsiphon::receive::{
    ArchiveEnd, Closing, Cluster, Event, Observer, OpenSegment, ReceiveError, ReceiveReport, RunOptions,
    WalArchive, run,
};
use pgsiphon::storage::{Durable, StorageError};
use pgsiphon::types::{Lsn, SegmentSize, TimelineId, WalFileName};
use pgsiphon::wal::RecordReader;
use tokio_util::sync::CancellationToken;

use crate::support::{ErrorText, Peer, Status};

pub const MIB: u64 = 1 << 20;

/// Where the log of the scripted servers begins.
pub const START: u64 = 3 * MIB;

pub fn segment_size() -> SegmentSize {
    SegmentSize::new(MIB).unwrap()
}

/// What was received, by the names of segments and history files.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Kept {
    pub fn files(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().unwrap()
    }

    /// The segments of a timeline, one after the other.
    pub fn log(&self, timeline: u32) -> Vec<u8> {
        let files = self.files();
        let of_timeline = files.iter().filter(|(name, _)| {
            name.len() == 24 && name.starts_with(&TimelineId::new(timeline).unwrap().history_file_name()[..8])
        });
        of_timeline.flat_map(|(_, content)| content).copied().collect()
    }
}

/// An archive that resumes in the middle of a segment.
pub struct MemoryArchive(pub Kept);

struct MemorySegment<'a> {
    kept: &'a Kept,
    name: String,
}

impl WalArchive for MemoryArchive {
    fn resume(&mut self, cluster: &Cluster<'_>) -> Result<Option<ArchiveEnd>, StorageError> {
        let mut files = self.0.files();
        let segments = files.iter_mut().filter_map(|(name, content)| {
            let name = WalFileName::parse(name, cluster.segment_size).ok()?;
            Some((name.segment(), name.timeline(), content))
        });
        let Some((number, timeline, content)) =
            segments.max_by_key(|(number, timeline, _)| (*number, *timeline))
        else {
            return Ok(None);
        };
        let start = number.start(cluster.segment_size);
        let reader = || {
            RecordReader::new(start, start, cluster.segment_size, timeline)
                .expect_system_id(cluster.system_id)
        };
        let mut records = reader();
        records.push(content).unwrap();
        let position = records.end_of_records();
        // What is not a whole record is received again.
        content.truncate(position.checked_sub(start).unwrap() as usize);
        let mut records = reader();
        records.push(content).unwrap();
        let overlap =
            if content.len() as u64 == MIB { &[] } else { &content[content.len().saturating_sub(5000)..] };
        let overlap = overlap.to_vec().into();
        Ok(Some(ArchiveEnd { timeline, position: Durable::vouched_for(position), records, overlap }))
    }

    fn open_segment(
        &mut self,
        segment: WalFileName,
        from: Lsn,
    ) -> Result<Box<dyn OpenSegment + '_>, StorageError> {
        let name = segment.to_string();
        let length = self.0.files().entry(name.clone()).or_default().len() as u64;
        assert_eq!(length, from.segment_offset(segment_size()), "{name}");
        Ok(Box::new(MemorySegment { kept: &self.0, name }))
    }

    fn has_history(&mut self, timeline: TimelineId) -> Result<bool, StorageError> {
        Ok(self.0.files().contains_key(&timeline.history_file_name()))
    }

    fn store_history(&mut self, file: &TimelineHistoryFile) -> Result<(), StorageError> {
        self.0.files().insert(file.name.clone(), file.content.to_vec());
        Ok(())
    }

    fn finish(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}

impl OpenSegment for MemorySegment<'_> {
    fn append(&mut self, data: &[u8]) -> Result<(), StorageError> {
        self.kept.files().get_mut(&self.name).unwrap().extend_from_slice(data);
        Ok(())
    }

    fn sync(&mut self, reached: Lsn) -> Result<Durable<Lsn>, StorageError> {
        Ok(Durable::vouched_for(reached))
    }

    fn complete(self: Box<Self>, end: Lsn) -> Result<Durable<Lsn>, StorageError> {
        Ok(Durable::vouched_for(end))
    }

    fn close_incomplete(self: Box<Self>, reached: Lsn, _: Closing) -> Result<Durable<Lsn>, StorageError> {
        Ok(Durable::vouched_for(reached))
    }
}

/// Writes down what is told.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    /// Why attempts failed, in order.
    pub fn failures(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for Heard {
    fn observe(&self, event: &Event<'_>) {
        if let Event::Failed(error) = event {
            self.0.lock().unwrap().push(ErrorText::with_causes(*error));
        }
    }
}

/// A receiver on a thread of its own that reconnects as its options say.
pub struct Looping {
    pub kept: Kept,
    pub heard: Heard,
    cancel: CancellationToken,
    thread: JoinHandle<Result<ReceiveReport, ReceiveError>>,
}

impl Looping {
    /// Begins to receive into an archive that has nothing.
    pub fn start(conninfo: &str, options: RunOptions) -> Self {
        Self::start_with(conninfo, options, Kept::default())
    }

    /// Begins to receive into an archive that the script can look into.
    pub fn start_with(conninfo: &str, options: RunOptions, kept: Kept) -> Self {
        let config: Config = conninfo.parse().unwrap();
        let (heard, cancel) = (Heard::default(), CancellationToken::new());
        let (observer, cancelled) = (Arc::new(heard.clone()), cancel.clone());
        let archive = Box::new(MemoryArchive(kept.clone()));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(&config, &options, archive, observer, cancelled))
        });
        Self { kept, heard, cancel, thread }
    }

    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Waits for the end.
    #[track_caller]
    pub fn finish(self) -> Result<ReceiveReport, ReceiveError> {
        match self.thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// What an honest server says of itself.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    pub timeline: &'a str,
    /// The history file of the timeline, where that is not the first.
    pub history: &'a str,
}

pub const FIRST_TIMELINE: Identity<'_> = Identity { timeline: "1", history: "" };

/// Answers a command honestly, except for `START_REPLICATION`.
pub fn answer(peer: &mut Peer, command: &str, identity: Identity<'_>) {
    let Identity { timeline, history } = identity;
    let name = format!("{timeline:0>8}.history");
    match command.split(' ').next().unwrap() {
        "IDENTIFY_SYSTEM" => {
            peer.answer_nullable(&[Some("7000000000000000001"), Some(timeline), Some("0/300010"), None]);
        }
        "SHOW" if command.ends_with("data_directory_mode") => peer.answer(&["0700"]),
        "SHOW" if command.ends_with("wal_segment_size") => peer.answer(&["1MB"]),
        "READ_REPLICATION_SLOT" => peer.answer(&["physical", "0/300000", "1"]),
        "TIMELINE_HISTORY" => peer.answer(&[&name, history]),
        _ => panic!("unexpected command {command}"),
    }
}

/// Answers everything up to the command that begins with `last`, and gives that.
pub fn answer_until(peer: &mut Peer, last: &str, identity: Identity<'_>) -> String {
    loop {
        let command = peer.expect_command("");
        if command.starts_with(last) {
            return command;
        }
        answer(peer, &command, identity);
    }
}

/// Begins a stream, and gives the position that the client asked for.
pub fn begin_stream(peer: &mut Peer) -> u64 {
    let command = answer_until(peer, "START_REPLICATION", FIRST_TIMELINE);
    peer.copy_both();
    start_of(&command)
}

/// The position in `START_REPLICATION`.
pub fn start_of(command: &str) -> u64 {
    let position = command.split(' ').find(|word| word.contains('/')).unwrap();
    position.parse::<Lsn>().unwrap().as_u64()
}

/// Takes leave as a server does whose timeline goes on.
pub fn take_leave(peer: &mut Peer) {
    peer.expect_copy_done();
    peer.send(b'c', b"");
    peer.complete("COPY 0");
    peer.ready();
    peer.expect_end();
}

/// Waits for the update that says that everything up to here is flushed. None may say more, or go back behind
/// `known`; one that says nothing of it is allowed.
#[track_caller]
pub fn expect_flushed(peer: &mut Peer, position: u64, known: u64) {
    loop {
        let Status { written, flushed } = peer.expect_status();
        assert!(written <= position, "{written:X} is written of {position:X}");
        assert!(flushed == 0 || flushed >= known, "{flushed:X} is flushed after {known:X}");
        assert!(flushed <= written, "{flushed:X} is flushed of {written:X}");
        if flushed == position {
            return;
        }
    }
}
