//! `discover --infer`: schemas from a sample, in the catalog and where the manifest keeps them.

use serde_json::{Value as Json, json};

use crate::support::tap::Tap;
use crate::support::vendor::Vendor;

fn vendor() -> Vendor {
    Vendor::answering(|asked| match asked.path.as_str() {
        "/b" => json!({"status": 403, "json": {"message": "not for you"}}),
        "/c" => json!({"status": 200, "json": []}),
        _ => {
            let one = json!({"id": 1, "at": "2024-01-01T00:00:00Z", "n": null});
            json!({"status": 200, "json": [one, {"id": 2, "at": null, "n": [1.5]}]})
        }
    })
}

/// A manifest with a stream for each name, read from the path of that name, with these loaders.
fn manifest(url: &str, loaders: &[(&str, &str)]) -> String {
    let streams = loaders.iter().map(|(name, loader)| {
        format!(
            "  # the stream {name}
  - type: DeclarativeStream
    name: {name}
    primary_key: id
{loader}    retriever:
      type: SimpleRetriever
      requester: {{type: HttpRequester, url_base: {url}, path: /{name}}}
      record_selector:
        type: RecordSelector
        extractor: {{type: DpathExtractor, field_path: []}}
"
        )
    });
    let streams: String = streams.collect();
    format!(
        "version: 6.0.0\ntype: DeclarativeSource\ncheck: {{type: CheckStream, stream_names: [a]}}\nstreams:\n{streams}"
    )
}

const INLINE: &str = "    schema_loader:
      type: InlineSchemaLoader
      # what the vendor documents
      schema:
        type: object
        properties:
          id: {type: string, description: The number of it.}
          gone: {type: boolean}
";

fn inferred() -> Json {
    json!({
        "id": {"type": ["null", "integer"]},
        "at": {"type": ["null", "string"], "format": "date-time"},
        "n": {"type": ["null", "array"], "items": {"type": ["null", "number"]}},
    })
}

#[test]
fn the_catalog_has_the_schemas_of_the_sample() {
    let vendor = vendor();
    let manifest = manifest(&vendor.url, &[("a", ""), ("b", ""), ("c", "")]);
    let ran = Tap::new("discover --infer").source(&manifest).run();
    assert_eq!(ran.code, 0, "{}", ran.err);
    let catalog: Json = serde_json::from_str(&ran.out).unwrap();
    let streams: Vec<&str> =
        catalog["streams"].as_array().unwrap().iter().map(|s| s["stream"].as_str().unwrap()).collect();
    assert_eq!(streams, ["a"]);
    // A key is never null.
    let mut wanted = inferred();
    wanted["id"]["type"] = json!("integer");
    assert_eq!(catalog["streams"][0]["schema"]["properties"], wanted);
    assert!(ran.err.contains("stream `b`") && ran.err.contains("not for you"), "{}", ran.err);
    assert!(ran.err.contains("stream `c`: no record was found"), "{}", ran.err);
    let alone = Tap::new("discover --infer --streams b").source(&manifest).run();
    assert_eq!(alone.code, 20, "{}", alone.err);
    let unknown = Tap::new("discover --infer --streams x").source(&manifest).run();
    assert_eq!(unknown.code, 10, "{}", unknown.err);
    let without = Tap::new("discover --write").source(&manifest).run();
    assert_eq!(without.code, 2, "{}", without.err);
}

#[test]
fn schemas_are_written_to_where_the_manifest_keeps_them() {
    let vendor = vendor();
    let file = "    schema_loader: {type: JsonFileSchemaLoader, file_path: ./own/a2.json}\n";
    let written = manifest(&vendor.url, &[("a", ""), ("a2", file), ("a3", INLINE)]);
    let tap = Tap::new("discover --infer --write").source(&written).file("", "own/a2.json", "{}");
    let ran = tap.run();
    assert_eq!(ran.code, 0, "{}", ran.err);
    let at =
        |name: &str| -> Json { serde_json::from_slice(&std::fs::read(tap.dir.path().join(name)).unwrap()).unwrap() };
    assert_eq!(at("schemas/a.json")["properties"], inferred());
    assert_eq!(at("own/a2.json")["properties"], inferred());
    let text = std::fs::read_to_string(tap.dir.path().join("manifest.yaml")).unwrap();
    // Everything but the schema is as it was.
    let (before, after) =
        (written.split("        type: object\n").next().unwrap(), written.rsplit("    retriever:\n").next().unwrap());
    assert!(text.starts_with(before) && text.ends_with(after), "{text}");
    let mut wanted = inferred();
    wanted["id"]["type"] = json!("integer");
    let of_file = wanted.clone();
    wanted["gone"] = json!({"type": ["null", "boolean"]});
    assert!(text.contains("            description: \"The number of it.\"\n"), "{text}");
    let again = Tap::new("discover").args(&["--source", tap.dir.path().join("manifest.yaml").to_str().unwrap()]).run();
    let catalog: Json = serde_json::from_str(&again.out).unwrap();
    assert_eq!(catalog["streams"][2]["schema"]["properties"], wanted, "{text}");
    assert_eq!(catalog["streams"][1]["schema"]["properties"], of_file);
    let builtin = Tap::new("discover --infer --write --source sandbox --streams users").run();
    assert_eq!(builtin.code, 10);
    assert!(builtin.err.contains("--write needs a manifest file"), "{}", builtin.err);
}
