//! The report as a self-contained web page: no script, no request, no font.
//!
//! Input: a [`Report`]. Output: HTML. Called by `cli::drift`. For a person on call, the top shows what changed, since
//! when, how often, for which tenants, and what to type; the rest is below. `maud` escapes every text. A text from
//! outside this file also passes through `plain`.

use maud::{Markup, Render, html};
use serde_json::Value as Json;

use super::{Change, Report, SEVERITIES, words};
use crate::base::display::page::{command, document, joined, time};
use crate::base::display::{ago, capital, minute, number, number_of, plain, short, thousands};
use crate::base::timefmt::parse_iso;
use crate::drift::across_tenants::ChangeScope;
use crate::drift::overlay::How;
use crate::drift::rules::Severity;

const STYLE: &str = include_str!("page.css");
/// The maximum number of schema lines shown.
const LINES: usize = 24;

/// The report as a page.
pub fn write(report: &Report) -> String {
    // Sorted by the most severe change of each stream.
    let mut streams: Vec<(&str, Vec<&Change>)> = Vec::new();
    for change in &report.changes {
        let stream = &*change.finding.stream;
        match streams.iter_mut().find(|(name, _)| *name == stream) {
            Some((_, changes)) => changes.push(change),
            None => streams.push((stream, vec![change])),
        }
    }
    let body = html! {
        (header(report)) "\n"
        main {
            "\n"
            (timeline(report))
            @for (stream, changes) in &streams {
                section class={ "stream " (levels(changes)) } {
                    "\n"
                    h2 { (plain(&short(stream, 80))) } "\n"
                    @for change in changes { (card(change, report)) "\n" }
                }
                "\n"
            }
            (added(report))
            (judged(report))
        }
        "\n"
        footer {
            "dripfeed, " (minute(&report.at))
            @if report.runs > 0 { ", learned from " (number_of(report.runs, "run")) }
            ". Types, counts and shortened keys only: no value of a record is on this page."
        }
        "\n"
    };
    document(&format!("Schema drift: {}", report.subject()), STYLE, &body)
}

/// The severities of these changes, as CSS classes for the filter.
fn levels(changes: &[&Change]) -> String {
    let has = |severity: &Severity| changes.iter().any(|change| change.finding.severity == *severity);
    SEVERITIES.into_iter().filter(has).map(|severity| format!("has-{}", severity.name())).collect::<Vec<_>>().join(" ")
}

/// The subject, the severity, and what to type.
fn header(report: &Report) -> Markup {
    let (class, verdict) = match (report.changes.len(), report.grave()) {
        (0, _) if report.runs == 0 => {
            ("calm", "Nothing to compare with yet: no run has recorded anything here".to_owned())
        }
        (0, _) => ("calm", "No drift".to_owned()),
        (all, 0) => ("calm", format!("{}, none grave", number(all, "open change"))),
        (_, 1) => ("grave", "1 change needs a decision".to_owned()),
        (_, grave) => ("grave", format!("{grave} changes need a decision")),
    };
    let worst = report.changes.first().filter(|change| change.finding.severity >= Severity::Break);
    html! {
        header.(class) {
            "\n"
            p.about { "Schema drift of " (report.subject()) } "\n"
            h1 { (verdict) } "\n"
            @if !report.changes.is_empty() {
                fieldset {
                    "\n"
                    legend { "Show" } "\n"
                    @for severity in SEVERITIES.into_iter().filter(|severity| report.count(*severity) > 0) {
                        (switch(severity, report.count(severity))) "\n"
                    }
                }
                "\n"
            }
            @if let Some(worst) = worst { (todo(worst, report)) "\n" }
        }
    }
}

/// Shows and hides the changes of a severity.
fn switch(severity: Severity, count: usize) -> Markup {
    let name = severity.name();
    html! {
        label.(name) { input type="checkbox" id={ "show-" (name) } checked; " " (name) " " b { (count) } }
    }
}

/// What to type for the most severe change.
fn todo(worst: &Change, report: &Report) -> Markup {
    let fingerprint = plain(&worst.finding.fingerprint);
    html! {
        div.todo {
            "\n"
            p { "The most severe: " a href={ "#fp-" (fingerprint) } { (place(worst)) } " " (arrow(worst)) } "\n"
            div {
                @match worst.next(&report.arguments) {
                    Ok(accept) => { p { "If the change is right, accept it:" } (command(&accept)) }
                    Err(remedy) => p { "What helps: " (remedy) }
                }
            }
            "\n"
            div {
                p { "If it is wrong, reject it: it keeps failing, with no alert for a week:" }
                (command(&format!("dripfeed drift reject {fingerprint} {}", report.arguments)))
            }
            "\n"
        }
    }
}

fn badge(severity: Severity) -> Markup {
    let name = severity.name();
    html! { span.badge.(name) { (name) } }
}

/// The stream and the place, with a possible line break before each part.
fn place(change: &Change) -> Markup {
    let pointer = change.place();
    html! {
        b { (plain(&short(&change.finding.stream, 80))) }
        @if !pointer.is_empty() { " " code { (joined(pointer.split('/'), html! { wbr; "/" })) } }
    }
}

fn arrow(change: &Change) -> Markup {
    let finding = &change.finding;
    let (from, to) = change.both_ways();
    html! {
        @match (finding.from.is_empty(), finding.to.is_empty()) {
            (true, true) => {}
            (true, false) => { "now " code { (to) } }
            (false, true) => { "was " code { (from) } }
            (false, false) => { code { (from) } " " span aria-label="became" { "→" } " " code { (to) } }
        }
    }
}

fn since(change: &Change, report: &Report) -> Markup {
    let first = &change.finding.first_seen;
    html! { b { (ago_or_now(first, report)) } " " small { (time(first)) } }
}

/// How long ago it was, in words that fit a narrow column; less than a minute is `just now`.
fn ago_or_now(then: &str, report: &Report) -> String {
    ago(then, &report.at).unwrap_or_else(|| "just now".to_owned())
}

fn seconds(text: &str) -> Option<i64> {
    parse_iso(text).map(time::OffsetDateTime::unix_timestamp)
}

/// The time axis of the timeline, in seconds since 1970.
struct Axis {
    start: i64,
    end: i64,
}

impl Axis {
    fn of(report: &Report) -> Axis {
        let begins = report.changes.iter().filter_map(|change| seconds(&change.finding.first_seen));
        let lasts = report.changes.iter().filter_map(|change| seconds(&change.finding.last_seen));
        Axis { start: begins.min().unwrap_or(0), end: lasts.chain(seconds(&report.at)).max().unwrap_or(0) }
    }

    /// The position of a time, in thousandths, as an integer.
    fn place(&self, t: i64) -> i64 {
        let span = (self.end - self.start).max(1);
        (t - self.start).clamp(0, span) * 1000 / span
    }

    /// The start and width of a change's bar. Of a single moment the whole axis is the bar.
    fn bar(&self, change: &Change) -> (i64, i64) {
        if self.start >= self.end {
            return (0, 1000);
        }
        let first = self.place(seconds(&change.finding.first_seen).unwrap_or(self.start));
        let last = self.place(seconds(&change.finding.last_seen).unwrap_or(self.end));
        (first.min(988), (last - first).max(12))
    }

    /// A time in readable form.
    fn label(t: i64) -> String {
        let time = time::OffsetDateTime::from_unix_timestamp(t);
        time.map(|time| minute(&crate::base::timefmt::rfc3339(time))).unwrap_or_default()
    }
}

/// One line per change: what, since when, how often, in which tenants; and a bar from the first to the last sighting.
fn timeline(report: &Report) -> Markup {
    if report.changes.is_empty() {
        return Markup::default();
    }
    let axis = Axis::of(report);
    // Within a minute both ends of the axis have the same label.
    let (start, end) = (Axis::label(axis.start), Axis::label(axis.end));
    html! {
        section aria-labelledby="when" {
            "\n"
            h2 #when { "What changed, since when" } "\n"
            p.axis aria-hidden="true" {
                span { (start) }
                @if start != end { " " span { (end) } }
            }
            "\n"
            ol.when {
                "\n"
                @for change in &report.changes { (timeline_entry(change, &axis, report)) "\n" }
            }
            "\n"
        }
        "\n"
    }
}

fn timeline_entry(change: &Change, axis: &Axis, report: &Report) -> Markup {
    let finding = &change.finding;
    let (x, width) = axis.bar(change);
    let seen = format!("seen from {} to {}", minute(&finding.first_seen), minute(&finding.last_seen));
    html! {
        li.(finding.severity.name()) {
            a href={ "#fp-" (plain(&finding.fingerprint)) } {
                (badge(finding.severity))
                span.what { (place(change)) " " span.arrow { (arrow(change)) } }
                span.since { (ago_or_now(&finding.first_seen, report)) }
                span.seen { (change.seen_briefly()) }
                span.whose { (tenants(change, report)) }
            }
            svg viewBox="0 0 1000 8" preserveAspectRatio="none" role="img" aria-label=(seen) {
                title { (seen) }
                rect.track y="3" width="1000" height="2" {}
                rect.bar x=(x) width=(width) height="8" rx="2" {}
            }
        }
    }
}

/// The tenants of a change, in short form.
fn tenants(change: &Change, report: &Report) -> Markup {
    let names = change.tenants();
    let of = number(report.of, "tenant");
    html! {
        @match (change.scope, &names[..]) {
            (ChangeScope::Vendor, _) => { b { "vendor change" } ", " (names.len()) " of " (of) }
            (ChangeScope::Tenant, [only]) => { (plain(&short(only, 24))) ", 1 of " (of) }
            (ChangeScope::Tenant, _) => { (names.len()) " of " (of) }
        }
    }
}

fn card(change: &Change, report: &Report) -> Markup {
    let finding = &change.finding;
    html! {
        article.(finding.severity.name()) #{ "fp-" (plain(&finding.fingerprint)) } {
            "\n"
            h3 { (badge(finding.severity)) " " (place(change)) " " span.rule { (finding.rule.id()) } } "\n"
            p.arrow { (arrow(change)) } "\n"
            p.means {
                (capital(finding.rule.what())) " "
                abbr title="its number in the taxonomy" { (finding.rule.number()) }
            }
            "\n"
            dl { "\n" (facts(change, report)) } "\n"
            p.next {
                @match change.next(&report.arguments) {
                    Ok(accept) => { "Accept: " (command(&accept)) }
                    Err(remedy) => { "What helps: " (remedy) }
                }
            }
            "\n"
            (sides(change))
            @if change.by_tenant.len() > 1 { (by_tenant(change)) "\n" }
        }
    }
}

/// The facts about a change, each with a label.
fn facts(change: &Change, report: &Report) -> Markup {
    let finding = &change.finding;
    let keys = finding.keys.iter().map(|key| html! { code { (plain(&short(key, 40))) } });
    let last = html! {
        (ago_or_now(&finding.last_seen, report)) " "
        small { (time(&finding.last_seen)) ", " (number_of(finding.runs, "run")) }
    };
    html! {
        (fact("Since", since(change, report)))
        (fact("Last seen", last))
        (fact("Seen in", change.seen_line()))
        (fact("Tenants", change.tenants_line(report.of, usize::MAX)))
        (fact("Policy", plain(&change.policy_line(&report.source))))
        @if let Some(until) = &finding.silenced_until {
            (fact("Silenced", html! { "until " (time(until)) ": rejected, it fails without an alert" }))
        }
        @if let Some(sample) = &finding.sample { (fact("Looks like", html! { code { (plain(sample)) } })) }
        @if !finding.keys.is_empty() { (fact("Keys", joined(keys, ", "))) }
        @if let Some(evidence) = &finding.evidence { (fact("Evidence", plain(evidence))) }
        (fact("Downstream", capital(change.downstream())))
    }
}

fn fact(label: &str, value: impl Render) -> Markup {
    let long = label == "Downstream" || label == "Evidence";
    html! { div class=[long.then_some("long")] { dt { (label) } dd { (value) } } "\n" }
}

/// The schema of the place before and after, side by side.
fn sides(change: &Change) -> Markup {
    let finding = &change.finding;
    if change.before.is_none() && finding.schema.is_none() {
        return Markup::default();
    }
    let lines = |schema: Option<&Json>, text: &str, nothing: &str| match (schema, text) {
        (Some(schema), _) => written(schema, 0).lines().map(str::to_owned).collect(),
        (None, "") => vec![nothing.to_owned()],
        (None, text) => vec![short(text, 200)],
    };
    let before: Vec<String> = lines(change.before.as_ref(), &finding.from, "not in the schema");
    let after: Vec<String> = lines(finding.schema.as_ref(), &finding.to, "not seen any more");
    html! {
        div.sides {
            "\n"
            div { h4 { "Before" } (schema(&before, &after, ("gone", "- "))) } "\n"
            div { h4 { "After it is accepted" } (schema(&after, &before, ("new", "+ "))) } "\n"
        }
        "\n"
    }
}

/// The lines of a schema. Lines that the other schema lacks have a class and a mark.
fn schema(own: &[String], other: &[String], (class, mark): (&str, &str)) -> Markup {
    let is_same = |a: &str, b: &str| a.trim_end_matches(',') == b.trim_end_matches(',');
    html! {
        pre tabindex="0" {
            @for line in own.iter().take(LINES) {
                @if other.iter().any(|other| is_same(other, line)) {
                    span { "  " (plain(line)) }
                } @else {
                    span.(class) { (mark) (plain(line)) }
                }
                "\n"
            }
            @if own.len() > LINES { span { "  … " (number(own.len() - LINES, "line")) " more" } "\n" }
        }
    }
}

/// A schema in readable form: a list of plain values is on one line.
fn written(schema: &Json, depth: usize) -> String {
    let indent = "  ".repeat(depth + 1);
    let nested = |json: &Json| json.is_object() || json.is_array();
    let lines: Vec<String> = match schema {
        Json::Object(map) if !map.is_empty() => map
            .iter()
            .map(|(key, value)| format!("{indent}{}: {}", Json::from(&**key), written(value, depth + 1)))
            .collect(),
        Json::Array(items) if items.iter().any(nested) => {
            items.iter().map(|item| format!("{indent}{}", written(item, depth + 1))).collect()
        }
        Json::Array(items) => {
            return format!("[{}]", items.iter().map(Json::to_string).collect::<Vec<_>>().join(", "));
        }
        other => return other.to_string(),
    };
    let (open, close) = if schema.is_object() { ('{', '}') } else { ('[', ']') };
    format!("{open}\n{}\n{}{close}", lines.join(",\n"), "  ".repeat(depth))
}

/// A table that may be wider than the page.
fn table(heads: &[&str], rows: impl IntoIterator<Item = Markup>) -> Markup {
    html! {
        div.wide {
            table {
                "\n"
                thead { tr { @for head in heads { th scope="col" { (head) } } } } "\n"
                tbody { "\n" @for row in rows { tr { (row) } "\n" } } "\n"
            }
        }
    }
}

fn by_tenant(change: &Change) -> Markup {
    let rows = change.by_tenant.iter().map(|finding| {
        html! {
            th scope="row" { (plain(&finding.tenant)) }
            td { (time(&finding.first_seen)) }
            td { (time(&finding.last_seen)) }
            td { (thousands(finding.count)) " of " (thousands(finding.of)) }
            td { (finding.policy.name()) }
        }
    });
    html! {
        details {
            summary { "By tenant" } "\n"
            (table(&["Tenant", "First seen", "Last seen", "Seen", "Policy"], rows))
        }
    }
}

/// A collapsible table below the changes.
fn part(title: &str, count: &str, open: bool, table: &Markup) -> Markup {
    html! {
        details.part open[open] { summary { h2 { (title) " " small { (count) } } } "\n" (table) } "\n"
    }
}

fn added(report: &Report) -> Markup {
    if report.added.is_empty() {
        return Markup::default();
    }
    let all = report.added.len();
    let learned = report.added.iter().filter(|added| added.addition.how == How::Learned).count();
    let rows = report.added.iter().map(|added| {
        html! {
            th scope="row" { (plain(&added.stream)) " " code { (plain(&short(&added.pointer, 120))) } }
            td { code { (words(&added.addition.schema)) } }
            td { (added.addition.how.name()) }
            td { (time(&added.addition.since)) }
            td { (plain(&added.tenants.join(", "))) }
        }
    });
    let table = table(&["Place", "Now", "How", "Since", "Tenants"], rows);
    part("Beyond the baseline", &number(all, "place"), learned < all, &table)
}

fn judged(report: &Report) -> Markup {
    if report.judged.is_empty() {
        return Markup::default();
    }
    let rows = report.judged.iter().map(|judged| {
        let decision = &judged.decision;
        html! {
            td { (time(&decision.when)) }
            td { (plain(&decision.who)) }
            td {
                b { (plain(&decision.decision)) } " " (plain(&judged.stream)) " "
                code { (plain(&short(&decision.change, 120))) }
            }
            td { (plain(&judged.tenant)) }
            td { (plain(&decision.why)) }
        }
    });
    let table = table(&["When", "Who", "What", "Tenant", "Why"], rows);
    part("Judged", &number(report.judged.len(), "time"), true, &table)
}
