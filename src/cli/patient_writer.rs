//! Writing to descriptors that somebody else made non-blocking.
//!
//! Some programs read our output through pipes whose both ends they made non-blocking. A write then fails when the
//! pipe is full, where it would otherwise wait for the reader.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::time::Duration;

const SHORTEST_NAP: Duration = Duration::from_micros(50);
const LONGEST_NAP: Duration = Duration::from_millis(10);

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

/// Standard output, for bytes: without the search for ends of lines.
pub(super) fn standard_output() -> io::Result<PatientWriter<File>> {
    let descriptor = io::stdout().as_fd().try_clone_to_owned()?;
    Ok(PatientWriter::new(File::from(descriptor)))
}

impl<W: Write> PatientWriter<W> {
    fn patiently<T>(&mut self, mut attempt: impl FnMut(&mut W) -> io::Result<T>) -> io::Result<T> {
        let mut waited = Duration::ZERO;
        let mut nap = SHORTEST_NAP;
        loop {
            match attempt(&mut self.writer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.patience.is_some_and(|patience| waited >= patience) {
                        return Err(error);
                    }
                }
                done => return done,
            }
            std::thread::sleep(nap);
            waited += nap;
            nap = (nap * 2).min(LONGEST_NAP);
        }
    }
}

impl<W: Write> Write for PatientWriter<W> {
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
    use super::*;

    /// Takes one byte of every second write; of the others none, as a full pipe.
    #[derive(Default)]
    struct SlowReader {
        taken: Vec<u8>,
        is_full: bool,
    }

    impl Write for SlowReader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.is_full = !self.is_full;
            if self.is_full {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.taken.extend(&bytes[..1]);
            Ok(1)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::WouldBlock.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_is_lost_on_a_slow_reader() {
        let mut writer = PatientWriter::new(SlowReader::default());
        writer.write_all(b"every byte").unwrap();
        assert_eq!(writer.writer.taken, b"every byte");
    }

    #[test]
    fn patience_ends() {
        let mut writer = PatientWriter::with_patience(Full, Duration::from_millis(1));
        assert_eq!(writer.write_all(b"x").unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}
