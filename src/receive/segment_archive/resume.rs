//! Where to go on: the end of an archive, made ready for the bytes that follow.

use std::sync::Arc;

use bytes::Bytes;

use super::SegmentArchive;
use super::compressor::Compressor;
use super::content::{Measured, reader_of};
use super::identity::{self, Origin};
use super::leftovers;
use super::listing::Listing;
use super::names::{FileName, Form};
use super::partial::Partial;
use super::scan::{End, Scan};
use crate::receive::archive::{ArchiveEnd, Cluster};
use crate::storage::{Durable, StorageError, sync_existing};
use crate::types::{Lsn, WalFileName};

impl SegmentArchive {
    /// Finds the end of the archive and makes it durable. Nothing is changed before it is known that the archive may
    /// get WAL of this cluster (I-7).
    pub(super) fn find_end(&mut self, cluster: &Cluster<'_>) -> Result<Option<ArchiveEnd>, StorageError> {
        let origin = Origin::from(cluster);
        // It is used once: if the server has other WAL there, the next attempt begins further back.
        let durable_end = self.durable_end.take();
        let kept_names = self.compressor.as_ref().map(Compressor::keep_names);
        let listing = Listing::read(&self.directory)?;
        identity::check(&self.directory, &listing, origin)?;
        identity::check_histories(&self.directory, cluster.history)?;
        let end = self.scan(&listing, cluster, durable_end)?;
        self.begin(origin)?;
        let uncompressed = self.clear(&listing, origin)?;
        let end = match end {
            None => Ok(None),
            Some(End::Complete(segment, file)) => self.after_complete(segment, &file, origin).map(Some),
            Some(End::Fork(segment)) => self.at_start_of(segment, origin).map(Some),
            Some(End::Partial(segment, parts)) => self.within(segment, &parts, durable_end, origin).map(Some),
        };
        drop(kept_names);
        for segment in uncompressed {
            self.take_up_compression(segment);
        }
        end
    }

    fn scan(
        &mut self,
        listing: &Listing,
        cluster: &Cluster<'_>,
        durable_end: Option<(WalFileName, Lsn)>,
    ) -> Result<Option<End>, StorageError> {
        let mut warnings = Vec::new();
        let warn = &mut |warning| warnings.push(warning);
        let end = Scan { directory: &self.directory, listing, cluster, durable_end, warn }.find_end();
        for warning in warnings {
            self.warn(warning);
        }
        end
    }

    /// Gets ready for WAL of this origin.
    fn begin(&mut self, origin: Origin) -> Result<(), StorageError> {
        let is_new = self.origin.replace(origin) != Some(origin);
        if let Some(spec) = self.compression
            && (is_new || self.compressor.is_none())
        {
            self.compressor = None;
            let (directory, observer) = (Arc::clone(&self.directory), Arc::clone(&self.observer));
            self.compressor = Some(Compressor::start(directory, spec, origin.access, self.policy, observer)?);
        }
        Ok(())
    }

    /// Puts in order, once, what earlier processes left. Gives what they were to compress and did not.
    fn clear(&mut self, listing: &Listing, origin: Origin) -> Result<Vec<WalFileName>, StorageError> {
        if self.is_cleared {
            return Ok(Vec::new());
        }
        let method = self.compression.map(|spec| spec.method);
        let uncompressed = leftovers::clear(&self.directory, listing, origin, method, self.policy)?;
        self.is_cleared = true;
        Ok(uncompressed)
    }

    fn after_complete(
        &self,
        segment: WalFileName,
        file: &FileName,
        origin: Origin,
    ) -> Result<ArchiveEnd, StorageError> {
        let next = WalFileName::new(segment.timeline(), segment.segment().next(), origin.segment_size);
        let end = next.segment().start(origin.segment_size);
        let position = sync_existing(&self.directory, &file.to_string(), self.policy, end)?;
        Ok(begin_segment(next, position, origin))
    }

    /// What the segment has is received again from its start.
    fn at_start_of(&self, segment: WalFileName, origin: Origin) -> Result<ArchiveEnd, StorageError> {
        self.directory.sync(self.policy)?;
        let position = Durable::nothing_before(segment.segment().start(origin.segment_size));
        Ok(begin_segment(segment, position, origin))
    }

    /// Goes on in the middle of the segment, with the best of its parts.
    fn within(
        &mut self,
        segment: WalFileName,
        parts: &[(FileName, Measured)],
        durable_end: Option<(WalFileName, Lsn)>,
        origin: Origin,
    ) -> Result<ArchiveEnd, StorageError> {
        let start = segment.segment().start(origin.segment_size);
        let best = parts.first().filter(|(_, found)| found.position > start);
        let Some((file, found)) = best else { return self.at_start_of(segment, origin) };
        let mut is_written =
            durable_end.is_some_and(|(known, end)| known == segment && end >= found.position);
        if file.form != Form::RAW_PARTIAL {
            self.partial(segment, origin).make_raw(file)?;
            is_written = true;
        }
        self.fit(segment, origin)?;
        let partial = self.partial(segment, origin);
        let position = partial.make_durable(found.position, is_written)?;
        let Some((records, overlap)) = partial.read_up_to(found.position)? else {
            return self.at_start_of(segment, origin);
        };
        let reached = found.position.checked_sub(start).unwrap_or(0);
        self.keep_partial(segment, found.length.max(reached));
        self.durable_end = Some((segment, found.sound));
        Ok(ArchiveEnd { timeline: segment.timeline(), position, records, overlap })
    }

    /// Gives the partial segment its size.
    pub(super) fn fit(&mut self, segment: WalFileName, origin: Origin) -> Result<(), StorageError> {
        if let Some(warning) = self.partial(segment, origin).fit()? {
            self.warn(warning);
        }
        Ok(())
    }

    pub(super) fn partial(&self, segment: WalFileName, origin: Origin) -> Partial<'_> {
        Partial { directory: &self.directory, segment, origin, policy: self.policy }
    }
}

fn begin_segment(segment: WalFileName, position: Durable<Lsn>, origin: Origin) -> ArchiveEnd {
    let (timeline, records) = (segment.timeline(), reader_of(segment, origin));
    ArchiveEnd { timeline, position, records, overlap: Bytes::new() }
}
