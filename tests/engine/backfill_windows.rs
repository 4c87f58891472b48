//! Which windows of the past are read, and which of their records are sent.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use dripfeed::base::config::Safety;
use dripfeed::base::timefmt::{parse_iso, rfc3339};
use dripfeed::engine::cursor::backfill::Backfill;
use dripfeed::engine::cursor::ranges::{Span, Spans};
use dripfeed::engine::cursor::{self, CursorPlan};
use dripfeed::manifest::model::IncrementalSync;
use dripfeed::manifest::node::{Node, Place, Read};
use dripfeed::manifest::template::EvalContext;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::support::past::{
    CATCH_UP, NOW, Row, around, backfilled, both, by_time, ids, is_open, manifest, parts, quiet, read, rows, vendor,
    windows,
};
use crate::support::vendor::{Asked, Vendor};

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
        assert_eq!(
            windows(&vendor),
            ["2023-12-31T23:59:59Z..2024-02-01", "2024-01-31T23:59:59Z..2024-03-01", CATCH_UP]
        );
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
    assert_eq!(windows(&vendor), ["2023-12-31T23:59:59Z..-", "2024-11-30T23:59:00Z..-"]);
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
    let steps = json!({
        "datetime_format": "%Y-%m-%d", "start_datetime": "2024-10-01", "step": "P1M", "cursor_granularity": "P1D",
    });
    for (cursor, span, wanted, asked) in [
        (both(steps.clone()), "2024-01-02..2024-01-04", "bc", "2024-01-02..2024-01-03"),
        (both(steps), "2024-01-02T12:00:00Z..2024-01-04T12:00:00Z", "bcd", "2024-01-02..2024-01-04"),
        (both(day.clone()), "2024-01-02..2024-01-04", "bc", "2024-01-01..2024-01-04"),
        (both(day.clone()), "2024-01-02T12:00:00Z..2024-01-04T12:00:00Z", "bcd", "2024-01-01..2024-01-05"),
        (by_time(day), "2024-01-02T12:00:00Z..2024-01-04T12:00:00Z", "bcd", "2024-01-01..-"),
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
        assert_eq!(vendor.asked()[0].param("since").unwrap(), "1704153599");
    }
}

#[test]
fn what_lies_on_a_bound_is_read_by_one_of_two_adjacent_backfills() {
    for cursor in [both(json!({})), by_time(json!({}))] {
        let rows = around();
        let after = move |asked: &Asked, rows: &mut Vec<Row>| {
            let (since, before) = (asked.param("since").unwrap(), asked.param("before"));
            let wanted = |at: &str| *at > *since && before.as_ref().is_none_or(|before| *at <= **before);
            let found = rows.iter().filter(|row| wanted(row.at.as_str().unwrap()));
            let data: Vec<Json> = found.map(|row| json!({"id": row.id, "at": row.at, "v": row.v})).collect();
            Some(json!({"status": 200, "json": {"data": data, "next": null}}))
        };
        let vendor = vendor(&rows, after);
        let manifest = manifest(&cursor, json!({}));
        let first = read(&manifest, &vendor, "2024-01-01..2024-02-01", &Json::Null);
        first.expect(0, &[]);
        let second = read(&manifest, &vendor, "2024-02-01..2024-03-01", &first.state());
        second.expect(0, &[]);
        assert_eq!((ids(&first).concat(), ids(&second).concat()), ("bc".into(), "de".into()), "{cursor}");
        assert_eq!(backfilled(&second), ["2024-01-01..2024-03-01"]);
    }
}

#[test]
fn two_parts_of_a_day_that_requests_cannot_tell_apart_are_read_as_one() {
    let hours = (0..24).map(|n| Row {
        id: format!("h{n:02}"),
        part: String::new(),
        at: json!(format!("2024-03-05T{n:02}:00:00Z")),
        v: 1,
    });
    let hours = Arc::new(Mutex::new(hours.collect()));
    let cursor = json!({
        "datetime_format": "%Y-%m-%d", "cursor_datetime_formats": ["%Y-%m-%dT%H:%M:%SZ"],
        "start_datetime": "2024-10-01",
    });
    for cursor in [by_time(cursor.clone()), both(cursor)] {
        let mut manifest: Json = serde_json::from_str(&manifest(&cursor, json!({}))).unwrap();
        manifest["concurrency_level"] = json!({"type": "ConcurrencyLevel", "default_concurrency": 2});
        let first = read(
            &manifest.to_string(),
            &vendor(&hours, quiet),
            "2024-03-05T06:00:00Z..2024-03-05T12:00:00Z",
            &Json::Null,
        );
        first.expect(0, &[]);
        // Two that could be read at once would be.
        let slow = vendor(&hours, |asked, _| {
            if asked.param("after").is_none() {
                std::thread::sleep(std::time::Duration::from_millis(300));
            }
            None
        });
        let second = read(&manifest.to_string(), &slow, "2024-03-05..2024-03-06", &first.state());
        second.expect(0, &[]);
        let all: BTreeSet<String> = ids(&first).into_iter().chain(ids(&second)).collect();
        assert_eq!(all.len(), 24, "{all:?} of {cursor}");
        assert_eq!(second.events("backfill_planned")[0]["windows"], 1);
        assert_eq!(backfilled(&second), ["2024-03-05..2024-03-06"]);
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
fn nothing_is_closed_that_the_manifest_does_not_ask_for_yet() {
    let end = json!("{{ day_delta(-1, format='%Y-%m-%dT%H:%M:%SZ') }}");
    let manifest =
        manifest(&both(json!({"end_datetime": end, "step": "P1Y", "cursor_granularity": "PT1S"})), json!({}));
    let vendor = vendor(&around(), quiet);
    let ran = read(&manifest, &vendor, "2024-11-01..2024-12-01", &Json::Null);
    ran.expect(0, &[]);
    assert_eq!(windows(&vendor), ["2024-11-01..2024-11-30"], "and nothing later, as in live runs");
    assert_eq!(ids(&ran), ["g"]);
    assert_eq!(backfilled(&ran), ["2024-11-01..2024-11-30T00:00:01Z"]);
    let ran = read(&manifest, &vendor, "2024-11-30T12:00:00Z..2024-12-01", &Json::Null);
    ran.expect(0, &["not read: the manifest has no part of this range yet"]);
}

#[test]
fn what_changes_is_told_by_the_vendors_clock() {
    // It is ten minutes behind ours.
    let date = httpdate::fmt_http_date(std::time::SystemTime::now() - std::time::Duration::from_secs(600));
    let page = json!({"data": [{"id": "a", "at": "2024-01-05T00:00:00Z", "v": 1}], "next": null});
    let vendor = Vendor::of_items(json!([{"status": 200, "headers": {"Date": date}, "json": page}]));
    read(&manifest(&by_time(json!({})), json!({})), &vendor, "2024-01-01..2024-02-01", &Json::Null).expect(0, &[]);
    let since = vendor.asked()[1].param("since").unwrap();
    assert!(*"2024-11-30T23:48:40Z" <= *since && *since <= *"2024-11-30T23:49:00Z", "{since}");
}

fn plan(def: &Json, asks_end: bool) -> CursorPlan {
    let place = Place::top("test");
    let def = IncrementalSync::read(&Node::from_json(def), &place).unwrap();
    let cx = EvalContext { config: json!({}), now: parse_iso(NOW).unwrap(), began: None };
    let mut plan = cursor::build(&def, &Safety::default(), &cx).unwrap();
    plan.set_asks_end(asks_end);
    plan.of_history(parse_iso(NOW).unwrap())
}

#[test]
fn more_partitions_than_live_runs_tell_apart_are_told_apart() {
    const MANY: usize = 30_000;
    let plan = plan(&by_time(json!({})), false);
    let time = |text: &str| parse_iso(text).unwrap();
    let asked = Span { start: time("2024-01-01"), end: time("2024-03-01") };
    let key =
        |number: usize| json!({"project": format!("{number:08}"), "parent_slice": {}}).as_object().unwrap().clone();
    let id = |number| dripfeed::engine::cursor::partitions::identity(&key(number));
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
    /// However time is cut, whatever of it was read before and however often a run breaks off: every moment that was
    /// asked for is in a window that was read wholly, with what of it is kept; no two windows of a run are the same;
    /// and all that was asked for is closed once nothing is left.
    #[test]
    fn every_moment_is_in_a_window(
        format in prop::sample::select(vec!["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d", "%s", "%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m"]),
        step in prop::sample::select(vec![
            None,
            Some(("P1D", "P1D")),
            Some(("P1M", "PT1S")),
            Some(("P9D", "P1D")),
            Some(("PT7H", "PT0.001S")),
            Some(("P1Y", "P1D")),
        ]),
        clamp in prop::sample::select(vec![None, Some("DAY"), Some("MONTH")]),
        asks_end in any::<bool>(),
        strict in any::<bool>(),
        before in prop::collection::vec((0..50_000i64, 1..3_000i64), 0..6),
        spans in prop::collection::vec((0..40_000i64, 1..15_000i64), 1..4),
        luck in prop::collection::vec(any::<bool>(), 8),
    ) {
        let start = match format {
            "%s" => "1700000000",
            "%Y-%m-%d" => "2023-01-01",
            "%Y-%m" => "2023-01",
            "%Y-%m-%dT%H:%M:%SZ" => "2023-01-01T00:00:00Z",
            _ => "2023-01-01T00:00:00.000000Z",
        };
        let mut def = json!({
            "type": "DatetimeBasedCursor", "cursor_field": "at", "datetime_format": format, "start_datetime": start,
            "is_compare_strictly": strict,
        });
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
        let written = |time: time::OffsetDateTime| plan.parse(&plan.write(time)).unwrap();
        let before = before.into_iter().map(|(from, length)| Span { start: at(from), end: at(from + length) });
        let before: Spans = before.collect();
        let bounds = |span: &Span| json!({"start": rfc3339(span.start), "end": rfc3339(span.end)});
        let mut state = json!({"backfilled": before.list().iter().map(bounds).collect::<Vec<_>>()});
        let (mut read, mut turn) = (Vec::new(), 0);
        let key = serde_json::Map::new();
        let id = dripfeed::engine::cursor::partitions::identity(&key);
        for (from, length) in spans {
            let Some(asked) = plan.there_is(Span { start: at(from), end: at(from + length) }, now) else { continue };
            for run in 0.. {
                prop_assert!(run < 200, "it does not end");
                let mut backfill = Backfill::begin(asked, state.as_object(), now).unwrap();
                if backfill.is_read() {
                    break;
                }
                let mut failed = false;
                // All are read at once.
                let windows = backfill.open(&plan, &key, now);
                let work: Vec<_> = windows.iter().map(|window| (*window, backfill.keep(&id, window))).collect();
                let told: BTreeSet<_> = windows.iter().map(|window| (window.start, window.end)).collect();
                prop_assert_eq!(told.len(), windows.len(), "{:?} of {}", windows, def);
                for (window, keep) in work {
                    turn += 1;
                    if luck[turn % luck.len()] || run > 3 {
                        read.push((window, keep));
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
            // Where the manifest says nothing of windows, the vendor may leave out both bounds, and know no less than
            // days.
            let inside = |w: &cursor::Window, moment| match (step, asks_end) {
                (None, true) => written(moment) > w.start && moment < w.end,
                (None, false) => written(moment) > w.start,
                (Some(_), _) => w.start <= written(moment) && written(moment) < w.end + granule,
            };
            let last = time::Duration::microseconds(1);
            let ends = before.list().iter().flat_map(|span| [span.start - last, span.end]);
            let moments = (0..=40).map(|part| asked.start + (asked.end - last - asked.start) * part / 40).chain(ends);
            let is_missing = |moment: &time::OffsetDateTime| {
                let span = Span { start: *moment, end: *moment + last };
                asked.start <= *moment && *moment < asked.end && !before.missing(span).is_empty()
            };
            for moment in moments.filter(is_missing) {
                // Cursor values may be as exact as requests, or more.
                for value in [moment, written(moment)] {
                    let sent = read.iter().any(|(window, keep)| inside(window, value) && keep.keeps(value));
                    prop_assert!(sent, "{value} of {def}, of {asked:?} beside {before:?}");
                }
            }
        }
    }
}
