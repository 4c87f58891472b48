//! The targets: everything that a user writes or a vendor sends, as the program reads it.
//!
//! Comes in: bytes. Goes out: nothing, or a panic, which is a finding.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use dripfeed::base::config::secret::Secrets;
use dripfeed::base::config::{Dripfeed, Safety, schema, validate};
use dripfeed::base::json::scan::{self, Scanner};
use dripfeed::base::json::schema::Reader;
use dripfeed::base::timefmt::{Format, Period, from_micros, parse_iso, rfc3339};
use dripfeed::drift::overlay::OverlayFiles;
use dripfeed::engine::auth;
use dripfeed::engine::build::{self, Build};
use dripfeed::engine::extract::{self, decode};
use dripfeed::engine::fetch::address;
use dripfeed::engine::shape::wire::RecordSchema;
use dripfeed::manifest::model::{Decoder, Extractor};
use dripfeed::manifest::node::{Place, Read as _, Text};
use dripfeed::manifest::template::{EvalContext, Template, Types, Vars};
use dripfeed::manifest::yaml::parse_yaml;
use dripfeed::manifest::{Manifest, lint};
use dripfeed::pace::feedback::{self, Names};
use dripfeed::pace::ledger::{Ledger, Moment};
use dripfeed::protocol::configured_catalog;
use dripfeed::protocol::singer_catalog::{self, KnownStream, Selection};
use dripfeed::protocol::state::{StateDoc, per_stream};
use serde_json::{Value as Json, json};
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

use super::{corpus, fuzz};

fn context() -> EvalContext {
    let config = json!({"url": "https://api.example", "token": "t0ken", "start_date": "2024-01-01T00:00:00Z", "n": 3});
    EvalContext { config, now: parse_iso("2024-03-01T00:00:00Z").unwrap(), began: None }
}

#[test]
fn manifest() {
    let cx = context();
    fuzz("manifest", corpus("fixtures/oracle", "manifest.yaml", 12), move |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let _ = lint::examine(text, "fuzz.yaml");
        let Ok(manifest) = Manifest::from_yaml(text, "fuzz.yaml", "fuzz", None) else { return };
        let _ = build::plan(&Build {
            manifest: &manifest,
            cx: &cx,
            baseline: &|_| None,
            auth: &auth::Builder::default(),
            safety: &Safety::default(),
            deletes: &BTreeMap::new(),
            accepts: &|_, _| false,
            shared: None,
            parents: OnceCell::new(),
        });
    });
}

#[test]
fn config() {
    let schema = schema();
    let mut inputs = corpus("fixtures/oracle", "config.json", 40);
    inputs.push(
        json!({
            "source": "asana", "tenant": "acme", "state_dir": "/tmp/x", "deadline": "PT50M", "poll_seconds": 1.5,
            "pace": {"limits": [{"calls": 1500, "per": "PT1M", "kind": "window"}, {"in_flight": 50}], "headroom": 0.98},
            "tiers": {"hourly": {"streams": ["tasks"], "schedule": "H * * * *"}}, "max_page_bytes": 1024,
            "drift": {"rules": [{"stream": "tasks", "pointer": "/a/**", "policy": "ignore"}]},
            "safety": {"settle": "PT3M", "overlap": "PT10M"}, "alert": {"webhook": "https://x", "secret": "env:A"},
        })
        .to_string()
        .into_bytes(),
    );
    fuzz("config", inputs, move |input| {
        let Ok(json) = serde_json::from_slice::<Json>(input) else { return };
        if validate(&json, &schema, "dripfeed").is_ok() {
            let _ = serde_json::from_value::<Dripfeed>(json.clone());
        }
        let mut secrets = Secrets::default();
        secrets.add_named(&json);
        let _ = secrets.hide_in_quote(&json.to_string());
    });
}

#[test]
fn catalog() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = vec![
        br#"{"streams": [{"tap_stream_id": "items", "stream": "items", "key_properties": ["id"], "schema": {"type":
            "object", "properties": {"id": {"type": ["null", "integer"]}, "a": {"type": "object", "properties": {"b":
            {}}}}}, "metadata": [{"breadcrumb": [], "metadata": {"selected": true, "replication-method":
            "INCREMENTAL", "table-key-properties": ["id"]}}, {"breadcrumb": ["properties", "a"], "metadata":
            {"selected": false, "inclusion": "available"}}]}]}"#
            .to_vec(),
        br#"{"streams": [{"stream": {"name": "items", "json_schema": {}, "supported_sync_modes": ["full_refresh"]},
            "sync_mode": "incremental", "destination_sync_mode": "append", "cursor_field": ["at"],
            "primary_key": [["id"]]}]}"#
            .to_vec(),
    ];
    let known = [KnownStream { name: "items".into(), keys: vec!["id".into()], cursor: Some("at".into()) }];
    fuzz("catalog", inputs, move |input| {
        let path = folder.path().join("catalog.json");
        std::fs::write(&path, input).unwrap();
        let _ = singer_catalog::read(&path, &known);
        let _ = configured_catalog::read(&path);
    });
}

#[test]
fn state() {
    let states = r#"{"bookmarks": {"items": {"updated_at": "2024-01-12T00:00:00Z", "replication_key": "updated_at",
        "replication_key_value": "2024-01-12T00:00:00Z"}, "tasks": {"use_global_cursor": false, "lookback_window": 1,
        "states": [{"partition": {"id": 1, "parent_slice": {}}, "cursor": {"at": "2024-01-01T00:00:00Z"}}]}, "b":
        {"slices": [{"start": "2024-01-01T00:00:00Z", "end": "2024-01-02T00:00:00Z"}], "state_type": "date-range"}},
        "currently_syncing": null, "dripfeed": {"v": 1, "source": "fuzz", "shape": {"items": "abc"}}}"#;
    let mut inputs = corpus("fixtures/oracle", "state.json", 3);
    inputs.push(states.as_bytes().to_vec());
    fuzz("state", inputs, |input| {
        if let Ok(doc) = StateDoc::new("fuzz", std::collections::BTreeMap::new()).with_bytes(input, "state.json", &[]) {
            for stream in ["items", "tasks", "b"] {
                let _ = (doc.of(stream), doc.shown(stream), doc.bookmark(stream).cloned());
            }
            let _ = doc.json();
        }
        if let Ok(json) = serde_json::from_slice::<Json>(input) {
            let _ = per_stream::parse(&json);
        }
    });
}

fn extractor(yaml: &str) -> extract::Records {
    let node = parse_yaml(yaml, "t").unwrap();
    extract::build(&Extractor::read(&node, &Place::top("t")).unwrap(), &context()).unwrap()
}

#[test]
fn page() {
    let schema = json!({"properties": {
        "id": {"type": "integer"}, "at": {"type": ["null", "string"], "format": "date-time"}, "n": {"type": "number"},
        "o": {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}},
        "s": {"type": "string"},
    }});
    let wire = RecordSchema::build(&schema, &["id".into()], Some("at"), &Selection::default());
    let extract::Records::Walk(path) = extractor("{type: DpathExtractor, field_path: [data, rows]}") else { panic!() };
    let mut inputs = vec![
        br#"{"data": {"rows": [{"id": 1, "at": "2024-01-01T00:00:00+02:00", "n": 1.50, "o": {"a": [1, 2.0]},
            "s": "x\u0000\ud800y"}, {"id": "2", "n": 1e3, "o": null, "s": "e"}]}, "next": "t", "total": 7}"#
            .to_vec(),
    ];
    inputs.extend(corpus("fixtures/oracle", "server.json", 60));
    fuzz("page", inputs, move |input| {
        let parsed = scan::json(input).is_ok();
        if let Ok(json) = scan::json(input) {
            let _ =
                (feedback::throttled(&json), feedback::wait_in_body(&json), feedback::cost(&json, &HeaderMap::new()));
        }
        if std::str::from_utf8(input).is_err() {
            return;
        }
        let mut out = Vec::new();
        let walked = extract::walk::<()>(input, &path, &["next".into(), "total".into()], &mut |scanner| {
            scanner.peek()?;
            let start = scanner.at();
            scanner.skip()?;
            let record = scanner.slice(start..scanner.at());
            out.clear();
            if record.starts_with(b"{") && wire.rewrite(&mut Scanner::new(record), &mut out).is_ok() {
                assert!(!out.contains(&b'\n'), "one line a record");
                serde_json::from_slice::<&serde_json::value::RawValue>(&out).expect("what is sent is JSON");
            }
            Ok(())
        });
        let _ = (walked.is_ok(), parsed);
    });
}

/// Bodies in other forms than JSON.
fn decoded(name: &'static str, yaml: &str, inputs: &[&str]) {
    let node = parse_yaml(yaml, "t").unwrap();
    let def = Decoder::read(&node, &Place::top("t")).unwrap();
    let decoder = decode::build(Some(&def), None, &Place::top("t")).unwrap();
    let inputs = inputs.iter().map(|text| text.as_bytes().to_vec()).collect();
    fuzz(name, inputs, move |input| {
        let _ = (decoder.is_torn(input), decoder.ends_by_itself(input));
        // Whether lines of JSON are UTF-8 is found out where the records are scanned.
        if let Ok(json) = decoder.decode(input, Some("text/plain; charset=utf-8"), 1 << 22)
            && std::str::from_utf8(&json).is_ok()
        {
            serde_json::from_slice::<&serde_json::value::RawValue>(&json).expect("what is decoded is JSON");
        }
    });
}

#[test]
fn csv() {
    decoded(
        "csv",
        "{type: CsvDecoder}",
        &["id,name\n1,one\n2,\"two, \"\"and\"\"\nlines\"\n", "a;b\r\n1;2\r\n", "\u{feff}x\n\n"],
    );
}

#[test]
fn xml() {
    let nested = "<?xml version='1.0'?><root a='b'><i id='1'><n>x</n></i><i><![CDATA[<y>]]></i><!-- c --><i/></root>";
    decoded("xml", "{type: XmlDecoder}", &[nested, "<a xmlns:x='y'><x:b>&amp;&#65;</x:b></a>"]);
}

#[test]
fn json_lines() {
    decoded("json lines", "{type: JsonlDecoder}", &["{\"a\": 1}\n{\"a\": [1.50]}\n", "[1]\n\n{}"]);
}

#[test]
fn template() {
    let table = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/jinja/cases.json")).unwrap();
    let cases: Vec<Json> = serde_json::from_slice(&table).unwrap();
    let texts = cases.iter().filter_map(|case| case["template"].as_str()).map(|text| text.as_bytes().to_vec());
    let cx = context();
    let record = json!({
        "id": 1, "l": [1, "a", null, {"k": [2]}], "s": "é🦀 text", "n": null, "d": "9999-12-31T23:59:59Z", "f": 1.5,
    });
    fuzz("template", texts.collect(), move |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let text = Text { value: json!(text), at: Place::top("fuzz") };
        let Ok(template) = Template::compile(&text, &["record", "response", "headers", "next_page_token"]) else {
            return;
        };
        let vars = Vars { record: Some(&record), response: Some(&record), headers: Some(&record), ..Vars::new(&cx) };
        let _ =
            (template.value(&vars, Types::Any), template.text(&vars), template.truth(&vars), template.number(&vars));
    });
}

#[test]
fn time_format() {
    let formats = [
        "%Y-%m-%dT%H:%M:%S.%f%z",
        "%s",
        "%ms",
        "%s_as_float",
        "%epoch_microseconds",
        "%Y-%m-%dT%H:%M:%S.%_msZ",
        "%a %d %b %Y %I:%M %p",
        "%G-W%V-%u",
        "%j %y %U %W",
        "%c %x %X %D %F %T %R %e %k %l %C %h %n %t %%",
    ];
    let times =
        ["2024-02-29T23:59:59.999999+05:30", "1700000000", "-62135596800", "2024-W09-4", "Thu 29 Feb 2024 11:59 PM"];
    let pairs =
        formats.iter().flat_map(|format| times.iter().map(move |time| format!("{format}\n{time}").into_bytes()));
    fuzz("time format", pairs.collect(), |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let (format, value) = text.split_once('\n').unwrap_or((text, "2024-01-01"));
        let iso = parse_iso(value);
        if let Some(time) = iso {
            let _ = (rfc3339(time), dripfeed::base::timefmt::isoformat(time, 'T'));
        }
        if let Ok(format) = Format::compile(format) {
            let time = format.parse(value).or(iso);
            let _ = time.map(|time| format.parse(&format.format(time)));
        }
    });
}

#[test]
fn duration() {
    let inputs = ["P1Y2M3W4DT5H6M7.5S", "PT0.000001S", "-P1D", "P1M", "PT36H"].map(|text| text.as_bytes().to_vec());
    let times = [
        from_micros(0).unwrap(),
        parse_iso("9999-12-31T23:59:59Z").unwrap(),
        parse_iso("0001-01-01T00:00:00Z").unwrap(),
    ];
    fuzz("duration", inputs.to_vec(), move |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let Ok(period) = Period::parse(text) else { return };
        let _ = (period.length(), period.is_zero(), period.to_string());
        for time in times {
            let _ = (period.after(time), period.before(time));
        }
    });
}

#[test]
fn headers() {
    let lines = [
        "retry-after: 120\nx-ratelimit-remaining: 0\nx-ratelimit-reset: 1700000000",
        "ratelimit: \"burst\";r=0;t=60, \"day\";r=5;t=9999\nratelimit-policy: \"burst\";q=10;w=60",
        "retry-after: Fri, 31 Dec 9999 23:59:59 GMT\ndate: Mon, 01 Jan 0001 00:00:00 GMT",
        "x-rate-limit-limit: 100\nx-rate-limit-reset: 2024-01-01T00:00:00Z\nlink: <https://a/?p=2>; rel=\"next\"",
    ];
    let now = parse_iso("2024-03-01T00:00:00Z").unwrap();
    fuzz("headers", lines.iter().map(|text| text.as_bytes().to_vec()).collect(), move |input| {
        let mut headers = HeaderMap::new();
        for line in input.split(|byte| *byte == b'\n') {
            let end = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let (name, value) = (&line[..end], line.get(end + 1..).unwrap_or_default().trim_ascii());
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        for status in [200, 403, 429, 503] {
            let feedback = feedback::read(status, &headers, &Names::default(), now);
            let _ = feedback::forbidden_is_limit(&headers, &feedback);
        }
        let _ = (feedback::retry_after(&headers, now), feedback::cost(&Json::Null, &headers));
        let text = String::from_utf8_lossy(input);
        let _ = (address::origin_of(&text), address::flaw(&text), feedback::words_of_limit(&text));
    });
}

#[test]
fn ledger() {
    let moment = Moment { boot: "b", now: 1_000_000_000_000, wall: 1_700_000_000_000_000_000 };
    let mut full = Ledger::default();
    full.member(7, dripfeed::pace::limiter::Priority::Daily, moment.now);
    let inputs = vec![Ledger::default().encode(moment), full.encode(moment)];
    fuzz("ledger", inputs, move |input| {
        // The sum is made right again, so that what it guards is reached.
        let end = input.iter().position(|byte| *byte == b'\n').map_or(input.len(), |end| end + 1);
        let body = &input[end..];
        let version = String::from_utf8_lossy(&input[..end]).split(' ').take(2).collect::<Vec<_>>().join(" ");
        let whole =
            [format!("{version} {} {:08x}\n", body.len(), crc32fast::hash(body)).into_bytes(), body.to_vec()].concat();
        for bytes in [input, &whole] {
            for boot in ["b", "another"] {
                let Ok((mut ledger, now)) = Ledger::decode(bytes, Moment { boot, ..moment }) else { continue };
                ledger.prune(now);
                ledger.merge(Ledger::default());
                let _ = (ledger.flying(), ledger.encode(moment));
            }
        }
    });
}

#[test]
fn overlay() {
    let folder = tempfile::tempdir().unwrap();
    let overlay = r#"{"v": 1, "fields": {"/id": {"types": {"integer": 5}, "seen": 5,
        "first_seen": "2024-01-01T00:00:00Z"}},
        "schema": {"properties": {"id": {"type": "integer"}}}, "findings": [], "runs": 3}"#;
    let files = OverlayFiles::new(folder.path(), "source", "tenant", "stream");
    files.prepare().unwrap();
    let at = folder.path().join("drift/source/tenant");
    fuzz("overlay", vec![overlay.as_bytes().to_vec()], move |input| {
        for name in ["stream.json", "stream.pending.json"] {
            std::fs::write(at.join(name), input).unwrap();
        }
        let _ = files.read();
    });
}

#[test]
fn json_schema() {
    let schema = r##"{"$ref": "#/definitions/a", "definitions": {"a": {"type": ["null", "object"], "properties":
        {"b": {"oneOf": [{"type": "string", "format": "date-time"}, {"$ref": "#/definitions/a"}]},
        "c": {"type": "array", "items": {"type": "integer"}}}}}}"##;
    fuzz("JSON schema", vec![schema.as_bytes().to_vec()], |input| {
        let Ok(schema) = serde_json::from_slice::<Json>(input) else { return };
        let tree = Reader::new(&schema);
        let _ = (tree.types(&schema), tree.properties(&schema).len(), tree.is_text(&["b".into()]));
        let wire = RecordSchema::build(&schema, &["id".into()], Some("b"), &Selection::default());
        let mut out = Vec::new();
        let _ = wire.rewrite(&mut Scanner::new(br#"{"id": 1, "b": {"b": "x"}, "c": [1.0, "2"]}"#), &mut out);
        let _ = validate(&json!({"b": 1}), &schema, "");
    });
}

#[test]
fn redactor() {
    let inputs = ["secret text with t0ken-abc inside", "dDBrZW4tYWJj", "%74%30", "a\u{1b}[31m…"];
    let secrets = Arc::new({
        let mut secrets = Secrets::default();
        for text in ["t0ken-abc", "é🦀 key/with+odd", "ab", "t0ken-abcdef-longer"] {
            secrets.add(text);
        }
        secrets
    });
    fuzz("redactor", inputs.iter().map(|text| text.as_bytes().to_vec()).collect(), move |input| {
        let text = String::from_utf8_lossy(input);
        let shown = secrets.hide_in_quote(&text);
        assert!(!shown.contains("t0ken-abc"), "a secret is shown");
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n' && c != '\t'), "a control character is shown");
    });
}
