use std::path::Path;
use std::time::{Duration, Instant};

use super::observer::Progress;
use crate::protocol::{ServerFeatures, Tablespace};

/// How often what was received is reported where the server says nothing.
const INTERVAL: Duration = Duration::from_secs(1);

/// How far the transfer has come.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) done: u64,
    estimated: u64,
    pub(super) archives_begun: usize,
    pub(super) archives_done: usize,
    pub(super) archives_total: usize,
    /// When what was received was last reported; none where the server reports what it has processed (BB-254).
    last_report: Option<Instant>,
}

impl Transfer {
    pub(super) fn new(tablespaces: &[Tablespace], features: ServerFeatures) -> Self {
        let kilobytes = tablespaces.iter().fold(0u64, |sum, tablespace| sum.saturating_add(tablespace.size));
        Self {
            done: 0,
            estimated: kilobytes.saturating_mul(1024),
            archives_begun: 0,
            archives_done: 0,
            archives_total: tablespaces.len(),
            last_report: (!features.progress_messages).then(Instant::now),
        }
    }

    /// So many bytes of an archive or the manifest came; says whether to report that.
    pub(super) fn count(&mut self, bytes: usize) -> bool {
        let Some(last_report) = &mut self.last_report else { return false };
        self.done += bytes as u64;
        let is_due = last_report.elapsed() >= INTERVAL;
        if is_due {
            *last_report = Instant::now();
        }
        is_due
    }

    /// The archive at hand is complete; says whether there is one.
    pub(super) fn end_archive(&mut self) -> bool {
        self.archives_done = self.archives_begun;
        self.archives_done > 0
    }

    /// The archives are complete; what follows is not part of the estimate.
    pub(super) fn begin_manifest(&mut self) {
        self.end_archive();
        self.last_report = None;
    }

    pub(super) fn progress<'a>(&self, current: Option<&'a Path>) -> Progress<'a> {
        Progress {
            done: self.done,
            total: self.estimated.max(self.done),
            tablespaces_done: self.archives_done,
            tablespaces_total: self.archives_total,
            current,
        }
    }
}
