//! The shape of records: what the manifest does to them, and what the wire asks of them.
//!
//! Comes in: records, as bytes or JSON. Goes out: records. Called by `run`.

mod keys;
mod normalize;
pub mod ops;
pub mod wire;
