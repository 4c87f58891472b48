//! The body of a webhook call.
//!
//! Input: the new causes of one kind, and the run. Output: an [`AlertBody`] that states what happened, since when and
//! what to do. Called by [`super::outbox`], which stores undelivered alerts. It contains no secret and no value of a
//! record.

use serde::{Deserialize, Serialize};

use super::RunEnd;
use super::cause::{AlertEvent, Cause, fingerprint};
use crate::drift::rules::Severity;
use crate::tenant::run_record::ALL;
use crate::tenant::schedule::quote::shell;

/// The format version.
const VERSION: u64 = 1;
/// The number of causes described in words; the rest are counted.
const TOLD: usize = 5;
/// The maximum number of changes listed.
const CHANGES: usize = 20;
/// Longer texts are truncated.
const LONGEST: usize = 500;

/// An alert. docs/src/alerts.md describes each field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertBody {
    /// The format version.
    pub v: u64,
    /// The kind of cause.
    pub event: AlertEvent,
    /// `critical`, `error` or `warning`.
    pub severity: String,
    /// A one-line summary, as chats show it.
    pub text: String,
    /// The source.
    pub source: String,
    /// The tenant.
    pub tenant: String,
    /// The slot of the run: a tier's name, `all` or `backfill`.
    pub tier: String,
    /// The affected streams.
    pub streams: Vec<String>,
    /// The exit code of the run.
    pub exit_code: u8,
    /// What happened.
    pub what: String,
    /// When it began, RFC 3339.
    pub since: String,
    /// The number of runs with this cause.
    pub count: u64,
    /// The action to take.
    pub what_to_do: String,
    /// The commands for it.
    pub commands: Vec<String>,
    /// The drift changes, if that is the cause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<AlertChange>,
    /// The run ID.
    pub run_id: String,
    /// The identity of the cause; equal for the same cause of the same tenant.
    pub fingerprint: String,
}

/// A change of the vendor's data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertChange {
    /// The fingerprint of the finding, for the verbs of `drift`.
    pub fingerprint: String,
    /// The drift rule.
    pub rule: String,
    /// The severity.
    pub severity: String,
    /// The stream.
    pub stream: String,
    /// The JSON pointer in a record.
    pub pointer: String,
    /// The earlier type.
    pub from: String,
    /// The current type.
    pub to: String,
    /// The policy that applies.
    pub policy: String,
}

impl AlertBody {
    /// Builds an alert for causes of one kind; each cause has its number of runs.
    pub(super) fn of(event: AlertEvent, causes: &[(Cause, u64)], outcome: &RunEnd) -> AlertBody {
        let mut streams: Vec<String> = Vec::new();
        for stream in causes.iter().flat_map(|(cause, _)| &cause.streams) {
            if !streams.contains(stream) {
                streams.push(stream.clone());
            }
        }
        let hints = causes.iter().filter_map(|(cause, _)| cause.hint.as_deref());
        let what_to_do = event.to_do(hints.into_iter().next());
        let what = what(event, causes, &streams);
        let slot = if outcome.slot == ALL { String::new() } else { format!(", {}", outcome.slot) };
        AlertBody {
            v: VERSION,
            event,
            severity: severity(event, causes).to_owned(),
            text: format!("{} ({}{slot}): {what}. What to do: {what_to_do}", outcome.tenant, outcome.source),
            source: outcome.source.clone(),
            tenant: outcome.tenant.clone(),
            tier: outcome.slot.clone(),
            exit_code: outcome.exit_code,
            since: causes.iter().map(|(cause, _)| cause.since.clone()).min().unwrap_or_default(),
            count: causes.iter().map(|(_, count)| *count).max().unwrap_or(1),
            commands: commands(event, causes, &streams, &outcome.arguments),
            changes: causes.iter().filter_map(|(cause, _)| change(cause)).take(CHANGES).collect(),
            run_id: outcome.run_id.clone(),
            fingerprint: match causes {
                [(cause, _)] => cause.fingerprint.clone(),
                several => {
                    let parts: Vec<&str> = several.iter().map(|(cause, _)| &*cause.fingerprint).collect();
                    fingerprint(&parts)
                }
            },
            what,
            what_to_do,
            streams,
        }
    }

    /// The key by which a webhook recognizes duplicates.
    pub fn key(&self) -> String {
        format!("{}-{}", self.fingerprint, self.since)
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn what(event: AlertEvent, causes: &[(Cause, u64)], streams: &[String]) -> String {
    let names = |names: &[String]| match names {
        [] => String::new(),
        [one] => format!("stream {one}: "),
        several => format!("{} streams: ", several.len()),
    };
    match (causes, event) {
        // A fault of the whole run is not attributed to a stream.
        (
            [(cause, _)],
            AlertEvent::CredentialsRefused | AlertEvent::VendorDown | AlertEvent::LimitReached | AlertEvent::Unfinished,
        ) => short(&cause.what),
        ([(cause, _)], _) => names(streams) + &short(&cause.what),
        (several, _) => {
            let kind = if event == AlertEvent::SchemaDrift { "changes" } else { "streams" };
            let parts = several.iter().take(TOLD).map(|(cause, _)| names(&cause.streams) + &short(&cause.what));
            let parts = parts.collect::<Vec<_>>().join("; ");
            let more = several.len().saturating_sub(TOLD);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            format!("{} {kind}: {parts}{more}", several.len())
        }
    }
}

fn severity(event: AlertEvent, causes: &[(Cause, u64)]) -> &'static str {
    let extraction =
        || causes.iter().filter_map(|(c, _)| c.change.as_ref()).any(|f| f.severity == Severity::Extraction);
    match event {
        AlertEvent::ConfigRefused | AlertEvent::CredentialsRefused | AlertEvent::LocalFailed | AlertEvent::Bug => {
            "critical"
        }
        AlertEvent::SchemaDrift if extraction() => "critical",
        AlertEvent::SchemaDrift | AlertEvent::StreamFailed | AlertEvent::VendorDown => "error",
        AlertEvent::LimitReached | AlertEvent::Unfinished => "warning",
    }
}

/// The commands to type.
fn commands(event: AlertEvent, causes: &[(Cause, u64)], streams: &[String], arguments: &str) -> Vec<String> {
    let line = |words: &str| format!("dripfeed {words} {arguments}").trim_end().to_owned();
    match event {
        AlertEvent::CredentialsRefused | AlertEvent::ConfigRefused | AlertEvent::VendorDown => vec![line("check")],
        AlertEvent::SchemaDrift => {
            let changes = causes.iter().filter_map(|(cause, _)| cause.change.as_ref());
            let accepted = changes.filter(|f| f.rule.remedy().is_none()).take(TOLD);
            let accept = accepted.map(|f| line(&format!("drift accept {}", f.fingerprint)));
            std::iter::once(line("drift show")).chain(accept).collect()
        }
        AlertEvent::StreamFailed => {
            let names = streams.iter().take(TOLD).cloned().collect::<Vec<_>>().join(",");
            vec![line(&format!("read --limit 1 --streams {}", shell(&names)))]
        }
        AlertEvent::LocalFailed | AlertEvent::LimitReached | AlertEvent::Unfinished | AlertEvent::Bug => {
            vec![line("status")]
        }
    }
}

fn change(cause: &Cause) -> Option<AlertChange> {
    let finding = cause.change.as_ref()?;
    Some(AlertChange {
        fingerprint: finding.fingerprint.clone(),
        rule: finding.rule.id().to_owned(),
        severity: finding.severity.name().to_owned(),
        stream: finding.stream.clone(),
        pointer: finding.pointer.clone(),
        from: finding.from.clone(),
        to: finding.to.clone(),
        policy: finding.policy.name().to_owned(),
    })
}
