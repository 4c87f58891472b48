//! The command line of a target.
//!
//! Comes in: a text, as `--target` or a config gives it. Goes out: its words. Called by `run::sync`, which starts the
//! target, and by `cli::schedule`.

use crate::base::fault::{Fault, Result};

/// A target's command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetCommand {
    program: String,
    args: Vec<String>,
}

impl TargetCommand {
    /// Splits a command line as a shell does.
    pub fn parse(text: &str) -> Result<TargetCommand> {
        let words = shlex::split(text).ok_or_else(|| {
            Fault::config("the target's command line has a quote without its end")
                .hint("see --target or dripfeed.target")
        })?;
        let mut words = words.into_iter();
        let program = words.next().filter(|program| !program.is_empty());
        let program = program.ok_or_else(|| {
            Fault::config("the target's command line is empty").hint("see --target or dripfeed.target")
        })?;
        Ok(TargetCommand { program, args: words.collect() })
    }

    /// Its executable.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// What follows the executable. It may hold secrets.
    pub fn args(&self) -> &[String] {
        &self.args
    }

    /// Its name for people: the executable's, without its folder and arguments.
    pub fn name(&self) -> &str {
        self.program.rsplit('/').next().unwrap_or_default()
    }
}
