//! A network between client and server that knows where the server's messages begin and end, and does harm at one of
//! them.
//!
//! In: the port of a server and, for each connection in turn, what becomes of it. Encryption hides the messages, so the
//! connection string switches it off; or it demands it, and harm is done after so many bytes.

use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

/// The length of what stands before the body of a message.
const HEADER: usize = 5;

/// What becomes of a connection.
#[derive(Clone, Debug)]
pub enum Fate {
    /// Nothing happens to it.
    Clean,
    /// It is accepted and closed at once.
    Refused,
    /// It is accepted, and nothing comes through.
    Mute,
    /// Both sides get the ends of each message byte by byte, and short ones whole.
    Dripping,
    /// Something happens at a message of the server.
    Harmed(Moment, Harm),
    /// Something happens after so many bytes of the server, whatever they mean.
    HarmedAfter(usize, Harm),
}

/// A message of the server.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    kind: &'static str,
    which: Which,
}

#[derive(Clone, Copy, Debug)]
enum Which {
    /// The so-manieth of its kind, from 1 on.
    Number(usize),
    /// The first of its kind that holds this text.
    Holding(&'static str),
}

impl Moment {
    /// The so-manieth message of a kind, from 1 on: of that type byte, behind which the first byte of the body may
    /// stand. `T` is a result, `dn` the start of an archive, `dw` WAL.
    pub const fn new(kind: &'static str, number: usize) -> Self {
        Self { kind, which: Which::Number(number) }
    }

    /// The first message of a kind that holds that text.
    pub const fn holding(kind: &'static str, text: &'static str) -> Self {
        Self { kind, which: Which::Holding(text) }
    }

    fn is_of_kind(self, message: &[u8]) -> bool {
        let mut kind = self.kind.bytes();
        kind.next() == Some(message[0]) && kind.next().is_none_or(|first| message.get(HEADER) == Some(&first))
    }

    /// Whether it is the message, before which there were so many of its kind.
    fn is(self, message: &[u8], before: usize) -> bool {
        match self.which {
            Which::Number(number) => before + 1 == number,
            Which::Holding(text) => place_of(message, text).is_some(),
        }
    }

    /// Where in the message something is to be changed: where the text begins, or in the last byte.
    fn offset(self, message: &[u8]) -> usize {
        match self.which {
            Which::Number(_) => message.len() - 1,
            Which::Holding(text) => place_of(message, text).unwrap(),
        }
    }
}

fn place_of(message: &[u8], text: &str) -> Option<usize> {
    message.windows(text.len()).position(|window| window == text.as_bytes())
}

/// What happens at a message.
#[derive(Clone, Debug)]
pub enum Harm {
    /// Both sides are told that the other one has closed.
    Cut(Place),
    /// The client is told by a reset.
    Reset(Place),
    /// Nothing comes through any more, in neither direction, and nobody is told.
    Stall(Place),
    /// The lowest bit of a byte is another one.
    FlipBit,
    /// These bytes come before it.
    Inject(Vec<u8>),
}

/// Where something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Before,
    /// In the middle of the message.
    Inside,
    After,
}

/// Forwards connections to a server on this machine until it is dropped.
#[derive(Debug)]
pub struct MessageProxy {
    address: SocketAddr,
    network: Arc<Network>,
}

#[derive(Debug)]
struct Network {
    upstream: u16,
    is_encrypted: bool,
    /// From which connection on, counted from 0, another server is on the other side, and the port of that.
    moved: OnceLock<(usize, u16)>,
    fates: Vec<Fate>,
    accepted: AtomicUsize,
    /// Both ends of all connections, as far as they are still open.
    ends: Mutex<Vec<Weak<TcpStream>>>,
    closed: Mutex<bool>,
    closing: Condvar,
}

impl MessageProxy {
    /// A way to the server on that port. Connections beyond those that have a fate are clean.
    pub fn start(upstream: u16, fates: Vec<Fate>) -> Self {
        Self::start_for(upstream, false, fates)
    }

    /// The same for connections that are encrypted, whose messages cannot be seen.
    pub fn start_encrypted(upstream: u16, fates: Vec<Fate>) -> Self {
        Self::start_for(upstream, true, fates)
    }

    fn start_for(upstream: u16, is_encrypted: bool, fates: Vec<Fate>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let network = Arc::new(Network {
            upstream,
            is_encrypted,
            moved: OnceLock::new(),
            fates,
            accepted: AtomicUsize::new(0),
            ends: Mutex::default(),
            closed: Mutex::new(false),
            closing: Condvar::new(),
        });
        let accepting = Arc::clone(&network);
        thread::spawn(move || accepting.accept_from(&listener));
        Self { address, network }
    }

    /// A connection string for the server behind it.
    pub fn conninfo(&self) -> String {
        let port = self.address.port();
        let sslmode = if self.network.is_encrypted { "require" } else { "disable" };
        format!("host=127.0.0.1 port={port} user=postgres sslmode={sslmode} gssencmode=disable")
    }

    /// After so many connections, leads to the server on that port, as an address does that moves to another machine.
    #[track_caller]
    pub fn move_after(&self, connections: usize, upstream: u16) {
        self.network.moved.set((connections, upstream)).unwrap();
    }

    /// Ends all connections that are open, also those that stall.
    pub fn end_connections(&self) {
        self.network.end_connections();
    }

    /// How many connections there have been.
    pub fn accepted(&self) -> usize {
        self.network.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for MessageProxy {
    fn drop(&mut self) {
        *self.network.closed.lock().unwrap() = true;
        self.network.closing.notify_all();
        self.network.end_connections();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Network {
    fn accept_from(self: Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if *self.closed.lock().unwrap() {
                return;
            }
            let Ok(client) = client else { continue };
            let number = self.accepted.fetch_add(1, Ordering::SeqCst);
            let fate = self.fates.get(number).cloned().unwrap_or(Fate::Clean);
            if matches!(fate, Fate::Refused) {
                continue;
            }
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.upstream_of(number))) else {
                continue;
            };
            let [client, server] = [client, server].map(|end| {
                end.set_nodelay(true).unwrap();
                Arc::new(end)
            });
            self.ends.lock().unwrap().extend([&client, &server].map(Arc::downgrade));
            let network = Arc::clone(&self);
            thread::spawn(move || Link { network, client, server, fate, stalled: Arc::default() }.run());
        }
    }

    fn end_connections(&self) {
        for end in self.ends.lock().unwrap().iter().filter_map(Weak::upgrade) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    fn upstream_of(&self, connection: usize) -> u16 {
        self.moved.get().filter(|(after, _)| connection >= *after).map_or(self.upstream, |(_, port)| *port)
    }

    fn wait_until_closed(&self) {
        let closed = self.closed.lock().unwrap();
        drop(self.closing.wait_while(closed, |closed| !*closed).unwrap());
    }
}

/// One connection.
struct Link {
    network: Arc<Network>,
    client: Arc<TcpStream>,
    server: Arc<TcpStream>,
    fate: Fate,
    stalled: Arc<AtomicBool>,
}

/// How the way from the server ends.
enum End {
    Closed,
    Cut,
    Reset,
    Stalled,
}

impl Link {
    fn run(self) {
        if matches!(self.fate, Fate::Mute) {
            return self.network.wait_until_closed();
        }
        let upward = self.forward_client();
        let forwarded =
            if self.network.is_encrypted { self.forward_encrypted() } else { self.forward_server() };
        match forwarded.unwrap_or(End::Closed) {
            End::Closed => drop(self.client.shutdown(Shutdown::Write)),
            End::Cut => {
                for end in [&self.client, &self.server] {
                    let _ = end.shutdown(Shutdown::Both);
                }
            }
            End::Stalled => self.network.wait_until_closed(),
            End::Reset => {
                // The last handle of the socket is closed in a hurry.
                SockRef::from(&*self.client).set_linger(Some(Duration::ZERO)).unwrap();
                let _ = self.client.shutdown(Shutdown::Read);
                let _ = self.server.shutdown(Shutdown::Both);
                let _ = upward.join();
            }
        }
    }

    fn forward_client(&self) -> JoinHandle<()> {
        let (network, stalled) = (Arc::clone(&self.network), Arc::clone(&self.stalled));
        let (client, server) = (Arc::clone(&self.client), Arc::clone(&self.server));
        let is_dripping = matches!(self.fate, Fate::Dripping);
        thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(length @ 1..) = (&*client).read(&mut buffer) {
                if stalled.load(Ordering::SeqCst) {
                    return network.wait_until_closed();
                }
                let sent = if is_dripping {
                    drip(&server, &buffer[..length])
                } else {
                    (&*server).write_all(&buffer[..length])
                };
                if sent.is_err() {
                    break;
                }
            }
            let _ = server.shutdown(Shutdown::Write);
        })
    }

    fn forward_server(&self) -> io::Result<End> {
        let mut from = BufReader::with_capacity(256 << 10, &*self.server);
        let mut to = &*self.client;
        let (mut of_kind, mut is_done) = (0, false);
        while let Some(mut message) = read_message(&mut from)? {
            match &self.fate {
                Fate::Dripping => drip(&self.client, &message)?,
                Fate::Harmed(moment, harm) if !is_done && moment.is_of_kind(&message) => {
                    is_done = moment.is(&message, of_kind);
                    of_kind += 1;
                    if !is_done {
                        to.write_all(&message)?;
                    } else if let Some(end) = self.harm(&mut message, |all| moment.offset(all), harm)? {
                        return Ok(end);
                    }
                }
                _ => to.write_all(&message)?,
            }
        }
        Ok(End::Closed)
    }

    /// The same where messages cannot be seen: what is read at once takes their place.
    fn forward_encrypted(&self) -> io::Result<End> {
        let (mut from, mut to) = (&*self.server, &*self.client);
        let mut buffer = vec![0; 64 << 10];
        let mut before = match self.fate {
            Fate::HarmedAfter(bytes, _) => Some(bytes),
            _ => None,
        };
        loop {
            let limit = before.filter(|&bytes| bytes > 0).unwrap_or(usize::MAX).min(buffer.len());
            let length = from.read(&mut buffer[..limit])?;
            let chunk = &mut buffer[..length];
            match &self.fate {
                _ if chunk.is_empty() => return Ok(End::Closed),
                Fate::HarmedAfter(_, harm) if before == Some(0) => {
                    before = None;
                    if let Some(end) = self.harm(chunk, |_| 0, harm)? {
                        return Ok(end);
                    }
                }
                _ => {
                    before = before.map(|bytes| bytes - length);
                    to.write_all(chunk)?;
                }
            }
        }
    }

    /// Does the harm, and changes a byte where `offset` says; gives the end if that is one.
    fn harm(
        &self,
        message: &mut [u8],
        offset: impl Fn(&[u8]) -> usize,
        harm: &Harm,
    ) -> io::Result<Option<End>> {
        let mut to = &*self.client;
        let (end, place) = match harm {
            Harm::Inject(bytes) => {
                to.write_all(bytes)?;
                (None, Place::After)
            }
            Harm::FlipBit => {
                message[offset(message)] ^= 1;
                (None, Place::After)
            }
            Harm::Cut(place) => (Some(End::Cut), *place),
            Harm::Reset(place) => (Some(End::Reset), *place),
            Harm::Stall(place) => {
                self.stalled.store(true, Ordering::SeqCst);
                (Some(End::Stalled), *place)
            }
        };
        let length = match place {
            Place::Before => 0,
            Place::Inside => message.len() / 2,
            Place::After => message.len(),
        };
        to.write_all(&message[..length])?;
        Ok(end)
    }
}

/// A whole message with its header; none at the end.
fn read_message(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; HEADER];
    if from.read(&mut header[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut header[1..])?;
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    let mut message = vec![0; length + 1];
    message[..HEADER].copy_from_slice(&header);
    from.read_exact(&mut message[HEADER..])?;
    Ok(Some(message))
}

/// Sends each byte in a packet of its own, except for those in the middle of much.
fn drip(mut to: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    const END: usize = 32;
    let middle = END.min(bytes.len())..bytes.len().saturating_sub(END).max(END.min(bytes.len()));
    bytes[..middle.start].chunks(1).try_for_each(|byte| to.write_all(byte))?;
    to.write_all(&bytes[middle.clone()])?;
    bytes[middle.end..].chunks(1).try_for_each(|byte| to.write_all(byte))
}
