//! Filters that return numbers.
//!
//! Input: a number, or its text. Output: a number. Called through the table of `filter`.

use super::{CallArgs, Error, Eval, Value};

pub(super) fn int<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    defined(&of)?;
    let default = args.get(0, "default").cloned().unwrap_or(Value::Int(0));
    let base = args.int(1, "base")?.and_then(|b| u32::try_from(b).ok()).unwrap_or(10);
    Ok(to_int(&of, base).map_or(default, Value::Int))
}

pub(super) fn float<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    defined(&of)?;
    let default = args.get(0, "default").cloned().unwrap_or(Value::Float(0.0));
    let value = match &of {
        Value::Str(s) => s.trim().replace('_', "").parse().ok(),
        other => other.as_f64(),
    };
    Ok(value.map_or(default, Value::Float))
}

fn defined(of: &Value<'_>) -> Eval<()> {
    if matches!(of, Value::Undefined(_)) { Err(Error::undefined(&of.text())) } else { Ok(()) }
}

pub(super) fn abs<'a>(of: Value<'a>, _: &CallArgs<'a>) -> Eval<Value<'a>> {
    Ok(match of {
        Value::Float(f) => Value::Float(f.abs()),
        other => Value::Int(other.as_int().ok_or_else(|| Error::wrong_type("bad operand type for abs()"))?.abs()),
    })
}

pub(super) fn round<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let f = of.as_f64().ok_or_else(|| Error::wrong_type("round needs a number"))?;
    let places = args.int(0, "precision")?.and_then(|p| i32::try_from(p).ok()).unwrap_or(0);
    let method = args.text(1, "method")?;
    if let (Some(whole), true, None) = (of.as_int(), places >= 0, &method) {
        return Ok(Value::Int(whole));
    }
    let scale = 10f64.powi(places);
    Ok(Value::Float(match method.as_deref() {
        Some("ceil") => (f * scale).ceil() / scale,
        Some("floor") => (f * scale).floor() / scale,
        _ if places >= 0 => format!("{f:.*}", usize::try_from(places).unwrap_or(0)).parse().unwrap_or(f),
        _ => (f * scale).round_ties_even() / scale,
    }))
}

/// Python's `int()` of a value, in the given base; `None` if it is invalid.
pub(in super::super) fn to_int(of: &Value<'_>, base: u32) -> Option<i128> {
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
