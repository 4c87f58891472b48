//! Credentials that are taken right before each send: every authenticator that fetches or signs tokens beside every
//! wait before a call, and beside every word of a manifest about a 401. Public report: airbytehq/airbyte#13660.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::{Asked, Vendor};

/// Seconds that a token lives.
const LIVES: u64 = 1;
/// The vendor is so late in noticing.
const GRACE: Duration = Duration::from_millis(500);
/// Seconds of each wait: longer than a token lives.
const WAIT: u64 = 3;

/// The authenticators, by name. None of their tokens is known before the run.
fn authenticators() -> Vec<(&'static str, Json)> {
    let login =
        json!({"type": "HttpRequester", "url_base": "{{ config['url'] }}", "path": "login", "http_method": "POST"});
    let session = |way: Json| {
        json!({
            "type": "SessionTokenAuthenticator", "session_token_path": ["token"],
            "expiration_duration": format!("PT{LIVES}S"), "login_requester": login, "request_authentication": way,
        })
    };
    let place = |place: &str| json!({"type": "RequestOption", "inject_into": place, "field_name": "session"});
    vec![
        (
            "oauth",
            json!({
                "type": "OAuthAuthenticator", "token_refresh_endpoint": "{{ config['url'] }}/token",
                "client_id": "c", "client_secret": "s", "refresh_token": "r",
            }),
        ),
        ("session", session(json!({"type": "Bearer"}))),
        ("session in the query", session(json!({"type": "ApiKey", "inject_into": place("request_parameter")}))),
        (
            "jwt",
            json!({
                "type": "JwtAuthenticator", "algorithm": "HS256", "secret_key": "k", "token_duration": LIVES,
                "header_prefix": "Bearer",
            }),
        ),
    ]
}

/// The authenticators that hold a token until it is refused.
fn lasting() -> Vec<(&'static str, Json)> {
    let mut all = authenticators();
    all.retain(|(name, _)| *name != "jwt");
    for (_, authenticator) in &mut all {
        if authenticator.get("expiration_duration").is_some() {
            authenticator["expiration_duration"] = json!("PT1H");
        }
    }
    all.push((
        "legacy session",
        json!({
            "type": "LegacySessionTokenAuthenticator", "header": "Authorization", "login_url": "/login",
            "validate_session_url": "/valid", "session_token_response_key": "token", "username": "u", "password": "p",
        }),
    ));
    all.push((
        "tokens that take turns",
        json!({
            "type": "RateLimitedMultipleTokenAuthenticator", "tokens": "t1,t2",
            "quota_status_source": {"type": "QuotaStatusSource", "url": "{{ config['url'] }}/quota"},
            "quotas": [{"type": "TokenQuota", "name": "core", "remaining_path": ["left"], "reset_path": ["resets"]}],
        }),
    ));
    all
}

/// Three pages of two.
fn manifest(authenticator: &Json, error_handler: &Json, budget: &Json) -> String {
    let retriever = json!({
        "requester": {"authenticator": authenticator, "error_handler": error_handler},
        "paginator": {
            "type": "DefaultPaginator",
            "pagination_strategy": {"type": "PageIncrement", "page_size": 2, "inject_on_first_request": true},
            "page_token_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "page"},
        },
    });
    let manifest = items(&json!({"id": {"type": "integer"}}), &json!({}), &retriever);
    let mut manifest: Json = serde_json::from_str(&manifest).unwrap();
    if !budget.is_null() {
        manifest["api_budget"] = budget.clone();
    }
    manifest.to_string()
}

fn ignoring(action: &str) -> Json {
    json!({
        "type": "DefaultErrorHandler",
        "response_filters": [{"type": "HttpResponseFilter", "http_codes": [401], "action": action}],
    })
}

/// The token that a request carries.
fn token(asked: &Asked) -> String {
    let header = asked.headers.get("authorization").map(|value| value.trim_start_matches("Bearer ").to_owned());
    header.or_else(|| asked.param("session")).unwrap_or_default()
}

fn page(asked: &Asked) -> Json {
    let first = asked.param("page").and_then(|page| page.parse().ok()).unwrap_or(0) * 2;
    let rows: Vec<Json> = (first..5).take(2).map(|id| json!({"id": id})).collect();
    json!({"status": 200, "json": {"data": rows}})
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// Gives a token, or says what is left of one; nothing where the request is none for that.
fn gives(asked: &Asked, token: &str, lives: u64) -> Option<Json> {
    Some(match &*asked.path {
        "/token" => json!({"status": 200, "json": {"access_token": token, "expires_in": lives}}),
        "/login" => json!({"status": 200, "json": {"token": token}}),
        "/quota" => json!({"status": 200, "json": {"left": 100, "resets": now() + 3600}}),
        _ => return None,
    })
}

/// A vendor with short-lived tokens that delays the third data request by `busy`.
fn short_lived(busy: Option<Json>) -> Vendor {
    let given: Mutex<HashMap<String, Instant>> = Mutex::default();
    let calls = Mutex::new(0);
    Vendor::answering(move |asked| {
        let mut given = given.lock().unwrap();
        let next = format!("t{}", given.len());
        if let Some(reply) = gives(asked, &next, LIVES) {
            given.insert(next, Instant::now());
            return reply;
        }
        let token = token(asked);
        let signed = token.split('.').nth(1).map(|claims| {
            let claims: Json = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
            now() <= claims["exp"].as_u64().unwrap()
        });
        let lives = |at: &Instant| at.elapsed() < Duration::from_secs(LIVES) + GRACE;
        if !signed.unwrap_or_else(|| given.get(&token).is_some_and(lives)) {
            return json!({"status": 401, "json": {"error": "the token has expired"}});
        }
        let mut calls = calls.lock().unwrap();
        *calls += 1;
        busy.clone().filter(|_| *calls == 2).unwrap_or_else(|| page(asked))
    })
}

fn records(ran: &Ran) -> usize {
    ran.records("items").len()
}

#[test]
fn a_token_that_ran_out_during_a_wait_is_renewed_before_the_call() {
    let budget = json!({
        "type": "HTTPAPIBudget",
        "policies": [{
            "type": "MovingWindowCallRatePolicy", "matchers": [],
            "rates": [{"type": "Rate", "limit": 1, "interval": format!("PT{WAIT}S")}],
        }],
    });
    let pace = json!({"limits": [{"calls": 1, "per": format!("PT{WAIT}S")}]});
    let headers = json!({"Retry-After": WAIT.to_string()});
    let retry_after = |status: u16| json!({"status": status, "json": {"error": "later"}, "headers": headers});
    let backoff = json!({
        "type": "DefaultErrorHandler",
        "response_filters": [{"type": "HttpResponseFilter", "http_codes": [401], "action": "IGNORE"}],
        "backoff_strategies": [{"type": "ConstantBackoffStrategy", "backoff_time_in_seconds": WAIT}],
    });
    let (none, ignored) = (Json::Null, ignoring("IGNORE"));
    let waits = [
        ("a 429", Some(retry_after(429)), &ignored, &none, &none),
        ("a 503", Some(retry_after(503)), &ignored, &none, &none),
        ("the manifest's backoff", Some(json!({"status": 500, "json": {}})), &backoff, &none, &none),
        ("the manifest's budget", None, &ignored, &budget, &none),
        ("the config's pace", None, &ignored, &none, &pace),
    ];
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (who, authenticator) in authenticators() {
            for (wait, busy, handler, budget, pace) in waits.clone() {
                let (authenticator, failed) = (authenticator.clone(), &failed);
                scope.spawn(move || {
                    let vendor = short_lived(busy);
                    let mut config = json!({"url": vendor.url});
                    if !pace.is_null() {
                        config["dripfeed"] = json!({"pace": pace});
                    }
                    let ran = Tap::new("read").source(&manifest(&authenticator, handler, budget)).config(&config).run();
                    let data = vendor.asked().iter().filter(|asked| asked.path == "/items").count();
                    // One call more where one was answered with a wait: none with a token that had run out.
                    let wanted = 3 + usize::from(budget.is_null() && pace.is_null());
                    let records = records(&ran);
                    if (ran.code, records, data) != (0, 5, wanted) {
                        let text = format!("{who}, {wait}: exit {}, {records} records, {data} calls", ran.code);
                        failed.lock().unwrap().push(format!("{text}\n{}", ran.err));
                    }
                });
            }
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_token_that_is_refused_is_renewed_before_the_manifest_speaks_of_a_401() {
    for (who, authenticator) in lasting() {
        for action in ["", "IGNORE", "FAIL", "SUCCESS", "RETRY", "REFRESH_TOKEN_THEN_RETRY"] {
            let given = Mutex::new(0);
            let vendor = Vendor::answering(move |asked| {
                let mut given = given.lock().unwrap();
                if let Some(reply) = gives(asked, &format!("t{}", *given + 1), 3600) {
                    *given += 1;
                    return reply;
                }
                // The first token ends after the first page.
                let ended = token(asked) == "t1" && asked.param("page").as_deref() != Some("0");
                if ended { json!({"status": 401, "json": {"error": "it ended"}}) } else { page(asked) }
            });
            let handler = if action.is_empty() { json!({"type": "DefaultErrorHandler"}) } else { ignoring(action) };
            let tap = Tap::new("read").source(&manifest(&authenticator, &handler, &Json::Null));
            let ran = tap.config(&json!({"url": vendor.url})).run();
            let data = vendor.asked().iter().filter(|asked| asked.path == "/items").count();
            let records = records(&ran);
            assert_eq!((ran.code, records, data), (0, 5, 4), "{who}, {action}: {}", ran.err);
        }
    }
}

#[test]
fn a_401_to_a_renewed_token_is_for_the_manifest() {
    for (who, authenticator) in lasting() {
        for (action, code) in [("", 20), ("IGNORE", 0), ("FAIL", 20)] {
            let vendor = Vendor::answering(|asked| {
                gives(asked, "t1", 3600).unwrap_or_else(|| json!({"status": 401, "json": {"error": "you may not"}}))
            });
            let handler = if action.is_empty() { json!({"type": "DefaultErrorHandler"}) } else { ignoring(action) };
            let tap = Tap::new("read").source(&manifest(&authenticator, &handler, &Json::Null));
            let ran = tap.config(&json!({"url": vendor.url})).run();
            let data = vendor.asked().iter().filter(|asked| asked.path == "/items").count();
            assert_eq!((ran.code, data), (code, 2), "{who}, {action}: {}", ran.err);
        }
    }
}
