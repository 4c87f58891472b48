//! The track passes records without parsing them: whatever a vendor changes, lines, states and drift files are those
//! of a full parse. (That it does as the parse for any schema and any bytes is a test beside it.)

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use regex::Regex;
use serde_json::json;

use crate::support::tap::{Tap, binary};

/// The sandbox's changes of tasks, and of how they are listed.
const CHANGES: [&str; 34] = [
    "D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "D9", "D10", "D11", "D12", "D13", "D14", "D15", "D16", "D17",
    "D18", "D19", "D20", "D21", "D22", "D23", "D24", "D25", "D26", "D27", "D28", "D30", "D32", "D33", "D34", "utf8",
    "text",
];

struct Sandbox {
    child: Child,
    url: String,
}

impl Sandbox {
    fn with(changes: &[&str]) -> Sandbox {
        let mut command = Command::new(binary());
        command.args(["sandbox", "-q", "--tasks", "250"]).stdout(Stdio::piped());
        for change in changes {
            command.args(["--change", change]);
        }
        let mut child = command.spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Sandbox { child, url: url.trim().to_owned() }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Reads tasks one slice after the other; returns how it ended and what it printed, without the times at which it did.
fn read(url: &str, dir: &Path, protocol: &str, track: &str) -> String {
    let ours = json!({"tenant": "acme", "state_dir": dir});
    let config = json!({"url": url, "token": "sandbox-token", "concurrency": 1, "dripfeed": ours});
    let tap = Tap::new("read --source sandbox --streams tasks").config(&config);
    let tap = tap.env("DRIPFEED_PROTOCOL", protocol).env("DRIPFEED_TRACK", track);
    let ran = tap.env("DRIPFEED_NOW", "2026-06-01T00:00:00Z").run();
    // Log lines have times and durations in their texts; what they say of drift is in the drift files.
    let lines = ran.out.lines().filter(|line| !line.starts_with("{\"type\":\"LOG\""));
    let printed = lines.fold(String::new(), |all, line| all + line + "\n");
    let times = Regex::new(r#","time_extracted":"[^"]*"|,"emitted_at":\d+"#).unwrap();
    format!("exit code {}\n{}", ran.code, times.replace_all(&printed, ""))
}

/// The drift files and quarantined records of a state directory.
fn kept(dir: &Path) -> String {
    let mut out = String::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let shown = path.strip_prefix(dir).unwrap().display().to_string();
            if path.is_dir() {
                folders.push(path);
            } else if shown.contains("drift") || shown.contains("quarantine") {
                writeln!(out, "{shown}\n{}", String::from_utf8_lossy(&std::fs::read(&path).unwrap())).unwrap();
            }
        }
    }
    // Times and ids of runs.
    let own = Regex::new(r"\d{4}-\d\d-\d\dT[0-9:.]+Z|\d{8}T\d{6}Z[-0-9a-f]*").unwrap();
    own.replace_all(&out, "*").into_owned()
}

fn both_ways_are_the_same(protocol: &str) {
    let calm = Sandbox::with(&[]);
    let learned = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let first = ["on", "off"].map(|track| {
        let dir = learned[usize::from(track == "off")].path();
        read(&calm.url, dir, protocol, track) + &kept(dir)
    });
    assert_eq!(first[0], first[1]);
    for change in CHANGES {
        let vendor = Sandbox::with(&[&format!("{change}:every=7")]);
        let ways = ["on", "off"].map(|track| {
            let dir = tempfile::tempdir().unwrap();
            let before = learned[usize::from(track == "off")].path();
            let copied = Command::new("cp").arg("-a").arg(before.join(".")).arg(dir.path()).status().unwrap();
            assert!(copied.success());
            read(&vendor.url, dir.path(), protocol, track) + &kept(dir.path())
        });
        assert!(ways[0].lines().count() > 1, "{change}: {}", ways[0]);
        for (on, off) in ways[0].lines().zip(ways[1].lines()) {
            assert_eq!(on, off, "{change}");
        }
        assert_eq!(ways[0].lines().count(), ways[1].lines().count(), "{change}");
    }
}

#[test]
fn both_ways_are_the_same_in_singer() {
    both_ways_are_the_same("singer");
}

#[test]
fn both_ways_are_the_same_in_airbyte() {
    both_ways_are_the_same("airbyte");
}
