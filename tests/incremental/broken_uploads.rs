//! A manifest that does not get to the server: the connection breaks on the way, or the server leaves. It is an error
//! within the time that the user gives, and nothing is left; or it is sent again.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use super::chain::summarizing;
use super::support::base_backup::{BackupProgram, verify};
use super::support::message_proxy::{Fate, Harm, MessageProxy, Moment, Place};
use super::support::{Cluster, DEADLINE, Run, scratch_directory, wait_for};

/// More than fits into the buffers of the system.
const LARGE: usize = 16 << 20;

/// The phases of an upload, by messages of the server: its consent, and its verdict.
const CONSENT: Moment = Moment::new("G", 1);
const VERDICT: Moment = Moment::holding("C", "UPLOAD_MANIFEST");

/// A server of that version, and the manifest of a full backup of it in `directory`.
fn server_and_manifest(major: u16, directory: &Path) -> Cluster {
    let cluster = summarizing(Cluster::builder(major)).start();
    let full = directory.join("full");
    BackupProgram::ours().back_up(&cluster, &full).args(["-N", "-X", "none"]).run().expect_success();
    fs::rename(full.join("backup_manifest"), directory.join("manifest")).unwrap();
    cluster
}

/// An increment over the proxy to what that manifest says.
fn increment(program: &BackupProgram, conninfo: &str, manifest: &Path, out: &Path) -> Run {
    Run::new(program.path())
        .args(["--no-sync", "-c", "fast", "-d", conninfo, "-D"])
        .arg(out)
        .arg("-i")
        .arg(manifest)
}

#[test]
fn bb_099_bb_112_a_connection_that_breaks_during_the_upload_fails_the_backup() {
    let scratch = scratch_directory();
    fs::write(scratch.path().join("large"), vec![b'x'; LARGE]).unwrap();
    let program = BackupProgram::ours();
    for major in [17, 18] {
        let place = scratch.path().join(major.to_string());
        fs::create_dir(&place).unwrap();
        let cluster = server_and_manifest(major, &place);
        let [small, large] = [place.join("manifest"), scratch.path().join("large")];
        let breaks = |manifest: &Path, moment, harm: Harm| {
            let fate = Fate::Harmed(moment, harm.clone());
            let proxy = MessageProxy::start(cluster.port(), vec![fate]);
            let (out, started) = (scratch_directory(), Instant::now());
            // A directory that is there is left as it was.
            let run = increment(&program, &proxy.conninfo(), manifest, out.path());
            let stderr = run.arg("--receive-timeout=1").run().expect_code(1).stderr;
            assert!(started.elapsed() < DEADLINE / 4, "{major}, {harm:?}: {stderr}");
            let reason = match harm {
                Harm::Stall(_) => "no message from the server for 1 seconds\n",
                _ => "server closed the connection unexpectedly\n",
            };
            assert!(stderr.contains(reason), "{major}, {harm:?}: {stderr}");
            assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0, "{stderr}");
            proxy.end_connections();
        };
        std::thread::scope(|scope| {
            for (manifest, moment, place) in [
                (&small, CONSENT, Place::Before),
                (&large, CONSENT, Place::After),
                (&small, VERDICT, Place::Before),
            ] {
                for harm in [Harm::Cut(place), Harm::Reset(place), Harm::Stall(place)] {
                    scope.spawn(move || breaks(manifest, moment, harm));
                }
            }
        });
        assert_eq!(cluster.psql("SELECT count(*) FROM pg_stat_progress_basebackup"), "0");
    }
}

/// The server has seen enough before it has seen everything.
#[test]
fn bb_114_a_server_that_refuses_during_the_upload_fails_the_backup() {
    let scratch = scratch_directory();
    let [manifest, out] = ["large", "out"].map(|name| scratch.path().join(name));
    fs::write(&manifest, "x\n".repeat(LARGE / 2)).unwrap();
    let program = BackupProgram::ours();
    for major in [17, 18] {
        let cluster = summarizing(Cluster::builder(major)).start();
        let stderr = increment(&program, &cluster.conninfo(), &manifest, &out).run().expect_code(1).stderr;
        let reason =
            "pg_basebackup: error: could not upload manifest: ERROR:  could not parse backup manifest: ";
        assert!(stderr.starts_with(reason), "{stderr}");
        assert!(!out.exists(), "{stderr}");
    }
}

/// The server ends while the manifest still comes out of a pipe, and so is not all there yet.
#[test]
fn bb_112_bb_114_a_server_that_leaves_during_the_upload_fails_the_backup() {
    let scratch = scratch_directory();
    let cluster = server_and_manifest(18, scratch.path());
    let manifest = fs::read(scratch.path().join("manifest")).unwrap();
    let [pipe, out] = ["pipe", "out"].map(|name| scratch.path().join(name));
    Run::new("/usr/bin/mkfifo").arg(&pipe).run().expect_success();
    let program = BackupProgram::ours();
    let running = increment(&program, &cluster.conninfo(), &pipe, &out).arg("-Xnone").start();
    // Without a reader of its own this would wait for ever for a program that has failed.
    let mut writer = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    writer.write_all(&manifest[..manifest.len() / 2]).unwrap();
    let sender = "FROM pg_stat_activity WHERE query LIKE 'UPLOAD_MANIFEST%'";
    let end = format!("SELECT pg_terminate_backend(pid) {sender} AND wait_event = 'ClientRead'");
    wait_for("the server to wait for the manifest", DEADLINE, || cluster.psql(&end) == "t");
    let left = format!("SELECT count(*) {sender}");
    wait_for("the server's process to end", DEADLINE, || cluster.psql(&left) == "0");
    // The reader may be gone by now.
    let _ = writer.write_all(&manifest[manifest.len() / 2..]);
    drop(writer);
    let stderr = running.finish().expect_code(1).stderr;
    let reason = "could not upload manifest: FATAL:  terminating connection due to administrator command\n";
    assert!(stderr.contains(reason), "{stderr}");
    assert!(!out.exists(), "{stderr}");
}

/// Where the manifest is a file, it is sent again.
#[test]
fn bb_112_a_retry_sends_the_manifest_again() {
    let scratch = scratch_directory();
    let cluster = server_and_manifest(18, scratch.path());
    let (manifest, out) = (scratch.path().join("manifest"), scratch.path().join("out"));
    let proxy = MessageProxy::start(cluster.port(), vec![Fate::Harmed(VERDICT, Harm::Cut(Place::Before))]);
    let program = BackupProgram::ours();
    let run = increment(&program, &proxy.conninfo(), &manifest, &out).arg("--retries=1");
    let stderr = run.run().expect_success().stderr;
    assert!(stderr.contains("server closed the connection unexpectedly\n"), "{stderr}");
    verify(cluster.installation(), &out, &[]);
    let label = fs::read_to_string(out.join("backup_label")).unwrap();
    assert!(label.contains("\nINCREMENTAL FROM LSN: "), "{label}");
}
