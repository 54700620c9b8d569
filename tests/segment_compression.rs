//! Compressed segments that the real `pg_receivewal` takes from us, and those that we take from it.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use pgsiphon::compress::{CompressError, CompressionSpec, Decoder, Encoder, Method};
use pgsiphon::types::{Lsn, SegmentSize, TimelineId, WalFileName};
use rustix::process::Signal;
use support::{Cluster, DEADLINE, Run, wait_for};
use tempfile::TempDir;

/// What `pg_receivewal` can do.
const METHODS: [Method; 2] = [Method::Gzip, Method::Lz4];

fn segment_size() -> SegmentSize {
    SegmentSize::new(1 << 20).unwrap()
}

fn start_cluster(major: u16) -> Cluster {
    Cluster::builder(major)
        .initdb_arg("--wal-segsize=1")
        .setting("wal_keep_size", "1GB")
        .setting("max_wal_senders", "8")
        .setting("wal_level", "replica")
        .start()
}

/// Writes some hundred kilobytes of WAL, and gives the end of it; a little more follows, because `pg_receivewal` stops
/// only behind the position that it is given.
fn write_wal(cluster: &Cluster) -> Lsn {
    cluster.psql("CREATE TABLE IF NOT EXISTS filler (text text)");
    cluster.psql("INSERT INTO filler SELECT repeat(md5(i::text), 5) FROM generate_series(1, 2000) AS i");
    let end = cluster.psql("SELECT pg_current_wal_flush_lsn()").parse().unwrap();
    cluster.psql("INSERT INTO filler VALUES ('more')");
    end
}

/// Ends the current segment.
fn switch(cluster: &Cluster) {
    cluster.psql("SELECT pg_switch_wal()");
}

fn name_of(position: Lsn) -> String {
    WalFileName::new(TimelineId::FIRST, position.segment_number(segment_size()), segment_size()).to_string()
}

/// The whole segment as the server has it.
fn of_server(cluster: &Cluster, name: &str) -> Vec<u8> {
    fs::read(cluster.data_dir().join("pg_wal").join(name)).unwrap()
}

fn compress(method: Method, data: &[u8]) -> Vec<u8> {
    let (mut encoder, mut output) = (Encoder::new(&CompressionSpec::of(method)).unwrap(), Vec::new());
    encoder.push(data, &mut output).unwrap();
    encoder.finish(&mut output).unwrap();
    output
}

/// What the file holds, and what is wrong behind that.
fn decompress(method: Method, path: &Path) -> (Vec<u8>, Option<CompressError>) {
    let content = fs::read(path).unwrap();
    let (mut decoder, mut input, mut output) = (Decoder::new(method).unwrap(), &content[..], Vec::new());
    loop {
        match decoder.next_piece(&mut input) {
            Ok(Some(piece)) => output.extend_from_slice(&piece),
            Ok(None) => return (output, decoder.finish().err()),
            Err(error) => return (output, Some(error)),
        }
    }
}

/// The real program, which archives compressed.
fn pg_receivewal(cluster: &Cluster, directory: &Path, method: Method) -> Run {
    Run::new(cluster.installation().client_program("pg_receivewal"))
        .env("LD_LIBRARY_PATH", cluster.installation().library_directory())
        .args(["--no-loop", "--verbose", "--compress", method.name(), "--dbname", &cluster.conninfo()])
        .arg("--directory")
        .arg(directory)
}

/// Lets the real program receive up to that position, which it must begin to do at the start of that segment.
#[track_caller]
fn goes_on(cluster: &Cluster, directory: &Path, method: Method, start: Lsn, end: Lsn) {
    let run = pg_receivewal(cluster, directory, method).args(["--endpos", &end.to_string()]).run();
    let said = run.expect_success().stderr;
    let expected = format!("starting log streaming at {start} (timeline 1)");
    assert!(said.contains(&expected), "{expected}\n{said}");
    assert!(!said.contains("warning"), "{said}");
}

fn path_of(directory: &TempDir, name: &str, suffix: &str) -> PathBuf {
    directory.path().join(format!("{name}{suffix}"))
}

#[track_caller]
fn both_go_on_where_the_other_has_stopped(major: u16) {
    let cluster = start_cluster(major);
    let first = name_of(write_wal(&cluster));
    switch(&cluster);
    let end = write_wal(&cluster);
    let (second, second_start) = (name_of(end), end.segment_start(segment_size()));
    let offset = usize::try_from(end.segment_offset(segment_size())).unwrap();
    let directories = METHODS.map(|method| (method, tempfile::tempdir().unwrap()));

    for (method, directory) in &directories {
        let suffix = method.suffix();
        fs::write(path_of(directory, &first, suffix), compress(*method, &of_server(&cluster, &first)))
            .unwrap();
        goes_on(&cluster, directory.path(), *method, second_start, end);
        let partial = path_of(directory, &second, &format!("{suffix}.partial"));
        let (received, error) = decompress(*method, &partial);
        assert_eq!(error, None);
        assert!(received.len() >= offset, "{} {offset}", received.len());
        assert!(received[..offset] == of_server(&cluster, &second)[..offset]);
        fs::write(partial, compress(*method, &received[..offset / 2])).unwrap();
    }

    switch(&cluster);
    let end = write_wal(&cluster);
    for (method, directory) in &directories {
        goes_on(&cluster, directory.path(), *method, second_start, end);
        let complete = path_of(directory, &second, method.suffix());
        assert_eq!(decompress(*method, &complete), (of_server(&cluster, &second), None));
        assert!(!path_of(directory, &second, &format!("{}.partial", method.suffix())).exists());
        assert!(path_of(directory, &name_of(end), &format!("{}.partial", method.suffix())).exists());
    }
}

#[test]
fn rw_156_pg_receivewal_15_and_we_go_on_where_the_other_has_stopped() {
    both_go_on_where_the_other_has_stopped(15);
}

#[test]
fn rw_156_pg_receivewal_18_and_we_go_on_where_the_other_has_stopped() {
    both_go_on_where_the_other_has_stopped(18);
}

#[test]
fn rw_157_what_pg_receivewal_had_flushed_when_it_was_killed_is_read() {
    let cluster = start_cluster(15);
    for method in METHODS {
        let (slot, directory) = (method.name(), tempfile::tempdir().unwrap());
        cluster.psql(&format!("SELECT pg_create_physical_replication_slot('{slot}', true)"));
        let mut killed =
            pg_receivewal(&cluster, directory.path(), method).args(["--synchronous", "--slot", slot]).start();
        switch(&cluster);
        let end = write_wal(&cluster);
        wait_for("everything to be flushed", DEADLINE, || {
            cluster.psql(&format!("SELECT flush_lsn >= '{end}' FROM pg_stat_replication")) == "t"
        });
        killed.signal(Signal::KILL);
        drop(killed);
        let partial = path_of(&directory, &name_of(end), &format!("{}.partial", method.suffix()));
        let (received, error) = decompress(method, &partial);
        assert!(error.is_some(), "{method}: it was not killed in the middle");
        let offset = usize::try_from(end.segment_offset(segment_size())).unwrap();
        assert!(received.len() >= offset, "{method} {} {offset}", received.len());
        assert!(received[..offset] == of_server(&cluster, &name_of(end))[..offset]);
        wait_for("the server to notice", DEADLINE, || {
            cluster.psql("SELECT count(*) FROM pg_stat_replication") == "0"
        });
    }
}
