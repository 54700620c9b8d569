//! A server that says what a real one never would: one connection after the other, each played by a function of the
//! test.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

use super::DEADLINE;

/// What is played on one connection.
pub type Script = Box<dyn FnOnce(&mut Peer) + Send>;

/// A listening server. Its script runs on a thread of its own once somebody connects.
pub struct ScriptedServer {
    port: u16,
    script: JoinHandle<()>,
}

impl ScriptedServer {
    /// Listens, and plays `script` on the first connection, which is authenticated by then.
    pub fn start(script: impl FnOnce(&mut Peer) + Send + 'static) -> Self {
        Self::start_as("15.18", script)
    }

    /// Like [`ScriptedServer::start`], as a server of that version.
    pub fn start_as(version: &'static str, script: impl FnOnce(&mut Peer) + Send + 'static) -> Self {
        Self::play(version, vec![Box::new(script)])
    }

    /// Plays a script to each connection in turn, and refuses those after them.
    pub fn start_each(scripts: Vec<Script>) -> Self {
        Self::play("15.18", scripts)
    }

    fn play(version: &'static str, scripts: Vec<Script>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = std::thread::spawn(move || {
            for script in scripts {
                let (stream, _) = listener.accept().unwrap();
                script(&mut Peer::welcome(stream, version));
            }
        });
        Self { port, script }
    }

    /// A connection string for it.
    pub fn conninfo(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres sslmode=disable gssencmode=disable", self.port)
    }

    /// Waits for the end of the script, whose failures are the test's.
    #[track_caller]
    pub fn finish(self) {
        if let Err(panic) = self.script.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// How messages are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Each in a packet of its own.
    Plain,
    /// Each byte in a packet of its own.
    Bytewise,
    /// Each after a notice and a parameter that has changed.
    Chatty,
}

/// The client at the other end.
pub struct Peer {
    stream: TcpStream,
    /// How it is talked to from now on.
    pub manner: Manner,
}

/// A standby status update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub written: u64,
    pub flushed: u64,
}

impl Peer {
    fn welcome(stream: TcpStream, version: &str) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        let mut peer = Self { stream, manner: Manner::Plain };
        let mut length = [0; 4];
        peer.stream.read_exact(&mut length).unwrap();
        let mut startup = vec![0; u32::from_be_bytes(length) as usize - 4];
        peer.stream.read_exact(&mut startup).unwrap();
        assert_eq!(startup[..3], [0, 3, 0], "expected a startup message");
        peer.send(b'R', &[0, 0, 0, 0]);
        peer.send(b'S', format!("server_version\0{version}\0").as_bytes());
        peer.send(b'S', b"integer_datetimes\0on\0");
        peer.send(b'K', &[0, 0, 0, 7, 1, 2, 3, 4]);
        peer.ready();
        peer
    }

    pub fn send(&mut self, tag: u8, body: &[u8]) {
        self.send_bytes(&message(tag, body));
    }

    /// Sends what need not be a message.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.try_send_bytes(bytes).unwrap();
    }

    /// Sends what need not be a message to a client that may have had enough.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self.manner {
            Manner::Plain => self.stream.write_all(bytes),
            Manner::Bytewise => bytes.iter().try_for_each(|&byte| self.stream.write_all(&[byte])),
            Manner::Chatty => {
                let notice = message(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mby the way\0\0");
                let parameter = message(b'S', b"application_name\0another\0");
                self.stream.write_all(&[&notice[..], &parameter, bytes].concat())
            }
        }
    }

    pub fn ready(&mut self) {
        self.send(b'Z', b"I");
    }

    pub fn complete(&mut self, tag: &str) {
        self.send(b'C', format!("{tag}\0").as_bytes());
    }

    /// One row of text values, with its description.
    pub fn row(&mut self, values: &[&str]) {
        let values: Vec<_> = values.iter().copied().map(Some).collect();
        self.rows(values.len(), &[&values]);
    }

    /// Rows of text values or nulls, with their description.
    pub fn rows(&mut self, columns: usize, rows: &[&[Option<&str>]]) {
        let mut description = u16::try_from(columns).unwrap().to_be_bytes().to_vec();
        for _ in 0..columns {
            description.extend_from_slice(b"c\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0");
        }
        self.send(b'T', &description);
        for values in rows {
            let mut row = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
            for value in *values {
                let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
                row.extend_from_slice(&length.to_be_bytes());
                row.extend_from_slice(value.unwrap_or_default().as_bytes());
            }
            self.send(b'D', &row);
        }
    }

    /// Answers a command with one row.
    pub fn answer(&mut self, values: &[&str]) {
        self.row(values);
        self.complete("SELECT");
        self.ready();
    }

    /// Answers a command with one row that may have nulls.
    pub fn answer_nullable(&mut self, values: &[Option<&str>]) {
        self.rows(values.len(), &[values]);
        self.complete("SELECT");
        self.ready();
    }

    /// Reports an error.
    pub fn error(&mut self, sqlstate: &str, text: &str, detail: &str) {
        let fields = format!("SERROR\0VERROR\0C{sqlstate}\0M{text}\0D{detail}\0\0");
        self.send(b'E', fields.as_bytes());
    }

    /// The next message; nothing once the client has closed the connection.
    pub fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut header = [0; 5];
        self.stream.read_exact(&mut header).ok()?;
        let length = u32::from_be_bytes(header[1..].try_into().unwrap()) as usize - 4;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        Some((header[0], body))
    }

    /// The next command, which must begin with `expected`.
    #[track_caller]
    pub fn expect_command(&mut self, expected: &str) -> String {
        let (tag, mut body) = self.receive().expect("the client is gone");
        assert_eq!((tag, body.pop()), (b'Q', Some(0)));
        let command = String::from_utf8(body).unwrap();
        assert!(command.starts_with(expected), "{command}");
        command
    }

    /// Begins to copy both ways.
    pub fn copy_both(&mut self) {
        self.send(b'W', &[0, 0, 0]);
    }

    /// A message of WAL.
    pub fn wal_message(start: u64, wal: &[u8]) -> Vec<u8> {
        let mut body = vec![b'w'];
        for number in [start, start + wal.len() as u64, 0] {
            body.extend_from_slice(&number.to_be_bytes());
        }
        body.extend_from_slice(wal);
        message(b'd', &body)
    }

    pub fn send_wal(&mut self, start: u64, wal: &[u8]) {
        self.send_bytes(&Self::wal_message(start, wal));
    }

    /// A keepalive that asks for an update.
    pub fn ping(&mut self) {
        let mut body = vec![b'k'];
        body.extend_from_slice(&[0; 16]);
        body.push(1);
        self.send(b'd', &body);
    }

    /// The next status update, which must be the next message.
    #[track_caller]
    pub fn expect_status(&mut self) -> Status {
        let (status, reply_requested) = self.expect_update();
        assert!(!reply_requested);
        status
    }

    /// The next status update, which must be the next message, and whether it wants a reply.
    #[track_caller]
    pub fn expect_update(&mut self) -> (Status, bool) {
        let (tag, body) = self.receive().expect("the client is gone");
        assert_eq!(tag, b'd', "{body:?}");
        read_update(&body)
    }

    /// All status updates that are still to come, until the client ends its side or closes the connection.
    #[track_caller]
    pub fn remaining_updates(&mut self) -> Vec<Status> {
        let mut updates = Vec::new();
        loop {
            match self.receive() {
                Some((b'd', body)) => updates.push(read_update(&body).0),
                Some((b'c' | b'X', _)) | None => return updates,
                other => panic!("expected status updates, got {other:?}"),
            }
        }
    }

    /// Waits for the client's CopyDone, past status updates.
    #[track_caller]
    pub fn expect_copy_done(&mut self) {
        loop {
            match self.receive() {
                Some((b'c', _)) => return,
                Some((b'd', _)) => {}
                other => panic!("expected CopyDone, got {other:?}"),
            }
        }
    }

    /// Waits until the client closes the connection.
    pub fn expect_end(&mut self) {
        while self.receive().is_some() {}
    }

    /// The socket itself.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}

/// A status update as it must be: 34 bytes, nothing applied, the clock near that of this machine.
#[track_caller]
fn read_update(body: &[u8]) -> (Status, bool) {
    assert_eq!((body.len(), body[0]), (34, b'r'));
    let number = |from: usize| u64::from_be_bytes(body[from..from + 8].try_into().unwrap());
    assert_eq!(number(17), 0, "no position is applied");
    // From 1970 to 2000 there are 10957 days.
    let clock = UNIX_EPOCH + Duration::from_hours(10_957 * 24) + Duration::from_micros(number(25));
    let apart = clock.elapsed().unwrap_or_else(|ahead| ahead.duration());
    assert!(apart < DEADLINE, "the clock of the update is {apart:?} away");
    assert!(body[33] < 2);
    (Status { written: number(1), flushed: number(9) }, body[33] == 1)
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![tag];
    message.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    message.extend_from_slice(body);
    message
}
