//! The report as one web page that needs nothing else: no script, no request, no font.
//!
//! Comes in: a [`Report`]. Goes out: HTML. Whoever is called at night sees first what changed, since when, how often,
//! for which tenants and what to type; the rest stands below. Every text that is not this file's goes through
//! `HtmlText`.

use serde_json::Value as Json;

use super::{Change, Report, SEVERITIES, words};
use crate::base::display::page::{self, HtmlText, command, time};
use crate::base::display::{ago, capital, minute, number, number_of, short, thousands};
use crate::base::timefmt::parse_iso;
use crate::drift::across_tenants::ChangeScope;
use crate::drift::overlay::How;
use crate::drift::rules::Severity;

/// So many lines of a schema are shown.
const LINES: usize = 24;

/// The report as a page.
pub fn write(report: &Report) -> String {
    let title = format!("Schema drift: {}", report.subject());
    let mut out = page::head(&title, STYLE);
    out += &header(report);
    out += "<main>\n";
    out += &timeline(report);
    let mut streams: Vec<&str> = Vec::new();
    for change in &report.changes {
        if !streams.contains(&&*change.finding.stream) {
            streams.push(&change.finding.stream);
        }
    }
    // In the order of the gravest change of each.
    for stream in streams {
        let changes: Vec<&Change> = report.changes.iter().filter(|c| c.finding.stream == stream).collect();
        out += &format!("<section class=\"stream {}\">\n<h2>{}</h2>\n", levels(&changes), HtmlText(&short(stream, 80)));
        for change in changes {
            out += &card(change, report);
        }
        out += "</section>\n";
    }
    out += &added(report);
    out += &judged(report);
    let learned =
        if report.runs == 0 { String::new() } else { format!(", learned from {}", number_of(report.runs, "run")) };
    out += &format!(
        "</main>\n<footer>dripfeed, {}{learned}. Types, counts and shortened keys only: no value of a record is on this page.</footer>\n{}",
        HtmlText(&minute(&report.at)),
        page::END
    );
    out
}

/// The severities of these changes, as classes that the filter hides by.
fn levels(changes: &[&Change]) -> String {
    let has = |severity: &Severity| changes.iter().any(|change| change.finding.severity == *severity);
    SEVERITIES.into_iter().filter(has).map(|severity| format!("has-{}", severity.name())).collect::<Vec<_>>().join(" ")
}

/// What it is about, how bad it is, and what to type.
fn header(report: &Report) -> String {
    let grave = report.grave();
    let (class, verdict) = match (report.changes.len(), grave) {
        (0, _) if report.runs == 0 => ("calm", "Nothing to compare with yet: no run kept anything here".to_owned()),
        (0, _) => ("calm", "No drift".to_owned()),
        (all, 0) => ("calm", format!("{}, none grave", number(all, "open change"))),
        (_, 1) => ("grave", "1 change needs a decision".to_owned()),
        (_, grave) => ("grave", format!("{grave} changes need a decision")),
    };
    let mut out = format!(
        "<header class=\"{class}\">\n<p class=\"about\">Schema drift of {}</p>\n<h1>{verdict}</h1>\n",
        HtmlText(&report.subject())
    );
    if !report.changes.is_empty() {
        out += "<fieldset>\n<legend>Show</legend>\n";
        for severity in SEVERITIES.into_iter().filter(|severity| report.count(*severity) > 0) {
            let (name, count) = (severity.name(), report.count(severity));
            out += &format!(
                "<label class=\"{name}\"><input type=\"checkbox\" id=\"show-{name}\" checked> {name} <b>{count}</b></label>\n"
            );
        }
        out += "</fieldset>\n";
    }
    if let Some(worst) = report.changes.first().filter(|change| change.finding.severity >= Severity::Break) {
        let fingerprint = &worst.finding.fingerprint;
        out += &format!(
            "<div class=\"todo\">\n<p>The gravest: <a href=\"#fp-{}\">{}</a> {}</p>\n<div><p>{}</div>\n\
            <div><p>Is it wrong? It keeps failing, without an alert for a week:</p>{}</div>\n</div>\n",
            HtmlText(fingerprint),
            place(worst),
            arrow(worst),
            match worst.next(&report.whose) {
                Ok(accept) => format!("Is it right so? Accept it:</p>{}", command(&accept)),
                Err(remedy) => format!("What helps: {}</p>", HtmlText(remedy)),
            },
            command(&format!("dripfeed drift reject {fingerprint} {}", report.whose)),
        );
    }
    out + "</header>\n"
}

fn badge(severity: Severity) -> String {
    format!("<span class=\"badge {0}\">{0}</span>", severity.name())
}

/// The stream and the place, with a chance to wrap before each part.
fn place(change: &Change) -> String {
    let pointer = HtmlText(&change.place()).to_string().replace('/', "<wbr>/");
    let stream = HtmlText(&short(&change.finding.stream, 80)).to_string();
    if pointer.is_empty() { format!("<b>{stream}</b>") } else { format!("<b>{stream}</b> <code>{pointer}</code>") }
}

fn arrow(change: &Change) -> String {
    let finding = &change.finding;
    let (from, to) = change.both_ways();
    match (finding.from.is_empty(), finding.to.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!("now <code>{}</code>", HtmlText(&to)),
        (false, true) => format!("was <code>{}</code>", HtmlText(&from)),
        (false, false) => {
            format!(
                "<code>{}</code> <span aria-label=\"became\">→</span> <code>{}</code>",
                HtmlText(&from),
                HtmlText(&to)
            )
        }
    }
}

fn since(change: &Change, report: &Report) -> String {
    let first = &change.finding.first_seen;
    match ago(first, &report.at) {
        Some(ago) => format!("<b>{ago}</b> <small>{}</small>", time(first)),
        None => time(first),
    }
}

/// A line for each change: what, since when, how often, whose; and a bar from its first sighting to its last.
fn timeline(report: &Report) -> String {
    if report.changes.is_empty() {
        return String::new();
    }
    let seconds = |text: &str| parse_iso(text).map(time::OffsetDateTime::unix_timestamp);
    let begins = report.changes.iter().filter_map(|change| seconds(&change.finding.first_seen));
    let lasts = report.changes.iter().filter_map(|change| seconds(&change.finding.last_seen));
    let (start, end) = (begins.min().unwrap_or(0), lasts.chain(seconds(&report.at)).max().unwrap_or(0));
    let span = (end - start).max(1);
    // In thousandths, so that no float is needed.
    let place_of = |t: i64| (t - start).clamp(0, span) * 1000 / span;
    let axis = |t: i64| time::OffsetDateTime::from_unix_timestamp(t).map(|t| minute(&crate::base::timefmt::rfc3339(t)));
    let (from, until) = (axis(start).unwrap_or_default(), axis(end).unwrap_or_default());
    let mut out = format!(
        "<section aria-labelledby=\"when\">\n<h2 id=\"when\">What changed, since when</h2>\n\
        <p class=\"axis\" aria-hidden=\"true\"><span>{from}</span><span>{until}</span></p>\n<ol class=\"when\">\n"
    );
    for change in &report.changes {
        let finding = &change.finding;
        let level = finding.severity.name();
        let (first, last) = (seconds(&finding.first_seen).unwrap_or(start), seconds(&finding.last_seen).unwrap_or(end));
        let (x, wide) = (place_of(first), (place_of(last) - place_of(first)).max(12));
        let told = format!("seen from {} to {}", minute(&finding.first_seen), minute(&finding.last_seen));
        let names = change.tenants();
        let whose = match (change.scope, &names[..]) {
            (ChangeScope::Vendor, _) => {
                format!("<b>vendor change</b>, {} of {}", names.len(), number(report.of, "tenant"))
            }
            (ChangeScope::Tenant, [only]) => {
                format!("{}, 1 of {}", HtmlText(&short(only, 24)), number(report.of, "tenant"))
            }
            (ChangeScope::Tenant, _) => format!("{} of {}", names.len(), number(report.of, "tenant")),
        };
        out += &format!(
            "<li class=\"{level}\"><a href=\"#fp-{fp}\">{badge}<span class=\"what\">{place} <span class=\"arrow\">{arrow}</span></span>\
            <span class=\"since\">{since}</span><span class=\"seen\">{seen}</span><span class=\"whose\">{whose}</span></a>\
            <svg viewBox=\"0 0 1000 8\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{told}\"><title>{told}</title>\
            <rect class=\"track\" y=\"3\" width=\"1000\" height=\"2\"/>\
            <rect class=\"bar\" x=\"{x}\" width=\"{wide}\" height=\"8\" rx=\"2\"/></svg></li>\n",
            fp = HtmlText(&finding.fingerprint),
            badge = badge(finding.severity),
            place = place(change),
            arrow = arrow(change),
            since = ago(&finding.first_seen, &report.at).unwrap_or_else(|| minute(&finding.first_seen)),
            seen = HtmlText(&change.seen_line()),
            told = HtmlText(&told),
            x = x.min(988),
        );
    }
    out + "</ol>\n</section>\n"
}

fn card(change: &Change, report: &Report) -> String {
    let finding = &change.finding;
    let level = finding.severity.name();
    let mut out = format!(
        "<article class=\"{level}\" id=\"fp-{}\">\n<h3>{} {} <span class=\"rule\">{}</span></h3>\n<p class=\"arrow\">{}</p>\n\
        <p class=\"means\">{} <abbr title=\"its number in the taxonomy\">{}</abbr></p>\n<dl>\n",
        HtmlText(&finding.fingerprint),
        badge(finding.severity),
        place(change),
        finding.rule.id(),
        arrow(change),
        capital(finding.rule.what()),
        finding.rule.number(),
    );
    let mut item = |label: &str, html: String| {
        let class = if label == "Downstream" || label == "Evidence" { " class=\"long\"" } else { "" };
        out += &format!("<div{class}><dt>{label}</dt><dd>{html}</dd></div>\n");
    };
    item("Since", since(change, report));
    let last = ago(&finding.last_seen, &report.at).map(|ago| format!("{ago} ")).unwrap_or_default();
    item("Last seen", format!("{last}<small>{}, {}</small>", time(&finding.last_seen), number_of(finding.runs, "run")));
    item("Seen in", HtmlText(&change.seen_line()).to_string());
    item("Tenants", HtmlText(&change.tenants_line(report.of, usize::MAX)).to_string());
    item("Policy", HtmlText(&change.policy_line(&report.source)).to_string());
    if let Some(until) = &finding.silenced_until {
        item("Silenced", format!("until {}: rejected, it fails without an alert", time(until)));
    }
    if let Some(sample) = &finding.sample {
        item("Looks like", format!("<code>{}</code>", HtmlText(sample)));
    }
    if !finding.keys.is_empty() {
        let keys: Vec<String> =
            finding.keys.iter().map(|k| format!("<code>{}</code>", HtmlText(&short(k, 40)))).collect();
        item("Keys", keys.join(", "));
    }
    if let Some(evidence) = &finding.evidence {
        item("Evidence", HtmlText(evidence).to_string());
    }
    item("Downstream", HtmlText(&capital(change.downstream())).to_string());
    out += &match change.next(&report.whose) {
        Ok(accept) => format!("</dl>\n<p class=\"next\">Accept: {}</p>\n", command(&accept)),
        Err(remedy) => format!("</dl>\n<p class=\"next\">What helps: {}</p>\n", HtmlText(remedy)),
    };
    out += &sides(change);
    if change.by_tenant.len() > 1 {
        out += &by_tenant(change);
    }
    out + "</article>\n"
}

/// The schema of the place before and after, next to each other.
fn sides(change: &Change) -> String {
    let finding = &change.finding;
    if change.before.is_none() && finding.schema.is_none() {
        return String::new();
    }
    let lines = |schema: Option<&Json>, text: &str, nothing: &str| match (schema, text) {
        (Some(schema), _) => written(schema, 0).lines().map(str::to_owned).collect(),
        (None, "") => vec![nothing.to_owned()],
        (None, text) => vec![short(text, 200)],
    };
    let before: Vec<String> = lines(change.before.as_ref(), &finding.from, "not in the schema");
    let after: Vec<String> = lines(finding.schema.as_ref(), &finding.to, "not seen any more");
    let side = |name: &str, own: &[String], other: &[String], mark: char, class: &str| {
        let mut html = format!("<div><h4>{name}</h4><pre tabindex=\"0\">");
        for line in own.iter().take(LINES) {
            html += &if other.iter().any(|o| o.trim_end_matches(',') == line.trim_end_matches(',')) {
                format!("<span>  {}</span>\n", HtmlText(line))
            } else {
                format!("<span class=\"{class}\">{mark} {}</span>\n", HtmlText(line))
            };
        }
        if own.len() > LINES {
            html += &format!("<span>  … {} more</span>\n", number(own.len() - LINES, "line"));
        }
        html + "</pre></div>\n"
    };
    format!(
        "<div class=\"sides\">\n{}{}</div>\n",
        side("Before", &before, &after, '-', "gone"),
        side("After it is accepted", &after, &before, '+', "new")
    )
}

/// A schema as people write it: a list of plain values stands in one line.
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

fn by_tenant(change: &Change) -> String {
    let mut out = "<details><summary>By tenant</summary>\n<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">Tenant</th>\
        <th scope=\"col\">First seen</th><th scope=\"col\">Last seen</th><th scope=\"col\">Seen</th><th scope=\"col\">Policy</th></tr></thead>\n<tbody>\n"
        .to_owned();
    for finding in &change.by_tenant {
        out += &format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{} of {}</td><td>{}</td></tr>\n",
            HtmlText(&finding.tenant),
            time(&finding.first_seen),
            time(&finding.last_seen),
            thousands(finding.count),
            thousands(finding.of),
            finding.policy.name(),
        );
    }
    out + "</tbody>\n</table></div></details>\n"
}

fn added(report: &Report) -> String {
    if report.added.is_empty() {
        return String::new();
    }
    let learned = report.added.iter().filter(|added| added.addition.how == How::Learned).count();
    let all = report.added.len();
    let open = if learned < all { " open" } else { "" };
    let mut out = format!(
        "<details class=\"part\"{open}><summary><h2>Beyond the baseline <small>{}</small></h2></summary>\n<div class=\"wide\"><table>\n\
        <thead><tr><th scope=\"col\">Place</th><th scope=\"col\">Now</th><th scope=\"col\">How</th><th scope=\"col\">Since</th>\
        <th scope=\"col\">Tenants</th></tr></thead>\n<tbody>\n",
        number(all, "place")
    );
    for added in &report.added {
        out += &format!(
            "<tr><th scope=\"row\">{} <code>{}</code></th><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            HtmlText(&added.stream),
            HtmlText(&short(&added.pointer, 120)),
            HtmlText(&words(&added.addition.schema)),
            added.addition.how.name(),
            time(&added.addition.since),
            HtmlText(&added.tenants.join(", ")),
        );
    }
    out + "</tbody>\n</table></div></details>\n"
}

fn judged(report: &Report) -> String {
    if report.judged.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "<details class=\"part\" open><summary><h2>Judged <small>{}</small></h2></summary>\n<div class=\"wide\"><table>\n\
        <thead><tr><th scope=\"col\">When</th><th scope=\"col\">Who</th><th scope=\"col\">What</th><th scope=\"col\">Tenant</th>\
        <th scope=\"col\">Why</th></tr></thead>\n<tbody>\n",
        number(report.judged.len(), "time")
    );
    for judged in &report.judged {
        let decision = &judged.decision;
        out += &format!(
            "<tr><td>{}</td><td>{}</td><td><b>{}</b> {} <code>{}</code></td><td>{}</td><td>{}</td></tr>\n",
            time(&decision.when),
            HtmlText(&decision.who),
            HtmlText(&decision.decision),
            HtmlText(&judged.stream),
            HtmlText(&short(&decision.change, 120)),
            HtmlText(&judged.tenant),
            HtmlText(&decision.why),
        );
    }
    out + "</tbody>\n</table></div></details>\n"
}

const STYLE: &str = include_str!("page.css");
