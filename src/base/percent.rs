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
    escaped(text, |at| {
        let byte = text.as_bytes()[at];
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'~') || keep.as_bytes().contains(&byte)
    })
}

/// Encodes what is invalid in a URL; delimiters and encoded characters stay: `requote_uri` of `requests`.
pub fn requote(url: &str) -> String {
    let bytes = url.as_bytes();
    escaped(url, |at| match bytes[at] {
        b'%' => bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)),
        b'-' | b'.' | b'_' | b'~' | b'!' | b'#'..=b'$' | b'&'..=b',' | b'/' | b':'..=b';' | b'=' | b'?'..=b'@' => true,
        b'[' | b']' => true,
        byte => byte.is_ascii_alphanumeric(),
    })
}

/// Encodes the bytes that must not stay.
fn escaped(text: &str, stays: impl Fn(usize) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = 0;
    for at in 0..text.len() {
        if !stays(at) {
            // What stays is ASCII; between the bytes of another character nothing stays.
            out.push_str(text.get(rest..at).unwrap_or_default());
            let _ = write!(out, "%{:02X}", text.as_bytes()[at]);
            rest = at + 1;
        }
    }
    out.push_str(text.get(rest..).unwrap_or_default());
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
