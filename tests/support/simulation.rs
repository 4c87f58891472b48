//! A simulation of runs that share an account: the real limiter, a virtual clock, a vendor that counts.
//!
//! Comes in: a [`Scene`] and a seed. Goes out: what the vendor and the runs saw. Called by `tests/pace/limiter.rs`,
//! which asserts, and by `benches/pace.rs`, which prints the table.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dripfeed::pace::clock::Clock;
use dripfeed::pace::limit::{Limit, Nanos, Unit};
use dripfeed::pace::limiter::{Admission, Limiter, Priority, Rules, Ticket};
use dripfeed::pace::store::MemoryLedger;

pub const SECOND: Nanos = 1_000_000_000;

/// A clock that stands until it is set.
#[derive(Clone, Default)]
pub struct Virtual(pub Arc<AtomicU64>);

impl Clock for Virtual {
    fn now(&self) -> Nanos {
        self.0.load(Ordering::Relaxed)
    }
}

/// How the vendor counts.
#[derive(Clone, Copy, Debug)]
pub enum Cap {
    /// A bucket: calls a second, and how many it holds.
    Bucket(f64, f64),
    /// A number of calls in any window of a number of seconds.
    Window(u64, u64),
}

/// How the runs pace themselves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Design {
    /// Runs wait only when the vendor asks for it.
    Free,
    /// Each has the cap for itself.
    Apart,
    /// One ledger, all of one priority.
    Equal,
    /// One ledger, priorities, and a floor for who yields.
    Shared(f64),
}

/// A run: when it begins, how many calls it has to make, who it is.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pub priority: Priority,
    pub begins: u64,
    pub calls: u64,
    pub workers: usize,
}

#[derive(Clone, Debug)]
pub struct Scene {
    pub cap: Cap,
    /// What the runs take for the cap; nothing when they know none.
    pub believed: Option<Cap>,
    pub design: Design,
    pub processes: Vec<Process>,
    pub seconds: u64,
    /// Median time of an answer.
    pub latency: f64,
    /// By how many seconds each way to the vendor and back is shorter or longer than half of that, evenly distributed.
    /// At 0, ways are log-normal.
    pub jitter: f64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub refused: u64,
    pub served: u64,
    /// Served calls over what the cap allows, from the first call to the last.
    pub used: f64,
    /// Seconds that each run took, if it came to its end.
    pub took: Vec<Option<f64>>,
    /// Calls of each run that were served.
    pub calls: Vec<u64>,
    /// When each served call came to the vendor.
    pub times: Vec<Nanos>,
}

/// Random numbers that a seed decides (splitmix64).
struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Log-normal around a median.
    fn latency(&mut self, median: f64) -> Nanos {
        let (a, b) = (self.unit().max(1e-12), self.unit());
        let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        (median * (0.35 * normal).exp() * 1e9) as Nanos
    }
}

struct Vendor {
    cap: Cap,
    tokens: f64,
    at: Nanos,
    recent: VecDeque<Nanos>,
}

impl Vendor {
    /// One that nobody called yet.
    fn new(cap: Cap) -> Vendor {
        let tokens = if let Cap::Bucket(_, holds) = cap { holds } else { 0.0 };
        Vendor { cap, tokens, at: 0, recent: VecDeque::new() }
    }

    /// Serves a call, or says how long to wait.
    fn serve(&mut self, now: Nanos) -> Result<(), Duration> {
        match self.cap {
            Cap::Bucket(rate, holds) => {
                self.tokens = (self.tokens + (now - self.at) as f64 / 1e9 * rate).min(holds);
                self.at = now;
                if self.tokens >= 1.0 {
                    self.tokens -= 1.0;
                    return Ok(());
                }
                Err(Duration::from_secs_f64(((1.0 - self.tokens) / rate).ceil()))
            }
            Cap::Window(calls, seconds) => {
                while self.recent.front().is_some_and(|t| t + seconds * SECOND <= now) {
                    self.recent.pop_front();
                }
                if (self.recent.len() as u64) < calls {
                    self.recent.push_back(now);
                    return Ok(());
                }
                let free = self.recent[0] + seconds * SECOND - now;
                Err(Duration::from_secs_f64((free as f64 / 1e9).ceil()))
            }
        }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A worker looks for its next call.
    Work,
    /// The run asks for a permit.
    Ask,
    /// The run's call reaches the vendor.
    Arrive,
    /// The response reaches the run.
    Back(bool, u64),
}

struct Worker {
    process: usize,
    ticket: Option<Ticket>,
    tries: u32,
    sent: Nanos,
}

type Pace = Limiter<Virtual, Arc<MemoryLedger>>;

pub fn rules(cap: Option<Cap>, floor: f64) -> Rules {
    let limit = cap.map(|cap| match cap {
        Cap::Bucket(rate, holds) => {
            Limit::bucket(Unit::Calls, (rate * 60.0) as u64, Duration::from_secs(60), holds as u64, 0.98)
        }
        Cap::Window(calls, seconds) => Limit::window(Unit::Calls, calls, Duration::from_secs(seconds), 0.98, 1),
    });
    let limits: Vec<_> = limit.into_iter().map(|l| ("cap".to_owned(), l)).collect();
    Rules { policies: vec![(0..limits.len()).collect()], limits, in_flight: None, floor }
}

/// Runs a scene.
pub fn run(scene: &Scene, seed: u64) -> Outcome {
    let mut simulation = Simulation::new(scene, seed);
    while let Some(Reverse((now, _, worker, event))) = simulation.events.pop() {
        if now > scene.seconds * SECOND {
            break;
        }
        simulation.now = now;
        simulation.clock.0.store(now, Ordering::Relaxed);
        match event {
            Event::Work => simulation.work(worker),
            Event::Ask => simulation.ask(worker),
            Event::Arrive => simulation.arrive(worker),
            Event::Back(true, _) => simulation.served(worker),
            Event::Back(false, wait) => simulation.refused(worker, wait),
        }
    }
    let mut out = simulation.out;
    let (Some(first), Some(last)) = (out.times.first(), out.times.last()) else { return out };
    let seconds = (last - first) as f64 / 1e9;
    let allowed = match scene.cap {
        Cap::Bucket(rate, holds) => holds + rate * seconds,
        Cap::Window(calls, per) => calls as f64 * (seconds / per as f64).max(1.0),
    };
    out.used = out.served as f64 / allowed;
    out
}

/// A scene while it runs.
struct Simulation<'s> {
    scene: &'s Scene,
    clock: Virtual,
    now: Nanos,
    dice: Dice,
    vendor: Vendor,
    /// What each process is paced by, if by anything.
    paces: Vec<Option<Pace>>,
    /// Calls that each process has not begun.
    left: Vec<u64>,
    /// Workers of each process that wait behind another one of it.
    parked: Vec<VecDeque<usize>>,
    workers: Vec<Worker>,
    /// What comes next: when, in which order at one time, and to which worker.
    events: BinaryHeap<Reverse<(Nanos, u64, usize, Event)>>,
    order: u64,
    out: Outcome,
}

impl<'s> Simulation<'s> {
    fn new(scene: &'s Scene, seed: u64) -> Simulation<'s> {
        let clock = Virtual::default();
        let count = scene.processes.len();
        let mut simulation = Simulation {
            scene,
            now: 0,
            dice: Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1),
            vendor: Vendor::new(scene.cap),
            paces: paces(scene, &clock),
            clock,
            left: scene.processes.iter().map(|process| process.calls).collect(),
            parked: vec![VecDeque::new(); count],
            workers: Vec::new(),
            events: BinaryHeap::new(),
            order: 0,
            out: Outcome { took: vec![None; count], calls: vec![0; count], ..Outcome::default() },
        };
        for (process, definition) in scene.processes.iter().enumerate() {
            for _ in 0..definition.workers {
                simulation.schedule(definition.begins * SECOND, simulation.workers.len(), Event::Work);
                simulation.workers.push(Worker { process, ticket: None, tries: 0, sent: 0 });
            }
        }
        simulation
    }

    fn schedule(&mut self, when: Nanos, worker: usize, event: Event) {
        self.order += 1;
        self.events.push(Reverse((when.max(self.now), self.order, worker, event)));
    }

    /// Half the way to the vendor and back.
    fn half_way(&mut self) -> Nanos {
        let Scene { latency, jitter, .. } = *self.scene;
        if jitter > 0.0 {
            return ((latency / 2.0 + (2.0 * self.dice.unit() - 1.0) * jitter).max(0.0) * 1e9) as Nanos;
        }
        self.dice.latency(latency) / 2
    }

    /// A worker looks for its next call, or tries the one again that was refused.
    fn work(&mut self, worker: usize) {
        let process = self.workers[worker].process;
        if self.workers[worker].tries == 0 {
            if self.left[process] == 0 {
                return;
            }
            self.left[process] -= 1;
        }
        if let Some(pace) = &self.paces[process] {
            self.workers[worker].ticket = Some(pace.ticket(Some(0), 1));
            self.schedule(self.now, worker, Event::Ask);
        } else {
            let arrival = self.now + self.half_way();
            self.schedule(arrival, worker, Event::Arrive);
        }
    }

    /// A worker asks its process's limiter whether it may go.
    fn ask(&mut self, worker: usize) {
        let process = self.workers[worker].process;
        let Some(mut ticket) = self.workers[worker].ticket.take() else { return };
        let Some(pace) = &self.paces[process] else { return };
        match pace.ask(&mut ticket) {
            Admission::Go => {
                self.workers[worker].sent = self.now;
                let arrival = self.now + self.half_way();
                self.schedule(arrival, worker, Event::Arrive);
                if let Some(other) = self.parked[process].pop_front() {
                    self.schedule(self.now, other, Event::Ask);
                }
                return;
            }
            Admission::Behind => self.parked[process].push_back(worker),
            Admission::Wait(until, _) => self.schedule(until.min(self.now + SECOND), worker, Event::Ask),
        }
        self.workers[worker].ticket = Some(ticket);
    }

    /// A call comes to the vendor, which serves or refuses it.
    fn arrive(&mut self, worker: usize) {
        let served = self.vendor.serve(self.now);
        let back = self.now + self.half_way();
        match served {
            Ok(()) => {
                self.out.served += 1;
                self.out.times.push(self.now);
                self.schedule(back, worker, Event::Back(true, 0));
            }
            Err(wait) => {
                self.out.refused += 1;
                self.schedule(back, worker, Event::Back(false, wait.as_nanos() as u64));
            }
        }
    }

    /// The answer of a served call comes back.
    fn served(&mut self, worker: usize) {
        let Worker { process, sent, .. } = self.workers[worker];
        self.workers[worker].tries = 0;
        self.out.calls[process] += 1;
        if let Some(pace) = &self.paces[process] {
            pace.answered(Some(0), sent, true, None);
        }
        let Process { begins, calls, .. } = self.scene.processes[process];
        if self.out.calls[process] == calls {
            self.out.took[process] = Some(self.now as f64 / 1e9 - begins as f64);
            if let Some(pace) = &self.paces[process] {
                pace.end();
            }
        }
        self.schedule(self.now, worker, Event::Work);
    }

    /// The refusal of a call comes back, with the time to wait for.
    fn refused(&mut self, worker: usize, wait: u64) {
        self.workers[worker].tries += 1;
        let Worker { process, tries, sent, .. } = self.workers[worker];
        let jitter = if self.paces[process].is_some() {
            0.1 * self.dice.unit() * wait as f64
        } else {
            self.dice.unit() * 1e9 * 2f64.powf(f64::from(tries.min(6)) - 1.0)
        };
        let wait = wait + jitter as Nanos;
        if let Some(pace) = &self.paces[process] {
            pace.answered(Some(0), sent, false, None);
            pace.limited(Some(0), Duration::from_nanos(wait));
        }
        self.schedule(self.now + wait, worker, Event::Work);
    }
}

/// The limiter of each process of a scene, by its design.
fn paces(scene: &Scene, clock: &Virtual) -> Vec<Option<Pace>> {
    let shared = Arc::new(MemoryLedger::default());
    let pace = |(id, process): (usize, &Process)| {
        let (floor, priority) = match scene.design {
            Design::Free => return None,
            Design::Shared(floor) => (floor, process.priority),
            Design::Apart | Design::Equal => (0.1, Priority::Daily),
        };
        let store = if scene.design == Design::Apart { Arc::new(MemoryLedger::default()) } else { shared.clone() };
        Some(Limiter::new(clock.clone(), store, rules(scene.believed, floor), id as u64 + 1, priority))
    };
    scene.processes.iter().enumerate().map(pace).collect()
}

/// The runs of the table: a daily one, an hourly one that comes later, and a backfill that does not end.
pub fn table() -> Vec<Process> {
    vec![
        Process { priority: Priority::Daily, begins: 0, calls: 300, workers: 8 },
        Process { priority: Priority::Hourly, begins: 300, calls: 60, workers: 8 },
        Process { priority: Priority::Backfill, begins: 0, calls: 20_000, workers: 8 },
    ]
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
