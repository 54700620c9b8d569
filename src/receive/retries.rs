//! Whether there is another attempt after a failure, with which hosts, and when (section 5.5 of the receiver's
//! behaviours).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::{Backoff, chance};
use super::error::ReceiveError;
use super::hosts::PassedOver;
use super::observer::{Event, Observer};
use super::options::{Reconnect, RunOptions};
use crate::conninfo::{Config, Host};

/// What earlier attempts have led to.
pub(super) struct Retries<'a> {
    config: &'a Config,
    reconnect: Reconnect,
    observer: Arc<dyn Observer>,
    backoff: Backoff,
    passed_over: PassedOver,
    /// What the first of the hosts that were passed over lacks.
    gap: Option<ReceiveError>,
    /// When there was a stream last.
    last_stream: Instant,
}

impl<'a> Retries<'a> {
    pub(super) fn new(config: &'a Config, options: &RunOptions, observer: Arc<dyn Observer>) -> Self {
        Self {
            config,
            reconnect: options.reconnect,
            observer,
            backoff: Backoff::up_to(options.longest_pause),
            passed_over: PassedOver::default(),
            gap: None,
            last_stream: Instant::now(),
        }
    }

    /// The configuration with the hosts that are to be tried now.
    pub(super) fn hosts_left(&self) -> Cow<'a, Config> {
        self.passed_over.left_of(self.config)
    }

    /// There was a stream until now that was more than a false start.
    pub(super) fn was_good_stream(&mut self) {
        self.backoff.reset();
        self.last_stream = Instant::now();
    }

    /// The archive has got something, so it may want something else next.
    pub(super) fn got_wal(&mut self) {
        self.gap = None;
        self.passed_over.clear();
    }

    /// The pause before the next attempt, or why there is none. `host` is the one that it was connected to, and
    /// `is_first` says that no server has ever said what it is.
    pub(super) fn after(
        &mut self,
        error: ReceiveError,
        host: Option<&Host>,
        is_first: bool,
    ) -> Result<Duration, ReceiveError> {
        let Reconnect::Always { even_first, give_up_after } = self.reconnect else { return Err(error) };
        if !error.may_pass() && !error.is_gap() {
            return Err(error);
        }
        let Some(error) = self.try_other_hosts(error, host)? else { return Ok(Duration::ZERO) };
        let wants_password = matches!(&error, ReceiveError::Connect(error) if error.needs_password());
        let too_long = give_up_after.is_some_and(|bound| self.last_stream.elapsed() >= bound);
        if too_long || (is_first && (!even_first || wants_password)) {
            return Err(error);
        }
        self.observer.observe(&Event::Failed(&error));
        Ok(self.backoff.after_failure(chance()))
    }

    /// Passes over a host that will not do. Gives back the error if that is no way out, and fails with the gap if no
    /// host has the WAL that is missing.
    fn try_other_hosts(
        &mut self,
        error: ReceiveError,
        host: Option<&Host>,
    ) -> Result<Option<ReceiveError>, ReceiveError> {
        let misses_wal = error.is_gap() || self.gap.is_some();
        let others_left = match host {
            Some(host) if misses_wal || error.is_of_this_server() => self.passed_over.add(host, self.config),
            _ => false,
        };
        if others_left {
            self.observer.observe(&Event::Failed(&error));
            if error.is_gap() {
                self.gap.get_or_insert(error);
            }
            return Ok(None);
        }
        if !misses_wal {
            self.passed_over.clear();
            return Ok(Some(error));
        }
        Err(match self.gap.take() {
            None => error,
            Some(gap) => {
                self.observer.observe(&Event::Failed(&error));
                gap
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::DiskError;
    use super::super::error::SlotError;
    use super::super::refused_archive::RefusedArchive;
    use super::*;
    use crate::client::ClientError;
    use crate::storage::StorageError;
    use crate::types::{SegmentSize, ServerVersion, TimelineId};

    const ALWAYS: Reconnect = Reconnect::Always { even_first: false, give_up_after: None };

    fn config(text: &str) -> Config {
        format!("user=u {text}").parse().unwrap()
    }

    fn retries(config: &Config, reconnect: Reconnect) -> Retries<'_> {
        Retries::new(config, &RunOptions { reconnect, ..RunOptions::default() }, Arc::new(()))
    }

    fn lost() -> ReceiveError {
        SlotError::Invalidated("s".to_owned()).into()
    }

    fn refused(refusal: RefusedArchive) -> ReceiveError {
        DiskError::Storage(StorageError::Other(Box::new(refusal))).into()
    }

    fn behind() -> ReceiveError {
        refused(RefusedArchive::NewerTimeline(TimelineId::FIRST))
    }

    #[test]
    fn rw_208_and_210_what_is_tried_again() {
        let config = config("host=a");
        let size = SegmentSize::new(1 << 20).unwrap();
        let disk_full =
            StorageError::WriteFile { path: "f".into(), source: std::io::Error::other("full").into() };
        let sync = StorageError::Sync { path: "f".into(), source: std::io::Error::other("bad").into() };
        let integers = ClientError::IntegerDatetimes("x");
        let table = [
            (ReceiveError::Terminated, true),
            (ReceiveError::TimelineNotPresent(TimelineId::FIRST), true),
            (ReceiveError::Silent(Duration::ZERO), true),
            (SlotError::Missing("s".to_owned()).into(), true),
            (SlotError::NotPhysical("logical".to_owned()).into(), true),
            (integers.into(), true),
            (DiskError::Storage(disk_full).into(), true),
            (behind(), true),
            (DiskError::Storage(sync).into(), false),
            (refused(RefusedArchive::Locked("d".to_owned())), false),
            (ReceiveError::UnsupportedServer(ServerVersion::parse("9.6.1")), false),
            (ReceiveError::SegmentSizeChanged { expected: size, found: size }, false),
            (ReceiveError::DatabaseSpecific { slot: None }, false),
            (lost(), false),
            (ReceiveError::Cancelled, false),
        ];
        for (error, goes_on) in table {
            let text = error.to_string();
            let host = Some(&config.hosts[0]);
            assert_eq!(retries(&config, ALWAYS).after(error, host, false).is_ok(), goes_on, "{text}");
        }
        assert!(retries(&config, Reconnect::Never).after(ReceiveError::Terminated, None, false).is_err());
    }

    #[test]
    fn rw_056_the_first_connection_is_tried_again_only_where_that_is_wanted() {
        let config = config("host=a");
        let even_first = Reconnect::Always { even_first: true, give_up_after: None };
        assert!(retries(&config, ALWAYS).after(ReceiveError::Terminated, None, true).is_err());
        assert!(retries(&config, even_first).after(ReceiveError::Terminated, None, true).is_ok());
    }

    #[test]
    fn rw_210_without_a_stream_for_too_long_it_gives_up() {
        let config = config("host=a");
        let give_up = |after| Reconnect::Always { even_first: false, give_up_after: Some(after) };
        let fails =
            |after| retries(&config, give_up(after)).after(ReceiveError::Terminated, None, false).is_err();
        assert!(fails(Duration::ZERO));
        assert!(!fails(Duration::from_hours(1)));
    }

    #[test]
    fn rw_104_a_gap_ends_the_run_once_all_hosts_have_it() {
        let config = config("host=a,b,c");
        let mut retries = retries(&config, ALWAYS);
        let [a, b, c] = &config.hosts[..] else { unreachable!() };
        assert_eq!(retries.after(lost(), Some(a), false).unwrap(), Duration::ZERO);
        // One that says something else was tried, too.
        assert_eq!(retries.after(ReceiveError::Terminated, Some(b), false).unwrap(), Duration::ZERO);
        assert_eq!(retries.hosts_left().hosts, std::slice::from_ref(c));
        assert!(retries.after(ReceiveError::Terminated, Some(c), false).unwrap_err().is_gap());
    }

    #[test]
    fn rw_104_a_gap_ends_the_run_where_no_other_host_can_be_reached() {
        let config = config("host=a,b");
        let mut retries = retries(&config, ALWAYS);
        retries.after(lost(), Some(&config.hosts[0]), false).unwrap();
        assert!(retries.after(ReceiveError::Terminated, None, false).unwrap_err().is_gap());
    }

    #[test]
    fn rw_104_what_another_host_had_ends_the_search() {
        let config = config("host=a,b");
        let mut retries = retries(&config, ALWAYS);
        retries.after(lost(), Some(&config.hosts[0]), false).unwrap();
        retries.got_wal();
        assert_eq!(retries.hosts_left().hosts, config.hosts);
        assert!(retries.after(ReceiveError::Terminated, None, false).is_ok());
    }

    #[test]
    fn rw_098_a_host_that_is_behind_is_passed_over_and_tried_again_later() {
        let config = config("host=a,b");
        let mut retries = retries(&config, ALWAYS);
        retries.after(behind(), Some(&config.hosts[0]), false).unwrap();
        assert_eq!(retries.hosts_left().hosts, config.hosts[1..]);
        retries.after(behind(), Some(&config.hosts[1]), false).unwrap();
        assert_eq!(retries.hosts_left().hosts, config.hosts);
        retries.after(behind(), Some(&config.hosts[0]), false).unwrap();
        retries.after(ReceiveError::Terminated, None, false).unwrap();
        assert_eq!(retries.hosts_left().hosts, config.hosts);
    }
}
