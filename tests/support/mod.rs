//! What the tests share: a vendor made of a `server.json`, and the binary.

pub mod tap;
pub mod vendor;
