//! `schemas/manifest.json` and `schemas/config.json`: fresh, right about every manifest of the catalog and of the
//! tests, and red about those that are wrong.

use std::path::{Path, PathBuf};

use dripfeed::base::config;
use dripfeed::manifest::{lint, schema, yaml};
use serde_json::{Value as Json, json};

use crate::support::tap::Tap;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Fails unless the file is as the text; `INSTA_UPDATE=always` writes it.
fn fresh(name: &str, schema: &Json) {
    let path = root().join("schemas").join(name);
    let text = serde_json::to_string_pretty(schema).unwrap() + "\n";
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(&path, &text).unwrap();
    }
    let now = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(now == text, "schemas/{name} is not what the types say: INSTA_UPDATE=always cargo test manifest::schema");
}

#[test]
fn the_schemas_are_those_of_the_types() {
    fresh("manifest.json", &schema::schema());
    fresh("config.json", &config::of_any_source());
    let printed = Tap::new("spec --manifest").run();
    printed.expect(0, &[]);
    assert_eq!(printed.out, std::fs::read_to_string(root().join("schemas/manifest.json")).unwrap());
    Tap::new("spec --manifest --source asana").run().expect(2, &["cannot be used with"]);
    for schema in [schema::schema(), config::of_any_source()] {
        jsonschema::meta::validate(&schema).unwrap();
    }
}

/// Every manifest below a folder.
fn manifests(folder: &str, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            manifests(&path.strip_prefix(root()).unwrap().display().to_string(), out);
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            out.push(path);
        }
    }
}

#[test]
fn what_the_reader_takes_has_no_red_line() {
    let schema = schema::schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut paths = Vec::new();
    for folder in ["catalog", "fixtures", "tests"] {
        manifests(folder, &mut paths);
    }
    let (mut right, mut wrong) = (0, Vec::new());
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        // What is broken on purpose is held by the snapshots there.
        if path.components().any(|part| part.as_os_str() == "broken") {
            continue;
        }
        // A broken manifest, or no manifest at all.
        let Ok(examined) = lint::examine(&text, "m.yaml") else { continue };
        // A key that the reader ignores has a red line: it is probably a mistake.
        let ignored = examined.warnings.iter().any(|warning| warning.message.contains("it is ignored"));
        if !examined.faults.is_empty() || ignored || !text.contains("DeclarativeSource") {
            continue;
        }
        let json = yaml::parse_yaml(&text, "m.yaml").unwrap().to_json();
        right += 1;
        wrong.extend(validator.iter_errors(&json).take(3).map(|error| {
            let shown: String = error.to_string().chars().take(300).collect();
            format!("{} at {}: {shown}", path.display(), error.instance_path())
        }));
    }
    assert!(right >= 40, "{right} manifests");
    assert!(wrong.is_empty(), "of {right} manifests:\n{}", wrong.join("\n"));
}

#[test]
fn what_is_wrong_has_a_red_line() {
    let right = json!({
        "version": "7.39.1", "type": "DeclarativeSource", "check": {"type": "CheckStream", "stream_names": ["a"]},
        "definitions": {
            "selector": {"type": "RecordSelector", "extractor": {"type": "DpathExtractor", "field_path": []}},
        },
        "streams": [{
            "type": "DeclarativeStream", "name": "a", "primary_key": "id", "$parameters": {"path": "a"},
            "retriever": {
                "type": "SimpleRetriever", "record_selector": {"$ref": "#/definitions/selector"},
                "requester": {
                    "type": "HttpRequester", "url_base": "https://api.example.com", "http_method": "GET",
                    "authenticator": {"type": "BearerAuthenticator", "api_token": "{{ config['token'] }}"},
                },
                "paginator": {
                    "type": "DefaultPaginator", "pagination_strategy": {"type": "PageIncrement", "page_size": 100},
                    "page_token_option": {
                        "type": "RequestOption", "inject_into": "request_parameter", "field_name": "page",
                    },
                },
            },
            "schema_loader": {"type": "InlineSchemaLoader", "schema": {"type": "object"}},
            "_notes": "kept", "x-more": 1,
        }],
    });
    let schema = schema::schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(
        validator.is_valid(&right),
        "{:?}",
        validator.iter_errors(&right).map(|e| e.to_string()).collect::<Vec<_>>()
    );
    let stream = "/streams/0";
    let requester = "/streams/0/retriever/requester";
    let paginator = "/streams/0/retriever/paginator";
    let wrong: [(&str, &str, Json); 16] = [
        ("a misspelt key", stream, json!({"primarykey": "id"})),
        ("a misspelt key deep inside", paginator, json!({"page_tokn_option": {}})),
        ("a misspelt key in a definition", "/definitions/selector", json!({"record_fliter": {}})),
        (
            "a type that does not exist",
            "/streams/0/retriever/requester/authenticator",
            json!({"type": "BearrAuthenticator"}),
        ),
        ("a type of another place", "/streams/0/retriever", json!({"type": "RecordSelector"})),
        ("a custom component", requester, json!({"type": "CustomRequester"})),
        ("no retriever", stream, json!({"retriever": null})),
        ("no requester", "/streams/0/retriever", json!({"requester": null})),
        ("no strategy", paginator, json!({"pagination_strategy": null})),
        ("no check", "", json!({"check": null})),
        ("no streams", "", json!({"streams": null})),
        ("a method that does not exist", requester, json!({"http_method": "FETCH"})),
        (
            "a place that does not exist",
            "/streams/0/retriever/paginator/page_token_option",
            json!({"inject_into": "query"}),
        ),
        ("a text for a component", "/streams/0/retriever", json!({"paginator": "page"})),
        (
            "a text for a number",
            "/streams/0/retriever/paginator/pagination_strategy",
            json!({"start_from_page": "one"}),
        ),
        ("a text for a boolean", requester, json!({"use_cache": "yes"})),
    ];
    for (what, at, change) in wrong {
        let mut manifest = right.clone();
        let place = manifest.pointer_mut(at).unwrap().as_object_mut().unwrap();
        for (key, value) in change.as_object().unwrap() {
            if value.is_null() {
                place.shift_remove(key);
            } else {
                place.insert(key.clone(), value.clone());
            }
        }
        assert!(!validator.is_valid(&manifest), "{what} has no red line");
    }
}

#[test]
fn a_config_is_described_with_its_references() {
    let schema = config::of_any_source();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let right = json!({"token": "x", "dripfeed": {"deadline": "PT1H", "alert": {"webhook": "env:ALERT_WEBHOOK"}}});
    assert!(validator.is_valid(&right));
    for wrong in [json!({"dripfeed": {"deadline": "1 h"}}), json!({"dripfeed": {"tires": {}}}), json!([])] {
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
}
