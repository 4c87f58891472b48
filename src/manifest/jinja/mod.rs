//! Jinja as declarative manifests use it, with Python's values and text.
//!
//! Input: the text of a template, parsed once, and the run's JSON as variables. Output: rendered text. Called by
//! `template`, which adds the reference's literal typing. The grammar is that of Jinja2; the functions, filters and
//! output texts are those of airbyte-cdk 7.39.1 (`jinja.py`, `macros.py`, `filters.py`).
//!
//! Why not a library: manifests calculate with datetimes (`now_utc() - duration('P1D')`), chain comparisons, and send
//! Python's `str()` of any value; existing engines have no operators on custom objects. The work of a template is
//! bounded: number of steps, output size, depth.

mod absent;
mod args;
mod ast;
mod eval;
mod filter;
mod format;
mod functions;
mod lex;
mod literal;
mod method;
mod names;
mod operator;
mod parse;
mod test;
mod value;

use std::collections::BTreeSet;
use std::rc::Rc;

use time::OffsetDateTime;

pub use literal::{literal, spells};
pub use value::Value;

/// Why a template produced no text.
#[derive(Debug, Clone)]
pub enum Error {
    /// Jinja's `UndefinedError`: a lookup inside something undefined.
    Undefined(String),
    /// Python's `TypeError`: the reference then uses the template's source as its text.
    Type(String),
    /// Any other failure while rendering.
    Other(String),
    /// The text is not a valid template.
    Syntax(String),
}

impl Error {
    fn other(message: impl Into<String>) -> Self {
        Error::Other(message.into())
    }

    fn wrong_type(message: impl Into<String>) -> Self {
        Error::Type(message.into())
    }

    fn undefined(name: &str) -> Self {
        Error::Undefined(format!("`{name}` is undefined"))
    }

    /// The text of the error.
    pub fn message(&self) -> &str {
        match self {
            Error::Undefined(m) | Error::Type(m) | Error::Other(m) | Error::Syntax(m) => m,
        }
    }
}

type Eval<T> = Result<T, Error>;

/// The variables available at one place of a manifest.
pub trait Scope {
    /// The value of a variable; `None` if it does not exist.
    fn get(&self, name: &str) -> Option<Value<'_>>;
    /// The run's "now": the result of `now_utc()`.
    fn now(&self) -> OffsetDateTime;
}

/// The result of a template.
#[derive(Debug)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Was the text only looked up by the template, rather than composed?
    pub looked_up: bool,
}

/// A parsed template.
#[derive(Debug, Clone)]
pub struct JinjaTemplate {
    body: std::sync::Arc<[ast::Stmt]>,
}

impl JinjaTemplate {
    /// Parses the text of a template.
    pub fn parse(source: &str) -> Result<Self, Error> {
        Ok(JinjaTemplate { body: parse::parse(source)?.into() })
    }

    /// The text itself, if it has nothing to evaluate.
    pub fn plain(&self) -> Option<&str> {
        match &*self.body {
            [] => Some(""),
            [ast::Stmt::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// All names that are neither bound by the template nor functions.
    pub fn free_names(&self) -> BTreeSet<String> {
        let mut names = names::FreeNames::default();
        names.body(&self.body);
        names.free.retain(|n| !functions::is_global(n));
        names.free
    }

    /// The first filter that does not exist, with the filter that was probably meant.
    pub fn unknown_filter(&self) -> Option<(String, Option<&'static str>)> {
        let mut names = names::FreeNames::default();
        names.body(&self.body);
        let unknown = names.filters.into_iter().find(|name| !filter::exists(name))?;
        let near = crate::base::fault::did_you_mean(&unknown, filter::NAMES.iter().copied());
        Some((unknown, near))
    }

    /// The entries of the variable `name` that the template reads; `None` if it may read all of it.
    pub fn entries_of(&self, name: &str) -> Option<BTreeSet<String>> {
        let mut names = names::FreeNames::watching(name);
        names.body(&self.body);
        (!names.whole).then_some(names.entries)
    }

    /// Renders to text.
    pub fn render(&self, scope: &dyn Scope) -> Result<Rendered, Error> {
        let mut frame = eval::Frame::new(scope);
        if let [ast::Stmt::Output(expr)] = &*self.body {
            let (value, looked_up) = frame.looked_up(expr)?;
            return Ok(Rendered { text: value.text().into_owned(), looked_up });
        }
        Ok(Rendered { text: frame.render(&self.body)?, looked_up: false })
    }

    /// Is the template a single lookup of an undefined value? A null value is defined.
    pub fn finds_nothing(&self, scope: &dyn Scope) -> bool {
        absent::finds_nothing(&self.body, scope)
    }
}

/// A text that undefined values share.
fn missing<'a>(name: &str) -> Value<'a> {
    Value::Undefined(Rc::from(name))
}
