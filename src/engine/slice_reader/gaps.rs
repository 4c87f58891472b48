//! Gaps in a slice: later pages that the manifest ignores, rows skipped between two pages, errors alongside records.
//!
//! Input: the result of a page. Output: how the slice continues, and whether its bookmark stays. Called by
//! [`SliceReader`].

use super::{Page, SliceReader, Step};
use crate::base::fault::{Fault, Result};
use crate::engine::page::Pager;
use crate::engine::record_sink::RecordSink;

/// Statuses with which a vendor may report that a page is past the last one.
pub(super) const ENDS_PAGES: [u16; 4] = [400, 404, 416, 422];
/// How many times a slice is read again because rows were skipped between its pages.
const MAX_REREADS: u32 = 2;

impl<'r> SliceReader<'r> {
    /// Handles an ignored response. On the first page this means an empty slice, as in the reference; on a later
    /// page, records after it are missing.
    pub(super) fn page_ignored(&mut self, status: Option<u16>, pager: &mut Pager<'_>) -> Step {
        if pager.is_counted() {
            let field = pager.break_promise().map(|promise| promise.field).unwrap_or_default();
            self.slice.engine.distrust(&self.slice.stream.name, &field);
            return Step::End;
        }
        let ends = pager.ends_by_error() && status.is_some_and(|status| ENDS_PAGES.contains(&status));
        if self.outcome.began.is_none() || ends {
            self.outcome.ignored |= self.outcome.began.is_none();
            return self.rows_skipped(pager).unwrap_or(Step::End);
        }
        self.outcome.incomplete = true;
        let stream = self.slice.stream;
        if stream.cursor.is_some() {
            let message = "the manifest ignored the error of a later page of a slice: the records before it are \
                sent, the bookmark stays, and the next run reads the slice again";
            (self.slice.engine.noticed)(&stream.name, message);
        }
        Step::End
    }

    /// If a page number cannot request the last row alone, the previous page is read again first.
    pub(super) fn look_back(&self, step: Step, pager: &mut Pager<'_>) -> Step {
        let looks = match &step {
            _ if self.outcome.incomplete => false,
            Step::Next => pager.look_back(true),
            Step::End => pager.look_back(false),
            Step::Restart(_) | Step::ReadAgain => false,
        };
        if looks { Step::Next } else { step }
    }

    /// Completes the repeated previous page.
    pub(super) fn page_read_again(
        &mut self,
        page: Page,
        pager: &mut Pager<'_>,
        sink: &mut dyn RecordSink,
    ) -> Result<Step> {
        for record in page.parts.into_values() {
            sink.put(record)?;
        }
        sink.page_done()?;
        let step = if pager.looked_back(&page.records) { Step::Next } else { Step::End };
        Ok(self.rows_skipped(pager).unwrap_or(step))
    }

    /// Were rows skipped before the page? Then the slice is read again, a limited number of times.
    pub(super) fn rows_skipped(&mut self, pager: &mut Pager<'_>) -> Option<Step> {
        if !pager.has_skipped() {
            return None;
        }
        if self.rereads < MAX_REREADS {
            self.rereads += 1;
            return Some(Step::ReadAgain);
        }
        pager.stop_overlap();
        self.outcome.incomplete = true;
        let message = format!(
            "rows moved between two pages, even after {MAX_REREADS} more reads of the slice: rows may be missing; \
            the records are sent, and the bookmark stays"
        );
        (self.slice.engine.noticed)(&self.slice.stream.name, &message);
        None
    }

    /// Handles a response with errors alongside its records: the records are sent, but others may be missing.
    pub(super) fn partial_errors(&mut self, error: &str, sink: &mut dyn RecordSink) {
        self.has_errors = true;
        let stream = self.slice.stream;
        let message = format!("a response reports errors beside its records; the vendor says: {error}");
        self.slice.engine.notice_once(&stream.name, &message);
        if stream.errors_accepted {
            if let Some(observer) = sink.observer() {
                observer.partial_errors();
            }
            return;
        }
        self.outcome.incomplete = true;
        self.outcome.fault.get_or_insert_with(|| {
            Fault::data(message).of_rule("partial_errors").hint(
                "the records are sent, and the bookmark stays; if the vendor always reports these errors, accept \
                them: an error filter with `action: SUCCESS` in the manifest, or in dripfeed.drift.rules \
                 {\"rule\": \"partial_errors\", \"policy\": \"record\"}",
            )
        });
    }

    /// Reads the slice again unchanged, without the records that were already sent.
    pub(super) fn read_again(&mut self, before: Pager<'r>) -> Result<Pager<'r>> {
        self.outcome.enough = false;
        self.recovery.read_again();
        self.ask_vendor();
        let mut pager = self.pager()?;
        pager.continue_from(before);
        Ok(pager)
    }
}
