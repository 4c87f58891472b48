//! What chance may do to records without a change of the vendor raises nothing, in any of fifty made-up vendors.
//!
//! Most runs hand pages to [`DriftMonitor`] as a run does; some go through the program.

use std::path::Path;
use std::sync::Arc;

use dripfeed::base::config::Drift;
use dripfeed::base::json::observe::CountingObserver as _;
use dripfeed::base::json::scan::Scanner;
use dripfeed::base::stop::Stop;
use dripfeed::drift::finding::Finding;
use dripfeed::drift::monitor::{DriftMonitor, Judged, MonitorConfig, Page, RunNames};
use dripfeed::drift::policy::Policies;
use dripfeed::engine::shape::wire::RecordSchema;
use dripfeed::protocol::singer_catalog::Selection;
use serde_json::{Value as Json, json};

use crate::support::drifting::{Tenant, incremental, paged, told};
use crate::support::population::{Population, Window};
use crate::support::tap::items;
use crate::support::vendor::Vendor;

/// Records of a read, and of a page.
const READ: u64 = 10_000;
const PAGE: u64 = 1000;

/// A stream of a made-up vendor, read by one tenant.
struct MadeStream<'a> {
    /// The tenant's state directory.
    root: &'a Path,
    schema: &'a Json,
    sweep: bool,
}

/// Watches a read of so many records; gives what was found.
fn watch(stream: &MadeStream<'_>, made: &mut Population, window: Window, records: u64) -> Vec<Finding> {
    let MadeStream { root, schema, sweep } = *stream;
    let config = MonitorConfig {
        names: RunNames { source: "made".into(), tenant: "acme".into(), run_id: "r".into() },
        stream: "items",
        schema,
        reviewed: false,
        keys: &[vec!["id".to_owned()]],
        cursor: Some("at"),
        policies: Arc::new(Policies::default()),
        config: &Drift::default(),
        root: Some(root.to_owned()),
        verbatim: false,
        sweep,
        whole: true,
        preview: false,
        may_grow: true,
        asked: Vec::new(),
    };
    let watched = DriftMonitor::begin(config).unwrap().0;
    let wire = || {
        let wire = RecordSchema::build(&watched.schema(), &["id".to_owned()], Some("at"), &Selection::default());
        wire.numbered(&*watched.places())
    };
    let (mut form, mut generation) = (wire(), watched.generation());
    let mut listener = watched.listener();
    let mut text = String::new();
    for number in 0..records {
        text.clear();
        made.record(window, &mut text);
        listener.begin();
        form.scan(&mut Scanner::new(text.as_bytes()), &mut listener).unwrap();
        if listener.is_odd() {
            assert_eq!(watched.judge(&mut listener, text.as_bytes()).unwrap(), Judged::Sent, "{text}");
            if watched.generation() != generation {
                (form, generation) = (wire(), watched.generation());
                form.scan(&mut Scanner::new(text.as_bytes()), &mut listener.newcomers()).unwrap();
            }
        }
        if number % PAGE == PAGE - 1 || number == records - 1 {
            let page = Page { compared: if sweep { 0 } else { PAGE }, ..Page::default() };
            watched.page(&mut listener, page, &[]).unwrap();
        }
    }
    let (told, fault) = watched.end(true, &Stop::default(), &|_| Ok(None));
    assert!(fault.is_none(), "{fault:?}");
    told.into_iter().map(|told| told.finding).collect()
}

/// Two reads by a seed's vendor, then many small ones.
fn vendor(seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut made = Population::of(seed);
    let schema = json!({"type": "object", "properties": made.schema()});
    let sweep = seed.is_multiple_of(2);
    let stream = MadeStream { root: dir.path(), schema: &schema, sweep };
    let mut read = |window, records| {
        let found = watch(&stream, &mut made, window, records);
        assert!(found.is_empty(), "seed {seed}, {window:?}, {records} records: {found:#?}");
    };
    read(Window::All, READ);
    // What changed last is no sample of all.
    read(if sweep { Window::All } else { Window::Open }, READ);
    for small in 0..10 {
        read(Window::All, if sweep { 200 } else { small * 7 });
    }
}

#[test]
fn chance_raises_nothing() {
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || (0..50).filter(|seed| seed / 2 % 2 == half).for_each(vendor));
        }
    });
}

#[test]
fn chance_raises_nothing_in_the_program() {
    for seed in [100, 101] {
        let mut made = Population::of(seed);
        let more = if seed.is_multiple_of(2) { json!({}) } else { incremental() };
        let mut tenant = Tenant::new(&items(&made.schema(), &more, &paged()));
        for window in [Window::All, Window::Open] {
            let mut replies = Vec::new();
            for page in 0..READ / PAGE {
                let mut text = String::from(r#"{"data":["#);
                for number in 0..PAGE {
                    text.push_str(if number > 0 { "," } else { "" });
                    made.record(if seed.is_multiple_of(2) { Window::All } else { window }, &mut text);
                }
                let next = if page + 1 < READ / PAGE { format!("\"p{page}\"") } else { "null".into() };
                text += &format!(r#"],"next":{next}}}"#);
                replies.push(json!({"status": 200, "text": text}));
            }
            let ran = tenant.read(&Vendor::of_items(Json::Array(replies)));
            ran.expect(0, &[]);
            assert_eq!(ran.out.lines().filter(|l| l.contains("\"RECORD\"")).count() as u64, READ);
            assert_eq!(told(&ran), [""; 0], "seed {seed}");
        }
        assert_eq!(tenant.open(), [""; 0], "seed {seed}");
    }
}
