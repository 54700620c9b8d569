//! Running a program as a user would see it: what it prints and how it ends, within a deadline.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::ServerAccount;
use super::wait::{DEADLINE, wait_for};

/// A program that is going to run, with an environment that says nothing of PostgreSQL.
#[derive(Debug)]
pub struct Run {
    command: Command,
    deadline: Duration,
}

impl Run {
    pub fn new(program: impl AsRef<Path>) -> Self {
        let mut command = Command::new(program.as_ref());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").env("HOME", "/nonexistent");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, deadline: DEADLINE }
    }

    pub fn arg(self, argument: impl AsRef<OsStr>) -> Self {
        self.args([argument])
    }

    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Runs the program as the user who owns the servers; without this, as the user who runs the tests.
    pub fn by_server_account(mut self) -> Self {
        self.command.current_dir("/");
        ServerAccount::current().apply(&mut self.command);
        self
    }

    /// How long the program may run before it is killed and the test fails.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs the program to its end.
    ///
    /// # Panics
    ///
    /// If it cannot be started or is not done by the deadline.
    #[track_caller]
    pub fn run(self) -> Outcome {
        self.start().finish()
    }

    /// Starts the program and leaves it running.
    #[track_caller]
    pub fn start(mut self) -> Running {
        let description = format!("{:?}", self.command);
        let mut child = match self.command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("could not run {description}: {error}"),
        };
        let stdout = Collector::of(child.stdout.take().unwrap());
        let stderr = Collector::of(child.stderr.take().unwrap());
        let deadline = Instant::now() + self.deadline;
        Running { child, description, deadline, stdout, stderr }
    }
}

/// A program that runs. It is killed if this value is dropped before it has finished.
#[derive(Debug)]
pub struct Running {
    child: Child,
    description: String,
    deadline: Instant,
    stdout: Collector,
    stderr: Collector,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the program, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.child.try_wait().unwrap().is_none() {
            let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
            kill_process(pid, signal).unwrap();
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it has written to standard output so far.
    pub fn stdout_so_far(&self) -> String {
        String::from_utf8_lossy(&self.stdout.bytes.lock().unwrap()).into_owned()
    }

    /// What it has written to standard error so far.
    pub fn stderr_so_far(&self) -> String {
        String::from_utf8_lossy(&self.stderr.bytes.lock().unwrap()).into_owned()
    }

    /// Waits for the program to end by itself.
    ///
    /// # Panics
    ///
    /// With what it has printed, if it is not done by the deadline.
    #[track_caller]
    pub fn finish(self) -> Outcome {
        self.finish_while(|| {})
    }

    /// Waits for the program to end by itself, and also gives the most memory that it ever had, in bytes.
    #[track_caller]
    pub fn finish_measured(self) -> (Outcome, u64) {
        let status = format!("/proc/{}/status", self.pid());
        let mut peak = 0;
        let outcome = self.finish_while(|| peak = peak_memory(Path::new(&status)).unwrap_or(0).max(peak));
        (outcome, peak)
    }

    /// Calls `look` again and again until the program has ended.
    #[track_caller]
    fn finish_while(mut self, mut look: impl FnMut()) -> Outcome {
        let status = loop {
            look();
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                Instant::now() < self.deadline,
                "{} did not end in time; it printed\n{}\n{}",
                self.description,
                self.stdout_so_far(),
                self.stderr_so_far()
            );
            std::thread::sleep(Duration::from_millis(2));
        };
        let description = std::mem::take(&mut self.description);
        let stdout = self.stdout.finish();
        let stderr = String::from_utf8_lossy(&self.stderr.finish()).into_owned();
        Outcome { description, status, stdout, stderr }
    }
}

/// What the system remembers of a process; none once it has ended.
fn peak_memory(status: &Path) -> Option<u64> {
    let status = std::fs::read_to_string(status).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a program ended and what it printed.
#[derive(Debug)]
pub struct Outcome {
    description: String,
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Outcome {
    /// The exit status, unless a signal ended the program.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The number of the signal that ended the program, if one did.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    pub fn stdout_text(&self) -> String {
        String::from_utf8(self.stdout.clone()).expect("standard output is text")
    }

    /// # Panics
    ///
    /// With what the program printed, unless it ended with status 0.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        self.expect_code(0)
    }

    /// # Panics
    ///
    /// With what the program printed, unless it ended with that status.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert!(
            self.code() == Some(code),
            "{} ended with {}, not with {code}; it printed\n{}\n{}",
            self.description,
            self.status,
            String::from_utf8_lossy(&self.stdout),
            self.stderr
        );
        self
    }
}

/// Reads a stream to its end on a thread of its own, so that the program never waits for a reader.
#[derive(Debug)]
struct Collector {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    fn of(mut stream: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        Self { bytes, thread: Some(thread) }
    }

    /// Everything up to the end of the stream.
    #[track_caller]
    fn finish(&mut self) -> Vec<u8> {
        let thread = self.thread.take().unwrap();
        wait_for("the output to be closed by everybody who has it", DEADLINE, || thread.is_finished());
        thread.join().unwrap();
        std::mem::take(&mut self.bytes.lock().unwrap())
    }
}
