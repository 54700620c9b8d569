//! The password that `pg_receivewal` asks for: once, and only where somebody can be asked.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use support::wal_program::{WalProgram, names_in};
use support::{Cluster, Run, Terminal, scratch_directory};

fn cluster() -> Cluster {
    let cluster = Cluster::builder(15)
        .hba("local all postgres trust\nhost replication keeper all scram-sha-256")
        .setting("log_connections", "on")
        .start();
    cluster.psql("CREATE ROLE keeper LOGIN REPLICATION PASSWORD 'secret'");
    cluster
}

fn conninfo(cluster: &Cluster) -> String {
    format!("host=127.0.0.1 port={} user=keeper", cluster.port())
}

fn connections(cluster: &Cluster) -> usize {
    cluster.log().matches("connection received: host=127.0.0.1").count()
}

#[test]
fn rw_023_a_password_is_asked_for_when_the_server_wants_one_or_before() {
    let cluster = cluster();
    let program = WalProgram::ours();
    let directory = scratch_directory();
    let (string, path) = (conninfo(&cluster), directory.path().to_str().unwrap());
    for line in [
        &["-d", &string, "-S", "s", "--create-slot"][..],
        &["-W", "-d", &string, "-S", "s", "--drop-slot"],
        &["-d", &string, "-D", path, "-n", "-E", "0/1"],
        &["-d", &string, "-D", path, "-w", "-W", "--wait-for-server", "-E", "0/1"],
        &["-d", &string, "-D", path, "--wait-for-server", "-E", "0/1"],
    ] {
        let mut terminal = Terminal::start(program.path(), line);
        terminal.wait_for("Password: ");
        terminal.type_keys("secret\n");
        let (code, screen) = terminal.finish();
        assert!(code == 0 && screen.matches("Password: ").count() == 1, "{line:?}: {screen}");
    }
    let line = ["-d", &string, "-D", path, "-W", "-w"];
    let (code, screen) = Terminal::start(program.path(), &line).finish();
    assert!(code == 1 && screen.contains("fe_sendauth: no password supplied"), "{screen}");
    assert!(!screen.contains("Password: "), "{screen}");
}

/// The original connects and asks again and again, as fast as it can.
#[test]
fn rw_232_nothing_typed_and_a_wrong_password_are_the_end() {
    let cluster = cluster();
    let program = WalProgram::ours();
    let directory = scratch_directory();
    for (more, attempts) in [(&[][..], 1), (&["--wait-for-server"], 1), (&["-W"], 1), (&["-n"], 1)] {
        let before = connections(&cluster);
        // Without a terminal.
        let outcome = Run::new("/usr/bin/setsid")
            .arg("--wait")
            .arg(program.path())
            .args(["-d", &conninfo(&cluster), "-D"])
            .arg(directory.path())
            .args(more)
            .run()
            .expect_code(1);
        let expected = format!(
            "Password: \npg_receivewal: error: connection to server at \"127.0.0.1\", port {} failed: \
             fe_sendauth: no password supplied\n",
            cluster.port()
        );
        assert!(outcome.stderr.starts_with(&expected), "{more:?}: {}", outcome.stderr);
        assert_eq!(outcome.stderr.matches("Password").count(), 1, "{more:?}");
        assert_eq!(connections(&cluster) - before, attempts, "{more:?}");
    }
    let line = ["-d", &conninfo(&cluster), "-D", directory.path().to_str().unwrap()];
    let mut terminal = Terminal::start(program.path(), &line);
    terminal.wait_for("Password: ");
    terminal.type_keys("wrong\n");
    let (code, screen) = terminal.finish();
    assert!(code == 1 && screen.contains("password authentication failed for user \"keeper\""), "{screen}");
    assert_eq!(screen.matches("Password: ").count(), 1, "{screen}");
    assert!(names_in(directory.path()).is_empty());
}
