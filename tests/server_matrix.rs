//! Backups of every server, in each format and with each way to get WAL: a server starts on them and has the data.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "support/library_backup.rs"]
mod library_backup;
mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use library_backup::{into_archives, into_directory, options};
use pgsiphon::backup::{RecoveryOptions, TablespaceMapping, WalMethod};
use support::base_backup::{
    BackupProgram, file_names, redirect_tablespace_map, tablespace_archives, unpack, verify_if_possible,
};
use support::{Cluster, DEADLINE, ServerAccount, VERSIONS, scratch_directory, wait_for};
use tempfile::TempDir;

/// A server that archives its WAL, with data in the main directory and in a tablespace.
struct Origin {
    cluster: Cluster,
    archive: TempDir,
}

impl Origin {
    fn start(major: u16) -> Self {
        let archive = scratch_directory();
        ServerAccount::current().own(archive.path());
        let cluster = Cluster::builder(major)
            .setting("archive_mode", "on")
            .setting("archive_command", &format!("cp %p {}/%f", archive.path().display()))
            .start();
        let location = cluster.make_directory("space");
        cluster.psql(&format!("CREATE TABLESPACE space LOCATION '{}'", location.display()));
        let rows = "AS SELECT i, md5(i::text) AS text FROM generate_series(1, 5000) AS i";
        cluster.psql(&format!("CREATE TABLE kept {rows}"));
        cluster.psql(&format!("CREATE TABLE in_space TABLESPACE space {rows}"));
        Self { cluster, archive }
    }

    fn major(&self) -> u16 {
        self.cluster.installation().major()
    }

    fn tablespace(&self) -> PathBuf {
        self.cluster.data_dir().with_file_name("space")
    }

    fn restore_command(&self) -> String {
        format!("cp {}/%f %p", self.archive.path().display())
    }

    /// Takes the backup as the program does; one without WAL brings the command along that gets it from the archive.
    fn back_up(&self, format: &str, method: &str, directory: &Path) {
        let new_tablespace = directory.with_file_name("space");
        if method == "none" {
            let recovery = RecoveryOptions {
                restore_command: Some(self.restore_command()),
                ..RecoveryOptions::default()
            };
            let options =
                pgsiphon::backup::BackupOptions { recovery: Some(recovery), ..options(WalMethod::None) };
            let conninfo = self.cluster.conninfo();
            let mapping = vec![TablespaceMapping::new(&self.tablespace(), &new_tablespace)];
            let outcome = match format {
                "plain" => into_directory(&conninfo, &options, directory, mapping),
                _ => into_archives(&conninfo, &options, directory),
            };
            outcome.unwrap();
        } else {
            let mapping = format!("-T{}={}", self.tablespace().display(), new_tablespace.display());
            let outcome = BackupProgram::ours()
                .back_up(&self.cluster, directory)
                .args(["-N", "--format", format, "--wal-method", method, &mapping])
                .run()
                .expect_success();
            assert_eq!(outcome.stderr, "");
        }
    }
}

fn contents(cluster: &Cluster) -> Vec<String> {
    let checksum =
        |table| format!("SELECT count(*), md5(string_agg(i || text, ',' ORDER BY i)) FROM {table}");
    ["kept", "in_space"].map(|table| cluster.psql(&checksum(table))).to_vec()
}

/// Starts a server on a backup, which must have the data and take writes.
#[track_caller]
fn assert_restored(origin: &Origin, data_directory: &Path) {
    let restored = Cluster::existing(origin.major(), data_directory).setting("archive_mode", "off").start();
    assert_eq!(contents(&restored), contents(&origin.cluster));
    wait_for("recovery to end", DEADLINE, || !restored.is_in_recovery());
    restored.psql("INSERT INTO in_space VALUES (0, 'written')");
}

/// The files are those that the server has announced, and each of them is a whole archive (BB-110).
#[track_caller]
fn assert_are_archives(directory: &Path, method: &str, has_manifest: bool) {
    let oid = tablespace_archives(directory).remove(0);
    let mut expected = vec![format!("{oid}.tar"), "base.tar".to_owned()];
    expected.extend(has_manifest.then(|| "backup_manifest".to_owned()));
    expected.extend((method == "stream").then(|| "pg_wal.tar".to_owned()));
    expected.sort();
    assert_eq!(file_names(directory), expected);
    for name in expected.iter().filter(|name| name.as_str() != "backup_manifest") {
        let path = directory.join(name);
        let mut archive = tar::Archive::new(File::open(&path).unwrap());
        let ends = archive.entries().unwrap().map(|member| {
            let member = member.unwrap();
            member.raw_file_position() + member.size().next_multiple_of(512)
        });
        let end = ends.last().unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, end + 1024, "{name}");
        assert!(bytes[bytes.len() - 1024..].iter().all(|&byte| byte == 0), "{name}");
    }
}

#[track_caller]
fn backups_are_restored(major: u16) {
    let origin = Origin::start(major);
    let has_manifest = major >= 13;
    for method in ["stream", "fetch", "none"] {
        let scratch = scratch_directory();
        let [plain, archives, unpacked] =
            ["plain", "archives", "unpacked"].map(|name| scratch.path().join(name));
        origin.back_up("plain", method, &plain);
        assert_eq!(plain.join("backup_manifest").exists(), has_manifest);
        let verify_options = if method == "none" { &["--no-parse-wal"][..] } else { &[] };
        verify_if_possible(origin.cluster.installation(), &plain, verify_options);
        assert_restored(&origin, &plain);

        origin.back_up("tar", method, &archives);
        assert_are_archives(&archives, method, has_manifest);
        unpack(&archives, &unpacked);
        verify_if_possible(origin.cluster.installation(), &unpacked, verify_options);
        redirect_tablespace_map(&unpacked);
        assert_restored(&origin, &unpacked);
    }
}

macro_rules! every_version {
    ($($name:ident: $major:literal,)*) => {
        $(#[test] fn $name() { backups_are_restored($major); })*

        #[test]
        fn bb_272_every_supported_version_is_tested() {
            assert_eq!([$($major),*], VERSIONS);
        }
    };
}

every_version! {
    bb_108_bb_110_bb_272_backups_of_postgresql_10_are_restored: 10,
    bb_108_bb_110_bb_272_backups_of_postgresql_11_are_restored: 11,
    bb_108_bb_110_bb_272_backups_of_postgresql_12_are_restored: 12,
    bb_108_to_110_bb_272_backups_of_postgresql_13_are_restored: 13,
    bb_108_to_110_bb_272_backups_of_postgresql_14_are_restored: 14,
    bb_272_backups_of_postgresql_15_are_restored: 15,
    bb_272_backups_of_postgresql_16_are_restored: 16,
    bb_272_backups_of_postgresql_17_are_restored: 17,
    bb_272_backups_of_postgresql_18_are_restored: 18,
}
