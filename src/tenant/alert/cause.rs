//! The causes for alerts in a run.
//!
//! Input: a [`RunEnd`]. Output: its causes, each with a fingerprint that stays the same in later runs; and the causes
//! that the run shows to be resolved. Called by [`super::outbox`]. Pure: nothing here waits, reads or sends.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::RunEnd;
use crate::base::fault::{Fault, Kind};
use crate::base::timefmt::parse_iso;
use crate::drift::finding::Finding;
use crate::drift::rules::Severity;
use crate::tenant::run_record::BACKFILL;

/// The number of consecutive unfinished runs of a slot before an alert.
const UNFINISHED: u64 = 3;

/// A kind of cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertEvent {
    /// An error in dripfeed itself: exit 50.
    Bug,
    /// This machine's files, pipes or the target failed: exit 60.
    LocalFailed,
    /// Config, manifest, catalog or state were refused: exit 10.
    ConfigRefused,
    /// The vendor refused the credentials: exit 20.
    CredentialsRefused,
    /// The vendor made a breaking change to its data: any exit code.
    SchemaDrift,
    /// The vendor is down: exit 69.
    VendorDown,
    /// The account's rate limit is used up: exit 75.
    LimitReached,
    /// Several runs in a row did not finish: exit 75.
    Unfinished,
    /// Some streams failed, the others are complete: exit 40.
    StreamFailed,
}

impl AlertEvent {
    /// The name of the event.
    pub fn name(self) -> &'static str {
        match self {
            AlertEvent::Bug => "bug",
            AlertEvent::LocalFailed => "local_failed",
            AlertEvent::ConfigRefused => "config_refused",
            AlertEvent::CredentialsRefused => "credentials_refused",
            AlertEvent::SchemaDrift => "schema_drift",
            AlertEvent::VendorDown => "vendor_down",
            AlertEvent::LimitReached => "limit_reached",
            AlertEvent::Unfinished => "unfinished",
            AlertEvent::StreamFailed => "stream_failed",
        }
    }

    /// The event for an exit code.
    pub(in crate::tenant) fn of_exit(code: u8) -> Option<AlertEvent> {
        Some(match code {
            10 => AlertEvent::ConfigRefused,
            20 => AlertEvent::CredentialsRefused,
            30 => AlertEvent::SchemaDrift,
            40 => AlertEvent::StreamFailed,
            50 => AlertEvent::Bug,
            60 => AlertEvent::LocalFailed,
            69 => AlertEvent::VendorDown,
            75 => AlertEvent::Unfinished,
            _ => return None,
        })
    }

    /// The action to take; the fault's own hint takes precedence.
    pub(in crate::tenant) fn to_do(self, hint: Option<&str>) -> String {
        let general = match self {
            AlertEvent::ConfigRefused => "fix the error; no run of this tenant starts before that",
            AlertEvent::CredentialsRefused => {
                "put a new token or key into the config; if the vendor changed permissions, have them restored"
            }
            AlertEvent::SchemaDrift => {
                "review the change, then accept it, or reject it: that silences it for a week and changes nothing else"
            }
            AlertEvent::StreamFailed => {
                "read the run's log; the other streams are complete, and the next run reads this one again from its \
                bookmark"
            }
            AlertEvent::VendorDown => {
                "wait for the next run: it continues from the bookmark; if the vendor stays down, ask the vendor"
            }
            AlertEvent::LocalFailed => {
                "check this machine: disk, permissions, and the target's own log; the next run continues from the state"
            }
            AlertEvent::LimitReached => {
                "check who else uses this account; give the tier fewer streams or a longer cadence, or ask the \
                vendor for a higher limit"
            }
            AlertEvent::Unfinished => {
                "give the run more time (dripfeed.deadline), its tier fewer streams, or a longer cadence"
            }
            AlertEvent::Bug => "report it with the run's log; finished work is saved",
        };
        match hint {
            // The hint of a change says how to accept it, or what helps where that would change nothing.
            Some(hint) if self == AlertEvent::SchemaDrift => hint.to_owned(),
            Some(hint) if hint.ends_with('?') => format!("{hint} Otherwise: {general}"),
            Some(hint) if !general.contains(hint) => format!("{hint}; {general}"),
            _ => general.to_owned(),
        }
    }

    /// The event for a kind of fault.
    fn of(kind: Kind) -> Option<AlertEvent> {
        Some(match kind {
            Kind::Config => AlertEvent::ConfigRefused,
            Kind::Auth => AlertEvent::CredentialsRefused,
            Kind::Drift => AlertEvent::SchemaDrift,
            Kind::Data => AlertEvent::StreamFailed,
            Kind::Unavailable => AlertEvent::VendorDown,
            Kind::Local | Kind::Downstream => AlertEvent::LocalFailed,
            Kind::Bug => AlertEvent::Bug,
            Kind::Usage | Kind::Unfinished | Kind::Busy | Kind::Signal(_) => return None,
        })
    }

    /// Does it concern a single stream rather than the whole tenant?
    fn is_of_stream(self) -> bool {
        matches!(self, AlertEvent::StreamFailed | AlertEvent::SchemaDrift)
    }
}

/// A cause for an alert.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cause {
    /// Equal for the same cause of the same tenant in every run.
    pub(super) fingerprint: String,
    pub(super) event: AlertEvent,
    /// The affected streams.
    pub(super) streams: Vec<String>,
    pub(super) what: String,
    /// The hint of its fault.
    pub(super) hint: Option<String>,
    pub(super) since: String,
    /// The drift change, if it is one.
    pub(super) change: Option<Finding>,
}

/// The meaning of an exit code, in a few words.
pub(in crate::tenant) fn exit_words(code: u8) -> &'static str {
    match code {
        0 => "done",
        2 => "the command line is wrong",
        10 => "the config, manifest, catalog or state was refused",
        20 => "the vendor refused the credentials",
        30 => "a change of the vendor's data ended the run",
        40 => "some streams failed; the others are complete",
        50 => "a bug in dripfeed",
        60 => "a local file, a pipe or the target failed",
        69 => "the vendor is down",
        75 => "not finished; the state is saved",
        76 => "another run is reading one of the streams",
        _ => "stopped by a signal; the state is saved",
    }
}

/// SHA-256 of the parts, 12 hex digits, as for drift findings.
pub(super) fn fingerprint(parts: &[&str]) -> String {
    let hash = Sha256::digest(parts.join("\0").as_bytes());
    hash.iter().take(6).map(|b| format!("{b:02x}")).collect()
}

/// Does the end say nothing about the tenant: a signal, or a conflict with another run?
pub(super) fn is_void(exit_code: u8) -> bool {
    exit_code == Kind::Busy.exit_code() || exit_code > 128
}

impl RunEnd {
    /// The causes for alerts; `unfinished` is the number of consecutive runs of the slot with exit 75, including this
    /// one.
    pub(super) fn causes(&self, unfinished: u64) -> Vec<Cause> {
        let mut causes: Vec<Cause> = self.changes().map(|finding| self.change(finding)).collect();
        if is_void(self.exit_code) {
            return causes;
        }
        let is_reported = |stream: &str, rule: Option<&str>| {
            let drift = self.drift.iter().flatten();
            // A rejected change fails without an alert.
            drift
                .into_iter()
                .any(|f| f.stream == stream && Some(f.rule.id()) == rule && (self.is_silent(f) || is_grave(f)))
        };
        let whole = self.fault.iter().map(|fault| (fault.stream.as_deref().unwrap_or_default(), fault));
        for (stream, fault) in whole.chain(self.faults.iter().map(|(stream, fault)| (&**stream, fault))) {
            let Some(event) = AlertEvent::of(fault.kind) else { continue };
            if fault.rule.is_none() || !is_reported(stream, fault.rule) {
                self.add(&mut causes, event, stream, fault);
            }
        }
        if self.exit_code == Kind::Unfinished.exit_code()
            || causes.iter().all(|cause| cause.event == AlertEvent::SchemaDrift)
        {
            causes.extend(self.by_code(unfinished));
        }
        causes
    }

    /// Does this run show that an earlier cause, not among its own, is resolved?
    pub(super) fn disproves(&self, event: AlertEvent, stream: &str) -> bool {
        let code = self.exit_code;
        let moved = code == 0 || !self.complete.is_empty();
        !is_void(code)
            && match event {
                AlertEvent::ConfigRefused => ![Kind::Usage.exit_code(), Kind::Config.exit_code()].contains(&code),
                AlertEvent::StreamFailed => self.complete.iter().any(|complete| complete == stream),
                AlertEvent::LimitReached | AlertEvent::Unfinished => moved && code != Kind::Unfinished.exit_code(),
                AlertEvent::SchemaDrift => self.drift.is_some(),
                AlertEvent::Bug | AlertEvent::LocalFailed | AlertEvent::CredentialsRefused | AlertEvent::VendorDown => {
                    moved
                }
            }
    }

    /// Breaking changes that nobody rejected.
    fn changes(&self) -> impl Iterator<Item = &Finding> {
        self.drift.iter().flatten().filter(|finding| is_grave(finding) && !self.is_silent(finding))
    }

    fn is_silent(&self, finding: &Finding) -> bool {
        let until = finding.silenced_until.as_deref().and_then(parse_iso);
        until.is_some_and(|until| parse_iso(&self.ended).is_some_and(|now| now < until))
    }

    fn change(&self, finding: &Finding) -> Cause {
        let parts =
            [&*self.source, &self.tenant, AlertEvent::SchemaDrift.name(), &finding.stream, &finding.fingerprint];
        Cause {
            fingerprint: fingerprint(&parts),
            event: AlertEvent::SchemaDrift,
            streams: vec![finding.stream.clone()],
            what: format!("{}: {}", finding.rule.what(), finding.line()),
            hint: finding.rule.remedy().map(str::to_owned),
            since: finding.first_seen.clone(),
            change: Some(finding.clone()),
        }
    }

    /// Adds a fault to the causes; a fault of the whole tenant is a single cause, whatever streams it affects.
    fn add(&self, causes: &mut Vec<Cause>, event: AlertEvent, stream: &str, fault: &Fault) {
        let cause = self.cause(event, stream, fault);
        match causes.iter_mut().find(|known| known.fingerprint == cause.fingerprint) {
            None => causes.push(cause),
            Some(known) => {
                known
                    .streams
                    .extend(cause.streams.into_iter().filter(|s| !known.streams.contains(s)).collect::<Vec<_>>());
                // Streams that ended only because the run did have no hint.
                if known.hint.is_none() && cause.hint.is_some() {
                    (known.what, known.hint) = (cause.what, cause.hint);
                }
            }
        }
    }

    /// A fault as a cause; `stream` is empty if it concerns the whole tenant.
    fn cause(&self, event: AlertEvent, stream: &str, fault: &Fault) -> Cause {
        let scope = if event.is_of_stream() { stream } else { "" };
        let rule = fault.rule.filter(|_| event == AlertEvent::SchemaDrift).unwrap_or_default();
        let site = fault.location.as_ref().map(|site| format!("{site}: ")).unwrap_or_default();
        Cause {
            fingerprint: fingerprint(&[&self.source, &self.tenant, event.name(), scope, rule]),
            event,
            streams: if stream.is_empty() { Vec::new() } else { vec![stream.to_owned()] },
            what: format!("{site}{}", fault.message),
            hint: fault.hint.clone(),
            since: self.began.clone(),
            change: None,
        }
    }

    /// The cause that only the exit code shows.
    fn by_code(&self, unfinished: u64) -> Option<Cause> {
        let code = self.exit_code;
        let waited = self
            .faults
            .iter()
            .map(|(_, fault)| fault)
            .find(|fault| fault.kind == Kind::Unfinished && fault.hint.is_some());
        let event = AlertEvent::of_exit(code)?;
        let (event, what) = match event {
            AlertEvent::Unfinished if self.slot == BACKFILL => return None,
            AlertEvent::Unfinished if self.limited => {
                let why = waited.map_or_else(String::new, |fault| format!(": {}", fault.message));
                (
                    AlertEvent::LimitReached,
                    format!("the account's rate limit is used up, and the run had no time to wait{why}"),
                )
            }
            AlertEvent::Unfinished if unfinished >= UNFINISHED => {
                (event, format!("{unfinished} runs in a row did not have enough time to finish"))
            }
            AlertEvent::Unfinished | AlertEvent::SchemaDrift | AlertEvent::StreamFailed => return None,
            _ => (event, exit_words(code).to_owned()),
        };
        let streams = self.faults.iter().map(|(stream, _)| stream.clone()).collect();
        Some(Cause { streams, ..self.cause(event, "", &Fault::bug(what)) })
    }
}

fn is_grave(finding: &Finding) -> bool {
    finding.severity >= Severity::Break
}
