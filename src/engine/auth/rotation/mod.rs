//! Several tokens in rotation, each with a quota of remaining calls.
//!
//! Input: the definition; then each call before it is sent, and its response. Output: a token with quota left for the
//! call, after a wait if none has any. Called by [`super::Auth`] and `requester`, from several threads. Counting and
//! waiting follow airbyte-cdk's `RateLimitedMultipleTokenAuthenticator`.

mod quota;

use parking_lot::Mutex;
use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use time::OffsetDateTime;

use super::oauth::time_of;
use super::{TokenRequest, TokenTransport};
use crate::base::fault::{Failure, Fault, Kind, Result};
use crate::base::json::python;
use crate::base::json::scan;
use crate::base::timefmt::Period;
use crate::manifest::model::RateLimitedMultipleTokenAuthenticator;
use crate::manifest::node::Text;
use crate::manifest::template::{EvalContext, Template, Vars};
use crate::pace::Call;
use quota::{Pool, Remaining, written};

/// The shortest wait for new quota, so that reset times in the past do not cause a busy loop.
const MIN_WAIT: Duration = Duration::from_secs(5);
/// The longest pause between two calls near the end of the quota, in seconds.
const MAX_SPREAD: f64 = 10.0;
/// Shorter pauses are skipped.
const MIN_SPREAD: f64 = 0.1;
/// The tokens and their remaining quota.
pub struct Rotation {
    tokens: Vec<String>,
    pools: Vec<Pool>,
    source: Source,
    scheme: String,
    header: String,
    longest: Duration,
    share: f64,
    least: f64,
    /// The definition, to recognize equal rotations.
    written: Json,
    /// Was the vendor asked for the quotas? Locked while the request runs.
    begun: Mutex<bool>,
    state: Mutex<State>,
}

/// The endpoint that reports the remaining quota.
struct Source {
    method: &'static str,
    url: String,
    headers: Vec<(String, String)>,
    /// Statuses that mean that the endpoint reports nothing.
    silent: Vec<u16>,
}

#[derive(Default)]
struct State {
    active: usize,
    /// By token, then by pool.
    counts: Vec<Vec<Remaining>>,
    /// Was it logged that calls are spread out?
    is_announced: bool,
}

/// A call that was taken: its token and its pool.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    token: usize,
    pool: usize,
}

/// The next step for a call.
enum Step {
    Take(Turn, Option<Duration>),
    Wait(Duration),
}

impl fmt::Debug for Rotation {
    /// Omits the tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotation").finish_non_exhaustive()
    }
}

impl Rotation {
    pub(super) fn build(def: &RateLimitedMultipleTokenAuthenticator, cx: &EvalContext) -> Result<Rotation> {
        let vars = Vars::new(cx);
        let tokens = tokens(def, &vars)?;
        let pools: Vec<Pool> = def.quotas.iter().map(|quota| Pool::build(quota, cx)).collect::<Result<_>>()?;
        if pools.is_empty() {
            return Err(def.at.field("quotas", None).fault("`quotas` is empty"));
        }
        let source = &def.quota_status_source;
        let url = Template::compile(&source.url, &[])?.text(&vars)?;
        let method = match source.http_method.as_deref() {
            None | Some("GET") => "GET",
            Some("POST") => "POST",
            Some(other) => return Err(source.at.fault(format!("`http_method: {other}` is not supported"))),
        };
        let mut headers = Vec::new();
        for (name, value) in source.request_headers.iter().filter_map(|text| text.value.as_object()).flatten() {
            let at = source.at.field("request_headers", None).field(name, None);
            headers.push((name.clone(), Template::of(value, &at, &[])?.text(&vars)?));
        }
        let mut silent = source.unavailable_status_codes.clone().unwrap_or_default();
        silent.sort_unstable();
        silent.dedup();
        let (scheme, header) = (def.auth_method.as_deref(), def.header.as_deref());
        let some = |text: Option<&str>, other: &str| text.filter(|t| !t.is_empty()).unwrap_or(other).to_owned();
        let (scheme, header) = (some(scheme, "Bearer"), some(header, "Authorization"));
        let longest = longest(def.max_wait_time.as_ref(), &vars)?;
        let (share, least) = (def.budget_reserve_fraction.unwrap_or(0.1), def.budget_min_reserve.unwrap_or(50));
        let quotas: Vec<Json> = def.quotas.iter().map(written).collect();
        #[allow(clippy::cast_precision_loss)]
        Ok(Rotation {
            written: json!([
                tokens,
                quotas,
                [json!(url), json!(method), json!(headers), json!(silent)],
                [json!(scheme), json!(header), json!(longest.as_secs_f64()), json!(share), json!(least)],
            ]),
            tokens,
            pools,
            source: Source {
                method,
                url,
                headers,
                silent: silent.into_iter().filter_map(|code| u16::try_from(code).ok()).collect(),
            },
            scheme,
            header,
            longest,
            share,
            least: least as f64,
            begun: Mutex::default(),
            state: Mutex::default(),
        })
    }

    /// Two rotations with equal definitions are one: their streams share the quotas.
    pub(super) fn identity(&self) -> String {
        python::canonical(&self.written)
    }

    /// Takes a call from a token with quota left, after a wait if none has any.
    pub fn take(&self, call: &Call<'_>, cx: &EvalContext, exchange: &dyn TokenTransport) -> Result<Turn> {
        self.begin(cx, exchange)?;
        let pool = self.pool_of(call);
        let mut until = None;
        loop {
            match self.step(pool, cx.moment(), &mut until, exchange)? {
                Step::Take(turn, pause) => {
                    exchange.stop().sleep(pause.unwrap_or_default())?;
                    return Ok(turn);
                }
                Step::Wait(time) => {
                    let (name, seconds) = (&self.pools[pool].name, time.as_secs_f64());
                    exchange.say(&format!("all tokens are used up for `{name}`: waiting {seconds:.0} s for new calls"));
                    exchange.stop().sleep(time)?;
                    let mut begun = self.begun.lock();
                    if Rotation::is_spent(&self.state.lock(), pool) {
                        self.ask(cx, exchange)?;
                    }
                    *begun = true;
                }
            }
        }
    }

    /// The header with the token of a turn.
    pub fn header(&self, turn: Turn) -> (&str, String) {
        (&self.header, self.carried(&self.tokens[turn.token]))
    }

    /// Updates the quota from a response.
    pub fn answered<'h>(&self, turn: Turn, status: u16, header: &dyn Fn(&str) -> Option<&'h str>) {
        let pool = &self.pools[turn.pool];
        let number = |name: &Option<String>| header(name.as_deref()?)?.trim().parse::<i64>().ok();
        let spent = pool.spent_statuses.contains(&status.into());
        // A rejection without a number means that no quota is left.
        let left = number(&pool.left_header).or(spent.then_some(0));
        let resets = pool.resets_header.as_deref().and_then(header).and_then(time_of);
        let mut state = self.state.lock();
        if let Some(count) = state.counts.get_mut(turn.token).and_then(|pools| pools.get_mut(turn.pool)) {
            count.learn(left, resets, number(&pool.limit_header), spent);
        }
    }

    /// The vendor rejected the token of this turn: the next call uses another one; false if there is none.
    pub fn refused(&self, turn: Turn) -> bool {
        let mut state = self.state.lock();
        if state.active == turn.token {
            state.active = (turn.token + 1) % self.tokens.len();
        }
        self.tokens.len() > 1
    }

    /// Is the token of this turn used up, while another one has quota left?
    pub fn another(&self, turn: Turn) -> bool {
        let state = self.state.lock();
        let of = |token: usize| &state.counts[token][turn.pool];
        let spent = of(turn.token).counted && of(turn.token).left <= 0;
        spent && (0..self.tokens.len()).any(|token| token != turn.token && of(token).left > 0)
    }

    fn carried(&self, token: &str) -> String {
        format!("{} {token}", self.scheme).trim().to_owned()
    }

    /// The first pool with a matcher for the call, else the first without matchers, else the first.
    fn pool_of(&self, call: &Call<'_>) -> usize {
        let matched = self.pools.iter().position(|pool| pool.matchers.iter().any(|matcher| matcher.matches(call)));
        matched.or_else(|| self.pools.iter().position(|pool| pool.matchers.is_empty())).unwrap_or(0)
    }

    fn is_spent(state: &State, pool: usize) -> bool {
        state.counts.iter().all(|pools| pools[pool].counted && pools[pool].left <= 0)
    }

    /// Takes a call, or returns how long to wait for one; `until` is the limit of the whole wait.
    fn step(
        &self,
        pool: usize,
        now: OffsetDateTime,
        until: &mut Option<Instant>,
        exchange: &dyn TokenTransport,
    ) -> Result<Step> {
        let mut state = self.state.lock();
        if Rotation::is_spent(&state, pool) {
            let most = until.get_or_insert_with(|| Instant::now() + self.longest);
            let most = most.saturating_duration_since(Instant::now());
            let first = state.counts.iter().map(|pools| pools[pool].resets).min().unwrap_or(now) - now;
            let first = Duration::try_from(first).unwrap_or_default();
            if most.is_zero() || first >= most {
                let name = &self.pools[pool].name;
                let fault = format!("all tokens are used up for `{name}`, and new calls come too late for this run");
                let fault = Fault::new(Kind::Unavailable, fault).hint("run again later, or raise `max_wait_time`");
                return Err(
                    fault.airbyte_message("Rate limit is exceeded for all provided tokens.", Failure::Transient)
                );
            }
            return Ok(Step::Wait(first.max(MIN_WAIT).min(most)));
        }
        loop {
            let token = state.active;
            let next = (token + 1) % self.tokens.len();
            let count = &mut state.counts[token][pool];
            let turn = Turn { token, pool };
            if !count.counted {
                // All tokens are equal: they share the load.
                state.active = next;
                return Ok(Step::Take(turn, None));
            }
            if count.left > 0 {
                count.left -= 1;
                let pause = self.pause(&state, pool, now);
                if pause.is_some() && !std::mem::replace(&mut state.is_announced, true) {
                    let name = &self.pools[pool].name;
                    exchange
                        .say(&format!("few calls are left for `{name}`: dripfeed spreads them until new calls come"));
                }
                return Ok(Step::Take(turn, pause));
            }
            state.active = next;
        }
    }

    /// The pause before a call that makes the quota last: `None` while any token has more than its reserve.
    fn pause(&self, state: &State, pool: usize, now: OffsetDateTime) -> Option<Duration> {
        let counts = || state.counts.iter().map(|pools| &pools[pool]);
        #[allow(clippy::cast_precision_loss)]
        let low =
            |count: &Remaining| count.counted && count.left as f64 <= self.least.max(count.limit as f64 * self.share);
        let left: i64 = counts().map(|count| count.left.max(0)).sum();
        let time = (state.counts[state.active][pool].resets - now).as_seconds_f64();
        if left <= 0 || time <= 0.0 || !counts().all(low) {
            return None;
        }
        #[allow(clippy::cast_precision_loss)]
        let spread = (time / left as f64).min(MAX_SPREAD);
        (spread >= MIN_SPREAD).then(|| Duration::from_secs_f64(spread))
    }

    /// Asks the vendor for the quotas, the first time.
    fn begin(&self, cx: &EvalContext, exchange: &dyn TokenTransport) -> Result<()> {
        let mut begun = self.begun.lock();
        if !*begun {
            self.tokens.iter().for_each(|token| exchange.token_listener().learned(token));
            self.ask(cx, exchange)?;
            *begun = true;
        }
        Ok(())
    }

    /// Asks for the quota of each token.
    fn ask(&self, cx: &EvalContext, exchange: &dyn TokenTransport) -> Result<()> {
        let counts: Vec<Vec<Remaining>> =
            self.tokens.iter().map(|token| self.ask_for(token, cx, exchange)).collect::<Result<_>>()?;
        if counts.iter().flatten().any(|count| !count.counted) && self.state.lock().counts.is_empty() {
            exchange
                .say("the vendor does not report the calls left of each token: the tokens take turns without waits");
        }
        let mut state = self.state.lock();
        state.counts = counts;
        state.is_announced = false;
        Ok(())
    }

    fn ask_for(&self, token: &str, cx: &EvalContext, exchange: &dyn TokenTransport) -> Result<Vec<Remaining>> {
        let source = &self.source;
        let mut headers = source.headers.clone();
        headers.retain(|(name, _)| !name.eq_ignore_ascii_case(&self.header));
        headers.push((self.header.clone(), self.carried(token)));
        let request = TokenRequest {
            method: source.method,
            url: source.url.clone(),
            headers,
            body: None,
            settled: source.silent.clone(),
        };
        let (status, body) = exchange.send(&|| Ok(request.clone()))?;
        if source.silent.contains(&status) {
            let none = Remaining { left: 0, resets: cx.moment(), limit: 0, counted: false };
            return Ok(vec![none; self.pools.len()]);
        }
        if !(200..400).contains(&status) {
            let kind = if matches!(status, 401 | 403) { Kind::Auth } else { Kind::Data };
            let fault =
                Fault::new(kind, format!("the vendor does not report the calls left of a token: HTTP {status}"));
            return Err(fault.hint("check the tokens in the config, and `quota_status_source`"));
        }
        let broken = |e| Fault::data(format!("the vendor's quota response is not valid JSON: {e}"));
        let answer = scan::json(&body).map_err(broken)?;
        self.pools.iter().map(|pool| pool.count(&answer)).collect()
    }
}

/// The tokens without duplicates.
fn tokens(def: &RateLimitedMultipleTokenAuthenticator, vars: &Vars<'_>) -> Result<Vec<String>> {
    let text = &def.tokens;
    let written: Vec<String> = match &text.value {
        Json::Array(items) => {
            let each = items.iter().map(|item| Template::of(item, &text.at, &[])?.raw_text(vars));
            each.collect::<Result<_>>()?
        }
        _ => {
            let all = Template::compile(text, &[])?.raw_text(vars)?;
            let between = def.token_delimiter.as_deref().filter(|d| !d.is_empty()).unwrap_or(",");
            all.split(between).map(str::to_owned).collect()
        }
    };
    let mut tokens: Vec<String> = Vec::new();
    for token in written.iter().map(|token| token.trim()).filter(|token| !token.is_empty()) {
        if !tokens.iter().any(|known| known == token) {
            tokens.push(token.to_owned());
        }
    }
    if tokens.is_empty() {
        return Err(text.at.fault("there is no token").hint("check the credentials in the config"));
    }
    Ok(tokens)
}

/// The longest wait for new quota.
fn longest(text: Option<&Text>, vars: &Vars<'_>) -> Result<Duration> {
    let Some(text) = text.filter(|t| !t.value.is_null()) else { return Ok(Duration::from_secs(2 * 60 * 60)) };
    let written = Template::compile(text, &[])?.text(vars)?;
    let written = if written.is_empty() { "PT2H".to_owned() } else { written };
    let period = Period::parse(&written).map_err(|e| text.at.fault(e))?;
    if period.months != 0 {
        return Err(text.at.fault("the wait cannot be in months or years"));
    }
    Ok(period.length().min(Duration::from_secs(366 * 86_400)))
}
