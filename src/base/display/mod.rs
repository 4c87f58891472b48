//! Formatting that reports share: words and numbers for people, terminal lines, parts of HTML pages.
//!
//! Input: texts, counts and times. Output: the same, formatted for people. Called by the reports of `drift` and by
//! `status`. Names come from vendors and users, so each format escapes what its reader would interpret.

pub mod page;
pub mod terminal;

use std::borrow::Cow;

use crate::base::timefmt::{parse_iso, rfc3339};

/// Removes what a terminal or a browser would interpret: names come from the vendor.
pub fn plain(text: &str) -> String {
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if odd(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

/// The text with its lines and tabs, and with every other control character, and each that turns the direction of
/// writing, as an escape: a vendor's text moves no cursor and hides no word.
pub fn visible(text: &str) -> Cow<'_, str> {
    let odd = |c: char| {
        c.is_control() && c != '\n' && c != '\t' || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    // A line may end as on the wire.
    let text = if text.contains("\r\n") { Cow::Owned(text.replace("\r\n", "\n")) } else { Cow::Borrowed(text) };
    if !text.contains(odd) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if odd(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// Shortens a text to at most `most` characters by cutting out its middle.
pub fn short(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let half = most / 2;
    let (head, tail): (String, String) =
        (text.chars().take(half).collect(), text.chars().skip(length - half).collect());
    format!("{head}…{tail}")
}

/// `4,810`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 record`, `4,810 records`.
pub fn number_of(n: u64, what: &str) -> String {
    format!("{} {what}{}", thousands(n), if n == 1 { "" } else { "s" })
}

/// [`number_of`] for a `usize` count.
pub fn number(n: usize, what: &str) -> String {
    number_of(n as u64, what)
}

/// How long ago a time was, in the largest unit that fits: `2 days ago`.
pub fn ago(then: &str, now: &str) -> Option<String> {
    let (then, now) = (parse_iso(then)?, parse_iso(now)?);
    let seconds = u64::try_from((now - then).whole_seconds()).ok()?;
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let (size, name) = units.into_iter().find(|(size, _)| seconds >= *size)?;
    Some(format!("{} ago", number_of(seconds / size, name)))
}

/// A stored time, cut to whole seconds.
pub fn second(time: &str) -> String {
    let whole = parse_iso(time).and_then(|t| t.replace_nanosecond(0).ok());
    whole.map_or_else(|| plain(time), rfc3339)
}

/// A time for people, to the minute: `2026-11-21 03:04 UTC`.
pub fn minute(time: &str) -> String {
    let Some(t) = parse_iso(time) else { return plain(time) };
    let t = t.checked_to_offset(time::UtcOffset::UTC).unwrap_or(t);
    format!("{}-{:02}-{:02} {:02}:{:02} UTC", t.year(), u8::from(t.month()), t.day(), t.hour(), t.minute())
}

/// The text with its first letter in upper case.
pub fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A duration in its two largest units: `2 h 5 min`, `3 d`.
pub fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let Some(at) = units.iter().position(|(size, _)| seconds >= *size) else { return "0 s".to_owned() };
    let ((size, name), next) = (units[at], units.get(at + 1));
    let rest = next.map_or(0, |(size_of_next, _)| seconds % size / size_of_next);
    match next {
        Some((_, name_of_next)) if rest > 0 => format!("{} {name} {rest} {name_of_next}", seconds / size),
        _ => format!("{} {name}", seconds / size),
    }
}

/// A number of bytes: `1.4 MB`.
pub fn bytes(n: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(size, _)| n >= *size) {
        Some((size, name)) => format!("{}.{} {name}", n / size, n % size * 10 / size),
        None => format!("{n} B"),
    }
}
