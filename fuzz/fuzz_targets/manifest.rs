//! The backup manifest: what a server says it sent.
//!
//! The first byte is the length of the pieces in which it comes. If it is odd, its last line, with the checksum, is
//! made here.

#![no_main]

#[path = "../support/sealed_manifest.rs"]
mod sealed_manifest;

use std::fmt::Write;

use libfuzzer_sys::fuzz_target;
use pgsiphon::manifest::{
    FileEntry, ManifestError, ManifestFilter, ManifestItem, ManifestReader, ManifestVersion,
};
use sealed_manifest::sealed;

fuzz_target!(|input: &[u8]| {
    let Some((&length, text)) = input.split_first() else { return };
    let manifest = if length & 1 == 1 { sealed(text.to_vec()) } else { text.to_vec() };
    let length = usize::from(length) + 1;
    let whole = read(&manifest, manifest.len().max(1));
    assert_eq!(whole, read(&manifest, length));
    filtered(&manifest, &whole, length, |_| true);
    filtered(&manifest, &whole, length, is_kept);
    if let Ok(said) = whole {
        assert_eq!(read(&written(&said), length), Ok(said));
    }
});

/// What a manifest says.
#[derive(Clone, Debug, PartialEq)]
struct Said {
    version: ManifestVersion,
    items: Vec<ManifestItem>,
}

fn read(manifest: &[u8], length: usize) -> Result<Said, ManifestError> {
    let (mut reader, mut items) = (ManifestReader::new(), Vec::new());
    for mut chunk in manifest.chunks(length) {
        while let Some(item) = reader.next_item(&mut chunk)? {
            items.push(item);
        }
        assert!(chunk.is_empty());
    }
    reader.finish()?;
    Ok(Said { version: reader.version().unwrap(), items })
}

/// A manifest that loses files says the same of the others; one that is not sound does not become so.
fn filtered(
    manifest: &[u8],
    whole: &Result<Said, ManifestError>,
    length: usize,
    keep: fn(&FileEntry) -> bool,
) {
    let (mut filter, mut rest) = (ManifestFilter::new(keep), Vec::new());
    for chunk in manifest.chunks(length) {
        filter.push(chunk, &mut rest);
    }
    match (filter.finish(&mut rest), whole) {
        (Ok(()), Ok(said)) => {
            let mut expected = said.clone();
            expected.items.retain(|item| !matches!(item, ManifestItem::File(file) if !keep(file)));
            assert_eq!(read(&rest, length), Ok(expected));
        }
        (Ok(()), Err(error)) => panic!("a manifest was made sound: {error}"),
        (Err(_), _) => assert!(rest == manifest || read(&rest, length).is_err()),
    }
}

fn is_kept(file: &FileEntry) -> bool {
    !file.path.starts_with(b"pg_wal/")
}

/// The same as a server would write it, with every path encoded.
fn written(said: &Said) -> Vec<u8> {
    let version = if said.version == ManifestVersion::One { 1 } else { 2 };
    let mut text = format!("{{ \"PostgreSQL-Backup-Manifest-Version\": {version},\n");
    for items in said
        .items
        .chunk_by(|one, other| name_of_list(one).is_some() && name_of_list(one) == name_of_list(other))
    {
        match (name_of_list(&items[0]), &items[0]) {
            (Some(name), _) => {
                let objects: Vec<String> = items.iter().map(object).collect();
                writeln!(text, "\"{name}\": [\n{}\n],", objects.join(",\n")).unwrap();
            }
            (None, ManifestItem::SystemIdentifier(id)) => {
                writeln!(text, "\"System-Identifier\": {},", id.as_u64()).unwrap();
            }
            (None, item) => panic!("{item:?}"),
        }
    }
    sealed(text.into_bytes())
}

fn name_of_list(item: &ManifestItem) -> Option<&'static str> {
    match item {
        ManifestItem::File(_) => Some("Files"),
        ManifestItem::WalRange(_) => Some("WAL-Ranges"),
        ManifestItem::SystemIdentifier(_) => None,
    }
}

fn object(item: &ManifestItem) -> String {
    match item {
        ManifestItem::File(FileEntry { path, size, checksum }) => {
            let path: String = path.iter().map(|byte| format!("{byte:02x}")).collect();
            let algorithm = checksum.algorithm();
            format!(
                "{{ \"Encoded-Path\": \"{path}\", \"Size\": {size}, \
                 \"Checksum-Algorithm\": \"{algorithm}\", \"Checksum\": \"{checksum}\" }}"
            )
        }
        ManifestItem::WalRange(range) => format!(
            "{{ \"Timeline\": {}, \"Start-LSN\": \"{}\", \"End-LSN\": \"{}\" }}",
            range.timeline, range.start, range.end
        ),
        ManifestItem::SystemIdentifier(id) => panic!("{id}"),
    }
}
