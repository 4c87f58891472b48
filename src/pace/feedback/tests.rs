//! The vendors' ways to report rate limits: one line per rule.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::{Cost, Feedback, Names, cost, forbidden_is_limit, read, throttled, wait_in_body, words_of_limit};
use serde_json::json;
use time::OffsetDateTime;
use time::macros::datetime;
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

const NOW: OffsetDateTime = datetime!(2026-03-01 12:00:00 UTC);
/// The vendor's clock is two minutes behind ours.
const DATE: &str = "Sun, 01 Mar 2026 11:58:00 GMT";

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    map
}

fn told(pairs: &[(&str, &str)]) -> (Option<f64>, Option<(u64, f64)>) {
    let Feedback { wait, left, .. } = read(429, &headers(pairs), &Names::default(), NOW);
    (wait.map(|w| w.as_secs_f64()), left.map(|(left, time)| (left, time.as_secs_f64())))
}

fn wait(pairs: &[(&str, &str)]) -> Option<f64> {
    told(pairs).0
}

#[test]
fn retry_after() {
    assert_eq!(wait(&[("Retry-After", "30")]), Some(30.0));
    assert_eq!(wait(&[("Retry-After", "0")]), Some(0.0));
    // A date refers to the vendor's clock, or ours if unknown; a past date means now.
    assert_eq!(wait(&[("Retry-After", "Sun, 01 Mar 2026 11:59:00 GMT"), ("Date", DATE)]), Some(60.0));
    assert_eq!(wait(&[("Retry-After", "Sun, 01 Mar 2026 12:01:00 GMT")]), Some(60.0));
    assert_eq!(wait(&[("Retry-After", "Sun, 01 Mar 2026 11:00:00 GMT")]), Some(0.0));
    for odd in ["-1", "NaN", "inf", "1e30", "1000000000000000000000000000000", "1, 2", "", "\"30\"", "soon", "+5"] {
        assert_eq!(wait(&[("Retry-After", odd)]), None, "{odd}");
    }
    // Contradicting values are ignored; the next source counts.
    assert_eq!(wait(&[("Retry-After", "9"), ("Retry-After", "9")]), Some(9.0));
    assert_eq!(wait(&[("Retry-After", "1"), ("Retry-After", "2")]), None);
    assert_eq!(wait(&[("Retry-After", "x"), ("RateLimit-Reset", "7")]), Some(7.0));
}

#[test]
fn the_order_of_sources() {
    let all =
        [("X-RateLimit-Reset", "4"), ("RateLimit-Reset", "3"), ("RateLimit", "\"a\";r=0;t=2"), ("Retry-After", "1")];
    for n in 0..4 {
        let left: Vec<_> = all[..4 - n].to_vec();
        let expected = [1.0, 2.0, 3.0, 4.0][n];
        assert_eq!(wait(&left), Some(expected), "{left:?}");
    }
    assert_eq!(wait(&[]), None);
}

#[test]
fn what_a_reset_is_shows_in_its_size() {
    for (text, seconds) in [
        ("12", 12.0),
        ("12.5", 12.5),
        // 2026-03-01T11:59:00Z in seconds and in milliseconds, and as text.
        ("1772366340", 60.0),
        ("1772366340000", 60.0),
        ("2026-03-01T11:59:00Z", 60.0),
        ("2026-03-01T12:59:00+01:00", 60.0),
        // Long ago.
        ("1000000001", 0.0),
    ] {
        assert_eq!(wait(&[("X-RateLimit-Reset", text), ("Date", DATE)]), Some(seconds), "{text}");
    }
    // Neither a duration nor a time.
    for odd in ["99999999", "100000000000", "1e99", "-5", "tomorrow", "5;w=1"] {
        assert_eq!(wait(&[("X-RateLimit-Reset", odd), ("Date", DATE)]), None, "{odd}");
    }
}

#[test]
fn what_is_left_and_until_when() {
    for pairs in [
        &[("RateLimit", "\"default\";r=5;t=10")][..],
        &[("RateLimit", "limit=100, remaining=5, reset=10")],
        &[("RateLimit-Remaining", "5"), ("RateLimit-Reset", "10")],
        &[("RateLimit", "\"minute\";r=50;t=3, \"hour\";r=5;t=10")],
        &[("X-RateLimit-Remaining", "5"), ("X-RateLimit-Reset", "10")],
        &[("X-Rate-Limit-Remaining", "5"), ("X-Rate-Limit-Reset", "10")],
        &[("X-RateLimit-Requests-Remaining", "5"), ("X-RateLimit-Requests-Reset", "1772366290000"), ("Date", DATE)],
        &[("x-rate-limit-api-token-remaining", "5"), ("x-rate-limit-api-token-interval-ms", "10000")],
    ] {
        assert_eq!(told(pairs).1, Some((5, 10.0)), "{pairs:?}");
    }
    // A limit of zero means no limit.
    assert_eq!(
        told(&[("X-RateLimit-Limit", "0"), ("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "10")]),
        (None, None)
    );
    // A rejection does not wait for the reset of a limit with calls left.
    assert_eq!(wait(&[("X-RateLimit-Remaining", "4800"), ("X-RateLimit-Reset", "3000")]), None);
    assert_eq!(wait(&[("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "3000")]), Some(3000.0));
    // Remaining calls without a reset time cannot be used.
    assert_eq!(told(&[("X-RateLimit-Remaining", "0")]).1, None);
    assert_eq!(told(&[("X-RateLimit-Remaining", "-1"), ("X-RateLimit-Reset", "10")]).1, None);
    assert_eq!(told(&[("X-RateLimit-Remaining", "5, 3"), ("X-RateLimit-Reset", "10")]).1, None);
}

#[test]
fn a_429_names_the_limit() {
    let limit = |status, pairs: &[(&str, &str)]| read(status, &headers(pairs), &Names::default(), NOW).limit;
    assert_eq!(limit(429, &[("X-RateLimit-Limit", "60"), ("X-RateLimit-Remaining", "0")]), Some(60));
    assert_eq!(limit(429, &[("RateLimit-Limit", "60")]), Some(60));
    assert_eq!(limit(200, &[("X-RateLimit-Limit", "60")]), None);
    assert_eq!(limit(429, &[("X-RateLimit-Limit", "0")]), None, "no limit");
    assert_eq!(limit(429, &[("X-RateLimit-Limit", "60, 60;w=10")]), None);
}

#[test]
fn names_that_the_manifest_pins() {
    let names = Names { remaining: Some("X-Left".into()), reset: Some("X-More".into()), used_up: vec![420] };
    let say = |status, pairs: &[(&str, &str)]| read(status, &headers(pairs), &names, NOW).left;
    assert_eq!(say(200, &[("X-Left", "3"), ("X-More", "9")]), Some((3, Duration::from_secs(9))));
    assert_eq!(say(420, &[("X-More", "9")]), Some((0, Duration::from_secs(9))));
    assert_eq!(say(429, &[("X-More", "9")]), None);
}

#[test]
fn throttles_that_are_no_429() {
    let evident = |pairs: &[(&str, &str)]| {
        let headers = headers(pairs);
        forbidden_is_limit(&headers, &read(403, &headers, &Names::default(), NOW))
    };
    assert!(evident(&[("Retry-After", "60")]));
    assert!(evident(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1772366340")]));
    assert!(evident(&[("X-RateLimit-Limit", "60"), ("X-RateLimit-Remaining", "0")]));
    assert!(!evident(&[("X-RateLimit-Limit", "0"), ("X-RateLimit-Remaining", "0")]));
    assert!(!evident(&[("x-ratelimit-remaining", "4999"), ("x-ratelimit-reset", "1772366340")]));
    assert!(!evident(&[("Retry-After", "soon")]) && !evident(&[]));
    for code in ["THROTTLED", "RATELIMITED", "COMPLEXITY_BUDGET_EXHAUSTED", "API_TEMPORARILY_BLOCKED"] {
        let body = json!({"errors": [{"message": "x", "extensions": {"code": code}}]});
        assert!(throttled(&body), "{code}");
    }
    for body in [
        json!({"errors": [{"type": "RATE_LIMITED"}]}),
        json!({"errors": [{"code": "rateLimitExceeded"}]}),
        json!({"error": {"code": "too_many_requests"}}),
    ] {
        assert!(throttled(&body), "{body}");
    }
    assert!(!throttled(&json!({"errors": [{"extensions": {"code": "NOT_FOUND"}}]})));
    assert!(!throttled(&json!({"data": "THROTTLED", "errors": "THROTTLED"})));
}

#[test]
fn what_a_graphql_request_cost() {
    let shopify = json!({"extensions": {"cost": {"requestedQueryCost": 101, "actualQueryCost": 46,
        "throttleStatus": {"maximumAvailable": 1000.0, "currentlyAvailable": 954, "restoreRate": 50.0}}}});
    assert_eq!(cost(&shopify, &headers(&[])), Cost { cost: Some(46.0), left: Some(954.0) });
    let monday = json!({"data": {"complexity": {"before": 1000, "query": 30, "after": 970}}});
    assert_eq!(cost(&monday, &headers(&[])), Cost { cost: Some(30.0), left: Some(970.0) });
    let linear = headers(&[("X-Complexity", "12"), ("X-RateLimit-Complexity-Remaining", "249988")]);
    assert_eq!(cost(&json!({"data": {}}), &linear), Cost { cost: Some(12.0), left: Some(249_988.0) });
    assert_eq!(cost(&json!([1]), &headers(&[])), Cost::default());
}

#[test]
fn a_refusal_names_its_wait_in_the_body() {
    for (body, seconds) in [
        // monday
        (
            json!({"errors": [{"message": "…", "extensions": {"code": "COMPLEXITY_BUDGET", "retry_in_seconds": 4}}]}),
            Some(4.0),
        ),
        // Todoist
        (json!({"error": "Too many requests", "error_extra": {"retry_after": 3, "event_id": "a"}}), Some(3.0)),
        // Discord
        (json!({"message": "You are being rate limited.", "retry_after": 64.57, "global": false}), Some(64.57)),
        // Telegram
        (json!({"ok": false, "error_code": 429, "parameters": {"retry_after": 35}}), Some(35.0)),
        (json!({"error": {"message": "slow down", "retryAfter": "12"}}), Some(12.0)),
        (json!({"retry_after": -1}), None),
        (json!({"retry_after": "soon"}), None),
        (json!({"items": [{"retry_after": 9}]}), None),
        (json!([]), None),
    ] {
        assert_eq!(wait_in_body(&body).map(|wait| wait.as_secs_f64()), seconds, "{body}");
    }
}

#[test]
fn words_tell_a_limit_from_a_missing_permission() {
    for (text, limit) in [
        ("You have exceeded a secondary rate limit. Please wait a few minutes before you try again.", true),
        ("You have triggered an abuse detection mechanism.", true),
        ("Too Many Requests", true),
        ("Quota exceeded for quota metric 'Queries'", true),
        ("Resource not accessible by personal access token", false),
        ("Your plan is limited to one workspace", false),
        ("Must have admin rights", false),
    ] {
        assert_eq!(words_of_limit(text), limit, "{text}");
    }
}
