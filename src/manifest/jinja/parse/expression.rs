//! The grammar inside a tag: from tokens to an expression.
//!
//! Input: tokens. Output: an [`Expr`], or a syntax error. Called by the parser of statements. Each method is a level
//! of precedence, loosest first.

use super::{MAX_DEPTH, Parsed, syntax};
use crate::manifest::jinja::ast::{Args, Cmp, Expr, Op};
use crate::manifest::jinja::lex::Token;

/// The maximum number of operators, filters and steps in one expression: far more than any real one has.
const MAX_LINKS: usize = 500;

/// The tokens of one tag, consumed from the left.
pub(super) struct Tokens {
    list: Vec<Token>,
    at: usize,
    depth: usize,
    /// Operators, filters and steps so far: each adds a level to the tree.
    links: usize,
}

impl Tokens {
    pub(super) fn new(list: Vec<Token>) -> Self {
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

    pub(super) fn expect(&mut self, symbol: &str) -> Parsed<()> {
        if self.take(symbol) { Ok(()) } else { Err(syntax(format!("expected `{symbol}`{}", self.near()))) }
    }

    fn is_keyword(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(n)) if n == word)
    }

    pub(super) fn take_keyword(&mut self, word: &str) -> bool {
        let found = self.is_keyword(word);
        self.at += usize::from(found);
        found
    }

    pub(super) fn keyword(&mut self, word: &str) -> Parsed<()> {
        if self.take_keyword(word) { Ok(()) } else { Err(syntax(format!("expected `{word}`{}", self.near()))) }
    }

    pub(super) fn name(&mut self) -> Parsed<String> {
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
            Some(Token::Str(_)) => ", found a string".into(),
            None => ", found the end of the tag".into(),
        }
    }

    pub(super) fn end(&self) -> Parsed<()> {
        if self.peek().is_none() { Ok(()) } else { Err(syntax(format!("expected the end of the tag{}", self.near()))) }
    }

    pub(super) fn targets(&mut self) -> Parsed<Vec<String>> {
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

    /// An expression, or several separated by commas: a tuple.
    pub(super) fn tuple(&mut self) -> Parsed<Expr> {
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

    pub(super) fn expr(&mut self) -> Parsed<Expr> {
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

    pub(super) fn or(&mut self) -> Parsed<Expr> {
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

    /// Items separated by commas, up to `close`.
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
                // A key may be a tuple, which JSON does not have.
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

    /// Can the next token be the argument of a test without parentheses?
    fn starts_operand(&self) -> bool {
        match self.peek() {
            Some(Token::Name(n)) => !["else", "or", "and", "is", "if", "in", "not"].contains(&n.as_str()),
            Some(Token::Int(_) | Token::Float(_) | Token::Str(_) | Token::Sym("[" | "{")) => true,
            _ => false,
        }
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
                } else if self.starts_operand() {
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
