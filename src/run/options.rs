//! What a run is asked to do, whichever form it was asked in.
//!
//! Input: parsed arguments (from `cli`). Output: sources, configs, selections, and what follows from them: the
//! run's streams and its place in the queue. Called by every part of `run`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::config::Tier;
use crate::base::fault::{Fault, Result, did_you_mean};
use crate::engine::cursor::ranges::Span;
use crate::pace::limiter::Priority;

/// What a run is asked to do.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The source: a built-in name or the path of a manifest.
    pub source: Option<String>,
    /// The config's files, or `ENV`; later ones win.
    pub config: Vec<String>,
    /// A catalog, in the form of the run's protocol.
    pub catalog: Option<PathBuf>,
    /// The state of an earlier run.
    pub state: Option<PathBuf>,
    /// The state directory, which goes before that of the config.
    pub state_dir: Option<PathBuf>,
    /// Only these streams; empty means all.
    pub streams: Vec<String>,
    /// Only the streams of this tier.
    pub tier: Option<String>,
    /// The run's place in the queue of its account.
    pub priority: Option<Priority>,
    /// The share of each limit that is used, from 0.01 to 1.
    pub headroom: Option<f64>,
    /// Is the state of all streams ignored?
    pub full_refresh: bool,
    /// Streams of which the state is ignored.
    pub reset: Vec<String>,
    /// The part of the past that is read.
    pub backfill: Option<Span>,
    /// A preview: this many records of each stream.
    pub limit: Option<u64>,
    /// How much is logged, and where.
    pub log: LogOptions,
}

/// How much a run logs, and where.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// JSON lines instead of text; nothing said leaves it to Meltano's variable.
    pub json: Option<bool>,
    /// Warnings and errors only.
    pub quiet: bool,
    /// Every request too.
    pub verbose: bool,
    /// Events are appended to this file.
    pub events: Option<PathBuf>,
}

impl RunOptions {
    /// The run's place in the queue: as asked, else the last for a backfill, else by its tier's name or schedule, else
    /// between the others.
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

    /// Is a stream among those to read, as far as `--streams` and `--tier` select? `*` of a tier is every stream that
    /// no other names.
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
            None if tiers.is_empty() => fault.hint("name its streams under dripfeed.tiers in the config"),
            None => fault.hint(format!("it has {}", known().collect::<Vec<_>>().join(", "))),
        }
    })
}
