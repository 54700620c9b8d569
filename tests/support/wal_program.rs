//! `pg_receivewal`, ours and PostgreSQL's own, as tests run it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::cluster::Cluster;
use super::installation::Installation;
use super::program::Personality;
use super::run::Run;

const NAME: &str = "pg_receivewal";

/// One of the programs.
#[derive(Debug)]
pub struct WalProgram {
    path: PathBuf,
    /// The version that it is, or stands in for.
    installation: Installation,
    _ours: Option<Personality>,
}

impl WalProgram {
    /// This package's, in the place of that of PostgreSQL 18.
    pub fn ours() -> Self {
        Self::ours_as(18)
    }

    /// This package's, in the place of that of another version.
    pub fn ours_as(major: u16) -> Self {
        let ours = Personality::named(NAME);
        Self { path: ours.path().to_owned(), installation: Installation::find(major), _ours: Some(ours) }
    }

    /// PostgreSQL's own.
    pub fn real_of(major: u16) -> Self {
        let installation = Installation::find(major);
        Self { path: installation.program(NAME), installation, _ours: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A run with no arguments yet.
    pub fn run(&self) -> Run {
        self.with_environment(Run::new(&self.path))
    }

    /// A run that receives the WAL of the cluster into the directory.
    pub fn receive(&self, cluster: &Cluster, directory: &Path) -> Run {
        self.run().args(["-d", &cluster.conninfo(), "-D"]).arg(directory)
    }

    /// The same by a command that becomes the program and its arguments, which follow it.
    pub fn receive_by(&self, command: &[&str], cluster: &Cluster, directory: &Path) -> Run {
        self.with_environment(Run::new(command[0]))
            .args(&command[1..])
            .arg(&self.path)
            .args(["-d", &cluster.conninfo(), "-D"])
            .arg(directory)
    }

    /// The same of any server, under `strace` with these options, which writes to `log`. The process is the program and
    /// not `strace`, so that it gets the signals and has the exit status. The program must outlive its start.
    pub fn traced(&self, strace: &[&str], log: &Path, cluster: &Cluster, directory: &Path) -> Run {
        self.with_environment(Run::new("/usr/bin/strace"))
            .args(["-D", "-I1", "-f", "-qq", "-y"])
            .args(strace)
            .args([Path::new("-o"), log, &self.path])
            .args(["-d", &cluster.conninfo(), "-D"])
            .arg(directory)
    }

    fn with_environment(&self, run: Run) -> Run {
        run.env("LD_LIBRARY_PATH", self.installation.library_directory())
            .env("PGSIPHON_PG_VERSION", self.installation.major().to_string())
    }
}

/// The names in a directory, sorted.
pub fn names_in(directory: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(name).collect();
    names.sort();
    names
}

/// The permission bits of each file in a directory.
pub fn modes_in(directory: &Path) -> Vec<u32> {
    let mode = |name: &String| directory.join(name).metadata().unwrap().permissions().mode() & 0o7777;
    names_in(directory).iter().map(mode).collect()
}

/// The end of what the server has flushed, which is what it sends.
pub fn end_of_wal(cluster: &Cluster) -> String {
    cluster.psql("SELECT pg_current_wal_flush_lsn()")
}

/// Writes that many kilobytes of WAL, or a little more, and flushes it.
pub fn write_wal(cluster: &Cluster, kilobytes: u32) {
    cluster.psql(&format!(
        "SET synchronous_commit = on;
         SELECT count(pg_logical_emit_message(true, 'x', repeat('x', 1000))) FROM generate_series(1, {kilobytes})"
    ));
}
