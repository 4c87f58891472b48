//! The command line: a verb with its arguments, or the flags of a Singer tap.
//!
//! Input: arguments (`dripfeed read --source asana`, or a Singer tap's `--config C --discover`). Output: a [`Cli`],
//! and from it the options of a run. Called by `main` and [`super::run`]. Arguments that verbs share are in
//! [`super::groups`]; those of one verb are next to the verb.

use std::ffi::OsString;
use std::path::Path;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Args, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use super::groups::{ConnectionArgs, LogArgs, OutputArgs, ProtocolArg, ReadInputArgs, SelectionArgs};
use super::{discover, drift, init, schedule, sources, spec, status, sync, test, validate};
use crate::run::options::RunOptions;

/// Reads SaaS APIs incrementally, as a Singer tap or an Airbyte source.
#[derive(Debug, Parser)]
#[command(
    name = "dripfeed",
    version,
    before_help = OVERVIEW,
    after_long_help = EXAMPLES,
    disable_version_flag = true,
    disable_help_subcommand = true,
    args_override_self = true,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do; none means the flags of a Singer tap.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// The flags of a Singer tap.
    #[command(flatten)]
    pub singer: SingerArgs,
    /// Was nothing typed but the program's name?
    #[arg(skip)]
    pub is_bare: bool,
}

/// The output of `dripfeed` alone, and the start of its help. A test compares it with the existing verbs.
const OVERVIEW: &str = concat!(
    "dripfeed ",
    env!("CARGO_PKG_VERSION"),
    ": reads SaaS APIs incrementally, as a Singer tap or an Airbyte source

Try it now, with no account:   dripfeed read --source sandbox

  Read    check, discover, read      test credentials, list streams, print records and state
  Run     sync, schedule             load a target and keep its bookmarks; write scheduler files
  Watch   status, drift              show the status of each tenant; review the vendor's changes
  Write   init, test, validate       start a source of your own, try it, check its manifest
          sources, spec              list the built-in sources, print a config's schema
  Tools   sandbox, completions, man  serve a vendor for trials; shell completions; manual page

`dripfeed VERB -h` explains a verb; `dripfeed --help` has the Singer flags and the exit codes."
);

const EXAMPLES: &str = "\
EXAMPLES:
  Read the sandbox, a vendor in a box, with no account and no network:
      dripfeed read --source sandbox

  Read your own manifest with your own config, and keep the state:
      dripfeed read --source my.yaml --config acme.json > messages.jsonl

  Continue from a state, into a Singer target:
      dripfeed read --source my.yaml --config acme.json --state state.json \\
        | target-jsonl > state.new

  As a Singer tap, for Meltano and shell scripts:
      dripfeed --source my.yaml --config acme.json --discover > catalog.json
      dripfeed --source my.yaml --config acme.json --catalog catalog.json \\
        --state state.json

  As an Airbyte source, for the platform and PyAirbyte:
      dripfeed read --protocol airbyte --source my.yaml --config acme.json \\
        --catalog configured.json

  Check credentials, then look at three records of one stream:
      dripfeed check --source my.yaml --config acme.json
      dripfeed read --source my.yaml --config acme.json --streams tasks --limit 3

  Read three years of history beside the live runs, which have priority:
      dripfeed read --source my.yaml --config acme.json \\
        --backfill 2022-01-01..2025-01-01

  Load a target and save its bookmarks; then load three years of history beside the live runs:
      dripfeed sync --config acme.json --tier hourly \\
        --target 'target-postgres --config pg.json'
      dripfeed sync --config acme.json --backfill 2022-01-01..2025-01-01 \\
        --target 'target-postgres --config pg.json'

  Schedule every tenant of a folder, and show their status:
      dripfeed schedule --tenants tenants --format cron \\
        --target 'target-postgres --config pg.json'
      dripfeed status --tenants tenants

  Show what the vendor changed, and accept it:
      dripfeed drift show --source my.yaml --config acme.json
      dripfeed drift accept 64fb6d4cbc17 --source my.yaml --config acme.json

EXIT CODES:
  0 done    2 usage    10 config, manifest, catalog or state refused    20 credentials refused
  30 drift that needs a decision    40 some streams failed; the others are complete
  50 a bug    60 a local file, a pipe or the target failed
  69 the vendor is down    75 not finished, state saved    76 another run reads these streams
  130/143 stopped by a signal, state saved";

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Test the credentials: read one record of each stream that the manifest names
    #[command(after_long_help = CHECK_EXAMPLES)]
    Check(ConnectionArgs),
    /// Print the catalog: streams, fields, keys
    Discover(discover::DiscoverArgs),
    /// Read streams and print their records and state
    #[command(after_long_help = READ_EXAMPLES)]
    Read(Box<ReadArgs>),
    /// Read into a target and keep the state that it echoes
    #[command(after_long_help = SYNC_EXAMPLES)]
    Sync(Box<SyncArgs>),
    /// Write the tenants' runs as definitions of a scheduler
    Schedule(schedule::ScheduleArgs),
    /// Show the status of each tenant: freshness, last run, cap, drift, backfill
    #[command(after_long_help = STATUS_EXAMPLES)]
    Status(status::StatusArgs),
    /// Show what the vendor changed, and decide about it
    #[command(after_long_help = DRIFT_EXAMPLES)]
    Drift(drift::DriftArgs),
    /// List the built-in sources, or the streams of one source
    Sources(sources::SourcesArgs),
    /// Print the JSON schema of a source's config
    Spec(spec::SpecArgs),
    /// Read a few pages of a stream and show requests, answers, records, cursor, schema
    Test(test::TestArgs),
    /// Start a source of your own: manifest, config and `.env.example`
    #[command(after_long_help = INIT_EXAMPLES)]
    Init(Box<init::InitArgs>),
    /// Check a manifest without a config and without the network
    #[command(after_long_help = VALIDATE_EXAMPLES)]
    Validate(validate::ValidateArgs),
    /// Serve the sandbox: a vendor in a box, for trials and tests
    Sandbox(Box<SandboxArgs>),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

const READ_EXAMPLES: &str = "\
EXAMPLES:
  dripfeed read --source sandbox > messages.jsonl
  dripfeed read --source sandbox --streams tasks --limit 3
  dripfeed read --source my.yaml --config acme.json --state state.json \\
    | target-jsonl > state.new
  dripfeed read --source my.yaml --config acme.json \\
    --backfill 2022-01-01..2025-01-01";

const INIT_EXAMPLES: &str = "\
EXAMPLES:
  dripfeed init crm
  dripfeed init my-asana --from asana
  dripfeed init helpdesk --rest --url https://api.example.com/v1 \\
    --path /tasks --paging token --cursor updated_at
  dripfeed init issues --graphql --url https://api.example.com \\
    --records data.issues.nodes
  dripfeed init tracker --openapi openapi.yaml \\
    --paths '/projects,/projects/{project_id}/tasks'";

const CHECK_EXAMPLES: &str = "\
EXAMPLES:
  dripfeed check --source my.yaml --config acme.json";

const STATUS_EXAMPLES: &str = "\
EXAMPLES:
  dripfeed status --tenants tenants
  dripfeed status --config acme.json
  dripfeed status --tenants tenants --format html > status.html";

const DRIFT_EXAMPLES: &str = "\
EXAMPLES:
  dripfeed drift show --config acme.json
  dripfeed drift accept --all --severity warn --config acme.json \\
    --why 'new fields'
  dripfeed drift replay --config acme.json | target-jsonl
  dripfeed drift show --tenants tenants --format html > drift.html";

const VALIDATE_EXAMPLES: &str = "\
EXAMPLES:
  dripfeed validate my.yaml
  dripfeed validate my.yaml --format json";

const SYNC_EXAMPLES: &str = "\
EXAMPLES:
  dripfeed sync --config acme.json --target 'target-postgres --config pg.json'
  dripfeed sync --config acme.json --tier hourly \\
    --target 'target-postgres --config pg.json'
  dripfeed sync --config acme.json --backfill 2022-01-01..2025-01-01 \\
    --target target-jsonl";

/// The arguments of `read`.
#[derive(Debug, Clone, Args)]
pub struct ReadArgs {
    #[command(flatten)]
    input: ReadInputArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    unfinished: UnfinishedArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// The arguments of `sync`.
#[derive(Debug, Clone, Args)]
pub struct SyncArgs {
    /// The target.
    #[command(flatten)]
    pub target: sync::TargetArgs,
    #[command(flatten)]
    input: ReadInputArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    unfinished: UnfinishedArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// The arguments of `sandbox`.
#[derive(Debug, Clone, Args)]
pub struct SandboxArgs {
    /// What is served.
    #[command(flatten)]
    pub settings: crate::sandbox::Settings,
    #[command(flatten)]
    log: LogArgs,
}

/// What a run that stops early means to its caller.
#[derive(Debug, Clone, Args)]
pub struct UnfinishedArgs {
    /// Exit with 0 instead of 75 and 76
    ///
    /// For schedulers that treat every other exit code as a failure.
    #[arg(
        long,
        env = "DRIPFEED_UNFINISHED_OK",
        hide_env = true,
        value_parser = clap::builder::FalseyValueParser::new(),
        help_heading = "Output"
    )]
    unfinished_ok: bool,
}

/// The flags of a Singer tap: the arguments of `read`, and Singer's other modes. Only the long help shows them.
#[derive(Debug, Clone, Args)]
pub struct SingerArgs {
    /// Print the catalog
    #[arg(long, short = 'd', help_heading = "Singer flags")]
    pub discover: bool,
    /// Print the tap's name, version and settings
    #[arg(long, help_heading = "Singer flags")]
    pub about: bool,
    /// The format of --about [default: text]
    #[arg(long, value_enum, requires = "about", help_heading = "Singer flags")]
    pub format: Option<spec::AboutFormat>,
    /// Test the credentials
    #[arg(
        long,
        num_args = 0..=1,
        default_missing_value = "all",
        value_name = "KIND",
        require_equals = true,
        help_heading = "Singer flags"
    )]
    pub test: Option<String>,
    /// Print the version
    #[arg(long, short = 'V', help_heading = "Singer flags")]
    pub version: bool,
    #[command(flatten)]
    read: ReadArgs,
}

/// The source and protocol in the binary's own name: `tap-asana`, `source-asana`.
#[derive(Debug, Clone)]
pub struct Named {
    /// The source; `tap-dripfeed` names none.
    pub source: Option<String>,
    /// The message protocol.
    pub protocol: ProtocolArg,
}

impl Named {
    /// Parses the first argument (the binary's name), if it has such a name.
    pub fn of(arg0: &str) -> Option<Named> {
        let name = std::path::Path::new(arg0).file_stem()?.to_str()?;
        let named = |source: &str, protocol| Named {
            source: (source != env!("CARGO_PKG_NAME")).then(|| source.into()),
            protocol,
        };
        let singer = name.strip_prefix("tap-").map(|source| named(source, ProtocolArg::Singer));
        singer.or_else(|| name.strip_prefix("source-").map(|source| named(source, ProtocolArg::Airbyte)))
    }
}

/// Parses arguments. Help comes back as an error with the text to print.
pub fn parse(args: &[OsString]) -> std::result::Result<Cli, clap::Error> {
    let mut command = command();
    let found = match command.try_get_matches_from_mut(args) {
        Err(error) if error.kind() == ErrorKind::ArgumentConflict => match verb_first(&command, args) {
            Some(args) => command.try_get_matches_from_mut(args)?,
            None => return Err(error),
        },
        found => found.map_err(with_tip)?,
    };
    let cli = Cli::from_arg_matches(&found).map_err(|error| error.format(&mut command))?;
    Ok(Cli { is_bare: args.len() < 2, ..cli })
}

/// Adds a tip where a manifest stands without `--source`, as it may for `validate`.
fn with_tip(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg).cloned() else { return error };
    let is_manifest = Path::new(&word).extension().is_some_and(|end| end == "yaml" || end == "yml");
    if error.kind() == ErrorKind::UnknownArgument && is_manifest {
        let tip = format!("name the source with `--source {word}`").into();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    error
}

/// Moves the verb before its options: `--source s read` becomes `read --source s`.
fn verb_first(command: &Command, args: &[OsString]) -> Option<Vec<OsString>> {
    let is_verb = |arg: &OsString| command.get_subcommands().any(|verb| *arg == *verb.get_name());
    // The word after an option that takes one is its value; `--option=value` has it already.
    let takes_next = |arg: &OsString| {
        let long = arg.to_str().and_then(|arg| arg.strip_prefix("--"));
        let named = |option: &&Arg| long.is_some() && option.get_long() == long;
        command.get_arguments().find(named).is_some_and(|option| option.get_action().takes_values())
    };
    let at = (1..args.len()).find(|at| is_verb(&args[*at]) && !takes_next(&args[at - 1]))?;
    Some([&args[..1], &args[at..], &args[1..at]].concat())
}

/// The command line, for parsing and for help.
fn command() -> Command {
    let is_empty = |arg: &Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    // An empty variable counts as unset.
    let set = |arg: Arg| if is_empty(&arg) { arg.env(Resettable::Reset) } else { arg };
    // The overview lists the verbs by group; the flags of a Singer tap would hide it.
    let command = Cli::command().mut_args(|arg| set(arg).hide_short_help(true));
    command.mut_subcommands(|verb| verb.mut_args(set).hide(true)).help_template("{before-help}{all-args}{after-help}")
}

/// The output of `dripfeed` alone.
pub(super) fn overview() -> String {
    format!("{OVERVIEW}\n")
}

impl Cli {
    /// The options of a run.
    pub fn run_options(&self) -> RunOptions {
        let mut asked = RunOptions::default();
        match &self.verb {
            None => self.singer.read.fill(&mut asked),
            Some(Verb::Check(args)) => args.fill(&mut asked),
            Some(Verb::Discover(args)) => args.fill(&mut asked),
            Some(Verb::Read(args)) => args.fill(&mut asked),
            Some(Verb::Sync(args)) => {
                args.input.fill(&mut asked);
                args.selection.fill(&mut asked);
                args.log.fill(&mut asked);
            }
            Some(Verb::Schedule(args)) => args.fill(&mut asked),
            Some(Verb::Status(args)) => args.fill(&mut asked),
            Some(Verb::Drift(args)) => args.fill(&mut asked),
            Some(Verb::Sources(args)) => args.fill(&mut asked),
            Some(Verb::Spec(args)) => args.fill(&mut asked),
            Some(Verb::Test(args)) => args.fill(&mut asked),
            Some(Verb::Validate(args)) => args.log.fill(&mut asked),
            Some(Verb::Sandbox(args)) => args.log.fill(&mut asked),
            Some(Verb::Init(_) | Verb::Completions { .. } | Verb::Man) => {}
        }
        asked
    }

    /// The message protocol, if the arguments select one.
    pub(super) fn protocol(&self) -> Option<ProtocolArg> {
        let output = match &self.verb {
            None => &self.singer.read.output,
            Some(Verb::Check(args)) => &args.output,
            Some(Verb::Discover(args)) => &args.connection.output,
            Some(Verb::Read(args)) => &args.output,
            Some(Verb::Spec(args)) => &args.output,
            Some(Verb::Drift(args)) => return args.protocol(),
            Some(_) => return None,
        };
        output.protocol
    }

    /// Does it only print a list or a text? Then a reader that leaves early has seen enough, and nothing is lost.
    pub(super) fn only_prints(&self) -> bool {
        match &self.verb {
            None => self.singer.discover || self.singer.about || self.singer.version,
            Some(Verb::Drift(args)) => args.only_prints(),
            Some(Verb::Discover(_) | Verb::Sources(_) | Verb::Spec(_) | Verb::Status(_) | Verb::Man) => true,
            Some(Verb::Validate(_) | Verb::Test(_) | Verb::Completions { .. }) => true,
            Some(_) => false,
        }
    }

    /// Does an unfinished run exit with 0?
    pub(super) fn unfinished_ok(&self) -> bool {
        let unfinished = match &self.verb {
            None => &self.singer.read.unfinished,
            Some(Verb::Read(args)) => &args.unfinished,
            Some(Verb::Sync(args)) => &args.unfinished,
            Some(_) => return false,
        };
        unfinished.unfinished_ok
    }
}

impl ReadArgs {
    fn fill(&self, asked: &mut RunOptions) {
        self.input.fill(asked);
        self.selection.fill(asked);
        self.log.fill(asked);
    }
}
