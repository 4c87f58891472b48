//! The deletes of a stream: its ids are read before the stream, its tombstones are sent after it.
//!
//! Input: a stream that begins, or has no work left. Output: tombstones before its last state, which names the new
//! generation of remembered keys. Called by [`Worker`].

use std::sync::Arc;

use serde_json::Value as Json;
use time::OffsetDateTime;

use super::cursor_state::CursorState;
use super::progress::Progress;
use super::stream_run::StreamRun;
use super::worker::Worker;
use crate::base::fault::{Fault, Kind, Result};
use crate::base::json::scan::Scanner;
use crate::engine::async_job;
use crate::engine::build::StreamPlan;
use crate::engine::collector::{PageTaker, RecordCollector};
use crate::engine::deletes::row_version::VersionEnd;
use crate::engine::deletes::sweep::{Sweep, SweepDecision, key_in, partition_hash};
use crate::engine::parents::ParentReader;
use crate::engine::record_writer::{DeletedField, SchemaVersion};
use crate::manifest::template::Vars;
use crate::protocol::{Message, Protocol};

/// Tombstones of this size together are sent at once, in bytes.
const SENT_BYTES: usize = 128 << 10;

impl Worker<'_> {
    /// Reads the ids of a stream. If that fails, the stream is read all the same, and nothing is marked.
    pub(super) fn read_ids(&self, stream: &StreamRun) {
        let (Some(sweep), Some(ids)) = (&stream.out.sweep, &stream.job.plan.ids) else { return };
        if !sweep.reads_ids {
            return;
        }
        match self.list_ids(sweep, ids) {
            Ok(()) => sweep.ids_read(),
            Err(fault) if matches!(fault.kind, Kind::Signal(_) | Kind::Downstream) => {}
            Err(fault) => {
                let message = format!("no record is marked as deleted, because the ids cannot be read: {fault}");
                (self.engine.noticed)(&stream.job.plan.name, &message);
            }
        }
    }

    fn list_ids(&self, sweep: &Sweep, ids: &Arc<StreamPlan>) -> Result<()> {
        let parents = ParentReader::new(self.engine, ids, None);
        let mut slices = CursorState::begin(ids, None, None)?;
        ids.router.each(&parents, &Vars::new(&self.engine.cx), &mut |partition| {
            for slice in slices.open(ids, partition, self.engine.cx.moment())? {
                self.engine.stop.check()?;
                let partition = partition_hash(&slice.partition_id());
                let mut pages = IdPages { sweep, ids, partition, count: 0 };
                let mut sink = RecordCollector::new(ids, None, slice.window.as_ref(), &mut pages);
                let read = async_job::read(self.engine, ids, &slice.partition, slice.window.as_ref(), &mut sink)?;
                if read.incomplete || read.fault.is_some() {
                    return Err(read.fault.unwrap_or_else(|| Fault::data("a page of them was ignored")));
                }
                sweep.slice_read(partition, pages.count, read.ignored, true);
            }
            Ok(())
        })
    }

    /// Decides which records are gone; `None` if it is not found out.
    pub(super) fn decide_on_deletes(
        &self,
        stream: &StreamRun,
        progress: &mut Progress,
        complete: bool,
    ) -> Option<SweepDecision> {
        let sweep = stream.out.sweep.as_ref()?;
        let name = &stream.job.plan.name;
        let mut ask = |text: &str, count: u64| match &stream.job.watched {
            Some(monitor) => monitor.accepts_gone(text, count),
            None => {
                let message = format!("no record is marked as deleted: {text}; drift must be on to accept it");
                (self.engine.noticed)(name, &message);
                false
            }
        };
        match sweep.decide(complete, OffsetDateTime::now_utc(), &mut ask) {
            Ok(decision) => {
                decision.notices.iter().for_each(|notice| (self.engine.noticed)(name, notice));
                Some(decision)
            }
            Err(fault) => {
                self.fail(stream, progress, fault);
                None
            }
        }
    }

    /// Decides whether the version of the stream's rows is activated; `None` if it has none.
    pub(super) fn decide_on_rows(stream: &StreamRun, progress: &Progress) -> Option<VersionEnd> {
        let (plan, count) = (&stream.job.plan, progress.outcome.records);
        let (rows, deletes) = (stream.out.rows.as_ref()?, plan.deletes.as_ref()?);
        let name = plan.sent_name(stream.out.protocol);
        Some(match rows.end(name, count, deletes.limits) {
            VersionEnd::Asks(text, gone)
                if stream.job.watched.as_ref().is_some_and(|monitor| monitor.accepts_gone(&text, gone)) =>
            {
                rows.activated(name, count)
            }
            end => end,
        })
    }

    /// Activates the version of the stream's rows, or tells why not.
    pub(super) fn activate_rows(&self, stream: &StreamRun, progress: &mut Progress, end: VersionEnd) {
        let plan = &stream.job.plan;
        let doubted = |why: &str| (self.engine.noticed)(&plan.name, &format!("no row is marked as deleted: {why}"));
        match end {
            VersionEnd::Activated(lines, generation) => {
                self.messages.schema(progress, &stream.out.version(plan));
                self.messages.send(Message::Records { stream: plan.name.clone(), lines, count: 0 });
                progress.generation = Some(generation);
            }
            VersionEnd::Doubted(why) | VersionEnd::Asks(why, _) => doubted(&why),
        }
    }

    /// Sends the tombstones, and remembers the keys.
    pub(super) fn mark_deletes(&self, stream: &StreamRun, progress: &mut Progress, decision: SweepDecision) {
        let Some(sweep) = &stream.out.sweep else { return };
        let version = stream.out.version(&stream.job.plan);
        let now = OffsetDateTime::now_utc();
        let mut batch = Tombstones { stream, version, now, lines: Vec::new(), count: 0 };
        let applied = sweep.apply(decision, now, &mut |key| {
            batch.add(sweep.record(key)?)?;
            if batch.lines.len() >= SENT_BYTES {
                self.send_tombstones(progress, &mut batch);
            }
            Ok(())
        });
        self.send_tombstones(progress, &mut batch);
        match applied {
            Ok(generation) => progress.generation = generation,
            Err(fault) => self.fail(stream, progress, fault),
        }
    }

    fn send_tombstones(&self, progress: &mut Progress, batch: &mut Tombstones<'_>) {
        let (lines, count) = (std::mem::take(&mut batch.lines), std::mem::take(&mut batch.count));
        if count > 0 {
            self.messages.tombstones(batch.stream, progress, (lines, count), &batch.version);
        }
    }
}

/// Lines of tombstones.
struct Tombstones<'s> {
    stream: &'s StreamRun,
    version: Arc<SchemaVersion>,
    now: OffsetDateTime,
    lines: Vec<u8>,
    count: u64,
}

impl Tombstones<'_> {
    /// Adds the line of a record that has only its key.
    fn add(&mut self, mut record: Json) -> Result<()> {
        let out = &self.stream.out;
        if let (Protocol::Airbyte, Some(cursor)) = (out.protocol, &self.stream.job.plan.cursor) {
            // Destinations keep of several versions the one with the highest cursor.
            record[cursor.field.as_str()] = cursor.json(self.now);
        }
        self.lines.extend_from_slice(&out.prefix);
        let bytes = record.to_string().into_bytes();
        let rewritten = self.version.wire.rewrite(&mut Scanner::new(&bytes), &mut self.lines);
        rewritten.map_err(|e| Fault::bug(e.to_string()))?;
        DeletedField::new(out.protocol.deleted_at()).add(&mut self.lines, Some(self.now));
        self.lines.extend_from_slice(&out.protocol.after_record(self.now));
        self.count += 1;
        Ok(())
    }
}

/// Takes the keys of the pages of a read of ids.
struct IdPages<'s> {
    sweep: &'s Sweep,
    ids: &'s StreamPlan,
    partition: u64,
    /// Pages so far.
    count: u64,
}

impl PageTaker for IdPages<'_> {
    fn take(&mut self, records: Vec<Json>) -> Result<bool> {
        let key = |record| {
            let missing = || Fault::data("a record has no key").of_stream(&self.ids.name);
            key_in(&self.ids.key_paths, record).ok_or_else(missing)
        };
        let keys = records.iter().map(key).collect::<Result<Vec<_>>>()?;
        self.count += 1;
        self.sweep.listed(self.partition, keys)?;
        Ok(true)
    }
}
