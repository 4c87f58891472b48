//! The schema that Singer targets get, and the few changes that make a record fit it.
//!
//! Comes in: a stream's JSON schema, its keys and the user's selection; then the bytes of each record. Goes
//! out: a relaxed schema, and for each record whether a change is needed (then the changed bytes). Called by `run`.
//!
//! The rules, and the targets that made each of them necessary, are measured: every property nullable but the
//! keys, one plain type each; date-times in UTC with `Z`; no `5.0` for an integer; no NUL, no lone surrogate; no
//! line break inside a message; a value of another type than its schema says is sent as null, and counted.

mod relax;
mod rewrite;

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use crate::scan::{Kind, Number, Scan, Scanner, Text};
use relax::{Relax, quoted};
use rewrite::Writer;

/// Which fields the user wants: those not listed as deselected.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Paths of property names that were deselected.
    pub dropped: BTreeSet<Vec<String>>,
}

/// The wire form of a stream.
#[derive(Debug, Clone)]
pub struct Wire {
    /// The schema to announce.
    pub schema: Json,
    root: Node,
    keys: Vec<String>,
}

#[derive(Debug, Clone)]
struct Node {
    shape: Shape,
    key: bool,
}

#[derive(Debug, Clone)]
enum Shape {
    Object(Object),
    Array(Box<Node>),
    String,
    DateTime,
    Date,
    Integer,
    Number,
    Bool,
    /// No one type: sent as text, anything but a text as JSON.
    Mixed,
    /// Nothing is announced: sent as it is.
    Any,
}

#[derive(Debug, Clone)]
struct Object {
    props: Vec<Prop>,
    /// Properties that the schema does not declare pass too.
    open: bool,
}

#[derive(Debug, Clone)]
struct Prop {
    name: String,
    /// The key as it mostly stands in records: `"name":`.
    quoted: Vec<u8>,
    /// Another name on the wire, for twins and overlong names.
    sent_as: Option<String>,
    selected: bool,
    key: Option<u32>,
    cursor: bool,
    node: Node,
}

/// What a look at a record found.
#[derive(Debug, Clone, Default)]
pub struct Seen<'a> {
    /// Must the record be rewritten?
    pub change: bool,
    /// The cursor's value as written: a text or number.
    pub cursor: Option<CursorText<'a>>,
    keys: u32,
}

/// A cursor's value in a record.
#[derive(Debug, Clone)]
pub enum CursorText<'a> {
    /// A text.
    Text(Text<'a>),
    /// A number.
    Number(&'a [u8]),
}

impl CursorText<'_> {
    /// The value's text.
    pub fn value(&self) -> std::borrow::Cow<'_, str> {
        match self {
            CursorText::Text(t) => t.value(),
            CursorText::Number(n) => String::from_utf8_lossy(n),
        }
    }
}

impl Wire {
    /// Relaxes `schema`; `keys` are the stream's key properties, `cursor` its cursor field.
    pub fn build(schema: &Json, keys: &[String], cursor: Option<&str>, selection: &Selection) -> Wire {
        let fixed: Vec<&str> = keys.iter().map(String::as_str).chain(cursor).collect();
        let mut relax = Relax { root: schema, selection, fixed: &fixed };
        let (mut node, mut sent) = relax.object(schema, &mut Vec::new(), 0);
        let Shape::Object(object) = &mut node.shape else { unreachable!("`object` makes an object") };
        for (index, key) in keys.iter().enumerate() {
            if !object.props.iter().any(|p| p.name == *key) {
                // A key that the schema forgot: both types that keys have.
                sent.insert(key.clone(), json!({"type": ["string", "integer"]}));
                object.props.push(Prop::plain(key, Shape::Mixed));
            }
            for prop in object.props.iter_mut().filter(|p| p.name == *key) {
                prop.key = u32::try_from(index).ok();
                prop.selected = true;
                prop.node.key = true;
                let mixed = matches!(prop.node.shape, Shape::Mixed);
                let name = prop.sent_as.as_ref().unwrap_or(&prop.name);
                if let Some(types) = sent.get_mut(name).and_then(|s| s.get_mut("type"))
                    && let Json::Array(list) = types
                {
                    list.retain(|t| t != "null");
                    if mixed {
                        *list = vec![json!("string"), json!("integer")];
                    }
                    if let [one] = list.as_slice() {
                        *types = one.clone();
                    }
                }
            }
        }
        if let Some(cursor) = cursor {
            if !object.props.iter().any(|p| p.name == cursor) {
                // Watched, though nothing is announced about it.
                object.props.push(Prop::plain(cursor, Shape::Any));
            }
            for prop in object.props.iter_mut().filter(|p| p.name == cursor) {
                prop.cursor = true;
                prop.selected = true;
            }
        }
        // `json!` would copy them.
        let mut schema = json!({"type": "object", "properties": null});
        schema["properties"] = Json::Object(sent);
        Wire { schema, root: node, keys: keys.to_vec() }
    }

    /// Looks at the record that comes next and passes it. With `lines`, a line break between its tokens is a change.
    #[inline]
    pub fn look<'a>(&self, scanner: &mut Scanner<'a>, lines: bool) -> Scan<Seen<'a>> {
        let mut seen = Seen::default();
        let start = scanner.at();
        look(&self.root, scanner, &mut seen)?;
        if lines && !seen.change {
            seen.change = memchr::memchr2(b'\n', b'\r', scanner.slice(start..scanner.at())).is_some();
        }
        Ok(seen)
    }

    /// The key that the record lacks, if it lacks one.
    pub fn missing_key(&self, seen: &Seen<'_>) -> Option<&str> {
        self.keys.iter().enumerate().find(|(i, _)| seen.keys & (1 << i) == 0).map(|(_, k)| k.as_str())
    }

    /// Appends the record that comes next, changed to fit; gives how many values were sent as null.
    pub fn rewrite(&self, scanner: &mut Scanner<'_>, out: &mut Vec<u8>) -> Scan<u32> {
        let mut writer = Writer { out, nulled: 0 };
        writer.value(&self.root, scanner)?;
        Ok(writer.nulled)
    }
}

impl Prop {
    fn plain(name: &str, shape: Shape) -> Prop {
        Prop {
            name: name.into(),
            quoted: quoted(name),
            sent_as: None,
            selected: true,
            key: None,
            cursor: false,
            node: Node { shape, key: false },
        }
    }
}

fn look<'a>(node: &Node, scanner: &mut Scanner<'a>, seen: &mut Seen<'a>) -> Scan<()> {
    let kind = scanner.peek()?;
    match (&node.shape, kind) {
        (Shape::Object(object), Kind::Object) => {
            scanner.enter()?;
            let mut first = true;
            let mut hint = 0;
            loop {
                if let Some(prop) = object.props.get(hint)
                    && scanner.take_key(&mut first, &prop.quoted)
                {
                    hint += 1;
                    look_prop(prop, scanner, seen)?;
                    continue;
                }
                let Some(key) = scanner.key(&mut first)? else { break };
                seen.change |= key.escaped && !clean(&key);
                if let Some(prop) = object.find(&key, &mut hint) {
                    look_prop(prop, scanner, seen)?;
                } else {
                    seen.change |= !object.open;
                    look_any(scanner, seen)?;
                }
            }
        }
        (Shape::Array(item), Kind::Array) => {
            scanner.enter()?;
            let mut first = true;
            while scanner.element(&mut first)? {
                look(item, scanner, seen)?;
            }
        }
        (Shape::String | Shape::Mixed, Kind::String) => {
            let text = scanner.string()?;
            seen.change |= text.escaped && !clean(&text);
        }
        (Shape::DateTime, Kind::String) => seen.change |= !is_utc(scanner.string()?.raw),
        (Shape::Date, Kind::String) => seen.change |= !is_date(scanner.string()?.raw),
        (Shape::Integer, Kind::Number) => seen.change |= !is_int64(&scanner.number()?),
        (Shape::Number, Kind::Number) => drop(scanner.number()?),
        (Shape::Bool, Kind::Bool) => drop(scanner.boolean()?),
        (Shape::Any, _) => look_any(scanner, seen)?,
        (_, Kind::Null) => scanner.null()?,
        _ => {
            seen.change = true;
            scanner.skip()?;
        }
    }
    Ok(())
}

fn look_prop<'a>(prop: &Prop, scanner: &mut Scanner<'a>, seen: &mut Seen<'a>) -> Scan<()> {
    seen.change |= !prop.selected || prop.sent_as.is_some();
    if prop.key.is_none() && !prop.cursor {
        return look(&prop.node, scanner, seen);
    }
    let kind = scanner.peek()?;
    if let Some(bit) = prop.key
        && kind != Kind::Null
    {
        seen.keys |= 1 << bit;
    }
    if prop.cursor {
        let mut aside = scanner.clone();
        seen.cursor = match kind {
            Kind::String => Some(CursorText::Text(aside.string()?)),
            Kind::Number => Some(CursorText::Number(aside.number()?.raw)),
            _ => None,
        };
    }
    look(&prop.node, scanner, seen)
}

/// Passes a value that no schema describes; its texts must be clean all the same.
fn look_any(scanner: &mut Scanner<'_>, seen: &mut Seen<'_>) -> Scan<()> {
    match scanner.peek()? {
        Kind::String => {
            let text = scanner.string()?;
            seen.change |= text.escaped && !clean(&text);
        }
        Kind::Object => {
            scanner.enter()?;
            let mut first = true;
            while let Some(key) = scanner.key(&mut first)? {
                seen.change |= key.escaped && !clean(&key);
                look_any(scanner, seen)?;
            }
        }
        Kind::Array => {
            scanner.enter()?;
            let mut first = true;
            while scanner.element(&mut first)? {
                look_any(scanner, seen)?;
            }
        }
        _ => scanner.skip()?,
    }
    Ok(())
}

impl Object {
    /// The property of that name; records mostly keep the order of keys, so the next one is tried first.
    #[inline]
    fn find(&self, key: &Text<'_>, hint: &mut usize) -> Option<&Prop> {
        if let Some(prop) = self.props.get(*hint)
            && key.is(&prop.name)
        {
            *hint += 1;
            return Some(prop);
        }
        let at = self.props.iter().position(|p| key.is(&p.name))?;
        *hint = at + 1;
        Some(&self.props[at])
    }
}

/// Has a text with escapes neither a NUL nor a lone surrogate?
fn clean(text: &Text<'_>) -> bool {
    let mut rest = text.raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        rest = &rest[at..];
        if rest.get(1) != Some(&b'u') {
            rest = &rest[2..];
            continue;
        }
        let unit = |r: &[u8]| {
            r.get(2..6).and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u16::from_str_radix(h, 16).ok())
        };
        match unit(rest) {
            Some(0) => return false,
            Some(first) if (0xd800..0xe000).contains(&first) => {
                let low = rest.get(6..).filter(|r| r.starts_with(b"\\u")).and_then(unit);
                if first >= 0xdc00 || !low.is_some_and(|l| (0xdc00..0xe000).contains(&l)) {
                    return false;
                }
                rest = &rest[12..];
            }
            _ => rest = &rest[6..],
        }
    }
    true
}

/// `2024-01-02T03:04:05Z`, with a fraction of up to six digits or none, and fields in range.
fn is_utc(raw: &[u8]) -> bool {
    if raw.len() < 20
        || raw[10] != b'T'
        || raw[13] != b':'
        || raw[16] != b':'
        || raw[raw.len() - 1] != b'Z'
        || !is_date(&raw[..10])
    {
        return false;
    }
    let two = |i: usize| raw[i].is_ascii_digit() && raw[i + 1].is_ascii_digit();
    let below = |i: usize, tens: u8| raw[i] < tens;
    let fraction = &raw[19..raw.len() - 1];
    two(11)
        && two(14)
        && two(17)
        && (below(11, b'2') || raw[11] == b'2' && raw[12] < b'4')
        && below(14, b'6')
        && below(17, b'6')
        && (fraction.is_empty()
            || fraction[0] == b'.' && (2..=7).contains(&fraction.len()) && fraction[1..].iter().all(u8::is_ascii_digit))
}

/// `2024-02-29`, a day that exists.
fn is_date(raw: &[u8]) -> bool {
    if raw.len() != 10 || raw[4] != b'-' || raw[7] != b'-' {
        return false;
    }
    let number = |range: std::ops::Range<usize>| {
        raw[range].iter().try_fold(0u16, |n, b| b.is_ascii_digit().then(|| n * 10 + u16::from(b - b'0')))
    };
    let (Some(year), Some(month), Some(day)) = (number(0..4), number(5..7), number(8..10)) else { return false };
    let long = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 0,
    };
    year >= 1 && (1..=long).contains(&day)
}

/// An integer that a 64-bit column holds.
fn is_int64(number: &Number<'_>) -> bool {
    number.integer && (number.raw.len() < 19 || std::str::from_utf8(number.raw).is_ok_and(|t| t.parse::<i64>().is_ok()))
}
