//! The verbs of `drift` through the program: reports in every form, and what accepting, rejecting, promoting and
//! learning leave behind.
//!
//! Each folder of `fixtures/drift/report/` is a case: `args`, a state directory, and what `drift show` prints of it, as
//! `report.txt.snap`, `.json`, `.md` and `.html`. `INSTA_UPDATE=always cargo test reports` writes them anew: read the
//! difference before you commit it.

use std::path::{Path, PathBuf};
use std::process::Command;

use dripfeed::base::config::DriftPolicy;
use dripfeed::base::stop::Stop;
use dripfeed::drift::finding::{ChangeIdentity, Finding};
use dripfeed::drift::overlay::{Addition, How, Overlay, OverlayFiles, Pending, Seen};
use dripfeed::drift::rules::{Rule, Severity};
use serde_json::{Value as Json, json};

use crate::support::golden::{self, copy};
use crate::support::tap::{Ran, Tap};

const NOW: &str = "2026-11-23T09:00:00Z";

/// A state directory, and a config `<tenant>.json` for each tenant.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn shelf(&self, tenant: &str, stream: &str) -> OverlayFiles {
        OverlayFiles::new(&self.path("state"), "sandbox", tenant, stream)
    }

    fn kept(&self, tenant: &str, stream: &str) -> (Overlay, Pending) {
        self.shelf(tenant, stream).read().unwrap()
    }

    /// Keeps findings as a run does.
    fn keep(&self, tenant: &str, findings: &[Finding], change: impl Fn(&mut Overlay)) {
        for finding in findings {
            let shelf = self.shelf(tenant, &finding.stream);
            let add = |overlay: &mut Overlay, pending: &mut Pending| {
                overlay.runs = 3;
                change(overlay);
                pending.findings.push(finding.clone());
                Ok(())
            };
            shelf.update(&Stop::default(), add).unwrap();
        }
        std::fs::create_dir_all(self.path("tenants")).unwrap();
        let config = json!({
            "url": "http://127.0.0.1:9", "token": "t", "dripfeed": {"tenant": tenant, "state_dir": self.path("state")},
        });
        std::fs::write(self.path("tenants").join(format!("{tenant}.json")), config.to_string()).unwrap();
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Tap::new(&format!("drift {verb}")).command();
        command.current_dir(self.dir.path()).env("DRIPFEED_NOW", NOW).env("USER", "jane").env_remove("CI");
        command
    }

    /// Runs a verb of `drift` for a tenant.
    fn run(&self, verb: &str) -> Ran {
        self.all(&format!("{verb} --source sandbox --config tenants/acme.json"))
    }

    fn all(&self, verb: &str) -> Ran {
        Ran::of(&self.command(verb).output().unwrap())
    }

    fn json(&self, verb: &str) -> Json {
        serde_json::from_str(&self.all(&format!("{verb} --format json")).out).unwrap()
    }
}

fn finding(tenant: &str, rule: Rule, pointer: &str, from: &str, to: &str) -> Finding {
    Finding {
        fingerprint: ChangeIdentity { source: "sandbox", stream: "tasks", rule, pointer, from, to }.fingerprint(),
        rule,
        severity: rule.severity(),
        source: "sandbox".into(),
        tenant: tenant.into(),
        stream: "tasks".into(),
        pointer: pointer.into(),
        from: from.into(),
        to: to.into(),
        policy: rule.policy(),
        count: 12,
        of: 100,
        last_count: 0,
        last_of: 0,
        quarantined: 0,
        first_seen: "2026-11-22T03:00:00Z".into(),
        last_seen: "2026-11-23T03:00:00Z".into(),
        runs: 2,
        run_id: "r1".into(),
        sample: None,
        keys: Vec::new(),
        evidence: None,
        silenced_until: None,
        schema: None,
    }
}

fn changed() -> Finding {
    let schema = Some(json!({"type": ["null", "string"], "description": "The day it is due."}));
    Finding { schema, ..finding("acme", Rule::FieldTypeChanged, "/due_on", "string(date)", "integer") }
}

fn added(name: &str) -> Finding {
    let schema = Some(json!({"type": ["null", "string"]}));
    Finding { schema, ..finding("acme", Rule::FieldAdded, &format!("/{name}"), "", "string") }
}

/// What `drift show` prints of a case.
fn report(case: &Path, format: &str) -> Ran {
    let place = Place::new();
    copy(case, place.dir.path());
    let args = std::fs::read_to_string(case.join("args")).unwrap();
    let ran = place.all(&format!("show {} --format {format}", args.trim()));
    ran.expect(0, &[]);
    ran
}

#[test]
fn reports_are_as_they_were() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/drift/report");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 4, "{cases:?}");
    for case in cases {
        for (format, file) in [("text", "txt"), ("json", "json"), ("markdown", "md"), ("html", "html")] {
            let ran = report(&case, format);
            assert!(!ran.out.contains('\u{1b}'), "{}: no terminal, no colours", case.display());
            golden::assert_text(&case, &format!("report.{file}"), &ran.out);
        }
    }
}

/// A report of the minute in which a change was found had its date over the count, and the same date at both ends.
#[test]
fn a_report_of_one_minute_says_just_now() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/drift/report/first-minute");
    let html = report(&folder, "html").out;
    assert!(html.contains("<span class=\"since\">just now</span>"), "{html}");
    assert!(html.contains("<p class=\"axis\" aria-hidden=\"true\"><span>2026-11-23 09:00 UTC</span></p>"), "{html}");
    assert!(html.contains("<rect class=\"bar\" x=\"0\" width=\"1000\""), "{html}");
}

#[test]
fn names_of_the_vendor_become_no_markup() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/drift/report/hostile-names");
    let html = report(&folder, "html").out;
    for banned in
        ["<script", "<svg onload", "<img", "</pre><img", "<i>", "http://", "https://", "url(", "\u{1b}", "\u{202e}"]
    {
        assert!(!html.contains(banned), "{banned}");
    }
    assert!(html.contains("&lt;script&gt;"), "shown as a text");
    assert!(report(&folder, "text").out.contains("/<script>alert(1)</script>"));
    let markdown = report(&folder, "markdown").out;
    for banned in ["<script", "<svg", "<i>", "\n# ", "a|b", "\u{1b}"] {
        assert!(!markdown.contains(banned), "{banned}");
    }
    for row in markdown.lines().filter(|line| line.starts_with("| ") && line.contains("tasks")) {
        assert_eq!(row.matches(" |").count(), 5, "a cell is not ended by a name: {row}");
    }
}

#[test]
fn an_accepted_change_is_how_the_source_is() {
    let place = Place::new();
    let gone = finding("acme", Rule::FieldAbsent, "/notes", "string", "");
    place.keep("acme", &[changed(), gone.clone()], |overlay| {
        overlay.seen.insert("/notes".into(), Seen::default());
        overlay.seen.insert("/name".into(), Seen::default());
    });
    place.run("check").expect(30, &[]);
    let ran = place.run(&format!("accept {} --why agreed", &changed().fingerprint[..6]));
    ran.expect(0, &[]);
    assert!(ran.out.starts_with("accepted acme "), "{}", ran.out);
    place.run(&format!("accept {} --by joe", gone.fingerprint)).expect(0, &[]);
    let (overlay, pending) = place.kept("acme", "tasks");
    assert!(pending.findings.is_empty());
    let addition = Addition { schema: changed().schema.unwrap(), since: NOW.into(), how: How::Accepted };
    assert_eq!(overlay.schema["/due_on"], addition);
    assert_eq!(
        overlay.waived.iter().collect::<Vec<_>>(),
        ["field_absent /notes ", "field_type_changed /due_on integer"]
    );
    assert_eq!(overlay.seen.keys().collect::<Vec<_>>(), ["/name"], "what is gone is expected no more");
    let [first, second] = &overlay.decisions[..] else { panic!("{:?}", overlay.decisions) };
    assert_eq!((&*first.decision, &*first.who, &*first.why, &*first.when), ("accept", "jane", "agreed", NOW));
    assert_eq!(first.change, "field_type_changed /due_on: string(date) -> integer");
    assert_eq!(second.who, "joe");
    assert_eq!(first.before.len(), 12);
    assert_ne!(first.before, second.before, "each names the schema that it changed");
    place.run("check").expect(0, &[]);
    place
        .run(&format!("accept {}", changed().fingerprint))
        .expect(2, &["no open change has", "jane accepted it on 2026-11-23"]);
}

#[test]
fn all_may_be_accepted_up_to_a_severity() {
    let place = Place::new();
    let absent = finding("acme", Rule::FieldAbsent, "/notes", "string", "");
    place.keep("acme", &[changed(), absent, added("a"), added("b")], |_| {});
    place.run("accept").expect(2, &[]);
    place.run("accept --severity warn abc").expect(2, &[]);
    place.run("accept --all --severity grave").expect(2, &["[possible values: info, warn, break, extraction]"]);
    place.run("accept --all --severity info").expect(0, &[]);
    assert_eq!(place.kept("acme", "tasks").1.findings.len(), 2);
    place.run("accept --all --severity warn").expect(0, &[]);
    assert_eq!(place.kept("acme", "tasks").1.findings, [changed()]);
    assert_eq!(place.run("accept --all --streams users").expect(0, &[]).out, "no change is open\n");
    place.run("accept --all").expect(0, &[]);
    assert!(place.kept("acme", "tasks").1.findings.is_empty());
}

#[test]
fn a_fingerprint_that_is_not_there_is_refused() {
    let place = Place::new();
    place.keep("acme", &[changed(), added("a")], |_| {});
    let right = changed().fingerprint;
    let wrong = format!("{}{}", &right[..11], if right.ends_with('0') { '1' } else { '0' });
    place
        .run(&format!("accept {wrong}"))
        .expect(2, &["no open change has the fingerprint", &format!("did you mean `{right}`?")]);
    place.run("reject zzzz").expect(2, &["`drift show` lists those that are open"]);
    let many: Vec<Finding> = (0..40).map(|n| added(&format!("f{n}"))).collect();
    place.keep("acme", &many, |_| {});
    let twice = |a: &Finding| many.iter().filter(|b| b.fingerprint[..1] == a.fingerprint[..1]).count() > 1;
    let prefix = &many.iter().find(|a| twice(a)).unwrap().fingerprint[..1];
    place.run(&format!("accept {prefix}")).expect(2, &["several fingerprints", "field_added"]);
    assert_eq!(place.kept("acme", "tasks").1.findings.len(), 42, "nothing is done by halves");
}

#[test]
fn a_pipeline_accepts_nothing_by_itself() {
    let place = Place::new();
    place.keep("acme", &[changed()], |_| {});
    let arguments = "--source sandbox --config tenants/acme.json";
    let in_ci =
        |verb: &str, ci: &str| Ran::of(&place.command(&format!("{verb} {arguments}")).env("CI", ci).output().unwrap());
    for verb in ["accept --all", "learn"] {
        in_ci(verb, "true").expect(10, &["CI is set", "--force"]);
    }
    assert_eq!(place.kept("acme", "tasks").1.findings.len(), 1);
    in_ci("show", "true").expect(0, &[]);
    in_ci("check", "true").expect(30, &[]);
    in_ci("accept --all --force", "1").expect(0, &[]);
    place.keep("acme", &[changed()], |_| {});
    in_ci("accept --all", "false").expect(0, &[]);
}

#[test]
fn a_rejected_change_is_quiet_and_fails_all_the_same() {
    let place = Place::new();
    place.keep("acme", &[changed()], |_| {});
    place.run(&format!("reject {} --why wrong", changed().fingerprint)).expect(0, &[]);
    let (overlay, pending) = place.kept("acme", "tasks");
    assert_eq!(pending.findings[0].silenced_until.as_deref(), Some("2026-11-30T09:00:00Z"));
    assert!(overlay.schema.is_empty() && overlay.waived.is_empty());
    assert_eq!(overlay.decisions[0].decision, "reject");
    place.run("check").expect(30, &[]);
    assert!(place.run("show").out.contains("until 2026-11-30 09:00 UTC"));
    place.run(&format!("reject {} --days 2", changed().fingerprint)).expect(0, &[]);
    assert_eq!(place.kept("acme", "tasks").1.findings[0].silenced_until.as_deref(), Some("2026-11-25T09:00:00Z"));
}

#[test]
fn learning_anew_accepts_everything() {
    let place = Place::new();
    place.keep("acme", &[changed(), added("a")], |overlay| {
        overlay.seen.insert("/name".into(), Seen::default());
    });
    place.run("learn --why moved").expect(0, &[]);
    let (overlay, pending) = place.kept("acme", "tasks");
    assert!(pending.findings.is_empty() && overlay.seen.is_empty());
    assert_eq!(overlay.schema.keys().collect::<Vec<_>>(), ["/a", "/due_on"]);
    assert_eq!(overlay.decisions.len(), 3);
    assert!(overlay.decisions.iter().all(|d| d.decision == "learn" && d.why == "moved"));
}

#[test]
fn a_promoted_baseline_differs_where_it_is_new() {
    let place = Place::new();
    place.keep("acme", &[added("zone"), changed()], |overlay| {
        let nested =
            json!({"type": ["null", "object"], "properties": {"b": {"type": "string"}, "a": {"type": "string"}}});
        for (pointer, schema) in [("/zone", json!({"type": ["null", "string"]})), ("/area", nested)] {
            let addition = Addition { schema, since: NOW.into(), how: How::Evolved };
            overlay.schema.insert(pointer.into(), addition);
        }
    });
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/sandbox");
    copy(&schemas, &place.path("schemas/sandbox"));
    let ran = place.run("promote --why reviewed");
    ran.expect(0, &[]);
    assert!(
        ran.out.contains("schemas/sandbox/tasks.json:\n  /area: object|null, new\n  /zone: string|null, new\n"),
        "{}",
        ran.out
    );
    let before = std::fs::read_to_string(schemas.join("tasks.json")).unwrap();
    let after = std::fs::read_to_string(place.path("schemas/sandbox/tasks.json")).unwrap();
    let lost: Vec<&str> = before.lines().filter(|line| !after.contains(line.trim_end_matches(','))).collect();
    assert!(lost.is_empty(), "{lost:?}");
    let old: Json = serde_json::from_str(&before).unwrap();
    let new: Json = serde_json::from_str(&after).unwrap();
    // A field without fields of its own was written with `"properties": null` once, which is no JSON Schema.
    assert_eq!(new["properties"]["zone"], json!({"type": ["null", "string"]}));
    assert!(jsonschema::meta::is_valid(&new), "{after}");
    let names = |schema: &Json| schema["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let mut kept = names(&new);
    kept.retain(|name| name != "area" && name != "zone");
    assert_eq!(kept, names(&old), "the order of what was there stays");
    assert_eq!(new["properties"]["area"]["properties"].as_object().unwrap().keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(after, format!("{new:#}\n"), "the style of the file stays");
    let (overlay, pending) = place.kept("acme", "tasks");
    assert_eq!(pending.findings, [changed()], "what was added is in the baseline now");
    assert_eq!((&*overlay.decisions[0].decision, &*overlay.decisions[0].why), ("promote", "reviewed"));
    assert!(place.run("promote").expect(0, &[]).out.contains("already up to date"));
    for file in ["users.json", "projects.json"] {
        let same = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
        assert_eq!(same(&schemas), same(&place.path("schemas/sandbox")), "{file}");
    }
    // Without a file the source's own schema is where it begins.
    place.run("promote --into other").expect(0, &[]);
    assert_eq!(std::fs::read_to_string(place.path("other/tasks.json")).unwrap(), after);
}

#[test]
fn two_who_judge_at_once_lose_nothing() {
    for round in 0..20 {
        let place = Place::new();
        let findings: Vec<Finding> = (0..4).map(|n| added(&format!("f{n}"))).collect();
        place.keep("acme", &findings, |_| {});
        let judge = |of: &[Finding]| {
            let names: Vec<&str> = of.iter().map(|f| &*f.fingerprint).collect();
            let verb = format!("accept {} --source sandbox --config tenants/acme.json -q", names.join(" "));
            place.command(&verb).stdout(std::process::Stdio::null()).spawn().unwrap()
        };
        let mut both = [judge(&findings[..2]), judge(&findings[2..])];
        assert!(both.iter_mut().all(|child| child.wait().unwrap().success()));
        let (overlay, pending) = place.kept("acme", "tasks");
        assert!(pending.findings.is_empty(), "round {round}: {:?}", pending.findings);
        assert_eq!((overlay.schema.len(), overlay.waived.len(), overlay.decisions.len()), (4, 4, 4), "round {round}");
    }
}

#[test]
fn a_change_of_three_tenants_is_the_vendors() {
    let place = Place::new();
    let of = |tenant: &str, first: &str| Finding { tenant: tenant.into(), first_seen: first.into(), ..changed() };
    place.keep("acme", &[of("acme", "2026-11-22T03:00:00Z")], |_| {});
    place.keep("globex", &[of("globex", "2026-11-22T09:00:00Z")], |_| {});
    let shown = || place.json("show --state-dir state")["findings"][0].clone();
    assert_eq!((&shown()["scope"], &shown()["tenants"]), (&json!("tenant"), &json!(["acme", "globex"])));
    place.keep("initech", &[of("initech", "2026-11-24T03:00:00Z")], |_| {});
    assert_eq!(shown()["scope"], "tenant", "the third has it a day later");
    place.keep("umbrella", &[of("umbrella", "2026-11-23T01:00:00Z")], |_| {});
    let vendor = shown();
    assert_eq!(vendor["scope"], "vendor");
    assert_eq!((&vendor["count"], &vendor["of"], &vendor["of_tenants"]), (&json!(48), &json!(400), &json!(4)));
    assert_eq!(vendor["first_seen"], "2026-11-22T03:00:00Z");
    // A tenant's own report has its own counts, and shows whether the change is the vendor's.
    let own = place.json("show --config tenants/acme.json --source sandbox");
    assert_eq!((&own["findings"][0]["scope"], &own["findings"][0]["count"]), (&json!("vendor"), &json!(12)));
    assert_eq!(own["tenants"], json!(["acme"]));
    let some = place.json("show --tenants tenants --source sandbox --tenant acme,globex");
    assert_eq!(some["tenants"], json!(["acme", "globex"]));
    let accepted = place.all(&format!("accept {} --state-dir state --tenant acme,globex", changed().fingerprint));
    assert_eq!(accepted.expect(0, &[]).out.lines().count(), 2);
    assert_eq!(shown()["tenants"], json!(["initech", "umbrella"]));
    place.all("show --state-dir state --tenant acmee").expect(10, &["did you mean `acme`?"]);
}

#[test]
fn a_fifth_of_many_tenants_is_the_vendor_too() {
    let place = Place::new();
    for n in 0..10 {
        let tenant = format!("t{n}");
        let of = |finding: Finding| Finding { tenant: tenant.clone(), ..finding };
        place.keep(&tenant, &[of(added(&format!("own{n}")))], |_| {});
        if n < 2 {
            place.keep(&tenant, &[of(changed())], |_| {});
        }
    }
    let shown = place.json("show --state-dir state");
    let findings = shown["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 11);
    for finding in findings {
        let scope = if finding["pointer"] == "/due_on" { "vendor" } else { "tenant" };
        assert_eq!(finding["scope"], scope, "{finding}");
    }
}

#[test]
fn a_check_says_in_a_line_how_it_stands() {
    let place = Place::new();
    place.keep("acme", &[added("a")], |_| {});
    let calm = place.run("check");
    assert_eq!(calm.expect(0, &[]).out, "sandbox, tenant acme: 1 open change (1 info), none grave\n");
    place.keep("globex", &[Finding { tenant: "globex".into(), severity: Severity::Extraction, ..changed() }], |_| {});
    place.run("check").expect(0, &[]);
    let both = place.all("check --state-dir state");
    assert_eq!(both.expect(30, &[]).out, "sandbox, 2 tenants: 2 open changes (1 extraction, 1 info)\n");
    assert_eq!(place.all("check --tenants tenants --source sandbox").out, both.out);
    let open = place.all("check --state-dir state --format json");
    assert_eq!(
        serde_json::from_str::<Json>(&open.out).unwrap()["open"],
        json!({"extraction": 1, "break": 0, "warn": 0, "info": 1})
    );
    place.all("check --state-dir nowhere").expect(10, &["the state directory nowhere does not exist"]);
    std::fs::write(place.path("tenants/broken.json"), "{").unwrap();
    let ran = place.all("check --tenants tenants --source sandbox");
    assert_eq!(ran.expect(10, &["broken.json"]).out, both.out, "the others are looked at");
}

#[test]
fn a_report_is_found_by_config_or_by_state_directory() {
    let place = Place::new();
    place.keep("acme", &[changed()], |_| {});
    for args in [
        "show --source sandbox --config tenants/acme.json --format json",
        "show --format json --config tenants/acme.json --source sandbox",
        "show --format json --state-dir state",
    ] {
        let ran = place.all(args);
        let shown: Json = serde_json::from_str(&ran.expect(0, &[]).out).unwrap();
        assert_eq!(shown["findings"][0]["rule"], "field_type_changed", "{args}");
    }
    Tap::new("--about --format html").run().expect(2, &["[possible values: text, json, markdown]"]);
    let check = Tap::new("drift check --source sandbox --format html --state-dir /tmp");
    check.run().expect(2, &["[possible values: text, json]"]);
    place.all("show --state-root state").expect(2, &["--state-root is now --state-dir"]);
    let next = place.json("show --source sandbox --config tenants/acme.json")["findings"][0]["accept"].clone();
    let next = next.as_str().unwrap().strip_prefix("dripfeed drift ").unwrap().to_owned();
    place.all(&next).expect(0, &[]);
    assert!(place.kept("acme", "tasks").1.findings.is_empty(), "the command that is shown does it");
}

#[test]
fn the_users_own_state_directory_is_the_last_resort() {
    let place = Place::new();
    let config = json!({"url": "http://127.0.0.1:9", "token": "t"});
    std::fs::write(place.path("plain.json"), config.to_string()).unwrap();
    let shown = |home: &str, value: &Path| {
        let mut command = place.command("show --source sandbox --config plain.json --format json");
        command.env_remove("XDG_STATE_HOME").env("HOME", "/nonexistent").env(home, value);
        let ran = Ran::of(&command.output().unwrap());
        serde_json::from_str::<Json>(&ran.expect(0, &[]).out).unwrap()
    };
    let tenant = shown("HOME", &place.path("home"))["tenants"][0].as_str().unwrap().to_owned();
    assert!(tenant.starts_with("account-") && tenant.len() == 16, "{tenant}");
    for (home, folder) in [("HOME", "home/.local/state/dripfeed"), ("XDG_STATE_HOME", "xdg/dripfeed")] {
        let shelf = OverlayFiles::new(&place.path(folder), "sandbox", &tenant, "tasks");
        let add = |_: &mut Overlay, pending: &mut Pending| {
            pending.findings.push(Finding { policy: DriftPolicy::Warn, ..changed() });
            Ok(())
        };
        shelf.update(&Stop::default(), add).unwrap();
        let base = place.path(folder.split('/').next().unwrap());
        assert_eq!(shown(home, &base)["findings"].as_array().unwrap().len(), 1, "{home}");
    }
}

#[test]
fn the_docs_list_every_rule_as_it_is() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src/drift.md")).unwrap();
    let table: Vec<&str> = page
        .lines()
        .skip_while(|line| !line.starts_with("| rule | what |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    let row = |rule: &Rule| {
        let (id, what) = (rule.id(), rule.what());
        format!("| `{id}` | {what} | {} | {} |", rule.severity().name(), rule.policy().name())
    };
    assert_eq!(table, Rule::ALL.iter().map(row).collect::<Vec<_>>());
}
