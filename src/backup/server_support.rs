//! Whether the server can do what the options ask for.
//!
//! In: the options of a backup and what the server's version can do. Out: the first wish that it cannot fulfil, in the
//! order in which `pg_basebackup` complains, or what is left of a wish that an old server may ignore. The server is not
//! asked.

use super::error::BackupError;
use super::options::{BackupOptions, Compression};
use crate::protocol::{ManifestRequest, ServerFeatures};

/// Checks the options against the server (BB-050, BB-056 … BB-058).
pub(super) fn check_server(options: &BackupOptions, features: ServerFeatures) -> Result<(), BackupError> {
    if options.incremental.is_some() && !features.wal_summaries {
        return Err(BackupError::IncrementalUnsupported);
    }
    if options.target.is_some() {
        if !features.targets {
            return Err(BackupError::TargetsUnsupported);
        }
        if options.recovery.is_some() {
            return Err(BackupError::RecoveryWithTarget);
        }
    }
    if matches!(options.compression, Compression::Server(_)) && !features.server_compression {
        return Err(BackupError::ServerCompressionUnsupported);
    }
    Ok(())
}

/// The manifest that comes: none from servers that make none, and nobody needs to know (BB-055).
pub(super) fn manifest_request(options: &BackupOptions, features: ServerFeatures) -> ManifestRequest {
    if features.manifest { options.manifest } else { ManifestRequest::No }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::RecoveryOptions;
    use crate::protocol::{CompressionRequest, ServerTarget};
    use crate::types::ServerVersion;

    const INCREMENTAL: &str = "server does not support incremental backup";
    const TARGETS: &str = "backup targets are not supported by this server version";
    const COMPRESSION: &str = "server does not support server-side compression";
    const RECOVERY: &str = "recovery configuration cannot be written when a backup target is used";

    /// What a server of that version is asked for: `i` an increment, `t` a target, `r` recovery settings, `z`
    /// compression.
    fn refusal(wishes: &str, version: &str) -> String {
        let wants = |wish| wishes.contains(wish);
        let request = CompressionRequest { method: "none".into(), detail: None };
        let options = BackupOptions {
            incremental: wants('i').then(|| "m".into()),
            target: wants('t').then(|| ServerTarget { name: "server".into(), detail: None }),
            recovery: wants('r').then(RecoveryOptions::default),
            compression: if wants('z') { Compression::Server(request) } else { Compression::None },
            ..BackupOptions::default()
        };
        let outcome = check_server(&options, ServerFeatures::of(&ServerVersion::parse(version)));
        outcome.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn bb_050_bb_056_to_058_what_old_servers_cannot_do() {
        for (wishes, version, expected) in [
            ("itrz", "14.23", INCREMENTAL),
            ("itr", "16.15", INCREMENTAL),
            ("i", "17.0", ""),
            ("trz", "14.23", TARGETS),
            ("t", "10.0", TARGETS),
            ("tz", "15.0", ""),
            ("tr", "15.0", RECOVERY),
            ("itrz", "18.0", RECOVERY),
            ("rz", "14.23", COMPRESSION),
            ("z", "15.0", ""),
            ("r", "10.0", ""),
            ("itz", "19devel", ""),
        ] {
            assert_eq!(refusal(wishes, version), expected, "{wishes} {version}");
        }
    }

    #[test]
    fn bb_055_servers_before_13_make_no_manifest() {
        let options = BackupOptions { manifest: ManifestRequest::ForceEncode, ..BackupOptions::default() };
        for (version, expected) in [("12.22", ManifestRequest::No), ("13.0", ManifestRequest::ForceEncode)] {
            let features = ServerFeatures::of(&ServerVersion::parse(version));
            assert_eq!(manifest_request(&options, features), expected, "{version}");
        }
    }
}
