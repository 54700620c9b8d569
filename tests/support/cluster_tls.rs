//! TLS of a server: the files in its data directory, and the settings that name them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::certificates::Certificate;
use super::cluster::{Cluster, ClusterBuilder};
use super::wait::{DEADLINE, wait_for};
use super::{ServerAccount, cluster_directory};

/// How a server encrypts, and whom it believes.
#[derive(Clone, Debug)]
pub struct ServerTls {
    files: Vec<(&'static str, Vec<u8>)>,
    settings: Vec<(&'static str, String)>,
}

impl ServerTls {
    /// A server with that certificate.
    pub fn new(certificate: &Certificate) -> Self {
        Self { files: Vec::new(), settings: Vec::new() }
            .with_file("ssl_cert_file", "server.crt", certificate.pem())
            .with_file("ssl_key_file", "server.key", certificate.key_pem())
            .setting("ssl", "on")
    }

    /// A server that does not encrypt.
    pub fn off() -> Self {
        Self { files: Vec::new(), settings: vec![("ssl", "off".to_owned())] }
    }

    /// Sends another certificate along, which vouches for the server's.
    pub fn with_intermediate(mut self, certificate: &Certificate) -> Self {
        let (_, chain) = self.files.iter_mut().find(|(name, _)| *name == "server.crt").unwrap();
        chain.extend(certificate.pem());
        self
    }

    /// Asks clients for certificates that this authority vouches for.
    pub fn client_authority(self, authority: &Certificate) -> Self {
        self.with_file("ssl_ca_file", "client-authority.crt", authority.pem())
    }

    /// Refuses clients whose certificates are on that list.
    pub fn client_revocation_list(self, list: Vec<u8>) -> Self {
        self.with_file("ssl_crl_file", "client-authority.crl", list)
    }

    /// Another setting, such as `ssl_max_protocol_version`.
    pub fn setting(mut self, name: &'static str, value: &str) -> Self {
        self.settings.push((name, value.to_owned()));
        self
    }

    fn with_file(mut self, setting: &'static str, name: &'static str, contents: Vec<u8>) -> Self {
        self.files.push((name, contents));
        self.setting(setting, name)
    }

    /// Puts the files into the data directory, and names them in the configuration.
    pub(super) fn install(&self, major: u16, data_directory: &Path) {
        for (name, contents) in &self.files {
            let path = data_directory.join(name);
            fs::write(&path, contents).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            ServerAccount::current().own(&path);
        }
        // What an earlier configuration has set must not stay.
        let mut settings = vec![("ssl_ca_file", ""), ("ssl_crl_file", "")];
        if major >= 12 {
            settings.extend([("ssl_min_protocol_version", "TLSv1.2"), ("ssl_max_protocol_version", "")]);
        }
        settings.extend(self.settings.iter().map(|(name, value)| (*name, value.as_str())));
        cluster_directory::append_settings(data_directory, settings.into_iter());
    }
}

impl ClusterBuilder {
    /// Encrypts, and also listens on the loopback address of IPv6, where the machine has it.
    pub fn tls(self, tls: ServerTls) -> Self {
        self.with_tls(tls).listen_on("127.0.0.1,::1")
    }
}

impl Cluster {
    /// Makes the running server encrypt in another way, from the next connection on.
    #[track_caller]
    pub fn reload_tls(&self, tls: &ServerTls) {
        tls.install(self.installation().major(), self.data_dir());
        let before = self.log().len();
        self.psql("SELECT pg_reload_conf()");
        // The server accepts no connection between this line and the end of what it announces.
        let has_begun = || self.log()[before..].contains("received SIGHUP, reloading configuration files");
        wait_for("the server to read its configuration", DEADLINE, has_begun);
        self.psql("SELECT 1");
        let log = &self.log()[before..];
        assert!(
            !log.contains("SSL configuration was not reloaded") && !log.contains("contains errors"),
            "{log}"
        );
    }
}
