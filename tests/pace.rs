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

/// From the first request to the last, as the vendor saw them.
fn span(asked: &[Asked]) -> Duration {
    asked.iter().map(|a| a.at).max().unwrap() - asked.iter().map(|a| a.at).min().unwrap()
}

/// The most requests that came within any window of that length.
fn most_within(asked: &[Asked], window: Duration) -> usize {
    let count = |first: &Asked| asked.iter().filter(|a| a.at >= first.at && a.at - first.at < window).count();
    asked.iter().map(count).max().unwrap()
}

/// Seconds that calls waited for the pace.
fn paced(ran: &Ran) -> f64 {
    ran.events("run_done")[0]["paced_seconds"].as_f64().unwrap()
}

// That no window holds more than a limit is a property of the limit (`properties.rs`): here it is seen to be asked. A busy
// machine can deliver late what was sent in time, so the vendor's clock gives only the whole.
#[test]
fn the_configs_limits_hold() {
    let vendor = Vendor::of_items(json!([page()]));
    let ran = read(&many(35, &Json::Null), &vendor, &json!({"limits": [{"calls": 12, "per": "PT1S"}]}));
    ran.expect(0, &[]);
    let asked = vendor.asked();
    assert_eq!(asked.len(), 35);
    assert!(span(&asked) > Duration::from_millis(2500), "{:?}", span(&asked));
    assert!(paced(&ran) > 1.0);
}

#[test]
fn the_manifests_budget_holds_and_the_config_overrides_it() {
    let moving = |matchers: Json| {
        let rate = json!({"limit": "{{ config.get('most', 10) }}", "interval": "PT1S"});
        json!([{"type": "MovingWindowCallRatePolicy", "rates": [rate], "matchers": matchers}])
    };
    let vendor = Vendor::of_items(json!([page()]));
    read(&many(25, &moving(json!([]))), &vendor, &json!({})).expect(0, &[]);
    assert!(span(&vendor.asked()) > Duration::from_secs(2), "{:?}", span(&vendor.asked()));
    let vendor = Vendor::of_items(json!([page()]));
    let ran = read(&many(25, &moving(json!([]))), &vendor, &json!({"limits": [{"calls": 10_000, "per": "PT1S"}]}));
    assert!(paced(&ran) < 0.1 && vendor.asked().len() == 25, "{}", paced(&ran));
    // Another path, or another parameter, is not governed; a weight counts several times.
    for (matcher, governed) in [
        (json!({"url_path_pattern": "^/other"}), false),
        (json!({"params": {"part": "none"}}), false),
        (json!({"method": "post"}), false),
        (json!({"url_base": vendor.url.clone() + "0"}), false),
        (json!({"headers": {"x-none": "1"}}), false),
        (json!({"method": "get", "url_path_pattern": "items$", "weight": 2}), true),
    ] {
        let vendor = Vendor::of_items(json!([page()]));
        let ran = read(&many(15, &moving(json!([matcher]))), &vendor, &json!({}));
        ran.expect(0, &[]);
        assert_eq!(paced(&ran) > 0.0, governed, "{matcher}");
        assert!(!governed || span(&vendor.asked()) > Duration::from_millis(2300), "{:?}", span(&vendor.asked()));
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
fn a_wait_of_hours_ends_the_stream() {
    let vendor =
        Vendor::of_items(json!([{"status": 429, "json": {}, "headers": {"X-Again": "90000", "X-Odd": "inf"}}]));
    let by = |header: &str, retries: u32| {
        let backoff = json!({"type": "WaitTimeFromHeader", "header": header});
        let handler = json!({"type": "DefaultErrorHandler", "max_retries": retries, "backoff_strategies": [backoff]});
        items(&json!({}), &json!({}), &json!({"requester": {"error_handler": handler}}))
    };
    read(&by("X-Again", 5), &vendor, &json!({})).expect(69, &["the vendor asks to wait 90000 s"]);
    // What is no time is none.
    read(&by("X-Odd", 1), &vendor, &json!({})).expect(69, &["after 2 tries"]);
}

#[test]
fn the_manifests_timeout_counts() {
    let slow = json!({"status": 200, "json": {"data": [{"id": 1}]}, "pause_ms": 1500});
    let vendor = Vendor::of_items(json!([slow, {"status": 200, "json": {"data": [{"id": 2}]}}]));
    let handler = json!({"type": "DefaultErrorHandler", "max_retries": 2, "backoff_strategies": [
        {"type": "ConstantBackoffStrategy", "backoff_time_in_seconds": 0.01}]});
    let requester = json!({"read_timeout_in_seconds": "{{ 0.1 + 0.1 }}", "error_handler": handler});
    let manifest = items(&json!({"id": {"type": "integer"}}), &json!({}), &json!({"requester": requester}));
    let ran = read(&manifest, &vendor, &json!({}));
    ran.expect(0, &["try 1"]);
    assert_eq!(ran.records("items"), [json!({"id": 2})]);
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let vendor = Vendor::of_items(json!([page()]));
    for per in ["PT0S", "P10000Y"] {
        let limits = json!({"limits": [{"calls": 5, "per": "PT1S"}, {"calls": 5, "per": per}]});
        read(&many(1, &Json::Null), &vendor, &limits).expect(10, &["dripfeed.pace.limits[1].per"]);
    }
    assert!(vendor.asked().is_empty());
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
