//! Secrets: how they are kept out of what people read.
//!
//! Input: values of a config, and tokens that came during a run. Output: texts without them. Called by
//! `config::load`, by `references`, which adds every value that it finds, and by the log.

use std::collections::VecDeque;

use serde_json::Value as Json;

use crate::base::percent;

/// Texts that must never be shown.
#[derive(Clone, Default)]
pub struct Secrets {
    /// The longest first, so that a secret inside another leaves no rest.
    texts: Vec<String>,
    /// Secrets that came during the run, the oldest first.
    learned: VecDeque<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.texts.len())
    }
}

/// The maximum number of tokens of this run that are redacted: older ones are no longer in use.
const LEARNED: usize = 32;

/// The beginning of a secret is hidden from so many characters on, where a text was cut short inside of it.
const BEGINNING: usize = 12;

/// Shorter texts are not hidden: hiding `x` would hide half of every line and tell the secret.
const SHORTEST: usize = 5;

impl Secrets {
    /// Adds a text.
    pub fn add(&mut self, secret: &str) {
        if secret.len() >= SHORTEST && !self.texts.iter().any(|s| s == secret) {
            self.texts.push(secret.into());
            self.texts.sort_by_key(|s| std::cmp::Reverse(s.len()));
        }
    }

    /// Adds a token that came during the run.
    pub fn learn(&mut self, token: &str) {
        if self.texts.iter().any(|s| s == token) {
            return;
        }
        self.add(token);
        self.learned.push_back(token.into());
        if self.learned.len() > LEARNED
            && let Some(oldest) = self.learned.pop_front()
        {
            self.texts.retain(|s| *s != oldest);
        }
    }

    /// `text` with every secret replaced, also where it is percent-encoded.
    pub fn hide(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for secret in &self.texts {
            let quoted = percent::quote_plus(secret);
            let json = serde_json::Value::String(secret.clone()).to_string();
            let spaced = quoted.replace('+', "%20");
            for form in [secret.clone(), percent::requote(secret), quoted, spaced, json.trim_matches('"').to_owned()] {
                if out.contains(&form) {
                    out = out.replace(&form, "****");
                }
            }
            hide_beginning(&mut out, secret);
        }
        out
    }

    /// Adds every text of the config with the name of a credential: a manifest without a specification marks none.
    pub fn add_named(&mut self, config: &Json) {
        match config {
            Json::Object(map) => {
                for (name, value) in map {
                    match value {
                        Json::String(text) if names_credential(name) => self.add(text),
                        value => self.add_named(value),
                    }
                }
            }
            Json::Array(items) => items.iter().for_each(|item| self.add_named(item)),
            _ => {}
        }
    }

    /// Adds every value that `schema` marks `airbyte_secret`.
    pub fn add_marked(&mut self, config: &Json, schema: &Json) {
        for (_, secret) in marked(config, schema) {
            self.add(&secret);
        }
    }
}

/// Words in the names of fields with credentials, in lower case.
const CREDENTIALS: [&str; 9] =
    ["token", "secret", "password", "passwd", "api_key", "apikey", "api-key", "signature", "authorization"];
/// Words in the names of fields for paging, which are no credentials although they have such a word.
const PAGING: [&str; 5] = ["page", "next", "cursor", "continu", "sync"];

/// Is a field with this name likely to hold a credential?
pub fn names_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    (has(&CREDENTIALS) || ["key", "auth", "sig"].contains(&name.as_str())) && !has(&PAGING)
}

/// Every value that `schema` marks `airbyte_secret`, with its path.
pub fn marked(config: &Json, schema: &Json) -> Vec<(String, String)> {
    fn walk(config: &Json, schema: &Json, path: &str, out: &mut Vec<(String, String)>) {
        if schema["airbyte_secret"] == Json::Bool(true) && !config.is_null() {
            out.push((path.to_owned(), config.as_str().map_or_else(|| config.to_string(), str::to_owned)));
        }
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            walk(&config[name.as_str()], inner, &below, out);
        }
        for item in config.as_array().into_iter().flatten() {
            walk(item, &schema["items"], path, out);
        }
        for choice in ["oneOf", "anyOf", "allOf"] {
            for inner in schema[choice].as_array().into_iter().flatten() {
                walk(config, inner, path, out);
            }
        }
    }
    let mut out = Vec::new();
    walk(config, schema, "", &mut out);
    out
}

/// Replaces what a text that was cut short still shows of a secret.
fn hide_beginning(text: &mut String, secret: &str) {
    let Some((length, _)) = secret.char_indices().nth(BEGINNING) else { return };
    let mut from = 0;
    while let Some(found) = text[from..].find(&secret[..length]).map(|at| from + at) {
        let same = text[found..].chars().zip(secret.chars()).take_while(|(a, b)| a == b);
        let end = found + same.map(|(c, _)| c.len_utf8()).sum::<usize>();
        text.replace_range(found..end, "****");
        from = found + 4;
    }
}

#[cfg(test)]
mod tests {
    use super::names_credential;

    #[test]
    fn credentials_are_known_by_name_and_page_tokens_are_none() {
        for name in ["api_key", "access_token", "X-Api-Key", "client_secret", "key"] {
            assert!(names_credential(name), "{name}");
        }
        for name in ["page_token", "nextPageToken", "next_token", "sync_token", "sort_key", "limit"] {
            assert!(!names_credential(name), "{name}");
        }
    }
}
