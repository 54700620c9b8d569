use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::manifest::{Checksum, ChecksumAlgorithm};
use crate::types::{Lsn, TimelineId};

/// A manifest as a server of version 17 writes it, up to the line of its checksum.
const VERSION_TWO: &str = r#"{ "PostgreSQL-Backup-Manifest-Version": 2,
"System-Identifier": 18446744073709551615,
"Files": [
{ "Path": "backup_label", "Size": 227, "Last-Modified": "2026-01-01 00:00:00 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "839206e3" },
{ "Path": "pg_tblspc/16384/a \"quoted\" \u00e9", "Size": 0, "Last-Modified": "2026-01-01 00:00:00 GMT", "Checksum-Algorithm": "SHA224", "Checksum": "23097D223405D8228642A477BDA255B32AADBCE4BDA0B3F7E36C9DA7" },
{ "Encoded-Path": "ff2F61", "Size": 18446744073709551615, "Last-Modified": "2026-01-01 00:00:00 GMT" }
],
"WAL-Ranges": [
{ "Timeline": 2, "Start-LSN": "0/3000000", "End-LSN": "0/4000028" },
{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/3000000" }
],
"#;

/// One without files in the layout of servers before 17, likewise.
const VERSION_ONE: &str = r#"{ "PostgreSQL-Backup-Manifest-Version": 1,
"Files": [
],
"WAL-Ranges": [
{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000100" }
],
"#;

/// The lines with the last one, which holds their checksum.
fn sealed(lines: &str) -> String {
    let digest = Checksum::from_bytes(ChecksumAlgorithm::Sha256, &Sha256::digest(lines.as_bytes()));
    format!("{lines}\"Manifest-Checksum\": \"{}\"}}\n", digest.unwrap())
}

fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<ManifestItem>, ManifestError> {
    let (mut reader, mut items) = (ManifestReader::new(), Vec::new());
    for mut chunk in chunks {
        loop {
            match reader.next_item(&mut chunk) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(error) => {
                    assert!(reader.finish().is_err() && reader.next_item(&mut &b""[..]).is_err());
                    return Err(error);
                }
            }
        }
        assert_eq!(chunk, b"");
    }
    reader.finish().map(|()| items)
}

fn error(manifest: &str) -> String {
    read([manifest.as_bytes()]).unwrap_err().to_string()
}

#[test]
fn bb_205_bb_206_what_a_manifest_says() {
    let range = |timeline, start, end| {
        ManifestItem::WalRange(WalRange {
            timeline: TimelineId::new(timeline).unwrap(),
            start: Lsn::new(start),
            end: Lsn::new(end),
        })
    };
    let file =
        |path: &[u8], size, checksum| ManifestItem::File(FileEntry { path: path.to_vec(), size, checksum });
    let crc32c = Checksum::from_bytes(ChecksumAlgorithm::Crc32c, &[0x83, 0x92, 0x06, 0xE3]).unwrap();
    let sha224 = decode_hex("23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7").unwrap();
    let sha224 = Checksum::from_bytes(ChecksumAlgorithm::Sha224, &sha224).unwrap();
    assert_eq!(
        read([sealed(VERSION_TWO).as_bytes()]).unwrap(),
        [
            ManifestItem::SystemIdentifier(SystemId::new(u64::MAX)),
            file(b"backup_label", 227, crc32c),
            file("pg_tblspc/16384/a \"quoted\" é".as_bytes(), 0, sha224),
            file(b"\xff/a", u64::MAX, Checksum::NONE),
            range(2, 0x300_0000, 0x400_0028),
            range(1, 0x200_0028, 0x300_0000),
        ]
    );
    assert_eq!(read([sealed(VERSION_ONE).as_bytes()]).unwrap(), [range(1, 0x200_0028, 0x200_0100)]);
}

#[test]
fn bb_205_the_version_is_known_after_the_first_line() {
    let mut reader = ManifestReader::new();
    let mut chunk = VERSION_TWO.as_bytes();
    assert_eq!(reader.version(), None);
    reader.next_item(&mut chunk).unwrap();
    assert_eq!(reader.version(), Some(ManifestVersion::Two));
}

#[test]
fn bb_210_any_other_byte_is_a_mismatch_or_refused() {
    let manifest = sealed(VERSION_TWO).into_bytes();
    for at in 0..manifest.len() {
        let mut changed = manifest.clone();
        changed[at] ^= 1;
        assert!(read([&changed[..]]).is_err(), "byte {at}");
    }
    let tampered = sealed(VERSION_TWO).replace("227", "228");
    assert_eq!(error(&tampered), "manifest checksum mismatch");
}

#[test]
fn bb_233_nothing_may_follow_the_checksum() {
    for rest in ["\n", "x", "}", "{ \"a\": 1 }\n"] {
        assert_eq!(error(&(sealed(VERSION_ONE) + rest)), "manifest checksum mismatch", "{rest:?}");
    }
}

#[test]
fn bb_232_a_manifest_that_ends_early() {
    let manifest = sealed(VERSION_TWO);
    let last = manifest.len() - 1;
    for len in 0..last {
        let text = error(&manifest[..len]);
        let expected = match len {
            _ if len <= VERSION_TWO.len() => "manifest ended unexpectedly",
            _ => "last line not newline-terminated",
        };
        assert_eq!(text, format!("could not parse backup manifest: {expected}"), "{len}");
    }
    assert_eq!(error(&manifest[..last]), "could not parse backup manifest: last line not newline-terminated");
}

#[test]
fn bb_232_manifests_with_a_fault() {
    for (from, to, fault) in [
        ("{ \"PostgreSQL-Backup-Manifest-Version\": 2", "\"x\": 2", "expected version indicator"),
        ("PostgreSQL-Backup-Manifest-Version", "Version", "expected version indicator"),
        ("Version\": 2", "Version\": \"two\"", "manifest version not an integer"),
        ("Version\": 2", "Version\": 3", "unexpected manifest version"),
        ("Version\": 2", "Version\": 1", "unrecognized top-level field"),
        ("\"System-Identifier\": 18446744073709551615,\n", "", "unrecognized top-level field"),
        ("18446744073709551615,\n\"F", "-1,\n\"F", "system identifier in manifest not an integer"),
        (
            "18446744073709551615,\n\"F",
            "18446744073709551616,\n\"F",
            "system identifier in manifest not an integer",
        ),
        ("\"Files\": [", "\"Files\": 3,", "unrecognized top-level field"),
        ("\"Files\"", "\"Directories\"", "unrecognized top-level field"),
        ("\"Files\": [\n", "\"Files\": [\n[\n", "unexpected array start"),
        ("\"Files\": [\n", "\"Files\": [\n3\n", "unexpected scalar"),
        ("\"Files\": [\n", "\"Files\": [\n\"a\"\n", "unexpected scalar"),
        ("\"Files\": [\n", "\"Files\": [\n\"a\": 1,\n", "unexpected object field"),
        ("\"Files\": [\n", "", "unexpected object start"),
        ("\"WAL-Ranges\": [\n", "}\n", "unexpected object end"),
        ("\"2026-01-01 00:00:00 GMT\" }\n]", "\"\" },\n]", "unexpected array end"),
        ("\"839206e3\" },", "\"839206e3\" }", "unexpected object start"),
        ("Last-Modified", "Owner", "unexpected file field"),
        ("\"Path\": \"backup_label\", ", "", "missing path name"),
        ("\"Path\"", "\"Encoded-Path\": \"00\", \"Path\"", "both path name and encoded path name"),
        ("ff2F61", "ff2F6", "could not decode file name"),
        (" \"Size\": 227,", "", "missing size"),
        ("227", "\"Oops\"", "file size is not an integer"),
        ("227", "-227", "file size is not an integer"),
        ("227", "2.27", "file size is not an integer"),
        (" \"Checksum-Algorithm\": \"CRC32C\",", "", "checksum without algorithm"),
        ("\"Timeline\": 2", "\"Line\": 2", "unexpected WAL range field"),
        ("\"Timeline\": 2, ", "", "missing timeline"),
        ("\"Timeline\": 2", "\"Timeline\": \"x\"", "timeline is not an integer"),
        ("\"Timeline\": 2", "\"Timeline\": 4294967296", "timeline is not an integer"),
        ("\"Start-LSN\": \"0/3000000\", ", "", "missing start LSN"),
        ("0/3000000", "3000000", "could not parse start LSN"),
        (", \"End-LSN\": \"0/4000028\"", "", "missing end LSN"),
        ("0/4000028", "0/", "could not parse end LSN"),
    ] {
        let manifest = VERSION_TWO.replacen(from, to, 1);
        assert_ne!(manifest, VERSION_TWO, "{from}");
        assert_eq!(
            error(&sealed(&manifest)),
            format!("could not parse backup manifest: {fault}"),
            "{from} -> {to}"
        );
    }
}

#[test]
fn bb_233_manifests_that_mean_nothing() {
    let long = "0".repeat(66);
    for (from, to, text) in [
        ("CRC32C", "MD5", "unrecognized checksum algorithm: \"MD5\"".to_owned()),
        ("839206e3", "xyz", "invalid checksum for file \"backup_label\": \"xyz\"".to_owned()),
        ("839206e3", "", "invalid checksum for file \"backup_label\": \"\"".to_owned()),
        ("CRC32C", "NONE", "invalid checksum for file \"backup_label\": \"839206e3\"".to_owned()),
        ("839206e3", "839206", "file \"backup_label\" has checksum of length 3, but expected 4".to_owned()),
        ("839206e3", &long, "file \"backup_label\" has checksum of length 33, but expected 4".to_owned()),
    ] {
        assert_eq!(error(&sealed(&VERSION_TWO.replacen(from, to, 1))), text);
    }
    for (checksum, text) in [
        ("\"00\"", "invalid manifest checksum: \"00\""),
        ("\"?\"", "invalid manifest checksum: \"?\""),
        ("1", "could not parse backup manifest: unrecognized top-level field"),
    ] {
        assert_eq!(error(&format!("{VERSION_ONE}\"Manifest-Checksum\": {checksum}}}\n")), text);
    }
}

#[test]
fn lines_that_are_not_json_are_named_by_their_number() {
    let broken = VERSION_TWO.replacen("\"Size\": 227", "\"Size\" 227", 1);
    assert_eq!(error(&broken), "could not parse backup manifest: line 4 is malformed");
    for field in ["\"Size\": []", "\"Size\": {}", "\"Size\": 1, \"Size\": 1"] {
        let broken = VERSION_TWO.replacen("\"Size\": 227", field, 1);
        assert_eq!(error(&broken), "could not parse backup manifest: line 4 is malformed", "{field}");
    }
}

#[test]
fn integers_may_stand_in_quotes() {
    let quoted = VERSION_ONE.replacen("\"Timeline\": 1", "\"Timeline\": \"1\"", 1);
    assert_eq!(read([sealed(&quoted).as_bytes()]).unwrap().len(), 1);
}

#[test]
fn a_line_without_end_is_not_gathered() {
    let mut reader = ManifestReader::new();
    let piece = [b' '; 1000];
    let fed = (0..1000).take_while(|_| reader.next_item(&mut &piece[..]).is_ok()).count();
    assert_eq!(fed, MAX_LINE_LEN / 1000);
    assert!(reader.partial.len() <= MAX_LINE_LEN);
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_items(places in vec(0..1500usize, 0..30)) {
        let manifest = sealed(VERSION_TWO);
        let mut places: Vec<_> = places.into_iter().map(|place| place.min(manifest.len())).collect();
        places.extend([0, manifest.len()]);
        places.sort_unstable();
        let chunks = places.windows(2).map(|ends| &manifest.as_bytes()[ends[0]..ends[1]]);
        prop_assert_eq!(read(chunks).unwrap(), read([manifest.as_bytes()]).unwrap());
    }

    #[test]
    fn no_manifest_panics(
        lines in vec((0usize..12, 0usize..150, any::<u8>()), 0..20),
        places in vec(0..1500usize, 0..5),
    ) {
        let known: Vec<_> = VERSION_TWO.lines().collect();
        let mut manifest = Vec::new();
        for (line, at, byte) in lines {
            let mut line = known[line % known.len()].as_bytes().to_vec();
            if let Some(place) = line.get_mut(at) {
                *place = byte;
            }
            manifest.extend_from_slice(&line);
            manifest.push(b'\n');
        }
        let at = places.first().map_or(0, |&place| place.min(manifest.len()));
        let text = |result: Result<_, ManifestError>| result.map_err(|error| error.to_string());
        prop_assert_eq!(text(read([&manifest[..at], &manifest[at..]])), text(read([&manifest[..]])));
    }
}
