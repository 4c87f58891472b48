//! What an answer says of the vendor's limits.
//!
//! Input: an answer's headers and, where a GraphQL API tells its cost there, its body. Output: a [`Feedback`].
//! Called by `fetch`. Every rule here can only slow calls down; what cannot be read says nothing.
//!
//! Sources: RFC 9110 §10.2.3 (Retry-After), draft-ietf-httpapi-ratelimit-headers (`RateLimit`, and `RateLimit-Reset` of
//! its older versions), and the dialects of `X-RateLimit-*` that vendors document.

use std::time::Duration;

use serde_json::Value as Json;
use time::OffsetDateTime;
use ureq::http::HeaderMap;

use crate::base::timefmt;

/// A wait is no longer than this: more is no time that anyone meant.
const LONGEST: f64 = 366.0 * 86_400.0;
/// A reset below this is a number of seconds from now.
const MOST_DELTA: f64 = 1e7;
/// A reset in this range is a time in seconds since 1970.
const EPOCH_SECONDS: std::ops::RangeInclusive<f64> = 1e9..=2e10;
/// A reset from this on is a time in milliseconds since 1970.
const EPOCH_MILLIS: std::ops::RangeInclusive<f64> = 1e12..=2e13;

/// What vendors call what is left, and when there is more: the draft's older names first, then the dialects.
const PAIRS: [(&str, &str); 7] = [
    ("ratelimit-remaining", "ratelimit-reset"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("x-rate-limit-remaining", "x-rate-limit-reset"),
    ("x-ratelimit-requests-remaining", "x-ratelimit-requests-reset"),
    ("x-ratelimit-endpoint-requests-remaining", "x-ratelimit-endpoint-requests-reset"),
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-rate-limit-api-token-remaining", "x-rate-limit-api-token-interval-ms"),
];

/// What a manifest's budget says of the answers.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// The header of what is left.
    pub remaining: Option<String>,
    /// The header of when there is more.
    pub reset: Option<String>,
    /// Statuses that say that nothing is left.
    pub used_up: Vec<u64>,
}

/// What an answer says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Feedback {
    /// Wait for so long, where it names a time.
    pub wait: Option<Duration>,
    /// Calls that are left, and the time until there are more.
    pub left: Option<(u64, Duration)>,
}

/// What an answer says that a request cost in points.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Points that it cost.
    pub cost: Option<f64>,
    /// Points that are left.
    pub left: Option<f64>,
}

/// The text of a header that stands there once.
fn one<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?;
    // Said twice in two ways, it says nothing that can be relied on.
    if all.any(|other| other != first) {
        return None;
    }
    first.to_str().ok().map(str::trim).filter(|t| !t.is_empty())
}

/// A number that is one: digits with perhaps a fraction, not negative, not a list, not in quotes.
fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    text.parse::<f64>().ok().filter(|n| plain && n.is_finite())
}

fn seconds(n: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(n.max(0.0)).ok().filter(|_| n <= LONGEST)
}

/// The vendor's clock at the answer; ours where it tells none.
fn server_time(headers: &HeaderMap, now: OffsetDateTime) -> OffsetDateTime {
    one(headers, "date").and_then(|d| httpdate::parse_http_date(d).ok()).map_or(now, OffsetDateTime::from)
}

/// Time until a moment on the vendor's clock.
fn until(then: OffsetDateTime, headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    seconds((then - server_time(headers, now)).as_seconds_f64())
}

/// Seconds until an HTTP date, by the vendor's clock where it tells one; none are left until one that is past.
pub fn until_date(text: &str, headers: &HeaderMap, now: OffsetDateTime) -> Option<f64> {
    let then = OffsetDateTime::from(httpdate::parse_http_date(text.trim()).ok()?);
    Some((then - server_time(headers, now)).as_seconds_f64().max(0.0))
}

/// `Retry-After`: seconds, or a date against the answer's `Date`.
pub fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let text = one(headers, "retry-after")?;
    match number(text) {
        Some(n) => seconds(n),
        None => until_date(text, headers, now).and_then(seconds),
    }
}

/// A reset: what it is shows in its size, unless it is a time in text.
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

/// What the draft's own header says, of each of its limits: what is left, and the time until more. A list of items (RFC
/// 8941), `"default";r=50;t=30`, or in older versions one limit in all, `limit=100, remaining=50, reset=5`.
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

/// What an older version of the draft calls it, all in one header: `limit=100, remaining=50, reset=5`.
fn alias(key: &str) -> &'static str {
    if key == "r" { "remaining" } else { "reset" }
}

/// Every pair of names that may stand in an answer, the manifest's first; of those it may pin one and leave the other.
fn pairs(names: &Names) -> impl Iterator<Item = (&str, &str)> {
    let pinned = names.remaining.is_some() || names.reset.is_some();
    let own = pinned
        .then(|| (names.remaining.as_deref().unwrap_or(PAIRS[0].0), names.reset.as_deref().unwrap_or(PAIRS[0].1)));
    own.into_iter().chain(PAIRS)
}

/// The time that a pair of headers names until there is more.
fn pair_reset(name: &str, headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let text = one(headers, name)?;
    if name.ends_with("-ms") { number(text).and_then(|ms| seconds(ms / 1000.0)) } else { reset(text, headers, now) }
}

/// What an answer's status and headers say.
pub fn read(status: u16, headers: &HeaderMap, names: &Names, now: OffsetDateTime) -> Feedback {
    let mut announced = draft(headers);
    let mut resets = Vec::new();
    for (remaining, reset) in pairs(names) {
        // A limit of nothing is none.
        let limit = remaining.replace("remaining", "limit");
        if limit != remaining && one(headers, &limit).and_then(count) == Some(0) {
            continue;
        }
        let (left, time) = (one(headers, remaining).and_then(count), pair_reset(reset, headers, now));
        match (left, time) {
            (Some(left), Some(time)) => announced.push((left, time)),
            // It may be this one that is used up.
            (None, Some(time)) => resets.push(time),
            _ => {}
        }
    }
    // Of several limits the tightest holds; of two that are used up, the one that takes longest.
    let left = announced.iter().copied().min_by_key(|(left, time)| (*left, std::cmp::Reverse(*time)));
    let used_up = || left.filter(|(left, _)| *left == 0).map(|(_, time)| time);
    let wait = retry_after(headers, now).or_else(used_up).or_else(|| resets.first().copied());
    let none_left = || wait.filter(|_| names.used_up.contains(&status.into())).map(|wait| (0, wait));
    Feedback { wait, left: left.or_else(none_left) }
}

/// Is an answer that is no 429 a throttle all the same? A 403 says so when nothing is left, be it without a time until
/// there is more, or it names a time to come back (GitHub's limits).
pub fn forbidden_is_limit(headers: &HeaderMap, feedback: &Feedback) -> bool {
    let is_nothing = |name: &str| one(headers, name).and_then(count) == Some(0);
    let used_up = |name: &str| is_nothing(name) && !is_nothing(&name.replace("remaining", "limit"));
    headers.contains_key("retry-after") && feedback.wait.is_some()
        || feedback.left.is_some_and(|(left, _)| left == 0)
        || PAIRS.iter().any(|(remaining, _)| used_up(remaining))
}

/// Codes by which APIs say that a request was too much, in an answer that is else a 200 or 400: letters and digits, in
/// lower case.
const CODES: [&str; 5] =
    ["throttled", "toomanyrequests", "complexitybudgetexhausted", "apitemporarilyblocked", "maxconcurrencyexceeded"];

/// A part of many others.
const CODE_PART: &str = "ratelimit";

/// Do the `errors` or the `error` of an answer have the code of a limit?
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

/// Words by which an error says that it is a limit, in lower case (GitHub's secondary limits have no others).
const WORDS: [&str; 7] =
    ["rate limit", "ratelimit", "rate-limit", "too many requests", "abuse detection", "throttled", "quota exceeded"];

/// Does the text of an error say that it is a limit?
pub fn words_of_limit(text: &str) -> bool {
    let text = text.to_lowercase();
    WORDS.iter().any(|words| text.contains(words))
}

/// What vendors call the seconds to wait in the body of a refusal: monday and many, then Discord's and Todoist's.
const WAITS: [&str; 5] = ["retry_in_seconds", "retry_after", "retryAfter", "retry_after_seconds", "retryAfterSeconds"];

/// The objects in which these stand: the body's own, or one below.
const HOLDERS: [&str; 6] = ["error_extra", "extensions", "error", "error_data", "parameters", "errors"];

/// The wait that the body of a refusal names.
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

/// What a GraphQL answer says of its cost: Shopify's `extensions.cost`, monday's `data.complexity`, Linear's headers.
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
