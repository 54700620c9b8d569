//! The program under test, or the real one, at the mercy of a server that lies.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tempfile::TempDir;

use super::base_backup::BackupProgram;
use super::scripted_backup_server::{Delivery, ScriptedBackupServer, Session};
use super::tree::snapshot;
use super::{Outcome, Run, scratch_directory};

/// The most memory that any lie may cost, in bytes.
const MOST_MEMORY: u64 = 128 << 20;

/// A place to be backed up into, with something precious beside it.
#[derive(Debug)]
pub struct LiedTo {
    program: BackupProgram,
    directory: TempDir,
}

impl LiedTo {
    /// `DIR/precious/file` and `DIR/precious/directory` are there; the backup goes to `DIR/out`.
    pub fn new() -> Self {
        Self::with(BackupProgram::ours())
    }

    /// The same with that program.
    pub fn with(program: BackupProgram) -> Self {
        let directory = scratch_directory();
        fs::create_dir_all(directory.path().join("precious/directory")).unwrap();
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
        let outcome = self.outcome(session, delivery, arguments);
        let stderr = self.shown(&outcome);
        assert_eq!(outcome.code(), Some(1), "{stderr}");
        assert_eq!(snapshot(self.path()), before, "{stderr}");
        stderr
    }

    /// Ends as it may, but within the memory that there is for lies, and without a change of what is precious.
    #[track_caller]
    pub fn outcome(&self, session: &Session, delivery: Delivery, arguments: &[&str]) -> Outcome {
        let before = self.precious();
        let (outcome, peak) = self.run(session, delivery, arguments).start().finish_measured();
        assert!(peak < MOST_MEMORY, "{peak} bytes of memory; {}", outcome.stderr);
        assert_eq!(self.precious(), before, "{}", outcome.stderr);
        outcome
    }

    /// What the file system says of what is precious: nobody changes permissions, links or contents without a trace
    /// here, not even for a while.
    fn precious(&self) -> Vec<[i128; 9]> {
        let paths = ["precious", "precious/file", "precious/directory"];
        let told = paths.map(|path| {
            let of = fs::symlink_metadata(self.path().join(path)).unwrap();
            let times = [of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()].map(i128::from);
            let numbers = [of.ino(), of.mode().into(), of.nlink(), of.size()].map(i128::from);
            let owner = i128::from(of.uid()) << 32 | i128::from(of.gid());
            std::array::from_fn(|at| match at {
                0..4 => times[at],
                4..8 => numbers[at - 4],
                _ => owner,
            })
        });
        told.to_vec()
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
