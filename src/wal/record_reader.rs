//! Reads WAL record by record and checks each.
//!
//! In: the bytes of the log from the start of a segment on, in chunks of any size. Out: how far the log is sound,
//! or the first thing in it that is not: a page that belongs elsewhere, a record whose checksum is wrong.
//! Nothing is decoded beyond what that takes, no more than a page header and a record header is held, and no
//! length that the log claims is believed.
//!
//! Every server writes pages of one format and records that name their predecessor, so a log that is sound here
//! can be replayed from the first record to the last. What recovery does not look at is not looked at here either:
//! the content before the first record, and what follows a segment switch.

use super::error::{PageFault, RecordFault, WalError};
use super::page_header::{HeaderBytes, PageFormat, PageHeader};
use super::record::{Course, Records};
use crate::types::{Lsn, SegmentSize, SystemId, TimelineId};

/// Checks a stretch of the log of one timeline.
///
/// ```
/// use pgsiphon::types::{Lsn, SegmentSize, TimelineId};
/// use pgsiphon::wal::RecordReader;
///
/// let (start, size) = (Lsn::new(16 << 20), SegmentSize::new(16 << 20)?);
/// let mut reader = RecordReader::new(start, start, size, TimelineId::FIRST);
/// let error = reader.push(b"this is no WAL").and_then(|()| reader.push(&[0; 100])).unwrap_err();
/// assert_eq!(error.to_string(), "invalid WAL page at 0/1000000: unexpected magic number 6874");
/// assert_eq!(reader.end_of_records(), start);
/// # Ok::<(), pgsiphon::types::InvalidSegmentSize>(())
/// ```
#[derive(Clone, Debug)]
pub struct RecordReader {
    size: SegmentSize,
    timeline: TimelineId,
    position: Lsn,
    page: Page,
    log: Log,
    records: Records,
    failure: Option<WalError>,
}

/// The page at hand.
#[derive(Clone, Debug)]
enum Page {
    /// So many bytes of its header are there, fewer than all.
    Header { bytes: HeaderBytes, gathered: usize },
    /// So many bytes of it are missing, at least 1.
    Content { missing: u32, format: PageFormat },
}

/// What the pages so far have in common.
#[derive(Clone, Debug, Default)]
struct Log {
    format: Option<PageFormat>,
    system_id: Option<SystemId>,
    /// The timeline of the last page.
    timeline: Option<TimelineId>,
}

impl RecordReader {
    /// A reader whose first byte will be the first of the segment that holds `segment_start`, and which checks
    /// records from `first_record` on, a position in that segment.
    ///
    /// If that is the start of a page, where no record can begin, the first one is found that begins after it: so
    /// a reader that knows no record begins with the start of a segment.
    ///
    /// Pages may belong to `timeline` or to those before it, as in the first segment of a timeline.
    pub fn new(segment_start: Lsn, first_record: Lsn, size: SegmentSize, timeline: TimelineId) -> Self {
        Self {
            size,
            timeline,
            position: segment_start.segment_start(size),
            page: Page::BEGIN,
            log: Log::default(),
            records: Records::new(first_record),
            failure: None,
        }
    }

    /// Takes no other cluster's WAL. Without this, all of it must be of the same cluster.
    pub fn expect_system_id(mut self, system_id: SystemId) -> Self {
        self.log.system_id = Some(system_id);
        self
    }

    /// Ends the check with the record that reaches `end`. In files that a server used before there may be anything
    /// after it.
    pub fn until(mut self, end: Lsn) -> Self {
        self.records.stop_at(end);
        self
    }

    /// Lets the pages that follow belong to a newer timeline: the next bytes are those of a segment of it.
    pub fn follow(&mut self, timeline: TimelineId) {
        self.timeline = timeline;
    }

    /// Takes in the bytes that follow those before. After an error there is only that error.
    ///
    /// That the log stops somewhere is none: compare [`Self::end_of_records`]. Neither are zeros where the next
    /// record would begin, with nothing but zeros after them.
    pub fn push(&mut self, data: &[u8]) -> Result<(), WalError> {
        if let Some(error) = &self.failure {
            return Err(error.clone());
        }
        self.take(data).inspect_err(|error| self.failure = Some(error.clone()))
    }

    /// The position after the last byte that was taken in. After an error it is of no use.
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// Where the next record begins, when all before it are complete and sound: the end of the last one, or if a
    /// page ends there and the next header has come, the end of that header. After a segment switch it is the end
    /// of the segment, as soon as that has come. Before the first record it is where that begins.
    pub fn end_of_records(&self) -> Lsn {
        self.records.end()
    }

    /// Where the first complete and sound record begins, once there is one. What lies before it was not checked: the
    /// end of a record that began in another segment.
    pub fn first_record(&self) -> Option<Lsn> {
        self.records.first()
    }

    /// Whether there were zeros where the next record would begin.
    pub fn has_ended(&self) -> bool {
        matches!(self.records.course(), Course::Zeros(_))
    }

    fn take(&mut self, mut rest: &[u8]) -> Result<(), WalError> {
        while !rest.is_empty() {
            let taken = match self.records.course() {
                Course::Enough => rest.len(),
                Course::SkipSegment => self.skip_segment(rest.len()),
                Course::Zeros(at) => check_zeros(rest, at)?,
                Course::Records => self.take_from_page(rest)?,
            };
            rest = &rest[taken..];
            self.position = self.position + taken as u64;
        }
        Ok(())
    }

    /// Passes over what a segment switch leaves unused: zeros since PostgreSQL 11, empty pages before, and anything
    /// if the server crashed while it wrote them. Recovery does not read it.
    fn skip_segment(&mut self, available: usize) -> usize {
        let missing = match self.position.segment_offset(self.size) {
            0 => 0,
            offset => self.size.as_u64() - offset,
        };
        if missing <= available as u64 {
            self.records.segment_skipped(self.position + missing);
            self.page = Page::BEGIN;
        }
        missing.min(available as u64) as usize
    }

    fn take_from_page(&mut self, data: &[u8]) -> Result<usize, WalError> {
        match self.page {
            Page::Header { bytes, gathered } => self.take_header(bytes, gathered, data),
            Page::Content { missing, format } => {
                let length = data.len().min(missing as usize);
                self.take_content(self.position, &data[..length], missing, format)
            }
        }
    }

    /// Takes in bytes of a header, and reads it once it is complete. `gathered` of them are there.
    fn take_header(
        &mut self,
        mut bytes: HeaderBytes,
        gathered: usize,
        data: &[u8],
    ) -> Result<usize, WalError> {
        let at = Lsn::new(self.position.as_u64() - gathered as u64);
        let starts_segment = at.segment_offset(self.size) == 0;
        let wanted = match self.log.format {
            None => bytes.len(),
            Some(format) => format.header_length(starts_segment),
        };
        let taken = data.len().min(wanted - gathered);
        bytes[gathered..gathered + taken].copy_from_slice(&data[..taken]);
        if gathered + taken < wanted {
            self.page = Page::Header { bytes, gathered: gathered + taken };
            return Ok(taken);
        }
        if bytes[..wanted].iter().all(|&byte| byte == 0) && self.records.ends_at(at) {
            return Ok(taken);
        }
        let invalid = |reason| WalError::Page { at, reason };
        let format = match self.log.format {
            None => PageFormat::detect(&bytes, self.size).map_err(invalid)?,
            Some(format) => format,
        };
        let header = format.parse(&bytes, starts_segment.then_some(self.size)).map_err(invalid)?;
        self.log.check(&header, at, self.timeline).map_err(invalid)?;
        self.log.format = Some(format);
        let length = format.header_length(starts_segment);
        let (content, page_end) = (at + length as u64, at + u64::from(format.page_size()));
        self.records.page(&header, content, page_end, format).map_err(invalid)?;
        // The header that tells the format can be shorter than what it took to know that.
        self.take_content(content, &bytes[length..wanted], format.page_size() - length as u32, format)?;
        Ok(taken)
    }

    /// Takes in bytes of a page of which so many are missing.
    fn take_content(
        &mut self,
        at: Lsn,
        data: &[u8],
        missing: u32,
        format: PageFormat,
    ) -> Result<usize, WalError> {
        let left = self.records.take(at, data, format)?;
        let taken = data.len() - left.len();
        self.page = match missing - taken as u32 {
            0 => Page::BEGIN,
            missing => Page::Content { missing, format },
        };
        Ok(taken)
    }
}

impl Page {
    /// Nothing of it is there.
    const BEGIN: Self = Self::Header { bytes: [0; 40], gathered: 0 };
}

impl Log {
    /// Whether a page can be the one at this position of a timeline.
    fn check(&mut self, header: &PageHeader, at: Lsn, timeline: TimelineId) -> Result<(), PageFault> {
        if header.address != at {
            return Err(PageFault::Address(header.address));
        }
        if let Some(found) = header.system_id
            && *self.system_id.get_or_insert(found) != found
        {
            return Err(PageFault::SystemId(found));
        }
        if header.timeline > timeline || self.timeline.is_some_and(|before| header.timeline < before) {
            return Err(PageFault::Timeline(header.timeline.as_u32()));
        }
        self.timeline = Some(header.timeline);
        Ok(())
    }
}

/// Compares many bytes at a time: the rest of a segment can be zeros.
fn check_zeros(data: &[u8], end: Lsn) -> Result<usize, WalError> {
    const ZEROS: [u8; 512] = [0; 512];
    if data.chunks(ZEROS.len()).any(|bytes| *bytes != ZEROS[..bytes.len()]) {
        return Err(WalError::Record { at: end, reason: RecordFault::AfterEnd });
    }
    Ok(data.len())
}

#[cfg(test)]
mod tests;
