//! What `pg_receivewal` prints while it receives, and the files that it makes, beside what PostgreSQL's own program
//! prints and makes of the same WAL.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use support::wal_program::{WalProgram, end_of_wal, modes_in, names_in, write_wal};
use support::{Cluster, DEADLINE, ScriptedServer, StopMode, scratch_directory, wait_for, wal_sender};

fn cluster(major: u16) -> Cluster {
    Cluster::builder(major).initdb_arg("--wal-segsize=1").setting("wal_keep_size", "64MB").start()
}

/// Lines that are printed twice at times, once.
fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    if let Some(last) = lines.iter().rposition(|line| line.contains("stopped log streaming at")) {
        let mut index = 0;
        lines.retain(|line| {
            index += 1;
            index > last || !line.contains("stopped log streaming at")
        });
    }
    lines
}

#[test]
fn rw_016_017_049_050_052_054_and_196_a_run_to_an_end_position() {
    for major in [15, 18] {
        let cluster = cluster(major);
        let [seed, here, there] = [(); 3].map(|()| scratch_directory());
        // A place to begin at that is the same for both.
        cluster.psql("SELECT pg_create_physical_replication_slot('s', true)");
        write_wal(&cluster, 1500);
        let first = end_of_wal(&cluster);
        write_wal(&cluster, 1);
        WalProgram::real_of(major)
            .receive(&cluster, seed.path())
            .args(["-n", "-S", "s", "-E", &first])
            .run()
            .expect_success();
        let begin = |directory: &Path| {
            // Both begin with the segment after these.
            for name in names_in(seed.path()).iter().filter(|name| name.len() == 24) {
                fs::copy(seed.path().join(name), directory.join(name)).unwrap();
            }
        };
        write_wal(&cluster, 2500);
        let end = end_of_wal(&cluster);
        // It has to come beyond that.
        write_wal(&cluster, 1);
        for (more, suffix) in [
            (&["-v", "--synchronous"][..], ".partial"),
            (&[], ".partial"),
            (&["-v", "-Z", "gzip:1"], ".gz.partial"),
            (&["-v", "--no-sync"], ".partial"),
        ] {
            let [(real, real_files), (ours, files)] =
                [(WalProgram::real_of(major), there.path()), (WalProgram::ours_as(major), here.path())].map(
                    |(program, directory)| {
                        begin(directory);
                        let run = program.receive(&cluster, directory).args(["-n", "-E", &end]).args(more);
                        let outcome = run.run().expect_success();
                        assert!(outcome.stdout.is_empty());
                        let names = names_in(directory);
                        for name in &names {
                            fs::remove_file(directory.join(name)).unwrap();
                        }
                        (lines(&outcome.stderr), names)
                    },
                );
            assert_eq!(ours, real, "{major} {more:?}");
            // A partial segment that has become another one is of no use any more (OP-18).
            let kept = real_files.iter().filter(|name| !name.ends_with(".partial") || name.ends_with(suffix));
            assert_eq!(files, kept.cloned().collect::<Vec<_>>(), "{major} {more:?}");
        }
    }
}

#[test]
fn rw_012_rw_208_without_a_loop_the_end_of_the_connection_is_the_end() {
    let [real, ours] = [WalProgram::real_of(15), WalProgram::ours_as(15)].map(|program| {
        let mut cluster = cluster(15);
        let directory = scratch_directory();
        let running = program.receive(&cluster, directory.path()).args(["-n", "-s1"]).start();
        wal_sender(&cluster);
        cluster.stop(StopMode::Fast);
        let outcome = running.finish().expect_code(1);
        outcome
            .stderr
            .lines()
            .filter(|line| !line.contains("not renaming"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    assert_eq!(ours, real);
    assert_eq!(ours.last().unwrap(), "pg_receivewal: error: disconnected");
}

/// What the server says about why it will not do, in both programs' words.
#[test]
fn rw_012_rw_045_rw_085_rw_223_what_a_server_refuses() {
    for major in [15, 18] {
        let cluster = Cluster::builder(major)
            .initdb_arg("--wal-segsize=1")
            .setting("wal_level", "logical")
            .hba("host replication nobody all reject")
            .start();
        cluster.psql("CREATE ROLE plain LOGIN; CREATE ROLE nobody LOGIN REPLICATION");
        cluster.psql("SELECT pg_create_logical_replication_slot('logical', 'pgoutput')");
        for more in [
            &["-U", "plain"][..],
            &["-U", "nobody"],
            &["-U", "missing"],
            &["-n", "-S", "missing"],
            // Programs of 15 send a name as it is.
            &["-n", "-S", if major == 15 { "missing_too" } else { "Not A Slot" }],
            &["-n", "-S", "logical"],
            &["-n", "-v", "--no-sync", "-E", "0/1", "--synchronous"],
            &["-S", "missing", "--drop-slot"],
        ] {
            let [real, ours] = [WalProgram::real_of(major), WalProgram::ours_as(major)].map(|program| {
                let directory = scratch_directory();
                let outcome = program.receive(&cluster, directory.path()).args(more).run().expect_code(1);
                assert!(names_in(directory.path()).is_empty());
                // What to do about it only one of them says.
                let lines = outcome.stderr.lines().filter(|line| !line.starts_with("pg_receivewal: hint:"));
                lines.map(str::to_owned).collect::<Vec<_>>()
            });
            assert_eq!(ours, real, "{major} {more:?}");
        }
    }
}

#[test]
fn rw_136_the_server_may_remove_what_is_not_on_disk() {
    let cluster = cluster(15);
    let program = WalProgram::ours();
    program.run().args(["-d", &cluster.conninfo(), "-S", "s", "--create-slot"]).run().expect_success();
    let directory = scratch_directory();
    let run = program.receive(&cluster, directory.path()).args(["--no-sync", "-S", "s", "-n", "-E", "0/1"]);
    assert_eq!(
        run.run().expect_success().stderr,
        "pg_receivewal: warning: with --no-sync, replication slot \"s\" lets the server remove WAL that is not on \
         disk here yet\n"
    );
}

#[test]
fn rw_059_to_061_files_are_for_those_who_may_read_the_cluster() {
    for (allow, mode) in [(&[][..], 0o600), (&["--allow-group-access"], 0o640)] {
        let builder = Cluster::builder(15).initdb_arg("--wal-segsize=1");
        let cluster = allow.iter().fold(builder, |builder, argument| builder.initdb_arg(argument)).start();
        let group = fs::metadata(cluster.data_dir()).unwrap().permissions().mode() & 0o777;
        assert_eq!(group == 0o750, !allow.is_empty(), "{group:o}");
        for (umask, compress) in [("000", "none"), ("027", "gzip"), ("177", "none")] {
            let directory = scratch_directory();
            cluster.psql("SELECT pg_create_physical_replication_slot('s', true)");
            write_wal(&cluster, 1500);
            let end = end_of_wal(&cluster);
            write_wal(&cluster, 1);
            let program = WalProgram::ours();
            let script = format!("umask {umask}; exec \"$0\" \"$@\"");
            support::Run::new("/bin/sh")
                .args(["-c", &script])
                .arg(program.path())
                .args(["-d", &cluster.conninfo(), "-n", "-S", "s", "-Z", compress, "-E", &end, "-D"])
                .arg(directory.path())
                .run()
                .expect_success();
            let modes = modes_in(directory.path());
            assert!(!modes.is_empty() && modes.iter().all(|&found| found == mode), "{umask}: {modes:?}");
            assert_eq!(fs::metadata(directory.path()).unwrap().permissions().mode() & 0o777, 0o755);
            cluster.psql("SELECT pg_drop_replication_slot('s')");
        }
    }
}

#[test]
fn rw_058_older_servers_are_not_asked_for_the_mode_of_their_directory() {
    for (major, is_asked) in [(10, false), (11, true)] {
        let cluster = Cluster::builder(major).start();
        let directory = scratch_directory();
        WalProgram::ours()
            .receive(&cluster, directory.path())
            .args(["-n", "-E", "0/1"])
            .run()
            .expect_success();
        wait_for("the log", DEADLINE, || cluster.log().contains("IDENTIFY_SYSTEM"));
        assert_eq!(cluster.log().contains("SHOW data_directory_mode"), is_asked, "{major}");
    }
}

#[test]
fn rw_062_a_connection_that_is_bound_to_a_database_will_not_do() {
    for (line, refusal) in [
        (&["-S", "s", "--create-slot"][..], " using slot \"s\""),
        (&["-S", "s", "-n"], " using slot \"s\""),
        (&["-n"], ""),
    ] {
        let server = ScriptedServer::start(|peer| {
            peer.expect_command("SHOW data_directory_mode");
            peer.answer(&["0700"]);
            peer.expect_command("IDENTIFY_SYSTEM");
            peer.answer(&["7000000000000000001", "1", "0/3000000", "db1"]);
            peer.expect_end();
        });
        let directory = scratch_directory();
        let outcome = WalProgram::ours()
            .run()
            .args(["-d", &server.conninfo(), "-D"])
            .arg(directory.path())
            .args(line)
            .run();
        assert_eq!(
            outcome.expect_code(1).stderr,
            format!(
                "pg_receivewal: error: replication connection{refusal} is unexpectedly database specific\n"
            )
        );
        server.finish();
    }
}
