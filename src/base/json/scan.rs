//! A pull scanner over JSON bytes: the only parse of a page.
//!
//! Input: a whole body. Output: its structure, step by step, as positions in those bytes; nothing is copied or
//! allocated. Called by `extract` (finds the records) and `shape` (reads a record), which share one pass by passing
//! the scanner on. Strict as RFC 8259: `serde_json` accepts whatever this accepts.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use wide::u8x16;

/// The maximum nesting, the same as in `serde_json`.
const MAX_DEPTH: u8 = 127;

/// Why bytes are not valid JSON, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanError {
    /// The offset in the body.
    pub at: usize,
    /// What was expected.
    pub what: &'static str,
}

/// The message for bytes after the JSON.
const MORE_FOLLOWS: &str = "something follows the JSON value";

impl ScanError {
    /// Was the body truncated, or is there data after its JSON, as opposed to a body that never was JSON?
    pub fn is_of_its_end(&self, body: &[u8]) -> bool {
        let rest = body.get(self.at..).unwrap_or_default().trim_ascii_end();
        let cut_word = [&b"true"[..], b"false", b"null"].iter().any(|word| word.starts_with(rest));
        let cut_number = || rest.iter().all(|b| b.is_ascii_digit() || b"+-.eE".contains(b));
        let cut_escape = || rest.starts_with(b"\\") && rest.len() < 6 && !rest.contains(&b'"');
        self.what == MORE_FOLLOWS || cut_word || cut_number() || cut_escape()
    }
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

/// Result with a [`ScanError`].
pub type Scan<T> = Result<T, ScanError>;

/// The kind of the next value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum JsonKind {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

/// The raw text between the quotes.
#[derive(Debug, Clone, Copy)]
pub struct JsonText<'a> {
    /// The bytes, with unresolved escapes.
    pub raw: &'a [u8],
    /// Does it contain a backslash?
    pub escaped: bool,
}

impl<'a> JsonText<'a> {
    /// The text with escapes resolved; a lone surrogate becomes U+FFFD.
    pub fn value(&self) -> Cow<'a, str> {
        let raw = std::str::from_utf8(self.raw).unwrap_or_default();
        if self.escaped { Cow::Owned(unescape(raw)) } else { Cow::Borrowed(raw) }
    }

    /// Is it equal to `text`?
    pub fn is(&self, text: &str) -> bool {
        if self.escaped { self.value() == text } else { self.raw == text.as_bytes() }
    }
}

/// A number as written.
#[derive(Debug, Clone, Copy)]
pub struct Number<'a> {
    /// The bytes.
    pub raw: &'a [u8],
    /// No fraction and no exponent?
    pub integer: bool,
}

/// Is it an integer that fits a 64-bit column?
pub fn is_int64(number: &Number<'_>) -> bool {
    number.integer && (number.raw.len() < 19 || std::str::from_utf8(number.raw).is_ok_and(|t| t.parse::<i64>().is_ok()))
}

/// The exact class of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// An integer that fits 64 bits, in any notation: `5`, `5.0`, `5e2`.
    Fits(i64),
    /// A larger integer.
    Large,
    /// Not an integer.
    Not,
}

/// Classifies a number.
pub fn whole(number: &Number<'_>) -> Whole {
    if number.integer {
        let text = std::str::from_utf8(number.raw).unwrap_or_default();
        return text.parse().map_or(Whole::Large, Whole::Fits);
    }
    // Most fractions are short.
    if let [.., b'1'..=b'9'] = number.raw
        && number.raw.len() < 19
        && !number.raw.iter().any(|b| matches!(b, b'e' | b'E'))
    {
        return Whole::Not;
    }
    let raw = number.raw.strip_prefix(b"-").unwrap_or(number.raw);
    let mantissa = raw.iter().position(|b| matches!(b, b'e' | b'E')).unwrap_or(raw.len());
    let point = raw[..mantissa].iter().position(|b| *b == b'.').unwrap_or(mantissa);
    // The digits without the point, and where the first and last that are not zero stand among them.
    let digits = || raw[..mantissa].iter().filter(|b| **b != b'.');
    let Some(first) = digits().position(|b| *b != b'0') else { return Whole::Fits(0) };
    let count = digits().count();
    let last = count - 1 - digits().rev().position(|b| *b != b'0').unwrap_or(0);
    let exponent = match raw.get(mantissa + 1..).map(|text| std::str::from_utf8(text).unwrap_or_default()) {
        None => 0,
        Some(text) => text.parse().unwrap_or(if text.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 }),
    };
    // Trailing zeros, including those from the exponent.
    let Ok(zeros) =
        usize::try_from(exponent.saturating_add_unsigned(point as u64).saturating_sub_unsigned(last as u64 + 1))
    else {
        return Whole::Not;
    };
    let sign = if raw.len() < number.raw.len() { -1 } else { 1 };
    let significant = digits().skip(first).take(last + 1 - first).copied();
    let mut value = Some(0_i64);
    for digit in significant.chain(std::iter::repeat_n(b'0', zeros.min(20))) {
        value = value.and_then(|value| value.checked_mul(10)?.checked_add(sign * i64::from(digit - b'0')));
    }
    value.map_or(Whole::Large, Whole::Fits)
}

/// A position in a body.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u8,
}

impl<'a> Scanner<'a> {
    /// Starts at the beginning of a body, which must be UTF-8.
    pub fn new(bytes: &'a [u8]) -> Self {
        Scanner { bytes, at: 0, depth: 0 }
    }

    /// The offset.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The whole body.
    pub fn body(&self) -> &'a [u8] {
        self.bytes
    }

    /// Moves past a value that ends before the offset `end`.
    pub fn move_past(&mut self, end: usize) {
        self.at = end;
    }

    /// Some of the body's bytes.
    pub fn slice(&self, range: Range<usize>) -> &'a [u8] {
        &self.bytes[range]
    }

    fn fail<T>(&self, what: &'static str) -> Scan<T> {
        Err(ScanError { at: self.at, what })
    }

    #[inline]
    fn blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// The kind of the next value; skips blanks before it.
    #[inline]
    pub fn peek(&mut self) -> Scan<JsonKind> {
        self.blanks();
        match self.bytes.get(self.at) {
            Some(b'{') => Ok(JsonKind::Object),
            Some(b'[') => Ok(JsonKind::Array),
            Some(b'"') => Ok(JsonKind::String),
            Some(b'-' | b'0'..=b'9') => Ok(JsonKind::Number),
            Some(b't' | b'f') => Ok(JsonKind::Bool),
            Some(b'n') => Ok(JsonKind::Null),
            Some(_) => self.fail("expected a JSON value"),
            None => self.fail("the body ends too early"),
        }
    }

    /// Fails if anything but blanks follows.
    pub fn end(&mut self) -> Scan<()> {
        self.blanks();
        if self.at == self.bytes.len() { Ok(()) } else { self.fail(MORE_FOLLOWS) }
    }

    #[inline]
    fn open(&mut self) -> Scan<()> {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH { self.fail("the JSON is nested too deeply") } else { Ok(()) }
    }

    /// Enters an object; then call [`Scanner::key`] until it returns `None`.
    #[inline]
    pub fn enter(&mut self) -> Scan<()> {
        self.open()
    }

    /// The next key of the entered object, positioned before its value; `None` at the end.
    #[inline]
    pub fn key(&mut self, first: &mut bool) -> Scan<Option<JsonText<'a>>> {
        if !self.more(b'}', first)? {
            return Ok(None);
        }
        if self.bytes.get(self.at) != Some(&b'"') {
            return self.fail("expected a key");
        }
        let key = self.string()?;
        self.blanks();
        if self.bytes.get(self.at) != Some(&b':') {
            return self.fail("expected `:`");
        }
        self.at += 1;
        Ok(Some(key))
    }

    /// Skips the next key if it equals `quoted` (`"name":`, without blanks): most records have the same order of
    /// keys.
    #[inline]
    pub fn take_key(&mut self, first: &mut bool, quoted: &[u8]) -> bool {
        let at = self.at + usize::from(!*first);
        let here = *first || self.bytes.get(self.at) == Some(&b',');
        if here && self.bytes.get(at..).is_some_and(|rest| rest.starts_with(quoted)) {
            self.at = at + quoted.len();
            *first = false;
            return true;
        }
        false
    }

    /// Does the entered array have another element?
    #[inline]
    pub fn element(&mut self, first: &mut bool) -> Scan<bool> {
        self.more(b']', first)
    }

    #[inline]
    fn more(&mut self, close: u8, first: &mut bool) -> Scan<bool> {
        self.blanks();
        match self.bytes.get(self.at) {
            Some(b) if *b == close => {
                self.at += 1;
                self.depth -= 1;
                return Ok(false);
            }
            Some(b',') if !*first => {
                self.at += 1;
                self.blanks();
                if self.bytes.get(self.at) == Some(&close) {
                    return self.fail("a comma is followed by nothing");
                }
            }
            Some(_) if *first => {}
            Some(_) => return self.fail("expected `,`"),
            None => return self.fail("the body ends too early"),
        }
        *first = false;
        Ok(true)
    }

    /// Reads a text.
    #[inline]
    pub fn string(&mut self) -> Scan<JsonText<'a>> {
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            at = plain_run(self.bytes, at);
            match self.bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(JsonText { raw: &self.bytes[start..at], escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    at += match self.bytes.get(at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                        Some(b'u')
                            if self.bytes.get(at + 2..at + 6).is_some_and(|h| h.iter().all(u8::is_ascii_hexdigit)) =>
                        {
                            6
                        }
                        _ => {
                            self.at = at;
                            return self.fail("a broken escape");
                        }
                    };
                }
                Some(_) => {
                    self.at = at;
                    return self.fail("a control character in a text");
                }
                None => {
                    self.at = at;
                    return self.fail("the body ends too early");
                }
            }
        }
    }

    /// Reads a number.
    #[inline]
    pub fn number(&mut self) -> Scan<Number<'a>> {
        let start = self.at;
        let digits = |mut i: usize| {
            while self.bytes.get(i).is_some_and(u8::is_ascii_digit) {
                i += 1;
            }
            i
        };
        let whole = start + usize::from(self.bytes.get(start) == Some(&b'-'));
        let mut at = digits(whole);
        let mut integer = true;
        let mut fine = at > whole && (self.bytes[whole] != b'0' || at == whole + 1);
        if self.bytes.get(at) == Some(&b'.') {
            integer = false;
            let fraction = at + 1;
            at = digits(fraction);
            fine &= at > fraction;
        }
        if let Some(b'e' | b'E') = self.bytes.get(at) {
            integer = false;
            let sign = usize::from(matches!(self.bytes.get(at + 1), Some(b'+' | b'-')));
            let exponent = at + 1 + sign;
            at = digits(exponent);
            fine &= at > exponent;
        }
        if !fine {
            return self.fail("a broken number");
        }
        self.at = at;
        Ok(Number { raw: &self.bytes[start..at], integer })
    }

    fn word(&mut self, word: &'static [u8]) -> Scan<()> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            self.fail("expected a JSON value")
        }
    }

    /// Reads `true` or `false`.
    pub fn boolean(&mut self) -> Scan<bool> {
        let value = self.bytes.get(self.at) == Some(&b't');
        self.word(if value { b"true" } else { b"false" })?;
        Ok(value)
    }

    /// Reads `null`.
    pub fn null(&mut self) -> Scan<()> {
        self.word(b"null")
    }

    /// Skips any value.
    pub fn skip(&mut self) -> Scan<()> {
        match self.peek()? {
            JsonKind::String => self.string().map(drop),
            JsonKind::Number => self.number().map(drop),
            JsonKind::Bool => self.boolean().map(drop),
            JsonKind::Null => self.null(),
            JsonKind::Object => {
                self.open()?;
                let mut first = true;
                while self.key(&mut first)?.is_some() {
                    self.skip()?;
                }
                Ok(())
            }
            JsonKind::Array => {
                self.open()?;
                let mut first = true;
                while self.element(&mut first)? {
                    self.skip()?;
                }
                Ok(())
            }
        }
    }
}

/// The end of the run of bytes from `at` without quote, backslash or control character, checked sixteen at a time.
#[inline]
pub fn plain_run(bytes: &[u8], at: usize) -> usize {
    let (quote, backslash, control) = (u8x16::splat(b'"'), u8x16::splat(b'\\'), u8x16::splat(0x1f));
    let mut rest = bytes.get(at..).unwrap_or_default();
    while let Some((chunk, after)) = rest.split_first_chunk::<16>() {
        let chunk = u8x16::new(*chunk);
        let stop = chunk.simd_eq(quote) | chunk.simd_eq(backslash) | chunk.min(control).simd_eq(chunk);
        let stop = stop.to_bitmask();
        if stop != 0 {
            return bytes.len() - rest.len() + stop.trailing_zeros() as usize;
        }
        rest = after;
    }
    let plain = rest.iter().take_while(|b| **b >= 0x20 && **b != b'"' && **b != b'\\').count();
    bytes.len() - rest.len() + plain
}

/// Resolves the escapes of a text.
fn unescape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    let unit = |text: &str| text.get(2..6).and_then(|h| u16::from_str_radix(h, 16).ok());
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let mut used = 2;
        match rest.as_bytes().get(1) {
            Some(b'b') => out.push('\u{8}'),
            Some(b'f') => out.push('\u{c}'),
            Some(b'n') => out.push('\n'),
            Some(b'r') => out.push('\r'),
            Some(b't') => out.push('\t'),
            Some(b'u') => {
                used = 6;
                let first = unit(rest).unwrap_or(0xfffd);
                let second = rest.get(6..).filter(|r| r.starts_with("\\u")).and_then(unit);
                match second {
                    Some(low) if (0xd800..0xdc00).contains(&first) && (0xdc00..0xe000).contains(&low) => {
                        used = 12;
                        out.extend(char::decode_utf16([first, low]).map(|c| c.unwrap_or('\u{fffd}')));
                    }
                    _ => out.push(char::from_u32(first.into()).unwrap_or('\u{fffd}')),
                }
            }
            Some(other) => out.push(*other as char),
            None => break,
        }
        rest = &rest[used..];
    }
    out.push_str(rest);
    out
}

/// Parses bytes that the scanner accepts; a lone surrogate, which `serde_json` refuses, becomes U+FFFD.
pub fn json(bytes: &[u8]) -> serde_json::Result<serde_json::Value> {
    serde_json::from_slice(bytes).or_else(|error| match without_lone_surrogates(bytes) {
        Some(mended) => serde_json::from_slice(&mended),
        None => Err(error),
    })
}

/// The bytes with every lone surrogate replaced; `None` if there is none.
fn without_lone_surrogates(bytes: &[u8]) -> Option<Vec<u8>> {
    let unit = |at: usize| {
        let hex = bytes.get(at..at + 6).filter(|e| e.starts_with(b"\\u"))?;
        u16::from_str_radix(std::str::from_utf8(&hex[2..]).ok()?, 16).ok()
    };
    let mut out = bytes.to_vec();
    let mut found = false;
    let mut at = 0;
    while at < bytes.len() {
        at += match (bytes[at], unit(at)) {
            (b'\\', Some(high))
                if (0xd800..0xdc00).contains(&high)
                    && unit(at + 6).is_some_and(|low| (0xdc00..0xe000).contains(&low)) =>
            {
                12
            }
            (b'\\', Some(lone)) if (0xd800..0xe000).contains(&lone) => {
                out[at + 2..at + 6].copy_from_slice(b"fffd");
                found = true;
                6
            }
            (b'\\', _) => 2,
            _ => 1,
        };
    }
    found.then_some(out)
}
