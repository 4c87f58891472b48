//! The compiled baseline: a numbered place for each value that a record may have, with the expectations for it.
//!
//! Input: a stream's schema with the tenant's overlay, its keys and its cursor. Output: [`Checks`], with which the
//! record scan detects immediately that nothing is new. Called by [`super::monitor`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value as Json;

use crate::base::json::observe::{NOWHERE, Places, ROOT};
use crate::base::json::scan::{JsonKind, JsonText, Scan, Scanner};
use crate::base::json::schema::{MAX_DEPTH, Reader};
use crate::base::json::spelling::{Expected, spelled};

/// Numbers with a fraction, in addition to the kinds of JSON.
pub(super) const FRACTION: usize = 6;
/// The number of kinds.
pub(super) const KINDS: usize = 7;
/// The names of kinds, as in schemas.
pub(super) const NAMES: [&str; KINDS] = ["object", "array", "string", "integer", "boolean", "null", "number"];

/// The number of a kind.
#[inline]
pub(super) fn number(kind: JsonKind) -> usize {
    match kind {
        JsonKind::Object => 0,
        JsonKind::Array => 1,
        JsonKind::String => 2,
        JsonKind::Number => 3,
        JsonKind::Bool => 4,
        JsonKind::Null => 5,
    }
}

/// The mask of all kinds.
const ANY: u8 = 0x7f;
/// The bit of a kind.
pub(super) const fn bit(kind: usize) -> u8 {
    1 << kind
}

/// The expected format of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A date and a time.
    DateTime,
    /// A date.
    Date,
}

/// The expectations at a place.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The pointer: `/a/b`, with `*` for any item of a list.
    pub(super) pointer: String,
    /// The object or list that contains it.
    pub(super) parent: u32,
    /// Allowed kinds of values, as a bit mask.
    pub(super) allowed: u8,
    /// The format of texts.
    pub(super) format: Option<Format>,
    /// The allowed texts (enum), raw; empty if any text is allowed.
    pub(super) listed: Vec<Box<[u8]>>,
    /// The index of the key, if it is one.
    pub(super) key: Option<u8>,
    /// Is it the cursor field?
    pub(super) cursor: bool,
    /// Are integers beyond 64 bits accepted? (Then no 64-bit column is announced.)
    pub(super) wide: bool,
    /// The fields of the object, by name.
    pub(super) fields: HashMap<String, u32>,
    /// The place of the list's items.
    pub(super) item: u32,
    /// Are its fields checked? An object without declared fields uses names as data.
    pub(super) closed: bool,
    /// Is it the cursor, but missing from the schema?
    pub(super) undeclared: bool,
    /// Undeclared fields that were already reported.
    pub(super) passed: HashSet<String>,
    /// The schema of the place, unchanged.
    pub(super) schema: Json,
}

/// The compiled baseline.
#[derive(Debug)]
pub(super) struct Checks {
    /// Places by number; the first is none, the second the record.
    pub(super) places: Vec<Place>,
    by_pointer: HashMap<String, u32>,
    /// The number of keys.
    pub(super) keys: u8,
    /// Counts the times that they were compiled.
    pub(super) revision: u32,
}

impl Places for Checks {
    fn child(&self, place: u32, name: &str) -> u32 {
        self.place(place).fields.get(name).copied().unwrap_or(NOWHERE)
    }

    fn item(&self, place: u32) -> u32 {
        self.place(place).item
    }
}

/// Deviations that are accepted at a place: kinds, or one of the markers below.
pub(super) type Tolerated = BTreeMap<String, BTreeSet<String>>;

/// Marker in [`Tolerated`]: a text of another format.
pub(super) const FORMAT: &str = "format";
/// Marker in [`Tolerated`]: any text beyond the enum.
pub(super) const LISTED: &str = "listed";
/// Marker in [`Tolerated`]: integers beyond 64 bits.
pub(super) const WIDE: &str = "wide";

/// Marker in [`Tolerated`]: every undeclared field of an object.
pub(super) const OPEN: &str = "open";
/// Marker in [`Tolerated`]: an undeclared field.
pub(super) const FIELD: &str = "field";

/// A pointer's segment as a name.
pub(super) fn plain(segment: &str) -> String {
    segment.replace("~2", "*").replace("~1", "/").replace("~0", "~")
}

/// A pointer segment, escaped as in RFC 6901; a literal `*`, which would mean any item, becomes `~2`.
pub(super) fn segment(name: &str) -> String {
    if name == "*" {
        return "~2".into();
    }
    name.replace('~', "~0").replace('/', "~1")
}

impl Checks {
    /// Compiles a schema. Places in `before` keep their numbers.
    pub(super) fn compile(
        schema: &Json,
        keys: &[Vec<String>],
        cursor: Option<&str>,
        tolerated: &Tolerated,
        before: Option<&Checks>,
    ) -> Checks {
        let places = before.map_or_else(
            || vec![Place::anything(String::new(), NOWHERE)],
            |before| before.places.iter().map(|place| Place::anything(place.pointer.clone(), place.parent)).collect(),
        );
        let checks = Checks {
            places,
            by_pointer: before.map(|before| before.by_pointer.clone()).unwrap_or_default(),
            keys: u8::try_from(keys.len().min(8)).unwrap_or(8),
            revision: before.map_or(0, |before| before.revision + 1),
        };
        let mut compiler = Compiler { checks, reader: Reader::new(schema), tolerated };
        compiler.add(schema, String::new(), NOWHERE, 0);
        let mut checks = compiler.checks;
        // The record is an object, whatever its schema declares.
        checks.places[1].closed = true;
        for (pointer, _) in tolerated.iter().filter(|(_, what)| what.contains(OPEN)) {
            if let Some(at) = checks.at(pointer) {
                checks.places[at as usize].closed = false;
            }
        }
        for (number, path) in keys.iter().take(8).enumerate() {
            let pointer: String = path.iter().map(|name| format!("/{}", segment(name))).collect();
            let place = checks.ensure(&pointer);
            checks.places[place].key = u8::try_from(number).ok();
        }
        if let Some(cursor) = cursor {
            let pointer = format!("/{}", segment(cursor));
            let passed = tolerated.get(&pointer).is_some_and(|what| what.contains(FIELD));
            let known = checks.places[1].fields.contains_key(cursor);
            let place = checks.ensure(&pointer);
            checks.places[place].cursor = true;
            checks.places[place].undeclared = !known && !passed;
        }
        for (pointer, _) in tolerated.iter().filter(|(_, what)| what.contains(FIELD)) {
            let (above, name) = pointer.rsplit_once('/').unwrap_or(("", pointer));
            if let Some(at) = checks.at(above) {
                checks.places[at as usize].passed.insert(plain(name));
            }
        }
        checks
    }

    /// The number of the place at a pointer; creates one if there is none.
    fn reserve(&mut self, pointer: &str, parent: u32) -> usize {
        if let Some(at) = self.by_pointer.get(pointer) {
            return *at as usize;
        }
        let at = self.places.len();
        self.places.push(Place::anything(pointer.to_owned(), parent));
        self.by_pointer.insert(pointer.to_owned(), u32::try_from(at).unwrap_or(NOWHERE));
        at
    }

    /// The place at a pointer; created if the schema does not declare it.
    fn ensure(&mut self, pointer: &str) -> usize {
        let (above, name) = pointer.rsplit_once('/').unwrap_or(("", pointer));
        let parent = if above.is_empty() { ROOT as usize } else { self.ensure(above) };
        let at = self.reserve(pointer, u32::try_from(parent).unwrap_or(ROOT));
        self.places[parent].fields.insert(plain(name), u32::try_from(at).unwrap_or(NOWHERE));
        at
    }

    /// The place with a number.
    pub(super) fn place(&self, number: u32) -> &Place {
        self.places.get(number as usize).unwrap_or(&self.places[0])
    }

    /// The number of the place at a pointer.
    pub(super) fn at(&self, pointer: &str) -> Option<u32> {
        self.by_pointer.get(pointer).copied()
    }
}

/// Creates places from a schema.
struct Compiler<'s> {
    checks: Checks,
    reader: Reader<'s>,
    tolerated: &'s Tolerated,
}

impl<'s> Compiler<'s> {
    /// Adds the place of a schema and those below it; returns its number.
    fn add(&mut self, schema: &'s Json, pointer: String, parent: u32, depth: usize) -> u32 {
        let (reader, tolerated) = (self.reader, self.tolerated);
        let at = self.checks.reserve(&pointer, parent);
        let number = u32::try_from(at).unwrap_or(NOWHERE);
        let mut place = Place::anything(pointer.clone(), parent);
        let types = reader.types(schema);
        let followed = reader.follow(schema);
        place.schema = followed.clone();
        if !types.is_empty() {
            place.allowed = types.iter().map(|name| mask_of(name)).fold(0, |all, mask| all | mask);
        }
        place.format = match reader.format(schema) {
            Some("date-time") => Some(Format::DateTime),
            Some("date") => Some(Format::Date),
            _ => None,
        };
        for value in followed["enum"].as_array().into_iter().flatten() {
            if let Json::String(_) = value {
                let quoted = value.to_string();
                place.listed.push(quoted.as_bytes()[1..quoted.len() - 1].into());
            } else if !value.is_null() {
                // Only texts are compared.
                place.listed.clear();
                break;
            }
        }
        place.wide = !types.contains("integer") || types.contains("number") || types.contains("string");
        for what in tolerated.get(&pointer).into_iter().flatten() {
            match what.as_str() {
                FORMAT => place.format = None,
                LISTED => place.listed.clear(),
                WIDE => place.wide = true,
                kind if NAMES.contains(&kind) => place.allowed |= mask_of(kind),
                _ => {}
            }
        }
        let plain: Vec<&str> = types.iter().copied().filter(|t| *t != "null").collect();
        self.checks.places[at] = place;
        match plain.as_slice() {
            // A record is an object, whatever its schema declares.
            _ if at == 1 => self.add_fields(schema, &pointer, number, depth),
            ["object"] if depth < MAX_DEPTH => self.add_fields(schema, &pointer, number, depth),
            ["array"] if depth < MAX_DEPTH => {
                if let Some(items) = reader.items(schema) {
                    let item = self.add(items, format!("{pointer}/*"), number, depth + 1);
                    self.checks.places[at].item = item;
                }
            }
            _ => {}
        }
        number
    }

    /// Adds the places of an object's fields; `number` is the object's.
    fn add_fields(&mut self, schema: &'s Json, pointer: &str, number: u32, depth: usize) {
        let declared = self.reader.properties(schema);
        let mut fields = HashMap::with_capacity(declared.len());
        for (name, inner) in declared {
            let below = format!("{pointer}/{}", segment(name));
            fields.insert(name.clone(), self.add(inner, below, number, depth + 1));
        }
        let place = &mut self.checks.places[number as usize];
        place.closed = !fields.is_empty();
        place.fields = fields;
    }
}

impl Place {
    fn anything(pointer: String, parent: u32) -> Place {
        Place {
            pointer,
            parent,
            allowed: ANY,
            format: None,
            listed: Vec::new(),
            key: None,
            cursor: false,
            wide: true,
            fields: HashMap::new(),
            item: NOWHERE,
            closed: false,
            undeclared: false,
            passed: HashSet::new(),
            schema: Json::Null,
        }
    }

    /// May the value be an object or a list?
    pub(super) fn holds_structure(&self) -> bool {
        self.allowed & (bit(0) | bit(1)) != 0
    }

    /// May the value be a boolean, but not a number?
    pub(super) fn holds_flags(&self) -> bool {
        self.allowed & bit(4) != 0 && self.allowed & bit(3) == 0
    }

    /// May a value be written as another kind without loss? Not for keys. If texts are allowed too, it is written as
    /// a text.
    pub(super) fn is_spelled(&self) -> bool {
        self.key.is_none() && !self.cursor
    }

    /// Is the next value, of an unexpected kind, such a spelling?
    pub(super) fn spells(&self, scanner: &Scanner<'_>) -> Scan<bool> {
        let wanted = Expected { structure: self.holds_structure(), boolean: self.holds_flags() };
        Ok(self.is_spelled() && spelled(&mut scanner.clone(), wanted)?.is_some())
    }

    /// Is a text in the enum?
    pub(super) fn lists(&self, text: &JsonText<'_>) -> bool {
        let among = |raw: &[u8]| self.listed.iter().any(|listed| **listed == *raw);
        if !text.escaped {
            return among(text.raw);
        }
        // The same text can be escaped in several ways.
        let quoted = Json::String(text.value().into_owned()).to_string();
        among(&quoted.as_bytes()[1..quoted.len() - 1])
    }

    /// The expected type in words: `string(date)`.
    pub(super) fn words(&self) -> String {
        if self.allowed == ANY {
            return "any".into();
        }
        let format = match self.format {
            Some(Format::DateTime) => "(date-time)",
            Some(Format::Date) => "(date)",
            None => "",
        };
        // `number` includes `integer`.
        let whole = self.allowed & bit(FRACTION) != 0;
        let names = (0..KINDS).filter(|kind| self.allowed & bit(*kind) != 0 && *kind != 5 && !(whole && *kind == 3));
        names
            .map(|kind| format!("{}{}", NAMES[kind], if kind == 2 { format } else { "" }))
            .collect::<Vec<_>>()
            .join("|")
    }
}

/// The kinds of values that a type's name allows.
fn mask_of(name: &str) -> u8 {
    match name {
        "number" => bit(3) | bit(FRACTION),
        name => NAMES.iter().position(|n| *n == name).map_or(ANY, bit),
    }
}
