//! The Airbyte protocol: what its consumers are given, in which order, and with which exit code.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::Vendor;

fn airbyte(verb: &str) -> Tap {
    Tap::new(verb).env("DRIPFEED_PROTOCOL", "airbyte")
}

fn page(ids: &[&str]) -> Json {
    let data: Vec<Json> = ids.iter().map(|id| json!({"id": id})).collect();
    json!({"status": 200, "json": {"data": data}})
}

fn manifest(more: &Json) -> String {
    items(&json!({"id": {"type": "string"}}), more, &json!({}))
}

fn catalog(streams: &[&str]) -> Json {
    let entry = |name: &&str| {
        json!({
            "stream": {"name": name, "json_schema": {}, "supported_sync_modes": ["full_refresh"]},
            "sync_mode": "full_refresh", "destination_sync_mode": "overwrite",
            "generation_id": 1, "minimum_generation_id": 1, "sync_id": 1,
        })
    };
    json!({"streams": streams.iter().map(entry).collect::<Vec<_>>()})
}

/// What was said, in order: types, with the status of a stream and the failure type of an error.
fn said(ran: &Ran) -> Vec<String> {
    let word = |m: Json| {
        let trace = &m["trace"];
        match (m["type"].as_str().unwrap(), trace["type"].as_str()) {
            (_, Some("STREAM_STATUS")) => {
                let reason = trace["stream_status"]["reasons"][0]["type"].as_str();
                reason.unwrap_or(trace["stream_status"]["status"].as_str().unwrap()).to_owned()
            }
            (_, Some("ERROR")) => format!("ERROR {}", trace["error"]["failure_type"].as_str().unwrap()),
            (kind, _) => kind.to_owned(),
        }
    };
    ran.messages().into_iter().filter(|m| m["type"] != "LOG").map(word).collect()
}

fn message(ran: &Ran, kind: &str) -> Json {
    ran.messages().into_iter().find(|m| m["type"] == kind).unwrap_or_else(|| panic!("no {kind}:\n{}", ran.out))
}

fn errors(ran: &Ran) -> Vec<Json> {
    ran.messages().into_iter().filter(|m| m["trace"]["type"] == "ERROR").map(|m| m["trace"]["error"].clone()).collect()
}

#[test]
fn a_read_says_its_messages_in_the_references_order() {
    let vendor = Vendor::of_items(json!([page(&["1", "2"])]));
    let ran = airbyte("read")
        .source(&manifest(&json!({})))
        .config(&json!({"url": vendor.url}))
        .catalog(&catalog(&["items"]))
        .run();
    ran.expect(0, &[]);
    assert_eq!(said(&ran), ["STARTED", "RUNNING", "RECORD", "RECORD", "COMPLETE", "STATE"]);
    assert!(ran.err.is_empty(), "logs are LOG messages: {}", ran.err);
    let record = &message(&ran, "RECORD")["record"];
    assert_eq!((&record["stream"], &record["data"]), (&json!("items"), &json!({"id": "1"})));
    assert!(record["emitted_at"].as_u64().is_some_and(|ms| ms > 1_600_000_000_000), "{record}");
    let state = &message(&ran, "STATE")["state"];
    assert_eq!(state["stream"]["stream_state"], json!({"__ab_no_cursor_state_message": true}));
    assert_eq!(state["sourceStats"]["recordCount"], 2.0);
}

#[test]
fn records_are_the_vendors_own() {
    let text =
        r#"{"data": [{"id": 7, "at": "2024-01-01T00:00:00+05:30", "n": 5.0, "none": null, "undeclared": 1.10}]}"#;
    let vendor = Vendor::of_items(json!([{"status": 200, "text": text}]));
    let ran = airbyte("read").source(&manifest(&json!({}))).config(&json!({"url": vendor.url})).run();
    let line = ran.out.lines().find(|l| l.contains("\"RECORD\"")).unwrap();
    let data = r#"{"id": 7, "at": "2024-01-01T00:00:00+05:30", "n": 5.0, "none": null, "undeclared": 1.10}"#;
    assert!(line.contains(data), "{line}");
}

#[test]
fn an_empty_stream_is_never_running() {
    let vendor = Vendor::of_items(json!([page(&[])]));
    let ran = airbyte("read").source(&manifest(&json!({}))).config(&json!({"url": vendor.url})).run();
    assert_eq!(said(&ran), ["STARTED", "COMPLETE", "STATE"]);
}

#[test]
fn a_stream_that_fails_says_so_and_the_exit_code_too() {
    let vendor = Vendor::of_items(json!([{"status": 401, "json": {"message": "secret-token-text was revoked"}}]));
    let manifest = manifest(&json!({"retriever": {"requester": {"authenticator":
        {"type": "BearerAuthenticator", "api_token": "{{ config['token'] }}"}}}}));
    let mut manifest: Json = serde_json::from_str(&manifest).unwrap();
    manifest["spec"] = json!({"type": "Spec", "connection_specification":
        {"type": "object", "properties": {"token": {"type": "string", "airbyte_secret": true}}}});
    let config = json!({"url": vendor.url, "token": "secret-token-text"});
    let ran = airbyte("read").source(&manifest.to_string()).config(&config).run();
    ran.expect(1, &[]);
    assert_eq!(said(&ran), ["STARTED", "ERROR config_error", "INCOMPLETE", "STATE", "ERROR config_error"]);
    let error = &errors(&ran)[0];
    assert_eq!(error["stream_descriptor"]["name"], "items");
    assert_eq!(
        error["message"],
        "HTTP Status Code: 401. Error: Unauthorized. Please ensure you are authenticated correctly."
    );
    assert!(
        !ran.out.contains("secret-token-text") && error["internal_message"].as_str().unwrap().contains("****"),
        "{error}"
    );
    let check = airbyte("check").source(&manifest.to_string()).config(&config).run();
    check.expect(0, &[]);
    let status = &message(&check, "CONNECTION_STATUS")["connectionStatus"];
    assert_eq!(status["status"], "FAILED");
    assert!(status["message"].as_str().unwrap().starts_with("'Stream items is not available: HTTP Status Code: 401."));
    assert!(!check.out.contains("secret-token-text"));
}

#[test]
fn the_other_streams_are_whole() {
    let mut two: Json = serde_json::from_str(&manifest(&json!({}))).unwrap();
    let mut other = two["streams"][0].clone();
    other["name"] = json!("others");
    other["retriever"]["requester"]["path"] = json!("others");
    two["streams"].as_array_mut().unwrap().push(other);
    let vendor = Vendor::start(&json!({"routes": [
        {"path": "/items", "replies": [{"status": 404, "json": {}}]}, {"path": "/others", "replies": [page(&["1"])]},
    ]}));
    let ran = airbyte("read")
        .source(&two.to_string())
        .config(&json!({"url": vendor.url}))
        .catalog(&catalog(&["items", "others"]))
        .run();
    ran.expect(1, &[]);
    let of = |stream: &str| -> Vec<Json> {
        let of = |m: &Json| m["trace"]["stream_status"]["stream_descriptor"]["name"] == stream;
        ran.messages().into_iter().filter(of).map(|m| m["trace"]["stream_status"]["status"].clone()).collect()
    };
    assert_eq!(of("items"), ["STARTED", "INCOMPLETE"]);
    assert_eq!(of("others"), ["STARTED", "RUNNING", "COMPLETE"]);
    assert_eq!(errors(&ran)[0]["failure_type"], "system_error");
    // A stream that is not there is incomplete; the others are read.
    let ran = airbyte("read")
        .source(&two.to_string())
        .config(&json!({"url": vendor.url}))
        .catalog(&catalog(&["gone", "others"]))
        .run();
    assert_eq!(said(&ran), ["INCOMPLETE", "STARTED", "RUNNING", "RECORD", "COMPLETE", "STATE"]);
}

#[test]
fn waits_for_the_vendors_rate_are_told() {
    let limited = json!({"status": 429, "json": {}, "headers": {"Retry-After": "1"}});
    let vendor = Vendor::of_items(json!([limited, page(&["1"])]));
    let ran = airbyte("read").source(&manifest(&json!({}))).config(&json!({"url": vendor.url})).run();
    assert_eq!(said(&ran), ["STARTED", "RATE_LIMITED", "RUNNING", "RECORD", "COMPLETE", "STATE"]);
    let told = ran.messages().into_iter().find(|m| m["trace"]["stream_status"]["reasons"].is_array()).unwrap();
    let trace = &told["trace"];
    let reset = trace["stream_status"]["reasons"][0]["rate_limited"]["quota_reset"].as_u64().unwrap();
    let wait = Duration::from_millis(reset - trace["emitted_at"].as_u64().unwrap());
    assert!(wait > Duration::from_millis(900) && wait < Duration::from_millis(1300), "{wait:?}");
}

#[test]
fn bad_input_is_said_as_the_protocol_wants() {
    let vendor = Vendor::of_items(json!([page(&["1"])]));
    let mut manifest: Json = serde_json::from_str(&manifest(&json!({}))).unwrap();
    manifest["spec"] = json!({"type": "Spec", "connection_specification": {"type": "object", "required": ["api_key"]}});
    let manifest = manifest.to_string();
    let bad = json!({"url": vendor.url});
    let missing = "Config validation error: 'api_key' is a required property";
    let check = airbyte("check").source(&manifest).config(&bad).run();
    check.expect(0, &[]);
    assert_eq!(
        message(&check, "CONNECTION_STATUS")["connectionStatus"],
        json!({"status": "FAILED", "message": missing})
    );
    for verb in ["discover", "read"] {
        let ran = airbyte(verb).source(&manifest).config(&bad).run();
        ran.expect(1, &[]);
        assert_eq!((said(&ran), &errors(&ran)[0]["message"]), (vec!["ERROR config_error".to_owned()], &json!(missing)));
    }
    let good = json!({"url": vendor.url, "api_key": "k"});
    let mut wrong = catalog(&["items"]);
    wrong["streams"][0]["sync_mode"] = json!("INVALID");
    for (file, words) in [
        (wrong.to_string(), "unknown `sync_mode` at `streams[0]`"),
        ("{".to_owned(), "is not valid JSON"),
        (
            json!({"streams": [{"tap_stream_id": "items"}]}).to_string(),
            "has a stream without a name at `streams[0].stream`",
        ),
    ] {
        let ran = airbyte("read").source(&manifest).config(&good).file("--catalog", "catalog.json", &file).run();
        ran.expect(1, &[]);
        assert!(errors(&ran)[0]["message"].as_str().unwrap().contains(words), "{}", ran.out);
    }
    for (file, words) in [
        ("", "is empty"),
        (r#"{"bookmarks": {}}"#, "is a Singer state"),
        (r#"[{"type": "STREAM", "stream": {"stream_state": {}}}]"#, "without `stream_descriptor.name` at [0]"),
        (r#"[{"type": "OTHER"}]"#, "has an entry that is not a state at [0]"),
        ("7", "is neither a list nor an object"),
    ] {
        let ran = airbyte("read").source(&manifest).config(&good).file("--state", "state.json", file).run();
        ran.expect(1, &[]);
        assert!(errors(&ran)[0]["message"].as_str().unwrap().contains(words), "{}", ran.out);
    }
    assert!(vendor.asked().is_empty());
    airbyte("read --no-such-flag").run().expect(2, &[]);
}

#[test]
fn states_are_taken_in_every_form() {
    let cursor = json!({"incremental_sync": {
        "type": "DatetimeBasedCursor", "cursor_field": "at", "datetime_format": "%Y-%m-%d",
        "start_datetime": "2024-01-01",
        "start_time_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "since"},
    }});
    let descriptor = json!({"name": "items", "namespace": null});
    let stream = json!({"stream_descriptor": descriptor, "stream_state": {"at": "2024-02-01"}});
    let message = json!({"type": "STREAM", "stream": stream});
    for state in [
        json!([message]),
        json!(message),
        json!([{"type": "STATE", "state": message}]),
        json!([{"type": "GLOBAL", "global": {"shared_state": {}, "stream_states": [stream]}}]),
        json!([{"type": "GLOBAL", "global_": {"shared_state": null, "stream_states": [stream]}}]),
        json!([{"type": "LEGACY", "data": {"items": {"at": "2024-02-01"}}}]),
        json!({"items": {"at": "2024-02-01"}}),
        json!([{
            "type": "STREAM", "stream": stream, "global_": null, "data": null, "sourceStats": {"recordCount": 1.0},
        }]),
    ] {
        let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": [{"id": "1", "at": "2024-02-02"}]}}]));
        let tap = airbyte("read").source(&manifest(&cursor)).config(&json!({"url": vendor.url})).state(&state);
        let ran = tap.env("DRIPFEED_NOW", "2024-03-01T00:00:00Z").run();
        ran.expect(0, &[]);
        assert_eq!(vendor.asked()[0].query, "since=2024-02-01", "{state}");
        assert_eq!(said(&ran), ["STARTED", "RUNNING", "RECORD", "STATE", "COMPLETE", "STATE"]);
        let states: Vec<Json> =
            ran.messages().into_iter().filter(|m| m["type"] == "STATE").map(|m| m["state"].clone()).collect();
        let counts: Vec<&Json> = states.iter().map(|s| &s["sourceStats"]["recordCount"]).collect();
        assert_eq!(counts, [&json!(1.0), &json!(0.0)]);
        assert_eq!(states[1]["stream"]["stream_state"], json!({"at": "2024-02-02"}));
    }
}

#[test]
fn spec_and_catalog_tell_what_a_platform_needs() {
    let mut manifest: Json = serde_json::from_str(&manifest(&json!({"primary_key": [["a", "b"], "id"]}))).unwrap();
    manifest["spec"] = json!({
        "type": "Spec", "documentation_url": "https://example.com/docs",
        "advanced_auth": {"auth_flow_type": "oauth2.0"},
        "connection_specification": {"type": "object", "properties": {"key": {"type": "string"}}},
    });
    let ran = airbyte("spec").source(&manifest.to_string()).run();
    let spec = &message(&ran, "SPEC")["spec"];
    assert_eq!(
        (&spec["documentationUrl"], &spec["advanced_auth"]["auth_flow_type"]),
        (&json!("https://example.com/docs"), &json!("oauth2.0"))
    );
    let properties = &spec["connectionSpecification"]["properties"];
    assert!(properties["key"].is_object() && properties["dripfeed"]["properties"]["pace"].is_object());
    let ran = airbyte("discover").source(&manifest.to_string()).config(&json!({})).run();
    let stream = &message(&ran, "CATALOG")["catalog"]["streams"][0];
    assert_eq!(stream["source_defined_primary_key"], json!([["a", "b"], ["id"]]));
    assert_eq!(stream["supported_sync_modes"], json!(["full_refresh"]));
    assert_eq!(
        stream["json_schema"]["properties"],
        json!({"id": {"type": "string"}}),
        "as in the manifest, not relaxed"
    );
}

#[test]
fn a_manifest_in_the_config_is_a_source() {
    let vendor = Vendor::of_items(json!([page(&["1"])]));
    let injected: Json = serde_json::from_str(&manifest(&json!({}))).unwrap();
    let config = json!({"url": vendor.url, "__injected_declarative_manifest": injected});
    let ran = airbyte("read --debug").config(&config).catalog(&catalog(&["items"])).run();
    ran.expect(0, &[]);
    assert_eq!(ran.messages().iter().filter(|m| m["type"] == "RECORD").count(), 1);
    let spec = airbyte("spec").run();
    let required = &message(&spec, "SPEC")["spec"]["connectionSpecification"]["required"];
    assert_eq!(required, &json!(["__injected_declarative_manifest"]));
}

#[test]
fn tokens_that_change_are_announced_before_they_are_used() {
    let authenticator = json!({
        "type": "OAuthAuthenticator", "token_refresh_endpoint": "{{ config['url'] }}/token", "client_id": "cid",
        "client_secret": "sec", "refresh_token_updater": {},
    });
    let token = json!({
        "status": 200, "json": {"access_token": "access-one", "refresh_token": "refresh-one", "expires_in": 3600},
    });
    let vendor = Vendor::start(&json!({"routes": [
        {"path": "/token", "method": "POST", "replies": [token]}, {"path": "/items", "replies": [page(&["1"])]},
    ]}));
    let manifest = manifest(&json!({"retriever": {"requester": {"authenticator": authenticator}}}));
    let config = json!({"url": vendor.url, "credentials": {"refresh_token": "refresh-zero", "other": 1}});
    let ran = airbyte("read").source(&manifest).config(&config).run();
    ran.expect(0, &[]);
    assert_eq!(said(&ran), ["STARTED", "CONTROL", "RUNNING", "RECORD", "COMPLETE", "STATE"]);
    let kept = &message(&ran, "CONTROL")["control"]["connectorConfig"]["config"];
    assert_eq!(kept["url"], json!(vendor.url));
    let credentials = &kept["credentials"];
    assert_eq!(
        (&credentials["access_token"], &credentials["refresh_token"]),
        (&json!("access-one"), &json!("refresh-one"))
    );
    assert!(
        credentials["other"] == 1 && credentials["token_expiry_date"].as_str().unwrap().ends_with("+00:00"),
        "{credentials}"
    );
    let asked = vendor.asked();
    assert!(
        asked[0].body.contains("refresh_token=refresh-zero")
            && asked[1].headers["authorization"] == "Bearer access-one"
    );
}
