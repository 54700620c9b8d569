//! Tells the server that the client lives, while the task on the network waits for a disk that stalls.
//!
//! In come the beginning and the end of what the disk does, and what the server knows; out goes that again, once it
//! takes long. The thread for it sleeps on a timer that goes off regularly while the disk is busy, and not at all while
//! it has nothing to do, or something only now and then.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::io::read;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio_util::sync::CancellationToken;

use crate::client::StatusSender;
use crate::protocol::StandbyStatus;
use crate::types::OsError;

/// How often the thread looks; what is not done the second time counts as stalled. Servers give up after a minute as a
/// rule, and after a second where somebody is impatient.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

/// What follows this long after the last was done is something that the disk does now and then.
const RARE: Duration = Duration::from_secs(1);

const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 1 };
const NEVER: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// How long a server hears nothing, once the receiver was told to stop, before the connection is ended: as long as it
/// may take to say goodbye where nothing stalls.
const GOODBYE_TICKS: u32 = 20;

/// The thread. Dropping this ends it.
#[derive(Debug)]
pub(super) struct StandIn {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    server: StatusSender,
    /// The receiver was told to stop: nobody should wait for it any more.
    cancel: CancellationToken,
    state: Mutex<State>,
    timer: OwnedFd,
}

#[derive(Debug, Default)]
struct State {
    /// What to tell while the disk is at it.
    status: Option<StandbyStatus>,
    /// How often the disk has begun something.
    begun: u64,
    /// When it was last done.
    done: Option<Instant>,
    /// Whether the timer goes off regularly.
    ticks: bool,
    is_over: bool,
}

impl StandIn {
    /// Starts the thread for this server.
    pub(super) fn spawn(server: StatusSender, cancel: CancellationToken) -> Result<Self, OsError> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC);
        let timer = timer.map_err(|error| OsError(error.into()))?;
        let shared = Arc::new(Shared { server, cancel, state: Mutex::default(), timer });
        let for_thread = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("wal-stand-in".to_owned()).spawn(move || for_thread.work())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Does something that may take long. Until it is done, the server may hear what it was told last, and nothing
    /// afterwards.
    pub(super) fn over<T>(&self, told: StandbyStatus, action: impl FnOnce() -> T) -> T {
        let mut state = self.shared.locked();
        state.status = Some(told);
        state.begun += 1;
        if !state.ticks {
            self.shared.tick(&mut state, true);
        }
        drop(state);
        let outcome = action();
        let mut state = self.shared.locked();
        state.status = None;
        let before = state.done.replace(Instant::now());
        if before.is_none_or(|before| before.elapsed() >= RARE) {
            self.shared.tick(&mut state, false);
        }
        outcome
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.shared.locked().is_over = true;
        self.shared.set_timer(AT_ONCE, NEVER);
        if let Some(thread) = self.thread.take() {
            // A panic over there leaves the server without answers, which it finds out by itself.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn work(&self) {
        let (mut seen, mut cancelled_for) = (0, 0);
        loop {
            // If that fails, there is another tick.
            let _ = read(&self.timer, &mut [0; 8]);
            let mut state = self.locked();
            match state.status {
                _ if state.is_over => return,
                Some(status) if state.begun == seen => {
                    cancelled_for += u32::from(self.cancel.is_cancelled());
                    match cancelled_for {
                        0 => self.server.try_send(status),
                        GOODBYE_TICKS => self.server.hang_up(),
                        _ => {}
                    }
                }
                None if state.begun == seen => self.tick(&mut state, false),
                _ => seen = state.begun,
            }
        }
    }

    fn tick(&self, state: &mut State, ticks: bool) {
        let interval = if ticks { TICK } else { NEVER };
        self.set_timer(interval, interval);
        state.ticks = ticks;
    }

    fn set_timer(&self, first: Timespec, interval: Timespec) {
        let times = Itimerspec { it_interval: interval, it_value: first };
        // These times cannot be refused.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &times);
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
