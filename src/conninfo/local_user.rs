//! The user of the operating system who runs this process, as `/etc/passwd` has it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::{fs, io};

const USER_LIST: &str = "/etc/passwd";

/// The two facts about a user that connections need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalUser {
    /// The name as bytes, which need not be UTF-8.
    pub(crate) name: Vec<u8>,
    /// The home directory.
    pub(crate) home: PathBuf,
}

impl LocalUser {
    /// The entry of the user with that id, if there is one.
    pub(crate) fn with_id(uid: u32) -> io::Result<Option<Self>> {
        Ok(find(&fs::read(USER_LIST)?, uid))
    }
}

/// The id that counts for access, whatever `$USER` says (CN-003).
pub(super) fn effective_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Finds the first line `name:password:uid:gid:comment:home:shell` with that id.
fn find(user_list: &[u8], uid: u32) -> Option<LocalUser> {
    user_list.split(|&byte| byte == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
        let &[name, _, id, _, _, home, ..] = fields.as_slice() else { return None };
        let id: u32 = str::from_utf8(id).ok()?.parse().ok()?;
        let home = PathBuf::from(OsString::from_vec(home.to_vec()));
        (id == uid && !name.is_empty()).then(|| LocalUser { name: name.to_vec(), home })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn_003_and_009_entries() {
        let list = b"root:x:0:0:root:/root:/bin/bash\n# comment\n+nis::::::\nbroken:x:7\n\
            pg:x:101:101::/var/lib/pg:/bin/sh\nsecond:x:101:1::/else:/bin/sh\n";
        let user = |name: &str, home: &str| LocalUser { name: name.into(), home: home.into() };
        assert_eq!(find(list, 0), Some(user("root", "/root")));
        assert_eq!(find(list, 101), Some(user("pg", "/var/lib/pg")));
        assert_eq!(find(list, 7), None);
        assert_eq!(find(list, 4242), None);
        assert_eq!(find(b"", 0), None);
    }
}
