//! dripfeed: a Singer tap and an Airbyte source that runs declarative manifests.
//!
//! Ten wings, arrows one way (`tests/house/layers.rs` holds them):
//! `cli` → `run` → { `tenant`, `engine` } → { `drift`, `pace`, `protocol`, `manifest` } → `base`; `sandbox` → `base`.
//!
//! The way of one record: `cli` parses what a person typed; `run` loads config and manifest (`manifest`), has them
//! compiled (`engine::build`) and starts threads. Each takes a slice (`engine::slice`, `engine::cursor`), prepares a
//! request (`engine::requester`, `auth`, `page`), sends it at the account's pace (`engine::fetch`, `pace`), walks the
//! answer once (`engine::extract`, over `base::json::scan`), shapes its records (`engine::shape`), lets `drift` see
//! every value, and hands whole lines to the one writer (`protocol`), which writes a state only after the records that
//! it covers.
//!
//! What outlives a run is in `tenant`: bookmarks, locks, the record of its runs, alerts.

pub mod base;
pub mod cli;
pub mod drift;
pub mod engine;
pub mod manifest;
pub mod pace;
pub mod protocol;
pub mod run;
pub mod sandbox;
pub mod tenant;
