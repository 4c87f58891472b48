//! Who is told how a run ended: once for each cause, signed, and never at the cost of the run.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use dripfeed::base::fault::{Fault, Kind};
use dripfeed::drift::finding::{ChangeIdentity, Finding};
use dripfeed::drift::rules::{Rule, Severity};
use dripfeed::tenant::alert::outbox::Outbox;
use dripfeed::tenant::alert::{AlertEvent, RunEnd};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::{Asked, Vendor};

const SECRET: &str = "a-canary-that-signs";
const TOKEN: &str = "a-canary-that-reads";

/// A webhook that answers so.
fn hook(replies: &Json) -> Vendor {
    Vendor::start(&json!({"routes": [{"path": "/T0/canary-in-the-path", "method": "POST", "replies": replies}]}))
}

fn well() -> Vendor {
    hook(&json!([{"status": 200, "text": "ok"}]))
}

fn bodies(hook: &Vendor) -> Vec<Json> {
    hook.asked().iter().map(|asked| serde_json::from_str(&asked.body).unwrap()).collect()
}

fn events(hook: &Vendor) -> Vec<String> {
    bodies(hook).iter().map(|body| body["event"].as_str().unwrap().to_owned()).collect()
}

/// A tenant with a webhook.
struct Tenant {
    ours: Json,
    dir: Rc<TempDir>,
    runs: Cell<u64>,
}

impl Tenant {
    fn new(hook: &str) -> Tenant {
        let dir = Rc::new(tempfile::tempdir().unwrap());
        let alert = json!({"webhook": format!("{hook}/T0/canary-in-the-path"), "secret": "env:ALERT_SECRET"});
        let ours = json!({"tenant": "acme", "state_dir": dir.path().join("state"), "alert": alert});
        Tenant { ours, dir, runs: Cell::new(0) }
    }

    fn with(mut self, key: &str, value: Json) -> Tenant {
        self.ours[key] = value;
        self
    }

    fn tap(&self, replies: &Json) -> (Tap, Vendor) {
        let vendor = Vendor::of_items(replies.clone());
        let handler = json!({"type": "DefaultErrorHandler", "max_retries": 1, "backoff_strategies": [
            {"type": "WaitTimeFromHeader", "header": "X-Again"},
            {"type": "ConstantBackoffStrategy", "backoff_time_in_seconds": 0.01}]});
        let retriever = json!({"requester": {
            "error_handler": handler,
            "authenticator": {"type": "BearerAuthenticator", "api_token": "{{ config['token'] }}"},
        }});
        let schema = json!({"id": {"type": "string"}, "points": {"type": ["null", "integer"]}});
        let mut ours = self.ours.clone();
        // What held the account in one run holds no other.
        self.runs.set(self.runs.get() + 1);
        if ours["pace"].is_null() {
            ours["pace"] = json!({"account": format!("run {}", self.runs.get())});
        }
        let config = json!({"url": vendor.url, "token": "env:ACME_TOKEN", "dripfeed": ours});
        let tap = Tap::new("read --log-format json").source(&items(&schema, &json!({}), &retriever)).config(&config);
        (tap.env("ALERT_SECRET", SECRET).env("ACME_TOKEN", TOKEN), vendor)
    }

    fn read(&self, replies: &Json) -> Ran {
        self.tap(replies).0.run()
    }

    fn good(&self) {
        self.read(&page(&json!(1))).expect(0, &[]);
    }

    fn memory(&self) -> PathBuf {
        self.dir.path().join("state/alerts/manifest/acme.json")
    }

    fn remembered(&self) -> Json {
        serde_json::from_str(&std::fs::read_to_string(self.memory()).unwrap()).unwrap()
    }
}

fn page(points: &Json) -> Json {
    json!([{"status": 200, "json": {"data": [{"id": "a", "points": 1}, {"id": "b", "points": points}]}}])
}

/// HMAC-SHA256 as RFC 2104 says it, apart from the crate that the program uses.
fn hmac(key: &[u8], text: &[u8]) -> String {
    let mut block = [0u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.iter().map(|b| b ^ with).collect::<Vec<_>>();
    let inner = Sha256::digest([pad(0x36), text.to_vec()].concat());
    Sha256::digest([pad(0x5c), inner.to_vec()].concat()).iter().map(|b| format!("{b:02x}")).collect()
}

fn is_signed(asked: &Asked) {
    let signature = &asked.headers["dripfeed-signature"];
    let (time, hex) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    assert_eq!(hex, hmac(SECRET.as_bytes(), format!("{time}.{}", asked.body).as_bytes()));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(time.parse().unwrap()) < 30, "{time}");
    assert_eq!(asked.headers["content-type"], "application/json");
    assert!(asked.headers["user-agent"].starts_with("dripfeed/"));
    let body: Json = serde_json::from_str(&asked.body).unwrap();
    let key = format!("{}-{}", body["fingerprint"].as_str().unwrap(), body["since"].as_str().unwrap());
    assert_eq!(asked.headers["idempotency-key"], key);
    for canary in [SECRET, TOKEN, "canary"] {
        assert!(!asked.body.contains(canary), "{}", asked.body);
    }
}

#[test]
fn each_exit_alerts_once_and_again_after_a_good_run() {
    type Sick = fn(&Tenant) -> Ran;
    let cases: [(&str, &str, i32, Sick); 6] = [
        ("config_refused", "critical", 10, |tenant| {
            tenant.tap(&page(&json!(1))).0.file("--state", "bad.json", "").run()
        }),
        ("credentials_refused", "critical", 20, |tenant| {
            tenant.read(&json!([{"status": 401, "json": {"message": "bad token"}}]))
        }),
        ("stream_failed", "error", 40, |tenant| tenant.read(&json!([{"status": 400, "json": {"error": "no"}}]))),
        ("local_failed", "critical", 60, |tenant| {
            let (tap, _vendor) = tenant.tap(&page(&json!(1)));
            let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            Ran::of(&tap.command().stdout(full).output().unwrap())
        }),
        ("vendor_down", "error", 69, |tenant| tenant.read(&json!([{"status": 503, "json": {}}]))),
        ("limit_reached", "warning", 75, |tenant| {
            tenant.read(&json!([{"status": 429, "json": {}, "headers": {"X-Again": "90000"}}]))
        }),
    ];
    std::thread::scope(|scope| {
        for (event, severity, code, sick) in cases {
            scope.spawn(move || {
                let hook = well();
                let tenant = Tenant::new(&hook.url);
                tenant.good();
                sick(&tenant).expect(code, &[]);
                assert_eq!(events(&hook), [event], "at once");
                sick(&tenant).expect(code, &[]);
                assert_eq!(events(&hook), [event], "{event}: not again");
                tenant.good();
                assert_eq!(events(&hook), [event], "{event}: nor for a good run");
                sick(&tenant).expect(code, &[]);
                assert_eq!(events(&hook), [event, event], "it came back");
                hook.asked().iter().for_each(is_signed);
                let told = bodies(&hook);
                let body = &told[0];
                let names = ["tenant", "source", "tier", "exit_code", "severity", "count", "v"].map(|name| &body[name]);
                let want =
                    [json!("acme"), json!("manifest"), json!("all"), json!(code), json!(severity), json!(1), json!(1)];
                assert_eq!(names, want.each_ref(), "{body}");
                assert!(!body["what"].as_str().unwrap().is_empty() && !body["what_to_do"].as_str().unwrap().is_empty());
                let command = body["commands"][0].as_str().unwrap();
                assert!(command.starts_with("dripfeed ") && command.contains("--config"), "{command}");
                assert_eq!(told[0]["fingerprint"], told[1]["fingerprint"]);
                assert_ne!(told[0]["since"], told[1]["since"]);
                assert_eq!(tenant.remembered()["outbox"], json!([]));
            });
        }
    });
}

#[test]
fn drift_that_breaks_alerts_though_the_run_ends_well() {
    let hook = well();
    let tenant = Tenant::new(&hook.url);
    tenant.good();
    tenant.read(&page(&json!("many"))).expect(0, &["schema_drift"]);
    let told = bodies(&hook);
    let body = &told[0];
    assert_eq!(
        (body["event"].as_str(), &body["exit_code"], &body["streams"]),
        (Some("schema_drift"), &json!(0), &json!(["items"]))
    );
    let change = &body["changes"][0];
    assert_eq!((change["rule"].as_str(), change["pointer"].as_str()), (Some("field_type_changed"), Some("/points")));
    let print = change["fingerprint"].as_str().unwrap();
    let commands = body["commands"].to_string();
    assert!(commands.contains("drift show") && commands.contains(&format!("drift accept {print}")), "{commands}");
    assert!(!body.to_string().contains("many"), "a value of a record: {body}");
    // Nor in a run that meets it again, nor in one that does not: it is open until somebody judges it.
    tenant.read(&page(&json!("many"))).expect(0, &[]);
    tenant.good();
    tenant.read(&page(&json!("many"))).expect(0, &[]);
    assert_eq!(events(&hook), ["schema_drift"]);
    // Rejected, it is silent for a week.
    let (tap, _vendor) = tenant.tap(&page(&json!(1)));
    let read = tap.command();
    let mut reject = std::process::Command::new(read.get_program());
    reject.args(["drift", "reject", print]).args(read.get_args().skip(1));
    reject.envs(read.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Ran::of(&reject.output().unwrap()).expect(0, &[]);
    tenant.read(&page(&json!("many"))).expect(0, &[]);
    assert_eq!(events(&hook), ["schema_drift"]);
}

#[test]
fn drift_that_ends_the_run_is_one_alert() {
    let hook = well();
    let tenant =
        Tenant::new(&hook.url).with("drift", json!({"rules": [{"rule": "field_type_changed", "policy": "fail-run"}]}));
    tenant.good();
    tenant.read(&page(&json!("many"))).expect(30, &[]);
    let told: Vec<_> = bodies(&hook).iter().map(|body| (body["event"].clone(), body["exit_code"].clone())).collect();
    assert_eq!(told, [(json!("schema_drift"), json!(30))]);
}

#[test]
fn a_third_unfinished_run_in_a_row_alerts_and_a_preview_never() {
    let hook = well();
    let tenant = Tenant::new(&hook.url).with("deadline", json!("PT0.3S"));
    let slow = json!([{"status": 200, "pause_ms": 700, "json": {"data": []}}]);
    for number in 1..=4 {
        tenant.read(&slow).expect(75, &[]);
        assert_eq!(events(&hook).len(), usize::from(number >= 3), "run {number}");
    }
    let body = bodies(&hook).remove(0);
    assert_eq!((body["event"].as_str(), &body["count"]), (Some("unfinished"), &json!(3)));
    let refused = json!([{"status": 401, "json": {}}]);
    let tenant = Tenant::new(&hook.url);
    tenant.tap(&refused).0.args(&["--limit", "3"]).run().expect(20, &[]);
    assert_eq!(events(&hook).len(), 1);
}

#[test]
fn a_webhook_that_is_sick_costs_the_run_nothing() {
    let refused = json!([{"status": 401, "json": {"message": "bad token"}}]);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let reset = json!([{"status": 200, "text": "ok", "cut": 30}]);
    let want = Tenant::new("http://127.0.0.1:9").with("alert", Json::Null).read(&refused);
    let mut cases: Vec<(&str, String, &str, Option<(Vendor, usize)>)> = vec![
        ("is closed", format!("http://{closed}"), "cannot be reached", None),
        ("is nowhere", "http://192.0.2.1:9".to_owned(), "", None),
        ("has no name", "http://webhook.invalid".to_owned(), "", None),
    ];
    for (name, replies, why, calls) in [
        ("hangs", json!([{"status": 200, "pause_ms": 60_000, "text": ""}]), "in time", 2),
        ("fails", json!([{"status": 500, "text": ""}]), "HTTP 500", 3),
        ("fails once", json!([{"status": 500, "text": ""}, {"status": 200, "text": "ok"}]), "", 2),
        ("is busy once", json!([{"status": 429, "text": ""}, {"status": 200, "text": "ok"}]), "", 2),
        ("refuses", json!([{"status": 410, "text": ""}]), "HTTP 410", 1),
        (
            "leads elsewhere",
            json!([{"status": 302, "text": "", "headers": {"Location": "http://127.0.0.1:9/"}}]),
            "HTTP 302",
            1,
        ),
        ("breaks off", reset, "", 3),
    ] {
        let hook = hook(&replies);
        cases.push((name, hook.url.clone(), why, Some((hook, calls))));
    }
    std::thread::scope(|scope| {
        for (name, url, why, calls) in &cases {
            let (refused, want) = (&refused, &want);
            scope.spawn(move || {
                let tenant = Tenant::new(url);
                let began = Instant::now();
                let ran = tenant.read(refused);
                let took = began.elapsed();
                assert_eq!((ran.code, &ran.out), (want.code, &want.out), "{name}");
                assert!(took < Duration::from_secs(7), "{name}: {took:?}");
                let warned: Vec<&str> = ran.err.lines().filter(|line| line.contains("\"alert: ")).collect();
                let delivered = tenant.remembered()["outbox"] == json!([]);
                assert_eq!(warned.len(), usize::from(!delivered), "{name}: {}", ran.err);
                assert!(!ran.err.contains("canary"), "{name}: {}", ran.err);
                if let Some((hook, calls)) = calls {
                    assert_eq!(hook.asked().len(), *calls, "{name}");
                    assert_eq!(delivered, why.is_empty() && *name != "breaks off", "{name}");
                } else {
                    assert!(!delivered, "{name}");
                }
                assert!(warned.iter().all(|line| line.contains(why)), "{name}: {warned:?}");
            });
        }
    });
}

#[test]
fn what_was_not_delivered_goes_with_the_next_run() {
    let refused = json!([{"status": 401, "json": {}}]);
    let tenant = Tenant::new("http://127.0.0.1:9");
    tenant.read(&refused).expect(20, &["the tenant's next run tries again"]);
    let kept = tenant.remembered();
    assert_eq!(kept["outbox"].as_array().unwrap().len(), 1);
    let hook = well();
    let again = Tenant { ours: Tenant::new(&hook.url).ours, dir: tenant.dir.clone(), runs: Cell::new(9) };
    let again = again.with("state_dir", tenant.ours["state_dir"].clone());
    // The cause is over, and yet it was never told.
    again.good();
    assert_eq!(events(&hook), ["credentials_refused"]);
    is_signed(&hook.asked()[0]);
    assert_eq!(bodies(&hook)[0]["since"], kept["outbox"][0]["body"]["since"]);
    again.good();
    assert_eq!(events(&hook).len(), 1);
    // For its owner's eyes.
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(tenant.memory()).unwrap());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_target_that_dies_alerts() {
    let hook = well();
    let tenant = Tenant::new(&hook.url);
    let (tap, _vendor) = tenant.tap(&page(&json!(1)));
    let read = tap.command();
    let mut sync = std::process::Command::new(read.get_program());
    sync.args(["sync", "--target", "sh -c 'cat > /dev/null; exit 3'"]).args(read.get_args().skip(1));
    sync.envs(read.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Ran::of(&sync.output().unwrap()).expect(60, &[]);
    assert_eq!(events(&hook), ["local_failed"]);
    let what = bodies(&hook)[0]["what"].as_str().unwrap().to_owned();
    assert!(what.contains("sh") && what.contains("exit code 3"), "{what}");
}

#[test]
fn tenants_never_see_each_others_alerts() {
    let (hook, other) = (well(), well());
    let acme = Tenant::new(&hook.url);
    let globex = Tenant { ours: Tenant::new(&other.url).ours, dir: acme.dir.clone(), runs: Cell::new(9) };
    let globex = globex.with("state_dir", acme.ours["state_dir"].clone()).with("tenant", json!("globex"));
    let refused = json!([{"status": 401, "json": {}}]);
    acme.read(&refused).expect(20, &[]);
    globex.good();
    assert_eq!((events(&hook).len(), events(&other).len()), (1, 0));
    globex.read(&refused).expect(20, &[]);
    acme.read(&refused).expect(20, &[]);
    assert_eq!((events(&hook).len(), events(&other).len()), (1, 1), "the same cause of another tenant is its own");
    assert_eq!((&bodies(&hook)[0]["tenant"], &bodies(&other)[0]["tenant"]), (&json!("acme"), &json!("globex")));
    assert_ne!(bodies(&hook)[0]["fingerprint"], bodies(&other)[0]["fingerprint"]);
}

#[test]
fn a_config_that_is_refused_alerts_as_far_as_it_can_be_read() {
    for sick in [
        json!({"pace": {"limits": "many"}}),
        json!({"tiers": {"hourly": {"streams": ["nothing"]}}}),
        json!({"pase": {}}),
    ] {
        let hook = well();
        let mut tenant = Tenant::new(&hook.url);
        for (key, value) in sick.as_object().unwrap() {
            tenant = tenant.with(key, value.clone());
        }
        tenant.read(&page(&json!(1))).expect(10, &[]);
        tenant.read(&page(&json!(1))).expect(10, &[]);
        assert_eq!(events(&hook), ["config_refused"], "{sick}");
        let body = &bodies(&hook)[0];
        assert_eq!((&body["tenant"], &body["source"]), (&json!("acme"), &json!("manifest")));
        is_signed(&hook.asked()[0]);
    }
    // The token is not there: that is no reason to be silent.
    let hook = well();
    let (tap, _vendor) = Tenant::new(&hook.url).tap(&page(&json!(1)));
    let ran = Ran::of(&tap.command().env_remove("ACME_TOKEN").output().unwrap());
    ran.expect(10, &["ACME_TOKEN"]);
    assert_eq!(events(&hook), ["config_refused"]);
}

#[test]
fn without_a_state_directory_each_run_alerts_and_a_broken_memory_silences_nothing() {
    let refused = json!([{"status": 401, "json": {}}]);
    let hook = well();
    let tenant = Tenant::new(&hook.url).with("state_dir", Json::Null);
    let (tap, _vendor) = tenant.tap(&refused);
    let config =
        std::fs::read_to_string(tap.dir.path().join("config.json")).unwrap().replace("\"state_dir\":null,", "");
    let tap = tap.file("", "config.json", &config);
    tap.run().expect(20, &[]);
    tap.run().expect(20, &[]);
    assert_eq!(events(&hook), ["credentials_refused"; 2]);
    let hook = well();
    let tenant = Tenant::new(&hook.url);
    tenant.good();
    std::fs::create_dir_all(tenant.memory().parent().unwrap()).unwrap();
    std::fs::write(tenant.memory(), "{").unwrap();
    tenant.read(&refused).expect(20, &["cannot read which alerts were sent before"]);
    assert_eq!(events(&hook), ["credentials_refused"]);
}

/// A run that ended so.
fn outcome(slot: &str, code: u8) -> RunEnd {
    let names = ("asana".to_owned(), "acme".to_owned());
    let faults = match code {
        20 => vec![("tasks".to_owned(), Fault::new(Kind::Auth, "refused"))],
        40 => vec![("tasks".to_owned(), Fault::data("bad"))],
        69 => vec![("tasks".to_owned(), Fault::new(Kind::Unavailable, "down"))],
        _ => Vec::new(),
    };
    let complete = if [0, 40].contains(&code) { vec!["users".to_owned()] } else { Vec::new() };
    let complete = complete.into_iter().chain((code == 0).then(|| "tasks".to_owned())).collect();
    RunEnd {
        source: names.0,
        tenant: names.1,
        slot: slot.into(),
        run_id: "r1".into(),
        began: "2026-11-23T03:00:00Z".into(),
        ended: "2026-11-23T03:10:00Z".into(),
        exit_code: code,
        fault: (code == 10).then(|| Fault::config("no")),
        faults,
        complete,
        drift: Some(Vec::new()),
        ..RunEnd::default()
    }
}

fn told(memory: &mut Outbox, slot: &str, code: u8) -> Vec<AlertEvent> {
    memory.record(&outcome(slot, code)).iter().map(|body| body.event).collect()
}

#[test]
fn tiers_that_fail_by_the_same_cause_are_one_alert() {
    let mut memory = Outbox::default();
    assert_eq!(told(&mut memory, "hourly", 20), [AlertEvent::CredentialsRefused]);
    assert_eq!(told(&mut memory, "daily", 20), []);
    assert_eq!(told(&mut memory, "hourly", 0), []);
    assert_eq!(told(&mut memory, "daily", 20), [], "it never was well there");
    assert_eq!(told(&mut memory, "hourly", 20), [AlertEvent::CredentialsRefused], "it was well, and is not");
    for code in [76, 143] {
        assert_eq!(told(&mut memory, "hourly", code), []);
        assert_eq!(told(&mut memory, "hourly", 20), [], "{code} proves nothing");
    }
    // One that is refused before it asks says nothing of the credentials.
    assert_eq!(told(&mut memory, "hourly", 10), [AlertEvent::ConfigRefused]);
    assert_eq!(told(&mut memory, "hourly", 20), []);
    assert_eq!(told(&mut memory, "hourly", 10), [AlertEvent::ConfigRefused], "it was mended in between");
}

#[test]
fn causes_of_one_kind_are_one_alert() {
    let mut run = outcome("hourly", 40);
    run.faults = (0..9).map(|n| (format!("s{n}"), Fault::data(format!("the answer {n} is bad")))).collect();
    run.drift = Some((0..40).map(finding).collect());
    let mut memory = Outbox::default();
    let bodies = memory.record(&run);
    let kinds: Vec<(AlertEvent, usize, usize)> =
        bodies.iter().map(|b| (b.event, b.streams.len(), b.changes.len())).collect();
    assert_eq!(kinds, [(AlertEvent::SchemaDrift, 1, 20), (AlertEvent::StreamFailed, 9, 0)]);
    assert!(
        bodies[1].what.contains("s0: the answer 0 is bad") && bodies[1].what.ends_with("and 4 more"),
        "{}",
        bodies[1].what
    );
    // One more is told alone.
    run.faults.push(("s9".into(), Fault::data("new")));
    run.drift.as_mut().unwrap().push(finding(40));
    let bodies = memory.record(&run);
    let kinds: Vec<(AlertEvent, &[String], usize)> =
        bodies.iter().map(|b| (b.event, &*b.streams, b.changes.len())).collect();
    assert_eq!(
        kinds,
        [
            (AlertEvent::SchemaDrift, &["tasks".to_owned()][..], 1),
            (AlertEvent::StreamFailed, &["s9".to_owned()][..], 0)
        ]
    );
    assert_eq!(memory.outbox.len(), 4);
    assert!(memory.claim().is_empty(), "they are being delivered");
    // Accepted, they are forgotten.
    run.drift = Some(Vec::new());
    memory.record(&run);
    assert!(memory.open.values().all(|open| open.event == AlertEvent::StreamFailed));
}

fn finding(n: usize) -> Finding {
    let pointer = format!("/f{n}");
    let identity = ChangeIdentity {
        source: "asana",
        stream: "tasks",
        rule: Rule::FieldTypeChanged,
        pointer: &pointer,
        from: "string",
        to: "integer",
    };
    Finding {
        fingerprint: identity.fingerprint(),
        rule: Rule::FieldTypeChanged,
        severity: Severity::Break,
        source: "asana".into(),
        tenant: "acme".into(),
        stream: "tasks".into(),
        pointer,
        from: "string".into(),
        to: "integer".into(),
        policy: Rule::FieldTypeChanged.policy(),
        count: 1,
        of: 2,
        last_count: 0,
        last_of: 0,
        quarantined: 0,
        first_seen: "2026-11-22T03:00:00Z".into(),
        last_seen: "2026-11-23T03:00:00Z".into(),
        runs: 1,
        run_id: "r1".into(),
        sample: None,
        keys: Vec::new(),
        evidence: None,
        silenced_until: None,
        schema: None,
    }
}

proptest! {
    /// Whatever runs end how: no cause is told twice without a good run of its slot in between, every first one is
    /// told, and what is told waits until it is delivered.
    #[test]
    fn each_cause_is_told_when_it_begins(runs in prop::collection::vec((0..2usize, 0..6usize), 1..40)) {
        let (slots, codes) = (["hourly", "daily"], [0u8, 10, 20, 40, 69, 76]);
        let mut memory = Outbox::default();
        let mut sick: [std::collections::BTreeMap<u8, bool>; 2] = Default::default();
        let mut all = 0;
        for (slot, code) in runs {
            let code = codes[code];
            let events = told(&mut memory, slots[slot], code);
            all += events.len();
            // What this run is proof of.
            let proves = |of: u8| match (code, of) {
                (76, _) => false,
                (_, 10) => code != 10,
                (_, 40) => code == 0,
                _ => code == 0 || code == 40,
            };
            let mut want = 0;
            for of in [10, 20, 40, 69] {
                let elsewhere = sick[1 - slot].get(&of).copied();
                let here = sick[slot].get(&of).copied();
                if of == code {
                    let known = here.is_some() || elsewhere.is_some();
                    want += usize::from(!known || here == Some(false));
                    sick[slot].insert(of, true);
                } else if proves(of) && here.is_some() {
                    sick[slot].insert(of, false);
                }
                if sick.iter().all(|slot| slot.get(&of) != Some(&true)) {
                    for slot in &mut sick {
                        slot.remove(&of);
                    }
                }
            }
            prop_assert_eq!(events.len(), want, "{} in {}", code, slots[slot]);
        }
        prop_assert_eq!(memory.outbox.len(), all.min(50));
        let keys: Vec<String> = memory.outbox.iter().map(|waiting| waiting.body.key()).collect();
        for key in keys {
            memory.sent(&key, true);
        }
        prop_assert!(memory.outbox.is_empty());
        let text = serde_json::to_value(&memory).unwrap();
        prop_assert_eq!(serde_json::from_value::<Outbox>(text).unwrap(), memory);
    }
}
