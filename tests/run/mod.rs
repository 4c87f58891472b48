//! One run and what stands beside it: a target that reads what the run writes.

mod sync;
mod targets;
