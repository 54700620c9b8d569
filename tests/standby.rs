//! With `-R` a backup becomes a standby of the server it was taken from; it streams and can be promoted. A
//! standby, and a promoted one, can be backed up in turn.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use support::base_backup::{
    BackupProgram, file_names, manifest, members, unpack, verify, verify_if_possible,
};
use support::{Cluster, Run, scratch_directory};

/// The lines that a backup has added to the settings of the server.
fn settings_added(cluster: &Cluster, data_directory: &Path) -> Vec<String> {
    if cluster.installation().major() < 12 {
        let settings = fs::read_to_string(data_directory.join("recovery.conf")).unwrap();
        return settings.lines().map(str::to_owned).collect();
    }
    let name = "postgresql.auto.conf";
    let [before, after] = [cluster.data_dir(), data_directory]
        .map(|directory| fs::read_to_string(directory.join(name)).unwrap());
    after.strip_prefix(&before).unwrap().lines().map(str::to_owned).collect()
}

/// The settings are where that server looks for them, and nowhere else.
#[track_caller]
fn assert_is_standby_directory(primary: &Cluster, directory: &Path) {
    let major = primary.installation().major();
    let (settings, expected) = if major < 12 {
        ("recovery.conf", &["standby_mode", "primary_conninfo", "primary_slot_name"][..])
    } else {
        let signal = fs::metadata(directory.join("standby.signal")).unwrap();
        assert_eq!((signal.len(), signal.permissions().mode() & 0o7777), (0, 0o600));
        ("postgresql.auto.conf", &["primary_conninfo", "primary_slot_name"][..])
    };
    assert_eq!(directory.join("recovery.conf").exists(), major < 12);
    assert_eq!(directory.join("standby.signal").exists(), major >= 12);
    let mode = fs::metadata(directory.join(settings)).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let lines = settings_added(primary, directory);
    let names: Vec<&str> = lines.iter().map(|line| line.split(" = ").next().unwrap()).collect();
    assert_eq!(names, expected);
}

/// The manifest is the one that the server made, without a word of what was added, and the verifier does not mind.
#[track_caller]
fn assert_is_verified(primary: &Cluster, directory: &Path) {
    verify_if_possible(primary.installation(), directory, &[]);
    if primary.installation().major() < 13 {
        return;
    }
    let manifest = manifest(directory);
    let listed =
        |name: &str| manifest["Files"].as_array().unwrap().iter().find(|file| file["Path"] == name).cloned();
    let settings = listed("postgresql.auto.conf").unwrap();
    let length = fs::metadata(directory.join("postgresql.auto.conf")).unwrap().len();
    assert!(settings["Size"].as_u64().unwrap() < length);
    assert_eq!(listed("standby.signal"), None);
}

/// The standby starts, receives what the primary writes through its slot, and becomes a primary.
#[track_caller]
fn assert_streams_and_is_promoted(primary: &Cluster, data_directory: &Path) {
    let major = primary.installation().major();
    let mut standby = Cluster::existing(major, data_directory).start();
    standby.wait_until_streaming(primary);
    let slot = "SELECT active FROM pg_replication_slots WHERE slot_name = 'standby'";
    assert_eq!(primary.psql(slot), "t");
    primary.psql("INSERT INTO t SELECT generate_series(1001, 2000)");
    standby.wait_until_replayed(primary);
    assert_eq!(standby.psql("SELECT sum(i) FROM t"), "2001000");
    standby.promote();
    standby.psql("INSERT INTO t VALUES (1)");
    standby.restart();
    assert_eq!(standby.psql("SELECT sum(i) FROM t"), "2001001");
}

fn primary(major: u16) -> Cluster {
    let primary = Cluster::builder(major).start();
    primary.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i");
    // The appended lines must not run into this one.
    primary.psql("ALTER SYSTEM SET application_name = 'it''s'");
    primary
}

#[track_caller]
fn plain_backup_is_a_standby(major: u16) {
    let primary = primary(major);
    let scratch = scratch_directory();
    let backup = scratch.path().join("backup");
    let program = BackupProgram::ours();
    program.back_up(&primary, &backup).args(["-R", "-C", "-S", "standby"]).run().expect_success();
    assert_is_verified(&primary, &backup);
    assert_is_standby_directory(&primary, &backup);
    assert_streams_and_is_promoted(&primary, &backup);
}

#[track_caller]
fn tar_backup_is_a_standby(major: u16) {
    let primary = primary(major);
    let scratch = scratch_directory();
    let [archives, unpacked] = ["archives", "unpacked"].map(|name| scratch.path().join(name));
    let program = BackupProgram::ours();
    let options = ["-N", "-Ft", "-R", "-C", "-S", "standby"];
    program.back_up(&primary, &archives).args(options).run().expect_success();
    unpack(&archives, &unpacked);
    assert_is_verified(&primary, &unpacked);
    assert_is_standby_directory(&primary, &unpacked);
    assert_streams_and_is_promoted(&primary, &unpacked);
}

macro_rules! with_each_version {
    ($($plain:ident, $tar:ident: $major:literal;)*) => {
        $(
            #[test] fn $plain() { plain_backup_is_a_standby($major); }
            #[test] fn $tar() { tar_backup_is_a_standby($major); }
        )*
    };
}

with_each_version! {
    bb_161_bb_175_standby_of_postgresql_10_from_plain, bb_159_bb_175_standby_of_postgresql_10_from_tar: 10;
    bb_161_bb_175_standby_of_postgresql_11_from_plain, bb_159_bb_175_standby_of_postgresql_11_from_tar: 11;
    bb_161_bb_175_standby_of_postgresql_12_from_plain, bb_157_bb_158_bb_175_standby_of_postgresql_12_from_tar: 12;
    bb_161_bb_162_bb_175_standby_of_postgresql_13_from_plain, bb_157_bb_158_bb_162_bb_175_standby_of_postgresql_13_from_tar: 13;
    bb_161_bb_162_bb_175_standby_of_postgresql_14_from_plain, bb_157_bb_158_bb_162_bb_175_standby_of_postgresql_14_from_tar: 14;
    bb_161_bb_162_bb_175_standby_of_postgresql_15_from_plain, bb_157_bb_158_bb_162_bb_175_standby_of_postgresql_15_from_tar: 15;
    bb_161_bb_162_bb_175_standby_of_postgresql_16_from_plain, bb_157_bb_158_bb_162_bb_175_standby_of_postgresql_16_from_tar: 16;
    bb_161_bb_162_bb_175_standby_of_postgresql_17_from_plain, bb_157_bb_158_bb_162_bb_175_standby_of_postgresql_17_from_tar: 17;
    bb_161_bb_162_bb_175_standby_of_postgresql_18_from_plain, bb_157_bb_158_bb_162_bb_175_standby_of_postgresql_18_from_tar: 18;
}

/// The environment in which a backup with `-R` is taken, and its arguments besides the usual ones.
struct Setting {
    variables: &'static [(&'static str, &'static str)],
    options: &'static [&'static str],
    conninfo: &'static str,
}

const SETTINGS: [Setting; 4] = [
    Setting { variables: &[], options: &["-S", "standby"], conninfo: "" },
    Setting { variables: &[], options: &["-Xnone"], conninfo: "password='' passfile=/nonexistent/x" },
    Setting {
        variables: &[("PGPASSWORD", "sek ret'\\x"), ("PGAPPNAME", "from the environment")],
        options: &["-S", "standby"],
        conninfo: "sslmode=disable gssencmode=disable",
    },
    Setting {
        variables: &[("PGCONNECT_TIMEOUT", "7")],
        options: &["-Xfetch"],
        conninfo: r"keepalives_idle=9 application_name='it\'s' options='-c geqo=off'",
    },
];

/// Programs before 17 write no database.
const SETTINGS_WITH_DATABASE: [Setting; 3] = [
    Setting { variables: &[("PGDATABASE", "postgres")], options: &["-Xfetch"], conninfo: "" },
    Setting { variables: &[], options: &["-Xfetch"], conninfo: "dbname=postgres" },
    Setting { variables: &[("PGDATABASE", "template1")], options: &["-Xfetch"], conninfo: "dbname=postgres" },
];

/// Takes a backup with `-R` and gives the lines that it appended.
fn settings_written(
    program: &BackupProgram,
    cluster: &Cluster,
    setting: &Setting,
    format: &str,
) -> Vec<String> {
    let scratch = scratch_directory();
    let directory = scratch.path().join("backup");
    let conninfo = format!("{} {}", cluster.conninfo(), setting.conninfo);
    let mut run = Run::new(program.path()).args(["-N", "-R", "-c", "fast", "-d", &conninfo, "-D"]);
    run = run.arg(&directory).args(setting.options).args(["-F", format]);
    for (name, value) in setting.variables {
        run = run.env(name, value);
    }
    run.run().expect_success();
    let data_directory = if format == "tar" {
        unpack(&directory, &scratch.path().join("unpacked"));
        scratch.path().join("unpacked")
    } else {
        directory
    };
    settings_added(cluster, &data_directory)
}

/// The real program is the one of the server's version: what libpq of a server does not know is left out, and
/// that server's own program does not know it either.
#[track_caller]
fn settings_are_those_of_the_real_program(major: u16) {
    let cluster = primary(major);
    cluster.psql("SELECT pg_create_physical_replication_slot('standby')");
    let (real, ours) = (BackupProgram::real(&cluster), BackupProgram::ours());
    let with_database = if major >= 17 { &SETTINGS_WITH_DATABASE[..] } else { &[] };
    for setting in SETTINGS.iter().chain(with_database) {
        let theirs = settings_written(&real, &cluster, setting, "plain");
        assert_eq!(theirs, settings_written(&ours, &cluster, setting, "plain"));
        assert_eq!(theirs.len(), 1 + usize::from(setting.options.contains(&"-S")), "{theirs:?}");
        assert!(theirs[0].starts_with("primary_conninfo = 'user=postgres "), "{theirs:?}");
    }
    let [plain, tar] = ["plain", "tar"].map(|format| settings_written(&ours, &cluster, &SETTINGS[0], format));
    assert_eq!(plain, tar);
}

#[test]
fn bb_167_bb_169_bb_172_bb_174_settings_for_a_standby_of_postgresql_15() {
    settings_are_those_of_the_real_program(15);
}

#[test]
fn bb_167_bb_169_bb_172_bb_174_settings_for_a_standby_of_postgresql_18() {
    settings_are_those_of_the_real_program(18);
}

/// What is put into an archive has the same header and the same place as with the real program.
#[test]
fn bb_142_bb_160_bb_163_injected_members_are_those_of_the_real_program() {
    let cluster = primary(18);
    cluster.psql("VACUUM (FREEZE)");
    let scratch = scratch_directory();
    let [theirs, ours] = [("theirs", BackupProgram::real(&cluster)), ("ours", BackupProgram::ours())].map(
        |(name, program)| {
            let directory = scratch.path().join(name);
            program.back_up(&cluster, &directory).args(["-N", "-R", "-Ft"]).run().expect_success();
            let length = fs::metadata(directory.join("base.tar")).unwrap().len();
            (members(&directory.join("base.tar")), length)
        },
    );
    let last = ours.0.last().unwrap();
    assert!(
        last.starts_with("standby.signal Regular mode 0600 owner 2048:1024 postgres:postgres "),
        "{last}"
    );
    assert_eq!(theirs, ours);
}

/// A standby that was made by this program and is already running, with its directory.
fn standby_of(primary: &Cluster, directory: PathBuf) -> Cluster {
    let program = BackupProgram::ours();
    program.back_up(primary, &directory).args(["-N", "-R"]).run().expect_success();
    let standby = Cluster::existing(primary.installation().major(), directory).start();
    standby.wait_until_streaming(primary);
    standby
}

#[track_caller]
fn a_standby_can_be_backed_up(major: u16) {
    let primary = primary(major);
    let scratch = scratch_directory();
    let standby = standby_of(&primary, scratch.path().join("standby"));
    let program = BackupProgram::ours();
    for method in ["stream", "fetch"] {
        let backup = scratch.path().join(method);
        let options = ["-N", "--wal-method", method];
        program.back_up(&standby, &backup).args(options).run().expect_success();
        let label = fs::read_to_string(backup.join("backup_label")).unwrap();
        assert!(label.contains("\nBACKUP FROM: standby\n"), "{label}");
        verify(primary.installation(), &backup, &[]);
        // The backup brings the signal file of the standby along.
        let second = Cluster::existing(major, &backup).start();
        second.wait_until_streaming(&primary);
        assert_eq!(second.psql("SELECT sum(i) FROM t"), "500500");
        drop(second);
        fs::remove_file(backup.join("standby.signal")).unwrap();
    }
}

#[test]
fn bb_216_bb_272_a_standby_of_postgresql_15_can_be_backed_up() {
    a_standby_can_be_backed_up(15);
}

#[test]
fn bb_216_bb_272_a_standby_of_postgresql_18_can_be_backed_up() {
    a_standby_can_be_backed_up(18);
}

/// A server that was promoted is on another timeline, whose history a backup needs.
#[track_caller]
fn a_promoted_standby_can_be_backed_up(major: u16) {
    let primary = primary(major);
    let scratch = scratch_directory();
    let standby = standby_of(&primary, scratch.path().join("standby"));
    standby.promote();
    standby.psql("INSERT INTO t VALUES (1)");
    let history_name = "00000002.history";
    let history = fs::read(standby.data_dir().join("pg_wal").join(history_name)).unwrap();
    let program = BackupProgram::ours();
    for method in ["stream", "fetch"] {
        let [plain, tar, unpacked] =
            ["plain", "tar", "unpacked"].map(|name| scratch.path().join(format!("{method}-{name}")));
        let options = ["-N", "-v", "--wal-method", method];
        let stderr = program.back_up(&standby, &plain).args(options).run().expect_success().stderr;
        assert!(stderr.contains(" on timeline 2\n"), "{stderr}");
        program.back_up(&standby, &tar).args(options).arg("-Ft").run().expect_success();
        unpack(&tar, &unpacked);
        for directory in [plain, unpacked] {
            assert_eq!(fs::read(directory.join("pg_wal").join(history_name)).unwrap(), history);
            let marks = file_names(&directory.join("pg_wal/archive_status"));
            assert!(marks.contains(&format!("{history_name}.done")), "{method}: {marks:?}");
            assert_eq!(manifest(&directory)["WAL-Ranges"][0]["Timeline"], 2);
            verify(primary.installation(), &directory, &[]);
            let restored = Cluster::existing(major, &directory).start();
            assert_eq!(restored.psql("SELECT sum(i) FROM t"), "500501");
            assert_eq!(restored.psql("SELECT timeline_id FROM pg_control_checkpoint()"), "2");
        }
    }
}

#[test]
fn bb_183_bb_198_bb_211_a_promoted_standby_of_postgresql_15_can_be_backed_up() {
    a_promoted_standby_can_be_backed_up(15);
}

#[test]
fn bb_183_bb_198_bb_211_a_promoted_standby_of_postgresql_18_can_be_backed_up() {
    a_promoted_standby_can_be_backed_up(18);
}
