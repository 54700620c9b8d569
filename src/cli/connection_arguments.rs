//! How to reach the server: the options that the programs share, and what they come to.
//!
//! In: the options, the environment, and what that names. Out: the settings of connections. No connection is made.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use clap::Args;

use super::claimed_version::ClaimedVersion;
use super::messages::Messages;
use crate::conninfo::{Config, ConninfoError, Environment, Keyword, Settings};
use crate::types::WithCauses;

/// The first major version whose programs heed a `dbname` of the connection string.
const DBNAME_SINCE: u32 = 17;

/// How to reach the server, as far as the command line says.
#[derive(Clone, Debug, Args)]
pub(super) struct ConnectionArguments {
    #[arg(short = 'd', long = "dbname")]
    pub(super) connection_string: Option<OsString>,
    #[arg(short = 'h', long)]
    pub(super) host: Option<OsString>,
    #[arg(short, long)]
    pub(super) port: Option<OsString>,
    #[arg(short = 'U', long = "username")]
    pub(super) user: Option<OsString>,
    #[arg(short = 'w', long, overrides_with = "password")]
    no_password: bool,
    #[arg(short = 'W', long, overrides_with = "no_password")]
    password: bool,
}

/// When a password is asked for at the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PasswordPrompt {
    /// When the server demands one and none is known.
    OnDemand,
    /// Never.
    Never,
    /// Before the first attempt to connect.
    First,
}

impl ConnectionArguments {
    /// `-w` or `-W`.
    pub(super) fn prompt(&self) -> PasswordPrompt {
        match (self.no_password, self.password) {
            (true, _) => PasswordPrompt::Never,
            (false, true) => PasswordPrompt::First,
            (false, false) => PasswordPrompt::OnDemand,
        }
    }

    /// What connections are made with; `program` is how the server knows it. Warnings are printed; so is what is
    /// wrong, and then the exit status comes back.
    pub(super) fn configure(
        &self,
        program: &str,
        claim: ClaimedVersion,
        messages: &Messages,
    ) -> Result<(Settings, Config), ExitCode> {
        match self.settings(program, claim) {
            Ok((settings, config)) => {
                for warning in settings.warnings() {
                    messages.warning(&warning.to_string());
                }
                Ok((settings, config))
            }
            Err(error) => {
                messages.error(&WithCauses(&error).to_string());
                if let Some(hint) = error.hint() {
                    messages.hint(&hint);
                }
                Err(ExitCode::FAILURE)
            }
        }
    }

    fn settings(&self, program: &str, claim: ClaimedVersion) -> Result<(Settings, Config), ConninfoError> {
        let mut builder = Settings::builder()
            .option(Keyword::FallbackApplicationName, program)
            .environment(Environment::of_process());
        if let Some(text) = &self.connection_string {
            builder = builder.connection_string(text.as_bytes());
        }
        if claim.major() < DBNAME_SINCE {
            builder = builder.option(Keyword::Dbname, "replication");
        }
        for (keyword, value) in
            [(Keyword::Host, &self.host), (Keyword::Port, &self.port), (Keyword::User, &self.user)]
        {
            if let Some(value) = value {
                builder = builder.option(keyword, value.as_bytes());
            }
        }
        let settings = builder.build()?;
        let config = Config::from_settings(&settings)?;
        Ok((settings, config))
    }
}
