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

// That no window holds more than a limit is a property of the limit (`limiter.rs`): here it is seen to be asked. A busy
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
    // Half of it, because the command line says so.
    let vendor = Vendor::of_items(json!([page()]));
    let config = json!({"url": vendor.url, "dripfeed": {"pace": {"limits": [{"calls": 20, "per": "PT1S"}]}}});
    let tap = Tap::new("read --headroom 0.5").source(&many(25, &Json::Null)).config(&config);
    tap.run().expect(0, &[]);
    assert!(span(&vendor.asked()) > Duration::from_secs(2), "{:?}", span(&vendor.asked()));
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
        // A busy machine may be late by itself.
        assert_eq!(paced(&ran) > 0.5, governed, "{matcher}");
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
fn a_try_is_never_earlier_than_the_vendor_said() {
    let limited = json!({"status": 429, "json": {}, "headers": {"Retry-After": "1"}});
    let vendor = Vendor::of_items(json!([limited, page()]));
    let backoff = json!({"type": "ConstantBackoffStrategy", "backoff_time_in_seconds": 0.01});
    let handler = json!({"type": "DefaultErrorHandler", "backoff_strategies": [backoff]});
    read(&items(&json!({}), &json!({}), &json!({"requester": {"error_handler": handler}})), &vendor, &json!({}))
        .expect(0, &[]);
    assert!(span(&vendor.asked()) >= Duration::from_secs(1), "{:?}", span(&vendor.asked()));
}

#[test]
fn a_wait_of_hours_ends_the_run() {
    let vendor =
        Vendor::of_items(json!([{"status": 429, "json": {}, "headers": {"X-Again": "90000", "X-Odd": "inf"}}]));
    let by = |header: &str, retries: u32| {
        let backoff = json!({"type": "WaitTimeFromHeader", "header": header});
        let handler = json!({"type": "DefaultErrorHandler", "max_retries": retries, "backoff_strategies": [backoff]});
        items(&json!({}), &json!({}), &json!({"requester": {"error_handler": handler}}))
    };
    read(&by("X-Again", 5), &vendor, &json!({})).expect(75, &["the vendor requests a wait of 9"]);
    // What is no time is none.
    read(&by("X-Odd", 1), &vendor, &json!({})).expect(69, &["after 2 attempts"]);
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
    ran.expect(0, &["attempt 1"]);
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
            json!([{
                "type": "MovingWindowCallRatePolicy", "rates": [{"limit": 0, "interval": "PT1M"}], "matchers": [],
            }]),
            "policies[0].rates[0].limit",
        ),
        (
            json!([{
                "type": "MovingWindowCallRatePolicy", "rates": [{"limit": 5, "interval": "a minute"}], "matchers": [],
            }]),
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

#[test]
fn what_the_vendor_says_is_left_is_kept_to() {
    // Two are left, then none for a second: nobody runs into a 429.
    let told = |left: u64| {
        json!({"status": 200, "json": {"data": [{"id": "1"}]}, "pause_ms": 20,
        "headers": {"X-RateLimit-Remaining": left.to_string(), "X-RateLimit-Reset": "1"}})
    };
    let slow = json!({"status": 200, "json": {"data": [{"id": "1"}]}, "pause_ms": 100});
    let vendor = Vendor::of_items(json!([told(1), told(0), slow]));
    let ran = read(&many(12, &Json::Null), &vendor, &json!({}));
    ran.expect(0, &[]);
    let asked = vendor.asked();
    let longest = asked.windows(2).map(|w| w[1].at - w[0].at).max().unwrap();
    assert!(longest > Duration::from_millis(900), "{longest:?}");
    assert_eq!((asked.len(), ran.events("run_done")[0]["rate_limited"].as_u64()), (12, Some(0)));
}

#[test]
fn a_manifests_own_header_names_count() {
    let told = json!({"status": 200, "json": {"data": [{"id": "1"}]}, "headers": {"X-Left": "0", "X-More-In": "1"}});
    let vendor = Vendor::of_items(json!([told, page()]));
    let mut manifest: Json = serde_json::from_str(&many(3, &json!([]))).unwrap();
    manifest["concurrency_level"]["default_concurrency"] = json!(1);
    read(&manifest.to_string(), &vendor, &json!({})).expect(0, &[]);
    assert!(span(&vendor.asked()) < Duration::from_millis(900), "nobody said what these headers are");
    for (left, codes) in [(json!("X-Left"), json!(null)), (json!(null), json!([200]))] {
        let told =
            json!({"status": 200, "json": {"data": [{"id": "1"}]}, "headers": {"X-Left": "0", "X-More-In": "1"}});
        let vendor = Vendor::of_items(json!([told, page()]));
        manifest["api_budget"] = json!({"type": "HTTPAPIBudget", "policies": [], "ratelimit_remaining_header": left,
            "ratelimit_reset_header": "X-More-In", "status_codes_for_ratelimit_hit": codes});
        read(&manifest.to_string(), &vendor, &json!({})).expect(0, &[]);
        assert!(span(&vendor.asked()) > Duration::from_millis(900), "{left} {codes}");
    }
}

#[test]
fn a_403_is_a_limit_only_with_evidence() {
    let refused = |headers: Json| json!({"status": 403, "json": {"message": "no"}, "headers": headers});
    for (headers, limit) in [
        (json!({"Retry-After": "1"}), true),
        (json!({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}), true),
        (json!({"X-RateLimit-Remaining": "7", "X-RateLimit-Reset": "1"}), false),
        (json!({}), false),
    ] {
        let vendor = Vendor::of_items(json!([page(), refused(headers.clone()), page()]));
        let ran = read(&many(20, &Json::Null), &vendor, &json!({}));
        assert_eq!(ran.code == 0, limit, "{headers}: {}", ran.err);
        assert_eq!(ran.events("rate_limited").is_empty(), !limit, "{headers}");
    }
    // What the manifest ignores is no limit only without evidence.
    let filter = json!({"type": "HttpResponseFilter", "http_codes": [403], "action": "IGNORE"});
    let handler = json!({"type": "DefaultErrorHandler", "response_filters": [filter]});
    let manifest = items(&json!({}), &json!({}), &json!({"requester": {"error_handler": handler}}));
    let vendor = Vendor::of_items(json!([refused(json!({"Retry-After": "1"})), page()]));
    let ran = read(&manifest, &vendor, &json!({}));
    ran.expect(0, &["rate_limited"]);
    assert_eq!(ran.records("items").len(), 1);
    let vendor = Vendor::of_items(json!([refused(json!({}))]));
    read(&manifest, &vendor, &json!({})).expect(0, &["skipped by a rule of the manifest"]);
}

#[test]
fn a_throttle_inside_a_200_is_one() {
    let throttled = json!({
        "status": 200, "json": {"errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}]},
        "headers": {"Retry-After": "0"},
    });
    // The same word in a record is none.
    let record = json!({"status": 200, "json": {"data": [{"id": "THROTTLED"}], "errors": []}});
    let vendor = Vendor::of_items(json!([throttled, record]));
    let ran = read(&items(&json!({"id": {"type": "string"}}), &json!({}), &json!({})), &vendor, &json!({}));
    ran.expect(0, &["rate_limited"]);
    assert_eq!(ran.records("items"), [json!({"id": "THROTTLED"})]);
    assert_eq!(vendor.asked().len(), 2);
}

#[test]
fn points_are_paced_by_what_requests_cost() {
    let costs =
        json!({"status": 200, "json": {"data": [{"id": "1"}], "extensions": {"cost": {"actualQueryCost": 10}}}});
    let vendor = Vendor::of_items(json!([costs]));
    let limits = json!({"limits": [{"points": 100, "per": "PT1S", "kind": "bucket", "burst": 20}]});
    read(&many(20, &Json::Null), &vendor, &limits).expect(0, &[]);
    // 200 points at 98 a second, some of them at once.
    assert!(span(&vendor.asked()) > Duration::from_millis(1200), "{:?}", span(&vendor.asked()));
}

#[test]
fn a_run_that_has_no_more_time_ends_with_its_state_and_75() {
    let month =
        |n: u32| json!({"status": 200, "json": {"data": [{"id": n.to_string(), "at": format!("2024-{n:02}-15")}]}});
    let vendor = Vendor::of_items((1..=12).map(month).collect());
    let cursor = json!({"incremental_sync": {
        "type": "DatetimeBasedCursor", "cursor_field": "at", "datetime_format": "%Y-%m-%d",
        "start_datetime": "2024-01-01", "end_datetime": "2024-12-31", "step": "P1M", "cursor_granularity": "P1D",
        "start_time_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "from"}}});
    let mut manifest: Json =
        serde_json::from_str(&items(&json!({"id": {"type": "string"}, "at": {"type": "string"}}), &cursor, &json!({})))
            .unwrap();
    manifest["concurrency_level"] = json!({"type": "ConcurrencyLevel", "default_concurrency": 1});
    let tap = |ours: Json| {
        let config = json!({"url": vendor.url, "dripfeed": ours});
        Tap::new("read --log-format json").source(&manifest.to_string()).config(&config)
    };
    let ran = tap(json!({"deadline": "PT1.5S", "pace": {"limits": [{"calls": 3, "per": "PT1S"}]}})).run();
    ran.expect(75, &["budget_exhausted", "the run reached its deadline"]);
    let first = vendor.asked();
    assert!((3..=6).contains(&first.len()), "{}", first.len());
    assert!(ran.out.lines().last().is_some_and(|line| line.contains("\"STATE\"")), "{}", ran.out);
    assert_eq!(ran.records("items").len(), first.len(), "what was asked for was written");
    // The next run goes on where this one ended.
    let state = ran.state();
    let bookmark = state["bookmarks"]["items"]["at"].as_str().unwrap();
    assert_eq!(bookmark, format!("2024-{:02}-15", first.len()));
    tap(json!({})).state(&state).run().expect(0, &[]);
    let from = &vendor.asked()[first.len()].query;
    assert!(from.contains(bookmark), "{from}");
}

#[test]
fn a_wait_that_ends_after_the_deadline_is_not_begun() {
    let limited = json!({"status": 429, "json": {}, "headers": {"Retry-After": "120"}});
    let vendor = Vendor::of_items(json!([page(), limited, page()]));
    let config = json!({"url": vendor.url, "dripfeed": {"deadline": "PT20S"}});
    let tap = Tap::new("read --log-format json").source(&many(30, &Json::Null)).config(&config);
    let ran = tap.run_within(Duration::from_secs(10)).expect("it waits for what it cannot use");
    ran.expect(75, &["the run reached its deadline; the next run can continue in"]);
    let said = &ran.events("budget_exhausted")[0]["resume_after_seconds"];
    assert!((100.0..140.0).contains(&said.as_f64().unwrap()), "{said}");
    // As Airbyte's platform is told: a transient error, and streams that are not complete.
    let vendor = Vendor::of_items(json!([{"status": 429, "json": {}, "headers": {"Retry-After": "120"}}]));
    let config = json!({"url": vendor.url, "dripfeed": {"deadline": "PT20S"}});
    let ran = Tap::new("read --protocol airbyte").source(&many(1, &Json::Null)).config(&config).run();
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("\"transient_error\"") && ran.out.contains("INCOMPLETE"), "{}", ran.out);
}

#[test]
fn processes_share_an_account_through_the_state_directory() {
    let vendor = Vendor::of_items(json!([page()]));
    let states = tempfile::tempdir().unwrap();
    let limits = json!({"limits": [{"calls": 20, "per": "PT1S"}]});
    // Tenants of one account: a stream of one tenant is read by one run at a time.
    let tap = &|account: &str, tenant: &str| {
        let mut pace = limits.clone();
        pace["account"] = json!(account);
        let ours = json!({"pace": pace, "state_dir": states.path(), "tenant": tenant});
        let config = json!({"url": vendor.url, "dripfeed": ours});
        Tap::new("read --log-format json").source(&many(25, &Json::Null)).config(&config)
    };
    std::thread::scope(|scope| {
        let runs = ["a", "b", "c"].map(|tenant| scope.spawn(move || tap("one", tenant).run()));
        for run in runs {
            run.join().unwrap().expect(0, &[]);
        }
    });
    // 75 calls at 20 a second.
    assert!(span(&vendor.asked()) > Duration::from_millis(3400), "{:?}", span(&vendor.asked()));
    let ledgers = || std::fs::read_dir(states.path().join("pace")).unwrap().count();
    assert_eq!(ledgers(), 1);
    // Another account has limits of its own.
    let began = std::time::Instant::now();
    tap("two", "a").run().expect(0, &[]);
    assert!(began.elapsed() < Duration::from_millis(2500) && ledgers() == 2);
    // What is written there tells no secret.
    for file in std::fs::read_dir(states.path().join("pace")).unwrap() {
        let path = file.unwrap().path();
        assert!(
            !path.display().to_string().contains("one") && !std::fs::read_to_string(path).unwrap().contains("account")
        );
    }
}

#[test]
fn a_state_directory_that_cannot_be_used_slows_the_run_and_is_said() {
    let vendor = Vendor::of_items(json!([page()]));
    let tap = Tap::new("read --log-format json").source(&many(10, &Json::Null)).file("", "taken", "");
    let config = json!({"url": vendor.url, "dripfeed": {
        "pace": {"limits": [{"calls": 30, "per": "PT1S"}]}, "state_dir": tap.dir.path().join("taken"),
        "state_dir_optional": true}});
    let ran = tap.config(&config).run();
    ran.expect(0, &["a third of the account's limits"]);
    assert_eq!(ran.events("ledger_trouble").len(), 1);
    assert!(span(&vendor.asked()) > Duration::from_millis(800), "{:?}", span(&vendor.asked()));
}

#[test]
fn a_tier_is_its_streams() {
    let server = json!({"routes": [{"path": "/items", "replies": [page()]}]});
    let vendor = Vendor::start(&server);
    let mut manifest: Json =
        serde_json::from_str(&items(&json!({"id": {"type": "string"}}), &json!({}), &json!({}))).unwrap();
    let stream = manifest["streams"][0].clone();
    for name in ["users", "tags"] {
        let mut other = stream.clone();
        other["name"] = json!(name);
        manifest["streams"].as_array_mut().unwrap().push(other);
    }
    let config = json!({"url": vendor.url, "dripfeed": {"tiers": {
        "hourly": {"streams": ["items"], "schedule": "H * * * *"},
        "daily": {"streams": ["*"], "schedule": "H 2 * * *"},
    }}});
    let run = |args: &[&str]| Tap::new("read").source(&manifest.to_string()).config(&config).args(args).run();
    let streams = |ran: &Ran| -> Vec<String> {
        ran.expect(0, &[]);
        ["items", "users", "tags"].iter().filter(|s| !ran.records(s).is_empty()).map(|s| (*s).to_owned()).collect()
    };
    assert_eq!(streams(&run(&["--tier", "hourly"])), ["items"]);
    assert_eq!(streams(&run(&["--tier", "daily"])), ["users", "tags"]);
    assert_eq!(streams(&run(&["--tier", "daily", "--streams", "tags,items", "--priority", "backfill"])), ["tags"]);
    run(&["--tier", "houry"]).expect(10, &["the config has no tier `houry`", "did you mean `hourly`?"]);
}

#[test]
fn a_long_wait_is_known_to_the_next_run() {
    let limited = json!({"status": 429, "json": {}, "headers": {"Retry-After": "1847"}});
    let vendor = Vendor::of_items(json!([limited]));
    let states = tempfile::tempdir().unwrap();
    let config = json!({"url": vendor.url, "dripfeed": {"state_dir": states.path()}});
    let run = || Tap::new("read").source(&many(1, &Json::Null)).config(&config).run();
    run().expect(75, &["the vendor requests a wait of"]);
    run().expect(75, &["the vendor requests a wait of"]);
    assert_eq!(vendor.asked().len(), 1, "nobody asks again before the vendor said so");
}

#[test]
fn a_429_that_the_manifest_retries_is_a_limit() {
    let limited = json!({"status": 429, "json": {}, "headers": {"Retry-After": "1"}, "pause_ms": 20});
    let vendor = Vendor::of_items(json!([page(), limited, page()]));
    let mut manifest: Json = serde_json::from_str(&many(30, &Json::Null)).unwrap();
    manifest["streams"][0]["retriever"]["requester"]["error_handler"] = json!({"type": "DefaultErrorHandler",
        "response_filters": [{"type": "HttpResponseFilter", "http_codes": [429], "action": "RETRY"}],
        "backoff_strategies": [{"type": "ConstantBackoffStrategy", "backoff_time_in_seconds": 0.01}]});
    let ran = read(&manifest.to_string(), &vendor, &json!({}));
    ran.expect(0, &["rate_limited"]);
    let asked = vendor.asked();
    let longest = asked.windows(2).map(|w| w[1].at - w[0].at).max().unwrap();
    assert!(asked.len() == 31 && longest > Duration::from_millis(900), "{longest:?}");
}

#[test]
fn a_limit_that_is_not_worth_its_wait_costs_its_stream_alone() {
    let server = json!({"routes": [{"path": "/items", "replies": [page()]}, {"path": "/slow", "replies": [page()]}]});
    let vendor = Vendor::start(&server);
    let budget = json!([{
        "type": "FixedWindowCallRatePolicy", "period": "PT1H", "call_limit": 1,
        "matchers": [{"url_path_pattern": "slow"}],
    }]);
    let mut manifest: Json = serde_json::from_str(&many(8, &budget)).unwrap();
    let mut slow = manifest["streams"][0].clone();
    slow["name"] = json!("slow");
    slow["retriever"]["requester"]["path"] = json!("slow");
    manifest["streams"].as_array_mut().unwrap().insert(0, slow);
    let config = json!({"url": vendor.url, "dripfeed": {"deadline": "PT20S"}});
    let ran = Tap::new("read --log-format json").source(&manifest.to_string()).config(&config).run();
    ran.expect(75, &["budget_exhausted"]);
    assert_eq!(ran.records("items").len(), 8, "the other stream is whole");
}
