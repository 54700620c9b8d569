//! The program under test, or the real one, at the mercy of a server that lies.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::base_backup::BackupProgram;
use super::scripted_backup_server::{Delivery, ScriptedBackupServer, Session};
use super::tree::snapshot;
use super::{Outcome, Run, scratch_directory};

/// A place to be backed up into, with something precious beside it.
#[derive(Debug)]
pub struct LiedTo {
    program: BackupProgram,
    directory: TempDir,
}

impl LiedTo {
    /// `DIR/precious/file` is there; the backup goes to `DIR/out`.
    pub fn new() -> Self {
        Self::with(BackupProgram::ours())
    }

    /// The same with that program.
    pub fn with(program: BackupProgram) -> Self {
        let directory = scratch_directory();
        fs::create_dir(directory.path().join("precious")).unwrap();
        fs::write(directory.path().join("precious/file"), "precious").unwrap();
        Self { program, directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A backup from a server that plays that session.
    pub fn run(&self, session: &Session, delivery: Delivery, arguments: &[&str]) -> Run {
        let server = ScriptedBackupServer::start_with(session, delivery);
        let place = self.path().to_str().unwrap();
        Run::new(self.program.path())
            .args(["--no-sync", "-X", "none", "-d", &server.conninfo(), "-D"])
            .arg(self.path().join("out"))
            .args(arguments.iter().map(|argument| argument.replace("DIR", place)))
    }

    /// Fails with status 1, and leaves everything around the backup as it was and nothing of the backup.
    /// Gives what was printed, where `DIR` stands for the place.
    #[track_caller]
    pub fn refuse(&self, session: &Session, delivery: Delivery, arguments: &[&str]) -> String {
        let before = snapshot(self.path());
        let outcome = self.run(session, delivery, arguments).run();
        let stderr = self.shown(&outcome);
        assert_eq!(outcome.code(), Some(1), "{stderr}");
        assert_eq!(snapshot(self.path()), before, "{stderr}");
        stderr
    }

    pub fn shown(&self, outcome: &Outcome) -> String {
        outcome.stderr.replace(self.path().to_str().unwrap(), "DIR")
    }
}

/// Both formats are refused for the same reason, in exactly these words.
#[track_caller]
pub fn assert_refused(session: &Session, reason: &str) {
    for format in ["-Fp", "-Ft"] {
        assert_refused_in(format, session, reason);
    }
}

/// The backup in that format is refused in exactly these words.
#[track_caller]
pub fn assert_refused_in(format: &str, session: &Session, reason: &str) {
    let stderr = LiedTo::new().refuse(session, Delivery::default(), &[format]);
    let expected =
        format!("pg_basebackup: error: {reason}\npg_basebackup: removing data directory \"DIR/out\"\n");
    assert_eq!(stderr, expected, "{format}");
}
