//! Reads one slice of a stream: its pages, and the records in them.
//!
//! Comes in: a stream, a partition and a window. Goes out: each record to a [`RecordSink`], page by page. Called by the
//! scheduler for streams, and for their parents. This is where the stages meet: request, answer, records, next page.

use std::borrow::Cow;

use indexmap::IndexMap;
use indexmap::map::Entry;
use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;

use super::build::StreamPlan;
use super::parents;
use super::query_properties::{self, Properties, VARIABLE};
use super::requester::{InjectedOptions, RequestContext};
use super::slice_recovery::RecoveryState;
use crate::base::fault::{Fault, Result};
use crate::base::json::scan::{self, Kind, Scanner};
use crate::drift::monitor::MonitorReport;
use crate::engine::auth::TokenListener;
use crate::engine::cursor::Window;
use crate::engine::extract::dom_extract::{DomExtractor, Lists};
use crate::engine::extract::{self, Found, Records, WalkError};
use crate::engine::fetch::retry::Remedy;
use crate::engine::fetch::{CacheMode, Fetcher, Outcome, Reply};
use crate::engine::page::{Facts, Wanted};
use crate::engine::slice::Partition;
use crate::manifest::template::{EvalContext, RequestOptions, Vars};

/// What every thread of a run shares.
pub struct EngineContext {
    /// Sends requests.
    pub fetcher: Fetcher,
    /// Config and now.
    pub cx: std::sync::Arc<EvalContext>,
    /// The wish to stop.
    pub stop: std::sync::Arc<crate::base::stop::Stop>,
    /// Hears of new tokens.
    pub token_listener: std::sync::Arc<dyn TokenListener>,
    /// Hears of a stream that begins, before anything is asked for it.
    pub started: Box<dyn Fn(&str) + Send + Sync>,
    /// Between two questions how a job stands.
    pub poll: std::time::Duration,
    /// Jobs that run at the vendor's.
    pub jobs: std::sync::atomic::AtomicUsize,
    /// Where files of records go.
    pub files: std::path::PathBuf,
    /// Hears what changed in a stream's data.
    pub drifted: Box<dyn Fn(&MonitorReport) + Send + Sync>,
    /// Hears what a person should know of a stream.
    pub noticed: Box<dyn Fn(&str, &str) + Send + Sync>,
}

/// Takes the records of a slice.
pub trait RecordSink {
    /// Takes the record at which the scanner stands, and passes it; false when the manifest drops it. `vars` hold
    /// the slice.
    fn take(&mut self, scanner: &mut Scanner<'_>, vars: &Vars<'_>) -> std::result::Result<bool, WalkError<Fault>>;

    /// Takes a record that was put together and shaped already.
    /// False when an old one was dropped.
    fn put(&mut self, record: Json) -> Result<bool>;

    /// The page was read wholly: its records count now. False when no further page is wanted.
    fn page_done(&mut self) -> Result<bool>;

    /// The page broke off: none of its records count.
    fn page_failed(&mut self);

    /// The highest cursor value of the records that count.
    fn newest(&self) -> Option<OffsetDateTime> {
        None
    }

    /// An answer came.
    fn answered(&mut self, _: &Reply) {}

    /// The page, of so many records, was not the last one; `asked` is the page size that was asked for.
    fn page_followed(&mut self, _records: u64, _asked: Option<u64>) {}

    /// The page's records stood in a list, or one stood where a list may be.
    fn stood(&mut self, _list: bool, _alone: bool) {}

    /// May a page hold bytes that are not UTF-8? Then whoever takes its records looks at each.
    fn takes_broken_text(&mut self) -> bool {
        false
    }

    /// The last record taken, for paging; asked only when a template reads it.
    fn last_record(&self) -> Option<Json>;
}

/// How a slice was read.
#[derive(Debug, Clone, Copy, Default)]
pub struct SliceOutcome {
    /// The vendor's time when it began, if anything was answered.
    pub began: Option<OffsetDateTime>,
    /// Did a later page end it, because the manifest ignores its error? Then records may be missing.
    pub cut_short: bool,
    /// Is no further record wanted?
    pub enough: bool,
}

impl SliceOutcome {
    /// Another part of the slice was read; true when no more is wanted.
    pub(super) fn ends_with(&mut self, part: SliceOutcome) -> bool {
        self.began = self.began.or(part.began);
        self.cut_short |= part.cut_short;
        self.enough |= part.enough;
        self.enough
    }
}

/// Reads a slice to its end.
pub fn read(
    shared: &EngineContext,
    stream: &StreamPlan,
    partition: &Partition,
    window: Option<&Window>,
    taker: &mut dyn RecordSink,
) -> Result<SliceOutcome> {
    read_split(shared, stream, partition, (window, window), 0, taker)
}

/// Reads a slice, or the part of one whose window was split `depth` times: `windows` are the slice's own, and the one that
/// is asked for.
fn read_split(
    shared: &EngineContext,
    stream: &StreamPlan,
    partition: &Partition,
    windows: (Option<&Window>, Option<&Window>),
    depth: u32,
    taker: &mut dyn RecordSink,
) -> Result<SliceOutcome> {
    let cursor = stream.cursor.as_ref();
    let seen = |window: Option<&Window>| stream.slice_variable(partition, window);
    let options = |window: Option<&Window>| {
        // Requests about jobs name the slice in templates alone.
        if stream.jobs.is_some() {
            return RequestOptions::default();
        }
        let mut options = partition.options.clone();
        if let (Some(cursor), Some(window)) = (cursor, window) {
            cursor.options(window, &mut options);
        }
        options
    };
    let (own, mut window) = (seen(windows.0), windows.1.copied());
    let (mut variable, mut slice_options) = (seen(window.as_ref()), options(window.as_ref()));
    let extra = Json::Object(partition.extra.clone());
    let record_vars = Vars { slice: Some(&own), extra: Some(&extra), ..Vars::new(&shared.cx) };
    let mut pager = stream.pages.start(&Vars { slice: Some(&variable), ..record_vars })?;
    let keep = if stream.keep_answers { CacheMode::Yes } else { CacheMode::No };
    let mut whose = RequestContext { shared, stream: &stream.name, partition: &partition.key, keep, into: None };
    let (mut reading, mut history) = (SliceOutcome::default(), RecoveryState::default());
    let wanted = stream.pages.wanted();
    let wanted_fields: &[String] = if let Wanted::Fields(fields) = &wanted { fields } else { &[] };
    let mut embedded = partition.first_page.as_ref();
    let chunks = stream.properties.as_ref().map(|properties| properties.chunks(shared)).transpose()?;
    let chunks: Vec<Option<Vec<String>>> = chunks.map_or_else(|| vec![None], |c| c.into_iter().map(Some).collect());
    loop {
        shared.stop.check()?;
        let token = pager.variable();
        let of_records = Vars { next_page_token: token.as_ref(), ..record_vars };
        // Of the page: records that count, parts of records by their key, the last answer, and what is to be done instead.
        let (mut kept, mut parts, mut last, mut instead) = (0, IndexMap::new(), None, None);
        let mut of_page = || -> Result<()> {
            for names in &chunks {
                let named = names.as_ref().map(|names| naming(&variable, names));
                let vars = match &named {
                    Some((variable, extra)) => Vars { slice: Some(variable), extra: Some(extra), ..of_records },
                    None => Vars { slice: Some(&variable), ..of_records },
                };
                // A page that is at hand is as old as its parent's, of which no more is known than that the run had begun.
                let asked = if embedded.is_some() { shared.cx.start() } else { OffsetDateTime::now_utc() };
                let outcome = match embedded.take() {
                    Some(page) => Outcome::Page(Reply::embedded(page)),
                    None => {
                        let once = stream.slice_options_once && pager.has_token();
                        let named = names.as_ref().zip(stream.properties.as_ref());
                        let added = InjectedOptions {
                            names: named.and_then(|(names, properties)| properties.parameter(names)),
                            page: pager.options(),
                            slice: if once { RequestOptions::default() } else { slice_options.clone() },
                            path: pager.path(),
                        };
                        stream.requester.ask(whose, &vars, &added)?
                    }
                };
                last = None;
                match outcome {
                    Outcome::Page(reply) => {
                        reading.began.get_or_insert_with(|| reply.asked_at().unwrap_or(asked));
                        taker.answered(&reply);
                        let other = decoded(shared, stream, &reply)?;
                        let body = other.as_deref().unwrap_or(&reply.body);
                        let fine = simdutf8::basic::from_utf8(body).is_ok() || taker.takes_broken_text();
                        let found = records(shared, stream, &reply, body, fine, wanted_fields, &mut |scanner| {
                            kept += u64::from(match &stream.properties {
                                Some(properties) if properties.merges() => {
                                    part(stream, properties, scanner, &of_records, &mut parts, taker)?
                                }
                                _ => taker.take(scanner, &of_records)?,
                            });
                            Ok(())
                        })?;
                        last = Some((reply, other, found));
                    }
                    Outcome::Ignored => {}
                    Outcome::Unauthorized(fault) => return Err(fault),
                    Outcome::Recover(remedy, why) => {
                        instead = Some((remedy, why));
                        return Ok(());
                    }
                }
            }
            Ok(())
        };
        let page = of_page();
        if page.is_err() || instead.is_some() {
            taker.page_failed();
        }
        page?;
        let why = match instead {
            Some((Remedy::Reset, why)) => why,
            Some((Remedy::SmallerPages, _)) => {
                let wait = stream.adaptation.reduce(&mut history, &mut pager)?;
                shared.stop.sleep(wait)?;
                continue;
            }
            Some((Remedy::ShorterWindows, _)) => {
                for half in stream.adaptation.split(cursor, window.as_ref(), depth)? {
                    let windows = (windows.0, Some(&half));
                    let of_half = read_split(shared, stream, partition, windows, depth + 1, taker)?;
                    if reading.ends_with(of_half) {
                        break;
                    }
                }
                return Ok(reading);
            }
            None => {
                for record in parts.into_values() {
                    kept += u64::from(taker.put(record)?);
                }
                if let Some((_, other, found)) = &last {
                    // Only JSON tells a list of one from one that stands alone.
                    taker.stood(found.list, found.alone && !found.list && other.is_none());
                }
                let more = taker.page_done()?;
                let Some((reply, other, found)) = last else {
                    // The manifest ignores the error of a later page.
                    reading.cut_short = reading.began.is_some();
                    return Ok(reading);
                };
                if !more {
                    reading.enough = true;
                    return Ok(reading);
                }
                let body = other.as_deref().unwrap_or(&reply.body);
                let response = match &wanted {
                    _ if stream.decoder.streams() => Json::Object(Map::new()),
                    Wanted::Fields(_) if matches!(stream.records, Records::Walk(_)) => fields(body, &found)?,
                    _ => first_body(body)?,
                };
                let headers = stream.pages.uses("headers").then(|| reply.headers_json(true));
                let last = if kept > 0 && stream.pages.uses("last_record") { taker.last_record() } else { None };
                let vars = Vars {
                    slice: Some(&variable),
                    response: Some(&response),
                    headers: headers.as_ref(),
                    last_record: last.as_ref(),
                    ..of_records
                };
                // Paging looks at the size that was asked for.
                let asked = pager.page_size();
                let more = pager.advance(Facts { extracted: found.records, kept, body: &reply.body, vars });
                if !stream.adaptation.page_read(&mut history, &mut pager, kept) {
                    if more? {
                        taker.page_followed(found.records, asked);
                        continue;
                    }
                    return Ok(reading);
                }
                "it holds more records than are read in one go".to_owned()
            }
        };
        // The slice begins again.
        window = stream.adaptation.reset(&mut history, cursor, window.as_ref(), taker.newest(), &why)?;
        (variable, slice_options) = (seen(window.as_ref()), options(window.as_ref()));
        pager = stream.pages.start(&Vars { slice: Some(&variable), ..record_vars })?;
        // Answers that were kept hold the token that failed.
        whose.keep = if stream.keep_answers { CacheMode::Anew } else { CacheMode::No };
    }
}

/// The slice and the extra variables of a request that names fields: their names take the place of other extra fields.
fn naming(variable: &Json, names: &[String]) -> (Json, Json) {
    let extra = json!({VARIABLE: names});
    let mut variable = variable.clone();
    variable["extra_fields"] = extra.clone();
    (variable, extra)
}

/// Takes a part of a record, to be put together with its other parts; true when it stands alone and was taken.
fn part(
    stream: &StreamPlan,
    properties: &Properties,
    scanner: &mut Scanner<'_>,
    vars: &Vars<'_>,
    parts: &mut IndexMap<String, Json>,
    taker: &mut dyn RecordSink,
) -> std::result::Result<bool, WalkError<Fault>> {
    let mut record = record_json(scanner)?;
    if !stream.shape.apply(&mut record, vars, |_| true).map_err(WalkError::Callback)? {
        return Ok(false);
    }
    let Some(key) = properties.key(&record) else {
        return taker.put(record).map_err(WalkError::Callback);
    };
    match parts.entry(key) {
        Entry::Occupied(mut known) => query_properties::merge(known.get_mut(), record),
        Entry::Vacant(place) => drop(place.insert(record)),
    }
    Ok(false)
}

/// The JSON of an answer's body, where the body itself is none.
fn decoded(shared: &EngineContext, stream: &StreamPlan, reply: &Reply) -> Result<Option<Vec<u8>>> {
    if reply.status == 204 {
        return Ok(Some(Vec::new()));
    }
    let content_type = reply.header("content-type");
    Ok(match stream.decoder.decode(&reply.body, content_type, shared.fetcher.max_page_bytes())? {
        Cow::Borrowed(_) => None,
        Cow::Owned(body) => Some(body),
    })
}

/// Walks the records of an answer; says what is wrong with one that has none to give.
fn records(
    shared: &EngineContext,
    stream: &StreamPlan,
    reply: &Reply,
    body: &[u8],
    fine: bool,
    wanted: &[String],
    each: &mut dyn FnMut(&mut Scanner<'_>) -> std::result::Result<(), WalkError<Fault>>,
) -> Result<Found> {
    if reply.status == 204 {
        return Ok(Found { envelope: true, ..Found::default() });
    }
    if !fine {
        return Err(Fault::data("the answer is not valid UTF-8"));
    }
    let walked = match &stream.records {
        Records::Walk(path) => extract::walk(body, path, wanted, &mut |scanner| each(scanner)),
        Records::DomExtractor(gather) => gathered(gather, body, &ListsOf { shared, stream }, each),
    };
    let found = walked.map_err(|halt| match halt {
        WalkError::Callback(fault) => fault,
        WalkError::Json(error) => {
            let start = body.trim_ascii_start();
            if start.is_empty() {
                Fault::data(format!("the answer (HTTP {}) is empty", reply.status))
            } else if start[0] == b'<' {
                Fault::data(format!("the answer (HTTP {}) is HTML or XML, not JSON", reply.status))
                    .of_rule("upstream_format")
                    .hint("the vendor may be down, or the address may be that of a web page")
            } else {
                Fault::data(format!("the answer is not valid JSON: {error}"))
            }
        }
    })?;
    // A page within a parent's record comes with what is there.
    if !found.envelope && !stream.envelope_optional && !reply.embedded {
        return Err(Fault::data(format!("the answer has no `{}`, where its records should be", stream.records.shown()))
        .of_rule("envelope_changed")
        .hint(
            "the vendor may have changed its answers or reports an error; if it leaves the field out when there is nothing, \
             add {\"rule\": \"envelope_changed\", \"policy\": \"ignore\", \"allow_unsafe\": true} to dripfeed.drift.rules",
        ));
    }
    Ok(found)
}

/// Hands out the records that an extractor gathers from a whole body.
fn gathered(
    gather: &DomExtractor,
    body: &[u8],
    lists: &dyn Lists,
    each: &mut dyn FnMut(&mut Scanner<'_>) -> std::result::Result<(), WalkError<Fault>>,
) -> std::result::Result<Found, WalkError<Fault>> {
    // The scanner tells where a body breaks.
    let mut scanner = Scanner::new(body);
    scanner.peek()?;
    scanner.skip()?;
    scanner.end()?;
    let page = parsed(body).and_then(|body| gather.page(&body, lists)).map_err(WalkError::Callback)?;
    for record in &page.records {
        each(&mut Scanner::new(record.to_string().as_bytes()))?;
    }
    Ok(Found { records: page.counted, envelope: page.envelope, ..Found::default() })
}

/// Asks for the lists that records of a stream hold only in part.
struct ListsOf<'r> {
    shared: &'r EngineContext,
    stream: &'r StreamPlan,
}

impl Lists for ListsOf<'_> {
    fn whole(&self, record: &Json) -> Result<Vec<Json>> {
        let Some(retriever) = &self.stream.lists else { return Ok(Vec::new()) };
        let context = Map::from_iter([("parent_record".to_owned(), record.clone())]);
        let mut items = Vec::new();
        parents::read_slice(self.shared, retriever, &Partition { context, ..Partition::default() }, &mut |item, _| {
            items.push(item.clone());
            Ok(true)
        })?;
        Ok(items)
    }

    fn incomplete(&self, message: &str) {
        (self.shared.noticed)(&self.stream.name, message);
    }
}

/// The wanted fields of the first body, as an object.
fn fields(body: &[u8], found: &Found) -> Result<Json> {
    let pairs = found.fields.iter().map(|(name, range)| Ok((name.clone(), parsed(&body[range.clone()])?)));
    Ok(Json::Object(pairs.collect::<Result<Map<_, _>>>()?))
}

/// The whole body, or the first element of a list.
fn first_body(body: &[u8]) -> Result<Json> {
    Ok(match parsed(body)? {
        Json::Array(items) => items.into_iter().next().unwrap_or_else(|| Json::Object(Map::new())),
        other => other,
    })
}

/// The JSON of bytes that were walked already.
pub fn parsed(bytes: &[u8]) -> Result<Json> {
    if bytes.is_empty() {
        return Ok(Json::Object(Map::new()));
    }
    scan::json(bytes).map_err(|e| Fault::data(format!("the answer is not valid JSON: {e}")))
}

/// The JSON of the record at which the scanner stands, which it passes.
pub fn record_json(scanner: &mut Scanner<'_>) -> std::result::Result<Json, WalkError<Fault>> {
    scanner.peek()?;
    let start = scanner.at();
    scanner.skip()?;
    let bytes = scanner.slice(start..scanner.at());
    parsed(bytes).map_err(WalkError::Callback)
}

/// Where the record starts; a fault when it is no object.
pub fn start_of_record(scanner: &mut Scanner<'_>) -> std::result::Result<usize, WalkError<Fault>> {
    if scanner.peek()? != Kind::Object {
        return Err(WalkError::Callback(not_an_object()));
    }
    Ok(scanner.at())
}

/// A record that no target can store.
pub fn not_an_object() -> Fault {
    Fault::data("a record of the answer is not an object").hint("check the `field_path` of the stream's extractor")
}

/// The highest of two times.
pub fn later(a: Option<OffsetDateTime>, b: Option<OffsetDateTime>) -> Option<OffsetDateTime> {
    match (a, b) {
        (Some(x), Some(y)) if y > x => Some(y),
        (None, b) => b,
        (a, _) => a,
    }
}
