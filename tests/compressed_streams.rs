//! What is compressed here is read by everybody else, and the other way round.

#![cfg(all(feature = "gzip", feature = "lz4", feature = "zstd"))]
#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use pgsiphon::compress::{CompressionSpec, Decoder, Encoder, Method};
use support::base_backup::{BackupProgram, verify_archives};
use support::{Cluster, Run, scratch_directory};

/// Something of which each method makes more than one block, and the threads of zstd more than one job.
fn sample() -> Vec<u8> {
    let lines = |i: u32| format!("{i} {} {}\n", i.wrapping_mul(2_654_435_761), i / 1000);
    (0..400_000).map(lines).collect::<String>().into_bytes()
}

fn spec(text: &str) -> CompressionSpec {
    let (method, detail) =
        text.split_once(':').map_or((text, None), |(method, detail)| (method, Some(detail)));
    CompressionSpec::parse(method, detail).unwrap().unwrap()
}

fn compress(spec: &str, data: &[u8], file: &Path) {
    let mut encoder = Encoder::new(&self::spec(spec)).unwrap();
    let mut output = Vec::new();
    for chunk in data.chunks(100_000) {
        encoder.push(chunk, &mut output).unwrap();
    }
    encoder.finish(&mut output).unwrap();
    fs::write(file, output).unwrap();
}

fn decompress(method: Method, file: &Path, chunk: usize) -> Vec<u8> {
    let mut decoder = Decoder::new(method).unwrap();
    let mut file = File::open(file).unwrap();
    let (mut buffer, mut output) = (vec![0; chunk], Vec::new());
    loop {
        let count = file.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        let mut input = &buffer[..count];
        while let Some(piece) = decoder.next_piece(&mut input).unwrap() {
            output.extend_from_slice(&piece);
        }
    }
    decoder.finish().unwrap();
    output
}

/// What the method's own program finds in a file.
#[track_caller]
fn decompress_by_system(method: Method, file: &Path) -> Vec<u8> {
    let mut options = vec!["--decompress", "--stdout", "--quiet"];
    if method == Method::Zstd {
        options.push("--long=27");
    }
    Run::new(method.name()).args(options).arg(file).run().expect_success().stdout
}

#[test]
fn bb_153_and_154_the_programs_of_each_method_read_what_is_written() {
    let scratch = scratch_directory();
    let data = sample();
    for text in [
        "gzip",
        "gzip:1",
        "gzip:9",
        "lz4",
        "lz4:3",
        "lz4:9",
        "zstd",
        "zstd:-5",
        "zstd:5",
        "zstd:workers=2",
        "zstd:long",
        "zstd:level=2,workers=3,long",
    ] {
        let method = spec(text).method;
        for data in [&data[..], &[]] {
            let file = scratch.path().join(format!("data{}", method.suffix()));
            compress(text, data, &file);
            Run::new(method.name()).arg("--test").arg(&file).run().expect_success();
            assert!(decompress_by_system(method, &file) == data, "{text}");
        }
    }
}

#[test]
fn bb_153_gzip_lists_the_length_of_everything() {
    // It takes the length from the end of the last member, so that a second would hide the first.
    let scratch = scratch_directory();
    let (data, file) = (sample(), scratch.path().join("data.gz"));
    compress("gzip", &data, &file);
    let list = Run::new("gzip").args(["--list", "--quiet"]).arg(&file).run().expect_success().stdout_text();
    assert_eq!(list.split_whitespace().nth(1), Some(data.len().to_string().as_str()), "{list}");
}

#[test]
fn bb_153_and_154_pg_verifybackup_reads_what_is_written() {
    let cluster = Cluster::builder(18).start();
    let scratch = scratch_directory();
    let directory = scratch.path().join("backup");
    let options = ["--no-sync", "--format=tar", "--wal-method=fetch"];
    BackupProgram::real(&cluster).back_up(&cluster, &directory).args(options).run().expect_success();
    let archive = fs::read(directory.join("base.tar")).unwrap();
    fs::remove_file(directory.join("base.tar")).unwrap();
    for text in ["gzip", "gzip:1", "lz4", "lz4:5", "zstd", "zstd:workers=2", "zstd:long"] {
        let compressed = directory.join(format!("base.tar{}", spec(text).method.suffix()));
        compress(text, &archive, &compressed);
        verify_archives(cluster.installation(), &directory);
        fs::remove_file(compressed).unwrap();
    }
}

#[test]
fn bb_155_what_postgresql_compresses_is_read() {
    let cluster = Cluster::builder(18).start();
    let program = BackupProgram::real(&cluster);
    for text in ["gzip", "gzip:9", "lz4", "lz4:9", "zstd", "zstd:workers=2", "zstd:long"] {
        for location in ["client", "server"] {
            let scratch = scratch_directory();
            let directory = scratch.path().join("backup");
            let compression = format!("--compress={location}-{text}");
            let options = ["--no-sync", "--format=tar", "--wal-method=stream", &compression];
            program.back_up(&cluster, &directory).args(options).run().expect_success();
            let method = spec(text).method;
            let archives: Vec<_> = fs::read_dir(&directory)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.to_str().unwrap().ends_with(method.suffix()))
                .collect();
            assert!(!archives.is_empty(), "{compression}");
            for archive in archives {
                let expected = decompress_by_system(method, &archive);
                for chunk in [1 << 20, 1001] {
                    assert!(decompress(method, &archive, chunk) == expected, "{compression} {chunk}");
                }
            }
        }
    }
}
