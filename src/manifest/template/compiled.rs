//! Templates of a manifest, compiled once, and their typed results.
//!
//! Input: a [`Text`] of the manifest and the names that may stand in it. Output: a [`Template`] whose
//! evaluation gives JSON with the types that the reference gives: the rendered text is read as a Python literal
//! where it is one. Called by every stage's `build`, then while running.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::variables::{Vars, WithParameters};
use crate::base::fault::{Fault, Kind, Result};
use crate::manifest::jinja::{self, Error, Rendered, Value};
use crate::manifest::node::{Place, Text};

/// Which literals are taken as values; others stay text (the reference's `valid_types`). Where a text is wanted, one
/// that was looked up stays as it is, and so does one that spells a number with other characters than it is written
/// with: `1e5`, `007`, `1_000`, `3.10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Types {
    /// Every literal.
    Any,
    /// Texts and lists: query parameters and forms.
    StrOrList,
    /// Texts.
    Str,
    /// Every literal, where a text is wanted: headers, addresses, fields that are texts.
    Text,
    /// Objects; else as a text. Where fields are wanted, or the text of a body.
    Fields,
    /// Values of a JSON body and page tokens: a text that was looked up becomes the number, list or object that it
    /// spells where the same characters are written.
    Json,
    /// Integers (and bools, as in Python).
    Int,
    /// Floats.
    Float,
    /// Bools.
    Bool,
}

/// A compiled template, or a plain value.
#[derive(Debug, Clone)]
pub struct Template {
    value: Json,
    code: Option<jinja::JinjaTemplate>,
    names: BTreeSet<String>,
    /// It reads what is not there: whoever needs its value fails, as in the reference.
    unknown: Option<Box<Fault>>,
    at: Place,
}

/// Names that stand in every template.
const ALWAYS: [&str; 2] = ["config", "parameters"];

impl Template {
    /// Compiles `text`; besides `config` and `parameters` the names in `allowed` may stand in it. With others it has no
    /// value.
    pub fn compile(text: &Text, allowed: &[&str]) -> Result<Template> {
        Self::of(&text.value, &text.at, allowed)
    }

    /// Compiles a value that stands at `at`.
    pub fn of(value: &Json, at: &Place, allowed: &[&str]) -> Result<Template> {
        let mut template =
            Template { value: value.clone(), code: None, names: BTreeSet::new(), unknown: None, at: at.clone() };
        let Json::String(source) = value else { return Ok(template) };
        if source.contains("stream_state") {
            let fault = Fault::data("templates cannot read `stream_state`").at(&at.location);
            let hint = "use `stream_interval` for the bounds of the slice; airbyte-cdk refuses `stream_state` too";
            template.unknown = Some(Box::new(fault.hint(hint)));
            return Ok(template);
        }
        let code = jinja::JinjaTemplate::parse(source)
            .map_err(|e| at.fault(format!("the template does not compile: {}", e.message())))?;
        template.names = code.free_names();
        if let Some(name) =
            template.names.iter().find(|n| !ALWAYS.contains(&n.as_str()) && !allowed.contains(&n.as_str()))
        {
            let message = format!("the template names `{name}`, which does not exist here");
            let fault = Fault::data(message).at(&at.location);
            let known = ALWAYS.iter().chain(allowed).copied();
            template.unknown = Some(Box::new(match crate::base::fault::did_you_mean(name, known.clone()) {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None => fault.hint(format!("here one can use {}", known.collect::<Vec<_>>().join(", "))),
            }));
        }
        template.code = Some(code);
        Ok(template)
    }

    /// Is `name` read?
    pub fn uses(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Which entries of the variable `name` are read; `None` when all of it may be.
    pub fn entries_of(&self, name: &str) -> Option<BTreeSet<String>> {
        self.code.as_ref().map_or(Some(BTreeSet::new()), |c| c.entries_of(name))
    }

    /// May it read that entry of the slice?
    pub fn reads_of_slice(&self, entry: &str) -> bool {
        let mut names = super::SLICE.iter().filter(|name| self.uses(name));
        names.any(|name| self.entries_of(name).is_none_or(|entries| entries.contains(entry)))
    }

    /// Refuses a template that reads what is not there, before anything is asked.
    pub fn known(self) -> Result<Template> {
        match self.unknown {
            Some(fault) => Err(Fault { kind: Kind::Config, ..*fault }),
            None => Ok(self),
        }
    }

    /// The value as written in the manifest.
    pub fn written(&self) -> &Json {
        &self.value
    }

    /// Where it stands.
    pub fn at(&self) -> &Place {
        &self.at
    }

    fn render(&self, vars: &Vars<'_>) -> std::result::Result<Rendered, Error> {
        let source = self.value.as_str().unwrap_or_default();
        let written = |text: &str| Ok(Rendered { text: text.into(), looked_up: false });
        if let Some(fault) = &self.unknown {
            return Err(Error::Other(fault.message.clone()));
        }
        let Some(code) = &self.code else { return written(source) };
        if let Some(plain) = code.plain() {
            return written(plain);
        }
        match code.render(&WithParameters { vars, parameters: &self.at.parameters }) {
            // Python's TypeError: the reference takes the source itself.
            Err(Error::Type(_)) => written(source),
            other => other,
        }
    }

    /// Is it one look-up, and does that find nothing? A null that is found is something.
    pub fn finds_nothing(&self, vars: &Vars<'_>) -> bool {
        let scope = WithParameters { vars, parameters: &self.at.parameters };
        self.code.as_ref().is_some_and(|code| code.finds_nothing(&scope))
    }

    fn failed(&self, error: &Error) -> Fault {
        let failed = || Fault::data(format!("the template failed: {}", error.message())).at(&self.at.location);
        self.unknown.as_deref().cloned().unwrap_or_else(failed)
    }

    /// The value as the reference's `InterpolatedString` gives it: an empty text stays empty,
    /// something undefined is an error.
    pub fn value(&self, vars: &Vars<'_>, types: Types) -> Result<Json> {
        if !self.value.is_string() {
            return Ok(self.value.clone());
        }
        match self.render(vars) {
            Ok(rendered) => Ok(typed(rendered, types)),
            Err(e) => Err(self.failed(&e)),
        }
    }

    /// The value as the reference's `InterpolatedMapping` gives it: what is empty or undefined is left out.
    pub fn value_if_any(&self, vars: &Vars<'_>, types: Types) -> Result<Option<Json>> {
        if !self.value.is_string() {
            return Ok(Some(self.value.clone()).filter(|v| !v.is_null()));
        }
        match self.render(vars) {
            Ok(rendered) if rendered.text.is_empty() => Ok(None),
            Ok(rendered) => Ok(Some(typed(rendered, types)).filter(|v| !v.is_null())),
            Err(Error::Undefined(_)) => Ok(None),
            Err(e) => Err(self.failed(&e)),
        }
    }

    /// Python's `str()` of the value; a text that was looked up as it is.
    pub fn text(&self, vars: &Vars<'_>) -> Result<String> {
        Ok(text_of(&self.value(vars, Types::Text)?))
    }

    /// The rendered text, without reading it as a literal: for secrets, which are sent as written.
    pub fn raw_text(&self, vars: &Vars<'_>) -> Result<String> {
        if !self.value.is_string() {
            return Ok(text_of(&self.value));
        }
        self.render(vars).map(|rendered| rendered.text).map_err(|e| self.failed(&e))
    }

    /// The truth of a condition, as the reference's `InterpolatedBoolean` tells it.
    pub fn truth(&self, vars: &Vars<'_>) -> Result<bool> {
        if let Json::Bool(b) = self.value {
            return Ok(b);
        }
        if !self.value.is_string() {
            return Ok(Value::from_json(&self.value).truthy());
        }
        let text = match self.render(vars) {
            Ok(rendered) => rendered.text,
            Err(Error::Undefined(_)) => return Ok(false),
            Err(e) => return Err(self.failed(&e)),
        };
        Ok(match jinja::literal(&text) {
            Some(Value::Str(s)) => !is_false_text(&s),
            Some(value) => value.truthy(),
            None => !is_false_text(&text),
        })
    }

    /// A number of seconds, records or tries.
    pub fn number(&self, vars: &Vars<'_>) -> Result<f64> {
        let value = self.value(vars, Types::Any)?;
        let number = match &value {
            Json::Number(n) => n.as_f64(),
            Json::String(s) => s.trim().parse().ok(),
            _ => None,
        };
        number.filter(|n| n.is_finite()).ok_or_else(|| self.at.fault("expected a number"))
    }
}

fn is_false_text(text: &str) -> bool {
    matches!(text.trim(), "" | "False" | "false" | "{}" | "[]" | "()" | "0" | "0.0" | "set()")
        && (text.is_empty() || !text.trim().is_empty())
}

/// Python's `str()` of a JSON value.
pub fn text_of(value: &Json) -> String {
    Value::from_json(value).text().into_owned()
}

/// What a template gives for `rendered`: the literal that it spells, when that is wanted; else the text.
fn typed(rendered: Rendered, types: Types) -> Json {
    let Rendered { text, looked_up } = rendered;
    let Some(value) = jinja::literal(&text) else { return Json::String(text) };
    let is_number = matches!(value, Value::Int(_) | Value::Float(_));
    let as_written = || value.text() == if looked_up { &text } else { text.trim() };
    let fits = match types {
        Types::Any => true,
        Types::StrOrList => !looked_up && (value.type_name() == "str" || value.type_name() == "list"),
        Types::Str => !looked_up && value.type_name() == "str",
        Types::Fields if value.is_dict() => true,
        Types::Text | Types::Fields => !looked_up && (!is_number || as_written()),
        Types::Json if is_number => as_written(),
        Types::Json => !looked_up || jinja::spells(&value, &text),
        Types::Int => value.as_int().is_some(),
        Types::Float => matches!(value, Value::Float(_)),
        Types::Bool => matches!(value, Value::Bool(_)),
    };
    if fits { value.to_json() } else { Json::String(text) }
}
