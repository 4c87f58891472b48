//! Renders a parsed template.
//!
//! Input: the tree of `parse` and a scope. Output: text. Operators follow Python; undefined values follow Jinja: one
//! missing step is falsy and empty, a step into it is an error.

use std::collections::HashMap;

use super::args::CallArgs;
use super::ast::{Args, Cmp, Expr, ForLoop, Stmt};
use super::operator::{attribute, binary, compare, item, negative, positive, slice};
use super::value::fits;
use super::{Error, Eval, Scope, Value, filter, functions, method, missing, test};

/// The maximum number of steps of one template: far more than any real one needs.
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

    /// The value of an expression, and whether the part that produced it only looks up a text.
    pub(super) fn looked_up(&mut self, expr: &'a Expr) -> Eval<(Value<'a>, bool)> {
        match expr {
            Expr::And(a, b) | Expr::Or(a, b) => {
                let first = self.looked_up(a)?;
                let decides = first.0.truthy() == matches!(expr, Expr::Or(..));
                if decides { Ok(first) } else { self.looked_up(b) }
            }
            Expr::If(condition, then, otherwise) => match (self.eval(condition)?.truthy(), otherwise) {
                (true, _) => self.looked_up(then),
                (false, Some(otherwise)) => self.looked_up(otherwise),
                (false, None) => Ok((self.eval(expr)?, false)),
            },
            // Filters that leave a text (nearly) unchanged.
            Expr::Filter(of, name, args) if matches!(name.as_str(), "default" | "d" | "string" | "trim") => {
                let (of, looked_up) = self.looked_up(of)?;
                let is_text = matches!(of, Value::Str(_));
                let args = self.args(args)?;
                Ok((filter::apply(name, of, &args)?, looked_up && is_text))
            }
            other => {
                let value = self.eval(other)?;
                let is_text = matches!(value, Value::Str(_));
                Ok((value, is_text && other.looks_up()))
            }
        }
    }

    fn step(&mut self) -> Eval<()> {
        self.steps += 1;
        if self.steps > MAX_STEPS { Err(Error::other("the template runs too many steps")) } else { Ok(()) }
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
                Stmt::For(each) => self.repeat(each, out)?,
            }
            fits(out.len())?;
        }
        Ok(())
    }

    fn repeat(&mut self, each: &'a ForLoop, out: &mut String) -> Eval<()> {
        let items = self.loop_items(each)?;
        if items.is_empty() {
            return self.body(&each.otherwise, out);
        }
        for (i, item) in items.iter().enumerate() {
            self.step()?;
            self.locals.push(HashMap::from([("loop", loop_state(i, &items))]));
            self.bind(&each.names, item.clone())?;
            self.body(&each.body, out)?;
            self.locals.pop();
        }
        Ok(())
    }

    /// The items that pass the loop's own `if`.
    fn loop_items(&mut self, each: &'a ForLoop) -> Eval<Vec<Value<'a>>> {
        let mut items = self.eval(&each.over)?.items()?;
        if let Some(only) = &each.only {
            let mut passing = Vec::new();
            for item in items {
                self.locals.push(HashMap::new());
                self.bind(&each.names, item.clone())?;
                let passes = self.eval(only)?.truthy();
                self.locals.pop();
                if passes {
                    passing.push(item);
                }
            }
            items = passing;
        }
        Ok(items)
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
                slice(&of, self.slice_bounds(parts)?)?
            }
            Expr::Call(of, args) => self.call(of, args)?,
            Expr::Filter(of, name, args) => {
                let of = self.eval(of)?;
                let args = self.args(args)?;
                filter::apply(name, of, &args)?
            }
            Expr::Test(of, name, args, negated) => {
                let of = self.eval(of)?;
                let args = self.args(args)?;
                Value::Bool(test::holds(name, &of, &args)? != *negated)
            }
            Expr::Neg(of) => negative(self.eval(of)?)?,
            Expr::Pos(of) => positive(self.eval(of)?)?,
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
            Expr::Compare(first, rest) => Value::Bool(self.compare_chain(first, rest)?),
            Expr::Binary(op, a, b) => {
                let (a, b) = (self.eval(a)?, self.eval(b)?);
                binary(*op, &a, &b)?
            }
        })
    }

    /// `a < b <= c`: stops at the first pair that does not hold.
    fn compare_chain(&mut self, first: &'a Expr, rest: &'a [(Cmp, Expr)]) -> Eval<bool> {
        let mut left = self.eval(first)?;
        for (op, right) in rest {
            let right = self.eval(right)?;
            if !compare(*op, &left, &right)? {
                return Ok(false);
            }
            left = right;
        }
        Ok(true)
    }

    fn slice_bounds(&mut self, parts: &'a [Option<Box<Expr>>; 3]) -> Eval<[Option<i128>; 3]> {
        let mut bounds = [None; 3];
        for (bound, part) in bounds.iter_mut().zip(parts) {
            let Some(part) = part else { continue };
            *bound = match self.eval(part)? {
                Value::None => None,
                value => Some(value.as_int().ok_or_else(|| Error::wrong_type("slice indices must be integers"))?),
            };
        }
        Ok(bounds)
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
                functions::call(name, &self.args(args)?, self.scope)
            }
            Expr::Attr(of, name) => {
                let of = self.eval(of)?;
                method::call(&of, name, &self.args(args)?)
            }
            _ => Err(Error::wrong_type("only functions and methods can be called")),
        }
    }
}

/// The variable `loop` in iteration `i`.
fn loop_state<'a>(i: usize, items: &[Value<'a>]) -> Value<'a> {
    let len = items.len();
    let int = |n: usize| Value::Int(n as i128);
    let around = |at: Option<&Value<'a>>| at.cloned().unwrap_or_else(|| missing("the loop has no such item"));
    let state = [
        ("index", int(i + 1)),
        ("index0", int(i)),
        ("revindex", int(len - i)),
        ("revindex0", int(len - i - 1)),
        ("first", Value::Bool(i == 0)),
        ("last", Value::Bool(i + 1 == len)),
        ("length", int(len)),
        ("previtem", around(i.checked_sub(1).and_then(|i| items.get(i)))),
        ("nextitem", around(items.get(i + 1))),
    ];
    Value::dict(state.into_iter().map(|(k, v)| (Value::str(k), v)).collect())
}
