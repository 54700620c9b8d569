//! The run of one backup, from connecting to the name of the manifest.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::accompanying_wal::{AccompanyingWal, Request};
use super::archive_rules::ArchiveRules;
use super::destination::{Destination, Form, Preparation, Traces};
use super::error::BackupError;
use super::fetched_wal::FetchedWal;
use super::intake::{Intake, TakenIn, Verified};
use super::location::ArchiveLocation;
use super::member_injection::{InjectedAttributes, MemberInjection};
use super::observer::{Event, Observer};
use super::options::{BackupOptions, Compression, WalMethod};
use super::own_slot::Ending;
use super::recovery_conf::recovery_settings;
use super::recovery_injection::recovery_injection;
use super::reference_manifest;
use super::server_support::{check_server, manifest_request};
use super::space::LittleSpace;
use super::transfer::Transfer;
use super::verify_in_flight::{Compared, ReceivedFiles};
use crate::client::{BackupEvent, BackupStream, ClientError, ReplicationClient};
use crate::connection::{Notice, NoticeHandler};
use crate::conninfo::Config;
use crate::manifest::ChecksumAlgorithm;
use crate::protocol::{EndPoint, ManifestRequest, ServerFeatures, StartPoint, SystemIdentity, Tablespace};
use crate::receive::ReceiveOptions;
use crate::storage::Access;
use crate::types::{OsError, SegmentSize, ServerVersion};

/// A complete backup.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BackupReport {
    /// Where its recovery starts.
    pub start: StartPoint,
    /// Up to where its recovery needs WAL.
    pub end: EndPoint,
    /// What was compared with the manifest, if there is one.
    pub verified: Option<Compared>,
}

/// Takes a base backup into `destination` and gives it back when the backup is complete, verified and
/// durable.
///
/// The work is done on a thread of its own, which both reads from the server and calls the destination: the
/// server waits while the destination does. Cancelling ends the run like a failure.
///
/// # Errors
/// After a failure the destination was told to [abandon](Destination::abandon) the backup, and the observer
/// has seen the error.
///
/// # Cancel safety
/// Dropping the future cancels the run; its thread then ends by itself, after the destination abandoned the
/// backup.
pub async fn run<D: Destination + 'static>(
    config: &Config,
    options: &BackupOptions,
    mut destination: D,
    observer: Arc<dyn Observer>,
    cancel: CancellationToken,
) -> Result<(BackupReport, D), BackupError> {
    let thread_error = |error| BackupError::Thread(OsError(error));
    let cancel = cancel.child_token();
    let _cancel_on_drop = cancel.clone().drop_guard();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(thread_error)?;
    let (mut config, options) = (config.clone(), options.clone());
    config.connect_timeout = config.connect_timeout.or(options.receive_timeout);
    let (sender, outcome) = oneshot::channel();
    let work = move || {
        let backup = Backup { config, options, observer, cancel };
        let result = runtime.block_on(backup.run(&mut destination));
        // A name that is still being resolved must not hold up a run that was cancelled.
        runtime.shutdown_background();
        // Nobody waits where the future was dropped.
        let _ = sender.send(result.map(|report| (report, destination)));
    };
    let thread =
        std::thread::Builder::new().name("base-backup".to_owned()).spawn(work).map_err(thread_error)?;
    let result = outcome.await.unwrap_or(Err(BackupError::ThreadDied));
    let _ = thread.join();
    result
}

/// One run, on its thread.
struct Backup {
    config: Config,
    options: BackupOptions,
    observer: Arc<dyn Observer>,
    cancel: CancellationToken,
}

/// What the server said of itself before the backup began.
struct Server {
    access: Access,
    segment_size: SegmentSize,
    features: ServerFeatures,
    identity: SystemIdentity,
}

impl Backup {
    async fn run<D: Destination>(self, destination: &mut D) -> Result<BackupReport, BackupError> {
        let mut wal = None;
        let outcome = self.cancel.run_until_cancelled(self.take(destination, &mut wal)).await;
        let result = outcome.unwrap_or(Err(BackupError::Cancelled));
        if let Some(wal) = &mut wal {
            wal.stop(Ending::of(&result)).await;
        }
        if let Err(error) = &result {
            self.observer.observe(&Event::Failed(error));
            let keep = error.leaves_something_worth_keeping();
            destination.abandon(if keep { Traces::Keep } else { Traces::Remove }, &*self.observer);
        }
        result
    }

    /// The steps in the order that operators know from `pg_stat_activity` and the log (BB-071).
    ///
    /// What receives WAL is left in `wal`: it learns last how the backup ended.
    async fn take<D: Destination>(
        &self,
        destination: &mut D,
        wal: &mut Option<AccompanyingWal>,
    ) -> Result<BackupReport, BackupError> {
        let mut client = ReplicationClient::connect_with(&self.config, self.notices()).await?;
        client.set_receive_timeout(self.options.receive_timeout);
        client.require_integer_datetimes()?;
        let access = Access::of_data_directory(client.data_directory_mode().await?);
        if self.comes_here() {
            destination.claim(access)?;
        }
        // Servers that are too old do not know the command that follows.
        let features = ServerFeatures::supported(client.server_version())?;
        let segment_size = client.wal_segment_size().await?;
        if !features.known {
            self.observer.observe(&Event::NewerServer(client.server_version()));
        }
        check_server(&self.options, features)?;
        let injection = self.injection(client.server_version(), access)?;
        let rules = ArchiveRules::new(&self.options, destination.form(), features, injection, access)?;
        let identity = client.identify_system().await?;
        if let Some(path) = &self.options.incremental {
            reference_manifest::upload(path, &mut client).await?;
        }
        let server = Server { access, segment_size, features, identity };

        let command = self.options.command(destination.form() != Form::Members);
        self.observer.observe(&Event::WaitingForCheckpoint);
        let stream = client.base_backup(&command).await?;
        self.observer.observe(&Event::CheckpointCompleted);
        self.observer.observe(&Event::StartPoint(stream.start_point()));
        let start = stream.start_point();
        let (end, verified) = self.receive(stream, &server, destination, rules, wal).await?;
        client.close().await;

        if self.comes_here() {
            self.complete(destination, verified.is_some())?;
        }
        self.observer.observe(&Event::Completed);
        Ok(BackupReport { start, end, verified: verified.map(|verified| verified.compared) })
    }

    /// Whether the destination gets anything.
    fn comes_here(&self) -> bool {
        self.options.target.is_none()
    }

    /// Makes durable what has come, and known as complete.
    fn complete<D: Destination>(&self, destination: &mut D, has_manifest: bool) -> Result<(), BackupError> {
        self.observer.observe(&Event::Syncing);
        destination.sync()?;
        if self.cancel.is_cancelled() {
            return Err(BackupError::Cancelled);
        }
        if has_manifest && destination.form() != Form::SingleArchive {
            self.observer.observe(&Event::RenamingManifest);
        }
        Ok(destination.publish()?)
    }

    /// Everything from the list of tablespaces to the last byte, WAL included.
    async fn receive<D: Destination>(
        &self,
        mut stream: BackupStream<'_>,
        server: &Server,
        destination: &mut D,
        rules: ArchiveRules,
        wal: &mut Option<AccompanyingWal>,
    ) -> Result<(EndPoint, Option<Verified>), BackupError> {
        let start = stream.start_point();
        let tablespaces = stream.tablespaces().to_vec();
        if destination.form() == Form::SingleArchive && tablespaces.len() != 1 {
            return Err(BackupError::SeveralTablespaces(tablespaces.len()));
        }
        let locations = tablespaces.iter().map(ArchiveLocation::of).collect::<Result<Vec<_>, _>>()?;
        let preparation = Preparation {
            locations: &locations,
            access: server.access,
            segment_size: server.segment_size,
            wal_summaries: server.features.wal_summaries,
            compression: rules.compression,
        };
        if self.comes_here() {
            destination.prepare(&preparation)?;
            self.warn_of_little_space(destination, &tablespaces, &locations, server.segment_size);
        }
        *wal = self.start_receiver(start, server, &preparation, destination)?;
        if let Some(wal) = wal {
            wal.ready().await?;
        }

        let received = self.received_files(server.features);
        let fetched_wal = (self.options.wal == WalMethod::Fetch)
            .then(|| Box::new(FetchedWal::new(start, server.segment_size, server.identity.system_id)));
        let intake =
            self.comes_here().then(|| Intake::new(destination, &tablespaces, received, rules, fetched_wal));
        let transfer = Transfer::new(&tablespaces, server.features);
        let TakenIn { verified, fetched_wal } =
            self.take_in(&mut stream, intake, transfer, wal.as_mut()).await?;
        if self.comes_here()
            && manifest_request(&self.options, server.features) != ManifestRequest::No
            && verified.is_none()
        {
            return Err(BackupError::NoManifest);
        }
        let finished = match wal {
            None => stream.finish().await,
            Some(wal) => tokio::select! {
                // What the server says of the backup is the better answer where both are there.
                biased;
                finished = stream.finish() => finished,
                error = wal.failure() => return Err(error),
            },
        };
        let end = match finished {
            // What came is kept, and is worth more with its WAL; that this fails too changes nothing.
            Err(ClientError::ChecksumError(end)) => {
                if let Some(wal) = wal {
                    let _ = wal.finish(end.lsn).await;
                }
                return Err(ClientError::ChecksumError(end).into());
            }
            finished => finished?,
        };
        self.observer.observe(&Event::EndPoint(end));
        if let Some(wal) = wal {
            self.observer.observe(&Event::WaitingForReceiver);
            wal.finish(end.lsn).await?;
        }
        if let Some(fetched_wal) = fetched_wal {
            fetched_wal.finish(end)?;
        }
        if let Some(verified) = &verified {
            verified.statements.check(server.identity.system_id, start, end)?;
        }
        Ok((end, verified))
    }

    /// Reads the stream to its end, a whole buffer at a time. Without an intake, the backup is somewhere else.
    async fn take_in<D: Destination>(
        &self,
        stream: &mut BackupStream<'_>,
        mut intake: Option<Intake<'_, D>>,
        mut transfer: Transfer,
        mut wal: Option<&mut AccompanyingWal>,
    ) -> Result<TakenIn, BackupError> {
        loop {
            let event = match &mut wal {
                None => stream.next().await?,
                Some(wal) => tokio::select! {
                    biased;
                    error = wal.failure() => return Err(error),
                    event = stream.next() => event?,
                },
            };
            let Some(mut event) = event else { break };
            loop {
                self.handle(&event, intake.as_mut(), &mut transfer)?;
                match stream.buffered()? {
                    Some(next) => event = next,
                    None => break,
                }
            }
            if let Some(intake) = &mut intake {
                intake.flush()?;
            }
        }
        let taken_in = intake.map_or(Ok(TakenIn { verified: None, fetched_wal: None }), Intake::finish)?;
        transfer.archives_done = transfer.archives_total;
        self.observer.observe(&Event::Progress(transfer.progress(None)));
        Ok(taken_in)
    }

    fn handle<D: Destination>(
        &self,
        event: &BackupEvent,
        mut intake: Option<&mut Intake<'_, D>>,
        transfer: &mut Transfer,
    ) -> Result<(), BackupError> {
        match event {
            BackupEvent::Data(data) => {
                let Some(intake) = intake else { return Err(BackupError::UnexpectedData) };
                intake.data(data)?;
                if transfer.count(data.len()) {
                    self.report(Some(intake), transfer);
                }
            }
            BackupEvent::Archive { name, tablespace_path } => {
                if transfer.end_archive() {
                    self.report(intake.as_deref(), transfer);
                }
                if let Some(intake) = &mut intake {
                    intake.begin_archive(name, tablespace_path)?;
                }
                transfer.archives_begun += 1;
            }
            BackupEvent::Manifest => {
                if let Some(intake) = &mut intake {
                    intake.begin_manifest()?;
                }
                transfer.begin_manifest();
            }
            BackupEvent::Progress(bytes) => {
                transfer.done = *bytes;
                self.report(intake.as_deref(), transfer);
            }
        }
        Ok(())
    }

    /// Reports how far the transfer is; at the end of an archive, still with its last file (BB-254).
    fn report<D: Destination>(&self, intake: Option<&Intake<'_, D>>, transfer: &Transfer) {
        let current = intake.and_then(|intake| intake.destination().current());
        self.observer.observe(&Event::Progress(transfer.progress(current.as_deref())));
    }

    fn start_receiver<D: Destination>(
        &self,
        start: StartPoint,
        server: &Server,
        preparation: &Preparation<'_>,
        destination: &mut D,
    ) -> Result<Option<AccompanyingWal>, BackupError> {
        let WalMethod::Stream { slot, status_interval } = &self.options.wal else { return Ok(None) };
        self.observer.observe(&Event::StartingReceiver);
        let request = Request {
            config: self.config.clone(),
            slot: slot.clone(),
            system_id: server.identity.system_id,
            options: ReceiveOptions {
                system_id: Some(server.identity.system_id),
                timeline: start.timeline,
                start: start.lsn,
                segment_size: server.segment_size,
                slot: None,
                status_interval: *status_interval,
                synchronous: false,
                receive_timeout: self.options.receive_timeout,
            },
            archive: destination.wal_archive(preparation)?,
        };
        AccompanyingWal::start(request, self.notices(), Arc::clone(&self.observer)).map(Some)
    }

    /// Compares the server's estimate with the room there is. What it estimates is neither compressed nor an increment.
    fn warn_of_little_space<D: Destination>(
        &self,
        destination: &D,
        tablespaces: &[Tablespace],
        locations: &[ArchiveLocation],
        segment_size: SegmentSize,
    ) {
        let is_compressed =
            destination.form() != Form::Members && self.options.compression != Compression::None;
        if !self.options.estimate_size || self.options.incremental.is_some() || is_compressed {
            return;
        }
        // The estimate is without WAL, which comes by whole segments.
        let wal = if self.options.wal == WalMethod::None { 0 } else { segment_size.as_u64() };
        for short in LittleSpace::of(destination, tablespaces, locations, wal) {
            self.observer.observe(&Event::LittleSpace(&short));
        }
    }

    fn notices(&self) -> NoticeHandler {
        let observer = Arc::clone(&self.observer);
        Arc::new(move |notice: &Notice| observer.observe(&Event::Notice(notice)))
    }

    /// What is put into the main archive so that a server that starts on the backup recovers as it should; the name
    /// of a temporary slot is never part of it.
    fn injection(
        &self,
        server: &ServerVersion,
        access: Access,
    ) -> Result<Option<MemberInjection>, BackupError> {
        let Some(recovery) = &self.options.recovery else { return Ok(None) };
        let slot = match &self.options.wal {
            WalMethod::Stream { slot, .. } => slot.permanent_name(),
            WalMethod::None | WalMethod::Fetch => None,
        };
        let settings = recovery_settings(recovery, self.config.password.as_ref(), slot, server)?;
        Ok(Some(recovery_injection(server, recovery.role(), settings, InjectedAttributes::now(access))))
    }

    /// What is to be compared with the manifest: checksums of the kind that it will have. A name that is none
    /// is for the server to refuse.
    fn received_files(&self, features: ServerFeatures) -> ReceivedFiles {
        match (manifest_request(&self.options, features), &self.options.manifest_checksums) {
            (ManifestRequest::No, _) => ReceivedFiles::unwanted(),
            (_, Some(name)) => ReceivedFiles::new(name.parse().unwrap_or(ChecksumAlgorithm::Crc32c)),
            (_, None) => ReceivedFiles::new(ChecksumAlgorithm::Crc32c),
        }
    }
}
