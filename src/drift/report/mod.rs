//! The drift report: every change that nobody has accepted, all decisions, and what tenants have beyond the baseline.
//!
//! Input: the saved drift of one tenant or all, and the baseline schemas. Output: a [`Report`], as text for a
//! terminal, JSON, Markdown or a web page. Called by the verbs of `drift`. It shows types, counts and shortened keys,
//! never a value; names come from the vendor, so each format escapes them.

mod downstream;
pub mod html;
pub mod json;
pub mod markdown;
pub mod text;

use std::collections::BTreeMap;

use serde_json::Value as Json;
use time::OffsetDateTime;

use super::across_tenants::{ChangeScope, Rolled, TenantDrift, roll_up};
use super::finding::Finding;
use super::overlay::{Addition, Decision, How};
use super::rules::Severity;
use crate::base::display::{number, number_of, plain, short, thousands};
use crate::base::store::file_name;

/// A drift report.
#[derive(Debug)]
pub struct Report {
    /// The source.
    pub source: String,
    /// The tenants in the report.
    pub tenants: Vec<String>,
    /// The number of tenants examined: a change that many of them have is the vendor's.
    pub of: usize,
    /// When the report was made, RFC 3339.
    pub at: String,
    /// The runs of these tenants that the monitor learned from.
    pub runs: u64,
    /// The changes, most urgent first.
    pub changes: Vec<Change>,
    /// Decisions, newest first.
    pub judged: Vec<Decided>,
    /// Additions of tenants beyond the baseline.
    pub added: Vec<Added>,
    /// Command-line arguments that select the same source and tenants: `--source asana --config acme.json`.
    pub arguments: String,
}

/// A change as the report shows it.
#[derive(Debug)]
pub struct Change {
    /// The finding.
    pub finding: Finding,
    /// Whether the change is the vendor's or a tenant's.
    pub scope: ChangeScope,
    /// The finding of each tenant.
    pub by_tenant: Vec<Finding>,
    /// The number of tenants whose counts the finding sums up.
    pub counted: u64,
    /// The earlier schema at this place.
    pub before: Option<Json>,
}

/// A person's decision, and what it applies to.
#[derive(Debug)]
pub struct Decided {
    /// The tenant that it applies to.
    pub tenant: String,
    /// The stream that it applies to.
    pub stream: String,
    /// The decision.
    pub decision: Decision,
}

/// A place where tenants differ from the baseline.
#[derive(Debug)]
pub struct Added {
    /// The stream.
    pub stream: String,
    /// The JSON pointer in the stream.
    pub pointer: String,
    /// What the place has now.
    pub addition: Addition,
    /// The tenants that have this addition.
    pub tenants: Vec<String>,
}

/// What the report should cover.
pub struct Question<'q> {
    /// The source.
    pub source: &'q str,
    /// The tenants to show, of those that were read.
    pub tenants: &'q [String],
    /// Show this stream?
    pub wants: &'q dyn Fn(&str) -> bool,
    /// The baseline schemas by stream; streams without a known baseline are absent.
    pub baseline: &'q BTreeMap<String, Json>,
    /// Now.
    pub now: OffsetDateTime,
    /// See [`Report::arguments`].
    pub arguments: String,
}

impl Report {
    /// Builds the report for some of these tenants.
    pub fn of(all: &[TenantDrift], question: Question<'_>) -> Report {
        let shown: Vec<&TenantDrift> = all.iter().filter(|t| question.tenants.contains(&t.name)).collect();
        let streams = || {
            let all = shown.iter().flat_map(|t| t.streams.iter().map(|(stream, stored)| (&t.name, stream, stored)));
            all.filter(|(_, stream, _)| (question.wants)(stream))
        };
        let rolled = roll_up(all).into_iter().filter(|r| (question.wants)(&r.finding.stream));
        let changes = rolled.filter_map(|rolled| change(rolled, &shown, question.baseline)).collect();
        let decided = streams().flat_map(|(tenant, stream, (overlay, _))| {
            overlay.decisions.iter().map(|decision| Decided {
                tenant: tenant.clone(),
                stream: stream.clone(),
                decision: decision.clone(),
            })
        });
        let mut judged: Vec<Decided> = decided.collect();
        judged.sort_by(|a, b| b.decision.when.cmp(&a.decision.when));
        let mut added: BTreeMap<(&str, &str, String), Added> = BTreeMap::new();
        for (tenant, stream, (overlay, _)) in streams() {
            for (pointer, addition) in &overlay.schema {
                let key = (&**stream, &**pointer, addition.schema.to_string());
                let one = added.entry(key).or_insert_with(|| Added {
                    stream: stream.clone(),
                    pointer: pointer.clone(),
                    addition: addition.clone(),
                    tenants: Vec::new(),
                });
                if addition.since < one.addition.since {
                    one.addition = addition.clone();
                }
                one.tenants.push(tenant.clone());
            }
        }
        Report {
            source: question.source.to_owned(),
            tenants: question.tenants.to_vec(),
            of: all.len(),
            at: crate::base::timefmt::rfc3339(question.now),
            runs: streams().map(|(_, _, (overlay, _))| overlay.runs).max().unwrap_or(0),
            changes,
            judged,
            added: added.into_values().collect(),
            arguments: question.arguments,
        }
    }

    /// The number of changes of one severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.changes.iter().filter(|change| change.finding.severity == severity).count()
    }

    /// The number of changes that a person must decide on: data cannot be trusted, or loads fail.
    pub fn grave(&self) -> usize {
        self.count(Severity::Break) + self.count(Severity::Extraction)
    }

    /// A one-line summary.
    pub fn line(&self) -> String {
        let subject = self.subject();
        match (self.changes.len(), self.runs, self.grave()) {
            (0, 0, _) => format!("{subject}: no drift; no run has saved drift data here yet"),
            (0, ..) => format!("{subject}: no drift"),
            (all, _, 0) => format!("{subject}: {} ({}), none grave", number(all, "open change"), self.counts()),
            (all, ..) => format!("{subject}: {} ({})", number(all, "open change"), self.counts()),
        }
    }

    /// The source, and the tenant or the number of tenants.
    fn subject(&self) -> String {
        match &self.tenants[..] {
            [tenant] => format!("{}, tenant {}", plain(&self.source), plain(tenant)),
            tenants => format!("{}, {}", plain(&self.source), number(tenants.len(), "tenant")),
        }
    }

    /// `1 extraction, 2 break, 1 info`, most severe first.
    fn counts(&self) -> String {
        let count = |severity: Severity| match self.count(severity) {
            0 => None,
            n => Some(format!("{n} {}", severity.name())),
        };
        SEVERITIES.into_iter().filter_map(count).collect::<Vec<_>>().join(", ")
    }
}

/// Severities, most severe first.
const SEVERITIES: [Severity; 4] = [Severity::Extraction, Severity::Break, Severity::Warn, Severity::Info];

/// The change, if one of the shown tenants has it. For a single tenant its own counts are shown, even if other
/// tenants have the change too.
fn change(rolled: Rolled, shown: &[&TenantDrift], baseline: &BTreeMap<String, Json>) -> Option<Change> {
    let is_shown = |finding: &&Finding| shown.iter().any(|tenant| tenant.name == finding.tenant);
    let own = rolled.by_tenant.iter().find(is_shown)?;
    let (finding, counted) = match shown.len() {
        1 => (own.clone(), 1),
        _ => (rolled.finding, rolled.by_tenant.len() as u64),
    };
    let overlay = shown.iter().find(|t| t.name == own.tenant).and_then(|t| t.streams.get(&finding.stream));
    let learned = overlay.and_then(|(overlay, _)| overlay.schema.get(&finding.pointer)).map(|a| a.schema.clone());
    let base = || baseline.get(&finding.stream).and_then(|schema| at(schema, &finding.pointer)).cloned();
    let learned = learned.filter(|schema| finding.schema.as_ref() != Some(schema));
    Some(Change { counted, before: learned.or_else(base), scope: rolled.scope, by_tenant: rolled.by_tenant, finding })
}

/// The schema at a pointer: `/a/*/b` is the property `b` of the items of `a`.
pub fn at<'s>(schema: &'s Json, pointer: &str) -> Option<&'s Json> {
    if pointer.is_empty() {
        return None;
    }
    pointer.split('/').skip(1).try_fold(schema, |schema, part| match part {
        "*" => schema.get("items"),
        name => schema.get("properties")?.get(name.replace("~1", "/").replace("~0", "~")),
    })
}

impl Change {
    /// The command that accepts the change, or what to do instead if accepting would have no effect.
    pub fn next(&self, arguments: &str) -> Result<String, &'static str> {
        let accept = || format!("dripfeed drift accept {} {arguments}", self.finding.fingerprint).trim_end().to_owned();
        self.finding.rule.remedy().map_or_else(|| Ok(accept()), Err)
    }

    /// How targets handle the change.
    pub fn downstream(&self) -> &'static str {
        downstream::of(self.finding.rule)
    }

    /// The names of the tenants that have the change.
    pub fn tenants(&self) -> Vec<&str> {
        self.by_tenant.iter().map(|finding| &*finding.tenant).collect()
    }

    /// `acme, globex, initech (3 of 5): vendor change`, with at most `most` names.
    fn tenants_line(&self, of: usize, most: usize) -> String {
        let names = self.tenants();
        let mut listed: Vec<String> = names.iter().take(most).map(|name| plain(name)).collect();
        if names.len() > most {
            listed.push(format!("{} more", names.len() - most));
        }
        let extent = match (self.scope, of) {
            (ChangeScope::Vendor, _) => ": vendor change",
            (ChangeScope::Tenant, 1) => "",
            (ChangeScope::Tenant, _) => ": tenant change, so far",
        };
        format!("{} ({} of {of}){extent}", listed.join(", "), names.len())
    }

    /// `312 of 4,810 records in the last run, 936 of 14,430 in all 18 runs`; only the records after a single run.
    fn seen_line(&self) -> String {
        let Finding { count, of, runs, .. } = self.finding;
        match (self.last_seen_line(), count, of) {
            (Some(last), 0, of) => format!("{last}, nor in {} of all {runs} runs", thousands(of)),
            (Some(last), count, of) => {
                format!("{last}, {} of {} in all {runs} runs", thousands(count), thousands(of))
            }
            (None, count, of) => seen(count, of),
        }
    }

    /// The counts of the last run, where they fit into a narrow column.
    fn seen_briefly(&self) -> String {
        self.last_seen_line().unwrap_or_else(|| seen(self.finding.count, self.finding.of))
    }

    /// The counts of the last run of each tenant, if there were other runs too.
    fn last_seen_line(&self) -> Option<String> {
        let Finding { last_count, last_of, runs, .. } = self.finding;
        let is_one_of_several = last_of > 0 && runs > self.counted;
        let whose = if self.counted > 1 { "the tenants' last runs" } else { "the last run" };
        is_one_of_several.then(|| format!("{} in {whose}", seen(last_count, last_of)))
    }

    /// The policy, and what it did with the records.
    fn policy_line(&self, source: &str) -> String {
        let finding = &self.finding;
        let mut line = finding.policy.name().to_owned();
        if finding.quarantined > 0 {
            let tenant = match &self.by_tenant[..] {
                [only] => file_name(&only.tenant),
                _ => "*".to_owned(),
            };
            line += &format!(
                ", {} in quarantine/{}/{tenant}/{}.jsonl",
                thousands(finding.quarantined),
                file_name(source),
                file_name(&finding.stream)
            );
        }
        line
    }

    /// The schema before and after; a missing one is described in words.
    fn both_ways(&self) -> (String, String) {
        let shown =
            |text: &str, nothing: &str| if text.is_empty() { nothing.to_owned() } else { short(&plain(text), 120) };
        (shown(&self.finding.from, "nothing"), shown(&self.finding.to, "nothing"))
    }

    /// `string(date) -> integer`, or the side that is known.
    fn arrow(&self, arrow: &str) -> String {
        let (from, to) = self.both_ways();
        match (self.finding.from.is_empty(), self.finding.to.is_empty()) {
            (true, true) => String::new(),
            (true, false) => format!("now {to}"),
            (false, true) => format!("was {from}"),
            (false, false) => format!("{from} {arrow} {to}"),
        }
    }

    /// The place in the stream; empty for the stream as a whole.
    fn place(&self) -> String {
        short(&plain(&self.finding.pointer), 120)
    }
}

impl How {
    /// The name of the severity.
    fn name(self) -> &'static str {
        match self {
            How::Learned => "learned",
            How::Evolved => "evolved",
            How::Accepted => "accepted",
        }
    }
}

/// `312 of 4,810 records`.
fn seen(count: u64, of: u64) -> String {
    match (count, of) {
        (0, 0) => "the whole stream".to_owned(),
        (0, of) => format!("not in {}", number_of(of, "record")),
        (count, 0) => number_of(count, "time"),
        (count, of) => format!("{} of {}", thousands(count), number_of(of, "record")),
    }
}

/// A schema in a word or two: `string(date-time)`, `object|null`.
pub fn words(schema: &Json) -> String {
    let types: Vec<&str> = match &schema["type"] {
        Json::String(one) => vec![one],
        Json::Array(several) => several.iter().filter_map(Json::as_str).collect(),
        _ => vec!["any"],
    };
    let format = schema["format"].as_str();
    let word = |name: &str| match format {
        Some(format) if name == "string" => format!("string({})", plain(format)),
        _ => plain(name),
    };
    // `null` comes last.
    let (null, others): (Vec<&str>, Vec<&str>) = types.into_iter().partition(|name| *name == "null");
    others.into_iter().chain(null).map(word).collect::<Vec<_>>().join("|")
}
