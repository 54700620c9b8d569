//! Result sets of replication commands, and the typed values they stand for.

use std::fmt::{self, Write};

use bytes::{Buf, Bytes};

use crate::types::{Lsn, SegmentSize, SystemId, TimelineId};

/// The longest location of a tablespace, in bytes: the longest path that a system takes.
const LONGEST_LOCATION: usize = 4096;

/// The rows that answer one command; values are text, `None` is NULL.
///
/// Invariant: every row has exactly `columns` values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultSet {
    columns: usize,
    rows: Vec<Vec<Option<Bytes>>>,
}

/// A result that is not what the command promises.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResultSetError {
    /// The message is cut short or contradicts itself.
    #[error("malformed result row")]
    Malformed,
    /// The number of rows or columns is wrong.
    #[error("{context} got {rows} rows and {columns} fields, expected {expected}")]
    Shape {
        /// What was asked for, in PostgreSQL's words and with its punctuation.
        context: String,
        /// The rows that came.
        rows: usize,
        /// The columns that came.
        columns: usize,
        /// What should have come.
        expected: &'static str,
    },
    /// A result without any row where at least one must be.
    #[error("{0}")]
    Empty(&'static str),
    /// A value that cannot be read.
    #[error("could not parse {what} \"{}\"", Shown(.value))]
    Value {
        /// What it should be.
        what: &'static str,
        /// The text that came.
        value: String,
    },
    /// The server gave the history of a timeline under another name.
    #[error("server reported unexpected history file name for timeline {timeline}: {}", Shown(.name))]
    HistoryFileName {
        /// The timeline asked for.
        timeline: TimelineId,
        /// The name that came.
        name: String,
    },
    /// The position at which a slot keeps WAL cannot be read (RW-096).
    #[error("could not parse restart_lsn \"{}\" for replication slot \"{slot}\"", Shown(.value))]
    RestartLsn {
        /// The slot's name.
        slot: String,
        /// The text that came.
        value: String,
    },
    /// `wal_segment_size` is no size with a unit.
    #[error("WAL segment size could not be parsed")]
    SegmentSizeText,
    /// `wal_segment_size` is no size that a cluster can have.
    #[error("remote server reported invalid WAL segment size ({0} bytes)")]
    SegmentSize(u64),
    /// `data_directory_mode` is no octal number.
    #[error("group access flag could not be parsed: {}", Shown(.0))]
    DataDirectoryMode(String),
}

/// A value that cannot be trusted, on its way into a message: on one line and not too long.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 200;
        for c in self.0.chars().take(LONGEST) {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { f.write_char(c)? }
        }
        f.write_str(if self.0.chars().nth(LONGEST).is_some() { "…" } else { "" })
    }
}

impl ResultSet {
    /// An empty result with that many columns.
    pub fn new(columns: usize) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Reads the number of columns from the body of a `RowDescription` message.
    pub fn from_row_description(mut body: Bytes) -> Result<Self, ResultSetError> {
        let columns = body.try_get_u16().map_err(|_| ResultSetError::Malformed)?;
        Ok(Self::new(columns.into()))
    }

    /// Adds the row in the body of a `DataRow` message (CN-320).
    pub fn push_row(&mut self, mut body: Bytes) -> Result<(), ResultSetError> {
        let columns = usize::from(body.try_get_u16().map_err(|_| ResultSetError::Malformed)?);
        if columns != self.columns {
            return Err(ResultSetError::Malformed);
        }
        // Each value has at least its length.
        let mut row = Vec::with_capacity(columns.min(body.len() / size_of::<i32>()));
        for _ in 0..columns {
            row.push(take_value(&mut body)?);
        }
        if !body.is_empty() {
            return Err(ResultSetError::Malformed);
        }
        self.rows.push(row);
        Ok(())
    }

    /// The bytes that a row takes in memory beyond its content.
    pub fn row_overhead(&self) -> usize {
        size_of::<Vec<Option<Bytes>>>() + self.columns * size_of::<Option<Bytes>>()
    }

    /// The number of rows.
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// The number of columns.
    pub(super) fn column_count(&self) -> usize {
        self.columns
    }

    pub(super) fn shape_error(&self, context: impl Into<String>, expected: &'static str) -> ResultSetError {
        ResultSetError::Shape {
            context: context.into(),
            rows: self.rows.len(),
            columns: self.columns,
            expected,
        }
    }

    /// The only row, which has at least `columns` values.
    pub(super) fn single_row(
        &self,
        columns: usize,
        context: impl Into<String>,
        expected: &'static str,
    ) -> Result<&[Option<Bytes>], ResultSetError> {
        match &self.rows[..] {
            [row] if row.len() >= columns => Ok(row),
            _ => Err(self.shape_error(context, expected)),
        }
    }

    /// The value of `SHOW`; `what` names it in the error.
    fn setting(&self, context: &'static str) -> Result<String, ResultSetError> {
        let row = self.single_row(1, context, "1 rows and 1 or more fields")?;
        Ok(text(row[0].as_ref()))
    }

    /// Reads the answer to `SHOW data_directory_mode`: the permission bits (BB-073).
    pub fn data_directory_mode(&self) -> Result<u32, ResultSetError> {
        let value = self.setting("could not fetch group access flag:")?;
        u32::from_str_radix(&value, 8).map_err(|_| ResultSetError::DataDirectoryMode(value))
    }

    /// Reads the answer to `SHOW wal_segment_size` (BB-074).
    pub fn wal_segment_size(&self) -> Result<SegmentSize, ResultSetError> {
        let value = self.setting("could not fetch WAL segment size:")?;
        let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
        let (number, unit) = value.split_at(digits);
        let number: u64 = number.parse().map_err(|_| ResultSetError::SegmentSizeText)?;
        let factor = match unit {
            "MB" => 1 << 20,
            "GB" => 1 << 30,
            _ => 1,
        };
        let bytes = number.checked_mul(factor).ok_or(ResultSetError::SegmentSizeText)?;
        SegmentSize::new(bytes).map_err(|_| ResultSetError::SegmentSize(bytes))
    }

    /// Reads the answer to `SHOW transaction_read_only` (CN-125).
    pub fn transaction_read_only(&self) -> Result<bool, ResultSetError> {
        Ok(self.setting("could not fetch transaction_read_only:")? == "on")
    }

    /// Reads the last result of `BASE_BACKUP` (BB-094).
    pub fn end_point(&self) -> Result<EndPoint, ResultSetError> {
        const NO_END: ResultSetError =
            ResultSetError::Empty("no write-ahead log end position returned from server");
        let row = self.single_row(2, "", "").map_err(|_| NO_END)?;
        Ok(EndPoint { lsn: lsn(row[0].as_ref())?, timeline: timeline(row[1].as_ref())? })
    }

    /// Reads the second result of `BASE_BACKUP`: one row for each tablespace (BB-093).
    pub fn tablespaces(&self) -> Result<Vec<Tablespace>, ResultSetError> {
        if self.rows.is_empty() {
            return Err(ResultSetError::Empty("no data returned from server"));
        }
        if self.columns < 3 {
            return Err(self.shape_error("could not get backup header:", "1 or more rows and 3 fields"));
        }
        self.rows.iter().map(|row| Tablespace::from_row(row)).collect()
    }
}

fn take_value(body: &mut Bytes) -> Result<Option<Bytes>, ResultSetError> {
    let length = body.try_get_i32().map_err(|_| ResultSetError::Malformed)?;
    match usize::try_from(length) {
        Err(_) if length == -1 => Ok(None),
        Ok(length) if length <= body.len() => Ok(Some(body.split_to(length))),
        _ => Err(ResultSetError::Malformed),
    }
}

pub(super) fn text(value: Option<&Bytes>) -> String {
    value.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
}

fn lsn(value: Option<&Bytes>) -> Result<Lsn, ResultSetError> {
    let value = text(value);
    value.parse().map_err(|_| ResultSetError::Value { what: "write-ahead log location", value })
}

pub(super) fn timeline(value: Option<&Bytes>) -> Result<TimelineId, ResultSetError> {
    let value = text(value);
    value.parse().map_err(|_| ResultSetError::Value { what: "timeline", value })
}

/// The answer to `IDENTIFY_SYSTEM` (BB-075).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemIdentity {
    /// The cluster.
    pub system_id: SystemId,
    /// Its current timeline.
    pub timeline: TimelineId,
    /// The position up to which its WAL is flushed.
    pub xlog_position: Lsn,
    /// The database the connection is bound to; none on a physical replication connection.
    pub dbname: Option<String>,
}

impl TryFrom<&ResultSet> for SystemIdentity {
    type Error = ResultSetError;

    fn try_from(result: &ResultSet) -> Result<Self, ResultSetError> {
        let row = result.single_row(3, "could not identify system:", "1 rows and 3 or more fields")?;
        let id = text(row[0].as_ref());
        let system_id =
            id.parse().map_err(|_| ResultSetError::Value { what: "system identifier", value: id })?;
        let dbname = row.get(3).and_then(Option::as_ref).map(|name| text(Some(name)));
        Ok(Self {
            system_id,
            timeline: timeline(row[1].as_ref())?,
            xlog_position: lsn(row[2].as_ref())?,
            dbname,
        })
    }
}

/// The first result of `BASE_BACKUP`: where recovery of the backup starts (BB-092).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartPoint {
    /// The position.
    pub lsn: Lsn,
    /// The timeline it lies on.
    pub timeline: TimelineId,
}

impl TryFrom<&ResultSet> for StartPoint {
    type Error = ResultSetError;

    fn try_from(result: &ResultSet) -> Result<Self, ResultSetError> {
        let context = "server returned unexpected response to BASE_BACKUP command;";
        let row = result.single_row(2, context, "1 rows and 2 fields")?;
        Ok(Self { lsn: lsn(row[0].as_ref())?, timeline: timeline(row[1].as_ref())? })
    }
}

/// The last result of `BASE_BACKUP`: up to where WAL is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndPoint {
    /// The position.
    pub lsn: Lsn,
    /// The timeline it lies on.
    pub timeline: TimelineId,
}

/// A tablespace that is part of a backup; the main data directory counts as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tablespace {
    /// The tablespace's OID; none for the main data directory.
    pub oid: Option<u32>,
    /// Where it lies on the server: absolute, or relative to the data directory, as bytes of a path;
    /// empty for the main data directory.
    pub location: Bytes,
    /// The estimated size in units of 1024 bytes; 0 where no estimate was asked for.
    pub size: u64,
}

impl Tablespace {
    fn from_row(row: &[Option<Bytes>]) -> Result<Self, ResultSetError> {
        let number = |value: &Bytes, what| {
            let value = text(Some(value));
            value.parse::<u64>().map_err(|_| ResultSetError::Value { what, value })
        };
        let oid = row[0].as_ref().map(|oid| number(oid, "tablespace OID")).transpose()?;
        let oid = oid
            .map(|oid| {
                u32::try_from(oid)
                    .map_err(|_| ResultSetError::Value { what: "tablespace OID", value: oid.to_string() })
            })
            .transpose()?;
        let size = row[2].as_ref().map(|size| number(size, "tablespace size")).transpose()?;
        if row[1].as_ref().is_some_and(|location| location.len() > LONGEST_LOCATION) {
            return Err(ResultSetError::Value { what: "tablespace location", value: text(row[1].as_ref()) });
        }
        Ok(Self { oid, location: row[1].clone().unwrap_or_default(), size: size.unwrap_or(0) })
    }
}

/// The answer to `TIMELINE_HISTORY` (BB-183).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineHistoryFile {
    /// The file's name, `%08X.history` of the timeline asked for.
    pub name: String,
    /// The file's bytes.
    pub content: Bytes,
}

impl TimelineHistoryFile {
    /// Reads the answer about `timeline`.
    pub fn from_result(result: &ResultSet, timeline: TimelineId) -> Result<Self, ResultSetError> {
        let context = "unexpected response to TIMELINE_HISTORY command:";
        let row = result.single_row(2, context, "1 rows and 2 fields")?;
        let name = text(row[0].as_ref());
        if name != timeline.history_file_name() {
            return Err(ResultSetError::HistoryFileName { timeline, name });
        }
        Ok(Self { name, content: row[1].clone().unwrap_or_default() })
    }
}

/// Where the log goes on after the end of a historic timeline (RW-179).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextTimeline {
    /// The timeline that follows.
    pub timeline: TimelineId,
    /// The position where it forked off.
    pub start: Lsn,
}

impl TryFrom<&ResultSet> for NextTimeline {
    type Error = ResultSetError;

    fn try_from(result: &ResultSet) -> Result<Self, ResultSetError> {
        let context = "unexpected result set after end-of-timeline:";
        let row = result.single_row(2, context, "1 rows and 2 fields")?;
        let position = text(row[1].as_ref());
        let start = position
            .parse()
            .map_err(|_| ResultSetError::Value { what: "next timeline's starting point", value: position })?;
        Ok(Self { timeline: timeline(row[0].as_ref())?, start })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::{BufMut, BytesMut};
    use proptest::prelude::*;

    use super::*;

    pub(in crate::protocol) fn result(columns: usize, rows: &[&[Option<&str>]]) -> ResultSet {
        let mut set = ResultSet::new(columns);
        for row in rows {
            let mut body = BytesMut::new();
            body.put_u16(row.len() as u16);
            for value in *row {
                body.put_i32(value.map_or(-1, |text| i32::try_from(text.len()).unwrap()));
                body.put_slice(value.unwrap_or("").as_bytes());
            }
            set.push_row(body.freeze()).unwrap();
        }
        set
    }

    #[test]
    fn bb_073_data_directory_mode() {
        assert_eq!(result(1, &[&[Some("0750")]]).data_directory_mode(), Ok(0o750));
        let error = |set: ResultSet| set.data_directory_mode().unwrap_err().to_string();
        assert_eq!(error(result(1, &[&[Some("x")]])), "group access flag could not be parsed: x");
        assert_eq!(
            error(result(1, &[])),
            "could not fetch group access flag: got 0 rows and 1 fields, expected 1 rows and 1 or more fields"
        );
    }

    #[test]
    fn bb_074_wal_segment_size() {
        let size = |text| result(1, &[&[Some(text)]]).wal_segment_size();
        assert_eq!(size("16MB"), Ok(SegmentSize::new(16 << 20).unwrap()));
        assert_eq!(size("1GB"), Ok(SegmentSize::new(1 << 30).unwrap()));
        assert_eq!(size("MB"), Err(ResultSetError::SegmentSizeText));
        assert_eq!(size("3MB"), Err(ResultSetError::SegmentSize(3 << 20)));
        assert_eq!(size("99999999999999999999GB"), Err(ResultSetError::SegmentSizeText));
    }

    #[test]
    fn bb_075_identify_system() {
        let row = [Some("7000000000000000001"), Some("3"), Some("0/3000060"), None];
        let identity = SystemIdentity::try_from(&result(4, &[&row])).unwrap();
        assert_eq!(identity.system_id.as_u64(), 7_000_000_000_000_000_001);
        assert_eq!((identity.timeline.as_u32(), identity.dbname), (3, None));
        let error = SystemIdentity::try_from(&result(4, &[])).unwrap_err().to_string();
        assert_eq!(
            error,
            "could not identify system: got 0 rows and 4 fields, expected 1 rows and 3 or more fields"
        );
    }

    #[test]
    fn bb_092_start_point() {
        let start = StartPoint::try_from(&result(2, &[&[Some("0/2000028"), Some("1")]])).unwrap();
        assert_eq!((start.lsn, start.timeline), (Lsn::new(0x200_0028), TimelineId::FIRST));
        let error = StartPoint::try_from(&result(2, &[])).unwrap_err().to_string();
        assert_eq!(
            error,
            "server returned unexpected response to BASE_BACKUP command; got 0 rows and 2 fields, expected 1 rows and 2 fields"
        );
    }

    #[test]
    fn bb_093_tablespaces() {
        let rows = result(3, &[&[Some("16384"), Some("/ts"), Some("12")], &[None, None, None]]);
        let tablespaces = rows.tablespaces().unwrap();
        assert_eq!(tablespaces[0].oid, Some(16_384));
        assert_eq!(tablespaces[1], Tablespace { oid: None, location: Bytes::new(), size: 0 });
        assert_eq!(result(3, &[]).tablespaces().unwrap_err().to_string(), "no data returned from server");
        assert!(result(3, &[&[Some("99999999999"), None, None]]).tablespaces().is_err());
    }

    #[test]
    fn bb_183_history_file_of_another_timeline_is_refused() {
        let set = result(2, &[&[Some("00000002.history"), Some("1\t0/3000000\tno reason\n")]]);
        assert!(TimelineHistoryFile::from_result(&set, TimelineId::new(2).unwrap()).is_ok());
        let error = TimelineHistoryFile::from_result(&set, TimelineId::new(3).unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "server reported unexpected history file name for timeline 3: 00000002.history"
        );
    }

    #[test]
    fn cn_319_null_and_empty_differ() {
        let set = result(2, &[&[None, Some("")]]);
        assert_eq!(set.rows[0], [None, Some(Bytes::new())]);
    }

    #[test]
    fn cn_320_values_in_messages_are_short_and_on_one_line() {
        let identify = |position: &str| {
            let row = [Some("7000000000000000001"), Some("3"), Some(position)];
            SystemIdentity::try_from(&result(3, &[&row])).unwrap_err().to_string()
        };
        let shown = "could not parse write-ahead log location \"0/\\n\\u{0}\\u{1b}é\"";
        assert_eq!(identify("0/\n\0\u{1b}é"), shown);
        let long = format!("could not parse write-ahead log location \"{}…\"", "é".repeat(200));
        assert_eq!(identify(&"é".repeat(1 << 20)), long);
    }

    proptest! {
        #[test]
        fn cn_320_any_row_is_read_or_refused(columns in 0usize..4, body: Vec<u8>) {
            let mut set = ResultSet::new(columns);
            if set.push_row(body.into()).is_ok() {
                prop_assert_eq!(set.rows[0].len(), columns);
            }
        }
    }
}
