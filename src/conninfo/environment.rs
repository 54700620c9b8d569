//! The environment variables that have a say in a connection, read once.
//!
//! Nothing else in the crate reads the process environment, so a test can give any.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;

use zeroize::Zeroizing;

use super::Keyword;

/// Variables that belong to no keyword (CN-052 … CN-054, CN-061, CN-065, CN-066).
const FURTHER_VARIABLES: [&str; 10] = [
    "PGSERVICEFILE",
    "PGSYSCONFDIR",
    "PGREQUIRESSL",
    "PGDATESTYLE",
    "PGTZ",
    "PGGEQO",
    "HOME",
    "LC_ALL",
    "LC_CTYPE",
    "LANG",
];

/// A snapshot of the environment variables that libpq honours (CN-046).
///
/// `Debug` shows the names only.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<&'static str, Zeroizing<Vec<u8>>>);

impl Environment {
    /// No variable is set.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The variables of this process.
    pub fn of_process() -> Self {
        Self::from_lookup(|name| std::env::var_os(name))
    }

    /// The variables that `lookup` knows; it is asked for each name once.
    ///
    /// ```
    /// use pgsiphon::conninfo::Environment;
    /// let environment = Environment::from_lookup(|name| (name == "PGHOST").then(|| "db1".into()));
    /// ```
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let of_keywords = Keyword::ALL.iter().filter_map(|keyword| keyword.environment_variable());
        let names = of_keywords.chain(FURTHER_VARIABLES);
        let set = names.filter_map(|name| Some((name, Zeroizing::new(lookup(name)?.into_vec()))));
        Self(set.collect())
    }

    /// The value of a variable; an empty one is a value (CN-006).
    pub(super) fn value(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(|value| value.as_slice())
    }

    /// The value of a variable that counts only if it is not empty.
    pub(super) fn non_empty(&self, name: &str) -> Option<&[u8]> {
        self.value(name).filter(|value| !value.is_empty())
    }

    /// The PostgreSQL name of the character set of the locale, for `client_encoding=auto` (CN-054).
    ///
    /// The locale is taken at its word: whether the system has it installed does not count. A locale
    /// without a character set, or with one that PostgreSQL does not know, is `SQL_ASCII`.
    pub(super) fn locale_encoding(&self) -> &'static str {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| self.non_empty(name));
        let locale = String::from_utf8_lossy(locale.unwrap_or_default());
        let character_set = locale.split('@').next().and_then(|name| name.split_once('.'));
        let letters = character_set.map(|(_, set)| set.chars().filter(char::is_ascii_alphanumeric));
        let letters: String = letters.into_iter().flatten().collect();
        match letters.to_ascii_lowercase().as_str() {
            "utf8" => "UTF8",
            "iso88591" => "LATIN1",
            "iso88592" => "LATIN2",
            "iso88593" => "LATIN3",
            "iso88594" => "LATIN4",
            "iso88595" => "ISO_8859_5",
            "iso88596" => "ISO_8859_6",
            "iso88597" => "ISO_8859_7",
            "iso88598" => "ISO_8859_8",
            "iso88599" => "LATIN5",
            "iso885910" => "LATIN6",
            "iso885913" => "LATIN7",
            "iso885914" => "LATIN8",
            "iso885915" => "LATIN9",
            "iso885916" => "LATIN10",
            "cp1250" => "WIN1250",
            "cp1251" => "WIN1251",
            "cp1252" => "WIN1252",
            "cp1255" => "WIN1255",
            "cp1256" => "WIN1256",
            "koi8r" => "KOI8R",
            "koi8u" => "KOI8U",
            "eucjp" => "EUC_JP",
            "euckr" => "EUC_KR",
            "euctw" => "EUC_TW",
            "gb2312" | "euccn" => "EUC_CN",
            "gbk" => "GBK",
            "gb18030" => "GB18030",
            "big5" => "BIG5",
            _ => "SQL_ASCII",
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::from_lookup(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn cn_006_empty_is_a_value() {
        let environment = environment(&[("PGSSLMODE", "")]);
        assert_eq!(environment.value("PGSSLMODE"), Some(&b""[..]));
        assert_eq!(environment.non_empty("PGSSLMODE"), None);
        assert_eq!(environment.value("PGHOST"), None);
    }

    #[test]
    fn cn_054_the_encoding_of_the_locale() {
        for (variables, encoding) in [
            (&[][..], "SQL_ASCII"),
            (&[("LANG", "C")], "SQL_ASCII"),
            (&[("LANG", "C.UTF-8")], "UTF8"),
            (&[("LANG", "de_DE.utf8"), ("LC_ALL", "")], "UTF8"),
            (&[("LANG", "C.UTF-8"), ("LC_ALL", "C")], "SQL_ASCII"),
            (&[("LANG", "C"), ("LC_CTYPE", "de_DE.ISO-8859-15@euro")], "LATIN9"),
            (&[("LANG", "ru_RU.KOI8-R")], "KOI8R"),
            (&[("LANG", "xx.klingon")], "SQL_ASCII"),
        ] {
            assert_eq!(environment(variables).locale_encoding(), encoding, "{variables:?}");
        }
    }

    #[test]
    fn debug_shows_no_password() {
        let shown = format!("{:?}", environment(&[("PGPASSWORD", "hunter2")]));
        assert!(shown.contains("PGPASSWORD") && !shown.contains("hunter2"), "{shown}");
    }
}
