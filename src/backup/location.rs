use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::protocol::Tablespace;

/// Where an archive's contents lie on the server, and so where they belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveLocation {
    /// The main data directory.
    Main,
    /// A tablespace at an absolute path of the server.
    Tablespace {
        /// The tablespace's OID.
        oid: u32,
        /// Its directory on the server.
        path: PathBuf,
    },
    /// A tablespace inside the data directory, at `pg_tblspc/OID`.
    InPlaceTablespace {
        /// The tablespace's OID.
        oid: u32,
    },
}

impl ArchiveLocation {
    /// The tablespace's OID; none for the main data directory.
    pub fn oid(&self) -> Option<u32> {
        match self {
            Self::Main => None,
            Self::Tablespace { oid, .. } | Self::InPlaceTablespace { oid } => Some(*oid),
        }
    }
}

/// A server names a place for a tablespace that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLocation {
    /// A relative path that is not the one of a tablespace inside the data directory.
    #[error("tablespace {oid} has an unsafe location: \"{}\"", .path.display())]
    UnsafePath {
        /// The tablespace's OID.
        oid: u32,
        /// The path.
        path: PathBuf,
    },
    /// An archive of a tablespace that is not in the list that the server sent before.
    #[error("server sent an archive for a tablespace that is not part of the backup: \"{}\"", .0.display())]
    Unannounced(PathBuf),
}

impl ArchiveLocation {
    /// Reads the location of a tablespace from the server's list.
    pub fn of(tablespace: &Tablespace) -> Result<Self, InvalidLocation> {
        let Some(oid) = tablespace.oid else { return Ok(Self::Main) };
        let path = Path::new(OsStr::from_bytes(&tablespace.location));
        if path.is_absolute() {
            Ok(Self::Tablespace { oid, path: path.to_owned() })
        } else if path == Path::new("pg_tblspc").join(oid.to_string()) {
            Ok(Self::InPlaceTablespace { oid })
        } else {
            Err(InvalidLocation::UnsafePath { oid, path: path.to_owned() })
        }
    }

    /// The location that an archive of the stream has: one that the server announced.
    pub fn of_archive(path: &[u8], announced: &[Tablespace]) -> Result<Self, InvalidLocation> {
        if path.is_empty() {
            return Ok(Self::Main);
        }
        announced
            .iter()
            .find(|tablespace| tablespace.oid.is_some() && tablespace.location == path)
            .map_or_else(|| Err(InvalidLocation::Unannounced(OsStr::from_bytes(path).into())), Self::of)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn tablespace(oid: Option<u32>, location: &'static str) -> Tablespace {
        Tablespace { oid, location: Bytes::from_static(location.as_bytes()), size: 0 }
    }

    #[test]
    fn bb_129_locations_of_tablespaces() {
        assert_eq!(ArchiveLocation::of(&tablespace(None, "")), Ok(ArchiveLocation::Main));
        let absolute = ArchiveLocation::of(&tablespace(Some(5), "/srv/ts")).unwrap();
        assert_eq!(absolute, ArchiveLocation::Tablespace { oid: 5, path: "/srv/ts".into() });
        let in_place = ArchiveLocation::of(&tablespace(Some(5), "pg_tblspc/5"));
        assert_eq!(in_place, Ok(ArchiveLocation::InPlaceTablespace { oid: 5 }));
        for location in ["", "pg_tblspc/6", "../x", "pg_tblspc/../../x", "x"] {
            assert!(ArchiveLocation::of(&tablespace(Some(5), location)).is_err(), "{location}");
        }
    }

    #[test]
    fn an_archive_of_a_tablespace_that_was_not_announced_is_refused() {
        let announced = [tablespace(Some(5), "/srv/ts"), tablespace(None, "")];
        assert_eq!(ArchiveLocation::of_archive(b"", &announced), Ok(ArchiveLocation::Main));
        assert_eq!(ArchiveLocation::of_archive(b"/srv/ts", &announced).unwrap().oid(), Some(5));
        assert!(ArchiveLocation::of_archive(b"/etc", &announced).is_err());
    }
}
