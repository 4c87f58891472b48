//! Rows that move between pages by offset or number, with `dripfeed.safety.overlap`.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::Vendor;

/// Rows of a page, and how the vendor numbers pages.
const SIZE: usize = 4;

fn row(id: usize) -> Json {
    json!({"id": id, "at": format!("2024-02-01T00:00:{id:02}Z")})
}

/// A vendor that edits its rows after each answer, the first being 1; it may call a page behind the last one missing.
fn vendor(rows: Vec<Json>, is_missing: bool, edit: Edit) -> Vendor {
    let rows = Mutex::new((0, rows));
    Vendor::answering(move |asked| {
        let mut guard = rows.lock().unwrap();
        let (answers, rows) = &mut *guard;
        let number = |name: &str| asked.param(name).map_or(0, |number| number.parse().unwrap());
        let size = asked.param("limit").map_or(SIZE, |limit| limit.parse().unwrap());
        let page: Vec<Json> = rows.iter().skip(number("offset") + size * number("page")).take(size).cloned().collect();
        *answers += 1;
        edit(*answers, rows);
        let missing = is_missing && page.is_empty();
        json!({"status": if missing { 404 } else { 200 }, "json": {"data": page}})
    })
}

/// An incremental stream in pages by `offset` or `page`; requests may contain the page size.
fn manifest(by: &str, size: Option<usize>, more: &Json) -> String {
    let kind = if by == "page" { "PageIncrement" } else { "OffsetIncrement" };
    let filter = json!({"type": "HttpResponseFilter", "http_codes": [404], "action": "IGNORE"});
    let mut retriever = json!({
        "requester": {"error_handler": {"type": "DefaultErrorHandler", "response_filters": [filter]}},
        "paginator": {
            "type": "DefaultPaginator", "pagination_strategy": {"type": kind, "page_size": size},
            "page_token_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": by},
        },
    });
    if size.is_some() {
        retriever["paginator"]["page_size_option"] =
            json!({"type": "RequestOption", "inject_into": "request_parameter", "field_name": "limit"});
    }
    let mut stream = json!({"incremental_sync": {
        "type": "DatetimeBasedCursor", "cursor_field": "at", "datetime_format": "%Y-%m-%dT%H:%M:%SZ",
        "start_datetime": "2024-01-01T00:00:00Z",
    }});
    for (name, value) in more.as_object().into_iter().flatten() {
        stream[name] = value.clone();
    }
    items(&json!({"id": {"type": "integer"}, "at": {"type": "string"}}), &stream, &retriever)
}

fn read(manifest: &str, vendor: &Vendor, overlap: &str) -> Ran {
    let config = json!({"url": vendor.url, "dripfeed": {"safety": {"overlap": overlap}}});
    Tap::new("read").source(manifest).config(&config).env("DRIPFEED_NOW", "2024-03-01T00:00:00Z").run()
}

fn ids(ran: &Ran) -> Vec<u64> {
    ran.records("items").iter().map(|record| record["id"].as_u64().unwrap()).collect()
}

fn bookmark(ran: &Ran) -> Json {
    ran.state()["bookmarks"]["items"]["at"].clone()
}

/// The pages that were asked for, nothing being the first.
fn pages(vendor: &Vendor, by: &str) -> Vec<Option<String>> {
    vendor.asked().iter().map(|asked| asked.param(by)).collect()
}

/// What happens to the rows after an answer.
type Edit = fn(usize, &mut Vec<Json>);

#[test]
fn a_deleted_row_costs_no_other() {
    let deletions: [Edit; 3] = [
        |answers, rows| rows.retain(|row| answers != 1 || row["id"] != 0),
        |answers, rows| rows.retain(|row| answers != 1 || row["id"].as_u64() > Some(2)),
        |answers, rows| rows.retain(|row| answers != 2 || row["id"] != 2),
    ];
    for by in ["offset", "page"] {
        for (size, is_missing) in [(Some(SIZE), false), (None, false), (None, true)] {
            for (number, deletion) in deletions.into_iter().enumerate() {
                for count in [5, 8, 13] {
                    let place = format!("{by} {size:?} {is_missing}, deletion {number} of {count}");
                    let vendor = vendor((0..count).map(row).collect(), is_missing, deletion);
                    let ran = read(&manifest(by, size, &json!({})), &vendor, "PT1M");
                    ran.expect(0, &[]);
                    let mut ids = ids(&ran);
                    ids.sort_unstable();
                    // None is lost, and none is sent twice.
                    assert_eq!(ids, (0..count as u64).collect::<Vec<_>>(), "{place}");
                    assert_eq!(bookmark(&ran), row(count - 1)["at"], "{place}");
                    assert!(!ran.err.contains("rows moved"), "{place}: {}", ran.err);
                }
            }
        }
    }
}

#[test]
fn a_newest_first_stream_loses_no_row_either() {
    for by in ["offset", "page"] {
        let mut manifest: Json = serde_json::from_str(&manifest(by, Some(SIZE), &json!({}))).unwrap();
        manifest["streams"][0]["incremental_sync"]["is_data_feed"] = json!(true);
        manifest["streams"][0]["incremental_sync"]["start_datetime"] = json!("2024-02-01T00:00:03Z");
        let vendor = vendor((0..13).rev().map(row).collect(), false, |answers, rows| {
            if answers == 1 {
                rows.remove(0);
            }
        });
        let ran = read(&manifest.to_string(), &vendor, "PT1M");
        ran.expect(0, &[]);
        assert!((3..13).all(|id| ids(&ran).contains(&id)), "{by}: {:?}", ids(&ran));
        assert_eq!(bookmark(&ran), row(12)["at"]);
    }
}

#[test]
fn a_vendor_that_deletes_for_ever_keeps_the_bookmark() {
    for by in ["offset", "page"] {
        let vendor = vendor((0..40).map(row).collect(), false, |_, rows| {
            if !rows.is_empty() {
                rows.remove(0);
            }
        });
        let ran = read(&manifest(by, Some(SIZE), &json!({})), &vendor, "PT1M");
        ran.expect(0, &["rows moved between two pages, even after 2 more reads of the slice"]);
        assert_eq!(pages(&vendor, by).iter().filter(|page| page.is_none()).count(), if by == "page" { 6 } else { 3 });
        assert_ne!(bookmark(&ran), row(39)["at"], "{by}");
        let sent = ids(&ran);
        assert!(sent.contains(&39), "what came is sent");
        assert_eq!(sent.iter().collect::<BTreeSet<_>>().len(), sent.len(), "none is sent twice");
    }
}

#[test]
fn new_rows_and_edits_are_no_reason_to_read_again() {
    let insertion: Edit = |answers, rows| {
        if answers < 4 {
            rows.insert(0, row(20 + answers));
        }
    };
    // The last row of the first page is there, though in a newer version.
    let edit: Edit = |answers, rows| {
        if answers == 1 {
            rows[3]["at"] = json!("2024-02-02T00:00:00Z");
        }
    };
    for (by, asked) in [("offset", 1), ("page", 2)] {
        for change in [insertion, edit] {
            let vendor = vendor((0..13).map(row).collect(), false, change);
            let ran = read(&manifest(by, Some(SIZE), &json!({})), &vendor, "PT1M");
            ran.expect(0, &[]);
            assert!((0..13).all(|id| ids(&ran).contains(&id)), "{by}: {:?}", ids(&ran));
            assert_eq!(pages(&vendor, by).iter().filter(|page| page.is_none()).count(), asked, "{by}");
        }
    }
}

#[test]
fn requests_overlap_only_where_asked_for() {
    let asked = |by: &str, more: &Json, overlap: &str| {
        let vendor = vendor((0..9).map(row).collect(), false, |_, _| {});
        read(&manifest(by, Some(SIZE), more), &vendor, overlap).expect(0, &[]);
        let pages = pages(&vendor, by);
        pages.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join(",")
    };
    assert_eq!(asked("offset", &json!({}), "PT1M"), ",3,6");
    assert_eq!(asked("page", &json!({}), "PT1M"), ",1,,2,1");
    for (more, overlap) in [(json!({}), "PT0S"), (json!({"primary_key": []}), "PT1M")] {
        assert_eq!(asked("offset", &more, overlap), ",4,8");
        assert_eq!(asked("page", &more, overlap), ",1,2");
    }
    // A page of one row has no room for another one.
    let vendor = vendor((0..3).map(row).collect(), false, |_, _| {});
    let ran = read(&manifest("offset", Some(1), &json!({})), &vendor, "PT1M");
    ran.expect(0, &[]);
    assert_eq!(ids(&ran), [0, 1, 2]);
}
