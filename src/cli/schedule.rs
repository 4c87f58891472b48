//! The verb `schedule`: the tenants' runs as definitions of a scheduler.
//!
//! Comes in: a folder of configs. Goes out: definitions on stdout. Called by `commands`. The vendor is asked nothing.

use std::path::PathBuf;

use clap::Args;

use super::commands::Work;
use crate::fault::{Fault, Result};

/// Whose runs.
#[derive(Debug, Clone, Args)]
pub struct Asked {
    /// The tenants: the configs (*.json) in this folder
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    pub tenants: PathBuf,
    /// The target that each run feeds [else dripfeed.target in each config]
    #[arg(long, value_name = "CMD", help_heading = "Output")]
    pub target: Option<String>,
}

/// Writes the definitions.
pub(super) fn run(_work: &Work, _asked: &Asked) -> Result<()> {
    Err(Fault::bug("not yet"))
}
