//! The lossless walk: random histories of a vendor that answers oddly, read in several runs until it is calm. The last
//! version of every record must have been sent by then.
//!
//! `WALK_SEEDS=100000 cargo test lossless_walk` walks more seeds, `WALK_SEED=n` one, with its log. Runs are calls of
//! the command line's own entry, several at once; they share a process of their own, as their logs go to stderr.

mod odd_vendor;
mod plan;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use dripfeed::base::stop::Stop;
use dripfeed::cli;
use serde_json::{Value as Json, json};

use self::odd_vendor::OddVendor;
use self::plan::Plan;
use crate::support::population::Dice;
use crate::support::vendor::Vendor;

const SEEDS: u64 = 2000;

/// Most runs wait rather than work.
const AT_ONCE: usize = 6;

/// The number of losses that are shown in full.
const SHOWN: usize = 3;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// What a run writes to stdout.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Reads once; gives the exit code and the messages.
fn run(folder: &Path, quiet: bool) -> (u8, Vec<Json>) {
    let path = |name: &str| folder.join(name).into_os_string();
    let mut args: Vec<OsString> = ["dripfeed", "read", "--source"].map(OsString::from).into();
    args.extend([path("manifest.yaml"), "--config".into(), path("config.json")]);
    if folder.join("state.json").exists() {
        args.extend(["--state".into(), path("state.json")]);
    }
    if quiet {
        args.push("--quiet".into());
    }
    let command = cli::parse(&args).unwrap();
    let written = Written::default();
    let code = cli::run(&command, None, &Arc::new(Stop::default()), Box::new(written.clone()), false);
    let bytes = std::mem::take(&mut *written.0.lock().unwrap());
    let text = String::from_utf8(bytes).unwrap();
    (code, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// Walks one history; gives what went wrong, with the history.
fn walk(seed: u64, quiet: bool) -> Result<(), String> {
    let mut dice = Dice(seed);
    let plan = Plan::draw(&mut dice);
    let vendor = Arc::new(Mutex::new(OddVendor::new(&plan, Dice(dice.below(u64::MAX)))));
    let answering = vendor.clone();
    let server = Vendor::answering(move |asked| answering.lock().unwrap().answer(asked));
    vendor.lock().unwrap().url.clone_from(&server.url);
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, json: &Json| std::fs::write(dir.path().join(name), json.to_string()).unwrap();
    write("manifest.yaml", &plan.manifest(&vendor.lock().unwrap().start()));
    write("config.json", &json!({"url": server.url}));
    let mut sent = BTreeSet::new();
    let mut code = 0;
    for number in 0..plan.runs + 2 {
        {
            let mut vendor = vendor.lock().unwrap();
            vendor.odd = number < plan.runs;
            let edits = if number <= plan.runs { dice.below(4) } else { 0 };
            for _ in 0..edits {
                vendor.edit();
            }
            let calm = if vendor.odd { "" } else { ", calm" };
            vendor.history.push(format!("run {number}{calm}"));
        }
        let (ended, messages) = run(dir.path(), quiet);
        code = ended;
        let mut state = None;
        for message in messages {
            if message["type"] == "RECORD" {
                let record = &message["record"];
                sent.insert((record["id"].as_str().unwrap().to_owned(), record["version"].as_u64().unwrap()));
            } else if message["type"] == "STATE" {
                state = Some(message["value"].clone());
            }
        }
        let shown = state.as_ref().map_or_else(String::new, |state| state["bookmarks"].to_string());
        vendor.lock().unwrap().history.push(format!("  ended with {code}, state {shown}"));
        if let Some(state) = state {
            write("state.json", &state);
        }
    }
    let vendor = vendor.lock().unwrap();
    let lost = vendor.visible().filter(|record| !sent.contains(&(record.id.clone(), record.version)));
    let mut wrong: Vec<String> = lost.map(|record| format!("lost: {} v{}", record.id, record.version)).collect();
    if code != 0 {
        wrong.push(format!("the second calm run ended with {code}"));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("WALK_SEED={seed}\n{}\n{plan:#?}\n{}", wrong.join("\n"), vendor.history.join("\n")))
}

/// Walks in this process, whose stderr is its own: run by the test below.
#[test]
#[ignore = "run by `no_history_loses_a_record`, in a process of its own"]
fn in_this_process() {
    let one = number("WALK_SEED");
    let first = one.unwrap_or_else(|| number("WALK_FIRST").unwrap_or(0));
    let seeds = if one.is_some() { 1 } else { number("WALK_SEEDS").unwrap_or(SEEDS) };
    let (next, wrong, began) = (AtomicU64::new(first), Mutex::new(Vec::new()), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    if let Err(text) = walk(seed, one.is_none()) {
                        wrong.lock().unwrap().push((seed, text));
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().unwrap();
    wrong.sort();
    let numbers: Vec<u64> = wrong.iter().map(|(seed, _)| *seed).collect();
    let texts: Vec<&str> = wrong.iter().take(SHOWN).map(|(_, text)| text.as_str()).collect();
    let mut out = std::io::stdout();
    let seconds = began.elapsed().as_secs_f64();
    writeln!(out, "{seeds} seeds in {seconds:.1} s, {} wrong: {numbers:?}\n{}", wrong.len(), texts.join("\n\n"))
        .unwrap();
    assert!(wrong.is_empty());
}

#[test]
fn no_history_loses_a_record() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "engine::lossless_walk::in_this_process", "--ignored", "--nocapture"]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DRIPFEED_")) {
        command.env_remove(name);
    }
    let one = number("WALK_SEED").is_some();
    let output = command.stderr(if one { Stdio::inherit() } else { Stdio::null() }).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    writeln!(std::io::stdout(), "{text}").unwrap();
    assert!(output.status.success(), "{text}");
}
