//! Alerts: what a run came to, told to a webhook once for each cause.
//!
//! Input: the [`RunEnd`] of each run. Output: one signed call of the tenant's webhook for each kind of cause that
//! is new, and `alerts/<source>/<tenant>.json` of the state directory, which knows what was told. Called by `cli`,
//! which begins an [`AlertSender`] with the run and ends it once the run's state is written: what it ends with is no
//! longer the alarm's to change.

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

/// So long at most the end of a run waits for its alerts.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What a run came to, as far as alerts depend on it. Nothing in it may hold a secret.
#[derive(Debug, Clone, Default)]
pub struct RunEnd {
    /// The source.
    pub source: String,
    /// The tenant.
    pub tenant: String,
    /// What the run was: a tier's name, [`super::run_record::ALL`] or [`super::run_record::BACKFILL`].
    pub slot: String,
    /// Its name.
    pub run_id: String,
    /// When it began, RFC 3339.
    pub began: String,
    /// When it ended, RFC 3339.
    pub ended: String,
    /// How it ended.
    pub exit_code: u8,
    /// What ended the run as a whole, if something did.
    pub fault: Option<Fault>,
    /// What kept streams from being read to their end.
    pub faults: Vec<(String, Fault)>,
    /// Streams that were read to their end.
    pub complete: Vec<String>,
    /// Every change of the tenant's data that nobody has judged; nothing where that could not be read.
    pub drift: Option<Vec<Finding>>,
    /// Did a wait for the account's limit end it?
    pub limited: bool,
    /// What a command needs to mean the same tenant: `--source asana --config acme.json`.
    pub arguments: String,
}

/// What became of a run's alerts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// So many were not taken by the webhook, as far as is known.
    pub left: usize,
    /// Are they kept for the next run?
    pub stored: bool,
    /// Why, in words that tell no secret.
    pub why: Option<String>,
}

/// What the thread that calls the webhook and the run share.
#[derive(Debug, Default)]
struct Shared {
    delivery: Mutex<Delivery>,
    /// When the run's end waits no longer.
    until: Mutex<Option<Instant>>,
}

/// The alarm of one run.
#[derive(Debug)]
pub struct AlertSender {
    file: Option<File>,
    shared: Arc<Shared>,
    bodies: Sender<AlertBody>,
    over: Receiver<()>,
}

impl AlertSender {
    /// Begins with the run: what earlier runs could not deliver is tried again in the background. Without a state
    /// directory nothing is remembered.
    pub fn begin(config: &Alert, root: Option<&Path>, source: &str, tenant: &str) -> AlertSender {
        let file = root.map(|root| File::new(root, source, tenant));
        let shared = Arc::new(Shared::default());
        let (bodies, queue) = channel();
        let (ended, over) = channel();
        let worker = Worker { webhook: Webhook::new(config), file: file.clone(), shared: shared.clone() };
        std::thread::spawn(move || {
            worker.work(&queue);
            // Nobody may wait any more.
            let _ = ended.send(());
        });
        AlertSender { file, shared, bodies, over }
    }

    /// The run ended so: what is new of it is kept and sent. Returns within [`PATIENCE`].
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
            // Better twice than not at all.
            let mut delivery = shared.delivery.lock();
            delivery.why = Some(format!("what was told before is not known: {}", fault.message));
            Outbox::default().record(outcome)
        });
        shared.delivery.lock().left += due.len();
        for body in due {
            drop(bodies.send(body));
        }
        drop(bodies);
        let _ = over.recv_timeout(until.saturating_duration_since(Instant::now()));
        let delivery = shared.delivery.lock();
        let why = delivery.why.clone().or_else(|| (delivery.left > 0).then(|| "it did not answer in time".to_owned()));
        Delivery { stored, why, ..delivery.clone() }
    }
}

/// Calls the webhook, one alert after the other.
struct Worker {
    webhook: Webhook,
    file: Option<File>,
    shared: Arc<Shared>,
}

impl Worker {
    fn work(&self, queue: &Receiver<AlertBody>) {
        // What cannot be read now is there for the next run.
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
            // One that stays claimed is tried again a little later, and the webhook can tell it by its key.
            drop(file.update(|memory| memory.sent(&body.key(), sent.is_ok())));
        }
    }
}
