//! One attempt at a base backup, in a directory of its own: what was printed, and what it left there.

use std::path::{Path, PathBuf};

use super::tree::snapshot;
use super::{Cluster, Outcome, Run, scratch_directory};

/// An attempt that is going to be made. `DIR` in an argument stands for its directory.
pub struct Attempt<'a> {
    cluster: &'a Cluster,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    prepare: Box<dyn Fn(&Path) + 'a>,
    by_server_account: bool,
}

/// How the attempt ended.
#[derive(Debug)]
pub struct Attempted {
    pub outcome: Outcome,
    /// Standard error, with `DIR` for the directory.
    pub stderr: String,
    /// What is there now and was not before, or is different; relative to the directory.
    pub left: Vec<PathBuf>,
}

impl<'a> Attempt<'a> {
    /// A backup of that cluster over TCP, with a fast checkpoint and not synced.
    pub fn new(cluster: &'a Cluster, arguments: &[&str]) -> Self {
        let mut all: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        all.extend(["--no-sync", "-c", "fast", "-d"].map(str::to_owned));
        all.push(format!("host=127.0.0.1 port={} sslmode=disable", cluster.port()));
        Self {
            cluster,
            arguments: all,
            environment: Vec::new(),
            prepare: Box::new(|_| {}),
            by_server_account: false,
        }
    }

    /// What is done in the directory first.
    pub fn prepare(mut self, prepare: impl Fn(&Path) + 'a) -> Self {
        self.prepare = Box::new(prepare);
        self
    }

    /// Runs as the user who owns the servers, who may not write into the directory.
    pub fn by_server_account(mut self) -> Self {
        self.by_server_account = true;
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn cluster(&self) -> &Cluster {
        self.cluster
    }

    /// Makes the attempt with that program.
    #[track_caller]
    pub fn with(&self, program: &Path) -> Attempted {
        let directory = scratch_directory();
        let place = directory.path().to_str().unwrap();
        (self.prepare)(directory.path());
        let before = snapshot(directory.path());
        let mut run = Run::new(program).args(self.arguments.iter().map(|text| text.replace("DIR", place)));
        for (name, value) in &self.environment {
            run = run.env(name, value);
        }
        if self.by_server_account {
            run = run.by_server_account();
        }
        let outcome = run.run();
        let after = snapshot(directory.path());
        let gone = before.keys().filter(|path| !after.contains_key(*path));
        let new = after.iter().filter(|(path, entry)| before.get(*path) != Some(entry)).map(|(path, _)| path);
        Attempted {
            stderr: outcome.stderr.replace(place, "DIR"),
            left: gone.chain(new).cloned().collect(),
            outcome,
        }
    }
}
