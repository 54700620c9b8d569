//! What differs between servers, in one table.

use crate::types::ServerVersion;

/// What a server of some version understands and sends (section 9.1 of the backup behaviours).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent fact about one version")]
#[non_exhaustive]
pub struct ServerFeatures {
    /// `SHOW data_directory_mode`, and with it group access.
    pub data_directory_mode: bool,
    /// Recovery settings in `postgresql.auto.conf` with `standby.signal`, instead of `recovery.conf`.
    pub signal_files: bool,
    /// Backup manifests.
    pub manifest: bool,
    /// Replication commands take a list of options in parentheses, and a base backup is one tagged
    /// stream instead of one COPY for each tablespace.
    pub option_lists: bool,
    /// WAL summaries and with them `pg_wal/summaries` and incremental backups.
    pub wal_summaries: bool,
}

/// A server that this client cannot take a backup from: one that is too old, or newer than any that it knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("incompatible server version {0}")]
pub struct UnsupportedServer(pub ServerVersion);

impl ServerFeatures {
    /// The features of a server of that version.
    pub fn of(version: &ServerVersion) -> Self {
        let major = version.major();
        Self {
            data_directory_mode: major >= 11,
            signal_files: major >= 12,
            manifest: major >= 13,
            option_lists: major >= 15,
            wal_summaries: major >= 17,
        }
    }

    /// Checks that a base backup can be taken from a server of that version (BB-052).
    pub fn for_base_backup(version: &ServerVersion) -> Result<Self, UnsupportedServer> {
        const OLDEST_WITH_ONE_ARCHIVE_STREAM: u32 = 15;
        const NEWEST_KNOWN: u32 = 18;
        if !(OLDEST_WITH_ONE_ARCHIVE_STREAM..=NEWEST_KNOWN).contains(&version.major()) {
            return Err(UnsupportedServer(version.clone()));
        }
        Ok(Self::of(version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bb_052_servers_that_are_not_known_are_refused() {
        let checked = |text| ServerFeatures::for_base_backup(&ServerVersion::parse(text));
        for known in ["15.0", "18.6", "18beta1"] {
            assert!(checked(known).is_ok(), "{known}");
        }
        for other in ["14.19", "19devel", "19.0", ""] {
            let refusal = checked(other).unwrap_err();
            assert_eq!(refusal.to_string(), format!("incompatible server version {other}"));
        }
    }
}
