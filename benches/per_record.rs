//! CPU per record, against downloading the same pages with ureq and dropping them; and what the watch for drift adds.
//!
//! `cargo bench` starts a sandbox, first without gzip and then with it. Against each it runs in turn a download, a read
//! that does not look for drift and one that does, in a process of its own. It prints the ratios of their CPU times
//! (user and system). Ratios within a round are steadier than times: machines are shared.
#![allow(clippy::print_stdout, missing_docs)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

const TASKS: u64 = 200_000;
const PAIRS: usize = 7;

/// CPU time of the children that ended so far, in clock ticks of 10 ms (fields 16 and 17 of `/proc/self/stat`).
fn ticks() -> Result<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("this bench needs Linux's /proc")?;
    let fields: Vec<&str> = stat.rsplit_once(") ").context("/proc/self/stat has another form")?.1.split(' ').collect();
    Ok(fields[13].parse::<u64>()? + fields[14].parse::<u64>()?)
}

fn cpu(command: &mut Command) -> Result<u64> {
    let before = ticks()?;
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(ticks()? - before)
}

/// Downloads every page of tasks and drops it.
fn download(url: &str) -> Result<()> {
    let agent = ureq::Agent::new_with_defaults();
    let mut after = 0;
    let mut body = Vec::new();
    while after < TASKS {
        let page = format!("{url}/tasks?limit=100&after={after}");
        let mut reply = agent
            .get(page)
            .header("Authorization", "Bearer sandbox-token")
            .call()
            .context("the sandbox does not answer")?;
        body.clear();
        reply.body_mut().as_reader().read_to_end(&mut body)?;
        ensure!(body.len() > 1000, "a page of {} bytes", body.len());
        after += 100;
    }
    Ok(())
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    if let Some(url) = args.iter().skip_while(|a| *a != "download").nth(1) {
        return download(url);
    }
    measure(&args[0], "plain", &["--no-gzip"])?;
    measure(&args[0], "gzip", &[])
}

/// Prints the ratios against a sandbox with these options.
fn measure(bench: &str, name: &str, options: &[&str]) -> Result<()> {
    let tap = env!("CARGO_BIN_EXE_dripfeed");
    let tasks = TASKS.to_string();
    let mut sandbox = Command::new(tap)
        .args(["sandbox", "-q", "--tasks", &tasks])
        .args(options)
        .stdout(Stdio::piped())
        .spawn()
        .context("the sandbox does not start")?;
    let mut url = String::new();
    BufReader::new(sandbox.stdout.as_mut().context("the sandbox has no stdout")?).read_line(&mut url)?;
    let url = url.trim();
    let folder = std::env::temp_dir();
    let config = |off: bool| -> Result<std::path::PathBuf> {
        let path = folder.join(format!("dripfeed-bench-{}-{off}.json", std::process::id()));
        let ours = format!("{{\"drift\": {{\"off\": {off}}}}}");
        std::fs::write(&path, format!("{{\"url\": \"{url}\", \"token\": \"sandbox-token\", \"dripfeed\": {ours}}}"))?;
        Ok(path)
    };
    let configs = [config(true)?, config(false)?];
    let read = |config: &std::path::Path| {
        cpu(Command::new(tap).args(["read", "-q", "--source", "sandbox", "--streams", "tasks", "--config"]).arg(config))
    };
    let mut rounds = Vec::new();
    for _ in 0..PAIRS {
        let base = cpu(Command::new(bench).args(["download", url]))?;
        let [blind, watching] = [read(&configs[0])?, read(&configs[1])?];
        rounds.push((base, blind, watching));
    }
    let _ = sandbox.kill();
    let _ = sandbox.wait();
    for config in &configs {
        let _ = std::fs::remove_file(config);
    }
    for (base, blind, watching) in &rounds {
        println!("{name}: download {} ms, read {} ms, with drift {} ms of CPU", base * 10, blind * 10, watching * 10);
    }
    #[allow(clippy::cast_precision_loss)]
    let median = |ratio: &dyn Fn(&(u64, u64, u64)) -> f64| {
        let mut ratios: Vec<f64> = rounds.iter().map(ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios[PAIRS / 2]
    };
    #[allow(clippy::cast_precision_loss)]
    let (all, drift) =
        (median(&|(base, _, watching)| *watching as f64 / *base as f64), median(&|(_, b, w)| *w as f64 / *b as f64));
    println!("{name}, median of {PAIRS} rounds, {TASKS} records: {all:.2} times the CPU of downloading the pages");
    println!(
        "{name}, median of {PAIRS} rounds: the watch for drift takes {drift:.2} times the CPU of a read without it"
    );
    Ok(())
}
