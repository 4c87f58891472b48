//! One test binary: behaviour through the program and real sockets first, tables and properties after.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, missing_docs, unreachable_pub)]

mod support;

mod airbyte;
mod alerts;
mod backfill;
mod bad_input;
mod cli;
mod credentials;
mod drift;
mod drift_accept;
mod drift_airbyte;
mod drift_alarms;
mod drift_answers;
mod drift_chance;
mod drift_poison;
mod drift_policies;
mod drift_tenants;
mod drift_vendors;
mod drift_verbs;
mod feedback;
mod files;
mod jobs;
mod layers;
mod limiter;
mod oracle;
mod pace;
mod properties;
mod rotation;
mod safety;
mod schedule;
mod singer_rules;
mod sync;
mod tables;
mod transcripts;
mod vocabulary;
