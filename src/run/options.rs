//! The options of a run, independent of the command-line form.
//!
//! Input: parsed arguments (from `cli`). Output: sources, configs, selections, and values derived from them: the
//! run's streams and its priority. Called by every part of `run`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::config::Tier;
use crate::base::fault::{Fault, Result, did_you_mean};
use crate::engine::cursor::ranges::Span;
use crate::pace::limiter::Priority;

/// The options of a run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The source: a built-in name or the path of a manifest.
    pub source: Option<String>,
    /// The config's files, or `ENV`; later ones win.
    pub config: Vec<String>,
    /// Files with the values of `env:` references; later ones win.
    pub env_files: Vec<PathBuf>,
    /// A catalog, in the form of the run's protocol.
    pub catalog: Option<PathBuf>,
    /// The state of an earlier run.
    pub state: Option<PathBuf>,
    /// The state directory; overrides that of the config.
    pub state_dir: Option<PathBuf>,
    /// Only these streams; empty means all.
    pub streams: Vec<String>,
    /// Only the streams of this tier.
    pub tier: Option<String>,
    /// The run's priority among the runs of its account.
    pub priority: Option<Priority>,
    /// The fraction of each limit to use, from 0.01 to 1.
    pub headroom: Option<f64>,
    /// Is the state of all streams ignored?
    pub full_refresh: bool,
    /// Streams whose state is ignored.
    pub reset: Vec<String>,
    /// The time range to backfill.
    pub backfill: Option<Span>,
    /// A preview: this many records of each stream.
    pub limit: Option<u64>,
    /// Log level and destination.
    pub log: LogOptions,
}

/// Log level, format and destination of a run.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// JSON lines instead of text; `None` leaves the choice to Meltano's variable.
    pub json: Option<bool>,
    /// Warnings and errors only.
    pub quiet: bool,
    /// 1: also log a line for every request; 2: also its parameters, headers and body, and the response.
    pub verbose: u8,
    /// Events are appended to this file.
    pub events: Option<PathBuf>,
}

impl RunOptions {
    /// The run's priority: as given, else the lowest for a backfill, else by its tier's name or schedule, else that
    /// of a daily read.
    pub fn priority(&self, tiers: &BTreeMap<String, Tier>) -> Result<Priority> {
        let of_tier = self.tier.as_deref().map(|name| tier(tiers, name)).transpose()?;
        let by_name = |name: &str| match name {
            "hourly" => Some(Priority::Hourly),
            "daily" => Some(Priority::Daily),
            _ => None,
        };
        let by_schedule = || {
            let hours = of_tier?.schedule.as_deref()?.split_whitespace().nth(1)?;
            hours.starts_with('*').then_some(Priority::Hourly)
        };
        let by_backfill = || self.backfill.map(|_| Priority::Backfill);
        let found = self.priority.or_else(by_backfill).or_else(|| by_name(self.tier.as_deref()?)).or_else(by_schedule);
        Ok(found.unwrap_or(Priority::Daily))
    }

    /// Is a stream selected by `--streams` and `--tier`? The `*` of a tier selects every stream that no other tier
    /// has.
    pub fn selects(&self, tiers: &BTreeMap<String, Tier>, stream: &str) -> Result<bool> {
        if !self.streams.is_empty() && !self.streams.iter().any(|s| s == stream) {
            return Ok(false);
        }
        let Some(name) = &self.tier else { return Ok(true) };
        let names = |tier: &Tier| tier.streams.iter().any(|s| s == stream);
        let tier = tier(tiers, name)?;
        let rest = || !tiers.iter().any(|(other, tier)| other != name && names(tier));
        Ok(names(tier) || tier.streams.iter().any(|s| s == "*") && rest())
    }
}

/// A tier of the config.
fn tier<'t>(tiers: &'t BTreeMap<String, Tier>, name: &str) -> Result<&'t Tier> {
    tiers.get(name).ok_or_else(|| {
        let known = || tiers.keys().map(String::as_str);
        let fault = Fault::config(format!("the config has no tier `{name}`"));
        match did_you_mean(name, known()) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None if tiers.is_empty() => fault.hint("define it under dripfeed.tiers in the config"),
            None => fault.hint(format!("its tiers: {}", known().collect::<Vec<_>>().join(", "))),
        }
    })
}
