//! Interprets scalars.
//!
//! Input: a scalar's text, style and tag. Output: its JSON, or its key. Called by `tree`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use granit_parser::ScalarStyle;
use serde_json::{Number, Value as Json};

use super::tag::Tag;

/// A scalar as written.
#[derive(Debug, Clone)]
pub(super) struct Scalar<'t> {
    text: Cow<'t, str>,
    /// Neither quoted nor a block.
    is_plain: bool,
    tag: Tag,
}

/// An integer in any notation: its sign and its digits.
pub(super) type Integer = (bool, u128);

impl<'t> Scalar<'t> {
    pub(super) fn new(text: Cow<'t, str>, style: ScalarStyle, tag: Tag) -> Self {
        Scalar { text, is_plain: style == ScalarStyle::Plain, tag }
    }

    /// The length of its text in bytes.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Is it a merge key?
    pub(super) fn is_merge(&self) -> bool {
        self.text == "<<" && (self.tag == Tag::Merge || self.tag == Tag::None && self.is_plain)
    }

    /// Is it null, unless a tag changes its type?
    pub(super) fn is_null(&self) -> bool {
        match self.tag {
            Tag::Null => true,
            Tag::None | Tag::Merge | Tag::Scalar | Tag::Other => self.is_plain && is_null(&self.text),
            _ => false,
        }
    }

    /// As a key: its text, whatever its value would be. Different notations of an integer are the same key.
    pub(super) fn key(self) -> Result<(String, Option<Integer>), String> {
        let is_null = self.is_plain && !self.tag.is_text() && is_null(&self.text);
        match self.tag {
            _ if is_null => return Err("a key cannot be null".into()),
            Tag::Int | Tag::Float | Tag::Bool | Tag::Null | Tag::Unread => {
                return Err(format!("the tag of `{}` does not fit a key", self.text));
            }
            Tag::Binary => return Ok((binary(&self.text)?, None)),
            _ => {}
        }
        let may_be_integer = self.is_plain && self.tag == Tag::None && may_be_number(&self.text);
        let integer = if may_be_integer { integer(&self.text) } else { None };
        Ok((self.text.into_owned(), integer))
    }

    /// As a value.
    pub(super) fn value(self) -> Result<Json, String> {
        let trimmed = self.text.trim_matches([' ', '\t', '\r', '\n']);
        let no = |what: &str| format!("`{trimmed}` is not a valid {what}");
        match self.tag {
            Tag::Null => Ok(Json::Null),
            Tag::Bool => truth(trimmed).map(Json::Bool).ok_or_else(|| no("bool: `true` or `false`")),
            Tag::Int => whole(trimmed).ok_or_else(|| no("64-bit integer")),
            Tag::Float => float(trimmed)?.ok_or_else(|| no("number")),
            Tag::Binary => Ok(Json::String(binary(&self.text)?)),
            Tag::Unread => Err(format!("the tag of `{}` cannot be read", self.text)),
            Tag::None | Tag::Merge | Tag::Scalar | Tag::Other if self.is_plain => plain(self.text),
            _ => Ok(Json::String(self.text.into_owned())),
        }
    }
}

/// The value of an untagged plain scalar.
fn plain(text: Cow<'_, str>) -> Result<Json, String> {
    if is_null(&text) {
        return Ok(Json::Null);
    }
    if let Some(truth) = truth(&text).or_else(|| bool_word(&text)) {
        return Ok(Json::Bool(truth));
    }
    if may_be_number(&text)
        && let Some(number) = number(&text)?
    {
        return Ok(number);
    }
    Ok(Json::String(text.into_owned()))
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// The words that PyYAML accepts as bools in addition to `true` and `false`; unlike YAML 1.1, `y` and `n` stay texts.
pub(super) fn bool_word(text: &str) -> Option<bool> {
    match text {
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// Does it start like a number?
fn may_be_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
}

/// An untagged number, if it is one.
fn number(text: &str) -> Result<Option<Json>, String> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_upper_radix = matches!(unsigned.as_bytes(), [b'0', b'X' | b'O' | b'B', ..]);
    let is_signed_nan = unsigned.len() < text.len() && is_nan(unsigned);
    if is_upper_radix || is_signed_nan {
        return Ok(None);
    }
    match whole(text) {
        None => float(text),
        whole => Ok(whole),
    }
}

/// A signed or unsigned 64-bit integer.
fn whole(text: &str) -> Option<Json> {
    if text.len() < 19 && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0')) {
        return text.parse::<u64>().ok().map(Json::from);
    }
    let (_, digits) = integer(text)?;
    if text.starts_with('-') {
        return i64::try_from(-i128::try_from(digits).ok()?).ok().map(Json::from);
    }
    u64::try_from(digits).ok().map(Json::from)
}

/// A decimal, `0x`, `0o` or `0b` number. Digits may be separated by single underscores.
fn integer(text: &str) -> Option<Integer> {
    let (is_negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &unsigned[2..]),
        [b'0', b'o' | b'O', ..] => (8, &unsigned[2..]),
        [b'0', b'b' | b'B', ..] => (2, &unsigned[2..]),
        [b'0', _, ..] => return None,
        _ => (10, unsigned),
    };
    let mut number: u128 = 0;
    for part in digits.split('_') {
        if part.is_empty() {
            return None;
        }
        for digit in part.chars() {
            number = number.checked_mul(radix.into())?.checked_add(digit.to_digit(radix)?.into())?;
        }
    }
    Some((is_negative && number != 0, number))
}

/// A number with a point or an exponent. JSON has no infinite numbers.
fn float(text: &str) -> Result<Option<Json>, String> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_infinite = matches!(unsigned, ".inf" | ".Inf" | ".INF");
    if is_infinite || is_nan(unsigned) {
        return Err(format!("`{text}` is not a finite number"));
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Number::from_f64(number).map(Json::Number)),
        Ok(number) if number.is_infinite() && unsigned.starts_with(|c: char| c.is_ascii_digit()) => {
            Err(format!("`{text}` is too large"))
        }
        // Rust parses `inf` and `nan` as numbers; in YAML they are texts.
        _ => Ok(None),
    }
}

fn is_nan(unsigned: &str) -> bool {
    matches!(unsigned, ".nan" | ".NaN" | ".NAN")
}

/// The text in a base64 scalar.
fn binary(text: &str) -> Result<String, String> {
    let encoded: String = text.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(encoded).map_err(|_| "it is not base64".to_owned())?;
    String::from_utf8(bytes).map_err(|_| "its base64 does not contain UTF-8 text".to_owned())
}
