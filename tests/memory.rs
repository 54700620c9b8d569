//! Memory does not grow with the cluster, in whatever form a backup is taken.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};
use support::base_backup::BackupProgram;
use support::{Cluster, Run, ServerAccount, scratch_directory};

/// The most that is promised, in bytes.
const MOST_MEMORY: u64 = 96 << 20;

const SMALL_FILES: u32 = 20_000;
const LARGE_FILES: u32 = 2;
/// Together they are larger than what is promised.
const LARGE_FILE_SIZE: usize = 72 << 20;

/// The forms of a backup, each by its options. `DIR` stands for a directory; what goes to standard output is
/// thrown away.
const FORMS: &[&[&str]] = &[
    &["-D", "DIR/out"],
    &["-D", "DIR/out", "-Xfetch", "-R", "--manifest-checksums=sha512"],
    &["-D", "DIR/out", "-Ft"],
    &["-D", "DIR/out", "-Ft", "-R", "-Xfetch"],
    &["-D", "DIR/out", "-Ft", "-Zgzip:1"],
    &["-D", "DIR/out", "-Ft", "-Zlz4", "-R"],
    &["-D", "DIR/out", "-Ft", "-Zzstd"],
    &["-D", "DIR/out", "-Zserver-zstd"],
    &["-D", "DIR/out", "-Ft", "-Zserver-lz4", "-R"],
    &["-D", "-", "-Ft", "-Xfetch"],
    &["-D", "-", "-Ft", "-Xfetch", "-Zlz4:1", "-R"],
];

/// Files that no compression makes small, in a server's directory.
fn plant_files(cluster: &Cluster) {
    let directory = cluster.data_dir().join("planted");
    fs::create_dir(&directory).unwrap();
    for number in 0..SMALL_FILES {
        fs::write(directory.join(format!("small_{number}")), number.to_le_bytes()).unwrap();
    }
    let mut noise = Vec::with_capacity(LARGE_FILE_SIZE);
    for number in 0..LARGE_FILE_SIZE / 32 {
        noise.extend_from_slice(&Sha256::digest(number.to_le_bytes()));
    }
    for number in 0..LARGE_FILES {
        fs::write(directory.join(format!("large_{number}")), &noise).unwrap();
    }
    ServerAccount::current().own(&directory);
}

/// Takes a backup in that form, without keeping it, and gives the most memory that it took.
fn peak_memory(cluster: &Cluster, program: &Path, options: &[&str]) -> u64 {
    let scratch = scratch_directory();
    let place = scratch.path().to_str().unwrap();
    // The shell becomes the program, whose output must not be kept by this process.
    let (outcome, peak) = Run::new("/bin/sh")
        .args(["-c", "exec \"$0\" \"$@\" >/dev/null"])
        .arg(program)
        .args(["--no-sync", "--checkpoint=fast", "--dbname", &cluster.conninfo()])
        .args(options.iter().map(|option| option.replace("DIR", place)))
        .start()
        .finish_measured();
    outcome.expect_success();
    peak
}

#[test]
fn memory_does_not_grow_with_the_cluster() {
    let cluster = Cluster::builder(15).start();
    plant_files(&cluster);
    let program = BackupProgram::ours();
    let peaks = FORMS.iter().map(|options| (options, peak_memory(&cluster, program.path(), options)));
    let wrong: Vec<_> = peaks.filter(|(_, peak)| !(1 << 20..MOST_MEMORY).contains(peak)).collect();
    assert!(wrong.is_empty(), "of {MOST_MEMORY} bytes: {wrong:?}");
}
