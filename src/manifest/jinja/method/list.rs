//! Methods of `list` and `tuple`.
//!
//! Input: a sequence and arguments. Output: a value. Called through the table of `method`. Only lists that the
//! template created can be changed: others are JSON of the run.

use std::cell::RefMut;

use super::{CallArgs, ContainerMethod, Error, Eval, Value, not_own};

pub(super) fn find(name: &str) -> Option<ContainerMethod> {
    Some(match name {
        "count" => count,
        "index" => |of, args| Ok(Value::Int(position(&of.items()?, args.need(0, "value")?)? as i128)),
        "copy" => |of, _| Ok(Value::list(of.items()?)),
        "append" => append,
        "extend" => extend,
        "insert" => insert,
        "remove" => remove,
        "reverse" => reverse,
        "pop" => pop,
        _ => return None,
    })
}

fn count<'a>(of: &Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let wanted = args.need(0, "value")?;
    Ok(Value::Int(of.items()?.iter().filter(|i| i.equals(wanted)).count() as i128))
}

fn position<'a>(items: &[Value<'a>], wanted: &Value<'a>) -> Eval<usize> {
    items.iter().position(|i| i.equals(wanted)).ok_or_else(|| Error::other("the value is not in list"))
}

/// The items of a list that may be changed, and into which the arguments may be inserted.
fn changeable<'v, 'a>(of: &'v Value<'a>, args: &CallArgs<'a>) -> Eval<RefMut<'v, Vec<Value<'a>>>> {
    let Value::List(list) = of else { return Err(not_own()) };
    for value in args.values() {
        value.may_enter(of)?;
    }
    Ok(list.borrow_mut())
}

fn append<'a>(of: &Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    changeable(of, args)?.push(args.need(0, "object")?.clone());
    Ok(Value::None)
}

fn extend<'a>(of: &Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    changeable(of, args)?.extend(args.need(0, "iterable")?.items()?);
    Ok(Value::None)
}

fn insert<'a>(of: &Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let mut list = changeable(of, args)?;
    let at = args.count(0, "index")?.unwrap_or(0).min(list.len());
    list.insert(at, args.need(1, "object")?.clone());
    Ok(Value::None)
}

fn remove<'a>(of: &Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let mut list = changeable(of, args)?;
    let at = position(&list, args.need(0, "value")?)?;
    list.remove(at);
    Ok(Value::None)
}

fn reverse<'a>(of: &Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    changeable(of, args)?.reverse();
    Ok(Value::None)
}

fn pop<'a>(of: &Value<'a>, args: &CallArgs<'a>) -> Eval<Value<'a>> {
    let mut list = changeable(of, args)?;
    let at = args.int(0, "index")?.unwrap_or(-1);
    let at = usize::try_from(if at < 0 { at + list.len() as i128 } else { at }).ok().filter(|i| *i < list.len());
    Ok(list.remove(at.ok_or_else(|| Error::other("pop index out of range"))?))
}
