//! Deletes that are found out by comparing the keys of whole reads: what is marked, asked about and not believed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap, items};
use crate::support::vendor::Vendor;

/// A vendor with one list of ids, in one page.
struct Account {
    ids: Arc<Mutex<Vec<u32>>>,
    vendor: Vendor,
    dir: tempfile::TempDir,
    state: Json,
    mode: &'static str,
}

impl Account {
    fn new(ids: impl IntoIterator<Item = u32>) -> Account {
        let ids = Arc::new(Mutex::new(ids.into_iter().collect::<Vec<_>>()));
        let served = ids.clone();
        let vendor = Vendor::answering(move |_| {
            let records: Vec<Json> = served.lock().unwrap().iter().map(|id| json!({"id": id.to_string()})).collect();
            json!({"status": 200, "json": {"data": records}})
        });
        Account { ids, vendor, dir: tempfile::tempdir().unwrap(), state: json!({}), mode: "sweep" }
    }

    fn has(&self, ids: impl IntoIterator<Item = u32>) -> &Account {
        *self.ids.lock().unwrap() = ids.into_iter().collect();
        self
    }

    fn tap(&self, verb: &str) -> Tap {
        let schema = json!({"id": {"type": "string"}});
        let ours = json!({"tenant": "acme", "state_dir": self.root(), "deletes": {"items": self.mode}});
        let config = json!({"url": self.vendor.url, "dripfeed": ours});
        Tap::new(verb).source(&items(&schema, &json!({}), &json!({}))).config(&config)
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("state")
    }

    /// A run that is not acknowledged: the next one gets the same state.
    fn lost(&self) -> Ran {
        let ran = self.tap("read --log-format json").state(&self.state).run();
        ran.expect(0, &[]);
        ran
    }

    /// A run, and the ids that it marks.
    fn marks(&mut self) -> BTreeSet<String> {
        let ran = self.lost();
        self.state = ran.state();
        marked(&ran)
    }

    fn questions(&self) -> Vec<String> {
        let ran = self.tap("drift show --format json").run();
        let shown: Json = serde_json::from_str(&ran.out).unwrap_or_default();
        let text = shown.to_string();
        text.match_indices("records_gone").map(|_| "records_gone".to_owned()).collect()
    }
}

fn marked(ran: &Ran) -> BTreeSet<String> {
    let dead = ran.records("items").into_iter().filter(|record| !record["_sdc_deleted_at"].is_null());
    dead.map(|record| record["id"].as_str().unwrap().to_owned()).collect()
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

fn files(root: &Path) -> usize {
    std::fs::read_dir(root.join("deletes/manifest/acme/read")).unwrap().count()
}

#[test]
fn a_record_that_is_gone_is_marked_once_and_one_that_is_back_no_longer() {
    let mut account = Account::new(1..=30);
    assert_eq!(account.marks(), set(&[]));
    account.has((1..=30).filter(|id| *id != 7));
    assert_eq!(account.marks(), set(&["7"]));
    assert_eq!(account.marks(), set(&[]));
    account.has(1..=30);
    let ran = account.lost();
    let back = ran.records("items").into_iter().find(|record| record["id"] == "7").unwrap();
    assert_eq!((marked(&ran), &back["_sdc_deleted_at"]), (set(&[]), &Json::Null));
}

#[test]
fn a_tombstone_is_sent_again_until_its_state_comes_back() {
    let mut account = Account::new(1..=30);
    account.marks();
    account.has((1..=30).filter(|id| *id != 7));
    assert_eq!(marked(&account.lost()), set(&["7"]));
    assert_eq!(marked(&account.lost()), set(&["7"]));
    // What a run sent that was not acknowledged may be in the warehouse too.
    account.has((1..=31).filter(|id| *id != 7));
    assert_eq!(marked(&account.lost()), set(&["7"]));
    account.has((1..=30).filter(|id| *id != 7));
    assert_eq!(account.marks(), set(&["7", "31"]));
    assert_eq!(account.marks(), set(&[]));
    account.marks();
    assert_eq!(files(&account.root()), 3, "the keys, the rest and its lock");
}

#[test]
fn an_emptied_account_is_believed_only_by_a_person() {
    let mut account = Account::new(1..=5);
    account.marks();
    account.has([]);
    assert_eq!(account.marks(), set(&[]));
    assert_eq!(account.questions().len(), 1);
    // One wrong answer is forgotten with the next right one.
    account.has(1..=5);
    assert_eq!(account.marks(), set(&[]));
    account.has([]);
    assert_eq!(account.marks(), set(&[]));
    assert_eq!(account.marks(), set(&[]));
    account.tap("drift accept --all --force").run().expect(0, &[]);
    assert_eq!(account.marks(), set(&["1", "2", "3", "4", "5"]));
}

#[test]
fn more_than_a_tenth_at_once_needs_to_be_accepted() {
    let mut account = Account::new(1..=200);
    account.marks();
    account.has(22..=200);
    assert_eq!(account.marks(), set(&[]), "21 of 200 are more than a tenth");
    account.has(21..=200);
    assert_eq!(account.marks().len(), 20, "20 are believed");
    account.has(60..=200);
    assert_eq!(account.marks(), set(&[]));
    account.tap("drift accept --all --force").run().expect(0, &[]);
    // What an acceptance allows has a bound: with many more gone, it asks again.
    account.has(150..=200);
    assert_eq!(account.marks(), set(&[]));
    account.tap("drift accept --all --force").run().expect(0, &[]);
    assert_eq!(account.marks().len(), 129);
}

#[test]
fn another_config_is_another_list() {
    let mut account = Account::new(1..=30);
    account.marks();
    account.has((1..=30).filter(|id| *id != 7));
    let schema = json!({"id": {"type": "string"}});
    let ours = json!({"tenant": "acme", "state_dir": account.root(), "deletes": {"items": "sweep"}});
    let config = json!({"url": account.vendor.url, "only": "open", "dripfeed": ours});
    let tap = Tap::new("read").source(&items(&schema, &json!({}), &json!({}))).config(&config).state(&account.state);
    let ran = tap.run();
    ran.expect(0, &["records_gone"]);
    assert_eq!(marked(&ran), set(&[]));
    account.state = ran.state();
    assert_eq!(account.marks(), set(&["7"]), "the old config is the old list");
}

#[test]
fn a_preview_marks_nothing_and_a_run_without_a_folder_says_so() {
    let mut account = Account::new(1..=30);
    account.marks();
    account.has(1..=29);
    let ran = account.tap("read --limit 3").state(&account.state).run();
    assert_eq!(marked(&ran), set(&[]));
    let schema = json!({"id": {"type": "string"}});
    let config = json!({"url": account.vendor.url, "dripfeed": {"deletes": {"items": "sweep"}}});
    let tap = Tap::new("read").source(&items(&schema, &json!({}), &json!({}))).config(&config);
    tap.run().expect(0, &["deleted records are not found out: there is no state directory"]);
    assert_eq!(account.marks(), set(&["30"]));
}

#[test]
fn keys_keep_their_type_in_tombstones() {
    let account = Account::new([]);
    let list = Arc::new(Mutex::new(json!([{"id": 1, "part": "a"}, {"id": 2, "part": "b"}, {"id": 3, "part": "c"}])));
    let served = list.clone();
    let vendor = Vendor::answering(move |_| json!({"status": 200, "json": {"data": *served.lock().unwrap()}}));
    let schema = json!({"id": {"type": "integer"}, "part": {"type": "string"}});
    let manifest = items(&schema, &json!({"primary_key": ["id", "part"]}), &json!({}));
    let ours = json!({"tenant": "acme", "state_dir": account.root(), "deletes": {"items": "sweep"}});
    let tap = |protocol: &str| {
        let config = json!({"url": vendor.url, "dripfeed": ours});
        Tap::new("read").source(&manifest).config(&config).args(&["--protocol", protocol])
    };
    tap("singer").run().expect(0, &[]);
    list.lock().unwrap().as_array_mut().unwrap().remove(1);
    let ran = tap("singer").run();
    let mut dead = ran.records("items").pop().unwrap();
    assert!(dead.as_object_mut().unwrap().remove("_sdc_deleted_at").unwrap().is_string());
    assert_eq!(dead, json!({"id": 2, "part": "b"}));
    // The state of a stream without a cursor names the generation, in either protocol.
    let stated = tap("airbyte").run().messages().into_iter().rfind(|m| m["type"] == "STATE").unwrap();
    let state = &stated["state"]["stream"]["stream_state"];
    assert_eq!(state["__ab_no_cursor_state_message"], true, "{stated}");
    assert!(state["dripfeed_deletes"].is_string(), "{stated}");
}

#[test]
fn a_version_is_activated_when_no_row_may_be_missing() {
    let mut account = Account::new(1..=30);
    account.mode = "activate_version";
    let version = |ran: &Ran| ran.messages().into_iter().find(|message| message["type"] == "ACTIVATE_VERSION");
    let ran = account.lost();
    let activated = version(&ran).unwrap();
    let first = &ran.messages()[1];
    assert_eq!((&first["type"], &first["version"]), (&json!("RECORD"), &activated["version"]));
    assert_eq!(first["record"], json!({"id": "1"}), "the target marks rows itself");
    account.state = ran.state();
    account.has([]);
    let ran = account.lost();
    assert_eq!(version(&ran), None);
    assert!(ran.logged().contains("no row is marked as deleted: 0 rows instead of 30"), "{}", ran.err);
    account.state = ran.state();
    account.tap("drift accept --all --force").run().expect(0, &[]);
    assert!(version(&account.lost()).is_some());
}
