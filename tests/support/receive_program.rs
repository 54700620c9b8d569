//! `pg_receivewal` as a program: the one under test, or a real one; by itself or with `strace` below it.

use std::path::{Path, PathBuf};

use super::{Installation, Personality, Run};

/// `pg_receivewal`: the program under test under that name, or the real one.
#[derive(Debug)]
pub struct ReceiveProgram {
    path: PathBuf,
    libraries: Option<PathBuf>,
    _personality: Option<Personality>,
}

impl ReceiveProgram {
    /// The program under test.
    pub fn ours() -> Self {
        let personality = Personality::named("pg_receivewal");
        Self { path: personality.path().to_owned(), libraries: None, _personality: Some(personality) }
    }

    /// The real one of that major version.
    pub fn real_of(major: u16) -> Self {
        let installation = Installation::find(major);
        let libraries = (major != 15).then(|| installation.library_directory());
        Self { path: installation.client_program("pg_receivewal"), libraries, _personality: None }
    }

    /// Receives WAL into `directory`; a test adds what else it wants.
    pub fn receive_into(&self, conninfo: &str, directory: &Path) -> Run {
        self.with(Run::new(&self.path), conninfo, directory)
    }

    /// The same under `strace` with these options, which writes to `log`. The process is the program, not `strace`,
    /// so that it gets signals and has the exit status.
    pub fn traced_receive_into(&self, strace: &[&str], log: &Path, conninfo: &str, directory: &Path) -> Run {
        let run = Run::new("/usr/bin/strace").args(["-D", "-f", "-qq", "-y"]).args(strace).arg("-o");
        self.with(run.arg(log).arg(&self.path), conninfo, directory)
    }

    fn with(&self, run: Run, conninfo: &str, directory: &Path) -> Run {
        let run = match &self.libraries {
            Some(libraries) => run.env("LD_LIBRARY_PATH", libraries),
            None => run,
        };
        run.args(["--no-password", "--dbname", conninfo, "--directory"]).arg(directory)
    }
}
