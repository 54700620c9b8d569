//! Receives WAL and does as little with it as possible: what no receiver can be faster than.
//!
//! `cargo run --release --example wal_floor -- discard 'host=/var/run/postgresql user=postgres' SLOT [END]`
//!
//! The first argument says what is done with the WAL: `discard` acknowledges it as written and durable the moment it
//! comes, and drops it; `store=FILE` first writes it into one file, all segments one after the other, and makes each
//! durable when it is full. Receiving starts where the slot does, and ends beyond the end position, if there is one.
#![expect(clippy::print_stderr, reason = "an example says what it needs")]

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

use bytes::Bytes;
use pgsiphon::client::{PhysicalStream, ReplicationClient, StartReplication};
use pgsiphon::conninfo::Config;
use pgsiphon::protocol::{PhysicalStart, StandbyStatus, WalMessage};
use pgsiphon::types::{Lsn, TimelineId};

/// The usual size of a segment.
const SEGMENT: u64 = 16 << 20;

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [treatment, conninfo, slot, start, rest @ ..] = &arguments[..] else {
        eprintln!("usage: wal_floor discard|store=FILE CONNINFO SLOT START [END]");
        return ExitCode::from(2);
    };
    match receive(treatment, conninfo, slot, start, rest.first()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wal_floor: error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn receive(
    treatment: &str,
    conninfo: &str,
    slot: &str,
    start: &str,
    end: Option<&String>,
) -> Result<(), Failure> {
    let config: Config = conninfo.parse()?;
    let end: Option<Lsn> = end.map(|end| end.parse()).transpose()?;
    let start = Lsn::new(start.parse::<Lsn>()?.as_u64() / SEGMENT * SEGMENT);
    let file = treatment.strip_prefix("store=").map(File::create_new).transpose()?;
    let mut client = ReplicationClient::connect(&config).await?;
    let slot = (!slot.is_empty()).then(|| slot.to_owned());
    let request = PhysicalStart { slot, lsn: start, timeline: TimelineId::FIRST };
    let StartReplication::Streaming(stream) = client.start_physical(&request).await? else {
        return Err("the timeline has ended".into());
    };
    Sink { stream, file }.take_until(end).await
}

/// A stream and where it goes.
struct Sink<'a> {
    stream: PhysicalStream<'a>,
    file: Option<File>,
}

impl Sink<'_> {
    async fn take_until(mut self, end: Option<Lsn>) -> Result<(), Failure> {
        while let Some(first) = self.stream.next().await? {
            let mut reached = None;
            let mut message = Some(first);
            while let Some(taken) = message {
                if let WalMessage::Data { start, data, .. } = taken {
                    reached = Some(start + data.len() as u64);
                    self.store(start, &data)?;
                }
                message = self.stream.try_next()?;
            }
            let Some(reached) = reached else { continue };
            let status = StandbyStatus {
                written: reached,
                flushed: reached,
                applied: Lsn::ZERO,
                reply_requested: false,
            };
            self.stream.send_status(status).await?;
            if end.is_some_and(|end| reached > end) {
                break;
            }
        }
        Ok(())
    }

    fn store(&mut self, start: Lsn, data: &Bytes) -> std::io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(data)?;
        if (start.as_u64() + data.len() as u64) / SEGMENT > start.as_u64() / SEGMENT {
            file.sync_data()?;
        }
        Ok(())
    }
}
