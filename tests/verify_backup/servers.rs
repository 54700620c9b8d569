//! Backups of every server that makes manifests, by our own program and by the real one.

use std::fs;

use crate::judges::Judges;
use crate::specimen::{Specimen, cluster, flip};
use crate::support::base_backup::{BackupProgram, manifest};
use crate::support::{Installation, Run};

#[track_caller]
fn backups_are_verified(major: u16) {
    let cluster = cluster(major);
    let judges = Judges::new();
    for program in [BackupProgram::ours(), BackupProgram::real(&cluster)] {
        let backup = Specimen::plain_by(&program, &cluster);
        let version = manifest(&backup.path())["PostgreSQL-Backup-Manifest-Version"].as_u64();
        assert_eq!(version, Some(if major < 17 { 1 } else { 2 }));
        let accepted = |options: &[&str], backup: &Specimen| {
            let path = backup.path();
            let arguments: Vec<_> = options.iter().map(AsRef::as_ref).chain([path.as_os_str()]).collect();
            // Programs read the WAL of their own version, and the control file of 17 only in theirs.
            let outcome = judges.ours(&arguments).expect_success();
            assert_eq!(outcome.stdout_text(), "backup successfully verified\n");
            assert_eq!(outcome.stderr, "");
        };
        accepted(&[], &backup);
        accepted(&["-n", "-s"], &backup);
        let installation = Installation::find(major.max(14));
        if major >= 14 {
            let real = installation.program("pg_verifybackup");
            Run::new(real).arg(backup.path()).run().expect_success();
        }
        let file = cluster.psql("SELECT pg_relation_filepath('t')");
        let damaged = backup.damaged(|backup| {
            flip(&backup.join(&file), 100);
            fs::remove_dir_all(backup.join("pg_wal")).unwrap();
        });
        let outcome = judges.ours(&[damaged.path()]).expect_code(1);
        let expected = [
            format!("pg_verifybackup: error: checksum mismatch for file \"{file}\""),
            "pg_verifybackup: error: WAL parsing failed for timeline 1".to_owned(),
        ];
        assert!(outcome.stderr.starts_with(&expected.join("\n")), "{}", outcome.stderr);
    }
    let tar = Specimen::tar(&cluster, &[]);
    let outcome = judges.ours(&["-n".as_ref(), tar.path().as_os_str()]).expect_success();
    assert_eq!(outcome.stdout_text(), "backup successfully verified\n");
}

macro_rules! servers {
    ($($name:ident: $major:expr),*) => {
        $(#[test] fn $name() { backups_are_verified($major); })*
    };
}

servers! {
    bb_205_bb_218_bb_229_backups_of_postgresql_13: 13,
    bb_205_bb_218_bb_229_backups_of_postgresql_14: 14,
    bb_205_bb_218_bb_229_backups_of_postgresql_15: 15,
    bb_205_bb_218_bb_229_backups_of_postgresql_16: 16,
    bb_205_bb_218_bb_229_backups_of_postgresql_17: 17,
    bb_205_bb_218_bb_229_backups_of_postgresql_18: 18
}
