//! The manifest of the backup that an incremental one refers to, on its way to the server.
//!
//! In: the path of the file. Out: its bytes, sent in pieces, without the files of visibility maps. Memory does
//! not grow with the manifest, which is read once and so may come from a pipe.
//!
//! The server then knows nothing of earlier visibility maps and sends each of them whole. What it knows of
//! their changes cannot be relied on: WAL of servers up to 17.10 and up to 18.4 does not say where bits are
//! cleared, and that of all releases up to 17.11 and 18.6 does not say, without checksums or `wal_log_hints`,
//! which bits a truncation clears. An increment that leaves such a block out brings back bits that say of
//! changed pages that everybody sees all of their rows. Summaries that one of these releases wrote stay when
//! the server is updated, so its version says nothing; and a map is a 32768th part of its table.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::error::BackupError;
use crate::client::ReplicationClient;
use crate::manifest::{FileEntry, ManifestFilter};
use crate::types::OsError;

/// How much is read, and sent in one message.
const PIECE: usize = 64 << 10;

/// Gives the manifest in the file to the server, which keeps it for the next backup (BB-112).
///
/// The file is read on threads made for that: whoever writes into a pipe may take its time, and a run that waits for
/// it can be cancelled.
///
/// # Errors
/// A manifest that is not sound goes to the server as it is, because its refusal is what people know; should
/// it take such a manifest all the same, the fault is the error.
pub(super) async fn upload(path: &Path, client: &mut ReplicationClient) -> Result<(), BackupError> {
    let unreadable = |error| BackupError::ReadReferenceManifest { path: path.into(), source: OsError(error) };
    let name = path.to_owned();
    let mut file = elsewhere(move || File::open(name))
        .await?
        .map_err(|error| BackupError::OpenReferenceManifest { path: path.into(), source: OsError(error) })?;
    let mut upload = client.upload_manifest().await?;
    let mut filter = ManifestFilter::new(|file| !is_visibility_map(file));
    let (mut piece, mut out) = (vec![0; PIECE], Vec::new());
    loop {
        let length;
        (file, piece, length) = elsewhere(move || {
            let length = read(&mut file, &mut piece);
            (file, piece, length)
        })
        .await?;
        let length = length.map_err(unreadable)?;
        if length == 0 {
            break;
        }
        filter.push(&piece[..length], &mut out);
        if out.len() >= PIECE {
            upload.send(&out).await?;
            out.clear();
        }
    }
    let verdict = filter.finish(&mut out);
    upload.send(&out).await?;
    upload.finish().await?;
    verdict.map_err(|source| BackupError::UnsoundReferenceManifest { path: path.into(), source })
}

/// Does what may block.
async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, BackupError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| BackupError::ThreadDied)
}

fn read(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Whether this is a segment of a visibility map, whole or as an increment: `base/5/16384_vm`,
/// `base/5/INCREMENTAL.16384_vm.1`.
fn is_visibility_map(file: &FileEntry) -> bool {
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let name = file.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let name = name.strip_prefix(b"INCREMENTAL.").unwrap_or(name);
    let (fork, segment) = match name.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&name[..dot], Some(&name[dot + 1..])),
        None => (name, None),
    };
    fork.strip_suffix(b"_vm").is_some_and(is_number) && segment.is_none_or(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Checksum;

    #[test]
    fn bb_112_files_of_visibility_maps() {
        let is_map = |path: &str| {
            is_visibility_map(&FileEntry { path: path.into(), size: 0, checksum: Checksum::NONE })
        };
        for path in [
            "base/5/16384_vm",
            "base/5/16384_vm.1",
            "base/5/INCREMENTAL.16384_vm",
            "base/5/INCREMENTAL.16384_vm.12",
            "global/1262_vm",
            "pg_tblspc/16388/PG_18_202506291/5/16390_vm",
            "pg_tblspc/16388/PG_18_202506291/5/INCREMENTAL.16390_vm",
        ] {
            assert!(is_map(path), "{path}");
        }
        for path in [
            "",
            "base/5/16384",
            "base/5/16384.1",
            "base/5/16384_fsm",
            "base/5/16384_init",
            "base/5/INCREMENTAL.16384",
            "base/5/_vm",
            "base/5/x_vm",
            "base/5/16384_vm.",
            "base/5/16384_vm.x",
            "base/5/16384_vm.1.2",
            "base/16384_vm/5",
        ] {
            assert!(!is_map(path), "{path}");
        }
    }
}
