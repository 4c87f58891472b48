//! Pace as the vendor sees it: no window holds more calls than the limits allow, and a 429 holds everyone.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::{Asked, Vendor};

/// A manifest whose one stream asks `/items` once for each of `count` values, eight at a time.
fn many(count: usize, budget: &Json) -> String {
    let values: Vec<String> = (0..count).map(|n| format!("v{n}")).collect();
    let router = json!({
        "type": "ListPartitionRouter", "cursor_field": "part", "values": values,
        "request_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "part"},
    });
    let text = items(&json!({"id": {"type": "string"}}), &json!({}), &json!({"partition_router": router}));
    let mut manifest: Json = serde_json::from_str(&text).unwrap();
    manifest["concurrency_level"] = json!({"type": "ConcurrencyLevel", "default_concurrency": 8});
    if !budget.is_null() {
        manifest["api_budget"] = json!({"type": "HTTPAPIBudget", "policies": budget});
    }
    manifest.to_string()
}

fn page() -> Json {
    json!({"status": 200, "json": {"data": [{"id": "1"}]}, "pause_ms": 5})
}

fn read(manifest: &str, vendor: &Vendor, pace: &Json) -> Ran {
    let config = json!({"url": vendor.url, "dripfeed": {"pace": pace}});
    Tap::new("read --log-format json").source(manifest).config(&config).run()
}

/// The most requests that came within any window of that length.
fn most_within(asked: &[Asked], window: Duration) -> usize {
    let count = |first: &Asked| asked.iter().filter(|a| a.at >= first.at && a.at - first.at < window).count();
    asked.iter().map(count).max().unwrap()
}

#[test]
fn the_configs_limits_hold_in_any_window() {
    let vendor = Vendor::of_items(json!([page()]));
    let ran = read(&many(35, &Json::Null), &vendor, &json!({"limits": [{"calls": 12, "per": "PT1S"}]}));
    ran.expect(0, &[]);
    let asked = vendor.asked();
    assert_eq!(asked.len(), 35);
    assert!(most_within(&asked, Duration::from_secs(1)) <= 12, "{}", most_within(&asked, Duration::from_secs(1)));
    let done = &ran.events("run_done")[0];
    assert!(done["paced_seconds"].as_f64().unwrap() > 1.0, "{done}");
}

#[test]
fn the_manifests_budget_holds_and_the_config_overrides_it() {
    let moving = |matchers: Json| {
        let rate = json!({"limit": "{{ config.get('most', 10) }}", "interval": "PT1S"});
        json!([{"type": "MovingWindowCallRatePolicy", "rates": [rate], "matchers": matchers}])
    };
    let second = Duration::from_secs(1);
    let vendor = Vendor::of_items(json!([page()]));
    read(&many(25, &moving(json!([]))), &vendor, &json!({})).expect(0, &[]);
    assert!(most_within(&vendor.asked(), second) <= 10);
    let vendor = Vendor::of_items(json!([page()]));
    read(&many(25, &moving(json!([]))), &vendor, &json!({"limits": [{"calls": 10_000, "per": "PT1S"}]})).expect(0, &[]);
    assert!(most_within(&vendor.asked(), second) == 25);
    // Another path, or another parameter, is not governed; a weight counts several times.
    for (matcher, most) in [
        (json!({"url_path_pattern": "^/other"}), 25),
        (json!({"params": {"part": "v3"}}), 25),
        (json!({"method": "post"}), 25),
        (json!({"url_base": vendor.url.clone() + "0"}), 25),
        (json!({"headers": {"x-none": "1"}}), 25),
        (json!({"url_path_pattern": "items$", "weight": 2}), 5),
    ] {
        let vendor = Vendor::of_items(json!([page()]));
        read(&many(25, &moving(json!([matcher]))), &vendor, &json!({})).expect(0, &[]);
        let came = most_within(&vendor.asked(), second);
        assert!(if most == 25 { came == 25 } else { came <= most }, "{matcher}: {came}");
    }
}

#[test]
fn the_first_policy_that_matches_governs() {
    let budget = json!([
        {"type": "UnlimitedCallRatePolicy", "matchers": [{"url_path_pattern": "items"}]},
        {"type": "FixedWindowCallRatePolicy", "period": "PT1H", "call_limit": 1, "matchers": []},
    ]);
    let vendor = Vendor::of_items(json!([page()]));
    read(&many(10, &budget), &vendor, &json!({})).expect(0, &[]);
    assert_eq!(vendor.asked().len(), 10);
}

#[test]
fn calls_in_flight_are_limited() {
    let pause = Duration::from_millis(60);
    let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": []}, "pause_ms": 60}]));
    read(&many(12, &Json::Null), &vendor, &json!({"limits": [{"in_flight": 2}]})).expect(0, &[]);
    assert_eq!(most_within(&vendor.asked(), pause), 2);
}

#[test]
fn a_429_holds_every_thread() {
    let limited =
        json!({"status": 429, "json": {"message": "slow down"}, "headers": {"Retry-After": "1"}, "pause_ms": 20});
    let vendor = Vendor::of_items(json!([page(), page(), limited, page()]));
    let ran = read(&many(40, &Json::Null), &vendor, &json!({}));
    ran.expect(0, &["rate_limited"]);
    let asked = vendor.asked();
    assert_eq!(asked.len(), 41, "one was refused");
    let longest = asked.windows(2).map(|w| w[1].at - w[0].at).max().unwrap();
    assert!(longest > Duration::from_millis(900), "nobody asks for a second: {longest:?}");
    assert_eq!(ran.events("rate_limited").len(), 1);
    assert_eq!(ran.events("run_done")[0]["rate_limited"], 1);
}

#[test]
fn a_budget_that_makes_no_sense_is_refused() {
    for (budget, words) in [
        (json!([{"type": "MovingWindowCallRatePolicy", "rates": [], "matchers": []}]), "`rates` is empty"),
        (
            json!([{"type": "MovingWindowCallRatePolicy", "rates": [{"limit": 0, "interval": "PT1M"}], "matchers": []}]),
            "policies[0].rates[0].limit",
        ),
        (
            json!([{"type": "MovingWindowCallRatePolicy", "rates": [{"limit": 5, "interval": "a minute"}], "matchers": []}]),
            "policies[0].rates[0].interval",
        ),
        (json!([{"type": "UnlimitedCallRatePolicy", "matchers": [{"url_path_pattern": "("}]}]), "url_path_pattern"),
        (json!([{"type": "UnlimitedCallRatePolicy"}]), "`matchers` is missing"),
    ] {
        let vendor = Vendor::of_items(json!([page()]));
        read(&many(1, &budget), &vendor, &json!({})).expect(10, &[words]);
        assert!(vendor.asked().is_empty());
    }
}
