//! Jinja's grammar: text to a tree.
//!
//! Comes in: the text of a template. Goes out: its statements and expressions, or what is wrong
//! with them. Called once a template, by [`super::Template::parse`]. The grammar and its precedences are
//! those of Jinja2's parser; `range`, imports, macros and blocks do not exist here.

use super::Error;
use super::lex::{Piece, Token, split};

/// A piece of a template.
#[derive(Debug, Clone)]
pub(super) enum Stmt {
    Text(String),
    Output(Expr),
    If { arms: Vec<(Expr, Vec<Stmt>)>, otherwise: Vec<Stmt> },
    Set { names: Vec<String>, value: Expr },
    For { names: Vec<String>, over: Expr, only: Option<Expr>, body: Vec<Stmt>, otherwise: Vec<Stmt> },
}

/// An operator between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Rem,
    Pow,
    Concat,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

/// Arguments of a call: by position, then by name.
pub(super) type Args = (Vec<Expr>, Vec<(String, Expr)>);

/// An expression.
#[derive(Debug, Clone)]
pub(super) enum Expr {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(String),
    Name(String),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Attr(Box<Expr>, String),
    Item(Box<Expr>, Box<Expr>),
    Slice(Box<Expr>, [Option<Box<Expr>>; 3]),
    Call(Box<Expr>, Args),
    Filter(Box<Expr>, String, Args),
    Test(Box<Expr>, String, Args, bool),
    Neg(Box<Expr>),
    Pos(Box<Expr>),
    Not(Box<Expr>),
    Binary(Op, Box<Expr>, Box<Expr>),
    Compare(Box<Expr>, Vec<(Cmp, Expr)>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    If(Box<Expr>, Box<Expr>, Option<Box<Expr>>),
}

pub(super) type Parsed<T> = Result<T, Error>;

pub(super) fn syntax(message: impl Into<String>) -> Error {
    Error::Syntax(message.into())
}

/// Most operators, filters and steps of one expression: far more than any real one has.
const MAX_LINKS: usize = 500;
/// Deepest nesting of expressions and blocks.
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
            "if" => {
                let mut arms = Vec::new();
                let mut condition = tokens.tuple()?;
                tokens.end()?;
                loop {
                    let (body, end) = self.body(&["elif", "else", "endif"])?;
                    arms.push((condition, body));
                    match end {
                        Some((end, mut tokens)) if end == "elif" => {
                            condition = tokens.tuple()?;
                            tokens.end()?;
                        }
                        Some((end, _)) if end == "else" => {
                            let (otherwise, _) = self.body(&["endif"])?;
                            return Ok(Stmt::If { arms, otherwise });
                        }
                        _ => return Ok(Stmt::If { arms, otherwise: Vec::new() }),
                    }
                }
            }
            "set" => {
                let names = tokens.targets()?;
                tokens.expect("=")?;
                let value = tokens.tuple()?;
                tokens.end()?;
                Ok(Stmt::Set { names, value })
            }
            "for" => {
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
                Ok(Stmt::For { names, over, only, body, otherwise })
            }
            other => Err(syntax(format!("unknown tag `{other}`"))),
        }
    }
}

struct Tokens {
    list: Vec<Token>,
    at: usize,
    depth: usize,
    /// Operators, filters and steps so far: each makes the tree one deeper.
    links: usize,
}

impl Tokens {
    fn new(list: Vec<Token>) -> Self {
        Tokens { list, at: 0, depth: 0, links: 0 }
    }

    fn peek(&self) -> Option<&Token> {
        self.list.get(self.at)
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.peek(), Some(Token::Sym(s)) if *s == symbol)
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str) -> Parsed<()> {
        if self.take(symbol) { Ok(()) } else { Err(syntax(format!("expected `{symbol}`{}", self.near()))) }
    }

    fn is_keyword(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(n)) if n == word)
    }

    fn take_keyword(&mut self, word: &str) -> bool {
        let found = self.is_keyword(word);
        self.at += usize::from(found);
        found
    }

    fn keyword(&mut self, word: &str) -> Parsed<()> {
        if self.take_keyword(word) { Ok(()) } else { Err(syntax(format!("expected `{word}`{}", self.near()))) }
    }

    fn name(&mut self) -> Parsed<String> {
        if let Some(Token::Name(name)) = self.peek() {
            let name = name.clone();
            self.at += 1;
            return Ok(name);
        }
        Err(syntax(format!("expected a name{}", self.near())))
    }

    /// Counts one more link of a chain.
    fn link(&mut self) -> Parsed<()> {
        self.links += 1;
        if self.links > MAX_LINKS { Err(syntax("the expression is too long")) } else { Ok(()) }
    }

    fn near(&self) -> String {
        match self.peek() {
            Some(Token::Name(n)) => format!(", found `{n}`"),
            Some(Token::Sym(s)) => format!(", found `{s}`"),
            Some(Token::Int(i)) => format!(", found `{i}`"),
            Some(Token::Float(f)) => format!(", found `{f}`"),
            Some(Token::Str(_)) => ", found a text".into(),
            None => ", found the end of the tag".into(),
        }
    }

    fn end(&self) -> Parsed<()> {
        if self.peek().is_none() { Ok(()) } else { Err(syntax(format!("expected the end of the tag{}", self.near()))) }
    }

    fn targets(&mut self) -> Parsed<Vec<String>> {
        let bracket = self.take("(");
        let mut names = vec![self.name()?];
        while self.take(",") {
            names.push(self.name()?);
        }
        if bracket {
            self.expect(")")?;
        }
        Ok(names)
    }

    /// An expression, or several with commas between: a tuple.
    fn tuple(&mut self) -> Parsed<Expr> {
        let first = self.expr()?;
        if !self.is(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.take(",") {
            if self.peek().is_none() || self.is(")") {
                break;
            }
            items.push(self.expr()?);
        }
        Ok(Expr::Tuple(items))
    }

    fn expr(&mut self) -> Parsed<Expr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(syntax("the expression is nested too deeply"));
        }
        let mut value = self.or()?;
        while self.take_keyword("if") {
            self.link()?;
            let condition = self.or()?;
            let otherwise = if self.take_keyword("else") { Some(Box::new(self.expr()?)) } else { None };
            value = Expr::If(Box::new(condition), Box::new(value), otherwise);
        }
        self.depth -= 1;
        Ok(value)
    }

    fn or(&mut self) -> Parsed<Expr> {
        let mut left = self.and()?;
        while self.take_keyword("or") {
            self.link()?;
            left = Expr::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Parsed<Expr> {
        let mut left = self.not()?;
        while self.take_keyword("and") {
            self.link()?;
            left = Expr::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Parsed<Expr> {
        let mut times = 0usize;
        while self.take_keyword("not") {
            times += 1;
        }
        let mut value = self.compare()?;
        for _ in 0..times.min(MAX_DEPTH) {
            value = Expr::Not(Box::new(value));
        }
        Ok(value)
    }

    fn compare(&mut self) -> Parsed<Expr> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let op = match self.peek() {
                Some(Token::Sym("==")) => Cmp::Eq,
                Some(Token::Sym("!=")) => Cmp::Ne,
                Some(Token::Sym("<")) => Cmp::Lt,
                Some(Token::Sym("<=")) => Cmp::Le,
                Some(Token::Sym(">")) => Cmp::Gt,
                Some(Token::Sym(">=")) => Cmp::Ge,
                Some(Token::Name(n)) if n == "in" => Cmp::In,
                Some(Token::Name(n)) if n == "not" && self.list.get(self.at + 1) == Some(&Token::Name("in".into())) => {
                    self.at += 1;
                    Cmp::NotIn
                }
                _ => break,
            };
            self.at += 1;
            rest.push((op, self.sum()?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Compare(Box::new(first), rest) })
    }

    fn sum(&mut self) -> Parsed<Expr> {
        let mut left = self.concat()?;
        loop {
            let op = if self.take("+") {
                Op::Add
            } else if self.take("-") {
                Op::Sub
            } else {
                return Ok(left);
            };
            self.link()?;
            left = Expr::Binary(op, Box::new(left), Box::new(self.concat()?));
        }
    }

    fn concat(&mut self) -> Parsed<Expr> {
        let mut left = self.product()?;
        while self.take("~") {
            self.link()?;
            left = Expr::Binary(Op::Concat, Box::new(left), Box::new(self.product()?));
        }
        Ok(left)
    }

    fn product(&mut self) -> Parsed<Expr> {
        let mut left = self.power()?;
        loop {
            let op = match self.peek() {
                Some(Token::Sym("*")) => Op::Mul,
                Some(Token::Sym("/")) => Op::Div,
                Some(Token::Sym("//")) => Op::FloorDiv,
                Some(Token::Sym("%")) => Op::Rem,
                _ => return Ok(left),
            };
            self.at += 1;
            self.link()?;
            left = Expr::Binary(op, Box::new(left), Box::new(self.power()?));
        }
    }

    fn power(&mut self) -> Parsed<Expr> {
        let mut left = self.unary(true)?;
        while self.take("**") {
            self.link()?;
            left = Expr::Binary(Op::Pow, Box::new(left), Box::new(self.unary(true)?));
        }
        Ok(left)
    }

    fn unary(&mut self, with_filter: bool) -> Parsed<Expr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(syntax("the expression is nested too deeply"));
        }
        let value = if self.take("-") {
            Expr::Neg(Box::new(self.unary(false)?))
        } else if self.take("+") {
            Expr::Pos(Box::new(self.unary(false)?))
        } else {
            self.primary()?
        };
        let value = self.postfix(value)?;
        let value = if with_filter { self.filters(value)? } else { value };
        self.depth -= 1;
        Ok(value)
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let token = self.peek().cloned().ok_or_else(|| syntax("expected an expression"))?;
        self.at += 1;
        Ok(match token {
            Token::Name(name) => match name.as_str() {
                "true" | "True" => Expr::Bool(true),
                "false" | "False" => Expr::Bool(false),
                "none" | "None" => Expr::None,
                "in" | "is" | "if" | "else" | "and" | "or" | "not" => {
                    return Err(syntax(format!("unexpected `{name}`")));
                }
                _ => Expr::Name(name),
            },
            Token::Int(i) => Expr::Int(i),
            Token::Float(f) => Expr::Float(f),
            Token::Str(mut text) => {
                while let Some(Token::Str(more)) = self.peek() {
                    text.push_str(more);
                    self.at += 1;
                }
                Expr::Str(text)
            }
            Token::Sym("(") => {
                if self.take(")") {
                    return Ok(Expr::Tuple(Vec::new()));
                }
                let inner = self.tuple()?;
                self.expect(")")?;
                inner
            }
            Token::Sym("[") => Expr::List(self.separated("]", Tokens::expr)?),
            Token::Sym("{") => Expr::Dict(self.separated("}", |tokens| {
                let key = tokens.expr()?;
                tokens.expect(":")?;
                Ok((key, tokens.expr()?))
            })?),
            Token::Sym(s) => return Err(syntax(format!("unexpected `{s}`"))),
        })
    }

    /// Items with commas between, up to `close`.
    fn separated<T>(&mut self, close: &str, item: impl Fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = Vec::new();
        while !self.take(close) {
            if !items.is_empty() {
                self.expect(",")?;
                if self.take(close) {
                    break;
                }
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn postfix(&mut self, mut value: Expr) -> Parsed<Expr> {
        loop {
            if !(self.is(".") || self.is("[") || self.is("(")) {
                return Ok(value);
            }
            self.link()?;
            if self.take(".") {
                value = match self.peek().cloned() {
                    Some(Token::Name(name)) => Expr::Attr(Box::new(value), name),
                    Some(Token::Int(i)) => Expr::Item(Box::new(value), Box::new(Expr::Int(i))),
                    _ => return Err(syntax(format!("expected a name after `.`{}", self.near()))),
                };
                self.at += 1;
            } else if self.take("[") {
                value = self.subscript(value)?;
            } else {
                value = Expr::Call(Box::new(value), self.call_args()?);
            }
        }
    }

    fn subscript(&mut self, value: Expr) -> Parsed<Expr> {
        let mut parts = [None, None, None];
        let mut part = 0;
        while !self.is("]") {
            if self.take(":") {
                part += 1;
                if part > 2 {
                    return Err(syntax("a slice has at most three parts"));
                }
            } else {
                let mut items = vec![self.expr()?];
                while part == 0 && self.take(",") {
                    items.push(self.expr()?);
                }
                // A key may be a tuple, which no JSON has.
                let key = if items.len() == 1 { items.remove(0) } else { Expr::Tuple(items) };
                parts[part] = Some(Box::new(key));
                if !self.is("]") && !self.is(":") {
                    return Err(syntax(format!("expected `]`{}", self.near())));
                }
            }
        }
        self.expect("]")?;
        match (part, parts) {
            (0, [Some(index), _, _]) => Ok(Expr::Item(Box::new(value), index)),
            (0, _) => Err(syntax("`[]` needs an index")),
            (_, parts) => Ok(Expr::Slice(Box::new(value), parts)),
        }
    }

    fn call_args(&mut self) -> Parsed<Args> {
        self.expect("(")?;
        let mut named = Vec::new();
        let positional = self.separated(")", |tokens| {
            if let Some(Token::Name(name)) = tokens.peek().cloned()
                && tokens.list.get(tokens.at + 1) == Some(&Token::Sym("="))
            {
                tokens.at += 2;
                return Ok((Some(name), tokens.expr()?));
            }
            Ok((None, tokens.expr()?))
        })?;
        let mut plain = Vec::new();
        for (name, value) in positional {
            match name {
                Some(name) => named.push((name, value)),
                None if named.is_empty() => plain.push(value),
                None => return Err(syntax("an argument without a name follows one with a name")),
            }
        }
        Ok((plain, named))
    }

    fn filters(&mut self, mut value: Expr) -> Parsed<Expr> {
        loop {
            if !(self.is("|") || self.is_keyword("is") || self.is("(")) {
                return Ok(value);
            }
            self.link()?;
            if self.take("|") {
                let name = self.name()?;
                let args = if self.is("(") { self.call_args()? } else { Args::default() };
                value = Expr::Filter(Box::new(value), name, args);
            } else if self.take_keyword("is") {
                let negated = self.take_keyword("not");
                let name = self.name()?;
                let args = if self.is("(") {
                    self.call_args()?
                } else if matches!(self.peek(), Some(Token::Name(n)) if !["else", "or", "and", "is", "if", "in", "not"].contains(&n.as_str()))
                    || matches!(
                        self.peek(),
                        Some(Token::Int(_) | Token::Float(_) | Token::Str(_) | Token::Sym("[" | "{"))
                    )
                {
                    let argument = self.primary()?;
                    (vec![self.postfix(argument)?], Vec::new())
                } else {
                    Args::default()
                };
                value = Expr::Test(Box::new(value), name, args, negated);
            } else {
                value = Expr::Call(Box::new(value), self.call_args()?);
            }
        }
    }
}
