//! Who is let in: every kind of authentication of servers of every version, and what a refusal says.

use std::fs;

use pgsiphon::connection::sqlstate;

use crate::attempt::{admitted, refused, refused_like_the_newest_reference, refused_like_the_reference};
use crate::support::{Cluster, StopMode, VERSIONS};

/// A rule for each role that is named after its kind of authentication.
const RULES: &str = "\
host  replication trusted         127.0.0.1/32 trust
host  replication clear           127.0.0.1/32 password
host  replication md5             127.0.0.1/32 md5
host  replication scram_under_md5 127.0.0.1/32 md5
host  replication scram           127.0.0.1/32 scram-sha-256
host  replication md5_under_scram 127.0.0.1/32 scram-sha-256
local replication clear           password
local replication md5             md5
local replication scram           scram-sha-256";

/// Their passwords are `secret of ` and the name.
const ROLES: &str = "\
SET password_encryption = 'md5';
CREATE ROLE trusted         REPLICATION LOGIN;
CREATE ROLE clear           REPLICATION LOGIN PASSWORD 'secret of clear';
CREATE ROLE md5             REPLICATION LOGIN PASSWORD 'secret of md5';
CREATE ROLE md5_under_scram REPLICATION LOGIN PASSWORD 'secret of md5_under_scram';
SET password_encryption = 'scram-sha-256';
CREATE ROLE scram_under_md5 REPLICATION LOGIN PASSWORD 'secret of scram_under_md5';
CREATE ROLE scram           REPLICATION LOGIN PASSWORD 'secret of scram';
CREATE ROLE no_replication  LOGIN;
CREATE ROLE no_login        REPLICATION NOLOGIN;";

fn cluster(major: u16) -> Cluster {
    let cluster = Cluster::builder(major).hba(RULES).start();
    cluster.psql(ROLES);
    cluster
}

/// A connection string that may be given a password.
fn over_tcp(cluster: &Cluster, user: &str) -> String {
    format!("host=127.0.0.1 port={} user={user}", cluster.port())
}

fn over_socket(cluster: &Cluster, user: &str) -> String {
    format!("host={} port={} user={user}", cluster.socket_dir().display(), cluster.port())
}

#[test]
fn cn_222_to_238_every_method_of_every_version() {
    for major in VERSIONS {
        let cluster = cluster(major);
        admitted(&over_tcp(&cluster, "trusted"));
        admitted(&format!("{} password=unused", over_tcp(&cluster, "trusted")));
        for user in ["clear", "md5", "scram_under_md5", "scram"] {
            admitted(&format!("{} password='secret of {user}'", over_tcp(&cluster, user)));
        }
        for user in ["clear", "md5", "scram"] {
            admitted(&format!("{} password='secret of {user}'", over_socket(&cluster, user)));
        }
    }
}

#[test]
fn cn_236_a_wrong_password_is_refused_in_the_words_of_the_server() {
    for major in [10, 15, 18] {
        let cluster = cluster(major);
        for user in ["clear", "md5", "scram_under_md5", "scram"] {
            for conninfo in [over_tcp(&cluster, user), over_tcp(&cluster, user) + " sslmode=disable"] {
                let error = refused_like_the_reference(&format!("{conninfo} password=wrong"));
                let message = error.attempts()[0].cause.server_message().unwrap();
                assert_eq!(message.sqlstate(), sqlstate::INVALID_PASSWORD);
                assert!(!error.needs_password() && !error.is_retryable());
            }
        }
    }
}

#[test]
fn cn_237_a_secret_of_another_kind_is_refused() {
    for major in [10, 15, 18] {
        let cluster = cluster(major);
        refused_like_the_reference(&format!(
            "{} password='secret of md5_under_scram'",
            over_tcp(&cluster, "md5_under_scram")
        ));
    }
}

/// The users with a password whose method is what their name says, and what the server asks them for.
const METHODS: [(&str, &str); 4] =
    [("trusted", "none"), ("clear", "password"), ("md5", "md5"), ("scram", "scram-sha-256")];

#[test]
fn cn_264_to_273_every_method_under_every_requirement() {
    const REQUIREMENTS: [&str; 7] = ["none", "password", "md5", "scram-sha-256", "gss", "sspi", "oauth"];
    for major in [15, 18] {
        let cluster = cluster(major);
        for (user, method) in METHODS {
            let conninfo = format!("{} password='secret of {user}'", over_tcp(&cluster, user));
            for required in REQUIREMENTS {
                let [wanted, unwanted] = [required.to_owned(), format!("!{required}")]
                    .map(|list| format!("{conninfo} require_auth={list}"));
                let (allowed, forbidden) =
                    if required == method { (wanted, unwanted) } else { (unwanted, wanted) };
                admitted(&allowed);
                let error = refused_like_the_newest_reference(&forbidden);
                assert!(error.to_string().contains("authentication method requirement"), "{error}");
                assert!(!error.is_retryable() && !error.needs_password());
            }
        }
    }
}

#[test]
fn cn_266_and_267_lists_of_requirements() {
    let cluster = cluster(18);
    for (user, method) in METHODS {
        let conninfo = format!("{} password='secret of {user}'", over_tcp(&cluster, user));
        admitted(&format!("{conninfo} require_auth=gss,{method},oauth"));
        admitted(&format!("{conninfo} require_auth=!gss,!oauth"));
        admitted(&format!("{conninfo} require_auth=''"));
        refused_like_the_newest_reference(&format!("{conninfo} require_auth=!gss,!{method}"));
        refused_like_the_newest_reference(&format!("{conninfo} require_auth=gss,oauth"));
    }
}

#[test]
fn cn_264_md5_in_the_rules_of_the_server_may_mean_scram() {
    let cluster = cluster(18);
    let conninfo = format!("{} password='secret of scram_under_md5'", over_tcp(&cluster, "scram_under_md5"));
    admitted(&format!("{conninfo} require_auth=scram-sha-256"));
    refused_like_the_newest_reference(&format!("{conninfo} require_auth=md5"));
}

#[test]
fn cn_247_to_251_channel_binding_over_a_line_in_the_clear() {
    for major in [10, 15, 18] {
        let cluster = cluster(major);
        for (user, _) in METHODS {
            let conninfo =
                format!("{} password='secret of {user}' sslmode=disable", over_tcp(&cluster, user));
            for mode in ["disable", "prefer"] {
                admitted(&format!("{conninfo} channel_binding={mode}"));
            }
            refused_like_the_reference(&format!("{conninfo} channel_binding=require"));
        }
    }
}

#[cfg(feature = "tls")]
#[test]
fn cn_186_a_client_certificate_is_not_asked_for_in_the_clear() {
    let cluster = cluster(18);
    for (user, _) in METHODS {
        let conninfo = format!("{} password='secret of {user}'", over_socket(&cluster, user));
        refused_like_the_newest_reference(&format!("{conninfo} sslcertmode=require"));
    }
}

#[test]
fn cn_215_to_217_newer_versions_of_the_protocol() {
    for major in VERSIONS {
        let cluster = cluster(major);
        let conninfo = format!("{} password='secret of scram'", over_tcp(&cluster, "scram"));
        admitted(&format!("{conninfo} max_protocol_version=3.2"));
        let newest = format!("{conninfo} min_protocol_version=3.2");
        if major < 18 {
            refused_like_the_newest_reference(&newest);
        } else {
            admitted(&newest);
        }
    }
}

/// The keys that a server keeps and those that a client needs, of the password `pencil`, the salt `salt`, and
/// one iteration.
const SECRET: &str = "SCRAM-SHA-256$1:c2FsdA==$Otk5kdnAo/6UDUcm0KaO+uESed84FVLF7Qg4N9v1MRA=:Uc4DDcQRN5WJ44eNiyKPEO+MJvVo84Ucr4WI9nixz60=";
const CLIENT_KEY: &str = "nk1dFDYHB7vZvDE+Dw7WElS+XvEwcFBfSwiBXGYCdkA=";
const SERVER_KEY: &str = "Uc4DDcQRN5WJ44eNiyKPEO+MJvVo84Ucr4WI9nixz60=";

#[test]
fn cn_227_keys_stand_for_a_password() {
    for major in [15, 18] {
        let cluster = cluster(major);
        cluster.psql(&format!("ALTER ROLE scram PASSWORD '{SECRET}'"));
        let conninfo = over_tcp(&cluster, "scram");
        let client = format!("scram_client_key={CLIENT_KEY}");
        let server = format!("scram_server_key={SERVER_KEY}");
        admitted(&format!("{conninfo} {client} {server}"));
        admitted(&format!("{conninfo} {client} {server} require_auth=scram-sha-256 password=wrong"));
        for one in [&client, &server] {
            admitted(&format!("{conninfo} {one} password=pencil"));
        }
        let wrong = format!("scram_client_key={SERVER_KEY} {server}");
        refused_like_the_newest_reference(&format!("{conninfo} {wrong}"));
        let wrong = format!("{client} scram_server_key={CLIENT_KEY}");
        let error = refused_like_the_newest_reference(&format!("{conninfo} {wrong}"));
        assert!(error.to_string().ends_with("incorrect server signature"), "{error}");
        let error = refused_like_the_newest_reference(&format!("{conninfo} {server}"));
        assert!(error.needs_password());
    }
}

#[test]
fn cn_227_a_key_of_the_client_alone_does_not_show_who_the_server_is() {
    let cluster = cluster(18);
    let error = refused(&format!("{} scram_client_key={CLIENT_KEY}", over_tcp(&cluster, "scram")));
    let text = "scram_client_key needs scram_server_key or a password, by which the server is known";
    assert!(error.to_string().ends_with(text), "{error}");
}

#[test]
fn cn_275_and_276_a_missing_password_is_asked_for() {
    let cluster = cluster(18);
    for user in ["clear", "md5", "scram"] {
        for password in ["", " password=''"] {
            let error = refused_like_the_reference(&format!("{}{password}", over_tcp(&cluster, user)));
            assert!(error.needs_password(), "{error}");
            assert!(error.hint().unwrap().contains("PGPASSWORD"));
        }
    }
}

#[test]
fn cn_230_any_number_of_iterations_is_obeyed() {
    for (major, iterations) in [(16, 1), (16, 10_000), (18, 100_001)] {
        let cluster = cluster(major);
        let set = format!("SET scram_iterations = {iterations}");
        cluster.psql(&format!("{set}; ALTER ROLE scram PASSWORD 'secret of scram';"));
        let secret = cluster.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'scram'");
        assert!(secret.starts_with(&format!("SCRAM-SHA-256${iterations}:")), "{secret}");
        admitted(&format!("{} password='secret of scram'", over_tcp(&cluster, "scram")));
    }
}

#[test]
fn cn_210_names_and_passwords_may_be_of_any_script() {
    for major in [10, 15, 18] {
        let cluster =
            Cluster::builder(major).hba("host replication größe 127.0.0.1/32 scram-sha-256").start();
        cluster.psql(
            "SET password_encryption = 'scram-sha-256'; CREATE ROLE größe REPLICATION LOGIN PASSWORD 'Пароль'",
        );
        admitted(&format!("{} password=Пароль", over_tcp(&cluster, "größe")));
        refused_like_the_reference(&format!("{} password=пароль", over_tcp(&cluster, "größe")));
    }
}

#[test]
fn cn_094_no_rule_of_pg_hba_conf_and_what_to_do() {
    for major in [10, 15, 18] {
        let mut cluster = Cluster::builder(major).start();
        cluster.psql("CREATE ROLE rejected REPLICATION LOGIN; CREATE ROLE unlisted REPLICATION LOGIN");
        cluster.stop(StopMode::Fast);
        let rules = "host replication rejected 127.0.0.1/32 reject\nhost all all 127.0.0.1/32 trust\n";
        fs::write(cluster.data_dir().join("pg_hba.conf"), rules).unwrap();
        cluster.start();
        for user in ["unlisted", "rejected"] {
            let error = refused_like_the_reference(&over_tcp(&cluster, user));
            let hint = error.hint().unwrap();
            assert!(hint.contains("pg_hba.conf") && hint.contains("\"replication\""), "{hint}");
            assert!(!error.is_retryable());
        }
    }
}

#[test]
fn cn_305_a_role_without_the_replication_attribute_and_what_to_do() {
    for major in [10, 15, 18] {
        let cluster = cluster(major);
        let error = refused_like_the_reference(&over_tcp(&cluster, "no_replication"));
        let message = error.attempts()[0].cause.server_message().unwrap();
        assert_eq!(message.sqlstate(), sqlstate::INSUFFICIENT_PRIVILEGE);
        assert!(error.hint().unwrap().contains("ALTER ROLE"));
    }
}

#[test]
fn cn_285_a_role_that_is_not_there_or_may_not_log_in_is_no_matter_of_rules() {
    for major in [10, 15, 18] {
        let cluster = cluster(major);
        for user in ["nobody", "no_login"] {
            let error = refused_like_the_reference(&over_tcp(&cluster, user));
            assert_eq!(error.hint(), None, "{error}");
        }
    }
}

#[test]
fn cn_284_the_password_is_in_no_error() {
    let cluster = cluster(18);
    for user in ["clear", "md5", "scram"] {
        let error = refused(&format!("{} password=hunter2", over_tcp(&cluster, user)));
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
