//! Credentials that live: tokens run out, are refused, change with every use, and are never shown.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::Vendor;

/// A manifest over `/items` in pages, asked for with these credentials; `parts` asks once for each of so many
/// partitions.
fn manifest(authenticator: &Json, parts: usize) -> String {
    let mut retriever = json!({
        "requester": {"authenticator": authenticator},
        "paginator": {
            "type": "DefaultPaginator",
            "pagination_strategy": {"type": "CursorPagination", "cursor_value": "{{ response['next'] }}"},
            "page_token_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "after"},
        },
    });
    if parts > 0 {
        let values: Vec<String> = (0..parts).map(|n| format!("v{n}")).collect();
        retriever["partition_router"] =
            json!({"type": "ListPartitionRouter", "cursor_field": "part", "values": values});
    }
    items(&json!({"id": {"type": "string"}}), &json!({}), &retriever)
}

fn oauth(more: &Json) -> Json {
    let mut def = json!({
        "type": "OAuthAuthenticator", "token_refresh_endpoint": "{{ config['url'] }}/token",
        "client_id": "cid", "client_secret": "{{ config['client_secret'] }}",
        "refresh_token": "{{ config['refresh_token'] }}",
    });
    for (key, value) in more.as_object().unwrap() {
        def[key] = value.clone();
    }
    def
}

/// Tokens that change with every use, kept in the config under `auth`.
fn single_use() -> Json {
    oauth(&json!({"refresh_token_updater": {
        "access_token_config_path": ["auth", "access"], "refresh_token_config_path": ["auth", "refresh"],
        "token_expiry_date_config_path": ["auth", "expiry"],
    }}))
}

fn bearer(token: &str, replies: Json) -> Json {
    json!({"path": "/items", "header": {"authorization": format!("Bearer {token}")}, "replies": replies})
}

fn refused() -> Json {
    json!({"path": "/items", "replies": [{"status": 401, "json": {"message": "token expired"}, "pause_ms": 30}]})
}

fn page(id: &str, next: Json) -> Json {
    json!({"status": 200, "json": {"data": [{"id": id}], "next": next}})
}

fn tokens(replies: Json) -> Json {
    json!({"path": "/token", "method": "POST", "replies": replies})
}

fn token(access: &str, refresh: &str) -> Json {
    json!({"status": 200, "json": {"access_token": access, "refresh_token": refresh, "expires_in": 3600}})
}

fn asked(vendor: &Vendor, path: &str) -> Vec<String> {
    vendor.asked().iter().filter(|a| a.path == path).map(|a| a.body.clone()).collect()
}

fn config(vendor: &Vendor, dir: Option<&Path>) -> Json {
    let mut config = json!({
        "url": vendor.url, "client_secret": "client-secret-text", "refresh_token": "refresh-zero",
        "auth": {"refresh": "refresh-zero"},
    });
    if let Some(dir) = dir {
        config["dripfeed"] = json!({"state_dir": dir});
    }
    config
}

fn read(manifest: &str, config: &Json) -> Ran {
    Tap::new("read -v --log-format json").source(manifest).config(config).run()
}

#[test]
fn a_token_that_is_refused_in_the_middle_is_replaced_once() {
    let vendor = Vendor::start(&json!({"routes": [
        tokens(json!([token("access-one", "refresh-one"), token("access-two", "refresh-two")])),
        bearer("access-two", json!([page("2", json!("t2")), page("3", Json::Null)])),
        bearer("access-one", json!([page("1", json!("t1")), {"status": 401, "json": {"message": "token expired"}}])),
    ]}));
    let ran = read(&manifest(&oauth(&json!({})), 0), &config(&vendor, None));
    ran.expect(0, &[]);
    let ids: Vec<Json> = ran.records("items").into_iter().map(|r| r["id"].clone()).collect();
    assert_eq!(ids, ["1", "2", "3"], "no page is lost or read twice");
    let bodies = asked(&vendor, "/token");
    assert_eq!(bodies.len(), 2);
    assert!(bodies[0].contains("refresh_token=refresh-zero") && bodies[1].contains("refresh_token=refresh-one"));
    for secret in ["access-one", "access-two", "refresh-zero", "refresh-one", "refresh-two", "client-secret-text"] {
        assert!(!ran.err.contains(secret) && !ran.out.contains(secret), "{secret} is shown:\n{}", ran.err);
    }
}

#[test]
fn threads_that_are_refused_together_fetch_one_token() {
    let vendor = Vendor::start(&json!({"routes": [
        tokens(json!([token("access-one", "r1"), token("access-two", "r2")])),
        bearer("access-two", json!([page("1", Json::Null)])),
        refused(),
    ]}));
    let ran = read(&manifest(&oauth(&json!({})), 12), &config(&vendor, None));
    ran.expect(0, &[]);
    assert_eq!(ran.records("items").len(), 12);
    assert_eq!(asked(&vendor, "/token").len(), 2);
}

#[test]
fn a_token_that_is_refused_again_ends_the_stream() {
    let vendor = Vendor::start(&json!({"routes": [tokens(json!([token("access-one", "r1")])), refused()]}));
    let ran = read(&manifest(&oauth(&json!({})), 0), &config(&vendor, None));
    ran.expect(20, &["Unauthorized"]);
    assert_eq!((asked(&vendor, "/token").len(), asked(&vendor, "/items").len()), (2, 2));
}

#[test]
fn two_streams_share_a_token() {
    let mut two: Json = serde_json::from_str(&manifest(&oauth(&json!({})), 0)).unwrap();
    let mut other = two["streams"][0].clone();
    other["name"] = json!("others");
    two["streams"].as_array_mut().unwrap().push(other);
    let vendor = Vendor::start(&json!({"routes": [
        tokens(json!([token("access-one", "r1")])), bearer("access-one", json!([page("1", Json::Null)])),
    ]}));
    read(&two.to_string(), &config(&vendor, None)).expect(0, &[]);
    assert_eq!(asked(&vendor, "/token").len(), 1);
}

#[test]
fn what_the_token_endpoint_says_is_told_without_secrets() {
    let echo = json!({"error": "invalid_grant", "error_description": "refresh-zero of client-secret-text was revoked"});
    for (status, code, words) in [(400, 20, "HTTP 400 (invalid_grant)"), (401, 20, "HTTP 401"), (404, 40, "HTTP 404")] {
        let vendor = Vendor::start(&json!({"routes": [tokens(json!([{"status": status, "json": echo}]))]}));
        let ran = read(&manifest(&oauth(&json!({})), 0), &config(&vendor, None));
        ran.expect(code, &["the token endpoint refused", words, "streams[0].retriever.requester.authenticator"]);
        assert!(!ran.err.contains("refresh-zero") && !ran.err.contains("client-secret-text"), "{}", ran.err);
        assert!(asked(&vendor, "/items").is_empty());
    }
    // A busy server is asked again.
    let busy = json!({"status": 503, "json": {}, "headers": {"Retry-After": "0"}});
    let vendor = Vendor::start(&json!({"routes": [
        tokens(json!([busy, token("access-one", "r1")])), bearer("access-one", json!([page("1", Json::Null)])),
    ]}));
    read(&manifest(&oauth(&json!({})), 0), &config(&vendor, None)).expect(0, &[]);
}

#[test]
fn tokens_that_change_with_every_use_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let routes = json!({"routes": [
        tokens(json!([
            token("access-one", "refresh-one"), token("access-two", "refresh-two"), {"status": 400, "json": {}},
        ])),
        bearer("access-two", json!([page("2", Json::Null)])),
        bearer("access-one", json!([page("1", Json::Null), {"status": 401, "json": {}}])),
    ]});
    let vendor = Vendor::start(&routes);
    let manifest = manifest(&single_use(), 0);
    read(&manifest, &config(&vendor, Some(dir.path()))).expect(0, &[]);
    let file = std::fs::read_dir(dir.path().join("tokens")).unwrap().map(|e| e.unwrap().path());
    let file = file.into_iter().find(|p| p.extension().is_some_and(|e| e == "json")).expect("a file with the tokens");
    let kept: Json = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!((&kept["access_token"], &kept["refresh_token"]), (&json!("access-one"), &json!("refresh-one")));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // The config still says the first one, which is worth nothing any more.
    let ran = read(&manifest, &config(&vendor, Some(dir.path())));
    ran.expect(0, &[]);
    assert_eq!(
        ran.records("items")[0]["id"],
        "2",
        "the kept token was refused, and replaced by the kept refresh token"
    );
    let bodies = asked(&vendor, "/token");
    assert!(bodies.len() == 2 && bodies[1].contains("refresh_token=refresh-one"), "{bodies:?}");
    assert!(!ran.err.contains("refresh-one") && !ran.err.contains("access-two"));
    // A login made anew counts, whatever was kept of the old one.
    let mut anew = config(&vendor, Some(dir.path()));
    anew["auth"]["refresh"] = json!("refresh-anew");
    read(&manifest, &anew).expect(20, &[]);
    assert!(asked(&vendor, "/token")[2].contains("refresh_token=refresh-anew"));
    // What was kept and is torn is said, and nothing is asked.
    std::fs::write(&file, "{\"v\":1,").unwrap();
    let before = vendor.asked().len();
    read(&manifest, &config(&vendor, Some(dir.path()))).expect(10, &["is damaged at line 1"]);
    std::fs::write(&file, "{\"v\":2}").unwrap();
    read(&manifest, &config(&vendor, Some(dir.path()))).expect(10, &["another version of dripfeed"]);
    assert_eq!(vendor.asked().len(), before);
}

#[test]
fn a_token_that_lives_is_not_replaced() {
    let vendor = Vendor::start(&json!({"routes": [bearer("access-own", json!([page("1", Json::Null)]))]}));
    let mut config = config(&vendor, None);
    config["auth"] = json!({"access": "access-own", "refresh": "r", "expiry": "2999-01-01T00:00:00+00:00"});
    read(&manifest(&single_use(), 0), &config).expect(0, &[]);
}

#[test]
fn a_refresh_token_that_could_not_be_kept_is_not_used() {
    let vendor = Vendor::start(&json!({"routes": [tokens(json!([token("access-one", "refresh-one")]))]}));
    let ran = read(&manifest(&single_use(), 0), &config(&vendor, None));
    ran.expect(10, &["there is no state directory to save the next one", "dripfeed.state_dir"]);
    assert!(vendor.asked().is_empty());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tokens"), "a file where a folder should be").unwrap();
    read(&manifest(&single_use(), 0), &config(&vendor, Some(dir.path()))).expect(60, &["cannot create the folder"]);
    assert!(vendor.asked().is_empty());
}

#[test]
fn tokens_of_an_answer_that_cannot_be_used_are_kept_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut odd = token("access-one", "refresh-one");
    odd["json"]["expires_in"] = json!("soon");
    let vendor = Vendor::start(&json!({"routes": [
        tokens(json!([odd, token("access-two", "refresh-two")])), bearer("access-two", json!([page("1", Json::Null)])),
    ]}));
    let (manifest, config) = (manifest(&single_use(), 0), config(&vendor, Some(dir.path())));
    read(&manifest, &config).expect(40, &["lifetime", "expires_in_name"]);
    read(&manifest, &config).expect(0, &[]);
    let bodies = asked(&vendor, "/token");
    assert!(bodies[1].contains("refresh_token=refresh-one"), "{bodies:?}");
}

#[test]
fn a_request_for_a_single_use_token_is_not_cut_off() {
    for verb in ["read", "check"] {
        let dir = tempfile::tempdir().unwrap();
        let mut slow = token("access-one", "refresh-one");
        slow["pause_ms"] = json!(3500);
        let vendor = Vendor::start(&json!({"routes": [
            tokens(json!([slow])), bearer("access-one", json!([page("1", Json::Null)])),
        ]}));
        let (manifest, config) = (manifest(&single_use(), 0), config(&vendor, Some(dir.path())));
        let tap = Tap::new(verb).source(&manifest).config(&config);
        assert_eq!(tap.run_and_stop(|| !vendor.asked().is_empty()).code, 143);
        read(&manifest, &config).expect(0, &[]);
        assert_eq!(
            asked(&vendor, "/token").len(),
            1,
            "{verb}: the second run has the tokens that the first one fetched"
        );
    }
}

#[test]
fn clients_that_ask_alike_but_for_their_headers_have_their_own_tokens() {
    let headed = |account: &str| oauth(&json!({"refresh_request_headers": {"Account": account}}));
    let mut two: Json = serde_json::from_str(&manifest(&headed("one"), 0)).unwrap();
    let other: Json = serde_json::from_str(&manifest(&headed("two"), 0)).unwrap();
    let mut other = other["streams"][0].clone();
    other["name"] = json!("others");
    two["streams"].as_array_mut().unwrap().push(other);
    let vendor = Vendor::start(&json!({"routes": [
        tokens(json!([token("access-one", "r1")])), bearer("access-one", json!([page("1", Json::Null)])),
    ]}));
    read(&two.to_string(), &config(&vendor, None)).expect(0, &[]);
    assert_eq!(asked(&vendor, "/token").len(), 2);
}

#[test]
fn without_a_refresh_token_nothing_must_be_kept() {
    let mut client = single_use();
    client["grant_type"] = json!("client_credentials");
    let vendor = Vendor::start(&json!({"routes": [
        tokens(json!([{"status": 200, "json": {"access_token": "access-one", "expires_in": 3600}}])),
        bearer("access-one", json!([page("1", Json::Null)])),
    ]}));
    let mut config = config(&vendor, None);
    config["auth"] = json!({});
    read(&manifest(&client, 0), &config).expect(0, &["/token: HTTP 200"]);
}

#[test]
fn the_beginning_of_a_secret_is_hidden_too() {
    // The vendor's text is cut after 200 characters, inside of the token.
    let text = format!("{} access-token-of-many-characters", "x".repeat(180));
    let vendor = Vendor::start(&json!({"routes": [
        tokens(json!([token("access-token-of-many-characters", "r1")])),
        {"path": "/items", "replies": [{"status": 403, "json": {"message": text}}]},
    ]}));
    let ran = read(&manifest(&oauth(&json!({})), 0), &config(&vendor, None));
    ran.expect(20, &["xxx ****"]);
    assert!(!ran.err.contains("access-token"), "{}", ran.err);
}

#[test]
fn processes_of_an_account_use_a_refresh_token_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut slow = token("access-one", "refresh-one");
    slow["pause_ms"] = json!(300);
    let vendor = Vendor::start(&json!({"routes": [
        tokens(json!([slow, {"status": 400, "json": {"error": "invalid_grant"}}])),
        bearer("access-one", json!([page("1", Json::Null)])),
    ]}));
    let (manifest, config) = (manifest(&single_use(), 0), config(&vendor, Some(dir.path())));
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (manifest, mut config) = (&manifest, config.clone());
            // Tenants of one account: a stream of one tenant is read by one run at a time.
            config["dripfeed"]["tenant"] = json!(format!("tenant {number}"));
            scope.spawn(move || read(manifest, &config).expect(0, &[]).code);
        }
    });
    assert_eq!(asked(&vendor, "/token").len(), 1);
}

#[test]
fn a_session_that_is_refused_logs_in_again() {
    let session = json!({
        "type": "SessionTokenAuthenticator", "session_token_path": ["session", "id"], "expiration_duration": "PT1H",
        "login_requester": {
            "type": "HttpRequester", "url_base": "{{ config['url'] }}", "path": "login", "http_method": "POST",
            "request_body_json": {"password": "{{ config['client_secret'] }}"},
        },
        "request_authentication": {"type": "Bearer"},
    });
    let login = |id: &str| json!({"status": 200, "json": {"session": {"id": id}}});
    let vendor = Vendor::start(&json!({"routes": [
        {"path": "/login", "method": "POST", "replies": [login("session-one"), login("session-two")]},
        bearer("session-two", json!([page("2", Json::Null)])),
        bearer("session-one", json!([page("1", json!("t")), {"status": 401, "json": {}}])),
    ]}));
    let ran = read(&manifest(&session, 0), &config(&vendor, None));
    ran.expect(0, &[]);
    assert_eq!(ran.records("items").len(), 2);
    assert_eq!(asked(&vendor, "/login").len(), 2);
    assert!(!ran.err.contains("session-one") && !ran.err.contains("client-secret-text"), "{}", ran.err);
    let vendor = Vendor::start(
        &json!({"routes": [{"path": "/login", "method": "POST", "replies": [{"status": 401, "json": {}}]}]}),
    );
    read(&manifest(&session, 0), &config(&vendor, None)).expect(20, &["Unauthorized"]);
    let vendor = Vendor::start(
        &json!({"routes": [{"path": "/login", "method": "POST", "replies": [{"status": 200, "json": {}}]}]}),
    );
    read(&manifest(&session, 0), &config(&vendor, None)).expect(20, &["has no `session.id`"]);
}

#[test]
fn the_config_selects_who_asks() {
    let selective = json!({
        "type": "SelectiveAuthenticator", "authenticator_selection_path": ["auth", "kind"],
        "authenticators": {"token": {"type": "BearerAuthenticator", "api_token": "tok"}, "none": {"type": "NoAuth"}},
    });
    let vendor = Vendor::start(&json!({"routes": [bearer("tok", json!([page("1", Json::Null)])), refused()]}));
    let with = |kind: Json| read(&manifest(&selective, 0), &json!({"url": vendor.url, "auth": {"kind": kind}}));
    with(json!("token")).expect(0, &[]);
    with(json!("none")).expect(20, &[]);
    let before = vendor.asked().len();
    with(json!("tokn"))
        .expect(10, &["config `auth.kind` selects an authenticator that does not exist", "did you mean `token`?"]);
    read(&manifest(&selective, 0), &json!({"url": vendor.url}))
        .expect(10, &["the config has no `auth.kind`", "token, none"]);
    assert_eq!(vendor.asked().len(), before);
}

#[test]
fn tokens_are_signed_with_keys_of_their_kind() {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let lines: Vec<String> =
        STANDARD.encode(key.as_ref()).as_bytes().chunks(64).map(|c| String::from_utf8(c.to_vec()).unwrap()).collect();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    let jwt = |algorithm: &str| {
        json!({
            "type": "JwtAuthenticator", "algorithm": algorithm, "secret_key": "{{ config['key'] }}",
            "header_prefix": "Bearer", "jwt_payload": {"iss": "me"},
        })
    };
    let vendor = Vendor::of_items(json!([page("1", Json::Null)]));
    let with =
        |algorithm: &str, key: &str| read(&manifest(&jwt(algorithm), 0), &json!({"url": vendor.url, "key": key}));
    // Line breaks may have been flattened by a form.
    for pem in [pem.clone(), pem.replace('\n', "\\n")] {
        with("ES256", &pem).expect(0, &[]);
        let sent = vendor.asked().pop().unwrap().headers["authorization"].clone();
        let (message, signature) = sent.strip_prefix("Bearer ").unwrap().rsplit_once('.').unwrap();
        let public = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random).unwrap();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public.public_key().as_ref())
            .verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
            .expect("the signature holds");
        let claims = URL_SAFE_NO_PAD.decode(message.split('.').nth(1).unwrap()).unwrap();
        let claims: Json = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 1200);
    }
    let before = vendor.asked().len();
    for (algorithm, key, words) in [
        ("RS256", pem.as_str(), "the key is not an RSA key that can sign"),
        ("ES384", pem.as_str(), "the key is not a key of that curve"),
        ("ES256", "not a key", "the key is not in PEM form"),
        ("ES512", pem.as_str(), "`algorithm: ES512` is not supported"),
        ("XS1", pem.as_str(), "`algorithm: XS1` does not exist"),
    ] {
        let ran = with(algorithm, key);
        ran.expect(10, &[words]);
        assert!(!ran.err.contains("BEGIN PRIVATE KEY") && !ran.err.contains(&lines[0]));
    }
    assert_eq!(vendor.asked().len(), before);
}

/// Azure DevOps answers a wrong token with 203 and a page to sign in, Linear with 400, monday with 200 and `errors`.
/// The manifest says that the user has to act, so the run ends as one whose credentials were refused.
#[test]
fn a_login_is_refused_by_the_manifests_word_whatever_the_status() {
    let filter = |codes: &[u16]| {
        json!({"requester": {"error_handler": {"type": "DefaultErrorHandler", "response_filters": [{
            "type": "HttpResponseFilter", "http_codes": codes, "action": "FAIL", "failure_type": "config_error",
            "error_message": "The token was refused.",
        }]}}})
    };
    for status in [200, 203, 400, 418] {
        let vendor = Vendor::of_items(json!([{"status": status, "json": {"errors": [{"message": "no"}]}}]));
        let manifest = items(&json!({"id": {}}), &json!({}), &filter(&[status]));
        for verb in ["check", "read"] {
            let ran = Tap::new(verb).source(&manifest).config(&json!({"url": vendor.url})).run();
            assert_eq!(ran.expect(20, &["The token was refused."]).records("items").len(), 0, "{status}");
        }
    }
    // Once something was read with it, the login is good: the stream fails alone.
    let vendor = Vendor::of_items(json!([
        {"status": 200, "json": {"data": [{"id": "a"}], "next": "b"}},
        {"status": 418, "json": {}},
    ]));
    let mut retriever = filter(&[418]);
    retriever["paginator"] = json!({
        "type": "DefaultPaginator",
        "pagination_strategy": {"type": "CursorPagination", "cursor_value": "{{ response['next'] }}"},
        "page_token_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "after"},
    });
    let manifest = items(&json!({"id": {}}), &json!({}), &retriever);
    let ran = Tap::new("read").source(&manifest).config(&json!({"url": vendor.url})).run();
    assert_eq!(ran.expect(40, &["The token was refused."]).records("items").len(), 1);
}
