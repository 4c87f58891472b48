//! Reads from a response body whether more records follow: `has_more`, `total`, `next`.
//!
//! Input: a JSON body and the path of its records. Output: the promise of more records, if there is one. Called when
//! paging would end at a short page; the reference ends there whatever the body contains.

use serde_json::{Map, Value as Json};

use crate::base::json::python::is_falsy;

/// More records follow if true. All names are compared ignoring case, `_` and similar characters.
const MORE: &[&str] = &[
    "hasmore",
    "hasmoredata",
    "hasmoreitems",
    "hasmorepages",
    "hasmorerecords",
    "hasmoreresults",
    "hasnext",
    "hasnextpage",
    "more",
    "moreavailable",
    "moredata",
    "moreitems",
    "morepages",
    "morerecords",
    "moreresults",
    "istruncated",
    "truncated",
];

/// More records follow if false.
const LAST: &[&str] = &["last", "islast", "islastpage", "lastpage", "lastbatch", "endofrecords"];

/// More records follow if there is a value, and none if it is null.
const NEXT: &[&str] = &[
    "next",
    "nexthref",
    "nextlink",
    "nextoffset",
    "nextpage",
    "nextpagelink",
    "nextpagenumber",
    "nextpageurl",
    "nextpath",
    "nextrecordsurl",
    "nexturi",
    "nexturl",
    "odatanextlink",
];

/// Tokens: more records follow if there is a value. Null may mean that paging does not use tokens.
const TOKENS: &[&str] =
    &["nextcursor", "nextmarker", "nextpagecursor", "nextpageid", "nextpagetoken", "nexttoken", "continuationtoken"];

/// The total number of records. `size` or `length` do not count: often they are the page size.
const TOTALS: &[&str] = &[
    "count",
    "itemcount",
    "itemscount",
    "itemstotal",
    "nbhits",
    "numfound",
    "numresults",
    "recordcount",
    "recordscount",
    "recordstotal",
    "resultcount",
    "resultscount",
    "rowcount",
    "total",
    "totalcount",
    "totalelements",
    "totalentries",
    "totalhits",
    "totalitems",
    "totalobjects",
    "totalrecords",
    "totalresults",
    "totalrows",
    "totalsize",
];

/// The total number of pages.
const PAGES: &[&str] = &[
    "lastpage",
    "lastpagenumber",
    "nbpages",
    "numpages",
    "pagecount",
    "pages",
    "pagescount",
    "pagestotal",
    "totalpagecount",
    "totalpages",
];

/// Objects with paging information, beside the list of records or around it.
const PARTS: &[&str] = &[
    "cursor",
    "cursors",
    "info",
    "links",
    "listinfo",
    "meta",
    "metadata",
    "page",
    "pageinfo",
    "pageinformation",
    "pager",
    "pagination",
    "paginationinfo",
    "paging",
    "paginginfo",
    "response",
    "responsemetadata",
    "resultinfo",
    "resultset",
    "summary",
];

/// Parts within parts: `meta.pagination.links`.
const MAX_PARTS: usize = 3;

/// Paging information in a response.
#[derive(Debug, Default)]
pub struct MoreRecords {
    more: Option<(String, bool)>,
    next: Option<(String, bool)>,
    token: Option<(String, bool)>,
    /// Total numbers of records and of pages.
    totals: Vec<(String, u64)>,
    pages: Vec<(String, u64)>,
}

/// A statement in a response that more records follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// The field with the statement.
    pub field: String,
    /// Is it a number of records or pages? Such a number may cover more than what was requested.
    pub counted: bool,
    /// Is it an explicit flag, rather than a link or token that may always be present?
    pub plain: bool,
}

impl MoreRecords {
    /// Reads a body; `path` is the path of its records.
    pub fn of(body: &Json, path: &[&str]) -> MoreRecords {
        let mut out = MoreRecords::default();
        let mut at = body;
        for (depth, name) in path.iter().enumerate() {
            let Json::Object(object) = at else { break };
            let before = path[..depth].join(".");
            out.object(object, &before, name, 0);
            let Some(next) = object.get(*name) else { break };
            at = next;
        }
        if path.is_empty()
            && let Json::Object(object) = body
        {
            out.object(object, "", "", 0);
        }
        out
    }

    /// Reads an object next to a list of records.
    pub fn beside(object: &Map<String, Json>) -> MoreRecords {
        let mut out = MoreRecords::default();
        out.object(object, "", "", 0);
        out
    }

    /// Is the total zero?
    pub fn counts_nothing(&self) -> bool {
        self.totals.iter().any(|(_, number)| *number == 0)
    }

    /// Evaluates a `Link` header.
    pub fn link(&mut self, header: &str) {
        let is_next = |link: &str| {
            link.split(';').skip(1).any(|part| {
                let rel = part.trim().strip_prefix("rel=").unwrap_or_default();
                rel.trim_matches('"').split_whitespace().any(|rel| rel.eq_ignore_ascii_case("next"))
            })
        };
        if self.next.is_none() && header.split(',').any(is_next) {
            self.next = Some(("Link".to_owned(), true));
        }
    }

    /// Reads an object around the records, which are under `records` in it.
    fn object(&mut self, object: &Map<String, Json>, path: &str, records: &str, depth: usize) {
        for (name, value) in object.iter().filter(|(name, _)| *name != records) {
            let shown = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let plain = plain(name);
            let is_in = |names: &[&str]| names.contains(&plain.as_str());
            match (value, truth(value)) {
                (_, Some(truth)) if is_in(MORE) => strongest(&mut self.more, shown, truth),
                (_, Some(truth)) if is_in(LAST) => strongest(&mut self.more, shown, !truth),
                (_, Some(truth)) if is_in(NEXT) => strongest(&mut self.more, shown, truth),
                _ if is_in(NEXT) => strongest(&mut self.next, shown, is_something(value)),
                _ if is_in(TOKENS) => strongest(&mut self.token, shown, is_something(value)),
                _ if is_in(TOTALS) && number(value).is_some() => {
                    self.totals.extend(number(value).map(|number| (shown, number)));
                }
                _ if is_in(PAGES) && number(value).is_some() => {
                    self.pages.extend(number(value).map(|number| (shown, number)));
                }
                (Json::Object(part), _) if is_in(PARTS) && depth < MAX_PARTS => {
                    self.object(part, &shown, "", depth + 1);
                }
                (Json::Array(links), _) if plain == "links" => {
                    let next = links.iter().find(|link| link["rel"] == "next");
                    if next.is_some() {
                        strongest(&mut self.next, shown, true);
                    }
                }
                _ => {}
            }
        }
    }

    /// Does it state that no records follow?
    pub fn ends(&self) -> bool {
        let says_no = |word: &Option<(String, bool)>| word.as_ref().is_some_and(|(_, truth)| !truth);
        match &self.more {
            Some((_, more)) => !more,
            None => says_no(&self.next) || self.next.is_none() && says_no(&self.token),
        }
    }

    /// Does it state by a flag or link that more records follow? A total may cover more than what was requested, and
    /// tokens may refer to other pages.
    pub fn announces(&self, trusted: &dyn Fn(&str) -> bool) -> bool {
        self.more.as_ref().or(self.next.as_ref()).is_some_and(|(field, truth)| *truth && trusted(field))
    }

    /// Does it state that there are more than the `records` in `pages` read so far? Fields that are not `trusted` are
    /// ignored.
    pub fn promise(&self, records: u64, pages: u64, trusted: &dyn Fn(&str) -> bool) -> Option<Promise> {
        let word = |word: &Option<(String, bool)>, plain: bool| {
            let (field, truth) = word.as_ref()?;
            (*truth && trusted(field)).then(|| Promise { field: field.clone(), counted: false, plain })
        };
        match (&self.more, &self.next) {
            (Some((_, false)), _) => return None,
            (None, Some((_, false))) => return None,
            _ => {}
        }
        let counted = |numbers: &[(String, u64)], read: u64| {
            let (field, _) = numbers.iter().find(|(field, number)| *number > read && trusted(field))?;
            Some(Promise { field: field.clone(), counted: true, plain: true })
        };
        word(&self.more, true)
            .or_else(|| counted(&self.totals, records))
            .or_else(|| counted(&self.pages, pages))
            .or_else(|| word(&self.next, false))
            .or_else(|| word(&self.token, false))
    }
}

/// A name in lower case, reduced to letters and digits.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// If several fields disagree, one that announces more records wins.
fn strongest(word: &mut Option<(String, bool)>, field: String, truth: bool) {
    if word.as_ref().is_none_or(|(_, known)| !known && truth) {
        *word = Some((field, truth));
    }
}

/// A boolean, or its text.
fn truth(value: &Json) -> Option<bool> {
    match value {
        Json::Bool(truth) => Some(*truth),
        Json::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Json::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Is the value a link, a token or a number, or an object with one?
fn is_something(value: &Json) -> bool {
    match value {
        Json::Object(object) => object.values().any(|value| !is_falsy(value)),
        value => !is_falsy(value),
    }
}

/// A number, its text, or the `value` of an object.
fn number(value: &Json) -> Option<u64> {
    match value {
        Json::Number(number) => number.as_u64(),
        Json::String(text) => text.parse().ok(),
        Json::Object(object) => object.get("value").and_then(Json::as_u64),
        _ => None,
    }
}
