//! The status of tenants for a terminal: one line each, worst first, followed by the reasons and what to do.
//!
//! Input: a [`StatusReport`], and the properties of the terminal. Output: text. It fits 80 columns, and uses more if
//! available.

use std::collections::BTreeSet;

use super::{Row, RunRow, State, StatusReport, StreamRow, TenantVerdict, since};
use crate::base::display::terminal::{Look, Style};
use crate::base::display::{ago, minute, number, number_of, plain, short, thousands};
use crate::base::timefmt::parse_iso;

/// The width of the columns other than the tenant's name.
const REST: usize = 62;
/// The maximum number of streams listed per tenant.
const STREAMS: usize = 10;

/// The report as a table.
pub fn write(report: &StatusReport, look: Look) -> String {
    let all = report.tenants.len();
    let head = format!(
        "{}: {}",
        number(all, "tenant"),
        if all == 0 { "nothing to report".to_owned() } else { report.counts() }
    );
    let at = format!("as of {}", minute(&report.at));
    let mut out = format!("{}  {}\n", look.paint(Style::Strong, &head), look.paint(Style::Faint, &at));
    if all == 0 {
        return out;
    }
    let named: Vec<String> = report.tenants.iter().map(|row| name(row, report.is_of_one_source())).collect();
    let longest = named.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("TENANT".len());
    let width = look.width.map_or(longest, |width| longest.min(width.saturating_sub(REST).max(12)));
    let titles =
        ["TENANT", "STATUS", "DATA AGE", "EVERY", "RAN AGO", "EXIT", "CAP", "429S", "DRIFT"].map(str::to_owned);
    out += &format!("\n{}\n", look.paint(Style::Faint, &line(&titles, width)));
    for (row, name) in report.tenants.iter().zip(&named) {
        let mut cells = cells(row, report);
        cells[0] = short(name, width);
        let text = line(&cells, width);
        let style = style(row.verdict);
        // Only the status is coloured.
        let at = text.char_indices().nth(width + 2).map_or(text.len(), |(at, _)| at);
        let end = at + cells[1].len();
        out += &format!("{}{}{}\n", &text[..at], look.paint(style, &cells[1]), text.get(end..).unwrap_or_default());
        out += &match row.verdict {
            TenantVerdict::Ok => notes(row, look),
            _ => block(row, report, look),
        };
    }
    out
}

fn name(row: &Row, alone: bool) -> String {
    if alone { plain(&row.tenant) } else { format!("{} ({})", plain(&row.tenant), plain(&row.source)) }
}

fn style(verdict: TenantVerdict) -> Style {
    match verdict {
        TenantVerdict::NeedsPerson => Style::Worst,
        TenantVerdict::Failing => Style::Bad,
        TenantVerdict::Late => Style::Warning,
        TenantVerdict::Ok => Style::Calm,
    }
}

fn line(cells: &[String; 9], width: usize) -> String {
    let [tenant, status, age, every, ran, exit, cap, limited, drift] = cells;
    let pad = width.saturating_sub(tenant.chars().count());
    let line = format!(
        "{tenant}{:pad$}  {status:<7}  {age:>8}  {every:>5}  {ran:>7}  {exit:>4}  {cap:>4}  {limited:>4}  {drift}",
        ""
    );
    line.trim_end().to_owned()
}

/// The cells of a tenant's line.
fn cells(row: &Row, report: &StatusReport) -> [String; 9] {
    let status = match row.verdict {
        TenantVerdict::NeedsPerson => "person",
        other => other.words(),
    };
    let (oldest, last) = (row.oldest(), row.worst_run());
    let ran = last.and_then(|run| since(&run.run.began, parse_iso(&report.at)?)).map(compact);
    let exit = last.map(|run| match (run.state, run.run.exit_code) {
        (State::Running, _) => "runs".to_owned(),
        (State::Killed, _) => "kill".to_owned(),
        (State::Ended, code) => code.map_or_else(String::new, |code| code.to_string()),
    });
    let cap = row.runs.iter().filter_map(|run| run.run.cap_use).max_by(f64::total_cmp);
    let limited: u64 = row.runs.iter().map(|run| run.run.rate_limited).sum();
    let minor = row.drift.warn + row.drift.info;
    let drift = match (row.drift.grave(), minor) {
        (0, 0) => String::new(),
        (0, minor) => format!("{minor} minor"),
        (grave, _) => format!("{grave} grave"),
    };
    [
        String::new(),
        status.to_owned(),
        oldest.and_then(|stream| stream.age_seconds).map_or_else(|| "-".to_owned(), compact),
        oldest.and_then(|stream| stream.due_every_seconds).map_or_else(|| "-".to_owned(), compact),
        ran.unwrap_or_else(|| "never".to_owned()),
        exit.unwrap_or_else(|| "-".to_owned()),
        cap.map_or_else(|| "-".to_owned(), |share| format!("{:.0}%", share * 100.0)),
        limited.to_string(),
        drift,
    ]
}

/// A duration in few characters: `3h14m`, `2d`.
pub(super) fn compact(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 if seconds % 3_600 / 60 == 0 => format!("{}h", seconds / 3_600),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ if seconds % 86_400 / 3_600 == 0 || seconds > 99 * 86_400 => format!("{}d", seconds / 86_400),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Why a tenant is not ok, what to do, and its streams.
fn block(row: &Row, report: &StatusReport, look: Look) -> String {
    let mut out = String::new();
    for (number, reason) in row.reasons.iter().enumerate() {
        out += &look.item(if number == 0 { "why" } else { "and" }, &plain(&reason.what));
        if let Some(detail) = &reason.detail {
            out += &look.item("says", &plain(detail));
        }
        if let Some(since) = &reason.since {
            let ago = ago(since, &report.at).map(|ago| format!(", {ago}")).unwrap_or_default();
            out += &look.item("since", &format!("{}{ago}", minute(since)));
        }
        out += &look.item("do", &plain(&reason.what_to_do));
        for command in &reason.commands {
            out += &look.command("type", &plain(command));
        }
    }
    out + &logs(row, look) + &notes(row, look) + &streams(row, look) + "\n"
}

/// The log files of the runs that the reasons are about, each once.
fn logs(row: &Row, look: Look) -> String {
    let is_named = |run: &&RunRow| row.reasons.iter().any(|reason| reason.tiers.contains(&run.tier));
    let logs: BTreeSet<&str> = row.runs.iter().filter(is_named).filter_map(|run| run.run.log.as_deref()).collect();
    logs.into_iter().map(|log| look.item("log", &plain(log))).collect()
}

/// The streams: those with problems, those that were never read, and the number of the others.
fn streams(row: &Row, look: Look) -> String {
    let mut out = String::new();
    let groups = row.sick_streams();
    for (number, group) in groups.iter().take(STREAMS).enumerate() {
        out += &look.item(if number == 0 { "streams" } else { "" }, &stream_line(row, group));
    }
    if groups.len() > STREAMS {
        out += &look.item("", &format!("and {} more", groups.len() - STREAMS));
    }
    let mut is_first = groups.is_empty();
    for (words, names) in row.unread_streams() {
        let shown: Vec<String> = names.iter().take(STREAMS).map(|name| short(&plain(name), 40)).collect();
        let more = names.len().saturating_sub(STREAMS);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        out += &look.item(if is_first { "streams" } else { "" }, &format!("{}{more}: {words}", shown.join(", ")));
        is_first = false;
    }
    let well = row.streams.iter().filter(|stream| stream.is_well()).count();
    if well > 0 {
        let (label, what) = if is_first { ("streams", "stream") } else { ("", "other stream") };
        out += &look.item(label, &format!("{}: well", number(well, what)));
    }
    out
}

/// Notes, and the progress of backfills.
fn notes(row: &Row, look: Look) -> String {
    let notes = row.notes.iter().map(|note| plain(note));
    let filling = row.streams.iter().filter(|stream| stream.fills_back());
    let filling = filling.filter_map(|stream| Some(format!("{}: {}", plain(&stream.stream), backfill(stream)?)));
    notes.chain(filling).map(|note| look.item("also", &note)).collect()
}

fn stream_line(row: &Row, group: &[&StreamRow]) -> String {
    let Some(stream) = group.first() else { return String::new() };
    let mut parts = vec![match (stream.age_seconds, stream.due_every_seconds) {
        (None, _) => stream.unread().to_owned(),
        (Some(age), None) => format!("{} old", compact(age)),
        (Some(age), Some(due)) => format!("{} old, due every {}", compact(age), compact(due)),
    }];
    if stream.late {
        parts.push("LATE".to_owned());
    }
    parts.extend(stream.bookmark.as_deref().map(|bookmark| format!("bookmark {}", short(&plain(bookmark), 40))));
    if stream.fault.is_some() {
        parts.push(short(&plain(row.own_fault(stream).unwrap_or("failed")), 200));
    }
    let names: Vec<String> = group.iter().map(|stream| short(&plain(&stream.stream), 40)).collect();
    format!("{}: {}", names.join(", "), parts.join("; "))
}

/// The progress of a stream's backfill.
pub(super) fn backfill(stream: &StreamRow) -> Option<String> {
    let of = stream.backfill.as_ref()?;
    let (from, to) = (day(&of.from), day(&of.to));
    Some(if of.ended.is_some() {
        format!("backfill {from} to {to} done")
    } else if of.of == 0 {
        format!("backfill {from} to {to} started")
    } else {
        let more = if of.listed { "" } else { ", more to come" };
        format!("backfill {from} to {to}: {} of {}{more}", thousands(of.done), number_of(of.of, "slice"))
    })
}

fn day(time: &str) -> String {
    let day: String = plain(time).chars().take(10).collect();
    day
}
