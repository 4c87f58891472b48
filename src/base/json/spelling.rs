//! Values that are written as another kind than is wanted, and lose nothing by it: PHP's `[]` for an object, an empty
//! text for no number, `"true"` and `1` for a boolean.
//!
//! Input: the scanner at a value of a kind that is not wanted. Output: what it says, if it is such a spelling.
//! Called by `engine::shape` (what is written) and `drift` (what is no change), which so see the same.

use super::scan::{JsonKind, Scan, Scanner};

/// What a value says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelled {
    /// Nothing, as null does.
    Nothing,
    /// True.
    True,
    /// False.
    False,
}

/// What stands at a place otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Objects or lists.
    pub structure: bool,
    /// Booleans.
    pub boolean: bool,
}

/// What the value that comes next says where texts are not wanted. The scanner is a copy: it may stop within the value.
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

/// What a text says where none is wanted.
pub fn spelled_by(text: &[u8], boolean: bool) -> Option<Spelled> {
    match text {
        b"" => Some(Spelled::Nothing),
        _ if !boolean => None,
        text if text.eq_ignore_ascii_case(b"true") => Some(Spelled::True),
        text if text.eq_ignore_ascii_case(b"false") => Some(Spelled::False),
        text => flag(text),
    }
}

/// The boolean that a number says.
pub fn flag(number: &[u8]) -> Option<Spelled> {
    match number {
        b"1" => Some(Spelled::True),
        b"0" => Some(Spelled::False),
        _ => None,
    }
}
