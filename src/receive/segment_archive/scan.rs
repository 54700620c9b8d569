//! Where an archive ends: the newest file on the server's history that is what its name says.
//!
//! In come the names, the cluster, and files where a name alone does not tell; out comes a segment with the way to go
//! on with it, or why the archive must not get the server's WAL. Nothing is changed. Candidates are ordered by segment,
//! then timeline, then complete before partial (RW-080 … RW-082), and looked into from the best one down until one is
//! good: an archive may hold a hundred thousand segments.

use std::cmp::Reverse;
use std::sync::Arc;

use super::content::{Measured, measure, pour};
use super::holes;
use super::identity::refused;
use super::listing::Listing;
use super::names::{FileName, Form};
use super::partial::Partial;
use crate::receive::archive::Cluster;
use crate::receive::observer::Warning;
use crate::receive::refused_archive::RefusedArchive;
use crate::storage::{Directory, StorageError, SyncPolicy};
use crate::types::{Lsn, SegmentNumber, TimelineId, WalFileName};

/// Where an archive ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With this segment, complete in this file.
    Complete(WalFileName, FileName),
    /// Within this segment, of which these files have something: the best of them first.
    Partial(WalFileName, Vec<(FileName, Measured)>),
    /// Before this segment, in which the timeline before its own was left. What comes before is here.
    Fork(WalFileName),
}

/// Looks for the end.
pub(super) struct Scan<'a> {
    pub(super) directory: &'a Arc<Directory>,
    pub(super) listing: &'a Listing,
    pub(super) cluster: &'a Cluster<'a>,
    /// Up to where this process has made a segment durable.
    pub(super) durable_end: Option<(WalFileName, Lsn)>,
    /// Hears of what is odd, again at each scan.
    pub(super) warn: &'a mut dyn FnMut(Warning),
}

/// What a file could be the end of. The greatest is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    segment: SegmentNumber,
    timeline: TimelineId,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Fork,
    Partial,
    Complete,
}

/// A file with the segment of its name.
type Named<'a> = (WalFileName, &'a FileName);

impl<'a> Scan<'a> {
    /// Where the archive ends; nothing where it is empty.
    pub(super) fn find_end(&mut self) -> Result<Option<End>, StorageError> {
        let size = self.cluster.segment_size;
        let files: Vec<Named<'a>> = self
            .listing
            .files()
            .filter_map(|file| Some((file.segment(size)?, file)))
            .filter(|(segment, _)| segment.segment().as_u64() > 0)
            .collect();
        let newest = self.cluster.history.timeline();
        let newer = files.iter().copied().filter(|(segment, _)| segment.timeline() > newest);
        if let Some((segment, _)) = self.newest_good(newer)? {
            return Err(refused(RefusedArchive::NewerTimeline(segment.timeline())));
        }
        let end = self.best_on_history(&files)?;
        self.look_elsewhere(&files, end.as_ref())?;
        if let Some(end) = &end {
            holes::warn(&files, end, self.cluster, self.warn);
        }
        Ok(end)
    }

    /// Looks for something newer on timelines that the server never was on.
    fn look_elsewhere(&mut self, files: &[Named<'a>], end: Option<&End>) -> Result<(), StorageError> {
        let newest = self.cluster.history.timeline();
        let elsewhere: Vec<Named<'a>> = files
            .iter()
            .copied()
            .filter(|(segment, _)| segment.timeline() < newest && !self.is_on_history(segment.timeline()))
            .filter(|(segment, _)| end.is_none_or(|end| segment.segment() > end.segment().segment()))
            .collect();
        let Some((segment, local_end)) = self.newest_good(elsewhere.into_iter())? else { return Ok(()) };
        let timeline = segment.timeline();
        if end.is_some() {
            (self.warn)(Warning::UnknownBranch { timeline, local_end });
            return Ok(());
        }
        let directory = self.directory.path().display().to_string();
        Err(refused(RefusedArchive::OffHistory { directory, timeline }))
    }

    /// The newest of the files that has something, and where that ends.
    fn newest_good(
        &mut self,
        files: impl Iterator<Item = Named<'a>>,
    ) -> Result<Option<(WalFileName, Lsn)>, StorageError> {
        for (segment, file) in files {
            let start = segment.segment().start(self.cluster.segment_size);
            let end = if file.form.is_partial {
                self.measure(segment, file)?.map_or(start, |found| found.position)
            } else if self.is_good(file)? {
                segment.segment().next().start(self.cluster.segment_size)
            } else {
                start
            };
            if end > start {
                return Ok(Some((segment, end)));
            }
        }
        Ok(None)
    }

    fn best_on_history(&mut self, files: &[Named<'a>]) -> Result<Option<End>, StorageError> {
        let mut ranked: Vec<(Rank, Named<'a>)> =
            files.iter().filter_map(|&named| Some((self.rank(named)?, named))).collect();
        ranked.sort_by_key(|&(rank, _)| Reverse(rank));
        let mut empty: Option<End> = None;
        for same in ranked.chunk_by(|one, other| one.0 == other.0) {
            let end = match same[0].0.state {
                State::Complete => self.complete(same)?,
                State::Partial => self.partial(same)?,
                State::Fork => self.fork(same)?,
            };
            match (end, &empty) {
                (Some(end), None) if end.is_empty(self.cluster) => empty = Some(end),
                (Some(end), None) => return Ok(Some(end)),
                (Some(end), Some(empty)) if end.counts_more_than_empty(empty, self.cluster) => {
                    return Ok(Some(end));
                }
                _ => {}
            }
        }
        Ok(empty)
    }

    /// What a file on the server's history could be the end of.
    fn rank(&self, (segment, file): Named<'_>) -> Option<Rank> {
        let (size, history) = (self.cluster.segment_size, self.cluster.history);
        let (timeline, number) = (segment.timeline(), segment.segment());
        if !self.is_on_history(timeline) {
            return None;
        }
        let state = if file.form.is_partial { State::Partial } else { State::Complete };
        let Some(left) = history.switch_point(timeline) else {
            return Some(Rank { segment: number, timeline, state });
        };
        let inside =
            if file.form.is_partial { number.start(size) < left } else { number.next().start(size) <= left };
        if inside {
            return Some(Rank { segment: number, timeline, state });
        }
        let next = history.next_after(timeline)?;
        Some(Rank { segment: left.segment_number(size), timeline: next, state: State::Fork })
    }

    fn is_on_history(&self, timeline: TimelineId) -> bool {
        let history = self.cluster.history;
        timeline == history.timeline() || history.switch_point(timeline).is_some()
    }

    fn complete(&mut self, files: &[(Rank, Named<'a>)]) -> Result<Option<End>, StorageError> {
        for &(_, (segment, file)) in files {
            if self.is_good(file)? {
                return Ok(Some(End::Complete(segment, file.clone())));
            }
        }
        Ok(None)
    }

    /// Whether a complete segment is what its name says, as far as its length tells (RW-076 … RW-079).
    fn is_good(&mut self, file: &FileName) -> Result<bool, StorageError> {
        let (name, size) = (file.to_string(), self.cluster.segment_size.as_u64());
        let Some(length) = self.directory.file_length(&name)? else { return Ok(false) };
        if file.form.method.is_none() {
            if length != size {
                (self.warn)(Warning::SegmentFileSize { file: name, size: length });
            }
            return Ok(length == size);
        }
        // What is much too long is not decoded to its end.
        let wrong = match pour(self.directory, file, 2 * size, &mut |_| Ok(())) {
            Ok(decoded) => match decoded.error {
                None if decoded.length == size => return Ok(true),
                Some(error) if decoded.length < size => {
                    Warning::Undecodable { file: name, reason: error.to_string() }
                }
                _ => Warning::UncompressedSize { file: name, size: decoded.length },
            },
            Err(error) => Warning::Undecodable { file: name, reason: error.to_string() },
        };
        (self.warn)(wrong);
        Ok(false)
    }

    fn partial(&mut self, files: &[(Rank, Named<'a>)]) -> Result<Option<End>, StorageError> {
        let mut measured = Vec::new();
        for &(_, (segment, file)) in files {
            let Some(found) = self.measure(segment, file)? else { continue };
            if let Some(left) = self.cluster.history.switch_point(segment.timeline())
                && found.position > left
            {
                return Ok(self.left_behind(segment, found.position, left));
            }
            measured.push((file.clone(), found));
        }
        // Of those that have as much, the raw one needs no work.
        measured.sort_by_key(|(file, found)| (Reverse(found.position), file.form.method.is_some()));
        Ok((!measured.is_empty()).then(|| End::Partial(files[0].1.0, measured)))
    }

    /// What the files have lies behind where the server left their timeline.
    fn fork(&mut self, files: &[(Rank, Named<'a>)]) -> Result<Option<End>, StorageError> {
        let good = self.newest_good(files.iter().map(|&(_, named)| named))?;
        Ok(good.and_then(|(segment, local_end)| {
            let left = self.cluster.history.switch_point(segment.timeline())?;
            self.left_behind(segment, local_end, left)
        }))
    }

    /// What a part has; nothing if it is no file.
    fn measure(&self, segment: WalFileName, file: &FileName) -> Result<Option<Measured>, StorageError> {
        if self.directory.file_length(&file.to_string())?.is_none() {
            return Ok(None);
        }
        let mut found = measure(self.directory, file, segment, self.cluster.into())?;
        if let Some((known, reached)) = self.durable_end
            && known == segment
            && file.form == Form::RAW_PARTIAL
            && reached > found.position
        {
            let (origin, policy) = (self.cluster.into(), SyncPolicy::Never);
            let partial = Partial { directory: self.directory, segment, origin, policy };
            if partial.read_up_to(reached)?.is_some() {
                found.position = reached;
            }
        }
        Ok(Some(found))
    }

    fn left_behind(&mut self, segment: WalFileName, local_end: Lsn, left: Lsn) -> Option<End> {
        let (timeline, size) = (segment.timeline(), self.cluster.segment_size);
        (self.warn)(Warning::OtherBranch { timeline, local_end, switch_point: left });
        let next = self.cluster.history.next_after(timeline)?;
        Some(End::Fork(WalFileName::new(next, left.segment_number(size), size)))
    }
}

impl End {
    pub(super) fn segment(&self) -> WalFileName {
        match self {
            Self::Complete(segment, _) | Self::Partial(segment, _) | Self::Fork(segment) => *segment,
        }
    }

    /// Whether it is a part with nothing in it: it says that the segments before it were complete, and nothing else.
    fn is_empty(&self, cluster: &Cluster<'_>) -> bool {
        let Self::Partial(segment, parts) = self else { return false };
        let start = segment.segment().start(cluster.segment_size);
        parts.iter().all(|(_, found)| found.position <= start)
    }

    /// Whether this end, which lies before that of an empty part, shows that the part is astray: between a complete
    /// segment and its successor nothing is missing, and a part is not followed by another one. Parts of a timeline
    /// that was left are no sign of that: they stay when everything after them has been taken away.
    fn counts_more_than_empty(&self, empty: &Self, cluster: &Cluster<'_>) -> bool {
        match self {
            Self::Complete(..) => true,
            Self::Partial(segment, _) => {
                segment.timeline() == empty.segment().timeline() && !self.is_empty(cluster)
            }
            Self::Fork(_) => false,
        }
    }
}
