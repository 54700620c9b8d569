//! Service files: sections of settings, of which a connection string or `PGSERVICE` names one.
//!
//! ```text
//! # a comment
//! [name]
//! keyword=value
//! ```
//!
//! In: the name of a service. Out: the settings of its section, in the first file that has it. White space around
//! a line does not count; around `=` there is none, and the value is taken as it is. A section goes on to the
//! next line with a bracket; what follows it, and all but the length of the lines before it, is not looked at.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::assignment::Assignment;
use super::keyword_value::{is_white, trim_white};
use super::{ConninfoError, Environment, Keyword, Origin};
use crate::types::OsError;

/// The directory of the system's service file where `PGSYSCONFDIR` is not set: a setting of the build, or else
/// that of Debian's packages.
const SYSTEM_DIRECTORY: &str = match option_env!("PGSIPHON_DEFAULT_SYSCONFDIR") {
    Some(directory) if !directory.is_empty() => directory,
    _ => "/etc/postgresql-common",
};

/// Names the user's service file.
const VARIABLE: &str = "PGSERVICEFILE";

/// The longest line in bytes, with its newline (CN-073).
const LONGEST_LINE: usize = 1022;

/// What is wrong with a line of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceLineProblem {
    /// It has no `=`.
    MissingEquals,
    /// It begins with no keyword.
    UnknownKeyword(String),
    /// There is white space between the keyword and `=` (CN-070).
    BlankBeforeEquals(Keyword),
    /// It asks an LDAP server for the settings.
    Ldap,
    /// It contains a NUL byte.
    NulByte,
}

/// What to do about it, as a sentence. No value is shown, for it may be a password.
impl fmt::Display for ServiceLineProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingEquals => f.write_str("The line has no \"=\"."),
            Self::UnknownKeyword(name) => write!(f, "There is no connection option \"{name}\"."),
            Self::BlankBeforeEquals(keyword) => {
                write!(f, "Write \"{keyword}=\" without white space around \"=\".")
            }
            Self::Ldap => f.write_str(
                "Services that an LDAP server defines are not supported. Write the settings into the service file.",
            ),
            Self::NulByte => f.write_str("The line contains a NUL byte."),
        }
    }
}

/// The settings of a service, which may name a keyword several times: then the first one counts.
///
/// The user's file goes before the system's (CN-062 … CN-067). The file that `PGSERVICEFILE` names must be there;
/// the others need not.
pub(super) fn look_up(
    service: &[u8],
    origin: Origin,
    environment: &Environment,
    home: Option<&Path>,
) -> Result<Vec<Assignment>, ConninfoError> {
    let (variable, user_file) = match environment.value(VARIABLE) {
        Some(path) => (Some(VARIABLE), Some(to_path(path.to_vec()))),
        None => (None, home.map(|home| home.join(".pg_service.conf")).filter(|path| path.exists())),
    };
    let system_file = Some(system_file(environment)).filter(|path| path.exists());
    for (path, variable) in [(user_file, variable), (system_file, None)] {
        let Some(path) = path else { continue };
        if let Some(settings) = section(open(&path, variable)?, &path, service)? {
            return Ok(settings);
        }
    }
    Err(ConninfoError::ServiceNotFound { service: String::from_utf8_lossy(service).into_owned(), origin })
}

fn system_file(environment: &Environment) -> PathBuf {
    let directory = environment.value("PGSYSCONFDIR").unwrap_or(SYSTEM_DIRECTORY.as_bytes());
    // Not joined as paths: without a directory that would be a file of the working directory.
    to_path([directory, b"/pg_service.conf"].concat())
}

fn open(path: &Path, variable: Option<&'static str>) -> Result<File, ConninfoError> {
    File::open(path).map_err(|error| ConninfoError::ServiceFileNotFound {
        path: path.to_owned(),
        variable,
        reason: OsError(error),
    })
}

fn to_path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

/// The settings of the first section of that name; none if there is no such section (CN-069 … CN-075).
pub(super) fn section(
    file: impl Read,
    path: &Path,
    service: &[u8],
) -> Result<Option<Vec<Assignment>>, ConninfoError> {
    let mut lines = Lines::new(file);
    let mut found: Option<Vec<Assignment>> = None;
    let unreadable = |error| ConninfoError::ServiceFileRead { path: path.to_owned(), source: OsError(error) };
    while let Some((number, line)) = lines.next().map_err(unreadable)? {
        if line.len() > LONGEST_LINE {
            return Err(ConninfoError::ServiceLineTooLong { path: path.to_owned(), line: number });
        }
        let line = trim_white_at_end(trim_white(line));
        match (line.strip_prefix(b"["), &mut found) {
            _ if line.is_empty() || line.starts_with(b"#") => {}
            (Some(_), Some(_)) => break,
            (Some(name), None) => {
                let is_named = name.strip_prefix(service).is_some_and(|rest| rest.starts_with(b"]"));
                found = is_named.then(Vec::new);
            }
            (None, Some(settings)) => settings.push(setting(line, path, number)?),
            (None, None) => {}
        }
    }
    Ok(found)
}

/// Reads `keyword=value`.
fn setting(line: &[u8], path: &Path, number: usize) -> Result<Assignment, ConninfoError> {
    let wrong = |problem| ConninfoError::ServiceSyntax { path: path.to_owned(), line: number, problem };
    if line.starts_with(b"ldap") {
        return Err(wrong(ServiceLineProblem::Ldap));
    }
    if line.contains(&0) {
        return Err(wrong(ServiceLineProblem::NulByte));
    }
    let Some(equals) = line.iter().position(|&byte| byte == b'=') else {
        return Err(wrong(ServiceLineProblem::MissingEquals));
    };
    let (name, value) = (&line[..equals], &line[equals + 1..]);
    match keyword(name) {
        Some(Keyword::Service) => Err(ConninfoError::NestedService { path: path.to_owned(), line: number }),
        Some(keyword) => Ok(Assignment { keyword, value: Zeroizing::new(value.to_vec()) }),
        None => Err(wrong(match keyword(trim_white_at_end(name)) {
            Some(keyword) => ServiceLineProblem::BlankBeforeEquals(keyword),
            None => ServiceLineProblem::UnknownKeyword(String::from_utf8_lossy(name).into_owned()),
        })),
    }
}

fn keyword(name: &[u8]) -> Option<Keyword> {
    str::from_utf8(name).ok().and_then(Keyword::from_name)
}

fn trim_white_at_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|&byte| !is_white(byte)).map_or(0, |last| last + 1);
    &text[..end]
}

/// Cuts a stream of any length into lines, in memory that does not grow and is overwritten at the end.
///
/// `start <= end <= CAPACITY`, and `buffer[start..end]` has been read and not given out yet.
struct Lines<R> {
    source: R,
    buffer: Zeroizing<Vec<u8>>,
    start: usize,
    end: usize,
    number: usize,
}

impl<R: Read> Lines<R> {
    /// Room for the longest line and what proves that another one is longer.
    const CAPACITY: usize = 8 * 1024;

    fn new(source: R) -> Self {
        Self { source, buffer: Zeroizing::new(vec![0; Self::CAPACITY]), start: 0, end: 0, number: 0 }
    }

    /// The next line with its newline and its number, which begins with 1; none at the end. Of a line that is too
    /// long only a part may come, which is still too long.
    fn next(&mut self) -> io::Result<Option<(usize, &[u8])>> {
        let length = loop {
            let pending = &self.buffer[self.start..self.end];
            if let Some(newline) = pending.iter().position(|&byte| byte == b'\n') {
                break newline + 1;
            }
            if pending.len() > LONGEST_LINE || !self.read_more()? {
                break self.end - self.start;
            }
        };
        let line = self.start..self.start + length;
        self.start = line.end;
        self.number += 1;
        Ok((length > 0).then(|| (self.number, &self.buffer[line])))
    }

    /// Whether there was more. A directory is empty, as it is for the C library.
    fn read_more(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(length) => {
                    self.end += length;
                    return Ok(length > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::IsADirectory => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcome(content: &[u8], service: &str) -> String {
        match section(content, Path::new("f"), service.as_bytes()) {
            Ok(None) => "-".to_owned(),
            Ok(Some(settings)) => format!("{settings:?}"),
            Err(error) => match error.hint() {
                Some(hint) => format!("{error} | {hint}"),
                None => error.to_string(),
            },
        }
    }

    #[test]
    fn cn_069_to_075_sections_and_what_they_say() {
        for (content, expected) in [
            ("", "-"),
            ("[s]", "[]"),
            ("[s]\nport=1\nhost=a", r#"[port="1", host="a"]"#),
            ("\x0b [s]\t\r\n\x0c port=1 \r\n", r#"[port="1"]"#),
            ("# [s]\n#\n\n  \n[s]\n # port=2\n\nport=1#x\n", r#"[port="1#x"]"#),
            ("[s]\noptions='a b' \\x=\"y\"\n", r#"[options="'a b' \\x=\"y\""]"#),
            ("[s]\nport= 1\nuser=\n", r#"[port=" 1", user=""]"#),
            ("[s]\nport=1\nport=2\n", r#"[port="1", port="2"]"#),
            ("[s]\npassword=hunter2\n", "[password=…]"),
            ("[s] and more\nport=1\n", r#"[port="1"]"#),
            ("[s]]\nport=1\n", r#"[port="1"]"#),
            ("[a]\nport=1\nnonsense\n[s]\nport=2\n[a]\nnonsense\n", r#"[port="2"]"#),
            ("[s]\nport=1\n[s]\nport=2\nnonsense\n", r#"[port="1"]"#),
            ("[S]\n[ s ]\n[s x]\n[sx]\n[s\n[]\n", "-"),
            ("[s\n[s]\nport=1\n", r#"[port="1"]"#),
            ("nonsense\n=\n", "-"),
        ] {
            assert_eq!(outcome(content.as_bytes(), "s"), expected, "{content:?}");
        }
        assert_eq!(outcome(b"[a] b]\nport=1", "a] b"), r#"[port="1"]"#);
        assert_eq!(outcome(b"[]\nport=1", ""), r#"[port="1"]"#);
    }

    #[test]
    fn cn_070_to_072_lines_that_are_refused() {
        for (lines, line, hint) in [
            ("port = 1", 2, "Write \"port=\" without white space around \"=\"."),
            ("\n\nport\t=1", 4, "Write \"port=\" without white space around \"=\"."),
            ("port", 2, "The line has no \"=\"."),
            ("#\nfoo=1", 3, "There is no connection option \"foo\"."),
            ("Port=1", 2, "There is no connection option \"Port\"."),
            ("requiressl=1", 2, "There is no connection option \"requiressl\"."),
            ("=1", 2, "There is no connection option \"\"."),
            (
                "ldap://h/b?a?base?f",
                2,
                "Services that an LDAP server defines are not supported. Write the settings into the service file.",
            ),
            ("port=1\0", 2, "The line contains a NUL byte."),
        ] {
            let expected = format!("syntax error in service file \"f\", line {line} | {hint}");
            assert_eq!(outcome(format!("[s]\n{lines}\nport=1").as_bytes(), "s"), expected);
        }
        let nested = "nested service specifications not supported in service file \"f\", line 3";
        assert_eq!(outcome(b"[s]\nport=1\nservice=\n", "s"), nested);
    }

    #[test]
    fn cn_073_the_longest_line() {
        let lines =
            |length: usize, end: &str| format!("#{}{end}\n[s]\nport=1\n[x]\n", "x".repeat(length - 1));
        assert_eq!(outcome(lines(1021, "").as_bytes(), "s"), r#"[port="1"]"#);
        assert_eq!(outcome(lines(1020, "\r").as_bytes(), "s"), r#"[port="1"]"#);
        let too_long = |line| format!("line {line} too long in service file \"f\"");
        assert_eq!(outcome(lines(1022, "").as_bytes(), "s"), too_long(1));
        assert_eq!(outcome(lines(1021, "\r").as_bytes(), "s"), too_long(1));
        for (length, is_too_long) in [(1022, false), (1023, true), (100_000, true)] {
            let content = format!("[s]\nuser={}", "x".repeat(length - "user=".len()));
            assert_eq!(outcome(content.as_bytes(), "s") == too_long(2), is_too_long, "{length}");
        }
        let behind = format!("[s]\nport=1\n[x]\n{}", "x".repeat(2000));
        assert_eq!(outcome(behind.as_bytes(), "s"), r#"[port="1"]"#);
    }

    #[test]
    fn a_file_without_an_end_is_given_up() {
        let error = section(io::repeat(b'x'), Path::new("f"), b"s").unwrap_err();
        assert_eq!(error.to_string(), "line 1 too long in service file \"f\"");
    }

    /// Gives few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len()).min(buffer.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_the_same_answer_however_they_come(
            rest in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'='), Just(b'[')], 0..300),
            at_once in 1usize..50,
        ) {
            let content = [b"[s]\nport=1\n".as_slice(), &rest].concat();
            let whole = format!("{:?}", section(&content[..], Path::new("f"), b"s"));
            let trickled = section(Trickle(&content, at_once), Path::new("f"), b"s");
            prop_assert_eq!(format!("{trickled:?}"), whole);
        }

        #[test]
        fn cn_075_values_are_literal(value in "[^\0\\s]([^\0\n]{0,30}[^\0\\s])?") {
            let content = format!("[s]\napplication_name={value}\n");
            let settings = section(content.as_bytes(), Path::new("f"), b"s").unwrap().unwrap();
            prop_assert_eq!(&settings[0].value[..], value.as_bytes());
        }
    }
}
