//! A manifest's record filter and transformations: conditions, added and removed fields, changed keys.
//!
//! Input: a record as JSON with its slice. Output: whether it is kept, and the record changed in place. Called by
//! `record_writer`, `slice_reader` and `parents` for streams that need it; other streams never build the JSON of a
//! record. The rules are those of airbyte-cdk's `RecordSelector`, `AddFields` and `RemoveFields`.

use std::sync::{Arc, OnceLock};

use serde_json::Value as Json;

use super::keys::{self, Lift};
use super::normalize::normalize;
use crate::base::fault::{Fault, Result};
use crate::base::json::schema::Reader;
use crate::manifest::dpath;
use crate::manifest::model::{self, Filter, RecordSelector};
use crate::manifest::node::{Place, Text};
use crate::manifest::template::{self, EvalContext, Template, Types, Vars};

/// All operations on a record, in order.
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    filter: Option<Template>,
    ops: Vec<Op>,
    transform_first: bool,
    /// The schema that values are cast to.
    normalize: Option<Json>,
    /// The first field that was omitted from a record, because its template looks up something undefined.
    left_out: Arc<OnceLock<String>>,
}

#[derive(Debug, Clone)]
enum Op {
    Add {
        condition: Option<Template>,
        fields: Vec<Added>,
    },
    Remove(Vec<Vec<String>>),
    Lower,
    Snake,
    Replace(Template, Template),
    Flatten {
        lists: bool,
    },
    Lift(Vec<Template>, Lift),
    /// The reference's meaning of a `condition`: removes every leaf for which it holds, at any depth.
    RemoveWhere(Template),
}

#[derive(Debug, Clone)]
struct Added {
    path: Vec<Template>,
    value: Template,
    types: Types,
    /// The path, unless it depends on the record.
    place: Option<Vec<String>>,
    /// Are values at the path texts?
    is_text: bool,
}

/// Compiles a stream's selector and transformations.
pub fn build(
    selector: &RecordSelector,
    transformations: &[model::Transformation],
    client_side: bool,
    schema: &Json,
    cx: &EvalContext,
) -> Result<Pipeline> {
    let normalize = match selector.schema_normalization.as_deref() {
        None | Some("None") => None,
        Some("Default") => Some(schema.clone()),
        Some(other) => {
            let at = selector.at.field("schema_normalization", None);
            return Err(at
                .fault(format!("`schema_normalization: {other}` does not exist"))
                .hint("it can be Default or None"));
        }
    };
    let transform_first = selector.transform_before_filtering.unwrap_or(client_side);
    let plain = plain(selector.record_filter.as_ref(), transformations, cx)?;
    let mut pipeline = Pipeline { transform_first, normalize, ..plain };
    pipeline.follow_schema(schema);
    Ok(pipeline)
}

/// Compiles a filter and transformations.
pub fn plain(filter: Option<&Filter>, transformations: &[model::Transformation], cx: &EvalContext) -> Result<Pipeline> {
    let filter = filter.and_then(|Filter::RecordFilter(f)| f.condition.as_ref());
    let filter = filter
        .filter(|t| t.value != Json::String(String::new()))
        .map(|t| Template::compile(t, template::RECORD))
        .transpose()?;
    let ops = transformations.iter().map(|def| op(def, cx)).collect::<Result<_>>()?;
    Ok(Pipeline { filter, ops, ..Pipeline::default() })
}

fn op(def: &model::Transformation, cx: &EvalContext) -> Result<Op> {
    let condition = |text: &Option<Text>, names: &[&str]| {
        text.as_ref()
            .filter(|t| t.value != Json::String(String::new()))
            .map(|t| Template::compile(t, names))
            .transpose()
    };
    match def {
        model::Transformation::AddFields(def) => {
            let fields = def.fields.iter().map(|def| added(def, cx)).collect::<Result<_>>()?;
            let mut names = template::RECORD.to_vec();
            names.extend(["value", "path"]);
            Ok(Op::Add { condition: condition(&def.condition, &names)?, fields })
        }
        model::Transformation::RemoveFields(def) => {
            if let Some(condition) = condition(&def.condition, &["property"])? {
                return Ok(Op::RemoveWhere(condition));
            }
            Ok(Op::Remove(def.field_pointers.clone()))
        }
        model::Transformation::KeysToLower(_) => Ok(Op::Lower),
        model::Transformation::KeysToSnakeCase(_) => Ok(Op::Snake),
        model::Transformation::KeysReplace(def) => Ok(Op::Replace(
            Template::compile(&def.old, template::RECORD)?,
            Template::compile(&def.new, template::RECORD)?,
        )),
        model::Transformation::FlattenFields(def) => Ok(Op::Flatten { lists: def.flatten_lists.unwrap_or(true) }),
        model::Transformation::DpathFlattenFields(def) => {
            let path = def.field_path.iter().map(|t| Template::compile(t, &[])).collect::<Result<Vec<_>>>()?;
            if path.is_empty() {
                return Err(def.at.field("field_path", None).fault("`field_path` is empty"));
            }
            let text = |text: Option<&Text>| match text.filter(|t| !t.value.is_null()) {
                Some(text) => Template::compile(text, &[])?.text(&Vars::new(cx)),
                None => Ok(String::new()),
            };
            let around = def.key_transformation.as_ref();
            let lift = Lift {
                delete_origin: def.delete_origin_value.unwrap_or(false),
                replace_record: def.replace_record.unwrap_or(false),
                prefix: text(around.and_then(|k| k.prefix.as_ref()))?,
                suffix: text(around.and_then(|k| k.suffix.as_ref()))?,
            };
            Ok(Op::Lift(path, lift))
        }
    }
}

fn added(def: &model::AddedFieldDefinition, cx: &EvalContext) -> Result<Added> {
    let types = types_of(def.value_type.as_deref(), &def.at)?;
    let path = def.path.iter().map(|t| Template::compile(t, template::RECORD)).collect::<Result<Vec<_>>>()?;
    if path.is_empty() {
        return Err(def.at.fault("`path` of an added field is empty"));
    }
    let is_fixed = path.iter().all(|step| !template::RECORD.iter().any(|name| step.uses(name)));
    let place = path.iter().map(|step| step.text(&Vars::new(cx)).ok()).collect::<Option<_>>().filter(|_| is_fixed);
    let value = Template::compile(&def.value, template::RECORD)?;
    Ok(Added { path, value, types, place, is_text: false })
}

/// The literals that a `value_type` accepts.
pub fn types_of(given: Option<&str>, at: &Place) -> Result<Types> {
    Ok(match given {
        None => Types::Any,
        Some("string") => Types::Str,
        Some("integer") => Types::Int,
        Some("number") => Types::Float,
        Some("boolean") => Types::Bool,
        Some(other) => {
            let fault = at.fault(format!("`value_type: {other}` does not exist"));
            return Err(fault.hint("it can be string, integer, number or boolean"));
        }
    })
}

impl Pipeline {
    /// Is there nothing to do? Then the record's bytes are copied unchanged.
    pub fn is_empty(&self) -> bool {
        self.filter.is_none() && !self.changes()
    }

    /// Sets the schema for casts, and for the text type of added fields.
    pub fn follow_schema(&mut self, schema: &Json) {
        if let Some(to) = &mut self.normalize {
            *to = schema.clone();
        }
        for op in &mut self.ops {
            let Op::Add { fields, .. } = op else { continue };
            for field in fields {
                field.is_text = field.place.as_ref().is_some_and(|place| Reader::new(schema).is_text(place));
            }
        }
    }

    /// The first added field that a record lacks, because its template looks up something undefined.
    pub fn left_out(&self) -> Option<&str> {
        self.left_out.get().map(String::as_str)
    }

    /// Does it change records?
    pub fn changes(&self) -> bool {
        !self.ops.is_empty() || self.normalize.is_some()
    }

    /// Filters and transforms a record; returns false if it is dropped. `inside` states whether the cursor keeps it,
    /// for streams with a client-side cursor filter.
    pub fn apply(&self, record: &mut Json, vars: &Vars<'_>, inside: impl Fn(&Json) -> bool) -> Result<bool> {
        if self.transform_first {
            self.transform(record, vars)?;
        }
        if !inside(record) || !self.keeps(record, vars)? {
            return Ok(false);
        }
        if !self.transform_first {
            self.transform(record, vars)?;
        }
        if let Some(schema) = &self.normalize {
            normalize(record, schema, schema);
        }
        Ok(true)
    }

    /// Transforms a record that no filter may drop.
    pub fn apply_unfiltered(&self, record: &mut Json, vars: &Vars<'_>) -> Result<()> {
        self.transform(record, vars)?;
        if let Some(schema) = &self.normalize {
            normalize(record, schema, schema);
        }
        Ok(())
    }

    fn keeps(&self, record: &Json, vars: &Vars<'_>) -> Result<bool> {
        match &self.filter {
            Some(filter) => filter.truth(&Vars { record: Some(record), ..*vars }),
            None => Ok(true),
        }
    }

    fn transform(&self, record: &mut Json, vars: &Vars<'_>) -> Result<()> {
        for op in &self.ops {
            match op {
                Op::Add { condition, fields } => {
                    for field in fields {
                        let vars = Vars { record: Some(record), ..*vars };
                        let types = if field.is_text && field.types == Types::Any { Types::Text } else { field.types };
                        let value = defined(&field.value, &vars, types)?;
                        if let Some(condition) = condition
                            && !condition.truth(&vars)?
                        {
                            continue;
                        }
                        let path = field.path.iter().map(|t| defined(t, &vars, Types::Any));
                        let path = path.collect::<Result<Option<Vec<_>>>>()?;
                        let Some((value, path)) = value.zip(path) else {
                            self.left_out.get_or_init(|| field.value.at().location.path.to_string());
                            continue;
                        };
                        let path: Vec<String> = path.iter().map(template::text_of).collect();
                        dpath::put(record, &path, value).map_err(|depth| {
                            let way = path[..depth].join(".");
                            Fault::data(format!(
                                "`{}` cannot be added: `{way}` is a plain value and cannot have fields",
                                path.join(".")
                            ))
                            .hint("give AddFields a condition or another path")
                        })?;
                    }
                }
                Op::Lower | Op::Snake | Op::Replace(..) | Op::Flatten { .. } | Op::Lift(..) => keys(op, record, vars)?,
                Op::RemoveWhere(condition) => remove_where(record, condition, vars)?,
                Op::Remove(paths) => {
                    for path in paths {
                        dpath::remove(record, path);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The value of a template; `None` if it looks up something undefined, such as `items[0].name` of an empty list.
fn defined(template: &Template, vars: &Vars<'_>, types: Types) -> Result<Option<Json>> {
    template.value(vars, types).map(Some).or_else(|fault| match template.value_if_any(vars, types) {
        Ok(None) => Ok(None),
        _ => Err(fault),
    })
}

/// Transformations of keys, which only objects have.
fn keys(op: &Op, record: &mut Json, vars: &Vars<'_>) -> Result<()> {
    let (old, new) = match op {
        Op::Replace(old, new) => {
            let vars = Vars { record: Some(record), ..*vars };
            (old.text(&vars)?, new.text(&vars)?)
        }
        _ => Default::default(),
    };
    let Json::Object(map) = record else { return Ok(()) };
    match op {
        Op::Lower => keys::to_lower(map),
        Op::Snake => keys::rename(map, &keys::snake_case),
        Op::Replace(..) => keys::rename(map, &|key| key.replace(&old, &new)),
        Op::Flatten { lists } => keys::flatten(map, *lists),
        Op::Lift(path, lift) => {
            let path = path.iter().map(|t| t.text(vars)).collect::<Result<Vec<_>>>()?;
            keys::lift(map, &path, lift);
        }
        Op::Add { .. } | Op::Remove(_) | Op::RemoveWhere(_) => {}
    }
    Ok(())
}

/// Removes every field that is neither an object nor a list and satisfies the condition.
fn remove_where(at: &mut Json, condition: &Template, vars: &Vars<'_>) -> Result<()> {
    match at {
        Json::Object(map) => {
            let mut gone = Vec::new();
            for (key, value) in map.iter_mut() {
                if value.is_object() || value.is_array() {
                    remove_where(value, condition, vars)?;
                } else if condition.truth(&Vars { property: Some(value), ..*vars })? {
                    gone.push(key.clone());
                }
            }
            for key in gone {
                map.shift_remove(&key);
            }
        }
        Json::Array(items) => {
            for index in 0..items.len() {
                let item = &mut items[index];
                if item.is_object() || item.is_array() {
                    remove_where(item, condition, vars)?;
                } else if condition.truth(&Vars { property: Some(item), ..*vars })? {
                    dpath::drop_item(items, index);
                }
            }
        }
        _ => {}
    }
    Ok(())
}
