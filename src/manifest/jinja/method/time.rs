//! Methods of `datetime`, `date` and `timedelta`.
//!
//! Input: a time and arguments. Output: a value. Called through the tables of `method`.

use time::{Date, Duration, Month, OffsetDateTime, UtcOffset};

use super::{CallArgs, Error, Eval, Method, Value};
use crate::base::timefmt;
use crate::manifest::jinja::functions::{epoch_seconds, time_format};

pub(super) fn of_datetime(name: &str) -> Option<Method<OffsetDateTime>> {
    Some(match name {
        "strftime" => |t, args| strftime(*t, args),
        "isoformat" => isoformat,
        "timestamp" => |t, _| Ok(Value::Float(epoch_seconds(*t))),
        "date" => |t, _| Ok(Value::Date(t.date())),
        "weekday" => |t, _| Ok(Value::Int(t.weekday().number_days_from_monday().into())),
        "isoweekday" => |t, _| Ok(Value::Int(t.weekday().number_from_monday().into())),
        "astimezone" => |t, _| Ok(Value::Time(t.to_offset(UtcOffset::UTC))),
        "replace" => replace,
        _ => return None,
    })
}

pub(super) fn of_date(name: &str) -> Option<Method<Date>> {
    Some(match name {
        "strftime" => |d, args| strftime(d.midnight().assume_utc(), args),
        "isoformat" => |d, _| Ok(Value::str(d.to_string())),
        "weekday" => |d, _| Ok(Value::Int(d.weekday().number_days_from_monday().into())),
        "isoweekday" => |d, _| Ok(Value::Int(d.weekday().number_from_monday().into())),
        _ => return None,
    })
}

pub(super) fn of_timedelta(name: &str) -> Option<Method<Duration>> {
    #[allow(clippy::cast_precision_loss)]
    Some(match name {
        "total_seconds" => |d, _| Ok(Value::Float(d.whole_microseconds() as f64 / 1e6)),
        _ => return None,
    })
}

fn strftime<'a>(t: OffsetDateTime, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    Ok(Value::str(time_format(&args.need_text(0, "format")?)?.format(t)))
}

fn isoformat<'a>(t: &OffsetDateTime, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let separator = args.text(0, "sep")?.and_then(|s| s.chars().next()).unwrap_or('T');
    Ok(Value::str(timefmt::isoformat(*t, separator)))
}

fn replace<'a>(t: &OffsetDateTime, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let mut t = *t;
    let parts = ["year", "month", "day", "hour", "minute", "second", "microsecond"];
    for (index, part) in parts.into_iter().enumerate() {
        let Some(n) = args.int(index, part)? else { continue };
        let n = u32::try_from(n).map_err(|_| Error::other("replace() got a value out of range"))?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
        let replaced = match part {
            "year" => t.replace_year(n as i32),
            "month" => Month::try_from(n as u8).and_then(|m| t.replace_month(m)),
            "day" => t.replace_day(n as u8),
            "hour" => t.replace_hour(n as u8),
            "minute" => t.replace_minute(n as u8),
            "second" => t.replace_second(n as u8),
            _ => t.replace_microsecond(n),
        };
        t = replaced.map_err(|_| Error::other("replace() got a value out of range"))?;
    }
    Ok(Value::Time(t))
}
