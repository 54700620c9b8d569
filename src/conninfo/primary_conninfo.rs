//! The connection string that a standby needs to follow the server a backup came from.
//!
//! Settings come in, the text of `primary_conninfo` goes out, without the quotes that the
//! configuration file needs around it.

use std::fmt;

use zeroize::Zeroizing;

use super::keyword_value::write_value;
use super::{Keyword, Origin, Settings};
use crate::types::Password;

/// The text of a connection string that may hold a password in clear text.
///
/// It does not print: `Debug` shows a placeholder. The memory is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct PrimaryConninfo(Zeroizing<Vec<u8>>);

impl PrimaryConninfo {
    /// Puts every effective value that is not empty into the text, in libpq's order (BB-169).
    ///
    /// - `replication` and `fallback_application_name` stay out (BB-170); `dbname` comes last, and
    ///   only if somebody gave one, and not as an option, which forces one (BB-171).
    /// - What a service gave is written, its name is not: the standby need not have the service file.
    /// - `typed_password` goes before every other password; a password is written in clear text, and
    ///   the default password file only if no password is known (BB-172).
    /// - The standby reads the text with the libpq of its own version. Defaults that libpq
    ///   `server_major` does not know stay out; a value that somebody gave is kept (BB-173).
    pub fn new(settings: &Settings, typed_password: Option<&Password>, server_major: u32) -> Self {
        let password = typed_password
            .map(Password::expose)
            .filter(|password| !password.is_empty())
            .or_else(|| settings.non_empty(Keyword::Password));
        Self::write(settings, password, |_| true, server_major)
    }

    /// The same without any secret: no password, no passphrase of a key, no key of SCRAM, no client secret of OAuth.
    ///
    /// The standby finds its password in a password file; which one, the text says as it does where no password is
    /// known. There is no such file for the other secrets.
    pub fn without_secrets(settings: &Settings, server_major: u32) -> Self {
        Self::write(settings, None, |keyword| !keyword.is_secret(), server_major)
    }

    fn write(
        settings: &Settings,
        password: Option<&[u8]>,
        is_wanted: impl Fn(Keyword) -> bool,
        server_major: u32,
    ) -> Self {
        // Twice every byte, for escapes, plus names, quotes and blanks: it never grows.
        let size: usize =
            settings.iter().map(|(keyword, value, _)| keyword.name().len() + 2 * value.len() + 4).sum();
        let size = size + password.map_or(0, |password| 2 * password.len() + 16);
        let mut text = Zeroizing::new(Vec::with_capacity(size));

        for &keyword in Keyword::ALL.iter().filter(|&&keyword| is_wanted(keyword)) {
            let is_default = settings.origin(keyword) == Some(Origin::Default);
            let value = match keyword {
                Keyword::Password => password,
                Keyword::Passfile if is_default && password.is_some() => None,
                Keyword::Service
                | Keyword::Replication
                | Keyword::FallbackApplicationName
                | Keyword::Dbname => None,
                _ if is_default && keyword.since() > server_major => None,
                _ => settings.non_empty(keyword),
            };
            write_pair(keyword, value, &mut text);
        }
        let is_forced = settings.origin(Keyword::Dbname) == Some(Origin::Option);
        let database = settings.non_empty(Keyword::Dbname).filter(|_| !is_forced);
        write_pair(Keyword::Dbname, database, &mut text);
        Self(text)
    }

    /// The text, which need not be UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PrimaryConninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrimaryConninfo(…)")
    }
}

fn write_pair(keyword: Keyword, value: Option<&[u8]>, text: &mut Vec<u8>) {
    let Some(value) = value else { return };
    if !text.is_empty() {
        text.push(b' ');
    }
    text.extend_from_slice(keyword.name().as_bytes());
    text.push(b'=');
    write_value(value, text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::conninfo::Environment;

    fn written(text: &str, variables: &[(&str, &str)], typed: Option<&str>, server_major: u32) -> String {
        let environment = Environment::from_lookup(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
        });
        let settings = Settings::builder().connection_string(text).environment(environment).build().unwrap();
        let typed = typed.map(Password::from);
        let conninfo = PrimaryConninfo::new(&settings, typed.as_ref(), server_major);
        String::from_utf8(conninfo.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn bb_169_to_172_all_effective_values_in_order() {
        let home = [("HOME", "/root"), ("PGAPPNAME", "standby"), ("PGSSLSNI", "")];
        let text = "host=/run/pg port=5999 user=postgres replication=database dbname=zz \
            fallback_application_name=tool";
        assert_eq!(
            written(text, &home, None, 18),
            "user=postgres passfile='/root/.pgpass' channel_binding=prefer host='/run/pg' port=5999 \
             application_name=standby sslmode=prefer sslnegotiation=postgres sslcompression=0 \
             sslcertmode=allow ssl_min_protocol_version=TLSv1.2 gssencmode=prefer krbsrvname=postgres \
             gssdelegation=0 target_session_attrs=any load_balance_hosts=disable dbname=zz"
        );
    }

    #[test]
    fn bb_171_the_database_of_the_environment() {
        assert!(written("", &[("PGDATABASE", "db")], None, 18).ends_with(" dbname=db"));
        assert!(!written("", &[], None, 18).contains("dbname"));
    }

    #[test]
    fn bb_172_passwords() {
        for (text, variables, typed, expected) in [
            ("", &[][..], None, "user=u passfile='/h/.pgpass' "),
            ("", &[("PGPASSWORD", "")], None, "user=u passfile='/h/.pgpass' "),
            ("", &[("PGPASSWORD", "env")], None, "user=u password=env channel_binding="),
            ("password=given", &[("PGPASSWORD", "env")], None, "user=u password=given channel_binding="),
            ("password=given", &[], Some("typed"), "user=u password=typed channel_binding="),
            ("password=given passfile=f", &[], None, "user=u password=given passfile=f "),
            (r"password='sek ret\'\\x'", &[], None, r"user=u password='sek ret\'\\x' "),
        ] {
            let variables = [variables, &[("HOME", "/h"), ("PGUSER", "u")]].concat();
            let conninfo = written(text, &variables, typed, 18);
            assert!(conninfo.starts_with(expected), "{text}: {conninfo}");
        }
    }

    #[test]
    fn bb_173_defaults_that_the_server_does_not_know() {
        let environment = [("PGUSER", "u"), ("HOME", "/h")];
        assert_eq!(
            written("", &environment, None, 15),
            "user=u passfile='/h/.pgpass' channel_binding=prefer port=5432 sslmode=prefer sslcompression=0 \
             sslsni=1 ssl_min_protocol_version=TLSv1.2 gssencmode=prefer krbsrvname=postgres \
             target_session_attrs=any"
        );
        assert_eq!(
            written("sslnegotiation=postgres", &environment, None, 10),
            "user=u passfile='/h/.pgpass' port=5432 sslmode=prefer sslnegotiation=postgres \
             sslcompression=0 krbsrvname=postgres target_session_attrs=any"
        );
    }

    #[test]
    fn no_secret_is_written_where_none_shall_be() {
        let text = "user=u password=given sslkey=k sslpassword=given scram_client_key=given scram_server_key=given \
            oauth_client_id=c oauth_client_secret=given";
        let environment = Environment::from_lookup(|name| (name == "HOME").then(|| "/h".into()));
        for (more, passfile) in [("", "'/h/.pgpass'"), (" passfile=/p", "'/p'")] {
            let builder = Settings::builder().environment(environment.clone());
            let settings = builder.connection_string(format!("{text}{more}")).build().unwrap();
            let conninfo = PrimaryConninfo::without_secrets(&settings, 10);
            assert_eq!(
                str::from_utf8(conninfo.as_bytes()).unwrap(),
                format!(
                    "user=u passfile={passfile} port=5432 sslmode=prefer sslcompression=0 sslkey=k \
                     krbsrvname=postgres target_session_attrs=any oauth_client_id=c"
                )
            );
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let settings = Settings::builder().connection_string("password=hunter2").build().unwrap();
        let conninfo = PrimaryConninfo::new(&settings, None, 18);
        assert_eq!(format!("{conninfo:?}"), "PrimaryConninfo(…)");
    }

    proptest! {
        #[test]
        fn bb_169_reading_the_text_gives_the_same_values(
            values in proptest::collection::btree_map(
                proptest::sample::select(Keyword::ALL), proptest::collection::vec(1u8.., 1..20), 0..8),
        ) {
            // A database that a program sets is not what somebody gave (BB-171).
            let is_kept = |keyword: &Keyword| !matches!(
                keyword,
                Keyword::Service | Keyword::Replication | Keyword::FallbackApplicationName | Keyword::Dbname
            );
            let build = |builder: crate::conninfo::SettingsBuilder| builder.build().unwrap();
            let given = values.iter().filter(|(keyword, _)| is_kept(keyword));
            let settings = build(given.fold(Settings::builder(), |b, (keyword, value)| b.option(*keyword, value)));
            let conninfo = PrimaryConninfo::new(&settings, None, 18);
            let again = build(Settings::builder().connection_string(conninfo.as_bytes()));
            for &keyword in Keyword::ALL {
                prop_assert_eq!(again.value(keyword), settings.value(keyword), "{}", keyword);
            }
        }
    }
}
