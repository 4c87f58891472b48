//! Definitions for Dagster: one asset per source and tier, one partition per tenant.
//!
//! Input: a plan. Output: a Python file. Called by `cli::schedule`.

use super::name::Rule;
use super::template::fill;
use super::{Run, SchedulePlan, Tenant, quote, weight};

const NAMES: Rule = Rule { joint: '_', more: "_", upper: true, longest: 200 };
/// The naming rule for partition keys.
const PARTITIONS: Rule = Rule { joint: '-', more: "-_.", upper: true, longest: 200 };
const HEADER: &str = include_str!("templates/dagster/header.txt.tmpl");
const CODE: &str = include_str!("templates/dagster/definitions.py.tmpl");
const RUN: &str = include_str!("templates/dagster/run.py.tmpl");

/// Writes the definitions.
pub fn write(plan: &SchedulePlan) -> String {
    let how = if plan.backfill {
        "Nothing here has a schedule: launch each partition once. Live runs have priority."
    } else {
        "Times are UTC."
    };
    let header = plan.header(HEADER, &[("how", how)]);
    let parts = plan.runs().map(|(tenant, run)| vec![&*tenant.source, run.slot()]).collect::<Vec<_>>();
    // One name per source and tier, not per run; duplicates are equal.
    let mut kinds = parts.clone();
    kinds.sort_unstable();
    kinds.dedup();
    let assets = NAMES.names(kinds.clone());
    let asset = |parts: &Vec<&str>| kinds.iter().position(|kind| kind == parts).map_or("", |at| &assets[at]);
    let names = plan.names(&NAMES);
    let partition = |tenant: &Tenant| PARTITIONS.names(vec![vec![&*tenant.name]]).concat();
    let runs = plan.runs().zip(&parts).zip(&names);
    let runs: String =
        runs.map(|(((tenant, run), parts), name)| entry(tenant, run, asset(parts), &partition(tenant), name)).collect();
    fill(CODE, &[("header", &header), ("folder", &quote::string(&plan.folder)), ("runs", &runs)])
}

fn entry(tenant: &Tenant, run: &Run, asset: &str, partition: &str, name: &str) -> String {
    let none = || "None".to_owned();
    let schedule = run.times.as_ref().map_or_else(none, |times| quote::string(&times.to_string()));
    let seconds = tenant.limit().map_or_else(none, |limit| limit.as_secs().to_string());
    fill(
        RUN,
        &[
            ("name", &quote::string(name)),
            ("asset", &quote::string(asset)),
            ("partition", &quote::string(partition)),
            ("source", &quote::string(&tenant.source)),
            ("tenant", &quote::string(&tenant.name)),
            ("slot", &quote::string(run.slot())),
            ("schedule", &schedule),
            ("command", &quote::string(&quote::command(&tenant.words(run)))),
            ("seconds", &seconds),
            ("priority", &weight(run.priority).to_string()),
        ],
    )
}
