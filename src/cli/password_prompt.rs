//! Asks for the password.

use std::io::{self, BufRead, Write};

use crate::types::Password;

const PROMPT: &str = "Password: ";

/// Asks at the controlling terminal without echo, or where there is none on standard error and standard input
/// (CN-280, CN-281). Nothing typed, or the end of the input, is no password (CN-282).
pub(super) fn ask() -> Option<Password> {
    let typed = rpassword::prompt_password(PROMPT).or_else(|_| ask_on_standard_streams()).ok()?;
    let password = Password::from(typed);
    (!password.is_empty()).then_some(password)
}

fn ask_on_standard_streams() -> io::Result<String> {
    let mut prompt = io::stderr().lock();
    prompt.write_all(PROMPT.as_bytes())?;
    prompt.flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}
