//! The parser: Jinja's grammar, from text to a tree.
//!
//! Input: the text of a template. Output: its statements and expressions, or a syntax error. Called once per
//! template, by [`super::JinjaTemplate::parse`]. The grammar and precedences are those of Jinja2's parser; `range`,
//! imports, macros and blocks are not supported.

mod expression;

use super::Error;
use super::ast::{ForLoop, Stmt};
use super::lex::{Piece, split};
use expression::Tokens;

pub(super) type Parsed<T> = Result<T, Error>;

pub(super) fn syntax(message: impl Into<String>) -> Error {
    Error::Syntax(message.into())
}

/// The maximum nesting of expressions and blocks.
const MAX_DEPTH: usize = 100;

/// Splits a template into text and tags, then parses the tags.
pub(super) fn parse(source: &str) -> Parsed<Vec<Stmt>> {
    // Jinja drops one trailing newline of a template.
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut blocks = Blocks { pieces: split(source)?, at: 0, depth: 0 };
    let (body, end) = blocks.body(&[])?;
    debug_assert!(end.is_none());
    Ok(body)
}

struct Blocks {
    pieces: Vec<Piece>,
    at: usize,
    depth: usize,
}

impl Blocks {
    /// Statements up to one of the tags in `ends`; also that tag, unparsed.
    fn body(&mut self, ends: &[&str]) -> Parsed<(Vec<Stmt>, Option<(String, Tokens)>)> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(syntax("blocks are nested too deeply"));
        }
        let mut out = Vec::new();
        while self.at < self.pieces.len() {
            let piece = std::mem::replace(&mut self.pieces[self.at], Piece::Text(String::new()));
            self.at += 1;
            match piece {
                Piece::Text(text) => out.push(Stmt::Text(text)),
                Piece::Output(tokens) => {
                    let mut tokens = Tokens::new(tokens);
                    out.push(Stmt::Output(tokens.tuple()?));
                    tokens.end()?;
                }
                Piece::Tag(tokens) => {
                    let mut tokens = Tokens::new(tokens);
                    let tag = tokens.name().map_err(|_| syntax("a tag `{% %}` needs a name"))?;
                    if ends.contains(&tag.as_str()) {
                        self.depth -= 1;
                        return Ok((out, Some((tag, tokens))));
                    }
                    out.push(self.tag(&tag, tokens)?);
                }
            }
        }
        if !ends.is_empty() {
            return Err(syntax(format!("a block is not closed: expected `{{% {} %}}`", ends[ends.len() - 1])));
        }
        self.depth -= 1;
        Ok((out, None))
    }

    fn tag(&mut self, tag: &str, mut tokens: Tokens) -> Parsed<Stmt> {
        match tag {
            "if" => self.if_tag(tokens),
            "for" => self.for_tag(tokens),
            "set" => {
                let names = tokens.targets()?;
                tokens.expect("=")?;
                let value = tokens.tuple()?;
                tokens.end()?;
                Ok(Stmt::Set { names, value })
            }
            other => Err(syntax(format!("unknown tag `{other}`"))),
        }
    }

    fn if_tag(&mut self, mut tokens: Tokens) -> Parsed<Stmt> {
        let mut arms = Vec::new();
        loop {
            let condition = tokens.tuple()?;
            tokens.end()?;
            let (body, end) = self.body(&["elif", "else", "endif"])?;
            arms.push((condition, body));
            match end {
                Some((end, next)) if end == "elif" => tokens = next,
                Some((end, _)) if end == "else" => {
                    let (otherwise, _) = self.body(&["endif"])?;
                    return Ok(Stmt::If { arms, otherwise });
                }
                _ => return Ok(Stmt::If { arms, otherwise: Vec::new() }),
            }
        }
    }

    fn for_tag(&mut self, mut tokens: Tokens) -> Parsed<Stmt> {
        let names = tokens.targets()?;
        tokens.keyword("in")?;
        let over = tokens.or()?;
        let only = if tokens.take_keyword("if") { Some(tokens.expr()?) } else { None };
        tokens.end()?;
        let (body, end) = self.body(&["else", "endfor"])?;
        let otherwise = match end {
            Some((end, _)) if end == "else" => self.body(&["endfor"])?.0,
            _ => Vec::new(),
        };
        Ok(Stmt::For(ForLoop { names, over, only, body, otherwise }))
    }
}
