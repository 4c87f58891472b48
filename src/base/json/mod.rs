//! JSON as bytes and as text: a scanner without a tree, observers of its walk, schemas, harmless spellings,
//! and Python's way of writing.
//!
//! Input: bytes of an answer, or values. Output: positions, kinds and numbers as they were written. Called by the
//! engine, by drift, and by whatever has to write JSON as the reference does.

pub mod observe;
pub mod python;
pub mod scan;
pub mod schema;
pub mod spelling;
