//! What a base backup says of the permanent replication slot that it used.
//!
//! In come the events of a backup, over all tries to take it; once it is over, out come lines that name each slot that
//! stays without being wanted, with its server, what it costs and how to get rid of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::messages::Messages;
use crate::backup::{BackupOptions, Event, Observer, ReceiveSlot, SlotOrigin, SlotStays, WalMethod};
use crate::types::WithCauses;

/// Knows of the permanent slots of a backup, over all tries to take it.
#[derive(Debug, Default)]
pub(super) struct SlotWatch {
    known: Mutex<Known>,
}

/// What is known of the slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    /// Those that may be on a server, in the order in which they came.
    slots: Vec<Slot>,
    /// The one that the server is being asked for.
    asked_for: Option<Slot>,
    /// The slot that a try had created and dropped again.
    dropped: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    name: String,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// It was there before, and stays.
    Found,
    /// This run has created it there, for the try that is under way or complete.
    InUse(SlotOrigin),
    /// This run has created it there, and left it there for this reason.
    Left(SlotOrigin, String),
    /// This run has created it there, and told the server to drop it, which may happen yet.
    Leaving(SlotOrigin, String),
    /// This run had left it there for this reason, and the try that is under way or complete has found one there.
    LeftAlone(SlotOrigin, String),
    /// This run has created it there, for a backup that is incomplete but kept.
    Kept(SlotOrigin),
    /// An earlier try may have created and left it there, but then one could be created at that address.
    Missed(SlotOrigin),
    /// It was asked for there, and nobody knows whether it was created.
    InDoubt(SlotOrigin),
}

impl SlotWatch {
    /// An observer of one try, which passes everything on to `next`.
    pub(super) fn observer(self: &Arc<Self>, next: impl Observer + 'static) -> Arc<dyn Observer> {
        Arc::new(WatchedTry { watch: Arc::clone(self), next: Box::new(next) })
    }

    /// The options for the next try, which may meet the slot that an earlier one had to leave.
    pub(super) fn options(&self, options: &BackupOptions) -> BackupOptions {
        let mut options = options.clone();
        let left = self.known().left();
        if let WalMethod::Stream { slot, .. } = &mut options.wal
            && let ReceiveSlot::Create(name) = slot
            && !left.is_empty()
        {
            *slot = ReceiveSlot::CreateAgain { name: name.clone(), left };
        }
        options
    }

    /// After the last try failed.
    pub(super) fn settle_failure(&self, messages: &Messages) {
        let known = self.known().clone();
        for slot in &known.slots {
            slot.report(messages);
        }
        if let Some(name) = known.dropped {
            messages.information(&format!("dropped replication slot \"{name}\", which this run had created"));
        }
    }

    /// After the backup was complete: the slot that belongs to it stays, as it should.
    pub(super) fn settle_success(&self, messages: &Messages) {
        let known = self.known().clone();
        for slot in known.slots.iter().filter(|slot| !slot.belongs_to_backup()) {
            slot.report(messages);
        }
    }

    /// Before the process ends at once, whatever is under way.
    pub(super) fn report_at_once(&self, messages: &Messages) {
        let known = self.known().clone();
        for slot in known.slots.iter().chain(&known.asked_for) {
            slot.report(messages);
        }
    }

    /// The slot that belongs to the backup, if this run has created it.
    pub(super) fn of_backup(&self) -> Option<String> {
        self.known().slots.iter().find(|slot| slot.belongs_to_backup()).map(|slot| slot.name.clone())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::SlotCreated { .. }
            | Event::SlotInDoubt { .. }
            | Event::SlotLeftAlone { .. }
            | Event::Failed(_) => self.asked_for = None,
            _ => {}
        }
        match event {
            Event::CreatingSlot { name, origin } => {
                let state = State::InDoubt((*origin).clone());
                self.asked_for = Some(Slot { name: (*name).to_owned(), state });
            }
            Event::SlotCreated { name, temporary: false, origin } => {
                self.dropped = None;
                self.set_state(|state| match state {
                    State::Left(left, _) | State::Leaving(left, _) | State::InDoubt(left)
                        if left == *origin =>
                    {
                        Some(State::Missed(left.clone()))
                    }
                    _ => None,
                });
                self.push(name, State::InUse((*origin).clone()));
            }
            Event::SlotInDoubt { name, origin } => self.push(name, State::InDoubt((*origin).clone())),
            Event::SlotLeftAlone { origin, .. } => self.set_state(|state| match state {
                State::Left(left, why) if left == *origin => {
                    Some(State::LeftAlone(left.clone(), why.clone()))
                }
                _ => None,
            }),
            Event::Failed(_) => self.set_state(|state| match state {
                State::LeftAlone(left, why) => Some(State::Left(left.clone(), why.clone())),
                _ => None,
            }),
            Event::SlotDropped { name } => {
                self.slots.retain(|slot| !matches!(slot.state, State::InUse(_)));
                self.dropped = Some((*name).to_owned());
            }
            Event::SlotStays { name, why: SlotStays::WasThere } => {
                // Each try finds it.
                self.slots.retain(|slot| slot.state != State::Found);
                self.push(name, State::Found);
            }
            Event::SlotStays { why, .. } => {
                let reason = WithCauses(why).to_string();
                self.set_state(|state| {
                    let State::InUse(origin) = state else { return None };
                    let (origin, reason) = (origin.clone(), reason.clone());
                    Some(match why {
                        SlotStays::BackupIsKept => State::Kept(origin),
                        SlotStays::Unanswered => State::Leaving(origin, reason),
                        _ => State::Left(origin, reason),
                    })
                });
            }
            _ => {}
        }
    }

    fn push(&mut self, name: &str, state: State) {
        self.slots.push(Slot { name: name.to_owned(), state });
    }

    fn set_state(&mut self, change: impl Fn(&State) -> Option<State>) {
        for slot in &mut self.slots {
            if let Some(state) = change(&slot.state) {
                slot.state = state;
            }
        }
    }

    fn left(&self) -> Vec<SlotOrigin> {
        let origin = |slot: &Slot| match &slot.state {
            State::Left(origin, _) => Some(origin.clone()),
            _ => None,
        };
        self.slots.iter().filter_map(origin).collect()
    }
}

impl Slot {
    fn belongs_to_backup(&self) -> bool {
        matches!(self.state, State::InUse(_) | State::LeftAlone(..))
    }

    /// Says that it stays, or may stay.
    fn report(&self, messages: &Messages) {
        let name = &self.name;
        match &self.state {
            State::Found | State::Kept(_) => {
                messages.information(&format!("replication slot \"{name}\" stays"));
            }
            State::InUse(origin) => messages.warning(&format!(
                "replication slot \"{name}\", which this run has created on {}, may still be there",
                origin.server.server()
            )),
            State::Left(origin, why) | State::Leaving(origin, why) | State::LeftAlone(origin, why) => messages.warning(&format!(
                "could not drop replication slot \"{name}\", which this run has created on {}: {why}",
                origin.server.server()
            )),
            State::Missed(origin) => messages.warning(&format!(
                "replication slot \"{name}\" that an earlier try may have left is not on {}; if that was another \
                 server then, the slot may still be there",
                origin.server.server()
            )),
            State::InDoubt(origin) => messages.warning(&format!(
                "{} did not say whether replication slot \"{name}\" was created; if so, it stays",
                origin.server.server()
            )),
        }
        messages.detail(
            "While nothing streams from it, the server keeps all write-ahead log for it, until its disk is full.",
        );
        // A slot of the user's own is wanted, and so is the one that is at that address now.
        if !matches!(self.state, State::Found | State::Missed(_)) {
            let literal = name.replace('\'', "''");
            messages.hint(&format!(
                "If it is not needed, drop it on the server: SELECT pg_drop_replication_slot('{literal}');"
            ));
        }
    }
}

/// One try.
struct WatchedTry {
    watch: Arc<SlotWatch>,
    next: Box<dyn Observer>,
}

impl Observer for WatchedTry {
    fn observe(&self, event: &Event<'_>) {
        self.watch.known().note(event);
        self.next.observe(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::BackupError;
    use crate::connection::Place;

    fn origin(port: u16) -> SlotOrigin {
        let server = Place::Tcp { host: "h".to_owned(), address: None, port };
        SlotOrigin { server, system_id: "7".parse().unwrap() }
    }

    /// What is known after these events.
    fn after(events: &[Event<'_>]) -> Known {
        let watch = Arc::new(SlotWatch::default());
        for event in events {
            watch.observer(()).observe(event);
        }
        watch.known().clone()
    }

    fn states(events: &[Event<'_>]) -> Vec<State> {
        after(events).slots.into_iter().map(|slot| slot.state).collect()
    }

    #[test]
    fn bb_119_what_becomes_of_slots_is_known() {
        let (here, there) = (&origin(1), &origin(2));
        let created = |origin, temporary| Event::SlotCreated { name: "s", temporary, origin };
        let stays = |why| Event::SlotStays { name: "s", why };
        let lost = || State::Left(here.clone(), SlotStays::ConnectionLost.to_string());
        let left_alone = || State::LeftAlone(here.clone(), SlotStays::ConnectionLost.to_string());
        let in_use = |origin: &SlotOrigin| State::InUse(origin.clone());
        let failed = || Event::Failed(&BackupError::Cancelled);
        let in_doubt = || Event::SlotInDoubt { name: "s", origin: here };
        let found_again = || Event::SlotLeftAlone { name: "s", origin: here };
        let first = || vec![created(here, false), failed(), stays(&SlotStays::ConnectionLost)];
        let table: Vec<(Vec<Event<'_>>, Vec<State>)> = vec![
            (vec![Event::StartingReceiver], vec![]),
            (vec![created(here, true)], vec![]),
            (vec![created(here, false)], vec![in_use(here)]),
            (vec![created(here, false), Event::SlotDropped { name: "s" }], vec![]),
            (vec![created(here, false), stays(&SlotStays::BackupIsKept)], vec![State::Kept(here.clone())]),
            (first(), vec![lost()]),
            (vec![stays(&SlotStays::WasThere), stays(&SlotStays::WasThere)], vec![State::Found]),
            (vec![in_doubt()], vec![State::InDoubt(here.clone())]),
            (
                [first(), vec![created(there, false)]].into_iter().flatten().collect(),
                vec![lost(), in_use(there)],
            ),
        ];
        for (events, expected) in table {
            assert_eq!(states(&events), expected, "{events:?}");
        }
        // A slot that may go at any moment is not one to leave alone.
        let mut leaving = vec![created(here, false), failed(), stays(&SlotStays::Unanswered)];
        let reason = SlotStays::Unanswered.to_string();
        assert_eq!(states(&leaving), [State::Leaving(here.clone(), reason)]);
        assert_eq!(after(&leaving).left(), []);
        leaving.push(created(here, false));
        assert_eq!(states(&leaving), [State::Missed(here.clone()), in_use(here)]);
        let missed = vec![State::Missed(here.clone()), in_use(here)];
        for before in [first(), vec![in_doubt()]] {
            let events: Vec<_> = before.into_iter().chain([created(here, false)]).collect();
            assert_eq!(states(&events), missed, "{events:?}");
        }
        let mut events = first();
        events.push(found_again());
        assert_eq!(states(&events), [left_alone()]);
        events.push(failed());
        assert_eq!(states(&events), [lost()]);
    }

    #[test]
    fn bb_119_a_further_try_knows_of_slots_that_were_left() {
        let slot = ReceiveSlot::Create("s".to_owned());
        let options = BackupOptions {
            wal: WalMethod::Stream { slot, status_interval: None },
            ..BackupOptions::default()
        };
        let (watch, here) = (Arc::new(SlotWatch::default()), origin(1));
        let observer = watch.observer(());
        observer.observe(&Event::SlotCreated { name: "s", temporary: false, origin: &here });
        observer.observe(&Event::SlotDropped { name: "s" });
        assert_eq!(watch.options(&options).wal, options.wal);
        observer.observe(&Event::SlotCreated { name: "s", temporary: false, origin: &here });
        observer.observe(&Event::SlotStays { name: "s", why: &SlotStays::Silent });
        let again = ReceiveSlot::CreateAgain { name: "s".to_owned(), left: vec![here] };
        assert_eq!(watch.options(&options).wal, WalMethod::Stream { slot: again, status_interval: None });
    }
}
