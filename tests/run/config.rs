//! What a run makes of its config: dates in every form, and keys that only the manifest knows.

use serde_json::{Value as Json, json};

use crate::support::tap::{Tap, items};
use crate::support::vendor::Vendor;

/// The start that the vendor is asked for, with a config's `start_date`, a format, and perhaps a pattern in the spec.
fn asked(start_date: &str, format: &str, pattern: Option<&str>) -> String {
    let vendor =
        Vendor::start(&json!({"routes": [{"path": "/items", "replies": [{"status": 200, "json": {"data": []}}]}]}));
    let cursor = json!({
        "type": "DatetimeBasedCursor", "cursor_field": "at", "datetime_format": format,
        "start_datetime": "{{ config['start_date'] }}",
        "start_time_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "since"},
    });
    let schema = json!({"id": {"type": "string"}, "at": {"type": "string"}});
    let mut manifest: Json =
        serde_json::from_str(&items(&schema, &json!({"incremental_sync": cursor}), &json!({}))).unwrap();
    let mut date = json!({"type": "string", "format": "date-time"});
    if let Some(pattern) = pattern {
        date["pattern"] = json!(pattern);
    }
    manifest["spec"] = json!({"type": "Spec", "connection_specification": {
        "type": "object", "properties": {"url": {"type": "string"}, "start_date": date}}});
    let ran = Tap::new("read")
        .source(&manifest.to_string())
        .config(&json!({"url": vendor.url, "start_date": start_date}))
        .env("DRIPFEED_NOW", "2024-03-10T00:00:00Z")
        .run();
    ran.expect(0, &[]);
    vendor.asked()[0].query.clone()
}

#[test]
fn a_start_date_may_be_more_or_less_precise_than_the_format() {
    let (seconds, date) = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d");
    let pattern = Some(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$");
    for pattern in [pattern, None] {
        for start in ["2024-01-02", "2024-01-02T00:00Z", "2024-01-02T00:00:00.000Z", "2024-01-02T01:00:00+01:00"] {
            assert_eq!(asked(start, seconds, pattern), "since=2024-01-02T00%3A00%3A00Z", "{start} {pattern:?}");
        }
    }
    assert_eq!(asked("2024-01-02T03:04:05Z", date, None), "since=2024-01-02");
    assert_eq!(asked("2024-01-02T03:04:05Z", date, Some(r"^\d{4}-\d\d-\d\d$")), "since=2024-01-02");
    assert_eq!(asked("2024-01-02", "%s", None), "since=1704153600");
}

#[test]
fn a_run_says_where_a_key_is_used_that_neither_spec_nor_config_has() {
    let vendor =
        Vendor::start(&json!({"routes": [{"path": "/items", "replies": [{"status": 200, "json": {"data": []}}]}]}));
    let parameters = json!({"requester": {"request_parameters": {"mail": "{{ config['emial'] }}"}}});
    let mut manifest: Json =
        serde_json::from_str(&items(&json!({"id": {"type": "string"}}), &json!({}), &parameters)).unwrap();
    manifest["spec"] = json!({"type": "Spec", "connection_specification": {
        "type": "object", "properties": {"url": {"type": "string"}, "email": {"type": "string"}}}});
    let ran = |config: Json| Tap::new("read").source(&manifest.to_string()).config(&config).run();
    ran(json!({"url": vendor.url, "email": "a@example.com"})).expect(
        0,
        &[
            "manifest.yaml:1 at `streams[0].retriever.requester.request_parameters.mail`: the template reads \
             `config['emial']`, which the spec does not declare, and the config does not have it",
            "did you mean `email`?",
        ],
    );
    let given = ran(json!({"url": vendor.url, "emial": "a@example.com"}));
    assert!(!given.expect(0, &[]).err.contains("emial"), "{}", given.err);
}
