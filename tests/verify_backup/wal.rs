//! The WAL that a backup needs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::judges::Judges;
use crate::specimen::{Specimen, cluster, flip, segments, truncate};
use crate::support::base_backup::{BackupProgram, manifest};
use crate::support::{Cluster, DEADLINE, StopMode, scratch_directory, wait_for};

const FAILED: &str = "WAL parsing failed for timeline 1";

/// A backup that needs several segments: they are written while the server writes its checkpoint, which it does
/// slowly until somebody else wants one.
fn with_several_segments() -> (Cluster, Specimen) {
    let cluster = cluster(18);
    // The slot of the backup comes too late to keep what is written before the checkpoint is complete.
    cluster.psql("ALTER SYSTEM SET wal_keep_size = '1GB'");
    cluster.psql("SELECT pg_reload_conf()");
    cluster.pgbench_init(1);
    let backup = Specimen::plain_while(&BackupProgram::ours(), &cluster, |run| {
        let running = run.args(["--checkpoint=spread"]).start();
        wait_for("the checkpoint to start", DEADLINE, || {
            cluster.log().contains("checkpoint starting: force wait\n")
        });
        for number in 0..3 {
            cluster.psql(&format!("CREATE TABLE u{number} AS SELECT generate_series(1, 5000) AS i"));
            cluster.psql("SELECT pg_switch_wal()");
        }
        cluster.psql("CHECKPOINT");
        running.finish()
    });
    (cluster, backup)
}

#[test]
fn bb_229_wal_that_is_missing_or_elsewhere() {
    let cluster = cluster(18);
    let backup = Specimen::plain(&cluster);
    let judges = Judges::new();
    let elsewhere = scratch_directory();
    let wal = elsewhere.path().join("wal");
    let moved = backup.damaged(|backup| {
        fs::create_dir(&wal).unwrap();
        for segment in segments(backup) {
            fs::copy(&segment, wal.join(segment.file_name().unwrap())).unwrap();
        }
        fs::remove_dir_all(backup.join("pg_wal")).unwrap();
    });
    let root = moved.path();
    let with = |options: &[&Path]| {
        let mut arguments: Vec<PathBuf> = options.iter().map(|option| option.to_path_buf()).collect();
        arguments.push(root.clone());
        judges.judge(&arguments)
    };
    let verdict = with(&[]);
    verdict.finds(&[FAILED]);
    let detail = format!(
        "pg_verifybackup: detail: could not open directory \"{}/pg_wal\": No such file or directory\n",
        root.display()
    );
    assert!(verdict.stderr.ends_with(&detail), "{}", verdict.stderr);
    with(&[Path::new("-n")]).is_good();
    with(&[Path::new("-w"), &wal]).is_good();
    with(&[Path::new("-w"), Path::new("/nonexistent")]).finds(&[FAILED]);
    with(&[Path::new("-w"), elsewhere.path()]).finds(&[FAILED]);
    fs::create_dir(root.join("pg_wal")).unwrap();
    with(&[]).finds(&[FAILED]);
    fs::remove_dir(root.join("pg_wal")).unwrap();
    fs::write(root.join("pg_wal"), "").unwrap();
    with(&[]).finds(&[FAILED]);
}

#[test]
fn bb_229_wal_that_is_damaged() {
    let (_cluster, backup) = with_several_segments();
    let judges = Judges::new();
    assert!(segments(&backup.path()).len() > 3);
    let scenario = |damage: &dyn Fn(&[PathBuf]), is_found: bool| {
        let damaged = backup.damaged(|backup| damage(&segments(backup)));
        let verdict = judges.judge(&[damaged.path()]);
        if is_found {
            verdict.finds(&[FAILED]);
        } else {
            verdict.is_good();
        }
        assert_eq!(verdict.stderr.contains("pg_verifybackup: detail: "), is_found);
        judges.judge(&["-n".as_ref(), damaged.path().as_os_str()]).is_good();
    };
    scenario(&|_| (), false);
    scenario(&|segments| fs::remove_file(&segments[0]).unwrap(), true);
    scenario(&|segments| flip(&segments[0], 0x28 + 20), true);
    scenario(&|segments| flip(&segments[0], 0), true);
    scenario(&|segments| truncate(&segments[0], 0), true);
    scenario(&|segments| truncate(&segments[0], 8191), true);
    scenario(&|segments| fs::write(&segments[0], "rubbish").unwrap(), true);
    scenario(&|segments| fs::remove_file(&segments[1]).unwrap(), true);
    scenario(&|segments| fs::rename(&segments[1], &segments[0]).unwrap(), true);
    scenario(&|segments| truncate(&segments[1], 16 << 10), true);
    scenario(&|segments| flip(&segments[1], 30_000), true);
}

/// Errors of WAL come behind all others, and not at all where the first one is enough.
#[test]
fn bb_229_other_errors_do_not_hide_those_of_wal() {
    let cluster = cluster(18);
    let judges = Judges::new();
    let damaged = Specimen::plain(&cluster).damaged(|backup| {
        fs::write(backup.join("extra"), "").unwrap();
        fs::remove_dir_all(backup.join("pg_wal")).unwrap();
    });
    let extra = "\"extra\" is present on disk but not in the manifest";
    judges.judge(&[damaged.path()]).finds(&[extra, FAILED]);
    judges.judge(&["-e".as_ref(), damaged.path().as_os_str()]).finds(&[extra]);
}

#[test]
fn bb_211_bb_229_later_timelines() {
    let primary = cluster(18);
    let scratch = scratch_directory();
    let standby_directory = scratch.path().join("standby");
    let tablespace =
        primary.psql("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'ts'");
    let mapping = format!("{tablespace}={}", scratch.path().join("ts").display());
    let program = BackupProgram::ours();
    program.back_up(&primary, &standby_directory).args(["-N", "-R", "-T", &mapping]).run().expect_success();
    let mut standby = Cluster::existing(18, &standby_directory).start();
    standby.promote();
    standby.psql("CREATE TABLE u AS SELECT 1 AS i");
    let backup = Specimen::plain(&standby);
    standby.stop(StopMode::Fast);
    assert_eq!(manifest(&backup.path())["WAL-Ranges"][0]["Timeline"], 2);
    let judges = Judges::new();
    judges.judge(&[backup.path()]).is_good();
    let damaged = backup.damaged(|backup| {
        for segment in segments(backup) {
            let name = segment.file_name().unwrap().to_str().unwrap().replacen("00000002", "00000001", 1);
            fs::rename(&segment, segment.with_file_name(name)).unwrap();
        }
    });
    judges.judge(&[damaged.path()]).finds(&["WAL parsing failed for timeline 2"]);
}
