//! A part of a Meltano project: a tap, a job and a schedule for each run.
//!
//! Comes in: a plan. Goes out: YAML that a project's `include_paths` names. Called by `cli::schedule`.
//!
//! Meltano runs tap and target itself and keeps the state that the target echoes, so that the tap is `read` in its flag
//! form. What a run is, it learns from the environment: Meltano writes the arguments.

use super::name::Rule;
use super::{Run, SchedulePlan, Tenant, comment, quote};
use crate::base::fault::{Fault, Result};

const NAMES: Rule = Rule { joint: '-', more: "-_", upper: true, longest: 100 };

/// Writes it.
pub fn write(plan: &SchedulePlan) -> Result<String> {
    let names = plan.names(&NAMES);
    let example = names.first().map_or("", String::as_str);
    let how = if plan.backfill {
        format!(
            "A backfill has no schedule: run its job once, beside the live ones, which go first. While it ends with 75, run it
again: it goes on where it was.

    meltano run {example}"
        )
    } else {
        format!(
            "Meltano leaves it to cron or to an orchestrator to start what is due:

    meltano schedule list --format json
    meltano schedule run {example}

A run that is saved but not finished (75), or that met the last one still at work (76), ends well: the next one goes on."
        )
    };
    let mut out = comment(&format!(
        "The {} of {}, for Meltano. Made by

    {}

Put it beside meltano.yml, which names the loaders, an environment and this file; make it again when a config changes:

    default_environment: prod
    include_paths: [dripfeed.meltano.yml]

{how}

Meltano keeps a state for each tap, so that each tenant and tier has a tap of its own. What a config refers to as
env:NAME stands in the environment or in .env.",
        if plan.backfill { "backfills" } else { "runs" },
        plan.count(),
        plan.made_by
    ));
    // Both kinds may stand in one project.
    let tap = if plan.backfill { "tap-dripfeed-backfill" } else { "tap-dripfeed" };
    out += &format!(
        "
plugins:
  extractors:
  - name: {tap}
    namespace: tap_dripfeed
    executable: dripfeed
    capabilities: [about, catalog, discover, properties, state, structured-logging, test]
"
    );
    let (mut jobs, mut schedules) = (String::new(), String::new());
    for ((tenant, run), name) in plan.runs().zip(&names) {
        out += &extractor(tenant, run, name, tap)?;
        jobs += &format!(
            "- name: {}\n  tasks: [{}]\n",
            quote::yaml(name),
            quote::yaml(&format!("tap-{name} {}", loader(tenant)?))
        );
        if let Some(times) = &run.times {
            let (name, interval) = (quote::yaml(name), quote::string(&times.to_string()));
            schedules += &format!("- name: {name}\n  interval: {interval}\n  job: {name}\n");
        }
    }
    out += &format!("\njobs:\n{jobs}");
    if !schedules.is_empty() {
        out += &format!("\nschedules:\n{schedules}");
    }
    Ok(out)
}

fn extractor(tenant: &Tenant, run: &Run, name: &str, tap: &str) -> Result<String> {
    let mut env = vec![("DRIPFEED_CONFIG", tenant.config.as_str())];
    env.extend(tenant.source_option.as_deref().map(|source| ("DRIPFEED_SOURCE", source)));
    env.extend(run.tier.as_deref().map(|tier| ("DRIPFEED_TIER", tier)));
    env.extend(run.options.iter().filter_map(|(option, value)| match *option {
        "--backfill" => Some(("DRIPFEED_BACKFILL", &**value)),
        "--streams" => Some(("DRIPFEED_STREAMS", &**value)),
        "--tier" => Some(("DRIPFEED_TIER", &**value)),
        _ => None,
    }));
    if run.times.is_some() {
        env.push(("DRIPFEED_UNFINISHED_OK", "true"));
    }
    if let Some((_, value)) = env.iter().find(|(_, value)| value.contains('$')) {
        let said = format!("{}: Meltano would put a variable in the place of `$` in `{value}`", tenant.config);
        return Err(Fault::config(said).hint("write it without `$`"));
    }
    let env: String = env.iter().map(|(name, value)| format!("      {name}: {}\n", quote::string(value))).collect();
    let (title, name) = (tenant.title(), quote::yaml(&format!("tap-{name}")));
    Ok(format!("  # {title}\n  - name: {name}\n    inherit_from: {tap}\n    env:\n{env}"))
}

/// The target as Meltano calls it: by its executable's name. Its settings are the project's.
fn loader(tenant: &Tenant) -> Result<&str> {
    let name = tenant.target.rsplit('/').next().unwrap_or_default();
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        return Err(Fault::config(format!("{}: the target's name is no name of a loader", tenant.config))
            .hint("name the loader of the Meltano project: --target target-postgres"));
    }
    Ok(name)
}
