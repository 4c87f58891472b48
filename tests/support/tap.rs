//! The binary, run with files in a folder of its own; what it printed, taken apart.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

pub struct Tap {
    pub dir: TempDir,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
}

/// What a run printed.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Tap {
    pub fn new(verb: &str) -> Tap {
        let args = verb.split_whitespace().map(str::to_owned).collect();
        Tap { dir: tempfile::tempdir().unwrap(), args, env: Vec::new() }
    }

    /// Writes a file and passes it with `flag`.
    pub fn file(mut self, flag: &str, name: &str, text: &str) -> Tap {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        if !flag.is_empty() {
            self.args.extend([flag.to_owned(), path.display().to_string()]);
        }
        self
    }

    pub fn source(self, manifest: &str) -> Tap {
        self.file("--source", "manifest.yaml", manifest)
    }

    pub fn config(self, config: &Json) -> Tap {
        self.file("--config", "config.json", &config.to_string())
    }

    pub fn state(self, state: &Json) -> Tap {
        self.file("--state", "state.json", &state.to_string())
    }

    pub fn catalog(self, catalog: &Json) -> Tap {
        self.file("--catalog", "catalog.json", &catalog.to_string())
    }

    pub fn args(mut self, args: &[&str]) -> Tap {
        self.args.extend(args.iter().map(|a| (*a).to_owned()));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Tap {
        self.env.push((name.into(), value.into()));
        self
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command.args(&self.args).stdin(Stdio::null());
        for name in [
            "DRIPFEED_SOURCE",
            "DRIPFEED_CONFIG",
            "DRIPFEED_TIER",
            "DRIPFEED_PROTOCOL",
            "DRIPFEED_STATE_DIR",
            "DRIPFEED_NOW",
            "SINGER_SDK_LOG_CONFIG",
            "NO_COLOR",
            "CLICOLOR_FORCE",
            "CLICOLOR",
        ] {
            command.env_remove(name);
        }
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        command
    }

    /// Runs for so long at most; nothing when it had to be ended.
    pub fn run_within(&self, limit: Duration) -> Option<Ran> {
        self.run_while(limit, |_| true)
    }

    /// Runs for so long at most, and only while `wanted` says so; nothing when it had to be ended.
    pub fn run_as_long_as(&self, limit: Duration, wanted: impl Fn() -> bool) -> Option<Ran> {
        self.run_while(limit, |_| wanted())
    }

    /// Runs, and sends SIGTERM once `ready`; it must end by itself within 20 seconds of its start.
    pub fn run_and_stop(&self, ready: impl Fn() -> bool) -> Ran {
        let mut stopped = false;
        let ran = self.run_while(Duration::from_secs(20), |child| {
            if !stopped && ready() {
                stopped = true;
                Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
            }
            true
        });
        assert!(stopped, "it ended too early");
        ran.expect("it does not end")
    }

    fn run_while(&self, limit: Duration, mut goes_on: impl FnMut(&Child) -> bool) -> Option<Ran> {
        let mut child = self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let read = |mut from: Box<dyn Read + Send>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                from.read_to_end(&mut bytes).map(|_| bytes)
            })
        };
        let (out, err) = (read(Box::new(child.stdout.take().unwrap())), read(Box::new(child.stderr.take().unwrap())));
        let until = Instant::now() + limit;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > until || !goes_on(&child) {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Some(Ran::of(&Output { status, stdout: out.join().unwrap().unwrap(), stderr: err.join().unwrap().unwrap() }))
    }

    pub fn run(&self) -> Ran {
        Ran::of(&self.command().output().unwrap())
    }
}

pub fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_dripfeed"))
}

impl Ran {
    pub fn of(output: &Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout.clone()).expect("stdout is UTF-8"),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Every line of stdout as JSON: a line that is none fails the test.
    pub fn messages(&self) -> Vec<Json> {
        assert!(self.out.is_empty() || self.out.ends_with('\n'), "the last line is torn");
        self.out.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
    }

    pub fn records(&self, stream: &str) -> Vec<Json> {
        let of = self.messages().into_iter().filter(|m| m["type"] == "RECORD" && m["stream"] == stream);
        of.map(|m| m["record"].clone()).collect()
    }

    pub fn schema(&self, stream: &str) -> Json {
        let mut messages = self.messages().into_iter();
        let message = messages.find(|m| m["type"] == "SCHEMA" && m["stream"] == stream).expect("a SCHEMA");
        message["schema"].clone()
    }

    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for message in self.messages() {
            let key = match message["stream"].as_str() {
                Some(stream) => format!("{} {stream}", message["type"].as_str().unwrap()),
                None => message["type"].as_str().unwrap().to_owned(),
            };
            *counts.entry(key).or_insert(0) += 1;
        }
        counts
    }

    /// The last STATE's value; null when there is none.
    pub fn state(&self) -> Json {
        self.messages().iter().rev().find(|m| m["type"] == "STATE").map_or(Json::Null, |m| m["value"].clone())
    }

    /// The messages of the structured log, a line each.
    pub fn logged(&self) -> String {
        let lines = self.err.lines().filter_map(|l| serde_json::from_str::<Json>(l).ok());
        lines.map(|l| l["message"].as_str().unwrap().to_owned() + "\n").collect()
    }

    /// The events of the structured log with that name.
    pub fn events(&self, name: &str) -> Vec<Json> {
        let lines = self.err.lines().filter_map(|l| serde_json::from_str::<Json>(l).ok());
        lines.map(|l| l["dripfeed"].clone()).filter(|e| e["event"] == name).collect()
    }

    /// Fails the test unless the run ended so, and says all these words on stderr.
    pub fn expect(&self, code: i32, words: &[&str]) -> &Ran {
        assert_eq!(self.code, code, "exit code; stderr:\n{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "stderr lacks {word:?}:\n{}", self.err);
        }
        self
    }
}

/// A manifest with one stream, `items`, at `/items` with records under `data`; `more` is YAML of the stream,
/// `retriever` YAML of its retriever, both in flow form.
pub fn items(schema: &Json, more: &Json, retriever: &Json) -> String {
    let mut stream = json!({
        "type": "DeclarativeStream", "name": "items", "primary_key": "id",
        "schema_loader": {"type": "InlineSchemaLoader", "schema": {"type": "object", "properties": schema}},
        "retriever": {
            "type": "SimpleRetriever",
            "requester": {"type": "HttpRequester", "url_base": "{{ config['url'] }}", "path": "items"},
            "record_selector": {
                "type": "RecordSelector", "extractor": {"type": "DpathExtractor", "field_path": ["data"]},
            },
        },
    });
    merge(&mut stream, more);
    merge(&mut stream["retriever"], retriever);
    json!({
        "version": "7.39.1", "type": "DeclarativeSource", "check": {"type": "CheckStream", "stream_names": ["items"]},
        "streams": [stream],
    })
    .to_string()
}

fn merge(into: &mut Json, from: &Json) {
    for (key, value) in from.as_object().into_iter().flatten() {
        if into[key].is_object() && value.is_object() {
            merge(&mut into[key], value);
        } else {
            into[key] = value.clone();
        }
    }
}
