//! What `pg_receivewal` prints while it works (section 1.6 of the receiver's behaviours).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::messages::{Messages, seconds};
use super::receiver_status::State;
use super::receivewal_plan::{Action, Plan};
use super::status_file::StatusFile;
use crate::client::ClientError;
use crate::connection::Notice;
use crate::receive::{Event, Observer, ReceiveError, Reconnect};
use crate::types::WithCauses;

/// Prints what happens.
pub(super) struct Report {
    messages: Messages,
    /// `-v`
    verbose: bool,
    /// None where there is no connection to lose.
    reconnect: Option<Reconnect>,
    /// There was another attempt after one that failed.
    tried_again: AtomicBool,
    status_file: OnceLock<StatusFile>,
}

impl Report {
    /// Prints what happens when the plan is carried out.
    pub(super) fn new(messages: Messages, plan: &Plan) -> Self {
        let reconnect = match &plan.action {
            Action::Receive(receiving) => Some(receiving.options.reconnect),
            Action::CreateSlot { .. } | Action::DropSlot(_) => None,
        };
        Self {
            messages,
            verbose: plan.verbose,
            reconnect,
            tried_again: AtomicBool::new(false),
            status_file: OnceLock::new(),
        }
    }

    /// From now on the file tells of what happens, too.
    pub(super) fn keep_status_file(&self, file: StatusFile) {
        // There is one at most.
        let _ = self.status_file.set(file);
    }

    /// Something that only who asked for it wants to know.
    pub(super) fn step(&self, text: &str) {
        if self.verbose {
            self.messages.information(text);
        }
    }

    /// The server had something to say.
    pub(super) fn notice(&self, notice: &Notice) {
        self.messages.notice(&notice.to_string());
    }

    /// The work is done, or not.
    pub(super) fn ended(&self, error: Option<&ReceiveError>) {
        if let Some(error) = error {
            self.failed(error);
        }
        if let Some(file) = self.status_file.get() {
            file.close(if error.is_some() { State::Failed } else { State::Stopped });
        }
    }

    /// This was the last attempt.
    fn failed(&self, error: &ReceiveError) {
        self.attempt_failed(error);
        if let Some(file) = self.status_file.get() {
            file.note_error(WithCauses(error).to_string());
        }
        if error.is_gap() {
            self.messages.hint(
                "Get the missing segments from another server or archive into the directory; \
                 or take a new base backup, and receive into an empty directory.",
            );
        }
        match self.reconnect {
            Some(Reconnect::Never) if loses_a_connection(error) => self.messages.error("disconnected"),
            Some(Reconnect::Always { give_up_after: Some(bound), .. })
                if error.may_pass() && self.tried_again.load(Ordering::Relaxed) =>
            {
                let bound = seconds(bound);
                self.messages
                    .error(&format!("no write-ahead log could be streamed for {bound} seconds, giving up"));
            }
            _ => {}
        }
    }

    fn attempt_failed(&self, error: &ReceiveError) {
        self.messages.error(&WithCauses(error).to_string());
        if let ReceiveError::Connect(error) = error
            && let Some(hint) = error.hint()
        {
            self.messages.hint(&hint);
        }
    }
}

/// Whether the failure is only that nobody gave a password yet.
pub(super) fn wants_password(error: &ReceiveError) -> bool {
    matches!(error, ReceiveError::Connect(error) if error.needs_password())
}

/// Whether it is the end of a connection that was good for streaming so far, or of the attempt to stream.
fn loses_a_connection(error: &ReceiveError) -> bool {
    match error {
        ReceiveError::Connect(_) => false,
        ReceiveError::Client(ClientError::Command { command, .. }) => {
            command != "IDENTIFY_SYSTEM" && !command.starts_with("SHOW ")
        }
        error => error.may_pass(),
    }
}

impl Observer for Report {
    fn observe(&self, event: &Event<'_>) {
        if let Some(file) = self.status_file.get() {
            file.note(event);
        }
        match event {
            Event::Progress { .. } => {}
            Event::Starting { position, timeline } => {
                self.step(&format!("starting log streaming at {position} (timeline {timeline})"));
            }
            Event::SegmentFinished { end, timeline } => {
                self.step(&format!("finished segment at {end} (timeline {timeline})"));
            }
            Event::SegmentIncomplete { file } => {
                self.messages.information(&format!("not renaming \"{file}\", segment is not complete"));
            }
            Event::TimelineSwitched { timeline, position } => {
                self.step(&format!("switched to timeline {timeline} at {position}"));
            }
            Event::Stopped { position, timeline } => {
                self.step(&format!("stopped log streaming at {position} (timeline {timeline})"));
            }
            Event::Cancelled => self.step("received interrupt signal, exiting"),
            Event::Failed(error) => self.attempt_failed(error),
            Event::Disconnected { retry_in } => {
                self.tried_again.store(true, Ordering::Relaxed);
                let pause = seconds(*retry_in);
                self.messages.information(&format!("disconnected; waiting {pause} seconds to try again"));
            }
            Event::Notice(notice) => self.notice(notice),
            Event::Warning(warning) => self.messages.warning(&warning.to_string()),
        }
    }
}
