//! A throw-away cluster: a data directory, a server that runs on it, and what tests do with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use rustix::process::Signal;
use tempfile::TempDir;

use super::cluster_tls::ServerTls;
use super::pgbench::{self, Load};
use super::port::ReservedPort;
use super::postmaster::{self, Postmaster};
use super::program::scratch_directory;
use super::run::{Outcome, Run};
use super::wait::{DEADLINE, wait_for, wait_for_some};
use super::{Installation, ServerAccount, client_program, cluster_directory};

/// Settings of a new cluster, before those of the test.
const SETTINGS: [(&str, &str); 7] = [
    ("autovacuum", "off"),
    // Nothing may stay in /dev/shm when the server is killed.
    ("dynamic_shared_memory_type", "mmap"),
    ("fsync", "off"),
    ("log_line_prefix", "%m [%p] %q%a "),
    ("log_replication_commands", "on"),
    ("max_wal_senders", "10"),
    ("shared_buffers", "8MB"),
];

/// How the server is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Waits for clients to leave.
    Smart,
    /// Sends clients away.
    Fast,
    /// Stops without a checkpoint; the next start recovers.
    Immediate,
}

impl StopMode {
    fn signal(self) -> Signal {
        match self {
            Self::Smart => Signal::TERM,
            Self::Fast => Signal::INT,
            Self::Immediate => Signal::QUIT,
        }
    }
}

/// What a cluster shall be like.
#[derive(Debug)]
pub struct ClusterBuilder {
    installation: Installation,
    origin: Origin,
    settings: Vec<(String, String)>,
    port: Option<u16>,
    listen_addresses: &'static str,
    tls: Option<ServerTls>,
}

#[derive(Debug)]
enum Origin {
    New { initdb_args: Vec<String>, hba: Option<String>, own_system_identifier: bool },
    Existing { data_directory: PathBuf },
}

impl ClusterBuilder {
    /// A server setting.
    ///
    /// A new cluster gets it in `postgresql.conf`, where backups take it along. A server on an existing
    /// directory gets it on its command line, where it wins over the files of the directory.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lines in front of the rules of `pg_hba.conf`, which let everybody in without a password.
    ///
    /// Rules for `local` connections also meet [`Cluster::psql`].
    pub fn hba(mut self, lines: &str) -> Self {
        let Origin::New { hba, .. } = &mut self.origin else { panic!("only a new cluster takes rules") };
        *hba = Some(lines.to_owned());
        self
    }

    /// An option of `initdb`, such as `--wal-segsize=1`.
    pub fn initdb_arg(mut self, argument: &str) -> Self {
        let Origin::New { initdb_args, .. } = &mut self.origin else {
            panic!("only a new cluster is made by initdb")
        };
        initdb_args.push(argument.to_owned());
        self
    }

    /// Makes the cluster anew. Without this, those of the same version share a system identifier.
    pub fn own_system_identifier(mut self) -> Self {
        let Origin::New { own_system_identifier, .. } = &mut self.origin else {
            panic!("an existing cluster has its system identifier")
        };
        *own_system_identifier = true;
        self
    }

    /// The addresses that the server listens on.
    pub fn listen_on(mut self, addresses: &'static str) -> Self {
        self.listen_addresses = addresses;
        self
    }

    pub(super) fn with_tls(mut self, tls: ServerTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The port; without this, one is chosen.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Makes the cluster and starts its server, to the point where it accepts connections.
    ///
    /// # Panics
    ///
    /// With the server's log, if it does not start.
    #[track_caller]
    pub fn start(self) -> Cluster {
        match self.try_start() {
            Ok(cluster) => cluster,
            Err(log) => panic!("the server did not start:\n{log}"),
        }
    }

    /// Like [`ClusterBuilder::start`] where the server may refuse to start.
    ///
    /// # Errors
    ///
    /// The server's log.
    pub fn try_start(self) -> Result<Cluster, String> {
        let mut cluster = self.prepare();
        loop {
            match cluster.try_start() {
                Ok(()) => return Ok(cluster),
                Err(log) if log.contains("Address already in use") && !cluster.port_is_fixed => {
                    cluster.port = ReservedPort::reserve();
                    fs::remove_file(cluster.log_path()).unwrap();
                }
                Err(log) => return Err(log),
            }
        }
    }

    fn prepare(self) -> Cluster {
        let account = ServerAccount::current();
        let directory = scratch_directory();
        let socket_directory = directory.path().join("s");
        fs::create_dir(&socket_directory).unwrap();
        account.own(&socket_directory);

        let mut options = Vec::new();
        let data_directory = match &self.origin {
            Origin::New { .. } => self.make_data_directory(directory.path()),
            Origin::Existing { data_directory } => {
                account.own_data_directory(data_directory);
                options.extend(self.settings.iter().map(|(name, value)| format!("--{name}={value}")));
                data_directory.clone()
            }
        };
        let port = self.port.map_or_else(ReservedPort::reserve, |number| {
            ReservedPort::try_reserve(number).unwrap_or_else(|| panic!("port {number} is in use"))
        });
        Cluster {
            accepts_connections: !self.settings.contains(&("hot_standby".to_owned(), "off".to_owned())),
            installation: self.installation,
            postmaster: None,
            data_directory,
            socket_directory,
            options,
            port,
            port_is_fixed: self.port.is_some(),
            listen_addresses: self.listen_addresses,
            directory,
        }
    }

    fn make_data_directory(&self, directory: &Path) -> PathBuf {
        let Origin::New { initdb_args, hba, own_system_identifier } = &self.origin else { unreachable!() };
        let data_directory = directory.join("data");
        let make = if *own_system_identifier { cluster_directory::create } else { cluster_directory::copy };
        make(&self.installation, initdb_args, &data_directory);
        let settings = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        cluster_directory::append_settings(&data_directory, SETTINGS.into_iter().chain(settings));
        if let Some(lines) = hba {
            cluster_directory::prepend_hba(&data_directory, lines);
        }
        if let Some(tls) = &self.tls {
            tls.install(self.installation.major(), &data_directory);
        }
        data_directory
    }
}

/// A cluster with its server, running or stopped.
///
/// When it is dropped, the server is stopped and the cluster removed; a data directory that was there before
/// stays. If a test is failing at that moment, the server's log is printed.
#[derive(Debug)]
pub struct Cluster {
    // Stops before the directories go.
    postmaster: Option<Postmaster>,
    installation: Installation,
    data_directory: PathBuf,
    socket_directory: PathBuf,
    options: Vec<String>,
    port: ReservedPort,
    port_is_fixed: bool,
    listen_addresses: &'static str,
    accepts_connections: bool,
    directory: TempDir,
}

impl Cluster {
    /// A new cluster of that major version.
    pub fn builder(major: u16) -> ClusterBuilder {
        Self::builder_with(Installation::find(major))
    }

    /// A new cluster of that installation.
    pub fn builder_with(installation: Installation) -> ClusterBuilder {
        let origin = Origin::New { initdb_args: Vec::new(), hba: None, own_system_identifier: false };
        Self::builder_of(installation, origin)
    }

    /// A server on a data directory that is there, such as a backup.
    ///
    /// Its port and its socket directory are new and on the command line; no file of the directory is
    /// changed before the server starts. As root, the directory is given to the user who runs servers; that
    /// user must be able to reach it, as below [`scratch_directory`].
    pub fn existing(major: u16, data_directory: impl Into<PathBuf>) -> ClusterBuilder {
        let origin = Origin::Existing { data_directory: data_directory.into() };
        Self::builder_of(Installation::find(major), origin)
    }

    fn builder_of(installation: Installation, origin: Origin) -> ClusterBuilder {
        ClusterBuilder {
            installation,
            origin,
            settings: Vec::new(),
            port: None,
            listen_addresses: "127.0.0.1",
            tls: None,
        }
    }

    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_directory
    }

    pub fn socket_dir(&self) -> &Path {
        &self.socket_directory
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// A connection string for TCP.
    pub fn conninfo(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres", self.port())
    }

    /// The process id of the postmaster.
    ///
    /// # Panics
    ///
    /// If the server is stopped.
    pub fn pid(&self) -> u32 {
        self.postmaster.as_ref().expect("the server is stopped").pid()
    }

    /// Everything the server has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// Makes a directory that the server may write, for a tablespace or an archive.
    pub fn make_directory(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        ServerAccount::current().own(&path);
        path
    }

    /// Runs SQL in the database `postgres`; gives the rows, fields separated by `|`, without the last
    /// line's end.
    ///
    /// # Panics
    ///
    /// With the server's message, if a statement fails.
    #[track_caller]
    pub fn psql(&self, sql: &str) -> String {
        self.psql_outcome(sql).expect_success().stdout_text().trim_end_matches('\n').to_owned()
    }

    /// Runs SQL that may fail.
    #[track_caller]
    pub fn psql_outcome(&self, sql: &str) -> Outcome {
        Run::new(client_program("psql"))
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres"])
            .arg("-h")
            .arg(&self.socket_directory)
            .args(["-p", &self.port().to_string(), "-c", sql])
            .run()
    }

    /// Makes the tables of pgbench; scale 1 is about 15 MB.
    pub fn pgbench_init(&self, scale: u32) {
        pgbench::initialize(self, scale);
    }

    /// Starts transactions on the tables of pgbench, until the result is dropped.
    pub fn pgbench_load(&self) -> Load {
        Load::start(self)
    }

    /// Starts the server again after it was stopped, with the same port.
    ///
    /// # Panics
    ///
    /// With the server's log, if it does not start.
    #[track_caller]
    pub fn start(&mut self) {
        if let Err(log) = self.try_start() {
            panic!("the server did not start again:\n{log}");
        }
    }

    /// Stops the server and waits for its end.
    #[track_caller]
    pub fn stop(&mut self, mode: StopMode) -> ExitStatus {
        let mut postmaster = self.postmaster.take().expect("the server is stopped");
        postmaster.signal(mode.signal());
        postmaster.wait(DEADLINE)
    }

    /// Kills all processes of the server at once.
    #[track_caller]
    pub fn crash(&mut self) {
        self.postmaster.take().expect("the server is stopped").kill_all();
    }

    /// Stops the server fast and starts it again.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop(StopMode::Fast);
        self.start();
    }

    #[track_caller]
    pub fn is_in_recovery(&self) -> bool {
        self.psql("SELECT pg_is_in_recovery()") == "t"
    }

    /// A standby of this server that streams from it, made by PostgreSQL's own program.
    #[track_caller]
    pub fn start_standby(&self) -> Cluster {
        let data_directory = self.make_directory("standby").join("data");
        Run::new(client_program("pg_basebackup"))
            .args(["-R", "-c", "fast", "-d", &self.conninfo(), "-D"])
            .arg(&data_directory)
            .by_server_account()
            .run()
            .expect_success();
        let standby = Cluster::existing(self.installation.major(), data_directory).start();
        standby.wait_until_streaming(self);
        standby
    }

    /// Waits until this standby receives WAL from `primary`.
    #[track_caller]
    pub fn wait_until_streaming(&self, primary: &Cluster) {
        let receiver = format!(
            "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming' AND conninfo LIKE '%port={}%'",
            primary.port()
        );
        let sender = "SELECT count(*) > 0 FROM pg_stat_replication WHERE state = 'streaming'";
        wait_for("the standby to stream", DEADLINE, || {
            self.psql(&receiver) == "1" && primary.psql(sender) == "t"
        });
    }

    /// Waits until this standby has replayed all WAL that `primary` has written by now.
    #[track_caller]
    pub fn wait_until_replayed(&self, primary: &Cluster) {
        let written = primary.psql("SELECT pg_current_wal_lsn()");
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        wait_for("the standby to replay", DEADLINE, || self.psql(&replayed) == "t");
    }

    /// Makes this standby a primary and waits until it is one.
    #[track_caller]
    pub fn promote(&self) {
        Run::new(self.installation.program("pg_ctl"))
            .args(["promote".as_ref(), "-D".as_ref(), self.data_directory.as_os_str()])
            .by_server_account()
            .run()
            .expect_success();
        wait_for("the standby to be promoted", DEADLINE, || !self.is_in_recovery());
    }

    fn try_start(&mut self) -> Result<(), String> {
        assert!(self.postmaster.is_none(), "the server runs");
        let mut options = self.options.clone();
        options.push(format!("--port={}", self.port()));
        options.push(format!("--listen_addresses={}", self.listen_addresses));
        options.push(format!("--unix_socket_directories={}", self.socket_directory.display()));
        let mut postmaster = Postmaster::start(
            &self.installation,
            &self.data_directory,
            &options,
            &self.log_path(),
            self.directory.path(),
        );
        let awaited: &[&str] = if self.accepts_connections { &["ready"] } else { &["ready", "standby"] };
        let is_ready = wait_for_some("the server to be ready", DEADLINE, || {
            let has_ended = postmaster.exit_status().is_some();
            let is_ready = postmaster.status().is_some_and(|status| awaited.contains(&status.as_str()));
            (has_ended || is_ready).then_some(!has_ended)
        });
        if is_ready {
            self.postmaster = Some(postmaster);
            Ok(())
        } else {
            Err(self.log())
        }
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.postmaster.take());
        postmaster::remove_shared_memory(&self.data_directory);
        if std::thread::panicking() {
            print_failure(&self.installation, &self.log());
        }
    }
}

#[allow(clippy::print_stderr, reason = "the test harness shows it together with the failure")]
fn print_failure(installation: &Installation, log: &str) {
    eprintln!("the log of the server of PostgreSQL {}:\n{log}", installation.major());
}
