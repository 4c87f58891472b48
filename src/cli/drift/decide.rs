//! Decisions about changes: accept, reject, learn again, and their effect on later runs.
//!
//! Input: fingerprints and reasons. Output: a wider overlay, fewer open changes, and a decision stored in the
//! overlay. Called by the verbs of `drift`. Each stream's files change together or not at all.

use std::path::Path;

use serde_json::json;
use time::{Duration, OffsetDateTime};

use super::scope::{DriftScope, wants};
use super::{Accept, Learn, ReasonArgs, Reject};
use crate::base::display::number;
use crate::base::fault::{Fault, Kind, Result, did_you_mean};
use crate::base::timefmt::rfc3339;
use crate::drift::across_tenants::TenantDrift;
use crate::drift::baseline::{self, COLUMN, joined};
use crate::drift::finding::Finding;
use crate::drift::overlay::{Addition, Decision, How, Overlay, Pending};
use crate::drift::rules::Rule;
use crate::run::context::Context;
use crate::run::load;
use crate::run::log::Level;

/// The person, time and reason of a decision, and the overlay's hash.
pub(super) struct Reviewer {
    who: String,
    pub(super) now: OffsetDateTime,
    why: String,
}

/// An open change and its tenant.
struct Open<'t> {
    root: &'t Path,
    tenant: &'t str,
    finding: &'t Finding,
}

impl Reviewer {
    pub(super) fn new(reason: &ReasonArgs) -> Result<Reviewer> {
        let of_environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let who = reason.by.clone().or_else(|| of_environment("USER")).or_else(|| of_environment("LOGNAME"));
        let now = load::now()?.0;
        Ok(Reviewer {
            who: who.unwrap_or_else(|| "unknown".to_owned()),
            now: now.replace_nanosecond(0).unwrap_or(now),
            why: reason.why.clone(),
        })
    }

    pub(super) fn decision(&self, name: &str, fingerprint: &str, change: String, before: &Overlay) -> Decision {
        Decision {
            fingerprint: fingerprint.to_owned(),
            change,
            decision: name.to_owned(),
            who: self.who.clone(),
            when: rfc3339(self.now),
            why: self.why.clone(),
            before: baseline::hash(&json!(before.schema)),
        }
    }

    /// Accepts a change as the new baseline.
    fn accept(&self, name: &str, finding: &Finding, overlay: &mut Overlay) {
        let decision = self.decision(name, &finding.fingerprint, finding.line(), overlay);
        if let Some(schema) = &finding.schema {
            // A finding contains the schema of the time when it was recorded: later additions stay.
            let announces = finding.pointer.matches('/').count() == 1
                && (finding.rule == Rule::FieldAdded || schema.get(COLUMN).is_some());
            let since = || rfc3339(self.now);
            overlay
                .schema
                .entry(finding.pointer.clone())
                .and_modify(|there| {
                    there.schema = joined(&there.schema, schema, announces);
                    there.how = How::Accepted;
                })
                .or_insert_with(|| Addition { schema: schema.clone(), since: since(), how: How::Accepted });
        }
        overlay.waived.insert(finding.waiver());
        // A missing field is no longer expected: it may reappear as a new one.
        if matches!(
            finding.rule,
            Rule::FieldRemoved | Rule::FieldAbsent | Rule::FieldRenamed | Rule::FieldMoved | Rule::FieldCaseChanged
        ) {
            overlay.seen.remove(&finding.pointer);
        }
        overlay.decisions.push(decision);
    }
}

/// A person must accept a change after looking at it, so a pipeline must not.
fn refused_in_ci(force: bool, what: &str) -> Result<()> {
    let in_ci = std::env::var("CI").is_ok_and(|value| !matches!(&*value, "" | "0" | "false"));
    if force || !in_ci {
        return Ok(());
    }
    let fault = Fault::config(format!("`drift {what}` is refused because the environment variable CI is set"));
    Err(fault.hint("a person should review a change before it is accepted: accept it outside CI, or pass --force"))
}

pub(super) fn accept(context: &Context, scope: &DriftScope, asked: &Accept) -> Result<()> {
    refused_in_ci(asked.force, "accept")?;
    let reviewer = Reviewer::new(&asked.reason)?;
    let tenants = scope.read_shown()?;
    let open = open(context, &tenants);
    let chosen: Vec<&Open<'_>> = if asked.all {
        open.iter().filter(|open| asked.severity.is_none_or(|most| open.finding.severity <= most)).collect()
    } else {
        let chosen = named(&open, &tenants, &asked.fingerprints)?;
        let in_vain = chosen.iter().find_map(|open| Some((open.finding, open.finding.rule.remedy()?)));
        if let Some((finding, remedy)) = in_vain {
            let message = format!("accepting {} ({}) would change nothing", finding.fingerprint, finding.line());
            return Err(Fault::new(Kind::Usage, message).hint(remedy));
        }
        chosen
    };
    let (left, chosen): (Vec<&Open<'_>>, _) = chosen.into_iter().partition(|open| open.finding.rule.remedy().is_some());
    let left: Vec<String> = left.iter().map(|open| left_open(open.tenant, open.finding)).collect();
    let lines = each(context, scope, &chosen, |finding, overlay, pending| {
        pending.findings.retain(|f| f.fingerprint != finding.fingerprint);
        reviewer.accept("accept", finding, overlay);
    })?;
    if !lines.is_empty() || left.is_empty() {
        print_lines(context, "accepted", &lines)?;
    }
    if chosen.iter().any(|open| open.finding.quarantined > 0) {
        let message = "records of these changes wait in quarantine: `dripfeed drift replay`, with the tenant's \
                       --config and into its target, sends those that fit now";
        context.log.line(Level::Info, message);
    }
    if left.is_empty() { Ok(()) } else { print_lines(context, "left open", &left) }
}

/// The message for a change that accepting would not resolve.
fn left_open(tenant: &str, finding: &Finding) -> String {
    let Finding { stream, fingerprint, rule, .. } = finding;
    format!("{tenant} {fingerprint} {stream} {}; {}", finding.line(), rule.remedy().unwrap_or_default())
}

pub(super) fn reject(context: &Context, scope: &DriftScope, asked: &Reject) -> Result<()> {
    let reviewer = Reviewer::new(&asked.reason)?;
    let until = reviewer.now.checked_add(Duration::days(asked.days.into())).unwrap_or(reviewer.now);
    let tenants = scope.read_shown()?;
    let open = open(context, &tenants);
    let lines = each(context, scope, &named(&open, &tenants, &asked.fingerprints)?, |finding, overlay, pending| {
        for known in pending.findings.iter_mut().filter(|f| f.fingerprint == finding.fingerprint) {
            known.silenced_until = Some(rfc3339(until));
        }
        overlay.decisions.push(reviewer.decision("reject", &finding.fingerprint, finding.line(), overlay));
    })?;
    print_lines(context, &format!("rejected; no alert before {}:", rfc3339(until)), &lines)
}

pub(super) fn learn(context: &Context, scope: &DriftScope, asked: &Learn) -> Result<()> {
    refused_in_ci(asked.force, "learn")?;
    let reviewer = Reviewer::new(&asked.reason)?;
    let (mut lines, mut left) = (Vec::new(), Vec::new());
    for (root, tenant) in &scope.read_shown()? {
        for stream in tenant.streams.keys().filter(|stream| wants(context, stream)) {
            let overlay_files = scope.overlay_files(root, &tenant.name, stream);
            let accepted = overlay_files.update(&context.stop, |overlay, pending| {
                let begun = reviewer.decision("learn", "", "everything accepted, statistics reset".into(), overlay);
                let all = std::mem::take(&mut pending.findings);
                let findings: Vec<Finding>;
                (pending.findings, findings) = all.into_iter().partition(|finding| finding.rule.remedy().is_some());
                for finding in &findings {
                    reviewer.accept("learn", finding, overlay);
                }
                overlay.seen.clear();
                overlay.decisions.push(begun);
                left.extend(pending.findings.iter().map(|finding| left_open(&tenant.name, finding)));
                Ok(findings.len())
            })?;
            lines.push(format!("{} {stream}: {} accepted", tenant.name, number(accepted, "change")));
        }
    }
    print_lines(context, "learns again:", &lines)?;
    if left.is_empty() { Ok(()) } else { print_lines(context, "left open", &left) }
}

/// The open changes of the selected tenants and streams.
fn open<'t>(context: &Context, tenants: &'t [(&'t Path, TenantDrift)]) -> Vec<Open<'t>> {
    let mut open = Vec::new();
    for (root, tenant) in tenants {
        for (_, (_, pending)) in tenant.streams.iter().filter(|(stream, _)| wants(context, stream)) {
            open.extend(pending.findings.iter().map(|finding| Open { root, tenant: &tenant.name, finding }));
        }
    }
    open
}

/// The changes whose fingerprints start with a prefix, for all tenants that have the change.
fn named<'o, 't>(
    open: &'o [Open<'t>],
    tenants: &[(&Path, TenantDrift)],
    prefixes: &[String],
) -> Result<Vec<&'o Open<'t>>> {
    let mut chosen: Vec<&Open<'_>> = Vec::new();
    for prefix in prefixes {
        let prefix = prefix.to_ascii_lowercase();
        let found: Vec<&Open<'_>> =
            open.iter().filter(|open| !prefix.is_empty() && open.finding.fingerprint.starts_with(&prefix)).collect();
        let Some(first) = found.first() else { return Err(unknown(&prefix, open, tenants)) };
        let mut several: Vec<String> =
            found.iter().map(|o| format!("{} ({})", o.finding.fingerprint, o.finding.line())).collect();
        several.sort();
        several.dedup();
        if found.iter().any(|open| open.finding.fingerprint != first.finding.fingerprint) {
            return Err(Fault::new(Kind::Usage, format!("several fingerprints begin with `{prefix}`"))
                .hint(format!("give a longer prefix: {}", several.join(", "))));
        }
        let again = |open: &&Open<'_>| chosen.iter().any(|have| std::ptr::eq(*have, *open));
        let new: Vec<&Open<'_>> = found.into_iter().filter(|open| !again(open)).collect();
        chosen.extend(new);
    }
    Ok(chosen)
}

/// The fault for a fingerprint without an open change.
fn unknown(prefix: &str, open: &[Open<'_>], tenants: &[(&Path, TenantDrift)]) -> Fault {
    let fault = Fault::new(Kind::Usage, format!("no open change has the fingerprint `{prefix}`"));
    let mut decided = tenants.iter().flat_map(|(_, tenant)| tenant.streams.values().flat_map(|(o, _)| &o.decisions));
    if let Some(d) = decided.rfind(|d| !prefix.is_empty() && d.fingerprint.starts_with(prefix)) {
        let done = if d.decision == "reject" { "rejected" } else { "accepted" };
        return fault.hint(format!("{} {done} it on {} ({})", d.who, d.when, d.change));
    }
    let known = || open.iter().map(|open| &*open.finding.fingerprint);
    match did_you_mean(prefix, known()) {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None if open.is_empty() => fault.hint("no change is open"),
        None => fault.hint("`drift show` lists those that are open"),
    }
}

/// Applies a decision to each change that is still open once its files are locked; returns those.
fn each(
    context: &Context,
    scope: &DriftScope,
    chosen: &[&Open<'_>],
    what: impl Fn(&Finding, &mut Overlay, &mut Pending),
) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for open in chosen {
        let (stream, fingerprint) = (&open.finding.stream, &open.finding.fingerprint);
        let overlay_files = scope.overlay_files(open.root, open.tenant, stream);
        let done = overlay_files.update(&context.stop, |overlay, pending| {
            // The current version: a run may have seen it again, or another person decided it.
            let Some(finding) = pending.findings.iter().find(|f| f.fingerprint == *fingerprint).cloned() else {
                return Ok(false);
            };
            what(&finding, overlay, pending);
            Ok(true)
        })?;
        let meanwhile = if done { "" } else { ": somebody decided on it meanwhile; nothing was done" };
        lines.push(format!("{} {} {stream} {}{meanwhile}", open.tenant, fingerprint, open.finding.line()));
    }
    Ok(lines)
}

/// Prints the results, one line each.
fn print_lines(context: &Context, done: &str, lines: &[String]) -> Result<()> {
    if lines.is_empty() {
        return context.text("no change is open\n");
    }
    let lines: String = lines.iter().map(|line| format!("{done} {}\n", line.replace(char::is_control, " "))).collect();
    context.text(&lines)
}
