//! Tokens that take turns, where the recorded cases do not reach: pauses, signals, threads, secrets.

use std::time::{Duration, SystemTime};

use serde_json::{Value as Json, json};

use crate::support::tap::{Tap, items};
use crate::support::vendor::Vendor;

/// A stream of several slices with tokens that take turns; `more` is added to the authenticator.
fn manifest(slices: usize, more: &Json) -> String {
    let mut authenticator = json!({
        "type": "RateLimitedMultipleTokenAuthenticator", "tokens": "{{ config['tokens'] }}",
        "quota_status_source": {"type": "QuotaStatusSource", "url": "{{ config['url'] }}/quota"},
        "quotas": [{"type": "TokenQuota", "name": "core", "remaining_path": ["left"], "reset_path": ["resets"]}],
    });
    authenticator.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let values: Vec<String> = (0..slices).map(|n| n.to_string()).collect();
    let router = json!({"type": "ListPartitionRouter", "values": values, "cursor_field": "part"});
    items(
        &json!({"id": {"type": "integer"}}),
        &json!({}),
        &json!({"requester": {"authenticator": authenticator}, "partition_router": router}),
    )
}

/// A vendor that gives each token a number of calls, and new ones after some seconds.
fn vendor(left: &[(&str, u64)], seconds: u64, reply: &Json) -> Vendor {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let quota = |(token, left): &(&str, u64)| {
        json!({"path": "/quota", "header": {"Authorization": format!("Bearer {token}")},
               "replies": [{"status": 200, "json": {"left": left, "resets": now + seconds}}]})
    };
    let mut routes: Vec<Json> = left.iter().map(quota).collect();
    routes.push(json!({"path": "/items", "replies": [reply]}));
    Vendor::start(&json!({"routes": routes}))
}

fn good() -> Json {
    json!({"status": 200, "json": {"data": [{"id": 1}]}})
}

fn read(vendor: &Vendor, manifest: &str) -> Tap {
    Tap::new("read -v").source(manifest).config(&json!({"url": vendor.url, "tokens": "first-key,second-key"}))
}

#[test]
fn threads_take_no_call_twice() {
    let vendor = vendor(&[("first-key", 30), ("second-key", 40)], 3600, &good());
    let none = json!({"budget_min_reserve": 0, "budget_reserve_fraction": 0, "max_wait_time": "PT0S"});
    let ran = read(&vendor, &manifest(71, &none)).run();
    ran.expect(69, &["all tokens are used up for `core`"]);
    let by = |token: &str| {
        vendor.asked().iter().filter(|a| a.path == "/items" && a.headers["authorization"].ends_with(token)).count()
    };
    assert_eq!((by("first-key"), by("second-key")), (30, 40));
    assert_eq!(vendor.asked().iter().filter(|a| a.path == "/quota").count(), 2);
    assert!(!ran.err.contains("first-key") && !ran.err.contains("second-key"), "{}", ran.err);
}

#[test]
fn few_calls_are_spread_until_there_are_new_ones() {
    let vendor = vendor(&[("first-key", 3), ("second-key", 2)], 3, &good());
    let ran = read(&vendor, &manifest(2, &json!({}))).run();
    ran.expect(0, &["few calls are left for `core`"]);
    let asked = vendor.asked();
    // Four calls are left for two to three seconds after the first, which waits for its part of them.
    let waited = asked[2].at - asked[1].at;
    assert!((Duration::from_millis(450)..Duration::from_millis(1100)).contains(&waited), "{waited:?}");
    // No pause where one token has more than its reserve.
    let vendor = self::vendor(&[("first-key", 3), ("second-key", 60)], 30, &good());
    let ran = read(&vendor, &manifest(2, &json!({}))).run();
    ran.expect(0, &[]);
    assert!(vendor.asked()[2].at - vendor.asked()[1].at < Duration::from_millis(450));
}

#[test]
fn a_signal_ends_the_wait_for_new_calls() {
    let vendor = vendor(&[("first-key", 1), ("second-key", 0)], 1800, &good());
    let none = json!({"budget_min_reserve": 0, "budget_reserve_fraction": 0});
    let ran = read(&vendor, &manifest(2, &none)).run_and_stop(|| vendor.asked().len() >= 3);
    ran.expect(143, &[]);
}

#[test]
fn tokens_are_told_to_nobody() {
    let echo = json!({"status": 400, "json": {"error": "no call left for second-key of first-key"}});
    let vendor = vendor(&[("first-key", 90), ("second-key", 90)], 3600, &echo);
    let ran = read(&vendor, &manifest(1, &json!({}))).run();
    ran.expect(40, &["The vendor says: no call left"]);
    assert!(!ran.err.contains("first-key") && !ran.err.contains("second-key"), "{}", ran.err);
}
