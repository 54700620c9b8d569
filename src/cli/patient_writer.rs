//! Writing to descriptors that somebody else made non-blocking.
//!
//! Some programs read our output through pipes whose both ends they made non-blocking. A write then fails when the
//! pipe is full, where it would otherwise wait for the reader.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};

/// Waits for the reader as a blocking descriptor does.
#[derive(Debug)]
pub(super) struct PatientWriter<W> {
    writer: W,
    /// How long the reader may take nothing at all.
    patience: Option<Duration>,
}

impl<W> PatientWriter<W> {
    /// Waits for the reader for as long as it takes.
    pub(super) fn new(writer: W) -> Self {
        Self { writer, patience: None }
    }

    /// Waits for the reader only for that time; a write then fails as the descriptor's own does.
    pub(super) fn with_patience(writer: W, patience: Duration) -> Self {
        Self { writer, patience: Some(patience) }
    }
}

/// What fits into a pipe on standard output. With the 64 KiB that it has by itself, the server waits for whoever reads the
/// pipe; the system gives everybody up to a megabyte.
const PIPE_SIZE: usize = 256 << 10;

/// Standard output, for bytes: without the search for ends of lines.
pub(super) fn standard_output() -> io::Result<PatientWriter<File>> {
    let descriptor = io::stdout().as_fd().try_clone_to_owned()?;
    // It need not be a pipe, and a small one does as well.
    if fcntl_getpipe_size(&descriptor).is_ok_and(|size| size < PIPE_SIZE) {
        let _ = fcntl_setpipe_size(&descriptor, PIPE_SIZE);
    }
    Ok(PatientWriter::new(File::from(descriptor)))
}

impl<W: Write + AsFd> PatientWriter<W> {
    fn patiently<T>(&mut self, mut attempt: impl FnMut(&mut W) -> io::Result<T>) -> io::Result<T> {
        let started = Instant::now();
        loop {
            match attempt(&mut self.writer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let left = self.patience.map(|patience| patience.saturating_sub(started.elapsed()));
                    if left.is_some_and(|left| left.is_zero()) {
                        return Err(error);
                    }
                    self.wait(left)?;
                }
                done => return done,
            }
        }
    }

    /// Returns when a write may succeed, or fail for good, when the time is over, or when a signal came.
    fn wait(&self, time: Option<Duration>) -> io::Result<()> {
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        match poll(&mut [PollFd::new(&self.writer, PollFlags::OUT)], time.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl<W: Write + AsFd> Write for PatientWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.patiently(|writer| writer.write(bytes))
    }

    fn write_vectored(&mut self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.patiently(|writer| writer.write_vectored(pieces))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.patiently(Write::flush)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, PipeWriter, Read, pipe};
    use std::thread;

    use rustix::fs::{OFlags, fcntl_setfl};

    use super::*;

    fn non_blocking_pipe() -> (PipeReader, PipeWriter) {
        let (reader, writer) = pipe().unwrap();
        fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        (reader, writer)
    }

    fn fill(mut pipe: &PipeWriter) {
        while pipe.write(&[0]).is_ok() {}
    }

    #[test]
    fn nothing_is_lost_on_a_slow_reader() {
        let (mut reader, writer) = non_blocking_pipe();
        let sent: Vec<u8> = (0..1_000_000_u32).map(|index| (index % 251) as u8).collect();
        let received = thread::spawn(move || {
            let mut received = Vec::new();
            reader.read_to_end(&mut received).map(|_| received)
        });
        PatientWriter::new(writer).write_all(&sent).unwrap();
        assert!(received.join().unwrap().unwrap() == sent);
    }

    #[test]
    fn patience_ends() {
        let (_reader, pipe) = non_blocking_pipe();
        fill(&pipe);
        for patience in [Duration::ZERO, Duration::from_millis(1)] {
            let mut writer = PatientWriter::with_patience(&pipe, patience);
            assert_eq!(writer.write_all(b"x").unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn a_reader_that_goes_away_is_not_waited_for() {
        let (reader, pipe) = non_blocking_pipe();
        fill(&pipe);
        let reader = thread::spawn(|| drop(reader));
        assert_eq!(PatientWriter::new(&pipe).write_all(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        reader.join().unwrap();
    }
}
