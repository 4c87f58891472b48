//! Jobs at the vendor's, where the recorded cases do not reach: places that run out, hosts of results, old results.

use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap};
use crate::support::vendor::Vendor;

fn requester(address: &str, more: &Json) -> Json {
    let mut out = json!({"type": "HttpRequester", "url": address});
    out.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    out
}

/// A stream with records from a job; `more` is added to its retriever.
fn stream(name: &str, more: &Json) -> Json {
    let own = |path: &str| format!("{{{{ config['url'] }}}}/{name}/{path}");
    let mut retriever = json!({
        "type": "AsyncRetriever",
        "creation_requester": requester(&own("jobs"), &json!({"http_method": "POST"})),
        "polling_requester": requester(&own("job"), &json!({})),
        "download_requester": requester(&own("result"), &json!({})),
        "status_extractor": {"type": "DpathExtractor", "field_path": ["status"]},
        "status_mapping": {
            "type": "AsyncJobStatusMap", "running": ["running"], "completed": ["done"], "failed": ["failed"],
            "timeout": ["lost"],
        },
        "record_selector": {"type": "RecordSelector", "extractor": {"type": "DpathExtractor", "field_path": []}},
    });
    retriever.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let schema = json!({"type": "object", "properties": {"id": {"type": "integer"}, "at": {"type": "string"}}});
    json!({"type": "DeclarativeStream", "name": name, "primary_key": "id", "retriever": retriever,
           "schema_loader": {"type": "InlineSchemaLoader", "schema": schema}})
}

fn manifest(streams: &[Json]) -> String {
    json!({"version": "7.39.1", "type": "DeclarativeSource", "check": {"type": "CheckStream", "stream_names": ["a"]},
           "streams": streams})
    .to_string()
}

/// The vendor's side of a stream: its job runs for so many polls.
fn routes(name: &str, polls: usize, done: &Json, headers: &Json) -> Vec<Json> {
    let mut stands = vec![json!({"status": 200, "json": {"status": "running"}}); polls];
    stands.push(json!({"status": 200, "json": done}));
    let made = json!({"status": 200, "json": {"id": 1}, "headers": headers});
    vec![
        json!({"method": "POST", "path": format!("/{name}/jobs"), "replies": [made]}),
        json!({"path": format!("/{name}/job"), "replies": stands}),
        json!({"path": format!("/{name}/result"), "replies": [{
            "status": 200, "json": [{"id": 1, "at": "2024-01-05T12:00:00Z"}],
            "headers": {"Date": "Fri, 05 Jan 2024 13:00:00 GMT"},
        }]}),
    ]
}

fn read(manifest: &str, vendor: &Vendor, ours: &Json) -> Ran {
    let mut config = json!({"url": vendor.url, "token": "the-secret", "dripfeed": {"poll_seconds": 0.02}});
    config["dripfeed"].as_object_mut().unwrap().extend(ours.as_object().unwrap().clone());
    Tap::new("read").source(manifest).config(&config).run()
}

#[test]
fn streams_wait_for_each_others_places() {
    let done = json!({"status": "done"});
    let all = [routes("a", 5, &done, &json!({})), routes("b", 5, &done, &json!({}))].concat();
    let vendor = Vendor::start(&json!({"routes": all}));
    let ran = read(&manifest(&[stream("a", &json!({})), stream("b", &json!({}))]), &vendor, &json!({}));
    ran.expect(0, &[]);
    assert_eq!((ran.records("a").len(), ran.records("b").len()), (1, 1));
    // One job at a time: the other is made when the first is done.
    let paths: Vec<String> = vendor.asked().into_iter().map(|asked| asked.path).collect();
    let (first, second) =
        (paths.iter().position(|p| p.ends_with("jobs")), paths.iter().rposition(|p| p.ends_with("jobs")));
    assert!(second.unwrap() - first.unwrap() > 5, "{paths:?}");
}

#[test]
fn results_may_stand_elsewhere_and_get_nothing_of_the_config() {
    let store =
        Vendor::start(&json!({"routes": [{"path": "/file", "replies": [{"status": 200, "json": [{"id": 7}]}]}]}));
    let done = json!({"status": "done", "file": format!("{}/file", store.url)});
    let vendor = Vendor::start(&json!({"routes": routes("a", 0, &done, &json!({}))}));
    let elsewhere = |requester: &Json, more: &Json| {
        let mut retriever = json!({"download_target_extractor": {"type": "DpathExtractor", "field_path": ["file"]},
                                   "download_requester": requester});
        retriever.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read(&manifest(&[stream("a", &retriever)]), &vendor, &json!({}))
    };
    let plain = requester("{{ download_target }}", &json!({}));
    let ran = elsewhere(&plain, &json!({}));
    ran.expect(0, &[]);
    assert_eq!(ran.records("a"), [json!({"id": 7})]);
    assert_eq!(store.asked().len(), 1);
    let keys = json!({"type": "ListPartitionRouter", "values": "{{ [config['token']] }}", "cursor_field": "key"});
    let bearer = json!({"type": "BearerAuthenticator", "api_token": "{{ config['token'] }}"});
    for (requester, more) in [
        (requester("{{ download_target }}", &json!({"authenticator": bearer})), json!({})),
        (requester("{{ download_target }}?k={{ config['token'] }}", &json!({})), json!({})),
        (
            requester("{{ download_target }}", &json!({"request_headers": {"X-Key": "{{ config['token'] }}"}})),
            json!({}),
        ),
        (
            requester("{{ download_target }}", &json!({"request_headers": {"X-Key": "{{ stream_partition['key'] }}"}})),
            json!({"partition_router": keys}),
        ),
    ] {
        elsewhere(&requester, &more).expect(40, &["the credentials would go to another host"]);
    }
    assert_eq!(store.asked().len(), 1, "nothing went there");
}

#[test]
fn what_changes_while_a_job_runs_is_left_for_the_next_run() {
    let made = json!({"Date": "Fri, 05 Jan 2024 12:00:00 GMT"});
    let vendor = Vendor::start(&json!({"routes": routes("a", 0, &json!({"status": "done"}), &made)}));
    let mut one = stream("a", &json!({}));
    one["incremental_sync"] = json!({"type": "DatetimeBasedCursor", "cursor_field": "at",
        "datetime_format": "%Y-%m-%dT%H:%M:%SZ", "start_datetime": "2024-01-01T00:00:00Z"});
    let ran = read(&manifest(&[one]), &vendor, &json!({"safety": {"settle": "PT5M"}}));
    ran.expect(0, &[]);
    assert!(ran.state()["bookmarks"]["a"]["at"].as_str().unwrap() <= "2024-01-05T11:55:00Z", "{}", ran.state());
}

#[test]
fn times_beyond_all_clocks_do_no_harm() {
    let vendor = Vendor::start(&json!({"routes": routes("a", 0, &json!({"status": "failed"}), &json!({}))}));
    let long = json!({"polling_job_timeout": 1_000_000_000_000_000_000_u64});
    read(&manifest(&[stream("a", &long)]), &vendor, &json!({})).expect(40, &["failed 3 times"]);
}
