//! A finding: one detected change, as it is saved, reported and shown.
//!
//! Input: observations of the record scan and the statistics. Output: a [`Finding`]. Written by `drift`, read by
//! reports and by the verbs of `drift`. It never contains a value of a record.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::rules::{Rule, Severity};
use crate::base::config::DriftPolicy as Policy;

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The identity of the change across runs and tenants.
    pub fingerprint: String,
    /// The kind of change.
    pub rule: Rule,
    /// The severity.
    pub severity: Severity,
    /// The source.
    pub source: String,
    /// The tenant.
    pub tenant: String,
    /// The stream.
    pub stream: String,
    /// The JSON pointer in a record, with `*` for any item of a list; empty for the whole record.
    pub pointer: String,
    /// The earlier type in words: `string(date)`.
    pub from: String,
    /// The current type.
    pub to: String,
    /// The policy that applies.
    pub policy: Policy,
    /// Records with the change, over all runs.
    pub count: u64,
    /// Records examined in the same runs.
    pub of: u64,
    /// Records with the change in the last of these runs; 0 if an older version of dripfeed saved the finding.
    #[serde(default)]
    pub last_count: u64,
    /// Records examined in the last of these runs.
    #[serde(default)]
    pub last_of: u64,
    /// Of these, records in the quarantine file.
    #[serde(default)]
    pub quarantined: u64,
    /// When it was first seen, RFC 3339.
    pub first_seen: String,
    /// When it was last seen, RFC 3339.
    pub last_seen: String,
    /// Runs that saw it.
    pub runs: u64,
    /// The last run that saw it.
    pub run_id: String,
    /// A description of a value, never the value itself: `<integer, 13 digits>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<String>,
    /// Some shortened keys of affected records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// The proof, or why it is only suspected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// No reports before this time, because a person rejected the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silenced_until: Option<String>,
    /// The schema of this place after acceptance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Json>,
}

/// What identifies a change across runs and tenants.
#[derive(Debug, Clone, Copy)]
pub struct ChangeIdentity<'a> {
    /// The source's name.
    pub source: &'a str,
    /// The stream's name.
    pub stream: &'a str,
    /// The kind of change.
    pub rule: Rule,
    /// The JSON pointer in a record.
    pub pointer: &'a str,
    /// The earlier type.
    pub from: &'a str,
    /// The current type.
    pub to: &'a str,
}

impl ChangeIdentity<'_> {
    /// SHA-256 of its parts, 12 hex digits.
    pub fn fingerprint(&self) -> String {
        let parts = [self.source, self.stream, self.rule.id(), self.pointer, self.from, self.to];
        let hash = Sha256::digest(parts.join("\0").as_bytes());
        hash.iter().take(6).map(|b| format!("{b:02x}")).collect()
    }
}

impl Finding {
    /// The fields of its `schema_drift` event; `repeat` if an earlier run reported it.
    pub fn event(&self, repeat: bool) -> Json {
        let mut event = json!({
            "severity": self.severity, "rule": self.rule, "tenant": self.tenant, "stream": self.stream,
            "pointer": self.pointer, "from": self.from, "to": self.to, "count": self.count, "of": self.of,
            "first_seen": self.first_seen, "fingerprint": self.fingerprint, "policy": self.policy,
            "quarantined": self.quarantined, "run_id": self.run_id,
        });
        if repeat {
            event["repeat"] = json!(true);
        }
        event
    }

    /// The waiver that an overlay contains after the change is accepted.
    pub fn waiver(&self) -> String {
        format!("{} {} {}", self.rule.id(), self.pointer, self.to)
    }

    /// The change in a line: `field_type_changed /due_on: string(date) -> integer`.
    pub fn line(&self) -> String {
        let place = if self.pointer.is_empty() { String::new() } else { format!(" {}", self.pointer) };
        match (self.from.as_str(), self.to.as_str()) {
            ("", "") => format!("{}{place}", self.rule.id()),
            ("", to) => format!("{}{place}: {to}", self.rule.id()),
            (from, "") => format!("{}{place}: was {from}", self.rule.id()),
            (from, to) => format!("{}{place}: {from} -> {to}", self.rule.id()),
        }
    }
}
