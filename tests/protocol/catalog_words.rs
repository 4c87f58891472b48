//! The catalog is the user's word: each thing that it may say is done, or refused by name before the first request.

use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::Vendor;

/// A stream with a cursor, and one record of it.
fn read(entry: &Json) -> (Ran, usize) {
    let cursor = json!({"incremental_sync": {
        "type": "DatetimeBasedCursor", "cursor_field": "updated", "datetime_format": "%Y-%m-%dT%H:%M:%SZ",
        "start_datetime": "2024-01-01T00:00:00Z",
    }});
    let properties = json!({
        "id": {"type": "string"}, "name": {"type": "string"}, "score": {"type": "integer"}, "at": {"type": "string"},
        "updated": {"type": "string", "format": "date-time"}, "list": {"type": "array", "items": {"type": "integer"}},
        "who": {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "string"}}},
    });
    let record = json!({
        "id": "u1", "name": "U", "score": 5, "at": "2024-01-05T02:00:00+02:00", "updated": "2024-02-01T00:00:00Z",
        "list": [1], "who": {"x": 1, "y": "Y"},
    });
    let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": [record]}}]));
    let mut entry = entry.clone();
    entry["tap_stream_id"] = json!("items");
    let tap = Tap::new("read").source(&items(&properties, &cursor, &json!({}))).config(&json!({"url": vendor.url}));
    let ran = tap.catalog(&json!({"streams": [entry]})).run();
    (ran, vendor.asked().len())
}

fn root(metadata: &Json) -> Json {
    json!({"metadata": [{"breadcrumb": [], "metadata": metadata}]})
}

fn with_schema(field: &str, schema: &Json) -> Json {
    json!({"schema": {"type": "object", "properties": {field: schema}}})
}

#[test]
fn what_is_refused_is_named_before_the_first_request() {
    let refused = [
        (root(&json!({"selected": "yes"})), vec!["`items`", "`selected`", "yes"]),
        (
            root(&json!({"table-key-properties": ["nmae"]})),
            vec!["`items`", "`table-key-properties`", "did you mean `name`"],
        ),
        (root(&json!({"table-key-properties": ["who"]})), vec!["`items`", "`table-key-properties`", "`who`"]),
        (root(&json!({"table-key-properties": 1})), vec!["`items`", "`table-key-properties`"]),
        (json!({"key_properties": ["nmae"]}), vec!["`items`", "`nmae`"]),
        (
            json!({
                "key_properties": ["score"], "metadata": root(&json!({"table-key-properties": ["name"]}))["metadata"],
            }),
            vec!["`items`", "`key_properties`", "`table-key-properties`"],
        ),
        (root(&json!({"replication-key": "created"})), vec!["`items`", "`replication-key`", "`created`", "`updated`"]),
        (json!({"replication_key": "created"}), vec!["`items`", "`replication_key`", "`created`"]),
        (root(&json!({"replication-method": "LOG_BASED"})), vec!["`items`", "`replication-method`", "LOG_BASED"]),
        (json!({"replication_method": "LOG_BASED"}), vec!["`items`", "`replication_method`", "LOG_BASED"]),
        (with_schema("name", &json!({"type": "integer"})), vec!["`items`", "`name`", "`integer`", "`string`"]),
        (with_schema("score", &json!({"type": "boolean"})), vec!["`items`", "`score`", "`boolean`"]),
        (with_schema("list", &json!({"type": ["null", "object"]})), vec!["`items`", "`list`"]),
        (with_schema("list", &json!({"type": "array", "items": {"type": "boolean"}})), vec!["`items`", "`list`"]),
        (with_schema("score", &json!({"type": "string", "format": "date-time"})), vec!["`items`", "`score`"]),
        (
            with_schema("who", &json!({"type": "object", "properties": {"y": {"type": "number"}}})),
            vec!["`items`", "`who.y`", "`number`"],
        ),
    ];
    for (entry, words) in refused {
        let (ran, asked) = read(&entry);
        ran.expect(10, &words);
        assert_eq!((asked, ran.out.as_str()), (0, ""), "{entry}");
    }
}

/// meltano/sdk#2660
#[test]
fn the_key_of_the_catalog_is_the_streams() {
    for entry in [
        root(&json!({"table-key-properties": ["name"]})),
        root(&json!({"view-key-properties": ["name"]})),
        json!({"key_properties": ["name"]}),
        json!({"key_properties": ["name"], "metadata": root(&json!({"table-key-properties": ["id"]}))["metadata"]}),
        json!({"key_properties": ["id"], "metadata": root(&json!({"table-key-properties": ["name"]}))["metadata"]}),
    ] {
        let (ran, _) = read(&entry);
        let message = ran.expect(0, &[]).messages().into_iter().find(|m| m["type"] == "SCHEMA").unwrap();
        assert_eq!(message["key_properties"], json!(["name"]), "{entry}");
        assert_eq!(message["schema"]["properties"]["name"], json!({"type": "string"}), "a key is never null");
        assert_eq!(message["schema"]["properties"]["id"], json!({"type": ["null", "string"]}));
    }
    let (ran, _) = read(&root(&json!({"table-key-properties": []})));
    assert_eq!(ran.messages().into_iter().find(|m| m["type"] == "SCHEMA").unwrap()["key_properties"], json!([]));
}

#[test]
fn what_is_selected_may_be_said_in_any_form_and_place() {
    for no in [json!(false), json!("false"), json!("False")] {
        for entry in [root(&json!({"selected": no})), json!({"selected": no}), json!({"schema": {"selected": no}})] {
            let (ran, asked) = read(&entry);
            ran.expect(0, &["no stream is selected"]);
            assert_eq!(asked, 0, "{entry}");
        }
        let in_metadata = json!({"metadata": [
            {"breadcrumb": ["properties", "score"], "metadata": {"selected": no}},
            {"breadcrumb": ["properties", "who", "properties", "x"], "metadata": {"selected": no}},
            {"breadcrumb": ["properties", "id"], "metadata": {"selected": no}},
        ]});
        let in_schema = json!({"schema": {"type": "object", "properties": {
            "score": {"type": ["null", "integer"], "selected": no}, "id": {"type": "string", "selected": no},
            "who": {"type": ["null", "object"], "properties": {"x": {"type": ["null", "integer"], "selected": no}}},
        }}});
        for entry in [in_metadata, in_schema] {
            let (ran, _) = read(&entry);
            let record = ran.expect(0, &[]).records("items").remove(0);
            assert!(record.get("score").is_none() && record["who"] == json!({"y": "Y"}), "{entry}: {record}");
            assert_eq!(record["id"], "u1", "a target cannot do without keys");
        }
    }
    let (ran, _) = read(&json!({"selected": "TRUE", "metadata": []}));
    assert_eq!(ran.expect(0, &[]).records("items").len(), 1);
}

#[test]
fn the_replication_method_may_be_said_in_either_place() {
    for entry in [
        root(&json!({"replication-method": "full_table"})),
        json!({"replication_method": "FULL_TABLE"}),
        json!({"replication_method": "FULL_TABLE", "replication_key": "created"}),
        json!({
            "replication_method": "FULL_TABLE",
            "metadata": root(&json!({"replication-method": "INCREMENTAL"}))["metadata"],
        }),
        root(&json!({"replication-method": "INCREMENTAL", "replication-key": "updated"})),
        json!({"replication_key": "updated"}),
    ] {
        assert_eq!(read(&entry).0.expect(0, &[]).records("items").len(), 1, "{entry}");
    }
}

#[test]
fn the_schema_of_the_catalog_is_announced_and_records_fit_it() {
    for (field, schema, announced, value) in [
        ("score", json!({"type": ["null", "string"]}), json!({"type": ["null", "string"]}), json!("5")),
        ("score", json!({"type": "number"}), json!({"type": ["null", "number"]}), json!(5)),
        ("list", json!({"type": "string"}), json!({"type": ["null", "string"]}), json!("[1]")),
        (
            "list",
            json!({"type": "array", "items": {"type": "string"}}),
            json!({"type": ["null", "array"], "items": {"type": ["null", "string"]}}),
            json!(["1"]),
        ),
        (
            "at",
            json!({"type": "string", "format": "date-time"}),
            json!({"type": ["null", "string"], "format": "date-time"}),
            json!("2024-01-05T00:00:00Z"),
        ),
        (
            "name",
            json!({"type": ["null", "string"], "maxLength": 500}),
            json!({"type": ["null", "string"], "maxLength": 500}),
            json!("U"),
        ),
    ] {
        let (ran, _) = read(&with_schema(field, &schema));
        ran.expect(0, &[]);
        assert_eq!(ran.schema("items")["properties"][field], announced);
        assert_eq!(ran.records("items")[0][field], value);
        // A field that the catalog does not name is no field that is not wanted.
        assert_eq!(ran.records("items")[0]["id"], "u1");
    }
    let (ran, _) = read(&with_schema("who", &json!({"type": "object", "properties": {"x": {"type": "string"}}})));
    assert_eq!(ran.expect(0, &[]).records("items")[0]["who"], json!({"x": "1", "y": "Y"}));
    let (ran, _) = read(&with_schema("new", &json!({"type": "boolean"})));
    assert_eq!(ran.expect(0, &[]).schema("items")["properties"]["new"], json!({"type": ["null", "boolean"]}));
    let both = json!({
        "key_properties": ["score"],
        "schema": {"type": "object", "properties": {"score": {"type": "string"}}},
    });
    let (ran, _) = read(&both);
    assert_eq!(ran.expect(0, &[]).records("items")[0]["score"], "5");
    assert_eq!(ran.schema("items")["properties"]["score"], json!({"type": "string"}));
}
