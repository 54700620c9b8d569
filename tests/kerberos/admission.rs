//! Who is let in, and over what.

use super::trial::{GSS, Program, Trial, WITHOUT_GSSAPI as WITHOUT, kerberized, rule};
use crate::support::Personality;
use crate::support::kerberos::Realm;

const BY_TICKET: &str = "authenticated=yes, encrypted=no";
const BY_TICKET_ENCRYPTED: &str = "authenticated=yes, encrypted=yes";
const ENCRYPTED: &str = "authenticated=no, encrypted=yes";
const NO_TICKET: &str = "GSSAPI continuation error: No credentials were supplied, or the credentials were \
                         unavailable or inaccessible: No Kerberos credentials available";
const NO_CACHE: &str = "GSSAPI encryption required but no credential cache";
const REJECTED_PLAIN: &str = "no encryption";
const REJECTED_ENCRYPTED: &str = "GSS encryption";

/// Outcomes for `gssencmode` disable, prefer and require.
type Outcomes = [&'static str; 3];

/// Users, the type of connection and the method of their rule, and the outcomes first with a ticket and then
/// without.
const ADMISSIONS: [(&str, &str, &str, Outcomes, Outcomes); 5] = [
    (
        "any_gss",
        "host",
        GSS,
        [BY_TICKET, BY_TICKET_ENCRYPTED, BY_TICKET_ENCRYPTED],
        [NO_TICKET, NO_TICKET, NO_CACHE],
    ),
    (
        "encrypted_gss",
        "hostgssenc",
        GSS,
        [REJECTED_PLAIN, BY_TICKET_ENCRYPTED, BY_TICKET_ENCRYPTED],
        [REJECTED_PLAIN, REJECTED_PLAIN, NO_CACHE],
    ),
    (
        "encrypted_trust",
        "hostgssenc",
        "trust",
        [REJECTED_PLAIN, ENCRYPTED, ENCRYPTED],
        [REJECTED_PLAIN, REJECTED_PLAIN, NO_CACHE],
    ),
    (
        "plain_gss",
        "hostnogssenc",
        GSS,
        [BY_TICKET, BY_TICKET, REJECTED_ENCRYPTED],
        [NO_TICKET, NO_TICKET, NO_CACHE],
    ),
    (
        "plain_trust",
        "hostnogssenc",
        "trust",
        [WITHOUT, WITHOUT, REJECTED_ENCRYPTED],
        [WITHOUT, WITHOUT, NO_CACHE],
    ),
];

/// Makes every attempt of the table, also with the real program of that version.
#[track_caller]
fn admits_as_the_table_says(major: u16) {
    let realm = Realm::start();
    let rules: String = ADMISSIONS
        .iter()
        .map(|(user, connection_type, method, ..)| rule(connection_type, user, method))
        .collect();
    let cluster = kerberized(&realm, major).hba(&rules).start();
    let personality = Personality::named("pg_basebackup");
    let (ours, real) = (Program::ours(&personality), Program::real(major));
    let mut wrong = Vec::new();
    for (user, _, _, with_ticket, without) in ADMISSIONS {
        cluster.psql(&format!("CREATE ROLE {user} LOGIN REPLICATION"));
        for (credentials, outcomes) in
            [(realm.add_user(user), with_ticket), (realm.no_credentials(), without)]
        {
            for (mode, expected) in ["disable", "prefer", "require"].into_iter().zip(outcomes) {
                let settings = format!("gssencmode={mode}");
                let trial = Trial { cluster: &cluster, user, credentials: &credentials, settings: &settings };
                let outcome = trial.made_by(&ours);
                // libpq has learnt since 15 to say that there is no cache.
                let is_old_text = expected == NO_CACHE && major == 15;
                let reference = if is_old_text { outcome.clone() } else { trial.made_by(&real) };
                if !outcome.contains(expected) || outcome != reference {
                    wrong.push(format!(
                        "{user}, {credentials:?}, {mode}:\n    {outcome}\n    {reference}\n    {expected}"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "ours, the reference's, expected:\n{}", wrong.join("\n"));
}

#[test]
fn cn_141_142_204_253_admissions_by_server_15() {
    admits_as_the_table_says(15);
}

#[test]
fn cn_141_142_204_253_admissions_by_server_18() {
    admits_as_the_table_says(18);
}

#[test]
fn cn_143_gssapi_encryption_satisfies_sslmode_require() {
    let realm = Realm::start();
    let cluster = kerberized(&realm, 18).hba(&rule("hostgssenc", "postgres", GSS)).start();
    let personality = Personality::named("pg_basebackup");
    let credentials = realm.add_user("postgres");
    for settings in ["sslmode=require", "sslmode=verify-full gssencmode=prefer"] {
        let trial = Trial { cluster: &cluster, user: "postgres", credentials: &credentials, settings };
        let outcome = trial.made_by(&Program::ours(&personality));
        assert!(outcome.starts_with(BY_TICKET_ENCRYPTED), "{settings}: {outcome}");
    }
}

/// On purpose we do not do what libpq does (CW-02): a server that turns TLS down leaves only plain text.
#[test]
fn cn_163_a_password_that_was_refused_over_gssapi_is_not_sent_without_it() {
    let realm = Realm::start();
    let cluster = kerberized(&realm, 18).hba(&rule("host", "postgres", "password")).start();
    let personality = Personality::named("pg_basebackup");
    let credentials = realm.add_user("postgres");
    for mode in ["disable", "allow", "prefer"] {
        let settings = format!("sslmode={mode} password=wrong");
        let trial =
            Trial { cluster: &cluster, user: "postgres", credentials: &credentials, settings: &settings };
        let refusals = |program: &Program| {
            let said = trial.made_by(program);
            said.matches("password authentication failed").count()
        };
        assert_eq!(refusals(&Program::ours(&personality)), 1, "{mode}");
        assert_eq!(refusals(&Program::real(18)), 2, "{mode}");
    }
}

#[test]
fn cn_253_credentials_are_delegated_where_that_is_asked_for() {
    let realm = Realm::start();
    let cluster = kerberized(&realm, 18)
        .setting("gss_accept_delegation", "on")
        .hba(&rule("host", "postgres", GSS))
        .start();
    let personality = Personality::named("pg_basebackup");
    let credentials = realm.add_user("postgres");
    for (encryption, encrypted) in [("disable", "no"), ("require", "yes")] {
        for (delegation, delegated) in [("0", "no"), ("1", "yes")] {
            let settings = format!("gssencmode={encryption} gssdelegation={delegation}");
            let trial =
                Trial { cluster: &cluster, user: "postgres", credentials: &credentials, settings: &settings };
            assert_eq!(
                trial.made_by(&Program::ours(&personality)),
                format!(
                    "authenticated=yes, encrypted={encrypted}, delegated_credentials={delegated}, \
                     principal=postgres@EXAMPLE.COM"
                ),
                "{settings}"
            );
        }
    }
}

#[test]
fn cn_264_to_274_require_auth_and_kerberos() {
    let realm = Realm::start();
    let rules = [
        rule("host", "by_ticket", GSS),
        rule("host", "by_password", "scram-sha-256"),
        rule("host", "by_trust", "trust"),
    ];
    let cluster = kerberized(&realm, 18).hba(&rules.concat()).start();
    let personality = Personality::named("pg_basebackup");
    let (ours, real) = (Program::ours(&personality), Program::real(18));
    for (user, credentials) in
        ["by_ticket", "by_password", "by_trust"].map(|user| (user, realm.add_user(user)))
    {
        cluster.psql(&format!("CREATE ROLE {user} LOGIN REPLICATION PASSWORD 'secret'"));
        for required in ["gss", "!gss", "gss,scram-sha-256", "!gss,!none", "none", "!none", "sspi"] {
            for encryption in ["disable", "require"] {
                let settings = format!("gssencmode={encryption} require_auth={required} password=secret");
                let trial = Trial { cluster: &cluster, user, credentials: &credentials, settings: &settings };
                assert_eq!(trial.made_by(&ours), trial.made_by(&real), "{user}: {settings}");
            }
        }
    }
}
