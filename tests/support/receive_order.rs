//! Judges from its system calls whether a receiver told the server of nothing before it was so.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::archived_wal::{ArchivedFile, position_text, segment_number};
use super::system_calls::{Call, Event};

/// What the receiver said in a status update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub written: u64,
    pub flushed: u64,
}

/// What the calls amount to.
#[derive(Debug, Default)]
pub struct Judgement {
    /// All status updates, in order.
    pub told: Vec<Told>,
    /// What was wrong, in words.
    pub wrong: Vec<String>,
    /// How often files and directories were synced.
    pub syncs: usize,
    /// The final names that files have got, in order.
    pub published: Vec<String>,
    /// The final names that a failure of power could take away at the end.
    pub at_risk: Vec<String>,
}

/// Knows of each file what is written and what cannot be lost.
#[derive(Debug)]
pub struct OrderJudge {
    directory: PathBuf,
    segment_size: u64,
    files: HashMap<PathBuf, FileState>,
    /// How much of each segment is written, and how much cannot be lost, wherever it is.
    segments: BTreeMap<u64, Kept>,
    /// The names that a failure of power leaves.
    durable_names: BTreeSet<PathBuf>,
    /// The names that have got there since, or have gone.
    unsynced_names: BTreeSet<PathBuf>,
    /// The highest position that the server was told.
    told: u64,
    /// What a sync that is under way will have made durable.
    syncing: HashMap<String, Syncing>,
    judgement: Judgement,
}

#[derive(Clone, Debug, Default)]
struct FileState {
    position: u64,
    content: Vec<u8>,
    /// Up to where the content is known from its start on.
    known: u64,
    /// Up to where it was written from its start on.
    written: u64,
    durable: u64,
}

impl FileState {
    /// Takes bytes at an offset. Gives where the first byte is that had another value before.
    fn write(&mut self, from: u64, data: &[u8]) -> Option<u64> {
        let (start, end) = (from as usize, from as usize + data.len());
        if self.content.len() < end {
            self.content.resize(end.max(start), 0);
        }
        let known = (self.known.saturating_sub(from) as usize).min(data.len());
        let before = &self.content[start..start + known];
        let changed = before.iter().zip(data).position(|(old, new)| old != new).map(|at| from + at as u64);
        self.content[start..end].copy_from_slice(data);
        if let Some(changed) = changed {
            self.durable = self.durable.min(changed);
        }
        if from <= self.known {
            self.known = self.known.max(end as u64);
        }
        if from <= self.written {
            self.written = self.written.max(end as u64);
        }
        changed
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    written: u64,
    durable: u64,
}

#[derive(Debug)]
enum Syncing {
    File { written: u64 },
    Directory { names: BTreeSet<PathBuf> },
}

impl OrderJudge {
    /// Judges a receiver that found these files with so many bytes of WAL. What is complete is durable. Of what is
    /// partial it cannot know: a sync may have failed before, and another one would not write it again.
    pub fn new(directory: &Path, segment_size: u64, found: &[(String, u64)]) -> Self {
        let mut judge = Self {
            directory: directory.to_owned(),
            segment_size,
            files: HashMap::new(),
            segments: BTreeMap::new(),
            durable_names: BTreeSet::new(),
            unsynced_names: BTreeSet::new(),
            told: 0,
            syncing: HashMap::new(),
            judgement: Judgement::default(),
        };
        for (name, length) in found {
            let is_partial = matches!(ArchivedFile::named(name), ArchivedFile::Partial { .. });
            let durable = if is_partial { 0 } else { *length };
            if is_partial {
                let kept = Kept { written: *length, durable: 0 };
                judge.segments.insert(segment_number(&name[..24], segment_size), kept);
            }
            let names = if is_partial { &mut judge.unsynced_names } else { &mut judge.durable_names };
            names.insert(directory.join(name));
            let state = FileState { written: durable, durable, ..FileState::default() };
            judge.files.insert(directory.join(name), state);
        }
        judge
    }

    /// Judges the calls that follow a start at `start`, before which everything is durable.
    pub fn judge(mut self, events: &[Event], start: u64) -> Judgement {
        for event in events {
            match event {
                Event::Begin { call: Call::Send(bytes), .. } => self.told(bytes, start),
                Event::Begin { call: Call::Rename { from, to }, .. } => self.check_rename(from, to),
                Event::Begin { call: Call::Remove(path), .. } => self.check_removal(path),
                Event::Begin { call: Call::Sync(path), thread } => self.begin_sync(thread, path),
                Event::Begin { .. } => {}
                Event::End { thread, call, result } => self.end(thread, call, *result),
            }
        }
        let published = &self.judgement.published;
        let is_at_risk = |name: &&String| self.unsynced_names.contains(&self.directory.join(name));
        self.judgement.at_risk = published.iter().filter(is_at_risk).cloned().collect();
        self.judgement
    }

    fn end(&mut self, thread: &str, call: &Call, result: u64) {
        match call {
            Call::Create(path) => {
                self.files.entry(path.clone()).or_default().position = 0;
                if !self.durable_names.contains(path) {
                    self.unsynced_names.insert(path.clone());
                }
            }
            Call::Seek(path) => {
                if let Some(file) = self.files.get_mut(path) {
                    file.position = result;
                }
            }
            Call::Write { path, offset, data } => self.end_write(path, *offset, &data[..result as usize]),
            Call::Sync(path) => self.end_sync(thread, path),
            Call::Rename { from, to } => self.end_rename(from, to),
            Call::Remove(path) => {
                self.files.remove(path);
                self.unsynced_names.insert(path.clone());
            }
            Call::SyncFileSystem | Call::Send(_) => {}
        }
    }

    /// Blocks are filled up with zeros, and others are written as zeros ahead: they count as written, too. But what was
    /// told of once is WAL, and does not change any more.
    fn end_write(&mut self, path: &Path, offset: Option<u64>, data: &[u8]) {
        let Some(file) = self.files.get_mut(path) else { return };
        let from = offset.unwrap_or(file.position);
        if offset.is_none() {
            file.position += data.len() as u64;
        }
        if let Some(changed) = file.write(from, data)
            && let Some(start) = self.start_of(path)
        {
            self.changed(path, start, changed);
        }
        self.note(path);
    }

    /// A segment that begins at `start` has other bytes from the offset on than before.
    fn changed(&mut self, path: &Path, start: u64, offset: u64) {
        if let Some(kept) = self.segments.get_mut(&(start / self.segment_size)) {
            kept.durable = kept.durable.min(offset);
        }
        if start + offset < self.told {
            let (name, told) = (file_name(path), position_text(self.told));
            self.wrong(format!("byte {offset} of {name} was changed after {told} was told"));
        }
    }

    /// Where the raw segment in a file begins.
    fn start_of(&self, path: &Path) -> Option<u64> {
        match self.named(path) {
            ArchivedFile::Complete { segment, suffix } | ArchivedFile::Partial { segment, suffix } => {
                suffix.is_empty().then(|| segment_number(&segment, self.segment_size) * self.segment_size)
            }
            _ => None,
        }
    }

    fn begin_sync(&mut self, thread: &str, path: &Path) {
        self.judgement.syncs += 1;
        let syncing = if path == self.directory {
            Syncing::Directory { names: self.unsynced_names.clone() }
        } else {
            Syncing::File { written: self.files.get(path).map_or(0, |file| file.written) }
        };
        self.syncing.insert(thread.to_owned(), syncing);
    }

    fn end_sync(&mut self, thread: &str, path: &Path) {
        match self.syncing.remove(thread) {
            Some(Syncing::File { written }) => {
                if let Some(file) = self.files.get_mut(path) {
                    file.durable = file.durable.max(written);
                }
                self.note(path);
            }
            Some(Syncing::Directory { names }) => {
                for name in names {
                    self.unsynced_names.remove(&name);
                    if self.files.contains_key(&name) {
                        self.durable_names.insert(name.clone());
                        self.note(&name);
                    } else {
                        self.durable_names.remove(&name);
                    }
                }
            }
            None => {}
        }
    }

    fn end_rename(&mut self, from: &Path, to: &Path) {
        if let Some(file) = self.files.remove(from) {
            self.files.insert(to.to_owned(), file);
        }
        self.unsynced_names.extend([from.to_owned(), to.to_owned()]);
        if matches!(self.named(to), ArchivedFile::Complete { .. } | ArchivedFile::History) {
            self.judgement.published.push(file_name(to));
        }
    }

    /// Takes down what the file means for its segment.
    fn note(&mut self, path: &Path) {
        let (ArchivedFile::Complete { segment, suffix } | ArchivedFile::Partial { segment, suffix }) =
            self.named(path)
        else {
            return;
        };
        let Some(&FileState { written, durable, .. }) = self.files.get(path) else { return };
        let kept = self.segments.entry(segment_number(&segment, self.segment_size)).or_default();
        if suffix.is_empty() {
            kept.written = kept.written.max(written);
            if self.durable_names.contains(path) {
                kept.durable = kept.durable.max(durable);
            }
        }
    }

    fn named(&self, path: &Path) -> ArchivedFile {
        match path.strip_prefix(&self.directory) {
            Ok(name) => ArchivedFile::named(name.to_str().unwrap()),
            Err(_) => ArchivedFile::Other,
        }
    }

    /// Nothing gets a final name before all of it is durable.
    fn check_rename(&mut self, from: &Path, to: &Path) {
        let file = self.files.get(from).cloned().unwrap_or_default();
        if let ArchivedFile::Complete { segment, .. } = self.named(to) {
            self.check_history(&segment);
        }
        let expected = match self.named(to) {
            ArchivedFile::Complete { suffix, .. } if suffix.is_empty() => self.segment_size,
            ArchivedFile::Complete { .. } | ArchivedFile::Partial { .. } | ArchivedFile::History => {
                file.written
            }
            _ => return,
        };
        if file.durable < expected {
            let names = [from, to].map(file_name);
            let durable = file.durable;
            self.wrong(format!(
                "{} became {} with {durable} of {expected} bytes durable",
                names[0], names[1]
            ));
        }
    }

    /// The history of a timeline is durable before any whole segment of it.
    fn check_history(&mut self, segment: &str) {
        let history = format!("{}.history", &segment[..8]);
        if !segment.starts_with("00000001") && !self.durable_names.contains(&self.directory.join(&history)) {
            self.wrong(format!("{segment} was whole before {history} was durable"));
        }
    }

    /// What is removed has a successor that is durable, name and all.
    fn check_removal(&mut self, path: &Path) {
        let (segment, is_partial) = match self.named(path) {
            ArchivedFile::Complete { segment, .. } => (segment, false),
            ArchivedFile::Partial { segment, .. } => (segment, true),
            _ => return,
        };
        let has_successor = self.durable_names.iter().any(|name| match self.named(name) {
            _ if name == path || self.unsynced_names.contains(name) => false,
            ArchivedFile::Complete { segment: other, .. } => other == segment,
            ArchivedFile::Partial { segment: other, .. } => is_partial && other == segment,
            _ => false,
        });
        if !has_successor {
            self.wrong(format!("{} was removed, and nothing durable has its bytes", file_name(path)));
        }
    }

    /// Reads the status updates at the beginning of what is sent.
    fn told(&mut self, mut bytes: &[u8], start: u64) {
        while let [b'd', 0, 0, 0, 38, b'r', update @ ..] = bytes {
            let number = |from: usize| u64::from_be_bytes(update[from..from + 8].try_into().unwrap());
            let told = Told { written: number(0), flushed: number(8) };
            self.judgement.told.push(told);
            self.told = self.told.max(told.written).max(told.flushed);
            self.check_position(start, told.flushed, "flushed", |kept| kept.durable);
            self.check_position(start, told.written, "written", |kept| kept.written);
            bytes = &update[33..];
        }
    }

    fn check_position(&mut self, start: u64, position: u64, what: &str, of: impl Fn(&Kept) -> u64) {
        let mut at = start;
        while at < position {
            let (segment, offset) = (at / self.segment_size, at % self.segment_size);
            let end = position.min((segment + 1) * self.segment_size);
            let needed = offset + (end - at);
            let kept = self.segments.get(&segment).map_or(0, &of);
            if kept < needed {
                let told = position_text(position);
                self.wrong(format!(
                    "{told} was called {what}, but of segment {segment} only {kept} bytes were"
                ));
                return;
            }
            at = end;
        }
    }

    fn wrong(&mut self, what: String) {
        self.judgement.wrong.push(what);
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
