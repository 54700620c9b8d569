//! Decides when the server is told how far the client has come, and what it is told.
//!
//! In come the time, the positions that the disk has reached, and the server's requests; out come
//! status updates. It reads no clock and sends nothing itself. A position goes out as flushed only
//! if it came in as [`Durable`], and one goes out as written only after the kernel took the bytes.
//! What went out as flushed never goes back while one timeline is received, over all connections:
//! until the disk is there again, the server hears nothing of it.

use std::time::{Duration, Instant};

use super::disk_progress::DiskProgress;
use crate::protocol::StandbyStatus;
use crate::storage::Durable;
use crate::types::{Lsn, SegmentSize};

/// What the server learns about durable positions (RW-130 … RW-132).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlushReport {
    /// Nothing, so that the client never counts as a synchronous standby.
    #[default]
    Nothing,
    /// The ends of complete segments, of an archive that does not sync what it writes (OP-09), and more only to a
    /// server that would wait for ever.
    Segments(SegmentSize),
    /// Each position that happens to become durable, so that a slot can let go of WAL.
    WhenDurable,
    /// The same, and everything received is made durable as soon as it is written.
    Synchronous,
}

impl FlushReport {
    /// The flush position of an update when so much is durable.
    fn flushed(self, durable: Durable<Lsn>) -> Lsn {
        match self {
            Self::Nothing => Lsn::ZERO,
            Self::Segments(size) => durable.value().segment_start(size),
            Self::WhenDurable | Self::Synchronous => durable.value(),
        }
    }
}

/// When status updates are due.
#[derive(Debug)]
pub struct Feedback {
    interval: Option<Duration>,
    report: FlushReport,
    written: Lsn,
    flushed: Durable<Lsn>,
    /// When the last update went out, or the stream began.
    last_sent: Instant,
    /// The flush position of the last update; before that, the one that it begins with.
    last_flushed: Lsn,
    /// The highest flush position that the server was told on this timeline, also over earlier connections.
    known_flushed: Lsn,
    /// Whether the update at the beginning is still to be sent.
    beginning: bool,
    request: Option<Request>,
    /// What had been received at the request that was answered last.
    answered: Option<Lsn>,
    /// Whether the server asks again although nothing came since its last request. One that shuts down does so, without
    /// pause and for ever, until it hears that everything it sent is flushed.
    insists: bool,
    /// Whether the server's messages stay unread, and its requests with them.
    reading_paused: bool,
    silence: Option<Silence>,
}

/// How long nothing came from the server.
#[derive(Clone, Copy, Debug)]
struct Silence {
    /// How long it may be.
    bound: Duration,
    /// Since when.
    since: Instant,
    /// When the server was asked to answer.
    asked: Option<Instant>,
}

/// The server asked for an update.
#[derive(Clone, Copy, Debug)]
struct Request {
    /// The update goes out no later than this, however far the disk is.
    latest: Instant,
    /// It goes out at once when the disk has come here: what had been received at the request.
    reached: Lsn,
}

impl Feedback {
    /// How long a requested update waits for the disk to take what was received before the request.
    /// A server that shuts down asks again and again until it reads of everything it sent, so an
    /// update that is a moment late saves many that say nothing.
    const PATIENCE: Duration = Duration::from_millis(100);

    /// How often the server hears of a client that does not read, because a request may wait unread.
    const WHILE_PAUSED: Duration = Duration::from_millis(500);

    /// For a stream that begins at `start`. An interval of nothing, or of zero, means that updates go
    /// out only for a reason.
    pub fn new(interval: Option<Duration>, report: FlushReport, start: Durable<Lsn>, now: Instant) -> Self {
        let interval = interval.filter(|interval| !interval.is_zero());
        Self {
            interval,
            report,
            written: start.value(),
            flushed: start,
            last_sent: now,
            last_flushed: report.flushed(start),
            known_flushed: Lsn::ZERO,
            beginning: interval.is_some(),
            request: None,
            answered: None,
            insists: false,
            reading_paused: false,
            silence: None,
        }
    }

    /// Takes a server for dead that says nothing for so long, although it is asked for an answer after half of it
    /// (OP-25).
    pub fn with_receive_timeout(mut self, timeout: Option<Duration>, now: Instant) -> Self {
        self.silence = timeout.map(|bound| Silence { bound, since: now, asked: None });
        self
    }

    /// Goes on after a stream of the same timeline in which the server heard of `flushed`. The archive may go on
    /// before that: in the middle of a record there is nothing to go on from (RW-235).
    pub fn with_known_flushed(mut self, flushed: Lsn) -> Self {
        self.known_flushed = flushed;
        self.last_flushed = self.told_flushed();
        self
    }

    /// The highest flush position that the server was told on this timeline; zero if it was told none.
    pub fn known_flushed(&self) -> Lsn {
        self.known_flushed
    }

    /// From now on the server learns something else about durable positions.
    pub fn set_report(&mut self, report: FlushReport) {
        self.report = report;
    }

    /// How long the server may be silent; zero where that does not matter.
    pub(super) fn receive_timeout(&self) -> Duration {
        self.silence.map_or(Duration::ZERO, |silence| silence.bound)
    }

    /// Something came from the server.
    pub fn heard(&mut self, now: Instant) {
        if let Some(silence) = &mut self.silence {
            (silence.since, silence.asked) = (now, None);
        }
    }

    /// Whether the server was asked for an answer and did not give one in time.
    pub fn is_server_silent(&self, now: Instant) -> bool {
        self.silence
            .is_some_and(|silence| silence.asked.is_some_and(|asked| now >= asked + silence.bound / 2))
    }

    /// The disk has come this far.
    pub fn progress(&mut self, progress: DiskProgress) {
        self.written = progress.written;
        self.flushed = progress.flushed;
    }

    /// The server asked for an update when everything up to `received` had been received.
    pub fn requested(&mut self, received: Lsn, now: Instant) {
        let latest = self.request.map_or(now + Self::PATIENCE, |earlier| earlier.latest);
        self.request = Some(Request { latest, reached: received });
        self.insists = self.answered == Some(received);
    }

    /// Whether the answer to a request waits for received WAL to become durable.
    pub fn wants_flush(&self) -> bool {
        match self.report {
            FlushReport::Nothing => false,
            FlushReport::Segments(_) => self.insists,
            FlushReport::WhenDurable | FlushReport::Synchronous => true,
        }
    }

    /// The position that the disk has to come to before a requested update goes out.
    pub(super) fn awaited(&self) -> Option<Lsn> {
        self.request.map(|request| request.reached)
    }

    /// Whether the server learns about durable positions.
    pub(super) fn tells_flush(&self) -> bool {
        self.report != FlushReport::Nothing
    }

    /// Whether the server's messages are left unread.
    pub(super) fn is_reading_paused(&self) -> bool {
        self.reading_paused
    }

    /// Whether the server's messages are left unread for now, so that its silence means nothing.
    pub fn set_reading_paused(&mut self, paused: bool, now: Instant) {
        if self.reading_paused != paused {
            self.heard(now);
        }
        self.reading_paused = paused;
    }

    /// The instant from which [`Feedback::poll`] gives an update; nothing if only an event can bring
    /// one about. An instant in the past means now.
    pub fn due(&self) -> Option<Instant> {
        let begins = self.beginning && !self.is_behind();
        let at_once = begins || self.has_news() || self.request.is_some_and(|r| self.satisfies(r));
        [
            at_once.then_some(self.last_sent),
            self.request.map(|request| request.latest),
            self.interval.map(|interval| self.last_sent + interval),
            self.reading_paused.then(|| self.last_sent + Self::WHILE_PAUSED),
            self.silence_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The update that is due, which the caller must send.
    pub fn poll(&mut self, now: Instant) -> Option<StandbyStatus> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        let reply_requested = self.silence_due().is_some_and(|due| due <= now);
        if let Some(silence) = self.silence.as_mut().filter(|_| reply_requested) {
            silence.asked = Some(now);
        }
        self.beginning = false;
        self.answered = self.request.take().map(|request| request.reached).or(self.answered);
        self.last_sent = now;
        self.last_flushed = self.told_flushed();
        self.known_flushed = self.known_flushed.max(self.last_flushed);
        let (written, flushed) = (self.written, self.last_flushed);
        Some(StandbyStatus { written, flushed, applied: Lsn::ZERO, reply_requested })
    }

    /// What the server may hear once more: nothing of durable positions that it has not heard.
    pub(super) fn repeated(&self) -> StandbyStatus {
        let flushed = self.last_flushed.min(self.known_flushed);
        StandbyStatus { written: self.written, flushed, applied: Lsn::ZERO, reply_requested: false }
    }

    /// When the server is to be asked for an answer, or is dead if it was asked.
    fn silence_due(&self) -> Option<Instant> {
        let silence = self.silence.filter(|_| !self.reading_paused)?;
        Some(silence.asked.unwrap_or(silence.since) + silence.bound / 2)
    }

    /// A server that waits for durable positions has not heard of the last one (OP-07).
    fn has_news(&self) -> bool {
        self.told_flushed() > self.last_flushed
    }

    /// Whether the server knows of more than is known to be durable now.
    fn is_behind(&self) -> bool {
        self.flush_position() < self.known_flushed
    }

    /// What may be told.
    fn flush_position(&self) -> Lsn {
        match self.report {
            FlushReport::Segments(_) if self.insists => self.flushed.value(),
            report => report.flushed(self.flushed),
        }
    }

    /// The flush position of an update; zero says nothing, and the server keeps what it knows.
    fn told_flushed(&self) -> Lsn {
        if self.is_behind() { Lsn::ZERO } else { self.flush_position() }
    }

    fn satisfies(&self, request: Request) -> bool {
        self.written >= request.reached && (!self.wants_flush() || self.flushed.value() >= request.reached)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Lsn = Lsn::new(0x0100_0000);
    const SECOND: Duration = Duration::from_secs(1);

    fn at(bytes: u64) -> Lsn {
        START + bytes
    }

    fn progress(written: u64, flushed: u64) -> DiskProgress {
        DiskProgress { written: at(written), flushed: Durable::nothing_before(at(flushed)) }
    }

    fn status(written: Lsn, flushed: Lsn) -> StandbyStatus {
        StandbyStatus { written, flushed, applied: Lsn::ZERO, reply_requested: false }
    }

    #[test]
    fn bb_187_rw_118_rw_119_one_at_the_beginning_and_then_one_each_interval() {
        let t0 = Instant::now();
        let mut feedback =
            Feedback::new(Some(10 * SECOND), FlushReport::Nothing, Durable::nothing_before(START), t0);
        assert_eq!(feedback.poll(t0), Some(status(START, Lsn::ZERO)));
        assert_eq!(feedback.poll(t0), None);
        assert_eq!(feedback.due(), Some(t0 + 10 * SECOND));
        feedback.progress(progress(500, 0));
        assert_eq!(feedback.poll(t0 + 9 * SECOND), None);
        assert_eq!(feedback.poll(t0 + 10 * SECOND), Some(status(at(500), Lsn::ZERO)));
        assert_eq!(feedback.due(), Some(t0 + 20 * SECOND));
        // The interval counts from the last update, whatever that was for.
        feedback.requested(at(500), t0 + 15 * SECOND);
        assert_eq!(feedback.poll(t0 + 15 * SECOND), Some(status(at(500), Lsn::ZERO)));
        assert_eq!(feedback.due(), Some(t0 + 25 * SECOND));
        // One that is late is not made up for.
        assert!(feedback.poll(t0 + 99 * SECOND).is_some());
        assert_eq!(feedback.due(), Some(t0 + 109 * SECOND));
    }

    #[test]
    fn rw_120_without_an_interval_only_requests_are_answered() {
        let t0 = Instant::now();
        for interval in [None, Some(Duration::ZERO)] {
            let mut feedback =
                Feedback::new(interval, FlushReport::Nothing, Durable::nothing_before(START), t0);
            assert_eq!((feedback.poll(t0), feedback.due()), (None, None));
            feedback.progress(progress(7, 7));
            assert_eq!(feedback.due(), None);
            feedback.requested(at(7), t0);
            assert_eq!(feedback.poll(t0), Some(status(at(7), Lsn::ZERO)));
            assert_eq!(feedback.due(), None);
        }
    }

    #[test]
    fn rw_122_a_requested_update_waits_a_moment_for_the_disk_but_no_longer() {
        let t0 = Instant::now();
        let mut feedback = Feedback::new(None, FlushReport::WhenDurable, Durable::nothing_before(START), t0);
        feedback.requested(at(100), t0);
        assert_eq!(feedback.poll(t0), None);
        feedback.progress(progress(100, 0));
        assert_eq!(feedback.poll(t0), None);
        feedback.progress(progress(100, 100));
        assert_eq!(feedback.poll(t0), Some(status(at(100), at(100))));

        feedback.requested(at(200), t0 + SECOND);
        feedback.requested(at(300), t0 + SECOND + Feedback::PATIENCE / 2);
        let latest = t0 + SECOND + Feedback::PATIENCE;
        assert_eq!(feedback.due(), Some(latest));
        assert_eq!(feedback.poll(latest), Some(status(at(100), at(100))));
    }

    #[test]
    fn bb_188_rw_130_rw_133_without_a_slot_nothing_is_told_of_the_disk() {
        let t0 = Instant::now();
        let mut feedback =
            Feedback::new(Some(SECOND), FlushReport::Nothing, Durable::nothing_before(START), t0);
        feedback.poll(t0);
        feedback.progress(progress(900, 900));
        assert_eq!(feedback.poll(t0), None);
        assert_eq!(feedback.poll(t0 + SECOND), Some(status(at(900), Lsn::ZERO)));
    }

    #[test]
    fn bb_189_rw_131_rw_132_with_a_slot_the_start_and_then_each_durable_position_at_once() {
        let t0 = Instant::now();
        for report in [FlushReport::WhenDurable, FlushReport::Synchronous] {
            let mut feedback = Feedback::new(Some(10 * SECOND), report, Durable::nothing_before(START), t0);
            assert_eq!(feedback.poll(t0), Some(status(START, START)));
            feedback.progress(progress(10, 0));
            assert_eq!(feedback.poll(t0 + SECOND), None);
            feedback.progress(progress(20, 10));
            assert_eq!(feedback.poll(t0 + SECOND), Some(status(at(20), at(10))));
            assert_eq!(feedback.poll(t0 + SECOND), None);
        }
    }

    #[test]
    fn rw_136_of_an_archive_that_does_not_sync_only_whole_segments_are_told() {
        let t0 = Instant::now();
        let size = SegmentSize::new(1 << 20).unwrap();
        let start = Durable::nothing_before(at(500));
        let mut feedback = Feedback::new(Some(10 * SECOND), FlushReport::Segments(size), start, t0);
        assert!(!feedback.wants_flush());
        assert_eq!(feedback.poll(t0), Some(status(at(500), START)));
        feedback.progress(progress(900, 800));
        assert_eq!(feedback.poll(t0 + SECOND), None);
        feedback.requested(at(900), t0 + SECOND);
        assert_eq!(feedback.poll(t0 + SECOND), Some(status(at(900), START)));
        feedback.progress(progress((1 << 20) + 7, (1 << 20) + 7));
        assert_eq!(feedback.poll(t0 + SECOND), Some(status(at((1 << 20) + 7), at(1 << 20))));
    }

    #[test]
    fn rw_134_rw_235_what_was_told_before_does_not_go_back() {
        let t0 = Instant::now();
        for (report, interval) in
            [(FlushReport::Synchronous, None), (FlushReport::WhenDurable, Some(10 * SECOND))]
        {
            let mut feedback = Feedback::new(interval, report, Durable::nothing_before(START), t0)
                .with_known_flushed(at(100));
            // The first update waits for what is known already, and a requested one says nothing of it.
            assert_eq!(feedback.poll(t0), None);
            feedback.requested(START, t0);
            assert_eq!(feedback.poll(t0), Some(status(START, Lsn::ZERO)));
            feedback.progress(progress(120, 99));
            assert_eq!(feedback.poll(t0 + SECOND), None);
            assert_eq!(feedback.known_flushed(), at(100));
            feedback.progress(progress(120, 100));
            assert_eq!(feedback.poll(t0 + SECOND), Some(status(at(120), at(100))));
            feedback.progress(progress(120, 120));
            assert_eq!(feedback.poll(t0 + SECOND), Some(status(at(120), at(120))));
            assert_eq!(feedback.known_flushed(), at(120));
        }
        let mut late =
            Feedback::new(Some(10 * SECOND), FlushReport::Synchronous, Durable::nothing_before(START), t0)
                .with_known_flushed(at(100));
        assert_eq!(late.poll(t0 + 9 * SECOND), None);
        assert_eq!(late.poll(t0 + 10 * SECOND), Some(status(START, Lsn::ZERO)));
    }

    #[test]
    fn rw_120_rw_137_what_is_acknowledged_first_is_told_at_once_even_if_it_is_the_start() {
        let t0 = Instant::now();
        let mut feedback = Feedback::new(None, FlushReport::Nothing, Durable::nothing_before(START), t0);
        feedback.progress(progress(30, 0));
        assert_eq!(feedback.poll(t0), None);
        feedback.set_report(FlushReport::WhenDurable);
        assert_eq!(feedback.poll(t0), Some(status(at(30), START)));
        assert_eq!(feedback.poll(t0), None);
    }

    proptest! {
        /// Whatever happens in whatever order: what is told is true, does not go back, and is not late.
        #[test]
        fn rw_125_rw_135_i_001_i_002_what_is_told_is_true_and_never_goes_back(
            report in prop_oneof![
                Just(FlushReport::Nothing),
                Just(FlushReport::Segments(SegmentSize::new(1 << 20).unwrap())),
                Just(FlushReport::WhenDurable),
                Just(FlushReport::Synchronous),
            ],
            interval in prop_oneof![Just(None), (0u64..3).prop_map(|seconds| Some(seconds as u32 * SECOND))],
            known in 0u64..3_000_000,
            events in proptest::collection::vec((0u8..5, 0u64..1_500_000, 0u64..2_000), 1..60),
        ) {
            let (mut now, mut disk) = (Instant::now(), progress(0, 0));
            let known = if report == FlushReport::Nothing { Lsn::ZERO } else { at(known) };
            let mut feedback = Feedback::new(interval, report, disk.flushed, now).with_known_flushed(known);
            let (mut told, mut last_sent) = (known, now);
            for (event, bytes, milliseconds) in events {
                match event {
                    0 => disk.written = disk.written + bytes,
                    1 => disk.flushed = Durable::nothing_before(disk.written.min(disk.flushed.value() + bytes)),
                    2 => feedback.requested(disk.written + bytes, now),
                    3 => feedback.set_reading_paused(bytes % 2 == 0, now),
                    _ => now += Duration::from_millis(milliseconds),
                }
                feedback.progress(disk);
                if let Some(sent) = feedback.poll(now) {
                    prop_assert_eq!(sent.written, disk.written);
                    prop_assert!(sent.flushed <= disk.flushed.value());
                    prop_assert!(sent.flushed == Lsn::ZERO || sent.flushed >= told);
                    prop_assert_eq!(sent.applied, Lsn::ZERO);
                    prop_assert!(report != FlushReport::Nothing || sent.flushed == Lsn::ZERO);
                    (told, last_sent) = (told.max(sent.flushed), now);
                }
                prop_assert_eq!(feedback.poll(now), None);
                if let Some(interval) = interval.filter(|interval| !interval.is_zero()) {
                    prop_assert!(now < last_sent + interval);
                }
            }
        }
    }

    #[test]
    fn rw_233_a_silent_server_is_asked_and_then_taken_for_dead() {
        let t0 = Instant::now();
        let mut feedback = Feedback::new(None, FlushReport::Nothing, Durable::nothing_before(START), t0)
            .with_receive_timeout(Some(60 * SECOND), t0);
        assert_eq!(feedback.due(), Some(t0 + 30 * SECOND));
        feedback.heard(t0 + 10 * SECOND);
        assert_eq!(feedback.poll(t0 + 39 * SECOND), None);
        // Stopped for a long time: what came meanwhile could not be read before the server is asked.
        let asked = t0 + 500 * SECOND;
        assert!(!feedback.is_server_silent(asked));
        assert!(feedback.poll(asked).unwrap().reply_requested);
        assert!(!feedback.is_server_silent(asked + 29 * SECOND));
        assert!(feedback.is_server_silent(asked + 30 * SECOND));
        feedback.heard(asked + 30 * SECOND);
        assert!(!feedback.is_server_silent(asked + 31 * SECOND));
        feedback.set_reading_paused(true, asked + 31 * SECOND);
        assert!(!feedback.poll(asked + 99 * SECOND).unwrap().reply_requested);
        assert!(!feedback.is_server_silent(asked + 99 * SECOND));
    }

    #[test]
    fn rw_136_and_189_a_server_that_insists_hears_of_an_incomplete_segment() {
        let t0 = Instant::now();
        let size = SegmentSize::new(1 << 20).unwrap();
        let start = Durable::nothing_before(START);
        let mut feedback = Feedback::new(None, FlushReport::Segments(size), start, t0);
        feedback.requested(at(500), t0);
        assert!(!feedback.wants_flush());
        feedback.progress(progress(500, 0));
        assert_eq!(feedback.poll(t0), Some(status(at(500), START)));
        feedback.requested(at(500), t0);
        assert!(feedback.wants_flush());
        assert_eq!(feedback.poll(t0), None);
        feedback.progress(progress(500, 500));
        assert_eq!(feedback.poll(t0), Some(status(at(500), at(500))));
        // It knows more now than it should have been told, and hears nothing until that is so.
        feedback.requested(at(600), t0);
        feedback.progress(progress(600, 500));
        assert_eq!(feedback.poll(t0), Some(status(at(600), Lsn::ZERO)));
        feedback.progress(progress(2 << 20, 1 << 20));
        assert_eq!(feedback.poll(t0), Some(status(at(2 << 20), at(1 << 20))));
    }

    #[test]
    fn rw_129_a_client_that_does_not_read_is_heard_all_the_same() {
        let t0 = Instant::now();
        let mut feedback = Feedback::new(None, FlushReport::Nothing, Durable::nothing_before(START), t0);
        feedback.set_reading_paused(true, t0);
        assert_eq!(feedback.poll(t0), None);
        assert_eq!(feedback.poll(t0 + Feedback::WHILE_PAUSED), Some(status(START, Lsn::ZERO)));
        feedback.set_reading_paused(false, t0);
        assert_eq!(feedback.due(), None);
    }
}
