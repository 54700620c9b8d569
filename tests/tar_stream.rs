//! `-Ft -D -`: one tar archive on standard output, with everything in it.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::path::Path;

use support::archives::decompressed;
use support::base_backup::{BackupProgram, file_names, members, unpack, verify};
use support::{Cluster, Outcome, scratch_directory};

fn streamed(program: &BackupProgram, cluster: &Cluster, options: &[&str]) -> Outcome {
    program.back_up(cluster, Path::new("-")).arg("-Ft").args(options).run()
}

/// What the archive says of its members. The manifest names the moment, and so its size may differ too.
fn listed(archive: &[u8]) -> Vec<String> {
    let scratch = scratch_directory();
    let path = scratch.path().join("base.tar");
    fs::write(&path, archive).unwrap();
    let is_of_a_segment =
        |line: &String| ["pg_wal/0", "pg_wal/archive_status/0"].iter().any(|start| line.starts_with(start));
    members(&path).into_iter().filter(|line| !is_of_a_segment(line)).collect()
}

#[test]
fn bb_106_and_144_and_156_and_160_the_archive_is_that_of_the_real_program() {
    for major in [15, 18] {
        let cluster = Cluster::builder(major).start();
        cluster.psql("VACUUM (FREEZE)");
        // Else the first backup would make files that the second one has, too.
        streamed(&BackupProgram::ours(), &cluster, &["-Xn"]).expect_success();
        for options in [
            &["-Xn"][..],
            &["-Xf"],
            &["-Xn", "--no-manifest"],
            &["-Xn", "-R"],
            &["-Xf", "--no-manifest", "-R"],
        ] {
            let ours = streamed(&BackupProgram::ours(), &cluster, options).expect_success();
            let real = streamed(&BackupProgram::real(&cluster), &cluster, options).expect_success();
            let listing = listed(&ours.stdout);
            let last = |count: usize| {
                let names = listing[listing.len() - count..].iter();
                names.map(|line| line.split(' ').next().unwrap()).collect::<Vec<_>>()
            };
            if options.contains(&"-R") {
                assert_eq!(last(1), ["standby.signal"], "{options:?}");
            } else if options == ["-Xn"] {
                assert_eq!(last(1), ["backup_manifest"]);
            }
            // The settings name the program, and the passwords file.
            let same = |line: &&String| !line.starts_with("postgresql.auto.conf") || !options.contains(&"-R");
            let [ours_listed, real_listed] = [listing.clone(), listed(&real.stdout)]
                .map(|lines| lines.iter().filter(same).cloned().collect::<Vec<_>>());
            assert_eq!(ours_listed, real_listed, "server {major}, {options:?}");
            assert_eq!(ours.stderr.lines().count(), real.stderr.lines().count(), "{}", ours.stderr);
        }
    }
}

#[test]
fn bb_147_and_156_a_compressed_stream_unpacks_to_a_backup_that_is_verified() {
    let cluster = Cluster::builder(18).start();
    cluster.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i");
    for (option, suffix) in
        [("-Znone", ""), ("-Zgzip", ".gz"), ("-Zlz4", ".lz4"), ("-Zzstd:workers=1", ".zst")]
    {
        let outcome = streamed(&BackupProgram::ours(), &cluster, &["-Xf", option]).expect_success();
        let scratch = scratch_directory();
        let [compressed, plain] = ["compressed", "plain"].map(|name| scratch.path().join(name));
        fs::create_dir(&compressed).unwrap();
        fs::write(compressed.join(format!("base.tar{suffix}")), &outcome.stdout).unwrap();
        decompressed(&compressed, &plain);
        let restored = scratch.path().join("restored");
        unpack(&plain, &restored);
        verify(cluster.installation(), &restored, &[]);
        if option == "-Zlz4" {
            let restored = Cluster::existing(18, restored).start();
            assert_eq!(restored.psql("SELECT sum(i) FROM t"), "500500");
        }
    }
}

#[test]
fn bb_150_the_manifest_does_not_go_into_what_the_server_compressed() {
    let cluster = Cluster::builder(18).start();
    let outcome = streamed(&BackupProgram::ours(), &cluster, &["-Xf", "-Zserver-gzip"]).expect_code(1);
    let expected = "pg_basebackup: error: cannot inject manifest into a compressed tar file\n\
                    pg_basebackup: hint: Use client-side compression, send the output to a directory rather than \
                    standard output, or use --no-manifest.\n";
    assert_eq!(outcome.stderr, expected);
    assert!(outcome.stdout.is_empty(), "nothing of what cannot be completed comes out");
    let outcome = streamed(&BackupProgram::ours(), &cluster, &["-Xf", "-Zserver-gzip", "--no-manifest"])
        .expect_success();
    let mut decoder = flate2::bufread::GzDecoder::new(&outcome.stdout[..]);
    let mut tar = Vec::new();
    std::io::copy(&mut decoder, &mut tar).unwrap();
    assert!(listed(&tar).iter().any(|line| line.starts_with("global/pg_control ")));
}

#[test]
fn bb_144_several_tablespaces_do_not_fit_into_one_archive() {
    let cluster = Cluster::builder(18).start();
    let location = cluster.make_directory("space");
    cluster.psql(&format!("CREATE TABLESPACE space LOCATION '{}'", location.display()));
    let ours = streamed(&BackupProgram::ours(), &cluster, &["-Xf"]).expect_code(1);
    assert_eq!(
        ours.stderr,
        streamed(&BackupProgram::real(&cluster), &cluster, &["-Xf"]).expect_code(1).stderr
    );
    assert!(
        ours.stderr.ends_with("can only write single tablespace to stdout, database has 2\n"),
        "{}",
        ours.stderr
    );
    assert!(ours.stdout.is_empty());
}

#[test]
fn bb_144_nothing_is_made_beside_the_stream() {
    let cluster = Cluster::builder(18).start();
    let scratch = scratch_directory();
    let outcome = BackupProgram::ours()
        .back_up(&cluster, Path::new("-"))
        .args(["-Ft", "-Xn", "-P", "-v"])
        .current_dir(scratch.path())
        .run()
        .expect_success();
    assert!(file_names(scratch.path()).is_empty());
    assert!(outcome.stdout.starts_with(b"backup_label\0"));
    assert!(outcome.stdout.ends_with(&[0; 1024]) && outcome.stdout.len().is_multiple_of(512));
    assert!(outcome.stderr.contains("(-  "), "{}", outcome.stderr);
}
