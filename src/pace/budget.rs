//! The rate limits of an account, and the calls that each applies to.
//!
//! Input: the manifest's `HTTPAPIBudget`, and the config's `dripfeed.pace`, whose limits override it. Output: a
//! [`Budget`]. Called by `run`. The first policy that matches a call applies, and a matcher compares like
//! airbyte-cdk's `HttpRequestRegexMatcher`; its weight also applies to the config's limits.

use std::time::Duration;

use regex::Regex;
use serde_json::{Map, Value as Json};

use super::Call;
use super::feedback::Names;
use super::limit::{Limit, Unit};
use super::limiter::Rules;
use crate::base::config;
use crate::base::config::LimitKind;
use crate::base::display::number_of;
use crate::base::fault::{Failure, Fault, Result};
use crate::base::percent;
use crate::base::timefmt::Period;
use crate::manifest::model::{ApiBudget, CallRatePolicy, HttpRequestRegexMatcher};
use crate::manifest::node::{Place, Text};
use crate::manifest::template::{EvalContext, Template, Vars, text_of};

/// The default share of a limit that is used.
const HEADROOM: f64 = 0.98;
/// The default share of the limits for yielding runs.
const FLOOR: f64 = 0.1;

/// The rate limits of an account, and the calls that each applies to.
#[derive(Debug, Default)]
pub struct Budget {
    /// The limits in the form for the limiter: one policy for each of ours.
    pub rules: Rules,
    /// The manifest's header names and statuses for rate limits.
    pub names: Names,
    /// The calls of each manifest policy, with their weights.
    policies: Vec<Vec<Matcher>>,
    /// For each policy of the rules, the window with the fewest calls, if there is one.
    narrowest: Vec<Option<Window>>,
    /// Do the config's limits apply to every call instead?
    overridden: bool,
    /// Does any limit count points?
    pub points: bool,
    /// The declared caps on calls: calls per second, before headroom, and the length of the window.
    pub caps: Vec<(f64, Duration)>,
    /// Are the remaining calls in response headers ignored?
    pub deaf: bool,
}

/// A cap on calls in any window of this length, before headroom.
#[derive(Debug, Clone, Copy)]
struct Window {
    calls: u64,
    per: Duration,
}

/// Matches a kind of calls.
#[derive(Debug)]
pub struct Matcher {
    method: Option<String>,
    base: Option<String>,
    path: Option<Regex>,
    params: Map<String, Json>,
    headers: Map<String, Json>,
    weight: u32,
}

/// The budget of an account: the config's limits, else the manifest's, else none.
pub fn build(def: Option<&ApiBudget>, ours: &config::Pace, cx: &EvalContext) -> Result<Budget> {
    let headroom = ours.headroom.unwrap_or(HEADROOM);
    let mut budget = Budget::default();
    budget.rules.floor = ours.backfill_floor.unwrap_or(FLOOR);
    budget.deaf = ours.ignore_headers.unwrap_or(false);
    if let Some(ApiBudget::HTTPAPIBudget(def)) = def {
        budget.names = Names {
            remaining: def.ratelimit_remaining_header.clone(),
            reset: def.ratelimit_reset_header.clone(),
            used_up: def.status_codes_for_ratelimit_hit.clone().unwrap_or_default(),
        };
        for (number, def) in def.policies.iter().enumerate() {
            let (matchers, limits) = policy(def, headroom, cx)?;
            budget.policies.push(matchers);
            budget.govern(
                limits.into_iter().map(|limit| Declared { name: format!("{number}: {}", limit.name), ..limit }),
            );
        }
    }
    if ours.limits.is_empty() {
        return Ok(budget);
    }
    budget.overridden = true;
    let heaviest = budget.policies.iter().map(|matchers| heaviest(matchers)).max().unwrap_or(1);
    budget.rules = Rules { floor: budget.rules.floor, ..Rules::default() };
    budget.caps.clear();
    budget.narrowest.clear();
    let mut limits = Vec::new();
    for (number, limit) in ours.limits.iter().enumerate() {
        let (unit, count, per, kind, burst) = match limit {
            config::Limit::Calls { calls, per, kind, burst } => (Unit::Calls, *calls, per, *kind, *burst),
            config::Limit::Points { points, per, kind, burst } => (Unit::Points, *points, per, *kind, *burst),
            config::Limit::InFlight { in_flight } => {
                let most = budget.rules.in_flight.get_or_insert(*in_flight);
                *most = (*most).min(*in_flight);
                continue;
            }
        };
        let time =
            time_of(&per.0).map_err(|e| Fault::config(format!("config `dripfeed.pace.limits[{number}].per`: {e}")))?;
        budget.points |= unit == Unit::Points;
        let terms = Terms { unit, count, per: time, kind, burst };
        limits.push(Declared::new(&terms, headroom, heaviest));
    }
    budget.govern(limits);
    Ok(budget)
}

/// A declared limit.
struct Declared {
    /// The name in the ledger. It excludes the numbers, so that runs with different numbers share it.
    name: String,
    limit: Limit,
    /// Units per second, before headroom.
    rate: f64,
    per: Duration,
    /// The window, if the limit caps calls in one.
    window: Option<Window>,
}

/// The terms of a limit.
struct Terms {
    unit: Unit,
    count: u64,
    per: Duration,
    kind: LimitKind,
    burst: Option<u64>,
}

impl Declared {
    /// The limit for these terms with `headroom`, for calls with a weight of at most `heaviest`.
    fn new(terms: &Terms, headroom: f64, heaviest: u32) -> Declared {
        let Terms { unit, count, per, kind, burst } = *terms;
        let (how, limit) = match kind {
            LimitKind::Window => ("window", Limit::window(unit, count, per, headroom, heaviest)),
            LimitKind::Bucket => ("bucket", Limit::bucket(unit, count, per, burst.unwrap_or(count), headroom)),
        };
        let what = if unit == Unit::Points { "points" } else { "calls" };
        #[allow(clippy::cast_precision_loss)]
        let rate = count as f64 / per.as_secs_f64();
        let window = (kind == LimitKind::Window && unit == Unit::Calls).then_some(Window { calls: count, per });
        Declared { name: format!("{what} in {} s, {how}", per.as_secs_f64()), limit, rate, per, window }
    }
}

/// The matchers and limits of a policy.
fn policy(def: &CallRatePolicy, headroom: f64, cx: &EvalContext) -> Result<(Vec<Matcher>, Vec<Declared>)> {
    let matchers = match def {
        CallRatePolicy::UnlimitedCallRatePolicy(def) => &def.matchers,
        CallRatePolicy::FixedWindowCallRatePolicy(def) => &def.matchers,
        CallRatePolicy::MovingWindowCallRatePolicy(def) => &def.matchers,
    };
    let matchers: Vec<Matcher> = matchers.iter().map(|m| Matcher::build(m, cx)).collect::<Result<_>>()?;
    let heaviest = heaviest(&matchers);
    let limit = |calls: &Text, per: &Text| -> Result<Declared> {
        let count = whole(calls, cx)?;
        let text = Template::compile(per, &[])?.text(&Vars::new(cx))?;
        let time = Period::parse(&text).and_then(|period| time_of(&period)).map_err(|e| per.at.fault(e))?;
        let terms = Terms { unit: Unit::Calls, count, per: time, kind: LimitKind::Window, burst: None };
        Ok(Declared::new(&terms, headroom, heaviest))
    };
    let limits = match def {
        CallRatePolicy::UnlimitedCallRatePolicy(_) => Vec::new(),
        CallRatePolicy::FixedWindowCallRatePolicy(def) => vec![limit(&def.call_limit, &def.period)?],
        CallRatePolicy::MovingWindowCallRatePolicy(def) => {
            if def.rates.is_empty() {
                return Err(def.at.field("rates", None).fault("`rates` is empty"));
            }
            def.rates.iter().map(|r| limit(&r.limit, &r.interval)).collect::<Result<_>>()?
        }
    };
    Ok((matchers, limits))
}

/// The largest weight of a call.
fn heaviest(matchers: &[Matcher]) -> u32 {
    matchers.iter().map(|m| m.weight).max().unwrap_or(1)
}

/// The window of a limit: more than zero, at most a year.
fn time_of(period: &Period) -> std::result::Result<Duration, String> {
    let time = period.length();
    if time.is_zero() || time > Duration::from_secs(366 * 86_400) {
        return Err("the period must be longer than 0, and no longer than a year".into());
    }
    Ok(time)
}

/// A positive integer.
fn whole(text: &Text, cx: &EvalContext) -> Result<u64> {
    let number = Template::compile(text, &[])?.number(&Vars::new(cx))?;
    if number < 1.0 {
        return Err(text.at.fault("expected an integer of 1 or more"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(number as u64)
}

impl Budget {
    /// Adds a policy with these limits.
    fn govern(&mut self, limits: impl IntoIterator<Item = Declared>) {
        let from = self.rules.limits.len();
        let mut narrowest: Option<Window> = None;
        for declared in limits {
            narrowest = narrowest.into_iter().chain(declared.window).min_by_key(|window| window.calls);
            if declared.limit.unit == Unit::Calls {
                self.caps.push((declared.rate, declared.per));
            }
            // Two limits of one kind in one budget are separate.
            let twins = self.rules.limits.iter().filter(|(name, _)| name.starts_with(&declared.name)).count();
            let name = if twins == 0 { declared.name } else { format!("{} ({twins})", declared.name) };
            self.rules.limits.push((name, declared.limit));
        }
        self.rules.policies.push((from..self.rules.limits.len()).collect());
        self.narrowest.push(narrowest);
    }

    /// The policy for a call, if any, and the call's weight; a fault if the weight exceeds a whole window of its
    /// policy: no wait would be long enough.
    pub(super) fn admit(&self, call: &Call<'_>) -> Result<(Option<usize>, u32)> {
        let (policy, weight) = self.place(call);
        let narrowest = policy.and_then(|policy| self.narrowest.get(policy).copied().flatten());
        let Some(window) = narrowest.filter(|window| u64::from(weight) > window.calls) else {
            return Ok((policy, weight));
        };
        let Window { calls, per } = window;
        let limit = format!("{} in {} s", number_of(calls, "call"), per.as_secs_f64());
        let text = format!(
            "a request weighs {}, more than its whole limit ({limit}): it can never be sent",
            number_of(weight.into(), "call")
        );
        let hint = "lower the `weight` of its matcher in the manifest's `api_budget`, or raise the limit";
        Err(Fault::data(text.clone()).hint(hint).airbyte_message(text, Failure::System))
    }

    /// The policy for a call, if any, and the call's weight: the first match, as in the reference.
    pub(super) fn place(&self, call: &Call<'_>) -> (Option<usize>, u32) {
        let cost = |matchers: &Vec<Matcher>| {
            let all = matchers.is_empty().then_some(1);
            all.or_else(|| matchers.iter().find(|m| m.matches(call)).map(|m| m.weight))
        };
        let found = self.policies.iter().enumerate().find_map(|(at, matchers)| Some((at, cost(matchers)?)));
        match (self.overridden, found) {
            (true, found) => (Some(0), found.map_or(1, |(_, weight)| weight)),
            (false, Some((at, weight))) => (Some(at), weight),
            (false, None) => (None, 1),
        }
    }
}

impl Matcher {
    /// Compiles a matcher.
    pub fn build(def: &HttpRequestRegexMatcher, cx: &EvalContext) -> Result<Matcher> {
        let path = match def.url_path_pattern.as_deref().filter(|p| !p.is_empty()) {
            Some(pattern) => Some(regex::RegexBuilder::new(pattern).size_limit(1 << 20).build().map_err(|e| {
                def.at.field("url_path_pattern", None).fault(format!("the pattern does not compile: {e}"))
            })?),
            None => None,
        };
        let weight = match &def.weight {
            Some(text) => u32::try_from(whole(text, cx)?).unwrap_or(u32::MAX),
            None => 1,
        };
        Ok(Matcher {
            method: def.method.as_ref().map(|m| m.to_uppercase()),
            base: def.url_base.as_ref().map(|b| b.trim_end_matches('/').to_owned()),
            path,
            params: object(def.params.as_ref(), &def.at.field("params", None))?,
            headers: object(def.headers.as_ref(), &def.at.field("headers", None))?,
            weight,
        })
    }

    /// Does the call match?
    pub fn matches(&self, call: &Call<'_>) -> bool {
        let (address, query) = call.url.split_once('?').unwrap_or((call.url, ""));
        let host = address.find("://").map_or(0, |at| at + 3);
        let split = address[host..].find('/').map_or(address.len(), |at| host + at);
        let (base, path) = address.split_at(split);
        let holds = |name: &str, value: &Json| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .any(|(n, v)| percent::decode(n) == name && percent::decode(v) == text_of(value))
        };
        let sent = |name: &str, value: &Json| {
            call.headers.iter().any(|(n, v)| n.eq_ignore_ascii_case(name) && *v == text_of(value))
        };
        self.method.as_deref().is_none_or(|m| m == call.method)
            && self.base.as_deref().is_none_or(|b| b == base)
            && self.path.as_ref().is_none_or(|p| p.is_match(path.trim_end_matches('/')))
            && self.params.iter().all(|(n, v)| holds(n, v))
            && self.headers.iter().all(|(n, v)| sent(n, v))
    }
}

fn object(value: Option<&Json>, at: &Place) -> Result<Map<String, Json>> {
    match value {
        None | Some(Json::Null) => Ok(Map::new()),
        Some(Json::Object(map)) => Ok(map.clone()),
        Some(_) => Err(at.fault("expected names with values")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A budget with one policy: a window of `calls`, in which a call to `/heavy` takes `weight`.
    fn budget(calls: u64, weight: u32) -> Budget {
        let matcher = |pattern: &str, weight| Matcher {
            method: None,
            base: None,
            path: Some(Regex::new(pattern).expect("a pattern")),
            params: Map::new(),
            headers: Map::new(),
            weight,
        };
        let mut budget =
            Budget { policies: vec![vec![matcher("^/heavy", weight), matcher("^/", 1)]], ..Budget::default() };
        let per = Duration::from_secs(3600);
        let terms = Terms { unit: Unit::Calls, count: calls, per, kind: LimitKind::Window, burst: None };
        budget.govern([Declared::new(&terms, HEADROOM, weight)]);
        budget
    }

    fn get(url: &str) -> Call<'_> {
        Call { method: "GET", url, headers: &[] }
    }

    #[test]
    fn a_call_heavier_than_a_whole_window_is_refused_at_once() {
        let (heavy, light) = (get("https://api.test/heavy"), get("https://api.test/light"));
        let fault = budget(2, 3).admit(&heavy).expect_err("it can never be sent");
        assert!(fault.message.contains("weighs 3 calls") && fault.message.contains("2 calls in 3600 s"), "{fault}");
        assert_eq!(budget(2, 3).admit(&light).expect("a light one goes"), (Some(0), 1));
        // The headroom is ours, not the vendor's: a call that fills the whole window is allowed.
        assert_eq!(budget(3, 3).admit(&heavy).expect("it fills the window"), (Some(0), 3));
    }
}
