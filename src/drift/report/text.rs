//! The report for a terminal, or for a log that people read.
//!
//! Input: a [`Report`], and the width and colours of the terminal. Output: text, one block per change. Without a
//! terminal nothing is wrapped or coloured, so that lines can be searched.

use super::{Change, Report, words};
use crate::base::display::terminal::{Look, Style};
use crate::base::display::{ago, minute, number, number_of, plain, second, short, thousands};
use crate::drift::overlay::How;
use crate::drift::rules::Severity;

/// The maximum number of tenants named; HTML and JSON have all of them.
const TENANTS: usize = 6;

/// The number of most recent decisions shown.
const JUDGED: usize = 5;

/// The report as text.
pub fn write(report: &Report, look: Look) -> String {
    let mut out = line(report, look);
    for change in &report.changes {
        out += "\n";
        out += &block(change, report, look);
    }
    out + &judged(report, look) + &added(report, look)
}

/// The one-line summary, in the colour of its verdict.
pub fn line(report: &Report, look: Look) -> String {
    let style = match (report.grave(), report.changes.len()) {
        (0, 0) => Style::Calm,
        (0, _) => Style::Warning,
        _ => Style::Bad,
    };
    let words: Vec<(Style, String)> = report.line().split(' ').map(|word| (style, word.to_owned())).collect();
    look.flow(&words, 1, 0, 0)
}

fn style(severity: Severity) -> Style {
    match severity {
        Severity::Extraction => Style::Worst,
        Severity::Break => Style::Bad,
        Severity::Warn => Style::Warning,
        Severity::Info => Style::Notice,
    }
}

fn block(change: &Change, report: &Report, look: Look) -> String {
    let finding = &change.finding;
    let severity = style(finding.severity);
    let mut head = vec![
        (severity, finding.severity.name().to_uppercase()),
        (Style::Plain, finding.rule.id().to_owned()),
        (Style::Strong, short(&plain(&finding.stream), 80)),
        (Style::Strong, change.place()),
        (Style::Plain, change.arrow("->")),
        (Style::Faint, format!("fp {}", finding.fingerprint)),
    ];
    head.retain(|(_, text)| !text.is_empty());
    let mut out = look.flow(&head, 2, 0, 2);
    out += &look.item("what", &format!("{} ({})", finding.rule.what(), finding.rule.number()));
    let since = ago(&finding.first_seen, &report.at).map(|ago| format!(", {ago}")).unwrap_or_default();
    out += &look.item("first seen", &format!("{}{since}", second(&finding.first_seen)));
    let runs = number_of(finding.runs, "run");
    let run = if finding.run_id.is_empty() { String::new() } else { format!(", run {}", plain(&finding.run_id)) };
    out += &look.item("last seen", &format!("{}, in {runs}{run}", second(&finding.last_seen)));
    out += &look.item("seen", &change.seen_line());
    out += &look.item("policy", &change.policy_line(&report.source));
    if let Some(until) = &finding.silenced_until {
        out += &look.item("silenced", &format!("until {}: rejected; it fails without an alert", minute(until)));
    }
    if let Some(sample) = &finding.sample {
        out += &look.item("sample", &plain(sample));
    }
    if !finding.keys.is_empty() {
        let keys: Vec<String> = finding.keys.iter().map(|key| short(&plain(key), 40)).collect();
        out += &look.item("keys", &keys.join(", "));
    }
    if let Some(evidence) = &finding.evidence {
        out += &look.item("evidence", &plain(evidence));
    }
    out += &look.item("tenants", &change.tenants_line(report.of, TENANTS));
    out += &look.item("downstream", change.downstream());
    out + &match change.next(&report.arguments) {
        Ok(accept) => look.command("next", &accept),
        Err(remedy) => look.item("next", remedy),
    }
}

fn judged(report: &Report, look: Look) -> String {
    if report.judged.is_empty() {
        return String::new();
    }
    let mut out = format!("\n{}\n", look.paint(Style::Strong, "decisions"));
    for judged in report.judged.iter().take(JUDGED) {
        let decision = &judged.decision;
        let why = if decision.why.is_empty() { String::new() } else { format!(": {}", plain(&decision.why)) };
        let line = format!(
            "  {} {} {} {} {} by {} for {}{why}",
            minute(&decision.when),
            decision.decision,
            decision.fingerprint,
            plain(&judged.stream),
            short(&plain(&decision.change), 120),
            plain(&decision.who),
            plain(&judged.tenant),
        );
        // A decision on a whole stream has no fingerprint.
        let words: Vec<_> = line.split(' ').filter(|w| !w.is_empty()).map(|w| (Style::Plain, w.to_owned())).collect();
        out += "  ";
        out += &look.flow(&words, 1, 2, 4);
    }
    let more = report.judged.len().saturating_sub(JUDGED);
    if more > 0 {
        out += &format!("  and {} earlier\n", thousands(more as u64));
    }
    out
}

/// Accepted additions are listed; learned ones are only counted, because a source without schemas learns everything.
fn added(report: &Report, look: Look) -> String {
    if report.added.is_empty() {
        return String::new();
    }
    let learned = report.added.iter().filter(|added| added.addition.how == How::Learned).count();
    let mut out = format!("\n{}\n", look.paint(Style::Strong, "beyond the baseline"));
    for added in report.added.iter().filter(|added| added.addition.how != How::Learned) {
        let words = [
            (Style::Strong, short(&plain(&added.stream), 80)),
            (Style::Strong, short(&plain(&added.pointer), 120)),
            (Style::Plain, words(&added.addition.schema)),
            (Style::Plain, format!("{} {}", added.addition.how.name(), minute(&added.addition.since))),
            (Style::Faint, added.tenants.iter().take(TENANTS).map(|t| plain(t)).collect::<Vec<_>>().join(", ")),
        ];
        out += "  ";
        out += &look.flow(&words, 2, 2, 4);
    }
    if learned > 0 {
        out += &format!("  {} learned in calm runs; --format json lists them\n", number(learned, "place"));
    }
    out
}
