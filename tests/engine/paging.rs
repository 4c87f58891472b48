//! Where pages end: short pages, pages that repeat, tokens that are not found.

use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::{Asked, Vendor};

/// A paginator that sends its token as `token`.
fn paginator(strategy: &Json) -> Json {
    let option = |name: &str| json!({"type": "RequestOption", "inject_into": "request_parameter", "field_name": name});
    json!({"paginator": {
        "type": "DefaultPaginator", "pagination_strategy": strategy, "page_token_option": option("token"),
    }})
}

fn read(manifest: &str, vendor: &Vendor) -> Ran {
    Tap::new("read").source(manifest).config(&json!({"url": vendor.url})).run()
}

/// Reads one stream; `answer` gives the body of each page, the first being 0.
fn run(strategy: &Json, key: &Json, answer: impl Fn(usize, &Asked) -> Json + Send + Sync + 'static) -> (Ran, usize) {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let vendor = Vendor::answering(move |asked| {
        let page = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut answer = answer(page, asked);
        match answer["status"].as_u64() {
            Some(_) => answer,
            None => json!({"status": 200, "json": answer.take()}),
        }
    });
    let schema = json!({"id": {"type": "integer"}, "n": {"type": "integer"}});
    let ran = read(&items(&schema, &json!({"primary_key": key}), &paginator(strategy)), &vendor);
    (ran, vendor.asked().len())
}

fn rows(ids: std::ops::Range<usize>) -> Vec<Json> {
    ids.map(|id| json!({"id": id})).collect()
}

/// All kinds of numbers and tokens: pages of 4 are asked for.
fn strategies() -> [Json; 4] {
    let cursor = |stop: &str| {
        json!({"type": "CursorPagination", "cursor_value": "{{ response['token'] }}", "page_size": 4,
               "stop_condition": stop})
    };
    [
        json!({"type": "PageIncrement", "page_size": 4}),
        json!({"type": "OffsetIncrement", "page_size": 4}),
        cursor("{{ last_page_size < 4 }}"),
        cursor("{{ last_page_size < page_size }}"),
    ]
}

#[test]
fn a_short_page_is_not_the_last_where_the_body_promises_more() {
    // airbytehq/airbyte#34883 and #45104: three pages, the second one short.
    let (more, last) = (true, false);
    for promise in [
        |after: bool| json!({"has_more": after}),
        |after: bool| json!({"pagination": {"hasNextPage": after}}),
        |after: bool| json!({"meta": {"page": {"is_last": !after}}}),
        |_: bool| json!({"total": 9}),
        |_: bool| json!({"meta": {"pagination": {"total_count": "9"}}}),
        |_: bool| json!({"hits": {"total": 9}, "page_info": {"total": {"value": 9}}}),
        |_: bool| json!({"count": 9, "next_cursor": null}),
        |_: bool| json!({"total_pages": 3}),
        |after: bool| json!({"next": if after { json!("/items?page=2") } else { json!(null) }}),
        |after: bool| json!({"_links": {"self": {"href": "/"}, "next": {"href": if after { "/2" } else { "" }}}}),
        |after: bool| json!({"links": if after { json!([{"rel": "next", "href": "/2"}]) } else { json!([]) }}),
    ] {
        // A link stands in every answer of some vendors: it says nothing against a stop condition.
        let is_link = |promise: &Json| ["next", "links", "_links"].iter().any(|name| promise[name] != Json::Null);
        let kinds = if is_link(&promise(more)) { 2 } else { 4 };
        for strategy in strategies().into_iter().take(kinds) {
            let (ran, asked) = run(&strategy, &json!("id"), move |page, _| {
                let (ids, after) = match page {
                    0 => (0..4, more),
                    1 => (4..7, more),
                    2 => (7..9, last),
                    _ => (9..9, last),
                };
                let mut body = promise(after);
                body["data"] = json!(rows(ids));
                body["token"] = json!(page + 1);
                body
            });
            ran.expect(0, &["fewer records than requested"]);
            assert_eq!((ran.records("items").len(), asked), (9, 3), "{strategy} {}", promise(more));
        }
    }
}

#[test]
fn a_promise_that_brought_nothing_is_not_believed_again() {
    let partitions = json!({"type": "ListPartitionRouter", "values": ["a", "b", "c"], "cursor_field": "part",
        "request_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "part"}});
    for beyond in [
        json!({"status": 200, "json": {"data": [], "total": 500}}),
        json!({"status": 404, "json": {"detail": "Invalid page."}}),
        json!({"status": 204}),
        // The last page once more.
        json!({"status": 200, "json": {"data": rows(0..2), "total": 500}}),
    ] {
        let vendor = Vendor::answering(move |asked| match asked.param("token") {
            None => json!({"status": 200, "json": {"data": rows(0..2), "total": 500}}),
            Some(_) => beyond.clone(),
        });
        let mut retriever = paginator(&json!({"type": "OffsetIncrement", "page_size": 4}));
        retriever["partition_router"] = partitions.clone();
        let mut manifest: Json =
            serde_json::from_str(&items(&json!({"id": {"type": "integer"}}), &json!({}), &retriever)).unwrap();
        manifest["concurrency_level"] = json!({"type": "ConcurrencyLevel", "default_concurrency": 1});
        let ran = read(&manifest.to_string(), &vendor);
        ran.expect(0, &["no longer relies on"]);
        assert_eq!((ran.records("items").len(), vendor.asked().len()), (6, 4));
    }
}

#[test]
fn what_stands_in_a_record_promises_nothing() {
    let (ran, asked) = run(&json!({"type": "PageIncrement", "page_size": 4}), &json!("id"), |_, _| {
        let record = json!({"id": 1, "total": 9, "has_more": true, "next": "x"});
        json!({"data": [record], "usage": {"count": 70}, "size": 20})
    });
    ran.expect(0, &[]);
    assert_eq!(asked, 1);
}

#[test]
fn pages_that_bring_nothing_new_end_in_a_fault() {
    // airbytehq/airbyte#16361 and #28226: whatever stands around the records, and in whatever order they come.
    let full = |strategy: &Json| {
        let mut strategy = strategy.clone();
        strategy.as_object_mut().unwrap().remove("stop_condition");
        strategy
    };
    for strategy in strategies().iter().map(full) {
        let (ran, asked) = run(&strategy, &json!("id"), |page, _| {
            let mut data = rows(if page < 2 { page * 4..page * 4 + 4 } else { 4..8 });
            data.rotate_left(page % 4);
            json!({"request_id": page, "data": data, "token": page + 1})
        });
        ran.expect(40, &["only records of earlier pages"]);
        assert!(asked <= 5, "{strategy}: {asked} requests");
        // The same keys with other content may be another version of each.
        let (ran, asked) = run(&strategy, &json!("id"), |page, _| {
            let data: Vec<Json> = (0..4).map(|id| json!({"n": page, "id": id})).collect();
            json!({"data": data, "token": page + 1})
        });
        ran.expect(40, &["keys of earlier pages"]);
        assert!((50..55).contains(&asked), "{strategy}: {asked} requests");
    }
}

#[test]
fn pages_that_bring_something_new_are_no_loop() {
    // Each page begins with the same record, and overlaps the one before.
    let (ran, asked) = run(&json!({"type": "PageIncrement", "page_size": 3}), &json!("id"), |page, _| {
        let ids = if page < 70 { vec![0, page + 1, page + 2] } else { vec![] };
        json!({"data": ids.iter().map(|id| json!({"id": id, "n": page})).collect::<Vec<_>>()})
    });
    ran.expect(0, &[]);
    assert_eq!((ran.records("items").len(), asked), (210, 71));
    // Nothing tells the records of a stream without a key apart.
    let (ran, _) = run(
        &json!({"type": "PageIncrement", "page_size": 2}),
        &json!([]),
        |page, _| json!({"data": if page < 60 { vec![json!({"n": 1}), json!({"n": 1})] } else { vec![] }}),
    );
    ran.expect(0, &[]);
    assert_eq!(ran.records("items").len(), 120);
}

#[test]
fn empty_pages_with_ever_new_tokens_have_an_end() {
    let strategy = json!({"type": "CursorPagination", "cursor_value": "{{ response['token'] }}"});
    let (ran, asked) = run(&strategy, &json!("id"), |page, _| json!({"data": [], "token": page + 1}));
    ran.expect(40, &["pages in a row were empty"]);
    assert!((50..53).contains(&asked), "{asked} requests");
    let (ran, _) = run(&strategy, &json!("id"), |page, _| match page {
        50 => json!({"data": [{"id": 1}]}),
        page => json!({"data": [], "token": page + 1}),
    });
    ran.expect(0, &[]);
    assert_eq!(ran.records("items").len(), 1);
}

#[test]
fn a_token_that_is_not_found_on_a_full_page_is_told() {
    let typo = |value: &str| json!({"type": "CursorPagination", "cursor_value": value, "page_size": 2});
    for value in [
        "{{ response['next_cursor'] }}",
        "{{ response.next_cursor }}",
        "{{ response.get('next_cursor') }}",
        "{{ response.get('meta', {}).get('next') }}",
        "{{ response['meta']['next_cursor'] }}",
        "{{ response['next_cursor'] or '' }}",
    ] {
        for (more, code, word) in [
            (json!({"nextCursor": "A", "meta": {}}), 0, Some("finds nothing on a full page")),
            (json!({"meta": {}}), 0, Some("finds nothing on a full page")),
            (json!({"nextCursor": null, "meta": {}}), 0, None),
            (json!({"has_more": false, "meta": {}}), 0, None),
            (json!({"total": 2, "next": null, "meta": {}}), 0, None),
            (json!({"total": 9, "meta": {}}), 40, Some("`total`")),
            (json!({"has_more": true, "meta": {}}), 40, Some("`has_more`")),
            (json!({"meta": {"totalCount": 9}}), 40, Some("`meta.totalCount`")),
        ] {
            let body = more.clone();
            let (ran, asked) = run(&typo(value), &json!("id"), move |_, _| {
                let mut body = body.clone();
                body["data"] = json!(rows(0..2));
                body
            });
            ran.expect(code, word.as_slice());
            assert_eq!(ran.err.contains("cursor_value"), word.is_some(), "{value} {more}: {}", ran.err);
            assert_eq!((ran.records("items").len(), asked), (2, 1));
        }
    }
    // What is null, or left out behind tokens, is how pages end.
    for last in [json!({"next": null}), json!({})] {
        let (ran, _) = run(&typo("{{ response['next'] }}"), &json!("id"), move |page, _| {
            let mut body = if page == 0 { json!({"next": "A"}) } else { last.clone() };
            body["data"] = json!(rows(page * 2..page * 2 + 2));
            body
        });
        ran.expect(0, &[]);
        assert!(!ran.err.contains("cursor_value"), "{}", ran.err);
    }
}
