//! How tenants stand is told from what their runs left, and what cannot be read of one hides no other.
//!
//! A folder of `fixtures/status` is a night: `state/`, `tenants/` and `now`, and what is said of it:
//! `expected.txt.snap`, `.json`, `.prom` and `.html` (`INSTA_UPDATE=always cargo test status` writes them anew).
//! Configs are a hundred days old there, those called `new-…` ten minutes.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dripfeed::base::display::terminal::Look;
use dripfeed::tenant::run_record::{Record, RunEntry, RunRecords, Stream};
use dripfeed::tenant::schedule::cron_expr::Times;
use dripfeed::tenant::schedule::jenkins_hash::Hash;
use dripfeed::tenant::status::{StatusReport, Subject, TenantVerdict, html, openmetrics, table};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::support::golden::{self, copy};
use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::Vendor;

const FORMATS: [(&str, &str); 4] = [("table", "txt"), ("json", "json"), ("openmetrics", "prom"), ("html", "html")];

fn fixtures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/status");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 3, "{cases:?}");
    cases
}

/// A night, laid out in a folder of its own.
struct Night {
    dir: TempDir,
    now: String,
}

impl Night {
    fn of(case: &Path) -> Night {
        let dir = tempfile::tempdir().unwrap();
        copy(case, dir.path());
        let now = std::fs::read_to_string(case.join("now")).unwrap().trim().to_owned();
        let at: SystemTime = dripfeed::base::timefmt::parse_iso(&now).unwrap().into();
        for entry in std::fs::read_dir(dir.path().join("tenants")).unwrap() {
            let path = entry.unwrap().path();
            let new = path.file_name().unwrap().to_string_lossy().starts_with("new-");
            let age = Duration::from_secs(if new { 600 } else { 100 * 86_400 });
            File::options().write(true).open(path).unwrap().set_modified(at - age).unwrap();
        }
        Night { dir, now }
    }

    fn status(&self, args: &str) -> Ran {
        let mut command = Tap::new(&format!("status {args}")).command();
        command.current_dir(self.dir.path()).env("DRIPFEED_NOW", &self.now).env("DRIPFEED_STATE_DIR", "state");
        Ran::of(&command.output().unwrap())
    }

    fn json(&self, args: &str) -> Json {
        serde_json::from_str(&self.status(&format!("{args} --format json")).expect(0, &[]).out).unwrap()
    }
}

fn tenant<'r>(report: &'r Json, name: &str) -> &'r Json {
    report["tenants"].as_array().unwrap().iter().find(|row| row["tenant"] == name).unwrap()
}

#[test]
fn a_night_is_told_as_it_was() {
    for case in fixtures() {
        let night = Night::of(&case);
        for (format, file) in FORMATS {
            let ran = night.status(&format!("--tenants tenants --format {format}"));
            assert_eq!(ran.expect(0, &[]).err, "");
            assert!(!ran.out.contains('\u{1b}'), "no terminal, no colours");
            golden::assert_text(&case, &format!("expected.{file}"), &ran.out);
        }
    }
}

#[test]
fn names_become_no_markup_and_no_other_label() {
    let case = fixtures().into_iter().find(|case| case.ends_with("hostile-names")).unwrap();
    let night = Night::of(&case);
    let written =
        |format: &str| night.status(&format!("--tenants tenants --format {format}")).expect(0, &[]).out.clone();
    let page = written("html");
    for banned in ["<script", "<img", "<b>\"", "http://", "https://", "url(", "\u{1b}", "\u{202e}"] {
        assert!(!page.contains(banned), "{banned}");
    }
    assert!(page.contains("&lt;script&gt;"), "shown as a text");
    let metrics = written("openmetrics");
    assert!(metrics.contains(r#"tenant="a\"b\\c\n<script>alert(1)</script>&"#), "{metrics}");
    assert!(metrics.lines().all(|line| line.starts_with("# ") || line.starts_with("dripfeed_")), "{metrics}");
    assert!(!written("table").contains('\u{202e}'));
}

#[test]
fn a_table_fits_its_terminal() {
    for case in fixtures() {
        let night = Night::of(&case);
        let now = dripfeed::base::timefmt::parse_iso(&night.now).unwrap();
        let all = dripfeed::tenant::run_record::all(&night.dir.path().join("state")).unwrap();
        let subjects = all.into_iter().map(|(source, tenant)| Subject {
            source,
            tenant,
            root: night.dir.path().join("state"),
            ..Subject::default()
        });
        let report = StatusReport::of(&subjects.collect::<Vec<_>>(), now);
        for width in [80, 100, 200] {
            let text = table::write(&report, Look { colour: false, width: Some(width) });
            // A command is never wrapped: it is there to be copied.
            for line in text.lines().filter(|line| !line.trim_start().starts_with("type ")) {
                let longest = line.split(' ').map(|word| word.chars().count()).max().unwrap_or(0);
                assert!(line.chars().count() <= width || longest + 14 > width, "{width}: {line}");
            }
            let coloured = table::write(&report, Look { colour: true, width: Some(width) });
            let plain: String =
                coloured.split('\u{1b}').map(|part| part.split_once('m').map_or(part, |(_, rest)| rest)).collect();
            assert!(coloured.contains('\u{1b}') && plain.contains("TENANT"), "{plain}");
        }
    }
}

#[test]
fn a_run_under_way_is_told_from_one_that_was_killed() {
    let case = fixtures().into_iter().find(|case| case.ends_with("night")).unwrap();
    let night = Night::of(&case);
    let state = |tenant_name: &str, tier: &str| {
        let report = night.json("--tenants tenants");
        let runs = tenant(&report, tenant_name)["runs"].as_array().unwrap().clone();
        runs.into_iter().find(|run| run["tier"] == tier).unwrap()["state"].as_str().unwrap().to_owned()
    };
    assert_eq!([state("nakatomi", "daily"), state("wayne", "backfill")], ["killed", "killed"]);
    let hold = |path: &str| {
        let path = night.dir.path().join("state/locks/asana").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = File::create(path).unwrap();
        file.lock().unwrap();
        file
    };
    let locks = [hold("nakatomi/users.lock"), hold("wayne/tasks%2ebackfill.lock")];
    assert_eq!([state("nakatomi", "daily"), state("wayne", "backfill")], ["running", "running"]);
    assert_eq!(tenant(&night.json("--tenants tenants"), "nakatomi")["verdict"], "ok");
    drop(locks);
    assert_eq!([state("nakatomi", "daily"), state("wayne", "backfill")], ["killed", "killed"]);
}

#[test]
fn what_cannot_be_read_of_one_hides_no_other() {
    let case = fixtures().into_iter().find(|case| case.ends_with("calm")).unwrap();
    let night = Night::of(&case);
    let file = |path: &str, text: &str| {
        let path = night.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    file("tenants/broken.json", "{\"access_token\": \"a-canary\", ");
    file(
        "tenants/odd.json",
        r#"{"access_token": "a-canary", "dripfeed": {"source": "asana", "tenant": "odd", "pace": {"limits": 7}}}"#,
    );
    file("tenants/other.json", r#"{"dripfeed": {"source": "nowhere.yaml", "tenant": "other"}}"#);
    file("state/runs/asana/bluth.json", "{");
    file("state/alerts/asana/stark.json", "{");
    file("state/drift/asana/aperture/tasks.pending.json", "[]");
    let report = night.json("--tenants tenants");
    let verdict = |name| tenant(&report, name)["verdict"].as_str().unwrap().to_owned();
    let all = ["broken", "odd", "other", "bluth", "stark", "aperture"].map(verdict);
    assert_eq!(all, ["needs_person", "needs_person", "needs_person", "failing", "ok", "ok"]);
    for (name, what) in [("stark", "cannot read the record of its alerts"), ("aperture", "cannot read its drift")] {
        assert!(tenant(&report, name)["notes"].to_string().contains(what), "{report}");
    }
    for (format, _) in FORMATS {
        let ran = night.status(&format!("--tenants tenants --format {format}"));
        assert!(!ran.expect(0, &[]).out.contains("a-canary"), "{format}");
    }
}

/// The series of the OpenMetrics text, each once.
fn series(text: &str) -> BTreeSet<&str> {
    let all: Vec<&str> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect();
    let series: BTreeSet<&str> = all.iter().copied().collect();
    assert_eq!(series.len(), all.len(), "a series stands there twice: {text}");
    series
}

#[test]
fn two_configs_of_one_tenant_are_one_tenant_that_needs_a_person() {
    let case = fixtures().into_iter().find(|case| case.ends_with("calm")).unwrap();
    let night = Night::of(&case);
    let path = |name: &str| night.dir.path().join("tenants").join(name);
    let bluth: Json = serde_json::from_str(&std::fs::read_to_string(path("bluth.json")).unwrap()).unwrap();
    let copy = |name: &str, state_dir: &Path| {
        let mut config = bluth.clone();
        config["dripfeed"]["state_dir"] = json!(state_dir);
        std::fs::write(path(name), config.to_string()).unwrap();
    };
    let metrics = || night.status("--tenants tenants --format openmetrics").expect(0, &[]).out.clone();
    let (before, text) = (night.json("--tenants tenants"), metrics());
    // The same directory, written in another way.
    copy("bluth-old.json", &night.dir.path().join("tenants/../state"));
    let after = night.json("--tenants tenants");
    assert_eq!(after["tenants"].as_array().unwrap().len(), before["tenants"].as_array().unwrap().len());
    let row = tenant(&after, "bluth");
    assert_eq!((&row["verdict"], &row["runs"]), (&json!("needs_person"), &tenant(&before, "bluth")["runs"]));
    assert_eq!(
        row["reasons"][0]["what"],
        "tenants/bluth-old.json and tenants/bluth.json both describe this tenant: they share its state"
    );
    assert_eq!(series(&metrics()), series(&text));
    for format in ["table", "html"] {
        let ran = night.status(&format!("--tenants tenants --format {format}"));
        ran.expect(0, &[]);
        assert!(ran.out.contains("bluth-old.json"), "{format}: {}", ran.out);
    }
    // What is wrong with one of them is told too, with the command that means it.
    std::fs::write(path("bluth.json"), bluth.to_string().replace("\"hourly\"", "\"all\"")).unwrap();
    let reasons = tenant(&night.json("--tenants tenants"), "bluth")["reasons"].clone();
    assert_eq!(reasons[1]["what"], "its config cannot be used");
    assert_eq!(reasons[1]["commands"][0], "dripfeed check --config tenants/bluth.json");
    copy("bluth.json", Path::new("state"));
    // A config with another state directory is another tenant: they share only the name.
    copy("bluth-old.json", &night.dir.path().join("elsewhere"));
    let rows = night.json("--tenants tenants")["tenants"].as_array().unwrap().clone();
    let told: BTreeSet<String> =
        rows.iter().filter(|row| row["tenant"] == "bluth").map(|row| row["state_dir"].to_string()).collect();
    assert!(told.len() == 2 && told.iter().any(|dir| dir.ends_with("/elsewhere\"")), "{told:?}");
    let text = metrics();
    assert!(series(&text).iter().any(|one| one.contains("tenant=\"bluth\",state_dir=\"/")), "{text}");
    assert!(series(&text).iter().all(|one| one.contains("bluth") || !one.contains("state_dir")), "{text}");
}

#[test]
fn names_that_are_written_alike_make_one_series() {
    let named = |tenant: &str| Subject { source: "asana".into(), tenant: tenant.into(), ..Subject::default() };
    let report = StatusReport::of(&[named("a b"), named("a\rb")], OffsetDateTime::UNIX_EPOCH);
    assert_eq!(report.tenants.len(), 2);
    series(&openmetrics::write(&report));
}

#[test]
fn without_a_folder_it_is_whom_the_state_directory_knows() {
    let case = fixtures().into_iter().find(|case| case.ends_with("night")).unwrap();
    let night = Night::of(&case);
    let report = night.json("");
    let (with, without) = (night.json("--tenants tenants"), report["tenants"].as_array().unwrap().len());
    assert_eq!(without + 1, with["tenants"].as_array().unwrap().len(), "all but the one that never ran");
    // The configs are where the last runs found them, and so is what they promise.
    assert_eq!(tenant(&report, "tyrell")["verdict"], "late");
    assert_eq!(tenant(&report, "tyrell")["reasons"], tenant(&with, "tyrell")["reasons"]);
    // No secret is needed to look.
    night.status("--config tenants/tyrell.json --format json").expect(0, &[]);
    night.status("--tenants tenants --source other").expect(0, &[]);
    night.status("--tenants nowhere").expect(10, &["cannot list the folder nowhere"]);
    night.status("--tenants state").expect(10, &["state has no config"]);
    night
        .status("--tenants tenants --format markdown")
        .expect(2, &["[possible values: table, json, html, openmetrics]"]);
    let empty = Night { dir: tempfile::tempdir().unwrap(), now: night.now };
    empty.status("").expect(10, &["state has no record of a run", "--state-dir"]);
}

#[test]
fn a_tenant_is_followed_from_its_first_run_on() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (
        json!([{"status": 200, "json": {"data": [{"id": "a", "at": "2024-03-01T00:00:00Z"}]}}]),
        json!([{"status": 401, "json": {}}]),
    );
    let cursor = json!({"incremental_sync": {
        "type": "DatetimeBasedCursor", "cursor_field": "at", "datetime_format": "%Y-%m-%dT%H:%M:%SZ",
        "start_datetime": "2024-01-01T00:00:00Z"}});
    let manifest = items(&json!({"id": {"type": "string"}, "at": {"type": "string"}}), &cursor, &json!({}));
    let ours = json!({
        "tenant": "acme", "state_dir": dir.path(), "tiers": {"hourly": {"streams": ["*"], "schedule": "H * * * *"}},
    });
    let run = |verb: &str, vendor: &Vendor| {
        Tap::new(verb).source(&manifest).config(&json!({"url": vendor.url, "dripfeed": ours})).run()
    };
    let status = |vendor: &Vendor| -> Json {
        let ran = run("status --format json", vendor);
        serde_json::from_str::<Json>(&ran.expect(0, &[]).out).unwrap()["tenants"][0].clone()
    };
    let vendor = Vendor::of_items(good);
    let row = status(&vendor);
    assert_eq!((&row["verdict"], &row["notes"][0]), (&json!("ok"), &json!("no run of tier hourly yet")));
    run("read --tier hourly", &vendor).expect(0, &[]);
    let row = status(&vendor);
    assert_eq!(
        (&row["verdict"], &row["runs"][0]["exit_code"], &row["runs"][0]["tier"]),
        (&json!("ok"), &json!(0), &json!("hourly"))
    );
    let stream = &row["streams"][0];
    assert_eq!((&stream["stream"], &stream["due_every_seconds"]), (&json!("items"), &json!(3600)));
    assert_eq!((&stream["bookmark"], &stream["late"]), (&json!("2024-03-01T00:00:00Z"), &json!(false)));
    let refusing = Vendor::of_items(bad);
    run("read --tier hourly", &refusing).expect(20, &[]);
    let row = status(&refusing);
    let reason = &row["reasons"][0];
    assert_eq!(row["verdict"], "needs_person");
    assert_eq!(reason["what"], "tier hourly: the vendor refused the credentials (exit 20)");
    assert!(reason["commands"][0].as_str().unwrap().starts_with("dripfeed check --source "), "{reason}");
    // Somebody tries it by hand, and then all is well again.
    run("read", &refusing).expect(20, &[]);
    run("read --tier hourly", &vendor).expect(0, &[]);
    let row = status(&vendor);
    assert_eq!(row["verdict"], "ok");
    let hourly = row["runs"].as_array().unwrap().iter().find(|run| run["tier"] == "hourly").unwrap();
    let codes: Vec<u64> =
        hourly["history"].as_array().unwrap().iter().map(|past| past["exit_code"].as_u64().unwrap()).collect();
    assert_eq!(codes, [0, 20, 0]);
    let last = &hourly["history"][2];
    assert_eq!((&last["verb"], &last["state"], &last["records"]), (&json!("read"), &json!("ended"), &json!(1)));
    assert_eq!((&last["began"], &last["ended"]), (&hourly["began"], &hourly["ended"]));
}

/// A folder with the config of one tenant, whose tiers are hourly and daily, and the record of its runs.
fn recorded(runs: &[(&str, RunEntry)], streams: &[(&str, Stream)]) -> Night {
    let dir = tempfile::tempdir().unwrap();
    let ours = json!({"source": "asana", "tenant": "acme", "tiers": {
        "hourly": {"streams": ["tasks"], "schedule": "H * * * *"},
        "daily": {"streams": ["users", "teams"], "schedule": "H 2 * * *"}}});
    std::fs::create_dir(dir.path().join("tenants")).unwrap();
    let config = json!({"access_token": "env:ACME_TOKEN", "dripfeed": ours}).to_string();
    std::fs::write(dir.path().join("tenants/acme.json"), config).unwrap();
    let put = |record: &mut Record| {
        for (slot, run) in runs {
            record.set_run(slot, run.clone());
        }
        record.streams.extend(streams.iter().map(|(name, stream)| ((*name).to_owned(), stream.clone())));
    };
    let records = RunRecords::new(&dir.path().join("state"), "asana", "acme");
    records.update(&dripfeed::base::stop::Stop::default(), put).unwrap();
    Night { dir, now: "2026-11-23T12:00:00Z".into() }
}

/// A run of that minute on the 23rd, over after half a minute.
fn run_at(minute: &str, exit_code: u8, why: &str) -> RunEntry {
    let at = |seconds: &str| format!("2026-11-23T{minute}:{seconds}Z");
    let why = Some(why.to_owned()).filter(|why| !why.is_empty());
    let (began, ended) = (at("00"), Some(at("30")));
    RunEntry { verb: "sync".into(), began, ended, exit_code: Some(exit_code), why, ..RunEntry::default() }
}

fn fresh_at(minute: &str) -> Stream {
    Stream { fresh: Some(format!("2026-11-23T{minute}:00Z")), ..Stream::default() }
}

/// An hourly tier that was near to late gave the row its EXIT and AGE, and the daily one's failure was not in it.
#[test]
fn a_row_has_the_exit_code_of_the_worst_tier_and_the_age_of_the_oldest_data() {
    let row = |hourly: (&str, u8), daily: (&str, u8)| {
        let night = recorded(
            &[("hourly", run_at(hourly.0, hourly.1, "")), ("daily", run_at(daily.0, daily.1, ""))],
            &[("tasks", fresh_at("10:55")), ("users", fresh_at("02:00")), ("teams", fresh_at("02:00"))],
        );
        let text = night.status("--tenants tenants").expect(0, &[]).out.clone();
        let row = text.lines().find(|line| line.starts_with("acme ")).unwrap().to_owned();
        row.split_whitespace().take(6).map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row(("11:55", 0), ("11:00", 69)), "acme failing 10h 1d 1h 69");
    assert_eq!(row(("11:00", 20), ("11:55", 69)), "acme person 10h 1d 1h 20", "a person comes before the vendor");
    assert_eq!(row(("11:00", 69), ("11:55", 75)), "acme failing 10h 1d 1h 69", "a failure before what goes on");
    assert_eq!(row(("11:55", 0), ("11:00", 0)), "acme ok 10h 1d 5m 0", "of equals it is the last run");
    assert_eq!(row(("09:55", 0), ("11:00", 0)), "acme ok 10h 1d 1h 0");
}

#[test]
fn a_stream_that_was_never_read_is_not_well() {
    let partly = Stream { records: 7, ..Stream::default() };
    let night =
        recorded(&[("hourly", run_at("11:55", 20, "refused"))], &[("tasks", fresh_at("11:55")), ("users", partly)]);
    let text = night.status("--tenants tenants").expect(0, &[]).out.clone();
    for line in [
        "  streams     teams: never read",
        "\n              users: never read to its end\n",
        "  1 other stream: well\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let page = night.status("--tenants tenants --format html").out;
    let summary = "<summary>1 stream: never read, 1 stream: never read to its end, 1 other stream: well</summary>";
    assert!(page.contains(summary), "{page}");
}

#[test]
fn one_cause_is_said_once_on_a_card() {
    let fault = |stream: &str| format!("HTTP Status Code: 401. The key is old (GET https://x.example/{stream})");
    let failed = |stream: &str, fresh: &str| Stream { fault: Some(fault(stream)), ..fresh_at(fresh) };
    let night = recorded(
        &[("hourly", run_at("11:55", 20, &format!("stream `tasks`: {}", fault("tasks"))))],
        &[("tasks", failed("tasks", "10:55")), ("users", failed("users", "02:00"))],
    );
    let count = |text: &str, what: &str| text.matches(what).count();
    let page = night.status("--tenants tenants --format html").expect(0, &[]).out.clone();
    assert_eq!((count(&page, "The key is old"), count(&page, "refused the credentials")), (1, 0), "{page}");
    assert_eq!(count(&page, "<span class=\"bad\">failed</span>"), 2, "each stream is marked: {page}");
    let table = night.status("--tenants tenants").out;
    assert_eq!(count(&table, "The key is old"), 1, "{table}");
    // Programs get all of it.
    let row = night.json("--tenants tenants");
    assert_eq!(tenant(&row, "acme")["streams"].to_string().matches("The key is old").count(), 2);

    // A run that ends because the vendor changed its data, and the open change, are one cause.
    let why = "stream `tasks`: the vendor changed its data: field_removed /notes (a field is gone): was string";
    let night = recorded(
        &[("hourly", run_at("11:55", 40, why))],
        &[("tasks", Stream { fault: Some(why.to_owned()), ..fresh_at("10:55") })],
    );
    let finding = json!({
        "fingerprint": "3a8a682592fd", "rule": "field_removed", "severity": "break", "source": "asana",
        "tenant": "acme", "stream": "tasks", "pointer": "/notes", "from": "string", "to": "", "policy": "fail-stream",
        "count": 0, "of": 100, "quarantined": 0, "first_seen": "2026-11-23T11:55:10Z",
        "last_seen": "2026-11-23T11:55:10Z", "runs": 1, "run_id": "r",
    });
    let pending = night.dir.path().join("state/drift/asana/acme/tasks.pending.json");
    std::fs::create_dir_all(pending.parent().unwrap()).unwrap();
    std::fs::write(pending, json!({"v": 1, "findings": [finding]}).to_string()).unwrap();
    let page = night.status("--tenants tenants --format html").expect(0, &[]).out.clone();
    assert_eq!((count(&page, "field_removed"), count(&page, "exit 40</small>")), (1, 1), "{page}");
}

/// What stands in a box can be copied as it is: a command, and nothing beside it.
#[test]
fn a_command_stands_alone_in_its_box() {
    for case in fixtures() {
        let page = Night::of(&case).status("--tenants tenants --format html").out;
        for line in page.lines().filter(|line| line.contains("class=\"command\"")) {
            let text = line.replace("<span>", "").replace("</span>", "");
            assert!(text.starts_with("<code class=\"command\">dripfeed ") && text.ends_with("</code>"), "{line}");
            assert_eq!(text.matches('<').count(), 2, "{line}");
        }
    }
}

#[test]
fn a_record_keeps_the_last_twenty_runs_of_each_slot() {
    let mut record = Record::default();
    for hour in 0..24 {
        let run = run_at(&format!("{hour:02}:10"), 0, "");
        // It begins, and is there; it ends, and is there once.
        record.set_run("hourly", RunEntry { ended: None, exit_code: None, ..run.clone() });
        record.set_run("hourly", run);
    }
    record.set_run("daily", run_at("02:00", 69, ""));
    let history = record.history_of("hourly");
    assert_eq!((history.len(), record.history_of("daily").len()), (20, 1));
    assert_eq!((&*history[0].began, &*history[19].began), ("2026-11-23T04:10:00Z", "2026-11-23T23:10:00Z"));
    assert!(history.iter().all(|past| past.exit_code == Some(0)));
    // A record of an older version has the last run only, and goes on from there.
    let mut old = Record { history: std::collections::BTreeMap::new(), ..record };
    assert_eq!(old.history_of("hourly").len(), 1);
    old.set_run("hourly", RunEntry { began: "2026-11-24T00:10:00Z".into(), ..RunEntry::default() });
    assert_eq!(old.history_of("hourly").len(), 2);
}

#[test]
fn the_log_of_a_run_is_named_where_stderr_is_a_file() {
    let vendor = Vendor::of_items(json!([{"status": 401, "json": {}}]));
    let manifest = items(&json!({"id": {"type": "string"}}), &json!({}), &json!({}));
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"url": vendor.url, "dripfeed": {"tenant": "acme", "state_dir": dir.path().join("state")}});
    let tap = |verb: &str| Tap::new(verb).source(&manifest).config(&config);
    let status = |format: &str| tap(&format!("status --format {format}")).run().expect(0, &[]).out.clone();
    let log = || serde_json::from_str::<Json>(&status("json")).unwrap()["tenants"][0]["runs"][0]["log"].clone();
    tap("read").run().expect(20, &[]);
    assert_eq!(log(), Json::Null, "stderr was a pipe");
    let path = dir.path().canonicalize().unwrap().join("acme.log");
    let run = tap("read");
    run.command().stderr(File::create(&path).unwrap()).status().unwrap();
    if !Path::new("/proc/self/fd").is_dir() {
        assert_eq!(log(), Json::Null, "this system does not tell");
        return;
    }
    assert_eq!(log(), json!(path));
    let page = status("html");
    assert!(page.contains(&format!("log <code>{}</code>", path.display())), "{page}");
    assert_eq!(page.matches("role=\"img\"").count(), 2, "a cell for each run: {page}");
    let line = format!("\n  log         {}\n", path.display());
    assert!(status("table").contains(&line), "{}", status("table"));
    // In Airbyte's protocol log lines are messages on stdout.
    let run = tap("read --protocol airbyte");
    run.command().stderr(File::create(&path).unwrap()).status().unwrap();
    assert_eq!(log(), Json::Null);
}

fn judged(run: RunEntry, stream: Stream) -> TenantVerdict {
    let dir = tempfile::tempdir().unwrap();
    let put = |record: &mut Record| {
        record.runs.insert("hourly".into(), run.clone());
        record.streams.insert("tasks".into(), stream.clone());
    };
    RunRecords::new(dir.path(), "asana", "acme").update(&dripfeed::base::stop::Stop::default(), put).unwrap();
    let tier = serde_json::from_value(json!({"streams": ["tasks"], "schedule": "H * * * *"})).unwrap();
    let subject = Subject {
        source: "asana".into(),
        tenant: "acme".into(),
        root: dir.path().into(),
        tiers: [("hourly".to_owned(), tier)].into(),
        ..Subject::default()
    };
    let now = dripfeed::base::timefmt::parse_iso("2026-11-23T12:00:00Z").unwrap();
    let report = StatusReport::of(&[subject], now);
    for text in [table::write(&report, Look::default()), html::write(&report), openmetrics::write(&report)] {
        assert!(text.contains("acme"));
    }
    report.tenants[0].verdict
}

#[test]
fn each_end_has_its_verdict() {
    use TenantVerdict::{Failing, Late, NeedsPerson, Ok};
    let run = |code: u8, row: u64| RunEntry {
        began: "2026-11-23T11:30:00Z".into(),
        ended: Some("2026-11-23T11:31:00Z".into()),
        exit_code: Some(code),
        streams: vec!["tasks".into()],
        unfinished_in_a_row: row,
        ..RunEntry::default()
    };
    let stream = |fresh: &str| Stream { fresh: Some(format!("2026-11-23T{fresh}:00Z")), ..Stream::default() };
    for (code, verdict) in [
        (0, Ok),
        (10, NeedsPerson),
        (20, NeedsPerson),
        (30, NeedsPerson),
        (40, NeedsPerson),
        (50, NeedsPerson),
        (60, Failing),
        (69, Failing),
        (75, Ok),
        (130, Ok),
        (143, Ok),
    ] {
        assert_eq!(judged(run(code, 1), stream("11:20")), verdict, "{code}");
    }
    assert_eq!(judged(run(75, 3), stream("11:20")), Late, "again and again");
    for (fresh, verdict) in [("10:31", Ok), ("10:29", Late)] {
        assert_eq!(judged(run(0, 0), stream(fresh)), verdict, "an hour and a half is the limit");
    }
    // What it failed by was read since, by whichever run.
    assert_eq!(judged(run(40, 0), stream("11:40")), Ok);
}

/// The longest time between two runs, counted run by run.
fn counted(times: &str) -> Duration {
    let fields: Vec<Vec<u32>> = times
        .split(' ')
        .zip([(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)])
        .map(|(field, (from, to))| {
            let parts = field.split(',').flat_map(|part| match (part, part.split_once('-'), part.strip_prefix("*/")) {
                ("*", ..) => (from..=to).collect::<Vec<u32>>(),
                (_, _, Some(step)) => (from..=to).step_by(step.parse().unwrap()).collect(),
                (_, Some((a, b)), _) => (a.parse().unwrap()..=b.parse().unwrap()).collect(),
                _ => vec![part.parse().unwrap()],
            });
            parts.collect()
        })
        .collect();
    let either =
        !times.split(' ').nth(2).unwrap().starts_with('*') && !times.split(' ').nth(4).unwrap().starts_with('*');
    let mut at = OffsetDateTime::from_unix_timestamp(1_514_764_800).unwrap();
    let (mut before, mut longest) = (None, time::Duration::ZERO);
    // After so many years the calendar is the same again.
    for _ in 0..28 * 366 {
        let day = fields[2].contains(&u32::from(at.day()));
        let weekday = fields[4].contains(&u32::from(at.weekday().number_days_from_sunday()));
        let on = if either { day || weekday } else { day && weekday };
        if on && fields[3].contains(&u32::from(u8::from(at.month()))) {
            for (hour, minute) in fields[1].iter().flat_map(|hour| fields[0].iter().map(move |minute| (*hour, *minute)))
            {
                let now = at + time::Duration::minutes(i64::from(hour * 60 + minute));
                longest = longest.max(before.map_or(time::Duration::ZERO, |before| now - before));
                before = Some(now);
            }
        }
        at += time::Duration::DAY;
    }
    longest.unsigned_abs()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn data_may_grow_as_old_as_its_schedule_says(
        minute in prop::sample::select(vec!["H", "0", "H/15", "5,50", "*/7", "H(0-29)"]),
        hour in prop::sample::select(vec!["*", "H", "2", "*/6", "8-18", "1,13,14"]),
        day in prop::sample::select(vec!["*", "1", "1,15", "10-20"]),
        month in prop::sample::select(vec!["*", "1,7", "2-11"]),
        weekday in prop::sample::select(vec!["*", "mon-fri", "0", "H"]),
    ) {
        let schedule = format!("{minute} {hour} {day} {month} {weekday}");
        let times = Times::parse(&schedule, &Hash { tenant: "acme", tier: "hourly" }).unwrap();
        prop_assert_eq!(times.longest_gap(), counted(&times.to_string()), "{}", schedule);
    }
}

#[test]
fn the_gaps_of_well_known_schedules() {
    for (schedule, minutes) in [
        ("H * * * *", 60),
        ("H/15 * * * *", 15),
        ("H 2 * * *", 24 * 60),
        ("0 9-17 * * mon-fri", (2 * 24 + 16) * 60),
        ("0 3 * * 0", 7 * 24 * 60),
        ("0 0 29 2 *", (4 * 365 + 1) * 24 * 60),
        ("0 0 1 * *", 31 * 24 * 60),
        ("* * * * *", 1),
    ] {
        let times = Times::parse(schedule, &Hash { tenant: "acme", tier: "t" }).unwrap();
        assert_eq!(times.longest_gap(), Duration::from_secs(minutes * 60), "{schedule}");
    }
}
