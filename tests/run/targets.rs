//! State belongs to its target and its tenant: bookmarks are kept for each target, and taken over only when asked.

use std::path::Path;

use dripfeed::tenant::target_command::TargetCommand;
use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::{Vendor, decode};

/// Echoes the value of every STATE at once.
const ECHO: &str = r#"sed -u -n 's/^{"type":"STATE","value":\(.*\)}$/\1/p'"#;

const START: &str = "2024-01-01T00:00:00Z";
const NEWEST: &str = "2024-02-03T00:00:00Z";

fn manifest() -> String {
    let cursor = json!({
        "type": "DatetimeBasedCursor", "cursor_field": "at", "datetime_format": "%Y-%m-%dT%H:%M:%SZ",
        "start_datetime": START,
        "start_time_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "since"},
    });
    let schema = json!({"id": {"type": "string"}, "at": {"type": "string"}});
    items(&schema, &json!({"incremental_sync": cursor}), &json!({}))
}

/// A tenant, its vendor, and targets in files of their own.
struct Tenant {
    vendor: Vendor,
    tap: Tap,
}

impl Tenant {
    fn new(ours: &Json) -> Tenant {
        let vendor = Vendor::of_items(json!([{"status": 200, "json": {"data": [{"id": "1", "at": NEWEST}]}}]));
        let tap = Tap::new("").source(&manifest()).file("", "echo.sh", ECHO).file("", "none.sh", "cat > /dev/null");
        let mut dripfeed = json!({"state_dir": tap.dir.path().join("state")});
        dripfeed.as_object_mut().unwrap().extend(ours.as_object().unwrap().clone());
        let tap = tap.config(&json!({"url": vendor.url, "password": "hunter2hunter2", "dripfeed": dripfeed}));
        Tenant { vendor, tap }
    }

    fn path(&self, name: &str) -> String {
        self.tap.dir.path().join(name).display().to_string()
    }

    fn target(&self, args: &str) -> String {
        format!("sh {} {args}", self.path("echo.sh"))
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = self.tap.command();
        command.env("DRIPFEED_NOW", "2024-03-10T00:00:00Z").env("XDG_STATE_HOME", self.path("home"));
        Ran::of(&command.args(args).output().unwrap())
    }

    fn sync(&self, target: &str, more: &[&str]) -> Ran {
        self.run(&[&["sync", "--target", target][..], more].concat())
    }

    /// Runs well; gives from where it asked.
    fn since(&self, target: &str, more: &[&str]) -> (String, Ran) {
        let ran = self.sync(target, more);
        ran.expect(0, &[]);
        let query = self.vendor.asked().pop().unwrap().query;
        (query.split('&').find_map(|p| p.strip_prefix("since=").map(decode)).unwrap(), ran)
    }
}

#[test]
fn each_target_has_bookmarks_of_its_own() {
    let tenant = Tenant::new(&json!({"tenant": "acme"}));
    let (one, two) = (tenant.target("one"), tenant.target("two"));
    assert_eq!(tenant.since(&one, &[]).0, START);
    let (since, ran) = tenant.since(&two, &[]);
    assert_eq!(since, START);
    ran.expect(0, &["everything is loaded from the start date", "--adopt"]);
    for target in [&one, &two, &two, &one] {
        let (since, ran) = tenant.since(target, &[]);
        assert_eq!(since, NEWEST);
        assert!(!ran.err.contains("everything is loaded from the start date"), "{}", ran.err);
    }
    // A backfill belongs to its target too.
    let backfill = ["--backfill", "2024-01-05..2024-01-06"];
    for target in [&one, &two] {
        // Rows of the second in which the part begins may have been written after it was read.
        assert_eq!(tenant.since(target, &backfill).0, "2024-01-04T23:59:59Z", "{target}");
    }
}

#[test]
fn a_name_of_the_targets_own_stands_for_its_command() {
    let tenant = Tenant::new(&json!({"tenant": "acme", "target_id": "warehouse"}));
    assert_eq!(tenant.since(&tenant.target("one"), &[]).0, START);
    assert_eq!(tenant.since(&tenant.target("two"), &[]).0, NEWEST);
}

#[test]
fn bookmarks_are_taken_over_once_when_asked() {
    for by_name in [false, true] {
        let tenant = Tenant::new(&json!({"tenant": "acme"}));
        let (one, two) = (tenant.target("one"), tenant.target("two"));
        assert_eq!(tenant.since(&one, &[]).0, START);
        let owner: Json = serde_json::from_slice(&std::fs::read(kept(&tenant)).unwrap()).unwrap();
        let owner = owner["dripfeed"]["target"].as_str().unwrap().to_owned();
        let other = if by_name { &owner } else { &one };
        assert_eq!(tenant.since(&two, &["--adopt", other]).0, NEWEST);
        assert_eq!(tenant.since(&two, &[]).0, NEWEST);
        tenant.sync(&two, &["--adopt", other]).expect(10, &["--adopt", "no saved bookmarks"]);
        // The other has no more.
        assert_eq!(tenant.since(&one, &[]).0, START);
        tenant.sync(&two, &["--adopt", "nobody"]).expect(10, &["nobody", &owner]);
    }
}

fn kept(tenant: &Tenant) -> impl AsRef<Path> {
    tenant.path("state/state/manifest/acme.json")
}

#[test]
fn those_of_versions_that_knew_no_targets_are_the_first_targets() {
    let old = json!({
        "bookmarks": {"items": {"at": NEWEST}}, "dripfeed": {"v": 1, "source": "manifest", "shape": {}},
    });
    let tenant = Tenant::new(&json!({"tenant": "acme"}));
    std::fs::create_dir_all(tenant.path("state/state/manifest")).unwrap();
    std::fs::write(kept(&tenant), old.to_string()).unwrap();
    // One that cannot be started, a preview and one that echoes nothing take nothing.
    tenant.sync("/no/such/target", &[]).expect(10, &[]);
    tenant.sync(&tenant.target("preview"), &["--limit", "1"]).expect(0, &[]);
    assert_eq!(tenant.since(&tenant.target("one"), &[]).0, NEWEST);
    assert_eq!(tenant.since(&tenant.target("two"), &[]).0, START);
    assert_eq!(tenant.since(&tenant.target("one"), &[]).0, NEWEST);
}

#[test]
fn a_password_that_changes_is_no_other_target() {
    let id = |command: &str| TargetCommand::parse(command).unwrap().id(|text| text.replace("hunter2", "****"));
    let base = "/usr/bin/target-postgres --config pg.json";
    for (one, two, same) in [
        (base.to_owned(), "target-postgres --config pg.json".to_owned(), true),
        (base.to_owned(), "target-postgres --config other.json".to_owned(), false),
        (base.to_owned(), "target-duckdb --config pg.json".to_owned(), false),
        (format!("{base} --password a"), format!("{base} --password b"), true),
        (format!("{base} --password=a"), format!("{base} --password=b"), true),
        (format!("{base} --auth-token a --x 1"), format!("{base} --auth-token b --x 2"), false),
        ("env PGPASSWORD=a t".to_owned(), "env PGPASSWORD=b t".to_owned(), true),
        ("env PGUSER=a t".to_owned(), "env PGUSER=b t".to_owned(), false),
        ("t pg://u:a@h/db".to_owned(), "t pg://u:b@h/db".to_owned(), true),
        ("t pg://u:a@h/db".to_owned(), "t pg://u:a@h/other".to_owned(), false),
        ("t 'md:x?token=a&y=1'".to_owned(), "t 'md:x?token=b&y=1'".to_owned(), true),
        ("t hunter2".to_owned(), "t '****'".to_owned(), true),
    ] {
        assert_eq!(id(&one) == id(&two), same, "{one} and {two}");
    }
    assert!(!id("t --password hunter2").contains("hunter2"));
}

#[test]
fn a_state_carries_its_tenant() {
    let acme = Tenant::new(&json!({"tenant": "acme"}));
    let state = acme.run(&["read"]).expect(0, &[]).state();
    assert_eq!(state["dripfeed"]["tenant"], "acme");
    for (ours, exit) in [(json!({"tenant": "acme"}), 0), (json!({}), 0), (json!({"tenant": "globex"}), 10)] {
        let other = Tenant::new(&ours);
        std::fs::write(other.path("given.json"), state.to_string()).unwrap();
        for command in [vec!["read"], vec!["sync", "--target", "sh echo.sh"]] {
            let args = [command, vec!["--state"]].concat();
            let (target, file) = (other.target("one"), other.path("given.json"));
            let args: Vec<&str> =
                args.iter().map(|arg| if *arg == "sh echo.sh" { target.as_str() } else { *arg }).collect();
            let ran = other.run(&[&args[..], &[file.as_str()]].concat());
            let words: &[&str] = if exit == 0 { &[] } else { &["`acme`", "`globex`", "take it over"] };
            ran.expect(exit, words);
            let asked = other.vendor.asked().len();
            assert_eq!(asked > 0, exit == 0);
        }
        // As the message says.
        let taken = state.to_string().replace("acme", "globex");
        std::fs::write(other.path("given.json"), taken).unwrap();
        let exit = i32::from(ours["tenant"] == "acme") * 10;
        other.run(&["read", "--state", &other.path("given.json")]).expect(exit, &[]);
    }
}

/// What `meltano state get` prints, and what it stores.
#[test]
fn a_state_as_meltano_prints_it_is_understood() {
    let state = json!({"bookmarks": {"items": {"at": NEWEST}}});
    for (given, since) in [
        (json!({"singer_state": state}), NEWEST),
        (json!({"completed": {"singer_state": state}, "partial": {}}), NEWEST),
        (json!({"completed": {}, "partial": {"singer_state": state}}), NEWEST),
        (json!({"singer_state": {}}), START),
        (json!({"singer_state": null}), START),
    ] {
        let tenant = Tenant::new(&json!({}));
        std::fs::write(tenant.path("given.json"), given.to_string()).unwrap();
        let ran = tenant.run(&["read", "--state", &tenant.path("given.json")]);
        assert_eq!(ran.expect(0, &[]).state()["bookmarks"]["items"]["at"], NEWEST);
        let query = tenant.vendor.asked().pop().unwrap().query;
        assert_eq!(query.split('&').find_map(|p| p.strip_prefix("since=").map(decode)).unwrap(), since, "{given}");
    }
}
