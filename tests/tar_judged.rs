//! Archives that may be damaged: where they are taken here and by Python's `tarfile`, both find the same members.
//!
//! Other than the crate `tar`, which judges in the fuzz target, it shares no code and no author with this crate.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;

use pgsiphon::tar::{BLOCK_SIZE, Piece, TarError, TarSplitter};
use support::{Random, Run, scratch_directory};

const ARCHIVES: usize = 3000;

/// Archives come with their length before them; for each a line goes out: `refused`, or what each member is.
const JUDGE: &str = r#"
import io, sys, tarfile
data = open(sys.argv[1], "rb").read()
at = 0
while at < len(data):
    length = int.from_bytes(data[at:at + 4], "little")
    archive = io.BytesIO(data[at + 4:at + 4 + length])
    at += 4 + length
    try:
        with tarfile.open(fileobj=archive, mode="r:", encoding="latin-1") as found:
            members = []
            for member in found:
                parts = [part for part in member.name.split("/") if part not in ("", ".")]
                name = "/".join(parts).encode("latin-1").hex()
                content = archive.getvalue()[member.offset_data:][:member.size]
                total = sum(number * byte for number, byte in enumerate(content, 1))
                members.append(f"{name}:{member.size}:{total}")
            # It stops at a header that it does not take as if the archive ended there.
            if any(archive.getvalue()[found.offset:found.offset + 512]):
                raise ValueError("invalid header")
            print(" ".join(members))
    except Exception as error:
        print("refused", error)
"#;

#[test]
fn bb_121_to_128_another_reader_finds_the_same_members() {
    let mut random = Random::from_environment();
    let archives: Vec<Vec<u8>> = (0..ARCHIVES).map(|_| archive(&mut random)).collect();
    let directory = scratch_directory();
    let file = directory.path().join("archives");
    let framed = archives.iter().flat_map(|archive| {
        let length = u32::try_from(archive.len()).unwrap();
        length.to_le_bytes().into_iter().chain(archive.iter().copied())
    });
    fs::write(&file, framed.collect::<Vec<u8>>()).unwrap();
    let outcome = Run::new("/usr/bin/env").args(["python3", "-c", JUDGE]).arg(&file).run().expect_success();
    let theirs: Vec<&str> = std::str::from_utf8(&outcome.stdout).unwrap().lines().collect();
    assert_eq!(theirs.len(), archives.len());
    let mut taken = 0;
    for (archive, theirs) in archives.iter().zip(theirs) {
        let Ok(ours) = members(archive) else { continue };
        if theirs.starts_with("refused") {
            continue;
        }
        taken += 1;
        assert_eq!(ours.join(" "), theirs, "{}", archive.escape_ascii());
    }
    assert!((ARCHIVES / 10..ARCHIVES).contains(&taken), "{taken}");
}

/// What each member is, in the words of the judge.
fn members(archive: &[u8]) -> Result<Vec<String>, TarError> {
    let (mut splitter, mut rest) = (TarSplitter::new(), archive);
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    while let Some(piece) = splitter.next_piece(&mut rest)? {
        match piece {
            Piece::Entry(entry) => {
                let path = entry.path.as_bytes();
                let name = if path == b"." { &b""[..] } else { path };
                found.push((format!("{}:{}", hexadecimal(name), entry.size), Vec::new()));
            }
            Piece::Data(data) => found.last_mut().unwrap().1.extend(data),
            Piece::EntryEnd | Piece::Padding(_) | Piece::End(_) => {}
        }
    }
    splitter.finish()?;
    let total =
        |content: &[u8]| (1..).zip(content).map(|(number, &byte)| number * u64::from(byte)).sum::<u64>();
    Ok(found.into_iter().map(|(member, content)| format!("{member}:{}", total(&content))).collect())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

/// Up to four members, and up to three bytes of their headers changed; most checksums are right all the same.
fn archive(random: &mut Random) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut headers = Vec::new();
    for _ in 0..=random.below(4) {
        headers.push(archive.len());
        add_member(random, &mut archive);
    }
    for _ in 0..random.below(4) {
        let header = headers[random.below(headers.len() as u64) as usize];
        // The name, the numbers, the size, the type, the target of a link, the magic, the prefix.
        let (from, to) = [(0, 20), (100, 136), (124, 136), (156, 157), (157, 170), (257, 265), (345, 350)]
            [random.below(7) as usize];
        let at = header + from + random.below((to - from) as u64) as usize;
        // Not `S`: of a sparse file, which is skipped here, the other reader gives the size without its holes.
        let bytes = b"\0 /.07012345xLKg\x80\xFF";
        archive[at] = bytes[random.below(bytes.len() as u64) as usize];
        if !random.one_in(8) {
            seal(&mut archive[header..header + BLOCK_SIZE]);
        }
    }
    if random.one_in(2) {
        archive.resize(archive.len() + 2 * BLOCK_SIZE, 0);
    }
    if random.one_in(8) {
        archive.truncate(random.below(archive.len() as u64) as usize);
    }
    archive
}

fn add_member(random: &mut Random, archive: &mut Vec<u8>) {
    let name = [&b"PG_VERSION"[..], b"base/1/2", b"./pg_wal", b"a//b", b"global/"][random.below(5) as usize];
    let kind = b"0005512"[random.below(7) as usize];
    let size = if kind == b'0' { [0, 1, 511, 512, 513][random.below(5) as usize] } else { 0 };
    let mut header = [0; BLOCK_SIZE];
    header[..name.len()].copy_from_slice(name);
    for (at, field) in [(100, &b"0000600\0"[..]), (108, b"0000000\0"), (116, b"0000000\0")] {
        header[at..at + field.len()].copy_from_slice(field);
    }
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = kind;
    if matches!(kind, b'1' | b'2') {
        header[157..163].copy_from_slice(b"target");
    }
    header[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut header);
    archive.extend(header);
    archive.extend((0..size).map(|_| random.next() as u8));
    archive.resize(archive.len().next_multiple_of(BLOCK_SIZE), 0);
}

/// Makes the checksum of a header right.
fn seal(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}
