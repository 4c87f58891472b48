//! The verb `sync`: its command-line arguments.
//!
//! Input: the arguments. Output: the exit code of the run. Called by [`super::run`]; `run::sync` does the work.

use clap::Args;

use crate::base::config::IsoDuration;
use crate::base::fault::Result;
use crate::base::timefmt::Period;
use crate::run::context::Context;
use crate::run::sync::{self, SyncOptions};

/// The target, and how long it may be silent.
#[derive(Debug, Clone, Args)]
pub struct TargetArgs {
    /// The target: a command with its arguments
    ///
    /// Split into words as a shell does, and run without a shell. `{tenant}` and `{source}` in a word stand for their
    /// names. Without it: dripfeed.target of the config.
    #[arg(long, value_name = "CMD", help_heading = "Output")]
    pub target: Option<String>,
    /// Kill the target after this long without progress [default: PT1H]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Output")]
    pub target_timeout: Option<IsoDuration>,
    /// Take over the bookmarks of another target
    ///
    /// The other target's command line, or the name under which its bookmarks are saved.
    #[arg(long, value_name = "TARGET", help_heading = "Input")]
    pub adopt: Option<String>,
}

fn duration(text: &str) -> std::result::Result<IsoDuration, String> {
    Period::parse(text).map(IsoDuration)
}

/// Reads into the target; returns the exit code.
pub(super) fn run(context: &Context, args: &TargetArgs) -> Result<u8> {
    let target_timeout = args.target_timeout.map(|time| time.0.length());
    sync::run(context, &SyncOptions { target: args.target.clone(), target_timeout, adopt: args.adopt.clone() })
}
