//! How often a run writes its state: a Singer STATE is the whole document, and must not outgrow the records.

use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::Vendor;

/// One record for each request, of about half a KB.
fn vendor() -> Vendor {
    Vendor::answering(|asked| {
        let since = asked.param("since").unwrap_or_default();
        let record = json!({"id": 1, "at": since, "name": "x".repeat(450)});
        json!({"status": 200, "json": {"data": [record]}})
    })
}

/// A stream with a cursor; `step` cuts the past into windows.
fn manifest(streams: usize, step: Option<&str>) -> Json {
    let option = |name| json!({"type": "RequestOption", "inject_into": "request_parameter", "field_name": name});
    let cursor = json!({
        "type": "DatetimeBasedCursor", "cursor_field": "at", "datetime_format": "%Y-%m-%dT%H:%M:%SZ",
        "start_datetime": "2024-01-01T00:00:00Z",
        "start_time_option": option("since"), "end_time_option": option("until"),
        "step": step, "cursor_granularity": step.map(|_| "PT1S"),
    });
    let schema = json!({"id": {"type": "integer"}, "at": {"type": "string"}, "name": {"type": "string"}});
    let mut manifest: Json =
        serde_json::from_str(&items(&schema, &json!({"incremental_sync": cursor}), &json!({}))).unwrap();
    let stream = manifest["streams"][0].take();
    let named = |number: usize| {
        let mut stream = stream.clone();
        stream["name"] = json!(if number == 0 { "items".to_owned() } else { format!("items{number}") });
        stream
    };
    manifest["streams"] = (0..streams).map(named).collect();
    manifest
}

fn read(manifest: &Json, state: &Json) -> Ran {
    let vendor = vendor();
    let tap = Tap::new("read").source(&manifest.to_string()).config(&json!({"url": vendor.url}));
    let ran = tap.state(state).env("DRIPFEED_NOW", "2024-04-10T00:00:00Z").run();
    ran.expect(0, &[]);
    ran
}

/// The bytes of lines of a type.
fn bytes(ran: &Ran, kind: &str) -> usize {
    let start = format!("{{\"type\":\"{kind}\"");
    ran.out.lines().filter(|line| line.starts_with(&start)).map(str::len).sum()
}

#[test]
fn many_streams_write_no_more_states_than_records() {
    let ran = read(&manifest(150, None), &json!({}));
    assert_eq!(ran.state()["bookmarks"].as_object().unwrap().len(), 150);
    let (states, records) = (bytes(&ran, "STATE"), bytes(&ran, "RECORD"));
    let last = ran.out.lines().last().unwrap().len();
    assert!(states < records + 3 * last, "{states} bytes of STATE beside {records} bytes of records");
}

#[test]
fn windows_do_not_repeat_the_bookmark_of_another_stream() {
    let partition = |n: usize| json!({"partition": {"id": n}, "cursor": {"at": "2024-01-01T00:00:00Z"}});
    let other = json!({"states": (0..2_000).map(partition).collect::<Vec<Json>>()});
    let ran = read(&manifest(1, Some("P1D")), &json!({"bookmarks": {"other": other}}));
    assert_eq!(ran.records("items").len(), 100);
    assert_eq!(ran.state()["bookmarks"]["other"], other);
    assert!(ran.state()["bookmarks"]["items"]["at"].is_string(), "{}", ran.state()["bookmarks"]["items"]);
    let states = ran.out.lines().filter(|line| line.starts_with("{\"type\":\"STATE\"")).count();
    assert!(states <= 3, "{states} STATE lines of {} bytes each", other.to_string().len());
}

#[test]
fn a_short_state_follows_each_window() {
    let ran = read(&manifest(1, Some("P1D")), &json!({}));
    let states = ran.out.lines().filter(|line| line.starts_with("{\"type\":\"STATE\"")).count();
    assert!(states > 90, "{states} STATE lines of 100 windows");
}
