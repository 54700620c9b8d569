//! Takes a base backup and does as little with it as possible: what no client can be faster than.
//!
//! `cargo run --release --example backup_floor -- discard 'host=/var/run/postgresql user=postgres' [lz4|zstd|gzip]`
//!
//! The first argument says what is done with what comes: `discard` drops it; `store=FILE` writes all of it into one file,
//! and `sync=FILE` syncs that file as well, beginning with each megabyte as soon as it is written. The last argument lets
//! the server compress. No WAL goes along, and nothing is checked.
#![expect(clippy::print_stderr, reason = "an example says what it needs")]

use std::fs::File;
use std::io::Write;
use std::num::NonZeroU64;
use std::process::ExitCode;

use pgsiphon::client::{BackupEvent, ReplicationClient};
use pgsiphon::conninfo::Config;
use pgsiphon::protocol::{BaseBackup, Checkpoint, CompressionRequest};
use rustix::fs::{Advice, fadvise};

/// How much is written before the disk is told to begin.
const WRITEBACK: u64 = 1 << 20;

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [treatment, conninfo, rest @ ..] = &arguments[..] else {
        eprintln!("usage: backup_floor discard|store=FILE|sync=FILE CONNINFO [COMPRESSION]");
        return ExitCode::from(2);
    };
    match back_up(treatment, conninfo, rest.first()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("backup_floor: error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn back_up(treatment: &str, conninfo: &str, compression: Option<&String>) -> Result<(), Failure> {
    let config: Config = conninfo.parse()?;
    let mut sink = Sink::new(treatment)?;
    let mut client = ReplicationClient::connect(&config).await?;
    let compression = compression.map(|method| CompressionRequest { method: method.clone(), detail: None });
    let request = BaseBackup {
        label: "floor".to_owned(),
        checkpoint: Checkpoint::Fast,
        verify_checksums: true,
        compression,
        ..BaseBackup::default()
    };
    let mut stream = client.base_backup(&request).await?;
    while let Some(event) = stream.next().await? {
        if let BackupEvent::Data(data) = event {
            sink.take(&data)?;
        }
    }
    stream.finish().await?;
    sink.end()
}

/// Where it goes.
struct Sink {
    file: Option<File>,
    syncs: bool,
    written: u64,
    /// The end of what the disk was told to begin with.
    begun: u64,
}

impl Sink {
    fn new(treatment: &str) -> Result<Self, Failure> {
        let (file, syncs) = match treatment.split_once('=') {
            None if treatment == "discard" => (None, false),
            Some((how @ ("store" | "sync"), path)) => (Some(File::create_new(path)?), how == "sync"),
            _ => return Err(format!("what is \"{treatment}\"?").into()),
        };
        Ok(Self { file, syncs, written: 0, begun: 0 })
    }

    fn take(&mut self, data: &[u8]) -> Result<(), Failure> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(data)?;
        self.written += data.len() as u64;
        if self.syncs && self.written - self.begun >= WRITEBACK {
            fadvise(&*file, self.begun, NonZeroU64::new(self.written - self.begun), Advice::DontNeed)?;
            self.begun = self.written;
        }
        Ok(())
    }

    fn end(self) -> Result<(), Failure> {
        match self.file {
            Some(file) if self.syncs => Ok(file.sync_all()?),
            _ => Ok(()),
        }
    }
}
