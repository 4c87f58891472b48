//! The foundation of all wings, which depends on none of them: faults, the stop request, the tenant config, files of
//! the state directory, byte-level JSON, times, text for people.
//!
//! Input: nothing from other wings. Output: types that all wings share. Start reading at [`fault`], which decides
//! retry, skip, stop and exit code, and [`json`], the scanner that every record passes.

pub mod config;
pub mod display;
pub mod environment;
pub mod fault;
pub mod http;
pub mod json;
pub mod percent;
pub mod platform;
pub mod stop;
pub mod store;
pub mod timefmt;
pub mod user_file;
