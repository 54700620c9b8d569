//! Archives: what is in them does not depend on how they are cut, and another reader finds the same.
//!
//! The first byte is the length of the pieces in which the archive comes. If it is odd, the checksums of headers are
//! made right.

#![no_main]

#[path = "../support/archive.rs"]
mod archive;

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use pgsiphon::tar::{HeaderBlock, Piece, TarError, TarSplitter};

fuzz_target!(|input: &[u8]| {
    let Some((&length, stream)) = input.split_first() else { return };
    let mut stream = stream.to_vec();
    if length & 1 == 1 {
        archive::seal(&mut stream);
    }
    let whole = read(&stream, stream.len().max(1));
    assert_eq!(whole, read(&stream, usize::from(length) * 5 + 1));
    if let Ok(members) = whole {
        assert_eq!(members, read_by_another(&stream).unwrap());
    }
});

#[derive(Debug, PartialEq)]
struct Member {
    header: Box<HeaderBlock>,
    name: Vec<u8>,
    content: Vec<u8>,
    size: u64,
}

/// All members, if the archive is sound. No byte comes out that did not go in, and none is lost.
fn read(stream: &[u8], length: usize) -> Result<Vec<Member>, TarError> {
    let (mut splitter, mut members, mut bytes) = (TarSplitter::new(), Vec::<Member>::new(), Vec::new());
    for chunk in stream.chunks(length).chain([&b""[..]]) {
        let mut rest = chunk;
        while let Some(piece) = splitter.next_piece(&mut rest)? {
            match piece {
                Piece::Entry(entry) => {
                    let header = Box::new(*splitter.header_block());
                    bytes.extend_from_slice(&header[..]);
                    let name = entry.path.as_bytes().to_vec();
                    members.push(Member { header, name, content: Vec::new(), size: entry.size });
                }
                Piece::Data(data) => {
                    bytes.extend_from_slice(data);
                    members.last_mut().unwrap().content.extend_from_slice(data);
                }
                Piece::EntryEnd => {
                    let member = members.last().unwrap();
                    assert_eq!(member.content.len() as u64, member.size);
                }
                Piece::Padding(padding) => bytes.extend_from_slice(padding),
                Piece::End(end) => bytes.extend_from_slice(end),
            }
        }
        assert!(rest.is_empty());
    }
    assert!(stream.starts_with(&bytes));
    splitter.finish()?;
    assert_eq!(bytes, stream);
    Ok(members)
}

/// The same by the crate `tar`. It takes more archives than are taken here: any magic, pax headers, empty names and
/// those that lead elsewhere, sizes from 2⁶³ on.
fn read_by_another(stream: &[u8]) -> std::io::Result<Vec<Member>> {
    let mut members = Vec::new();
    for entry in tar::Archive::new(stream).entries()?.raw(true) {
        let mut entry = entry?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        let header = Box::new(*entry.header().as_bytes());
        let name = entry.header().as_old().name.split(|&byte| byte == 0).next().unwrap_or_default();
        members.push(Member { name: in_one_form(name), header, content, size: entry.size() });
    }
    Ok(members)
}

/// The name without what means nothing in a path.
fn in_one_form(name: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> =
        name.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if parts.is_empty() { b".".to_vec() } else { parts.join(&b'/') }
}
