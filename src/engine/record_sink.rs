//! The trait for consumers of a slice's records.
//!
//! Input: each record as it is read, and the end of each page. Output: whether more records are wanted. Called by
//! `slice_reader`; implemented by the record writer, the parent reader and `check`.

use serde_json::Value as Json;
use time::OffsetDateTime;

use crate::base::fault::{Fault, Result};
use crate::base::json::scan::Scanner;
use crate::engine::extract::WalkError;
use crate::engine::fetch::Reply;
use crate::manifest::template::Vars;

/// Consumes the records of a slice.
pub trait RecordSink {
    /// Consumes the next record and moves past it; returns false if the manifest drops it. `vars` contain the slice.
    fn take(&mut self, scanner: &mut Scanner<'_>, vars: &Vars<'_>) -> std::result::Result<bool, WalkError<Fault>>;

    /// Called before the records of a response, with the vendor's clock at that time, if known.
    fn answered_at(&mut self, _at: Option<OffsetDateTime>) {}

    /// Consumes a merged and transformed record; returns false if an old one was dropped.
    fn put(&mut self, record: Json) -> Result<bool>;

    /// Completes a page: its records count now. Returns false if no further page is wanted.
    fn page_done(&mut self) -> Result<bool>;

    /// Discards an incomplete page: none of its records count.
    fn page_failed(&mut self);

    /// Called when it is known how paging continues after a complete page. Returns false if no further page is wanted.
    fn page_ended(&mut self, _end: &PageEnd) -> bool {
        true
    }

    /// The last record, for paging; called only if a template uses it.
    fn last_record(&self) -> Option<Json>;

    /// The highest cursor value of the records that count.
    fn newest(&self) -> Option<OffsetDateTime> {
        None
    }

    /// The observer of responses and pages, if there is one.
    fn observer(&mut self) -> Option<&mut dyn PageObserver> {
        None
    }
}

/// How paging continues after a page.
#[derive(Debug, Clone)]
pub struct PageEnd {
    /// The records that the extractor found, before any filter.
    pub extracted: u64,
    /// The token of the next page; `None` after the last page.
    pub next: Option<Json>,
}

/// Observes responses and pages, in addition to their records.
pub trait PageObserver {
    /// Called for each response.
    fn answered(&mut self, reply: &Reply);

    /// May the next page contain bytes that are not UTF-8? Then the sink checks each record.
    fn takes_broken_text(&mut self) -> bool;

    /// Were the page's records in a list, or was a single record in place of a list?
    fn page_shape(&mut self, list: bool, alone: bool);

    /// The response reports errors alongside its records, and the config accepts this.
    fn partial_errors(&mut self);

    /// A page with this many records was not the last one; `asked` is the requested page size.
    fn page_followed(&mut self, records: u64, asked: Option<u64>);
}

/// The result of reading a slice.
#[derive(Debug, Clone, Default)]
pub struct SliceOutcome {
    /// The vendor's time at the first response, if there was one.
    pub began: Option<OffsetDateTime>,
    /// May records be missing? Then the bookmark stays.
    pub incomplete: bool,
    /// The fault for missing records; `None` if the manifest ignores a later page's error.
    pub fault: Option<Fault>,
    /// Is no further record wanted?
    pub enough: bool,
    /// Does the manifest ignore the response to its first page?
    pub ignored: bool,
}

impl SliceOutcome {
    /// Adds the result of another part of the slice; returns true if no more is wanted.
    pub(super) fn ends_with(&mut self, part: SliceOutcome) -> bool {
        self.began = self.began.or(part.began);
        self.incomplete |= part.incomplete;
        self.fault = self.fault.take().or(part.fault);
        self.ignored |= part.ignored;
        self.enough |= part.enough;
        self.enough
    }
}
