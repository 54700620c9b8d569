//! Signals that end the program.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Poll;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A signal that asked the program to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndingSignal(i32);

impl EndingSignal {
    /// What the key that interrupts sends.
    pub(super) const INTERRUPT: Self = Self(SIGINT);

    /// What service managers and `kill` send.
    pub(super) const TERMINATE: Self = Self(SIGTERM);

    const ALL: [Self; 3] = [Self::INTERRUPT, Self::TERMINATE, Self(SIGHUP)];

    /// The signal's bit in the masks of the kernel.
    fn mask(self) -> u64 {
        1 << (self.0 - 1)
    }

    /// Ends the program the way the signal would have ended it, so that whoever started it sees why.
    pub(super) fn end_process(self) -> ExitCode {
        // Returns only if the signal is blocked or the process is a container's first one.
        let _ = signal_hook::low_level::emulate_default_handler(self.0);
        ExitCode::FAILURE
    }
}

/// Makes a file that grows beyond what the user allows an error of its write, and no end of the process that
/// nobody hears of (`ulimit -f`).
pub(super) fn report_file_size_limit() {
    // Where this is refused, the signal ends the process as it always did.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// Runs `work`. The first signal cancels it and waits for it to end in good order; a second one ends the
/// process at once, after `last_words`. Returns the signal, if one came.
pub(super) async fn run_until_signal<T>(
    cancel: &CancellationToken,
    last_words: impl FnOnce(),
    work: impl Future<Output = T>,
) -> (T, Option<EndingSignal>) {
    run_until(EndingSignals::listen(), &EndingSignal::ALL, cancel, last_words, work).await
}

/// As [`run_until_signal`], but only the signals of `orderly` do that, and they do it even where whoever started the
/// program told it to ignore them: a script can interrupt what it runs in the background. Others end the process at
/// once, as they do by default.
pub(super) async fn run_until_one_of<T>(
    orderly: &[EndingSignal],
    cancel: &CancellationToken,
    work: impl Future<Output = T>,
) -> (T, Option<EndingSignal>) {
    run_until(EndingSignals::listen_always_to(orderly), orderly, cancel, || {}, work).await
}

async fn run_until<T>(
    mut signals: EndingSignals,
    orderly: &[EndingSignal],
    cancel: &CancellationToken,
    last_words: impl FnOnce(),
    work: impl Future<Output = T>,
) -> (T, Option<EndingSignal>) {
    tokio::pin!(work);
    let first = tokio::select! {
        // A signal that came before the work was done is answered, even if nobody had the time to do that.
        biased;
        first = signals.next() => first,
        outcome = &mut work => return (outcome, None),
    };
    if !orderly.contains(&first) {
        first.end_process();
    }
    cancel.cancel();
    tokio::select! {
        outcome = &mut work => (outcome, Some(first)),
        second = signals.next() => {
            last_words();
            second.end_process();
            (work.await, Some(second))
        }
    }
}

/// Runs `work`, which has nothing to put in order and may be stuck. The first signal ends the process. Where it
/// cannot, `work` is cancelled.
pub(super) async fn run_unless_signal<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = T>,
) -> (T, Option<EndingSignal>) {
    let mut signals = EndingSignals::listen();
    tokio::pin!(work);
    tokio::select! {
        outcome = &mut work => (outcome, None),
        first = signals.next() => {
            first.end_process();
            cancel.cancel();
            (work.await, Some(first))
        }
    }
}

/// Runs `work`, which blocks and cannot be cancelled, on a thread of its own. A signal ends the process
/// meanwhile: once [`run_until_signal`] has run, signals no longer do that by themselves.
pub(super) fn block_until_signal<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, mut outcome) = tokio::sync::oneshot::channel();
    runtime.block_on(async {
        // They are listened to before anybody is asked anything.
        let mut signals = EndingSignals::listen();
        std::thread::Builder::new().spawn(move || sender.send(work()))?;
        tokio::select! {
            outcome = &mut outcome => outcome.map_err(io::Error::other),
            signal = signals.next() => {
                signal.end_process();
                outcome.await.map_err(io::Error::other)
            }
        }
    })
}

/// Those of the signals that are listened to.
struct EndingSignals(Vec<(EndingSignal, Signal)>);

impl EndingSignals {
    /// A signal that whoever started the program told it to ignore, as `nohup` does, stays ignored.
    fn listen() -> Self {
        Self::listen_always_to(&[])
    }

    /// As [`Self::listen`], but these are never ignored.
    fn listen_always_to(always: &[EndingSignal]) -> Self {
        let ignored = std::fs::read_to_string("/proc/self/status").map_or(0, |status| ignored_mask(&status));
        let heeded = EndingSignal::ALL
            .into_iter()
            .filter(|signal| always.contains(signal) || ignored & signal.mask() == 0);
        // A signal that cannot be listened to does what it does by default.
        Self(
            heeded
                .filter_map(|ending| Some((ending, signal(SignalKind::from_raw(ending.0)).ok()?)))
                .collect(),
        )
    }

    async fn next(&mut self) -> EndingSignal {
        std::future::poll_fn(|context| {
            let mut arrived = self
                .0
                .iter_mut()
                .filter_map(|(ending, signal)| signal.poll_recv(context).is_ready().then_some(*ending));
            arrived.next().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// The signals that the process ignores, from the text of `/proc/self/status`.
fn ignored_mask(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_found() {
        let mask = ignored_mask("Name:\tx\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\n");
        assert_ne!(mask & EndingSignal(SIGHUP).mask(), 0);
        assert_eq!(mask & EndingSignal(SIGTERM).mask(), 0);
        assert_eq!(ignored_mask(""), 0);
    }
}
