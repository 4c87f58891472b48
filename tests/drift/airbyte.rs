//! Drift as Airbyte's platform sees it: values that were taken out are named, errors are traced, `discover` knows what
//! grew.

use serde_json::{Value as Json, json};

use crate::support::drifting::Tenant;
use crate::support::tap::{Ran, items};

fn tenant() -> Tenant {
    let schema = json!({
        "id": {"type": "string"}, "points": {"type": ["null", "integer"]},
        "due_on": {"type": ["null", "string"], "format": "date"},
    });
    let mut tenant = Tenant::new(&items(&schema, &json!({}), &json!({}))).airbyte();
    tenant.items(&[good()]).expect(0, &[]);
    tenant
}

fn good() -> Json {
    json!({"id": "r1", "points": 1, "due_on": "2024-01-01"})
}

fn records(ran: &Ran) -> Vec<Json> {
    ran.messages().into_iter().filter(|m| m["type"] == "RECORD").map(|m| m["record"].clone()).collect()
}

fn statuses(ran: &Ran) -> Vec<String> {
    let of = |m: Json| m["trace"]["stream_status"]["status"].as_str().map(str::to_owned);
    ran.messages().into_iter().filter_map(of).collect()
}

#[test]
fn a_value_that_was_taken_out_is_named() {
    let mut tenant = tenant();
    let ran = tenant.items(&[good(), json!({"id": "r2", "points": 2, "due_on": "soon"})]);
    let records = records(ran.expect(0, &[]));
    assert_eq!(records[0]["data"], good());
    assert!(records[0].get("meta").is_none_or(|meta| meta["changes"].as_array().is_none_or(Vec::is_empty)));
    assert_eq!(records[1]["data"], json!({"id": "r2", "points": 2, "due_on": null}));
    let change = json!({"field": "due_on", "change": "NULLED", "reason": "SOURCE_SERIALIZATION_ERROR"});
    assert_eq!(records[1]["meta"]["changes"], json!([change]));
    assert_eq!(tenant.aside("items")[0]["record"]["due_on"], "soon");
    assert_eq!(tenant.open(), ["format_changed /due_on"]);
}

#[test]
fn a_stream_that_stops_is_traced() {
    let mut tenant = tenant();
    let ran = tenant.items(&[json!({"id": "r2", "points": {"a": 1}})]);
    ran.expect(1, &[]);
    let errors: Vec<Json> = ran
        .messages()
        .into_iter()
        .filter(|m| m["trace"]["type"] == "ERROR")
        .map(|m| m["trace"]["error"].clone())
        .collect();
    assert!(errors.iter().any(|e| e["stream_descriptor"]["name"] == "items"), "{errors:?}");
    let said = errors.iter().map(Json::to_string).collect::<String>();
    assert!(said.contains("field_structure_changed /points"), "{said}");
    assert!(statuses(&ran).contains(&"INCOMPLETE".to_owned()));
    assert!(records(&ran).is_empty());
}

#[test]
fn discover_knows_what_grew() {
    let rules = json!([{"rule": "field_type_changed", "policy": "evolve"}]);
    let mut tenant = tenant().rules(rules);
    let more = json!({"id": "r2", "points": 1.5, "zone": "utc", "inner": {"a": 1}});
    let text = json!({"id": "r3", "due_on": 7});
    let ran = tenant.items(&[good(), more.clone(), text.clone()]);
    let sent: Vec<Json> = records(ran.expect(0, &[])).into_iter().map(|r| r["data"].clone()).collect();
    assert_eq!(sent, [good(), more, text], "values pass as they are written");
    let ran = tenant.run("discover");
    let catalog = ran.expect(0, &[]).messages().into_iter().find(|m| m["type"] == "CATALOG").unwrap();
    let schema = &catalog["catalog"]["streams"][0]["json_schema"];
    let fields = &schema["properties"];
    let has =
        |name: &str, kind: &str| fields[name]["type"].as_array().is_some_and(|types| types.contains(&json!(kind)));
    for (name, kind) in
        [("points", "number"), ("zone", "string"), ("inner", "object"), ("due_on", "string"), ("due_on", "integer")]
    {
        assert!(has(name, kind), "{name}: {schema}");
    }
    assert!(!schema.to_string().contains("dripfeed"), "no marks of ours: {schema}");
    assert!(!fields.as_object().unwrap().keys().any(|name| name.contains("__")), "one column for a field: {schema}");
}
