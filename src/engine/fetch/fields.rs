//! The parts of a request with fields: parameters, headers, form and JSON body.
//!
//! Input: a mapping of templates from the manifest, compiled once; then the variables of a slice and page. Output:
//! the values. Called by [`super::request`].

use serde_json::{Map, Value as Json};

use crate::base::fault::Result;
use crate::manifest::node::{Place, Text};
use crate::manifest::template::{Template, Types, Vars, text_of};

/// A mapping of templates, or one template that evaluates to a mapping.
#[derive(Debug, Clone)]
pub(super) enum Fields {
    None,
    Map(Vec<(Template, Template)>),
    Text(Template),
    /// A nested value, for JSON bodies.
    Deep(Deep),
}

/// A JSON value whose keys and leaves are templates.
#[derive(Debug, Clone)]
pub(super) enum Deep {
    Leaf(Template),
    Map(Vec<(Template, Deep)>),
    List(Vec<Deep>),
}

/// The values of one part of a request: fields, or a raw text.
pub(super) enum Evaluated {
    Fields(Map<String, Json>),
    Text(String),
}

impl Fields {
    /// Compiles a mapping with text values, or a template that evaluates to one; `names` are the names that templates
    /// may use.
    pub(super) fn flat(text: Option<&Text>, names: &[&str]) -> Result<Fields> {
        let Some(text) = text else { return Ok(Fields::None) };
        match &text.value {
            Json::Null => Ok(Fields::None),
            Json::Object(map) => {
                // QueryProperties is not a value: the requester adds the names.
                let is_value =
                    |(key, value): &(&String, &Json)| *key != "$parameters" && value["type"] != "QueryProperties";
                let pairs = map.iter().filter(is_value).map(|(key, value)| {
                    let at = text.at.field(key, None);
                    Ok((Template::of(&Json::String(key.clone()), &at, names)?, Template::of(value, &at, names)?))
                });
                Ok(Fields::Map(pairs.collect::<Result<_>>()?))
            }
            Json::String(s) if s.is_empty() => Ok(Fields::None),
            value => Ok(Fields::Text(Template::of(value, &text.at, names)?)),
        }
    }

    /// Compiles a JSON body: a nested mapping, or a template that evaluates to one.
    pub(super) fn nested(text: Option<&Text>, names: &[&str]) -> Result<Fields> {
        Ok(match text.map(|t| (&t.value, &t.at)) {
            None => Fields::None,
            Some((value @ Json::Object(_), at)) => Fields::Deep(Deep::compile(value, at, names)?),
            Some((value, at)) => Fields::Text(Template::of(value, at, names)?),
        })
    }

    /// The fields as written, if they are a mapping.
    pub(super) fn written(&self) -> Vec<(String, String)> {
        let Fields::Map(pairs) = self else { return Vec::new() };
        pairs.iter().map(|(key, value)| (text_of(key.written()), text_of(value.written()))).collect()
    }

    /// Can a value depend on that entry of the slice?
    pub(super) fn reads_of_slice(&self, entry: &str) -> bool {
        match self {
            Fields::None => false,
            Fields::Map(pairs) => pairs.iter().any(|(k, v)| k.reads_of_slice(entry) || v.reads_of_slice(entry)),
            Fields::Text(template) => template.reads_of_slice(entry),
            Fields::Deep(deep) => deep.reads_of_slice(entry),
        }
    }

    /// Evaluates the fields for a page; null and empty values are dropped as in the reference.
    pub(super) fn eval(&self, vars: &Vars<'_>, types: Types) -> Result<Evaluated> {
        Ok(Evaluated::Fields(match self {
            Fields::None => Map::new(),
            Fields::Map(pairs) => {
                let mut out = Map::new();
                for (key, value) in pairs {
                    if let Some(value) = value.value_if_any(vars, types)? {
                        out.insert(key.text(vars)?, value);
                    }
                }
                out
            }
            Fields::Text(template) => match template.value_if_any(vars, Types::Fields)? {
                Some(Json::Object(map)) => map,
                Some(other) => return Ok(Evaluated::Text(text_of(&other))),
                None => Map::new(),
            },
            Fields::Deep(deep) => match deep.value(vars)? {
                Json::Object(map) => map,
                _ => Map::new(),
            },
        }))
    }
}

impl Deep {
    fn compile(value: &Json, at: &Place, names: &[&str]) -> Result<Deep> {
        Ok(match value {
            Json::Object(map) => {
                let pairs = map.iter().map(|(key, value)| {
                    let at = at.field(key, None);
                    let key = Template::of(&Json::String(key.clone()), &at, names)?;
                    Ok((key, Deep::compile(value, &at, names)?))
                });
                Deep::Map(pairs.collect::<Result<_>>()?)
            }
            Json::Array(items) => {
                Deep::List(items.iter().map(|item| Deep::compile(item, at, names)).collect::<Result<_>>()?)
            }
            leaf => Deep::Leaf(Template::of(leaf, at, names)?),
        })
    }

    fn reads_of_slice(&self, entry: &str) -> bool {
        match self {
            Deep::Leaf(template) => template.reads_of_slice(entry),
            Deep::List(items) => items.iter().any(|item| item.reads_of_slice(entry)),
            Deep::Map(pairs) => pairs.iter().any(|(k, v)| k.reads_of_slice(entry) || v.reads_of_slice(entry)),
        }
    }

    fn value(&self, vars: &Vars<'_>) -> Result<Json> {
        Ok(match self {
            Deep::Leaf(template) => template.value_if_any(vars, Types::Json)?.unwrap_or(Json::Null),
            Deep::List(items) => Json::Array(items.iter().map(|i| i.value(vars)).collect::<Result<_>>()?),
            Deep::Map(pairs) => {
                let mut out = Map::new();
                for (key, value) in pairs {
                    let value = value.value(vars)?;
                    if !value.is_null() {
                        out.insert(key.text(vars)?, value);
                    }
                }
                Json::Object(out)
            }
        })
    }
}
