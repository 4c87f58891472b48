//! One run and what stands beside it: a target that reads what the run writes.

mod config;
mod references;
mod sync;
mod targets;
