//! The way from the network to the disk: one place where everything waits that the disk has not taken yet.
//!
//! In come batches and orders, in order; out goes all that has gathered, at once. So whatever arrives while the disk is
//! busy with a sync becomes one group with one sync, however many messages it came in. Nobody waits for room here: the
//! sender bounds the bytes by the progress that it sees.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use super::batch::Batch;
use super::segment_writer::{Command, Order};

/// Where commands wait.
#[derive(Debug, Default)]
struct Waiting {
    commands: VecDeque<Command>,
    /// No more commands will come.
    closed: bool,
    /// Nobody is left to take them.
    unattended: bool,
    /// What waits, and the rest of what was taken, is to be left undone.
    abandoned: bool,
}

/// The end that the network holds. Dropping it closes the queue.
#[derive(Debug)]
pub(super) struct CommandSender {
    queue: Arc<Mutex<Waiting>>,
}

/// The end that the disk holds.
#[derive(Debug)]
pub(super) struct CommandReceiver {
    queue: Arc<Mutex<Waiting>>,
}

/// A new queue. It wakes nobody: whoever sends sees to it that the receiver looks again.
pub(super) fn command_queue() -> (CommandSender, CommandReceiver) {
    let queue = Arc::new(Mutex::default());
    (CommandSender { queue: Arc::clone(&queue) }, CommandReceiver { queue })
}

impl CommandSender {
    /// Adds a batch to those that wait.
    pub(super) fn write(&self, batch: Batch) {
        let mut waiting = locked(&self.queue);
        if waiting.unattended {
            return;
        }
        match waiting.commands.back_mut() {
            Some(Command::Write(last)) => last.append(batch),
            _ => waiting.commands.push_back(Command::Write(batch)),
        }
    }

    /// Adds an order behind all that waits. Where nobody is left to obey, its answer never comes: it is dropped.
    pub(super) fn order(&self, order: Order) {
        let mut waiting = locked(&self.queue);
        if !waiting.unattended {
            waiting.commands.push_back(Command::Order(order));
        }
    }

    /// Wants everything that is not done yet to be left undone.
    pub(super) fn abandon(&self) {
        locked(&self.queue).abandoned = true;
    }

    /// No more commands will come.
    pub(super) fn close(&self) {
        locked(&self.queue).closed = true;
    }
}

impl Drop for CommandSender {
    fn drop(&mut self) {
        self.close();
    }
}

impl CommandReceiver {
    /// Exchanges an empty queue for all that waits; nothing once the queue is closed and empty, or abandoned. The future
    /// looks whenever it is polled.
    pub(super) async fn take_all(&mut self, taken: &mut VecDeque<Command>) -> Option<()> {
        poll_fn(|_| {
            let mut waiting = locked(&self.queue);
            if waiting.abandoned || (waiting.closed && waiting.commands.is_empty()) {
                Poll::Ready(None)
            } else if waiting.commands.is_empty() {
                Poll::Pending
            } else {
                std::mem::swap(&mut waiting.commands, taken);
                Poll::Ready(Some(()))
            }
        })
        .await
    }

    /// Whether everything is to be left undone.
    pub(super) fn is_abandoned(&self) -> bool {
        locked(&self.queue).abandoned
    }
}

impl Drop for CommandReceiver {
    /// Drops what waits: who waits for an answer is to learn that none will come.
    fn drop(&mut self) {
        let mut waiting = locked(&self.queue);
        waiting.unattended = true;
        let orphaned = std::mem::take(&mut waiting.commands);
        drop(waiting);
        drop(orphaned);
    }
}

/// A thread that panicked left nothing half done in here.
fn locked(queue: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}
