//! The end of a stream: evaluates the statistics, learns, and saves.
//!
//! Input: all counts and findings of the run. Output: findings to report, the fault that they cause by policy, and
//! the files of the state directory. Called by `engine` through [`DriftMonitor`], once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::decide::waiver;
use super::page::{CURSORS, CURSORS_UNREAD};
use super::{DriftMonitor, Inner, now};
use crate::base::config::DriftPolicy as Policy;
use crate::base::display::number_of;
use crate::base::fault::{Fault, Result};
use crate::base::stop::Stop;
use crate::drift::absence::{self, Reach};
use crate::drift::checks::NAMES;
use crate::drift::deviations::Deviation;
use crate::drift::finding::Finding;
use crate::drift::quarantine;
use crate::drift::rules::Rule;

/// The number of runs with rows after which an empty run is a surprise.
const RUNS_WITH_ROWS: u64 = 7;

/// A finding that is reported when its stream ends.
#[derive(Debug, Clone)]
pub struct MonitorReport {
    /// The finding.
    pub finding: Finding,
    /// Did an earlier run report it?
    pub repeat: bool,
    /// Was it rejected recently? Then it is not reported.
    pub silent: bool,
}

impl DriftMonitor {
    /// Ends the stream: saves and reports its findings. `again` reads the record with a key again; `None` if the
    /// record no longer exists.
    pub fn end(
        &self,
        complete: bool,
        stop: &Stop,
        again: &dyn Fn(&str) -> Result<Option<Json>>,
    ) -> (Vec<MonitorReport>, Option<Fault>) {
        let mut inner = self.lock();
        if std::mem::replace(&mut inner.ended, true) {
            return (Vec::new(), None);
        }
        let inner = &mut *inner;
        let sweep = self.sweep && self.whole && complete;
        let reach = Reach { from_start: self.sweep, whole: sweep };
        let mut fault = None;
        let mut stopping = |inner: &mut Inner, deviation: Deviation, default, evidence: Option<String>, count| {
            if inner.overlay.waived.contains(&waiver(&deviation)) {
                return;
            }
            let policy = self.policies.of(deviation.rule, &self.stream, &deviation.pointer, default);
            if policy == Policy::Ignore {
                return;
            }
            let finding = self.note(inner, &deviation, policy, count);
            finding.evidence = evidence.or(finding.evidence.take());
            if policy >= Policy::FailStream {
                fault.get_or_insert_with(|| self.fault(policy, &deviation));
            }
        };
        if inner.totals.records > 0 && !self.learns(inner) {
            for surprise in absence::surprises(inner, reach, &self.asked, again) {
                let absence::Surprise { rule, severity, policy, pointer, from, to, evidence, count } = surprise;
                let deviation = Deviation { severity, ..Deviation::plain(rule, pointer, from, to) };
                stopping(inner, deviation, policy, evidence, count);
            }
        }
        let rows = inner.overlay.facts.get("runs_with_rows").and_then(Json::as_u64).unwrap_or(0);
        if sweep && inner.totals.records == 0 && rows >= RUNS_WITH_ROWS {
            let deviation = of_stream(Rule::StreamEmptied, format!("rows in {rows} runs"), "no rows".into());
            stopping(inner, deviation, Rule::StreamEmptied.policy(), None, 1);
        }
        if let Some(deviation) = self.cursor_nowhere(inner) {
            let count = inner.totals.records;
            stopping(inner, deviation, Rule::CursorMissing.policy(), None, count);
        }
        if let Some((before, size)) = Self::smaller_pages(inner) {
            let deviation = of_stream(
                Rule::PageSizeChanged,
                format!("pages of {}", number_of(before, "record")),
                format!("pages of {}", number_of(size, "record")),
            );
            stopping(inner, deviation, Rule::PageSizeChanged.policy(), None, 1);
        }
        if inner.again > 0 && !self.learns(inner) {
            let deviation = of_stream(Rule::DuplicateIds, "once".into(), "twice in one slice".into());
            let count = inner.again;
            stopping(inner, deviation, Rule::DuplicateIds.policy(), None, count);
        }
        let records = inner.totals.records;
        for finding in inner.found.values_mut() {
            // Once the schema has it, it is counted, and no longer decided on.
            if finding.policy <= Policy::Warn
                && !matches!(finding.rule, Rule::FormatChanged | Rule::EnumValueAdded)
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
            // A fault is counted by itself, not among records.
            finding.of = if Self::is_reported_by_fault(finding.rule) { 0 } else { records.max(finding.count) };
            (finding.last_count, finding.last_of) = (finding.count, finding.of);
        }
        if self.whole {
            self.learn(inner, reach, complete);
        }
        let silent = |finding: &Finding| finding.silenced_until.as_ref().is_some_and(|until| *until > self.started);
        let reports = inner.found.values().map(|finding| MonitorReport {
            repeat: inner.known.contains_key(&finding.fingerprint),
            silent: silent(finding),
            finding: finding.clone(),
        });
        let reports = reports.collect();
        let saved = self.keep(inner, complete, stop);
        (reports, saved.err().filter(|_| self.whole).or(fault))
    }

    /// The page sizes of earlier runs and of this one, if this one's is smaller.
    pub(super) fn smaller_pages(inner: &mut Inner) -> Option<(u64, u64)> {
        let (size, asked, often) =
            inner.pages.iter().next_back().map(|((size, asked), often)| (*size, *asked, *often))?;
        let facts = &mut inner.overlay.facts;
        // Sizes learned with another requested page size do not apply.
        let same = facts.get("page_size_asked").and_then(Json::as_u64) == asked;
        let before = facts.get("page_size").and_then(Json::as_u64).filter(|_| same).unwrap_or(0);
        // A constant size is the vendor's; varying sizes are the available data.
        let steady = often >= 2 && inner.pages.len() == 1;
        if steady || size > before {
            facts.insert("page_size".into(), json!(size));
            match asked {
                Some(asked) => drop(facts.insert("page_size_asked".into(), json!(asked))),
                None => drop(facts.remove("page_size_asked")),
            }
        }
        (steady && often >= 3 && size < before).then_some((before, size))
    }

    /// Learns what this run saw as normal, except for places with a finding.
    pub(super) fn learn(&self, inner: &mut Inner, reach: Reach, complete: bool) {
        let Inner { overlay, totals, .. } = inner;
        // A run without records teaches nothing.
        overlay.runs += u64::from(complete && totals.records > 0);
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
        add(&mut overlay.facts, "empty_runs", u64::from(complete && totals.records == 0));
        let gone = inner.found.values().any(|finding| finding.rule == Rule::CursorMissing);
        if self.cursor.is_some() && !gone {
            add(&mut inner.overlay.facts, CURSORS, inner.totals.records);
            add(&mut inner.overlay.facts, CURSORS_UNREAD, inner.without_cursor.min(inner.totals.records));
        }
        self.learn_cursor(inner);
        if inner.outside == 0 {
            add(&mut inner.overlay.facts, "kept_to_filter", inner.within_filter);
        }
        if inner.newer == 0 {
            add(&mut inner.overlay.facts, "newest_first", inner.pairs);
        }
        absence::learn(inner, reach, &now());
    }

    /// Saves what was learned and found, merged with what other runs saved meanwhile.
    pub(super) fn keep(&self, inner: &mut Inner, complete: bool, stop: &Stop) -> Result<()> {
        let Some(overlay_files) = &self.overlay_files else { return Ok(()) };
        let (before, mine, found) = (inner.before.clone(), inner.overlay.clone(), inner.found.clone());
        let known = std::mem::take(&mut inner.known);
        let present = absence::present(inner);
        // Saved even if the run is being stopped.
        let patient = Stop::default();
        let stop = if stop.asked().is_some() { &patient } else { stop };
        overlay_files.update(stop, |overlay, pending| {
            let judged: BTreeSet<String> = overlay.waived.difference(&mine.waived).cloned().collect();
            *overlay = overlay.with(&before, &mine)?;
            // A field accepted as gone is news again once it reappears.
            if overlay.waived.iter().any(|waiver| is_of_gone(waiver)) {
                let back: Vec<String> = present.iter().flat_map(|pointer| of_gone(pointer)).collect();
                overlay
                    .waived
                    .retain(|waiver| !is_of_gone(waiver) || !back.iter().any(|start| waiver.starts_with(start)));
            }
            // What is seen again is no longer missing.
            let back = |finding: &Finding| {
                matches!(finding.rule, Rule::FieldRemoved | Rule::FieldAbsent)
                    && overlay.seen.get(&finding.pointer).is_some_and(|seen| seen.absent == 0 && seen.seen > 0)
            };
            // A cause that stopped the stream is over once the stream is read to its end.
            let over = |finding: &Finding| complete && Self::is_over_when_read(finding.rule);
            // A finding that cannot be accepted is over once a run has none of it, and no quarantined record has it.
            let dealt_with = |finding: &Finding| {
                complete
                    && finding.rule.remedy().is_some()
                    && !found.contains_key(&finding.fingerprint)
                    && !quarantine::holds(&overlay_files.quarantine, &finding.fingerprint)
            };
            pending.findings.retain(|finding| !back(finding) && !over(finding) && !dealt_with(finding));
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
                    // Known at the start of the run, and decided since.
                    None if known.contains_key(&print) => {}
                    None => pending.findings.push(finding),
                }
            }
            // A proved suspicion is no longer a suspicion.
            let proved: BTreeSet<String> =
                pending.findings.iter().filter(|f| f.rule != Rule::FieldAbsent).map(|f| f.pointer.clone()).collect();
            pending.findings.retain(|f| f.rule != Rule::FieldAbsent || !proved.contains(&f.pointer));
            Ok(())
        })
    }
}

/// The rules for a missing field, and the start of their waivers' target.
const GONE: [(Rule, &str); 5] = [
    (Rule::FieldRemoved, "removed"),
    (Rule::FieldAbsent, "absent"),
    (Rule::FieldRenamed, "/"),
    (Rule::FieldMoved, "/"),
    (Rule::FieldCaseChanged, "/"),
];

fn is_of_gone(waiver: &str) -> bool {
    GONE.iter().any(|(rule, _)| waiver.split(' ').next() == Some(rule.id()))
}

/// The prefixes of waivers for a missing field.
fn of_gone(pointer: &str) -> impl Iterator<Item = String> {
    GONE.iter().map(move |(rule, to)| format!("{} {pointer} {to}", rule.id()))
}

fn of_stream(rule: Rule, from: String, to: String) -> Deviation {
    Deviation::plain(rule, String::new(), from, to)
}
