//! DAGs for Airflow 3, one per run.
//!
//! Input: a plan. Output: a Python file. Called by `cli::schedule`.
//!
//! A single DAG mapped over tenants would start all of them in the same minute, and with one active run the slowest
//! tenant would delay the next hour of all others. With separate DAGs, each tenant has its own minute, history and
//! alert.

use super::name::Rule;
use super::template::fill;
use super::{Run, SchedulePlan, Tenant, quote, weight};

const NAMES: Rule = Rule { joint: '_', more: "_-.", upper: true, longest: 200 };
const HEADER: &str = include_str!("templates/airflow/header.txt.tmpl");
const CODE: &str = include_str!("templates/airflow/dags.py.tmpl");
const RUN: &str = include_str!("templates/airflow/run.py.tmpl");

/// Writes the definitions.
pub fn write(plan: &SchedulePlan) -> String {
    let (pool, slots, description) = if plan.backfill {
        ("dripfeed_backfill", "2", "parallel backfills")
    } else {
        ("dripfeed", "32", "parallel dripfeed runs")
    };
    let how = if plan.backfill {
        "These DAGs have no schedule: trigger each once. They run beside the live runs, in their own pool."
    } else {
        "Times are UTC."
    };
    let header = plan.header(HEADER, &[("pool", pool), ("slots", slots), ("description", description), ("how", how)]);
    let names = plan.names(&NAMES);
    let runs: String = plan.runs().zip(&names).map(|((tenant, run), name)| entry(tenant, run, name)).collect();
    fill(CODE, &[("header", &header), ("folder", &quote::string(&plan.folder)), ("pool", pool), ("runs", &runs)])
}

fn entry(tenant: &Tenant, run: &Run, name: &str) -> String {
    let none = || "None".to_owned();
    let schedule = run.times.as_ref().map_or_else(none, |times| quote::string(&times.to_string()));
    let minutes = tenant.limit().map_or_else(none, |limit| limit.as_secs().div_ceil(60).to_string());
    fill(
        RUN,
        &[
            ("dag_id", &quote::string(name)),
            ("source", &quote::string(&tenant.source)),
            ("tenant", &quote::string(&tenant.name)),
            ("slot", &quote::string(run.slot())),
            ("schedule", &schedule),
            ("command", &quote::string(&quote::command(&tenant.words(run)))),
            ("variables", &quote::list(&tenant.variables)),
            ("minutes", &minutes),
            ("priority", &weight(run.priority).to_string()),
        ],
    )
}
