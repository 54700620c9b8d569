//! The configuration of a connection: settings turned into types, every value checked.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::integer;
use super::keepalives::TcpOptions;
use super::passfile::{self, PassfileKey, PassfileWarning};
use super::tls_choices::TlsChoices;
use super::{
    ChannelBinding, ConninfoError, GssEncMode, Host, InvalidInteger, Keepalives, Keyword, LoadBalanceHosts,
    ProtocolVersion, RequireAuth, Settings, SslCertMode, SslMode, SslNegotiation, SslRootCert,
    TargetSessionAttrs, TlsVersion,
};
use crate::types::Password;

/// The database that a physical replication connection names (CN-090).
const REPLICATION_DATABASE: &str = "replication";

/// The database that every cluster has, for a session that needs just any.
const MAINTENANCE_DATABASE: &str = "postgres";

/// The length of a SCRAM-SHA-256 key in bytes.
const SCRAM_KEY_LENGTH: usize = 32;

/// Everything that says how to connect.
///
/// It comes from [`Settings`], or for a program that has its own ways of configuration from a
/// connection string alone; the fields may be changed afterwards. An absent or empty value is `None`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The hosts to try, at least one.
    pub hosts: Vec<Host>,
    /// `user`
    pub user: String,
    /// `password`, or one that was typed.
    pub password: Option<Password>,
    /// `passfile`: where to look for a password if there is none.
    pub passfile: Option<PathBuf>,
    /// `dbname`, if the connection string has it; that of a service or the environment never applies (CN-091).
    pub dbname: Option<String>,
    /// `application_name`; one that is set but empty is kept, and keeps the fallback away.
    pub application_name: Option<String>,
    /// `fallback_application_name`, used if there is no application name.
    pub fallback_application_name: Option<String>,
    /// `options`: startup options for the server, as they are sent.
    pub options: Option<String>,
    /// `client_encoding`; `auto` has become the encoding of the locale.
    pub client_encoding: Option<String>,
    /// `datestyle`, from `PGDATESTYLE`; sent even if it is empty.
    pub date_style: Option<String>,
    /// `timezone`, from `PGTZ`; sent even if it is empty.
    pub time_zone: Option<String>,
    /// `geqo`, from `PGGEQO`; sent even if it is empty.
    pub geqo: Option<String>,
    /// `min_protocol_version`
    pub min_protocol_version: ProtocolVersion,
    /// `max_protocol_version`, the one to ask for; never below the other.
    pub max_protocol_version: ProtocolVersion,
    /// `target_session_attrs`
    pub target_session_attrs: TargetSessionAttrs,
    /// `load_balance_hosts`
    pub load_balance_hosts: LoadBalanceHosts,

    /// `connect_timeout`, for each address anew; none waits for ever.
    pub connect_timeout: Option<Duration>,
    /// `keepalives*`; none switches keepalives off. TCP only.
    pub keepalives: Option<Keepalives>,
    /// `tcp_user_timeout`; none is the system's default. TCP only.
    pub tcp_user_timeout: Option<Duration>,
    /// Why `connect_timeout` could not be read; it matters when a host is tried (CN-121).
    pub(crate) invalid_connect_timeout: Option<InvalidInteger>,
    /// Why the options of TCP sockets could not be read; it matters when a TCP connection is opened (CN-121).
    pub(crate) invalid_tcp_option: Option<InvalidInteger>,

    /// `sslmode`
    pub ssl_mode: SslMode,
    /// `sslnegotiation`
    pub ssl_negotiation: SslNegotiation,
    /// `sslcert`; none is `.postgresql/postgresql.crt` below [`home`](Self::home).
    pub ssl_cert: Option<PathBuf>,
    /// `sslkey`; none is `.postgresql/postgresql.key` below [`home`](Self::home).
    pub ssl_key: Option<PathBuf>,
    /// `sslcertmode`
    pub ssl_cert_mode: SslCertMode,
    /// `sslpassword`, the passphrase of the key.
    pub ssl_password: Option<Password>,
    /// `sslrootcert`; none is `.postgresql/root.crt` below [`home`](Self::home).
    pub ssl_root_cert: Option<SslRootCert>,
    /// `sslcrl`; if this and `sslcrldir` are none, `.postgresql/root.crl` below [`home`](Self::home).
    pub ssl_crl: Option<PathBuf>,
    /// `sslcrldir`
    pub ssl_crl_dir: Option<PathBuf>,
    /// `sslsni`: whether TLS names the host in the clear.
    pub ssl_sni: bool,
    /// `ssl_min_protocol_version`; none is no bound.
    pub ssl_min_protocol_version: Option<TlsVersion>,
    /// `ssl_max_protocol_version`; none is no bound.
    pub ssl_max_protocol_version: Option<TlsVersion>,
    /// `sslkeylogfile`
    pub ssl_key_log_file: Option<PathBuf>,
    /// The home directory, if there is one.
    pub home: Option<PathBuf>,

    /// `require_auth`; none does not restrict.
    pub require_auth: Option<RequireAuth>,
    /// `requirepeer`: the user that the server must run as. Unix sockets only.
    pub require_peer: Option<String>,
    /// `channel_binding`
    pub channel_binding: ChannelBinding,
    /// `scram_client_key`, decoded: 32 bytes.
    pub scram_client_key: Option<Password>,
    /// `scram_server_key`, decoded: 32 bytes.
    pub scram_server_key: Option<Password>,
    /// `gssencmode`; a build without GSSAPI takes `prefer` as `disable`.
    pub gss_enc_mode: GssEncMode,
    /// `krbsrvname`
    pub krb_srv_name: Option<String>,
    /// `gssdelegation`
    pub gss_delegation: bool,
    /// `oauth_issuer`
    pub oauth_issuer: Option<String>,
    /// `oauth_client_id`
    pub oauth_client_id: Option<String>,
    /// `oauth_client_secret`
    pub oauth_client_secret: Option<Password>,
    /// `oauth_scope`
    pub oauth_scope: Option<String>,

    /// What sessions are for.
    pub(crate) purpose: SessionPurpose,
}

/// What a session is for. The server decides by this what it understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionPurpose {
    /// Physical replication (CN-207).
    Replication,
    /// Queries.
    Queries,
}

/// The password for a host, if there is one, and how it was found.
#[derive(Clone, Debug, Default)]
pub struct PasswordLookup {
    /// The password, never empty.
    pub password: Option<Password>,
    /// The password file that it comes from; none if it was given.
    pub file: Option<PathBuf>,
    /// Why a password file was not used.
    pub warning: Option<PassfileWarning>,
}

impl Config {
    /// Checks the settings one after the other and stops at the first that is wrong.
    ///
    /// What concerns one host only shows in [`Host::endpoint`].
    pub fn from_settings(settings: &Settings) -> Result<Self, ConninfoError> {
        let text = |keyword| settings.text(keyword);
        let path = |keyword| settings.path(keyword);
        let secret = |keyword| settings.non_empty(keyword).map(Password::new);
        let starts_with_1 = |keyword| settings.value(keyword).is_some_and(|value| value.starts_with(b"1"));
        let hosts = Host::list(settings)?;
        let require_auth = RequireAuth::from_settings(settings)?;
        let channel_binding = ChannelBinding::from_settings(settings)?;
        let tls = TlsChoices::from_settings(settings)?;
        let gss_enc_mode = GssEncMode::from_settings(settings)?;
        let target_session_attrs = TargetSessionAttrs::from_settings(settings)?;
        let load_balance_hosts = LoadBalanceHosts::from_settings(settings)?;
        let (min_protocol_version, max_protocol_version) = protocol_versions(settings)?;
        let (connect_timeout, invalid_connect_timeout) =
            match integer::seconds(settings, Keyword::ConnectTimeout) {
                Ok(timeout) => (timeout, None),
                Err(error) => (None, Some(error)),
            };
        let (tcp, invalid_tcp_option) = match TcpOptions::from_settings(settings) {
            Ok(options) => (options, None),
            Err(error) => (TcpOptions { keepalives: None, user_timeout: None }, Some(error)),
        };
        Ok(Self {
            hosts,
            user: text(Keyword::User)?.unwrap_or_default(),
            password: secret(Keyword::Password),
            passfile: path(Keyword::Passfile),
            dbname: dbname(settings)?,
            application_name: application_name(settings)?,
            fallback_application_name: text(Keyword::FallbackApplicationName)?,
            options: text(Keyword::Options)?,
            client_encoding: text(Keyword::ClientEncoding)?,
            date_style: settings.startup_value("PGDATESTYLE")?,
            time_zone: settings.startup_value("PGTZ")?,
            geqo: settings.startup_value("PGGEQO")?,
            min_protocol_version,
            max_protocol_version,
            target_session_attrs,
            load_balance_hosts,
            connect_timeout,
            invalid_connect_timeout,
            keepalives: tcp.keepalives,
            tcp_user_timeout: tcp.user_timeout,
            invalid_tcp_option,
            ssl_mode: tls.mode,
            ssl_negotiation: tls.negotiation,
            ssl_cert: path(Keyword::SslCert),
            ssl_key: path(Keyword::SslKey),
            ssl_cert_mode: tls.cert_mode,
            ssl_password: secret(Keyword::SslPassword),
            ssl_root_cert: tls.root_cert,
            ssl_crl: path(Keyword::SslCrl),
            ssl_crl_dir: path(Keyword::SslCrlDir),
            ssl_sni: starts_with_1(Keyword::SslSni),
            ssl_min_protocol_version: tls.min_version,
            ssl_max_protocol_version: tls.max_version,
            ssl_key_log_file: path(Keyword::SslKeyLogFile),
            home: settings.home().map(PathBuf::from),
            require_auth,
            require_peer: text(Keyword::RequirePeer)?,
            channel_binding,
            scram_client_key: scram_key(settings, Keyword::ScramClientKey, "client")?,
            scram_server_key: scram_key(settings, Keyword::ScramServerKey, "server")?,
            gss_enc_mode,
            krb_srv_name: text(Keyword::KrbSrvName)?,
            gss_delegation: starts_with_1(Keyword::GssDelegation),
            oauth_issuer: text(Keyword::OauthIssuer)?,
            oauth_client_id: text(Keyword::OauthClientId)?,
            oauth_client_secret: secret(Keyword::OauthClientSecret),
            oauth_scope: text(Keyword::OauthScope)?,
            purpose: SessionPurpose::Replication,
        })
    }

    /// The same for that one of the hosts only, whatever it is.
    pub(crate) fn for_host(&self, host: &Host) -> Self {
        let hosts = vec![host.clone()];
        Self { hosts, target_session_attrs: TargetSessionAttrs::Any, ..self.clone() }
    }

    /// The same for queries, in the database that was named, or where none was in one that every cluster has.
    pub(crate) fn for_queries(&self) -> Self {
        let named = self.dbname.as_deref().filter(|&name| name != REPLICATION_DATABASE);
        let dbname = Some(named.unwrap_or(MAINTENANCE_DATABASE).to_owned());
        Self { dbname, purpose: SessionPurpose::Queries, ..self.clone() }
    }

    /// The database to name to the server and to look up in the password file (CN-087, CN-090).
    pub fn database(&self) -> &str {
        self.dbname.as_deref().unwrap_or(REPLICATION_DATABASE)
    }

    /// The application name to send, if any (CN-058).
    pub fn effective_application_name(&self) -> Option<&str> {
        let name = self.application_name.as_ref().or(self.fallback_application_name.as_ref())?;
        (!name.is_empty()).then_some(name)
    }

    /// The password for a host: the one that was given, or else the one of the password file
    /// (CN-076, CN-088), which is read anew each time.
    pub fn password_for(&self, host: &Host) -> PasswordLookup {
        if let Some(password) = self.password.as_ref().filter(|password| !password.is_empty()) {
            return PasswordLookup { password: Some(password.clone()), ..PasswordLookup::default() };
        }
        let Some(path) = &self.passfile else { return PasswordLookup::default() };
        let key = PassfileKey {
            host: host.password_file_name(),
            port: host.port.as_str(),
            database: self.database(),
            user: &self.user,
        };
        match passfile::look_up(path, key) {
            Ok(Some(password)) => {
                PasswordLookup { password: Some(password), file: Some(path.clone()), warning: None }
            }
            Ok(None) => PasswordLookup::default(),
            Err(warning) => PasswordLookup { warning: Some(warning), ..PasswordLookup::default() },
        }
    }
}

/// A connection string and the defaults; no environment variable is looked at, not even `HOME`. A service is
/// looked up in the home directory that the system knows, and in the system's service file.
impl FromStr for Config {
    type Err = ConninfoError;

    fn from_str(text: &str) -> Result<Self, ConninfoError> {
        Self::from_settings(&Settings::builder().connection_string(text).build()?)
    }
}

/// Only the connection string and options name a database (CN-091, CN-093).
fn dbname(settings: &Settings) -> Result<Option<String>, ConninfoError> {
    use super::Origin::{ConnectionString, Option as CommandLine};
    match settings.origin(Keyword::Dbname) {
        Some(CommandLine | ConnectionString) => settings.text(Keyword::Dbname),
        _ => Ok(None),
    }
}

fn application_name(settings: &Settings) -> Result<Option<String>, ConninfoError> {
    let name = settings.text(Keyword::ApplicationName)?;
    Ok(name.or_else(|| settings.value(Keyword::ApplicationName).map(|_| String::new())))
}

/// A lowest version above 3.0 raises the highest if nothing else is said of that.
fn protocol_versions(settings: &Settings) -> Result<(ProtocolVersion, ProtocolVersion), ConninfoError> {
    let min = ProtocolVersion::from_settings(settings, Keyword::MinProtocolVersion)?;
    let min = min.unwrap_or(ProtocolVersion::V3_0);
    let max = ProtocolVersion::from_settings(settings, Keyword::MaxProtocolVersion)?.unwrap_or(min);
    if min > max { Err(ConninfoError::ProtocolVersionRange) } else { Ok((min, max)) }
}

fn scram_key(
    settings: &Settings,
    keyword: Keyword,
    side: &'static str,
) -> Result<Option<Password>, ConninfoError> {
    let Some(value) = settings.non_empty(keyword) else { return Ok(None) };
    let key = STANDARD.decode(value).map_err(|_| ConninfoError::InvalidScramKey { side })?;
    let key = Password::new(key);
    match key.expose().len() {
        SCRAM_KEY_LENGTH => Ok(Some(key)),
        length => Err(ConninfoError::InvalidScramKeyLength { side, length }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::conninfo::{Environment, Origin};

    fn config(text: &str) -> Result<Config, ConninfoError> {
        config_with(text, &[])
    }

    fn config_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConninfoError> {
        let environment = Environment::from_lookup(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
        });
        Config::from_settings(&Settings::builder().connection_string(text).environment(environment).build()?)
    }

    #[test]
    fn rw_094_a_session_for_queries_names_a_database_that_is_there() {
        for (text, database) in
            [("", "postgres"), ("dbname=replication", "postgres"), ("dbname=app replication=1", "app")]
        {
            let replication = config(text).unwrap();
            let queries = replication.for_queries();
            assert_eq!((queries.purpose, queries.database()), (SessionPurpose::Queries, database), "{text}");
            assert_eq!(replication.purpose, SessionPurpose::Replication);
        }
        let several = config("host=a,b target_session_attrs=primary").unwrap();
        let one = several.for_host(&several.hosts[1]);
        assert_eq!(
            (&one.hosts[..], one.target_session_attrs),
            (&several.hosts[1..], TargetSessionAttrs::Any)
        );
    }

    #[test]
    fn cn_121_what_is_wrong_with_these_waits_until_it_matters() {
        for (text, expected) in [
            ("keepalives=99999999999", Some(("99999999999", Keyword::Keepalives))),
            ("keepalives_idle=1x", Some(("1x", Keyword::KeepalivesIdle))),
            ("tcp_user_timeout=' '", Some((" ", Keyword::TcpUserTimeout))),
            ("keepalives=0 keepalives_idle=1x tcp_user_timeout=x", None),
        ] {
            let found = config(text).unwrap().invalid_tcp_option;
            let expected = expected.map(|(value, keyword)| InvalidInteger {
                keyword,
                value: value.to_owned(),
                origin: Origin::ConnectionString,
            });
            assert_eq!(found, expected, "{text}");
        }
        let found = config("connect_timeout=1x").unwrap().invalid_connect_timeout.unwrap();
        assert_eq!(
            found.to_string(),
            "invalid integer value \"1x\" for connection option \"connect_timeout\""
        );
    }

    #[test]
    fn cn_047_to_051_and_059_values_that_are_refused() {
        for (text, expected) in [
            ("sslmode=bogus", "invalid sslmode value: \"bogus\""),
            ("channel_binding=1", "invalid channel_binding value: \"1\""),
            ("sslnegotiation=x", "invalid sslnegotiation value: \"x\""),
            ("sslcertmode=x", "invalid sslcertmode value: \"x\""),
            ("gssencmode=x", "invalid gssencmode value: \"x\""),
            ("target_session_attrs=x", "invalid target_session_attrs value: \"x\""),
            ("load_balance_hosts=x", "invalid load_balance_hosts value: \"x\""),
            ("require_auth=x", "invalid require_auth value: \"x\""),
            ("min_protocol_version=3.1", "invalid min_protocol_version value: \"3.1\""),
            ("ssl_max_protocol_version=x", "invalid \"ssl_max_protocol_version\" value: \"x\""),
            ("ssl_max_protocol_version=TLSv1.1", "invalid SSL protocol version range"),
            (
                "min_protocol_version=3.2 max_protocol_version=3.0",
                "\"min_protocol_version\" is greater than \"max_protocol_version\"",
            ),
            (
                "sslnegotiation=direct",
                "weak sslmode \"prefer\" may not be used with sslnegotiation=direct (use \"require\", \"verify-ca\", or \"verify-full\")",
            ),
            (
                "sslrootcert=system sslmode=verify-ca",
                "weak sslmode \"verify-ca\" may not be used with sslrootcert=system (use \"verify-full\")",
            ),
            ("scram_client_key=!", "invalid SCRAM client key"),
            ("scram_server_key=AAAA", "invalid SCRAM server key length: 3"),
        ] {
            assert_eq!(config(text).unwrap_err().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn cn_006_an_empty_variable_is_refused_with_its_name() {
        let error = config_with("", &[("PGSSLMODE", "")]).unwrap_err();
        assert_eq!(error.to_string(), "invalid sslmode value: \"\"");
        assert!(error.hint().unwrap().contains("PGSSLMODE"));
        assert_eq!(config("sslmode=x").unwrap_err().hint(), None);
        assert!(config_with("", &[("PGREQUIREAUTH", ""), ("PGSSLMINPROTOCOLVERSION", "")]).is_ok());
        let timeout = config_with("", &[("PGCONNECT_TIMEOUT", "")]).unwrap().invalid_connect_timeout;
        assert!(timeout.unwrap().hint().unwrap().contains("PGCONNECT_TIMEOUT"));
    }

    #[test]
    fn cn_045_defaults() {
        let config = config("user=u").unwrap();
        assert_eq!(config.hosts, [Host { name: None, address: None, port: 5432.into() }]);
        assert_eq!((config.user.as_str(), config.database()), ("u", "replication"));
        assert_eq!(config.connect_timeout, None);
        assert_eq!(config.keepalives, Some(Keepalives::default()));
        assert_eq!((config.ssl_mode, config.channel_binding), (SslMode::Prefer, ChannelBinding::Prefer));
        assert_eq!(config.ssl_min_protocol_version, Some(TlsVersion::V1_2));
        assert_eq!(config.ssl_max_protocol_version, None);
        assert_eq!(config.max_protocol_version, ProtocolVersion::V3_0);
        assert_eq!(config.krb_srv_name.as_deref(), Some("postgres"));
        assert!(config.ssl_sni && !config.gss_delegation);
    }

    #[test]
    fn cn_051_numbers() {
        let text = "connect_timeout=' 3 ' keepalives_idle=-5 keepalives_interval=7 keepalives_count=0 \
            tcp_user_timeout=1500";
        let parsed = config(text).unwrap();
        assert_eq!(parsed.connect_timeout, Some(Duration::from_secs(3)));
        let interval = Some(Duration::from_secs(7));
        assert_eq!(parsed.keepalives, Some(Keepalives { idle: None, interval, count: None }));
        assert_eq!(parsed.tcp_user_timeout, Some(Duration::from_millis(1500)));
        assert_eq!(config("connect_timeout=-1").unwrap().connect_timeout, None);
        assert_eq!(config("keepalives=0").unwrap().keepalives, None);
        assert!(config("keepalives=-1").unwrap().keepalives.is_some());
    }

    #[test]
    fn cn_050_the_lowest_protocol_version_raises_the_highest() {
        let parsed = config("min_protocol_version=3.2").unwrap();
        assert_eq!(parsed.max_protocol_version, ProtocolVersion::V3_2);
        let parsed = config("max_protocol_version=latest").unwrap();
        assert_eq!(parsed.min_protocol_version, ProtocolVersion::V3_0);
        assert_eq!(parsed.max_protocol_version, ProtocolVersion::V3_2);
    }

    #[test]
    fn cn_087_and_090_to_093_database() {
        let environment = [("PGDATABASE", "env")];
        assert_eq!(config_with("", &environment).unwrap().dbname, None);
        assert_eq!(config_with("dbname=db", &environment).unwrap().database(), "db");
        assert_eq!(config("replication=database").unwrap().database(), "replication");
    }

    #[test]
    fn cn_058_and_060_application_name() {
        let fallback = "fallback_application_name=tool";
        for (text, variables, expected) in [
            (format!("{fallback} application_name=mine"), &[("PGAPPNAME", "env")][..], Some("mine")),
            (fallback.to_owned(), &[("PGAPPNAME", "env")], Some("env")),
            (fallback.to_owned(), &[("PGAPPNAME", "")], None),
            (fallback.to_owned(), &[], Some("tool")),
            (String::new(), &[], None),
        ] {
            assert_eq!(config_with(&text, variables).unwrap().effective_application_name(), expected);
        }
    }

    #[test]
    fn cn_053_startup_values_of_the_environment() {
        let parsed =
            config_with("", &[("PGTZ", "UTC"), ("PGDATESTYLE", "Default"), ("PGGEQO", "on")]).unwrap();
        let values = (parsed.time_zone.as_deref(), parsed.date_style, parsed.geqo.as_deref());
        assert_eq!(values, (Some("UTC"), None, Some("on")));
    }

    #[test]
    fn cn_076_087_and_088_a_password_for_each_host() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pgpass");
        fs::write(&path, "a:1:replication:u:of a\nb:*:other:u:of b\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let found = |text: &str| {
            let config = config(&format!("user=u passfile='{}' {text}", path.display())).unwrap();
            let lookup = |host| {
                let lookup = config.password_for(host);
                let password = lookup.password.map(|p| String::from_utf8(p.expose().to_vec()).unwrap());
                password.map(|password| (password, lookup.file.is_some()))
            };
            config.hosts.iter().map(lookup).collect::<Vec<_>>()
        };
        let of_a = Some(("of a".to_owned(), true));
        let of_b = Some(("of b".to_owned(), true));
        assert_eq!(found("host=a,b,c port=1,2,3"), [of_a, None, None]);
        assert_eq!(found("host=a,b port=1,2 dbname=other"), [None, of_b]);
        assert_eq!(found("host=a port=1 password=given"), [Some(("given".to_owned(), false))]);
    }

    #[test]
    fn cn_077_a_password_file_that_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let text = format!("host=a passfile='{}'", directory.path().display());
        let config = config(&text).unwrap();
        let lookup = config.password_for(&config.hosts[0]);
        assert!(lookup.password.is_none());
        assert!(
            matches!(lookup.warning, Some(PassfileWarning::NotPlainFile(path)) if path == directory.path())
        );
    }

    #[test]
    fn only_secrets_and_paths_may_be_other_than_utf_8() {
        let build = |text: &[u8]| {
            Config::from_settings(&Settings::builder().connection_string(text).build().unwrap())
        };
        let config = build(b"password=\xff passfile=/\xfe").unwrap();
        assert_eq!(config.password.unwrap().expose(), b"\xff");
        assert_eq!(build(b"user=\xff").unwrap_err().to_string(), "value of \"user\" is not valid UTF-8");
    }

    #[test]
    fn debug_shows_no_secret() {
        let config = config("password=hunter2 sslpassword=hunter2 oauth_client_secret=hunter2").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
