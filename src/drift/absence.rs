//! Detects what is missing or changed by its statistics, if chance cannot explain it.
//!
//! Input: what earlier runs saw at each place, and the counts of this run. Output: surprises, each with its proof or
//! the reason for a mere suspicion; then the counts are learned. Called by [`super::monitor`] when a stream ends.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::checks::{FRACTION, KINDS, NAMES, Place, plain};
use super::deviations::words;
use super::monitor::Inner;
use super::overlay::Seen;
use super::rules::{Rule, Severity};
use super::statistics::{bounds, is_gone, is_odd, is_surprise};
use crate::base::config::DriftPolicy as Policy;
use crate::base::display::{number, number_of};
use crate::base::fault::Result;

/// The minimum number of chances to be seen before a place counts as missing.
const LEAST: u64 = 20;
/// The minimum number of values for statistics of magnitudes.
const LEAST_NUMBERS: u64 = 100;
/// The number of magnitudes per power of ten.
const TENFOLD: i64 = 3;
/// Numbers that increased in this many consecutive runs count as growing.
const STEPS: u32 = 2;
/// A field with this share counts as always present.
const ALWAYS: f64 = 0.999;
/// The minimum number of records for that.
const LEAST_ALWAYS: u64 = 50;
/// The largest difference of shares for two fields to count as equally frequent.
const ALIKE: f64 = 0.25;
/// The number of witness keys stored per field.
const WITNESSES: usize = 5;

/// The range of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// Did it read from the start, so that it had the same records as earlier full reads?
    pub(super) from_start: bool,
    /// Did it read all records?
    pub(super) whole: bool,
}

/// A change that is visible only in counts.
#[derive(Debug)]
pub(super) struct Surprise {
    pub(super) rule: Rule,
    pub(super) severity: Severity,
    pub(super) policy: Policy,
    pub(super) pointer: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) evidence: Option<String>,
    pub(super) count: u64,
}

/// The counts of this run at a place: values, nulls among them, and chances.
fn of_run(inner: &Inner, at: usize, place: &Place) -> (u64, u64, u64) {
    let none = [0; KINDS];
    let kinds = inner.totals.kinds.get(at).unwrap_or(&none);
    let values: u64 = kinds[..FRACTION].iter().map(|n| u64::from(*n)).sum();
    let chances = match place.parent {
        0 => inner.totals.records,
        parent => inner.totals.kinds.get(parent as usize).map_or(0, |kinds| u64::from(kinds[0])),
    };
    (values, u64::from(kinds[5]), chances)
}

/// Places with values in this run.
pub(super) fn present(inner: &Inner) -> Vec<String> {
    let places = inner.checks.places.iter().enumerate().skip(2).filter(|(_, place)| counts(place));
    let seen = places.filter(|(at, place)| of_run(inner, *at, place).0 > 0);
    seen.map(|(_, place)| place.pointer.clone()).collect()
}

/// Values and chances from which the share of a place is known. Runs that read the same records count once.
fn known(inner: &Inner, seen: &Seen, reach: Reach) -> (u64, u64) {
    match seen.sweep {
        _ if !reach.from_start => (seen.seen, seen.of),
        Some(sweep) => sweep,
        None => {
            let runs = inner.overlay.runs.max(1);
            (seen.seen / runs, seen.of / runs)
        }
    }
}

/// The number of chances since the place was last seen; each record counts once.
fn absences(seen: &Seen, chances: u64, reach: Reach) -> u64 {
    if reach.from_start { chances } else { seen.absent + chances }
}

/// Is the absence of this place meaningful: a field, not an item of a list?
fn counts(place: &Place) -> bool {
    !place.pointer.is_empty() && !place.pointer.ends_with("/*")
}

/// Reads the record with a key again, to look for a field.
type Again<'a> = &'a dyn Fn(&str) -> Result<Option<Json>>;

/// All surprises of this run.
pub(super) fn surprises(inner: &mut Inner, reach: Reach, asked: &[String], again: Again<'_>) -> Vec<Surprise> {
    let mut out = Vec::new();
    let checks = inner.checks.clone();
    let mut gone: Vec<(usize, Option<String>)> = Vec::new();
    for (at, place) in checks.places.iter().enumerate().skip(2).filter(|(_, place)| counts(place)) {
        let Some(seen) = inner.overlay.seen.get(&place.pointer).cloned() else { continue };
        let (values, nulls, chances) = of_run(inner, at, place);
        if values > 0 {
            // A window is not a random sample: its finding is only reported if the next window confirms it.
            let is_reported = reach.whole || seen.doubted_nulls > 0;
            out.extend(nullable(place, &seen, nulls, values).filter(|_| is_reported));
            out.extend(narrowed(inner, at, place, &seen));
            out.extend(scaled(inner, at, place, &seen, reach));
            continue;
        }
        let absent = absences(&seen, chances, reach);
        let (hits, of) = known(inner, &seen, reach);
        // If the parent is missing, its fields are not reported separately.
        let parent_gone = gone.iter().any(|(other, _)| place.parent as usize == *other);
        if chances == 0 || parent_gone || absent < LEAST || !is_gone(hits, of, absent) {
            continue;
        }
        let first = place.pointer.split('/').nth(1).map(plain).unwrap_or_default();
        let proof = if reach.whole {
            Some(format!("a full read of {} found it in none", number_of(absent, "record")))
        } else if asked.contains(&first) {
            Some(format!("requests name it, and none of {} has it", number_of(absent, "record")))
        } else {
            match witnessed(&seen, &place.pointer, again) {
                Witnessed::Back => {
                    inner
                        .overlay
                        .seen
                        .entry(place.pointer.clone())
                        .and_modify(|seen| (seen.absent, seen.absent_most) = (0, 0));
                    continue;
                }
                Witnessed::Gone(of) => {
                    Some(format!("a second read of {} that had it no longer shows it", number(of, "record")))
                }
                Witnessed::Nothing => None,
            }
        };
        // Received records are not a random sample: a field that only some records have must be confirmed by reading
        // a record again.
        let always = seen.of >= LEAST_ALWAYS && share_of(&seen) >= ALWAYS;
        let others = absent.saturating_sub(seen.absent_most.max(chances));
        if proof.is_some() || always || is_odd(hits, of, others) {
            gone.push((at, proof));
        }
    }
    let mut taken = BTreeSet::new();
    for (at, proof) in gone {
        let place = &checks.places[at];
        let Some(seen) = inner.overlay.seen.get(&place.pointer) else { continue };
        let share = share_of(seen);
        let always = share >= ALWAYS;
        let (severity, policy) =
            if always { (Severity::Break, Policy::FailStream) } else { (Severity::Warn, Policy::Warn) };
        let absent = absences(seen, of_run(inner, at, place).2, reach);
        let of = format!("{} in {:.1} % of {}", place.words(), share * 100.0, number_of(seen.of, "record"));
        if let Some((rule, to)) = successor(inner, place, seen, share, &taken) {
            taken.insert(to.clone());
            let evidence =
                Some(format!("it appeared when {} disappeared, with the same type and as often", place.pointer));
            let (from, pointer) = (place.words(), place.pointer.clone());
            out.push(Surprise { rule, severity, policy, pointer, from, to, evidence, count: absent });
        } else if proof.is_some() {
            let (from, pointer) = (place.words(), place.pointer.clone());
            let to = "removed".to_owned();
            let rule = Rule::FieldRemoved;
            out.push(Surprise { rule, severity, policy, pointer, from, to, evidence: proof, count: absent });
        } else {
            let evidence = Some(format!(
                "a suspect: it was {of}, and is now in none of {}; a full read or dripfeed.drift.witness can prove it",
                number_of(absent, "record")
            ));
            out.push(Surprise {
                rule: Rule::FieldAbsent,
                severity: Severity::Warn,
                policy: Rule::FieldAbsent.policy(),
                pointer: place.pointer.clone(),
                from: place.words(),
                to: "absent".into(),
                evidence,
                count: absent,
            });
        }
    }
    out
}

/// The share of records in which a place has a value.
fn share_of(seen: &Seen) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let share = seen.seen as f64 / seen.of.max(1) as f64;
    share
}

/// Null in a field that never had one.
fn nullable(place: &Place, seen: &Seen, nulls: u64, values: u64) -> Option<Surprise> {
    let never = seen.nulls == 0 && seen.seen > 0;
    let surprise = never && is_surprise(nulls, values, bounds(0, seen.seen).1);
    surprise.then(|| Surprise {
        rule: Rule::FieldBecameNullable,
        severity: Rule::FieldBecameNullable.severity(),
        policy: Rule::FieldBecameNullable.policy(),
        pointer: place.pointer.clone(),
        from: place.words(),
        to: "null".into(),
        evidence: Some(format!("never null in {}, null in {nulls} of {values}", number_of(seen.seen, "value"))),
        count: nulls,
    })
}

/// Only integers where there were fractions.
fn narrowed(inner: &Inner, at: usize, place: &Place, seen: &Seen) -> Option<Surprise> {
    let kinds = inner.totals.kinds.get(at)?;
    let (before, fractions) = (seen.kinds.get(NAMES[3])?, seen.kinds.get(NAMES[FRACTION])?);
    let numbers = u64::from(kinds[3]);
    let surprise = kinds[FRACTION] == 0 && numbers >= LEAST && is_gone(*fractions, *before, numbers);
    surprise.then(|| Surprise {
        rule: Rule::FieldTypeNarrowed,
        severity: Severity::Info,
        policy: Rule::FieldTypeNarrowed.policy(),
        pointer: place.pointer.clone(),
        from: "number".into(),
        to: "integer".into(),
        evidence: Some(format!("no fraction in {numbers} numbers")),
        count: numbers,
    })
}

/// Numbers of another magnitude: the median and both quartiles grew or shrank tenfold.
fn scaled(inner: &Inner, at: usize, place: &Place, seen: &Seen, reach: Reach) -> Option<Surprise> {
    let now = magnitudes_of(inner, at);
    let (way, before, after) = shift(seen, &now)?;
    let is_reported = way != 0 && !is_growth(seen, &now, way) && (reach.whole || seen.doubted_scale == way);
    let around = |magnitude: u8| format!("around 10^{}", i64::from(magnitude).saturating_sub(2) / 3);
    is_reported.then(|| Surprise {
        rule: Rule::ScaleChanged,
        severity: Rule::ScaleChanged.severity(),
        policy: Rule::ScaleChanged.policy(),
        pointer: place.pointer.clone(),
        from: around(before),
        to: around(after),
        evidence: Some("the median and both quartiles moved by a factor of ten or more".into()),
        count: now.values().sum(),
    })
}

/// The number of values of each magnitude in this run.
fn magnitudes_of(inner: &Inner, at: usize) -> BTreeMap<u8, u64> {
    let counted = inner.totals.magnitudes.get(at).map_or(&[][..], Vec::as_slice);
    (0_u8..).zip(counted).filter(|(_, n)| **n > 0).map(|(m, n)| (m, u64::from(*n))).collect()
}

/// The direction in which the numbers moved since they were learned: 1 is up, -1 down, 0 neither; with both medians.
/// `None` if there are too few values.
fn shift(seen: &Seen, now: &BTreeMap<u8, u64>) -> Option<(i8, u8, u8)> {
    let (before, after) = (quartiles(&seen.magnitudes)?, quartiles(now)?);
    let shifts: Vec<i64> = before.iter().zip(&after).map(|(a, b)| i64::from(*b) - i64::from(*a)).collect();
    let up = shifts.iter().all(|s| *s >= TENFOLD);
    let down = shifts.iter().all(|s| *s <= -TENFOLD);
    Some((i8::from(up) - i8::from(down), before[1], after[1]))
}

/// Do the numbers of a place grow over time, like serial numbers? Larger values are no change then. They grew before,
/// or the doubted shift continues: hardly any value is now below the largest of the last run.
fn is_growth(seen: &Seen, now: &BTreeMap<u8, u64>, way: i8) -> bool {
    let goes_on = seen.doubted_scale == way && seen.last_magnitudes.is_some_and(|(_, last)| is_above(now, last));
    way > 0 && (seen.steps >= STEPS || goes_on)
}

/// Are hardly any numbers below that magnitude?
fn is_above(now: &BTreeMap<u8, u64>, magnitude: u8) -> bool {
    let below: u64 = now.range(1..magnitude.max(1)).map(|(_, n)| n).sum();
    below * 20 <= now.values().sum()
}

/// Learns the nulls of a run, unless they are doubtful.
fn learn_nulls(place: &Place, seen: &mut Seen, nulls: u64, values: u64, reach: Reach) {
    let surprise = nullable(place, seen, nulls, values).is_some();
    if !reach.whole && nulls > 0 && surprise == (seen.doubted_nulls == 0) && (surprise || seen.doubted_nulls > 0) {
        seen.doubted_nulls += nulls;
    } else {
        seen.nulls += nulls + std::mem::take(&mut seen.doubted_nulls);
    }
}

/// Learns the magnitudes of a run, unless they are doubtful.
fn learn_numbers(seen: &mut Seen, now: BTreeMap<u8, u64>, reach: Reach) {
    let mut doubted = false;
    if let Some((way, ..)) = shift(seen, &now) {
        let growth = is_growth(seen, &now, way);
        doubted = way != 0 && !growth && !reach.whole && seen.doubted_scale != way;
        seen.doubted_scale = if doubted { way } else { 0 };
        if growth {
            seen.steps = STEPS;
        }
    }
    if quartiles(&now).is_some()
        && let (Some(low), Some(high)) = (now.range(1..).next(), now.range(1..).next_back())
    {
        let (low, high) = (*low.0, *high.0);
        if let Some((last_low, last_high)) = seen.last_magnitudes {
            let up = low > last_low && is_above(&now, last_high);
            seen.steps = if low < last_low { 0 } else { seen.steps + u32::from(up) };
        }
        seen.last_magnitudes = Some((low, high));
    }
    if !doubted {
        for (magnitude, n) in now {
            *seen.magnitudes.entry(magnitude).or_insert(0) += n;
        }
    }
}

/// The quartiles of the magnitudes, without zeros.
fn quartiles(magnitudes: &BTreeMap<u8, u64>) -> Option<[u8; 3]> {
    let total: u64 = magnitudes.iter().filter(|(m, _)| **m > 0).map(|(_, n)| n).sum();
    if total < LEAST_NUMBERS {
        return None;
    }
    let below = |share: u64| {
        let mut sum = 0;
        magnitudes.iter().filter(|(m, _)| **m > 0).find(|(_, n)| {
            sum += **n;
            sum * 4 >= total * share
        })
    };
    Some([*below(1)?.0, *below(2)?.0, *below(3)?.0])
}

/// The field that replaced a missing one: it is newer, has the same type and is equally frequent.
fn successor(
    inner: &Inner,
    place: &Place,
    seen: &Seen,
    share: f64,
    taken: &BTreeSet<String>,
) -> Option<(Rule, String)> {
    let (above, name) = place.pointer.rsplit_once('/')?;
    let letters = |name: &str| name.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    let mut best: Option<(u8, f64, Rule, String)> = None;
    for (pointer, addition) in &inner.overlay.schema {
        let (other_above, other) = pointer.rsplit_once('/').unwrap_or_default();
        let same_type = words(&addition.schema).split('|').any(|t| place.words().starts_with(t));
        if addition.since < seen.last
            || taken.contains(pointer)
            || !same_type
            || inner.overlay.seen.get(pointer).is_some_and(|s| s.first < seen.last)
        {
            continue;
        }
        let Some((at, new)) = inner.checks.at(pointer).map(|at| (at as usize, inner.checks.place(at))) else {
            continue;
        };
        let (values, _, chances) = of_run(inner, at, new);
        #[allow(clippy::cast_precision_loss)]
        let gap = (values as f64 / chances.max(1) as f64 - share).abs();
        let (rank, rule) = match (other_above == above, letters(other) == letters(name)) {
            (true, true) => (0, Rule::FieldCaseChanged),
            (false, true) => (1, Rule::FieldMoved),
            (true, false) => (2, Rule::FieldRenamed),
            (false, false) => continue,
        };
        if gap <= ALIKE && best.as_ref().is_none_or(|(r, g, ..)| (rank, gap) < (*r, *g)) {
            best = Some((rank, gap, rule, pointer.clone()));
        }
    }
    best.map(|(_, _, rule, pointer)| (rule, pointer))
}

enum Witnessed {
    /// A record still has the field.
    Back,
    /// None of this many records has it.
    Gone(usize),
    /// No record could be read again.
    Nothing,
}

/// Reads records again that had the field.
fn witnessed(seen: &Seen, pointer: &str, again: Again<'_>) -> Witnessed {
    let mut read = 0;
    for key in &seen.keys {
        match again(key) {
            Ok(Some(record)) if has(&record, pointer) => return Witnessed::Back,
            Ok(Some(_)) => read += 1,
            // The record itself is gone or unreadable: this proves nothing.
            Ok(None) | Err(_) => {}
        }
    }
    if read == 0 { Witnessed::Nothing } else { Witnessed::Gone(read) }
}

/// Does a record have a value at a pointer, in any item of its lists?
fn has(record: &Json, pointer: &str) -> bool {
    fn within(at: &Json, path: &[&str]) -> bool {
        match path {
            [] => !at.is_null(),
            ["*", rest @ ..] => at.as_array().is_some_and(|items| items.iter().any(|item| within(item, rest))),
            [name, rest @ ..] => at.get(plain(name)).is_some_and(|inner| within(inner, rest)),
        }
    }
    within(record, &pointer.split('/').skip(1).collect::<Vec<_>>())
}

/// Learns the counts of this run; places with a statistical finding stay unchanged.
pub(super) fn learn(inner: &mut Inner, reach: Reach, now: &str) {
    let odd: BTreeSet<String> = { inner.found.values() }
        .filter(|f| matches!(f.rule, Rule::ScaleChanged | Rule::FieldTypeNarrowed))
        .map(|f| f.pointer.clone())
        .collect();
    let checks = inner.checks.clone();
    for (at, place) in checks.places.iter().enumerate().skip(2) {
        let (values, nulls, chances) = of_run(inner, at, place);
        if chances == 0 && values == 0 {
            continue;
        }
        let none = [0; KINDS];
        let kinds = *inner.totals.kinds.get(at).unwrap_or(&none);
        let magnitudes = magnitudes_of(inner, at);
        if values == 0 && !inner.overlay.seen.contains_key(&place.pointer) {
            // The place was never seen by any run.
            continue;
        }
        let seen = inner.overlay.seen.entry(place.pointer.clone()).or_default();
        if values == 0 {
            seen.absent = absences(seen, chances, reach);
            seen.absent_runs += 1;
            seen.absent_most = seen.absent_most.max(chances);
            continue;
        }
        // Chances without a value count once the place is seen again.
        seen.of += chances + std::mem::take(&mut seen.absent);
        (seen.absent_runs, seen.absent_most) = (0, 0);
        if reach.from_start {
            seen.sweep = Some((values, chances));
        }
        learn_nulls(place, seen, nulls, values, reach);
        seen.seen += values;
        if seen.first.is_empty() {
            now.clone_into(&mut seen.first);
        }
        now.clone_into(&mut seen.last);
        if odd.contains(&place.pointer) {
            continue;
        }
        for (kind, n) in kinds.iter().enumerate().filter(|(_, n)| **n > 0) {
            *seen.kinds.entry(NAMES[kind].to_owned()).or_insert(0) += u64::from(*n);
        }
        learn_numbers(seen, magnitudes, reach);
    }
}

/// Stores a record as a witness of its fields.
pub(super) fn witness(inner: &mut Inner, key: &str, record: &Json) {
    let checks = inner.checks.clone();
    for place in checks.places.iter().skip(2).filter(|place| counts(place) && has(record, &place.pointer)) {
        let seen = inner.overlay.seen.entry(place.pointer.clone()).or_default();
        if !seen.keys.iter().any(|known| known == key) {
            seen.keys.push(key.to_owned());
            if seen.keys.len() > WITNESSES {
                seen.keys.remove(0);
            }
        }
    }
}
