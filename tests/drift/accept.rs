//! What a judgement leaves behind: a schema that takes what it took before, and no promise that cannot be kept.

use serde_json::{Value as Json, json};

use crate::support::drifting::{Tenant, told};
use crate::support::tap::items;

fn tenant(schema: &Json) -> Tenant {
    Tenant::new(&items(schema, &json!({}), &json!({})))
}

fn schema() -> Json {
    json!({"id": {"type": "integer"}, "a": {"type": ["null", "integer"]}})
}

fn calm() -> Vec<Json> {
    (0..30).map(|n| json!({"id": n, "a": n})).collect()
}

/// What `discover` tells of the stream's fields, as Airbyte's catalog or Singer's.
fn discovered(tenant: &Tenant, protocol: &str) -> Json {
    let same = tenant.beside("acme");
    let asked = if protocol == "airbyte" { same.airbyte() } else { same };
    let ran = asked.run("discover");
    let told: Json = serde_json::from_str(&ran.expect(0, &[]).out).unwrap();
    let stream = if protocol == "airbyte" {
        &told["catalog"]["streams"][0]["json_schema"]
    } else {
        &told["streams"][0]["schema"]
    };
    stream["properties"].clone()
}

fn sorted(types: &Json) -> Vec<&str> {
    let mut types: Vec<&str> = types.as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    types.sort_unstable();
    types
}

#[test]
fn what_is_accepted_takes_nothing_away() {
    let mut tenant = tenant(&schema());
    tenant.items(&calm()).expect(0, &[]);
    let both = [json!({"id": 1, "x": 1}), json!({"id": 2, "x": 1.5})];
    let evolved = tenant.items(&both);
    assert_eq!(told(evolved.expect(0, &[])), ["field_added /x", "field_type_widened /x"]);
    tenant.run("drift accept --all").expect(0, &[]);
    assert_eq!(sorted(&discovered(&tenant, "airbyte")["x"]["type"]), ["null", "number"]);
    assert!(discovered(&tenant, "singer")["x__number"].is_object());
    let after = tenant.items(&both);
    let fields = &after.expect(0, &[]).schema("items")["properties"];
    assert_eq!((&fields["x"]["type"][1], &fields["x__number"]["type"][1]), (&json!("integer"), &json!("number")));
    assert_eq!(after.records("items")[1]["x__number"], json!(1.5));
    assert_eq!(told(&after), [""; 0]);
}

#[test]
fn two_types_that_are_accepted_at_one_place_both_have_a_column() {
    let mut tenant = tenant(&schema());
    tenant.items(&calm()).expect(0, &[]);
    let both = [json!({"id": 1, "a": "many"}), json!({"id": 2, "a": true})];
    tenant.items(&both).expect(0, &[]);
    assert_eq!(tenant.open(), ["field_type_changed /a", "field_type_changed /a"]);
    for finding in tenant.findings() {
        tenant.run(&format!("drift accept {}", finding["fingerprint"].as_str().unwrap())).expect(0, &[]);
    }
    let ran = tenant.items(&both);
    let records = ran.expect(0, &[]).records("items");
    assert_eq!(records[0], json!({"id": 1, "a": null, "a__string": "many"}));
    assert_eq!(records[1], json!({"id": 2, "a": null, "a__boolean": true}));
    assert_eq!(ran.schema("items")["properties"]["a"]["type"], json!(["null", "integer"]));
    assert_eq!(told(&ran), [""; 0]);
}

/// What acceptance cannot change, each as a vendor brings it about.
fn beyond_acceptance() -> Vec<(&'static str, &'static str, i32, &'static str)> {
    let huge = "{\"data\": [{\"id\": 1, \"a\": 1, \"note\": \"HUGE\"}]}";
    vec![
        ("envelope_changed", "{\"items\": [{\"id\": 1}]}", 40, "correct the record selector"),
        ("upstream_format", "<html>sorry</html>", 40, "look at the vendor's response"),
        ("key_missing", "{\"data\": [{\"id\": null, \"a\": 1}]}", 0, "correct the key in the manifest"),
        ("record_too_large", huge, 0, "raise dripfeed.drift.max_record_bytes"),
        ("record_not_object", "{\"data\": [17]}", 0, "filter such records in the manifest"),
    ]
}

#[test]
fn what_acceptance_cannot_change_is_not_accepted() {
    for (rule, answer, code, remedy) in beyond_acceptance() {
        let mut tenant = tenant(&schema()).drift(json!({"max_record_bytes": 1024}));
        tenant.items(&calm()).expect(0, &[]);
        let ran = tenant.text(&answer.replace("HUGE", &"x".repeat(2000)));
        ran.expect(code, &[]);
        assert!(!ran.err.contains("drift accept"), "{rule}: {}", ran.err);
        let [finding] = &tenant.findings()[..] else { panic!("{rule}: {:?}", tenant.open()) };
        assert_eq!((&finding["rule"], &finding["accept"]), (&json!(rule), &Json::Null));
        assert!(finding["remedy"].as_str().unwrap().contains(remedy), "{rule}: {finding}");
        for format in ["text", "markdown", "html"] {
            let shown = tenant.run(&format!("drift show --format {format}"));
            assert!(!shown.expect(0, &[]).out.contains("drift accept"), "{rule}: {}", shown.out);
        }
        let print = finding["fingerprint"].as_str().unwrap();
        tenant.run(&format!("drift accept {print}")).expect(2, &["would change nothing", remedy]);
        for verb in ["accept --all", "learn"] {
            let ran = tenant.run(&format!("drift {verb}"));
            assert!(ran.expect(0, &[]).out.contains(&format!("left open acme {print}")), "{rule}: {}", ran.out);
            assert_eq!(tenant.findings().len(), 1, "{rule}: it stays open");
        }
        // It is over once a run has none of it, and what was put aside is dealt with.
        tenant.items(&calm()).expect(0, &[]);
        assert_eq!(tenant.findings().len(), usize::from(code == 0), "{rule}");
        if code == 0 {
            std::fs::remove_file(tenant.quarantine("items")).unwrap();
            tenant.items(&calm()).expect(0, &[]);
            assert_eq!(tenant.open(), [""; 0], "{rule}");
        }
    }
}

#[test]
fn a_budget_that_is_used_up_by_what_cannot_be_accepted_says_what_helps() {
    let mut tenant = tenant(&schema());
    tenant.items(&calm()).expect(0, &[]);
    let keyless: Vec<Json> = (0..30).map(|n| json!({"id": null, "a": n})).collect();
    let ran = tenant.items(&keyless);
    ran.expect(40, &["would be quarantined", "correct the key in the manifest", "dripfeed.drift.quarantine"]);
    assert!(!ran.err.contains("drift accept"), "{}", ran.err);
}

#[test]
fn a_replay_replaces_nothing_newer() {
    let mut tenant = tenant(&schema());
    tenant.items(&calm()).expect(0, &[]);
    tenant.items(&[json!({"id": 1, "a": "old", "v": "OLD"}), json!({"id": 2, "a": 2})]).expect(0, &[]);
    tenant.run("drift accept --all").expect(0, &[]);
    tenant.items(&[json!({"id": 1, "a": "new", "v": "NEW"})]).expect(0, &[]);
    let before = tenant.aside("items");
    let file = tenant.quarantine("items");
    let text = std::fs::read(&file).unwrap();
    let ran = tenant.run("drift replay");
    ran.expect(0, &["0 records sent, 1 older version dropped because a newer version was sent, 0 left in quarantine"]);
    assert_eq!((ran.out.as_str(), tenant.aside("items").len()), ("", 0));
    std::fs::write(&file, text).unwrap();
    let ran = tenant.run("drift replay --force");
    assert_eq!(ran.expect(0, &[]).records("items")[0]["v"], "OLD");
    let sent = ran.messages().into_iter().find(|m| m["type"] == "RECORD").unwrap();
    assert_eq!(sent["time_extracted"], before[0]["at"], "it is as old as it is");
    assert_eq!(tenant.aside("items").len(), 0);
}

/// A later run held back every record of earlier ones, although it had not sent theirs again.
#[test]
fn a_replay_sends_what_did_not_come_again() {
    let mut tenant = tenant(&schema());
    tenant.items(&calm()).expect(0, &[]);
    tenant
        .items(&[json!({"id": 1, "a": "one"}), json!({"id": 2, "a": "two"}), json!({"id": 3, "a": 3})])
        .expect(0, &[]);
    // A preview reaches no target.
    tenant.preview(&[json!({"id": 1, "a": 1})]).expect(0, &[]);
    tenant.items(&[json!({"id": 2, "a": 2}), json!({"id": 4, "a": 4})]).expect(0, &[]);
    // A version that is newer than the one that was sent.
    tenant.items(&[json!({"id": 4, "a": "four"}), json!({"id": 5, "a": 5})]).expect(0, &[]);
    tenant.run("drift accept --all").expect(0, &[]);
    let ran = tenant.run("drift replay");
    ran.expect(0, &["2 records sent, 1 older version dropped", "0 left in quarantine"]);
    let texts: Vec<Json> = ran.records("items").iter().map(|record| record["a__string"].clone()).collect();
    assert_eq!(texts, ["one", "four"]);
    assert_eq!(std::fs::read_to_string(tenant.quarantine("items")).unwrap(), "");
}

/// A page may have a record twice, first as it was and then as it is.
#[test]
fn a_newer_version_on_the_same_page_counts() {
    let mut tenant = tenant(&schema());
    tenant.items(&calm()).expect(0, &[]);
    tenant.items(&[json!({"id": 1, "a": "one"}), json!({"id": 1, "a": 1}), json!({"id": 2, "a": 2})]).expect(0, &[]);
    tenant.run("drift accept --all").expect(0, &[]);
    tenant.run("drift replay").expect(0, &["0 records sent, 1 older version dropped"]);
}

#[test]
fn what_the_last_run_put_aside_is_replayed() {
    let mut tenant = tenant(&schema());
    tenant.items(&calm()).expect(0, &[]);
    tenant.items(&[json!({"id": 1, "a": "many"}), json!({"id": 2, "a": 2})]).expect(0, &[]);
    tenant.run("drift accept --all").expect(0, &[]);
    // A run that has no records sends none that are newer.
    tenant.items(&[]).expect(0, &[]);
    let ran = tenant.run("drift replay");
    assert_eq!(ran.expect(0, &[]).records("items"), [json!({"id": 1, "a": null, "a__string": "many"})]);
    assert!(!ran.err.contains("--force"), "{}", ran.err);
}

#[test]
fn a_replay_sends_no_record_that_is_too_large() {
    let mut tenant = tenant(&schema()).drift(json!({"max_record_bytes": 1024}));
    tenant.items(&calm()).expect(0, &[]);
    tenant.items(&[json!({"id": 1, "a": 1, "note": "x".repeat(3000)}), json!({"id": 2, "a": 2})]).expect(0, &[]);
    assert_eq!(tenant.run("drift replay").expect(0, &[]).out, "");
    assert_eq!(tenant.aside("items").len(), 1);
    let tenant = tenant.drift(json!({"max_record_bytes": 8192}));
    assert_eq!(tenant.run("drift replay").expect(0, &[]).records("items").len(), 1);
}

#[test]
fn what_was_accepted_as_gone_is_news_when_it_goes_again() {
    let mut tenant = tenant(&schema());
    let with = |there: bool| -> Vec<Json> {
        let one = |n: u64| if there { json!({"id": n, "a": n}) } else { json!({"id": n}) };
        (0..300).map(one).collect()
    };
    tenant.items(&with(true)).expect(0, &[]);
    tenant.items(&with(true)).expect(0, &[]);
    tenant.items(&with(false)).expect(40, &[]);
    assert_eq!(tenant.open(), ["field_removed /a"]);
    tenant.run("drift accept --all").expect(0, &[]);
    assert_eq!(told(tenant.items(&with(false)).expect(0, &[])), [""; 0]);
    tenant.items(&with(true)).expect(0, &[]);
    tenant.items(&with(true)).expect(0, &[]);
    assert_eq!(told(tenant.items(&with(false)).expect(40, &[])), ["field_removed /a"]);
}
