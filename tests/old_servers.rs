//! Servers of other versions than 15 to 18: what they send in another way, what they cannot do, and what is said then.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "support/library_backup.rs"]
mod library_backup;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use library_backup::{into_archives, options, settings};
use pgsiphon::backup::{BackupOptions, Compression, RecoveryOptions, WalMethod};
use pgsiphon::protocol::{CompressionRequest, ServerTarget};
use support::base_backup::{BackupProgram, file_names};
use support::lied_to::{LiedTo, assert_refused};
use support::scripted_backup_server::{
    Delivery, Member, Session, Step, archive, error, honest_end, honest_members, message,
};
use support::tree::assert_same_tree;
use support::{Cluster, Personality, StopMode, backup_sender, scratch_directory, start_slow_backup};

fn end_of_copy() -> Step {
    Step::Say(message(b'c', b""))
}

fn begin_of_copy() -> Step {
    Step::Say(message(b'H', &[0, 0, 0]))
}

fn terminated() -> Step {
    Step::Say(error("FATAL", "57P01", "terminating connection due to administrator command"))
}

/// The session with this after so many messages of its first copy.
fn interrupted(session: Session, payloads: usize, end: Vec<Step>) -> Session {
    let mut session = Session { instead_of_end: Some(end), ..session };
    session.payloads.truncate(payloads);
    session
}

#[test]
fn bb_052_servers_before_10_are_refused() {
    for version in ["9.6.24", "8.4.22", "unknown"] {
        let session = Session { version, ..Session::honest() };
        assert_refused(&session, &format!("incompatible server version {version}"));
    }
}

#[test]
fn bb_052_servers_that_are_newer_than_all_known_are_backed_up_with_a_warning() {
    for version in ["19devel", "20.1"] {
        let lied_to = LiedTo::new();
        let session = Session { version, ..Session::honest() };
        let outcome = lied_to.run(&session, Delivery::default(), &[]).run().expect_success();
        assert_eq!(
            outcome.stderr,
            format!(
                "pg_basebackup: warning: server version {version} is newer than any that this program knows; \
                 it is treated like version 18\n"
            )
        );
    }
}

#[test]
fn bb_059_what_follows_the_number_of_a_version_does_not_count() {
    for version in ["18beta1", "15.18 (Debian 15.18-0+deb12u1)", "16rc2"] {
        let session = Session { version, ..Session::honest() };
        let outcome = LiedTo::new().run(&session, Delivery::default(), &[]).run().expect_success();
        assert_eq!(outcome.stderr, "", "{version}");
    }
}

/// Either way of sending a backup gives the same one.
#[test]
fn bb_108_to_110_archives_and_manifest_in_copies_of_their_own() {
    let bytewise = Delivery { bytes_at_once: 1, ..Delivery::default() };
    let expected = LiedTo::new();
    expected.run(&Session::honest(), Delivery::default(), &[]).run().expect_success();
    for (session, delivery, ignored) in [
        (Session::honest_of_14(), Delivery::default(), &[][..]),
        (Session::honest_of_14(), bytewise, &[]),
        (Session::honest_of_12(), Delivery::default(), &["backup_manifest"]),
    ] {
        let lied_to = LiedTo::new();
        lied_to.run(&session, delivery, &[]).run().expect_success();
        assert_same_tree(&expected.path().join("out"), &lied_to.path().join("out"), ignored);

        let archives = LiedTo::new();
        archives.run(&session, delivery, &["-Ft"]).run().expect_success();
        let base = fs::read(archives.path().join("out/base.tar")).unwrap();
        assert!(base == archive(&honest_members()), "the archive differs from what was sent");
    }
}

/// The archives belong to the tablespaces in the order of the list, in which the main one need not be the last.
#[test]
fn bb_108_archives_are_named_after_the_list_of_tablespaces() {
    let lied_to = LiedTo::new();
    let tablespace = Member::directory("PG_12_201909212").to_bytes();
    let main: Vec<u8> = honest_members().iter().flat_map(Member::to_bytes).collect();
    let mut end = vec![end_of_copy(), begin_of_copy(), Step::Say(message(b'd', &main))];
    end.extend(honest_end());
    let location = lied_to.path().join("tablespace").display().to_string();
    let session = Session {
        tablespaces: vec![(16384, location)],
        payloads: vec![tablespace],
        instead_of_end: Some(end),
        ..Session::honest_of_12()
    };
    lied_to.run(&session, Delivery::default(), &["-Ft"]).run().expect_success();
    let directory = lied_to.path().join("out");
    assert_eq!(file_names(&directory), ["16384.tar", "base.tar"]);
    let expected = archive(&[Member::directory("PG_12_201909212")]);
    assert!(fs::read(directory.join("16384.tar")).unwrap() == expected);
    assert!(fs::read(directory.join("base.tar")).unwrap() == archive(&honest_members()));
}

#[test]
fn bb_111_a_copy_that_does_not_come() {
    let no_manifest = interrupted(Session::honest_of_14(), usize::MAX, honest_end());
    assert_refused(&no_manifest, "could not get COPY data stream: the server did not send one");
    let mut no_archive = Session::honest_of_12();
    no_archive.tablespaces = vec![(16384, "/nonexistent/tablespace".to_owned())];
    let stderr = LiedTo::new().refuse(&no_archive, Delivery::default(), &["-Ft"]);
    let expected = "pg_basebackup: error: could not get COPY data stream: the server did not send one\n\
                    pg_basebackup: removing data directory \"DIR/out\"\n";
    assert_eq!(stderr, expected);
}

/// The server's error is named after what would have come next.
#[test]
fn bb_098_bb_111_errors_of_the_server_in_the_middle() {
    let reason = "FATAL:  terminating connection due to administrator command";
    let no_copy = format!("could not get COPY data stream: {reason}");
    let failed = format!("backup failed: {reason}");
    for payloads in [0, 1, 4] {
        assert_refused(&interrupted(Session::honest_of_14(), payloads, vec![terminated()]), &no_copy);
        assert_refused(&interrupted(Session::honest_of_12(), payloads, vec![terminated()]), &failed);
    }
    for (steps, expected) in [
        (vec![end_of_copy(), terminated()], &no_copy),
        (vec![end_of_copy(), begin_of_copy(), terminated()], &failed),
    ] {
        assert_refused(&interrupted(Session::honest_of_14(), usize::MAX, steps), expected);
    }
    let mut all_but_the_end = Session::honest_of_14().instead_of_end.unwrap();
    let end = all_but_the_end.len() - honest_end().len() + 1;
    all_but_the_end.truncate(end);
    all_but_the_end.push(terminated());
    assert_refused(&interrupted(Session::honest_of_14(), usize::MAX, all_but_the_end), &failed);
}

/// A connection that is cut after any message fails the backup, also where no manifest would tell.
#[test]
fn bb_099_bb_128_a_connection_of_an_old_server_that_is_cut_anywhere() {
    for session in [Session::honest_of_12(), Session::honest_of_14()] {
        let said = session.steps().iter().filter(|step| matches!(step, Step::Say(_))).count();
        for cut_after in 0..said {
            let format = if cut_after % 2 == 0 { "-Fp" } else { "-Ft" };
            let delivery = Delivery { cut_after, ..Delivery::default() };
            let stderr = LiedTo::new().refuse(&session, delivery, &[format]);
            assert!(stderr.contains("server closed the connection unexpectedly"), "{cut_after}: {stderr}");
        }
    }
}

/// An archive without a manifest can still be seen to end in the middle of a file.
#[test]
fn bb_128_an_archive_of_an_old_server_that_ends_in_the_middle() {
    let session = interrupted(Session::honest_of_12(), 3, honest_end());
    assert_refused(&session, "COPY stream ended before last file was finished");
}

#[test]
fn bb_098_a_sender_of_postgresql_14_that_is_terminated() {
    let cluster = Cluster::builder(14).start();
    let scratch = scratch_directory();
    let directory = scratch.path().join("out");
    let program = Personality::named("pg_basebackup");
    let arguments = ["-Xnone", "-D", directory.to_str().unwrap()];
    let running = start_slow_backup(&cluster, program.path(), &arguments);
    cluster.psql(&format!("SELECT pg_terminate_backend({})", backup_sender(&cluster)));
    let stderr = running.finish().expect_code(1).stderr;
    let expected = format!(
        "pg_basebackup: error: could not get COPY data stream: FATAL:  terminating connection due to administrator \
         command\npg_basebackup: removing data directory \"{}\"\n",
        directory.display()
    );
    assert_eq!(stderr, expected);
    assert!(!directory.exists());
}

/// A backup without WAL of that server, whose outcome the test looks at.
fn outcome(cluster: &Cluster, directory: &Path, options: &[&str]) -> support::Outcome {
    BackupProgram::ours().back_up(cluster, directory).args(["-N", "-Xfetch"]).args(options).run()
}

#[test]
fn bb_053_postgresql_10_does_not_know_page_checksums() {
    let cluster = Cluster::builder(10).start();
    let scratch = scratch_directory();
    let directory = scratch.path().join("out");
    let stderr = outcome(&cluster, &directory, &["--no-verify-checksums"]).expect_code(1).stderr;
    let expected = format!(
        "pg_basebackup: error: could not initiate base backup: ERROR:  syntax error\n\
         pg_basebackup: removing data directory \"{}\"\n",
        directory.display()
    );
    assert_eq!(stderr, expected);
    assert!(!cluster.log().contains("data_directory_mode"));
}

#[test]
fn bb_053_bb_073_bb_257_postgresql_11_knows_page_checksums_and_group_access() {
    let cluster = Cluster::builder(11).initdb_arg("--allow-group-access").start();
    let scratch = scratch_directory();
    let directory = scratch.path().join("out");
    outcome(&cluster, &directory, &["--no-verify-checksums", "-R"]).expect_success();
    for (name, expected) in [("", 0o750), ("base", 0o750), ("PG_VERSION", 0o640), ("recovery.conf", 0o640)] {
        let mode = fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, expected, "{name}");
    }
}

#[test]
fn bb_055_manifest_options_mean_nothing_to_servers_before_13() {
    let cluster = Cluster::builder(12).start();
    let scratch = scratch_directory();
    for (name, options) in [
        ("bogus", &["--manifest-checksums=bogus", "--manifest-force-encode"][..]),
        ("tar", &["--manifest-checksums=sha512", "-Ft"]),
        ("none", &["--no-manifest"]),
    ] {
        let directory = scratch.path().join(name);
        let outcome = outcome(&cluster, &directory, options).expect_success();
        assert_eq!(outcome.stderr, "", "{name}");
        assert!(!file_names(&directory).iter().any(|file| file.starts_with("backup_manifest")), "{name}");
    }
    assert!(!cluster.log().contains("MANIFEST"));
}

/// What an old server cannot do is said in the words of the real program, and the server is not asked.
#[test]
fn bb_050_bb_056_to_058_what_old_servers_cannot_do_is_not_asked_of_them() {
    let target = || Some(ServerTarget { name: "blackhole".into(), detail: None });
    let server_compression =
        || Compression::Server(CompressionRequest { method: "gzip".into(), detail: None });
    for (major, wish, reason) in [
        (
            14,
            BackupOptions { target: target(), ..options(WalMethod::Fetch) },
            "backup targets are not supported by this server version",
        ),
        (
            14,
            BackupOptions { compression: server_compression(), ..options(WalMethod::Fetch) },
            "server does not support server-side compression",
        ),
        (
            16,
            BackupOptions { incremental: Some("/nonexistent".into()), ..options(WalMethod::Fetch) },
            "server does not support incremental backup",
        ),
        (
            16,
            BackupOptions {
                target: target(),
                recovery: Some(RecoveryOptions {
                    primary: Some(settings("user=u")),
                    ..RecoveryOptions::default()
                }),
                ..options(WalMethod::Fetch)
            },
            "recovery configuration cannot be written when a backup target is used",
        ),
    ] {
        let cluster = Cluster::builder(major).start();
        let scratch = scratch_directory();
        let error = into_archives(&cluster.conninfo(), &wish, &scratch.path().join("out")).unwrap_err();
        assert_eq!(error.to_string(), reason);
        assert!(!error.is_retryable());
        assert!(file_names(scratch.path()).is_empty());
        assert!(!cluster.log().contains("BASE_BACKUP"));
    }
}

/// Pages that are corrupt are reported at the very end, and everything that came is kept.
#[track_caller]
fn corrupt_pages_are_reported(major: u16) {
    let mut cluster = Cluster::builder(major).initdb_arg("--data-checksums").start();
    cluster.psql("CREATE TABLE t AS SELECT generate_series(1, 10000) AS i");
    let path = cluster.psql("SELECT pg_relation_filepath('t')");
    cluster.stop(StopMode::Fast);
    let file = cluster.data_dir().join(&path);
    let mut pages = fs::read(&file).unwrap();
    pages[8192 + 4000] ^= 0xff;
    fs::write(&file, &pages).unwrap();
    cluster.start();

    let scratch = scratch_directory();
    for (format, kept) in [("-Fp", path.as_str()), ("-Ft", "base.tar")] {
        let directory = scratch.path().join(format);
        let stderr = outcome(&cluster, &directory, &[format]).expect_code(1).stderr;
        assert!(stderr.starts_with("WARNING:  checksum verification failed in file \"./base/"), "{stderr}");
        assert!(stderr.ends_with("pg_basebackup: error: checksum error occurred\n"), "{stderr}");
        assert!(directory.join(kept).exists());
    }
}

#[test]
fn bb_095_bb_248_corrupt_pages_of_postgresql_11() {
    corrupt_pages_are_reported(11);
}

#[test]
fn bb_095_bb_248_corrupt_pages_of_postgresql_14() {
    corrupt_pages_are_reported(14);
}
