//! What every wing stands on, and what knows none of them: faults, the wish to stop, the config of a tenant, files of
//! the state directory, JSON at the level of bytes, times, text for people.
//!
//! Comes in: nothing of this program. Goes out: types that all other wings share. Start reading at [`fault`], which
//! decides retry, skip, stop and exit code, and [`json`], the scanner that every record passes.

pub mod config;
pub mod display;
pub mod environment;
pub mod fault;
pub mod json;
pub mod percent;
pub mod stop;
pub mod store;
pub mod timefmt;
