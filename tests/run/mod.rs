//! One run and what stands beside it: a target that reads what the run writes, a test read that shows it.

mod config;
mod faults;
mod infer;
mod references;
mod sync;
mod targets;
mod test_read;
