//! Which version of the protocol a session speaks, and the startup message that asks for it. Sans-I/O.
//!
//! The client names the newest version that it wants. A server that is older answers once with what it has,
//! before anything else. No option of the protocol is ever asked for, so none can be turned down.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::super::startup_error::StartupError;
use crate::conninfo::{Config, ProtocolVersion};

/// There is no such version; a server that names it is broken.
const VERSION_3_1: i32 = 0x0003_0001;

/// The prefix of names of protocol options.
const OPTION_PREFIX: &[u8] = b"_pq_.";

/// The version as both sides write it: major in the upper half, minor in the lower.
const fn code(version: ProtocolVersion) -> i32 {
    match version {
        ProtocolVersion::V3_0 => 0x0003_0000,
        ProtocolVersion::V3_2 => 0x0003_0002,
    }
}

/// The version that is asked for, and the one that it came to.
#[derive(Debug)]
pub(super) struct Negotiation {
    least: ProtocolVersion,
    version: ProtocolVersion,
    is_answered: bool,
}

impl Negotiation {
    pub(super) fn new(config: &Config) -> Self {
        Self { least: config.min_protocol_version, version: config.max_protocol_version, is_answered: false }
    }

    /// The version that is spoken unless the server answers with another.
    pub(super) fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// The startup message; the parameters are names and values in order (CN-207).
    ///
    /// | bytes | field |
    /// |---|---|
    /// | 4 | length, with itself |
    /// | 4 | version |
    /// | … | for each parameter name, NUL, value, NUL |
    /// | 1 | NUL |
    pub(super) fn startup_message(&self, parameters: &[(&str, &str)]) -> Result<BytesMut, StartupError> {
        let mut message = BytesMut::new();
        message.put_i32(0);
        message.put_i32(code(self.version));
        for text in parameters.iter().flat_map(|&(name, value)| [name, value]) {
            if text.contains('\0') {
                return Err(protocol("a value for the server contains a NUL byte"));
            }
            message.put_slice(text.as_bytes());
            message.put_u8(0);
        }
        message.put_u8(0);
        let length = u32::try_from(message.len()).map_err(|_| protocol("the startup message is too long"))?;
        message[..4].copy_from_slice(&length.to_be_bytes());
        Ok(message)
    }

    /// Takes a `NegotiateProtocolVersion` in: the newest version that the server has, a count, and so many
    /// names of options that it does not have (CN-216 … CN-218).
    pub(super) fn answer(&mut self, mut body: Bytes) -> Result<(), StartupError> {
        if std::mem::replace(&mut self.is_answered, true) {
            return Err(protocol("received duplicate protocol negotiation message"));
        }
        let newest = body.try_get_i32().map_err(|_| malformed())?;
        let options = body.try_get_i32().map_err(|_| invalid("message too short"))?;
        self.check_version(newest, options)?;
        if options > 0 {
            return Err(refused_option(&body));
        }
        if !body.is_empty() {
            return Err(malformed());
        }
        self.version = ProtocolVersion::V3_0;
        if self.version < self.least {
            return Err(protocol(
                "server only supports protocol version 3.0, but \"min_protocol_version\" was set to 3.2",
            ));
        }
        Ok(())
    }

    /// What passes is 3.0 after a request for 3.2, or has options that were turned down.
    fn check_version(&self, newest: i32, options: i32) -> Result<(), StartupError> {
        let requested = code(self.version);
        Err(invalid(if newest > requested {
            "server requested downgrade to a higher-numbered version"
        } else if newest < code(ProtocolVersion::V3_0) {
            "server requested downgrade to pre-3.0 protocol version"
        } else if newest == VERSION_3_1 {
            "server requested downgrade to non-existent 3.1 protocol version"
        } else if options < 0 {
            "server reported negative number of unsupported parameters"
        } else if newest == requested && options == 0 {
            "server negotiated but asks for no changes"
        } else {
            return Ok(());
        }))
    }
}

/// The first name is wrong already.
fn refused_option(names: &[u8]) -> StartupError {
    let Some(end) = names.iter().position(|&byte| byte == 0) else {
        return invalid("message too short");
    };
    let name = &names[..end];
    let text = String::from_utf8_lossy(name);
    invalid(&if name.starts_with(OPTION_PREFIX) {
        format!("server reported an unsupported parameter that was not requested (\"{text}\")")
    } else {
        format!("server reported unsupported parameter name without a \"_pq_.\" prefix (\"{text}\")")
    })
}

fn invalid(what: &str) -> StartupError {
    StartupError::Protocol(format!("received invalid protocol negotiation message: {what}"))
}

/// What is wrong with a negotiation that cannot be read at all.
pub(super) fn malformed() -> StartupError {
    protocol("received invalid protocol negotiation message")
}

fn protocol(text: &str) -> StartupError {
    StartupError::Protocol(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiation(conninfo: &str) -> Negotiation {
        Negotiation::new(&format!("user=u {conninfo}").parse().unwrap())
    }

    #[test]
    fn cn_207_and_214_the_startup_message_keeps_the_order() {
        let bytes = negotiation("").startup_message(&[("user", "u"), ("replication", "true")]).unwrap();
        assert_eq!(&bytes[..], b"\0\0\0\x21\0\x03\0\0user\0u\0replication\0true\0\0");
    }

    #[test]
    fn cn_215_a_newer_version_is_asked_for() {
        for conninfo in
            ["max_protocol_version=3.2", "max_protocol_version=latest", "min_protocol_version=3.2"]
        {
            let bytes = negotiation(conninfo).startup_message(&[]).unwrap();
            assert_eq!(&bytes[..], b"\0\0\0\x09\0\x03\0\x02\0");
        }
    }

    #[test]
    fn cn_210_values_are_sent_as_they_are_but_for_nul() {
        let bytes = negotiation("").startup_message(&[("user", "größe")]).unwrap();
        assert_eq!(&bytes[8..], "user\0größe\0\0".as_bytes());
        let error = negotiation("").startup_message(&[("user", "a\0b")]).unwrap_err();
        assert_eq!(error.to_string(), "a value for the server contains a NUL byte");
    }

    #[test]
    fn cn_216_an_old_server_is_followed_down() {
        let mut negotiation = negotiation("max_protocol_version=3.2");
        assert_eq!(negotiation.version(), ProtocolVersion::V3_2);
        negotiation.answer(Bytes::from_static(b"\0\x03\0\0\0\0\0\0")).unwrap();
        assert_eq!(negotiation.version(), ProtocolVersion::V3_0);
        let error = negotiation.answer(Bytes::from_static(b"\0\x03\0\0\0\0\0\0")).unwrap_err();
        assert_eq!(error.to_string(), "received duplicate protocol negotiation message");
    }

    #[test]
    fn cn_217_a_server_that_is_too_old_is_refused() {
        let error = negotiation("min_protocol_version=3.2").answer(Bytes::from_static(b"\0\x03\0\0\0\0\0\0"));
        assert_eq!(
            error.unwrap_err().to_string(),
            "server only supports protocol version 3.0, but \"min_protocol_version\" was set to 3.2"
        );
    }

    #[test]
    fn cn_218_answers_that_cannot_be_are_refused() {
        let newer = "max_protocol_version=3.2";
        for (conninfo, body, text) in [
            (
                newer,
                &b"\0\x03\0\x03\0\0\0\0"[..],
                ": server requested downgrade to a higher-numbered version",
            ),
            (newer, b"\0\x04\0\0\0\0\0\0", ": server requested downgrade to a higher-numbered version"),
            ("", b"\0\x03\0\x02\0\0\0\0", ": server requested downgrade to a higher-numbered version"),
            (newer, b"\0\x02\0\0\0\0\0\0", ": server requested downgrade to pre-3.0 protocol version"),
            (newer, b"\x80\0\0\0\0\0\0\0", ": server requested downgrade to pre-3.0 protocol version"),
            (
                newer,
                b"\0\x03\0\x01\0\0\0\0",
                ": server requested downgrade to non-existent 3.1 protocol version",
            ),
            (
                newer,
                b"\0\x03\0\0\xff\xff\xff\xff",
                ": server reported negative number of unsupported parameters",
            ),
            (newer, b"\0\x03\0\x02\0\0\0\0", ": server negotiated but asks for no changes"),
            ("", b"\0\x03\0\0\0\0\0\0", ": server negotiated but asks for no changes"),
            (newer, b"\0\x03\0\0\0\0\0\x01", ": message too short"),
            (newer, b"\0\x03\0\0\x7f\xff\xff\xff_pq_.a", ": message too short"),
            (
                newer,
                b"\0\x03\0\0\0\0\0\x01_pq_.a\0",
                ": server reported an unsupported parameter that was not requested (\"_pq_.a\")",
            ),
            (
                newer,
                b"\0\x03\0\x02\0\0\0\x01a\0",
                ": server reported unsupported parameter name without a \"_pq_.\" prefix (\"a\")",
            ),
            (newer, b"\0\x03\0\0", ": message too short"),
            (newer, b"\0\x03\0", ""),
            (newer, b"", ""),
            (newer, b"\0\x03\0\0\0\0\0\0x", ""),
        ] {
            let error = negotiation(conninfo).answer(Bytes::from_static(body)).unwrap_err();
            let expected = format!("received invalid protocol negotiation message{text}");
            assert_eq!(error.to_string(), expected, "{}", body.escape_ascii());
        }
    }
}
