//! Services: where they are looked for, what their lines mean, and what is said of lines that mean nothing.
//!
//! Nothing listens on the ports that the services name, so that the error tells which of them counts.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::refusal::{Told, refusal, refusal_like};
use crate::support::base_backup::BackupProgram;
use crate::support::{Cluster, ReservedPort, Run, scratch_directory};

/// The versions of libpq that ours is compared with.
const MAJORS: [u16; 2] = [15, 18];

/// The three places of service files, all of them empty at first.
struct Places {
    directory: TempDir,
}

impl Places {
    fn new() -> Self {
        let directory = scratch_directory();
        for name in ["home", "system"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes one of `named`, `home/.pg_service.conf` and `system/pg_service.conf`.
    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    /// What is printed where these places are those of the environment; the file `named` if `is_named`.
    #[track_caller]
    fn refusal(&self, is_named: bool, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let [home, system, named] = ["home", "system", "named"].map(|name| self.path(name));
        let mut all = vec![("HOME", home.to_str().unwrap()), ("PGSYSCONFDIR", system.to_str().unwrap())];
        all.extend(is_named.then(|| ("PGSERVICEFILE", named.to_str().unwrap())));
        all.extend(variables);
        refusal_like(&MAJORS, Told { arguments, variables: &all })
    }
}

/// The service `s`, which leads to that port.
fn service(port: &ReservedPort) -> String {
    format!("[s]\nhost=127.0.0.1\nport={}\n", port.number())
}

#[track_caller]
fn assert_tried(refusal: &str, port: &ReservedPort) {
    let tried = format!("\"127.0.0.1\", port {} failed: Connection refused", port.number());
    assert!(refusal.contains(&tried), "{refusal}");
}

#[test]
fn cn_062_and_063_a_service_is_named_in_three_ways() {
    let port = ReservedPort::reserve();
    let places = Places::new();
    places.write("named", &service(&port));
    for (arguments, variables) in [
        (&["-d", "service=s"][..], &[][..]),
        (&["-d", "postgresql://?service=s"], &[]),
        (&[], &[("PGSERVICE", "s")]),
        (&["-d", "service=''"], &[("PGSERVICE", "s")]),
        (&["-d", "service=s"], &[("PGSERVICE", "other")]),
    ] {
        assert_tried(&places.refusal(true, arguments, variables), &port);
    }
}

#[test]
fn cn_064_to_067_where_a_service_is_looked_for() {
    let [named, home, system] = [(); 3].map(|()| ReservedPort::reserve());
    let places = Places::new();
    let named_service = [("PGSERVICE", "s")];
    let not_found = "definition of service \"s\" not found\n";
    assert_eq!(places.refusal(false, &[], &named_service), not_found);
    let missing = format!("service file \"{}\" not found\n", places.path("named").display());
    assert_eq!(places.refusal(true, &[], &named_service), missing);

    places.write("system/pg_service.conf", &service(&system));
    assert_tried(&places.refusal(false, &[], &named_service), &system);
    assert_eq!(places.refusal(true, &[], &named_service), missing);
    places.write("home/.pg_service.conf", "[other]\n");
    assert_tried(&places.refusal(false, &[], &named_service), &system);
    places.write("home/.pg_service.conf", &service(&home));
    assert_tried(&places.refusal(false, &[], &named_service), &home);
    places.write("named", "[other]\n");
    assert_tried(&places.refusal(true, &[], &named_service), &system);
    places.write("named", &service(&named));
    assert_tried(&places.refusal(true, &[], &named_service), &named);

    // Directories in their places.
    fs::remove_file(places.path("named")).unwrap();
    fs::create_dir(places.path("named")).unwrap();
    assert_tried(&places.refusal(true, &[], &named_service), &system);
    fs::remove_file(places.path("system/pg_service.conf")).unwrap();
    assert_eq!(places.refusal(true, &[], &named_service), not_found);
    assert_eq!(places.refusal(true, &[], &[("PGSERVICE", "s"), ("PGSYSCONFDIR", "")]), not_found);
}

#[test]
fn cn_006_empty_variables_are_names_and_the_hint_says_which() {
    let places = Places::new();
    places.write("named", "[s]\n");
    let text = places.refusal(true, &[], &[("PGSERVICE", "")]);
    assert_eq!(text, "definition of service \"\" not found\n");
    let text = places.refusal(false, &[], &[("PGSERVICE", "s"), ("PGSERVICEFILE", "")]);
    assert_eq!(text, "service file \"\" not found\n");

    for (variables, hint) in [
        (&[("PGSERVICE", "")][..], "The value comes from the environment variable PGSERVICE.\n"),
        (
            &[("PGSERVICE", "s"), ("PGSERVICEFILE", "")],
            "PGSERVICEFILE names this file, which cannot be opened: No such file or directory.\n",
        ),
    ] {
        let text = refusal(Told { arguments: &[], variables });
        assert!(text.ends_with(&format!("\npg_basebackup: hint: {hint}")), "{text}");
    }
}

#[test]
fn cn_068_a_service_goes_between_the_connection_string_and_the_environment() {
    let [of_service, other] = [(); 2].map(|()| ReservedPort::reserve());
    let number = other.number().to_string();
    let places = Places::new();
    places.write("named", &service(&of_service));
    for (arguments, variables, expected) in [
        (&[][..], &[("PGPORT", number.as_str()), ("PGHOST", "/nonexistent")][..], &of_service),
        (&["-p", &number], &[], &other),
        (&["-d", &format!("port={number}")], &[], &other),
        (&["-d", "port=''"], &[("PGPORT", &number)], &of_service),
        (&["-p", ""], &[], &of_service),
    ] {
        let variables = [variables, &[("PGSERVICE", "s")]].concat();
        assert_tried(&places.refusal(true, arguments, &variables), expected);
    }
    // What a service leaves empty counts as given, and so does the first of two values.
    for (lines, variable, expected) in [
        ("sslmode=", ("PGSSLMODE", "disable"), "invalid sslmode value: \"\"\n"),
        ("port=\nport=1", ("PGPORT", "2"), "/nonexistent/.s.PGSQL.5432"),
    ] {
        places.write("named", &format!("[s]\nhost=/nonexistent\n{lines}\n"));
        let text = places.refusal(true, &[], &[("PGSERVICE", "s"), variable]);
        assert!(text.contains(expected), "{lines}: {text}");
    }
}

#[test]
fn cn_069_to_075_lines_mean_what_they_mean_to_the_reference() {
    let port = ReservedPort::reserve();
    let places = Places::new();
    let service = service(&port);
    let rest = service.strip_prefix("[s]\n").unwrap();
    let long =
        |length: usize| format!("application_name={}\n", "x".repeat(length - "application_name=\n".len()));
    for content in [
        service.clone(),
        service.trim_end().to_owned(),
        service.replace('\n', "\r\n"),
        format!("# [s]\n\n \t\n\x0b[s]\n#port=1\n  {rest}"),
        service.replace('=', "= "),
        service.replace('=', " ="),
        service.replace('=', " = "),
        format!("[s] more\n{rest}"),
        format!("[s\n{rest}"),
        format!("[S]\n{rest}"),
        format!("[ s ]\n{rest}"),
        format!("nonsense\n[a]\nnonsense\n{service}[b]\nnonsense\n"),
        format!("{service}port=1\n"),
        format!("{service}[s]\nport=1\nnonsense\n"),
        format!("[s]\n{service}"),
        format!("[s]\nport='1'\n{rest}"),
        format!("[s]\nport=1=2\n{rest}"),
        format!("{service}port\n"),
        format!("{service}\n\nfoo=1\n"),
        format!("{service}Port=1\n"),
        format!("{service}=\n"),
        format!("{service}requiressl=1\n"),
        format!("{service}service=s\n"),
        format!("{service}service=\n"),
        format!("{service}servicefile=x\n"),
        format!("{service}user='a b' \\'c\n"),
        format!("{service}{}", long(1022)),
        format!("{service}{}", long(1023)),
        format!("{service}{}", long(1022).trim_end()),
        format!("{service}{}x", long(1023).trim_end()),
        format!("{service}{}", long(5000)),
        format!("[a]\n{}{service}", long(1023)),
        format!("{service}[a]\n{}", long(1023)),
    ] {
        places.write("named", &content);
        // Where no host is given, each program would go to the socket of its own build.
        places.refusal(true, &["-d", "service=s"], &[("PGHOST", "/nonexistent")]);
    }
}

#[test]
fn cn_071_the_hint_names_the_key_and_no_value() {
    let places = Places::new();
    let named = places.path("named");
    for (line, hint) in [
        ("pasword=hunter2", "There is no connection option \"pasword\"."),
        ("password =hunter2", "Write \"password=\" without white space around \"=\"."),
        ("password:hunter2", "The line has no \"=\"."),
        (
            "ldap://ldap.invalid/dc=example?password=hunter2",
            "Services that an LDAP server defines are not supported. Write the settings into the service file.",
        ),
    ] {
        places.write("named", &format!("[s]\n{line}\n"));
        let variables = &[("PGSERVICE", "s"), ("PGSERVICEFILE", named.to_str().unwrap())];
        let expected = format!(
            "syntax error in service file \"{}\", line 2\npg_basebackup: hint: {hint}\n",
            named.display()
        );
        assert_eq!(refusal(Told { arguments: &[], variables }), expected);
    }
}

/// A service with everything that is hard to write, for a role whose password nobody else knows.
const ODD_PASSWORD: &str = r#"p"ä 's\\s'$ =#"#;
const ODD_ROLE: &str = r"o'dd\ größe";
const ODD_NAME: &str = r"a 'b\' # c=d";

#[track_caller]
fn a_standby_is_made_from_a_service(major: u16) {
    let primary = Cluster::builder(major).hba("host replication all 127.0.0.1/32 scram-sha-256").start();
    let quoted = |text: &str| text.replace('\'', "''");
    primary.psql(&format!(
        "CREATE ROLE \"{ODD_ROLE}\" REPLICATION LOGIN; ALTER ROLE \"{ODD_ROLE}\" PASSWORD '{}'",
        quoted(ODD_PASSWORD)
    ));
    let places = Places::new();
    let named = places.path("named");
    places.write(
        "named",
        &format!(
            "[s]\nhost=127.0.0.1\nport={}\nuser={ODD_ROLE}\npassword={ODD_PASSWORD}\napplication_name={ODD_NAME}\n\
             dbname=nowhere\nfallback_application_name=f\nreplication=f\n",
            primary.port()
        ),
    );
    // The server must not need the file.
    fs::set_permissions(&named, Permissions::from_mode(0o600)).unwrap();
    let data_directory = places.path("standby");
    let program = BackupProgram::ours();
    Run::new(program.path())
        .args(["--no-password", "-R", "-c", "fast", "-N", "-d", "service=s", "-D"])
        .arg(&data_directory)
        .env("PGSERVICEFILE", &named)
        .run()
        .expect_success();
    fs::remove_file(&named).unwrap();

    let standby = Cluster::existing(major, &data_directory).start();
    standby.wait_until_streaming(&primary);
    let seen = primary.psql("SELECT usename, application_name FROM pg_stat_replication");
    assert_eq!(seen, format!("{ODD_ROLE}|{ODD_NAME}"));
    let settings = standby.psql("SELECT setting FROM pg_settings WHERE name = 'primary_conninfo'");
    assert!(settings.ends_with(" dbname=nowhere") && !settings.contains("service="), "{settings}");
}

#[test]
fn cn_075_bb_169_bb_174_a_standby_of_postgresql_15_is_made_from_a_service() {
    a_standby_is_made_from_a_service(15);
}

#[test]
fn cn_075_bb_169_bb_174_a_standby_of_postgresql_18_is_made_from_a_service() {
    a_standby_is_made_from_a_service(18);
}
