//! The program under test and the real one, side by side.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::support::{Installation, Outcome, Personality, Run};

/// Both programs.
pub(crate) struct Judges {
    ours: Personality,
    real: Installation,
    as_server_account: bool,
}

/// What both of them said.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    /// Standard error of ours, whole.
    pub(crate) stderr: String,
}

impl Judges {
    /// Ours, and the real one of PostgreSQL 18.
    pub(crate) fn new() -> Self {
        let ours = Personality::named("pg_verifybackup");
        Self { ours, real: Installation::find(18), as_server_account: false }
    }

    /// Runs them as the user who owns the servers, whom permissions stop.
    pub(crate) fn by_server_account(mut self) -> Self {
        self.as_server_account = true;
        self
    }

    /// Lets both judge, and expects the same of both.
    #[track_caller]
    pub(crate) fn judge(&self, arguments: &[impl AsRef<OsStr>]) -> Verdict {
        let arguments: Vec<OsString> =
            arguments.iter().map(|argument| argument.as_ref().to_owned()).collect();
        let ours = self.run(self.ours.path(), &arguments);
        let real = self.run(&self.real.program("pg_verifybackup"), &arguments);
        let told = |outcome: &Outcome| (outcome.code(), outcome.stdout_text(), lines(outcome));
        assert_eq!(told(&ours), told(&real), "ours on the left, the real one on the right: {arguments:?}");
        Verdict { code: ours.code().unwrap(), stdout: ours.stdout_text(), stderr: ours.stderr }
    }

    /// Runs ours alone.
    pub(crate) fn ours(&self, arguments: &[impl AsRef<OsStr>]) -> Outcome {
        let arguments: Vec<OsString> =
            arguments.iter().map(|argument| argument.as_ref().to_owned()).collect();
        self.run(self.ours.path(), &arguments)
    }

    fn run(&self, program: &Path, arguments: &[OsString]) -> Outcome {
        let run = Run::new(program).args(arguments);
        if self.as_server_account { run.by_server_account().run() } else { run.run() }
    }
}

impl Verdict {
    #[track_caller]
    pub(crate) fn is_good(&self) {
        assert_eq!((self.code, &*self.stdout), (0, "backup successfully verified\n"), "{}", self.stderr);
        assert_eq!(self.stderr, "");
    }

    /// The errors, sorted, without what precedes each.
    #[track_caller]
    pub(crate) fn errors(&self) -> Vec<String> {
        assert_eq!((self.code, &*self.stdout), (1, ""), "{}", self.stderr);
        let errors = self.stderr.lines().filter_map(|line| line.strip_prefix("pg_verifybackup: error: "));
        let mut errors: Vec<_> = errors.map(str::to_owned).collect();
        errors.sort();
        errors
    }

    /// There are these errors and no others.
    #[track_caller]
    pub(crate) fn finds(&self, errors: &[&str]) {
        let mut errors = errors.to_vec();
        errors.sort_unstable();
        assert_eq!(self.errors(), errors);
    }
}

/// The lines of standard error in the order of the alphabet: the real program names files in no order.
///
/// Left out is what only one of the two says: `pg_waldump`, which the real one runs, why WAL is not readable, and
/// ours the same as a detail. What the real one lets the C library say begins with its path.
fn lines(outcome: &Outcome) -> Vec<String> {
    let mut lines: Vec<String> = outcome
        .stderr
        .lines()
        .filter(|line| !line.starts_with("pg_waldump: ") && !line.starts_with("pg_verifybackup: detail: "))
        .map(|line| match line.split_once("/pg_verifybackup: ") {
            Some((_, message)) if line.starts_with('/') => format!("pg_verifybackup: error: {message}"),
            _ => line.to_owned(),
        })
        .collect();
    lines.sort();
    lines
}
