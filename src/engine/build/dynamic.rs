//! Dynamic streams: one for each set of values from the config, the manifest or the vendor.
//!
//! Input: the definition of dynamic streams. Output: stream definitions like those in the manifest itself. Called by
//! [`super`]. The sets of values, their insertion into the template and the propagation of parameters follow
//! airbyte-cdk's component resolvers.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::Build;
use crate::base::fault::Result;
use crate::engine::parents;
use crate::engine::shape::ops;
use crate::manifest::dpath;
use crate::manifest::model::{
    ComponentMappingDefinition, ComponentsResolver, ConfigComponentsResolver, DynamicDeclarativeStream, Stream,
};
use crate::manifest::node::{Node, Place, Read as _};
use crate::manifest::refs;
use crate::manifest::template::{Template, Types, Vars};
use crate::manifest::yaml;

/// The maximum number of streams per definition.
const MOST_STREAMS: usize = 10_000;

/// Names in mapping templates.
const NAMES: &[&str] =
    &["components_values", "stream_template_config", "stream_slice", "stream_partition", "stream_interval"];

/// A compiled mapping.
struct Mapping {
    condition: Option<Template>,
    path: Vec<Template>,
    value: Template,
    types: Types,
    /// Is a text parsed as YAML?
    yaml: bool,
    /// May it create missing paths?
    makes: bool,
}

/// The resolver of a mapping: they differ slightly in the reference.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Config,
    Parametrized,
}

/// The streams of a definition, in order.
pub(super) fn streams(build: &Build<'_>, def: &DynamicDeclarativeStream) -> Result<Vec<Stream>> {
    let template = def.stream_template.node.to_json();
    let (mappings, kind) = match &def.components_resolver {
        ComponentsResolver::HttpComponentsResolver(r) => (&r.components_mapping, Kind::Http),
        ComponentsResolver::ConfigComponentsResolver(r) => (&r.components_mapping, Kind::Config),
        ComponentsResolver::ParametrizedComponentsResolver(r) => (&r.components_mapping, Kind::Parametrized),
    };
    let mappings = mappings.iter().map(|def| Mapping::compile(def, kind)).collect::<Result<Vec<_>>>()?;
    let mut out = Vec::new();
    let mut add = |values: &Json, slice: &Json| -> Result<()> {
        if out.len() >= MOST_STREAMS {
            return Err(def.at.fault(format!("the definition creates more than {MOST_STREAMS} streams")));
        }
        let mut made = template.clone();
        let extra = json!({"components_values": values, "stream_template_config": template});
        let vars = Vars { extra: Some(&extra), slice: Some(slice), ..Vars::new(build.cx) };
        for mapping in &mappings {
            mapping.apply(&mut made, &vars)?;
        }
        let parent_wins = def.use_parent_parameters.unwrap_or(true);
        let made = refs::propagate(Node::from_json(&made), parent_wins);
        let mut at = Place { location: def.stream_template.at.location.clone(), parameters: Arc::new(json!({})) };
        if let Some(parameters) = made.get("$parameters") {
            at.parameters = Arc::new(parameters.to_json());
        }
        out.push(Stream::read(&made, &at)?);
        Ok(())
    };
    match &def.components_resolver {
        ComponentsResolver::HttpComponentsResolver(resolver) => {
            let name = def.name.as_deref().unwrap_or("dynamic_stream");
            let source = build.source_of_records(&resolver.retriever, name)?;
            let shared = build
                .shared
                .ok_or_else(|| resolver.at.fault("these streams are known only from a response of the vendor"))?;
            parents::read_all(shared, &source, &mut |values, slice| add(values, slice).map(|()| true))?;
        }
        ComponentsResolver::ConfigComponentsResolver(resolver) => {
            for values in of_config(build, resolver)? {
                add(&values, &json!({}))?;
            }
        }
        ComponentsResolver::ParametrizedComponentsResolver(resolver) => {
            for values in &resolver.stream_parameters.list_of_parameters_for_stream {
                add(values, &json!({}))?;
            }
        }
    }
    Ok(out)
}

/// Every combination of the config values at the pointers; the last pointer varies fastest.
fn of_config(build: &Build<'_>, resolver: &ConfigComponentsResolver) -> Result<Vec<Json>> {
    let vars = Vars::new(build.cx);
    let mut combined = vec![Map::new()];
    for (number, config) in resolver.stream_config.0.iter().enumerate() {
        let path = config.configs_pointer.iter().map(|text| Template::compile(text, &[])?.text(&vars));
        let path = path.collect::<Result<Vec<_>>>()?;
        let found = dpath::one(&build.cx.config, &path).map_err(|several| {
            config.at.field("configs_pointer", None).fault(format!("`configs_pointer` matches {several} values"))
        })?;
        let mut values = match found {
            Some(Json::Array(items)) => items.clone(),
            Some(one) => vec![one.clone()],
            None => Vec::new(),
        };
        values.extend(config.default_values.iter().flatten().cloned());
        let mut next = Vec::with_capacity(combined.len() * values.len());
        for before in &combined {
            for (index, value) in values.iter().enumerate() {
                let mut both = before.clone();
                match value {
                    Json::Object(map) => both.extend(map.clone()),
                    other => drop(both.insert(format!("source_config_{number}"), json!([index, other]))),
                }
                next.push(both);
            }
        }
        if next.len() > MOST_STREAMS {
            return Err(config.at.fault(format!("the config creates more than {MOST_STREAMS} streams")));
        }
        combined = next;
    }
    Ok(combined.into_iter().map(Json::Object).collect())
}

impl Mapping {
    fn compile(def: &ComponentMappingDefinition, kind: Kind) -> Result<Mapping> {
        let types = ops::types_of(def.value_type.as_deref(), &def.at)?;
        let condition = def.condition.as_ref().filter(|t| !t.value.is_null() && t.value.as_str() != Some(""));
        Ok(Mapping {
            condition: condition.map(|t| Template::compile(t, NAMES)).transpose()?,
            path: def.field_path.iter().map(|t| Template::compile(t, NAMES)).collect::<Result<_>>()?,
            value: Template::compile(&def.value, NAMES)?,
            types,
            yaml: kind == Kind::Parametrized || kind == Kind::Config && types != Types::Str,
            makes: kind != Kind::Http && def.create_or_update.unwrap_or(false),
        })
    }

    /// Inserts the value into the template, at every match of the path.
    fn apply(&self, template: &mut Json, vars: &Vars<'_>) -> Result<()> {
        if let Some(condition) = &self.condition
            && !condition.truth(vars)?
        {
            return Ok(());
        }
        let path = self.path.iter().map(|t| t.text(vars)).collect::<Result<Vec<_>>>()?;
        let mut value = self.value.value(vars, self.types)?;
        if let (Json::String(text), true) = (&value, self.yaml) {
            value = match yaml::parse_yaml(text, "a value") {
                _ if text.trim().is_empty() => Json::Null,
                Ok(node) => node.to_json(),
                // Invalid YAML stays a text.
                Err(_) => value,
            };
        }
        let found = dpath::set(template, &path, &value);
        if !found && self.makes && !Node::from_json(&value).is_falsy() {
            // A scalar on the path is left unchanged.
            let _ = dpath::put(template, &path, value);
        }
        Ok(())
    }
}
