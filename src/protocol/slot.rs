//! The answers to the commands about replication slots.

use bytes::Bytes;

use super::result_set::{ResultSet, ResultSetError, text, timeline};
use crate::types::{Lsn, TimelineId};

/// A slot as `READ_REPLICATION_SLOT` tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// The kind of replication that it is for: `physical`, or what a later server adds.
    pub slot_type: String,
    /// The position from which on it keeps WAL, and the timeline of that; none if it keeps nothing, because it was
    /// never used or was invalidated.
    pub restart: Option<(Lsn, TimelineId)>,
}

/// A slot as `pg_replication_slots` tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordedSlot {
    /// The kind of replication that it is for.
    pub(crate) slot_type: String,
    /// The position from which on it keeps WAL, if it keeps any.
    pub(crate) restart: Option<Lsn>,
    /// Whether it has lost the WAL that it reserved.
    pub(crate) is_lost: bool,
}

impl ResultSet {
    /// Checks the shape of the answer to `CREATE_REPLICATION_SLOT` (BB-118).
    pub fn created_slot(&self, slot: &str) -> Result<(), ResultSetError> {
        let context = format!("could not create replication slot \"{slot}\":");
        self.exact_row(4, context, "1 rows and 4 fields").map(drop)
    }

    /// Checks the shape of the answer to `DROP_REPLICATION_SLOT`: there is nothing in it (RW-043).
    pub fn dropped_slot(&self, slot: &str) -> Result<(), ResultSetError> {
        if (self.row_count(), self.column_count()) == (0, 0) {
            return Ok(());
        }
        let context = format!("could not drop replication slot \"{slot}\":");
        Err(self.shape_error(context, "0 rows and 0 fields"))
    }

    /// Reads the answer to `READ_REPLICATION_SLOT`; none if there is no such slot (RW-085, RW-096).
    pub fn slot_state(&self, slot: &str) -> Result<Option<SlotState>, ResultSetError> {
        let context = format!("could not read replication slot \"{slot}\":");
        let row = self.exact_row(3, context, "1 rows and 3 fields")?;
        let Some(slot_type) = &row[0] else { return Ok(None) };
        let restart = match &row[1] {
            None => None,
            Some(value) => Some((restart_position(slot, value)?, timeline(row[2].as_ref())?)),
        };
        Ok(Some(SlotState { slot_type: text(Some(slot_type)), restart }))
    }

    /// Reads what is recorded of a slot; none if there is no such slot (RW-090, RW-094).
    pub(crate) fn recorded_slot(&self, slot: &str) -> Result<Option<RecordedSlot>, ResultSetError> {
        if self.row_count() == 0 {
            return Ok(None);
        }
        let context = format!("could not read replication slot \"{slot}\":");
        let row = self.exact_row(3, context, "1 rows and 3 fields")?;
        let restart = row[1].as_ref().map(|value| restart_position(slot, value)).transpose()?;
        let is_lost = row[2].as_ref().is_some_and(|status| status == "lost");
        Ok(Some(RecordedSlot { slot_type: text(row[0].as_ref()), restart, is_lost }))
    }

    /// The only row, which has that many values and no more.
    fn exact_row(
        &self,
        columns: usize,
        context: String,
        expected: &'static str,
    ) -> Result<&[Option<Bytes>], ResultSetError> {
        if self.column_count() == columns {
            self.single_row(columns, context, expected)
        } else {
            Err(self.shape_error(context, expected))
        }
    }
}

fn restart_position(slot: &str, value: &Bytes) -> Result<Lsn, ResultSetError> {
    let value = text(Some(value));
    value.parse().map_err(|_| ResultSetError::RestartLsn { slot: slot.to_owned(), value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::result_set::tests::result;

    #[test]
    fn rw_044_and_045_answers_about_created_and_dropped_slots() {
        let row = [Some("s"), Some("0/0"), None, None];
        assert_eq!(result(4, &[&row]).created_slot("s"), Ok(()));
        assert_eq!(ResultSet::default().dropped_slot("s"), Ok(()));
        assert_eq!(
            result(3, &[&row[..3]]).created_slot("s").unwrap_err().to_string(),
            "could not create replication slot \"s\": got 1 rows and 3 fields, expected 1 rows and 4 fields"
        );
        assert_eq!(
            result(4, &[&row]).dropped_slot("s").unwrap_err().to_string(),
            "could not drop replication slot \"s\": got 1 rows and 4 fields, expected 0 rows and 0 fields"
        );
    }

    #[test]
    fn rw_084_to_096_slot_states() {
        let state = |row: [Option<&str>; 3]| result(3, &[&row]).slot_state("s");
        let physical = |restart| Ok(Some(SlotState { slot_type: "physical".into(), restart }));
        let start = (Lsn::new(0x300_0060), TimelineId::new(2).unwrap());
        assert_eq!(state([Some("physical"), Some("0/3000060"), Some("2")]), physical(Some(start)));
        assert_eq!(state([Some("physical"), None, None]), physical(None));
        assert_eq!(state([None; 3]), Ok(None));

        let refusal = |answer: Result<Option<SlotState>, ResultSetError>| answer.unwrap_err().to_string();
        assert_eq!(
            refusal(state([Some("physical"), Some("zz"), Some("2")])),
            "could not parse restart_lsn \"zz\" for replication slot \"s\""
        );
        assert_eq!(refusal(state([Some("physical"), Some("0/1"), None])), "could not parse timeline \"\"");
        assert_eq!(
            refusal(result(2, &[&[None, None]]).slot_state("s")),
            "could not read replication slot \"s\": got 1 rows and 2 fields, expected 1 rows and 3 fields"
        );
    }

    #[test]
    fn rw_090_and_094_what_the_view_says_of_a_slot() {
        let recorded = |row: [Option<&str>; 3]| result(3, &[&row]).recorded_slot("s").unwrap().unwrap();
        let slot = |restart, is_lost| RecordedSlot { slot_type: "physical".to_owned(), restart, is_lost };
        let kept = Some(Lsn::new(0x300_0060));
        assert_eq!(recorded([Some("physical"), Some("0/3000060"), Some("reserved")]), slot(kept, false));
        assert_eq!(recorded([Some("physical"), None, None]), slot(None, false));
        assert_eq!(recorded([Some("physical"), None, Some("lost")]), slot(None, true));
        assert_eq!(result(3, &[]).recorded_slot("s"), Ok(None));
        assert!(result(3, &[&[None, Some("x"), None]]).recorded_slot("s").is_err());
    }
}
