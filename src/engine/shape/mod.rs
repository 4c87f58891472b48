//! The shape of records: what the manifest does to them, and what the wire asks of them.
//!
//! Input: records, as bytes or JSON. Output: records. Called by `run`.

mod keys;
mod normalize;
pub mod ops;
pub mod wire;
