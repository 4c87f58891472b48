//! Definitions for Dagster: an asset for each source and tier, a partition for each tenant.
//!
//! Comes in: a plan. Goes out: a Python file. Called by `cli::schedule`.

use super::name::Rule;
use super::{Run, SchedulePlan, Tenant, comment, quote, weight};

const NAMES: Rule = Rule { joint: '_', more: "_", upper: true, longest: 200 };
/// Keys of partitions.
const PARTITIONS: Rule = Rule { joint: '-', more: "-_.", upper: true, longest: 200 };
const CODE: &str = include_str!("dagster.py.tmpl");

/// Writes it.
pub fn write(plan: &SchedulePlan) -> String {
    let what = if plan.backfill { "backfills" } else { "runs" };
    let how = if plan.backfill {
        "Nothing here has a schedule: launch each partition once. Live runs go first."
    } else {
        "Times are UTC."
    };
    let header = format!(
        "The {what} of {}, for Dagster: an asset for each source and tier, a partition for each tenant. Made by

    {}

Load it as a code location, and make it again when a config changes. In dagster.yaml:

    concurrency:
      runs:
        tag_concurrency_limits:
          - {{key: dripfeed/slot, limit: 1, value: {{applyLimitPerUniqueValue: true}}}}
          - {{key: dripfeed/backfill, limit: 2}}
    run_monitoring: {{enabled: true}}

{how} A run finds `dripfeed` and the target on the PATH, the configs below HERE, what they refer to as env:NAME in
its environment, and one state directory that all runs share.",
        plan.count(),
        plan.made_by
    );
    let parts = plan.runs().map(|(tenant, run)| vec![&*tenant.source, run.slot()]).collect::<Vec<_>>();
    // A name for each source and tier, not for each run: those that are the same stay the same.
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
    CODE.replace("{{header}}\n", &comment(&header))
        .replace("{{folder}}", &quote::string(&plan.folder))
        .replace("{{runs}}\n", &runs)
}

fn entry(tenant: &Tenant, run: &Run, asset: &str, partition: &str, name: &str) -> String {
    let none = || "None".to_owned();
    format!(
        "    dict(
        name={},
        asset={},
        partition={},
        source={},
        tenant={},
        slot={},
        schedule={},
        command={},
        seconds={},
        priority={},
    ),
",
        quote::string(name),
        quote::string(asset),
        quote::string(partition),
        quote::string(&tenant.source),
        quote::string(&tenant.name),
        quote::string(run.slot()),
        run.times.as_ref().map_or_else(none, |times| quote::string(&times.to_string())),
        quote::string(&quote::command(&tenant.words(run))),
        tenant.limit().map_or_else(none, |limit| limit.as_secs().to_string()),
        weight(run.priority),
    )
}
