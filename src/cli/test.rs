//! The verb `test`: shows a few pages of a stream, request by request.
//!
//! Input: the options. Output: a report for people or as JSON; nothing is stored. Called by [`super::run`].

use clap::{Args, ValueEnum};

use super::groups::{LogArgs, SourceArgs, StateDirArgs};
use crate::base::fault::Result;
use crate::engine::sample::SampleSize;
use crate::run::context::Context;
use crate::run::options::RunOptions;
use crate::run::test_read::{TestOptions, test_read};

/// The arguments of `test`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct TestArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    state_dir: StateDirArgs,
    /// The stream [default: the first that `check` reads]
    #[arg(long, value_name = "NAME", help_heading = "Selection")]
    stream: Option<String>,
    /// How many pages to read
    #[arg(
        long,
        value_name = "N",
        default_value_t = 2,
        value_parser = clap::value_parser!(u16).range(1..),
        help_heading = "Selection"
    )]
    pages: u16,
    /// How many slices to try until one has records
    #[arg(
        long,
        value_name = "N",
        default_value_t = 5,
        value_parser = clap::value_parser!(u16).range(1..),
        help_heading = "Selection"
    )]
    slices: u16,
    /// How the report is written
    #[arg(long, value_enum, default_value = "text", help_heading = "Output")]
    format: TestFormat,
    #[command(flatten)]
    log: LogArgs,
}

const EXAMPLES: &str = "\
EXAMPLES:
  dripfeed test --source sandbox --stream tasks
  dripfeed test --source sandbox --stream tasks --pages 1 --format json";

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TestFormat {
    /// For people
    Text,
    /// For programs: whole records and answers, with the keys of Connector Builder's `test_read`
    Json,
}

impl TestArgs {
    pub(super) fn fill(&self, asked: &mut RunOptions) {
        self.source.fill(asked);
        self.state_dir.fill(asked);
        self.log.fill(asked);
    }
}

/// Shows a few pages of a stream; the exit code is that of the fault that ended them.
pub(super) fn test(context: &Context, asked: &TestArgs) -> Result<u8> {
    let size = SampleSize { pages: asked.pages.into(), slices: asked.slices.into() };
    let report = test_read(context, &TestOptions { stream: asked.stream.clone(), size })?;
    match asked.format {
        TestFormat::Json => context.pretty(&report)?,
        TestFormat::Text => context.text(&report.text(super::look()))?,
    }
    context.out.lock().flush()?;
    report.error.map_or(Ok(0), |error| Err(error.fault))
}
