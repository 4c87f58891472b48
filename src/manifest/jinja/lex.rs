//! The lexer: splits a template into pieces and tokens.
//!
//! Input: the text of a template. Output: its pieces, with tags as tokens. Called by [`super::parse`].

use super::parse::{Parsed, syntax};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Name(String),
    Int(i128),
    Float(f64),
    Str(String),
    Sym(&'static str),
}

pub(super) enum Piece {
    Text(String),
    Output(Vec<Token>),
    Tag(Vec<Token>),
}

/// Splits a template into text and tags.
pub(super) fn split(mut rest: &str) -> Parsed<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut strip_next = false;
    loop {
        let open =
            rest.char_indices().find(|(i, c)| *c == '{' && rest[i + 1..].starts_with(['{', '%', '#'])).map(|(i, _)| i);
        let text = &rest[..open.unwrap_or(rest.len())];
        let mut text = if strip_next { text.trim_start() } else { text };
        let Some(open) = open else {
            if !text.is_empty() {
                pieces.push(Piece::Text(text.into()));
            }
            return Ok(pieces);
        };
        let kind = rest.as_bytes()[open + 1];
        let mut inner = &rest[open + 2..];
        if let Some(after) = inner.strip_prefix('-') {
            text = text.trim_end();
            inner = after;
        } else if let Some(after) = inner.strip_prefix('+') {
            inner = after;
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.into()));
        }
        let close = match kind {
            b'{' => "}}",
            b'%' => "%}",
            _ => "#}",
        };
        if kind == b'#' {
            let end = inner.find(close).ok_or_else(|| syntax("a comment `{#` is not closed"))?;
            strip_next = inner[..end].ends_with('-');
            rest = &inner[end + 2..];
            continue;
        }
        let (tokens, used, strip) = lex(inner, close)?;
        strip_next = strip;
        rest = &inner[used..];
        if kind == b'{' {
            pieces.push(Piece::Output(tokens));
        } else if tokens == [Token::Name("raw".into())] {
            let (body, after) = raw_end(rest)?;
            pieces.push(Piece::Text(if strip { body.trim_start() } else { body }.into()));
            rest = after;
            strip_next = false;
        } else {
            pieces.push(Piece::Tag(tokens));
        }
    }
}

/// The text up to `{% endraw %}`, and the rest after it.
fn raw_end(rest: &str) -> Parsed<(&str, &str)> {
    let mut from = 0;
    while let Some(at) = rest[from..].find("{%") {
        let open = from + at;
        let inner = &rest[open + 2..];
        if let Some(end) = inner.find("%}")
            && inner[..end].trim_matches(['-', '+', ' ']) == "endraw"
        {
            return Ok((&rest[..open], &inner[end + 2..]));
        }
        from = open + 2;
    }
    Err(syntax("`{% raw %}` is not closed"))
}

const SYMBOLS: [&str; 25] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "(", ")", "[", "]", "{", "}", ",", ":", ".", "|",
    "=", "<", ">",
];

/// Tokens up to `close`; also their length in bytes, and whether the tag ends in `-`.
fn lex(source: &str, close: &str) -> Parsed<(Vec<Token>, usize, bool)> {
    let mut tokens = Vec::new();
    let mut open_brackets = 0usize;
    let mut at = 0;
    loop {
        let rest = &source[at..];
        let Some(c) = rest.chars().next() else {
            return Err(syntax(format!("`{close}` is missing")));
        };
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        if open_brackets == 0 {
            if rest.starts_with(close) {
                return Ok((tokens, at + 2, false));
            }
            if rest.strip_prefix('-').or(rest.strip_prefix('+')).is_some_and(|r| r.starts_with(close)) {
                return Ok((tokens, at + 3, c == '-'));
            }
        }
        if c.is_alphabetic() || c == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(Token::Name(rest[..end].into()));
            at += end;
        } else if c.is_ascii_digit() {
            let (token, used) = lex_number(rest)?;
            tokens.push(token);
            at += used;
        } else if c == '\'' || c == '"' {
            let (text, used) = lex_string(rest, c)?;
            tokens.push(Token::Str(text));
            at += used;
        } else if let Some(symbol) = SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
            match *symbol {
                "(" | "[" | "{" => open_brackets += 1,
                ")" | "]" | "}" => {
                    open_brackets =
                        open_brackets.checked_sub(1).ok_or_else(|| syntax(format!("unexpected `{symbol}`")))?;
                }
                _ => {}
            }
            tokens.push(Token::Sym(symbol));
            at += symbol.len();
        } else {
            return Err(syntax(format!("unexpected character `{c}`")));
        }
    }
}

fn lex_number(rest: &str) -> Parsed<(Token, usize)> {
    let bad = || syntax("a number that Jinja does not know");
    for (prefix, radix) in [("0x", 16), ("0b", 2), ("0o", 8)] {
        if rest.to_ascii_lowercase().starts_with(prefix) {
            let end = rest[2..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(rest.len(), |i| i + 2);
            let digits = rest[2..end].replace('_', "");
            return Ok((Token::Int(i128::from_str_radix(&digits, radix).map_err(|_| bad())?), end));
        }
    }
    let bytes = rest.as_bytes();
    let run = |mut i: usize| {
        while i < bytes.len() && (bytes[i].is_ascii_digit() || bytes[i] == b'_') {
            i += 1;
        }
        i
    };
    let mut end = run(0);
    let mut float = false;
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        float = true;
        end = run(end + 1);
    }
    if bytes.get(end).is_some_and(|b| *b | 32 == b'e') {
        let sign = usize::from(bytes.get(end + 1).is_some_and(|b| *b == b'+' || *b == b'-'));
        if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
            float = true;
            end = run(end + 1 + sign);
        }
    }
    let digits = rest[..end].replace('_', "");
    let token = if float {
        Token::Float(digits.parse().map_err(|_| bad())?)
    } else {
        Token::Int(digits.parse().map_err(|_| bad())?)
    };
    Ok((token, end))
}

fn lex_string(rest: &str, quote: char) -> Parsed<(String, usize)> {
    let mut out = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        if c == quote {
            return Ok((out, i + c.len_utf8()));
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        let Some((_, escaped)) = chars.next() else { break };
        match escaped {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            '\n' => {}
            'x' | 'u' => {
                let digits: String = chars.by_ref().take(if escaped == 'x' { 2 } else { 4 }).map(|(_, c)| c).collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                out.push(code.ok_or_else(|| syntax("a text with a broken escape"))?);
            }
            '\\' | '\'' | '"' => out.push(escaped),
            other => {
                out.push('\\');
                out.push(other);
            }
        }
    }
    Err(syntax("a string is not closed"))
}
