//! With `-P` a person or a program sees how far the backup is: the right numbers, at the right moments, in lines
//! that a terminal overwrites and a file keeps.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use support::base_backup::BackupProgram;
use support::lied_to::LiedTo;
use support::scripted_backup_server::{
    Delivery, ScriptedBackupServer, Session, Step, archive, data, error, honest_members, message,
    new_archive, progress,
};
use support::{Cluster, Run, Terminal, scratch_directory, start_slow_backup, wait_for_some};

fn programs() -> [BackupProgram; 2] {
    [BackupProgram::real_of(18), BackupProgram::ours()]
}

/// A backup of two archives, of which 20 kB and 1 kB are expected; `reports` come in the middle of the second.
fn session(reports: &[u64]) -> Session {
    let main = archive(&honest_members());
    let (beginning, rest) = main.split_at(1024);
    let mut payloads = vec![new_archive("16384.tar", "/srv/space"), data(&[0; 1024]), progress(1024)];
    payloads.extend([new_archive("base.tar", ""), data(beginning)]);
    payloads.extend(reports.iter().map(|&bytes| progress(bytes)));
    let all = main.len() as u64 + 1024;
    payloads.extend([data(rest), progress(reports.iter().copied().fold(all, u64::max))]);
    let tablespaces = vec![(16384, "/srv/space".to_owned())];
    Session { tablespaces, ..Session::of_payloads(payloads) }
}

const OPTIONS: [&str; 3] = ["-P", "-Ft", "--no-manifest"];

/// Both programs print exactly this.
#[track_caller]
fn assert_prints(session: &Session, options: &[&str], code: i32, expected: &str) {
    for program in programs() {
        let path = program.path().display().to_string();
        let lied_to = LiedTo::with(program);
        let outcome = lied_to.run(session, Delivery::default(), options).run().expect_code(code);
        assert_eq!(lied_to.shown(&outcome), expected, "{path}");
        assert_eq!(outcome.stdout_text(), "");
    }
}

/// The first report is that of the first archive's end; the number of tablespaces counts what is complete.
#[test]
fn bb_251_bb_253_bb_254_a_line_for_each_report_of_the_server_and_each_archive() {
    assert_prints(
        &session(&[2048, 2048, 4000]),
        &OPTIONS,
        0,
        "waiting for checkpoint\n\
         \u{20}1/21 kB (4%), 0/2 tablespaces\n\
         \u{20}1/21 kB (4%), 1/2 tablespaces\n\
         \u{20}2/21 kB (9%), 1/2 tablespaces\n\
         \u{20}2/21 kB (9%), 1/2 tablespaces\n\
         \u{20}3/21 kB (14%), 1/2 tablespaces\n\
         18/21 kB (85%), 1/2 tablespaces\n\
         18/21 kB (85%), 2/2 tablespaces\n",
    );
}

/// More than was expected: the total grows.
#[test]
fn bb_251_bb_253_the_total_is_what_was_expected_or_more() {
    assert_prints(
        &session(&[20 << 20]),
        &OPTIONS,
        0,
        "waiting for checkpoint\n\
         \u{20}1/21 kB (4%), 0/2 tablespaces\n\
         \u{20}1/21 kB (4%), 1/2 tablespaces\n\
         20480/20480 kB (100%), 1/2 tablespaces\n\
         20480/20480 kB (100%), 1/2 tablespaces\n\
         20480/20480 kB (100%), 2/2 tablespaces\n",
    );
}

#[test]
fn bb_255_the_last_line_comes_before_the_end_of_the_backup_is_known() {
    let failed = [Step::Say(message(b'c', b"")), Step::Say(error("ERROR", "58030", "no luck"))];
    let end = [&failed[..], &[Step::Say(message(b'Z', b"I"))]].concat();
    let session = Session { instead_of_end: Some(end), ..session(&[]) };
    assert_prints(
        &session,
        &OPTIONS,
        1,
        "waiting for checkpoint\n\
         \u{20}1/21 kB (4%), 0/2 tablespaces\n\
         \u{20}1/21 kB (4%), 1/2 tablespaces\n\
         18/21 kB (85%), 1/2 tablespaces\n\
         18/21 kB (85%), 2/2 tablespaces\n\
         pg_basebackup: error: backup failed: ERROR:  no luck\n\
         pg_basebackup: removing data directory \"DIR/out\"\n",
    );
}

/// At a terminal each line takes the place of the one before, and the last one stays.
#[test]
fn bb_250_lines_replace_each_other_at_a_terminal() {
    for program in programs() {
        let server = ScriptedBackupServer::start(&session(&[]));
        let scratch = scratch_directory();
        let out = scratch.path().join("out").display().to_string();
        let conninfo = server.conninfo();
        let arguments = [&["-N", "-Xnone", "-d", &conninfo, "-D", &out][..], &OPTIONS].concat();
        let (status, screen) = Terminal::start(program.path(), &arguments).finish();
        // The terminal itself puts a carriage return before each line feed.
        let expected = "waiting for checkpoint\r\
                        \u{20}1/21 kB (4%), 0/2 tablespaces\r\
                        \u{20}1/21 kB (4%), 1/2 tablespaces\r\
                        18/21 kB (85%), 1/2 tablespaces\r\
                        18/21 kB (85%), 2/2 tablespaces\r\n";
        assert_eq!((status, screen.as_str()), (0, expected), "{}", program.path().display());
    }
}

#[test]
fn bb_250_with_verbose_the_checkpoint_is_a_step() {
    let cluster = Cluster::builder(18).start();
    let scratch = scratch_directory();
    let program = BackupProgram::ours();
    let run = |name: &str, options: &[&str]| -> Run {
        program.back_up(&cluster, &scratch.path().join(name)).args(["-N", "-Xnone"]).args(options)
    };
    let begins = |run: Run, line: &str| {
        let stderr = run.run().expect_success().stderr;
        assert!(stderr.starts_with(line), "{stderr}");
        assert_eq!(stderr.matches("checkpoint").count(), line.matches("checkpoint").count(), "{stderr}");
    };
    begins(run("progress", &["-P"]), "waiting for checkpoint\n");
    begins(
        run("both", &["-P", "-v"]),
        "pg_basebackup: initiating base backup, waiting for checkpoint to complete\n\
         pg_basebackup: checkpoint completed\n",
    );
}

/// The total is the server's own estimate, which it shows to everybody.
#[test]
fn bb_251_bb_253_the_total_is_the_estimate_of_the_server() {
    let cluster = Cluster::builder(15).start();
    let location = cluster.make_directory("space");
    cluster.psql(&format!("CREATE TABLESPACE space LOCATION '{}'", location.display()));
    let scratch = scratch_directory();
    let out = scratch.path().join("out").display().to_string();
    let program = BackupProgram::ours();
    let running = start_slow_backup(&cluster, program.path(), &["-P", "-Ft", "-Xnone", "-D", &out]);
    let estimate = cluster.psql(
        "SELECT backup_total, tablespaces_total, tablespaces_streamed FROM pg_stat_progress_basebackup",
    );
    let fields: Vec<&str> = estimate.split('|').collect();
    assert_eq!(fields[1..], ["2", "1"]);
    let line = wait_for_some("a report from the second archive", support::DEADLINE, || {
        running.stderr_so_far().lines().find(|line| line.ends_with("1/2 tablespaces")).map(str::to_owned)
    });
    let total = line.split_once('/').unwrap().1.split_once(" kB").unwrap().0;
    // Each tablespace counts with its whole kilobytes.
    let [total, estimate] = [total, fields[0]].map(|number| number.parse::<u64>().unwrap());
    assert!((estimate / 1024 - 1..=estimate / 1024).contains(&total), "{estimate}: {line}");
}
