//! Templates of a manifest, compiled once, and their typed results.
//!
//! Input: a [`Text`] of the manifest and the names that it may use. Output: a [`Template`] that evaluates to JSON
//! with the types of the reference: the rendered text is read as a Python literal if it is one. Called by every
//! stage's `build`, then during the run.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::variables::{Vars, WithParameters};
use crate::base::fault::{Fault, Kind, Result};
use crate::manifest::jinja::{self, Error, Rendered, Value};
use crate::manifest::node::{Place, Text};

/// The literals that become values; all others stay text (the reference's `valid_types`). If a text is wanted, a text
/// that was looked up stays unchanged, and so does one whose number would be written differently: `1e5`, `007`,
/// `1_000`, `3.10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Types {
    /// Every literal.
    Any,
    /// Texts and lists: query parameters and forms.
    StrOrList,
    /// Texts.
    Str,
    /// Every literal, if a text is wanted: headers, URLs, text fields.
    Text,
    /// Objects; otherwise like text. For fields, or the text of a body.
    Fields,
    /// Values of a JSON body and page tokens: a text that was looked up becomes a number, list or object only if that
    /// is written with the same characters.
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
    /// The fault of a template with an unknown name: evaluating it fails, as in the reference.
    unknown: Option<Box<Fault>>,
    at: Place,
}

/// Names that every template may use.
const ALWAYS: [&str; 2] = ["config", "parameters"];

impl Template {
    /// Compiles `text`; in addition to `config` and `parameters` it may use the names in `allowed`. With other names
    /// it has no value.
    pub fn compile(text: &Text, allowed: &[&str]) -> Result<Template> {
        Self::of(&text.value, &text.at, allowed)
    }

    /// Compiles a value at the location `at`.
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
            .map_err(|e| uncompiled(source, at.fault(format!("the template does not compile: {}", e.message()))))?;
        template.names = code.free_names();
        if let Some(name) =
            template.names.iter().find(|n| !ALWAYS.contains(&n.as_str()) && !allowed.contains(&n.as_str()))
        {
            let message = format!("the template uses `{name}`, which is not defined here");
            let fault = Fault::data(message).at(&at.location);
            let known = ALWAYS.iter().chain(allowed).copied();
            template.unknown = Some(Box::new(match crate::base::fault::did_you_mean(name, known.clone()) {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None => fault.hint(format!("defined here: {}", known.collect::<Vec<_>>().join(", "))),
            }));
        }
        template.code = Some(code);
        Ok(template)
    }

    /// Does it use the variable `name`?
    pub fn uses(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The entries of the variable `name` that it reads; `None` if it may read all of it.
    pub fn entries_of(&self, name: &str) -> Option<BTreeSet<String>> {
        self.code.as_ref().map_or(Some(BTreeSet::new()), |c| c.entries_of(name))
    }

    /// Can it read that entry of the slice?
    pub fn reads_of_slice(&self, entry: &str) -> bool {
        let mut names = super::SLICE.iter().filter(|name| self.uses(name));
        names.any(|name| self.entries_of(name).is_none_or(|entries| entries.contains(entry)))
    }

    /// The fault of a filter that does not exist, which evaluation would report.
    pub fn unknown_filter(&self) -> Option<Fault> {
        let (name, near) = self.code.as_ref()?.unknown_filter()?;
        let fault = self.at.fault(format!("there is no filter `{name}`"));
        Some(match near {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault.hint("the filters are those of Jinja, and airbyte-cdk's own"),
        })
    }

    /// Refuses a template that uses an unknown name, before any request.
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

    /// The location.
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
            // Python's TypeError: the reference then uses the template's source.
            Err(Error::Type(_)) => written(source),
            other => other,
        }
    }

    /// Is the template a single lookup of an undefined value? A null value is defined.
    pub fn finds_nothing(&self, vars: &Vars<'_>) -> bool {
        let scope = WithParameters { vars, parameters: &self.at.parameters };
        self.code.as_ref().is_some_and(|code| code.finds_nothing(&scope))
    }

    fn failed(&self, error: &Error) -> Fault {
        let failed = || Fault::data(format!("the template failed: {}", error.message())).at(&self.at.location);
        self.unknown.as_deref().cloned().unwrap_or_else(failed)
    }

    /// The value as in the reference's `InterpolatedString`: an empty text stays empty, an undefined value is an
    /// error.
    pub fn value(&self, vars: &Vars<'_>, types: Types) -> Result<Json> {
        if !self.value.is_string() {
            return Ok(self.value.clone());
        }
        match self.render(vars) {
            Ok(rendered) => Ok(typed(rendered, types)),
            Err(e) => Err(self.failed(&e)),
        }
    }

    /// The value as in the reference's `InterpolatedMapping`: empty or undefined values are omitted.
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

    /// Python's `str()` of the value; a text that was looked up stays unchanged.
    pub fn text(&self, vars: &Vars<'_>) -> Result<String> {
        Ok(text_of(&self.value(vars, Types::Text)?))
    }

    /// The rendered text without literal evaluation: for secrets, which are sent as written.
    pub fn raw_text(&self, vars: &Vars<'_>) -> Result<String> {
        if !self.value.is_string() {
            return Ok(text_of(&self.value));
        }
        self.render(vars).map(|rendered| rendered.text).map_err(|e| self.failed(&e))
    }

    /// The truth value of a condition, as in the reference's `InterpolatedBoolean`.
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

    /// A number of seconds, records or attempts.
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

/// Adds what is probably wrong with a template.
fn uncompiled(source: &str, fault: Fault) -> Fault {
    let lacks = |open: &str, close: &str| source.matches(open).count() > source.matches(close).count();
    if lacks("{{", "}}") {
        fault.hint("close each `{{` with `}}`")
    } else if lacks("{%", "%}") {
        fault.hint("close each `{%` with `%}`")
    } else if source.matches('\'').count() % 2 == 1 || source.matches('"').count() % 2 == 1 {
        fault.hint("a quote in it has no end")
    } else {
        fault
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

/// The value for `rendered`: its literal if that type is wanted, else the text.
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
