//! Methods of `dict`.
//!
//! Input: a dict and arguments. Output: a value. Called through the table of `method`. Only dicts that the template
//! created can be changed: others are JSON of the run.

use std::cell::RefCell;

use super::{CallArgs, ContainerMethod, Error, Eval, Value, not_own};
use crate::manifest::jinja::value::str_repr;

type Pairs<'a> = RefCell<Vec<(Value<'a>, Value<'a>)>>;

pub(super) fn find(name: &str) -> Option<ContainerMethod> {
    Some(match name {
        "get" => get,
        "items" => |of, _| Ok(Value::list(of.pairs().into_iter().map(|(k, v)| Value::tuple(vec![k, v])).collect())),
        "keys" => |of, _| Ok(Value::list(of.pairs().into_iter().map(|(k, _)| k).collect())),
        "values" => |of, _| Ok(Value::list(of.pairs().into_iter().map(|(_, v)| v).collect())),
        "copy" => |of, _| Ok(Value::dict(of.pairs())),
        "update" => update,
        "setdefault" => setdefault,
        "pop" => pop,
        _ => return None,
    })
}

fn get<'a>(of: &Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let default = args.get(1, "default").cloned().unwrap_or(Value::None);
    Ok(of.entry(args.need(0, "key")?).unwrap_or(default))
}

/// The pairs of a dict that may be changed, and into which the arguments may be inserted.
fn changeable<'v, 'a>(of: &'v Value<'a>, args: &CallArgs<'a>) -> Eval<&'v Pairs<'a>> {
    let Value::Dict(pairs) = of else { return Err(not_own()) };
    for value in args.values() {
        value.may_enter(of)?;
    }
    Ok(pairs)
}

fn put<'a>(dict: &Pairs<'a>, key: Value<'a>, value: Value<'a>) {
    let mut dict = dict.borrow_mut();
    match dict.iter_mut().find(|(k, _)| k.equals(&key)) {
        Some(slot) => slot.1 = value,
        None => dict.push((key, value)),
    }
}

fn position<'a>(dict: &Pairs<'a>, key: &Value<'a>) -> Option<usize> {
    dict.borrow().iter().position(|(k, _)| k.equals(key))
}

fn update<'a>(of: &Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let dict = changeable(of, args)?;
    let more: Vec<_> = args.plain().iter().flat_map(Value::pairs).collect();
    for (key, value) in more {
        put(dict, key, value);
    }
    for (key, value) in args.named() {
        put(dict, Value::str(*key), value.clone());
    }
    Ok(Value::None)
}

fn setdefault<'a>(of: &Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let dict = changeable(of, args)?;
    let key = args.need(0, "key")?;
    if let Some(at) = position(dict, key) {
        return Ok(dict.borrow()[at].1.clone());
    }
    let default = args.get(1, "default").cloned().unwrap_or(Value::None);
    put(dict, key.clone(), default.clone());
    Ok(default)
}

fn pop<'a>(of: &Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let dict = changeable(of, args)?;
    let key = args.need(0, "key")?;
    match (position(dict, key), args.get(1, "default")) {
        (Some(at), _) => Ok(dict.borrow_mut().remove(at).1),
        (None, Some(default)) => Ok(default.clone()),
        (None, None) => {
            let mut text = String::new();
            str_repr(&key.text(), &mut text);
            Err(Error::other(format!("no key {text}")))
        }
    }
}
