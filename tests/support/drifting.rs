//! A tenant who reads a vendor again and again: the state directory stays, the bookmark goes from run to run.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::tap::{Ran, Tap};
use super::vendor::Vendor;

pub struct Tenant {
    pub manifest: String,
    /// The config's part that is ours.
    pub ours: Json,
    /// What the target gave back last.
    pub state: Json,
    pub protocol: &'static str,
    dir: Rc<TempDir>,
}

impl Tenant {
    pub fn new(manifest: &str) -> Tenant {
        let dir = Rc::new(tempfile::tempdir().unwrap());
        let ours = json!({"tenant": "acme", "state_dir": dir.path().join("state")});
        Tenant { manifest: manifest.to_owned(), ours, state: Json::Null, protocol: "singer", dir }
    }

    /// Another tenant of the same state directory.
    pub fn beside(&self, name: &str) -> Tenant {
        let mut ours = self.ours.clone();
        ours["tenant"] = json!(name);
        let (manifest, dir) = (self.manifest.clone(), self.dir.clone());
        Tenant { manifest, ours, state: Json::Null, protocol: self.protocol, dir }
    }

    /// With `dripfeed.drift` in the config.
    pub fn drift(mut self, drift: Json) -> Tenant {
        self.ours["drift"] = drift;
        self
    }

    /// With exceptions from the defaults.
    pub fn rules(self, rules: Json) -> Tenant {
        self.drift(json!({"rules": rules}))
    }

    pub fn airbyte(mut self) -> Tenant {
        self.protocol = "airbyte";
        self
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn tap(&self, verb: &str, url: &str) -> Tap {
        let tap = Tap::new(verb).source(&self.manifest).config(&json!({"url": url, "dripfeed": self.ours}));
        tap.env("DRIPFEED_PROTOCOL", self.protocol).env("USER", "jane")
    }

    /// Looks at some records, for people.
    pub fn preview(&self, records: &[Json]) -> Ran {
        let vendor = Vendor::of_items(Json::Array(replies(&[records.to_vec()])));
        self.tap("read --limit 5", &vendor.url).run()
    }

    /// Reads everything that the vendor has for it, from the last state on.
    pub fn read(&mut self, vendor: &Vendor) -> Ran {
        let mut tap = self.tap("read --log-format json", &vendor.url);
        if !self.state.is_null() {
            tap = tap.state(&self.state);
        }
        let ran = tap.run();
        if self.protocol == "singer" && !ran.state().is_null() {
            self.state = ran.state();
        }
        ran
    }

    /// Reads these pages of `/items`, of which each but the last leads to the next.
    pub fn pages(&mut self, pages: &[Vec<Json>]) -> Ran {
        self.read(&Vendor::of_items(Json::Array(replies(pages))))
    }

    /// Reads one page of `/items`.
    pub fn items(&mut self, records: &[Json]) -> Ran {
        self.pages(&[records.to_vec()])
    }

    /// Reads one page of `/items` that is written so.
    pub fn text(&mut self, text: &str) -> Ran {
        self.read(&Vendor::of_items(json!([{"status": 200, "text": text}])))
    }

    /// Runs a verb that asks the vendor nothing, such as `drift show`.
    pub fn run(&self, verb: &str) -> Ran {
        let tap = self.tap(verb, "http://127.0.0.1:9");
        Ran::of(&tap.command().env_remove("CI").output().unwrap())
    }

    /// What `drift show` shows.
    pub fn findings(&self) -> Vec<Json> {
        let ran = self.run("drift show --format json");
        let shown: Json = serde_json::from_str(&ran.expect(0, &[]).out).unwrap();
        shown["findings"].as_array().unwrap().clone()
    }

    /// The open findings as `rule pointer`.
    pub fn open(&self) -> Vec<String> {
        let line = |f: Json| format!("{} {}", f["rule"].as_str().unwrap(), f["pointer"].as_str().unwrap());
        self.findings().into_iter().map(|f| line(f).trim_end().to_owned()).collect()
    }

    /// The file with what was taken out of a stream.
    pub fn quarantine(&self, stream: &str) -> PathBuf {
        let tenant = self.ours["tenant"].as_str().unwrap();
        let at = |folder: &str| -> Option<PathBuf> {
            let source = std::fs::read_dir(self.root().join(folder)).ok()?.next()?.unwrap().path();
            Some(source.file_name().unwrap().into())
        };
        let source = at("quarantine").or_else(|| at("drift")).unwrap();
        self.root().join("quarantine").join(source).join(tenant).join(format!("{stream}.jsonl"))
    }

    /// The lines of a stream's quarantine file.
    pub fn aside(&self, stream: &str) -> Vec<Json> {
        lines(&self.quarantine(stream))
    }
}

fn lines(path: &Path) -> Vec<Json> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Answers with these pages under `data`, each with the number of the next.
pub fn replies(pages: &[Vec<Json>]) -> Vec<Json> {
    let page = |(number, records): (usize, &Vec<Json>)| {
        let next = if number + 1 < pages.len() { json!(format!("p{}", number + 1)) } else { Json::Null };
        json!({"status": 200, "json": {"data": records, "next": next}})
    };
    pages.iter().enumerate().map(page).collect()
}

/// A paginator that follows `next`.
pub fn paged() -> Json {
    json!({"paginator": {
        "type": "DefaultPaginator",
        "pagination_strategy": {
            "type": "CursorPagination", "cursor_value": "{{ response['next'] }}",
            "stop_condition": "{{ not response['next'] }}",
        },
        "page_token_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "after"},
    }})
}

/// An incremental stream by `at`.
pub fn incremental() -> Json {
    json!({"incremental_sync": {
        "type": "DatetimeBasedCursor", "cursor_field": "at", "datetime_format": "%Y-%m-%dT%H:%M:%SZ",
        "start_datetime": "2024-01-01T00:00:00Z",
        "start_time_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "since"},
    }})
}

/// The `schema_drift` events of a run, as `rule pointer`.
pub fn told(ran: &Ran) -> Vec<String> {
    let line = |e: Json| format!("{} {}", e["rule"].as_str().unwrap(), e["pointer"].as_str().unwrap());
    ran.events("schema_drift").into_iter().map(|e| line(e).trim_end().to_owned()).collect()
}
