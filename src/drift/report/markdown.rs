//! The report for a pull request or a chat.
//!
//! Input: a [`Report`]. Output: Markdown: a table of all changes, and a section for each severe one. A name from the
//! vendor never becomes markup, a mention or another cell.

use super::{Change, Report, words};
use crate::base::display::{ago, minute, plain, short};
use crate::drift::overlay::How;
use crate::drift::rules::Severity;

/// The maximum number of tenants in a cell.
const TENANTS: usize = 3;

/// The number of most recent decisions shown.
const JUDGED: usize = 10;

/// The report as Markdown.
pub fn write(report: &Report) -> String {
    let mut out = format!("## Schema drift: {}\n", escaped(&report.line()));
    if !report.changes.is_empty() {
        out += "\n| severity | change | first seen | seen | tenants |\n|---|---|---|---|---|\n";
        for change in &report.changes {
            out += &row(change, report);
        }
    }
    for change in report.changes.iter().filter(|change| change.finding.severity >= Severity::Break) {
        out += &section(change, report);
    }
    let rest: Vec<&Change> = report.changes.iter().filter(|c| c.finding.severity < Severity::Break).collect();
    if !rest.is_empty() {
        let commands: Vec<String> = rest.iter().filter_map(|change| change.next(&report.arguments).ok()).collect();
        out += &format!("\nTo accept the others:\n\n{}", fenced(&commands));
    }
    out + &added(report) + &judged(report)
}

fn row(change: &Change, report: &Report) -> String {
    let finding = &change.finding;
    let severity = finding.severity.name();
    let severity = if finding.severity >= Severity::Break { format!("**{severity}**") } else { severity.to_owned() };
    format!(
        "| {severity} | {} {}<br>{} {} | {} | {} | {} |\n",
        place(change),
        finding.rule.id(),
        arrow(change),
        code(&finding.fingerprint),
        since(change, report),
        escaped(&change.seen_briefly()),
        escaped(&change.tenants_line(report.of, TENANTS)),
    )
    .replace("  ", " ")
}

fn section(change: &Change, report: &Report) -> String {
    let finding = &change.finding;
    let title = |name: &str| format!("{}{}", name[..1].to_uppercase(), &name[1..]);
    let mut out = format!("\n### {}: {} {}\n\n", title(finding.severity.name()), place(change), finding.rule.id());
    let mut item = |label: &str, text: String| {
        if !text.is_empty() {
            out += &format!("- {label}: {text}\n");
        }
    };
    item("change", arrow(change));
    item("what", format!("{} ({})", finding.rule.what(), finding.rule.number()));
    item("first seen", since(change, report));
    item("last seen", minute(&finding.last_seen));
    item("seen", escaped(&change.seen_line()));
    item("policy", escaped(&change.policy_line(&report.source)));
    item("sample", finding.sample.as_deref().map(code).unwrap_or_default());
    item("keys", finding.keys.iter().map(|key| code(&short(key, 40))).collect::<Vec<_>>().join(", "));
    item("evidence", finding.evidence.as_deref().map(escaped).unwrap_or_default());
    item("tenants", escaped(&change.tenants_line(report.of, TENANTS)));
    item("downstream", escaped(change.downstream()));
    match change.next(&report.arguments) {
        Ok(accept) => out + "\n" + &fenced(&[accept]),
        Err(remedy) => out + &format!("- what helps: {}\n", escaped(remedy)),
    }
}

fn added(report: &Report) -> String {
    let let_in: Vec<_> = report.added.iter().filter(|added| added.addition.how != How::Learned).collect();
    if let_in.is_empty() {
        return String::new();
    }
    let mut out =
        "\n### Beyond the baseline\n\n| stream | place | now | since | tenants |\n|---|---|---|---|---|\n".to_owned();
    for added in let_in {
        out += &format!(
            "| {} | {} | {} | {} {} | {} |\n",
            code(&added.stream),
            code(&short(&added.pointer, 120)),
            code(&words(&added.addition.schema)),
            added.addition.how.name(),
            minute(&added.addition.since),
            added.tenants.iter().take(TENANTS).map(|name| escaped(name)).collect::<Vec<_>>().join(", "),
        );
    }
    out
}

fn judged(report: &Report) -> String {
    if report.judged.is_empty() {
        return String::new();
    }
    let mut out = "\n### Decisions\n\n| when | who | what | tenant | why |\n|---|---|---|---|---|\n".to_owned();
    for judged in report.judged.iter().take(JUDGED) {
        let decision = &judged.decision;
        out += &format!(
            "| {} | {} | {} {} {} | {} | {} |\n",
            minute(&decision.when),
            escaped(&decision.who),
            decision.decision,
            code(&judged.stream),
            code(&short(&decision.change, 120)),
            escaped(&judged.tenant),
            escaped(&decision.why),
        );
    }
    out
}

fn place(change: &Change) -> String {
    let pointer = change.place();
    let stream = code(&short(&change.finding.stream, 80));
    if pointer.is_empty() { stream } else { format!("{stream} {}", code(&pointer)) }
}

fn arrow(change: &Change) -> String {
    let (from, to) = (&change.finding.from, &change.finding.to);
    let both = [("was ", from), ("now ", to)].into_iter().filter(|(_, text)| !text.is_empty());
    match (from.is_empty(), to.is_empty()) {
        (false, false) => format!("{} → {}", code(&short(from, 120)), code(&short(to, 120))),
        _ => both.map(|(word, text)| format!("{word}{}", code(&short(text, 120)))).collect(),
    }
}

fn since(change: &Change, report: &Report) -> String {
    let first = &change.finding.first_seen;
    format!("{}{}", minute(first), ago(first, &report.at).map(|ago| format!(", {ago}")).unwrap_or_default())
}

/// Shell lines, with a fence that they cannot close.
fn fenced(commands: &[String]) -> String {
    let lines: String = commands.iter().map(|command| plain(command) + "\n").collect();
    let mut fence = "```".to_owned();
    while lines.contains(&fence) {
        fence.push('`');
    }
    format!("{fence}sh\n{lines}{fence}\n")
}

/// A name as code, usually in backticks; one that would break them, a cell or a tag is written as HTML with entities.
fn code(text: &str) -> String {
    let text = plain(text);
    if text.is_empty() {
        String::new()
    } else if text.contains(['`', '|', '<', '>', '&']) || text.starts_with(' ') || text.ends_with(' ') {
        format!("<code>{}</code>", escaped(&text))
    } else {
        format!("`{text}`")
    }
}

/// A text escaped so that nothing is markup, a mention or the end of a cell.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '&' | '<' | '>' | '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '~' | '#' | '@' | '$' | '!' => {
                out += &format!("&#{};", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out
}
