//! The CopyData payloads of `BASE_BACKUP` from server 15 on: archives, manifest, progress.

use std::fmt;

use bytes::{Buf, Bytes};

use crate::compress::Method;

const NEW_ARCHIVE: u8 = b'n';
const MANIFEST: u8 = b'm';
const DATA: u8 = b'd';
const PROGRESS: u8 = b'p';

/// The longest name or path that is read, in bytes: the longest that a system takes.
const LONGEST_PATH: usize = 4096;

/// One payload of the archive stream (BB-100).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveMessage {
    /// An archive starts; the one before it, if any, is complete.
    NewArchive {
        /// Its file name.
        name: ArchiveName,
        /// Where the server has the tablespace: empty for the main data directory, an absolute path,
        /// or, for a tablespace inside the data directory, `pg_tblspc/OID`.
        tablespace_path: Bytes,
    },
    /// The manifest follows.
    Manifest,
    /// Bytes of the archive that started last, or of the manifest.
    Data(Bytes),
    /// So many bytes were processed, over all archives and before compression.
    Progress(u64),
}

/// The file name of an archive, known to be no path (BB-102).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ArchiveName(String);

/// A payload that is no message of the archive stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveMessageError {
    /// A message without a kind.
    #[error("empty COPY message")]
    Empty,
    /// An unknown kind, a message that is too short, or one with surplus bytes.
    #[error("malformed COPY message of type {kind}, length {length}")]
    Malformed {
        /// The kind byte.
        kind: u8,
        /// The length of the payload with the kind byte.
        length: usize,
    },
    /// A name that could lead out of the directory.
    #[error("invalid archive name: \"{0}\"")]
    InvalidName(String),
}

impl ArchiveMessage {
    /// Decodes the payload of one CopyData message.
    ///
    /// | kind | rest of the payload                                   |
    /// |------|-------------------------------------------------------|
    /// | `n`  | archive name, NUL, tablespace path, NUL               |
    /// | `m`  | nothing                                               |
    /// | `d`  | bytes                                                 |
    /// | `p`  | 8 bytes, big-endian                                   |
    pub fn parse(mut payload: Bytes) -> Result<Self, ArchiveMessageError> {
        let length = payload.len();
        if length == 0 {
            return Err(ArchiveMessageError::Empty);
        }
        let kind = payload.get_u8();
        let malformed = ArchiveMessageError::Malformed { kind, length };
        match kind {
            DATA => Ok(Self::Data(payload)),
            PROGRESS if payload.len() == 8 => Ok(Self::Progress(payload.get_u64())),
            MANIFEST if payload.is_empty() => Ok(Self::Manifest),
            NEW_ARCHIVE => {
                let name = take_c_string(&mut payload).ok_or_else(|| malformed.clone())?;
                let tablespace_path = take_c_string(&mut payload).ok_or_else(|| malformed.clone())?;
                if !payload.is_empty() {
                    return Err(malformed);
                }
                Ok(Self::NewArchive { name: ArchiveName::new(&name)?, tablespace_path })
            }
            _ => Err(malformed),
        }
    }
}

fn take_c_string(payload: &mut Bytes) -> Option<Bytes> {
    let end = payload.iter().take(LONGEST_PATH + 1).position(|&byte| byte == 0)?;
    let text = payload.split_to(end);
    payload.advance(1);
    Some(text)
}

impl ArchiveName {
    /// Checks a name: not empty, not starting with a dot, without a slash or backslash, UTF-8.
    pub fn new(name: &[u8]) -> Result<Self, ArchiveMessageError> {
        let unsafe_byte = |byte: &u8| matches!(byte, b'/' | b'\\' | 0);
        match std::str::from_utf8(name) {
            Ok(text) if !text.is_empty() && !text.starts_with('.') && !name.iter().any(unsafe_byte) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(ArchiveMessageError::InvalidName(String::from_utf8_lossy(name).into_owned())),
        }
    }

    /// The same name with the suffix of a compression behind it.
    pub fn compressed(&self, method: Method) -> Self {
        let suffix = method.suffix();
        Self(format!("{}{suffix}", self.0))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ArchiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(payload: &'static [u8]) -> Result<ArchiveMessage, ArchiveMessageError> {
        ArchiveMessage::parse(Bytes::from_static(payload))
    }

    #[test]
    fn bb_100_each_kind_is_read() {
        assert_eq!(parse(b"m"), Ok(ArchiveMessage::Manifest));
        assert_eq!(parse(b"p\0\0\0\0\0\0\x01\x02"), Ok(ArchiveMessage::Progress(258)));
        assert_eq!(parse(b"dabc"), Ok(ArchiveMessage::Data(Bytes::from_static(b"abc"))));
        assert_eq!(parse(b"d"), Ok(ArchiveMessage::Data(Bytes::new())));
    }

    #[test]
    fn bb_101_archive_names_and_paths() {
        let read = |payload| match parse(payload) {
            Ok(ArchiveMessage::NewArchive { name, tablespace_path }) => (name.to_string(), tablespace_path),
            other => panic!("{other:?}"),
        };
        assert_eq!(read(b"nbase.tar\0\0"), ("base.tar".into(), Bytes::new()));
        assert_eq!(read(b"n16384.tar\0/srv/ts\0"), ("16384.tar".into(), Bytes::from_static(b"/srv/ts")));
    }

    #[test]
    fn bb_102_unsafe_names_are_refused() {
        for name in ["", ".", "..", ".base.tar", "../base.tar", "a/b", "/etc/passwd", "a\\b"] {
            let expected = format!("invalid archive name: \"{name}\"");
            assert_eq!(ArchiveName::new(name.as_bytes()).unwrap_err().to_string(), expected);
        }
        assert!(ArchiveName::new(b"\xff.tar").is_err());
    }

    #[test]
    fn bb_104_malformed_messages_are_refused() {
        assert_eq!(parse(b""), Err(ArchiveMessageError::Empty));
        for payload in [
            &b"p\0\0\0"[..],
            b"p\0\0\0\0\0\0\x01\x02\x03",
            b"mx",
            b"x",
            b"nbase.tar",
            b"nbase.tar\0",
            b"na\0\0z",
        ] {
            let expected = format!("malformed COPY message of type {}, length {}", payload[0], payload.len());
            assert_eq!(parse(payload).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn bb_102_no_name_is_longer_than_a_path_can_be() {
        for (length, is_read) in [(LONGEST_PATH, true), (LONGEST_PATH + 1, false)] {
            let long = "x".repeat(length);
            for payload in [format!("n{long}\0\0"), format!("nbase.tar\0{long}\0")] {
                assert_eq!(ArchiveMessage::parse(payload.into()).is_ok(), is_read, "{length}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_payload_is_read_or_refused(payload: Vec<u8>) {
            let _ = ArchiveMessage::parse(payload.into());
        }
    }
}
