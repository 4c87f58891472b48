//! The alert outbox: causes that were already reported, and undelivered alerts.
//!
//! Input: the result of each run and of each delivery. Output: the new alerts; and `alerts/<source>/<tenant>.json` in
//! the state directory, replaced as a whole under its lock. Called by [`super::AlertSender`], read by `status`.
//! Tenants are separate: each has its own file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::RunEnd;
use super::body::AlertBody;
use super::cause::{AlertEvent, Cause, is_void};
use crate::base::fault::{Fault, Kind, Result};
use crate::base::stop::Stop;
use crate::base::store::{Store, StoredFile, file_name};
use crate::base::timefmt::{parse_iso, rfc3339};

/// The format version of the file.
const VERSION: u64 = 1;
/// The longest wait for the lock of this file, which is held only for milliseconds.
const LOCKED: Duration = Duration::from_secs(2);
/// How long a claimed alert is reserved for its sender.
const CLAIM: time::Duration = time::Duration::seconds(20);
/// The maximum number of alerts waiting for an unavailable webhook; beyond it, the oldest are dropped.
const WAITING: usize = 50;

/// Everything that was reported for a tenant and still applies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outbox {
    /// The format version.
    pub v: u64,
    /// Reported causes, by fingerprint.
    pub open: BTreeMap<String, Open>,
    /// The number of consecutive runs with exit 75, by slot.
    pub unfinished: BTreeMap<String, u64>,
    /// Undelivered alerts, oldest first.
    pub outbox: Vec<Waiting>,
}

/// A reported cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// The kind of cause.
    pub event: AlertEvent,
    /// The stream, if the cause concerns a single one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stream: String,
    /// When it began, RFC 3339.
    pub since: String,
    /// The start of the last run with this cause.
    pub last: String,
    /// The number of runs with this cause.
    pub count: u64,
    /// The slots that had this cause, and whether it still applies there.
    #[serde(default)]
    pub slots: BTreeMap<String, bool>,
}

/// An undelivered alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// The alert.
    pub body: AlertBody,
    /// Until when a sender has reserved it, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_until: Option<String>,
    /// Runs that failed to deliver it.
    #[serde(default)]
    pub tries: u64,
}

impl Outbox {
    /// Adds the result of a run; returns the new alerts.
    pub fn record(&mut self, outcome: &RunEnd) -> Vec<AlertBody> {
        let slot = &outcome.slot;
        if outcome.exit_code == Kind::Unfinished.exit_code() {
            *self.unfinished.entry(slot.clone()).or_default() += 1;
        } else if !is_void(outcome.exit_code) {
            self.unfinished.remove(slot);
        }
        let unfinished = self.unfinished.get(slot).copied().unwrap_or(0);
        let causes = outcome.causes(unfinished);
        self.open.retain(|fingerprint, open| {
            if causes.iter().any(|cause| cause.fingerprint == *fingerprint)
                || !outcome.disproves(open.event, &open.stream)
            {
                return true;
            }
            // Drift concerns the tenant's data, whichever run detects it.
            if open.event != AlertEvent::SchemaDrift {
                open.slots.entry(slot.clone()).and_modify(|so| *so = false);
            }
            open.event != AlertEvent::SchemaDrift && open.slots.values().any(|so| *so)
        });
        let mut new: BTreeMap<AlertEvent, Vec<(Cause, u64)>> = BTreeMap::new();
        for cause in causes {
            if let Some(count) = self.met(&cause, outcome, unfinished) {
                new.entry(cause.event).or_default().push((cause, count));
            }
        }
        let bodies: Vec<AlertBody> =
            new.into_iter().map(|(event, causes)| AlertBody::of(event, &causes, outcome)).collect();
        let claimed = || Some(rfc3339(OffsetDateTime::now_utc() + CLAIM));
        self.outbox.extend(bodies.iter().map(|body| Waiting {
            body: body.clone(),
            claimed_until: claimed(),
            tries: 0,
        }));
        self.outbox.drain(..self.outbox.len().saturating_sub(WAITING));
        bodies
    }

    /// Registers a cause of a run; returns the number of runs with this cause if an alert is due.
    fn met(&mut self, cause: &Cause, outcome: &RunEnd, unfinished: u64) -> Option<u64> {
        let first = match (&cause.change, cause.event) {
            (Some(change), _) => change.runs.max(1),
            (None, AlertEvent::Unfinished) => unfinished,
            _ => 1,
        };
        let stream = || cause.streams.first().filter(|_| cause.event == AlertEvent::StreamFailed);
        let known = self.open.contains_key(&cause.fingerprint);
        let open = self.open.entry(cause.fingerprint.clone()).or_insert_with(|| Open {
            event: cause.event,
            stream: stream().cloned().unwrap_or_default(),
            since: cause.since.clone(),
            last: String::new(),
            count: 0,
            slots: BTreeMap::new(),
        });
        // The same cause in another slot is not news; a cause that was resolved and recurs is.
        let again = open.slots.insert(outcome.slot.clone(), true) == Some(false);
        if again {
            (open.since, open.count) = (cause.since.clone(), 0);
        }
        open.last.clone_from(&outcome.began);
        open.count = if open.count == 0 { first } else { open.count + 1 };
        (!known || again).then_some(open.count)
    }

    /// Claims the alerts that no other sender has reserved; they belong to the caller for some seconds.
    pub fn claim(&mut self) -> Vec<AlertBody> {
        let now = OffsetDateTime::now_utc();
        let free = |waiting: &&mut Waiting| {
            let until = waiting.claimed_until.as_deref().and_then(parse_iso);
            until.is_none_or(|until| until < now || until > now + CLAIM)
        };
        let claimed = self.outbox.iter_mut().filter(free).map(|waiting| {
            waiting.claimed_until = Some(rfc3339(now + CLAIM));
            waiting.body.clone()
        });
        claimed.collect()
    }

    /// Registers the result of a delivery.
    pub fn sent(&mut self, key: &str, well: bool) {
        if well {
            self.outbox.retain(|waiting| waiting.body.key() != key);
        }
        for waiting in self.outbox.iter_mut().filter(|waiting| waiting.body.key() == key) {
            (waiting.claimed_until, waiting.tries) = (None, waiting.tries + 1);
        }
    }
}

/// The file of a tenant's alerts.
#[derive(Debug, Clone)]
pub struct File(StoredFile);

impl File {
    /// The file in the state directory at `root`.
    pub fn new(root: &Path, source: &str, tenant: &str) -> File {
        File(Store::new(root).file(&format!("alerts/{}", file_name(source)), &file_name(tenant)))
    }

    /// Reads the outbox.
    pub fn read(&self) -> Result<Outbox> {
        self.0.read()?.map_or_else(|| Ok(Outbox::default()), decoded)
    }

    /// Changes it under its lock, with a short wait for the lock.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Outbox) -> T) -> Result<T> {
        let stop = Arc::new(Stop::default());
        let timer = stop.clone();
        std::thread::spawn(move || {
            std::thread::sleep(LOCKED);
            timer.ask(Kind::Unfinished);
        });
        let file = self.0.lock(&stop)?;
        let before = file.read()?.map_or_else(|| Ok(Outbox::default()), decoded)?;
        let mut memory = before.clone();
        let out = change(&mut memory);
        if memory != before {
            memory.v = VERSION;
            let json = serde_json::to_value(&memory).map_err(|e| Fault::bug(e.to_string()))?;
            file.draft()?.put_pretty(&json)?;
        }
        Ok(out)
    }
}

fn decoded(json: serde_json::Value) -> Result<Outbox> {
    serde_json::from_value(json).map_err(|e| {
        Fault::config(format!("cannot read the record of a tenant's alerts: {e}"))
            .hint("another version wrote it, or it was edited; delete it: open problems are then alerted again")
    })
}
