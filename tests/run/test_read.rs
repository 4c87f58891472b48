//! The verb `test`: what it shows of a stream's first pages, as text and as JSON; and that it stores nothing.

use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap};
use crate::support::vendor::Vendor;

/// A stream of items, with the given parts of its retriever and stream.
fn manifest(url: &str, selector: &str, more: &str) -> String {
    format!(
        "version: 6.0.0
type: DeclarativeSource
check: {{type: CheckStream, stream_names: [items]}}
streams:
  - type: DeclarativeStream
    name: items
    retriever:
      type: SimpleRetriever
      requester:
        type: HttpRequester
        url_base: {url}
        path: /items
        request_parameters: {{per_page: '2', team: \"{{{{ config['team'] }}}}\"}}
        authenticator: {{type: BearerAuthenticator, api_token: \"{{{{ config['token'] }}}}\"}}
      paginator:
        type: DefaultPaginator
        pagination_strategy: {{type: CursorPagination, cursor_value: \"{{{{ response.next }}}}\"}}
        page_token_option: {{type: RequestOption, inject_into: request_parameter, field_name: token}}
      record_selector:
        type: RecordSelector
        extractor: {{type: DpathExtractor, field_path: [{selector}]}}
{more}"
    )
}

const CURSOR: &str = "    primary_key: id
    incremental_sync:
      type: DatetimeBasedCursor
      cursor_field: at
      datetime_format: '%Y-%m-%d'
      start_datetime: '2024-01-01'
    schema_loader:
      type: InlineSchemaLoader
      schema:
        type: object
        properties: {id: {type: integer}, at: {type: [string, 'null'], format: date}, n: {type: string}}
";

/// Pages of two items each, without end.
fn pages() -> Vendor {
    Vendor::answering(|asked| {
        let page: u64 = asked.param("token").map_or(0, |token| token.parse().unwrap());
        let item = |n: u64| json!({"id": page * 2 + n, "at": format!("2024-01-{:02}", page + 1), "n": n, "x": null});
        let body = json!({"data": {"items": [item(0), item(1)]}, "next": (page + 1).to_string()});
        json!({"status": 200, "headers": {"X-RateLimit-Remaining": "17"}, "json": body})
    })
}

fn tested(vendor: &Vendor, manifest: &str, args: &[&str]) -> Ran {
    let ran = Tap::new("test")
        .source(manifest)
        .config(&json!({"token": "tok-123456789", "team": "t1"}))
        .env("DRIPFEED_NOW", "2024-02-01T00:00:00Z")
        .args(args)
        .run();
    assert!(!ran.out.contains("tok-123456789") && !ran.err.contains("tok-123456789"), "a secret: {ran:?}");
    let ran = Ran { out: ran.out.replace(&vendor.url, "@url@"), ..ran };
    Ran { err: ran.err.replace(&vendor.url, "@url@"), ..ran }
}

#[test]
fn the_text_shows_request_answer_records_cursor_state_schema_and_limits() {
    let vendor = pages();
    let manifest = manifest(&vendor.url, "data, items", CURSOR);
    let ran = tested(&vendor, &manifest, &["--pages", "2"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    assert_eq!(vendor.asked().len(), 2);
    for part in [
        "PAGE 1\n  GET @url@/items\n    per_page = 2\n    team     = t1\n",
        "    header   Authorization: Bearer ****\n  HTTP 200, ",
        "    header X-RateLimit-Remaining: 17",
        "  2 records at data.items\n  the first one:\n    {\n      \"id\": 0,",
        "  cursor at: \"2024-01-01\" .. \"2024-01-01\", format %Y-%m-%d\n",
        "next page: 1, from {{ response.next }}, sent as request_parameter `token`",
        "PAGE 2",
        "    token    = 1",
        "STATE if the slice ended here\n    {\n      \"at\": \"2024-01-02\"\n    }",
        "  id     integer      integer\n",
        "  at     string date  string date\n",
        "  n      string       integer\n",
        "x-ratelimit-remaining  17",
        "- `n` is declared as string, and seen as integer",
        "4 records on 2 pages; there are more (--pages N reads more); nothing was stored",
    ] {
        let found = ran.out.to_lowercase().contains(&part.to_lowercase());
        assert!(found, "{part}\n is not in\n{}", ran.out);
    }
    let longest = ran.out.lines().map(|line| line.chars().count()).max();
    assert!(longest <= Some(100), "{longest:?}");
}

#[test]
fn the_json_has_the_keys_of_the_connector_builder_and_whole_records() {
    let vendor = pages();
    let manifest = manifest(&vendor.url, "data, items", CURSOR);
    let ran = tested(&vendor, &manifest, &["--pages", "1", "--format", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let report: Json = serde_json::from_str(&ran.out).unwrap();
    let page = &report["slices"][0]["pages"][0];
    assert_eq!(page["records"][1], json!({"id": 1, "at": "2024-01-01", "n": 1, "x": null}));
    assert_eq!(page["request"]["parameters"], json!([["per_page", "2"], ["team", "t1"]]));
    assert_eq!(page["request"]["headers"]["Authorization"], "Bearer ****");
    assert_eq!(page["response"]["status"], 200);
    let body: Json = serde_json::from_str(page["response"]["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["next"], "1");
    assert_eq!(page["next_page"]["token"], 1);
    assert_eq!(report["slices"][0]["state"], json!({"at": "2024-01-01"}));
    assert_eq!(report["slices"][0]["slice_descriptor"]["start_time"], "2024-01-01");
    assert_eq!(report["test_read_limit_reached"], true);
    assert_eq!(report["inferred_schema"]["properties"]["at"], json!({"type": ["null", "string"], "format": "date"}));
    assert_eq!(report["auxiliary_requests"], json!([]));
}

#[test]
fn what_does_not_fit_is_suspicious() {
    let answer = |body: Json| Vendor::answering(move |_| json!({"status": 200, "json": body}));
    let codes = |vendor: &Vendor, selector: &str, more: &str, config: Json| {
        let tap = Tap::new("test").source(&manifest(&vendor.url, selector, more)).config(&config);
        let ran = tap.args(&["--format", "json"]).run();
        let report: Json = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
        let all = report["suspicious"].as_array().unwrap().clone();
        all.into_iter().map(|s| (s["code"].as_str().unwrap().to_owned(), s["message"].to_string())).collect::<Vec<_>>()
    };
    let good = json!({"token": "tok-123456789", "team": "t1"});
    let records = json!({"items": [
        {"id": 1, "at": "2024-01-01", "n": "a"}, {"id": 1, "at": "1/2/24", "n": 2}, {"n": null, "new": true},
    ]});
    let found = codes(&answer(records), "items", CURSOR, json!({"token": "tok-123456789"}));
    let wanted = [
        ("undefined_parameter", "`team` is not sent"),
        ("key_missing", "1 of 3 records have no value for the key `id`"),
        ("key_repeated", "1 of 3 records repeat the key"),
        ("cursor_missing", "1 of 3 records have no value for the cursor `at`"),
        ("cursor_format", "1 of 3 records have a cursor `at` in none"),
        ("mixed_types", "`n` has values of several types: integer, string"),
        ("undeclared_fields", "the schema lacks 1 field: new"),
    ];
    for (code, part) in wanted {
        assert!(
            found.iter().any(|(c, message)| c == code && message.contains(part)),
            "{code}: {part} not in {found:?}"
        );
    }
    let elsewhere = json!({"items": [], "result": {"rows": [{"id": 1}, {"id": 2}]}});
    let found = codes(&answer(elsewhere), "items", CURSOR, good.clone());
    assert!(
        found.iter().any(|(c, m)| c == "nothing_found" && m.contains("`result.rows` is a list of 2 objects")),
        "{found:?}"
    );
    let found = codes(&answer(json!({"items": [{"a": 1}]})), "items", "", good);
    let kinds: Vec<&str> = found.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(kinds, ["no_key", "no_schema"]);
}

#[test]
fn a_refused_request_is_shown_with_the_vendors_words_and_what_was_sent() {
    let body = json!({"errorMessages": [], "errors": {"per_page": "must be 1"}});
    let vendor = Vendor::answering(move |_| json!({"status": 400, "json": body}));
    let ran = tested(&vendor, &manifest(&vendor.url, "items", ""), &[]);
    assert_eq!(ran.code, 40);
    let parts =
        ["FAILED\n  GET @url@/items\n    per_page = 2\n", "  HTTP 400, ", "0 records on 0 pages; nothing was stored"];
    for part in parts {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let said = "The vendor says: per_page: must be 1 (GET @url@/items?per_page=2&team=t1)";
    assert!(ran.err.contains(said), "{}", ran.err);
    let read =
        Tap::new("read -vv").source(&manifest(&vendor.url, "items", "")).config(&json!({"token": "tok-123456789"}));
    let ran = read.run();
    assert!(ran.err.contains("per_page = 2") && ran.err.contains("\"errorMessages\": []"), "{}", ran.err);
    assert!(!ran.err.contains("tok-123456789"), "{}", ran.err);
}

#[test]
fn a_slice_without_records_is_followed_by_the_next_and_nothing_is_stored() {
    let vendor = Vendor::answering(|asked| {
        let is_third = asked.param("since").as_deref() == Some("2024-01-03");
        let items = if is_third { json!([{"id": 1, "at": "2024-01-03"}]) } else { json!([]) };
        json!({"status": 200, "json": {"items": items}})
    });
    let steps = CURSOR.replace(
        "      start_datetime: '2024-01-01'\n",
        "      start_datetime: '2024-01-01'\n      end_datetime: '2024-01-20'\n      step: P1D\n      \
         cursor_granularity: P1D\n      \
         start_time_option: {type: RequestOption, inject_into: request_parameter, field_name: since}\n",
    );
    let manifest = manifest(&vendor.url, "items", &steps);
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().to_str().unwrap();
    let ran = tested(&vendor, &manifest, &["--state-dir", dir]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("SLICE 3") && !ran.out.contains("SLICE 4"), "{}", ran.out);
    assert_eq!(vendor.asked().len(), 3);
    let left: Vec<_> = std::fs::read_dir(state.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "pace"), "{left:?}");
    let ran = tested(&vendor, &manifest, &["--slices", "2"]);
    assert!(ran.out.contains("SLICE 2") && !ran.out.contains("SLICE 3"), "{}", ran.out);
}

#[test]
fn a_preview_asks_for_no_slice_beyond_its_records() {
    let vendor = Vendor::answering(|asked| {
        let day = asked.param("since").unwrap();
        json!({"status": 200, "json": {"items": [{"id": day, "at": day}]}})
    });
    let steps = CURSOR.replace(
        "      start_datetime: '2024-01-01'\n",
        "      start_datetime: '2024-01-01'\n      step: P1D\n      cursor_granularity: P1D\n      \
         start_time_option: {type: RequestOption, inject_into: request_parameter, field_name: since}\n",
    );
    let manifest = manifest(&vendor.url, "items", &steps);
    let tap = Tap::new("read --limit 2").source(&manifest).config(&json!({"token": "tok-123456789", "team": "t1"}));
    let ran = tap.env("DRIPFEED_NOW", "2024-02-01T00:00:00Z").run();
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.out.lines().filter(|line| line.contains("\"RECORD\"")).count(), 2);
    assert_eq!(vendor.asked().len(), 2);
}
