//! The report for a terminal, or for a log that people read.
//!
//! Comes in: a [`Report`], and how wide and colourful the terminal is. Goes out: text, a block for each change. Without a
//! terminal nothing is wrapped or coloured, so that a line can be searched for.

use super::{Change, Report, ago, minute, plain, second, short, thousands, words};
use crate::drift::kept::How;
use crate::drift::rules::Severity;

/// How the terminal is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// Does it show colours?
    pub colour: bool,
    /// So many characters go into a line; none when it is no terminal.
    pub width: Option<usize>,
}

/// Labels of a block are as wide as the longest, `downstream`, with two spaces before and after.
const HANG: usize = 14;

/// So many tenants are named; HTML and JSON have them all.
const TENANTS: usize = 6;

/// So many judgements are shown, the newest.
const JUDGED: usize = 5;

/// Colours by meaning.
#[derive(Clone, Copy)]
enum Style {
    Plain,
    Strong,
    Faint,
    Of(Severity),
}

impl Look {
    fn paint(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Strong => "1",
            Style::Faint => "2",
            Style::Of(Severity::Extraction) => "1;97;41",
            Style::Of(Severity::Break) => "1;31",
            Style::Of(Severity::Warn) => "1;33",
            Style::Of(Severity::Info) => "36",
            Style::Plain => return text.to_owned(),
        };
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Words with `gap` between them, further lines begun under `hang`; the first line has `used` characters already.
    fn flow(self, words: &[(Style, String)], gap: usize, used: usize, hang: usize) -> String {
        let (mut out, mut column) = (String::new(), used);
        for (i, (style, word)) in words.iter().enumerate() {
            let length = word.chars().count();
            let gap = if i == 0 { 0 } else { gap };
            if i > 0 && self.width.is_some_and(|width| column + gap + length > width) {
                out += &format!("\n{}", " ".repeat(hang));
                column = hang;
            } else {
                out += &" ".repeat(gap);
                column += gap;
            }
            out += &self.paint(*style, word);
            column += length;
        }
        out + "\n"
    }

    /// A label and its text.
    fn item(self, label: &str, text: &str) -> String {
        let words: Vec<(Style, String)> = text.split(' ').map(|word| (Style::Plain, word.to_owned())).collect();
        let head = format!("  {label:<width$}", width = HANG - 2);
        self.paint(Style::Faint, &head) + &self.flow(&words, 1, HANG, HANG)
    }

    /// A label and a command, which is never wrapped: it is there to be copied.
    fn command(self, label: &str, command: &str) -> String {
        let head = format!("  {label:<width$}", width = HANG - 2);
        format!("{}{}\n", self.paint(Style::Faint, &head), self.paint(Style::Strong, command))
    }
}

/// The report as text.
pub fn write(report: &Report, look: Look) -> String {
    let words: Vec<(Style, String)> = report.line().split(' ').map(|word| (Style::Strong, word.to_owned())).collect();
    let mut out = look.flow(&words, 1, 0, 0);
    for change in &report.changes {
        out += "\n";
        out += &block(change, report, look);
    }
    out + &judged(report, look) + &added(report, look)
}

fn block(change: &Change, report: &Report, look: Look) -> String {
    let finding = &change.finding;
    let severity = Style::Of(finding.severity);
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
    let runs = super::number_of(finding.runs, "run");
    let run = if finding.run_id.is_empty() { String::new() } else { format!(", run {}", plain(&finding.run_id)) };
    out += &look.item("last seen", &format!("{}, in {runs}{run}", second(&finding.last_seen)));
    out += &look.item("seen", &change.seen_line());
    out += &look.item("policy", &change.policy_line(&report.source));
    if let Some(until) = &finding.silenced_until {
        out += &look.item("silenced", &format!("until {}: rejected, it fails without an alert", minute(until)));
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
    out + &match change.next(&report.whose) {
        Ok(accept) => look.command("next", &accept),
        Err(remedy) => look.item("next", remedy),
    }
}

fn judged(report: &Report, look: Look) -> String {
    if report.judged.is_empty() {
        return String::new();
    }
    let mut out = format!("\n{}\n", look.paint(Style::Strong, "judged"));
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
        out += &format!("  and {} before\n", thousands(more as u64));
    }
    out
}

/// What was let in is listed; what was learned is only counted, for a source without schemas learns everything.
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
        out += &format!("  {} learned in calm runs; --format json lists them\n", super::number(learned, "place"));
    }
    out
}
