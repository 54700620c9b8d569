//! A full backup and the increments to it.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::support::base_backup::{BackupProgram, redirect_tablespace_map, unpack, verify};
use super::support::{
    Cluster, ClusterBuilder, Installation, Outcome, Run, client_program, scratch_directory,
};

/// The form in which the backups of a chain are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    /// Unpacked with `tar` afterwards.
    Tar,
}

/// Backups that belong together, each an increment to the one before it.
///
/// Each has a directory of its own, with the data directory in `data` and tablespaces beside it.
#[derive(Debug)]
pub(crate) struct Chain {
    scratch: TempDir,
    form: Form,
    /// How many were taken in all.
    taken: usize,
    backups: Vec<PathBuf>,
}

impl Chain {
    pub(crate) fn new(form: Form) -> Self {
        Self { scratch: scratch_directory(), form, taken: 0, backups: Vec::new() }
    }

    /// The data directories of the backups, the oldest first.
    pub(crate) fn backups(&self) -> &[PathBuf] {
        &self.backups
    }

    /// The manifest of the newest backup.
    pub(crate) fn manifest(&self) -> PathBuf {
        self.backups.last().unwrap().join("backup_manifest")
    }

    /// Goes on from that backup instead of those it was combined of.
    pub(crate) fn replace_by(&mut self, combined: PathBuf) {
        self.backups = vec![combined];
    }

    /// Takes the next backup: a full one, or else an increment.
    #[track_caller]
    pub(crate) fn extend(&mut self, cluster: &Cluster, options: &[&str]) {
        self.extend_with(&BackupProgram::ours(), cluster, options);
    }

    /// Takes the next backup with that program.
    #[track_caller]
    pub(crate) fn extend_with(&mut self, program: &BackupProgram, cluster: &Cluster, options: &[&str]) {
        let place = self.scratch.path().join(self.taken.to_string());
        fs::create_dir(&place).unwrap();
        let [data, archives] = ["data", "archives"].map(|name| place.join(name));
        let output = if self.form == Form::Tar { &archives } else { &data };
        let mut run = program.back_up(cluster, output).arg("-N").args(options);
        if !self.backups.is_empty() {
            run = run.arg("-i").arg(self.manifest());
        }
        match self.form {
            Form::Plain => {
                for (oid, location) in tablespaces(cluster) {
                    let new = place.join(format!("tablespace-{oid}"));
                    run = run.arg(format!("--tablespace-mapping={location}={}", new.display()));
                }
                run.run().expect_success();
            }
            Form::Tar => {
                run.arg("-Ft").run().expect_success();
                unpack(&archives, &data);
                for oid in in_place_tablespaces(cluster) {
                    let inside = data.join("pg_tblspc").join(&oid);
                    fs::remove_file(&inside).unwrap();
                    fs::rename(place.join(format!("tablespace-{oid}")), inside).unwrap();
                }
            }
        }
        verify(&Installation::find(cluster.installation().major()), &data, &[]);
        self.taken += 1;
        self.backups.push(data);
    }

    /// Combines all backups, and checks the result with the real `pg_verifybackup`. Gives the new data directory.
    #[track_caller]
    pub(crate) fn combine(&self, cluster: &Cluster) -> PathBuf {
        let place = self.scratch.path().join(format!("combined-{}", self.taken));
        fs::create_dir(&place).unwrap();
        let data = place.join("data");
        let installation = Installation::find(cluster.installation().major());
        let newest = self.backups.last().unwrap();
        let mut run = combine(&installation, &data, &self.backups);
        for (oid, _) in tablespaces(cluster) {
            let name = format!("tablespace-{oid}");
            let mapping =
                [newest.with_file_name(&name), place.join(&name)].map(|path| path.display().to_string());
            run = run.arg(format!("--tablespace-mapping={}", mapping.join("=")));
        }
        run.run().expect_success();
        verify(&installation, &data, &[]);
        if data.join("tablespace_map").exists() {
            redirect_tablespace_map(&data);
        }
        data
    }
}

/// The real program, about to combine these backups.
pub(crate) fn combine(installation: &Installation, output: &Path, backups: &[PathBuf]) -> Run {
    Run::new(installation.program("pg_combinebackup")).args(["-N", "-o"]).arg(output).args(backups)
}

/// A cluster whose server summarizes its WAL.
pub(crate) fn summarizing(builder: ClusterBuilder) -> ClusterBuilder {
    builder.setting("summarize_wal", "on")
}

/// What the server holds, as the real `pg_dumpall` of its version shows it.
#[track_caller]
pub(crate) fn dump(cluster: &Cluster) -> String {
    let installation = Installation::find(cluster.installation().major());
    Run::new(installation.program("pg_dumpall"))
        .args(["--no-tablespaces", "--restrict-key=key", "-U", "postgres", "-h"])
        .arg(cluster.socket_dir())
        .args(["-p", &cluster.port().to_string()])
        .run()
        .expect_success()
        .stdout_text()
}

/// Both servers hold the same.
#[track_caller]
pub(crate) fn assert_same_dump(expected: &str, restored: &Cluster) {
    let actual = dump(restored);
    let difference = expected.lines().zip(actual.lines()).find(|(left, right)| left != right);
    assert!(expected == actual, "the dumps differ, first in {difference:?}");
}

/// Runs SQL in another database than `postgres`.
#[track_caller]
pub(crate) fn psql_in(cluster: &Cluster, database: &str, sql: &str) -> Outcome {
    Run::new(client_program("psql"))
        .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-h"])
        .arg(cluster.socket_dir())
        .args(["-p", &cluster.port().to_string(), "-c", sql])
        .run()
        .expect_success()
}

/// How many rows of `t` a sequential scan finds, and how many an index-only scan, which believes the visibility
/// map.
#[track_caller]
pub(crate) fn rows_by_scan(cluster: &Cluster) -> [String; 2] {
    let count = |settings: &str| cluster.psql(&format!("{settings}; SELECT count(*) FROM t WHERE i > 0"));
    [
        count("SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off"),
        count("SET enable_seqscan = off; SET enable_bitmapscan = off"),
    ]
}

/// OID and location of each tablespace that is a directory elsewhere.
fn tablespaces(cluster: &Cluster) -> Vec<(String, String)> {
    let rows = cluster.psql(
        "SELECT oid, pg_tablespace_location(oid) FROM pg_tablespace WHERE pg_tablespace_location(oid) LIKE '/%'",
    );
    rows.lines().map(|row| row.split_once('|').unwrap()).map(|(oid, at)| (oid.into(), at.into())).collect()
}

fn in_place_tablespaces(cluster: &Cluster) -> Vec<String> {
    let sql = "SELECT oid FROM pg_tablespace WHERE pg_tablespace_location(oid) LIKE 'pg_tblspc/%'";
    cluster.psql(sql).lines().map(str::to_owned).collect()
}
