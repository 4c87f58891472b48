//! `schedule`: definitions for five schedulers, the same every time, for any name, without a secret.
//!
//! A case is a folder in `fixtures/schedule`: `tenants/*.json`, `options` (a word a line) and what is expected of each
//! format (`INSTA_UPDATE=always cargo test schedule` writes that anew).
//! `tests/e2e/schedule.py` gives the same files to the schedulers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dripfeed::tenant::run_record::{ALL, BACKFILL};
use dripfeed::tenant::schedule::cron_expr::Times;
use dripfeed::tenant::schedule::jenkins_hash::Hash;
use dripfeed::tenant::schedule::name::Rule;
use dripfeed::tenant::schedule::quote;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::support::golden;
use crate::support::tap::{Ran, Tap, binary};

const FORMATS: [(&str, &str); 5] =
    [("cron", "crontab"), ("airflow", "py"), ("dagster", "py"), ("kubernetes", "yaml"), ("meltano", "yml")];

/// Runs it in a folder.
fn schedule(folder: &Path, format: &str, options: &[&str]) -> Ran {
    let tap = Tap::new("schedule --tenants tenants").args(&["--format", format]).args(options);
    Ran::of(&tap.command().current_dir(folder).output().unwrap())
}

/// A folder with tenants.
fn tenants(configs: &[(&str, Json)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("tenants")).unwrap();
    for (name, config) in configs {
        std::fs::write(dir.path().join("tenants").join(name), config.to_string()).unwrap();
    }
    dir
}

fn config(schedule: &str) -> Json {
    json!({"access_token": "env:NOT_SET_HERE", "dripfeed": {"source": "asana", "target": "target-jsonl",
        "tiers": {"hourly": {"streams": ["*"], "schedule": schedule}}}})
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/schedule");
    let mut cases: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 4, "{cases:?}");
    cases
}

#[test]
fn definitions_are_as_expected() {
    for case in cases() {
        let options = std::fs::read_to_string(case.join("options")).unwrap();
        let options: Vec<&str> = options.lines().collect();
        for (format, extension) in FORMATS {
            let ran = schedule(&case, format, &options);
            // Not every scheduler can hold every name.
            let refused = ran.code == 10;
            let (kind, text) = if refused { ("refused", &ran.err) } else { ("expected", &ran.expect(0, &[]).out) };
            let text = text.replace(&case.display().to_string(), "/srv/dripfeed");
            let text = text.replace(&binary().display().to_string(), "/usr/local/bin/dripfeed");
            golden::assert_file(&case, &format!("{kind}-{format}"), extension, &text);
            for secret in ["literal-secret", "in-the-config-only"] {
                assert!(!text.contains(secret), "{} holds a secret", case.display());
            }
        }
    }
}

#[test]
fn a_crontab_names_the_program_by_its_path() {
    let dir = tenants(&[("a.json", config("H * * * *"))]);
    let line = |options: &[&str]| schedule(dir.path(), "cron", options).expect(0, &[]).out.clone();
    let own = format!("{} sync --config", binary().display());
    assert!(line(&[]).contains(&own), "{}", line(&[]));
    assert!(line(&["--program", "/opt/drip feed/dripfeed"]).contains("'/opt/drip feed/dripfeed' sync --config"));
    // A link on the PATH stays a link: an upgrade moves what it leads to.
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(binary(), bin.join("dripfeed")).unwrap();
    let ran = std::process::Command::new("sh")
        .args(["-c", "exec dripfeed schedule --tenants tenants"])
        .current_dir(dir.path())
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .output()
        .unwrap();
    let linked = format!("{} sync --config", bin.join("dripfeed").display());
    assert!(Ran::of(&ran).out.contains(&linked), "{}", Ran::of(&ran).err);
    schedule(dir.path(), "cron", &["--program", "a\nb"]).expect(10, &["--program"]);
}

#[test]
fn the_same_configs_make_the_same_file() {
    let names: Vec<String> = (0..30).map(|n| format!("t{n}.json")).collect();
    let forward: Vec<_> = names.iter().map(|name| (name.as_str(), config("H H(0-5) H * H"))).collect();
    let backward: Vec<_> = forward.iter().rev().cloned().collect();
    let (a, b) = (tenants(&forward), tenants(&backward));
    for (format, _) in FORMATS {
        let one = schedule(a.path(), format, &[]).expect(0, &[]).out.clone();
        assert_eq!(one, schedule(a.path(), format, &[]).out, "{format}: another run");
        let other = schedule(b.path(), format, &[])
            .out
            .replace(&b.path().display().to_string(), &a.path().display().to_string());
        assert_eq!(one, other, "{format}: another folder, made in another order");
        let positions: Vec<_> = names.iter().map(|name| one.find(&format!("tenants/{name}")).unwrap()).collect();
        assert!(positions.iter().all(|at| *at > 0));
    }
    // A tenant more changes nothing for the others.
    let before = schedule(a.path(), "cron", &[]).out;
    std::fs::write(a.path().join("tenants/a.json"), config("H * * * *").to_string()).unwrap();
    let after = schedule(a.path(), "cron", &[]).out;
    let lines = |text: &str| text.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect::<BTreeSet<_>>();
    assert!(lines(&before).is_subset(&lines(&after)));
    assert_eq!(lines(&after).len(), lines(&before).len() + 1);
}

#[test]
fn a_faulty_config_is_named_and_nothing_is_written() {
    let bad_tier = json!({"access_token": "x", "dripfeed": {"source": "asana", "tires": {}}});
    let no_tier = json!({"access_token": "x", "dripfeed": {"source": "asana", "target": "t"}});
    let no_target = json!({
        "access_token": "x",
        "dripfeed": {"source": "asana", "tiers": {"t": {"streams": ["*"], "schedule": "H * * * *"}}},
    });
    let named = |tier: &str| {
        json!({
            "access_token": "x", "dripfeed": {"source": "asana", "target": "t", "tiers": {tier: {"streams": ["*"]}}},
        })
    };
    let no_token = json!({"dripfeed": {"source": "asana", "target": "t"}});
    let evil = {
        let mut config = config("H * * * *");
        config["dripfeed"]["tenant"] = json!("a\n* * * * * reboot");
        config
    };
    for (faulty, words) in [
        (
            config("61 * * * *"),
            &[
                "tenants/bad.json at `dripfeed.tiers.hourly.schedule`: `61` is not a valid minute",
                "hint: it takes 0 to 59",
            ][..],
        ),
        (bad_tier, &["tenants/bad.json: config `dripfeed` has an unknown key `tires`", "did you mean `tiers`?"]),
        (no_tier, &["tenants/bad.json: no tier of the config has a schedule", "hint: add one"]),
        (no_target, &["tenants/bad.json: no target is set", "dripfeed.target"]),
        (no_token, &["tenants/bad.json", "access_token"]),
        (named(ALL), &["tenants/bad.json: config `dripfeed.tiers`", "that name is reserved for runs without a tier"]),
        (named(BACKFILL), &["tenants/bad.json: config `dripfeed.tiers`", "that name is reserved for backfills"]),
        (evil, &["an invisible character or a line break"]),
    ] {
        let dir = tenants(&[("good.json", config("H * * * *")), ("bad.json", faulty)]);
        for (format, _) in FORMATS {
            let ran = schedule(dir.path(), format, &[]);
            ran.expect(10, words);
            assert_eq!(ran.out, "", "{format}");
        }
    }
    let dir = tenants(&[("a.json", config("H * * * *")), ("torn.json", json!(1))]);
    std::fs::write(dir.path().join("tenants/torn.json"), "{\"access_token\": \"s3cr3t").unwrap();
    let ran = schedule(dir.path(), "cron", &[]);
    ran.expect(10, &["torn.json", "not valid JSON", "1 of 2 configs in tenants cannot be used; nothing was written"]);
    assert!(!ran.err.contains("s3cr3t"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let dir = tenants(&[("a.json", config("H * * * *"))]);
    schedule(dir.path(), "html", &[]).expect(2, &["[possible values: cron, airflow, dagster, kubernetes, meltano]"]);
    schedule(dir.path(), "cron", &["--streams", "tasks"]).expect(2, &["--backfill <FROM..TO>"]);
    schedule(dir.path(), "cron", &["--tier", "weekly"])
        .expect(10, &["no config in tenants has a schedule for a tier `weekly`"]);
    schedule(dir.path(), "cron", &["--target", &"x".repeat(1000)]).expect(10, &["too long for a crontab line"]);
    schedule(dir.path(), "meltano", &["--target", "'a target' -c x"]).expect(10, &["not the name of a loader"]);
    schedule(dir.path(), "cron", &["--target", "'a"]).expect(10, &["an unclosed quote"]);
    Tap::new("schedule --tenants nowhere").run().expect(10, &["cannot list the folder nowhere"]);
    let twice = tenants(&[
        ("a.json", config("H * * * *")),
        ("b.json", {
            let mut config = config("H * * * *");
            config["dripfeed"]["tenant"] = json!("a");
            config
        }),
    ]);
    schedule(twice.path(), "cron", &[]).expect(10, &["both describe the tenant `a` of asana", "dripfeed.tenant"]);
    let relative = tenants(&[("a.json", {
        let mut config = config("H * * * *");
        config["dripfeed"]["state_dir"] = json!("state");
        config
    })]);
    schedule(relative.path(), "kubernetes", &[]).expect(10, &["the path state is not absolute"]);
    schedule(relative.path(), "cron", &[]).expect(0, &[]);
}

#[test]
fn a_backfill_that_is_typed_goes_on_until_it_is_done() {
    let dir = tenants(&[("a.json", config("H * * * *"))]);
    let asked = ["--backfill", "2024-01-01..2024-02-01", "--program", "dripfeed"];
    let text = schedule(dir.path(), "cron", &asked).expect(0, &[]).out.clone();
    let line = text.lines().find_map(|line| line.strip_prefix("#     until ")).unwrap();
    for (codes, tries) in [("75\n76\n76\n0\n75\n", 4), ("76\n20\n0\n", 2), ("0\n0\n", 1)] {
        std::fs::write(dir.path().join("codes"), codes).unwrap();
        // In the place of dripfeed is what ends with one of these codes after the other.
        let stub = "exec 3<codes; sleep() { :; }; dripfeed() { echo try; read -r code <&3; return $code; }; until ";
        let typed = ["-c", &format!("{stub}{line}")];
        let ran = std::process::Command::new("sh").args(typed).current_dir(dir.path()).output().unwrap();
        assert_eq!(String::from_utf8(ran.stdout).unwrap().lines().count(), tries, "{codes}");
    }
}

#[test]
fn a_runner_that_knows_only_0_is_told_0_where_the_next_run_goes_on() {
    let config = r#"{"dripfeed": {"deadline": "PT0.000001S"}}"#;
    let tap = || Tap::new("read --source sandbox").file("--config", "a.json", config);
    tap().run().expect(75, &[]);
    tap().args(&["--unfinished-ok"]).run().expect(0, &[]);
    tap().env("DRIPFEED_UNFINISHED_OK", "true").run().expect(0, &[]);
    tap().env("DRIPFEED_UNFINISHED_OK", "false").run().expect(75, &[]);
    // Everything else stays what it is.
    Tap::new("read --source sandbox --tier none --unfinished-ok").run().expect(10, &[]);
    // Meltano writes the arguments, so that the environment names the tenant.
    let named = Tap::new("read").file(
        "",
        "b.json",
        r#"{"dripfeed": {"source": "sandbox", "tiers": {"t": {"streams": ["users"]}}}}"#,
    );
    let path = named.dir.path().join("b.json").display().to_string();
    let ran = named.file("--config", "c.json", "{}").env("DRIPFEED_CONFIG", &path).env("DRIPFEED_TIER", "t").run();
    assert_eq!(ran.expect(0, &[]).counts().keys().collect::<Vec<_>>(), ["RECORD users", "SCHEMA users", "STATE"]);
}

fn times(text: &str, tenant: &str, tier: &str) -> Result<String, String> {
    Times::parse(text, &Hash { tenant, tier }).map(|times| times.to_string()).map_err(|fault| fault.to_string())
}

#[test]
fn schedules_are_written_so_that_all_schedulers_read_them_alike() {
    for (given, want) in [
        ("5 * * * *", "5 * * * *"),
        ("*/15 */2 * * *", "*/15 */2 * * *"),
        ("*/1 0-23 * * *", "* 0-23 * * *"),
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * * 5-7", "0 0 * * 0,5,6"),
        ("0 0 * * MON-fri", "0 0 * * 1-5"),
        ("0 0 1,15 jan,Dec *", "0 0 1,15 1,12 *"),
        ("0-30/10 9-17 * * *", "0,10,20,30 9-17 * * *"),
        ("3,1,2,1 0 * * *", "1-3 0 * * *"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("*/10,5 0 * * *", "0,5,10,20,30,40,50 0 * * *"),
        ("0 0 13 * 5", "0 0 13 * 5"),
    ] {
        assert_eq!(times(given, "t", "t").as_deref(), Ok(want), "{given}");
    }
    for (given, words) in [
        ("* * * *", "a schedule has five fields"),
        ("* * * * * *", "a schedule has five fields"),
        ("@hourly", "a schedule has five fields"),
        ("60 * * * *", "`60` is not a valid minute"),
        ("* 24 * * *", "`24` is not a valid hour"),
        ("* * 0 * *", "`0` is not a valid day of the month"),
        ("* * * 13 *", "`13` is not a valid month"),
        ("* * * foo *", "jan, feb"),
        ("* * * * 8", "`8` is not a valid day of the week"),
        ("5/15 * * * *", "a step needs a range, as in `5-59/…`"),
        ("*/0 * * * *", "the step must be a number from 1 to 60"),
        ("*/61 * * * *", "the step must be a number"),
        ("9-5 * * * *", "must begin with the smaller value"),
        ("h * * * *", "`H` for a value that differs by tenant"),
        ("H(5) * * * *", "as in `H(0-29)`"),
        ("H(0-99) * * * *", "is not a valid minute"),
        ("H(0-9)/20 * * * *", "the step must be a number from 1 to 10"),
        ("1,,2 * * * *", "`` is not a valid minute"),
        ("+5 * * * *", "is not a valid minute"),
        ("-1 * * * *", "is not a valid minute"),
        ("0 0 31 4,6 *", "never matches"),
        ("0 0 30 feb *", "never matches"),
        ("0 0 */2 * 1", "schedulers disagree"),
        ("0 0 1 * */2", "schedulers disagree"),
    ] {
        let fault = times(given, "t", "t").unwrap_err();
        assert!(fault.contains(words), "{given}: {fault}");
    }
}

#[test]
fn h_spreads_tenants_over_the_hour() {
    let mut minutes = BTreeMap::<u32, u32>::new();
    let mut together = 0;
    for n in 0..1200 {
        let tenant = format!("tenant-{n}");
        let minute = |tier: &str| Hash { tenant: &tenant, tier }.below("minute", 60);
        *minutes.entry(minute("hourly")).or_default() += 1;
        together += u32::from(minute("hourly") == minute("daily"));
    }
    // Twenty each, by chance: five standard deviations more or less would be one in a million.
    assert_eq!(minutes.len(), 60, "every minute is somebody's");
    assert!(minutes.values().all(|count| (2..=45).contains(count)), "{minutes:?}");
    assert!(together < 50, "{together} tenants have both tiers in one minute");
    // What stands in crontabs out there does not move with a new version.
    assert_eq!(times("H H H H H", "acme", "hourly").as_deref(), Ok("58 7 27 10 1"));
}

/// The values of a written field.
fn values(field: &str, from: u32, to: u32) -> BTreeSet<u32> {
    let number = |text: &str| text.parse::<u32>().unwrap();
    match field.split_once('/') {
        Some(("*", step)) => (from..=to).step_by(number(step) as usize).collect(),
        _ if field == "*" => (from..=to).collect(),
        _ => field
            .split(',')
            .flat_map(|item| {
                let (a, b) = item.split_once('-').unwrap_or((item, item));
                number(a)..=number(b)
            })
            .collect(),
    }
}

proptest! {
    #[test]
    fn h_stays_in_its_range(tenant in ".{0,20}", from in 0_u32..59, size in 1_u32..60, step in 1_u32..60) {
        let to = (from + size).min(59);
        let at = |text: &str| times(&format!("{text} H * * *"), &tenant, "t").unwrap();
        let one = values(at(&format!("H({from}-{to})")).split(' ').next().unwrap(), 0, 59);
        prop_assert!(one.len() == 1 && one.iter().all(|v| (from..=to).contains(v)));
        let step = step.min(to - from + 1);
        let steps = at(&format!("H({from}-{to})/{step}"));
        let some: Vec<u32> = values(steps.split(' ').next().unwrap(), 0, 59).into_iter().collect();
        prop_assert!(some[0] < from + step && some.iter().all(|v| (from..=to).contains(v)));
        prop_assert!(some.windows(2).all(|pair| pair[1] - pair[0] == step));
        prop_assert!(some.last().unwrap() + step > to);
    }

    #[test]
    fn any_field_is_understood_or_refused(text in "[-0-9*/,H()a-z ]{0,24}") {
        if let Ok(written) = times(&text, "t", "t") {
            // What is written is read as the same.
            prop_assert_eq!(times(&written, "other", "tier"), Ok(written.clone()));
        }
    }

    #[test]
    fn names_are_allowed_and_nobody_elses(
        things in proptest::collection::btree_set(proptest::collection::vec("[-a-cA_. é]{1,30}", 2..3), 1..8),
    ) {
        for (upper, longest, more) in [(false, 52, "-"), (true, 40, "-_.")] {
            let rule = Rule { joint: '-', more, upper, longest };
            let parts: Vec<Vec<&str>> = things.iter().map(|thing| thing.iter().map(String::as_str).collect()).collect();
            let names = rule.names(parts.clone());
            prop_assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), things.len());
            for name in &names {
                prop_assert!((1..=longest).contains(&name.len()));
                let letter = |c: char| c.is_ascii_lowercase() || (upper && c.is_ascii_uppercase());
                prop_assert!(name.chars().all(|c| c.is_ascii_digit() || letter(c) || more.contains(c)), "{}", name);
                let at_an_end = |c: char| c.is_ascii_alphanumeric();
                prop_assert!(name.starts_with(at_an_end) && name.ends_with(at_an_end), "{}", name);
            }
            // Each is the same alone, unless it reads like another's.
            let alone = rule.names(vec![parts[0].clone()]);
            prop_assert!(alone[0] == names[0] || names[0].starts_with(alone[0].get(..3).unwrap_or("")));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_shell_reads_what_was_quoted(words in proptest::collection::vec("[ -~é\\\\'\"%$`]{0,16}", 1..5)) {
        let said = |line: &str| {
            let script = format!("printf '%s\\0' {line}");
            let out = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            String::from_utf8(out.stdout).unwrap().split_terminator('\0').map(str::to_owned).collect::<Vec<_>>()
        };
        prop_assert_eq!(said(&quote::command(&words)), words.clone());
        // Debian's cron takes `\%` for `%`, others also `\\` for `\`: for either, the shell reads the same.
        let line = quote::cron(&words);
        prop_assert!(!line.replace("\\%", "").contains('%'));
        let debian = line.replace("\\%", "%");
        prop_assert_eq!(said(&debian), words.clone());
        let mut other = String::new();
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            match (c, chars.peek()) {
                ('\\', Some('%' | '\\')) => other.extend(chars.next()),
                _ => other.push(c),
            }
        }
        prop_assert_eq!(said(&other), words.clone());
    }
}
