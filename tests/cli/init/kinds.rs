//! Every kind of manifest that `init` writes without a document: valid, and it reads a vendor of that kind.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use super::{findings, init};
use crate::support::tap::Tap;
use crate::support::vendor::{Asked, Vendor};

const PAGING: [&str; 5] = ["page", "offset", "token", "link", "none"];
const AUTH: [&str; 5] = ["bearer", "key", "basic", "oauth", "none"];
const CURSOR: [&[&str]; 3] =
    [&[], &["--cursor", "updated_at"], &["--cursor", "updated_at", "--since", "updated_since"]];

/// Records of a full first page.
const FIRST: usize = 100;

#[test]
fn every_combination_is_valid_without_a_finding() {
    let dir = tempfile::tempdir().unwrap();
    let mut count = 0;
    let mut validate = |args: &[&str]| {
        count += 1;
        let name = format!("m{count}");
        init(dir.path(), &[&[&*name], args].concat()).expect(0, &[]);
        assert_eq!(findings(dir.path(), &format!("{name}.yaml")), Vec::<Json>::new(), "{args:?}");
    };
    for auth in AUTH {
        for cursor in CURSOR {
            for paging in PAGING {
                validate(&[&["--rest", "--paging", paging, "--auth", auth], cursor].concat());
            }
            if !cursor.contains(&"--since") {
                validate(&[&["--graphql", "--auth", auth], cursor].concat());
            }
        }
    }
    assert_eq!(count, 85);
}

/// A list of `FIRST` records and three more, paged in each way at once.
fn answer(asked: &Asked, url: &str) -> Json {
    if asked.path == "/oauth/token" {
        return json!({"status": 200, "json": {"access_token": "fresh-token", "expires_in": 3600}});
    }
    let number = |name: &str| asked.param(name).and_then(|text| text.parse::<usize>().ok());
    let is_second = number("page") == Some(2)
        || number("offset") == Some(FIRST)
        || asked.param("cursor").is_some()
        || asked.param("link").is_some();
    let is_second = is_second || asked.body.contains("\"after\"");
    let ids = if is_second { FIRST..FIRST + 3 } else { 0..FIRST };
    let records: Vec<Json> = ids.map(|id| json!({"id": id, "updated_at": "2024-06-01T00:00:00Z"})).collect();
    if asked.method == "POST" {
        let info = json!({"hasNextPage": !is_second, "endCursor": "c2"});
        return json!({"status": 200, "json": {"data": {"items": {"nodes": records, "pageInfo": info}}}});
    }
    let next = if is_second { Json::Null } else { json!("c2") };
    let link = if is_second { String::new() } else { format!("<{url}/items?link=2>; rel=\"next\"") };
    // With links in headers the list is the whole answer.
    let body = if asked.path == "/plain/items" || asked.param("link").is_some() {
        json!(records)
    } else {
        json!({"data": records, "next_cursor": next})
    };
    json!({"status": 200, "json": body, "headers": {"Link": link}})
}

/// Reads with a new manifest; gives the records and the requests of the list.
fn read(args: &[&str], base: &str) -> (Vec<Json>, Vec<Asked>) {
    let url = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let known = url.clone();
    let vendor = Vendor::answering(move |asked| answer(asked, known.get().map_or("", |url| url)));
    url.set(vendor.url.clone()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), &[&["crm"], args].concat()).expect(0, &[]);
    let path = |name: &str| dir.path().join(name).display().to_string();
    let tap = Tap::new("read").args(&["--source", &path("crm.yaml"), "--config", &path("crm.json")]);
    let tap = tap.env("CRM_TOKEN", "a-token").env("CRM_API_KEY", "a-key").env("CRM_PASSWORD", "a-password");
    let tap = tap.env("CRM_CLIENT_SECRET", "a-secret").env("CRM_REFRESH_TOKEN", "a-refresh");
    // What the user fills in, in a config on top.
    let (address, token_url) = (format!("{}{base}", vendor.url), format!("{}/oauth/token", vendor.url));
    let values = json!({"url": address, "username": "jo", "client_id": "client", "token_url": token_url});
    std::fs::write(dir.path().join("values.json"), values.to_string()).unwrap();
    let tap = tap.args(&["--config", &path("values.json")]);
    let ran = tap.run();
    let records = ran.expect(0, &[]).records("items");
    (records, vendor.asked())
}

#[test]
fn each_paging_reads_two_pages() {
    for paging in PAGING {
        for cursor in CURSOR {
            let base = if paging == "link" { "/plain" } else { "" };
            let (records, asked) = read(&[&["--rest", "--paging", paging], cursor].concat(), base);
            let all = if paging == "none" { (FIRST, 1) } else { (FIRST + 3, 2) };
            assert_eq!((records.len(), asked.len()), all, "{paging} {cursor:?}: {asked:#?}");
            let since = asked[0].param("updated_since");
            assert_eq!(since.is_some(), cursor.contains(&"--since"), "{since:?}");
        }
    }
    for cursor in &CURSOR[..2] {
        let (records, asked) = read(&[&["--graphql"], *cursor].concat(), "");
        assert_eq!((records.len(), asked.len()), (FIRST + 3, 2), "{asked:#?}");
        let body: Json = serde_json::from_str(&asked[1].body).unwrap();
        assert_eq!(body["variables"], json!({"first": 50, "after": "c2"}));
    }
}

#[test]
fn each_authenticator_sends_its_header() {
    let basic = format!("Basic {}", STANDARD.encode("jo:a-password"));
    for (auth, header, value) in [
        ("bearer", "authorization", Some("Bearer a-token")),
        ("key", "x-api-key", Some("a-key")),
        ("basic", "authorization", Some(&*basic)),
        ("oauth", "authorization", Some("Bearer fresh-token")),
        ("none", "authorization", None),
    ] {
        let (records, asked) = read(&["--rest", "--auth", auth], "");
        assert_eq!(records.len(), FIRST + 3, "{auth}");
        let of_list: Vec<&Asked> = asked.iter().filter(|asked| asked.path == "/items").collect();
        assert_eq!(of_list.len(), 2, "{auth}");
        for request in of_list {
            assert_eq!(request.headers.get(header).map(String::as_str), value, "{auth}");
        }
        assert_eq!(asked.iter().any(|asked| asked.body.contains("a-refresh")), auth == "oauth");
    }
}
