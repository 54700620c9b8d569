//! A server that lies: it plays a script to every client, for what a real server never does.
//!
//! In comes a list of steps; out goes a port or a socket. The script knows no protocol: it sends the bytes
//! it was given, whatever the client says. At the end of the script the server closes its side and waits
//! for the client to leave, so that nothing that it sent is lost.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::wait::DEADLINE;

/// Makes the bytes to send from a message of the client.
pub type Answer = Arc<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

/// One thing that the server does.
#[derive(Clone)]
pub enum Step {
    /// Waits for one message of the client: the startup packet first, then messages with a type byte.
    Receive,
    /// Sends bytes at once.
    Send(Vec<u8>),
    /// Sends bytes, each in a packet of its own.
    SendBytewise(Vec<u8>),
    /// Sends what the function makes of the client's last message.
    Answer(Answer),
    /// Sends the bytes again and again, until the client leaves.
    SendForEver(Vec<u8>),
    /// Makes further writes of the client fail.
    StopReading,
    /// Says nothing more, and waits for the client to leave.
    Stall,
}

impl Step {
    pub fn answer(make: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::Answer(Arc::new(make))
    }
}

/// A message of the server: type byte, length, body.
pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap() + 4;
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

/// A request of authentication, or its end.
pub fn authentication(code: u32, rest: &[u8]) -> Vec<u8> {
    message(b'R', &[&code.to_be_bytes(), rest].concat())
}

/// The report of an error that ends the session.
pub fn fatal(sqlstate: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("SFATAL\0VFATAL\0C{sqlstate}\0M{text}\0\0").as_bytes())
}

/// A server on a thread of its own that plays one script to each client in turn.
pub struct ByteScriptServer {
    address: Address,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
    stopped: Arc<AtomicBool>,
}

enum Address {
    Tcp(u16),
    Unix(SocketAddr),
}

impl ByteScriptServer {
    /// Listens on a port of its own.
    pub fn start(script: impl Into<Vec<Step>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap().port());
        let accept = move || {
            let socket = listener.accept()?.0;
            socket.set_nodelay(true)?;
            Ok(Socket::Tcp(socket))
        };
        Self::serve(address, accept, script.into())
    }

    /// Listens on a socket in the file system.
    pub fn start_on_path(path: &Path, script: impl Into<Vec<Step>>) -> Self {
        Self::start_on_address(SocketAddr::from_pathname(path).unwrap(), script)
    }

    /// Listens on a socket, which may have an abstract name.
    pub fn start_on_address(address: SocketAddr, script: impl Into<Vec<Step>>) -> Self {
        let listener = UnixListener::bind_addr(&address).unwrap();
        let accept = move || Ok(Socket::Unix(listener.accept()?.0));
        Self::serve(Address::Unix(address), accept, script.into())
    }

    /// # Panics
    ///
    /// If it does not listen on TCP.
    pub fn port(&self) -> u16 {
        match self.address {
            Address::Tcp(port) => port,
            Address::Unix(_) => panic!("this server listens on a Unix socket"),
        }
    }

    /// A connection string for TCP without encryption, which the script does not speak.
    pub fn conninfo(&self) -> String {
        format!("host=127.0.0.1 port={} user=u sslmode=disable", self.port())
    }

    /// All messages that the steps [`Step::Receive`] have received.
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.received.lock().unwrap().clone()
    }

    fn serve(
        address: Address,
        accept: impl Fn() -> io::Result<Socket> + Send + 'static,
        script: Vec<Step>,
    ) -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let server = Self { address, received: Arc::clone(&received), stopped: Arc::clone(&stopped) };
        std::thread::spawn(move || {
            while let Ok(mut socket) = accept() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                // A client that has had enough leaves in the middle of the script.
                let _ = play(&mut socket, &script, &received);
            }
        });
        server
    }
}

impl fmt::Debug for ByteScriptServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteScriptServer").field("received", &self.received).finish_non_exhaustive()
    }
}

/// Wakes the thread up, so that it ends.
impl Drop for ByteScriptServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = match &self.address {
            Address::Tcp(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).map(Socket::Tcp),
            Address::Unix(address) => UnixStream::connect_addr(address).map(Socket::Unix),
        };
    }
}

fn play(socket: &mut Socket, script: &[Step], received: &Mutex<Vec<Vec<u8>>>) -> io::Result<()> {
    socket.set_timeouts()?;
    let mut last = Vec::new();
    for step in script {
        match step {
            Step::Receive => {
                last = receive(socket)?;
                received.lock().unwrap().push(last.clone());
            }
            Step::Send(bytes) => socket.write_all(bytes)?,
            Step::SendBytewise(bytes) => bytes.iter().try_for_each(|&byte| socket.write_all(&[byte]))?,
            Step::Answer(make) => socket.write_all(&make(&last))?,
            Step::SendForEver(bytes) => loop {
                socket.write_all(bytes)?;
            },
            Step::StopReading => socket.shutdown(Shutdown::Read)?,
            Step::Stall => return wait_for_leave(socket),
        }
    }
    socket.shutdown(Shutdown::Write)?;
    wait_for_leave(socket)
}

/// One message: a length that counts itself and a body, with a type byte in front unless it is the startup
/// packet, whose length begins with a zero byte.
fn receive(socket: &mut Socket) -> io::Result<Vec<u8>> {
    let mut message = vec![0; 5];
    socket.read_exact(&mut message)?;
    let type_byte = usize::from(message[0] != 0);
    let length = u32::from_be_bytes(message[type_byte..][..4].try_into().unwrap());
    message.resize(type_byte + length as usize, 0);
    socket.read_exact(&mut message[5..])?;
    Ok(message)
}

fn wait_for_leave(socket: &mut Socket) -> io::Result<()> {
    io::copy(socket, &mut io::sink()).map(drop)
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn set_timeouts(&self) -> io::Result<()> {
        let limit = Some(DEADLINE);
        match self {
            Self::Tcp(socket) => socket.set_read_timeout(limit).and(socket.set_write_timeout(limit)),
            Self::Unix(socket) => socket.set_read_timeout(limit).and(socket.set_write_timeout(limit)),
        }
    }

    fn shutdown(&self, side: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.shutdown(side),
            Self::Unix(socket) => socket.shutdown(side),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buffer),
            Self::Unix(socket) => socket.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
