//! The verb `sync`: reads into a target, and keeps the state that the target echoes.
//!
//! Comes in: the options. Goes out: messages into the target, its bookmarks into the state store, an exit code. Called by
//! `commands`.

use clap::Args;

use super::commands::Work;
use crate::config::IsoDuration;
use crate::fault::{Fault, Result};
use crate::timefmt::Period;

/// What `sync` feeds.
#[derive(Debug, Clone, Args)]
pub struct Asked {
    /// The target, with its arguments: split as a shell does, run without one [else dripfeed.target in the config]
    #[arg(long, value_name = "CMD", help_heading = "Output")]
    pub target: Option<String>,
    /// End a target that takes and says nothing for so long [default: PT1H]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Output")]
    pub target_timeout: Option<IsoDuration>,
}

fn duration(text: &str) -> std::result::Result<IsoDuration, String> {
    Period::parse(text).map(IsoDuration)
}

/// Reads into the target; gives the exit code.
pub(super) fn run(_work: &Work, _asked: &Asked) -> Result<u8> {
    Err(Fault::bug("not yet"))
}
