//! What was told of a tenant, so that it is told once; and what could not be delivered.
//!
//! Input: the outcome of each run, and what became of deliveries. Output: the alerts that are new; and
//! `alerts/<source>/<tenant>.json` of the state directory, replaced as a whole under its lock. Called by
//! [`super::AlertSender`], read by `status`. Tenants never see each other's: each has a file of its own.

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

/// The version of the file's form.
const VERSION: u64 = 1;
/// A lock of this file is waited for so long at most: it is held for milliseconds.
const LOCKED: Duration = Duration::from_secs(2);
/// Who delivers an alert has it for itself so long.
const CLAIM: time::Duration = time::Duration::seconds(20);
/// Alerts that wait for a webhook that is away; of more, the oldest are dropped.
const WAITING: usize = 50;

/// All that was told of a tenant and still is so.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outbox {
    /// The version of the form.
    pub v: u64,
    /// The causes that were told, by fingerprint.
    pub open: BTreeMap<String, Open>,
    /// Runs in a row that ended with 75, by slot.
    pub unfinished: BTreeMap<String, u64>,
    /// What no webhook has taken yet, oldest first.
    pub outbox: Vec<Waiting>,
}

/// A cause that was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// Its kind.
    pub event: AlertEvent,
    /// The stream, of one that is a stream's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stream: String,
    /// Since when it is so, RFC 3339.
    pub since: String,
    /// The last run that met it: when it began.
    pub last: String,
    /// Runs that met it.
    pub count: u64,
    /// The slots that met it, and whether it still is so there.
    #[serde(default)]
    pub slots: BTreeMap<String, bool>,
}

/// An alert that is not delivered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// It.
    pub body: AlertBody,
    /// Who is about to deliver it has it for itself until then, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_until: Option<String>,
    /// Runs that tried in vain.
    #[serde(default)]
    pub tries: u64,
}

impl Outbox {
    /// Hears of a run's end; gives the alerts that are new.
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
            // Drift is of the tenant's data, whichever run meets it.
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

    /// A run met a cause: is it to be told, and how many runs met it?
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
        // Another slot that meets the same is no news; one that was well again is.
        let again = open.slots.insert(outcome.slot.clone(), true) == Some(false);
        if again {
            (open.since, open.count) = (cause.since.clone(), 0);
        }
        open.last.clone_from(&outcome.began);
        open.count = if open.count == 0 { first } else { open.count + 1 };
        (!known || again).then_some(open.count)
    }

    /// The alerts that nobody else is about to deliver: they are the caller's for some seconds.
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

    /// A delivery went well, or not.
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
    /// In the state directory at `root`.
    pub fn new(root: &Path, source: &str, tenant: &str) -> File {
        File(Store::new(root).file(&format!("alerts/{}", file_name(source)), &file_name(tenant)))
    }

    /// What is there.
    pub fn read(&self) -> Result<Outbox> {
        self.0.read()?.map_or_else(|| Ok(Outbox::default()), decoded)
    }

    /// Changes it under its lock, which is not waited for for long.
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
        Fault::config(format!("the memory of a tenant's alerts cannot be read: {e}"))
            .hint("it is of another version, or was edited: take it away, and what is wrong is told again")
    })
}
