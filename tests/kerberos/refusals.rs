//! What is said where Kerberos does not help: in the words of the reference.

use super::trial::{GSS, Program, SERVICE, Trial, WITHOUT_GSSAPI, kerberized, rule};
use crate::support::kerberos::{Credentials, Realm};
use crate::support::{Cluster, Personality};

const MAJOR: u16 = 18;

struct Scene {
    realm: Realm,
    cluster: Cluster,
    personality: Personality,
}

impl Scene {
    fn new() -> Self {
        let realm = Realm::start();
        let cluster = kerberized(&realm, MAJOR).hba(&rule("host", "postgres", GSS)).start();
        Self { realm, cluster, personality: Personality::named("pg_basebackup") }
    }

    /// What ours says, once it is known that the reference says the same.
    #[track_caller]
    fn refused(&self, credentials: &Credentials, settings: &str) -> String {
        let (ours, real) = self.outcomes(credentials, settings);
        assert_eq!(ours, real, "{settings}");
        ours
    }

    #[track_caller]
    fn outcomes(&self, credentials: &Credentials, settings: &str) -> (String, String) {
        let trial = Trial { cluster: &self.cluster, user: "postgres", credentials, settings };
        (trial.made_by(&Program::ours(&self.personality)), trial.made_by(&Program::real(MAJOR)))
    }
}

const UNSPECIFIED: &str = "Unspecified GSS failure.  Minor code may provide more information: ";

/// How a failure begins, with and without encryption.
const BEGINNINGS: [(&str, &str); 2] = [
    ("gssencmode=require", "could not initiate GSSAPI security context: "),
    ("gssencmode=disable", "GSSAPI continuation error: "),
];

#[test]
fn cn_255_a_service_that_nobody_knows() {
    let scene = Scene::new();
    let credentials = scene.realm.add_user("postgres");
    for (mode, beginning) in BEGINNINGS {
        for (settings, service) in
            [("krbsrvname=nosuch", "nosuch/localhost"), ("host=elsewhere", "postgres/elsewhere")]
        {
            assert_eq!(
                scene.refused(&credentials, &format!("{mode} {settings}")),
                format!(
                    "{beginning}{UNSPECIFIED}Server {service}@EXAMPLE.COM not found in Kerberos database"
                )
            );
        }
    }
    let both = scene.refused(&credentials, "gssencmode=prefer krbsrvname=nosuch");
    assert_eq!(both.lines().count(), 2, "{both}");
}

#[test]
fn cn_253_a_service_that_the_server_is_not() {
    let scene = Scene::new();
    let credentials = scene.realm.add_user("postgres");
    scene.realm.add_service("other/localhost");
    let text = scene.refused(&credentials, "gssencmode=disable krbsrvname=other");
    assert_eq!(text, format!("GSSAPI continuation error: {UNSPECIFIED}The ticket isn't for us"));
    // Of a server that closes the connection instead of a token, libpq says nothing at all.
    let (ours, real) = scene.outcomes(&credentials, "gssencmode=require krbsrvname=other");
    assert!(ours.starts_with("server closed the connection unexpectedly\n"), "{ours}");
    assert_eq!(real, "");
}

#[test]
fn cn_255_an_address_names_no_service() {
    let scene = Scene::new();
    let credentials = scene.realm.add_user("postgres");
    assert_eq!(scene.refused(&credentials, "host='' gssencmode=disable"), "host name must be specified");
    assert_eq!(
        scene.refused(&credentials, "host='' gssencmode=require"),
        format!(
            "could not initiate GSSAPI security context: {UNSPECIFIED}Server postgres/127.0.0.1@EXAMPLE.COM not \
             found in Kerberos database"
        )
    );
}

#[test]
fn cn_253_a_ticket_that_has_expired() {
    let scene = Scene::new();
    scene.realm.add_user("postgres");
    let credentials = scene.realm.log_in("postgres", &["-l", "1s"]);
    credentials.wait_until_expired(SERVICE);
    for (mode, beginning) in BEGINNINGS {
        assert_eq!(scene.refused(&credentials, mode), format!("{beginning}{UNSPECIFIED}Ticket expired"));
    }
}

#[test]
fn cn_253_a_kdc_that_cannot_be_reached() {
    let mut scene = Scene::new();
    let credentials = scene.realm.add_user("postgres");
    scene.realm.stop_kdc();
    for (mode, beginning) in BEGINNINGS {
        assert_eq!(
            scene.refused(&credentials, mode),
            format!("{beginning}{UNSPECIFIED}Cannot contact any KDC for realm 'EXAMPLE.COM'")
        );
    }
}

#[test]
fn cn_115_a_kdc_that_is_silent_is_left_when_the_time_is_over() {
    let mut scene = Scene::new();
    let credentials = scene.realm.add_user("postgres");
    scene.realm.silence_kdc();
    for mode in ["require", "disable"] {
        let trial = Trial {
            cluster: &scene.cluster,
            user: "postgres",
            credentials: &credentials,
            settings: &format!("gssencmode={mode} connect_timeout=2"),
        };
        assert_eq!(trial.made_by(&Program::ours(&scene.personality)), "timeout expired", "{mode}");
    }
}

#[test]
fn cn_140_no_gssapi_encryption_over_a_local_socket() {
    let scene = Scene::new();
    let credentials = scene.realm.add_user("postgres");
    let directory = scene.cluster.socket_dir().display().to_string();
    let settings = format!("host={directory} hostaddr='' gssencmode=require");
    let text = scene.refused(&credentials, &settings);
    assert!(
        text.ends_with("GSSAPI encryption required but it is not supported over a local socket"),
        "{text}"
    );
    let trial = Trial {
        cluster: &scene.cluster,
        user: "postgres",
        credentials: &credentials,
        settings: &format!("host={directory} hostaddr='' gssencmode=prefer"),
    };
    assert_eq!(trial.made_by(&Program::ours(&scene.personality)), WITHOUT_GSSAPI);
}

#[test]
fn cn_141_servers_without_gssapi() {
    let realm = Realm::start();
    let credentials = realm.add_user("postgres");
    let personality = Personality::named("pg_basebackup");
    // 11 does not know the request; 13 is built without.
    for major in [11, 13] {
        let cluster = Cluster::builder(major).setting("log_connections", "on").start();
        let trial =
            |settings| Trial { cluster: &cluster, user: "postgres", credentials: &credentials, settings };
        assert_eq!(
            trial("gssencmode=prefer").made_by(&Program::ours(&personality)),
            WITHOUT_GSSAPI,
            "{major}"
        );
        let required = trial("gssencmode=require");
        assert_eq!(
            required.made_by(&Program::ours(&personality)),
            required.made_by(&Program::real(MAJOR)),
            "{major}"
        );
    }
}
