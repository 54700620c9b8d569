//! What becomes of the permanent replication slot of a backup that failed.
//!
//! In come the events of a backup; once it has failed, a slot that it created is dropped again, and any other is named
//! with what it costs. Nothing is ever dropped that is not known to be the work of this program.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::messages::Messages;
use super::signals::{EndingSignal, run_until_signal};
use crate::backup::{BackupError, BackupOptions, Event, Observer, ReceiveSlot, WalMethod};
use crate::client::{ClientError, ReplicationClient};
use crate::connection::{ConnectError, sqlstate};
use crate::conninfo::{Config, Host};
use crate::receive::ReceiveError;
use crate::types::{OsError, WithCauses};

/// How long dropping a slot may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a server that has no connection left, or is just starting, is left in peace.
const PAUSE: Duration = Duration::from_millis(100);

/// Knows of the permanent slot that a backup uses, over all tries to take it.
#[derive(Debug, Default)]
pub(super) struct SlotWatch {
    slot: Mutex<Slot>,
}

/// What is known of the slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Slot {
    /// There is none, or it has not been used.
    #[default]
    Unused,
    /// It was there before.
    Found(String),
    /// This program has created it, on that server.
    Created(String, Host),
    /// It was asked for, and nobody knows whether it was created.
    InDoubt(String),
}

/// Why a slot was not dropped.
#[derive(Debug, thiserror::Error)]
enum DropError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("could not start")]
    Start(#[source] OsError),
    #[error("no success within {} seconds", PATIENCE.as_secs())]
    Timeout,
    #[error("interrupted")]
    Interrupted,
}

impl SlotWatch {
    /// An observer of one try, which passes everything on to `next`.
    pub(super) fn observer(
        self: &Arc<Self>,
        options: &BackupOptions,
        next: impl Observer + 'static,
    ) -> Arc<dyn Observer> {
        let existing = match &options.wal {
            WalMethod::Stream { slot: ReceiveSlot::Existing(name), .. } => Some(name.clone()),
            _ => None,
        };
        Arc::new(WatchedTry { watch: Arc::clone(self), existing, next: Box::new(next) })
    }

    /// The options for the next try: a slot that an earlier one has created is there now.
    pub(super) fn options(&self, options: &BackupOptions) -> BackupOptions {
        let mut options = options.clone();
        if let (Slot::Created(name, _), WalMethod::Stream { slot, .. }) = (&*self.slot(), &mut options.wal) {
            *slot = ReceiveSlot::Existing(name.clone());
        }
        options
    }

    /// After the last try failed: drops the slot, or says that it stays. Gives the signal that interrupted that, if
    /// one did.
    pub(super) fn settle(
        &self,
        error: &BackupError,
        config: &Config,
        messages: &Messages,
    ) -> Option<EndingSignal> {
        let slot = std::mem::take(&mut *self.slot());
        match slot {
            Slot::Unused => None,
            Slot::Found(name) => {
                say_that_it_stays(&name, messages);
                None
            }
            Slot::InDoubt(name) => {
                messages.warning(&format!(
                    "server did not say whether replication slot \"{name}\" was created; if so, it stays"
                ));
                advise(&name, messages);
                None
            }
            // The backup is kept for what can be read of it, and so is the slot for whoever makes a standby of it.
            Slot::Created(name, _) if error.leaves_something_worth_keeping() => {
                say_that_it_stays(&name, messages);
                None
            }
            Slot::Created(name, host) => {
                let (outcome, signal) = drop_slot(&name, host, config);
                match outcome {
                    Ok(()) => messages.information(&format!(
                        "dropped replication slot \"{name}\", which this run had created"
                    )),
                    Err(error) => {
                        messages.warning(&format!(
                            "could not drop replication slot \"{name}\", which this run has created: {}",
                            WithCauses(&error)
                        ));
                        advise(&name, messages);
                    }
                }
                signal
            }
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn say_that_it_stays(name: &str, messages: &Messages) {
    messages.information(&format!("replication slot \"{name}\" stays"));
    advise(name, messages);
}

/// What a slot costs that nobody uses, and how to get rid of it.
fn advise(name: &str, messages: &Messages) {
    messages.detail(
        "While nothing streams from it, the server keeps all write-ahead log for it, until its disk is full.",
    );
    let literal = name.replace('\'', "''");
    messages.hint(&format!(
        "If it is not needed, drop it on the server: SELECT pg_drop_replication_slot('{literal}');"
    ));
}

/// Drops the slot on the server that it was created on. A signal ends that at once.
fn drop_slot(name: &str, host: Host, config: &Config) -> (Result<(), DropError>, Option<EndingSignal>) {
    let mut config = config.clone();
    config.hosts = vec![host];
    let cancel = CancellationToken::new();
    let token = cancel.clone();
    let work = async {
        let dropping = tokio::time::timeout(PATIENCE, connect_and_drop(&config, name));
        match token.run_until_cancelled(dropping).await {
            None => Err(DropError::Interrupted),
            Some(dropped) => dropped.unwrap_or(Err(DropError::Timeout)),
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let started = |error: io::Error| DropError::Start(OsError(error));
    match runtime.map_err(started) {
        Ok(runtime) => {
            let outcome = runtime.block_on(run_until_signal(&cancel, work));
            // A name that is still being resolved must not hold up the end.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => (Err(error), None),
    }
}

/// The connections of the backup may still be closing: the server counts them until then, and has the slot in use.
async fn connect_and_drop(config: &Config, name: &str) -> Result<(), DropError> {
    let mut client = loop {
        match ReplicationClient::connect_with(config, Arc::new(|_| {})).await {
            Err(error) if is_busy(&error) => tokio::time::sleep(PAUSE).await,
            connected => break connected?,
        }
    };
    client.drop_replication_slot_once_free(name).await?;
    client.close().await;
    Ok(())
}

fn is_busy(error: &ConnectError) -> bool {
    let messages = error.attempts().iter().filter_map(|attempt| attempt.cause.server_message());
    messages
        .map(|message| message.sqlstate().to_owned())
        .any(|state| matches!(&*state, sqlstate::TOO_MANY_CONNECTIONS | sqlstate::CANNOT_CONNECT_NOW))
}

/// One try.
struct WatchedTry {
    watch: Arc<SlotWatch>,
    /// The slot that is to be used and that nobody creates.
    existing: Option<String>,
    next: Box<dyn Observer>,
}

impl WatchedTry {
    fn note(&self, event: &Event<'_>) {
        let mut slot = self.watch.slot();
        match event {
            Event::SlotCreated { name, temporary: false, host } => {
                *slot = Slot::Created((*name).to_owned(), (*host).clone());
            }
            Event::SlotInDoubt { name } => *slot = Slot::InDoubt((*name).to_owned()),
            Event::StartingReceiver if *slot == Slot::Unused => {
                *slot = self.existing.clone().map_or(Slot::Unused, Slot::Found);
            }
            Event::Failed(error) if says_that_there_is_no_slot(error) && matches!(*slot, Slot::Found(_)) => {
                *slot = Slot::Unused;
            }
            _ => {}
        }
    }
}

impl Observer for WatchedTry {
    fn observe(&self, event: &Event<'_>) {
        self.note(event);
        self.next.observe(event);
    }
}

fn says_that_there_is_no_slot(error: &BackupError) -> bool {
    let (BackupError::ReceiverDied(ReceiveError::Client(cause))
    | BackupError::Receiver(ReceiveError::Client(cause))) = error
    else {
        return false;
    };
    cause.server_message().is_some_and(|message| message.sqlstate() == sqlstate::UNDEFINED_OBJECT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(slot: ReceiveSlot) -> BackupOptions {
        BackupOptions { wal: WalMethod::Stream { slot, status_interval: None }, ..BackupOptions::default() }
    }

    fn host() -> Host {
        let config: Config = "host=h user=u".parse().unwrap();
        config.hosts[0].clone()
    }

    /// What is known of the slot after these events of one try.
    fn after(slot: ReceiveSlot, events: &[Event<'_>]) -> Slot {
        let watch = Arc::new(SlotWatch::default());
        let observer = watch.observer(&options(slot), ());
        for event in events {
            observer.observe(event);
        }
        watch.slot().clone()
    }

    #[test]
    fn bb_119_only_what_was_created_counts_as_created() {
        let (host, create) = (host(), || ReceiveSlot::Create("s".to_owned()));
        let created = |temporary| Event::SlotCreated { name: "s", temporary, host: &host };
        let existing = || ReceiveSlot::Existing("s".to_owned());
        assert_eq!(after(create(), &[Event::StartingReceiver]), Slot::Unused);
        let all = [Event::StartingReceiver, created(false), Event::WaitingForReceiver];
        assert_eq!(after(create(), &all), Slot::Created("s".to_owned(), host.clone()));
        assert_eq!(after(create(), &[Event::SlotInDoubt { name: "s" }]), Slot::InDoubt("s".to_owned()));
        assert_eq!(after(ReceiveSlot::Temporary, &[Event::StartingReceiver, created(true)]), Slot::Unused);
        assert_eq!(after(existing(), &[Event::WaitingForCheckpoint]), Slot::Unused);
        assert_eq!(after(existing(), &[Event::StartingReceiver]), Slot::Found("s".to_owned()));
    }

    #[test]
    fn bb_119_a_further_try_uses_the_slot_of_the_one_before() {
        let (host, options) = (host(), options(ReceiveSlot::Create("s".to_owned())));
        let watch = Arc::new(SlotWatch::default());
        assert_eq!(watch.options(&options).wal, options.wal);
        watch.observer(&options, ()).observe(&Event::SlotCreated {
            name: "s",
            temporary: false,
            host: &host,
        });
        let second = watch.options(&options);
        assert!(
            matches!(&second.wal, WalMethod::Stream { slot: ReceiveSlot::Existing(name), .. } if name == "s")
        );
        // It is still known to be the work of this program.
        watch.observer(&second, ()).observe(&Event::StartingReceiver);
        assert_eq!(*watch.slot(), Slot::Created("s".to_owned(), host));
    }
}
