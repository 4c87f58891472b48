//! Cases as data: every folder here is a run of the binary, or several, against a vendor on a real socket that answers
//! as `vendor.json` says; what came out is compared with `expect.json`. A folder more is a case more: `README.md` has
//! the form. `CASE=graphql cargo test cases` runs those whose name holds the word.

mod answers;
mod expect;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use answers::Answers;
use expect::Outcome;
use serde_json::{Value as Json, json};

use crate::support::tap::Tap;
use crate::support::vendor::Vendor;

/// Cases that do not come out yet, and the rule of "Nothing silently lost" (issue 15) that they wait for. One that does
/// come out fails the test: it must be struck off.
const PENDING: &[(&str, u8)] = &[
    ("1.empty-answers", 2),
    ("1.empty-body", 2),
    ("1.errors-beside-data", 2),
    ("1.errors-once", 2),
    ("1.errors-only", 2),
    ("1.graphql-page-2", 2),
    ("1.list-moved-deep", 2),
    ("10.config-key", 17),
    ("10.granularity-finer", 14),
    ("10.no-key", 17),
    ("10.parent-key", 15),
    ("10.token-undefined", 5),
    ("10.typo", 17),
    ("11.key-in-metadata", 12),
    ("11.replication-key", 12),
    ("11.selected-text", 12),
    ("12.hyphen", 11),
    ("13.few-undeclared", 13),
    ("13.one-task", 13),
    ("14.boolean-texts", 13),
    ("14.empty-number", 13),
    ("14.php-list", 13),
    ("15.monday", 4),
    ("15.secondary", 4),
    ("16.date-only", 16),
    ("16.missing", 16),
    ("17.json-from-the-config", 7),
    ("18.parent-slice", 16),
    ("18.partition-409", 16),
    ("18.union", 16),
    ("19.item-of-an-empty-list", 16),
    ("2.ignored-page-2", 3),
    ("2.limit-before-ignore-retry-after", 3),
    ("20.one-in-a-list", 16),
    ("21.blank", 16),
    ("21.port", 16),
    ("3.another-target", 10),
    ("4.has-more", 5),
    ("4.total", 5),
    ("5.ignores-offset", 5),
    ("5.last-page-again", 5),
    ("5.no-key-equal-pages", 5),
    ("6.number-under-text", 8),
    ("6.text-under-number", 8),
    ("7.added-field", 7),
    ("7.body-field", 7),
    ("7.page-tokens", 7),
    ("8.ends-while-paced", 6),
    ("8.ignored-401", 6),
    ("9.future", 9),
];

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
fn every_case_comes_out_as_expected_or_is_pending() {
    let results = run_all(&folders());
    let pending = |name: &str| PENDING.iter().find(|(folder, _)| *folder == name);
    let mut report = Vec::new();
    for (name, differences) in &results {
        match (pending(name), differences.is_empty()) {
            (None, false) => report.push(format!("--- {name}\n  {}", differences.join("\n  "))),
            (Some((_, rule)), true) => {
                report.push(format!("--- {name} (rule {rule}) comes out: strike it off PENDING"));
            }
            _ => {}
        }
    }
    // Captured or not: the number shows how far the rules are.
    let line = format!("{} cases, {} of them pending\n", results.len(), PENDING.len());
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    assert!(report.is_empty(), "{} of {} cases\n{}", report.len(), results.len(), report.join("\n"));
}

#[test]
fn pending_cases_have_folders() {
    let missing: Vec<&str> = PENDING.iter().map(|(name, _)| *name).filter(|name| !root().join(name).is_dir()).collect();
    assert!(missing.is_empty(), "{missing:?} have no folder in tests/cases");
}
