//! What is found on the way, and who hears of it.

use std::ops::ControlFlow;

use super::{Problem, VerifyError};

/// Hears of problems and progress as they come.
pub trait Observer {
    /// A problem was found. Says whether to look for more.
    fn problem(&mut self, problem: &Problem) -> ControlFlow<()> {
        let _ = problem;
        ControlFlow::Continue(())
    }

    /// Some of the contents have been read: after every few hundred kilobytes, and once at the end.
    fn progress(&mut self, progress: Progress) {
        let _ = progress;
    }
}

/// Hears nothing; the [`Report`](super::Report) still says how many problems there are.
impl Observer for () {}

/// How much has been read of what is to be read (BB-230).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The bytes read: of files in plain format, of archives as they are on disk in tar format.
    pub done: u64,
    /// The bytes to read.
    pub total: u64,
    /// Whether nothing more will be read.
    pub finished: bool,
}

/// Why the verification ends before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The observer has heard enough.
    Asked,
    /// Nothing more can be said.
    Failed(VerifyError),
}

impl From<VerifyError> for Stop {
    fn from(error: VerifyError) -> Self {
        Self::Failed(error)
    }
}

/// Counts the problems and passes them on.
pub(super) struct Findings<'o> {
    observer: &'o mut dyn Observer,
    count: u64,
    progress: Progress,
}

impl<'o> Findings<'o> {
    pub(super) fn new(observer: &'o mut dyn Observer) -> Self {
        Self { observer, count: 0, progress: Progress { done: 0, total: 0, finished: false } }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn report(&mut self, problem: &Problem) -> Result<(), Stop> {
        self.count += 1;
        match self.observer.problem(problem) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Stop::Asked),
        }
    }

    /// So many bytes are going to be read.
    pub(super) fn begin_reading(&mut self, total: u64) {
        self.progress.total = total;
        self.observer.progress(self.progress);
    }

    /// So many more bytes have been read.
    pub(super) fn advance(&mut self, bytes: u64) {
        self.progress.done += bytes;
        self.observer.progress(self.progress);
    }

    /// Everything has been read.
    pub(super) fn end_reading(&mut self) {
        self.progress.finished = true;
        self.observer.progress(self.progress);
    }
}
