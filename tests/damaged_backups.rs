//! Damage on the way and damage on the server: neither passes for a good backup.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use support::base_backup::{BackupProgram, unpack, verify};
use support::{Attempt, Cluster, Outcome, Personality, Run, client_program, scratch_directory};

const MAJOR: u16 = 15;

/// What the damaged file holds, again and again, so that the place is found in the stream.
const MARK: &[u8] = b"a text that is in no other file of the cluster";

/// Between a client and a server; flips one bit of what the server says, the first time that [`MARK`] comes.
struct FlippingProxy {
    port: u16,
}

impl FlippingProxy {
    fn start(server_port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            // It listens until the process of the test ends, which is soon.
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).unwrap();
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || pass_on(from, to, false));
                std::thread::spawn(move || pass_on(server, client, true));
            }
        });
        Self { port }
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, mut flip: bool) {
    let mut buffer = vec![0; 64 * 1024];
    // Whichever side leaves first, the other is told.
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let bytes = &mut buffer[..length];
        if flip && let Some(at) = bytes.windows(MARK.len()).position(|window| window == MARK) {
            bytes[at + 5] ^= 0x10;
            flip = false;
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

#[test]
fn bb_227_a_bit_that_flips_on_the_way() {
    let cluster = Cluster::builder(MAJOR).start();
    let marked = cluster.data_dir().join("marked");
    fs::write(&marked, MARK.repeat(2000)).unwrap();
    support::ServerAccount::current().own(&marked);
    let proxy = FlippingProxy::start(cluster.port());
    let program = Personality::named("pg_basebackup");
    for (format, algorithm) in [("-Fp", "CRC32C"), ("-Ft", "SHA512"), ("-Fp", "SHA224")] {
        let directory = scratch_directory();
        let out = directory.path().join("out");
        let conninfo = format!("host=127.0.0.1 port={} user=postgres sslmode=disable", proxy.port);
        let outcome = Run::new(program.path())
            .args(["--no-sync", "-c", "fast", "-X", "fetch", "-d", &conninfo, "-D"])
            .arg(&out)
            .args([format, "--manifest-checksums", algorithm])
            .run()
            .expect_code(1);
        assert_eq!(
            outcome.stderr,
            format!(
                "pg_basebackup: error: backup verification failed: checksum mismatch for file \"marked\"\n\
                 pg_basebackup: removing data directory \"{}\"\n",
                out.display()
            )
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

/// A cluster with checksums, of which pages in two tables are damaged: fewer than five in one, more in the other.
fn damaged_cluster() -> Cluster {
    let mut cluster = Cluster::builder(MAJOR).initdb_arg("--data-checksums").start();
    cluster.psql("CREATE TABLE little AS SELECT generate_series(1, 10000)");
    cluster.psql("CREATE TABLE much AS SELECT generate_series(1, 10000)");
    let file = |table: &str| -> PathBuf {
        let path = cluster.psql(&format!("SELECT pg_relation_filepath('{table}')"));
        cluster.data_dir().join(path)
    };
    let files = [(file("little"), 1), (file("much"), 8)];
    cluster.stop(support::StopMode::Fast);
    for (path, pages) in files {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        for page in 0..pages {
            // Behind the header of the page, which would make it look new.
            file.write_all_at(&[0xa5; 16], page * 8192 + 4000).unwrap();
        }
    }
    cluster.start();
    cluster
}

#[test]
fn bb_095_bb_096_bb_248_corrupt_pages_are_reported_and_the_backup_is_kept() {
    let cluster = damaged_cluster();
    let base = ["-U", "postgres", "-D", "DIR/out", "-X", "none"];
    let attempt = Attempt::new(&cluster, &base);
    let ours = Personality::named("pg_basebackup");
    let [original, ours] = [client_program("pg_basebackup").as_path(), ours.path()].map(|program| {
        let attempted = attempt.with(program);
        assert_eq!(attempted.outcome.code(), Some(1));
        assert_eq!(attempted.outcome.stdout_text(), "");
        let left = |name: &str| attempted.left.contains(&PathBuf::from(name));
        assert!(left("out/backup_manifest.tmp") && !left("out/backup_manifest"), "{:?}", attempted.left);
        assert!(left("out/global/pg_control"));
        attempted.stderr
    });
    assert_eq!(ours, original);
    assert!(ours.starts_with("WARNING:  checksum verification failed in file \"./base/"), "{ours}");
    assert!(ours.contains("further checksum verification failures in file \"./base/"), "{ours}");
    assert!(ours.ends_with("pg_basebackup: error: checksum error occurred\n"), "{ours}");
}

/// The directory of the WAL is named, because nothing is said of the others.
#[test]
fn bb_248_corrupt_pages_with_a_wal_directory_and_with_streaming() {
    let cluster = damaged_cluster();
    let attempt = Attempt::new(&cluster, &["-U", "postgres", "-D", "DIR/out", "--waldir", "DIR/wal"]);
    let ours = Personality::named("pg_basebackup");
    let [original, ours] = [client_program("pg_basebackup").as_path(), ours.path()].map(|program| {
        let attempted = attempt.with(program);
        assert_eq!(attempted.outcome.code(), Some(1));
        assert!(attempted.left.contains(&PathBuf::from("out/backup_manifest.tmp")));
        attempted.stderr
    });
    assert_eq!(ours, original);
    let end = "pg_basebackup: error: checksum error occurred\n\
               pg_basebackup: WAL directory \"DIR/wal\" not removed at user's request\n";
    assert!(ours.ends_with(end), "{ours}");
}

/// What is kept has all its WAL, other than with the original, and its only fault is that of the server.
#[test]
fn bb_248_a_backup_with_corrupt_pages_has_its_wal() {
    let cluster = damaged_cluster();
    let program = BackupProgram::ours();
    for format in ["plain", "tar"] {
        let directory = scratch_directory();
        let [out, unpacked] = ["out", "unpacked"].map(|name| directory.path().join(name));
        program.back_up(&cluster, &out).args(["--no-sync", "-F", format]).run().expect_code(1);
        fs::rename(out.join("backup_manifest.tmp"), out.join("backup_manifest")).unwrap();
        let data_directory = if format == "tar" {
            unpack(&out, &unpacked);
            unpacked
        } else {
            out
        };
        verify(cluster.installation(), &data_directory, &[]);
        let restored = Cluster::existing(MAJOR, &data_directory).start();
        let stderr = restored.psql_outcome("SELECT count(*) FROM little").stderr;
        assert!(stderr.contains("ERROR:  invalid page in block 0 of relation base/"), "{stderr}");
        assert_eq!(restored.psql("SELECT count(*) > 100 FROM pg_class"), "t");
    }
}

#[test]
fn bb_085_corrupt_pages_are_taken_as_they_are_where_that_is_asked_for() {
    let cluster = damaged_cluster();
    for format in ["-Fp", "-Ft"] {
        let arguments = ["-U", "postgres", "-D", "DIR/out", "--no-verify-checksums", format];
        let attempted = Attempt::new(&cluster, &arguments).with(Personality::named("pg_basebackup").path());
        let Outcome { status, stderr, .. } = attempted.outcome;
        assert!(status.success() && stderr.is_empty(), "{stderr}");
    }
}
