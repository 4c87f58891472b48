//! Deletes: records that the vendor no longer has are marked in the warehouse.
//!
//! Input: `dripfeed.deletes` and `metadata.dripfeed.deletes`, by stream; the records as they are read. Output: a
//! [`DeletePlan`] for each of these streams, and tombstones. Called by `build` (compiles), `record_writer` and
//! `scheduler`. A tombstone is a record with its key and the time of the delete, in the field that targets know: see
//! [`crate::protocol::Protocol::deleted_at`].
//!
//! [`vendor_marks`] finds records that the vendor itself reports as deleted. [`sweep`] finds those that are missing
//! from a whole read; [`memory`] has the keys of earlier runs, in the form of `key_runs`. [`row_version`] leaves it to
//! the target to find them.

mod key_runs;
pub mod memory;
pub mod row_version;
pub mod sweep;
pub mod vendor_marks;

use std::time::Duration;

use crate::base::config::deletes::{DeleteMode, DeleteSettings};
use crate::base::fault::{Fault, Result};
use crate::manifest::Manifest;
use sweep::SweepLimits;
use vendor_marks::VendorMarks;

/// The default time between two reads for deletes.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// The default share of records that may be gone at once.
const MAX_SHARE: f64 = 0.1;
/// The default number that may be gone whatever their share.
const ALWAYS: u64 = 20;

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
    /// How it is found out which records are gone.
    pub mode: DeleteMode,
    /// Are only ids read for that?
    pub by_ids: bool,
    /// The time between two reads for deletes, for a stream whose runs read only what changed.
    pub every: Duration,
    /// How much may be gone, and after how many reads.
    pub limits: SweepLimits,
}

impl DeletePlan {
    /// Compiles the settings of a stream; `None` if they find out nothing.
    pub(super) fn build(
        stream: StreamKeys<'_>,
        settings: &DeleteSettings,
        manifest: &Manifest,
    ) -> Result<Option<DeletePlan>> {
        let marks = VendorMarks::build(stream, settings, manifest)?;
        let mode = settings.mode.unwrap_or(DeleteMode::Off);
        if marks.is_none() && mode == DeleteMode::Off {
            return Ok(None);
        }
        if stream.keys.is_empty() {
            return Err(Fault::config(format!("the deletes of `{}` cannot be marked: it has no key", stream.name))
                .hint("give the stream a `primary_key`, or remove it from `deletes`"));
        }
        if settings.ids.is_some() && mode != DeleteMode::Sweep {
            return Err(Fault::config(format!("`deletes` of `{}` has `ids`, but no `mode: sweep`", stream.name))
                .hint("`ids` names the stream that a sweep reads"));
        }
        Ok(Some(DeletePlan {
            marks,
            mode,
            by_ids: settings.ids.is_some(),
            every: settings.every.map_or(EVERY, |every| every.0.length()),
            limits: SweepLimits {
                confirm: settings.confirm,
                max_share: settings.max_share.unwrap_or(MAX_SHARE),
                always: settings.always.unwrap_or(ALWAYS),
            },
        }))
    }

    /// Are tombstones sent?
    pub fn sends_marks(&self) -> bool {
        self.marks.is_some() || self.mode == DeleteMode::Sweep
    }
}
