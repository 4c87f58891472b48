//! Prepares how the deletes of a stream are found out in a run.
//!
//! Input: a stream and its state. Output: a [`SweepJob`] with the keys of earlier runs, and whether the stream is read
//! as a whole. Called by `read` for each stream that has `deletes`.

use serde_json::{Map, Value as Json};
use time::OffsetDateTime;

use super::load::LoadedSource;
use super::log::Level;
use crate::base::config::deletes::{Cadence, DeleteMode};
use crate::base::fault::{Fault, Kind, Result};
use crate::base::timefmt::{parse_iso, rfc3339};
use crate::engine::build::StreamPlan;
use crate::engine::deletes::memory::{KeyMemory, MemoryOwner};
use crate::engine::deletes::row_version::RowVersion;
use crate::engine::deletes::sweep::SweepJob;
use crate::protocol::Protocol;
use crate::run::context::Context;

/// The owner of keys that `read` remembers: it does not know its target.
const READER: &str = "read";

/// A stream to prepare.
pub(super) struct StreamToSweep<'r> {
    pub(super) context: &'r Context,
    pub(super) loaded: &'r LoadedSource,
    pub(super) stream: &'r StreamPlan,
    /// The target, if the run feeds one.
    pub(super) target: Option<&'r str>,
    /// The generation that the state names.
    pub(super) generation: Option<&'r str>,
}

impl StreamToSweep<'_> {
    /// The job; `None` if nothing is compared. Takes the state away if it is time to read the stream as a whole.
    pub(super) fn job(&self, state: &mut Option<Map<String, Json>>) -> Result<Option<SweepJob>> {
        let StreamToSweep { context, loaded, stream, .. } = self;
        let sweeps = stream.deletes.as_ref().filter(|deletes| deletes.mode == DeleteMode::Sweep);
        let Some(deletes) = sweeps.filter(|_| context.options.limit.is_none()) else { return Ok(None) };
        let Some(memory) = self.memory()? else { return Ok(None) };
        let notes_only = context.options.backfill.is_some();
        let mut job = SweepJob {
            memory,
            whole: false,
            reads_ids: false,
            notes_only,
            scope: stream.scope(&loaded.config.secrets.hide(&loaded.config.source.to_string())),
        };
        let goes_on = state.as_ref().is_some_and(|state| !state.is_empty());
        if !notes_only && goes_on && stream.cursor.is_some() && self.is_due(&job.memory, deletes.every)? {
            job.memory.tries(&rfc3339(OffsetDateTime::now_utc()))?;
            job.reads_ids = stream.ids.is_some();
            if !job.reads_ids {
                let line = format!("{}: reading the whole stream, to find out what was deleted", stream.name);
                context.log.line(Level::Info, &line);
                *state = None;
            }
        }
        let begins = stream.cursor.is_none() || state.as_ref().is_none_or(Map::is_empty);
        job.whole = !notes_only && begins;
        job.reads_ids |= job.whole && stream.ids.is_some();
        Ok(Some(job))
    }

    /// The version of the stream's rows, if the target marks those of older versions; `whole` states whether the run
    /// reads all of them.
    pub(super) fn rows(&self, whole: bool) -> Result<Option<RowVersion>> {
        let StreamToSweep { context, loaded, stream, .. } = self;
        let is_versioned = stream.deletes.as_ref().is_some_and(|deletes| deletes.mode == DeleteMode::ActivateVersion);
        // Airbyte's platform numbers the generations of a stream itself.
        let other = context.options.limit.is_some() || context.options.backfill.is_some();
        if !is_versioned || context.protocol != Protocol::Singer || other {
            return Ok(None);
        }
        if !whole {
            let fault = Fault::config(format!(
                "`deletes` of `{}` is `activate_version`, but the stream is not read as a whole",
                stream.name
            ));
            return Err(fault.hint("use `sweep`, or read the stream as FULL_TABLE"));
        }
        let now = loaded.cx.moment().unix_timestamp_nanos() / 1_000_000;
        Ok(Some(RowVersion::new(i64::try_from(now).unwrap_or(i64::MAX), self.generation)))
    }

    /// Is it time to compare the keys?
    fn is_due(&self, memory: &KeyMemory, every: std::time::Duration) -> Result<bool> {
        let options = &self.context.options;
        let tier = options.tier.as_ref().and_then(|tier| self.loaded.config.ours.tiers.get(tier));
        let Some(every) = tier.and_then(|tier| tier.deletes).map_or(Some(every), Cadence::every) else {
            return Ok(false);
        };
        let last = memory.swept_at().map(str::to_owned).into_iter().chain(memory.tried_at()?);
        let last = last.filter_map(|time| parse_iso(&time)).max();
        Ok(last.is_none_or(|last| OffsetDateTime::now_utc() - last >= every))
    }

    /// The keys of earlier runs; `None` if there is no place for them.
    fn memory(&self) -> Result<Option<KeyMemory>> {
        let StreamToSweep { context, loaded, stream, .. } = self;
        let identity = &loaded.identity;
        let skips = |why: &str| {
            let message = format!("{}: deleted records are not found out: {why}", stream.name);
            context.log.line(Level::Warning, &message);
            Ok(None)
        };
        let Some(root) = &identity.root else { return skips("there is no state directory") };
        let owner = MemoryOwner {
            root,
            source: &identity.source,
            tenant: &identity.tenant,
            target: self.target.or(loaded.config.ours.target_id.as_deref()).unwrap_or(READER),
            stream: &stream.name,
            run_id: &identity.run_id,
        };
        match KeyMemory::open(&owner, self.generation) {
            Ok(memory) => Ok(Some(memory)),
            Err(Fault { kind: Kind::Local, message, .. }) => skips(&message),
            Err(fault) => Err(fault.of_stream(&stream.name)),
        }
    }
}
