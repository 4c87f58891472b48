//! Walks a parsed template and renders it.
//!
//! Comes in: the tree of `parse` and a scope. Goes out: text. Python decides what operators do;
//! Jinja decides what is undefined: one missing step is falsy and empty, a step inside it is an error.

use std::collections::HashMap;

use time::Duration;

use super::call::{self, CallArgs};
use super::parse::{Args, Cmp, Expr, Op, Stmt};
use super::value::MAX_BUILT;
use super::{Error, Eval, Scope, Value, filter, missing};

/// Steps that one template may take: far more than any real one needs.
const MAX_STEPS: u32 = 1_000_000;

pub(super) struct Frame<'a> {
    pub(super) scope: &'a dyn Scope,
    locals: Vec<HashMap<&'a str, Value<'a>>>,
    steps: u32,
}

impl<'a> Frame<'a> {
    pub(super) fn new(scope: &'a dyn Scope) -> Self {
        Frame { scope, locals: vec![HashMap::new()], steps: 0 }
    }

    pub(super) fn render(&mut self, body: &'a [Stmt]) -> Eval<String> {
        let mut out = String::new();
        self.body(body, &mut out)?;
        Ok(out)
    }

    fn step(&mut self) -> Eval<()> {
        self.steps += 1;
        if self.steps > MAX_STEPS { Err(Error::other("the template takes too many steps")) } else { Ok(()) }
    }

    fn body(&mut self, body: &'a [Stmt], out: &mut String) -> Eval<()> {
        for stmt in body {
            self.step()?;
            match stmt {
                Stmt::Text(text) => out.push_str(text),
                Stmt::Output(expr) => out.push_str(&self.eval(expr)?.text()),
                Stmt::If { arms, otherwise } => {
                    let mut chosen = otherwise;
                    for (condition, body) in arms {
                        if self.eval(condition)?.truthy() {
                            chosen = body;
                            break;
                        }
                    }
                    self.body(chosen, out)?;
                }
                Stmt::Set { names, value } => {
                    let value = self.eval(value)?;
                    self.bind(names, value)?;
                }
                Stmt::For { names, over, only, body, otherwise } => {
                    let items = self.eval(over)?.items()?;
                    self.repeat(names, items, only.as_ref(), body, otherwise, out)?;
                }
            }
            if out.len() > MAX_BUILT {
                return Err(Error::other("the template builds too long a text"));
            }
        }
        Ok(())
    }

    fn repeat(
        &mut self,
        names: &'a [String],
        items: Vec<Value<'a>>,
        only: Option<&'a Expr>,
        body: &'a [Stmt],
        otherwise: &'a [Stmt],
        out: &mut String,
    ) -> Eval<()> {
        let mut kept = Vec::new();
        for item in items {
            if let Some(only) = only {
                self.locals.push(HashMap::new());
                self.bind(names, item.clone())?;
                let keep = self.eval(only)?.truthy();
                self.locals.pop();
                if !keep {
                    continue;
                }
            }
            kept.push(item);
        }
        if kept.is_empty() {
            return self.body(otherwise, out);
        }
        let len = kept.len();
        let int = |n: usize| Value::Int(n as i128);
        for (i, item) in kept.iter().enumerate() {
            self.step()?;
            self.locals.push(HashMap::new());
            let around = |at: Option<&Value<'a>>| at.cloned().unwrap_or_else(|| missing("no such item of the loop"));
            let state = [
                ("index", int(i + 1)),
                ("index0", int(i)),
                ("revindex", int(len - i)),
                ("revindex0", int(len - i - 1)),
                ("first", Value::Bool(i == 0)),
                ("last", Value::Bool(i + 1 == len)),
                ("length", int(len)),
                ("previtem", around(i.checked_sub(1).and_then(|i| kept.get(i)))),
                ("nextitem", around(kept.get(i + 1))),
            ];
            let state = Value::dict(state.into_iter().map(|(k, v)| (Value::str(k), v)).collect());
            self.locals.last_mut().expect("a frame has locals").insert("loop", state);
            self.bind(names, item.clone())?;
            self.body(body, out)?;
            self.locals.pop();
        }
        Ok(())
    }

    fn bind(&mut self, names: &'a [String], value: Value<'a>) -> Eval<()> {
        let values = if names.len() == 1 { vec![value] } else { value.items()? };
        if values.len() != names.len() {
            return Err(Error::wrong_type(format!("cannot unpack {} values into {} names", values.len(), names.len())));
        }
        let locals = self.locals.last_mut().expect("a frame has locals");
        locals.extend(names.iter().map(String::as_str).zip(values));
        Ok(())
    }

    pub(super) fn eval(&mut self, expr: &'a Expr) -> Eval<Value<'a>> {
        self.step()?;
        Ok(match expr {
            Expr::None => Value::None,
            Expr::Bool(b) => Value::Bool(*b),
            Expr::Int(i) => Value::Int(*i),
            Expr::Float(f) => Value::Float(*f),
            Expr::Str(s) => Value::str(s.as_str()),
            Expr::Name(name) => self.name(name),
            Expr::List(items) => Value::list(self.all(items)?),
            Expr::Tuple(items) => Value::tuple(self.all(items)?),
            Expr::Dict(pairs) => {
                let mut out = Vec::with_capacity(pairs.len());
                for (key, value) in pairs {
                    out.push((self.eval(key)?, self.eval(value)?));
                }
                Value::dict(out)
            }
            Expr::Attr(of, name) => attribute(&self.eval(of)?, name)?,
            Expr::Item(of, key) => {
                let of = self.eval(of)?;
                item(&of, &self.eval(key)?)?
            }
            Expr::Slice(of, parts) => {
                let of = self.eval(of)?;
                let mut bounds = [None; 3];
                for (bound, part) in bounds.iter_mut().zip(parts) {
                    if let Some(part) = part {
                        let value = self.eval(part)?;
                        *bound = match value {
                            Value::None => None,
                            _ => Some(
                                value.as_int().ok_or_else(|| Error::wrong_type("slice indices must be integers"))?,
                            ),
                        };
                    }
                }
                slice(&of, bounds)?
            }
            Expr::Call(of, args) => self.call(of, args)?,
            Expr::Filter(of, name, args) => {
                let of = self.eval(of)?;
                let args = self.args(args)?;
                filter::apply(name, of, args)?
            }
            Expr::Test(of, name, args, negated) => {
                let of = self.eval(of)?;
                let args = self.args(args)?;
                Value::Bool(filter::test(name, &of, &args)? != *negated)
            }
            Expr::Neg(of) => match self.eval(of)? {
                Value::Float(f) => Value::Float(-f),
                Value::Delta(d) => Value::Delta(-d),
                other => Value::Int(other.as_int().and_then(i128::checked_neg).ok_or_else(|| unary_type('-', &other))?),
            },
            Expr::Pos(of) => match self.eval(of)? {
                Value::Float(f) => Value::Float(f),
                other => Value::Int(other.as_int().ok_or_else(|| unary_type('+', &other))?),
            },
            Expr::Not(of) => Value::Bool(!self.eval(of)?.truthy()),
            Expr::And(a, b) => {
                let a = self.eval(a)?;
                if a.truthy() { self.eval(b)? } else { a }
            }
            Expr::Or(a, b) => {
                let a = self.eval(a)?;
                if a.truthy() { a } else { self.eval(b)? }
            }
            Expr::If(condition, then, otherwise) => {
                if self.eval(condition)?.truthy() {
                    self.eval(then)?
                } else if let Some(otherwise) = otherwise {
                    self.eval(otherwise)?
                } else {
                    missing("the inline if-expression evaluated to false and no else section was defined.")
                }
            }
            Expr::Compare(first, rest) => {
                let mut left = self.eval(first)?;
                for (op, right) in rest {
                    let right = self.eval(right)?;
                    if !compare(*op, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Value::Bool(true)
            }
            Expr::Binary(op, a, b) => {
                let (a, b) = (self.eval(a)?, self.eval(b)?);
                binary(*op, &a, &b)?
            }
        })
    }

    fn name(&self, name: &'a str) -> Value<'a> {
        let local = self.locals.iter().rev().find_map(|l| l.get(name).cloned());
        local.or_else(|| self.scope.get(name)).unwrap_or_else(|| missing(name))
    }

    fn all(&mut self, items: &'a [Expr]) -> Eval<Vec<Value<'a>>> {
        items.iter().map(|e| self.eval(e)).collect()
    }

    fn args(&mut self, args: &'a Args) -> Eval<CallArgs<'a>> {
        let plain = self.all(&args.0)?;
        let mut named = Vec::with_capacity(args.1.len());
        for (name, value) in &args.1 {
            named.push((name.as_str(), self.eval(value)?));
        }
        Ok(CallArgs::new(plain, named))
    }

    fn call(&mut self, of: &'a Expr, args: &'a Args) -> Eval<Value<'a>> {
        match of {
            Expr::Name(name) => {
                let local = self.name(name);
                if !matches!(local, Value::Undefined(_)) {
                    return Err(Error::wrong_type(format!("'{}' object is not callable", local.type_name())));
                }
                let args = self.args(args)?;
                call::global(name, args, self.scope)
            }
            Expr::Attr(of, method) => {
                let of = self.eval(of)?;
                let args = self.args(args)?;
                call::method(&of, method, args)
            }
            _ => Err(Error::wrong_type("only functions and methods can be called")),
        }
    }
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
    if let Some(found) = call::field(of, name) {
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
        (None, Value::Str(name)) => call::field(of, name).unwrap_or_else(|| missing(name)),
        (None, _) => missing("an index that is not there"),
    })
}

fn slice<'a>(of: &Value<'a>, [start, stop, step]: [Option<i128>; 3]) -> Eval<Value<'a>> {
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

fn binary<'a>(op: Op, a: &Value<'a>, b: &Value<'a>) -> Eval<Value<'a>> {
    if op == Op::Concat {
        return Ok(Value::str(a.text().into_owned() + &b.text()));
    }
    for side in [a, b] {
        if let Value::Undefined(what) = side {
            return Err(Error::undefined(what));
        }
    }
    let unsupported =
        || Error::wrong_type(format!("unsupported operand types: '{}' and '{}'", a.type_name(), b.type_name()));
    let overflow = || Error::other("the number is out of range");
    if let Some(done) = with_times(op, a, b) {
        return done.ok_or_else(overflow);
    }
    if let (Some(x), Some(y)) = (a.as_int(), b.as_int()) {
        return match op {
            Op::Add => x.checked_add(y),
            Op::Sub => x.checked_sub(y),
            Op::Mul => x.checked_mul(y),
            Op::FloorDiv | Op::Rem | Op::Div if y == 0 => return Err(Error::other("division by zero")),
            #[allow(clippy::cast_precision_loss)]
            Op::Div => return Ok(Value::Float(x as f64 / y as f64)),
            Op::FloorDiv => Some(x.div_euclid(y) - i128::from(y < 0 && x.rem_euclid(y) != 0)),
            Op::Rem => Some(if y < 0 && x.rem_euclid(y) != 0 { x.rem_euclid(y) + y } else { x.rem_euclid(y) }),
            Op::Pow if y >= 0 => u32::try_from(y).ok().and_then(|y| x.checked_pow(y)),
            #[allow(clippy::cast_precision_loss)]
            Op::Pow => return Ok(Value::Float((x as f64).powf(y as f64))),
            Op::Concat => None,
        }
        .map(Value::Int)
        .ok_or_else(overflow);
    }
    if let (Some(x), Some(y)) = (a.as_f64(), b.as_f64()) {
        if y == 0.0 && matches!(op, Op::Div | Op::FloorDiv | Op::Rem) {
            return Err(Error::other("division by zero"));
        }
        return Ok(Value::Float(match op {
            Op::Add => x + y,
            Op::Sub => x - y,
            Op::Mul => x * y,
            Op::Div => x / y,
            Op::FloorDiv => (x / y).floor(),
            Op::Rem => x - y * (x / y).floor(),
            Op::Pow => x.powf(y),
            Op::Concat => return Err(unsupported()),
        }));
    }
    match (op, a, b) {
        (Op::Add, Value::Str(x), Value::Str(y)) => Ok(Value::str(format!("{x}{y}"))),
        (Op::Add, Value::Tuple(x), Value::Tuple(y)) => Ok(Value::tuple(x.iter().chain(y.iter()).cloned().collect())),
        (Op::Add, _, _) if a.type_name() == "list" && b.type_name() == "list" => {
            let mut items = a.items()?;
            items.extend(b.items()?);
            Ok(Value::list(items))
        }
        (Op::Mul, _, _) => {
            let (of, times) = match (a.as_int(), b.as_int()) {
                (None, Some(n)) => (a, n),
                (Some(n), None) => (b, n),
                _ => return Err(unsupported()),
            };
            let times = usize::try_from(times.max(0)).map_err(|_| overflow())?;
            if of.length().unwrap_or(0).saturating_mul(times) > MAX_BUILT {
                return Err(overflow());
            }
            match of {
                Value::Str(s) => Ok(Value::str(s.repeat(times))),
                _ if of.is_sequence() => {
                    let items = of.items()?;
                    Ok(Value::list((0..times).flat_map(|_| items.clone()).collect()))
                }
                _ => Err(unsupported()),
            }
        }
        (Op::Rem, Value::Str(format), _) => filter::percent_format(format, b).map(Value::str),
        _ => Err(unsupported()),
    }
}

/// Arithmetic with times; `None` when neither side is one, `Some(None)` when out of range.
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
