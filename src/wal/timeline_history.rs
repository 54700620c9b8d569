//! Reads a timeline history file: the timelines that lead to one, and where each was left.
//!
//! In comes the content of `%08X.history` as a server gave it or a directory holds it; out go entries
//! whose timelines rise. The reader never allocates more than the content is long.
//!
//! ```text
//! file  = *( line LF )
//! line  = parent timeline (decimal) blanks switch point (X/X) [ blanks reason ]
//!       | blanks | blanks "#" comment
//! ```

use crate::types::{Lsn, TimelineId};

/// The way to a timeline, oldest first.
///
/// Invariant: `entries[i].timeline < entries[i + 1].timeline < timeline`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineHistory {
    timeline: TimelineId,
    entries: Vec<HistoryEntry>,
}

/// A timeline that was left for the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The timeline that was left.
    pub timeline: TimelineId,
    /// The position where it was left: its first byte that does not belong to this history.
    pub switch_point: Lsn,
    /// Why, in the server's words; for people.
    pub reason: String,
}

/// The content is no history of that timeline. Lines count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimelineHistoryError {
    /// More bytes than any history has.
    #[error("history file of timeline {timeline} is too long ({length} bytes)")]
    TooLong {
        /// The timeline whose history it should be.
        timeline: TimelineId,
        /// The bytes it has.
        length: usize,
    },
    /// A line without a timeline at its beginning.
    #[error("syntax error in history file of timeline {timeline}, line {line}: expected a timeline")]
    Timeline {
        /// The timeline whose history it should be.
        timeline: TimelineId,
        /// The line.
        line: usize,
    },
    /// A line without a position after the timeline.
    #[error(
        "syntax error in history file of timeline {timeline}, line {line}: \
         expected a write-ahead log switchpoint location"
    )]
    SwitchPoint {
        /// The timeline whose history it should be.
        timeline: TimelineId,
        /// The line.
        line: usize,
    },
    /// A timeline that is not greater than the one before it.
    #[error("invalid history file of timeline {timeline}, line {line}: timelines must rise")]
    NotRising {
        /// The timeline whose history it should be.
        timeline: TimelineId,
        /// The line.
        line: usize,
    },
    /// The last timeline is not less than the one whose history it is.
    #[error("invalid history file of timeline {timeline}: its parents must be less than it")]
    NotLess {
        /// The timeline whose history it should be.
        timeline: TimelineId,
    },
}

impl TimelineHistory {
    /// The longest content that is read. A line has some 80 bytes, so this is for more than ten
    /// thousand promotions.
    pub const LONGEST: usize = 1 << 20;

    /// The history of the timeline that `initdb` begins with: nothing leads to it.
    pub const fn of_first() -> Self {
        Self { timeline: TimelineId::FIRST, entries: Vec::new() }
    }

    /// Reads the history of `timeline`.
    pub fn parse(timeline: TimelineId, content: &[u8]) -> Result<Self, TimelineHistoryError> {
        if content.len() > Self::LONGEST {
            return Err(TimelineHistoryError::TooLong { timeline, length: content.len() });
        }
        let mut entries: Vec<HistoryEntry> = Vec::new();
        for (index, text) in content.split(|&byte| byte == b'\n').enumerate() {
            let line = index + 1;
            let text = text.trim_ascii();
            if text.is_empty() || text[0] == b'#' {
                continue;
            }
            let entry = parse_line(timeline, line, text)?;
            if entries.last().is_some_and(|last| last.timeline >= entry.timeline) {
                return Err(TimelineHistoryError::NotRising { timeline, line });
            }
            entries.push(entry);
        }
        if entries.last().is_some_and(|last| last.timeline >= timeline) {
            return Err(TimelineHistoryError::NotLess { timeline });
        }
        Ok(Self { timeline, entries })
    }

    /// The timeline whose history this is.
    pub fn timeline(&self) -> TimelineId {
        self.timeline
    }

    /// The timelines that lead to it, oldest first.
    pub fn entries(&self) -> &[HistoryEntry] {
        &self.entries
    }

    /// Where `timeline` was left on the way to this one; nothing if it is not on the way.
    pub fn switch_point(&self, timeline: TimelineId) -> Option<Lsn> {
        self.entries.iter().find(|entry| entry.timeline == timeline).map(|entry| entry.switch_point)
    }

    /// The timeline on the way to this one that the byte at `position` belongs to.
    pub fn timeline_at(&self, position: Lsn) -> TimelineId {
        let left_later = self.entries.iter().find(|entry| entry.switch_point > position);
        left_later.map_or(self.timeline, |entry| entry.timeline)
    }

    /// The timeline that follows `timeline` on the way to this one; nothing if that is not on the way.
    pub fn next_after(&self, timeline: TimelineId) -> Option<TimelineId> {
        let left = self.entries.iter().position(|entry| entry.timeline == timeline)?;
        Some(self.entries.get(left + 1).map_or(self.timeline, |entry| entry.timeline))
    }
}

fn parse_line(timeline: TimelineId, line: usize, text: &[u8]) -> Result<HistoryEntry, TimelineHistoryError> {
    let (parent, rest) = split_word(text);
    let parent = word_as(parent).ok_or(TimelineHistoryError::Timeline { timeline, line })?;
    let (switch_point, reason) = split_word(rest);
    let switch_point = word_as(switch_point).ok_or(TimelineHistoryError::SwitchPoint { timeline, line })?;
    Ok(HistoryEntry { timeline: parent, switch_point, reason: String::from_utf8_lossy(reason).into_owned() })
}

/// The first word, and what follows the blanks after it.
fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    (&text[..end], text[end..].trim_ascii_start())
}

fn word_as<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;

    fn timeline(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    #[test]
    fn rw_173_a_history_of_two_promotions() {
        let content = b"1\t0/30000D8\tno recovery target specified\n\n2\t16/B374D848\tbefore 2000-01-01\n";
        let history = TimelineHistory::parse(timeline(3), content).unwrap();
        assert_eq!(
            history.entries(),
            [
                HistoryEntry {
                    timeline: timeline(1),
                    switch_point: "0/30000D8".parse().unwrap(),
                    reason: "no recovery target specified".to_owned(),
                },
                HistoryEntry {
                    timeline: timeline(2),
                    switch_point: "16/B374D848".parse().unwrap(),
                    reason: "before 2000-01-01".to_owned(),
                },
            ]
        );
        assert_eq!(history.switch_point(timeline(1)), Some("0/30000D8".parse().unwrap()));
        assert_eq!(history.switch_point(timeline(3)), None);
        assert_eq!(history.next_after(timeline(1)), Some(timeline(2)));
        assert_eq!(history.next_after(timeline(2)), Some(timeline(3)));
        assert_eq!(history.next_after(timeline(3)), None);
        assert_eq!(TimelineHistory::of_first().next_after(timeline(1)), None);
        for (position, expected) in
            [("0/30000D7", 1), ("0/30000D8", 2), ("16/B374D847", 2), ("16/B374D848", 3), ("FF/0", 3)]
        {
            assert_eq!(history.timeline_at(position.parse().unwrap()), timeline(expected), "{position}");
        }
    }

    #[test]
    fn comments_blanks_and_strange_bytes_are_tolerated() {
        let content = b"# by hand\n \t\n  # more\n\t1  0/1\r\n2 0/2 \xFF\xFE";
        let history = TimelineHistory::parse(timeline(4), content).unwrap();
        let timelines: Vec<_> = history.entries().iter().map(|entry| entry.timeline.as_u32()).collect();
        assert_eq!(timelines, [1, 2]);
        assert_eq!(history.entries()[0].reason, "");
        assert_eq!(history.entries()[1].reason, "\u{FFFD}\u{FFFD}");
        assert_eq!(TimelineHistory::parse(timeline(2), b"").unwrap().entries(), []);
    }

    #[test]
    fn what_is_no_history_is_refused() {
        let of = timeline(5);
        let table: [(&[u8], TimelineHistoryError); 6] = [
            (b"x 0/1", TimelineHistoryError::Timeline { timeline: of, line: 1 }),
            (b"\n0 0/1", TimelineHistoryError::Timeline { timeline: of, line: 2 }),
            (b"1", TimelineHistoryError::SwitchPoint { timeline: of, line: 1 }),
            (b"1 0x1", TimelineHistoryError::SwitchPoint { timeline: of, line: 1 }),
            (b"2 0/1\n2 0/2", TimelineHistoryError::NotRising { timeline: of, line: 2 }),
            (b"5 0/1", TimelineHistoryError::NotLess { timeline: of }),
        ];
        for (content, error) in table {
            assert_eq!(TimelineHistory::parse(of, content), Err(error), "{:?}", content.escape_ascii());
        }
        let long = vec![b'\n'; TimelineHistory::LONGEST + 1];
        assert!(matches!(TimelineHistory::parse(of, &long), Err(TimelineHistoryError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn any_content_is_read_or_refused(content: Vec<u8>) {
            let _ = TimelineHistory::parse(timeline(9), &content);
        }

        #[test]
        fn what_is_written_is_read(
            steps in proptest::collection::vec((1u32..100, any::<u64>(), "[a-z][a-z ]{0,20}[a-z]"), 0..20)
        ) {
            let (mut number, mut content, mut expected) = (0, String::new(), Vec::new());
            for (step, lsn, reason) in steps {
                number += step;
                let entry = HistoryEntry { timeline: timeline(number), switch_point: Lsn::new(lsn), reason };
                writeln!(content, "{}\t{}\t{}", entry.timeline, entry.switch_point, entry.reason).unwrap();
                expected.push(entry);
            }
            let history = TimelineHistory::parse(timeline(number + 1), content.as_bytes()).unwrap();
            prop_assert_eq!(history.entries(), expected);
        }
    }
}
