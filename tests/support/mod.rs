//! What the tests share: a vendor made of a `server.json`, and the binary.

pub mod drifting;
pub mod golden;
pub mod past;
pub mod population;
pub mod shell;
#[allow(clippy::cast_precision_loss, clippy::cast_sign_loss, dead_code)]
pub mod simulation;
pub mod tap;
pub mod vendor;
