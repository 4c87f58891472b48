//! Reads the vendor's rate-limit information from a response.
//!
//! Input: a response's headers and, for GraphQL APIs that report cost there, its body. Output: a [`Feedback`]. Called
//! by `fetch`. Every rule here can only slow calls down; unreadable information is ignored.
//!
//! Sources: RFC 9110 §10.2.3 (Retry-After), draft-ietf-httpapi-ratelimit-headers (`RateLimit`, and `RateLimit-Reset` of
//! its older versions), and the dialects of `X-RateLimit-*` that vendors document.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value as Json;
use time::OffsetDateTime;
use ureq::http::HeaderMap;

use crate::base::timefmt;

/// The longest wait: a longer one is not a plausible time.
const LONGEST: f64 = 366.0 * 86_400.0;
/// A reset below this is a number of seconds from now.
const MOST_DELTA: f64 = 1e7;
/// A reset in this range is a time in seconds since 1970.
const EPOCH_SECONDS: std::ops::RangeInclusive<f64> = 1e9..=2e10;
/// A reset from this on is a time in milliseconds since 1970.
const EPOCH_MILLIS: std::ops::RangeInclusive<f64> = 1e12..=2e13;

/// The names of the headers with one limit: of its calls, of those that remain, and of its reset.
struct HeaderNames<N> {
    limit: Option<N>,
    remaining: N,
    reset: N,
}

/// The vendors' names: first the draft's older ones, then the dialects.
const NAMES: [HeaderNames<&str>; 7] = [
    named("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"),
    named("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),
    named("x-rate-limit-limit", "x-rate-limit-remaining", "x-rate-limit-reset"),
    named("x-ratelimit-requests-limit", "x-ratelimit-requests-remaining", "x-ratelimit-requests-reset"),
    named(
        "x-ratelimit-endpoint-requests-limit",
        "x-ratelimit-endpoint-requests-remaining",
        "x-ratelimit-endpoint-requests-reset",
    ),
    named("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    named("x-rate-limit-api-token-limit", "x-rate-limit-api-token-remaining", "x-rate-limit-api-token-interval-ms"),
];

const fn named(limit: &'static str, remaining: &'static str, reset: &'static str) -> HeaderNames<&'static str> {
    HeaderNames { limit: Some(limit), remaining, reset }
}

/// The header names and statuses of a manifest's budget.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// The header with the remaining calls.
    pub remaining: Option<String>,
    /// The header with the reset.
    pub reset: Option<String>,
    /// Statuses that mean that no call is left.
    pub used_up: Vec<u64>,
}

/// The rate-limit information of a response.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Feedback {
    /// The requested wait, if there is one.
    pub wait: Option<Duration>,
    /// The number of remaining calls, and the time until the reset.
    pub left: Option<(u64, Duration)>,
    /// The vendor's limit, where a 429 names it.
    pub limit: Option<u64>,
}

/// The cost of a request in points, from its response.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// The cost in points.
    pub cost: Option<f64>,
    /// The remaining points.
    pub left: Option<f64>,
}

/// The value of a header that occurs once.
fn one<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?;
    // Two contradicting values are unreliable.
    if all.any(|other| other != first) {
        return None;
    }
    first.to_str().ok().map(str::trim).filter(|t| !t.is_empty())
}

/// A plain number: digits with an optional fraction; not negative, not a list, not quoted.
fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    text.parse::<f64>().ok().filter(|n| plain && n.is_finite())
}

fn seconds(n: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(n.max(0.0)).ok().filter(|_| n <= LONGEST)
}

/// The vendor's clock at the time of the response; ours if it is unknown.
fn server_time(headers: &HeaderMap, now: OffsetDateTime) -> OffsetDateTime {
    one(headers, "date").and_then(|d| httpdate::parse_http_date(d).ok()).map_or(now, OffsetDateTime::from)
}

/// The time until an instant on the vendor's clock.
fn until(then: OffsetDateTime, headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    seconds((then - server_time(headers, now)).as_seconds_f64())
}

/// Seconds until an HTTP date, by the vendor's clock if known; zero if the date is past.
pub fn until_date(text: &str, headers: &HeaderMap, now: OffsetDateTime) -> Option<f64> {
    let then = OffsetDateTime::from(httpdate::parse_http_date(text.trim()).ok()?);
    Some((then - server_time(headers, now)).as_seconds_f64().max(0.0))
}

/// `Retry-After`: seconds, or a date relative to the response's `Date`.
pub fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let text = one(headers, "retry-after")?;
    match number(text) {
        Some(n) => seconds(n),
        None => until_date(text, headers, now).and_then(seconds),
    }
}

/// A reset: the size of the number determines its kind, unless it is a time in text.
fn reset(text: &str, headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    #[allow(clippy::cast_possible_truncation)]
    let moment = |n: f64| OffsetDateTime::from_unix_timestamp_nanos((n * 1e9) as i128).ok();
    match number(text) {
        Some(n) if n < MOST_DELTA => seconds(n),
        Some(n) if EPOCH_SECONDS.contains(&n) => until(moment(n)?, headers, now),
        Some(n) if EPOCH_MILLIS.contains(&n) => until(moment(n / 1000.0)?, headers, now),
        Some(_) => None,
        None => timefmt::parse_iso(text).and_then(|then| until(then, headers, now)),
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn count(text: &str) -> Option<u64> {
    number(text).filter(|n| *n < 1e15).map(|n| n as u64)
}

/// The limits in the draft's own header: the remaining calls and the time until the reset. A list of items (RFC
/// 8941), `"default";r=50;t=30`, or in older versions a single limit, `limit=100, remaining=50, reset=5`.
fn draft(headers: &HeaderMap) -> Vec<(u64, Duration)> {
    let text = one(headers, "ratelimit").unwrap_or_default();
    let read = |item: &str| {
        let value = |key: &str| {
            let parts = item.split([';', ',', ' ']).map(str::trim);
            let found = parts.filter_map(|p| p.split_once('=')).find(|(k, _)| *k == key || *k == alias(key));
            found.and_then(|(_, v)| number(v))
        };
        let (left, time) = (value("r")?, value("t")?);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some((left.min(1e15) as u64, seconds(time)?))
    };
    let items: Vec<_> = text.split(',').filter_map(read).collect();
    if items.is_empty() { read(text).into_iter().collect() } else { items }
}

/// The key in older versions of the draft, all in one header: `limit=100, remaining=50, reset=5`.
fn alias(key: &str) -> &'static str {
    if key == "r" { "remaining" } else { "reset" }
}

/// Every set of names that a response may use, the manifest's first; the manifest may set one and leave the other.
fn names_in<'n>(headers: &HeaderMap, names: &'n Names) -> Vec<HeaderNames<Cow<'n, str>>> {
    let pinned = (names.remaining.is_some() || names.reset.is_some()).then(|| {
        let name = |own: &'n Option<String>, other: &'static str| Cow::from(own.as_deref().unwrap_or(other));
        let (remaining, reset) = (name(&names.remaining, NAMES[0].remaining), name(&names.reset, NAMES[0].reset));
        let limit = remaining.replace("remaining", "limit");
        HeaderNames { limit: (limit != remaining).then_some(limit.into()), remaining, reset }
    });
    // Most responses have none of them.
    let has_any =
        headers.keys().any(|name| ["ratelimit", "x-rate"].iter().any(|start| name.as_str().starts_with(start)));
    let known = NAMES.iter().filter(|_| has_any).map(|HeaderNames { limit, remaining, reset }| HeaderNames {
        limit: limit.map(Cow::from),
        remaining: Cow::from(*remaining),
        reset: Cow::from(*reset),
    });
    pinned.into_iter().chain(known).collect()
}

/// The time until the reset in a pair of headers.
fn pair_reset(name: &str, headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let text = one(headers, name)?;
    if name.ends_with("-ms") { number(text).and_then(|ms| seconds(ms / 1000.0)) } else { reset(text, headers, now) }
}

/// Reads the status and headers of a response.
pub fn read(status: u16, headers: &HeaderMap, names: &Names, now: OffsetDateTime) -> Feedback {
    let named = names_in(headers, names);
    let limit_of = |names: &HeaderNames<Cow<'_, str>>| one(headers, names.limit.as_deref()?).and_then(count);
    let mut announced = draft(headers);
    let mut resets = Vec::new();
    for names in &named {
        // A limit of zero means no limit.
        if limit_of(names) == Some(0) {
            continue;
        }
        let HeaderNames { remaining, reset, .. } = names;
        let (left, time) = (one(headers, remaining).and_then(count), pair_reset(reset, headers, now));
        match (left, time) {
            (Some(left), Some(time)) => announced.push((left, time)),
            // This may be the limit that is used up.
            (None, Some(time)) => resets.push(time),
            _ => {}
        }
    }
    // Of several limits the tightest applies; of two that are used up, the one with the longest wait.
    let left = announced.iter().copied().min_by_key(|(left, time)| (*left, std::cmp::Reverse(*time)));
    let used_up = || left.filter(|(left, _)| *left == 0).map(|(_, time)| time);
    let wait = retry_after(headers, now).or_else(used_up).or_else(|| resets.first().copied());
    let none_left = || wait.filter(|_| names.used_up.contains(&status.into())).map(|wait| (0, wait));
    let limit = (status == 429).then(|| named.iter().filter_map(limit_of).find(|limit| *limit > 0)).flatten();
    Feedback { wait, left: left.or_else(none_left), limit }
}

/// Is a response other than 429 still a rate limit? A 403 is one if no call is left, even without a reset time, or if
/// it has a time to retry (GitHub's limits).
pub fn forbidden_is_limit(headers: &HeaderMap, feedback: &Feedback) -> bool {
    let is_nothing = |name: &str| one(headers, name).and_then(count) == Some(0);
    let used_up = |names: &HeaderNames<&str>| is_nothing(names.remaining) && !names.limit.is_some_and(is_nothing);
    headers.contains_key("retry-after") && feedback.wait.is_some()
        || feedback.left.is_some_and(|(left, _)| left == 0)
        || NAMES.iter().any(used_up)
}

/// Error codes for rate limits in responses with status 200 or 400: letters and digits, in lower case.
const CODES: [&str; 5] =
    ["throttled", "toomanyrequests", "complexitybudgetexhausted", "apitemporarilyblocked", "maxconcurrencyexceeded"];

/// A part of many other codes.
const CODE_PART: &str = "ratelimit";

/// Do the `errors` or the `error` of a response have a rate-limit code?
pub fn throttled(body: &Json) -> bool {
    let is_limit = |code: &str| {
        let code: String = code.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        CODES.contains(&&*code) || code.contains(CODE_PART)
    };
    let codes = |error: &Json| {
        let codes = [&error["extensions"]["code"], &error["code"], &error["type"]];
        codes.into_iter().filter_map(Json::as_str).any(is_limit)
    };
    [&body["errors"], &body["error"]].into_iter().any(|errors| match errors {
        Json::Array(errors) => errors.iter().any(codes),
        error => codes(error),
    })
}

/// Words in an error that indicate a rate limit, in lower case (GitHub's secondary limits have only these).
const WORDS: [&str; 7] =
    ["rate limit", "ratelimit", "rate-limit", "too many requests", "abuse detection", "throttled", "quota exceeded"];

/// Does the text of an error indicate a rate limit?
pub fn words_of_limit(text: &str) -> bool {
    let text = text.to_lowercase();
    WORDS.iter().any(|words| text.contains(words))
}

/// The fields with the seconds to wait in the body of a rejection: those of monday and many others, then Discord's
/// and Todoist's.
const WAITS: [&str; 5] = ["retry_in_seconds", "retry_after", "retryAfter", "retry_after_seconds", "retryAfterSeconds"];

/// The objects that contain these fields: the body itself, or one below.
const HOLDERS: [&str; 6] = ["error_extra", "extensions", "error", "error_data", "parameters", "errors"];

/// The wait in the body of a rejection.
pub fn wait_in_body(body: &Json) -> Option<Duration> {
    fn find(at: &Json, depth: usize) -> Option<f64> {
        if let Json::Array(items) = at {
            return items.iter().take(10).find_map(|item| find(item, depth));
        }
        let named = WAITS.iter().find_map(|name| match at.get(name)? {
            Json::String(text) => number(text),
            other => other.as_f64().filter(|n| *n >= 0.0),
        });
        named.or_else(|| (depth < 3).then(|| HOLDERS.iter().find_map(|name| find(at.get(name)?, depth + 1))).flatten())
    }
    find(body, 0).and_then(seconds)
}

/// The cost in a GraphQL response: Shopify's `extensions.cost`, monday's `data.complexity`, Linear's headers.
pub fn cost(body: &Json, headers: &HeaderMap) -> Cost {
    let shopify = &body["extensions"]["cost"];
    let monday = &body["data"]["complexity"];
    let header = |name| one(headers, name).and_then(number);
    let first = |values: [Option<f64>; 4]| values.into_iter().flatten().find(|n| n.is_finite() && *n >= 0.0);
    Cost {
        cost: first([
            shopify["actualQueryCost"].as_f64(),
            monday["query"].as_f64(),
            header("x-complexity"),
            shopify["requestedQueryCost"].as_f64(),
        ]),
        left: first([
            shopify["throttleStatus"]["currentlyAvailable"].as_f64(),
            monday["after"].as_f64(),
            header("x-ratelimit-complexity-remaining"),
            None,
        ]),
    }
}

#[cfg(test)]
mod tests;
