//! Handshakes over loopback: this client against a server of the library's.

mod authority;
mod client_certificates;
mod handshakes;
mod server_certificates;
mod sessions;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use openssl::ssl::{
    HandshakeError, MidHandshakeSslStream, Ssl, SslContext, SslContextBuilder, SslMethod, SslStream,
};
use tokio::io::AsyncReadExt;

use self::authority::Identity;
use super::*;

/// What the server says inside TLS after each handshake.
const GREETING: &[u8] = b"greeting";

/// A server that takes one connection in a thread of its own.
struct Server<T> {
    port: u16,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Server<T> {
    /// Does something with the socket.
    fn with_socket(behave: impl FnOnce(TcpStream) -> T + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { port, thread: thread::spawn(move || behave(listener.accept().unwrap().0)) }
    }

    /// Shakes hands, and does something with the outcome.
    fn new(
        context: SslContextBuilder,
        behave: impl FnOnce(Result<SslStream<TcpStream>, String>) -> T + Send + 'static,
    ) -> Self {
        Self::with_socket(move |socket| {
            let ssl = Ssl::new(&context.build()).unwrap();
            behave(ssl.accept(socket).map_err(|error| match error {
                HandshakeError::Failure(stream) => leave_politely(&stream),
                error => error.to_string(),
            }))
        })
    }

    fn finish(self) -> T {
        self.thread.join().unwrap()
    }
}

/// Reads what the client still sends, which would else reset the connection before the client has read why.
fn leave_politely(stream: &MidHandshakeSslStream<TcpStream>) -> String {
    let mut socket = stream.get_ref();
    let _ = socket.shutdown(Shutdown::Write);
    let _ = socket.read_to_end(&mut Vec::new());
    stream.error().to_string()
}

impl Server<String> {
    /// Greets the client and waits for it to leave.
    fn greeting(context: SslContextBuilder) -> Self {
        Self::new(context, |stream| match stream {
            Ok(stream) => greet(stream),
            Err(error) => error,
        })
    }
}

/// What the server saw: the version of TLS, the name indicated, and the client's certificate.
fn greet(mut stream: SslStream<TcpStream>) -> String {
    let _ = stream.write_all(GREETING);
    let _ = stream.read(&mut [0; 1]);
    let ssl = stream.ssl();
    let subject = ssl.peer_certificate().map(|certificate| {
        let name = certificate.subject_name().entries_by_nid(openssl::nid::Nid::COMMONNAME).next();
        name.map(|name| String::from_utf8_lossy(name.data().as_slice()).into_owned()).unwrap_or_default()
    });
    let server_name = ssl.servername(openssl::ssl::NameType::HOST_NAME);
    format!("{} {:?} {:?}", ssl.version_str(), server_name, subject)
}

/// A server's context with its certificate; the others are sent with it.
fn context(identity: &Identity, others: &[&Identity]) -> SslContextBuilder {
    let mut context = SslContext::builder(SslMethod::tls_server()).unwrap();
    context.set_certificate(&identity.certificate).unwrap();
    context.set_private_key(&identity.key).unwrap();
    for other in others {
        context.add_extra_chain_cert(other.certificate.clone()).unwrap();
    }
    context
}

/// Settings without a home directory.
fn config(text: &str) -> Config {
    let mut config: Config = format!("host=localhost user=u {text}").parse().unwrap();
    config.home = None;
    config
}

struct Client {
    outcome: Result<TlsStream, TlsError>,
    notices: Vec<String>,
}

/// Connects and shakes hands.
async fn connect(port: u16, config: &Config) -> Client {
    let socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let shown = Arc::new(Mutex::new(Vec::new()));
    let notices: NoticeHandler = {
        let shown = Arc::clone(&shown);
        Arc::new(move |notice| shown.lock().unwrap().push(notice.to_string()))
    };
    let outcome = handshake(config, &config.hosts[0], socket, &notices).await;
    let notices = shown.lock().unwrap().clone();
    Client { outcome, notices }
}

/// `ok` where the greeting came, or what went wrong; and what the server saw.
async fn outcome(context: SslContextBuilder, config: &Config) -> (String, String) {
    let server = Server::greeting(context);
    let client = connect(server.port, config).await;
    let text = match client.outcome {
        Ok(stream) => greeted(stream).await,
        Err(error) => error.to_string(),
    };
    (text, server.finish())
}

async fn greeted(mut stream: TlsStream) -> String {
    let mut greeting = [0; GREETING.len()];
    match stream.read_exact(&mut greeting).await {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// What the client says.
async fn result(context: SslContextBuilder, config: &Config) -> String {
    outcome(context, config).await.0
}

/// What is wrong with the files, found before anything is sent.
fn refusal(config: &Config) -> String {
    let notices: NoticeHandler = Arc::new(|_| {});
    context::client(config, &config.hosts[0], &notices)
        .err()
        .map_or("ok".to_owned(), |error| error.to_string())
}
