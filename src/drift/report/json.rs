//! The report for programs.
//!
//! Input: a [`Report`]. Output: one JSON object. `v` stays 1 as long as the meaning of no key changes.

use serde_json::{Value as Json, json};

use super::{Change, Report, SEVERITIES};
use crate::base::fault::{Fault, Result};

/// The report as JSON.
pub fn value(report: &Report) -> Result<Json> {
    let findings = report.changes.iter().map(|change| finding(change, report)).collect::<Result<Vec<_>>>()?;
    let decisions = report.judged.iter().map(|judged| {
        let mut decision = encoded(&judged.decision)?;
        decision["tenant"] = json!(judged.tenant);
        decision["stream"] = json!(judged.stream);
        Ok(decision)
    });
    let added = report.added.iter().map(|added| {
        json!({
            "stream": added.stream, "pointer": added.pointer, "schema": added.addition.schema,
            "how": added.addition.how, "since": added.addition.since, "tenants": added.tenants,
        })
    });
    let mut whole = summary(report);
    whole["findings"] = Json::Array(findings);
    whole["decisions"] = Json::Array(decisions.collect::<Result<Vec<_>>>()?);
    whole["added"] = added.collect();
    Ok(whole)
}

/// Only the summary: the number of changes of each severity.
pub fn summary(report: &Report) -> Json {
    let counts = SEVERITIES.map(|severity| (severity.name().to_owned(), json!(report.count(severity))));
    json!({
        "v": 1, "source": report.source, "at": report.at, "tenants": report.tenants,
        "open": counts.into_iter().collect::<serde_json::Map<_, _>>(),
    })
}

fn finding(change: &Change, report: &Report) -> Result<Json> {
    let mut json = encoded(&change.finding)?;
    json["number"] = json!(change.finding.rule.number());
    json["what"] = json!(change.finding.rule.what());
    json["scope"] = json!(change.scope);
    json["tenants"] = json!(change.tenants());
    json["of_tenants"] = json!(report.of);
    let of_tenant = change.by_tenant.iter().map(|f| {
        json!({
            "tenant": f.tenant, "count": f.count, "of": f.of,
            "last_count": f.last_count, "last_of": f.last_of, "quarantined": f.quarantined,
            "first_seen": f.first_seen, "last_seen": f.last_seen, "policy": f.policy,
        })
    });
    json["by_tenant"] = of_tenant.collect();
    json["before"] = json!(change.before);
    json["downstream"] = json!(change.downstream());
    match change.next(&report.arguments) {
        Ok(accept) => json["accept"] = json!(accept),
        Err(remedy) => json["remedy"] = json!(remedy),
    }
    Ok(json)
}

fn encoded(value: &impl serde::Serialize) -> Result<Json> {
    serde_json::to_value(value).map_err(|e| Fault::bug(e.to_string()))
}
