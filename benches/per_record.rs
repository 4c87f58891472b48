//! CPU per record, against downloading the same pages with ureq and dropping them.
//!
//! `cargo bench` starts a sandbox, then runs the two in turn, each in a process of its own, and prints the ratio of
//! their CPU times (user and system). Ratios of pairs are steadier than times: machines are shared.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

const TASKS: u64 = 200_000;
const PAIRS: usize = 7;

/// CPU time of the children that ended so far, in clock ticks of 10 ms (fields 16 and 17 of `/proc/self/stat`).
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[13].parse::<u64>().unwrap() + fields[14].parse::<u64>().unwrap()
}

fn cpu(command: &mut Command) -> u64 {
    let before = ticks();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success());
    ticks() - before
}

/// Downloads every page of tasks and drops it.
fn download(url: &str) {
    let agent = ureq::Agent::new_with_defaults();
    let mut after = 0;
    let mut body = Vec::new();
    while after < TASKS {
        let page = format!("{url}/tasks?limit=100&after={after}");
        let mut reply = agent.get(page).header("Authorization", "Bearer sandbox-token").call().unwrap();
        body.clear();
        reply.body_mut().as_reader().read_to_end(&mut body).unwrap();
        assert!(body.len() > 1000);
        after += 100;
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(url) = args.iter().skip_while(|a| *a != "download").nth(1) {
        return download(url);
    }
    let tap = env!("CARGO_BIN_EXE_dripfeed");
    let tasks = TASKS.to_string();
    let mut sandbox = Command::new(tap)
        .args(["sandbox", "-q", "--no-gzip", "--tasks", &tasks])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(sandbox.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
    let url = url.trim();
    let config = std::env::temp_dir().join(format!("dripfeed-bench-{}.json", std::process::id()));
    std::fs::write(&config, format!("{{\"url\": \"{url}\", \"token\": \"sandbox-token\"}}")).unwrap();
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        let base = cpu(Command::new(&args[0]).args(["download", url]));
        let ours = cpu(Command::new(tap)
            .args(["read", "-q", "--source", "sandbox", "--streams", "tasks", "--config"])
            .arg(&config));
        #[allow(clippy::cast_precision_loss)]
        pairs.push((ours as f64 / base as f64, base, ours));
    }
    let _ = sandbox.kill();
    let _ = sandbox.wait();
    let _ = std::fs::remove_file(&config);
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (ratio, base, ours) in &pairs {
        println!("download {} ms, read {} ms CPU: {ratio:.2}", base * 10, ours * 10);
    }
    println!(
        "median of {PAIRS} pairs, {TASKS} records: {:.2} times the CPU of downloading and dropping the same pages",
        pairs[PAIRS / 2].0
    );
}
