//! Peers that begin as servers with TLS do, and then do what they like.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use openssl::ssl::{ErrorCode, SslAcceptor, SslAcceptorBuilder, SslMethod, SslStream};

use crate::support::DEADLINE;
use crate::support::certificates::Certificate;

/// A connection that is encrypted.
pub(crate) type Encrypted = SslStream<TcpStream>;

/// A peer on a thread of its own, which meets its clients one after the other.
pub(crate) struct Peer {
    port: u16,
    connections: Arc<AtomicUsize>,
    is_stopped: Arc<AtomicBool>,
}

impl Peer {
    /// What it does is said by `script`; a client that leaves early is no failure. At the end of the script,
    /// the peer closes its side and waits for the client to leave.
    pub(crate) fn start(script: impl Fn(TcpStream) -> io::Result<()> + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let is_stopped = Arc::new(AtomicBool::new(false));
        let peer = Self { port, connections: Arc::clone(&connections), is_stopped: Arc::clone(&is_stopped) };
        std::thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                if is_stopped.load(Ordering::SeqCst) {
                    break;
                }
                connections.fetch_add(1, Ordering::SeqCst);
                let _ = meet(socket, &script);
            }
        });
        peer
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A connection string with a password, and without GSSAPI.
    pub(crate) fn conninfo(&self) -> String {
        format!(
            "host=localhost hostaddr=127.0.0.1 port={} user=u password=secret gssencmode=disable",
            self.port
        )
    }

    /// How many clients have come since the last time that this was asked.
    pub(crate) fn take_connections(&self) -> usize {
        self.connections.swap(0, Ordering::SeqCst)
    }
}

/// Wakes the thread up, so that it ends.
impl Drop for Peer {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn meet(socket: TcpStream, script: impl Fn(TcpStream) -> io::Result<()>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    socket.set_write_timeout(Some(DEADLINE))?;
    let mut own = socket.try_clone()?;
    let _ = script(socket);
    own.shutdown(Shutdown::Write)?;
    wait_for_leave(&mut own)
}

/// Says nothing until the client is gone.
pub(crate) fn wait_for_leave(socket: &mut impl Read) -> io::Result<()> {
    io::copy(socket, &mut io::sink()).map(drop)
}

/// One packet without a type byte: a request for encryption, or a startup message.
pub(crate) fn read_packet(socket: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut packet = vec![0; 4];
    socket.read_exact(&mut packet)?;
    let length = u32::from_be_bytes(packet[..].try_into().unwrap());
    packet.resize(usize::try_from(length).unwrap().min(10_000), 0);
    socket.read_exact(&mut packet[4..])?;
    Ok(packet)
}

/// One message with a type byte.
pub(crate) fn read_message(socket: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut tag = [0];
    socket.read_exact(&mut tag)?;
    Ok([&tag[..], &read_packet(socket)?].concat())
}

/// Reads the request for TLS and answers it.
pub(crate) fn answer_request(socket: &mut TcpStream, answer: &[u8]) -> io::Result<()> {
    assert_eq!(read_packet(socket)?, b"\0\0\0\x08\x04\xd2\x16\x2f", "this is no SSLRequest");
    socket.write_all(answer)
}

/// What a server with that certificate needs to encrypt.
pub(crate) fn acceptor(
    certificate: &Certificate,
    configure: impl FnOnce(&mut SslAcceptorBuilder),
) -> SslAcceptor {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    builder.set_certificate(certificate.x509()).unwrap();
    builder.set_private_key(certificate.key()).unwrap();
    configure(&mut builder);
    builder.build()
}

/// Encrypts a connection on which the client begins.
pub(crate) fn handshake(acceptor: &SslAcceptor, socket: TcpStream) -> io::Result<Encrypted> {
    acceptor.accept(socket).map_err(io::Error::other)
}

/// Consents to TLS, encrypts, and reads the startup message.
pub(crate) fn up_to_startup(acceptor: &SslAcceptor, mut socket: TcpStream) -> io::Result<Encrypted> {
    answer_request(&mut socket, b"S")?;
    let mut stream = handshake(acceptor, socket)?;
    read_packet(&mut stream)?;
    Ok(stream)
}

/// Takes leave of the client as TLS wants it.
pub(crate) fn close_notify(stream: &mut Encrypted) -> io::Result<()> {
    match stream.shutdown() {
        Ok(_) => Ok(()),
        Err(error) if error.code() == ErrorCode::ZERO_RETURN => Ok(()),
        Err(error) => Err(io::Error::other(error)),
    }
}
