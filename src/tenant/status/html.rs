//! The status of tenants as a self-contained web page.
//!
//! Input: a [`StatusReport`]. Output: HTML. Called by `cli::status`. For a person on call with a phone, the top shows
//! how many tenants have problems, and for each why, since when, what to do and what to type; healthy tenants are
//! below in a compact table. `maud` escapes every text. A text from outside this file also passes through `plain`.

use maud::{Markup, html};

use super::table::{backfill, compact};
use super::{PastRunRow, Reason, Row, RunRow, State, StatusReport, StreamRow, TenantVerdict, since};
use crate::base::display::page::{command, document, joined, time};
use crate::base::display::{ago, capital, minute, number, number_of, plain, short, span, thousands};
use crate::base::timefmt::parse_iso;
use crate::tenant::run_record::ALL;

const STYLE: &str = include_str!("page.css");
/// The number of tenants with problems from which an index precedes the cards.
const INDEXED: usize = 3;
/// The maximum number of cells in a strip of runs.
const CELLS: usize = 20;

/// The report as a page.
pub fn write(report: &StatusReport) -> String {
    let not_well = report.tenants.len() - report.count(TenantVerdict::Ok);
    let title = if not_well == 0 { "Tenants: all well".to_owned() } else { format!("Tenants: {not_well} not well") };
    let sick: Vec<&Row> = report.tenants.iter().filter(|row| row.verdict != TenantVerdict::Ok).collect();
    let body = html! {
        (header(report)) "\n"
        main {
            "\n"
            @if sick.len() >= INDEXED { (index(&sick, report)) "\n" }
            @for (number, row) in sick.iter().enumerate() { (card(number, row, report)) "\n" }
            (healthy(report))
        }
        "\n"
        footer {
            "dripfeed, " (minute(&report.at))
            ". Age is the time since the last run began that read a stream to its end. Data is late when it is older \
             than the longest time between two runs of its tier, plus a tolerance. A cell is a run, the newest at the \
             right: low and green is done, middle and blue is saved and continues, high and red failed, a frame is \
             running."
        }
        "\n"
    };
    document(&title, STYLE, &body)
}

fn class(verdict: TenantVerdict) -> &'static str {
    match verdict {
        TenantVerdict::Ok => "ok",
        TenantVerdict::Late => "late",
        TenantVerdict::Failing => "failing",
        TenantVerdict::NeedsPerson => "person",
    }
}

/// The overall severity, in a line and in numbers.
fn header(report: &StatusReport) -> Markup {
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
    let running = report.tenants.iter().filter(|row| row.runs.iter().any(|run| run.state == State::Running)).count();
    let limited: u64 = report.tenants.iter().flat_map(|row| &row.runs).map(|run| run.run.rate_limited).sum();
    let backfills = report.tenants.iter().filter(|row| row.streams.iter().any(StreamRow::fills_back)).count();
    html! {
        header.(grave) {
            "\n"
            p.about { "Tenants, " (time(&report.at)) } "\n"
            h1 { (line) } "\n"
            ul.counts {
                "\n"
                @for verdict in TenantVerdict::ALL {
                    li.(class(verdict)).none[of(verdict) == 0] { b { (of(verdict)) } " " (verdict.words()) } "\n"
                }
                li.plain { b { (running) } " running now" } "\n"
                li.plain { b { (backfills) } " filling back" } "\n"
                li.plain { b { (thousands(limited)) } " 429s in last runs" } "\n"
            }
            "\n"
        }
    }
}

fn name(row: &Row, report: &StatusReport) -> Markup {
    html! {
        (plain(&short(&row.tenant, 60)))
        @if !report.is_of_one_source() { " " small { (plain(&short(&row.source, 40))) } }
    }
}

/// The tenants with problems, one line each: name, problem, since when; with a link to the card.
fn index(sick: &[&Row], report: &StatusReport) -> Markup {
    let reason = |row: &Row| row.reasons.first().map(|reason| plain(&short(&reason.what, 120))).unwrap_or_default();
    let age = |row: &Row| {
        let seconds = since(row.reasons.first()?.since.as_deref()?, parse_iso(&report.at)?)?;
        Some(compact(seconds))
    };
    html! {
        ol.index {
            "\n"
            @for (number, row) in sick.iter().enumerate() {
                li.(class(row.verdict)) {
                    a href={ "#t" (number) } {
                        b { (name(row, report)) } " "
                        span { (reason(row)) } " "
                        small { (age(row).unwrap_or_default()) }
                    }
                }
                "\n"
            }
        }
    }
}

/// The card of a tenant with problems.
fn card(number: usize, row: &Row, report: &StatusReport) -> Markup {
    let class = class(row.verdict);
    html! {
        article.(class) #{ "t" (number) } {
            "\n"
            h2 { span.badge.(class) { (row.verdict.words()) } " " (name(row, report)) } "\n"
            @for reason in &row.reasons { (reason_of(reason, report)) "\n" }
            @if !row.notes.is_empty() {
                ul.notes { @for note in &row.notes { li { (plain(&capital(note))) } } } "\n"
            }
            (runs(row, report))
            (streams(row, report))
        }
    }
}

/// A reason: its cause once, since when and where, and what to do.
fn reason_of(reason: &Reason, report: &StatusReport) -> Markup {
    let (why, detail) = match &reason.detail {
        Some(detail) if reason.detail_is_whole => (detail, None),
        detail => (&reason.what, detail.as_ref()),
    };
    html! {
        section.reason {
            "\n"
            p.why { (plain(&capital(why))) } "\n"
            @if let Some(detail) = detail { p.detail { (plain(&capital(detail))) } "\n" }
            (since_where(reason, report))
            p.do { (plain(&capital(&reason.what_to_do))) } "\n"
            @for line in &reason.commands { (command(line)) "\n" }
        }
    }
}

/// Since when; in which tiers, if the text above does not name them; with which exit code.
fn since_where(reason: &Reason, report: &StatusReport) -> Markup {
    let since = reason.since.as_ref();
    let since = since.map(|since| html! { b { (ago_or_now(since, report)) } " " small { "since " (time(since)) } });
    let is_new = |tier: &&String| *tier != ALL && (reason.detail_is_whole || !reason.what.contains(&**tier));
    let tiers = reason.tiers.iter().filter(is_new).map(|tier| html! { small { (plain(tier)) } });
    let code = reason.exit_code.map(|code| html! { small { "exit " (code) } });
    let parts: Vec<Markup> = since.into_iter().chain(tiers).chain(code).collect();
    html! { @if !parts.is_empty() { p.since { (joined(parts, html! { small { " · " } })) } "\n" } }
}

fn ago_or_now(then: &str, report: &StatusReport) -> String {
    ago(then, &report.at).unwrap_or_else(|| "just now".to_owned())
}

/// The last runs of a tenant, one line each.
fn runs(row: &Row, report: &StatusReport) -> Markup {
    if row.runs.is_empty() {
        return Markup::default();
    }
    let mut runs: Vec<&RunRow> = row.runs.iter().collect();
    runs.sort_by_key(|run| std::cmp::Reverse(parse_iso(&run.run.began)));
    html! {
        ul.runs {
            "\n"
            @for run in runs {
                li {
                    div { (run_line(run, report)) }
                    (strip(&run.history.iter().map(|past| (&*run.tier, past)).collect::<Vec<_>>()))
                }
                "\n"
            }
        }
        "\n"
    }
}

/// The last runs as a strip of cells, the newest at the right; each with its tier.
fn strip(runs: &[(&str, &PastRunRow)]) -> Markup {
    let runs = &runs[runs.len().saturating_sub(CELLS)..];
    let label = format!("The last {}, the newest at the right", number(runs.len(), "run"));
    html! {
        @if !runs.is_empty() {
            span.strip role="group" aria-label=(label) {
                @for (tier, past) in runs {
                    @let text = cell_text(tier, past);
                    span.(mark(past.state, past.run.exit_code)) role="img" title=(text) aria-label=(text) {}
                }
            }
        }
    }
}

/// What a cell stands for.
fn cell_text(tier: &str, past: &PastRunRow) -> String {
    let ended = match (past.state, past.run.exit_code) {
        (State::Running, _) => "running".to_owned(),
        (State::Killed, _) => "killed".to_owned(),
        (State::Ended, Some(0)) => "done".to_owned(),
        (State::Ended, Some(code)) => format!("exit {code}"),
        (State::Ended, None) => "ended".to_owned(),
    };
    let mut text = format!("{} {}, {}: {ended}", plain(&past.run.verb), plain(tier), minute(&past.run.began));
    if past.state == State::Ended {
        let took = past.run.ended.as_deref().and_then(parse_iso).and_then(|ended| since(&past.run.began, ended));
        text += &took.map(|took| format!(", took {}", span(took))).unwrap_or_default();
        text += &format!(", {}", number_of(past.run.records, "record"));
    }
    text.trim_start().to_owned()
}

/// The colour of a run, as a CSS class.
fn mark(state: State, code: Option<u8>) -> &'static str {
    match (state, code) {
        (State::Running, _) => "running",
        (State::Killed, _) => "bad",
        (State::Ended, Some(0)) => "good",
        // Saved, and the next run continues.
        (State::Ended, Some(75 | 76 | 129..)) => "saved",
        (State::Ended, _) => "bad",
    }
}

fn run_line(run: &RunRow, report: &StatusReport) -> Markup {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let took = run.seconds.map(|seconds| span(seconds.max(0.0) as u64));
    let ended = match (run.state, run.run.exit_code) {
        (State::Running, _) => format!("running for {}", took.clone().unwrap_or_default()),
        (State::Killed, _) => "killed".to_owned(),
        (State::Ended, Some(0)) => "done".to_owned(),
        (State::Ended, Some(75)) => "saved, not finished (75)".to_owned(),
        (State::Ended, Some(code)) if run.superseded => format!("exit {code}, read since"),
        (State::Ended, Some(code)) => format!("exit {code}"),
        (State::Ended, None) => "ended".to_owned(),
    };
    let mark = if run.superseded { "good" } else { mark(run.state, run.run.exit_code) };
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
    html! {
        b { (plain(&run.tier)) } " " (ago_or_now(&run.run.began, report)) ": " span.(mark) { (ended) }
        @if !more.is_empty() { " " small { (more.join(" · ")) } }
        @if let Some(log) = &run.run.log { br; small { "log " code { (plain(log)) } } }
    }
}

/// The streams of a tenant with problems: first those with problems, then the others, collapsed.
fn streams(row: &Row, report: &StatusReport) -> Markup {
    let table = |groups: &[Vec<&StreamRow>]| {
        html! {
            table.streams {
                "\n"
                tbody { "\n" @for group in groups { (stream_line(row, group, report)) } } "\n"
            }
            "\n"
        }
    };
    let sick = row.sick_streams();
    let each = |of: fn(&StreamRow) -> bool| row.streams.iter().filter(move |stream| of(stream));
    let well = each(StreamRow::is_well).count();
    let mut parts: Vec<String> = row
        .unread_streams()
        .iter()
        .map(|(words, names)| format!("{}: {words}", number(names.len(), "stream")))
        .collect();
    if well > 0 {
        let what = if sick.is_empty() && parts.is_empty() { "stream" } else { "other stream" };
        parts.push(format!("{}: well", number(well, what)));
    }
    let others: Vec<Vec<&StreamRow>> =
        each(StreamRow::is_unread).chain(each(StreamRow::is_well)).map(|stream| vec![stream]).collect();
    html! {
        @if !sick.is_empty() { (table(&sick)) }
        @if !others.is_empty() {
            details { summary { (parts.join(", ")) } "\n" (table(&others)) } "\n"
        }
    }
}

fn stream_line(row: &Row, group: &[&StreamRow], report: &StatusReport) -> Markup {
    let Some(stream) = group.first() else { return Markup::default() };
    html! {
        tr {
            th scope="row" {
                (joined(group.iter().map(|stream| plain(&short(&stream.stream, 60))), ", "))
                @if let Some(tier) = &stream.tier { " " small { (plain(tier)) } }
            }
            td { (age(stream)) }
            td { (joined(details(row, stream, report), html! { br; })) }
        }
        "\n"
    }
}

/// The problem of a stream, unless a reason above has it, and its progress.
fn details(row: &Row, stream: &StreamRow, report: &StatusReport) -> Vec<Markup> {
    let mut details = Vec::new();
    if stream.fault.is_some() {
        let since = stream.failing_since.as_deref().and_then(|since| ago(since, &report.at));
        details.push(html! {
            span.bad { (plain(&short(row.own_fault(stream).unwrap_or("failed"), 240))) }
            @if let Some(since) = since { " " small { (since) } }
        });
    }
    if let Some(at) = &stream.bookmark {
        details.push(html! { "bookmark " code { (plain(&short(at, 40))) } });
    }
    details.extend(bar(stream));
    details
}

/// The age of data, relative to the maximum age.
fn age(stream: &StreamRow) -> Markup {
    let mark = if stream.late { "bad" } else { "fresh" };
    html! {
        @match (stream.age_seconds, stream.due_every_seconds) {
            (None, _) => small { (stream.unread()) }
            (Some(age), None) => span.fresh { (compact(age)) }
            (Some(age), Some(due)) => { span.(mark) { (compact(age)) } " " small.more { "of " (compact(due)) } }
        }
    }
}

/// The progress bar of a backfill.
fn bar(stream: &StreamRow) -> Option<Markup> {
    let text = plain(&backfill(stream)?);
    let of = stream.backfill.as_ref()?;
    // While not all slices are known, the progress is unknown.
    let is_known = of.ended.is_none() && of.listed;
    let done = of.done.saturating_mul(1000).checked_div(of.of).unwrap_or(0).min(1000);
    Some(html! {
        (text)
        @if is_known {
            svg.bar viewBox="0 0 1000 6" preserveAspectRatio="none" aria-hidden="true" {
                rect.track width="1000" height="6" {}
                rect.done width=(done) height="6" {}
            }
        }
    })
}

/// Healthy tenants, one line each.
fn healthy(report: &StatusReport) -> Markup {
    let rows: Vec<&Row> = report.tenants.iter().filter(|row| row.verdict == TenantVerdict::Ok).collect();
    if rows.is_empty() {
        return Markup::default();
    }
    html! {
        h2 { "Well " small { (rows.len()) } } "\n"
        table.well {
            "\n"
            thead {
                tr {
                    th scope="col" { "Tenant" }
                    th scope="col" { "Age" }
                    th scope="col" { "Last run" }
                    th scope="col" { "Runs" }
                    th.more scope="col" { "Records" }
                    th scope="col" { "Cap" }
                    th.more scope="col" { "429s" }
                    th.more scope="col" { "Drift" }
                }
            }
            "\n"
            tbody { "\n" @for row in rows { (healthy_row(row, report)) } } "\n"
        }
        "\n"
    }
}

fn healthy_row(row: &Row, report: &StatusReport) -> Markup {
    let cap = row.runs.iter().filter_map(|run| run.run.cap_use).max_by(f64::total_cmp);
    let records: u64 = row.runs.iter().map(|run| run.run.records).sum();
    let limited: u64 = row.runs.iter().map(|run| run.run.rate_limited).sum();
    let minor = row.drift.warn + row.drift.info;
    let runs = row.runs.iter().flat_map(|run| run.history.iter().map(|past| (&*run.tier, past)));
    let mut all: Vec<(&str, &PastRunRow)> = runs.collect();
    all.sort_by_key(|(_, past)| parse_iso(&past.run.began));
    let backfills = row.streams.iter().filter(|stream| stream.fills_back());
    let backfills = backfills.filter_map(|stream| Some(html! { (plain(&stream.stream)) ": " (bar(stream)?) }));
    let below: Vec<Markup> = row.notes.iter().map(|note| html! { (plain(note)) }).chain(backfills).collect();
    html! {
        tr {
            th scope="row" { (name(row, report)) }
            td { @match row.oldest() { Some(stream) => (age(stream)), None => small { "never" } } }
            td { @match row.worst_run() { Some(run) => (last_run(run, report)), None => small { "never" } } }
            td { (strip(&all)) }
            td.more { (thousands(records)) }
            td { @if let Some(share) = cap { (format!("{:.0} %", share * 100.0)) } }
            td.more { @if limited > 0 { (thousands(limited)) } }
            td.more { @if minor > 0 { (minor) " minor" } }
        }
        "\n"
        @for line in below { tr.below { td colspan="8" { (line) } } "\n" }
    }
}

fn last_run(run: &RunRow, report: &StatusReport) -> Markup {
    let seconds = parse_iso(&report.at).and_then(|now| since(&run.run.began, now)).unwrap_or(0);
    html! {
        (compact(seconds)) " " small.more { (plain(&run.tier)) }
        @match (run.state, run.run.exit_code) {
            (State::Running, _) => { " " span.running { "running" } }
            (_, Some(0) | None) => {}
            (_, Some(code)) => { " " span.saved { "exit " (code) } }
        }
    }
}
