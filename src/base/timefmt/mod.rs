//! Times as manifests write them: strptime formats, ISO-8601 texts and durations.
//!
//! Input: a format such as `%Y-%m-%dT%H:%M:%S.%f%z`, compiled once, or an ISO text. Output:
//! an [`OffsetDateTime`] in whole microseconds, or text. Called by templates and cursors. The rules are
//! Python's `strptime`/`strftime` plus the codes airbyte-cdk adds: `%s`, `%s_as_float`, `%ms`,
//! `%epoch_microseconds` (each only as the whole format) and `%_ms` inside one.

mod iso;
mod period;

use std::fmt::Write as _;

use iso::second_of_utc;
pub use iso::{is_date, is_utc, isoformat, parse_iso, rfc3339};
pub use period::Period;

use time::{Date, Duration, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A compiled time format.
#[derive(Debug, Clone, PartialEq)]
pub struct Format {
    source: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Seconds,
    SecondsFloat,
    Millis,
    Micros,
    /// Not a time: a whole number, stored as that many nanoseconds since 1970.
    Count,
    Parts(Vec<Part>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Literal(char),
    Blank,
    Code(char),
    /// airbyte-cdk's `%_ms`: three digits.
    MillisDigits,
}

/// What parsing has found so far.
#[derive(Default, Clone, Copy)]
struct Fields {
    year: Option<i32>,
    month: Option<u8>,
    day: Option<u8>,
    day_of_year: Option<u16>,
    hour: u8,
    hour12: Option<u8>,
    pm: Option<bool>,
    minute: u8,
    second: u8,
    micros: u32,
    offset: Option<i32>,
    weekday: Option<u8>,
    week: Option<(u8, bool)>,
}

impl Format {
    /// Compiles a format. A code that Python does not know is an error that names the code.
    pub fn compile(source: &str) -> Result<Self, String> {
        let kind = match source {
            "%s" => Kind::Seconds,
            "%s_as_float" => Kind::SecondsFloat,
            "%ms" => Kind::Millis,
            "%epoch_microseconds" => Kind::Micros,
            _ => Kind::Parts(parts(source)?),
        };
        Ok(Format { source: source.into(), kind })
    }

    /// A format for whole numbers instead of times: values that only grow are compared the same way.
    pub fn count() -> Self {
        Format { source: "a whole number".into(), kind: Kind::Count }
    }

    /// Is this a plain number rather than a time?
    pub fn is_count(&self) -> bool {
        self.kind == Kind::Count
    }

    /// Is it a whole number of seconds or smaller units?
    pub fn is_epoch(&self) -> bool {
        matches!(self.kind, Kind::Seconds | Kind::Millis | Kind::Micros)
    }

    /// The format as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Does the formatted time include its UTC offset (or is it an epoch)?
    pub fn tells_offset(&self) -> bool {
        match &self.kind {
            Kind::Parts(parts) => parts.contains(&Part::Code('z')),
            _ => true,
        }
    }

    /// Parses a text as `strptime` does: the whole text must match; without an offset, UTC is assumed.
    pub fn parse(&self, text: &str) -> Option<OffsetDateTime> {
        let parts = match &self.kind {
            Kind::Seconds => return from_micros(i128::from(python_int(text)?) * 1_000_000),
            Kind::Millis => return from_micros(i128::from(python_int(text)?) * 1_000),
            Kind::Micros => return from_micros(i128::from(python_int(text)?)),
            Kind::Count => {
                let whole = text.strip_suffix(".0").unwrap_or(text).parse().ok()?;
                return OffsetDateTime::from_unix_timestamp_nanos(whole).ok();
            }
            #[allow(clippy::cast_possible_truncation)]
            Kind::SecondsFloat => {
                let seconds: f64 = text.trim().parse().ok().filter(|f: &f64| f.is_finite())?;
                return from_micros((seconds * 1e6).round() as i128);
            }
            Kind::Parts(parts) => parts,
        };
        // The form that most vendors send has a way of its own.
        if let "%Y-%m-%dT%H:%M:%SZ" | "%Y-%m-%dT%H:%M:%S%z" = &*self.source
            && let Some(time) = second_of_utc(text.as_bytes())
        {
            return Some(time);
        }
        let scanned = || if has_code_twice(parts) { None } else { scan(parts, text, Fields::default()) };
        quick(parts, text).or_else(scanned).and_then(Fields::build)
    }

    /// Writes a time as `strftime` does, in the time's own offset.
    pub fn format(&self, t: OffsetDateTime) -> String {
        // Python's `timestamp()` is a float; we reproduce its rounding.
        #[allow(clippy::cast_precision_loss)]
        let seconds = t.unix_timestamp_nanos().div_euclid(1000) as f64 / 1e6;
        let parts = match &self.kind {
            Kind::Seconds => return format!("{:.0}", seconds.trunc()),
            Kind::Millis => return format!("{:.0}", (seconds * 1e3).trunc()),
            Kind::Micros => return format!("{:.0}", (seconds * 1e6).trunc()),
            Kind::Count => return t.unix_timestamp_nanos().to_string(),
            Kind::SecondsFloat => return crate::base::json::python::float_repr(seconds),
            Kind::Parts(parts) => parts,
        };
        let mut out = String::with_capacity(self.source.len() + 12);
        for part in parts {
            match part {
                Part::Literal(c) => out.push(*c),
                Part::Blank => out.push(' '),
                Part::MillisDigits => drop(write!(out, "{:03}", t.microsecond() / 1000)),
                Part::Code(code) => write_code(*code, t, &mut out),
            }
        }
        out
    }
}

fn python_int(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.strip_prefix('+').unwrap_or(text);
    // A JSON number with a fraction is truncated, as `int()` truncates floats; the reference too refuses a text with
    // one.
    digits.parse().ok().or_else(|| digits.replace('_', "").parse().ok())
}

/// The instant `micros` microseconds after 1970, if it lies in the years 1 to 9999.
pub fn from_micros(micros: i128) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(micros.checked_mul(1000)?).ok().filter(|t| (1..=9999).contains(&t.year()))
}

fn parts(source: &str) -> Result<Vec<Part>, String> {
    let mut out = Vec::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c.is_whitespace() {
            if out.last() != Some(&Part::Blank) {
                out.push(Part::Blank);
            }
        } else if c != '%' {
            out.push(Part::Literal(c));
        } else if let Some(after) = rest.strip_prefix("_ms") {
            out.push(Part::MillisDigits);
            rest = after;
        } else {
            let code = rest.chars().next().ok_or("a format ends with a single `%`")?;
            rest = &rest[code.len_utf8()..];
            match code {
                '%' => out.push(Part::Literal('%')),
                'T' | 'X' => out.extend(parts("%H:%M:%S")?),
                'R' => out.extend(parts("%H:%M")?),
                'F' => out.extend(parts("%Y-%m-%d")?),
                'D' | 'x' => out.extend(parts("%m/%d/%y")?),
                'c' => out.extend(parts("%a %b %d %H:%M:%S %Y")?),
                'Y' | 'm' | 'd' | 'H' | 'M' | 'S' | 'f' | 'z' | 'Z' | 'b' | 'h' | 'B' | 'a' | 'A' | 'p' | 'I' | 'y'
                | 'j' | 'w' | 'u' | 'U' | 'W' | 'e' | 's' | 'G' | 'V' | 'n' | 't' | 'C' | 'k' | 'l' | 'P' => {
                    out.push(Part::Code(code));
                }
                _ => return Err(format!("`%{code}` is not a time directive")),
            }
        }
    }
    Ok(out)
}

/// The common case of [`scan`] without backtracking: full-width numbers, one after the other. A match found here is
/// the one that `scan` would find first.
fn quick(parts: &[Part], text: &str) -> Option<Fields> {
    let mut fields = Fields::default();
    let mut rest = text;
    for part in parts {
        let bytes = rest.as_bytes();
        let two = || {
            let pair = bytes.get(..2)?;
            (pair[0].is_ascii_digit() && pair[1].is_ascii_digit()).then(|| (pair[0] - b'0') * 10 + pair[1] - b'0')
        };
        let used = match part {
            Part::Literal(c) => (c.is_ascii() && bytes.first() == Some(&(*c as u8))).then_some(1)?,
            Part::Code('Y') => {
                let digits = bytes.get(..4).filter(|d| d.iter().all(u8::is_ascii_digit))?;
                fields.year = Some(digits.iter().fold(0, |n, d| n * 10 + i32::from(d - b'0')));
                4
            }
            Part::Code(code @ ('m' | 'd' | 'H' | 'M' | 'S')) => {
                let n = two()?;
                match code {
                    'm' => fields.month = Some(Some(n).filter(|n| (1..=12).contains(n))?),
                    'd' => fields.day = Some(Some(n).filter(|n| (1..=31).contains(n))?),
                    'H' => fields.hour = Some(n).filter(|n| *n < 24)?,
                    'M' => fields.minute = Some(n).filter(|n| *n < 60)?,
                    _ => fields.second = Some(n).filter(|n| *n < 62)?,
                }
                2
            }
            Part::Code('f') => {
                let digits = bytes.iter().take(6).take_while(|b| b.is_ascii_digit()).count();
                let value = bytes[..digits].iter().fold(0, |n, d| n * 10 + u32::from(d - b'0'));
                fields.micros = (digits > 0).then(|| value * 10u32.pow(6 - u32::try_from(digits).unwrap_or(6)))?;
                digits
            }
            Part::Code('z') => {
                let (seconds, after) = offset(rest, true)?;
                fields.offset = Some(seconds);
                rest.len() - after.len()
            }
            _ => return None,
        };
        rest = rest.get(used..)?;
    }
    rest.is_empty().then_some(fields)
}

/// Does a code stand twice? Python's `strptime` refuses such a format, and a long text would be tried in endless ways.
fn has_code_twice(parts: &[Part]) -> bool {
    let is_repeated = |(at, part): (usize, &Part)| match part {
        Part::Code(code) => parts[..at].iter().any(|before| matches!(before, Part::Code(other) if other == code)),
        Part::MillisDigits => parts[..at].iter().any(|before| matches!(before, Part::MillisDigits)),
        Part::Literal(_) | Part::Blank => false,
    };
    parts.iter().enumerate().any(is_repeated)
}

/// Matches `parts` against all of `text`, and tries longer numbers first as Python's patterns do.
fn scan(parts: &[Part], text: &str, fields: Fields) -> Option<Fields> {
    let Some((part, later)) = parts.split_first() else {
        return text.is_empty().then_some(fields);
    };
    let digits = |max: usize, range: std::ops::RangeInclusive<u32>, set: fn(&mut Fields, u32)| {
        (1..=max).rev().find_map(|n| {
            let head = text.get(..n).filter(|h| h.bytes().all(|b| b.is_ascii_digit()))?;
            let value: u32 = head.parse().ok().filter(|v| range.contains(v))?;
            let mut next = fields;
            set(&mut next, value);
            scan(later, &text[n..], next)
        })
    };
    let exactly = |n: usize, set: fn(&mut Fields, u32)| {
        let head = text.get(..n).filter(|h| h.bytes().all(|b| b.is_ascii_digit()))?;
        let mut next = fields;
        set(&mut next, head.parse().ok()?);
        scan(later, &text[n..], next)
    };
    #[allow(clippy::cast_possible_truncation)]
    let named = |names: &[&str], short: bool, set: fn(&mut Fields, u8)| {
        names.iter().enumerate().find_map(|(i, name)| {
            let name = if short { &name[..3] } else { name };
            let head = text.get(..name.len()).filter(|h| h.eq_ignore_ascii_case(name))?;
            let mut next = fields;
            set(&mut next, i as u8);
            scan(later, &text[head.len()..], next)
        })
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
    match part {
        Part::Literal(c) => {
            let head = text.chars().next()?;
            let same = head == *c || head.to_lowercase().eq(c.to_lowercase());
            same.then(|| scan(later, &text[head.len_utf8()..], fields)).flatten()
        }
        Part::Blank => {
            let rest = text.trim_start();
            (rest.len() < text.len()).then(|| scan(later, rest, fields)).flatten()
        }
        Part::MillisDigits | Part::Code('f') => (1..=6).rev().find_map(|n| {
            let head = text.get(..n).filter(|h| h.bytes().all(|b| b.is_ascii_digit()))?;
            let micros = head.parse::<u32>().ok()? * 10u32.pow(6 - n as u32);
            scan(later, &text[n..], Fields { micros, ..fields })
        }),
        Part::Code(code) => match code {
            'Y' => exactly(4, |f, v| f.year = Some(v as i32)),
            'y' => exactly(2, |f, v| f.year = Some(v as i32 + if v < 69 { 2000 } else { 1900 })),
            'm' => digits(2, 1..=12, |f, v| f.month = Some(v as u8)),
            'd' => digits(2, 1..=31, |f, v| f.day = Some(v as u8)).or_else(|| {
                let blank = text.strip_prefix(' ')?;
                let day = blank.bytes().next().filter(|b| (b'1'..=b'9').contains(b))? - b'0';
                scan(later, &blank[1..], Fields { day: Some(day), ..fields })
            }),
            'j' => digits(3, 1..=366, |f, v| f.day_of_year = Some(v as u16)),
            'H' => digits(2, 0..=23, |f, v| f.hour = v as u8),
            'I' => digits(2, 1..=12, |f, v| f.hour12 = Some(v as u8)),
            'M' => digits(2, 0..=59, |f, v| f.minute = v as u8),
            'S' => digits(2, 0..=61, |f, v| f.second = v as u8),
            'w' => digits(1, 0..=6, |f, v| f.weekday = Some(((v + 6) % 7) as u8)),
            'u' => digits(1, 1..=7, |f, v| f.weekday = Some(v as u8 - 1)),
            'U' => digits(2, 0..=53, |f, v| f.week = Some((v as u8, true))),
            'W' => digits(2, 0..=53, |f, v| f.week = Some((v as u8, false))),
            'b' => named(&MONTHS, true, |f, i| f.month = Some(i + 1)),
            'B' => named(&MONTHS, false, |f, i| f.month = Some(i + 1)),
            'a' => named(&DAYS, true, |f, i| f.weekday = Some(i)),
            'A' => named(&DAYS, false, |f, i| f.weekday = Some(i)),
            'p' => named(&["AM", "PM"], false, |f, i| f.pm = Some(i == 1)),
            'Z' => named(&["UTC", "GMT"], false, |_, _| {}),
            'z' => {
                let (seconds, rest) = offset(text, true)?;
                scan(later, rest, Fields { offset: Some(seconds), ..fields })
            }
            _ => None,
        },
    }
}

/// Parses `Z`, `+hh:mm`, `+hhmm`, optionally with seconds; returns seconds east of UTC and the rest of the text.
fn offset(text: &str, need_minutes: bool) -> Option<(i32, &str)> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Some((0, rest));
    }
    let sign = match text.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let two = |t: &str, max: i32| {
        t.get(..2).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?.parse().ok().filter(|v: &i32| *v <= max)
    };
    let mut rest = &text[1..];
    let mut seconds = two(rest, 99)? * 3600;
    rest = &rest[2..];
    let minutes = rest.strip_prefix(':').unwrap_or(rest);
    match two(minutes, 59) {
        Some(m) => {
            seconds += m * 60;
            rest = &minutes[2..];
            let tail = rest.strip_prefix(':').unwrap_or(rest);
            if let Some(s) = two(tail, 59) {
                seconds += s;
                rest = &tail[2..];
            }
        }
        None if need_minutes => return None,
        None => {}
    }
    (seconds < 86_400).then_some((sign * seconds, rest))
}

impl Fields {
    fn build(self) -> Option<OffsetDateTime> {
        let year = self.year.unwrap_or(1900);
        if year < 1 {
            return None;
        }
        let date = if let (Some(day), None, None) = (self.day_of_year, self.month, self.day) {
            Date::from_ordinal_date(year, day).ok()?
        } else if let (Some((week, sunday)), Some(weekday), None, None) =
            (self.week, self.weekday, self.month, self.day)
        {
            let first = Date::from_calendar_date(year, Month::January, 1).ok()?;
            let first_day = first.weekday().number_days_from_monday();
            let (first_day, day) = if sunday { ((first_day + 1) % 7, (weekday + 1) % 7) } else { (first_day, weekday) };
            let before = i64::from((7 - first_day) % 7);
            let days = if week == 0 {
                i64::from(day) - i64::from(first_day)
            } else {
                before + 7 * (i64::from(week) - 1) + i64::from(day)
            };
            first.checked_add(Duration::days(days))?
        } else {
            Date::from_calendar_date(year, Month::try_from(self.month.unwrap_or(1)).ok()?, self.day.unwrap_or(1))
                .ok()?
        };
        let hour = match (self.hour12, self.pm) {
            (Some(h), pm) => h % 12 + if pm == Some(true) { 12 } else { 0 },
            (None, _) => self.hour,
        };
        let time = Time::from_hms_micro(hour, self.minute, self.second, self.micros).ok()?;
        let offset = UtcOffset::from_whole_seconds(self.offset.unwrap_or(0)).ok()?;
        Some(PrimitiveDateTime::new(date, time).assume_offset(offset))
    }
}

fn write_code(code: char, t: OffsetDateTime, out: &mut String) {
    let weekday = t.weekday().number_days_from_monday() as usize;
    let hour12 = (t.hour() + 11) % 12 + 1;
    let week = |first: u8| (t.ordinal() + 6 - u16::from((t.weekday().number_days_from_monday() + 7 - first) % 7)) / 7;
    let _ = match code {
        // Four digits also for the first thousand years, where Python's C library writes fewer: `%Y` reads four.
        'Y' => write!(out, "{:04}", t.year()),
        'C' => write!(out, "{:02}", t.year() / 100),
        'y' => write!(out, "{:02}", t.year() % 100),
        'G' => write!(out, "{}", t.to_iso_week_date().0),
        'V' => write!(out, "{:02}", t.iso_week()),
        'm' => write!(out, "{:02}", u8::from(t.month())),
        'd' => write!(out, "{:02}", t.day()),
        'e' => write!(out, "{:2}", t.day()),
        'j' => write!(out, "{:03}", t.ordinal()),
        'H' => write!(out, "{:02}", t.hour()),
        'k' => write!(out, "{:2}", t.hour()),
        'I' => write!(out, "{hour12:02}"),
        'l' => write!(out, "{hour12:2}"),
        'M' => write!(out, "{:02}", t.minute()),
        'S' => write!(out, "{:02}", t.second()),
        'f' => write!(out, "{:06}", t.microsecond()),
        's' => write!(out, "{}", t.unix_timestamp()),
        'p' => write!(out, "{}", if t.hour() < 12 { "AM" } else { "PM" }),
        'P' => write!(out, "{}", if t.hour() < 12 { "am" } else { "pm" }),
        'b' | 'h' => write!(out, "{}", &MONTHS[u8::from(t.month()) as usize - 1][..3]),
        'B' => write!(out, "{}", MONTHS[u8::from(t.month()) as usize - 1]),
        'a' => write!(out, "{}", &DAYS[weekday][..3]),
        'A' => write!(out, "{}", DAYS[weekday]),
        'w' => write!(out, "{}", (weekday + 1) % 7),
        'u' => write!(out, "{}", weekday + 1),
        'U' => write!(out, "{:02}", week(6)),
        'W' => write!(out, "{:02}", week(0)),
        'n' => writeln!(out),
        't' => write!(out, "\t"),
        'z' => {
            out.push_str(&offset_text(t.offset(), ""));
            Ok(())
        }
        'Z' => {
            out.push_str("UTC");
            if !t.offset().is_utc() {
                out.push_str(&offset_text(t.offset(), ":"));
            }
            Ok(())
        }
        _ => Ok(()),
    };
}

fn offset_text(offset: UtcOffset, colon: &str) -> String {
    let (h, m, s) = offset.as_hms();
    let sign = if offset.is_negative() { '-' } else { '+' };
    let mut out = format!("{sign}{:02}{colon}{:02}", h.abs(), m.abs());
    if s != 0 {
        let _ = write!(out, "{colon}{:02}", s.abs());
    }
    out
}
