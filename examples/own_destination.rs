//! Takes a base backup into a destination of its own: one that keeps nothing but sizes.
//!
//! `cargo run --example own_destination -- 'host=/var/run/postgresql user=postgres'`
#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use pgsiphon::backup::{self, BackupOptions, Destination, Form, Observer, Traces, WalMethod};
use pgsiphon::storage::StorageError;
use pgsiphon::tar::Entry;
use tokio_util::sync::CancellationToken;

/// The bytes in each directory, and the directory of the file at hand.
#[derive(Default)]
struct Sizes(BTreeMap<String, usize>, String);

impl Destination for Sizes {
    fn form(&self) -> Form {
        Form::Members
    }

    fn begin_member(&mut self, entry: &Entry) -> Result<(), StorageError> {
        let path = entry.path.to_string();
        path.rsplit_once('/').map_or(".", |(directory, _)| directory).clone_into(&mut self.1);
        Ok(())
    }

    fn write(&mut self, pieces: &[Bytes]) -> Result<(), StorageError> {
        *self.0.entry(self.1.clone()).or_default() += pieces.iter().map(Bytes::len).sum::<usize>();
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    fn publish(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    fn abandon(&mut self, _: Traces, _: &dyn Observer) {}
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = std::env::args().nth(1).unwrap_or_default().parse()?;
    let options = BackupOptions { wal: WalMethod::None, ..BackupOptions::default() };
    let run = backup::run(&config, &options, Sizes::default(), Arc::new(()), CancellationToken::new());
    let (report, sizes) = run.await?;
    for (directory, size) in sizes.0 {
        println!("{size:>12} {directory}");
    }
    println!("verified: {:?}", report.verified);
    Ok(())
}
