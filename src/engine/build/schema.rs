//! Schemas from the vendor: a `DynamicSchemaLoader`.
//!
//! Input: the definition; then the vendor's description of its fields. Output: a JSON schema. Called by `build`, and
//! by `run` when a schema is needed. The types and their lookup are those of airbyte-cdk.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::{Build, StreamPlan};
use crate::base::fault::{Fault, Result};
use crate::engine::context::EngineContext;
use crate::engine::parents;
use crate::engine::shape::ops::{self, Pipeline};
use crate::manifest::dpath;
use crate::manifest::model::{DynamicSchemaLoader, Retriever, TypesMap};
use crate::manifest::node::{Place, Text};
use crate::manifest::template::{Template, Vars};

/// The source of a schema.
#[derive(Debug, Clone)]
pub struct SchemaSource {
    records: Arc<StreamPlan>,
    fields: Vec<String>,
    key: Vec<String>,
    kind: Vec<String>,
    types: Vec<(TypesMap, Option<Template>)>,
    filter: Pipeline,
    transformations: Pipeline,
    at: Place,
}

impl SchemaSource {
    pub(super) fn build(build: &Build<'_>, def: &DynamicSchemaLoader, name: &str) -> Result<SchemaSource> {
        let vars = Vars::new(build.cx);
        let path = |texts: Option<&Vec<Text>>| -> Result<Vec<String>> {
            texts.into_iter().flatten().map(|text| Template::compile(text, &[])?.text(&vars)).collect()
        };
        let identifier = &def.schema_type_identifier;
        let types = identifier.types_mapping.iter().flatten().map(|map| {
            complex_is_a_list(&map.target_type, &map.at)?;
            let condition = map.condition.as_ref().map(|c| Template::compile(c, &["raw_schema"])).transpose()?;
            Ok((map.clone(), condition))
        });
        Ok(SchemaSource {
            records: Arc::new(build.source_of_records(&undivided(&def.retriever), name)?),
            fields: path(identifier.schema_pointer.as_ref())?,
            key: path(Some(&identifier.key_pointer))?,
            kind: path(identifier.type_pointer.as_ref())?,
            types: types.collect::<Result<_>>()?,
            filter: ops::plain(def.schema_filter.as_ref(), &[], build.cx)?,
            transformations: ops::plain(None, def.schema_transformations.as_deref().unwrap_or_default(), build.cx)?,
            at: def.at.clone(),
        })
    }

    /// Sends the request, and builds a schema from the first response.
    fn ask(&self, shared: &EngineContext) -> Result<Json> {
        let mut first = None;
        parents::read_all(shared, &self.records, &mut |record, _| {
            first = Some(record.clone());
            Ok(false)
        })?;
        let mut properties = json!({});
        if let Some(described) = first {
            let bad = |what: &str| {
                Fault::data(format!("the vendor's description of its fields {what}")).at(&self.at.location)
            };
            let fields = match dpath::get(&described, &self.fields) {
                Some(Json::Array(fields)) => fields.clone(),
                Some(Json::Object(fields)) => fields.keys().map(|key| json!(key)).collect(),
                _ => return Err(bad("is not where `schema_pointer` says")),
            };
            for field in &fields {
                let key = dpath::get(field, &self.key)
                    .and_then(Json::as_str)
                    .ok_or_else(|| bad("has a name that is not a string"))?;
                let kind = if self.kind.is_empty() { None } else { dpath::get(field, &self.kind) };
                let kind = self.kind_of(field, kind.unwrap_or(&json!("string")), shared)?;
                let vars = Vars::new(&shared.cx);
                let mut one = json!({key: kind});
                if self.filter.apply(&mut one, &vars, |_| true)?
                    && let (Json::Object(properties), Json::Object(one)) = (&mut properties, one)
                {
                    properties.extend(one);
                }
            }
            self.transformations.apply(&mut properties, &Vars::new(&shared.cx), |_| true)?;
        }
        Ok(json!({
            "$schema": "https://json-schema.org/draft-07/schema#", "type": "object", "additionalProperties": true,
            "properties": properties,
        }))
    }

    /// The schema of a field with a given type of the vendor.
    fn kind_of(&self, field: &Json, kind: &Json, shared: &EngineContext) -> Result<Json> {
        let extra = Json::Object(Map::from_iter([("raw_schema".to_owned(), field.clone())]));
        let vars = Vars { extra: Some(&extra), ..Vars::new(&shared.cx) };
        for (map, condition) in &self.types {
            let holds = condition.as_ref().map_or(Ok(true), |c| c.truth(&vars))?;
            if holds && map.current_type == *kind {
                return self.named(&map.target_type);
            }
        }
        self.named(kind)
    }

    /// The schema of one of Airbyte's types, of a union of two, or of a list.
    fn named(&self, kind: &Json) -> Result<Json> {
        let nullable = |kind: &str| json!({"type": ["null", kind]});
        let with = |format: &str, more: Option<&str>| {
            let mut schema = json!({"type": ["null", "string"], "format": format});
            if let Some(more) = more {
                schema["airbyte_type"] = json!(more);
            }
            schema
        };
        Ok(match kind {
            Json::String(name) => match name.as_str() {
                "string" | "boolean" | "integer" | "number" | "array" | "object" => nullable(name),
                "date" => with("date", None),
                "timestamp_without_timezone" => with("date-time", Some("timestamp_without_timezone")),
                "timestamp_with_timezone" => with("date-time", None),
                "time_without_timezone" => with("time", Some("time_without_timezone")),
                "time_with_timezone" => with("time", Some("time_with_timezone")),
                other => {
                    return Err(Fault::data(format!("the vendor describes a field of the type `{other}`"))
                        .at(&self.at.location)
                        .hint("map it to an Airbyte type in `types_mapping`"));
                }
            },
            Json::Array(two) if two.len() == 2 => json!({"oneOf": [self.named(&two[0])?, self.named(&two[1])?]}),
            Json::Object(complex) => {
                let mut schema = self.named(complex.get("field_type").unwrap_or(&Json::Null))?;
                if let Some(items) = complex.get("items").filter(|items| !items.is_null()) {
                    schema["items"] = self.named(items)?;
                }
                schema
            }
            _ => return Err(Fault::data("the vendor describes a field without a type").at(&self.at.location)),
        })
    }
}

/// The retriever without partitions: the fields are described only once.
fn undivided(retriever: &Retriever) -> Retriever {
    let mut retriever = retriever.clone();
    match &mut retriever {
        Retriever::SimpleRetriever(def) => def.partition_router = None,
        Retriever::AsyncRetriever(def) => def.partition_router = None,
    }
    retriever
}

/// Only a list has items.
fn complex_is_a_list(kind: &Json, at: &Place) -> Result<()> {
    match kind.get("items").filter(|items| !items.is_null()) {
        Some(_) if kind["field_type"] != "array" => Err(at.fault("`items` needs `field_type: array`")),
        Some(items) => complex_is_a_list(items, at),
        None => Ok(()),
    }
}

impl StreamPlan {
    /// The stream with its schema, which is requested from the vendor if the manifest defines that.
    pub fn with_schema(self: &Arc<Self>, shared: &EngineContext) -> Result<Arc<StreamPlan>> {
        let Some(source) = &self.schema_source else { return Ok(self.clone()) };
        let mut schema = source.ask(shared).map_err(|fault| fault.of_stream(&self.name))?;
        // In combination with other loaders it adds missing properties.
        if let Some(own) = self.schema["properties"].as_object().filter(|own| !own.is_empty()) {
            let mut properties = schema["properties"].take();
            if let Some(all) = properties.as_object_mut() {
                all.extend(own.clone());
            }
            schema = self.schema.clone();
            schema["properties"] = properties;
        }
        let mut stream = StreamPlan::clone(self);
        stream.shape.follow_schema(&schema);
        stream.schema = schema;
        Ok(Arc::new(stream))
    }
}
