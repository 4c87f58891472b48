//! Deletes: records that the vendor no longer has are marked in the warehouse.
//!
//! Input: `dripfeed.deletes` and `metadata.dripfeed.deletes`, by stream; the records as they are read. Output: a
//! [`DeletePlan`] for each of these streams, and tombstones. Called by `build` (compiles), `record_writer` and
//! `scheduler`. A tombstone is a record with its key and the time of the delete, in the field that targets know: see
//! [`Protocol::deleted_at`].
//!
//! [`vendor_marks`] finds records that the vendor itself reports as deleted.

pub mod vendor_marks;

use crate::base::config::deletes::DeleteSettings;
use crate::base::fault::{Fault, Result};
use crate::manifest::Manifest;
use vendor_marks::VendorMarks;

/// A stream and its key fields.
#[derive(Debug, Clone, Copy)]
pub struct StreamKeys<'s> {
    /// The name of the stream.
    pub name: &'s str,
    /// The paths of its key fields.
    pub keys: &'s [Vec<String>],
}

/// How the deletes of a stream are found out.
#[derive(Debug, Clone)]
pub struct DeletePlan {
    /// Which records the vendor reports as deleted.
    pub(super) marks: Option<VendorMarks>,
}

impl DeletePlan {
    /// Compiles the settings of a stream; `None` if they find out nothing.
    pub(super) fn build(
        stream: StreamKeys<'_>,
        settings: &DeleteSettings,
        manifest: &Manifest,
    ) -> Result<Option<DeletePlan>> {
        let marks = VendorMarks::build(stream, settings, manifest)?;
        if marks.is_none() {
            return Ok(None);
        }
        if stream.keys.is_empty() {
            return Err(Fault::config(format!("the deletes of `{}` cannot be marked: it has no key", stream.name))
                .hint("give the stream a `primary_key`, or remove it from `deletes`"));
        }
        Ok(Some(DeletePlan { marks }))
    }

    /// Are tombstones sent?
    pub fn sends_marks(&self) -> bool {
        self.marks.is_some()
    }
}
