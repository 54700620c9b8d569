//! What a program makes durable, in which order, as `strace` sees it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Run;

/// The calls that are looked at.
const CALLS: &str = "trace=fsync,fdatasync,syncfs,rename,renameat,renameat2,open,openat";

/// One call that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// This file or directory was synced.
    Sync(PathBuf),
    /// The file system with this file or directory was synced.
    SyncFileSystem(PathBuf),
    /// A file was made, or one that was there was opened by a program that would have made it.
    Create(PathBuf),
    /// A file got another name.
    Rename { from: PathBuf, to: PathBuf },
}

/// Runs a program under `strace`, which writes to `log`; arguments are added as to the program itself.
pub fn traced(program: &Path, log: &Path) -> Run {
    Run::new("/usr/bin/strace")
        .args(["-f", "-qq", "-y", "-s", "4096", "--seccomp-bpf", "-e", CALLS, "-o"])
        .args([log, program])
}

/// The calls in a log.
pub fn calls_in(log: &Path) -> Vec<Call> {
    calls(&fs::read_to_string(log).unwrap())
}

/// The calls in the lines of a log, in the order in which they ended.
pub fn calls(text: &str) -> Vec<Call> {
    let mut begun = HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let (thread, line) = line.split_once(' ').unwrap();
        let line = line.trim_start();
        if let Some(beginning) = line.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, beginning);
        } else if let Some((_, end)) = line.split_once(" resumed>") {
            let whole = format!("{}{end}", begun.remove(thread).unwrap());
            calls.extend(parse(&whole));
        } else {
            calls.extend(parse(line));
        }
    }
    calls
}

fn parse(line: &str) -> Option<Call> {
    let (call, result) = line.rsplit_once(") ")?;
    if !result.trim_start().starts_with("= ") || result.contains("= -1 ") {
        return None;
    }
    let (name, arguments) = call.split_once('(')?;
    match name {
        "fsync" | "fdatasync" => Some(Call::Sync(opened(arguments)?)),
        "syncfs" => Some(Call::SyncFileSystem(opened(arguments)?)),
        "open" | "openat" if arguments.contains("O_CREAT") => Some(Call::Create(named(arguments)?.0)),
        "rename" | "renameat" | "renameat2" => {
            let (from, rest) = named(arguments)?;
            Some(Call::Rename { from, to: named(rest.strip_prefix(", ")?)?.0 })
        }
        _ => None,
    }
}

/// The path behind a descriptor, which is printed as `7</tmp/file>`.
fn opened(argument: &str) -> Option<PathBuf> {
    let (_, path) = argument.split_once('<')?;
    Some(PathBuf::from(path.split_once('>')?.0))
}

/// The path of a name that stands behind a directory, or by itself; and what follows it.
fn named(arguments: &str) -> Option<(PathBuf, &str)> {
    let (before, rest) = arguments.split_once('"')?;
    let (name, rest) = rest.split_once('"')?;
    let directory = opened(before).unwrap_or_default();
    Some((directory.join(name), rest))
}
