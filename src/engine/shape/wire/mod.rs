//! The schema for Singer targets, and the minimal changes that make a record fit it.
//!
//! Input: a stream's JSON schema, its keys and the user's selection; then the bytes of each record. Output: a relaxed
//! schema, and for each record whether it needs a change (then the changed bytes). Called by `record_writer`.
//!
//! The rules come from measurements of real targets: every property except the keys is nullable and has one plain
//! type; date-times are in UTC with `Z`; no `5.0` for an integer; no NUL, no lone surrogate; no line break inside a
//! message; a value of another type than its schema declares is sent as null, and counted.

mod relax;
mod rewrite;
pub mod track;

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use crate::base::json::observe::{NOWHERE, Observer, Places, ROOT};
use crate::base::json::scan::{JsonKind, JsonText, Scan, Scanner, is_int64};
use crate::base::json::schema::Reader;
use crate::base::timefmt::{is_date, is_utc};
use crate::protocol::singer_catalog::Selection;
use relax::{Relax, quoted};
use rewrite::Writer;

/// The wire form of a stream.
#[derive(Debug, Clone)]
pub struct RecordSchema {
    /// The schema to announce.
    pub schema: Json,
    root: Node,
    keys: Vec<String>,
    /// Only texts that no reader accepts are changed.
    verbatim: bool,
}

#[derive(Debug, Clone)]
struct Node {
    shape: Shape,
    key: bool,
    /// The number of its place in the schema.
    place: u32,
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
    /// Several types: sent as text; a value that is not a text is sent as its JSON.
    Mixed,
    /// No declared type: sent unchanged.
    Any,
}

#[derive(Debug, Clone)]
struct Object {
    props: Vec<Prop>,
    /// Properties that the schema does not declare are sent too.
    open: bool,
}

#[derive(Debug, Clone)]
struct Prop {
    name: String,
    /// The key in its usual spelling in records: `"name":`.
    quoted: Vec<u8>,
    /// The name on the wire, if twins or an overlong name require another one.
    sent_as: Option<String>,
    selected: bool,
    key: Option<u32>,
    cursor: bool,
    node: Node,
    /// Columns for values that do not fit.
    others: Vec<Other>,
}

/// An additional column for values that do not fit the original one.
#[derive(Debug, Clone)]
struct Other {
    name: String,
    kind: &'static str,
    node: Node,
}

/// Under this key a field's schema holds the narrower schema that its column was announced with.
const COLUMN: &str = "x-dripfeed-column";

/// The result of scanning a record.
#[derive(Debug, Clone, Default)]
pub struct RecordScan<'a> {
    /// Must the record be rewritten?
    pub change: bool,
    /// The cursor's value as written: a text or number.
    pub cursor: Option<CursorText<'a>>,
    keys: u32,
}

/// The result of rewriting a record.
#[derive(Debug, Clone, Copy)]
pub struct Rewritten {
    /// The number of values that were sent as null.
    pub nulled: u32,
    /// Was a key among them? No target can store such a record.
    pub bad_key: bool,
}

/// A cursor's value in a record.
#[derive(Debug, Clone)]
pub enum CursorText<'a> {
    /// A text.
    Text(JsonText<'a>),
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

impl RecordSchema {
    /// Relaxes `schema`; `keys` are the stream's key properties, `cursor` its cursor field.
    pub fn build(schema: &Json, keys: &[String], cursor: Option<&str>, selection: &Selection) -> RecordSchema {
        let fixed: Vec<&str> = keys.iter().map(String::as_str).chain(cursor).collect();
        let mut relax = Relax { schema: Reader::new(schema), selection, fixed: &fixed };
        let (mut node, mut sent) = relax.object(schema, &mut Vec::new(), 0);
        let Shape::Object(object) = &mut node.shape else { unreachable!("`object` makes an object") };
        for (index, key) in keys.iter().enumerate() {
            if !object.props.iter().any(|p| p.name == *key) {
                // A key that the schema does not declare: it gets both types that keys have.
                sent.insert(key.clone(), json!({"type": ["string", "integer"]}));
                object.props.push(Prop::plain(key, Shape::Mixed));
            }
            // A user override to text accepts any value.
            let overridden = selection.overrides.at(std::slice::from_ref(key)).is_some();
            for prop in object.props.iter_mut().filter(|p| p.name == *key) {
                prop.key = u32::try_from(index).ok();
                prop.selected = true;
                prop.node.key = !overridden;
                let mixed = matches!(prop.node.shape, Shape::Mixed) && !overridden;
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
                // Observed, though the schema does not announce it.
                object.props.push(Prop::plain(cursor, Shape::Any));
            }
            for prop in object.props.iter_mut().filter(|p| p.name == cursor) {
                prop.cursor = true;
                prop.selected = true;
            }
        }
        // `json!` would copy the properties.
        let mut schema = json!({"type": "object", "properties": null});
        schema["properties"] = Json::Object(sent);
        RecordSchema { schema, root: node, keys: keys.to_vec(), verbatim: false }
    }

    /// Changes the schema to verbatim output: nothing is announced, and no value becomes null.
    #[must_use]
    pub fn verbatim(mut self) -> RecordSchema {
        self.verbatim = true;
        self
    }

    /// Numbers the places of the schema, so that an observer can distinguish them.
    #[must_use]
    pub fn numbered(mut self, places: &dyn Places) -> RecordSchema {
        self.root.number(places, ROOT);
        self
    }

    /// Scans the next record, moves past it, and reports every value to `observer`. A line break between tokens is a
    /// change.
    #[inline]
    pub fn scan<'a>(&self, scanner: &mut Scanner<'a>, observer: &mut impl Observer) -> Scan<RecordScan<'a>> {
        let start = scanner.at();
        let mut scan = Look { seen: RecordScan::default(), verbatim: self.verbatim, observer };
        scan.value(&self.root, scanner, 0)?;
        let mut seen = scan.seen;
        if !seen.change {
            seen.change = memchr::memchr2(b'\n', b'\r', scanner.slice(start..scanner.at())).is_some();
        }
        Ok(seen)
    }

    /// The key that is missing from the record, if any.
    pub fn missing_key(&self, seen: &RecordScan<'_>) -> Option<&str> {
        let mut keys = self.keys.iter().enumerate().filter(|_| !self.verbatim);
        keys.find(|(i, _)| seen.keys & (1 << i) == 0).map(|(_, k)| k.as_str())
    }

    /// Appends the next record, changed to fit.
    pub fn rewrite(&self, scanner: &mut Scanner<'_>, out: &mut Vec<u8>) -> Scan<Rewritten> {
        let mut writer = Writer::new(out);
        if self.verbatim {
            writer.any(scanner)?;
        } else {
            writer.value(&self.root, scanner)?;
        }
        Ok(Rewritten { nulled: writer.nulled, bad_key: writer.bad_key })
    }

    /// The keys that are announced as texts.
    pub fn text_keys(&self) -> BTreeSet<&str> {
        let Shape::Object(object) = &self.root.shape else { return BTreeSet::new() };
        let is_text = |shape: &Shape| matches!(shape, Shape::String | Shape::DateTime | Shape::Date);
        let keys = object.props.iter().filter(|prop| !self.verbatim && prop.key.is_some() && is_text(&prop.node.shape));
        keys.map(|prop| prop.name.as_str()).collect()
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
            node: Node::of(shape),
            others: Vec::new(),
        }
    }
}

/// The scan of one record.
struct Look<'o, 'a, O> {
    seen: RecordScan<'a>,
    verbatim: bool,
    observer: &'o mut O,
}

impl<'a, O: Observer> Look<'_, 'a, O> {
    /// Scans a value; `object` is the number of its parent object.
    fn value(&mut self, node: &Node, scanner: &mut Scanner<'a>, object: u32) -> Scan<()> {
        let kind = scanner.peek()?;
        self.observer.value(node.place, kind, object);
        match (kind, &node.shape) {
            (JsonKind::String, shape) => {
                let text = scanner.string()?;
                self.observer.text(node.place, &text);
                self.seen.change |= match shape {
                    _ if self.verbatim => text.escaped && !clean(&text),
                    Shape::DateTime => !is_utc(text.raw),
                    Shape::Date => !is_date(text.raw),
                    Shape::String | Shape::Mixed | Shape::Any => text.escaped && !clean(&text),
                    _ => true,
                };
            }
            (JsonKind::Number, shape) => {
                let number = scanner.number()?;
                self.observer.number(node.place, &number);
                self.seen.change |= match shape {
                    _ if self.verbatim => false,
                    Shape::Integer => !is_int64(&number),
                    Shape::Number | Shape::Any => false,
                    _ => true,
                };
            }
            (JsonKind::Bool, shape) => {
                let value = scanner.boolean()?;
                self.observer.boolean(node.place, value);
                self.seen.change |= !self.verbatim && !matches!(shape, Shape::Bool | Shape::Any);
            }
            (JsonKind::Null, _) => scanner.null()?,
            (JsonKind::Object, Shape::Object(inner)) => self.object(inner, node.place, scanner)?,
            (JsonKind::Array, Shape::Array(item)) => {
                scanner.enter()?;
                let mut first = true;
                while scanner.element(&mut first)? {
                    self.value(item, scanner, 0)?;
                }
            }
            (_, Shape::Any) => self.any(scanner)?,
            _ if self.verbatim => self.any(scanner)?,
            _ => {
                self.seen.change = true;
                scanner.skip()?;
            }
        }
        Ok(())
    }

    fn object(&mut self, object: &Object, place: u32, scanner: &mut Scanner<'a>) -> Scan<()> {
        scanner.enter()?;
        let number = self.observer.object();
        let mut first = true;
        let mut hint = 0;
        loop {
            if let Some(prop) = object.props.get(hint)
                && scanner.take_key(&mut first, &prop.quoted)
            {
                hint += 1;
                self.prop(prop, scanner, number)?;
                continue;
            }
            let Some(key) = scanner.key(&mut first)? else { return Ok(()) };
            self.seen.change |= key.escaped && !clean(&key);
            if let Some(prop) = object.find(&key, &mut hint) {
                self.prop(prop, scanner, number)?;
            } else {
                self.observer.unknown(place, &key, scanner.peek()?);
                self.seen.change |= !object.open && !self.verbatim;
                self.any(scanner)?;
            }
        }
    }

    fn prop(&mut self, prop: &Prop, scanner: &mut Scanner<'a>, object: u32) -> Scan<()> {
        self.seen.change |= !self.verbatim && (!prop.selected || prop.sent_as.is_some());
        if prop.key.is_none() && !prop.cursor {
            return self.value(&prop.node, scanner, object);
        }
        let kind = scanner.peek()?;
        if let Some(bit) = prop.key
            && kind != JsonKind::Null
        {
            self.seen.keys |= 1 << bit;
        }
        if prop.cursor {
            let mut aside = scanner.clone();
            self.seen.cursor = match kind {
                JsonKind::String => Some(CursorText::Text(aside.string()?)),
                JsonKind::Number => Some(CursorText::Number(aside.number()?.raw)),
                _ => None,
            };
        }
        self.value(&prop.node, scanner, object)
    }

    /// Scans a value without a schema; its texts are still checked.
    fn any(&mut self, scanner: &mut Scanner<'_>) -> Scan<()> {
        match scanner.peek()? {
            JsonKind::String => {
                let text = scanner.string()?;
                self.seen.change |= text.escaped && !clean(&text);
            }
            JsonKind::Object => {
                scanner.enter()?;
                let mut first = true;
                while let Some(key) = scanner.key(&mut first)? {
                    self.seen.change |= key.escaped && !clean(&key);
                    self.any(scanner)?;
                }
            }
            JsonKind::Array => {
                scanner.enter()?;
                let mut first = true;
                while scanner.element(&mut first)? {
                    self.any(scanner)?;
                }
            }
            _ => scanner.skip()?,
        }
        Ok(())
    }
}

impl Node {
    fn of(shape: Shape) -> Node {
        Node { shape, key: false, place: NOWHERE }
    }

    fn number(&mut self, places: &dyn Places, place: u32) {
        self.place = place;
        match &mut self.shape {
            Shape::Object(object) => {
                object.props.iter_mut().for_each(|prop| prop.node.number(places, places.child(place, &prop.name)));
            }
            Shape::Array(item) => item.number(places, places.item(place)),
            _ => {}
        }
    }
}

impl Object {
    /// The property with this name; records mostly keep the order of keys, so the next property is tried first.
    #[inline]
    fn find(&self, key: &JsonText<'_>, hint: &mut usize) -> Option<&Prop> {
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

/// Is a text with escapes free of NUL and lone surrogates?
fn clean(text: &JsonText<'_>) -> bool {
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
