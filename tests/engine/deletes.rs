//! Deletes: tombstones in both protocols.

use serde_json::{Value as Json, json};

use crate::support::tap::{Tap, items};
use crate::support::vendor::Vendor;

/// An incremental stream over `/items`, with these settings of its deletes in the manifest, and more in its retriever.
fn manifest(deletes: &Json, retriever: &Json) -> String {
    let cursor = json!({
        "type": "DatetimeBasedCursor", "cursor_field": "at", "datetime_format": "%Y-%m-%dT%H:%M:%SZ",
        "start_datetime": "2024-01-01T00:00:00Z",
        "start_time_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "since"},
    });
    let schema = json!({"id": {"type": "string"}, "at": {"type": "string"}, "name": {"type": "string"}});
    let mut manifest: Json =
        serde_json::from_str(&items(&schema, &json!({"incremental_sync": cursor}), retriever)).unwrap();
    manifest["metadata"] = json!({"dripfeed": {"deletes": {"items": deletes}}});
    manifest.to_string()
}

fn answer(records: &Json) -> Json {
    json!([{"status": 200, "json": {"data": records}}])
}

#[test]
fn what_the_vendor_reports_as_deleted_is_sent_as_a_tombstone() {
    let records = json!([
        {"id": "1", "at": "2024-02-01T00:00:00Z", "name": "alive", "is_deleted": false},
        {"id": "2", "at": "2024-02-02T00:00:00Z", "name": "dead", "is_deleted": true,
         "deleted_at": "2024-02-02T01:00:00+01:00"},
    ]);
    let deletes = json!({
        "deleted_when": "{{ record['is_deleted'] }}", "deleted_at": "{{ record['deleted_at'] }}",
    });
    let filter = json!({"record_selector": {
        "record_filter": {"type": "RecordFilter", "condition": "{{ not record['is_deleted'] }}"},
    }});
    // The reference knows no tombstones: a manifest may drop deleted records for it.
    for retriever in [json!({}), filter] {
        let vendor = Vendor::of_items(answer(&records));
        let tap = Tap::new("read").source(&manifest(&deletes, &retriever)).config(&json!({"url": vendor.url}));
        let ran = tap.run();
        ran.expect(0, &[]);
        let sent = ran.records("items");
        assert_eq!(sent.len(), 2, "{sent:?}");
        assert_eq!((&sent[0]["id"], &sent[0]["_sdc_deleted_at"]), (&json!("1"), &Json::Null));
        assert!(sent[0].as_object().unwrap().contains_key("_sdc_deleted_at"), "a record that is back is not marked");
        assert_eq!((&sent[1]["id"], &sent[1]["_sdc_deleted_at"]), (&json!("2"), &json!("2024-02-02T00:00:00Z")));
        let field = json!({"type": ["null", "string"], "format": "date-time"});
        assert_eq!(ran.schema("items")["properties"]["_sdc_deleted_at"], field);
        // The bookmark passes a deleted record.
        assert_eq!(ran.state()["bookmarks"]["items"]["at"], "2024-02-02T00:00:00Z");
        let sent: Vec<Json> = tap.args(&["--protocol", "airbyte"]).run().messages();
        let data = sent.iter().filter(|m| m["type"] == "RECORD").map(|m| m["record"]["data"].clone());
        let marks: Vec<Json> = data.map(|data| data["_ab_cdc_deleted_at"].clone()).collect();
        assert_eq!(marks, [Json::Null, json!("2024-02-02T00:00:00Z")]);
    }
}

#[test]
fn a_tombstone_may_have_its_key_elsewhere() {
    let records = json!([
        {"id": "e1", "at": "2024-02-01T00:00:00Z", "action": "changed"},
        {"action": "deleted", "resource": {"gid": "7"}},
    ]);
    let deletes = json!({
        "deleted_when": "{{ record['action'] == 'deleted' }}", "deleted_key": {"id": "{{ record['resource']['gid'] }}"},
    });
    let vendor = Vendor::of_items(answer(&records));
    let ran = Tap::new("read").source(&manifest(&deletes, &json!({}))).config(&json!({"url": vendor.url})).run();
    ran.expect(0, &[]);
    let dead = &ran.records("items")[1];
    let names: Vec<&String> = dead.as_object().unwrap().keys().collect();
    assert_eq!((names.as_slice(), &dead["id"]), (&[&"id".to_owned(), &"_sdc_deleted_at".to_owned()][..], &json!("7")));
    assert!(dead["_sdc_deleted_at"].as_str().is_some_and(|at| at.ends_with('Z')), "the time of the read: {dead}");
    assert_eq!(ran.state()["bookmarks"]["items"]["at"], "2024-02-01T00:00:00Z");
}

#[test]
fn the_catalog_of_airbyte_has_the_field() {
    let deletes = json!({"deleted_when": "{{ record['is_deleted'] }}"});
    let tap = Tap::new("discover --protocol airbyte").source(&manifest(&deletes, &json!({})));
    let ran = tap.config(&json!({"url": "http://localhost"})).run();
    ran.expect(0, &[]);
    let schema = &ran.messages()[0]["catalog"]["streams"][0]["json_schema"];
    assert_eq!(schema["properties"]["_ab_cdc_deleted_at"], json!({"type": ["null", "string"]}));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for (deletes, words) in [
        (json!({"deleted_at": "{{ record['x'] }}"}), "has no `deleted_when`"),
        (json!({"deleted_when": "{{ recrod['x'] }}"}), "did you mean `record`?"),
        (json!({"deleted_when": "{{ record['x'] }}", "deleted_key": {"gid": "1"}}), "lacks the key field `id`"),
        (json!({"deletd_when": "{{ record['x'] }}"}), "deletd_when"),
        (json!("sweeep"), "sweep"),
    ] {
        let tap = Tap::new("read").source(&manifest(&deletes, &json!({})));
        tap.config(&json!({"url": "http://localhost"})).run().expect(10, &[words]);
    }
    let config = json!({"url": "http://localhost", "dripfeed": {"deletes": {"item": {"deleted_when": "{{ 1 }}"}}}});
    let tap = Tap::new("read").source(&manifest(&json!({}), &json!({})));
    tap.config(&config).run().expect(10, &["the stream `item`, which does not exist", "did you mean `items`?"]);
}

#[test]
fn a_tier_says_how_often_a_stream_of_changes_is_swept() {
    let vendor = Vendor::of_items(answer(&json!([{"id": "1", "at": "2024-02-01T00:00:00Z", "name": "one"}])));
    let folder = tempfile::tempdir().unwrap();
    let run = |cadence: &str, state: &Json| {
        let tiers = json!({"hourly": {"streams": ["items"], "deletes": cadence}});
        let ours = json!({"tenant": "acme", "state_dir": folder.path(), "tiers": tiers});
        let tap = Tap::new("read --tier hourly").source(&manifest(&json!("sweep"), &json!({})));
        let ran = tap.config(&json!({"url": vendor.url, "dripfeed": ours})).state(state).run();
        ran.expect(0, &[]);
        ran.state()
    };
    let state = run("daily", &json!({}));
    let (bookmark, start) = ("2024-02-01T00:00:00Z", "2024-01-01T00:00:00Z");
    for (cadence, since) in [("daily", bookmark), ("never", bookmark), ("PT0S", start)] {
        run(cadence, &state);
        assert_eq!(vendor.asked().last().unwrap().param("since").as_deref(), Some(since), "{cadence}");
    }
}
