//! `config_normalization_rules`: a manifest's migrations, transformations and validations of the config.
//!
//! Input: a spec with rules, and the config. Output: the config changed in place, or the fault for a violated rule.
//! Called by `run` before anything is built. Order and interpretation are those of airbyte-cdk's `Spec`.

use serde_json::{Map, Value as Json, json};

use crate::base::config;
use crate::base::fault::{Fault, Kind, Result};
use crate::engine::shape::ops;
use crate::manifest::dpath;
use crate::manifest::model::{
    ConfigNormalizationRules, ConfigTransformation, ConfigValidator, Spec, ValidateAdheresToSchema,
};
use crate::manifest::node::Text;
use crate::manifest::template::{EvalContext, Template, Types, Vars, text_of};

fn rules(spec: Option<&Spec>) -> Option<&ConfigNormalizationRules> {
    spec?.config_normalization_rules.as_ref()
}

/// Migrates a config of an older version; returns true if it changed, so that its owner must save the new one.
pub fn migrate(spec: Option<&Spec>, cx: &mut EvalContext) -> Result<bool> {
    let before = cx.config.clone();
    for migration in rules(spec).into_iter().flat_map(|r| r.config_migrations.iter().flatten()) {
        changed(&migration.transformations, cx)?;
    }
    Ok(cx.config != before)
}

/// Transforms the config for this run only.
pub fn transform(spec: Option<&Spec>, cx: &mut EvalContext) -> Result<()> {
    let changes = rules(spec).and_then(|r| r.transformations.as_deref());
    changed(changes.unwrap_or_default(), cx)
}

/// A template that fails on a config is a fault of that config, reported before any request.
fn changed(changes: &[ConfigTransformation], cx: &mut EvalContext) -> Result<()> {
    let of_config = |fault: Fault| Fault { kind: Kind::Config, ..fault };
    changes.iter().try_for_each(|change| apply(change, cx)).map_err(of_config)
}

/// Refuses a config that violates one of the manifest's rules.
pub fn validate(spec: Option<&Spec>, cx: &EvalContext) -> Result<()> {
    for rule in rules(spec).into_iter().flat_map(|r| r.validations.iter().flatten()) {
        match rule {
            ConfigValidator::DpathValidator(rule) => {
                let nothing = EvalContext { config: json!({}), ..cx.clone() };
                let path = evaluated(&rule.field_path, &nothing)?;
                if path.is_empty() {
                    return Err(rule.at.field("field_path", None).fault("`field_path` is empty"));
                }
                let found = dpath::ways(&cx.config, &path);
                if found.len() > 1 && !path.iter().any(|segment| segment == "*") {
                    let at = rule.at.field("field_path", None);
                    return Err(at
                        .fault("`field_path` matches several values")
                        .hint("only `*` may match several values"));
                }
                for (path, value) in found {
                    let shown: Vec<String> = path.iter().map(ToString::to_string).collect();
                    adheres(value, &rule.validation_strategy, &shown.join("."))?;
                }
            }
            ConfigValidator::PredicateValidator(rule) => {
                let value = Template::compile(&rule.value, &[])?.value(&Vars::new(cx), Types::Any)?;
                adheres(&value, &rule.validation_strategy, "")?;
            }
        }
    }
    Ok(())
}

/// A value must fit the schema; a text is parsed as JSON first.
fn adheres(value: &Json, strategy: &ValidateAdheresToSchema, path: &str) -> Result<()> {
    let spelled = match value {
        Json::String(text) => serde_json::from_str(text).map_err(|_| {
            strategy
                .at
                .fault(format!("config `{path}` must hold JSON"))
                .hint("a string needs its own quotes inside the string")
        })?,
        other => other.clone(),
    };
    config::validate_by_foreign(&spelled, &strategy.base_schema, path)
}

fn evaluated(path: &[Text], cx: &EvalContext) -> Result<Vec<String>> {
    path.iter().map(|text| Template::compile(text, &[])?.text(&Vars::new(cx))).collect()
}

fn holds(condition: Option<&Text>, names: &[&str], vars: &Vars<'_>) -> Result<bool> {
    let condition = condition.filter(|t| !t.value.is_null() && t.value.as_str() != Some(""));
    condition.map_or(Ok(true), |text| Template::compile(text, names)?.truth(vars))
}

fn apply(change: &ConfigTransformation, cx: &mut EvalContext) -> Result<()> {
    match change {
        ConfigTransformation::ConfigAddFields(change) => {
            for field in &change.fields {
                let at = field.at.field("value", None);
                let path: Vec<String> = field.path.iter().map(|text| text_of(&text.value)).collect();
                let types = ops::types_of(field.value_type.as_deref(), &field.at)?;
                let value = Template::compile(&field.value, &[])?.value(&Vars::new(cx), types)?;
                let extra = json!({"value": value, "path": path});
                let vars = Vars { extra: Some(&extra), ..Vars::new(cx) };
                if holds(change.condition.as_ref(), &["value", "path"], &vars)? {
                    dpath::put(&mut cx.config, &path, value).map_err(|depth| {
                        at.fault(format!(
                            "config `{}` is a plain value and cannot have fields",
                            path[..depth].join(".")
                        ))
                    })?;
                }
            }
        }
        ConfigTransformation::ConfigRemoveFields(change) => {
            if holds(change.condition.as_ref(), &[], &Vars::new(cx))? {
                change.field_pointers.iter().for_each(|path| dpath::remove(&mut cx.config, path));
            }
        }
        ConfigTransformation::ConfigRemapField(change) => {
            let path = evaluated(&change.field_path, cx)?;
            let at = change.at.field("map", None);
            let map = change.map.as_object().ok_or_else(|| at.fault("`map` must be an object"))?;
            let mut table = Map::new();
            for (key, value) in map.iter().filter(|(key, _)| *key != "$parameters") {
                let vars = Vars::new(cx);
                let key = Template::of(&json!(key), &at, &[])?.text(&vars)?;
                table.insert(key, Template::of(value, &at, &[])?.value(&vars, Types::Any)?);
            }
            let field = path.iter().try_fold(&mut cx.config, |at, key| at.get_mut(key.as_str()));
            if let Some(field) = field
                && let Some(value) = field.as_str().and_then(|text| table.get(text))
            {
                *field = value.clone();
            }
        }
    }
    Ok(())
}
