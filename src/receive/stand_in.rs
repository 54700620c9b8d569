//! Tells the server that the client lives, while the task on the network waits for a disk that stalls.
//!
//! In come the beginning and the end of what the disk does, and what the server knows; out goes that again, once it
//! takes long. The thread for it sleeps while the disk does nothing.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::client::StatusSender;
use crate::protocol::StandbyStatus;
use crate::types::OsError;

/// How often the thread looks, and after how long at the latest the disk counts as stalled. Servers give up after a
/// minute as a rule, and after a second where somebody is impatient.
const TICK: Duration = Duration::from_millis(250);

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
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What to tell while the disk is at it.
    status: Option<StandbyStatus>,
    /// How often the disk has begun something.
    begun: u64,
    /// The thread waits until it is woken.
    sleeps: bool,
    is_over: bool,
}

impl StandIn {
    /// Starts the thread for this server.
    pub(super) fn spawn(server: StatusSender, cancel: CancellationToken) -> Result<Self, OsError> {
        let shared = Shared { server, cancel, state: Mutex::default(), changed: Condvar::new() };
        let shared = Arc::new(shared);
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
        let sleeps = std::mem::take(&mut state.sleeps);
        drop(state);
        if sleeps {
            self.shared.changed.notify_one();
        }
        let outcome = action();
        self.shared.locked().status = None;
        outcome
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.shared.locked().is_over = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic over there leaves the server without answers, which it finds out by itself.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn work(&self) {
        let mut state = self.locked();
        let (mut seen, mut cancelled_for) = (0, 0);
        while !state.is_over {
            match state.status {
                Some(status) if state.begun == seen => {
                    cancelled_for += u32::from(self.cancel.is_cancelled());
                    match cancelled_for {
                        0 => self.server.try_send(status),
                        GOODBYE_TICKS => self.server.hang_up(),
                        _ => {}
                    }
                }
                None if state.begun == seen => {
                    state.sleeps = true;
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                _ => seen = state.begun,
            }
            let waited = self.changed.wait_timeout(state, TICK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
