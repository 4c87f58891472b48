//! The pages of one slice: which is asked for next, and when there is none.
//!
//! Input: what each page held. Output: the options or path of the next request, or the end. Made by
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
    /// The page size that is asked for instead.
    pub(super) reduced: Option<u64>,
    /// Page number or offset so far.
    pub(super) number: Option<u64>,
    /// Hashes of the tokens of this slice: one that comes again would go round for ever.
    pub(super) seen: HashSet<u64>,
    /// What pages held so far.
    pub(super) repeats: Repeats<'p>,
    pub(super) records: u64,
    pub(super) pages: u64,
    /// The vendor's word on which alone the page is asked for.
    pub(super) promise: Option<Promise>,
    /// Does the answer before it say that there is the page, though it would be asked for without?
    pub(super) announced: bool,
    /// The rows of the last pages, where they are compared.
    pub(super) overlap: Option<Overlap>,
    /// Where paging goes on after a page that is read again.
    pub(super) resumption: Option<Resumption>,
    pub(super) hasher: RandomState,
}

/// Where paging goes on after a page that is read again.
#[derive(Debug)]
pub(super) struct Resumption {
    token: Option<Json>,
    promise: Option<Promise>,
    /// Is there another page?
    follows: bool,
}

/// What a page held.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Records that the extractor found, before any filter.
    pub extracted: u64,
    /// Records after filters.
    pub selected: u64,
    /// What the page brought.
    pub repeat: Repeat,
    /// What its last answer says of records after its own, which is looked for when it is first asked for.
    pub more: &'a dyn Fn() -> &'a MoreRecords,
    /// Is a field believed that says that there is more?
    pub trusted: &'a dyn Fn(&str) -> bool,
    /// `response`, `headers`, `last_record` and slice.
    pub vars: Vars<'a>,
}

/// Whether there is another page.
#[derive(Debug, Default)]
pub struct NextPage {
    /// Is there one?
    pub follows: bool,
    /// What a person should know of it.
    pub warning: Option<String>,
    /// The field that promised more than there was.
    pub broken_promise: Option<Promise>,
}

impl Pager<'_> {
    /// Records that a page is asked for.
    pub fn page_size(&self) -> Option<u64> {
        self.reduced.or(self.page_size)
    }

    /// Asks for pages of another size than the manifest's from now on, or of that again.
    pub fn ask_for(&mut self, size: Option<u64>) {
        self.reduced = size;
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

    /// The path of the next request, if the token is one.
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

    /// Did the vendor's last answer promise the page that is asked for now?
    pub fn is_promised(&self) -> bool {
        let by_word = self.promise.as_ref().is_some_and(|promise| !promise.counted);
        self.token.is_some() && (self.plan.is_stated() || self.announced || by_word)
    }

    /// Is the page asked for only because a number in the answer before it is higher than the records so far?
    pub fn is_counted(&self) -> bool {
        self.promise.as_ref().is_some_and(|promise| promise.counted)
    }

    /// The page that was asked for on the vendor's word alone cannot be had.
    pub fn break_promise(&mut self) -> Option<Promise> {
        self.promise.take()
    }

    /// Takes a record of the page that is read, as bytes.
    pub fn add(&self, page: &mut PageRecords, record: &[u8]) {
        if self.plan.strategy.is_some() {
            self.repeats.add(page, record);
        }
        if self.overlap.is_some() {
            page.add_row(self.repeats.row(record));
        }
    }

    /// The page was read: what did it bring?
    pub fn page_read(&mut self, page: &PageRecords) -> Repeat {
        if let Some(overlap) = &mut self.overlap {
            overlap.page_read(page, self.token.as_ref());
        }
        self.repeats.page_read(page)
    }

    /// Are rows asked for again?
    pub fn overlaps(&self) -> bool {
        self.overlap.is_some()
    }

    /// Was the record sent already in this slice, as the last version of its key?
    pub fn has_sent(&self, record: &[u8]) -> bool {
        let row = || self.repeats.row(record);
        self.overlap.as_ref().is_some_and(|overlap| row().is_some_and(|row| overlap.has_sent(row)))
    }

    /// Were rows skipped between the last pages?
    pub fn has_skipped(&self) -> bool {
        self.overlap.as_ref().is_some_and(Overlap::has_skipped)
    }

    /// Asks for no row again from now on.
    pub fn stop_overlap(&mut self) {
        if let Some(overlap) = &mut self.overlap {
            overlap.stop();
        }
    }

    /// The slice is read again: what `before` knows as sent is not sent again.
    pub fn continue_from(&mut self, before: Self) {
        if let (Some(overlap), Some(before)) = (&mut self.overlap, before.overlap) {
            overlap.continue_from(before);
        }
    }

    /// Goes back to the page before the one that was read, if that is to be read again; whether another one follows is
    /// remembered until then.
    pub fn look_back(&mut self, follows: bool) -> bool {
        let Some(token) = self.overlap.as_ref().and_then(Overlap::page_before) else { return false };
        let token = std::mem::replace(&mut self.token, token);
        self.resumption = Some(Resumption { token, promise: self.promise.take(), follows });
        true
    }

    /// Is a page read again?
    pub fn looks_back(&self) -> bool {
        self.resumption.is_some()
    }

    /// The page was read again: does another one follow?
    pub fn looked_back(&mut self, page: &PageRecords) -> bool {
        if let Some(overlap) = &mut self.overlap {
            overlap.page_read_again(page);
        }
        let Some(Resumption { token, promise, follows }) = self.resumption.take() else { return false };
        (self.token, self.promise) = (token, promise);
        follows
    }

    /// May an error be the way in which the vendor's pages end? So it is where nothing else tells the last page.
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
                "an answer has fewer records than it was asked for, but says that there are more (`{}`): \
                 paging goes on",
                promise.field
            ));
        }
        self.announced = !plan.is_stated() && (page.more)().announces(page.trusted);
        self.token = Some(token);
        next.follows = true;
        Ok(next)
    }

    /// The number of the next page or of its first record; nothing at the end. Of its records, `fresh` were not
    /// asked for again.
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
            // Behind an empty page stands the next one that is asked for, not the empty one again.
            _ if page.extracted == 0 => self.number.unwrap_or(0) + size.unwrap_or(1),
            _ => {
                let back = self.overlap.as_mut().map_or(0, |overlap| overlap.step_back(page.extracted, size));
                self.number.unwrap_or(0) + page.extracted - back
            }
        };
        self.number = Some(next);
        Ok(Some(json!(next)))
    }

    /// The token of the next page; nothing at the end.
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
            // Only a stop because of a short page is a guess: one that would not be, were the page a full one.
            let full = Vars { last_page_size: Some(self.page_size().unwrap_or(FULL)), ..page.vars };
            let is_mixed = PAGE_FACTS.iter().any(|name| stop.uses(name));
            let guesses = stop.uses("last_page_size") && !(is_mixed && (page.extracted == 0 || stop.truth(&full)?));
            if !guesses {
                return Ok(None);
            }
            // Its token may stand in every answer: it promises nothing.
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
        // A text that spells a list or an object is one in a JSON body only.
        let token = match &self.plan.token {
            Some(Token::Option(inject)) if inject.is_json() => token,
            _ if token.is_array() || token.is_object() => value.value(&page.vars, Types::Text)?,
            _ => token,
        };
        if !self.seen.insert(self.hasher.hash_one(crate::base::json::python::canonical(&token))) {
            return Err(Fault::data("the page token repeats: the vendor would be asked for the same pages for ever")
                .at(&value.at().location)
                .hint("check `cursor_value` and `stop_condition`, or report it to the vendor"));
        }
        Ok(Some(token))
    }

    /// The vendor's word that there is more.
    fn promised(&self, page: Facts<'_>) -> Option<Promise> {
        (page.more)().promise(self.records, self.pages, page.trusted)
    }

    /// A page has no token for the next one: is it the last, or does the manifest look for the token in the wrong
    /// place? What a person should know of it.
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
                "`cursor_value` ({template}) finds nothing on a full page, but the answer says that there are \
                 more records (`{field}`)"
            ))
            .at(&value.at().location)
            .hint("check the field's name in `cursor_value` against an answer of the vendor")),
            promise => Ok((promise.is_some() || self.token.is_none()).then(|| {
                format!(
                    "`cursor_value` ({template}) finds nothing on a full page: that is taken for the last one; check \
                     the field's name against an answer of the vendor"
                )
            })),
        }
    }
}
