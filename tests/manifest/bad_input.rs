//! What bad input gets: a fault that names the place and the cure, nothing on stdout but whole messages, nothing lost.

use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::Vendor;

fn plain() -> String {
    items(&json!({"id": {"type": "integer"}}), &json!({}), &json!({}))
}

fn refused(ran: &Ran, words: &[&str]) {
    ran.expect(10, words);
    assert!(ran.out.is_empty(), "nothing is said before the first request: {}", ran.out);
}

#[test]
fn a_config_that_cannot_be_used() {
    let with = |text: &str| Tap::new("read").source(&plain()).file("--config", "c.json", text).run();
    refused(&Tap::new("read --config nowhere.json").source(&plain()).run(), &["cannot read the config nowhere.json"]);
    refused(&with(""), &["is empty"]);
    refused(&with("{\"url\": 1,}"), &["not valid JSON at line 1"]);
    refused(&with("[1]"), &["must be a JSON object"]);
    refused(&with(r#"{"url": "env:DRIPFEED_TEST_UNSET"}"#), &["`url`", "DRIPFEED_TEST_UNSET", "not set"]);
    refused(&with(r#"{"url": "file:/nowhere/token"}"#), &["`url`", "/nowhere/token"]);
    refused(&with(r#"{"dripfeed": {"tenat": "x"}}"#), &["`dripfeed`", "unknown key `tenat`", "did you mean `tenant`"]);
    refused(&with(r#"{"dripfeed": {"deadline": "soon"}}"#), &["`dripfeed.deadline`"]);
    refused(&with(r#"{"dripfeed": {"pace": {"headroom": 7}}}"#), &["`dripfeed.pace.headroom`"]);
    refused(
        &with(r#"{"dripfeed": {"drift": {"rules": [{"policy": "explode"}]}}}"#),
        &["`dripfeed.drift.rules[0].policy`"],
    );
    refused(
        &with(r#"{"dripfeed": {"tiers": {"hourly": {"streams": ["itms"]}}}}"#),
        &["dripfeed.tiers.hourly", "`itms`", "did you mean `items`"],
    );
    for name in ["all", "backfill"] {
        let tiers = json!({"dripfeed": {"tiers": {name: {"streams": ["items"]}}}});
        refused(&with(&tiers.to_string()), &[&format!("a tier cannot be named `{name}`")]);
    }
    let spec = json!({"type": "Spec", "connection_specification": {
        "type": "object", "required": ["token"], "properties": {"token": {"type": "string"}},
    }});
    let typed = plain().replace("\"streams\"", &format!("\"spec\":{spec},\"streams\""));
    let ran = Tap::new("read").source(&typed).config(&json!({"token": 12_345_678})).run();
    refused(&ran, &["config `token` must be a text, and is a number", "in quotes"]);
    assert!(!ran.err.contains("12345678"), "a fault never shows a value");
    refused(&Tap::new("read").source(&typed).config(&json!({})).run(), &["config `token` is missing"]);
}

#[test]
fn validate_says_everything_at_once() {
    let text = "version: 7.39.1
type: DeclarativeSource
check: {type: CheckStream, stream_names: [items]}
definitions:
  shared: {type: BearerAuthenticator}
streams:
  - type: DeclarativeStream
    name: items
    retriever:
      type: SimpleRetriever
      requester: {type: HttpRequester, url_base: \"{{ cnfig.url }}\", authenticator: \"#/definitions/shared\"}
      paginator: {type: DefaultPaginater}
      record_selector: {type: RecordSelector, extractor: {type: DpathExtractor}}
    transformations:
      - {type: AddFields, fields: [{path: [a]}, {path: [b], value: \"{{ 1 + }}\"}]}
      - {type: CustomTransformation, class_name: a.B}
  - type: DeclarativeStream
    name: more
    file_uploader: {type: FileUploader, requester: {type: HttpRequester, url: x}, \
download_target_extractor: {type: KeyValueExtractor}}
    retriever:
      type: SimpleRetriever
      requester: {type: HttpRequester, url_base: \"{{ config.url }}\", authenticator: \"#/definitions/shared\"}
      record_selector: {type: RecordSelector, extractor: {type: DpathExtractor, field_path: a}}
";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.yaml");
    std::fs::write(&file, text).unwrap();
    let validate = || Tap::new("validate").args(&[file.to_str().unwrap()]).run();
    let ran = validate();
    let lines: Vec<u32> =
        ran.err.split("m.yaml:").skip(1).filter_map(|rest| rest.split(' ').next()?.parse().ok()).collect();
    assert_eq!(lines, [5, 11, 12, 13, 15, 15, 16, 19, 23], "{}", ran.err);
    ran.expect(
        10,
        &[
            "authenticator.api_token`: `api_token` is missing",
            "uses `cnfig`",
            "did you mean `DefaultPaginator`?",
            "`transformations[0].fields[0].value`: `value` is missing".trim_start_matches('`'),
            "does not compile",
            "needs custom Python code",
            "does not support the component `KeyValueExtractor` yet",
            "expected a list, found a string",
            "8 faults",
        ],
    );
    std::fs::write(&file, items(&json!({}), &json!({"name": "other"}), &json!({}))).unwrap();
    validate().expect(0, &["`check` names the stream `items`, which does not exist"]);
}

#[test]
fn a_manifest_that_cannot_be_used() {
    let with = |text: &str| Tap::new("read").source(text).config(&json!({"url": "http://127.0.0.1:9"})).run();
    let selector = "      record_selector:
        type: RecordSelector
        extractor: {type: DpathExtractor, field_path: [data]}
";
    let base = format!(
        "version: 7.39.1
type: DeclarativeSource
check: {{type: CheckStream, stream_names: [items]}}
streams:
  - type: DeclarativeStream
    name: items
    retriever:
      type: SimpleRetriever
      requester:
        type: HttpRequester
        url_base: URL
        path: items
{selector}"
    );
    let url = |value: &str| base.replace("URL", value);
    refused(&with("streams: [\n  {a: b"), &["manifest.yaml:", "not valid YAML"]);
    refused(&with("just text"), &["a manifest is a mapping"]);
    let empty = "{type: DeclarativeSource, check: {type: CheckStream, stream_names: [a]}}";
    refused(&with(empty), &["neither `streams` nor `dynamic_streams`"]);
    refused(
        &with(&url("\"{{ config['url'\"")),
        &["manifest.yaml:11", "`streams[0].retriever.requester.url_base`", "does not compile"],
    );
    // What a template lacks costs its stream, when it is needed.
    with(&url("\"{{ cnfig['url'] }}\"")).expect(40, &["uses `cnfig`", "did you mean `config`"]);
    with(&url("\"{{ stream_state['x'] }}\"")).expect(40, &["cannot read `stream_state`"]);
    refused(
        &with(&base.replace("type: HttpRequester", "type: HttpRequestor")),
        &["manifest.yaml:10", "`HttpRequestor`", "did you mean `HttpRequester`"],
    );
    refused(
        &with(&base.replace("type: HttpRequester", "type: CustomRequester\n        class_name: a.B")),
        &["custom Python code"],
    );
    refused(&with(&base.replace("type: SimpleRetriever", "type: AsyncRetriever")), &["`status_mapping` is missing"]);
    refused(
        &with(&base.replace("{type: DpathExtractor, field_path: [data]}", "{type: KeyValueExtractor}")),
        &["does not support the component `KeyValueExtractor` yet"],
    );
    for (bodies, words) in [
        (
            "request_body: {type: RequestBodyPlainText, value: x}\n        request_body_json: {a: 1}",
            "only one of `request_body`",
        ),
        ("request_body: {type: RequestBodyGraphQL, value: {variables: {}}}", "needs a `query`"),
    ] {
        let with_bodies = base.replace("        path: items\n", &format!("        path: items\n        {bodies}\n"));
        refused(&with(&with_bodies), &[words]);
    }
    refused(&with(&base.replace(selector, "")), &["`record_selector` is missing", "streams[0].retriever"]);
    refused(
        &with(&(base.replace("path: items", "path: {$ref: \"#/a\"}") + "a: {$ref: \"#/b\"}\nb: {$ref: \"#/a\"}\n")),
        &["refers to itself"],
    );
    refused(&with(&base.replace("path: items", "path: {$ref: \"#/nowhere\"}")), &["points to nothing"]);
    refused(
        &with(&base.replace(
            "name: items\n",
            "name: items\n    schema_loader: {type: JsonFileSchemaLoader, file_path: ../../etc/hostname}\n",
        )),
        &["schema"],
    );
    // The check alone fails for a stream that does not exist.
    let check = Tap::new("check").source(&base.replace("stream_names: [items]", "stream_names: [item]"));
    refused(&check.config(&json!({})).run(), &["no stream `item`", "did you mean `items`"]);
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..10 {
        let list = vec![format!("*a{}", i - 1); 10].join(", ");
        bomb += &format!("a{i}: &a{i} [{list}]\n");
    }
    let tap = Tap::new("read").source(&(bomb + &base)).config(&json!({}));
    let ran = tap.run_within(std::time::Duration::from_secs(120)).expect("a bomb must not go off");
    refused(&ran, &["not valid YAML"]);
    refused(&Tap::new("read --source asanna").run(), &["no built-in source `asanna`"]);
    refused(&Tap::new("read").run(), &["no source is set", "sandbox"]);
    // The schema file must not leave the folder, whatever it leads to.
    let tap = Tap::new("read").file("", "secret.json", "{}");
    let inner = base.replace(
        "name: items\n",
        "name: items\n    schema_loader: {type: JsonFileSchemaLoader, file_path: ../secret.json}\n",
    );
    refused(
        &tap.file("--source", "inner/m.yaml", &url("x").replace(&url("x"), &inner)).config(&json!({})).run(),
        &["outside the manifest's folder"],
    );
}

#[test]
fn a_catalog_that_cannot_be_used() {
    let with = |catalog: &Json| {
        Tap::new("read").source(&plain()).config(&json!({"url": "http://127.0.0.1:9"})).catalog(catalog).run()
    };
    refused(
        &with(&json!({"streams": [{"tap_stream_id": "itmes", "stream": "itmes"}]})),
        &["`itmes`", "did you mean `items`"],
    );
    refused(&with(&json!({"streams": [{"tap_stream_id": "tickets"}]})), &["`tickets`", "dripfeed discover"]);
    refused(&with(&json!({})), &["no `streams` list"]);
    refused(&with(&json!({"streams": [{"tap_stream_id": "items"}, {"tap_stream_id": "items"}]})), &["twice"]);
    refused(
        &with(&json!({"streams": [{"stream": {"name": "items"}, "sync_mode": "incremental"}]})),
        &["Airbyte catalog"],
    );
    refused(
        &Tap::new("read --streams itms").source(&plain()).config(&json!({"url": "x"})).run(),
        &["`itms`", "did you mean `items`"],
    );
}

#[test]
fn a_state_that_cannot_be_used() {
    let cursor = json!({"incremental_sync": {
        "type": "DatetimeBasedCursor", "cursor_field": "at", "datetime_format": "%Y-%m-%d",
        "start_datetime": "2024-01-01",
    }});
    let manifest = items(&json!({"id": {"type": "integer"}}), &cursor, &json!({}));
    let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": []}}]));
    let with = |text: &str| {
        Tap::new("read").source(&manifest).config(&json!({"url": vendor.url})).file("--state", "s.json", text).run()
    };
    refused(&with(""), &["is empty"]);
    refused(&with("{\"bookmarks\": {\"items\""), &["not valid JSON", "interrupted"]);
    refused(&with("\"x\""), &["must be a JSON object"]);
    refused(&with("{\"bookmarks\": 1}"), &["`bookmarks` must be an object"]);
    refused(&with("{\"bookmarks\": {\"items\": 1}}"), &["bookmark of `items` must be an object"]);
    refused(&with("{\"bookmarks\": {\"items\": {\"at\": \"yesterday\"}}}"), &["stream `items`", "`at` is not a time"]);
    refused(
        &with("{\"bookmarks\": {}, \"dripfeed\": {\"v\": 1, \"source\": \"asana\"}}"),
        &["belongs to the source `asana`"],
    );
    refused(&with("{\"bookmarks\": {}, \"dripfeed\": {\"v\": 9}}"), &["newer dripfeed"]);
    refused(&with("{\"type\": \"STATE\", \"value\": {}}"), &["whole STATE message"]);
    refused(&with("[{\"type\": \"STREAM\"}]"), &["Airbyte's format"]);
    refused(
        &with(
            "{\"bookmarks\": {\"items\": {\"at\": \"2024-01-02\"}}, \"dripfeed\": {\"v\": 1, \"source\": \"manifest\", \
            \"shape\": {\"items\": \"000000000000\"}}}",
        ),
        &["the filter of stream `items` has changed", "--reset items"],
    );
    assert!(vendor.asked().is_empty(), "nothing is asked before everything is read");
    for nothing in ["{}", "[]"] {
        with(nothing).expect(0, &[]);
    }
    let foreign = with("{\"bookmarks\": {\"items\": {\"at\": \"2024-01-05\"}}}");
    assert_eq!(
        foreign.expect(0, &[]).state()["bookmarks"]["items"]["at"],
        "2024-01-05",
        "a state without our mark is accepted"
    );
}

/// Two streams: `bad` gets `replies`, `good` gets three records; the run must fail only the one.
fn one_bad_stream(replies: &Json, retriever: &Json, code: i32, words: &[&str]) -> Ran {
    let server = json!({"routes": [
        {"path": "/bad", "replies": replies},
        {"path": "/good", "replies": [{"status": 200, "json": {"data": [{"id": 1}, {"id": 2}, {"id": 3}]}}]},
    ]});
    let vendor = Vendor::start(&server);
    let mut manifest: Json =
        serde_json::from_str(&items(&json!({"id": {"type": "integer"}}), &json!({}), retriever)).unwrap();
    let mut good: Json = serde_json::from_str(&plain()).unwrap();
    manifest["streams"][0]["name"] = json!("bad");
    manifest["streams"][0]["retriever"]["requester"]["path"] = json!("bad");
    let mut other = good["streams"][0].take();
    other["name"] = json!("good");
    other["retriever"]["requester"]["path"] = json!("good");
    manifest["streams"].as_array_mut().unwrap().push(other);
    manifest["check"]["stream_names"] = json!(["good"]);
    let ran = Tap::new("read").source(&manifest.to_string()).config(&json!({"url": vendor.url})).run();
    ran.expect(code, words);
    assert_eq!(ran.records("good").len(), 3, "the other stream is whole");
    assert_eq!(ran.messages().last().unwrap()["type"], "STATE");
    ran
}

#[test]
fn answers_that_cannot_be_trusted_cost_their_stream_only() {
    let none = json!({});
    let quick = json!({"requester": {"error_handler": {
        "type": "DefaultErrorHandler", "max_retries": 1,
        "backoff_strategies": [{"type": "ConstantBackoffStrategy", "backoff_time_in_seconds": 0.01}],
    }}});
    let text = |text: &str| json!([{"status": 200, "headers": {}, "text": text}]);
    one_bad_stream(&text("<!doctype html><p>sign in"), &none, 40, &["stream `bad`", "HTML"]);
    let cut = text("{\"data\": [{\"id\": 1}, {\"id\"");
    one_bad_stream(&cut, &quick, 69, &["not valid JSON", "at byte 26", "after 2 attempts"]);
    one_bad_stream(&text(""), &none, 0, &["is empty: it counts as a page without records"]);
    one_bad_stream(
        &json!([{"status": 200, "hex": "7b2264617461223a5b7b226964223a31c328227d5d7d"}]),
        &none,
        40,
        &["not valid UTF-8"],
    );
    one_bad_stream(&text("{\"data\": [{\"id\": 1}]} {}"), &quick, 69, &["something follows", "after 2 attempts"]);
    one_bad_stream(&text("{\"data\": [[1]]}"), &none, 40, &["not an object"]);
    one_bad_stream(
        &text(&format!("{{\"data\": [{{\"id\": 1, \"x\": {}1{}}}]}}", "[".repeat(5000), "]".repeat(5000))),
        &none,
        40,
        &["nested too deeply"],
    );
    one_bad_stream(
        &json!([{"status": 200, "blanks": 50 << 20}]),
        &none,
        40,
        &["larger than 33554432 bytes", "max_page_bytes"],
    );
    one_bad_stream(&json!([{"status": 404, "json": {"error": "gone"}}]), &none, 40, &["HTTP Status Code: 404", "gone"]);
    one_bad_stream(
        &json!([{"status": 200, "json": {"data": [{"id": 1}]}, "cut": 5}]),
        &quick,
        69,
        &["broke off", "after 2 attempts"],
    );
    let error = text("{\"error\": {\"message\": \"no such account\"}}");
    one_bad_stream(&error, &quick, 40, &["reports an error instead of records", "no such account", "after 2 attempts"]);
    one_bad_stream(&json!([{"status": 503, "json": {}}]), &quick, 69, &["Service unavailable", "after 2 attempts"]);
    one_bad_stream(
        &json!([{"status": 401, "json": {"message": "bad token"}}]),
        &none,
        20,
        &["Unauthorized", "bad token", "credentials"],
    );
}

#[test]
fn tokens_that_repeat_end_in_a_fault() {
    let paging = json!({"paginator": {
        "type": "DefaultPaginator",
        "pagination_strategy": {"type": "CursorPagination", "cursor_value": "{{ response['next'] }}"},
        "page_token_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "t"},
    }});
    let page = |next: &str| json!({"status": 200, "json": {"data": [{"id": 1}], "next": next}});
    one_bad_stream(&json!([page("A")]), &paging, 40, &["page token repeats", "cursor_value"]);
    let two = json!([page("A"), page("B"), page("A"), page("B"), page("A")]);
    one_bad_stream(&two, &paging, 40, &["page token repeats"]);
}

#[test]
fn numbered_pages_that_repeat_end_in_a_fault() {
    let paging = json!({"paginator": {
        "type": "DefaultPaginator",
        "pagination_strategy": {"type": "PageIncrement", "page_size": 1},
        "page_token_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "p"},
    }});
    one_bad_stream(
        &json!([{"status": 200, "json": {"data": [{"id": 1}]}}]),
        &paging,
        40,
        &["pages in a row had only records of earlier pages"],
    );
}

#[test]
fn credentials_stay_with_the_manifests_own_host() {
    let thief = Vendor::of_items(json!([{"status": 200, "json": {"data": []}}]));
    let auth = json!({"requester": {"authenticator": {"type": "BearerAuthenticator", "api_token": "s3cret-token"}}});
    let redirect = json!([{"status": 302, "headers": {"Location": format!("{}/items", thief.url)}, "text": ""}]);
    let ran = one_bad_stream(&redirect, &auth, 40, &["redirect was not followed", "allowed_hosts"]);
    assert!(!ran.err.contains("s3cret-token"));
    let mut next = auth;
    next["paginator"] = json!({
        "type": "DefaultPaginator", "page_token_option": {"type": "RequestPath"},
        "pagination_strategy": {"type": "CursorPagination", "cursor_value": "{{ response['next'] }}"},
    });
    let leads_away = json!([{"status": 200, "json": {"data": [{"id": 1}], "next": format!("{}/items", thief.url)}}]);
    one_bad_stream(&leads_away, &next, 40, &["not to the manifest's host"]);
    assert!(thief.asked().is_empty());
}

#[test]
fn a_secret_is_never_shown() {
    let vendor = Vendor::of_items(json!([{"status": 403, "json": {"error": "token tr0ub4dor&3 may not read"}}]));
    let manifest = items(
        &json!({"id": {"type": "integer"}}),
        &json!({}),
        &json!({"requester": {
            "authenticator": {
                "type": "ApiKeyAuthenticator", "api_token": "{{ config['key'] }}",
                "inject_into": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "key"},
            },
        }}),
    );
    let ran = Tap::new("read -v")
        .source(&manifest)
        .config(&json!({"url": vendor.url, "key": "env:DRIPFEED_TEST_KEY"}))
        .env("DRIPFEED_TEST_KEY", "tr0ub4dor&3")
        .run();
    ran.expect(20, &["****", "Forbidden"]);
    for form in ["tr0ub4dor&3", "tr0ub4dor%263"] {
        assert!(!ran.err.contains(form) && !ran.out.contains(form), "{}", ran.err);
    }
    assert_eq!(vendor.asked()[0].query, "key=tr0ub4dor%263", "it is sent as it is");
}

#[test]
fn a_vendor_that_is_not_there_is_down() {
    let quick = json!({"requester": {"error_handler": {"type": "DefaultErrorHandler", "max_retries": 0}}});
    let manifest = items(&json!({"id": {"type": "integer"}}), &json!({}), &quick);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ran = Tap::new("read").source(&manifest).config(&json!({"url": format!("http://127.0.0.1:{port}")})).run();
    ran.expect(69, &["stream `items`", "after 1 attempt"]);
    assert!(ran.out.is_empty(), "with neither input state nor a checkpoint there is no STATE");
}

#[test]
fn templates_cannot_build_what_never_ends() {
    for value in [
        "{% set x = [] %}{% set _ = x.append(x) %}{{ x }}",
        "{% set x = [[]] %}{% set _ = x[0].append(x) %}{{ x }}",
        "{% set x = {} %}{% set _ = x.update({'a': x}) %}{{ x }}",
        "{{ 'x' * 99999999999 }}",
        "{{ 10 ** 100000 }}",
        "{{ 'a' | center(70000) | batch(100000000000000, 1) | list }}",
        "{% for a in 'x' * 9999 %}{% for b in 'x' * 9999 %}{% endfor %}{% endfor %}",
    ] {
        let fields = json!({"transformations": [{"type": "AddFields", "fields": [{"path": ["x"], "value": value}]}]});
        let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": [{"id": 1}]}}]));
        let manifest = items(&json!({"id": {"type": "integer"}}), &fields, &json!({}));
        let ran = Tap::new("read").source(&manifest).config(&json!({"url": vendor.url})).run();
        ran.expect(40, &["the template failed", "transformations[0].fields[0].value"]);
    }
}

#[test]
fn templates_of_any_length_end_in_a_fault() {
    for value in [
        format!("{{{{ 'a'{} }}}}", "|upper".repeat(20_000)),
        format!("{{{{ record{} }}}}", ".a".repeat(20_000)),
        format!("{{{{ 1{} }}}}", "+1".repeat(20_000)),
    ] {
        let fields = json!({"transformations": [{"type": "AddFields", "fields": [{"path": ["x"], "value": value}]}]});
        let manifest = items(&json!({"id": {"type": "integer"}}), &fields, &json!({}));
        refused(
            &Tap::new("read").source(&manifest).config(&json!({"url": "http://127.0.0.1:9"})).run(),
            &["the expression is too long"],
        );
    }
}

#[test]
fn a_window_that_failed_is_read_again_though_windows_touch() {
    // With a step of one granule the second day touches the first run's starting point; the first day failed.
    let cursor = json!({"incremental_sync": {
        "type": "DatetimeBasedCursor", "cursor_field": "at", "datetime_format": "%Y-%m-%d",
        "start_datetime": "2024-01-01", "end_datetime": "2024-01-03", "step": "P1D", "cursor_granularity": "P1D",
        "start_time_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "from"},
    }});
    let day = |n: u32| {
        json!({
            "path": "/items", "query": {"from": format!("2024-01-0{n}")},
            "replies": [{"status": 200, "json": {"data": [{"id": n, "at": format!("2024-01-0{n}")}]}}],
        })
    };
    let broken = json!({"path": "/items", "query": {"from": "2024-01-01"}, "replies": [{"status": 400, "json": {}}]});
    let manifest = items(&json!({"id": {"type": "integer"}, "at": {"type": "string"}}), &cursor, &json!({}));
    let run = |first: &Json, state: Option<&Json>| {
        let vendor = Vendor::start(&json!({"routes": [first, day(2), day(3)]}));
        let tap = Tap::new("read").source(&manifest).config(&json!({"url": vendor.url}));
        state.map_or(tap.run(), |s| {
            Tap::new("read").source(&manifest).config(&json!({"url": vendor.url})).state(s).run()
        })
    };
    let failed = run(&broken, None);
    failed.expect(40, &["HTTP Status Code: 400"]);
    for message in failed.messages().iter().filter(|m| m["type"] == "STATE") {
        assert_eq!(message["value"]["bookmarks"]["items"]["at"], "2024-01-01");
    }
    let again = run(&day(1), Some(&failed.state()));
    let mut ids: Vec<u64> = again.expect(0, &[]).records("items").iter().map(|r| r["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2], "the day that failed is read again");
    assert_eq!(again.state()["bookmarks"]["items"]["at"], "2024-01-02");
}

#[test]
fn a_cut_emoji_or_a_byte_order_mark_does_not_end_the_pages() {
    let paging = |value: &str| {
        json!({"paginator": {
            "type": "DefaultPaginator", "pagination_strategy": {"type": "CursorPagination", "cursor_value": value},
            "page_token_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "t"},
        }})
    };
    let page = |bom: &str, id: u32, next: &str| {
        let data = format!(r#"[{{"id": {id}, "x": "\ud83d"}}]"#);
        let meta = format!(r#"{{"note": "\ud83d", "next": "{next}"}}"#);
        json!({"status": 200, "headers": {}, "text": format!(r#"{bom}{{"data": {data}, "meta": {meta}}}"#)})
    };
    for value in [
        "{{ response['meta']['next'] }}",
        "{% set r = response %}{{ r['meta']['next'] }}",
        "{{ last_record['id'] if last_record['id'] < 2 }}",
    ] {
        for bom in ["", "\u{feff}"] {
            let vendor = Vendor::of_items(json!([page(bom, 1, "a"), page(bom, 2, "")]));
            let fields = json!({"transformations": [{"type": "AddFields", "fields": [{"path": ["y"], "value": "z"}]}]});
            let manifest = items(&json!({"id": {"type": "integer"}}), &fields, &paging(value));
            let ran = Tap::new("read").source(&manifest).config(&json!({"url": vendor.url})).run();
            assert_eq!(ran.expect(0, &[]).records("items").len(), 2, "{value} {bom:?}");
        }
    }
}

#[test]
fn what_the_vendor_says_does_not_decide_where_credentials_go() {
    let thief = Vendor::of_items(json!([{"status": 200, "json": {"data": []}}]));
    let retriever = json!({
        "requester": {
            "url_base": "{{ next_page_token['next_page_token'] if next_page_token else config['url'] }}",
            "authenticator": {"type": "BearerAuthenticator", "api_token": "t0ken"},
        },
        "paginator": {
            "type": "DefaultPaginator",
            "pagination_strategy": {"type": "CursorPagination", "cursor_value": "{{ response['next'] }}"},
        },
    });
    let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": [{"id": 1}], "next": thief.url}}]));
    let manifest = items(&json!({"id": {"type": "integer"}}), &json!({}), &retriever);
    let ran = Tap::new("read").source(&manifest).config(&json!({"url": vendor.url})).run();
    ran.expect(40, &["not to the manifest's host", "allowed_hosts"]);
    assert!(thief.asked().is_empty());
    let host = thief.url.strip_prefix("http://").unwrap();
    let own = vendor.url.trim_start_matches("http://");
    // Where the list is set, private addresses must be in it.
    let config = json!({"url": vendor.url, "dripfeed": {"allowed_hosts": [host]}});
    let ran = Tap::new("read").source(&manifest).config(&config).run();
    ran.expect(10, &["leads to a private address", "allowed_hosts"]);
    let config = json!({"url": vendor.url, "dripfeed": {"allowed_hosts": [host, own]}});
    Tap::new("read").source(&manifest).config(&config).run().expect(0, &[]);
    assert_eq!(thief.asked().len(), 1, "a host that the config names may be asked");
}

#[test]
fn a_redirect_on_the_same_host_is_followed() {
    let vendor = Vendor::start(&json!({"routes": [
        {"path": "/", "replies": [{"status": 302, "headers": {"Location": "/items?x=1"}, "text": ""}]},
        {"path": "/items", "replies": [{"status": 200, "json": {"data": [{"id": 1}]}}]},
    ]}));
    let manifest = items(&json!({"id": {"type": "integer"}}), &json!({}), &json!({"requester": {"path": ""}}));
    let ran = Tap::new("read").source(&manifest).config(&json!({"url": vendor.url})).run();
    assert_eq!(ran.expect(0, &[]).records("items").len(), 1);
}

#[test]
fn a_check_ends_on_a_signal_though_the_vendor_hangs() {
    let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": []}, "pause_ms": 60_000}]));
    let tap = Tap::new("check").source(&plain()).config(&json!({"url": vendor.url}));
    let ran = tap.run_and_stop(|| !vendor.asked().is_empty());
    assert_eq!(ran.code, 143);
}

#[test]
fn a_manifest_of_ten_megabytes_is_read_but_not_what_multiplies_itself() {
    let fields: String = (0..70).map(|n| format!("          field_{n}: {{type: [string, 'null']}}\n")).collect();
    let stream = |n: usize| {
        format!(
            "  - type: DeclarativeStream
    name: s{n}
    retriever:
      type: SimpleRetriever
      requester: {{type: HttpRequester, url_base: https://api.example.com, path: /s{n}}}
      record_selector: {{type: RecordSelector, extractor: {{type: DpathExtractor, field_path: []}}}}
    schema_loader:
      type: InlineSchemaLoader
      schema:
        type: object
        properties:
{fields}"
        )
    };
    let head = "version: 7.39.1\ntype: DeclarativeSource\ncheck: {type: CheckStream, stream_names: [s0]}\nstreams:\n";
    let manifest: String = std::iter::once(head.to_owned()).chain((0..3_000).map(stream)).collect();
    assert!(manifest.len() > 10_000_000);
    let validate = |text: &str| {
        let tap = Tap::new("validate").file("", "m.yaml", text);
        let path = tap.dir.path().join("m.yaml").display().to_string();
        tap.args(&[&path]).run()
    };
    let ran = validate(&manifest);
    assert!(ran.expect(0, &[]).out.contains("3,000 streams"), "{:.500}", ran.out);
    // Three characters that stand for a thousand values each.
    let bomb = format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(1_000), "*a, ".repeat(1_000));
    validate(&bomb).expect(10, &["m.yaml:2", "400000 values"]);
}
