//! The evaluated arguments of a call.
//!
//! Input: the values in the call's parentheses. Output: one argument by position or name, in the type that the callee
//! needs. Called by every function, method, filter and test.

use std::borrow::Cow;

use super::{Error, Eval, Value};

/// Arguments of a call, by position and by name.
pub(super) struct CallArgs<'a> {
    plain: Vec<Value<'a>>,
    named: Vec<(&'a str, Value<'a>)>,
}

impl<'a> CallArgs<'a> {
    pub(super) fn new(plain: Vec<Value<'a>>, named: Vec<(&'a str, Value<'a>)>) -> Self {
        CallArgs { plain, named }
    }

    /// The positional arguments from `start` on, without named ones.
    pub(super) fn plain_from(&self, start: usize) -> Self {
        CallArgs { plain: self.plain.get(start..).unwrap_or_default().to_vec(), named: Vec::new() }
    }

    /// The argument at `index`, else the one called `name`.
    pub(super) fn get(&self, index: usize, name: &str) -> Option<&Value<'a>> {
        self.plain.get(index).or_else(|| self.keyword(name))
    }

    /// The argument called `name`, independent of positional ones.
    pub(super) fn keyword(&self, name: &str) -> Option<&Value<'a>> {
        self.named.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    pub(super) fn need(&self, index: usize, name: &str) -> Eval<&Value<'a>> {
        self.get(index, name).ok_or_else(|| Error::wrong_type(format!("missing argument '{name}'")))
    }

    pub(super) fn plain(&self) -> &[Value<'a>] {
        &self.plain
    }

    pub(super) fn named(&self) -> &[(&'a str, Value<'a>)] {
        &self.named
    }

    /// The values of all arguments.
    pub(super) fn values(&self) -> impl Iterator<Item = &Value<'a>> {
        self.plain.iter().chain(self.named.iter().map(|(_, v)| v))
    }

    /// The arguments by name, as a dict.
    pub(super) fn named_dict(&self) -> Value<'a> {
        Value::dict(self.named.iter().map(|(k, v)| (Value::str(*k), v.clone())).collect())
    }

    /// Is the argument there and true?
    pub(super) fn flag(&self, index: usize, name: &str) -> bool {
        self.get(index, name).is_some_and(Value::truthy)
    }

    pub(super) fn text(&self, index: usize, name: &str) -> Eval<Option<Cow<'a, str>>> {
        match self.get(index, name) {
            None | Some(Value::None) => Ok(None),
            Some(Value::Str(s)) => Ok(Some(s.clone())),
            Some(other) => Err(Error::wrong_type(format!("argument '{name}' must be str, not {}", other.type_name()))),
        }
    }

    pub(super) fn need_text(&self, index: usize, name: &str) -> Eval<Cow<'a, str>> {
        self.text(index, name)?.ok_or_else(|| Error::wrong_type(format!("missing argument '{name}'")))
    }

    pub(super) fn int(&self, index: usize, name: &str) -> Eval<Option<i128>> {
        match self.get(index, name) {
            None | Some(Value::None) => Ok(None),
            Some(v) => v.as_int().map(Some).ok_or_else(|| Error::wrong_type(format!("argument '{name}' must be int"))),
        }
    }

    /// A count; `None` if it is missing or negative.
    pub(super) fn count(&self, index: usize, name: &str) -> Eval<Option<usize>> {
        Ok(self.int(index, name)?.and_then(|n| usize::try_from(n).ok()))
    }

    /// The width of a text in characters, clamped to `0..=max`.
    pub(super) fn width(&self, index: usize, default: i128, max: i128) -> Eval<usize> {
        let width = self.int(index, "width")?.unwrap_or(default).clamp(0, max);
        Ok(usize::try_from(width).unwrap_or(0))
    }
}
