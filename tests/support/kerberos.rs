//! A Kerberos realm for tests: a KDC on a port of its own, keys for services, tickets for users.
//!
//! Everything lies in a directory of its own, and programs are told of it by their environment alone.
//! `scripts/install-libraries` installs the KDC.

use std::fmt;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::port::ReservedPort;
use super::{DEADLINE, Outcome, Run, ServerAccount, scratch_directory, wait_for};

const REALM: &str = "EXAMPLE.COM";

/// Runs the KDC until a word comes through the pipe that only the owner holds, or the pipe ends because the
/// owner is dead. Then it removes the directory of a dead owner.
const WATCHER: &str = r#"
directory=$1
shift
"$@" >"$directory/kdc.output" 2>&1 </dev/null &
read -r stop; alone=$?
kill "$!"
wait "$!"
[ "$alone" = 0 ] || rm -rf -- "$directory"
"#;

/// A realm with its KDC, which ends when this is dropped.
#[derive(Debug)]
pub struct Realm {
    watcher: Option<Child>,
    silence: Option<(UdpSocket, TcpListener)>,
    directory: TempDir,
    port: ReservedPort,
}

impl Realm {
    /// Makes a realm and starts its KDC, to the point where it answers.
    pub fn start() -> Self {
        let directory = scratch_directory();
        let mut realm = Self { watcher: None, silence: None, directory, port: ReservedPort::reserve() };
        realm.write_configuration();
        realm.administer("/usr/sbin/kdb5_util", &["create", "-s", "-P", "master password", "-r", REALM]);
        realm.start_kdc();
        realm
    }

    fn write_configuration(&self) {
        let address = format!("127.0.0.1:{}", self.port.number());
        // Names are taken as they are: what DNS says of this machine must not matter.
        let client = format!(
            "[libdefaults]
                default_realm = {REALM}
                dns_lookup_realm = false
                dns_lookup_kdc = false
                dns_canonicalize_hostname = false
                qualify_shortname = \"\"
                rdns = false
                forwardable = true
            [realms]
                {REALM} = {{
                    kdc = {address}
                }}\n"
        );
        let kdc = format!(
            "[kdcdefaults]
                kdc_listen = {address}
                kdc_tcp_listen = {address}
            [realms]
                {REALM} = {{
                    database_name = {principals}
                    key_stash_file = {stash}
                }}
            [logging]
                kdc = FILE:{log}\n",
            principals = self.path("principals").display(),
            stash = self.path("stash").display(),
            log = self.path("kdc.log").display(),
        );
        fs::write(self.path("krb5.conf"), client).unwrap();
        fs::write(self.path("kdc.conf"), kdc).unwrap();
    }

    fn start_kdc(&mut self) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WATCHER, "sh"]).arg(self.directory.path()).args(["/usr/sbin/krb5kdc", "-n"]);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").envs(self.kdc_environment());
        // Out of reach of the signals to this process's group.
        command.current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        self.watcher = Some(command.spawn().unwrap());
        wait_for("the KDC to start", DEADLINE, || {
            let output = fs::read_to_string(self.path("kdc.output")).unwrap_or_default();
            let is_ready = output.ends_with("starting...\n");
            assert!(is_ready || output.is_empty(), "the KDC did not start: {output}");
            is_ready
        });
    }

    /// Ends the KDC; nobody listens on its port any more.
    pub fn stop_kdc(&mut self) {
        if let Some(mut watcher) = self.watcher.take() {
            // It may have been killed.
            let _ = watcher.stdin.take().map(|mut pipe| pipe.write_all(b"stop\n"));
            let _ = watcher.wait();
        }
    }

    /// Puts something in the place of the KDC that hears everything and answers nothing.
    pub fn silence_kdc(&mut self) {
        self.stop_kdc();
        let address = (Ipv4Addr::LOCALHOST, self.port.number());
        self.silence = Some((UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap()));
    }

    /// Makes a service known, and gives a file with its key that servers can read.
    pub fn add_service(&self, principal: &str) -> PathBuf {
        let keys = self.add_principal(principal);
        ServerAccount::current().own(&keys);
        keys
    }

    /// Makes a user known, and gives the credentials of one who has logged in.
    pub fn add_user(&self, name: &str) -> Credentials {
        self.add_principal(name);
        self.log_in(name, &[])
    }

    /// Credentials of a user who is known already, with options of `kinit`.
    pub fn log_in(&self, name: &str, options: &[&str]) -> Credentials {
        let cache = self.path(&format!("{name}{}.cache", options.concat()));
        let credentials =
            Credentials { configuration: self.path("krb5.conf"), cache: format!("FILE:{}", cache.display()) };
        credentials
            .apply(Run::new("/usr/bin/kinit"))
            .args(options)
            .args(["-k", "-t"])
            .arg(self.key_file(name))
            .arg(name)
            .run()
            .expect_success();
        credentials
    }

    /// The credentials of somebody who has not logged in.
    pub fn no_credentials(&self) -> Credentials {
        let cache = self.path("nobody.cache");
        Credentials { configuration: self.path("krb5.conf"), cache: format!("FILE:{}", cache.display()) }
    }

    fn add_principal(&self, name: &str) -> PathBuf {
        let keys = self.key_file(name);
        self.administer("/usr/sbin/kadmin.local", &["-q", &format!("addprinc -randkey {name}")]);
        let add_keys = format!("ktadd -k {} {name}", keys.display());
        let outcome = self.administer("/usr/sbin/kadmin.local", &["-q", &add_keys]);
        assert!(keys.is_file(), "no keys for {name}: {}", outcome.stderr);
        keys
    }

    fn administer(&self, program: &str, arguments: &[&str]) -> Outcome {
        assert!(Path::new(program).is_file(), "{program} is missing; run scripts/install-libraries");
        let run = self
            .kdc_environment()
            .into_iter()
            .fold(Run::new(program), |run, (name, value)| run.env(name, value));
        run.args(arguments).run().expect_success()
    }

    fn kdc_environment(&self) -> [(&'static str, PathBuf); 2] {
        [("KRB5_CONFIG", self.path("krb5.conf")), ("KRB5_KDC_PROFILE", self.path("kdc.conf"))]
    }

    fn key_file(&self, principal: &str) -> PathBuf {
        self.path(&format!("{}.keytab", principal.replace('/', "-")))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Realm {
    fn drop(&mut self) {
        self.stop_kdc();
    }
}

/// The environment of a user of the realm.
#[derive(Clone)]
pub struct Credentials {
    configuration: PathBuf,
    cache: String,
}

impl Credentials {
    /// Makes a program run with them.
    pub fn apply(&self, run: Run) -> Run {
        run.env("KRB5_CONFIG", &self.configuration).env("KRB5CCNAME", &self.cache)
    }

    /// Waits until they have expired, so that they give no ticket for that service any more.
    pub fn wait_until_expired(&self, service: &str) {
        wait_for("the ticket to expire", DEADLINE, || {
            self.apply(Run::new("/usr/bin/kvno")).arg(service).run().code() == Some(1)
        });
    }
}

/// Short, for the tables of tests.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.cache.rsplit('/').next().unwrap();
        f.write_str(name.strip_suffix(".cache").unwrap())
    }
}
