//! The pace in a simulation: the real limiter on a virtual clock, against vendors that count.
//!
//! `cargo bench --bench pace` prints what runs that share an account get under several designs: medians of ten seeds.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, unreachable_pub)]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

#[path = "../tests/support/simulation.rs"]
mod simulation;

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
    };
    median(outcomes(&scene).iter().map(|o| o.took[0].unwrap()).collect())
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
            let scene =
                Scene { cap, believed: Some(cap), design, processes: processes.clone(), seconds: 3600, latency: 0.35 };
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
            };
            line(name, &scene);
        }
    }
}
