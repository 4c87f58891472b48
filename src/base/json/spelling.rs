//! Values of an unexpected kind that convert without loss: PHP's `[]` for an object, an empty text for no number,
//! `"true"` and `1` for a boolean.
//!
//! Input: the scanner at a value of an unexpected kind. Output: its meaning, if it is such a spelling. Called by
//! `engine::shape` (writes it) and `drift` (does not report it), so that both agree.

use super::scan::{JsonKind, Scan, Scanner};

/// The meaning of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelled {
    /// No value, like null.
    Nothing,
    /// True.
    True,
    /// False.
    False,
}

/// The expected kinds at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Objects or lists.
    pub structure: bool,
    /// Booleans.
    pub boolean: bool,
}

/// The meaning of the next value if texts are not expected. The scanner is a copy: it may stop inside the value.
pub fn spelled(scanner: &mut Scanner<'_>, wanted: Expected) -> Scan<Option<Spelled>> {
    let empty = wanted.structure.then_some(Spelled::Nothing);
    Ok(match scanner.peek()? {
        JsonKind::String => spelled_by(scanner.string()?.raw, wanted.boolean),
        JsonKind::Number => flag(scanner.number()?.raw).filter(|_| wanted.boolean),
        JsonKind::Bool => empty.filter(|_| scanner.boolean().is_ok_and(|value| !value)),
        JsonKind::Array => {
            scanner.enter()?;
            let is_empty = !scanner.element(&mut true)?;
            empty.filter(|_| is_empty)
        }
        JsonKind::Object => {
            scanner.enter()?;
            let is_empty = scanner.key(&mut true)?.is_none();
            empty.filter(|_| is_empty)
        }
        JsonKind::Null => Some(Spelled::Nothing),
    })
}

/// The meaning of a text if none is expected.
pub fn spelled_by(text: &[u8], boolean: bool) -> Option<Spelled> {
    match text {
        b"" => Some(Spelled::Nothing),
        _ if !boolean => None,
        text if text.eq_ignore_ascii_case(b"true") => Some(Spelled::True),
        text if text.eq_ignore_ascii_case(b"false") => Some(Spelled::False),
        text => flag(text),
    }
}

/// The boolean that a number stands for.
pub fn flag(number: &[u8]) -> Option<Spelled> {
    match number {
        b"1" => Some(Spelled::True),
        b"0" => Some(Spelled::False),
        _ => None,
    }
}
