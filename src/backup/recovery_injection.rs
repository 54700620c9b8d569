//! What is put into the main archive so that the server that starts on it recovers as it should.
//!
//! In: the version of the server, what it shall be, and the settings as text. Out: the [`MemberInjection`] that puts
//! them where a server of that version looks for them.

use zeroize::Zeroizing;

use super::member_injection::{InjectedAttributes, InjectedFile, MemberInjection};
use super::recovery_options::RecoveryRole;
use crate::protocol::ServerFeatures;
use crate::types::ServerVersion;

/// Rewrites the main archive of a server so that it starts in that role with these settings.
///
/// From version 12 on the settings are put behind those in `postgresql.auto.conf`, without a newline between, and an
/// empty `standby.signal` or `recovery.signal` takes the place of any other (BB-157, BB-158); a server with both would
/// be a standby, so that the former is left out where the latter is meant. Before version 12, the settings are a
/// `recovery.conf` that takes the place of any other (BB-159).
pub fn recovery_injection(
    server: &ServerVersion,
    role: RecoveryRole,
    settings: Zeroizing<Vec<u8>>,
    attributes: InjectedAttributes,
) -> MemberInjection {
    if !ServerFeatures::of(server).signal_files {
        let configuration = InjectedFile { path: "recovery.conf", content: settings };
        return MemberInjection::new(None, Some(configuration), attributes);
    }
    let configuration = InjectedFile { path: "postgresql.auto.conf", content: settings };
    let signal = |path| InjectedFile { path, content: Zeroizing::default() };
    match role {
        RecoveryRole::Standby => {
            MemberInjection::new(Some(configuration), Some(signal("standby.signal")), attributes)
        }
        RecoveryRole::Restored => {
            MemberInjection::new(Some(configuration), Some(signal("recovery.signal")), attributes)
                .without("standby.signal")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const ATTRIBUTES: InjectedAttributes = InjectedAttributes { mode: 0o600, modified_at: 0 };

    /// The archive of the tar crate's builder after injection, as names and contents.
    fn injected(version: &str, members: &[(&str, &str)]) -> Vec<(String, String)> {
        injected_as(RecoveryRole::Standby, version, members)
    }

    fn injected_as(role: RecoveryRole, version: &str, members: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut builder = ::tar::Builder::new(Vec::new());
        for (path, data) in members {
            let mut header = ::tar::Header::new_ustar();
            header.set_size(data.len() as u64);
            header.set_mode(0o600);
            builder.append_data(&mut header, path, data.as_bytes()).unwrap();
        }
        let archive = builder.into_inner().unwrap();
        let (version, settings) = (ServerVersion::parse(version), b"port = 1\n".to_vec().into());
        let mut injection = recovery_injection(&version, role, settings, ATTRIBUTES);
        let stretches = injection.push(&archive, |_| ()).unwrap();
        let mut result: Vec<u8> = stretches.iter().flat_map(AsRef::as_ref).copied().collect();
        result.extend(injection.finish().unwrap());
        let mut archive = ::tar::Archive::new(&result[..]);
        let members = archive.entries().unwrap().map(|member| {
            let mut member = member.unwrap();
            let mut content = String::new();
            member.read_to_string(&mut content).unwrap();
            (member.path().unwrap().to_str().unwrap().to_owned(), content)
        });
        members.collect()
    }

    fn expect(found: &[(String, String)], expected: &[(&str, &str)]) {
        let found: Vec<_> = found.iter().map(|(path, content)| (&path[..], &content[..])).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn bb_157_the_settings_follow_those_of_the_server() {
        expect(
            &injected("18.0", &[("postgresql.auto.conf", "fsync = off"), ("global/pg_control", "c")]),
            &[
                ("postgresql.auto.conf", "fsync = offport = 1\n"),
                ("global/pg_control", "c"),
                ("standby.signal", ""),
            ],
        );
    }

    #[test]
    fn bb_157_bb_160_missing_settings_are_added_before_the_signal() {
        expect(
            &injected("12.22", &[("base/postgresql.auto.conf", "x")]),
            &[
                ("base/postgresql.auto.conf", "x"),
                ("postgresql.auto.conf", "port = 1\n"),
                ("standby.signal", ""),
            ],
        );
    }

    #[test]
    fn bb_158_the_signal_of_a_standby_is_replaced() {
        expect(
            &injected("15.18", &[("standby.signal", "old"), ("postgresql.auto.conf", "")]),
            &[("postgresql.auto.conf", "port = 1\n"), ("standby.signal", "")],
        );
    }

    #[test]
    fn bb_159_older_servers_have_a_file_for_it() {
        expect(
            &injected("11.22", &[("recovery.conf", "old"), ("postgresql.auto.conf", "a = 1\n")]),
            &[("postgresql.auto.conf", "a = 1\n"), ("recovery.conf", "port = 1\n")],
        );
    }

    #[test]
    fn a_server_that_is_restored_is_no_standby() {
        let members = [("standby.signal", ""), ("postgresql.auto.conf", ""), ("recovery.signal", "old")];
        expect(
            &injected_as(RecoveryRole::Restored, "12.22", &members),
            &[("postgresql.auto.conf", "port = 1\n"), ("recovery.signal", "")],
        );
        expect(&injected_as(RecoveryRole::Restored, "11.22", &[]), &[("recovery.conf", "port = 1\n")]);
    }
}
