//! Alerts: report the result of a run to a webhook, once per cause.
//!
//! Input: the [`RunEnd`] of each run. Output: one signed call of the tenant's webhook for each new cause, and
//! `alerts/<source>/<tenant>.json` in the state directory, which stores what was already reported. Called by `run`,
//! which creates an [`AlertSender`] when the run starts and ends it after the run's state is saved: alerts never
//! change the exit code.

mod body;
mod cause;
pub mod outbox;
mod webhook;

use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

pub use body::{AlertBody, AlertChange};
pub use cause::AlertEvent;
pub(super) use cause::exit_words;
use outbox::{File, Outbox};
use webhook::Webhook;

use crate::base::config::Alert;
use crate::base::fault::Fault;
use crate::drift::finding::Finding;

/// The longest time that the end of a run waits for its alerts.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The result of a run, as far as alerts depend on it. It must not contain a secret.
#[derive(Debug, Clone, Default)]
pub struct RunEnd {
    /// The source.
    pub source: String,
    /// The tenant.
    pub tenant: String,
    /// What the run was: a tier's name, [`super::run_record::ALL`] or [`super::run_record::BACKFILL`].
    pub slot: String,
    /// The run ID.
    pub run_id: String,
    /// When it began, RFC 3339.
    pub began: String,
    /// When it ended, RFC 3339.
    pub ended: String,
    /// The exit code.
    pub exit_code: u8,
    /// The fault that ended the run as a whole, if any.
    pub fault: Option<Fault>,
    /// The faults of streams that were not read to their end.
    pub faults: Vec<(String, Fault)>,
    /// Streams that were read to their end.
    pub complete: Vec<String>,
    /// Every drift change of the tenant without a decision; `None` if they could not be read.
    pub drift: Option<Vec<Finding>>,
    /// Did a rate-limit wait end the run?
    pub limited: bool,
    /// Command-line arguments that select the same tenant: `--source asana --config acme.json`.
    pub arguments: String,
}

/// The result of delivering a run's alerts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The number of alerts that the webhook did not accept, as far as is known.
    pub left: usize,
    /// Are they saved for the next run?
    pub stored: bool,
    /// The reason, without secrets.
    pub why: Option<String>,
}

/// State shared by the run and the thread that calls the webhook.
#[derive(Debug, Default)]
struct Shared {
    delivery: Mutex<Delivery>,
    /// The deadline for the run's end.
    until: Mutex<Option<Instant>>,
}

/// The alert sender of one run.
#[derive(Debug)]
pub struct AlertSender {
    file: Option<File>,
    shared: Arc<Shared>,
    bodies: Sender<AlertBody>,
    over: Receiver<()>,
}

impl AlertSender {
    /// Called when the run starts: retries undelivered alerts of earlier runs in the background. Without a state
    /// directory nothing is stored. `ca_file` is that of the config's `tls`.
    pub fn begin(
        config: &Alert,
        ca_file: Option<&str>,
        root: Option<&Path>,
        source: &str,
        tenant: &str,
    ) -> AlertSender {
        let file = root.map(|root| File::new(root, source, tenant));
        let shared = Arc::new(Shared::default());
        let (bodies, queue) = channel();
        let (ended, over) = channel();
        let worker = Worker { webhook: Webhook::new(config, ca_file), file: file.clone(), shared: shared.clone() };
        std::thread::spawn(move || {
            worker.work(&queue);
            // The receiver may be gone.
            let _ = ended.send(());
        });
        AlertSender { file, shared, bodies, over }
    }

    /// Called when the run has ended: saves and sends its new alerts. Returns within [`PATIENCE`].
    pub fn end(self, outcome: &RunEnd) -> Delivery {
        let AlertSender { file, shared, bodies, over } = self;
        let until = Instant::now() + PATIENCE;
        *shared.until.lock() = Some(until);
        let due = match &file {
            Some(file) => file.update(|memory| memory.record(outcome)),
            None => Ok(Outbox::default().record(outcome)),
        };
        let stored = file.is_some() && due.is_ok();
        let due = due.unwrap_or_else(|fault| {
            // A duplicate is better than a lost alert.
            let mut delivery = shared.delivery.lock();
            delivery.why = Some(format!("cannot read which alerts were sent before: {}", fault.message));
            Outbox::default().record(outcome)
        });
        shared.delivery.lock().left += due.len();
        for body in due {
            drop(bodies.send(body));
        }
        drop(bodies);
        let _ = over.recv_timeout(until.saturating_duration_since(Instant::now()));
        let delivery = shared.delivery.lock();
        let why = delivery
            .why
            .clone()
            .or_else(|| (delivery.left > 0).then(|| "the webhook did not respond in time".to_owned()));
        Delivery { stored, why, ..delivery.clone() }
    }
}

/// Calls the webhook, one alert after another.
struct Worker {
    webhook: Webhook,
    file: Option<File>,
    shared: Arc<Shared>,
}

impl Worker {
    fn work(&self, queue: &Receiver<AlertBody>) {
        // An unreadable outbox is left to the next run.
        let old = self.file.as_ref().and_then(|file| file.update(Outbox::claim).ok()).unwrap_or_default();
        self.shared.delivery.lock().left += old.len();
        for body in old {
            self.deliver(&body);
        }
        for body in queue {
            self.deliver(&body);
        }
    }

    fn deliver(&self, body: &AlertBody) {
        let left = || {
            let until = *self.shared.until.lock();
            until.map_or(PATIENCE, |until| until.saturating_duration_since(Instant::now()))
        };
        let sent = self.webhook.send(body, &left);
        let mut delivery = self.shared.delivery.lock();
        match &sent {
            Ok(()) => delivery.left = delivery.left.saturating_sub(1),
            Err(why) => delivery.why = Some(why.clone()),
        }
        drop(delivery);
        if let Some(file) = &self.file {
            // An alert that stays claimed is retried later; the webhook can recognize it by its key.
            drop(file.update(|memory| memory.sent(&body.key(), sent.is_ok())));
        }
    }
}
