//! A server and a directory of certificates, and the attempts to connect that are made with them.

use crate::attempt::{Variable, config_with, with_notices};
use crate::observed::{LogMark, Observed};
use crate::support::base_backup::BackupProgram;
use crate::support::certificates::{Certificate, CertificateStore, Template};
use crate::support::{Cluster, Installation, Outcome, Run, ServerTls, scratch_directory};

/// The authority that servers' certificates come from, and one that nobody has heard of.
pub(crate) struct Authorities {
    pub(crate) root: Certificate,
    pub(crate) other: Certificate,
}

impl Authorities {
    pub(crate) fn new() -> Self {
        Self { root: Certificate::root("Root of servers"), other: Certificate::strange_root("Another root") }
    }

    /// A certificate for `localhost`.
    pub(crate) fn server(&self) -> Certificate {
        self.root.issue(&Template::server("localhost").dns("localhost"))
    }

    /// Their certificates, as `root.crt` and `other.crt`.
    pub(crate) fn store(&self) -> CertificateStore {
        let store = CertificateStore::new();
        store.write("root.crt", self.root.pem());
        store.write("other.crt", self.other.pem());
        store
    }
}

/// A server that logs connections, and the files that its clients use.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    pub(crate) store: CertificateStore,
}

impl Bench {
    /// Starts a server with these rules in front of those that let everybody in, and makes the roles.
    pub(crate) fn start(major: u16, tls: ServerTls, store: CertificateStore, hba: &str, roles: &str) -> Self {
        let cluster = Cluster::builder(major).setting("log_connections", "on").hba(hba).tls(tls).start();
        cluster.psql("CREATE ROLE trusted REPLICATION LOGIN");
        if !roles.is_empty() {
            cluster.psql(roles);
        }
        Self { cluster, store }
    }

    /// A server of the newest version with a certificate for `localhost` that lets everybody in.
    pub(crate) fn trusting(authorities: &Authorities) -> Self {
        Self::start(18, ServerTls::new(&authorities.server()), authorities.store(), "", "")
    }

    /// A connection string: to `localhost` without asking a resolver, unless it says otherwise. `DIR` is the
    /// directory of certificates.
    fn conninfo(&self, conninfo: &str) -> String {
        let conninfo = self.fill_in(conninfo);
        format!("host=localhost hostaddr=127.0.0.1 port={} user=trusted {conninfo}", self.cluster.port())
    }

    pub(crate) fn fill_in(&self, text: &str) -> String {
        text.replace("DIR", self.store.path().to_str().unwrap())
    }

    fn observe(&self, attempt: impl FnOnce() -> Option<String>) -> Observed {
        let mark = LogMark::now(&self.cluster);
        let refusal = attempt().map(|text| self.without_names(&text));
        Observed::new(refusal, &mark.since(&self.cluster))
    }

    fn without_names(&self, text: &str) -> String {
        let server = format!("connection to server at \"127.0.0.1\", port {} ", self.cluster.port());
        let text = text.replace(&format!("{server}failed: "), "@ ").replace(&server, "@ ");
        text.replace(self.store.path().to_str().unwrap(), "DIR")
    }

    /// Our attempt, and the notices that came with it.
    pub(crate) fn ours(&self, conninfo: &str, variables: &[Variable]) -> (Observed, Vec<String>) {
        let mut notices = Vec::new();
        let config = config_with(&self.conninfo(conninfo), &self.filled_in(variables));
        let observed = self.observe(|| {
            let (result, all) = with_notices(config);
            notices = all.iter().map(|notice| self.without_names(notice)).collect();
            result.err().map(|error| error.to_string())
        });
        (observed, notices)
    }

    fn filled_in(&self, variables: &[Variable]) -> Vec<Variable> {
        variables.iter().map(|(name, value)| (*name, self.fill_in(value))).collect()
    }

    /// The attempt of libpq 18.
    pub(crate) fn libpq(&self, conninfo: &str, variables: &[Variable]) -> Observed {
        self.observe(|| libpq_refusal(&self.conninfo(conninfo), &self.filled_in(variables)))
    }

    /// The attempt of our program, which takes a backup if it is admitted; and its standard error.
    pub(crate) fn program(&self, conninfo: &str, variables: &[Variable]) -> (Observed, String) {
        let mut stderr = String::new();
        let observed = self.observe(|| {
            let outcome = back_up(&self.conninfo(conninfo), &self.filled_in(variables));
            stderr = self.without_names(&outcome.stderr);
            (outcome.code() != Some(0)).then(|| error_text(&outcome.stderr, "pg_basebackup"))
        });
        (observed, stderr)
    }

    /// Checks that the same becomes of our attempt and libpq's, and that it is this.
    #[track_caller]
    pub(crate) fn expect(&self, conninfo: &str, summary: &str) {
        self.expect_with(conninfo, &[], summary);
    }

    /// The same where we alone give this notice.
    #[track_caller]
    pub(crate) fn expect_notice(&self, conninfo: &str, variables: &[Variable], summary: &str, notice: &str) {
        assert_eq!(self.libpq(conninfo, variables).to_string(), summary, "libpq with {conninfo}");
        let (ours, notices) = self.ours(conninfo, variables);
        assert_eq!(ours.to_string(), summary, "{conninfo}");
        assert_eq!(notices, [notice], "{conninfo}");
    }

    #[track_caller]
    pub(crate) fn expect_with(&self, conninfo: &str, variables: &[Variable], summary: &str) {
        let libpq = self.libpq(conninfo, variables);
        assert_eq!(libpq.to_string(), summary, "libpq with {conninfo}");
        let (ours, notices) = self.ours(conninfo, variables);
        assert_eq!(ours, libpq, "{conninfo}");
        assert!(notices.is_empty(), "{conninfo}: {notices:?}");
    }

    /// Checks that what becomes of our attempt and libpq's is this, and that we alone say why the session is
    /// not encrypted (CW-01).
    #[track_caller]
    pub(crate) fn expect_warning(&self, conninfo: &str, summary: &str, reason: &str) {
        let notices = self.expect_unlike_libpq(conninfo, summary, summary);
        assert_eq!(notices, [format!("{NOT_ENCRYPTED}{reason}")], "{conninfo}");
    }

    /// Checks what becomes of our attempt, which is not what becomes of libpq's; gives the notices.
    #[track_caller]
    pub(crate) fn expect_unlike_libpq(&self, conninfo: &str, ours: &str, libpq: &str) -> Vec<String> {
        assert_eq!(self.libpq(conninfo, &[]).to_string(), libpq, "libpq with {conninfo}");
        let (observed, notices) = self.ours(conninfo, &[]);
        assert_eq!(observed.to_string(), ours, "{conninfo}");
        notices
    }
}

/// Why libpq 18 cannot connect, if it cannot.
pub(crate) fn libpq_refusal(conninfo: &str, variables: &[Variable]) -> Option<String> {
    let installation = Installation::find(18);
    let run = Run::new(installation.program("psql"))
        .env("LD_LIBRARY_PATH", installation.library_directory())
        .args(["-X", "-w", "-A", "-t", "-c", "IDENTIFY_SYSTEM", "-d"])
        .arg(format!("{conninfo} dbname=replication replication=true"));
    let outcome = variables.iter().fold(run, |run, (name, value)| run.env(name, value)).run();
    (outcome.code() != Some(0)).then(|| error_text(&outcome.stderr, "psql"))
}

/// Why we cannot connect, if we cannot.
pub(crate) fn our_refusal(conninfo: &str) -> Option<String> {
    crate::attempt::try_config(config_with(conninfo, &[])).err().map(|error| error.to_string())
}

fn back_up(conninfo: &str, variables: &[Variable]) -> Outcome {
    let directory = scratch_directory();
    let program = BackupProgram::ours();
    let run = Run::new(program.path())
        .args(["--no-password", "--no-sync", "--wal-method=none", "--checkpoint=fast", "--dbname", conninfo])
        .arg("--pgdata")
        .arg(directory.path().join("backup"));
    variables.iter().fold(run, |run, (name, value)| run.env(name, value)).run()
}

/// What a program says of a failure: its lines without its name, up to a hint.
fn error_text(stderr: &str, program: &str) -> String {
    let hint = format!("\n{program}: hint: ");
    let (_, error) = stderr.split_once(&format!("{program}: error: ")).unwrap_or(("", stderr));
    error.split(&hint).next().unwrap().trim_end_matches('\n').to_owned()
}

/// What is said of a connection that is not encrypted because TLS failed: this and the reason.
pub(crate) const NOT_ENCRYPTED: &str = "WARNING: @ is not encrypted: ";
