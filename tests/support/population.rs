//! Records of a made-up vendor: fields that are rare, null, listed, nested, conditional or heavy-tailed, as a seed
//! decides.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

/// Random numbers that a seed decides (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn chance(&mut self, p: f64) -> bool {
        // A share of a million is fine enough.
        #[allow(clippy::cast_sign_loss)]
        let bound = (p * 1e6) as u64;
        self.below(1_000_000) < bound
    }

    pub fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }

    /// One of few is huge: from 1 to 10^12, each power of ten a fifth as likely as the one below.
    fn tail(&mut self) -> u64 {
        let mut top = 10;
        while top < 1_000_000_000_000 && self.below(5) == 0 {
            top *= 10;
        }
        1 + self.below(top)
    }
}

#[derive(Clone, Debug)]
pub enum Kind {
    Whole,
    Fraction,
    Text,
    Listed,
    Day,
    Moment,
    Flag,
    /// Grows from record to record.
    Counter,
    Object(Vec<Field>),
    Words,
    Rows(Vec<Field>),
    /// An object whose names are data.
    Names,
}

#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub present: f64,
    pub null: f64,
    pub kind: Kind,
    /// Does the manifest know it?
    pub declared: bool,
    /// Only records that are completed have it.
    pub conditional: bool,
}

const LISTED: [&str; 4] = ["default", "milestone", "section", "approval"];

impl Field {
    fn made(dice: &mut Dice, name: String, kind: Kind, declared: bool, present: f64) -> Field {
        let null = if present > 0.01 { dice.of(&[0.0, 0.0, 0.02, 0.6]) } else { dice.of(&[0.0, 0.3]) };
        Field { name, present, null, kind, declared, conditional: false }
    }

    fn schema(&self) -> Json {
        let typed = |name: &str| if self.null > 0.0 { json!({"type": ["null", name]}) } else { json!({"type": name}) };
        match &self.kind {
            Kind::Whole | Kind::Counter => typed("integer"),
            Kind::Fraction => typed("number"),
            Kind::Text => typed("string"),
            Kind::Listed => {
                let mut schema = typed("string");
                schema["enum"] = json!(LISTED);
                schema
            }
            Kind::Day => json!({"type": ["null", "string"], "format": "date"}),
            Kind::Moment => json!({"type": ["null", "string"], "format": "date-time"}),
            Kind::Flag => typed("boolean"),
            Kind::Object(fields) => json!({"type": ["null", "object"], "properties": properties(fields)}),
            Kind::Words => json!({"type": ["null", "array"], "items": {"type": "string"}}),
            Kind::Rows(fields) => {
                let items = json!({"type": "object", "properties": properties(fields)});
                json!({"type": ["null", "array"], "items": items})
            }
            Kind::Names => json!({"type": ["null", "object"]}),
        }
    }
}

fn properties(fields: &[Field]) -> Json {
    let declared = fields.iter().filter(|field| field.declared);
    Json::Object(declared.map(|field| (field.name.clone(), field.schema())).collect::<Map<_, _>>())
}

/// A vendor's records of one stream.
pub struct Population {
    pub fields: Vec<Field>,
    dice: Dice,
    /// Records so far.
    pub count: u64,
}

/// Which records a window holds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Window {
    All,
    /// Only those that nobody completed yet.
    Open,
}

impl Population {
    pub fn of(seed: u64) -> Population {
        let mut dice = Dice(seed);
        let shares = [1.0, 1.0, 0.95, 0.5, 0.1, 0.03, 0.01, 0.005, 0.002];
        let mut fields = Vec::new();
        let leaves = [Kind::Whole, Kind::Fraction, Kind::Text, Kind::Listed, Kind::Day, Kind::Moment, Kind::Flag];
        for (number, kind) in leaves.iter().chain(&leaves).enumerate() {
            let declared = dice.chance(0.6);
            // What is not declared has no list of values.
            let kind = if declared || !matches!(kind, Kind::Listed) { kind.clone() } else { Kind::Text };
            let present = dice.of(&shares);
            fields.push(Field::made(&mut dice, format!("f{number}"), kind, declared, present));
        }
        for (name, rows) in [("owner", false), ("lines", true)] {
            let declared = dice.chance(0.7);
            let inner = (0..3)
                .map(|number| {
                    let kind = dice.of(&leaves[..3]);
                    let present = if declared { dice.of(&[1.0, 0.5, 0.02]) } else { dice.of(&[1.0, 0.5]) };
                    Field::made(&mut dice, format!("{name}{number}"), kind, declared, present)
                })
                .collect();
            let kind = if rows { Kind::Rows(inner) } else { Kind::Object(inner) };
            let present = dice.of(&[1.0, 0.5, 0.02]);
            fields.push(Field::made(&mut dice, name.into(), kind, declared, present));
        }
        for (name, kind, declared) in [
            ("words", Kind::Words, true),
            ("names", Kind::Names, false),
            ("number", Kind::Counter, true),
            ("completed_at", Kind::Moment, true),
            ("completed_by", Kind::Object(vec![Field::made(&mut dice, "name".into(), Kind::Text, true, 1.0)]), true),
            ("took", Kind::Whole, false),
        ] {
            if matches!(kind, Kind::Names) && seed % 5 > 1 {
                continue;
            }
            let conditional = name.starts_with("completed_") || name == "took";
            fields.push(Field { name: name.into(), present: 1.0, null: 0.0, kind, declared, conditional });
        }
        Population { fields, dice, count: 0 }
    }

    /// The stream's fields as its manifest has them.
    pub fn schema(&self) -> Json {
        let mut schema = json!({
            "id": {"type": "string"}, "at": {"type": "string", "format": "date-time"}, "completed": {"type": "boolean"},
        });
        schema.as_object_mut().unwrap().extend(properties(&self.fields).as_object().unwrap().clone());
        schema
    }

    /// Appends a record.
    pub fn record(&mut self, window: Window, out: &mut String) {
        let dice = &mut self.dice;
        self.count += 1;
        let (number, seconds) = (self.count, self.count * 20);
        let completed = dice.chance(0.3) && window == Window::All;
        let (day, hour, minute, second) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let at = format!("2024-01-{:02}T{hour:02}:{minute:02}:{second:02}Z", day + 1);
        write!(out, r#"{{"id":"r{number}","at":"{at}","completed":{completed}"#).unwrap();
        for field in self.fields.iter().filter(|field| completed || !field.conditional) {
            put(dice, field, number, ",", out);
        }
        out.push('}');
    }
}

fn put(dice: &mut Dice, field: &Field, number: u64, comma: &str, out: &mut String) {
    if !dice.chance(field.present) {
        return;
    }
    write!(out, r#"{comma}"{}":"#, field.name).unwrap();
    if field.null > 0.0 && dice.chance(field.null) {
        out.push_str("null");
        return;
    }
    match &field.kind {
        Kind::Whole => write!(out, "{}", dice.tail()).unwrap(),
        Kind::Fraction => {
            let (whole, half) = (dice.tail(), dice.chance(0.5));
            write!(out, "{whole}{}", if half { ".5" } else { "" }).unwrap();
        }
        Kind::Text => write!(out, r#""text {}""#, dice.below(1000)).unwrap(),
        Kind::Listed => {
            let rare = dice.below(100);
            write!(out, r#""{}""#, LISTED[usize::from(rare >= 70) + usize::from(rare >= 90) + usize::from(rare >= 99)])
                .unwrap();
        }
        Kind::Day => write!(out, r#""2024-02-{:02}""#, 1 + dice.below(28)).unwrap(),
        Kind::Moment => write!(out, r#""2024-02-{:02}T12:00:00.000Z""#, 1 + dice.below(28)).unwrap(),
        Kind::Flag => write!(out, "{}", dice.chance(0.5)).unwrap(),
        Kind::Counter => write!(out, "{number}").unwrap(),
        Kind::Object(fields) => object(dice, fields, number, out),
        Kind::Words => {
            let count = dice.below(3);
            let words: Vec<String> = (0..count).map(|_| format!(r#""w{}""#, dice.below(50))).collect();
            write!(out, "[{}]", words.join(",")).unwrap();
        }
        Kind::Rows(fields) => {
            out.push('[');
            for row in 0..dice.below(3) {
                out.push_str(if row > 0 { "," } else { "" });
                object(dice, fields, number, out);
            }
            out.push(']');
        }
        Kind::Names => write!(out, r#"{{"u{}":{}}}"#, dice.below(1000), dice.below(10)).unwrap(),
    }
}

fn object(dice: &mut Dice, fields: &[Field], number: u64, out: &mut String) {
    let start = out.len();
    for field in fields {
        put(dice, field, number, if out[start..].is_empty() { "{" } else { "," }, out);
    }
    out.push_str(if out[start..].is_empty() { "{}" } else { "}" });
}
