//! Python's `ast.literal_eval`, for the output of templates.
//!
//! Input: rendered text. Output: its value as a Python literal, or `None` if it is not a literal and stays text. This
//! determines types on the wire: `"12"` is a number, `"012"` is not.

use super::Value;

/// The maximum nesting of a literal.
const MAX_DEPTH: usize = 90;

/// The literal in `text`, if the whole text is one.
pub fn literal<'a>(text: &str) -> Option<Value<'a>> {
    // Fast rejections first: nearly no text is a literal.
    let body = text.trim_start_matches([' ', '\t']);
    let first = body.bytes().next()?;
    if !(first.is_ascii_digit() || b"'\"([{+-.".contains(&first) || b"NTFbBrRuU".contains(&first)) {
        return None;
    }
    let mut reader = Reader { text: body, at: 0, depth: 0, nested: 0, made: std::marker::PhantomData };
    let value = reader.tuple()?;
    reader.blanks();
    // A comment or line break may follow.
    let rest = reader.rest().trim_start_matches(['\n', '\r', ' ', '\t', '\u{c}']);
    (rest.is_empty() || rest.starts_with('#')).then_some(value)
}

/// Is `text` a list or object with the same characters as the JSON of `value`, except blanks and quotes? Then both
/// have the same meaning for every reader.
pub fn spells(value: &Value<'_>, text: &str) -> bool {
    if !(value.is_dict() || value.type_name() == "list") {
        return false;
    }
    if serde_json::from_str::<serde_json::Value>(text).is_ok_and(|json| json == value.to_json()) {
        return true;
    }
    let bare = |text: &str| -> String {
        text.chars().filter(|c| !c.is_whitespace()).map(|c| if c == '"' { '\'' } else { c }).collect()
    };
    bare(&value.text()) == bare(text)
}

struct Reader<'t, 'a> {
    text: &'t str,
    at: usize,
    depth: usize,
    /// The number of open brackets: line breaks inside them are blanks.
    nested: usize,
    made: std::marker::PhantomData<Value<'a>>,
}

impl<'a> Reader<'_, 'a> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn blanks(&mut self) {
        let nested = self.nested > 0;
        let rest = self.rest();
        let trimmed =
            rest.trim_start_matches(|c| c == ' ' || c == '\t' || c == '\u{c}' || nested && (c == '\n' || c == '\r'));
        self.at += rest.len() - trimmed.len();
    }

    fn take(&mut self, c: char) -> bool {
        self.blanks();
        let found = self.rest().starts_with(c);
        self.at += if found { c.len_utf8() } else { 0 };
        found
    }

    /// `a` or `a, b` without brackets, which is a tuple.
    fn tuple(&mut self) -> Option<Value<'a>> {
        let first = self.value()?;
        if !self.take(',') {
            return Some(first);
        }
        let mut items = vec![first];
        loop {
            self.blanks();
            if self.rest().is_empty() {
                return Some(Value::tuple(items));
            }
            items.push(self.value()?);
            if !self.take(',') {
                return Some(Value::tuple(items));
            }
        }
    }

    fn value(&mut self) -> Option<Value<'a>> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        self.blanks();
        let value = match self.rest().chars().next()? {
            '(' => {
                let (items, comma) = self.items('(', ')', Self::value)?;
                if items.len() == 1 && !comma { items.into_iter().next()? } else { Value::tuple(items) }
            }
            '[' => Value::list(self.items('[', ']', Self::value)?.0),
            '{' => {
                let (pairs, _) = self.items('{', '}', |r| {
                    let key = r.value()?;
                    let value = if r.take(':') { Some(r.value()?) } else { None };
                    Some((key, value))
                })?;
                if pairs.iter().all(|(_, v)| v.is_some()) {
                    if pairs.iter().any(|(k, _)| k.is_dict() || k.type_name() == "list") {
                        return None;
                    }
                    Value::dict(pairs.into_iter().filter_map(|(k, v)| Some((k, v?))).collect())
                } else if pairs.iter().all(|(_, v)| v.is_none()) {
                    // JSON has no set; a list keeps the items.
                    Value::list(pairs.into_iter().map(|(k, _)| k).collect())
                } else {
                    return None;
                }
            }
            '+' | '-' => {
                let negative = self.rest().starts_with('-');
                self.at += 1;
                self.blanks();
                if !self.rest().starts_with(|c: char| c.is_ascii_digit() || c == '.') {
                    return None;
                }
                match (self.number()?, negative) {
                    (Value::Int(i), true) => Value::Int(i.checked_neg()?),
                    (Value::Float(f), true) => Value::Float(-f),
                    (value @ (Value::Int(_) | Value::Float(_)), false) => value,
                    _ => return None,
                }
            }
            c if c.is_ascii_digit() || c == '.' => self.number()?,
            _ => self.word()?,
        };
        self.depth -= 1;
        Some(value)
    }

    fn items<T>(&mut self, open: char, close: char, item: impl Fn(&mut Self) -> Option<T>) -> Option<(Vec<T>, bool)> {
        self.take(open);
        self.nested += 1;
        let (mut out, mut comma) = (Vec::new(), false);
        while !self.take(close) {
            if !out.is_empty() && !comma {
                return None;
            }
            out.push(item(self)?);
            comma = self.take(',');
        }
        self.nested -= 1;
        Some((out, comma))
    }

    fn number(&mut self) -> Option<Value<'a>> {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        if bytes[0] == b'0' && bytes.len() > 1 && b"xXoObB".contains(&bytes[1]) {
            let radix = match bytes[1] | 32 {
                b'x' => 16,
                b'o' => 8,
                _ => 2,
            };
            let end = rest[2..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(rest.len(), |i| i + 2);
            let digits = rest[2..end].trim_start_matches('_');
            let value = i128::from_str_radix(&ungroup(digits)?, radix).ok()?;
            self.at += end;
            return Some(Value::Int(value));
        }
        let run = |mut i: usize| {
            while i < bytes.len() && (bytes[i].is_ascii_digit() || bytes[i] == b'_') {
                i += 1;
            }
            i
        };
        let whole = run(0);
        let mut end = whole;
        let mut float = false;
        if bytes.get(end) == Some(&b'.') {
            float = true;
            end = run(end + 1);
            if end == 1 {
                return None;
            }
        }
        if bytes.get(end).is_some_and(|b| b | 32 == b'e') {
            let sign = usize::from(bytes.get(end + 1).is_some_and(|b| *b == b'+' || *b == b'-'));
            if !bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
                return None;
            }
            float = true;
            end = run(end + 1 + sign);
        }
        // `1a` and `1j` are not supported as numbers.
        if rest[end..].starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            return None;
        }
        let text = &rest[..end];
        let value = if float {
            let clean: Vec<String> =
                text.split(['.', 'e', 'E', '+', '-']).filter(|p| !p.is_empty()).map(ungroup).collect::<Option<_>>()?;
            if clean.is_empty() {
                return None;
            }
            // A number that is too large is not a literal: JSON has no infinity.
            Value::Float(text.replace('_', "").parse().ok().filter(|number: &f64| number.is_finite())?)
        } else {
            let digits = ungroup(text)?;
            if digits.len() > 1 && digits.starts_with('0') && digits.bytes().any(|b| b != b'0') {
                return None;
            }
            match digits.parse() {
                Ok(i) => Value::Int(i),
                Err(_) => return None,
            }
        };
        self.at += end;
        Some(value)
    }

    /// `None`, `True`, `False` or texts; adjacent texts are concatenated.
    fn word(&mut self) -> Option<Value<'a>> {
        for (word, value) in [("None", Value::None), ("True", Value::Bool(true)), ("False", Value::Bool(false))] {
            if let Some(after) = self.rest().strip_prefix(word)
                && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_')
            {
                self.at += word.len();
                return Some(value);
            }
        }
        let mut out = self.string()?;
        loop {
            self.blanks();
            match self.string() {
                Some(more) => out.push_str(&more),
                None => return Some(Value::Str(out.into())),
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        let rest = self.rest();
        let prefix = rest.find(['\'', '"']).filter(|i| *i <= 1)?;
        let raw = match rest[..prefix].to_ascii_lowercase().as_str() {
            "" | "u" => false,
            "r" => true,
            _ => return None,
        };
        let body = &rest[prefix..];
        let quote = body.chars().next()?;
        let triple: String = std::iter::repeat_n(quote, 3).collect();
        let long = body.starts_with(&triple);
        let close = if long { triple } else { quote.to_string() };
        let mut out = String::new();
        let mut at = close.len();
        loop {
            let tail = body.get(at..)?;
            if tail.starts_with(&close) {
                self.at += prefix + at + close.len();
                return Some(out);
            }
            let c = tail.chars().next()?;
            at += c.len_utf8();
            if c == '\n' && !long {
                return None;
            }
            if c != '\\' || raw {
                out.push(c);
                if c == '\\' {
                    let next = body[at..].chars().next()?;
                    out.push(next);
                    at += next.len_utf8();
                }
                continue;
            }
            let escaped = body[at..].chars().next()?;
            at += escaped.len_utf8();
            let digits = |n: usize, radix: u32| {
                let text = body.get(at..at + n)?;
                char::from_u32(u32::from_str_radix(text, radix).ok()?)
            };
            match escaped {
                '\n' => {}
                '\\' | '\'' | '"' => out.push(escaped),
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                'a' => out.push('\u{7}'),
                'b' => out.push('\u{8}'),
                'f' => out.push('\u{c}'),
                'v' => out.push('\u{b}'),
                'x' | 'u' | 'U' => {
                    let n = match escaped {
                        'x' => 2,
                        'u' => 4,
                        _ => 8,
                    };
                    out.push(digits(n, 16)?);
                    at += n;
                }
                '0'..='7' => {
                    let n = body[at - 1..].bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
                    out.push(char::from_u32(u32::from_str_radix(&body[at - 1..at - 1 + n], 8).ok()?)?);
                    at += n - 1;
                }
                other => {
                    out.push('\\');
                    out.push(other);
                }
            }
        }
    }
}

/// Digits without `_`, which is valid only between two digits.
fn ungroup(text: &str) -> Option<String> {
    let fine = !text.is_empty() && !text.starts_with('_') && !text.ends_with('_') && !text.contains("__");
    fine.then(|| text.replace('_', ""))
}
