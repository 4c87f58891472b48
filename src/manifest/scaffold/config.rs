//! The config of a new source: its keys, their specification, the variables that hold its secrets.
//!
//! Input: the keys that a planner needs, or the specification of a built-in source. Output: the specification, the
//! config with `env:` references for secrets, and `.env.example`. Called by the planners and by `render`.

use serde_json::{Map, Value as Json, json};

use super::plan::AuthPlan;
use crate::base::config::secret::names_credential;

/// The form of a start date.
const START_PATTERN: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$";

/// The start date in a new config.
const START_DATE: &str = "2024-01-01T00:00:00Z";

/// A key of the config.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ConfigKey {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) is_secret: bool,
    /// What applies without it; a key without default is required.
    pub(crate) default: Option<String>,
    pub(crate) example: Option<String>,
    pub(crate) is_start_date: bool,
}

impl ConfigKey {
    /// A required key.
    pub(crate) fn required(name: &str, title: &str, description: &str) -> ConfigKey {
        let (name, title, description) = (name.to_owned(), title.to_owned(), description.to_owned());
        ConfigKey { name, title, description, ..ConfigKey::default() }
    }

    /// A required key that no log may show.
    pub(crate) fn secret(name: &str, title: &str, description: &str) -> ConfigKey {
        ConfigKey { is_secret: true, ..ConfigKey::required(name, title, description) }
    }

    /// The key with a default.
    pub(crate) fn or(self, default: &str) -> ConfigKey {
        ConfigKey { default: Some(default.to_owned()), ..self }
    }

    /// The key with an example.
    pub(crate) fn like(self, example: Option<&str>) -> ConfigKey {
        ConfigKey { example: example.map(str::to_owned), ..self }
    }

    /// The start date of cursors.
    pub(crate) fn start_date() -> ConfigKey {
        let key = ConfigKey::required("start_date", "Start date", "Records changed before this time are not read.");
        ConfigKey { is_start_date: true, ..key.like(Some(START_DATE)) }
    }

    fn schema(&self, order: usize) -> Json {
        let mut out = json!({"type": "string", "title": self.title, "description": self.description});
        if self.is_secret {
            out["airbyte_secret"] = json!(true);
        }
        if self.is_start_date {
            out["format"] = json!("date-time");
            out["pattern"] = json!(START_PATTERN);
        }
        if let Some(default) = &self.default {
            out["default"] = json!(default);
        }
        if let Some(example) = &self.example {
            out["examples"] = json!([example]);
        }
        out["order"] = json!(order);
        out
    }
}

/// The keys of an authenticator.
pub(crate) fn auth_keys(auth: &AuthPlan) -> Vec<ConfigKey> {
    match auth {
        AuthPlan::None => Vec::new(),
        AuthPlan::Bearer => {
            vec![ConfigKey::secret("token", "Token", "The API token, sent as `Authorization: Bearer`.")]
        }
        AuthPlan::Key { in_header, name } => {
            let place = if *in_header { "header" } else { "parameter" };
            vec![ConfigKey::secret("api_key", "API key", &format!("The API key, sent in the {place} `{name}`."))]
        }
        AuthPlan::Basic => vec![
            ConfigKey::required("username", "User name", "The user name, or what the API wants in its place."),
            ConfigKey::secret("password", "Password", "The password, or the API token in its place."),
        ],
        AuthPlan::OAuth { refreshes, .. } => {
            let mut keys = vec![
                ConfigKey::required("client_id", "Client id", "The id of the OAuth application."),
                ConfigKey::secret("client_secret", "Client secret", "The secret of the OAuth application."),
            ];
            if *refreshes {
                let what = "The refresh token that the account's consent gave.";
                keys.push(ConfigKey::secret("refresh_token", "Refresh token", what));
            }
            keys
        }
    }
}

/// The schema of the config.
pub(crate) fn specification(title: &str, keys: &[ConfigKey]) -> Json {
    let required: Vec<&str> = keys.iter().filter(|key| key.default.is_none()).map(|key| &*key.name).collect();
    let properties: Map<String, Json> =
        keys.iter().enumerate().map(|(order, key)| (key.name.clone(), key.schema(order))).collect();
    let mut out = json!({
        "$schema": "http://json-schema.org/draft-07/schema#", "title": title, "type": "object",
        "additionalProperties": true,
    });
    if !required.is_empty() {
        out["required"] = json!(required);
    }
    out["properties"] = Json::Object(properties);
    out
}

/// A config with the variables that it refers to.
#[derive(Debug, Default)]
pub(crate) struct NewConfig {
    values: Map<String, Json>,
    /// Name and comment of each variable.
    variables: Vec<(String, String)>,
    /// The keys whose values only the user knows, apart from secrets.
    open: Vec<String>,
}

/// The variable of a config key.
fn variable(source: &str, path: &[&str]) -> String {
    let upper = |text: &str| text.to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let name = upper(source);
    let name = if name.starts_with(|c: char| c.is_ascii_digit()) { format!("API_{name}") } else { name };
    format!("{name}_{}", upper(path.last().copied().unwrap_or_default()))
}

impl NewConfig {
    /// The config of a planned source.
    pub(crate) fn of_keys(source: &str, keys: &[ConfigKey]) -> NewConfig {
        let mut out = NewConfig::default();
        for key in keys {
            let value = match (&key.default, &key.example) {
                (Some(default), _) => json!(default),
                (None, Some(example)) if key.is_start_date => json!(example),
                _ if key.is_secret => out.refer(source, &[&*key.name], &key.description),
                (None, example) => out.open(&[&*key.name], example.as_deref()),
            };
            out.values.insert(key.name.clone(), value);
        }
        out.with_tenant(source)
    }

    /// The config of a built-in source: what its specification requires.
    pub(crate) fn of_specification(source: &str, schema: &Json) -> NewConfig {
        let mut out = NewConfig::default();
        let mut path = Vec::new();
        if let Json::Object(values) = out.required(source, schema, &mut path) {
            out.values = values;
        }
        out.with_tenant(source)
    }

    fn with_tenant(mut self, source: &str) -> NewConfig {
        self.values.insert("dripfeed".to_owned(), json!({"tenant": source}));
        self
    }

    /// A reference to a variable, which is noted.
    fn refer(&mut self, source: &str, path: &[&str], what: &str) -> Json {
        let name = variable(source, path);
        let what = format!("{what} The config's key `{}`.", path.join("."));
        self.variables.push((name.clone(), what));
        json!(format!("env:{name}"))
    }

    /// The placeholder of a value that is no secret, which is noted.
    fn open(&mut self, path: &[&str], example: Option<&str>) -> Json {
        self.open.push(path.join("."));
        let name = path.last().copied().unwrap_or_default();
        example.map_or_else(|| json!(format!("<{name}>")), |example| json!(example))
    }

    /// The values of an object that its schema requires, of the first alternative where there are several.
    fn required<'s>(&mut self, source: &str, schema: &'s Json, path: &mut Vec<&'s str>) -> Json {
        let branch = ["oneOf", "anyOf"].iter().find_map(|key| schema[*key].get(0));
        let mut out = Map::new();
        for part in std::iter::once(schema).chain(branch) {
            let required: Vec<&str> =
                part["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
            // An alternative may require a key that is declared beside it.
            let declared = [&part["properties"], &schema["properties"]];
            for key in required {
                let Some(inner) = declared.iter().find_map(|all| all.get(key)) else { continue };
                let key = inner_key(declared, key);
                path.push(key);
                let value = self.value(source, inner, path);
                path.pop();
                out.insert(key.to_owned(), value);
            }
        }
        Json::Object(out)
    }

    fn value<'s>(&mut self, source: &str, schema: &'s Json, path: &mut Vec<&'s str>) -> Json {
        if let Some(value) = [&schema["const"], &schema["default"]].into_iter().find(|value| !value.is_null()) {
            return value.clone();
        }
        let is_object = schema["type"] == "object" || schema["properties"].is_object() || schema["oneOf"].is_array();
        if is_object {
            return self.required(source, schema, path);
        }
        let is_named = || schema["type"] == "string" && path.last().is_some_and(|name| names_credential(name));
        if schema["airbyte_secret"] == json!(true) || is_named() {
            let what = schema["description"].as_str().or(schema["title"].as_str()).unwrap_or("A value.").to_owned();
            return self.refer(source, path, &what);
        }
        let example = [&schema["examples"][0], &schema["enum"][0]].into_iter().find(|value| !value.is_null());
        if schema["type"] == "string" && schema["format"] != "date-time" {
            return self.open(path, example.and_then(Json::as_str));
        }
        example.cloned().unwrap_or_else(|| if schema["type"] == "array" { json!([]) } else { json!("") })
    }

    /// The keys that the user must fill in, apart from secrets.
    pub(crate) fn open_keys(&self) -> Vec<String> {
        self.open.clone()
    }

    /// The config as a file.
    pub(crate) fn json(&self) -> String {
        let text = serde_json::to_string_pretty(&self.values).unwrap_or_default();
        format!("{text}\n")
    }

    /// `.env.example`: each variable with a comment.
    pub(crate) fn env_example(&self, source: &str) -> String {
        let mut out =
            format!("# Copy this file to `.env` and fill it in. `{source}.json` refers to these variables.\n");
        for (name, what) in &self.variables {
            let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
            out += &format!("\n# {what}\n{name}=\n");
        }
        out
    }
}

/// The key as it is borrowed from the schema.
fn inner_key<'s>(declared: [&'s Json; 2], key: &str) -> &'s str {
    let keys = declared.into_iter().filter_map(Json::as_object).flat_map(Map::keys);
    keys.map(String::as_str).find(|name| *name == key).unwrap_or_default()
}
