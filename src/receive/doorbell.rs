//! A way to wake a thread that waits for a socket without a runtime.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::Wake;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, read, write};

use crate::types::OsError;

/// The bell, which is a waker. It keeps ringing until somebody answers.
#[derive(Debug)]
pub(super) struct Doorbell {
    count: OwnedFd,
}

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// Somebody rang, whatever else there is.
    Rung,
    /// There is something to read, or an end or error to be found out by reading.
    Readable,
    /// It is time.
    Due,
}

impl Doorbell {
    pub(super) fn new() -> Result<Self, OsError> {
        let count = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        Ok(Self { count: count.map_err(|error| OsError(error.into()))? })
    }

    /// Blocks until the socket can be read, that instant has come, or the bell rings, which it then does no more.
    pub(super) fn wait(&self, socket: BorrowedFd<'_>, due: Option<Instant>) -> Woken {
        let mut sources =
            [PollFd::new(&self.count, PollFlags::IN), PollFd::from_borrowed_fd(socket, PollFlags::IN)];
        loop {
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            match poll(&mut sources, left.and_then(timespec).as_ref()) {
                Ok(0) => return Woken::Due,
                Err(Errno::INTR) => {}
                Ok(_) if sources[0].revents().is_empty() => return Woken::Readable,
                // What poll refuses is for somebody else to find out.
                Ok(_) | Err(_) => {
                    // It may be silent already.
                    let _ = read(&self.count, &mut [0; 8]);
                    return Woken::Rung;
                }
            }
        }
    }
}

impl Wake for Doorbell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // It can only be refused where it rings already.
        let _ = write(&self.count, &1u64.to_ne_bytes());
    }
}

/// Nothing, which is for ever, if it is longer than the system can wait.
fn timespec(duration: Duration) -> Option<Timespec> {
    duration.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_ring_comes_first_and_once_and_then_what_can_be_read() {
        let bell = Arc::new(Doorbell::new().unwrap());
        let (near, mut far) = UnixStream::pair().unwrap();
        let wait = |due| bell.wait(near.as_fd(), due);
        assert_eq!(wait(Some(Instant::now())), Woken::Due);
        far.write_all(b"x").unwrap();
        assert_eq!(wait(None), Woken::Readable);
        bell.wake_by_ref();
        bell.wake_by_ref();
        assert_eq!(wait(Some(Instant::now())), Woken::Rung);
        assert_eq!(wait(None), Woken::Readable);
        (&near).read_exact(&mut [0]).unwrap();
        assert_eq!(wait(Some(Instant::now())), Woken::Due);
        drop(far);
        assert_eq!(wait(None), Woken::Readable);
    }

    #[test]
    fn a_thread_that_waits_for_ever_hears_it() {
        let bell = Arc::new(Doorbell::new().unwrap());
        let (near, _far) = UnixStream::pair().unwrap();
        let waits = std::thread::spawn({
            let bell = Arc::clone(&bell);
            move || bell.wait(near.as_fd(), None)
        });
        bell.wake();
        assert_eq!(waits.join().unwrap(), Woken::Rung);
    }

    #[test]
    fn it_is_not_over_before_it_is_due() {
        let bell = Doorbell::new().unwrap();
        let (near, _far) = UnixStream::pair().unwrap();
        let due = Instant::now() + Duration::from_millis(3);
        assert_eq!(bell.wait(near.as_fd(), Some(due)), Woken::Due);
        assert!(Instant::now() >= due);
        assert_eq!(timespec(Duration::MAX), None);
    }
}
