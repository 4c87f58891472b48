//! JSON as bytes and text: a scanner that builds no tree, observers of its scan, schemas, harmless spellings, and
//! Python's serialization.
//!
//! Input: the bytes of a response, or values. Output: positions, kinds, and numbers as written. Called by the engine,
//! by drift, and by all code that must write JSON exactly as the reference does.

pub mod observe;
pub mod python;
pub mod scan;
pub mod schema;
pub mod spelling;
