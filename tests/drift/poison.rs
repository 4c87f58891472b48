//! One bad record does not stop a stream, and is not lost either: it is on disk before any bookmark passes it.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use crate::support::drifting::{Tenant, incremental, paged, told};
use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::Vendor;

fn manifest() -> String {
    let schema = json!({
        "id": {"type": "string"}, "at": {"type": "string", "format": "date-time"},
        "points": {"type": ["null", "integer"]},
        "exact": {"type": "number"},
    });
    items(&schema, &incremental(), &paged())
}

fn record(number: u64, points: Json) -> Json {
    json!({
        "id": format!("r{number}"), "at": format!("2024-01-01T{:02}:{:02}:00Z", number / 60, number % 60),
        "points": points,
    })
}

fn good(from: u64, to: u64) -> Vec<Json> {
    (from..to).map(|number| record(number, json!(number))).collect()
}

/// A tenant who has read thirty good records.
fn tenant() -> Tenant {
    let mut tenant = Tenant::new(&manifest());
    tenant.items(&good(0, 30)).expect(0, &[]);
    tenant
}

fn ids(ran: &Ran) -> Vec<String> {
    ran.records("items").iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect()
}

fn bookmark(tenant: &Tenant) -> &str {
    tenant.state["bookmarks"]["items"]["at"].as_str().unwrap()
}

fn rules(aside: &[Json]) -> Vec<&str> {
    aside.iter().map(|entry| entry["causes"][0]["rule"].as_str().unwrap()).collect()
}

#[test]
fn poison_is_put_aside_and_the_rest_is_loaded() {
    let mut tenant = tenant();
    let wrong = record(31, json!("many"));
    let keyless = json!({"id": null, "at": "2024-01-01T00:32:00Z", "points": 1, "exact": 1.10});
    let huge = json!({"id": "huge", "at": "2024-01-01T00:33:00Z", "note": "x".repeat(20 << 20)}).to_string();
    let broken = b"{\"id\": \"bro\xffken\", \"at\": \"2024-01-01T00:34:00Z\"}".to_vec();
    let parts = [
        record(30, json!(1)).to_string().into_bytes(),
        wrong.to_string().into_bytes(),
        keyless.to_string().into_bytes(),
        huge.clone().into_bytes(),
        broken.clone(),
        b"17".to_vec(),
        b"\"text\"".to_vec(),
        record(35, json!(2)).to_string().into_bytes(),
    ];
    let body = [b"{\"data\": [".as_slice(), &parts.join(&b","[..]), b"]}"].concat();
    let vendor = Vendor::of_items(json!([{"status": 200, "base64": STANDARD.encode(&body)}]));
    let ran = tenant.read(&vendor);
    ran.expect(0, &[]);
    assert_eq!(ids(&ran), ["r30", "r35"]);
    assert_eq!(bookmark(&tenant), "2024-01-01T00:35:00Z");
    let file = tenant.quarantine("items");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let aside = tenant.aside("items");
    assert_eq!(
        rules(&aside),
        [
            "field_type_changed",
            "key_missing",
            "record_too_large",
            "record_not_utf8",
            "record_not_object",
            "record_not_object"
        ]
    );
    let mut all = told(&ran);
    all.sort();
    assert_eq!(
        all,
        ["field_type_changed /points", "key_missing /id", "record_not_object", "record_not_utf8", "record_too_large"]
    );
    // Each as the vendor wrote it.
    let text = std::fs::read_to_string(&file).unwrap();
    for whole in [&wrong.to_string(), &keyless.to_string(), &huge] {
        assert!(text.contains(&**whole));
    }
    assert_eq!(STANDARD.decode(aside[3]["bytes"].as_str().unwrap()).unwrap(), broken);
    assert_eq!((&aside[4]["record"], &aside[5]["record"]), (&json!(17), &json!("text")));
    assert!(!ran.err.contains("many") && !ran.err.contains("xxxx"), "values stay out of the log");
    // The next run is clean.
    let next = tenant.items(&good(36, 40));
    assert_eq!(told(next.expect(0, &[])), [""; 0]);
    assert_eq!((ids(&next).len(), tenant.aside("items").len()), (4, 6));
}

#[test]
fn the_file_is_there_before_the_state_that_passes_it() {
    let mut tenant = tenant();
    // Windows of a day: the first has the bad record, and its STATE comes before the second is read.
    let mut manifest: Json = serde_json::from_str(&tenant.manifest).unwrap();
    let cursor = &mut manifest["streams"][0]["incremental_sync"];
    cursor["step"] = json!("P1D");
    cursor["cursor_granularity"] = json!("PT1S");
    manifest["concurrency_level"] = json!({"type": "ConcurrencyLevel", "default_concurrency": 1});
    tenant.manifest = manifest.to_string();
    let late = json!({"status": 200, "json": {"data": []}, "pause_ms": 150});
    let bad = json!({"status": 200, "json": {"data": [record(40, json!("many")), record(41, json!(1))]}});
    let vendor = Vendor::of_items(json!([bad, late]));
    let config = json!({"url": vendor.url, "dripfeed": tenant.ours});
    let tap = Tap::new("read").source(&tenant.manifest).config(&config).state(&tenant.state);
    let tap = tap.env("DRIPFEED_NOW", "2024-01-04T00:00:00Z");
    let mut child = tap.command().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut states = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let message: Json = serde_json::from_str(&line.unwrap()).unwrap();
        let moved =
            message["value"]["bookmarks"]["items"]["at"].as_str().is_some_and(|at| at >= "2024-01-01T00:40:00Z");
        if moved {
            states += 1;
            assert_eq!(rules(&tenant.aside("items")), ["field_type_changed"]);
        }
    }
    assert!(child.wait().unwrap().success());
    assert!(states >= 2, "{states}");
}

#[test]
fn too_much_stops_the_stream_and_nothing_is_lost() {
    for (drift, allowed) in [
        (json!({}), 10),
        (json!({"quarantine": {"always": 3}}), 3),
        (json!({"quarantine": {"max_share": 0.1}}), 40),
        (json!({"quarantine": {"max_share": 1, "max_records": 20}}), 20),
    ] {
        // Spread over both pages.
        let pages = |bad: u64| -> Vec<Vec<Json>> {
            let is_bad = |n: u64| (n + 1) * bad / 400 > n * bad / 400;
            let points = |n: u64| if is_bad(n) { json!(format!("p{}", 100 + n)) } else { json!(n) };
            let all: Vec<Json> = (0..400).map(|n| record(100 + n, points(n))).collect();
            all.chunks(200).map(<[Json]>::to_vec).collect()
        };
        let mut tenant = tenant().drift(drift.clone());
        let before = bookmark(&tenant).to_owned();
        let mut fine = tenant.beside("other");
        fine.items(&good(0, 30)).expect(0, &[]);
        fine.pages(&pages(allowed)).expect(0, &[]);
        assert_eq!(fine.aside("items").len() as u64, allowed, "{drift}");
        let ran = tenant.pages(&pages(allowed + 1));
        ran.expect(
            40,
            &[&format!("{} of 400 records", allowed + 1), "would be quarantined", "field_type_changed /points"],
        );
        assert_eq!(bookmark(&tenant), before, "{drift}");
        let print = tenant.findings()[0]["fingerprint"].as_str().unwrap().to_owned();
        assert!(ran.err.contains(&format!("drift accept {print}")), "{}", ran.err);
        tenant.run(&format!("drift accept {print} --why moved")).expect(0, &[]);
        let after = tenant.pages(&pages(allowed + 1));
        let records = after.expect(0, &[]).records("items");
        assert_eq!(records.len(), 400, "{drift}");
        let texts: Vec<&Json> = records.iter().filter(|r| r["points"].is_null()).collect();
        assert_eq!(texts.len() as u64, allowed + 1, "{drift}");
        for record in texts {
            assert_eq!(record["points__string"], json!(format!("p{}", &record["id"].as_str().unwrap()[1..])));
        }
        assert_eq!(after.schema("items")["properties"]["points"]["type"], json!(["null", "integer"]));
        assert_eq!(bookmark(&tenant), "2024-01-01T08:19:00Z");
        assert_eq!(tenant.open(), [""; 0]);
    }
}

#[test]
fn what_cannot_be_kept_stops_the_stream() {
    for name in ["a folder in its place", "a full file"] {
        let mut tenant = tenant();
        let before = bookmark(&tenant).to_owned();
        if name == "a full file" {
            tenant = tenant.drift(json!({"quarantine": {"max_bytes": 10}}));
        } else {
            std::fs::create_dir_all(tenant.quarantine("items")).unwrap();
        }
        let pages = [vec![record(40, json!("many"))], good(41, 50)];
        let ran = tenant.pages(&pages);
        assert!(ran.code != 0, "{name}: {}", ran.err);
        assert_eq!(bookmark(&tenant), before, "{name}: {}", ran.out);
        assert!(!ids(&ran).contains(&"r40".to_owned()));
        assert!(ran.err.contains("free some space"), "{name}: {}", ran.err);
        if name == "a full file" {
            tenant = tenant.drift(json!({}));
        } else {
            std::fs::remove_dir(tenant.quarantine("items")).unwrap();
        }
        let ran = tenant.pages(&pages);
        assert_eq!(ids(ran.expect(0, &[])).len(), 9, "{name}");
        assert_eq!(tenant.aside("items").len(), 1, "{name}");
    }
}

#[test]
fn without_a_state_directory_nothing_is_dropped() {
    let mut tenant = tenant();
    tenant.ours.as_object_mut().unwrap().shift_remove("state_dir");
    let before = tenant.state.clone();
    for (bad, words) in [
        ("{\"id\": null, \"at\": \"2024-01-01T00:40:00Z\"}", "no value for its key `id`"),
        ("{\"at\": \"2024-01-01T00:40:00Z\"}", "no value for its key `id`"),
        ("17", "object"),
        ("\"\\ud800\" \u{0}", ""),
    ] {
        let ran = tenant.text(&format!("{{\"data\": [{bad}, {}]}}", record(41, json!(1))));
        ran.expect(40, &[words]);
        assert_eq!(tenant.state, before, "{bad}");
    }
    // A source whose baseline was reviewed: a value of another type.
    let dir = tempfile::tempdir().unwrap();
    for (archived, kept, code) in [(json!(true), false, 0), (json!("yes"), false, 40), (json!("yes"), true, 0)] {
        let page = json!({"data": [{"id": "p1", "name": "n", "archived": archived}], "next": null});
        let vendor =
            Vendor::start(&json!({"routes": [{"path": "/projects", "replies": [{"status": 200, "json": page}]}]}));
        let mut config = json!({"url": vendor.url, "token": "t"});
        if kept {
            config["dripfeed"] = json!({"state_dir": dir.path()});
        }
        let ran = Tap::new("read --source sandbox --streams projects").config(&config).run();
        ran.expect(code, &[]);
        if code == 40 {
            ran.expect(40, &["field_type_changed /archived", "set dripfeed.state_dir"]);
        }
    }
}
