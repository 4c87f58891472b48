//! Python's operators: arithmetic, comparison, attributes, items, slices.
//!
//! Input: evaluated values. Output: a value, or Python's error. Called by `eval`, and by the filters and tests that
//! compare or access parts of values.

use time::Duration;

use super::ast::{Cmp, Op};
use super::format::percent_format;
use super::value::{fits, fits_list};
use super::{Error, Eval, Value, method, missing};

/// `-value`.
pub(super) fn negative(value: Value<'_>) -> Eval<Value<'_>> {
    Ok(match value {
        Value::Float(f) => Value::Float(-f),
        Value::Delta(d) => Value::Delta(-d),
        other => Value::Int(other.as_int().and_then(i128::checked_neg).ok_or_else(|| unary_type('-', &other))?),
    })
}

/// `+value`.
pub(super) fn positive(value: Value<'_>) -> Eval<Value<'_>> {
    Ok(match value {
        Value::Float(f) => Value::Float(f),
        other => Value::Int(other.as_int().ok_or_else(|| unary_type('+', &other))?),
    })
}

fn unary_type(op: char, value: &Value<'_>) -> Error {
    match value {
        Value::Undefined(name) => Error::undefined(name),
        _ => Error::wrong_type(format!("bad operand type for unary {op}: '{}'", value.type_name())),
    }
}

/// `value.name`: an attribute, else an entry.
pub(super) fn attribute<'a>(of: &Value<'a>, name: &'a str) -> Eval<Value<'a>> {
    if name.starts_with('_') {
        return Err(Error::other(format!("access to attribute '{name}' is unsafe")));
    }
    if let Value::Undefined(what) = of {
        return Err(Error::undefined(what));
    }
    if let Some(found) = method::field(of, name) {
        return Ok(found);
    }
    Ok(of.entry(&Value::str(name)).unwrap_or_else(|| missing(name)))
}

/// `value[key]`: an entry or element, else an attribute.
pub(super) fn item<'a>(of: &Value<'a>, key: &Value<'a>) -> Eval<Value<'a>> {
    if let Value::Undefined(what) = of {
        return Err(Error::undefined(what));
    }
    let found = match key.as_int() {
        Some(i) if !of.is_dict() => of.element(i),
        _ => of.entry(key),
    };
    Ok(match (found, key) {
        (Some(found), _) => found,
        (None, Value::Str(name)) => method::field(of, name).unwrap_or_else(|| missing(name)),
        (None, _) => missing("the index does not exist"),
    })
}

/// `value[start:stop:step]`.
pub(super) fn slice<'a>(of: &Value<'a>, [start, stop, step]: [Option<i128>; 3]) -> Eval<Value<'a>> {
    if let Value::Undefined(what) = of {
        return Err(Error::undefined(what));
    }
    if of.is_dict() || of.length().is_none() {
        return Err(Error::wrong_type(format!("'{}' object is not subscriptable by a slice", of.type_name())));
    }
    let items = of.items()?;
    let len = items.len() as i128;
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(Error::other("slice step cannot be zero"));
    }
    let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let place = |bound: Option<i128>, default: i128| {
        bound.map_or(default, |b| if b < 0 { b.saturating_add(len) } else { b }.clamp(low, high))
    };
    let (mut at, end) =
        if step > 0 { (place(start, 0), place(stop, len)) } else { (place(start, len - 1), place(stop, -1)) };
    let mut out = Vec::new();
    while (step > 0 && at < end) || (step < 0 && at > end) {
        if let Some(found) = usize::try_from(at).ok().and_then(|i| items.get(i)) {
            out.push(found.clone());
        }
        at = at.saturating_add(step);
    }
    Ok(match of {
        Value::Str(_) => Value::str(out.iter().map(Value::text).collect::<String>()),
        Value::Tuple(_) => Value::tuple(out),
        _ => Value::list(out),
    })
}

/// `a op b`, true or false.
pub(super) fn compare<'a>(op: Cmp, a: &Value<'a>, b: &Value<'a>) -> Eval<bool> {
    Ok(match op {
        Cmp::Eq => a.equals(b),
        Cmp::Ne => !a.equals(b),
        Cmp::Lt => a.order(b)?.is_lt(),
        Cmp::Le => a.order(b)?.is_le(),
        Cmp::Gt => a.order(b)?.is_gt(),
        Cmp::Ge => a.order(b)?.is_ge(),
        Cmp::In => b.contains(a)?,
        Cmp::NotIn => !b.contains(a)?,
    })
}

/// `a op b`.
pub(super) fn binary<'a>(op: Op, a: &Value<'a>, b: &Value<'a>) -> Eval<Value<'a>> {
    if op == Op::Concat {
        let (a, b) = (a.text(), b.text());
        fits(a.len() + b.len())?;
        return Ok(Value::str(a.into_owned() + &b));
    }
    for side in [a, b] {
        if let Value::Undefined(what) = side {
            return Err(Error::undefined(what));
        }
    }
    if let Some(done) = with_times(op, a, b) {
        return done.ok_or_else(overflow);
    }
    if let (Some(x), Some(y)) = (a.as_int(), b.as_int()) {
        return with_ints(op, x, y);
    }
    if let (Some(x), Some(y)) = (a.as_f64(), b.as_f64()) {
        return with_floats(op, x, y).map(Value::Float);
    }
    match (op, a, b) {
        (Op::Add, Value::Str(x), Value::Str(y)) => {
            fits(x.len() + y.len())?;
            Ok(Value::str(format!("{x}{y}")))
        }
        (Op::Add, Value::Tuple(x), Value::Tuple(y)) => Ok(Value::tuple(x.iter().chain(y.iter()).cloned().collect())),
        (Op::Add, _, _) if a.type_name() == "list" && b.type_name() == "list" => {
            let mut items = a.items()?;
            items.extend(b.items()?);
            fits_list(items.len())?;
            Ok(Value::list(items))
        }
        (Op::Mul, _, _) => match (a.as_int(), b.as_int()) {
            (None, Some(times)) => repeated(a, times)?,
            (Some(times), None) => repeated(b, times)?,
            _ => None,
        }
        .ok_or_else(|| unsupported(a, b)),
        (Op::Rem, Value::Str(format), _) => percent_format(format, b).map(Value::str),
        _ => Err(unsupported(a, b)),
    }
}

fn overflow() -> Error {
    Error::other("the number is out of range")
}

fn unsupported(a: &Value<'_>, b: &Value<'_>) -> Error {
    Error::wrong_type(format!("unsupported operand types: '{}' and '{}'", a.type_name(), b.type_name()))
}

#[allow(clippy::cast_precision_loss)]
fn with_ints<'a>(op: Op, x: i128, y: i128) -> Eval<Value<'a>> {
    match op {
        Op::Add => x.checked_add(y),
        Op::Sub => x.checked_sub(y),
        Op::Mul => x.checked_mul(y),
        Op::FloorDiv | Op::Rem | Op::Div if y == 0 => return Err(Error::other("division by zero")),
        Op::Div => return Ok(Value::Float(x as f64 / y as f64)),
        Op::FloorDiv => Some(x.div_euclid(y) - i128::from(y < 0 && x.rem_euclid(y) != 0)),
        Op::Rem => Some(if y < 0 && x.rem_euclid(y) != 0 { x.rem_euclid(y) + y } else { x.rem_euclid(y) }),
        Op::Pow if y >= 0 => u32::try_from(y).ok().and_then(|y| x.checked_pow(y)),
        Op::Pow => return Ok(Value::Float((x as f64).powf(y as f64))),
        Op::Concat => None,
    }
    .map(Value::Int)
    .ok_or_else(overflow)
}

fn with_floats(op: Op, x: f64, y: f64) -> Eval<f64> {
    if y == 0.0 && matches!(op, Op::Div | Op::FloorDiv | Op::Rem) {
        return Err(Error::other("division by zero"));
    }
    Ok(match op {
        Op::Add => x + y,
        Op::Sub => x - y,
        Op::Mul => x * y,
        Op::Div => x / y,
        Op::FloorDiv => (x / y).floor(),
        Op::Rem => x - y * (x / y).floor(),
        Op::Pow => x.powf(y),
        Op::Concat => f64::NAN,
    })
}

/// A text or sequence, repeated; `None` if it cannot be repeated.
fn repeated<'a>(of: &Value<'a>, times: i128) -> Eval<Option<Value<'a>>> {
    let times = usize::try_from(times.max(0)).map_err(|_| overflow())?;
    Ok(match of {
        Value::Str(s) => {
            fits(s.len().saturating_mul(times))?;
            Some(Value::str(s.repeat(times)))
        }
        _ if of.is_sequence() => {
            fits_list(of.length().unwrap_or(0).saturating_mul(times))?;
            fits(of.weight().saturating_mul(times))?;
            let items = of.items()?;
            Some(Value::list((0..times).flat_map(|_| items.clone()).collect()))
        }
        _ => None,
    })
}

/// Arithmetic with times; `None` if neither side is one, `Some(None)` if out of range.
fn with_times<'a>(op: Op, a: &Value<'a>, b: &Value<'a>) -> Option<Option<Value<'a>>> {
    Some(match (op, a, b) {
        (Op::Add, Value::Time(t), Value::Delta(d)) | (Op::Add, Value::Delta(d), Value::Time(t)) => {
            t.checked_add(*d).map(Value::Time)
        }
        (Op::Sub, Value::Time(t), Value::Delta(d)) => t.checked_sub(*d).map(Value::Time),
        (Op::Sub, Value::Time(t), Value::Time(u)) => Some(Value::Delta(*t - *u)),
        (Op::Add, Value::Time(t), Value::Period(p)) | (Op::Add, Value::Period(p), Value::Time(t)) => {
            p.after(*t).map(Value::Time)
        }
        (Op::Sub, Value::Time(t), Value::Period(p)) => p.before(*t).map(Value::Time),
        (Op::Add, Value::Date(t), Value::Delta(d)) | (Op::Add, Value::Delta(d), Value::Date(t)) => {
            t.checked_add(Duration::days(d.whole_days())).map(Value::Date)
        }
        (Op::Sub, Value::Date(t), Value::Delta(d)) => t.checked_sub(Duration::days(d.whole_days())).map(Value::Date),
        (Op::Sub, Value::Date(t), Value::Date(u)) => Some(Value::Delta(*t - *u)),
        (Op::Add | Op::Sub, Value::Date(t), Value::Period(p)) => {
            let t = t.midnight().assume_utc();
            if op == Op::Add { p.after(t) } else { p.before(t) }.map(|t| Value::Date(t.date()))
        }
        (Op::Add, Value::Delta(x), Value::Delta(y)) => x.checked_add(*y).map(Value::Delta),
        (Op::Sub, Value::Delta(x), Value::Delta(y)) => x.checked_sub(*y).map(Value::Delta),
        (Op::Mul, Value::Delta(d), n) | (Op::Mul, n, Value::Delta(d)) => {
            let n = i32::try_from(n.as_int()?).ok();
            n.and_then(|n| d.checked_mul(n)).map(Value::Delta)
        }
        (Op::Div, Value::Delta(x), Value::Delta(y)) if !y.is_zero() => {
            Some(Value::Float(x.as_seconds_f64() / y.as_seconds_f64()))
        }
        (Op::FloorDiv, Value::Delta(x), Value::Delta(y)) if !y.is_zero() => {
            Some(Value::Int(x.whole_microseconds().div_euclid(y.whole_microseconds())))
        }
        (Op::Div | Op::FloorDiv, Value::Delta(d), n) => {
            let n = n.as_int().filter(|n| *n != 0)?;
            i32::try_from(n).ok().and_then(|n| d.checked_div(n)).map(Value::Delta)
        }
        _ => return None,
    })
}
