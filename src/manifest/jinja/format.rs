//! Python's two ways to format values: `format % values` and `format.format(…)`.
//!
//! Input: a text with placeholders, and values. Output: the formatted text. Called by the `%` operator, the `format`
//! filter and the method `format`.

use std::fmt::Write as _;

use super::args::CallArgs;
use super::filter::to_int;
use super::{Error, Eval, Value};

/// The maximum width of a format code.
const MAX_WIDTH: usize = 1 << 16;

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
        percent_field(&value, &rest[..end], rest.as_bytes()[end], &mut out)?;
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Appends one value, formatted by the code `kind` with its width and precision.
fn percent_field(value: &Value<'_>, spec: &str, kind: u8, out: &mut String) -> Eval<()> {
    let (width, precision) = spec.split_once('.').unwrap_or((spec, ""));
    let text = match kind {
        b's' => value.text().into_owned(),
        b'r' => {
            let mut text = String::new();
            value.repr(&mut text);
            text
        }
        b'd' | b'i' => to_int(value, 10).ok_or_else(|| Error::other("%d format: a number is required"))?.to_string(),
        b'f' => {
            let f = value.as_f64().ok_or_else(|| Error::other("must be real number"))?;
            format!("{f:.*}", precision.parse().unwrap_or(6).min(100))
        }
        b'x' => format!("{:x}", value.as_int().unwrap_or_default()),
        _ => return Err(Error::other("unsupported format code")),
    };
    let wanted = width.trim_start_matches(['-', '0', '+', ' ']).parse().unwrap_or(0);
    let pad = wanted.min(MAX_WIDTH).saturating_sub(text.chars().count());
    let (before, after) = if width.starts_with('-') { (0, pad) } else { (pad, 0) };
    let fill = if width.starts_with('0') && kind != b's' { "0" } else { " " };
    let _ = write!(out, "{}{text}{}", fill.repeat(before), " ".repeat(after));
    Ok(())
}

/// `'{} {0} {name} {0[key]} {:>5}'.format(…)`: positions, names and the most common format codes.
pub(super) fn brace_format(pattern: &str, args: &CallArgs<'_>) -> Eval<String> {
    let mut out = String::new();
    let mut rest = pattern;
    let mut next = 0;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        if rest.as_bytes().first() == Some(&brace) {
            out.push(brace as char);
            rest = &rest[1..];
            continue;
        }
        let end = rest.find('}').filter(|_| brace == b'{').ok_or_else(|| Error::other("a single brace in a format"))?;
        let (name, spec) = rest[..end].split_once(':').unwrap_or((&rest[..end], ""));
        rest = &rest[end + 1..];
        let value = if name.is_empty() {
            next += 1;
            args.plain().get(next - 1)
        } else if let Ok(index) = name.parse::<usize>() {
            args.plain().get(index)
        } else {
            args.keyword(name)
        };
        let value = value.ok_or_else(|| Error::other("format() lacks an argument"))?;
        out.push_str(&brace_field(value, spec)?);
    }
    out.push_str(rest);
    Ok(out)
}

fn brace_field(value: &Value<'_>, spec: &str) -> Eval<String> {
    if spec.is_empty() {
        return Ok(value.text().into_owned());
    }
    let zero = spec.starts_with('0');
    let align = spec.chars().next().filter(|c| "<>^".contains(*c));
    let body = spec.trim_start_matches(['<', '>', '^']);
    let kind = body.chars().last().filter(char::is_ascii_alphabetic);
    let numbers = body.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (width, precision) = numbers.split_once('.').unwrap_or((numbers, ""));
    let width: usize =
        if width.is_empty() { 0 } else { width.parse().map_err(|_| Error::other("unsupported format code"))? };
    let text = match (kind, value.as_f64()) {
        (Some('f'), Some(f)) => format!("{f:.*}", precision.parse().unwrap_or(6)),
        (Some('x'), _) => format!("{:x}", value.as_int().unwrap_or_default()),
        (None | Some('s' | 'd'), _) => value.text().into_owned(),
        _ => return Err(Error::other("unsupported format code")),
    };
    let missing = width.min(MAX_WIDTH).saturating_sub(text.chars().count());
    let fill = |n: usize| if zero { "0".repeat(n) } else { " ".repeat(n) };
    let right = align.map_or(value.as_f64().is_some(), |c| c == '>');
    Ok(match (align, right) {
        (Some('^'), _) => fill(missing / 2) + &text + &fill(missing - missing / 2),
        (_, true) => fill(missing) + &text,
        _ => text + &fill(missing),
    })
}
