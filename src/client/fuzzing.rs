//! What a server may answer to each command, without a server, for fuzz targets.
//!
//! In come the bytes of a server, some of them there already and the others in a socket; out comes, as text, all that
//! the client makes of them.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tokio::net::UnixStream;

use super::{BackupEvent, ClientError, ReplicationClient, StartReplication};
use crate::connection::{Notice, NoticeHandler, fuzzing};
use crate::protocol::{BaseBackup, CreateSlot, PhysicalStart};
use crate::types::{Lsn, TimelineId, WithCauses};

/// What the client asks for.
#[derive(Clone, Copy, Debug)]
pub enum Request {
    /// Each small command, one after the other.
    SmallCommands,
    /// A base backup from a server of version 18, which comes in one tagged COPY.
    TaggedBackup,
    /// A base backup from a server of version 14, which comes in a COPY for each archive.
    SeparateBackup,
    /// The write-ahead log.
    Log,
}

impl Request {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::SmallCommands, Self::TaggedBackup, Self::SeparateBackup, Self::Log];
}

/// Asks, and tells in order what the answers and notices were taken for.
pub async fn ask(request: Request, received: &[u8], rest: UnixStream) -> Vec<String> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&heard);
    let notices: NoticeHandler = Arc::new(move |notice: &Notice| note(&notes, Ok(notice.to_string())));
    let version = if matches!(request, Request::SeparateBackup) { "14.9" } else { "18.1" };
    let mut client = ReplicationClient::of(fuzzing::session(version, received, rest, notices));
    match request {
        Request::SmallCommands => small_commands(&mut client, &heard).await,
        Request::TaggedBackup | Request::SeparateBackup => note(&heard, backup(&mut client, &heard).await),
        Request::Log => note(&heard, log(&mut client, &heard).await),
    }
    drop(client);
    heard.lock().map(|mut heard| std::mem::take(&mut *heard)).unwrap_or_default()
}

type Heard = Mutex<Vec<String>>;

fn note<T: Debug>(heard: &Heard, what: Result<T, ClientError>) {
    let text = match what {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{} (retry: {})", WithCauses(&error), error.is_retryable()),
    };
    if let Ok(mut heard) = heard.lock() {
        heard.push(text);
    }
}

async fn small_commands(client: &mut ReplicationClient, heard: &Heard) {
    note(heard, client.identify_system().await);
    note(heard, client.wal_segment_size().await);
    note(heard, client.data_directory_mode().await);
    note(heard, client.timeline_history(TimelineId::FIRST).await);
    note(heard, client.read_replication_slot("slot").await);
    let slot = CreateSlot { name: "slot".to_owned(), temporary: false, reserve_wal: true };
    note(heard, client.create_physical_slot(&slot).await);
    note(heard, client.drop_replication_slot("slot").await);
}

async fn backup(client: &mut ReplicationClient, heard: &Heard) -> Result<(), ClientError> {
    let mut stream = client.base_backup(&BaseBackup::default()).await?;
    note(heard, Ok((stream.start_point(), stream.tablespaces())));
    while let Some(event) = stream.next().await? {
        note::<BackupEvent>(heard, Ok(event));
        while let Some(event) = stream.buffered()? {
            note::<BackupEvent>(heard, Ok(event));
        }
    }
    note(heard, stream.finish().await);
    Ok(())
}

async fn log(client: &mut ReplicationClient, heard: &Heard) -> Result<(), ClientError> {
    let start = PhysicalStart { slot: None, lsn: Lsn::new(1 << 24), timeline: TimelineId::FIRST };
    let mut stream = match client.start_physical(&start).await? {
        StartReplication::Streaming(stream) => stream,
        StartReplication::NothingOnTimeline(next) => {
            note(heard, Ok(next));
            return Ok(());
        }
    };
    while let Some(message) = stream.next().await? {
        note(heard, Ok(message));
        while let Some(message) = stream.try_next()? {
            note(heard, Ok(message));
        }
    }
    note(heard, stream.finish().await);
    Ok(())
}
