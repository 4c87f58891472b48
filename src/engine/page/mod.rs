//! Paging: how the next page is requested.
//!
//! Input: a paginator's definition; then the contents of each page. Output: the options or path of the next request,
//! or the end. Called by `slice_reader`, one [`Pager`] per slice. The rules are those of airbyte-cdk's
//! `DefaultPaginator`, except where they would lose records or never end: a short page is not the last one if the
//! body itself announces more ([`more`]), and repeated pages are a fault ([`repeats`]). With `safety.overlap`, rows
//! skipped between two pages are detected (`overlap`).

pub mod more;
mod overlap;
mod pager;
pub mod repeats;

use std::collections::HashSet;
use std::hash::RandomState;

use serde_json::{Value as Json, json};

use self::overlap::Overlap;
use self::repeats::Repeats;
use crate::base::fault::Result;
use crate::manifest::model::{self, PageToken, PaginationStrategy};
use crate::manifest::node::Place;
use crate::manifest::template::{self, EvalContext, Injection, Template, Types, Vars};

pub use self::pager::{Facts, NextPage, Pager};

/// A compiled paginator.
#[derive(Debug, Clone, Default)]
pub struct PagePlan {
    strategy: Option<Strategy>,
    token: Option<Token>,
    size: Option<Injection>,
    page_size: Option<Template>,
    /// Are rows of the previous page requested again?
    overlaps: bool,
}

#[derive(Debug, Clone)]
enum Token {
    Option(Injection),
    Path,
}

#[derive(Debug, Clone)]
enum Strategy {
    Page { start: u64, inject_first: bool },
    Offset { inject_first: bool },
    Cursor { value: Template, stop: Option<Template> },
}

/// The variables through which a response can end paging.
const PAGE_FACTS: [&str; 3] = ["response", "headers", "last_record"];

/// More records than any page has.
const FULL: u64 = 1 << 40;

/// Which fields of a response paging needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Only these top-level fields.
    Fields(Vec<String>),
    /// The whole body.
    Body,
}

/// Compiles a paginator.
pub fn build(def: Option<&model::Paginator>, cx: &EvalContext) -> Result<PagePlan> {
    let Some(model::Paginator::DefaultPaginator(def)) = def else { return Ok(PagePlan::default()) };
    let (strategy, page_size) = match &def.pagination_strategy {
        PaginationStrategy::PageIncrement(s) => (
            Strategy::Page {
                start: s.start_from_page.unwrap_or(0),
                inject_first: s.inject_on_first_request.unwrap_or(false),
            },
            &s.page_size,
        ),
        PaginationStrategy::OffsetIncrement(s) => {
            (Strategy::Offset { inject_first: s.inject_on_first_request.unwrap_or(false) }, &s.page_size)
        }
        PaginationStrategy::CursorPagination(s) => {
            let stop = s.stop_condition.as_ref().map(|t| Template::compile(t, template::PAGE)).transpose()?;
            (Strategy::Cursor { value: Template::compile(&s.cursor_value, template::PAGE)?, stop }, &s.page_size)
        }
    };
    let page_size =
        page_size.as_ref().filter(|t| !t.value.is_null()).map(|t| Template::compile(t, &["response"])).transpose()?;
    let size = def.page_size_option.as_ref().map(|o| Injection::build(o, cx)).transpose()?;
    if let Some(size) = &size
        && page_size.is_none()
    {
        return Err(size.at().fault("`page_size_option` needs a `page_size` in the pagination strategy"));
    }
    let token = match &def.page_token_option {
        Some(PageToken::RequestOption(o)) => Some(Token::Option(Injection::build(o, cx)?)),
        Some(PageToken::RequestPath(_)) => Some(Token::Path),
        None => None,
    };
    if let (Some(Token::Option(token)), Some(size)) = (&token, &size)
        && token.collides(size)
    {
        return Err(size.at().fault("`page_size_option` and `page_token_option` name the same field"));
    }
    Ok(PagePlan { strategy: Some(strategy), token, size, page_size, overlaps: false })
}

impl PagePlan {
    /// Requests the last row of the previous page again, if `on` and if pages have numbers or offsets.
    pub fn overlapping(self, on: bool) -> Self {
        let is_counted = matches!(self.strategy, Some(Strategy::Page { .. } | Strategy::Offset { .. }));
        PagePlan { overlaps: on && is_counted && self.token.is_some(), ..self }
    }

    fn templates(&self) -> Vec<&Template> {
        let mut out: Vec<&Template> = self.page_size.iter().collect();
        if let Some(Strategy::Cursor { value, stop }) = &self.strategy {
            out.push(value);
            out.extend(stop);
        }
        out
    }

    /// What templates read from a response.
    pub fn wanted(&self) -> Wanted {
        let mut fields = Vec::new();
        for template in self.templates().into_iter().filter(|t| t.uses("response")) {
            match template.entries_of("response") {
                Some(entries) => fields.extend(entries),
                None => return Wanted::Body,
            }
        }
        Wanted::Fields(fields)
    }

    /// Where the token of the next page comes from, and where it goes; `None` without paging.
    pub fn described(&self) -> Option<(String, String)> {
        let from = match self.strategy.as_ref()? {
            Strategy::Page { .. } => "page number".to_owned(),
            Strategy::Offset { .. } => "number of records so far".to_owned(),
            Strategy::Cursor { value, .. } => template::text_of(value.written()),
        };
        let into = match &self.token {
            Some(Token::Option(inject)) => inject.described(),
            Some(Token::Path) => "the path of the next request".to_owned(),
            None => "templates only (`next_page_token`)".to_owned(),
        };
        Some((from, into))
    }

    /// Does the vendor itself announce the next page, by a token, a link or a flag? A counter that only increases is
    /// a guess.
    fn is_stated(&self) -> bool {
        matches!(self.strategy, Some(Strategy::Cursor { .. })) && (self.uses("response") || self.uses("headers"))
    }

    /// Does a template use the variable `name`?
    pub fn uses(&self, name: &str) -> bool {
        self.templates().iter().any(|t| t.uses(name))
    }

    /// Refuses a paginator that cannot request smaller pages, or would take one for the last page.
    pub fn check_reducible(&self, minimum: u64, at: &Place, cx: &EvalContext) -> Result<()> {
        let refused = |what: &str, hint: &str| {
            Err(at.fault(format!("recovery with smaller pages does not work here: {what}")).hint(hint))
        };
        let (Some(strategy), Some(_), Some(page_size)) = (&self.strategy, &self.size, &self.page_size) else {
            return refused(
                "the paginator sends no page size",
                "give the paginator a `page_size` and a `page_size_option`",
            );
        };
        if page_size.uses("response") {
            return refused("the vendor sets the page size", "set `page_size` to a number or to a value of the config");
        }
        if matches!(self.token, Some(Token::Path)) {
            return refused("the vendor's links contain the page size", "page with a RequestOption");
        }
        let written = page_size.written();
        if written.as_u64().or(written.as_str().and_then(|s| s.parse().ok())).is_some_and(|size| size <= minimum) {
            return refused("`page_size` equals `minimum_page_size`", "use a larger `page_size`");
        }
        match strategy {
            Strategy::Page { .. } => {
                refused("page numbers need pages of one size", "use OffsetIncrement or CursorPagination")
            }
            Strategy::Cursor { stop: Some(stop), .. } => {
                // A small page that is full must not look like the last one.
                let ends = |size: u64| {
                    let vars = Vars { page_size: Some(size), last_page_size: Some(size), ..Vars::new(cx) };
                    stop.truth(&vars).unwrap_or(false)
                };
                if stop.uses("last_page_size") && ends(minimum + 1) && !ends(1 << 40) {
                    return refused("`stop_condition` ends at a small page", "compare with `page_size`");
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A pager for one slice; `key_paths` are the paths of a record's key.
    pub fn start<'p>(&'p self, vars: &Vars<'_>, key_paths: &'p [Vec<String>]) -> Result<Pager<'p>> {
        let page_size = match &self.page_size {
            Some(t) if !t.uses("response") => Some(size(t, vars)?),
            _ => None,
        };
        let token = match &self.strategy {
            Some(Strategy::Page { start, inject_first: true }) => Some(json!(start)),
            Some(Strategy::Offset { inject_first: true }) => Some(json!(0)),
            _ => None,
        };
        let overlaps = self.overlaps && !key_paths.is_empty();
        Ok(Pager {
            plan: self,
            overlap: overlaps.then(|| Overlap::new(matches!(self.strategy, Some(Strategy::Page { .. })))),
            resumption: None,
            token,
            page_size,
            reduced: None,
            number: None,
            seen: HashSet::new(),
            repeats: Repeats::new(key_paths),
            records: 0,
            pages: 0,
            promise: None,
            announced: false,
            hasher: RandomState::new(),
        })
    }
}

fn size(template: &Template, vars: &Vars<'_>) -> Result<u64> {
    let value = template.value(vars, Types::Any)?;
    let number = match &value {
        Json::Number(n) => n.as_u64(),
        Json::String(s) => s.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| template.at().fault("`page_size` must be a whole number"))
}
