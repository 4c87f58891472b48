//! The verbs of `drift`: what changed, and what a person decides about it.
//!
//! Comes in: the options and what runs kept in the state directory. Goes out: reports, and judgements in that
//! directory. Called by `commands`. The vendor is asked nothing.

mod decide;
mod promote;
mod replay;
mod scope;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::format::ReportFormat;
use super::look;
use crate::base::fault::{Kind, Result};
use crate::drift::report::{self, Question, Report};
use crate::drift::rules::Severity;
use crate::run::context::Context;
use crate::run::load::{self, Purpose};
use scope::DriftScope;

/// A verb of `drift`.
#[derive(Debug, Clone, Args)]
pub struct DriftArgs {
    /// Which.
    #[command(subcommand)]
    pub verb: DriftVerb,
    /// Of all tenants whose configs (*.json) are in this folder
    #[arg(
        long,
        value_name = "DIR",
        global = true,
        conflicts_with_all = ["state_root", "config"],
        help_heading = "Input"
    )]
    pub tenants: Option<PathBuf>,
    /// Of all tenants in this state directory
    #[arg(long, value_name = "DIR", global = true, help_heading = "Input")]
    pub state_root: Option<PathBuf>,
    /// Of these tenants among them
    #[arg(long, value_name = "A,B", global = true, value_delimiter = ',', help_heading = "Selection")]
    pub tenant: Vec<String>,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum DriftVerb {
    /// Show every change that nobody has accepted
    Show,
    /// Say in a line how it stands; ends with 30 when a change breaks data or extraction
    Check,
    /// Accept changes: they are how the source is from now on
    Accept(Accept),
    /// Reject changes: they go on failing, without an alert for some days
    Reject(Reject),
    /// Write what a tenant has beyond the baseline into the baseline's files, for review
    Promote(Promote),
    /// Accept everything and begin to learn anew
    Learn(Learn),
    /// Print the records that were put aside and fit by now, for a target; those that do not stay
    Replay(Replay),
}

/// Which records are replayed.
#[derive(Debug, Clone, Args)]
pub struct Replay {
    /// Also those that a later run may have sent in a newer version
    #[arg(long)]
    pub force: bool,
}

/// Who judges, and why.
#[derive(Debug, Clone, Args)]
pub struct ReasonArgs {
    /// Why: it stands in reports
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub why: String,
    /// Who decides [default: $USER]
    #[arg(long, value_name = "WHO")]
    pub by: Option<String>,
}

/// Which changes are accepted.
#[derive(Debug, Clone, Args)]
pub struct Accept {
    /// Their fingerprints, or as much of each as tells it apart
    #[arg(value_name = "FINGERPRINT", required_unless_present = "all", conflicts_with = "all")]
    pub fingerprints: Vec<String>,
    /// All of them
    #[arg(long)]
    pub all: bool,
    /// With --all: those of at most this severity
    #[arg(long, requires = "all", value_parser = severity(), value_name = "SEVERITY")]
    pub severity: Option<Severity>,
    /// Who, and why.
    #[command(flatten)]
    pub reason: ReasonArgs,
    /// Also where CI is set
    #[arg(long)]
    pub force: bool,
}

/// Which changes are rejected.
#[derive(Debug, Clone, Args)]
pub struct Reject {
    /// Their fingerprints, or as much of each as tells it apart
    #[arg(value_name = "FINGERPRINT", required = true)]
    pub fingerprints: Vec<String>,
    /// How long they are not told again
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=3660))]
    pub days: u32,
    /// Who, and why.
    #[command(flatten)]
    pub reason: ReasonArgs,
}

/// Where the baseline's files are.
#[derive(Debug, Clone, Args)]
pub struct Promote {
    /// The folder of the baseline's files [default: schemas/<source>]
    #[arg(long, value_name = "DIR")]
    pub into: Option<PathBuf>,
    /// Who, and why.
    #[command(flatten)]
    pub reason: ReasonArgs,
}

/// How everything is accepted.
#[derive(Debug, Clone, Args)]
pub struct Learn {
    /// Who, and why.
    #[command(flatten)]
    pub reason: ReasonArgs,
    /// Also where CI is set
    #[arg(long)]
    pub force: bool,
}

fn severity() -> impl clap::builder::TypedValueParser<Value = Severity> {
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(["info", "warn", "break", "extraction"])
        .try_map(|name| Severity::of(&name).ok_or("it is no severity"))
}

/// Does what is asked; gives the exit code.
pub(super) fn run(context: &Context, asked: &DriftArgs, format: Option<ReportFormat>) -> Result<u8> {
    if let DriftVerb::Replay(replay) = &asked.verb {
        return replay::run(context, replay).map(|()| 0);
    }
    let scope = scope::scope(context, asked)?;
    let done = match &asked.verb {
        DriftVerb::Show => show(context, &scope, format).map(|()| 0),
        DriftVerb::Check => check(context, &scope, format),
        DriftVerb::Accept(accept) => decide::accept(context, &scope, accept).map(|()| 0),
        DriftVerb::Reject(reject) => decide::reject(context, &scope, reject).map(|()| 0),
        DriftVerb::Promote(promote) => promote::run(context, &scope, promote).map(|()| 0),
        DriftVerb::Learn(learn) => decide::learn(context, &scope, learn).map(|()| 0),
        DriftVerb::Replay(_) => Ok(0),
    };
    // A tenant that could not be looked at is worse than one that has drift.
    done.map(|code| scope.trouble.map_or(code, Kind::exit_code))
}

/// The report on the scene.
fn report(context: &Context, scope: &DriftScope) -> Result<Report> {
    let baseline = baseline(context, scope).unwrap_or_default();
    let question = Question {
        source: &scope.source,
        tenants: &scope.shown,
        wants: &|stream| scope::wants(context, stream),
        baseline: &baseline,
        now: load::now()?.0,
        arguments: scope.arguments.clone(),
    };
    Ok(Report::of(&scope.read_all()?, question))
}

/// The baseline's schemas, by stream, as far as they can be told without asking the vendor; without them the report
/// only lacks how a place was before.
fn baseline(context: &Context, scope: &DriftScope) -> Option<BTreeMap<String, serde_json::Value>> {
    let mut context = context.clone();
    // Nothing is told of the load: it is the report's alone.
    context.protocol = crate::protocol::Protocol::Singer;
    context.options.config.clone_from(&scope.config);
    context.options.source = context.options.source.or_else(|| Some(scope.source.clone()));
    let purpose = if scope.config.is_empty() { Purpose::Discover } else { Purpose::Read };
    let loaded = context.load(purpose).ok()?;
    Some(loaded.plan.streams.iter().map(|stream| (stream.name.to_string(), stream.schema.clone())).collect())
}

fn show(context: &Context, scope: &DriftScope, format: Option<ReportFormat>) -> Result<()> {
    let report = report(context, scope)?;
    match ReportFormat::among(
        format,
        &[ReportFormat::Text, ReportFormat::Json, ReportFormat::Markdown, ReportFormat::Html],
    )? {
        ReportFormat::Json => context.pretty(&report::json::value(&report)?),
        ReportFormat::Markdown => context.text(&report::markdown::write(&report)),
        ReportFormat::Html => context.text(&report::html::write(&report)),
        _ => context.text(&report::text::write(&report, look())),
    }
}

fn check(context: &Context, scope: &DriftScope, format: Option<ReportFormat>) -> Result<u8> {
    let report = report(context, scope)?;
    match ReportFormat::among(format, &[ReportFormat::Text, ReportFormat::Json, ReportFormat::Markdown])? {
        ReportFormat::Json => context.pretty(&report::json::summary(&report))?,
        _ => context.text(&format!("{}\n", report.line()))?,
    }
    Ok(if report.grave() > 0 { Kind::Drift.exit_code() } else { 0 })
}
