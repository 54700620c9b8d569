//! The users of the operating system, as its name service knows them: from `/etc/passwd`, LDAP or any other
//! source that the system is set up for.

use std::io;
use std::path::PathBuf;

use nix::unistd::{Uid, User};

/// The two facts about a user that connections need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalUser {
    /// The name.
    pub(crate) name: String,
    /// The home directory.
    pub(crate) home: PathBuf,
}

impl LocalUser {
    /// The entry of the user with that id, if there is one. An error says that nobody could be asked.
    pub(crate) fn with_id(uid: u32) -> io::Result<Option<Self>> {
        let user = User::from_uid(Uid::from_raw(uid))?;
        Ok(user.map(|user| Self { name: user.name, home: user.dir }))
    }
}

/// The id that counts for access, whatever `$USER` says (CN-003).
pub(crate) fn effective_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What the system's own program for such questions says.
    fn of_getent(uid: u32) -> Option<LocalUser> {
        let output = Command::new("getent").args(["passwd", &uid.to_string()]).output().unwrap();
        let line = String::from_utf8(output.stdout).unwrap();
        let fields: Vec<&str> = line.split(':').collect();
        let &[name, _, _, _, _, home, ..] = fields.as_slice() else { return None };
        Some(LocalUser { name: name.to_owned(), home: home.into() })
    }

    #[test]
    fn cn_003_and_009_the_name_service_is_asked() {
        assert_eq!(LocalUser::with_id(0).unwrap().unwrap().name, "root");
        for uid in [0, 1, effective_id(), 4_000_000_000] {
            assert_eq!(LocalUser::with_id(uid).unwrap(), of_getent(uid), "{uid}");
        }
    }
}
