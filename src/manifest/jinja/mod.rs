//! Jinja as declarative manifests use it, with Python's values and text.
//!
//! Input: the text of a template, parsed once, and the run's JSON as variables. Output: rendered
//! text. Called by `template`, which adds the reference's literal typing. Jinja2's grammar;
//! the functions, filters and result texts are those of airbyte-cdk 7.39.1 (`jinja.py`, `macros.py`, `filters.py`).
//!
//! Why not a library: manifests calculate with datetimes (`now_utc() - duration('P1D')`), chain comparisons,
//! and see Python's `str()` of everything on the wire; the engines at hand have no operators on custom
//! objects. The work of one template is bounded: steps, size of what it builds, depth.

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

/// Why a template gave no text.
#[derive(Debug, Clone)]
pub enum Error {
    /// Jinja's `UndefinedError`: something was looked up inside what does not exist.
    Undefined(String),
    /// Python's `TypeError`: the reference then takes the template's own source as its text.
    Type(String),
    /// Any other failure while rendering.
    Other(String),
    /// The text is no template.
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

/// The variables of one place in a manifest.
pub trait Scope {
    /// The value of a variable, `None` when there is none of that name.
    fn get(&self, name: &str) -> Option<Value<'_>>;
    /// The run's "now": what `now_utc()` gives.
    fn now(&self) -> OffsetDateTime;
}

/// What a template gave.
#[derive(Debug)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Is it a text that stood somewhere, and that the template only looks up?
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

    /// The text itself, when it holds nothing to evaluate.
    pub fn plain(&self) -> Option<&str> {
        match &*self.body {
            [] => Some(""),
            [ast::Stmt::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Every name that the template does not bind itself and that is no function.
    pub fn free_names(&self) -> BTreeSet<String> {
        let mut names = names::FreeNames::default();
        names.body(&self.body);
        names.free.retain(|n| !functions::is_global(n));
        names.free
    }

    /// Which entries of the variable `name` are read, when that can be told; `None` when all of it may be.
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

    /// Is it one look-up, and does that find nothing? A null that is found is something.
    pub fn finds_nothing(&self, scope: &dyn Scope) -> bool {
        absent::finds_nothing(&self.body, scope)
    }
}

/// A text shared by undefined values.
fn missing<'a>(name: &str) -> Value<'a> {
    Value::Undefined(Rc::from(name))
}
