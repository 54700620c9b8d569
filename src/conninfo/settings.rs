//! Settings: for each keyword the value that counts, and who gave it.
//!
//! Options, a connection string and the environment come in; the first source that has a value
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
use super::{ConninfoError, Environment, Keyword, keyword_value, uri};

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
}

impl Settings {
    /// Starts without any source but the defaults.
    pub fn builder() -> SettingsBuilder {
        SettingsBuilder::default()
    }

    /// The effective value of a keyword. An empty one was given as such by the environment (CN-006).
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

    /// The value of a variable that sets a startup parameter, unless it is `default` (CN-053).
    pub(super) fn startup_value(&self, variable: &'static str) -> Result<Option<String>, ConninfoError> {
        let value = self.environment.non_empty(variable).filter(|v| !v.eq_ignore_ascii_case(b"default"));
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

    /// Reads the connection string and works out which source wins.
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
        for (keyword, value) in last_values(parse(&self.connection_string)?) {
            values.give(keyword, value, Origin::ConnectionString)?;
        }
        refuse_service(&values, &self.environment)?;
        values.take_environment(&self.environment)?;

        let home = home(&self.environment, find);
        values.add_defaults(home.as_deref(), find)?;
        values.resolve_client_encoding(&self.environment);
        Ok(Settings { values: values.0, environment: self.environment, home })
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

    /// `user` and `passfile` have defaults even if the environment made them empty.
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
        Err(source) => Err(ConninfoError::LocalUserLookup { uid, source }),
    }
}

fn parse(text: &[u8]) -> Result<Vec<Assignment>, ConninfoError> {
    if uri::is_uri(text) { uri::parse(text) } else { keyword_value::parse(text) }
}

/// Within one connection string the last value of a keyword counts, even if it is empty (CN-004).
fn last_values(assignments: Vec<Assignment>) -> BTreeMap<Keyword, Zeroizing<Vec<u8>>> {
    assignments.into_iter().map(|assignment| (assignment.keyword, assignment.value)).collect()
}

fn refuse_service(values: &Values, environment: &Environment) -> Result<(), ConninfoError> {
    let given = values.0.get(&Keyword::Service).map(|setting| setting.value.as_slice());
    match given.or_else(|| environment.non_empty("PGSERVICE")) {
        Some(service) => Err(ConninfoError::ServiceFilesUnsupported {
            service: String::from_utf8_lossy(service).into_owned(),
        }),
        None => Ok(()),
    }
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
mod tests {
    use super::*;

    // What a user lookup returns.
    #[allow(clippy::unnecessary_wraps)]
    fn osuser() -> io::Result<Option<LocalUser>> {
        Ok(Some(LocalUser { name: "osuser".to_owned(), home: "/home/osuser".into() }))
    }

    #[allow(clippy::unnecessary_wraps)]
    fn nobody() -> io::Result<Option<LocalUser>> {
        Ok(None)
    }

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::from_lookup(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
        })
    }

    fn settings(
        options: &[(Keyword, &str)],
        text: &str,
        variables: &[(&str, &str)],
    ) -> Result<Settings, ConninfoError> {
        let builder = Settings::builder().connection_string(text).environment(environment(variables));
        options.iter().fold(builder, |b, (keyword, value)| b.option(*keyword, value)).build_for(&osuser)
    }

    fn shown(settings: &Settings, keyword: Keyword) -> String {
        match (settings.value(keyword), settings.origin(keyword)) {
            (Some(value), Some(origin)) => format!("{} {origin:?}", String::from_utf8_lossy(value)),
            _ => "-".to_owned(),
        }
    }

    #[test]
    fn cn_001_and_002_the_first_source_with_a_value_wins() {
        let option = [(Keyword::Port, "1")];
        let variable = [("PGPORT", "3")];
        for (options, text, variables, expected) in [
            (&option[..], "port=2", &variable[..], "1 Option"),
            (&[], "port=2", &variable, "2 ConnectionString"),
            (&[], "postgres://:2", &variable, "2 ConnectionString"),
            (&[], "", &variable, "3 Environment"),
            (&[], "", &[], "5432 Default"),
        ] {
            let settings = settings(options, text, variables).unwrap();
            assert_eq!(shown(&settings, Keyword::Port), expected);
        }
    }

    #[test]
    fn cn_004_to_006_repeated_and_empty_values() {
        for (options, text, variables, expected) in [
            (&[][..], "host=a host=b", &[][..], "b ConnectionString"),
            (&[], "host=a host=''", &[("PGHOST", "e")], "e Environment"),
            (&[(Keyword::Host, "")], "host=a", &[], "a ConnectionString"),
            (&[(Keyword::Host, "")], "host=''", &[], "-"),
            (&[], "", &[("PGHOST", "")], " Environment"),
        ] {
            let settings = settings(options, text, variables).unwrap();
            assert_eq!(shown(&settings, Keyword::Host), expected, "{options:?} {text} {variables:?}");
        }
        let empty = settings(&[], "", &[("PGSSLMODE", ""), ("PGUSER", ""), ("PGPASSFILE", "")]).unwrap();
        assert_eq!(shown(&empty, Keyword::SslMode), " Environment");
        assert_eq!(shown(&empty, Keyword::User), "osuser Default");
        assert_eq!(shown(&empty, Keyword::Passfile), "/home/osuser/.pgpass Default");
    }

    #[test]
    fn cn_046_every_variable_sets_its_keyword() {
        for &keyword in Keyword::ALL.iter().filter(|keyword| **keyword != Keyword::Service) {
            let Some(variable) = keyword.environment_variable() else { continue };
            let settings = settings(&[], "", &[(variable, "x")]).unwrap();
            assert_eq!(shown(&settings, keyword), "x Environment", "{variable}");
        }
    }

    #[test]
    fn cn_045_every_keyword_is_accepted() {
        for &keyword in Keyword::ALL.iter().filter(|keyword| **keyword != Keyword::Service) {
            let settings = settings(&[], &format!("{keyword}=x"), &[]).unwrap();
            assert_eq!(shown(&settings, keyword), "x ConnectionString", "{keyword}");
        }
    }

    #[test]
    fn cn_003_and_009_the_default_user_is_that_of_the_system() {
        let of_environment = environment(&[("USER", "env"), ("LOGNAME", "env")]);
        let settings = Settings::builder().environment(of_environment).build_for(&osuser).unwrap();
        assert_eq!(shown(&settings, Keyword::User), "osuser Default");
        let error = Settings::builder().build_for(&nobody).unwrap_err();
        let expected = format!("local user with ID {} does not exist", local_user::effective_id());
        assert_eq!(error.to_string(), expected);
        assert!(Settings::builder().connection_string("user=u").build_for(&nobody).is_ok());
    }

    #[test]
    fn cn_061_home() {
        let with_home = settings(&[], "", &[("HOME", "/h")]).unwrap();
        assert_eq!(shown(&with_home, Keyword::Passfile), "/h/.pgpass Default");
        let empty = settings(&[], "", &[("HOME", "")]).unwrap();
        assert_eq!(empty.home(), Some(Path::new("/home/osuser")));
        let none = Settings::builder().option(Keyword::User, "u").build_for(&nobody).unwrap();
        assert_eq!((none.home(), none.value(Keyword::Passfile)), (None, None));
    }

    #[test]
    fn cn_043_and_052_defaults_of_sslmode() {
        for (text, variables, expected) in [
            ("", &[][..], "prefer Default"),
            ("", &[("PGREQUIRESSL", "1")], "require Environment"),
            ("", &[("PGREQUIRESSL", "0")], "prefer Default"),
            ("sslmode=allow", &[("PGREQUIRESSL", "1")], "allow ConnectionString"),
            ("", &[("PGREQUIRESSL", "1"), ("PGSSLMODE", "allow")], "allow Environment"),
            ("sslrootcert=system", &[], "verify-full Default"),
            ("postgres://?sslmode=require", &[("PGSSLROOTCERT", "system")], "require ConnectionString"),
        ] {
            let settings = settings(&[], text, variables).unwrap();
            assert_eq!(shown(&settings, Keyword::SslMode), expected, "{text} {variables:?}");
        }
    }

    #[test]
    fn cn_054_client_encoding_auto() {
        let of_locale = settings(&[], "client_encoding=auto", &[("LANG", "C.UTF-8")]).unwrap();
        assert_eq!(shown(&of_locale, Keyword::ClientEncoding), "UTF8 ConnectionString");
        assert_eq!(shown(&settings(&[], "", &[]).unwrap(), Keyword::ClientEncoding), "-");
    }

    #[test]
    fn cn_053_startup_values() {
        let settings = settings(&[], "", &[("PGTZ", "UTC"), ("PGGEQO", "DEFAULT"), ("PGDATESTYLE", "")]);
        let settings = settings.unwrap();
        assert_eq!(settings.startup_value("PGTZ").unwrap().as_deref(), Some("UTC"));
        assert_eq!(settings.startup_value("PGGEQO").unwrap(), None);
        assert_eq!(settings.startup_value("PGDATESTYLE").unwrap(), None);
    }

    #[test]
    fn cn_062_a_service_is_refused() {
        for result in [settings(&[], "service=s", &[]), settings(&[], "", &[("PGSERVICE", "s")])] {
            assert!(
                matches!(result.unwrap_err(), ConninfoError::ServiceFilesUnsupported { service } if service == "s")
            );
        }
        assert!(settings(&[], "", &[("PGSERVICE", "")]).is_ok());
    }

    #[test]
    fn nul_bytes_are_refused() {
        for result in [settings(&[(Keyword::User, "a\0b")], "", &[]), settings(&[], "user='a\0b'", &[])] {
            let error = result.unwrap_err();
            assert_eq!(error.to_string(), "value of connection option \"user\" contains a NUL byte");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let settings = settings(&[], "password=hunter2 sslpassword=hunter2 user=me", &[]).unwrap();
        let shown = format!("{settings:?} {:?}", Settings::builder().connection_string("password=hunter2"));
        assert!(shown.contains("\"me\"") && !shown.contains("hunter2"), "{shown}");
    }
}
