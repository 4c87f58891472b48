//! The attributes and methods of Python's types.
//!
//! Input: a value, the name of an attribute or method, arguments. Output: a value. Called by `eval`.

// The tables hold all methods, so all have the same signature.
#![allow(clippy::unnecessary_wraps)]

mod dict;
mod list;
mod text;
mod time;

pub(super) use text::capitalize;

use super::args::CallArgs;
use super::{Error, Eval, Value};

/// A method of `T`: the value, and the arguments.
type Method<T> = for<'a> fn(&T, &CallArgs<'a>) -> Eval<Value<'a>>;

/// A method of a list or dict; it may change the value.
type ContainerMethod = for<'a> fn(&Value<'a>, &CallArgs<'a>) -> Eval<Value<'a>>;

/// Attributes that are not methods.
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
pub(super) fn call<'a>(of: &Value<'a>, name: &str, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    if name.starts_with('_') {
        return Err(Error::other(format!("access to attribute '{name}' is unsafe")));
    }
    let done = match of {
        Value::Undefined(what) => return Err(Error::undefined(what)),
        Value::Str(s) => text::find(name).map(|method| method(s, args)),
        Value::Time(t) => time::of_datetime(name).map(|method| method(t, args)),
        Value::Date(d) => time::of_date(name).map(|method| method(d, args)),
        Value::Delta(d) => time::of_timedelta(name).map(|method| method(d, args)),
        _ if of.is_dict() => dict::find(name).map(|method| method(of, args)),
        _ if of.is_sequence() => list::find(name).map(|method| method(of, args)),
        _ => None,
    };
    done.unwrap_or_else(|| Err(Error::undefined(&format!("'{} object' has no attribute '{name}'", of.type_name()))))
}

fn not_own() -> Error {
    Error::other("templates cannot change records, the config or slices")
}
