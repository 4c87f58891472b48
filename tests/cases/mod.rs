//! Cases as data: every folder here is a run of the binary, or several, against a vendor on a real socket that answers
//! as `vendor.json` says; what came out is compared with `expect.json`. A folder more is a case more: `README.md` has
//! the form. `CASE=graphql cargo test cases` runs the cases with the word in their name.

mod answers;
mod expect;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use answers::Answers;
use expect::Outcome;
use serde_json::{Value as Json, json};

use crate::support::tap::Tap;
use crate::support::vendor::Vendor;

/// Longer than this is a run that does not end.
const LONGEST: Duration = Duration::from_secs(120);

/// Most cases wait rather than work.
const AT_ONCE: usize = 8;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn json_of(path: &Path) -> Option<Json> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// A command's words; what stands between quotes is one.
fn words(command: &str) -> Vec<String> {
    let parts = command.split('"').enumerate();
    let words = parts.flat_map(|(i, part)| if i % 2 == 1 { vec![part] } else { part.split_whitespace().collect() });
    words.map(str::to_owned).collect()
}

/// A case while it runs: its own copy of the folder, and its vendor.
struct Case {
    folder: PathBuf,
    dir: tempfile::TempDir,
    vendor: Vendor,
    answers: Arc<Mutex<Answers>>,
}

impl Case {
    fn start(folder: &Path) -> Case {
        let answers = Arc::new(Mutex::new(Answers::default()));
        let of = answers.clone();
        let vendor = Vendor::answering(move |asked| of.lock().unwrap().reply(asked));
        let case = Case { folder: folder.to_owned(), dir: tempfile::tempdir().unwrap(), vendor, answers };
        for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(case.path(name(&file)), case.filled_in(&text)).unwrap();
        }
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn filled_in(&self, text: &str) -> String {
        text.replace("$URL", &self.vendor.url).replace("$DIR", self.dir.path().to_str().unwrap())
    }

    /// Runs a command as `expect.json` has it; nothing when it does not end.
    fn run(&self, expected: &Json) -> Option<Outcome> {
        let command = words(expected["command"].as_str().unwrap());
        let named = |word: &String| match word.as_str() {
            "LAST" => self.path("last.json").display().to_string(),
            name if self.path(name).is_file() => self.path(name).display().to_string(),
            other => self.filled_in(other),
        };
        let mut args: Vec<String> = command.iter().map(named).collect();
        let events = self.path("events.jsonl");
        let _ = std::fs::remove_file(&events);
        args.extend(["--events".to_owned(), events.display().to_string()]);
        let (asked, started, home) = (self.vendor.asked().len(), Instant::now(), self.path("home"));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let tap = Tap::new("").args(&args).env("HOME", home.to_str().unwrap()).env("XDG_STATE_HOME", "");
        let ran = tap.run_within(LONGEST)?;
        let lines = |text: &str| text.lines().map(|l| serde_json::from_str(l).unwrap_or(Json::Null)).collect();
        let of_file = |path: PathBuf| lines(&std::fs::read_to_string(path).unwrap_or_default());
        let outcome = Outcome {
            messages: expected["written"].as_str().map_or_else(|| lines(&ran.out), |name| of_file(self.path(name))),
            events: of_file(events),
            asked: self.vendor.asked().split_off(asked),
            seconds: started.elapsed().as_secs_f64(),
            ran,
        };
        std::fs::write(self.path("last.json"), outcome.last_state().to_string()).unwrap();
        Some(outcome)
    }

    /// What differs from the expectation in each of its commands; nothing when all is well.
    fn differences(&self) -> Vec<String> {
        let rules = json_of(&self.folder.join("vendor.json")).unwrap_or_else(|| json!([]));
        let expected = json_of(&self.folder.join("expect.json")).unwrap();
        let mut found = Vec::new();
        for (i, expected) in expected["commands"].as_array().unwrap().iter().enumerate() {
            let i = i + 1;
            let rules = rules.get(format!("command {i}")).unwrap_or(&rules);
            *self.answers.lock().unwrap() = Answers::new(rules);
            let Some(outcome) = self.run(expected) else {
                found.push(format!("command {i}: it does not end"));
                continue;
            };
            let differences = outcome.differences(expected);
            found.extend(differences.iter().map(|difference| format!("command {i}: {difference}")));
            if !differences.is_empty() {
                let err: String = outcome.ran.err.chars().take(2000).collect();
                found.push(format!("command {i}: stderr was\n    {}", err.trim_end().replace('\n', "\n    ")));
            }
        }
        found
    }
}

/// The folders, those named in `CASE` where it is set.
fn folders() -> Vec<PathBuf> {
    let word = std::env::var("CASE").unwrap_or_default();
    let entries = std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir() && name(path).contains(&word)).collect();
    folders.sort();
    folders
}

/// Runs all of them, several at once, and gives each folder's name with what differs.
fn run_all(folders: &[PathBuf]) -> Vec<(String, Vec<String>)> {
    let (left, results) = (Mutex::new(folders.iter()), Mutex::new(Vec::new()));
    let next = || left.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(folder) = next() {
                    let name = name(folder).to_owned();
                    let differences = Case::start(folder).differences();
                    results.lock().unwrap().push((name, differences));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort();
    results
}

#[test]
fn every_case_comes_out_as_expected() {
    let results = run_all(&folders());
    let bad = results.iter().filter(|(_, differences)| !differences.is_empty());
    let report: Vec<String> = bad.map(|(name, found)| format!("--- {name}\n  {}", found.join("\n  "))).collect();
    assert!(report.is_empty(), "{} of {} cases\n{}", report.len(), results.len(), report.join("\n"));
}

/// The table of `README.md` is what the folders say.
#[test]
fn the_table_names_every_case() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let line = |folder: &PathBuf| {
        let case = json_of(&folder.join("expect.json")).unwrap();
        let rule = case["rule"].as_u64().map_or("–".to_owned(), |rule| rule.to_string());
        let (title, report) = (case["title"].as_str().unwrap(), case["report"].as_str().unwrap_or("–"));
        format!("| {rule} | `{}` | {title} | {report} |", name(folder))
    };
    let entries = std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let lines: Vec<String> = entries.filter(|path| path.is_dir()).map(|path| line(&path)).collect();
    let missing: Vec<&String> = lines.iter().filter(|line| !readme.contains(*line)).collect();
    assert!(missing.is_empty(), "README.md lacks\n{missing:#?}");
}
