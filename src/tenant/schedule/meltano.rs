//! A part of a Meltano project: one tap, job and schedule per run.
//!
//! Input: a plan. Output: YAML for a project's `include_paths`. Called by `cli::schedule`.
//!
//! Meltano runs tap and target itself and saves the state that the target echoes, so the tap is `read` in its flag
//! form. A run gets its options from environment variables, because Meltano writes the arguments.

use super::name::Rule;
use super::template::fill;
use super::{Run, SchedulePlan, Tenant, quote};
use crate::base::fault::{Fault, Result};

const NAMES: Rule = Rule { joint: '-', more: "-_", upper: true, longest: 100 };
const HEADER: &str = include_str!("templates/meltano/header.txt.tmpl");
const RUNS: &str = include_str!("templates/meltano/runs.txt.tmpl");
const BACKFILLS: &str = include_str!("templates/meltano/backfills.txt.tmpl");
const PROJECT: &str = include_str!("templates/meltano/project.yml.tmpl");
const EXTRACTOR: &str = include_str!("templates/meltano/extractor.yml.tmpl");

/// Writes the definitions.
pub fn write(plan: &SchedulePlan) -> Result<String> {
    let names = plan.names(&NAMES);
    let example = names.first().map_or("", String::as_str);
    let how = fill(if plan.backfill { BACKFILLS } else { RUNS }, &[("example", example)]);
    let header = plan.header(HEADER, &[("how", &how)]);
    // One project may contain both kinds.
    let tap = if plan.backfill { "tap-dripfeed-backfill" } else { "tap-dripfeed" };
    let (mut extractors, mut jobs, mut schedules) = (String::new(), String::new(), String::new());
    for ((tenant, run), name) in plan.runs().zip(&names) {
        extractors += &extractor(tenant, run, name, tap)?;
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
    if !schedules.is_empty() {
        schedules.insert_str(0, "\nschedules:\n");
    }
    Ok(fill(
        PROJECT,
        &[("header", &header), ("tap", tap), ("extractors", &extractors), ("jobs", &jobs), ("schedules", &schedules)],
    ))
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
        let message = format!("{}: Meltano would expand the `$` in `{value}` as a variable", tenant.config);
        return Err(Fault::config(message).hint("write it without `$`"));
    }
    let env: String = env.iter().map(|(name, value)| format!("{name}: {}\n", quote::string(value))).collect();
    let name = quote::yaml(&format!("tap-{name}"));
    Ok(fill(EXTRACTOR, &[("title", &tenant.title()), ("name", &name), ("tap", tap), ("env", &env)]))
}

/// The target as Meltano calls it: by the name of its executable. Its settings belong to the project.
fn loader(tenant: &Tenant) -> Result<&str> {
    let name = tenant.target.rsplit('/').next().unwrap_or_default();
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        return Err(Fault::config(format!("{}: the target's name is not the name of a loader", tenant.config))
            .hint("name the loader of the Meltano project: --target target-postgres"));
    }
    Ok(name)
}
