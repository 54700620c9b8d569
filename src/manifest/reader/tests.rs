use proptest::collection::vec;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::manifest::{Checksum, ChecksumAlgorithm, FileEntry, WalRange};
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
                    assert_eq!(reader.finish().as_ref(), Err(&error));
                    assert_eq!(reader.next_item(&mut &b""[..]).as_ref(), Err(&error));
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
    let sha224 = decode_hex(b"23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7").unwrap();
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
fn bb_205_the_version_is_known_before_the_first_item() {
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
    let parse = "could not parse backup manifest: ";
    for (rest, expected) in [
        ("\n", "manifest checksum mismatch".to_owned()),
        (" \n", "manifest checksum mismatch".to_owned()),
        ("x", format!("{parse}Token \"x\" is invalid.")),
        ("}", format!("{parse}Expected end of input, but found \"}}\".")),
        ("{ \"a\": 1 }\n", format!("{parse}Expected end of input, but found \"{{\".")),
    ] {
        assert_eq!(error(&(sealed(VERSION_ONE) + rest)), expected, "{rest:?}");
    }
}

#[test]
fn bb_233_white_space_is_free_but_for_the_lines_of_the_checksum() {
    let loose = VERSION_TWO.replace(", ", " ,\n\t").replace("\": ", "\":").replace("[\n", "\r\n [");
    let expected = read([sealed(VERSION_TWO).as_bytes()]).unwrap();
    assert_eq!(read([sealed(&loose).as_bytes()]).unwrap(), expected);
    let blank_before_the_end = sealed(VERSION_ONE).replace("}\n", "} \n");
    assert!(read([sealed(&format!("\n\n{VERSION_ONE}")).as_bytes()]).is_ok());
    assert!(error(&blank_before_the_end).contains("mismatch"), "lines before the last one count to the byte");
    let in_upper_case = sealed(VERSION_ONE);
    let (lines, checksum) = in_upper_case.split_at(VERSION_ONE.len());
    let (key, digits) = checksum.split_at(22);
    assert!(read([format!("{lines}{key}{}", digits.to_uppercase()).as_bytes()]).is_ok());
    let below = sealed(VERSION_ONE).replace("\"}\n", "\"\n}\n");
    assert_eq!(error(&below), "manifest checksum mismatch");
}

#[test]
fn bb_232_a_manifest_that_ends_early() {
    let manifest = sealed(VERSION_TWO);
    let last = manifest.len() - 1;
    for len in 0..last {
        let text = error(&manifest[..len]);
        assert!(text.starts_with("could not parse backup manifest: "), "{len}: {text}");
    }
    let ended = "could not parse backup manifest: The input string ended unexpectedly.";
    for len in [0, 1, VERSION_TWO.len(), last - 1] {
        assert_eq!(error(&manifest[..len]), ended, "{len}");
    }
    let unterminated = "could not parse backup manifest: last line not newline-terminated";
    assert_eq!(error(&manifest[..last]), unterminated);
}

/// Each with what `pg_verifybackup` says.
#[test]
fn bb_232_manifests_that_are_cut_off_at_the_fault() {
    let version = "\"PostgreSQL-Backup-Manifest-Version\": 1";
    for (manifest, fault) in [
        ("{}".to_owned(), "unexpected object end"),
        ("[".to_owned(), "unexpected array start"),
        ("1 ".to_owned(), "unexpected scalar"),
        ("1".to_owned(), "unexpected scalar"),
        ("-1.5e3".to_owned(), "unexpected scalar"),
        ("null".to_owned(), "unexpected scalar"),
        ("{\"not-expected\": 1}".to_owned(), "expected version indicator"),
        (
            "{\"PostgreSQL-Backup-Manifest-Version\": \"phooey\"}".to_owned(),
            "manifest version not an integer",
        ),
        ("{\"PostgreSQL-Backup-Manifest-Version\": 9876599}".to_owned(), "unexpected manifest version"),
        (format!("{{{version}}}"), "unexpected object end"),
        (format!("{{{version}, \"Files\": []}}"), "unexpected object end"),
        (format!("{{{version}, \"Files\": true}}"), "unexpected scalar"),
        (format!("{{{version}, \"Files\": {{}}}}"), "unexpected object start"),
        (format!("{{{version}, \"Files\": [[]]}}"), "unexpected array start"),
        (format!("{{{version}, \"Files\": [1"), "The input string ended unexpectedly."),
        (format!("{{{version}, \"Files\": [1, "), "unexpected scalar"),
        (format!("{{{version}, \"Files\": [{{}}]}}"), "missing path name"),
        (format!("{{{version}, \"Oops\": 1}}"), "unrecognized top-level field"),
        (format!("{{{version}, {version}}}"), "unrecognized top-level field"),
        (format!("{{{version}, \"Manifest-Checksum\": null}}"), "expected at least 2 lines"),
        (format!("{{{version}, \"Manifest-Checksum\": []}}"), "unexpected array start"),
        (format!("{{{version},\n\n\"Manifest-Checksum\": null}}"), "last line not newline-terminated"),
        (format!("{{{version}, \"Manifest-Checksum\": \"00\", \"x\": 1}}"), "unexpected object field"),
    ] {
        assert_eq!(error(&manifest), format!("could not parse backup manifest: {fault}"), "{manifest}");
    }
}

#[test]
fn bb_232_manifests_with_a_fault() {
    for (from, to, fault) in [
        ("PostgreSQL-Backup-Manifest-Version", "Version", "expected version indicator"),
        ("Version\": 2", "Version\": \"two\"", "manifest version not an integer"),
        ("Version\": 2", "Version\": 3", "unexpected manifest version"),
        ("\"System-Identifier\": 18446744073709551615,\n", "", "missing system identifier"),
        ("18446744073709551615,\n\"F", "-1,\n\"F", "system identifier in manifest not an integer"),
        (
            "18446744073709551615,\n\"F",
            "18446744073709551616,\n\"F",
            "system identifier in manifest not an integer",
        ),
        ("\"Files\"", "\"Directories\"", "unrecognized top-level field"),
        ("\"Files\": [\n", "\"Files\": [\n[],\n", "unexpected array start"),
        ("\"Files\": [\n", "\"Files\": [\n\"a\",\n", "unexpected scalar"),
        ("\"Size\": 227", "\"Size\": []", "unexpected array start"),
        ("\"Size\": 227", "\"Size\": {}", "unexpected object start"),
        ("\"839206e3\" },", "\"839206e3\" }", "Expected \",\" or \"]\", but found \"{\"."),
        ("\"Size\": 227", "\"Size\" 227", "Expected \":\", but found \"227\"."),
        ("Last-Modified", "Owner", "unexpected file field"),
        ("\"Path\": \"backup_label\", ", "", "missing path name"),
        ("\"Path\"", "\"Encoded-Path\": \"00\", \"Path\"", "both path name and encoded path name"),
        ("ff2F61", "ff2F6", "could not decode file name"),
        (" \"Size\": 227,", "", "missing size"),
        ("227", "\"Oops\"", "file size is not an integer"),
        ("227", "-227", "file size is not an integer"),
        ("227", "2.27", "file size is not an integer"),
        ("227", "null", "file size is not an integer"),
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
        ("\"839206e3\"", "null", "invalid checksum for file \"backup_label\": \"null\"".to_owned()),
        ("839206e3", "", "file \"backup_label\" has checksum of length 0, but expected 4".to_owned()),
        ("839206e3", "839206", "file \"backup_label\" has checksum of length 3, but expected 4".to_owned()),
        ("839206e3", &long, "file \"backup_label\" has checksum of length 33, but expected 4".to_owned()),
    ] {
        assert_eq!(error(&sealed(&VERSION_TWO.replacen(from, to, 1))), text);
    }
    for (checksum, text) in [
        ("\"00\"", "invalid manifest checksum: \"00\""),
        ("\"?\"", "invalid manifest checksum: \"?\""),
        ("null", "invalid manifest checksum: \"null\""),
    ] {
        assert_eq!(error(&format!("{VERSION_ONE}\"Manifest-Checksum\": {checksum}}}\n")), text);
    }
}

#[test]
fn fields_may_come_in_another_order_and_the_last_one_counts() {
    let ranges = VERSION_ONE.split_once("\"WAL-Ranges\"").unwrap().1;
    let first = "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"WAL-Ranges\"".to_owned()
        + ranges
        + "\"Files\": [\n],\n";
    assert_eq!(read([sealed(&first).as_bytes()]).unwrap().len(), 1);
    let twice = VERSION_ONE.replacen("\"Timeline\": 1", "\"Timeline\": 7, \"Timeline\": \"1\"", 1);
    assert_eq!(read([sealed(&twice).as_bytes()]), read([sealed(VERSION_ONE).as_bytes()]));
}

#[test]
fn bb_207_a_checksum_of_no_algorithm_is_none() {
    let none = VERSION_TWO.replacen("CRC32C", "NONE", 1);
    let items = read([sealed(&none).as_bytes()]).unwrap();
    assert!(matches!(&items[1], ManifestItem::File(file) if file.checksum == Checksum::NONE));
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
