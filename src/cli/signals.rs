//! Signals that end the program.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Poll;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A signal that asked the program to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndingSignal(i32);

impl EndingSignal {
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
/// process at once. Returns the signal, if one came.
pub(super) async fn run_until_signal<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = T>,
) -> (T, Option<EndingSignal>) {
    tokio::pin!(work);
    let first = tokio::select! {
        outcome = &mut work => return (outcome, None),
        first = next_signal() => first,
    };
    cancel.cancel();
    tokio::select! {
        outcome = &mut work => (outcome, Some(first)),
        second = next_signal() => {
            second.end_process();
            (work.await, Some(second))
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
        // The handlers are in place before anybody is asked anything.
        let mut signal = std::pin::pin!(next_signal());
        let installed = std::future::poll_fn(|context| Poll::Ready(signal.as_mut().poll(context))).await;
        if let Poll::Ready(signal) = installed {
            signal.end_process();
        }
        std::thread::Builder::new().spawn(move || sender.send(work()))?;
        tokio::select! {
            outcome = &mut outcome => outcome.map_err(io::Error::other),
            signal = signal => {
                signal.end_process();
                outcome.await.map_err(io::Error::other)
            }
        }
    })
}

/// The next signal of those that end a program. Without handlers, which the system can refuse, signals do
/// what they do by default.
async fn next_signal() -> EndingSignal {
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hang_up)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => EndingSignal(SIGINT),
        _ = terminate.recv() => EndingSignal(SIGTERM),
        _ = hang_up.recv() => EndingSignal(SIGHUP),
    }
}
