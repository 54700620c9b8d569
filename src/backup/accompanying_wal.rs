//! The WAL that goes along with a backup: received over a second connection, on a thread of its own.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::BackupError;
use super::observer::{Event, Observer};
use super::options::{ReceiveSlot, SlotOrigin};
use super::own_slot::{Ending, PATIENCE, SlotStays, says_that_it_is_in_use, settle};
use crate::client::{ClientError, ReplicationClient};
use crate::connection::{NoticeHandler, sqlstate};
use crate::conninfo::Config;
use crate::protocol::CreateSlot;
use crate::receive::{ReceiveError, ReceiveOptions, ReceiveReport, WalArchive, stream_and_note};
use crate::types::{Lsn, OsError, SystemId};

/// What the receiver is asked for.
pub(super) struct Request {
    pub(super) config: Config,
    pub(super) slot: ReceiveSlot,
    /// The cluster that the backup is of.
    pub(super) system_id: SystemId,
    /// The slot's name is filled in once it is known.
    pub(super) options: ReceiveOptions,
    pub(super) archive: Box<dyn WalArchive>,
}

/// A receiver that runs beside the backup. Its connection lives until it knows how the backup ended, if it has created a
/// slot. Dropping it ends the thread and waits for that.
pub(super) struct AccompanyingWal {
    end: watch::Sender<Option<Lsn>>,
    ready: Option<oneshot::Receiver<Result<(), BackupError>>>,
    outcome: Option<oneshot::Receiver<Result<ReceiveReport, ReceiveError>>>,
    /// How the backup ended; where that is never said, it failed.
    ending: Option<oneshot::Sender<Ending>>,
    cancel: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl AccompanyingWal {
    /// Begins to connect.
    pub(super) fn start(
        request: Request,
        notices: NoticeHandler,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, BackupError> {
        let (end, end_receiver) = watch::channel(None);
        let (ready_sender, ready) = oneshot::channel();
        let (outcome_sender, outcome) = oneshot::channel();
        let (ending, ending_receiver) = oneshot::channel();
        let cancel = CancellationToken::new();
        let receiver = Receiver {
            request,
            notices,
            observer,
            end: end_receiver,
            ending: ending_receiver,
            cancel: cancel.clone(),
            deadline: None,
        };
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
        let (ready, outcome) = (Some(ready), Some(outcome));
        Ok(Self { end, ready, outcome, ending: Some(ending), cancel, thread: Some(thread) })
    }

    /// Waits until the slot is there, which is what keeps the WAL from being removed (BB-120).
    pub(super) async fn ready(&mut self) -> Result<(), BackupError> {
        match self.ready.take() {
            Some(ready) => ready.await.unwrap_or(Err(BackupError::ThreadDied)),
            None => Ok(()),
        }
    }

    /// Waits for the receiver to fail, which it must not while the backup is under way.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn failure(&mut self) -> BackupError {
        match self.outcome().await {
            Some(Err(error)) => BackupError::ReceiverDied(error),
            Some(Ok(_)) => BackupError::ReceiverDied(ReceiveError::Terminated),
            None => BackupError::ThreadDied,
        }
    }

    /// Says where WAL may end and waits until it was received up to there, durably.
    pub(super) async fn finish(&mut self, end: Lsn) -> Result<ReceiveReport, BackupError> {
        self.end.send_replace(Some(end));
        match self.outcome().await {
            Some(Ok(report)) => check_end(report, end).map_err(BackupError::Receiver),
            Some(Err(error)) => Err(BackupError::Receiver(error)),
            None => Err(BackupError::ThreadDied),
        }
    }

    /// Says how the backup ended, and waits until nothing more is written. What becomes of the slot may take longer.
    pub(super) async fn stop(&mut self, ending: Ending) {
        if let Some(sender) = self.ending.take() {
            // Without a slot, nobody listens.
            let _ = sender.send(ending);
        }
        self.cancel.cancel();
        let _ = self.outcome().await;
    }

    /// How receiving ended; none if the thread has ended without saying so, or it was said before.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    async fn outcome(&mut self) -> Option<Result<ReceiveReport, ReceiveError>> {
        let outcome = self.outcome.as_mut()?.await.ok();
        self.outcome = None;
        outcome
    }
}

impl Drop for AccompanyingWal {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.ending = None;
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
    ending: oneshot::Receiver<Ending>,
    cancel: CancellationToken,
    /// Until when the server is waited for, once the run is to end.
    deadline: Option<Instant>,
}

/// The slot that is used.
enum Slot {
    /// None, or one that goes with the connection.
    Passing,
    Existing(String),
    /// This connection has created it.
    Own(String),
}

impl Receiver {
    async fn run(
        mut self,
        ready: oneshot::Sender<Result<(), BackupError>>,
        outcome: oneshot::Sender<Result<ReceiveReport, ReceiveError>>,
    ) {
        let (mut client, slot) = match self.prepare().await {
            Ok(prepared) => prepared,
            Err(error) => {
                // The archive goes before anybody hears that.
                drop(self);
                let _ = ready.send(Err(error));
                return;
            }
        };
        let _ = ready.send(Ok(()));
        let Self { request, observer, end, ending, cancel, deadline, .. } = self;
        let mut was_seen = false;
        let received =
            stream_and_note(&mut client, &request.options, request.archive, end, cancel, &mut was_seen).await;
        was_seen |= received.as_ref().is_err_and(says_that_it_is_in_use);
        let is_good = received.is_ok();
        let _ = outcome.send(received);
        if let Slot::Own(name) = slot {
            let ending = ending.await.unwrap_or(Ending::Failed);
            let deadline = deadline.unwrap_or_else(|| Instant::now() + PATIENCE);
            return settle(client, &name, ending, deadline, &*observer).await;
        }
        if is_good {
            client.close().await;
        } else {
            drop(client);
        }
        if let Slot::Existing(name) = slot
            && was_seen
            && ending.await.unwrap_or(Ending::Failed) != Ending::Complete
        {
            observer.observe(&Event::SlotStays { name: &name, why: &SlotStays::WasThere });
        }
    }

    /// Connects and makes the slot that the options name.
    async fn prepare(&mut self) -> Result<(ReplicationClient, Slot), BackupError> {
        let connected = self.cancel.run_until_cancelled(self.connect()).await;
        let mut client = connected.unwrap_or(Err(BackupError::Cancelled))?;
        let slot = match self.request.slot.clone() {
            ReceiveSlot::None => Slot::Passing,
            ReceiveSlot::Existing(name) => self.use_slot(name, Slot::Existing),
            ReceiveSlot::Temporary => self.create_temporary(&mut client).await?,
            ReceiveSlot::Create(name) => {
                self.create_slot(&mut client, &name, false).await?;
                self.use_slot(name, Slot::Own)
            }
            ReceiveSlot::CreateAgain { name, left } => self.create_again(&mut client, name, &left).await?,
        };
        Ok((client, slot))
    }

    fn use_slot(&mut self, name: String, kind: impl FnOnce(String) -> Slot) -> Slot {
        self.request.options.slot = Some(name.clone());
        kind(name)
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

    async fn create_temporary(&mut self, client: &mut ReplicationClient) -> Result<Slot, BackupError> {
        let pid = client.backend_pid().ok_or(BackupError::NoBackendPid)?;
        let name = format!("pg_basebackup_{pid}");
        self.create_slot(client, &name, true).await?;
        Ok(self.use_slot(name, |_| Slot::Passing))
    }

    /// Creates the slot. Where it may be the one that an earlier try has left, it stays as it is, and a temporary one is
    /// used.
    async fn create_again(
        &mut self,
        client: &mut ReplicationClient,
        name: String,
        left: &[SlotOrigin],
    ) -> Result<Slot, BackupError> {
        let origin = self.origin(client);
        match self.create_slot(client, &name, false).await {
            Err(BackupError::Client(error)) if left.contains(&origin) && says_that_it_exists(&error) => {
                self.observer.observe(&Event::SlotLeftAlone { name: &name, origin: &origin });
                self.create_temporary(client).await
            }
            created => created.map(|()| self.use_slot(name, Slot::Own)),
        }
    }

    /// Makes the slot, and makes known whether there is one now: its answer is waited for also when the run is
    /// cancelled meanwhile.
    async fn create_slot(
        &mut self,
        client: &mut ReplicationClient,
        name: &str,
        temporary: bool,
    ) -> Result<(), BackupError> {
        let origin = self.origin(client);
        let slot = CreateSlot { name: name.to_owned(), temporary, reserve_wal: true };
        if !temporary {
            self.observer.observe(&Event::CreatingSlot { name, origin: &origin });
        }
        let created = self.answer(client.create_physical_slot(&slot)).await;
        match &created {
            Some(Ok(())) => {
                self.observer.observe(&Event::SlotCreated { name, temporary, origin: &origin });
            }
            Some(Err(error)) if says_that_there_is_no_new_one(error) => {}
            _ if temporary => {}
            _ => self.observer.observe(&Event::SlotInDoubt { name, origin: &origin }),
        }
        Ok(created.ok_or(BackupError::Cancelled)??)
    }

    fn origin(&self, client: &ReplicationClient) -> SlotOrigin {
        SlotOrigin { server: client.place().clone(), system_id: self.request.system_id }
    }

    /// Waits for an answer; once the run is cancelled only for a while.
    async fn answer<T>(&mut self, answer: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => return Some(answer),
            () = self.cancel.cancelled() => {}
        }
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
        tokio::time::timeout_at(deadline, answer).await.ok()
    }
}

/// Whether the server refused to begin. After other errors, such as one of its disk, a slot may be there.
fn says_that_there_is_no_new_one(error: &ClientError) -> bool {
    error.server_message().is_some_and(|message| sqlstate::REFUSALS_OF_A_SLOT.contains(&message.sqlstate()))
}

fn says_that_it_exists(error: &ClientError) -> bool {
    error.server_message().is_some_and(|message| message.sqlstate() == sqlstate::DUPLICATE_OBJECT)
}
