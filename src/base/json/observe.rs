//! What is told of each value that the walk over a record passes.
//!
//! Input: values as they stand in the bytes, each with the number of its place in the schema. Nothing goes out but
//! what an [`Observer`] keeps. `shape` walks and calls; `drift` listens; neither names the other.

use crate::base::json::scan::{JsonKind, JsonText, Number};

/// The place of values that nobody asks about.
pub const NOWHERE: u32 = 0;
/// The record itself.
pub const ROOT: u32 = 1;

/// Hears of the values of a record, in their order.
pub trait Observer {
    /// A value stands at `place`, in the object that [`Observer::object`] numbered so; 0 in a list.
    fn value(&mut self, place: u32, kind: JsonKind, object: u32);

    /// An object is entered: its number, which is no other's of the record.
    fn object(&mut self) -> u32;

    /// The value is this text.
    fn text(&mut self, place: u32, text: &JsonText<'_>);

    /// The value is this number.
    fn number(&mut self, place: u32, number: &Number<'_>);

    /// The value is this flag.
    fn boolean(&mut self, place: u32, value: bool);

    /// The object at `place` has a field that its schema does not declare.
    fn unknown(&mut self, place: u32, key: &JsonText<'_>, kind: JsonKind);
}

/// Nobody listens.
impl Observer for () {
    fn value(&mut self, _: u32, _: JsonKind, _: u32) {}

    fn object(&mut self) -> u32 {
        0
    }

    fn text(&mut self, _: u32, _: &JsonText<'_>) {}

    fn number(&mut self, _: u32, _: &Number<'_>) {}

    fn boolean(&mut self, _: u32, _: bool) {}

    fn unknown(&mut self, _: u32, _: &JsonText<'_>, _: JsonKind) {}
}

/// The numbers of a schema's places.
pub trait Places {
    /// The field of that name in the object at `place`.
    fn child(&self, place: u32, name: &str) -> u32;

    /// The items of the list at `place`.
    fn item(&self, place: u32) -> u32;
}
