//! The sandbox's HTTP side: connections, routes, limits and deliberate faults.
//!
//! Input: sockets. Output: responses. Called by [`super::Sandbox`]. HTTP/1.1 with keep-alive, enough for one client
//! library at a time.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use flate2::Compression;
use flate2::write::GzEncoder;
use time::OffsetDateTime;

use super::cap::Used;
use super::change::{self, StagedChange};
use super::data::{self, Edits, Task};
use super::{Paging, Settings, TOKEN};
use crate::base::percent;
use crate::base::timefmt;

/// Breaks every Nth response in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breakage {
    kind: &'static str,
    every: u64,
}

impl Breakage {
    /// Parses `5xx:7`.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        const KINDS: [&str; 6] = ["reset", "cut", "slow", "5xx", "html", "401"];
        let (kind, every) = text.split_once(':').context("write it as KIND:N")?;
        let kind =
            KINDS.into_iter().find(|k| *k == kind).with_context(|| format!("the kinds are {}", KINDS.join(", ")))?;
        let every = every.parse().ok().filter(|n| *n > 0).context("N must be an integer of 1 or more")?;
        Ok(Breakage { kind, every })
    }
}

/// The vendor, shared by all connections.
#[derive(Debug)]
pub(super) struct Vendor {
    settings: Settings,
    inner: Mutex<Inner>,
    began: Instant,
    /// A line per call of a tenant: milliseconds, token, status from its rate limit, path.
    log: Mutex<String>,
}

#[derive(Debug, Default)]
struct Inner {
    requests: u64,
    limited: u64,
    tenants: HashMap<String, Tenant>,
}

#[derive(Debug)]
struct Tenant {
    edits: Edits,
    used: Used,
    calls: u64,
}

/// The context of a call: its tenant, and the changes that apply.
struct Call<'a> {
    settings: &'a Settings,
    request: &'a Request,
    changes: &'a [&'a StagedChange],
    seed: u64,
    limit: u64,
}

struct Request {
    path: String,
    query: HashMap<String, String>,
    headers: HashMap<String, String>,
}

struct Answer {
    status: &'static str,
    headers: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(status: &'static str, body: String) -> Self {
        Answer { status, headers: "Content-Type: application/json\r\n".into(), body: body.into_bytes() }
    }
}

pub(super) fn serve(listener: &TcpListener, vendor: &Arc<Vendor>) {
    for stream in listener.incoming().flatten() {
        let vendor = vendor.clone();
        std::thread::spawn(move || {
            // A client that disconnects does not matter to the vendor.
            let _ = vendor.connection(&stream);
        });
    }
}

impl Vendor {
    pub(super) fn new(settings: Settings) -> Self {
        Vendor { settings, inner: Mutex::default(), began: Instant::now(), log: Mutex::default() }
    }

    fn connection(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        let mut out = stream;
        while let Some(request) = read_request(&mut reader)? {
            self.delay();
            let number = {
                let mut inner = self.inner.lock();
                inner.requests += 1;
                inner.requests
            };
            let broken = self.settings.fault.iter().find(|b| number % b.every == 0).map(|b| b.kind);
            let answer = match broken {
                Some("5xx") => Answer::json("503 Service Unavailable", r#"{"error":"try again"}"#.into()),
                Some("401") => Answer::json("401 Unauthorized", r#"{"error":"the token has expired"}"#.into()),
                Some("html") => Answer {
                    status: "200 OK",
                    headers: "Content-Type: text/html\r\n".into(),
                    body: b"<!doctype html><title>Sign in</title>".to_vec(),
                },
                Some("reset") => return Ok(()),
                _ => self.answer(&request),
            };
            let gzip = !self.settings.no_gzip
                && answer.body.len() > 200
                && request.headers.get("accept-encoding").is_some_and(|e| e.contains("gzip"));
            let (body, encoding) = if gzip {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(&answer.body)?;
                (encoder.finish()?, "Content-Encoding: gzip\r\n")
            } else {
                (answer.body, "")
            };
            let head = format!(
                "HTTP/1.1 {}\r\n{}{encoding}Content-Length: {}\r\n\r\n",
                answer.status,
                answer.headers,
                body.len()
            );
            out.write_all(head.as_bytes())?;
            match broken {
                Some("cut") => {
                    out.write_all(&body[..body.len() / 2])?;
                    return Ok(());
                }
                Some("slow") => {
                    for piece in body.chunks(body.len() / 8 + 1) {
                        out.write_all(piece)?;
                        std::thread::sleep(Duration::from_millis(50));
                    }
                }
                _ => out.write_all(&body)?,
            }
            if request.headers.get("connection").is_some_and(|c| c.eq_ignore_ascii_case("close")) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits for as long as a request is under way.
    fn delay(&self) {
        let Settings { latency, jitter, .. } = self.settings;
        let jitter = Duration::from_millis(jitter);
        let dice = data::mix(0, u64::from(self.began.elapsed().subsec_nanos())) >> 32;
        #[allow(clippy::cast_precision_loss)]
        let part = dice as f64 / f64::from(u32::MAX);
        let delay = (Duration::from_millis(latency) + jitter.mul_f64(2.0 * part)).saturating_sub(jitter);
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
    }

    fn answer(&self, request: &Request) -> Answer {
        if request.path == "/sandbox/log" {
            let body = self.log.lock().clone().into_bytes();
            return Answer { status: "200 OK", headers: "Content-Type: text/plain\r\n".into(), body };
        }
        let mut inner = self.inner.lock();
        if request.path == "/sandbox/stats" {
            let edits: usize = inner.tenants.values().map(|t| t.edits.made()).sum();
            return Answer::json(
                "200 OK",
                format!(r#"{{"requests":{},"limited":{},"edits":{edits}}}"#, inner.requests, inner.limited),
            );
        }
        let token = request.headers.get("authorization").and_then(|a| a.strip_prefix("Bearer "));
        let Some(name) = token.and_then(|t| t.strip_prefix(TOKEN)).filter(|t| t.is_empty() || t.starts_with('-'))
        else {
            return Answer::json("401 Unauthorized", r#"{"error":"this token is not known here"}"#.into());
        };
        let name = name.to_owned();
        let settings = &self.settings;
        let tenant = inner.tenants.entry(name.clone()).or_insert_with(|| Tenant {
            edits: Edits::before(settings),
            used: Used::default(),
            calls: 0,
        });
        tenant.calls += 1;
        let counted = settings.cap.map_or(Ok(String::new()), |cap| cap.count(&mut tenant.used));
        let status = if counted.is_ok() { 200 } else { 429 };
        let ms = self.began.elapsed().as_millis();
        let mut log = self.log.lock();
        let _ = writeln!(log, "{ms} sandbox-token{name} {status} {}", request.path);
        drop(log);
        let headers = match counted {
            Ok(headers) => headers,
            Err(headers) => {
                let mut answer = Answer::json("429 Too Many Requests", r#"{"error":"too many requests"}"#.into());
                answer.headers += &headers;
                inner.limited += 1;
                return answer;
            }
        };
        let changes: Vec<&StagedChange> = settings.change.iter().filter(|c| c.holds(&name, tenant.calls)).collect();
        let call = Call {
            settings,
            request,
            changes: &changes,
            seed: settings.seed ^ name.bytes().fold(0, |h, b| data::mix(h, b.into())),
            limit: request.query.get("limit").and_then(|l| l.parse().ok()).unwrap_or(100).clamp(1, 100),
        };
        let mut answer = match request.path.as_str() {
            "/tasks" => call.tasks(tenant),
            "/users" => call.numbered(settings.users, |n, out| data::user(call.seed, n, out)),
            "/projects" => call.numbered(settings.projects, |n, out| data::project(call.seed, n, settings, out)),
            path => match path.strip_prefix("/tasks/t").and_then(|n| n.parse().ok()).filter(|n| *n < settings.tasks) {
                Some(n) => call.one(tenant, n),
                None => Answer::json("404 Not Found", r#"{"error":"there is no such thing"}"#.into()),
            },
        };
        answer.headers += &headers;
        answer
    }
}

impl Call<'_> {
    /// A list paged by numbers.
    fn numbered(&self, count: u64, one: impl Fn(u64, &mut String)) -> Answer {
        let from: u64 = self.request.query.get("after").and_then(|a| a.parse().ok()).unwrap_or(0);
        let to = count.min(from.saturating_add(self.limit));
        let record = |n| {
            let mut out = String::new();
            one(n, &mut out);
            out.into_bytes()
        };
        let records: Vec<Vec<u8>> = (from..to).map(record).collect();
        page("data", &records, (to < count).then_some(to), change::VERSION)
    }

    /// One task in its current version.
    fn one(&self, tenant: &Tenant, n: u64) -> Answer {
        let mut body = br#"{"data":"#.to_vec();
        body.extend(self.task(tenant.edits.of(n)).0);
        body.push(b'}');
        Answer { status: "200 OK", headers: format!("Content-Type: application/json\r\n{}", change::VERSION), body }
    }

    /// The bytes of a task, and how many times it is served.
    fn task(&self, task: Task) -> (Vec<u8>, usize) {
        let mut out = String::new();
        data::task(self.seed, task, self.settings, &mut out);
        change::task(self.changes, task.number, out)
    }

    /// Tasks in the order of their last change (`sort=-modified_at` reverses it), within `modified_since` and
    /// `modified_before`.
    fn tasks(&self, tenant: &mut Tenant) -> Answer {
        let (settings, list) = (self.settings, change::list(self.changes));
        if let Some((status, content, body)) = list.instead {
            return Answer { status, headers: format!("Content-Type: {content}\r\n"), body: body.into() };
        }
        let bad = |what: &str| Answer::json("400 Bad Request", format!(r#"{{"error":"{what} is not a time"}}"#));
        let time = |name: &str| self.request.query.get(name).map(|t| timefmt::parse_iso(t));
        let (Some(since), Some(before)) = (
            time("modified_since").map_or(Some(None), |t| t.map(Some)),
            time("modified_before").map_or(Some(None), |t| t.map(Some)),
        ) else {
            return bad("modified_since or modified_before");
        };
        let places = if list.full { tenant.edits.places(settings) } else { 0 };
        // Places are ordered by time, so a place is found by binary search.
        let until = |holds: &dyn Fn(OffsetDateTime) -> bool| {
            let (mut low, mut high) = (0, places);
            while low < high {
                let middle = u64::midpoint(low, high);
                if holds(data::changed_at(settings, middle)) { low = middle + 1 } else { high = middle }
            }
            low
        };
        let first = since.filter(|_| list.filtered).map_or(0, |since| until(&|changed| changed < since));
        let last = before.map_or(places, |before| until(&|changed| changed <= before));
        let newest = list.sorted && self.request.query.get("sort").is_some_and(|sort| sort == "-modified_at");
        let after = self.request.query.get("after").and_then(|a| a.parse::<u64>().ok());
        let (range, skipped) = match (settings.paging, after) {
            (_, None) => (first..last, 0),
            (Paging::Keyset, Some(after)) if newest => (first..last.min(after), 0),
            (Paging::Keyset, Some(after)) => (first.max(after)..last, 0),
            (Paging::Offset, Some(after)) => (first..last, after),
        };
        let limit = self.limit.min(list.most);
        let there = range.filter_map(|place| tenant.edits.at(settings, place));
        // One more row than fits shows whether a page follows.
        let [skip, take] = [skipped, limit + 1].map(|rows| usize::try_from(rows).unwrap_or(usize::MAX));
        let mut rows: Vec<_> =
            if newest { there.rev().skip(skip).take(take).collect() } else { there.skip(skip).take(take).collect() };
        let beyond = if rows.len() == take { rows.pop() } else { None };
        let next = beyond.map(|task| match settings.paging {
            Paging::Keyset => task.place + u64::from(newest),
            Paging::Offset => skipped + limit,
        });
        let served = rows.into_iter().flat_map(|task| {
            let (bytes, times) = self.task(task);
            std::iter::repeat_n(bytes, times)
        });
        let records: Vec<Vec<u8>> = served.collect();
        for _ in 0..settings.edits {
            let done = tenant.edits.made() as u64;
            if done < settings.edits_total && settings.tasks > 0 {
                tenant.edits.edit(settings, data::mix(self.seed ^ 0xed, done) % settings.tasks);
            }
        }
        page(list.name, &records, next, list.headers)
    }
}

fn page(name: &str, records: &[Vec<u8>], next: Option<u64>, headers: &str) -> Answer {
    let next = next.map_or("null".to_owned(), |token| format!("\"{token}\""));
    let mut body = format!(r#"{{"{name}":["#).into_bytes();
    body.extend(records.join(&b','));
    body.extend(format!(r#"],"next":{next}}}"#).bytes());
    Answer { status: "200 OK", headers: format!("Content-Type: application/json\r\n{headers}"), body }
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let target = line.split(' ').nth(1).unwrap_or("/").to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(k, v)| (k.to_owned(), percent::decode(v)))
        .collect();
    Ok(Some(Request { path: path.to_owned(), query, headers }))
}
