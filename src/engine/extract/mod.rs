//! Finds the records in a page.
//!
//! Input: a whole body and the path of its records. Output: the scanner, passed to the caller at each record, and the
//! positions of the other fields that paging needs. One pass over the bytes. Called by `answer`. The rules are those
//! of airbyte-cdk's `JsonDecoder` and `DpathExtractor`.

pub mod decode;
pub mod dom_extract;

use std::ops::Range;

use self::dom_extract::{Compiled, DomExtractor};
use crate::base::fault::{Fault, Result};
use crate::base::json::scan::{self, JsonKind, Scan, ScanError, Scanner};
use crate::manifest::model::Extractor;
use crate::manifest::template::EvalContext;

/// How records are found in a body.
#[derive(Debug, Clone)]
pub enum Records {
    /// By one scan over the bytes.
    Walk(RecordPath),
    /// In the parsed document.
    DomExtractor(DomExtractor),
}

/// The path of the records in a body.
#[derive(Debug, Clone)]
pub struct RecordPath {
    segments: Vec<Segment>,
    wild: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Segment {
    Key(String),
    Any,
}

/// Compiles an extractor.
pub fn build(def: &Extractor, cx: &EvalContext) -> Result<Records> {
    Ok(match dom_extract::build(def, cx)? {
        Compiled::Plain(path) => {
            let segment = |text: String| if text == "*" { Segment::Any } else { Segment::Key(text) };
            let segments: Vec<Segment> = path.into_iter().map(segment).collect();
            let wild = segments.contains(&Segment::Any);
            Records::Walk(RecordPath { segments, wild })
        }
        Compiled::DomExtractor(gather) => Records::DomExtractor(gather),
    })
}

impl Records {
    /// Is the whole body the record or the list of records?
    pub fn are_the_body(&self) -> bool {
        matches!(self, Records::Walk(path) if path.segments.is_empty())
    }

    /// Does a JSON body contain the target of the path, even an empty list?
    pub fn are_in(&self, body: &[u8]) -> bool {
        match self {
            Records::Walk(path) => walk(body, path, &[], &mut |scanner| Ok::<_, WalkError<()>>(scanner.skip()?))
                .is_ok_and(|found| found.reached),
            Records::DomExtractor(gather) => scan::json(body).is_ok_and(|body| gather.is_in(&body)),
        }
    }

    /// The path's names up to its first wildcard.
    pub fn names(&self) -> Vec<&str> {
        let Records::Walk(RecordPath { segments, .. }) = self else { return Vec::new() };
        segments.iter().map_while(|s| if let Segment::Key(key) = s { Some(&**key) } else { None }).collect()
    }

    /// The path in readable form.
    pub fn shown(&self) -> String {
        match self {
            Records::Walk(path) => path.shown(),
            Records::DomExtractor(gather) => gather.shown(),
        }
    }
}

impl RecordPath {
    fn shown(&self) -> String {
        let parts: Vec<&str> = self.segments.iter().map(|s| if let Segment::Key(k) = s { k } else { "*" }).collect();
        parts.join(".")
    }
}

/// What a page contains in addition to its records.
#[derive(Debug, Default)]
pub struct Found {
    /// Records passed to the caller.
    pub records: u64,
    /// Does the target of the path exist: a list, even empty, or a record? Null does not count.
    pub reached: bool,
    /// Were records in a list?
    pub list: bool,
    /// Was there a single record in place of a list?
    pub alone: bool,
    /// The byte range of their list, if there is exactly one.
    pub list_at: Option<Range<usize>>,
    /// The byte ranges of the requested top-level fields of the first body.
    pub fields: Vec<(String, Range<usize>)>,
}

/// An error of the scan: the bytes are not JSON, or the caller stopped.
#[derive(Debug)]
pub enum WalkError<E> {
    /// Not JSON.
    Json(ScanError),
    /// The caller's error.
    Callback(E),
}

impl<E> From<ScanError> for WalkError<E> {
    fn from(e: ScanError) -> Self {
        WalkError::Json(e)
    }
}

/// The fault for a body that is not JSON; if it starts as JSON, a retry may bring it complete.
pub fn not_json(body: &[u8], error: &ScanError) -> Fault {
    let text = format!("the response is not valid JSON: {error}");
    let begins = matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
    if begins && error.is_of_its_end(body) { Fault::broken_body(text) } else { Fault::data(text) }
}

/// Scans a body once. `each` is called with the scanner at a record and must move past it.
pub fn walk<'a, E>(
    body: &'a [u8],
    path: &RecordPath,
    wanted: &[String],
    each: &mut dyn FnMut(&mut Scanner<'a>) -> std::result::Result<(), WalkError<E>>,
) -> std::result::Result<Found, WalkError<E>> {
    let mut walk = Walk { path, wanted, found: Found::default(), each };
    let mut scanner = Scanner::new(body);
    if scanner.peek()? == JsonKind::Array {
        // A top-level list counts as many bodies; paging reads the first.
        scanner.enter()?;
        let mut first = true;
        let mut index = 0;
        walk.found.list = true;
        while scanner.element(&mut first)? {
            walk.body(&mut scanner, index == 0)?;
            index += 1;
        }
        // An empty list of bodies has no records; bodies without the path prove nothing.
        walk.found.reached |= index == 0;
    } else {
        walk.body(&mut scanner, true)?;
    }
    scanner.end()?;
    Ok(walk.found)
}

struct Walk<'p, 'a, E> {
    path: &'p RecordPath,
    wanted: &'p [String],
    found: Found,
    each: &'p mut dyn FnMut(&mut Scanner<'a>) -> std::result::Result<(), WalkError<E>>,
}

impl<'a, E> Walk<'_, 'a, E> {
    fn body(&mut self, scanner: &mut Scanner<'a>, look: bool) -> std::result::Result<(), WalkError<E>> {
        self.descend(scanner, 0, look)
    }

    fn descend(
        &mut self,
        scanner: &mut Scanner<'a>,
        level: usize,
        look: bool,
    ) -> std::result::Result<(), WalkError<E>> {
        let look = look && !self.wanted.is_empty();
        let Some(segment) = self.path.segments.get(level) else {
            if look && level == 0 {
                // The body is the record: its fields are read with a second scanner.
                let mut aside = scanner.clone();
                self.fields(&mut aside)?;
            }
            return self.terminal(scanner);
        };
        match (scanner.peek()?, segment) {
            (JsonKind::Object, segment) => {
                self.found.reached |= *segment == Segment::Any;
                scanner.enter()?;
                let mut first = true;
                while let Some(key) = scanner.key(&mut first)? {
                    scanner.peek()?;
                    let start = scanner.at();
                    let matches = match segment {
                        Segment::Key(name) => key.is(name),
                        Segment::Any => true,
                    };
                    if matches {
                        self.descend(scanner, level + 1, false)?;
                    } else {
                        scanner.skip()?;
                    }
                    if look {
                        self.note(&key.value(), start..scanner.at());
                    }
                }
            }
            (JsonKind::Array, Segment::Any) => {
                self.found.reached = true;
                scanner.enter()?;
                let mut first = true;
                while scanner.element(&mut first)? {
                    self.descend(scanner, level + 1, false)?;
                }
            }
            (JsonKind::Array, Segment::Key(name)) if name.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => {
                let wanted: usize = name.parse().unwrap_or(usize::MAX);
                scanner.enter()?;
                let mut first = true;
                let mut index = 0;
                while scanner.element(&mut first)? {
                    if index == wanted {
                        self.descend(scanner, level + 1, false)?;
                    } else {
                        scanner.skip()?;
                    }
                    index += 1;
                }
            }
            _ => scanner.skip()?,
        }
        Ok(())
    }

    fn terminal(&mut self, scanner: &mut Scanner<'a>) -> std::result::Result<(), WalkError<E>> {
        if scanner.peek()? == JsonKind::Array && !self.path.wild {
            let start = scanner.at();
            (self.found.list, self.found.reached) = (true, true);
            scanner.enter()?;
            let mut first = true;
            while scanner.element(&mut first)? {
                scanner.peek()?;
                self.record(scanner)?;
            }
            self.found.list_at = Some(start..scanner.at());
            return Ok(());
        }
        if !self.path.wild && is_falsy(scanner)? {
            return Ok(scanner.skip()?);
        }
        (self.found.alone, self.found.reached) = (!self.path.wild, true);
        self.record(scanner)
    }

    fn record(&mut self, scanner: &mut Scanner<'a>) -> std::result::Result<(), WalkError<E>> {
        self.found.records += 1;
        (self.each)(scanner)
    }

    fn note(&mut self, key: &str, range: Range<usize>) {
        if self.wanted.iter().any(|w| w == key) {
            self.found.fields.push((key.to_owned(), range));
        }
    }

    fn fields(&mut self, scanner: &mut Scanner<'a>) -> Scan<()> {
        if scanner.peek()? != JsonKind::Object {
            return Ok(());
        }
        scanner.enter()?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first)? {
            scanner.peek()?;
            let start = scanner.at();
            scanner.skip()?;
            self.note(&key.value(), start..scanner.at());
        }
        Ok(())
    }
}

/// Is the next value falsy in Python: null, false, 0, "", {}?
fn is_falsy(scanner: &mut Scanner<'_>) -> Scan<bool> {
    let mut aside = scanner.clone();
    Ok(match aside.peek()? {
        JsonKind::Null => true,
        JsonKind::Bool => !aside.boolean()?,
        JsonKind::String => aside.string()?.raw.is_empty(),
        JsonKind::Number => aside.number()?.raw.iter().all(|b| b"0.-".contains(b)),
        JsonKind::Array => {
            aside.enter()?;
            !aside.element(&mut true)?
        }
        JsonKind::Object => {
            aside.enter()?;
            aside.key(&mut true)?.is_none()
        }
    })
}
