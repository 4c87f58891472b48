//! Changes of a vendor are found by the read that first meets them: by the right rule, at the right place.

use serde_json::{Map, Value as Json, json};

use crate::support::drifting::{Tenant, incremental, paged, told};
use crate::support::population::Dice;
use crate::support::tap::items;
use crate::support::vendor::Vendor;

/// Records of a read.
const READ: u64 = 1000;

/// The stream as its manifest has it.
fn schema() -> Json {
    json!({
        "id": {"type": "string"},
        "at": {"type": "string", "format": "date-time"},
        "name": {"type": ["null", "string"]},
        "some": {"type": ["null", "string"]},
        "due_on": {"type": ["null", "string"], "format": "date"},
        "points": {"type": ["null", "integer"]},
        "price": {"type": ["null", "number"]},
        "done": {"type": ["null", "boolean"]},
        "kind": {"type": ["null", "string"], "enum": ["task", "milestone"]},
        "sure": {"type": "string"},
        "owner": {"type": ["null", "object"], "properties": {
            "email": {"type": ["null", "string"]}, "age": {"type": ["null", "integer"]},
        }},
        "tags": {"type": ["null", "array"], "items": {"type": "string"}},
        "lines": {"type": ["null", "array"], "items": {"type": "object", "properties": {"sum": {"type": "integer"}}}},
    })
}

/// A minute for each record.
fn at(number: u64) -> String {
    format!("2024-01-{:02}T{:02}:{:02}:00Z", 1 + number / 1440, number / 60 % 24, number % 60)
}

/// A record before any change; `share` have `some`.
fn record(dice: &mut Dice, number: u64, share: f64) -> Json {
    let mut record = json!({
        "id": format!("r{number}"), "at": at(number),
        "name": format!("n{}", dice.below(100)), "due_on": format!("2024-02-{:02}", 1 + dice.below(28)),
        "points": dice.below(500), "price": 0.5 + f64::from(u32::try_from(dice.below(400)).unwrap()),
        "done": dice.chance(0.5), "kind": dice.of(&["task", "milestone"]), "sure": "yes",
        "owner": {"email": "e@example.com", "age": 20 + dice.below(50)},
        "tags": ["a", "b"], "lines": [{"sum": dice.below(9)}],
        "plain": format!("undeclared {}", dice.below(9)),
    });
    if dice.chance(share) {
        record["some"] = json!("x");
    }
    record
}

/// What the vendor does to a record.
type Change = fn(&mut Map<String, Json>);

/// A change, and what a read that meets it must find.
struct Case {
    /// The code that a run ends with by default.
    code: i32,
    name: &'static str,
    change: Change,
    /// To how many of a hundred records it is done.
    share: u64,
    /// The finding: `rule pointer`.
    found: &'static str,
}

fn case(code: i32, name: &'static str, change: Change, share: u64, found: &'static str) -> Case {
    Case { code, name, change, share, found }
}

fn rename(record: &mut Map<String, Json>, from: &str, to: &str) {
    if let Some(value) = record.shift_remove(from) {
        record.insert(to.into(), value);
    }
}

/// Values of another type.
fn of_types() -> Vec<Case> {
    vec![
        case(0, "a type for few", |r| drop(r.insert("points".into(), json!("many"))), 1, "field_type_changed /points"),
        case(
            40,
            "a type for all",
            |r| drop(r.insert("points".into(), json!("many"))),
            100,
            "field_type_changed /points",
        ),
        case(
            0,
            "a flag becomes a text",
            |r| drop(r.insert("done".into(), json!("yes"))),
            1,
            "field_type_changed /done",
        ),
        case(0, "a fraction", |r| drop(r.insert("points".into(), json!(1.5))), 30, "field_type_widened /points"),
        case(0, "a number in a text", |r| drop(r.insert("name".into(), json!(7))), 30, "field_type_narrowed /name"),
        case(
            0,
            "a whole number beyond 64 bits",
            |r| drop(r.insert("points".into(), json!(u64::MAX))),
            1,
            "number_out_of_range /points",
        ),
    ]
}

/// Plain values, objects and lists become another of these.
fn of_structure() -> Vec<Case> {
    vec![
        case(
            40,
            "a text becomes an object",
            |r| drop(r.insert("name".into(), json!({"a": 1}))),
            1,
            "field_structure_changed /name",
        ),
        case(
            40,
            "an object becomes a list",
            |r| drop(r.insert("owner".into(), json!(["e"]))),
            1,
            "field_structure_changed /owner",
        ),
        case(
            40,
            "a list becomes a text",
            |r| drop(r.insert("tags".into(), json!("a,b"))),
            1,
            "field_structure_changed /tags",
        ),
    ]
}

/// Values of another type within objects and lists.
fn of_leaves() -> Vec<Case> {
    vec![
        case(
            0,
            "a leaf of another type",
            |r| drop(r["owner"].as_object_mut().unwrap().insert("age".into(), json!("old"))),
            1,
            "field_type_changed /owner/age",
        ),
        case(
            0,
            "items of another type",
            |r| drop(r.insert("tags".into(), json!([{"name": "a"}]))),
            1,
            "item_type_changed /tags/*",
        ),
        case(
            0,
            "a leaf of items",
            |r| drop(r.insert("lines".into(), json!([{"sum": "much"}]))),
            1,
            "field_type_changed /lines/*/sum",
        ),
    ]
}

/// Texts that are written otherwise, or are not listed.
fn of_texts() -> Vec<Case> {
    vec![
        case(
            0,
            "a date written otherwise",
            |r| drop(r.insert("due_on".into(), json!("tomorrow"))),
            1,
            "format_changed /due_on",
        ),
        case(
            40,
            "every date written otherwise",
            |r| drop(r.insert("due_on".into(), json!("tomorrow"))),
            100,
            "format_changed /due_on",
        ),
        case(
            0,
            "a longer list of values",
            |r| drop(r.insert("kind".into(), json!("approval"))),
            5,
            "enum_value_added /kind",
        ),
    ]
}

/// Null where it never was, and keys that are null, gone or of another type.
fn of_nulls_and_keys() -> Vec<Case> {
    vec![
        case(0, "null where never", |r| drop(r.insert("sure".into(), Json::Null)), 20, "field_became_nullable /sure"),
        case(0, "a few keys null", |r| drop(r.insert("id".into(), Json::Null)), 1, "key_missing /id"),
        case(40, "every key gone", |r| drop(r.shift_remove("id")), 100, "key_missing /id"),
        case(40, "keys of another type", |r| drop(r.insert("id".into(), json!(7))), 100, "key_type_changed /id"),
    ]
}

/// Fields that are not declared.
fn of_new_fields() -> Vec<Case> {
    vec![
        case(0, "a new field", |r| drop(r.insert("zone".into(), json!("utc"))), 40, "field_added /zone"),
        case(
            0,
            "a new field within",
            |r| drop(r["owner"].as_object_mut().unwrap().insert("zone".into(), json!("utc"))),
            40,
            "field_added /owner/zone",
        ),
        case(
            0,
            "a new field of items",
            |r| drop(r["lines"][0].as_object_mut().unwrap().insert("tax".into(), json!(1))),
            40,
            "field_added /lines/*/tax",
        ),
    ]
}

/// Every change that one record proves.
fn found_at_once() -> Vec<Case> {
    [of_types(), of_structure(), of_leaves(), of_texts(), of_nulls_and_keys(), of_new_fields()]
        .into_iter()
        .flatten()
        .collect()
}

/// Every change that only all records of a read prove. A share that the seed draws has `some`.
fn found_at_the_end() -> Vec<Case> {
    let each = |code, name, change, found| case(code, name, change, 100, found);
    vec![
        each(40, "gone", |r| drop(r.shift_remove("name")), "field_removed /name"),
        each(
            40,
            "gone within",
            |r| drop(r["owner"].as_object_mut().unwrap().shift_remove("email")),
            "field_removed /owner/email",
        ),
        each(40, "gone with all in it", |r| drop(r.shift_remove("owner")), "field_removed /owner"),
        each(0, "gone where some had it", |r| drop(r.shift_remove("some")), "field_removed /some"),
        each(40, "another name", |r| rename(r, "name", "title"), "field_renamed /name"),
        each(40, "other letters", |r| rename(r, "due_on", "dueOn"), "field_case_changed /due_on"),
        each(
            40,
            "moved out",
            |r| {
                let age = r["owner"].as_object_mut().unwrap().shift_remove("age").unwrap();
                r.insert("age".into(), age);
            },
            "field_moved /owner/age",
        ),
        each(
            40,
            "moved in",
            |r| {
                let done = r.shift_remove("done").unwrap();
                r["owner"]["done"] = done;
            },
            "field_moved /done",
        ),
        each(
            0,
            "in cents",
            |r| {
                let price = r["price"].as_f64().unwrap();
                r["price"] = json!(price * 100.0 + 0.5);
            },
            "scale_changed /price",
        ),
        each(
            0,
            "whole numbers only",
            |r| r["price"] = json!(r["points"].as_u64().unwrap() + 1),
            "field_type_narrowed /price",
        ),
    ]
}

/// Reads twice, the second time what a change made of it; says how that ended and what was told.
fn twice(seed: u64, case: &Case, share: f64) -> (Tenant, i32, Vec<String>) {
    let mut dice = Dice(seed);
    let mut tenant = Tenant::new(&items(&schema(), &json!({}), &paged()));
    let mut read = |first: u64| -> Vec<Vec<Json>> {
        let records: Vec<Json> = (first..first + READ).map(|number| record(&mut dice, number, share)).collect();
        records.chunks(250).map(<[Json]>::to_vec).collect()
    };
    let before = tenant.pages(&read(0));
    before.expect(0, &[]);
    assert_eq!(told(&before), [""; 0], "the first contact: {}", case.name);
    let mut pages = read(READ);
    for (number, record) in pages.iter_mut().flatten().enumerate() {
        // The few are spread over the pages; none is the first.
        if (number as u64 * 7 + 3) % 100 < case.share {
            (case.change)(record.as_object_mut().unwrap());
        }
    }
    let after = tenant.pages(&pages);
    let told = told(&after);
    (tenant, after.code, told)
}

#[test]
fn the_first_read_with_a_change_finds_it() {
    let mut cases = found_at_once();
    cases.extend(found_at_the_end());
    // Once each, and the last ones, which counts decide, with other shares too.
    let runs: Vec<(u64, &Case)> = (0..).zip(cases.iter().chain(cases.iter().rev().take(18))).collect();
    assert_eq!(runs.len(), 50);
    let check = |seed: u64, case: &Case| {
        let share = [0.05, 0.1, 0.3, 0.7, 0.99][seed as usize % 5];
        let (tenant, ended, told) = twice(seed, case, share);
        // What came instead may be told too, and nothing else.
        let others = told.iter().filter(|line| *line != case.found && !line.starts_with("field_added")).count();
        let open = tenant.open();
        let [is_told, is_open] = [&told, &open].map(|lines| lines.iter().any(|line| line == case.found));
        let fine = ended == case.code && is_told && others == 0 && is_open;
        if fine { None } else { Some(format!("{}: exit {ended}, told {told:?}, open {open:?}", case.name)) }
    };
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let check = &check;
        let halves = runs.chunks(25).map(|half| {
            let found = move || half.iter().filter_map(|(seed, case)| check(*seed, case)).collect::<Vec<_>>();
            scope.spawn(found)
        });
        let halves: Vec<_> = halves.collect();
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_windows_miss_is_a_suspect_until_it_is_proved() {
    for (seed, share) in (0..).zip([0.05, 0.1, 0.3, 0.7, 1.0]) {
        let mut dice = Dice(seed);
        let mut tenant = Tenant::new(&items(&schema(), &incremental(), &paged()));
        let mut read = |number: u64, share: f64| {
            let first = number * READ;
            let records: Vec<Json> = (first..first + READ).map(|number| record(&mut dice, number, share)).collect();
            let ran = tenant.items(&records);
            ran.expect(0, &[]);
            told(&ran)
        };
        assert_eq!(read(0, share), [""; 0]);
        // A window is no sample: what only some have is missed in a second one.
        let mut found = read(1, 0.0);
        if share < 1.0 {
            assert_eq!(found, [""; 0], "{share}");
            found = read(2, 0.0);
        }
        assert_eq!(found, ["field_absent /some"], "{share}");
        assert_eq!(tenant.findings()[0]["severity"], "warn");
        // It comes back: there was nothing.
        let mut dice = Dice(seed + 100);
        let records: Vec<Json> = (0..READ).map(|number| record(&mut dice, 3 * READ + number, 0.9)).collect();
        assert_eq!(told(tenant.items(&records).expect(0, &[])), [""; 0]);
        assert_eq!(tenant.open(), [""; 0], "{share}");
    }
}

#[test]
fn a_record_that_is_read_again_proves_it() {
    let plain = |number: u64, with: bool| {
        let mut record = json!({"id": format!("r{number}"), "at": at(number)});
        if with {
            record["name"] = json!("n");
        }
        record
    };
    let schema = json!({"id": {"type": "string"}, "at": {"type": "string"}, "name": {"type": "string"}});
    for (again, code, found) in [
        // It has the field still: a window without it tells nothing.
        (json!([{"status": 200, "json": plain(1, true)}]), 0, None),
        (json!([{"status": 200, "json": plain(1, false)}]), 40, Some("field_removed /name")),
        // Gone itself: no evidence.
        (json!([{"status": 404, "json": {}}]), 0, Some("field_absent /name")),
    ] {
        let mut tenant = Tenant::new(&items(&schema, &incremental(), &json!({})));
        tenant = tenant.drift(json!({"witness": {"items": "/items/{id}"}}));
        let mut read = |first: u64, with: bool| {
            let records: Vec<Json> = (first..first + 500).map(|number| plain(number, with)).collect();
            let mut routes = vec![json!({"path": "/items", "replies": [{"status": 200, "json": {"data": records}}]})];
            let known = (0..500).map(|number| json!({"path": format!("/items/r{number}"), "replies": again}));
            routes.extend(known);
            let vendor = Vendor::start(&json!({"routes": routes}));
            (tenant.read(&vendor), vendor)
        };
        read(0, true).0.expect(0, &[]);
        let (ran, vendor) = read(500, false);
        ran.expect(code, &[]);
        assert_eq!(told(&ran), found.into_iter().collect::<Vec<_>>(), "{again}");
        let asked = vendor.asked().len();
        assert!((2..=6).contains(&asked), "{asked} calls: few are spent on it");
    }
}

#[test]
fn a_cursor_that_is_gone_stops_the_stream_and_its_bookmark() {
    for (name, change) in [
        ("null", (|r| drop(r.insert("at".into(), Json::Null))) as Change),
        ("gone", |r| drop(r.shift_remove("at"))),
        ("no time", |r| drop(r.insert("at".into(), json!("soon")))),
    ] {
        let mut dice = Dice(7);
        let mut tenant = Tenant::new(&items(&schema(), &incremental(), &paged()));
        let mut read = |first: u64| (first..first + 60).map(|n| record(&mut dice, n, 0.5)).collect::<Vec<_>>();
        let before = tenant.items(&read(0));
        let bookmark = before.expect(0, &[]).state()["bookmarks"]["items"]["at"].clone();
        assert_eq!(bookmark, "2024-01-01T00:59:00Z");
        let mut records = read(60);
        records.iter_mut().skip(1).for_each(|record| change(record.as_object_mut().unwrap()));
        let after = tenant.items(&records);
        after.expect(40, &["cursor_missing"]);
        assert_eq!(told(&after), ["cursor_missing /at"], "{name}");
        assert_eq!(tenant.state["bookmarks"]["items"]["at"], bookmark, "{name}");
        // Nothing of it was lost: once the vendor mends it, all comes.
        let mended = tenant.items(&read(60));
        assert_eq!(mended.expect(0, &[]).records("items").len(), 60, "{name}");
        assert_eq!(tenant.state["bookmarks"]["items"]["at"], "2024-01-01T01:59:00Z", "{name}");
    }
}

#[test]
fn a_few_records_without_a_cursor_are_sent() {
    let mut dice = Dice(8);
    let mut tenant = Tenant::new(&items(&schema(), &incremental(), &paged()));
    let mut read = |first: u64, nulls: usize| {
        let mut records: Vec<Json> = (first..first + 600).map(|n| record(&mut dice, n, 0.5)).collect();
        records.iter_mut().take(nulls).for_each(|record| record["at"] = Json::Null);
        tenant.items(&records)
    };
    assert_eq!(read(0, 6).expect(0, &[]).records("items").len(), 600);
    let again = read(600, 6);
    assert_eq!(again.expect(0, &["sent 6 records without a readable cursor value"]).records("items").len(), 600);
    assert_eq!(told(&again), [""; 0]);
}

#[test]
fn what_is_said_twice_is_told() {
    let schema = json!({"id": {"type": "integer"}, "name": {"type": "string"}});
    let mut tenant = Tenant::new(&items(&schema, &json!({}), &json!({})));
    tenant.text(r#"{"data": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}"#).expect(0, &[]);
    let ran = tenant.text(r#"{"data": [{"id": 1, "name": "a", "name": "c"}, {"id": 2, "name": "b"}]}"#);
    assert_eq!(told(ran.expect(0, &[])), ["duplicate_json_keys /name"]);
    let ran = tenant.text(r#"{"data": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 1, "name": "a"}]}"#);
    assert_eq!(told(ran.expect(0, &[])), ["duplicate_ids"]);
    assert_eq!(ran.records("items").len(), 3);
    assert_eq!(tenant.open(), ["duplicate_ids", "duplicate_json_keys /name"]);
}

#[test]
fn a_finding_is_told_once() {
    let mut dice = Dice(9);
    let mut tenant = Tenant::new(&items(&schema(), &json!({}), &paged()));
    let mut read = |kind: &str| {
        let mut records: Vec<Json> = (0..20).map(|n| record(&mut dice, n, 0.5)).collect();
        records[0]["kind"] = json!(kind);
        records[1]["points"] = json!(if kind == "task" { json!(1) } else { json!("much") });
        tenant.items(&records).expect(0, &[]).events("schema_drift")
    };
    assert!(read("task").is_empty());
    let first = read("approval");
    let of = |rule: &str, events: &[Json]| events.iter().find(|e| e["rule"] == rule).unwrap().clone();
    let event = of("field_type_changed", &first);
    for (name, value) in [
        ("v", json!(1)),
        ("event", json!("schema_drift")),
        ("severity", json!("break")),
        ("tenant", json!("acme")),
        ("stream", json!("items")),
        ("pointer", json!("/points")),
        ("from", json!("integer")),
        ("to", json!("string")),
        ("count", json!(1)),
        ("of", json!(20)),
        ("policy", json!("quarantine")),
        ("repeat", Json::Null),
    ] {
        assert_eq!(event[name], value, "{name}");
    }
    let again = of("field_type_changed", &read("approval"));
    assert_eq!(again["repeat"], true);
    for name in ["fingerprint", "first_seen"] {
        assert_eq!(again[name], event[name], "{name}");
    }
    assert!(again["run_id"] != event["run_id"]);
    // What the vendor's data say stays out of what is told.
    assert!(!first.iter().any(|e| e.to_string().contains("approval") || e.to_string().contains("much")), "{first:?}");
}

#[test]
fn newest_first_no_more_stops_a_stream_that_is_read_so() {
    let feed = json!({"incremental_sync": {
        "type": "DatetimeBasedCursor", "cursor_field": "at", "datetime_format": "%Y-%m-%dT%H:%M:%SZ",
        "start_datetime": "2024-01-01T00:00:00Z", "is_data_feed": true,
    }});
    let mut dice = Dice(9);
    let mut tenant = Tenant::new(&items(&schema(), &feed, &paged()));
    let mut newest_first = |last: u64| (0..last).rev().map(|n| record(&mut dice, n, 0.5)).collect::<Vec<_>>();
    tenant.items(&newest_first(60)).expect(0, &[]);
    let more = tenant.items(&newest_first(80));
    assert_eq!(told(more.expect(0, &[])), [""; 0]);
    let bookmark = tenant.state["bookmarks"]["items"]["at"].clone();
    assert_eq!(bookmark, "2024-01-01T01:19:00Z");
    // Reading would stop at the first page, all of which is old.
    let mut pages = newest_first(120);
    pages.reverse();
    let turned = tenant.pages(&[pages[..60].to_vec(), pages[60..].to_vec()]);
    assert_eq!(told(turned.expect(40, &["order_changed"])), ["order_changed /at"]);
    assert_eq!(tenant.state["bookmarks"]["items"]["at"], bookmark);
    // As it was: it is over, and nothing of it was lost.
    let back = tenant.items(&newest_first(120));
    assert_eq!(back.expect(0, &[]).records("items").len(), 41);
    assert_eq!(tenant.open(), [""; 0]);
}

#[test]
fn slices_that_find_fields_side_by_side_all_come_through() {
    let partitions: Vec<String> = (0..24).map(|n| format!("p{n}")).collect();
    let router = json!({"partition_router": {
        "type": "ListPartitionRouter", "values": partitions, "cursor_field": "part",
        "request_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "part"},
    }});
    let mut manifest: Json = serde_json::from_str(&items(&json!({}), &json!({}), &router)).unwrap();
    manifest["concurrency_level"] = json!({"type": "ConcurrencyLevel", "default_concurrency": 12});
    let mut tenant = Tenant::new(&manifest.to_string());
    // Each page brings fields that no other has.
    let reply = |page: usize| {
        let record = |n: usize| {
            let mut record = json!({"id": page * 100 + n, "name": "x"});
            record[format!("f{page}_{}", n / 10)] = json!(n);
            record
        };
        json!({"status": 200, "json": {"data": (0..60).map(record).collect::<Vec<_>>()}})
    };
    let vendor = Vendor::of_items(Json::Array((0..24).map(reply).collect()));
    let ran = tenant.read(&vendor);
    assert_eq!(ran.expect(0, &[]).records("items").len(), 24 * 60);
    // Every field stood in a SCHEMA before the record that has it.
    let mut known: Vec<String> = Vec::new();
    for message in ran.messages() {
        match message["type"].as_str() {
            Some("SCHEMA") => known = message["schema"]["properties"].as_object().unwrap().keys().cloned().collect(),
            Some("RECORD") => {
                let fields = message["record"].as_object().unwrap().keys();
                assert!(fields.into_iter().all(|field| known.contains(field)), "{message}");
            }
            _ => {}
        }
    }
}
