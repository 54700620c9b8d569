//! Decides when a synchronous receiver asks the disk to make durable what it was given.
//!
//! In come the ends of what was received and of the server's log; out comes when to ask. A commit waits for the answer,
//! so as soon as the server has no more to send, it is asked for. While more is on its way, asking can wait a moment: the
//! rest of the transaction is in what follows. A server that is far ahead waits for no single commit of what it
//! sends, and there a sync now and then is enough. It reads no clock.

use std::time::{Duration, Instant};

use crate::types::Lsn;

/// When to ask for a sync.
#[derive(Debug, Default)]
pub(super) struct FlushPace {
    /// What is not asked for yet.
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    since: Instant,
    bytes: u64,
    /// How far the server is ahead of us.
    lag: u64,
}

/// How much, and how long, may be put off.
struct Bounds {
    bytes: u64,
    time: Duration,
}

impl FlushPace {
    /// A server that is so far ahead is caught up with, not kept up with.
    const FAR: u64 = 16 << 20;

    /// While keeping up: what a disk syncs in a few milliseconds, which is what a commit may wait longer for it.
    const NEAR_BOUNDS: Bounds = Bounds { bytes: 1 << 20, time: Duration::from_millis(5) };

    /// While catching up.
    const FAR_BOUNDS: Bounds = Bounds { bytes: 8 << 20, time: Duration::from_millis(100) };

    /// So many bytes were received; they end at `end`, and the server's log then ended at `server_end`.
    pub(super) fn received(&mut self, bytes: u64, end: Lsn, server_end: Lsn, now: Instant) {
        let lag = server_end.checked_sub(end).unwrap_or(0);
        let pending = self.pending.get_or_insert(Pending { since: now, bytes: 0, lag });
        (pending.bytes, pending.lag) = (pending.bytes + bytes, lag);
    }

    /// The instant from which it is time to ask, if nothing more comes.
    pub(super) fn due(&self) -> Option<Instant> {
        self.pending.as_ref().map(|pending| {
            let bounds = if pending.lag >= Self::FAR { Self::FAR_BOUNDS } else { Self::NEAR_BOUNDS };
            let at_once = pending.lag == 0 || pending.bytes >= bounds.bytes;
            if at_once { pending.since } else { pending.since + bounds.time }
        })
    }

    /// Whether it is time to ask, which the caller then must.
    pub(super) fn poll(&mut self, now: Instant) -> bool {
        let is_due = self.due().is_some_and(|due| due <= now);
        if is_due {
            self.pending = None;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Receives so many bytes from a server that is so far ahead after them.
    fn receive(pace: &mut FlushPace, bytes: u64, lag: u64, now: Instant) {
        pace.received(bytes, Lsn::new(1 << 40), Lsn::new((1 << 40) + lag), now);
    }

    #[test]
    fn rw_218_what_the_server_ends_with_is_asked_for_at_once() {
        let now = Instant::now();
        let mut pace = FlushPace::default();
        assert_eq!((pace.due(), pace.poll(now)), (None, false));
        receive(&mut pace, 131_072, 300, now);
        assert!(!pace.poll(now));
        receive(&mut pace, 300, 0, now);
        assert!(pace.poll(now));
        assert_eq!((pace.due(), pace.poll(now)), (None, false));
        // A server that claims to have less than it sent.
        pace.received(10, Lsn::new(100), Lsn::ZERO, now);
        assert!(pace.poll(now));
    }

    #[test]
    fn rw_125_a_stream_without_end_does_not_put_it_off() {
        let start = Instant::now();
        for (lag, bytes, time) in [(1, MIB, 5), (16 * MIB - 1, MIB, 5), (16 * MIB, 8 * MIB, 100)] {
            let time = Duration::from_millis(time);
            let mut pace = FlushPace::default();
            receive(&mut pace, bytes / 2, lag, start);
            assert!(!pace.poll(start));
            receive(&mut pace, bytes / 2 - 1, lag, start);
            assert_eq!((pace.due(), pace.poll(start)), (Some(start + time), false));
            receive(&mut pace, 1, lag, start);
            assert!(pace.poll(start));

            receive(&mut pace, 1, lag, start);
            receive(&mut pace, 1, lag, start + time / 2);
            assert!(!pace.poll(start + time / 2));
            assert!(pace.poll(start + time));
        }
    }
}
