//! Changes that vendors really made: `fixtures/drift/vendors/<case>/`.
//!
//! `manifest.yaml` reads `before.json` and then `after.json`, each a list of pages in the vendor's shape with made-up
//! values; a page with a `status` is a whole reply. At the pointer `records`, each record is served `times` times:
//! `{n}` in a text is another number each time, `{s}` one below sixty, and `{"$n": 7}` a number that starts with 7.
//! `expect.json` says what is found, by which policy, and how the run ends; `rule` is null where nothing is.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::support::drifting::{Tenant, told};
use crate::support::tap::Ran;
use crate::support::vendor::Vendor;

/// The value as the record of that number has it.
fn numbered(value: &Json, number: usize) -> Json {
    match value {
        Json::String(text) => {
            json!(text.replace("{n}", &(100 + number).to_string()).replace("{s}", &format!("{:02}", number % 60)))
        }
        Json::Array(items) => items.iter().map(|item| numbered(item, number)).collect(),
        Json::Object(fields) => match fields.get("$n").and_then(Json::as_u64) {
            Some(start) => json!(start * 1000 + number as u64),
            None => fields.iter().map(|(name, value)| (name.clone(), numbered(value, number))).collect(),
        },
        value => value.clone(),
    }
}

/// Every list of records in a page, `times` as long. Records that hold no number stay as they are.
fn served(page: &Json, expect: &Json) -> Json {
    fn lengthen(at: &mut Json, times: usize) {
        let Some(records) = at.as_array() else { return };
        let same = |record: &Json| numbered(record, 0) == *record;
        let (single, many): (Vec<&Json>, Vec<&Json>) = records.iter().partition(|record| same(record));
        let mut all: Vec<Json> = (0..times).flat_map(|n| many.iter().map(move |record| numbered(record, n))).collect();
        all.extend(single.into_iter().cloned());
        *at = Json::Array(all);
    }
    let (mut page, times) = (page.clone(), expect["times"].as_u64().unwrap() as usize);
    if page["status"].is_u64() {
        return page;
    }
    if let Some(at) = expect["records"].as_str().and_then(|pointer| page.pointer_mut(pointer)) {
        lengthen(at, times);
    }
    // Where the list went to, if it moved.
    for name in ["results", "values"] {
        if let Some(at) = page.get_mut(name).filter(|at| at.to_string().contains("{n}")) {
            lengthen(at, times);
        }
    }
    json!({"status": 200, "json": page})
}

struct Case {
    folder: PathBuf,
    expect: Json,
    path: String,
}

impl Case {
    fn of(folder: &Path) -> Case {
        let manifest = std::fs::read_to_string(folder.join("manifest.yaml")).unwrap();
        let (_, path) = manifest.split_once("path: ").unwrap();
        let path = format!("/{}", path.split([',', '}']).next().unwrap());
        Case { expect: json(&folder.join("expect.json")), folder: folder.to_owned(), path }
    }

    fn read(&self, tenant: &mut Tenant, file: &str) -> Ran {
        let pages = json(&self.folder.join(file));
        let replies: Vec<Json> = pages.as_array().unwrap().iter().map(|page| served(page, &self.expect)).collect();
        tenant.read(&Vendor::start(&json!({"routes": [{"path": self.path, "replies": replies}]})))
    }

    /// What is not as expected.
    fn check(&self) -> Result<(), String> {
        let mut tenant = Tenant::new(&std::fs::read_to_string(self.folder.join("manifest.yaml")).unwrap());
        let before = self.read(&mut tenant, "before.json");
        let is = |what: bool, said: String| if what { Ok(()) } else { Err(said) };
        is(before.code == 0 && told(&before).is_empty(), format!("before: {} {}", before.code, before.err))?;
        is(before.out.contains("RECORD"), "no record before".into())?;
        let after = self.read(&mut tenant, "after.json");
        let expect = &self.expect;
        is(expect["exit"] == after.code, format!("exit {}: {}", after.code, after.err))?;
        let mut lines: Vec<String> =
            expect["others"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect();
        if let Some(rule) = expect["rule"].as_str() {
            let found = after.events("schema_drift").into_iter().find(|e| e["rule"] == rule);
            let Some(found) = found else { return Err(format!("told {:?}: {}", told(&after), after.err)) };
            for name in ["severity", "pointer", "policy"] {
                is(found[name] == expect[name], format!("{name} is {}", found[name]))?;
            }
            is(expect["to"].is_null() || found["to"] == expect["to"], format!("to {}", found["to"]))?;
            lines.push(format!("{rule} {}", expect["pointer"].as_str().unwrap()).trim_end().to_owned());
            let fails = matches!(expect["severity"].as_str(), Some("break" | "extraction"));
            let check = tenant.run("drift check");
            is(check.code == if fails { 30 } else { 0 }, format!("drift check ended with {}", check.code))?;
        }
        let mut all = told(&after);
        all.sort();
        lines.sort();
        is(all == lines, format!("told {all:?}"))?;
        let stream = tenant.state["bookmarks"].as_object().and_then(|all| all.values().next()).cloned();
        if let Some(bookmark) = expect.get("bookmark") {
            let at = stream.and_then(|stream| stream.as_object()?.values().next().cloned());
            is(at.as_ref() == Some(bookmark), format!("bookmark {at:?}"))?;
        }
        Ok(())
    }
}

fn json(path: &Path) -> Json {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn changes_that_vendors_made_are_told() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/drift/vendors");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 20, "{}", folders.len());
    let check = |folder: &PathBuf| {
        let name = folder.file_name().unwrap().display().to_string();
        Case::of(folder).check().err().map(|said| format!("{name}: {said}"))
    };
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let cases: Vec<_> = folders.iter().map(|folder| scope.spawn(|| check(folder))).collect();
        cases.into_iter().filter_map(|case| case.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
