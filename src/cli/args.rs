//! What a person types: verbs and options, in either of two forms.
//!
//! Comes in: arguments. Goes out: one verb and its options (`dripfeed read --source asana`, or a Singer tap's
//! `--config C --discover`). Called by `main` and [`super::run`].

use std::path::PathBuf;

use clap::builder::Resettable;
use clap::{Arg, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use super::format::ReportFormat;
use super::{drift, schedule, status, sync};

use crate::engine::cursor::ranges::Span;
use crate::pace::limiter;
use crate::protocol;
use crate::run::backfill;
use crate::run::options::{LogOptions, RunOptions};

/// Reads SaaS APIs incrementally from declarative manifests, as a Singer tap or an Airbyte source.
#[derive(Debug, Parser)]
#[command(
    name = "dripfeed",
    version,
    about = "Reads SaaS APIs incrementally from declarative manifests, as a Singer tap or an Airbyte source",
    long_about = "dripfeed polls a SaaS API and prints what any warehouse loader reads: Singer messages, or those of \
        the Airbyte protocol.\n\n\
        A source is a declarative manifest in Airbyte's low-code vocabulary: a built-in one (see `dripfeed sources`) \
        or a file of yours. Every run brings what changed since the state it is given, within the tenant's limits, \
        and ends with a state from which the next run goes on.",
    after_help = "Try it now, with no account: dripfeed read --source sandbox\nMore with --help.",
    after_long_help = EXAMPLES,
    disable_version_flag = true,
    args_override_self = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do; none means the Singer flag form.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// Options of every verb.
    #[command(flatten)]
    pub options: Options,
}

const EXAMPLES: &str = "\
EXAMPLES:
  Read the sandbox, a vendor in a box, with no account and no network:
      dripfeed read --source sandbox

  Read your own manifest with your own config, and keep the state:
      dripfeed read --source my.yaml --config acme.json > messages.jsonl

  Go on from a state, into a Singer target:
      dripfeed read --source my.yaml --config acme.json --state state.json | target-jsonl > state.new

  As a Singer tap, for Meltano and shell scripts:
      dripfeed --source my.yaml --config acme.json --discover > catalog.json
      dripfeed --source my.yaml --config acme.json --catalog catalog.json --state state.json

  As an Airbyte source, for the platform and PyAirbyte:
      dripfeed read --protocol airbyte --source my.yaml --config acme.json --catalog configured.json

  Check credentials, then look at three records of one stream:
      dripfeed check --source my.yaml --config acme.json
      dripfeed read --source my.yaml --config acme.json --streams tasks --limit 3

  Read three years of the past beside the live runs, which go first:
      dripfeed read --source my.yaml --config acme.json --backfill 2022-01-01..2025-01-01

  Feed a target, keep what it echoes; then three years of history beside the live runs:
      dripfeed sync --config acme.json --tier hourly --target 'target-postgres --config pg.json'
      dripfeed sync --config acme.json --backfill 2022-01-01..2025-01-01 --target 'target-postgres --config pg.json'

  Schedule every tenant of a folder, and see how they stand:
      dripfeed schedule --tenants tenants --format cron --target 'target-postgres --config pg.json'
      dripfeed status --tenants tenants

  See what the vendor changed, and accept it:
      dripfeed drift show --source my.yaml --config acme.json
      dripfeed drift accept 7c1e09ab4d52 --source my.yaml --config acme.json

EXIT CODES:
  0 done    2 usage    10 config, manifest, catalog or state refused    20 credentials refused
  30 drift that must be judged    40 some streams failed, the others are whole
  50 a bug    60 local files or pipes
  69 the vendor is down    75 saved, not finished: run again    76 another run reads the same
  130/143 stopped by a signal, state saved";

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Print the JSON schema of the config
    Spec,
    /// Check the credentials: read one record of each stream that the manifest names
    Check,
    /// Print the catalog: streams, fields, keys
    Discover,
    /// Read the chosen streams and print their records and state
    Read,
    /// Read into a target, and keep the state that it echoes
    Sync(sync::SyncArgs),
    /// Say how every tenant stands: freshness, last run, cap, drift, backfill
    #[command(after_help = "--format takes table (the default), json, html or openmetrics")]
    Status(status::StatusArgs),
    /// Write the tenants' runs as definitions of a scheduler
    #[command(after_help = "--format takes cron (the default), airflow, dagster, kubernetes or meltano")]
    Schedule(schedule::ScheduleArgs),
    /// Show what the vendor changed, and judge it
    Drift(drift::DriftArgs),
    /// List the built-in sources, or the streams of --source
    Sources,
    /// Check a manifest without config or network
    Validate {
        /// The manifest
        manifest: PathBuf,
    },
    /// Serve the sandbox: a vendor in a box, for trials and tests
    Sandbox(Box<crate::sandbox::Settings>),
    /// Print a shell's completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// How output is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProtocolArg {
    /// SCHEMA, RECORD, STATE
    Singer,
    /// Airbyte protocol
    Airbyte,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line, as singer-sdk writes them
    Json,
}

/// Which run goes first where several share an account's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PriorityArg {
    /// What a dashboard waits for
    Hourly,
    /// What is read once a day
    Daily,
    /// History: takes what is free
    Backfill,
}

/// Options of every verb, before or after it.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// A built-in source, or the path of a manifest [else dripfeed.source in the config, or DRIPFEED_SOURCE]
    #[arg(long, short = 's', alias = "manifest-path", value_name = "NAME|FILE", global = true, help_heading = "Input")]
    pub source: Option<String>,
    /// The config of a tenant: a JSON file, or ENV for TAP_<SOURCE>_… variables; may be repeated, later ones win
    #[arg(long, short = 'c', value_name = "FILE", global = true, help_heading = "Input")]
    pub config: Vec<String>,
    /// Which streams and fields to read: a Singer catalog, or Airbyte's configured catalog
    #[arg(long, value_name = "FILE", global = true, help_heading = "Input")]
    pub catalog: Option<PathBuf>,
    /// The older name of --catalog
    #[arg(
        long,
        value_name = "FILE",
        global = true,
        conflicts_with = "catalog",
        hide_short_help = true,
        help_heading = "Input"
    )]
    pub properties: Option<PathBuf>,
    /// Where an earlier run ended: the value of its last STATE, or Airbyte's list; sync keeps it there
    #[arg(long, value_name = "FILE", global = true, help_heading = "Input")]
    pub state: Option<PathBuf>,
    /// Only these streams, with commas between
    #[arg(
        long,
        value_name = "A,B",
        global = true,
        value_delimiter = ',',
        env = "DRIPFEED_STREAMS",
        hide_env = true,
        help_heading = "Selection"
    )]
    pub streams: Vec<String>,
    /// Only the streams of this tier of the config
    #[arg(
        long,
        value_name = "TIER",
        global = true,
        env = "DRIPFEED_TIER",
        hide_env = true,
        help_heading = "Selection"
    )]
    pub tier: Option<String>,
    /// Which run goes first where several share an account's limits [default: the tier's, else daily]
    #[arg(long, global = true, value_enum, help_heading = "Selection")]
    pub priority: Option<PriorityArg>,
    /// The share of each limit that is used, from 0.01 to 1 [else dripfeed.pace.headroom, or 0.98]
    #[arg(
        long,
        value_name = "F",
        global = true,
        value_parser = share,
        hide_short_help = true,
        help_heading = "Selection"
    )]
    pub headroom: Option<f64>,
    /// Ignore the state: read everything from the start date
    #[arg(long, global = true, help_heading = "Selection")]
    pub full_refresh: bool,
    /// Ignore the state of these streams
    #[arg(long, value_name = "STREAM", global = true, help_heading = "Selection")]
    pub reset: Vec<String>,
    /// Read this part of the past alone, with a state of its own: dates or times, TO is no part of it
    #[arg(
        long,
        value_name = "FROM..TO",
        global = true,
        value_parser = backfill::span,
        env = "DRIPFEED_BACKFILL",
        hide_env = true,
        conflicts_with = "full_refresh",
        help_heading = "Selection"
    )]
    pub backfill: Option<Span>,
    /// Stop after N records of each stream: a preview, which saves no state
    #[arg(long, value_name = "N", global = true, help_heading = "Selection")]
    pub limit: Option<u64>,
    /// How to write [default: singer]
    #[arg(
        long,
        global = true,
        value_enum,
        env = "DRIPFEED_PROTOCOL",
        hide_env = true,
        hide_short_help = true,
        help_heading = "Output"
    )]
    pub protocol: Option<ProtocolArg>,
    /// How to write log lines [default: text, or json when Meltano asks for it]
    #[arg(long, global = true, value_enum, help_heading = "Output")]
    pub log_format: Option<LogFormat>,
    /// End with 0 instead of 75 and 76, where the next run goes on: for who starts runs and knows no more than 0
    #[arg(
        long,
        global = true,
        env = "DRIPFEED_UNFINISHED_OK",
        hide_env = true,
        value_parser = clap::builder::FalseyValueParser::new(),
        hide_short_help = true,
        help_heading = "Output"
    )]
    pub unfinished_ok: bool,
    /// Append what happens to this file, one JSON object a line
    #[arg(long, value_name = "FILE", global = true, help_heading = "Output")]
    pub events: Option<PathBuf>,
    /// Say more: every request
    #[arg(long, short = 'v', global = true, action = clap::ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,
    /// Airbyte: say more
    #[arg(long, global = true, hide = true)]
    pub debug: bool,
    /// Say less: warnings and errors only
    #[arg(long, short = 'q', global = true, help_heading = "Output")]
    pub quiet: bool,
    /// Singer: print the catalog
    #[arg(long, short = 'd', global = true, help_heading = "Singer flags")]
    pub discover: bool,
    /// Singer: say what this tap is
    #[arg(long, global = true, help_heading = "Singer flags")]
    pub about: bool,
    /// How to write --about (text, json, markdown), reports of drift (also html), status and schedule (see their help)
    #[arg(
        long,
        global = true,
        value_enum,
        hide_short_help = true,
        hide_possible_values = true,
        help_heading = "Output"
    )]
    pub format: Option<ReportFormat>,
    /// Singer: check the credentials
    #[arg(
        long,
        global = true,
        num_args = 0..=1,
        default_missing_value = "all",
        value_name = "KIND",
        require_equals = true,
        help_heading = "Singer flags"
    )]
    pub test: Option<String>,
    /// Print the version
    #[arg(long, short = 'V', global = true, help_heading = "Singer flags")]
    pub version: bool,
}

/// A share of a limit.
fn share(text: &str) -> std::result::Result<f64, String> {
    text.parse().ok().filter(|share| (0.01..=1.0).contains(share)).ok_or_else(|| "it is a number from 0.01 to 1".into())
}

/// What the binary's own name says: `tap-asana`, `source-asana`.
#[derive(Debug, Clone)]
pub struct Named {
    /// The source.
    pub source: String,
    /// How it writes.
    pub protocol: ProtocolArg,
}

impl Named {
    /// What the first argument says, if it says anything.
    pub fn of(arg0: &str) -> Option<Named> {
        let name = std::path::Path::new(arg0).file_stem()?.to_str()?;
        let named = |source: &str, protocol| Named { source: source.into(), protocol };
        let singer = name.strip_prefix("tap-").map(|source| named(source, ProtocolArg::Singer));
        singer.or_else(|| name.strip_prefix("source-").map(|source| named(source, ProtocolArg::Airbyte)))
    }
}

/// Parses arguments. Help and completions come back as text to print.
pub fn parse(args: &[std::ffi::OsString]) -> std::result::Result<Cli, clap::Error> {
    let is_empty = |arg: &Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    // An empty variable says nothing.
    let mut command = Cli::command().mut_args(|arg| if is_empty(&arg) { arg.env(Resettable::Reset) } else { arg });
    let found = command.try_get_matches_from_mut(args)?;
    Cli::from_arg_matches(&found).map_err(|error| error.format(&mut command))
}

impl Options {
    /// What a run is asked to do; `config` comes before the files that the options name.
    pub fn run_options(&self, config: Option<String>) -> RunOptions {
        let options = self.clone();
        RunOptions {
            source: options.source,
            config: config.into_iter().chain(options.config).collect(),
            catalog: options.catalog.or(options.properties),
            state: options.state,
            streams: options.streams,
            tier: options.tier,
            priority: options.priority.map(limiter::Priority::from),
            headroom: options.headroom,
            full_refresh: options.full_refresh,
            reset: options.reset,
            backfill: options.backfill,
            limit: options.limit,
            log: LogOptions {
                json: options.log_format.map(|format| format == LogFormat::Json),
                quiet: options.quiet,
                verbose: options.debug || options.verbose > 0,
                events: options.events,
            },
        }
    }
}

impl From<PriorityArg> for limiter::Priority {
    fn from(priority: PriorityArg) -> Self {
        match priority {
            PriorityArg::Hourly => limiter::Priority::Hourly,
            PriorityArg::Daily => limiter::Priority::Daily,
            PriorityArg::Backfill => limiter::Priority::Backfill,
        }
    }
}

impl From<ProtocolArg> for protocol::Protocol {
    fn from(protocol: ProtocolArg) -> Self {
        match protocol {
            ProtocolArg::Singer => protocol::Protocol::Singer,
            ProtocolArg::Airbyte => protocol::Protocol::Airbyte,
        }
    }
}
