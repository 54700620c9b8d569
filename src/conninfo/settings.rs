//! Settings: for each keyword the value that counts, and who gave it.
//!
//! Options, a connection string, a service and the environment come in; the first source that has a value
//! wins. The values are bytes and stay uninterpreted, except for those that stand for another:
//! `requiressl`, `client_encoding=auto`, and the defaults that depend on the system.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::assignment::Assignment;
use super::local_user::{self, LocalUser};
use super::{ConninfoError, ConninfoWarning, Environment, Keyword, keyword_value, service_file, uri};
use crate::types::OsError;

/// Who gave a value; the earlier ones win (CN-001).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// An option of the command line, or a value that the program forces.
    Option,
    /// The connection string or URI.
    ConnectionString,
    /// The section of a service file.
    Service,
    /// An environment variable.
    Environment,
    /// Nobody: it is compiled in, or depends on the system.
    Default,
}

#[derive(Clone)]
struct Setting {
    value: Zeroizing<Vec<u8>>,
    origin: Origin,
}

/// The effective value of each keyword, and the startup values that only the environment can set.
///
/// `Debug` shows no secret.
#[derive(Clone)]
pub struct Settings {
    values: BTreeMap<Keyword, Setting>,
    environment: Environment,
    home: Option<PathBuf>,
    warnings: Vec<ConninfoWarning>,
}

impl Settings {
    /// Starts without any source but the defaults.
    pub fn builder() -> SettingsBuilder {
        SettingsBuilder::default()
    }

    /// The effective value of a keyword. An empty one was given as such by the environment or a service (CN-006).
    pub fn value(&self, keyword: Keyword) -> Option<&[u8]> {
        self.values.get(&keyword).map(|setting| setting.value.as_slice())
    }

    /// Who gave the effective value of a keyword.
    pub fn origin(&self, keyword: Keyword) -> Option<Origin> {
        self.values.get(&keyword).map(|setting| setting.origin)
    }

    /// The effective values in libpq's order.
    pub fn iter(&self) -> impl Iterator<Item = (Keyword, &[u8], Origin)> {
        self.values.iter().map(|(&keyword, setting)| (keyword, setting.value.as_slice(), setting.origin))
    }

    /// The home directory, below which default files lie; none if it cannot be found out (CN-061).
    pub fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// What looks like a mistake in the connection string.
    pub fn warnings(&self) -> &[ConninfoWarning] {
        &self.warnings
    }

    /// The effective value if it is not empty.
    pub(super) fn non_empty(&self, keyword: Keyword) -> Option<&[u8]> {
        self.value(keyword).filter(|value| !value.is_empty())
    }

    /// The same as text.
    pub(super) fn text(&self, keyword: Keyword) -> Result<Option<String>, ConninfoError> {
        self.non_empty(keyword).map(|value| to_text(value, keyword.name())).transpose()
    }

    /// The same as a path, which may be any bytes.
    pub(super) fn path(&self, keyword: Keyword) -> Option<PathBuf> {
        self.non_empty(keyword).map(to_path)
    }

    /// The value of a variable that sets a startup parameter, unless it is `default`; an empty one is a value
    /// (CN-053).
    pub(super) fn startup_value(&self, variable: &'static str) -> Result<Option<String>, ConninfoError> {
        let value = self.environment.value(variable).filter(|v| !v.eq_ignore_ascii_case(b"default"));
        value.map(|value| to_text(value, variable)).transpose()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |keyword: Keyword, value: &[u8]| {
            if keyword.is_secret() { "…".into() } else { String::from_utf8_lossy(value).into_owned() }
        };
        f.debug_map().entries(self.iter().map(|(k, value, origin)| (k, (shown(k, value), origin)))).finish()
    }
}

/// Collects the sources of [`Settings`].
///
/// ```
/// use pgsiphon::conninfo::{Environment, Keyword, Origin, Settings};
///
/// # fn main() -> Result<(), pgsiphon::conninfo::ConninfoError> {
/// let settings = Settings::builder()
///     .option(Keyword::Port, "5433")
///     .connection_string("host=db1 port=5432 user=replicator")
///     .environment(Environment::of_process())
///     .build()?;
/// assert_eq!(settings.value(Keyword::Port), Some(&b"5433"[..]));
/// assert_eq!(settings.origin(Keyword::Host), Some(Origin::ConnectionString));
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct SettingsBuilder {
    options: BTreeMap<Keyword, Zeroizing<Vec<u8>>>,
    connection_string: Zeroizing<Vec<u8>>,
    environment: Environment,
}

impl SettingsBuilder {
    /// Gives a keyword the value of an option; the last one counts, and an empty one as not given
    /// (CN-005).
    pub fn option(mut self, keyword: Keyword, value: impl AsRef<[u8]>) -> Self {
        self.options.insert(keyword, Zeroizing::new(value.as_ref().to_vec()));
        self
    }

    /// Takes a connection string: a URI, or pairs of keyword and value. Bytes of any encoding will do.
    pub fn connection_string(mut self, text: impl AsRef<[u8]>) -> Self {
        self.connection_string = Zeroizing::new(text.as_ref().to_vec());
        self
    }

    /// Takes environment variables; without this call none is looked at.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// Reads the connection string and the service that is named, and works out which source wins.
    ///
    /// The system is asked for the user who runs this process if no user is named or no `HOME` is set.
    pub fn build(self) -> Result<Settings, ConninfoError> {
        self.build_for(&|| LocalUser::with_id(local_user::effective_id()))
    }

    fn build_for(self, find: FindLocalUser<'_>) -> Result<Settings, ConninfoError> {
        let mut values = Values::default();
        for (keyword, value) in self.options {
            values.give(keyword, value, Origin::Option)?;
        }
        let mut warnings = Vec::new();
        for (keyword, value) in last_values(parse(&self.connection_string, &mut warnings)?) {
            values.give(keyword, value, Origin::ConnectionString)?;
        }
        let home = home(&self.environment, find);
        values.take_service(&self.environment, home.as_deref())?;
        values.take_environment(&self.environment)?;
        values.add_defaults(home.as_deref(), find)?;
        values.resolve_client_encoding(&self.environment);
        Ok(Settings { values: values.0, environment: self.environment, home, warnings })
    }
}

/// Shows nothing of the values.
impl fmt::Debug for SettingsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingsBuilder").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Values(BTreeMap<Keyword, Setting>);

impl Values {
    /// Gives a value to a keyword that has none yet; an empty one is not given (CN-005).
    fn give(
        &mut self,
        keyword: Keyword,
        value: Zeroizing<Vec<u8>>,
        origin: Origin,
    ) -> Result<(), ConninfoError> {
        if value.contains(&0) {
            return Err(ConninfoError::NulByte { keyword });
        }
        if !value.is_empty() {
            self.0.entry(keyword).or_insert(Setting { value, origin });
        }
        Ok(())
    }

    /// Reads the service that the connection string or else `PGSERVICE` names. Its first word on a keyword
    /// counts, and an empty value as given (CN-068).
    fn take_service(&mut self, environment: &Environment, home: Option<&Path>) -> Result<(), ConninfoError> {
        let given = self.0.get(&Keyword::Service).map(|setting| (setting.value.as_slice(), setting.origin));
        let of_environment = || Some((environment.value("PGSERVICE")?, Origin::Environment));
        let Some((service, origin)) = given.or_else(of_environment) else { return Ok(()) };
        for Assignment { keyword, value } in service_file::look_up(service, origin, environment, home)? {
            self.0.entry(keyword).or_insert(Setting { value, origin: Origin::Service });
        }
        Ok(())
    }

    /// An empty variable counts as given (CN-006). A `PGREQUIRESSL` that begins with 1 stands in for
    /// a missing `PGSSLMODE` (CN-052).
    fn take_environment(&mut self, environment: &Environment) -> Result<(), ConninfoError> {
        for &keyword in Keyword::ALL {
            let Some(value) = keyword.environment_variable().and_then(|name| environment.value(name)) else {
                continue;
            };
            if value.contains(&0) {
                return Err(ConninfoError::NulByte { keyword });
            }
            self.0.entry(keyword).or_insert_with(|| Setting {
                value: Zeroizing::new(value.to_vec()),
                origin: Origin::Environment,
            });
        }
        if environment.non_empty("PGREQUIRESSL").is_some_and(|value| value.starts_with(b"1")) {
            self.give(Keyword::SslMode, Zeroizing::new(b"require".to_vec()), Origin::Environment)?;
        }
        Ok(())
    }

    /// `user` and `passfile` have defaults even if the environment or a service made them empty.
    fn add_defaults(&mut self, home: Option<&Path>, find: FindLocalUser<'_>) -> Result<(), ConninfoError> {
        if self.is_empty_or_missing(Keyword::User) {
            self.set_default(Keyword::User, user_name(find)?);
        }
        if self.is_empty_or_missing(Keyword::Passfile)
            && let Some(home) = home
        {
            self.set_default(Keyword::Passfile, home.join(".pgpass").as_os_str().as_bytes().to_vec());
        }
        let system_roots = self.0.get(&Keyword::SslRootCert).is_some_and(|s| s.value.as_slice() == b"system");
        if system_roots && !self.0.contains_key(&Keyword::SslMode) {
            self.set_default(Keyword::SslMode, b"verify-full".to_vec());
        }
        for &keyword in Keyword::ALL {
            if let Some(value) = keyword.compiled_default()
                && !self.0.contains_key(&keyword)
            {
                self.set_default(keyword, value.into());
            }
        }
        Ok(())
    }

    fn is_empty_or_missing(&self, keyword: Keyword) -> bool {
        self.0.get(&keyword).is_none_or(|setting| setting.value.is_empty())
    }

    fn set_default(&mut self, keyword: Keyword, value: Vec<u8>) {
        self.0.insert(keyword, Setting { value: Zeroizing::new(value), origin: Origin::Default });
    }

    fn resolve_client_encoding(&mut self, environment: &Environment) {
        if let Some(setting) = self.0.get_mut(&Keyword::ClientEncoding)
            && setting.value.as_slice() == b"auto"
        {
            setting.value = Zeroizing::new(environment.locale_encoding().into());
        }
    }
}

/// Finds the user who runs this process; a test can make one up.
type FindLocalUser<'a> = &'a dyn Fn() -> io::Result<Option<LocalUser>>;

fn user_name(find: FindLocalUser<'_>) -> Result<Vec<u8>, ConninfoError> {
    let uid = local_user::effective_id();
    match find() {
        Ok(Some(user)) => Ok(user.name.into_bytes()),
        Ok(None) => Err(ConninfoError::NoLocalUser { uid }),
        Err(source) => Err(ConninfoError::LocalUserLookup { uid, source: OsError(source) }),
    }
}

fn parse(text: &[u8], warnings: &mut Vec<ConninfoWarning>) -> Result<Vec<Assignment>, ConninfoError> {
    if uri::is_uri(text) { uri::parse(text) } else { keyword_value::parse(text, warnings) }
}

/// Within one connection string the last value of a keyword counts, even if it is empty (CN-004).
fn last_values(assignments: Vec<Assignment>) -> BTreeMap<Keyword, Zeroizing<Vec<u8>>> {
    assignments.into_iter().map(|assignment| (assignment.keyword, assignment.value)).collect()
}

fn home(environment: &Environment, find: FindLocalUser<'_>) -> Option<PathBuf> {
    let of_environment = environment.non_empty("HOME").map(to_path);
    let of_user = || find().ok().flatten().map(|user| user.home);
    of_environment.or_else(of_user).filter(|home| !home.as_os_str().is_empty())
}

fn to_path(value: &[u8]) -> PathBuf {
    OsString::from_vec(value.to_vec()).into()
}

fn to_text(value: &[u8], name: &'static str) -> Result<String, ConninfoError> {
    str::from_utf8(value).map(str::to_owned).map_err(|_| ConninfoError::NotUtf8 { name })
}

#[cfg(test)]
mod tests;
