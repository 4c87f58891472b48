//! Reads an OpenAPI document: versions 2 (Swagger), 3.0 and 3.1, as JSON or YAML.
//!
//! Input: the text. Output: a [`Description`] that finds paths, parameters and answers, with `$ref` resolved. Called by
//! the other files of this folder.

use std::collections::HashSet;

use serde_json::{Map, Value as Json};

use crate::base::fault::{Fault, Result};
use crate::base::percent;
use crate::manifest::yaml;

/// How many references are followed in a row.
const MAX_HOPS: usize = 20;

/// A document.
#[derive(Debug)]
pub(crate) struct Description {
    root: Json,
    /// Swagger 2?
    is_swagger: bool,
}

/// A parameter of a request, as each version describes it.
#[derive(Debug, Clone)]
pub(super) struct Parameter<'d> {
    pub(super) name: &'d str,
    /// `query`, `path`, `header`.
    pub(super) place: &'d str,
    pub(super) is_required: bool,
    pub(super) description: &'d str,
    /// Its type, limits and default.
    pub(super) schema: &'d Json,
    /// The parameter itself.
    pub(super) written: &'d Json,
}

/// A GET operation.
#[derive(Debug, Clone)]
pub(super) struct Operation<'d> {
    pub(super) path: &'d str,
    pub(super) written: &'d Json,
    pub(super) parameters: Vec<Parameter<'d>>,
}

impl Description {
    /// Reads a document.
    ///
    /// # Errors
    /// It is neither JSON nor YAML, or no OpenAPI document.
    pub(crate) fn read(text: &str, file: &str) -> Result<Description> {
        let root = match serde_json::from_str(text) {
            Ok(root) => root,
            Err(error) if text.trim_start().starts_with('{') && error.is_syntax() => {
                return Err(Fault::config(format!("{file} is not valid JSON: {error}")));
            }
            Err(_) => yaml::parse_yaml(text, file).map_err(|fault| unreadable(fault, file))?.to_json(),
        };
        let is_swagger = root["swagger"].is_string() || root["swagger"].is_number();
        let is_openapi = root["openapi"].is_string() || root["openapi"].is_number();
        if !is_swagger && !is_openapi || !root["paths"].is_object() {
            let fault =
                Fault::config(format!("{file} is no OpenAPI document: it has no `openapi` or `swagger` with `paths`"));
            return Err(fault.hint("OpenAPI 3 and Swagger 2 are read, as JSON or YAML"));
        }
        Ok(Description { root, is_swagger })
    }

    /// A member of the root.
    pub(super) fn root(&self, key: &str) -> &Json {
        &self.root[key]
    }

    /// Is it Swagger 2?
    pub(super) fn is_swagger(&self) -> bool {
        self.is_swagger
    }

    /// The target of a reference; nothing if it is in another file or missing.
    pub(super) fn target(&self, reference: &str) -> Option<&Json> {
        let path = reference.strip_prefix("#/")?;
        let mut at = &self.root;
        for step in path.split('/') {
            let step = percent::decode(step).replace("~1", "/").replace("~0", "~");
            at = match at {
                Json::Array(items) => items.get(step.parse::<usize>().ok()?)?,
                other => other.get(&step)?,
            };
        }
        Some(at)
    }

    /// A node behind its references.
    pub(super) fn resolved<'d>(&'d self, mut node: &'d Json) -> &'d Json {
        for _ in 0..MAX_HOPS {
            let Some(reference) = node["$ref"].as_str() else { return node };
            match self.target(reference) {
                Some(target) => node = target,
                None => return &Json::Null,
            }
        }
        &Json::Null
    }

    /// All GET operations, in the document's order.
    pub(super) fn operations(&self) -> Vec<Operation<'_>> {
        let paths = self.root["paths"].as_object().into_iter().flatten();
        paths.filter_map(|(path, item)| self.operation_of(path, self.resolved(item))).collect()
    }

    /// The GET operation of a path.
    pub(super) fn operation(&self, path: &str) -> Option<Operation<'_>> {
        let (path, item) = self.root["paths"].as_object()?.get_key_value(path)?;
        self.operation_of(path, self.resolved(item))
    }

    fn operation_of<'d>(&'d self, path: &'d str, item: &'d Json) -> Option<Operation<'d>> {
        let written = item.get("get")?;
        let mut parameters: Vec<Parameter<'d>> = Vec::new();
        // The operation's own parameters override those of the path.
        let lists = [&written["parameters"], &item["parameters"]];
        for written in lists.into_iter().filter_map(Json::as_array).flatten() {
            let Some(found) = parameter(self.resolved(written)) else { continue };
            if !parameters.iter().any(|known| known.name == found.name && known.place == found.place) {
                parameters.push(Parameter { schema: self.resolved(found.schema), ..found });
            }
        }
        Some(Operation { path, written, parameters })
    }

    /// The successful answer of an operation.
    pub(super) fn answer<'d>(&'d self, operation: &Operation<'d>) -> &'d Json {
        let answers = &operation.written["responses"];
        let found = ["200", "2XX", "2xx", "default"].iter().find_map(|status| answers.get(*status));
        found.map_or(&Json::Null, |answer| self.resolved(answer))
    }

    /// The schema of the JSON in an answer.
    pub(super) fn answer_schema<'d>(&'d self, operation: &Operation<'d>) -> Option<&'d Json> {
        let answer = self.answer(operation);
        if self.is_swagger {
            return answer.get("schema");
        }
        let content = answer["content"].as_object()?;
        let json = content.get("application/json").or_else(|| {
            content.iter().find(|(kind, _)| kind.contains("json") || *kind == "*/*").map(|(_, media)| media)
        });
        json?.get("schema")
    }

    /// The members of a schema, with those of its `allOf` and of its references: one level.
    pub(super) fn merged(&self, schema: &Json) -> Map<String, Json> {
        let mut out = Map::new();
        self.merge(schema, &mut out, &mut HashSet::new());
        out
    }

    fn merge(&self, schema: &Json, out: &mut Map<String, Json>, open: &mut HashSet<String>) {
        if let Some(reference) = schema["$ref"].as_str()
            && open.len() < MAX_HOPS
            && open.insert(reference.to_owned())
        {
            self.target(reference).into_iter().for_each(|target| self.merge(target, out, open));
            open.remove(reference);
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.merge(part, out, open);
        }
        for (key, value) in schema.as_object().into_iter().flatten() {
            match key.as_str() {
                "$ref" | "allOf" => {}
                "properties" => match out.get_mut("properties") {
                    Some(Json::Object(known)) => known.extend(value.as_object().cloned().unwrap_or_default()),
                    _ => {
                        out.insert(key.clone(), value.clone());
                    }
                },
                "required" => {
                    let known = out.entry("required").or_insert_with(|| Json::Array(Vec::new()));
                    if let (Json::Array(known), Json::Array(more)) = (known, value) {
                        known.extend(more.iter().cloned());
                    }
                }
                _ => {
                    out.insert(key.clone(), value.clone());
                }
            }
        }
    }
}

fn parameter(written: &Json) -> Option<Parameter<'_>> {
    let schema = written.get("schema").unwrap_or(written);
    Some(Parameter {
        name: written["name"].as_str()?,
        place: written["in"].as_str()?,
        is_required: written["required"] == Json::Bool(true),
        description: written["description"].as_str().or(schema["description"].as_str()).unwrap_or_default(),
        schema,
        written,
    })
}

/// The parser speaks of manifests.
fn unreadable(fault: Fault, file: &str) -> Fault {
    let message = fault.message.replace("the manifest is not valid YAML", "it is neither JSON nor YAML");
    Fault { message: format!("cannot read {file}: {message}"), location: None, ..fault }
}

impl<'d> Operation<'d> {
    /// The parameters of the query.
    pub(super) fn query(&self) -> impl Iterator<Item = &Parameter<'d>> {
        self.parameters.iter().filter(|parameter| parameter.place == "query")
    }

    /// What the document says of it.
    pub(super) fn description(&self) -> &'d str {
        self.written["description"].as_str().or(self.written["summary"].as_str()).unwrap_or_default()
    }

    /// Is it on its way out?
    pub(super) fn is_deprecated(&self) -> bool {
        self.written["deprecated"] == Json::Bool(true)
    }
}

impl Parameter<'_> {
    /// Is it a number?
    pub(super) fn is_number(&self) -> bool {
        matches!(type_name(self.schema), Some("integer" | "number"))
    }
}

/// The type of a schema, if it has one besides null.
pub(super) fn type_name(schema: &Json) -> Option<&str> {
    match &schema["type"] {
        Json::String(name) => Some(name),
        Json::Array(names) => names.iter().filter_map(Json::as_str).find(|name| *name != "null"),
        _ => None,
    }
}
