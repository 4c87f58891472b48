//! Observers of the record scan: they receive each value.
//!
//! Input: values as they are in the bytes, each with the number of its place in the schema. There is no output except
//! what an [`Observer`] stores. `shape` scans and calls; `drift` observes; neither depends on the other.

use crate::base::json::scan::{JsonKind, JsonText, Number};

/// The place of values that nobody observes.
pub const NOWHERE: u32 = 0;
/// The record itself.
pub const ROOT: u32 = 1;

/// What an observer wants to know of a value that it found regular.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attention {
    /// Only that there was one.
    Count,
    /// That its text is a date and time in UTC.
    DateTime,
    /// That its text is a date.
    Date,
    /// The value itself.
    Value,
    /// The number itself, which is an integer.
    Integer,
}

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

/// An observer that need not be shown each value of a record: of most it only counts how many there are.
pub trait CountingObserver: Observer {
    /// What it wants to know of further values of this kind at `place`.
    fn attention(&self, place: u32, kind: JsonKind) -> Attention;

    /// Changes when the answers of [`CountingObserver::attention`] may change.
    fn revision(&self) -> u32;

    /// Has the record something new for the observer?
    fn is_odd(&self) -> bool;

    /// `times` values of this kind at `place`, which were not reported by [`Observer::value`].
    fn values(&mut self, place: u32, kind: JsonKind, times: u32);
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

impl CountingObserver for () {
    fn attention(&self, _: u32, _: JsonKind) -> Attention {
        Attention::Count
    }

    fn revision(&self) -> u32 {
        0
    }

    fn is_odd(&self) -> bool {
        false
    }

    fn values(&mut self, _: u32, _: JsonKind, _: u32) {}
}

/// The numbers of a schema's places.
pub trait Places {
    /// The place of the field `name` in the object at `place`.
    fn child(&self, place: u32, name: &str) -> u32;

    /// The place of the items of the list at `place`.
    fn item(&self, place: u32) -> u32;
}
