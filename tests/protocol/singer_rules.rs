//! The ten rules for "works with any Singer target", each with the vendor data that breaks it elsewhere.

use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::Vendor;

fn schema() -> Json {
    json!({
        "id": {"type": "integer"},
        "at": {"type": "string", "format": "date-time"},
        "day": {"type": ["null", "string"], "format": "date"},
        "count": {"type": "integer", "minimum": 0},
        "share": {"type": "number"},
        "name": {"type": "string", "maxLength": 3, "enum": ["a"]},
        "any": {},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "who": {"oneOf": [
            {"type": "null"},
            {
                "type": "object", "required": ["x"], "additionalProperties": false,
                "properties": {"x": {"type": "string"}},
            },
        ]},
        "list": {"type": "array", "items": {"type": "string", "format": "date-time"}},
    })
}

/// Reads a body given as text, with the schema above.
fn read_text(text: &str) -> Ran {
    let vendor =
        Vendor::of_items(json!([{"status": 200, "headers": {"Content-Type": "application/json"}, "text": text}]));
    Tap::new("read").source(&items(&schema(), &json!({}), &json!({}))).config(&json!({"url": vendor.url})).run()
}

fn one(record: &str) -> Json {
    let ran = read_text(&format!("{{\"data\": [{record}]}}"));
    ran.expect(0, &[]);
    ran.records("items").remove(0)
}

#[test]
fn rule_1_only_whole_lines_of_known_messages_and_a_state_last() {
    let ran = read_text("{\n  \"data\": [\n    {\n      \"id\": 1,\n      \"name\": \"a\\nb\"\n    }\n  ]\n}\n");
    ran.expect(0, &[]);
    // `messages` fails on a torn or broken line.
    let types: Vec<String> = ran.messages().iter().map(|m| m["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(types.iter().map(String::as_str).collect::<Vec<_>>(), ["SCHEMA", "RECORD", "STATE"]);
    assert!(ran.out.lines().all(|l| !l.trim().is_empty()));
    assert_eq!(ran.records("items"), [json!({"id": 1, "name": "a\nb"})]);
}

#[test]
fn rule_2_the_state_is_complete_and_never_empty() {
    let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": []}}]));
    let state = json!({"bookmarks": {"elsewhere": {"x": 1}}, "custom": [1]});
    let tap = Tap::new("read").source(&items(&schema(), &json!({}), &json!({}))).config(&json!({"url": vendor.url}));
    let ran = tap.state(&state).run();
    ran.expect(0, &[]);
    for message in ran.messages().iter().filter(|m| m["type"] == "STATE") {
        assert_eq!(message["value"]["bookmarks"]["elsewhere"], json!({"x": 1}), "state of other streams is kept");
        assert_eq!(message["value"]["custom"], json!([1]));
    }
    assert_eq!(ran.counts()["SCHEMA items"], 1, "a stream without records has its SCHEMA all the same");
}

#[test]
fn rule_3_every_property_is_nullable_and_plain() {
    let ran = read_text("{\"data\": []}");
    let schema = ran.schema("items");
    let text = schema.to_string();
    for banned in
        ["enum", "maxLength", "minimum", "required", "additionalProperties", "$ref", "anyOf", "oneOf", "pattern"]
    {
        assert!(!text.contains(banned), "{banned} is on the wire: {text}");
    }
    let properties = &schema["properties"];
    assert_eq!(properties["id"], json!({"type": "integer"}), "keys are not nullable");
    assert_eq!(properties["at"], json!({"type": ["null", "string"], "format": "date-time"}));
    assert_eq!(properties["any"], json!({"type": ["null", "string"]}));
    assert_eq!(properties["either"], json!({"type": ["null", "string"]}));
    assert_eq!(
        properties["who"],
        json!({"type": ["null", "object"], "properties": {"x": {"type": ["null", "string"]}}})
    );
    assert_eq!(properties["list"]["items"], json!({"type": ["null", "string"], "format": "date-time"}));
}

#[test]
fn references_of_a_schema_file_are_inlined() {
    let schema = json!({
        "type": "object", "definitions": {"day": {"type": ["null", "string"], "format": "date"}},
        "properties": {"id": {"type": "string"}, "days": {"type": "array", "items": {"$ref": "#/definitions/day"}}},
    });
    let file = json!({"schema_loader": {
        "type": "JsonFileSchemaLoader", "file_path": "./{{ parameters['folder'] }}/items.json",
        "$parameters": {"folder": "schemas"},
    }});
    let mut manifest: Json = serde_json::from_str(&items(&json!({}), &json!({}), &json!({}))).unwrap();
    manifest["streams"][0]["schema_loader"] = file["schema_loader"].clone();
    let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": []}}]));
    let tap = Tap::new("read").source(&manifest.to_string()).file("", "schemas/items.json", &schema.to_string());
    let sent = tap.config(&json!({"url": vendor.url})).run().expect(0, &[]).schema("items");
    assert_eq!(sent["properties"]["days"]["items"], json!({"type": ["null", "string"], "format": "date"}));
}

#[test]
fn schema_files_may_refer_to_shared_ones() {
    let schema = json!({"type": "object", "properties": {"id": {"type": "string"}, "user": {"$ref": "user.json"}}});
    let user = json!({
        "type": "object", "definitions": {"n": {"type": "string"}}, "properties": {"name": {"$ref": "#/definitions/n"}},
    });
    let mut manifest: Json = serde_json::from_str(&items(&json!({}), &json!({}), &json!({}))).unwrap();
    manifest["streams"][0]["schema_loader"] = json!({"type": "JsonFileSchemaLoader"});
    let discover = |schema: &Json| {
        let tap = Tap::new("discover --protocol airbyte").source(&manifest.to_string());
        tap.file("", "schemas/items.json", &schema.to_string())
            .file("", "schemas/shared/user.json", &user.to_string())
            .run()
    };
    let catalog = discover(&schema).expect(0, &[]).messages().remove(0);
    let found = &catalog["catalog"]["streams"][0]["json_schema"]["properties"]["user"];
    assert_eq!(*found, json!({"type": "object", "properties": {"name": {"type": "string"}}}));
    let round = json!({"properties": {"id": {"$ref": "#/properties/id"}}});
    let refused = |schema: &Json, says: &str| {
        let tap = Tap::new("discover").source(&manifest.to_string());
        tap.file("", "schemas/items.json", &schema.to_string()).run().expect(10, &[says]);
    };
    refused(&round, "refers to itself");
    refused(&json!({"properties": {"id": {"$ref": "../../secret.json"}}}), "secret.json: No such file");
}

#[test]
fn schema_files_stand_beside_the_manifest() {
    let schema =
        json!({"type": "object", "properties": {"id": {"type": "string"}, "seen": {"type": "boolean"}}}).to_string();
    let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": []}}]));
    let mut manifest: Json = serde_json::from_str(&items(&json!({}), &json!({}), &json!({}))).unwrap();
    let loaders = [
        Json::Null,
        json!({"type": "JsonFileSchemaLoader"}),
        json!({
            "type": "JsonFileSchemaLoader", "file_path": "./source_crm/schemas/{{ parameters['name'] }}.json",
            "$parameters": {"name": "items"},
        }),
    ];
    for loader in loaders {
        manifest["streams"][0]["schema_loader"] = loader.clone();
        let tap = Tap::new("read").source(&manifest.to_string()).file("", "schemas/items.json", &schema);
        let sent = tap.config(&json!({"url": vendor.url})).run().expect(0, &[]).schema("items");
        assert_eq!(sent["properties"]["seen"], json!({"type": ["null", "boolean"]}), "{loader}");
    }
}

#[test]
fn rule_4_date_times_are_utc_or_null() {
    for (sent, wanted) in [
        ("2024-01-02T03:04:05Z", json!("2024-01-02T03:04:05Z")),
        ("2024-01-02T03:04:05+05:30", json!("2024-01-01T21:34:05Z")),
        ("2024-01-02 03:04:05", json!("2024-01-02T03:04:05Z")),
        ("2024-01-02T03:04:05.123456789Z", json!("2024-01-02T03:04:05.123456Z")),
        ("2024-02-30T00:00:00Z", Json::Null),
        ("10000-01-01T00:00:00Z", Json::Null),
        ("tomorrow", Json::Null),
    ] {
        assert_eq!(one(&format!("{{\"id\": 1, \"at\": \"{sent}\"}}"))["at"], wanted, "{sent}");
    }
    assert_eq!(one(r#"{"id": 1, "day": "2024-13-01"}"#)["day"], Json::Null);
    assert_eq!(
        one(r#"{"id": 1, "list": ["2024-01-02T00:00:00+01:00", null]}"#)["list"],
        json!(["2024-01-01T23:00:00Z", null])
    );
    read_text(r#"{"data": [{"id": 1, "at": "soon"}]}"#).expect(0, &["sent 1 value as null to fit the schema"]);
}

#[test]
fn rule_5_integers_are_integers_of_64_bits() {
    assert_eq!(one(r#"{"id": 1, "count": 5.0}"#).to_string(), r#"{"id":1,"count":5}"#);
    assert_eq!(one(r#"{"id": 1, "count": 9223372036854775807}"#)["count"], json!(9_223_372_036_854_775_807_i64));
    // 2^64 has no place in a 64-bit column; as a `number` it passes digit by digit.
    assert_eq!(one(r#"{"id": 1, "count": 18446744073709551616}"#)["count"], Json::Null);
    assert_eq!(
        one(r#"{"id": 1, "share": 18446744073709551616}"#).to_string(),
        r#"{"id":1,"share":18446744073709551616}"#
    );
    assert_eq!(one(r#"{"id": 1, "share": 1.10}"#).to_string(), r#"{"id":1,"share":1.10}"#, "digits stay as they were");
    // Text that means no number is no number.
    assert_eq!(one(r#"{"id": 1, "share": "NaN", "count": ""}"#), json!({"id": 1, "share": null, "count": null}));
    assert_eq!(one(r#"{"id": 1, "share": "12.50", "count": "7"}"#).to_string(), r#"{"id":1,"share":12.50,"count":7}"#);
    // NaN itself is no JSON.
    read_text(r#"{"data": [{"id": 1, "share": NaN}]}"#).expect(40, &["not valid JSON"]);
}

#[test]
fn rule_6_a_value_of_another_type_does_not_change_the_published_one() {
    let record =
        one(r#"{"id": 1, "count": {"n": 1}, "name": 5, "either": 7, "any": {"a": [1]}, "who": "x", "list": "no"}"#);
    let wanted =
        json!({"id": 1, "count": null, "name": "5", "either": "7", "any": "{\"a\":[1]}", "who": null, "list": null});
    assert_eq!(record, wanted);
}

#[test]
fn rule_7_records_are_whole() {
    // Null and undeclared fields are sent as they came.
    let record = one(r#"{"id": 1, "name": null, "undeclared": {"x": [1, 2.50]}}"#);
    assert_eq!(record.to_string(), r#"{"id":1,"name":null,"undeclared":{"x":[1,2.50]}}"#);
}

#[test]
fn rule_8_discovery_wins_and_needs_no_catalog() {
    let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": []}}]));
    let tap = |args: &[&str]| {
        let tap = Tap::new("").source(&items(&schema(), &json!({}), &json!({}))).config(&json!({"url": vendor.url}));
        tap.state(&json!({"bookmarks": {}})).catalog(&json!({"streams": []})).args(args).run()
    };
    let catalog: Json = serde_json::from_str(&tap(&["--discover"]).expect(0, &[]).out).unwrap();
    assert_eq!(catalog["streams"][0]["tap_stream_id"], "items");
    assert!(tap(&["--version", "--discover"]).out.starts_with("dripfeed "));
    let about: Json = serde_json::from_str(&tap(&["--about", "--format=json"]).out).unwrap();
    assert!(about["settings"]["properties"]["dripfeed"].is_object());
    tap(&["--test"]).expect(0, &["the connection works"]);
    assert!(vendor.asked().len() == 1, "only --test asks the vendor");
}

#[test]
fn nul_and_lone_surrogates_do_not_reach_a_target() {
    assert_eq!(one(r#"{"id": 1, "name": "a\u0000b"}"#)["name"], "ab");
    assert_eq!(one(r#"{"id": 1, "name": "x\ud83dy"}"#)["name"], "x\u{fffd}y");
    assert_eq!(one(r#"{"id": 1, "name": "\ud83d\ude00"}"#)["name"], "😀", "a pair is no lone surrogate");
    assert_eq!(one(r#"{"id": 1, "free": {"k\u0000": ["\udc00"]}}"#)["free"], json!({"k": ["\u{fffd}"]}));
}

#[test]
fn twins_and_long_names_get_names_of_their_own() {
    let long = "x".repeat(80);
    let properties = json!({
        "id": {"type": "integer"}, "Foo": {"type": "string"}, "foo": {"type": "string"},
        (long.clone()): {"type": "string"},
    });
    let vendor = Vendor::of_items(
        json!([{"status": 200, "json": {"data": [{"id": 1, "Foo": "a", "foo": "b", (long.clone()): "c"}]}}]),
    );
    let ran =
        Tap::new("read").source(&items(&properties, &json!({}), &json!({}))).config(&json!({"url": vendor.url})).run();
    let schema = ran.schema("items");
    let names: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    let mut lower: Vec<String> = names.iter().map(|n| n.to_lowercase()).collect();
    lower.sort();
    lower.dedup();
    assert_eq!(lower.len(), 4, "{names:?}");
    assert!(names.iter().all(|n| n.len() <= 63), "{names:?}");
    let record = ran.records("items").remove(0);
    assert_eq!(record.as_object().unwrap().keys().collect::<Vec<_>>(), names, "records use the announced names");
    assert_eq!(record["Foo"], "a");
}

#[test]
fn a_record_without_its_key_fails_the_stream() {
    for record in [r#"{"id": null}"#, r#"{"name": "x"}"#] {
        let ran = read_text(&format!("{{\"data\": [{{\"id\": 1}}, {record}]}}"));
        ran.expect(40, &["stream `items`", "has no value for its key `id`", "record_filter"]);
        assert!(ran.records("items").is_empty(), "a page counts as a whole or not at all");
    }
}

#[test]
fn fields_are_selected_down_to_nested_ones_and_automatic_wins() {
    let body = json!({"data": [{"id": 1, "name": "n", "who": {"x": "secret", "y": 2}, "count": 3, "new": 4}]});
    let vendor = Vendor::of_items(json!([{"status": 200, "json": body}]));
    let properties = json!({
        "id": {"type": "integer"}, "name": {"type": "string"}, "count": {"type": "integer"},
        "who": {"type": "object", "properties": {"x": {"type": "string"}, "y": {"type": "integer"}}},
    });
    let manifest = items(&properties, &json!({}), &json!({}));
    let entry =
        |breadcrumb: Json, selected: bool| json!({"breadcrumb": breadcrumb, "metadata": {"selected": selected}});
    let catalog = json!({"streams": [{"tap_stream_id": "items", "stream": "items", "metadata": [
        entry(json!([]), true),
        entry(json!(["properties", "id"]), false),
        entry(json!(["properties", "name"]), false),
        entry(json!(["properties", "who"]), false),
        entry(json!(["properties", "who", "properties", "x"]), false),
        entry(json!(["properties", "who", "properties", "y"]), true),
    ]}]});
    let config = json!({"url": vendor.url});
    let ran = Tap::new("read").source(&manifest).config(&config).catalog(&catalog).run();
    ran.expect(0, &[]);
    assert_eq!(ran.records("items"), [json!({"id": 1, "who": {"y": 2}, "count": 3})]);
    let sent: Vec<String> = ran.schema("items")["properties"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(sent, ["id", "count", "who"], "what is not selected is not announced");
    let none =
        json!({"streams": [{"tap_stream_id": "items", "stream": "items", "metadata": [entry(json!([]), false)]}]});
    let ran = Tap::new("read").source(&manifest).config(&config).catalog(&none).run();
    ran.expect(0, &["no stream is selected"]);
    assert!(ran.out.is_empty());
    let properties_flag =
        Tap::new("").source(&manifest).config(&config).file("--properties", "p.json", &catalog.to_string()).run();
    assert_eq!(properties_flag.records("items").len(), 1);
}

#[test]
fn fields_that_are_not_selected_are_not_asked_for() {
    let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": [{"id": 1, "a": 1, "c": 3}]}}]));
    let names = json!({"type": "QueryProperties", "property_list": ["a", "b", "c"], "always_include_properties": ["id"],
                       "property_selector": {"type": "JsonSchemaPropertySelector"}});
    let properties = json!({"id": {}, "a": {}, "b": {}, "c": {}});
    let requester = json!({"requester": {"request_parameters": {"fields": names}}});
    let manifest = items(&properties, &json!({}), &requester);
    let catalog = json!({"streams": [{"tap_stream_id": "items", "stream": "items", "metadata": [
        {"breadcrumb": [], "metadata": {"selected": true}},
        {"breadcrumb": ["properties", "b"], "metadata": {"selected": false}},
    ]}]});
    let config = json!({"url": vendor.url});
    Tap::new("read").source(&manifest).config(&config).catalog(&catalog).run().expect(0, &[]);
    Tap::new("read").source(&manifest).config(&config).run().expect(0, &[]);
    let asked: Vec<String> = vendor.asked().into_iter().map(|asked| asked.query).collect();
    assert_eq!(asked, ["fields=id%2Ca%2Cc", "fields=id%2Ca%2Cb%2Cc"]);
}

#[test]
fn keys_keep_their_names_and_types() {
    let properties = json!({"id": {"type": "string"}, "ID": {"type": ["string", "integer"]}});
    let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": [{"id": "a", "ID": 2}]}}]));
    let manifest = items(&properties, &json!({"primary_key": "ID"}), &json!({}));
    let ran = Tap::new("read").source(&manifest).config(&json!({"url": vendor.url})).run();
    let schema = ran.expect(0, &[]).schema("items");
    assert_eq!(schema["properties"]["ID"], json!({"type": ["string", "integer"]}), "{schema}");
    assert_eq!(ran.records("items")[0]["ID"], 2);
    assert!(schema["properties"].get("id").is_none(), "the twin of a key gets another name");
}

#[test]
fn a_full_refresh_keeps_the_bookmarks_of_others() {
    let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": []}}]));
    let state = json!({"bookmarks": {"other": {"x": 1}, "items": {"old": 1}}});
    let manifest = items(&schema(), &json!({}), &json!({}));
    let ran = Tap::new("read --full-refresh").source(&manifest).config(&json!({"url": vendor.url})).state(&state).run();
    assert_eq!(ran.expect(0, &[]).state()["bookmarks"], json!({"other": {"x": 1}}));
}
