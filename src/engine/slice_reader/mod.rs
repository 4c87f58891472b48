//! Reads one slice of a stream: its pages, and the records in them.
//!
//! Input: a stream, a partition and a window. Output: each record, passed to a [`RecordSink`] page by page. Called by
//! the scheduler for streams and their parents. This module joins the stages: request, response, records, next page.

mod gaps;
mod slice;

use std::cell::OnceCell;
use std::rc::Rc;

use indexmap::IndexMap;
use indexmap::map::Entry;
use serde_json::{Map, Value as Json};
use time::OffsetDateTime;

use self::gaps::ENDS_PAGES;
use self::slice::{AskedWindow, Slice, naming};
use super::answer;
use super::build::StreamPlan;
use super::context::EngineContext;
use super::query_properties::{self, Properties};
use super::record_sink::{PageEnd, PageObserver, RecordSink, SliceOutcome};
use super::requester::{InjectedOptions, RequestContext};
use super::slice_recovery::{CursorWindow, RecoveryState};
use crate::base::fault::{Fault, Kind, Result};
use crate::base::json::scan::Scanner;
use crate::engine::cursor::Window;
use crate::engine::extract::{Found, Records, WalkError};
use crate::engine::fetch::retry::Remedy;
use crate::engine::fetch::{BrokenBody, CacheMode, Outcome, Reply};
use crate::engine::page::repeats::{PageRecords, Repeat};
use crate::engine::page::{Facts, NextPage, Pager, Wanted};
use crate::engine::slice::Partition;
use crate::manifest::template::{RequestOptions, Vars};

/// Reads a slice to its end.
pub(super) fn read(
    engine: &EngineContext,
    stream: &StreamPlan,
    partition: &Partition,
    window: Option<&Window>,
    sink: &mut dyn RecordSink,
) -> Result<SliceOutcome> {
    let slice = Rc::new(Slice::new(engine, stream, partition, window)?);
    SliceReader::new(slice, window.copied(), 0).read(sink)
}

/// Reads a slice, or one part of a slice whose window was split.
struct SliceReader<'r> {
    slice: Rc<Slice<'r>>,
    /// The window that is currently requested.
    asked: AskedWindow,
    /// How often the window was split.
    depth: u32,
    recovery: RecoveryState,
    /// How many times the slice was read again because rows were skipped.
    rereads: u32,
    cache: CacheMode,
    /// The first page, if the parent record contains it.
    embedded: Option<&'r Json>,
    /// The last response for this page had an incomplete body.
    broken: Option<BrokenBody>,
    /// Did a response report errors next to its records? Then counts and totals in it prove nothing.
    has_errors: bool,
    outcome: SliceOutcome,
}

/// The responses for one page.
#[derive(Default)]
struct Page {
    /// Records that pass the manifest's filter.
    selected: u64,
    /// The hashes of all its records.
    records: PageRecords,
    /// Parts of records by key, to be merged.
    parts: IndexMap<String, Json>,
    /// The last response; `None` if the manifest ignores it.
    last: Option<Answer>,
    /// The status of a response that the manifest ignores.
    ignored: Option<u16>,
}

/// A response whose records were written.
struct Answer {
    reply: Reply,
    /// The body as JSON, if the body itself is in another format.
    decoded: Option<Vec<u8>>,
    found: Found,
}

impl Answer {
    fn body(&self) -> &[u8] {
        self.decoded.as_deref().unwrap_or(&self.reply.body)
    }
}

/// The result of the requests for a page.
enum Fetched {
    Page(Page),
    /// The slice must be requested in another way, with the reason.
    Recover(Remedy, String),
}

/// The next step after a page.
enum Step {
    Next,
    End,
    /// Start over from the first page, with the reason.
    Restart(String),
    /// Start over from the first page because rows were skipped.
    ReadAgain,
}

impl<'r> SliceReader<'r> {
    /// A reader for `window` of the slice, after `depth` splits.
    fn new(slice: Rc<Slice<'r>>, window: Option<Window>, depth: u32) -> Self {
        SliceReader {
            asked: AskedWindow::new(slice.stream, slice.partition, window),
            depth,
            recovery: RecoveryState::default(),
            rereads: 0,
            cache: if slice.stream.keep_answers { CacheMode::Yes } else { CacheMode::No },
            embedded: slice.partition.first_page.as_ref(),
            broken: None,
            has_errors: false,
            outcome: SliceOutcome::default(),
            slice,
        }
    }

    /// A pager at the first page.
    fn pager(&self) -> Result<Pager<'r>> {
        let stream = self.slice.stream;
        let vars = Vars { slice: Some(&self.asked.variable), ..self.slice.record_vars() };
        stream.pages.start(&vars, &stream.key_paths)
    }

    fn read(mut self, sink: &mut dyn RecordSink) -> Result<SliceOutcome> {
        let mut pager = self.pager()?;
        if self.embedded.is_some() {
            // An embedded page cannot be requested again.
            pager.stop_overlap();
        }
        loop {
            self.slice.engine.stop.check()?;
            let token = pager.variable();
            let fetched = self.fetch_page(&pager, token.as_ref(), sink);
            if !matches!(fetched, Ok(Fetched::Page(_))) {
                sink.page_failed();
            }
            let fetched = match fetched {
                Err(fault) if fault.broken_body => {
                    self.ask_again(fault);
                    continue;
                }
                fetched => fetched?,
            };
            self.broken = None;
            let step = match fetched {
                Fetched::Page(page) if pager.looks_back() => self.page_read_again(page, &mut pager, sink)?,
                Fetched::Page(page) => {
                    let step = self.advance(page, &mut pager, token.as_ref(), sink)?;
                    self.look_back(step, &mut pager)
                }
                Fetched::Recover(Remedy::Reset, why) => Step::Restart(why),
                Fetched::Recover(Remedy::SmallerPages, _) => {
                    let wait = self.slice.stream.adaptation.reduce(&mut self.recovery, &mut pager)?;
                    self.slice.engine.stop.sleep(wait)?;
                    Step::Next
                }
                Fetched::Recover(Remedy::ShorterWindows, _) => return self.read_halves(sink),
            };
            match step {
                Step::Next => {}
                Step::End => return Ok(self.outcome),
                Step::Restart(why) => pager = self.restart(&why, sink)?,
                Step::ReadAgain => pager = self.read_again(pager)?,
            }
        }
    }

    /// Sends the requests for a page, and writes the records of each response.
    fn fetch_page(&mut self, pager: &Pager<'_>, token: Option<&Json>, sink: &mut dyn RecordSink) -> Result<Fetched> {
        let mut page = Page::default();
        let slice = self.slice.clone();
        for names in &slice.chunks {
            // An embedded page is as old as its parent record; of that we only know that the run had begun.
            let asked = if self.embedded.is_some() { self.slice.engine.cx.start() } else { OffsetDateTime::now_utc() };
            let outcome = match self.embedded.take() {
                Some(page) => Outcome::Page(Reply::embedded(page)),
                None => match self.request(pager, token, names.as_deref()) {
                    // Only a page number pointed to this page: a missing page shows that the number counts something
                    // else.
                    Err(Fault { kind: Kind::Data, status: Some(status), .. })
                        if ENDS_PAGES.contains(&status) && pager.is_counted() =>
                    {
                        Outcome::Ignored(status)
                    }
                    outcome => outcome?,
                },
            };
            page.last = match outcome {
                Outcome::Page(reply) => {
                    self.outcome.began.get_or_insert_with(|| reply.asked_at().unwrap_or(asked));
                    Some(self.take_records(reply, pager, &mut page, sink)?)
                }
                Outcome::Ignored(status) => {
                    page.ignored = Some(status);
                    None
                }
                Outcome::Recover(remedy, why) => return Ok(Fetched::Recover(remedy, why)),
            };
        }
        Ok(Fetched::Page(page))
    }

    /// The body was incomplete: requests the page again, after the same wait as after a truncated body.
    fn ask_again(&mut self, fault: Fault) {
        let tries = self.broken.as_ref().map_or(0, |broken| broken.tries) + 1;
        self.broken = Some(BrokenBody { reason: fault.message, tries });
        self.ask_vendor();
    }

    /// Stops using cached responses.
    fn ask_vendor(&mut self) {
        if self.cache == CacheMode::Yes {
            self.cache = CacheMode::Anew;
        }
    }

    /// Sends one request; `names` are the fields that it requests.
    fn request(&self, pager: &Pager<'_>, token: Option<&Json>, names: Option<&[String]>) -> Result<Outcome> {
        let of_records = Vars { next_page_token: token, ..self.slice.record_vars() };
        let naming = names.map(|names| naming(&self.asked.variable, names));
        let vars = match &naming {
            Some((variable, extra)) => Vars { slice: Some(variable), extra: Some(extra), ..of_records },
            None => Vars { slice: Some(&self.asked.variable), ..of_records },
        };
        let once = self.slice.stream.slice_options_once && pager.has_token();
        let named = names.zip(self.slice.stream.properties.as_ref());
        let injected = InjectedOptions {
            names: named.and_then(|(names, properties)| properties.parameter(names)),
            page: pager.options(),
            slice: if once { RequestOptions::default() } else { self.asked.options.clone() },
            path: pager.path(),
        };
        let (stream, partition) = (&*self.slice.stream.name, &self.slice.partition.key);
        let records = &self.slice.stream.records;
        let holds = |body: &[u8]| records.are_in(body);
        let looks = self.slice.stream.decoder.is_json() && !records.are_the_body();
        let context = RequestContext {
            // A cached response does not show what moved since.
            keep: if pager.looks_back() && self.cache == CacheMode::Yes { CacheMode::Anew } else { self.cache },
            holds: looks.then_some(&holds),
            broken: self.broken.as_ref().filter(|_| names == self.slice.chunks[0].as_deref()),
            ..RequestContext::new(self.slice.engine, stream, partition)
        };
        self.slice.stream.requester.ask(context, &vars, &injected)
    }

    /// Passes the records of a response to the sink, or stores their parts.
    fn take_records(
        &mut self,
        reply: Reply,
        pager: &Pager<'_>,
        page: &mut Page,
        sink: &mut dyn RecordSink,
    ) -> Result<Answer> {
        let token = pager.variable();
        let slice = self.slice.clone();
        let vars = Vars { next_page_token: token.as_ref(), ..slice.record_vars() };
        if let Some(observer) = sink.observer() {
            observer.answered(&reply);
        }
        sink.answered_at(reply.answered_at());
        let decoded = answer::decoded(self.slice.engine, self.slice.stream, &reply)?;
        let body = decoded.as_deref().unwrap_or(&reply.body);
        let is_text =
            simdutf8::basic::from_utf8(body).is_ok() || sink.observer().is_some_and(PageObserver::takes_broken_text);
        if !is_text {
            return Err(answer::not_text(body));
        }
        if answer::is_empty(&reply, body) {
            slice.check_empty(&reply, pager)?;
        }
        if let Some(error) = &reply.error {
            self.partial_errors(error, sink);
        }
        // Parts of a record are merged regardless of the filter; if old records end paging, all records are needed.
        let is_feed = slice.stream.cursor.as_ref().is_some_and(|cursor| cursor.data_feed);
        let skips_sent = pager.overlaps() && slice.stream.properties.is_none() && !is_feed;
        let wanted: &[String] = if let Wanted::Fields(fields) = &self.slice.wanted { fields } else { &[] };
        let found = answer::records(self.slice.engine, self.slice.stream, (&reply, body), wanted, &mut |scanner| {
            let start = scanner.at();
            if skips_sent && let Some(after) = after_sent(scanner, pager)? {
                *scanner = after;
                pager.add(&mut page.records, scanner.slice(start..scanner.at()));
                return Ok(());
            }
            page.selected += u64::from(match &self.slice.stream.properties {
                Some(properties) if properties.merges() => {
                    take_part(self.slice.stream, properties, scanner, (&vars, &mut page.parts), sink)?
                }
                _ => sink.take(scanner, &vars)?,
            });
            pager.add(&mut page.records, scanner.slice(start..scanner.at()));
            Ok(())
        })?;
        if let Some(field) = slice.stream.shape.left_out() {
            let message = format!("AddFields added no field to some records, because `{field}` reads a missing value");
            slice.engine.notice_once(&slice.stream.name, &message);
        }
        Ok(Answer { reply, decoded, found })
    }

    /// Completes a page: its records count, and its response decides how paging continues.
    fn advance(
        &mut self,
        page: Page,
        pager: &mut Pager<'_>,
        token: Option<&Json>,
        sink: &mut dyn RecordSink,
    ) -> Result<Step> {
        let Page { mut selected, records, parts, last, ignored } = page;
        for record in parts.into_values() {
            selected += u64::from(sink.put(record)?);
        }
        if let (Some(Answer { decoded, found, .. }), Some(observer)) = (&last, sink.observer()) {
            // Only JSON distinguishes a list with one record from a single record.
            observer.page_shape(found.list, found.alone && !found.list && decoded.is_none());
        }
        let repeat = pager.page_read(&records);
        if repeat == Repeat::Last && !self.slice.stream.pages.uses("last_record") {
            // The records of this page were the last ones sent.
            sink.page_failed();
        }
        let more = sink.page_done()?;
        let Some(answer) = last else { return Ok(self.page_ignored(ignored, pager)) };
        if let Some(step) = self.rows_skipped(pager) {
            return Ok(step);
        }
        if !more {
            self.outcome.enough = true;
            return Ok(Step::End);
        }
        let response = self.response(&answer)?;
        let headers = self.slice.stream.pages.uses("headers").then(|| answer.reply.headers_json(true));
        let uses_last = selected > 0 && self.slice.stream.pages.uses("last_record");
        let last_record = if uses_last { sink.last_record() } else { None };
        let vars = Vars {
            slice: Some(&self.asked.variable),
            response: Some(&response),
            headers: headers.as_ref(),
            last_record: last_record.as_ref(),
            next_page_token: token,
            ..self.slice.record_vars()
        };
        // Paging compares with the page size that was requested.
        let asked = pager.page_size();
        let records = answer.found.records;
        let stream = self.slice.stream;
        let trusted = |field: &str| self.slice.engine.trusts(&stream.name, field);
        let more = OnceCell::new();
        let more = || more.get_or_init(|| self.slice.more_records(&answer));
        let next = pager.advance(Facts { extracted: records, selected, repeat, more: &more, trusted: &trusted, vars });
        if self.slice.stream.adaptation.page_read(&mut self.recovery, pager, selected) {
            return Ok(Step::Restart("it has more records than one query may return".to_owned()));
        }
        let NextPage { follows, warning, broken_promise } = next?;
        if let Some(warning) = warning {
            self.slice.engine.notice_once(&stream.name, &warning);
        }
        if let Some(promise) = broken_promise.filter(|_| !self.has_errors) {
            self.slice.engine.distrust(&stream.name, &promise.field);
        }
        let end = PageEnd { extracted: records, next: if follows { pager.token().cloned() } else { None } };
        if !sink.page_ended(&end) {
            self.outcome.enough = follows;
            return Ok(Step::End);
        }
        if !follows {
            return Ok(Step::End);
        }
        if let Some(observer) = sink.observer() {
            observer.page_followed(records, asked);
        }
        self.slice.engine.fetcher.reuse(answer.reply.body);
        Ok(Step::Next)
    }

    /// The `response` variable of paging templates.
    fn response(&self, answer: &Answer) -> Result<Json> {
        match &self.slice.wanted {
            _ if self.slice.stream.decoder.streams() => Ok(Json::Object(Map::new())),
            Wanted::Fields(_) if matches!(self.slice.stream.records, Records::Walk(_)) => {
                answer::fields(answer.body(), &answer.found)
            }
            _ => answer::first_body(answer.body()),
        }
    }

    /// The currently requested window, with its cursor.
    fn cursor_window(&self) -> Option<CursorWindow<'r>> {
        let cursor = self.slice.stream.cursor.as_ref()?;
        self.asked.window.map(|window| CursorWindow { cursor, window })
    }

    /// Reads two half windows in place of one.
    fn read_halves(mut self, sink: &mut dyn RecordSink) -> Result<SliceOutcome> {
        for half in self.slice.stream.adaptation.split(self.cursor_window(), self.depth)? {
            let of_half = SliceReader::new(self.slice.clone(), Some(half), self.depth + 1).read(sink)?;
            if self.outcome.ends_with(of_half) {
                break;
            }
        }
        Ok(self.outcome)
    }

    /// Starts the slice over, at the first page of the rest of its window.
    fn restart(&mut self, why: &str, sink: &dyn RecordSink) -> Result<Pager<'r>> {
        let window = self.cursor_window();
        let rest = self.slice.stream.adaptation.reset(&mut self.recovery, window, sink.newest(), why)?;
        self.asked = AskedWindow::new(self.slice.stream, self.slice.partition, rest);
        // Cached responses contain the failed token.
        self.ask_vendor();
        self.pager()
    }
}

/// Positions after a record that was already sent.
fn after_sent<'a>(
    scanner: &Scanner<'a>,
    pager: &Pager<'_>,
) -> std::result::Result<Option<Scanner<'a>>, WalkError<Fault>> {
    let mut after = scanner.clone();
    after.skip()?;
    Ok(pager.has_sent(scanner.slice(scanner.at()..after.at())).then_some(after))
}

/// Stores a part of a record, to be merged with the others; true if the record is complete by itself and was written.
fn take_part(
    stream: &StreamPlan,
    properties: &Properties,
    scanner: &mut Scanner<'_>,
    (vars, parts): (&Vars<'_>, &mut IndexMap<String, Json>),
    sink: &mut dyn RecordSink,
) -> std::result::Result<bool, WalkError<Fault>> {
    let mut record = answer::record_json(scanner)?;
    if !stream.shape.apply(&mut record, vars, |_| true).map_err(WalkError::Callback)? {
        return Ok(false);
    }
    let Some(key) = properties.key(&record) else {
        return sink.put(record).map_err(WalkError::Callback);
    };
    match parts.entry(key) {
        Entry::Occupied(mut known) => query_properties::merge(known.get_mut(), record),
        Entry::Vacant(place) => drop(place.insert(record)),
    }
    Ok(false)
}
