//! Secrets: where they come from and how they are kept out of what people read.
//!
//! Comes in: a config as written, with `env:NAME` and `file:PATH` references. Goes out: the config with
//! their values, and the list of texts that no log line may show. Called by `config::load`.

use serde_json::Value as Json;

use crate::fault::{Fault, Result};
use crate::percent;

/// Texts that must never be shown.
#[derive(Clone, Default)]
pub struct Secrets(Vec<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

/// Shorter texts are not hidden: hiding `x` would hide half of every line and tell the secret.
const SHORTEST: usize = 5;

impl Secrets {
    /// Adds a text.
    pub fn add(&mut self, secret: &str) {
        if secret.len() >= SHORTEST && !self.0.iter().any(|s| s == secret) {
            self.0.push(secret.into());
            // Longest first, so that a secret inside another leaves no rest.
            self.0.sort_by_key(|s| std::cmp::Reverse(s.len()));
        }
    }

    /// `text` with every secret replaced, also where it is percent-encoded.
    pub fn hide(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for secret in &self.0 {
            let quoted = percent::quote_plus(secret);
            let json = serde_json::Value::String(secret.clone()).to_string();
            let spaced = quoted.replace('+', "%20");
            for form in [secret.clone(), percent::requote(secret), quoted, spaced, json.trim_matches('"').to_owned()] {
                if out.contains(&form) {
                    out = out.replace(&form, "****");
                }
            }
        }
        out
    }

    /// Adds every value that `schema` marks `airbyte_secret`.
    pub fn add_marked(&mut self, config: &Json, schema: &Json) {
        if schema["airbyte_secret"] == Json::Bool(true) && !config.is_null() {
            self.add(config.as_str().unwrap_or(&config.to_string()));
        }
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            self.add_marked(&config[name.as_str()], inner);
        }
        for item in config.as_array().into_iter().flatten() {
            self.add_marked(item, &schema["items"]);
        }
        for choice in ["oneOf", "anyOf", "allOf"] {
            for inner in schema[choice].as_array().into_iter().flatten() {
                self.add_marked(config, inner);
            }
        }
    }
}

/// Replaces every `env:NAME` and `file:PATH` in the config; their values are secrets.
pub fn resolve(value: &mut Json, path: &str, secrets: &mut Secrets) -> Result<()> {
    match value {
        Json::String(text) => {
            let found = if let Some(name) = text.strip_prefix("env:") {
                std::env::var(name).map_err(|_| {
                    Fault::config(format!(
                        "config `{path}` refers to the environment variable {name}, which is not set"
                    ))
                    .hint(format!("set {name}, or write the value itself"))
                })?
            } else if let Some(file) = text.strip_prefix("file:") {
                let read = std::fs::read_to_string(file)
                    .map_err(|e| Fault::config(format!("config `{path}` refers to the file {file}: {e}")))?;
                read.trim_end_matches(['\n', '\r']).to_owned()
            } else {
                return Ok(());
            };
            secrets.add(&found);
            *text = found;
        }
        Json::Array(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                resolve(item, &format!("{path}[{i}]"), secrets)?;
            }
        }
        Json::Object(map) => {
            for (key, item) in map {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                resolve(item, &below, secrets)?;
            }
        }
        _ => {}
    }
    Ok(())
}
