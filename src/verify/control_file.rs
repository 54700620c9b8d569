//! The control file: that it is whole, and of the right cluster (BB-225).
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | system identifier |
//! | 8 | 4 | version of the layout |
//! | 288 (17), 292 (18) | 4 | CRC-32C of everything before it |
//!
//! All in the byte order of the server's machine, which is that of the machine that verifies.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::types::{Crc32c, OsError, SystemId};

/// The path of the control file in a backup.
pub(super) const CONTROL_FILE: &[u8] = b"global/pg_control";

/// The bytes that count; the rest of the file is zero.
pub(super) const CONTROL_DATA_LEN: usize = 296;

/// The versions of the layout that come with manifests of version 2, with the place of their CRC.
const LAYOUTS: [(u32, usize); 2] = [(1700, 288), (1800, 292)];

/// What is wrong with a control file. It begins with the file, and the archive that it is in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlFileFault {
    /// It cannot be opened.
    #[error("could not open file \"{place}\" for reading")]
    Open {
        /// The file.
        place: ControlFilePlace,
        /// The reason.
        source: OsError,
    },
    /// It cannot be read.
    #[error("could not read file \"{place}\"")]
    Read {
        /// The file.
        place: ControlFilePlace,
        /// The reason.
        source: OsError,
    },
    /// It is too short.
    #[error("could not read file \"{place}\": read {len} of {CONTROL_DATA_LEN}")]
    TooShort {
        /// The file.
        place: ControlFilePlace,
        /// The bytes that are there.
        len: usize,
    },
    /// It is damaged.
    #[error("{place}: CRC is incorrect")]
    Crc {
        /// The file.
        place: ControlFilePlace,
    },
    /// Its layout is one that nothing is known of.
    #[error("{place}: unexpected control file version")]
    Version {
        /// The file.
        place: ControlFilePlace,
    },
    /// It is of another cluster than the manifest.
    #[error("{place}: manifest system identifier is {manifest}, but control file has {control}")]
    SystemIdentifier {
        /// The file.
        place: ControlFilePlace,
        /// The identifier in the manifest.
        manifest: SystemId,
        /// The identifier in the control file.
        control: SystemId,
    },
}

/// Where a control file is: a path, or an archive and a path in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlFilePlace {
    pub(super) archive: Option<PathBuf>,
    pub(super) path: PathBuf,
}

impl fmt::Display for ControlFilePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(archive) = &self.archive {
            write!(f, "{}: ", archive.display())?;
        }
        self.path.display().fmt(f)
    }
}

/// Checks the control file at that path.
pub(super) fn check_file(path: &Path, expected: SystemId) -> Result<(), ControlFileFault> {
    let place = ControlFilePlace { archive: None, path: path.to_owned() };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(source) => return Err(ControlFileFault::Open { place, source: source.into() }),
    };
    let mut data = Vec::with_capacity(CONTROL_DATA_LEN);
    if let Err(source) = file.take(CONTROL_DATA_LEN as u64).read_to_end(&mut data) {
        return Err(ControlFileFault::Read { place, source: source.into() });
    }
    check(&data, place, expected)
}

/// Checks the first [`CONTROL_DATA_LEN`] bytes of a control file.
pub(super) fn check(
    data: &[u8],
    place: ControlFilePlace,
    expected: SystemId,
) -> Result<(), ControlFileFault> {
    let Some(data) = data.first_chunk::<CONTROL_DATA_LEN>() else {
        return Err(ControlFileFault::TooShort { place, len: data.len() });
    };
    let number = |at: usize| u32::from_ne_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
    let crc_is_at = |at: usize| Crc32c::of(&data[..at]) == number(at);
    let version = number(8);
    match LAYOUTS.iter().find(|(known, _)| *known == version) {
        Some((_, at)) if crc_is_at(*at) => {}
        // A version that nobody has written is damage.
        None if LAYOUTS.iter().any(|(_, at)| crc_is_at(*at)) => {
            return Err(ControlFileFault::Version { place });
        }
        _ => return Err(ControlFileFault::Crc { place }),
    }
    let mut identifier = [0; 8];
    identifier.copy_from_slice(&data[..8]);
    let control = SystemId::new(u64::from_ne_bytes(identifier));
    if control == expected {
        Ok(())
    } else {
        Err(ControlFileFault::SystemIdentifier { place, manifest: expected, control })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control_data(version: u32, crc_at: usize) -> [u8; CONTROL_DATA_LEN] {
        let mut data = [7; CONTROL_DATA_LEN];
        data[..8].copy_from_slice(&5_u64.to_ne_bytes());
        data[8..12].copy_from_slice(&version.to_ne_bytes());
        let crc = crc32c::crc32c(&data[..crc_at]);
        data[crc_at..crc_at + 4].copy_from_slice(&crc.to_ne_bytes());
        data
    }

    fn outcome(data: &[u8], expected: u64) -> Result<(), String> {
        let place = ControlFilePlace { archive: None, path: "d/global/pg_control".into() };
        check(data, place, SystemId::new(expected)).map_err(|fault| fault.to_string())
    }

    #[test]
    fn bb_225_layouts_of_17_and_18() {
        for (version, crc_at) in LAYOUTS {
            let mut data = control_data(version, crc_at);
            assert_eq!(outcome(&data, 5), Ok(()));
            let other = "d/global/pg_control: manifest system identifier is 6, but control file has 5";
            assert_eq!(outcome(&data, 6), Err(other.to_owned()));
            for at in 0..crc_at + 4 {
                data[at] ^= 1;
                assert_eq!(
                    outcome(&data, 5),
                    Err("d/global/pg_control: CRC is incorrect".to_owned()),
                    "{at}"
                );
                data[at] ^= 1;
            }
        }
    }

    #[test]
    fn bb_225_other_layouts() {
        for crc_at in [288, 292] {
            let unexpected = "d/global/pg_control: unexpected control file version".to_owned();
            assert_eq!(outcome(&control_data(1900, crc_at), 5), Err(unexpected));
        }
        let damaged = "d/global/pg_control: CRC is incorrect".to_owned();
        assert_eq!(outcome(&control_data(1900, 280), 5), Err(damaged.clone()));
        assert_eq!(outcome(&control_data(1800, 288), 5), Err(damaged));
        let short = "could not read file \"d/global/pg_control\": read 100 of 296".to_owned();
        assert_eq!(outcome(&control_data(1800, 292)[..100], 5), Err(short));
    }

    #[test]
    fn bb_225_in_an_archive() {
        let place = ControlFilePlace { archive: Some("base.tar".into()), path: "global/pg_control".into() };
        let fault = check(&[0; CONTROL_DATA_LEN], place, SystemId::new(1)).unwrap_err();
        assert_eq!(fault.to_string(), "base.tar: global/pg_control: CRC is incorrect");
    }
}
