//! DAGs for Airflow 3: one for each run.
//!
//! Comes in: a plan. Goes out: a Python file. Called by `cli::schedule`.
//!
//! A DAG that maps over tenants would start all of them in one minute, and with one run at a time the slowest tenant
//! would hold up the next hour of all others. With a DAG for each, a tenant has its own minute, its own history and its
//! own alert.

use super::name::Rule;
use super::{Run, SchedulePlan, Tenant, comment, quote, weight};

const NAMES: Rule = Rule { joint: '_', more: "_-.", upper: true, longest: 200 };
const CODE: &str = include_str!("airflow.py.tmpl");

/// Writes it.
pub fn write(plan: &SchedulePlan) -> String {
    let pools = if plan.backfill {
        r#"    airflow pools set dripfeed_backfill 2 "backfills at once""#
    } else {
        r#"    airflow pools set dripfeed 32 "dripfeed's runs at once""#
    };
    let what = if plan.backfill { "backfills" } else { "runs" };
    let how = if plan.backfill {
        "These DAGs have no schedule: trigger each once. They go beside the live runs, in a pool of their own."
    } else {
        "Times are UTC."
    };
    let header = format!(
        "The {what} of {}, for Airflow 3: a DAG for each. Made by

    {}

Put it among the DAGs, make it again when a config changes, and make its pool once:

{pools}

{how} Workers find `dripfeed` and the target on their PATH, the configs below HERE, and
one state directory that all of them share. What a config refers to as env:NAME comes from the worker's environment,
else from an Airflow Variable of that name.",
        plan.count(),
        plan.made_by
    );
    let names = plan.names(&NAMES);
    let runs: String = plan.runs().zip(&names).map(|((tenant, run), name)| entry(tenant, run, name)).collect();
    CODE.replace("{{header}}\n", &comment(&header))
        .replace("{{folder}}", &quote::string(&plan.folder))
        .replace("{{pool}}", if plan.backfill { "dripfeed_backfill" } else { "dripfeed" })
        .replace("{{runs}}\n", &runs)
}

fn entry(tenant: &Tenant, run: &Run, name: &str) -> String {
    let none = || "None".to_owned();
    format!(
        "    dict(
        dag_id={},
        source={},
        tenant={},
        slot={},
        schedule={},
        command={},
        variables={},
        minutes={},
        priority={},
    ),
",
        quote::string(name),
        quote::string(&tenant.source),
        quote::string(&tenant.name),
        quote::string(run.slot()),
        run.times.as_ref().map_or_else(none, |times| quote::string(&times.to_string())),
        quote::string(&quote::command(&tenant.words(run))),
        quote::list(&tenant.variables),
        tenant.limit().map_or_else(none, |limit| limit.as_secs().div_ceil(60).to_string()),
        weight(run.priority),
    )
}
