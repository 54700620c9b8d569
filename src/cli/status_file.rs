//! A small JSON document about a receiver, for programs that watch it (`--status-file`, OP-33).
//!
//! In: the events of the receiver. Out: a file that is replaced as a whole, so that its readers never see a part. It is
//! written by a thread of its own: receiving never waits for it.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::receiver_status::{ReceiverStatus, State};
use crate::receive::Event;

/// How long the end of what was received may be out of date while nothing else happens.
const PROGRESS_DELAY: Duration = Duration::from_secs(5);

/// A status file that is kept up to date.
pub(super) struct StatusFile {
    board: Arc<Board>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl StatusFile {
    /// Writes the file for the first time; it may be read by whom the mode says. When it cannot be written later on,
    /// `complain` hears of it once.
    pub(super) fn create(
        path: &Path,
        mode: u32,
        complain: impl FnOnce(io::Error) + Send + 'static,
    ) -> io::Result<Self> {
        let place = Place { path: path.to_owned(), mode };
        place.write(&ReceiverStatus::default())?;
        let board = Arc::new(Board::default());
        let watched = Arc::clone(&board);
        let writer = std::thread::Builder::new().name("status-file".to_owned()).spawn(move || {
            let mut complain = Some(complain);
            while let Some(status) = watched.next() {
                if let Err(error) = place.write(&status)
                    && let Some(complain) = complain.take()
                {
                    complain(error);
                }
            }
        })?;
        Ok(Self { board, writer: Mutex::new(Some(writer)) })
    }

    /// Notes what happened.
    pub(super) fn note(&self, event: &Event<'_>) {
        let delay = match event {
            Event::Progress { .. } => PROGRESS_DELAY,
            _ => Duration::ZERO,
        };
        self.board.change(delay, |status| status.note(event));
    }

    /// Notes an error that was the last.
    pub(super) fn note_error(&self, text: String) {
        self.board.change(Duration::ZERO, |status| status.failed(text));
    }

    /// Writes the file for the last time.
    pub(super) fn close(&self, state: State) {
        self.board.change(Duration::ZERO, |status| status.state = state);
        self.board.lock().is_closed = true;
        self.board.changed.notify_one();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // It ends by itself and does not panic.
            let _ = writer.join();
        }
    }
}

/// What the writer is to write, and when.
#[derive(Default)]
struct Board {
    notice: Mutex<Notice>,
    changed: Condvar,
}

#[derive(Default)]
struct Notice {
    status: ReceiverStatus,
    /// When it has to be written, if it has changed.
    due: Option<Instant>,
    is_closed: bool,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Notice> {
        self.notice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the status, which is to be written after that time at the latest.
    fn change(&self, delay: Duration, change: impl FnOnce(&mut ReceiverStatus)) {
        let mut notice = self.lock();
        change(&mut notice.status);
        let due = Instant::now() + delay;
        notice.due = Some(notice.due.map_or(due, |earlier| earlier.min(due)));
        self.changed.notify_one();
    }

    /// Waits until there is something to write; nothing once the board is closed.
    fn next(&self) -> Option<ReceiverStatus> {
        let mut notice = self.lock();
        loop {
            let wait = notice.due.map(|due| due.saturating_duration_since(Instant::now()));
            match wait {
                Some(Duration::ZERO) => {
                    notice.due = None;
                    return Some(notice.status.clone());
                }
                Some(wait) => {
                    let woken = self.changed.wait_timeout(notice, wait);
                    notice = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
                None if notice.is_closed => return None,
                None => notice = self.changed.wait(notice).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Where the file is.
struct Place {
    path: PathBuf,
    mode: u32,
}

impl Place {
    fn write(&self, status: &ReceiverStatus) -> io::Result<()> {
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(".tmp");
        let mut file = File::create(&temporary)?;
        file.set_permissions(Permissions::from_mode(self.mode))?;
        file.write_all(status.to_json().as_bytes())?;
        fs::rename(&temporary, &self.path)
    }
}
