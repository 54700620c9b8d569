//! Backups to be damaged.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::base_backup::{BackupProgram, file_names, is_segment_name};
use crate::support::tree::hexadecimal;
use crate::support::{Cluster, Outcome, Run, ServerAccount, scratch_directory};

/// A cluster with a tablespace and small segments.
pub(crate) fn cluster(major: u16) -> Cluster {
    let builder = Cluster::builder(major);
    let cluster = if major >= 11 { builder.initdb_arg("--wal-segsize=1") } else { builder }.start();
    let location = cluster.make_directory("tablespace");
    cluster.psql(&format!("CREATE TABLESPACE ts LOCATION '{}'", location.display()));
    cluster.psql("CREATE TABLE t TABLESPACE ts AS SELECT generate_series(1, 1000) AS i");
    cluster
}

/// A backup of such a cluster, of which every scenario gets a copy.
pub(crate) struct Specimen {
    root: TempDir,
    tar: bool,
}

impl Specimen {
    /// A backup in plain format by our own program.
    pub(crate) fn plain(cluster: &Cluster) -> Self {
        Self::plain_by(&BackupProgram::ours(), cluster)
    }

    pub(crate) fn plain_by(program: &BackupProgram, cluster: &Cluster) -> Self {
        Self::plain_while(program, cluster, |run| run.run())
    }

    /// Likewise; the program is run by `run`.
    pub(crate) fn plain_while(
        program: &BackupProgram,
        cluster: &Cluster,
        run: impl FnOnce(Run) -> Outcome,
    ) -> Self {
        let root = scratch_directory();
        let tablespace =
            cluster.psql("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'ts'");
        let mapping = format!("{tablespace}={}", root.path().join("ts").display());
        let directory = root.path().join("backup");
        run(program.back_up(cluster, &directory).args(["-N", "-T", &mapping])).expect_success();
        Self { root, tar: false }
    }

    /// A backup in tar format by our own program, with more options.
    pub(crate) fn tar(cluster: &Cluster, options: &[&str]) -> Self {
        let root = scratch_directory();
        let directory = root.path().join("backup");
        BackupProgram::ours()
            .back_up(cluster, &directory)
            .args(["-N", "-Ft"])
            .args(options)
            .run()
            .expect_success();
        Self { root, tar: true }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.root.path().join("backup")
    }

    pub(crate) fn oid(&self) -> String {
        let names = file_names(&if self.tar { self.path() } else { self.path().join("pg_tblspc") });
        let stems = names.iter().filter_map(|name| name.split('.').next());
        stems.map(str::to_owned).find(|name| name.bytes().all(|byte| byte.is_ascii_digit())).unwrap()
    }

    /// A copy, changed.
    pub(crate) fn damaged(&self, damage: impl FnOnce(&Path)) -> Self {
        let root = scratch_directory();
        Run::new("/bin/cp")
            .args(["-a", "--reflink=auto", "-T"])
            .args([self.root.path(), root.path()])
            .run()
            .expect_success();
        let copy = Self { root, tar: self.tar };
        if !self.tar {
            let link = copy.path().join("pg_tblspc").join(self.oid());
            fs::remove_file(&link).unwrap();
            symlink(copy.root.path().join("ts"), link).unwrap();
        }
        damage(&copy.path());
        copy
    }

    /// Gives it to the user who owns servers, whom its permissions then stop.
    pub(crate) fn owned(self) -> Self {
        for name in file_names(self.root.path()) {
            ServerAccount::current().own(&self.root.path().join(name));
        }
        self
    }

    /// The tablespace's directory.
    pub(crate) fn tablespace(&self) -> PathBuf {
        self.root.path().join("ts")
    }
}

/// Changes one byte.
pub(crate) fn flip(path: &Path, at: u64) {
    let byte = fs::read(path).unwrap()[at as usize] ^ 0x55;
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte]).unwrap();
}

pub(crate) fn append(path: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

pub(crate) fn truncate(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// The lines with the one that holds their checksum.
pub(crate) fn sealed(lines: &str) -> String {
    format!("{lines}\"Manifest-Checksum\": \"{}\"}}\n", hexadecimal(&Sha256::digest(lines)))
}

/// Changes a manifest so that it is sound again.
pub(crate) fn rewrite_manifest(directory: &Path, from: &str, to: &str) {
    let path = directory.join("backup_manifest");
    let manifest = fs::read_to_string(&path).unwrap();
    let (lines, _) = manifest.split_once("\"Manifest-Checksum\"").unwrap();
    assert!(lines.contains(from), "{from}");
    fs::write(path, sealed(&lines.replacen(from, to, 1))).unwrap();
}

/// The segments of a backup, in order.
pub(crate) fn segments(directory: &Path) -> Vec<PathBuf> {
    let names = file_names(&directory.join("pg_wal"));
    let names = names.into_iter().filter(|name| is_segment_name(name));
    names.map(|name| directory.join("pg_wal").join(name)).collect()
}
