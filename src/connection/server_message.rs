//! Errors and notices of the server, with every field.

use std::fmt;

use bytes::{Buf, Bytes};

/// An `ErrorResponse` or `NoticeResponse`.
///
/// `Display` shows it as libpq does: `SEVERITY:  message`, then lines for detail, hint, query and, for
/// errors, context (CN-285 … CN-292). There is no newline at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerMessage {
    fields: Vec<(u8, String)>,
    is_error: bool,
}

/// The SQLSTATE codes that this program acts upon.
pub mod sqlstate {
    /// Pages of the backup failed the verification of their checksums.
    pub const DATA_CORRUPTED: &str = "XX001";
    /// There is a replication slot of that name already.
    pub const DUPLICATE_OBJECT: &str = "42710";
    /// What is named does not exist, such as a replication slot.
    pub const UNDEFINED_OBJECT: &str = "42704";
    /// The server is starting up or shutting down.
    pub const CANNOT_CONNECT_NOW: &str = "57P03";
    /// The password is wrong.
    pub const INVALID_PASSWORD: &str = "28P01";
    /// No `pg_hba.conf` line, or a role that may not log in.
    pub const INVALID_AUTHORIZATION: &str = "28000";
    /// The role lacks an attribute, such as REPLICATION.
    pub const INSUFFICIENT_PRIVILEGE: &str = "42501";
    /// All connections, or all WAL senders, are in use.
    pub const TOO_MANY_CONNECTIONS: &str = "53300";
    /// What is asked for is not in a state that allows it.
    pub const OBJECT_NOT_IN_PREREQUISITE_STATE: &str = "55000";
    /// A slot is in use, perhaps by a process of the server that has not noticed yet that its client is gone.
    pub const OBJECT_IN_USE: &str = "55006";
    /// The server's disk is full.
    pub const DISK_FULL: &str = "53100";
    /// A file is not there; of a WAL stream one that was removed.
    pub const UNDEFINED_FILE: &str = "58P01";
    /// How a server refuses to create a replication slot before it has begun to: the name is taken, or none; the command
    /// has an error; the role may not; there are too many; the server's settings forbid it; it cannot do that.
    pub const REFUSALS_OF_A_SLOT: [&str; 8] = [
        DUPLICATE_OBJECT,
        "42602",
        "42622",
        "42601",
        INSUFFICIENT_PRIVILEGE,
        "53400",
        OBJECT_NOT_IN_PREREQUISITE_STATE,
        "0A000",
    ];
}

impl ServerMessage {
    pub(super) fn parse_error(body: Bytes) -> Self {
        Self { fields: parse_fields(body), is_error: true }
    }

    pub(super) fn parse_notice(body: Bytes) -> Self {
        Self { fields: parse_fields(body), is_error: false }
    }

    /// The field with that code of the protocol, if the server sent it.
    pub fn field(&self, code: u8) -> Option<&str> {
        self.fields.iter().find(|(field, _)| *field == code).map(|(_, text)| text.as_str())
    }

    /// The severity in the server's language.
    pub fn severity(&self) -> &str {
        self.field(b'S').unwrap_or("")
    }

    /// Whether the server may well do later what it refuses now, without anybody looking after it: it starts, stops,
    /// is too busy, or was told to break off.
    pub fn is_of_the_moment(&self) -> bool {
        match self.sqlstate() {
            sqlstate::DISK_FULL => false,
            sqlstate::OBJECT_IN_USE => true,
            // Class 53: insufficient resources; class 57: operator intervention.
            code if matches!(code.get(..2), Some("53" | "57")) => true,
            // A checkpoint that failed has no code of its own, and its text has a language.
            _ => self.field(b'R') == Some("RequestCheckpoint"),
        }
    }

    /// The SQLSTATE, empty if there is none.
    pub fn sqlstate(&self) -> &str {
        self.field(b'C').unwrap_or("")
    }

    /// The message proper.
    pub fn message(&self) -> &str {
        self.field(b'M').unwrap_or("")
    }
}

/// A body that breaks off keeps the fields before the break.
fn parse_fields(mut body: Bytes) -> Vec<(u8, String)> {
    let mut fields = Vec::new();
    while let Ok(code @ 1..) = body.try_get_u8() {
        let Some(end) = body.iter().position(|&byte| byte == 0) else { break };
        let text = body.split_to(end);
        body.advance(1);
        fields.push((code, String::from_utf8_lossy(&text).into_owned()));
    }
    fields
}

impl fmt::Display for ServerMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message();
        write!(f, "{}:  {}", self.severity(), message.strip_suffix('\n').unwrap_or(message))?;
        let context = self.is_error.then_some((b'W', "CONTEXT"));
        for (code, label) in [(b'D', "DETAIL"), (b'H', "HINT"), (b'q', "QUERY")].into_iter().chain(context) {
            if let Some(text) = self.field(code) {
                write!(f, "\n{label}:  {}", text.strip_suffix('\n').unwrap_or(text))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ServerMessage {}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"SERROR\0VERROR\0C42501\0Mno\ntwice\n\0Dwhy\0Hdo this\0qSELECT\0Win f\0\0";

    #[test]
    fn cn_285_errors_show_all_their_lines() {
        let error = ServerMessage::parse_error(Bytes::from_static(BODY));
        assert_eq!(
            error.to_string(),
            "ERROR:  no\ntwice\nDETAIL:  why\nHINT:  do this\nQUERY:  SELECT\nCONTEXT:  in f"
        );
        assert_eq!(error.sqlstate(), "42501");
    }

    #[test]
    fn cn_287_notices_show_no_context() {
        let notice = ServerMessage::parse_notice(Bytes::from_static(BODY));
        assert!(!notice.to_string().contains("CONTEXT"));
    }

    #[test]
    fn what_a_server_may_do_later() {
        for (sqlstate, routine, is_of_the_moment) in [
            ("57P03", "ProcessStartupPacket", true),
            ("57P01", "ProcessInterrupts", true),
            ("53300", "InitProcess", true),
            ("53400", "ReplicationSlotCreate", true),
            ("53100", "mdextend", false),
            ("55006", "ReplicationSlotAcquire", true),
            ("XX000", "RequestCheckpoint", true),
            ("XX000", "elog", false),
            ("28P01", "auth_failed", false),
            ("42704", "ReplicationSlotAcquire", false),
            ("", "", false),
        ] {
            let body = format!("SERROR\0C{sqlstate}\0Mx\0R{routine}\0\0");
            let error = ServerMessage::parse_error(Bytes::from(body));
            assert_eq!(error.is_of_the_moment(), is_of_the_moment, "{sqlstate} {routine}");
        }
    }

    #[test]
    fn cn_302_a_body_that_breaks_off_keeps_what_it_had() {
        let error = ServerMessage::parse_error(Bytes::from_static(b"SFATAL\0Mx\0Dcut"));
        assert_eq!(error.to_string(), "FATAL:  x");
        assert_eq!(ServerMessage::parse_error(Bytes::new()).to_string(), ":  ");
    }
}
