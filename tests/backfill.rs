//! A part of the past is read beside the live runs: which requests, which records, which state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use dripfeed::config::Safety;
use dripfeed::cursor::backfill::Backfill;
use dripfeed::cursor::ranges::Span;
use dripfeed::cursor::{self, CursorPlan};
use dripfeed::manifest::model::IncrementalSync;
use dripfeed::manifest::node::{Node, Place, Read};
use dripfeed::plan::Ground;
use dripfeed::timefmt::parse_iso;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::{Asked, Vendor};

const NOW: &str = "2024-12-01T00:00:00Z";

/// A record of a vendor, of which there is one version at a time.
#[derive(Clone, Debug)]
struct Row {
    id: String,
    part: String,
    at: Json,
    v: u64,
}

type Rows = Arc<Mutex<Vec<Row>>>;

/// Rows, as (id, at).
fn rows(all: &[(&str, &str)]) -> Rows {
    let row = |(id, at): &(&str, &str)| Row { id: (*id).into(), part: String::new(), at: json!(at), v: 1 };
    Arc::new(Mutex::new(all.iter().map(row).collect()))
}

fn key(at: &Json) -> String {
    // Numbers of one length and texts of one form compare as texts.
    at.as_str().map_or_else(|| at.to_string(), str::to_owned)
}

/// Serves `/items` two at a time, oldest first: `since` and `before` are inclusive bounds, `part` is a filter; `newest` turns
/// the order round. `hook` sees every request before it is answered.
fn vendor(rows: &Rows, hook: impl Fn(&Asked, &mut Vec<Row>) -> Option<Json> + Send + Sync + 'static) -> Vendor {
    let rows = rows.clone();
    Vendor::answering(move |asked| {
        let mut rows = rows.lock().unwrap();
        if let Some(reply) = hook(asked, &mut rows) {
            return reply;
        }
        let wanted = |row: &&Row| {
            asked.param("since").is_none_or(|since| key(&row.at) >= since)
                && asked.param("before").is_none_or(|before| key(&row.at) <= before)
                && asked.param("part").is_none_or(|part| row.part == part)
        };
        let mut found: Vec<(String, &Row)> =
            rows.iter().filter(wanted).map(|row| (format!("{} {}", key(&row.at), row.id), row)).collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let newest = asked.param("newest").is_some();
        if newest {
            found.reverse();
        }
        let after = asked.param("after");
        let passed =
            |place: &str| after.as_deref().is_some_and(|after| if newest { place >= after } else { place <= after });
        let page: Vec<_> = found.iter().filter(|(place, _)| !passed(place)).take(2).collect();
        let more = page.last().filter(|(place, _)| found.last().is_some_and(|(last, _)| last != place));
        let data: Vec<Json> =
            page.iter().map(|(_, r)| json!({"id": r.id, "part": r.part, "at": r.at, "v": r.v})).collect();
        json!({"status": 200, "json": {"data": data, "next": more.map(|(place, _)| place)}})
    })
}

fn quiet(_: &Asked, _: &mut Vec<Row>) -> Option<Json> {
    None
}

fn parameter(name: &str) -> Json {
    json!({"type": "RequestOption", "inject_into": "request_parameter", "field_name": name})
}

/// A cursor by `at`; `more` says the rest of it.
fn by_time(more: Json) -> Json {
    let mut cursor = json!({
        "type": "DatetimeBasedCursor", "cursor_field": "at", "datetime_format": "%Y-%m-%dT%H:%M:%SZ",
        "start_datetime": "2024-10-01T00:00:00Z", "start_time_option": parameter("since"),
    });
    for (key, value) in more.as_object().unwrap() {
        cursor[key] = value.clone();
        if value.is_null() {
            cursor.as_object_mut().unwrap().remove(key);
        }
    }
    cursor
}

fn both(more: Json) -> Json {
    let mut more = more;
    more["end_time_option"] = parameter("before");
    by_time(more)
}

fn schema() -> Json {
    json!({"id": {"type": "string"}, "part": {"type": "string"}, "v": {"type": "integer"}})
}

fn manifest(cursor: &Json, retriever: Json) -> String {
    let mut retriever = retriever;
    retriever["paginator"] = json!({
        "type": "DefaultPaginator", "page_token_option": parameter("after"),
        "pagination_strategy": {
            "type": "CursorPagination", "cursor_value": "{{ response['next'] }}",
            "stop_condition": "{{ not response['next'] }}",
        },
    });
    items(&schema(), &json!({"incremental_sync": cursor}), &retriever)
}

/// Partitions that are named.
fn parts(values: &[&str]) -> Json {
    json!({"partition_router": {
        "type": "ListPartitionRouter", "cursor_field": "part", "values": values, "request_option": parameter("part"),
    }})
}

fn tap(manifest: &str, vendor: &Vendor, span: &str, state: &Json) -> Tap {
    let tap = Tap::new("read --log-format json --backfill").args(&[span]).source(manifest);
    let tap = tap.config(&json!({"url": vendor.url})).env("DRIPFEED_NOW", NOW);
    if state.is_null() { tap } else { tap.state(state) }
}

fn read(manifest: &str, vendor: &Vendor, span: &str, state: &Json) -> Ran {
    tap(manifest, vendor, span, state).run()
}

/// The windows that were asked for, each once, in order.
fn windows(vendor: &Vendor) -> Vec<String> {
    let short = |t: Option<String>| t.map_or("-".into(), |t| t.replace("T00:00:00Z", ""));
    let window = |a: &Asked| format!("{}..{}", short(a.param("since")), short(a.param("before")));
    vendor.asked().iter().map(window).collect::<BTreeSet<_>>().into_iter().collect()
}

/// What was sent, each as `id@v`.
fn sent(ran: &Ran) -> Vec<String> {
    let name = |r: &Json| format!("{}@{}", r["id"].as_str().unwrap(), r["v"]);
    ran.records("items").iter().map(name).collect()
}

fn ids(ran: &Ran) -> Vec<String> {
    let mut ids: Vec<String> = ran.records("items").iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

fn backfilled(ran: &Ran) -> Vec<String> {
    let state = &ran.state()["bookmarks"]["items"];
    let short = |t: &Json| t.as_str().unwrap().replace("T00:00:00Z", "");
    let spans = state["backfilled"].as_array().unwrap();
    spans.iter().map(|s| format!("{}..{}", short(&s["start"]), short(&s["end"]))).collect()
}

fn is_open(ran: &Ran) -> bool {
    ran.state()["bookmarks"]["items"]["open"].is_object()
}

/// A row before, at and after each bound.
fn around() -> Rows {
    rows(&[
        ("a", "2023-12-31T23:59:59Z"),
        ("b", "2024-01-01T00:00:00Z"),
        ("c", "2024-01-31T23:59:59Z"),
        ("d", "2024-02-01T00:00:00Z"),
        ("e", "2024-02-29T23:59:59Z"),
        ("f", "2024-03-01T00:00:00Z"),
        ("g", "2024-11-30T00:00:00Z"),
    ])
}

const CATCH_UP: &str = "2024-11-30T23:59:00Z..2024-12-01";

#[test]
fn the_manifests_windows_end_where_the_past_was_asked_to() {
    let manifest = manifest(&both(json!({"step": "P1M", "cursor_granularity": "PT1S"})), json!({}));
    let vendor = vendor(&around(), quiet);
    let ran = read(&manifest, &vendor, "2024-01-01..2024-03-01", &Json::Null);
    ran.expect(0, &[]);
    assert_eq!(
        windows(&vendor),
        ["2024-01-01..2024-01-31T23:59:59Z", "2024-02-01..2024-02-29T23:59:59Z", CATCH_UP],
        "and what changed meanwhile"
    );
    assert_eq!(ids(&ran), ["b", "c", "d", "e"]);
    assert_eq!(backfilled(&ran), ["2024-01-01..2024-03-01"]);
    assert!(!is_open(&ran));
    assert_eq!(ran.state()["dripfeed"]["backfill"], true);
    let planned = &ran.events("backfill_planned")[0];
    assert_eq!((&planned["windows"], &planned["calls_at_least"]), (&json!(2), &json!(2)));
    let last = ran.events("backfill_progress").pop().unwrap();
    assert_eq!(
        (&last["done"], &last["of"], &last["listed"], &last["ended"]),
        (&json!(3), &json!(3), &json!(true), &json!(true))
    );
}

#[test]
fn windows_may_be_longer_than_the_past_and_unaligned() {
    let manifest = manifest(&both(json!({"step": "P1Y", "cursor_granularity": "PT1S"})), json!({}));
    let vendor = vendor(&around(), quiet);
    let ran = read(&manifest, &vendor, "2024-01-31T23:59:59Z..2024-02-29T23:59:59.5+00:00", &Json::Null);
    ran.expect(0, &[]);
    assert_eq!(windows(&vendor), ["2024-01-31T23:59:59Z..2024-02-29T23:59:59Z", CATCH_UP]);
    assert_eq!(ids(&ran), ["c", "d", "e"]);
}

#[test]
fn where_the_manifest_knows_no_windows_they_are_months() {
    // By an option, and by a template alone.
    let cursors = [
        (both(json!({})), json!({})),
        (
            by_time(json!({"start_time_option": null})),
            json!({"requester": {"request_parameters": {
                "since": "{{ stream_interval.start_time }}", "before": "{{ stream_slice['end_time'] }}",
            }}}),
        ),
    ];
    for (cursor, retriever) in cursors {
        let vendor = vendor(&around(), quiet);
        let ran = read(&manifest(&cursor, retriever), &vendor, "2024-01-01..2024-03-01", &Json::Null);
        ran.expect(0, &[]);
        // Nobody knows whether the bounds are inclusive: windows overlap by what requests can tell.
        assert_eq!(windows(&vendor), ["2024-01-01..2024-02-01", "2024-01-31T23:59:59Z..2024-03-01", CATCH_UP]);
        assert_eq!(ids(&ran).into_iter().collect::<BTreeSet<_>>().into_iter().collect::<String>(), "bcde");
    }
}

#[test]
fn a_vendor_that_knows_no_end_is_read_once_for_each_partition() {
    let rows = around();
    {
        let mut rows = rows.lock().unwrap();
        for row in rows.iter_mut() {
            row.part = if *row.id < *"d" { "x".into() } else { "y".into() };
        }
    }
    let manifest = manifest(&by_time(json!({})), parts(&["x", "y", "z"]));
    let vendor = vendor(&rows, quiet);
    let ran = read(&manifest, &vendor, "2024-01-01..2024-03-01", &Json::Null);
    ran.expect(0, &["3 partitions: at least 3 calls"]);
    assert_eq!(ids(&ran), ["b", "c", "d", "e"], "what lies outside is left out");
    assert_eq!(windows(&vendor), ["2024-01-01..-", "2024-11-30T23:59:00Z..-"]);
    let again = |part: &str| {
        let of_part = |a: &&Asked| a.param("part").as_deref() == Some(part) && a.param("after").is_none();
        vendor.asked().iter().filter(of_part).count()
    };
    assert_eq!((again("x"), again("y"), again("z")), (2, 2, 1), "nothing of z went out that could be old");
    assert_eq!(backfilled(&ran), ["2024-01-01..2024-03-01"]);
    assert_eq!(ran.state()["bookmarks"]["items"]["partitions"], 3);
}

#[test]
fn steps_without_an_end_are_the_manifests_word() {
    // Such requests may ask for a day by its name alone: one window would read that day and call it all.
    let manifest = manifest(&by_time(json!({"step": "P1M", "cursor_granularity": "PT1S"})), json!({}));
    let vendor = vendor(&around(), quiet);
    let ran = read(&manifest, &vendor, "2024-01-01..2024-03-01", &Json::Null);
    ran.expect(0, &[]);
    assert_eq!(windows(&vendor)[..2], ["2024-01-01..-", "2024-02-01..-"]);
    assert_eq!(ids(&ran).into_iter().collect::<BTreeSet<_>>().into_iter().collect::<String>(), "bcde");
}

#[test]
fn days_are_read_whole() {
    let days = rows(&[
        ("a", "2024-01-01"),
        ("b", "2024-01-02"),
        ("c", "2024-01-03"),
        ("d", "2024-01-04"),
        ("e", "2024-01-05"),
    ]);
    let day = json!({"datetime_format": "%Y-%m-%d", "start_datetime": "2024-10-01"});
    let steps = json!({"datetime_format": "%Y-%m-%d", "start_datetime": "2024-10-01", "step": "P1M", "cursor_granularity": "P1D"});
    for (cursor, span, wanted, asked) in [
        (both(steps.clone()), "2024-01-02..2024-01-04", "bc", "2024-01-02..2024-01-03"),
        (both(steps), "2024-01-02T12:00:00Z..2024-01-04T12:00:00Z", "bcd", "2024-01-02..2024-01-04"),
        (both(day.clone()), "2024-01-02..2024-01-04", "bc", "2024-01-02..2024-01-04"),
        (both(day.clone()), "2024-01-02T12:00:00Z..2024-01-04T12:00:00Z", "bcd", "2024-01-02..2024-01-05"),
        (by_time(day), "2024-01-02T12:00:00Z..2024-01-04T12:00:00Z", "bcd", "2024-01-02..-"),
    ] {
        let vendor = vendor(&days, quiet);
        let ran = read(&manifest(&cursor, json!({})), &vendor, span, &Json::Null);
        ran.expect(0, &[]);
        assert_eq!(ids(&ran).concat(), wanted, "{span} of {cursor}");
        assert_eq!(windows(&vendor)[0], asked);
    }
}

#[test]
fn numbers_of_seconds_are_times() {
    let rows = Arc::new(Mutex::new(
        (0..6)
            .map(|n| Row { id: format!("r{n}"), part: String::new(), at: json!(1_704_067_200 + n * 86_400), v: 1 })
            .collect(),
    ));
    let epoch = json!({"datetime_format": "%s", "start_datetime": "1727740800"});
    for cursor in [both(epoch.clone()), by_time(epoch)] {
        let vendor = vendor(&rows, quiet);
        let ran = read(&manifest(&cursor, json!({})), &vendor, "2024-01-02..2024-01-05", &Json::Null);
        ran.expect(0, &[]);
        assert_eq!(ids(&ran), ["r1", "r2", "r3"]);
        assert_eq!(vendor.asked()[0].param("since").unwrap(), "1704153600");
    }
}

#[test]
fn newest_first_ends_before_the_past_and_not_after_it() {
    let cursor = by_time(json!({"is_data_feed": true, "start_time_option": null}));
    let newest = json!({"requester": {"request_parameters": {"newest": "yes"}}});
    let vendor = vendor(&around(), quiet);
    let ran = read(&manifest(&cursor, newest), &vendor, "2024-01-31T23:59:59Z..2024-02-29T23:59:59Z", &Json::Null);
    ran.expect(0, &[]);
    assert_eq!(ids(&ran), ["c", "d"]);
    // g f, e d, c b; and for what changed meanwhile g f.
    assert_eq!(vendor.asked().len(), 4);
}

#[test]
fn what_is_compared_here_is_compared_with_the_past() {
    let cursor = by_time(json!({"is_client_side_incremental": true, "start_time_option": null}));
    let vendor = vendor(&around(), quiet);
    let ran = read(&manifest(&cursor, json!({})), &vendor, "2024-01-01..2024-03-01", &Json::Null);
    ran.expect(0, &[]);
    assert_eq!(ids(&ran), ["b", "c", "d", "e"]);
}

#[test]
fn a_record_is_known_by_what_it_becomes() {
    // The cursor is made of another field: what the vendor sends has none.
    let cursor = by_time(json!({"cursor_field": "changed"}));
    let added = json!({"type": "AddFields", "fields": [
        {"type": "AddedFieldDefinition", "path": ["changed"], "value": "{{ record['at'] }}"},
    ]});
    let mut manifest: Json = serde_json::from_str(&manifest(&cursor, json!({}))).unwrap();
    manifest["streams"][0]["transformations"] = json!([added]);
    let vendor = vendor(&around(), quiet);
    let ran = read(&manifest.to_string(), &vendor, "2024-01-01..2024-03-01", &Json::Null);
    ran.expect(0, &[]);
    assert_eq!(ids(&ran), ["b", "c", "d", "e"]);
}

#[test]
fn months_are_read_whole_where_the_manifest_says_so() {
    let clamped =
        json!({"step": "P1M", "cursor_granularity": "P1D", "clamping": {"type": "Clamping", "target": "MONTH"}});
    let manifest = manifest(&both(clamped), json!({}));
    let vendor = vendor(&around(), quiet);
    let ran = read(&manifest, &vendor, "2024-01-15..2024-02-15", &Json::Null);
    ran.expect(0, &[]);
    assert_eq!(windows(&vendor)[..2], ["2024-01-01..2024-01-31", "2024-02-01..2024-02-29"]);
    assert_eq!(backfilled(&ran), ["2024-01-01..2024-03-01"]);
}

#[test]
fn what_was_read_is_not_read_again() {
    let manifest = manifest(&both(json!({"step": "P1M", "cursor_granularity": "PT1S"})), json!({}));
    let first = vendor(&around(), quiet);
    let ran = read(&manifest, &first, "2024-02-01..2024-03-01", &Json::Null);
    ran.expect(0, &[]);
    // Before and after it, and it.
    let second = vendor(&around(), quiet);
    let ran = read(&manifest, &second, "2024-01-01..2024-04-01", &ran.state());
    ran.expect(0, &[]);
    assert_eq!(windows(&second), ["2024-01-01..2024-01-31T23:59:59Z", "2024-03-01..2024-03-31T23:59:59Z", CATCH_UP]);
    assert_eq!(ids(&ran), ["b", "c", "f"]);
    assert_eq!(backfilled(&ran), ["2024-01-01..2024-04-01"]);
    let third = vendor(&around(), quiet);
    let ran = read(&manifest, &third, "2024-01-15..2024-03-15", &ran.state());
    ran.expect(0, &["was read by an earlier backfill"]);
    assert!(third.asked().is_empty());
    assert_eq!(backfilled(&ran), ["2024-01-01..2024-04-01"], "the state is said all the same");
    // Unless that is asked for.
    let ran = tap(&manifest, &third, "2024-01-15..2024-03-15", &ran.state()).args(&["--reset", "items"]).run();
    ran.expect(0, &[]);
    assert_eq!(ids(&ran), ["c", "d", "e", "f"]);
}

#[test]
fn another_part_of_the_past_keeps_what_was_read_of_the_first() {
    let state = |begun: &str, done: &str| {
        let part = |name: &str| json!({"part": name});
        let span =
            |start: &str, end: &str| json!({"start": format!("{start}T00:00:00Z"), "end": format!("{end}T00:00:00Z")});
        let named = |id: &str| {
            use base64::Engine as _;
            use sha2::Digest as _;
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&sha2::Sha256::digest(id)[..12])
        };
        let mut whole = span("2024-01-01", "2024-03-01");
        whole["partitions"] = json!([named(&format!("{{\"part\":\"{done}\"}}"))]);
        let mut open = span("2024-01-01", "2024-03-01");
        open["since"] = json!("2024-11-20T00:00:00Z");
        open["begun"] = json!([{"partition": part(begun), "read": [span("2024-01-01", "2024-02-01")]}]);
        open["done"] = json!([whole]);
        json!({"bookmarks": {"items": {"backfilled": [], "open": open}}, "dripfeed": {"v": 1, "backfill": true}})
    };
    let manifest = manifest(&both(json!({"step": "P1M", "cursor_granularity": "PT1S"})), parts(&["x", "y"]));
    let vendor = vendor(&around(), quiet);
    let ran = read(&manifest, &vendor, "2024-02-01..2024-04-01", &state("x", "y"));
    ran.expect(0, &[]);
    let asked: BTreeSet<String> = vendor
        .asked()
        .iter()
        .map(|a| format!("{} {}", a.param("part").unwrap(), &a.param("since").unwrap()[..10]))
        .collect();
    let caught_up = ["x 2024-11-19", "y 2024-11-19"];
    assert_eq!(
        asked,
        BTreeSet::from(["x 2024-02-01", "x 2024-03-01", "y 2024-03-01"].map(str::to_owned))
            .union(&caught_up.map(str::to_owned).into())
            .cloned()
            .collect()
    );
    assert_eq!(backfilled(&ran), ["2024-02-01..2024-04-01"]);
    // January of both is not forgotten.
    let second = self::vendor(&around(), quiet);
    let ran = read(&manifest, &second, "2024-01-01..2024-02-01", &ran.state());
    ran.expect(0, &[]);
    assert_eq!(windows(&second), ["2024-11-19T23:59:00Z..2024-12-01"], "but for what changed since then");
    assert_eq!(backfilled(&ran), ["2024-01-01..2024-04-01"]);
    assert!(!is_open(&ran));
}

/// Rows of three months in two partitions.
fn many() -> Rows {
    let mut all = Vec::new();
    for (number, day) in (1..=28).step_by(3).flat_map(|day| (1..=3).map(move |month| (month, day))).enumerate() {
        let at = json!(format!("2024-{:02}-{:02}T12:00:00Z", day.0, day.1));
        let part = if number % 2 == 0 { "x" } else { "y" };
        all.push(Row { id: format!("r{number:02}"), part: part.into(), at, v: 1 });
    }
    Arc::new(Mutex::new(all))
}

/// Lets a run be cut at each of its states, and goes on from there, over rows that change while it lasts: nothing is missing
/// and nothing stays old.
fn cut_everywhere(manifest: &str) {
    let rows = many();
    let count = Arc::new(Mutex::new(0));
    let live = {
        let count = count.clone();
        // Each request changes a row, oldest first: it leaves the past that is read.
        move |_: &Asked, rows: &mut Vec<Row>| {
            let mut count = count.lock().unwrap();
            if *count < 12 {
                let row = &mut rows[*count];
                (row.at, row.v) = (json!(NOW), 2);
            }
            *count += 1;
            None
        }
    };
    let whole = read(manifest, &vendor(&rows, live), "2024-01-01..2024-04-01", &Json::Null);
    whole.expect(0, &[]);
    let now: BTreeMap<String, u64> = rows.lock().unwrap().iter().map(|r| (r.id.clone(), r.v)).collect();
    let check = |messages: &[Json], further: &[Json], what: &str| {
        let mut last = BTreeMap::new();
        for message in messages.iter().chain(further).filter(|m| m["type"] == "RECORD") {
            let record = &message["record"];
            last.insert(record["id"].as_str().unwrap().to_owned(), record["v"].as_u64().unwrap());
        }
        for (id, version) in &now {
            match last.get(id) {
                Some(sent) => assert_eq!(sent, version, "{what}: {id} stays old"),
                // Changed before it was read: it is the live runs'.
                None => assert_eq!(*version, 2, "{what}: {id} is missing"),
            }
        }
    };
    let messages = whole.messages();
    check(&messages, &[], "in one go");
    let still = vendor(&rows, quiet);
    let states: Vec<usize> = (0..messages.len()).filter(|at| messages[*at]["type"] == "STATE").collect();
    // Of partitions, which are many, the state is said every ten seconds and in the end.
    assert!(states.len() > 1, "{}", states.len());
    for at in states {
        let ran = read(manifest, &still, "2024-01-01..2024-04-01", &messages[at]["value"]);
        ran.expect(0, &[]);
        check(&messages[..at], &ran.messages(), &format!("cut at message {at}"));
        // What went out after the state is older than what comes now.
        check(&messages, &ran.messages(), &format!("cut after message {at}"));
        assert_eq!(backfilled(&ran), ["2024-01-01..2024-04-01"]);
        assert!(!is_open(&ran));
    }
}

#[test]
fn a_run_may_be_cut_at_each_state() {
    let steps = json!({"step": "P10D", "cursor_granularity": "PT1S"});
    cut_everywhere(&manifest(&both(steps.clone()), json!({})));
    cut_everywhere(&manifest(&both(steps), parts(&["x", "y"])));
    cut_everywhere(&manifest(&by_time(json!({})), parts(&["x", "y"])));
    cut_everywhere(&manifest(
        &by_time(json!({"is_client_side_incremental": true, "start_time_option": null})),
        json!({}),
    ));
}

#[test]
fn the_first_state_stands_before_the_first_record() {
    let manifest = manifest(&by_time(json!({})), json!({}));
    let ran = read(&manifest, &vendor(&around(), quiet), "2024-01-01..2024-03-01", &Json::Null);
    let messages = ran.messages();
    let first = |kind: &str| messages.iter().position(|m| m["type"] == kind).unwrap();
    assert!(first("STATE") < first("RECORD"));
    assert_eq!(messages[first("STATE")]["value"]["bookmarks"]["items"]["open"]["since"], NOW);
}

#[test]
fn a_partition_that_fails_stays_open_alone() {
    let rows = many();
    let manifest = manifest(&both(json!({"step": "P1M", "cursor_granularity": "PT1S"})), parts(&["x", "y"]));
    let broken = vendor(&rows, |asked, _| {
        let february = asked.param("since").is_some_and(|since| since.starts_with("2024-02"));
        (february && asked.param("part").as_deref() == Some("y"))
            .then(|| json!({"status": 400, "json": {"error": "no"}}))
    });
    let ran = read(&manifest, &broken, "2024-01-01..2024-04-01", &Json::Null);
    ran.expect(40, &["400"]);
    assert!(backfilled(&ran).is_empty() && is_open(&ran));
    let well = vendor(&rows, quiet);
    let second = read(&manifest, &well, "2024-01-01..2024-04-01", &ran.state());
    second.expect(0, &[]);
    let asked: BTreeSet<String> = well
        .asked()
        .iter()
        .map(|a| format!("{} {}", a.param("part").unwrap(), &a.param("since").unwrap()[..10]))
        .collect();
    assert_eq!(
        asked.into_iter().collect::<Vec<_>>(),
        ["y 2024-02-01", "y 2024-11-30"],
        "what failed, and what changed"
    );
    let all: BTreeSet<String> = ids(&ran).into_iter().chain(ids(&second)).collect();
    assert_eq!(all.len(), rows.lock().unwrap().len());
    assert_eq!(backfilled(&second), ["2024-01-01..2024-04-01"]);
    let last = second.events("backfill_progress").pop().unwrap();
    assert_eq!((&last["done"], &last["of"]), (&json!(7), &json!(7)));
}

/// A manifest with a stream `boxes` that `items` are in.
fn within_boxes() -> String {
    let mut whole: Json = serde_json::from_str(&manifest(&by_time(json!({})), json!({}))).unwrap();
    let mut boxes = whole["streams"][0].clone();
    boxes["name"] = json!("boxes");
    boxes["retriever"]["requester"]["path"] = json!("boxes");
    boxes["retriever"].as_object_mut().unwrap().remove("paginator");
    whole["streams"][0]["retriever"]["partition_router"] = json!({
        "type": "SubstreamPartitionRouter",
        "parent_stream_configs": [{
            "type": "ParentStreamConfig", "stream": boxes, "parent_key": "id", "partition_field": "part",
            "incremental_dependency": true, "request_option": parameter("part"),
        }],
    });
    whole["streams"].as_array_mut().unwrap().push(boxes);
    whole.to_string()
}

fn of_boxes(asked: &Asked, names: &[(&str, &str)]) -> Option<Json> {
    let since = asked.param("since").unwrap_or_default();
    let found = names.iter().filter(|(_, at)| *at >= &*since).map(|(id, at)| json!({"id": id, "at": at, "v": 1}));
    (asked.path == "/boxes").then(|| json!({"status": 200, "json": {"data": found.collect::<Vec<_>>()}}))
}

#[test]
fn parents_are_read_from_where_the_past_begins() {
    let rows = many();
    // Long before the start date, of which the live runs know nothing.
    let old = [("x", "2024-01-02T00:00:00Z"), ("y", "2024-11-01T00:00:00Z")];
    let vendor = vendor(&rows, move |asked, _| of_boxes(asked, &old));
    let ran = tap(&within_boxes(), &vendor, "2024-01-01..2024-04-01", &Json::Null).args(&["--streams", "items"]).run();
    ran.expect(0, &["these are listed first"]);
    assert_eq!(ran.records("items").len(), rows.lock().unwrap().len());
    assert_eq!(ran.state()["bookmarks"].as_object().unwrap().len(), 1);
    assert_eq!(ran.events("backfill_planned")[0]["calls_at_least"], Json::Null);
}

#[test]
fn a_partition_that_appears_is_read_by_the_run_that_finds_it() {
    let rows = many();
    let one = [("x", "2024-11-01T00:00:00Z")];
    let broken = vendor(&rows, move |asked, _| {
        of_boxes(asked, &one).or_else(|| asked.param("after").map(|_| json!({"status": 400, "json": {"error": "no"}})))
    });
    let args = ["--streams", "items"];
    let ran = tap(&within_boxes(), &broken, "2024-01-01..2024-04-01", &Json::Null).args(&args).run();
    ran.expect(40, &[]);
    let two = [("x", "2024-11-01T00:00:00Z"), ("y", "2024-11-02T00:00:00Z")];
    let second = vendor(&rows, move |asked, _| of_boxes(asked, &two));
    let ran = tap(&within_boxes(), &second, "2024-01-01..2024-04-01", &ran.state()).args(&args).run();
    ran.expect(0, &[]);
    let found: BTreeSet<String> = ids(&ran).into_iter().collect();
    assert_eq!(found.len(), rows.lock().unwrap().len());
}

#[test]
fn streams_without_a_time_are_left_out_unless_they_are_named() {
    let mut whole: Json = serde_json::from_str(&manifest(&by_time(json!({})), json!({}))).unwrap();
    let mut plain = whole["streams"][0].clone();
    plain["name"] = json!("plain");
    plain.as_object_mut().unwrap().remove("incremental_sync");
    whole["streams"].as_array_mut().unwrap().push(plain);
    let vendor = vendor(&around(), quiet);
    let ran = read(&whole.to_string(), &vendor, "2024-01-01..2024-03-01", &Json::Null);
    ran.expect(0, &["plain: not read: it has no cursor over time"]);
    assert!(ran.records("plain").is_empty() && ran.state()["bookmarks"]["plain"].is_null());
    let asked = vendor.asked().len();
    let ran = tap(&whole.to_string(), &vendor, "2024-01-01..2024-03-01", &Json::Null)
        .args(&["--streams", "plain,items"])
        .run();
    ran.expect(10, &["stream `plain`: it has no cursor over time"]);
    assert_eq!(vendor.asked().len(), asked, "nothing was asked");
}

#[test]
fn states_of_live_runs_and_of_backfills_are_not_confused() {
    let manifest = manifest(&by_time(json!({})), json!({}));
    let vendor = vendor(&around(), quiet);
    let live = |state: &Json| {
        let tap = Tap::new("read --log-format json").source(&manifest).config(&json!({"url": vendor.url}));
        let tap = tap.env("DRIPFEED_NOW", NOW);
        if state.is_null() { tap.run() } else { tap.state(state).run() }
    };
    let of_live = live(&Json::Null);
    of_live.expect(0, &[]);
    let of_past = read(&manifest, &vendor, "2024-01-01..2024-03-01", &Json::Null);
    let asked = vendor.asked().len();
    live(&of_past.state()).expect(10, &["the state is of a backfill, and this run is none"]);
    let again = read(&manifest, &vendor, "2024-01-01..2024-03-01", &of_live.state());
    again.expect(10, &["the state is of live runs, and this run is a backfill"]);
    assert_eq!(vendor.asked().len(), asked, "nothing was asked");
    // What cannot be read is said, and nothing is read twice in silence.
    let mut torn = of_past.state();
    torn["bookmarks"]["items"]["backfilled"] = json!([{"start": "once"}]);
    read(&manifest, &vendor, "2024-01-01..2024-03-01", &torn)
        .expect(10, &["stream `items`: the state of its backfill cannot be read"]);
}

#[test]
fn a_part_of_time_that_makes_no_sense_is_refused() {
    let manifest = manifest(&by_time(json!({})), json!({}));
    let vendor = vendor(&around(), quiet);
    for (span, words) in [
        ("2024-01-01", "write it as FROM..TO"),
        ("2024-03-01..2024-01-01", "2024-03-01 is not before 2024-01-01"),
        ("2024-03-01..2024-03-01", "is not before"),
        ("2024..2025-01-01", "`2024` is neither a date"),
        ("2024-01-01T00:00:00..2024-02-01", "nor a time such as"),
        ("2024-01-01..soon", "`soon` is neither"),
        ("2024-01-01..2024-12-02", "--backfill ends in the future"),
    ] {
        read(&manifest, &vendor, span, &Json::Null).expect(2, &[words]);
    }
    let refused = |more: &str| {
        let tap = tap(&manifest, &vendor, "2024-01-01..2024-03-01", &Json::Null);
        tap.args(&more.split(' ').collect::<Vec<_>>()).run()
    };
    refused("--full-refresh").expect(2, &["--full-refresh"]);
    assert_eq!(refused("--protocol airbyte").code, 2);
    assert!(vendor.asked().is_empty());
}

#[test]
fn a_preview_saves_nothing_and_reads_nothing_again() {
    let manifest = manifest(&both(json!({})), json!({}));
    let vendor = vendor(&around(), quiet);
    let ran = tap(&manifest, &vendor, "2024-01-01..2024-02-01", &Json::Null).args(&["--limit", "1"]).run();
    ran.expect(0, &[]);
    assert_eq!(sent(&ran), ["b@1"]);
    assert!(ran.state().is_null());
    assert_eq!(windows(&vendor), ["2024-01-01..2024-02-01"]);
}

#[test]
fn a_backfill_goes_last_unless_it_is_told_otherwise() {
    let priority = |args: &[&str]| {
        let args: Vec<_> =
            ["dripfeed", "read", "--backfill", "2024-01-01..2024-02-01"].iter().chain(args).map(Into::into).collect();
        dripfeed::cli::parse(&args).unwrap().options.priority(&BTreeMap::new()).unwrap()
    };
    assert_eq!(priority(&[]), dripfeed::pace::limiter::Priority::Backfill);
    assert_eq!(priority(&["--priority", "hourly"]), dripfeed::pace::limiter::Priority::Hourly);
}

fn plan(def: &Json, asks_end: bool) -> CursorPlan {
    let place = Place::top("test");
    let def = IncrementalSync::read(&Node::from_json(def), &place).unwrap();
    let ground = Ground { config: json!({}), now: parse_iso(NOW).unwrap(), began: None };
    cursor::build(&def, &Safety::default(), &ground).unwrap().of_history(asks_end)
}

#[test]
fn more_partitions_than_live_runs_tell_apart_are_told_apart() {
    const MANY: usize = 30_000;
    let plan = plan(&by_time(json!({})), false);
    let time = |text: &str| parse_iso(text).unwrap();
    let asked = Span { start: time("2024-01-01"), end: time("2024-03-01") };
    let key =
        |number: usize| json!({"project": format!("{number:08}"), "parent_slice": {}}).as_object().unwrap().clone();
    let id = |number| dripfeed::cursor::partitions::identity(&key(number));
    let mut first = Backfill::begin(asked, None, time(NOW)).unwrap();
    for number in 0..MANY {
        let windows = first.open(&plan, &key(number), time(NOW));
        assert_eq!(windows.len(), 1);
        assert!(first.open(&plan, &key(number), time(NOW)).is_empty(), "found twice, read once");
        // One stays open.
        if number != 12_345 {
            assert!(first.close(&plan, &id(number), &windows[0], Some(time(NOW))).is_empty());
        }
    }
    let state = first.state();
    let bytes = state.to_string().len();
    assert!(bytes < 20 * MANY, "{bytes} bytes");
    let mut second = Backfill::begin(asked, state.as_object(), time(NOW)).unwrap();
    let left: Vec<usize> = (0..MANY).filter(|n| !second.open(&plan, &key(*n), time(NOW)).is_empty()).collect();
    assert_eq!(left, [12_345]);
}

proptest! {
    /// However time is cut and however often a run breaks off: every moment that was asked for is in a window that was read
    /// wholly, and all that was asked for is closed once nothing is left.
    #[test]
    fn every_moment_is_in_a_window(
        format in prop::sample::select(vec!["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d", "%s", "%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m"]),
        step in prop::sample::select(vec![None, Some(("P1D", "P1D")), Some(("P1M", "PT1S")), Some(("P9D", "P1D")), Some(("PT7H", "PT0.001S")), Some(("P1Y", "P1D"))]),
        clamp in prop::sample::select(vec![None, Some("DAY"), Some("MONTH")]),
        asks_end in any::<bool>(),
        strict in any::<bool>(),
        spans in prop::collection::vec((0..40_000i64, 1..15_000i64), 1..4),
        luck in prop::collection::vec(any::<bool>(), 8),
    ) {
        let start = match format { "%s" => "1700000000", "%Y-%m-%d" => "2023-01-01", "%Y-%m" => "2023-01", "%Y-%m-%dT%H:%M:%SZ" => "2023-01-01T00:00:00Z", _ => "2023-01-01T00:00:00.000000Z" };
        let mut def = json!({"type": "DatetimeBasedCursor", "cursor_field": "at", "datetime_format": format, "start_datetime": start, "is_compare_strictly": strict});
        if let Some((step, granularity)) = step {
            (def["step"], def["cursor_granularity"]) = (json!(step), json!(granularity));
        }
        if let (Some(target), Some(_)) = (clamp, step) {
            def["clamping"] = json!({"type": "Clamping", "target": target});
        }
        let plan = plan(&def, asks_end);
        // Minutes since then.
        let at = |minutes: i64| parse_iso("2024-01-01").unwrap() + time::Duration::seconds(60 * minutes + minutes % 60);
        let now = at(60_000);
        let (mut state, mut read, mut turn) = (Json::Null, Vec::new(), 0);
        let key = serde_json::Map::new();
        let id = dripfeed::cursor::partitions::identity(&key);
        for (from, length) in spans {
            let Some(asked) = plan.in_whole_periods(Span { start: at(from), end: at(from + length) }, now) else { continue };
            for run in 0.. {
                prop_assert!(run < 200, "it does not end");
                let mut backfill = Backfill::begin(asked, state.as_object(), now).unwrap();
                if backfill.is_read() {
                    break;
                }
                let mut failed = false;
                for window in backfill.open(&plan, &key, now) {
                    turn += 1;
                    if luck[turn % luck.len()] || run > 3 {
                        read.push(window);
                        backfill.close(&plan, &id, &window, None);
                    } else {
                        failed = true;
                        backfill.fail(&id, &window);
                    }
                }
                backfill.listed();
                if !failed {
                    backfill.finish();
                }
                state = backfill.state();
            }
            // A window's end stands for as much as the manifest says, or for what is written.
            let granule = match step.map(|(_, granularity)| granularity) {
                Some("P1D") => time::Duration::days(1),
                Some("PT1S") => time::Duration::seconds(1),
                Some(_) => time::Duration::milliseconds(1),
                None => time::Duration::microseconds(1),
            };
            let last = asked.end - time::Duration::microseconds(1);
            for part in 0..=40 {
                let moment = asked.start + (last - asked.start) * part / 40;
                // As exact as a cursor value can be.
                let value = plan.parse(&plan.write(moment)).unwrap();
                let inside = |w: &cursor::Window| w.start <= value && value < w.end + granule;
                prop_assert!(read.iter().any(inside), "{moment} of {def}");
            }
        }
    }
}
