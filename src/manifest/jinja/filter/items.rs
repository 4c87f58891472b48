//! Filters on containers: lists, dicts, texts.
//!
//! Input: a value to iterate over. Output: some of its items, or one value built from all. Called through the table
//! of `filter`.

use std::cmp::Ordering;

use super::{CallArgs, Error, Eval, Value, apply, deep, deep_or_self, missing};
use crate::manifest::jinja::test;
use crate::manifest::jinja::value::fits;

/// The maximum number of rows of `batch` and `slice`.
const MAX_ROWS: usize = 100_000;

pub(super) fn length<'a>(of: Value<'a>, _: &CallArgs<'a>) -> Eval<Value<'a>> {
    let len = of.length();
    let len = len.ok_or_else(|| Error::wrong_type(format!("object of type '{}' has no len()", of.type_name())))?;
    Ok(Value::Int(len as i128))
}

pub(super) fn first<'a>(of: Value<'a>, _: &CallArgs<'a>) -> Eval<Value<'a>> {
    Ok(of.items()?.into_iter().next().unwrap_or_else(|| missing("the first item of an empty sequence")))
}

pub(super) fn last<'a>(of: Value<'a>, _: &CallArgs<'a>) -> Eval<Value<'a>> {
    Ok(of.items()?.into_iter().next_back().unwrap_or_else(|| missing("the last item of an empty sequence")))
}

pub(super) fn reverse<'a>(of: Value<'a>, _: &CallArgs<'a>) -> Eval<Value<'a>> {
    Ok(match &of {
        Value::Str(s) => Value::str(s.chars().rev().collect::<String>()),
        other => Value::list(other.items()?.into_iter().rev().collect()),
    })
}

pub(super) fn join<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let between = args.get(0, "d").map(|d| d.text().into_owned()).unwrap_or_default();
    let mut out = String::new();
    for (i, value) in of.items()?.into_iter().enumerate() {
        if i > 0 {
            out.push_str(&between);
        }
        out.push_str(&deep_or_self(&value, args.get(1, "attribute"))?.text());
        fits(out.len())?;
    }
    Ok(Value::str(out))
}

/// `map(attribute='a.b', default=…)`, else `map('filter', …)`.
pub(super) fn map<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let items = of.items()?.into_iter();
    let mapped: Eval<Vec<Value<'a>>> = if let Some(path) = args.keyword("attribute") {
        let default = args.keyword("default");
        let look = |item| match (deep(&item, path)?, default) {
            (Value::Undefined(_), Some(default)) => Ok(default.clone()),
            (value, _) => Ok(value),
        };
        items.map(look).collect()
    } else {
        let filter = args.need_text(0, "name")?;
        let rest = args.plain_from(1);
        let mut weight = 0_usize;
        let apply = |item| {
            let mapped = apply(&filter, item, &rest)?;
            weight = weight.saturating_add(mapped.weight());
            fits(weight).map(|()| mapped)
        };
        items.map(apply).collect()
    };
    mapped.map(Value::list)
}

/// Configures `select` and related filters.
pub(super) struct Pick {
    /// Is an attribute tested instead of the item?
    pub(super) by_attribute: bool,
    /// Are matching items kept, or those that do not match?
    pub(super) keep_hits: bool,
}

pub(super) fn pick<'a>(of: Value<'a>, args: &CallArgs<'a>, pick: Pick) -> Eval<Value<'a>> {
    let at = usize::from(pick.by_attribute);
    let test_name = args.text(at, "test")?;
    let rest = args.plain_from(at + 1);
    let mut out = Vec::new();
    for value in of.items()? {
        let path = if pick.by_attribute { Some(args.need(0, "attribute")?) } else { None };
        let tested = deep_or_self(&value, path)?;
        let hit = match &test_name {
            Some(name) => test::holds(name, &tested, &rest)?,
            None => tested.truthy(),
        };
        if hit == pick.keep_hits {
            out.push(value);
        }
    }
    Ok(Value::list(out))
}

pub(super) fn sort<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let mut keyed = Vec::new();
    for value in of.items()? {
        keyed.push((lowered(deep_or_self(&value, args.get(2, "attribute"))?), value));
    }
    let mut failed = None;
    keyed.sort_by(|a, b| {
        a.0.order(&b.0).unwrap_or_else(|e| {
            failed.get_or_insert(e);
            Ordering::Equal
        })
    });
    if let Some(error) = failed {
        return Err(error);
    }
    if args.flag(0, "reverse") {
        keyed.reverse();
    }
    Ok(Value::list(keyed.into_iter().map(|(_, v)| v).collect()))
}

pub(super) fn unique<'a>(of: Value<'a>, _: &CallArgs<'a>) -> Eval<Value<'a>> {
    let mut out: Vec<Value<'a>> = Vec::new();
    for value in of.items()? {
        let key = lowered(value.clone());
        if !out.iter().any(|v| lowered(v.clone()).equals(&key)) {
            out.push(value);
        }
    }
    Ok(Value::list(out))
}

/// The smallest or largest item, in the order `better`.
pub(super) fn extreme<'a>(of: &Value<'a>, better: Ordering) -> Eval<Value<'a>> {
    let mut best: Option<Value<'a>> = None;
    for value in of.items()? {
        let is_better = match &best {
            None => true,
            Some(best) => lowered(value.clone()).order(&lowered(best.clone()))? == better,
        };
        if is_better {
            best = Some(value);
        }
    }
    Ok(best.unwrap_or_else(|| missing("the extreme of an empty sequence")))
}

pub(super) fn sum<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let mut total = args.get(1, "start").cloned().unwrap_or(Value::Int(0));
    for value in of.items()? {
        let value = deep_or_self(&value, args.get(0, "attribute"))?;
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
    Ok(total)
}

pub(super) fn items<'a>(of: Value<'a>, _: &CallArgs<'a>) -> Eval<Value<'a>> {
    match &of {
        Value::Undefined(_) => Ok(Value::list(Vec::new())),
        other if other.is_dict() => Ok(tuples(other.pairs())),
        _ => Err(Error::other("items needs a dict")),
    }
}

pub(super) fn dictsort<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let by_value = args.text(1, "by")?.as_deref() == Some("value");
    let mut pairs = of.pairs();
    pairs.sort_by(|a, b| {
        let (x, y) = if by_value { (&a.1, &b.1) } else { (&a.0, &b.0) };
        lowered(x.clone()).order(&lowered(y.clone())).unwrap_or(Ordering::Equal)
    });
    if args.flag(2, "reverse") {
        pairs.reverse();
    }
    Ok(tuples(pairs))
}

fn tuples<'a>(pairs: Vec<(Value<'a>, Value<'a>)>) -> Value<'a> {
    Value::list(pairs.into_iter().map(|(k, v)| Value::tuple(vec![k, v])).collect())
}

/// Rows with a given number of items.
pub(super) fn batch<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let size = size(args, "batch")?;
    let mut rows: Vec<Vec<Value<'a>>> = of.items()?.chunks(size).map(<[_]>::to_vec).collect();
    if let (Some(fill), Some(last)) = (args.get(1, "fill_with"), rows.last_mut()) {
        last.resize(size, fill.clone());
    }
    Ok(Value::list(rows.into_iter().map(Value::list).collect()))
}

/// A given number of rows, of nearly equal length.
pub(super) fn slice<'a>(of: Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let size = size(args, "slice")?;
    let items = of.items()?;
    let (each, more) = (items.len() / size, items.len() % size);
    let mut from = 0;
    let rows = (0..size).map(|i| {
        let n = each + usize::from(i < more);
        from += n;
        Value::list(items[from - n..from].to_vec())
    });
    Ok(Value::list(rows.collect()))
}

fn size(args: &CallArgs<'_>, name: &str) -> Eval<usize> {
    let size = args.count(0, "linecount")?.filter(|n| (1..=MAX_ROWS).contains(n));
    size.ok_or_else(|| Error::other(format!("{name} needs a positive size")))
}

/// Texts are compared without case.
fn lowered(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Str(s) => Value::str(s.to_lowercase()),
        other => other,
    }
}
