//! What `pg_basebackup` prints while it works: step messages, progress, clean-up (section 7).

use std::io::IsTerminal;
use std::path::Path;

use super::messages::Messages;
use crate::backup::{BackupError, CleanUp, DirectoryRole, Event, Observer, Progress};
use crate::types::WithCauses;

/// How much to print, and what the run is about.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of the command line, or follows from one"
)]
pub(super) struct Verbosity {
    /// `-v`
    pub(super) steps: bool,
    /// `-P`
    pub(super) progress: bool,
    /// Whether WAL is part of the backup.
    pub(super) includes_wal: bool,
    /// Whether the backup is synced.
    pub(super) syncs: bool,
    /// Whether a missing password is asked for and so no failure yet.
    pub(super) asks_for_password: bool,
}

/// Prints what happens.
#[derive(Clone)]
pub(super) struct Report {
    messages: Messages,
    verbosity: Verbosity,
    /// The end of a progress line that another one will replace.
    line_end: char,
}

impl Report {
    pub(super) fn new(messages: Messages, verbosity: Verbosity) -> Self {
        let line_end = if std::io::stderr().is_terminal() { '\r' } else { '\n' };
        Self { messages, verbosity, line_end }
    }

    fn step(&self, text: &str) {
        if self.verbosity.steps {
            self.messages.information(text);
        }
    }

    fn wait_for_checkpoint(&self) {
        self.step("initiating base backup, waiting for checkpoint to complete");
        if self.verbosity.progress && !self.verbosity.steps {
            self.messages.print_raw(&format!("waiting for checkpoint{}", self.line_end));
        }
    }

    fn progress(&self, progress: &Progress<'_>) {
        if self.verbosity.progress {
            let is_last =
                progress.current.is_none() && progress.tablespaces_done == progress.tablespaces_total;
            let end = if is_last { '\n' } else { self.line_end };
            let line = progress_line(progress, self.verbosity.steps);
            self.messages.print_raw(&format!("{}{end}", self.messages.shown(&line)));
        }
    }

    /// The error, then what the error caused it to say, then what to do.
    fn fail(&self, error: &BackupError) {
        if self.verbosity.asks_for_password && wants_password(error) {
            return;
        }
        if let BackupError::ReceiverDied(cause) | BackupError::Receiver(cause) = error {
            self.messages.error(&WithCauses(cause).to_string());
        }
        match error {
            BackupError::Receiver(_) => self.messages.error("child process exited with exit code 1"),
            // The signal says it.
            BackupError::Cancelled => {}
            BackupError::ReceiverDied(_) => self.messages.error(&error.to_string()),
            error => self.messages.error(&WithCauses(error).to_string()),
        }
        if let Some(detail) = error.detail() {
            self.messages.detail(detail);
        }
        if let Some(hint) = error.hint() {
            self.messages.hint(&hint);
        }
    }

    fn clean_up(&self, what: &CleanUp<'_>) {
        let name = |role: &DirectoryRole| match role {
            DirectoryRole::Data => "data directory",
            DirectoryRole::Wal => "WAL directory",
            DirectoryRole::Tablespace => "tablespace directory",
        };
        match what {
            CleanUp::Removing(role, path) => {
                self.messages.information(&format!("removing {} \"{}\"", name(role), path.display()));
            }
            CleanUp::Emptying(role, path) => self.messages.information(&format!(
                "removing contents of {} \"{}\"",
                name(role),
                path.display()
            )),
            CleanUp::Keeping(role, path) => self.messages.information(&format!(
                "{} \"{}\" not removed at user's request",
                name(role),
                path.display()
            )),
            CleanUp::KeepingTablespaces => {
                self.messages.information("changes to tablespace directories will not be undone");
            }
            CleanUp::Failed(role, path, reason) => {
                self.messages.warning(&format!("could not remove \"{}\": {reason}", path.display()));
                self.messages.error(&format!("failed to remove {}", name(role)));
            }
        }
    }
}

/// Whether the failure is only that nobody gave a password yet.
pub(super) fn wants_password(error: &BackupError) -> bool {
    matches!(error, BackupError::Connect(error) if error.needs_password())
}

impl Observer for Report {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Notice(notice) => self.messages.notice(&notice.to_string()),
            Event::NewerServer(version) => self.messages.warning(&format!(
                "server version {version} is newer than any that this program knows; it is treated like version 18"
            )),
            Event::WaitingForCheckpoint => self.wait_for_checkpoint(),
            Event::CheckpointCompleted => self.step("checkpoint completed"),
            Event::StartPoint(start) if self.verbosity.includes_wal => self
                .step(&format!("write-ahead log start point: {} on timeline {}", start.lsn, start.timeline)),
            Event::StartingReceiver => self.step("starting background WAL receiver"),
            Event::SlotCreated { name, temporary: true, .. } => {
                self.step(&format!("created temporary replication slot \"{name}\""));
            }
            Event::SlotCreated { name, temporary: false, .. } => {
                self.step(&format!("created replication slot \"{name}\""));
            }
            Event::SlotLeftAlone { name, .. } => self.messages.information(&format!(
                "replication slot \"{name}\" exists where an earlier try created it; it is left as it is, and a \
                 temporary one is used"
            )),
            Event::LittleSpace(space) => self.messages.warning(&format!(
                "file system of \"{}\" has {} free, but the backup there is estimated at {}",
                space.path.display(),
                readable(space.free),
                readable(space.needed)
            )),
            Event::Progress(progress) => self.progress(progress),
            Event::EndPoint(end) if self.verbosity.includes_wal => {
                self.step(&format!("write-ahead log end point: {}", end.lsn));
            }
            Event::WaitingForReceiver => {
                self.step("waiting for background process to finish streaming ...");
            }
            Event::Syncing if self.verbosity.syncs => self.step("syncing data to disk ..."),
            Event::RenamingManifest => self.step("renaming backup_manifest.tmp to backup_manifest"),
            Event::Completed => self.step("base backup completed"),
            Event::Failed(error) => self.fail(error),
            Event::CleanUp(what) => self.clean_up(what),
            _ => {}
        }
    }
}

/// `done/total kB (n%), i/n tablespaces`, with the current file where steps are printed too (BB-251, BB-252).
fn progress_line(progress: &Progress<'_>, with_file: bool) -> String {
    const NO_FILE_WIDTH: usize = 40;
    let [done, total] = [progress.done, progress.total].map(|bytes| bytes / 1024);
    let percent = match total {
        0 => 0,
        total => u128::from(done.min(total)) * 100 / u128::from(total),
    };
    let total = total.to_string();
    let width = total.len();
    let noun = if progress.tablespaces_total == 1 { "tablespace" } else { "tablespaces" };
    let spaces = format!("{}/{} {noun}", progress.tablespaces_done, progress.tablespaces_total);
    match (with_file, progress.current) {
        (false, _) => format!("{done:>width$}/{total} kB ({percent}%), {spaces}"),
        (true, Some(path)) => {
            format!("{done:>width$}/{total} kB ({percent}%), {spaces} ({:<35})", shortened(path))
        }
        (true, None) => format!("{done:>width$}/{total} kB (100%), {spaces} {:NO_FILE_WIDTH$}", ""),
    }
}

/// Bytes in a unit that makes the number short; of units, PostgreSQL's.
fn readable(bytes: u64) -> String {
    const UNITS: [(&str, u32); 3] = [("TB", 40), ("GB", 30), ("MB", 20)];
    match UNITS.into_iter().find(|(_, bits)| bytes >> bits > 0) {
        Some((unit, bits)) => {
            let tenths = (u128::from(bytes) * 10) >> bits;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{} kB", bytes / 1024),
    }
}

/// The path, or its end where it is longer than 35 characters.
fn shortened(path: &Path) -> String {
    const WIDTH: usize = 35;
    let path: Vec<char> = path.to_string_lossy().chars().collect();
    if path.len() <= WIDTH {
        return path.into_iter().collect();
    }
    let end = path[path.len() - (WIDTH - 3)..].iter();
    "...".chars().chain(end.copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(current: Option<&Path>) -> Progress<'_> {
        Progress { done: 5 << 20, total: 20 << 20, tablespaces_done: 0, tablespaces_total: 1, current }
    }

    #[test]
    fn bb_251_progress_lines() {
        assert_eq!(progress_line(&progress(None), false), " 5120/20480 kB (25%), 0/1 tablespace");
        let none = Progress { total: 0, done: 0, tablespaces_total: 2, ..progress(None) };
        assert_eq!(progress_line(&none, false), "0/0 kB (0%), 0/2 tablespaces");
        // Of whole kilobytes.
        let little = Progress { total: 21 << 10, done: 4000, ..progress(None) };
        assert_eq!(progress_line(&little, false), " 3/21 kB (14%), 0/1 tablespace");
    }

    #[test]
    fn sizes_are_readable() {
        for (bytes, expected) in [
            (0, "0 kB"),
            (1023 << 10, "1023 kB"),
            (1 << 20, "1.0 MB"),
            (23_500_000, "22.4 MB"),
            ((1 << 40) - 1, "1023.9 GB"),
            (u64::MAX, "16777215.9 TB"),
        ] {
            assert_eq!(readable(bytes), expected);
        }
    }

    #[test]
    fn bb_252_the_current_file_has_35_columns() {
        let line = progress_line(&progress(Some(Path::new("/d/base/1/2"))), true);
        assert_eq!(line, format!(" 5120/20480 kB (25%), 0/1 tablespace ({:<35})", "/d/base/1/2"));
        let long = format!("/{}", "x".repeat(50));
        let line = progress_line(&progress(Some(Path::new(&long))), true);
        assert!(line.ends_with(&format!("(...{})", "x".repeat(32))), "{line}");
        let last = Progress { done: 20 << 20, tablespaces_done: 1, ..progress(None) };
        assert_eq!(
            progress_line(&last, true),
            format!("20480/20480 kB (100%), 1/1 tablespace {}", " ".repeat(40))
        );
    }
}
