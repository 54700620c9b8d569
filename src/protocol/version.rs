//! What differs between servers, in one table.

use crate::types::ServerVersion;

/// The newest major version that this client was tested with.
const NEWEST_KNOWN: u32 = 18;

/// The oldest major version that this client works with.
const OLDEST_SUPPORTED: u32 = 10;

/// What a server of some version understands and sends (section 9.1 of the backup behaviours).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent fact about one version")]
#[non_exhaustive]
pub struct ServerFeatures {
    /// Whether the version is one that this client was tested with; newer ones are taken for the newest of those.
    pub known: bool,
    /// `SHOW data_directory_mode`, and with it group access.
    pub data_directory_mode: bool,
    /// Recovery settings in `postgresql.auto.conf` with `standby.signal` or `recovery.signal`, instead of
    /// `recovery.conf`.
    pub signal_files: bool,
    /// The setting that names a file whose appearance promotes a standby, where there is one.
    pub trigger_file_setting: Option<&'static str>,
    /// Backup manifests.
    pub manifest: bool,
    /// Replication commands take a list of options in parentheses, instead of a row of words.
    pub option_lists: bool,
    /// A base backup is one stream whose messages are tagged, instead of one COPY for each tablespace and one for
    /// the manifest.
    pub tagged_stream: bool,
    /// The server says during a base backup how far it is.
    pub progress_messages: bool,
    /// The archives of a base backup end with the two zero blocks of a tar archive.
    pub tar_terminator: bool,
    /// A base backup can go elsewhere than to the client.
    pub targets: bool,
    /// The server can compress archives.
    pub server_compression: bool,
    /// `READ_REPLICATION_SLOT`.
    pub read_replication_slot: bool,
    /// A slot may lose the WAL that it reserved, and `pg_replication_slots` has a column that says so.
    pub slots_can_be_lost: bool,
    /// The server streams from no slot that has lost its WAL.
    pub refuses_lost_slots: bool,
    /// WAL summaries and with them `pg_wal/summaries` and incremental backups.
    pub wal_summaries: bool,
}

/// A server that is too old for this client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("incompatible server version {0}")]
pub struct UnsupportedServer(pub ServerVersion);

impl ServerFeatures {
    /// The features of a server of that version.
    pub fn of(version: &ServerVersion) -> Self {
        let major = version.major();
        Self {
            known: (OLDEST_SUPPORTED..=NEWEST_KNOWN).contains(&major),
            data_directory_mode: major >= 11,
            signal_files: major >= 12,
            trigger_file_setting: match major {
                ..12 => Some("trigger_file"),
                12..16 => Some("promote_trigger_file"),
                16.. => None,
            },
            manifest: major >= 13,
            option_lists: major >= 15,
            tagged_stream: major >= 15,
            progress_messages: major >= 15,
            tar_terminator: major >= 15,
            targets: major >= 15,
            server_compression: major >= 15,
            read_replication_slot: major >= 15,
            slots_can_be_lost: major >= 13,
            refuses_lost_slots: major >= 18,
            wal_summaries: major >= 17,
        }
    }

    /// Checks that this client works with servers of that version (BB-052, RW-063). One that is newer than all that are
    /// known is taken for the newest of those.
    pub fn supported(version: &ServerVersion) -> Result<Self, UnsupportedServer> {
        if version.major() < OLDEST_SUPPORTED {
            return Err(UnsupportedServer(version.clone()));
        }
        Ok(Self::of(version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bb_052_servers_before_10_are_refused_and_newer_ones_taken() {
        let checked = |text| ServerFeatures::supported(&ServerVersion::parse(text));
        for (version, known) in [
            ("10.0", true),
            ("14.23", true),
            ("18.6", true),
            ("18beta1", true),
            ("19devel", false),
            ("42.1", false),
        ] {
            assert_eq!(checked(version).map(|features| features.known), Ok(known), "{version}");
        }
        for old in ["9.6.24", "8.4.22", "", "unknown"] {
            let refusal = checked(old).unwrap_err();
            assert_eq!(refusal.to_string(), format!("incompatible server version {old}"));
        }
    }

    #[test]
    fn bb_059_what_follows_the_major_version_does_not_count() {
        let of = |text| ServerFeatures::of(&ServerVersion::parse(text));
        for (major, texts) in [
            ("10.0", ["10.23", "10beta3", "10.23 (Debian 10.23-1.pgdg120+1)"]),
            ("17.0", ["17devel", "17.11", "17rc1"]),
        ] {
            for text in texts {
                assert_eq!(of(text), of(major), "{text}");
            }
        }
        assert_ne!(of("16.99"), of("17.0"));
    }
}
