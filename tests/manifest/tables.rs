//! Tables recorded from the reference by `fixtures/jinja/record.py`: templates, time formats, durations.

use std::path::Path;

use dripfeed::base::timefmt::{Format, Period, isoformat, parse_iso};
use dripfeed::manifest::node::{Place, Text};
use dripfeed::manifest::template::{EvalContext, Template, Types, Vars};
use serde_json::{Value as Json, json};

use crate::support::golden;

fn table(name: &str) -> Vec<Json> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Fails unless exactly the cases listed in `fixtures/<table>.open.snap` differ: what is still to be built is written
/// down, and what was built is taken off the list. `INSTA_UPDATE=always cargo test tables` writes the list anew.
#[allow(clippy::print_stderr)]
fn settle(name: &str, wrong: &[(String, String)]) {
    let (folder, table) = name.trim_end_matches(".json").split_once('/').unwrap();
    let cases: Vec<&str> = wrong.iter().map(|(case, _)| case.as_str()).collect();
    // Shown where the test fails.
    for (case, why) in wrong {
        eprintln!("{case}\n    {why}");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder);
    golden::assert_text(&folder, &format!("{table}.open"), &(serde_json::to_string_pretty(&cases).unwrap() + "\n"));
}

/// The tables always write microseconds; Python's `isoformat` only when there are some.
fn iso(text: &str) -> String {
    text.replacen(".000000", "", 1)
}

#[test]
fn templates_give_what_the_reference_gives() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/jinja/config.json");
    let config: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cx = EvalContext { config, now: parse_iso("2024-03-01T00:00:00Z").unwrap(), began: None };
    let mut wrong = Vec::new();
    let cases = table("jinja/cases.json");
    for case in &cases {
        let context = &case["context"];
        let mut names: Vec<&str> = context.as_object().unwrap().keys().map(String::as_str).collect();
        if names.iter().any(|n| n.starts_with("stream_")) {
            names.extend(["stream_slice", "stream_partition", "stream_interval"]);
        }
        let mut at = Place::top("case");
        at.parameters = std::sync::Arc::new(json!({"name": "items", "n": 5}));
        let text = Text { value: case["template"].clone(), at };
        let extra = context.clone();
        let mut vars = Vars { extra: Some(&extra), ..Vars::new(&cx) };
        let entry = |name: &str| context.get(name);
        vars.slice = entry("stream_slice").or(entry("stream_partition")).or(entry("stream_interval"));
        vars.next_page_token = entry("next_page_token");
        vars.response = entry("response");
        vars.headers = entry("headers");
        vars.record = entry("record");
        vars.last_record = entry("last_record");
        vars.last_page_size = entry("last_page_size").and_then(Json::as_u64);
        vars.page_size = entry("page_size").and_then(Json::as_u64);
        let types =
            match case["types"].as_array().map(|t| t.iter().filter_map(Json::as_str).collect::<Vec<_>>()).as_deref() {
                None => Types::Any,
                Some(["str"]) => Types::Str,
                Some(["int"]) => Types::Int,
                Some(["float"]) => Types::Float,
                Some(["bool"]) => Types::Bool,
                Some(["str", "list"]) => Types::StrOrList,
                // No component of a manifest asks for others.
                Some(_) => continue,
            };
        let given = Template::compile(&text, &names).and_then(|template| match case["mode"].as_str().unwrap() {
            "boolean" => template.truth(&vars).map(Json::Bool),
            "mapping" => template.value_if_any(&vars, types).map(|v| v.unwrap_or(Json::Null)),
            _ => template.value(&vars, types),
        });
        let fine = match (&given, case.get("value")) {
            (Ok(value), Some(wanted)) => value == wanted,
            (Err(_), None) => true,
            _ => false,
        };
        if !fine {
            let given = given.map_or_else(|e| format!("error {}", e.message), |v| v.to_string());
            let wanted = case.get("value").map_or_else(|| format!("error {}", case["error"]), Json::to_string);
            wrong.push((
                format!("{} {}", case["mode"].as_str().unwrap(), case["template"].as_str().unwrap()),
                format!("gives {given}, wanted {wanted}"),
            ));
        }
    }
    settle("jinja/cases.json", &wrong);
}

#[test]
fn times_are_parsed_as_strptime_does() {
    let mut wrong = Vec::new();
    for case in table("time/parse.json") {
        let text = case["text"].as_str().map_or_else(|| case["text"].to_string(), str::to_owned);
        let given = Format::compile(case["format"].as_str().unwrap())
            .ok()
            .and_then(|f| f.parse(&text))
            .map(|t| isoformat(t, 'T'));
        let wanted = case["value"].as_str().map(iso);
        if given != wanted {
            wrong.push((case.to_string(), format!("gives {given:?}")));
        }
    }
    settle("time/parse.json", &wrong);
}

#[test]
fn times_are_written_as_strftime_does() {
    let mut wrong = Vec::new();
    for case in table("time/format.json") {
        let Some(time) = parse_iso(case["iso"].as_str().unwrap()) else {
            wrong.push((case.to_string(), "is not read".into()));
            continue;
        };
        let given = Format::compile(case["format"].as_str().unwrap()).ok().map(|f| f.format(time));
        if given.as_deref() != case["text"].as_str() {
            wrong.push((case.to_string(), format!("gives {given:?}")));
        }
    }
    settle("time/format.json", &wrong);
}

#[test]
fn iso_times_are_read() {
    let mut wrong = Vec::new();
    for case in table("time/iso.json") {
        let given = parse_iso(case["text"].as_str().unwrap())
            .and_then(|t| t.checked_to_offset(time::UtcOffset::UTC))
            .filter(|t| (1..=9999).contains(&t.year()))
            .map(|t| isoformat(t, 'T'));
        if given != case["value"].as_str().map(iso) {
            wrong.push((case.to_string(), format!("gives {given:?}")));
        }
    }
    settle("time/iso.json", &wrong);
}

#[test]
fn durations_are_added_by_the_calendar() {
    let mut wrong = Vec::new();
    for case in table("time/duration.json") {
        let period = Period::parse(case["duration"].as_str().unwrap());
        if case["error"] == json!(true) {
            if period.is_ok() {
                wrong.push((case.to_string(), "is no error".into()));
            }
            continue;
        }
        let (Ok(period), Some(from)) = (&period, case["from"].as_str().and_then(parse_iso)) else {
            wrong.push((case.to_string(), "is not read".into()));
            continue;
        };
        for (key, given) in [("plus", period.after(from)), ("minus", period.before(from))] {
            if given.map(|t| isoformat(t, 'T')) != case[key].as_str().map(iso) {
                wrong.push((case.to_string(), format!("{key} gives {given:?}")));
            }
        }
    }
    settle("time/duration.json", &wrong);
}
