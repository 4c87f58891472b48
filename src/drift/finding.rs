//! One change that was found, as it is kept, told and shown.
//!
//! Input: what the walk and the statistics saw. Output: a [`Finding`]. Written by `drift`, read by reports and by
//! the verbs of `drift`. It never holds a value of a record.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::rules::{Rule, Severity};
use crate::base::config::DriftPolicy as Policy;

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The same change has the same one over runs and tenants.
    pub fingerprint: String,
    /// What kind of change.
    pub rule: Rule,
    /// How grave.
    pub severity: Severity,
    /// Whose source.
    pub source: String,
    /// Whose account.
    pub tenant: String,
    /// In which stream.
    pub stream: String,
    /// Where in a record, as a JSON pointer in which `*` stands for any place in a list; empty for the whole of it.
    pub pointer: String,
    /// How it was, in words of types: `string(date)`.
    pub from: String,
    /// How it is.
    pub to: String,
    /// What is done about it.
    pub policy: Policy,
    /// Records in which it was seen, in all runs.
    pub count: u64,
    /// Of so many records that were looked at meanwhile.
    pub of: u64,
    /// Of them, those kept in the quarantine file.
    #[serde(default)]
    pub quarantined: u64,
    /// When it was first seen, RFC 3339.
    pub first_seen: String,
    /// When it was last seen, RFC 3339.
    pub last_seen: String,
    /// Runs that saw it.
    pub runs: u64,
    /// The run that saw it last.
    pub run_id: String,
    /// What a value looked like, never the value: `<integer, 13 digits>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<String>,
    /// Some keys of records that have it, shortened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// What proves it, or why it is only suspected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Told no more before this time: somebody rejected it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silenced_until: Option<String>,
    /// What the schema becomes at this place when the change is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Json>,
}

/// What makes a change the same one over runs and tenants.
#[derive(Debug, Clone, Copy)]
pub struct ChangeIdentity<'a> {
    /// The source's name.
    pub source: &'a str,
    /// The stream's name.
    pub stream: &'a str,
    /// What kind of change.
    pub rule: Rule,
    /// Where in a record.
    pub pointer: &'a str,
    /// How it was.
    pub from: &'a str,
    /// How it is.
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
    /// The fields of its `schema_drift` event; `repeat` when an earlier run told it.
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

    /// What stands in an overlay once the change was accepted.
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
