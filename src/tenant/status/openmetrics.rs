//! The status of tenants as metrics: the four golden signals of each.
//!
//! Input: a [`StatusReport`]. Output: OpenMetrics text, which node_exporter's textfile collector reads too. Latency
//! is the duration of runs and the age of data relative to its schedule; traffic is requests, records and bytes;
//! errors are exit codes and refusals; saturation is the share of the cap, and the time waited for it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Row, RunRow, State, StatusReport, TenantVerdict};
use crate::base::timefmt::parse_iso;

/// A metric with its values.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    values: Vec<(String, f64)>,
}

/// The report as metrics.
pub fn write(report: &StatusReport) -> String {
    let mut out = String::new();
    for family in families(report).iter().filter(|family| !family.values.is_empty()) {
        let Family { name, kind, help, .. } = family;
        let _ = writeln!(out, "# TYPE {name} {kind}\n# HELP {name} {help}");
        let total = if *kind == "counter" { "_total" } else { "" };
        // Label sets that are equal after escaping would duplicate a series, which makes the whole text invalid.
        let mut written = BTreeSet::new();
        for (labels, value) in family.values.iter().filter(|(labels, _)| written.insert(labels)) {
            let _ = writeln!(out, "{name}{total}{labels} {value}");
        }
    }
    out + "# EOF\n"
}

/// Name, type and help of each metric, for the docs.
pub fn names() -> Vec<(String, &'static str, &'static str)> {
    let empty = StatusReport { v: 1, at: String::new(), tenants: Vec::new() };
    let total = |kind| if kind == "counter" { "_total" } else { "" };
    families(&empty).iter().map(|f| (format!("{}{}", f.name, total(f.kind)), f.kind, f.help)).collect()
}

fn families(report: &StatusReport) -> Vec<Family> {
    let rows = &report.tenants;
    let now = vec![(String::new(), seconds(Some(&report.at)).unwrap_or(0.0))];
    let at = Family {
        name: "dripfeed_status_timestamp_seconds",
        kind: "gauge",
        help: "When these metrics were written.",
        values: now,
    };
    [of_tenants(rows), of_runs(rows), of_streams(rows)].into_iter().flatten().chain([at]).collect()
}

#[allow(clippy::cast_precision_loss)]
fn float(n: u64) -> f64 {
    n as f64
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn seconds(time: Option<&str>) -> Option<f64> {
    #[allow(clippy::cast_precision_loss)]
    parse_iso(time?).map(|time| time.unix_timestamp() as f64)
}

/// `{source="asana",tenant="acme"}`; values are escaped.
fn labels(row: &Row, more: &[(&str, &str)]) -> String {
    let escaped = |text: &str| text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n").replace('\r', " ");
    let all = [("source", &*row.source), ("tenant", &*row.tenant)];
    let state_dir = row.state_dir.as_deref().map(|state_dir| ("state_dir", state_dir));
    let all = all.into_iter().chain(state_dir).chain(more.iter().copied());
    let all: Vec<String> = all.map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", all.join(","))
}

fn of_tenants(rows: &[Row]) -> Vec<Family> {
    let each = |name, kind, help, of: &dyn Fn(&Row) -> f64| Family {
        name,
        kind,
        help,
        values: rows.iter().map(|row| (labels(row, &[]), of(row))).collect(),
    };
    let verdict = |row: &Row| match row.verdict {
        TenantVerdict::Ok => 0.0,
        TenantVerdict::Late => 1.0,
        TenantVerdict::Failing => 2.0,
        TenantVerdict::NeedsPerson => 3.0,
    };
    let by_exit = rows.iter().flat_map(|row| {
        let each = row.totals.by_exit.iter();
        each.map(|(code, count)| (labels(row, &[("exit_code", code)]), float(*count)))
    });
    let drift = rows.iter().flat_map(|row| {
        let of = &row.drift;
        let each = [("extraction", of.extraction), ("break", of.breaking), ("warn", of.warn), ("info", of.info)];
        each.map(|(severity, count)| (labels(row, &[("severity", severity)]), float(count)))
    });
    vec![
        each(
            "dripfeed_tenant_verdict",
            "gauge",
            "Verdict on a tenant: 0 ok, 1 late, 2 failing, 3 needs a person.",
            &verdict,
        ),
        Family {
            name: "dripfeed_runs",
            kind: "counter",
            help: "Runs that ended, by exit code.",
            values: by_exit.collect(),
        },
        each("dripfeed_calls", "counter", "Calls of the vendor's API.", &|row| float(row.totals.calls)),
        each("dripfeed_retried_calls", "counter", "Retried calls.", &|row| float(row.totals.retried)),
        each("dripfeed_rate_limited", "counter", "Rate-limited responses (HTTP 429 and its equivalents).", &|row| {
            float(row.totals.rate_limited)
        }),
        each("dripfeed_records", "counter", "Records sent.", &|row| float(row.totals.records)),
        each("dripfeed_received_bytes", "counter", "Bytes of responses.", &|row| float(row.totals.bytes)),
        each("dripfeed_running_seconds", "counter", "Total duration of the runs, in seconds.", &|row| {
            row.totals.seconds
        }),
        Family {
            name: "dripfeed_drift_open",
            kind: "gauge",
            help: "Changes of the vendor's data without a decision.",
            values: drift.collect(),
        },
        each("dripfeed_quarantine_bytes", "gauge", "Quarantined records, in bytes.", &|row| {
            float(row.quarantine_bytes)
        }),
        each("dripfeed_alerts_undelivered", "gauge", "Alerts that no webhook has accepted yet.", &|row| {
            float(row.alerts_undelivered)
        }),
    ]
}

fn of_runs(rows: &[Row]) -> Vec<Family> {
    let each = |name, help, of: &dyn Fn(&RunRow) -> Option<f64>| Family {
        name,
        kind: "gauge",
        help,
        values: rows
            .iter()
            .flat_map(|row| row.runs.iter().map(move |run| (row, run)))
            .filter_map(|(row, run)| Some((labels(row, &[("tier", &run.tier)]), of(run)?)))
            .collect(),
    };
    let ended = |run: &RunRow| run.state == State::Ended;
    vec![
        each("dripfeed_run_duration_seconds", "Duration of the last run, so far if it is running.", &|run| run.seconds),
        each("dripfeed_run_exit_code", "Exit code of the last run.", &|run| {
            Some(f64::from(run.run.exit_code.filter(|_| ended(run))?))
        }),
        each("dripfeed_run_running", "Is a run in progress?", &|run| Some(flag(run.state == State::Running))),
        each("dripfeed_run_killed", "Did the last run stop without recording its end?", &|run| {
            Some(flag(run.state == State::Killed))
        }),
        each("dripfeed_run_began_timestamp_seconds", "Start of the last run.", &|run| seconds(Some(&run.run.began))),
        each("dripfeed_run_last_good_timestamp_seconds", "Start of the last run with exit code 0.", &|run| {
            seconds(run.run.last_good.as_deref())
        }),
        each("dripfeed_run_calls", "Calls of the last run.", &|run| Some(float(run.run.calls))),
        each("dripfeed_run_records", "Records of the last run.", &|run| Some(float(run.run.records))),
        each("dripfeed_run_rate_limited", "Rate-limited responses in the last run.", &|run| {
            Some(float(run.run.rate_limited))
        }),
        each("dripfeed_run_cap_use_ratio", "The share of the account's cap that the last run used.", &|run| {
            run.run.cap_use
        }),
        each(
            "dripfeed_run_paced_seconds",
            "Seconds that calls of the last run waited for the pace, summed over all threads.",
            &|run| Some(run.run.paced_seconds),
        ),
        each("dripfeed_run_unfinished_in_a_row", "Consecutive runs that did not finish (exit code 75).", &|run| {
            Some(float(run.run.unfinished_in_a_row))
        }),
    ]
}

fn of_streams(rows: &[Row]) -> Vec<Family> {
    let each = |name, help, of: &dyn Fn(&super::StreamRow) -> Option<f64>| Family {
        name,
        kind: "gauge",
        help,
        values: rows
            .iter()
            .flat_map(|row| row.streams.iter().map(move |stream| (row, stream)))
            .filter_map(|(row, stream)| {
                let tier = stream.tier.as_deref().unwrap_or_default();
                Some((labels(row, &[("stream", &stream.stream), ("tier", tier)]), of(stream)?))
            })
            .collect(),
    };
    vec![
        each("dripfeed_stream_freshness_seconds", "Age of a stream's data, in seconds.", &|stream| {
            Some(float(stream.age_seconds?))
        }),
        each(
            "dripfeed_stream_freshness_objective_seconds",
            "The longest time between two runs of its tier.",
            &|stream| Some(float(stream.due_every_seconds?)),
        ),
        each("dripfeed_stream_late", "Is its data older than that, plus a tolerance?", &|stream| {
            stream.due_every_seconds.map(|_| flag(stream.late))
        }),
        each("dripfeed_stream_failing", "Did the last run fail to read it to its end?", &|stream| {
            Some(flag(stream.fault.is_some()))
        }),
        each("dripfeed_backfill_slices_done", "Slices of its backfill that were read.", &|stream| {
            Some(float(stream.backfill.as_ref()?.done))
        }),
        each("dripfeed_backfill_slices_known", "Slices of its backfill that are known.", &|stream| {
            Some(float(stream.backfill.as_ref()?.of))
        }),
    ]
}
