//! What can be wrong with files.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::judges::{Judges, Verdict};
use crate::specimen::{Specimen, append, cluster, flip, rewrite_manifest, truncate};

fn judge(options: &[&str], backup: &Specimen) -> Verdict {
    let path = backup.path();
    let arguments: Vec<_> = options.iter().map(AsRef::as_ref).chain([path.as_os_str()]).collect();
    Judges::new().judge(&arguments)
}

#[test]
fn bb_221_paths_that_do_not_count() {
    let cluster = cluster(18);
    let backup = Specimen::plain(&cluster).damaged(|backup| {
        fs::create_dir(backup.join("aa")).unwrap();
        fs::write(backup.join("aa/x"), "x").unwrap();
        fs::create_dir(backup.join("aab")).unwrap();
        fs::write(backup.join("aab/x"), "x").unwrap();
        fs::write(backup.join("standby.signal"), "x").unwrap();
        fs::write(backup.join("recovery.signal"), "x").unwrap();
        append(&backup.join("postgresql.auto.conf"), b"# more\n");
        fs::remove_file(backup.join("pg_hba.conf")).unwrap();
        append(&backup.join("postgresql.conf"), b"# more\n");
        flip(&backup.join("pg_ident.conf"), 5);
    });
    let aa = "\"aa/x\" is present on disk but not in the manifest";
    let aab = "\"aab/x\" is present on disk but not in the manifest";
    let rest = ["-i", "pg_hba.conf", "--ignore=postgresql.conf", "-ipg_ident.conf"];
    for (ignored, errors) in [
        (&["aa", "aab"][..], &[][..]),
        (&["aa"], &[aab]),
        (&["aab"], &[aa]),
        (&["./aa/", "aab//x"], &[]),
        (&["aa/x", "aab/../aab"], &[]),
        (&["", ".", "/aa", "../backup/aa", "a"], &[aa, aab]),
    ] {
        let options: Vec<&str> = ignored.iter().flat_map(|path| ["-i", path]).chain(rest).collect();
        let verdict = judge(&options, &backup);
        if errors.is_empty() { verdict.is_good() } else { verdict.finds(errors) }
    }
    assert_eq!(judge(&[], &backup).errors().len(), 5);
}

#[test]
fn bb_222_bb_223_bb_226_files_too_many_too_few_and_of_other_sizes() {
    let cluster = cluster(18);
    let backup = Specimen::plain(&cluster);
    let oid = backup.oid();
    let file = cluster.psql("SELECT pg_relation_filepath('t')");
    let scenario = |damage: &dyn Fn(&Path), errors: &[&str]| {
        let damaged = backup.damaged(damage);
        judge(&[], &damaged).finds(errors);
        if !errors.is_empty() {
            judge(&["-s", "-n"], &damaged).finds(errors);
            let first = judge(&["-e"], &damaged);
            assert_eq!(first.errors().len(), 1);
        }
    };
    let extra = |path: &str| format!("\"{path}\" is present on disk but not in the manifest");
    let missing = |path: &str| format!("\"{path}\" is present in the manifest but not on disk");
    scenario(&|backup| fs::write(backup.join("extra_file"), "").unwrap(), &[&extra("extra_file")]);
    let in_tablespace = format!("pg_tblspc/{oid}/extra_ts_file");
    scenario(&|backup| fs::write(backup.join(&in_tablespace), "x").unwrap(), &[&extra(&in_tablespace)]);
    let unknown = "pg_tblspc/99999/x";
    let add_tablespace = |backup: &Path| {
        fs::create_dir(backup.join("pg_tblspc/99999")).unwrap();
        fs::write(backup.join(unknown), "x").unwrap();
    };
    scenario(&add_tablespace, &[&extra(unknown)]);
    scenario(&|backup| fs::remove_file(backup.join("pg_xact/0000")).unwrap(), &[&missing("pg_xact/0000")]);
    scenario(&|backup| fs::remove_file(backup.join(&file)).unwrap(), &[&missing(&file)]);
    scenario(&|backup| fs::remove_file(backup.join("pg_tblspc").join(&oid)).unwrap(), &[&missing(&file)]);
    let appended = "\"pg_hba.conf\" has size SIZE on disk but size LISTED in the manifest";
    let size = backup.path().join("pg_hba.conf").metadata().unwrap().len();
    let appended = appended.replace("LISTED", &size.to_string());
    let longer = appended.replace("SIZE", &(size + 1).to_string());
    scenario(&|backup| append(&backup.join("pg_hba.conf"), b"x"), &[&longer]);
    let shorter = appended.replace("SIZE", "0");
    scenario(&|backup| truncate(&backup.join("pg_hba.conf"), 0), &[&shorter]);
    let everything = |backup: &Path| {
        add_tablespace(backup);
        truncate(&backup.join("pg_hba.conf"), 0);
        fs::remove_file(backup.join("pg_xact/0000")).unwrap();
    };
    scenario(&everything, &[&shorter, &missing("pg_xact/0000"), &extra(unknown)]);
    judge(&[], &backup.damaged(|backup| fs::create_dir(backup.join("empty")).unwrap())).is_good();
}

#[test]
fn bb_223_bb_224_things_that_are_no_files() {
    let cluster = cluster(18);
    let backup = Specimen::plain(&cluster);
    let damaged = backup.damaged(|backup| {
        mknodat(CWD, backup.join("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        symlink("/dev/null", backup.join("device")).unwrap();
        symlink("nowhere", backup.join("dangling")).unwrap();
        symlink("PG_VERSION", backup.join("link")).unwrap();
        fs::create_dir(backup.join("global/pg_filenode.map.d")).unwrap();
    });
    judge(&[], &damaged).finds(&[
        "\"device\" is not a regular file or directory",
        "\"fifo\" is not a regular file or directory",
        "\"link\" is present on disk but not in the manifest",
        "could not stat file or directory \"dangling\": No such file or directory",
    ]);
    // A file that is a directory is missing.
    let damaged = backup.damaged(|backup| {
        fs::remove_file(backup.join("pg_hba.conf")).unwrap();
        fs::create_dir(backup.join("pg_hba.conf")).unwrap();
    });
    judge(&[], &damaged).finds(&["\"pg_hba.conf\" is present in the manifest but not on disk"]);
}

/// Where the real program goes round 40 times, and twice 40 times where there are two such links.
#[test]
fn bb_224_links_that_lead_back_are_not_followed_for_ever() {
    let cluster = cluster(18);
    let backup = Specimen::plain(&cluster).damaged(|backup| {
        symlink(".", backup.join("loop")).unwrap();
        symlink("../..", backup.join("base/1/loop")).unwrap();
    });
    let path = backup.path();
    let outcome = Judges::new().ours(&[&path]).expect_code(1);
    let loops = ["base/1/loop", "loop"].map(|link| {
        format!(
            "pg_verifybackup: error: could not open directory \"{}/{link}\": Too many levels of symbolic links\n",
            path.display()
        )
    });
    assert_eq!(outcome.stderr, loops.concat());
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn bb_224_bb_227_what_cannot_be_read() {
    let cluster = cluster(18);
    let backup = Specimen::plain(&cluster);
    let judges = Judges::new().by_server_account();
    let oid = backup.oid();
    let tablespace = format!("pg_tblspc/{oid}");
    for (path, error) in [
        ("pg_subtrans", "could not open directory \"DIR/pg_subtrans\": Permission denied"),
        ("global", "could not open directory \"DIR/global\": Permission denied"),
        (&tablespace, &*format!("could not open directory \"DIR/{tablespace}\": Permission denied")),
        ("PG_VERSION", "could not open file \"PG_VERSION\": Permission denied"),
        ("global/pg_control", "could not open file \"DIR/global/pg_control\" for reading: Permission denied"),
        ("backup_manifest", "could not open file \"DIR/backup_manifest\": Permission denied"),
        ("pg_wal", "WAL parsing failed for timeline 1"),
        (".", "could not open file \"DIR/backup_manifest\": Permission denied"),
    ] {
        let damaged = backup.damaged(|_| ()).owned();
        let root = damaged.path();
        judges.judge(&[&root]).is_good();
        set_mode(&root.join(path), 0);
        judges.judge(&[&root]).finds(&[&error.replace("DIR", root.to_str().unwrap())]);
        set_mode(&root.join(path), 0o700);
    }
    // Names can be read there, and nothing else.
    let damaged = backup.damaged(|_| ()).owned();
    let directory = damaged.path().join("pg_multixact/members");
    set_mode(&directory, 0o600);
    let stat = "could not stat file or directory \"pg_multixact/members/0000\": Permission denied";
    judges.judge(&[damaged.path()]).finds(&[stat]);
    set_mode(&directory, 0o700);
    set_mode(&damaged.tablespace(), 0o700);
}

#[test]
fn bb_227_bb_228_contents() {
    let cluster = cluster(18);
    let backup = Specimen::plain(&cluster);
    let file = cluster.psql("SELECT pg_relation_filepath('t')");
    let damaged = backup.damaged(|backup| {
        flip(&backup.join("pg_xact/0000"), 8000);
        flip(&backup.join(&file), 0);
    });
    let of_table = format!("checksum mismatch for file \"{file}\"");
    judge(&[], &damaged).finds(&["checksum mismatch for file \"pg_xact/0000\"", &of_table]);
    judge(&["-e", "-i", "pg_xact"], &damaged).finds(&[&of_table]);
    judge(&["-s"], &damaged).is_good();

    // What is missing or too much comes before what is changed.
    let damaged = backup.damaged(|backup| {
        flip(&backup.join("PG_VERSION"), 0);
        fs::remove_file(backup.join("pg_xact/0000")).unwrap();
        append(&backup.join("pg_hba.conf"), b"x");
        fs::write(backup.join("zzz"), "").unwrap();
    });
    let verdict = judge(&[], &damaged);
    assert_eq!(verdict.errors().len(), 4);
    let last = verdict.stderr.lines().last();
    assert_eq!(last, Some("pg_verifybackup: error: checksum mismatch for file \"PG_VERSION\""));
    assert_eq!(judge(&["-e", "-i", "pg_hba.conf", "-i", "pg_xact"], &damaged).errors().len(), 1);
}

#[test]
fn bb_227_names_of_the_manifest_do_not_lead_outside() {
    let cluster = cluster(18);
    let backup = Specimen::plain(&cluster);
    for name in [
        "/etc/hostname",
        "../../../etc/hostname",
        "./PG_VERSION",
        "pg_xact/../PG_VERSION",
        "global//pg_control",
    ] {
        let damaged = backup.damaged(|backup| {
            let listed = format!("\"Files\": [\n{{ \"Path\": \"{name}\", \"Size\": 3 }},");
            rewrite_manifest(backup, "\"Files\": [", &listed);
        });
        let missing = format!("\"{name}\" is present in the manifest but not on disk");
        judge(&[], &damaged).finds(&[&missing]);
    }
}
