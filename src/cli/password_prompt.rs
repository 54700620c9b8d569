//! Asks for the password.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;

use super::signals::{EndingSignal, block_until_signal};
use crate::types::Password;

const PROMPT: &str = "Password: ";

const TERMINAL: &str = "/dev/tty";

/// Asks at the controlling terminal without echo, or where there is none on standard error and standard input
/// (CN-280, CN-281). Nothing typed, or the end of the input, is no password (CN-282). A signal ends the process.
pub(super) fn ask() -> Option<Password> {
    // Whoever has been asked at the terminal is not asked again where what is typed can be seen.
    let typed = block_until_signal(|| match File::options().read(true).write(true).open(TERMINAL) {
        Ok(terminal) => ask_at(terminal),
        Err(_) => ask_on_standard_streams(),
    });
    typed.flatten().ok().filter(|password| !password.is_empty())
}

fn ask_at(mut terminal: File) -> io::Result<Password> {
    let typed = rpassword::prompt_password(PROMPT);
    match typed.as_ref().map_err(io::Error::kind) {
        Ok(_) => {}
        // The key that interrupts; the terminal is as it was.
        Err(ErrorKind::Interrupted) => {
            EndingSignal::INTERRUPT.end_process();
        }
        // What comes next begins on a line of its own.
        Err(_) => terminal.write_all(b"\n")?,
    }
    typed.map(Password::from)
}

fn ask_on_standard_streams() -> io::Result<Password> {
    let mut prompt = io::stderr().lock();
    prompt.write_all(PROMPT.as_bytes())?;
    prompt.flush()?;
    let line = read_line(File::from(io::stdin().as_fd().try_clone_to_owned()?))?;
    prompt.write_all(b"\n")?;
    Ok(line)
}

/// A line without its end, byte by byte: a buffer would keep what was in it.
fn read_line(mut input: impl Read) -> io::Result<Password> {
    // Room that does not grow, and leave copies behind, for any password that somebody types.
    let mut line = zeroize::Zeroizing::new(Vec::with_capacity(1024));
    let mut byte = [0];
    while input.read(&mut byte)? == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    let end = line.iter().rposition(|&byte| byte != b'\r').map_or(0, |last| last + 1);
    Ok(Password::new(&line[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn_281_a_line_of_any_bytes() {
        for (input, expected) in [
            (&b"secret\n"[..], &b"secret"[..]),
            (b"secret", b"secret"),
            (b"secret\r\n", b"secret"),
            (b"\xff\xfe \t\nmore\n", b"\xff\xfe \t"),
            (b"\n", b""),
            (b"\r\n", b""),
            (b"", b""),
        ] {
            assert_eq!(read_line(input).unwrap().expose(), expected);
        }
    }
}
