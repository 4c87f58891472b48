//! Jinja's filters, including those that the reference overrides.
//!
//! Input: a name, the value before the `|`, arguments. Output: a value. Called by `eval`. Each filter is one
//! function: on text (`text`), on containers (`items`), on numbers (`number`), or an encoding (`encode`).

// One table holds all filters, so all have the same signature.
#![allow(clippy::unnecessary_wraps)]

mod encode;
mod items;
mod number;
mod text;

use super::args::CallArgs;
use super::operator::item;
use super::value::fits;
use super::{Error, Eval, Value, missing};

pub(super) use number::to_int;

/// A filter: the value before the `|`, and the arguments.
type Filter = for<'a> fn(Value<'a>, &CallArgs<'a>) -> Eval<Value<'a>>;

/// Is there a filter of this name?
pub(super) fn exists(name: &str) -> bool {
    find(name).is_some()
}

/// The names of all filters, for hints.
pub(super) const NAMES: &[&str] = &[
    "abs",
    "attr",
    "base64binascii_decode",
    "base64decode",
    "base64encode",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "forceescape",
    "format",
    "hash",
    "hmac",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "regex_replace",
    "regex_search",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
];

fn find(name: &str) -> Option<Filter> {
    Some(match name {
        "default" | "d" => default,
        "attr" => |of, args| Ok(attribute_of(&of, &args.need_text(0, "name")?)),
        "length" | "count" => items::length,
        "first" => items::first,
        "last" => items::last,
        "list" => |of, _| Ok(Value::list(of.items()?)),
        "reverse" => items::reverse,
        "join" => items::join,
        "map" => items::map,
        "select" => |of, args| items::pick(of, args, items::Pick { by_attribute: false, keep_hits: true }),
        "reject" => |of, args| items::pick(of, args, items::Pick { by_attribute: false, keep_hits: false }),
        "selectattr" => |of, args| items::pick(of, args, items::Pick { by_attribute: true, keep_hits: true }),
        "rejectattr" => |of, args| items::pick(of, args, items::Pick { by_attribute: true, keep_hits: false }),
        "sort" => items::sort,
        "unique" => items::unique,
        "min" => |of, _| items::extreme(&of, std::cmp::Ordering::Less),
        "max" => |of, _| items::extreme(&of, std::cmp::Ordering::Greater),
        "sum" => items::sum,
        "items" => items::items,
        "dictsort" => items::dictsort,
        "batch" => items::batch,
        "slice" => items::slice,
        "int" => number::int,
        "float" => number::float,
        "abs" => number::abs,
        "round" => number::round,
        "lower" => |of, _| Ok(Value::str(of.text().to_lowercase())),
        "upper" => |of, _| Ok(Value::str(of.text().to_uppercase())),
        "capitalize" => |of, _| Ok(Value::str(super::method::capitalize(&of.text()))),
        "title" => text::title,
        "trim" => text::trim,
        "replace" => text::replace,
        "truncate" => text::truncate,
        "wordcount" => text::wordcount,
        "format" => text::format,
        "safe" => |of, _| Ok(Value::str(of.text().into_owned())),
        "striptags" => text::striptags,
        "indent" => text::indent,
        "center" => text::center,
        "regex_search" => text::regex_search,
        "regex_replace" => text::regex_replace,
        "string" => encode::string,
        "tojson" => encode::tojson,
        "urlencode" => encode::urlencode,
        "escape" | "e" | "forceescape" => encode::escape,
        "hash" => encode::hash,
        "hmac" => encode::hmac,
        // The reference names it decode, but it encodes.
        "base64encode" | "base64binascii_decode" => encode::base64encode,
        "base64decode" => encode::base64decode,
        _ => return None,
    })
}

/// Applies a filter.
pub(super) fn apply<'a>(name: &str, of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let filter = find(name).ok_or_else(|| Error::other(format!("no filter named '{name}'")))?;
    built(filter(of, args)?)
}

/// Refuses a text that has become too long: encodings multiply a text by a few, and stand in chains.
fn built(value: Value<'_>) -> Eval<Value<'_>> {
    if let Value::Str(text) = &value {
        fits(text.len())?;
    }
    Ok(value)
}

fn default<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let falsy_too = args.flag(1, "boolean");
    Ok(if matches!(of, Value::Undefined(_)) || falsy_too && !of.truthy() {
        args.get(0, "default_value").cloned().unwrap_or(Value::str(""))
    } else {
        of
    })
}

fn attribute_of<'a>(of: &Value<'a>, name: &str) -> Value<'a> {
    of.entry(&Value::str(name.to_string())).unwrap_or_else(|| missing(name))
}

/// Looks up `a.b.0` inside a value, as `map(attribute=…)` does.
fn deep<'a>(of: &Value<'a>, path: &Value<'a>) -> Eval<Value<'a>> {
    let Value::Str(path) = path else { return item(of, path) };
    let mut value = of.clone();
    for step in path.split('.') {
        value = match step.parse::<i128>() {
            Ok(i) => item(&value, &Value::Int(i))?,
            Err(_) => item(&value, &Value::str(step.to_string()))?,
        };
    }
    Ok(value)
}

/// The value at `path` inside `of`; `of` itself without a path.
fn deep_or_self<'a>(of: &Value<'a>, path: Option<&Value<'a>>) -> Eval<Value<'a>> {
    path.map_or_else(|| Ok(of.clone()), |path| deep(of, path))
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_listed_filter_exists() {
        for name in super::NAMES {
            assert!(super::exists(name), "{name}");
        }
    }
}
