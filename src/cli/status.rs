//! The verb `status`: shows the status of every tenant.
//!
//! Input: the options, configs, and the data of earlier runs in the state directory. Output: a table, JSON, a page or
//! OpenMetrics text. Called by [`super::run`]. No request goes to the vendor, and the secrets that a config refers to
//! need not exist.
//!
//! It exits with 0 whatever the verdicts are. `--format json` has the verdicts for scripts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::Map;
use time::OffsetDateTime;

use super::groups::{LogArgs, SourceArgs, StateDirArgs};
use super::look;
use crate::base::config::{self, Config};
use crate::base::fault::{Fault, Result};
use crate::run::context::Context;
use crate::run::identity::state_dir_or_own;
use crate::run::load::{self, ConfiguredSource};
use crate::run::options::RunOptions;
use crate::tenant::run_record::{self, RunRecords};
use crate::tenant::status::{StatusReport, Subject, html, openmetrics, table};

/// The arguments of `status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// All tenants whose configs (*.json) are in this folder
    ///
    /// Without it: the tenant of --config; without that, all tenants in the state directory.
    #[arg(long, value_name = "DIR", conflicts_with = "config", help_heading = "Input")]
    pub tenants: Option<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    state_dir: StateDirArgs,
    /// How the status is written
    #[arg(long, value_enum, default_value = "table", help_heading = "Output")]
    format: StatusFormat,
    #[command(flatten)]
    log: LogArgs,
}

impl StatusArgs {
    pub(super) fn fill(&self, asked: &mut RunOptions) {
        self.source.fill(asked);
        self.state_dir.fill(asked);
        self.log.fill(asked);
    }
}

/// How the status is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StatusFormat {
    /// For a terminal
    Table,
    /// For scripts
    Json,
    /// A page
    Html,
    /// For Prometheus
    Openmetrics,
}

/// Writes the status; returns the exit code.
pub(super) fn run(context: &Context, asked: &StatusArgs) -> Result<u8> {
    let subjects = match &asked.tenants {
        Some(folder) => of_folder(context, folder)?,
        None if context.options.config.is_empty() => of_root(context)?,
        None => vec![of_config(context)?],
    };
    let report = StatusReport::of(&subjects, load::now()?.0);
    match asked.format {
        StatusFormat::Json => context.pretty(&report),
        StatusFormat::Html => context.text(&html::write(&report)),
        StatusFormat::Openmetrics => context.text(&openmetrics::write(&report)),
        StatusFormat::Table => context.text(&table::write(&report, look())),
    }
    .map(|()| 0)
}

/// The tenants of a folder's configs, including invalid ones.
fn of_folder(context: &Context, folder: &Path) -> Result<Vec<Subject>> {
    let paths = load::configs_in(folder)?;
    if paths.is_empty() {
        return Err(Fault::config(format!("{} has no config", folder.display()))
            .hint("put one config per tenant there, as *.json"));
    }
    let subjects = paths.iter().map(|path| of_path(context, path)).collect::<Result<Vec<Option<Subject>>>>()?;
    Ok(subjects.into_iter().flatten().collect())
}

/// The tenant of a config; `None` if it belongs to another source than the requested one.
fn of_path(context: &Context, path: &Path) -> Result<Option<Subject>> {
    let shown = path.display().to_string();
    let mut own = context.clone();
    own.options.config = vec![shown.clone()];
    let partial = config::partial(&own.options.config, context.origin(&Map::new()));
    if let (Some(named), Some(says)) = (&context.options.source, &partial.source)
        && named != says
    {
        return Ok(None);
    }
    let read = config::written(&shown).and_then(|config| {
        let manifest = load::manifest(&own, Some(&config))?;
        config::validate_source(&config, &load::specification(&manifest))?;
        Ok((manifest.name.to_string(), config))
    });
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let named = context.source_or(partial.source.as_deref());
    let (source, config, fault) = match read {
        Ok((source, config)) => (source, Some(config), None),
        Err(fault) => (named.map_or_else(|| "unknown".to_owned(), |name| stem(Path::new(name))), None, Some(fault)),
    };
    // A tenant without a name is named after its account, which only its credentials identify.
    let unnamed =
        || (fault.is_none()).then(|| own.configured().ok()).flatten().map(|configured| configured.identity.tenant);
    Ok(Some(Subject {
        tenant: partial.tenant.or_else(unnamed).unwrap_or_else(|| stem(path)),
        source,
        root: state_dir_or_own(context, partial.state_dir.as_ref())?,
        config: Some(shown),
        twins: Vec::new(),
        since: changed(path),
        tiers: config.map(|config| config.ours.tiers).unwrap_or_default(),
        arguments: words(&own),
        fault: fault.map(|fault| context.log.hidden(&fault)),
    }))
}

/// The tenant of the options' config.
fn of_config(context: &Context) -> Result<Subject> {
    let ConfiguredSource { identity, config, .. } = context.configured()?;
    Ok(Subject {
        source: identity.source,
        tenant: identity.tenant,
        root: state_dir_or_own(context, config.ours.state_dir.as_ref())?,
        config: Some(context.options.config.join(", ")),
        twins: Vec::new(),
        since: context.options.config.last().and_then(|path| changed(Path::new(path))),
        tiers: config.ours.tiers,
        arguments: words(context),
        fault: None,
    })
}

/// All tenants with a record in the state directory; their configs are those of their last runs, if they still exist.
fn of_root(context: &Context) -> Result<Vec<Subject>> {
    let root = state_dir_or_own(context, None)?;
    let all = run_record::all(&root)?;
    let named = context.options.source.as_deref();
    let all: BTreeSet<(String, String)> =
        all.into_iter().filter(|(source, _)| named.is_none_or(|named| named == source)).collect();
    if all.is_empty() {
        return Err(Fault::config(format!("{} has no record of a run", root.display())).hint(
            "choose tenants with --tenants DIR or --config FILE, or the runs' state directory with --state-dir DIR",
        ));
    }
    Ok(all.into_iter().map(|(source, tenant)| of_record(context, &root, source, tenant)).collect())
}

fn of_record(context: &Context, root: &Path, source: String, tenant: String) -> Subject {
    let record = RunRecords::new(root, &source, &tenant).read().ok().flatten().unwrap_or_default();
    let last = record.runs.values().max_by(|a, b| a.began.cmp(&b.began));
    let paths = last.map(|run| run.config.clone()).unwrap_or_default();
    let config: Option<Config> = match &paths[..] {
        [path] => config::written(path).ok(),
        _ => None,
    };
    let mut own = context.clone();
    own.options = RunOptions { config: paths.clone(), ..own.options };
    Subject {
        root: root.to_owned(),
        twins: Vec::new(),
        since: None,
        tiers: config.map(|config| config.ours.tiers).unwrap_or_default(),
        arguments: words(&own),
        config: Some(paths.join(", ")).filter(|paths| !paths.is_empty()),
        source,
        tenant,
        fault: None,
    }
}

fn words(context: &Context) -> String {
    context.tenant_arguments()
}

/// When a file was last modified.
fn changed(path: &Path) -> Option<OffsetDateTime> {
    std::fs::metadata(path).and_then(|of| of.modified()).ok().map(OffsetDateTime::from)
}
