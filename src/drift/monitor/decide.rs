//! Decides what happens to a deviating record.
//!
//! Input: the record's bytes. Output: the record is sent, sent without some values, or quarantined; by policy the
//! schema grows, or the stream stops. Every change is recorded. Called by `engine` through [`DriftMonitor`], only for
//! deviating records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value as Json, json};

use super::{DriftMonitor, Inner, key_of, now};
use crate::base::config::DriftPolicy as Policy;
use crate::base::fault::{Fault, Kind, Result};
use crate::base::json::observe::NOWHERE;
use crate::base::json::scan::Scanner;
use crate::drift::baseline::{self, merged};
use crate::drift::checks::{Checks, FRACTION, KINDS, NAMES, OPEN, Tolerated, bit};
use crate::drift::deviations::{Deviation, MOST_NAMES, Step, examine};
use crate::drift::finding::{ChangeIdentity, Finding};
use crate::drift::overlay::{Addition, How};
use crate::drift::quarantine::Quarantined;
use crate::drift::record_observer::RecordListener;
use crate::drift::rules::Rule;

/// The maximum number of columns beyond the baseline: databases allow about 1,600.
const MOST_COLUMNS: usize = 1000;
/// The maximum number of record keys in a finding.
const MOST_KEYS: usize = 3;

/// The decision about a record.
#[derive(Debug, PartialEq)]
pub enum Judged {
    /// Sent unchanged; the schema may have grown.
    Sent,
    /// Sent with these values set to null; the original is quarantined.
    Without(Without),
    /// Quarantined instead of being sent.
    Quarantined(Quarantined),
}

/// Values that are removed from a record.
#[derive(Debug, PartialEq)]
pub struct Without {
    /// The paths of the values.
    paths: Vec<Vec<Step>>,
    /// The original record.
    pub aside: Quarantined,
}

impl Without {
    /// Replaces the values with null.
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

    /// The top-level fields that contain the values.
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

/// The most names of an object at this pointer; with more, its names are data.
fn most_names(pointer: &str) -> usize {
    if pointer.is_empty() { MOST_COLUMNS } else { MOST_NAMES }
}

impl DriftMonitor {
    /// Decides about a deviating record.
    ///
    /// # Errors
    /// The stream must stop.
    pub fn judge(&self, listener: &mut RecordListener, record: &[u8]) -> Result<Judged> {
        let mut inner = self.lock();
        let deviations = examine(&inner.checks, &mut Scanner::new(record))
            .map_err(|e| Fault::bug(format!("cannot parse a record a second time: {e}")))?;
        let (mut paths, mut causes, mut whole, mut grown, mut eased) = (Vec::new(), Vec::new(), false, false, false);
        let mut added: BTreeMap<String, usize> = BTreeMap::new();
        for deviation in deviations {
            // One more new name than an object may have makes it a map; the names after it say nothing more.
            if deviation.rule == Rule::FieldAdded {
                let (above, _) = deviation.pointer.rsplit_once('/').unwrap_or_default();
                let count = added.entry(above.to_owned()).or_default();
                *count += 1;
                if *count > most_names(above) + 1 {
                    continue;
                }
            }
            let learns = self.learns(&inner) || inner.overlay.waived.contains(&waiver(&deviation));
            let policy = match deviation.rule {
                Rule::KeyMissing if !(learns && self.verbatim) => self.policy(&deviation),
                // A field that is deselected now may be selected in another run.
                Rule::FieldAdded if learns && !self.may_grow => {
                    eased |= tolerate(&mut inner.tolerated, &deviation);
                    continue;
                }
                Rule::KeyTypeChanged if learns && !self.verbatim => {
                    grown |= Self::key_takes(&mut inner, &deviation);
                    eased = true;
                    continue;
                }
                _ if learns && self.has_place(&inner, &deviation) => {
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
                let finding = self.note(&mut inner, &deviation, policy, 1);
                causes.push((finding.fingerprint.clone(), deviation.rule, deviation.pointer.clone()));
                if finding.keys.len() < MOST_KEYS
                    && let Some(key) = key_of(&self.keys, record)
                    && !finding.keys.contains(&shortened(&key))
                {
                    finding.keys.push(shortened(&key));
                }
            }
            match policy {
                // The user does not want to stop, so the value is kept in a column of its own.
                Policy::Ignore | Policy::Record | Policy::Warn if self.needs_column(&deviation) => {
                    grown |= self.grow(&mut inner, &deviation, How::Evolved);
                }
                // No counter separates these: each one is examined, so that their number is known.
                Policy::Record | Policy::Warn if is_counted_here(deviation.rule) => {}
                Policy::Ignore | Policy::Record | Policy::Warn => eased |= self.pass(&mut inner, &deviation),
                Policy::Evolve if deviation.rule == Rule::FieldAdded && !self.may_grow => {
                    eased |= self.pass(&mut inner, &deviation);
                }
                Policy::Evolve => grown |= self.grow(&mut inner, &deviation, How::Evolved),
                Policy::NullValue => paths.push(deviation.path),
                Policy::Quarantine => whole = true,
                // Without a key no line can be written: that is the fault.
                Policy::FailStream if deviation.rule == Rule::KeyMissing && self.overlay_files.is_none() => {}
                Policy::FailStream | Policy::FailRun => return Err(self.fault(policy, &deviation)),
            }
        }
        if grown || eased {
            self.recompile(&mut inner, grown);
        }
        listener.follow(&inner.checks);
        drop(inner);
        let aside = |what| Quarantined::new(what, &self.names.run_id, &causes, record);
        Ok(if whole {
            Judged::Quarantined(aside("record"))
        } else if paths.is_empty() {
            Judged::Sent
        } else {
            Judged::Without(Without { paths, aside: aside("values") })
        })
    }

    /// Quarantines what is not a valid record: too large, not text, or not an object.
    pub fn poison(&self, rule: Rule, record: &[u8], sample: String) -> Result<Quarantined> {
        let deviation = Deviation::plain(rule, String::new(), String::new(), sample);
        let policy = self.policy(&deviation).max(Policy::Quarantine);
        let mut inner = self.lock();
        let fingerprint = self.note(&mut inner, &deviation, policy, 1).fingerprint.clone();
        drop(inner);
        if policy != Policy::Quarantine {
            return Err(self.fault(policy, &deviation));
        }
        Ok(Quarantined::new("record", &self.names.run_id, &[(fingerprint, rule, String::new())], record))
    }

    /// The policy for a deviation, as far as it can be applied.
    pub(super) fn policy(&self, deviation: &Deviation) -> Policy {
        let rule = deviation.rule;
        // A JSON column accepts values of every kind.
        let default = if deviation.fits_column { Policy::Evolve } else { rule.policy() };
        let policy = self.policies.of(rule, &self.stream, &deviation.pointer, default);
        match policy {
            Policy::NullValue | Policy::Quarantine if self.overlay_files.is_none() => {
                // Readers of Airbyte messages validate values themselves, and report those that do not fit.
                if self.verbatim && !is_poison(rule) { Policy::Warn } else { Policy::FailStream }
            }
            policy => policy,
        }
    }

    /// Does the existing column not accept such a value?
    pub(super) fn needs_column(&self, deviation: &Deviation) -> bool {
        let fits = matches!(deviation.rule, Rule::FieldTypeNarrowed | Rule::FieldBecameNullable | Rule::EnumValueAdded);
        !self.verbatim && !fits && deviation.rule != Rule::FieldAdded && deviation.schema.is_some()
    }

    /// Does a deviation of the first contact get a place in the schema? A value that a declared column does not
    /// accept gets its own column only if drift data can be saved: otherwise every run would be the first, and
    /// announce another schema.
    pub(super) fn has_place(&self, inner: &Inner, deviation: &Deviation) -> bool {
        let learned = inner.overlay.schema.contains_key(&deviation.pointer)
            || baseline::at(&inner.base, &deviation.pointer).is_none();
        match deviation.rule {
            Rule::FieldAdded => true,
            Rule::KeyTypeChanged | Rule::FieldBecameNullable | Rule::EnumValueAdded => false,
            Rule::FieldTypeNarrowed => self.verbatim && learned,
            _ => deviation.schema.is_some() && (learned || !self.verbatim && self.overlay_files.is_some()),
        }
    }

    /// The fingerprint of a change, equal in every run and tenant.
    fn fingerprint(&self, deviation: &Deviation) -> String {
        let Deviation { rule, pointer, from, to, .. } = deviation;
        let (source, stream) = (&self.names.source, &self.stream);
        ChangeIdentity { source, stream, rule: *rule, pointer, from, to }.fingerprint()
    }

    /// Records a change.
    pub(super) fn note<'i>(
        &self,
        inner: &'i mut Inner,
        deviation: &Deviation,
        policy: Policy,
        count: u64,
    ) -> &'i mut Finding {
        let Deviation { rule, severity, pointer, from, to, .. } = deviation;
        let print = self.fingerprint(deviation);
        let before = inner.known.get(&print);
        let finding = inner.found.entry(print.clone()).or_insert_with(|| Finding {
            fingerprint: print,
            rule: *rule,
            severity: *severity,
            source: self.names.source.clone(),
            tenant: self.names.tenant.clone(),
            stream: self.stream.clone(),
            pointer: pointer.clone(),
            from: from.clone(),
            to: to.clone(),
            policy,
            count: 0,
            of: 0,
            last_count: 0,
            last_of: 0,
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

    /// Extends the schema by a change; false if the schema already has it.
    pub(super) fn grow(&self, inner: &mut Inner, deviation: &Deviation, how: How) -> bool {
        let Some(schema) = &deviation.schema else { return tolerate(&mut inner.tolerated, deviation) };
        let pointer = &deviation.pointer;
        if deviation.rule == Rule::FieldAdded {
            let (above, _) = pointer.rsplit_once('/').unwrap_or_default();
            let most = most_names(above);
            let beside = |p: &String| p.rsplit_once('/').is_some_and(|(other, _)| other == above);
            if inner.overlay.schema.keys().filter(|p| beside(p)).count() >= most {
                return self.map_found(inner, above, most);
            }
        }
        let known = inner.overlay.schema.get(pointer);
        let since = known.map_or_else(now, |known| known.since.clone());
        // One record may have values of several kinds at a place, for example in the items of a list.
        let schema = known.map_or_else(|| schema.clone(), |known| baseline::with_both(&known.schema, schema));
        inner.overlay.schema.insert(pointer.clone(), Addition { schema, since, how });
        true
    }

    /// A key of another type on first contact: its column accepts keys of both types. Returns true if this changes
    /// the column.
    fn key_takes(inner: &mut Inner, deviation: &Deviation) -> bool {
        let at = inner.checks.at(&deviation.pointer).unwrap_or(NOWHERE);
        let place = inner.checks.place(at);
        let has = |kind: usize| place.allowed & bit(kind) != 0;
        let is_text = has(2) && place.format.is_none();
        let is_number = has(3) && !has(2) && matches!(deviation.to.as_str(), "number" | "integer beyond 64 bits");
        let kinds = (0..KINDS).filter(|kind| has(*kind) && NAMES[*kind] != "null");
        let kinds: Vec<String> = kinds.map(|kind| NAMES[kind].to_owned()).collect();
        for tolerated in [&mut inner.overlay.tolerated, &mut inner.tolerated] {
            tolerate(tolerated, deviation);
            if !is_text && !is_number {
                tolerated.entry(deviation.pointer.clone()).or_default().extend(kinds.iter().cloned());
            }
        }
        let becomes = match (is_text, is_number, has(FRACTION)) {
            (false, false, _) => "string",
            (false, true, false) if deviation.to == "number" => "number",
            _ => return false,
        };
        let since = inner.overlay.schema.get(&deviation.pointer).map_or_else(now, |known| known.since.clone());
        let addition = Addition { schema: json!({"type": ["null", becomes]}), since, how: How::Learned };
        inner.overlay.schema.insert(deviation.pointer.clone(), addition);
        true
    }

    /// Tolerates a change from now on. If an object has many new names, the names are data and are not reported one
    /// by one.
    pub(super) fn pass(&self, inner: &mut Inner, deviation: &Deviation) -> bool {
        if deviation.rule == Rule::FieldAdded {
            let (above, _) = deviation.pointer.rsplit_once('/').unwrap_or_default();
            let passed = inner.checks.at(above).map_or(0, |at| inner.checks.place(at).passed.len());
            if passed >= MOST_NAMES {
                self.note_map(inner, above, MOST_NAMES);
                return inner.tolerated.entry(above.to_owned()).or_default().insert(OPEN.into());
            }
        }
        tolerate(&mut inner.tolerated, deviation)
    }

    /// Reports once that an object's names are data.
    pub(super) fn note_map(&self, inner: &mut Inner, pointer: &str, most: usize) {
        let policy = self.policies.of(Rule::MapDetected, &self.stream, pointer, Rule::MapDetected.policy());
        if policy == Policy::Ignore {
            return;
        }
        let below = format!("{pointer}/");
        inner.found.retain(|_, f| f.rule != Rule::FieldAdded || !f.pointer.starts_with(&below));
        let (from, to) = ("fields".to_owned(), format!("more than {most} names"));
        let deviation = Deviation::plain(Rule::MapDetected, pointer.to_owned(), from, to);
        self.note(inner, &deviation, policy, 1);
    }

    /// An object's names are data: it has no fields of its own.
    pub(super) fn map_found(&self, inner: &mut Inner, pointer: &str, most: usize) -> bool {
        if pointer.is_empty() || !self.learns(inner) {
            self.note_map(inner, pointer, most);
        }
        if pointer.is_empty() {
            // A record's own fields are columns: announced ones stay, and no more are added.
            return inner.tolerated.entry(String::new()).or_default().insert(OPEN.into());
        }
        let below = format!("{pointer}/");
        inner.overlay.schema.retain(|p, addition| !p.starts_with(&below) || addition.how == How::Accepted);
        if baseline::at(&inner.base, pointer).is_some() {
            let open = |tolerated: &mut Tolerated| tolerated.entry(pointer.to_owned()).or_default().insert(OPEN.into());
            open(&mut inner.overlay.tolerated);
            open(&mut inner.tolerated);
        } else {
            let schema = json!({"type": ["null", "object"]});
            inner.overlay.schema.insert(pointer.to_owned(), Addition { schema, since: now(), how: How::Evolved });
        }
        true
    }

    pub(super) fn recompile(&self, inner: &mut Inner, grown: bool) {
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

    /// The fault with which a change stops the stream or the run.
    pub(super) fn fault(&self, policy: Policy, deviation: &Deviation) -> Fault {
        let Deviation { rule, pointer, from, to, .. } = deviation;
        let print = self.fingerprint(deviation);
        let place = if pointer.is_empty() { String::new() } else { format!(" {pointer}") };
        let change = match (from.as_str(), to.as_str()) {
            ("", "") => String::new(),
            ("", to) => format!(": {to}"),
            (from, "") => format!(": was {from}"),
            (from, to) => format!(": {from} -> {to}"),
        };
        let wanted = self.policies.of(*rule, &self.stream, pointer, rule.policy());
        let message = format!("the vendor changed its data: {}{place} ({}){change}", rule.id(), rule.what());
        let fault =
            Fault::new(if policy == Policy::FailRun { Kind::Drift } else { Kind::Data }, message).of_rule(rule.id());
        if self.overlay_files.is_none() && matches!(wanted, Policy::NullValue | Policy::Quarantine) {
            return fault.hint(format!(
                "set dripfeed.state_dir: deviating values are then quarantined there ({}), and the run continues",
                wanted.name()
            ));
        }
        if self.overlay_files.is_none() {
            return fault.hint(match rule.remedy() {
                Some(remedy) => remedy.to_owned(),
                None => format!(
                    "set dripfeed.state_dir to review and accept it, or set a policy for {} in dripfeed.drift.rules",
                    rule.id()
                ),
            });
        }
        fault.hint(way_on(*rule, &print))
    }

    /// Records a change, and stops if its policy requires it.
    pub(super) fn stopping(&self, inner: &mut Inner, deviation: &Deviation, count: u64) -> Result<()> {
        if inner.overlay.waived.contains(&waiver(deviation)) {
            return Ok(());
        }
        let policy = self.policy(deviation);
        if policy == Policy::Ignore {
            return Ok(());
        }
        self.note(inner, deviation, policy, count);
        if policy >= Policy::FailStream { Err(self.fault(policy, deviation)) } else { Ok(()) }
    }
}

/// Do values with such a change have an expected kind, so that counts by kind do not include them?
fn is_counted_here(rule: Rule) -> bool {
    matches!(rule, Rule::FormatChanged | Rule::EnumValueAdded | Rule::NumberOutOfRange)
}

pub(super) fn is_poison(rule: Rule) -> bool {
    matches!(rule, Rule::RecordTooLarge | Rule::RecordNotUtf8 | Rule::RecordNotObject)
}

/// The hint for a change that stops a stream.
pub(super) fn way_on(rule: Rule, print: &str) -> String {
    let look = "review it with `dripfeed drift show`";
    match rule.remedy() {
        Some(remedy) => format!("{look}; {remedy}"),
        None if rule == Rule::CursorMissing => format!(
            "{look}; check `cursor_field` and the formats in the manifest; to accept it: `dripfeed drift accept \
            {print}`"
        ),
        None => format!("{look}; to accept it: `dripfeed drift accept {print}`"),
    }
}

pub(super) fn waiver(deviation: &Deviation) -> String {
    format!("{} {} {}", deviation.rule.id(), deviation.pointer, deviation.to)
}

/// Tolerates a deviation from now on; false if it is already tolerated or has no marker.
pub(super) fn tolerate(tolerated: &mut Tolerated, deviation: &Deviation) -> bool {
    !deviation.tolerate.is_empty()
        && tolerated.entry(deviation.pointer.clone()).or_default().insert(deviation.tolerate.clone())
}

/// A key may identify a person: its start is enough to find it.
pub(super) fn shortened(key: &str) -> String {
    let start: String = key.chars().take(4).collect();
    if start.len() < key.len() { format!("{start}…") } else { start }
}
