//! The files of a backup in each format: which there are, and that what is put into them for a standby changes
//! nothing else.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::base_backup::{
    BackupProgram, file_names, manifest, members, timeless_entries, timeless_manifest, unpack, verify,
};
use support::tree::differences_of_entries;
use support::{Cluster, ServerAccount, scratch_directory};

/// A server with two tablespaces, one of which has a name that needs care in `tablespace_map`.
fn cluster_with_tablespaces(major: u16) -> (Cluster, Vec<PathBuf>) {
    let cluster = Cluster::builder(major).start();
    let locations = ["plain", "back\\slash"].map(|name| cluster.make_directory(name));
    for (number, location) in locations.iter().enumerate() {
        let location = location.display();
        cluster.psql(&format!("CREATE TABLESPACE space_{number} LOCATION '{location}'"));
        cluster.psql(&format!("CREATE TABLE t{number} TABLESPACE space_{number} AS SELECT 1 AS i"));
    }
    cluster.psql("VACUUM (FREEZE)");
    (cluster, locations.into())
}

fn mappings(locations: &[PathBuf], new: &Path) -> Vec<String> {
    let numbered = locations.iter().enumerate();
    numbered.map(|(number, old)| format!("-T{}={}/{number}", old.display(), new.display())).collect()
}

/// The names of the members of an archive, in their order.
fn member_names(archive: &Path) -> Vec<String> {
    members(archive).iter().map(|member| member.split(' ').next().unwrap().to_owned()).collect()
}

#[track_caller]
fn the_tablespace_map_is_in_archives_only(major: u16) {
    let (cluster, locations) = cluster_with_tablespaces(major);
    let scratch = scratch_directory();
    let [plain, tar, unpacked] = ["plain", "tar", "unpacked"].map(|name| scratch.path().join(name));
    let program = BackupProgram::ours();
    let run = program.back_up(&cluster, &plain).args(["-N", "-Xfetch"]);
    run.args(mappings(&locations, scratch.path())).run().expect_success();
    assert!(!plain.join("tablespace_map").exists());
    let manifest = manifest(&plain);
    let files = manifest["Files"].as_array().unwrap();
    assert!(!files.iter().any(|file| file["Path"] == "tablespace_map"));
    assert_eq!(file_names(&plain.join("pg_tblspc")).len(), 2);
    verify(cluster.installation(), &plain, &[]);

    program.back_up(&cluster, &tar).args(["-N", "-Ft", "-Xfetch"]).run().expect_success();
    let names = member_names(&tar.join("base.tar"));
    assert_eq!(names[..2], ["backup_label", "tablespace_map"]);
    assert!(names.contains(&"pg_tblspc/".to_owned()), "{names:?}");
    unpack(&tar, &unpacked);
    let oids = cluster
        .psql("SELECT string_agg(oid::text, ' ' ORDER BY spcname) FROM pg_tablespace WHERE oid > 16000");
    let mut expected: Vec<String> = oids
        .split(' ')
        .zip(&locations)
        .map(|(oid, location)| format!("{oid} {}", location.display().to_string().replace('\\', "\\\\")))
        .collect();
    let map = fs::read_to_string(unpacked.join("tablespace_map")).unwrap();
    let mut lines: Vec<&str> = map.lines().collect();
    lines.sort_unstable();
    expected.sort();
    assert_eq!(lines, expected);
    for oid in oids.split(' ') {
        let first = member_names(&tar.join(format!("{oid}.tar"))).remove(0);
        assert!(first.starts_with(&format!("PG_{major}_")) && first.ends_with('/'), "{first}");
    }
}

#[test]
fn bb_137_bb_143_the_tablespace_map_of_postgresql_15() {
    the_tablespace_map_is_in_archives_only(15);
}

#[test]
fn bb_137_bb_143_the_tablespace_map_of_postgresql_18() {
    the_tablespace_map_is_in_archives_only(18);
}

/// Exactly these files come of these options; `OID` stands for each tablespace.
const ARCHIVES: [(&[&str], &[&str]); 4] = [
    (&[], &["OID.tar", "backup_manifest", "base.tar", "pg_wal.tar"]),
    (&["-Xfetch"], &["OID.tar", "backup_manifest", "base.tar"]),
    (&["-Xnone", "-R"], &["OID.tar", "backup_manifest", "base.tar"]),
    (&["--no-manifest", "-Znone"], &["OID.tar", "base.tar", "pg_wal.tar"]),
];

#[test]
fn bb_139_bb_140_archives_and_nothing_else() {
    let (cluster, _) = cluster_with_tablespaces(17);
    let oids = cluster.psql("SELECT string_agg(oid::text, ' ') FROM pg_tablespace WHERE oid > 16000");
    for program in [BackupProgram::real(&cluster), BackupProgram::ours()] {
        for (options, expected) in ARCHIVES {
            let scratch = scratch_directory();
            let directory = scratch.path().join("backup");
            program.back_up(&cluster, &directory).args(["-N", "-Ft"]).args(options).run().expect_success();
            let expand = |name: &&str| -> Vec<String> {
                oids.split(' ').map(|oid| name.replace("OID", oid)).collect()
            };
            let mut expected: Vec<String> = expected.iter().flat_map(expand).collect();
            expected.sort();
            expected.dedup();
            assert_eq!(file_names(&directory), expected, "{options:?}");
        }
    }
}

/// To ask for no compression changes nothing.
#[test]
fn bb_146_without_compression_everything_is_as_it_came() {
    let cluster = Cluster::builder(18).start();
    cluster.psql("VACUUM (FREEZE)");
    let program = BackupProgram::ours();
    let scratch = scratch_directory();
    let back_up = |name: &str, options: &[&str]| {
        let directory = scratch.path().join(name);
        program.back_up(&cluster, &directory).args(["-N", "-Xnone"]).args(options).run().expect_success();
        directory
    };
    let [plain, tar] = ["plain", "tar"].map(|format| back_up(format, &["-F", format]));
    for none in ["-Znone", "--compress=none"] {
        let again = back_up("again", &[none]);
        assert_eq!(
            differences_of_entries(&timeless_entries(&plain), &timeless_entries(&again)),
            "",
            "{none}"
        );
        fs::remove_dir_all(again).unwrap();
        let again = back_up("again", &["-Ft", none]);
        assert_eq!(file_names(&again), ["backup_manifest", "base.tar"]);
        assert_eq!(members(&tar.join("base.tar")), members(&again.join("base.tar")), "{none}");
        fs::remove_dir_all(again).unwrap();
    }
}

/// What is in the source of a backup where `-R` puts something.
struct Source {
    settings: Option<&'static str>,
    signal: Option<&'static str>,
}

const SOURCES: [Source; 3] = [
    Source { settings: Some("# written by hand, without an end of line"), signal: None },
    Source { settings: Some("work_mem = '7MB'\n"), signal: Some("of the source") },
    Source { settings: None, signal: None },
];

impl Source {
    /// Changes the files of a running server, which does not look at them.
    fn plant(&self, cluster: &Cluster) {
        for (name, content) in [("postgresql.auto.conf", self.settings), ("standby.signal", self.signal)] {
            let path = cluster.data_dir().join(name);
            match content {
                Some(content) => {
                    fs::write(&path, content).unwrap();
                    ServerAccount::current().own(&path);
                }
                None if path.exists() => fs::remove_file(&path).unwrap(),
                None => {}
            }
        }
    }
}

#[track_caller]
fn plain_and_tar_become_the_same_standby(major: u16) {
    let cluster = Cluster::builder(major).start();
    cluster.psql("VACUUM (FREEZE)");
    let ours = BackupProgram::ours();
    for source in SOURCES {
        source.plant(&cluster);
        let scratch = scratch_directory();
        let [real, plain, tar, unpacked] =
            ["real", "plain", "tar", "unpacked"].map(|name| scratch.path().join(name));
        let options = ["-N", "-R", "-Xfetch"];
        BackupProgram::real(&cluster).back_up(&cluster, &real).args(options).run().expect_success();
        ours.back_up(&cluster, &plain).args(options).run().expect_success();
        ours.back_up(&cluster, &tar).args(options).arg("-Ft").run().expect_success();
        unpack(&tar, &unpacked);
        fs::remove_file(unpacked.join("tablespace_map")).unwrap();
        for other in [&real, &unpacked] {
            let differences = differences_of_entries(&timeless_entries(other), &timeless_entries(&plain));
            assert_eq!(differences, "", "{}", other.display());
        }
        let settings = fs::read_to_string(plain.join("postgresql.auto.conf")).unwrap();
        let written = settings.strip_prefix(source.settings.unwrap_or("")).unwrap();
        assert!(written.starts_with("primary_conninfo = '") && written.ends_with("'\n"), "{settings}");
        assert_eq!(fs::read(plain.join("standby.signal")).unwrap(), b"");
    }
}

#[test]
fn bb_157_bb_158_bb_161_plain_and_tar_are_the_same_standby_of_postgresql_15() {
    plain_and_tar_become_the_same_standby(15);
}

#[test]
fn bb_157_bb_158_bb_161_plain_and_tar_are_the_same_standby_of_postgresql_18() {
    plain_and_tar_become_the_same_standby(18);
}

/// The manifest describes what the server has, not what was put in.
#[test]
fn bb_162_the_manifest_does_not_know_of_the_standby() {
    let cluster = Cluster::builder(18).start();
    SOURCES[1].plant(&cluster);
    cluster.psql("VACUUM (FREEZE)");
    let program = BackupProgram::ours();
    for format in ["plain", "tar"] {
        let scratch = scratch_directory();
        let [before, after, unpacked] = ["before", "after", "unpacked"].map(|name| scratch.path().join(name));
        let options = ["-N", "-Xnone", "-F", format];
        program.back_up(&cluster, &before).args(options).run().expect_success();
        program.back_up(&cluster, &after).args(options).arg("-R").run().expect_success();
        let lines = timeless_manifest(&after);
        assert_eq!(timeless_manifest(&before), lines);
        let length = SOURCES[1].settings.unwrap().len();
        let settings = lines.iter().find(|line| line.contains("postgresql.auto.conf")).unwrap();
        assert!(settings.contains(&format!("\"Size\":{length}")), "{settings}");
        let data_directory = if format == "tar" {
            unpack(&after, &unpacked);
            unpacked
        } else {
            after
        };
        assert!(fs::metadata(data_directory.join("postgresql.auto.conf")).unwrap().len() > length as u64);
        verify(cluster.installation(), &data_directory, &["--no-parse-wal"]);
    }
}
