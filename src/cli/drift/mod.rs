//! The verbs of `drift`: show what changed, and record a person's decisions about it.
//!
//! Input: the options, and what earlier runs saved in the state directory. Output: reports, and decisions saved in
//! that directory. Called by [`super::run`]. No request goes to the vendor.

mod decide;
mod promote;
mod replay;
mod scope;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::groups::{LogArgs, OutputArgs, ProtocolArg, SourceArgs, StateDirArgs};
use super::look;
use crate::base::fault::{Kind, Result};
use crate::drift::report::{self, Question, Report};
use crate::drift::rules::Severity;
use crate::run::context::Context;
use crate::run::load::{self, Purpose};
use crate::run::options::RunOptions;
use scope::DriftScope;

/// A verb of `drift`.
#[derive(Debug, Clone, Args)]
pub struct DriftArgs {
    /// Which.
    #[command(subcommand)]
    pub verb: DriftVerb,
}

/// Selects the source, tenants and streams.
#[derive(Debug, Clone, Args)]
pub struct ScopeArgs {
    /// All tenants whose configs (*.json) are in this folder
    ///
    /// Without it: the tenant of --config; without that, all tenants in the state directory.
    #[arg(long, value_name = "DIR", conflicts_with = "config", help_heading = "Input")]
    pub tenants: Option<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    state_dir: StateDirArgs,
    /// The older name of --state-dir.
    #[arg(long, hide = true, value_parser = moved)]
    state_root: Option<PathBuf>,
    /// Only these tenants
    #[arg(long, value_name = "A,B", value_delimiter = ',', help_heading = "Selection")]
    pub tenant: Vec<String>,
    /// Only these streams
    #[arg(long, value_name = "A,B", value_delimiter = ',', help_heading = "Selection")]
    streams: Vec<String>,
    #[command(flatten)]
    log: LogArgs,
}

/// Rejects an option that was renamed.
fn moved(_: &str) -> std::result::Result<PathBuf, &'static str> {
    Err("--state-root is now --state-dir, as in every verb")
}

impl DriftArgs {
    pub(super) fn fill(&self, asked: &mut RunOptions) {
        let scope = match self.verb.scope() {
            Ok(scope) => scope,
            Err(replay) => return replay.fill(asked),
        };
        scope.source.fill(asked);
        scope.state_dir.fill(asked);
        scope.log.fill(asked);
        asked.streams.clone_from(&scope.streams);
    }

    /// Does it only print a report?
    pub(super) fn only_prints(&self) -> bool {
        matches!(self.verb, DriftVerb::Show(_))
    }

    /// How messages are written, where the arguments say so.
    pub(super) fn protocol(&self) -> Option<ProtocolArg> {
        self.verb.scope().err().and_then(|replay| replay.output.protocol)
    }
}

/// The verbs of `dripfeed drift`.
#[derive(Debug, Clone, Subcommand)]
pub enum DriftVerb {
    /// Show each change that nobody has accepted
    Show(Show),
    /// Print the verdict in one line; exit with 30 when a change breaks data or extraction
    Check(Check),
    /// Accept changes as the new baseline
    Accept(Accept),
    /// Reject changes: they keep failing, without an alert for some days
    Reject(Reject),
    /// Write what a tenant has beyond the baseline into the baseline's files, for review
    Promote(Promote),
    /// Accept everything and start learning again
    Learn(Learn),
    /// Print the quarantined records that fit now, for a target; the others stay
    Replay(Replay),
}

impl DriftVerb {
    /// The scope of the verb; `replay` has its own arguments.
    fn scope(&self) -> std::result::Result<&ScopeArgs, &Replay> {
        match self {
            DriftVerb::Show(show) => Ok(&show.scope),
            DriftVerb::Check(check) => Ok(&check.scope),
            DriftVerb::Accept(accept) => Ok(&accept.scope),
            DriftVerb::Reject(reject) => Ok(&reject.scope),
            DriftVerb::Promote(promote) => Ok(&promote.scope),
            DriftVerb::Learn(learn) => Ok(&learn.scope),
            DriftVerb::Replay(replay) => Err(replay),
        }
    }
}

/// Arguments of `drift show`: which changes are shown, and in which format.
#[derive(Debug, Clone, Args)]
pub struct Show {
    #[command(flatten)]
    scope: ScopeArgs,
    /// How the report is written
    #[arg(long, value_enum, default_value = "text", help_heading = "Output")]
    format: ReportFormat,
}

/// The format of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For a terminal
    Text,
    /// For scripts
    Json,
    /// For a ticket
    Markdown,
    /// A page
    Html,
}

/// Arguments of `drift check`: which changes are counted, and in which format.
#[derive(Debug, Clone, Args)]
pub struct Check {
    #[command(flatten)]
    scope: ScopeArgs,
    /// How the verdict is written
    #[arg(long, value_enum, default_value = "text", help_heading = "Output")]
    format: VerdictFormat,
}

/// The format of the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VerdictFormat {
    /// One line
    Text,
    /// For scripts
    Json,
}

/// Arguments of `drift replay`: which records are replayed.
#[derive(Debug, Clone, Args)]
pub struct Replay {
    #[command(flatten)]
    source: SourceArgs,
    /// The state that is printed last, so that the target keeps it
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    state: Option<PathBuf>,
    #[command(flatten)]
    state_dir: StateDirArgs,
    /// Only these streams
    #[arg(long, value_name = "A,B", value_delimiter = ',', help_heading = "Selection")]
    streams: Vec<String>,
    /// Also send records of which a later run sent a newer version
    #[arg(long, help_heading = "Selection")]
    pub force: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    log: LogArgs,
}

impl Replay {
    fn fill(&self, asked: &mut RunOptions) {
        self.source.fill(asked);
        self.state_dir.fill(asked);
        self.log.fill(asked);
        asked.state.clone_from(&self.state);
        asked.streams.clone_from(&self.streams);
    }
}

/// Who decided, and why.
#[derive(Debug, Clone, Args)]
pub struct ReasonArgs {
    /// The reason, for reports
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub why: String,
    /// Who decides [default: $USER]
    #[arg(long, value_name = "WHO")]
    pub by: Option<String>,
}

/// Arguments of `drift accept`: which changes are accepted.
#[derive(Debug, Clone, Args)]
pub struct Accept {
    /// The changes' fingerprints; a unique prefix of each is enough
    #[arg(value_name = "FINGERPRINT", required_unless_present = "all", conflicts_with = "all")]
    pub fingerprints: Vec<String>,
    /// All changes
    #[arg(long)]
    pub all: bool,
    /// With --all: only changes of at most this severity
    #[arg(long, requires = "all", value_parser = severity(), value_name = "SEVERITY")]
    pub severity: Option<Severity>,
    /// Who, and why.
    #[command(flatten)]
    pub reason: ReasonArgs,
    /// Decide even if CI is set
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    scope: ScopeArgs,
}

/// Arguments of `drift reject`: which changes are rejected.
#[derive(Debug, Clone, Args)]
pub struct Reject {
    /// The changes' fingerprints; a unique prefix of each is enough
    #[arg(value_name = "FINGERPRINT", required = true)]
    pub fingerprints: Vec<String>,
    /// Days without an alert
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=3660))]
    pub days: u32,
    /// Who, and why.
    #[command(flatten)]
    pub reason: ReasonArgs,
    #[command(flatten)]
    scope: ScopeArgs,
}

/// Arguments of `drift promote`: where the baseline files are.
#[derive(Debug, Clone, Args)]
pub struct Promote {
    /// The folder of the baseline's files [default: schemas/<source>]
    #[arg(long, value_name = "DIR")]
    pub into: Option<PathBuf>,
    /// Who, and why.
    #[command(flatten)]
    pub reason: ReasonArgs,
    #[command(flatten)]
    scope: ScopeArgs,
}

/// Arguments of `drift learn`.
#[derive(Debug, Clone, Args)]
pub struct Learn {
    /// Who, and why.
    #[command(flatten)]
    pub reason: ReasonArgs,
    /// Decide even if CI is set
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    scope: ScopeArgs,
}

fn severity() -> impl clap::builder::TypedValueParser<Value = Severity> {
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(["info", "warn", "break", "extraction"])
        .try_map(|name| Severity::of(&name).ok_or("it is not a severity"))
}

/// Runs the requested verb; returns the exit code.
pub(super) fn run(context: &Context, asked: &DriftArgs) -> Result<u8> {
    let scope = match asked.verb.scope() {
        Ok(asked) => scope::scope(context, asked)?,
        Err(asked) => return replay::run(context, asked).map(|()| 0),
    };
    let done = match &asked.verb {
        DriftVerb::Show(asked) => show(context, &scope, asked.format).map(|()| 0),
        DriftVerb::Check(asked) => check(context, &scope, asked.format),
        DriftVerb::Accept(accept) => decide::accept(context, &scope, accept).map(|()| 0),
        DriftVerb::Reject(reject) => decide::reject(context, &scope, reject).map(|()| 0),
        DriftVerb::Promote(promote) => promote::run(context, &scope, promote).map(|()| 0),
        DriftVerb::Learn(learn) => decide::learn(context, &scope, learn).map(|()| 0),
        DriftVerb::Replay(_) => Ok(0),
    };
    // A tenant that could not be read outranks one that has drift.
    done.map(|code| scope.trouble.map_or(code, Kind::exit_code))
}

/// The report for the selected source, tenants and streams.
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

/// The baseline schemas by stream, as far as they are known without a request to the vendor. Without them the report
/// only lacks the earlier schema of each change.
fn baseline(context: &Context, scope: &DriftScope) -> Option<BTreeMap<String, serde_json::Value>> {
    let mut context = context.clone();
    // Loading prints no messages: stdout belongs to the report.
    context.protocol = crate::protocol::Protocol::Singer;
    context.options.config.clone_from(&scope.config);
    context.options.source = context.options.source.or_else(|| Some(scope.source.clone()));
    let purpose = if scope.config.is_empty() { Purpose::Discover } else { Purpose::Read };
    let loaded = context.load(purpose).ok()?;
    Some(loaded.plan.streams.iter().map(|stream| (stream.name.to_string(), stream.schema.clone())).collect())
}

fn show(context: &Context, scope: &DriftScope, format: ReportFormat) -> Result<()> {
    let report = report(context, scope)?;
    match format {
        ReportFormat::Json => context.pretty(&report::json::value(&report)?),
        ReportFormat::Markdown => context.text(&report::markdown::write(&report)),
        ReportFormat::Html => context.text(&report::html::write(&report)),
        ReportFormat::Text => context.text(&report::text::write(&report, look())),
    }
}

fn check(context: &Context, scope: &DriftScope, format: VerdictFormat) -> Result<u8> {
    let report = report(context, scope)?;
    match format {
        VerdictFormat::Json => context.pretty(&report::json::summary(&report))?,
        VerdictFormat::Text => context.text(&report::text::line(&report, look()))?,
    }
    Ok(if report.grave() > 0 { Kind::Drift.exit_code() } else { 0 })
}
