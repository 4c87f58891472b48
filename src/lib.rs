//! dripfeed: a Singer tap and an Airbyte source that runs declarative manifests.
//!
//! Ten wings, whose dependencies point one way (`tests/house/layers.rs` checks this):
//! `cli` → `run` → { `tenant`, `engine` } → { `drift`, `pace`, `protocol`, `manifest` } → `base`; `sandbox` → `base`.
//!
//! The path of one record: `cli` parses the command line; `run` loads config and manifest (`manifest`), compiles them
//! (`engine::build`) and starts threads. Each thread takes a slice (`engine::slice`, `engine::cursor`), prepares a
//! request (`engine::requester`, `auth`, `page`), sends it at the account's pace (`engine::fetch`, `pace`), scans the
//! response once (`engine::extract`, over `base::json::scan`), shapes its records (`engine::shape`), shows every
//! value to `drift`, and passes whole lines to the single writer (`protocol`). The writer emits a state only after
//! all records that the state covers.
//!
//! `tenant` holds everything that outlives a run: bookmarks, locks, run records, alerts.
//!
//! Comments call airbyte-cdk, the Python engine for the same manifests, the reference.

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
