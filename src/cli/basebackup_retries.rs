//! Whether a backup that failed is taken again (`--retries`), and when.
//!
//! In: why a try failed, and what happened in it. Out: the pause before the next try, or none, with a line that says
//! so. Nothing is tried again that only luck could mend, or that would meet what the failed try has left.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::basebackup_plan::{Output, Plan};
use super::basebackup_report::wants_password;
use super::messages::{Messages, seconds};
use crate::backup::{BackupError, CleanUp, Event, Observer};
use crate::receive::{Backoff, chance};

/// The shortest and the longest pause: servers take seconds to start, and each backup costs them a checkpoint.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// The tries of a backup that are left.
#[derive(Debug)]
pub(super) struct Retries {
    allowed: u32,
    done: u32,
    backoff: Backoff,
    messages: Messages,
}

impl Retries {
    /// As many as the plan allows.
    pub(super) fn new(plan: &Plan, messages: &Messages) -> Self {
        let (shortest, longest) = PAUSES;
        let backoff = Backoff::between(shortest, longest);
        Self { allowed: plan.retries, done: 0, backoff, messages: messages.clone() }
    }

    /// The pause before the next try; none if this one was the last.
    pub(super) fn after(&mut self, error: &BackupError, course: &Course, plan: &Plan) -> Option<Duration> {
        let is_asked_for =
            self.allowed > 0 && !matches!(error, BackupError::Cancelled) && !wants_password(error);
        if !is_asked_for {
            return None;
        }
        if let Some(reason) = against_another_try(error, course, plan) {
            self.messages.information(&format!("not trying again: {reason}"));
            return None;
        }
        if self.done == self.allowed {
            self.messages.error(&format!("giving up after retry {} of {}", self.done, self.allowed));
            return None;
        }
        self.done += 1;
        let pause = self.backoff.after_failure(chance());
        self.messages.information(&format!(
            "base backup failed; waiting {} seconds before retry {} of {}",
            seconds(pause),
            self.done,
            self.allowed
        ));
        Some(pause)
    }
}

fn against_another_try(error: &BackupError, course: &Course, plan: &Plan) -> Option<&'static str> {
    let reads_a_pipe = plan.options.incremental.as_deref().is_some_and(|manifest| !Path::is_file(manifest));
    [
        (!error.is_retryable(), "the cause does not pass by itself"),
        (course.left_traces.load(Ordering::Relaxed), "what was written could not be removed"),
        (
            plan.output == Output::Stdout && course.began.load(Ordering::Relaxed),
            "part of the backup may have gone to standard output",
        ),
        (reads_a_pipe, "the manifest of the earlier backup can be read only once"),
    ]
    .into_iter()
    .find_map(|(applies, reason)| applies.then_some(reason))
}

/// Passes on what happens in a try, and notes what matters to the next one.
pub(super) struct Course {
    next: Arc<dyn Observer>,
    /// The server has begun to send.
    began: AtomicBool,
    /// Something that was written is still there.
    left_traces: AtomicBool,
}

impl Course {
    pub(super) fn new(next: Arc<dyn Observer>) -> Self {
        let [began, left_traces] = [false; 2].map(AtomicBool::new);
        Self { next, began, left_traces }
    }
}

impl Observer for Course {
    fn observe(&self, event: &Event<'_>) {
        let noted = match event {
            Event::CheckpointCompleted => Some(&self.began),
            Event::CleanUp(CleanUp::Failed(..) | CleanUp::Keeping(..) | CleanUp::KeepingTablespaces) => {
                Some(&self.left_traces)
            }
            _ => None,
        };
        if let Some(noted) = noted {
            noted.store(true, Ordering::Relaxed);
        }
        self.next.observe(event);
    }
}
