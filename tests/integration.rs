//! One test binary, in folders as `src/` is, with `docs` for README and the book and `house` for the code itself:
//! behaviour through the program and real sockets, tables, properties. `cargo test drift::` runs one folder, `cargo
//! test drift::verbs::` one file of it.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, missing_docs, unreachable_pub)]

mod base;
mod cases;
mod cli;
mod docs;
mod drift;
mod engine;
mod fuzz;
mod house;
mod manifest;
mod pace;
mod protocol;
mod run;
mod support;
mod tenant;
