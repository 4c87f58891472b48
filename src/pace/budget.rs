//! Which limits hold for which calls.
//!
//! Comes in: the manifest's `HTTPAPIBudget`, and the config's `dripfeed.pace`, which overrides it. Goes out: a [`Pace`].
//! Called by `cli`. The first policy that matches a call governs it, and a matcher compares as airbyte-cdk's
//! `HttpRequestRegexMatcher` does.

use std::time::Duration;

use regex::Regex;
use serde_json::{Map, Value as Json};

use super::limit::Limit;
use super::{Call, Pace};
use crate::config;
use crate::config::LimitKind;
use crate::fault::{Fault, Result};
use crate::manifest::model::{ApiBudget, CallRatePolicy, HttpRequestRegexMatcher};
use crate::manifest::node::{Place, Text};
use crate::percent;
use crate::plan::{Ground, Template, Vars, text_of};
use crate::timefmt::Period;

/// The share of a limit that is used when the config does not say.
const HEADROOM: f64 = 0.98;

/// Limits for calls of a kind.
#[derive(Debug)]
pub(super) struct Policy {
    matchers: Vec<Matcher>,
    pub(super) limits: Vec<Limit>,
}

/// Calls of a kind.
#[derive(Debug)]
pub struct Matcher {
    method: Option<String>,
    base: Option<String>,
    path: Option<Regex>,
    params: Map<String, Json>,
    headers: Map<String, Json>,
    weight: u32,
}

/// The pace of an account: the config's limits, else the manifest's, else none.
pub fn build(def: Option<&ApiBudget>, ours: &config::Pace, ground: &Ground) -> Result<Pace> {
    let headroom = ours.headroom.unwrap_or(HEADROOM);
    let mut in_flight = u64::MAX;
    if !ours.limits.is_empty() {
        let mut limits = Vec::new();
        for (number, limit) in ours.limits.iter().enumerate() {
            let time = |per: &Period| {
                time_of(per).map_err(|e| Fault::config(format!("config `dripfeed.pace.limits[{number}].per`: {e}")))
            };
            match limit {
                config::Limit::Calls { calls, per, kind: LimitKind::Window, .. } => {
                    limits.push(Limit::window(*calls, time(&per.0)?, headroom));
                }
                config::Limit::Calls { calls, per, kind: LimitKind::Bucket, burst } => {
                    limits.push(Limit::bucket(*calls, time(&per.0)?, burst.unwrap_or(*calls), headroom));
                }
                config::Limit::InFlight { in_flight: most } => in_flight = in_flight.min(*most),
                // What a call costs in points is not known yet.
                config::Limit::Points { .. } => {}
            }
        }
        return Ok(Pace::new(vec![Policy { matchers: Vec::new(), limits }], in_flight));
    }
    let Some(ApiBudget::HTTPAPIBudget(def)) = def else { return Ok(Pace::new(Vec::new(), in_flight)) };
    let policies = def.policies.iter().map(|p| policy(p, headroom, ground)).collect::<Result<_>>()?;
    Ok(Pace::new(policies, in_flight))
}

fn policy(def: &CallRatePolicy, headroom: f64, ground: &Ground) -> Result<Policy> {
    let limit = |calls: &Text, per: &Text| -> Result<Limit> {
        let count = whole(calls, ground)?;
        let text = Template::compile(per, &[])?.text(&Vars::new(ground))?;
        let time = Period::parse(&text).and_then(|period| time_of(&period)).map_err(|e| per.at.fault(e))?;
        Ok(Limit::window(count, time, headroom))
    };
    let (matchers, limits) = match def {
        CallRatePolicy::UnlimitedCallRatePolicy(def) => (&def.matchers, Vec::new()),
        CallRatePolicy::FixedWindowCallRatePolicy(def) => (&def.matchers, vec![limit(&def.call_limit, &def.period)?]),
        CallRatePolicy::MovingWindowCallRatePolicy(def) => {
            if def.rates.is_empty() {
                return Err(def.at.field("rates", None).fault("`rates` is empty"));
            }
            (&def.matchers, def.rates.iter().map(|r| limit(&r.limit, &r.interval)).collect::<Result<_>>()?)
        }
    };
    Ok(Policy { matchers: matchers.iter().map(|m| Matcher::build(m, ground)).collect::<Result<_>>()?, limits })
}

/// The time that a limit counts in: more than nothing, at most a year.
fn time_of(period: &Period) -> std::result::Result<Duration, String> {
    let time = period.length();
    if time.is_zero() || time > Duration::from_secs(366 * 86_400) {
        return Err("the time must be longer than nothing, and no longer than a year".into());
    }
    Ok(time)
}

/// A whole number from 1.
fn whole(text: &Text, ground: &Ground) -> Result<u64> {
    let number = Template::compile(text, &[])?.number(&Vars::new(ground))?;
    if number < 1.0 {
        return Err(text.at.fault("expected a whole number from 1"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(number as u64)
}

impl Policy {
    /// What the call costs under this policy; nothing when it does not govern the call.
    pub(super) fn cost(&self, call: &Call<'_>) -> Option<u32> {
        if self.matchers.is_empty() {
            return Some(1);
        }
        self.matchers.iter().find(|m| m.matches(call)).map(|m| m.weight)
    }
}

impl Matcher {
    /// Compiles one.
    pub fn build(def: &HttpRequestRegexMatcher, ground: &Ground) -> Result<Matcher> {
        let path = match def.url_path_pattern.as_deref().filter(|p| !p.is_empty()) {
            Some(pattern) => Some(regex::RegexBuilder::new(pattern).size_limit(1 << 20).build().map_err(|e| {
                def.at.field("url_path_pattern", None).fault(format!("the pattern does not compile: {e}"))
            })?),
            None => None,
        };
        let weight = match &def.weight {
            Some(text) => u32::try_from(whole(text, ground)?).unwrap_or(u32::MAX),
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

    /// Is the call of this kind?
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
