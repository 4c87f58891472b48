//! Query properties: fields that each request must name, and records that arrive in parts.
//!
//! Input: `QueryProperties` of a requester. Output: the names in each request, and the key by which the parts of a
//! record are merged. Called by [`super::build`] and [`super::slice_reader`]. Names are counted as in airbyte-cdk's
//! `PropertyChunking`.

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::build::{Build, StreamPlan};
use super::context::EngineContext;
use super::parents;
use crate::base::fault::{Fault, Result};
use crate::base::json::python::is_falsy;
use crate::engine::shape::ops::{self, Pipeline};
use crate::manifest::dpath;
use crate::manifest::model::{HttpRequester, PropertiesFromEndpoint, PropertyList, QueryProperties};
use crate::manifest::node::{Node, Read as _};
use crate::manifest::template::{EvalContext, Template, Vars, text_of};

/// The template variable with the names of a request.
pub(super) const VARIABLE: &str = "query_properties";

/// The compiled fields that a stream requests.
#[derive(Debug, Clone)]
pub struct Properties {
    list: List,
    always: Vec<String>,
    limit: Option<Limit>,
    /// The fields that identify a record, if records arrive in parts.
    key: Option<Vec<String>>,
    /// Transforms the names before the catalog selects them.
    selector: Option<Pipeline>,
    selected: Option<BTreeSet<String>>,
    /// The request parameter with the names.
    parameter: Option<String>,
}

#[derive(Debug, Clone)]
enum List {
    Given(Vec<String>),
    Endpoint { source: Arc<StreamPlan>, path: Vec<String>, found: Arc<Mutex<Option<Vec<String>>>> },
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    Names(usize),
    Characters(usize),
}

/// Does a requester name fields?
pub(super) fn are_named(def: &HttpRequester) -> bool {
    let among = def.request_parameters.iter().filter_map(|text| text.value.as_object()).flatten();
    def.query_properties.is_some()
        || def.fetch_properties_from_endpoint.is_some()
        || among.into_iter().any(|(_, value)| value["type"] == "QueryProperties")
}

/// Compiles the fields of a requester.
pub(super) fn build(build: &Build<'_>, def: &HttpRequester, name: &str) -> Result<Option<Properties>> {
    let mut among = Vec::new();
    if let Some(text) = &def.request_parameters {
        for (key, value) in text.value.as_object().into_iter().flatten() {
            if value["type"] == "QueryProperties" {
                let read = QueryProperties::read(&Node::from_json(value), &text.at.field(key, None))?;
                among.push((key.clone(), read));
            }
        }
    }
    if among.len() > 1 {
        return Err(def.at.field("request_parameters", None).fault("only one of them can be QueryProperties"));
    }
    let endpoint = def.fetch_properties_from_endpoint.as_ref();
    if !among.is_empty() && endpoint.is_some() {
        let at = def.at.field("fetch_properties_from_endpoint", None);
        return Err(at.fault("fields are set twice: here and in `request_parameters`"));
    }
    Ok(match (among.pop(), endpoint, &def.query_properties) {
        (Some((key, def)), ..) => Some(of(build, &def, Some(key), name)?),
        (None, Some(endpoint), _) => Some(Properties {
            list: list(build, endpoint, name)?,
            always: Vec::new(),
            limit: None,
            key: None,
            selector: None,
            selected: None,
            parameter: None,
        }),
        (None, None, Some(def)) => Some(of(build, def, None, name)?),
        (None, None, None) => None,
    })
}

fn of(build: &Build<'_>, def: &QueryProperties, parameter: Option<String>, name: &str) -> Result<Properties> {
    let mut limit = None;
    if let Some(chunking) = &def.property_chunking {
        let most = chunking.property_limit.filter(|most| *most > 0).map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        limit = match &*chunking.property_limit_type {
            "property_count" => most.map(Limit::Names),
            "characters" => most.map(Limit::Characters),
            other => {
                let fault = chunking.at.field("property_limit_type", None);
                let fault = fault.fault(format!("`property_limit_type: {other}` does not exist"));
                return Err(fault.hint("it can be characters or property_count"));
            }
        };
    }
    let key = def.property_chunking.as_ref().map(|chunking| {
        let strategy = chunking.record_merge_strategy.as_ref();
        strategy.map_or_else(|| vec!["id".to_owned()], |strategy| strategy.key.0.clone())
    });
    let selector = def.property_selector.as_ref().map(|selector| {
        let transformations = selector.transformations.as_deref().unwrap_or_default();
        ops::plain(None, transformations, build.cx)
    });
    Ok(Properties {
        list: match &def.property_list {
            PropertyList::Given(names) => List::Given(names.clone()),
            PropertyList::Endpoint(endpoint) => list(build, endpoint, name)?,
        },
        always: def.always_include_properties.clone().unwrap_or_default(),
        limit,
        key,
        selector: selector.transpose()?,
        selected: None,
        parameter,
    })
}

fn list(build: &Build<'_>, def: &PropertiesFromEndpoint, name: &str) -> Result<List> {
    let vars = Vars::new(build.cx);
    let path = def.property_field_path.iter().map(|text| Template::compile(text, &[])?.text(&vars));
    Ok(List::Endpoint {
        source: Arc::new(build.source_of_records(&def.retriever, name)?),
        path: path.collect::<Result<_>>()?,
        found: Arc::default(),
    })
}

impl Properties {
    /// The stream that provides the names.
    pub(super) fn source(&self) -> Option<&Arc<StreamPlan>> {
        match &self.list {
            List::Given(_) => None,
            List::Endpoint { source, .. } => Some(source),
        }
    }

    /// The names from the manifest.
    pub(super) fn named(&self) -> Vec<String> {
        match &self.list {
            List::Given(names) => names.clone(),
            List::Endpoint { .. } => Vec::new(),
        }
    }

    /// Do records arrive in parts?
    pub(super) fn merges(&self) -> bool {
        self.key.is_some()
    }

    /// The names for each request of one page.
    pub(super) fn chunks(&self, shared: &EngineContext) -> Result<Vec<Vec<String>>> {
        let names = match &self.list {
            List::Given(names) => names.clone(),
            List::Endpoint { source, path, found } => {
                // Other threads wait for the response.
                let mut found = found.lock();
                if found.is_none() {
                    let mut names = Vec::new();
                    parents::read_all(shared, source, &mut |record, _| {
                        // A record without a name is an empty list as text in the reference.
                        names.push(dpath::get(record, path).map_or_else(|| "[]".to_owned(), text_of));
                        Ok(true)
                    })?;
                    *found = Some(names);
                }
                found.clone().unwrap_or_default()
            }
        };
        let wanted = |name: &String| self.selected.as_ref().is_none_or(|selected| selected.contains(name));
        let Some(limit) = self.limit else {
            let mut all = self.always.clone();
            if self.merges() {
                all = names;
                all.extend(self.always.iter().cloned());
            } else {
                all.extend(names.into_iter().filter(wanted));
            }
            return Ok(vec![all]);
        };
        let (mut chunks, mut chunk, mut size) = (Vec::new(), self.always.clone(), 0);
        for name in names.into_iter().filter(wanted) {
            let (adds, most) = match limit {
                Limit::Names(most) => (1, most),
                // Names are separated by an escaped comma.
                Limit::Characters(most) => (name.chars().count() + 3, most),
            };
            if size + adds > most {
                chunks.push(std::mem::replace(&mut chunk, self.always.clone()));
                size = 0;
            }
            size += adds;
            chunk.push(name);
        }
        chunks.push(chunk);
        Ok(chunks)
    }

    /// The request parameter with these names.
    pub(super) fn parameter(&self, names: &[String]) -> Option<(String, Json)> {
        self.parameter.as_ref().map(|parameter| (parameter.clone(), json!(names.join(","))))
    }

    /// The key by which a record is merged with its other parts; `None` if it is complete by itself.
    pub(super) fn key(&self, record: &Json) -> Option<String> {
        let values = self.key.as_ref()?.iter().map(|field| record.get(field).filter(|value| !is_falsy(value)));
        Some(values.map(|value| value.map(text_of)).collect::<Option<Vec<_>>>()?.join(","))
    }

    /// Restricts the names to the fields that the catalog selects.
    fn select(&mut self, names: &[String], cx: &EvalContext) -> Result<()> {
        let Some(selector) = &self.selector else { return Ok(()) };
        let mut as_record = Json::Object(names.iter().map(|name| (name.clone(), json!({}))).collect());
        selector.apply(&mut as_record, &Vars::new(cx), |_| true)?;
        self.selected = Some(as_record.as_object().into_iter().flat_map(Map::keys).cloned().collect());
        Ok(())
    }
}

/// Merges another part into a record: later values win.
pub(super) fn merge(into: &mut Json, part: Json) {
    match (into, part) {
        (Json::Object(into), Json::Object(part)) => {
            for (key, value) in part {
                match into.get_mut(&key) {
                    Some(known) => merge(known, value),
                    None => drop(into.insert(key, value)),
                }
            }
        }
        (into, part) => *into = part,
    }
}

impl StreamPlan {
    /// The stream with requests for only these fields, if the manifest leaves the selection to the catalog.
    pub fn with_selected(self: Arc<Self>, names: &[String], cx: &EvalContext) -> Result<Arc<StreamPlan>> {
        let mut properties = match &self.properties {
            Some(properties) if properties.selector.is_some() => properties.clone(),
            _ => return Ok(self),
        };
        properties.select(names, cx).map_err(|fault: Fault| fault.of_stream(&self.name))?;
        Ok(Arc::new(StreamPlan { properties: Some(properties), ..StreamPlan::clone(&self) }))
    }
}
