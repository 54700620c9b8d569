//! What a program does to files and says on sockets, call by call, as `strace` sees it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The options of `strace` that make it write what [`events`] reads. All texts are hexadecimal, so that none of
/// them looks like syntax, and whole where they are not longer than what is written in one go.
pub const OPTIONS: [&str; 6] = ["--seccomp-bpf", "-xx", "-s", "270336", "-e", TRACE];

const TRACE: &str = "trace=openat,write,pwrite64,writev,pwritev,pwritev2,lseek,fsync,fdatasync,syncfs,sync_file_range,\
                     rename,renameat,renameat2,unlink,unlinkat,sendto,sendmsg";

/// A call begins, or it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Begin {
        thread: String,
        call: Call,
    },
    /// It has succeeded, with this result.
    End {
        thread: String,
        call: Call,
        result: u64,
    },
}

/// What was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A file was opened, and made if it was not there.
    Create(PathBuf),
    /// Bytes at an offset, or else where the last call has left off. The result says how many of them.
    Write {
        path: PathBuf,
        offset: Option<u64>,
        data: Vec<u8>,
    },
    Seek(PathBuf),
    /// A file or a directory, or everything.
    Sync(PathBuf),
    SyncFileSystem,
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove(PathBuf),
    /// The beginning of what went over a socket.
    Send(Vec<u8>),
}

/// The events in a log of `strace`. Calls that fail, or never end, only begin.
pub fn events(log: &str) -> Vec<Event> {
    let mut begun: HashMap<&str, &str> = HashMap::new();
    let mut events = Vec::new();
    for line in log.lines() {
        let (thread, line) = line.split_once(' ').unwrap();
        let line = line.trim_start();
        if let Some(beginning) = line.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, beginning);
            if let Some(call) = call(beginning) {
                events.push(Event::Begin { thread: thread.to_owned(), call });
            }
        } else if let Some((_, end)) = line.split_once(" resumed>") {
            let Some(beginning) = begun.remove(thread) else { continue };
            let whole = format!("{beginning}{end}");
            events.extend(end_of(thread, &whole));
        } else if let Some(call) = call(line) {
            events.push(Event::Begin { thread: thread.to_owned(), call });
            events.extend(end_of(thread, line));
        }
    }
    events
}

fn end_of(thread: &str, line: &str) -> Option<Event> {
    let (_, result) = line.rsplit_once(" = ")?;
    let result: u64 = result.split(['<', ' ']).next()?.parse().ok()?;
    Some(Event::End { thread: thread.to_owned(), call: call(line)?, result })
}

/// The call of a line, of which the end may be missing.
fn call(line: &str) -> Option<Call> {
    let (name, arguments) = line.split_once('(')?;
    match name {
        "fsync" | "fdatasync" => Some(Call::Sync(opened(arguments)?)),
        "syncfs" => Some(Call::SyncFileSystem),
        "openat" if arguments.contains("O_CREAT") => Some(Call::Create(named(arguments)?.0)),
        "lseek" => Some(Call::Seek(opened(arguments)?)),
        "write" | "writev" | "sendto" | "sendmsg" if is_socket(arguments) => {
            Some(Call::Send(sent(arguments)))
        }
        "write" | "writev" => {
            Some(Call::Write { path: opened(arguments)?, offset: None, data: sent(arguments) })
        }
        "pwrite64" => {
            let offset =
                arguments.rsplit_once(", ")?.1.split(|letter: char| !letter.is_ascii_digit()).next()?;
            let offset = Some(offset.parse().ok()?);
            Some(Call::Write { path: opened(arguments)?, offset, data: sent(arguments) })
        }
        "rename" | "renameat" | "renameat2" => {
            let (from, rest) = named(arguments)?;
            Some(Call::Rename { from, to: named(rest)?.0 })
        }
        "unlink" | "unlinkat" => Some(Call::Remove(named(arguments)?.0)),
        _ => None,
    }
}

fn is_socket(arguments: &str) -> bool {
    opened(arguments).is_some_and(|path| path.to_string_lossy().starts_with("socket:"))
}

/// The path behind a descriptor, which is printed as `7<\x2f…>`.
fn opened(argument: &str) -> Option<PathBuf> {
    let (_, path) = argument.split_once('<')?;
    let path = text(path.split_once('>')?.0);
    Some(Path::new(path.strip_suffix(" (deleted)").unwrap_or(&path)).to_owned())
}

/// The path of a name that stands behind a directory, or by itself; and what follows it.
fn named(arguments: &str) -> Option<(PathBuf, &str)> {
    let (before, rest) = arguments.split_once('"')?;
    let (name, rest) = rest.split_once('"')?;
    Some((opened(before).unwrap_or_default().join(text(name)), rest))
}

/// All strings among the arguments, one behind the other.
fn sent(arguments: &str) -> Vec<u8> {
    arguments.split('"').skip(1).step_by(2).flat_map(bytes).collect()
}

fn text(hexadecimal: &str) -> String {
    String::from_utf8(bytes(hexadecimal)).unwrap()
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits = hexadecimal.split("\\x").skip(1);
    digits.map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect()
}
