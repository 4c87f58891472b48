//! Observers of the record scan: they receive each value.
//!
//! Input: values as they are in the bytes, each with the number of its place in the schema. There is no output except
//! what an [`Observer`] stores. `shape` scans and calls; `drift` observes; neither depends on the other.

use crate::base::json::scan::{JsonKind, JsonText, Number};

/// The place of values that nobody observes.
pub const NOWHERE: u32 = 0;
/// The record itself.
pub const ROOT: u32 = 1;

/// Receives the values of a record, in order.
pub trait Observer {
    /// A value at `place`, in the object with the number from [`Observer::object`]; 0 in a list.
    fn value(&mut self, place: u32, kind: JsonKind, object: u32);

    /// An object starts: returns a number that is unique in the record.
    fn object(&mut self) -> u32;

    /// The value is this text.
    fn text(&mut self, place: u32, text: &JsonText<'_>);

    /// The value is this number.
    fn number(&mut self, place: u32, number: &Number<'_>);

    /// The value is this boolean.
    fn boolean(&mut self, place: u32, value: bool);

    /// The object at `place` has an undeclared field.
    fn unknown(&mut self, place: u32, key: &JsonText<'_>, kind: JsonKind);
}

/// No observer.
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
    /// The place of the field `name` in the object at `place`.
    fn child(&self, place: u32, name: &str) -> u32;

    /// The place of the items of the list at `place`.
    fn item(&self, place: u32) -> u32;
}
