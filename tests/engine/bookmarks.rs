//! How far bookmarks go, and what keeps a stream from having one: odd cursor values and states, windows that do not fit
//! together, parents without their key.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use dripfeed::base::timefmt::rfc3339;
use serde_json::{Value as Json, json};
use time::OffsetDateTime;

use crate::support::drifting::{Tenant, incremental, told};
use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::Vendor;

/// A stream over `/items` with more in its cursor and in its retriever.
fn manifest(cursor: &Json, retriever: &Json) -> String {
    let mut sync = incremental();
    for (key, value) in cursor.as_object().unwrap() {
        sync["incremental_sync"][key] = value.clone();
    }
    items(&json!({"id": {"type": "integer"}, "at": {"type": "string"}}), &sync, retriever)
}

fn read(manifest: &str, vendor: &Vendor, state: &Json) -> Ran {
    let tap = Tap::new("read --log-format json").source(manifest).config(&json!({"url": vendor.url}));
    if state.is_null() { tap.run() } else { tap.state(&json!({"bookmarks": {"items": state}})).run() }
}

fn vendor(records: &Json) -> Vendor {
    Vendor::of_items(json!([{"status": 200, "json": {"data": records}}]))
}

fn ids(ran: &Ran) -> BTreeSet<u64> {
    ran.records("items").iter().map(|record| record["id"].as_u64().unwrap()).collect()
}

fn end_option() -> Json {
    json!({"type": "RequestOption", "inject_into": "request_parameter", "field_name": "until"})
}

fn partitions() -> Json {
    json!({"partition_router": {"type": "ListPartitionRouter", "values": ["x", "y"], "cursor_field": "part"}})
}

/// airbytehq/airbyte#27498
#[test]
fn bookmarks_go_no_further_than_the_vendors_clock() {
    let windows = json!({"step": "P1Y", "cursor_granularity": "PT1S", "end_time_option": end_option()});
    for (cursor, retriever) in [
        (json!({}), json!({})),
        (json!({"end_time_option": end_option()}), json!({})),
        (windows.clone(), json!({})),
        (json!({"step": "P1Y", "cursor_granularity": "PT1S"}), json!({})),
        (json!({"end_datetime": "2998-01-01T00:00:00Z"}), json!({})),
        (json!({"is_client_side_incremental": true}), json!({})),
        (json!({"is_data_feed": true}), json!({})),
        (json!({}), partitions()),
        (windows, partitions()),
        (json!({"global_substream_cursor": true}), partitions()),
    ] {
        for odd in ["2099-01-01T00:00:00Z", "9999-12-31T23:59:59Z"] {
            let vendor = vendor(&json!([{"id": 1, "at": "2024-01-02T00:00:00Z"}, {"id": 2, "at": odd}]));
            let ran = read(&manifest(&cursor, &retriever), &vendor, &Json::Null);
            ran.expect(0, &[]);
            assert_eq!(ids(&ran), BTreeSet::from([1, 2]), "{cursor} {odd}");
            let state = ran.state()["bookmarks"]["items"].to_string();
            assert!(!state.contains(&odd[..4]) && state.contains("2024-01-02"), "{cursor} {odd}: {state}");
            let event = &ran.events("cursor_beyond")[0];
            assert!(event["ahead"].as_u64().unwrap() > 0, "{event}");
        }
    }
}

#[test]
fn bookmarks_go_no_further_than_the_window() {
    for (cursor, told) in [
        (json!({"end_datetime": "2024-02-01T00:00:00Z", "end_time_option": end_option()}), true),
        (json!({"end_datetime": "2024-02-01T00:00:00Z"}), true),
    ] {
        let vendor = vendor(&json!([{"id": 1, "at": "2024-01-02T00:00:00Z"}, {"id": 2, "at": "2024-05-05T00:00:00Z"}]));
        let ran = read(&manifest(&cursor, &json!({})), &vendor, &Json::Null);
        ran.expect(0, &[]);
        assert_eq!(ids(&ran), BTreeSet::from([1, 2]));
        assert_eq!(ran.state()["bookmarks"]["items"]["at"], "2024-02-01T00:00:00Z", "{cursor}");
        assert_eq!(!ran.events("cursor_beyond").is_empty(), told);
    }
}

#[test]
fn a_page_of_several_answers_has_the_highest_value_of_all() {
    for list in [["at", "b"], ["b", "at"]] {
        let record = |name: &str| match name {
            "at" => json!([{"k": 1, "at": "2024-05-10T10:00:00Z"}, {"k": 2, "at": "2024-05-12T10:00:00Z"}]),
            _ => json!([{"k": 1, "b": 5}, {"k": 2, "b": 6}]),
        };
        let vendor = Vendor::of_items(list.map(|name| json!({"status": 200, "json": {"data": record(name)}})).into());
        // Without a key to merge by, each part of the properties is a record of its own.
        let fields = json!({"type": "QueryProperties", "property_list": list, "always_include_properties": ["k"],
                            "property_chunking": {"type": "PropertyChunking", "property_limit_type": "property_count",
                                                  "property_limit": 1}});
        let mut more = incremental();
        more["primary_key"] = json!("k");
        let properties = json!({"k": {"type": "integer"}, "at": {"type": "string"}, "b": {"type": "integer"}});
        let requester = json!({"requester": {"request_parameters": {"fields": fields}}});
        let ran = read(&items(&properties, &more, &requester), &vendor, &Json::Null);
        assert_eq!(ran.expect(0, &[]).state()["bookmarks"]["items"]["at"], "2024-05-12T10:00:00Z", "{list:?}");
    }
}

#[test]
fn of_equal_moments_the_first_keeps_its_spelling() {
    let formats = json!({"cursor_datetime_formats": ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S%z"],
                         "datetime_format": "%Y-%m-%dT%H:%M:%S%z"});
    for (values, kept) in [
        (["2024-05-10T10:00:00Z", "2024-05-10T12:00:00+02:00"], "2024-05-10T10:00:00+0000"),
        (["2024-05-10T12:00:00+02:00", "2024-05-10T10:00:00Z"], "2024-05-10T12:00:00+0200"),
    ] {
        let vendor = vendor(&json!([{"id": 1, "at": values[0]}, {"id": 2, "at": values[1]}]));
        let ran = read(&manifest(&formats, &json!({})), &vendor, &Json::Null);
        assert_eq!(ran.expect(0, &[]).state()["bookmarks"]["items"]["at"], kept, "{values:?}");
    }
}

#[test]
fn the_clock_is_the_vendors() {
    // It is an hour behind ours.
    let date = httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(3600));
    let ahead = rfc3339(OffsetDateTime::now_utc().replace_nanosecond(0).unwrap() - time::Duration::minutes(30));
    let page = json!({"data": [{"id": 1, "at": "2024-01-02T00:00:00Z"}, {"id": 2, "at": ahead}]});
    let vendor = Vendor::of_items(json!([{"status": 200, "headers": {"Date": date}, "json": page}]));
    let ran = read(&manifest(&json!({}), &json!({})), &vendor, &Json::Null);
    assert_eq!(ran.expect(0, &[]).state()["bookmarks"]["items"]["at"], "2024-01-02T00:00:00Z");
}

#[test]
fn a_state_ahead_of_now() {
    let forms = |at: &str| {
        let of = |part: &str| json!({"partition": {"part": part}, "cursor": {"at": at}});
        let range = json!({"start": "2024-01-01T00:00:00Z", "end": at, "most_recent_cursor_value": null});
        [
            (json!({"at": at}), json!({})),
            (json!({"state_type": "date-range", "slices": [range]}), json!({})),
            (json!({"use_global_cursor": false, "states": [of("x")]}), partitions()),
            (json!({"use_global_cursor": true, "state": {"at": at}}), partitions()),
            (json!({"at": at}), partitions()),
        ]
    };
    let after = |hours| OffsetDateTime::now_utc().replace_nanosecond(0).unwrap() + time::Duration::hours(hours);
    let tomorrow = rfc3339(after(27));
    for at in ["2999-01-01T00:00:00Z", tomorrow.as_str()] {
        for (state, retriever) in forms(at) {
            let vendor = vendor(&json!([]));
            read(&manifest(&json!({}), &retriever), &vendor, &state).expect(10, &["in the future", "--reset"]);
            assert!(vendor.asked().is_empty(), "{state}");
        }
    }
    // A nearer one is read from now.
    for (state, retriever) in forms(&rfc3339(after(20))) {
        let vendor = vendor(&json!([]));
        let ran = read(&manifest(&json!({}), &retriever), &vendor, &state);
        ran.expect(0, &[]);
        let since: Vec<String> = vendor.asked().iter().filter_map(|asked| asked.param("since")).collect();
        assert!(!since.is_empty() && since.iter().all(|since| **since <= *rfc3339(after(0))), "{state} {since:?}");
    }
}

/// airbytehq/airbyte-python-cdk#605
#[test]
fn a_cursor_that_no_record_has_fails_the_second_run() {
    let mut tenant = Tenant::new(&manifest(&json!({}), &json!({})));
    let absent: Vec<Json> = (0..3).map(|id| json!({"id": id})).collect();
    let null = [json!({"id": 1, "at": null}), json!({"id": 2})];
    tenant.items(&absent).expect(0, &[]);
    // Null is a value: there is such a field.
    tenant.items(&null).expect(0, &[]);
    tenant.items(&absent).expect(0, &[]);
    // A run without records says nothing.
    tenant.items(&[]).expect(0, &[]);
    for _ in 0..2 {
        let ran = tenant.items(&absent);
        assert_eq!(told(ran.expect(40, &["cursor_missing", "cursor_field"])), ["cursor_missing /at"]);
        assert_eq!(ran.records("items").len(), 3);
        let status = tenant.run("status");
        assert!(format!("{}{}", status.out, status.err).contains("cursor_missing"), "{}", status.out);
    }
    tenant.items(&[json!({"id": 1, "at": "2024-01-02T00:00:00Z"})]).expect(0, &[]);
    assert_eq!(tenant.open(), [""; 0]);
}

#[test]
fn a_cursor_that_cannot_be_read_is_under_the_rules_of_drift() {
    let schema = json!({"id": {"type": "integer"}, "at": {"type": "string", "format": "date-time"}});
    let mut tenant = Tenant::new(&items(&schema, &incremental(), &json!({})));
    let mut records: Vec<Json> = (0..600).map(|id| json!({"id": id, "at": "2024-02-01T00:00:00Z"})).collect();
    assert_eq!(told(tenant.items(&records).expect(0, &[])), [""; 0]);
    records[7]["at"] = json!("soon");
    assert_eq!(told(tenant.items(&records).expect(0, &[])), ["format_changed /at"]);
    assert!(std::fs::read_to_string(tenant.quarantine("items")).unwrap().contains("soon"));
}

#[test]
fn parent_keys_that_lead_nowhere() {
    let read = |key: &str, parents: &Json, more: &Json| {
        let parent: Json = serde_json::from_str(&items(&json!({}), &json!({}), &json!({}))).unwrap();
        let mut parent = parent["streams"][0].clone();
        (parent["name"], parent["retriever"]["requester"]["path"]) = (json!("parents"), json!("parents"));
        let mut config = json!({
            "type": "ParentStreamConfig", "stream": parent, "parent_key": key, "partition_field": "pid",
        });
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        let router = json!({"type": "SubstreamPartitionRouter", "parent_stream_configs": [config]});
        let manifest = items(&json!({}), &json!({}), &json!({"partition_router": router}));
        let page = |data: &Json| json!({"status": 200, "json": {"data": data}});
        let vendor = Vendor::start(&json!({"routes": [
            {"path": "/parents", "replies": [page(parents)]}, {"path": "/items", "replies": [page(&json!([]))]},
        ]}));
        let tap = Tap::new("read").source(&manifest).config(&json!({"url": vendor.url}));
        (tap.run(), vendor.asked().iter().filter(|asked| asked.path == "/items").count())
    };
    for (key, parents, code, children) in [
        ("id", json!([{"id": 1}, {"id": 2}]), 0, 2),
        ("uuid", json!([{"id": 1}, {"id": 2}]), 40, 0),
        ("owner/id", json!([{"id": 1}, {"id": 2, "owner": {}}]), 40, 0),
        ("tags", json!([{"id": 1, "tags": [1, 2]}]), 40, 0),
        ("tags/id", json!([{"id": 1, "tags": [{"id": 2}]}]), 40, 0),
        // No parent came.
        ("uuid", json!([]), 0, 0),
        // Null is no fault, nor is a key that some have.
        ("uuid", json!([{"id": 1, "uuid": null}]), 0, 0),
        ("owner/id", json!([{"id": 1, "owner": null}, {"id": 2}]), 0, 0),
        ("owner/id", json!([{"id": 1}, {"id": 2, "owner": {"id": 3}}]), 0, 1),
    ] {
        let (ran, asked) = read(key, &parents, &json!({}));
        ran.expect(code, if code == 0 { &[] } else { &["parent_key"] });
        assert_eq!(asked, children, "{key} {parents}");
    }
    let (ran, _) = read("id", &json!([{"id": 1}]), &json!({"incremental_dependency": true}));
    ran.expect(0, &["`incremental_dependency: true` has no effect"]);
}

#[test]
fn windows_that_do_not_fit_together_are_told() {
    let windows = |step: &str, granularity: &str| {
        let end = end_option();
        json!({"step": step, "cursor_granularity": granularity, "end_time_option": end})
    };
    for (step, granularity, at, words) in [
        ("P1Y", "PT1S", "2024-01-02T00:00:00Z", ""),
        ("P1Y", "PT1M", "2024-01-02T00:00:00Z", ""),
        ("P1Y", "PT1M", "2024-01-02T00:00:01Z", "finer than `cursor_granularity`"),
        ("P1Y", "PT0.001S", "2024-01-02T00:00:00Z", "windows never touch"),
    ] {
        let vendor = vendor(&json!([{"id": 1, "at": at}]));
        let ran = read(&manifest(&windows(step, granularity), &json!({})), &vendor, &Json::Null);
        ran.expect(0, &[words]);
        assert_eq!(ran.err.contains("granularity"), !words.is_empty(), "{}", ran.err);
    }
}
