//! The pace in a simulation: the real limiter on a virtual clock, against vendors that count.
//!
//! `cargo bench --bench pace` prints what runs that share an account get under several designs: medians of ten seeds.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, unreachable_pub)]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

#[path = "../tests/support/simulation.rs"]
mod simulation;

use dripfeed::pace::limiter::Priority;
use simulation::{Cap, Design, Outcome, Process, Scene, median, run, table};

const SEEDS: u64 = 10;

fn outcomes(scene: &Scene) -> Vec<Outcome> {
    (1..=SEEDS).map(|seed| run(scene, seed)).collect()
}

fn line(name: &str, scene: &Scene) {
    let outcomes = outcomes(scene);
    let of = |f: &dyn Fn(&Outcome) -> f64| median(outcomes.iter().map(f).collect());
    let hours = scene.seconds as f64 / 3600.0;
    let took = |n: usize| {
        let times: Vec<f64> = outcomes.iter().filter_map(|o| o.took[n]).collect();
        if times.len() == outcomes.len() { format!("{:.0} s", median(times)) } else { "–".into() }
    };
    println!(
        "| {name} | {:.0} | {:.2} % | {:.1} % | {} | {} | {:.0} |",
        of(&|o| o.refused as f64 / hours),
        of(&|o| o.refused as f64 / (o.served + o.refused) as f64 * 100.0),
        of(&|o| o.used * 100.0),
        took(0),
        took(1),
        of(&|o| o.calls[2] as f64 / hours),
    );
}

/// Seconds that a run of the table takes when it is alone.
fn alone(cap: Cap, process: Process) -> f64 {
    let scene = Scene {
        cap,
        believed: Some(cap),
        design: Design::Shared(0.1),
        processes: vec![Process { begins: 0, ..process }],
        seconds: 7200,
        latency: 0.35,
        jitter: 0.0,
    };
    median(outcomes(&scene).iter().map(|o| o.took[0].unwrap()).collect())
}

/// Runs that always have work beside each other, 150 ms away with up to 50 ms more or less each way.
fn jittered(cap: Cap, processes: Vec<Process>) -> Vec<Outcome> {
    let (believed, design) = (Some(cap), Design::Shared(0.1));
    outcomes(&Scene { cap, believed, design, processes, seconds: 600, latency: 0.15, jitter: 0.05 })
}

/// Jitter of the network, which decides in windows of one second.
fn jitter() {
    println!("\n150 ms away, up to 50 ms more or less each way: share of the cap, and refused calls");
    println!("| cap | one process | four processes | an hourly run beside a backfill |\n|---|---|---|---|");
    let busy = Process { priority: Priority::Daily, begins: 0, calls: u64::MAX, workers: 64 };
    let hourly = Process { priority: Priority::Hourly, begins: 60, calls: 1500, workers: 32 };
    let backfill = Process { priority: Priority::Backfill, ..busy };
    let windows = [5, 10, 25, 50, 100, 200].map(|calls| (format!("{calls} in any second"), Cap::Window(calls, 1)));
    let buckets = [10.0, 25.0, 50.0, 100.0].map(|calls| (format!("a bucket of {calls}"), Cap::Bucket(calls, calls)));
    for (name, cap) in windows.into_iter().chain(buckets) {
        let cell = |processes| {
            let outcomes = jittered(cap, processes);
            let of = |f: &dyn Fn(&Outcome) -> f64| 100.0 * median(outcomes.iter().map(f).collect());
            let refused = |o: &Outcome| o.refused as f64 / (o.served + o.refused) as f64;
            format!("{:.1} %, {:.3} %", of(&|o| o.used), of(&refused))
        };
        let took = |processes| median(jittered(cap, processes).iter().map(|o| o.took[0].unwrap()).collect());
        let longer = took(vec![hourly, backfill]) / took(vec![hourly]);
        println!("| {name} | {} | {} | {longer:.2} times alone |", cell(vec![busy]), cell(vec![busy; 4]));
    }
}

fn main() {
    let designs = [
        ("no limiter, full jitter and Retry-After", Design::Free),
        ("a limiter for each process", Design::Apart),
        ("shared, first come first served", Design::Equal),
        ("shared, priorities, floor 0", Design::Shared(0.0)),
        ("shared, priorities, floor 10 % (dripfeed)", Design::Shared(0.1)),
        ("shared, priorities, floor 25 %", Design::Shared(0.25)),
        ("shared, priorities, floor 50 %", Design::Shared(0.5)),
    ];
    for (title, cap, scale) in [
        ("bucket of 10, 2 calls/s", Cap::Bucket(2.0, 10.0), 1),
        ("strict window, 120 calls in 60 s", Cap::Window(120, 60), 1),
        // Ten times as fast: ten times the work, and threads enough for the latency.
        ("strict window, 25 calls in 1 s", Cap::Window(25, 1), 10),
    ] {
        let scaled =
            |p: Process| Process { calls: p.calls * scale, workers: if scale > 1 { 24 } else { p.workers }, ..p };
        let processes: Vec<Process> = table().into_iter().map(scaled).collect();
        let (daily, hourly) = (alone(cap, processes[0]), alone(cap, processes[1]));
        println!("\n{title}; alone: daily {daily:.0} s, hourly {hourly:.0} s");
        println!(
            "| design | 429/h | of calls | cap use | daily | hourly | backfill calls/h |\n|---|---|---|---|---|---|---|"
        );
        for (name, design) in designs {
            let scene = Scene {
                cap,
                believed: Some(cap),
                design,
                processes: processes.clone(),
                seconds: 3600,
                latency: 0.35,
                jitter: 0.0,
            };
            line(name, &scene);
        }
        let half = match cap {
            Cap::Bucket(rate, holds) => Cap::Bucket(rate / 2.0, holds),
            Cap::Window(calls, per) => Cap::Window(calls / 2, per),
        };
        for (name, cap, believed) in [("cap halved, nobody said so", half, Some(cap)), ("cap not known", cap, None)] {
            let scene = Scene {
                cap,
                believed,
                design: Design::Shared(0.1),
                processes: processes.clone(),
                seconds: 3600,
                latency: 0.35,
                jitter: 0.0,
            };
            line(name, &scene);
        }
    }
    jitter();
}
