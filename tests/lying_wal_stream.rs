//! The connection that brings WAL lies or breaks off while the backup itself is sound: the backup fails, for
//! it would not recover, and nothing of it stays.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use support::base_backup::BackupProgram;
use support::lied_to::LiedTo;
use support::log_writer::{LogKind, LogWriter};
use support::scripted_backup_server::{
    Delivery, START, SYSTEM_IDENTIFIER, Session, Step, answered, error, message, welcome,
};

/// The start of the segment in which the backup starts.
const SEGMENT_START: u64 = 0x200_0000;

/// Up to where the backup needs WAL.
const END: u64 = 0x200_0100;

/// The WAL that the backup needs: four records, of which the last one ends at its end.
fn log() -> LogWriter {
    let mut log = LogWriter::new(SEGMENT_START, LogKind::with_segments_of(16 << 20));
    for body in [0, 40, 0, 77] {
        log.record(body);
    }
    assert_eq!(log.position(), END);
    log
}

/// A message of WAL with so many bytes from that position.
fn wal(start: u64, length: usize) -> Step {
    let log = log();
    let offset = start.wrapping_sub(SEGMENT_START) as usize;
    let bytes = log.bytes().get(offset..offset.wrapping_add(length)).unwrap_or(&[7; 10]);
    message_of(start, bytes)
}

/// A message of WAL with these bytes from that position.
fn message_of(start: u64, bytes: &[u8]) -> Step {
    let mut body = vec![b'w'];
    for number in [start, start + bytes.len() as u64, 0] {
        body.extend_from_slice(&number.to_be_bytes());
    }
    body.extend_from_slice(bytes);
    Step::Say(message(b'd', &body))
}

/// Everything on the second connection up to the stream.
fn before_stream(system_identifier: &str) -> Vec<Step> {
    let mut steps = welcome("15.18");
    steps.extend(answered(&["0700"]));
    steps.extend(answered(&["pg_basebackup_7", START, "", ""]));
    steps.extend(answered(&[system_identifier, "1", START]));
    steps.push(Step::Await);
    steps
}

/// A stream of exactly these messages after its start.
fn streaming(said: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let mut steps = before_stream(SYSTEM_IDENTIFIER);
    steps.push(Step::Say(message(b'W', &[0, 0, 0])));
    steps.extend(said);
    steps
}

fn session(second_connection: Vec<Step>) -> Session {
    Session { second_connection: Some(second_connection), ..Session::honest() }
}

/// The backup fails for that reason, and in good order; and so it does with the real program.
#[track_caller]
fn assert_refused(second_connection: Vec<Step>, reason: &str) {
    assert_refused_by_ours(second_connection.clone(), reason);
    assert_refused_by(BackupProgram::real_of(18), "-Fp", second_connection, reason);
}

/// The backup fails in both formats, where the real program does not see what is wrong.
#[track_caller]
fn assert_refused_by_ours(second_connection: Vec<Step>, reason: &str) {
    assert_refused_by(BackupProgram::ours(), "-Fp", second_connection.clone(), reason);
    assert_refused_by(BackupProgram::ours(), "-Ft", second_connection, reason);
}

/// Which of the two activities is the first to give up is a matter of time, and so is what the other one says.
#[track_caller]
fn assert_refused_by(program: BackupProgram, format: &str, second_connection: Vec<Step>, reason: &str) {
    let session = session(second_connection);
    let stderr = LiedTo::with(program).refuse(&session, Delivery::default(), &["-X", "stream", format]);
    assert!(stderr.starts_with("pg_basebackup: error: "), "{stderr}");
    assert!(stderr.contains(&format!("pg_basebackup: error: {reason}")), "{stderr}");
    assert!(stderr.ends_with("pg_basebackup: removing data directory \"DIR/out\"\n"), "{stderr}");
}

/// An honest stream of WAL that need not be honest.
fn whole_stream_of(wal: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let copy_done = Step::Say(message(b'c', b""));
    let rest = [b"START_STREAMING\0", b"START_REPLICATIO"].map(|tag| Step::Say(message(b'C', tag)));
    let mut said: Vec<Step> = wal.into_iter().collect();
    // The status that is due at once, and the client's own end of the stream.
    said.extend([Step::Await, Step::Await, copy_done]);
    said.extend(rest);
    said.push(Step::Say(message(b'Z', b"I")));
    streaming(said)
}

fn whole_stream() -> Vec<Step> {
    let length = usize::try_from(END - SEGMENT_START).unwrap();
    whole_stream_of([wal(SEGMENT_START, 100), wal(SEGMENT_START + 100, length - 100)])
}

#[test]
fn bb_190_an_honest_stream_is_taken() {
    for format in ["-Fp", "-Ft"] {
        let lied_to = LiedTo::new();
        let run = lied_to.run(&session(whole_stream()), Delivery::default(), &["-X", "stream", format]);
        let outcome = run.run().expect_success();
        assert_eq!(outcome.stderr, "");
        let wal = if format == "-Fp" { "pg_wal/000000010000000000000002" } else { "pg_wal.tar" };
        assert!(lied_to.path().join("out").join(wal).exists());
    }
}

#[test]
fn bb_182_a_second_connection_to_another_cluster() {
    assert_refused(
        before_stream("7000000000000000002"),
        "system identifier does not match between base backup and streaming connection\n",
    );
}

#[test]
fn bb_118_an_answer_that_is_no_slot() {
    let mut steps = welcome("15.18");
    steps.extend(answered(&["0700"]));
    steps.extend(answered(&["16MB"]));
    assert_refused(
        steps,
        "could not create replication slot \"pg_basebackup_7\": got 1 rows and 1 fields, expected 1 rows and 4 \
         fields\n",
    );
}

#[test]
fn bb_186_wal_that_is_not_what_comes_next() {
    for (start, offset) in
        [(SEGMENT_START + 1, 1), (u64::MAX - 100, 0xff_ff9b), (SEGMENT_START - 1, 0xff_ffff)]
    {
        let reason = format!("received write-ahead log record for offset {offset} with no file open\n");
        assert_refused(streaming([wal(start, 10)]), &reason);
    }
    assert_refused_by_ours(streaming([wal(0, 10)]), "got WAL data at 0/0, expected 0/2000000\n");
    assert_refused(
        streaming([wal(SEGMENT_START, 10), wal(SEGMENT_START + 20, 10)]),
        "got WAL data offset 00000014, expected 0000000a\n",
    );
    assert_refused(streaming([Step::Say(message(b'd', b"x"))]), "unrecognized streaming header: \"x\"\n");
    assert_refused(streaming([Step::Say(message(b'd', b"w1234"))]), "streaming header too small: 5\n");
}

#[test]
fn bb_229_wal_that_no_server_has_written() {
    let flipped = |offset: usize| {
        let mut bytes = log().bytes().to_vec();
        bytes[offset] ^= 0x40;
        whole_stream_of([message_of(SEGMENT_START, &bytes)])
    };
    for (offset, reason) in [
        (0, "invalid WAL page at 0/2000000: unexpected magic number D150\n"),
        (9, "invalid WAL page at 0/2000000: unexpected page address 0/2004000\n"),
        (24, "invalid WAL page at 0/2000000: WAL is from a different database system, whose identifier is "),
        (0x45, "invalid WAL record at 0/2000040: "),
        (0xff - 3, "invalid WAL record at 0/2000098: incorrect resource manager data checksum in record\n"),
    ] {
        assert_refused_by_ours(flipped(offset), reason);
    }
    let other_timeline = LogKind { timeline: 2, ..log().kind };
    let other_timeline = LogWriter::new(SEGMENT_START, other_timeline).filled(0x100);
    let reason = "invalid WAL page at 0/2000000: unexpected timeline 2\n";
    assert_refused_by_ours(whole_stream_of([message_of(SEGMENT_START, &other_timeline)]), reason);
}

#[test]
fn bb_229_wal_whose_records_end_too_early() {
    let mut zeros = log().bytes()[..0x98].to_vec();
    zeros.resize(0x100, 0);
    let mut unfinished = LogWriter::new(SEGMENT_START, log().kind);
    unfinished.record(0x50);
    unfinished.record(0x100);
    for (bytes, reached) in [(&zeros[..], "0/2000098"), (&unfinished.bytes()[..0x100], "0/2000090")] {
        let reason =
            format!("write-ahead log has records up to {reached} only, but is needed up to 0/2000100\n");
        assert_refused_by_ours(whole_stream_of([message_of(SEGMENT_START, bytes)]), &reason);
    }
}

#[test]
fn bb_192_a_stream_that_ends_too_early() {
    let ended = [
        Step::Say(message(b'c', b"")),
        Step::Await,
        Step::Await,
        Step::Say(message(b'C', b"COPY 0\0")),
        Step::Say(message(b'Z', b"I")),
    ];
    let said = std::iter::once(wal(SEGMENT_START, 100)).chain(ended);
    assert_refused(streaming(said), "replication stream was terminated before stop point\n");
    let failed = error("ERROR", "58P01", "requested WAL segment has already been removed");
    assert_refused(
        streaming([wal(SEGMENT_START, 100), Step::Say(failed)]),
        "unexpected termination of replication stream: ERROR:  requested WAL segment has already been removed\n",
    );
}

/// Up to the last byte that is needed; how the server takes leave after it does not matter.
#[test]
fn bb_179_bb_194_a_stream_that_is_cut_anywhere() {
    let whole = whole_stream();
    let last_wal = whole.iter().rposition(|step| matches!(step, Step::Say(said) if said[0] == b'd')).unwrap();
    for length in (0..=last_wal).filter(|&length| !matches!(whole[length], Step::Await)) {
        let format = if length % 2 == 0 { "-Fp" } else { "-Ft" };
        let session = session(whole[..length].to_vec());
        let stderr = LiedTo::new().refuse(&session, Delivery::default(), &["-X", "stream", format]);
        assert!(stderr.contains("server closed the connection unexpectedly"), "{length}: {stderr}");
    }
}
