//! How tenants stand, as one web page that needs nothing else.
//!
//! Comes in: a [`StatusReport`]. Goes out: HTML. Whoever is called at night sees on a phone how many are sick, and of
//! each why, since when, what to do and what to type; those that are well stand below in a dense table.

use super::table::{backfill, compact, oldest};
use super::{Reason, Row, RunRow, State, StatusReport, StreamRow, TenantVerdict, since};
use crate::base::display::page::{self, HtmlText, command, time};
use crate::base::display::{ago, bytes, capital, minute, number, number_of, short, span, thousands};
use crate::base::timefmt::parse_iso;

const STYLE: &str = include_str!("page.css");
/// So many sick tenants are listed in lines before their cards.
const INDEXED: usize = 3;

/// The report as a page.
pub fn write(report: &StatusReport) -> String {
    let not_well = report.tenants.len() - report.count(TenantVerdict::Ok);
    let title = if not_well == 0 { "Tenants: all well".to_owned() } else { format!("Tenants: {not_well} not well") };
    let mut out = page::head(&title, STYLE);
    out += &header(report);
    out += "<main>\n";
    let sick: Vec<&Row> = report.tenants.iter().filter(|row| row.verdict != TenantVerdict::Ok).collect();
    if sick.len() >= INDEXED {
        out += &index(&sick, report);
    }
    for (number, row) in sick.iter().enumerate() {
        out += &card(number, row, report);
    }
    out += &healthy(report);
    out += &format!(
        "</main>\n<footer>dripfeed, {}. Age is the time since the last run began that read a stream to its end; data is late when it is \
        older than the longest time between two runs of its tier, and a little more.</footer>\n{}",
        HtmlText(&minute(&report.at)),
        page::END
    );
    out
}

fn class(verdict: TenantVerdict) -> &'static str {
    match verdict {
        TenantVerdict::Ok => "ok",
        TenantVerdict::Late => "late",
        TenantVerdict::Failing => "failing",
        TenantVerdict::NeedsPerson => "person",
    }
}

/// How bad it is, in a line and in numbers.
fn header(report: &StatusReport) -> String {
    let all = report.tenants.len();
    let of = |verdict| report.count(verdict);
    let (grave, line) = match (of(TenantVerdict::NeedsPerson), of(TenantVerdict::Failing), of(TenantVerdict::Late)) {
        _ if all == 0 => ("calm", "No tenant is known".to_owned()),
        (0, 0, 0) if all == 1 => ("calm", "The tenant is well".to_owned()),
        (0, 0, 0) => ("calm", format!("All {all} tenants are well")),
        (0, 0, late) => ("grave", format!("{late} of {} late", number(all, "tenant"))),
        (0, failing, _) => ("grave", format!("{failing} of {} failing", number(all, "tenant"))),
        (1, ..) => ("grave", format!("1 of {} needs a person", number(all, "tenant"))),
        (person, ..) => ("grave", format!("{person} of {} need a person", number(all, "tenant"))),
    };
    let mut out =
        format!("<header class=\"{grave}\">\n<p class=\"about\">Tenants, {}</p>\n<h1>{line}</h1>\n", time(&report.at));
    out += "<ul class=\"counts\">\n";
    for verdict in TenantVerdict::ALL {
        let count = of(verdict);
        let none = if count == 0 { " none" } else { "" };
        out += &format!("<li class=\"{}{none}\"><b>{count}</b> {}</li>\n", class(verdict), verdict.words());
    }
    let running = report.tenants.iter().filter(|row| row.runs.iter().any(|run| run.state == State::Running)).count();
    let limited: u64 = report.tenants.iter().flat_map(|row| &row.runs).map(|run| run.run.rate_limited).sum();
    let backfills = report.tenants.iter().filter(|row| row.streams.iter().any(StreamRow::fills_back)).count();
    out += &format!("<li class=\"plain\"><b>{running}</b> running now</li>\n");
    out += &format!("<li class=\"plain\"><b>{backfills}</b> filling back</li>\n");
    out += &format!("<li class=\"plain\"><b>{}</b> 429s in last runs</li>\n", thousands(limited));
    out + "</ul>\n</header>\n"
}

fn name(row: &Row, report: &StatusReport) -> String {
    let tenant = HtmlText(&short(&row.tenant, 60)).to_string();
    if report.is_of_one_source() {
        tenant
    } else {
        format!("{tenant} <small>{}</small>", HtmlText(&short(&row.source, 40)))
    }
}

/// Who is sick, of what, since when: a line each, that leads to the card.
fn index(sick: &[&Row], report: &StatusReport) -> String {
    let mut out = "<ol class=\"index\">\n".to_owned();
    for (number, row) in sick.iter().enumerate() {
        let class = class(row.verdict);
        let reason = row.reasons.first();
        let since = reason.and_then(|reason| since(reason.since.as_deref()?, parse_iso(&report.at)?)).map(compact);
        out += &format!(
            "<li class=\"{class}\"><a href=\"#t{number}\"><b>{}</b> <span>{}</span> <small>{}</small></a></li>\n",
            name(row, report),
            HtmlText(&reason.map(|reason| short(&reason.what, 120)).unwrap_or_default()),
            since.unwrap_or_default(),
        );
    }
    out + "</ol>\n"
}

/// A tenant that is not well.
fn card(number: usize, row: &Row, report: &StatusReport) -> String {
    let class = class(row.verdict);
    let mut out = format!(
        "<article class=\"{class}\" id=\"t{number}\">\n<h2><span class=\"badge {class}\">{}</span> {}</h2>\n",
        row.verdict.words(),
        name(row, report)
    );
    for reason in &row.reasons {
        out += &reason_of(reason, report);
    }
    if !row.notes.is_empty() {
        let notes: String = row.notes.iter().map(|note| format!("<li>{}</li>", HtmlText(&capital(note)))).collect();
        out += &format!("<ul class=\"notes\">{notes}</ul>\n");
    }
    out += &runs(row, report);
    out += &streams(row, report);
    out + "</article>\n"
}

fn reason_of(reason: &Reason, report: &StatusReport) -> String {
    let mut out = format!("<section class=\"reason\">\n<p class=\"why\">{}</p>\n", HtmlText(&capital(&reason.what)));
    if let Some(detail) = &reason.detail {
        out += &format!("<p class=\"detail\">{}</p>\n", HtmlText(detail));
    }
    if let Some(since) = &reason.since {
        let ago = ago(since, &report.at).unwrap_or_else(|| "just now".to_owned());
        out += &format!("<p class=\"since\"><b>{ago}</b> <small>since {}</small></p>\n", time(since));
    }
    out += &format!("<p class=\"do\">{}</p>\n", HtmlText(&capital(&reason.what_to_do)));
    for line in &reason.commands {
        out += &command(line);
        out += "\n";
    }
    out + "</section>\n"
}

/// The last runs of a tenant, each in a line.
fn runs(row: &Row, report: &StatusReport) -> String {
    if row.runs.is_empty() {
        return String::new();
    }
    let mut runs: Vec<&RunRow> = row.runs.iter().collect();
    runs.sort_by_key(|run| std::cmp::Reverse(parse_iso(&run.run.began)));
    let lines: String = runs.into_iter().map(|run| format!("<li>{}</li>\n", run_line(run, report))).collect();
    format!("<ul class=\"runs\">\n{lines}</ul>\n")
}

fn run_line(run: &RunRow, report: &StatusReport) -> String {
    let began = ago(&run.run.began, &report.at).unwrap_or_else(|| "just now".to_owned());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let took = run.seconds.map(|seconds| span(seconds.max(0.0) as u64));
    let (mark, ended) = match (run.state, run.run.exit_code) {
        (State::Running, _) => ("runs", format!("running for {}", took.clone().unwrap_or_default())),
        (State::Killed, _) => ("bad", "killed".to_owned()),
        (State::Ended, Some(0)) => ("good", "done".to_owned()),
        (State::Ended, Some(75)) => ("runs", "saved, not finished (75)".to_owned()),
        (State::Ended, Some(code)) if run.superseded => ("good", format!("exit {code}, read since")),
        (State::Ended, Some(code)) => ("bad", format!("exit {code}")),
        (State::Ended, None) => ("bad", "ended".to_owned()),
    };
    let mut more = Vec::new();
    if run.state == State::Ended {
        more.extend(took.map(|took| format!("took {took}")));
        more.push(number_of(run.run.records, "record"));
        more.push(number_of(run.run.calls, "call"));
    }
    more.extend(run.run.cap_use.map(|share| format!("{:.0} % of the cap", share * 100.0)));
    if run.run.rate_limited > 0 {
        more.push(format!("{} × 429", thousands(run.run.rate_limited)));
    }
    let more = if more.is_empty() { String::new() } else { format!(" <small>{}</small>", more.join(" · ")) };
    format!("<b>{}</b> {began}: <span class=\"{mark}\">{ended}</span>{more}", HtmlText(&run.tier))
}

/// The streams of a sick tenant: those that are not well, then the others behind a click.
fn streams(row: &Row, report: &StatusReport) -> String {
    let table = |groups: &[Vec<&StreamRow>]| {
        let lines: String = groups.iter().map(|group| stream_line(group, report)).collect();
        format!("<table class=\"streams\">\n<tbody>\n{lines}</tbody>\n</table>\n")
    };
    let sick = row.sick_streams();
    let mut out = if sick.is_empty() { String::new() } else { table(&sick) };
    let well: Vec<Vec<&StreamRow>> =
        row.streams.iter().filter(|stream| !stream.is_sick()).map(|stream| vec![stream]).collect();
    if !well.is_empty() {
        let other = if sick.is_empty() { "stream" } else { "other stream" };
        out +=
            &format!("<details><summary>{}: well</summary>\n{}</details>\n", number(well.len(), other), table(&well));
    }
    out
}

fn stream_line(group: &[&StreamRow], report: &StatusReport) -> String {
    let Some(stream) = group.first() else { return String::new() };
    let mut more = Vec::new();
    if let Some(fault) = &stream.fault {
        let since = stream.failing_since.as_deref().and_then(|since| ago(since, &report.at));
        let since = since.map(|since| format!(" <small>{since}</small>")).unwrap_or_default();
        more.push(format!("<span class=\"bad\">{}</span>{since}", HtmlText(&short(fault, 240))));
    }
    more.extend(stream.bookmark.as_deref().map(|at| format!("bookmark <code>{}</code>", HtmlText(&short(at, 40)))));
    more.extend(bar(stream));
    let tier = stream.tier.as_deref().map(|tier| format!(" <small>{}</small>", HtmlText(tier))).unwrap_or_default();
    let names: Vec<String> = group.iter().map(|stream| HtmlText(&short(&stream.stream, 60)).to_string()).collect();
    format!(
        "<tr><th scope=\"row\">{}{tier}</th><td>{}</td><td>{}</td></tr>\n",
        names.join(", "),
        age(stream),
        more.join("<br>")
    )
}

/// How old data is, against how old it may be.
fn age(stream: &StreamRow) -> String {
    let mark = if stream.late { "bad" } else { "fresh" };
    match (stream.age_seconds, stream.due_every_seconds) {
        (None, _) => "<small>never read</small>".to_owned(),
        (Some(age), None) => format!("<span class=\"fresh\">{}</span>", compact(age)),
        (Some(age), Some(due)) => {
            format!("<span class=\"{mark}\">{}</span> <small>of {}</small>", compact(age), compact(due))
        }
    }
}

/// How far a backfill is.
fn bar(stream: &StreamRow) -> Option<String> {
    let told = backfill(stream)?;
    let of = stream.backfill.as_ref()?;
    // What is known so far says little of the whole.
    if of.ended.is_some() || !of.listed {
        return Some(HtmlText(&told).to_string());
    }
    let done = of.done.saturating_mul(1000).checked_div(of.of).unwrap_or(0).min(1000);
    Some(format!(
        "{}<svg class=\"bar\" viewBox=\"0 0 1000 6\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
        <rect class=\"track\" width=\"1000\" height=\"6\"/><rect class=\"done\" width=\"{done}\" height=\"6\"/></svg>",
        HtmlText(&told)
    ))
}

/// Those that are well, a line each.
fn healthy(report: &StatusReport) -> String {
    let rows: Vec<&Row> = report.tenants.iter().filter(|row| row.verdict == TenantVerdict::Ok).collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "<h2>Well <small>{}</small></h2>\n<table class=\"well\">\n<thead><tr><th scope=\"col\">Tenant</th>\
        <th scope=\"col\">Age</th><th scope=\"col\">Last run</th><th scope=\"col\" class=\"more\">Records</th>\
        <th scope=\"col\">Cap</th><th scope=\"col\" class=\"more\">429s</th><th scope=\"col\" class=\"more\">Drift</th></tr></thead>\n<tbody>\n",
        rows.len()
    );
    for row in rows {
        let ran = row.main_run().map_or_else(
            || "<small>never</small>".to_owned(),
            |run| {
                let seconds = parse_iso(&report.at).and_then(|now| since(&run.run.began, now)).unwrap_or(0);
                let state = match (run.state, run.run.exit_code) {
                    (State::Running, _) => " <span class=\"runs\">running</span>".to_owned(),
                    (_, Some(0) | None) => String::new(),
                    (_, Some(code)) => format!(" <span class=\"runs\">exit {code}</span>"),
                };
                format!("{} <small>{}</small>{state}", compact(seconds), HtmlText(&run.tier))
            },
        );
        let cap = row.runs.iter().filter_map(|run| run.run.cap_use).max_by(f64::total_cmp);
        let records: u64 = row.runs.iter().map(|run| run.run.records).sum();
        let limited: u64 = row.runs.iter().map(|run| run.run.rate_limited).sum();
        let minor = row.drift.warn + row.drift.info;
        let mut below: Vec<String> = row.notes.iter().map(|note| HtmlText(note).to_string()).collect();
        below.extend(
            row.streams
                .iter()
                .filter(|stream| stream.fills_back())
                .filter_map(|stream| Some(format!("{}: {}", HtmlText(&stream.stream), bar(stream)?))),
        );
        if row.quarantine_bytes > 0 {
            below.push(format!("{} in quarantine", bytes(row.quarantine_bytes)));
        }
        let below: String =
            below.iter().map(|text| format!("<tr class=\"below\"><td colspan=\"7\">{text}</td></tr>\n")).collect();
        out += &format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{ran}</td><td class=\"more\">{}</td><td>{}</td><td class=\"more\">{}</td>\
            <td class=\"more\">{}</td></tr>\n{below}",
            name(row, report),
            oldest(row).map_or_else(|| "<small>never read</small>".to_owned(), age),
            thousands(records),
            cap.map_or_else(String::new, |share| format!("{:.0} %", share * 100.0)),
            if limited > 0 { thousands(limited) } else { String::new() },
            if minor > 0 { format!("{minor} minor") } else { String::new() },
        );
    }
    out + "</tbody>\n</table>\n"
}
