//! What templates call: the reference's macros and the methods of Python's types.
//!
//! Comes in: a name, a value and arguments, evaluated. Goes out: a value. Called by `eval`.

use std::borrow::Cow;
use std::fmt::Write as _;

use time::{Duration, OffsetDateTime, UtcOffset};

use super::value::str_repr;
use super::{Error, Eval, Scope, Value, filter};
use crate::base::timefmt::{self, Format, Period};

/// Arguments of a call, by position and by name.
pub(super) struct CallArgs<'a> {
    plain: Vec<Value<'a>>,
    named: Vec<(&'a str, Value<'a>)>,
}

impl<'a> CallArgs<'a> {
    pub(super) fn new(plain: Vec<Value<'a>>, named: Vec<(&'a str, Value<'a>)>) -> Self {
        CallArgs { plain, named }
    }

    /// The argument at `index`, or given by `name`.
    pub(super) fn get(&self, index: usize, name: &str) -> Option<&Value<'a>> {
        self.plain.get(index).or_else(|| self.named.iter().find(|(n, _)| *n == name).map(|(_, v)| v))
    }

    pub(super) fn need(&self, index: usize, name: &str) -> Eval<&Value<'a>> {
        self.get(index, name).ok_or_else(|| Error::wrong_type(format!("missing argument '{name}'")))
    }

    pub(super) fn plain(&self) -> &[Value<'a>] {
        &self.plain
    }

    pub(super) fn named(&self) -> &[(&'a str, Value<'a>)] {
        &self.named
    }

    pub(super) fn text(&self, index: usize, name: &str) -> Eval<Option<Cow<'a, str>>> {
        match self.get(index, name) {
            None | Some(Value::None) => Ok(None),
            Some(Value::Str(s)) => Ok(Some(s.clone())),
            Some(other) => Err(Error::wrong_type(format!("argument '{name}' must be str, not {}", other.type_name()))),
        }
    }

    pub(super) fn need_text(&self, index: usize, name: &str) -> Eval<Cow<'a, str>> {
        self.text(index, name)?.ok_or_else(|| Error::wrong_type(format!("missing argument '{name}'")))
    }

    pub(super) fn int(&self, index: usize, name: &str) -> Eval<Option<i128>> {
        match self.get(index, name) {
            None | Some(Value::None) => Ok(None),
            Some(v) => v.as_int().map(Some).ok_or_else(|| Error::wrong_type(format!("argument '{name}' must be int"))),
        }
    }
}

const GLOBALS: [&str; 14] = [
    "now_utc",
    "today_utc",
    "today_with_timezone",
    "timestamp",
    "max",
    "min",
    "day_delta",
    "duration",
    "format_datetime",
    "str_to_datetime",
    "sanitize_url",
    "camel_case_to_snake_case",
    "generate_uuid",
    "dict",
];

/// Is `name` a function of the reference's environment?
pub(super) fn is_global(name: &str) -> bool {
    GLOBALS.contains(&name)
}

/// Calls a function.
pub(super) fn global<'a>(name: &str, args: CallArgs<'a>, scope: &dyn Scope) -> Eval<Value<'a>> {
    let now = scope.now();
    Ok(match name {
        "now_utc" => Value::Time(now),
        "today_utc" => Value::Date(now.date()),
        "today_with_timezone" => match args.need_text(0, "timezone")?.as_ref() {
            "UTC" | "Etc/UTC" | "GMT" => Value::Date(now.date()),
            other => return Err(Error::other(format!("time zone '{other}' is not known here; only UTC is"))),
        },
        "timestamp" => match args.need(0, "dt")? {
            Value::Int(i) => Value::Int(*i),
            #[allow(clippy::cast_possible_truncation)]
            Value::Float(f) => Value::Int(*f as i128),
            other => Value::Float(epoch(moment(other)?)),
        },
        "str_to_datetime" => Value::Time(moment(args.need(0, "s")?)?.to_offset(UtcOffset::UTC)),
        "max" | "min" => {
            let items = match args.plain() {
                [one] => one.items()?,
                several => several.to_vec(),
            };
            let mut items = items.into_iter();
            let mut best = items.next().ok_or_else(|| Error::other(format!("{name}() of nothing")))?;
            for item in items {
                let order = item.order(&best)?;
                if if name == "max" { order.is_gt() } else { order.is_lt() } {
                    best = item;
                }
            }
            best
        }
        "day_delta" => {
            let days = args.need(0, "num_days")?;
            let days = days
                .as_int()
                .and_then(|d| i64::try_from(d).ok())
                .ok_or_else(|| Error::wrong_type("day_delta needs a number of days"))?;
            let format = args.text(1, "format")?.unwrap_or(Cow::Borrowed("%Y-%m-%dT%H:%M:%S.%f%z"));
            let then = now.checked_add(Duration::days(days)).ok_or_else(|| Error::other("date value out of range"))?;
            Value::str(format_of(&format)?.format(then))
        }
        "duration" => {
            let period = Period::parse(&args.need_text(0, "datestring")?).map_err(Error::other)?;
            if period.months == 0 { Value::Delta(period.exact) } else { Value::Period(period) }
        }
        "format_datetime" => {
            let format = format_of(&args.need_text(1, "format")?)?;
            let input = args.text(2, "input_format")?;
            let value = args.need(0, "dt")?;
            let then = match (value, input) {
                (Value::Time(t), _) => *t,
                (Value::Date(_), _) => {
                    return Err(Error::wrong_type("format_datetime takes a datetime, a text or a number, not a date"));
                }
                (value, Some(input)) => {
                    let input = format_of(&input)?;
                    input
                        .parse(&value.text())
                        .ok_or_else(|| Error::other(format!("the time does not match format '{}'", input.source())))?
                }
                (Value::Int(i), None) => {
                    timefmt::from_micros(*i * 1_000_000).ok_or_else(|| Error::other("the number is no time"))?
                }
                (value, None) => moment(value)?.to_offset(UtcOffset::UTC),
            };
            Value::str(format.format(then))
        }
        "sanitize_url" => Value::str(crate::base::percent::quote_plus(&args.need(0, "value")?.text())),
        "camel_case_to_snake_case" => {
            let text = args.need_text(0, "value")?;
            let mut out = String::new();
            for (i, c) in text.chars().enumerate() {
                if i > 0 && c.is_ascii_uppercase() {
                    out.push('_');
                }
                out.extend(c.to_lowercase());
            }
            Value::str(out)
        }
        "generate_uuid" => Value::str(uuid(now)),
        "dict" => Value::dict(args.named().iter().map(|(k, v)| (Value::str(*k), v.clone())).collect()),
        _ => return Err(Error::undefined(name)),
    })
}

/// A version 4 UUID from the process's hashing seeds.
fn uuid(now: OffsetDateTime) -> String {
    use std::hash::{BuildHasher as _, RandomState};
    let nanos = now.unix_timestamp_nanos();
    let (a, b) = (RandomState::new().hash_one(nanos), RandomState::new().hash_one(!nanos));
    let (a, b) = (a & !0xf000 | 0x4000, b & !(0xc000 << 48) | 0x8000 << 48);
    format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", a >> 32, a >> 16 & 0xffff, a & 0xffff, b >> 48, b & 0xffff_ffff_ffff)
}

fn format_of(text: &str) -> Eval<Format> {
    Format::compile(text).map_err(Error::other)
}

/// A point in time out of a value: a datetime, an ISO text or epoch seconds.
fn moment(value: &Value<'_>) -> Eval<OffsetDateTime> {
    match value {
        Value::Time(t) => Some(*t),
        Value::Str(s) => timefmt::parse_iso(s),
        Value::Int(i) => timefmt::from_micros(i.saturating_mul(1_000_000)),
        Value::Undefined(name) => return Err(Error::undefined(name)),
        _ => return Err(Error::wrong_type(format!("a value of type '{}' is no time", value.type_name()))),
    }
    .ok_or_else(|| Error::other(format!("a value of type '{}' is no ISO-8601 time", value.type_name())))
}

#[allow(clippy::cast_precision_loss)]
fn epoch(t: OffsetDateTime) -> f64 {
    t.unix_timestamp_nanos().div_euclid(1000) as f64 / 1e6
}

/// Attributes that are no methods.
pub(super) fn field<'a>(of: &Value<'a>, name: &str) -> Option<Value<'a>> {
    let int = |n: i128| Some(Value::Int(n));
    match (of, name) {
        (Value::Time(t), "year") => int(t.year().into()),
        (Value::Time(t), "month") => int(u8::from(t.month()).into()),
        (Value::Time(t), "day") => int(t.day().into()),
        (Value::Time(t), "hour") => int(t.hour().into()),
        (Value::Time(t), "minute") => int(t.minute().into()),
        (Value::Time(t), "second") => int(t.second().into()),
        (Value::Time(t), "microsecond") => int(t.microsecond().into()),
        (Value::Date(d), "year") => int(d.year().into()),
        (Value::Date(d), "month") => int(u8::from(d.month()).into()),
        (Value::Date(d), "day") => int(d.day().into()),
        (Value::Delta(d), "days") => int(d.whole_microseconds().div_euclid(86_400_000_000)),
        (Value::Delta(d), "seconds") => int(d.whole_microseconds().rem_euclid(86_400_000_000) / 1_000_000),
        (Value::Delta(d), "microseconds") => int(d.whole_microseconds().rem_euclid(1_000_000)),
        _ => None,
    }
}

/// Calls a method.
pub(super) fn method<'a>(of: &Value<'a>, name: &str, args: CallArgs<'a>) -> Eval<Value<'a>> {
    if name.starts_with('_') {
        return Err(Error::other(format!("access to attribute '{name}' is unsafe")));
    }
    let found = match of {
        Value::Undefined(what) => return Err(Error::undefined(what)),
        Value::Str(s) => text_method(s, name, &args)?,
        Value::Time(t) => time_method(*t, name, &args)?,
        Value::Date(d) => match name {
            "strftime" => Some(Value::str(format_of(&args.need_text(0, "format")?)?.format(d.midnight().assume_utc()))),
            "isoformat" => Some(Value::str(d.to_string())),
            "weekday" => Some(Value::Int(d.weekday().number_days_from_monday().into())),
            "isoweekday" => Some(Value::Int(d.weekday().number_from_monday().into())),
            _ => None,
        },
        Value::Delta(d) if name == "total_seconds" =>
        {
            #[allow(clippy::cast_precision_loss)]
            Some(Value::Float(d.whole_microseconds() as f64 / 1e6))
        }
        _ if of.is_dict() => dict_method(of, name, &args)?,
        _ if of.is_sequence() => list_method(of, name, &args)?,
        _ => None,
    };
    found.ok_or_else(|| Error::undefined(&format!("'{} object' has no attribute '{name}'", of.type_name())))
}

fn time_method<'a>(t: OffsetDateTime, name: &str, args: &CallArgs<'a>) -> Eval<Option<Value<'a>>> {
    Ok(Some(match name {
        "strftime" => Value::str(format_of(&args.need_text(0, "format")?)?.format(t)),
        "isoformat" => {
            let separator = args.text(0, "sep")?.and_then(|s| s.chars().next()).unwrap_or('T');
            Value::str(timefmt::isoformat(t, separator))
        }
        "timestamp" => Value::Float(epoch(t)),
        "date" => Value::Date(t.date()),
        "weekday" => Value::Int(t.weekday().number_days_from_monday().into()),
        "isoweekday" => Value::Int(t.weekday().number_from_monday().into()),
        "astimezone" => Value::Time(t.to_offset(UtcOffset::UTC)),
        "replace" => {
            let bad = |_| Error::other("replace() got a value out of range");
            let mut t = t;
            for (index, part) in
                ["year", "month", "day", "hour", "minute", "second", "microsecond"].into_iter().enumerate()
            {
                let Some(n) = args.int(index, part)? else { continue };
                let n = u32::try_from(n).map_err(|_| Error::other("replace() got a value out of range"))?;
                #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
                let replaced = match part {
                    "year" => t.replace_year(n as i32),
                    "month" => time::Month::try_from(n as u8).and_then(|m| t.replace_month(m)),
                    "day" => t.replace_day(n as u8),
                    "hour" => t.replace_hour(n as u8),
                    "minute" => t.replace_minute(n as u8),
                    "second" => t.replace_second(n as u8),
                    _ => t.replace_microsecond(n),
                };
                t = replaced.map_err(bad)?;
            }
            Value::Time(t)
        }
        _ => return Ok(None),
    }))
}

fn text_method<'a>(s: &Cow<'a, str>, name: &str, args: &CallArgs<'a>) -> Eval<Option<Value<'a>>> {
    let texts = |items: Vec<&str>| Value::list(items.into_iter().map(|t| Value::str(t.to_string())).collect());
    let any = |hit: fn(&str, &str) -> bool| -> Eval<Value<'a>> {
        let value = args.need(0, "prefix")?;
        let found = match value {
            Value::Str(part) => hit(s, part),
            Value::Tuple(parts) => parts.iter().any(|p| matches!(p, Value::Str(p) if hit(s, p))),
            _ => return Err(Error::wrong_type("expected a text or a tuple of texts")),
        };
        Ok(Value::Bool(found))
    };
    let trim = |start: bool, end: bool| -> Eval<Value<'a>> {
        let chars = args.text(0, "chars")?;
        let drop = |c: char| chars.as_ref().map_or(c.is_whitespace(), |set| set.contains(c));
        let mut t: &str = s;
        if start {
            t = t.trim_start_matches(drop);
        }
        if end {
            t = t.trim_end_matches(drop);
        }
        Ok(Value::str(t.to_string()))
    };
    let index_of = |found: Option<usize>| Value::Int(found.map_or(-1, |b| s[..b].chars().count() as i128));
    let all = |test: fn(char) -> bool| Value::Bool(!s.is_empty() && s.chars().all(test));
    let pad = |left: bool, right: bool| -> Eval<Value<'a>> {
        let width = usize::try_from(args.int(0, "width")?.unwrap_or(0).clamp(0, 1 << 20)).unwrap_or(0);
        let fill = args.text(1, "fillchar")?.and_then(|t| t.chars().next()).unwrap_or(' ');
        let missing = width.saturating_sub(s.chars().count());
        let before = if left && right {
            missing / 2 + (missing & width & 1)
        } else if left {
            missing
        } else {
            0
        };
        let after = if right { missing - before } else { 0 };
        let run = |n| std::iter::repeat_n(fill, n).collect::<String>();
        Ok(Value::str(run(before) + s + &run(after)))
    };
    Ok(Some(match name {
        "upper" => Value::str(s.to_uppercase()),
        "lower" | "casefold" => Value::str(s.to_lowercase()),
        "capitalize" => Value::str(filter::capitalize(s)),
        "title" => Value::str(filter::title(s)),
        "swapcase" => Value::str(
            s.chars()
                .flat_map(|c| {
                    if c.is_uppercase() { c.to_lowercase().collect::<Vec<_>>() } else { c.to_uppercase().collect() }
                })
                .collect::<String>(),
        ),
        "strip" => trim(true, true)?,
        "lstrip" => trim(true, false)?,
        "rstrip" => trim(false, true)?,
        "startswith" => any(|s, p| s.starts_with(p))?,
        "endswith" => any(|s, p| s.ends_with(p))?,
        "removeprefix" => {
            let part = args.need_text(0, "prefix")?;
            Value::str(s.strip_prefix(part.as_ref()).unwrap_or(s).to_string())
        }
        "removesuffix" => {
            let part = args.need_text(0, "suffix")?;
            Value::str(s.strip_suffix(part.as_ref()).unwrap_or(s).to_string())
        }
        "split" | "rsplit" => {
            let limit = args.int(1, "maxsplit")?.and_then(|n| usize::try_from(n).ok());
            let from_right = name == "rsplit";
            match args.text(0, "sep")? {
                Some(sep) if sep.is_empty() => return Err(Error::other("empty separator")),
                Some(sep) => match (limit, from_right) {
                    (None, _) => texts(s.split(sep.as_ref()).collect()),
                    (Some(n), false) => texts(s.splitn(n + 1, sep.as_ref()).collect()),
                    (Some(n), true) => {
                        let mut parts: Vec<&str> = s.rsplitn(n + 1, sep.as_ref()).collect();
                        parts.reverse();
                        texts(parts)
                    }
                },
                None => {
                    let mut parts: Vec<&str> = s.split_whitespace().collect();
                    if let Some(n) = limit.filter(|n| parts.len() > n + 1) {
                        // The unsplit rest keeps its blanks.
                        let cut = |part: &str| part.as_ptr() as usize - s.as_ptr() as usize;
                        if from_right {
                            let end = cut(parts[parts.len() - n - 1]) + parts[parts.len() - n - 1].len();
                            let tail = parts.split_off(parts.len() - n);
                            parts = vec![s[..end].trim_start()];
                            parts.extend(tail);
                        } else {
                            let start = cut(parts[n]);
                            parts.truncate(n);
                            parts.push(s[start..].trim_end());
                        }
                    }
                    texts(parts)
                }
            }
        }
        "splitlines" => texts(s.lines().collect()),
        "partition" | "rpartition" => {
            let sep = args.need_text(0, "sep")?;
            let at = if name == "partition" { s.find(sep.as_ref()) } else { s.rfind(sep.as_ref()) };
            let parts = match at {
                Some(at) => [&s[..at], sep.as_ref(), &s[at + sep.len()..]],
                None if name == "partition" => [s.as_ref(), "", ""],
                None => ["", "", s.as_ref()],
            };
            Value::tuple(parts.iter().map(|t| Value::str((*t).to_string())).collect())
        }
        "join" => {
            let mut out = String::new();
            for (i, item) in args.need(0, "iterable")?.items()?.iter().enumerate() {
                if i > 0 {
                    out.push_str(s);
                }
                match item {
                    Value::Str(t) => out.push_str(t),
                    other => {
                        return Err(Error::wrong_type(format!(
                            "sequence item {i}: expected str instance, {} found",
                            other.type_name()
                        )));
                    }
                }
            }
            Value::str(out)
        }
        "replace" => {
            let (old, new) = (args.need_text(0, "old")?, args.need_text(1, "new")?);
            match args.int(2, "count")?.and_then(|n| usize::try_from(n).ok()) {
                Some(n) => Value::str(s.replacen(old.as_ref(), &new, n)),
                None => Value::str(s.replace(old.as_ref(), &new)),
            }
        }
        "find" => index_of(s.find(args.need_text(0, "sub")?.as_ref())),
        "rfind" => index_of(s.rfind(args.need_text(0, "sub")?.as_ref())),
        "index" => match s.find(args.need_text(0, "sub")?.as_ref()) {
            Some(at) => index_of(Some(at)),
            None => return Err(Error::other("substring not found")),
        },
        "count" => Value::Int(s.matches(args.need_text(0, "sub")?.as_ref()).count() as i128),
        "zfill" => {
            let width = usize::try_from(args.int(0, "width")?.unwrap_or(0).clamp(0, 1 << 20)).unwrap_or(0);
            let (sign, digits) = s.strip_prefix(['-', '+']).map_or(("", s.as_ref()), |d| (&s[..1], d));
            Value::str(format!("{sign}{}{digits}", "0".repeat(width.saturating_sub(s.chars().count()))))
        }
        "ljust" => pad(false, true)?,
        "rjust" => pad(true, false)?,
        "center" => pad(true, true)?,
        "isdigit" | "isnumeric" | "isdecimal" => all(char::is_numeric),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isspace" => all(char::is_whitespace),
        "isupper" => Value::Bool(s.chars().any(char::is_uppercase) && !s.chars().any(char::is_lowercase)),
        "islower" => Value::Bool(s.chars().any(char::is_lowercase) && !s.chars().any(char::is_uppercase)),
        "format" => Value::str(brace_format(s, args)?),
        "encode" => Value::Str(s.clone()),
        _ => return Ok(None),
    }))
}

/// `'{} {0} {name} {0[key]} {:>5}'.format(…)`: positions, names and the commonest format codes.
fn brace_format(pattern: &str, args: &CallArgs<'_>) -> Eval<String> {
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
        let end = rest.find('}').filter(|_| brace == b'{').ok_or_else(|| Error::other("a lone brace in a format"))?;
        let (name, spec) = rest[..end].split_once(':').unwrap_or((&rest[..end], ""));
        rest = &rest[end + 1..];
        let value = if name.is_empty() {
            next += 1;
            args.plain.get(next - 1)
        } else if let Ok(index) = name.parse::<usize>() {
            args.plain.get(index)
        } else {
            args.named.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
        };
        let value = value.ok_or_else(|| Error::other("format() misses an argument"))?;
        let text = format_spec(value, spec)?;
        let _ = write!(out, "{text}");
    }
    out.push_str(rest);
    Ok(out)
}

fn format_spec(value: &Value<'_>, spec: &str) -> Eval<String> {
    if spec.is_empty() {
        return Ok(value.text().into_owned());
    }
    let zero = spec.starts_with('0');
    let align = spec.chars().next().filter(|c| "<>^".contains(*c));
    let body = spec.trim_start_matches(['<', '>', '^']);
    let kind = body.chars().last().filter(char::is_ascii_alphabetic);
    let numbers = body.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (width, precision) = numbers.split_once('.').unwrap_or((numbers, ""));
    let width: usize = if width.is_empty() {
        0
    } else {
        width.parse().map_err(|_| Error::other("a format code that is not known here"))?
    };
    let text = match (kind, value.as_f64()) {
        (Some('f'), Some(f)) => format!("{f:.*}", precision.parse().unwrap_or(6)),
        (Some('x'), _) => format!("{:x}", value.as_int().unwrap_or_default()),
        (None | Some('s' | 'd'), _) => value.text().into_owned(),
        _ => return Err(Error::other("a format code that is not known here")),
    };
    let missing = width.min(1 << 16).saturating_sub(text.chars().count());
    let fill = |n: usize| if zero { "0".repeat(n) } else { " ".repeat(n) };
    let right = align.map_or(value.as_f64().is_some(), |c| c == '>');
    Ok(match (align, right) {
        (Some('^'), _) => fill(missing / 2) + &text + &fill(missing - missing / 2),
        (_, true) => fill(missing) + &text,
        _ => text + &fill(missing),
    })
}

fn dict_method<'a>(of: &Value<'a>, name: &str, args: &CallArgs<'a>) -> Eval<Option<Value<'a>>> {
    let pairs = || of.pairs().into_iter();
    Ok(Some(match name {
        "get" => {
            let default = args.get(1, "default").cloned().unwrap_or(Value::None);
            of.entry(args.need(0, "key")?).unwrap_or(default)
        }
        "items" => Value::list(pairs().map(|(k, v)| Value::tuple(vec![k, v])).collect()),
        "keys" => Value::list(pairs().map(|(k, _)| k).collect()),
        "values" => Value::list(pairs().map(|(_, v)| v).collect()),
        "copy" => Value::dict(pairs().collect()),
        "update" | "setdefault" | "pop" => match of {
            Value::Dict(inner) => {
                for value in args.plain().iter().chain(args.named().iter().map(|(_, v)| v)) {
                    value.may_enter(of)?;
                }
                change_dict(inner, name, args)?
            }
            _ => return Err(Error::other("records, config and slices cannot be changed by a template")),
        },
        _ => return Ok(None),
    }))
}

type Pairs<'a> = std::cell::RefCell<Vec<(Value<'a>, Value<'a>)>>;

fn change_dict<'a>(dict: &Pairs<'a>, name: &str, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let put = |key: Value<'a>, value: Value<'a>| {
        let mut dict = dict.borrow_mut();
        match dict.iter_mut().find(|(k, _)| k.equals(&key)) {
            Some(slot) => slot.1 = value,
            None => dict.push((key, value)),
        }
    };
    if name == "update" {
        let more: Vec<_> = args.plain().iter().flat_map(Value::pairs).collect();
        for (key, value) in more {
            put(key, value);
        }
        for (key, value) in args.named() {
            put(Value::str(*key), value.clone());
        }
        return Ok(Value::None);
    }
    let key = args.need(0, "key")?;
    let found = dict.borrow().iter().position(|(k, _)| k.equals(key));
    match (found, args.get(1, "default")) {
        (Some(at), _) if name == "pop" => Ok(dict.borrow_mut().remove(at).1),
        (Some(at), _) => Ok(dict.borrow()[at].1.clone()),
        (None, Some(default)) => {
            if name == "setdefault" {
                put(key.clone(), default.clone());
            }
            Ok(default.clone())
        }
        (None, None) if name == "setdefault" => {
            put(key.clone(), Value::None);
            Ok(Value::None)
        }
        (None, None) => {
            let mut text = String::new();
            str_repr(&key.text(), &mut text);
            Err(Error::other(format!("no key {text}")))
        }
    }
}

fn list_method<'a>(of: &Value<'a>, name: &str, args: &CallArgs<'a>) -> Eval<Option<Value<'a>>> {
    let items = of.items()?;
    Ok(Some(match name {
        "count" => {
            let wanted = args.need(0, "value")?;
            Value::Int(items.iter().filter(|i| i.equals(wanted)).count() as i128)
        }
        "index" => {
            let wanted = args.need(0, "value")?;
            let at =
                items.iter().position(|i| i.equals(wanted)).ok_or_else(|| Error::other("the value is not in list"))?;
            Value::Int(at as i128)
        }
        "copy" => Value::list(items),
        "append" | "extend" | "insert" | "pop" | "remove" | "reverse" => match of {
            Value::List(list) => {
                for value in args.plain() {
                    value.may_enter(of)?;
                }
                let mut list = list.borrow_mut();
                match name {
                    "append" => list.push(args.need(0, "object")?.clone()),
                    "extend" => list.extend(args.need(0, "iterable")?.items()?),
                    "insert" => {
                        let at = usize::try_from(args.int(0, "index")?.unwrap_or(0)).unwrap_or(0).min(list.len());
                        list.insert(at, args.need(1, "object")?.clone());
                    }
                    "reverse" => list.reverse(),
                    "remove" => {
                        let wanted = args.need(0, "value")?;
                        let at = list
                            .iter()
                            .position(|i| i.equals(wanted))
                            .ok_or_else(|| Error::other("the value is not in list"))?;
                        list.remove(at);
                    }
                    _ => {
                        let at = args.int(0, "index")?.unwrap_or(-1);
                        let len = list.len() as i128;
                        let at = usize::try_from(if at < 0 { at + len } else { at }).ok().filter(|i| *i < list.len());
                        return Ok(Some(list.remove(at.ok_or_else(|| Error::other("pop index out of range"))?)));
                    }
                }
                Value::None
            }
            _ => return Err(Error::other("records, config and slices cannot be changed by a template")),
        },
        _ => return Ok(None),
    }))
}
