//! The limiter: what it promises for any order of events, on a virtual clock; and its ledger in a file, whatever
//! happens to the file.
#![allow(clippy::cast_precision_loss)]

use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dripfeed::pace::clock::{BootTime, Clock as _};
use dripfeed::pace::feedback::Cost;
use dripfeed::pace::ledger::{LEASE, Ledger, Member, Moment, Quota, Unreadable};
use dripfeed::pace::limit::{Limit, Nanos, Unit};
use dripfeed::pace::limiter::{Admission, Limiter, Priority, Rules, Ticket, WaitReason};
use dripfeed::pace::store::{LedgerStore, MemoryLedger, SharedLedger};
use proptest::prelude::*;

use crate::support::simulation::{Cap, Design, Outcome, Process, SECOND, Scene, Virtual, run, table};

fn one(limit: Limit) -> Rules {
    Rules { limits: vec![("it".into(), limit)], policies: vec![vec![0]], in_flight: None, floor: 0.1 }
}

/// No rate, and perhaps a most of calls under way.
fn without_rate(in_flight: Option<u64>) -> Rules {
    Rules { policies: vec![vec![]], in_flight, floor: 0.1, ..Rules::default() }
}

fn scene(cap: Cap, design: Design) -> Scene {
    Scene { cap, believed: Some(cap), design, processes: table(), seconds: 1800, latency: 0.35, jitter: 0.0 }
}

/// Times at which calls go when each waits for its turn, after pauses in milliseconds.
fn turns(limit: Limit, count: usize, pauses: &[u64]) -> Vec<Nanos> {
    let clock = Virtual::default();
    let limiter = Limiter::new(clock.clone(), MemoryLedger::default(), one(limit), 1, Priority::Hourly);
    let mut out = Vec::new();
    for i in 0..count {
        clock.0.fetch_add(pauses.get(i).copied().unwrap_or(0) * 1_000_000, Ordering::Relaxed);
        let mut ticket = limiter.ticket(Some(0), 1);
        while let Admission::Wait(until, _) = limiter.ask(&mut ticket) {
            clock.0.store(until, Ordering::Relaxed);
        }
        out.push(clock.now());
        limiter.answered(Some(0), clock.now(), true, None);
    }
    out
}

fn most_within(times: &[Nanos], window: Nanos) -> usize {
    (0..times.len()).map(|i| times[i..].iter().take_while(|t| **t < times[i] + window).count()).max().unwrap_or(0)
}

proptest! {
    /// Calls of any weight up to the heaviest that was told.
    #[test]
    fn no_window_holds_more_weight_than_the_limit(
        calls in 10u64..400, seconds in 1u64..60, weights in prop::collection::vec(1u32..9, 50..300)
    ) {
        let clock = Virtual::default();
        let limit = Limit::window(Unit::Calls, calls, Duration::from_secs(seconds), 0.98, 8);
        let limiter = Limiter::new(clock.clone(), MemoryLedger::default(), one(limit), 1, Priority::Hourly);
        let mut times: Vec<(Nanos, u64)> = Vec::new();
        for weight in weights {
            let mut ticket = limiter.ticket(Some(0), weight);
            while let Admission::Wait(until, _) = limiter.ask(&mut ticket) {
                clock.0.store(until, Ordering::Relaxed);
            }
            times.push((clock.now(), weight.into()));
        }
        for (i, (first, _)) in times.iter().enumerate() {
            let window = times[i..].iter().take_while(|(t, _)| *t < first + seconds * SECOND);
            let inside: u64 = window.map(|(_, w)| w).sum();
            prop_assert!(inside <= calls, "{inside} of {calls}");
        }
    }

    #[test]
    fn no_window_holds_more_calls_than_the_limit(
        calls in 1u64..400, seconds in 1u64..120, pauses in prop::collection::vec(0u64..20_000, 0..300)
    ) {
        let per = Duration::from_secs(seconds);
        let times = turns(Limit::window(Unit::Calls, calls, per, 0.98, 1), 900, &pauses);
        let most = most_within(&times, seconds * SECOND) as u64;
        prop_assert!(most <= calls, "{most} of {calls}");
    }

    #[test]
    fn who_always_asks_gets_nearly_all_of_a_limit(calls in 20u64..400, seconds in 1u64..120) {
        let per = Duration::from_secs(seconds);
        let times = turns(Limit::window(Unit::Calls, calls, per, 0.98, 1), usize::try_from(calls * 4).unwrap(), &[]);
        prop_assert!(*times.last().unwrap() < seconds * SECOND * 40 / 9, "{:?}", times.last());
    }

    /// Processes of any priority, with any number of threads, in any order of asking, some of which die with their
    /// place: no window holds more than the limit, a bucket is never overdrawn, and everybody gets something.
    #[test]
    fn the_promise_holds_for_any_interleaving(
        bucket in any::<bool>(),
        calls in 5u64..200,
        seconds in 1u64..30,
        who in prop::collection::vec((0u8..3, 1usize..6), 2..5),
        moves in prop::collection::vec((any::<prop::sample::Index>(), 0u64..400, 0u8..20), 200..800),
    ) {
        let clock = Virtual::default();
        let store = Arc::new(MemoryLedger::default());
        let per = Duration::from_secs(seconds);
        let limit = if bucket {
            Limit::bucket(Unit::Calls, calls, per, calls, 0.98)
        } else {
            Limit::window(Unit::Calls, calls, per, 0.98, 1)
        };
        let limiters: Vec<_> = who.iter().enumerate().map(|(id, (priority, _))| {
            let priority = [Priority::Backfill, Priority::Daily, Priority::Hourly][usize::from(*priority)];
            Limiter::new(clock.clone(), store.clone(), one(limit.clone()), id as u64 + 1, priority)
        }).collect();
        let mut rows: Vec<VecDeque<Ticket>> = limiters.iter().zip(&who)
            .map(|(limiter, (_, threads))| (0..*threads).map(|_| limiter.ticket(Some(0), 1)).collect()).collect();
        let mut times = Vec::new();
        for (at, pause, luck) in moves {
            clock.0.fetch_add(pause * 1_000_000, Ordering::Relaxed);
            let at = at.index(limiters.len());
            let (limiter, row) = (&limiters[at], &mut rows[at]);
            let Some(mut ticket) = row.pop_front() else { continue };
            if luck == 0 {
                // It goes away, and another comes.
                limiter.leave(&ticket);
                row.push_back(limiter.ticket(Some(0), 1));
                continue;
            }
            match limiter.ask(&mut ticket) {
                Admission::Go => {
                    times.push(clock.now());
                    limiter.answered(Some(0), clock.now(), true, None);
                    row.push_back(limiter.ticket(Some(0), 1));
                }
                Admission::Behind => prop_assert!(false, "the first of a row is not behind"),
                Admission::Wait(until, _) => {
                    prop_assert!(until > clock.now());
                    row.push_front(ticket);
                }
            }
        }
        for (i, first) in times.iter().enumerate() {
            for (n, last) in times[i..].iter().enumerate() {
                let allowed = if bucket {
                    calls as f64 + (last - first) as f64 / 1e9 * calls as f64 / seconds as f64
                } else if last - first < seconds * SECOND {
                    calls as f64
                } else {
                    continue;
                };
                prop_assert!((n + 1) as f64 <= allowed + 1e-6, "{} of {allowed}", n + 1);
            }
        }
    }

    /// A reserved time does not move while nothing is held: waits are monotone.
    #[test]
    fn a_reserved_time_stays(
        calls in 1u64..50,
        before in 0usize..60,
        steps in prop::collection::vec(1u64..500, 1..40),
    ) {
        let clock = Virtual::default();
        let limit = one(Limit::window(Unit::Calls, calls, Duration::from_secs(60), 0.98, 1));
        let limiter = Limiter::new(clock.clone(), MemoryLedger::default(), limit, 1, Priority::Daily);
        for _ in 0..before {
            let mut ticket = limiter.ticket(Some(0), 1);
            while let Admission::Wait(until, _) = limiter.ask(&mut ticket) {
                clock.0.store(until, Ordering::Relaxed);
            }
        }
        let mut ticket = limiter.ticket(Some(0), 1);
        let Admission::Wait(promised, why) = limiter.ask(&mut ticket) else { return Ok(()) };
        prop_assert_eq!(why, WaitReason::Pace);
        for step in steps {
            clock.0.fetch_add(step * 1_000_000, Ordering::Relaxed);
            match limiter.ask(&mut ticket) {
                Admission::Go => {
                    prop_assert!(clock.now() >= promised);
                    return Ok(());
                }
                answer => prop_assert_eq!(answer, Admission::Wait(promised, WaitReason::Pace)),
            }
        }
    }

    /// What a ledger writes it reads; a byte that changed is seen.
    #[test]
    fn a_ledger_reads_what_it_writes_and_nothing_else(
        hold in any::<u32>(),
        limits in prop::collection::btree_map("[a-z ]{1,12}", any::<u32>(), 0..5),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let limits = limits.into_iter().map(|(k, v)| (k, Nanos::from(v))).collect();
        let ledger = Ledger { hold: hold.into(), limits, ..Ledger::default() };
        let moment = Moment { boot: "b", now: 1 << 40, wall: 0 };
        let mut bytes = ledger.encode(moment);
        prop_assert_eq!(Ledger::decode(&bytes, moment), Ok((ledger.clone(), 1 << 40)));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        // What changed is blank, or found out.
        if let Ok((read, _)) = Ledger::decode(&bytes, moment) {
            prop_assert_eq!(&read, &ledger);
        }
        bytes.truncate(at);
        prop_assert!(Ledger::decode(&bytes, moment).map_or(true, |(read, _)| read == ledger));
    }
}

#[test]
fn a_bucket_gives_its_burst_and_then_its_rate() {
    let times = turns(Limit::bucket(Unit::Calls, 60, Duration::from_secs(60), 10, 1.0), 12, &[]);
    assert_eq!(times[9], 0);
    assert_eq!(times[11], 2 * SECOND);
}

#[test]
fn a_call_that_costs_more_than_the_burst_waits_for_an_empty_limit() {
    let limit = Limit::bucket(Unit::Calls, 1, Duration::from_secs(1), 2, 1.0);
    let free_at = limit.taken(0, 1.0, 0);
    assert_eq!(limit.earliest(free_at, 5.0, 0.0, 0), SECOND + 3 * SECOND, "and for what the burst lacks");
}

#[test]
fn the_table_of_runs_that_share_an_account() {
    for cap in [Cap::Bucket(2.0, 10.0), Cap::Window(120, 60)] {
        let alone = |which: usize| {
            let only =
                Scene { processes: vec![Process { begins: 0, ..table()[which] }], ..scene(cap, Design::Shared(0.1)) };
            run(&only, 1).took[0].unwrap()
        };
        let (daily, hourly) = (alone(0), alone(1));
        for seed in 1..=10 {
            let out = run(&scene(cap, Design::Shared(0.1)), seed);
            let (most, least) = if matches!(cap, Cap::Bucket(..)) { (0.0, 0.97) } else { (0.005, 0.9) };
            let refused = out.refused as f64 / (out.served + out.refused) as f64;
            assert!(refused <= most && out.used >= least, "{cap:?}: {refused} refused, {} used", out.used);
            let (d, h) = (out.took[0].unwrap() / daily, out.took[1].unwrap() / hourly);
            assert!(d <= 1.2 && h <= 1.3, "{cap:?}: daily {d}, hourly {h}");
            // Whoever yields is not starved: it gets its floor while the others run, and all the rest.
            let backfill = out.calls[2] as f64 / out.served as f64;
            assert!(backfill > 0.8, "{backfill}");
        }
    }
}

#[test]
fn a_cap_that_was_cut_in_silence_is_found() {
    for (cap, real) in [(Cap::Bucket(2.0, 10.0), Cap::Bucket(1.0, 10.0)), (Cap::Window(120, 60), Cap::Window(60, 60))] {
        for seed in 1..=10 {
            let halved = Scene { cap: real, believed: Some(cap), seconds: 3600, ..scene(cap, Design::Shared(0.1)) };
            let out = run(&halved, seed);
            assert!(out.refused < 25 && out.used > 0.85, "{real:?}: {} refused, {} used", out.refused, out.used);
        }
    }
}

#[test]
fn a_cap_that_nobody_told_is_found() {
    for seed in 1..=5 {
        let unknown = Scene { believed: None, ..scene(Cap::Window(120, 60), Design::Shared(0.1)) };
        let out = run(&unknown, seed);
        assert!(out.refused < 60 && out.used > 0.8, "{} refused, {} used", out.refused, out.used);
    }
}

/// Runs that always have work, 150 ms away with up to 50 ms more or less each way.
fn jittered(cap: Cap, processes: Vec<Process>, seed: u64) -> Outcome {
    let rate = if let Cap::Window(calls, _) = cap { calls } else { 50 };
    let scene = scene(cap, Design::Shared(0.1));
    run(&Scene { processes, seconds: 6000 / rate, latency: 0.15, jitter: 0.05, ..scene }, seed)
}

#[test]
fn jitter_costs_little_of_a_window_of_one_second() {
    let busy = Process { priority: Priority::Daily, begins: 0, calls: u64::MAX, workers: 64 };
    let windows = [10, 25, 50, 100].map(|calls| (Cap::Window(calls, 1), 0.92, 0.002));
    let buckets = [10.0, 100.0].map(|calls| (Cap::Bucket(calls, calls), 0.97, 0.0));
    for (cap, least, most) in windows.into_iter().chain(buckets) {
        for processes in [vec![busy], vec![busy; 4]] {
            let out = jittered(cap, processes, 2);
            let refused = out.refused as f64 / (out.served + out.refused) as f64;
            assert!(out.used >= least && refused <= most, "{cap:?}: {} used, {refused} refused", out.used);
        }
    }
}

#[test]
fn jitter_does_not_slow_the_hourly_run_beside_a_backfill() {
    let hourly = Process { priority: Priority::Hourly, begins: 10, calls: 400, workers: 24 };
    let backfill = Process { priority: Priority::Backfill, begins: 0, calls: u64::MAX, workers: 24 };
    for calls in [10, 25, 100] {
        let took = |processes| jittered(Cap::Window(calls, 1), processes, 1).took[0].unwrap();
        let (alone, beside) = (took(vec![hourly]), took(vec![hourly, backfill]));
        assert!(beside <= 1.2 * alone, "{calls} in 1 s: {beside} s, alone {alone} s");
    }
}

#[test]
fn a_429_is_jitter_until_it_repeats() {
    let clock = Virtual::default();
    let limit = Limit::window(Unit::Calls, 25, Duration::from_secs(1), 0.98, 1);
    let new = || Limiter::new(clock.clone(), MemoryLedger::default(), one(limit.clone()), 1, Priority::Daily);
    let limiter = new();
    let rate = |limiter: &Limiter<_, _>| limiter.current_rate().unwrap() / limit.rate();
    let limited = |limiter: &Limiter<_, MemoryLedger>| limiter.limited(Some(0), Duration::from_secs(1));
    limited(&limiter);
    // The rest of the same moment is no other event.
    limited(&limiter);
    assert!((0.96..0.98).contains(&rate(&limiter)), "{}", rate(&limiter));
    clock.0.fetch_add(31 * SECOND, Ordering::Relaxed);
    assert!((0.98..0.99).contains(&rate(&limiter)), "{}", rate(&limiter));
    clock.0.fetch_add(31 * SECOND, Ordering::Relaxed);
    assert!(rate(&limiter) > 0.9999, "it is back within a minute");
    for _ in 0..3 {
        assert!(rate(&limiter) > 0.9);
        limited(&limiter);
        clock.0.fetch_add(5 * SECOND, Ordering::Relaxed);
    }
    assert!(rate(&limiter) < 0.75, "three within a minute: the limit is lower");
    // So it is if the vendor says so, or requests a wait that no kept limit explains.
    let limiter = new();
    limiter.named_limit(Some(0), 25);
    assert!(rate(&limiter) > 0.9999);
    limiter.named_limit(Some(0), 12);
    assert!(rate(&limiter) < 0.75);
    let limiter = new();
    limiter.limited(Some(0), Duration::from_secs(10));
    assert!(rate(&limiter) < 0.75);
}

#[test]
fn equals_get_equal_parts() {
    // One has eight threads, the other two: a process is a process.
    let process = |workers| Process { priority: Priority::Daily, begins: 0, calls: 10_000, workers };
    let equals = Scene {
        processes: vec![process(8), process(2), process(4)],
        ..scene(Cap::Bucket(2.0, 10.0), Design::Shared(0.1))
    };
    let out = run(&equals, 3);
    let calls: Vec<f64> = out.calls.iter().map(|c| *c as f64).collect();
    let jain = calls.iter().sum::<f64>().powi(2) / (calls.len() as f64 * calls.iter().map(|c| c * c).sum::<f64>());
    assert!(jain >= 0.98, "{calls:?}");
}

#[test]
fn what_others_do_not_need_is_for_who_yields() {
    // The hourly run asks one call after the other, far below the cap; the backfill takes the rest, and it hardly
    // notices.
    let cap = Cap::Bucket(25.0, 25.0);
    let hourly = Process { priority: Priority::Hourly, begins: 60, calls: 200, workers: 1 };
    let backfill = Process { priority: Priority::Backfill, begins: 0, calls: 1_000_000, workers: 16 };
    let of = |processes| run(&Scene { processes, seconds: 300, ..scene(cap, Design::Shared(0.1)) }, 1);
    let (alone, beside) = (of(vec![hourly]), of(vec![hourly, backfill]));
    assert!(beside.used > 0.95, "{}", beside.used);
    assert!(beside.took[0].unwrap() < 1.1 * alone.took[0].unwrap(), "{:?} {:?}", beside.took, alone.took);
}

/// Asks for a call that goes away when it may not go.
fn try_one<S: LedgerStore>(limiter: &Limiter<Virtual, S>) -> Admission {
    let mut ticket = limiter.ticket(Some(0), 1);
    let answer = limiter.ask(&mut ticket);
    limiter.leave(&ticket);
    answer
}

/// A limiter over a shared ledger.
fn member(
    clock: &Virtual,
    store: &Arc<MemoryLedger>,
    id: u64,
    priority: Priority,
) -> Limiter<Virtual, Arc<MemoryLedger>> {
    Limiter::new(
        clock.clone(),
        store.clone(),
        one(Limit::bucket(Unit::Calls, 1, Duration::from_secs(1), 1, 1.0)),
        id,
        priority,
    )
}

#[test]
fn a_run_that_dies_is_not_waited_for() {
    let (clock, store) = (Virtual::default(), Arc::new(MemoryLedger::default()));
    let (dead, other) = (member(&clock, &store, 1, Priority::Hourly), member(&clock, &store, 2, Priority::Backfill));
    assert_eq!(dead.ask(&mut dead.ticket(Some(0), 1)), Admission::Go);
    let mut reserved = dead.ticket(Some(0), 1);
    assert!(matches!(dead.ask(&mut reserved), Admission::Wait(..)));
    // It dies here, with a place in the row and a call under way.
    clock.0.store(2 * SECOND, Ordering::Relaxed);
    let mut ticket = other.ticket(Some(0), 1);
    // The floor's turn was never used: it may go once.
    assert_eq!(other.ask(&mut ticket), Admission::Go);
    clock.0.store(4 * SECOND, Ordering::Relaxed);
    let mut ticket = other.ticket(Some(0), 1);
    assert!(
        matches!(other.ask(&mut ticket), Admission::Wait(_, WaitReason::Yield)),
        "the other is thought to wait still"
    );
    clock.0.store(LEASE + SECOND, Ordering::Relaxed);
    assert_eq!(other.ask(&mut ticket), Admission::Go);
}

#[test]
fn a_429_holds_all_and_what_was_reserved_is_void() {
    let (clock, store) = (Virtual::default(), Arc::new(MemoryLedger::default()));
    let (a, b) = (member(&clock, &store, 1, Priority::Daily), member(&clock, &store, 2, Priority::Hourly));
    assert_eq!(a.ask(&mut a.ticket(Some(0), 1)), Admission::Go);
    let mut reserved = a.ticket(Some(0), 1);
    assert_eq!(a.ask(&mut reserved), Admission::Wait(SECOND, WaitReason::Pace));
    b.limited(Some(0), Duration::from_secs(30));
    clock.0.store(SECOND, Ordering::Relaxed);
    assert_eq!(a.ask(&mut reserved), Admission::Wait(30 * SECOND, WaitReason::Held));
    assert_eq!(b.ask(&mut b.ticket(Some(0), 1)), Admission::Wait(30 * SECOND, WaitReason::Held));
    assert!(a.current_rate().unwrap() < 0.75, "it goes on slower");
}

#[test]
fn what_the_vendor_says_is_left_holds_for_all_and_can_only_slow_down() {
    let (clock, store) = (Virtual::default(), Arc::new(MemoryLedger::default()));
    let rules = || without_rate(None);
    let a = Limiter::new(clock.clone(), store.clone(), rules(), 1, Priority::Daily);
    let b = Limiter::new(clock.clone(), store.clone(), rules(), 2, Priority::Daily);
    let go = |limiter: &Limiter<Virtual, Arc<MemoryLedger>>| try_one(limiter);
    assert_eq!((go(&a), go(&a), go(&b)), (Admission::Go, Admission::Go, Admission::Go));
    // One answer: three are left, two are under way.
    a.answered(Some(0), 0, true, Some((3, Duration::from_secs(10))));
    assert_eq!(go(&b), Admission::Go);
    assert!(matches!(go(&a), Admission::Wait(_, WaitReason::Quota)), "three under way may be the three that are left");
    // An answer to an older request that says more is older news.
    clock.0.store(SECOND, Ordering::Relaxed);
    b.answered(Some(0), 0, true, Some((2, Duration::from_secs(9))));
    b.answered(Some(0), 0, true, Some((5, Duration::from_secs(9))));
    store.update(&clock, |ledger, _| assert_eq!(ledger.quota.as_ref().map(|q| q.left), Some(2)));
    a.answered(Some(0), 0, true, Some((0, Duration::from_secs(9))));
    assert_eq!(go(&a), Admission::Wait(10 * SECOND, WaitReason::Quota));
    clock.0.store(10 * SECOND, Ordering::Relaxed);
    assert_eq!(go(&b), Admission::Go);
}

#[test]
fn points_are_guessed_and_then_set_right() {
    let clock = Virtual::default();
    let rules = one(Limit::bucket(Unit::Points, 50, Duration::from_secs(1), 1000, 1.0));
    let limiter = Limiter::new(clock.clone(), MemoryLedger::default(), rules, 1, Priority::Hourly);
    let go = || try_one(&limiter);
    assert_eq!(go(), Admission::Go);
    // It cost 400 of 1,000: two more of the kind can go at once, the third waits for its points.
    limiter.cost(Some(0), 1, 1.0, Cost { cost: Some(400.0), left: Some(600.0) });
    assert_eq!(go(), Admission::Go);
    assert_eq!(go(), Admission::Wait(4 * SECOND, WaitReason::Pace));
    // The vendor says that less is left than we think: it is believed. More: it is not.
    limiter.cost(Some(0), 1, 0.0, Cost { cost: None, left: Some(0.0) });
    let Admission::Wait(until, WaitReason::Pace) = go() else { panic!("nothing is left") };
    assert!(until >= 8 * SECOND, "{until}");
    limiter.cost(Some(0), 1, 0.0, Cost { cost: None, left: Some(1000.0) });
    assert!(matches!(go(), Admission::Wait(..)));
}

#[test]
fn calls_under_way_are_limited_over_all_processes() {
    let (clock, store) = (Virtual::default(), Arc::new(MemoryLedger::default()));
    let rules = || without_rate(Some(2));
    let a = Limiter::new(clock.clone(), store.clone(), rules(), 1, Priority::Daily);
    let b = Limiter::new(clock.clone(), store.clone(), rules(), 2, Priority::Daily);
    let mut third = a.ticket(Some(0), 1);
    assert_eq!(a.ask(&mut third), Admission::Go);
    assert_eq!(b.ask(&mut b.ticket(Some(0), 1)), Admission::Go);
    let mut waits = b.ticket(Some(0), 1);
    assert!(matches!(b.ask(&mut waits), Admission::Wait(_, WaitReason::InFlight)));
    a.answered(Some(0), 0, true, None);
    assert_eq!(b.ask(&mut waits), Admission::Go);
}

/// A ledger in a file, and what it had to say.
fn shared(path: &Path) -> (SharedLedger, Arc<Mutex<Vec<String>>>) {
    let said = Arc::new(Mutex::new(Vec::new()));
    let hears = said.clone();
    (SharedLedger::new(path, Box::new(move |notice| hears.lock().unwrap().push(notice.to_owned()))), said)
}

/// How many calls a process gets at once from a limit of ten.
fn at_once(store: &SharedLedger) -> usize {
    let rules = one(Limit::bucket(Unit::Calls, 10, Duration::from_secs(3600), 10, 1.0));
    let limiter = Limiter::new(BootTime, store, rules, 7, Priority::Hourly);
    (0..20)
        .take_while(|_| {
            let mut ticket = limiter.ticket(Some(0), 1);
            let went = limiter.ask(&mut ticket) == Admission::Go;
            limiter.leave(&ticket);
            went
        })
        .count()
}

#[test]
fn a_ledger_is_shared_kept_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pace").join("x.ledger");
    let ((a, said), (b, _)) = (shared(&path), shared(&path));
    assert_eq!(at_once(&a), 10);
    assert_eq!(at_once(&b), 0, "another process has none of its own");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("dripfeed-ledger 1 "));
    assert!(said.lock().unwrap().is_empty());
    // Taken away while it is in use, it is made again.
    std::fs::remove_file(&path).unwrap();
    assert_eq!((at_once(&a), at_once(&b)), (10, 0));
}

#[test]
fn a_torn_ledger_gives_nothing_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.ledger");
    assert_eq!(at_once(&shared(&path).0), 10);
    let whole = std::fs::read(&path).unwrap();
    for bytes in [&whole[..20], &whole[..100], &[0xff; 100][..], b"dripfeed-ledger 1 99999 0\nx"] {
        std::fs::write(&path, bytes).unwrap();
        let (store, said) = shared(&path);
        assert_eq!(at_once(&store), 0, "what was taken is not known");
        assert!(said.lock().unwrap()[0].contains("damaged"), "{said:?}");
        assert_eq!(at_once(&shared(&path).0), 0);
    }
}

#[test]
fn a_ledger_of_another_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.ledger");
    std::fs::write(&path, "dripfeed-ledger 2 x\n").unwrap();
    let (store, said) = shared(&path);
    assert!(at_once(&store) <= 3);
    assert!(said.lock().unwrap()[0].contains("another version"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "dripfeed-ledger 2 x\n");
}

#[test]
fn a_ledger_that_cannot_be_kept_gives_a_share() {
    // /dev/full takes no byte, as a full disk; a folder that is a file cannot hold one; a lock that is held is not
    // waited for for ever.
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let held = dir.path().join("held.ledger");
    let holder = std::fs::File::create(&held).unwrap();
    holder.lock().unwrap();
    for (path, known) in
        [(Path::new("/dev/full"), false), (&dir.path().join("file").join("x.ledger"), false), (&held, false)]
    {
        let (store, said) = shared(path);
        let got = at_once(&store);
        assert!(got <= 3, "{}: {got} of 10 at once", path.display());
        assert_eq!(said.lock().unwrap().len(), 1, "{said:?}");
        assert!(said.lock().unwrap()[0].contains("a third of the account's limits"));
        assert!(!known);
    }
}

#[test]
fn a_restart_of_the_machine_and_a_clock_set_back_cross_no_cap() {
    let ledger = Ledger {
        limits: [("it".to_owned(), 900 * SECOND)].into(),
        hold: 880 * SECOND,
        members: vec![Member { id: 1, priority: Priority::Hourly, seen: 800 * SECOND, waits: vec![0], flying: 3 }],
        quota: Some(Quota { left: 0, read_at: 0, until: 850 * SECOND, probe_at: 0 }),
        jitter: [(0, vec![795 * SECOND, 840 * SECOND])].into(),
        ..Ledger::default()
    };
    let hour = 3600 * SECOND;
    let bytes = ledger.encode(Moment { boot: "old", now: 800 * SECOND, wall: 10 * hour });
    // 30 seconds later by the wall clock, 5 after the start.
    let (read, _) =
        Ledger::decode(&bytes, Moment { boot: "new", now: 5 * SECOND, wall: 10 * hour + 30 * SECOND }).unwrap();
    assert_eq!(read.limits["it"], 75 * SECOND);
    assert_eq!(read.hold, 55 * SECOND);
    assert_eq!(read.jitter[&0], [5 * SECOND, 15 * SECOND]);
    assert_eq!(read.quota.unwrap().until, 25 * SECOND);
    assert!(read.members.is_empty());
    // The wall clock was set back meanwhile: as if no time had passed.
    let (read, _) = Ledger::decode(&bytes, Moment { boot: "new", now: 5 * SECOND, wall: hour }).unwrap();
    assert_eq!(read.limits["it"], 105 * SECOND);
    // The same start, and a wall clock that jumps: it does not matter.
    for wall in [0, 100 * hour] {
        let (read, _) = Ledger::decode(&bytes, Moment { boot: "old", now: 801 * SECOND, wall }).unwrap();
        assert_eq!((read.limits["it"], read.members.len()), (900 * SECOND, 1));
    }
    assert_eq!(Ledger::decode(b"", Moment { boot: "", now: 0, wall: 0 }), Err(Unreadable::Empty));
}

#[test]
fn threads_that_crowd_around_a_ledger_forget_nobody() {
    // A thread that waited for the lock brings no older time: that would look like another start of the machine.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.ledger");
    let rules = || without_rate(Some(4));
    let most = Mutex::new((0_u64, 0_u64));
    let processes: Vec<_> =
        (1..=4).map(|id| Limiter::new(BootTime, shared(&path).0, rules(), id, Priority::Daily)).collect();
    std::thread::scope(|scope| {
        for limiter in processes.iter().flat_map(|limiter| [limiter; 4]) {
            scope.spawn(|| {
                for _ in 0..60 {
                    let mut ticket = limiter.ticket(Some(0), 1);
                    while limiter.ask(&mut ticket) != Admission::Go {
                        std::thread::sleep(Duration::from_micros(300));
                    }
                    let mut seen = most.lock().unwrap();
                    seen.0 += 1;
                    seen.1 = seen.1.max(seen.0);
                    drop(seen);
                    std::thread::sleep(Duration::from_micros(200));
                    most.lock().unwrap().0 -= 1;
                    limiter.answered(Some(0), 0, true, None);
                }
            });
        }
    });
    assert!(most.lock().unwrap().1 <= 4, "{:?}", most.lock());
}

#[test]
fn one_early_429_does_not_cripple_an_account_whose_cap_is_not_known() {
    let clock = Virtual::default();
    let rules = without_rate(None);
    let limiter = Limiter::new(clock.clone(), MemoryLedger::default(), rules, 1, Priority::Daily);
    assert_eq!(try_one(&limiter), Admission::Go);
    limiter.answered(Some(0), 0, false, None);
    limiter.limited(Some(0), Duration::from_secs(30));
    clock.0.store(30 * SECOND, Ordering::Relaxed);
    assert!((0..100).all(|_| try_one(&limiter) == Admission::Go), "it is held, and then goes on as before");
    // After more calls there is something to be learned, which grows and is forgotten.
    limiter.limited(Some(0), Duration::from_secs(30));
    let learned = limiter.current_rate().unwrap();
    clock.0.fetch_add(60 * SECOND, Ordering::Relaxed);
    (0..2000).for_each(|_| limiter.answered(Some(0), 0, true, None));
    assert!(limiter.current_rate().unwrap() > 1.5 * learned);
    clock.0.fetch_add(1000 * SECOND, Ordering::Relaxed);
    limiter.renew();
    assert_eq!(limiter.current_rate(), None);
}

#[test]
fn a_429_of_one_policy_does_not_slow_another() {
    let clock = Virtual::default();
    let limit = |calls| Limit::bucket(Unit::Calls, calls, Duration::from_secs(1), 1, 1.0);
    let rules = Rules {
        limits: vec![("search".into(), limit(1)), ("rest".into(), limit(1000))],
        policies: vec![vec![0], vec![1]],
        in_flight: None,
        floor: 0.1,
    };
    let limiter = Limiter::new(clock.clone(), MemoryLedger::default(), rules, 1, Priority::Daily);
    limiter.limited(Some(0), Duration::from_secs(1));
    clock.0.store(2 * SECOND, Ordering::Relaxed);
    let go = |policy| limiter.ask(&mut limiter.ticket(Some(policy), 1));
    assert_eq!(go(1), Admission::Go);
    clock.0.fetch_add(SECOND / 1000, Ordering::Relaxed);
    assert_eq!(go(1), Admission::Go);
    assert_eq!(go(0), Admission::Go);
    clock.0.fetch_add(SECOND + SECOND / 50, Ordering::Relaxed);
    assert!(matches!(go(0), Admission::Wait(..)), "what broke goes slower than its limit");
}

#[test]
fn who_believes_that_nothing_is_left_tries_now_and_then() {
    let clock = Virtual::default();
    let rules = without_rate(None);
    let limiter = Limiter::new(clock.clone(), MemoryLedger::default(), rules, 1, Priority::Daily);
    assert_eq!(try_one(&limiter), Admission::Go);
    limiter.answered(Some(0), 0, true, Some((0, Duration::from_secs(60_000))));
    assert_eq!(try_one(&limiter), Admission::Wait(600 * SECOND, WaitReason::Quota));
    clock.0.store(600 * SECOND, Ordering::Relaxed);
    assert_eq!(try_one(&limiter), Admission::Go);
    assert!(matches!(try_one(&limiter), Admission::Wait(_, WaitReason::Quota)), "one, until it is answered");
    // It says otherwise: it is believed.
    limiter.answered(Some(0), 600 * SECOND, true, Some((50, Duration::from_secs(60))));
    assert_eq!(try_one(&limiter), Admission::Go);
}

#[test]
fn who_yields_does_so_without_a_rate_too() {
    let (clock, store) = (Virtual::default(), Arc::new(MemoryLedger::default()));
    let rules = || without_rate(Some(2));
    let hourly = Limiter::new(clock.clone(), store.clone(), rules(), 1, Priority::Hourly);
    let backfill = Limiter::new(clock.clone(), store.clone(), rules(), 2, Priority::Backfill);
    assert_eq!((try_one(&backfill), try_one(&backfill)), (Admission::Go, Admission::Go));
    let mut waits = hourly.ticket(Some(0), 1);
    assert!(matches!(hourly.ask(&mut waits), Admission::Wait(_, WaitReason::InFlight)));
    backfill.answered(Some(0), 0, true, None);
    assert!(matches!(try_one(&backfill), Admission::Wait(_, WaitReason::Yield)));
    assert_eq!(hourly.ask(&mut waits), Admission::Go);
}
