//! Warns of config keys that templates read but the spec does not declare.
//!
//! Input: the manifest's tree, its templates, the paths that select authenticators, and its connection specification.
//! Output: a warning for each such key, with the location that reads it. Called by [`super::examine`].

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::super::node::{Node, NodeKind, Place};
use crate::base::fault::{Fault, did_you_mean};

/// The maximum nesting of a specification that is checked.
const MAX_DEPTH: usize = 20;
/// The default config keys for a login's tokens.
const TOKENS: [&str; 3] = ["access_token", "refresh_token", "token_expiry_date"];

/// A path of keys into the config.
type KeyPath = Vec<String>;

/// A key of the config that the manifest reads and its spec does not declare.
#[derive(Debug, Clone)]
pub struct UndeclaredKey {
    /// The key's path in the config.
    pub path: Vec<String>,
    /// The warning, at the place that reads the key.
    pub warning: Fault,
}

/// Does a text, such as a whole manifest, seem to read such a key? It costs little; what it finds is found again.
pub(super) fn suspects(text: &str, specification: &Json) -> bool {
    paths_of(text).iter().any(|path| !path[0].starts_with("__") && missing(specification, path).is_some())
}

/// Each undeclared key that a template reads or that selects an authenticator.
pub(super) fn undeclared(
    root: &Node,
    templates: &[(String, Place)],
    selections: &[(KeyPath, Place)],
    specification: &Json,
) -> Vec<UndeclaredKey> {
    let mut written = Vec::new();
    written_paths(root, &mut written);
    let read = templates
        .iter()
        .flat_map(|(template, at)| paths_of(template).into_iter().map(move |path| (path, at, "the template reads")));
    let selected = selections.iter().filter(|(path, _)| !path.is_empty());
    let selected = selected.map(|(path, at)| (path.clone(), at, "the authenticator is selected by"));
    let mut out = Vec::new();
    for (path, at, what) in read.chain(selected) {
        // A specification does not declare the platform's own keys.
        if path[0].starts_with("__") || written.iter().any(|known| known.starts_with(&path) || path.starts_with(known))
        {
            continue;
        }
        let Some((depth, known)) = missing(specification, &path) else { continue };
        let shown = path[..=depth].join("']['");
        let fault = at.fault(format!("{what} `config['{shown}']`, which the spec does not declare"));
        let warning = match did_you_mean(&path[depth], known.iter().map(String::as_str)) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault.hint("add it to `spec.connection_specification`, or correct the name"),
        };
        out.push(UndeclaredKey { path: path[..=depth].to_vec(), warning });
    }
    out
}

/// The paths that the manifest, or its login, writes into the config.
fn written_paths(node: &Node, out: &mut Vec<KeyPath>) {
    let texts = |node: &Node| -> KeyPath {
        let NodeKind::Seq(items) = &node.kind else { return Vec::new() };
        items.iter().map_while(Node::as_str).filter(|text| !text.contains("{{")).map(str::to_owned).collect()
    };
    match &node.kind {
        NodeKind::Seq(items) => items.iter().for_each(|item| written_paths(item, out)),
        NodeKind::Map(map) => {
            if node.get("type").and_then(Node::as_str) == Some("ConfigAddFields")
                && let Some(NodeKind::Seq(fields)) = node.get("fields").map(|fields| &fields.kind)
            {
                out.extend(fields.iter().filter_map(|field| field.get("path")).map(texts));
            }
            for (key, value) in map {
                if key.ends_with("_config_path") || key == "path_in_connector_config" {
                    out.push(texts(value));
                }
                if key == "refresh_token_updater" {
                    out.extend(TOKENS.map(|token| vec!["credentials".to_owned(), token.to_owned()]));
                }
                written_paths(value, out);
            }
        }
        NodeKind::Scalar(_) => {}
    }
    out.retain(|path| !path.is_empty());
}

/// The depth at which a path leaves the specification, with the keys declared there; `None` if the whole path is
/// declared.
fn missing(specification: &Json, path: &[String]) -> Option<(usize, BTreeSet<String>)> {
    let mut level = Vec::new();
    alternatives(specification, specification, 0, &mut level);
    for (depth, key) in path.iter().enumerate() {
        let known: BTreeSet<String> = level
            .iter()
            .filter_map(|schema| schema["properties"].as_object())
            .flat_map(|all| all.keys().cloned())
            .collect();
        let open =
            |schema: &&Json| schema["patternProperties"].is_object() || schema["additionalProperties"].is_object();
        // An object without declared keys may contain any.
        if level.iter().any(open) || depth > 0 && known.is_empty() {
            return None;
        }
        if !known.contains(key) {
            return Some((depth, known));
        }
        let mut next = Vec::new();
        for schema in level.iter().filter_map(|schema| schema["properties"].get(key)) {
            alternatives(specification, schema, 0, &mut next);
        }
        level = next;
    }
    None
}

/// A schema with all its alternatives and extensions.
fn alternatives<'s>(root: &'s Json, schema: &'s Json, depth: usize, out: &mut Vec<&'s Json>) {
    if depth > MAX_DEPTH {
        return;
    }
    out.push(schema);
    let lists = ["oneOf", "anyOf", "allOf"].into_iter().filter_map(|key| schema[key].as_array()).flatten();
    let single = ["if", "then", "else"].into_iter().filter_map(|key| schema.get(key));
    let dependent = ["dependencies", "dependentSchemas"].into_iter().filter_map(|key| schema[key].as_object());
    let target = schema["$ref"].as_str().and_then(|path| path.strip_prefix('#')).and_then(|path| root.pointer(path));
    for other in lists.chain(single).chain(dependent.flat_map(|all| all.values())).chain(target) {
        alternatives(root, other, depth + 1, out);
    }
}

/// The config keys that a template reads, each as a path: `config['a'].b` is `a`, `b`.
fn paths_of(template: &str) -> Vec<KeyPath> {
    let mut out = Vec::new();
    for code in template.split("{{").flat_map(|part| part.split("{%")).skip(1) {
        let code = code.split("}}").next().and_then(|code| code.split("%}").next()).unwrap_or_default();
        for (at, found) in code.match_indices("config") {
            let within = |c: char| c.is_alphanumeric() || "_.'\"".contains(c);
            if !code[..at].ends_with(within) {
                out.push(keys_of(&code[at + found.len()..]));
            }
        }
    }
    out.retain(|path| !path.is_empty());
    out
}

/// The lookups by constant keys at the start of a text.
fn keys_of(mut rest: &str) -> KeyPath {
    let mut path = Vec::new();
    loop {
        rest = rest.trim_start();
        let (key, after) = if let Some(inner) = rest.strip_prefix('[') {
            let Some((key, after)) = quoted(inner) else { return path };
            let Some(after) = after.strip_prefix(']') else { return path };
            (key, after)
        } else if let Some(inner) = rest.strip_prefix(".get(") {
            let Some((key, after)) = quoted(inner) else { return path };
            // The default value is not checked.
            (key, after.strip_prefix(')').unwrap_or_default())
        } else if let Some(inner) = rest.strip_prefix('.') {
            let end = inner.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(inner.len());
            let (key, after) = inner.split_at(end);
            if key.is_empty() || after.trim_start().starts_with('(') {
                return path;
            }
            (key, after)
        } else {
            return path;
        };
        path.push(key.to_owned());
        rest = after;
    }
}

/// A quoted text, and the rest after it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (inner, after) = text[1..].split_once(quote)?;
    Some((inner, after.trim_start()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_read_off_every_spelling() {
        let cases = [
            ("{{ config['a'] }}", vec!["a"]),
            ("{{ config[\"a\"]['b'] }}", vec!["a", "b"]),
            ("{{ config.a.b | upper }}", vec!["a", "b"]),
            ("{{ config.get('a', config['c']) }}", vec!["a", "c"]),
            ("{{ config.get('a').get('b') }}", vec!["a", "b"]),
            ("{% if config['a'] %}x{% endif %}", vec!["a"]),
            ("{{ config.items() }}{{ config[name] }}", vec![]),
            ("https://x/config.json{{ stream_config.a }}{{ 'config.b' }}", vec![]),
        ];
        for (template, keys) in cases {
            assert_eq!(paths_of(template).concat(), keys, "{template}");
        }
    }

    #[test]
    fn a_key_is_declared_wherever_its_specification_may_stand() {
        let specification = json!({
            "properties": {
                "url": {"type": "string"},
                "free": {"type": "object"},
                "credentials": {"oneOf": [
                    {"properties": {"token": {"type": "string"}}},
                    {"$ref": "#/definitions/key"},
                ]},
            },
            "allOf": [{"properties": {"more": {"type": "string"}}}],
            "definitions": {"key": {"properties": {"key": {"type": "string"}}}},
        });
        let declared: [&[&str]; 6] =
            [&["url"], &["more"], &["free", "x"], &["credentials"], &["credentials", "token"], &["credentials", "key"]];
        for path in declared {
            assert_eq!(missing(&specification, &path.iter().map(|k| (*k).to_owned()).collect::<Vec<_>>()), None);
        }
        for (path, at) in [(vec!["uri"], 0), (vec!["credentials", "tokn"], 1)] {
            let path: Vec<String> = path.iter().map(|k| (*k).to_owned()).collect();
            assert_eq!(missing(&specification, &path).map(|(depth, _)| depth), Some(at));
        }
    }
}
