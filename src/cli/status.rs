//! The verb `status`: how every tenant stands.
//!
//! Comes in: the options and what runs kept in the state directory. Goes out: a table, JSON, a page or OpenMetrics text.
//! Called by `commands`. The vendor is asked nothing.

use std::path::PathBuf;

use clap::Args;

use super::commands::Work;
use crate::fault::{Fault, Result};

/// Whose status.
#[derive(Debug, Clone, Args)]
pub struct Asked {
    /// Of all tenants whose configs (*.json) are in this folder
    #[arg(long, value_name = "DIR", conflicts_with = "config", help_heading = "Input")]
    pub tenants: Option<PathBuf>,
}

/// Says how they stand; gives the exit code.
pub(super) fn run(_work: &Work, _asked: &Asked) -> Result<u8> {
    Err(Fault::bug("not yet"))
}
