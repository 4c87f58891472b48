//! How the next page is asked for.
//!
//! Comes in: a paginator's definition; then what each page held. Goes out: the options or path of the next
//! request, or the end. Called by `run`, one [`Pager`] a slice. The rules are those of airbyte-cdk's
//! `DefaultPaginator`; a token that repeats is a fault here, where the reference asks for ever.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use serde_json::{Value as Json, json};

use crate::base::fault::{Fault, Result};
use crate::base::json::python::is_falsy;
use crate::manifest::model::{self, PageToken, PaginationStrategy};
use crate::manifest::node::Place;
use crate::manifest::template::{self, EvalContext, Injection, RequestOptions, Template, Types, Vars};

/// A paginator, compiled.
#[derive(Debug, Clone, Default)]
pub struct PagePlan {
    strategy: Option<Strategy>,
    token: Option<Token>,
    size: Option<Injection>,
    page_size: Option<Template>,
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

/// Which of an answer's fields paging wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// These top-level fields.
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
    Ok(PagePlan { strategy: Some(strategy), token, size, page_size })
}

impl PagePlan {
    fn templates(&self) -> Vec<&Template> {
        let mut out: Vec<&Template> = self.page_size.iter().collect();
        if let Some(Strategy::Cursor { value, stop }) = &self.strategy {
            out.push(value);
            out.extend(stop);
        }
        out
    }

    /// What of an answer the templates read.
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

    /// Does the vendor itself say that there is a page, by a token, a link or a word? A number that only goes up is a
    /// guess.
    fn is_told(&self) -> bool {
        matches!(self.strategy, Some(Strategy::Cursor { .. })) && (self.uses("response") || self.uses("headers"))
    }

    /// Is the variable `name` read?
    pub fn uses(&self, name: &str) -> bool {
        self.templates().iter().any(|t| t.uses(name))
    }

    /// Refuses a paginator that cannot ask for smaller pages, or would take one for the last.
    pub fn check_reducible(&self, minimum: u64, at: &Place, cx: &EvalContext) -> Result<()> {
        let refused = |what: &str, hint: &str| Err(at.fault(format!("pages cannot become smaller: {what}")).hint(hint));
        let (Some(strategy), Some(_), Some(page_size)) = (&self.strategy, &self.size, &self.page_size) else {
            return refused("no page size is sent", "give the paginator a `page_size` and a `page_size_option`");
        };
        if page_size.uses("response") {
            return refused("the page size is the vendor's to say", "give `page_size` as a number or from the config");
        }
        if matches!(self.token, Some(Token::Path)) {
            return refused("the vendor's own links hold the size", "page with a RequestOption");
        }
        let written = page_size.written();
        if written.as_u64().or(written.as_str().and_then(|s| s.parse().ok())).is_some_and(|size| size <= minimum) {
            return refused("`page_size` is `minimum_page_size`", "take a larger `page_size`");
        }
        match strategy {
            Strategy::Page { .. } => {
                refused("page numbers count pages of one size", "page by OffsetIncrement or CursorPagination")
            }
            Strategy::Cursor { stop: Some(stop), .. } => {
                // A page that is full, though small, must not look like the last one.
                let ends = |size: u64| {
                    let vars = Vars { page_size: Some(size), last_page_size: Some(size), ..Vars::new(cx) };
                    stop.truth(&vars).unwrap_or(false)
                };
                if stop.uses("last_page_size") && ends(minimum + 1) && !ends(1 << 40) {
                    return refused("`stop_condition` takes a small page for the last", "compare with `page_size`");
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A pager for one slice.
    pub fn start(&self, vars: &Vars<'_>) -> Result<Pager<'_>> {
        let page_size = match &self.page_size {
            Some(t) if !t.uses("response") => Some(size(t, vars)?),
            _ => None,
        };
        let token = match &self.strategy {
            Some(Strategy::Page { start, inject_first: true }) => Some(json!(start)),
            Some(Strategy::Offset { inject_first: true }) => Some(json!(0)),
            _ => None,
        };
        Ok(Pager {
            plan: self,
            token,
            page_size,
            reduced: None,
            number: None,
            seen: HashSet::new(),
            last_body: None,
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

/// The pages of one slice.
#[derive(Debug)]
pub struct Pager<'p> {
    plan: &'p PagePlan,
    token: Option<Json>,
    page_size: Option<u64>,
    /// The page size that is asked for instead.
    reduced: Option<u64>,
    /// Page number or offset so far.
    number: Option<u64>,
    /// Hashes of the tokens of this slice: one that comes again would go round for ever.
    seen: HashSet<u64>,
    /// Length and hash of the page before, where tokens are only numbers.
    last_body: Option<(usize, u64)>,
    hasher: RandomState,
}

/// What a page held.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Records that the extractor found, before any filter.
    pub extracted: u64,
    /// Records after filters.
    pub kept: u64,
    /// The body as it came.
    pub body: &'a [u8],
    /// `response`, `headers`, `last_record` and slice.
    pub vars: Vars<'a>,
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
        self.token.is_some() && self.plan.is_told()
    }

    /// May an error be the way in which the vendor's pages end? So it is where nothing else tells the last page.
    pub fn ends_by_error(&self) -> bool {
        self.page_size().is_none() && !self.plan.is_told()
    }

    /// Goes to the next page; false at the end.
    pub fn advance(&mut self, page: Facts<'_>) -> Result<bool> {
        let Some(strategy) = &self.plan.strategy else { return Ok(false) };
        let vars = Vars { page_size: self.page_size(), last_page_size: Some(page.kept), ..page.vars };
        let next = match strategy {
            Strategy::Page { .. } | Strategy::Offset { .. } => {
                let size = match (self.reduced, &self.plan.page_size) {
                    (None, Some(t)) => Some(size(t, &vars)?),
                    (reduced, _) => reduced,
                };
                if page.extracted == 0 || size.is_some_and(|s| page.extracted < s) {
                    return Ok(false);
                }
                let next = match strategy {
                    Strategy::Page { start, .. } => self.number.unwrap_or(*start) + 1,
                    _ => self.number.unwrap_or(0) + page.extracted,
                };
                self.number = Some(next);
                // A vendor that ignores the number gives the same page for ever.
                let body = (page.body.len(), self.hasher.hash_one(page.body));
                if self.last_body.replace(body) == Some(body) {
                    return Err(Fault::data(
                        "two pages in a row are the same: the vendor seems to ignore the page token",
                    )
                    .hint("check `page_token_option` of the paginator, or report it to the vendor"));
                }
                json!(next)
            }
            Strategy::Cursor { value, stop } => {
                if let Some(stop) = stop
                    && stop.truth(&vars)?
                {
                    return Ok(false);
                }
                let token = value.value(&vars, Types::Json)?;
                if is_falsy(&token) {
                    return Ok(false);
                }
                if !self.seen.insert(self.hasher.hash_one(crate::base::json::python::canonical(&token))) {
                    return Err(Fault::data(
                        "the page token repeats: the vendor would be asked for the same pages for ever",
                    )
                    .at(&value.at().location)
                    .hint("check `cursor_value` and `stop_condition`, or report it to the vendor"));
                }
                token
            }
        };
        self.token = Some(next);
        Ok(true)
    }
}
