//! Base backups for tests: taken by the program under test or by the real one, unpacked, verified, compared.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::tree::{Entry, Kind, hexadecimal, snapshot};
use super::{Cluster, Installation, Personality, Run};

/// The files that name the moment at which a backup was taken.
///
/// `backup_label` has the position and the time of its start. `pg_control` has those of its checkpoint. The
/// manifest has the times and the checksums of both.
const NAMING_THE_MOMENT: [&str; 3] = ["backup_label", "pg_control", "backup_manifest"];

/// `pg_basebackup`: the program under test under that name, or the real one.
#[derive(Debug)]
pub struct BackupProgram {
    path: PathBuf,
    _personality: Option<Personality>,
}

impl BackupProgram {
    /// The program under test.
    pub fn ours() -> Self {
        let personality = Personality::named("pg_basebackup");
        Self { path: personality.path().to_owned(), _personality: Some(personality) }
    }

    /// The one that belongs to that server, in the newest release of its version.
    pub fn real(cluster: &Cluster) -> Self {
        Self::real_of(cluster.installation().major())
    }

    /// The one of that major version, or of another where it is installed without.
    pub fn real_of(major: u16) -> Self {
        Self { path: Installation::find(major).client_program("pg_basebackup"), _personality: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A backup of that server into `directory`, to which a test adds what it wants to know about.
    ///
    /// The server writes its checkpoint at once, so that no test waits for it.
    pub fn back_up(&self, cluster: &Cluster, directory: &Path) -> Run {
        Run::new(&self.path)
            .args(["--checkpoint=fast", "--dbname", &cluster.conninfo(), "--pgdata"])
            .arg(directory)
    }
}

/// Checks a backup in plain format with the program of that version.
#[track_caller]
pub fn verify(installation: &Installation, directory: &Path, options: &[&str]) {
    Run::new(installation.program("pg_verifybackup")).args(options).arg(directory).run().expect_success();
}

/// Checks a backup in plain format as far as there is something to check it by: servers before 13 make no manifest.
///
/// Version 13 is installed without the program; that of another version can read its manifest, but not its WAL.
#[track_caller]
pub fn verify_if_possible(server: &Installation, directory: &Path, options: &[&str]) {
    match server.major() {
        ..13 => assert!(!directory.join("backup_manifest").exists()),
        13 => verify(&Installation::find(14), directory, &["--no-parse-wal"]),
        14.. => verify(server, directory, options),
    }
}

/// Checks a backup in tar format as it is.
///
/// Only the program of version 18 knows how. It takes the `pg_control` of 17 for one of its own version, which it
/// is not; of older servers it does not look into that file.
#[track_caller]
pub fn verify_archives(server: &Installation, directory: &Path) {
    if server.major() != 17 {
        verify(&Installation::find(18), directory, &["--no-parse-wal", "--format=tar"]);
    }
}

/// Unpacks a backup in tar format into a data directory as `tar` does, each tablespace into a directory
/// beside it.
pub fn unpack(archives: &Path, data_directory: &Path) {
    unpack_archive(&archives.join("base.tar"), data_directory);
    let wal = archives.join("pg_wal.tar");
    if wal.exists() {
        unpack_archive(&wal, &data_directory.join("pg_wal"));
    }
    let manifest = archives.join("backup_manifest");
    if manifest.exists() {
        fs::copy(manifest, data_directory.join("backup_manifest")).unwrap();
    }
    for oid in tablespace_archives(archives) {
        let location = tablespace_location(data_directory, &oid);
        unpack_archive(&archives.join(format!("{oid}.tar")), &location);
        symlink(&location, data_directory.join("pg_tblspc").join(&oid)).unwrap();
    }
}

/// Makes the server look for the tablespaces where [`unpack`] has put them. The map then no longer is what
/// the manifest says.
pub fn redirect_tablespace_map(data_directory: &Path) {
    let path = data_directory.join("tablespace_map");
    let map = fs::read_to_string(&path).unwrap();
    let oids = map.lines().map(|line| line.split_once(' ').unwrap().0);
    let redirected: String = oids
        .map(|oid| format!("{oid} {}\n", tablespace_location(data_directory, oid).display()))
        .collect::<Vec<_>>()
        .concat();
    fs::write(path, redirected).unwrap();
}

fn tablespace_location(data_directory: &Path, oid: &str) -> PathBuf {
    data_directory.with_file_name(format!("tablespace-{oid}"))
}

/// The OIDs of the tablespaces whose archives lie there.
pub fn tablespace_archives(archives: &Path) -> Vec<String> {
    let names = file_names(archives);
    let oids = names.iter().filter_map(|name| name.strip_suffix(".tar"));
    oids.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).map(str::to_owned).collect()
}

fn unpack_archive(archive: &Path, directory: &Path) {
    if !directory.exists() {
        // A server wants its data directory to itself.
        DirBuilder::new().mode(0o700).create(directory).unwrap();
    }
    Run::new("/bin/tar")
        .args(["-x".as_ref(), "-p".as_ref(), "-f".as_ref(), archive.as_os_str()])
        .args(["-C".as_ref(), directory.as_os_str()])
        .run()
        .expect_success();
}

/// The names of what lies in a directory, in order.
pub fn file_names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What lies below `root`, where a backup and its tablespaces are, without what names the moment: what is left
/// is the same for all backups of a server at which nothing happens.
///
/// WAL does not count, since each backup starts another segment. Links into `root` become relative to it.
pub fn timeless_entries(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let entries = snapshot(root).into_iter().filter(|(path, _)| !is_wal(path));
    entries
        .map(|(path, mut entry)| {
            match &mut entry.kind {
                Kind::File { size, sha256 } if names_the_moment(&path) => (*size, *sha256) = (0, [0; 32]),
                Kind::Link { target } => {
                    if let Ok(below) = target.strip_prefix(root) {
                        *target = below.to_owned();
                    }
                }
                _ => {}
            }
            (path, entry)
        })
        .collect()
}

fn names_the_moment(path: &Path) -> bool {
    NAMING_THE_MOMENT.map(OsStr::new).contains(&path.file_name().unwrap())
}

/// A segment, or the file that says that it needs no archiving.
fn is_wal(path: &Path) -> bool {
    is_segment_name(&path.file_stem().unwrap().to_string_lossy())
}

/// Whether this is the name of a WAL segment.
pub fn is_segment_name(name: &str) -> bool {
    name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The lines of the manifest about the files that do not name the moment, in order and without their times.
pub fn timeless_manifest(directory: &Path) -> Vec<String> {
    let manifest = manifest(directory);
    let files = manifest["Files"].as_array().unwrap().iter();
    let mut lines: Vec<String> = files
        .filter(|file| !names_the_moment(Path::new(file["Path"].as_str().unwrap())))
        .map(|file| {
            let mut file = file.clone();
            file.as_object_mut().unwrap().remove("Last-Modified");
            file.to_string()
        })
        .collect();
    lines.sort();
    lines
}

/// The manifest of a backup.
pub fn manifest(directory: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(directory.join("backup_manifest")).unwrap()).unwrap()
}

/// Start and end of the WAL that a backup needs, as its manifest says.
pub fn wal_range(directory: &Path) -> (String, String) {
    let manifest = manifest(directory);
    let range = &manifest["WAL-Ranges"][0];
    ["Start-LSN", "End-LSN"].map(|key| range[key].as_str().unwrap().to_owned()).into()
}

/// One line for each member of a tar archive, in its order: everything that its header says but the time, and
/// the checksum of its data. Of files that name the moment, neither size nor checksum.
pub fn members(archive: &Path) -> Vec<String> {
    let mut archive = tar::Archive::new(File::open(archive).unwrap());
    let entries = archive.entries().unwrap().raw(true);
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut data = Vec::new();
            entry.read_to_end(&mut data).unwrap();
            let header = entry.header();
            let path = entry.path().unwrap();
            let content = if names_the_moment(&path) {
                "a moment".to_owned()
            } else {
                format!("{} bytes {}", data.len(), hexadecimal(&Sha256::digest(&data)[..8]))
            };
            format!(
                "{} {:?} mode {:04o} owner {}:{} {}:{} link {} {content}",
                path.display(),
                header.entry_type(),
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.gid().unwrap(),
                header.username().unwrap().unwrap_or_default(),
                header.groupname().unwrap().unwrap_or_default(),
                entry.link_name().unwrap().unwrap_or_default().display(),
            )
        })
        .collect()
}

/// The lines of a text, with `X/X` for each position and `N` for the number of a temporary slot.
pub fn timeless_text(text: &str) -> Vec<String> {
    const SLOT: &str = "pg_basebackup_";
    let timeless_word = |word: &str| match word.split_once(SLOT) {
        Some((before, after)) => {
            format!("{before}{SLOT}N{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        None if is_position(word) => "X/X".to_owned(),
        None => word.to_owned(),
    };
    text.lines().map(|line| line.split(' ').map(timeless_word).collect::<Vec<_>>().join(" ")).collect()
}

fn is_position(word: &str) -> bool {
    let is_hexadecimal = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    word.split_once('/')
        .is_some_and(|(high, low)| is_hexadecimal(high) && is_hexadecimal(low) && low.len() > 6)
}
