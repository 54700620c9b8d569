//! The conversation about a manifest, also with servers that do what a real one never would.

use std::fs;
use std::path::Path;

use super::chain::summarizing;
use super::support::base_backup::BackupProgram;
use super::support::certificates::{Certificate, Template};
use super::support::scripted_backup_server::{file_line, seal};
use super::support::{
    Cluster, Installation, Outcome, Peer, Personality, Run, ScriptedServer, ServerTls, scratch_directory,
};

/// What a manifest could be; nobody looks at it here.
fn some_manifest(place: &Path, length: usize) {
    fs::write(place.join("manifest"), vec![b'x'; length]).unwrap();
}

/// Plays a server that answers `UPLOAD_MANIFEST` as `script` says, to a client with a manifest of that length.
#[track_caller]
fn upload_to(program: &Path, length: usize, script: impl FnOnce(&mut Peer) + Send + 'static) -> Outcome {
    let server = ScriptedServer::start_as("18.0", move |peer| {
        peer.expect_command("SHOW data_directory_mode");
        peer.answer(&["0700"]);
        peer.expect_command("SHOW wal_segment_size");
        peer.answer(&["16MB"]);
        peer.expect_command("IDENTIFY_SYSTEM");
        peer.answer(&["7000000000000000001", "1", "0/2000028", ""]);
        peer.expect_command("UPLOAD_MANIFEST");
        script(peer);
    });
    let scratch = scratch_directory();
    some_manifest(scratch.path(), length);
    let out = scratch.path().join("out");
    let outcome = Run::new(program)
        .args(["-X", "none", "-d", &server.conninfo(), "-D"])
        .arg(&out)
        .arg("-i")
        .arg(scratch.path().join("manifest"))
        .run();
    server.finish();
    assert_eq!(outcome.code(), Some(1));
    assert!(!out.exists());
    outcome
}

/// Both programs fail with this first line.
#[track_caller]
fn both_say(expected: &str, script: impl Fn(&mut Peer) + Clone + Send + 'static) {
    let personality = Personality::named("pg_basebackup");
    for program in [&Installation::find(18).program("pg_basebackup"), personality.path()] {
        let stderr = upload_to(program, 100, script.clone()).stderr;
        let first = stderr.lines().next().unwrap();
        assert_eq!(first, format!("pg_basebackup: error: {expected}"), "{}", program.display());
    }
}

fn receive_manifest(peer: &mut Peer) -> usize {
    let mut length = 0;
    loop {
        match peer.receive() {
            Some((b'd', data)) => length += data.len(),
            Some((b'c', _)) => return length,
            other => panic!("expected a manifest, got {:?}", other.map(|(tag, _)| tag)),
        }
    }
}

fn copy_in(peer: &mut Peer) {
    peer.send(b'G', &[0, 0, 0]);
}

fn refuse(peer: &mut Peer, severity: &str) {
    peer.send(b'E', format!("S{severity}\0C22023\0Mno such thing\0\0").as_bytes());
}

#[test]
fn bb_114_answers_that_are_none() {
    both_say("could not upload manifest: unexpected status PGRES_COMMAND_OK", |peer| {
        peer.complete("UPLOAD_MANIFEST");
        peer.ready();
        peer.expect_end();
    });
    both_say("could not upload manifest: unexpected status PGRES_TUPLES_OK", |peer| {
        peer.answer(&["x"]);
        peer.expect_end();
    });
    both_say("could not upload manifest: unexpected status PGRES_TUPLES_OK", |peer| {
        copy_in(peer);
        assert_eq!(receive_manifest(peer), 100);
        peer.answer(&["x"]);
        peer.expect_end();
    });
    both_say("unexpected extra result while sending manifest", |peer| {
        copy_in(peer);
        receive_manifest(peer);
        peer.complete("UPLOAD_MANIFEST");
        peer.complete("UPLOAD_MANIFEST");
        peer.ready();
        peer.expect_end();
    });
}

#[test]
fn bb_114_refusals_before_and_after_the_manifest() {
    both_say("could not upload manifest: ERROR:  no such thing", |peer| {
        refuse(peer, "ERROR");
        peer.ready();
        peer.expect_end();
    });
    both_say("could not upload manifest: ERROR:  no such thing", |peer| {
        copy_in(peer);
        receive_manifest(peer);
        refuse(peer, "ERROR");
        peer.ready();
        peer.expect_end();
    });
    both_say("could not upload manifest: server closed the connection unexpectedly", |peer| {
        copy_in(peer);
        receive_manifest(peer);
    });
}

/// More than fits into the buffers of the system.
const LARGE: usize = 16 << 20;

/// A refusal that comes in the middle is the error, whether the server goes on to read or leaves.
#[test]
fn bb_114_a_refusal_in_the_middle_of_the_manifest() {
    let program = Personality::named("pg_basebackup");
    for severity in ["ERROR", "FATAL"] {
        let stderr = upload_to(program.path(), LARGE, move |peer| {
            copy_in(peer);
            peer.receive();
            refuse(peer, severity);
            if severity == "ERROR" {
                peer.ready();
                peer.expect_end();
            }
        })
        .stderr;
        let expected =
            format!("pg_basebackup: error: could not upload manifest: {severity}:  no such thing\n");
        assert!(stderr.starts_with(&expected), "{stderr}");
    }
}

/// The server says more than fits into the buffers of the system before it reads: neither waits for the other.
#[test]
fn bb_114_a_server_that_talks_before_it_reads() {
    let program = Personality::named("pg_basebackup");
    let notice = format!("SNOTICE\0C00000\0M{}\0\0", "n".repeat(16 << 10));
    let stderr = upload_to(program.path(), LARGE, move |peer| {
        copy_in(peer);
        for _ in 0..1024 {
            peer.send(b'N', notice.as_bytes());
        }
        assert_eq!(receive_manifest(peer), LARGE);
        refuse(peer, "ERROR");
        peer.ready();
        peer.expect_end();
    })
    .stderr;
    let notices = stderr.lines().filter(|line| line.starts_with("NOTICE:  nnn")).count();
    assert_eq!(notices, 1024);
    assert!(stderr.contains("\npg_basebackup: error: could not upload manifest: ERROR:  no such thing\n"));
}

/// A manifest of many megabytes out of a pipe, over a connection that encrypts what it holds back: the server takes
/// it, and the files that it has not do not matter.
#[test]
fn bb_112_a_large_manifest_out_of_a_pipe_over_tls() {
    let certificate = Certificate::self_signed(&Template::server("localhost"));
    let cluster = summarizing(Cluster::builder(18)).tls(ServerTls::new(&certificate)).start();
    let scratch = scratch_directory();
    let [full, large, increment] = ["full", "large", "increment"].map(|name| scratch.path().join(name));
    let program = BackupProgram::ours();
    let conninfo = format!("{} sslmode=require", cluster.conninfo());
    let back_up = |directory: &Path| program.back_up(&cluster, directory).args(["-N", "-d", &conninfo]);
    back_up(&full).run().expect_success();
    let manifest = fs::read_to_string(full.join("backup_manifest")).unwrap();
    let (text, _) = manifest.split_once("\"Manifest-Checksum\"").unwrap();
    let more: String = (0..30_000)
        .map(|number| file_line(&format!("base/1/{}_vm", 100_000 + number), 8192, "839206e3") + ",\n")
        .chain(
            (0..30_000)
                .map(|number| file_line(&format!("base/1/{}", 100_000 + number), 8192, "839206e3") + ",\n"),
        )
        .collect();
    let manifest = seal(&text.replace("\"Files\": [\n", &format!("\"Files\": [\n{more}")));
    Run::new("/usr/bin/mkfifo").arg(&large).run().expect_success();
    let pipe = large.clone();
    let writer = std::thread::spawn(move || fs::write(pipe, manifest));
    back_up(&increment).arg("-i").arg(&large).run().expect_success();
    writer.join().unwrap().unwrap();
    let label = fs::read_to_string(increment.join("backup_label")).unwrap();
    assert!(label.contains("\nINCREMENTAL FROM LSN: "), "{label}");
}
