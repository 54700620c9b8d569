//! Asks for the password.

use std::io::{self, BufRead, Write};

use super::signals::block_until_signal;
use crate::types::Password;

const PROMPT: &str = "Password: ";

/// Asks at the controlling terminal without echo, or where there is none on standard error and standard input
/// (CN-280, CN-281). Nothing typed, or the end of the input, is no password (CN-282). A signal ends the process.
pub(super) fn ask() -> Option<Password> {
    let typed = block_until_signal(|| {
        rpassword::prompt_password(PROMPT).or_else(|_| ask_on_standard_streams()).map(Password::from)
    });
    typed.flatten().ok().filter(|password| !password.is_empty())
}

fn ask_on_standard_streams() -> io::Result<String> {
    let mut prompt = io::stderr().lock();
    prompt.write_all(PROMPT.as_bytes())?;
    prompt.flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    // What comes next begins on a line of its own, also where nothing was typed.
    prompt.write_all(b"\n")?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}
