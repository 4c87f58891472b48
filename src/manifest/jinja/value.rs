//! Python's values, as far as templates use them.
//!
//! Input: JSON (borrowed, converted only when an expression accesses it) and literals. Output: text as Python's
//! `str()` and `repr()` print it, and JSON. Called by the evaluator.

use std::borrow::Cow;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::fmt::Write as _;
use std::rc::Rc;

use serde_json::Value as Json;
use time::{Date, Duration, OffsetDateTime};

use super::{Error, Eval};
use crate::base::json::python::float_repr;
use crate::base::timefmt::{self, Period};

/// The largest text that a template may build, in bytes.
const MAX_BUILT: usize = 16 << 20;

/// The longest list that a template may build, and the longest text that it may take apart: a value has 64 bytes.
const MAX_ITEMS: usize = 1 << 18;

/// Refuses a text of so many bytes, before it is built where that is possible.
pub(super) fn fits(bytes: usize) -> Eval<()> {
    if bytes > MAX_BUILT { Err(Error::other("the template's output is too long")) } else { Ok(()) }
}

/// Refuses a list of so many items, before it is built.
pub(super) fn fits_list(items: usize) -> Eval<()> {
    if items > MAX_ITEMS { Err(Error::other("the template builds a list that is too long")) } else { Ok(()) }
}

/// `text.replace(old, new)`, at most `most` times.
pub(super) fn replaced(text: &str, old: &str, new: &str, most: Option<usize>) -> Eval<String> {
    // An empty text is found between all characters.
    let found = if old.is_empty() { text.chars().count() + 1 } else { text.matches(old).count() };
    fits(text.len().saturating_add(found.min(most.unwrap_or(found)).saturating_mul(new.len())))?;
    Ok(match most {
        Some(most) => text.replacen(old, new, most),
        None => text.replace(old, new),
    })
}

/// The maximum nesting that a template may build step by step.
const MAX_NESTED: usize = 50;

/// A value inside an expression. JSON arrays and objects stay borrowed until something needs them.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// Jinja's undefined; contains the name that was looked up.
    Undefined(Rc<str>),
    /// Python's `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer.
    Int(i128),
    /// A float.
    Float(f64),
    /// Text.
    Str(Cow<'a, str>),
    /// A JSON array or object of the run: config, record, response, slice.
    Json(&'a Json),
    /// A list made by the template.
    List(Rc<RefCell<Vec<Value<'a>>>>),
    /// A tuple.
    Tuple(Rc<Vec<Value<'a>>>),
    /// A dict made by the template.
    Dict(Rc<RefCell<Vec<(Value<'a>, Value<'a>)>>>),
    /// `datetime`, always with an offset.
    Time(OffsetDateTime),
    /// `date`.
    Date(Date),
    /// `timedelta`.
    Delta(Duration),
    /// isodate's calendar `Duration` (with years or months).
    Period(Period),
}

impl<'a> Value<'a> {
    /// The Python value of a JSON value.
    pub fn from_json(json: &'a Json) -> Self {
        match json {
            Json::Null => Value::None,
            Json::Bool(b) => Value::Bool(*b),
            Json::Number(n) => number(&n.to_string()),
            Json::String(s) => Value::Str(Cow::Borrowed(s)),
            Json::Array(_) | Json::Object(_) => Value::Json(json),
        }
    }

    /// Text.
    pub fn str(text: impl Into<Cow<'a, str>>) -> Self {
        Value::Str(text.into())
    }

    /// A new list.
    pub fn list(items: Vec<Value<'a>>) -> Self {
        Value::List(Rc::new(RefCell::new(items)))
    }

    /// A new tuple.
    pub fn tuple(items: Vec<Value<'a>>) -> Self {
        Value::Tuple(Rc::new(items))
    }

    /// A new dict; a repeated key keeps its place and takes the later value, as in Python.
    pub fn dict(pairs: Vec<(Value<'a>, Value<'a>)>) -> Self {
        let mut out: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            match out.iter_mut().find(|(k, _)| k.equals(&key)) {
                Some(slot) => slot.1 = value,
                None => out.push((key, value)),
            }
        }
        Value::Dict(Rc::new(RefCell::new(out)))
    }

    /// May this value be inserted into `container`? Not if it already contains the container or is deeply nested:
    /// printing it would never end.
    pub(super) fn may_enter(&self, container: &Value<'a>) -> Eval<()> {
        fn holds(value: &Value<'_>, target: *const (), depth: usize) -> bool {
            let (at, items) = match value {
                Value::List(l) => (Rc::as_ptr(l).cast::<()>(), l.borrow().clone()),
                Value::Tuple(t) => (Rc::as_ptr(t).cast::<()>(), t.to_vec()),
                Value::Dict(d) => (Rc::as_ptr(d).cast::<()>(), d.borrow().iter().map(|(_, v)| v.clone()).collect()),
                _ => return false,
            };
            at == target || depth > MAX_NESTED || items.iter().any(|v| holds(v, target, depth + 1))
        }
        let target = match container {
            Value::List(l) => Rc::as_ptr(l).cast::<()>(),
            Value::Dict(d) => Rc::as_ptr(d).cast::<()>(),
            _ => return Ok(()),
        };
        if holds(self, target, 0) {
            return Err(Error::other("a value cannot contain itself, and this one is nested too deeply"));
        }
        Ok(())
    }

    /// Python's name of the type, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "Undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::Json(Json::Array(_)) | Value::List(_) => "list",
            Value::Json(_) | Value::Dict(_) => "dict",
            Value::Tuple(_) => "tuple",
            Value::Time(_) => "datetime",
            Value::Date(_) => "date",
            Value::Delta(_) => "timedelta",
            Value::Period(_) => "Duration",
        }
    }

    /// Is it a dict?
    pub fn is_dict(&self) -> bool {
        matches!(self, Value::Dict(_) | Value::Json(Json::Object(_)))
    }

    /// Is it a list or tuple?
    pub fn is_sequence(&self) -> bool {
        matches!(self, Value::List(_) | Value::Tuple(_) | Value::Json(Json::Array(_)))
    }

    /// Python's truth value.
    pub fn truthy(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(b) => *b,
            Value::Int(i) => *i != 0,
            Value::Float(f) => *f != 0.0,
            Value::Str(s) => !s.is_empty(),
            Value::Delta(d) => !d.is_zero(),
            Value::Time(_) | Value::Date(_) | Value::Period(_) => true,
            _ => self.length().unwrap_or(1) > 0,
        }
    }

    /// `len()`, if Python defines it.
    pub fn length(&self) -> Option<usize> {
        Some(match self {
            Value::Undefined(_) => 0,
            Value::Str(s) => s.chars().count(),
            Value::Json(Json::Array(a)) => a.len(),
            Value::Json(Json::Object(o)) => o.len(),
            Value::List(l) => l.borrow().len(),
            Value::Tuple(t) => t.len(),
            Value::Dict(d) => d.borrow().len(),
            _ => return None,
        })
    }

    /// The bytes of the texts in a text or list, which a copy of it takes again. Lists within lists are shared.
    pub fn weight(&self) -> usize {
        let text = |value: &Value<'_>| if let Value::Str(text) = value { text.len() } else { 0 };
        match self {
            Value::List(items) => items.borrow().iter().map(text).fold(0, usize::saturating_add),
            Value::Tuple(items) => items.iter().map(text).fold(0, usize::saturating_add),
            value => text(value),
        }
    }

    /// The items of an iteration: elements, keys of a dict, characters of text.
    pub fn items(&self) -> Eval<Vec<Value<'a>>> {
        Ok(match self {
            Value::Undefined(_) => Vec::new(),
            Value::Str(s) => {
                fits_list(s.len())?;
                s.chars().map(|c| Value::str(c.to_string())).collect()
            }
            Value::Json(Json::Array(a)) => a.iter().map(Value::from_json).collect(),
            Value::List(l) => l.borrow().clone(),
            Value::Tuple(t) => t.to_vec(),
            Value::Json(Json::Object(_)) | Value::Dict(_) => self.pairs().into_iter().map(|(k, _)| k).collect(),
            _ => return Err(Error::wrong_type(format!("'{}' object is not iterable", self.type_name()))),
        })
    }

    /// Key and value of each entry of a dict; empty for other types.
    pub fn pairs(&self) -> Vec<(Value<'a>, Value<'a>)> {
        match self {
            Value::Json(Json::Object(o)) => {
                o.iter().map(|(k, v)| (Value::str(k.as_str()), Value::from_json(v))).collect()
            }
            Value::Dict(d) => d.borrow().clone(),
            _ => Vec::new(),
        }
    }

    /// The value under `key` of a dict.
    pub fn entry(&self, key: &Value<'a>) -> Option<Value<'a>> {
        match self {
            Value::Json(Json::Object(o)) => match key {
                Value::Str(s) => o.get(s.as_ref()).map(Value::from_json),
                _ => None,
            },
            Value::Dict(d) => d.borrow().iter().find(|(k, _)| k.equals(key)).map(|(_, v)| v.clone()),
            _ => None,
        }
    }

    /// Element `index` of a sequence or text, negative from the end.
    pub fn element(&self, index: i128) -> Option<Value<'a>> {
        let len = i128::try_from(self.length()?).ok()?;
        let at = usize::try_from(if index < 0 { index + len } else { index }).ok()?;
        match self {
            Value::Str(s) => s.chars().nth(at).map(|c| Value::str(c.to_string())),
            Value::Json(Json::Array(a)) => a.get(at).map(Value::from_json),
            Value::List(l) => l.borrow().get(at).cloned(),
            Value::Tuple(t) => t.get(at).cloned(),
            _ => None,
        }
    }

    /// The number as a float; bools are 0 and 1.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Bool(b) => Some(f64::from(u8::from(*b))),
            #[allow(clippy::cast_precision_loss)]
            Value::Int(i) => Some(*i as f64),
            Value::Float(f) => Some(*f),
            _ => None,
        }
    }

    /// The integer; bools are 0 and 1.
    pub fn as_int(&self) -> Option<i128> {
        match self {
            Value::Bool(b) => Some(i128::from(*b)),
            Value::Int(i) => Some(*i),
            _ => None,
        }
    }

    /// Python's `==`.
    pub fn equals(&self, other: &Value<'a>) -> bool {
        match (self, other) {
            (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
            (Value::Str(a), Value::Str(b)) => a == b,
            (Value::Time(a), Value::Time(b)) => a == b,
            (Value::Date(a), Value::Date(b)) => a == b,
            (Value::Delta(a), Value::Delta(b)) => a == b,
            (Value::Tuple(a), Value::Tuple(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(x, y)| x.equals(y))
            }
            (Value::Tuple(_), _) | (_, Value::Tuple(_)) => false,
            _ if self.is_sequence() && other.is_sequence() => match (self.items(), other.items()) {
                (Ok(a), Ok(b)) => a.len() == b.len() && a.iter().zip(&b).all(|(x, y)| x.equals(y)),
                _ => false,
            },
            _ if self.is_dict() && other.is_dict() => {
                let (a, b) = (self.pairs(), other.pairs());
                a.len() == b.len() && a.iter().all(|(k, v)| other.entry(k).is_some_and(|w| w.equals(v)))
            }
            _ => match (self.as_int(), other.as_int()) {
                (Some(a), Some(b)) => a == b,
                _ => matches!((self.as_f64(), other.as_f64()), (Some(a), Some(b)) if a == b),
            },
        }
    }

    /// Python's ordering, if defined.
    pub fn order(&self, other: &Value<'a>) -> Eval<Ordering> {
        let unordered = || {
            Error::wrong_type(format!(
                "'<' not supported between instances of '{}' and '{}'",
                self.type_name(),
                other.type_name()
            ))
        };
        match (self, other) {
            (Value::Undefined(name), _) | (_, Value::Undefined(name)) => Err(Error::undefined(name)),
            (Value::Str(a), Value::Str(b)) => Ok(a.cmp(b)),
            (Value::Time(a), Value::Time(b)) => Ok(a.cmp(b)),
            (Value::Date(a), Value::Date(b)) => Ok(a.cmp(b)),
            (Value::Delta(a), Value::Delta(b)) => Ok(a.cmp(b)),
            _ if self.is_sequence() && other.is_sequence() => {
                let (a, b) = (self.items()?, other.items()?);
                for (x, y) in a.iter().zip(&b) {
                    if !x.equals(y) {
                        return x.order(y);
                    }
                }
                Ok(a.len().cmp(&b.len()))
            }
            _ => match (self.as_int(), other.as_int()) {
                (Some(a), Some(b)) => Ok(a.cmp(&b)),
                _ => match (self.as_f64(), other.as_f64()) {
                    (Some(a), Some(b)) => a.partial_cmp(&b).ok_or_else(unordered),
                    _ => Err(unordered()),
                },
            },
        }
    }

    /// Python's `in`.
    pub fn contains(&self, item: &Value<'a>) -> Eval<bool> {
        match self {
            Value::Undefined(_) => Ok(false),
            Value::Str(text) => match item {
                Value::Str(part) => Ok(text.contains(part.as_ref())),
                _ => Err(Error::wrong_type(format!(
                    "'in <string>' requires string as left operand, not {}",
                    item.type_name()
                ))),
            },
            _ if self.is_dict() => Ok(self.entry(item).is_some()),
            _ => Ok(self.items()?.iter().any(|x| x.equals(item))),
        }
    }

    /// Python's `str()`; undefined is empty.
    pub fn text(&self) -> Cow<'a, str> {
        match self {
            Value::Str(s) => s.clone(),
            Value::Undefined(_) => Cow::Borrowed(""),
            Value::Time(t) => Cow::Owned(timefmt::isoformat(*t, ' ')),
            Value::Date(d) => Cow::Owned(d.to_string()),
            Value::Delta(d) => Cow::Owned(delta_text(*d)),
            Value::Period(p) => Cow::Owned(p.to_string()),
            other => {
                let mut out = String::new();
                other.repr(&mut out);
                Cow::Owned(out)
            }
        }
    }

    /// Appends Python's `repr()`.
    pub fn repr(&self, out: &mut String) {
        match self {
            Value::Undefined(_) => out.push_str("Undefined"),
            Value::None => out.push_str("None"),
            Value::Bool(b) => out.push_str(if *b { "True" } else { "False" }),
            Value::Int(i) => drop(write!(out, "{i}")),
            Value::Float(f) => out.push_str(&float_repr(*f)),
            Value::Str(s) => str_repr(s, out),
            Value::Json(Json::Array(_)) | Value::List(_) => self.repr_sequence('[', ']', out),
            Value::Tuple(t) => {
                self.repr_sequence('(', if t.len() == 1 { ',' } else { ')' }, out);
                if t.len() == 1 {
                    out.push(')');
                }
            }
            Value::Json(_) | Value::Dict(_) => {
                out.push('{');
                for (i, (k, v)) in self.pairs().iter().enumerate() {
                    if i > 0 {
                        out.push_str(", ");
                    }
                    k.repr(out);
                    out.push_str(": ");
                    v.repr(out);
                }
                out.push('}');
            }
            Value::Time(t) => {
                let _ = write!(
                    out,
                    "datetime.datetime({}, {}, {}, {}, {}",
                    t.year(),
                    u8::from(t.month()),
                    t.day(),
                    t.hour(),
                    t.minute()
                );
                if t.second() > 0 || t.microsecond() > 0 {
                    let _ = write!(out, ", {}", t.second());
                }
                if t.microsecond() > 0 {
                    let _ = write!(out, ", {}", t.microsecond());
                }
                out.push_str(", tzinfo=datetime.timezone.utc)");
            }
            Value::Date(d) => drop(write!(out, "datetime.date({}, {}, {})", d.year(), u8::from(d.month()), d.day())),
            Value::Delta(_) | Value::Period(_) => out.push_str(&self.text()),
        }
    }

    fn repr_sequence(&self, open: char, close: char, out: &mut String) {
        out.push(open);
        for (i, item) in self.items().unwrap_or_default().iter().enumerate() {
            if i > 0 {
                out.push_str(", ");
            }
            item.repr(out);
        }
        out.push(close);
    }

    /// The value as JSON; times become text, as in the reference's encoder.
    pub fn to_json(&self) -> Json {
        match self {
            Value::Undefined(_) | Value::None => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Int(i) => json_number(&i.to_string()),
            Value::Float(f) => json_number(&float_repr(*f)),
            Value::Str(s) => Json::String(s.to_string()),
            Value::Json(json) => (*json).clone(),
            Value::List(_) | Value::Tuple(_) => {
                Json::Array(self.items().unwrap_or_default().iter().map(Value::to_json).collect())
            }
            Value::Dict(_) => {
                Json::Object(self.pairs().iter().map(|(k, v)| (k.text().into_owned(), v.to_json())).collect())
            }
            Value::Time(t) => Json::String(timefmt::isoformat(*t, 'T')),
            Value::Date(_) | Value::Delta(_) | Value::Period(_) => Json::String(self.text().into_owned()),
        }
    }
}

/// A JSON number from its digits; null if JSON cannot represent it (infinity).
fn json_number(digits: &str) -> Json {
    serde_json::from_str(digits).unwrap_or(Json::Null)
}

/// The Python number for the text of a JSON number.
fn number<'a>(text: &str) -> Value<'a> {
    match text.parse::<i128>() {
        Ok(i) => Value::Int(i),
        Err(_) => Value::Float(text.parse().unwrap_or(f64::INFINITY)),
    }
}

/// Appends Python's `repr` of a text: in single quotes, unless it contains only single ones.
pub(super) fn str_repr(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || (0x7f..0xa1).contains(&(c as u32)) || c as u32 == 0xad => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// `str(timedelta)`: `1 day, 2:03:04.000005`.
fn delta_text(delta: Duration) -> String {
    let micros = delta.whole_microseconds();
    let days = micros.div_euclid(86_400_000_000);
    let rest = micros.rem_euclid(86_400_000_000);
    let (seconds, micros) = (rest / 1_000_000, rest % 1_000_000);
    let mut out = String::new();
    if days != 0 {
        let _ = write!(out, "{days} day{}, ", if days.abs() == 1 { "" } else { "s" });
    }
    let _ = write!(out, "{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if micros > 0 {
        let _ = write!(out, ".{micros:06}");
    }
    out
}
