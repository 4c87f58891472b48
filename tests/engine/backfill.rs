//! A part of the past is read beside the live runs: its state, what breaks off, and what changes meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};

use crate::support::past::{
    CATCH_UP, NOW, Row, Rows, around, backfilled, both, by_time, ids, is_open, manifest, parameter, parts, quiet, read,
    tap, vendor, windows,
};
use crate::support::tap::{Ran, Tap};
use crate::support::vendor::{Asked, Vendor};

/// What was sent, each as `id@v`.
fn sent(ran: &Ran) -> Vec<String> {
    let name = |r: &Json| format!("{}@{}", r["id"].as_str().unwrap(), r["v"]);
    ran.records("items").iter().map(name).collect()
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
    ran.expect(0, &["an earlier backfill read"]);
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

/// Lets a run be cut at each of its states, and goes on from there, over rows that change while it lasts: nothing is
/// missing and nothing stays old.
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

#[test]
fn a_slice_that_was_cut_short_stays_open() {
    let ignored = json!({"type": "HttpResponseFilter", "http_codes": [410], "action": "IGNORE"});
    let handler = json!({"type": "DefaultErrorHandler", "response_filters": [ignored]});
    let manifest = manifest(&by_time(json!({})), json!({"requester": {"error_handler": handler}}));
    let page = json!({"data": [{"id": "a", "at": "2024-01-05T00:00:00Z", "v": 1}], "next": "more"});
    for safety in [json!({}), json!({"settle": "PT1M"})] {
        let vendor = Vendor::of_items(json!([
            {"status": 200, "json": page}, {"status": 410, "json": {"message": "gone"}},
            {"status": 200, "json": {"data": []}},
        ]));
        let tap = Tap::new("read --log-format json --backfill 2024-01-01..2024-02-01").source(&manifest);
        let ran =
            tap.config(&json!({"url": vendor.url, "dripfeed": {"safety": safety}})).env("DRIPFEED_NOW", NOW).run();
        ran.expect(0, &["slice_skipped"]);
        assert_eq!((backfilled(&ran).is_empty(), is_open(&ran)), (true, true), "{safety}");
    }
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
    ran.expect(0, &["the partitions are listed first"]);
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
    live(&of_past.state()).expect(10, &["belongs to a backfill, but this run is a live run"]);
    let again = read(&manifest, &vendor, "2024-01-01..2024-03-01", &of_live.state());
    again.expect(10, &["belongs to live runs, but this run is a backfill"]);
    assert_eq!(vendor.asked().len(), asked, "nothing was asked");
    // What cannot be read is said, and nothing is read twice in silence.
    let empty = json!({"bookmarks": {"items": {"at": "2024-02-01T00:00:00Z"}}, "dripfeed": {"v": 1, "backfill": true}});
    read(&manifest, &vendor, "2024-01-01..2024-03-01", &empty).expect(0, &[]);
    let with = |bookmark: Json| {
        let state = json!({"bookmarks": {"items": bookmark}, "dripfeed": {"v": 1, "backfill": true}});
        read(&manifest, &vendor, "2024-01-01..2024-03-01", &state)
    };
    for empty in [json!({}), json!({"partitions": 3}), json!({"behind_since": NOW}), json!({"open": null})] {
        with(empty).expect(0, &[]);
    }
    for torn in [json!({"open": {}}), json!({"open": "x"}), json!({"backfilled": 1}), json!({"backfilled": [1]})] {
        with(torn).expect(10, &["stream `items`: cannot read the state of its backfill"]);
    }
    let mut torn = of_past.state();
    torn["bookmarks"]["items"]["backfilled"] = json!([{"start": "once"}]);
    read(&manifest, &vendor, "2024-01-01..2024-03-01", &torn)
        .expect(10, &["stream `items`: cannot read the state of its backfill"]);
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
    assert_eq!(windows(&vendor), ["2023-12-31T23:59:59Z..2024-02-01"]);
}

#[test]
fn a_backfill_goes_last_unless_it_is_told_otherwise() {
    let priority = |args: &[&str]| {
        let args: Vec<_> =
            ["dripfeed", "read", "--backfill", "2024-01-01..2024-02-01"].iter().chain(args).map(Into::into).collect();
        dripfeed::cli::parse(&args).unwrap().run_options().priority(&BTreeMap::new()).unwrap()
    };
    assert_eq!(priority(&[]), dripfeed::pace::limiter::Priority::Backfill);
    assert_eq!(priority(&["--priority", "hourly"]), dripfeed::pace::limiter::Priority::Hourly);
}
