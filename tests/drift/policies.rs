//! What is done about a change is the config's to say, within what can be trusted.

use serde_json::{Value as Json, json};

use crate::support::drifting::{Tenant, paged, replies, told};
use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::Vendor;

fn manifest() -> String {
    let schema = json!({
        "id": {"type": "string"}, "points": {"type": ["null", "integer"]}, "name": {"type": ["null", "string"]},
        "due_on": {"type": ["null", "string"], "format": "date"},
        "kind": {"type": ["null", "string"], "enum": ["task", "section"]},
        "inner": {"type": ["null", "object"], "properties": {"a": {"type": ["null", "integer"]}}},
    });
    items(&schema, &json!({}), &paged())
}

const GOOD: &str =
    r#"{"id": "r1", "points": 1, "name": "n", "due_on": "2024-01-01", "kind": "task", "inner": {"a": 1}}"#;

/// A tenant who has read some good records.
fn tenant() -> Tenant {
    let mut tenant = Tenant::new(&manifest());
    tenant.text(&page(&[])).expect(0, &[]);
    tenant
}

/// A page with a good record and these.
fn page(more: &[&str]) -> String {
    let all: Vec<&str> = std::iter::once(GOOD).chain(more.iter().copied()).collect();
    format!(r#"{{"data": [{}]}}"#, all.join(","))
}

const WRONG: &str = r#"{"id": "r2", "points": "many", "name": "n"}"#;

#[test]
fn the_most_specific_rule_counts() {
    let run = json!({"policy": "fail-run"});
    let stream = json!({"stream": "items", "policy": "fail-stream"});
    let pointer = json!({"pointer": "/point*", "policy": "ignore"});
    let place = json!({"pointer": "/points", "policy": "quarantine"});
    let rule = json!({"rule": "field_type_changed", "policy": "null-value"});
    let both = json!({"rule": "field_type_changed", "stream": "items", "pointer": "/points", "policy": "fail-run"});
    let elsewhere = json!({"stream": "others", "policy": "fail-run"});
    let other = json!({"rule": "field_added", "policy": "fail-run"});
    for (rules, policy, code) in [
        (json!([]), "quarantine", 0),
        (json!([run]), "fail-run", 30),
        (json!([stream, run]), "fail-stream", 40),
        (json!([place, pointer, stream, run]), "quarantine", 0),
        (json!([rule, place, stream, run]), "null-value", 0),
        (json!([both, rule, place, stream, run]), "fail-run", 30),
        (json!([elsewhere, other]), "quarantine", 0),
        // Of equals the later one.
        (json!([run, {"policy": "fail-stream"}]), "fail-stream", 40),
    ] {
        let mut tenant = tenant().rules(rules.clone());
        let ran = tenant.text(&page(&[WRONG]));
        ran.expect(code, &[]);
        let events = ran.events("schema_drift");
        assert_eq!((events.len(), &events[0]["policy"]), (1, &json!(policy)), "{rules}");
        let aside: Vec<Json> = tenant.aside("items").iter().map(|entry| entry["what"].clone()).collect();
        match policy {
            "quarantine" => assert_eq!((ran.records("items").len(), aside), (1, vec![json!("record")])),
            "null-value" => {
                assert_eq!(aside, [json!("values")]);
                let records = ran.records("items");
                assert_eq!((&records[1]["points"], &records[1]["name"]), (&Json::Null, &json!("n")));
                assert_eq!(tenant.aside("items")[0]["record"]["points"], "many");
            }
            _ => assert!(aside.is_empty() && ran.records("items").is_empty(), "{rules}"),
        }
    }
}

#[test]
fn what_must_not_be_said_is_refused() {
    let vendor = Vendor::of_items(json!([{"status": 200, "text": page(&[])}]));
    let refused = |rule: Json, words: &[&str]| {
        let config = json!({"url": vendor.url, "dripfeed": {"drift": {"rules": [rule]}}});
        Tap::new("read").source(&manifest()).config(&config).run().expect(10, words);
    };
    for (rule, policies) in [
        ("key_missing", &["ignore", "record", "warn"][..]),
        ("cursor_missing", &["ignore", "warn", "null-value"]),
        ("key_type_changed", &["ignore", "evolve", "quarantine"]),
        ("envelope_changed", &["ignore", "warn"]),
        ("filter_ignored", &["record"]),
        ("order_changed", &["warn"]),
    ] {
        for policy in policies {
            let given = json!({"rule": rule, "policy": policy});
            refused(given, &["dripfeed.drift.rules[0]", &format!("`{rule}` cannot be `{policy}`"), "allow_unsafe"]);
        }
    }
    refused(
        json!({"rule": "feild_added", "policy": "warn"}),
        &["no rule is named `feild_added`", "did you mean `field_added`?"],
    );
    refused(json!({"rule": "sometimes", "policy": "warn"}), &["no rule is named `sometimes`"]);
    refused(json!({"rule": "field_removed", "policy": "evolve"}), &["`field_removed` cannot be `evolve`"]);
    refused(json!({"rule": "stream_emptied", "policy": "quarantine"}), &["`stream_emptied` cannot be `quarantine`"]);
    refused(json!({"pointer": "points", "policy": "warn"}), &["does not start with `/`"]);
    refused(json!({"rule": "field_added", "policy": "evlove"}), &["dripfeed.drift.rules[0].policy"]);
    refused(json!({"rule": "field_added", "polcy": "evolve"}), &["polcy"]);
    assert!(vendor.asked().is_empty(), "nothing is asked before");
    // A rule for everything does not reach what cannot be trusted; one that says so does.
    let keys = |rules: Json| {
        let mut tenant = tenant().rules(rules);
        let bad = r#"{"id": 7, "name": "n"}"#;
        let ran = tenant.text(&page(&[bad]));
        (ran.code, ran.records("items").len())
    };
    assert_eq!(keys(json!([{"policy": "ignore"}])), (40, 0));
    assert_eq!(keys(json!([{"rule": "key_type_changed", "policy": "quarantine", "allow_unsafe": true}])), (0, 1));
}

/// Two streams that are read at once: `items`, and `slow` of many pages.
fn two() -> String {
    let mut manifest: Json = serde_json::from_str(&manifest()).unwrap();
    let mut slow = manifest["streams"][0].clone();
    slow["name"] = json!("slow");
    slow["retriever"]["requester"]["path"] = json!("slow");
    manifest["streams"].as_array_mut().unwrap().push(slow);
    manifest["concurrency_level"] = json!({"type": "ConcurrencyLevel", "default_concurrency": 2});
    manifest.to_string()
}

fn at_once(policy: &str) -> (Ran, usize) {
    let good: Json = serde_json::from_str(GOOD).unwrap();
    let mut tenant = Tenant::new(&two());
    let read = |tenant: &mut Tenant, items: &str, pause: u64| {
        let numbered = |number| {
            let mut record = good.clone();
            record["id"] = json!(format!("r{number}"));
            vec![record]
        };
        let mut pages = replies(&(0..30).map(numbered).collect::<Vec<_>>());
        for page in &mut pages {
            page["pause_ms"] = json!(pause);
        }
        let vendor = Vendor::start(&json!({"routes": [
            {"path": "/items", "replies": [{"status": 200, "text": items}]}, {"path": "/slow", "replies": pages},
        ]}));
        let ran = tenant.read(&vendor);
        let asked = vendor.asked().iter().filter(|asked| asked.path == "/slow").count();
        (ran, asked)
    };
    read(&mut tenant, &page(&[]), 0).0.expect(0, &[]);
    let mut tenant = tenant.rules(json!([{"rule": "field_type_changed", "policy": policy}]));
    read(&mut tenant, &page(&[WRONG]), 30)
}

#[test]
fn a_stream_that_fails_leaves_others_alone_and_a_run_that_fails_does_not() {
    let (ran, asked) = at_once("fail-stream");
    assert_eq!(ran.expect(40, &["field_type_changed"]).records("slow").len(), 30);
    assert_eq!(asked, 30);
    let (ran, asked) = at_once("fail-run");
    ran.expect(30, &["field_type_changed"]);
    assert!(asked < 30 && ran.records("slow").len() < 30, "the other went on: {asked}");
}

#[test]
fn an_evolved_field_has_a_column_for_each_type() {
    for (rule, field, value, column, told_of) in [
        ("field_type_widened", "points", "1.50", "points__number", "field_type_widened /points"),
        ("field_type_widened", "points", "12345678901234567890.125", "points__number", "field_type_widened /points"),
        ("number_out_of_range", "points", "18446744073709551616", "points__number", "number_out_of_range /points"),
        ("field_type_changed", "points", "\"many\"", "points__string", "field_type_changed /points"),
        ("field_type_changed", "points", "true", "points__boolean", "field_type_changed /points"),
        ("field_structure_changed", "points", r#"{"a":1.10}"#, "points__object", "field_structure_changed /points"),
        ("field_structure_changed", "inner", "[1,2.50]", "inner__array", "field_structure_changed /inner"),
        ("format_changed", "due_on", "\"tomorrow\"", "due_on__string", "format_changed /due_on"),
    ] {
        let mut tenant = tenant().rules(json!([{"rule": rule, "policy": "evolve"}]));
        let odd = format!(r#"{{"id": "r2", "{field}": {value}}}"#);
        let ran = tenant.text(&page(&[&odd, GOOD]));
        ran.expect(0, &[]);
        assert!(told(&ran).contains(&told_of.to_owned()), "{value}: {:?}", told(&ran));
        assert!(tenant.aside("items").is_empty(), "{value}");
        let types: Vec<String> = ran.messages().iter().map(|m| m["type"].as_str().unwrap().to_owned()).collect();
        let odd_line = ran.out.lines().find(|line| line.contains("\"r2\"")).unwrap();
        assert!(odd_line.replace(' ', "").contains(&format!("\"{column}\":{value}")), "{value}: {odd_line}");
        let record = &ran.records("items")[1];
        assert!(record.get(field).is_none_or(Json::is_null), "{value}: {record}");
        // The schema that knows it comes before the record.
        let last_schema = types.iter().rposition(|t| t == "SCHEMA").unwrap();
        let at = ran.out.lines().position(|line| line.contains("\"r2\"")).unwrap();
        assert!(last_schema < at, "{value}: {types:?}");
        let schemas: Vec<Json> = ran.messages().into_iter().filter(|m| m["type"] == "SCHEMA").collect();
        let (first, last) = (&schemas[0]["schema"]["properties"], &schemas[schemas.len() - 1]["schema"]["properties"]);
        let kind = column.split_once("__").unwrap().1;
        assert_eq!(last[column]["type"], json!(["null", kind]), "{value}");
        assert_eq!(first[field], last[field], "a published column keeps its type: {value}");
        assert!(ran.records("items").iter().all(|r| r["id"] != "r1" || r.get(column).is_none_or(Json::is_null)));
        // From now on it is known.
        let again = tenant.text(&page(&[&odd]));
        assert!(!told(again.expect(0, &[])).contains(&told_of.to_owned()), "{value}");
        assert_eq!(again.schema("items")["properties"], *last, "{value}");
        assert!(again.out.replace(' ', "").contains(&format!("\"{column}\":{value}")), "{value}");
    }
}

#[test]
fn what_is_not_at_the_top_grows_in_place() {
    let mut tenant = tenant().rules(json!([{"rule": "field_type_changed", "policy": "evolve"}]));
    let ran = tenant.text(&page(&[r#"{"id": "r2", "inner": {"a": "text"}}"#]));
    assert_eq!(told(ran.expect(0, &[])), ["field_type_changed /inner/a"]);
    assert_eq!(ran.records("items")[1]["inner"], json!({"a": "text"}));
}

#[test]
fn the_first_contact_teaches() {
    let mut tenant = Tenant::new(&manifest());
    let odd = [
        WRONG,
        "{\"id\": \"r3\", \"points\": 1.5, \"name\": {\"a\": 1}, \"due_on\": \"soon\", \"kind\": \"other\", \
        \"inner\": [1], \"more\": {\"x\": 1}}",
        r#"{"id": "r4", "points": 18446744073709551616, "inner": {"a": "x", "b": 2}}"#,
    ];
    for round in 0..3 {
        let ran = tenant.text(&page(&odd));
        assert_eq!(told(ran.expect(0, &[])), [""; 0], "{round}");
        assert_eq!(ran.records("items").len(), 4);
        assert_eq!(tenant.open(), [""; 0]);
    }
    // What needs no memory is told all the same.
    let mut tenant = Tenant::new(&manifest());
    let ran = tenant.text(&page(&[r#"{"id": null, "points": 1}"#]));
    assert_eq!(told(ran.expect(0, &[])), ["key_missing /id"]);
}

#[test]
fn drift_can_be_switched_off() {
    let mut tenant = Tenant::new(&manifest()).drift(json!({"off": true}));
    for text in [page(&[]), page(&[WRONG, r#"{"id": "r5", "new": 1}"#])] {
        let ran = tenant.text(&text);
        assert_eq!(told(ran.expect(0, &[])), [""; 0]);
    }
    assert!(!tenant.root().join("drift").exists() && !tenant.root().join("quarantine").exists());
}
