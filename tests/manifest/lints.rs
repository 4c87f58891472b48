//! What `validate` warns of and what it refuses, without anybody's config.

use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap};
use crate::support::vendor::Vendor;

fn option(name: &str) -> Json {
    json!({"type": "RequestOption", "inject_into": "request_parameter", "field_name": name})
}

/// A manifest that nothing is to be said of.
fn clean() -> Json {
    json!({
        "version": "7.39.1", "type": "DeclarativeSource", "check": {"type": "CheckStream", "stream_names": ["items"]},
        "metadata": {"autoImportSchema": {"items": true}}, "description": "CRM", "x-team": "data",
        "definitions": {"anything": {"of": "mine"}},
        "streams": [{
            "type": "DeclarativeStream", "name": "items", "primary_key": "id", "x-owner": "me",
            "$parameters": {"path": "items", "own": 1},
            "schema_loader": {"type": "InlineSchemaLoader", "schema": {"type": "object", "properties": {}}},
            "incremental_sync": {
                "type": "DatetimeBasedCursor", "cursor_field": "at", "datetime_format": "%Y-%m-%dT%H:%M:%SZ",
                "start_datetime": "{{ config['start'] }}",
                "start_time_option": option("s"),
            },
            "retriever": {
                "type": "SimpleRetriever",
                "requester": {
                    "type": "HttpRequester", "url_base": "{{ config['url'] }}",
                    "authenticator": {"type": "BearerAuthenticator", "api_token": "{{ config.credentials.token }}"},
                    "request_parameters": {"a": "1", "own": "{{ config.get('__injected', 'x') }}"},
                },
                "record_selector": {
                    "type": "RecordSelector", "extractor": {"type": "DpathExtractor", "field_path": ["data"]},
                },
                "paginator": {
                    "type": "DefaultPaginator", "pagination_strategy": {"type": "PageIncrement", "page_size": 2},
                    "page_token_option": option("p"), "page_size_option": option("n"),
                },
            },
        }],
        "spec": {"type": "Spec", "connection_specification": {"type": "object", "properties": {
            "url": {"type": "string"},
            "start": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"},
            "credentials": {"type": "object", "oneOf": [
                {"type": "object", "properties": {"token": {"type": "string", "airbyte_secret": true}}},
            ]},
        }}},
    })
}

fn validated(manifest: &Json) -> Ran {
    let tap = Tap::new("validate").file("", "m.yaml", &manifest.to_string());
    let path = tap.dir.path().join("m.yaml").display().to_string();
    tap.args(&[&path]).run()
}

/// The clean manifest with a value at a place.
fn with(pointer: &str, value: Json) -> Json {
    let mut manifest = clean();
    let (way, key) = pointer.rsplit_once('/').unwrap();
    manifest.pointer_mut(way).unwrap()[key] = value;
    manifest
}

fn without(pointer: &str) -> Json {
    let mut manifest = clean();
    let (way, key) = pointer.rsplit_once('/').unwrap();
    manifest.pointer_mut(way).unwrap().as_object_mut().unwrap().remove(key);
    manifest
}

#[test]
fn a_clean_manifest_gets_no_warning() {
    let ran = validated(&clean());
    assert!(ran.expect(0, &[]).err.is_empty(), "{}", ran.err);
}

#[test]
fn what_loading_passes_over_is_a_warning() {
    const STREAM: &str = "/streams/0";
    const REQUESTER: &str = "/streams/0/retriever/requester";
    let at = |base: &str, rest: &str| format!("{base}/{rest}");
    let cases = [
        // Keys that no component has.
        (with(&at(STREAM, "primarykey"), json!("id")), vec!["`streams[0].primarykey`", "unknown key `primarykey`"]),
        (with(&at(STREAM, "incremental_snyc"), json!(1)), vec!["incremental_snyc"]),
        (with(&at(STREAM, "$options"), json!({})), vec!["did you mean `$parameters`?"]),
        (
            with(&at(REQUESTER, "request_parameter"), json!({})),
            vec!["unknown key `request_parameter` of HttpRequester"],
        ),
        (with(&at(REQUESTER, "authenticator/token"), json!("x")), vec!["unknown key `token` of BearerAuthenticator"]),
        (with("/streams/0/retriever/paginator/pagination_strategy/page_sise", json!(1)), vec!["page_sise"]),
        (with("/streams/0/incremental_sync/lookback_windw", json!("P1D")), vec!["did you mean `lookback_window`?"]),
        (with("/spec/connectionSpecification", json!({})), vec!["connectionSpecification"]),
        (with("/concurency_level", json!({})), vec!["did you mean `concurrency_level`?"]),
        // Keys of the config that the spec does not declare.
        (with(&at(REQUESTER, "url_base"), json!("{{ config['uri'] }}")), vec!["config['uri']", "did you mean `url`?"]),
        (
            with(&at(REQUESTER, "authenticator/api_token"), json!("{{ config['credentials']['tokn'] }}")),
            vec!["config['credentials']['tokn']", "did you mean `token`?"],
        ),
        // A key, and a spec.
        (without(&at(STREAM, "primary_key")), vec!["`streams[0]`", "`items` has no primary key"]),
        (with(&at(STREAM, "primary_key"), json!([])), vec!["no primary key"]),
        (with(&at(STREAM, "primary_key"), json!("")), vec!["no primary key"]),
        (with(&at(STREAM, "primary_key"), json!([["a", "b"]])), vec!["nested"]),
        (without("/spec"), vec!["no `spec`"]),
        // Options that two components set.
        (
            with(&at(REQUESTER, "request_parameters/p"), json!("1")),
            vec!["the paginator and the requester both set `p`"],
        ),
        (with(&at(REQUESTER, "request_parameters/n"), json!(5)), vec!["the paginator and the requester both set `n`"]),
        (with(&at(REQUESTER, "request_parameters/s"), json!("x")), vec!["the cursor and the requester both set `s`"]),
        (
            with("/streams/0/incremental_sync/end_time_option", option("p")),
            vec!["the cursor and the paginator both set `p`"],
        ),
        // A stream that is made from a template.
        (
            with(
                "/dynamic_streams",
                json!([{
                    "type": "DynamicDeclarativeStream",
                "stream_template": with(&at(STREAM, "primarykey"), json!(1))["streams"][0],
                    "components_resolver": {
                        "type": "ConfigComponentsResolver",
                        "stream_config": {"type": "StreamConfig", "configs_pointer": ["l"]},
                        "components_mapping": [],
                    },
                }]),
            ),
            vec!["`dynamic_streams[0].stream_template.primarykey`"],
        ),
    ];
    for (manifest, words) in cases {
        validated(&manifest).expect(0, &words);
    }
}

#[test]
fn what_a_run_refuses_when_it_starts_is_refused() {
    let twice = |mut manifest: Json| {
        let stream = manifest["streams"][0].clone();
        manifest["streams"].as_array_mut().unwrap().push(stream);
        manifest
    };
    let cases = [
        (twice(clean()), "two streams are named `items`"),
        (with("/streams/0/primary_key", json!(5)), "`primary_key` must be"),
        (with("/streams/0/incremental_sync/step", json!("P1D")), "must be given together"),
        (with("/streams/0/incremental_sync/datetime_format", json!("%Q")), "datetime_format"),
        (with("/streams/0/state_migrations", json!([{"type": "LegacyToPerPartitionStateMigration"}])), "needs one"),
        (with("/streams/0/retriever/requester/http_method", json!("FETCH")), "is not supported"),
        (
            with("/streams/0/schema_loader", json!({"type": "JsonFileSchemaLoader", "file_path": "./no.json"})),
            "cannot read the schema",
        ),
        (with("/metadata/dripfeed", json!({"safety": {"overlaps": "PT1H"}})), "metadata.dripfeed.safety"),
    ];
    for (manifest, words) in cases {
        validated(&manifest).expect(10, &[words]);
    }
    // What only the config decides is not.
    let start = with("/spec/connection_specification/properties/start", json!({"type": "string"}));
    validated(&start).expect(0, &[]);
}

#[test]
fn of_a_key_that_stands_twice_the_last_counts() {
    let text = clean().to_string().replacen("\"primary_key\"", "\"primary_key\":\"x\",\"primary_key\"", 1);
    let tap = Tap::new("validate").file("", "m.yaml", &text);
    let path = tap.dir.path().join("m.yaml").display().to_string();
    tap.args(&[&path]).run().expect(0, &["the mapping has the key `primary_key` twice"]);
}

/// A value that looks into what is not there costs the field, whatever it looks into.
#[test]
fn an_added_field_that_meets_an_undefined_is_left_out() {
    let fields = [
        "{{ record['list'][0]['name'] }}",
        "{{ record['gone']['name'] }}",
        "{{ record.a.b.c }}",
        "{{ stream_slice['x']['y'] }}",
        "{{ config['x']['y'] }}",
    ];
    for value in fields {
        let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": [{"id": 1, "list": []}, {"id": 2}]}}]));
        let mut manifest = with(
            "/streams/0/transformations",
            json!([
                {"type": "AddFields", "fields": [
                    {"path": ["first"], "value": value}, {"path": ["second"], "value": "2"},
                ]},
            ]),
        );
        manifest["streams"][0]["retriever"].as_object_mut().unwrap().remove("paginator");
        manifest["streams"][0].as_object_mut().unwrap().remove("incremental_sync");
        let config =
            json!({"url": vendor.url, "start": "2024-01-01T00:00:00Z", "credentials": {"token": "t0ken-t0ken"}});
        let ran = Tap::new("read").source(&manifest.to_string()).config(&config).run();
        let records =
            ran.expect(0, &["AddFields added no field", "transformations[0].fields[0].value"]).records("items");
        assert_eq!(records.len(), 2, "{value}");
        assert!(records.iter().all(|record| record["first"].is_null() && !record["second"].is_null()), "{value}");
        assert_eq!(ran.err.matches("AddFields added no field").count(), 1, "once a stream: {}", ran.err);
    }
}
