//! From what the user said to one typed [`Config`].
//!
//! What comes in: options, a connection string or URI, environment variables, the system's user, a
//! service file, a password file. What goes out: a [`Config`] that says how to connect, or a [`ConninfoError`] in
//! libpq's words. Configuration files may be read here, a socket is never opened, nothing is
//! printed, and no secret appears in an error or in `Debug`.
//!
//! For each keyword the first source with a value wins:
//!
//! 1. an option, or a value that the program forces;
//! 2. the connection string, in which the last value of a keyword counts;
//! 3. the service that the connection string or `PGSERVICE` names, in which the first value of a keyword counts;
//! 4. the keyword's environment variable, even if it is set to nothing;
//! 5. the default that libpq 18 has; for `user` the effective user of the operating system.
//!
//! An empty value of an option or of the connection string counts as not given. Without a host the
//! connection goes through the Unix socket of the platform's directory.
//!
//! A program that has connection strings of its own needs only [`Config`], which then looks at no
//! environment variable:
//!
//! ```
//! use pgsiphon::conninfo::{Config, Endpoint, SslMode};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config: Config = "host=db1,db2 port=5433 user=replicator sslmode=verify-full".parse()?;
//! assert_eq!(config.hosts[1].endpoint()?, Endpoint::Name { name: "db2".to_owned(), port: 5433 });
//! assert_eq!(config.ssl_mode, SslMode::VerifyFull);
//!
//! let same: Config = "postgresql://replicator@db1,db2:5433/?sslmode=verify-full".parse()?;
//! assert_eq!(same.user, "replicator");
//! # Ok(())
//! # }
//! ```
//!
//! One that behaves like the PostgreSQL programs collects all sources in [`Settings`] first, which
//! also know who gave each value:
//!
//! ```
//! use pgsiphon::conninfo::{Config, Environment, Keyword, PrimaryConninfo, Settings};
//!
//! # fn main() -> Result<(), pgsiphon::conninfo::ConninfoError> {
//! let environment = Environment::from_lookup(|name| match name {
//!     "PGUSER" => Some("replicator".into()),
//!     "PGPASSWORD" => Some("it's".into()),
//!     _ => None,
//! });
//! let settings = Settings::builder()
//!     .option(Keyword::Host, "db1")
//!     .option(Keyword::FallbackApplicationName, "pg_basebackup")
//!     .environment(environment)
//!     .build()?;
//! let config = Config::from_settings(&settings)?;
//! assert_eq!(config.effective_application_name(), Some("pg_basebackup"));
//!
//! let conninfo = PrimaryConninfo::new(&settings, None, 18);
//! assert!(conninfo.as_bytes().starts_with(br"user=replicator password='it\'s' "));
//! # Ok(())
//! # }
//! ```

mod assignment;
mod config;
mod enumerated;
mod environment;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod host;
mod integer;
mod keepalives;
mod keyword;
mod keyword_value;
pub(crate) mod local_user;
mod passfile;
mod primary_conninfo;
mod require_auth;
mod service_file;
mod settings;
mod tls_choices;
mod uri;
mod warning;

pub(crate) use config::SessionPurpose;
pub use config::{Config, PasswordLookup};
pub use enumerated::{
    ChannelBinding, GssEncMode, LoadBalanceHosts, ProtocolVersion, SslCertMode, SslMode, SslNegotiation,
    TargetSessionAttrs, TlsVersion,
};
pub use environment::Environment;
pub use error::ConninfoError;
pub use host::{Endpoint, Host, HostError, Port};
pub use integer::InvalidInteger;
pub use keepalives::Keepalives;
pub use keyword::Keyword;
pub(crate) use local_user::LocalUser;
pub use passfile::PassfileWarning;
pub use primary_conninfo::PrimaryConninfo;
pub use require_auth::{AuthMethod, RequireAuth};
pub use service_file::ServiceLineProblem;
pub use settings::{Origin, Settings, SettingsBuilder};
pub use tls_choices::SslRootCert;
pub use warning::ConninfoWarning;
