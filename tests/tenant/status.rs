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
use dripfeed::tenant::run_record::{RunEntry, RunRecords, Stream};
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
    let one = night.status("--config tenants/tyrell.json --format json");
    one.expect(10, &["TYRELL_TOKEN"]);
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
    assert_eq!(status(&vendor)["verdict"], "ok");
}

fn judged(run: RunEntry, stream: Stream) -> TenantVerdict {
    let dir = tempfile::tempdir().unwrap();
    let put = |record: &mut dripfeed::tenant::run_record::Record| {
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
