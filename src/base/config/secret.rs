//! Secrets: how they are kept out of what people read.
//!
//! Input: values of a config, and tokens that came during a run. Output: texts without them. Called by
//! `config::load`, by `references`, which adds every value that it finds, and by the log.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde_json::Value as Json;

use crate::base::display::visible;
use crate::base::percent;

/// The secrets of a run: the log shows none, and neither does what the engine quotes of a vendor.
pub type SharedSecrets = Arc<Mutex<Secrets>>;

/// Texts that must never be shown.
#[derive(Clone, Default)]
pub struct Secrets {
    /// The longest first, so that a secret inside another leaves no rest.
    known: Vec<Secret>,
    /// Secrets that came during the run, the oldest first.
    learned: VecDeque<String>,
    /// Secrets that are too short to be searched for everywhere: see [`Secrets::hide_in_quote`].
    short: Vec<String>,
}

/// A text and how others write it.
#[derive(Clone)]
struct Secret {
    text: String,
    /// The text itself and its encodings, the longest first.
    forms: Vec<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.known.len() + self.short.len())
    }
}

/// The maximum number of tokens of this run that are redacted: older ones are no longer in use.
const LEARNED: usize = 32;

/// The beginning of a secret is hidden from so many characters on, wherever it stands.
const BEGINNING: usize = 12;

/// … and from so many bytes on at the end of a text, where it was cut off.
const CUT_OFF: usize = 8;

/// Shorter texts are not searched for everywhere: hiding `x` would hide half of every line and tell the secret.
const SHORTEST: usize = 5;

/// Shorter encodings of a secret could be anything, in bytes.
const SHORTEST_FORM: usize = 6;

/// What stands in place of a secret.
const HIDDEN: &str = "****";

impl Secret {
    fn of(text: &str) -> Secret {
        let quoted = percent::quote_plus(text);
        let json = Json::String(text.to_owned()).to_string();
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut forms = vec![
            json[1..json.len() - 1].replace('/', "\\/"),
            json[1..json.len() - 1].to_owned(),
            percent::requote(text),
            lower_escapes(&quoted),
            lower_escapes(&quoted.replace('+', "%20")),
            quoted.replace('+', "%20"),
            quoted,
            hex.to_uppercase(),
            hex,
        ];
        for before in 0..3 {
            forms.extend(in_base64(text.as_bytes(), before, |bytes| STANDARD_NO_PAD.encode(bytes)));
            forms.extend(in_base64(text.as_bytes(), before, |bytes| URL_SAFE_NO_PAD.encode(bytes)));
        }
        forms.retain(|form| form.len() >= SHORTEST_FORM && form != text);
        forms.push(text.to_owned());
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Secret { text: text.to_owned(), forms }
    }
}

/// `%2F` as `%2f`.
fn lower_escapes(quoted: &str) -> String {
    let mut out = String::with_capacity(quoted.len());
    let mut inside = 0;
    for c in quoted.chars() {
        inside = if c == '%' { 3 } else { usize::saturating_sub(inside, 1) };
        out.push(if inside > 0 { c.to_ascii_lowercase() } else { c });
    }
    out
}

/// What base64 makes of these bytes behind `before` others (modulo three), without the characters at both ends in which
/// their neighbours have a part.
fn in_base64(bytes: &[u8], before: usize, encode: impl Fn(&[u8]) -> String) -> Option<String> {
    let padded: Vec<u8> = std::iter::repeat_n(0, before).chain(bytes.iter().copied()).collect();
    let (shared, whole) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
    encode(&padded).get(shared..whole).map(str::to_owned)
}

impl Secrets {
    /// Adds a text.
    pub fn add(&mut self, secret: &str) {
        let secret = secret.trim();
        if secret.len() < SHORTEST {
            if !secret.is_empty() && !self.short.iter().any(|s| s == secret) {
                self.short.push(secret.to_owned());
            }
        } else if !self.known.iter().any(|s| s.text == secret) {
            self.known.push(Secret::of(secret));
            self.known.sort_by_key(|s| std::cmp::Reverse(s.text.len()));
        }
    }

    /// Adds a token that came during the run.
    pub fn learn(&mut self, token: &str) {
        if self.known.iter().any(|s| s.text == token) {
            return;
        }
        self.add(token);
        if token.len() >= SHORTEST {
            self.learned.push_back(token.into());
        }
        if self.learned.len() > LEARNED
            && let Some(oldest) = self.learned.pop_front()
        {
            self.known.retain(|s| s.text != oldest);
        }
    }

    /// `text` for people: every secret is replaced, also where it is encoded as in a URL, JSON, base64 or hexadecimal
    /// digits, and control characters are written as escapes.
    pub fn hide(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for secret in &self.known {
            for form in &secret.forms {
                if out.contains(form.as_str()) {
                    out = out.replace(form.as_str(), HIDDEN);
                }
            }
            hide_beginning(&mut out, &secret.text);
            secret.forms.iter().for_each(|form| hide_cut_off(&mut out, form));
        }
        match visible(&out) {
            Cow::Borrowed(_) => out,
            Cow::Owned(visible) => visible,
        }
    }

    /// A vendor's text before it is quoted or cut: also secrets of one to four characters are replaced, where they are
    /// words. In texts of dripfeed's own such words are others.
    pub fn hide_in_quote(&self, text: &str) -> String {
        let mut out = self.hide(text);
        for secret in &self.short {
            let mut from = 0;
            while let Some(at) = out[from..].find(secret.as_str()).map(|at| from + at) {
                let end = at + secret.len();
                let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
                if inside(out[..at].chars().next_back()) || inside(out[end..].chars().next()) {
                    from = end;
                } else {
                    out.replace_range(at..end, HIDDEN);
                    from = at + HIDDEN.len();
                }
            }
        }
        out
    }

    /// Does the text contain a secret as it is?
    pub fn is_in(&self, text: &[u8]) -> bool {
        self.known.iter().any(|secret| memchr::memmem::find(text, secret.text.as_bytes()).is_some())
    }

    /// Adds every text of the config with the name of a credential: a manifest without a specification marks none.
    pub fn add_named(&mut self, config: &Json) {
        match config {
            Json::Object(map) => {
                for (name, value) in map {
                    match value {
                        Json::String(text) if names_credential(name) => self.add(text),
                        value => self.add_named(value),
                    }
                }
            }
            Json::Array(items) => items.iter().for_each(|item| self.add_named(item)),
            _ => {}
        }
    }

    /// Adds every value that `schema` marks `airbyte_secret`.
    pub fn add_marked(&mut self, config: &Json, schema: &Json) {
        for (_, secret) in marked(config, schema) {
            self.add(&secret);
        }
    }
}

/// Words in the names of fields with credentials, in lower case.
const CREDENTIALS: [&str; 9] =
    ["token", "secret", "password", "passwd", "api_key", "apikey", "api-key", "signature", "authorization"];
/// Words in the names of fields for paging, which are no credentials although they have such a word.
const PAGING: [&str; 5] = ["page", "next", "cursor", "continu", "sync"];

/// Is a field with this name likely to hold a credential?
pub fn names_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    (has(&CREDENTIALS) || ["key", "auth", "sig"].contains(&name.as_str())) && !has(&PAGING)
}

/// Every value that `schema` marks `airbyte_secret`, with its path.
pub fn marked(config: &Json, schema: &Json) -> Vec<(String, String)> {
    fn walk(config: &Json, schema: &Json, path: &str, out: &mut Vec<(String, String)>) {
        if schema["airbyte_secret"] == Json::Bool(true) && !config.is_null() {
            out.push((path.to_owned(), config.as_str().map_or_else(|| config.to_string(), str::to_owned)));
        }
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            walk(&config[name.as_str()], inner, &below, out);
        }
        for item in config.as_array().into_iter().flatten() {
            walk(item, &schema["items"], path, out);
        }
        for choice in ["oneOf", "anyOf", "allOf"] {
            for inner in schema[choice].as_array().into_iter().flatten() {
                walk(config, inner, path, out);
            }
        }
    }
    let mut out = Vec::new();
    walk(config, schema, "", &mut out);
    out
}

/// Replaces what a text that was cut short still shows of a secret.
fn hide_beginning(text: &mut String, secret: &str) {
    let Some((length, _)) = secret.char_indices().nth(BEGINNING) else { return };
    let mut from = 0;
    while let Some(found) = text[from..].find(&secret[..length]).map(|at| from + at) {
        let same = text[found..].chars().zip(secret.chars()).take_while(|(a, b)| a == b);
        let end = found + same.map(|(c, _)| c.len_utf8()).sum::<usize>();
        text.replace_range(found..end, HIDDEN);
        from = found + HIDDEN.len();
    }
}

/// Replaces the beginning of a form at the end of a text, where it was cut off.
fn hide_cut_off(text: &mut String, form: &str) {
    let end = text.trim_end_matches('…').len();
    let longest = form.len().min(end);
    for length in (CUT_OFF..longest).rev() {
        if form.is_char_boundary(length) && text[..end].ends_with(&form[..length]) {
            text.replace_range(end - length..end, HIDDEN);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::{Secrets, names_credential};

    fn secrets(texts: &[&str]) -> Secrets {
        let mut out = Secrets::default();
        for text in texts {
            out.add(text);
        }
        out
    }

    #[test]
    fn a_secret_is_hidden_in_each_form_and_at_any_place_of_base64() {
        let secret = "k3y/with+\"odd\" ones";
        let hide = |text: &str| secrets(&[secret]).hide(text);
        for before in ["", "u", "us", "user:"] {
            for after in ["", ":", "::", ":::"] {
                let all = STANDARD.encode(format!("{before}{secret}{after}"));
                let shown = hide(&format!("Basic {all}."));
                assert!(shown.contains("****"), "{shown}");
                // What is left is what the neighbours have a part in.
                assert!(shown.len() < "Basic ****.".len() + before.len() * 4 / 3 + after.len() * 4 / 3 + 10, "{shown}");
            }
        }
        let hex: String = secret.bytes().map(|b| format!("{b:02X}")).collect();
        for form in
            [hex.as_str(), "k3y%2Fwith%2B%22odd%22+ones", "k3y%2fwith%2b%22odd%22%20ones", r#"k3y\/with+\"odd\" ones"#]
        {
            assert_eq!(hide(&format!("is {form}, or")), "is ****, or");
        }
        assert_eq!(hide("cut: k3y/with+\"o…"), "cut: ****…");
    }

    #[test]
    fn short_secrets_are_hidden_as_words_and_only_in_quotes() {
        let secrets = secrets(&["a1", "7"]);
        assert_eq!(secrets.hide("7 records, a1"), "7 records, a1");
        assert_eq!(secrets.hide_in_quote("token 'a1' or 7, not 17 or ba1"), "token '****' or ****, not 17 or ba1");
    }

    #[test]
    fn control_characters_reach_nobody() {
        let shown = Secrets::default().hide("a\u{1b}[31m\u{7}\u{0}b\u{9b}c\u{202e}d\r\ne\tf");
        assert_eq!(shown, r"a\u{1b}[31m\u{7}\u{0}b\u{9b}c\u{202e}d".to_owned() + "\ne\tf");
    }

    #[test]
    fn credentials_are_known_by_name_and_page_tokens_are_none() {
        for name in ["api_key", "access_token", "X-Api-Key", "client_secret", "key"] {
            assert!(names_credential(name), "{name}");
        }
        for name in ["page_token", "nextPageToken", "next_token", "sync_token", "sort_key", "limit"] {
            assert!(!names_credential(name), "{name}");
        }
    }
}
