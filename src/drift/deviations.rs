//! Examines a record that does not match expectations.
//!
//! Input: the record's bytes and the [`Checks`]. Output: each deviation: its place, the expected and the actual type
//! in words, and the schema after acceptance. Called by [`super::monitor`], only for deviating records.

use std::collections::HashSet;

use serde_json::{Map, Value as Json, json};

use super::baseline::COLUMN;
use super::checks::{Checks, FIELD, FORMAT, FRACTION, LISTED, NAMES, Place, WIDE, bit, number, segment};
use super::record_observer::written_well;
use super::rules::{Rule, Severity};
use crate::base::display;
use crate::base::json::observe::{NOWHERE, ROOT};
use crate::base::json::scan::{JsonKind, JsonText, Number, Scan, Scanner, Whole, whole};
use crate::base::json::schema::Reader;
use crate::base::json::spelling::flag;

/// A step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A field.
    Field(String),
    /// An item.
    Item(usize),
}

/// A deviation of a record from the expectations.
#[derive(Debug, Clone)]
pub(super) struct Deviation {
    pub(super) rule: Rule,
    pub(super) severity: Severity,
    /// The pointer in the schema.
    pub(super) pointer: String,
    /// The path in this record.
    pub(super) path: Vec<Step>,
    pub(super) from: String,
    pub(super) to: String,
    /// A description of the value.
    pub(super) sample: Option<String>,
    /// The widened schema of the place.
    pub(super) schema: Option<Json>,
    /// The marker that tolerates the change at the pointer.
    pub(super) tolerate: String,
    /// Does the column accept it, because it stores several kinds as JSON?
    pub(super) fits_column: bool,
}

impl Deviation {
    /// A deviation outside of records: in pages, headers or counts.
    pub(super) fn plain(rule: Rule, pointer: String, from: String, to: String) -> Deviation {
        let (severity, path, tolerate) = (rule.severity(), Vec::new(), String::new());
        let (sample, schema, fits_column) = (None, None, false);
        Deviation { rule, severity, pointer, path, from, to, sample, schema, tolerate, fits_column }
    }

    /// A deviation at a place of the baseline, with the schema after acceptance.
    fn at(place: &Place, rule: Rule, to: &str) -> Deviation {
        let schema = widened(rule, place, to);
        let plain = Deviation::plain(rule, place.pointer.clone(), place.words(), to.to_owned());
        Deviation { schema, fits_column: is_mixed(place), ..plain }
    }
}

/// The maximum depth of an inferred schema.
const DEEPEST: usize = 4;
/// An object with more names than this uses names as data.
pub(super) const MOST_NAMES: usize = 200;

/// Finds the deviations in the next record.
pub(super) fn examine(checks: &Checks, scanner: &mut Scanner<'_>) -> Scan<Vec<Deviation>> {
    let mut found = Examination { checks, out: Vec::new(), path: Vec::new() };
    let mut keys = 0_u8;
    found.value(ROOT, scanner, &mut keys)?;
    for place in &checks.places {
        if let Some(key) = place.key
            && keys & (1 << key) == 0
            && !found.out.iter().any(|d| d.pointer == place.pointer && d.rule == Rule::KeyMissing)
        {
            found.add(Deviation::at(place, Rule::KeyMissing, "missing"));
        }
    }
    Ok(found.out)
}

struct Examination<'c> {
    checks: &'c Checks,
    out: Vec<Deviation>,
    path: Vec<Step>,
}

impl Examination<'_> {
    /// Adds a deviation at the current position.
    fn add(&mut self, deviation: Deviation) {
        self.out.push(Deviation { path: self.path.clone(), ..deviation });
    }

    fn value(&mut self, at: u32, scanner: &mut Scanner<'_>, keys: &mut u8) -> Scan<()> {
        let place = self.checks.place(at);
        let kind = scanner.peek()?;
        if let Some(key) = place.key
            && kind != JsonKind::Null
        {
            *keys |= 1 << key;
        }
        let allowed = place.allowed & bit(number(kind)) != 0;
        match kind {
            JsonKind::Object if allowed => return self.object(at, scanner, keys),
            JsonKind::Array if allowed => {
                scanner.enter()?;
                let (mut first, mut index) = (true, 0);
                while scanner.element(&mut first)? {
                    if place.item == NOWHERE {
                        scanner.skip()?;
                    } else {
                        self.path.push(Step::Item(index));
                        self.value(place.item, scanner, keys)?;
                        self.path.pop();
                    }
                    index += 1;
                }
                return Ok(());
            }
            JsonKind::String if allowed => {
                let text = scanner.string()?;
                self.text(place, &text);
                return Ok(());
            }
            JsonKind::Number => {
                let read = scanner.number()?;
                self.number(place, &read, allowed);
                return Ok(());
            }
            _ => {}
        }
        if allowed {
            return scanner.skip();
        }
        if kind != JsonKind::Null && place.spells(scanner)? {
            return scanner.skip();
        }
        let mut aside = scanner.clone();
        let sample = look_of(&mut aside)?;
        scanner.skip()?;
        let name = NAMES[number(kind)];
        self.other_kind(place, kind, name, sample);
        Ok(())
    }

    /// Handles a value of an unexpected kind.
    fn other_kind(&mut self, place: &Place, kind: JsonKind, name: &str, sample: String) {
        let rule = match kind {
            JsonKind::Null if place.key.is_some() => Rule::KeyMissing,
            // Records without a cursor value are counted instead.
            JsonKind::Null if place.cursor => return,
            _ if place.key.is_some() => Rule::KeyTypeChanged,
            JsonKind::Null => Rule::FieldBecameNullable,
            _ if place.pointer.ends_with("/*") => Rule::ItemTypeChanged,
            JsonKind::Object | JsonKind::Array => Rule::FieldStructureChanged,
            _ if place.holds_structure() => Rule::FieldStructureChanged,
            // A text can represent it without loss.
            _ if place.allowed & bit(2) != 0 && place.format.is_none() => Rule::FieldTypeNarrowed,
            _ => Rule::FieldTypeChanged,
        };
        let to = if rule == Rule::KeyMissing { "null" } else { name };
        self.add(Deviation { sample: Some(sample), tolerate: name.into(), ..Deviation::at(place, rule, to) });
    }

    fn number(&mut self, place: &Place, read: &Number<'_>, allowed: bool) {
        let (whole, sample) = (whole(read), digits(read));
        let fraction = whole == Whole::Not;
        let is_key = place.key.is_some();
        if !allowed && !is_key && place.holds_flags() && flag(read.raw).is_some() {
            return;
        }
        if !allowed {
            // As for new fields: no 64-bit column is announced for values that exceed it.
            let name = if fraction || whole == Whole::Large { "number" } else { "integer" };
            self.other_kind(place, JsonKind::Number, name, sample);
        } else if fraction && place.allowed & bit(FRACTION) == 0 {
            let rule = if is_key { Rule::KeyTypeChanged } else { Rule::FieldTypeWidened };
            let tolerate = "number".to_owned();
            self.add(Deviation { sample: Some(sample), tolerate, ..Deviation::at(place, rule, "number") });
        } else if whole == Whole::Large && !place.wide {
            let rule = if is_key { Rule::KeyTypeChanged } else { Rule::NumberOutOfRange };
            let deviation = Deviation::at(place, rule, "integer beyond 64 bits");
            self.add(Deviation { sample: Some(sample), tolerate: WIDE.into(), ..deviation });
        }
    }

    fn text(&mut self, place: &Place, text: &JsonText<'_>) {
        if let Some(format) = place.format {
            if !written_well(text, format) {
                let sample = Some(length(text));
                // A key is sent unchanged: null would not be a key.
                let rule = if place.key.is_some() { Rule::KeyTypeChanged } else { Rule::FormatChanged };
                self.add(Deviation { sample, tolerate: FORMAT.into(), ..Deviation::at(place, rule, "string") });
            }
        } else if !place.listed.is_empty() && !place.lists(text) {
            let deviation = Deviation::at(place, Rule::EnumValueAdded, "an unlisted string");
            self.add(Deviation { sample: Some(length(text)), tolerate: LISTED.into(), ..deviation });
        }
    }

    fn object(&mut self, at: u32, scanner: &mut Scanner<'_>, keys: &mut u8) -> Scan<()> {
        let place = self.checks.place(at);
        scanner.enter()?;
        let mut first = true;
        let mut names: HashSet<String> = HashSet::new();
        while let Some(key) = scanner.key(&mut first)? {
            let name = key.value().into_owned();
            self.path.push(Step::Field(name.clone()));
            let known = place.fields.get(&name);
            let below = format!("{}/{}", place.pointer, segment(&name));
            if names.contains(&name) {
                let (from, to) = ("once".to_owned(), "twice in one object".to_owned());
                self.add(Deviation::plain(Rule::DuplicateJsonKeys, below.clone(), from, to));
            }
            let known = known.copied();
            let declared = known.is_some_and(|known| !self.checks.place(known).undeclared);
            let is_new = !declared && (place.closed || known.is_some()) && !place.passed.contains(&name);
            if is_new && scanner.peek()? != JsonKind::Null {
                let sample = look_of(&mut scanner.clone())?;
                let schema = infer(&mut scanner.clone(), 0)?;
                let deviation = Deviation::plain(Rule::FieldAdded, below, String::new(), words(&schema));
                let (sample, schema) = (Some(sample), Some(schema));
                self.add(Deviation { sample, schema, tolerate: FIELD.into(), ..deviation });
            }
            match known {
                Some(known) => self.value(known, scanner, keys)?,
                None => scanner.skip()?,
            }
            self.path.pop();
            names.insert(name);
        }
        Ok(())
    }
}

/// The schema of a place after acceptance; `None` if a schema cannot express the change.
fn widened(rule: Rule, place: &Place, to: &str) -> Option<Json> {
    let mut schema = if place.schema.is_object() { place.schema.clone() } else { json!({}) };
    let fields = schema.as_object_mut()?;
    let whole = place.allowed & bit(FRACTION) != 0;
    let allowed = (0..NAMES.len()).filter(|kind| place.allowed & bit(*kind) != 0 && !(whole && *kind == 3));
    let mut types: Vec<String> = allowed.map(|kind| NAMES[kind].to_owned()).collect();
    match rule {
        Rule::FieldTypeWidened => types.iter_mut().filter(|t| *t == "integer").for_each(|t| *t = "number".into()),
        Rule::FieldTypeChanged
        | Rule::FieldTypeNarrowed
        | Rule::FieldStructureChanged
        | Rule::ItemTypeChanged
        | Rule::KeyTypeChanged => {
            let names = types.iter().any(|t| t == "number") && to == "integer";
            if !names {
                types.push(to.into());
            }
            forget(fields, &["format", "enum", "pattern", "airbyte_type"]);
        }
        Rule::FieldBecameNullable => types.insert(0, "null".into()),
        Rule::FormatChanged => {
            forget(fields, &["format", "pattern", "airbyte_type"]);
        }
        Rule::EnumValueAdded => forget(fields, &["enum"]),
        Rule::NumberOutOfRange => types.iter_mut().filter(|t| *t == "integer").for_each(|t| *t = "number".into()),
        _ => return None,
    }
    types.dedup();
    fields.insert("type".into(), json!(types));
    if changes_column(rule) && place.key.is_none() && place.pointer.matches('/').count() == 1 {
        // An announced column keeps its type: other values go to an additional column.
        let was = place.schema.get(COLUMN).unwrap_or(&place.schema);
        schema[COLUMN] = was.clone();
    }
    Some(schema)
}

/// Does a place have values of several kinds, in one column or with a text column for all of them?
fn is_mixed(place: &Place) -> bool {
    let declared = Reader::new(&Json::Null).types(&place.schema);
    let kinds = declared.iter().filter(|name| !matches!(**name, "null" | "integer")).count();
    let whole = declared.contains("integer") && !declared.contains("number");
    let column = place.schema.get(COLUMN);
    let is_text = |column| Reader::new(&Json::Null).types(column).contains("string");
    let takes_all = column.is_none_or(|column| is_text(column) && column["format"].is_null());
    kinds + usize::from(whole) > 1 && place.key.is_none() && takes_all
}

/// Removes keywords from a schema and its alternatives.
fn forget(fields: &mut Map<String, Json>, keywords: &[&str]) {
    for keyword in keywords {
        fields.shift_remove(*keyword);
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        let inner = fields.get_mut(choice).and_then(Json::as_array_mut).into_iter().flatten();
        inner.filter_map(Json::as_object_mut).for_each(|inner| forget(inner, keywords));
    }
}

/// Does a column of the old type not accept such values?
fn changes_column(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::FieldTypeWidened
            | Rule::FieldTypeChanged
            | Rule::FieldStructureChanged
            | Rule::FormatChanged
            | Rule::NumberOutOfRange
    )
}

/// A schema in words: its types.
pub(super) fn words(schema: &Json) -> String {
    match &schema["type"] {
        Json::String(one) => one.clone(),
        Json::Array(all) => all.iter().filter_map(Json::as_str).filter(|t| *t != "null").collect::<Vec<_>>().join("|"),
        _ => "any".into(),
    }
}

/// The schema of the next value, as far as one value determines it: nullable, no formats, lists without items.
fn infer(scanner: &mut Scanner<'_>, depth: usize) -> Scan<Json> {
    Ok(match scanner.peek()? {
        JsonKind::Object => {
            scanner.enter()?;
            let (mut first, mut properties, mut names) = (true, Map::new(), 0);
            while let Some(key) = scanner.key(&mut first)? {
                names += 1;
                if depth >= DEEPEST || names > MOST_NAMES || scanner.peek()? == JsonKind::Null {
                    scanner.skip()?;
                } else {
                    properties.insert(key.value().into_owned(), infer(scanner, depth + 1)?);
                }
            }
            if properties.is_empty() || names > MOST_NAMES {
                json!({"type": ["null", "object"]})
            } else {
                json!({"type": ["null", "object"], "properties": properties})
            }
        }
        JsonKind::Number => {
            let read = scanner.number()?;
            // `1.0` is a spelling of numbers that may have fractions.
            let kind = if read.integer && whole(&read) != Whole::Large { "integer" } else { "number" };
            json!({"type": ["null", kind]})
        }
        kind => {
            scanner.skip()?;
            json!({"type": ["null", NAMES[number(kind)]]})
        }
    })
}

/// A description of the next value without its content.
fn look_of(scanner: &mut Scanner<'_>) -> Scan<String> {
    Ok(match scanner.peek()? {
        JsonKind::String => length(&scanner.string()?),
        JsonKind::Number => digits(&scanner.number()?),
        kind => {
            scanner.skip()?;
            format!("<{}>", NAMES[number(kind)])
        }
    })
}

fn length(text: &JsonText<'_>) -> String {
    let count = text.value().chars().count();
    match count {
        0..=32 => format!("<string, {}>", display::number(count, "character")),
        _ => format!("<string, up to {} characters>", count.next_power_of_two()),
    }
}

fn digits(read: &Number<'_>) -> String {
    let count = read.raw.iter().filter(|b| b.is_ascii_digit()).count();
    format!("<{}, {}>", if read.integer { "integer" } else { "number" }, display::number(count, "digit"))
}
