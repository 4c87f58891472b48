//! Response bodies: decodes them, scans them for records, and reads the fields for paging.
//!
//! Input: a response, and how its stream finds records. Output: the scanner at each record; the fields for paging;
//! the fault for a body without readable records. Called by [`super::slice_reader`].

use std::borrow::Cow;

use serde_json::{Map, Value as Json};

use super::build::StreamPlan;
use super::context::EngineContext;
use super::{evidence, parents};
use crate::base::fault::{Fault, Result};
use crate::base::json::scan::{self, JsonKind, Scanner};
use crate::engine::extract::decode::Decoder;
use crate::engine::extract::dom_extract::{DomExtractor, Lists};
use crate::engine::extract::{self, Found, Records, WalkError};
use crate::engine::fetch::{BodyEnd, Reply};
use crate::engine::slice::Partition;

/// The response body as JSON, if it is in another format.
pub(super) fn decoded(shared: &EngineContext, stream: &StreamPlan, reply: &Reply) -> Result<Option<Vec<u8>>> {
    if reply.status == 204 {
        return Ok(Some(Vec::new()));
    }
    check_end(&stream.decoder, reply)?;
    let content_type = reply.header("content-type");
    Ok(match stream.decoder.decode(&reply.body, content_type, shared.fetcher.max_page_bytes())? {
        Cow::Borrowed(_) => None,
        Cow::Owned(body) => Some(body),
    })
}

/// Refuses a body of unknown completeness if its own format shows that it is incomplete.
pub(super) fn check_end(decoder: &Decoder, reply: &Reply) -> Result<()> {
    let broken = match reply.end {
        BodyEnd::Known => None,
        BodyEnd::BrokenOff => {
            let open = !decoder.ends_by_itself(&reply.body);
            open.then_some("the connection closed without a sign that the body was complete")
        }
        BodyEnd::Connection => decoder.is_torn(&reply.body).then_some("its last row is incomplete"),
    };
    broken.map_or(Ok(()), |why| Err(Fault::broken_body(format!("the response is cut off: {why}"))))
}

/// The fault for a body that is not UTF-8: it may be truncated inside a character.
pub(super) fn not_text(body: &[u8]) -> Fault {
    match std::str::from_utf8(body) {
        Err(error) if error.error_len().is_none() => Fault::broken_body("the response is cut off inside a character"),
        _ => Fault::data("the response is not valid UTF-8"),
    }
}

/// Scans the records of a response; returns a fault if it has none to read.
pub(super) fn records(
    shared: &EngineContext,
    stream: &StreamPlan,
    (reply, body): (&Reply, &[u8]),
    wanted: &[String],
    each: &mut dyn FnMut(&mut Scanner<'_>) -> std::result::Result<(), WalkError<Fault>>,
) -> Result<Found> {
    if is_empty(reply, body) {
        return Ok(Found::default());
    }
    let walked = match &stream.records {
        Records::Walk(path) => extract::walk(body, path, wanted, &mut |scanner| each(scanner)),
        Records::DomExtractor(gather) => gathered(gather, body, &ListsOf { shared, stream }, each),
    };
    let found = walked.map_err(|halt| match halt {
        WalkError::Callback(fault) => fault,
        WalkError::Json(error) => {
            if body.trim_ascii_start().starts_with(b"<") {
                Fault::data(format!("the response (HTTP {}) is HTML or XML, not JSON", reply.status))
                    .of_rule("upstream_format")
                    .hint("the vendor may be down, or the URL may be that of a web page")
            } else {
                extract::not_json(body, &error)
            }
        }
    })?;
    // An embedded page contains whatever is there.
    if !found.reached && !reply.embedded {
        evidence::of_an_empty_page(shared, stream, body)?;
    }
    Ok(found)
}

/// Is there no body?
pub(super) fn is_empty(reply: &Reply, body: &[u8]) -> bool {
    reply.status == 204 || body.trim_ascii().is_empty()
}

/// Passes on the records that an extractor finds in a whole body.
fn gathered(
    gather: &DomExtractor,
    body: &[u8],
    lists: &dyn Lists,
    each: &mut dyn FnMut(&mut Scanner<'_>) -> std::result::Result<(), WalkError<Fault>>,
) -> std::result::Result<Found, WalkError<Fault>> {
    // The scanner shows where a body is invalid.
    let mut scanner = Scanner::new(body);
    scanner.peek()?;
    scanner.skip()?;
    scanner.end()?;
    let page = parsed(body).and_then(|body| gather.page(&body, lists)).map_err(WalkError::Callback)?;
    for record in &page.records {
        each(&mut Scanner::new(record.to_string().as_bytes()))?;
    }
    Ok(Found { records: page.counted, reached: page.reached, ..Found::default() })
}

/// Requests complete lists for records that contain only a part.
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

/// The requested fields of the first body, as an object.
pub(super) fn fields(body: &[u8], found: &Found) -> Result<Json> {
    let pairs = found.fields.iter().map(|(name, range)| Ok((name.clone(), parsed(&body[range.clone()])?)));
    Ok(Json::Object(pairs.collect::<Result<Map<_, _>>>()?))
}

/// The whole body, or the first element of a list.
pub(super) fn first_body(body: &[u8]) -> Result<Json> {
    Ok(match parsed(body)? {
        Json::Array(items) => items.into_iter().next().unwrap_or_else(|| Json::Object(Map::new())),
        other => other,
    })
}

/// Parses bytes that were already scanned.
pub(super) fn parsed(bytes: &[u8]) -> Result<Json> {
    if bytes.is_empty() {
        return Ok(Json::Object(Map::new()));
    }
    scan::json(bytes).map_err(|e| Fault::data(format!("the response is not valid JSON: {e}")))
}

/// The next record as JSON; moves past it.
pub(super) fn record_json(scanner: &mut Scanner<'_>) -> std::result::Result<Json, WalkError<Fault>> {
    scanner.peek()?;
    let start = scanner.at();
    scanner.skip()?;
    let bytes = scanner.slice(start..scanner.at());
    parsed(bytes).map_err(WalkError::Callback)
}

/// The start of the record; a fault if it is not an object.
pub(super) fn start_of_record(scanner: &mut Scanner<'_>) -> std::result::Result<usize, WalkError<Fault>> {
    if scanner.peek()? != JsonKind::Object {
        return Err(WalkError::Callback(not_an_object()));
    }
    Ok(scanner.at())
}

/// The fault for a record that no target can store.
pub(super) fn not_an_object() -> Fault {
    Fault::data("a record in the response is not an object").hint("check the `field_path` of the stream's extractor")
}
