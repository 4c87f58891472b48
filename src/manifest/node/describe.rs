//! The JSON schema of the vocabulary, for editors.
//!
//! Input: the types of `model`, each of which describes itself with what [`super::Read`] takes for it. Output: a
//! schema for each component. Called by `manifest::schema`. Where JSON Schema cannot know what the reader knows (a
//! field may come from a reference or from `$parameters`), the schema accepts: a red line is always right.

use indexmap::IndexMap;
use serde_json::{Map, Value as Json, json};

use super::component::COMMON_KEYS;
use super::{OneOrMany, Raw, Text};

/// A type that can describe what it is read from.
pub trait Describe {
    /// May the field be absent?
    const OPTIONAL: bool = false;
    /// Is it a value that `$parameters` of an outer component can give?
    const INHERITABLE: bool = true;

    /// Its schema. A choice without `type` takes the `default`, if there is one.
    fn schema(all: &mut Definitions, default: Option<&str>) -> Json;
}

/// A field of a component.
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub doc: &'static str,
    /// Its schema, described below.
    pub schema: fn(&mut Definitions, Option<&str>) -> Json,
    /// Must an author write it, because no parameter can give it?
    pub demanded: bool,
}

/// What the vocabulary's types do not say.
pub struct SchemaFacts {
    /// The type of a component that has none, by its parent's type and field.
    pub default_type: fn(&str, &str) -> Option<&'static str>,
    /// The values that a text can have, by component and field.
    pub values: fn(&str, &str) -> Option<Json>,
}

/// The schemas of all components that were described.
pub struct Definitions {
    facts: SchemaFacts,
    /// The schemas by the components' names.
    pub components: Map<String, Json>,
    demanded: IndexMap<&'static str, Vec<&'static str>>,
}

impl Definitions {
    /// None yet.
    pub fn new(facts: SchemaFacts) -> Definitions {
        Definitions { facts, components: Map::new(), demanded: IndexMap::new() }
    }

    /// A component, described once; refers to it.
    pub fn component(&mut self, name: &'static str, doc: &str, fields: &[Field], later: &[&'static str]) -> Json {
        if !self.components.contains_key(name) {
            self.components.insert(name.to_owned(), Json::Null);
            let demanded = fields.iter().filter(|field| field.demanded).map(|field| field.name).collect();
            self.demanded.insert(name, demanded);
            let schema = self.described(name, doc, fields, later);
            self.components.insert(name.to_owned(), schema);
        }
        let reference = json!({"$ref": format!("#/$defs/{name}")});
        match self.demanded.get(name) {
            // What a reference leads to has the fields that are missing here.
            Some(fields) if !fields.is_empty() => json!({
                "allOf": [reference, {"if": {"required": ["$ref"]}, "else": {"required": fields}}],
            }),
            _ => reference,
        }
    }

    fn described(&mut self, name: &'static str, doc: &str, fields: &[Field], later: &[&'static str]) -> Json {
        let mut properties = Map::new();
        properties.insert("type".into(), json!({"const": name, "description": doc.trim()}));
        for Field { name: field, doc, schema, .. } in fields {
            let default = (self.facts.default_type)(name, field);
            let mut schema = match (self.facts.values)(name, field) {
                Some(values) => anything_of([values, null()]),
                None => schema(self, default),
            };
            // A text can stand for any value by referring to it.
            schema = anything_of([schema, json!({"$ref": "#/$defs/Reference"})]);
            if let Json::Object(schema) = &mut schema {
                schema.insert("description".into(), json!(doc.trim()));
            }
            properties.insert((*field).into(), schema);
        }
        for field in later {
            let doc = "Not built yet in this version of dripfeed.";
            properties.insert((*field).into(), json!({"type": "null", "description": doc}));
        }
        for (key, schema) in own_keys() {
            properties.entry(key).or_insert(schema);
        }
        json!({
            "title": name, "description": doc.trim(), "type": "object", "properties": properties,
            // Keys that authors use for notes and anchors.
            "patternProperties": {"^([_.]|x-)": {}},
            "additionalProperties": false,
        })
    }

    /// A choice between components by their `type`.
    pub fn choice(&self, branches: Vec<(&'static str, Json)>, default: Option<&str>) -> Json {
        let names: Vec<&str> = branches.iter().map(|(name, _)| *name).collect();
        let of_default = branches.iter().find(|(name, _)| Some(*name) == default).map(|(_, schema)| schema.clone());
        let schemas: Vec<Json> = branches.into_iter().map(|(_, schema)| schema).collect();
        let typed = json!({"anyOf": [{"required": ["type"]}, {"required": ["$ref"]}]});
        let choice = json!({
            "type": "object", "properties": {"type": {"enum": names}}, "anyOf": schemas,
        });
        match of_default {
            Some(schema) => json!({"if": typed, "then": choice, "else": schema}),
            None => json!({"allOf": [choice, {"if": {"required": ["$ref"]}, "else": {"required": ["type"]}}]}),
        }
    }
}

/// The keys that every component may have.
fn own_keys() -> Map<String, Json> {
    let mut keys = Map::new();
    keys.insert(
        "$parameters".into(),
        json!({"type": "object", "description": "Values for this component and all within it, by field name."}),
    );
    keys.insert(
        "$ref".into(),
        json!({"$ref": "#/$defs/Reference", "description": "A component elsewhere in the manifest: its fields are \
                those of this one, unless they stand here too."}),
    );
    keys.insert("$comment".into(), json!({}));
    keys.extend(COMMON_KEYS.iter().filter(|key| **key != "type").map(|key| ((*key).to_owned(), json!({}))));
    keys
}

fn null() -> Json {
    json!({"type": "null"})
}

/// Either schema; nested alternatives are lifted, and what accepts everything stays alone.
fn anything_of(schemas: [Json; 2]) -> Json {
    let mut all = Vec::new();
    for schema in schemas {
        if schema == json!({}) {
            return schema;
        }
        match schema {
            Json::Object(mut map) if map.len() == 1 && map.contains_key("anyOf") => {
                if let Some(Json::Array(inner)) = map.remove("anyOf") {
                    all.extend(inner);
                }
            }
            schema if !all.contains(&schema) => all.push(schema),
            _ => {}
        }
    }
    json!({"anyOf": all})
}

impl Describe for String {
    fn schema(_: &mut Definitions, _: Option<&str>) -> Json {
        json!({"type": ["string", "number", "boolean"]})
    }
}

impl Describe for bool {
    fn schema(_: &mut Definitions, _: Option<&str>) -> Json {
        json!({"type": "boolean"})
    }
}

impl Describe for u64 {
    fn schema(_: &mut Definitions, _: Option<&str>) -> Json {
        json!({"type": "integer", "minimum": 0})
    }
}

impl Describe for f64 {
    fn schema(_: &mut Definitions, _: Option<&str>) -> Json {
        json!({"type": "number"})
    }
}

impl Describe for Json {
    fn schema(_: &mut Definitions, _: Option<&str>) -> Json {
        json!({})
    }
}

impl Describe for Text {
    fn schema(_: &mut Definitions, _: Option<&str>) -> Json {
        json!({})
    }
}

impl Describe for Raw {
    fn schema(_: &mut Definitions, _: Option<&str>) -> Json {
        json!({})
    }
}

impl<T: Describe> Describe for Option<T> {
    const OPTIONAL: bool = true;
    const INHERITABLE: bool = T::INHERITABLE;

    fn schema(all: &mut Definitions, default: Option<&str>) -> Json {
        anything_of([T::schema(all, default), null()])
    }
}

impl<T: Describe> Describe for Box<T> {
    const INHERITABLE: bool = T::INHERITABLE;

    fn schema(all: &mut Definitions, default: Option<&str>) -> Json {
        T::schema(all, default)
    }
}

impl<T: Describe> Describe for Vec<T> {
    const INHERITABLE: bool = T::INHERITABLE;

    fn schema(all: &mut Definitions, default: Option<&str>) -> Json {
        let items = T::schema(all, default);
        json!({"type": "array", "items": anything_of([items, json!({"$ref": "#/$defs/Reference"})])})
    }
}

impl<T: Describe> Describe for IndexMap<String, T> {
    const INHERITABLE: bool = T::INHERITABLE;

    fn schema(all: &mut Definitions, default: Option<&str>) -> Json {
        let values = anything_of([T::schema(all, default), json!({"$ref": "#/$defs/Reference"})]);
        let own = json!({"$parameters": {"type": "object"}, "$ref": {"$ref": "#/$defs/Reference"}});
        json!({"type": "object", "properties": own, "additionalProperties": values})
    }
}

impl<T: Describe> Describe for OneOrMany<T> {
    const INHERITABLE: bool = T::INHERITABLE;

    fn schema(all: &mut Definitions, default: Option<&str>) -> Json {
        anything_of([T::schema(all, default), Vec::<T>::schema(all, default)])
    }
}
