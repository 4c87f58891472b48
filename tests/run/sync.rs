//! `sync`: a target beside the run, which may die, hang or talk nonsense; only what it echoes is kept.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dripfeed::run::sync::state_acks::{AckTracker, TargetLine};
use dripfeed::tenant::bookmarks::Bookmarks;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::{Vendor, decode};

/// Echoes the value of every STATE at once.
const ECHO: &str = r#"sed -u -n 's/^{"type":"STATE","value":\(.*\)}$/\1/p'"#;

/// Two incremental streams, `items` and `users`, a month at a time.
fn manifest() -> String {
    let cursor = json!({
        "type": "DatetimeBasedCursor", "cursor_field": "at", "datetime_format": "%Y-%m-%dT%H:%M:%SZ",
        "start_datetime": "2024-01-01T00:00:00Z", "step": "P1M", "cursor_granularity": "PT1S",
        "start_time_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "since"},
    });
    let schema = json!({"id": {"type": "string"}, "at": {"type": "string"}});
    let mut manifest: Json =
        serde_json::from_str(&items(&schema, &json!({"incremental_sync": cursor}), &json!({}))).unwrap();
    let mut users = manifest["streams"][0].clone();
    users["name"] = json!("users");
    users["retriever"]["requester"]["path"] = json!("users");
    manifest["streams"].as_array_mut().unwrap().push(users);
    manifest["concurrency_level"] = json!({"type": "ConcurrencyLevel", "default_concurrency": 1});
    manifest.to_string()
}

/// A page for every month that is asked for.
fn vendor(pause_ms: u64) -> Vendor {
    let page = |at: &str| json!({"status": 200, "pause_ms": pause_ms, "json": {"data": [{"id": at, "at": at}]}});
    let pages = json!([page("2024-01-05T00:00:00Z"), page("2024-02-05T00:00:00Z"), page("2024-03-05T00:00:00Z")]);
    Vendor::start(&json!({"routes": [{"path": "/items", "replies": pages}, {"path": "/users", "replies": pages}]}))
}

/// A tenant whose state directory is in the tap's own folder.
fn tenant(verb: &str, vendor: &Vendor) -> Tap {
    let tap = Tap::new(verb).source(&manifest()).env("DRIPFEED_NOW", "2024-03-10T00:00:00Z");
    let tap = tap.args(&["--log-format", "json"]);
    let ours = json!({
        "tenant": "acme", "state_dir": tap.dir.path().join("state"),
        "tiers": {"hourly": {"streams": ["items"]}, "daily": {"streams": ["*"]}},
    });
    tap.config(&json!({"url": vendor.url, "dripfeed": ours}))
}

fn sync(vendor: &Vendor, script: &str) -> Tap {
    tenant("sync", vendor).target(script)
}

impl Tap {
    /// Feeds a shell script.
    fn target(self, script: &str) -> Tap {
        let tap = self.file("", "target.sh", script);
        let target = format!("sh {}", tap.dir.path().join("target.sh").display());
        tap.args(&["--target", &target])
    }

    fn run_in(&self, more: &[&str]) -> Ran {
        Ran::of(&self.command().args(more).output().unwrap())
    }

    /// Runs, and its stream's bookmark is there.
    fn run_kept(&self, stream: &str, at: &str) {
        self.run().expect(0, &[]);
        assert_eq!(self.kept()["bookmarks"][stream]["at"], at);
    }

    fn kept(&self) -> Json {
        read(&self.dir.path().join("state/state/manifest/acme.json"))
    }

    fn record(&self) -> Json {
        read(&self.dir.path().join("state/runs/manifest/acme.json"))
    }
}

fn read(path: &Path) -> Json {
    std::fs::read(path).map_or(Json::Null, |bytes| serde_json::from_slice(&bytes).unwrap())
}

/// Waits until it is so.
fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < until, "it does not happen that {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What each request of a path asked to start from.
fn since(vendor: &Vendor, path: &str) -> Vec<String> {
    let of = |query: String| query.split('&').find_map(|p| p.strip_prefix("since=").map(decode)).unwrap_or_default();
    vendor.asked().into_iter().filter(|asked| asked.path == path).map(|asked| of(asked.query)).collect()
}

#[test]
fn what_the_target_echoes_is_where_the_next_run_goes_on() {
    let vendor = vendor(0);
    let tap = sync(&vendor, ECHO);
    let ran = tap.run();
    ran.expect(0, &[]);
    assert_eq!(ran.out, "", "stdout is the target's business");
    let kept = tap.kept();
    assert_eq!(kept["bookmarks"]["items"]["at"], "2024-03-05T00:00:00Z");
    assert_eq!(kept["bookmarks"]["users"]["replication_key_value"], "2024-03-05T00:00:00Z");
    assert_eq!(kept["dripfeed"]["source"], "manifest");
    assert!(kept.get("currently_syncing").is_none());
    tap.run().expect(0, &[]);
    assert_eq!(since(&vendor, "/items")[3..], ["2024-03-05T00:00:00Z"]);
    // `read` takes the same document.
    let state = tap.dir.path().join("state/state/manifest/acme.json").display().to_string();
    let read = tenant("read", &vendor).args(&["--state", &state]).run();
    read.expect(0, &[]);
    assert_eq!(since(&vendor, "/items")[4..], ["2024-03-05T00:00:00Z"]);
}

#[test]
fn a_file_of_the_users_own_keeps_the_state_too() {
    let vendor = vendor(0);
    let tap = sync(&vendor, ECHO);
    let file = tap.dir.path().join("own.json");
    let own = file.display().to_string();
    tap.run_in(&["--state", &own]).expect(0, &[]);
    assert_eq!(read(&file)["bookmarks"]["items"]["at"], "2024-03-05T00:00:00Z");
    assert_eq!(tap.kept(), Json::Null);
    tap.run_in(&["--state", &own]).expect(0, &[]);
    assert_eq!(since(&vendor, "/items")[3..], ["2024-03-05T00:00:00Z"]);
}

#[test]
fn tiers_keep_what_others_have() {
    let vendor = vendor(30);
    let tap = sync(&vendor, ECHO);
    std::thread::scope(|scope| {
        let both = ["hourly", "daily"].map(|tier| scope.spawn(|| tap.run_in(&["--tier", tier])));
        for ran in both {
            ran.join().unwrap().expect(0, &[]);
        }
    });
    assert_eq!(tap.kept()["bookmarks"]["items"]["at"], "2024-03-05T00:00:00Z");
    assert_eq!(tap.kept()["bookmarks"]["users"]["at"], "2024-03-05T00:00:00Z");
    // A tier that starts anew leaves the other's bookmark where it is.
    tap.run_in(&["--tier", "daily", "--full-refresh", "--limit", "1"]).expect(0, &[]);
    assert_eq!(tap.kept()["bookmarks"]["users"]["at"], "2024-03-05T00:00:00Z", "a preview keeps nothing");
    let record = tap.record();
    for (tier, stream) in [("hourly", "items"), ("daily", "users")] {
        assert_eq!(record["runs"][tier]["exit_code"], 0);
        assert_eq!(record["runs"][tier]["streams"], json!([stream]));
        assert_eq!(record["streams"][stream]["bookmark"], "2024-03-05T00:00:00Z");
        assert_eq!(record["streams"][stream]["slot"], tier);
        assert_eq!(record["streams"][stream]["fresh"], record["runs"][tier]["last_good"]);
    }
    assert_eq!(record["totals"]["runs"], 2);
}

#[test]
fn what_is_not_echoed_is_not_kept() {
    let later = r#"{"bookmarks":{"items":{"at":"2099-01-01T00:00:00Z"}}}"#;
    for (script, words) in [
        ("cat > /dev/null", "did not echo the last state"),
        ("cat > /dev/null; echo loaded all rows; printf '\\377\\000\\n'", "are not states"),
        (&format!("cat > /dev/null; echo '{later}'"), "this run did not send"),
        (&format!("cat > /dev/null; echo '{{\"type\":\"STATE\",\"value\":{later}}}'"), "this run did not send"),
        ("cat > /dev/null; echo '[]'; echo '{}'; echo 7; echo '{\"bookmarks\":[]}'", "are not states"),
        ("cat > /dev/null; head -c 30000000 /dev/zero", "are not states"),
    ] {
        let vendor = vendor(0);
        let tap = sync(&vendor, script);
        tap.run().expect(0, &[words]);
        let kept = tap.kept();
        assert!(kept["bookmarks"].as_object().is_none_or(serde_json::Map::is_empty), "{script}: {kept}");
        tap.run().expect(0, &[]);
        assert_eq!(since(&vendor, "/items")[3], "2024-01-01T00:00:00Z", "{script}: read again from the start");
    }
}

#[test]
fn a_target_that_fails_keeps_what_it_had_echoed() {
    for (script, said) in [
        // It echoes the state of the first month, takes everything, and fails.
        (format!("{ECHO} | head -1; exit 3"), "failed (exit code 3)"),
        (format!("{ECHO} | head -1; kill -9 $$"), "failed (killed by signal 9)"),
    ] {
        let vendor = vendor(0);
        let tap = sync(&vendor, &script);
        let ran = tap.run_in(&["--tier", "hourly"]);
        ran.expect(60, &[said]);
        assert_eq!(ran.events("run_done")[0]["exit_code"], 60);
        assert!(said.contains(ran.events("run_done")[0]["target"].as_str().unwrap()));
        let kept = tap.kept();
        assert_eq!(kept["bookmarks"]["items"]["at"], "2024-01-05T00:00:00Z", "{script}");
        let record = tap.record();
        assert_eq!(record["runs"]["hourly"]["exit_code"], 60);
        assert!(record["runs"]["hourly"]["why"].as_str().unwrap().contains(said), "{record}");
        assert_eq!(record["streams"]["items"]["bookmark"], "2024-01-05T00:00:00Z");
        assert_eq!(record["streams"]["items"]["fresh"], Json::Null, "what the target did not take is not fresh");
        let failing = record["runs"]["hourly"]["failing_since"].clone();
        assert_eq!(failing, record["runs"]["hourly"]["began"]);
        // Since when it fails is told as long as it does, and not after.
        assert_eq!(tap.run_in(&["--tier", "hourly"]).code, 60);
        assert_eq!(tap.record()["runs"]["hourly"]["failing_since"], failing);
        std::fs::write(tap.dir.path().join("target.sh"), ECHO).unwrap();
        tap.run_in(&["--tier", "hourly"]).expect(0, &[]);
        assert_eq!(tap.record()["runs"]["hourly"]["failing_since"], Json::Null);
        assert_eq!(tap.record()["streams"]["items"]["failing_since"], Json::Null);
        assert_eq!(tap.kept()["bookmarks"]["items"]["at"], "2024-03-05T00:00:00Z");
    }
}

#[test]
fn both_exit_codes_count() {
    // The vendor refuses, the target is well: the run's own code.
    let refuses = Vendor::start(&json!({"routes": [
        {"path": "/items", "replies": [{"status": 401, "json": {}}]},
        {"path": "/users", "replies": [{"status": 401, "json": {}}]},
    ]}));
    let tap = sync(&refuses, ECHO);
    let ran = tap.run();
    ran.expect(20, &[]);
    assert!(ran.events("run_done")[0].get("target").is_none());
    assert_eq!(tap.record()["runs"]["all"]["exit_code"], 20);
    assert!(tap.record()["runs"]["all"]["why"].as_str().unwrap().contains("401"), "{}", tap.record());
    // Both fail: that nothing could be loaded is the graver.
    sync(&refuses, "cat > /dev/null; exit 9").run().expect(60, &["exit code 9", "401"]);
}

#[test]
fn a_target_that_is_none_costs_no_request() {
    let vendor = vendor(0);
    tenant("sync", &vendor).run().expect(2, &["no target is set", "dripfeed.target"]);
    tenant("sync", &vendor)
        .args(&["--target", "no-such-target --token s3cret"])
        .run()
        .expect(10, &["`no-such-target`"]);
    tenant("sync", &vendor).args(&["--target", "a 'b"]).run().expect(10, &["an unclosed quote"]);
    tenant("sync", &vendor).args(&["--target", " "]).run().expect(10, &["is empty"]);
    tenant("sync", &vendor).args(&["--target", "cat", "--protocol", "airbyte"]).run().expect(2, &[]);
    tenant("sync", &vendor).args(&["--target", "cat", "--target-timeout", "1h"]).run().expect(2, &["--target-timeout"]);
    assert_eq!(vendor.asked().len(), 0);
}

#[test]
fn a_target_that_goes_away_ends_the_run() {
    // A vendor that would take a minute: the run does not wait for it.
    for script in ["exit 0", "kill -9 $$"] {
        let vendor = vendor(10_000);
        let tap = sync(&vendor, script);
        let ran =
            tap.run_within(Duration::from_secs(9)).expect("it does not wait for an unused response of the vendor");
        ran.expect(60, &["the target `sh`"]);
    }
}

#[test]
fn a_target_that_hangs_is_ended() {
    let vendor = vendor(0);
    for script in
        ["exec sleep 1000", "cat > /dev/null; exec sleep 1000", "trap '' TERM; cat > /dev/null; sleep 1000; sleep 1000"]
    {
        let tap = sync(&vendor, script);
        let ran = tap.args(&["--target-timeout", "PT1S"]).run_within(Duration::from_secs(30)).expect("it hangs too");
        ran.expect(60, &["read and printed nothing for 1 s and was ended"]);
    }
}

#[test]
fn a_state_that_cannot_be_read_costs_no_request_and_stays() {
    for text in ["", "{\"bookmarks\": {\"items\"", "[1]", "{\"dripfeed\": {\"v\": 1, \"source\": \"other\"}}"] {
        let vendor = vendor(0);
        let tap = sync(&vendor, ECHO).file("", "state/state/manifest/acme.json", text);
        tap.run().expect(10, &["acme.json"]);
        assert_eq!(vendor.asked().len(), 0);
        assert_eq!(std::fs::read_to_string(tap.dir.path().join("state/state/manifest/acme.json")).unwrap(), text);
        assert_eq!(tap.record()["runs"]["all"]["exit_code"], 10);
    }
    // Nowhere to keep bookmarks: that is found out before anything is read.
    let vendor = vendor(0);
    let tap = sync(&vendor, ECHO).file("", "taken", "");
    let file = tap.dir.path().join("taken/state.json").display().to_string();
    tap.run_in(&["--state", &file]).expect(10, &["bookmarks are saved there"]);
    assert_eq!(vendor.asked().len(), 0);
}

#[test]
fn a_stream_is_read_by_one_run_at_a_time() {
    let vendor = vendor(300);
    let first = sync(&vendor, ECHO);
    let other = |verb: &str, more: &[&str]| {
        let mut command = first.command();
        let args: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
        command = Command::new(command.get_program());
        command.env("DRIPFEED_NOW", "2024-03-10T00:00:00Z").stdin(Stdio::null());
        let mut args = args.into_iter().skip(1);
        command.arg(verb);
        while let Some(arg) = args.next() {
            if arg == "--target" && verb == "read" {
                args.next();
            } else {
                command.arg(arg);
            }
        }
        Ran::of(&command.args(more).output().unwrap())
    };
    std::thread::scope(|scope| {
        let run = scope.spawn(|| first.run_in(&["--tier", "hourly"]));
        wait_until("the first run asks", || !vendor.asked().is_empty());
        for verb in ["sync", "read"] {
            let asked = vendor.asked().len();
            let began = Instant::now();
            other(verb, &["--tier", "hourly"])
                .expect(76, &["another run of tenant `acme` is reading the stream `items`", "hourly"]);
            assert!(began.elapsed() < Duration::from_secs(2), "it is told at once");
            let of_other = vendor.asked().len() - asked;
            assert!(of_other <= 3, "only the first run asks");
        }
        // All or none: `users` is free, and stays so.
        other("read", &[]).expect(76, &["`items`"]);
        other("read", &["--tier", "daily", "--limit", "1"]).expect(0, &[]);
        other("read", &["--tier", "hourly", "--limit", "1"]).expect(0, &[]);
        other("sync", &["--tier", "daily"]).expect(0, &[]);
        run.join().unwrap().expect(0, &[]);
    });
    other("sync", &["--tier", "hourly"]).expect(0, &[]);
    let record = first.record();
    assert_eq!(record["totals"]["by_exit"], json!({"0": 3}), "a run that was kept away is none");
}

#[test]
fn a_target_that_still_loads_keeps_the_next_run_away() {
    let vendor = vendor(200);
    // It ends some time after its input.
    let tap =
        sync(&vendor, &format!("echo $$ > \"$HERE/pid\"; {ECHO}; while [ -e \"$HERE/busy\" ]; do sleep 0.02; done"));
    let here = tap.dir.path().display().to_string();
    let tap = tap.env("HERE", &here).file("", "busy", "");
    let mut killed = tap.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the run asks", || vendor.asked().len() > 1);
    killed.kill().unwrap();
    killed.wait().unwrap();
    tap.run().expect(76, &["`items`"]);
    std::fs::remove_file(tap.dir.path().join("busy")).unwrap();
    let pid = std::fs::read_to_string(tap.dir.path().join("pid")).unwrap();
    wait_until("the target sees the end of its input", || !Path::new("/proc").join(pid.trim()).exists());
    tap.run().expect(0, &[]);
    assert_eq!(tap.kept()["bookmarks"]["items"]["at"], "2024-03-05T00:00:00Z");
}

#[test]
fn a_signal_lets_the_target_load_what_it_has() {
    let vendor = vendor(400);
    let tap = sync(&vendor, &format!("{ECHO}; echo ended > \"$HERE/ended\""));
    let here = tap.dir.path().display().to_string();
    let tap = tap.env("HERE", &here);
    let ran = tap.run_and_stop(|| vendor.asked().len() > 1);
    ran.expect(143, &[]);
    assert!(tap.dir.path().join("ended").exists(), "it came to its end");
    let kept = tap.kept()["bookmarks"]["items"]["at"].clone();
    assert!(kept == "2024-01-05T00:00:00Z" || kept == "2024-02-05T00:00:00Z", "{kept}");
    assert_eq!(tap.record()["runs"]["all"]["exit_code"], 143);
    assert_eq!(tap.record()["runs"]["all"]["failing_since"], Json::Null);
}

#[test]
fn a_signal_reaches_a_target_that_does_not_end() {
    let vendor = vendor(0);
    let tap =
        sync(&vendor, "trap 'echo term > \"$HERE/term\"; exit 0' TERM; cat > /dev/null; while :; do sleep 0.05; done");
    let here = tap.dir.path().display().to_string();
    let tap = tap.env("HERE", &here);
    let ran = tap.run_and_stop(|| vendor.asked().len() > 5);
    ran.expect(143, &[]);
    assert!(tap.dir.path().join("term").exists());
}

#[test]
fn a_vendor_that_never_answers_is_down_and_not_merely_slow() {
    let vendor = vendor(60_000);
    let tap = sync(&vendor, ECHO);
    let more = tap.dir.path().join("more.json");
    std::fs::write(&more, json!({"dripfeed": {"deadline": "PT1S"}}).to_string()).unwrap();
    let ran = tap.args(&["--config", &more.display().to_string()]).run_within(Duration::from_secs(20));
    ran.expect("it ends with its deadline").expect(69, &["did not respond to any request"]);
}

/// A state with these bookmarks.
fn doc(bookmarks: &[(&str, u32)]) -> Json {
    let bookmarks = bookmarks.iter().map(|(stream, at)| ((*stream).to_owned(), json!({"at": at, "b": {"c": [at]}})));
    json!({"bookmarks": bookmarks.collect::<serde_json::Map<_, _>>(), "dripfeed": {"v": 1}})
}

fn echo(echoes: &mut AckTracker, doc: &Json) -> TargetLine {
    echoes.take(doc.to_string().as_bytes())
}

#[test]
fn a_target_may_put_a_state_together_from_several() {
    let mut echoes = AckTracker::new([("a", None), ("b", None)]);
    for at in 1..4 {
        for stream in ["a", "b"] {
            echoes.records(stream);
            echoes.sent(stream, Some(&doc(&[(stream, at)])["bookmarks"][stream]));
        }
    }
    let said = |bookmarks: &[(&str, u32)], strange: &[&str]| {
        let doc = doc(bookmarks);
        let of = |(stream, _): &(&str, u32)| ((*stream).to_owned(), Some(doc["bookmarks"][stream].clone()));
        let strange = strange.iter().map(|stream| (*stream).to_owned()).collect();
        TargetLine::State { echoed: bookmarks.iter().map(of).collect(), strange }
    };
    assert_eq!(echo(&mut echoes, &doc(&[("a", 2)])), said(&[("a", 2)], &[]));
    assert_eq!(echo(&mut echoes, &doc(&[("a", 2), ("b", 1)])), said(&[("b", 1)], &[]));
    assert_eq!(echo(&mut echoes, &doc(&[("a", 1), ("b", 1)])), said(&[], &["a"]), "it does not go back");
    assert_eq!(echo(&mut echoes, &doc(&[("a", 9), ("b", 3)])), said(&[("b", 3)], &["a"]));
    assert_eq!(echoes.silent(), ["a"]);
    assert_eq!(echo(&mut echoes, &doc(&[("a", 3), ("c", 7)])), said(&[("a", 3)], &[]));
    assert!(echoes.silent().is_empty());
}

#[test]
fn a_bookmark_that_covers_no_record_needs_no_echo_in_the_end() {
    let one = |at: u32| doc(&[("a", at)])["bookmarks"]["a"].clone();
    let settled = |steps: &[&str]| {
        let (mut echoes, mut at) = (AckTracker::new([("a", None)]), 0);
        for step in steps {
            match *step {
                "records" => echoes.records("a"),
                "state" => {
                    at += 1;
                    echoes.sent("a", Some(&one(at)));
                }
                _ => drop(echo(&mut echoes, &doc(&[("a", at)]))),
            }
        }
        let settled = echoes.settled();
        (settled.get("a").map(|value| value.as_ref().unwrap()["at"].as_u64().unwrap()), echoes.silent().is_empty())
    };
    assert_eq!(settled(&["state", "state"]), (Some(2), true));
    assert_eq!(settled(&["records", "state", "echo", "state", "state"]), (Some(3), true));
    assert_eq!(settled(&["records", "state", "state"]), (None, false));
    assert_eq!(settled(&["state", "state", "records", "state", "state"]), (Some(2), false));
    assert_eq!(settled(&["state", "records", "state", "echo"]), (None, true));
}

#[test]
fn a_target_that_had_nothing_to_load_need_not_echo() {
    let empty = json!([{"status": 200, "json": {"data": []}}]);
    let vendor =
        Vendor::start(&json!({"routes": [{"path": "/items", "replies": empty}, {"path": "/users", "replies": empty}]}));
    let tap = sync(&vendor, "cat > /dev/null");
    let ran = tap.run_in(&["--backfill", "2024-01-01..2024-03-01"]);
    ran.expect(0, &[]);
    assert!(!ran.err.contains("did not echo"), "{}", ran.err);
    let kept = read(&tap.dir.path().join("state/state/manifest/acme.backfill.json"));
    let whole = json!([{"start": "2024-01-01T00:00:00Z", "end": "2024-03-01T00:00:00Z"}]);
    assert_eq!(kept["bookmarks"]["items"]["backfilled"], whole);
    assert!(tap.record()["streams"]["items"]["backfill"]["ended"].is_string());
    assert_eq!(tap.record()["streams"]["items"]["fresh"], Json::Null);
}

#[test]
fn what_a_backfill_may_have_overtaken_is_read_again_once() {
    let vendor = vendor(0);
    let tap = sync(&vendor, ECHO);
    tap.run().expect(0, &[]);
    // Its target fails before it echoes anything: who knows what it has loaded.
    std::fs::write(tap.dir.path().join("target.sh"), "cat > /dev/null; exit 1").unwrap();
    let mut backfill = tap.command();
    backfill
        .args(["--backfill", "2024-01-01..2024-02-01", "--streams", "items"])
        .env("DRIPFEED_NOW", "2024-02-20T00:00:00Z");
    Ran::of(&backfill.output().unwrap()).expect(60, &[]);
    std::fs::write(tap.dir.path().join("target.sh"), ECHO).unwrap();
    let backfills = tap.dir.path().join("state/state/manifest/acme.backfill.json");
    let since_then = read(&backfills)["overtaken"]["items"]["since"].clone();
    assert!(since_then.is_string(), "{}", read(&backfills));
    let live = tap.kept();
    // A preview makes up for nothing; a run of another stream neither.
    tap.run_in(&["--limit", "1"]).expect(0, &[]);
    tap.run_in(&["--streams", "users"]).expect(0, &[]);
    assert_eq!(read(&backfills)["overtaken"]["items"]["since"], since_then);
    let asked = since(&vendor, "/items").len();
    let ran = tap.run_in(&["--tier", "hourly"]);
    ran.expect(0, &["again, after a backfill"]);
    // With an hour for clocks that differ.
    assert_eq!(since(&vendor, "/items")[asked..][0], "2024-02-19T23:00:00Z");
    assert_eq!(read(&backfills).get("overtaken"), None);
    assert_eq!(tap.kept(), live, "a bookmark never goes back");
    assert!(!tap.run_in(&["--tier", "hourly"]).err.contains("again, after a backfill"));
}

#[test]
fn states_of_other_streams_may_be_large() {
    let vendor = vendor(0);
    let big: serde_json::Map<_, _> =
        (0..30_000).map(|n| (format!("partition {n} é"), json!("2024-01-01T00:00:00Z"))).collect();
    let state = json!({"bookmarks": {"other": big.clone(), "another": big}});
    // As Python writes it: in ASCII.
    let python = "import json, sys
for line in sys.stdin:
    m = json.loads(line)
    if m['type'] == 'STATE': print(json.dumps(m['value']), flush=True)
";
    let tap = sync(&vendor, "exec python3 \"$HERE/echo.py\"").file("", "echo.py", python);
    let tap = tap.file("", "state/state/manifest/acme.json", &state.to_string());
    let here = tap.dir.path().display().to_string();
    tap.env("HERE", &here).run_kept("items", "2024-03-05T00:00:00Z");
}

#[test]
fn a_reset_of_a_stream_that_is_not_read_is_refused() {
    let vendor = vendor(0);
    sync(&vendor, ECHO).args(&["--reset", "users", "--tier", "hourly"]).run().expect(10, &["--reset names `users`"]);
    assert_eq!(vendor.asked().len(), 0);
}

#[test]
fn a_deadline_is_that_of_reading() {
    let vendor = vendor(0);
    let tap = sync(&vendor, &format!("{ECHO}; sleep 3"));
    let more = tap.dir.path().join("more.json");
    std::fs::write(&more, json!({"dripfeed": {"deadline": "PT2S"}}).to_string()).unwrap();
    tap.run_in(&["--config", &more.display().to_string()]).expect(0, &[]);
}

#[test]
fn without_a_state_directory_all_is_kept_in_the_users_own() {
    let vendor = vendor(300);
    let tap = Tap::new("sync --log-format json").source(&manifest()).env("DRIPFEED_NOW", "2024-03-10T00:00:00Z");
    let tap = tap.config(&json!({"url": vendor.url, "dripfeed": {"tenant": "acme"}})).target(ECHO);
    let home = tap.dir.path().join("xdg");
    let tap = tap.env("XDG_STATE_HOME", &home.display().to_string());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| tap.run());
        wait_until("the first run asks", || !vendor.asked().is_empty());
        tap.run().expect(76, &[]);
        first.join().unwrap().expect(0, &[]);
    });
    for file in ["state/manifest/acme.json", "runs/manifest/acme.json"] {
        assert!(home.join("dripfeed").join(file).exists(), "{file}");
    }
}

#[test]
fn a_config_that_lacks_a_variable_is_recorded_where_it_says_whose_it_is() {
    let vendor = vendor(0);
    let tap = sync(&vendor, ECHO);
    let more = tap.dir.path().join("more.json");
    std::fs::write(&more, json!({"token": "env:NO_SUCH_VARIABLE_AT_ALL"}).to_string()).unwrap();
    tap.run_in(&["--config", &more.display().to_string()]).expect(10, &["NO_SUCH_VARIABLE_AT_ALL"]);
    let record = tap.record();
    assert_eq!(record["runs"]["all"]["exit_code"], 10);
    assert!(record["runs"]["all"]["why"].as_str().unwrap().contains("NO_SUCH_VARIABLE_AT_ALL"));
}

proptest! {
    #[test]
    fn bookmarks_only_go_forward(steps in prop::collection::vec((0usize..3, any::<bool>(), 0u32..12), 1..80)) {
        let streams = ["a", "b", "c"];
        let mut echoes = AckTracker::new(streams.map(|s| (s, None)));
        let (mut sent, mut kept) = ([0u32; 3], [0u32; 3]);
        for (stream, sends, at) in steps {
            if sends {
                sent[stream] += 1;
                let name = streams[stream];
                echoes.sent(name, Some(&doc(&[(name, sent[stream])])["bookmarks"][name]));
                continue;
            }
            // It echoes anything: what was sent, what was not, what is old.
            let claim = doc(&[(streams[stream], at)]);
            let now: Bookmarks = match echo(&mut echoes, &claim) {
                TargetLine::State { echoed, strange } => {
                    let is_strange = at == 0 || at > sent[stream] || at < kept[stream];
                    prop_assert_eq!(!strange.is_empty(), is_strange, "{} of {}", at, sent[stream]);
                    echoed
                }
                TargetLine::Nonsense => panic!("it is a state"),
            };
            for bookmark in now.values() {
                let value = bookmark.as_ref().unwrap()["at"].as_u64().unwrap() as u32;
                prop_assert!(value > kept[stream] && value <= sent[stream]);
                kept[stream] = value;
            }
        }
    }
}
