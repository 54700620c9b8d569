//! The line of segments that wait to be compressed, between the thread of the disk and the one that compresses.
//!
//! In come the names of raw segments, out they go in order. Each new segment takes up space on the disk until it is
//! compressed, so few may wait; segments for which it is no matter when they are compressed stand behind all others, and
//! are only names.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::types::WalFileName;

/// The bytes of raw segments that may wait. More of them would help only a receiver that gets WAL faster than it can
/// compress it, and not for long.
const MOST_WAITING: u64 = 64 << 20;

/// Segments that wait. One thread puts them in line, another takes them.
#[derive(Debug, Default)]
pub(super) struct Line {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// New ones.
    waiting: VecDeque<WalFileName>,
    /// Those of earlier runs, and those that could not be compressed.
    later: VecDeque<Turn>,
    /// Whether there is a point in trying one of those now.
    is_worthwhile: bool,
    /// Nothing more is to be done.
    is_closed: bool,
    taker: Taker,
    names: Names,
}

/// What the thread does that takes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Taker {
    #[default]
    Waits,
    /// It has taken one that is not done.
    Works,
    Ended,
}

/// Whether files take the places of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// The thread that compresses puts a file in the place of another.
    Change,
    /// So many look for files, and must find them where they are.
    KeptBy(u32),
}

impl Default for Names {
    fn default() -> Self {
        Self::KeptBy(0)
    }
}

/// As long as this lives every segment keeps the name that it has, raw or compressed.
#[derive(Debug)]
pub(in crate::receive::segment_archive) struct KeptNames(Arc<Line>);

/// As long as this lives names may change.
#[derive(Debug)]
pub(super) struct ChangingNames<'a>(&'a Line);

/// A segment whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) segment: WalFileName,
    /// It was tried before, and failed.
    pub(super) has_failed: bool,
}

/// The thread that compresses has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the thread that compresses WAL ended unexpectedly")]
pub(super) struct Ended;

impl Line {
    /// Puts a new segment in line. Waits while others wait that take up too much space with it.
    pub(super) fn enter(&self, segment: WalFileName) -> Result<(), Ended> {
        let mut state = self.lock();
        while state.taker != Taker::Ended && !state.has_room_for(segment) {
            state = self.wait(state);
        }
        state.check()?;
        state.waiting.push_back(segment);
        state.is_worthwhile = true;
        self.changed.notify_all();
        Ok(())
    }

    /// Puts a segment behind all others.
    pub(super) fn enter_last(&self, segment: WalFileName) -> Result<(), Ended> {
        let mut state = self.lock();
        state.check()?;
        state.later.push_back(Turn { segment, has_failed: false });
        state.is_worthwhile = true;
        self.changed.notify_all();
        Ok(())
    }

    /// Waits for the next segment; the one before is done. None when nothing more is to be done.
    pub(super) fn next(&self) -> Option<Turn> {
        let mut state = self.lock();
        loop {
            let turn = state.take();
            state.taker = if turn.is_some() { Taker::Works } else { Taker::Waits };
            self.changed.notify_all();
            if turn.is_some() || state.is_closed {
                return turn;
            }
            state = self.wait(state);
        }
    }

    /// The segment at hand was compressed; those that could not be may do better now.
    pub(super) fn succeeded(&self) {
        self.lock().is_worthwhile = true;
    }

    /// The segment at hand could not be compressed; it is tried again when there is news.
    pub(super) fn failed(&self, segment: WalFileName) {
        let mut state = self.lock();
        state.later.push_back(Turn { segment, has_failed: true });
        state.is_worthwhile = false;
    }

    /// Waits until everything was tried, and what has failed once more; false if that is not so by then.
    pub(super) fn wait_until_done(&self, deadline: Option<Instant>) -> Result<bool, Ended> {
        let mut state = self.lock();
        let mut tries_again = true;
        loop {
            state.check()?;
            if state.is_done() {
                if !tries_again || state.later.is_empty() {
                    return Ok(true);
                }
                tries_again = false;
                state.is_worthwhile = true;
                self.changed.notify_all();
            }
            let Some(deadline) = deadline else {
                state = self.wait(state);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until no name changes, and keeps it so.
    pub(super) fn keep_names(self: &Arc<Self>) -> KeptNames {
        let mut state = self.lock();
        loop {
            if let Names::KeptBy(others) = state.names {
                state.names = Names::KeptBy(others + 1);
                return KeptNames(Arc::clone(self));
            }
            state = self.wait(state);
        }
    }

    /// Waits until names may change; none when nothing more is to be done.
    pub(super) fn change_names(&self) -> Option<ChangingNames<'_>> {
        let mut state = self.lock();
        while state.names != Names::KeptBy(0) && !state.is_closed {
            state = self.wait(state);
        }
        if state.is_closed {
            return None;
        }
        state.names = Names::Change;
        Some(ChangingNames(self))
    }

    fn leave_names(&self) {
        let mut state = self.lock();
        state.names = match state.names {
            Names::KeptBy(count) => Names::KeptBy(count.saturating_sub(1)),
            Names::Change => Names::KeptBy(0),
        };
        self.changed.notify_all();
    }

    /// Nothing more is to be done. Gives what was in line.
    pub(super) fn close(&self) -> Vec<WalFileName> {
        let mut state = self.lock();
        state.is_closed = true;
        self.changed.notify_all();
        let later = std::mem::take(&mut state.later);
        std::mem::take(&mut state.waiting)
            .into_iter()
            .chain(later.into_iter().map(|turn| turn.segment))
            .collect()
    }

    /// Whether the segment at hand is not wanted any more either.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Nobody takes anything any more.
    pub(super) fn end(&self) {
        self.lock().taker = Taker::Ended;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KeptNames {
    fn drop(&mut self) {
        self.0.leave_names();
    }
}

impl Drop for ChangingNames<'_> {
    fn drop(&mut self) {
        self.0.leave_names();
    }
}

impl State {
    fn has_room_for(&self, segment: WalFileName) -> bool {
        let together = (self.waiting.len() as u64 + 1) * segment.size().as_u64();
        self.waiting.is_empty() || together <= MOST_WAITING
    }

    fn take(&mut self) -> Option<Turn> {
        if self.is_closed {
            return None;
        }
        if let Some(segment) = self.waiting.pop_front() {
            return Some(Turn { segment, has_failed: false });
        }
        self.is_worthwhile.then(|| self.later.pop_front()).flatten()
    }

    fn is_done(&self) -> bool {
        self.taker == Taker::Waits
            && self.waiting.is_empty()
            && (self.later.is_empty() || !self.is_worthwhile)
    }

    fn check(&self) -> Result<(), Ended> {
        if self.taker == Taker::Ended { Err(Ended) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::types::{SegmentNumber, SegmentSize, TimelineId};

    fn segment(number: u64, size: u64) -> WalFileName {
        WalFileName::new(TimelineId::FIRST, SegmentNumber::new(number), SegmentSize::new(size).unwrap())
    }

    #[test]
    fn i_017_few_bytes_wait_but_always_one_segment() {
        for (size, most) in [(1 << 20, 64), (16 << 20, 4), (64 << 20, 1), (1 << 30, 1)] {
            let line = Line::default();
            let mut taken = 0;
            thread::scope(|scope| {
                let entering = scope.spawn(|| (0..200).try_for_each(|n| line.enter(segment(n, size))));
                while taken < 200 {
                    assert!(line.lock().waiting.len() <= most);
                    let turn = line.next().unwrap();
                    assert_eq!(turn, Turn { segment: segment(taken, size), has_failed: false });
                    taken += 1;
                }
                entering.join().unwrap().unwrap();
            });
        }
    }

    #[test]
    fn new_segments_go_before_old_ones_and_failed_ones_wait_for_news() {
        let line = Line::default();
        let [one, two, three] = [1, 2, 3].map(|number| segment(number, 1 << 20));
        let turn = |segment, has_failed| Some(Turn { segment, has_failed });
        line.enter_last(one).unwrap();
        line.enter(two).unwrap();
        assert_eq!(line.next(), turn(two, false));
        line.failed(two);
        assert!(!line.wait_until_done(Some(Instant::now())).unwrap());
        assert_eq!(line.lock().take(), None);
        line.succeeded();
        assert_eq!(line.next(), turn(one, false));
        line.failed(one);
        assert_eq!(line.lock().take(), None);
        line.enter(three).unwrap();
        assert_eq!(line.next(), turn(three, false));
        line.failed(three);
        assert_eq!(line.lock().take(), None);
        line.succeeded();
        assert_eq!(line.next(), turn(two, true));
        assert_eq!(line.close(), [one, three]);
        assert_eq!(line.next(), None);
    }

    #[test]
    fn i_006_names_stay_while_somebody_looks_and_nobody_waits_for_that_after_the_end() {
        let line = Arc::new(Line::default());
        let changes = Mutex::new(0);
        thread::scope(|scope| {
            let changing = scope.spawn(|| {
                while let Some(names) = line.change_names() {
                    *changes.lock().unwrap() += 1;
                    drop(names);
                }
            });
            for _ in 0..100 {
                let kept = line.keep_names();
                let before = *changes.lock().unwrap();
                thread::yield_now();
                assert_eq!(*changes.lock().unwrap(), before);
                drop(kept);
            }
            let kept = line.keep_names();
            line.close();
            changing.join().unwrap();
            drop(kept);
        });
    }

    #[test]
    fn whoever_waits_for_a_taker_that_ends_is_told() {
        let line = Line::default();
        line.enter(segment(1, 1 << 30)).unwrap();
        thread::scope(|scope| {
            let entering = scope.spawn(|| line.enter(segment(2, 1 << 30)));
            let waiting = scope.spawn(|| line.wait_until_done(None));
            line.end();
            assert_eq!(entering.join().unwrap(), Err(Ended));
            assert_eq!(waiting.join().unwrap(), Err(Ended));
        });
        assert_eq!(line.enter_last(segment(3, 1 << 30)), Err(Ended));
    }
}
