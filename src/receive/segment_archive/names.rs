//! The names of files in an archive: from text to what it says, and back.
//!
//! | name | |
//! |---|---|
//! | `X` | a complete segment; `X` are 24 upper-case hexadecimal digits |
//! | `X.gz`, `X.lz4`, `X.zst` | a complete segment, compressed |
//! | `X.partial`, `X.gz.partial`, … | what came of a segment |
//! | `N.history` | a timeline history; `N` are 8 upper-case hexadecimal digits |
//! | any of these with `.tmp` behind it | on its way to that name |
//!
//! Everything else is no business of an archive (RW-069, RW-070).

use std::fmt;

use crate::compress::Method;
use crate::types::{SegmentSize, WalFileName};

const PARTIAL: &str = ".partial";
const TEMPORARY: &str = ".tmp";
const HISTORY: &str = ".history";

/// How a file keeps a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// How it is compressed, if it is.
    pub(super) method: Option<Method>,
    /// Whether bytes of the segment are missing, as far as the name tells.
    pub(super) is_partial: bool,
}

impl Form {
    pub(super) const RAW: Self = Self { method: None, is_partial: false };
    pub(super) const RAW_PARTIAL: Self = Self { method: None, is_partial: true };

    /// A partial segment in this compression.
    pub(super) const fn partial(method: Option<Method>) -> Self {
        Self { method, is_partial: true }
    }

    fn parse(suffix: &str) -> Option<Self> {
        let (compression, is_partial) = match suffix.strip_suffix(PARTIAL) {
            Some(compression) => (compression, true),
            None => (suffix, false),
        };
        let method = match compression {
            "" => None,
            suffix => Some(Method::ALL.into_iter().find(|method| method.suffix() == suffix)?),
        };
        Some(Self { method, is_partial })
    }
}

/// What stands behind the digits.
impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.method.map_or("", Method::suffix))?;
        f.write_str(if self.is_partial { PARTIAL } else { "" })
    }
}

/// The name of a file that keeps a segment of whatever size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileName {
    /// 24 upper-case hexadecimal digits.
    digits: String,
    pub(super) form: Form,
}

impl FileName {
    /// The file that keeps the segment in this form.
    pub(super) fn of(segment: WalFileName, form: Form) -> Self {
        Self { digits: segment.to_string(), form }
    }

    fn parse(text: &str) -> Option<Self> {
        let (digits, suffix) = split_digits(text, 24)?;
        Some(Self { digits: digits.to_owned(), form: Form::parse(suffix)? })
    }

    /// The segment, if there is one of that size under these digits.
    pub(super) fn segment(&self, size: SegmentSize) -> Option<WalFileName> {
        WalFileName::parse(&self.digits, size).ok()
    }

    /// Greater for what a server wrote later, whatever the size of segments.
    pub(super) fn age(&self) -> (&str, &str) {
        let (timeline, segment) = self.digits.split_at(8);
        (segment, timeline)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.digits, self.form)
    }
}

/// Something that belongs to an archive, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A segment, or a part of one.
    Segment(FileName),
    /// Something on its way to the name of a segment.
    TemporarySegment(FileName),
    /// Something on its way to the name of a timeline history.
    TemporaryHistory,
}

impl Entry {
    /// Tells what the name says.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let Some(target) = text.strip_suffix(TEMPORARY) else {
            return FileName::parse(text).map(Self::Segment);
        };
        match split_digits(target, 8) {
            Some((_, HISTORY)) => Some(Self::TemporaryHistory),
            _ => FileName::parse(target).map(Self::TemporarySegment),
        }
    }
}

/// The name of a file on its way to `name`.
pub(super) fn temporary(name: &str) -> String {
    format!("{name}{TEMPORARY}")
}

fn split_digits(text: &str, count: usize) -> Option<(&str, &str)> {
    let (digits, rest) = text.split_at_checked(count)?;
    let upper_case = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    upper_case.then_some((digits, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Lsn, TimelineId};

    const DIGITS: &str = "00000002000000010000000A";

    fn form(method: Option<Method>, is_partial: bool) -> Form {
        Form { method, is_partial }
    }

    #[test]
    fn rw_069_each_form_of_a_segment_has_its_name() {
        for (suffix, form) in [
            ("", form(None, false)),
            (".partial", form(None, true)),
            (".gz", form(Some(Method::Gzip), false)),
            (".gz.partial", form(Some(Method::Gzip), true)),
            (".lz4", form(Some(Method::Lz4), false)),
            (".lz4.partial", form(Some(Method::Lz4), true)),
            (".zst", form(Some(Method::Zstd), false)),
            (".zst.partial", form(Some(Method::Zstd), true)),
        ] {
            let name = format!("{DIGITS}{suffix}");
            let expected = FileName { digits: DIGITS.to_owned(), form };
            assert_eq!(expected.to_string(), name);
            assert_eq!(Entry::parse(&name), Some(Entry::Segment(expected.clone())));
            assert_eq!(Entry::parse(&temporary(&name)), Some(Entry::TemporarySegment(expected)));
        }
        assert_eq!(Entry::parse("00000002.history.tmp"), Some(Entry::TemporaryHistory));
    }

    #[test]
    fn rw_070_other_names_are_nothing() {
        for name in [
            "",
            ".partial",
            "00000002000000010000000",
            "00000002000000010000000a",
            "00000002000000010000000G",
            "00000002000000010000000A1",
            "00000002000000010000000A.GZ",
            "00000002000000010000000A.bz2",
            "00000002000000010000000A.partial.gz",
            "00000002000000010000000A.partial.partial",
            "00000002000000010000000A.00000028.backup",
            "00000002000000010000000A.tmp.tmp",
            "00000002000000010000000\u{e9}",
            "00000002.history",
            "00000002.history.gz.tmp",
            "0000002.history.tmp",
            "archive_status",
            "postgresql.conf.tmp",
        ] {
            assert_eq!(Entry::parse(name), None, "{name:?}");
        }
    }

    #[test]
    fn rw_231_names_go_on_across_4_gib() {
        let size = SegmentSize::new(16 << 20).unwrap();
        let names = ["0/FF000000", "1/0"].map(|position| {
            let segment = position.parse::<Lsn>().unwrap().segment_number(size);
            let name =
                FileName::of(WalFileName::new(TimelineId::FIRST, segment, size), Form::RAW).to_string();
            let Some(Entry::Segment(file)) = Entry::parse(&name) else { panic!("{name}") };
            assert_eq!(file.segment(size).unwrap().segment(), segment);
            file
        });
        assert_eq!(names[0].to_string(), "0000000100000000000000FF");
        assert_eq!(names[1].to_string(), "000000010000000100000000");
        assert!(names[0].age() < names[1].age());
        assert_eq!(names[0].segment(SegmentSize::new(1 << 30).unwrap()), None);
    }
}
