//! Jinja's filters and tests, with the reference's own filters over them.
//!
//! Comes in: a name, the value before the `|`, arguments. Goes out: a value. Called by `eval`.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use regex::Regex;
use sha2::Digest as _;

use super::call::CallArgs;
use super::eval::{compare, item};
use super::parse::Cmp;
use super::value::{MAX_BUILT, Value};
use super::{Error, Eval, missing};
use crate::base::percent;

/// Applies a filter.
pub(super) fn apply<'a>(name: &str, of: Value<'a>, args: CallArgs<'a>) -> Eval<Value<'a>> {
    let text = || of.text().into_owned();
    Ok(match name {
        "default" | "d" => {
            let falsy_too = args.get(1, "boolean").is_some_and(Value::truthy);
            if matches!(of, Value::Undefined(_)) || falsy_too && !of.truthy() {
                args.get(0, "default_value").cloned().unwrap_or(Value::str(""))
            } else {
                of
            }
        }
        "length" | "count" => {
            let len = of
                .length()
                .ok_or_else(|| Error::wrong_type(format!("object of type '{}' has no len()", of.type_name())))?;
            Value::Int(len as i128)
        }
        "lower" => Value::str(text().to_lowercase()),
        "upper" => Value::str(text().to_uppercase()),
        "capitalize" => Value::str(capitalize(&text())),
        "title" => {
            let mut inside = false;
            let mut out = String::new();
            for c in text().chars() {
                let changed: String = if inside { c.to_lowercase().collect() } else { c.to_uppercase().collect() };
                out.push_str(&changed);
                inside = !(c.is_whitespace() || "-({[<".contains(c));
            }
            Value::str(out)
        }
        "trim" => {
            let chars = args.text(0, "chars")?;
            let text = text();
            Value::str(match chars {
                Some(set) => text.trim_matches(|c| set.contains(c)).to_string(),
                None => text.trim().to_string(),
            })
        }
        "string" => match of {
            Value::Str(_) => of,
            // The reference's own: JSON inside triple quotes, so that literal evaluation gives the JSON text back.
            other => Value::str(format!("\"\"\"{}\"\"\"", python_json(&other.to_json()))),
        },
        "int" | "float" if matches!(of, Value::Undefined(_)) => return Err(Error::undefined(&of.text())),
        "int" => {
            let default = args.get(0, "default").cloned().unwrap_or(Value::Int(0));
            let base = args.int(1, "base")?.and_then(|b| u32::try_from(b).ok()).unwrap_or(10);
            to_int(&of, base).map_or(default, Value::Int)
        }
        "float" => {
            let default = args.get(0, "default").cloned().unwrap_or(Value::Float(0.0));
            let value = match &of {
                Value::Str(s) => s.trim().replace('_', "").parse().ok(),
                other => other.as_f64(),
            };
            value.map_or(default, Value::Float)
        }
        "abs" => match of {
            Value::Float(f) => Value::Float(f.abs()),
            other => Value::Int(other.as_int().ok_or_else(|| Error::wrong_type("bad operand type for abs()"))?.abs()),
        },
        "round" => {
            let f = of.as_f64().ok_or_else(|| Error::wrong_type("round needs a number"))?;
            let places = args.int(0, "precision")?.and_then(|p| i32::try_from(p).ok()).unwrap_or(0);
            let scale = 10f64.powi(places);
            if let (Some(whole), true, None) = (of.as_int(), places >= 0, args.text(1, "method")?) {
                return Ok(Value::Int(whole));
            }
            Value::Float(match args.text(1, "method")?.as_deref() {
                Some("ceil") => (f * scale).ceil() / scale,
                Some("floor") => (f * scale).floor() / scale,
                _ if places >= 0 => format!("{f:.*}", usize::try_from(places).unwrap_or(0)).parse().unwrap_or(f),
                _ => (f * scale).round_ties_even() / scale,
            })
        }
        "first" => of.items()?.into_iter().next().unwrap_or_else(|| missing("the first item of nothing")),
        "last" => of.items()?.into_iter().next_back().unwrap_or_else(|| missing("the last item of nothing")),
        "list" => Value::list(of.items()?),
        "reverse" => match &of {
            Value::Str(s) => Value::str(s.chars().rev().collect::<String>()),
            other => Value::list(other.items()?.into_iter().rev().collect()),
        },
        "join" => {
            let between = args.get(0, "d").map(|d| d.text().into_owned()).unwrap_or_default();
            let mut out = String::new();
            for (i, value) in of.items()?.into_iter().enumerate() {
                if i > 0 {
                    out.push_str(&between);
                }
                let value = match args.get(1, "attribute") {
                    Some(path) => deep(&value, path)?,
                    None => value,
                };
                out.push_str(&value.text());
                if out.len() > MAX_BUILT {
                    return Err(Error::other("the template builds too long a text"));
                }
            }
            Value::str(out)
        }
        "map" => {
            let items = of.items()?;
            if let Some(path) = args.named().iter().find(|(n, _)| *n == "attribute").map(|(_, v)| v) {
                let default = args.named().iter().find(|(n, _)| *n == "default").map(|(_, v)| v);
                let mut out = Vec::with_capacity(items.len());
                for item in items {
                    let value = deep(&item, path)?;
                    out.push(match (value, default) {
                        (Value::Undefined(_), Some(default)) => default.clone(),
                        (value, _) => value,
                    });
                }
                Value::list(out)
            } else {
                let filter = args.need_text(0, "name")?;
                let rest = args.plain()[1..].to_vec();
                let mapped = items.into_iter().map(|i| apply(&filter, i, CallArgs::new(rest.clone(), Vec::new())));
                Value::list(mapped.collect::<Eval<_>>()?)
            }
        }
        "select" | "reject" | "selectattr" | "rejectattr" => {
            let by_attribute = name.ends_with("attr");
            let at = usize::from(by_attribute);
            let test_name = args.text(at, "test")?;
            let rest = CallArgs::new(args.plain().get(at + 1..).unwrap_or_default().to_vec(), Vec::new());
            let mut out = Vec::new();
            for value in of.items()? {
                let looked_at = if by_attribute { deep(&value, args.need(0, "attribute")?)? } else { value.clone() };
                let hit = match &test_name {
                    Some(name) => test(name, &looked_at, &rest)?,
                    None => looked_at.truthy(),
                };
                if hit == name.starts_with("select") {
                    out.push(value);
                }
            }
            Value::list(out)
        }
        "sort" => {
            let path = args.get(2, "attribute").cloned();
            let mut keyed = Vec::new();
            for value in of.items()? {
                let key = match &path {
                    Some(path) => deep(&value, path)?,
                    None => value.clone(),
                };
                keyed.push((lowered(key), value));
            }
            let mut failed = None;
            keyed.sort_by(|a, b| {
                a.0.order(&b.0).unwrap_or_else(|e| {
                    failed.get_or_insert(e);
                    std::cmp::Ordering::Equal
                })
            });
            if let Some(error) = failed {
                return Err(error);
            }
            if args.get(0, "reverse").is_some_and(Value::truthy) {
                keyed.reverse();
            }
            Value::list(keyed.into_iter().map(|(_, v)| v).collect())
        }
        "unique" => {
            let mut out: Vec<Value<'a>> = Vec::new();
            for value in of.items()? {
                let key = lowered(value.clone());
                if !out.iter().any(|v| lowered(v.clone()).equals(&key)) {
                    out.push(value);
                }
            }
            Value::list(out)
        }
        "min" | "max" => {
            let mut best: Option<Value<'a>> = None;
            for value in of.items()? {
                let better = match &best {
                    None => true,
                    Some(b) => {
                        let order = lowered(value.clone()).order(&lowered(b.clone()))?;
                        if name == "max" { order.is_gt() } else { order.is_lt() }
                    }
                };
                if better {
                    best = Some(value);
                }
            }
            best.unwrap_or_else(|| missing("the extreme of nothing"))
        }
        "sum" => {
            let mut total = args.get(1, "start").cloned().unwrap_or(Value::Int(0));
            for value in of.items()? {
                let value = match args.get(0, "attribute") {
                    Some(path) => deep(&value, path)?,
                    None => value,
                };
                total = match (total.as_int(), value.as_int()) {
                    (Some(a), Some(b)) => {
                        Value::Int(a.checked_add(b).ok_or_else(|| Error::other("the number is out of range"))?)
                    }
                    _ => match (total.as_f64(), value.as_f64()) {
                        (Some(a), Some(b)) => Value::Float(a + b),
                        _ => return Err(Error::other("sum needs numbers")),
                    },
                };
            }
            total
        }
        "items" => match &of {
            Value::Undefined(_) => Value::list(Vec::new()),
            other if other.is_dict() => {
                Value::list(other.pairs().into_iter().map(|(k, v)| Value::tuple(vec![k, v])).collect())
            }
            _ => return Err(Error::other("items needs a dict")),
        },
        "dictsort" => {
            let by_value = args.text(1, "by")?.as_deref() == Some("value");
            let mut pairs = of.pairs();
            pairs.sort_by(|a, b| {
                let (x, y) = if by_value { (&a.1, &b.1) } else { (&a.0, &b.0) };
                lowered(x.clone()).order(&lowered(y.clone())).unwrap_or(std::cmp::Ordering::Equal)
            });
            if args.get(2, "reverse").is_some_and(Value::truthy) {
                pairs.reverse();
            }
            Value::list(pairs.into_iter().map(|(k, v)| Value::tuple(vec![k, v])).collect())
        }
        "attr" => attribute_of(&of, &args.need_text(0, "name")?),
        "batch" | "slice" => {
            let size = args.int(0, "linecount")?.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
            let size = size
                .filter(|n| *n <= 100_000)
                .ok_or_else(|| Error::other(format!("{name} needs a size that makes sense")))?;
            let items = of.items()?;
            if name == "batch" {
                let mut rows: Vec<Vec<Value<'a>>> = items.chunks(size).map(<[_]>::to_vec).collect();
                if let (Some(fill), Some(last)) = (args.get(1, "fill_with"), rows.last_mut()) {
                    last.resize(size, fill.clone());
                }
                Value::list(rows.into_iter().map(Value::list).collect())
            } else {
                let (each, more) = (items.len() / size, items.len() % size);
                let mut from = 0;
                let rows = (0..size).map(|i| {
                    let n = each + usize::from(i < more);
                    from += n;
                    Value::list(items[from - n..from].to_vec())
                });
                Value::list(rows.collect())
            }
        }
        "replace" => {
            let (old, new) = (args.need(0, "old")?.text(), args.need(1, "new")?.text());
            match args.int(2, "count")?.and_then(|n| usize::try_from(n).ok()) {
                Some(n) => Value::str(text().replacen(old.as_ref(), &new, n)),
                None => Value::str(text().replace(old.as_ref(), &new)),
            }
        }
        "truncate" => {
            let length = usize::try_from(args.int(0, "length")?.unwrap_or(255)).unwrap_or(0);
            let end = args.text(2, "end")?.unwrap_or("...".into());
            let leeway = usize::try_from(args.int(3, "leeway")?.unwrap_or(5)).unwrap_or(0);
            let all = text();
            if all.chars().count() <= length + leeway {
                return Ok(Value::str(all));
            }
            let cut: String = all.chars().take(length.saturating_sub(end.chars().count())).collect();
            let whole_words = !args.get(1, "killwords").is_some_and(Value::truthy);
            let cut = if whole_words { cut.rsplit_once(' ').map_or(cut.as_str(), |(head, _)| head) } else { &cut };
            Value::str(format!("{cut}{end}"))
        }
        "wordcount" => {
            let text = text();
            let words = text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty());
            Value::Int(words.count() as i128)
        }
        "format" => {
            let values = args.plain().to_vec();
            let values = if values.is_empty() {
                Value::dict(args.named().iter().map(|(k, v)| (Value::str(*k), v.clone())).collect())
            } else {
                Value::tuple(values)
            };
            Value::str(percent_format(&text(), &values)?)
        }
        "urlencode" => match &of {
            other if other.is_dict() => Value::str(query(other.pairs())),
            other if other.is_sequence() => {
                let mut pairs = Vec::new();
                for pair in other.items()? {
                    let mut both = pair.items()?.into_iter();
                    match (both.next(), both.next()) {
                        (Some(k), Some(v)) => pairs.push((k, v)),
                        _ => return Err(Error::other("urlencode needs pairs")),
                    }
                }
                Value::str(query(pairs))
            }
            other => Value::str(percent::quote(&other.text())),
        },
        "tojson" => {
            let mut json = of.to_json();
            json.sort_all_objects();
            let json = python_json(&json);
            Value::str(
                json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026").replace('\'', "\\u0027"),
            )
        }
        "safe" => Value::str(text()),
        "escape" | "e" | "forceescape" => Value::str(
            text()
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('\'', "&#39;")
                .replace('"', "&#34;"),
        ),
        "striptags" => {
            let (mut out, mut inside) = (String::new(), false);
            for c in text().chars() {
                match c {
                    '<' => inside = true,
                    '>' => inside = false,
                    c if !inside => out.push(c),
                    _ => {}
                }
            }
            Value::str(out.split_whitespace().collect::<Vec<_>>().join(" "))
        }
        "indent" => {
            let width = usize::try_from(args.int(0, "width")?.unwrap_or(4).clamp(0, 1000)).unwrap_or(0);
            Value::str(text().replace('\n', &format!("\n{}", " ".repeat(width))))
        }
        "center" => {
            let width = usize::try_from(args.int(0, "width")?.unwrap_or(80).clamp(0, 1 << 15)).unwrap_or(0);
            Value::str(format!("{:^width$}", text()))
        }
        "hash" => Value::str(hash(&args, &text())?),
        "hmac" => {
            let (key, kind) = (args.need(0, "key")?.text(), args.text(1, "hash_type")?);
            if kind.is_some_and(|k| k != "sha256") {
                return Err(Error::other("hmac knows only sha256"));
            }
            let mut mac =
                Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).map_err(|e| Error::other(e.to_string()))?;
            mac.update(text().as_bytes());
            Value::str(hex(&mac.finalize().into_bytes()))
        }
        "base64encode" => Value::str(STANDARD.encode(text())),
        // The reference's name says decode; what it does is encode.
        "base64binascii_decode" => Value::str(STANDARD.encode(text())),
        "base64decode" => {
            let padded: String = text().chars().filter(|c| !c.is_whitespace()).collect();
            let bytes = STANDARD.decode(padded).map_err(|_| Error::other("the text is no base64"))?;
            Value::str(String::from_utf8(bytes).map_err(|_| Error::other("the decoded text is no UTF-8"))?)
        }
        "regex_search" => {
            let found = pattern(&args.need_text(0, "regex")?)?;
            let text = text();
            match found.captures(&text).map(|c| c.get(1).map(|m| m.as_str().to_owned())) {
                Some(Some(group)) => Value::str(group),
                Some(None) => Value::None,
                None => Value::str(""),
            }
        }
        "regex_replace" => {
            let found = pattern(&args.need_text(0, "regex")?)?;
            // Python writes a group as `\1`.
            let with = args.need_text(1, "replacement")?.replace('$', "$$");
            let with = pattern(r"\\(\d)")?.replace_all(&with, "$${${1}}").into_owned();
            Value::str(found.replace_all(&text(), with.as_str()).into_owned())
        }
        _ => return Err(Error::other(format!("no filter named '{name}'"))),
    })
}

/// Every filter and test name that is not known is an error of the manifest, not of a run.
pub(super) fn test<'a>(name: &str, of: &Value<'a>, args: &CallArgs<'a>) -> Eval<bool> {
    let by = |op: Cmp| compare(op, of, args.need(0, "value")?);
    let int = || of.as_int().ok_or_else(|| Error::other(format!("test '{name}' needs an integer")));
    Ok(match name {
        "defined" => !matches!(of, Value::Undefined(_)),
        "undefined" => matches!(of, Value::Undefined(_)),
        "none" => matches!(of, Value::None),
        "boolean" => matches!(of, Value::Bool(_)),
        "true" => matches!(of, Value::Bool(true)),
        "false" => matches!(of, Value::Bool(false)),
        "integer" => matches!(of, Value::Int(_)),
        "float" => matches!(of, Value::Float(_)),
        "number" => of.as_f64().is_some(),
        "string" => matches!(of, Value::Str(_)),
        "mapping" => of.is_dict(),
        "sequence" => matches!(of, Value::Str(_) | Value::Undefined(_)) || of.is_dict() || of.is_sequence(),
        "iterable" => of.items().is_ok(),
        "callable" => false,
        "odd" => int()? % 2 != 0,
        "even" => int()? % 2 == 0,
        "divisibleby" => {
            let by =
                args.int(0, "num")?.filter(|n| *n != 0).ok_or_else(|| Error::other("divisibleby needs a number"))?;
            int()? % by == 0
        }
        "eq" | "equalto" | "==" | "sameas" => by(Cmp::Eq)?,
        "ne" | "!=" => by(Cmp::Ne)?,
        "lt" | "lessthan" | "<" => by(Cmp::Lt)?,
        "le" | "<=" => by(Cmp::Le)?,
        "gt" | "greaterthan" | ">" => by(Cmp::Gt)?,
        "ge" | ">=" => by(Cmp::Ge)?,
        "in" => by(Cmp::In)?,
        "lower" => of.text() == of.text().to_lowercase(),
        "upper" => of.text() == of.text().to_uppercase(),
        _ => return Err(Error::other(format!("no test named '{name}'"))),
    })
}

fn attribute_of<'a>(of: &Value<'a>, name: &str) -> Value<'a> {
    of.entry(&Value::str(name.to_string())).unwrap_or_else(|| missing(name))
}

/// `a.b.0` inside a value, as `map(attribute=…)` looks.
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

fn lowered(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Str(s) => Value::str(s.to_lowercase()),
        other => other,
    }
}

fn to_int(of: &Value<'_>, base: u32) -> Option<i128> {
    match of {
        #[allow(clippy::cast_possible_truncation)]
        Value::Float(f) => f.is_finite().then_some(*f as i128),
        Value::Str(s) => {
            let text = s.trim().replace('_', "");
            let (negative, digits) =
                text.strip_prefix('-').map_or((false, text.trim_start_matches('+')), |d| (true, d));
            let digits = match base {
                16 => digits.trim_start_matches("0x"),
                8 => digits.trim_start_matches("0o"),
                2 => digits.trim_start_matches("0b"),
                _ => digits,
            };
            let whole = i128::from_str_radix(digits, base).ok();
            #[allow(clippy::cast_possible_truncation)]
            let whole = whole.or_else(|| digits.parse::<f64>().ok().filter(|f| f.is_finite()).map(|f| f as i128));
            whole.map(|i| if negative { -i } else { i })
        }
        other => other.as_int(),
    }
}

pub(super) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars.flat_map(char::to_lowercase)).collect())
}

pub(super) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphanumeric();
    }
    out
}

fn query(pairs: Vec<(Value<'_>, Value<'_>)>) -> String {
    let encoded: Vec<String> = pairs
        .iter()
        .map(|(k, v)| format!("{}={}", percent::quote_plus(&k.text()), percent::quote_plus(&v.text())))
        .collect();
    encoded.join("&")
}

/// JSON as Python's `json.dumps` writes it: `, ` and `: ` between, ASCII only.
pub(super) fn python_json(json: &serde_json::Value) -> String {
    crate::base::json::python::dumps(json)
}

fn hash(args: &CallArgs<'_>, text: &str) -> Eval<String> {
    let salted = text.to_owned() + &args.text(1, "salt")?.unwrap_or_default();
    let bytes = salted.as_bytes();
    Ok(match args.text(0, "hash_type")?.as_deref().unwrap_or("md5") {
        "md5" => hex(&md5::Md5::digest(bytes)),
        "sha1" => hex(&sha1::Sha1::digest(bytes)),
        "sha224" => hex(&sha2::Sha224::digest(bytes)),
        "sha256" => hex(&sha2::Sha256::digest(bytes)),
        "sha384" => hex(&sha2::Sha384::digest(bytes)),
        "sha512" => hex(&sha2::Sha512::digest(bytes)),
        other => return Err(Error::other(format!("no hash function named '{other}'"))),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// A compiled pattern; the few that a manifest has are kept.
fn pattern(text: &str) -> Eval<Regex> {
    static SEEN: Mutex<BTreeMap<String, Regex>> = Mutex::new(BTreeMap::new());
    let mut seen = SEEN.lock();
    if let Some(found) = seen.get(text) {
        return Ok(found.clone());
    }
    let compiled =
        regex::RegexBuilder::new(text).size_limit(1 << 20).build().map_err(|e| Error::other(e.to_string()))?;
    if seen.len() < 256 {
        seen.insert(text.into(), compiled.clone());
    }
    Ok(compiled)
}

/// Python's `format % values`.
pub(super) fn percent_format(format: &str, values: &Value<'_>) -> Eval<String> {
    let mut out = String::new();
    let mut plain = match values {
        Value::Tuple(items) => items.to_vec(),
        other => vec![other.clone()],
    }
    .into_iter();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let value = if let Some(named) = rest.strip_prefix('(') {
            let (name, after) = named.split_once(')').ok_or_else(|| Error::other("incomplete format key"))?;
            rest = after;
            values.entry(&Value::str(name.to_string()))
        } else {
            plain.next()
        };
        let value = value.ok_or_else(|| Error::other("not enough arguments for format string"))?;
        let end = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(|| Error::other("incomplete format"))?;
        let (spec, kind) = (&rest[..end], rest.as_bytes()[end]);
        rest = &rest[end + 1..];
        let (width, precision) = spec.split_once('.').unwrap_or((spec, ""));
        let text = match kind {
            b's' => value.text().into_owned(),
            b'r' => {
                let mut text = String::new();
                value.repr(&mut text);
                text
            }
            b'd' | b'i' => {
                to_int(&value, 10).ok_or_else(|| Error::other("%d format: a number is required"))?.to_string()
            }
            b'f' => {
                let f = value.as_f64().ok_or_else(|| Error::other("must be real number"))?;
                format!("{f:.*}", precision.parse().unwrap_or(6).min(100))
            }
            b'x' => format!("{:x}", value.as_int().unwrap_or_default()),
            _ => return Err(Error::other("a format code that is not known here")),
        };
        let pad = width
            .trim_start_matches(['-', '0', '+', ' '])
            .parse::<usize>()
            .unwrap_or(0)
            .min(1 << 16)
            .saturating_sub(text.chars().count());
        let (before, after) = if width.starts_with('-') { (0, pad) } else { (pad, 0) };
        let fill = if width.starts_with('0') && kind != b's' { "0" } else { " " };
        let _ = write!(out, "{}{text}{}", fill.repeat(before), " ".repeat(after));
    }
    out.push_str(rest);
    Ok(out)
}
