//! What keeps an API's own paging from losing records: `dripfeed.safety`, and slices that begin again.

use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::{Vendor, decode};

/// An incremental stream over `/items`, with more in its retriever and in the manifest.
fn incremental(retriever: &Json, metadata: &Json) -> String {
    let cursor = json!({
        "type": "DatetimeBasedCursor", "cursor_field": "at", "datetime_format": "%Y-%m-%dT%H:%M:%SZ",
        "start_datetime": "2024-01-01T00:00:00Z",
        "start_time_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "since"},
    });
    let schema = json!({"id": {"type": "string"}, "at": {"type": "string"}});
    let mut manifest: Json =
        serde_json::from_str(&items(&schema, &json!({"incremental_sync": cursor}), retriever)).unwrap();
    manifest["metadata"] = metadata.clone();
    manifest["concurrency_level"] = json!({"type": "ConcurrencyLevel", "default_concurrency": 1});
    manifest.to_string()
}

fn read(manifest: &str, vendor: &Vendor, safety: &Json, state: &Json) -> Ran {
    let config = json!({"url": vendor.url, "dripfeed": {"safety": safety}});
    let tap = Tap::new("read --log-format json").source(manifest).config(&config);
    tap.state(state).env("DRIPFEED_NOW", "2024-03-01T00:00:10Z").run()
}

/// What each request asked to start from.
fn since(vendor: &Vendor) -> Vec<String> {
    let of = |query: String| query.split('&').find_map(|p| p.strip_prefix("since=").map(decode)).unwrap_or_default();
    vendor.asked().into_iter().map(|a| of(a.query)).collect()
}

#[test]
fn a_settled_bookmark_stays_before_the_reading() {
    // The time that the answer took counts too: less than a second here, so the bookmark is a second earlier.
    let answer = |date: &str| {
        json!([{"status": 200, "headers": {"Date": date}, "json": {"data": [
            {"id": "1", "at": "2024-02-01T00:00:00Z"}, {"id": "2", "at": "2024-02-29T23:59:30Z"},
        ]}}])
    };
    let date = "Fri, 01 Mar 2024 00:00:00 GMT";
    let with = json!({"dripfeed": {"safety": {"settle": "PT1M"}}});
    for (metadata, safety, bookmark) in [
        (json!({}), json!({}), "2024-02-29T23:59:30Z"),
        (json!({}), json!({"settle": "PT1M"}), "2024-02-29T23:58:59Z"),
        (with.clone(), json!({}), "2024-02-29T23:58:59Z"),
        // The config wins over the manifest.
        (with, json!({"settle": "PT10S"}), "2024-02-29T23:59:30Z"),
    ] {
        let vendor = Vendor::of_items(answer(date));
        let ran = read(&incremental(&json!({}), &metadata), &vendor, &safety, &json!({}));
        ran.expect(0, &[]);
        assert_eq!(ran.records("items").len(), 2);
        assert_eq!(ran.state()["bookmarks"]["items"]["at"], bookmark, "{metadata} {safety}");
    }
    // A vendor with a slow clock holds the bookmark back, but never moves it back.
    let vendor = Vendor::of_items(answer("Mon, 01 Jan 2024 00:00:00 GMT"));
    let state = json!({"bookmarks": {"items": {"at": "2024-02-01T00:00:00Z"}}});
    let ran = read(&incremental(&json!({}), &json!({})), &vendor, &json!({"settle": "PT1M"}), &state);
    assert_eq!(ran.state()["bookmarks"]["items"]["at"], "2024-02-01T00:00:00Z");
}

#[test]
fn a_bookmark_does_not_pass_pages_that_were_ignored() {
    let manifest = |safety: Json| {
        let mut paged = paged();
        paged["requester"]["error_handler"]["response_filters"][0]["action"] = json!("IGNORE");
        incremental(&paged, &json!({"dripfeed": {"safety": safety}}))
    };
    let page = json!({"status": 200, "json": {"data": [{"id": "1", "at": "2024-02-01T00:00:00Z"}], "next": "t1"}});
    let gone = json!({"status": 410, "json": {"message": "gone"}});
    for safety in [json!({}), json!({"settle": "PT1M"})] {
        let vendor = Vendor::of_items(json!([page, gone]));
        let ran = read(&manifest(safety), &vendor, &json!({}), &json!({}));
        ran.expect(0, &["slice_skipped"]);
        assert_eq!(ran.records("items").len(), 1);
        assert_ne!(ran.state()["bookmarks"]["items"]["at"], "2024-02-01T00:00:00Z");
    }
}

#[test]
fn an_overlap_is_read_again() {
    let state = json!({"bookmarks": {"items": {"at": "2024-02-01T00:00:00Z"}}});
    let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": []}}]));
    read(&incremental(&json!({}), &json!({})), &vendor, &json!({"overlap": "PT2H"}), &state).expect(0, &[]);
    read(&incremental(&json!({}), &json!({})), &vendor, &json!({}), &state).expect(0, &[]);
    assert_eq!(since(&vendor), ["2024-01-31T22:00:00Z", "2024-02-01T00:00:00Z"]);
}

#[test]
fn a_partition_that_comes_into_view_is_read_whole() {
    let router = |values: &[&str]| {
        json!({"partition_router": {
            "type": "ListPartitionRouter", "cursor_field": "part", "values": values,
            "request_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "part"},
        }})
    };
    let answer = json!([{"status": 200, "json": {"data": [{"id": "1", "at": "2024-02-01T00:00:00Z"}]}}]);
    for (safety, second) in [
        (json!({}), "2024-01-31T23:59:59Z"),
        (json!({"new_partitions": "bookmark"}), "2024-01-31T23:59:59Z"),
        (json!({"new_partitions": "whole"}), "2024-01-01T00:00:00Z"),
    ] {
        let vendor = Vendor::of_items(answer.clone());
        let first = read(&incremental(&router(&["a"]), &json!({})), &vendor, &safety, &json!({}));
        first.expect(0, &[]);
        read(&incremental(&router(&["a", "b"]), &json!({})), &vendor, &safety, &first.state()).expect(0, &[]);
        assert_eq!(since(&vendor), ["2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z", second], "{safety}");
    }
}

#[test]
fn safety_that_makes_no_sense_is_refused() {
    let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": []}}]));
    for (safety, words) in [
        (
            json!({"setle": "PT1M"}),
            ["manifest `metadata.dripfeed.safety` has an unknown key `setle`", "did you mean `settle`?"],
        ),
        (json!({"settle": "a minute"}), ["manifest `metadata.dripfeed.safety.settle`", ""]),
        (json!({"new_partitions": "some"}), ["manifest `metadata.dripfeed.safety.new_partitions`", ""]),
        (
            json!({"two_sweeps": false}),
            ["manifest `metadata.dripfeed.safety.two_sweeps` does nothing", "remove `two_sweeps`"],
        ),
    ] {
        let manifest = incremental(&json!({}), &json!({"dripfeed": {"safety": safety}}));
        read(&manifest, &vendor, &json!({}), &json!({})).expect(10, &words);
    }
    let config = json!({"two_sweeps": true});
    read(&incremental(&json!({}), &json!({})), &vendor, &config, &json!({}))
        .expect(10, &["config `dripfeed.safety.two_sweeps` does nothing", "remove `two_sweeps`"]);
    assert!(vendor.asked().is_empty());
}

/// A retriever whose page tokens may expire.
fn paged() -> Json {
    let filter = json!({
        "type": "HttpResponseFilter", "http_codes": [410], "action": "RESET_PAGINATION",
        "error_message": "token expired",
    });
    json!({
        "requester": {"error_handler": {"type": "DefaultErrorHandler", "response_filters": [filter]}},
        "paginator": {
            "type": "DefaultPaginator",
            "pagination_strategy": {"type": "CursorPagination", "cursor_value": "{{ response['next'] }}"},
            "page_token_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "after"},
        },
    })
}

#[test]
fn a_slice_begins_again_once_when_its_token_expires() {
    let page = |id: &str, next: Json| {
        json!({
            "status": 200, "json": {"data": [{"id": id, "at": "2024-02-01T00:00:00Z"}], "next": next},
        })
    };
    let gone = json!({"status": 410, "json": {"message": "gone"}});
    let manifest = incremental(&paged(), &json!({}));
    let vendor = Vendor::of_items(json!([page("1", json!("t1")), gone, page("1", json!("t2")), page("2", Json::Null)]));
    let ran = read(&manifest, &vendor, &json!({}), &json!({}));
    ran.expect(0, &["reading from the first page again"]);
    let ids: Vec<Json> = ran.records("items").into_iter().map(|r| r["id"].clone()).collect();
    assert_eq!(ids, ["1", "1", "2"], "what was sent before is sent again");
    assert_eq!(ran.state()["bookmarks"]["items"]["at"], "2024-02-01T00:00:00Z");
    // It does not go round for ever, and the bookmark stays.
    let vendor = Vendor::of_items(json!([page("1", json!("t1")), gone, page("1", json!("t2")), gone]));
    let ran = read(&manifest, &vendor, &json!({}), &json!({}));
    ran.expect(40, &["the slice would start over forever: token expired"]);
    assert_eq!(vendor.asked().len(), 4);
    assert!(ran.state()["bookmarks"]["items"]["at"] != "2024-02-01T00:00:00Z");
}

#[test]
fn a_kept_answer_does_not_bring_an_expired_token_back() {
    // `items` is a parent, so its pages are kept: after a reset its first page must come from the vendor.
    let mut manifest: Json =
        serde_json::from_str(&items(&json!({"id": {"type": "string"}}), &json!({}), &paged())).unwrap();
    let parent = manifest["streams"][0].clone();
    let mut child = parent.clone();
    child["name"] = json!("parts");
    child["retriever"]["requester"]["path"] = json!("parts/{{ stream_partition.item }}");
    child["retriever"]["partition_router"] = json!({"type": "SubstreamPartitionRouter", "parent_stream_configs": [
        {"type": "ParentStreamConfig", "stream": parent, "parent_key": "id", "partition_field": "item"},
    ]});
    manifest["streams"].as_array_mut().unwrap().push(child);
    manifest["concurrency_level"] = json!({"type": "ConcurrencyLevel", "default_concurrency": 1});
    let page = |id: &str, next: Json| json!({"status": 200, "json": {"data": [{"id": id}], "next": next}});
    let gone = json!({"status": 410, "json": {"message": "gone"}});
    let vendor = Vendor::start(&json!({"routes": [
        {"path": "/items", "replies": [page("1", json!("old")), gone, page("1", json!("new")), page("2", Json::Null)]},
        {"path": "/parts/1", "replies": [page("p1", Json::Null)]},
        {"path": "/parts/2", "replies": [page("p2", Json::Null)]},
    ]}));
    let ran = read(&manifest.to_string(), &vendor, &json!({}), &json!({}));
    ran.expect(0, &[]);
    assert_eq!(ran.records("parts").len(), 2);
    let listed = vendor.asked().iter().filter(|a| a.path == "/items").count();
    assert_eq!(listed, 4, "two pages, a refusal, a first page again: nothing was asked twice for the child");
}

#[test]
fn a_list_that_is_cut_is_said_once() {
    let rows = json!([{"id": 1, "more": true, "list": [{"id": 10}]}, {"id": 2, "more": true, "list": [{"id": 20}]}]);
    let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": rows}}]));
    let expander =
        json!({"type": "RecordExpander", "expand_records_from_field": ["list"], "truncation_indicator_path": ["more"]});
    let selector = json!({"extractor": {"record_expander": expander}});
    let manifest = items(&json!({"id": {"type": "integer"}}), &json!({}), &json!({"record_selector": selector}));
    let ran = Tap::new("read").source(&manifest).config(&json!({"url": vendor.url})).run();
    ran.expect(0, &["`list` contains only a part of its list, and dripfeed read 1 item of it"]);
    assert_eq!(ran.records("items").len(), 2);
    assert_eq!(ran.err.matches("contains only a part of its list").count(), 1);
}
