//! Transforms a record's keys: changes case, replaces texts, flattens nested objects.
//!
//! Input: a record as a JSON object. Output: the same, changed in place. Called by [`super::ops`]. The rules are
//! those of airbyte-cdk's `KeysToLower`, `KeysToSnakeCase`, `KeysReplace`, `FlattenFields` and `DpathFlattenFields`:
//! if two keys become equal, the later value wins.

use serde_json::{Map, Value as Json};

/// Converts top-level keys to lower case. The reference randomizes their order; here it stays.
pub(super) fn to_lower(record: &mut Map<String, Json>) {
    *record = std::mem::take(record).into_iter().map(|(key, value)| (key.to_lowercase(), value)).collect();
}

/// Renames every key of nested objects (but not inside lists) with `rename`.
pub(super) fn rename(record: &mut Map<String, Json>, rename: &dyn Fn(&str) -> String) {
    let renamed = std::mem::take(record).into_iter().map(|(key, mut value)| {
        if let Json::Object(inner) = &mut value {
            self::rename(inner, rename);
        }
        (rename(&key), value)
    });
    *record = renamed.collect();
}

/// Converts `createdAt 2` to `created_at_2`: ASCII words and numbers in lower case, separated by `_`; other
/// characters matter only at the ends.
pub(super) fn snake_case(key: &str) -> String {
    let ascii = any_ascii::any_ascii(key);
    let mut tokens: Vec<&str> = Vec::new();
    let mut rest = ascii.as_str();
    while let Some(first) = rest.bytes().next() {
        let run = |text: &str, of: fn(&u8) -> bool| text.bytes().take_while(of).count();
        let (length, token) = if first.is_ascii_uppercase() {
            let upper = run(rest, u8::is_ascii_uppercase);
            (upper + run(&rest[upper..], u8::is_ascii_lowercase), true)
        } else if first.is_ascii_lowercase() {
            (run(rest, u8::is_ascii_lowercase), true)
        } else if first.is_ascii_digit() {
            (run(rest, u8::is_ascii_digit), true)
        } else {
            (run(rest, |b| !b.is_ascii_alphanumeric()), false)
        };
        tokens.push(if token { &rest[..length] } else { "" });
        rest = &rest[length..];
    }
    if tokens.len() >= 3 {
        let last = tokens.len() - 1;
        let mut at = 0;
        tokens.retain(|token| {
            at += 1;
            !token.is_empty() || at == 1 || at == last + 1
        });
    }
    if tokens.first().is_some_and(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit())) {
        tokens.insert(0, "");
    }
    tokens.join("_").to_lowercase()
}

/// Moves every leaf to the top level, under its own key; under `parent.key` if that is taken, and after a list. The
/// reference uses a stack, which reverses the order of keys and drops empty objects.
pub(super) fn flatten(record: &mut Map<String, Json>, lists: bool) {
    let mut stack = vec![("_".to_owned(), Json::Object(std::mem::take(record)))];
    let mut with_parent = false;
    while let Some((name, value)) = stack.pop() {
        match value {
            Json::Object(map) => {
                for (key, inner) in map {
                    let taken = with_parent || record.contains_key(&key);
                    stack.push((if taken { format!("{name}.{key}") } else { key }, inner));
                }
            }
            Json::Array(items) if lists => {
                for (index, item) in items.into_iter().enumerate() {
                    with_parent = true;
                    stack.push((format!("{name}.{index}"), item));
                }
            }
            leaf => drop(record.insert(name, leaf)),
        }
    }
}

/// Options for lifting the object at a path.
#[derive(Debug, Clone, Default)]
pub(super) struct Lift {
    /// Removes the object from its original place.
    pub(super) delete_origin: bool,
    /// Replaces the record with the object.
    pub(super) replace_record: bool,
    /// The prefix of its keys.
    pub(super) prefix: String,
    /// The suffix of its keys.
    pub(super) suffix: String,
}

/// Copies the keys of the object at `path` to the top level, unless one of them is taken. `*` matches any key; the
/// first match counts.
pub(super) fn lift(record: &mut Map<String, Json>, path: &[String], lift: &Lift) {
    let Some(found) = find(record, path) else { return };
    let named = found.iter().map(|(key, value)| (format!("{}{key}{}", lift.prefix, lift.suffix), value.clone()));
    let named: Map<String, Json> = named.collect();
    if lift.replace_record && !named.is_empty() {
        *record = named;
        return;
    }
    if named.keys().any(|key| record.contains_key(key)) {
        return;
    }
    if lift.delete_origin {
        let mut whole = Json::Object(std::mem::take(record));
        crate::manifest::dpath::remove(&mut whole, path);
        if let Json::Object(map) = whole {
            *record = map;
        }
    }
    record.extend(named);
}

fn find<'r>(record: &'r Map<String, Json>, path: &[String]) -> Option<&'r Map<String, Json>> {
    let (first, rest) = path.split_first()?;
    let mut at: Vec<&Json> = children(record.get(first), first, record.values());
    for step in rest {
        at = at
            .into_iter()
            .flat_map(|value| match value {
                Json::Object(map) => children(map.get(step), step, map.values()),
                Json::Array(items) => {
                    children(step.parse::<usize>().ok().and_then(|i| items.get(i)), step, items.iter())
                }
                _ => Vec::new(),
            })
            .collect();
    }
    at.first()?.as_object()
}

fn children<'r>(named: Option<&'r Json>, step: &str, all: impl Iterator<Item = &'r Json>) -> Vec<&'r Json> {
    if step == "*" { all.collect() } else { named.into_iter().collect() }
}
