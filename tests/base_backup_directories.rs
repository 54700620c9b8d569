//! A backup goes where it was told to go, and to no other place: tablespaces, the WAL directory, the limits of
//! names, and what happens if a directory is not what it must be.

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

/// A backup with these options, run in `directory`, that fails without leaving anything; the lines that it
/// prints, which are those of the real program.
#[track_caller]
fn refusal(cluster: &Cluster, directory: &Path, options: &[&str]) -> String {
    let before = timeless_entries(directory);
    let [theirs, ours] = [BackupProgram::real(cluster), BackupProgram::ours()].map(|program| {
        let run = Run::new(program.path()).args(["-N", "-c", "fast", "-d", &cluster.conninfo()]);
        let stderr = run.current_dir(directory).args(options).run().expect_code(1).stderr;
        let differences = differences_of_entries(&before, &timeless_entries(directory));
        assert!(differences.is_empty(), "{differences}\n{stderr}");
        stderr
    });
    assert_eq!(theirs, ours, "{options:?}");
    ours
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

#[test]
fn bb_135_bb_240_tablespaces_that_are_not_mapped_fail_on_the_same_host() {
    let cluster = Cluster::builder(17).start();
    let location = create_tablespace(&cluster, "space");
    let before = timeless_entries(&location);
    let scratch = scratch_directory();
    let stderr = refusal(&cluster, scratch.path(), &["-D", "data"]);
    let message = format!("error: directory \"{}\" exists but is not empty\n", location.display());
    assert!(stderr.contains(&message), "{stderr}");
    assert_eq!(differences_of_entries(&before, &timeless_entries(&location)), "");
}

#[test]
fn bb_245_what_a_failed_backup_has_put_into_tablespaces_stays() {
    let cluster = Cluster::builder(15).start();
    let old = create_tablespace(&cluster, "space");
    let name = "x".repeat(100);
    fs::write(cluster.data_dir().join(&name), "").unwrap();
    ServerAccount::current().own(&cluster.data_dir().join(&name));
    let scratch = scratch_directory();
    let [theirs, ours] = [BackupProgram::real(&cluster), BackupProgram::ours()].map(|program| {
        let new = scratch.path().join("space");
        let run = program.back_up(&cluster, Path::new("data")).current_dir(scratch.path());
        let mapping = format!("-T{}={}", old.display(), new.display());
        let stderr = run.args(["-N", "-Xnone", &mapping]).run().expect_code(1).stderr;
        assert_eq!(file_names(scratch.path()), ["space"]);
        fs::remove_dir_all(new).unwrap();
        stderr.lines().last().unwrap().to_owned()
    });
    assert_eq!(ours, "pg_basebackup: changes to tablespace directories will not be undone");
    assert_eq!(theirs, ours);
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

#[test]
fn bb_046_bb_238_bb_239_bb_240_directories_that_are_no_good_are_refused() {
    let cluster = Cluster::builder(15).start();
    let scratch = scratch_directory();
    let root = scratch.path();
    let absolute = |name: &str| root.join(name).display().to_string();
    for name in ["full", "hidden", "recycled"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    fs::write(root.join("full/file"), "mine").unwrap();
    fs::write(root.join("hidden/.file"), "mine").unwrap();
    fs::create_dir(root.join("recycled/lost+found")).unwrap();
    fs::write(root.join("file"), "mine").unwrap();
    for (options, message) in [
        (vec!["-D".to_owned(), "full".to_owned()], "directory \"full\" exists but is not empty"),
        (vec!["-D".to_owned(), "hidden".to_owned()], "directory \"hidden\" exists but is not empty"),
        (vec!["-D".to_owned(), "full/".to_owned(), "-Ft".to_owned()], "exists but is not empty"),
        (vec!["-D".to_owned(), "full".to_owned(), "--no-clean".to_owned()], "exists but is not empty"),
        (vec!["-D".to_owned(), "recycled".to_owned()], "directory \"recycled\" exists but is not empty"),
        (vec!["-D".to_owned(), "file".to_owned()], "could not access directory \"file\": Not a directory"),
        (vec!["-Ddata".to_owned(), "--waldir=wal".to_owned()], "must be an absolute path"),
        (vec!["-Ddata".to_owned(), format!("--waldir={}", absolute("full"))], "exists but is not empty"),
        (vec!["-Ddata".to_owned(), format!("--waldir={}", absolute("file"))], "Not a directory"),
    ] {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let stderr = refusal(&cluster, root, &options);
        assert!(stderr.contains(message), "{options:?}: {stderr}");
    }
}

#[test]
fn bb_236_bb_237_the_directory_may_be_missing_or_empty() {
    let cluster = Cluster::builder(17).start();
    let scratch = scratch_directory();
    let [theirs, ours] = ["theirs", "ours"].map(|name| scratch.path().join(name));
    for (root, program) in [(&theirs, BackupProgram::real(&cluster)), (&ours, BackupProgram::ours())] {
        fs::create_dir_all(root.join("empty")).unwrap();
        fs::set_permissions(root.join("empty"), fs::Permissions::from_mode(0o755)).unwrap();
        for directory in ["deep/in/the/tree", "empty", "slashes//", "./-"] {
            let run = program.back_up(&cluster, Path::new(directory)).current_dir(root);
            run.args(["-N", "-Xfetch", "--no-manifest"]).run().expect_success();
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
