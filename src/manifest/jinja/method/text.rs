//! Methods of `str`.
//!
//! Input: a text and arguments. Output: a value. Called through the table of `method`.

use super::{CallArgs, Error, Eval, Method, Value};
use crate::manifest::jinja::format::brace_format;
use crate::manifest::jinja::value::{fits, replaced};

/// The maximum width of padding.
const MAX_WIDTH: i128 = 1 << 20;

pub(super) fn find(name: &str) -> Option<Method<str>> {
    Some(match name {
        "upper" => |s, _| Ok(Value::str(s.to_uppercase())),
        "lower" | "casefold" => |s, _| Ok(Value::str(s.to_lowercase())),
        "capitalize" => |s, _| Ok(Value::str(capitalize(s))),
        "title" => |s, _| Ok(Value::str(title(s))),
        "swapcase" => swapcase,
        "strip" => |s, args| trim(s, args, Sides::Both),
        "lstrip" => |s, args| trim(s, args, Sides::Left),
        "rstrip" => |s, args| trim(s, args, Sides::Right),
        "startswith" => |s, args| has_affix(s, args, |s, part| s.starts_with(part)),
        "endswith" => |s, args| has_affix(s, args, |s, part| s.ends_with(part)),
        "removeprefix" => removeprefix,
        "removesuffix" => removesuffix,
        "split" => |s, args| split(s, args, false),
        "rsplit" => |s, args| split(s, args, true),
        "splitlines" => |s, _| Ok(texts(s.lines().collect())),
        "partition" => |s, args| partition(s, args, false),
        "rpartition" => |s, args| partition(s, args, true),
        "join" => join,
        "replace" => replace,
        "find" => |s, args| Ok(index_of(s, s.find(args.need_text(0, "sub")?.as_ref()))),
        "rfind" => |s, args| Ok(index_of(s, s.rfind(args.need_text(0, "sub")?.as_ref()))),
        "index" => index,
        "count" => |s, args| Ok(Value::Int(s.matches(args.need_text(0, "sub")?.as_ref()).count() as i128)),
        "zfill" => zfill,
        "ljust" => |s, args| pad(s, args, Sides::Right),
        "rjust" => |s, args| pad(s, args, Sides::Left),
        "center" => |s, args| pad(s, args, Sides::Both),
        "isdigit" | "isnumeric" | "isdecimal" => |s, _| Ok(all(s, char::is_numeric)),
        "isalpha" => |s, _| Ok(all(s, char::is_alphabetic)),
        "isalnum" => |s, _| Ok(all(s, char::is_alphanumeric)),
        "isspace" => |s, _| Ok(all(s, char::is_whitespace)),
        "isupper" => |s, _| Ok(any_and_none(s, char::is_uppercase, char::is_lowercase)),
        "islower" => |s, _| Ok(any_and_none(s, char::is_lowercase, char::is_uppercase)),
        "format" => |s, args| Ok(Value::str(brace_format(s, args)?)),
        "encode" => |s, _| Ok(Value::str(s.to_string())),
        _ => return None,
    })
}

/// The ends of a text that a method applies to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sides {
    Left,
    Right,
    Both,
}

fn texts<'a>(items: Vec<&str>) -> Value<'a> {
    Value::list(items.into_iter().map(|t| Value::str(t.to_string())).collect())
}

/// `'aBC'` to `'Abc'`.
pub(in super::super) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars.flat_map(char::to_lowercase)).collect())
}

fn title(text: &str) -> String {
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

fn swapcase<'a>(s: &str, _: &CallArgs<'a>) -> Eval<Value<'a>> {
    let mut out = String::with_capacity(s.len());
    for c in s.chars() {
        if c.is_uppercase() {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
    }
    Ok(Value::str(out))
}

fn trim<'a>(s: &str, args: &CallArgs<'a>, sides: Sides) -> Eval<Value<'a>> {
    let chars = args.text(0, "chars")?;
    let drop = |c: char| chars.as_ref().map_or(c.is_whitespace(), |set| set.contains(c));
    let s = if sides == Sides::Right { s } else { s.trim_start_matches(drop) };
    let s = if sides == Sides::Left { s } else { s.trim_end_matches(drop) };
    Ok(Value::str(s.to_string()))
}

fn has_affix<'a>(s: &str, args: &CallArgs<'a>, has: fn(&str, &str) -> bool) -> Eval<Value<'a>> {
    let found = match args.need(0, "prefix")? {
        Value::Str(part) => has(s, part),
        Value::Tuple(parts) => parts.iter().any(|p| matches!(p, Value::Str(p) if has(s, p))),
        _ => return Err(Error::wrong_type("expected a string or a tuple of strings")),
    };
    Ok(Value::Bool(found))
}

fn removeprefix<'a>(s: &str, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let part = args.need_text(0, "prefix")?;
    Ok(Value::str(s.strip_prefix(part.as_ref()).unwrap_or(s).to_string()))
}

fn removesuffix<'a>(s: &str, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let part = args.need_text(0, "suffix")?;
    Ok(Value::str(s.strip_suffix(part.as_ref()).unwrap_or(s).to_string()))
}

fn split<'a>(s: &str, args: &CallArgs<'a>, from_right: bool) -> Eval<Value<'a>> {
    let limit = args.count(1, "maxsplit")?;
    let Some(sep) = args.text(0, "sep")? else { return Ok(texts(split_at_blanks(s, limit, from_right))) };
    if sep.is_empty() {
        return Err(Error::other("empty separator"));
    }
    Ok(texts(match (limit, from_right) {
        (None, _) => s.split(sep.as_ref()).collect(),
        (Some(n), false) => s.splitn(n + 1, sep.as_ref()).collect(),
        (Some(n), true) => {
            let mut parts: Vec<&str> = s.rsplitn(n + 1, sep.as_ref()).collect();
            parts.reverse();
            parts
        }
    }))
}

/// The words of a text; after `limit` splits the rest stays as it is.
fn split_at_blanks(s: &str, limit: Option<usize>, from_right: bool) -> Vec<&str> {
    let mut parts: Vec<&str> = s.split_whitespace().collect();
    let Some(n) = limit.filter(|n| parts.len() > n + 1) else { return parts };
    let start_of = |part: &str| part.as_ptr() as usize - s.as_ptr() as usize;
    if from_right {
        let last_unsplit = parts[parts.len() - n - 1];
        let end = start_of(last_unsplit) + last_unsplit.len();
        let tail = parts.split_off(parts.len() - n);
        parts = vec![s[..end].trim_start()];
        parts.extend(tail);
    } else {
        let start = start_of(parts[n]);
        parts.truncate(n);
        parts.push(s[start..].trim_end());
    }
    parts
}

fn partition<'a>(s: &str, args: &CallArgs<'a>, from_right: bool) -> Eval<Value<'a>> {
    let sep = args.need_text(0, "sep")?;
    let at = if from_right { s.rfind(sep.as_ref()) } else { s.find(sep.as_ref()) };
    let parts = match at {
        Some(at) => [&s[..at], sep.as_ref(), &s[at + sep.len()..]],
        None if from_right => ["", "", s],
        None => [s, "", ""],
    };
    Ok(Value::tuple(parts.iter().map(|t| Value::str((*t).to_string())).collect()))
}

fn join<'a>(s: &str, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let mut out = String::new();
    for (i, item) in args.need(0, "iterable")?.items()?.iter().enumerate() {
        if i > 0 {
            out.push_str(s);
        }
        let Value::Str(text) = item else {
            return Err(Error::wrong_type(format!(
                "sequence item {i}: expected str instance, {} found",
                item.type_name()
            )));
        };
        out.push_str(text);
        fits(out.len())?;
    }
    Ok(Value::str(out))
}

fn replace<'a>(s: &str, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let (old, new) = (args.need_text(0, "old")?, args.need_text(1, "new")?);
    Ok(Value::str(replaced(s, &old, &new, args.count(2, "count")?)?))
}

/// The index of a byte, in characters; -1 for `None`.
fn index_of<'a>(s: &str, byte: Option<usize>) -> Value<'a> {
    Value::Int(byte.map_or(-1, |b| s[..b].chars().count() as i128))
}

fn index<'a>(s: &str, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let at = s.find(args.need_text(0, "sub")?.as_ref()).ok_or_else(|| Error::other("substring not found"))?;
    Ok(index_of(s, Some(at)))
}

fn zfill<'a>(s: &str, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let width = args.width(0, 0, MAX_WIDTH)?;
    let (sign, digits) = s.strip_prefix(['-', '+']).map_or(("", s), |d| (&s[..1], d));
    Ok(Value::str(format!("{sign}{}{digits}", "0".repeat(width.saturating_sub(s.chars().count())))))
}

/// Pads a text to a width, on the given side.
fn pad<'a>(s: &str, args: &CallArgs<'a>, side: Sides) -> Eval<Value<'a>> {
    let width = args.width(0, 0, MAX_WIDTH)?;
    let fill = args.text(1, "fillchar")?.and_then(|t| t.chars().next()).unwrap_or(' ');
    let missing = width.saturating_sub(s.chars().count());
    let (before, after) = match side {
        Sides::Left => (missing, 0),
        Sides::Right => (0, missing),
        Sides::Both => {
            let before = missing / 2 + (missing & width & 1);
            (before, missing - before)
        }
    };
    let run = |n| std::iter::repeat_n(fill, n).collect::<String>();
    Ok(Value::str(run(before) + s + &run(after)))
}

fn all<'a>(s: &str, test: fn(char) -> bool) -> Value<'a> {
    Value::Bool(!s.is_empty() && s.chars().all(test))
}

fn any_and_none<'a>(s: &str, wanted: fn(char) -> bool, unwanted: fn(char) -> bool) -> Value<'a> {
    Value::Bool(s.chars().any(wanted) && !s.chars().any(unwanted))
}
