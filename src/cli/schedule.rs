//! The verb `schedule`: writes the tenants' runs as scheduler definitions.
//!
//! Input: a folder of configs. Output: definitions on stdout. Called by [`super::run`]. No request goes to the
//! vendor, and references to secrets stay references: the machine that writes the definitions need not have the
//! secrets.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::Value as Json;

use super::groups::LogArgs;
use crate::base::config::references::{Reference, reference, references};
use crate::base::config::{self, Config};
use crate::base::display::number;
use crate::base::fault::{Fault, Location, Result};
use crate::engine::cursor::ranges::Span;
use crate::manifest::builtin;
use crate::pace::limiter::Priority;
use crate::run::backfill;
use crate::run::context::Context;
use crate::run::load;
use crate::run::log::Level;
use crate::run::options::RunOptions;
use crate::tenant::schedule::cron_expr::Times;
use crate::tenant::schedule::jenkins_hash::Hash;
use crate::tenant::schedule::{Run, SchedulePlan, Tenant, airflow, cron, dagster, kubernetes, meltano, quote};
use crate::tenant::target_command::TargetCommand;

/// The arguments of `schedule`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct ScheduleArgs {
    /// The tenants: the configs (*.json) in this folder
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    pub tenants: PathBuf,
    /// A built-in source, or the path of a manifest, if the configs set none
    #[arg(long, short = 's', alias = "manifest-path", value_name = "NAME|FILE", help_heading = "Input")]
    source: Option<String>,
    /// The target that each run loads
    ///
    /// Without it: dripfeed.target of each config.
    #[arg(long, value_name = "CMD", help_heading = "Output")]
    pub target: Option<String>,
    /// With --format cron: the program in each line [default: this one, with its full path]
    #[arg(long, value_name = "PATH", help_heading = "Output")]
    program: Option<String>,
    /// The scheduler
    #[arg(long, value_enum, default_value = "cron", help_heading = "Output")]
    format: ScheduleFormat,
    /// Only the runs of this tier
    #[arg(long, value_name = "TIER", help_heading = "Selection")]
    tier: Option<String>,
    /// One run of each tenant over this part of the past, instead of those of its tiers
    #[arg(long, value_name = "FROM..TO", value_parser = backfill::span, help_heading = "Selection")]
    backfill: Option<Span>,
    /// With --backfill: only these streams
    #[arg(long, value_name = "A,B", value_delimiter = ',', requires = "backfill", help_heading = "Selection")]
    streams: Vec<String>,
    #[command(flatten)]
    log: LogArgs,
}

const EXAMPLES: &str = "\
EXAMPLES:
  dripfeed schedule --tenants tenants --target target-jsonl | crontab -
  dripfeed schedule --tenants tenants --format airflow \\
    --target 'target-postgres --config pg.json'
  dripfeed schedule --tenants tenants --backfill 2022-01-01..2025-01-01 \\
    --target target-jsonl";

impl ScheduleArgs {
    pub(super) fn fill(&self, asked: &mut RunOptions) {
        asked.source.clone_from(&self.source);
        asked.tier.clone_from(&self.tier);
        asked.backfill = self.backfill;
        asked.streams.clone_from(&self.streams);
        self.log.fill(asked);
    }
}

/// A scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum ScheduleFormat {
    Cron,
    Airflow,
    Dagster,
    Kubernetes,
    Meltano,
}

/// Writes the definitions.
pub(super) fn run(context: &Context, asked: &ScheduleArgs) -> Result<()> {
    let plan = plan(context, asked)?;
    let text = match asked.format {
        ScheduleFormat::Cron => cron::write(&plan)?,
        ScheduleFormat::Airflow => airflow::write(&plan),
        ScheduleFormat::Dagster => dagster::write(&plan),
        ScheduleFormat::Kubernetes => kubernetes::write(&plan)?,
        ScheduleFormat::Meltano => meltano::write(&plan)?,
    };
    context.text(&text)
}

/// The plan for all tenants; one invalid config refuses it, because a missing tenant would go unnoticed.
fn plan(context: &Context, asked: &ScheduleArgs) -> Result<SchedulePlan> {
    let options = &context.options;
    let shown = asked.tenants.display();
    let paths = load::configs_in(&asked.tenants)?;
    let (mut tenants, mut faulty) = (Vec::new(), 0);
    for path in &paths {
        match tenant(context, asked, path) {
            Ok(found) => tenants.extend(found),
            Err(fault) => {
                let location = Location { file: path.display().to_string().into(), line: 0, path: "".into() };
                context.log.line(Level::Error, &fault.at(&location).to_string());
                faulty += 1;
            }
        }
    }
    if faulty > 0 {
        let of = number(paths.len(), "config");
        return Err(Fault::config(format!("{faulty} of {of} in {shown} cannot be used; nothing was written")));
    }
    if tenants.is_empty() {
        return Err(Fault::config(format!("{shown} has nothing to schedule"))
            .hint("put one config per tenant there, as *.json"));
    }
    if let (Some(tier), None) = (&options.tier, &options.backfill) {
        for tenant in &mut tenants {
            tenant.runs.retain(|run| run.tier.as_ref() == Some(tier));
        }
        tenants.retain(|tenant| !tenant.runs.is_empty());
        if tenants.is_empty() {
            return Err(Fault::config(format!("no config in {shown} has a schedule for a tier `{tier}`")));
        }
    }
    let here = std::env::current_dir().map_err(|e| Fault::local("cannot determine the current folder", &e))?;
    let program = asked.program.clone().map_or_else(|| text_of(&own_program()?), Ok)?;
    let plan = SchedulePlan::new(made_by(options, asked), text_of(&here)?, options.backfill.is_some(), tenants)?;
    plan.run_by(program)
}

/// The command that was run.
fn made_by(options: &RunOptions, asked: &ScheduleArgs) -> String {
    let format = asked.format.to_possible_value().filter(|_| asked.format != ScheduleFormat::Cron);
    let streams = Some(options.streams.join(",")).filter(|streams| !streams.is_empty());
    let options = [
        ("--source", options.source.clone()),
        ("--tenants", Some(asked.tenants.display().to_string())),
        ("--format", format.map(|format| format.get_name().to_owned())),
        ("--tier", options.tier.clone()),
        ("--backfill", options.backfill.map(Span::written)),
        ("--streams", streams),
        ("--target", asked.target.clone()),
        ("--program", asked.program.clone()),
    ];
    let options = options.iter().filter_map(|(name, value)| Some(format!(" {name} {}", quote::shell(value.as_ref()?))));
    format!("dripfeed schedule{}", options.collect::<String>())
}

/// The tenant of a config; `None` if it belongs to another source than the requested one.
fn tenant(context: &Context, asked: &ScheduleArgs, path: &Path) -> Result<Option<Tenant>> {
    let shown = text_of(path)?;
    let config = config::written(&shown)?;
    context.log.hide(&config.secrets);
    let ours = &config.ours;
    if let (Some(named), Some(says)) = (&context.options.source, &ours.source)
        && named != says
    {
        return Ok(None);
    }
    let manifest = load::manifest(context, Some(&config))?;
    config::validate_source(&config, &load::specification(&manifest))?;
    let own = ours.source.is_some() || config.source.get("__injected_declarative_manifest").is_some();
    let source_option = context.named_source().filter(|_| !own).map(str::to_owned);
    let file = ours.source.as_ref().or(source_option.as_ref()).filter(|source| builtin::manifest(source).is_none());
    let by_file = || path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    let name = ours.tenant.clone().filter(|name| reference(name).is_none()).unwrap_or_else(by_file);
    let target = asked.target.as_ref().or(ours.target.as_ref()).ok_or_else(|| {
        Fault::config("no target is set")
            .hint("set one for all tenants with --target, or set dripfeed.target in the config")
    })?;
    let (variables, files) = referred(&config.written)?;
    let (runs, unscheduled) = if let Some(span) = context.options.backfill {
        (vec![backfill(&context.options, &span.written())?], Vec::new())
    } else {
        runs(&context.options, &config, &name, &shown)?
    };
    Ok(Some(Tenant {
        source: manifest.name.to_string(),
        manifest: file.cloned(),
        config: shown,
        source_option,
        target_option: asked.target.clone(),
        target: TargetCommand::parse(target)?.filled(&name, &manifest.name).program().to_owned(),
        variables,
        files,
        state_dir: ours.state_dir.as_ref().map(|path| text_of(path)).transpose()?,
        deadline: ours.deadline.map(|deadline| deadline.0.length()),
        runs,
        unscheduled,
        name,
    }))
}

/// One run for each tier with a schedule, and the tiers without one.
fn runs(options: &RunOptions, config: &Config, tenant: &str, file: &str) -> Result<(Vec<Run>, Vec<String>)> {
    let (mut runs, mut unscheduled) = (Vec::new(), Vec::new());
    for (name, tier) in &config.ours.tiers {
        let Some(schedule) = &tier.schedule else {
            unscheduled.push(name.clone());
            continue;
        };
        let path = format!("dripfeed.tiers.{name}.schedule");
        let location = Location { file: file.into(), line: 0, path: path.into() };
        let times = Times::parse(schedule, &Hash { tenant, tier: name }).map_err(|fault| fault.at(&location))?;
        let of_tier = RunOptions { tier: Some(name.clone()), priority: None, ..options.clone() };
        let priority = of_tier.priority(&config.ours.tiers)?;
        runs.push(Run { tier: Some(name.clone()), times: Some(times), priority, options: Vec::new() });
    }
    // Higher priorities come first.
    runs.sort_by_key(|run| std::cmp::Reverse(run.priority));
    if runs.is_empty() {
        return Err(Fault::config("no tier of the config has a schedule, so nothing would be read")
            .hint(r#"add one: "dripfeed": {"tiers": {"hourly": {"streams": ["*"], "schedule": "H * * * *"}}}"#));
    }
    Ok((runs, unscheduled))
}

/// The backfill run.
fn backfill(options: &RunOptions, range: &str) -> Result<Run> {
    let priority = RunOptions { priority: Some(Priority::Backfill), tier: None, ..options.clone() };
    let priority = priority.priority(&std::collections::BTreeMap::new())?;
    let mut more = vec![("--backfill", range.to_owned())];
    more.extend(options.tier.clone().map(|tier| ("--tier", tier)));
    if !options.streams.is_empty() {
        more.push(("--streams", options.streams.join(",")));
    }
    Ok(Run { tier: None, times: None, priority, options: more })
}

/// The variables and files that a config uses.
fn referred(written: &Json) -> Result<(Vec<String>, Vec<String>)> {
    let (mut variables, mut files) = (Vec::new(), Vec::new());
    for reference in references(written) {
        match reference {
            Reference::File(path) => files.push(path.to_owned()),
            // Its program must be where the run is, like the target.
            Reference::Command(_) => {}
            Reference::Variable(name) => {
                let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
                if !first || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                    return Err(Fault::config(format!("`env:{name}` is not the name of an environment variable"))
                        .hint("schedulers and shells accept letters, digits and `_`"));
                }
                variables.push(name.to_owned());
            }
        }
    }
    // A path, which is no secret; it may be a reference or a text as well.
    let ca_file = written["dripfeed"]["tls"]["ca_file"].as_str();
    files.extend(ca_file.filter(|text| reference(text).is_none() && !text.contains('\n')).map(str::to_owned));
    for list in [&mut variables, &mut files] {
        list.sort_unstable();
        list.dedup();
    }
    Ok((variables, files))
}

/// The path of this program. A link on the PATH to it stays a link: an upgrade moves what it leads to.
fn own_program() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(|e| Fault::local("cannot tell the path of this program", &e))?;
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&folders).map(|folder| folder.join(&called));
    // A program that was called by a path, as `bin/dripfeed`, was not looked up.
    let found =
        on_path.filter(|_| called.components().count() == 1).chain([std::path::absolute(&called).unwrap_or_default()]);
    let mut same = found.filter(|path| path.is_absolute() && path.canonicalize().is_ok_and(|at| at == own));
    Ok(same.next().unwrap_or(own))
}

fn text_of(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Fault::config(format!("the path {} is not UTF-8", path.display()))
            .hint("no definition can contain it: rename it")
    })
}
