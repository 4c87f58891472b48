//! Whatever takes the records of a slice.
//!
//! Input: each record as the reader meets it, and the end of each page. Output: whether more is wanted. Called by
//! `slice_reader`; implemented by the writer of lines, by the reader of parents and by `check`.

use serde_json::Value as Json;
use time::OffsetDateTime;

use crate::base::fault::{Fault, Result};
use crate::base::json::scan::Scanner;
use crate::engine::extract::WalkError;
use crate::engine::fetch::Reply;
use crate::manifest::template::Vars;

/// Takes the records of a slice.
pub trait RecordSink {
    /// Takes the record at which the scanner stands, and passes it; false when the manifest drops it. `vars` hold
    /// the slice.
    fn take(&mut self, scanner: &mut Scanner<'_>, vars: &Vars<'_>) -> std::result::Result<bool, WalkError<Fault>>;

    /// An answer came whose records come next; the vendor's clock when it was given, if it tells one.
    fn answered_at(&mut self, _at: Option<OffsetDateTime>) {}

    /// Takes a record that was put together and shaped already; false when an old one was dropped.
    fn put(&mut self, record: Json) -> Result<bool>;

    /// The page was read wholly: its records count now. False when no further page is wanted.
    fn page_done(&mut self) -> Result<bool>;

    /// The page broke off: none of its records count.
    fn page_failed(&mut self);

    /// The last record taken, for paging; asked only when a template reads it.
    fn last_record(&self) -> Option<Json>;

    /// The highest cursor value of the records that count.
    fn newest(&self) -> Option<OffsetDateTime> {
        None
    }

    /// What looks at answers and pages as a whole, if anything does.
    fn observer(&mut self) -> Option<&mut dyn PageObserver> {
        None
    }
}

/// Looks at answers and pages beside their records.
pub trait PageObserver {
    /// An answer came.
    fn answered(&mut self, reply: &Reply);

    /// May the coming page hold bytes that are not UTF-8? Then the sink looks at each record.
    fn takes_broken_text(&mut self) -> bool;

    /// The page's records stood in a list, or one stood where a list may be.
    fn page_shape(&mut self, list: bool, alone: bool);

    /// The answer reports errors beside its records, which the config accepts.
    fn partial_errors(&mut self);

    /// The page, of so many records, was not the last one; `asked` is the page size that was asked for.
    fn page_followed(&mut self, records: u64, asked: Option<u64>);
}

/// How a slice was read.
#[derive(Debug, Clone, Default)]
pub struct SliceOutcome {
    /// The vendor's time when it began, if anything was answered.
    pub began: Option<OffsetDateTime>,
    /// May records of it be missing? Then its bookmark stays.
    pub incomplete: bool,
    /// Why it is a fault that they may be; nothing where the manifest ignores a later page's error.
    pub fault: Option<Fault>,
    /// Is no further record wanted?
    pub enough: bool,
}

impl SliceOutcome {
    /// Another part of the slice was read; true when no more is wanted.
    pub(super) fn ends_with(&mut self, part: SliceOutcome) -> bool {
        self.began = self.began.or(part.began);
        self.incomplete |= part.incomplete;
        self.fault = self.fault.take().or(part.fault);
        self.enough |= part.enough;
        self.enough
    }
}
