//! Percent-encoding, as in Python's `urllib` and `requests`.
//!
//! Input: text. Output: text encoded for a URL or form, or decoded from one. Called by `jinja` (filters),
//! `fetch::request` (URLs and forms), `config` (secrets are also redacted in encoded form) and `sandbox`.

use std::fmt::Write as _;

/// Encodes everything except letters, digits, `_.-~` and `/`: Python's `quote`.
pub fn quote(text: &str) -> String {
    encode(text, "/")
}

/// Encodes everything except letters, digits and `_.-~`, and a blank as `+`: Python's `quote_plus`, for forms and
/// queries.
pub fn quote_plus(text: &str) -> String {
    encode(text, " ").replace(' ', "+")
}

/// Encodes everything except letters, digits and `_.-~`: for one segment of a path.
pub fn segment(text: &str) -> String {
    encode(text, "")
}

fn encode(text: &str, keep: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"_.-~".contains(&b) || keep.as_bytes().contains(&b) {
            out.push(b as char);
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

/// Encodes what is invalid in a URL; delimiters and encoded characters stay: `requote_uri` of `requests`.
pub fn requote(url: &str) -> String {
    let mut out = String::with_capacity(url.len());
    let bytes = url.as_bytes();
    for (i, b) in bytes.iter().enumerate() {
        let encoded = *b == b'%' && bytes.get(i + 1..i + 3).is_some_and(|h| h.iter().all(u8::is_ascii_hexdigit));
        if encoded || b.is_ascii_alphanumeric() || b"-._~!#$&'()*+,/:;=?@[]".contains(b) {
            out.push(*b as char);
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

/// Decodes `%41` and `+`.
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = text.get(i + 1..i + 3).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (bytes[i], hex) {
            (b'%', Some(b)) => {
                out.push(b);
                i += 2;
            }
            (b'+', _) => out.push(b' '),
            (b, _) => out.push(b),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
