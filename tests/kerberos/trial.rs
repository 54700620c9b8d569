//! Attempts to take a backup with Kerberos: who makes them, and what becomes of them.

use std::path::PathBuf;

use crate::support::kerberos::{Credentials, Realm};
use crate::support::{Cluster, ClusterBuilder, Installation, Personality, Run, scratch_directory};

/// The service for which the server of a test has the key; with it the host must be called `localhost`.
pub(crate) const SERVICE: &str = "postgres/localhost";

/// A cluster that knows the realm, with its service, and logs who connects.
pub(crate) fn kerberized(realm: &Realm, major: u16) -> ClusterBuilder {
    let keys = realm.add_service(SERVICE);
    Cluster::builder(major)
        .setting("krb_server_keyfile", keys.to_str().unwrap())
        .setting("log_connections", "on")
}

/// Lines of `pg_hba.conf` for one user: replication by that method over that type of connection, and nothing
/// else.
pub(crate) fn rule(connection_type: &str, user: &str, method: &str) -> String {
    let address = "127.0.0.1/32";
    format!(
        "{connection_type} replication {user} {address} {method}\n\
         host replication {user} {address} reject\n"
    )
}

/// By Kerberos, where the principal has the name of the user.
pub(crate) const GSS: &str = "gss include_realm=0";

/// What the server says of somebody who has come without Kerberos.
pub(crate) const WITHOUT_GSSAPI: &str = "without GSSAPI";

/// A program that takes a backup.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
    libraries: PathBuf,
}

impl Program {
    /// The one under test, under the name of the other.
    pub(crate) fn ours(personality: &Personality) -> Self {
        Self { path: personality.path().to_owned(), libraries: PathBuf::new() }
    }

    /// `pg_basebackup` of that version.
    pub(crate) fn real(major: u16) -> Self {
        let installation = Installation::find(major);
        let libraries = installation.library_directory();
        Self { path: installation.program("pg_basebackup"), libraries }
    }
}

/// An attempt that is going to be made.
///
/// It ends as soon as the server has let the user in, because the label of its backup is too long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) user: &'a str,
    pub(crate) credentials: &'a Credentials,
    /// More of the connection string; it wins.
    pub(crate) settings: &'a str,
}

impl Trial<'_> {
    /// How the server saw the user, as in `authenticated=yes, encrypted=no`; or what the program said.
    #[track_caller]
    pub(crate) fn made_by(&self, program: &Program) -> String {
        let directory = scratch_directory();
        let before = self.cluster.log().len();
        let run = self.run(program).arg("--pgdata").arg(directory.path().join("backup"));
        let outcome = run.run().expect_code(1);
        let admission = format!("replication connection authorized: user={}", self.user);
        let log = self.cluster.log().split_off(before);
        match log.lines().find(|line| line.contains(&admission)) {
            Some(line) => match line.split_once(" GSS (") {
                Some((_, facts)) => facts.strip_suffix(')').unwrap().to_owned(),
                None => WITHOUT_GSSAPI.to_owned(),
            },
            None => self.refusal(&outcome.stderr),
        }
    }

    fn run(&self, program: &Program) -> Run {
        let run = Run::new(&program.path).env("LD_LIBRARY_PATH", &program.libraries);
        let conninfo = format!(
            "host=localhost hostaddr=127.0.0.1 port={} user={} sslmode=disable {}",
            self.cluster.port(),
            self.user,
            self.settings
        );
        let label = "x".repeat(1025);
        let options = ["--no-password", "--wal-method=none", "--label", &label, "--dbname", &conninfo];
        self.credentials.apply(run).args(options)
    }

    /// Everything but where to and by whom.
    fn refusal(&self, stderr: &str) -> String {
        let place = format!("connection to server at \"127.0.0.1\", port {} failed: ", self.cluster.port());
        let text = stderr.replacen("pg_basebackup: error: ", "", 1).replace(&place, "");
        let hints = |line: &&str| !line.starts_with("pg_basebackup: hint: ");
        text.lines().filter(hints).collect::<Vec<_>>().join("\n")
    }
}
