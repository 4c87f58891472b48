//! The names that a template reads.
//!
//! Input: a parsed template. Output: its free names, or the entries of one variable that it reads, so that only those
//! must be built. Called when a template is compiled.

use std::collections::BTreeSet;

use super::ast::{Expr, Stmt};

/// Collects the names that a template reads but does not bind.
#[derive(Default)]
pub(super) struct FreeNames {
    pub(super) free: BTreeSet<String>,
    bound: Vec<String>,
    watched: String,
    /// Entries of the watched name that are read.
    pub(super) entries: BTreeSet<String>,
    /// The names of the filters.
    pub(super) filters: BTreeSet<String>,
    /// Is the watched name also used in another way?
    pub(super) whole: bool,
}

impl FreeNames {
    pub(super) fn watching(name: &str) -> Self {
        FreeNames { watched: name.into(), ..FreeNames::default() }
    }

    /// Records an expression that reads one entry of the watched name.
    fn entry(&mut self, expr: &Expr) -> bool {
        let watched = |of: &Expr| matches!(of, Expr::Name(n) if *n == self.watched);
        let key = match expr {
            Expr::Attr(of, key) if watched(of) => key,
            Expr::Item(of, key) if watched(of) => match &**key {
                Expr::Str(key) => key,
                _ => return false,
            },
            Expr::Call(method, (args, _)) => match (&**method, args.first()) {
                (Expr::Attr(of, name), Some(Expr::Str(key))) if name == "get" && watched(of) => {
                    self.entries.insert(key.clone());
                    args[1..].iter().for_each(|e| self.expr(e));
                    return true;
                }
                (Expr::Attr(of, _), _) if watched(of) => {
                    self.whole = true;
                    return false;
                }
                _ => return false,
            },
            _ => return false,
        };
        self.entries.insert(key.clone());
        true
    }

    pub(super) fn body(&mut self, body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::Text(_) => {}
                Stmt::Output(e) => self.expr(e),
                Stmt::If { arms, otherwise } => {
                    for (condition, body) in arms {
                        self.expr(condition);
                        self.body(body);
                    }
                    self.body(otherwise);
                }
                Stmt::Set { names, value } => {
                    self.expr(value);
                    self.bound.extend(names.iter().cloned());
                }
                Stmt::For(each) => {
                    self.expr(&each.over);
                    let outer = self.bound.len();
                    self.bound.extend(each.names.iter().cloned());
                    self.bound.push("loop".into());
                    if let Some(only) = &each.only {
                        self.expr(only);
                    }
                    self.body(&each.body);
                    self.bound.truncate(outer);
                    self.body(&each.otherwise);
                }
            }
        }
    }

    fn expr(&mut self, expr: &Expr) {
        if !self.watched.is_empty() && self.entry(expr) {
            return;
        }
        match expr {
            Expr::None | Expr::Bool(_) | Expr::Int(_) | Expr::Float(_) | Expr::Str(_) => {}
            Expr::Name(name) => {
                if !self.bound.contains(name) {
                    self.free.insert(name.clone());
                }
                self.whole |= *name == self.watched;
            }
            Expr::List(items) | Expr::Tuple(items) => items.iter().for_each(|e| self.expr(e)),
            Expr::Dict(pairs) => pairs.iter().for_each(|(k, v)| {
                self.expr(k);
                self.expr(v);
            }),
            Expr::Attr(e, _) | Expr::Neg(e) | Expr::Pos(e) | Expr::Not(e) => self.expr(e),
            Expr::Item(a, b) | Expr::Binary(_, a, b) | Expr::And(a, b) | Expr::Or(a, b) => {
                self.expr(a);
                self.expr(b);
            }
            Expr::Slice(e, parts) => {
                self.expr(e);
                parts.iter().flatten().for_each(|e| self.expr(e));
            }
            Expr::Call(e, args) | Expr::Filter(e, _, args) | Expr::Test(e, _, args, _) => {
                if let Expr::Filter(_, name, _) = expr {
                    self.filters.insert(name.clone());
                }
                self.expr(e);
                args.0.iter().for_each(|e| self.expr(e));
                args.1.iter().for_each(|(_, e)| self.expr(e));
            }
            Expr::Compare(e, rest) => {
                self.expr(e);
                for (_, e) in rest {
                    self.expr(e);
                }
            }
            Expr::If(a, b, c) => {
                self.expr(a);
                self.expr(b);
                if let Some(c) = c {
                    self.expr(c);
                }
            }
        }
    }
}
