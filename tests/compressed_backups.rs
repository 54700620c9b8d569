//! Compressed backups, whoever compresses them: what arrives is what the server has, in a form that everybody reads.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::path::Path;

use support::archives::{decompressed, test_compressed};
use support::base_backup::{
    BackupProgram, file_names, members, timeless_entries, timeless_manifest, unpack, verify, verify_archives,
};
use support::{Cluster, Installation, scratch_directory};

/// A server with something that is worth compressing, and with a tablespace.
fn cluster(major: u16) -> Cluster {
    let cluster = Cluster::builder(major).start();
    let location = cluster.make_directory("space");
    cluster.psql(&format!("CREATE TABLESPACE space LOCATION '{}'", location.display()));
    cluster
        .psql("CREATE TABLE t TABLESPACE space AS SELECT i, md5(i::text) FROM generate_series(1, 30000) i");
    cluster.psql("VACUUM (FREEZE)");
    cluster
}

fn mapping(cluster: &Cluster, directory: &Path) -> String {
    format!("-T{}={}", cluster.data_dir().with_file_name("space").display(), directory.display())
}

/// The names of the files of a backup, with `OID` for the number of the tablespace.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = file_names(directory)
        .into_iter()
        .map(|name| match name.split_once('.') {
            Some((oid, suffix)) if oid.bytes().all(|byte| byte.is_ascii_digit()) => format!("OID.{suffix}"),
            _ => name,
        })
        .collect();
    names.sort();
    names
}

const TAR_ROWS: [(&str, &str, &str); 15] = [
    ("-z", ".gz", ".gz"),
    ("-Z1", ".gz", ".gz"),
    ("-Zgzip:9", ".gz", ".gz"),
    ("-Zclient-gzip:level=5", ".gz", ".gz"),
    ("-Zlz4", ".lz4", ""),
    ("-Zclient-lz4:12", ".lz4", ""),
    ("-Zzstd", ".zst", ""),
    ("-Zclient-zstd:level=-5", ".zst", ""),
    ("-Zzstd:level=4,workers=2,long", ".zst", ""),
    ("-Znone", "", ""),
    ("-Zserver-gzip", ".gz", ""),
    ("-Zserver-gzip:level=1", ".gz", ""),
    ("-Zserver-lz4:1", ".lz4", ""),
    ("-Zserver-zstd:level=2,long", ".zst", ""),
    ("-Zserver-none", "", ""),
];

#[test]
fn bb_139_and_147_to_149_and_152_to_154_and_266_tar_files_of_every_kind() {
    let cluster = cluster(18);
    let scratch = scratch_directory();
    let reference = scratch.path().join("reference");
    BackupProgram::real(&cluster).back_up(&cluster, &reference).arg("-Ft").run().expect_success();
    for (number, (option, suffix, wal_suffix)) in TAR_ROWS.into_iter().enumerate() {
        let backup = scratch.path().join(format!("backup-{number}"));
        BackupProgram::ours().back_up(&cluster, &backup).args(["-Ft", option]).run().expect_success();
        let expected = [
            format!("OID.tar{suffix}"),
            "backup_manifest".to_owned(),
            format!("base.tar{suffix}"),
            format!("pg_wal.tar{wal_suffix}"),
        ];
        assert_eq!(names(&backup), expected, "{option}");
        for name in file_names(&backup) {
            if name.ends_with(suffix) && !suffix.is_empty() {
                test_compressed(&backup.join(name));
            }
        }
        verify_archives(cluster.installation(), &backup);
        let plain = scratch.path().join(format!("plain-{number}"));
        decompressed(&backup, &plain);
        assert_eq!(members(&plain.join("base.tar")), members(&reference.join("base.tar")), "{option}");
        assert_eq!(timeless_manifest(&plain), timeless_manifest(&reference), "{option}");
        let restored = scratch.path().join(format!("restored-{number}"));
        unpack(&plain, &restored);
        verify(cluster.installation(), &restored, &[]);
        fs::remove_dir_all(backup).unwrap();
    }
}

#[test]
fn bb_148_and_155_and_266_what_the_server_compressed_is_unpacked_as_if_it_were_not() {
    for major in [15, 18] {
        let cluster = cluster(major);
        let scratch = scratch_directory();
        let take = |name: &str, options: &[&str]| {
            let root = scratch.path().join(name);
            fs::create_dir(&root).unwrap();
            BackupProgram::ours()
                .back_up(&cluster, &root.join("data"))
                .arg(mapping(&cluster, &root.join("space")))
                .args(options)
                .run()
                .expect_success();
            verify(cluster.installation(), &root.join("data"), &[]);
            timeless_entries(&root)
        };
        let reference = take("reference", &[]);
        let mut details =
            vec!["gzip", "gzip:9", "lz4", "lz4:level=3", "zstd", "zstd:19", "zstd:level=1,workers=2"];
        if major >= 16 {
            details.push("zstd:long");
        }
        for detail in details {
            let compressed = take(&detail.replace([':', '='], "-"), &["-Z", &format!("server-{detail}")]);
            assert!(compressed == reference, "server {major}, {detail}");
        }
    }
}

#[test]
fn bb_147_and_151_and_157_and_158_recovery_settings_are_put_into_compressed_archives() {
    let cluster = cluster(18);
    let scratch = scratch_directory();
    let settings = |directory: &Path| fs::read_to_string(directory.join("postgresql.auto.conf")).unwrap();
    for (number, option) in
        ["-Zgzip", "-Zlz4", "-Zzstd", "-Zserver-gzip", "-Zserver-lz4:2", "-Zserver-zstd:level=2,workers=1"]
            .into_iter()
            .enumerate()
    {
        let backup = scratch.path().join(format!("backup-{number}"));
        BackupProgram::ours().back_up(&cluster, &backup).args(["-Ft", "-R", option]).run().expect_success();
        verify_archives(cluster.installation(), &backup);
        let plain = scratch.path().join(format!("plain-{number}"));
        decompressed(&backup, &plain);
        let restored = scratch.path().join(format!("restored-{number}"));
        unpack(&plain, &restored);
        assert!(settings(&restored).contains("\nprimary_conninfo = '"), "{option}: {}", settings(&restored));
        assert_eq!(fs::read(restored.join("standby.signal")).unwrap(), b"", "{option}");
        verify(cluster.installation(), &restored, &[]);
    }
}

#[test]
fn bb_153_and_201_there_is_one_gzip_member_in_each_file() {
    let cluster = Cluster::builder(15).start();
    let scratch = scratch_directory();
    let backup = scratch.path().join("backup");
    BackupProgram::ours().back_up(&cluster, &backup).args(["-Ft", "-z"]).run().expect_success();
    for name in ["base.tar.gz", "pg_wal.tar.gz"] {
        let bytes = fs::read(backup.join(name)).unwrap();
        // This decoder stops after the first member and leaves the rest.
        let mut decoder = flate2::bufread::GzDecoder::new(&bytes[..]);
        let size = std::io::copy(&mut decoder, &mut std::io::sink()).unwrap();
        assert!(decoder.into_inner().is_empty(), "{name} has a second member");
        assert!(size > 16 << 20 && size.is_multiple_of(512), "{name} has {size} bytes");
    }
}

#[test]
fn bb_140_a_fetched_backup_is_the_manifest_and_the_archives() {
    let cluster = cluster(18);
    let scratch = scratch_directory();
    for option in ["-Zclient-zstd", "-Zserver-lz4"] {
        let backup = scratch.path().join(option);
        BackupProgram::ours().back_up(&cluster, &backup).args(["-Ft", "-Xf", option]).run().expect_success();
        let suffix = if option.ends_with("zstd") { "zst" } else { "lz4" };
        let expected =
            [format!("OID.tar.{suffix}"), "backup_manifest".to_owned(), format!("base.tar.{suffix}")];
        assert_eq!(names(&backup), expected);
        verify_archives(cluster.installation(), &backup);
    }
}

#[test]
fn bb_027_and_057_what_the_server_says_of_its_compression() {
    let cluster = Cluster::builder(18).start();
    let scratch = scratch_directory();
    for detail in
        ["gzip:0", "lz4:13", "zstd:23", "none:1", "bogus", "gzip:workers=2", "gzip:long", "zstd:level="]
    {
        let run = |program: BackupProgram| {
            let backup = scratch.path().join("backup");
            let outcome = program
                .back_up(&cluster, &backup)
                .args(["-Ft", "-Z", &format!("server-{detail}")])
                .run()
                .expect_code(1);
            outcome.stderr
        };
        let ours = run(BackupProgram::ours());
        assert_eq!(ours, run(BackupProgram::real(&cluster)), "{detail}");
        assert!(ours.contains("could not initiate base backup: ERROR:  "), "{ours}");
    }
}

#[test]
fn bb_154_compressed_backups_start_on_servers_of_their_version() {
    let cluster = Cluster::builder(15).start();
    cluster.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i");
    let scratch = scratch_directory();
    let backup = scratch.path().join("backup");
    BackupProgram::ours().back_up(&cluster, &backup).args(["-Ft", "-z"]).run().expect_success();
    let plain = scratch.path().join("plain");
    decompressed(&backup, &plain);
    let restored = scratch.path().join("restored");
    unpack(&plain, &restored);
    assert_eq!(Installation::find(15).major(), 15);
    let restored = Cluster::existing(15, restored).start();
    assert_eq!(restored.psql("SELECT sum(i) FROM t"), "500500");
}
