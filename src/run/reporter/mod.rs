//! Reports a run while it lasts, to people and schedulers: log lines, events, a progress line on a terminal.
//!
//! Input: what happens to requests. Output: calls of `Log`; counts, which `summary` turns into the final summary.
//! Called by the verbs of `run`.

mod summary;

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;

use crate::base::config::{Config, DriftPolicy};
use crate::base::display::{number, number_of, thousands};
use crate::base::fault::Result;
use crate::base::http::Network;
use crate::base::stop::Stop;
use crate::drift::finding::Finding;
use crate::drift::monitor::{DriftMonitor, MonitorReport};
use crate::drift::rules::Severity;
use crate::engine::auth::TokenListener;
use crate::engine::context::EngineContext;
use crate::engine::cursor::backfill::BackfillProgress;
use crate::engine::fetch::retry::Remedy;
use crate::engine::fetch::{self, Event, Fetcher, Limits, Reply, SendRequest};
use crate::engine::scheduler::{Scheduler, StreamOutcome};
use crate::manifest::template::EvalContext;
use crate::pace::Pace;
use crate::pace::limiter::WaitReason;
use crate::protocol::{Out, Protocol, airbyte};
use crate::run::context::Context;
use crate::run::exchange::{Exchange, ExchangeLog};
use crate::run::log::{Level, Log};

/// The default seconds between two polls of a job, as in the reference.
const POLL: f64 = 5.0;
/// The default for the largest page, in bytes after decompression.
const MAX_PAGE: u64 = 32 << 20;
/// How often the progress line is drawn.
const TICK: Duration = Duration::from_millis(200);
/// The number of ticks over which the displayed call rate is averaged.
const RATE_TICKS: usize = 25;
/// Shorter waits are not shown.
const SHORT: Duration = Duration::from_secs(1);
/// The longest line of a logged exchange, in characters.
const EXCHANGE_WIDTH: usize = 110;
/// Waits for the account's pace beyond this are logged.
const LONG: Duration = Duration::from_secs(60);

/// Observes and reports one run.
pub(crate) struct Reporter {
    log: Arc<Log>,
    announces: Option<(Out, Mutex<Json>)>,
    /// Does a user wait for the result?
    is_awaited: bool,
    counts: Counts,
    waiting: Mutex<Option<(Instant, &'static str)>>,
    bar: OnceLock<ProgressBar>,
    began: Instant,
    /// The deadline of the run.
    deadline: Option<Instant>,
    pace: OnceLock<Arc<Pace>>,
    /// Until when the vendor's limit was reported to hold.
    used_up: Mutex<Option<Instant>>,
    /// The drift findings of this run.
    found: Mutex<Vec<Finding>>,
    /// Collects exchanges, if somebody looks at them.
    exchanges: OnceLock<Arc<ExchangeLog>>,
    /// Pages so far of each stream whose pages are searched for secrets; `None` once one was found.
    searched: Mutex<BTreeMap<String, Option<u64>>>,
}

/// Request counts so far.
#[derive(Debug, Default)]
struct Counts {
    /// Requests sent, with or without a response.
    sent: AtomicU64,
    calls: AtomicU64,
    bytes: AtomicU64,
    retried: AtomicU64,
    limited: AtomicU64,
    skipped: AtomicU64,
    /// Milliseconds that requests waited, summed over all threads: for the account's pace, and before retries.
    paced: AtomicU64,
    backed_off: AtomicU64,
}

fn add(counter: &AtomicU64, n: impl TryInto<u64>) {
    counter.fetch_add(n.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// A partition in readable form: its own keys, without those of its parents.
fn shown(partition: &Map<String, Json>) -> Json {
    Json::Object(
        partition.iter().filter(|(key, _)| *key != "parent_slice").map(|(k, v)| (k.clone(), v.clone())).collect(),
    )
}

/// The reason of a wait, in readable form.
fn reason(why: WaitReason) -> &'static str {
    match why {
        WaitReason::Pace => "pace",
        WaitReason::Yield => "a run of higher priority goes first",
        WaitReason::Held => "rate limit",
        WaitReason::Quota => "the vendor reports that no call is left",
        WaitReason::InFlight => "too many calls in flight",
    }
}

/// A request's stream and partition, in readable form: `tasks {"project":"12"}`.
fn label(ask: &SendRequest<'_>) -> String {
    let partition = shown(ask.partition);
    if partition.as_object().is_some_and(Map::is_empty) {
        ask.stream.into()
    } else {
        format!("{} {partition}", ask.stream)
    }
}

impl TokenListener for Reporter {
    fn learned(&self, secret: &str) {
        self.log.hide_too(secret);
    }

    fn rotated(&self, changes: &[(&[String], String)]) -> Result<()> {
        let Some((out, config)) = &self.announces else { return Ok(()) };
        // One lock for both, so that no message with new credentials misses the others' changes.
        let mut config = config.lock();
        for (path, value) in changes {
            set(&mut config, path, value);
        }
        airbyte::say(out, &airbyte::config(&config))
    }
}

/// Sets a value of the config, and creates the objects on its path.
fn set(config: &mut Json, path: &[String], value: &str) {
    let mut at = config;
    for key in path {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[key.as_str()];
    }
    *at = json!(value);
}

impl Reporter {
    /// A reporter for a run of a source.
    pub(crate) fn new(context: &Context, source: &str, config: &Config, is_awaited: bool) -> Arc<Reporter> {
        let log = context.log.clone();
        log.names(source, config.ours.tenant.as_deref());
        Arc::new(Reporter {
            log,
            // The reader of Airbyte messages is informed of waits and of a changed config.
            announces: (context.protocol == Protocol::Airbyte)
                .then(|| (context.out.clone(), Mutex::new(config.written.clone()))),
            is_awaited,
            counts: Counts::default(),
            waiting: Mutex::default(),
            bar: OnceLock::new(),
            began: Instant::now(),
            deadline: config.ours.deadline.and_then(|time| Instant::now().checked_add(time.0.length())),
            pace: OnceLock::new(),
            used_up: Mutex::default(),
            found: Mutex::default(),
            exchanges: OnceLock::new(),
            searched: Mutex::default(),
        })
    }

    /// The deadline of the run.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Reports a notice about the account's ledger.
    pub(crate) fn ledger(&self, notice: &str) {
        self.log.event(Level::Warning, notice, "ledger_trouble", &json!({}));
    }

    /// The config changed: informs the reader of the messages, which stores it.
    pub(crate) fn config_changed(&self) -> Result<()> {
        match &self.announces {
            Some((out, config)) => airbyte::say(out, &airbyte::config(&config.lock())),
            None => {
                self.log.line(
                    Level::Info,
                    "the config has the form of an older version of the source; this run uses a migrated copy",
                );
                Ok(())
            }
        }
    }

    /// The context that all threads of a run share, with this reporter as the listener.
    pub(crate) fn shared(
        self: &Arc<Self>,
        config: &Config,
        pace: Arc<Pace>,
        cx: &Arc<EvalContext>,
        (stop, network): (&Arc<Stop>, Network),
    ) -> Result<Arc<EngineContext>> {
        let ours = &config.ours;
        let limits = Limits {
            max_page_bytes: ours.max_page_bytes.unwrap_or(MAX_PAGE),
            allowed_hosts: ours.allowed_hosts.clone(),
            network,
            is_awaited: self.is_awaited,
            secrets: self.log.secrets(),
        };
        drop(self.pace.set(pace.clone()));
        let reporter = self.clone();
        let listener = Arc::new(move |ask: &SendRequest<'_>, event: &Event<'_>| reporter.on_event(ask, event));
        Ok(Arc::new(EngineContext {
            fetcher: Fetcher::new(limits, pace, cx.clone(), stop.clone(), listener)?,
            cx: cx.clone(),
            stop: stop.clone(),
            token_listener: self.clone(),
            started: Box::new({
                let reporter = self.clone();
                move |stream| reporter.starts(stream)
            }),
            poll: Duration::try_from_secs_f64(ours.poll_seconds.unwrap_or(POLL)).unwrap_or_default(),
            jobs: AtomicUsize::new(0),
            files: crate::engine::files::staging(
                std::env::var_os("AIRBYTE_STAGING_DIRECTORY").map(PathBuf::from).as_deref(),
            ),
            drifted: Box::new({
                let reporter = self.clone();
                move |report| reporter.drifted(report)
            }),
            noticed: Box::new({
                let reporter = self.clone();
                move |stream, message| match reporter.exchanges.get() {
                    Some(exchanges) => exchanges.notice(&format!("{stream}: {message}")),
                    None => reporter.log.line(Level::Warning, &format!("{stream}: {message}")),
                }
            }),
            notices: Mutex::default(),
            broken_promises: Mutex::default(),
        }))
    }

    /// A stream begins: reported at once, so that no other message about it comes first.
    fn starts(&self, stream: &str) {
        if let Some((out, _)) = &self.announces {
            // The writer handles a broken stdout.
            drop(airbyte::say(out, &airbyte::started(stream)));
        }
    }

    /// Reports a drift change of a stream, once.
    fn drifted(&self, report: &MonitorReport) {
        let MonitorReport { finding, repeat, silent } = report;
        self.found.lock().push(finding.clone());
        let known = *repeat || finding.severity == Severity::Info;
        // The fault of the stream is the same cause, with its own hint.
        let is_fault = DriftMonitor::is_reported_by_fault(finding.rule)
            && finding.policy >= DriftPolicy::FailStream
            && !self.log.is_structured();
        let level = if *silent || is_fault {
            Level::Debug
        } else if known {
            Level::Info
        } else {
            Level::Warning
        };
        let counts = match finding.of {
            0 => number_of(finding.count, "time"),
            of => format!("{} of {}", thousands(finding.count), number_of(of, "record")),
        };
        let (stream, policy) = (&finding.stream, finding.policy.name());
        let message =
            format!("stream `{stream}`: {} ({counts}, policy {policy}; see `dripfeed drift show`)", finding.line());
        self.log.event(level, &message, "schema_drift", &finding.event(*repeat));
    }

    fn on_event(&self, ask: &SendRequest<'_>, event: &Event<'_>) {
        let request = || fetch::shown(ask.request);
        match event {
            Event::Waits(wait, why) => {
                self.waits(*wait, reason(*why));
                if matches!(why, WaitReason::Quota | WaitReason::Held) {
                    self.used_up(ask, *wait, *why);
                }
                if *wait >= LONG {
                    let (seconds, why) = (wait.as_secs(), reason(*why));
                    self.log.line(Level::Info, &format!("{}: waiting {seconds} s ({why})", label(ask)));
                }
            }
            Event::Sent => add(&self.counts.sent, 1u64),
            Event::Waited(time) => add(&self.counts.paced, time.as_millis()),
            Event::Answered { reply, bytes } => {
                add(&self.counts.calls, 1u64);
                add(&self.counts.bytes, *bytes);
                self.answered(ask, reply, *bytes);
            }
            Event::Retrying { reason, tries, wait, limited } => {
                add(&self.counts.retried, 1u64);
                add(&self.counts.backed_off, wait.as_millis());
                let seconds = wait.as_secs_f64();
                let message = format!("{}: {reason} ({}, attempt {tries})", label(ask), request());
                if *limited {
                    add(&self.counts.limited, 1u64);
                    self.waits(*wait, "rate limit");
                    *self.used_up.lock() = Some(Instant::now() + *wait);
                    let message = format!("{message}; rate limited: retrying in {seconds:.2} s");
                    self.rate_limited(Level::Warning, ask, *wait, &message);
                } else {
                    self.waits(*wait, "retry");
                    self.log.line(Level::Warning, &format!("{message}; retrying in {seconds:.2} s"));
                }
            }
            Event::Ignored { status, reason } => {
                add(&self.counts.skipped, 1u64);
                let fields = json!({
                    "stream": ask.stream, "partition": shown(ask.partition), "status": status, "reason": reason,
                });
                let message = format!(
                    "{}: skipped by a rule of the manifest: {reason} (HTTP {status}, {})",
                    label(ask),
                    request()
                );
                self.log.event(Level::Warning, &message, "slice_skipped", &fields);
            }
            Event::Otherwise { status, remedy, reason } => {
                let how = match remedy {
                    Remedy::Reset => "reading from the first page again",
                    Remedy::SmallerPages => "reading in smaller pages",
                    Remedy::ShorterWindows => "reading in shorter windows",
                };
                let message = format!("{}: {how}: {reason} (HTTP {status}, {})", label(ask), request());
                self.log.line(Level::Info, &message);
            }
        }
    }

    /// Logs a response if everything is logged, and collects it for whoever looks at exchanges.
    fn answered(&self, ask: &SendRequest<'_>, reply: &Reply, bytes: usize) {
        let shows = self.log.shows(Level::Debug);
        let collected = self.exchanges.get();
        let exchange = (self.log.shows_exchanges() || collected.is_some()).then(|| Exchange::of(ask, reply));
        if let Some(exchange) = exchange.as_ref().filter(|_| self.log.shows_exchanges()) {
            let lines = exchange.lines(EXCHANGE_WIDTH);
            self.log.line(Level::Debug, &format!("{}: {}", label(ask), lines.join("\n")));
        } else if shows {
            let request = fetch::shown_with_query(ask.request);
            let (status, took) = (reply.status, reply.took.as_millis());
            let line = format!("{}: {request}: HTTP {status}, {bytes} bytes, {took} ms", label(ask));
            self.log.line(Level::Debug, &line);
        }
        if let Some((exchanges, exchange)) = collected.zip(exchange) {
            exchanges.add(exchange);
        }
        // What tells pages from logins and tokens, which must hold secrets.
        if ask.holds.is_some() && reply.status < 400 {
            self.search(ask.stream, &reply.body);
        }
    }

    /// Reports, once a stream, that the vendor's data hold a secret of the config: records pass as they are. Looks into
    /// the first page and each whose number is a power of two, so that large reads cost nothing.
    fn search(&self, stream: &str, body: &[u8]) {
        let mut searched = self.searched.lock();
        let Some(pages) = searched.entry(stream.to_owned()).or_insert(Some(0)) else { return };
        *pages += 1;
        if pages.is_power_of_two() && self.log.secrets().lock().is_in(body) {
            searched.insert(stream.to_owned(), None);
            drop(searched);
            let message = format!("{stream}: a response contains a secret of the config; it goes to the target");
            self.log.event(Level::Warning, &message, "secret_in_data", &json!({"stream": stream}));
        }
    }

    /// From now on exchanges and notices are collected here.
    pub(crate) fn collect(&self, exchanges: Arc<ExchangeLog>) {
        drop(self.exchanges.set(exchanges));
    }

    /// A stream waits for the vendor's rate limit: reports it to people, schedulers and the platform.
    fn rate_limited(&self, level: Level, ask: &SendRequest<'_>, wait: Duration, message: &str) {
        let seconds = wait.as_secs_f64();
        let fields = json!({"stream": ask.stream, "partition": shown(ask.partition), "wait_seconds": seconds});
        self.log.event(level, message, "rate_limited", &fields);
        if let Some((out, _)) = &self.announces {
            // The writer handles a broken stdout.
            drop(airbyte::say(out, &airbyte::rate_limited(ask.stream, OffsetDateTime::now_utc() + wait)));
        }
    }

    /// The vendor reports that no quota is left, or blocks all runs of the account: reported once for all waiting
    /// threads.
    fn used_up(&self, ask: &SendRequest<'_>, wait: Duration, why: WaitReason) {
        let until = Instant::now() + wait;
        let mut used_up = self.used_up.lock();
        if wait < SHORT || used_up.is_some_and(|message| until < message + SHORT) {
            return;
        }
        *used_up = Some(until);
        drop(used_up);
        let seconds = wait.as_secs_f64();
        let what = match why {
            WaitReason::Held => "another run of the account was limited",
            _ => "the vendor reports that no call is left",
        };
        let message = format!("{}: {what}: continuing in {seconds:.1} s", label(ask));
        self.rate_limited(Level::Info, ask, wait, &message);
    }

    /// The drift findings of this run.
    pub(crate) fn found(&self) -> Vec<Finding> {
        self.found.lock().clone()
    }

    /// The share of the vendor's cap that `calls` use in `time`, if known.
    fn share(&self, calls: u64, time: Duration) -> Option<f64> {
        self.pace.get()?.share(calls, time)
    }

    fn waits(&self, time: Duration, why: &'static str) {
        if self.bar.get().is_none() || time < SHORT {
            return;
        }
        let until = Instant::now() + time;
        let mut waiting = self.waiting.lock();
        if waiting.is_none_or(|(other, _)| until > other) {
            *waiting = Some((until, why));
        }
    }

    /// Announces the run, and draws its progress until it ends if stderr is a terminal and stdout is not.
    pub(crate) fn begins(self: &Arc<Self>, run: &Arc<Scheduler>) {
        let streams: Vec<_> = run.outcomes().into_iter().map(|a| a.stream.to_string()).collect();
        self.log.event(
            Level::Debug,
            &format!("reading {}", streams.join(", ")),
            "run_started",
            &json!({"streams": streams}),
        );
        if !self.log.for_people() {
            return;
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{spinner} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        self.log.draw_around(bar.clone());
        drop(self.bar.set(bar));
        let (reporter, run): (Weak<Reporter>, Weak<Scheduler>) = (Arc::downgrade(self), Arc::downgrade(run));
        std::thread::spawn(move || {
            let mut calls = std::collections::VecDeque::with_capacity(RATE_TICKS);
            while let (Some(reporter), Some(run)) = (reporter.upgrade(), run.upgrade()) {
                let Some(bar) = reporter.bar.get().filter(|b| !b.is_finished()) else { return };
                if calls.len() == RATE_TICKS {
                    calls.pop_front();
                }
                calls.push_back((Instant::now(), get(&reporter.counts.calls)));
                bar.set_message(reporter.progress(&run.outcomes(), &calls));
                bar.tick();
                drop((reporter, run));
                std::thread::sleep(TICK);
            }
        });
    }

    /// The progress line: records, calls and their rate, current waits, then the streams in progress.
    fn progress(&self, outcomes: &[StreamOutcome], calls: &std::collections::VecDeque<(Instant, u64)>) -> String {
        let total: u64 = outcomes.iter().map(|a| a.records).sum();
        let mut line = format!("{} · {}", number_of(total, "record"), number_of(get(&self.counts.calls), "call"));
        if let (Some((from, first)), Some((to, last))) = (calls.front(), calls.back())
            && to > from
        {
            let time = *to - *from;
            #[allow(clippy::cast_precision_loss)]
            let rate = (last - first) as f64 / time.as_secs_f64();
            line += &format!(", {rate:.1}/s");
            if let Some(share) = self.share(last - first, time) {
                line += &format!(" ({:.0} % of the cap)", share * 100.0);
            }
        }
        let mut waiting = self.waiting.lock();
        match *waiting {
            Some((until, why)) if until > Instant::now() => {
                line += &format!(" · waiting {:.0} s ({why})", (until - Instant::now()).as_secs_f64().ceil());
            }
            _ => *waiting = None,
        }
        let under_way: Vec<String> = outcomes
            .iter()
            .filter(|a| a.begun && !a.ended)
            .map(|a| match &a.backfill {
                Some(standing) => format!("{}: {}", a.stream, windows_read(standing)),
                None => format!("{} {}", a.stream, thousands(a.records)),
            })
            .collect();
        let ended = outcomes.iter().filter(|a| a.ended).count();
        line += &format!(" · {ended} of {} done", number(outcomes.len(), "stream"));
        if !under_way.is_empty() {
            line += &format!(" · {}", under_way.join(", "));
        }
        line
    }
}

/// The windows of a backfill that were read, in readable form.
pub(crate) fn windows_read(standing: &BackfillProgress) -> String {
    let BackfillProgress { done, of, listed, .. } = standing;
    let more = if *listed { "" } else { " known so far; listing continues" };
    format!("{} of {}{more}", thousands(*done), number_of(*of, "window"))
}
