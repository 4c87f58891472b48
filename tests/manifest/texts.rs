//! Text stays text: what a template gives for a text that it looks up, at each place where one is wanted.

use dripfeed::base::timefmt::parse_iso;
use dripfeed::manifest::node::{Place, Text};
use dripfeed::manifest::template::{EvalContext, Template, Types, Vars};
use serde_json::{Value as Json, json};

use crate::support::tap::{Tap, items};

/// What each place gives for a text: itself, or the value that it spells.
struct Row {
    text: &'static str,
    /// In a JSON body, and as a page token.
    json: Option<Json>,
}

fn stays(text: &'static str) -> Row {
    Row { text, json: None }
}

fn becomes(text: &'static str, json: Json) -> Row {
    Row { text, json: Some(json) }
}

/// Texts that look like literals. Public reports: airbytehq/airbyte#79674, airbytehq/airbyte#58585.
fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = [
        "35E87645934406417",
        "1e999",
        "-1e999",
        "1e5",
        "1_000",
        "3.10",
        "0x1F",
        "0b1",
        "0o7",
        "007",
        "00",
        "-0",
        "+1",
        " 1",
        "None",
        "True",
        "False",
        "true",
        "null",
        "'a'",
        "\"a\"",
        "r'a'",
        "1,2",
        "(1, 2)",
        "{1, 2}",
        "[1e5]",
        "{'a': 1_000}",
        "[1",
        "a string",
        "2024-01-01",
        "1 # one",
        "1.",
        ".5",
    ]
    .into_iter()
    .map(stays)
    .collect();
    rows.push(becomes("50", json!(50)));
    rows.push(becomes("-7", json!(-7)));
    rows.push(becomes("0.5", json!(0.5)));
    rows.push(becomes("[1, 2]", json!([1, 2])));
    rows.push(becomes(
        "[{\"key\":\"Is Published\",\"value\":\"false\"}]",
        json!([{"key": "Is Published", "value": "false"}]),
    ));
    rows.push(becomes("{\"a\": [1.5, \"b\"]}", json!({"a": [1.5, "b"]})));
    rows.push(becomes("{'a': True}", json!({"a": true})));
    rows
}

/// Ways to look a text up.
const LOOK_UPS: [&str; 12] = [
    "{{ response['t'] }}",
    "{{ response.t }}",
    "{{response.get('t')}}",
    "{{ response.get('o', {}).get('t') }}",
    "{{ response['l'][0] }}",
    "{{ response['l'] | last }}",
    "{{ response.get('t') or 'none' }}",
    "{{ response['t'] if response['t'] else '' }}",
    "{{ response['t'] | default('') }}",
    "{{ response['t'] | string }}",
    "{{ ('n=' ~ response['t']).split('n=')[1] }}",
    "{{ response['no'] or response['t'] }}",
];

fn evaluated(template: &str, response: &Json, types: Types) -> Json {
    let cx = EvalContext { config: json!({}), now: parse_iso("2024-03-01T00:00:00Z").unwrap(), began: None };
    let text = Text { value: json!(template), at: Place::top("case") };
    let vars = Vars { response: Some(response), ..Vars::new(&cx) };
    Template::compile(&text, &["response"]).unwrap().value(&vars, types).unwrap()
}

#[test]
fn a_text_that_is_looked_up_stays_that_text() {
    for Row { text, json } in rows() {
        let response = json!({"t": text, "o": {"t": text}, "l": [text]});
        for template in LOOK_UPS {
            let given = |types| evaluated(template, &response, types);
            for types in [Types::Text, Types::Str, Types::StrOrList] {
                assert_eq!(given(types), json!(text), "{template} of {text:?} as {types:?}");
            }
            let wanted = json.clone().unwrap_or_else(|| json!(text));
            assert_eq!(given(Types::Json), wanted, "{template} of {text:?} in a JSON body");
            let wanted = json.clone().filter(Json::is_object).unwrap_or_else(|| json!(text));
            let fields = given(Types::Fields);
            assert!(fields == wanted || fields.is_object(), "{template} of {text:?} where fields are wanted: {fields}");
        }
    }
}

#[test]
fn what_a_template_computes_is_read_as_the_reference_does() {
    let response = json!({"n": 5, "b": true, "l": [1, 2], "o": {"a": 1}, "t": "1e5", "f": 1.5});
    for (template, wanted) in [
        ("{{ response['n'] }}", json!(5)),
        ("{{ response['n'] + 1 }}", json!(6)),
        ("{{ response['f'] }}", json!(1.5)),
        ("{{ response['b'] }}", json!(true)),
        ("{{ response['l'] }}", json!([1, 2])),
        ("{{ response['o'] }}", json!({"a": 1})),
        ("{{ response['no'] == 1 }}", json!(false)),
        ("{{ response['n'] }}0", json!(50)),
        ("'{{ response['n'] }}'", json!("5")),
        (" {{ response['n'] }}", json!(5)),
        // Characters that no number is written with were a text's.
        ("{{ response['n'] }}_{{ response['n'] }}", json!("5_5")),
        ("{{ response['t'] | lower }}", json!("1e5")),
        ("0{{ response['n'] }}", json!("05")),
    ] {
        for types in [Types::Text, Types::Json] {
            assert_eq!(evaluated(template, &response, types), wanted, "{template} as {types:?}");
        }
    }
}

#[test]
fn validate_warns_of_added_texts_without_a_type() {
    let fields = |value_type: &str| {
        let field = |path: &str, value: &str| {
            let mut field = json!({"type": "AddedFieldDefinition", "path": [path], "value": value});
            if !value_type.is_empty() {
                field["value_type"] = json!(value_type);
            }
            field
        };
        let each =
            [("t", "{{ record['a'] }}"), ("id", "{{ record['b'] }}"), ("n", "{{ record['a'] }}"), ("u", "fixed")];
        let fields: Vec<Json> = each.map(|(path, value)| field(path, value)).into();
        let text = json!({"type": "string"});
        let schema = json!({"t": text, "u": text, "n": {"type": "integer"}});
        items(&schema, &json!({"transformations": [{"type": "AddFields", "fields": fields}]}), &json!({}))
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.yaml");
    let validated = |manifest: String| {
        std::fs::write(&file, manifest).unwrap();
        Tap::new("validate").args(&[file.to_str().unwrap()]).run()
    };
    let ran = validated(fields(""));
    let hint = "set `value_type: string`";
    ran.expect(0, &["the added field `t` is a string but has no `value_type`", "the added field `id` is a key", hint]);
    assert_eq!(ran.err.matches(hint).count(), 2, "{}", ran.err);
    assert!(!validated(fields("string")).expect(0, &[]).err.contains("value_type"));
}
