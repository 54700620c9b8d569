//! What a status file says of a receiver.
//!
//! In: events. Out: a JSON document. Nothing outside is touched but the clock.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::receive::Event;
use crate::types::{Lsn, TimelineId, WithCauses};

/// What a receiver does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has no connection yet, or makes a new one.
    Connecting,
    Streaming,
    /// It waits before it makes a new connection.
    Waiting,
    /// It has ended in good order.
    Stopped,
    /// It has ended otherwise.
    Failed,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Streaming => "streaming",
            Self::Waiting => "waiting",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// The state of a receiver.
#[derive(Clone, Debug)]
pub(super) struct ReceiverStatus {
    pub(super) state: State,
    /// The timeline that is received, with the end of what came and of what is durable.
    position: Option<(TimelineId, Lsn, Lsn)>,
    failed_attempts: u64,
    last_error: Option<(String, SystemTime)>,
    started: SystemTime,
    /// When the stream that is under way began.
    streaming_since: Option<SystemTime>,
}

impl Default for ReceiverStatus {
    fn default() -> Self {
        Self {
            state: State::Connecting,
            position: None,
            failed_attempts: 0,
            last_error: None,
            started: SystemTime::now(),
            streaming_since: None,
        }
    }
}

impl ReceiverStatus {
    /// Takes in what happened.
    pub(super) fn note(&mut self, event: &Event<'_>) {
        match *event {
            Event::Starting { position, timeline } => {
                self.state = State::Streaming;
                self.streaming_since = Some(SystemTime::now());
                self.position = Some((timeline, position, position));
            }
            Event::Progress { timeline, received, flushed } => {
                self.position = Some((timeline, received, flushed));
            }
            Event::SegmentFinished { end, timeline } => match &mut self.position {
                Some((current, received, flushed)) if *current == timeline => {
                    *received = end.max(*received);
                    *flushed = end.max(*flushed);
                }
                _ => {}
            },
            Event::TimelineSwitched { timeline, position } => {
                self.position = Some((timeline, position, position));
            }
            Event::Failed(error) => {
                self.state = State::Connecting;
                self.failed(WithCauses(error).to_string());
            }
            Event::Disconnected { .. } => self.state = State::Waiting,
            _ => {}
        }
    }

    /// Takes in that an attempt has failed.
    pub(super) fn failed(&mut self, text: String) {
        self.failed_attempts += 1;
        self.last_error = Some((text, SystemTime::now()));
        self.streaming_since = None;
    }

    /// The document, with a line for each value. Times are seconds since 1970; what is not known is null.
    pub(super) fn to_json(&self) -> String {
        let time = |time: Option<SystemTime>| time.map_or_else(null, seconds);
        let lsn = |lsn: Option<Lsn>| lsn.map_or_else(null, |lsn| string(&lsn.to_string()));
        let error = self.last_error.as_ref();
        let fields = [
            ("state", string(self.state.name())),
            ("timeline", self.position.map_or_else(null, |(timeline, ..)| timeline.to_string())),
            ("received", lsn(self.position.map(|(_, received, _)| received))),
            ("flushed", lsn(self.position.map(|(.., flushed)| flushed))),
            ("failed_attempts", self.failed_attempts.to_string()),
            ("last_error", error.map_or_else(null, |(text, _)| string(text))),
            ("last_error_at", time(error.map(|&(_, at)| at))),
            ("streaming_since", time(self.streaming_since)),
            ("started_at", seconds(self.started)),
            ("written_at", seconds(SystemTime::now())),
            ("pid", std::process::id().to_string()),
        ];
        let lines: Vec<_> = fields.iter().map(|(name, value)| format!("  \"{name}\": {value}")).collect();
        format!("{{\n{}\n}}\n", lines.join(",\n"))
    }
}

fn null() -> String {
    "null".to_owned()
}

fn seconds(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:03}", since.as_secs(), since.subsec_millis())
}

fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive::ReceiveError;

    fn value(status: &ReceiverStatus, name: &str) -> serde_json::Value {
        let document: serde_json::Value = serde_json::from_str(&status.to_json()).unwrap();
        document[name].clone()
    }

    #[test]
    fn what_happens_is_found_in_the_document() {
        let mut status = ReceiverStatus::default();
        let all = |status: &ReceiverStatus| {
            ["state", "timeline", "received", "flushed", "failed_attempts", "last_error"]
                .map(|name| value(status, name).to_string())
        };
        assert_eq!(all(&status), ["\"connecting\"", "null", "null", "null", "0", "null"]);
        let (timeline, position) = (TimelineId::FIRST, Lsn::new(0x300_0000));
        status.note(&Event::Starting { position, timeline });
        let streaming = ["\"streaming\"", "1", "\"0/3000000\"", "\"0/3000000\"", "0", "null"];
        assert_eq!(all(&status), streaming);
        assert!(value(&status, "streaming_since").is_f64());
        status.note(&Event::Progress { timeline, received: position + 0x10, flushed: position + 8 });
        assert_eq!(all(&status)[2..4], ["\"0/3000010\"", "\"0/3000008\""]);
        status.note(&Event::SegmentFinished { end: position + 0x10_0000, timeline });
        assert_eq!(all(&status)[2..4], ["\"0/3100000\"", "\"0/3100000\""]);
        status.note(&Event::Failed(&ReceiveError::Terminated));
        status.note(&Event::Disconnected { retry_in: std::time::Duration::ZERO });
        assert_eq!(value(&status, "state"), "waiting");
        assert_eq!(value(&status, "failed_attempts"), 1);
        assert_eq!(value(&status, "last_error"), "replication stream was terminated before stop point");
        assert!(value(&status, "last_error_at").is_f64() && value(&status, "streaming_since").is_null());
    }

    #[test]
    fn any_error_is_text_of_the_document() {
        let mut status = ReceiverStatus::default();
        let text = "a \"b\" \\ c\n\td\u{1}\u{7f} ü";
        status.failed(text.to_owned());
        assert_eq!(value(&status, "last_error"), text);
    }
}
