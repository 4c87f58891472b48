//! `init --openapi`: a document in, a manifest out. A document in `fixtures/openapi` is a case; its manifest is in
//! `fixtures/openapi/expected` (`INSTA_UPDATE=always cargo test init` writes it anew).

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::{findings, init, text};
use crate::support::golden;
use crate::support::tap::Tap;
use crate::support::vendor::Vendor;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/openapi")
}

fn documents() -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    files
}

/// Findings that are no fault of the manifest: a document may have no key.
fn serious(findings: Vec<Json>) -> Vec<Json> {
    let is_known = |finding: &Json| finding["message"].as_str().unwrap().contains("has no primary key");
    findings.into_iter().filter(|finding| finding["severity"] == "error" || !is_known(finding)).collect()
}

#[test]
fn manifests_are_as_expected_and_valid() {
    for document in documents() {
        let dir = tempfile::tempdir().unwrap();
        let name = document.file_stem().unwrap().to_str().unwrap();
        let ran = init(dir.path(), &["crm", "--openapi", document.to_str().unwrap()]);
        ran.expect(0, &[]);
        assert_eq!(serious(findings(dir.path(), "crm.yaml")), Vec::<Json>::new(), "{name}");
        let expected = folder().join("expected");
        golden::assert_file(&expected, &format!("{name}-manifest"), "yaml", &text(dir.path(), "crm.yaml"));
        golden::assert_file(&expected, &format!("{name}-config"), "json", &text(dir.path(), "crm.json"));
    }
}

#[test]
fn a_parent_and_its_children_are_read() {
    let vendor = Vendor::answering(|asked| {
        let body = match (&*asked.path, asked.param("page").as_deref()) {
            ("/projects", Some("1") | None) => serde_json::json!([{"id": 7}, {"id": 8}]),
            ("/projects/7/tasks", Some("1") | None) => {
                serde_json::json!([{"id": 1, "project_id": 7, "updated_at": "2024-03-01T00:00:00Z"}])
            }
            ("/projects/8/tasks", Some("1") | None) => {
                serde_json::json!([{"id": 2, "project_id": 8, "updated_at": "2024-03-01T00:00:00Z"}])
            }
            ("/projects/7/tasks/1/comments", _) => serde_json::json!([{"id": 11}]),
            ("/projects/8/tasks/2/comments", _) => serde_json::json!([{"id": 12}]),
            _ => serde_json::json!([]),
        };
        serde_json::json!({"status": 200, "json": body})
    });
    let dir = tempfile::tempdir().unwrap();
    let document = folder().join("parents.yaml");
    let paths = "/projects/{project_id}/tasks,/projects/{project_id}/tasks/{task_id}/comments";
    init(dir.path(), &["crm", "--openapi", document.to_str().unwrap(), "--paths", paths, "--url", &vendor.url])
        .expect(0, &[]);
    let path = |name: &str| dir.path().join(name).display().to_string();
    let tap = Tap::new("read").args(&["--source", &path("crm.yaml"), "--config", &path("crm.json")]);
    let ran = tap.env("CRM_TOKEN", "a-token").run();
    ran.expect(0, &[]);
    assert!(ran.records("projects").is_empty(), "a parent that nobody chose is not sent");
    let mut tasks: Vec<(Json, Json)> =
        ran.records("tasks").iter().map(|r| (r["id"].clone(), r["project_id"].clone())).collect();
    tasks.sort_by_key(|task| task.0.to_string());
    assert_eq!(tasks, [(1.into(), 7.into()), (2.into(), 8.into())]);
    let mut comments: Vec<(Json, Json)> =
        ran.records("comments").iter().map(|r| (r["id"].clone(), r["task_id"].clone())).collect();
    comments.sort_by_key(|comment| comment.0.to_string());
    assert_eq!(comments, [(11.into(), 1.into()), (12.into(), 2.into())]);
}

#[test]
fn many_lists_are_shown_and_one_must_choose() {
    let paths: serde_json::Map<String, Json> = (0..21)
        .map(|number| {
            let item = serde_json::json!({"type": "object", "properties": {"id": {"type": "string"}}});
            let items = serde_json::json!({"type": "array", "items": item});
            let answer = serde_json::json!({"200": {"description": "", "schema": items}});
            (format!("/list{number}"), serde_json::json!({"get": {"responses": answer}}))
        })
        .collect();
    let document =
        serde_json::json!({"swagger": "2.0", "host": "api.example.org", "info": {"title": "t"}, "paths": paths});
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("d.json"), document.to_string()).unwrap();
    let ran = init(dir.path(), &["crm", "--openapi", "d.json"]);
    ran.expect(2, &["has 21 lists", "--paths /list0,/list1"]);
    assert_eq!(ran.out.lines().count(), 21);
    init(dir.path(), &["crm", "--openapi", "d.json", "--paths", "/list3,list4"]).expect(0, &[]);
    init(dir.path(), &["other", "--openapi", "d.json", "--paths", "/lst3"]).expect(2, &["did you mean /list3?"]);
}

#[test]
fn a_text_that_is_no_document_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (document, code, words) in [
        ("{\"openapi\": ", 10, "neither JSON nor YAML"),
        ("a: [", 10, "neither JSON nor YAML"),
        ("openapi: 3.0.0", 10, "no OpenAPI document"),
        ("{\"openapi\": \"3.0.0\", \"paths\": {}}", 2, "is recognized as a list"),
    ] {
        std::fs::write(dir.path().join("d"), document).unwrap();
        init(dir.path(), &["crm", "--openapi", "d"]).expect(code, &[words]);
    }
    init(dir.path(), &["crm", "--openapi", "missing"]).expect(10, &["cannot read missing"]);
}

/// What `init` recognizes in the documents of four vendors, which `tests/specs` holds cut down.
#[test]
fn published_documents_are_understood() {
    let specs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/specs");
    for (file, paths, words) in [
        ("asana.json", "/projects,/tasks", &["field_path: [data]", "field_name: offset", "page_size: 100"][..]),
        (
            "github.json",
            "/repos/{owner}/{repo}/issues,/user/repos",
            &["headers['link']", "field_name: since", "config['owner']"],
        ),
        (
            "jira.json",
            "/rest/api/3/project/search,/rest/api/3/search/jql",
            &["field_name: startAt", "field_name: nextPageToken"],
        ),
        ("shortcut.json", "/api/v3/projects,/api/v3/epics", &["field_name: Shortcut-Token", "NoPagination"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let document = specs.join(file);
        init(dir.path(), &["crm", "--openapi", document.to_str().unwrap(), "--paths", paths]).expect(0, &[]);
        assert_eq!(serious(findings(dir.path(), "crm.yaml")), Vec::<Json>::new(), "{file}");
        let manifest = text(dir.path(), "crm.yaml");
        for word in words {
            assert!(manifest.contains(word), "{file}: {word} is not in\n{manifest}");
        }
    }
}
