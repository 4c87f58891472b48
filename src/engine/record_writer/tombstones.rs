//! Records that the vendor reports as deleted, as tombstones.
//!
//! Input: each record of a stream with `deleted_when`. Output: its line with the time of the delete; other records go
//! the usual way. Called by the record writer. A deleted record is often a stub, so that drift does not see it.

use serde_json::Value as Json;
use time::OffsetDateTime;

use super::{RecordWriter, Walked, missing_key};
use crate::base::json::scan::Scanner;
use crate::base::timefmt::rfc3339;
use crate::engine::answer;
use crate::engine::extract::WalkError;
use crate::manifest::template::Vars;

/// The field of the delete, in the lines of a stream.
pub(in crate::engine) struct DeletedField {
    /// `,"_sdc_deleted_at":`
    name: Vec<u8>,
}

impl DeletedField {
    pub(in crate::engine) fn new(name: &str) -> DeletedField {
        DeletedField { name: format!(",\"{name}\":").into_bytes() }
    }

    /// Adds the field to the record that ends the lines; null for a living record, so that one that is back is not
    /// marked any more.
    pub(in crate::engine) fn add(&self, lines: &mut Vec<u8>, at: Option<OffsetDateTime>) {
        lines.pop();
        lines.extend_from_slice(&self.name);
        match at {
            Some(at) => lines.extend_from_slice(Json::String(rfc3339(at)).to_string().as_bytes()),
            None => lines.extend_from_slice(b"null"),
        }
        lines.push(b'}');
    }
}

impl RecordWriter<'_> {
    /// Sends the next record as a tombstone if the vendor reports it as deleted, and moves past it; `None` for any
    /// other, and false for one that the run has no use for.
    pub(super) fn take_deleted(&mut self, scanner: &mut Scanner<'_>, vars: &Vars<'_>) -> Walked<Option<bool>> {
        let plan = self.plan;
        let Some(marks) = plan.deletes.as_ref().and_then(|deletes| deletes.marks.as_ref()) else { return Ok(None) };
        scanner.peek()?;
        let mut after = scanner.clone();
        let mut record = answer::record_json(&mut after)?;
        let deleted_at = marks.deleted_at(&record, vars, OffsetDateTime::now_utc()).map_err(WalkError::Callback)?;
        let Some(deleted_at) = deleted_at else { return Ok(None) };
        *scanner = after;
        let value = plan.cursor.as_ref().and_then(|cursor| record.get(&cursor.field).and_then(|v| cursor.read(v)));
        if let (Some(cursor), Some(before), Some(value)) = (&plan.cursor, &self.cursor.filter.before, value)
            && !self.cursor.keeps(before, value)
        {
            self.cursor.past_the_end |= cursor.data_feed && before.is_before(cursor, value);
            return Ok(Some(false));
        }
        match marks.key(&record, vars).map_err(WalkError::Callback)? {
            Some(key) => record = key,
            None => plan.shape.apply_unfiltered(&mut record, vars).map_err(WalkError::Callback)?,
        }
        if !self.quota.take() {
            self.cursor.past_the_end = true;
            return Ok(Some(false));
        }
        let bytes = record.to_string().into_bytes();
        let scan = self.version.wire.scan(&mut Scanner::new(&bytes), &mut ())?;
        let wanted = self.cursor.is_of_the_past(&scan);
        if let Some(key) = self.version.wire.missing_key(&scan).filter(|_| wanted) {
            return Err(WalkError::Callback(missing_key(key)));
        }
        // A record of the key alone has no cursor value to miss.
        if scan.cursor.is_some() {
            self.cursor.observe(&scan);
        }
        if !wanted {
            self.quota.give_back(1);
            return Ok(Some(false));
        }
        self.write(&scan, Scanner::new(&bytes), &bytes, None)?;
        self.keys.deleted(&bytes);
        self.end_line_of(Some(deleted_at), None, None);
        self.keep_last(&bytes);
        Ok(Some(true))
    }
}
