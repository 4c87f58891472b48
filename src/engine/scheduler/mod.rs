//! Reads streams: a few threads, their slices, and one writer.
//!
//! Input: the chosen streams of a [`SourcePlan`](super::build::SourcePlan), with their states. Output:
//! [`Message`]s in an order in which a state never comes before its records; then an account of each stream. Called by
//! `run`.
//!
//! Threads take work from a board: first the earliest stream that has a slice to read, else the listing of a
//! stream's slices (which reads its parents). Pages of one slice are sequential.
//!
//! `stream_run` is a stream while it is read, `progress` how far it is, `cursor_state` what its state is made of;
//! `worker` is a thread, which lists slices (`listing`), reads them, and sends `messages`.

mod cursor_state;
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

/// The run: what all threads see.
pub struct Scheduler {
    engine: Arc<EngineContext>,
    streams: Vec<StreamRun>,
    /// Groups of which a stream is being read.
    busy: Mutex<HashSet<Arc<str>>>,
    turn: Mutex<u64>,
    changed: Condvar,
    /// How many threads may work.
    pub concurrency: Concurrency,
}

impl Scheduler {
    /// Prepares a run; states that cannot be read are refused here, before any request.
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

    /// What is known of every stream so far.
    pub fn outcomes(&self) -> Vec<StreamOutcome> {
        self.streams.iter().map(|stream| stream.progress.lock().outcome()).collect()
    }

    /// The run was asked to stop: the drift of streams that have not ended is saved and reported.
    pub fn stopped(&self) {
        for stream in self.streams.iter().filter(|stream| stream.progress.lock().outcome.begun) {
            stream.end_watch(&self.engine, false);
        }
    }

    /// The work of thread number `number`: until nothing is left to do.
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
            // Others are at work that may bring more.
            self.concurrency.idles(true);
            let mut guard = self.turn.lock();
            if *guard == turn {
                self.changed.wait_for(&mut guard, Duration::from_millis(200));
            }
            drop(guard);
            self.concurrency.idles(false);
        }
    }

    /// May a stream begin, as far as its group and those of the streams that it reads go? Then they are taken.
    fn may_begin(&self, stream: &StreamRun) -> bool {
        let mut busy = self.busy.lock();
        let groups = || stream.job.plan.group.iter().chain(&stream.job.plan.parents_groups);
        let free = groups().all(|group| !busy.contains(group));
        if free {
            busy.extend(groups().cloned());
        }
        free
    }

    /// Streams of these groups may begin.
    fn release(&self, groups: &[Arc<str>]) {
        self.busy.lock().retain(|group| !groups.contains(group));
    }

    /// Something changed: threads that wait look again.
    fn wake(&self) {
        *self.turn.lock() += 1;
        self.changed.notify_all();
    }
}
