//! What the vendor's answers tell beside their records: addresses, rights, headers, windows, sizes.

use serde_json::{Value as Json, json};

use crate::support::drifting::{Tenant, incremental, paged, replies, told};
use crate::support::tap::items;
use crate::support::vendor::Vendor;

fn record(number: u64) -> Json {
    json!({"id": format!("r{number}"), "at": format!("2024-01-{:02}T00:{:02}:00Z", 1 + number / 60, number % 60)})
}

fn manifest(more: &Json) -> String {
    let mut retriever = paged();
    retriever["requester"] = json!({"error_handler": {"type": "DefaultErrorHandler", "max_retries": 0}});
    items(&json!({"id": {"type": "string"}, "at": {"type": "string", "format": "date-time"}}), more, &retriever)
}

fn data(records: &[Json]) -> Json {
    json!({"status": 200, "json": {"data": records}})
}

#[test]
fn an_answer_of_another_kind_is_told_once_there_was_one() {
    let page = "<!DOCTYPE html><html><body>Sign in</body></html>";
    for (answer, found) in [
        (json!({"status": 404, "json": {"message": "no such page"}}), "endpoint_gone"),
        (json!({"status": 410, "json": {"message": "gone"}}), "endpoint_gone"),
        (json!({"status": 403, "json": {"message": "not allowed"}}), "scope_lost"),
        (json!({"status": 200, "text": page, "headers": {"Content-Type": "text/html"}}), "upstream_format"),
        (json!({"status": 200, "json": {"items": [record(1)]}}), "envelope_changed"),
        (json!({"status": 200, "json": {"data": {"items": [record(1)]}}}), "envelope_changed"),
    ] {
        let vendor = || Vendor::of_items(json!([answer]));
        let mut tenant = Tenant::new(&manifest(&json!({})));
        // A stream that never could be read has not changed.
        let first = tenant.read(&vendor());
        assert!(first.records("items").is_empty(), "{answer}");
        if matches!(found, "endpoint_gone" | "scope_lost") {
            assert_eq!(told(&first), [""; 0], "{answer}");
        }
        let mut tenant = Tenant::new(&manifest(&json!({})));
        tenant.items(&[record(0)]).expect(0, &[]);
        let ran = tenant.read(&vendor());
        assert_eq!((told(&ran), ran.records("items").len()), (vec![found.to_owned()], 0), "{answer}: {}", ran.err);
        assert!(ran.code != 0);
        tenant.run("drift check").expect(30, &[]);
        // It is read again: it is over.
        tenant.items(&[record(0)]).expect(0, &[]);
        assert_eq!(tenant.open(), [""; 0], "{answer}");
    }
}

#[test]
fn a_stream_with_a_lost_right_leaves_others_alone() {
    let mut manifest: Json = serde_json::from_str(&manifest(&json!({}))).unwrap();
    let mut other = manifest["streams"][0].clone();
    other["name"] = json!("others");
    other["retriever"]["requester"]["path"] = json!("others");
    manifest["streams"].as_array_mut().unwrap().push(other);
    let mut tenant = Tenant::new(&manifest.to_string());
    let mut read = |status: u64| {
        let items = json!({"status": status, "json": {"data": [record(1)]}});
        let vendor = Vendor::start(&json!({"routes": [
            {"path": "/items", "replies": [items]}, {"path": "/others", "replies": [data(&[record(2)])]},
        ]}));
        tenant.read(&vendor)
    };
    read(200).expect(0, &[]);
    for status in [403, 410] {
        let ran = read(status);
        assert!(ran.code != 0);
        assert_eq!(ran.records("others").len(), 1, "{status}: {}", ran.err);
    }
}

#[test]
fn what_headers_announce_is_told_once() {
    let mut tenant = Tenant::new(&manifest(&json!({})));
    let mut read = |headers: Json| {
        let vendor = Vendor::of_items(json!([{"status": 200, "headers": headers, "json": {"data": [record(0)]}}]));
        told(tenant.read(&vendor).expect(0, &[]))
    };
    assert_eq!(read(json!({"Api-Version": "1"})), [""; 0]);
    let announced =
        json!({"Api-Version": "1", "Deprecation": "@1735689600", "Sunset": "Wed, 31 Dec 2025 23:59:59 GMT"});
    assert_eq!(read(announced.clone()), ["deprecation", "sunset"]);
    assert_eq!(read(announced), [""; 0]);
    assert_eq!(read(json!({"Api-Version": "2"})), ["api_version_changed"]);
    tenant.run("drift check").expect(0, &[]);
}

#[test]
fn an_empty_sweep_is_odd_after_seven_full_ones() {
    let mut tenant = Tenant::new(&manifest(&json!({})));
    for rows in [1, 0, 1, 1, 1, 1, 1] {
        let ran = tenant.items(&vec![record(0); rows]);
        assert_eq!(told(ran.expect(0, &[])), [""; 0]);
    }
    assert_eq!(told(tenant.items(&[]).expect(0, &[])), [""; 0], "six only");
    tenant.items(&[record(0)]).expect(0, &[]);
    assert_eq!(told(tenant.items(&[]).expect(0, &[])), ["stream_emptied"]);
    // Windows are empty now and then.
    let mut tenant = Tenant::new(&manifest(&incremental()));
    for number in 0..8 {
        tenant.items(&[record(number)]).expect(0, &[]);
    }
    assert_eq!(told(tenant.items(&[]).expect(0, &[])), [""; 0]);
}

#[test]
fn a_filter_that_holds_no_more_stops_the_stream() {
    let mut more = incremental();
    let cursor = &mut more["incremental_sync"];
    cursor["end_time_option"] =
        json!({"type": "RequestOption", "inject_into": "request_parameter", "field_name": "until"});
    let mut tenant = Tenant::new(&manifest(&more));
    let many = |from: u64, to: u64| (from..to).map(record).collect::<Vec<_>>();
    // Two weeks of records, then those since.
    tenant.items(&many(0, 840)).expect(0, &[]);
    tenant.items(&many(838, 880)).expect(0, &[]);
    let before = tenant.state.clone();
    let ran = tenant.items(&many(0, 900));
    assert_eq!(told(ran.expect(40, &["filter_ignored"])), ["filter_ignored /at"]);
    assert_eq!(tenant.state, before);
    // Some that are a little early are what overlaps bring.
    let ran = tenant.items(&many(840, 900));
    assert_eq!(told(ran.expect(0, &[])), [""; 0]);
}

#[test]
fn names_that_are_data_become_no_columns() {
    let mut tenant = Tenant::new(&manifest(&json!({})));
    tenant.items(&[record(0)]).expect(0, &[]);
    let rows: Vec<Json> = (0..250)
        .map(|number| {
            let mut record = record(number);
            record["votes"] = json!({(format!("user{number}")): number});
            record
        })
        .collect();
    let ran = tenant.items(&rows);
    let mut found = told(ran.expect(0, &[]));
    found.sort();
    assert_eq!(found, ["field_added /votes", "map_detected /votes"]);
    assert_eq!(ran.records("items")[249]["votes"], json!({"user249": 249}));
    let last = ran.messages().into_iter().rfind(|m| m["type"] == "SCHEMA").unwrap();
    assert!(last.to_string().len() < 1000, "{last}");
    assert_eq!(told(tenant.items(&rows).expect(0, &[])), [""; 0]);
}

#[test]
fn smaller_pages_are_told_when_others_follow_them() {
    let mut tenant = Tenant::new(&manifest(&json!({})));
    let mut read = |sizes: &[usize]| {
        let mut number = 0;
        let mut page = |size: &usize| {
            number += *size as u64;
            (number - *size as u64..number).map(record).collect::<Vec<_>>()
        };
        let pages: Vec<Vec<Json>> = sizes.iter().map(&mut page).collect();
        let vendor = Vendor::of_items(Json::Array(replies(&pages)));
        told(tenant.read(&vendor).expect(0, &[]))
    };
    assert_eq!(read(&[5, 5, 5, 3]), [""; 0]);
    assert_eq!(read(&[2]), [""; 0], "the last one is as long as it is");
    assert_eq!(read(&[5, 5, 1]), [""; 0]);
    assert_eq!(read(&[4, 3, 2, 4, 1]), [""; 0], "pages that differ are filtered ones");
    assert_eq!(read(&[3, 3, 3, 3, 1]), ["page_size_changed"]);
}
