//! dripfeed: a Singer tap and an Airbyte source that runs declarative manifests.
//!
//! The way of one record: `cli` loads a manifest and compiles it to a plan (`manifest`, `plan`, `run::build`); `run`
//! takes slices of streams (`slice`, `cursor`), prepares requests (`fetch::request`, `auth`, `page`), sends them at the account's pace
//! (`fetch`, `pace`), walks each answer once (`extract`, over `scan`), shapes its records (`shape`), tells what watches for drift of every value
//! (`observe`, heard by `drift`) and hands whole lines to the one writer
//! (`emit`), which writes a state only after the records that it covers (`state`).
//!
//! What outlives a run is a tenant's own (`tenant`): bookmarks, locks, the record of its runs, alerts; `cli` feeds targets, tells how
//! tenants stand and writes their schedules with it.
//!
//! Arrows run one way: `cli` → `run` → the stages → `plan` → `manifest` → `fault`. Stages never name each other;
//! `tests/layers.rs` holds this.

pub mod auth;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod cursor;
pub mod dpath;
pub mod drift;
pub mod emit;
pub mod extract;
pub mod fault;
pub mod fetch;
pub mod jinja;
pub mod manifest;
pub mod mutex;
pub mod observe;
pub mod pace;
pub mod page;
pub mod percent;
pub mod plan;
pub mod pyjson;
pub mod run;
pub mod sandbox;
pub mod scan;
pub mod schema;
pub mod shape;
pub mod show;
pub mod slice;
pub mod state;
pub mod stop;
pub mod store;
pub mod tenant;
pub mod timefmt;
