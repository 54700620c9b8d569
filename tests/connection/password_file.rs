//! Passwords from a file: which line counts, which files are not used, and who is told.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::attempt::{
    admitted, config, reference, refused, refused_like_the_reference, refused_with_notices, with_notices,
};
use crate::support::{Cluster, ReservedPort, scratch_directory};

/// A server that asks the role `u` for its password.
fn cluster(password: &str) -> Cluster {
    let cluster = Cluster::builder(15).hba("host replication all 127.0.0.1/32 scram-sha-256").start();
    cluster.psql(&format!("CREATE ROLE \"u:,\" REPLICATION LOGIN PASSWORD '{password}'"));
    cluster
}

struct PasswordFile {
    _directory: TempDir,
    path: PathBuf,
}

impl PasswordFile {
    fn new(text: &str) -> Self {
        let directory = scratch_directory();
        let path = directory.path().join("pgpass");
        fs::write(&path, text).unwrap();
        let file = Self { _directory: directory, path };
        file.set_mode(0o600);
        file
    }

    fn set_mode(&self, mode: u32) {
        fs::set_permissions(&self.path, Permissions::from_mode(mode)).unwrap();
    }
}

fn conninfo(cluster: &Cluster, passfile: &Path) -> String {
    format!("host=127.0.0.1 port={} user='u:,' passfile={}", cluster.port(), passfile.display())
}

#[test]
fn cn_076_to_084_the_first_line_that_matches_counts() {
    let cluster = cluster("a:b\\c");
    let port = cluster.port();
    let long = "x".repeat(100_000);
    for lines in [
        format!("127.0.0.1:{port}:replication:u\\:,:a\\:b\\\\c\n"),
        "*:*:*:*:a\\:b\\\\c".to_owned(),
        "*:*:replication:u\\:,:a\\:b\\\\c:more\r\n".to_owned(),
        format!(
            "# *:*:*:*:wrong\n#{long}\n\n{long}:*:*:*:wrong\nlocalhost:*:*:*:wrong\n*:1:*:*:wrong\n*:*:postgres:*:wrong\n*:*:*:u:wrong\n*:*:*:*:a\\:b\\\\c\n*:*:*:*:wrong\n"
        ),
    ] {
        let file = PasswordFile::new(&lines);
        admitted(&conninfo(&cluster, &file.path));
    }
    for lines in ["*:*:*:*:wrong\n*:*:*:*:a\\:b\\\\c", "*:*:*:u\\:,:a\\:b"] {
        let file = PasswordFile::new(lines);
        refused(&conninfo(&cluster, &file.path));
    }
}

#[test]
fn cn_089_a_refused_password_is_traced_to_its_file() {
    let cluster = cluster("right");
    let file = PasswordFile::new("*:*:*:*:wrong\n");
    let error = refused_like_the_reference(&conninfo(&cluster, &file.path));
    let line = format!("\npassword retrieved from file \"{}\"", file.path.display());
    assert!(error.to_string().ends_with(&line), "{error}");
    assert!(!error.needs_password());

    // A password that was given keeps the file out of it.
    refused_like_the_reference(&format!("{} password=wrong", conninfo(&cluster, &file.path)));
    // Only a refused password is traced: this role is not there.
    refused_like_the_reference(&conninfo(&cluster, &file.path).replace("u:,", "nobody"));
}

#[test]
fn cn_077_a_file_that_others_can_read_is_not_used() {
    let cluster = cluster("right");
    let file = PasswordFile::new("*:*:*:*:right\n");
    let conninfo = conninfo(&cluster, &file.path);
    for mode in [0o640, 0o604, 0o610, 0o601] {
        file.set_mode(mode);
        let (error, notices) = refused_with_notices(&conninfo);
        assert_eq!(notices.len(), 1);
        assert_eq!(format!("{}\n{error}", notices[0]), reference(&conninfo), "{mode:o}");
        assert!(error.needs_password());
    }
    file.set_mode(0o400);
    let (result, notices) = with_notices(config(&conninfo));
    result.unwrap();
    assert_eq!(notices, [""; 0]);
}

#[test]
fn cn_078_a_directory_is_no_password_file() {
    let cluster = cluster("right");
    let directory = scratch_directory();
    let conninfo = conninfo(&cluster, directory.path());
    let (error, notices) = refused_with_notices(&conninfo);
    assert_eq!(format!("{}\n{error}", notices.join("\n")), reference(&conninfo));
}

#[test]
fn cn_079_a_missing_file_is_no_matter() {
    let cluster = cluster("right");
    let conninfo = conninfo(&cluster, Path::new("/nonexistent/pgpass"));
    let (error, notices) = refused_with_notices(&conninfo);
    assert_eq!((error.to_string(), notices.len()), (reference(&conninfo), 0));
}

#[test]
fn cn_088_each_host_has_its_own_line() {
    let closed = ReservedPort::reserve();
    let cluster = cluster("right");
    let (down, up) = (closed.number(), cluster.port());
    let file = PasswordFile::new(&format!("*:{down}:*:*:wrong\n*:{up}:*:*:right\n"));
    let hosts = format!("host=127.0.0.1,127.0.0.1 port={down},{up}");
    admitted(&format!("{hosts} user='u:,' passfile={}", file.path.display()));
}

#[test]
fn cn_086_the_name_of_the_host_is_looked_up_and_not_its_address() {
    let cluster = cluster("right");
    let file = PasswordFile::new("127.0.0.1:*:*:*:wrong\ndb1:*:*:*:right\n");
    admitted(&format!("{} host=db1 hostaddr=127.0.0.1", conninfo(&cluster, &file.path)));
}
