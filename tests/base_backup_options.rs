//! The options that change what a backup contains take effect.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use support::base_backup::{BackupProgram, file_names, manifest, timeless_entries, verify, verify_archives};
use support::tree::{Kind, snapshot};
use support::{Cluster, ServerAccount, StopMode, scratch_directory};

/// Takes backups of one server with several sets of options, and looks at each of them.
fn for_each_backup(cluster: &Cluster, options: &[&[&str]], look: impl Fn(&Path, &[&str])) {
    let scratch = scratch_directory();
    let program = BackupProgram::ours();
    for (number, options) in options.iter().enumerate() {
        let directory = scratch.path().join(number.to_string());
        program.back_up(cluster, &directory).arg("-N").args(*options).run().expect_success();
        look(&directory, options);
        fs::remove_dir_all(directory).unwrap();
    }
}

fn label_of(directory: &Path) -> String {
    let text = fs::read_to_string(directory.join("backup_label")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("LABEL: ")).unwrap().to_owned()
}

#[test]
fn bb_078_bb_091_labels_arrive_as_they_were_typed() {
    let cluster = Cluster::builder(15).start();
    assert_eq!(cluster.psql("SHOW standard_conforming_strings"), "on");
    for_each_backup(&cluster, &[&[]], |directory, _| {
        assert_eq!(label_of(directory), "pg_basebackup base backup");
    });
    let labels = ["it's \"quoted\", back\\slash \\' \\\\, $1 %s {}, Größe 大きさ", "', WAIT 1, LABEL 'x", ""];
    let options = labels.map(|label| ["--label", label]);
    let options: Vec<&[&str]> = options.iter().map(<[&str; 2]>::as_slice).collect();
    for_each_backup(&cluster, &options, |directory, options| assert_eq!(label_of(directory), options[1]));
}

#[track_caller]
fn manifests_have_the_checksums_that_were_asked_for(major: u16) {
    let cluster = Cluster::builder(major).start();
    let algorithms = ["NONE", "crc32c", "SHA224", "sha256", "Sha384", "SHA512"];
    let plain = algorithms.map(|name| ["-Xnone".to_owned(), format!("--manifest-checksums={name}")]);
    let options = plain.each_ref().map(|options| options.each_ref().map(String::as_str));
    let tar = ["-Xnone", "--manifest-checksums=sha224", "--format=tar"];
    let options: Vec<&[&str]> = options.iter().map(<[&str; 2]>::as_slice).chain([&tar[..]]).collect();
    for_each_backup(&cluster, &options, |directory, options| {
        let algorithm = options[1].split_once('=').unwrap().1.to_uppercase();
        let manifest = manifest(directory);
        let files = manifest["Files"].as_array().unwrap();
        assert!(files.len() > 900);
        for file in files {
            let expected = (algorithm != "NONE").then_some(algorithm.as_str());
            assert_eq!(file["Checksum-Algorithm"].as_str(), expected, "{file}");
        }
        if options.contains(&"--format=tar") {
            verify_archives(cluster.installation(), directory);
        } else {
            verify(cluster.installation(), directory, &["--no-parse-wal"]);
        }
    });
}

#[test]
fn bb_087_bb_207_bb_208_manifest_checksums_of_postgresql_15() {
    manifests_have_the_checksums_that_were_asked_for(15);
}

#[test]
fn bb_087_bb_207_bb_208_manifest_checksums_of_postgresql_18() {
    manifests_have_the_checksums_that_were_asked_for(18);
}

#[test]
fn bb_086_bb_206_names_are_encoded_where_they_must_be() {
    let cluster = Cluster::builder(17).start();
    let name = OsStr::from_bytes(b"not UTF-8: \xff\xfe");
    let odd = cluster.data_dir().join(name);
    fs::write(&odd, "odd").unwrap();
    ServerAccount::current().own(&odd);
    for_each_backup(
        &cluster,
        &[&["-Xnone"], &["-Xnone", "--manifest-force-encode"]],
        |directory, options| {
            let manifest = manifest(directory);
            let files = manifest["Files"].as_array().unwrap();
            let encoded = files.iter().filter(|file| file["Encoded-Path"].is_string()).count();
            assert_eq!(encoded, if options.len() == 2 { files.len() } else { 1 });
            assert_eq!(fs::read(directory.join(name)).unwrap(), b"odd");
            verify(cluster.installation(), directory, &["--no-parse-wal"]);
        },
    );
}

#[test]
fn bb_215_no_manifest_leaves_no_file() {
    let cluster = Cluster::builder(16).start();
    let without = &["--no-manifest", "-v"][..];
    for_each_backup(&cluster, &[without, &["--no-manifest", "-Ft"]], |directory, _| {
        assert!(!file_names(directory).iter().any(|name| name.starts_with("backup_manifest")));
    });
}

/// The server fails a backup of a page that is not what its checksum says; all data is there all the same.
#[test]
fn bb_085_bb_095_bb_096_bb_248_corrupt_pages_fail_the_backup_unless_they_are_not_looked_at() {
    let mut cluster = Cluster::builder(15).initdb_arg("--data-checksums").start();
    cluster.psql("CREATE TABLE t AS SELECT generate_series(1, 10000) AS i");
    let path = cluster.psql("SELECT pg_relation_filepath('t')");
    cluster.stop(StopMode::Fast);
    let file = cluster.data_dir().join(&path);
    let mut pages = fs::read(&file).unwrap();
    pages[8192 + 4000] ^= 0xff;
    fs::write(&file, &pages).unwrap();
    cluster.start();

    let scratch = scratch_directory();
    let [failed, unchecked] = ["failed", "unchecked"].map(|name| scratch.path().join(name));
    let program = BackupProgram::ours();
    let outcome = program.back_up(&cluster, &failed).arg("-N").run().expect_code(1);
    assert_eq!(outcome.stdout_text(), "");
    let stderr = outcome.stderr;
    assert!(stderr.starts_with("WARNING:  checksum verification failed in file \"./"), "{stderr}");
    assert!(stderr.ends_with("pg_basebackup: error: checksum error occurred\n"), "{stderr}");
    assert_eq!(fs::read(failed.join(&path)).unwrap(), pages);
    let names = file_names(&failed);
    assert!(
        names.contains(&"backup_manifest.tmp".to_owned()) && !names.contains(&"backup_manifest".to_owned())
    );

    program.back_up(&cluster, &unchecked).args(["-N", "--no-verify-checksums"]).run().expect_success();
    assert_eq!(fs::read(unchecked.join(&path)).unwrap(), pages);
    verify(cluster.installation(), &unchecked, &[]);
}

/// Permission bits of everything in a backup, by kind: directories, then files.
fn modes(directory: &Path) -> [Vec<u32>; 2] {
    let entries = snapshot(directory);
    let of_kind = |wanted: fn(&Kind) -> bool| {
        let mut modes: Vec<u32> =
            entries.values().filter(|entry| wanted(&entry.kind)).map(|entry| entry.mode).collect();
        modes.sort_unstable();
        modes.dedup();
        modes
    };
    [of_kind(|kind| *kind == Kind::Directory), of_kind(|kind| matches!(kind, Kind::File { .. }))]
}

#[track_caller]
fn modes_follow_the_data_directory(major: u16, initdb_args: &[&str], directories: u32, files: u32) {
    let builder = initdb_args.iter().fold(Cluster::builder(major), |builder, arg| builder.initdb_arg(arg));
    let cluster = builder.start();
    let options: &[&[&str]] = &[&["-R"], &["-Xfetch"], &["-Ft"], &["-Ft", "-Xnone", "-R"]];
    for_each_backup(&cluster, options, |directory, options| {
        let [found_directories, found_files] = modes(directory);
        assert_eq!(found_files, [files], "{options:?}");
        assert!(found_directories.is_empty() || found_directories == [directories], "{options:?}");
        let own_mode = fs::metadata(directory).unwrap().permissions().mode() & 0o7777;
        assert_eq!(own_mode, directories, "{options:?}");
    });
}

macro_rules! modes {
    ($($private:ident, $group:ident: $major:literal;)*) => {
        $(
            #[test] fn $private() { modes_follow_the_data_directory($major, &[], 0o700, 0o600); }
            #[test] fn $group() {
                modes_follow_the_data_directory($major, &["--allow-group-access"], 0o750, 0o640);
            }
        )*
    };
}

modes! {
    bb_256_a_private_server_of_version_15, bb_257_a_server_of_version_15_with_group_access: 15;
    bb_256_a_private_server_of_version_18, bb_257_a_server_of_version_18_with_group_access: 18;
}

#[track_caller]
fn what_the_server_leaves_out_is_not_there(major: u16) {
    let mut cluster = Cluster::builder(major).start();
    cluster.psql("CREATE UNLOGGED TABLE u AS SELECT generate_series(1, 1000) AS i");
    let unlogged = cluster.psql("SELECT pg_relation_filepath('u')");
    let location = cluster.make_directory("space");
    cluster.psql(&format!("CREATE TABLESPACE space LOCATION '{}'", location.display()));
    cluster.psql("CREATE UNLOGGED TABLE v TABLESPACE space AS SELECT generate_series(1, 1000) AS i");
    let unlogged_elsewhere = cluster.psql("SELECT pg_relation_filepath('v')");
    let database = cluster.data_dir().join(&unlogged).parent().unwrap().to_owned();
    let database = database.strip_prefix(cluster.data_dir()).unwrap().to_owned();
    let never = [
        "backup_label",
        "backup_manifest",
        "tablespace_map",
        "current_logfiles.tmp",
        "postgresql.auto.conf.tmp",
        "pg_internal.init",
        "pg_internal.init.123",
        "global/pg_internal.init",
        ".DS_Store",
        "pgsql_tmp_at_the_top",
        "pg_notify/0000",
        "pg_replslot/file",
        "pg_dynshmem/file",
        "pg_serial/0000",
        "pg_snapshots/file",
        "pg_stat_tmp/file",
        "pg_subtrans/0000.old",
    ];
    let mut planted: Vec<_> = never.map(|name| cluster.data_dir().join(name)).into();
    let elsewhere = Path::new(&unlogged_elsewhere).parent().unwrap();
    for name in ["t123_456", "t123_456_fsm", "t123_456.1", "pgsql_tmp"] {
        planted.extend([&database, elsewhere].map(|directory| cluster.data_dir().join(directory).join(name)));
    }
    for path in &planted {
        fs::write(path, "left out").unwrap();
        ServerAccount::current().own(path);
    }
    // A directory that is a link on the server arrives as a directory.
    cluster.stop(StopMode::Fast);
    let real = cluster.make_directory("elsewhere");
    let link = cluster.data_dir().join("pg_replslot");
    fs::remove_file(link.join("file")).unwrap();
    fs::remove_dir(&link).unwrap();
    symlink(&real, &link).unwrap();
    for path in
        planted.iter().filter(|path| path.ends_with("backup_label") || path.ends_with("tablespace_map"))
    {
        // With these the server would take itself for a backup.
        fs::remove_file(path).unwrap();
    }
    cluster.start();
    for name in ["backup_label", "tablespace_map"] {
        fs::write(cluster.data_dir().join(name), "left out").unwrap();
        ServerAccount::current().own(&cluster.data_dir().join(name));
    }

    let copies = scratch_directory();
    let mapping = format!("-T{}={}", location.display(), copies.path().join("space").display());
    for_each_backup(&cluster, &[&["-Xnone", &mapping]], |directory, _| {
        for path in planted.iter().filter(|path| path.exists()) {
            let name = path.strip_prefix(cluster.data_dir()).unwrap();
            let copy = directory.join(name);
            let is_new = ["backup_label", "backup_manifest"].map(Path::new).contains(&name);
            let stale = fs::read(&copy).is_ok_and(|text| text == b"left out");
            assert!(!stale && copy.exists() == is_new, "{}", name.display());
        }
        for name in ["postmaster.pid", "postmaster.opts", "tablespace_map"] {
            assert!(!directory.join(name).exists(), "{name}");
        }
        let entries = timeless_entries(directory);
        assert_eq!(entries[Path::new("pg_replslot")].kind, Kind::Directory);
        for unlogged in [&unlogged, &unlogged_elsewhere] {
            assert!(!directory.join(unlogged).exists());
            assert!(directory.join(format!("{unlogged}_init")).exists());
        }
        verify(cluster.installation(), directory, &["--no-parse-wal"]);
    });
}

macro_rules! left_out {
    ($($name:ident: $major:literal;)*) => {
        $( #[test] fn $name() { what_the_server_leaves_out_is_not_there($major); } )*
    };
}

left_out! {
    bb_164_bb_165_what_a_server_of_version_15_leaves_out: 15;
    bb_164_bb_165_what_a_server_of_version_16_leaves_out: 16;
    bb_164_bb_165_what_a_server_of_version_17_leaves_out: 17;
    bb_164_bb_165_what_a_server_of_version_18_leaves_out: 18;
}
