//! What outlives a run: alerts, the record of runs, the definitions that start them.

mod alerts;
mod schedule;
mod status;
