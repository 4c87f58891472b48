//! Answers that are no whole ones, whatever their form: they are asked for again, and count as a vendor that is down
//! when they stay so. What will not get better is asked for once; who stands in the way is named.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value as Json, json};

use crate::support::tap::{Tap, items};
use crate::support::vendor::Vendor;

/// A server that gives these bytes, one reply a connection, the last one again and again.
fn raw(replies: Vec<Vec<u8>>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            // What does not begin like HTTP is answered at once.
            while !request.ends_with(b"\r\n\r\n") && request.first().is_none_or(u8::is_ascii_uppercase) {
                match stream.read(&mut piece) {
                    Ok(read) if read > 0 => request.extend_from_slice(&piece[..read]),
                    _ => break,
                }
            }
            if !request.is_empty() {
                let reply = &replies[count.fetch_add(1, Ordering::Relaxed).min(replies.len() - 1)];
                let _ = stream.write_all(reply);
            }
        }
    });
    (url, asked)
}

/// A body with its length.
fn sized(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A body that ends with its connection.
fn without_length(body: &[u8]) -> Vec<u8> {
    [b"HTTP/1.0 200 OK\r\n\r\n", body].concat()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// Two tries, at once.
fn quick() -> Json {
    json!({
        "type": "DefaultErrorHandler", "max_retries": 1,
        "backoff_strategies": [{"type": "ConstantBackoffStrategy", "backoff_time_in_seconds": 0.01}],
    })
}

/// A stream of bodies in a form; those of JSON have their records under `data`.
fn manifest(form: &str) -> String {
    let schema = json!({"id": {"type": ["null", "string", "integer"]}, "name": {"type": ["null", "string"]}});
    let mut retriever = json!({"requester": {"error_handler": quick()}});
    if form != "json" {
        let decoder = match form {
            "gzip" => json!({"type": "GzipDecoder", "decoder": {"type": "CsvDecoder"}}),
            "lines" => json!({"type": "JsonlDecoder"}),
            _ => json!({"type": "CsvDecoder"}),
        };
        retriever["decoder"] = decoder;
        retriever["record_selector"] = json!({
            "type": "RecordSelector", "extractor": {"type": "DpathExtractor", "field_path": []},
        });
    }
    items(&schema, &json!({}), &retriever)
}

#[test]
fn a_body_that_is_cut_is_asked_for_again_and_then_counts_as_down() {
    let csv = b"id,name\n1,one\n2,two\n";
    let packed = gzip(csv);
    let json = br#"{"data": [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]}"#;
    let lines = b"{\"id\": 1, \"name\": \"one\"}\n{\"id\": 2, \"name\": \"two\"}\n";
    let longer = sized(json);
    let mut character = br#"{"data": [{"id": 1, "name": "on"#.to_vec();
    character.push(0xc3);
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1a\r\n{\"data\": [{\"id\": 1, \"name\"";
    let cases: [(&str, &str, Vec<u8>, Vec<u8>); 11] = [
        ("JSON inside a record", "json", sized(&json[..30]), sized(json)),
        ("JSON after a record", "json", sized(&json[..34]), sized(json)),
        ("JSON inside a word", "json", sized(br#"{"data": [], "more": tru"#), sized(json)),
        ("JSON inside a character", "json", sized(&character), sized(json)),
        ("JSON with something behind it", "json", sized(&[&json[..], b"{\"error\": 1}"].concat()), sized(json)),
        ("JSON without a length", "json", without_length(&json[..34]), without_length(json)),
        ("less than its length", "json", longer[..longer.len() - 3].to_vec(), longer.clone()),
        ("chunks that break off", "json", chunked.to_vec(), sized(json)),
        ("lines", "lines", sized(&lines[..40]), sized(lines)),
        ("an archive", "gzip", sized(&packed[..packed.len() - 4]), sized(&packed)),
        ("a table inside a row", "csv", without_length(b"id,name\n1,one\n2"), without_length(csv)),
    ];
    for (name, form, cut, whole) in cases {
        for (stays, code, records) in [(false, 0, 2), (true, 69, 0)] {
            let (url, asked) = raw(if stays { vec![cut.clone()] } else { vec![cut.clone(), whole.clone()] });
            let ran = Tap::new("read").source(&manifest(form)).config(&json!({"url": url})).run();
            let got = (ran.code, ran.records("items").len(), asked.load(Ordering::Relaxed));
            assert_eq!(got, (code, records, 2), "{name}, stays so: {stays}: {}", ran.err);
        }
    }
}

#[test]
fn a_table_without_a_length_is_whole_where_its_last_row_is() {
    for (body, records) in [
        (&b"id,name\n1,one\n2,two\n"[..], 2),
        (b"id,name\r\n1,one\r\n2,two", 2),
        (b"id,name\n1,one\n2\n", 2),
        (b"id,name\n", 0),
        (b"id\n1\n2", 2),
    ] {
        let (url, asked) = raw(vec![without_length(body)]);
        let ran = Tap::new("read").source(&manifest("csv")).config(&json!({"url": url})).run();
        let got = (ran.code, ran.records("items").len(), asked.load(Ordering::Relaxed));
        assert_eq!(got, (0, records, 1), "{}: {}", String::from_utf8_lossy(body), ran.err);
    }
}

#[test]
fn the_answer_to_a_login_or_for_a_token_may_be_cut_too() {
    let login =
        json!({"type": "HttpRequester", "url_base": "{{ config['url'] }}", "path": "token", "http_method": "POST"});
    let session = json!({
        "type": "SessionTokenAuthenticator", "session_token_path": ["access_token"], "expiration_duration": "PT1H",
        "login_requester": login, "request_authentication": {"type": "Bearer"},
    });
    let oauth = json!({
        "type": "OAuthAuthenticator", "token_refresh_endpoint": "{{ config['url'] }}/token",
        "client_id": "c", "client_secret": "s", "refresh_token": "r",
    });
    for authenticator in [session, oauth] {
        let vendor = Vendor::start(&json!({"routes": [
            {"path": "/token", "method": "POST", "replies": [
                {"status": 200, "text": "{\"access_token\": \"t"}, {"status": 200, "json": {"access_token": "tok"}},
            ]},
            {"path": "/items", "header": {"authorization": "Bearer tok"}, "replies": [
                {"status": 200, "json": {"data": [{"id": 1}]}},
            ]},
        ]}));
        let retriever = json!({"requester": {"authenticator": authenticator}});
        let manifest = items(&json!({"id": {"type": "integer"}}), &json!({}), &retriever);
        let ran = Tap::new("read").source(&manifest).config(&json!({"url": vendor.url})).run();
        ran.expect(0, &[]);
        assert_eq!((ran.records("items").len(), vendor.asked().len()), (1, 3));
    }
}

#[test]
fn what_does_not_get_better_by_itself_is_not_tried_again() {
    let retrying = |status: u16| {
        let mut handler = quick();
        handler["max_retries"] = json!(3);
        handler["response_filters"] =
            json!([{"type": "HttpResponseFilter", "http_codes": [status], "action": "RETRY"}]);
        handler
    };
    let composite = |status: u16| {
        let first = json!({
            "type": "DefaultErrorHandler", "max_retries": 3,
            "backoff_strategies": [{"type": "ConstantBackoffStrategy", "backoff_time_in_seconds": 0.01}],
        });
        json!({"type": "CompositeErrorHandler", "error_handlers": [first, retrying(status)]})
    };
    let calls = |handler: &Json, replies: Json| {
        let vendor = Vendor::of_items(replies);
        let retriever = json!({"requester": {"error_handler": handler}});
        let manifest = items(&json!({"id": {"type": "integer"}}), &json!({}), &retriever);
        let ran = Tap::new("read").source(&manifest).config(&json!({"url": vendor.url})).run();
        (ran.code, vendor.asked().len())
    };
    let plain = json!({"type": "DefaultErrorHandler"});
    let good = json!({"status": 200, "json": {"data": [{"id": 1}]}});
    for (status, most) in [(409, 2), (406, 1), (410, 1), (413, 1), (415, 1), (418, 1), (422, 1), (451, 1), (501, 1)] {
        let bad = json!({"status": status, "json": {"message": "no"}});
        assert_eq!(calls(&plain, json!([bad])), (40, most), "{status}");
        assert_eq!(calls(&retrying(status), json!([bad])).1, 4, "{status}, as the manifest says");
        assert_eq!(calls(&composite(status), json!([bad])).1, 4, "{status}, as its second handler says");
        assert_eq!(calls(&retrying(status), json!([bad, good])), (0, 2), "{status}, once");
    }
    assert_eq!(calls(&plain, json!([{"status": 409, "json": {}}, good])), (0, 2));
}

#[test]
fn a_proxy_that_wants_credentials_is_named() {
    let (proxy, _) = raw(vec![b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n".to_vec()]);
    let host = proxy.trim_start_matches("http://");
    for scheme in ["http", "https"] {
        let tap = Tap::new("read").source(&manifest("json")).config(&json!({"url": format!("{scheme}://127.0.0.1:9")}));
        let set = format!("http://user:geheim@{host}");
        let tap = ["http_proxy", "HTTPS_PROXY", "ALL_PROXY"].iter().fold(tap, |tap, name| tap.env(name, &set));
        let ran = tap.env("NO_PROXY", "").run();
        ran.expect(20, &[host, "407"]);
        assert!(!ran.err.contains("geheim"), "{}", ran.err);
    }
}

#[test]
fn a_server_that_speaks_no_tls_is_told_at_once() {
    let (url, asked) = raw(vec![sized(b"{}")]);
    let url = url.replace("http://", "https://");
    let began = std::time::Instant::now();
    let plain = items(&json!({"id": {"type": "integer"}}), &json!({}), &json!({}));
    Tap::new("read").source(&plain).config(&json!({"url": url})).run().expect(69, &["TLS with the vendor failed"]);
    assert!(began.elapsed().as_secs() < 5 && asked.load(Ordering::Relaxed) <= 1);
}
