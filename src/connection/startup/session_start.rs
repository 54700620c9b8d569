//! What a session reports of itself: its parameters and its backend. Sans-I/O.

use bytes::{Buf, Bytes};

use super::super::frame::Message;
use super::super::startup_error::StartupError;
use crate::conninfo::ProtocolVersion;

/// The parameters that a client acts upon. A server may report others, as many as it likes.
const KEPT_PARAMETERS: [&str; 4] =
    ["server_version", "integer_datetimes", "in_hot_standby", "default_transaction_read_only"];

/// The length of a cancel key under protocol 3.0, and the least under 3.2.
const SHORT_KEY: usize = 4;

/// The most under 3.2.
const LONGEST_KEY: usize = 256;

/// What a session reported of itself.
#[derive(Clone, Debug, Default)]
pub(in crate::connection) struct SessionStart {
    /// Names and latest values of [`KEPT_PARAMETERS`].
    parameters: Vec<(String, String)>,
    /// The process id of the backend, from `BackendKeyData`.
    pub(in crate::connection) backend_pid: Option<u32>,
}

impl SessionStart {
    /// The latest value of a parameter that is kept, if the server reported it.
    pub(in crate::connection) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Takes a `ParameterStatus` in, which may come at any time.
    pub(in crate::connection) fn report(&mut self, message: &Message) -> Result<(), StartupError> {
        let (name, value) = parse_parameter(&message.body).ok_or_else(|| disagreeing_length(message.tag))?;
        if KEPT_PARAMETERS.contains(&name.as_str()) {
            self.parameters.retain(|(key, _)| *key != name);
            self.parameters.push((name, value));
        }
        Ok(())
    }

    /// Takes a `BackendKeyData` in. The key is checked and dropped: no request is ever cancelled.
    pub(super) fn identify(&mut self, mut body: Bytes, version: ProtocolVersion) -> Result<(), StartupError> {
        check_key_length(body.len(), version)?;
        self.backend_pid = body.try_get_u32().ok();
        Ok(())
    }
}

/// What is wrong with a message whose fields end before or after it does.
pub(super) fn disagreeing_length(tag: u8) -> StartupError {
    let tag = tag.escape_ascii();
    StartupError::Protocol(format!("message contents do not agree with length in message type \"{tag}\""))
}

/// Name, NUL, value, NUL.
fn parse_parameter(body: &[u8]) -> Option<(String, String)> {
    let mut texts = body.strip_suffix(b"\0")?.split(|&byte| byte == 0);
    let mut text = || texts.next().map(|text| String::from_utf8_lossy(text).into_owned());
    let parameter = (text()?, text()?);
    texts.next().is_none().then_some(parameter)
}

/// The body is a process id of four bytes and the key (CN-219).
fn check_key_length(body: usize, version: ProtocolVersion) -> Result<(), StartupError> {
    let refuse = |length: String| {
        Err(StartupError::Protocol(format!(
            "received invalid BackendKeyData message: cancel key with length {length}"
        )))
    };
    match (body.checked_sub(size_of::<u32>()), version) {
        (Some(SHORT_KEY), ProtocolVersion::V3_0) | (Some(SHORT_KEY..=LONGEST_KEY), ProtocolVersion::V3_2) => {
            Ok(())
        }
        (Some(length), ProtocolVersion::V3_0) => {
            refuse(format!("{length} not allowed in protocol version 3.0 (must be {SHORT_KEY} bytes)"))
        }
        (Some(length), ProtocolVersion::V3_2) if length > LONGEST_KEY => {
            refuse(format!("{length} is too long (maximum {LONGEST_KEY} bytes)"))
        }
        (length, _) => {
            refuse(format!("{} is too short (minimum {SHORT_KEY} bytes)", length.unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use ProtocolVersion::{V3_0, V3_2};

    use super::*;

    fn parameter(body: &'static [u8]) -> Message {
        Message { tag: b'S', body: Bytes::from_static(body) }
    }

    #[test]
    fn cn_307_the_latest_value_counts_and_only_what_is_known_is_kept() {
        let mut session = SessionStart::default();
        for body in [&b"in_hot_standby\0on\0"[..], b"in_hot_standby\0off\0", b"anything\0else\0"] {
            session.report(&parameter(body)).unwrap();
        }
        assert_eq!(session.parameter("in_hot_standby"), Some("off"));
        assert_eq!(session.parameters.len(), 1);
    }

    #[test]
    fn cn_307_a_parameter_has_a_name_and_a_value_and_nothing_else() {
        for body in [&b""[..], b"\0", b"no value", b"no value\0", b"no\0end", b"a\0b\0c", b"a\0b\0c\0"] {
            let error = SessionStart::default().report(&parameter(body)).unwrap_err();
            let text = "message contents do not agree with length in message type \"S\"";
            assert_eq!(error.to_string(), text, "{}", body.escape_ascii());
        }
        SessionStart::default().report(&parameter(b"\0\0")).unwrap();
    }

    #[test]
    fn cn_219_the_length_of_a_cancel_key_depends_on_the_version() {
        for (key, version) in [(4, V3_0), (4, V3_2), (5, V3_2), (32, V3_2), (256, V3_2)] {
            let mut session = SessionStart::default();
            session.identify([&[0, 0, 0, 7][..], &vec![1; key]].concat().into(), version).unwrap();
            assert_eq!(session.backend_pid, Some(7));
        }
    }

    #[test]
    fn cn_219_keys_of_other_lengths_are_refused() {
        for (key, version, text) in [
            (0, V3_0, "0 not allowed in protocol version 3.0 (must be 4 bytes)"),
            (5, V3_0, "5 not allowed in protocol version 3.0 (must be 4 bytes)"),
            (256, V3_0, "256 not allowed in protocol version 3.0 (must be 4 bytes)"),
            (0, V3_2, "0 is too short (minimum 4 bytes)"),
            (3, V3_2, "3 is too short (minimum 4 bytes)"),
            (257, V3_2, "257 is too long (maximum 256 bytes)"),
        ] {
            let body = [&[0, 0, 0, 7][..], &vec![1; key]].concat();
            let error = SessionStart::default().identify(body.into(), version).unwrap_err();
            let expected = format!("received invalid BackendKeyData message: cancel key with length {text}");
            assert_eq!(error.to_string(), expected);
        }
        for version in [V3_0, V3_2] {
            assert!(SessionStart::default().identify(Bytes::from_static(b"\0\0\x07"), version).is_err());
        }
    }
}
