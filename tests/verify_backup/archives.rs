//! Backups in tar format.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::judges::{Judges, Verdict};
use crate::specimen::{Specimen, cluster, flip, truncate};
use crate::support::{Cluster, Run};

fn judge(options: &[&str], backup: &Specimen) -> Verdict {
    let path = backup.path();
    let options = options.iter().map(AsRef::as_ref);
    let arguments: Vec<_> = ["-n".as_ref()].into_iter().chain(options).chain([path.as_os_str()]).collect();
    Judges::new().judge(&arguments)
}

fn run(program: &str, arguments: &[&str], directory: &Path) {
    Run::new(program).args(arguments).current_dir(directory).run().expect_success();
}

#[test]
fn bb_231_compressed_archives() {
    let cluster = cluster(18);
    let tar = Specimen::tar(&cluster, &[]);
    judge(&[], &tar).is_good();
    judge(&["-s"], &tar).is_good();
    for (program, suffix) in [("/usr/bin/gzip", ".gz"), ("/usr/bin/lz4", ".lz4"), ("/usr/bin/zstd", ".zst")] {
        let compressed = tar.damaged(|backup| {
            for archive in ["base.tar".to_owned(), format!("{}.tar", tar.oid()), "pg_wal.tar".to_owned()] {
                let compressed = format!("{archive}{suffix}");
                run("/bin/sh", &["-c", &format!("{program} -c {archive} > {compressed}")], backup);
                fs::remove_file(backup.join(archive)).unwrap();
            }
        });
        judge(&[], &compressed).is_good();
        let archive = format!("base.tar{suffix}");
        // The real program takes an archive that is cut off for one that has fewer files, or says that it is.
        let cut = compressed.damaged(|backup| {
            let len = backup.join(&archive).metadata().unwrap().len();
            truncate(&backup.join(&archive), len / 2);
        });
        let stderr = Judges::new().ours(&["-n".as_ref(), cut.path().as_os_str()]).expect_code(1).stderr;
        let expected = format!("archive \"{archive}\" cannot be decompressed: ");
        assert!(stderr.starts_with("pg_verifybackup: error: could not decompress data: "), "{stderr}");
        assert!(stderr.contains(expected.trim_end_matches(": ")), "{stderr}");
        let renamed =
            tar.damaged(|backup| fs::rename(backup.join("base.tar"), backup.join(&archive)).unwrap());
        let stderr = Judges::new().ours(&["-n".as_ref(), renamed.path().as_os_str()]).expect_code(1).stderr;
        assert!(stderr.starts_with("pg_verifybackup: error: could not decompress data: "), "{stderr}");
    }
    let short_name = tar.damaged(|backup| {
        run("/usr/bin/gzip", &["base.tar"], backup);
        fs::rename(backup.join("base.tar.gz"), backup.join("base.tgz")).unwrap();
    });
    judge(&[], &short_name).is_good();
}

#[test]
fn bb_231_archives_too_many_and_too_few() {
    let cluster = cluster(18);
    let tar = Specimen::tar(&cluster, &[]);
    let file = cluster.psql("SELECT pg_relation_filepath('t')");
    let odd = tar.damaged(|backup| {
        for name in ["x.tar", "base.tar.bz2", "016385.tar", "postgresql.conf", "4294967296.tar"] {
            fs::write(backup.join(name), "").unwrap();
        }
        fs::create_dir(backup.join("16999.tar")).unwrap();
        symlink("nowhere", backup.join("1.tar")).unwrap();
    });
    let expected: Vec<String> = ["4294967296.tar", "base.tar.bz2", "postgresql.conf", "x.tar"]
        .map(|name| format!("file \"{name}\" is not expected in a tar format backup"))
        .into();
    let found = judge(&["-i", "016385.tar"], &odd).errors();
    assert_eq!(found[0], "could not stat file or directory \"1.tar\": No such file or directory");
    assert_eq!(found[1], "file \"16999.tar\" is not a regular file");
    assert_eq!(found[2..], expected);

    let missing = format!("\"{file}\" is present in the manifest but not on disk");
    let archive = format!("{}.tar", tar.oid());
    let without = tar.damaged(|backup| fs::remove_file(backup.join(&archive)).unwrap());
    judge(&[], &without).finds(&[&missing]);
    judge(&["-i", &archive], &tar).finds(&[&missing]);
    judge(&["-i", &archive, "-i", "pg_tblspc"], &tar).is_good();
    let without_base = tar.damaged(|backup| fs::remove_file(backup.join("base.tar")).unwrap());
    assert!(judge(&[], &without_base).errors().len() > 900);
    let without_wal = tar.damaged(|backup| fs::remove_file(backup.join("pg_wal.tar")).unwrap());
    judge(&[], &without_wal).is_good();
}

/// The files of the base archive, changed and put into an archive again, by the names that the shell gives them.
fn repacked(cluster: &Cluster, format: &str, names: &str, change: impl FnOnce(&Path)) -> Specimen {
    Specimen::tar(cluster, &[]).damaged(|backup| {
        let files = backup.with_file_name("files");
        fs::create_dir(&files).unwrap();
        run("/bin/tar", &["-xf", backup.join("base.tar").to_str().unwrap()], &files);
        change(&files);
        let command = format!("tar --format={format} -cf ../backup/base.tar {names}");
        run("/bin/sh", &["-c", &command], &files);
    })
}

#[test]
fn bb_231_archives_of_other_programs() {
    let cluster = cluster(18);
    for (format, names) in
        [("gnu", "."), ("ustar", "."), ("gnu", "*"), ("gnu", "-P --transform 's,^,.//,' *")]
    {
        judge(&[], &repacked(&cluster, format, names, |_| ())).is_good();
    }
    judge(&[], &repacked(&cluster, "posix", ".", |_| ()))
        .finds(&["pax extensions to tar format are not supported"]);
    judge(&[], &repacked(&cluster, "v7", ".", |_| ()))
        .finds(&["input file does not appear to be a valid tar archive"]);
    let absolute = repacked(&cluster, "gnu", "-P --transform 's,^,/,' PG_VERSION", |_| ());
    judge(&[], &absolute).finds(&["tar member has unsafe path name: \"/PG_VERSION\""]);
}

#[test]
fn bb_225_bb_231_members_that_are_wrong() {
    let cluster = cluster(18);
    let changed = repacked(&cluster, "gnu", "*", |files| {
        fs::write(files.join("extra"), "x").unwrap();
        symlink("PG_VERSION", files.join("link")).unwrap();
        fs::write(files.join("PG_VERSION"), "17\n").unwrap();
        fs::remove_file(files.join("pg_hba.conf")).unwrap();
        fs::write(files.join("pg_ident.conf"), "").unwrap();
        truncate(&files.join("global/pg_control"), 100);
    });
    let ident = changed.path().with_file_name("files").join("pg_ident.conf");
    assert_eq!(ident.metadata().unwrap().len(), 0);
    let errors = judge(&[], &changed).errors();
    let expected = [
        "\"pg_hba.conf\" is present in the manifest but not on disk",
        "checksum mismatch for file \"PG_VERSION\" in archive \"base.tar\"",
        "file \"extra\" is present in archive \"base.tar\" but not in the manifest",
        "file \"global/pg_control\" has size 100 in archive \"base.tar\" but size 8192 in the manifest",
    ];
    assert_eq!(errors[..4], expected);
    assert!(errors[4].starts_with("file \"pg_ident.conf\" has size 0 in archive \"base.tar\" but size "));
    assert_eq!(judge(&["-s"], &changed).errors().len(), 4);
    assert_eq!(judge(&["-e"], &changed).code, 1);
    let ignored = ["extra", "pg_hba.conf", "pg_ident.conf", "PG_VERSION", "global"];
    let ignored: Vec<&str> = ignored.iter().flat_map(|path| ["-i", path]).collect();
    judge(&ignored, &changed).is_good();

    let control = repacked(&cluster, "gnu", "*", |files| flip(&files.join("global/pg_control"), 40));
    judge(&["-s"], &control).finds(&["base.tar: global/pg_control: CRC is incorrect"]);
    judge(&[], &control).finds(&[
        "base.tar: global/pg_control: CRC is incorrect",
        "checksum mismatch for file \"global/pg_control\" in archive \"base.tar\"",
    ]);
}

#[test]
fn bb_231_archives_that_are_damaged() {
    let cluster = cluster(18);
    let tar = Specimen::tar(&cluster, &[]);
    let len = tar.path().join("base.tar").metadata().unwrap().len();
    let no_archive = "input file does not appear to be a valid tar archive";
    let cut = "COPY stream ended before last file was finished";
    for (damage, error) in [
        (&(|path: &Path| flip(path, 0)) as &dyn Fn(&Path), no_archive),
        (&|path| flip(path, 300), no_archive),
        (&|path| fs::write(path, "rubbish").unwrap(), cut),
        (&|path| truncate(path, len / 2 / 512 * 512 + 100), cut),
    ] {
        let damaged = tar.damaged(|backup| damage(&backup.join("base.tar")));
        let verdict = judge(&[], &damaged);
        verdict.finds(&[error]);
        assert!(verdict.stderr.contains("detail: archive \"base.tar\" is damaged"), "{}", verdict.stderr);
    }
    assert!(judge(&[], &tar.damaged(|backup| truncate(&backup.join("base.tar"), 0))).errors().len() > 900);
}
