//! Shapes records: applies the manifest's transformations and the requirements of the wire format.
//!
//! Input: records, as bytes or JSON. Output: records. Called by `record_writer`, `slice_reader` and `parents`.

mod keys;
mod normalize;
pub mod ops;
pub mod wire;
