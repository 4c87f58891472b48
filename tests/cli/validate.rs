//! The verb `validate` as a program reads it. What it finds is tested under `tests/manifest`.

use serde_json::{Value as Json, json};

use crate::support::tap::Tap;

#[test]
fn a_built_in_source_is_validated_by_its_name() {
    let ran = Tap::new("validate sandbox").run();
    assert!(ran.expect(0, &[]).out.starts_with("catalog/sandbox.yaml: 3 streams\n"), "{}", ran.out);
    Tap::new("validate sandbxo").run().expect(10, &["did you mean the built-in source `sandbox`?"]);
}

#[test]
fn findings_are_told_to_editors_by_line_and_column() {
    let manifest = "\
version: 7.39.1
type: DeclarativeSource
check: {type: CheckStream, stream_names: [a]}
streams:
  - type: DeclarativeStream
    name: a
    primarykey: [id]
    retriever:
      type: SimpleRetriever
      requester: {type: HttpRequester, url_base: https://api.example.com, path: a, http_method: FETCH}
      record_selector:
        type: RecordSelector
        extractor: {type: DpathExtractor, field_path: []}
";
    let validate = |manifest: &str| {
        let tap = Tap::new("validate --format json").file("", "m.yaml", manifest);
        let path = tap.dir.path().join("m.yaml").display().to_string();
        tap.args(&[&path]).run()
    };
    let ran = validate(manifest);
    let found: Vec<Json> = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(ran.code, 10, "{}", ran.err);
    let at = |path: &str| found.iter().find(|f| f["path"] == path).unwrap_or_else(|| panic!("{path}: {found:#?}"));
    let key = at("streams[0].primarykey");
    assert_eq!((&key["line"], &key["column"], &key["severity"]), (&json!(7), &json!(5), &json!("warning")));
    assert!(key["hint"].as_str().unwrap().contains("primary_key"), "{key}");
    let method = found.iter().find(|f| f["severity"] == "error").unwrap();
    assert_eq!(method["line"], 10);
    assert!(found.iter().all(|f| f["message"].is_string() && f["code"].is_string() && f["file"].is_string()));
    let unreadable = validate("a: [");
    let found: Vec<Json> = serde_json::from_str(&unreadable.out).unwrap();
    assert_eq!((unreadable.code, found.len()), (10, 1));
}
