//! Detects a template that looks up something that does not exist.
//!
//! Input: a parsed template and its variables. Output: true if its value is a lookup that finds nothing; a null value
//! counts as found. Called where an author's typo would look like the end of a vendor's pages.

use super::ast::{Expr, Stmt};
use super::eval::Frame;
use super::{Error, Scope, Value};

/// Is the template a single lookup that finds nothing?
pub(super) fn finds_nothing(body: &[Stmt], scope: &dyn Scope) -> bool {
    let mut parts = body.iter().filter(|stmt| !matches!(stmt, Stmt::Text(text) if text.trim().is_empty()));
    match (parts.next(), parts.next()) {
        (Some(Stmt::Output(expr)), None) => is_absent(expr, scope),
        _ => false,
    }
}

fn is_absent(expr: &Expr, scope: &dyn Scope) -> bool {
    match expr {
        Expr::Name(_) | Expr::Attr(..) | Expr::Item(..) => {
            matches!(Frame::new(scope).eval(expr), Ok(Value::Undefined(_)) | Err(Error::Undefined(_)))
        }
        Expr::Call(method, (args, _)) => match (&**method, args.first()) {
            (Expr::Attr(of, name), Some(key)) if name == "get" => {
                if is_absent(of, scope) {
                    return true;
                }
                let (mut of_frame, mut key_frame) = (Frame::new(scope), Frame::new(scope));
                match (of_frame.eval(of), key_frame.eval(key)) {
                    (Ok(of), Ok(key)) => of.is_dict() && of.entry(&key).is_none(),
                    _ => false,
                }
            }
            _ => false,
        },
        Expr::Filter(of, ..) | Expr::Or(of, _) => is_absent(of, scope),
        _ => false,
    }
}
