//! Everything that says how to connect and comes from outside: connection strings, service files, password files.
//!
//! The first byte of the input picks the parser, the rest is what it reads.

#![no_main]

use std::io::{self, Read};

use libfuzzer_sys::fuzz_target;
use pgsiphon::conninfo::{Config, Environment, Keyword, PrimaryConninfo, Settings, fuzzing};

fuzz_target!(|input: &[u8]| {
    let Some((&kind, text)) = input.split_first() else { return };
    match kind {
        b's' => service_file(text),
        b'p' => password_file(text),
        _ => connection_string(text),
    }
});

/// What a string says can be written as a string that says the same, and makes a configuration or an error.
fn connection_string(text: &[u8]) {
    let Ok(pairs) = fuzzing::connection_string(text) else { return };
    let written = fuzzing::write_connection_string(&pairs);
    assert_eq!(fuzzing::connection_string(&written).unwrap(), pairs);

    let Ok(settings) = settings(text) else { return };
    for (keyword, value, _) in settings.iter() {
        assert!(!value.contains(&0), "{keyword}");
    }
    let conninfo = PrimaryConninfo::new(&settings, None, 18);
    let standby = self::settings(conninfo.as_bytes()).unwrap();
    for &keyword in Keyword::ALL {
        let stays_out = [Keyword::Service, Keyword::Replication, Keyword::FallbackApplicationName];
        if !stays_out.contains(&keyword) {
            assert_eq!(standby.value(keyword), settings.value(keyword), "{keyword}");
        }
    }

    match Config::from_settings(&settings) {
        Ok(config) => {
            assert!(!config.hosts.is_empty() && !config.user.is_empty());
            assert!(config.min_protocol_version <= config.max_protocol_version);
            for host in &config.hosts {
                _ = host.endpoint().map_err(|error| error.to_string());
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Looks at no file that somebody could have: services are not found, and no password file is read.
fn settings(text: &[u8]) -> Result<Settings, pgsiphon::conninfo::ConninfoError> {
    let environment = Environment::from_lookup(|name| match name {
        "HOME" | "PGSYSCONFDIR" => Some("/nonexistent".into()),
        "PGSERVICEFILE" => Some("/dev/null".into()),
        "PGUSER" => Some("user".into()),
        _ => None,
    });
    Settings::builder().connection_string(text).environment(environment).build()
}

/// The answer does not depend on how the bytes come in, and its pairs can be written as a service that says the same.
fn service_file(text: &[u8]) {
    let whole = fuzzing::service(text, b"s").map_err(|error| error.to_string());
    let bytewise = fuzzing::service(Bytewise(text), b"s").map_err(|error| error.to_string());
    assert_eq!(whole, bytewise);
    let Ok(Some(pairs)) = whole else { return };
    // The last line needs no newline, and may be longer by it than the others.
    let has_end = text.ends_with(b"\n");
    let mut written = b"[s]\n".to_vec();
    for (keyword, value) in &pairs {
        assert!(*keyword != Keyword::Service && !value.contains(&b'\n') && !value.contains(&0));
        written.extend_from_slice(keyword.name().as_bytes());
        written.push(b'=');
        written.extend_from_slice(value);
        written.push(b'\n');
    }
    if !has_end {
        written.pop();
    }
    assert_eq!(fuzzing::service(&written[..], b"s").unwrap(), Some(pairs));
}

struct Bytewise<'a>(&'a [u8]);

impl Read for Bytewise<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(1);
        self.0.read(&mut buffer[..length])
    }
}

/// A password is a part of the file, and a line in front that matches everything hides all others.
fn password_file(text: &[u8]) {
    let key = ["db", "5432", "replication", "me"];
    if let Some(password) = fuzzing::password(text, key) {
        assert!(password.len() < text.len() && !password.contains(&b'\n') && !password.contains(&0));
    }
    let hidden = [b"*:*:*:*:in front\n", text].concat();
    assert_eq!(fuzzing::password(&hidden, key).as_deref(), Some(&b"in front"[..]));
    let behind = [text, b"\n*:*:*:*:behind\n"].concat();
    assert!(fuzzing::password(&behind, key).is_some());
}
