use std::os::fd::BorrowedFd;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use super::error::ClientError;
use crate::connection::{ConnectionError, CopyItem, Reply, Session, SideDoor};
use crate::protocol::{NextTimeline, ResultSet, StandbyStatus, WalMessage};

/// Seconds from 1970-01-01 to 2000-01-01, where PostgreSQL's clock starts.
const POSTGRES_EPOCH: u64 = 946_684_800;

/// What the server makes of `START_REPLICATION`.
#[derive(Debug)]
pub enum StartReplication<'a> {
    /// WAL follows.
    Streaming(PhysicalStream<'a>),
    /// The start is exactly the end of a historic timeline: there is nothing to stream on it (OP-02).
    NothingOnTimeline(NextTimeline),
}

/// WAL under way from the server, and status the other way; it borrows the client until it is finished.
#[derive(Debug)]
pub struct PhysicalStream<'a> {
    session: &'a mut Session,
    /// How the server has ended its side, once it has.
    ended: Option<Ended>,
}

/// How a server ends its side of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// It waits for the client's own end.
    Done,
    /// It shuts down, and hears nothing any more.
    Complete,
}

impl<'a> StartReplication<'a> {
    pub(super) async fn begin(session: &'a mut Session, command: &str) -> Result<Self, ClientError> {
        let refused = |source| ClientError::Command { command: "START_REPLICATION".to_owned(), source };
        session.start_command(command).await.map_err(refused)?;
        let mut result = None;
        loop {
            match session.reply().await.map_err(refused)? {
                Reply::CopyBoth => {
                    let stream = PhysicalStream { session, ended: None };
                    return Ok(Self::Streaming(stream));
                }
                Reply::Rows(rows) => result = Some(rows),
                Reply::Complete => {}
                Reply::CopyIn | Reply::CopyOut => return Err(refused(ConnectionError::NotIdle)),
                Reply::Ready => {
                    let next = NextTimeline::try_from(&result.unwrap_or_default())?;
                    return Ok(Self::NothingOnTimeline(next));
                }
            }
        }
    }
}

impl PhysicalStream<'_> {
    /// The next message, waiting for it if need be; none when the server has ended its side.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<WalMessage>, ClientError> {
        while self.ended.is_none() {
            let item = self.session.copy_item().await.map_err(stream_error)?;
            if let Some(message) = self.message(item)? {
                return Ok(Some(message));
            }
            // Empty messages may come for ever.
            tokio::task::consume_budget().await;
        }
        Ok(None)
    }

    /// The next message if it is already here, without waiting. An end of the stream is left to
    /// [`PhysicalStream::next`], which reports it again.
    pub fn try_next(&mut self) -> Result<Option<WalMessage>, ClientError> {
        while self.ended.is_none() {
            match self.session.buffered_copy_item().map_err(stream_error)? {
                None => break,
                Some(item) => {
                    if let Some(message) = self.message(item)? {
                        return Ok(Some(message));
                    }
                }
            }
        }
        Ok(None)
    }

    fn message(&mut self, item: CopyItem) -> Result<Option<WalMessage>, ClientError> {
        match item {
            CopyItem::Data(payload) => Ok(WalMessage::parse(payload)?),
            CopyItem::Done => {
                self.ended = Some(Ended::Done);
                Ok(None)
            }
            CopyItem::Complete => {
                self.ended = Some(Ended::Complete);
                Ok(None)
            }
        }
    }

    /// Tells the server how far the client has come.
    ///
    /// # Cancel safety
    /// When the future is dropped, the status is sent whole with what is sent next.
    pub async fn send_status(&mut self, status: StandbyStatus) -> Result<(), ClientError> {
        let payload = encode(status);
        self.session.send_copy_data(payload.as_ref()).await.map_err(ClientError::Feedback)
    }

    /// Whether a part of what was said is still to be sent.
    pub(crate) fn has_unsent(&self) -> bool {
        self.session.has_unsent()
    }

    /// Sends what is still to be sent.
    ///
    /// # Cancel safety
    /// When the future is dropped, the rest is sent with what is sent next.
    pub(crate) async fn flush(&mut self) -> Result<(), ClientError> {
        self.session.flush().await.map_err(ClientError::Feedback)
    }

    /// The socket, for a thread that waits for it outside of its runtime; none where the connection is encrypted.
    pub(crate) fn plain_socket(&self) -> Option<BorrowedFd<'_>> {
        self.session.plain_socket()
    }

    /// Tells the server how far the client has come, as far as a plain socket takes it at once; the rest is still to
    /// be sent then.
    pub(crate) fn send_status_now(&mut self, status: StandbyStatus) -> Result<(), ClientError> {
        let payload = encode(status);
        self.session.send_copy_data_now(payload.as_ref()).map_err(ClientError::Feedback)
    }

    /// Receives what a plain socket has by now, at most as much as there is room for; [`PhysicalStream::try_next`] gives
    /// the messages.
    pub(crate) fn receive_now(&mut self, room: &mut [u8]) -> Result<(), ClientError> {
        self.session.receive_now(room).map_err(stream_error)
    }

    /// Whether the server has ended its side.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// A way for another thread to tell the server how far the client has come, until the stream is finished; none where
    /// the connection is encrypted.
    pub(crate) fn status_sender(&mut self) -> Option<StatusSender> {
        self.session.open_side_door().map(|door| StatusSender { door })
    }

    /// Ends the stream from this side and waits until the server has ended it too. WAL that comes in between
    /// is dropped. Returns where the log goes on, if the server says that this timeline has ended.
    ///
    /// # Cancel safety
    /// A dropped future leaves a client that can only be closed.
    pub async fn finish(self) -> Result<Option<NextTimeline>, ClientError> {
        if self.ended != Some(Ended::Complete) {
            self.session.send_copy_done().await.map_err(ClientError::Feedback)?;
        }
        if self.ended.is_none() {
            while let CopyItem::Data(_) = self.session.copy_item().await.map_err(stream_error)? {}
        }
        let mut result: Option<ResultSet> = None;
        loop {
            match self.session.reply().await {
                Ok(Reply::Rows(rows)) => result = Some(rows),
                Ok(Reply::Complete) => {}
                // A server that shuts down closes the connection without getting ready again (RW-188).
                Ok(Reply::Ready) | Err(ConnectionError::Closed) => break,
                Ok(_) => return Err(ClientError::Termination(ConnectionError::NotIdle)),
                Err(error) => return Err(ClientError::Termination(error)),
            }
        }
        Ok(result.as_ref().map(NextTimeline::try_from).transpose()?)
    }
}

/// Tells the server how far the client has come, from another thread than the one that streams.
#[derive(Debug)]
pub(crate) struct StatusSender {
    door: SideDoor,
}

impl StatusSender {
    /// Sends the update if that is possible without waiting.
    pub(crate) fn try_send(&self, status: StandbyStatus) {
        let mut message = BytesMut::new();
        let payload = encode(status);
        if let Ok(data) = frontend::CopyData::new(payload.as_ref()) {
            data.write(&mut message);
        }
        self.door.try_send(&message);
    }

    /// Ends the connection.
    pub(crate) fn hang_up(&self) {
        self.door.shut_down();
    }
}

fn stream_error(error: ConnectionError) -> ClientError {
    match error {
        ConnectionError::Server(_) => ClientError::Termination(error),
        _ => ClientError::WalStream(error),
    }
}

fn encode(status: StandbyStatus) -> impl AsRef<[u8]> {
    tracing::trace!(written = %status.written, flushed = %status.flushed, "status update");
    status.encode(postgres_clock())
}

/// Microseconds since 2000-01-01 00:00:00 UTC.
fn postgres_clock() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = since_1970.as_micros().saturating_sub(u128::from(POSTGRES_EPOCH) * 1_000_000);
    i64::try_from(micros).unwrap_or(i64::MAX)
}
