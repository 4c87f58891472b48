//! Jinja's tests: the right side of `is`.
//!
//! Input: a name, a value, arguments. Output: true or false. Called by `eval` and by the filters that select.

use super::args::CallArgs;
use super::ast::Cmp;
use super::operator::compare;
use super::{Error, Eval, Value};

/// Does the test hold? An unknown name is an error of the manifest, not of a run.
pub(super) fn holds<'a>(name: &str, of: &Value<'a>, args: &CallArgs<'a>) -> Eval<bool> {
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
