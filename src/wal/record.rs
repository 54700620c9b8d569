//! Records: from the bytes between page headers to how far they are sound.
//!
//! In come page headers and the bytes between them, in order; out comes the end of the last sound record, or
//! the first one that is damaged. The checksum of a record covers its body first, so the body is summed up while
//! it passes, and no more than the 24 bytes of one header is held, whatever length a record claims to have.
//!
//! | offset | size | field | |
//! |---|---|---|---|
//! | 0 | 4 | `xl_tot_len` | the length of the record, this header included |
//! | 4 | 4 | `xl_xid` | the transaction |
//! | 8 | 8 | `xl_prev` | where the record before begins |
//! | 16 | 1 | `xl_info` | the kind of record, in the high four bits |
//! | 17 | 1 | `xl_rmid` | the resource manager |
//! | 20 | 4 | `xl_crc` | CRC-32C of the body and of the 20 bytes before this field |

use super::error::{PageFault, RecordFault, WalError};
use super::page_header::{PageFormat, PageHeader};
use crate::types::{Crc32c, Lsn};

const LENGTH: usize = 4;
const HEADER: usize = 24;
const CHECKSUM_AT: usize = 20;

/// The resource manager of the log itself, and its record after which the rest of the segment is unused.
const RM_XLOG_ID: u8 = 0;
const XLOG_SWITCH: u8 = 0x40;
const KIND: u8 = 0xF0;

/// The records of a log, as far as they have come.
#[derive(Clone, Debug)]
pub(super) struct Records {
    stage: Stage,
    /// Of that part of the record's body which has passed.
    crc: Crc32c,
    /// Where the first complete record begins.
    first: Option<Lsn>,
    /// Where the last complete record begins.
    previous: Option<Lsn>,
    /// Up to where records are complete and sound.
    end: Lsn,
    /// Where nothing more is of interest.
    enough: Option<Lsn>,
}

#[derive(Clone, Debug)]
enum Stage {
    /// What comes before [`Records::end`] is not looked at. Where that is the start of a page or within its
    /// header, the page tells where the first record begins.
    Before,
    /// A record begins after this many bytes, at most 7.
    Between { padding: usize },
    /// Some bytes of a record's header are there, fewer than all.
    Header { at: Lsn, bytes: [u8; HEADER], gathered: usize },
    /// The header is there and so many bytes are missing, at least 1.
    Body { record: RecordHeader, missing: u32 },
    /// A record said that nothing follows in its segment.
    Switched,
    /// There is no record where one could begin.
    Ended { at: Lsn },
}

#[derive(Clone, Copy, Debug)]
struct RecordHeader {
    at: Lsn,
    bytes: [u8; HEADER],
}

/// What is to be done with the bytes that come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// There are pages with records.
    Records,
    /// The rest of the segment is unused.
    SkipSegment,
    /// The log has ended at this place, and there are only zeros.
    Zeros(Lsn),
    /// Nothing more is of interest.
    Enough,
}

impl Records {
    /// Records from `first` on.
    pub(super) fn new(first: Lsn) -> Self {
        let (stage, crc) = (Stage::Before, Crc32c::new());
        Self { stage, crc, first: None, previous: None, end: first, enough: None }
    }

    pub(super) fn end(&self) -> Lsn {
        self.end
    }

    pub(super) fn first(&self) -> Option<Lsn> {
        self.first
    }

    /// Nothing is looked at beyond the record that reaches this position.
    pub(super) fn stop_at(&mut self, enough: Lsn) {
        self.enough = Some(enough);
    }

    pub(super) fn course(&self) -> Course {
        match self.stage {
            _ if self.enough.is_some_and(|enough| self.end >= enough) => Course::Enough,
            Stage::Switched => Course::SkipSegment,
            Stage::Ended { at } => Course::Zeros(at),
            _ => Course::Records,
        }
    }

    /// The unused rest of a segment has passed.
    pub(super) fn segment_skipped(&mut self, end: Lsn) {
        self.end = end;
        self.stage = Stage::Between { padding: 0 };
    }

    /// There is an empty page at this position. Says whether that can be: where no record goes on.
    pub(super) fn ends_at(&mut self, position: Lsn) -> bool {
        let between = matches!(self.stage, Stage::Between { .. });
        if between {
            self.stage = Stage::Ended { at: position };
        }
        between
    }

    /// A page begins whose content lies between these positions.
    pub(super) fn page(
        &mut self,
        header: &PageHeader,
        content: Lsn,
        page_end: Lsn,
        format: PageFormat,
    ) -> Result<(), PageFault> {
        match (&self.stage, header.continued) {
            (Stage::Before, continued) => {
                if self.end < content {
                    let first = format.aligned(content + u64::from(continued.unwrap_or(0)));
                    self.end = first.min(page_end);
                }
                return Ok(());
            }
            (Stage::Switched | Stage::Ended { .. }, _) => return Ok(()),
            (Stage::Between { .. }, Some(_)) => return Err(PageFault::NothingToContinue),
            (Stage::Between { .. }, None) => self.end = content,
            (Stage::Header { .. } | Stage::Body { .. }, _) if header.overwrites => {
                self.stage = Stage::Between { padding: 0 };
            }
            (&Stage::Header { at, .. } | &Stage::Body { record: RecordHeader { at, .. }, .. }, None) => {
                return Err(PageFault::NotContinued(at));
            }
            (Stage::Header { bytes, gathered, .. }, Some(found)) => {
                // A header that has begun holds the length, for no page ends within it, and it is not below 24.
                check_continuation(found, format.u32(bytes, 0).saturating_sub(*gathered as u32))?;
            }
            (&Stage::Body { missing, .. }, Some(found)) => check_continuation(found, missing)?,
        }
        Ok(())
    }

    /// Takes in bytes of one page that follow those before, and gives back those that are not records.
    pub(super) fn take<'d>(
        &mut self,
        mut position: Lsn,
        mut data: &'d [u8],
        format: PageFormat,
    ) -> Result<&'d [u8], WalError> {
        while !data.is_empty() && self.course() == Course::Records {
            let taken = match self.take_record(position, data, format)? {
                Some(taken) => taken,
                None => self.step(position, data, format)?,
            };
            data = &data[taken..];
            position = position + taken as u64;
        }
        Ok(data)
    }

    /// Takes in a record that lies before us whole, as most do, with the padding before it, and gives the number of
    /// bytes. It is what several steps would do.
    fn take_record(
        &mut self,
        position: Lsn,
        data: &[u8],
        format: PageFormat,
    ) -> Result<Option<usize>, WalError> {
        let Stage::Between { padding } = self.stage else { return Ok(None) };
        let begun = data.get(padding..).and_then(<[u8]>::split_first_chunk::<HEADER>);
        let Some((&bytes, rest)) = begun else { return Ok(None) };
        let record = RecordHeader { at: position + padding as u64, bytes };
        let length = (record.length(format) as usize).checked_sub(HEADER);
        let Some(body) = length.and_then(|length| rest.get(..length)) else { return Ok(None) };
        self.check_link(record, format)?;
        let taken = padding + HEADER + body.len();
        self.crc.restart();
        self.crc.update(body);
        self.complete(record, position + taken as u64, format)?;
        Ok(Some(taken))
    }

    /// Does what comes next, and gives the number of bytes that it took.
    fn step(&mut self, position: Lsn, data: &[u8], format: PageFormat) -> Result<usize, WalError> {
        match &mut self.stage {
            Stage::Before => self.skip(position, data.len(), format),
            Stage::Between { padding: 0 } => {
                self.stage = Stage::Header { at: position, bytes: [0; HEADER], gathered: 0 };
                Ok(0)
            }
            Stage::Between { padding } => {
                let taken = data.len().min(*padding);
                *padding -= taken;
                Ok(taken)
            }
            Stage::Header { at, bytes, gathered } => {
                let wanted = if *gathered < LENGTH { LENGTH } else { HEADER };
                let taken = data.len().min(wanted - *gathered);
                bytes[*gathered..*gathered + taken].copy_from_slice(&data[..taken]);
                *gathered += taken;
                let (record, gathered) = (RecordHeader { at: *at, bytes: *bytes }, *gathered);
                match gathered {
                    LENGTH => self.check_length(record, format)?,
                    HEADER => self.begin_body(record, position + taken as u64, format)?,
                    _ => {}
                }
                Ok(taken)
            }
            Stage::Body { record, missing } => {
                let taken = data.len().min(*missing as usize);
                self.crc.update(&data[..taken]);
                *missing -= taken as u32;
                if *missing == 0 {
                    let record = *record;
                    self.complete(record, position + taken as u64, format)?;
                }
                Ok(taken)
            }
            Stage::Switched | Stage::Ended { .. } => Ok(data.len()),
        }
    }

    /// Skips what comes before the first record.
    fn skip(&mut self, position: Lsn, length: usize, format: PageFormat) -> Result<usize, WalError> {
        let first = self.end;
        let before = first.checked_sub(position).unwrap_or(0);
        if before >= length as u64 {
            return Ok(length);
        }
        if format.aligned(first) != first {
            return Err(WalError::Record { at: first, reason: RecordFault::Misaligned });
        }
        self.stage = Stage::Between { padding: 0 };
        Ok(before as usize)
    }

    fn check_length(&mut self, record: RecordHeader, format: PageFormat) -> Result<(), WalError> {
        match record.length(format) {
            0 => self.stage = Stage::Ended { at: record.at },
            length if (length as usize) < HEADER => {
                return Err(WalError::Record { at: record.at, reason: RecordFault::Length(length) });
            }
            _ => {}
        }
        Ok(())
    }

    /// The header is complete, and the body begins here; without one the record ends here.
    fn begin_body(&mut self, record: RecordHeader, at: Lsn, format: PageFormat) -> Result<(), WalError> {
        self.check_link(record, format)?;
        self.crc.restart();
        match record.length(format) - HEADER as u32 {
            0 => self.complete(record, at, format),
            missing => {
                self.stage = Stage::Body { record, missing };
                Ok(())
            }
        }
    }

    /// Each record names the one before it, the first one that is looked at any.
    fn check_link(&self, record: RecordHeader, format: PageFormat) -> Result<(), WalError> {
        let link = Lsn::new(format.u64(&record.bytes, 8));
        if self.previous.map_or(link >= record.at, |previous| link != previous) {
            return Err(WalError::Record { at: record.at, reason: RecordFault::PreviousRecord(link) });
        }
        Ok(())
    }

    /// The last byte of the record has passed, and its body was summed up.
    fn complete(&mut self, record: RecordHeader, end: Lsn, format: PageFormat) -> Result<(), WalError> {
        self.crc.update(&record.bytes[..CHECKSUM_AT]);
        if self.crc.value() != format.u32(&record.bytes, CHECKSUM_AT) {
            return Err(WalError::Record { at: record.at, reason: RecordFault::Checksum });
        }
        self.first = self.first.or(Some(record.at));
        self.previous = Some(record.at);
        self.end = format.aligned(end);
        self.stage = if record.is_switch() {
            Stage::Switched
        } else {
            Stage::Between { padding: (self.end.as_u64() - end.as_u64()) as usize }
        };
        Ok(())
    }
}

impl RecordHeader {
    fn length(&self, format: PageFormat) -> u32 {
        format.u32(&self.bytes, 0)
    }

    fn is_switch(&self) -> bool {
        let [info, resource_manager] = [self.bytes[16], self.bytes[17]];
        resource_manager == RM_XLOG_ID && info & KIND == XLOG_SWITCH
    }
}

fn check_continuation(found: u32, expected: u32) -> Result<(), PageFault> {
    if found == expected { Ok(()) } else { Err(PageFault::Continuation { found, expected }) }
}
