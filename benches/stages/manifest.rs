//! Checksums of files, and manifests.

use std::fmt::Write as _;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box_drop};
use pgsiphon::manifest::{ChecksumAlgorithm, Checksummer, ManifestFilter, ManifestReader};

use crate::contents::Contents;
use crate::{BACKUP_MESSAGE, MIB};

const FILES: usize = 20_000;

/// A manifest of so many files, as a server lays it out.
fn manifest(files: usize) -> Vec<u8> {
    let mut text =
        "{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": 7000000000000000001,\n\"Files\": [\n"
            .to_owned();
    for number in 0..files {
        let (oid, separator) = (16_384 + number, if number + 1 < files { "," } else { "" });
        writeln!(
            text,
            "{{ \"Path\": \"base/5/{oid}\", \"Size\": 8192, \"Last-Modified\": \"2026-11-23 04:05:06 GMT\", \
             \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"{oid:08x}\" }}{separator}"
        )
        .unwrap();
    }
    text.push_str(
        "],\n\"WAL-Ranges\": [\n{ \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": \"0/2000100\" }\n],\n",
    );
    let mut checksummer = Checksummer::new(ChecksumAlgorithm::Sha256);
    checksummer.update(text.as_bytes());
    writeln!(text, "\"Manifest-Checksum\": \"{}\"}}", checksummer.finish()).unwrap();
    text.into_bytes()
}

/// The manifest's own checksum is a SHA-256, those of files are what was asked for.
#[divan::bench(args = [ChecksumAlgorithm::Crc32c, ChecksumAlgorithm::Sha256, ChecksumAlgorithm::Sha512])]
fn checksum(bencher: Bencher<'_, '_>, algorithm: ChecksumAlgorithm) {
    let contents = Contents::Noise.bytes(16 * MIB);
    bencher.counter(BytesCount::of_slice(&contents)).bench_local(|| {
        let mut checksummer = Checksummer::new(algorithm);
        contents.chunks(BACKUP_MESSAGE).for_each(|piece| checksummer.update(piece));
        checksummer.finish()
    });
}

#[divan::bench]
fn read(bencher: Bencher<'_, '_>) {
    let manifest = manifest(FILES);
    bencher.counter(BytesCount::of_slice(&manifest)).counter(ItemsCount::new(FILES)).bench_local(|| {
        let mut reader = ManifestReader::new();
        for mut chunk in manifest.chunks(BACKUP_MESSAGE) {
            while let Some(item) = reader.next_item(&mut chunk).unwrap() {
                black_box_drop(item);
            }
        }
        reader.finish().unwrap();
    });
}

/// A tenth of the files, as visibility maps are left out of what an incremental backup refers to.
#[divan::bench]
fn leave_files_out(bencher: Bencher<'_, '_>) {
    let manifest = manifest(FILES);
    let mut output = Vec::new();
    bencher.counter(BytesCount::of_slice(&manifest)).counter(ItemsCount::new(FILES)).bench_local(|| {
        output.clear();
        let mut filter = ManifestFilter::new(|file| !file.path.ends_with(b"0"));
        for chunk in manifest.chunks(BACKUP_MESSAGE) {
            filter.push(chunk, &mut output);
        }
        filter.finish(&mut output).unwrap();
        output.len()
    });
}
