//! Checks on pages and responses, beyond the values of records.
//!
//! Input: a complete page, the headers of a response, the fault of a slice. Output: quarantined records are on disk;
//! a fault if the quarantine budget is exhausted or the stream cannot be trusted. Called by `engine` through
//! [`DriftMonitor`].

use serde_json::{Value as Json, json};

use super::decide::way_on;
use super::{DriftMonitor, Inner};
use crate::base::config::DriftPolicy as Policy;
use crate::base::display::number_of;
use crate::base::fault::{Fault, Kind, Result};
use crate::base::json::scan::JsonKind as Value;
use crate::drift::checks::{FRACTION, Place, bit, number, segment};
use crate::drift::deviations::Deviation;
use crate::drift::finding::Finding;
use crate::drift::overlay::How;
use crate::drift::quarantine::{self, Quarantined};
use crate::drift::record_observer::RecordListener;
use crate::drift::rules::Rule;
use crate::drift::statistics::{bounds, is_surprise};
/// The number of records that must match a filter before a violation is reported.
const MIN_CONFORMING: u64 = 20;

/// The fact that stores the number of records examined for a cursor.
pub(super) const CURSORS: &str = "cursors";
/// The fact that stores how many of them had no readable cursor.
pub(super) const CURSORS_UNREAD: &str = "cursors_unread";

/// The fact that stores the number of consecutive runs with records, but without any cursor.
const CURSOR_ABSENT: &str = "cursor_absent_runs";
/// The stream fails after this many such runs.
const MOST_ABSENT: u64 = 2;

/// The properties of a page beyond its values.
#[derive(Debug, Clone, Copy, Default)]
pub struct Page {
    /// Records without a readable cursor.
    pub without_cursor: u64,
    /// Records outside the requested window, if its bounds are meaningful.
    pub outside: u64,
    /// Records that were compared with such a window.
    pub compared: u64,
    /// Repeated records without a change.
    pub again: u64,
    /// Of a stream with newest records first: records that follow another one,
    pub pairs: u64,
    /// and of them, those that are newer than their predecessor.
    pub newer: u64,
    /// Were its records in a list?
    pub list: bool,
    /// Was a single record in place of a list?
    pub alone: bool,
}

impl DriftMonitor {
    /// Adds the counts of a complete page; quarantined records are on disk when this returns.
    ///
    /// # Errors
    /// Too much was quarantined, it cannot be saved, or the page shows that the stream cannot be trusted.
    pub fn page(&self, listener: &mut RecordListener, page: Page, aside: &[Quarantined]) -> Result<()> {
        let mut inner = self.lock();
        listener.follow(&inner.checks);
        let records = inner.totals.records + listener.page().records;
        let quarantined = aside.iter().filter(|line| line.is_record()).count() as u64;
        self.check_envelope(&mut inner, page, quarantined > 0)?;
        self.check_cursor(&mut inner, page, records)?;
        self.check_filter(&mut inner, page)?;
        self.check_order(&mut inner, page)?;
        if !aside.is_empty() {
            if quarantined > 0 {
                self.within_budget(&inner, quarantined, records)?;
            }
            inner.aside += quarantined;
            if let Some(overlay_files) = &self.overlay_files {
                quarantine::keep(&overlay_files.quarantine, aside, self.config.quarantine.max_bytes)
                    .map_err(|fault| fault.hint("free some space, or delete the file once its records are handled"))?;
            }
        }
        self.refresh_awaited()?;
        inner.again += page.again;
        listener.take(&mut inner.totals);
        Ok(())
    }

    /// Did the container of the records change, for example to an object around the list?
    fn check_envelope(&self, inner: &mut Inner, page: Page, quarantined: bool) -> Result<()> {
        let known = inner.before.facts.contains_key("list");
        if page.list && !known {
            inner.overlay.facts.insert("list".into(), json!(true));
        }
        // A single record is valid: this one has no record key.
        let no_record = quarantined && inner.found.values().any(|f| f.rule == Rule::KeyMissing);
        let rule = Rule::EnvelopeChanged;
        let policy = self.policies.of(rule, &self.stream, "", rule.policy());
        if !page.alone || !known || !no_record || policy < Policy::FailStream {
            return Ok(());
        }
        if inner.totals.records == 0 {
            // Findings about it do not concern records.
            inner.found.clear();
            let started = self.started.clone();
            inner.overlay.schema.retain(|_, addition| addition.how != How::Evolved || addition.since < started);
        }
        Err(Fault::data("the response has one object that is not a record where it had a list of records")
            .of_rule(rule.id())
            .hint(
                "the vendor may have moved the list into that object: find the records in a response, and correct \
                the extractor",
            ))
    }

    pub(super) fn within_budget(&self, inner: &Inner, more: u64, records: u64) -> Result<()> {
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
        let line = worst.map(Finding::line).unwrap_or_default();
        let rule = worst.map_or("", |f| f.rule.id());
        let records = number_of(records, "record");
        Err(Fault::data(format!("{count} of {records} would be quarantined, but only {allowed} may be: {line}"))
            .of_rule(rule)
            .hint(match worst {
                Some(f) if f.rule.remedy().is_some() => way_on(f.rule, &f.fingerprint),
                Some(f) => format!("{}; the budget is dripfeed.drift.quarantine", way_on(f.rule, &f.fingerprint)),
                None => "the budget is dripfeed.drift.quarantine".to_owned(),
            }))
    }

    /// The pointer of the cursor in a record; empty if there is none.
    fn cursor_pointer(&self) -> String {
        self.cursor.as_deref().map(|cursor| format!("/{}", segment(cursor))).unwrap_or_default()
    }

    /// Is the cursor missing from records that always had it?
    pub(super) fn check_cursor(&self, inner: &mut Inner, page: Page, records: u64) -> Result<()> {
        inner.without_cursor += page.without_cursor;
        if self.cursor.is_none() || page.without_cursor == 0 {
            return Ok(());
        }
        let pointer = self.cursor_pointer();
        let seen = inner.overlay.seen.get(&pointer);
        let place = inner.checks.at(&pointer).map(|at| inner.checks.place(at));
        let declared = self.reviewed && place.is_some_and(|p| p.allowed & bit(number(Value::Null)) == 0);
        let fact = |name| inner.overlay.facts.get(name).and_then(Json::as_u64);
        let share = match (fact(CURSORS), seen) {
            (Some(of), _) => bounds(fact(CURSORS_UNREAD).unwrap_or(0), of).1,
            (None, Some(seen)) => bounds(seen.of.saturating_sub(seen.seen - seen.nulls.min(seen.seen)), seen.of).1,
            (None, None) if declared => 0.001,
            (None, None) => return Ok(()),
        };
        if !is_surprise(inner.without_cursor, records, share) {
            return Ok(());
        }
        let deviation = Deviation::plain(
            Rule::CursorMissing,
            pointer,
            place.map(Place::words).unwrap_or_default(),
            "missing, null or unreadable".into(),
        );
        // The format of unreadable values is not a separate change.
        inner.found.retain(|_, finding| finding.pointer != deviation.pointer || finding.rule == Rule::CursorMissing);
        self.stopping(inner, &deviation, page.without_cursor)
    }

    /// The number of consecutive runs, including this one, that had records but no cursor.
    fn runs_without_cursor(&self, inner: &Inner) -> u64 {
        let place = inner.checks.at(&self.cursor_pointer()).filter(|_| self.cursor.is_some());
        let Some(counts) = place.and_then(|at| inner.totals.kinds.get(at as usize)) else { return 0 };
        let before = inner.before.facts.get(CURSOR_ABSENT).and_then(Json::as_u64).unwrap_or(0);
        // Null shows that the field exists. Fractions are counted among the numbers.
        let present = counts[..FRACTION].iter().any(|count| *count > 0);
        if present { 0 } else { (before + u64::from(inner.totals.records > 0)).min(MOST_ABSENT) }
    }

    /// Stores whether this run's records had the cursor.
    pub(super) fn learn_cursor(&self, inner: &mut Inner) {
        match self.runs_without_cursor(inner) {
            0 => drop(inner.overlay.facts.remove(CURSOR_ABSENT)),
            runs => drop(inner.overlay.facts.insert(CURSOR_ABSENT.into(), json!(runs))),
        }
    }

    /// The change if no record of two consecutive runs has the cursor: every run then reads everything, and none
    /// resumes.
    pub(super) fn cursor_nowhere(&self, inner: &Inner) -> Option<Deviation> {
        let gone = self.whole && inner.totals.records > 0 && self.runs_without_cursor(inner) >= MOST_ABSENT;
        let to = format!("absent from every record of {MOST_ABSENT} runs");
        gone.then(|| Deviation::plain(Rule::CursorMissing, self.cursor_pointer(), String::new(), to))
    }

    /// Does the vendor still respect the window bounds?
    pub(super) fn check_filter(&self, inner: &mut Inner, page: Page) -> Result<()> {
        inner.outside += page.outside;
        inner.compared += page.compared;
        inner.within_filter += page.compared - page.outside;
        let within = inner.overlay.facts.get("kept_to_filter").and_then(Json::as_u64).unwrap_or(0);
        if page.outside == 0 || within < MIN_CONFORMING || inner.outside < 3 || inner.outside * 2 <= inner.compared {
            return Ok(());
        }
        let deviation = Deviation::plain(
            Rule::FilterIgnored,
            self.cursor_pointer(),
            "records within the requested window".into(),
            "records outside the requested window".into(),
        );
        self.stopping(inner, &deviation, page.outside)
    }

    /// Are records still sorted newest first, if the stream depends on it?
    pub(super) fn check_order(&self, inner: &mut Inner, page: Page) -> Result<()> {
        inner.pairs += page.pairs;
        inner.newer += page.newer;
        let ordered = inner.overlay.facts.get("newest_first").and_then(Json::as_u64).unwrap_or(0);
        if page.newer == 0 || ordered < MIN_CONFORMING || inner.newer < 3 || inner.newer * 10 <= inner.pairs {
            return Ok(());
        }
        let pointer = self.cursor_pointer();
        let (from, to) = ("the newest records first".to_owned(), "newer records after older ones".to_owned());
        self.stopping(inner, &Deviation::plain(Rule::OrderChanged, pointer, from, to), page.newer)
    }

    /// A page with this many records was followed by another; `asked` is the requested page size, if any.
    pub fn page_followed(&self, records: u64, asked: Option<u64>) {
        *self.lock().pages.entry((records, asked)).or_insert(0) += 1;
    }

    /// Evaluates the API information in response headers.
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
            // A version is news only if there was another one before.
            if rule == Rule::ApiVersionChanged && before.is_none() {
                continue;
            }
            let deviation =
                Deviation::plain(rule, String::new(), before.unwrap_or_default(), format!("{name}: {value}"));
            drop(self.stopping(&mut inner, &deviation, 1));
        }
    }

    /// A response reported errors alongside its records, and the config accepts this.
    pub fn partial_errors(&self) {
        let deviation =
            Deviation::plain(Rule::PartialErrors, String::new(), String::new(), Rule::PartialErrors.what().into());
        drop(self.stopping(&mut self.lock(), &deviation, 1));
    }

    /// Records a fault of the stream that is drift. Returns the fault, which may now end the run.
    pub fn failed(&self, mut fault: Fault) -> Fault {
        let Some(rule) = fault.rule.and_then(Rule::of) else { return fault };
        let mut inner = self.lock();
        // A stream that was never readable has not changed.
        let before = inner.overlay.runs > 0 || inner.overlay.facts.contains_key("empty_runs");
        let deviation = Deviation::plain(
            rule,
            String::new(),
            if before { "could be read".into() } else { String::new() },
            rule.what().into(),
        );
        if matches!(rule, Rule::EndpointGone | Rule::ScopeLost) && !before || !Self::is_reported_by_fault(rule) {
            return fault;
        }
        let policy = self.policies.of(rule, &self.stream, "", rule.policy()).max(Policy::FailStream);
        self.note(&mut inner, &deviation, policy, 1);
        if policy == Policy::FailRun {
            fault.kind = Kind::Drift;
        }
        fault
    }

    /// Does a fault end its stream, whatever slices are left? Not if it may affect a single slice.
    pub fn ends_stream(fault: &Fault) -> bool {
        fault.rule.and_then(Rule::of).is_some_and(|rule| !Self::is_reported_by_fault(rule))
    }

    /// Is the change over once the stream is read to its end?
    pub(super) fn is_over_when_read(rule: Rule) -> bool {
        Self::is_reported_by_fault(rule)
            || matches!(rule, Rule::CursorMissing | Rule::FilterIgnored | Rule::OrderChanged)
    }

    /// Is the fault the only sign of the change? Others were recorded where they were seen.
    pub fn is_reported_by_fault(rule: Rule) -> bool {
        matches!(
            rule,
            Rule::EnvelopeChanged | Rule::PartialErrors | Rule::UpstreamFormat | Rule::EndpointGone | Rule::ScopeLost
        )
    }
}
