//! The keys of a connection, for those who want to read its records.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openssl::ssl::SslContextBuilder;
use zeroize::Zeroizing;

use super::super::notice::{Notice, NoticeHandler};
use crate::types::OsError;

/// Only the owner may read the file.
const MODE: u32 = 0o600;

/// Has the keys appended to the file, in the format of NSS. A failure is a notice, once for each connection
/// (CN-188).
pub(super) fn configure(context: &mut SslContextBuilder, path: &Path, notices: &NoticeHandler) {
    let opened = open(path);
    let (path, notices) = (path.to_owned(), Arc::clone(notices));
    let warn = move |action, error| {
        let reason = OsError(error).to_string();
        notices(&Notice::KeyLogFile { action, file: path.clone(), reason });
    };
    let file = match opened {
        Ok(file) => file,
        Err(error) => return warn("open", error),
    };
    let has_failed = AtomicBool::new(false);
    context.set_keylog_callback(move |_, line| {
        if let Err(error) = append(&file, line)
            && !has_failed.swap(true, Ordering::Relaxed)
        {
            warn("write to", error);
        }
    });
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}

/// One write for each line, so that connections can share the file.
fn append(mut file: &File, line: &str) -> io::Result<()> {
    let mut text = Zeroizing::new(String::with_capacity(line.len() + 1));
    text.push_str(line);
    text.push('\n');
    file.write_all(text.as_bytes())
}
