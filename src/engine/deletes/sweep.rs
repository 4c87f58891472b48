//! Which records of a stream are gone: the keys of a whole read, compared with those of earlier runs.
//!
//! Input: the keys of each page as it is sent, and how each slice ended. Output: the keys of records that are gone,
//! questions where that must not be decided without a person, and the memory for the next run. Called by
//! `record_writer` and `scheduler`.
//!
//! A read counts only if it came to its end without a fault, a quarantined record or a slice whose answer was ignored.
//! A record that one read of several pages or slices misses may have moved between them: two in a row must miss it.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::DeletePlan;
use super::key_runs::{KeyEntry, KeyRuns};
use super::memory::{KeyMemory, MemoryHead, OLD, PENDING, Question};
use crate::base::display::number_of;
use crate::base::fault::{Fault, Result};
use crate::base::json::scan;
use crate::base::timefmt::rfc3339;

/// The record was sent in this run.
const SENT: u8 = 1;
/// The vendor has the record, by a read of the ids alone.
const LISTED: u8 = 2;
/// The vendor reports the record as deleted.
const DELETED: u8 = 3;

/// Of a remembered key: the vendor has the record, and no read has brought it.
const STRANGER: u8 = 1;
/// One read has missed the record; more than one: higher numbers.
const MISSED: u8 = 2;

/// The kind of the question about all records, and of the one about slices.
const ALL: &str = "records";
const SLICES: &str = "slices";

/// A stream's deletes in a run, as `run` prepares them.
#[derive(Debug)]
pub struct SweepJob {
    /// The keys of earlier runs.
    pub memory: KeyMemory,
    /// Is the stream read as a whole in this run?
    pub whole: bool,
    /// Are the ids read in this run?
    pub reads_ids: bool,
    /// Are keys only noted, for another run to compare? (A backfill.)
    pub notes_only: bool,
    /// A hash of what the stream reads.
    pub scope: String,
}

/// A stream's deletes while it is read.
#[derive(Debug)]
pub(in crate::engine) struct Sweep {
    keys: Vec<Vec<String>>,
    whole: bool,
    pub(in crate::engine) reads_ids: bool,
    notes_only: bool,
    /// Do partitions of the stream's own reads matter? Not beside a read of the ids, which has its own.
    partitioned: bool,
    limits: SweepLimits,
    scope: String,
    inner: Mutex<Inner>,
}

/// How much may be gone, and after how many reads.
#[derive(Debug, Clone, Copy)]
pub struct SweepLimits {
    /// How many whole reads in a row must miss a record; `None` depends on its slice.
    pub confirm: Option<u64>,
    /// The largest share of records that may be gone at once.
    pub max_share: f64,
    /// The number that may be gone at once whatever their share.
    pub always: u64,
}

#[derive(Debug)]
struct Inner {
    runs: KeyRuns,
    memory: KeyMemory,
    parts: BTreeMap<u64, Part>,
    /// Why the read does not count.
    doubt: Option<String>,
    /// Were the ids read to their end?
    ids_read: bool,
    any: bool,
}

/// A partition in this run.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    /// Responses to its requests, over all its slices.
    answers: u64,
    found: u64,
    ignored: bool,
}

/// How the keys are decided on.
struct Judgement<'j> {
    counts: bool,
    /// Is no record marked?
    holds: bool,
    /// Did a person accept that records of vanished slices are gone?
    slices_accepted: bool,
    /// Is a question about slices open? A record may have moved into one of them.
    asks_about_slices: bool,
    /// Did a person accept that records are gone?
    accepted: bool,
    head: &'j MemoryHead,
    parts: &'j BTreeMap<u64, Part>,
    limits: SweepLimits,
    partitioned: bool,
}

/// What a comparison found.
#[derive(Debug, Clone, Copy, Default)]
struct SweepCounts {
    old: u64,
    alive: u64,
    /// Missed by this read.
    missed: u64,
    /// Of slices that are gone or empty.
    of_slices: u64,
    /// Tombstones that were not sent again.
    pending: u64,
    /// Known to the vendor, and twice not brought by any read.
    strangers: u64,
}

/// The decision about a stream.
pub(in crate::engine) struct SweepDecision {
    counts: bool,
    holds: bool,
    slices_accepted: bool,
    accepted: bool,
    questions: BTreeMap<String, Question>,
    /// Notices for the user.
    pub(in crate::engine) notices: Vec<String>,
}

impl SweepDecision {
    /// Without a comparison, if the stream failed after all.
    pub(in crate::engine) fn unless_failed(self, complete: bool) -> SweepDecision {
        SweepDecision { counts: self.counts && complete, ..self }
    }
}

/// A hash of a partition's identity; 0 is kept free.
pub(in crate::engine) fn partition_hash(identity: &str) -> u64 {
    let hash = Sha256::digest(identity.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash[..8]);
    u64::from_le_bytes(bytes).max(1)
}

impl Sweep {
    /// Begins a run.
    pub(in crate::engine) fn new(plan: &DeletePlan, keys: &[Vec<String>], job: SweepJob) -> Sweep {
        Sweep {
            keys: keys.to_vec(),
            whole: job.whole,
            reads_ids: job.reads_ids,
            notes_only: job.notes_only,
            partitioned: !plan.by_ids,
            limits: plan.limits,
            scope: job.scope,
            inner: Mutex::new(Inner {
                runs: KeyRuns::new(job.memory.folder()),
                memory: job.memory,
                parts: BTreeMap::new(),
                doubt: None,
                ids_read: false,
                any: false,
            }),
        }
    }

    /// The key of a record, by the stream's key fields.
    pub(in crate::engine) fn key(&self, record: &[u8]) -> Option<Vec<u8>> {
        key_of(&self.keys, record)
    }

    /// The key of a record that is JSON already.
    pub(in crate::engine) fn key_in(&self, record: &Json) -> Option<Vec<u8>> {
        key_in(&self.keys, record)
    }

    /// The record of a key alone.
    pub(in crate::engine) fn record(&self, key: &[u8]) -> Result<Json> {
        let values: Vec<Json> = serde_json::from_slice(key).map_err(|e| Fault::bug(e.to_string()))?;
        let mut record = Json::Object(Map::new());
        for (path, value) in self.keys.iter().zip(values) {
            let place = path.iter().fold(&mut record, |at, name| &mut at[name.as_str()]);
            *place = value;
        }
        Ok(record)
    }

    /// Notes the keys of a page before its records are sent: of records that are sent, filtered out, and reported as
    /// deleted.
    pub(in crate::engine) fn page(&self, partition: u64, keys: [&[Vec<u8>]; 3]) -> Result<()> {
        let [sent, kept, deleted] = keys;
        let partition = if self.partitioned { partition } else { 0 };
        let mut inner = self.inner.lock();
        if !sent.is_empty() {
            inner.memory.sends(partition, sent)?;
        }
        if self.notes_only {
            return Ok(());
        }
        inner.parts.entry(partition).or_default().found += (sent.len() + kept.len()) as u64;
        inner.any |= !sent.is_empty() || !deleted.is_empty();
        let flagged = |keys: &[Vec<u8>], flag| {
            keys.iter().map(move |key| KeyEntry { key: key.clone(), partition, flag }).collect::<Vec<_>>()
        };
        let entries = flagged(sent, SENT).into_iter().chain(flagged(kept, LISTED)).chain(flagged(deleted, DELETED));
        entries.into_iter().try_for_each(|entry| inner.runs.add(entry))
    }

    /// Notes the keys of a page that a read of the ids brought.
    pub(in crate::engine) fn listed(&self, partition: u64, keys: Vec<Vec<u8>>) -> Result<()> {
        let mut inner = self.inner.lock();
        inner.parts.entry(partition).or_default().found += keys.len() as u64;
        let mut entries = keys.into_iter().map(|key| KeyEntry { key, partition, flag: LISTED });
        entries.try_for_each(|entry| inner.runs.add(entry))
    }

    /// A slice was read to its end, with so many responses; `ignored` if one of them was. `of_ids` tells reads of the
    /// ids from the stream's own.
    pub(in crate::engine) fn slice_read(&self, partition: u64, answers: u64, ignored: bool, of_ids: bool) {
        if of_ids == self.partitioned {
            return;
        }
        let mut inner = self.inner.lock();
        let part = inner.parts.entry(partition).or_default();
        part.answers += answers;
        part.ignored |= ignored;
    }

    /// The ids were read to their end.
    pub(in crate::engine) fn ids_read(&self) {
        self.inner.lock().ids_read = true;
    }

    /// Something makes the keys of this read incomplete: it does not count.
    pub(in crate::engine) fn doubt(&self, why: &str) {
        self.inner.lock().doubt.get_or_insert_with(|| why.to_owned());
    }

    /// Decides after the last slice; `complete` states whether the stream was read to its end, `ask` asks a question
    /// with the number of records that it is about, and returns whether it was accepted.
    pub(in crate::engine) fn decide(
        &self,
        complete: bool,
        now: OffsetDateTime,
        ask: &mut dyn FnMut(&str, u64) -> bool,
    ) -> Result<SweepDecision> {
        let mut inner = self.inner.lock();
        let Inner { runs, memory, parts, doubt, ids_read, .. } = &mut *inner;
        let mut decision = SweepDecision {
            counts: complete && (self.whole && self.partitioned || *ids_read) && !self.notes_only,
            holds: false,
            slices_accepted: false,
            accepted: false,
            questions: BTreeMap::new(),
            notices: Vec::new(),
        };
        if self.notes_only {
            return Ok(decision);
        }
        memory.unfinished(&mut |entry| runs.add(entry))?;
        if let Some(why) = doubt.as_ref().filter(|_| decision.counts) {
            decision.notices.push(format!("no record is marked as deleted, because {why}"));
            decision.counts = false;
        }
        if !decision.counts {
            decision.questions.clone_from(&memory.head.questions);
            return Ok(decision);
        }
        if !self.partitioned {
            // The ids decide; a key that only the stream's own reads brought belongs to all of their slices.
            let answers = parts.values().map(|part| part.answers).max().unwrap_or_default();
            let ignored = parts.values().any(|part| part.ignored);
            parts.insert(0, Part { answers: answers.max(1), found: 0, ignored });
        }
        let counts = self.compare((runs, memory, parts), &decision, &mut |_| Ok(()))?.1;
        let mut question = |kind: &str, why: &str, count: u64, of: u64| {
            let slack = self.limits.always.max(count / 10);
            let open = memory.head.questions.get(kind).filter(|asked| count <= asked.count + slack).cloned();
            let asked = open.unwrap_or_else(|| Question {
                text: format!("{} of {of} gone since {}: {why}", number_of(count, "record"), rfc3339(now)),
                count,
            });
            let accepted = ask(&asked.text, count);
            if !accepted {
                decision.questions.insert(kind.to_owned(), asked);
            }
            accepted
        };
        #[allow(clippy::cast_precision_loss)]
        let share = counts.missed as f64 / counts.old.max(1) as f64;
        let is_known = !memory.head.scope.is_empty();
        let why = if is_known && memory.head.scope != self.scope {
            Some("the config, the manifest or the start date reads other records than before")
        } else if counts.alive == 0 && counts.old > 0 {
            Some("the stream is empty")
        } else if share > self.limits.max_share && counts.missed > self.limits.always {
            Some("too many at once")
        } else {
            None
        };
        // Nor are tombstones sent again.
        decision.holds = counts.alive == 0;
        if let Some(why) = why.filter(|_| counts.missed > 0) {
            decision.accepted = question(ALL, why, counts.missed, counts.old);
            decision.holds = !decision.accepted;
        }
        if counts.of_slices > 0 {
            decision.slices_accepted = question(SLICES, "their slices are gone or empty", counts.of_slices, counts.old);
        }
        if counts.strangers > 0 {
            decision.notices.push(format!(
                "the vendor has {} that no read has brought: `--reset` with the stream's name reads it from the start",
                number_of(counts.strangers, "record")
            ));
        }
        Ok(decision)
    }

    /// Applies the decision: passes the keys of records that are gone to `gone`, and writes the memory. Returns the
    /// generation for the stream's state.
    pub(in crate::engine) fn apply(
        &self,
        decision: SweepDecision,
        now: OffsetDateTime,
        gone: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<Option<String>> {
        let mut inner = self.inner.lock();
        let Inner { runs, memory, parts, any, .. } = &mut *inner;
        if self.notes_only || !decision.counts && !*any && memory.is_settled() {
            return Ok(memory.generation().map(str::to_owned));
        }
        let mut file = KeyRuns::new(memory.folder());
        let (of_partition, counts) = {
            let keep = &mut |fate: Fate<'_>| match fate {
                Fate::Gone(key) => gone(key),
                Fate::Kept(entry) => file.add(entry),
            };
            self.compare((runs, memory, parts), &decision, keep)?
        };
        let mut head = memory.head.clone();
        head.questions = decision.questions;
        if decision.counts {
            head.partitions = of_partition;
            head.swept_at = Some(rfc3339(now));
            if !decision.holds {
                head.scope.clone_from(&self.scope);
            }
        } else if head.scope.is_empty() {
            head.scope.clone_from(&self.scope);
        }
        let generation = memory.put(head, file.sorted(Vec::new())?)?;
        // A state that names it would acknowledge tombstones that this run did not send.
        Ok(if counts.pending > 0 { memory.generation().map(str::to_owned) } else { Some(generation) })
    }

    /// Compares all keys, one after the other; returns how many each partition keeps.
    fn compare(
        &self,
        (runs, memory, parts): (&mut KeyRuns, &KeyMemory, &BTreeMap<u64, Part>),
        decision: &SweepDecision,
        each: &mut dyn FnMut(Fate<'_>) -> Result<()>,
    ) -> Result<(BTreeMap<u64, u64>, SweepCounts)> {
        let judgement = Judgement {
            counts: decision.counts,
            holds: decision.holds,
            slices_accepted: decision.slices_accepted,
            asks_about_slices: decision.questions.contains_key(SLICES),
            accepted: decision.accepted,
            head: &memory.head,
            parts,
            limits: self.limits,
            partitioned: self.partitioned,
        };
        let (mut of_partition, mut counts) = (BTreeMap::new(), SweepCounts::default());
        let (mut key, mut seen): (Vec<u8>, Vec<(u64, u8)>) = (Vec::new(), Vec::new());
        let mut close = |key: &[u8], seen: &[(u64, u8)], each: &mut dyn FnMut(Fate<'_>) -> Result<()>| {
            let kept = judgement.fate(seen, &mut counts);
            let is_gone = kept.is_none();
            if is_gone {
                each(Fate::Gone(key))?;
            }
            // Until the target acknowledges the tombstone, the key stays.
            let old = || seen.iter().filter(|(_, flag)| flag & OLD != 0).map(|(partition, _)| (*partition, PENDING));
            for (partition, flag) in kept.unwrap_or_else(|| old().collect()) {
                if flag != PENDING {
                    *of_partition.entry(partition).or_default() += 1;
                } else if !is_gone {
                    counts.pending += 1;
                }
                each(Fate::Kept(KeyEntry { key: key.to_vec(), partition, flag }))?;
            }
            Ok(())
        };
        for entry in runs.sorted(memory.sources()?)? {
            let entry = entry?;
            if entry.key != key {
                if !seen.is_empty() {
                    close(&key, &seen, each)?;
                }
                seen.clear();
                key = entry.key;
            }
            if seen.last() != Some(&(entry.partition, entry.flag)) {
                seen.push((entry.partition, entry.flag));
            }
        }
        if !seen.is_empty() {
            close(&key, &seen, each)?;
        }
        Ok((of_partition, counts))
    }
}

/// What becomes of a key.
enum Fate<'k> {
    /// Its record is gone.
    Gone(&'k [u8]),
    /// It is remembered.
    Kept(KeyEntry),
}

impl Judgement<'_> {
    /// The entries that a key keeps; `None` if its record is gone and must be marked.
    fn fate(&self, seen: &[(u64, u8)], counts: &mut SweepCounts) -> Option<Vec<(u64, u8)>> {
        let of = |wanted: u8| seen.iter().filter(move |(_, flag)| *flag == wanted).map(|(partition, _)| *partition);
        let mut old: BTreeMap<u64, u8> = BTreeMap::new();
        for (partition, flag) in seen.iter().filter(|(_, flag)| flag & OLD != 0) {
            let flag = flag & !OLD;
            old.entry(*partition).and_modify(|known| *known = flag.max(*known)).or_insert(flag);
        }
        counts.old += u64::from(!old.is_empty() && !old.values().all(|flag| *flag == PENDING));
        let (sent, listed) = (of(SENT).next().is_some(), self.counts && of(LISTED).next().is_some());
        if !sent && !listed {
            if of(DELETED).next().is_some() {
                return Some(Vec::new());
            }
            return if self.counts { self.missing(&old, counts) } else { Some(old.into_iter().collect()) };
        }
        counts.alive += 1;
        let was_stranger = old.values().any(|flag| *flag == STRANGER);
        // Only a memory that was compared once knows all that was sent.
        let is_stranger =
            !sent && !self.partitioned && self.head.swept_at.is_some() && (old.is_empty() || was_stranger);
        counts.strangers += u64::from(is_stranger && was_stranger);
        let flag = if is_stranger { STRANGER } else { 0 };
        let listed = of(LISTED).filter(|_| self.counts);
        let mut kept: BTreeMap<u64, u8> = listed.map(|partition| (partition, flag)).collect();
        // It may still be in a slice that was not read.
        let unread = old.iter().filter(|(at, flag)| **flag != PENDING && (!self.counts || !self.is_read(**at)));
        kept.extend(unread.map(|(partition, _)| (*partition, 0)));
        if self.partitioned || kept.is_empty() {
            kept.extend(of(SENT).map(|partition| (partition, flag)));
        }
        Some(kept.into_iter().collect())
    }

    /// Was the partition read to its end?
    fn is_read(&self, partition: u64) -> bool {
        self.parts.get(&partition).is_some_and(|part| part.answers > 0 && !part.ignored)
    }

    /// Did the partition have records before, and has none now?
    fn is_emptied(&self, partition: u64) -> bool {
        partition != 0 && self.before(partition) > 0 && self.parts.get(&partition).is_none_or(|part| part.found == 0)
    }

    fn before(&self, partition: u64) -> u64 {
        self.head.partitions.get(&partition).copied().unwrap_or_default()
    }

    /// A key that the read did not bring.
    fn missing(&self, old: &BTreeMap<u64, u8>, counts: &mut SweepCounts) -> Option<Vec<(u64, u8)>> {
        let same = || old.iter().map(|(partition, flag)| (*partition, *flag)).collect();
        let is_lost = |at: &u64| {
            let believes = self.limits.confirm.is_some() && self.before(*at) <= self.limits.always;
            !self.is_read(*at) || self.is_emptied(*at) && !believes
        };
        if old.values().any(|flag| *flag == PENDING) {
            // It was decided before, and is still missing; but what is doubted now may be its return.
            let is_doubted = self.holds || self.asks_about_slices || old.keys().any(is_lost);
            return is_doubted.then(|| old.keys().map(|partition| (*partition, PENDING)).collect());
        }
        if old.keys().any(is_lost) && (self.head.partitions.len() > 1 || old.keys().any(|at| !self.is_read(*at))) {
            counts.of_slices += 1;
            if !self.slices_accepted || self.holds {
                return Some(same());
            }
            return None;
        }
        counts.missed += 1;
        if self.holds || self.asks_about_slices {
            return Some(same());
        }
        let misses = old.values().map(|flag| u64::from(flag.saturating_sub(MISSED - 1))).max().unwrap_or_default() + 1;
        let is_page = |at: &u64| {
            let of_ids = usize::from(!self.partitioned);
            self.parts.len() == 1 + of_ids && self.parts.get(at).is_some_and(|part| part.answers == 1)
        };
        let is_emptied = old.keys().any(|at| self.is_emptied(*at));
        let needed = match self.limits.confirm {
            _ if self.accepted => 1,
            Some(confirm) => confirm.max(1 + u64::from(is_emptied)),
            None if is_emptied || !old.keys().all(is_page) => 2,
            None => 1,
        };
        if misses >= needed {
            return None;
        }
        let flag = MISSED - 1 + u8::try_from(misses).unwrap_or(9).min(9);
        Some(old.keys().map(|partition| (*partition, flag)).collect())
    }
}

/// The key of a record as JSON: the list of its values.
pub(in crate::engine) fn key_of(paths: &[Vec<String>], record: &[u8]) -> Option<Vec<u8>> {
    let record = scan::json(record).ok()?;
    key_in(paths, &record)
}

/// The key of a record that is JSON already.
pub(in crate::engine) fn key_in(paths: &[Vec<String>], record: &Json) -> Option<Vec<u8>> {
    let value = |path: &Vec<String>| {
        let value = path.iter().try_fold(record, |at, name| at.get(name))?;
        matches!(value, Json::String(_) | Json::Number(_)).then(|| value.clone())
    };
    let values: Vec<Json> = paths.iter().map(value).collect::<Option<_>>()?;
    serde_json::to_vec(&values).ok()
}
