//! The functions that templates call: the reference's macros.
//!
//! Input: a name, arguments, the run's "now". Output: a value. Called by `eval`.

// One table holds all functions, so all have the same signature.
#![allow(clippy::unnecessary_wraps)]

use std::cmp::Ordering;

use time::{Duration, OffsetDateTime, UtcOffset};

use super::args::CallArgs;
use super::{Error, Eval, Scope, Value};
use crate::base::percent;
use crate::base::timefmt::{self, Format, Period};

/// A function: its arguments, and the result of `now_utc()`.
type Function = for<'a> fn(&CallArgs<'a>, OffsetDateTime) -> Eval<Value<'a>>;

fn find(name: &str) -> Option<Function> {
    Some(match name {
        "now_utc" => |_, now| Ok(Value::Time(now)),
        "today_utc" => |_, now| Ok(Value::Date(now.date())),
        "today_with_timezone" => today_with_timezone,
        "timestamp" => timestamp,
        "max" => |args, _| extreme(args, "max", Ordering::Greater),
        "min" => |args, _| extreme(args, "min", Ordering::Less),
        "day_delta" => day_delta,
        "duration" => duration,
        "format_datetime" => format_datetime,
        "str_to_datetime" => str_to_datetime,
        "sanitize_url" => sanitize_url,
        "camel_case_to_snake_case" => camel_case_to_snake_case,
        "generate_uuid" => |_, now| Ok(Value::str(uuid(now))),
        "dict" => |args, _| Ok(args.named_dict()),
        _ => return None,
    })
}

/// Is `name` a function of the reference's environment?
pub(super) fn is_global(name: &str) -> bool {
    find(name).is_some()
}

/// Calls a function.
pub(super) fn call<'a>(name: &str, args: &CallArgs<'a>, scope: &dyn Scope) -> Eval<Value<'a>> {
    let function = find(name).ok_or_else(|| Error::undefined(name))?;
    function(args, scope.now())
}

fn today_with_timezone<'a>(args: &CallArgs<'a>, now: OffsetDateTime) -> Eval<Value<'a>> {
    match args.need_text(0, "timezone")?.as_ref() {
        "UTC" | "Etc/UTC" | "GMT" => Ok(Value::Date(now.date())),
        other => Err(Error::other(format!("time zone '{other}' is not supported; use UTC"))),
    }
}

fn timestamp<'a>(args: &CallArgs<'a>, _: OffsetDateTime) -> Eval<Value<'a>> {
    Ok(match args.need(0, "dt")? {
        Value::Int(i) => Value::Int(*i),
        #[allow(clippy::cast_possible_truncation)]
        Value::Float(f) => Value::Int(*f as i128),
        other => Value::Float(epoch_seconds(moment(other)?)),
    })
}

fn str_to_datetime<'a>(args: &CallArgs<'a>, _: OffsetDateTime) -> Eval<Value<'a>> {
    Ok(Value::Time(moment(args.need(0, "s")?)?.to_offset(UtcOffset::UTC)))
}

/// The largest or smallest argument, or item of a single argument.
fn extreme<'a>(args: &CallArgs<'a>, name: &str, better: Ordering) -> Eval<Value<'a>> {
    let items = match args.plain() {
        [one] => one.items()?,
        several => several.to_vec(),
    };
    let mut items = items.into_iter();
    let mut best = items.next().ok_or_else(|| Error::other(format!("{name}() of an empty sequence")))?;
    for item in items {
        if item.order(&best)? == better {
            best = item;
        }
    }
    Ok(best)
}

fn day_delta<'a>(args: &CallArgs<'a>, now: OffsetDateTime) -> Eval<Value<'a>> {
    let days = args.need(0, "num_days")?.as_int().and_then(|d| i64::try_from(d).ok());
    let days = days.ok_or_else(|| Error::wrong_type("day_delta needs a number of days"))?;
    let format = args.text(1, "format")?.unwrap_or("%Y-%m-%dT%H:%M:%S.%f%z".into());
    let then = now.checked_add(Duration::days(days)).ok_or_else(|| Error::other("date value out of range"))?;
    Ok(Value::str(time_format(&format)?.format(then)))
}

fn duration<'a>(args: &CallArgs<'a>, _: OffsetDateTime) -> Eval<Value<'a>> {
    let period = Period::parse(&args.need_text(0, "datestring")?).map_err(Error::other)?;
    Ok(if period.months == 0 { Value::Delta(period.exact) } else { Value::Period(period) })
}

fn format_datetime<'a>(args: &CallArgs<'a>, _: OffsetDateTime) -> Eval<Value<'a>> {
    let format = time_format(&args.need_text(1, "format")?)?;
    let then = match (args.need(0, "dt")?, args.text(2, "input_format")?) {
        (Value::Time(t), _) => *t,
        (Value::Date(_), _) => {
            return Err(Error::wrong_type("format_datetime takes a datetime, a string or a number, not a date"));
        }
        (value, Some(input)) => {
            let input = time_format(&input)?;
            input
                .parse(&value.text())
                .ok_or_else(|| Error::other(format!("the time does not match format '{}'", input.source())))?
        }
        (Value::Int(i), None) => {
            timefmt::from_micros(*i * 1_000_000).ok_or_else(|| Error::other("the number is not a valid time"))?
        }
        (value, None) => moment(value)?.to_offset(UtcOffset::UTC),
    };
    Ok(Value::str(format.format(then)))
}

fn sanitize_url<'a>(args: &CallArgs<'a>, _: OffsetDateTime) -> Eval<Value<'a>> {
    Ok(Value::str(percent::quote_plus(&args.need(0, "value")?.text())))
}

fn camel_case_to_snake_case<'a>(args: &CallArgs<'a>, _: OffsetDateTime) -> Eval<Value<'a>> {
    let mut out = String::new();
    for (i, c) in args.need_text(0, "value")?.chars().enumerate() {
        if i > 0 && c.is_ascii_uppercase() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    Ok(Value::str(out))
}

/// A version 4 UUID from the process's hashing seeds.
fn uuid(now: OffsetDateTime) -> String {
    use std::hash::{BuildHasher as _, RandomState};
    let nanos = now.unix_timestamp_nanos();
    let (a, b) = (RandomState::new().hash_one(nanos), RandomState::new().hash_one(!nanos));
    let (a, b) = (a & !0xf000 | 0x4000, b & !(0xc000 << 48) | 0x8000 << 48);
    format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", a >> 32, a >> 16 & 0xffff, a & 0xffff, b >> 48, b & 0xffff_ffff_ffff)
}

/// Compiles a strftime format.
pub(super) fn time_format(text: &str) -> Eval<Format> {
    Format::compile(text).map_err(Error::other)
}

/// A point in time from a value: a datetime, an ISO text or epoch seconds.
fn moment(value: &Value<'_>) -> Eval<OffsetDateTime> {
    match value {
        Value::Time(t) => Some(*t),
        Value::Str(s) => timefmt::parse_iso(s),
        Value::Int(i) => timefmt::from_micros(i.saturating_mul(1_000_000)),
        Value::Undefined(name) => return Err(Error::undefined(name)),
        _ => return Err(Error::wrong_type(format!("a value of type '{}' is not a time", value.type_name()))),
    }
    .ok_or_else(|| Error::other(format!("a value of type '{}' is not an ISO-8601 time", value.type_name())))
}

/// Seconds since 1970, with microseconds.
#[allow(clippy::cast_precision_loss)]
pub(super) fn epoch_seconds(t: OffsetDateTime) -> f64 {
    t.unix_timestamp_nanos().div_euclid(1000) as f64 / 1e6
}
