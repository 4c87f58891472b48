//! What is shown of drift: every change that nobody has accepted, who judged what, what tenants have beyond the
//! baseline.
//!
//! Input: what is kept of one tenant or of all, and the baseline's schemas. Output: a [`Report`], as text for a
//! terminal, JSON, Markdown or a web page. Called by the verbs of `drift`. It shows types, counts and shortened keys,
//! never a value; names are the vendor's, so each form escapes them.

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

/// What is shown.
#[derive(Debug)]
pub struct Report {
    /// The source.
    pub source: String,
    /// The tenants that were asked about.
    pub tenants: Vec<String>,
    /// All that were looked at: a change is the vendor's when many of these have it.
    pub of: usize,
    /// When it was made, RFC 3339.
    pub at: String,
    /// Runs that these tenants learned from.
    pub runs: u64,
    /// The changes, most urgent first.
    pub changes: Vec<Change>,
    /// Who judged what, newest first.
    pub judged: Vec<Decided>,
    /// What tenants have beyond the baseline.
    pub added: Vec<Added>,
    /// What a command needs to mean the same source and tenants: `--source asana --config acme.json`.
    pub arguments: String,
}

/// A change as it is shown.
#[derive(Debug)]
pub struct Change {
    /// It.
    pub finding: Finding,
    /// Whose it is.
    pub scope: ChangeScope,
    /// As each tenant has it.
    pub by_tenant: Vec<Finding>,
    /// The schema at its place as it was before.
    pub before: Option<Json>,
}

/// A person's judgement, and where it counts.
#[derive(Debug)]
pub struct Decided {
    /// For this tenant.
    pub tenant: String,
    /// Of this stream.
    pub stream: String,
    /// It.
    pub decision: Decision,
}

/// A place that is not as the baseline has it.
#[derive(Debug)]
pub struct Added {
    /// The stream.
    pub stream: String,
    /// The place in it.
    pub pointer: String,
    /// What it is now.
    pub addition: Addition,
    /// The tenants that have it so.
    pub tenants: Vec<String>,
}

/// What a report is asked for.
pub struct Question<'q> {
    /// The source.
    pub source: &'q str,
    /// Show these tenants, of those that were read.
    pub tenants: &'q [String],
    /// Show this stream?
    pub wants: &'q dyn Fn(&str) -> bool,
    /// The baseline's schemas, by stream; one that is not known is left out.
    pub baseline: &'q BTreeMap<String, Json>,
    /// Now.
    pub now: OffsetDateTime,
    /// See [`Report::arguments`].
    pub arguments: String,
}

impl Report {
    /// The report on some of these tenants.
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

    /// How many changes there are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.changes.iter().filter(|change| change.finding.severity == severity).count()
    }

    /// How many changes a person must judge: what is read cannot be trusted, or loads fail.
    pub fn grave(&self) -> usize {
        self.count(Severity::Break) + self.count(Severity::Extraction)
    }

    /// All of it in a line.
    pub fn line(&self) -> String {
        let subject = self.subject();
        match (self.changes.len(), self.runs, self.grave()) {
            (0, 0, _) => format!("{subject}: no drift; no run kept anything here yet"),
            (0, ..) => format!("{subject}: no drift"),
            (all, _, 0) => format!("{subject}: {} ({}), none grave", number(all, "open change"), self.counts()),
            (all, ..) => format!("{subject}: {} ({})", number(all, "open change"), self.counts()),
        }
    }

    /// The source, and the tenant or how many there are.
    fn subject(&self) -> String {
        match &self.tenants[..] {
            [tenant] => format!("{}, tenant {}", plain(&self.source), plain(tenant)),
            tenants => format!("{}, {}", plain(&self.source), number(tenants.len(), "tenant")),
        }
    }

    /// `1 extraction, 2 break, 1 info`, the gravest first.
    fn counts(&self) -> String {
        let count = |severity: Severity| match self.count(severity) {
            0 => None,
            n => Some(format!("{n} {}", severity.name())),
        };
        SEVERITIES.into_iter().filter_map(count).collect::<Vec<_>>().join(", ")
    }
}

/// The gravest first.
const SEVERITIES: [Severity; 4] = [Severity::Extraction, Severity::Break, Severity::Warn, Severity::Info];

/// The change, when one of the shown tenants has it. Of a single tenant its own counts are shown, though others have it
/// too.
fn change(rolled: Rolled, shown: &[&TenantDrift], baseline: &BTreeMap<String, Json>) -> Option<Change> {
    let is_shown = |finding: &&Finding| shown.iter().any(|tenant| tenant.name == finding.tenant);
    let own = rolled.by_tenant.iter().find(is_shown)?;
    let finding = if shown.len() == 1 { own.clone() } else { rolled.finding };
    let overlay = shown.iter().find(|t| t.name == own.tenant).and_then(|t| t.streams.get(&finding.stream));
    let learned = overlay.and_then(|(overlay, _)| overlay.schema.get(&finding.pointer)).map(|a| a.schema.clone());
    let base = || baseline.get(&finding.stream).and_then(|schema| at(schema, &finding.pointer)).cloned();
    let learned = learned.filter(|schema| finding.schema.as_ref() != Some(schema));
    Some(Change { before: learned.or_else(base), scope: rolled.scope, by_tenant: rolled.by_tenant, finding })
}

/// The schema of a place: `/a/*/b` is the property `b` of the items of `a`.
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
    /// The command that accepts it; what to do instead when that would change nothing.
    pub fn next(&self, arguments: &str) -> Result<String, &'static str> {
        let accept = || format!("dripfeed drift accept {} {arguments}", self.finding.fingerprint).trim_end().to_owned();
        self.finding.rule.remedy().map_or_else(|| Ok(accept()), Err)
    }

    /// What targets do with it.
    pub fn downstream(&self) -> &'static str {
        downstream::of(self.finding.rule)
    }

    /// The tenants that have it, by name.
    pub fn tenants(&self) -> Vec<&str> {
        self.by_tenant.iter().map(|finding| &*finding.tenant).collect()
    }

    /// `acme, globex, initech (3 of 5): vendor change`, with so many names at most.
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

    /// `312 of 4,810 records`.
    fn seen_line(&self) -> String {
        let finding = &self.finding;
        match (finding.count, finding.of) {
            (0, 0) => "the whole stream".to_owned(),
            (0, of) => format!("not in {}", number_of(of, "record")),
            (count, 0) => format!("{} times", thousands(count)),
            (count, of) => format!("{} of {}", thousands(count), number_of(of, "record")),
        }
    }

    /// The policy, and where records went by it.
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

    /// How it was and how it is; what is missing is said in words.
    fn both_ways(&self) -> (String, String) {
        let shown =
            |text: &str, nothing: &str| if text.is_empty() { nothing.to_owned() } else { short(&plain(text), 120) };
        (shown(&self.finding.from, "nothing"), shown(&self.finding.to, "nothing"))
    }

    /// `string(date) -> integer`, or as much of it as there is.
    fn arrow(&self, arrow: &str) -> String {
        let (from, to) = self.both_ways();
        match (self.finding.from.is_empty(), self.finding.to.is_empty()) {
            (true, true) => String::new(),
            (true, false) => format!("now {to}"),
            (false, true) => format!("was {from}"),
            (false, false) => format!("{from} {arrow} {to}"),
        }
    }

    /// The place in the stream; nothing for the whole of it.
    fn place(&self) -> String {
        short(&plain(&self.finding.pointer), 120)
    }
}

impl How {
    /// Its name.
    fn name(self) -> &'static str {
        match self {
            How::Learned => "learned",
            How::Evolved => "evolved",
            How::Accepted => "accepted",
        }
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
    // What can be null says so last.
    let (null, others): (Vec<&str>, Vec<&str>) = types.into_iter().partition(|name| *name == "null");
    others.into_iter().chain(null).map(word).collect::<Vec<_>>().join("|")
}
