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
    assert_eq!(settings.startup_value("PGDATESTYLE").unwrap().as_deref(), Some(""));
}

/// A service file of the user with this content, and variables.
fn with_service_file(
    content: &str,
    text: &str,
    variables: &[(&str, &str)],
) -> Result<Settings, ConninfoError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    let variables = [variables, &[("PGSERVICEFILE", file.path().to_str().unwrap())]].concat();
    settings(&[], text, &variables)
}

#[test]
fn cn_062_063_and_068_the_place_of_a_service_among_the_sources() {
    let content = "[s]\nport=1\nport=2\nhost=\nuser=\n";
    for (text, variables, keyword, expected) in [
        ("service=s", &[("PGPORT", "3")][..], Keyword::Port, "1 Service"),
        ("postgres://?service=s", &[("PGPORT", "3")], Keyword::Port, "1 Service"),
        ("", &[("PGPORT", "3"), ("PGSERVICE", "s")], Keyword::Port, "1 Service"),
        ("service=''", &[("PGPORT", "3"), ("PGSERVICE", "s")], Keyword::Port, "1 Service"),
        ("service=s", &[("PGSERVICE", "other")], Keyword::Port, "1 Service"),
        ("service=s port=4", &[("PGPORT", "3")], Keyword::Port, "4 ConnectionString"),
        ("service=s", &[("PGHOST", "h")], Keyword::Host, " Service"),
        ("service=s", &[("PGUSER", "u")], Keyword::User, "osuser Default"),
        ("service=s", &[], Keyword::Service, "s ConnectionString"),
        ("", &[("PGSERVICE", "s")], Keyword::Service, "s Environment"),
        ("", &[], Keyword::Port, "5432 Default"),
    ] {
        let settings = with_service_file(content, text, variables).unwrap();
        assert_eq!(shown(&settings, keyword), expected, "{text} {variables:?}");
    }
    let option = [(Keyword::Port, "5")];
    let none = settings(&option, "", &[("PGSERVICE", "s"), ("PGSERVICEFILE", "/nonexistent")]).unwrap_err();
    assert_eq!(none.to_string(), "service file \"/nonexistent\" not found");
}

#[test]
fn cn_006_and_064_an_empty_name_of_a_service_is_a_name() {
    let error = with_service_file("[s]\n", "", &[("PGSERVICE", "")]).unwrap_err();
    assert_eq!(error.to_string(), "definition of service \"\" not found");
    assert!(error.hint().unwrap().contains("PGSERVICE."));
    assert!(with_service_file("[]\n", "", &[("PGSERVICE", "")]).is_ok());
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
