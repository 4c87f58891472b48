//! The JSON schema of a whole manifest, for editors.
//!
//! Input: the types of `model`. Output: the schema that `schemas/manifest.json` holds. Called by `cli` for
//! `spec --manifest`. A test holds it against every manifest of the catalog and of the tests.

use serde_json::{Map, Value as Json, json};

use super::model::{ComponentsResolver, DeclarativeSource};
use super::node::{Definitions, Describe as _, SchemaFacts};
use super::refs;

/// The title of the schema.
const TITLE: &str = "A declarative manifest of dripfeed: Airbyte's low-code vocabulary";

/// The values of fields that take no others, by component and field; `*` stands for every component.
const VALUES: &[(&str, &str, &[&str])] = &[
    ("*", "value_type", &["string", "integer", "number", "boolean"]),
    ("RequestOption", "inject_into", &["request_parameter", "header", "body_data", "body_json"]),
    ("HttpRequester", "http_method", &["GET", "POST", "PUT", "PATCH", "DELETE"]),
    (
        "HttpResponseFilter",
        "action",
        &[
            "SUCCESS",
            "FAIL",
            "RETRY",
            "IGNORE",
            "RATE_LIMITED",
            "RESET_PAGINATION",
            "REDUCE_PAGE_SIZE",
            "SPLIT_REQUEST_WINDOW",
            "REFRESH_TOKEN_THEN_RETRY",
        ],
    ),
    ("HttpResponseFilter", "failure_type", &["system_error", "config_error", "transient_error"]),
    ("PropertyChunking", "property_limit_type", &["characters", "property_count"]),
    (
        "JwtAuthenticator",
        "algorithm",
        &["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"],
    ),
];

fn values(component: &str, field: &str) -> Option<Json> {
    let mut all = VALUES.iter().filter(|(owner, name, _)| (*owner == "*" || *owner == component) && *name == field);
    let (_, _, values) = all.next()?;
    let exact = json!({"enum": values});
    // Methods may be written in lower case.
    let lower: Vec<String> = values.iter().map(|value| value.to_ascii_lowercase()).collect();
    Some(if field == "http_method" { json!({"anyOf": [exact, {"enum": lower}]}) } else { exact })
}

/// The schema of a manifest.
pub fn schema() -> Json {
    let mut all = Definitions::new(SchemaFacts { default_type: refs::default_type, values });
    let _ = DeclarativeSource::schema(&mut all, None);
    // Stream templates are read after their values are filled in; what fills them is described all the same.
    let _ = ComponentsResolver::schema(&mut all, None);
    let mut components = all.components;
    let root = components.shift_remove("DeclarativeSource").unwrap_or_default();
    let definition = definition(&components);
    components.insert(
        "Reference".into(),
        json!({"type": "string", "pattern": "^#/", "description": "A place in the manifest, as `#/definitions/name`."}),
    );
    components.insert("Definition".into(), definition);
    let mut properties = root["properties"].clone();
    let more = [
        ("version", json!({"type": "string", "description": "The version of the vocabulary, as `7.39.1`."})),
        ("definitions", of_definitions("Components to refer to with `$ref`.")),
        ("schemas", json!({"type": "object", "description": "Schemas of records to refer to with `$ref`."})),
    ];
    if let Json::Object(properties) = &mut properties {
        properties.extend(more.map(|(key, schema)| (key.to_owned(), schema)));
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": TITLE, "description": root["description"], "type": "object",
        // Authors keep at the root what they refer to.
        "properties": properties, "required": ["check"],
        "anyOf": [{"required": ["streams"]}, {"required": ["dynamic_streams"]}],
        "$defs": components,
    })
}

fn of_definitions(doc: &str) -> Json {
    json!({"type": "object", "description": doc, "additionalProperties": {"$ref": "#/$defs/Definition"}})
}

/// A definition: a component by its `type`, possibly incomplete; or a group of definitions, or any other value.
fn definition(components: &Map<String, Json>) -> Json {
    let names: Vec<&String> = components.keys().collect();
    let typed = names.iter().map(|name| {
        json!({
            "if": {"type": "object", "properties": {"type": {"const": name}}, "required": ["type"]},
            "then": {"$ref": format!("#/$defs/{name}")},
        })
    });
    let group = json!({
        "if": {"type": "object", "not": {"required": ["type"]}},
        "then": {"additionalProperties": {"$ref": "#/$defs/Definition"}},
    });
    json!({
        "properties": {"type": {"anyOf": [{"enum": names}, {}]}},
        "allOf": typed.chain([group]).collect::<Vec<Json>>(),
    })
}
