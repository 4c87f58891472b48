//! Messages from a worker thread to the writer: records, schemas, states.
//!
//! Input: a stream and its progress. Output: [`Message`]s, over a channel. Called by [`super::worker`], under the
//! lock of the stream's progress if the order of messages matters.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::progress::Progress;
use super::stream_run::StreamRun;
use crate::base::fault::Kind;
use crate::engine::context::EngineContext;
use crate::engine::deletes::memory;
use crate::engine::record_writer::SchemaVersion;
use crate::protocol::Message;

/// The channel to the writer.
pub(super) struct MessageSender<'r> {
    pub(super) engine: &'r EngineContext,
    pub(super) channel: SyncSender<Message>,
}

impl MessageSender<'_> {
    pub(super) fn send(&self, message: Message) {
        // The writer ends only when stdout is broken: then a stop request follows.
        if self.channel.send(message).is_err() {
            self.engine.stop.ask(Kind::Downstream);
        }
    }

    /// Sends record lines, preceded by their schema and by a state that must come first.
    pub(super) fn records(&self, stream: &StreamRun, lines: Vec<u8>, count: u64, version: &Arc<SchemaVersion>) {
        let mut progress = stream.progress.lock();
        if count > 0 && progress.cursor_state.saves_before_records() {
            self.state(stream, &mut progress, true);
        }
        self.schema(&mut progress, version);
        progress.outcome.records += count;
        // Another thread may have sent a newer schema that declares these keys as texts.
        let announced = progress.schema.clone().filter(|announced| announced.retypes_keys(version));
        drop(progress);
        let lines = match announced {
            Some(announced) => announced.with_its_keys(&lines),
            None => lines,
        };
        if !lines.is_empty() {
            self.send(Message::Records { stream: stream.job.plan.name.clone(), lines, count });
        }
    }

    /// Sends tombstones, under the stream's lock.
    pub(super) fn tombstones(
        &self,
        stream: &StreamRun,
        progress: &mut Progress,
        (lines, count): (Vec<u8>, u64),
        version: &Arc<SchemaVersion>,
    ) {
        self.schema(progress, version);
        progress.outcome.records += count;
        self.send(Message::Records { stream: stream.job.plan.name.clone(), lines, count });
    }

    /// Sends the schema of records, unless it or a newer one was already sent.
    pub(super) fn schema(&self, progress: &mut Progress, version: &Arc<SchemaVersion>) {
        let sent = progress.schema.as_ref();
        if sent.is_none_or(|sent| version.is_later(sent)) {
            if sent.is_none_or(|sent| version.schema != sent.schema) {
                self.send(Message::Schema { line: version.schema.clone() });
            }
            progress.schema = Some(version.clone());
        }
    }

    /// Sends the stream's state, under the stream's lock: an older state never follows a newer one.
    pub(super) fn state(&self, stream: &StreamRun, progress: &mut Progress, checkpoint: bool) {
        if stream.job.limit.is_some() {
            return;
        }
        progress.state_saved();
        let plan = &stream.job.plan;
        let state = progress.cursor_state.state(plan);
        let replication = match (&state, &plan.cursor) {
            (Some(state), Some(cursor)) => cursor.shown(state).map(|value| (cursor.field.clone(), value)),
            _ => None,
        };
        let state = match &progress.generation {
            Some(generation) => Some(memory::named(state, stream.out.protocol, generation)),
            None => state,
        };
        self.send(Message::State { stream: plan.name.clone(), state, replication, checkpoint });
    }
}
