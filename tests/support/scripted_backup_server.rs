//! A server that sends a backup as a test has written it, true or false.
//!
//! In comes a [`Session`]: everything that the server says, message by message, up to the end of the session or
//! to where it is cut off. [`Member`]s and [`manifest`] make the
//! contents; a whole true backup is [`Session::honest`].

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use sha2::{Digest, Sha256};

use super::tree::hexadecimal;
use super::wait::DEADLINE;

pub const SYSTEM_IDENTIFIER: &str = "7000000000000000001";
pub const START: &str = "0/2000028";
pub const END: &str = "0/2000100";

/// One thing that happens in a session.
#[derive(Clone, Debug)]
pub enum Step {
    /// The client says something.
    Await,
    /// The server sends this message.
    Say(Vec<u8>),
    /// The server sends this message so many times, or until the client leaves.
    SayOften(Vec<u8>, usize),
}

/// What a server says from the start of a connection to its end.
#[derive(Clone, Debug)]
pub struct Session {
    /// What the server says that its version is.
    pub version: &'static str,
    /// OID and location of each tablespace but the main one.
    pub tablespaces: Vec<(u32, String)>,
    /// What the server copies out, message by message.
    pub payloads: Vec<Vec<u8>>,
    /// All that happens on the first connection, where it is not what the other fields say.
    pub first_connection: Option<Vec<Step>>,
    /// What comes in place of the end of the copy and of what follows it.
    pub instead_of_end: Option<Vec<Step>>,
    /// What happens on the second connection and later ones; without this, the same as on the first.
    pub second_connection: Option<Vec<Step>>,
}

/// A file of a backup: its path and what it holds.
pub type ContentFile = (&'static str, &'static [u8]);

pub const FILES: [ContentFile; 5] = [
    ("backup_label", b"START WAL LOCATION: 0/2000028\n"),
    ("PG_VERSION", b"15\n"),
    ("base/1/empty", b""),
    ("base/1/1259", &[7; 3000]),
    ("global/pg_control", &[9; 8192]),
];

impl Session {
    /// A backup of two directories and [`FILES`], with a manifest that describes it.
    pub fn honest() -> Self {
        Self::new(&honest_members(), &manifest(&FILES, "", START, END))
    }

    /// A backup with these members in the main archive, and that manifest.
    pub fn new(members: &[Member], manifest: &[u8]) -> Self {
        Self::of_archive(&archive(members), manifest)
    }

    /// A backup with that main archive, and that manifest.
    pub fn of_archive(archive: &[u8], manifest: &[u8]) -> Self {
        Self::of_archive_named("base.tar", archive, manifest)
    }

    /// The same, with another name for the archive.
    pub fn of_archive_named(name: &str, archive: &[u8], manifest: &[u8]) -> Self {
        let mut payloads = vec![new_archive(name, "")];
        payloads.extend(archive.chunks(1500).map(data));
        payloads.extend([progress(archive.len() as u64), vec![b'm']]);
        payloads.extend(manifest.chunks(100).map(data));
        Self::of_payloads(payloads)
    }

    /// A session that copies exactly these messages.
    pub fn of_payloads(payloads: Vec<Vec<u8>>) -> Self {
        Self {
            version: "15.18",
            tablespaces: Vec::new(),
            payloads,
            first_connection: None,
            instead_of_end: None,
            second_connection: None,
        }
    }

    /// The same backup as a server of version 12 sends it: an archive without its end in a copy of its own, and no
    /// manifest.
    pub fn honest_of_12() -> Self {
        let members: Vec<u8> = honest_members().iter().flat_map(Member::to_bytes).collect();
        let payloads = members.chunks(1500).map(<[u8]>::to_vec).collect();
        Self { version: "12.22", ..Self::of_payloads(payloads) }
    }

    /// The same as a server of version 14 sends it: the manifest comes in a second copy.
    pub fn honest_of_14() -> Self {
        let manifest = manifest(&FILES, "", START, END);
        let said = manifest.chunks(100).map(|chunk| message(b'd', chunk));
        let mut end = vec![Step::Say(message(b'c', b"")), Step::Say(message(b'H', &[0, 0, 0]))];
        end.extend(said.map(Step::Say));
        end.extend(honest_end());
        Self { version: "14.23", instead_of_end: Some(end), ..Self::honest_of_12() }
    }

    /// All that happens on the first connection, in order.
    pub fn steps(&self) -> Vec<Step> {
        if let Some(steps) = &self.first_connection {
            return steps.clone();
        }
        let mut steps = welcome(self.version);
        for answer in [&["0700"][..], &["16MB"], &[SYSTEM_IDENTIFIER, "1", START]] {
            steps.extend(answered(answer));
        }
        steps.push(Step::Await);
        steps.extend(rows(&[vec![Some(START), Some("1")]]).map(Step::Say));
        let oids: Vec<String> = self.tablespaces.iter().map(|(oid, _)| oid.to_string()).collect();
        let mut list: Vec<Vec<Option<&str>>> = oids
            .iter()
            .zip(&self.tablespaces)
            .map(|(oid, (_, location))| vec![Some(oid.as_str()), Some(location.as_str()), Some("1")])
            .collect();
        list.push(vec![None, None, Some("20")]);
        steps.extend(rows(&list).map(Step::Say));
        steps.push(Step::Say(message(b'H', &[0, 0, 0])));
        steps.extend(self.payloads.iter().map(|payload| Step::Say(message(b'd', payload))));
        steps.extend(self.instead_of_end.clone().unwrap_or_else(honest_end));
        steps
    }
}

/// The start of a session.
pub fn welcome(version: &str) -> Vec<Step> {
    let said = [
        message(b'R', &[0; 4]),
        message(b'S', format!("server_version\0{version}\0").as_bytes()),
        message(b'S', b"integer_datetimes\0on\0"),
        message(b'K', &[0, 0, 0, 7, 1, 2, 3, 4]),
        message(b'Z', b"I"),
    ];
    std::iter::once(Step::Await).chain(said.map(Step::Say)).collect()
}

/// A command that is answered with one row.
pub fn answered(values: &[&str]) -> Vec<Step> {
    let mut steps = vec![Step::Await];
    steps.extend(rows(&[values.iter().copied().map(Some).collect()]).map(Step::Say));
    steps.push(Step::Say(message(b'Z', b"I")));
    steps
}

/// The same, where each command is completed with this tag.
pub fn with_completion_tag(steps: Vec<Step>, tag: &str) -> Vec<Step> {
    let completed = message(b'C', format!("{tag}\0").as_bytes());
    let tagged = steps.into_iter().map(|step| match step {
        Step::Say(said) if said[0] == b'C' => Step::Say(completed.clone()),
        step => step,
    });
    tagged.collect()
}

/// The end of the copy, where the backup ends, and the completion of the command.
pub fn honest_end() -> Vec<Step> {
    let mut steps = vec![Step::Say(message(b'c', b""))];
    steps.extend(rows(&[vec![Some(END), Some("1")]]).map(Step::Say));
    steps.push(Step::Say(message(b'C', b"BASE_BACKUP\0")));
    steps.push(Step::Say(message(b'Z', b"I")));
    steps
}

/// One message of the protocol.
pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

/// An error of the server.
pub fn error(severity: &str, sqlstate: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("S{severity}\0V{severity}\0C{sqlstate}\0M{text}\0\0").as_bytes())
}

/// A result: its description, its rows, its completion.
pub fn rows(rows: &[Vec<Option<&str>>]) -> impl Iterator<Item = Vec<u8>> + use<> {
    let columns = u16::try_from(rows[0].len()).unwrap().to_be_bytes();
    let mut description = columns.to_vec();
    for _ in &rows[0] {
        description.extend_from_slice(b"c\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0");
    }
    let mut messages = vec![message(b'T', &description)];
    for row in rows {
        let mut body = columns.to_vec();
        for value in row {
            let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(value.unwrap_or("").as_bytes());
        }
        messages.push(message(b'D', &body));
    }
    messages.push(message(b'C', b"SELECT\0"));
    messages.into_iter()
}

/// The message in the copy that begins an archive.
pub fn new_archive(name: &str, path: &str) -> Vec<u8> {
    format!("n{name}\0{path}\0").into_bytes()
}

/// A message in the copy with bytes of an archive or of the manifest.
pub fn data(bytes: &[u8]) -> Vec<u8> {
    [b"d", bytes].concat()
}

/// The message in the copy that says how many bytes have come from the server's files.
pub fn progress(bytes: u64) -> Vec<u8> {
    [b"p", &bytes.to_be_bytes()[..]].concat()
}

/// A member of a tar archive, as false as can be.
#[derive(Clone, Debug)]
pub struct Member {
    pub name: Vec<u8>,
    pub typeflag: u8,
    pub mode: u32,
    pub link: Vec<u8>,
    pub data: Vec<u8>,
    /// The field of the size, where it does not say how much data there is.
    pub size_field: Option<[u8; 12]>,
}

impl Member {
    pub fn file(name: &str, data: &[u8]) -> Self {
        Self {
            name: name.into(),
            typeflag: b'0',
            mode: 0o600,
            link: Vec::new(),
            data: data.into(),
            size_field: None,
        }
    }

    pub fn directory(name: &str) -> Self {
        Self { typeflag: b'5', mode: 0o700, ..Self::file(&format!("{name}/"), b"") }
    }

    pub fn symlink(name: &str, target: &str) -> Self {
        Self { typeflag: b'2', link: target.into(), ..Self::file(name, b"") }
    }

    /// Header, data and padding.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut header = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name);
        put(100, format!("{:07o} ", self.mode).as_bytes());
        put(108, b"0000000 0000000 ");
        let size = format!("{:011o} ", self.data.len());
        put(124, self.size_field.as_ref().map_or(size.as_bytes(), |field| field));
        put(136, b"00000000000         ");
        put(156, &[self.typeflag]);
        put(157, &self.link);
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:07o} ").as_bytes());
        let mut bytes = header.to_vec();
        bytes.extend_from_slice(&self.data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

/// The members of an honest backup: [`FILES`] and their directories.
pub fn honest_members() -> Vec<Member> {
    let mut members = vec![Member::file(FILES[0].0, FILES[0].1)];
    members.extend(["pg_wal", "base", "base/1", "global"].map(Member::directory));
    members.extend(FILES[1..].iter().map(|(path, data)| Member::file(path, data)));
    members
}

/// A whole archive.
pub fn archive(members: &[Member]) -> Vec<u8> {
    let mut bytes: Vec<u8> = members.iter().flat_map(Member::to_bytes).collect();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// A manifest that lists these files with their right checksums; `header` is put before the list.
pub fn manifest(files: &[ContentFile], header: &str, start: &str, end: &str) -> Vec<u8> {
    let lines: Vec<String> = files
        .iter()
        .map(|(path, data)| {
            let checksum = hexadecimal(&crc32c::crc32c(data).to_le_bytes());
            file_line(path, data.len(), &checksum)
        })
        .collect();
    let version = if header.is_empty() { 1 } else { 2 };
    let mut text = format!("{{ \"PostgreSQL-Backup-Manifest-Version\": {version},\n{header}\"Files\": [");
    write!(text, "\n{}\n],\n\"WAL-Ranges\": [\n", lines.join(",\n")).unwrap();
    write!(text, "{{ \"Timeline\": 1, \"Start-LSN\": \"{start}\", \"End-LSN\": \"{end}\" }}\n],\n").unwrap();
    seal(&text)
}

/// A line of a manifest about one file.
pub fn file_line(path: &str, size: usize, checksum: &str) -> String {
    format!(
        "{{ \"Path\": \"{path}\", \"Size\": {size}, \"Last-Modified\": \"2026-01-01 00:00:00 GMT\", \
         \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"{checksum}\" }}"
    )
}

/// Adds the checksum of the manifest itself.
pub fn seal(text: &str) -> Vec<u8> {
    let checksum = hexadecimal(&Sha256::digest(text.as_bytes()));
    format!("{text}\"Manifest-Checksum\": \"{checksum}\"}}\n").into_bytes()
}

/// A server that plays one session.
#[derive(Debug)]
pub struct ScriptedBackupServer {
    port: u16,
}

/// How a session is sent.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// After so many messages the connection is closed.
    pub cut_after: usize,
    /// So many bytes at a time.
    pub bytes_at_once: usize,
}

impl Default for Delivery {
    fn default() -> Self {
        Self { cut_after: usize::MAX, bytes_at_once: usize::MAX }
    }
}

impl ScriptedBackupServer {
    pub fn start(session: &Session) -> Self {
        Self::start_with(session, Delivery::default())
    }

    pub fn start_with(session: &Session, delivery: Delivery) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let first = session.steps();
        let later = session.second_connection.clone().unwrap_or_else(|| first.clone());
        std::thread::spawn(move || {
            // It listens until the process of the test ends, which is soon.
            for (connection, stream) in listener.incoming().enumerate() {
                let steps = if connection == 0 { first.clone() } else { later.clone() };
                std::thread::spawn(move || {
                    // A client that has had enough leaves in the middle.
                    let _ = play(stream.unwrap(), &steps, delivery);
                });
            }
        });
        Self { port }
    }

    /// A connection string for it.
    pub fn conninfo(&self) -> String {
        format!("host=127.0.0.1 port={} user=u sslmode=disable gssencmode=disable", self.port)
    }
}

fn play(mut stream: TcpStream, steps: &[Step], delivery: Delivery) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let mut said = 0;
    for step in steps {
        match step {
            Step::Await => receive(&mut stream)?,
            Step::Say(_) if said == delivery.cut_after => break,
            Step::Say(message) => {
                said += 1;
                message.chunks(delivery.bytes_at_once).try_for_each(|chunk| stream.write_all(chunk))?;
            }
            Step::SayOften(message, times) => (0..*times).try_for_each(|_| stream.write_all(message))?,
        }
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
}

/// One message of the client: the startup packet has no type byte, and its length begins with a zero byte.
fn receive(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut header = [0; 5];
    stream.read_exact(&mut header)?;
    let type_byte = usize::from(header[0] != 0);
    let length = u32::from_be_bytes(header[type_byte..][..4].try_into().unwrap()) as usize;
    stream.read_exact(&mut vec![0; length + type_byte - 5])
}
