//! The tree of a parsed template.
//!
//! Input: none; these are types. Output: statements and expressions. Created by `parse`, evaluated by `eval` and
//! `names`.

/// A piece of a template.
#[derive(Debug, Clone)]
pub(super) enum Stmt {
    Text(String),
    Output(Expr),
    If { arms: Vec<(Expr, Vec<Stmt>)>, otherwise: Vec<Stmt> },
    Set { names: Vec<String>, value: Expr },
    For(ForLoop),
}

/// `{% for names in over if only %} body {% else %} otherwise {% endfor %}`.
#[derive(Debug, Clone)]
pub(super) struct ForLoop {
    pub(super) names: Vec<String>,
    pub(super) over: Expr,
    pub(super) only: Option<Expr>,
    pub(super) body: Vec<Stmt>,
    pub(super) otherwise: Vec<Stmt>,
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

impl Expr {
    /// Does it return an existing value unchanged?
    pub(super) fn looks_up(&self) -> bool {
        match self {
            Expr::Name(_) | Expr::Attr(..) | Expr::Item(..) => true,
            Expr::Call(of, _) => matches!(&**of, Expr::Attr(_, method) if method == "get"),
            Expr::Filter(_, name, _) => matches!(name.as_str(), "first" | "last"),
            _ => false,
        }
    }
}
