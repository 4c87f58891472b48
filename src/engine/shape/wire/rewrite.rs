//! Rewrites a record if the wire rules require it.
//!
//! Input: the scanner at a record, and its schema's tree. Output: the record's bytes with minimal changes. Called by
//! [`super::RecordSchema::rewrite`].

use time::OffsetDateTime;

use super::{Node, Object, Other, Prop, Shape, clean};
use crate::base::json::scan::{JsonKind, JsonText, Scan, Scanner, Whole, is_int64, whole};
use crate::base::json::spelling::{Expected, Spelled, spelled};
use crate::base::timefmt::{self, is_date, is_utc};

/// Rewrites a record.
pub(super) struct Writer<'o> {
    pub(super) out: &'o mut Vec<u8>,
    /// Values that did not fit.
    pub(super) nulled: u32,
    /// Did a key not fit? A key must not be null.
    pub(super) bad_key: bool,
}

impl<'o> Writer<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>) -> Self {
        Writer { out, nulled: 0, bad_key: false }
    }

    /// Writes null for a value that does not fit `node`.
    fn null(&mut self, node: &Node) {
        self.out.extend_from_slice(b"null");
        self.nulled += 1;
        self.bad_key |= node.key;
    }

    /// Writes a value of another kind than its node: its meaning, if it is a known spelling.
    fn other_kind(&mut self, node: &Node, scanner: &mut Scanner<'_>) -> Scan<()> {
        let wanted = Expected {
            structure: matches!(node.shape, Shape::Object(_) | Shape::Array(_)),
            boolean: matches!(node.shape, Shape::Bool),
        };
        match spelled(&mut scanner.clone(), wanted)?.filter(|_| !node.key) {
            Some(Spelled::Nothing) => self.out.extend_from_slice(b"null"),
            Some(Spelled::True) => self.out.extend_from_slice(b"true"),
            Some(Spelled::False) => self.out.extend_from_slice(b"false"),
            None => self.null(node),
        }
        scanner.skip()
    }

    /// Writes a text that is not a date or time: an empty one means null.
    fn no_time(&mut self, node: &Node, text: &JsonText<'_>) {
        match (node.key, text.raw.is_empty()) {
            (true, _) => self.text(text),
            (false, true) => self.out.extend_from_slice(b"null"),
            (false, false) => self.null(node),
        }
    }

    /// Writes a quoted number as a number.
    fn quoted_number(&mut self, node: &Node, scanner: &mut Scanner<'_>) -> Scan<()> {
        let text = scanner.clone().string()?.value().into_owned();
        let mut inner = Scanner::new(text.as_bytes());
        let number = inner.peek().ok().filter(|k| *k == JsonKind::Number).and_then(|_| inner.number().ok());
        let fits = |whole: bool| matches!(node.shape, Shape::Number) || whole;
        match number.filter(|n| inner.end().is_ok() && fits(is_int64(n))) {
            Some(number) => self.out.extend_from_slice(number.raw),
            None => return self.other_kind(node, scanner),
        }
        scanner.skip()
    }

    pub(super) fn value(&mut self, node: &Node, scanner: &mut Scanner<'_>) -> Scan<()> {
        match (&node.shape, scanner.peek()?) {
            (_, JsonKind::Null) => {
                scanner.null()?;
                self.out.extend_from_slice(b"null");
            }
            (Shape::Object(object), JsonKind::Object) => self.object(object, scanner)?,
            (Shape::Array(item), JsonKind::Array) => self.array(Some(item), scanner)?,
            (Shape::DateTime, JsonKind::String) => {
                let text = scanner.string()?;
                match if is_utc(text.raw) { None } else { Some(timefmt::parse_iso(&text.value())) } {
                    None => self.text(&text),
                    Some(Some(t)) => self.string(&timefmt::rfc3339(t)),
                    Some(None) => self.no_time(node, &text),
                }
            }
            (Shape::Date, JsonKind::String) => {
                let text = scanner.string()?;
                let whole = timefmt::parse_iso(&text.value()).map(OffsetDateTime::date);
                match (is_date(text.raw), whole) {
                    (true, _) => self.text(&text),
                    (false, Some(date)) => self.string(&date.to_string()),
                    (false, None) => self.no_time(node, &text),
                }
            }
            (Shape::String | Shape::Mixed, JsonKind::String) => {
                let text = scanner.string()?;
                self.text(&text);
            }
            (Shape::Integer, JsonKind::Number) => {
                let number = scanner.number()?;
                match whole(&number) {
                    Whole::Fits(i) => self.out.extend_from_slice(i.to_string().as_bytes()),
                    // An integer beyond 64 bits is still valid in a key.
                    Whole::Large if node.key => self.out.extend_from_slice(number.raw),
                    _ => self.null(node),
                }
            }
            (Shape::Integer | Shape::Number, JsonKind::String) => self.quoted_number(node, scanner)?,
            (Shape::Number, JsonKind::Number) => self.out.extend_from_slice(scanner.number()?.raw),
            (Shape::Bool, JsonKind::Bool) => {
                let text: &[u8] = if scanner.boolean()? { b"true" } else { b"false" };
                self.out.extend_from_slice(text);
            }
            (Shape::String | Shape::Mixed, _) => {
                // Announced as text: other values are sent as JSON. Keys without a schema may also be numbers.
                if node.key && matches!(node.shape, Shape::Mixed) && is_whole(scanner)? {
                    return self.any(scanner);
                }
                let mut inner = Vec::new();
                Writer::new(&mut inner).any(scanner)?;
                self.string(&String::from_utf8_lossy(&inner));
            }
            (Shape::Any, _) => self.any(scanner)?,
            _ => self.other_kind(node, scanner)?,
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
                Some(prop) if !prop.others.is_empty() => self.first_that_fits(prop, scanner)?,
                Some(prop) => self.value(&prop.node, scanner)?,
                None => self.any(scanner)?,
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Writes a value into the first column that it fits; null in those before it.
    fn first_that_fits(&mut self, prop: &Prop, scanner: &mut Scanner<'_>) -> Scan<()> {
        let nodes = std::iter::once((None, &prop.node)).chain(prop.others.iter().map(|o| (Some(o), &o.node)));
        for (other, node) in nodes {
            let mut again = scanner.clone();
            let mut inner = Vec::new();
            let mut writer = Writer::new(&mut inner);
            let kind = again.peek()?;
            let wanted = match other {
                Some(Other { kind: "object", .. }) => kind == JsonKind::Object,
                Some(Other { kind: "array", .. }) => kind == JsonKind::Array,
                // A text column accepts any plain value as its text.
                _ => true,
            };
            writer.value(node, &mut again)?;
            let nulled = writer.nulled;
            // One unfitting value inside an object or list is no reason to drop the whole.
            let inside = matches!(
                (&node.shape, kind),
                (Shape::Object(_), JsonKind::Object) | (Shape::Array(_), JsonKind::Array)
            );
            if wanted && (nulled == 0 || inside) {
                self.nulled += nulled;
                *scanner = again;
                if let Some(other) = other {
                    self.out.extend_from_slice(b"null,");
                    self.string(&other.name);
                    self.out.push(b':');
                }
                self.out.extend_from_slice(&inner);
                return Ok(());
            }
        }
        scanner.skip()?;
        self.null(&prop.node);
        Ok(())
    }

    /// Writes a list; elements are checked against `item` if the schema describes them.
    fn array(&mut self, item: Option<&Node>, scanner: &mut Scanner<'_>) -> Scan<()> {
        scanner.enter()?;
        self.out.push(b'[');
        let mut first = true;
        let start = self.out.len();
        while scanner.element(&mut first)? {
            if self.out.len() > start {
                self.out.push(b',');
            }
            match item {
                Some(item) => self.value(item, scanner)?,
                None => self.any(scanner)?,
            }
        }
        self.out.push(b']');
        Ok(())
    }

    pub(super) fn any(&mut self, scanner: &mut Scanner<'_>) -> Scan<()> {
        match scanner.peek()? {
            JsonKind::Object => self.object(&Object { props: Vec::new(), open: true }, scanner)?,
            JsonKind::Array => self.array(None, scanner)?,
            JsonKind::String => {
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

    /// Writes a text, without characters that targets cannot handle.
    fn text(&mut self, text: &JsonText<'_>) {
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

/// Is the next value an integer?
fn is_whole(scanner: &Scanner<'_>) -> Scan<bool> {
    let mut ahead = scanner.clone();
    Ok(ahead.peek()? == JsonKind::Number && whole(&ahead.number()?) != Whole::Not)
}
