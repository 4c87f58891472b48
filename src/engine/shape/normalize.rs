//! `schema_normalization: Default`: casts values to the types of the stream's schema.
//!
//! Input: a record and the schema. Output: the record, changed in place. Called by [`super::ops`] as the last
//! transformation. The rules are those of airbyte-cdk's `TypeTransformer`: only `properties` and `items` are
//! followed, a value that cannot be cast stays unchanged, and casts are Python's.

use serde_json::Value as Json;

use crate::base::json::python::float_repr;
use crate::manifest::jinja::Value;
use crate::manifest::template::text_of;

/// References inside a schema may be circular.
const MAX_DEPTH: u8 = 64;

/// Casts the values of `instance` to the types in `schema`.
pub(super) fn normalize(instance: &mut Json, schema: &Json, root: &Json) {
    visit(instance, schema, root, 0);
}

fn visit(instance: &mut Json, schema: &Json, root: &Json, depth: u8) {
    if depth > MAX_DEPTH {
        return;
    }
    if let Some(target) = schema["$ref"].as_str() {
        if let Some(found) = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) {
            visit(instance, found, root, depth + 1);
        }
        return;
    }
    if let (Some(properties), Json::Object(fields)) = (schema["properties"].as_object(), &mut *instance) {
        for (name, schema) in properties {
            if let Some(value) = fields.get_mut(name) {
                convert(value, schema);
                visit(value, schema, root, depth + 1);
            }
        }
    }
    if let (items @ Json::Object(_), Json::Array(values)) = (&schema["items"], instance) {
        for value in values {
            convert(value, items);
            visit(value, items, root, depth + 1);
        }
    }
}

/// Casts one value to the only type in the schema other than null.
fn convert(value: &mut Json, schema: &Json) {
    let kind = match &schema["type"] {
        Json::String(kind) => kind,
        Json::Array(kinds) => {
            if value.is_null() && kinds.iter().any(|kind| kind == "null") {
                return;
            }
            match &kinds.iter().filter(|kind| *kind != "null").collect::<Vec<_>>()[..] {
                [Json::String(kind)] => kind,
                _ => return,
            }
        }
        _ => return,
    };
    let cast = match kind.as_str() {
        "string" if value.is_string() => None,
        "string" => Some(Json::String(text_of(value))),
        "number" => number(value),
        "integer" => integer(value),
        "boolean" => boolean(value).map(Json::Bool),
        "array" if !value.is_array() && !value.is_object() && wraps(&schema["items"]) => {
            Some(Json::Array(vec![value.clone()]))
        }
        _ => None,
    };
    if let Some(cast) = cast {
        *value = cast;
    }
}

/// Does a list of such items wrap a value that is not a list? Python makes a set of the `type`, and a text becomes
/// its letters: so only without a type, or with a list of simple types.
fn wraps(items: &Json) -> bool {
    match &items["type"] {
        Json::Null => true,
        Json::Array(kinds) => {
            kinds.iter().all(|kind| matches!(kind.as_str(), Some("string" | "number" | "integer" | "boolean" | "null")))
        }
        _ => false,
    }
}

/// The digits of a number in Python's syntax: surrounding blanks and single underscores are allowed.
fn digits(text: &str) -> Option<String> {
    let text = text.trim();
    let between = |at: usize| {
        let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
        at > 0 && digit(text.as_bytes().get(at - 1)) && digit(text.as_bytes().get(at + 1))
    };
    text.match_indices('_').all(|(at, _)| between(at)).then(|| text.replace('_', ""))
}

/// Python's `float()`; null if JSON cannot represent the number.
fn number(value: &Json) -> Option<Json> {
    let number = match value {
        Json::Bool(one) => f64::from(u8::from(*one)),
        Json::Number(n) => n.as_f64()?,
        Json::String(text) => digits(text)?.parse().ok()?,
        _ => return None,
    };
    Some(serde_json::from_str(&float_repr(number)).unwrap_or(Json::Null))
}

/// Python's `int()`.
fn integer(value: &Json) -> Option<Json> {
    match value {
        Json::Bool(one) => Some(Json::from(u8::from(*one))),
        Json::Number(_) => match Value::from_json(value) {
            #[allow(clippy::cast_possible_truncation)]
            Value::Float(f) if f.is_finite() => serde_json::from_str(&(f.trunc() as i128).to_string()).ok(),
            _ => None,
        },
        Json::String(text) => {
            let digits = digits(text)?;
            let (sign, digits) = match digits.strip_prefix('-') {
                Some(rest) => ("-", rest),
                None => ("", digits.strip_prefix('+').unwrap_or(&digits)),
            };
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            let digits = digits.trim_start_matches('0');
            let whole = if digits.is_empty() { "0".to_owned() } else { format!("{sign}{digits}") };
            serde_json::from_str(&whole).ok()
        }
        _ => None,
    }
}

/// The words of `distutils`' `strtobool`; for other values Python's truth value.
fn boolean(value: &Json) -> Option<bool> {
    match value {
        Json::String(text) => match &*text.to_lowercase().trim().to_owned() {
            "y" | "yes" | "t" | "true" | "on" | "1" => Some(true),
            "n" | "no" | "f" | "false" | "off" | "0" => Some(false),
            _ => None,
        },
        other => Some(Value::from_json(other).truthy()),
    }
}
