//! One tenant's change is that tenant's: others read as if there were none, and who has it too is seen over all of
//! them.

use serde_json::{Value as Json, json};

use crate::support::drifting::{Tenant, replies, told};
use crate::support::tap::{Ran, items};
use crate::support::vendor::Vendor;

fn schema() -> Json {
    json!({"id": {"type": "string"}, "name": {"type": ["null", "string"]}, "points": {"type": ["null", "integer"]}})
}

fn records(points: &Json) -> Vec<Json> {
    (0..40).map(|n| json!({"id": format!("r{n}"), "name": "n", "points": points})).collect()
}

/// What a run printed, without what no two runs have alike.
fn printed(ran: &Ran) -> String {
    let line = |line: &str| {
        let mut message: Json = serde_json::from_str(line).unwrap();
        message.as_object_mut().unwrap().shift_remove("time_extracted");
        message.to_string()
    };
    ran.out.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_change_in_one_tenant_is_not_the_others() {
    let read = |tenant: &mut Tenant, points: &Json| {
        let vendor = Vendor::of_items(Json::Array(replies(&[records(points)])));
        tenant.read(&vendor)
    };
    // Once beside a tenant that is sick, once alone.
    let run = |with_sick: bool| {
        let mut sound = Tenant::new(&items(&schema(), &json!({}), &json!({})));
        let mut sick = sound.beside("globex");
        let mut runs = Vec::new();
        for round in 0..3 {
            if with_sick {
                let ran = read(&mut sick, &if round == 0 { json!(1) } else { json!("many") });
                ran.expect(if round == 0 { 0 } else { 40 }, &[]);
                assert_eq!(told(&ran).len(), usize::from(round > 0));
                assert!(ran.events("schema_drift").iter().all(|e| e["tenant"] == "globex"));
            }
            let ran = read(&mut sound, &json!(round));
            assert_eq!(told(ran.expect(0, &[])), [""; 0]);
            runs.push(ran);
        }
        assert_eq!(sound.open(), [""; 0]);
        sound.run("drift check").expect(0, &[]);
        if with_sick {
            assert_eq!(sick.open(), ["field_type_changed /points"]);
            sick.run("drift check").expect(30, &[]);
            assert_eq!(sick.aside("items").len(), 0, "over budget: nothing of it is kept");
        }
        assert!(!sound.quarantine("items").exists());
        runs.iter().map(printed).collect::<Vec<_>>()
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn one_accepts_and_others_do_not() {
    let mut acme = Tenant::new(&items(&schema(), &json!({}), &json!({})));
    let mut globex = acme.beside("globex");
    for tenant in [&mut acme, &mut globex] {
        tenant.items(&records(&json!(1))).expect(0, &[]);
        tenant.items(&records(&json!("many"))).expect(40, &[]);
    }
    acme.run("drift accept --all").expect(0, &[]);
    acme.items(&records(&json!("many"))).expect(0, &[]);
    globex.items(&records(&json!("many"))).expect(40, &[]);
    // What one has besides is no change for it, and none of the other's.
    let mut own = records(&json!(1));
    for record in &mut own {
        record["custom"] = json!("c");
    }
    let mut initech = acme.beside("initech");
    for _ in 0..2 {
        let ran = initech.items(&own);
        assert_eq!(told(ran.expect(0, &[])), [""; 0]);
        assert!(ran.schema("items")["properties"]["custom"].is_object());
    }
    let ran = acme.items(&records(&json!("many")));
    assert!(ran.expect(0, &[]).schema("items")["properties"]["custom"].is_null());
    assert_eq!(told(&ran), [""; 0]);
}

#[test]
fn a_change_that_three_tenants_meet_is_shown_once() {
    let first = Tenant::new(&items(&schema(), &json!({}), &json!({})));
    let root = first.root();
    let mut shown = Vec::new();
    let mut prints = Vec::new();
    for (number, name) in ["acme", "globex", "initech"].iter().enumerate() {
        let mut tenant = first.beside(name);
        tenant.items(&records(&json!(1))).expect(0, &[]);
        let ran = tenant.items(&records(&json!("many")));
        prints.push(ran.expect(40, &[]).events("schema_drift")[0]["fingerprint"].clone());
        let all = first.run(&format!("drift show --state-dir {} --format json", root.display()));
        let all: Json = serde_json::from_str(&all.expect(0, &[]).out).unwrap();
        let findings = all["findings"].as_array().unwrap();
        assert_eq!(findings.len(), 1, "{all}");
        assert_eq!(findings[0]["tenants"].as_array().unwrap().len(), number + 1);
        shown.push(findings[0]["scope"].clone());
    }
    assert_eq!(shown, ["tenant", "tenant", "vendor"]);
    assert!(prints.iter().all(|print| *print == prints[0]), "{prints:?}");
    first.run(&format!("drift check --state-dir {}", root.display())).expect(30, &[]);
}
