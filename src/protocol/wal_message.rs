//! The CopyData payloads of `START_REPLICATION`: WAL and keepalives in, standby status out.

use bytes::{Buf, BufMut, Bytes};

use crate::types::Lsn;

const WAL_DATA: u8 = b'w';
const WAL_DATA_HEADER: usize = 1 + 8 + 8 + 8;
const KEEPALIVE: u8 = b'k';
const KEEPALIVE_LENGTH: usize = 1 + 8 + 8 + 1;
const STANDBY_STATUS: u8 = b'r';

/// What the server sends while it streams WAL (RW-107, RW-111).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalMessage {
    /// `XLogData`: bytes of the log.
    Data {
        /// The position of the first byte.
        start: Lsn,
        /// The end of the server's log, for information.
        server_end: Lsn,
        /// The bytes; at least one from an honest server.
        data: Bytes,
    },
    /// A primary keepalive message.
    Keepalive {
        /// The end of the server's log.
        server_end: Lsn,
        /// Whether the server wants a status at once, because it is about to give up on us.
        reply_requested: bool,
    },
}

/// A payload that is no message of the WAL stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WalMessageError {
    /// The message ends before its header does.
    #[error("streaming header too small: {0}")]
    TooSmall(usize),
    /// A kind of message that this stream does not have.
    #[error("unrecognized streaming header: \"{}\"", .0.escape_ascii())]
    Unrecognized(u8),
}

impl WalMessage {
    /// Decodes the payload of one CopyData message; an empty one is skipped (RW-110).
    ///
    /// | offset | size | `w`             | `k`             |
    /// |-------:|-----:|-----------------|-----------------|
    /// |      0 |    1 | kind            | kind            |
    /// |      1 |    8 | start LSN       | end of WAL      |
    /// |      9 |    8 | end of WAL      | server's clock  |
    /// |     17 |    8 | server's clock  | reply requested (1 byte) |
    /// |     25 |    n | WAL             |                 |
    pub fn parse(mut payload: Bytes) -> Result<Option<Self>, WalMessageError> {
        let length = payload.len();
        let header = match payload.first() {
            None => return Ok(None),
            Some(&WAL_DATA) => WAL_DATA_HEADER,
            Some(&KEEPALIVE) => KEEPALIVE_LENGTH,
            Some(&other) => return Err(WalMessageError::Unrecognized(other)),
        };
        if length < header {
            return Err(WalMessageError::TooSmall(length));
        }
        let kind = payload.get_u8();
        let first = Lsn::new(payload.get_u64());
        let second = payload.get_u64();
        if kind == KEEPALIVE {
            return Ok(Some(Self::Keepalive { server_end: first, reply_requested: payload.get_u8() != 0 }));
        }
        payload.advance(8);
        Ok(Some(Self::Data { start: first, server_end: Lsn::new(second), data: payload }))
    }
}

/// How far the client has come, as it tells the server (RW-114).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandbyStatus {
    /// The end of what was received and written.
    pub written: Lsn,
    /// The end of what is durable; [`Lsn::ZERO`] says nothing about it, which keeps the client from
    /// being counted as a synchronous standby.
    pub flushed: Lsn,
    /// The end of what was replayed; always [`Lsn::ZERO`] for a program that replays nothing.
    pub applied: Lsn,
    /// Whether the server shall answer with a keepalive at once.
    pub reply_requested: bool,
}

impl StandbyStatus {
    const LENGTH: usize = 34;

    /// The payload; `clock` is microseconds since 2000-01-01 00:00:00 UTC.
    ///
    /// | offset | size | field           |
    /// |-------:|-----:|-----------------|
    /// |      0 |    1 | `r`             |
    /// |      1 |    8 | written         |
    /// |      9 |    8 | flushed         |
    /// |     17 |    8 | applied         |
    /// |     25 |    8 | clock           |
    /// |     33 |    1 | reply requested |
    pub fn encode(&self, clock: i64) -> [u8; Self::LENGTH] {
        let mut payload = [0; Self::LENGTH];
        let mut out = &mut payload[..];
        out.put_u8(STANDBY_STATUS);
        out.put_u64(self.written.as_u64());
        out.put_u64(self.flushed.as_u64());
        out.put_u64(self.applied.as_u64());
        out.put_i64(clock);
        out.put_u8(u8::from(self.reply_requested));
        payload
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn data_message(wal: &[u8]) -> Bytes {
        let mut payload = b"w\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\0\0\0\0\x09".to_vec();
        payload.extend_from_slice(wal);
        payload.into()
    }

    #[test]
    fn rw_107_rw_113_data_and_keepalive_are_read() {
        let message = WalMessage::parse(data_message(b"wal")).unwrap().unwrap();
        let expected = WalMessage::Data {
            start: "1/2".parse().unwrap(),
            server_end: "3/4".parse().unwrap(),
            data: Bytes::from_static(b"wal"),
        };
        assert_eq!(message, expected);

        let keepalive = Bytes::from_static(b"k\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0\x09\x01");
        let expected = WalMessage::Keepalive { server_end: "1/2".parse().unwrap(), reply_requested: true };
        assert_eq!(WalMessage::parse(keepalive).unwrap(), Some(expected));
    }

    #[test]
    fn rw_110_short_unknown_and_empty_messages() {
        assert_eq!(WalMessage::parse(Bytes::new()), Ok(None));
        assert_eq!(WalMessage::parse(data_message(b"").slice(..24)), Err(WalMessageError::TooSmall(24)));
        assert_eq!(WalMessage::parse(Bytes::from_static(b"k")), Err(WalMessageError::TooSmall(1)));
        let unknown = WalMessage::parse(Bytes::from_static(b"x")).unwrap_err();
        assert_eq!(unknown.to_string(), "unrecognized streaming header: \"x\"");
    }

    #[test]
    fn rw_114_status_is_34_bytes() {
        let status = StandbyStatus {
            written: "1/2".parse().unwrap(),
            flushed: "3/4".parse().unwrap(),
            applied: Lsn::ZERO,
            reply_requested: false,
        };
        let out = status.encode(0x0506);
        let expected = b"r\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\x06\0";
        assert_eq!(&out[..], expected);
    }

    proptest! {
        #[test]
        fn any_payload_is_read_or_refused(payload: Vec<u8>) {
            let _ = WalMessage::parse(payload.into());
        }
    }
}
