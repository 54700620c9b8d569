//! Feeds the start-up of a session: its messages go out to the socket, those of the server come in.
//!
//! What comes in is a connected socket; what goes out is a session that is ready, or why there is none.
//! Nothing is decided here but what a broken connection means; tokens of GSSAPI go through here, because the
//! system's library makes them, which may have to ask a server of its own.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect_error::AttemptError;
use super::error::{ConnectionError, receive_error, send_error};
use super::frame::{Deframer, Message, OutOfSync};
use super::gss::{SecurityContext, Stepped};
use super::notice::{Notice, NoticeHandler};
use super::server_message::ServerMessage;
use super::socket::Socket;
use super::startup::{SessionStart, Startup, StartupError, Step};
use super::tls_error::TlsError;
use crate::conninfo::Host;

/// Room for a read during start-up, when messages are small.
const READ_ROOM: usize = 8 << 10;

/// A start-up takes some hundred bytes; a server that says much more never means to be ready.
const LARGEST_STARTUP: usize = 1 << 20;

/// The longest error that is no message, in bytes.
const LONGEST_WORDS: usize = 30_000;

/// The start-up of one session over one socket.
pub(super) struct Handshake<'a> {
    socket: &'a mut Socket,
    deframer: &'a mut Deframer,
    startup: Startup<'a>,
    host: &'a Host,
    notices: &'a NoticeHandler,
    /// Set while GSSAPI authenticates.
    security_context: Option<SecurityContext>,
    /// How many bytes have come.
    received: usize,
}

impl<'a> Handshake<'a> {
    pub(super) fn new(
        socket: &'a mut Socket,
        deframer: &'a mut Deframer,
        startup: Startup<'a>,
        host: &'a Host,
        notices: &'a NoticeHandler,
    ) -> Self {
        Self { socket, deframer, startup, host, notices, security_context: None, received: 0 }
    }

    /// Sends the startup message and answers the server until it is ready. What it may have sent beyond
    /// stays in the deframer.
    pub(super) async fn run(&mut self, parameters: &[(&str, &str)]) -> Result<SessionStart, AttemptError> {
        let mut step = self.startup.begin(parameters).map_err(refused)?;
        loop {
            step = match step {
                Step::Send(bytes) => {
                    self.send(&bytes).await?;
                    self.next_step().await?
                }
                Step::Receive => self.next_step().await?,
                Step::Work => {
                    tokio::task::yield_now().await;
                    self.startup.work().map_err(refused)?
                }
                Step::SecurityContext(token) => self.exchange_token(token).await.map_err(refused)?,
                Step::Notice(message) => {
                    (self.notices)(&Notice::Server(message));
                    self.next_step().await?
                }
                Step::Ready(start) => return Ok(start),
            }
        }
    }

    /// Whether anything was made for the server from a password, or from the keys that stand for one. If so,
    /// the server must not be tried again with less protection.
    pub(super) fn used_password(&self) -> bool {
        self.startup.used_password()
    }

    /// Whether the server has let the user in, whatever it said afterwards. If so, no other protection would
    /// have led to another answer (CN-305).
    pub(super) fn is_authenticated(&self) -> bool {
        self.startup.is_authenticated()
    }

    async fn exchange_token(&mut self, token: Vec<u8>) -> Result<Step, StartupError> {
        let context = match self.security_context.take() {
            Some(context) => context,
            None => SecurityContext::new(self.startup.config(), self.host)?,
        };
        let Stepped { context, token, is_established } = context.step(token).await?;
        self.security_context = Some(context);
        self.startup.proceed(&token, is_established)
    }

    async fn next_step(&mut self) -> Result<Step, AttemptError> {
        let message = self.receive().await?;
        self.startup.handle(message).map_err(refused)
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), AttemptError> {
        let sent = async {
            self.socket.write_all(bytes).await?;
            self.socket.flush().await
        };
        match sent.await {
            Ok(()) => Ok(()),
            Err(error) => {
                Err(self.last_words().await.unwrap_or_else(|| AttemptError::Lost(send_error(error))))
            }
        }
    }

    /// What the server said before it closed the connection, a better reason than that it did (CN-294).
    async fn last_words(&mut self) -> Option<AttemptError> {
        loop {
            match self.receive().await {
                Ok(Message { tag: b'E', body }) => {
                    return Some(refused(StartupError::Server(ServerMessage::parse_error(body))));
                }
                Ok(_) => {}
                Err(words @ AttemptError::Startup { refusal: StartupError::Words(_), .. }) => {
                    return Some(words);
                }
                // An alert is the last word of a server that does not believe the client's certificate.
                Err(alert @ AttemptError::Lost(ConnectionError::Tls(TlsError::Protocol(_)))) => {
                    return Some(alert);
                }
                Err(_) => return None,
            }
        }
    }

    async fn receive(&mut self) -> Result<Message, AttemptError> {
        loop {
            match self.deframer.next() {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => self.fill().await?,
                Err(error) => {
                    let words = self.words(error).await;
                    let refusal = words.map(StartupError::Words).or_else(|| self.startup.refusal(error));
                    return Err(refusal.map_or_else(|| AttemptError::Lost(error.into()), refused));
                }
            }
        }
    }

    /// The error of a server that has no process for the session: `E`, text, NUL, as in the protocol before 3.0.
    async fn words(&mut self, error: OutOfSync) -> Option<String> {
        if error.tag != b'E' || self.startup.is_authenticated() {
            return None;
        }
        while !self.deframer.rest().contains(&0) {
            if self.deframer.rest().len() > LONGEST_WORDS || self.fill().await.is_err() {
                return None;
            }
        }
        let words = self.deframer.rest().strip_prefix(b"E")?.split(|&byte| byte == 0).next()?;
        let words = words.trim_ascii_end();
        (!words.is_empty()).then(|| String::from_utf8_lossy(words).into_owned())
    }

    async fn fill(&mut self) -> Result<(), AttemptError> {
        if self.received > LARGEST_STARTUP {
            return Err(refused(StartupError::Endless(LARGEST_STARTUP)));
        }
        match self.socket.read_buf(self.deframer.buffer_with_room(READ_ROOM)).await {
            Ok(0) => Err(AttemptError::Lost(ConnectionError::Closed)),
            Ok(length) => {
                self.received += length;
                Ok(())
            }
            Err(error) => Err(AttemptError::Lost(receive_error(error))),
        }
    }
}

fn refused(refusal: StartupError) -> AttemptError {
    AttemptError::Startup { refusal, password_file: None }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::super::channel::Channel;
    use super::*;
    use crate::conninfo::Config;

    /// What a client makes of these bytes of a server that has stopped reading, and then closed.
    fn outcome(bytes: &[u8]) -> String {
        let (client, mut server) = UnixStream::pair().unwrap();
        server.shutdown(Shutdown::Read).unwrap();
        server.write_all(bytes).unwrap();
        drop(server);
        failure(client)
    }

    /// The same where the server takes what it is sent, and closes when the client leaves.
    fn outcome_while_reading(bytes: &[u8]) -> String {
        let (client, mut server) = UnixStream::pair().unwrap();
        std::thread::scope(|scope| {
            // The client leaves before it has read everything.
            scope.spawn(move || server.write_all(bytes));
            failure(client)
        })
    }

    fn failure(client: UnixStream) -> String {
        client.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let started = runtime.block_on(async {
            let mut socket = Socket::Unix(tokio::net::UnixStream::from_std(client).unwrap());
            let mut deframer = Deframer::new();
            let notices: NoticeHandler = Arc::new(|_: &Notice| {});
            let config: Config = "user=u password=p".parse().unwrap();
            let startup = Startup::new(&config, config.password.clone(), Channel::Plain);
            let host = &config.hosts[0];
            Handshake::new(&mut socket, &mut deframer, startup, host, &notices).run(&[("user", "u")]).await
        });
        started.unwrap_err().to_string()
    }

    #[test]
    fn cn_303_a_start_that_never_ends_is_given_up() {
        let consent = b"R\0\0\0\x08\0\0\0\0";
        for endless in [&b"S\0\0\0\x08a\0b\0"[..], b"N\0\0\0\x09Mno\0\0"] {
            let text = outcome_while_reading(&[consent, &endless.repeat(200_000)[..]].concat());
            assert_eq!(text, "the server does not become ready: more than 1048576 bytes during start-up");
        }
    }

    #[test]
    fn cn_220_a_server_without_a_process_to_spare_is_understood() {
        let words = "could not fork new process for connection: Cannot allocate memory";
        assert_eq!(outcome(format!("E{words}\n\0").as_bytes()), words);
        for no_words in [&b"Ewithout an end"[..], b"E\0\0\0\0", &vec![b'E'; 40_000]] {
            assert!(outcome(no_words).starts_with("server closed the connection unexpectedly"));
        }
    }

    #[test]
    fn cn_294_the_last_words_of_a_server_are_shown() {
        let words = b"E\0\0\0\x12SFATAL\0Msorry\0\0";
        assert_eq!(outcome(words), "FATAL:  sorry");
        assert_eq!(outcome(&[&b"R\0\0\0\x08\0\0\0\x03"[..], words].concat()), "FATAL:  sorry");
        assert!(outcome(b"").starts_with("server closed the connection unexpectedly"));
        assert!(outcome(&words[..9]).starts_with("server closed the connection unexpectedly"));
    }
}
