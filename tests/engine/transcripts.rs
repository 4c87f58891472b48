//! Whole runs in Airbyte's protocol: every case in `fixtures/transcripts/` was recorded from airbyte-cdk 7.39.1 by
//! `record.py` there; messages, their order in each stream, exit codes and what users are told must be the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap};
use crate::support::vendor::Vendor;

/// Cases in which dripfeed differs on purpose; each is a row of COMPATIBILITY.md.
const DIFFERS: &[&str] = &[
    "catalog_destination_mode",
    "catalog_sync_mode",
    "catalog_twice",
    "catalog_unknown_alone",
    "catalog_without_wrapper",
    "check_missing_stream",
    "config_injected_keys",
    "config_secret_check",
    "config_wrong_type_check",
    "discover_nested_key",
    "discover_streams",
    "failing_partition_401",
    "filter_fail_types",
    "filter_retry_message",
    "manifest_invalid",
    "oauth_refused_otherwise",
    "selective_unknown_check",
    "selective_unknown_discover",
    "selective_unknown_read",
    "start_date_unreadable",
    "start_date_unreadable_check",
    "state_global_shared",
    "state_legacy_message",
    "state_legacy_object",
    "state_legacy_untyped",
    "state_object_message",
    "state_whole_message",
    "status_418_for_ever",
    "status_429_check",
    "status_429_for_ever",
];

/// Longer than this is another result; the recorded cases take less than half of it even on a busy machine.
const LONGEST: Duration = Duration::from_secs(20);

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn run(case: &Path) -> Option<Json> {
    let routes = read(&case.join("server.json")).unwrap_or_else(|| r#"{"routes": []}"#.into());
    let vendor = Vendor::start(&serde_json::from_str(&routes).unwrap());
    let mut config: Json =
        serde_json::from_str(&read(&case.join("config.json")).unwrap_or_else(|| "{}".into())).unwrap();
    config["url"] = json!(vendor.url);
    let mut tap = Tap::new(read(&case.join("command")).unwrap().trim())
        .env("DRIPFEED_PROTOCOL", "airbyte")
        .env("DRIPFEED_NOW", "2024-03-01T00:00:00Z")
        .source(&read(&case.join("manifest.yaml")).unwrap())
        .config(&config);
    for name in ["catalog", "state"] {
        if let Some(text) = read(&case.join(format!("{name}.json"))) {
            tap = tap.file(&format!("--{name}"), &format!("{name}.json"), &text);
        }
    }
    let mut ran = tap.run_within(LONGEST)?;
    ran.out = ran.out.replace(&vendor.url, "@url@");
    Some(reduced(&ran))
}

/// What `record.py` keeps of a run: exit code, the messages without a stream, and those of each stream, in order.
fn reduced(ran: &Ran) -> Json {
    let (mut run, mut streams) = (Vec::new(), BTreeMap::<String, Vec<Json>>::new());
    for message in ran.messages() {
        let named = |descriptor: &Json| descriptor["name"].as_str().unwrap_or_default().to_owned();
        let trace = &message["trace"];
        match (message["type"].as_str().unwrap(), trace["type"].as_str()) {
            ("LOG", _) => {}
            ("RECORD", _) => {
                let record = &message["record"];
                let stream = record["stream"].as_str().unwrap().to_owned();
                streams.entry(stream).or_default().push(json!({"type": "RECORD", "data": record["data"]}));
            }
            ("STATE", _) => {
                let stream = &message["state"]["stream"];
                let mut state = stream["stream_state"].clone();
                state.as_object_mut().unwrap().shift_remove("lookback_window");
                let count = &message["state"]["sourceStats"]["recordCount"];
                let line = json!({"type": "STATE", "stream_state": state, "recordCount": count});
                streams.entry(named(&stream["stream_descriptor"])).or_default().push(line);
            }
            (_, Some("STREAM_STATUS")) => {
                let status = &trace["stream_status"];
                let mut line = json!({"type": "STREAM_STATUS", "status": status["status"]});
                if let Some(reasons) = status["reasons"].as_array() {
                    line["reasons"] = reasons.iter().map(|r| r["type"].clone()).collect();
                }
                streams.entry(named(&status["stream_descriptor"])).or_default().push(line);
            }
            (_, Some("ERROR")) => {
                let error = &trace["error"];
                let told = error["message"].as_str().unwrap();
                let line =
                    |told: &str| json!({"type": "ERROR", "message": told, "failure_type": error["failure_type"]});
                match error.get("stream_descriptor") {
                    Some(stream) => streams.entry(named(stream)).or_default().push(line(told)),
                    None => run.push(line(told.split(':').next().unwrap())),
                }
            }
            ("CONTROL", _) => {
                run.push(json!({"type": "CONTROL", "config": message["control"]["connectorConfig"]["config"]}));
            }
            ("SPEC", _) => {
                // Our own object stands beside the source's properties.
                let mut message = message;
                let properties = &mut message["spec"]["connectionSpecification"]["properties"];
                assert!(properties.as_object_mut().unwrap().shift_remove("dripfeed").is_some());
                run.push(message);
            }
            _ => run.push(message),
        }
    }
    json!({"exit": ran.code, "run": run, "streams": streams})
}

/// Is what we say what the reference says? Keys may stand in any order, and numbers be written in any way.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|other| same(v, other)))
        }
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

#[test]
fn transcripts_are_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/transcripts");
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.join("command").exists()).collect();
    cases.sort();
    assert!(cases.len() > 50, "the cases were not found");
    let mut report = Vec::new();
    for case in &cases {
        let name = case.file_name().unwrap().to_str().unwrap();
        let expect: Json = serde_json::from_str(&read(&case.join("expect.json")).unwrap()).unwrap();
        let given = run(case).unwrap_or_else(|| json!("it does not end"));
        if same(&expect, &given) == DIFFERS.contains(&name) {
            report.push(format!("--- {name}\n  wanted {expect}\n  given  {given}\n"));
        }
    }
    assert!(report.is_empty(), "{} of {} cases\n{}", report.len(), cases.len(), report.join(""));
}
