//! Reads streams with a few threads, which share their slices and one writer.
//!
//! Input: the selected streams of a [`SourcePlan`](super::build::SourcePlan), with their states. Output:
//! [`Message`]s, ordered so that a state never precedes its records; then the outcome of each stream. Called by
//! `run`.
//!
//! Threads choose work in this order: a slice of the earliest stream that has one to read, else the listing of a
//! stream's slices (which reads its parents). Pages of one slice are read in sequence.
//!
//! `stream_run` is a stream while it is read, `progress` is how far it is, `cursor_state` holds the parts of its
//! state. `worker` is a thread: it lists slices (`listing`), reads them, and sends `messages`;
//! `deletes` marks records that are gone.

mod cursor_state;
mod deletes;
mod listing;
mod messages;
mod progress;
mod stream_run;
mod worker;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::context::EngineContext;
use super::thread_pool::Concurrency;
use crate::base::fault::Result;
use crate::protocol::{Message, Protocol};
use messages::MessageSender;
pub use progress::StreamOutcome;
pub use stream_run::StreamJob;
use stream_run::StreamRun;
use worker::Worker;

/// A run, shared by all its threads.
pub struct Scheduler {
    engine: Arc<EngineContext>,
    streams: Vec<StreamRun>,
    /// Groups that have a stream in progress.
    busy: Mutex<HashSet<Arc<str>>>,
    turn: Mutex<u64>,
    changed: Condvar,
    /// The number of threads that may work.
    pub concurrency: Concurrency,
}

impl Scheduler {
    /// Prepares a run; unreadable states are refused here, before any request.
    pub fn new(
        engine: Arc<EngineContext>,
        jobs: Vec<StreamJob>,
        protocol: Protocol,
        concurrency: Concurrency,
    ) -> Result<Self> {
        let now = engine.cx.now;
        Ok(Scheduler {
            engine,
            streams: jobs.into_iter().map(|job| StreamRun::new(job, protocol, now)).collect::<Result<_>>()?,
            busy: Mutex::default(),
            turn: Mutex::new(0),
            changed: Condvar::new(),
            concurrency,
        })
    }

    /// The outcome of every stream so far.
    pub fn outcomes(&self) -> Vec<StreamOutcome> {
        self.streams.iter().map(|stream| stream.progress.lock().outcome()).collect()
    }

    /// Called when the run is stopped early: saves and reports the drift of unfinished streams.
    pub fn stopped(&self) {
        for stream in self.streams.iter().filter(|stream| stream.progress.lock().outcome.begun) {
            stream.end_watch(&self.engine, false);
        }
    }

    /// The loop of thread `number`: works until no work is left.
    pub fn work(&self, number: usize, messages: SyncSender<Message>) {
        let messages = MessageSender { engine: &self.engine, channel: messages };
        let worker = Worker { scheduler: self, engine: &self.engine, messages };
        loop {
            let turn = *self.turn.lock();
            if self.engine.stop.asked().is_some() {
                return;
            }
            if !self.concurrency.wanted(number) {
                continue;
            }
            if worker.step() {
                self.wake();
                continue;
            }
            if self.streams.iter().all(|stream| stream.progress.lock().outcome.ended) {
                self.wake();
                self.concurrency.end();
                return;
            }
            // Other threads are working and may add more work.
            self.concurrency.idles(true);
            let mut guard = self.turn.lock();
            if *guard == turn {
                self.changed.wait_for(&mut guard, Duration::from_millis(200));
            }
            drop(guard);
            self.concurrency.idles(false);
        }
    }

    /// May a stream begin, given its group and the groups of its parents? If so, the groups are marked busy.
    fn may_begin(&self, stream: &StreamRun) -> bool {
        let mut busy = self.busy.lock();
        let groups = || stream.job.plan.group.iter().chain(&stream.job.plan.parents_groups);
        let free = groups().all(|group| !busy.contains(group));
        if free {
            busy.extend(groups().cloned());
        }
        free
    }

    /// Releases groups, so that their next streams may begin.
    fn release(&self, groups: &[Arc<str>]) {
        self.busy.lock().retain(|group| !groups.contains(group));
    }

    /// Wakes waiting threads after a change.
    fn wake(&self) {
        *self.turn.lock() += 1;
        self.changed.notify_all();
    }
}
