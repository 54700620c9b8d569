//! `-t`: the server keeps the backup, or sends it elsewhere.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use support::base_backup::{BackupProgram, file_names, verify_archives};
use support::{Cluster, Outcome, Run, scratch_directory};

fn run(program: &BackupProgram, cluster: &Cluster, options: &[&str]) -> Outcome {
    Run::new(program.path()).args(["--checkpoint=fast", "-d", &cluster.conninfo()]).args(options).run()
}

/// Standard error without positions.
fn timeless(outcome: &Outcome) -> String {
    let words = outcome.stderr.split(' ').map(|word| match word.split_once('/') {
        Some((high, low)) if high.len() == 1 && low.len() > 6 => "X/X",
        _ => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn bb_107_and_263_and_264_the_server_keeps_what_was_asked_for() {
    for major in [15, 18] {
        let cluster = Cluster::builder(major).start();
        for (option, suffix) in
            [("-Znone", ""), ("-Zgzip", ".gz"), ("-Zserver-lz4", ".lz4"), ("-Zzstd:level=1", ".zst")]
        {
            let directory = cluster.make_directory(&format!("kept{suffix}"));
            let target = format!("server:{}", directory.display());
            let outcome =
                run(&BackupProgram::ours(), &cluster, &["-t", &target, "-Xf", option]).expect_success();
            assert_eq!((outcome.stdout.len(), &outcome.stderr[..]), (0, ""));
            assert_eq!(file_names(&directory), ["backup_manifest".to_owned(), format!("base.tar{suffix}")]);
            verify_archives(cluster.installation(), &directory);
        }
    }
}

#[test]
fn bb_263_and_264_a_black_hole_is_reported_as_the_real_program_does() {
    let cluster = Cluster::builder(18).start();
    let scratch = scratch_directory();
    for options in [
        &["-t", "blackhole", "-Xn"][..],
        &["-tblackhole", "-Xf", "-v", "-P"],
        &["--target=blackhole", "-Xf", "-Z", "gzip"],
    ] {
        let real = run(&BackupProgram::real(&cluster), &cluster, options).expect_success();
        let ours = run(&BackupProgram::ours(), &cluster, options).expect_success();
        assert_eq!(timeless(&ours), timeless(&real), "{options:?}");
        assert!(ours.stdout.is_empty());
    }
    assert!(file_names(scratch.path()).is_empty());
}

#[test]
fn bb_050_and_265_targets_that_cannot_be() {
    let cluster = Cluster::builder(18).start();
    cluster.psql("CREATE ROLE plain LOGIN REPLICATION");
    let full = cluster.data_dir().display().to_string();
    for options in [
        &["-t", "bogus", "-Xf"][..],
        &["-t", "client:x", "-Xf"],
        &["-t", "blackhole:x", "-Xf"],
        &["-t", "server", "-Xf"],
        &["-t", "server:relative", "-Xf"],
        &["-t", &format!("server:{full}"), "-Xf"],
        &["-t", "server:/tmp/pgsiphon-never-made", "-Xf", "-U", "plain"],
        &["-t", "blackhole", "-Xf", "-R"],
        &["-t", "blackhole", "-Xf", "-Z", "bogus"],
    ] {
        let real = run(&BackupProgram::real(&cluster), &cluster, options).expect_code(1);
        let ours = run(&BackupProgram::ours(), &cluster, options).expect_code(1);
        assert_eq!(ours.stderr, real.stderr, "{options:?}");
    }
}
