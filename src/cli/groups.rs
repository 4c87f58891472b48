//! Argument groups that several verbs share.
//!
//! Input: the arguments that clap parsed. Output: parts of [`RunOptions`]. Called by [`super::args::Cli`] and the
//! verbs' own arguments.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::engine::cursor::ranges::Span;
use crate::pace::limiter;
use crate::protocol;
use crate::run::backfill;
use crate::run::options::RunOptions;

/// The message protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProtocolArg {
    /// SCHEMA, RECORD, STATE
    Singer,
    /// Airbyte protocol
    Airbyte,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line, as singer-sdk writes them
    Json,
}

/// The priority of a run among those that share an account's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PriorityArg {
    /// What a dashboard waits for
    Hourly,
    /// What is read once a day
    Daily,
    /// History: takes what is free
    Backfill,
}

/// Arguments for the source and the tenant.
#[derive(Debug, Clone, Args)]
pub struct SourceArgs {
    /// A built-in source, or the path of a manifest
    ///
    /// Without it: dripfeed.source of the config, or DRIPFEED_SOURCE.
    #[arg(long, short = 's', alias = "manifest-path", value_name = "NAME|FILE", help_heading = "Input")]
    source: Option<String>,
    /// The tenant's config, a JSON file; repeatable, later files override
    ///
    /// ENV reads the variables `TAP_<SOURCE>_<SETTING>` instead of a file.
    #[arg(long, short = 'c', value_name = "FILE", help_heading = "Input")]
    pub config: Vec<String>,
    /// A file of NAME=value lines for the config's `env:NAME`; repeatable
    ///
    /// The environment wins over it, and it over `acme.env` beside `acme.json`, which needs no option.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    env_file: Vec<PathBuf>,
}

/// The argument for the state directory.
#[derive(Debug, Clone, Args)]
pub struct StateDirArgs {
    /// The state directory: bookmarks, pace, locks, drift
    ///
    /// Without it: dripfeed.state_dir of the config, or DRIPFEED_STATE_DIR.
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    pub state_dir: Option<PathBuf>,
}

/// Arguments for the input of a run.
#[derive(Debug, Clone, Args)]
pub struct ReadInputArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// The streams and fields to read, as a catalog
    ///
    /// A Singer catalog, or the configured catalog of Airbyte.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    catalog: Option<PathBuf>,
    /// The older name of --catalog
    #[arg(long, value_name = "FILE", conflicts_with = "catalog", hide_short_help = true, help_heading = "Input")]
    properties: Option<PathBuf>,
    /// The state of an earlier run; `sync` writes the new one there
    ///
    /// The value of its last STATE message, or Airbyte's list of states.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    state: Option<PathBuf>,
    #[command(flatten)]
    state_dir: StateDirArgs,
}

/// Arguments for the selection of a run.
#[derive(Debug, Clone, Args)]
pub struct SelectionArgs {
    /// Only these streams
    #[arg(
        long,
        value_name = "A,B",
        value_delimiter = ',',
        env = "DRIPFEED_STREAMS",
        hide_env = true,
        help_heading = "Selection"
    )]
    streams: Vec<String>,
    /// Only the streams of this tier of the config
    #[arg(long, value_name = "TIER", env = "DRIPFEED_TIER", hide_env = true, help_heading = "Selection")]
    tier: Option<String>,
    /// Only this part of the past; TO is exclusive
    ///
    /// A backfill has its own state and goes after the other runs of the account.
    #[arg(
        long,
        value_name = "FROM..TO",
        value_parser = backfill::span,
        env = "DRIPFEED_BACKFILL",
        hide_env = true,
        conflicts_with = "full_refresh",
        help_heading = "Selection"
    )]
    backfill: Option<Span>,
    /// Ignore the state: read from the start date
    #[arg(long, help_heading = "Selection")]
    full_refresh: bool,
    /// Ignore the state of this stream; repeatable
    #[arg(long, value_name = "STREAM", help_heading = "Selection")]
    reset: Vec<String>,
    /// Preview N records of each stream; saves no state
    #[arg(long, value_name = "N", help_heading = "Selection")]
    limit: Option<u64>,
    /// The priority among runs that share limits: hourly, daily or backfill
    ///
    /// Without it: the priority of the tier, or daily.
    #[arg(long, value_enum, hide_possible_values = true, value_name = "RANK", help_heading = "Selection")]
    priority: Option<PriorityArg>,
    /// The share of each limit that is used, from 0.01 to 1 [default: dripfeed.pace.headroom, or 0.98]
    #[arg(long, value_name = "F", value_parser = share, hide_short_help = true, help_heading = "Selection")]
    headroom: Option<f64>,
}

/// Arguments for the output of a run.
#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// How messages are written: singer (the default) or airbyte
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        value_name = "NAME",
        env = "DRIPFEED_PROTOCOL",
        hide_env = true,
        help_heading = "Output"
    )]
    pub protocol: Option<ProtocolArg>,
}

/// Arguments for logging.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// Append events to this file, one JSON object a line
    #[arg(long, value_name = "FILE", help_heading = "Log")]
    events: Option<PathBuf>,
    /// How log lines are written: text or json
    ///
    /// Without it: text, or json if Meltano requests it.
    #[arg(long, value_enum, hide_possible_values = true, value_name = "FORMAT", help_heading = "Log")]
    log_format: Option<LogFormat>,
    /// Log every request; -vv with parameters and answers
    #[arg(long, short = 'v', action = clap::ArgAction::Count, help_heading = "Log")]
    verbose: u8,
    /// Log warnings and errors only
    #[arg(long, short = 'q', help_heading = "Log")]
    quiet: bool,
    /// Airbyte's name of --verbose
    #[arg(long, hide = true)]
    debug: bool,
}

/// The arguments of `check`; `discover` has them too.
#[derive(Debug, Clone, Args)]
pub struct ConnectionArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    state_dir: StateDirArgs,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// Parses a share of a limit.
fn share(text: &str) -> std::result::Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| (0.01..=1.0).contains(share))
        .ok_or_else(|| "it must be a number from 0.01 to 1".into())
}

impl SourceArgs {
    pub(in crate::cli) fn fill(&self, asked: &mut RunOptions) {
        asked.source.clone_from(&self.source);
        asked.config.clone_from(&self.config);
        asked.env_files.clone_from(&self.env_file);
    }
}

impl StateDirArgs {
    pub(in crate::cli) fn fill(&self, asked: &mut RunOptions) {
        asked.state_dir.clone_from(&self.state_dir);
    }
}

impl ConnectionArgs {
    pub(in crate::cli) fn fill(&self, asked: &mut RunOptions) {
        self.source.fill(asked);
        self.state_dir.fill(asked);
        self.log.fill(asked);
    }
}

impl ReadInputArgs {
    pub(in crate::cli) fn fill(&self, asked: &mut RunOptions) {
        self.source.fill(asked);
        self.state_dir.fill(asked);
        asked.catalog = self.catalog.clone().or_else(|| self.properties.clone());
        asked.state.clone_from(&self.state);
    }
}

impl SelectionArgs {
    pub(in crate::cli) fn fill(&self, asked: &mut RunOptions) {
        asked.streams.clone_from(&self.streams);
        asked.tier.clone_from(&self.tier);
        asked.priority = self.priority.map(limiter::Priority::from);
        asked.headroom = self.headroom;
        asked.full_refresh = self.full_refresh;
        asked.reset.clone_from(&self.reset);
        asked.backfill = self.backfill;
        asked.limit = self.limit;
    }
}

impl LogArgs {
    pub(in crate::cli) fn fill(&self, asked: &mut RunOptions) {
        asked.log.json = self.log_format.map(|format| format == LogFormat::Json);
        asked.log.quiet = self.quiet;
        asked.log.verbose = self.verbose.max(u8::from(self.debug));
        asked.log.events.clone_from(&self.events);
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
