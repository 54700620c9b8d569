//! One run of a server process, and the watcher that ends it if its owner cannot.
//!
//! The watcher is a small shell that reads from a pipe which only the owner holds. A word on the pipe says
//! that the server has stopped; the end of the pipe says that the owner is dead, in whatever way it died.
//! Then the watcher stops the server and removes its directory. The server starts only after the watcher
//! does, so there is no moment at which nobody would end it.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::wait::{wait_for, wait_for_some};
use super::{Installation, ServerAccount};

/// Waits for permission to become the server.
const GATED_SERVER: &str = r#"read -r go && exec "$@" </dev/null"#;

/// Arguments: the process id of the server, the directory to remove.
const WATCHER: &str = r#"
read -r stopped && exit 0
kill -QUIT "$1"
tries=0
while kill -0 "$1" && [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
kill -KILL "$1"
rm -rf -- "$2"
"#;

/// How long a server may take to stop when it is told to stop at once.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// A server process that was started and not yet reaped.
#[derive(Debug)]
pub struct Postmaster {
    server: Child,
    watcher: Child,
    data_directory: PathBuf,
}

impl Postmaster {
    /// Starts a server; it is not ready for connections yet.
    ///
    /// What it prints goes to the end of `log`. If this process dies, `directory` is removed after the
    /// server has stopped.
    pub fn start(
        installation: &Installation,
        data_directory: &Path,
        options: &[String],
        log: &Path,
        directory: &Path,
    ) -> Self {
        let log = File::options().append(true).create(true).open(log).unwrap();
        let mut command = clean_shell(GATED_SERVER);
        command.arg(installation.program("postgres")).arg("-D").arg(data_directory).args(options);
        command.env("LD_LIBRARY_PATH", installation.library_directory());
        command.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
        ServerAccount::current().apply(&mut command);
        let mut server = command.spawn().unwrap();
        let mut gate = server.stdin.take().unwrap();

        let watcher = clean_shell(WATCHER)
            .arg(server.id().to_string())
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        gate.write_all(b"go\n").unwrap();
        Self { server, watcher, data_directory: fs::canonicalize(data_directory).unwrap() }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.server.id()
    }

    /// How the server ended, if it did.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.server.try_wait().unwrap()
    }

    /// The word in which the server tells its state: `starting`, `standby`, `ready` or `stopping`.
    pub fn status(&self) -> Option<String> {
        let lock_file = fs::read_to_string(self.data_directory.join("postmaster.pid")).ok()?;
        let lines: Vec<&str> = lock_file.lines().collect();
        let is_ours = lines.first()?.trim() == self.pid().to_string();
        is_ours.then_some(lines.get(7)?.trim().to_owned())
    }

    /// Sends a signal to the postmaster, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.exit_status().is_none() {
            kill(self.pid(), signal);
        }
    }

    /// Waits until the server has ended, and says how.
    pub fn wait(mut self, deadline: Duration) -> ExitStatus {
        wait_for_some("the server to stop", deadline, || self.exit_status())
    }

    /// Kills the postmaster and all its children without giving them a chance to do anything.
    pub fn kill_all(mut self) {
        self.signal(Signal::KILL);
        wait_for("the server's processes to die", STOP_DEADLINE, || {
            let alive = processes_in(&self.data_directory);
            for &pid in &alive {
                kill(pid, Signal::KILL);
            }
            alive.is_empty() && self.exit_status().is_some()
        });
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        self.signal(Signal::QUIT);
        let started = Instant::now();
        while self.exit_status().is_none() {
            if started.elapsed() > STOP_DEADLINE {
                self.signal(Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // A watcher that somebody killed needs no dismissal.
        let _ = self.watcher.stdin.take().map(|mut pipe| pipe.write_all(b"stopped\n"));
        let _ = self.watcher.wait();
    }
}

/// The processes whose working directory is that data directory: all that belong to its server.
pub fn processes_in(data_directory: &Path) -> Vec<u32> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data_directory))
        .collect()
}

/// A shell with nothing of this process's environment, beyond the reach of signals to its process group.
fn clean_shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "sh"]).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
    command.current_dir("/").process_group(0);
    command
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // It may have ended in the meantime.
    let _ = kill_process(pid, signal);
}

/// Removes the shared memory segment that a killed server has left.
///
/// Its id is the second number in the seventh line of the lock file, which a server that stops removes.
pub fn remove_shared_memory(data_directory: &Path) {
    let lock_file = fs::read_to_string(data_directory.join("postmaster.pid")).unwrap_or_default();
    let id = lock_file.lines().nth(6).and_then(|line| line.split_whitespace().nth(1));
    if let Some(id) = id {
        let _ = Command::new("ipcrm").args(["-m", id]).stderr(Stdio::null()).status();
    }
}
