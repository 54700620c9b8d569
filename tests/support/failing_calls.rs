//! System calls that fail, put between a program and the system by a library of its own (`failing_calls.c`).
//!
//! In comes which calls on which paths are to fail, and when; out come the program's environment and, afterwards,
//! what it called. Nothing is traced, so this works where `strace` is not allowed to.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rustix::io::Errno;
use rustix::process::Signal;
use tempfile::TempDir;

use super::{Run, scratch_directory};

/// The library. Several processes may compile it at the same time; each puts the same into its place.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(compile);

fn compile() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/failing_calls.c");
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libfailing_calls.so");
    let unfinished = library.with_extension(format!("{}.tmp", std::process::id()));
    Run::new("/usr/bin/cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .arg(&unfinished)
        .arg(source)
        .run()
        .expect_success();
    fs::rename(unfinished, &library).unwrap();
    library
}

/// Calls that are to fail.
#[derive(Debug)]
pub struct FailingCalls {
    kinds: String,
    errno: Errno,
    signal: Option<Signal>,
    from: usize,
    times: usize,
    name: String,
    log: TempDir,
}

/// One call that the library has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenCall {
    pub failed: bool,
    pub kind: String,
    pub path: PathBuf,
}

impl FailingCalls {
    /// The first of these calls fails, and each one after it. `kinds` are from this list, with commas between them:
    /// write, sync, close, create, open, mkdir, rename, allocate, chmod, symlink, remove.
    pub fn all(kinds: &str, errno: Errno) -> Self {
        let log = scratch_directory();
        Self { kinds: kinds.to_owned(), errno, signal: None, from: 1, times: 0, name: String::new(), log }
    }

    /// Only this one of these calls fails, counted from 1; none with 0.
    pub fn only(kinds: &str, errno: Errno, number: usize) -> Self {
        Self { from: number, times: 1, ..Self::all(kinds, errno) }
    }

    /// Before the first of these calls, which does not fail, this signal comes to the process.
    pub fn signal_before(kinds: &str, signal: Signal) -> Self {
        Self { signal: Some(signal), ..Self::only(kinds, Errno::IO, 1) }
    }

    /// The calls before this one succeed, counted from 1.
    pub fn from(mut self, number: usize) -> Self {
        self.from = number;
        self
    }

    /// Only so many calls fail.
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Only calls count whose path has this text in it.
    pub fn on(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The program with the library, which looks at the paths that begin with `below`.
    pub fn inject(&self, program: Run, below: &Path) -> Run {
        program
            .env("LD_PRELOAD", &*LIBRARY)
            .env("FAILING_CALLS", &self.kinds)
            .env("FAILING_BELOW", below)
            .env("FAILING_NAME", &self.name)
            .env("FAILING_ERRNO", self.errno.raw_os_error().to_string())
            .env("FAILING_SIGNAL", self.signal.map_or(0, Signal::as_raw).to_string())
            .env("FAILING_FROM", self.from.to_string())
            .env("FAILING_TIMES", self.times.to_string())
            .env("FAILING_LOG", self.log_path())
    }

    /// What was called so far, in order.
    pub fn seen(&self) -> Vec<SeenCall> {
        let log = fs::read_to_string(self.log_path()).unwrap_or_default();
        let call = |line: &str| {
            let mut words = line.splitn(3, ' ');
            let mut next = || words.next().unwrap().to_owned();
            SeenCall { failed: next() == "failed", kind: next(), path: next().into() }
        };
        log.lines().map(call).collect()
    }

    fn log_path(&self) -> PathBuf {
        self.log.path().join("calls")
    }
}
