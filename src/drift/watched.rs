//! A stream that is watched for drift while it is read.
//!
//! Comes in: its baseline and the tenant's overlay; odd records, pages and answers as they are read. Goes out: for each odd
//! record what becomes of it; a schema that grows; findings, kept and told; the fault that stops the stream. Called by
//! `run`, by every thread that reads a slice of the stream.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value as Json, json};
use time::OffsetDateTime;

use super::baseline::{self, merged};
use super::chance::{bounds, is_surprise};
use super::checks::{Checks, NAMES, Tolerated, bit, number};
use super::examine::{Deviation, MOST_NAMES, Step, examine};
use super::finding::{Finding, fingerprint};
use super::kept::{Addition, How, Overlay, Shelf};
use super::listen::{Counts, Listener};
use super::policy::Policies;
use super::presence;
use super::quarantine::{self, Aside};
use super::rules::{Rule, Severity};
use crate::config::{Drift as Config, DriftPolicy as Policy};
use crate::fault::{Fault, Kind, Result};
use crate::scan::{Kind as Value, Scanner};
use crate::stop::Stop;
use crate::timefmt::rfc3339;

/// Largest record that is sent, in bytes, when the config says nothing.
const MAX_RECORD: u64 = 16 << 20;
/// Runs with rows after which an empty one is a surprise.
const RUNS_WITH_ROWS: u64 = 7;
/// Keys of records that a finding names.
const MOST_KEYS: usize = 3;
/// So many records must have kept to a filter before others are said not to.
const KEPT: u64 = 20;

/// Whose data it is.
#[derive(Debug, Clone)]
pub struct Names {
    /// The source.
    pub source: String,
    /// The account.
    pub tenant: String,
    /// The run.
    pub run_id: String,
}

/// What is watched, and how.
#[derive(Debug)]
pub struct Given<'g> {
    /// Whose it is.
    pub names: Names,
    /// The stream.
    pub stream: &'g str,
    /// Its schema.
    pub schema: &'g Json,
    /// Was that reviewed for drift? Otherwise the first runs teach.
    pub reviewed: bool,
    /// The paths of its keys.
    pub keys: &'g [Vec<String>],
    /// Its cursor field.
    pub cursor: Option<&'g str>,
    /// What is done about changes.
    pub policies: Arc<Policies>,
    /// The config's part about drift.
    pub config: &'g Config,
    /// The state directory.
    pub root: Option<PathBuf>,
    /// Are values sent as they are written (Airbyte)? Otherwise each has a column of one type.
    pub as_written: bool,
    /// Is everything read, whatever was read before?
    pub sweep: bool,
    /// Is it read to its end? (Not a preview.)
    pub whole: bool,
    /// May new fields be sent? (The user has not left some out.)
    pub may_grow: bool,
    /// Fields that its requests ask for by name.
    pub asked: Vec<String>,
}

/// What becomes of a record.
#[derive(Debug, PartialEq)]
pub enum Judged {
    /// It is sent as it is; the schema may have grown.
    Sent,
    /// It is sent with these values null; it is kept as it was.
    Without(Without),
    /// It is kept instead of being sent.
    Aside(Aside),
}

/// Values that are taken out of a record.
#[derive(Debug, PartialEq)]
pub struct Without {
    /// Where they are.
    paths: Vec<Vec<Step>>,
    /// The record as it was.
    pub aside: Aside,
}

impl Without {
    /// The record with null in their place.
    pub fn apply(&self, record: &mut Json) {
        for path in &self.paths {
            let value = path.iter().try_fold(&mut *record, |at, step| match step {
                Step::Field(name) => at.get_mut(name),
                Step::Item(index) => at.get_mut(index),
            });
            if let Some(value) = value {
                *value = Json::Null;
            }
        }
    }

    /// The top-level fields that they are in.
    pub fn fields(&self) -> BTreeSet<&str> {
        self.paths
            .iter()
            .filter_map(|path| match path.first() {
                Some(Step::Field(name)) => Some(name.as_str()),
                _ => None,
            })
            .collect()
    }
}

/// What a page held beside its values.
#[derive(Debug, Clone, Copy, Default)]
pub struct Page {
    /// Records whose cursor cannot be read.
    pub without_cursor: u64,
    /// Records that lie outside the window that was asked for, of a window whose bounds mean something.
    pub outside: u64,
    /// Records that were compared with such a window.
    pub compared: u64,
    /// Records that came again, just as before.
    pub again: u64,
}

/// A finding that is told when its stream ends.
#[derive(Debug, Clone)]
pub struct Told {
    /// It.
    pub finding: Finding,
    /// Did an earlier run tell it?
    pub repeat: bool,
    /// Was it rejected a short while ago? Then it is told no one.
    pub silent: bool,
}

/// A stream that is watched.
#[derive(Debug)]
pub struct Watched {
    names: Names,
    stream: String,
    reviewed: bool,
    keys: Vec<Vec<String>>,
    cursor: Option<String>,
    policies: Arc<Policies>,
    config: Config,
    shelf: Option<Shelf>,
    as_written: bool,
    sweep: bool,
    whole: bool,
    may_grow: bool,
    asked: Vec<String>,
    started: String,
    generation: AtomicU32,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    base: Json,
    /// As it was read; then as it will be kept.
    pub(super) overlay: Overlay,
    /// What earlier runs found.
    known: BTreeMap<String, Finding>,
    /// What this run found, by fingerprint.
    pub(super) found: BTreeMap<String, Finding>,
    tolerated: Tolerated,
    pub(super) checks: Arc<Checks>,
    schema: Arc<Json>,
    pub(super) totals: Counts,
    aside: u64,
    kept_to_filter: u64,
    outside: u64,
    compared: u64,
    without_cursor: u64,
    again: u64,
    /// Sizes of pages that were followed by another, and how often.
    pages: BTreeMap<u64, u64>,
    ended: bool,
}

fn now() -> String {
    rfc3339(OffsetDateTime::now_utc())
}

impl Watched {
    /// Begins to watch: reads what earlier runs learned.
    pub fn begin(given: Given<'_>, stop: &Stop) -> Result<Watched> {
        let Given { names, stream, schema, .. } = given;
        let shelf = given.root.as_ref().map(|root| Shelf::new(root, &names.source, &names.tenant, stream));
        let (mut overlay, pending) = match &shelf {
            Some(shelf) => shelf.read(stop)?,
            None => Default::default(),
        };
        let baseline = baseline::hash(schema);
        if overlay.baseline != baseline {
            // Another baseline was reviewed, or the manifest was edited: what stands in it needs no addition.
            let declares = |pointer: &str| {
                Checks::compile(schema, given.keys, given.cursor, &BTreeMap::new(), None).at(pointer).is_some()
            };
            overlay.schema.retain(|pointer, addition| addition.how == How::Accepted || !declares(pointer));
            overlay.baseline = baseline;
        }
        let merged = merged(schema, &overlay.schema);
        let tolerated = overlay.tolerated.clone();
        let checks = Arc::new(Checks::compile(&merged, given.keys, given.cursor, &tolerated, None));
        Ok(Watched {
            stream: stream.to_owned(),
            reviewed: given.reviewed,
            keys: given.keys.to_vec(),
            cursor: given.cursor.map(str::to_owned),
            policies: given.policies,
            config: given.config.clone(),
            shelf,
            as_written: given.as_written,
            sweep: given.sweep,
            whole: given.whole,
            may_grow: given.may_grow,
            asked: given.asked,
            started: now(),
            names,
            generation: AtomicU32::new(0),
            inner: Mutex::new(Inner {
                base: schema.clone(),
                known: pending.findings.into_iter().map(|f| (f.fingerprint.clone(), f)).collect(),
                overlay,
                found: BTreeMap::new(),
                tolerated,
                checks,
                schema: Arc::new(merged),
                totals: Counts::default(),
                aside: 0,
                kept_to_filter: 0,
                outside: 0,
                compared: 0,
                without_cursor: 0,
                again: 0,
                pages: BTreeMap::new(),
                ended: false,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream's schema by now.
    pub fn schema(&self) -> Arc<Json> {
        self.lock().schema.clone()
    }

    /// Changes whenever the schema does.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// The places of the schema by now.
    pub fn places(&self) -> Arc<dyn crate::observe::Places + Send + Sync> {
        self.lock().checks.clone()
    }

    /// Listens to a slice's records.
    pub fn listener(&self) -> Listener {
        Listener::new(&self.lock().checks)
    }

    /// Lets a listener go by the checks of now.
    pub fn follow(&self, listener: &mut Listener) {
        listener.follow(&self.lock().checks);
    }

    /// Does the first contact teach what is normal?
    fn learns(&self, inner: &Inner) -> bool {
        !self.reviewed && inner.overlay.runs == 0
    }

    /// Largest record that is sent, in bytes.
    pub fn max_record(&self) -> u64 {
        self.config.max_record_bytes.unwrap_or(MAX_RECORD)
    }

    /// What becomes of a record in which something is not as expected.
    ///
    /// # Errors
    /// The stream must stop.
    pub fn judge(&self, listener: &mut Listener, record: &[u8]) -> Result<Judged> {
        let mut inner = self.lock();
        let deviations = examine(&inner.checks, &mut Scanner::new(record))
            .map_err(|e| Fault::bug(format!("a record that was read cannot be read again: {e}")))?;
        let (mut paths, mut causes, mut whole, mut grown, mut eased) = (Vec::new(), Vec::new(), false, false, false);
        for deviation in deviations {
            let learns = self.learns(&inner) || inner.overlay.waived.contains(&waiver(&deviation));
            let policy = match deviation.rule {
                Rule::KeyMissing if !(learns && self.as_written) => self.policy(&deviation),
                Rule::FieldAdded if learns && self.may_grow => {
                    grown |= self.grow(&mut inner, &deviation, How::Learned);
                    continue;
                }
                // A column that this very run announced keeps its type too.
                _ if learns
                    && !self.as_written
                    && deviation.schema.is_some()
                    && inner.overlay.schema.contains_key(&deviation.pointer) =>
                {
                    grown |= self.grow(&mut inner, &deviation, How::Learned);
                    continue;
                }
                _ if learns => {
                    eased |= tolerate(&mut inner.overlay.tolerated, &deviation);
                    tolerate(&mut inner.tolerated, &deviation);
                    continue;
                }
                _ => self.policy(&deviation),
            };
            if policy != Policy::Ignore {
                let finding = self.note(&mut inner, &deviation, policy, deviation.rule.severity(), 1);
                causes.push((finding.fingerprint.clone(), deviation.rule, deviation.pointer.clone()));
                if finding.keys.len() < MOST_KEYS
                    && let Some(key) = key_of(&self.keys, record)
                    && !finding.keys.contains(&shortened(&key))
                {
                    finding.keys.push(shortened(&key));
                }
            }
            match policy {
                Policy::Ignore | Policy::Record | Policy::Warn => eased |= tolerate(&mut inner.tolerated, &deviation),
                Policy::Evolve if deviation.rule == Rule::FieldAdded && !self.may_grow => {
                    eased |= tolerate(&mut inner.tolerated, &deviation);
                }
                Policy::Evolve => grown |= self.grow(&mut inner, &deviation, How::Evolved),
                Policy::NullValue => paths.push(deviation.path),
                Policy::Quarantine => whole = true,
                Policy::FailStream | Policy::FailRun => return Err(self.fault(policy, &deviation)),
            }
        }
        if grown || eased {
            self.recompile(&mut inner, grown);
        }
        if !Arc::ptr_eq(&inner.checks, listener.checks()) {
            listener.follow(&inner.checks);
        }
        drop(inner);
        let aside = |what| Aside::new(what, &self.names.run_id, &causes, record);
        Ok(if whole {
            Judged::Aside(aside("record"))
        } else if paths.is_empty() {
            Judged::Sent
        } else {
            Judged::Without(Without { paths, aside: aside("values") })
        })
    }

    /// What becomes of a record that is no record: too large, no text, or no object.
    pub fn poison(&self, rule: Rule, record: &[u8], sample: String) -> Result<Aside> {
        let deviation = Deviation {
            rule,
            pointer: String::new(),
            path: Vec::new(),
            from: String::new(),
            to: sample,
            sample: None,
            schema: None,
            tolerate: String::new(),
        };
        let policy = self.policy(&deviation).max(Policy::Quarantine);
        let mut inner = self.lock();
        let fingerprint = self.note(&mut inner, &deviation, policy, rule.severity(), 1).fingerprint.clone();
        drop(inner);
        if policy != Policy::Quarantine {
            return Err(self.fault(policy, &deviation));
        }
        Ok(Aside::new("record", &self.names.run_id, &[(fingerprint, rule, String::new())], record))
    }

    /// Is there a file for what cannot be sent?
    pub fn can_put_aside(&self) -> bool {
        self.shelf.is_some()
    }

    /// Is what was there before known, so that something else is a change, and not how the source is?
    pub fn knows(&self) -> bool {
        !self.learns(&self.lock())
    }

    /// What is done about a deviation, as far as it can be.
    fn policy(&self, deviation: &Deviation) -> Policy {
        let rule = deviation.rule;
        let policy = self.policies.of(rule, &self.stream, &deviation.pointer, rule.policy());
        let fits = matches!(
            rule,
            Rule::FieldAdded
                | Rule::FieldTypeNarrowed
                | Rule::FieldBecameNullable
                | Rule::EnumValueAdded
                | Rule::DuplicateJsonKeys
        );
        let passes = policy <= Policy::Warn && policy != Policy::Evolve;
        // A column cannot take such a value: it is kept, or lost.
        let policy = if passes && !fits && !self.as_written && self.shelf.is_some() && policy != Policy::Ignore {
            Policy::NullValue.max(if rule == Rule::KeyMissing { Policy::Quarantine } else { Policy::NullValue })
        } else {
            policy
        };
        match policy {
            Policy::NullValue | Policy::Quarantine if self.shelf.is_none() => {
                // Whoever reads Airbyte's messages judges values, and tells of those that do not fit.
                if self.as_written && rule != Rule::KeyMissing && !is_poison(rule) {
                    Policy::Warn
                } else {
                    Policy::FailStream
                }
            }
            policy => policy,
        }
    }

    /// Notes a change.
    fn note<'i>(
        &self,
        inner: &'i mut Inner,
        deviation: &Deviation,
        policy: Policy,
        severity: Severity,
        count: u64,
    ) -> &'i mut Finding {
        let Deviation { rule, pointer, from, to, .. } = deviation;
        let print = fingerprint(&self.names.source, &self.stream, *rule, pointer, from, to);
        let before = inner.known.get(&print);
        let finding = inner.found.entry(print.clone()).or_insert_with(|| Finding {
            fingerprint: print,
            rule: *rule,
            severity,
            source: self.names.source.clone(),
            tenant: self.names.tenant.clone(),
            stream: self.stream.clone(),
            pointer: pointer.clone(),
            from: from.clone(),
            to: to.clone(),
            policy,
            count: 0,
            of: 0,
            quarantined: 0,
            first_seen: before.map_or_else(now, |f| f.first_seen.clone()),
            last_seen: now(),
            runs: before.map_or(0, |f| f.runs) + 1,
            run_id: self.names.run_id.clone(),
            sample: deviation.sample.clone(),
            keys: Vec::new(),
            evidence: None,
            silenced_until: before.and_then(|f| f.silenced_until.clone()),
            schema: deviation.schema.clone(),
        });
        finding.count += count;
        if matches!(policy, Policy::NullValue | Policy::Quarantine) {
            finding.quarantined += count;
        }
        finding
    }

    /// Lets the schema grow by a change; false when it has it by now.
    fn grow(&self, inner: &mut Inner, deviation: &Deviation, how: How) -> bool {
        let Some(schema) = &deviation.schema else { return tolerate(&mut inner.tolerated, deviation) };
        let schema = schema.clone();
        let pointer = &deviation.pointer;
        if deviation.rule == Rule::FieldAdded {
            let (above, _) = pointer.rsplit_once('/').unwrap_or_default();
            let beside = |p: &String| p.rsplit_once('/').is_some_and(|(other, _)| other == above);
            if inner.overlay.schema.keys().filter(|p| beside(p)).count() >= MOST_NAMES {
                return self.map_found(inner, above);
            }
        }
        inner.overlay.schema.insert(pointer.clone(), Addition { schema, since: now(), how });
        true
    }

    /// An object's names are data: it has no fields of its own.
    fn map_found(&self, inner: &mut Inner, pointer: &str) -> bool {
        let below = format!("{pointer}/");
        let deviation = Deviation {
            rule: Rule::MapDetected,
            pointer: pointer.to_owned(),
            path: Vec::new(),
            from: "fields".into(),
            to: format!("more than {MOST_NAMES} names"),
            sample: None,
            schema: None,
            tolerate: String::new(),
        };
        if !self.learns(inner) {
            let policy = self.policies.of(Rule::MapDetected, &self.stream, pointer, Rule::MapDetected.policy());
            inner.found.retain(|_, f| f.rule != Rule::FieldAdded || !f.pointer.starts_with(&below));
            self.note(inner, &deviation, policy, Rule::MapDetected.severity(), 1);
        }
        inner.overlay.schema.retain(|p, _| !p.starts_with(&below));
        if pointer.is_empty() {
            // A record's own fields are columns: no more of them are announced.
            inner.tolerated.entry(String::new()).or_default().insert(super::checks::OPEN.into());
            inner.overlay.tolerated.entry(String::new()).or_default().insert(super::checks::OPEN.into());
        } else {
            let schema = json!({"type": ["null", "object"]});
            inner.overlay.schema.insert(pointer.to_owned(), Addition { schema, since: now(), how: How::Evolved });
        }
        true
    }

    fn recompile(&self, inner: &mut Inner, grown: bool) {
        if grown {
            inner.schema = Arc::new(merged(&inner.base, &inner.overlay.schema));
        }
        let before = inner.checks.clone();
        inner.checks = Arc::new(Checks::compile(
            &inner.schema,
            &self.keys,
            self.cursor.as_deref(),
            &inner.tolerated,
            Some(&before),
        ));
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The fault by which a change stops the stream, or the run.
    fn fault(&self, policy: Policy, deviation: &Deviation) -> Fault {
        let Deviation { rule, pointer, from, to, .. } = deviation;
        let print = fingerprint(&self.names.source, &self.stream, *rule, pointer, from, to);
        let place = if pointer.is_empty() { String::new() } else { format!(" {pointer}") };
        let change = match (from.as_str(), to.as_str()) {
            ("", "") => String::new(),
            ("", to) => format!(": {to}"),
            (from, "") => format!(": was {from}"),
            (from, to) => format!(": {from} -> {to}"),
        };
        let wanted = self.policies.of(*rule, &self.stream, pointer, rule.policy());
        let said = format!("the vendor changed its data: {}{place} ({}){change}", rule.id(), rule.what());
        let fault =
            Fault::new(if policy == Policy::FailRun { Kind::Drift } else { Kind::Data }, said).of_rule(rule.id());
        if self.shelf.is_none() && matches!(wanted, Policy::NullValue | Policy::Quarantine) {
            return fault.hint(format!(
                "set dripfeed.state_dir: then what does not fit is kept there ({}) and the rest goes on",
                wanted.name()
            ));
        }
        fault.hint(format!("look at it with `dripfeed drift show`; to go on with it: `dripfeed drift accept {print}`"))
    }

    /// A page was read wholly: its counts are added, and what was put aside is on disk when this returns.
    ///
    /// # Errors
    /// Too much was put aside, it cannot be kept, or what the page tells of its stream cannot be trusted.
    pub fn page(&self, listener: &mut Listener, page: Page, aside: &[Aside]) -> Result<()> {
        let mut inner = self.lock();
        if !Arc::ptr_eq(&inner.checks, listener.checks()) {
            listener.follow(&inner.checks);
        }
        let records = inner.totals.records + listener.page().records;
        self.check_cursor(&mut inner, page, records)?;
        self.check_filter(&mut inner, page)?;
        if !aside.is_empty() {
            self.within_budget(&inner, aside.len() as u64, records)?;
            inner.aside += aside.len() as u64;
            if let Some(shelf) = &self.shelf {
                quarantine::keep(&shelf.quarantine, aside, self.config.quarantine.max_bytes)
                    .map_err(|fault| fault.hint("make room, or take it away once its records are dealt with"))?;
            }
        }
        inner.again += page.again;
        listener.take(&mut inner.totals);
        Ok(())
    }

    fn within_budget(&self, inner: &Inner, more: u64, records: u64) -> Result<()> {
        let budget = &self.config.quarantine;
        let most = budget.max_records.unwrap_or(100);
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let share = (records as f64 * budget.max_share.unwrap_or(0.001)) as u64;
        let allowed = most.min(share.max(budget.always.unwrap_or(10)));
        let count = inner.aside + more;
        if count <= allowed {
            return Ok(());
        }
        let worst = inner.found.values().filter(|f| f.quarantined > 0).max_by_key(|f| f.quarantined);
        let (line, print) = worst.map_or_else(Default::default, |f| (f.line(), f.fingerprint.clone()));
        let rule = worst.map_or("", |f| f.rule.id());
        Err(Fault::data(format!("{count} of {records} records would be put aside, {allowed} may be: {line}"))
            .of_rule(rule)
            .hint(format!(
                "look at it with `dripfeed drift show`; to go on with it: `dripfeed drift accept {print}`; the budget is \
                 dripfeed.drift.quarantine"
            )))
    }

    /// Has the cursor gone from records that always had it?
    fn check_cursor(&self, inner: &mut Inner, page: Page, records: u64) -> Result<()> {
        inner.without_cursor += page.without_cursor;
        let Some(cursor) = self.cursor.as_deref().filter(|_| page.without_cursor > 0) else { return Ok(()) };
        let pointer = format!("/{}", super::checks::segment(cursor));
        let seen = inner.overlay.seen.get(&pointer);
        let place = inner.checks.at(&pointer).map(|at| inner.checks.place(at));
        let declared = self.reviewed && place.is_some_and(|p| p.allowed & bit(number(Value::Null)) == 0);
        let share = match seen {
            Some(seen) => bounds(seen.of.saturating_sub(seen.seen - seen.nulls.min(seen.seen)), seen.of).1,
            None if declared => 0.001,
            None => return Ok(()),
        };
        if !is_surprise(inner.without_cursor, records, share) {
            return Ok(());
        }
        let deviation = Deviation {
            rule: Rule::CursorMissing,
            from: place.map(|p| p.words()).unwrap_or_default(),
            to: "missing, null or not to be read".into(),
            pointer,
            path: Vec::new(),
            sample: None,
            schema: None,
            tolerate: String::new(),
        };
        self.stopping(inner, &deviation, page.without_cursor)
    }

    /// Notes a change of which the policy may be to stop; stops if it is.
    fn stopping(&self, inner: &mut Inner, deviation: &Deviation, count: u64) -> Result<()> {
        if inner.overlay.waived.contains(&waiver(deviation)) {
            return Ok(());
        }
        let policy = self.policy(deviation);
        if policy == Policy::Ignore {
            return Ok(());
        }
        self.note(inner, deviation, policy, deviation.rule.severity(), count);
        if policy >= Policy::FailStream { Err(self.fault(policy, deviation)) } else { Ok(()) }
    }

    /// Does the vendor still do what a window asks for?
    fn check_filter(&self, inner: &mut Inner, page: Page) -> Result<()> {
        inner.outside += page.outside;
        inner.compared += page.compared;
        inner.kept_to_filter += page.compared - page.outside;
        let kept = inner.overlay.facts.get("kept_to_filter").and_then(Json::as_u64).unwrap_or(0);
        if page.outside == 0 || kept < KEPT || inner.outside < 3 || inner.outside * 2 <= inner.compared {
            return Ok(());
        }
        let pointer = self.cursor.as_deref().map(|c| format!("/{}", super::checks::segment(c))).unwrap_or_default();
        let deviation = Deviation {
            rule: Rule::FilterIgnored,
            pointer,
            path: Vec::new(),
            from: "records within the window that was asked for".into(),
            to: "records outside of it".into(),
            sample: None,
            schema: None,
            tolerate: String::new(),
        };
        self.stopping(inner, &deviation, page.outside)
    }

    /// A page of so many records was followed by another.
    pub fn page_followed(&self, records: u64) {
        *self.lock().pages.entry(records).or_insert(0) += 1;
    }

    /// What the headers of an answer say of the API.
    pub fn answered<'h>(&self, header: impl Fn(&str) -> Option<&'h str>) {
        for (name, rule) in [
            ("deprecation", Rule::Deprecation),
            ("sunset", Rule::Sunset),
            ("api-version", Rule::ApiVersionChanged),
            ("x-api-version", Rule::ApiVersionChanged),
        ] {
            let Some(value) = header(name) else { continue };
            let mut inner = self.lock();
            let key = format!("header {name}");
            let before = inner.overlay.facts.get(&key).and_then(Json::as_str).map(str::to_owned);
            if before.as_deref() == Some(value) {
                continue;
            }
            inner.overlay.facts.insert(key, json!(value));
            // A version is news once there was another.
            if rule == Rule::ApiVersionChanged && before.is_none() {
                continue;
            }
            let deviation = Deviation {
                rule,
                pointer: String::new(),
                path: Vec::new(),
                from: before.unwrap_or_default(),
                to: format!("{name}: {value}"),
                sample: None,
                schema: None,
                tolerate: String::new(),
            };
            drop(self.stopping(&mut inner, &deviation, 1));
        }
    }

    /// A fault of the stream that is drift: it is noted. Gives the fault, which may now end the run.
    pub fn failed(&self, mut fault: Fault) -> Fault {
        let Some(rule) = fault.rule.and_then(Rule::of) else { return fault };
        let mut inner = self.lock();
        // A stream that never could be read has not changed.
        let before = inner.overlay.runs > 0;
        let deviation = Deviation {
            rule,
            pointer: String::new(),
            path: Vec::new(),
            from: if before { "could be read".into() } else { String::new() },
            to: rule.what().into(),
            sample: None,
            schema: None,
            tolerate: String::new(),
        };
        if matches!(rule, Rule::EndpointGone | Rule::ScopeLost) && !before || !Self::is_told_by_fault(rule) {
            return fault;
        }
        let policy = self.policies.of(rule, &self.stream, "", rule.policy()).max(Policy::FailStream);
        self.note(&mut inner, &deviation, policy, rule.severity(), 1);
        if policy == Policy::FailRun {
            fault.kind = Kind::Drift;
        }
        fault
    }

    /// Does a fault end its stream, whatever slices are left? It does not where one slice alone may be concerned.
    pub fn ends_stream(fault: &Fault) -> bool {
        fault.rule.and_then(Rule::of).is_some_and(|rule| !Self::is_told_by_fault(rule))
    }

    /// Is a fault all that there is of such a change? Others were noted where they were seen.
    fn is_told_by_fault(rule: Rule) -> bool {
        matches!(rule, Rule::EnvelopeChanged | Rule::UpstreamFormat | Rule::EndpointGone | Rule::ScopeLost)
    }

    /// The stream ends: what came of it is kept and told. `again` reads the record with such a key once more: nothing when it
    /// is no more.
    pub fn end(
        &self,
        complete: bool,
        stop: &Stop,
        again: &dyn Fn(&str, &str) -> Result<Option<Json>>,
    ) -> (Vec<Told>, Option<Fault>) {
        let mut inner = self.lock();
        if std::mem::replace(&mut inner.ended, true) {
            return (Vec::new(), None);
        }
        let inner = &mut *inner;
        let sweep = self.sweep && self.whole && complete;
        let mut fault = None;
        let mut stopping =
            |inner: &mut Inner, deviation: Deviation, severity, default, evidence: Option<String>, count| {
                if inner.overlay.waived.contains(&waiver(&deviation)) {
                    return;
                }
                let policy = self.policies.of(deviation.rule, &self.stream, &deviation.pointer, default);
                if policy == Policy::Ignore {
                    return;
                }
                let finding = self.note(inner, &deviation, policy, severity, count);
                finding.evidence = evidence.or(finding.evidence.take());
                if policy >= Policy::FailStream {
                    fault.get_or_insert_with(|| self.fault(policy, &deviation));
                }
            };
        if inner.totals.records > 0 && !self.learns(inner) {
            for surprise in presence::surprises(inner, sweep, &self.asked, &|pointer, key| again(pointer, key)) {
                let presence::Surprise { rule, severity, policy, pointer, from, to, evidence, count } = surprise;
                let deviation = Deviation {
                    rule,
                    pointer,
                    path: Vec::new(),
                    from,
                    to,
                    sample: None,
                    schema: None,
                    tolerate: String::new(),
                };
                stopping(inner, deviation, severity, policy, evidence, count);
            }
        }
        let rows = inner.overlay.facts.get("runs_with_rows").and_then(Json::as_u64).unwrap_or(0);
        if sweep && inner.totals.records == 0 && rows >= RUNS_WITH_ROWS {
            let deviation = of_stream(Rule::StreamEmptied, format!("rows in {rows} runs"), "none at all".into());
            stopping(inner, deviation, Severity::Extraction, Rule::StreamEmptied.policy(), None, 1);
        }
        if let Some((before, size)) = self.smaller_pages(inner) {
            let deviation = of_stream(
                Rule::PageSizeChanged,
                format!("pages of {before} records"),
                format!("pages of {size} records"),
            );
            stopping(inner, deviation, Severity::Warn, Rule::PageSizeChanged.policy(), None, 1);
        }
        if inner.again > 0 && !self.learns(inner) {
            let deviation = of_stream(Rule::DuplicateIds, "once".into(), "twice in one slice".into());
            let count = inner.again;
            stopping(inner, deviation, Severity::Warn, Rule::DuplicateIds.policy(), None, count);
        }
        let records = inner.totals.records;
        for finding in inner.found.values_mut() {
            // Once the schema has it, it is counted and no more judged.
            if finding.policy <= Policy::Warn
                && let Some(at) = inner.checks.at(&finding.pointer)
                && let Some(kinds) = inner.totals.kinds.get(at as usize)
            {
                let counted = match NAMES.iter().position(|name| *name == finding.to) {
                    _ if finding.rule == Rule::FieldAdded => kinds[..5].iter().map(|n| u64::from(*n)).sum(),
                    Some(kind) => u64::from(kinds[kind]),
                    None => 0,
                };
                finding.count = finding.count.max(counted);
            }
            finding.of = records.max(finding.count);
        }
        if self.whole {
            self.learn(inner, complete);
        }
        let silent = |finding: &Finding| finding.silenced_until.as_ref().is_some_and(|until| *until > self.started);
        let told = inner.found.values().map(|finding| Told {
            repeat: inner.known.contains_key(&finding.fingerprint),
            silent: silent(finding),
            finding: finding.clone(),
        });
        let told = told.collect();
        let kept = self.keep(inner, stop);
        (told, kept.err().or(fault))
    }

    /// The page size of earlier runs and of this one, when it is smaller.
    fn smaller_pages(&self, inner: &mut Inner) -> Option<(u64, u64)> {
        let (size, often) = inner.pages.iter().next_back().map(|(size, often)| (*size, *often))?;
        let before = inner.overlay.facts.get("page_size").and_then(Json::as_u64).unwrap_or(0);
        // One size again and again is the vendor's; pages that differ are what there was.
        let steady = often >= 2 && inner.pages.len() == 1;
        if steady || size > before {
            inner.overlay.facts.insert("page_size".into(), json!(size));
        }
        (steady && often >= 3 && size < before).then_some((before, size))
    }

    /// What the run saw becomes what is normal, but for places with a finding.
    fn learn(&self, inner: &mut Inner, complete: bool) {
        let Inner { overlay, totals, .. } = inner;
        if totals.records > 0 || complete {
            overlay.runs += u64::from(complete);
        }
        overlay.records += totals.records;
        if overlay.since.is_empty() {
            overlay.since.clone_from(&self.started);
        }
        overlay.last = now();
        let add = |facts: &mut BTreeMap<String, Json>, name: &str, n: u64| {
            let before = facts.get(name).and_then(Json::as_u64).unwrap_or(0);
            if n > 0 {
                facts.insert(name.into(), json!(before + n));
            }
        };
        add(&mut overlay.facts, "runs_with_rows", u64::from(complete && totals.records > 0));
        if inner.outside == 0 {
            add(&mut inner.overlay.facts, "kept_to_filter", inner.kept_to_filter);
        }
        presence::learn(inner, &now());
    }

    /// Keeps what was learned and found, beside what other runs did meanwhile.
    fn keep(&self, inner: &mut Inner, stop: &Stop) -> Result<()> {
        let Some(shelf) = &self.shelf else { return Ok(()) };
        let (mine, found) = (inner.overlay.clone(), inner.found.clone());
        let known = std::mem::take(&mut inner.known);
        // What is learned is kept also when the run is asked to stop.
        let patient = Stop::default();
        let stop = if stop.asked().is_some() { &patient } else { stop };
        shelf.update(stop, |overlay, pending| {
            let theirs = std::mem::replace(overlay, mine);
            // A person judged meanwhile: that counts.
            for (pointer, addition) in theirs.schema {
                if addition.how == How::Accepted {
                    overlay.schema.insert(pointer, addition);
                }
            }
            let judged: BTreeSet<String> = theirs.waived.difference(&overlay.waived).cloned().collect();
            overlay.waived = theirs.waived;
            overlay.decisions = theirs.decisions;
            // What is seen again is no more missing.
            let back = |finding: &Finding| {
                matches!(finding.rule, Rule::FieldRemoved | Rule::FieldAbsent)
                    && overlay.seen.get(&finding.pointer).is_some_and(|seen| seen.absent == 0 && seen.seen > 0)
            };
            pending.findings.retain(|finding| !back(finding));
            for (print, finding) in found {
                if judged.contains(&finding.waiver()) {
                    continue;
                }
                match pending.findings.iter_mut().find(|f| f.fingerprint == print) {
                    Some(old) => {
                        let (count, of, quarantined) = (old.count, old.of, old.quarantined);
                        let silenced = old.silenced_until.take();
                        *old = finding;
                        old.count += count;
                        old.of += of;
                        old.quarantined += quarantined;
                        old.silenced_until = silenced;
                    }
                    // Known when the run began, and judged since.
                    None if known.contains_key(&print) => {}
                    None => pending.findings.push(finding),
                }
            }
            // A suspect that was proved is no suspect any more.
            let proved: BTreeSet<String> =
                pending.findings.iter().filter(|f| f.rule != Rule::FieldAbsent).map(|f| f.pointer.clone()).collect();
            pending.findings.retain(|f| f.rule != Rule::FieldAbsent || !proved.contains(&f.pointer));
            Ok(())
        })
    }

    /// Notes keys of a record as witnesses of the fields that it has.
    pub fn witness(&self, record: &Json) {
        let Some(key) = key_in(&self.keys, record) else { return };
        presence::witness(&mut self.lock(), &key, record);
    }

    /// The file of what was put aside.
    pub fn quarantine(&self) -> Option<&std::path::Path> {
        self.shelf.as_ref().map(|shelf| &*shelf.quarantine)
    }

    /// The key of a record, if it has one.
    pub fn key(&self, record: &[u8]) -> Option<String> {
        key_of(&self.keys, record)
    }

    /// The path of one record at the vendor's, if the config names it.
    pub fn witness_path(&self) -> Option<&str> {
        self.config.witness.get(&self.stream).map(String::as_str)
    }

    /// Is there a way to read one record again?
    pub fn wants_witnesses(&self) -> bool {
        self.shelf.is_some() && self.config.witness.contains_key(&self.stream)
    }
}

fn of_stream(rule: Rule, from: String, to: String) -> Deviation {
    let (pointer, path, tolerate) = (String::new(), Vec::new(), String::new());
    Deviation { rule, pointer, path, from, to, sample: None, schema: None, tolerate }
}

fn is_poison(rule: Rule) -> bool {
    matches!(rule, Rule::RecordTooLarge | Rule::RecordNotUtf8 | Rule::RecordNotObject)
}

fn waiver(deviation: &Deviation) -> String {
    format!("{} {} {}", deviation.rule.id(), deviation.pointer, deviation.to)
}

/// Lets a deviation pass from now on; false when it is known already, or cannot be told apart.
fn tolerate(tolerated: &mut Tolerated, deviation: &Deviation) -> bool {
    !deviation.tolerate.is_empty()
        && tolerated.entry(deviation.pointer.clone()).or_default().insert(deviation.tolerate.clone())
}

/// The key of a record.
fn key_of(keys: &[Vec<String>], record: &[u8]) -> Option<String> {
    if keys.is_empty() {
        return None;
    }
    key_in(keys, &crate::scan::json(record).ok()?)
}

fn key_in(keys: &[Vec<String>], record: &Json) -> Option<String> {
    let one = |path: &Vec<String>| {
        let value = path.iter().try_fold(record, |at, name| at.get(name))?;
        match value {
            Json::String(text) => Some(text.clone()),
            Json::Number(number) => Some(number.to_string()),
            _ => None,
        }
    };
    if keys.is_empty() { None } else { keys.iter().map(one).collect::<Option<Vec<_>>>().map(|all| all.join(",")) }
}

/// A key may tell who somebody is: its start is enough to find it.
fn shortened(key: &str) -> String {
    let start: String = key.chars().take(4).collect();
    if start.len() < key.len() { format!("{start}…") } else { start }
}
