//! Options, and what is decided before the first file is looked at.

use std::fs;
use std::path::Path;

use crate::judges::Judges;
use crate::specimen::{Specimen, cluster};
use crate::support::{Run, pgsiphon, scratch_directory};

#[test]
fn bb_217_usage_errors() {
    let judges = Judges::new();
    for line in [
        "",
        "a b",
        "a b c",
        "-P -q",
        "-P -q a",
        "a -Fx",
        "a b --format=Plain",
        "-F",
        "--bogus",
        "a -k",
        "-m",
        "--ignore",
        "--no-parse=1",
        "-P-q a",
        "--p",
    ] {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(judges.judge(&arguments).code, 1, "{line}");
    }
    let usage = judges.judge(&["a", "b"]);
    assert_eq!(
        usage.stderr,
        "pg_verifybackup: error: too many command-line arguments (first is \"b\")\n\
         pg_verifybackup: hint: Try \"pg_verifybackup --help\" for more information.\n"
    );
}

#[test]
fn bb_217_help_and_version() {
    let judges = Judges::new();
    for (first, expected) in [
        ("--help", "Usage:"),
        ("-?", "Usage:"),
        ("-V", "pg_verifybackup (PostgreSQL) 18."),
        ("--version", "pg_ver"),
    ] {
        let outcome = judges.ours(&[first, "rubbish"]).expect_success();
        assert!(outcome.stdout_text().contains(expected), "{first}");
        assert_eq!(outcome.stderr, "", "{first}");
    }
    let help = judges.ours(&["--help"]).stdout_text();
    for option in ["-e", "-F", "-i", "-m", "-n", "-P", "-q", "-s", "-w", "-V", "-?"] {
        assert!(help.contains(&format!("\n  {option}, --")), "{option}");
    }
    let as_command = Run::new(pgsiphon()).args(["verifybackup"]).run().expect_code(1);
    assert!(as_command.stderr.contains("Try \"pgsiphon verifybackup --help\""), "{}", as_command.stderr);
}

#[test]
fn bb_218_success_is_one_line_or_none() {
    let cluster = cluster(18);
    let backup = Specimen::plain(&cluster);
    let judges = Judges::new();
    let path = backup.path();
    judges.judge(&[&path]).is_good();
    for options in ["-q", "-qe", "-qsn", "-neq"] {
        let verdict = judges.judge(&[options.as_ref(), path.as_os_str()]);
        assert_eq!((verdict.code, &*verdict.stdout, &*verdict.stderr), (0, "", ""), "{options}");
    }
    let broken = backup.damaged(|backup| fs::remove_file(backup.join("pg_hba.conf")).unwrap());
    let error = "pg_verifybackup: error: \"pg_hba.conf\" is present in the manifest but not on disk\n";
    assert_eq!(judges.judge(&["-q".as_ref(), broken.path().as_os_str()]).stderr, error);
    let full = Run::new("/bin/sh")
        .args(["-c", "exec \"$0\" verifybackup \"$1\" >/dev/full"])
        .arg(pgsiphon())
        .arg(&path);
    let stderr = full.run().expect_code(1).stderr;
    assert!(stderr.contains("could not write to stdout"), "{stderr}");
}

#[test]
fn bb_219_the_manifest_comes_first() {
    let cluster = cluster(18);
    let elsewhere = scratch_directory();
    let manifest = elsewhere.path().join("m");
    let backup = Specimen::plain(&cluster);
    let judges = Judges::new();
    for path in ["/nonexistent", "/etc/passwd", ""] {
        let verdict = judges.judge(&[path]);
        assert!(
            verdict.errors()[0].starts_with(&format!("could not open file \"{path}/backup_manifest\": "))
        );
    }
    let moved = backup.damaged(|backup| fs::rename(backup.join("backup_manifest"), &manifest).unwrap());
    let path = moved.path();
    let missing =
        format!("could not open file \"{}/backup_manifest\": No such file or directory", path.display());
    judges.judge(&[&path]).finds(&[&missing]);
    judges.judge(&[Path::new("-m"), &manifest, &path]).is_good();
    judges
        .judge(&[Path::new("-m"), Path::new("/nonexistent"), &path])
        .finds(&["could not open file \"/nonexistent\": No such file or directory"]);
    judges
        .judge(&["-m".as_ref(), "".as_ref(), path.as_os_str()])
        .finds(&["could not open file \"\": No such file or directory"]);
}

#[test]
fn bb_220_directory_and_format() {
    let cluster = cluster(18);
    let (plain, tar) = (Specimen::plain(&cluster), Specimen::tar(&cluster, &[]));
    let manifest = plain.path().join("backup_manifest");
    let judges = Judges::new();
    for (directory, error) in [
        ("/nonexistent", "could not open directory \"/nonexistent\": No such file or directory"),
        ("/etc/passwd", "could not open directory \"/etc/passwd\": Not a directory"),
    ] {
        for format in ["-q", "-Fp", "-Ft"] {
            let arguments = [format.as_ref(), "-m".as_ref(), manifest.as_os_str(), directory.as_ref()];
            judges.judge(&arguments).finds(&[error]);
        }
    }
    let wal_in_archives = "pg_waldump cannot read tar files";
    let judge = |options: &str, directory: &Path| judges.judge(&[options.as_ref(), directory.as_os_str()]);
    let verdict = judge("-s", &tar.path());
    verdict.finds(&[wal_in_archives]);
    let hint = "pg_verifybackup: hint: You must use -n/--no-parse-wal when verifying a tar-format backup.\n";
    assert!(verdict.stderr.ends_with(hint));
    judge("-n", &tar.path()).is_good();
    judge("-nFt", &tar.path()).is_good();
    judge("-Fp", &plain.path()).is_good();
    judge("-Ft", &plain.path()).finds(&[wal_in_archives]);
    assert!(judge("-nFtar", &plain.path()).errors().len() > 900);
    assert!(judge("-Fplain", &tar.path()).errors().len() > 900);
    let without_version = plain.damaged(|backup| fs::remove_file(backup.join("PG_VERSION")).unwrap());
    judge("-q", &without_version.path()).finds(&[wal_in_archives]);
}

#[test]
fn bb_230_progress() {
    let cluster = cluster(18);
    let backup = Specimen::plain(&cluster);
    let judges = Judges::new();
    let judge = |options: &str, directory: &Path| judges.judge(&[options.as_ref(), directory.as_os_str()]);
    let progress = judge("-P", &backup.path()).stderr;
    let lines: Vec<&str> = progress.lines().collect();
    let total = lines[1].split('/').next().unwrap();
    assert_eq!(lines[1], format!("{total}/{total} kB (100%) verified"));
    assert_eq!(lines[0], format!("{:>width$}/{total} kB (0%) verified", 0, width = total.len()));
    assert_eq!(judge("-Ps", &backup.path()).stderr, "", "nothing is read");

    // The real one begins with "0/0 kB" here.
    let tar = Specimen::tar(&cluster, &[]);
    let progress = judges.ours(&["-Pn".as_ref(), tar.path().as_os_str()]).expect_success().stderr;
    let lines: Vec<&str> = progress.lines().collect();
    let archives = ["base.tar".to_owned(), format!("{}.tar", tar.oid())];
    let bytes: u64 = archives.iter().map(|name| tar.path().join(name).metadata().unwrap().len()).sum();
    assert_eq!(lines[1], format!("{total}/{total} kB (100%) verified", total = bytes / 1024));
}
