//! The password file: lines `hostname:port:database:username:password`, the first that matches.
//!
//! A file that others could read is not used. Nothing is printed: what the user should know comes
//! back as a [`PassfileWarning`].

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::types::Password;

/// Why a password file was not used. The C tools print it on a line of its own after `WARNING: `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PassfileWarning {
    /// It is a directory, a pipe or a device (CN-078).
    #[error("password file \"{}\" is not a plain file", .0.display())]
    NotPlainFile(PathBuf),
    /// Its permissions let others in (CN-077).
    #[error("password file \"{}\" has group or world access; permissions should be u=rw (0600) or less", .0.display())]
    OthersHaveAccess(PathBuf),
}

/// What a line must match.
#[derive(Clone, Copy, Debug)]
pub(super) struct PassfileKey<'a> {
    pub(super) host: &'a str,
    pub(super) port: &'a str,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

/// A file with more bytes is no password file, and is not taken into memory.
const LARGEST: u64 = 64 << 20;

/// Looks the key up. A file that is missing or unreadable has no password (CN-079).
pub(super) fn look_up(path: &Path, key: PassfileKey<'_>) -> Result<Option<Password>, PassfileWarning> {
    let Some(mut file) = open(path)? else { return Ok(None) };
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    if size > LARGEST {
        return Ok(None);
    }
    // Room for all of it, so that reading leaves no copies behind in memory, where the size is known beforehand.
    let mut content = Zeroizing::new(Vec::with_capacity(size as usize + 1));
    match file.by_ref().take(LARGEST + 1).read_to_end(&mut content) {
        Ok(length) if length as u64 <= LARGEST => {}
        _ => return Ok(None),
    }
    Ok(find(&content, key).filter(|password| !password.is_empty()))
}

/// Opens the file if it is a plain one that is closed to others.
fn open(path: &Path) -> Result<Option<File>, PassfileWarning> {
    let Ok(metadata) = fs::metadata(path) else { return Ok(None) };
    if !metadata.is_file() {
        return Err(PassfileWarning::NotPlainFile(path.to_owned()));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(PassfileWarning::OthersHaveAccess(path.to_owned()));
    }
    // Should another file have taken its place since, it must neither block nor be read.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path).ok();
    let is_same = |opened: &File| {
        opened.metadata().is_ok_and(|now| (now.dev(), now.ino()) == (metadata.dev(), metadata.ino()))
    };
    Ok(file.filter(is_same))
}

pub(super) fn find(content: &[u8], key: PassfileKey<'_>) -> Option<Password> {
    content.split(|&byte| byte == b'\n').find_map(|line| password_of_line(line, key))
}

/// The password of a line that matches. What follows a fifth colon does not belong to it (CN-082).
fn password_of_line(line: &[u8], key: PassfileKey<'_>) -> Option<Password> {
    let is_comment = line.starts_with(b"#");
    // The protocol cannot carry a NUL byte, so such a line holds no password.
    if is_comment || line.contains(&0) {
        return None;
    }
    let end = line.iter().rposition(|&byte| byte != b'\r').map_or(0, |last| last + 1);
    let mut rest = &line[..end];
    for wanted in [key.host, key.port, key.database, key.user] {
        let (field, after) = split_field(rest);
        if field != b"*" && unescape(field).as_slice() != wanted.as_bytes() {
            return None;
        }
        rest = after?;
    }
    let (password, _) = split_field(rest);
    Some(Password::new(std::mem::take(&mut *unescape(password))))
}

/// A field as written, and what follows the colon that ends it, if one does.
fn split_field(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut bytes = text.iter().enumerate();
    while let Some((at, &byte)) = bytes.next() {
        match byte {
            b'\\' => _ = bytes.next(),
            b':' => return (&text[..at], Some(&text[at + 1..])),
            _ => {}
        }
    }
    (text, None)
}

/// Takes escapes away; a backslash at the end stands for itself (CN-081).
fn unescape(field: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut plain = Zeroizing::new(Vec::with_capacity(field.len()));
    let mut bytes = field.iter();
    while let Some(&byte) = bytes.next() {
        let escaped = if byte == b'\\' { bytes.next() } else { None };
        plain.push(*escaped.unwrap_or(&byte));
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    const KEY: PassfileKey<'static> =
        PassfileKey { host: "db", port: "5432", database: "replication", user: "me" };

    fn found(content: &str, key: PassfileKey<'_>) -> Option<String> {
        find(content.as_bytes(), key).map(|password| String::from_utf8(password.expose().to_vec()).unwrap())
    }

    #[test]
    fn cn_080_to_084_lines() {
        for (content, expected) in [
            ("", None),
            ("db:5432:replication:me:pw", Some("pw")),
            ("db:5432:replication:me:pw\r\n", Some("pw")),
            ("\n# db:5432:replication:me:no\ndb:5432:replication:me:pw\n", Some("pw")),
            ("#db:5432:replication:me:no", None),
            ("db:5432:replication:me:p#w", Some("p#w")),
            ("db:5432:replication:me:first\ndb:5432:replication:me:second", Some("first")),
            ("*:*:*:*:pw", Some("pw")),
            ("other:*:*:*:no\n*:*:*:me:pw", Some("pw")),
            ("d*:*:*:*:no", None),
            (r"\*:*:*:*:no", None),
            ("DB:5432:replication:me:no", None),
            ("db:05432:replication:me:no", None),
            ("db:5432:all:me:no", None),
            ("db:5432:replication:me:pw:rest", Some("pw")),
            (r"db:5432:replication:me:a\:b\\c\d:rest", Some(r"a:b\cd")),
            (r"db:5432:replication:me:a\", Some(r"a\")),
            (r"\d\b:5432:replication:me:pw", Some("pw")),
            ("db:5432:replication:me:", Some("")),
            ("db:5432:replication:me", None),
            ("db", None),
            ("db:5432:replication:me:pw\0rest", None),
            (" db:5432:replication:me:no", None),
            ("db:5432:replication:me: pw ", Some(" pw ")),
        ] {
            assert_eq!(found(content, KEY).as_deref(), expected, "{content:?}");
        }
    }

    #[test]
    fn cn_081_and_084_odd_names() {
        let key = PassfileKey { host: "::1", user: "a,b", ..KEY };
        assert_eq!(found(r"\:\:1:*:*:a,b:pw", key).as_deref(), Some("pw"));
        let star = PassfileKey { user: "*", ..KEY };
        assert_eq!(found(r"*:*:*:\*:pw", star).as_deref(), Some("pw"));
    }

    #[test]
    fn cn_083_long_lines() {
        let long = "x".repeat(100_000);
        let content = format!("#{long}\ndb:*:*:*:{long}\n");
        assert_eq!(found(&content, KEY), Some(long));
    }

    #[test]
    fn cn_077_to_079_files_that_are_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pgpass");
        assert_eq!(look_up(&path, KEY), Ok(None));

        fs::write(&path, "*:*:*:*:pw\n").unwrap();
        for mode in [0o640, 0o604, 0o610, 0o700 | 0o001] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let warning = look_up(&path, KEY).unwrap_err();
            assert_eq!(warning, PassfileWarning::OthersHaveAccess(path.clone()), "{mode:o}");
        }
        for mode in [0o600, 0o400, 0o700] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(look_up(&path, KEY), Ok(Some(Password::from("pw"))), "{mode:o}");
        }

        File::options().write(true).open(&path).unwrap().set_len(LARGEST + 1).unwrap();
        assert_eq!(look_up(&path, KEY), Ok(None));

        let warning = look_up(directory.path(), KEY).unwrap_err();
        let expected = format!("password file \"{}\" is not a plain file", directory.path().display());
        assert_eq!(warning.to_string(), expected);
        assert!(look_up(Path::new("/dev/null"), KEY).is_err());
    }

    #[test]
    fn cn_079_a_file_that_does_not_tell_its_size_is_read() {
        let mut process = Command::new("cat")
            .env("PASSWORD_FILE", "\n*:*:*:*:pw\n")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // While it is being started it has no environment yet.
        process.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        process.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let path = PathBuf::from(format!("/proc/{}/environ", process.id()));
        assert_eq!(path.metadata().unwrap().len(), 0);
        assert_eq!(look_up(&path, KEY), Ok(Some(Password::from("pw"))));
        drop(process.stdin.take());
        process.wait().unwrap();
    }

    fn escaped(field: &str) -> String {
        field.replace('\\', r"\\").replace(':', r"\:")
    }

    proptest! {
        #[test]
        fn cn_081_escaped_fields_come_back(
            host in "[^\n\r#\0][^\n\r\0]{0,9}", user in "[^\n\r\0]{1,9}", password in "[^\n\r\0]{1,9}",
        ) {
            let key = PassfileKey { host: &host, user: &user, ..KEY };
            let line = format!("{}:5432:*:{}:{}", escaped(&host), escaped(&user), escaped(&password));
            prop_assert_eq!(found(&line, key), Some(password));
        }

        #[test]
        fn any_bytes_give_an_answer(content: Vec<u8>) {
            let _ = find(&content, KEY);
        }
    }
}
