//! ISO-8601 times as texts, without a format.
//!
//! Input: an ISO text, or a time. Output: a time, or its text. Called by templates and by the wire rules.

use time::{Date, Month, OffsetDateTime, UtcOffset};
use wide::u8x16;

use super::{offset, offset_text};

/// Python's `isoformat(sep)`: microseconds only if not zero, the offset with a colon.
pub fn isoformat(t: OffsetDateTime, separator: char) -> String {
    moment(t, separator) + &offset_text(t.offset(), ":")
}

/// RFC 3339 in UTC with `Z`, the form that every warehouse reads the same way.
pub fn rfc3339(t: OffsetDateTime) -> String {
    match t.checked_to_offset(UtcOffset::UTC) {
        Some(utc) => moment(utc, 'T') + "Z",
        // A year that UTC cannot have.
        None => isoformat(t, 'T'),
    }
}

/// Date and time without the offset. Without `format!`, which takes ten times as long: each page has some.
fn moment(t: OffsetDateTime, separator: char) -> String {
    let mut out = String::with_capacity(27);
    if t.year() < 0 {
        out.push('-');
    }
    digits(&mut out, t.year().unsigned_abs(), 4 - u32::from(t.year() < 0));
    for (before, number) in
        [('-', u8::from(t.month())), ('-', t.day()), (separator, t.hour()), (':', t.minute()), (':', t.second())]
    {
        out.push(before);
        digits(&mut out, number.into(), 2);
    }
    if t.microsecond() > 0 {
        out.push('.');
        digits(&mut out, t.microsecond(), 6);
    }
    out
}

/// Adds a number with at least so many digits.
fn digits(out: &mut String, number: u32, width: u32) {
    let length = number.checked_ilog10().map_or(1, |log| log + 1);
    for place in (0..length.max(width)).rev() {
        out.extend(char::from_digit(number / 10_u32.pow(place) % 10, 10));
    }
}

/// Parses an ISO-8601 date or date-time leniently, as the reference's `str_to_datetime` does.
pub fn parse_iso(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    let bytes = text.as_bytes();
    let number = |range: std::ops::Range<usize>| -> Option<u32> {
        text.get(range).filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
    };
    let year = i32::try_from(number(0..4)?).ok()?;
    let dashed = bytes.get(4) == Some(&b'-');
    let at = if dashed { 5 } else { 4 };
    let (date, used) = if bytes.get(at) == Some(&b'W') {
        let week = number(at + 1..at + 3)?;
        let day_at = at + 3 + usize::from(dashed);
        let day = if bytes.get(at + 3).is_some_and(|b| if dashed { *b == b'-' } else { b.is_ascii_digit() }) {
            number(day_at..day_at + 1)
        } else {
            None
        };
        let weekday = time::Weekday::Monday.nth_next(u8::try_from(day.unwrap_or(1)).ok()?.checked_sub(1)?);
        let used = if day.is_some() { day_at + 1 } else { at + 3 };
        (Date::from_iso_week_date(year, u8::try_from(week).ok()?, weekday).ok()?, used)
    } else {
        let calendar = |month: u32, day: u32| {
            Date::from_calendar_date(year, Month::try_from(u8::try_from(month).ok()?).ok()?, u8::try_from(day).ok()?)
                .ok()
        };
        let month = number(at..at + 2);
        let day_at = at + 2 + usize::from(dashed);
        let day = if dashed && bytes.get(7) != Some(&b'-') { None } else { number(day_at..day_at + 2) };
        match (month, day) {
            (Some(month), Some(day)) => (calendar(month, day)?, day_at + 2),
            (Some(month), None) if dashed => (calendar(month, 1)?, 7),
            (None, _) if bytes.len() == 4 => (calendar(1, 1)?, 4),
            _ => return None,
        }
    };
    if used >= bytes.len() {
        return Some(date.midnight().assume_utc());
    }
    // Any single character may separate date and time.
    let separator = text[used..].chars().next()?;
    let clock = &text[used + separator.len_utf8()..];
    let zone = clock.find(['Z', 'z', '+', '-']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at(zone);
    let seconds = if zone.is_empty() || zone == "z" {
        0
    } else {
        let (seconds, rest) = offset(zone, false)?;
        rest.is_empty().then_some(seconds)?
    };
    let (whole, fraction) = clock.trim_end().split_once(['.', ',']).unwrap_or((clock.trim_end(), ""));
    let compact: String = whole.chars().filter(|c| *c != ':').collect();
    if !compact.bytes().all(|b| b.is_ascii_digit()) || ![2, 4, 6].contains(&compact.len()) {
        return None;
    }
    let two = |i: usize| compact.get(i..i + 2).map_or(Some(0), |d| d.parse::<u8>().ok());
    let (hour, minute, second) = (two(0)?, two(2)?, two(4)?);
    let micros = if fraction.is_empty() {
        0
    } else {
        let digits: String = fraction.chars().chain("000000".chars()).take(6).collect();
        fraction.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u32>().ok()).flatten()?
    };
    let offset = UtcOffset::from_whole_seconds(seconds).ok()?;
    if (hour, minute, second, micros) == (24, 0, 0, 0) {
        return Some(date.next_day()?.midnight().assume_offset(offset));
    }
    Some(date.with_hms_micro(hour, minute, second, micros).ok()?.assume_offset(offset))
}

/// Zeros where `YYYY-MM-DDTHH:MM` has digits, and what each may be beyond zero.
const MINUTE: [u8; 16] = *b"0000-00-00T00:00";
const MINUTE_DIGITS: [u8; 16] = [9, 9, 9, 9, 0, 1, 9, 0, 3, 9, 0, 2, 9, 0, 5, 9];

/// The digits of `YYYY-MM-DDTHH:MM`, with zeros between them; `None` if it is not one, or not of an existing day.
#[inline]
fn minute_digits(raw: &[u8; 16]) -> Option<[u8; 16]> {
    let digits = u8x16::new(*raw) ^ u8x16::new(MINUTE);
    if digits.min(u8x16::new(MINUTE_DIGITS)) != digits {
        return None;
    }
    let digits = digits.to_array();
    let two = |at: usize| digits[at] * 10 + digits[at + 1];
    let (month, day, hour) = (two(5), two(8), two(11));
    let fits = (1..=12).contains(&month) && day > 0 && hour < 24 && (day < 29 || day <= month_length(&digits, month));
    (fits && digits[..4] != [0; 4]).then_some(digits)
}

/// The number of days of a month.
fn month_length(digits: &[u8; 16], month: u8) -> u8 {
    let year = digits[..4].iter().fold(0u16, |year, digit| year * 10 + u16::from(*digit));
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Is it `2024-01-02T03:04:05Z`, with an optional fraction of up to six digits, and valid fields?
#[inline]
pub fn is_utc(raw: &[u8]) -> bool {
    let Some((minute, rest)) = raw.split_first_chunk::<16>() else { return false };
    let is_rest = match rest {
        [b':', b'0'..=b'5', b'0'..=b'9', b'Z'] => true,
        [b':', b'0'..=b'5', b'0'..=b'9', b'.', fraction @ .., b'Z'] => {
            (1..=6).contains(&fraction.len()) && fraction.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    is_rest && minute_digits(minute).is_some()
}

/// The time of `2024-01-02T03:04:05Z`; `None` for any other text.
pub(super) fn second_of_utc(raw: &[u8]) -> Option<OffsetDateTime> {
    let Some((minute, [b':', tens @ b'0'..=b'5', ones @ b'0'..=b'9', b'Z'])) = raw.split_first_chunk::<16>() else {
        return None;
    };
    let digits = minute_digits(minute)?;
    let two = |at: usize| digits[at] * 10 + digits[at + 1];
    let year = digits[..4].iter().fold(0, |year, digit| year * 10 + i32::from(*digit));
    let date = Date::from_calendar_date(year, Month::try_from(two(5)).ok()?, two(8)).ok()?;
    Some(date.with_hms(two(11), two(14), (tens - b'0') * 10 + ones - b'0').ok()?.assume_utc())
}

/// Is it `2024-02-29`, an existing date?
#[inline]
pub fn is_date(raw: &[u8]) -> bool {
    let Some(date) = raw.first_chunk::<10>().filter(|_| raw.len() == 10) else { return false };
    let mut minute = MINUTE;
    minute[..10].copy_from_slice(date);
    minute_digits(&minute).is_some()
}
