//! The WAL that goes along with a backup: received over a second connection, on a thread of its own.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::error::BackupError;
use super::observer::{Event, Observer};
use super::options::ReceiveSlot;
use crate::client::ReplicationClient;
use crate::connection::NoticeHandler;
use crate::conninfo::Config;
use crate::protocol::CreateSlot;
use crate::receive::{ReceiveError, ReceiveOptions, ReceiveReport, WalArchive, stream};
use crate::types::{Lsn, OsError};

/// How long a run that was cancelled waits for the answer about a slot.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// What the receiver is asked for.
pub(super) struct Request {
    pub(super) config: Config,
    pub(super) slot: ReceiveSlot,
    /// The slot's name is filled in once it is known.
    pub(super) options: ReceiveOptions,
    pub(super) archive: Box<dyn WalArchive>,
}

/// A receiver that runs beside the backup. Dropping it ends the thread and waits for that.
pub(super) struct AccompanyingWal {
    end: watch::Sender<Option<Lsn>>,
    outcome: oneshot::Receiver<Result<ReceiveReport, ReceiveError>>,
    cancel: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl AccompanyingWal {
    /// Connects, makes the slot, and begins to receive. Returns when the slot is there, which is what keeps
    /// the WAL from being removed (BB-120).
    pub(super) async fn start(
        request: Request,
        notices: NoticeHandler,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, BackupError> {
        let (end, end_receiver) = watch::channel(None);
        let (ready_sender, ready) = oneshot::channel();
        let (outcome_sender, outcome) = oneshot::channel();
        let cancel = CancellationToken::new();
        let receiver = Receiver { request, notices, observer, end: end_receiver, cancel: cancel.clone() };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| BackupError::Thread(OsError(error)))?;
        let thread = std::thread::Builder::new()
            .name("wal-receiver".to_owned())
            .spawn(move || {
                runtime.block_on(receiver.run(ready_sender, outcome_sender));
                // A name that is still being resolved must not hold up a run that was cancelled.
                runtime.shutdown_background();
            })
            .map_err(|error| BackupError::Thread(OsError(error)))?;
        let wal = Self { end, outcome, cancel, thread: Some(thread) };
        ready.await.unwrap_or(Err(BackupError::ThreadDied))?;
        Ok(wal)
    }

    /// Waits for the receiver to fail, which it must not while the backup is under way.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn failure(&mut self) -> BackupError {
        match (&mut self.outcome).await {
            Ok(Err(error)) => BackupError::ReceiverDied(error),
            Ok(Ok(_)) => BackupError::ReceiverDied(ReceiveError::Terminated),
            Err(_) => BackupError::ThreadDied,
        }
    }

    /// Says where WAL may end and waits until it was received up to there, durably.
    pub(super) async fn finish(mut self, end: Lsn) -> Result<ReceiveReport, BackupError> {
        self.end.send_replace(Some(end));
        match (&mut self.outcome).await {
            Ok(Ok(report)) => check_end(report, end).map_err(BackupError::Receiver),
            Ok(Err(error)) => Err(BackupError::Receiver(error)),
            Err(_) => Err(BackupError::ThreadDied),
        }
    }
}

impl Drop for AccompanyingWal {
    fn drop(&mut self) {
        self.cancel.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What was received, and the records in it, reach the end of the backup.
fn check_end(report: ReceiveReport, wanted: Lsn) -> Result<ReceiveReport, ReceiveError> {
    if report.end.value() < wanted {
        return Err(ReceiveError::Terminated);
    }
    let reached = report.end_of_records;
    if reached < wanted { Err(ReceiveError::RecordsMissing { reached, wanted }) } else { Ok(report) }
}

/// What runs on the thread.
struct Receiver {
    request: Request,
    notices: NoticeHandler,
    observer: Arc<dyn Observer>,
    end: watch::Receiver<Option<Lsn>>,
    cancel: CancellationToken,
}

impl Receiver {
    async fn run(
        mut self,
        ready: oneshot::Sender<Result<(), BackupError>>,
        outcome: oneshot::Sender<Result<ReceiveReport, ReceiveError>>,
    ) {
        let mut client = match self.prepare().await {
            Ok(client) => client,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        let _ = ready.send(Ok(()));
        let received =
            stream(&mut client, &self.request.options, self.request.archive, self.end, self.cancel).await;
        if received.is_ok() {
            client.close().await;
        }
        let _ = outcome.send(received);
    }

    /// Connects and makes the slot that the options name.
    async fn prepare(&mut self) -> Result<ReplicationClient, BackupError> {
        let connected = self.cancel.run_until_cancelled(self.connect()).await;
        let mut client = connected.unwrap_or(Err(BackupError::Cancelled))?;
        let name = match &self.request.slot {
            ReceiveSlot::None => None,
            ReceiveSlot::Existing(name) | ReceiveSlot::Create(name) => Some(name.clone()),
            ReceiveSlot::Temporary => {
                let pid = client.backend_pid().ok_or(BackupError::NoBackendPid)?;
                Some(format!("pg_basebackup_{pid}"))
            }
        };
        let temporary = self.request.slot == ReceiveSlot::Temporary;
        if let Some(name) = &name
            && (temporary || matches!(self.request.slot, ReceiveSlot::Create(_)))
        {
            self.create_slot(&mut client, name, temporary).await?;
        }
        self.request.options.slot = name;
        Ok(client)
    }

    async fn connect(&self) -> Result<ReplicationClient, BackupError> {
        let mut client = ReplicationClient::connect_with(&self.request.config, self.notices.clone())
            .await
            .map_err(BackupError::ConnectReceiver)?;
        client.set_receive_timeout(self.request.options.receive_timeout);
        client.require_integer_datetimes()?;
        // Every connection of the reference asks, and operators expect the same commands (BB-073).
        client.data_directory_mode().await?;
        Ok(client)
    }

    /// Makes the slot, and makes known whether there is one now: its answer is waited for also when the run is
    /// cancelled meanwhile.
    async fn create_slot(
        &self,
        client: &mut ReplicationClient,
        name: &str,
        temporary: bool,
    ) -> Result<(), BackupError> {
        let host = client.host().clone();
        let slot = CreateSlot { name: name.to_owned(), temporary, reserve_wal: true };
        let created = self.answer(client.create_physical_slot(&slot)).await;
        match &created {
            Some(Ok(())) => self.observer.observe(&Event::SlotCreated { name, temporary, host: &host }),
            Some(Err(error)) if error.server_message().is_some() => {}
            _ if temporary => {}
            _ => self.observer.observe(&Event::SlotInDoubt { name }),
        }
        Ok(created.ok_or(BackupError::Cancelled)??)
    }

    /// Waits for an answer; once the run is cancelled only for a while.
    async fn answer<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => return Some(answer),
            () = self.cancel.cancelled() => {}
        }
        tokio::time::timeout(ANSWER_PATIENCE, answer).await.ok()
    }
}
