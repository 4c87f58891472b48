//! The command line as a person uses it: verbs, options, config, signals, pipes, logs.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap, binary, items};
use crate::support::vendor::Vendor;

#[test]
fn a_run_is_asked_for_by_a_verb_or_by_the_flags_of_a_singer_tap() {
    for args in [
        "read --source sandbox -q --streams users",
        "--source sandbox read -q --streams users",
        "--source=sandbox --streams=users read -q",
        "-q --streams users --source sandbox",
    ] {
        let ran = Tap::new(args).run();
        assert_eq!(ran.expect(0, &[]).counts()["RECORD users"], 50, "{args}");
        assert_eq!(ran.counts().len(), 3, "{args}");
    }
    // The verb decides which options mean something, wherever they stand.
    Tap::new("--limit 3 check").run().expect(2, &["'--limit'", "Usage: dripfeed check"]);
    Tap::new("-q").run().expect(2, &["no verb is given, and the Singer flags need a source or a config"]);
}

#[test]
fn the_config_may_come_in_parts_and_from_the_environment() {
    let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": [{"id": 1}]}}]));
    let mut manifest: Json =
        serde_json::from_str(&items(&json!({"id": {"type": "integer"}}), &json!({}), &json!({}))).unwrap();
    manifest["spec"] = json!({
        "type": "Spec",
        "connection_specification": {
            "type": "object", "required": ["url"], "properties": {"url": {"type": "string"}, "n": {"type": "integer"}},
        },
    });
    let tap = Tap::new("read --config ENV").source(&manifest.to_string());
    let ran = tap.env("TAP_MANIFEST_URL", &vendor.url).env("TAP_MANIFEST_N", "5").run();
    assert_eq!(ran.expect(0, &[]).records("items").len(), 1);
    let tap = Tap::new("read").source(&manifest.to_string()).file("--config", "a.json", r#"{"url": "x", "n": 1}"#);
    let ran = tap.file("--config", "b.json", &json!({"url": vendor.url}).to_string()).run();
    assert_eq!(ran.expect(0, &[]).records("items").len(), 1);
}

#[test]
fn an_empty_variable_is_one_that_is_not_set() {
    let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": [{"id": 1}]}}]));
    let manifest = items(&json!({"id": {"type": "integer"}}), &json!({}), &json!({}));
    let tap = || Tap::new("read").source(&manifest).config(&json!({"url": vendor.url}));
    let names =
        ["DRIPFEED_TIER", "DRIPFEED_STREAMS", "DRIPFEED_BACKFILL", "DRIPFEED_PROTOCOL", "DRIPFEED_UNFINISHED_OK"];
    let ran = names.iter().fold(tap(), |tap, name| tap.env(name, "")).run();
    assert_eq!(ran.expect(0, &[]).records("items").len(), 1);
    // What is typed is meant, and so is a variable that holds something.
    tap().args(&["--tier", ""]).run().expect(10, &["has no tier ``"]);
    tap().env("DRIPFEED_TIER", "t").run().expect(10, &["has no tier `t`"]);
    tap().env("DRIPFEED_STREAMS", "s").run().expect(10, &["`s`"]);
    tap().env("DRIPFEED_BACKFILL", "b").run().expect(2, &["--backfill"]);
}

#[test]
fn spec_is_a_schema_with_our_object_in_it() {
    let spec: Json = serde_json::from_str(&Tap::new("spec --source sandbox").run().expect(0, &[]).out).unwrap();
    assert_eq!(spec["required"], json!(["url", "token"]));
    let ours = &spec["properties"]["dripfeed"];
    assert_eq!(ours["additionalProperties"], false);
    for (name, schema) in ours["properties"].as_object().unwrap() {
        assert!(schema["description"].is_string(), "dripfeed.{name} has no description");
    }
    assert!(!spec.to_string().contains("\"$ref\""), "forms do not follow references");
    let validator = jsonschema::validator_for(&spec).unwrap();
    let design = json!({"url": "u", "token": "t", "dripfeed": {
        "source": "sandbox", "tenant": "acme", "state_dir": "/var/lib/dripfeed",
        "pace": {
            "limits": [{"calls": 1500, "per": "PT1M", "kind": "window"}, {"in_flight": 50}], "headroom": 0.98,
            "backfill_floor": 0.1, "account": "acme-main",
        },
        "tiers": {
            "hourly": {"streams": ["tasks"], "schedule": "H * * * *"},
            "daily": {"streams": ["*"], "schedule": "H 2 * * *"},
        },
        "drift": {"rules": [
            {"stream": "tasks", "pointer": "/custom_fields/**", "policy": "ignore"},
            {"rule": "field_type_changed", "policy": "fail-stream"},
        ]},
        "safety": {"settle": "PT3M", "overlap": "PT10M"}, "deadline": "PT50M",
        "alert": {"webhook": "https://example.com", "secret": "env:ALERT_SECRET"},
    }});
    let errors: Vec<String> = validator.iter_errors(&design).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let tap = Tap::new("discover --source sandbox").config(&design).env("ALERT_SECRET", "s");
    tap.run().expect(0, &[]);
}

#[test]
fn logs_are_structured_when_meltano_asks() {
    let config = json!({
        "version": 1, "formatters": {"structured": {"()": "singer_sdk.logging.StructuredFormatter"}},
        "root": {"level": "INFO"},
    });
    let tap = Tap::new("read --source sandbox").file("", "log.json", &config.to_string());
    let path = tap.dir.path().join("log.json").display().to_string();
    let ran = tap.env("SINGER_SDK_LOG_CONFIG", &path).run();
    let lines: Vec<Json> = ran.err.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    for key in ["level", "pid", "logger_name", "ts", "thread_name", "app_name", "message"] {
        assert!(lines.iter().all(|l| !l[key].is_null()), "{key}");
    }
    // Meltano passes other keys on by name, and breaks on `event`.
    assert!(lines.iter().all(|l| l.get("event").is_none()));
    assert!(lines.iter().any(|l| l["dripfeed"]["event"] == "run_done"));
    let metric = |name: &str| lines.iter().filter(|l| l["metric_info"]["metric"] == name).count();
    assert_eq!(metric("record_count"), 3);
    assert_eq!(metric("sync_duration"), 1);
    let plain = Tap::new("read --source sandbox").run();
    assert!(plain.err.contains("\ninfo    1,070 records, 3 of 3 streams complete, "), "{}", plain.err);
}

/// A sandbox in a process of its own, ended when dropped.
struct Served {
    child: std::process::Child,
    url: String,
}

impl Served {
    fn start(args: &[&str]) -> Served {
        let mut child = Command::new(binary())
            .args(["sandbox", "-q"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
        Served { child, url: url.trim().to_owned() }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_signal_saves_the_state_and_the_next_run_goes_on() {
    let served = Served::start(&["--latency", "30", "--tasks", "3000"]);
    let config = json!({"url": served.url, "token": "sandbox-token"});
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let tap = Tap::new("read --source sandbox").config(&config);
        let mut child = tap.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        // Once the bookmark of tasks moved, something is there to be saved; the state of another stream may come
        // before.
        let moved = |line: &str| {
            let bookmark = line.contains("\"STATE\"") && line.contains("\"modified_at\":");
            bookmark && !line.contains(r#""modified_at":"2024-01-01T00:00:00Z""#)
        };
        while !text.lines().last().is_some_and(moved) {
            assert!(out.read_line(&mut text).unwrap() > 0);
        }
        let asked = Instant::now();
        Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        out.read_to_string(&mut text).unwrap();
        let status = child.wait().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        let first = Ran { code: status.code().expect("ends by code, not by signal"), out: text, err: String::new() };
        assert_eq!(first.code, code);
        assert_eq!(first.messages().last().unwrap()["type"], "STATE");
        let rest = Tap::new("read --source sandbox").config(&config).state(&first.state()).run();
        rest.expect(0, &[]);
        let mut ids: Vec<String> =
            [first.records("tasks"), rest.records("tasks")].concat().iter().map(|r| r["id"].to_string()).collect();
        assert!(rest.records("tasks").len() < 3000, "the second run goes on, it does not start again");
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 3000, "nothing is lost");
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_run() {
    let served = Served::start(&["--latency", "10", "--tasks", "20000"]);
    let tap = Tap::new("read --source sandbox").config(&json!({"url": served.url, "token": "sandbox-token"}));
    let mut child = tap.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(60));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the reader of stdout has closed it"));
}

#[test]
fn the_sandbox_breaks_and_the_tap_gets_everything_all_the_same() {
    let served = Served::start(&["--tasks", "700", "--fault", "5xx:9", "--fault", "cut:11", "--fault", "reset:13"]);
    let manifest = Tap::new("read --source sandbox").config(&json!({"url": served.url, "token": "sandbox-token-b"}));
    let ran = manifest.run();
    ran.expect(0, &["retrying in"]);
    assert_eq!(ran.counts()["RECORD tasks"], 700);
    let wrong = Tap::new("read --source sandbox").config(&json!({"url": served.url, "token": "wrong"})).run();
    wrong.expect(20, &["this token is not known here"]);
    assert!(!wrong.out.contains("RECORD"));
}

#[test]
fn a_preview_is_short_and_saves_nothing() {
    let ran = Tap::new("read --source sandbox --limit 3").run();
    let counts = ran.expect(0, &[]).counts();
    assert_eq!((counts["RECORD tasks"], counts["RECORD users"]), (3, 3));
    assert!(ran.state().is_null(), "{}", ran.state());
}

#[test]
fn the_state_is_ignored_where_it_is_asked_to_be() {
    let state = Tap::new("read --source sandbox -q").run().state();
    let again = |args: &str| {
        let ran = Tap::new("read --source sandbox -q --streams tasks")
            .args(&args.split_whitespace().collect::<Vec<_>>())
            .state(&state)
            .run();
        ran.expect(0, &[]).records("tasks").len()
    };
    assert_eq!(again(""), 1, "records equal to the bookmark are read again");
    assert_eq!(again("--full-refresh"), 1000);
    assert_eq!(again("--reset tasks"), 1000);
}

#[test]
fn conformance_of_the_sandboxes_catalog() {
    let catalog: Json = serde_json::from_str(&Tap::new("discover --source sandbox").run().expect(0, &[]).out).unwrap();
    let tasks = &catalog["streams"][0];
    assert_eq!(tasks["key_properties"], json!(["id"]));
    assert_eq!(tasks["replication_key"], "modified_at");
    let root = &tasks["metadata"][0];
    assert_eq!(root["breadcrumb"], json!([]));
    assert_eq!(root["metadata"]["valid-replication-keys"], json!(["modified_at"]));
    let automatic: Vec<&str> = tasks["metadata"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|m| m["metadata"]["inclusion"] == "automatic")
        .map(|m| m["breadcrumb"][1].as_str().unwrap())
        .collect();
    assert_eq!(automatic, ["id", "modified_at"]);
    let ran = Tap::new("read --source sandbox").catalog(&catalog).run();
    assert_eq!(ran.expect(0, &[]).counts()["RECORD tasks"], 1000);
}

/// A process that is killed while its pipe is full leaves no torn line: what fits into one atomic write is whole.
#[test]
fn a_kill_tears_no_line() {
    let served = Served::start(&["--tasks", "20000"]);
    let tap = Tap::new("read --source sandbox -q").config(&json!({"url": served.url, "token": "sandbox-token"}));
    for _ in 0..5 {
        let mut child = tap.command().stdout(Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut first = [0; 100];
        out.read_exact(&mut first).unwrap();
        // Nobody reads on, so the pipe fills and the tap stands in the middle of writing: what it wrote stops to grow.
        let written = || {
            let io = std::fs::read_to_string(format!("/proc/{}/io", child.id())).unwrap();
            io.lines().find_map(|l| l.strip_prefix("wchar: ")).unwrap().parse::<u64>().unwrap()
        };
        let until = Instant::now() + Duration::from_secs(20);
        let mut before = 0;
        while before < 50_000 || written() != before {
            assert!(Instant::now() < until, "the pipe does not fill");
            before = written();
            std::thread::sleep(Duration::from_millis(50));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = Vec::new();
        out.read_to_end(&mut rest).unwrap();
        assert!(rest.len() > 30_000, "the pipe was full: {}", rest.len());
        let torn: Vec<u8> = rest.rsplit(|b| *b == b'\n').next().unwrap().to_vec();
        assert!(torn.is_empty(), "a torn line of {} bytes", torn.len());
    }
}

#[test]
fn a_post_without_a_body_says_so() {
    let vendor = Vendor::start(&json!({"routes": [
        {"method": "POST", "path": "/items", "replies": [{"status": 200, "json": {"data": [{"id": 1}]}}]}]}));
    let requester = json!({"requester": {"http_method": "POST"}});
    let manifest = items(&json!({"id": {"type": "integer"}}), &json!({}), &requester);
    Tap::new("read").source(&manifest).config(&json!({"url": vendor.url})).run().expect(0, &[]);
    let headers = &vendor.asked()[0].headers;
    assert_eq!(headers.get("content-length").map(String::as_str), Some("0"));
    assert!(!headers.contains_key("transfer-encoding"), "{headers:?}");
}

#[test]
fn a_format_of_the_connection_specification_is_advice() {
    let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": [{"id": 1}]}}]));
    let mut manifest: Json = serde_json::from_str(&items(&json!({"id": {}}), &json!({}), &json!({}))).unwrap();
    manifest["spec"] = json!({"type": "Spec", "connection_specification": {
        "$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
        "properties": {"since": {"type": "string", "format": "date-time"}}}});
    let config = json!({"url": vendor.url, "since": "2024-02-26"});
    Tap::new("read").source(&manifest.to_string()).config(&config).run().expect(0, &[]);
}

#[test]
fn a_check_may_have_a_config_of_its_own() {
    let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": [{"id": 1}]}}]));
    let requester = json!({"requester": {"request_parameters": {"size": "{{ config['size'] }}"}}});
    let mut manifest: Json = serde_json::from_str(&items(&json!({"id": {}}), &json!({}), &requester)).unwrap();
    manifest["check"]["config_overrides"] = json!({"size": 1});
    let config = json!({"url": vendor.url, "size": 100});
    for command in ["check", "read"] {
        Tap::new(command).source(&manifest.to_string()).config(&config).run().expect(0, &[]);
    }
    let asked: Vec<String> = vendor.asked().into_iter().map(|asked| asked.query).collect();
    assert_eq!(asked, ["size=1", "size=100"]);
    manifest["check"]["config_overrides"] = json!({"__airbyte_x": 1});
    let ran = Tap::new("check").source(&manifest.to_string()).config(&config).run();
    ran.expect(10, &["`check.config_overrides`", "reserved for Airbyte's platform"]);
}

#[test]
fn a_list_that_nobody_reads_to_its_end_ends_quietly() {
    for args in [
        "spec --source sandbox",
        "discover --source sandbox",
        "sources",
        "validate sandbox",
        "man",
        "completions bash",
        "--source sandbox --discover",
        "--source sandbox --about",
    ] {
        let tap = Tap::new(args);
        let mut child = tap.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        // A short list may have been in the pipe before its reader left; then too it is well.
        assert_eq!(output.status.code(), Some(0), "{args}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!String::from_utf8_lossy(&output.stderr).contains("stdout"), "{args}");
    }
}

/// A form with two ways to sign in: whoever fills in neither learns which keys there are, and whoever fills in half of
/// one learns what it lacks.
#[test]
fn a_config_that_lacks_each_alternative_is_told_their_keys() {
    let mut manifest: Json = serde_json::from_str(&items(&json!({"id": {}}), &json!({}), &json!({}))).unwrap();
    let credentials = json!({
        "properties": {"credentials": {"required": ["client_id", "client_secret"]}}, "required": ["credentials"],
    });
    for keyword in ["anyOf", "oneOf"] {
        manifest["spec"] = json!({"type": "Spec", "connection_specification": {"type": "object", "properties": {},
            keyword: [{"required": ["access_token"]}, credentials]}});
        let check = |config: Json| Tap::new("check").source(&manifest.to_string()).config(&config).run();
        check(json!({})).expect(10, &["config needs one of `access_token`, `credentials`"]);
        // What the manifest's own rules fill in chooses no alternative.
        let neither = check(json!({"credentials": {"auth_type": "oauth"}}));
        neither.expect(10, &["config needs one of `access_token`, `credentials.client_id`"]);
        let half = check(json!({"credentials": {"client_id": "7"}}));
        half.expect(10, &["config `credentials.client_secret` is missing", "or give `access_token` instead"]);
    }
}
