//! Files of records, where the recorded cases do not reach: other hosts, large files, names, the Singer protocol.

use std::path::Path;

use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::Vendor;

/// A stream whose records have files that `requester` fetches.
fn manifest(requester: &Json, more: &Json) -> String {
    let mut stream = json!({"file_uploader": {
        "type": "FileUploader", "requester": requester, "filename_extractor": "{{ record.name }}",
        "download_target_extractor": {"type": "DpathExtractor", "field_path": ["file"]},
    }});
    stream.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    items(&json!({"id": {"type": "integer"}, "name": {"type": "string"}}), &stream, &json!({}))
}

fn plain() -> Json {
    json!({"type": "HttpRequester", "url": "{{ download_target }}"})
}

fn with_token() -> Json {
    let bearer = json!({"type": "BearerAuthenticator", "api_token": "{{ config['token'] }}"});
    json!({
        "type": "HttpRequester", "url": "{{ download_target }}", "authenticator": bearer,
        "request_headers": {"X-Own": "own"},
    })
}

/// A vendor with one record, which has its file at `file`, and a file at `/file`.
fn vendor(name: &str, file: &str, reply: &Json) -> Vendor {
    let record = json!({"id": 1, "name": name, "file": file});
    Vendor::start(&json!({"routes": [
        {"path": "/items", "replies": [{"status": 200, "json": {"data": [record]}}]},
        {"path": "/file", "replies": [reply]},
    ]}))
}

fn read(manifest: &str, vendor: &Vendor, staging: &Path, ours: &Json) -> Ran {
    let config = json!({"url": vendor.url, "token": "the-secret", "dripfeed": ours});
    let tap = Tap::new("read --protocol airbyte").source(manifest).config(&config);
    tap.env("AIRBYTE_STAGING_DIRECTORY", staging.to_str().unwrap()).run()
}

/// Ends it so, and says these words in its messages?
fn expect(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, code, "{}{}", ran.out, ran.err);
    for word in words {
        assert!(ran.out.contains(word), "the messages lack {word:?}:\n{}", ran.out);
    }
}

/// What is told of the files.
fn told(ran: &Ran) -> Vec<Json> {
    let records = ran.messages().into_iter().filter(|m| m["type"] == "RECORD");
    records.map(|m| m["record"]["file_reference"].clone()).collect()
}

/// The names of everything in a folder.
fn listed(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_str().unwrap().to_owned());
    names.collect()
}

#[test]
fn a_large_file_goes_to_disk_as_it_comes() {
    let staging = tempfile::tempdir().unwrap();
    let vendor = vendor("a.bin", "@url@/file", &json!({"status": 200, "blanks": 9_000_000}));
    let ran = read(&manifest(&plain(), &json!({})), &vendor, staging.path(), &json!({"max_page_bytes": 100_000}));
    expect(&ran, 0, &[]);
    let path = staging.path().join("items/a.bin");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 9_000_000);
    assert_eq!(
        told(&ran),
        [json!({
            "staging_file_url": path.to_str().unwrap(), "source_file_relative_path": "items/a.bin",
            "file_size_bytes": 9_000_000,
        })]
    );
    assert_eq!(listed(staging.path()), ["items"]);
}

#[test]
fn a_file_that_breaks_off_is_not_seen() {
    let staging = tempfile::tempdir().unwrap();
    let reply = json!({"status": 200, "blanks": 9_000_000, "cut": 10});
    let once = json!({"type": "DefaultErrorHandler", "max_retries": 0});
    let mut requester = plain();
    requester["error_handler"] = once;
    let ran = read(&manifest(&requester, &json!({})), &vendor("a", "@url@/file", &reply), staging.path(), &json!({}));
    expect(&ran, 1, &["broke off"]);
    assert!(told(&ran).is_empty());
    assert!(listed(staging.path()).is_empty(), "{:?}", listed(staging.path()));
}

#[test]
fn names_stay_below_the_staging_directory() {
    let reply = json!({"status": 200, "text": "x"});
    let long = "n".repeat(300);
    for name in ["../../up", "a/../../b", "..", "", "/", long.as_str()] {
        let folder = tempfile::tempdir().unwrap();
        let staging = folder.path().join("staging");
        std::fs::create_dir(&staging).unwrap();
        let vendor = vendor(name, "@url@/file", &reply);
        let ran = read(&manifest(&plain(), &json!({})), &vendor, &staging, &json!({}));
        expect(&ran, 1, &["filename_extractor"]);
        assert!(told(&ran).is_empty());
        assert_eq!(listed(folder.path()), ["staging"]);
    }
}

#[test]
fn credentials_stay_at_home_while_files_may_stand_elsewhere() {
    let store = Vendor::start(&json!({"routes": [{"path": "/f", "replies": [{"status": 200, "text": "far"}]}]}));
    let far = format!("{}/f", store.url);
    let run = |requester: &Json, more: &Json, file: &str, reply: &Json, ours: &Json| {
        let staging = tempfile::tempdir().unwrap();
        let vendor = vendor("a", file, reply);
        let ran = read(&manifest(requester, more), &vendor, staging.path(), ours);
        (ran, std::fs::read_to_string(staging.path().join("items/a")).ok(), vendor.asked())
    };
    let text = json!({"status": 200, "text": "near"});
    // The vendor's own host gets them, though the address is the vendor's word.
    let (ran, content, asked) = run(&with_token(), &json!({}), "@url@/file", &text, &json!({}));
    expect(&ran, 0, &[]);
    assert_eq!(content.as_deref(), Some("near"));
    assert_eq!(asked[1].headers["authorization"], "Bearer the-secret");
    // Another one does not.
    let (ran, content, _) = run(&with_token(), &json!({}), &far, &text, &json!({}));
    expect(&ran, 1, &["the credentials would go to another host"]);
    assert!(content.is_none() && store.asked().is_empty());
    // Nor does it where the record holds something of the config.
    let mixed = json!({"transformations": [{"type": "AddFields", "fields": [
        {"path": ["file"], "value": "{{ record.file }}?t={{ config['token'] }}"}]}]});
    let (ran, _, _) = run(&plain(), &mixed, &far, &text, &json!({}));
    expect(&ran, 1, &["the credentials would go to another host"]);
    assert!(store.asked().is_empty());
    // A request that sends nothing of the config may go anywhere, and so may a redirect, which takes nothing along.
    let (ran, content, _) = run(&plain(), &json!({}), &far, &text, &json!({}));
    expect(&ran, 0, &[]);
    assert_eq!(content.as_deref(), Some("far"));
    let moved = json!({"status": 302, "text": "", "headers": {"Location": far}});
    let (ran, content, asked) = run(&with_token(), &json!({}), "@url@/file", &moved, &json!({}));
    expect(&ran, 0, &[]);
    assert_eq!(content.as_deref(), Some("far"));
    assert_eq!(asked[1].headers["authorization"], "Bearer the-secret");
    let there = &store.asked()[1].headers;
    assert!(!there.contains_key("authorization") && !there.contains_key("x-own"), "{there:?}");
    // A host that the config names gets them.
    let host = store.url.trim_start_matches("http://").to_owned();
    // A list must also name the private addresses of the manifest itself.
    let hosts = json!({"allowed_hosts": [host, "127.0.0.1"]});
    let (ran, _, _) = run(&with_token(), &json!({}), &far, &text, &hosts);
    expect(&ran, 0, &[]);
    assert_eq!(store.asked()[2].headers["authorization"], "Bearer the-secret");
}

#[test]
fn a_singer_run_fetches_no_files_and_says_so() {
    let vendor = vendor("a", "@url@/file", &json!({"status": 200, "text": "x"}));
    let tap = Tap::new("read").source(&manifest(&plain(), &json!({}))).config(&json!({"url": vendor.url}));
    let ran = tap.run();
    ran.expect(0, &["records of items are sent without their files"]);
    assert_eq!(ran.records("items").len(), 1);
    assert_eq!(vendor.asked().len(), 1);
    let tap = Tap::new("discover --protocol airbyte")
        .source(&manifest(&plain(), &json!({})))
        .config(&json!({"url": "http://127.0.0.1:9"}));
    assert_eq!(tap.run().messages()[0]["catalog"]["streams"][0]["is_file_based"], true);
}
