//! Writes a record anew where the wire rules ask for it.
//!
//! Comes in: the scanner at a record, and its schema's tree. Goes out: the record's bytes, changed as little as
//! possible. Called by [`super::RecordSchema::rewrite`].

use time::OffsetDateTime;

use super::{Node, Object, Other, Prop, Shape, clean};
use crate::base::json::scan::{JsonKind, JsonText, Scan, Scanner, Whole, is_int64, whole};
use crate::base::timefmt::{self, is_date, is_utc};

/// Writes a record anew.
pub(super) struct Writer<'o> {
    pub(super) out: &'o mut Vec<u8>,
    /// Values that did not fit.
    pub(super) nulled: u32,
}

impl Writer<'_> {
    fn null(&mut self) {
        self.out.extend_from_slice(b"null");
        self.nulled += 1;
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
                    Some(None) if node.key => self.text(&text),
                    Some(None) => self.null(),
                }
            }
            (Shape::Date, JsonKind::String) => {
                let text = scanner.string()?;
                let whole = timefmt::parse_iso(&text.value()).map(OffsetDateTime::date);
                match (is_date(text.raw), whole) {
                    (true, _) => self.text(&text),
                    (false, Some(date)) => self.string(&date.to_string()),
                    (false, None) if node.key => self.text(&text),
                    (false, None) => self.null(),
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
                    _ if node.key => self.out.extend_from_slice(number.raw),
                    _ => self.null(),
                }
            }
            (Shape::Integer | Shape::Number, JsonKind::String) => {
                // A number in quotes is that number.
                let text = scanner.string()?.value().into_owned();
                let mut inner = Scanner::new(text.as_bytes());
                let number = inner.peek().ok().filter(|k| *k == JsonKind::Number).and_then(|_| inner.number().ok());
                match (number, &node.shape) {
                    (Some(n), Shape::Number) if inner.end().is_ok() => self.out.extend_from_slice(n.raw),
                    (Some(n), _) if inner.end().is_ok() && is_int64(&n) => self.out.extend_from_slice(n.raw),
                    _ => self.null(),
                }
            }
            (Shape::Number, JsonKind::Number) => self.out.extend_from_slice(scanner.number()?.raw),
            (Shape::Bool, JsonKind::Bool) => {
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
                Some(prop) if !prop.others.is_empty() => self.first_that_fits(prop, scanner)?,
                Some(prop) => self.value(&prop.node, scanner)?,
                None => self.any(scanner)?,
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    /// A value in the column that it fits; null in those before it.
    fn first_that_fits(&mut self, prop: &Prop, scanner: &mut Scanner<'_>) -> Scan<()> {
        let nodes = std::iter::once((None, &prop.node)).chain(prop.others.iter().map(|o| (Some(o), &o.node)));
        for (other, node) in nodes {
            let mut again = scanner.clone();
            let mut inner = Vec::new();
            let mut writer = Writer { out: &mut inner, nulled: 0 };
            let kind = again.peek()?;
            let wanted = match other {
                Some(Other { kind: "object", .. }) => kind == JsonKind::Object,
                Some(Other { kind: "array", .. }) => kind == JsonKind::Array,
                // A text column takes any plain value as its text.
                _ => true,
            };
            writer.value(node, &mut again)?;
            let nulled = writer.nulled;
            // What does not fit inside of an object or a list is no reason to leave all of it out.
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
        self.null();
        Ok(())
    }

    /// A list, whose elements are looked at as `item` if the schema describes them.
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

    /// A text as it was, or without what targets choke on.
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
