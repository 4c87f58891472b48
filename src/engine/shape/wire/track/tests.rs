//! The track against the general scan: the same results for any schema and any bytes.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::{MAX_STEPS, MAX_VAIN, Track};
use crate::base::json::observe::{Attention, CountingObserver, NOWHERE, Observer, Places};
use crate::base::json::scan::{JsonKind, JsonText, Number, Scanner};
use crate::base::timefmt::{is_date, is_utc};
use crate::engine::shape::wire::{CursorText, RecordSchema};
use crate::protocol::singer_catalog::Selection;

/// SplitMix64: seeded numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<'t, T: ?Sized>(&mut self, all: &[&'t T]) -> &'t T {
        let at = usize::try_from(self.below(all.len() as u64)).unwrap();
        all[at]
    }
}

/// Numbers the places of any schema.
#[derive(Default)]
struct Numbered(RefCell<HashMap<(u32, String), u32>>);

impl Places for Numbered {
    fn child(&self, place: u32, name: &str) -> u32 {
        let mut known = self.0.borrow_mut();
        let next = u32::try_from(known.len()).unwrap() + 2;
        *known.entry((place, name.to_owned())).or_insert(next)
    }

    fn item(&self, place: u32) -> u32 {
        self.child(place, "[]")
    }
}

/// What was reported to an observer.
#[derive(Default, Clone)]
struct Watcher {
    /// What each place asks for, by its number.
    rules: u64,
    counts: BTreeMap<(u32, String), u32>,
    shown: Vec<String>,
    seen: HashSet<(u32, u32)>,
    objects: u32,
    odd: bool,
}

impl Watcher {
    fn begin(&mut self) {
        (self.odd, self.shown) = (false, Vec::new());
    }

    fn rule(&self, place: u32) -> u64 {
        (self.rules ^ u64::from(place)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40
    }

    fn count(&mut self, place: u32, kind: JsonKind, times: u32) {
        *self.counts.entry((place, format!("{kind:?}"))).or_default() += times;
    }
}

impl Observer for Watcher {
    fn value(&mut self, place: u32, kind: JsonKind, object: u32) {
        self.count(place, kind, 1);
        self.odd |= kind == JsonKind::Bool && self.rule(place).is_multiple_of(50);
        self.odd |= object != 0 && place != NOWHERE && !self.seen.insert((object, place));
    }

    fn object(&mut self) -> u32 {
        self.objects += 1;
        self.objects
    }

    fn text(&mut self, place: u32, text: &JsonText<'_>) {
        match self.attention(place, JsonKind::String) {
            Attention::DateTime => self.odd |= !is_utc(text.raw),
            Attention::Date => self.odd |= !is_date(text.raw),
            Attention::Value => self.shown.push(format!("{place} {:?} {}", text.value(), text.escaped)),
            Attention::Count | Attention::Integer => {}
        }
    }

    fn number(&mut self, place: u32, number: &Number<'_>) {
        let attention = self.attention(place, JsonKind::Number);
        self.odd |= attention == Attention::Integer && !number.integer;
        if attention != Attention::Count {
            self.shown.push(format!("{place} {} {}", String::from_utf8_lossy(number.raw), number.integer));
        }
    }

    fn boolean(&mut self, place: u32, value: bool) {
        if self.attention(place, JsonKind::Bool) == Attention::Value {
            self.shown.push(format!("{place} {value}"));
        }
    }

    fn unknown(&mut self, _: u32, key: &JsonText<'_>, kind: JsonKind) {
        self.odd |= kind == JsonKind::Number && key.is("odd");
    }
}

impl CountingObserver for Watcher {
    fn attention(&self, place: u32, kind: JsonKind) -> Attention {
        // Few places ask for what their schema does not say: else most records were odd.
        let choice = self.rule(place) % 50;
        match (kind, choice) {
            (JsonKind::String, 1) => Attention::DateTime,
            (JsonKind::String, 2) => Attention::Date,
            (JsonKind::Number, 1) => Attention::Integer,
            (JsonKind::Bool, 3) | (JsonKind::String | JsonKind::Number, 3..20) => Attention::Value,
            _ => Attention::Count,
        }
    }

    fn revision(&self) -> u32 {
        0
    }

    fn is_odd(&self) -> bool {
        self.odd
    }

    fn values(&mut self, place: u32, kind: JsonKind, times: u32) {
        self.count(place, kind, times);
    }
}

const NAMES: [&str; 10] = ["id", "at", "name", "odd", "a", "b", "tags", "owner", "é", "a\"b"];

/// A random schema.
fn schema(dice: &mut Dice, depth: u32) -> Json {
    let nested = |dice: &mut Dice| if depth == 0 { json!({"type": "string"}) } else { schema(dice, depth - 1) };
    match dice.below(if depth == 0 { 8 } else { 11 }) {
        0 => json!({"type": ["string", "null"]}),
        1 => json!({"type": ["string", "null"], "format": "date-time"}),
        2 => json!({"type": ["string", "null"], "format": "date"}),
        3 => json!({"type": ["integer", "null"]}),
        4 => json!({"type": ["number", "null"]}),
        5 => json!({"type": ["boolean", "null"]}),
        6 => json!({}),
        7 => json!({"type": ["string", "integer", "null"]}),
        8 => json!({"type": ["array", "null"], "items": nested(dice)}),
        _ => {
            let names = NAMES.iter().filter(|_| !dice.one_in(3)).collect::<Vec<_>>();
            let fields: serde_json::Map<String, Json> =
                names.into_iter().map(|name| ((*name).to_owned(), nested(dice))).collect();
            json!({"type": "object", "properties": fields, "additionalProperties": dice.one_in(2)})
        }
    }
}

/// A value that fits a schema, as an irregular vendor writes it: once in `oddity` times anything may come.
fn write(dice: &mut Dice, schema: &Json, oddity: u64, out: &mut String) {
    const TEXTS: [&str; 7] =
        [r#""plain""#, r#""""#, r#""esc\"aped\n""#, r#""\u00e9é""#, r#""\ud83d\ude00""#, r#""\u0000""#, r#""\ud800""#];
    const TIMES: [&str; 6] = [
        r#""2024-01-02T03:04:05Z""#,
        r#""2024-02-29T23:59:59.123Z""#,
        r#""2023-02-29T00:00:00Z""#,
        r#""2024-01-02T03:04:05+02:00""#,
        r#""2024-01-02""#,
        r#""2024-13-02""#,
    ];
    const NUMBERS: [&str; 10] =
        ["0", "-1", "123456", "5.0", "0.25", "-0", "1e3", "1234567890123456789012", "1.5E-3", "999999999999999999"];
    const OTHERS: [&str; 8] = ["null", "true", "{}", "[]", r#"{"odd":1}"#, "[[1,null],{}]", "01", r#"{"a":1,"a":2}"#];
    if dice.one_in(oddity) {
        let any: Vec<&str> = TEXTS.iter().chain(&TIMES).chain(&NUMBERS).chain(&OTHERS).copied().collect();
        out.push_str(dice.pick(&any));
        return;
    }
    if dice.one_in(12) {
        out.push_str("null");
        return;
    }
    let kind = schema["type"].as_array().map_or_else(|| schema["type"].clone(), |types| types[0].clone());
    let regular = !dice.one_in(oddity);
    match (kind.as_str().unwrap_or("any"), schema["format"].as_str()) {
        (_, Some("date-time")) => out.push_str(if regular { TIMES[0] } else { dice.pick(&TIMES) }),
        (_, Some("date")) => out.push_str(if regular { TIMES[4] } else { dice.pick(&TIMES) }),
        ("integer", _) => write!(out, "{}", dice.below(100_000)).unwrap(),
        ("number", _) => write!(out, "{}.{}", dice.below(1000), 1 + dice.below(99)).unwrap(),
        ("boolean", _) => out.push_str(dice.pick(&["true", "false"])),
        ("array", _) => {
            out.push('[');
            for index in 0..dice.below(4) {
                if index > 0 {
                    out.push(',');
                }
                write(dice, &schema["items"], oddity, out);
            }
            out.push(']');
        }
        ("object", _) => object(dice, schema, oddity, out),
        _ => out.push_str(if regular { TEXTS[0] } else { dice.pick(&TEXTS) }),
    }
}

/// An object: fields may be missing, unknown, twice, or in another order.
fn object(dice: &mut Dice, schema: &Json, oddity: u64, out: &mut String) {
    let fields = schema["properties"].as_object().unwrap();
    let mut names: Vec<&str> = fields.keys().map(String::as_str).filter(|_| !dice.one_in(40)).collect();
    if dice.one_in(oddity) && names.len() > 1 {
        names.swap(0, 1);
    }
    if dice.one_in(oddity) {
        names.push(dice.pick(&NAMES));
    }
    out.push('{');
    for (index, name) in names.into_iter().enumerate() {
        if index > 0 {
            out.push_str(if dice.one_in(oddity * 4) { ", " } else { "," });
        }
        match dice.one_in(oddity * 4) {
            true if name == "a" => out.push_str(r#""\u0061":"#),
            true => writeln!(out, "{} :", json!(name)).unwrap(),
            false => write!(out, "{}:", json!(name)).unwrap(),
        }
        write(dice, fields.get(name).unwrap_or(&Json::Null), oddity, out);
    }
    out.push('}');
}

/// Both ways over some records of a random schema; returns how many the track passed.
fn compare(seed: u64) -> (u32, u32) {
    let mut dice = Dice(seed);
    let schema = loop {
        let schema = schema(&mut dice, 3);
        if schema["properties"].is_object() {
            break schema;
        }
    };
    let keys = if dice.one_in(2) { vec!["id".to_owned()] } else { Vec::new() };
    let wire = RecordSchema::build(&schema, &keys, Some("at"), &Selection::default());
    let wire = if dice.one_in(2) { wire.verbatim() } else { wire }.numbered(&Numbered::default());
    let rules = dice.roll();
    let (mut general, mut tracked) = (Watcher { rules, ..Watcher::default() }, Watcher { rules, ..Watcher::default() });
    let mut track = Track::default();
    let oddity = 4 + dice.below(60) * dice.below(20);
    for number in 0..60 {
        let mut record = String::new();
        object(&mut dice, &schema, oddity, &mut record);
        let mut bytes = record.into_bytes();
        if dice.one_in(40) {
            // A flaw at any byte.
            let at = usize::try_from(dice.below(bytes.len() as u64)).unwrap();
            bytes[at] = dice.pick(&[&b'"', &b'{', &b'}', &b',', &b'\\', &b'0', &b'\n', &b'x', &b'\x01']).to_owned();
        }
        if dice.one_in(2) {
            bytes.extend_from_slice(b",{\"more\":1}]}");
        }
        general.begin();
        tracked.begin();
        let (mut one, mut other) = (Scanner::new(&bytes), Scanner::new(&bytes));
        if one.peek() != Ok(JsonKind::Object) || other.peek() != Ok(JsonKind::Object) {
            continue;
        }
        let by_scan = wire.scan(&mut one, &mut general);
        let by_track = wire.scan_on(&mut track, &mut other, &mut tracked);
        let shown = String::from_utf8_lossy(&bytes);
        let at = format!("seed {seed}, record {number}: {shown}");
        match (by_scan, by_track) {
            (Ok(scan), Ok(track)) => {
                assert_eq!(one.at(), other.at(), "{at}");
                assert_eq!((scan.change, scan.keys), (track.change, track.keys), "{at}");
                let text = |cursor: &Option<CursorText<'_>>| cursor.as_ref().map(|c| format!("{c:?}"));
                assert_eq!(text(&scan.cursor), text(&track.cursor), "{at}");
                assert_eq!((general.odd, &general.shown), (tracked.odd, &tracked.shown), "{at}");
            }
            (scan, track) => {
                assert_eq!(scan.err(), track.err(), "{at}");
                // A page with such a record is dropped.
                break;
            }
        }
        if dice.one_in(10) {
            track.settle(&mut tracked);
            assert_eq!(general.counts, tracked.counts, "{at}");
        }
    }
    (track.hits, track.misses)
}

#[test]
fn it_does_as_the_general_scan() {
    let seeds = option_env!("TRACK_SEEDS").map_or(1_000, |seeds| seeds.parse().unwrap());
    let (mut hits, mut misses) = (0, 0);
    for seed in 0..seeds {
        let (hit, missed) = compare(seed);
        (hits, misses) = (hits + hit, misses + missed);
    }
    let least = u32::try_from(5 * seeds).unwrap();
    assert!(hits > least && misses > least, "{hits} hits and {misses} misses: both ways must be tried");
}

#[test]
fn fields_that_come_and_go_are_learned_in_any_order() {
    let number = json!({"type": "integer"});
    let schema = json!({"type": "object", "properties": {"a": number, "b": number, "c": number}});
    let wire = RecordSchema::build(&schema, &[], None, &Selection::default());
    let mut track = Track::default();
    let mut pass = |record: &str| {
        let before = track.hits;
        let mut scanner = Scanner::new(record.as_bytes());
        wire.scan_on(&mut track, &mut scanner, &mut ()).unwrap();
        track.hits > before
    };
    for record in [r#"{"a":1,"c":2}"#, r#"{"a":1,"b":2}"#, r#"{"a":1,"b":2,"c":3}"#] {
        assert!(!pass(record), "{record} is new");
        assert!(pass(record), "{record} is known");
    }
    assert!(!pass(r#"{"a":1,"b":2,"a":3}"#));
    assert!(!pass(r#"{"a":1,"b":2,"a":3}"#), "a key that comes twice is never learned");
}

#[test]
fn a_record_of_many_values_or_of_ever_new_forms_costs_no_memory() {
    let wire = RecordSchema::build(&json!({"type": "object"}), &[], None, &Selection::default());
    let read = |track: &mut Track, record: &str| {
        let mut scanner = Scanner::new(record.as_bytes());
        wire.scan_on(track, &mut scanner, &mut ()).unwrap();
    };
    let list = |length: usize| format!(r#"{{"a":[{}1]}}"#, "1,".repeat(length));
    let mut track = Track::default();
    read(&mut track, &list(100_000));
    assert!(track.transitions.is_empty(), "a long record is not learned");
    read(&mut track, &list(3));
    read(&mut track, &list(3));
    assert_eq!((track.hits, track.misses), (1, 2));
    read(&mut track, &list(100_000));
    assert_eq!((track.hits, track.misses), (1, 3), "and not passed");
    assert!(track.taken.capacity() <= 2 * MAX_STEPS + 2, "{}", track.taken.capacity());

    // Keys in two orders teach nothing: each lesson takes as long as the record is.
    let mut track = Track::default();
    for _ in 0..1_000 {
        read(&mut track, r#"{"a":1,"b":2}"#);
        read(&mut track, r#"{"b":1,"a":2}"#);
    }
    assert_eq!((track.vain, track.hits), (MAX_VAIN, 999));
}
