//! The keys of a page's records, for streams whose deletes are found out by comparing keys.
//!
//! Input: each record as it is sent, filtered out or reported as deleted. Output: the keys, noted before the page's
//! records are sent. Called by the record writer; without a [`Sweep`] nothing is noted.

use serde_json::Value as Json;

use super::schema_version::StreamOut;
use crate::base::fault::Result;
use crate::engine::deletes::row_version::RowVersion;
use crate::engine::deletes::sweep::Sweep;

/// The keys of a page.
pub(super) struct PageKeys<'s> {
    sweep: Option<&'s Sweep>,
    rows: Option<&'s RowVersion>,
    partition: u64,
    sent: Vec<Vec<u8>>,
    /// Of records that the manifest filters out: the vendor has them.
    filtered: Vec<Vec<u8>>,
    deleted: Vec<Vec<u8>>,
}

impl<'s> PageKeys<'s> {
    pub(super) fn new(out: &'s StreamOut, partition: u64) -> Self {
        let (sweep, rows) = (out.sweep.as_ref(), out.rows.as_ref());
        PageKeys { sweep, rows, partition, sent: Vec::new(), filtered: Vec::new(), deleted: Vec::new() }
    }

    /// A record is sent.
    #[inline]
    pub(super) fn sent(&mut self, record: &[u8]) {
        if let Some(sweep) = self.sweep {
            self.sent.extend(sweep.key(record));
        }
    }

    /// The manifest filters a record out.
    pub(super) fn filtered(&mut self, record: &Json) {
        if let Some(sweep) = self.sweep {
            self.filtered.extend(sweep.key_in(record));
        }
    }

    /// The vendor reports a record as deleted.
    pub(super) fn deleted(&mut self, record: &[u8]) {
        if let Some(sweep) = self.sweep {
            self.deleted.extend(sweep.key(record));
        }
    }

    /// The read does not count.
    pub(super) fn doubt(&self, why: &str) {
        if let Some(sweep) = self.sweep {
            sweep.doubt(why);
        }
        if let Some(rows) = self.rows {
            rows.doubt(why);
        }
    }

    /// The page is complete: its keys are noted.
    pub(super) fn page_done(&mut self) -> Result<()> {
        let Some(sweep) = self.sweep else { return Ok(()) };
        sweep.page(self.partition, [&self.sent[..], &self.filtered[..], &self.deleted[..]])?;
        self.page_failed();
        Ok(())
    }

    /// Drops the keys of an incomplete page.
    pub(super) fn page_failed(&mut self) {
        self.sent.clear();
        self.filtered.clear();
        self.deleted.clear();
    }
}
