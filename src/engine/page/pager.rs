//! The pages of one slice: selects the next page, and detects the end.
//!
//! Input: the contents of each page. Output: the options or path of the next request, or the end. Created by
//! [`PagePlan::start`], called by `slice_reader`.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use serde_json::{Value as Json, json};

use super::more::{MoreRecords, Promise};
use super::overlap::Overlap;
use super::repeats::{PageRecords, Repeat, Repeats};
use super::{FULL, PAGE_FACTS, PagePlan, Strategy, Token, size};
use crate::base::fault::{Fault, Result};
use crate::base::json::python::is_falsy;
use crate::manifest::template::{self, RequestOptions, Template, Types, Vars};

/// The pages of one slice.
#[derive(Debug)]
pub struct Pager<'p> {
    pub(super) plan: &'p PagePlan,
    pub(super) token: Option<Json>,
    pub(super) page_size: Option<u64>,
    /// The page size that replaces the manifest's.
    pub(super) reduced: Option<u64>,
    /// Page number or offset so far.
    pub(super) number: Option<u64>,
    /// Hashes of the slice's tokens: a repeated token would cause an endless loop.
    pub(super) seen: HashSet<u64>,
    /// Detects repeated pages.
    pub(super) repeats: Repeats<'p>,
    pub(super) records: u64,
    pub(super) pages: u64,
    /// The vendor's promise that is the only reason to request the page.
    pub(super) promise: Option<Promise>,
    /// Did the previous response announce the page, although it would be requested anyway?
    pub(super) announced: bool,
    /// The rows of the last pages, if pages are compared.
    pub(super) overlap: Option<Overlap>,
    /// Where paging continues after a repeated page.
    pub(super) resumption: Option<Resumption>,
    pub(super) hasher: RandomState,
}

/// Where paging continues after a repeated page.
#[derive(Debug)]
pub(super) struct Resumption {
    token: Option<Json>,
    promise: Option<Promise>,
    /// Is there another page?
    follows: bool,
}

/// Facts about a page.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Records that the extractor found, before any filter.
    pub extracted: u64,
    /// Records after filters.
    pub selected: u64,
    /// Whether the page repeats earlier ones.
    pub repeat: Repeat,
    /// The paging information of its last response, read on demand.
    pub more: &'a dyn Fn() -> &'a MoreRecords,
    /// Is a field that announces more records trusted?
    pub trusted: &'a dyn Fn(&str) -> bool,
    /// `response`, `headers`, `last_record` and slice.
    pub vars: Vars<'a>,
}

/// Whether there is another page.
#[derive(Debug, Default)]
pub struct NextPage {
    /// Is there one?
    pub follows: bool,
    /// A warning for the user.
    pub warning: Option<String>,
    /// The field that announced more records than there were.
    pub broken_promise: Option<Promise>,
}

impl Pager<'_> {
    /// The requested page size.
    pub fn page_size(&self) -> Option<u64> {
        self.reduced.or(self.page_size)
    }

    /// Changes the page size for later requests; `None` restores the manifest's.
    pub fn ask_for(&mut self, size: Option<u64>) {
        self.reduced = size;
    }

    /// The token of the next request.
    pub fn token(&self) -> Option<&Json> {
        self.token.as_ref()
    }

    /// The `next_page_token` variable of the next request.
    pub fn variable(&self) -> Option<Json> {
        self.token.as_ref().map(|t| json!({"next_page_token": t}))
    }

    /// The options of the next request.
    pub fn options(&self) -> RequestOptions {
        let mut options = RequestOptions::default();
        if let (Some(Token::Option(inject)), Some(token)) = (&self.plan.token, &self.token) {
            inject.put(token.clone(), &mut options);
        }
        if let (Some(inject), Some(size)) = (&self.plan.size, self.page_size()) {
            inject.put(json!(size), &mut options);
        }
        options
    }

    /// The path of the next request, if the token is a path.
    pub fn path(&self) -> Option<String> {
        match (&self.plan.token, &self.token) {
            (Some(Token::Path), Some(token)) => Some(template::text_of(token)),
            _ => None,
        }
    }

    /// Is this the first page?
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Did the vendor's last response promise the requested page?
    pub fn is_promised(&self) -> bool {
        let by_word = self.promise.as_ref().is_some_and(|promise| !promise.counted);
        self.token.is_some() && (self.plan.is_stated() || self.announced || by_word)
    }

    /// Is the page requested only because a total in the previous response exceeds the records so far?
    pub fn is_counted(&self) -> bool {
        self.promise.as_ref().is_some_and(|promise| promise.counted)
    }

    /// The page that was requested only because of a promise does not exist.
    pub fn break_promise(&mut self) -> Option<Promise> {
        self.promise.take()
    }

    /// Adds a record of the current page, as bytes.
    pub fn add(&self, page: &mut PageRecords, record: &[u8]) {
        if self.plan.strategy.is_some() {
            self.repeats.add(page, record);
        }
        if self.overlap.is_some() {
            page.add_row(self.repeats.row(record));
        }
    }

    /// Completes a page: does it repeat earlier ones?
    pub fn page_read(&mut self, page: &PageRecords) -> Repeat {
        if let Some(overlap) = &mut self.overlap {
            overlap.page_read(page, self.token.as_ref());
        }
        self.repeats.page_read(page)
    }

    /// Are rows requested again?
    pub fn overlaps(&self) -> bool {
        self.overlap.is_some()
    }

    /// Was the record already sent in this slice, as the last version of its key?
    pub fn has_sent(&self, record: &[u8]) -> bool {
        let row = || self.repeats.row(record);
        self.overlap.as_ref().is_some_and(|overlap| row().is_some_and(|row| overlap.has_sent(row)))
    }

    /// Were rows skipped between the last pages?
    pub fn has_skipped(&self) -> bool {
        self.overlap.as_ref().is_some_and(Overlap::has_skipped)
    }

    /// Stops requesting rows again.
    pub fn stop_overlap(&mut self) {
        if let Some(overlap) = &mut self.overlap {
            overlap.stop();
        }
    }

    /// Called when the slice is read again: records that `before` knows as sent are not sent again.
    pub fn continue_from(&mut self, before: Self) {
        if let (Some(overlap), Some(before)) = (&mut self.overlap, before.overlap) {
            overlap.continue_from(before);
        }
    }

    /// Goes back to the page before the last one, if it must be read again; `follows` is remembered until then.
    pub fn look_back(&mut self, follows: bool) -> bool {
        let Some(token) = self.overlap.as_ref().and_then(Overlap::page_before) else { return false };
        let token = std::mem::replace(&mut self.token, token);
        self.resumption = Some(Resumption { token, promise: self.promise.take(), follows });
        true
    }

    /// Is a page being read again?
    pub fn looks_back(&self) -> bool {
        self.resumption.is_some()
    }

    /// Completes a repeated page: does another one follow?
    pub fn looked_back(&mut self, page: &PageRecords) -> bool {
        if let Some(overlap) = &mut self.overlap {
            overlap.page_read_again(page);
        }
        let Some(Resumption { token, promise, follows }) = self.resumption.take() else { return false };
        (self.token, self.promise) = (token, promise);
        follows
    }

    /// May an error mark the end of the vendor's pages? It may if nothing else marks the last page.
    pub fn ends_by_error(&self) -> bool {
        self.page_size().is_none() && !self.plan.is_stated() && !self.announced
    }

    /// Goes to the next page, if there is one.
    pub fn advance(&mut self, page: Facts<'_>) -> Result<NextPage> {
        let plan = self.plan;
        let Some(strategy) = &plan.strategy else { return Ok(NextPage::default()) };
        let fresh = page.extracted.saturating_sub(self.overlap.as_ref().map_or(0, Overlap::again));
        self.records += fresh;
        self.pages += 1;
        let promise = self.promise.take();
        if promise.is_some() && (fresh == 0 || page.repeat != Repeat::No) {
            return Ok(NextPage { broken_promise: promise, ..NextPage::default() });
        }
        let vars = Vars { page_size: self.page_size(), last_page_size: Some(page.selected), ..page.vars };
        let page = Facts { vars, ..page };
        let mut next = NextPage::default();
        let token = match strategy {
            Strategy::Page { .. } | Strategy::Offset { .. } => self.next_number(strategy, page, fresh)?,
            Strategy::Cursor { value, stop } => self.next_token(value, stop.as_ref(), page, &mut next)?,
        };
        let Some(token) = token else { return Ok(next) };
        self.repeats.check()?;
        if let Some(promise) = &self.promise {
            next.warning = Some(format!(
                "a response has fewer records than requested but announces more (`{}`): paging continues",
                promise.field
            ));
        }
        self.announced = !plan.is_stated() && (page.more)().announces(page.trusted);
        self.token = Some(token);
        next.follows = true;
        Ok(next)
    }

    /// The number of the next page or of its first record; `None` at the end. `fresh` is the number of its records
    /// that were not requested again.
    fn next_number(&mut self, strategy: &Strategy, page: Facts<'_>, fresh: u64) -> Result<Option<Json>> {
        let size = match (self.reduced, &self.plan.page_size) {
            (None, Some(t)) => Some(size(t, &page.vars)?),
            (reduced, _) => reduced,
        };
        if page.extracted == 0 || size.map_or(fresh == 0, |s| page.extracted < s) {
            self.promise = self.promised(page);
            if self.promise.is_none() {
                return Ok(None);
            }
        }
        let next = match strategy {
            Strategy::Page { start, .. } => self.number.unwrap_or(*start) + 1,
            // After an empty page the next one is requested, not the empty one again.
            _ if page.extracted == 0 => self.number.unwrap_or(0) + size.unwrap_or(1),
            _ => {
                let back = self.overlap.as_mut().map_or(0, |overlap| overlap.step_back(page.extracted, size));
                self.number.unwrap_or(0) + page.extracted - back
            }
        };
        self.number = Some(next);
        Ok(Some(json!(next)))
    }

    /// The token of the next page; `None` at the end.
    fn next_token(
        &mut self,
        value: &Template,
        stop: Option<&Template>,
        page: Facts<'_>,
        next: &mut NextPage,
    ) -> Result<Option<Json>> {
        if let Some(stop) = stop
            && stop.truth(&page.vars)?
        {
            // A stop is a guess only if it depends on the page being short: test with a full page.
            let full = Vars { last_page_size: Some(self.page_size().unwrap_or(FULL)), ..page.vars };
            let is_mixed = PAGE_FACTS.iter().any(|name| stop.uses(name));
            let guesses = stop.uses("last_page_size") && !(is_mixed && (page.extracted == 0 || stop.truth(&full)?));
            if !guesses {
                return Ok(None);
            }
            // A token may be in every response: it promises nothing.
            self.promise = self.promised(page).filter(|promise| promise.plain);
            if self.promise.is_none() {
                return Ok(None);
            }
        }
        let token = value.value(&page.vars, Types::Json)?;
        if is_falsy(&token) {
            if self.promise.take().is_none() {
                next.warning = self.lost_token(value, page)?;
            }
            return Ok(None);
        }
        // A text that looks like a list or an object becomes one only in a JSON body.
        let token = match &self.plan.token {
            Some(Token::Option(inject)) if inject.is_json() => token,
            _ if token.is_array() || token.is_object() => value.value(&page.vars, Types::Text)?,
            _ => token,
        };
        if !self.seen.insert(self.hasher.hash_one(crate::base::json::python::canonical(&token))) {
            return Err(Fault::data("the page token repeats: dripfeed would request the same pages forever")
                .at(&value.at().location)
                .hint("check `cursor_value`, `stop_condition` and where `page_token_option` sends the token"));
        }
        Ok(Some(token))
    }

    /// The vendor's promise of more records.
    fn promised(&self, page: Facts<'_>) -> Option<Promise> {
        (page.more)().promise(self.records, self.pages, page.trusted)
    }

    /// A page has no token for the next one: is it the last, or does the manifest look for the token in the wrong
    /// place? Returns a warning for the user.
    fn lost_token(&self, value: &Template, page: Facts<'_>) -> Result<Option<String>> {
        if page.extracted == 0 || !value.finds_nothing(&page.vars) {
            return Ok(None);
        }
        let more = (page.more)();
        let promise = more.promise(self.records, self.pages, page.trusted);
        let full = self.page_size().map_or(promise.is_some(), |size| page.extracted >= size);
        if more.ends() || !full {
            return Ok(None);
        }
        let template = template::text_of(value.written());
        match promise {
            Some(Promise { field, plain: true, .. }) => Err(Fault::data(format!(
                "`cursor_value` ({template}) finds nothing on a full page, but the response announces more records \
                (`{field}`)"
            ))
            .at(&value.at().location)
            .hint("compare the field's name in `cursor_value` with a response of the vendor")),
            promise => Ok((promise.is_some() || self.token.is_none()).then(|| {
                format!(
                    "`cursor_value` ({template}) finds nothing on a full page, which counts as the last page; \
                    compare the field's name with a response of the vendor"
                )
            })),
        }
    }
}
