//! The schema that Singer targets get, and the few changes that make a record fit it.
//!
//! Comes in: a stream's JSON schema, its keys and the user's selection; then the bytes of each record. Goes
//! out: a relaxed schema, and for each record whether a change is needed (then the changed bytes). Called by `run`.
//!
//! The rules, and the targets that made each of them necessary, are measured: every property nullable but the
//! keys, one plain type each; date-times in UTC with `Z`; no `5.0` for an integer; no NUL, no lone surrogate; no
//! line break inside a message; a value of another type than its schema says is sent as null, and counted.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;

use crate::scan::{Kind, Number, Scan, Scanner, Text};
use crate::timefmt;

/// The longest column name that every warehouse takes, in bytes.
const MAX_NAME: usize = 63;
/// Deepest schema that is followed.
const MAX_DEPTH: usize = 32;

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
        let mut relax = Relax { root: schema, selection };
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
                let name = prop.sent_as.as_ref().unwrap_or(&prop.name);
                if let Some(types) = sent.get_mut(name).and_then(|s| s.get_mut("type"))
                    && let Json::Array(list) = types
                {
                    list.retain(|t| t != "null");
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
        Wire { schema: json!({"type": "object", "properties": sent}), root: node, keys: keys.to_vec() }
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

/// Makes the wire schema and the tree beside it.
struct Relax<'s> {
    root: &'s Json,
    selection: &'s Selection,
}

impl<'s> Relax<'s> {
    fn object(&mut self, schema: &'s Json, path: &mut Vec<String>, depth: usize) -> (Node, Map<String, Json>) {
        let mut props: Vec<Prop> = Vec::new();
        let mut sent = Map::new();
        let mut declared: Vec<(&'s String, &'s Json)> = Vec::new();
        self.properties(schema, &mut declared, 0);
        let mut open = true;
        for (name, inner) in declared {
            path.push(name.clone());
            let selected = !self.selection.dropped.contains(path);
            open &= selected;
            let (node, inner_sent) = self.value(inner, path, depth + 1);
            path.pop();
            let mut sent_as = None;
            if depth == 0 {
                let taken = |wire: &str| sent.keys().any(|k: &String| k.eq_ignore_ascii_case(wire));
                if name.len() > MAX_NAME || selected && taken(name) {
                    sent_as = Some(short_name(name));
                }
            }
            if selected {
                sent.insert(sent_as.clone().unwrap_or_else(|| name.clone()), inner_sent);
            }
            props.push(Prop {
                name: name.clone(),
                quoted: quoted(name),
                sent_as,
                selected,
                key: None,
                cursor: false,
                node,
            });
        }
        (Node { shape: Shape::Object(Object { props, open }), key: false }, sent)
    }

    /// Every declared property, also behind `$ref`, `allOf` and choices.
    fn properties(&self, schema: &'s Json, out: &mut Vec<(&'s String, &'s Json)>, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        let schema = self.follow(schema);
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            if !out.iter().any(|(n, _)| *n == name) {
                out.push((name, inner));
            }
        }
        for choice in ["allOf", "anyOf", "oneOf"] {
            for inner in schema[choice].as_array().into_iter().flatten() {
                self.properties(inner, out, depth + 1);
            }
        }
    }

    fn follow(&self, mut schema: &'s Json) -> &'s Json {
        for _ in 0..MAX_DEPTH {
            let Some(reference) = schema["$ref"].as_str().and_then(|r| r.strip_prefix('#')) else { break };
            match self.root.pointer(reference) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    /// The types that a schema allows, but null.
    fn types(&self, schema: &'s Json, out: &mut BTreeSet<&'s str>, depth: usize) {
        let schema = self.follow(schema);
        match &schema["type"] {
            Json::String(t) => drop(out.insert(t)),
            Json::Array(types) => out.extend(types.iter().filter_map(Json::as_str)),
            _ if depth < MAX_DEPTH => {
                for choice in ["anyOf", "oneOf", "allOf"] {
                    for inner in schema[choice].as_array().into_iter().flatten() {
                        self.types(inner, out, depth + 1);
                    }
                }
                if out.is_empty() && schema["properties"].is_object() {
                    out.insert("object");
                }
                for value in schema["enum"].as_array().into_iter().flatten().chain(schema.get("const")) {
                    out.insert(match value {
                        Json::String(_) => "string",
                        Json::Bool(_) => "boolean",
                        Json::Number(n) if n.is_i64() => "integer",
                        Json::Number(_) => "number",
                        Json::Array(_) => "array",
                        Json::Object(_) => "object",
                        Json::Null => "null",
                    });
                }
            }
            _ => {}
        }
        out.remove("null");
    }

    fn format(&self, schema: &'s Json) -> Option<&'s str> {
        let schema = self.follow(schema);
        schema["format"].as_str().or_else(|| {
            let choices = ["anyOf", "oneOf"].into_iter().flat_map(|c| schema[c].as_array().into_iter().flatten());
            { choices }.find_map(|inner| inner["format"].as_str())
        })
    }

    fn value(&mut self, schema: &'s Json, path: &mut Vec<String>, depth: usize) -> (Node, Json) {
        let mut types = BTreeSet::new();
        self.types(schema, &mut types, 0);
        let types: Vec<&str> = types.into_iter().collect();
        let plain = |shape, name: &str| (Node { shape, key: false }, json!({"type": ["null", name]}));
        match types.as_slice() {
            ["object"] if depth < MAX_DEPTH => {
                let (node, sent) = self.object(schema, path, depth);
                let sent = if sent.is_empty() {
                    json!({"type": ["null", "object"]})
                } else {
                    json!({"type": ["null", "object"], "properties": sent})
                };
                (node, sent)
            }
            ["array"] if depth < MAX_DEPTH => {
                let items = &self.follow(schema)["items"];
                if items.as_object().is_none_or(Map::is_empty) {
                    let any = Box::new(Node { shape: Shape::Any, key: false });
                    return (Node { shape: Shape::Array(any), key: false }, json!({"type": ["null", "array"]}));
                }
                let (node, sent) = self.value(items, path, depth + 1);
                (
                    Node { shape: Shape::Array(Box::new(node)), key: false },
                    json!({"type": ["null", "array"], "items": sent}),
                )
            }
            ["string"] => match self.format(schema) {
                Some("date-time") => (
                    Node { shape: Shape::DateTime, key: false },
                    json!({"type": ["null", "string"], "format": "date-time"}),
                ),
                Some("date") => {
                    (Node { shape: Shape::Date, key: false }, json!({"type": ["null", "string"], "format": "date"}))
                }
                _ => plain(Shape::String, "string"),
            },
            ["integer"] => plain(Shape::Integer, "integer"),
            ["number"] | ["integer", "number"] => plain(Shape::Number, "number"),
            ["boolean"] => plain(Shape::Bool, "boolean"),
            _ => plain(Shape::Mixed, "string"),
        }
    }
}

/// A name as a JSON key.
fn quoted(name: &str) -> Vec<u8> {
    format!("{}:", Json::String(name.into())).into_bytes()
}

/// A name that fits, the same every time: its start and a hash of all of it.
fn short_name(name: &str) -> String {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(name.as_bytes());
    let mut end = name.len().min(MAX_NAME - 9);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{:02x}{:02x}{:02x}{:02x}", &name[..end], hash[0], hash[1], hash[2], hash[3])
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

/// Writes a record anew.
struct Writer<'o> {
    out: &'o mut Vec<u8>,
    nulled: u32,
}

impl Writer<'_> {
    fn null(&mut self) {
        self.out.extend_from_slice(b"null");
        self.nulled += 1;
    }

    fn value(&mut self, node: &Node, scanner: &mut Scanner<'_>) -> Scan<()> {
        match (&node.shape, scanner.peek()?) {
            (_, Kind::Null) => {
                scanner.null()?;
                self.out.extend_from_slice(b"null");
            }
            (Shape::Object(object), Kind::Object) => self.object(object, scanner)?,
            (Shape::Array(item), Kind::Array) => {
                scanner.enter()?;
                self.out.push(b'[');
                let mut first = true;
                let mut index = 0;
                while scanner.element(&mut first)? {
                    if index > 0 {
                        self.out.push(b',');
                    }
                    index += 1;
                    self.value(item, scanner)?;
                }
                self.out.push(b']');
            }
            (Shape::DateTime, Kind::String) => {
                let text = scanner.string()?;
                match if is_utc(text.raw) { None } else { Some(timefmt::parse_iso(&text.value())) } {
                    None => self.text(&text),
                    Some(Some(t)) => self.string(&timefmt::rfc3339(t)),
                    Some(None) => self.null(),
                }
            }
            (Shape::Date, Kind::String) => {
                let text = scanner.string()?;
                let whole = timefmt::parse_iso(&text.value()).map(OffsetDateTime::date);
                match (is_date(text.raw), whole) {
                    (true, _) => self.text(&text),
                    (false, Some(date)) => self.string(&date.to_string()),
                    (false, None) => self.null(),
                }
            }
            (Shape::String | Shape::Mixed, Kind::String) => {
                let text = scanner.string()?;
                self.text(&text);
            }
            (Shape::Integer, Kind::Number) => {
                let number = scanner.number()?;
                match whole(&number) {
                    Some(i) => self.out.extend_from_slice(i.to_string().as_bytes()),
                    None if node.key => self.out.extend_from_slice(number.raw),
                    None => self.null(),
                }
            }
            (Shape::Integer | Shape::Number, Kind::String) => {
                // A number in quotes is that number.
                let text = scanner.string()?.value().into_owned();
                let mut inner = Scanner::new(text.as_bytes());
                let number = inner.peek().ok().filter(|k| *k == Kind::Number).and_then(|_| inner.number().ok());
                match (number, &node.shape) {
                    (Some(n), Shape::Number) if inner.end().is_ok() => self.out.extend_from_slice(n.raw),
                    (Some(n), _) if inner.end().is_ok() && is_int64(&n) => self.out.extend_from_slice(n.raw),
                    _ => self.null(),
                }
            }
            (Shape::Number, Kind::Number) => self.out.extend_from_slice(scanner.number()?.raw),
            (Shape::Bool, Kind::Bool) => {
                let text: &[u8] = if scanner.boolean()? { b"true" } else { b"false" };
                self.out.extend_from_slice(text);
            }
            (Shape::String | Shape::Mixed, _) => {
                // Announced as text: what is no text is sent as its JSON.
                if node.key {
                    return self.any(scanner);
                }
                let mut inner = Vec::new();
                Writer { out: &mut inner, nulled: 0 }.any(scanner)?;
                self.string(&String::from_utf8_lossy(&inner));
            }
            (Shape::Any, _) => self.any(scanner)?,
            _ => {
                scanner.skip()?;
                self.null();
            }
        }
        Ok(())
    }

    fn object(&mut self, object: &Object, scanner: &mut Scanner<'_>) -> Scan<()> {
        scanner.enter()?;
        self.out.push(b'{');
        let (mut first, mut hint, mut written) = (true, 0, 0);
        while let Some(key) = scanner.key(&mut first)? {
            let prop = object.find(&key, &mut hint);
            if !prop.map_or(object.open, |p| p.selected) {
                scanner.skip()?;
                continue;
            }
            if written > 0 {
                self.out.push(b',');
            }
            written += 1;
            match prop.and_then(|p| p.sent_as.as_deref()) {
                Some(name) => self.string(name),
                None => self.text(&key),
            }
            self.out.push(b':');
            match prop {
                Some(prop) => self.value(&prop.node, scanner)?,
                None => self.any(scanner)?,
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    fn any(&mut self, scanner: &mut Scanner<'_>) -> Scan<()> {
        match scanner.peek()? {
            Kind::Object => self.object(&Object { props: Vec::new(), open: true }, scanner)?,
            Kind::Array => {
                scanner.enter()?;
                self.out.push(b'[');
                let mut first = true;
                let mut index = 0;
                while scanner.element(&mut first)? {
                    if index > 0 {
                        self.out.push(b',');
                    }
                    index += 1;
                    self.any(scanner)?;
                }
                self.out.push(b']');
            }
            Kind::String => {
                let text = scanner.string()?;
                self.text(&text);
            }
            _ => {
                let start = scanner.at();
                scanner.skip()?;
                self.out.extend_from_slice(scanner.slice(start..scanner.at()));
            }
        }
        Ok(())
    }

    /// A text as it was, or without what targets choke on.
    fn text(&mut self, text: &Text<'_>) {
        if text.escaped && !clean(text) {
            let value = text.value().replace('\0', "");
            self.string(&value);
        } else {
            self.out.push(b'"');
            self.out.extend_from_slice(text.raw);
            self.out.push(b'"');
        }
    }

    fn string(&mut self, text: &str) {
        // Writing to a Vec cannot fail.
        let _ = serde_json::to_writer(&mut *self.out, text);
    }
}

/// The 64-bit integer that a number is, `5.0` and `5e2` included.
fn whole(number: &Number<'_>) -> Option<i64> {
    let text = std::str::from_utf8(number.raw).ok()?;
    if number.integer {
        return text.parse().ok();
    }
    let f: f64 = text.parse().ok()?;
    // Only what a float holds exactly.
    #[allow(clippy::cast_possible_truncation)]
    (f.fract() == 0.0 && f.abs() < 9_007_199_254_740_992.0).then_some(f as i64)
}
