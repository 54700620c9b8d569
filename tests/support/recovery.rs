//! Recovery of a base backup from the directory of a WAL receiver.

use std::fs::{self, File};
use std::path::Path;

use super::{Cluster, ServerAccount};

/// Arguments: the archive, the size of segments, the name that the server asks for, the path where it wants it. What is
/// partial becomes a segment with zeros at its end.
const RESTORE: &str = r#"
archived=$1/$3
if [ -f "$archived" ]; then exec cp "$archived" "$4"; fi
if [ -f "$archived.gz" ]; then exec gzip -dc <"$archived.gz" >"$4"; fi
if [ -f "$archived.lz4" ]; then exec lz4 -dcq <"$archived.lz4" >"$4"; fi
if [ -f "$archived.zst" ]; then exec zstd -dcq <"$archived.zst" >"$4"; fi
if [ -f "$archived.partial" ]; then cp "$archived.partial" "$4"
elif [ -f "$archived.gz.partial" ]; then gzip -dc <"$archived.gz.partial" >"$4"
elif [ -f "$archived.lz4.partial" ]; then lz4 -dcq <"$archived.lz4.partial" >"$4"
elif [ -f "$archived.zst.partial" ]; then zstd -dcq <"$archived.zst.partial" >"$4"
else exit 1
fi
truncate -s "$2" "$4"
"#;

/// Starts a server on the backup, which recovers everything there is in the archive and becomes a primary.
#[track_caller]
pub fn recover(major: u16, backup: &Path, archive: &Path, segment_size: u64) -> Cluster {
    let script = archive.with_extension("sh");
    fs::write(&script, RESTORE).unwrap();
    File::create(backup.join("recovery.signal")).unwrap();
    let account = ServerAccount::current();
    account.own(archive);
    account.own(&script);
    let command = format!("sh {} {} {segment_size} %f %p", script.display(), archive.display());
    let cluster = Cluster::existing(major, backup).setting("restore_command", &command).start();
    super::wait_for("the end of recovery", super::DEADLINE, || !cluster.is_in_recovery());
    cluster
}
