//! What `pg_basebackup` prints when it gets no session: the program under test beside the real ones.

use crate::support::{Installation, Personality, Run, scratch_directory};

/// What the programs are told: arguments, and environment variables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    pub(crate) arguments: &'a [&'a str],
    pub(crate) variables: &'a [(&'a str, &'a str)],
}

/// What the program under test prints when it fails, with its name taken away from the first line.
#[track_caller]
pub(crate) fn refusal(told: Told<'_>) -> String {
    let program = Personality::named("pg_basebackup");
    refusal_of(Run::new(program.path()), told)
}

/// The same without warnings and hints, after checking that the real programs of those versions print it too.
#[track_caller]
pub(crate) fn refusal_like(majors: &[u16], told: Told<'_>) -> String {
    let ours = refusal(told);
    let is_ours_alone = |line: &&str| {
        line.starts_with("pg_basebackup: hint: ") || line.starts_with("pg_basebackup: warning: ")
    };
    let ours: String = ours.split_inclusive('\n').filter(|line| !is_ours_alone(line)).collect();
    for &major in majors {
        let installation = Installation::find(major);
        let run = Run::new(installation.program("pg_basebackup"));
        let theirs = refusal_of(run.env("LD_LIBRARY_PATH", installation.library_directory()), told);
        assert_eq!(ours, theirs, "{major}: {told:?}");
    }
    ours
}

#[track_caller]
fn refusal_of(run: Run, told: Told<'_>) -> String {
    let scratch = scratch_directory();
    let run = run.args(["--no-password", "--wal-method=none"]).args(told.arguments).arg("-D");
    let run = run.arg(scratch.path().join("backup"));
    let run = told.variables.iter().fold(run, |run, (name, value)| run.env(name, value));
    run.run().expect_code(1).stderr.replace("pg_basebackup: error: ", "")
}
