//! A backup goes where it was told to go, and to no other place: tablespaces, the WAL directory, the limits of
//! names.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use support::base_backup::{
    BackupProgram, file_names, is_segment_name, redirect_tablespace_map, timeless_entries, unpack, verify,
};
use support::tree::{Kind, differences_of_entries};
use support::{Cluster, Run, ServerAccount, scratch_directory};

/// A tablespace in a new directory, with a table.
fn create_tablespace(cluster: &Cluster, directory: &str) -> PathBuf {
    let location = cluster.make_directory(directory);
    cluster.psql(&format!("CREATE TABLESPACE space LOCATION '{}'", location.display()));
    cluster.psql("CREATE TABLE elsewhere TABLESPACE space AS SELECT generate_series(1, 1000) AS i");
    // Nothing is left to be written that a backup's checkpoint would write.
    cluster.psql("VACUUM (FREEZE)");
    cluster.psql("CHECKPOINT");
    location
}

#[track_caller]
fn assert_table_elsewhere(major: u16, data_directory: &Path) {
    let restored = Cluster::existing(major, data_directory).start();
    assert_eq!(restored.psql("SELECT sum(i) FROM elsewhere"), "500500");
}

#[test]
fn bb_017_bb_134_tablespaces_go_where_they_are_mapped_to() {
    let cluster = Cluster::builder(16).start();
    let old = create_tablespace(&cluster, "a=b c");
    let scratch = scratch_directory();
    let data_directory = scratch.path().join("data");
    let new = scratch.path().join("x=y z");
    let [old_text, new_text] = [&old, &new].map(|path| path.display().to_string().replace('=', "\\="));
    let program = BackupProgram::ours();
    let options = [format!("-T{old_text}/=/{new_text}//"), "-T/not/there=/also/not/there".to_owned()];
    program.back_up(&cluster, &data_directory).args(["-N"]).args(options).run().expect_success();
    let entries = timeless_entries(&data_directory);
    let links: Vec<&Kind> =
        entries.values().map(|entry| &entry.kind).filter(|kind| matches!(kind, Kind::Link { .. })).collect();
    assert_eq!(links, [&Kind::Link { target: new.clone() }]);
    assert_eq!(fs::metadata(&new).unwrap().permissions().mode() & 0o7777, 0o700);
    verify(cluster.installation(), &data_directory, &[]);
    assert_table_elsewhere(16, &data_directory);
}

/// An in-place tablespace is a directory of the data directory. Version 15 puts it into the main archive in
/// plain format, and leaves it out in tar format; later versions send an archive with a relative path.
#[track_caller]
fn in_place_tablespaces_stay_in_place(major: u16) {
    let cluster = Cluster::builder(major).setting("allow_in_place_tablespaces", "on").start();
    cluster.psql("CREATE TABLESPACE space LOCATION ''");
    cluster.psql("CREATE TABLE elsewhere TABLESPACE space AS SELECT generate_series(1, 1000) AS i");
    cluster.psql("VACUUM (FREEZE)");
    let scratch = scratch_directory();
    let [theirs, ours, tar, unpacked] =
        ["theirs", "ours", "tar", "unpacked"].map(|name| scratch.path().join(name));
    BackupProgram::real(&cluster).back_up(&cluster, &theirs).arg("-N").run().expect_success();
    let program = BackupProgram::ours();
    program.back_up(&cluster, &ours).arg("-N").run().expect_success();
    assert_eq!(differences_of_entries(&timeless_entries(&theirs), &timeless_entries(&ours)), "");
    verify(cluster.installation(), &ours, &[]);
    assert_table_elsewhere(major, &ours);

    program.back_up(&cluster, &tar).args(["-N", "-Ft"]).run().expect_success();
    if major >= 16 {
        let oid = cluster.psql("SELECT oid FROM pg_tablespace WHERE spcname = 'space'");
        assert_eq!(file_names(&tar), [&format!("{oid}.tar"), "backup_manifest", "base.tar", "pg_wal.tar"]);
        fs::create_dir_all(unpacked.join("pg_tblspc")).unwrap();
        fs::set_permissions(&unpacked, fs::Permissions::from_mode(0o700)).unwrap();
        fs::rename(tar.join(format!("{oid}.tar")), tar.join("in_place")).unwrap();
        unpack(&tar, &unpacked);
        fs::create_dir(unpacked.join("pg_tblspc").join(&oid)).unwrap();
        Run::new("/bin/tar")
            .args(["-x".as_ref(), "-f".as_ref(), tar.join("in_place").as_os_str()])
            .args(["-C".as_ref(), unpacked.join("pg_tblspc").join(&oid).as_os_str()])
            .run()
            .expect_success();
        assert_table_elsewhere(major, &unpacked);
    }
}

#[test]
fn bb_129_bb_131_in_place_tablespaces_of_postgresql_15() {
    in_place_tablespaces_stay_in_place(15);
}

#[test]
fn bb_129_bb_131_in_place_tablespaces_of_postgresql_16() {
    in_place_tablespaces_stay_in_place(16);
}

#[test]
fn bb_129_bb_131_in_place_tablespaces_of_postgresql_18() {
    in_place_tablespaces_stay_in_place(18);
}

/// Tar, as servers write it, has room for 99 bytes of a name.
#[test]
fn bb_145_long_names_fail_on_the_server() {
    let cluster = Cluster::builder(18).start();
    let plant = |length: usize| {
        let path = cluster.data_dir().join("n".repeat(length));
        fs::write(&path, "planted").unwrap();
        ServerAccount::current().own(&path);
        path
    };
    let name = plant(99).file_name().unwrap().to_owned();
    let scratch = scratch_directory();
    let data_directory = scratch.path().join("data");
    let program = BackupProgram::ours();
    program.back_up(&cluster, &data_directory).args(["-N"]).run().expect_success();
    assert_eq!(fs::read(data_directory.join(name)).unwrap(), b"planted");
    verify(cluster.installation(), &data_directory, &[]);

    plant(100);
    for format in ["--format=plain", "--format=tar"] {
        let directory = scratch.path().join("refused");
        let stderr = program.back_up(&cluster, &directory).args(["-N", format]).run().expect_code(1).stderr;
        assert!(stderr.contains("ERROR:  file name too long for tar format: \"nnnn"), "{stderr}");
        assert!(!directory.exists());
    }
}

#[test]
fn bb_143_bb_145_long_link_targets_work_in_tar_format() {
    let cluster = Cluster::builder(18).start();
    let old = create_tablespace(&cluster, &"l".repeat(120));
    let scratch = scratch_directory();
    let [tar, unpacked] = ["tar", "unpacked"].map(|name| scratch.path().join(name));
    let program = BackupProgram::ours();
    program.back_up(&cluster, &tar).args(["-N", "-Ft"]).run().expect_success();
    unpack(&tar, &unpacked);
    let map = fs::read_to_string(unpacked.join("tablespace_map")).unwrap();
    assert!(map.ends_with(&format!(" {}\n", old.display())), "{map}");
    verify(cluster.installation(), &unpacked, &[]);
    redirect_tablespace_map(&unpacked);
    assert_table_elsewhere(18, &unpacked);

    // In plain format the link has to be in the archive, whatever it is mapped to.
    let mapping = format!("-T{}={}", old.display(), scratch.path().join("space").display());
    let refused = scratch.path().join("refused");
    let stderr = program.back_up(&cluster, &refused).args(["-N", &mapping]).run().expect_code(1).stderr;
    assert!(stderr.contains("ERROR:  symbolic link target too long for tar format: "), "{stderr}");
}

#[test]
fn bb_046_bb_131_bb_236_bb_237_the_wal_directory_may_be_missing_or_empty() {
    let cluster = Cluster::builder(18).start();
    cluster.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i");
    let scratch = scratch_directory();
    let [missing, empty] = ["missing", "empty"].map(|name| scratch.path().join(name));
    fs::create_dir(&empty).unwrap();
    fs::set_permissions(&empty, fs::Permissions::from_mode(0o711)).unwrap();
    let program = BackupProgram::ours();
    for (number, (wal, method, mode)) in
        [(&missing, "stream", 0o700), (&empty, "fetch", 0o700)].into_iter().enumerate()
    {
        let data_directory = scratch.path().join(number.to_string());
        let run = program.back_up(&cluster, &data_directory).args(["-N", "--wal-method", method]);
        run.arg("--waldir").arg(wal).run().expect_success();
        assert_eq!(fs::read_link(data_directory.join("pg_wal")).unwrap(), *wal);
        assert!(file_names(wal).iter().any(|name| is_segment_name(name)));
        assert!(wal.join("archive_status").is_dir());
        assert_eq!(fs::metadata(wal).unwrap().permissions().mode() & 0o7777, mode, "{method}");
        verify(cluster.installation(), &data_directory, &[]);
        let restored = Cluster::existing(18, &data_directory).start();
        assert_eq!(restored.psql("SELECT sum(i) FROM t"), "500500");
    }
}

/// The link is made before anything comes, and there is nothing in the manifest's place.
#[test]
fn bb_131_bb_215_bb_236_a_wal_directory_and_no_manifest() {
    let cluster = Cluster::builder(17).start();
    let scratch = scratch_directory();
    let [theirs, ours] = ["theirs", "ours"].map(|name| scratch.path().join(name));
    for (root, program) in [(&theirs, BackupProgram::real(&cluster)), (&ours, BackupProgram::ours())] {
        for (number, method) in ["stream", "fetch", "none"].into_iter().enumerate() {
            let run = program.back_up(&cluster, &root.join(number.to_string()));
            let run = run.args(["-N", "--no-manifest", "--wal-method", method, "--waldir"]);
            run.arg(root.join(format!("deep/{number}"))).run().expect_success();
        }
    }
    let entries = timeless_entries(&ours);
    assert_eq!(differences_of_entries(&timeless_entries(&theirs), &entries), "");
    assert_eq!(entries[Path::new("0/pg_wal")].kind, Kind::Link { target: "deep/0".into() });
    assert!(entries.contains_key(Path::new("deep/2/summaries")));
    assert!(!entries.keys().any(|path| path.to_str().unwrap().contains("manifest")));
}

#[test]
fn bb_236_bb_237_the_directory_may_be_missing_or_empty() {
    let cluster = Cluster::builder(17).start();
    let scratch = scratch_directory();
    let [theirs, ours] = ["theirs", "ours"].map(|name| scratch.path().join(name));
    for (root, program) in [(&theirs, BackupProgram::real(&cluster)), (&ours, BackupProgram::ours())] {
        fs::create_dir_all(root.join("empty")).unwrap();
        fs::set_permissions(root.join("empty"), fs::Permissions::from_mode(0o755)).unwrap();
        for directory in ["deep/in/the/tree//", "empty", "./-"] {
            let run = program.back_up(&cluster, Path::new(directory)).current_dir(root);
            run.args(["-N", "-Xnone", "--no-manifest"]).run().expect_success();
        }
    }
    assert_eq!(differences_of_entries(&timeless_entries(&theirs), &timeless_entries(&ours)), "");
}

#[test]
fn bb_074_bb_197_segments_may_have_another_size() {
    for size in [1, 64] {
        let cluster = Cluster::builder(15).initdb_arg(&format!("--wal-segsize={size}")).start();
        cluster.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i");
        let scratch = scratch_directory();
        let [plain, tar, unpacked] = ["plain", "tar", "unpacked"].map(|name| scratch.path().join(name));
        let program = BackupProgram::ours();
        program.back_up(&cluster, &plain).args(["-N"]).run().expect_success();
        program.back_up(&cluster, &tar).args(["-N", "-Ft"]).run().expect_success();
        unpack(&tar, &unpacked);
        for directory in [plain, unpacked] {
            let wal = directory.join("pg_wal");
            let segments = file_names(&wal).into_iter().filter(|name| is_segment_name(name));
            let sizes: Vec<u64> = segments.map(|name| fs::metadata(wal.join(name)).unwrap().len()).collect();
            assert!(!sizes.is_empty() && sizes.iter().all(|bytes| *bytes == size << 20), "{sizes:?}");
            verify(cluster.installation(), &directory, &[]);
            let restored = Cluster::existing(15, &directory).start();
            assert_eq!(restored.psql("SELECT sum(i) FROM t"), "500500");
        }
    }
}
