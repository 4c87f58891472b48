//! Random histories of creates, edits, deletes and undeletes, read by runs that are cut off, killed and lied to: in the
//! end the warehouse has exactly the living records and a mark on every dead one, and no living record was ever marked.
//!
//! `DRIPFEED_DELETE_SEEDS=1..1000` runs those seeds; a failure names its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::support::tap::Tap;
use crate::support::vendor::{Asked, Vendor};

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let n = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (n ^ (n >> 31)) % below
    }
}

/// What the vendor does wrong in one run.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Lie {
    None,
    /// An empty list for everything.
    EmptyOnce,
    /// An empty list for one project.
    EmptyProject(u64),
    /// A refusal in the middle.
    Refused,
    /// A project that the list of projects leaves out.
    HiddenProject(u64),
    /// An answer that the manifest ignores.
    Ignored,
}

/// The vendor's records: when each was edited, and its project.
struct World {
    items: BTreeMap<u64, (u64, u64)>,
    dead: BTreeSet<u64>,
    clock: u64,
    dice: Dice,
    lie: Lie,
    /// Changes while pages are served.
    lively: bool,
    pages: u64,
    /// Records that were dead at some time of this run.
    touched: BTreeSet<u64>,
}

const PROJECTS: u64 = 3;

impl World {
    fn change(&mut self) {
        self.clock += 1;
        let pick =
            |from: Vec<u64>, dice: &mut Dice| (!from.is_empty()).then(|| from[dice.next(from.len() as u64) as usize]);
        let at = self.clock;
        match self.dice.next(10) {
            0..=2 => {
                let id =
                    1000 + self.items.len() as u64 * 7 + self.dead.len() as u64 * 11 + self.dice.next(1 << 20) * 100;
                let project = self.dice.next(PROJECTS);
                self.items.insert(id, (at, project));
            }
            3..=5 => {
                if let Some(id) = pick(self.items.keys().copied().collect(), &mut self.dice) {
                    self.items.get_mut(&id).unwrap().0 = at;
                }
            }
            6..=8 => {
                // One stays, so that the stream is not empty.
                let id = pick(self.items.keys().copied().collect(), &mut self.dice).filter(|_| self.items.len() > 6);
                if let Some(id) = id {
                    self.items.remove(&id);
                    self.dead.insert(id);
                    self.touched.insert(id);
                }
            }
            _ => {
                if let Some(id) = pick(self.dead.iter().copied().collect(), &mut self.dice) {
                    self.dead.remove(&id);
                    self.touched.insert(id);
                    let project = self.dice.next(PROJECTS);
                    self.items.insert(id, (at, project));
                }
            }
        }
    }

    fn answer(&mut self, asked: &Asked) -> Json {
        self.pages += 1;
        if self.lively && self.dice.next(3) == 0 {
            self.change();
        }
        let number = |name: &str| asked.param(name).and_then(|n| n.parse::<u64>().ok());
        if asked.path == "/projects" {
            let hidden = if let Lie::HiddenProject(project) = self.lie { Some(project) } else { None };
            let projects: Vec<Json> =
                (0..PROJECTS).filter(|p| Some(*p) != hidden).map(|p| json!({"id": p.to_string()})).collect();
            return json!({"status": 200, "json": {"data": projects}});
        }
        match self.lie {
            Lie::Refused if self.pages > 1 => return json!({"status": 403, "json": {"error": "no"}}),
            Lie::Ignored if self.pages > 1 => return json!({"status": 410, "json": {"error": "gone"}}),
            Lie::EmptyOnce => return json!({"status": 200, "json": {"data": [], "next": null}}),
            Lie::EmptyProject(project) if number("project") == Some(project) => {
                return json!({"status": 200, "json": {"data": [], "next": null}});
            }
            _ => {}
        }
        let since = asked.param("since").map_or(0, |time| seconds(&time));
        let mut found: Vec<(u64, u64)> = self.items.iter().map(|(id, (at, _))| (*at, *id)).collect();
        let of = number("project");
        found.retain(|(at, id)| *at >= since && of.is_none_or(|project| self.items[id].1 == project));
        let is_incremental = asked.param("since").is_some();
        if is_incremental {
            found.sort_unstable();
        } else {
            found.sort_unstable_by_key(|(_, id)| *id);
        }
        let after = asked.param("after").map(|after| {
            let (at, id) = after.split_once('-').unwrap();
            (at.parse::<u64>().unwrap(), id.parse::<u64>().unwrap())
        });
        if let Some((at, id)) = after {
            found.retain(|one| if is_incremental { *one > (at, id) } else { one.1 > id });
        }
        found.drain(..found.len().min(number("offset").unwrap_or_default() as usize));
        let size = number("limit").unwrap_or(3) as usize;
        let more = found.len() > size;
        found.truncate(size);
        let next = found.last().filter(|_| more).map(|(at, id)| format!("{at}-{id}"));
        let records: Vec<Json> =
            found.iter().map(|(at, id)| json!({"id": id.to_string(), "at": time(*at), "name": "n"})).collect();
        json!({"status": 200, "json": {"data": records, "next": next}})
    }
}

fn time(second: u64) -> String {
    format!("2024-01-{:02}T{:02}:{:02}:{:02}Z", 1 + second / 86400, second / 3600 % 24, second / 60 % 60, second % 60)
}

fn seconds(time: &str) -> u64 {
    let n = |range: std::ops::Range<usize>| time[range].parse::<u64>().unwrap();
    (n(8..10) - 1) * 86400 + n(11..13) * 3600 + n(14..16) * 60 + n(17..19)
}

/// How the stream is read.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// Whole, in pages by token.
    Whole,
    /// Whole, project by project.
    Projects,
    /// What changed; now and then whole.
    Changes,
    /// What changed; now and then the ids.
    Ids,
    /// Whole, in pages by offset that overlap.
    Offset,
}

fn manifest(way: Way) -> String {
    let selector = json!({"type": "RecordSelector", "extractor": {"type": "DpathExtractor", "field_path": ["data"]}});
    let handler = json!({"type": "DefaultErrorHandler", "response_filters": [
        {"type": "HttpResponseFilter", "http_codes": [410], "action": "IGNORE"},
        {"type": "HttpResponseFilter", "http_codes": [403], "action": "FAIL"},
    ]});
    let url = "{{ config['url'] }}";
    let requester =
        |path: &str| json!({"type": "HttpRequester", "url_base": url, "path": path, "error_handler": handler});
    let option = |name: &str| json!({"type": "RequestOption", "inject_into": "request_parameter", "field_name": name});
    let paginator = match way {
        Way::Offset => json!({"type": "DefaultPaginator", "page_token_option": option("offset"),
            "page_size_option": option("limit"), "pagination_strategy": {"type": "OffsetIncrement", "page_size": 3}}),
        _ => json!({"type": "DefaultPaginator", "page_token_option": option("after"), "pagination_strategy": {
            "type": "CursorPagination", "cursor_value": "{{ response['next'] }}",
            "stop_condition": "{{ not response['next'] }}",
        }}),
    };
    let stream = |name: &str, path: &str, fields: &Json| {
        let mut properties = json!({"id": {"type": "string"}});
        for (field, schema) in fields.as_object().unwrap() {
            properties[field.as_str()] = schema.clone();
        }
        json!({"type": "DeclarativeStream", "name": name, "primary_key": "id",
            "schema_loader": {"type": "InlineSchemaLoader", "schema": {"type": "object", "properties": properties}},
            "retriever": {"type": "SimpleRetriever", "requester": requester(path), "record_selector": selector}})
    };
    let fields = json!({"at": {"type": "string"}, "name": {"type": "string"}});
    let mut items = stream("items", "items", &fields);
    items["retriever"]["paginator"] = paginator.clone();
    let mut ids = stream("ids", "ids", &json!({}));
    ids["retriever"]["paginator"] = paginator;
    let projects = stream("projects", "projects", &json!({}));
    let mut streams = vec![];
    if way == Way::Projects {
        items["retriever"]["partition_router"] = json!({"type": "SubstreamPartitionRouter", "parent_stream_configs": [
            {"type": "ParentStreamConfig", "stream": projects.clone(), "parent_key": "id", "partition_field": "project",
             "request_option": option("project")},
        ]});
        streams.push(projects);
    }
    if matches!(way, Way::Changes | Way::Ids) {
        items["incremental_sync"] = json!({"type": "DatetimeBasedCursor", "cursor_field": "at",
            "datetime_format": "%Y-%m-%dT%H:%M:%SZ", "start_datetime": "2024-01-01T00:00:00Z",
            "start_time_option": option("since")});
        if way == Way::Ids {
            streams.push(ids);
        }
    }
    streams.push(items);
    let check = json!({"type": "CheckStream", "stream_names": ["items"]});
    json!({"version": "7.39.1", "type": "DeclarativeSource", "check": check,
        "streams": streams})
    .to_string()
}

/// What the lines of runs make of a table: each row, and whether it is marked as deleted.
#[derive(Default)]
struct Warehouse {
    rows: BTreeMap<u64, bool>,
    state: Option<Json>,
}

impl Warehouse {
    /// Loads lines; returns the keys that they mark.
    fn load(&mut self, lines: &[&str]) -> BTreeSet<u64> {
        let mut marked = BTreeSet::new();
        for line in lines {
            let message: Json = serde_json::from_str(line).unwrap();
            if message["type"] == "STATE" {
                self.state = Some(message["value"].clone());
            } else if message["type"] == "RECORD" && message["stream"] == "items" {
                let id = message["record"]["id"].as_str().unwrap().parse().unwrap();
                let is_dead = !message["record"]["_sdc_deleted_at"].is_null();
                self.rows.insert(id, is_dead);
                if is_dead {
                    marked.insert(id);
                } else {
                    marked.remove(&id);
                }
            }
        }
        marked
    }
}

struct History {
    way: Way,
    world: Arc<Mutex<World>>,
    vendor: Vendor,
    dir: tempfile::TempDir,
    warehouse: Warehouse,
    seed: u64,
}

impl History {
    fn new(seed: u64) -> History {
        let ways = [Way::Whole, Way::Projects, Way::Changes, Way::Ids, Way::Offset];
        let world = World {
            items: (0..24).map(|n| (100 + n * 13, (n, n % PROJECTS))).collect(),
            dead: BTreeSet::new(),
            clock: 100,
            dice: Dice(seed),
            lie: Lie::None,
            lively: false,
            pages: 0,
            touched: BTreeSet::new(),
        };
        let world = Arc::new(Mutex::new(world));
        let served = world.clone();
        let vendor = Vendor::answering(move |asked| served.lock().unwrap().answer(asked));
        let way = ways[(seed % 5) as usize];
        History { way, world, vendor, dir: tempfile::tempdir().unwrap(), warehouse: Warehouse::default(), seed }
    }

    fn tap(&self, verb: &str, due: bool) -> Tap {
        let state_dir = self.dir.path().join("state");
        let mut deletes = json!({"mode": "sweep", "every": if due { "PT0S" } else { "P1D" }});
        if self.way == Way::Ids {
            deletes["ids"] = json!("ids");
        }
        let mut ours = json!({"tenant": "acme", "state_dir": state_dir, "deletes": {"items": deletes}});
        if self.way == Way::Offset {
            ours["safety"] = json!({"overlap": "PT1S"});
        }
        let config = json!({"url": self.vendor.url, "dripfeed": ours});
        Tap::new(verb).source(&manifest(self.way)).config(&config).env("DRIPFEED_NOW", "2024-01-20T00:00:00Z")
    }

    /// A run; only a part of its lines reaches the warehouse if it is cut off.
    fn run(&mut self, due: bool, cut: bool, kill: Option<Duration>) {
        let mut tap = self.tap("read --streams items", due);
        if let Some(state) = &self.warehouse.state {
            tap = tap.state(state);
        }
        {
            let mut world = self.world.lock().unwrap();
            (world.pages, world.touched) = (0, BTreeSet::new());
        }
        let ran = match kill {
            Some(after) => tap.run_within(after),
            None => Some(tap.run()),
        };
        let Some(ran) = ran else { return };
        let mut lines: Vec<&str> = ran.out.lines().collect();
        let mut world = self.world.lock().unwrap();
        let lie = world.lie;
        let fails = matches!(lie, Lie::Refused) && world.pages > 1;
        assert!(ran.code == 0 || fails, "seed {}: {:?} {lie:?}: {} {}", self.seed, self.way, ran.code, ran.err);
        if cut {
            lines.truncate(world.dice.next(lines.len() as u64 + 1) as usize);
        }
        for id in self.warehouse.load(&lines) {
            let is_alive = world.items.contains_key(&id) && !world.touched.contains(&id);
            assert!(
                !is_alive,
                "seed {}: {:?} {lie:?}: the living record {id} is marked\n{}",
                self.seed, self.way, ran.err
            );
        }
    }

    fn accept(&self) {
        let ran = self.tap("drift accept --all --force", true).run();
        assert_eq!(ran.code, 0, "seed {}: {}", self.seed, ran.err);
    }

    fn play(mut self) {
        let runs = 4 + self.world.lock().unwrap().dice.next(4);
        for _ in 0..runs {
            let (due, cut, kill) = {
                let mut world = self.world.lock().unwrap();
                for _ in 0..world.dice.next(8) {
                    world.change();
                }
                let project = world.dice.next(PROJECTS);
                world.lie = match world.dice.next(14) {
                    0 => Lie::EmptyOnce,
                    1 => Lie::EmptyProject(project),
                    2 => Lie::Refused,
                    3 => Lie::HiddenProject(project),
                    4 => Lie::Ignored,
                    _ => Lie::None,
                };
                world.lively = world.dice.next(2) == 0;
                let kill = (world.dice.next(8) == 0).then(|| Duration::from_millis(20 + world.dice.next(120)));
                (world.dice.next(3) > 0, world.dice.next(3) == 0, kill)
            };
            self.run(due, cut, kill);
        }
        {
            let mut world = self.world.lock().unwrap();
            (world.lie, world.lively) = (Lie::None, false);
        }
        // A record must be missed twice; what a project that emptied had must be accepted.
        for _ in 0..2 {
            self.run(true, false, None);
            self.run(true, false, None);
            self.accept();
        }
        self.run(true, false, None);
        self.run(true, false, None);
        let world = self.world.lock().unwrap();
        let alive: BTreeSet<u64> = self.warehouse.rows.iter().filter(|(_, dead)| !**dead).map(|(id, _)| *id).collect();
        let wanted: BTreeSet<u64> = world.items.keys().copied().collect();
        let extra: Vec<&u64> = alive.difference(&wanted).collect();
        let lost: Vec<&u64> = wanted.difference(&alive).collect();
        assert!(
            extra.is_empty() && lost.is_empty(),
            "seed {}: {:?}: not marked {extra:?}, lost {lost:?}",
            self.seed,
            self.way
        );
    }
}

#[test]
fn every_dead_record_is_marked_in_the_end_and_no_living_one_ever() {
    let seeds: Vec<u64> = match std::env::var("DRIPFEED_DELETE_SEEDS") {
        Ok(range) => {
            let (from, to) = range.split_once("..").unwrap_or((&range, ""));
            let from: u64 = from.parse().unwrap();
            (from..to.parse().unwrap_or(from + 1)).collect()
        }
        // Those above found a mistake once.
        Err(_) => (0..60).chain([76, 221, 313]).collect(),
    };
    let (half, other) = seeds.split_at(seeds.len() / 2);
    std::thread::scope(|scope| {
        for part in [half, other] {
            scope.spawn(move || part.iter().for_each(|seed| History::new(*seed).play()));
        }
    });
}
