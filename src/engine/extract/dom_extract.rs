//! Extractors that need a parsed document: paths with globs, several paths combined, and lists within records.
//!
//! Input: a body as JSON. Output: its records, in order, and how many count for paging. Called by `answer`, which
//! also reads complete lists if a record contains only a part. The rules are those of airbyte-cdk's `DpathExtractor`,
//! `RecordExpander` and `CombinedExtractor`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value as Json, json};

use crate::base::display::number;
use crate::base::fault::{Fault, Result};
use crate::base::json::python::is_falsy;
use crate::manifest::dpath::{self, Step};
use crate::manifest::model::{self, CombinedExtractor, Extractor, RecordExpander};
use crate::manifest::node::{Place, Text};
use crate::manifest::template::{EvalContext, Template, Vars};

/// The maximum total size of one record's expanded items, each with a copy of the record.
const MOST_BYTES: usize = 1 << 30;

/// A compiled extractor.
#[derive(Debug, Clone)]
pub struct DomExtractor {
    rule: Rule,
}

#[derive(Debug, Clone)]
enum Rule {
    Path {
        path: Vec<String>,
        expand: Option<Box<Expand>>,
    },
    Combined {
        of: Vec<Rule>,
        /// Uses the first extractor that finds records, instead of all.
        first: bool,
        skip_empty: bool,
    },
}

/// Expands each record into the items of a list in it.
#[derive(Debug, Clone)]
struct Expand {
    path: Vec<String>,
    original: bool,
    merge: bool,
    /// The path of each copied value in the parent, and in the item.
    fields: Vec<(Vec<String>, Vec<String>)>,
    or_parent: bool,
    /// The path of the flag that the list is truncated.
    truncated: Vec<String>,
    /// Can the complete list be requested?
    whole: bool,
    warned: Arc<AtomicBool>,
}

/// Services that the page reader provides to an extractor.
pub trait Lists {
    /// The complete list of a record that contains only a part.
    fn whole(&self, record: &Json) -> Result<Vec<Json>>;
    /// Reports missing records that cannot be fetched.
    fn incomplete(&self, message: &str);
}

/// The records of a page.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The records, in order.
    pub records: Vec<Json>,
    /// The number of records that count for paging.
    pub counted: u64,
    /// See [`Found::reached`](super::Found::reached).
    pub reached: bool,
}

/// The result of compiling a definition.
pub(super) enum Compiled {
    /// A plain path that a single scan can follow.
    Plain(Vec<String>),
    /// Anything else.
    DomExtractor(DomExtractor),
}

/// Compiles an extractor.
pub(super) fn build(def: &Extractor, cx: &EvalContext) -> Result<Compiled> {
    // The decoder already produced records.
    if matches!(def, Extractor::ResponseToFileExtractor(_)) {
        return Ok(Compiled::Plain(Vec::new()));
    }
    if let Extractor::DpathExtractor(def) = def
        && def.record_expander.is_none()
    {
        let path = evaluated(&def.field_path, cx)?;
        let plain = |segment: &String| segment == "*" || !(dpath::is_glob(segment) || segment.starts_with('-'));
        if path.iter().all(plain) {
            return Ok(Compiled::Plain(path));
        }
    }
    Ok(Compiled::DomExtractor(DomExtractor { rule: rule(def, cx)? }))
}

/// The retriever of complete lists in an extractor.
pub fn list_retriever(def: &Extractor) -> Option<&model::Retriever> {
    match def {
        Extractor::DpathExtractor(def) => def.record_expander.as_ref()?.truncated_list_retriever.as_ref(),
        Extractor::CombinedExtractor(def) => def.extractors.iter().find_map(list_retriever),
        Extractor::ResponseToFileExtractor(_) => None,
    }
}

/// Can it return more records than a page of the API has?
pub fn is_union(def: &Extractor) -> bool {
    match def {
        Extractor::DpathExtractor(_) | Extractor::ResponseToFileExtractor(_) => false,
        Extractor::CombinedExtractor(def) => !is_first(def) || def.extractors.iter().any(is_union),
    }
}

fn is_first(def: &CombinedExtractor) -> bool {
    def.mode.as_deref() == Some("first_match")
}

/// Is it the second of two words? A third is refused.
fn second(given: Option<&str>, words: [&str; 2], field: &str, at: &Place) -> Result<bool> {
    match given {
        Some(word) if !words.contains(&word) => {
            let fault = at.field(field, None).fault(format!("`{field}: {word}` does not exist"));
            Err(fault.hint(format!("it can be {} or {}", words[0], words[1])))
        }
        given => Ok(given == Some(words[1])),
    }
}

fn evaluated(path: &[Text], cx: &EvalContext) -> Result<Vec<String>> {
    path.iter().map(|text| Template::compile(text, &[])?.text(&Vars::new(cx))).collect()
}

fn rule(def: &Extractor, cx: &EvalContext) -> Result<Rule> {
    Ok(match def {
        Extractor::ResponseToFileExtractor(def) => {
            return Err(def.at.fault("a ResponseToFileExtractor cannot be combined with other extractors"));
        }
        Extractor::DpathExtractor(def) => {
            let path = evaluated(&def.field_path, cx)?;
            if path.iter().filter(|segment| *segment == "**").count() > 1 {
                return Err(def.at.field("field_path", None).fault("`**` can occur only once in a path"));
            }
            let expand = def.record_expander.as_ref().map(|def| expand(def, cx)).transpose()?;
            Rule::Path { path, expand: expand.map(Box::new) }
        }
        Extractor::CombinedExtractor(def) => {
            if def.extractors.is_empty() {
                return Err(def.at.field("extractors", None).fault("`extractors` is empty"));
            }
            Rule::Combined {
                of: def.extractors.iter().map(|def| rule(def, cx)).collect::<Result<_>>()?,
                first: second(def.mode.as_deref(), ["union", "first_match"], "mode", &def.at)?,
                skip_empty: def.skip_empty_records.unwrap_or(false),
            }
        }
    })
}

fn expand(def: &RecordExpander, cx: &EvalContext) -> Result<Expand> {
    let named = |texts: &[Text], field: &str, at: &Place| -> Result<Vec<String>> {
        let path = evaluated(texts, cx)?;
        if path.iter().any(|segment| dpath::is_glob(segment)) {
            return Err(at.field(field, None).fault(format!("`{field}` must name one field, without globs")));
        }
        Ok(path)
    };
    let mut fields = Vec::new();
    for def in def.parent_fields.iter().flatten() {
        let pair = (named(&def.parent_path, "parent_path", &def.at)?, named(&def.record_path, "record_path", &def.at)?);
        if pair.0.is_empty() || pair.1.is_empty() {
            return Err(def.at.fault("`parent_path` and `record_path` must name a field"));
        }
        fields.push(pair);
    }
    let whole = def.truncated_list_retriever.is_some();
    let truncated = def.truncation_indicator_path.as_deref().unwrap_or_default();
    if whole && truncated.is_empty() {
        let fault = def.at.field("truncated_list_retriever", None).fault("`truncation_indicator_path` is missing");
        return Err(fault.hint("set it to the field that shows that the list is incomplete"));
    }
    if let Some(retriever) = &def.truncated_list_retriever
        && !retriever.routers().is_empty()
    {
        return Err(def.at.field("partition_router", None).fault("a list's retriever can have no `partition_router`"));
    }
    let path = &def.expand_records_from_field;
    Ok(Expand {
        path: if whole { named(path, "expand_records_from_field", &def.at)? } else { evaluated(path, cx)? },
        original: def.remain_original_record.unwrap_or(false),
        merge: def.merge_parent.unwrap_or(false),
        fields,
        or_parent: second(def.on_no_records.as_deref(), ["skip", "emit_parent"], "on_no_records", &def.at)?,
        truncated: named(truncated, "truncation_indicator_path", &def.at)?,
        whole,
        warned: Arc::default(),
    })
}

impl DomExtractor {
    /// The path in readable form.
    pub fn shown(&self) -> String {
        fn first(rule: &Rule) -> String {
            match rule {
                Rule::Path { path, .. } => path.join("."),
                Rule::Combined { of, .. } => of.first().map(first).unwrap_or_default(),
            }
        }
        first(&self.rule)
    }

    /// The records of one body; a list counts as several bodies.
    pub fn page(&self, body: &Json, lists: &dyn Lists) -> Result<Gathered> {
        let mut out = Gathered::default();
        match body {
            Json::Array(bodies) => {
                out.reached = bodies.is_empty();
                bodies.iter().try_for_each(|body| take(&self.rule, body, lists, &mut out))?;
            }
            body => take(&self.rule, body, lists, &mut out)?,
        }
        Ok(out)
    }

    /// See [`Records::are_in`](super::Records::are_in).
    pub(super) fn is_in(&self, body: &Json) -> bool {
        match body {
            Json::Array(bodies) => bodies.is_empty() || bodies.iter().any(|body| self.rule.is_in(body)),
            body => self.rule.is_in(body),
        }
    }
}

impl Rule {
    /// Does a body contain a value at one of the paths?
    fn is_in(&self, body: &Json) -> bool {
        match self {
            Rule::Path { path, .. } => is_in(path, body),
            Rule::Combined { of, .. } => of.iter().any(|rule| rule.is_in(body)),
        }
    }
}

fn take(rule: &Rule, body: &Json, lists: &dyn Lists, out: &mut Gathered) -> Result<()> {
    match rule {
        Rule::Path { path, expand } => {
            out.reached |= is_in(path, body);
            let from = out.records.len();
            for record in found(path, body)? {
                match expand {
                    Some(expand) => expand.take(record, lists, &mut out.records)?,
                    None => out.records.push(record.clone()),
                }
            }
            out.counted += (out.records.len() - from) as u64;
        }
        Rule::Combined { of, first, skip_empty } => {
            for rule in of {
                let mut part = Gathered::default();
                take(rule, body, lists, &mut part)?;
                if *skip_empty {
                    part.records.retain(|record| !is_falsy(record));
                }
                out.reached |= part.reached;
                if *first && part.records.is_empty() {
                    continue;
                }
                out.counted += part.counted;
                out.records.extend(part.records);
                if *first {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Does a body contain a value at a path: a list, even empty, or anything that is not falsy?
fn is_in(path: &[String], body: &Json) -> bool {
    let wild = path.iter().position(|segment| segment.contains('*'));
    // With wildcards, the parent field counts.
    let places = dpath::values(body, &path[..wild.unwrap_or(path.len())]);
    places.iter().any(|place| if wild.is_some() { !place.is_null() } else { place.is_array() || !is_falsy(place) })
}

/// The values at the path; a list as its items.
fn found<'j>(path: &[String], body: &'j Json) -> Result<Vec<&'j Json>> {
    if path.iter().any(|segment| segment == "*") {
        return Ok(dpath::values(body, path));
    }
    let one = dpath::one(body, path).map_err(|several| {
        Fault::data(format!("the record path `{}` matches {several} places in the response", path.join(".")))
            .hint("only a segment `*` may match several")
    })?;
    Ok(match one {
        Some(Json::Array(items)) => items.iter().collect(),
        Some(value) if !is_falsy(value) => vec![value],
        _ => Vec::new(),
    })
}

impl Expand {
    fn take(&self, record: &Json, lists: &dyn Lists, out: &mut Vec<Json>) -> Result<()> {
        let Json::Object(parent) = record else {
            out.push(record.clone());
            return Ok(());
        };
        if self.path.is_empty() {
            out.push(record.clone());
            return Ok(());
        }
        let embedded: Vec<(Vec<Step<'_>>, &Vec<Json>)> =
            dpath::ways(record, &self.path).into_iter().filter_map(|(way, v)| Some((way, v.as_array()?))).collect();
        let base = if self.merge { without(record, embedded.iter().map(|(way, _)| way)) } else { Map::new() };
        let count: usize = embedded.iter().map(|(_, items)| items.len()).sum();
        if (self.original || self.merge) && record.to_string().len().saturating_mul(count) > MOST_BYTES {
            return Err(Fault::data("the items of a record, each with a copy of that record, exceed 1 GiB")
                .hint("use `parent_fields` instead of the whole record"));
        }
        let mark = if self.truncated.is_empty() { None } else { dpath::get(record, &self.truncated) };
        if mark.is_some_and(|mark| !is_falsy(mark)) {
            let items = if self.whole { lists.whole(record)? } else { Vec::new() };
            let got = if items.is_empty() { count } else { items.len() };
            if !self.whole || self.total(record).is_some_and(|total| (items.len() as u64) < total) {
                self.warn(got, lists);
            }
            for item in &items {
                out.push(self.item(parent, &base, item)?);
            }
            if !items.is_empty() {
                return Ok(());
            }
        }
        for item in embedded.iter().flat_map(|(_, items)| *items) {
            out.push(self.item(parent, &base, item)?);
        }
        if count == 0 && self.or_parent {
            out.push(record.clone());
        }
        Ok(())
    }

    /// The length of the complete list, if the record has it.
    fn total(&self, record: &Json) -> Option<u64> {
        let (_, before) = self.truncated.split_last()?;
        dpath::get(record, before)?.get("total_count")?.as_u64()
    }

    fn warn(&self, got: usize, lists: &dyn Lists) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            lists.incomplete(&format!(
                "`{}` contains only a part of its list, and dripfeed read {} of it; {}. Other records may lack items \
                too",
                self.path.join("."),
                number(got, "item"),
                if self.whole {
                    "the `truncated_list_retriever` returned fewer than `total_count`"
                } else {
                    "a `truncated_list_retriever` would request the rest"
                },
            ));
        }
    }

    /// One item, with the values copied from its record.
    fn item(&self, parent: &Map<String, Json>, base: &Map<String, Json>, item: &Json) -> Result<Json> {
        let carries = self.original || self.merge || !self.fields.is_empty();
        let own = match item {
            Json::Object(map) => map.clone(),
            value if carries => Map::from_iter([("value".to_owned(), value.clone())]),
            value => return Ok(value.clone()),
        };
        let mut merged = base.clone();
        merged.extend(own);
        let mut out = Json::Object(merged);
        for (from, to) in &self.fields {
            let (first, rest) = from.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
            let value = parent.get(first).and_then(|value| dpath::get(value, rest));
            dpath::put(&mut out, to, value.cloned().unwrap_or(Json::Null)).map_err(|depth| {
                Fault::data(format!(
                    "an item of `{}` already has a value at `{}`",
                    self.path.join("."),
                    to[..depth].join(".")
                ))
                .hint("give the parent's field another `record_path`")
            })?;
        }
        if self.original {
            dpath::put(&mut out, &["original_record".to_owned()], json!(parent)).ok();
        }
        Ok(out)
    }
}

/// A record without the lists at these places.
fn without<'w>(record: &Json, ways: impl DoubleEndedIterator<Item = &'w Vec<Step<'w>>>) -> Map<String, Json> {
    let mut left = record.clone();
    // In reverse order, so that indexes stay valid.
    for way in ways.rev() {
        let Some((last, before)) = way.split_last() else { continue };
        let holder = before.iter().try_fold(&mut left, |at, step| match (at, step) {
            (Json::Object(map), Step::Key(key)) => map.get_mut(*key),
            (Json::Array(items), Step::Index(index, _)) => items.get_mut(*index),
            _ => None,
        });
        match (holder, last) {
            (Some(Json::Object(map)), Step::Key(key)) => drop(map.shift_remove(*key)),
            (Some(Json::Array(items)), Step::Index(index, _)) if *index < items.len() => drop(items.remove(*index)),
            _ => {}
        }
    }
    match left {
        Json::Object(map) => map,
        _ => Map::new(),
    }
}
