//! Segments that are missing between others (OP-04).

use super::names::FileName;
use super::scan::End;
use crate::receive::archive::Cluster;
use crate::receive::observer::Warning;
use crate::types::{SegmentNumber, TimelineId, WalFileName};

/// Warns of each stretch of segments that is missing between the first one in the archive and its end.
pub(super) fn warn(
    files: &[(WalFileName, &FileName)],
    end: &End,
    cluster: &Cluster<'_>,
    warn: &mut dyn FnMut(Warning),
) {
    let complete = files.iter().filter(|(_, file)| !file.form.is_partial);
    let mut numbers: Vec<u64> = complete
        .map(|(segment, _)| segment.segment().as_u64())
        .filter(|&number| number < end.segment().segment().as_u64())
        .collect();
    numbers.push(end.segment().segment().as_u64());
    numbers.sort_unstable();
    let name = |number: u64| {
        let (segment, size) = (SegmentNumber::new(number), cluster.segment_size);
        let timeline = timeline_of(segment, cluster).min(end.segment().timeline());
        WalFileName::new(timeline, segment, size)
    };
    for pair in numbers.windows(2) {
        if let [before, after] = *pair
            && after - before > 1
        {
            warn(Warning::MissingSegments { first: name(before + 1), last: name(after - 1) });
        }
    }
}

/// The timeline under which the server's history completes the segment.
fn timeline_of(segment: SegmentNumber, cluster: &Cluster<'_>) -> TimelineId {
    let end = segment.next().start(cluster.segment_size);
    let before = cluster.history.entries().iter().find(|entry| entry.switch_point >= end);
    before.map_or(cluster.history.timeline(), |entry| entry.timeline)
}
